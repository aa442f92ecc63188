"""The DuckDB warehouse: partitions replaced whole or not at all, one writer, patient with readers.

Other processes are real ones: DuckDB's lock and ours behave differently inside one process.
"""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from retail_platform.errors import LoadMismatch, WarehouseBusy
from retail_platform.lake.manifest import Manifest
from retail_platform.partitions import Partition, Slices
from retail_platform.warehouse import duckdb_file
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.protocol import PartitionLoad
from retail_platform.warehouse.publish import CATALOGUE, PublishedTable, publish
from retail_platform_tests.builders import CONTRACTS, Desk, csv_text, receipts, row

pytestmark = pytest.mark.embedded("about the DuckDB file, its lock and the published copy")

TRANSACTIONS = CONTRACTS["transactions"]
DAYS = tuple(date(2025, 1, day) for day in (11, 12, 13))
FILES = "select * exclude (loaded_at, run_id) from raw.file_ledger order by all"
ROWS = "select * exclude (_loaded_at, _run_id) from raw.transactions order by all"
SLICES = Slices(("DE", "FR"), DAYS[0], DAYS[-1])


def deliver(desk: Desk, country: str, day: date, rows: int, first: int = 1) -> None:
    content = csv_text("transactions", receipts(rows, country, day, first=first))
    desk.deliver(f"transactions_{country}_{day:%Y%m%d}.csv", content)


@pytest.fixture
def filled(desk: Desk) -> Desk:
    """Two countries x three days, one to six receipts, in the lake and in RAW."""
    for number, partition in enumerate(SLICES, start=1):
        deliver(desk, partition.country, partition.day, number)
    desk.take_in()
    return desk


def loads_of(desk: Desk, *partitions: Partition) -> list[PartitionLoad]:
    return [PartitionLoad.of(desk.manifest("transactions", str(p))) for p in partitions or SLICES]


def warehouse_of(desk: Desk) -> DuckDBWarehouse:
    assert desk.warehouse
    return desk.warehouse


def contents(desk: Desk, sql: str = "") -> list[object]:
    """Everything RAW and the ledger hold, apart from when and by which run it was loaded."""
    warehouse = warehouse_of(desk)
    return [warehouse.query(statement) for statement in ([sql] if sql else [ROWS, FILES])]


class TestReplace:
    def test_loading_twice_is_loading_once(self, filled: Desk) -> None:
        before = contents(filled)
        warehouse_of(filled).replace_partitions(
            filled.lake, TRANSACTIONS, loads_of(filled), "second"
        )
        assert contents(filled) == before
        assert contents(filled, "select distinct _run_id from raw.transactions") == [[("second",)]]

    def test_other_partitions_are_not_touched(self, filled: Desk) -> None:
        corner = Partition("FR", DAYS[1])
        deliver(filled, *corner, rows=9)
        filled.take_in(load=False)
        time_of = "select distinct _country, _batch_date, _loaded_at from raw.transactions"
        before = {(c, d): at for c, d, at in warehouse_of(filled).query(time_of)}
        warehouse_of(filled).replace_partitions(
            filled.lake, TRANSACTIONS, loads_of(filled, corner), "second"
        )
        after = {(c, d): at for c, d, at in warehouse_of(filled).query(time_of)}
        changed = {Partition(*key) for key in after if after[key] != before[key]}
        assert changed == {corner}
        filled.check_identities()

    def test_rows_of_a_superseded_file_are_gone_and_its_ledger_entry_says_so(
        self, filled: Desk
    ) -> None:
        deliver(filled, "FR", DAYS[0], rows=1, first=70)
        filled.take_in()
        found = filled.raw("transactions", "invoice_id", f"FR|{DAYS[0]}")
        assert found == [("INV-FR-021-00000070",)]
        ledger = warehouse_of(filled).query(
            "select state, rows_loaded from raw.file_ledger where country = 'FR' "
            f"and batch_date = '{DAYS[0]}' order by delivered_at"
        )
        assert ledger == [("superseded", 2), ("loaded", 1)]

    def test_the_ledger_is_what_the_manifests_say(self, filled: Desk) -> None:
        loads = loads_of(filled)
        found = warehouse_of(filled).loaded_files("transactions", SLICES)
        assert found == {load.partition: load.fingerprint for load in loads}
        one = Slices(("FR",), DAYS[1], DAYS[1])
        assert set(warehouse_of(filled).loaded_files("transactions", one)) == set(one)
        assert warehouse_of(filled).loaded_files("customers", SLICES) == {}

    def test_a_warehouse_that_does_not_exist_has_loaded_nothing(self, tmp_path: Path) -> None:
        assert DuckDBWarehouse(tmp_path / "none.duckdb").loaded_files("transactions", SLICES) == {}
        assert not (tmp_path / "none.duckdb").exists()

    def test_a_warehouse_without_tables_has_loaded_nothing(self, desk: Desk) -> None:
        """What a process leaves behind that is killed right after it created the file."""
        warehouse = warehouse_of(desk)
        assert warehouse.query("select 1") == [(1,)]
        assert warehouse.loaded_files("transactions", SLICES) == {}
        assert warehouse.late_days("transactions", list(SLICES)) == []
        deliver(desk, "FR", DAYS[0], rows=2)
        desk.take_in()
        assert desk.raw_counts("transactions") == {"FR": 2}

    def test_a_warehouse_that_is_lost_is_rebuilt_from_the_lake(self, filled: Desk) -> None:
        before = contents(filled)
        warehouse_of(filled).path.unlink()
        warehouse_of(filled).replace_partitions(filled.lake, TRANSACTIONS, loads_of(filled), "run")
        assert contents(filled) == before

    def test_a_large_backlog_is_loaded_in_several_transactions(
        self, filled: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = contents(filled)
        warehouse_of(filled).path.unlink()
        monkeypatch.setattr(duckdb_file, "TRANSACTION_ROWS", 7)
        steps: list[str] = []
        warehouse = DuckDBWarehouse(warehouse_of(filled).path, on_step=steps.append)
        warehouse.replace_partitions(filled.lake, TRANSACTIONS, loads_of(filled), "run")
        assert steps.count("committed") == 4  # 1+2+3, 4, 5, 6 rows
        assert contents(filled) == before

    def test_a_column_added_to_a_contract_is_added_to_its_table(self, filled: Desk) -> None:
        loyalty = replace(TRANSACTIONS.column_by_name["sku"], name="loyalty", header="Loyalty")
        wider = replace(
            TRANSACTIONS,
            columns=(*TRANSACTIONS.columns, replace(loyalty, synonyms=())),
            schema_version="wider",
        )
        filled.contracts = {**CONTRACTS, "transactions": wider}
        day = date(2025, 1, 14)
        header, line = csv_text("transactions", receipts(1, day=day)).splitlines()
        filled.deliver("transactions_FR_20250114.csv", f"{header},Loyalty\n{line},gold\n")
        filled.take_in()
        assert filled.raw("transactions", "loyalty", "FR|2025-01-14") == [("gold",)]
        assert filled.raw("transactions", "loyalty", f"DE|{DAYS[0]}") == [(None,)]

    def test_business_days_of_late_rows_are_remembered_for_ever(self, desk: Desk) -> None:
        """A correction that takes a late row away changes the same day again."""
        warehouse = warehouse_of(desk)
        times = ("2025-01-10", "2025-01-05", "2025-01-04", "2024-12-24")
        name, partition = "transactions_FR_20250111.csv", Partition("FR", DAYS[0])
        for rows in (times, times[:1]):
            sales = [
                r | {"sold_at": f"{day} 10:00:00"}
                for r, day in zip(receipts(len(rows)), rows, strict=True)
            ]
            desk.deliver(name, csv_text("transactions", sales))
            desk.take_in()
            late = {
                business.day for _, business in warehouse.late_days("transactions", [partition])
            }
            assert late == {date(2024, 12, 24), date(2025, 1, 4)}
        assert warehouse.late_days("transactions", []) == []
        assert warehouse.late_days("transactions", [Partition("DE", DAYS[0])]) == []


class TestNothingOrAll:
    @pytest.mark.parametrize("step", ["begin", "delete", "insert", "ledger", "commit"])
    def test_a_failure_at_any_step_changes_nothing(self, filled: Desk, step: str) -> None:
        before = contents(filled)
        deliver(filled, "FR", DAYS[0], rows=9)
        filled.take_in(load=False)

        def fail(reached: str) -> None:
            if reached == step:
                raise RuntimeError(step)

        warehouse = DuckDBWarehouse(warehouse_of(filled).path, on_step=fail)
        with pytest.raises(RuntimeError, match=step):
            warehouse.replace_partitions(filled.lake, TRANSACTIONS, loads_of(filled), "second")
        assert contents(filled) == before
        filled.load("transactions", [filled.manifest("transactions", f"FR|{DAYS[0]}")])
        assert len(filled.raw("transactions", "1", f"FR|{DAYS[0]}")) == 9

    @pytest.mark.parametrize("difference", [-1, 1])
    def test_rows_that_differ_from_the_manifest_change_nothing(
        self, filled: Desk, difference: int
    ) -> None:
        before = contents(filled)
        manifest = filled.manifest("transactions", f"FR|{DAYS[0]}")
        (facts,) = manifest.files.values()
        wrong = facts.model_copy(update={"rows_loaded": facts.rows_loaded + difference})
        lying = manifest.model_copy(update={"files": {facts.file_id: wrong}})
        others = [m for m in map(_manifest_of(filled), SLICES) if m.partition != manifest.partition]
        loads = [PartitionLoad.of(m) for m in (*others, lying)]
        message = rf"FR\|2025-01-11: manifest {2 + difference}, raw.transactions 2\. Nothing was"
        with pytest.raises(LoadMismatch, match=message):
            warehouse_of(filled).replace_partitions(filled.lake, TRANSACTIONS, loads, "second")
        assert contents(filled) == before

    def test_an_object_missing_in_the_lake_changes_nothing(self, filled: Desk) -> None:
        before = contents(filled)
        paths = [o.path for o in filled.lake.list("data/")]
        filled.lake.delete_many(paths)
        with pytest.raises(LoadMismatch, match="not in the lake"):
            warehouse_of(filled).replace_partitions(
                filled.lake, TRANSACTIONS, loads_of(filled), "second"
            )
        assert contents(filled) == before


def _manifest_of(desk: Desk) -> Callable[[Partition], Manifest]:
    return lambda partition: desk.manifest("transactions", str(partition))


# ---------------------------------------------------------------------------------- other processes

WRITER = """
import sys
from pathlib import Path
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform_tests.test_warehouse import TRANSACTIONS, loads_of
from retail_platform.partitions import Partition
from retail_platform_tests.builders import Desk
from retail_platform.lake.store import Lake

def on_step(step):
    if step == "commit":
        print("about to commit", flush=True)
        sys.stdin.readline()

desk = Desk(Lake.open(sys.argv[1]))
warehouse = DuckDBWarehouse(Path(sys.argv[2]), on_step=on_step)
loads = loads_of(desk, Partition.parse(sys.argv[3]))
warehouse.replace_partitions(desk.lake, TRANSACTIONS, loads, "other process")
print("done", flush=True)
"""
READER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print(connection.execute(sys.argv[2]).fetchall(), flush=True)
sys.stdin.readline()
print(connection.execute(sys.argv[2]).fetchall(), flush=True)
"""


@contextmanager
def process(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another Python process; it waits for a line from `go_on` where its script says so."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as started:
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()


def says(started: subprocess.Popen[str]) -> str:
    assert started.stdout
    return started.stdout.readline().strip()


def go_on(started: subprocess.Popen[str]) -> None:
    assert started.stdin
    started.stdin.write("\n")
    started.stdin.flush()


class Background:
    """Work in a thread, whose exception `join` raises."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(60)
        assert not self.running
        if self._error:
            raise self._error


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "did not happen within a minute"
        time.sleep(0.02)


@pytest.fixture
def corrected(filled: Desk) -> Desk:
    """Corrections of two partitions lie in the lake and are not in RAW yet."""
    for country in ("DE", "FR"):
        deliver(filled, country, DAYS[0], rows=9)
    filled.take_in(load=False)
    return filled


def counts(desk: Desk) -> list[tuple[str, int]]:
    sql = "select _country, count(*) from raw.transactions where _batch_date = ? group by all"
    return sorted(warehouse_of(desk).query(sql, [DAYS[0]]))


class TestOtherProcesses:
    def test_two_processes_never_write_at_once(self, corrected: Desk) -> None:
        path, steps = warehouse_of(corrected).path, list[str]()
        french = Partition("FR", DAYS[0])
        with process(
            WRITER,
            corrected.lake.local_root.as_uri(),
            path,
            f"DE|{DAYS[0]}",  # type: ignore[union-attr]
        ) as other:
            assert says(other) == "about to commit"
            hurried = DuckDBWarehouse(path, patience_seconds=0.2, on_step=steps.append)
            with pytest.raises(WarehouseBusy, match=r"has been writing .*w.*duckdb for more than"):
                hurried.replace_partitions(
                    corrected.lake, TRANSACTIONS, loads_of(corrected, french), "hurried"
                )
            patient = DuckDBWarehouse(path, patience_seconds=60, on_step=steps.append)
            mine = Background(
                lambda: patient.replace_partitions(
                    corrected.lake, TRANSACTIONS, loads_of(corrected, french), "patient"
                )
            )
            time.sleep(0.3)  # time enough for a writer that does not wait to show itself
            assert (steps, mine.running) == ([], True)
            go_on(other)
            assert says(other) == "done"
            mine.join()
        assert steps[-1] == "committed"
        assert counts(corrected) == [("DE", 9), ("FR", 9)]
        corrected.check_identities()

    def test_a_reader_delays_a_writer_and_neither_is_harmed(
        self, corrected: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        path, steps = warehouse_of(corrected).path, list[str]()
        sql = f"select count(*) from raw.transactions where _batch_date = '{DAYS[0]}'"
        writer = DuckDBWarehouse(path, patience_seconds=60, on_step=steps.append)
        with caplog.at_level(logging.WARNING), process(READER, path, sql) as reader:
            assert says(reader) == "[(3,)]"
            loads = loads_of(corrected)
            mine = Background(
                lambda: writer.replace_partitions(corrected.lake, TRANSACTIONS, loads, "writer")
            )
            wait_until(lambda: caplog.messages)
            assert (steps, mine.running) == ([], True)
            go_on(reader)
            assert says(reader) == "[(3,)]"  # what it saw before
            reader.wait(60)
            mine.join()
        assert "is open in another process; waiting for it to close" in caplog.messages[0]
        assert "published copy" in caplog.messages[0]
        assert f"PID {reader.pid}" in caplog.messages[0]
        assert counts(corrected) == [("DE", 9), ("FR", 9)]
        corrected.check_identities()

    def test_patience_with_a_reader_ends(self, corrected: Desk) -> None:
        path = warehouse_of(corrected).path
        before = contents(corrected)
        writer = DuckDBWarehouse(path, patience_seconds=0.3)
        with process(READER, path, "select 1") as reader:
            assert says(reader) == "[(1,)]"
            with pytest.raises(WarehouseBusy, match="open in another process") as caught:
                writer.replace_partitions(
                    corrected.lake, TRANSACTIONS, loads_of(corrected), "writer"
                )
            go_on(reader)
            assert says(reader) == "[(1,)]"
        assert str(path) in str(caught.value)
        assert "Close it there, or read the published copy instead" in str(caught.value)
        assert contents(corrected) == before

    def test_a_file_that_is_no_database_is_not_waited_for(self, tmp_path: Path) -> None:
        (tmp_path / "w.duckdb").write_text("something else " * 1000)
        with pytest.raises(duckdb.Error, match="not a valid DuckDB database"):
            DuckDBWarehouse(tmp_path / "w.duckdb").query("select 1")


# ------------------------------------------------------------------------------ the published copy

MART = PublishedTable("rpt_daily_sales", "business_date", monthly=True)
DIMENSION = PublishedTable("dim_store", "valid_from", monthly=False)


def fill_marts(warehouse: DuckDBWarehouse, amount: int) -> None:
    with warehouse.connect() as connection:
        connection.execute("create schema if not exists marts")
        connection.execute(
            "create or replace table marts.rpt_daily_sales as select 'FR' as country, day::date as "
            f"business_date, {amount} as amount "
            "from generate_series(date '2025-01-30', date '2025-03-02', interval 1 day) days(day)"
        )
        connection.execute(
            f"create or replace table marts.dim_store as select {amount} as store_id, "
            "date '2025-01-01' as valid_from"
        )


def publish_all(
    warehouse: DuckDBWarehouse, folder: Path, slices: Slices, tables: Sequence[PublishedTable]
) -> set[str]:
    with warehouse.connect() as connection:
        written = publish(connection, tables, slices, folder)
    return {f"{path.parent.name}/{path.name.split('.')[0]}" for path in written}


class TestPublishedCopy:
    SQL = "select count(*), min(amount), max(amount) from marts.rpt_daily_sales"

    def test_readers_of_the_copy_and_writers_never_wait_for_each_other(
        self, tmp_path: Path
    ) -> None:
        warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", patience_seconds=0)
        folder = tmp_path / "it's published"
        quarter = Slices(("FR",), date(2025, 1, 30), date(2025, 3, 2))
        february = Slices(("FR",), date(2025, 2, 3), date(2025, 2, 9))
        fill_marts(warehouse, 1)
        assert publish_all(warehouse, folder, quarter, [MART, DIMENSION]) == {
            *(f"rpt_daily_sales/2025-{month}" for month in ("01", "02", "03")),
            "dim_store/all",
        }
        with process(READER, folder / CATALOGUE, self.SQL) as reader:
            assert says(reader) == "[(32, 1, 1)]"
            fill_marts(warehouse, 2)
            written = publish_all(warehouse, folder, february, [MART])
            assert written == {"rpt_daily_sales/2025-02"}  # in proportion to the change
            with warehouse.connect():  # a writer at work
                go_on(reader)
                assert says(reader) == "[(32, 1, 1)]"  # what it opened, whole
                with duckdb.connect(str(folder / CATALOGUE), read_only=True) as another:
                    assert another.execute(self.SQL).fetchall() == [(32, 1, 2)]
                    found = another.execute(self.SQL + " where month(business_date) = 2").fetchall()
                    assert found == [(28, 2, 2)]
                    assert another.execute("from marts.dim_store").fetchall() == [
                        (1, date(2025, 1, 1))
                    ]

    def test_a_mart_published_later_appears_in_the_catalogue(self, tmp_path: Path) -> None:
        warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
        folder = tmp_path / "published"
        fill_marts(warehouse, 1)
        day = Slices(("FR",), date(2025, 2, 1), date(2025, 2, 1))
        for tables in ([MART], [DIMENSION]):
            publish_all(warehouse, folder, day, tables)
        with duckdb.connect(str(folder / CATALOGUE), read_only=True) as connection:
            names = connection.execute("select view_name from duckdb_views() where not internal")
            assert {name for (name,) in names.fetchall()} == {"rpt_daily_sales", "dim_store"}

    def test_an_interrupted_publication_leaves_the_copy_whole(self, tmp_path: Path) -> None:
        warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
        folder = tmp_path / "published"
        fill_marts(warehouse, 1)
        day = Slices(("FR",), date(2025, 2, 1), date(2025, 2, 1))
        publish_all(warehouse, folder, day, [MART])
        # What a process leaves behind that dies while it writes.
        (folder / "rpt_daily_sales" / ".2025-02.4711").write_bytes(b"PAR1 half a file")
        with duckdb.connect(str(folder / CATALOGUE), read_only=True) as connection:
            assert connection.execute(self.SQL).fetchall() == [(28, 1, 1)]


def test_the_time_of_delivery_reaches_raw_and_the_ledger(desk: Desk) -> None:
    at = datetime(2025, 1, 12, 4, 5, 6, 789_000, tzinfo=UTC)
    desk.deliver("customers_FR_20250111.csv", csv_text("customers", [row("customers")]), at)
    desk.take_in()
    naive = at.replace(tzinfo=None)
    assert desk.raw("customers", "_delivered_at, _row_number, _run_id") == [(naive, 1, "run")]
    ledger = warehouse_of(desk).query("select delivered_at, file_name from raw.file_ledger")
    assert ledger == [(naive, "customers_FR_20250111.csv")]
