"""Runs in the foreground: what sensors and automation would do, until nothing is left to do.

The same planner, conditions and assets as behind the UI, executed in this process one run after
the other. Also what a person asks for explicitly: a backfill over chosen partitions.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg

from retail_platform.alerts.watch import BACKFILL, TRIGGER_TAG
from retail_platform.assets.completeness import COMPLETENESS_CHECK
from retail_platform.automation.arrivals import identity
from retail_platform.automation.inputs import Events, stale_partitions
from retail_platform.automation.range_sensor import (
    Cursor,
    evaluate_ranges,
    range_requests,
    stale_requests,
)
from retail_platform.countries import ALL
from retail_platform.definitions import Platform
from retail_platform.lake.inbox import Rejection
from retail_platform.lake.store import Lake
from retail_platform.operate.in_process import FOREGROUND_TAG, execute_here
from retail_platform.operate.recovery import Recovery
from retail_platform.partitions import RANGE_END_TAG, RANGE_START_TAG, Partition
from retail_platform.resources import warehouse_resource
from retail_platform.warehouse.unloaded import unloaded_partitions

_LOG = logging.getLogger(__name__)

_MOST_REPEATS = 3
"""The same request more often than this in one command means it does not settle."""


@dataclass(frozen=True)
class RunOutcome:
    """One run that was executed."""

    run_id: str
    success: bool
    partitions: str
    assets: tuple[str, ...]
    seconds: float
    failed_checks: tuple[str, ...]
    error: str


@dataclass
class Outcome:
    """What a foreground command did.

    Attributes:
        rejections: files that lie refused in the inbox at the end.
    """

    runs: list[RunOutcome] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def failed_runs(self) -> list[RunOutcome]:
        """Runs that did not succeed."""
        return [run for run in self.runs if not run.success]

    @property
    def failed_checks(self) -> list[str]:
        """Checks that failed with severity ERROR in the last run that evaluated them."""
        last: dict[str, bool] = {}
        for run in self.runs:
            last.update(dict.fromkeys(run.assets, False))
            last.update(dict.fromkeys(run.failed_checks, True))
        return sorted(name for name, failed in last.items() if failed)

    @property
    def green(self) -> bool:
        """Nothing was refused and nothing failed."""
        return not (self.rejections or self.failed_runs or self.failed_checks)


class ForegroundRunner:
    """Executes runs of a platform in this process."""

    def __init__(
        self,
        platform: Platform,
        instance: dg.DagsterInstance,
        lake: Lake,
        on_progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            on_progress: told about each step in a line a person understands.
        """
        self._platform = platform
        self.instance = instance
        self._lake = lake
        self._say = on_progress
        self._warehouse = warehouse_resource(platform.settings).open()
        note = platform.settings.dagster_home / "all_done.json"
        self._recovery = Recovery(instance, self._warehouse, note)
        self._cursor: Cursor | None = None
        definitions = platform.definitions
        self._job = definitions.resolve_implicit_global_asset_job_def()
        self._graph = definitions.resolve_asset_graph()

    def run_until_idle(self, first: Iterable[dg.RunRequest] = (), *, once: bool = False) -> Outcome:
        """Take in what arrived, build what became stale, until nothing is left to do.

        Args:
            first: runs a person asked for, executed before anything else.
            once: stop after one look, as a sensor does between two ticks.
        """
        outcome = Outcome()
        began = datetime.now(UTC)
        outcome.runs += [self.execute(request) for request in first]
        self._recover(outcome)
        self._work(outcome, once=once)
        if not once and not outcome.failed_runs:
            self._recovery.all_done(began)
        outcome.rejections = list(self._platform.desk.look(self._lake).rejections)
        return outcome

    def _work(self, outcome: Outcome, *, once: bool) -> None:
        """Look and execute until there is nothing to do, or once."""
        repeats: Counter[str] = Counter()
        tried: set[str] = set()
        while True:
            plan = self._platform.desk.look(self._lake)
            fresh = [a for a in plan.arrivals if identity([a]) not in tried]
            tried |= {identity([a]) for a in fresh}
            requests = self._platform.desk.range_requests(fresh)
            if fresh:
                self._say(f"{len(fresh)} files in the inbox")
            if not requests:
                requests, self._cursor, _ = evaluate_ranges(
                    self.instance,
                    self._graph,
                    dg.AssetSelection.all(),
                    self._platform.run_order,
                    self._platform.desk,
                    self._cursor,
                    _LOG,
                )
            if not requests:
                if not plan.settling:
                    return
                time.sleep(0.2)
                continue
            for request in requests:
                name = f"{sorted(request.asset_selection or [])} {sorted(request.tags.items())}"
                repeats[name] += 1
                if not fresh and repeats[name] > _MOST_REPEATS:
                    raise RuntimeError(
                        f"Automation asked {repeats[name]} times for {name} and it is still stale. "
                        "This is a fault of the platform; please report it with `retail status`."
                    )
                outcome.runs.append(self.execute(request))
            if once:
                return

    def backfill(
        self, assets: Collection[dg.AssetKey], partitions: Iterable[Partition]
    ) -> list[dg.RunRequest]:
        """Runs that materialize assets for partitions, in dependency order; not executed yet.

        Partitions are matched by day and country; global assets run for ALL on the same days.
        """
        wanted_partitions = set(partitions)
        days = {p.day for p in wanted_partitions}
        requests: list[dg.RunRequest] = []
        for kind in ("batch_day", "business_day"):
            for scope_def, order in self._platform.run_order:
                keys = [
                    key
                    for key in assets
                    if self._graph.get(key).partitions_def == scope_def
                    and self._op_of(key).startswith(kind)
                ]
                chosen = (
                    {Partition(ALL, day) for day in days} if ALL in order else wanted_partitions
                )
                requests += range_requests(
                    dict.fromkeys(keys, chosen),
                    self._graph,
                    [(scope_def, order)],
                    {TRIGGER_TAG: BACKFILL},
                )
        return requests

    def _op_of(self, key: dg.AssetKey) -> str:
        return self._graph.get(key).assets_def.op.name

    @property
    def executable_assets(self) -> list[dg.AssetKey]:
        """Assets that runs can materialize."""
        return sorted(self._graph.materializable_asset_keys)

    def execute(self, request: dg.RunRequest) -> RunOutcome:
        """Execute one range request in this process."""
        start = request.tags[RANGE_START_TAG]
        end = request.tags[RANGE_END_TAG]
        selection = list(request.asset_selection or [])
        names = tuple(key.to_user_string() for key in selection)
        partitions = start if start == end else f"{start} ... {end}"
        self._say(f"{partitions}: {_summary(names)}")
        began = time.monotonic()
        try:
            result = execute_here(self._job, self.instance, selection, request.tags)
        except KeyboardInterrupt:
            self._say(f"{partitions}: interrupted")
            raise
        failed = tuple(
            evaluation.asset_check_key.to_user_string()
            for evaluation in self._evaluations(result.run_id)
            if not evaluation.passed
            and evaluation.severity == dg.AssetCheckSeverity.ERROR
            # What a partner has not sent is no failure of what was run.
            and evaluation.check_name != COMPLETENESS_CHECK
        )
        error = "; ".join(
            str(event.step_failure_data.error.cause or event.step_failure_data.error).strip()
            for event in result.all_events
            if event.is_step_failure and event.step_failure_data.error
        )
        seconds = time.monotonic() - began
        self._say(
            f"{partitions}: {'done' if result.success else 'FAILED'} in {seconds:.1f} s"
            + (f" ({error.splitlines()[0]})" if error else "")
        )
        return RunOutcome(result.run_id, result.success, partitions, names, seconds, failed, error)

    def _evaluations(self, run_id: str) -> list[dg.AssetCheckEvaluation]:
        """Results of the checks of a run, those included that ops recorded themselves."""
        log = self.instance.all_logs(run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        return [entry.get_dagster_event().asset_check_evaluation_data for entry in log]

    def _recover(self, outcome: Outcome) -> None:
        """Mark runs of killed commands as failed and repeat what failed before.

        Automation does not repeat a failed attempt by itself; a person who calls the command asks
        for exactly that. The same goes for what a stopped run took in and never loaded.
        """
        unfinished = self.instance.get_runs(
            dg.RunsFilter(
                statuses=[
                    dg.DagsterRunStatus.STARTED,
                    dg.DagsterRunStatus.STARTING,
                    dg.DagsterRunStatus.NOT_STARTED,
                    dg.DagsterRunStatus.CANCELING,
                ]
            )
        )
        for run in unfinished:
            pid = run.tags.get(FOREGROUND_TAG)
            if pid and (int(pid) == os.getpid() or not _alive(int(pid))):
                self.instance.report_run_failed(run, f"Process {pid} of this run is gone.")
                if RANGE_START_TAG not in run.tags:
                    continue  # a pull for news; the next one goes on where it stopped
                self._say(f"A run of a killed command (process {pid}) is repeated.")
                outcome.runs.append(
                    self.execute(
                        dg.RunRequest(
                            asset_selection=sorted(run.asset_selection or []),
                            tags={tag: run.tags[tag] for tag in (RANGE_START_TAG, RANGE_END_TAG)},
                        )
                    )
                )
        if self._recovery.nothing_undone():
            return
        with self._warehouse.connect():
            unloaded = unloaded_partitions(self._lake, self._warehouse, self._platform.contracts)
        for request in self._platform.desk.catch_up_requests(unloaded, "unloaded"):
            self._say("Files that an earlier run took in and did not load")
            outcome.runs.append(self.execute(request))
        events = Events(self.instance)
        failed: dict[dg.AssetKey, set[Partition]] = {}
        for key in self._graph.toposorted_asset_keys:
            if key in self._graph.materializable_asset_keys:
                # What is made of a repeated partition goes with it, or waits until it is done.
                failed[key] = stale_partitions(
                    events, self._graph, key, failed, count_failed_attempts=False
                ) - stale_partitions(events, self._graph, key)
        for request in stale_requests(
            failed, self.instance, self._graph, self._platform.run_order, self._platform.desk
        ):
            outcome.runs.append(self.execute(request))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _summary(names: Collection[str]) -> str:
    by_layer: Counter[str] = Counter(name.split("/")[0] for name in names)
    return ", ".join(f"{count} {layer}" for layer, count in by_layer.items())
