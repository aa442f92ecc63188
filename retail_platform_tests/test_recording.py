"""Events an op records itself: as good as Dagster's own, but with metadata per partition."""

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from shutil import copytree
from typing import Any

import dagster as dg
import pytest
from dagster._core import events as dagster_events
from dagster._record import copy

from retail_platform.assets import recording
from retail_platform.assets.recording import (
    latest_materializations,
    record_check_evaluations,
    record_materializations,
)

RAW, OTHER = dg.AssetKey("raw"), dg.AssetKey("other")
PARTITIONS = dg.MultiPartitionsDefinition(
    {
        "country": dg.StaticPartitionsDefinition(["CN", "FR"]),
        "day": dg.DailyPartitionsDefinition("2025-01-01", end_date="2026-01-01"),
    }
)
RANGE = {
    "dagster/asset_partition_range_start": "CN|2025-01-01",
    "dagster/asset_partition_range_end": "FR|2025-01-03",
}
KEYS = [f"{country}|2025-01-0{day}" for country in ("CN", "FR") for day in (1, 2, 3)]
BAD = "FR|2025-01-02"
BATCHED = """
storage:
  custom:
    module: retail_platform.event_log
    class: BatchedSqliteStorage
    config:
      base_dir: {env: DAGSTER_HOME}
"""
STOCK = ""
Body = Callable[[dg.AssetExecutionContext], Iterator[Any]]


def materializations(context: dg.AssetExecutionContext) -> Iterator[dg.AssetMaterialization]:
    for number, key in enumerate(context.partition_keys):
        yield dg.AssetMaterialization(RAW, partition=key, metadata={"rows": number})


SCHEMA = dg.AssetCheckSpec("schema", asset=RAW, partitions_def=PARTITIONS, blocking=True)


def make_asset(body: Body, *, checks: Sequence[dg.AssetCheckSpec] = ()) -> dg.AssetsDefinition:
    """The assets raw and other, made by one op."""
    specs = [dg.AssetSpec(key, partitions_def=PARTITIONS, skippable=True) for key in (RAW, OTHER)]

    @dg.multi_asset(
        name="load",
        specs=specs,
        check_specs=checks,
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def load(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield from body(context)

    return load


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases without content: creating them takes longer than most of the tests."""
    home = tmp_path_factory.mktemp("empty")
    with dg.DagsterInstance.local_temp(str(home)):
        return home


@pytest.fixture
def make_instance(
    tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], dg.DagsterInstance]]:
    """Makes an instance with the given configuration on databases of its own."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "4")  # 6 partitions: one full batch, one rest

    def make(config: str) -> dg.DagsterInstance:
        copytree(empty_home, tmp_path, dirs_exist_ok=True)
        (tmp_path / "dagster.yaml").write_text(f"telemetry: {{enabled: false}}\n{config}")
        return instances.enter_context(dg.DagsterInstance.from_config(str(tmp_path)))

    with ExitStack() as instances:
        yield make


@pytest.fixture
def instance(make_instance: Callable[[str], dg.DagsterInstance]) -> dg.DagsterInstance:
    """With the storage of this project."""
    return make_instance(BATCHED)


@pytest.fixture(params=[BATCHED, STOCK], ids=["our storage", "stock storage"])
def any_instance(
    request: pytest.FixtureRequest, make_instance: Callable[[str], dg.DagsterInstance]
) -> dg.DagsterInstance:
    """With either storage."""
    return make_instance(request.param)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """No database and no batches: for what does not depend on them."""
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
    with dg.DagsterInstance.ephemeral() as created:
        yield created


def run(
    instance: dg.DagsterInstance, asset: dg.AssetsDefinition, *, raise_on_error: bool = True
) -> dg.ExecuteInProcessResult:
    return dg.materialize([asset], instance=instance, tags=RANGE, raise_on_error=raise_on_error)


def recorded(instance: dg.DagsterInstance, key: dg.AssetKey = RAW) -> dict[str | None, Any]:
    """Metadata of the materialized partitions, oldest first."""
    records = instance.fetch_materializations(key, limit=99, ascending=True).records
    return {
        record.partition_key: record.asset_materialization.metadata["rows"].value
        for record in records
        if record.asset_materialization is not None
    }


class TestMaterializations:
    @pytest.mark.parametrize("batch_size", ["0", "4", "1000"])
    def test_each_partition_has_its_own_metadata(
        self, any_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, batch_size: str
    ) -> None:
        instance = any_instance
        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", batch_size)
        counted = []

        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            counted.append(record_materializations(context, materializations(context)))
            # Stored already, so that the op can go on from them.
            counted.append(len(context.instance.get_materialized_partitions(RAW)))
            yield from ()

        result = run(instance, make_asset(body))
        assert result.success
        assert counted == [6, 6]
        assert instance.get_materialized_partitions(RAW) == set(KEYS)
        assert recorded(instance) == {key: number for number, key in enumerate(KEYS)}
        one = instance.fetch_materializations(
            dg.AssetRecordsFilter(RAW, asset_partitions=["FR|2025-01-01"]), limit=9
        ).records
        assert [record.run_id for record in one] == [result.run_id]

    def test_an_op_may_leave_partitions_out(self, in_memory: dg.DagsterInstance) -> None:
        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            good = (event for event in materializations(context) if event.partition != BAD)
            record_materializations(context, good)
            yield from ()

        assert run(in_memory, make_asset(body)).success
        assert in_memory.get_materialized_partitions(RAW) == set(KEYS) - {BAD}

    def test_events_are_those_dagster_creates_for_outputs(
        self, any_instance: dg.DagsterInstance
    ) -> None:
        """Fails when Dagster starts to write something else, which we would then miss."""
        instance = any_instance

        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            if context.run_tags.get("by"):
                events = (
                    dg.AssetMaterialization(RAW, partition=str(key), metadata={"rows": 1})
                    for key in context.partition_keys
                )
                record_materializations(context, events)
            else:
                yield dg.MaterializeResult(asset_key=RAW, metadata={"rows": 1})

        logs = []
        for tags in ({}, {"by": "us"}):
            result = dg.materialize([make_asset(body)], instance=instance, tags={**RANGE, **tags})
            logs.append(instance.all_logs(result.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION))
        theirs, ours = (
            {e.get_dagster_event().partition: _comparable(e) for e in log} for log in logs
        )
        assert list(ours) == KEYS  # theirs come in the order of a set
        assert ours == theirs

    def mixed(self, context: dg.AssetExecutionContext) -> Iterator[dg.AssetMaterialization]:
        """Of both assets, in turns; every other with a description of its own."""
        for number, key in enumerate(context.partition_keys):
            described = "a late one" if number % 2 else None
            for asset in (RAW, OTHER):
                yield dg.AssetMaterialization(
                    asset, partition=key, metadata={"rows": number}, description=described
                )

    def test_assets_of_one_op_are_recorded_each_for_itself(
        self, any_instance: dg.DagsterInstance
    ) -> None:
        counted = []

        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            counted.append(record_materializations(context, self.mixed(context)))
            yield from ()

        result = run(any_instance, make_asset(body))
        assert counted == [12]
        messages = {None: "Materialized value {}.", "a late one": "a late one"}
        for asset in (RAW, OTHER):
            assert set(recorded(any_instance, asset).items()) == set(
                zip(KEYS, range(6), strict=True)
            )
            for entry in any_instance.all_logs(
                result.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION
            ):
                event = entry.get_dagster_event()
                described = event.step_materialization_data.materialization.description
                message = messages[described].format(event.asset_key.path[-1])
                assert entry.user_message == event.message == message

    def test_other_storages_get_a_batch_for_each_asset(
        self,
        make_instance: Callable[[str], dg.DagsterInstance],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        instance = make_instance(STOCK)
        batches: list[set[dg.AssetKey | None]] = []
        store = instance.event_log_storage.store_event_batch

        def note(events: list[dg.EventLogEntry]) -> None:
            batches.append({event.get_dagster_event().asset_key for event in events})
            store(events)

        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            monkeypatch.setattr(instance.event_log_storage, "store_event_batch", note)
            events = (event._replace(description=None) for event in self.mixed(context))
            record_materializations(context, events)
            yield from ()

        run(instance, make_asset(body))
        assert batches == [{RAW}, {RAW}, {OTHER}, {OTHER}]

    def test_our_storage_gets_one_event_for_each_asset(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[dg.AssetKey | None] = []
        store = instance.event_log_storage.store_event

        def note(event: dg.EventLogEntry) -> None:
            if event.dagster_event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
                seen.append(event.get_dagster_event().asset_key)
            store(event)

        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            monkeypatch.setattr(instance.event_log_storage, "store_event", note)
            events = (event._replace(description=None) for event in self.mixed(context))
            record_materializations(context, events)
            yield from ()

        run(instance, make_asset(body))
        assert seen == [RAW, OTHER]
        assert recorded(instance, RAW) == recorded(instance, OTHER)

    @pytest.mark.parametrize(
        ("event", "message"),
        [
            (dg.AssetMaterialization("elsewhere", partition=KEYS[0]), "elsewhere is not"),
            (dg.AssetMaterialization(RAW), "raw has partitions"),
        ],
        ids=["asset of another op", "no partition"],
    )
    def test_nothing_is_recorded_when_one_is_wrong(
        self, in_memory: dg.DagsterInstance, event: dg.AssetMaterialization, message: str
    ) -> None:
        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            record_materializations(context, [*materializations(context), event])
            yield from ()

        with pytest.raises(ValueError, match=message):
            run(in_memory, make_asset(body))
        assert recorded(in_memory) == {}

    def test_what_is_recorded_stays_when_the_op_fails_later(
        self, instance: dg.DagsterInstance
    ) -> None:
        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            record_materializations(context, materializations(context))
            yield from ()
            raise RuntimeError("after recording")

        assert not run(instance, make_asset(body), raise_on_error=False).success
        assert instance.get_materialized_partitions(RAW) == set(KEYS)

    def test_assets_without_partitions(self, in_memory: dg.DagsterInstance) -> None:
        @dg.multi_asset(specs=[dg.AssetSpec(RAW, skippable=True)])
        def load(context: dg.AssetExecutionContext) -> Iterator[Any]:
            record_materializations(context, [dg.AssetMaterialization(RAW, metadata={"rows": 7})])
            yield from ()

        assert dg.materialize([load], instance=in_memory).success
        assert recorded(in_memory) == {None: 7}


def _comparable(entry: dg.EventLogEntry) -> dg.EventLogEntry:
    """Without what differs between any two runs, and without data versions.

    Those Dagster computes for outputs only; an op that records may set them as tags.
    """
    event = entry.get_dagster_event()
    data = event.step_materialization_data
    kept = {
        name: value
        for name, value in (data.materialization.tags or {}).items()
        if not name.startswith(("dagster/data_version", "dagster/code_version", "dagster/input_"))
    }
    assert set(kept) == {"dagster/partition/country", "dagster/partition/day"}
    data = data._replace(materialization=data.materialization._replace(tags=kept))
    event = event._replace(event_specific_data=data, logging_tags={})
    return entry._replace(dagster_event=event, timestamp=0.0, run_id="")


def _without_run(entry: dg.EventLogEntry) -> dg.EventLogEntry:
    """Without what differs between any two runs of a check."""
    event = entry.get_dagster_event()
    data = event.event_specific_data
    if isinstance(data, dg.AssetCheckEvaluation):
        data = copy(data, target_materialization_data=None)
    return entry._replace(
        dagster_event=event._replace(event_specific_data=data, logging_tags={}),
        timestamp=0.0,
        run_id="",
    )


class TestCheckEvaluations:
    def load_and_check(
        self, context: dg.AssetExecutionContext, severity: dg.AssetCheckSeverity
    ) -> Iterator[Any]:
        """A gate: only good partitions are materialized, all are judged."""
        good = [event for event in materializations(context) if event.partition != BAD]
        record_materializations(context, good)
        targets = latest_materializations(context, RAW, context.partition_keys)
        yield from record_check_evaluations(
            context,
            [
                dg.AssetCheckEvaluation(
                    asset_key=RAW,
                    check_name="schema",
                    passed=key in targets,
                    partition=key,
                    blocking=True,
                    severity=severity,
                    target_materialization_data=targets.get(key),
                )
                for key in context.partition_keys
            ],
        )

    def statuses(self, instance: dg.DagsterInstance) -> dict[str | None, str]:
        records = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(RAW, "schema"), limit=99
        )
        assert len(records) == len(KEYS), "one execution per partition"
        return {record.partition: record.status.value for record in records}

    def test_a_failed_blocking_check_fails_the_run(self, instance: dg.DagsterInstance) -> None:
        asset = make_asset(
            lambda context: self.load_and_check(context, dg.AssetCheckSeverity.ERROR),
            checks=[SCHEMA],
        )
        assert not run(instance, asset, raise_on_error=False).success
        expected = {key: "FAILED" if key == BAD else "SUCCEEDED" for key in KEYS}
        assert self.statuses(instance) == expected

    def test_a_warning_is_recorded_in_the_batch_and_does_not_fail_the_run(
        self, instance: dg.DagsterInstance
    ) -> None:
        yielded = []

        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            for event in self.load_and_check(context, dg.AssetCheckSeverity.WARN):
                yielded.append(type(event))
                yield event

        assert run(instance, make_asset(body, checks=[SCHEMA])).success
        assert yielded == [dg.Output]
        assert self.statuses(instance)[BAD] == "FAILED"

    def test_only_partitions_that_passed_are_requested_downstream(
        self, instance: dg.DagsterInstance
    ) -> None:
        asset = make_asset(
            lambda context: self.load_and_check(context, dg.AssetCheckSeverity.ERROR),
            checks=[SCHEMA],
        )

        @dg.asset(
            partitions_def=PARTITIONS,
            deps=[RAW],
            automation_condition=dg.AutomationCondition.missing()
            & dg.AutomationCondition.all_deps_blocking_checks_passed(),
        )
        def staged() -> None: ...

        defs = dg.Definitions([asset, staged])
        run(instance, asset, raise_on_error=False)
        requested = dg.evaluate_automation_conditions(defs, instance)
        assert requested.get_requested_partitions(staged.key) == set(KEYS) - {BAD}

    @pytest.mark.parametrize(
        "found", [{"passed": True, "metadata": {"rows": 7}}, {"passed": False, "description": "!"}]
    )
    def test_results_are_those_dagster_creates_for_check_results(
        self, any_instance: dg.DagsterInstance, found: dict[str, Any]
    ) -> None:
        """Fails when Dagster starts to write something else, which we would then miss."""

        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            record_materializations(context, materializations(context))
            if context.run_tags.get("by"):
                result = dg.AssetCheckEvaluation(
                    asset_key=RAW, check_name="whole", blocking=False, **found
                )
                yield from record_check_evaluations(context, [result])
            else:
                yield dg.AssetCheckResult(asset_key=RAW, check_name="whole", **found)

        spec = dg.AssetCheckSpec("whole", asset=RAW)
        asset = make_asset(body, checks=[spec])
        logs = []
        for tags in ({}, {"by": "us"}):
            result = dg.materialize([asset], instance=any_instance, tags={**RANGE, **tags})
            log = any_instance.all_logs(
                result.run_id,
                {dg.DagsterEventType.ASSET_CHECK_EVALUATION, dg.DagsterEventType.STEP_OUTPUT},
            )
            newest = any_instance.get_latest_materialization_event(RAW)
            (target,) = (
                data.target_materialization_data
                for entry in log
                if (data := entry.get_dagster_event().event_specific_data)
                and isinstance(data, dg.AssetCheckEvaluation)
            )
            assert newest is not None
            assert target.run_id == newest.run_id == result.run_id
            assert target.timestamp == newest.timestamp
            logs.append([_without_run(entry) for entry in log])
        theirs, ours = logs
        assert sorted(ours, key=str) == sorted(theirs, key=str)
        assert len(ours) == 2

    def test_a_check_of_an_asset_that_was_never_materialized(
        self, in_memory: dg.DagsterInstance
    ) -> None:
        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            result = dg.AssetCheckEvaluation(asset_key=RAW, check_name="whole", passed=False)
            yield from record_check_evaluations(context, [result])

        checks = [dg.AssetCheckSpec("whole", asset=RAW)]
        assert run(in_memory, make_asset(body, checks=checks)).success
        (record,) = in_memory.event_log_storage.get_asset_check_execution_history(
            checks[0].key, limit=9
        )
        assert record.status.value == "FAILED"
        assert record.evaluation is not None
        assert record.evaluation.target_materialization_data is None

    def test_a_check_of_another_op_is_refused(self, in_memory: dg.DagsterInstance) -> None:
        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            evaluation = dg.AssetCheckEvaluation(asset_key=RAW, check_name="other", passed=True)
            yield from record_check_evaluations(context, [evaluation])

        with pytest.raises(ValueError, match="raw:other is not run by this step"):
            run(in_memory, make_asset(body, checks=[SCHEMA]))


class TestLatestMaterializations:
    def test_refers_to_the_newest_of_several_runs(
        self, in_memory: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recording, "_LOOKUP_SIZE", 2)
        found: dict[str, Any] = {}

        def body(context: dg.AssetExecutionContext) -> Iterator[Any]:
            record_materializations(context, materializations(context))
            found.update(latest_materializations(context, RAW, [*KEYS[:5], "FR|2025-12-01"]))
            yield from ()

        runs = [run(in_memory, make_asset(body)) for _ in range(2)]
        assert sorted(found) == KEYS[:5]
        for key, target in found.items():
            records = in_memory.fetch_materializations(
                dg.AssetRecordsFilter(RAW, asset_partitions=[key]), limit=9
            ).records
            assert len(records) == 2
            assert target.storage_id == records[0].storage_id
            assert target.run_id == records[0].run_id == runs[1].run_id
            assert target.timestamp == pytest.approx(records[0].timestamp, abs=1e-5)


DEFINITIONS = """
import dagster as dg
from retail_platform_tests.test_recording import make_asset, materializations
from retail_platform.assets.recording import record_materializations

def body(context):
    record_materializations(context, materializations(context))
    yield from ()

asset = make_asset(body)
defs = dg.Definitions([asset], jobs=[dg.define_asset_job("load_job", [asset])])
"""


def test_a_run_in_processes_of_its_own(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """As the web UI and the daemon start it: one process for the run, one for its step."""
    module = tmp_path / "definitions.py"
    module.write_text(DEFINITIONS)
    tags = ", ".join(f'"{name}": "{value}"' for name, value in RANGE.items())
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "dagster", "job", "execute", "-f", str(module)]
    subprocess.run(
        [*command, "-j", "load_job", "--tags", f"{{{tags}}}"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        timeout=120,
    )
    (done,) = instance.get_runs()
    assert done.status == dg.DagsterRunStatus.SUCCESS
    assert recorded(instance) == {key: number for number, key in enumerate(KEYS)}


class TestGuard:
    """What this project takes from inside Dagster, in the form in which it was tested."""

    def test_an_unknown_dagster_is_refused_with_a_remedy(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.delattr(dagster_events, "DagsterEventBatchMetadata")
            with pytest.raises(ImportError, match=r"installed is .*execute_step\.py"):
                importlib.reload(recording)
        importlib.reload(recording)

    def test_events_take_a_batch(self) -> None:
        batch = inspect.signature(dg.DagsterEvent.from_step).parameters["batch_metadata"]
        assert batch.default is None
        names = list(inspect.signature(dg.DagsterEvent.asset_materialization).parameters)
        assert names == ["step_context", "materialization", "batch_metadata"]
        assert dagster_events.DagsterEventBatchMetadata._fields == ("id", "is_end")

    def test_events_of_checks_take_no_batch(self) -> None:
        """As soon as they do, `asset_check_evaluation` does what we do by hand."""
        names = list(inspect.signature(dg.DagsterEvent.asset_check_evaluation).parameters)
        assert names == ["step_context", "asset_check_evaluation"]
