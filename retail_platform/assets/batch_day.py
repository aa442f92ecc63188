"""Assets whose day is the BATCH day: feeds, RAW, staging, dimensions, lifecycle report.

They share partitions and lineage (same country, same day), so one op builds whatever of them a run
selects: files through the gate, one transaction per feed into RAW, one dbt invocation. A refused
file is a failed check, not a failed run: its partition is not materialized and nothing downstream
sees it, while its neighbours in the same run go on.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from retail_platform.assets.models import ModelRun, models_of
from retail_platform.assets.recording import record_check_evaluations, record_materializations
from retail_platform.assets.slices import only_arrivals, replays_originals, slices_for
from retail_platform.assets.specs import (
    CONTRACT_CHECK,
    LATENESS_CHECK,
    database_of,
    feed_key,
    feed_spec,
    feeds_below,
    late_days_key,
    raw_key,
    raw_spec,
)
from retail_platform.contract import FeedContract
from retail_platform.countries import CountryRegistry
from retail_platform.gate.gate import Gate, GateReport
from retail_platform.gate.replay import judge_again
from retail_platform.lake.inbox import (
    Arrival,
    Rejection,
    forget_rejections,
    inbox_name,
    plan_arrivals,
    read_rejections,
    record_rejections,
)
from retail_platform.lake.manifest import FileFacts, Manifest, read_manifests
from retail_platform.lake.store import INBOX, Lake
from retail_platform.partitions import (
    LOOKBACK_DAYS,
    Partition,
    Partitioning,
    Scope,
    Slices,
    bounding_slices,
)
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import OBJECT_STORE, WAREHOUSE
from retail_platform.resilience.steps import transient_failures_retried
from retail_platform.resources import DbtResource, KeysResource, LakeResource, WarehouseResource
from retail_platform.warehouse.protocol import PartitionLoad, Warehouse

WAREHOUSE_POOL = "warehouse"
"""Every op that writes the warehouse takes this pool; DuckDB allows one of them at a time."""


def build_batch_day_assets(
    scope: Scope,
    contracts: Mapping[str, FeedContract],
    registry: CountryRegistry,
    partitioning: Partitioning,
    models: tuple[Sequence[dg.AssetSpec], Sequence[dg.AssetCheckSpec]],
    manifest: Mapping[str, Any],
    breakers: Breakers,
) -> dg.AssetsDefinition:
    """One definition for all batch-day assets of a scope.

    Args:
        contracts: feeds of the installation; assets are made of those of this scope.
        models: specs of the batch-day dbt models of this scope and of their tests.
    """
    model_specs, model_checks = models
    of_scope = {name: c for name, c in contracts.items() if c.scope is scope}
    by_key = models_of(model_specs, manifest)
    feeds_of_model = {key: feeds_below(m.unique_id, manifest) for key, m in by_key.items()}
    engine, database = manifest["metadata"]["adapter_type"], database_of(manifest)
    raw_specs = [raw_spec(c, partitioning, engine, database) for c in of_scope.values()]
    steps_of_feed = {
        feed: _steps_of(feed, [*raw_specs, *model_specs], feeds_of_model) for feed in of_scope
    }

    @dg.multi_asset(
        name=f"batch_day_{scope.value}",
        specs=[
            *(feed_spec(c, partitioning) for c in of_scope.values()),
            *raw_specs,
            *model_specs,
        ],
        check_specs=[
            *(_contract_check(c) for c in of_scope.values()),
            *(_lateness_check(c) for c in of_scope.values() if c.ingestion.business_date),
            *model_checks,
        ],
        partitions_def=partitioning.of(scope),
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
        pool=WAREHOUSE_POOL,
    )
    @transient_failures_retried(breakers, OBJECT_STORE, WAREHOUSE)
    def batch_day(
        context: dg.AssetExecutionContext,
        lake: LakeResource,
        keys: KeysResource,
        warehouse: WarehouseResource,
        dbt: DbtResource,
    ) -> Iterator[Any]:
        slices = slices_for(context, partitioning, scope)
        database = warehouse.open()
        run = _BatchDayRun(
            context,
            slices,
            of_scope,
            registry,
            lake.open(),
            keys,
            database,
            steps_of_feed,
            partitioning,
        )
        run.take_in_files()
        with database.connect():
            # All RAW tables: models read those of feeds that have never delivered, too.
            database.prepare(contracts.values())
            run.load()
            yield from record_check_evaluations(context, run.checks())
            run.raise_failures()
            models = ModelRun(context, by_key, dbt.project(), database)
            if models.tables:
                with database.for_models():
                    yield from _build_models(
                        context, models, run, feeds_of_model, partitioning, scope
                    )

    return batch_day


def _build_models(
    context: dg.AssetExecutionContext,
    model_run: ModelRun,
    run: "_BatchDayRun",
    feeds_of_model: Mapping[dg.AssetKey, frozenset[str]],
    partitioning: Partitioning,
    scope: Scope,
) -> Iterator[Any]:
    feeds = {feed for key in model_run.tables for feed in feeds_of_model[key]}
    loaded = {feed: run.loaded(feed) for feed in feeds}
    wanted = {
        key: {p for feed in feeds_of_model[key] for p in loaded[feed]} for key in model_run.tables
    }
    touched = set().union(*wanted.values())
    if not touched:
        context.log.info("Nothing new to build.")
        return
    box = bounding_slices(touched, partitioning.order(scope))
    model_run.build(box)
    # Before the models count as built: a run that fails in between is repeated and does it again.
    # Late days are said by whoever stages the rows, which may be a later run than the one that
    # loaded them.
    for key, model in model_run.tables.items():
        if model.schema == "staging":
            for feed in feeds_of_model[key]:
                run.report_late_days(feed, wanted[key])
    model_run.publish(box)
    counts = model_run.row_counts(box)
    record_materializations(context, model_run.materializations(wanted, counts))
    yield from record_check_evaluations(context, model_run.checks(box))


def _steps_of(
    feed: str,
    specs: Sequence[dg.AssetSpec],
    feeds_of_model: Mapping[dg.AssetKey, Collection[str]],
) -> list[tuple[dg.AssetKey, dg.AssetKey]]:
    """Input and output of each step from a feed's files to the last of its models."""
    models = (key for key, feeds in feeds_of_model.items() if feed in feeds)
    chain = {feed_key(feed), raw_key(feed), *models}
    return [
        (dep.asset_key, spec.key)
        for spec in specs
        for dep in spec.deps
        if spec.key in chain and dep.asset_key in chain
    ]


@dataclass
class _FeedState:
    """What a run knows about one feed.

    Attributes:
        changed: manifests the gate changed in this run.
        loads: partitions to load or loaded.
    """

    changed: Mapping[Partition, Manifest]
    loads: list[PartitionLoad]


class _BatchDayRun:
    """The work of one run up to RAW; the op above strings it together."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        slices: Slices,
        contracts: Mapping[str, FeedContract],
        registry: CountryRegistry,
        lake: Lake,
        keys: KeysResource,
        warehouse: Warehouse,
        steps_of_feed: Mapping[str, Collection[tuple[dg.AssetKey, dg.AssetKey]]],
        partitioning: Partitioning,
    ) -> None:
        self._context = context
        self._slices = slices
        self._partitions = set(slices)
        self._contracts = contracts
        self._registry = registry
        self._lake = lake
        self._keys = keys
        self.warehouse = warehouse
        self._steps_of_feed = steps_of_feed
        self._partitioning = partitioning
        self._selected = context.selected_asset_keys
        self._feeds: dict[str, _FeedState] = {}
        self._rejections: list[Rejection] = []
        self._failures: list[Exception] = []

    def take_in_files(self) -> None:
        """Files of the selected feeds and partitions go through the gate."""
        feeds = [name for name in self._contracts if feed_key(name) in self._selected]
        if not feeds:
            return
        objects = list(self._lake.list(INBOX))
        known = read_rejections(self._lake)
        forget_rejections(self._lake, known, {inbox_name(o): o.version for o in objects})
        plan = plan_arrivals(
            objects,
            self._contracts,
            self._registry,
            known_rejections=known,
            first_day=self._partitioning.first_day,
            last_day=self._partitioning.last_day,
            now=datetime.now(UTC),
        )
        self._rejections = [r for r in plan.rejections if r.feed in feeds]
        waiting = [w.arrival for w in plan.waiting if w.is_data and self._covers(w.arrival)]
        with ThreadPoolExecutor(1) as mover:
            moved = {}
            for feed in feeds:
                arrivals = [a for a in plan.arrivals if a.file.feed == feed and self._covers(a)]
                halves = [a for a in waiting if a.file.feed == feed]
                replay = replays_originals(self._context)
                if not (arrivals or halves or replay):
                    continue
                with self._failing_alone(feed):
                    contract = self._contracts[feed]
                    keys = self._keys.open(self._lake) if contract.holds_pii else None
                    gate = Gate(self._lake, contract, self._registry, keys)
                    gate.clear_away(halves)
                    report = self._replay(feed, gate) if replay else GateReport()
                    progress = self._progress(feed, len(arrivals))
                    moved[feed] = report, gate.start(arrivals, mover, progress)
            for feed, (report, taking_in) in moved.items():
                with self._failing_alone(feed):
                    taken_in = taking_in.result()
                    record_rejections(self._lake, taken_in.rejections)
                    report.add(taken_in)
                    self._rejections += report.rejections
                    self._feeds[feed] = _FeedState(report.manifests, [])

    def _replay(self, feed: str, gate: Gate) -> GateReport:
        known = read_manifests(self._lake, feed, self._slices)
        total = sum(len(m.files) for m in known.values())
        return judge_again(gate, self._lake, known, self._partitions, self._progress(feed, total))

    @contextmanager
    def _failing_alone(self, feed: str) -> Iterator[None]:
        """Put a failure off until the other feeds of the run are loaded and recorded.

        Their files have left the inbox already: nothing would bring this run's news back.
        """
        try:
            yield
        except Exception as error:
            self._context.log.error(f"{feed}: {error}")
            self._failures.append(error)

    def raise_failures(self) -> None:
        """Fail now if a feed failed.

        Raises:
            Exception: the first failure; the others are in the log.
        """
        if self._failures:
            raise self._failures[0]

    def _progress(self, feed: str, total: int) -> Callable[[int], None]:
        return lambda done: self._context.log.info(
            f"{feed}: {done} of {total} files through the gate"
        )

    def _covers(self, arrival: Arrival) -> bool:
        """A file that is split by country is taken only by a run that covers all countries."""
        file = arrival.file
        codes = self._contracts[file.feed].countries_of(file.country, self._registry)
        return all(Partition(code, file.day) in self._partitions for code in codes)

    def load(self) -> None:
        """Partitions of the selected feeds into RAW; events for feeds and RAW tables."""
        for feed, contract in self._contracts.items():
            feed_selected = feed_key(feed) in self._selected
            raw_selected = raw_key(feed) in self._selected
            if not (feed_selected or raw_selected):
                continue
            with self._failing_alone(feed):
                self._load_feed(feed, contract, feed_selected, raw_selected)

    def _load_feed(
        self, feed: str, contract: FeedContract, feed_selected: bool, raw_selected: bool
    ) -> None:
        state = self._feeds.setdefault(feed, _FeedState({}, []))
        manifests = read_manifests(self._lake, feed, self._slices)
        loads = [PartitionLoad.of(m) for m in manifests.values()]
        if only_arrivals(self._context):
            loaded = self.warehouse.loaded_files(feed, self._slices)
            news = state.changed.keys() | self._behind(feed)
            loads = [
                load
                for load in loads
                if load.partition in news or load.fingerprint != loaded.get(load.partition)
            ]
        state.loads = loads
        if not loads:
            return
        if feed_selected:
            self._record(feed_key(feed), loads)
        if raw_selected:
            self.warehouse.replace_partitions(self._lake, contract, loads, self._context.run_id)
            self._context.log.info(
                f"{feed}: {sum(load.rows for load in loads)} rows of {len(loads)} partitions loaded"
            )
            self._record(raw_key(feed), loads)

    def _behind(self, feed: str) -> set[Partition]:
        """Partitions that an earlier run brought into the lake or RAW and not further.

        Automation knows them, but this run announces every partition of its range, which looks like
        an attempt; so it has to make the attempt. What is up to date is left alone.
        """
        steps = [step for step in self._steps_of_feed[feed] if step[1] in self._selected]
        latest = {
            key: self._context.instance.get_latest_storage_id_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION
            )
            for key in {key for step in steps for key in step}
        }
        return {
            Partition.parse(partition)
            for above, below in steps
            for partition, storage_id in latest[above].items()
            if storage_id > latest[below].get(partition, -1)
        }

    def _record(self, key: dg.AssetKey, loads: Collection[PartitionLoad]) -> None:
        record_materializations(
            self._context,
            (
                dg.AssetMaterialization(
                    key, partition=str(load.partition), metadata=_load_metadata(load)
                )
                for load in loads
            ),
        )

    def loaded(self, feed: str) -> set[Partition]:
        """Partitions models over this feed have to be built for."""
        if feed not in self._contracts:
            return set()
        if feed in self._feeds:
            return {load.partition for load in self._feeds[feed].loads}
        if only_arrivals(self._context):
            return self._behind(feed) & self._partitions
        return set(self.warehouse.loaded_files(feed, self._slices))

    def checks(self) -> Iterator[dg.AssetCheckEvaluation]:
        """Contract and lateness checks of the selected feeds."""
        for key in self._context.selected_asset_check_keys:
            contract = self._contracts.get(key.asset_key.path[-1])
            if contract is None:
                continue
            if key.name == CONTRACT_CHECK:
                yield self._contract_result(key, contract)
            elif key.name == LATENESS_CHECK:
                yield self._lateness_result(key, contract)

    def _contract_result(
        self, key: dg.AssetCheckKey, contract: FeedContract
    ) -> dg.AssetCheckEvaluation:
        refused = {r.name: r for r in self._rejections if r.feed == contract.name}.values()
        # Recorded as not blocking the step, whatever the spec says: what has to be blocked is the
        # partition of the refused file, and that is not materialized. Failing the step would fail
        # the files of all other countries with it.
        return dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=not refused,
            severity=dg.AssetCheckSeverity.ERROR,
            blocking=False,
            metadata={
                "refused_files": len(refused),
                "quarantined_rows": sum(
                    f.facts.rows_quarantined
                    for load in self._loads(contract.name)
                    for f in load.active
                ),
                **({"files": _rejection_table(refused)} if refused else {}),
                **self._totals_compared(contract),
            },
        )

    def _totals_compared(self, contract: FeedContract) -> dict[str, Any]:
        if contract.ingestion.control_totals is None:
            return {}
        files = [f.facts for load in self._loads(contract.name) for f in load.active]
        compared = sum(bool(facts.control_totals) for facts in files)
        return {"files_with_matching_control_totals": compared}

    def _loads(self, feed: str) -> list[PartitionLoad]:
        return self._feeds[feed].loads if feed in self._feeds else []

    def _lateness_result(
        self, key: dg.AssetCheckKey, contract: FeedContract
    ) -> dg.AssetCheckEvaluation:
        batch_days = {load.partition for load in self._loads(contract.name)}
        late = self.warehouse.late_days(contract.name, batch_days)
        days = sorted({str(business) for _, business in late})
        return dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=not late,
            severity=dg.AssetCheckSeverity.WARN,
            blocking=False,
            metadata={
                "business_days_touched": len(days),
                **({"days": ", ".join(days[:50])} if days else {}),
                "explanation": f"Rows more than {LOOKBACK_DAYS - 1} days late are kept and their "
                "days are rebuilt; a partner who keeps sending them should know.",
            },
        )

    def report_late_days(self, feed: str, batch_partitions: Collection[Partition]) -> None:
        """Tell the intermediate layer which days beyond the lookback have changed rows."""
        late = self.warehouse.late_days(feed, batch_partitions)
        for partition in sorted({business for _, business in late}):
            if self._partitioning.has(partition.day):
                self._context.instance.report_runless_asset_event(
                    dg.AssetMaterialization(late_days_key(feed), partition=str(partition))
                )


def _contract_check(contract: FeedContract) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        CONTRACT_CHECK,
        asset=feed_key(contract.name),
        blocking=True,
        description="No delivered file of this feed is waiting in the inbox because it breaks the "
        "contract. Lists the files, what was seen and what to do.",
    )


def _lateness_check(contract: FeedContract) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        LATENESS_CHECK,
        asset=raw_key(contract.name),
        description="No row is later than the lookback window.",
    )


def _load_metadata(load: PartitionLoad) -> dict[str, Any]:
    active = [f.facts for f in load.active]
    return {
        "dagster/partition_row_count": load.rows,
        "rows_in": sum(f.rows_in for f in active),
        "rows_quarantined": sum(f.rows_quarantined for f in active),
        "rows_duplicate": sum(f.rows_duplicate for f in active),
        "files": ", ".join(f.name for f in active[:20]),
        **_control_totals(active),
        "files_superseded": sum(f.state == "superseded" for f in load.files),
    }


def _control_totals(active: Collection[FileFacts]) -> dict[str, Any]:
    stated = {f.name: dict(f.control_totals) for f in active if f.control_totals}
    return {"control_totals": stated} if stated else {}


def _rejection_table(rejections: Collection[Rejection]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "file": r.name,
                    "country": r.country or "",
                    "day": str(r.day or ""),
                    "reason": r.code,
                    "seen": r.seen,
                    "to_do": r.remedy,
                }
            )
            for r in sorted(rejections, key=lambda r: r.name)
        ]
    )
