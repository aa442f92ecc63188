"""Looking at an installation: what is wrong now, as alerts by kind.

Everything is read as it is now (newest result of each check, freshness, heartbeats, refused files,
circuit breakers), in a handful of queries whatever the history; only runs are read from where the
last look ended. A kind that cannot be read is left out and reported as a blind spot: its troubles
neither begin nor end.

The only module that reads checks, freshness, heartbeats and ticks from Dagster's storages: the
methods are Dagster's own, but not all of them are promised.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import BaseModel, ConfigDict

from retail_platform.alerts import alert as told
from retail_platform.alerts.alert import Alert, FailedRun, Kind, Subject
from retail_platform.alerts.budgets import LookAtBudgets
from retail_platform.assets.completeness import COMPLETENESS_CHECK
from retail_platform.assets.specs import CONTRACT_CHECK, LATENESS_CHECK
from retail_platform.countries import ALL
from retail_platform.lake.inbox import inbox_name, read_rejections
from retail_platform.lake.store import INBOX, Lake
from retail_platform.partitions import Partition, range_of
from retail_platform.resilience.breaker import Breakers

try:
    from dagster._core.definitions.freshness import FreshnessState
    from dagster._core.scheduler.instigation import InstigatorType, TickStatus
    from dagster._core.storage.asset_check_execution_record import (
        AssetCheckExecutionRecordStatus,
    )
    from dagster._core.storage.tags import BACKFILL_ID_TAG, WILL_RETRY_TAG
except ImportError as error:
    raise ImportError(
        f"{error}. Watching Dagster relies on these internals, last seen in Dagster 1.13; "
        f"installed is {dg.__version__}. What the asset and automation pages of its UI query is "
        "their model."
    ) from error

SILENT_AFTER = timedelta(minutes=5)
"""Daemons report every 30 s and sensors are evaluated every few seconds; shorter silences are
restarts and long ticks."""

TRIGGER_TAG = "retail_platform/trigger"
"""Run tag: what asked for a run nobody waits for, e.g. ``backfill``."""

BACKFILL = "backfill"

LOOK_AT_BUDGETS_EVERY = timedelta(hours=6)
"""Each look wakes a warehouse for a minute, and the bill it reads is up to three hours old."""

_FAILURES_IN_A_ROW = 2
"""One failed evaluation is often a restart of the code location."""

_RUNS_PER_LOOK = 200
_LOOK_BACK_AT_FIRST = timedelta(days=1)
_OVERLAP = timedelta(seconds=10)
"""Runs are read again that ended this long before the last one read: their entries are written by
several processes, whose clocks and transactions do not agree to the millisecond."""

_CHECKS_TOLD_OTHERWISE = frozenset({CONTRACT_CHECK, COMPLETENESS_CHECK, LATENESS_CHECK})
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


class BudgetLook(BaseModel):
    """What the last look at the budgets found; they are looked at less often than the rest.

    Attributes:
        blind: that they could not be read, if so.
    """

    model_config = ConfigDict(frozen=True)

    at: datetime
    alerts: tuple[Alert, ...] = ()
    blind: tuple[Alert, ...] = ()


class Memory(BaseModel):
    """How far was looked. Kept in the outbox beside what was found.

    Attributes:
        runs_until: newest update of a run that was read.
        failed: open troubles with runs by key.
        looking_since, looked_at: of the present series of looks without a long pause.
        budgets: None before they are looked at, and without any.
    """

    model_config = ConfigDict(frozen=True)

    runs_until: datetime | None = None
    failed: Mapping[str, FailedRun] = {}
    looking_since: datetime | None = None
    looked_at: datetime | None = None
    budgets: BudgetLook | None = None


@dataclass
class Observation:
    """What one look found.

    Attributes:
        seen: troubles by kind; kinds that could not be looked at are missing.
        memory: for the next look.
        behind: whether more ended runs wait to be read than one look reads.
    """

    memory: Memory
    seen: dict[Kind, Sequence[Alert]] = field(default_factory=dict)
    behind: bool = False


@dataclass(frozen=True)
class Watch:
    """What is needed to look.

    Attributes:
        country_order: countries as ranges of runs count them.
        budgets: reads them; None if there are none.
        unattended: False for a foreground command, which does the work of daemons and sensors.
    """

    instance: dg.DagsterInstance
    graph: Any
    lake: Lake
    breakers: Breakers
    country_order: Sequence[str]
    ui_url: str
    unattended: bool = True
    budgets: LookAtBudgets | None = None

    def look(self, memory: Memory, now: datetime) -> Observation:
        """Look at everything once."""
        since = memory.looking_since
        if since is None or memory.looked_at is None or now - memory.looked_at > SILENT_AFTER:
            since = now
        observation = Observation(
            memory.model_copy(update={"looking_since": since, "looked_at": now})
        )
        looks: dict[Kind, Callable[[], Iterator[Alert]]] = {
            Kind.REFUSED_FILE: self._refused_files,
            Kind.STALE_ASSET: self._stale_assets,
            Kind.DEPENDENCY: self._dependencies,
        }
        # Nothing is said about silence before it could have been heard.
        if self.unattended and now - since >= SILENT_AFTER:
            looks[Kind.DAEMON] = lambda: self._daemons(now)
        if self.unattended:
            looks[Kind.SENSOR] = lambda: self._sensors(now, now - since >= SILENT_AFTER)
        blind: list[Alert] = []
        for kind, look in looks.items():
            with self._seeing(kind, blind):
                observation.seen[kind] = list(look())
        with self._seeing(Kind.FAILED_RUN, blind):
            self._runs(observation, now)
        with self._seeing(Kind.FAILED_CHECK, blind):
            observation.seen.update(self._checks())
        self._spending(observation, blind, now)
        observation.seen[Kind.BLIND] = blind
        return observation

    def _seeing(self, kind: Kind, blind: list[Alert]) -> "_Seeing":
        return _Seeing(kind, blind, self.ui_url)

    def _subject(self, key: dg.AssetKey) -> Subject:
        if not self.graph.has(key):
            return Subject()
        node = self.graph.get(key)
        return Subject(
            owners=tuple(node.owners) or (told.PLATFORM_TEAM,),
            domain=node.tags.get("domain", ""),
        )

    def _spending(self, observation: Observation, blind: list[Alert], now: datetime) -> None:
        """Budgets of which a level is passed. Between two looks, what the last one found."""
        memory = observation.memory
        if self.budgets is None:
            observation.seen[Kind.BUDGET] = []
            return
        last = memory.budgets
        if last is None or now - last.at >= LOOK_AT_BUDGETS_EVERY:
            found: list[Alert] = []
            failure: list[Alert] = []
            with self._seeing(Kind.BUDGET, failure):
                found += [
                    told.budget_passed(
                        use.period, use.name, use.level, use.credits, use.budget, self.ui_url
                    )
                    for use in self.budgets(now.date())
                    if use.level
                ]
            last = BudgetLook(at=now, alerts=tuple(found), blind=tuple(failure))
            observation.memory = memory.model_copy(update={"budgets": last})
        blind += last.blind
        if not last.blind:
            observation.seen[Kind.BUDGET] = last.alerts

    def _refused_files(self) -> Iterator[Alert]:
        records = read_rejections(self.lake)
        if not records:
            return
        there = {inbox_name(o): o.version for o in self.lake.list(INBOX)}
        for record in records:
            # Records of files that are gone are dropped by the next run.
            if there.get(record.name) == record.version:
                subject = self._subject(dg.AssetKey(["feeds", record.feed or ""]))
                yield told.refused_file(record, subject, self.ui_url)

    def _stale_assets(self) -> Iterator[Alert]:
        keys = [k for k in self.graph.get_all_asset_keys() if self.graph.get(k).freshness_policy]
        records = self.instance.get_freshness_state_records(keys)
        for key, record in records.items():
            if record.freshness_state is FreshnessState.FAIL:
                yield told.stale_asset(key.to_user_string(), self._subject(key), self.ui_url)

    def _dependencies(self) -> Iterator[Alert]:
        for state in self.breakers.states():
            if state.open:
                yield told.open_circuit(state.name, str(state), self.ui_url)

    def _daemons(self, now: datetime) -> Iterator[Alert]:
        for name, seen in daemon_heartbeats(self.instance).items():
            if seen and now - seen > SILENT_AFTER:
                yield told.silent_daemon(name, seen, self.ui_url)

    def _sensors(self, now: datetime, silence_counts: bool) -> Iterator[Alert]:
        for found in automations(self.instance):
            if len(found.failures) >= _FAILURES_IN_A_ROW:
                yield told.failing_sensor(
                    found.name, len(found.failures), set(found.failures), self.ui_url
                )
            elif silence_counts and found.silent(now) and found.last_tick:
                yield told.dead_sensor(found.name, found.last_tick, self.ui_url)

    def _checks(self) -> dict[Kind, Sequence[Alert]]:
        """Newest results of all checks: three kinds of alerts."""
        failed: list[Alert] = []
        gaps: list[Alert] = []
        late: list[Alert] = []
        storage = self.instance.event_log_storage
        records = storage.get_asset_check_summary_records(list(self.graph.asset_check_keys))
        for key, summary in records.items():
            record = summary.last_completed_check_execution_record
            if record is None or record.status is not AssetCheckExecutionRecordStatus.FAILED:
                continue
            if record.event is None:
                continue
            evaluation = record.event.get_dagster_event().asset_check_evaluation_data
            metadata: dict[str, Any] = {n: v.value for n, v in evaluation.metadata.items()}
            asset = key.asset_key.to_user_string()
            subject = self._subject(key.asset_key)
            if key.name == COMPLETENESS_CHECK:
                table = evaluation.metadata.get("deliveries")
                rows = table.records if isinstance(table, dg.TableMetadataValue) else []
                gaps += [self._gap(key.asset_key.path[-1], row.data, subject) for row in rows]
            elif key.name == LATENESS_CHECK:
                count = int(metadata.get("business_days_touched", 0))
                late.append(told.late_rows(asset, record.run_id, count, subject, self.ui_url))
            elif key.name not in _CHECKS_TOLD_OTHERWISE:
                facts = ""
                if "failing_rows" in metadata:
                    facts = f": {metadata['failing_rows']} rows in {metadata.get('slices', '')}"
                error = evaluation.severity is dg.AssetCheckSeverity.ERROR
                failed.append(
                    told.failed_check(
                        asset, key.name, record.run_id, error, facts, subject, self.ui_url
                    )
                )
        return {Kind.FAILED_CHECK: failed, Kind.DELIVERY: gaps, Kind.LATE_ROWS: late}

    def _gap(self, feed: str, row: Mapping[str, Any], subject: Subject) -> Alert:
        delivered = row["delivered"] if row["delivered"] != "missing" else None
        return told.delivery(
            feed, str(row["partition"]), str(row["due"]), delivered, subject, self.ui_url
        )

    def _runs(self, observation: Observation, now: datetime) -> None:
        """Runs that ended since the last look: failures begin troubles, successes end them."""
        memory = observation.memory
        since = memory.runs_until or now - _LOOK_BACK_AT_FIRST
        records = self.instance.get_run_records(
            dg.RunsFilter(statuses=_ENDED, updated_after=since - _OVERLAP),
            limit=_RUNS_PER_LOOK,
            order_by="update_timestamp",
            ascending=True,
        )
        failed = dict(memory.failed)
        for record in records:
            run = record.dagster_run
            if run.status is dg.DagsterRunStatus.SUCCESS:
                done = self._request_of(run)
                left = {key: trouble.after_success(done) for key, trouble in failed.items()}
                failed = {key: trouble for key, trouble in left.items() if trouble}
            elif run.tags.get(WILL_RETRY_TAG) != "true":
                trouble = self._request_of(run)
                known = {t.run_id: k for k, t in failed.items()}
                if run.run_id not in known:
                    errors = self._errors_of(run.run_id)
                    failed[trouble.key] = trouble.model_copy(update={"errors": errors})
        subjects = {
            asset: self._subject(dg.AssetKey(asset.split("/")))
            for trouble in failed.values()
            for asset in trouble.assets
        }
        observation.seen[Kind.FAILED_RUN] = [
            told.failed_run(trouble, key, subjects, self.ui_url) for key, trouble in failed.items()
        ]
        until = max((_utc(r.update_timestamp) for r in records), default=since)
        observation.behind = len(records) == _RUNS_PER_LOOK
        observation.memory = memory.model_copy(update={"runs_until": until, "failed": failed})

    def _request_of(self, run: dg.DagsterRun) -> FailedRun:
        tags = run.tags
        countries: tuple[str, ...] = ()
        first = last = None
        covered = range_of(tags)
        if covered:
            a, b = map(Partition.parse, covered)
            order = [ALL] if a.country == ALL else list(self.country_order)
            if a.country in order and b.country in order:
                countries = tuple(order[order.index(a.country) : order.index(b.country) + 1])
            first, last = a.day, b.day
        selection = sorted(key.to_user_string() for key in run.asset_selection or ())
        return FailedRun(
            run_id=run.run_id,
            job=run.job_name,
            assets=tuple(selection),
            countries=countries or (() if first is None else (ALL,)),
            first=first,
            last=last,
            bulk=BACKFILL_ID_TAG in tags or tags.get(TRIGGER_TAG) == BACKFILL,
        )

    def _errors_of(self, run_id: str) -> tuple[str, ...]:
        """Classes of the errors of a run: what they say may quote values of rows."""
        names = []
        for entry in self.instance.all_logs(run_id, dg.DagsterEventType.STEP_FAILURE):
            event = entry.dagster_event
            found = event.step_failure_data.error if event else None
            if found:
                names.append((found.cause or found).cls_name or "")
        return tuple(dict.fromkeys(name for name in names if name))


class _Seeing:
    """Turns a failure to look into a blind spot, whatever the failure."""

    def __init__(self, kind: Kind, blind: list[Alert], ui_url: str) -> None:
        self._kind, self._blind, self._ui_url = kind, blind, ui_url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        self._blind.append(told.blind_spot(self._kind, kind.__name__, self._ui_url))
        return True


@dataclass(frozen=True)
class Automation:
    """A sensor or schedule that is switched on.

    Attributes:
        last_tick: None before the first.
        failures: classes of the errors of its newest ticks, as long as they failed in a row.
        interval: seconds between ticks; None for schedules, which may sleep for days.
    """

    name: str
    last_tick: datetime | None
    failures: tuple[str, ...]
    interval: float | None

    def silent(self, now: datetime) -> bool:
        """Whether it ought to have been evaluated since."""
        if self.interval is None or self.last_tick is None:
            return False
        return now - self.last_tick > max(SILENT_AFTER, timedelta(seconds=10 * self.interval))


def daemon_heartbeats(instance: dg.DagsterInstance) -> dict[str, datetime | None]:
    """When each daemon this instance needs was last alive; None if never."""
    beats = instance.get_daemon_heartbeats()
    return {
        name: datetime.fromtimestamp(beats[name].timestamp, UTC) if name in beats else None
        for name in sorted(instance.get_required_daemon_types())
    }


def automations(instance: dg.DagsterInstance) -> list[Automation]:
    """Sensors and schedules that are switched on, with their newest ticks."""
    found = []
    for state in instance.all_instigator_state():
        if not state.is_running:
            continue
        ticks = instance.get_ticks(
            state.instigator_origin_id, state.selector_id, limit=3, after=time.time() - 8 * 86_400
        )
        over = [tick for tick in ticks if tick.status is not TickStatus.STARTED]
        failures = []
        for tick in over:
            if tick.status is not TickStatus.FAILURE:
                break
            error = tick.error
            failures.append((((error.cause or error).cls_name) if error else "") or "unknown")
        is_sensor = state.instigator_type is InstigatorType.SENSOR
        data = state.sensor_instigator_data if is_sensor else None
        found.append(
            Automation(
                name=state.instigator_name,
                last_tick=datetime.fromtimestamp(ticks[0].timestamp, UTC) if ticks else None,
                failures=tuple(failures),
                interval=float((data.min_interval if data else None) or 30) if is_sensor else None,
            )
        )
    return sorted(found, key=lambda a: a.name)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
