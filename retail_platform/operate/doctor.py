"""Is this installation able to work: settings, folders, packages, Dagster, warehouse.

Each finding says what was seen and what to do about it. Repairs nothing.
"""

import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from obstore.exceptions import BaseError as ObstoreError

from retail_platform.alerts.router import AlertRouter
from retail_platform.alerts.routes import LOG, load_routes
from retail_platform.alerts.watch import SILENT_AFTER, automations, daemon_heartbeats
from retail_platform.contract import load_contracts
from retail_platform.countries import load_countries
from retail_platform.errors import RetailError
from retail_platform.lake.queue import ArrivalQueue
from retail_platform.lake.refusals import summary
from retail_platform.lake.store import INBOX, Lake
from retail_platform.operate.instance import open_instance
from retail_platform.protection.keys import open_keys, wrapped_keys
from retail_platform.resilience.breaker import Breakers
from retail_platform.resources import keys_resource, resources_for, warehouse_resource
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
        ("keys", lambda: _keys(settings)),
        *([("queue", lambda: _queue(settings))] if settings.queue_url else []),
        *([("snowflake key", _snowflake_key)] if settings.snowflake else []),
        ("warehouse", lambda: _warehouse(settings)),
        ("dbt project", _dbt),
        ("UI port", lambda: _port(port)),
        ("alerts", lambda: _alerts(settings)),
        ("dependencies", lambda: _dependencies(settings)),
    ]
    findings = []
    for subject, look in looks:
        try:
            findings.append(Finding(subject, True, look()))
        except Exception as exc:  # whatever is wrong is a finding, not the end
            findings.append(Finding(subject, False, _said(exc)))
    if (settings.dagster_home / "dagster.yaml").is_file():
        try:
            findings += _automation(settings, datetime.now(UTC))
        except Exception as exc:
            findings.append(Finding("daemons", False, _said(exc)))
    return findings


def _said(error: Exception) -> str:
    """What an error says; those of libraries do not always say what they are."""
    if isinstance(error, ObstoreError):
        return f"{type(error).__name__}: {summary(error)}"
    text = str(error).strip()
    ours = isinstance(error, (RetailError, OSError))
    return text if ours and text else f"{type(error).__name__}: {text}"


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


def _keys(settings: Settings) -> str:
    provider = keys_resource(settings).provider()
    lake = Lake.open(settings.lake_url)
    guarded = f"provider {provider.name} ({settings.kms_key_id or settings.master_key_path})"
    if not wrapped_keys(lake):
        return f"{guarded}, no data key yet; the first file with personal data makes it"
    newest = open_keys(lake, provider, make=False).newest
    return f"{guarded}, newest data key {newest}"


def _queue(settings: Settings) -> str:
    waiting, dead = ArrivalQueue(settings.queue_url).waiting()
    if dead:
        raise OSError(
            f"{settings.queue_url}: {dead} messages lie in its dead-letter queue; the attribute "
            "`reason` of each says why it could not be read."
        )
    return f"{settings.queue_url}, {waiting} messages waiting"


def _warehouse(settings: Settings) -> str:
    return warehouse_resource(settings).open().examine(settings.lake_url)


def _snowflake_key() -> str:
    from retail_platform.warehouse.snowflake_account import fingerprint  # noqa: PLC0415

    held = fingerprint()
    if not held:
        return "a password, which accounts take of no service user; emulators do"
    return f"opens; RSA_PUBLIC_KEY_FP of `describe user` has to be {held}"


def _dbt() -> str:
    project = PROJECT_DIR / "dbt_project" / "dbt_project.yml"
    if not project.is_file():
        raise OSError(f"{project} is missing; run from a checkout of the project.")
    return str(project.parent)


def _alerts(settings: Settings) -> str:
    routes = load_routes(settings.alerts_file)
    problems = routes.problems()
    if problems:
        raise OSError(f"{settings.alerts_file}: {'; '.join(problems)}")
    channels = ", ".join([LOG, *routes.channels])
    if not (settings.alerts_path / "outbox.sqlite").exists():
        return f"told to {channels}; nobody has looked yet"
    router = AlertRouter(settings.alerts_path, settings.alerts_file)
    stuck = [w for w in router.outbox.waiting() if w.attempts]
    if stuck:
        raise OSError(
            "; ".join(
                f"channel {w.channel}: {w.count} messages wait since {w.since:%Y-%m-%d %H:%M} UTC, "
                f"{w.error}"
                for w in stuck
            )
            + " Correct the routing file, try `retail alerts test`, then `retail alerts flush`."
        )
    looked = router.last_look()
    last = f"last looked {looked:%Y-%m-%d %H:%M} UTC" if looked else "nobody has looked yet"
    return f"told to {channels}; {last}"


def _dependencies(settings: Settings) -> str:
    states = Breakers(settings.breakers_path).states()
    down = [str(state) for state in states if state.open]
    if down:
        raise OSError(" ".join(down))
    return "none is left alone" if states else "none ever failed"


def _automation(settings: Settings, now: datetime) -> list[Finding]:
    """Daemons, and what is switched on; nothing where only foreground commands ever ran."""
    with open_instance(settings) as instance:
        beats = daemon_heartbeats(instance)
        running = automations(instance)
    if not any(beats.values()):
        return [Finding("daemons", True, "none has run here; `make dev` starts them")]
    silent = [name for name, seen in beats.items() if seen is None or now - seen > SILENT_AFTER]
    last = max(seen for seen in beats.values() if seen)
    if silent:
        daemons = Finding(
            "daemons",
            False,
            f"silent: {', '.join(silent)} (last sign of life of any {last:%Y-%m-%d %H:%M} UTC). "
            "Start dagster-daemon, or `make dev`; `retail run` works without.",
        )
    else:
        daemons = Finding("daemons", True, f"{len(beats)} alive")
    findings = [daemons]
    for found in running:
        ticked = f"{found.last_tick:%Y-%m-%d %H:%M} UTC" if found.last_tick else "never"
        if found.failures:
            seen = f"failed at {ticked} ({found.failures[0]}); its page in the UI shows the error"
            findings.append(Finding(found.name, False, seen))
        elif not silent and found.silent(now):
            seen = f"is on, but was last evaluated {ticked}; restart the daemon"
            findings.append(Finding(found.name, False, seen))
        else:
            findings.append(Finding(found.name, True, f"last evaluated {ticked}"))
    return findings


def _port(port: int) -> str:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return f"127.0.0.1:{port} answers (the platform is running, or something else is)"
    return f"127.0.0.1:{port} is free"
