"""Runs in this process are runs like those that Dagster's own method makes, described once."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg
import pytest

from retail_platform.operate.in_process import FOREGROUND_TAG, execute_here

FIRST, SECOND = dg.AssetKey("first"), dg.AssetKey("second")
DAYS = dg.StaticPartitionsDefinition(["1", "2"])


@dg.asset(partitions_def=DAYS)
def first() -> None:
    """Builds nothing."""


@dg.asset_check(asset=first)
def positive() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset(partitions_def=DAYS, deps=[first], config_schema={"word": dg.Field(str, "none")})
def second(context: dg.AssetExecutionContext) -> None:
    word: str = context.op_execution_context.op_config["word"]
    if word == "stop":
        raise ValueError(word)


@pytest.fixture
def job() -> dg.JobDefinition:
    definitions = dg.Definitions(assets=[first, second], asset_checks=[positive])
    return definitions.resolve_implicit_global_asset_job_def()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


TAGS = {"dagster/asset_partition_range_start": "1", "dagster/asset_partition_range_end": "2"}


@pytest.mark.parametrize("selection", [[FIRST], [FIRST, SECOND]])
def test_a_run_is_recorded_as_dagster_itself_records_it(
    job: dg.JobDefinition, instance: dg.DagsterInstance, selection: list[dg.AssetKey]
) -> None:
    ours = execute_here(job, instance, selection, TAGS)
    theirs = job.execute_in_process(
        instance=instance,
        asset_selection=selection,
        tags=TAGS,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    one, other = ours.dagster_run, theirs.dagster_run
    assert {k: v for k, v in one.tags.items() if k != FOREGROUND_TAG} == other.tags
    for name in ("job_name", "asset_selection", "status", "step_keys_to_execute"):
        assert getattr(one, name) == getattr(other, name), name
    assert Counter(e.event_type for e in ours.all_events) == Counter(
        e.event_type for e in theirs.all_events
    )
    described = [instance.get_job_snapshot(r.job_snapshot_id) for r in (one, other)]
    assert described[0].node_names == described[1].node_names


def test_what_is_selected_again_is_not_described_again(
    job: dg.JobDefinition, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    subsets = []
    get_subset = dg.JobDefinition.get_subset

    def counted(self: dg.JobDefinition, **options: object) -> dg.JobDefinition:
        if options.get("asset_selection"):
            subsets.append(options["asset_selection"])
        return get_subset(self, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(dg.JobDefinition, "get_subset", counted)
    runs = [execute_here(job, instance, selection, TAGS).dagster_run
            for selection in ([FIRST], [FIRST, SECOND], [FIRST])]  # fmt: skip
    assert subsets == [{FIRST}, {FIRST, SECOND}]
    assert [run.asset_selection for run in runs] == [{FIRST}, {FIRST, SECOND}, {FIRST}]
    assert runs[0].job_snapshot_id == runs[2].job_snapshot_id != runs[1].job_snapshot_id


def test_a_failure_is_the_result_and_configuration_arrives(
    job: dg.JobDefinition, instance: dg.DagsterInstance
) -> None:
    ops = {"second": {"config": {"word": "stop"}}}
    result = execute_here(job, instance, [SECOND], TAGS, ops)
    assert not result.success
    assert [e.step_key for e in result.all_events if e.is_step_failure] == ["second"]
