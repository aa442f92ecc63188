"""What automation requests while nothing runs, and while something does."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import pytest
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._time import get_current_timestamp

from retail_platform.automation import inputs
from retail_platform.automation.conditions import when_inputs_arrive
from retail_platform.cli import serving
from retail_platform.partitions import Partitioning, Scope
from retail_platform_tests.builders import REGISTRY

PARTITIONING = Partitioning.build(REGISTRY, date(2025, 1, 1))
PARTITIONS = PARTITIONING.of(Scope.COUNTRY)
FR, DE = "FR|2025-01-02", "DE|2025-01-02"
RAW, STAGED, OTHER = dg.AssetKey("raw"), dg.AssetKey("staged"), dg.AssetKey("other")


@dg.asset(
    key=STAGED,
    deps=[dg.AssetDep(RAW, partition_mapping=PARTITIONING.same_day())],
    partitions_def=PARTITIONS,
    automation_condition=when_inputs_arrive(),
)
def staged() -> None: ...


@dg.asset(key=OTHER, partitions_def=PARTITIONS)
def other() -> None: ...


DEFINITIONS = dg.Definitions([dg.AssetSpec(RAW, partitions_def=PARTITIONS), staged, other])


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as created:
        yield created


def arrive(instance: dg.DagsterInstance, *partitions: str) -> None:
    for partition in partitions:
        instance.report_runless_asset_event(dg.AssetMaterialization(RAW, partition=partition))


def start(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> dg.DagsterRun:
    """A run that never comes further than being announced."""
    return instance.create_run_for_job(
        DEFINITIONS.resolve_implicit_global_asset_job_def(),
        asset_selection={key},
        tags={"dagster/partition": partition},
    )


def requested(instance: dg.DagsterInstance, cursor: Any = None) -> Any:
    return dg.evaluate_automation_conditions(DEFINITIONS, instance, cursor=cursor)


def test_while_nothing_runs_dagster_is_not_asked_what_is_in_progress(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_progress(view: AssetGraphView, *, from_subset: Any, key: Any) -> Any:
        assert from_subset.is_empty
        return view.get_empty_subset(key=key)

    monkeypatch.setattr(AssetGraphView, "compute_run_in_progress_subset", in_progress)
    arrive(instance, FR, DE)
    assert requested(instance).get_requested_partitions(STAGED) == {FR, DE}


def test_a_run_of_something_else_holds_nothing_up(instance: dg.DagsterInstance) -> None:
    start(instance, OTHER, FR)
    arrive(instance, FR, DE)
    assert requested(instance).get_requested_partitions(STAGED) == {FR, DE}


def test_what_is_in_progress_is_requested_when_it_has_ended(instance: dg.DagsterInstance) -> None:
    run = start(instance, STAGED, FR)
    arrive(instance, FR, DE)
    assert requested(instance).get_requested_partitions(STAGED) == {DE}
    instance.report_run_canceled(run)
    assert requested(instance).get_requested_partitions(STAGED) == {FR, DE}


@pytest.mark.parametrize("key", [STAGED, RAW])
def test_what_a_backfill_is_going_to_run_is_left_to_it(
    instance: dg.DagsterInstance, key: dg.AssetKey
) -> None:
    arrive(instance, FR, DE)
    graph = DEFINITIONS.resolve_asset_graph()
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id="backfill",
        asset_graph=graph,
        partition_names=[FR],
        asset_selection=[key],
        backfill_timestamp=get_current_timestamp(),
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    assert requested(instance).get_requested_partitions(STAGED) == {DE}
    instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))
    assert requested(instance).get_requested_partitions(STAGED) == {FR, DE}


def test_what_was_seen_while_nothing_ran_is_remembered_over_a_run(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bool] = []
    look = inputs.stale_partitions

    def note(*arguments: Any, done_until: Any = None) -> Any:
        looked.append(done_until is not None)
        return look(*arguments, done_until=done_until)

    arrive(instance, FR)
    instance.report_runless_asset_event(dg.AssetMaterialization(STAGED, partition=FR))
    quiet = requested(instance)
    run = start(instance, OTHER, FR)
    busy = requested(instance, quiet.cursor)
    instance.report_run_canceled(run)
    monkeypatch.setattr(inputs, "stale_partitions", note)
    arrive(instance, DE)
    assert requested(instance, busy.cursor).get_requested_partitions(STAGED) == {DE}
    assert looked == [True], "history is not read again"


def test_a_run_created_while_assets_are_compared_is_no_sign_that_all_is_done(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not serving._busy(DEFINITIONS, instance)
    arrive(instance, FR)
    assert serving._busy(DEFINITIONS, instance)

    def compared_too_late(*arguments: Any) -> set[Any]:
        if not instance.get_runs_count():
            start(instance, STAGED, FR)
        return inputs.stale_partitions(*arguments)

    monkeypatch.setattr(serving, "stale_partitions", compared_too_late)
    assert serving._busy(DEFINITIONS, instance)
