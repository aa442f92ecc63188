"""Loads on Snowflake that are killed, and readers that look while partitions are replaced.

A process that loads dies by SIGKILL at each step of the load transaction; its session stays, with
what it has locked, as on Snowflake. The emulator aborts such a transaction as Snowflake does, after
less patience: see `_Locks` in snowflake_server.py. Readers are processes or sessions of their own.
"""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import pytest

from retail_platform.lake.manifest import read_manifests
from retail_platform.lake.store import Lake
from retail_platform.partitions import Partition, Slices
from retail_platform.settings import PROJECT_DIR, SnowflakeAccount, exported
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.protocol import PartitionLoad, PublishedTable
from retail_platform.warehouse.publish import CATALOGUE
from retail_platform.warehouse.snowflake import SnowflakeWarehouse
from retail_platform_tests.builders import CONTRACTS, DAY, csv_text, receipts
from retail_platform_tests.emulators import make_bucket, s3_variables, snowflake_variables
from retail_platform_tests.test_lake_on_s3 import S3Desk

STEPS = ("begin", "delete", "insert", "ledger", "commit", "committed")
TRANSACTIONS = CONTRACTS["transactions"]
PARTITION = Partition("FR", DAY)
NAME = f"transactions_FR_{DAY:%Y%m%d}.csv"
RELOADS = 50


@pytest.fixture(scope="module")
def own_account(account: SnowflakeAccount) -> SnowflakeAccount:
    """A database of these tests."""
    return replace(account, database="RETAIL_LOADS")


@pytest.fixture(scope="module")
def desk(s3_endpoint: str, own_account: SnowflakeAccount) -> Iterator[S3Desk]:
    """A desk over a new bucket, whose stage the account has."""
    with exported({**s3_variables(s3_endpoint), **snowflake_variables(own_account)}):
        bucket = make_bucket(own_account)
        made = S3Desk(Lake.open(f"s3://{bucket}/lake"))
        made.bucket = bucket
        yield made


def delivered(desk: S3Desk, rows: int) -> PartitionLoad:
    """The partition when it consists of so many receipts of a new file."""
    desk.deliver(NAME, csv_text("transactions", receipts(rows, first=rows)))
    (manifest,) = desk.take_in(load=False).manifests["transactions"].values()
    return PartitionLoad.of(manifest)


def load(
    lake: Lake,
    account: SnowflakeAccount,
    wanted: PartitionLoad,
    on_step: Callable[[str], None] = lambda step: None,
) -> None:
    warehouse = SnowflakeWarehouse(account, "local", on_step=on_step)
    warehouse.replace_partitions(lake, TRANSACTIONS, [wanted], "run")


def receipts_in(warehouse: SnowflakeWarehouse) -> list[str]:
    """Receipts of the partition."""
    return [
        invoice
        for (invoice,) in warehouse.query(
            f"select invoice_id from raw.transactions where _country = 'FR' "
            f"and _batch_date = date '{DAY}' order by invoice_id asc nulls last"
        )
    ]


def numbers(rows: int) -> list[str]:
    return [f"INV-FR-021-{number:08d}" for number in range(rows, 2 * rows)]


def load_and_die(
    environment: dict[str, str], lake_url: str, account: SnowflakeAccount, step: str
) -> None:
    """What the killed process does: load what the manifest says, up to a step."""
    os.environ.update(environment)

    def die(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    lake = Lake.open(lake_url)
    manifest = read_manifests(lake, "transactions", [PARTITION])[PARTITION]
    load(lake, account, PartitionLoad.of(manifest), die)


class TestKilled:
    def test_at_any_step_a_partition_stays_whole_and_the_next_process_loads_it(
        self, desk: S3Desk, own_account: SnowflakeAccount, s3_endpoint: str
    ) -> None:
        variables = {**s3_variables(s3_endpoint), **snowflake_variables(own_account)}
        lake_url = f"s3://{desk.bucket}/lake"
        context = get_context("forkserver")
        context.set_forkserver_preload(
            ["retail_platform_tests.test_snowflake_loads", "dagster_snowflake"]
        )
        load(desk.lake, own_account, delivered(desk, 1))
        reader = SnowflakeWarehouse(own_account, "local")
        with reader.connect():
            for rows, step in enumerate(STEPS, start=2):
                wanted = delivered(desk, rows)
                before = ledger(reader)
                process = context.Process(
                    target=load_and_die, args=(variables, lake_url, own_account, step)
                )
                process.start()
                process.join(120)
                assert process.exitcode == -signal.SIGKILL, f"{step} was not reached"
                committed = step == "committed"
                assert receipts_in(reader) == numbers(rows if committed else rows - 1)
                assert (ledger(reader) == before) is not committed
                load(desk.lake, own_account, wanted)
                assert receipts_in(reader) == numbers(rows)
                assert_ledger_adds_up(reader, rows)


def ledger(warehouse: SnowflakeWarehouse) -> list[tuple[object, ...]]:
    return warehouse.query(
        "select file_id, state, rows_in, rows_loaded, rows_quarantined, rows_duplicate "
        "from raw.file_ledger order by delivered_at asc nulls last"
    )


def assert_ledger_adds_up(warehouse: SnowflakeWarehouse, rows: int) -> None:
    """Every file once; rows in = loaded + quarantined + duplicate; one file counts."""
    found = ledger(warehouse)
    assert len({file for file, *_ in found}) == len(found)
    assert all(read == sum(parts) for _, _, read, *parts in found)
    assert [loaded for _, state, _, loaded, *_ in found if state == "loaded"] == [rows]


def test_a_session_that_is_lost_in_the_middle_hides_nothing_and_changes_nothing(
    desk: S3Desk, own_account: SnowflakeAccount
) -> None:
    known, wanted = (delivered(desk, rows) for rows in (20, 21))
    load(desk.lake, own_account, known)

    def lose(step: str) -> None:
        if step == "ledger":
            with writer.connect() as session:
                session.close()
            raise RuntimeError("what failed first")

    writer = SnowflakeWarehouse(own_account, "local", on_step=lose)
    with pytest.raises(RuntimeError, match="what failed first"):
        writer.replace_partitions(desk.lake, TRANSACTIONS, [wanted], "run")
    assert receipts_in(SnowflakeWarehouse(own_account, "local")) == numbers(20)


class Poller:
    """A session of its own that asks again and again, until it is told to stop."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self.seen: Counter[object] = Counter()
        self._ask = ask
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Poller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.02):
                self.seen[self._ask()] += 1
        except BaseException as error:
            self._error = error


VERSIONS = {(10, 10, 19), (11, 11, 21)}
"""Rows, first and last number of the two versions that take turns; numbers never mix."""


class TestReaders:
    def test_on_snowflake_see_the_partition_whole_during_all_reloads(
        self, desk: S3Desk, own_account: SnowflakeAccount
    ) -> None:
        versions = [delivered(desk, rows) for rows in (10, 11)]
        load(desk.lake, own_account, versions[0])
        writer, reader = (SnowflakeWarehouse(own_account, "local") for _ in range(2))
        asked = (
            "select count(*), min(cast(right(invoice_id, 8) as integer)), "
            "max(cast(right(invoice_id, 8) as integer)) from raw.transactions "
            f"where _country = 'FR' and _batch_date = date '{DAY}'"
        )
        with (
            reader.connect(),
            writer.connect(),
            Poller(lambda: reader.query(asked)[0]) as poller,
        ):
            for n in range(1, RELOADS + 1):
                writer.replace_partitions(desk.lake, TRANSACTIONS, [versions[n % 2]], "run")
        assert set(poller.seen) == VERSIONS
        assert sum(poller.seen.values()) > RELOADS

    def test_on_duckdb_see_the_published_partition_whole_during_all_reloads(
        self, tmp_path: Path
    ) -> None:
        warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", published=tmp_path / "published")
        mart = PublishedTable("rpt_daily_sales", "business_date", monthly=True)
        slices = Slices(("FR",), DAY, DAY)
        columns = {"country": "varchar", "business_date": "date", "number": "integer"}
        publish(warehouse, mart, slices, columns, range(10, 20))
        reading = [sys.executable, "-c", READER, tmp_path / "published" / CATALOGUE]
        with subprocess.Popen(
            reading, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT_DIR
        ) as reader:
            assert reader.stdout
            assert reader.stdin
            assert reader.stdout.readline() == "ready\n"
            for n in range(RELOADS):
                version = (range(11, 22), range(10, 20))[n % 2]
                publish(warehouse, mart, slices, columns, version)
            said, _ = reader.communicate("stop\n", timeout=60)
        seen: Counter[tuple[int, ...]] = Counter(
            {tuple(map(int, key)): int(count) for *key, count in map(str.split, said.splitlines())}
        )
        assert set(seen) == VERSIONS
        assert sum(seen.values()) > RELOADS


READER = """
import sys, threading, collections, duckdb
stop, seen = threading.Event(), collections.Counter()
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
print("ready", flush=True)
while not stop.wait(0.01):
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        seen[connection.execute(
            "select count(*), min(number), max(number) from marts.rpt_daily_sales"
        ).fetchone()] += 1
for key, count in seen.items():
    print(*key, count)
"""


def publish(
    warehouse: DuckDBWarehouse,
    mart: PublishedTable,
    slices: Slices,
    columns: dict[str, str],
    numbers: Sequence[int],
) -> None:
    """Replace the partition by one row per number, and show it to readers."""
    import polars as pl

    days: list[date] = [DAY] * len(numbers)
    rows = pl.DataFrame({"country": ["FR"] * len(numbers), "business_date": days,
                         "number": list(numbers)})  # fmt: skip
    with warehouse.connect() as connection:
        connection.execute("create schema if not exists marts")
        warehouse.replace_slices(f"marts.{mart.name}", columns, rows, slices)
        warehouse.publish([mart], slices)
