"""Steps begin without a look at partitions of inputs; outputs still say what they read."""

from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.context.data_version_cache import DataVersionCache
from dagster._core.execution.context.system import StepExecutionContext

from retail_platform.assets.input_versions import look_up_input_versions_when_asked
from retail_platform.assets.recording import record_materializations

DAYS = dg.DailyPartitionsDefinition("2025-01-01", end_date="2025-02-01")
TWO_MONTHS = dg.TimeWindowPartitionMapping(
    start_offset=-60, allow_nonexistent_upstream_partitions=True
)


@dg.asset(partitions_def=DAYS)
def sales() -> None: ...


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "recorded",
            partitions_def=DAYS,
            deps=[dg.AssetDep(sales, partition_mapping=TWO_MONTHS)],
            skippable=True,
        )
    ]
)
def recorded(context: dg.AssetExecutionContext) -> Any:
    record_materializations(context, [dg.AssetMaterialization("recorded", partition="2025-01-31")])
    yield from ()


@dg.asset(partitions_def=DAYS, deps=[dg.AssetDep(sales, partition_mapping=TWO_MONTHS)])
def yielded() -> None: ...


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(
        DataVersionCache,
        "fetch_external_input_asset_version_info",
        DataVersionCache.fetch_external_input_asset_version_info,
    )
    look_up_input_versions_when_asked()
    with dg.DagsterInstance.ephemeral() as created:
        dg.materialize([sales], instance=created, partition_key="2025-01-31")
        yield created


def materialized(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> dict[str, str]:
    """Tags of the materialization."""
    dg.materialize([sales, asset], selection=[asset], instance=instance, partition_key="2025-01-31")
    event = instance.get_latest_materialization_event(asset.key)
    assert event
    assert event.asset_materialization
    return dict(event.asset_materialization.tags or {})


def test_a_step_that_records_partitions_itself_looks_at_no_input(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("the partitions of an input were looked for")

    monkeypatch.setattr(StepExecutionContext, "asset_partitions_subset_for_input", looked)
    assert "dagster/input_data_version/sales" not in materialized(recorded, instance)
    with pytest.raises(AssertionError, match="were looked for"):
        materialized(yielded, instance)


def test_an_output_names_the_versions_of_its_inputs(instance: dg.DagsterInstance) -> None:
    tags = materialized(yielded, instance)
    assert tags["dagster/input_data_version/sales"]
    assert tags["dagster/input_event_pointer/sales"] != "NULL"
