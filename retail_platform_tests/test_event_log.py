"""The batched event log answers exactly like Dagster's own, whatever happens while it stores.

One real run is recorded with the stock storage; its events are then stored again, one by one in
the stock storage and in batches in ours, and both are asked the same questions.
"""

import itertools
import json
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from shutil import copytree
from typing import Any, Final

import dagster as dg
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
from dagster._core.event_api import PartitionKeyFilter, RunStatusChangeRecordsFilter
from dagster._core.events import (
    AssetMaterializationPlannedData,
    DagsterEventBatchMetadata,
    StepMaterializationData,
)
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._record import copy
from dagster._serdes import serialize_value

from retail_platform import event_log_text
from retail_platform.event_log import BatchedSqliteEventLogStorage
from retail_platform.event_log_batched import BatchedEventLogStorage
from retail_platform.event_log_text import MaterializationTexts, planned_text

MATERIALIZATION: Final = dg.DagsterEventType.ASSET_MATERIALIZATION
OBSERVATION = dg.DagsterEventType.ASSET_OBSERVATION
PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED

RAW, MART = dg.AssetKey("raw"), dg.AssetKey("mart")
CHECK = dg.AssetCheckKey(RAW, "schema")
PARTITIONS = dg.MultiPartitionsDefinition(
    {
        "country": dg.StaticPartitionsDefinition(["CN", "FR", "DE"]),
        "day": dg.DailyPartitionsDefinition("2025-01-01", end_date="2026-01-01"),
    }
)
RANGE = {
    "dagster/asset_partition_range_start": "CN|2025-01-01",
    "dagster/asset_partition_range_end": "DE|2025-01-02",
}
ONE_RUN = dg.BackfillPolicy.single_run()
STOCK = ""
BATCHED = """
storage:
  custom:
    module: retail_platform.event_log
    class: BatchedSqliteStorage
    config:
      base_dir: {env: DAGSTER_HOME}
"""
LEGACY_SECTION = """
event_log_storage:
  module: retail_platform.event_log
  class: BatchedSqliteEventLogStorage
  config:
    base_dir: {env: EVENT_LOG_DIR}
"""


MATERIALIZATIONS = [
    dg.AssetMaterialization(RAW, partition="CN|2025-01-01", metadata={"rows": 1, "file": "a"}),
    dg.AssetMaterialization(RAW, partition="DE|2025-01-01", metadata={"rows": 2, "file": 'ü"\\'}),
    dg.AssetMaterialization(
        RAW,
        partition='quoted "|ü',
        metadata={
            "file": "",
            "rows": None,
            "rate": 0.5,
            "ok": True,
            "doc": dg.MetadataValue.md("#"),
        },
        tags={
            "dagster/data_version": "v1",
            "dagster/partition/country": 'q"ü',
            "note": "not_indexed",
        },
    ),
    dg.AssetMaterialization(
        RAW,
        partition="FR|2025-01-02",
        metadata={
            "7": 10**17,
            "json": {"a": [1, None]},
            "table": dg.MetadataValue.table([dg.TableRecord({"x": 1})]),
        },
        tags={},
    ),
    dg.AssetMaterialization(RAW, partition="FR|2025-01-03", tags={"note": "", "a": "b"}),
    dg.AssetMaterialization(
        RAW, partition="FR|2025-01-04", metadata={"rows": 0, "file": "b"}, tags={}
    ),
]
"""Of one asset, and otherwise as different as they can be."""


@dg.multi_asset(
    specs=[dg.AssetSpec(RAW, partitions_def=PARTITIONS, skippable=True)],
    check_specs=[dg.AssetCheckSpec("schema", asset=RAW, partitions_def=PARTITIONS)],
    partitions_def=PARTITIONS,
    backfill_policy=ONE_RUN,
)
def raw(context: dg.AssetExecutionContext) -> Iterator[Any]:
    """Everything an op can record: materializations, observations, checks and log messages."""
    for number, key in enumerate(context.partition_keys):
        context.log.info(f"loading {key}")
        yield dg.AssetMaterialization(
            RAW, partition=key, metadata={"rows": number}, tags={"dagster/data_version": f"v{key}"}
        )
        if number % 3 == 2:  # so that the last event is not a materialization
            yield dg.AssetObservation(RAW, partition=key, metadata={"late": number})
        if number % 4 != 0:  # the checks of the others stay planned
            yield dg.AssetCheckEvaluation(
                asset_key=RAW, check_name="schema", passed=number % 2 == 0, partition=key
            )
    yield dg.Output(None, output_name="raw_schema")


@dg.asset(key=MART, partitions_def=PARTITIONS, backfill_policy=ONE_RUN)
def mart() -> dg.MaterializeResult[None]:
    """An asset whose events Dagster records itself."""
    return dg.MaterializeResult(metadata={"rows": 1})


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases without content: creating them takes longer than most of the tests."""
    home = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch, make_instance(home, STOCK, patch):
        return home


def make_instance(home: Path, config: str, patch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    (home / "dagster.yaml").write_text(f"telemetry: {{enabled: false}}\n{config}")
    patch.setenv("DAGSTER_HOME", str(home))
    return dg.DagsterInstance.from_config(str(home))


@dataclass(frozen=True)
class Recorded:
    """A finished run and its log."""

    run: dg.DagsterRun
    log: Sequence[dg.EventLogEntry]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
        home = tmp_path_factory.mktemp("recorded")
        with make_instance(home, STOCK, patch) as instance:
            result = dg.materialize([raw, mart], instance=instance, tags=RANGE)
            run = instance.get_run_by_id(result.run_id)
            assert run is not None
            # Snapshots of the job stay behind in this instance.
            run = copy(run, job_snapshot_id=None, execution_plan_snapshot_id=None)
            yield Recorded(run, instance.all_logs(result.run_id))


@pytest.fixture
def batched(
    tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
    home = copytree(empty_home, tmp_path / "batched")
    with make_instance(home, BATCHED, monkeypatch) as instance:
        yield instance


@pytest.fixture
def stock(
    tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    with make_instance(copytree(empty_home, tmp_path / "stock"), STOCK, monkeypatch) as instance:
        yield instance


def answers(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """What users, sensors and the web UI can learn about a run and its assets."""
    log = instance.event_log_storage
    found: dict[str, Any] = {
        "run log": log.get_records_for_run(run_id).records,
        "run log backwards": log.get_records_for_run(run_id, ascending=False, limit=9).records,
        "run log in pages": list(_pages(partial(log.get_records_for_run, run_id, limit=7))),
        "run stats": log.get_stats_for_run(run_id),
        "step stats": log.get_step_stats_for_run(run_id),
        "partitions of run": log.get_asset_partitions_for_run(run_id),
        "asset keys": sorted(log.all_asset_keys()),
        "status changes": log.fetch_run_status_changes(
            RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_SUCCESS), limit=10
        ),
        "check partitions": sorted(
            log.get_asset_check_partition_info([CHECK]), key=lambda info: info.partition_key or ""
        ),
        "checks": {
            key: [_comparable(record) for record in records]
            for key, records in {
                "history": log.get_asset_check_execution_history(CHECK, limit=100),
                "one partition": log.get_asset_check_execution_history(
                    CHECK, limit=5, partition_filter=PartitionKeyFilter(key="FR|2025-01-02")
                ),
                "latest": log.get_latest_asset_check_execution_by_key([CHECK]).values(),
            }.items()
        },
    }
    for key in (RAW, MART):
        some = dg.AssetRecordsFilter(key, asset_partitions=["FR|2025-01-02", "DE|2025-01-01"])
        newer = dg.AssetRecordsFilter(key, after_storage_id=20, before_storage_id=30)
        found[key.to_user_string()] = {
            "entry": [record.asset_entry for record in log.get_asset_records([key])],
            "materialized": log.get_materialized_partitions(key),
            "of partitions": log.fetch_materializations(some, limit=9),
            "since last time": log.fetch_materializations(newer, limit=99, ascending=True),
            "oldest first, in pages": list(
                _pages(partial(log.fetch_materializations, key, 2, ascending=True))
            ),
            "observations": log.fetch_observations(key, limit=99),
            "planned": instance.fetch_planned_materializations(key, limit=99),
            "latest planned": log.get_latest_planned_materialization_info(key, "CN|2025-01-02"),
            "never materialized": (
                log.get_latest_asset_partition_materialization_attempts_without_materializations(
                    key
                )
            ),
            "tags": sorted(map(str, log.get_event_tags_for_asset(key))),
            "ids": {
                kind: log.get_latest_storage_id_by_partition(key, kind)
                for kind in (MATERIALIZATION, OBSERVATION, PLANNED)
            },
            "ids of partitions": log.get_latest_storage_id_by_partition(
                key, MATERIALIZATION, partitions={"CN|2025-01-02", "FR|2025-01-01", "none"}
            ),
            "ids since": [
                log.get_latest_storage_id_by_partition(key, PLANNED, after_cursor=after)
                for after in (0, 3, 10, 20)
            ],
            "tags by partition": log.get_latest_tags_by_partition(
                key, MATERIALIZATION, ["dagster/data_version", "dagster/partition/country"]
            ),
            "summaries": log.get_asset_event_summary_records(MATERIALIZATION, asset_key=key),
        }
    return found


def rows(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """What is in Dagster's tables, without the time of writing. JSON is compared as such."""
    log: Any = instance.event_log_storage
    found: dict[str, Any] = {}
    for name, connect in (
        ("run", partial(log.run_connection, run_id)),
        ("index", log.index_connection),
    ):
        for table in ("event_logs", "asset_event_tags", "asset_keys"):
            with connect() as connection:
                content = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY id"))
                found[f"{table} of {name}"] = [
                    {
                        column: json.loads(value) if column == "event" else value
                        for column, value in row._mapping.items()
                        if column != "create_timestamp"
                    }
                    for row in content
                ]
    return found


def _pages(fetch: Callable[..., Any]) -> Iterator[Any]:
    cursor, has_more = None, True
    while has_more:
        page = fetch(cursor=cursor)
        yield page.records
        cursor, has_more = page.cursor, page.has_more


def _comparable(record: Any) -> Any:
    """Without the time of writing, and without the one thing we leave out on purpose."""
    event = record.event
    planned = event.dagster_event.event_specific_data
    if isinstance(planned, AssetCheckEvaluationPlanned):
        planned = AssetCheckEvaluationPlanned(
            asset_key=planned.asset_key, check_name=planned.check_name
        )
        dagster_event = event.dagster_event._replace(event_specific_data=planned)
        event = event._replace(dagster_event=dagster_event)
    return record._replace(create_timestamp=0.0, event=event)


def in_batches(log: Sequence[dg.EventLogEntry], size: int) -> Iterator[Sequence[dg.EventLogEntry]]:
    return (log[start : start + size] for start in range(0, len(log), size))


def store_in_both(
    stock: dg.DagsterInstance, batched: dg.DagsterInstance, recorded: Recorded, size: int = 1000
) -> None:
    for instance in (stock, batched):
        instance.run_storage.add_run(recorded.run)
    for event in recorded.log:
        stock.event_log_storage.store_event(event)
    for batch in in_batches(recorded.log, size):
        batched.event_log_storage.store_event_batch(batch)


def entry(
    run_id: str, kind: dg.DagsterEventType, data: Any, timestamp: float | None = None
) -> dg.EventLogEntry:
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None,
        level="debug",
        user_message="",
        run_id=run_id,
        timestamp=timestamp or time.time(),
        step_key="raw",
        job_name="job",
        dagster_event=dg.DagsterEvent(
            event_type_value=kind.value, job_name="job", step_key="raw", event_specific_data=data
        ),
    )


def materialization(run_id: str, partition: str) -> dg.EventLogEntry:
    tags = {"dagster/data_version": partition}
    event = dg.AssetMaterialization(RAW, partition=partition, tags=tags)
    return entry(run_id, MATERIALIZATION, StepMaterializationData(event))


def store_at_once(
    instance: dg.DagsterInstance,
    materializations: Sequence[dg.AssetMaterialization],
    now: float | None = None,
) -> None:
    """Have materializations stored as `record_materializations` does it."""
    log = instance.event_log_storage
    assert isinstance(log, BatchedEventLogStorage)
    log.store_materializations(
        materializations,
        lambda first: log.store_event(
            entry("run", MATERIALIZATION, StepMaterializationData(first), now)
        ),
    )


def partitions_in_log(log: EventLogStorage, run_id: str) -> Counter[str | None]:
    entries = log.get_logs_for_run(run_id, of_type=MATERIALIZATION)
    return Counter(entry.get_dagster_event().partition for entry in entries)


def partitions_in_index(log: EventLogStorage) -> Counter[str | None]:
    records = log.get_asset_event_summary_records(MATERIALIZATION, asset_key=RAW)
    return Counter(record.partition for record in records)


@contextmanager
def counted_commits() -> Iterator[Counter[str]]:
    commits: Counter[str] = Counter()

    def count(connection: sa.Connection) -> None:
        commits[Path(str(connection.engine.url.database)).stem] += 1

    sa.event.listen(sa.Engine, "commit", count)
    try:
        yield commits
    finally:
        sa.event.remove(sa.Engine, "commit", count)


class TestSameAnswers:
    @pytest.mark.parametrize("size", [1000, 7], ids=["one batch", "many batches"])
    def test_after_a_run(
        self,
        stock: dg.DagsterInstance,
        batched: dg.DagsterInstance,
        recorded: Recorded,
        size: int,
    ) -> None:
        store_in_both(stock, batched, recorded, size)
        expected = answers(stock, recorded.run.run_id)
        assert answers(batched, recorded.run.run_id) == expected
        # The questions are worth asking: each has something to answer.
        assert len(expected["raw"]["materialized"]) == 6
        assert 0 < len(expected["raw"]["since last time"].records) < 6
        assert len(expected["raw"]["observations"].records) == 2
        assert len(expected["checks"]["history"]) == 6
        assert expected["run stats"].materializations == 12

    def test_after_wiping_an_asset_and_deleting_the_run(
        self, stock: dg.DagsterInstance, batched: dg.DagsterInstance, recorded: Recorded
    ) -> None:
        store_in_both(stock, batched, recorded)
        run_id = recorded.run.run_id
        for instance in (stock, batched):
            instance.wipe_assets([MART])
        expected = answers(stock, run_id)
        assert answers(batched, run_id) == expected
        assert expected["asset keys"] == [RAW]
        for instance in (stock, batched):
            instance.delete_run(run_id)
        expected = answers(stock, run_id)
        assert answers(batched, run_id) == expected
        assert expected["run log"] == expected["raw"]["tags"] == []

    @pytest.mark.parametrize("method", ["store_event", "store_event_batch"])
    def test_after_announcing_a_range(
        self, stock: dg.DagsterInstance, batched: dg.DagsterInstance, method: str
    ) -> None:
        """Our storage gets one event for the range, the stock storage one for each partition."""
        run_id, now = "run", time.time()
        keys = ["CN|2025-01-01", "CN|2025-01-02", 'quoted "|ü']
        subset = DefaultPartitionsSubset(set(keys))
        whole = AssetMaterializationPlannedData(RAW, partitions_subset=subset)
        event = entry(run_id, PLANNED, whole, now)
        log = batched.event_log_storage
        log.store_event(materialization(run_id, "before"))
        getattr(log, method)(event if method == "store_event" else [event])
        stock.event_log_storage.store_event(log.get_logs_for_run(run_id, limit=1)[0])
        for key in subset.get_partition_keys():
            one = AssetMaterializationPlannedData(RAW, partition=key)
            stock.event_log_storage.store_event(entry(run_id, PLANNED, one, now))
        expected = answers(stock, run_id)
        assert answers(batched, run_id) == expected
        assert rows(batched, run_id) == rows(stock, run_id)
        assert set(expected["raw"]["ids"][PLANNED]) == set(keys)
        assert len(expected["raw"]["planned"].records) == 3

    def test_after_storing_materializations_at_once(
        self, stock: dg.DagsterInstance, batched: dg.DagsterInstance
    ) -> None:
        """Our storage gets one event for all, the stock storage one for each."""
        now = time.time()
        before = entry("run", PLANNED, AssetMaterializationPlannedData(RAW, partition="p"), now)
        for instance in (stock, batched):
            instance.event_log_storage.store_event(before)
        store_at_once(batched, MATERIALIZATIONS, now)
        for each in MATERIALIZATIONS:
            event = entry("run", MATERIALIZATION, StepMaterializationData(each), now)
            stock.event_log_storage.store_event(event)
        expected = answers(stock, "run")
        assert answers(batched, "run") == expected
        assert rows(batched, "run") == rows(stock, "run")
        assert len(expected["raw"]["materialized"]) == len(MATERIALIZATIONS)
        assert len(expected["raw"]["tags by partition"]) == 1

    def test_each_storage_reads_and_continues_what_the_other_wrote(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = ["one", "two", "three"]
        for run_id, config in zip(runs, [STOCK, BATCHED, STOCK], strict=True):
            with make_instance(tmp_path, config, monkeypatch) as instance:
                log = instance.event_log_storage
                log.store_event_batch([materialization(run_id, f"{run_id}-{i}") for i in range(3)])
        assert partitions_in_index(log) == Counter(f"{run}-{i}" for run in runs for i in range(3))
        assert partitions_in_log(log, "two") == Counter(f"two-{i}" for i in range(3))

    def test_databases_of_later_runs_are_made_like_the_first_and_like_those_of_dagster(
        self, stock: dg.DagsterInstance, batched: dg.DagsterInstance
    ) -> None:
        def made(run_id: str, instance: dg.DagsterInstance) -> dict[str, Any]:
            instance.event_log_storage.store_event(materialization(run_id, run_id))
            with instance.event_log_storage.run_connection(run_id) as connection:
                return {
                    question: connection.execute(sa.text(question)).fetchall()
                    for question in (
                        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name",
                        "SELECT * FROM alembic_version",
                        "SELECT id, partition FROM event_logs",
                        "PRAGMA journal_mode",
                    )
                }

        for run_id in ("one", "two", "three"):
            assert made(run_id, batched) == made(run_id, stock)


class TestTransactions:
    def test_a_batch_commits_each_database_once(self, batched: dg.DagsterInstance) -> None:
        log = batched.event_log_storage
        log.store_event(materialization("run", "first"))  # creates the database of the run
        with counted_commits() as commits:
            log.store_event_batch([materialization("run", str(number)) for number in range(500)])
        assert commits == {"run": 1, "index": 1}

    def test_materializations_stored_at_once_commit_each_database_once(
        self, batched: dg.DagsterInstance
    ) -> None:
        batched.event_log_storage.store_event(materialization("run", "first"))
        many = [dg.AssetMaterialization(RAW, partition=str(number)) for number in range(3000)]
        with counted_commits() as commits:
            store_at_once(batched, many)
        assert commits == {"run": 1, "index": 1}
        assert len(partitions_in_index(batched.event_log_storage)) == 3001

    def test_what_dagster_asks_opens_no_database_twice(
        self, batched: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Fails when Dagster opens them in another way."""
        opened: list[str] = []
        connect = sqlite3.connect

        def counted(path: str, *args: Any, **options: Any) -> sqlite3.Connection:
            opened.append(Path(path).stem)
            return connect(path, *args, **options)

        monkeypatch.setattr(sqlite3, "connect", counted)
        monkeypatch.setattr(sqlite3.dbapi2, "connect", counted)
        for partition in ("first", "second"):
            opened.clear()
            batched.event_log_storage.store_event(materialization("run", partition))
            assert not batched.get_runs()
            assert not batched.all_instigator_state()
        assert opened == []

    def test_migrations_are_read_for_the_first_database_of_a_process_only(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def opened(name: str) -> str:
            home = tmp_path / name
            home.mkdir()
            with make_instance(home, BATCHED, monkeypatch) as instance:
                instance.report_runless_asset_event(dg.AssetMaterialization("sales"))
            with sqlite3.connect(home / "history" / "runs.db") as database:
                return str(database.execute("SELECT version_num FROM alembic_version").fetchall())

        def read(*arguments: Any) -> Any:
            raise AssertionError("migrations are read again")

        revision = opened("first")
        monkeypatch.setattr(ScriptDirectory, "_load_revisions", read)
        assert opened("second") == revision

    def test_nothing_of_deleted_runs_comes_back(self, batched: dg.DagsterInstance) -> None:
        batched.event_log_storage.store_event(materialization("run", "before"))
        batched.event_log_storage.wipe()
        batched.event_log_storage.store_event(materialization("run", "after"))
        assert partitions_in_log(batched.event_log_storage, "run") == {"after": 1}
        assert partitions_in_index(batched.event_log_storage) == {"after": 1}

    def test_a_batch_of_several_runs_goes_to_the_database_of_each(
        self, batched: dg.DagsterInstance
    ) -> None:
        log = batched.event_log_storage
        log.store_event_batch([materialization(run, f"of {run}") for run in ("x", "y", "x")])
        assert partitions_in_log(log, "x") == {"of x": 2}
        assert partitions_in_log(log, "y") == {"of y": 1}
        assert partitions_in_index(log) == {"of x": 2, "of y": 1}

    def test_the_announcement_of_a_check_does_not_grow_with_the_square_of_its_partitions(
        self, batched: dg.DagsterInstance
    ) -> None:
        keys = PARTITIONS.get_partition_keys()
        planned = entry(
            "run",
            dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
            AssetCheckEvaluationPlanned(
                asset_key=RAW,
                check_name="schema",
                partitions_subset=DefaultPartitionsSubset(set(keys)),
            ),
        )
        log = batched.event_log_storage
        log.store_event_batch([planned])
        assert isinstance(log, BatchedSqliteEventLogStorage)
        with sqlite3.connect(log.path_for_shard("index")) as index:
            (size,) = index.execute(
                "select sum(length(evaluation_event)) from asset_check_executions"
            ).fetchone()
        assert len(log.get_asset_check_partition_info([CHECK])) == len(keys) == 1095
        assert size < 1000 * len(keys)
        assert log.get_logs_for_run("run") == [planned]


class TestFailures:
    """A batch is stored or it is not; Dagster repeats a failed one event by event."""

    def report(self, instance: dg.DagsterInstance, partitions: Sequence[str]) -> None:
        """Hand in events the way a run does."""
        for number, partition in enumerate(partitions, start=1):
            instance.report_dagster_event(
                materialization("run", partition).get_dagster_event(),
                run_id="run",
                batch_metadata=DagsterEventBatchMetadata("batch", number == len(partitions)),
            )

    @pytest.mark.parametrize(
        "method", ["run_connection", "_store_asset_event_tags", "_store_asset_event"]
    )
    def test_no_event_is_lost_or_doubled_when_a_statement_fails(
        self, batched: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        log = batched.event_log_storage
        working = getattr(log, method)
        failures = iter([sa.exc.OperationalError("insert", {}, Exception("database is locked"))])

        def fail_once(*args: Any) -> Any:
            for failure in failures:
                raise failure
            return working(*args)

        monkeypatch.setattr(log, method, fail_once)
        self.report(batched, ["a", "b", "c"])
        assert next(failures, None) is None, "the fault was never met"
        assert partitions_in_log(log, "run") == {"a": 1, "b": 1, "c": 1}
        assert partitions_in_index(log) == {"a": 1, "b": 1, "c": 1}
        assert len(log.get_event_tags_for_asset(RAW)) == 3

    def test_no_event_is_lost_or_doubled_when_a_commit_fails(
        self, batched: dg.DagsterInstance
    ) -> None:
        log = batched.event_log_storage
        log.store_event(materialization("run", "first"))
        failures = iter([sa.exc.OperationalError("commit", {}, Exception("disk I/O error"))])

        def fail_once(connection: sa.Connection) -> None:
            if str(connection.engine.url.database).endswith("run.db"):
                for failure in failures:
                    raise failure

        sa.event.listen(sa.Engine, "commit", fail_once)
        try:
            self.report(batched, ["a", "b"])
        finally:
            sa.event.remove(sa.Engine, "commit", fail_once)
        assert next(failures, None) is None, "the fault was never met"
        assert partitions_in_log(log, "run") == {"first": 1, "a": 1, "b": 1}
        assert partitions_in_index(log) == {"first": 1, "a": 1, "b": 1}

    def test_an_interrupt_leaves_nothing_and_the_storage_usable(
        self, batched: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = batched.event_log_storage

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(log, "_store_asset_event", interrupt)
            with pytest.raises(KeyboardInterrupt):
                self.report(batched, ["a", "b"])
        assert partitions_in_log(log, "run") == partitions_in_index(log) == {}
        self.report(batched, ["c", "d"])
        assert partitions_in_log(log, "run") == partitions_in_index(log) == {"c": 1, "d": 1}

    @pytest.mark.parametrize("method", ["_insert_texts", "_insert_tags", "_store_asset_event"])
    def test_materializations_are_stored_all_or_none(
        self, batched: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        log = batched.event_log_storage
        working = getattr(log, method)

        def fail_afterwards(*args: Any) -> None:
            working(*args)
            raise sa.exc.OperationalError("insert", {}, Exception("disk is full"))

        with monkeypatch.context() as patch:
            patch.setattr(log, method, fail_afterwards)
            with pytest.raises(sa.exc.OperationalError):
                store_at_once(batched, MATERIALIZATIONS)
        assert partitions_in_log(log, "run") == partitions_in_index(log) == {}
        assert log.get_event_tags_for_asset(RAW) == log.get_asset_records([RAW]) == []
        log.store_event(materialization("run", "later"))
        assert partitions_in_log(log, "run") == partitions_in_index(log) == {"later": 1}

    def test_materializations_without_an_event_are_refused(
        self, batched: dg.DagsterInstance
    ) -> None:
        log = batched.event_log_storage
        assert isinstance(log, BatchedEventLogStorage)
        with pytest.raises(RuntimeError, match="did not hand"):
            log.store_materializations(MATERIALIZATIONS, lambda _: None)
        log.store_event(materialization("run", "later"))
        assert partitions_in_index(log) == {"later": 1}

    @pytest.mark.parametrize(
        "other",
        [dg.AssetMaterialization(MART), dg.AssetMaterialization(RAW, description="else")],
        ids=["asset", "description"],
    )
    def test_materializations_of_different_kinds_are_refused(
        self, batched: dg.DagsterInstance, other: dg.AssetMaterialization
    ) -> None:
        with pytest.raises(ValueError, match="of one asset, described alike"):
            store_at_once(batched, [*MATERIALIZATIONS, other])
        assert partitions_in_index(batched.event_log_storage) == {}

    def test_a_dagster_without_the_lock_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(SqliteEventLogStorage, "__init__", lambda *_, **__: None, raising=True)
        with pytest.raises(NotImplementedError, match="_db_lock"):
            BatchedSqliteEventLogStorage(str(tmp_path))


def store_batches(base_dir: str, writer: str, go_on: Callable[[int], bool]) -> None:
    """What each of several processes does. Fails when a batch cannot be stored at once."""
    log = BatchedSqliteEventLogStorage(base_dir)
    for batch in itertools.takewhile(go_on, itertools.count()):
        log.store_event_batch(
            [materialization(writer, f"{writer}-{batch}-{number}") for number in range(100)]
        )


def store_batches_until(base_dir: str, writer: str, stop: Event) -> None:
    store_batches(base_dir, writer, lambda _: not stop.is_set())


class TestConcurrency:
    def test_processes_store_batches_in_one_index(self, tmp_path: Path) -> None:
        log = BatchedSqliteEventLogStorage(str(tmp_path))
        processes = get_context("spawn")
        stop = processes.Event()
        other = processes.Process(
            target=store_batches_until, args=(str(tmp_path), "two", stop), daemon=True
        )
        other.start()
        try:
            while not partitions_in_index(log):
                assert other.is_alive()
                time.sleep(0.02)
            store_batches(str(tmp_path), "one", lambda batch: batch < 20)
        finally:
            stop.set()
            other.join(timeout=60)
        assert other.exitcode == 0
        ours, theirs = partitions_in_log(log, "one"), partitions_in_log(log, "two")
        assert ours == {f"one-{b}-{n}": 1 for b in range(20) for n in range(100)}
        assert set(theirs.values()) == {1}
        assert partitions_in_index(log) == ours + theirs
        # The ids of a batch are consecutive: nobody wrote in between.
        ids = log.get_latest_storage_id_by_partition(RAW, MATERIALIZATION)
        for batch in range(20):
            of_batch = [ids[f"one-{batch}-{number}"] for number in range(100)]
            assert of_batch == list(range(of_batch[0], of_batch[0] + 100))

    def test_threads_share_one_storage(self, batched: dg.DagsterInstance) -> None:
        log = batched.event_log_storage

        def store(thread: int) -> None:
            for batch in range(5):
                names = [f"{thread}-{batch}-{number}" for number in range(20)]
                log.store_event_batch([materialization(f"run{thread % 2}", n) for n in names])
                assert partitions_in_index(log)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(store, range(4)))
        assert set(partitions_in_index(log).values()) == {1}
        assert sum(partitions_in_index(log).values()) == 400

    def test_materializations_stored_at_once_are_those_of_this_thread(
        self, batched: dg.DagsterInstance
    ) -> None:
        log = batched.event_log_storage
        assert isinstance(log, BatchedEventLogStorage)
        many = [dg.AssetMaterialization(RAW, partition=name) for name in ("a", "b")]

        def log_after_another_thread(_: dg.AssetMaterialization) -> None:
            with ThreadPoolExecutor(1) as other:
                other.submit(log.store_event, materialization("run", "other")).result()
            log.store_event(materialization("run", "a"))

        log.store_materializations(many, log_after_another_thread)
        assert partitions_in_index(log) == {"other": 1, "a": 1, "b": 1}

    def test_a_watcher_sees_every_event_of_a_batch_once(self, batched: dg.DagsterInstance) -> None:
        log = batched.event_log_storage
        seen: list[str | None] = []
        complete = threading.Event()

        def note(event: dg.EventLogEntry, _cursor: str) -> None:
            seen.append(event.get_dagster_event().partition)
            if len(seen) == 50:
                complete.set()

        log.store_event(materialization("run", "before"))
        log.watch("run", log.get_records_for_run("run").cursor, note)
        names = [str(number) for number in range(50)]
        log.store_event_batch([materialization("run", name) for name in names])
        assert complete.wait(timeout=10)
        log.end_watch("run", note)
        assert seen == names


class TestTexts:
    """Filled in is what Dagster would have serialized, to the letter."""

    @pytest.mark.parametrize("logged", MATERIALIZATIONS, ids=lambda m: m.partition)
    def test_of_materializations(self, logged: dg.AssetMaterialization) -> None:
        event = entry("run", MATERIALIZATION, StepMaterializationData(logged), 1.5)
        texts = MaterializationTexts(event)
        for each in MATERIALIZATIONS * 2:
            about = entry("run", MATERIALIZATION, StepMaterializationData(each), 1.5)
            assert texts.event_of(each) == about
            assert texts.text_of(each) == serialize_value(about)

    @pytest.mark.parametrize("added", ["", "{partition}"], ids=["not", "twice"])
    def test_another_form_of_announcements_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, added: str
    ) -> None:
        def in_another_form(event: dg.EventLogEntry) -> str:
            partition = event.get_dagster_event().partition
            return added.format(partition=serialize_value(partition) * 2)

        planned = AssetMaterializationPlannedData(RAW, partition="CN|2025-01-01")
        monkeypatch.setattr(event_log_text, "serialize_value", in_another_form)
        with pytest.raises(NotImplementedError, match="installed is"):
            planned_text(entry("run", PLANNED, planned))

    def test_another_form_of_materializations_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(event_log_text, "_metadata_text", repr)
        with pytest.raises(NotImplementedError, match="installed is"):
            MaterializationTexts(
                entry("run", MATERIALIZATION, StepMaterializationData(MATERIALIZATIONS[0]))
            )


class TestConfiguration:
    def test_the_section_storage_of_dagster_yaml_uses_the_stock_directories(
        self, tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with make_instance(tmp_path, BATCHED, monkeypatch) as instance:
            assert isinstance(instance.event_log_storage, BatchedSqliteEventLogStorage)
        files, stock_files = (
            {path.relative_to(home) for path in home.rglob("*.db")}
            for home in (tmp_path, empty_home)
        )
        assert files == stock_files

    def test_the_section_event_log_storage_of_dagster_yaml(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EVENT_LOG_DIR", str(tmp_path / "events"))
        with make_instance(tmp_path, LEGACY_SECTION, monkeypatch) as instance:
            assert isinstance(instance.event_log_storage, BatchedSqliteEventLogStorage)
            assert (tmp_path / "events" / "index.db").exists()

    def test_processes_of_runs_get_the_same_storage(self, batched: dg.DagsterInstance) -> None:
        with dg.DagsterInstance.from_ref(batched.get_ref()) as in_other_process:
            assert isinstance(in_other_process.event_log_storage, BatchedSqliteEventLogStorage)

    def test_a_run_announces_and_records_its_partitions_in_batches(
        self, batched: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with batched.event_log_storage.run_connection("earlier"):
            pass  # the database of a process's first run takes commits of its own
        handed_in: Counter[dg.DagsterEventType | None] = Counter()
        store = batched.event_log_storage.store_event

        def note(event: dg.EventLogEntry) -> None:
            handed_in[event.dagster_event_type] += 1
            store(event)

        monkeypatch.setattr(batched.event_log_storage, "store_event", note)
        with counted_commits() as batchwise:
            run = dg.materialize([mart], instance=batched, tags=RANGE).run_id
        assert handed_in[PLANNED] == 1, "the whole range is announced at once"
        assert len(batched.get_materialized_partitions(MART)) == 6
        assert len(batched.fetch_planned_materializations(MART, limit=99).records) == 6
        with counted_commits() as one_by_one, pytest.MonkeyPatch.context() as patch:
            patch.delenv("DAGSTER_EVENT_BATCH_SIZE")
            other = dg.materialize([mart], instance=batched, tags=RANGE).run_id
        assert len(batched.all_logs(run)) == len(batched.all_logs(other))
        assert one_by_one[other] >= batchwise[run] + 5, "6 partitions were recorded"


POSTGRES = """
storage:
  postgres:
    postgres_url: {env: DAGSTER_POSTGRES_URL}
"""
BATCHED_POSTGRES = """
storage:
  custom:
    module: retail_platform.event_log_postgres
    class: BatchedPostgresStorage
    config:
      postgres_url: {env: DAGSTER_POSTGRES_URL}
"""


@pytest.fixture
def make_postgres_instance(
    postgres_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], dg.DagsterInstance]]:
    """Makes an instance with the given name and configuration on a database of its own."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
    engine = sa.create_engine(f"{postgres_server}postgres", isolation_level="AUTOCOMMIT")

    def make(name: str, config: str) -> dg.DagsterInstance:
        database = f"{name}_{tmp_path.name}"[:60]
        with engine.connect() as connection:
            connection.execute(sa.text(f'CREATE DATABASE "{database}"'))
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_server + database)
        (tmp_path / name).mkdir()
        return instances.enter_context(make_instance(tmp_path / name, config, monkeypatch))

    with ExitStack() as instances:
        yield make
    engine.dispose()


MakeInstance = Callable[[str, str], dg.DagsterInstance]


class TestPostgres:
    def test_same_answers(self, make_postgres_instance: MakeInstance, recorded: Recorded) -> None:
        stock = make_postgres_instance("stock", POSTGRES)
        batched = make_postgres_instance("batched", BATCHED_POSTGRES)
        store_in_both(stock, batched, recorded, size=50)
        run_id = recorded.run.run_id
        assert answers(batched, run_id) == answers(stock, run_id)
        for instance in (stock, batched):
            instance.wipe_assets([MART])  # on SQLite its events go, here they stay
        expected = answers(stock, run_id)
        assert answers(batched, run_id) == expected
        assert expected["raw"]["ids"][MATERIALIZATION]
        assert expected["mart"]["ids"][MATERIALIZATION] == {}

    @pytest.mark.parametrize("method", ["store_event", "store_event_batch"])
    def test_same_answers_after_announcing_a_range(
        self, make_postgres_instance: MakeInstance, method: str
    ) -> None:
        TestSameAnswers().test_after_announcing_a_range(
            make_postgres_instance("stock", POSTGRES),
            make_postgres_instance("batched", BATCHED_POSTGRES),
            method,
        )

    def test_same_answers_after_storing_materializations_at_once(
        self, make_postgres_instance: MakeInstance
    ) -> None:
        TestSameAnswers().test_after_storing_materializations_at_once(
            make_postgres_instance("stock", POSTGRES),
            make_postgres_instance("batched", BATCHED_POSTGRES),
        )

    def test_materializations_are_stored_all_or_none(
        self, make_postgres_instance: MakeInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instance = make_postgres_instance("batched", BATCHED_POSTGRES)
        TestFailures().test_materializations_are_stored_all_or_none(
            instance, monkeypatch, "_insert_tags"
        )

    def test_no_event_is_lost_or_doubled_when_a_statement_fails(
        self, make_postgres_instance: MakeInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instance = make_postgres_instance("batched", BATCHED_POSTGRES)
        TestFailures().test_no_event_is_lost_or_doubled_when_a_statement_fails(
            instance, monkeypatch, "_store_asset_event"
        )

    def test_a_batch_is_visible_before_later_events(
        self, make_postgres_instance: MakeInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Otherwise a sensor that has seen the later event never sees the batch."""
        log = make_postgres_instance("batched", BATCHED_POSTGRES).event_log_storage
        store_tags = log._store_asset_event_tags  # type: ignore[attr-defined]
        inserted, in_batch = threading.Event(), {"a", "b"}

        def slow(connection: Any, events: Sequence[dg.EventLogEntry], ids: Sequence[int]) -> None:
            if len(events) == len(in_batch):
                inserted.set()
                time.sleep(0.5)
            store_tags(connection, events, ids)

        monkeypatch.setattr(log, "_store_asset_event_tags", slow)
        with ThreadPoolExecutor(1) as other:
            batch = other.submit(
                log.store_event_batch, [materialization("run", name) for name in sorted(in_batch)]
            )
            assert inserted.wait(timeout=10)
            log.store_event(materialization("run", "later"))
            assert set(partitions_in_index(log)) == {*in_batch, "later"}
            batch.result()

    def test_the_plain_scheme_of_a_url_works(
        self, make_postgres_instance: MakeInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_postgres_instance("batched", BATCHED_POSTGRES)
        url = os.environ["DAGSTER_POSTGRES_URL"].replace("+psycopg2", "")
        assert url.startswith("postgresql://")
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
        with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
            assert instance.all_asset_keys() == []
