"""Is this installation able to work: settings, folders, packages, Dagster, warehouse.

Each finding says what was seen and what to do about it. Repairs nothing.
"""

import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

import duckdb

from retail_platform.contract import load_contracts
from retail_platform.countries import load_countries
from retail_platform.errors import RetailError
from retail_platform.lake.queue import ArrivalQueue
from retail_platform.lake.store import INBOX, Lake
from retail_platform.resources import resources_for
from retail_platform.settings import PROJECT_DIR, Settings

_LEAST_FREE_BYTES = 2 << 30


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    subject: str
    ok: bool
    seen: str


def examine(port: int) -> list[Finding]:
    """Look at everything that commonly goes wrong; never raises for a finding.

    Args:
        port: the UI's port.
    """
    try:
        settings = Settings.from_env()
    except RetailError as exc:
        return [Finding("settings", False, str(exc))]
    looks: list[tuple[str, Callable[[], str]]] = [
        ("settings", lambda: _settings(settings)),
        ("python", _python),
        ("countries", lambda: _countries(settings)),
        ("contracts", lambda: _contracts(settings)),
        ("home folder", lambda: _home(settings)),
        ("lake", lambda: _lake(settings)),
        *([("queue", lambda: _queue(settings))] if settings.queue_url else []),
        ("warehouse", lambda: _warehouse(settings)),
        ("dbt project", _dbt),
        ("UI port", lambda: _port(port)),
    ]
    findings = []
    for subject, look in looks:
        try:
            findings.append(Finding(subject, True, look()))
        except (RetailError, OSError, duckdb.Error) as exc:
            findings.append(Finding(subject, False, str(exc)))
    return findings


def _settings(settings: Settings) -> str:
    resources_for(settings)
    return f"environment {settings.environment.value}"


def _python() -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise OSError(f"Python {version}; expected 3.11 to 3.13. Create the environment anew.")
    return version


def _countries(settings: Settings) -> str:
    return ", ".join(load_countries(settings.countries_file).codes)


def _contracts(settings: Settings) -> str:
    return f"{len(load_contracts(settings.contracts_paths))} feeds"


def _home(settings: Settings) -> str:
    home = settings.home
    home.mkdir(parents=True, exist_ok=True)
    probe = home / f".probe-{os.getpid()}"
    probe.write_text("", encoding="utf-8")
    probe.unlink()
    free = shutil.disk_usage(home).free
    if free < _LEAST_FREE_BYTES:
        raise OSError(f"{home} has {free >> 20} MiB left; free at least 2 GiB.")
    return f"{home}, {free >> 30} GiB free"


def _lake(settings: Settings) -> str:
    lake = Lake.open(settings.lake_url)
    waiting = sum(1 for _ in lake.list(INBOX))
    return f"{settings.lake_url}, {waiting} files in the inbox"


def _queue(settings: Settings) -> str:
    waiting, dead = ArrivalQueue(settings.queue_url).waiting()
    if dead:
        raise OSError(
            f"{settings.queue_url}: {dead} messages lie in its dead-letter queue; the attribute "
            "`reason` of each says why it could not be read."
        )
    return f"{settings.queue_url}, {waiting} messages waiting"


def _warehouse(settings: Settings) -> str:
    path = settings.warehouse_path
    if not path.exists():
        return f"{path} does not exist yet; the first run creates it"
    try:
        duckdb.connect(str(path), read_only=True).close()
    except duckdb.IOException as exc:
        raise OSError(
            f"{path} is open in another process ({str(exc).splitlines()[0]}). Runs wait for it; "
            "if it is not a run of the platform, close it or read the published copy instead."
        ) from exc
    return f"{path}, {path.stat().st_size >> 20} MiB"


def _dbt() -> str:
    project = PROJECT_DIR / "dbt_project" / "dbt_project.yml"
    if not project.is_file():
        raise OSError(f"{project} is missing; run from a checkout of the project.")
    return str(project.parent)


def _port(port: int) -> str:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return f"127.0.0.1:{port} answers (the platform is running, or something else is)"
    return f"127.0.0.1:{port} is free"
