"""From files in the inbox to Dagster: arrival events for a few, range runs for a backlog.

The sensor does no data work: it lists the inbox, or asks the queue that announces files and lists
every few minutes for what the queue missed; it decides by name, and hands on. A few arrivals become
events on the external assets `inbox/<feed>`, from which declared automation takes over; a backlog
becomes runs over generous ranges at once, because thousands of events would cost more than the
work.
"""

import hashlib
import json
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import BaseModel, ValidationError

from retail_platform.assets.slices import ONLY_ARRIVALS, ONLY_ARRIVALS_TAG
from retail_platform.assets.specs import feed_key, inbox_key, raw_key
from retail_platform.contract import FeedContract
from retail_platform.countries import CountryRegistry
from retail_platform.errors import DependencyDown
from retail_platform.lake.inbox import (
    Arrival,
    ArrivalPlan,
    plan_arrivals,
    read_rejections,
    record_rejections,
    with_companions,
)
from retail_platform.lake.queue import ArrivalQueue, Message
from retail_platform.lake.store import INBOX, Lake
from retail_platform.partitions import Partition, Partitioning, Scope, Slices, bounding_slices
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import OBJECT_STORE, QUEUE, WAREHOUSE
from retail_platform.resources import LakeResource

_GAP_DAYS = 7
"""Days without files that still belong to one range; beyond, two runs cost less than the planned
events of the empty days between."""

_MOST_SHOWN = 5


@dataclass(frozen=True)
class ArrivalDesk:
    """Everything needed to understand the inbox.

    Attributes:
        batch_day_models: dbt asset keys that are built together with a feed.
    """

    contracts: Mapping[str, FeedContract]
    registry: CountryRegistry
    partitioning: Partitioning
    batch_day_models: Mapping[str, Collection[dg.AssetKey]]
    settle: timedelta
    backlog_partitions: int

    def look(self, lake: Lake, paths: Collection[str] | None = None) -> ArrivalPlan:
        """Understand the inbox; files refused by name are recorded.

        Args:
            paths: look at these objects only; None lists the inbox.
        """
        known = read_rejections(lake)
        if paths is not None:
            names = [path.removeprefix(INBOX) for path in paths]
            paths = [INBOX + name for name in with_companions(names, self.contracts)]
        plan = plan_arrivals(
            lake.list(INBOX) if paths is None else lake.find(sorted(paths)),
            self.contracts,
            self.registry,
            known_rejections=known,
            first_day=self.partitioning.first_day,
            last_day=self.partitioning.last_day,
            now=datetime.now(UTC),
            settle=self.settle if lake.local_root else timedelta(0),
        )
        recorded = {(r.name, r.version) for r in known}
        record_rejections(lake, [r for r in plan.rejections if (r.name, r.version) not in recorded])
        return plan

    def events(self, arrivals: Collection[Arrival]) -> list[dg.AssetMaterialization]:
        """One event per feed and partition that files arrived for."""
        events = []
        for feed, partitions in self._partitions(arrivals).items():
            for partition in sorted(partitions):
                files = [
                    a
                    for a in arrivals
                    if a.file.feed == feed
                    and a.file.day == partition.day
                    and partition in self._partitions([a])[feed]
                ]
                events.append(
                    dg.AssetMaterialization(
                        inbox_key(feed),
                        partition=str(partition),
                        metadata={
                            "files": ", ".join(a.name for a in files[:20]),
                            "bytes": sum(a.object.size for a in files),
                            "delivered_at": max(a.object.modified for a in files).isoformat(),
                        },
                        tags={"dagster/data_version": identity(files)},
                    )
                )
        return events

    def range_requests(self, arrivals: Collection[Arrival]) -> list[dg.RunRequest]:
        """Few runs that cover all arrivals; global feeds first, since sales need their rates."""
        return self.catch_up_requests(self._partitions(arrivals), identity(arrivals))

    def generous_requests(
        self, wanted: Mapping[dg.AssetKey, Collection[Partition]]
    ) -> list[dg.RunRequest]:
        """Few runs that bring batch-day assets up to date, generous ones as for arrivals.

        Args:
            wanted: stale partitions of batch-day assets, of each at least one.
        """
        by_feed = {
            feed: {p for key in self.assets_of([feed]) for p in wanted.get(key, ())}
            for feed in self.contracts
        }
        requests = self.catch_up_requests({feed: found for feed, found in by_feed.items() if found})
        # Only what is stale: loading RAW again would make what failed behind it stale for ever.
        return [
            request._replace(
                asset_selection=[k for k in request.asset_selection or [] if k in wanted]
            )
            for request in requests
        ]

    def catch_up_requests(
        self, by_feed: Mapping[str, set[Partition]], occasion: str | None = None
    ) -> list[dg.RunRequest]:
        """Few runs that bring news of these feeds and partitions into RAW and what is made of it.

        Args:
            occasion: goes into the run keys, so that a sensor never asks twice for the same.
        """
        requests = []
        for scope in (Scope.GLOBAL, Scope.COUNTRY):
            feeds = [f for f in by_feed if self.contracts[f].scope is scope]
            wanted = {p for f in feeds for p in by_feed[f]}
            for slices in _ranges(wanted, self.partitioning.order(scope)):
                inside = set(slices)
                covered = [f for f in feeds if by_feed[f] & inside]
                requests.append(
                    dg.RunRequest(
                        run_key=f"{slices}:{occasion}" if occasion else None,
                        asset_selection=sorted(self.assets_of(covered)),
                        tags={**slices.run_tags(), ONLY_ARRIVALS_TAG: ONLY_ARRIVALS},
                    )
                )
        return requests

    def assets_of(self, feeds: Iterable[str]) -> set[dg.AssetKey]:
        """Batch-day assets that files of these feeds concern."""
        return {
            key
            for feed in feeds
            for key in (feed_key(feed), raw_key(feed), *self.batch_day_models.get(feed, ()))
        }

    def _partitions(self, arrivals: Iterable[Arrival]) -> dict[str, set[Partition]]:
        return ArrivalPlan(tuple(arrivals), (), 0).partitions(self.contracts, self.registry)


def identity(arrivals: Iterable[Arrival]) -> str:
    """Short fingerprint of a set of files in their present versions."""
    text = json.dumps(sorted(_version_of(a) for a in arrivals))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _version_of(arrival: Arrival) -> tuple[str, ...]:
    versions = (arrival.object.version, arrival.control_version)
    return (arrival.name, *(version for version in versions if version))


def _ranges(partitions: Collection[Partition], order: Collection[str]) -> list[Slices]:
    days = sorted({p.day for p in partitions})
    ranges: list[Slices] = []
    start = 0
    for i, day in enumerate(days):
        if i + 1 == len(days) or (days[i + 1] - day).days > _GAP_DAYS:
            group = [p for p in partitions if days[start] <= p.day <= day]
            ranges.append(bounding_slices(group, order))
            start = i + 1
    return ranges


class SensorMemory(BaseModel):
    """What the sensor remembers from tick to tick; its cursor.

    Attributes:
        seen: fingerprints of files that were handed on and may still lie in the inbox.
        receipts: messages about files that were handed on in the last tick. That this can be read
            means that its plan is stored, so now they may go.
        swept_at: when the inbox was last listed, seconds since 1970.
    """

    seen: frozenset[str] = frozenset()
    receipts: tuple[str, ...] = ()
    swept_at: float = 0.0

    @classmethod
    def of(cls, cursor: str | None) -> "SensorMemory":
        """Read a cursor; a new sensor's, and one of another release, remembers nothing.

        Forgetting is harmless: what still lies in the inbox is handed on once more.
        """
        try:
            return cls.model_validate_json(cursor) if cursor else cls()
        except ValidationError:
            return cls()

    def cursor(self) -> str:
        """As text, the same for the same memory."""
        fields = self.model_dump(mode="json")
        return json.dumps({**fields, "seen": sorted(self.seen)})


@dataclass(frozen=True)
class Look:
    """One look at what arrived.

    Attributes:
        memory: to be kept if everything found is handed on.
    """

    plan: ArrivalPlan
    fresh: list[Arrival]
    memory: SensorMemory


def look_for_arrivals(
    desk: ArrivalDesk, lake: Lake, memory: SensorMemory, queue: ArrivalQueue | None, sweep: float
) -> Look:
    """Find files that were not handed on yet.

    Args:
        queue: announces files; None lists the inbox every time.
        sweep: seconds between listings while there is a queue.
    """
    now = time.time()
    messages: list[Message] = []
    paths: set[str] | None = None
    if queue:
        queue.delete(memory.receipts)
        messages = queue.receive()
        if now < memory.swept_at + sweep:
            called = {lake.path_of(n.bucket, n.key) for m in messages for n in m.notified}
            paths = {path for path in called if path and path.startswith(INBOX)}
    with queue.held(messages) if queue else nullcontext():
        plan = desk.look(lake, paths)
    fingerprints = {identity([a]): a for a in plan.arrivals}
    fresh = [a for f, a in fingerprints.items() if f not in memory.seen]
    if queue and not fresh:
        queue.delete([m.receipt for m in messages])
        messages = []
    # After a listing only what still lies in the inbox is remembered, so the cursor stays small.
    return Look(
        plan,
        fresh,
        SensorMemory(
            seen=frozenset(fingerprints) | (frozenset() if paths is None else memory.seen),
            receipts=tuple(m.receipt for m in messages),
            swept_at=now if paths is None else memory.swept_at,
        ),
    )


def build_inbox_sensor(
    desk: ArrivalDesk,
    jobs: Mapping[Scope, Any],
    queue: ArrivalQueue | None,
    sweep_seconds: float,
    breakers: Breakers,
) -> dg.SensorDefinition:
    """The sensor that watches the inbox.

    Args:
        jobs: asset job over the batch-day assets of each scope.
        queue: announces files; None lists the inbox on every tick.
        sweep_seconds: how often the inbox is listed nevertheless.
        breakers: while what the sensor or its runs need is down, files wait in the inbox.
    """
    needed = (OBJECT_STORE, *([QUEUE] if queue else []))

    @dg.sensor(
        name="inbox_sensor",
        jobs=list(jobs.values()),
        minimum_interval_seconds=3,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Notices files in the inbox and hands them on: events for a few, range runs "
        "for a backlog.",
    )
    def inbox_sensor(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult:
        memory = SensorMemory.of(context.cursor)
        try:
            reason = breakers.refusal([WAREHOUSE])
            if reason:
                raise DependencyDown(reason)
            with ExitStack() as guards:
                for name in needed:
                    guards.enter_context(breakers.guard(name))
                look = look_for_arrivals(desk, lake.open(), memory, queue, sweep_seconds)
        except DependencyDown as down:
            return dg.SensorResult(skip_reason=f"Files wait: {down}", cursor=context.cursor)
        cursor = look.memory.cursor()
        fresh, plan = look.fresh, look.plan
        if not fresh:
            return dg.SensorResult(
                skip_reason=f"Nothing new: {len(plan.arrivals)} files on their way, "
                f"{len(plan.rejections)} refused, {plan.settling} still being written."
                + "".join(f" {half}." for half in plan.waiting[:_MOST_SHOWN]),
                cursor=cursor,
            )
        requests = desk.range_requests(fresh)
        count = sum(len(p) for p in plan.partitions(desk.contracts, desk.registry).values())
        if count > desk.backlog_partitions:
            context.log.info(f"{len(fresh)} files for {count} partitions: {len(requests)} runs")
            return dg.SensorResult(
                run_requests=[_in_job(request, desk, jobs) for request in requests], cursor=cursor
            )
        events = desk.events(fresh)
        context.log.info(f"{len(fresh)} files for {len(events)} partitions")
        return dg.SensorResult(asset_events=events, cursor=cursor)

    return inbox_sensor


def _in_job(request: dg.RunRequest, desk: ArrivalDesk, jobs: Mapping[Scope, Any]) -> dg.RunRequest:
    feed = next(k.path[-1] for k in request.asset_selection or [] if k.path[0] == "feeds")
    return request._replace(job_name=jobs[desk.contracts[feed].scope].name)
