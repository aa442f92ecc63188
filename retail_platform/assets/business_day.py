"""Assets whose day is the BUSINESS day: intermediate models, facts, reports.

One op per scope builds whatever of them a run selects, with one dbt invocation over the run's
country x day rectangle; a model that reads other business days than its own has an op of its own,
and so have tables that Python computes. The lookback is not here: it is the partition mapping of
the specs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import dagster as dg

from retail_platform.assets.batch_day import WAREHOUSE_POOL
from retail_platform.assets.models import ModelRun, TableRun, models_of
from retail_platform.assets.recording import record_check_evaluations, record_materializations
from retail_platform.assets.slices import slices_for
from retail_platform.partitions import Partition, Partitioning, Scope, Slices
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import WAREHOUSE
from retail_platform.resilience.steps import transient_failures_retried
from retail_platform.resources import DbtResource, WarehouseResource
from retail_platform.warehouse.protocol import Warehouse

_CONVERTED = {
    "fct_sales": "int_sales",
    "fct_checkouts": "int_online_checkouts",
    "fct_inventory_movements": "int_inventory_movements",
    "fct_inventory_daily": "int_inventory_movements",
}
"""Facts in euros, and what they convert: a fact leaves out the days that lack a rate."""


Specs = tuple[Sequence[dg.AssetSpec], Sequence[dg.AssetCheckSpec]]
StartRun = Callable[[dg.AssetExecutionContext, DbtResource, Warehouse], TableRun]
Computed = Mapping[str, tuple[Specs, StartRun]]
"""Tables that are not made by dbt, by name of their definition: what they are, what builds them."""


def build_business_day_assets(
    scope: Scope,
    partitioning: Partitioning,
    models: Specs,
    manifest: Mapping[str, Any],
    breakers: Breakers,
    computed: Computed,
) -> list[dg.AssetsDefinition]:
    """All business-day assets of a scope.

    Dagster knows one mapping for an input of a definition, whichever asset reads it. So one
    definition holds what reads its own day, and dimensions as of it; each model that reads more is
    one alone, and so is what is made of one: a definition that has its input in another one and the
    input's input in itself would be two steps of a run.
    """
    specs, check_specs = models
    by_key = models_of(specs, manifest)
    facts_above = _facts_above([*specs, *(s for (own, _), _ in computed.values() for s in own)])
    business = {model.table for model in by_key.values()}
    groups: dict[str, list[dg.AssetSpec]] = {scope.value: []}
    of_key = {spec.key: spec for spec in specs}
    alone: set[str] = set()
    for key, model in by_key.items():
        node = manifest["nodes"][model.unique_id]
        reads_others = not business.isdisjoint(node["meta"].get("reads", {}))
        if reads_others or not alone.isdisjoint(node["depends_on"]["nodes"]):
            alone.add(model.unique_id)
        name = model.table if model.unique_id in alone else scope.value
        groups.setdefault(name, []).append(of_key[key])

    def start(context: dg.AssetExecutionContext, dbt: DbtResource, database: Warehouse) -> ModelRun:
        return ModelRun(context, by_key, dbt.project(), database)

    define = partial(_definition, scope, partitioning, facts_above, breakers)
    return [
        *(
            define(
                name,
                (group, [c for c in check_specs if c.asset_key in {spec.key for spec in group}]),
                start,
            )
            for name, group in groups.items()
        ),
        *(define(name, own, start_run) for name, (own, start_run) in computed.items()),
    ]


def _definition(
    scope: Scope,
    partitioning: Partitioning,
    facts_above: Mapping[dg.AssetKey, frozenset[str]],
    breakers: Breakers,
    name: str,
    tables: Specs,
    start_run: StartRun,
) -> dg.AssetsDefinition:
    specs, check_specs = tables

    @dg.multi_asset(
        name=f"business_day_{name}",
        specs=specs,
        check_specs=check_specs,
        partitions_def=partitioning.of(scope),
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
        pool=WAREHOUSE_POOL,
    )
    @transient_failures_retried(breakers, WAREHOUSE)
    def business_day(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, dbt: DbtResource
    ) -> Iterator[Any]:
        slices = slices_for(context, partitioning, scope)
        database = warehouse.open()
        run = start_run(context, dbt, database)
        with database.connect(), database.for_models():
            run.build(slices)
            facts = {fact for key in run.tables for fact in facts_above[key]}
            blocked = {fact: _days_without_rate(database, fact, slices) for fact in sorted(facts)}
            for fact, days in blocked.items():
                if days:
                    context.log.warning(
                        f"No exchange rate for {', '.join(str(p) for p in days[:20])}: these days "
                        f"stay out of {fact} and its reports until the rate arrives."
                    )
            # Before the tables count as built: what fails in between is repeated.
            run.publish(slices)
            counts = run.row_counts(slices)
            checks = list(run.checks(slices))
        wanted = {
            key: set(slices).difference(*(blocked[fact] for fact in facts_above[key]))
            for key in run.tables
        }
        record_materializations(context, run.materializations(wanted, counts))
        yield from record_check_evaluations(context, checks)

    return business_day


def _facts_above(specs: Sequence[dg.AssetSpec]) -> dict[dg.AssetKey, frozenset[str]]:
    """Per asset the converted facts that it is made of; a fact is made of itself."""
    inputs = {spec.key: {dep.asset_key for dep in spec.deps} - {spec.key} for spec in specs}
    facts = {dg.AssetKey(["marts", fact]): fact for fact in _CONVERTED}

    @cache
    def above(key: dg.AssetKey) -> frozenset[str]:
        own = {facts[key]} if key in facts else set()
        return frozenset(own).union(*map(above, inputs.get(key, ())))

    return {key: above(key) for key in inputs}


def _days_without_rate(warehouse: Warehouse, fact: str, slices: Slices) -> list[Partition]:
    """Days that have something to convert but no facts."""
    # Said of both tables: a join would read the facts of all days.
    inside = slices.condition("business_date")
    rows = warehouse.query(
        f"select country, business_date from intermediate.{_CONVERTED[fact]} where {inside} "
        f"except select country, business_date from marts.{fact} where {inside} "
        "order by country, business_date"
    )
    return [Partition(country, day) for country, day in rows]
