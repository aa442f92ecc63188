"""The condition that drives everything: an input is newer than my last attempt.

Level-triggered on purpose. Conditions that watch for changes between two ticks forget what
happened before their first tick, during an outage, or in a run that failed; this one compares what
is recorded, so a platform that was off for a week does the right thing when it comes back.

The 7-day lookback needs nothing here: it is the partition mapping between staging and the
intermediate layer, and this condition follows the mappings that are declared.

What an unfinished run covers is waited for as a whole. Dagster's own conditions count a partition
as done as soon as the run has recorded it; seen in the middle of recording, a rectangle falls into
pieces, and so does everything that is built from it: one run each instead of one for all.
"""

import json
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from weakref import WeakKeyDictionary

import dagster as dg

from retail_platform.partitions import Partition, range_of

try:
    from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
    from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, DagsterRun
except ImportError as error:
    raise ImportError(
        f"{error}. This condition reads the asset graph through internals last seen in Dagster "
        f"1.13; installed is {dg.__version__}."
    ) from error

_MATERIALIZED = dg.DagsterEventType.ASSET_MATERIALIZATION
_PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED

_MOST_PARAMETERS = 5_000
"""Partitions named in one query; for more all are fetched."""

_UNFINISHED: WeakKeyDictionary[AssetGraphView, Sequence[DagsterRun]] = WeakKeyDictionary()
"""What `_unfinished` found; one view belongs to one tick."""

_EVENTS: WeakKeyDictionary[AssetGraphView, "Events"] = WeakKeyDictionary()
"""Events as the conditions of one tick see them."""

_LATER: WeakKeyDictionary[AssetGraphView, dict[dg.AssetKey, set[Partition]]] = WeakKeyDictionary()
"""Partitions that wait for what is built first, as the conditions of one tick found them: inputs
are evaluated before what is made of them. What reads one of these waits as well, else it would be
built now and once more."""


class InputsArrived(dg.AutomationCondition):
    """True for partitions with an input newer than the start of their last attempt.

    Compared with the START of the attempt (its planned event), because an input that arrives while
    a run works may or may not be in what that run read; only inputs that the same run builds are
    compared with its end. A failed attempt is not repeated until
    something new arrives; repeating crashed runs is the business of run retries.

    An input in the one global partition (exchange rates) refreshes country partitions that were
    attempted before; it never brings a country's day into being.
    """

    @property
    def requires_cursor(self) -> bool:
        """Remembers the inputs of a quiet evaluation: the next one looks at what came since."""
        return True

    @property
    def name(self) -> str:
        """Shown in the UI."""
        return "an input is newer than the last attempt, and no run is about to change that"

    async def evaluate(  # type: ignore[override]  # Dagster awaits those that it can
        self, context: dg.AutomationContext
    ) -> dg.AutomationResult:
        """Find the partitions; part of Dagster's interface for conditions."""
        view = context.asset_graph_view
        if context.candidate_subset.is_empty:
            return dg.AutomationResult(context, context.get_empty_subset(), cursor=context.cursor)
        runs = _unfinished(view)  # before events are read: what ends now is looked at next time
        first_day, last_day = _day_bounds(context.partitions_def)
        # A new day has inputs already: Friday's exchange rate makes Sunday's.
        days = [first_day.isoformat(), last_day.isoformat()]
        parents = view.asset_graph.get(context.key).parent_keys
        newest = {parent: _newest_event(view, parent) for parent in parents}
        inputs = {parent.to_user_string(): event for parent, event in newest.items()}
        cursor = json.dumps({"days": days, "inputs": inputs}, sort_keys=True)
        requested = {
            key: {Partition.parse(p) for p in subset.expensively_compute_partition_keys()}
            for key, subset in context.request_subsets_by_key.items()
            if isinstance(key, dg.AssetKey) and not subset.is_empty
        }
        later = _LATER.setdefault(view, {})
        about_to_run = any(requested.get(parent) or later.get(parent) for parent in parents)
        if context.cursor == cursor and not about_to_run:
            return dg.AutomationResult(context, context.get_empty_subset(), cursor=cursor)
        events = _EVENTS.setdefault(view, Events(view.instance))
        waiting = _waiting(events, view.asset_graph, context.key, requested, later)
        stale = stale_partitions(
            events,
            view.asset_graph,
            context.key,
            requested,
            waiting,
            done_until=_done_until(context.cursor, days, parents),
        )
        busy = await _being_written(view, context.key, runs) if stale or waiting else set()
        later[context.key] = waiting | busy
        subset = view.get_subset_from_partition_keys(
            context.key,
            view.asset_graph.get(context.key).partitions_def,
            {str(p) for p in stale - busy},
        ).compute_intersection(context.candidate_subset)
        # What is stale, or waits for an input that may yet fail, must be found again next time.
        quiet = not stale and not about_to_run
        return dg.AutomationResult(context, subset, cursor=cursor if quiet else context.cursor)


def _unfinished(view: AssetGraphView) -> Sequence[DagsterRun]:
    """Runs that were waiting or working when the first condition of this tick asked.

    One that is created and writes inputs before the tick has looked at them all can at worst cause
    a run that repeats what it did.
    """
    if view not in _UNFINISHED:
        _UNFINISHED[view] = view.instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    return _UNFINISHED[view]


async def _being_written(
    view: AssetGraphView, key: dg.AssetKey, runs: Iterable[DagsterRun]
) -> set[Partition]:
    """Partitions that a run or a backfill is to build, or that read what one is to build.

    Dagster's own condition for inputs in backfills maps all candidates through the declared
    windows, though hardly ever there is a backfill.
    """
    found = {*_by_runs(view.asset_graph, key, runs), *await _by_backfills(view, key)}
    for parent, children in _children_by_input(view.asset_graph, key).items():
        built = {*_by_runs(view.asset_graph, parent, runs), *await _by_backfills(view, parent)}
        found |= children.reading(built)
    return found


def _by_runs(
    asset_graph: BaseAssetGraph, key: dg.AssetKey, runs: Iterable[DagsterRun]
) -> Iterator[Partition]:
    """Partitions of an asset that unfinished runs build."""
    for run in runs:
        # No selection means all assets of the job; which these are the run does not say.
        if run.asset_selection is None or key in run.asset_selection:
            yield from _covered(asset_graph, key, run)


async def _by_backfills(view: AssetGraphView, key: dg.AssetKey) -> Iterator[Partition]:
    """Partitions of an asset that backfills in progress are to build."""
    subset = await view.compute_backfill_in_progress_subset(
        key=key, from_subset=view.get_full_subset(key=key)
    )
    return map(Partition.parse, subset.expensively_compute_partition_keys())


def _covered(asset_graph: BaseAssetGraph, key: dg.AssetKey, run: DagsterRun) -> Iterator[Partition]:
    """Partitions of an asset that a run says it is for."""
    partitions_def = asset_graph.get(key).partitions_def
    ends = range_of(run.tags)
    if partitions_def and ends and all(map(partitions_def.has_partition_key, ends)):
        for partition in partitions_def.get_partition_keys_in_range(dg.PartitionKeyRange(*ends)):
            yield Partition.parse(partition)


def _done_until(
    cursor: str | None, days: list[str], parents: Collection[dg.AssetKey]
) -> dict[dg.AssetKey, int] | None:
    """Per input the newest event at the last quiet evaluation; None if that says nothing now."""
    known = json.loads(cursor) if cursor else None
    if not isinstance(known, dict) or known["days"] != days:
        return None
    found = {dg.AssetKey.from_user_string(key): event for key, event in known["inputs"].items()}
    return found if found.keys() == set(parents) else None


class Events:
    """The newest events of assets, each asked for once: an input of several is read by each.

    For one look at the assets, inputs before what is made of them. So an input may be seen older
    than it is by then, but never newer than an output that was made of it.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        """Ask nothing yet."""
        self._instance = instance
        self._found: dict[
            tuple[dg.AssetKey, dg.DagsterEventType, int | None], Mapping[Partition, int]
        ] = {}

    def latest(
        self,
        key: dg.AssetKey,
        event_type: dg.DagsterEventType,
        *,
        after: int | None = None,
        of: Collection[Partition] | None = None,
    ) -> Mapping[Partition, int]:
        """Storage id of the newest event of each partition that has one.

        Args:
            after: only events with a greater storage id.
            of: at least these partitions, if they have any.
        """
        if of is not None and not of:
            return {}
        if of is not None and len(of) <= _MOST_PARAMETERS:
            return self._fetch(key, event_type, None, {str(p) for p in of})
        if (key, event_type, after) not in self._found:
            self._found[key, event_type, after] = self._fetch(key, event_type, after, None)
        return self._found[key, event_type, after]

    def _fetch(
        self,
        key: dg.AssetKey,
        event_type: dg.DagsterEventType,
        after: int | None,
        partitions: set[str] | None,
    ) -> dict[Partition, int]:
        found = self._instance.event_log_storage.get_latest_storage_id_by_partition(
            key, event_type, partitions=partitions, after_cursor=after
        )
        return {Partition.parse(partition): storage_id for partition, storage_id in found.items()}


def stale_partitions(
    events: Events,
    asset_graph: BaseAssetGraph,
    key: dg.AssetKey,
    requested: Mapping[dg.AssetKey, set[Partition]] | None = None,
    waiting: set[Partition] | None = None,
    *,
    count_failed_attempts: bool = True,
    done_until: Mapping[dg.AssetKey, int] | None = None,
) -> set[Partition]:
    """Partitions of an asset with an input newer than their last attempt.

    Args:
        events: of this look; when several assets are looked at, of their common look.
        requested: partitions of other assets that are about to run. One that will run in the same
            run makes its output stale now; one that will not makes its output wait.
        waiting: all that wait, if that is known; otherwise those that read what is requested.
        count_failed_attempts: False compares with the last success instead: what a person means
            by "try again".
        done_until: per input an event up to which nothing is stale. With it the cost follows what
            is new, without it the length of history.
    """
    children_of = _children_by_input(asset_graph, key)
    # Inputs are read before the own state: what a run writes in between is then its newest
    # output, never an input without one.
    inputs = {
        parent: events.latest(parent, _MATERIALIZED, after=(done_until or {}).get(parent))
        for parent in children_of
    }
    newest = {parent: children_of[parent].newest(arrived) for parent, arrived in inputs.items()}
    mine = None if done_until is None else set().union(*newest.values())
    done = events.latest(key, _MATERIALIZED, of=mine)
    started = done
    if count_failed_attempts:
        started = {**done, **events.latest(key, _PLANNED, of=mine)}
    # What one run builds together is recorded in order, so there the end of the attempt counts.
    ended = {p: max(i, done.get(p, i)) for p, i in started.items()}
    stale: set[Partition] = set()
    for parent, children in children_of.items():
        together = _same_run(asset_graph, key, parent, children)
        attempted = ended if together else started
        for child, storage_id in newest[parent].items():
            known = attempted.get(child)
            if storage_id > (known if known is not None else -1) and (
                known is not None or not children.broadcast
            ):
                stale.add(child)
        if together:
            stale |= children.reading((requested or {}).get(parent, ()))
    if waiting is None:
        waiting = _waiting(events, asset_graph, key, requested or {}, {})
    return stale - waiting


def _waiting(
    events: Events,
    asset_graph: BaseAssetGraph,
    key: dg.AssetKey,
    requested: Mapping[dg.AssetKey, set[Partition]],
    later: Mapping[dg.AssetKey, set[Partition]],
) -> set[Partition]:
    """Partitions of an asset that read what is to be built first, now or later."""
    found: set[Partition] = set()
    for parent, children in _children_by_input(asset_graph, key).items():
        coming = later.get(parent, set())
        if not _same_run(asset_graph, key, parent, children):
            coming = coming | requested.get(parent, set())
        reading = children.reading(coming)
        if children.broadcast:  # it brings no partition into being
            reading &= {
                *events.latest(key, _MATERIALIZED, of=reading),
                *events.latest(key, _PLANNED, of=reading),
            }
        found |= reading
    return found


class _Children:
    """Output partitions of input partitions, from the declared mapping.

    Dagster answers this through subset algebra, which takes seconds for the thousands of
    partitions compared on every tick; the three mappings of this project are simple arithmetic.
    """

    def __init__(self, mapping: dg.PartitionMapping, bounds: tuple[date, date]) -> None:
        self._first, self._last = (day.toordinal() for day in bounds)
        self._countries: Mapping[str, object] | None = None
        self._start = self._end = 0
        if isinstance(mapping, dg.MultiPartitionMapping):
            dimensions = mapping.downstream_mappings_by_upstream_dimension
            country = dimensions["country"].partition_mapping
            day = dimensions["day"].partition_mapping
            if isinstance(country, dg.StaticPartitionMapping):
                self._countries = country.downstream_partition_keys_by_upstream_partition_key
            elif not isinstance(country, dg.IdentityPartitionMapping):
                raise TypeError(f"Unexpected country mapping {country!r}; see partitions.py.")
            if isinstance(day, dg.TimeWindowPartitionMapping):
                self._start, self._end = day.start_offset, day.end_offset
            elif not isinstance(day, dg.IdentityPartitionMapping):
                raise TypeError(f"Unexpected day mapping {day!r}; see partitions.py.")
        elif not isinstance(mapping, dg.IdentityPartitionMapping):
            raise TypeError(f"Unexpected partition mapping {mapping!r}; see partitions.py.")

    @property
    def broadcast(self) -> bool:
        """Whether one input partition serves several countries."""
        return self._countries is not None

    @property
    def same_partition(self) -> bool:
        """Whether input and output partition are always the same."""
        return self._countries is None and self._start == self._end == 0

    def reading(self, inputs: Collection[Partition]) -> set[Partition]:
        """Output partitions that exist and read any of these."""
        return set(self.newest(dict.fromkeys(inputs, 0)))

    def newest(self, inputs: Mapping[Partition, int]) -> dict[Partition, int]:
        """Output partitions that exist and read any of these, with the greatest number they read.

        Args:
            inputs: a number for each, e.g. the storage id of its newest event.
        """
        by_country: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for partition, number in inputs.items():
            by_country[partition.country][partition.day.toordinal()] = number
        found: dict[Partition, int] = {}
        for of, numbers in by_country.items():
            countries: object = of if self._countries is None else self._countries.get(of, ())
            for ordinal, number in self._newest_by_day(numbers):
                day = date.fromordinal(ordinal)
                for country in [countries] if isinstance(countries, str) else countries:  # type: ignore[attr-defined]
                    output = Partition(country, day)
                    found[output] = max(number, found.get(output, number))
        return found

    def _newest_by_day(self, numbers: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        """Days of outputs, and the greatest number in the window that each of them reads.

        One pass over the days however long the window is: of what has come into it, only what
        nothing greater has followed can still be the greatest.
        """
        days = sorted(numbers)
        coming = 0
        candidates: deque[int] = deque()
        first = max(self._first, days[0] - self._end)
        for day in range(first, min(self._last, days[-1] - self._start) + 1):
            while coming < len(days) and days[coming] <= day + self._end:
                while candidates and numbers[candidates[-1]] <= numbers[days[coming]]:
                    candidates.pop()
                candidates.append(days[coming])
                coming += 1
            while candidates and candidates[0] < day + self._start:
                candidates.popleft()
            if candidates:
                yield day, numbers[candidates[0]]


def _children_by_input(
    asset_graph: BaseAssetGraph, key: dg.AssetKey
) -> dict[dg.AssetKey, _Children]:
    node = asset_graph.get(key)
    bounds = _day_bounds(node.partitions_def)
    return {
        parent: _Children(asset_graph.get_partition_mapping(key, parent), bounds)
        for parent in node.parent_keys
        # The file ledger has no partitions: written together with RAW, which is an input as well.
        if asset_graph.get(parent).partitions_def is not None
    }


def _same_run(
    asset_graph: BaseAssetGraph, key: dg.AssetKey, parent: dg.AssetKey, children: _Children
) -> bool:
    """Whether both can be built in one run: the same partitions, by the same step.

    What another step of a run records is newer than the start of the run, which would be repeated.
    An asset that is made of its own past is built with it, all days in one statement.
    """
    if key == parent:
        return True
    definition = asset_graph.get(key).assets_def
    return children.same_partition and definition is asset_graph.get(parent).assets_def


def layers(asset_graph: BaseAssetGraph, keys: Collection[dg.AssetKey]) -> list[list[dg.AssetKey]]:
    """Assets in the order of the runs that build them."""
    layer: dict[dg.AssetKey, int] = {}
    for key in asset_graph.toposorted_asset_keys:
        if key in keys:
            layer[key] = max(
                (
                    layer[parent] + (not _same_run(asset_graph, key, parent, children))
                    for parent, children in _children_by_input(asset_graph, key).items()
                    if parent in layer
                ),
                default=0,
            )
    return [
        [key for key, n in layer.items() if n == number] for number in sorted(set(layer.values()))
    ]


def _newest_event(view: AssetGraphView, key: dg.AssetKey) -> int:
    # The tick has fetched the records of all assets in one query; one by one they cost 50 ms each.
    record = view.get_inner_queryer_for_back_compat().get_asset_record(key)
    return (record.asset_entry.last_materialization_storage_id or 0) if record else 0


def _day_bounds(partitions_def: dg.PartitionsDefinition | None) -> tuple[date, date]:
    if not isinstance(partitions_def, dg.MultiPartitionsDefinition):
        raise TypeError(f"Expected country x day partitions, got {partitions_def!r}.")
    day = partitions_def.get_partitions_def_for_dimension("day")
    first, last = day.get_first_partition_key(), day.get_last_partition_key()
    if first is None or last is None:
        raise ValueError("There is no day partition yet: RETAIL_FIRST_DAY lies in the future.")
    return date.fromisoformat(first), date.fromisoformat(last)
