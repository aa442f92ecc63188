"""Assets whose day is the BUSINESS day: intermediate models, facts, reports.

One op per scope builds whatever of them a run selects, with one dbt invocation over the run's
country x day rectangle. The lookback is not here: it is the partition mapping of the specs.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from retail_platform.assets.batch_day import WAREHOUSE_POOL
from retail_platform.assets.models import ModelRun, models_of
from retail_platform.assets.recording import record_check_evaluations, record_materializations
from retail_platform.assets.slices import slices_for
from retail_platform.partitions import Partition, Partitioning, Scope, Slices
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import WAREHOUSE
from retail_platform.resilience.steps import transient_failures_retried
from retail_platform.resources import DbtResource, DuckDBResource
from retail_platform.warehouse.protocol import Warehouse

_FACT = dg.AssetKey(["marts", "fct_sales"])


def build_business_day_assets(
    scope: Scope,
    partitioning: Partitioning,
    models: tuple[Sequence[dg.AssetSpec], Sequence[dg.AssetCheckSpec]],
    manifest: Mapping[str, Any],
    breakers: Breakers,
) -> dg.AssetsDefinition:
    """One definition for all business-day assets of a scope."""
    specs, check_specs = models
    by_key = models_of(specs, manifest)
    needs_rates = {spec.key for spec in specs if _descends(spec.key, _FACT, specs)}

    @dg.multi_asset(
        name=f"business_day_{scope.value}",
        specs=specs,
        check_specs=check_specs,
        partitions_def=partitioning.of(scope),
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
        pool=WAREHOUSE_POOL,
    )
    @transient_failures_retried(breakers, WAREHOUSE)
    def business_day(
        context: dg.AssetExecutionContext, warehouse: DuckDBResource, dbt: DbtResource
    ) -> Iterator[Any]:
        slices = slices_for(context, partitioning, scope)
        database = warehouse.open()
        run = ModelRun(context, by_key, dbt.project(), database, Path(warehouse.published))
        with database.connect():
            run.build(slices)
            blocked = (
                _days_without_rate(database, slices) if needs_rates & run.models.keys() else []
            )
            if blocked:
                context.log.warning(
                    f"No exchange rate for {', '.join(str(p) for p in blocked[:20])}: these days "
                    "stay out of the facts and reports until the rate arrives."
                )
            # Before the models count as built: what fails in between is repeated.
            run.publish(slices)
            counts = run.row_counts(slices)
        wanted = {
            key: set(slices) - set(blocked) if key in needs_rates else set(slices)
            for key in run.models
        }
        record_materializations(context, run.materializations(wanted, counts))
        yield from record_check_evaluations(context, run.checks(slices))

    return business_day


def _descends(key: dg.AssetKey, ancestor: dg.AssetKey, specs: Sequence[dg.AssetSpec]) -> bool:
    by_key = {spec.key: spec for spec in specs}
    if key == ancestor:
        return True
    spec = by_key.get(key)
    return spec is not None and any(
        _descends(dep.asset_key, ancestor, specs) for dep in spec.deps if dep.asset_key != key
    )


def _days_without_rate(warehouse: Warehouse, slices: Slices) -> list[Partition]:
    """Days that have sales but no facts: the fact leaves a day out while a rate is missing."""
    countries = ", ".join(f"'{c}'" for c in slices.countries)
    rows = warehouse.query(
        "select distinct country, business_date from intermediate.int_sales sales "
        f"where business_date between date '{slices.first_day}' and date '{slices.last_day}' "
        f"and country in ({countries}) and not exists (select 1 from marts.fct_sales facts "
        "where facts.country = sales.country and facts.business_date = sales.business_date) "
        "order by all"
    )
    return [Partition(country, day) for country, day in rows]
