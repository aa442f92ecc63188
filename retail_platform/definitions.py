"""Entry point: Dagster loads `defs`; tests and the CLI call `build_platform` with settings."""

import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg

from retail_platform.alerts.budgets import budgets_of
from retail_platform.alerts.router import AlertRouter
from retail_platform.alerts.sensor import build_alert_sensor
from retail_platform.assets.batch_day import build_batch_day_assets
from retail_platform.assets.business_day import Computed, build_business_day_assets
from retail_platform.assets.completeness import build_completeness_checks
from retail_platform.assets.following_steps import follow_steps_that_succeeded
from retail_platform.assets.input_versions import look_up_input_versions_when_asked
from retail_platform.assets.lifetime_values import LifetimeValueRun, lifetime_value_specs
from retail_platform.assets.pulled import build_pull_assets, jobs_of
from retail_platform.assets.specs import (
    ModelTranslator,
    database_of,
    external_specs,
    model_specs,
)
from retail_platform.automation.arrivals import ArrivalDesk, build_inbox_sensor
from retail_platform.automation.range_sensor import RangeAutomationSensor, RunOrder
from retail_platform.automation.schedules import (
    build_completeness_schedule,
    build_nightly_schedule,
    build_pull_schedule,
)
from retail_platform.contract import FeedContract, load_contracts
from retail_platform.countries import CountryRegistry, load_countries
from retail_platform.lake.queue import ArrivalQueue
from retail_platform.partitions import Partitioning, Scope
from retail_platform.pull.sources import Source, load_sources
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import WAREHOUSE
from retail_platform.resources import DbtResource, resources_for
from retail_platform.settings import Settings
from retail_platform.warm_runs import fork_runs_of_this_process


@dataclass(frozen=True)
class Platform:
    """An installation put together from its settings."""

    settings: Settings
    contracts: dict[str, FeedContract]
    registry: CountryRegistry
    sources: tuple[Source, ...]
    partitioning: Partitioning
    desk: ArrivalDesk
    definitions: dg.Definitions

    @property
    def run_order(self) -> RunOrder:
        """Global partitions before country partitions: sales need exchange rates."""
        return [
            (self.partitioning.of(scope), self.partitioning.order(scope))
            for scope in (Scope.GLOBAL, Scope.COUNTRY)
        ]


def build_platform(
    settings: Settings, resources: dict[str, dg.ConfigurableResource] | None = None
) -> Platform:
    """Assemble contracts, assets, automation and resources.

    Args:
        resources: replace those of the environment, for tests.
    """
    # Multi-dimensional partition mappings are marked beta since 2023 and are what this project
    # rests on; one warning per mapping would drown everything else in every process's log.
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    look_up_input_versions_when_asked()
    follow_steps_that_succeeded()
    resources = resources or resources_for(settings)
    registry = load_countries(settings.countries_file)
    contracts = load_contracts(settings.contracts_paths)
    sources = load_sources(settings.sources_file, contracts, registry)
    breakers = Breakers(settings.breakers_path)
    partitioning = Partitioning.build(registry, settings.first_day, settings.last_day)
    dbt = resources["dbt"]
    if not isinstance(dbt, DbtResource):
        raise TypeError(f"resource `dbt` is {type(dbt).__name__}, expected DbtResource")
    manifest = dbt.project().manifest
    translator = ModelTranslator(partitioning, contracts, dbt.project().lineage)
    computed: dict[Scope, Computed] = {
        Scope.GLOBAL: {},
        Scope.COUNTRY: {
            "rpt_clv": (
                lifetime_value_specs(partitioning, database_of(manifest)),
                LifetimeValueRun,
            )
        },
    }
    assets: list[dg.AssetsDefinition] = []
    models_of_feed: dict[str, list[dg.AssetKey]] = {}
    for scope in (Scope.GLOBAL, Scope.COUNTRY):
        batch_models = model_specs(manifest, translator, "batch_day", scope)
        batch = build_batch_day_assets(
            scope, contracts, registry, partitioning, batch_models, manifest, breakers
        )
        assets.append(batch)
        for spec in batch_models[0]:
            for feed in _feeds_of(spec.key, batch_models[0]):
                models_of_feed.setdefault(feed, []).append(spec.key)
        assets += build_business_day_assets(
            scope,
            partitioning,
            model_specs(manifest, translator, "business_day", scope),
            manifest,
            breakers,
            computed[scope],
        )
    locks = settings.home / "locks"
    assets += [
        build_pull_assets(s, contracts[s.feed], registry, partitioning, locks, breakers)
        for s in sources
    ]
    desk = ArrivalDesk(
        contracts=contracts,
        registry=registry,
        partitioning=partitioning,
        batch_day_models=models_of_feed,
        settle=timedelta(seconds=settings.settle_seconds),
        backlog_partitions=settings.backlog_partitions,
    )
    definitions = _definitions(settings, contracts, sources, partitioning, assets, desk, resources)
    return Platform(settings, contracts, registry, sources, partitioning, desk, definitions)


def _definitions(
    settings: Settings,
    contracts: dict[str, FeedContract],
    sources: tuple[Source, ...],
    partitioning: Partitioning,
    assets: list[dg.AssetsDefinition],
    desk: ArrivalDesk,
    resources: dict[str, Any],
) -> dg.Definitions:
    run_order = [
        (partitioning.of(scope), partitioning.order(scope))
        for scope in (Scope.GLOBAL, Scope.COUNTRY)
    ]
    jobs = {
        scope: dg.define_asset_job(
            f"daily_{scope.value}_ingest",
            selection=dg.AssetSelection.assets(
                *(k for a in assets if a.op.name == f"batch_day_{scope.value}" for k in a.keys)
            ),
            description="Files of the chosen partitions through the gate into RAW and staging.",
        )
        for scope in (Scope.GLOBAL, Scope.COUNTRY)
    }
    breakers = Breakers(settings.breakers_path)
    completeness = build_completeness_checks(contracts, desk.registry, partitioning)
    schedules = [build_nightly_schedule(scope, partitioning, job) for scope, job in jobs.items()]
    if completeness:
        asking = dg.define_asset_job(
            "hourly_completeness", selection=dg.AssetSelection.checks(completeness)
        )
        schedules.append(build_completeness_schedule(asking))
    pulls = jobs_of(sources)
    schedules += [build_pull_schedule(source, pulls[source.name], breakers) for source in sources]
    return dg.Definitions(
        assets=[*external_specs(contracts, partitioning, sources), *assets],
        asset_checks=[completeness] if completeness else [],
        jobs=[*jobs.values(), *pulls.values()],
        sensors=[
            build_inbox_sensor(
                desk,
                jobs,
                ArrivalQueue(settings.queue_url) if settings.queue_url else None,
                settings.sweep_seconds,
                breakers,
            ),
            build_alert_sensor(
                AlertRouter(settings.alerts_path, settings.alerts_file),
                breakers,
                desk.registry.codes,
                settings.ui_url,
                budgets_of(settings),
            ),
            RangeAutomationSensor(
                "range_automation_sensor",
                run_order=run_order,
                desk=desk,
                refusal=lambda: breakers.refusal([WAREHOUSE]),
                target=dg.AssetSelection.all(),
                default_status=dg.DefaultSensorStatus.RUNNING,
                minimum_interval_seconds=3,
                description="Runs what has newer inputs, as ranges of country x day.",
            ),
        ],
        schedules=schedules,
        resources=resources,
        executor=dg.in_process_executor,
    )


def _feeds_of(key: dg.AssetKey, specs: list[dg.AssetSpec]) -> set[str]:
    by_key = {spec.key: spec for spec in specs}
    feeds: set[str] = set()
    for dep in by_key[key].deps:
        if dep.asset_key.path[0] == "raw":
            feeds.add(dep.asset_key.path[-1])
        elif dep.asset_key in by_key:
            feeds |= _feeds_of(dep.asset_key, specs)
    return feeds


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads; nothing is read before it asks."""
    fork_runs_of_this_process()
    return build_platform(Settings.from_env()).definitions
