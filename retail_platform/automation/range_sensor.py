"""Automation conditions evaluated by Dagster, requests handed on as ranges.

Dagster's own automation sensor turns more than one partition into a backfill: a daemon loop of 30 s
per level, and one run per country or per day. This sensor evaluates the same declared conditions,
keeps the same evaluation history in the UI, and requests runs that cover whole rectangles of
country x day, so a late file is in the marts within seconds and a year of history takes few runs.

The only module that uses Dagster's automation tick directly; `retail run` evaluates through it too.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dagster as dg

from retail_platform.automation.arrivals import ArrivalDesk
from retail_platform.automation.inputs import Events, layers, stale_partitions
from retail_platform.partitions import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    Partition,
    joined,
    rectangles,
)

try:
    from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
    from dagster._core.definitions.automation_tick_evaluation_context import (
        AutomationTickEvaluationContext,
    )
    from dagster._core.definitions.sensor_definition import wrap_sensor_evaluation
    from dagster._daemon.asset_daemon import (
        asset_daemon_cursor_from_instigator_serialized_cursor,
        asset_daemon_cursor_to_instigator_serialized_cursor,
    )
except ImportError as error:
    raise ImportError(
        f"{error}. Range automation relies on these internals, last seen in Dagster 1.13; "
        f"installed is {dg.__version__}. `_evaluate` in "
        "dagster/_core/definitions/automation_condition_sensor_definition.py is its model."
    ) from error

_MATERIALIZED = dg.DagsterEventType.ASSET_MATERIALIZATION

RunOrder = Sequence[tuple[dg.PartitionsDefinition, Collection[str]]]
"""Partition definitions with the order of their country keys; earlier ones run first."""

Cursor = AssetDaemonCursor
"""What an evaluation remembers for the next one."""


_LONGEST_LULL = 60
"""Seconds after which everything is looked at again without news. What leaves no event, as a new
day or a backfill, is seen that much later."""


@dataclass
class _Lull:
    """When nothing was to be done; until something happens, that stays so.

    A tick every few seconds that compares all assets keeps a third of a core busy for nothing.
    """

    seen: tuple[str, int | None] | None = None
    ends: float = 0.0

    def begin(self, seen: tuple[str, int | None]) -> None:
        """There was nothing to do after these events."""
        self.seen, self.ends = seen, time.monotonic() + _LONGEST_LULL

    def lasts(self, seen: tuple[str, int | None]) -> bool:
        """Whether there still is nothing to do."""
        return self.seen == seen and time.monotonic() < self.ends


class RangeAutomationSensor(dg.AutomationConditionSensorDefinition):
    """Automation sensor that requests one run per rectangle of partitions."""

    def __init__(
        self,
        name: str,
        *,
        run_order: RunOrder,
        desk: ArrivalDesk,
        refusal: Callable[[], str | None] = lambda: None,
        **kwargs: Any,
    ) -> None:
        """See `dagster.AutomationConditionSensorDefinition`; evaluated in the user code server.

        Args:
            refusal: why nothing can run at present, None when runs may be requested. What is stale
                stays so, and is requested afterwards.
        """
        super().__init__(name, use_user_code_server=True, emit_backfills=False, **kwargs)
        evaluation = partial(
            _evaluate_tick, self.asset_selection, run_order, desk, refusal, _Lull()
        )
        self._raw_fn = evaluation
        self._evaluation_fn = wrap_sensor_evaluation(name, evaluation)


def _evaluate_tick(
    selection: dg.AssetSelection,
    run_order: RunOrder,
    desk: ArrivalDesk,
    refusal: Callable[[], str | None],
    lull: _Lull,
    context: dg.SensorEvaluationContext,
) -> dg.SensorResult:
    # Asked before looking: what happens meanwhile is news for the next tick.
    newest = context.instance.event_log_storage.get_maximum_record_id()
    seen = context.instance.root_directory, newest
    reason = refusal()
    if not reason and lull.lasts(seen):
        reason = "Nothing has happened since everything was found up to date."
    if reason:
        return dg.SensorResult(skip_reason=reason, cursor=context.cursor)
    if context.repository_def is None:
        raise ValueError("The sensor is evaluated without a code location.")
    requests, cursor, evaluations = evaluate_ranges(
        context.instance,
        context.repository_def.asset_graph,
        selection,
        run_order,
        desk,
        asset_daemon_cursor_from_instigator_serialized_cursor(
            context.cursor, context.repository_def.asset_graph
        ),
        context.log,
    )
    if not requests:
        lull.begin(seen)
    for request in requests:
        context.log.info(f"Requesting {describe(request)}")
    return dg.SensorResult(
        run_requests=requests,
        cursor=asset_daemon_cursor_to_instigator_serialized_cursor(cursor),
        automation_condition_evaluations=evaluations,
    )


def evaluate_ranges(
    instance: dg.DagsterInstance,
    asset_graph: BaseAssetGraph,
    selection: dg.AssetSelection,
    run_order: RunOrder,
    desk: ArrivalDesk,
    cursor: Cursor | None,
    logger: logging.Logger,
) -> tuple[list[dg.RunRequest], Cursor, Sequence[Any]]:
    """Evaluate the declared conditions once.

    Args:
        cursor: what the previous evaluation returned, None at first.

    Returns:
        Run requests, the new cursor, and evaluation records for the UI.
    """
    before = cursor or Cursor.empty()
    tick = _RangeTick(
        run_order=run_order,
        desk=desk,
        evaluation_id=before.evaluation_id + 1,
        instance=instance,
        asset_graph=asset_graph,
        cursor=before,
        materialize_run_tags={},
        observe_run_tags={},
        auto_observe_asset_keys=set(),
        asset_selection=selection,
        emit_backfills=False,
        logger=logger,
    )
    requests, after, evaluations = tick.evaluate()
    return list(requests), after, evaluations


class _RangeTick(AutomationTickEvaluationContext):
    """Dagster's tick, with requests built as rectangles."""

    def __init__(
        self,
        *,
        instance: dg.DagsterInstance,
        run_order: RunOrder,
        desk: ArrivalDesk,
        **kwargs: Any,
    ) -> None:
        super().__init__(instance=instance, **kwargs)
        self._instance = instance
        self._run_order = run_order
        self._desk = desk

    def _build_run_requests(self, entity_subsets: Sequence[Any]) -> Sequence[dg.RunRequest]:
        wanted = {
            subset.key: {
                Partition.parse(key) for key in subset.expensively_compute_partition_keys()
            }
            for subset in entity_subsets
            if isinstance(subset.key, dg.AssetKey) and not subset.is_empty
        }
        return stale_requests(wanted, self._instance, self.asset_graph, self._run_order, self._desk)


def stale_requests(
    wanted: Mapping[dg.AssetKey, Collection[Partition]],
    instance: dg.DagsterInstance,
    asset_graph: BaseAssetGraph,
    run_order: RunOrder,
    desk: ArrivalDesk,
) -> list[dg.RunRequest]:
    """Runs that bring stale partitions up to date, and repeat what is in between for less runs.

    Feeds hardly ever want the same partitions, so batch-day assets would take a run for each of
    their rectangles. One generous run that leaves partitions without news alone does the same,
    unless something else than news makes them stale, as a failed freshness policy does.
    """
    feeds_and_models = desk.assets_of(desk.contracts)
    of_feeds = {key: set(p) for key, p in wanted.items() if key in feeds_and_models and p}
    others = {key: p for key, p in wanted.items() if key not in of_feeds}
    requests = range_requests(of_feeds, asset_graph, run_order)
    generous = desk.generous_requests(of_feeds)
    if len(generous) < len(requests) and _have_news(of_feeds, instance, asset_graph):
        requests = generous
    events = Events(instance)

    def were_built(keys: Collection[dg.AssetKey], partitions: set[Partition]) -> bool:
        return all(
            partitions <= events.latest(key, _MATERIALIZED, of=partitions).keys() for key in keys
        )

    return [*requests, *range_requests(others, asset_graph, run_order, is_spare=were_built)]


def _have_news(
    wanted: Mapping[dg.AssetKey, set[Partition]],
    instance: dg.DagsterInstance,
    asset_graph: BaseAssetGraph,
) -> bool:
    events = Events(instance)
    return all(
        partitions
        <= stale_partitions(events, asset_graph, key, wanted, count_failed_attempts=False)
        for key, partitions in wanted.items()
    )


def range_requests(
    wanted: Mapping[dg.AssetKey, Collection[Partition]],
    asset_graph: BaseAssetGraph,
    run_order: RunOrder,
    tags: Mapping[str, str] | None = None,
    is_spare: Callable[[Collection[dg.AssetKey], set[Partition]], bool] | None = None,
) -> list[dg.RunRequest]:
    """Runs that cover these partitions: assets that want the same ones share runs.

    One that reads other partitions of another has a run after it.

    Args:
        is_spare: whether assets may be built for partitions nobody asked for, where that saves
            runs; if not given, they never are.
    """
    place = list(asset_graph.toposorted_asset_keys).index
    requests: list[dg.RunRequest] = []
    for partitions_def, countries in run_order:
        together: dict[frozenset[Partition], list[dg.AssetKey]] = defaultdict(list)
        for key, partitions in wanted.items():
            if partitions and asset_graph.get(key).partitions_def == partitions_def:
                together[frozenset(partitions)].append(key)
        # What several are made of comes before them, or they would be built twice.
        for partitions, keys in sorted(together.items(), key=lambda item: max(map(place, item[1]))):
            for layer in layers(asset_graph, keys):
                # What is made of its own past would, days first, be built on days yet to be built.
                own_past = any(asset_graph.get(key).has_self_dependency for key in layer)
                exact = rectangles(partitions, countries, days_together=own_past)
                ranges = joined(exact, countries, partial(is_spare, layer)) if is_spare else exact
                requests += [
                    dg.RunRequest(
                        asset_selection=sorted(layer), tags={**slices.run_tags(), **(tags or {})}
                    )
                    for slices in ranges
                ]
    return requests


def describe(request: dg.RunRequest) -> str:
    """One line about a range request, for logs."""
    start = request.tags[RANGE_START_TAG]
    end = request.tags[RANGE_END_TAG]
    names = ", ".join(key.to_user_string() for key in request.asset_selection or [])
    return f"{start} ... {end}: {names}"
