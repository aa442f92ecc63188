"""What the assets are: keys, partitions, lineage, owners, conditions; not how they are built.

Feeds and RAW tables come from contracts, models from the dbt manifest. Key = address in the
warehouse, group = layer = dbt folder = schema.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings
from dagster_dbt.asset_utils import build_dbt_specs

from retail_platform.automation.conditions import when_inputs_arrive, when_inputs_arrive_or_stale
from retail_platform.contract import DAILY, WEEKLY, Column, FeedContract, Freshness
from retail_platform.partitions import Partitioning, Scope
from retail_platform.pull.sources import Source
from retail_platform.warehouse.raw_tables import META_COLUMNS, raw_columns

CONTRACT_CHECK = "conforms_to_contract"
LATENESS_CHECK = "arrives_within_lookback"

LEDGER_KEY = dg.AssetKey(["raw", "file_ledger"])

_KEPT_AS = {
    "_token": "Kept as a token, equal for equal values.",
    "_enc": "Kept encrypted; only the data keys open it.",
    "_year": "The year alone.",
}
"""What is left of a protected column; see `Column.stored`."""


def _policy(promised: Freshness) -> dg.FreshnessPolicy:
    return dg.FreshnessPolicy.time_window(
        fail_window=promised.error_after, warn_window=promised.warn_after
    )


_FRESH, _WEEKLY = _policy(DAILY), _policy(WEEKLY)


def inbox_key(feed: str) -> dg.AssetKey:
    """External asset that shows arrivals."""
    return dg.AssetKey(["inbox", feed])


def source_key(name: str) -> dg.AssetKey:
    """What a service or database told."""
    return dg.AssetKey(["sources", name])


def feed_key(feed: str) -> dg.AssetKey:
    """Accepted files of a feed in the lake."""
    return dg.AssetKey(["feeds", feed])


def raw_key(feed: str) -> dg.AssetKey:
    """RAW table of a feed."""
    return dg.AssetKey(["raw", feed])


def late_days_key(feed: str) -> dg.AssetKey:
    """Business days touched by rows of a feed later than the lookback.

    Recorded by ingestion, read by the intermediate layer, so that such rows rebuild their day
    through lineage like everything else.
    """
    return dg.AssetKey(["staging", f"late_{feed}"])


def external_specs(
    contracts: Mapping[str, FeedContract],
    partitioning: Partitioning,
    sources: Collection[Source] = (),
) -> list[dg.AssetSpec]:
    """Things the platform observes or writes beside its own assets.

    Args:
        sources: what is pulled, and becomes files of the inbox.
    """
    inbox = [
        dg.AssetSpec(
            inbox_key(c.name),
            deps=[
                dg.AssetDep(source_key(s.name), partition_mapping=partitioning.same_day())
                for s in sources
                if s.feed == c.name
            ],
            group_name="inbox",
            partitions_def=partitioning.of(c.scope),
            owners=[c.owner],
            kinds={"file"},
            tags={"domain": c.domain},
            description=f"Files of {c.title} as they arrive, one event per country and batch day.",
        )
        for c in contracts.values()
    ]
    late = [
        dg.AssetSpec(
            late_days_key(c.name),
            group_name="staging",
            partitions_def=partitioning.of(c.scope),
            owners=[c.owner],
            kinds={"table"},
            tags={"domain": c.domain},
            description=f"Business days of {c.title} that rows later than the lookback belong to.",
        )
        for c in contracts.values()
        if c.ingestion.business_date is not None
    ]
    ledger = dg.AssetSpec(
        LEDGER_KEY,
        group_name="raw",
        owners=["team:data-platform"],
        kinds={"table"},
        tags={"domain": "retail"},
        description="One row per delivered file and country: where its rows went, and why.",
    )
    return [*inbox, *late, ledger]


def feed_spec(contract: FeedContract, partitioning: Partitioning) -> dg.AssetSpec:
    """Accepted files of a feed: validated Parquet, quarantine, history."""
    return dg.AssetSpec(
        feed_key(contract.name),
        deps=[dg.AssetDep(inbox_key(contract.name), partition_mapping=partitioning.same_day())],
        group_name="feeds",
        kinds={"polars", "pandera", "parquet"},
        description=f"{contract.title}: {contract.description} Grain: {contract.grain}.",
        metadata={"dagster/column_schema": _columns(contract, meta=False)},
        **_common(contract, partitioning),
    )


def database_of(manifest: Mapping[str, Any]) -> str:
    """The database of an installation's tables, as dbt names it."""
    return str(next(iter(manifest["nodes"].values()))["database"])


def raw_spec(
    contract: FeedContract, partitioning: Partitioning, kind: str, database: str
) -> dg.AssetSpec:
    """RAW table of a feed."""
    lineage = {
        name: [dg.TableColumnDep(feed_key(contract.name), name)]
        for c in contract.columns
        for name in c.stored
    }
    return dg.AssetSpec(
        raw_key(contract.name),
        deps=[dg.AssetDep(feed_key(contract.name), partition_mapping=partitioning.same_day())],
        group_name="raw",
        kinds={kind, "table"},
        description=f"RAW copy of {contract.title}, typed by contract {contract.version}. "
        f"Grain: {contract.grain}.",
        metadata={
            "dagster/column_schema": _columns(contract, meta=True),
            "dagster/column_lineage": dg.TableColumnLineage(lineage),
            "dagster/table_name": f"{database}.raw.{contract.name}",
        },
        **_common(contract, partitioning),
    )


def _common(contract: FeedContract, partitioning: Partitioning) -> dict[str, Any]:
    return {
        "partitions_def": partitioning.of(contract.scope),
        "owners": [contract.owner],
        "tags": {"domain": contract.domain, **({"pii": "true"} if contract.holds_pii else {})},
        "automation_condition": when_inputs_arrive(),
        "freshness_policy": _policy(contract.freshness),
        "code_version": contract.schema_version,
        "skippable": True,
    }


def _columns(contract: FeedContract, *, meta: bool) -> dg.TableSchema:
    of_name = {name: c for c in contract.columns for name in c.stored}
    described = {name: _described(c, name) for name, c in of_name.items()}
    described |= {name: text for name, (_, text) in META_COLUMNS.items()}
    required = {name for name, c in of_name.items() if c.required}
    return dg.TableSchema(
        [
            dg.TableColumn(
                name,
                sql_type,
                description=described[name],
                constraints=dg.TableColumnConstraints(nullable=name not in required),
                tags={"pii": "true"} if name in of_name and of_name[name].protect else None,
            )
            for name, sql_type in raw_columns(contract).items()
            if meta or name not in META_COLUMNS
        ]
    )


def _described(column: Column, name: str) -> str:
    if column.protect is None:
        return column.description
    return f"{column.description} {_KEPT_AS[name.removeprefix(column.name)]}"


def computed_mart_spec(
    name: str,
    *,
    database: str,
    description: str,
    columns: Mapping[str, tuple[str, str]],
    deps: Collection[dg.AssetDep],
    lineage: Mapping[str, list[dg.TableColumnDep]],
    partitioning: Partitioning,
) -> dg.AssetSpec:
    """A country mart of business days that Python computes: all that dbt models say of themselves.

    Args:
        columns: SQL type and description by name.
    """
    schema = [dg.TableColumn(c, kind, description=text) for c, (kind, text) in columns.items()]
    return dg.AssetSpec(
        ["marts", name],
        deps=deps,
        group_name="marts",
        kinds={"python", "table"},
        description=description,
        metadata={
            "dagster/column_schema": dg.TableSchema(schema),
            "dagster/column_lineage": dg.TableColumnLineage(lineage),
            "dagster/table_name": f"{database}.marts.{name}",
        },
        partitions_def=partitioning.of(Scope.COUNTRY),
        owners=["team:analytics-engineering"],
        tags={"domain": "retail"},
        automation_condition=when_inputs_arrive_or_stale(),
        freshness_policy=_FRESH,
        skippable=True,
    )


class ModelTranslator(DagsterDbtTranslator):
    """dbt models as assets: the manifest says everything except partitions and automation."""

    def __init__(
        self,
        partitioning: Partitioning,
        contracts: Mapping[str, FeedContract],
        column_lineage: Mapping[str, Mapping[str, list[tuple[str, str]]]],
    ) -> None:
        """Use the installation's partitions.

        Args:
            contracts: of the feeds that models are made of.
            column_lineage: model -> column -> (asset path, column) it is computed from.
        """
        super().__init__(DagsterDbtTranslatorSettings(enable_asset_checks=True))
        self._partitioning = partitioning
        self._contracts = contracts
        self._lineage = column_lineage
        self._specs: dict[str, dg.AssetSpec] = {}

    def get_partition_mapping(
        self,
        dbt_resource_props: Mapping[str, Any],
        dbt_parent_resource_props: Mapping[str, Any],
    ) -> dg.PartitionMapping | None:
        """Batch day to batch day, the lookback into business days, and global to country.

        A model that reads other days of an input than its own declares them, and reads them
        through the macro `in_window`, which knows the same declaration.
        """
        parent = dbt_parent_resource_props
        if parent["resource_type"] == "source":
            if parent["name"] == LEDGER_KEY.path[-1]:
                return None
            return self._partitioning.same_day()
        scope, parent_scope = scope_of(dbt_resource_props), scope_of(parent)
        window = dbt_resource_props["meta"].get("reads", {}).get(parent["name"], {})
        before, days_after = window.get("days_before", 0), window.get("days_after", 0)
        days_before = None if before == "all" else before
        if scope is not parent_scope:
            return self._partitioning.from_global(days_before, days_after)
        business = "business_day" in dbt_resource_props["tags"]
        # a dimension that is read as of the day is read up to it, and the window says how far back
        if business and not window and "batch_day" in parent["tags"]:
            if scope is Scope.GLOBAL:
                return self._partitioning.carried_rates()
            return self._partitioning.lookback()
        return self._partitioning.window(days_before, days_after)

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: Any
    ) -> dg.AssetSpec:
        """Stock spec plus partitions, automation, freshness and column lineage.

        Kept, because each of a model's tests asks for those of all that it reads.
        """
        if unique_id not in self._specs:
            self._specs[unique_id] = self._asset_spec(manifest, unique_id, project)
        return self._specs[unique_id]

    def _asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: Any
    ) -> dg.AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        props = self.get_resource_props(manifest, unique_id)
        if props["resource_type"] != "model":
            return spec
        scope = scope_of(props)
        business = "business_day" in props["tags"]
        deps = list(spec.deps)
        if business:
            deps += self._late_days(props, manifest)
        if props["name"] in props["meta"].get("reads", {}):
            deps.append(dg.AssetDep(spec.key, partition_mapping=self._partitioning.own_past()))
        lineage = {
            column: [dg.TableColumnDep(dg.AssetKey(path.split("/")), name) for path, name in inputs]
            for column, inputs in self._lineage.get(unique_id, {}).items()
        }
        return spec.replace_attributes(
            deps=deps,
            partitions_def=self._partitioning.of(scope),
            automation_condition=when_inputs_arrive_or_stale()
            if business and scope is Scope.COUNTRY
            else when_inputs_arrive(),
            freshness_policy=_FRESH if business else _WEEKLY,
            skippable=True,
            tags={**spec.tags, "domain": props["meta"].get("domain", "retail")},
        ).merge_attributes(
            metadata={"dagster/column_lineage": dg.TableColumnLineage(lineage)} if lineage else {}
        )

    def _late_days(
        self, props: Mapping[str, Any], manifest: Mapping[str, Any]
    ) -> Iterator[dg.AssetDep]:
        """For each feed that a model reads by batch day and that tells of business days."""
        feeds = {
            feed
            for parent in props["depends_on"]["nodes"]
            if "batch_day" in manifest["nodes"].get(parent, {}).get("tags", [])
            for feed in feeds_below(parent, manifest)
        }
        scope = scope_of(props)
        for feed in sorted(feeds & self._contracts.keys()):  # the ledger is a source, and no feed
            contract = self._contracts[feed]
            if contract.ingestion.business_date is None:
                continue
            if scope is not contract.scope:
                mapping = self._partitioning.from_global()
            elif scope is Scope.GLOBAL:
                mapping = self._partitioning.carried_rates()
            else:
                mapping = self._partitioning.same_day()
            yield dg.AssetDep(late_days_key(feed), partition_mapping=mapping)


def scope_of(props: Mapping[str, Any]) -> Scope:
    """Scope a model declares by tag."""
    return Scope.GLOBAL if "global" in props["tags"] else Scope.COUNTRY


def feeds_below(unique_id: str, manifest: Mapping[str, Any]) -> frozenset[str]:
    """Feeds a model is made of, directly or through other models."""
    feeds: set[str] = set()
    for parent in manifest["nodes"][unique_id]["depends_on"]["nodes"]:
        if parent.startswith("source."):
            feeds.add(manifest["sources"][parent]["name"])
        elif parent.startswith("model."):
            feeds |= feeds_below(parent, manifest)
    return frozenset(feeds)


def model_specs(
    manifest: Mapping[str, Any], translator: ModelTranslator, kind_of_day: str, scope: Scope
) -> tuple[list[dg.AssetSpec], list[dg.AssetCheckSpec]]:
    """Asset and check specs of the models of one kind of day and one scope."""
    specs, checks = build_dbt_specs(
        translator=translator,
        manifest=manifest,
        select=f"tag:{kind_of_day},tag:{scope.value}",
        exclude="",
        selector="",
        io_manager_key=None,
        project=None,
    )
    # Not blocking: a test speaks about all slices of a run, and one country's trouble must not
    # stop the others. What blocks is the gate, partition by partition.
    return list(specs), [check._replace(blocking=False) for check in checks]
