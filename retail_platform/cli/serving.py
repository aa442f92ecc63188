"""`retail dev`: UI and daemon as child processes, demo files delivered, progress shown."""

import contextlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from retail_platform.automation.inputs import Events, stale_partitions
from retail_platform.cli.output import Stopwatch
from retail_platform.cli.running import build
from retail_platform.definitions import Platform
from retail_platform.demo.dirt import Dirt
from retail_platform.demo.feed import deliver_first_wave, inbox_sink, spec_for
from retail_platform.demo.generator import GeneratedManifest
from retail_platform.errors import RetailError
from retail_platform.lake.store import MANIFESTS, Lake
from retail_platform.operate.instance import open_instance, prepare_home
from retail_platform.settings import PROJECT_DIR, Settings

_ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def serve(
    settings: Settings,
    port: int,
    days: int,
    lines_per_day: int,
    say: Stopwatch,
    exit_when_complete: bool,
) -> bool:
    """Run Dagster until Ctrl-C.

    Returns:
        Whether everything delivered went through; always true after Ctrl-C.

    Raises:
        RetailError: Dagster did not start; the message names its log.
    """
    prepare_home(settings)
    with open_instance(settings) as instance:
        platform = build(settings)
        lake = Lake.open(settings.lake_url)
        made = None
        if days and not next(lake.list(MANIFESTS), None):
            spec = spec_for(
                first_day=date.today() - timedelta(days=days),  # noqa: DTZ011 - operator's today
                days=days,
                lines_per_day=lines_per_day,
                customers=3_000,
                products=1_000,
            )
            made = deliver_first_wave(spec, Dirt.demo(), inbox_sink(lake), say)
        with _dagster(settings, port, say):
            try:
                return _watch(platform, instance, lake, made, say, exit_when_complete)
            except KeyboardInterrupt:
                say("stopping")
                return True


@contextlib.contextmanager
def _dagster(settings: Settings, port: int, say: Stopwatch) -> Iterator[None]:
    log = settings.dagster_home / "dev.log"
    with log.open("w", encoding="utf-8") as output:
        # A child of a background shell inherits an ignored SIGINT and could never be stopped.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [
                sys.executable, "-m", "dagster", "dev",
                "--workspace", str(PROJECT_DIR / "workspace.yaml"),
                "--host", "127.0.0.1", "--port", str(port),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=PROJECT_DIR,
            start_new_session=True,
        )  # fmt: skip
        try:
            _wait_until_up(process, port, log)
            say(f"UI on http://127.0.0.1:{port}  (log: {log})")
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2).close()
            return
        time.sleep(0.3)
    tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
    raise RetailError(f"Dagster did not start on port {port}; the end of {log}:\n{tail}")


def _watch(
    platform: Platform,
    instance: dg.DagsterInstance,
    lake: Lake,
    made: GeneratedManifest | None,
    say: Stopwatch,
    exit_when_complete: bool,
) -> bool:
    second_wave_due = made is not None
    told = ""
    complete = False
    while True:
        plan = platform.desk.look(lake)
        statuses = Counter(run.status.value.lower() for run in instance.get_runs(limit=500))
        line = f"inbox {len(plan.arrivals)} waiting, {len(plan.rejections)} refused; runs " + (
            ", ".join(f"{n} {status}" for status, n in sorted(statuses.items())) or "none yet"
        )
        if line != told:
            say(line)
            told = line
            complete = False
        # Until the line changes, what is complete stays so; to compare all assets takes a while.
        idle = not (
            complete or plan.arrivals or plan.settling or _busy(platform.definitions, instance)
        )
        if idle and second_wave_due and made:
            say("second wave: a late file, a correction, a repetition")
            made.deliver_second_wave(inbox_sink(lake))
            second_wave_due = False
        elif idle:
            complete = True
            say("everything delivered is in the marts; drop files into the inbox to see more")
            if exit_when_complete:
                refused = {r.name for r in plan.rejections}
                return not statuses.get("failure") and refused == set(made.broken if made else ())
        time.sleep(1)


def _busy(definitions: dg.Definitions, instance: dg.DagsterInstance) -> bool:
    newest = instance.event_log_storage.get_maximum_record_id()
    if instance.get_runs_count(dg.RunsFilter(statuses=_ACTIVE)):
        return True
    graph, events = definitions.resolve_asset_graph(), Events(instance)
    stale = any(
        stale_partitions(events, graph, key)
        for key in graph.toposorted_asset_keys
        if key in graph.materializable_asset_keys
    )
    # What a run has planned is not stale: one created after runs were counted hides its work.
    return stale or instance.event_log_storage.get_maximum_record_id() != newest
