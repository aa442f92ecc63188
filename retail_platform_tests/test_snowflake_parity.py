"""The second engine: a random history ends on Snowflake like a rebuild from scratch on DuckDB.

Snowflake is an emulator (see snowflake_server.py) behind the real connector, dagster-snowflake and
dbt-snowflake; the lake is a bucket. What passes here has never run on a real account.

Files are taken in as everywhere, by runs of Dagster. What follows from them is built in as few runs
as there can be, since a statement is much more work for the emulator than for DuckDB; where
RETAIL_ENV is ci, test_convergence has the emulator build what automation asks for.
``RETAIL_TEST_SEED=7 pytest retail_platform_tests/test_snowflake_parity.py`` plays another history.
"""

import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from snowflake.connector.errors import ProgrammingError

from retail_platform.alerts.budgets import budget_uses
from retail_platform.definitions import Platform
from retail_platform.errors import ConfigurationError, LoadMismatch
from retail_platform.lake.manifest import read_manifests
from retail_platform.operate.account.deployment import deploy
from retail_platform.operate.foreground import ForegroundRunner
from retail_platform.operate.marts.difference import difference_sql
from retail_platform.operate.marts.snowflake import SnowflakeMarts
from retail_platform.partitions import RANGE_END_TAG, RANGE_START_TAG, Partition
from retail_platform.resources import dbt_resource, keys_resource
from retail_platform.settings import PROJECT_DIR, SnowflakeAccount, exported
from retail_platform.transform.dbt_project import DbtProject
from retail_platform.warehouse import snowflake
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.protocol import PartitionLoad, Warehouse
from retail_platform.warehouse.raw_tables import LATE_DAYS, LATE_DAYS_COLUMNS, raw_columns
from retail_platform.warehouse.snowflake import SnowflakeWarehouse
from retail_platform_tests import account_usage as usage
from retail_platform_tests.builders import CONTRACTS
from retail_platform_tests.emulated_cloud import Cloud
from retail_platform_tests.emulators import s3_variables, snowflake_variables
from retail_platform_tests.histories import (
    COUNTRIES,
    Delivery,
    Installation,
    Visit,
    actual_raw,
    articles,
    broken,
    checkout_pages,
    competitor_prices,
    contacts,
    day,
    expected_raw,
    living_in,
    members,
    movements,
    order_pages,
    partner_receipts,
    partner_shops,
    promotions,
    purchasing,
    rates,
    rebuilt_from_scratch,
    refund_pages,
    sales,
    shops,
    staff,
    stock_changes,
    till_events,
    weather,
)
from retail_platform_tests.snowflake_account import rendered
from retail_platform_tests.statement_log import statement_log
from retail_platform_tests.test_cli import retail
from retail_platform_tests.test_convergence import DAYS, random_history
from retail_platform_tests.test_lake_on_s3 import S3Desk

pytestmark = pytest.mark.timeout(1500)  # its world is built in minutes

SEED = int(os.environ.get("RETAIL_TEST_SEED", 1))
ORDERS = PROJECT_DIR / "retail_platform_tests" / "samples" / "shopify_orders.json"
REFUSED = f"transactions_FR_{day(DAYS + 1):%Y%m%d}.csv"
RECENT = (DAYS + 2, DAYS + 3)
"""Days that no random delivery is of: what came of them is known."""

FIRST_WAVE = [
    *(
        sales(c, n, [(n, k, k) for k in (1, 2)], n)
        for c in COUNTRIES
        for n in (1, 2, 3, 8, RECENT[0])
    ),
    *(rates(n, 7, n) for n in (1, 2, 3, 8)),
    partner_receipts("FR", 2, [(2, 1, 100), (2, 2, 50)], 3),
    shops(3, {"CN": {6: "Beijing"}, "FR": {21: "Lyon", 22: "Paris"}}, 3),
    members("FR", 5, {1001: "Lyon", 1002: "Nîmes"}, 5),
    contacts("FR", 4, [(1, 2, 1001), (2, 1, 1003), (3, 1, 1002)], 5),
    articles(2, {1: "Children", 2: "Feminine"}, 5),
    till_events("FR", 2, [(2, 1, 5, 1), (2, 7, 1, 1)], 5, "-a"),
    order_pages("FR", 6, [(5, 1, 9, 30), (5, 2, 1, 20), (5, 3, 1, 10)], 5),
    # With lines, which are JSON in RAW.
    Delivery(
        "online_orders_FR_20250104.json",
        ORDERS.read_bytes().replace(b"2008-01-10", b"2025-01-04").replace(b"USD", b"EUR"),
        5,
        (("FR", "450789469 598.94 at 00"),),
    ),
    checkout_pages("FR", 6, [(5, 1, 1, 0), (5, 2, 1, 30), (5, 3, 1, 0)], 5),
    movements("FR", 3, [(2, 2, 5), (3, 3, -7), (3, 4, 0)], 5),
    movements("FR", RECENT[0], [(RECENT[0], 2, 9), (RECENT[0], 4, -9)], 5),
    purchasing(1, {2: 3, 3: 9}, 5),
    stock_changes("CN", 1, [("L", 1, 10, 9), ("L", 2, 10, 9)], 5),
    refund_pages("FR", 6, [(6, 1, 5, 9)], 5),
    staff("FR", 3, {7: "Cashier"}, 5),
    partner_shops("FR", 3, {1: "Corner"}, 5),
    promotions(2, [(2, 3, 40)], 5),
    competitor_prices("FR", 3, [(2, 1, 40), (3, 2, 55)], 5),
    weather("FR", 3, [(2, "Lyon", 5), (3, "Lyon", 7)], 5),
    broken(REFUSED, 6),
]
SECOND_WAVE = [
    # Late, inside of the lookback and beyond it; one row breaks the contract.
    sales("FR", RECENT[1], [(RECENT[1], 1, 1), (RECENT[0], 9, 1), (1, 9, 2), (9, 2, 0)], 20),
    # A correction with fewer rows, one of them changed.
    sales("CN", RECENT[0], [(RECENT[0], 1, 4)], 21),
    rates(9, 9, 22, of=(3, 9)),
    members("FR", 7, {1001: "Metz"}, 23),
    members("FR", 2, {1001: "Lyon", 1003: "Brest"}, 23),
    contacts("FR", 8, [(1, 3, 0), (3, 2, -1)], 23),
    till_events("FR", 9, [(2, 7, 2, 2)], 24, "-b"),
    order_pages("FR", 7, [(5, 1, 4, 99), (5, 2, 3, 25)], 25),
    checkout_pages("FR", 9, [(5, 1, 9, 4_000)], 26),
    movements("FR", 3, [(2, 2, 1)], 27),
    stock_changes("CN", 3, [("D", 1, 30, 5), ("U", 2, 31, 7)], 28),
]
INCREMENT = [
    *("int_fx_rates", "int_pos_events", "int_sales", "int_stock_history", "int_online_checkouts"),
    *("fct_sales", "fct_checkouts", "rpt_daily_sales", "rpt_abandoned_carts"),
    *("fct_shop_sales_daily", "rpt_like_for_like"),
]
"""Business days of these are built after the first wave, too: every strategy, history, a window,
JSON. All of them would take the emulator as long again."""


def with_random_files(wave: Sequence[Delivery], seed: int, minute: float) -> list[Delivery]:
    """A wave, and random files of the same days; no two versions of a name are of one minute."""
    files = (step for step in random_history(seed) if isinstance(step, Delivery))
    return [*wave, *(replace(file, minute=file.minute + minute) for file in files)]


@pytest.fixture(scope="module")
def environment(s3_endpoint: str, account: SnowflakeAccount) -> Iterator[None]:
    """The variables by which clients of S3 and of the account find them."""
    with exported({**s3_variables(s3_endpoint), **snowflake_variables(account)}):
        yield


@dataclass
class Worlds:
    """An installation on Snowflake after both waves, and DuckDB rebuilt from the same files."""

    installation: Installation
    desk: S3Desk
    account: SnowflakeAccount
    snowflake: SnowflakeWarehouse
    duckdb: DuckDBWarehouse

    @property
    def platform(self) -> Platform:
        return self.installation.platform

    @property
    def lake_url(self) -> str:
        return self.platform.settings.lake_url

    def load(self, warehouse: Warehouse, feed: str, manifests: Any) -> None:
        loads = [PartitionLoad.of(m) for m in manifests]
        warehouse.replace_partitions(self.desk.lake, CONTRACTS[feed], loads, "run")


@pytest.fixture(scope="module")
def worlds(
    cloud: Cloud, environment: None, dbt_work_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Worlds:
    """Both waves, with random files among them; the second one corrects what was built."""
    home, scratch = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("scratch")
    variables = {"RETAIL_DUCKDB_PATH": str(scratch / "warehouse.duckdb")}
    on_duckdb = DbtProject(PROJECT_DIR / "dbt_project", dbt_work_dir, "duckdb", variables)
    with (
        living_in(cloud),
        Installation.new(home, dbt_work_dir) as installation,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(DbtProject, "test", lambda *_: [])  # they change nothing
        installation.play([*with_random_files(FIRST_WAVE, SEED, 20.25), Visit(once=True)])
        installation.build_business_days(INCREMENT)
        installation.play([*with_random_files(SECOND_WAVE, SEED + 1, 40.5), Visit(once=True)])
        installation.build_business_days()
        rebuilt = rebuilt_from_scratch(scratch, installation.seen, installation.platform, on_duckdb)
    settings = installation.platform.settings
    # Where `retail` looks for what dbt has parsed.
    (settings.home / "dbt").symlink_to(cloud.dbt_work_dir)
    desk = S3Desk(installation.lake, keys=keys_resource(settings).open(installation.lake))
    desk.bucket = settings.lake_url.split("/")[2]
    return Worlds(
        installation,
        desk,
        cloud.account,
        SnowflakeWarehouse(cloud.account, "local"),
        DuckDBWarehouse(rebuilt),
    )


_WHEN_AND_BY_WHOM = {"_loaded_at", "_run_id", "loaded_at", "run_id"}
_TYPES = {"TEXT": "VARCHAR", "NUMBER": "DECIMAL", "FLOAT": "DOUBLE", "TIMESTAMP_NTZ": "TIMESTAMP"}


def columns_of(warehouse: Warehouse) -> dict[str, dict[str, str]]:
    """Table -> column -> type, spelled alike on both engines."""
    found: dict[str, dict[str, str]] = {}
    for schema, table, column, kind, precision, scale in warehouse.query(
        "select table_schema, table_name, column_name, data_type, numeric_precision, numeric_scale "
        "from information_schema.columns "
        "where lower(table_schema) in ('raw', 'staging', 'intermediate', 'marts') "
        "order by ordinal_position"
    ):
        name = kind.split("(")[0]
        name = _TYPES.get(name, name)
        if name in ("BIGINT", "INTEGER"):
            name, precision, scale = "DECIMAL", 38, 0
        if name == "DECIMAL":
            name = f"DECIMAL({precision},{scale})"
        found.setdefault(f"{schema}.{table}".lower(), {})[column.lower()] = name
    return found


def rows(warehouse: Warehouse, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """All rows, in an order that does not depend on the engine."""
    return sorted(warehouse.query(f"select {', '.join(columns)} from {table}"), key=repr)


def differences(worlds: Worlds, table: str, columns: Mapping[str, str]) -> list[str]:
    """Cells that differ between the engines; a few of them."""
    names = [name for name in columns if name not in _WHEN_AND_BY_WHOM]
    ours, theirs = (rows(w, table, names) for w in (worlds.duckdb, worlds.snowflake))
    if len(ours) != len(theirs):
        return [f"{table}: {len(ours)} rows on DuckDB, {len(theirs)} on Snowflake"]
    return [
        f"{table}.{name}: {one!r} on DuckDB, {other!r} on Snowflake"
        for pair in zip(ours, theirs, strict=True)
        for name, one, other in zip(names, *pair, strict=True)
        if one != other or type(one) is not type(other)
    ][:4]


def late_days(warehouse: Warehouse) -> set[tuple[Any, ...]]:
    """A record of the past, made to outlive the rows that were late."""
    return set(rows(warehouse, f"raw.{LATE_DAYS}", list(LATE_DAYS_COLUMNS)))


class TestParity:
    def test_files_that_were_late_corrected_or_broken_came_and_all_good_rows_are_there(
        self, worlds: Worlds
    ) -> None:
        seen, refused = worlds.installation.seen, worlds.installation.pending
        assert REFUSED in refused
        versions = Counter(delivery.name for delivery in seen)
        assert max(versions.values()) > 1
        assert any(second.minute < first.minute for first, second in pairwise(seen))
        assert late_days(worlds.snowflake)
        # That Snowflake's are the same is the next test.
        assert actual_raw(worlds.duckdb.path) == expected_raw(seen)

    def test_both_have_the_same_tables_with_the_same_columns_and_types(
        self, worlds: Worlds
    ) -> None:
        ours, theirs = columns_of(worlds.duckdb), columns_of(worlds.snowflake)
        assert len(ours) > 60
        assert ours == theirs

    def test_every_table_holds_the_same_rows(self, worlds: Worlds) -> None:
        with worlds.duckdb.connect(), worlds.snowflake.connect():
            tables = columns_of(worlds.duckdb)
            del tables[f"raw.{LATE_DAYS}"]
            found = [
                line for t, columns in tables.items() for line in differences(worlds, t, columns)
            ]
        assert "\n".join(found) == ""

    def test_days_that_were_ever_late_are_not_forgotten(self, worlds: Worlds) -> None:
        assert late_days(worlds.duckdb) <= late_days(worlds.snowflake)

    def test_the_history_fills_the_marts(self, worlds: Worlds) -> None:
        """Tables that are empty on both engines would prove nothing."""
        with worlds.snowflake.connect():
            marts = {t for t in columns_of(worlds.snowflake) if t.startswith("marts.")}
            empty = {t for t in marts if not worlds.snowflake.query(f"select 1 from {t} limit 1")}
        assert empty == set()


@pytest.fixture
def of_retail(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables by which `retail` works on Snowflake; a test may change them."""
    for name, value in {
        **{f"SNOWFLAKE_{name.upper()}": value for name, value in asdict(worlds.account).items()},
        "RETAIL_HOME": worlds.platform.settings.home,
        "RETAIL_LAKE_URL": worlds.lake_url,
        "RETAIL_WAREHOUSE": "snowflake",
    }.items():
        monkeypatch.setenv(name, str(value))
    return monkeypatch


def test_status_lists_what_is_in_the_warehouse(
    worlds: Worlds, of_retail: pytest.MonkeyPatch
) -> None:
    said = retail("status", "--json")
    assert REFUSED in {r["name"] for r in said.json["refused_files"]}
    listed = {m["mart"]: (m["rows"], m["newest_day"]) for m in said.json["marts"]}
    assert {f"marts.{name}" for name in listed} == {
        table for table in columns_of(worlds.snowflake) if table.startswith("marts.")
    }
    ((rows, newest),) = worlds.duckdb.query(
        "select count(*), max(business_date) from marts.fct_sales"
    )
    assert listed["fct_sales"] == (rows, str(newest))


def transactions_of(worlds: Worlds, *numbers: int) -> list[PartitionLoad]:
    """The partitions of French receipts of these days."""
    wanted = [Partition("FR", day(n)) for n in numbers]
    known = read_manifests(worlds.desk.lake, "transactions", wanted)
    assert len(known) == len(numbers)
    return [PartitionLoad.of(manifest) for manifest in known.values()]


def state(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """All receipts, and what the ledger says of them."""
    return [
        *rows(warehouse, "raw.transactions", ["_country", "_batch_date", "_file_id", "invoice_id"]),
        *rows(warehouse, "raw.file_ledger", ["feed", "batch_date", "file_id", "rows_loaded"]),
    ]


class TestLoad:
    def test_readers_see_a_partition_whole_at_every_step_of_its_replacement(
        self, worlds: Worlds
    ) -> None:
        reader = SnowflakeWarehouse(worlds.account, "local")
        asked = "select _file_id, count(*) from raw.transactions where _country = 'FR' and "
        asked += f"_batch_date = date '{day(RECENT[0])}' group by _file_id"
        seen: dict[str, list[tuple[Any, ...]]] = {}
        with reader.connect():
            before = reader.query(asked)

            def look(step: str) -> None:
                seen[step] = reader.query(asked)

            writer = SnowflakeWarehouse(worlds.account, "local", on_step=look)
            worlds.desk.deliver(*parts_of(sales("FR", RECENT[0], [(RECENT[0], 1, 9)], 60)))
            manifests = worlds.desk.take_in(load=False).manifests["transactions"]
            worlds.load(writer, "transactions", manifests.values())
        assert list(seen) == ["begin", "delete", "insert", "ledger", "commit", "committed"]
        after = seen.pop("committed")
        assert (before[0][1], after[0][1]) == (2, 1)
        assert before[0][0] != after[0][0]
        assert all(found == before for found in seen.values())

    def test_no_copy_names_more_files_than_snowflake_takes(
        self, worlds: Worlds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(snowflake, "FILES_PER_COPY", 1)
        loads = transactions_of(worlds, *RECENT)
        before = state(worlds.snowflake)
        with recorded_statements() as statements:
            worlds.snowflake.replace_partitions(
                worlds.desk.lake, CONTRACTS["transactions"], loads, "run"
            )
        copies = [s for s in statements if s.startswith("copy into")]
        assert [s.count(".parquet'") for s in copies] == [1, 1]
        assert state(worlds.snowflake) == before

    def test_an_object_that_cannot_be_read_is_named_and_changes_nothing(
        self, worlds: Worlds
    ) -> None:
        (load,) = transactions_of(worlds, RECENT[1])
        (path,) = load.active[0].facts.data
        content = worlds.desk.lake.get(path)
        frame = pl.read_parquet(content)
        before = state(worlds.snowflake)
        as_text = io.BytesIO()
        frame.with_columns(quantity=pl.lit("nine")).write_parquet(as_text)
        try:
            for damaged in (content[:200], as_text.getvalue()):
                worlds.desk.lake.put(path, damaged)
                with pytest.raises(LoadMismatch, match=path) as caught:
                    self._load_again(worlds, load)
                assert "Nothing was changed. Restore the object, or replay" in str(caught.value)
                assert "CONTINUE" not in str(caught.value), "what Snowflake advises is no way out"
                assert state(worlds.snowflake) == before
            worlds.desk.lake.delete_many([path])
            with pytest.raises(LoadMismatch, match=path):
                self._load_again(worlds, load)
            assert state(worlds.snowflake) == before
        finally:
            worlds.desk.lake.put(path, content)
        self._load_again(worlds, load)
        assert state(worlds.snowflake) == before

    def test_other_rows_than_the_manifest_promises_change_nothing(self, worlds: Worlds) -> None:
        (load,) = transactions_of(worlds, RECENT[1])
        (file,) = load.files
        one_more = file.facts.model_copy(update={"rows_loaded": file.facts.rows_loaded + 1})
        wrong = PartitionLoad(load.partition, (file.model_copy(update={"facts": one_more}),))
        before = state(worlds.snowflake)
        with pytest.raises(LoadMismatch, match=r"FR\|2025-01-15: manifest 4, raw.transactions 3"):
            self._load_again(worlds, wrong)
        assert state(worlds.snowflake) == before

    @staticmethod
    def _load_again(worlds: Worlds, load: PartitionLoad) -> None:
        contract = CONTRACTS["transactions"]
        worlds.snowflake.replace_partitions(worlds.desk.lake, contract, [load], "again")


def parts_of(delivery: Delivery) -> tuple[str, bytes, datetime]:
    """As a desk takes it."""
    return delivery.name, delivery.content, delivery.at


@contextmanager
def recorded_statements() -> Iterator[list[str]]:
    """Statements that this process sends, whoever sends them."""
    from snowflake.connector.cursor import SnowflakeCursor

    sent: list[str] = []
    execute = SnowflakeCursor.execute

    def recording(self: Any, command: str, *arguments: Any, **options: Any) -> Any:
        sent.append(
            command % tuple(map(repr, arguments[0])) if arguments and arguments[0] else command
        )
        return execute(self, command, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SnowflakeCursor, "execute", recording)
        yield sent


LINE = (
    "country varchar, business_date date, channel varchar, invoice_id varchar, line integer, "
    "currency_code varchar, net_amount_local decimal(18, 2), net_amount_eur decimal(18, 2), "
    "sold_at timestamp_ntz, customer_id bigint"
)


@pytest.fixture(scope="module")
def shop(
    account: SnowflakeAccount, environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SnowflakeWarehouse]:
    """A database with three lines of receipts, where `retail` works."""
    ours = replace(account, database="RETAIL_SHOP")
    home = tmp_path_factory.mktemp("shop")
    warehouse = SnowflakeWarehouse(ours, "local")
    with warehouse.connect(), pytest.MonkeyPatch.context() as patch:
        for statement in (
            "create schema if not exists raw",
            "create schema if not exists marts",
            f"create table marts.fct_sales ({LINE})",
            "insert into marts.fct_sales values "
            "('FR', '2025-01-31', 'store', 'R1', 1, 'EUR', 10, 10, '2025-01-31 10:00:00', 1), "
            "('FR', '2025-02-01', 'store', 'R2', 1, 'EUR', 5.5, 5.5, null, null), "
            "('GB', '2025-02-01', 'online', 'R3', 1, 'GBP', 8, 9.6, null, 2)",
            "create table raw.file_ledger (run_id varchar, loaded_at timestamp_ntz)",
            "insert into raw.file_ledger values ('0c9f6d5e-1111', '2026-01-02 03:04:05.678')",
        ):
            warehouse.query(statement)
        for name, value in asdict(ours).items():
            patch.setenv(f"SNOWFLAKE_{name.upper()}", str(value))
        patch.setenv("RETAIL_HOME", str(home))
        patch.setenv("RETAIL_LAKE_URL", "s3://bucket/lake")
        patch.setenv("RETAIL_WAREHOUSE", "snowflake")
        yield warehouse


class TestTimeTravel:
    """The emulator cannot go back in time: what is sent is looked at, and parsed as Snowflake's."""

    def test_rows_are_read_with_their_types(self, shop: SnowflakeWarehouse, tmp_path: Path) -> None:
        said = retail("mart", "fct_sales", "--country", "FR", "--json")
        assert said.code == 0, said.err
        assert [(r["invoice_id"], r["net_amount_eur"], r["sold_at"]) for r in said.json] == [
            ("R1", "10.00", "2025-01-31T10:00:00"),
            ("R2", "5.50", None),
        ]
        file = tmp_path / "sales.parquet"
        assert retail("mart", "fct_sales", "--format", "parquet", "-o", str(file)).code == 0
        kinds = pl.read_parquet(file).schema
        assert kinds["net_amount_eur"] == pl.Decimal(38, 2)
        assert (kinds["business_date"], kinds["customer_id"]) == (pl.Date(), pl.Int64())
        (listed,) = retail("mart", "--json").json
        assert (listed["mart"], listed["rows"], listed["newest_day"]) == (
            *("fct_sales", 3, "2025-02-01"),
        )

    def test_a_moment_is_asked_of_snowflake(self, shop: SnowflakeWarehouse) -> None:
        for as_of, moment in (
            ("2026-01-03T10:00+02:00", "2026-01-03 08:00:00.000000"),
            ("0c9f6d5e", "2026-01-02 03:04:05.678000"),
        ):
            with (
                recorded_statements() as statements,
                kept_since("2026-01-01 00:00:00+00:00"),
                pytest.raises(ProgrammingError, match="does not support time travel"),
            ):
                retail("mart", "fct_sales", "--as-of", as_of)
            assert statements[-1] == (
                "select * from RETAIL_SHOP.marts.fct_sales "
                f"at (timestamp => '{moment} +00:00'::timestamp_tz) limit 0"
            )
            assert parse_errors(statements[-1]) == []

    def test_what_is_too_long_ago_is_told_with_the_oldest_moment(
        self, shop: SnowflakeWarehouse
    ) -> None:
        with kept_since("2026-01-01 00:00:00+00:00"):
            said = retail("mart", "fct_sales", "--as-of", "2025-12-31")
        assert said.code == 2
        assert "the oldest moment of RETAIL_SHOP.marts.fct_sales is 2026-01-01" in said.err
        said = retail("mart", "fct_sales", "--as-of", "2 days ago")
        assert (said.code, "keeps 1 days of Time Travel" in said.err) == (2, True)

    def test_the_statement_of_a_difference_is_snowflakes_too(self) -> None:
        kinds = {"a": pl.Int64(), "b": pl.String(), "net_eur": pl.Decimal(18, 2)}
        at = "at (timestamp => '2026-01-02 03:04:05.678000 +00:00'::timestamp_tz)"
        sql = difference_sql(f"x.marts.m {at}", "x.marts.m", ["a"], kinds, " where b in ('FR')")
        assert parse_errors(sql) == []


class TestClone:
    def test_a_clone_is_compared_with_what_it_was_made_of_inside_of_the_warehouse(
        self, shop: SnowflakeWarehouse
    ) -> None:
        with recorded_statements() as statements:
            made = retail("clone", "create", "12", "--grant-to", "retail_test_analyst", "--json")
        assert made.code == 0, made.err
        clone = "RETAIL_SHOP_PR_12"
        assert made.json["variables"] == {"SNOWFLAKE_DATABASE": clone}
        (created,) = [s for s in statements if s.startswith("create database")]
        assert created.startswith(f"create database {clone} clone RETAIL_SHOP comment = '{{")
        grants = [s for s in statements if s.startswith("grant")]
        assert grants == [
            f"grant usage on database {clone} to role retail_test_analyst",
            f"grant usage on all schemas in database {clone} to role retail_test_analyst",
            f"grant select on all tables in schema {clone}.marts to role retail_test_analyst",
        ]
        assert [parse_errors(s) for s in (created, *grants, f"drop database {clone}")] == [[]] * 5
        key = "country,business_date,channel,invoice_id,line"
        asked = ("diff", "fct_sales", "--to-env", clone, "--key", key)
        said = retail(*asked)
        assert (said.code, "0 changed, 3 equal" in said.out) == (0, True), said.err
        for change in (
            f"update {clone}.marts.fct_sales set net_amount_eur = 11, customer_id = null "
            "where invoice_id = 'R1'",
            f"delete from {clone}.marts.fct_sales where invoice_id = 'R3'",
        ):
            shop.query(change)
        with recorded_statements() as statements:
            said = retail(*asked, "--json")
        assert said.code == 1, said.err
        assert sum("full outer join" in s for s in statements) == 1
        found = said.json
        assert found["rows"] == {"added": 0, "removed": 1, "changed": 1, "equal": 1}
        assert found["changed_cells"] == {"customer_id": 1, "net_amount_eur": 1}
        assert [(c["before"], c["after"]) for c in found["examples"]["net_amount_eur"]] == [
            ("10.00", "11.00")
        ]
        assert {
            (t["column"], t["currency"]): (t["before"], t["after"]) for t in found["totals"]
        } == {
            ("net_amount_eur", "EUR"): ("25.10", "16.50"),
            ("net_amount_local", "EUR"): ("15.50", "15.50"),
            ("net_amount_local", "GBP"): ("8.00", "0"),
        }
        assert [c["name"] for c in retail("clone", "list", "--json").json] == ["12"]
        assert retail("clone", "drop", "12").code == 0
        assert retail("clone", "list", "--json").json == []

    def test_a_database_that_does_not_say_that_it_is_a_clone_stays(
        self, shop: SnowflakeWarehouse
    ) -> None:
        other = "RETAIL_SHOP_PR_OTHERS"
        shop.query(f"create database {other} clone RETAIL_SHOP comment = 'mine'")
        with recorded_statements() as statements:
            said = retail("clone", "drop", "others")
        assert (said.code, "it stays" in said.err) == (2, True)
        assert not any(s.startswith("drop database") for s in statements)
        shop.query(f"drop database {other}")


@contextmanager
def kept_since(moment: str) -> Iterator[None]:
    """The emulator says of all tables that they were made in 1970; these were made then."""
    tables = SnowflakeMarts._tables
    made = datetime.fromisoformat(moment)

    def since(self: SnowflakeMarts) -> list[tuple[str, datetime, datetime, int]]:
        return [(name, made, made, 10_000) for name, *_ in tables(self)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SnowflakeMarts, "_tables", since)
        yield


def parse_errors(sql: str) -> list[str]:
    """What SQLFluff's dialect of Snowflake cannot read."""
    from sqlfluff.core import FluffConfig, Linter

    linter = Linter(config=FluffConfig(overrides={"dialect": "snowflake"}))
    return [str(error) for error in linter.parse_string(f"{sql}\n").violations]


class TestDoctor:
    def test_what_there_is(self, worlds: Worlds) -> None:
        seen = worlds.snowflake.examine(worlds.lake_url)
        assert "account emulated, user loader, role RETAIL_LOADER, database RETAIL_CLOUD" in seen
        assert "loads on RETAIL_LOAD_XS, models on RETAIL_TRANSFORM_XS" in seen
        assert re.search(r", [1-9]\d* files loaded$", seen)

    def test_what_is_missing(self, worlds: Worlds) -> None:
        here = worlds.lake_url
        # The emulator sees every warehouse, but not what is none.
        no_models, no_loads = (
            {name: "of no kind"} for name in ("transform_warehouse", "warehouse")
        )
        for url, changed, said in (
            ("s3://other/lake", {}, "lies over s3://.*they must be the same"),
            ("gs://other/lake", {}, "which a stage calls gcs://other/lake/; they must be the same"),
            (here, {"stage": "raw.no"}, "'raw.no', which role RETAIL_LOADER"),
            (here, no_models, "SNOWFLAKE_TRANSFORM_WAREHOUSE is 'of no kind', which role RETAIL_L"),
            (here, no_loads, "SNOWFLAKE_WAREHOUSE is 'of no kind', which role RETAIL_LOADER"),
        ):
            with pytest.raises(ConfigurationError, match=said):
                SnowflakeWarehouse(replace(worlds.account, **changed), "local").examine(url)


class TestDagster:
    def test_a_run_loads_and_stages_and_says_so_in_the_query_history(self, worlds: Worlds) -> None:
        platform = worlds.platform
        worlds.desk.deliver(*parts_of(sales("FR", 17, [(17, 1, 2), (16, 2, 3)], 60)))
        job = platform.definitions.resolve_implicit_global_asset_job_def()
        keys = [["feeds", "transactions"], ["raw", "transactions"], ["staging", "stg_transactions"]]
        with recorded_statements() as statements, dg.instance_for_test() as instance:
            run = job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(key) for key in keys],
                partition_key=f"FR|{day(17)}",
            )
        assert run.success
        assert worlds.snowflake.query(
            "select invoice_id, quantity from staging.stg_transactions "
            f"where country = 'FR' and batch_date = date '{day(17)}' order by quantity"
        ) == [("INV-FR-021-00170001", 2), ("INV-FR-021-00160002", 3)]
        tags = {}
        for statement in statements:
            if statement.startswith("alter session set query_tag = "):
                current = json.loads(statement.split("'")[1])  # dbt adds a comment
            elif match := re.search(r"copy into|insert into \S*stg_transactions", statement):
                tags[match[0].split(".")[-1].split(" ")[-1]] = current
        days = {"first_day": str(day(17)), "last_day": str(day(17)), "countries": "FR"}
        expected = {"environment": "local", "run": run.run_id, **days}
        assert tags == {
            "into": {**expected, "asset": "raw/transactions"},
            "stg_transactions": {**expected, "asset": "staging/stg_transactions"},
        }


class TestStatements:
    """What a run sends to the account is money, so it is counted."""

    def test_one_late_file_wakes_each_warehouse_once(self, worlds: Worlds) -> None:
        """One run of a batch day, one of the business days around it, as the sensors ask for."""
        platform, account = worlds.platform, worlds.account
        worlds.desk.deliver(*parts_of(sales("FR", 18, [(18, 1, 2), (16, 2, 3)], 60)))
        batch = ["feeds/transactions", "raw/transactions", "staging/stg_transactions"]
        business = ["intermediate/int_sales", "marts/fct_sales", "marts/rpt_daily_sales"]
        with statement_log() as log, dg.instance_for_test() as instance:
            foreground = ForegroundRunner(platform, instance, worlds.desk.lake)
            runs = [
                foreground.execute(
                    dg.RunRequest(
                        asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
                        tags={RANGE_START_TAG: f"FR|{first}", RANGE_END_TAG: f"FR|{day(18)}"},
                    )
                )
                for assets, first in ((batch, day(18)), (business, day(12)))
            ]
        assert [run.error for run in runs] == ["", ""]
        assert log.wakes() == {account.warehouse: 1, account.compute_of_models: 1}
        models, threads = 4, 4
        tests = sum("as failures" in one.sql for one in log.sent)
        assert tests > 20
        # What is there, three tables of its own, the partition, the ledger, late days, the count.
        assert len(log.on(account.warehouse)) == 12
        # A model that this process has built before: its columns, its rows aside, out with the old,
        # in with the new. A run: which tables there are, late days or days without a rate, the
        # rows of each partition.
        assert len(log.on(account.compute_of_models)) == 4 * models + 3 * len(runs) + tests
        # Definitions and settings come to these, and cost no compute.
        assert len(log.sent) <= 25 + 15 * models + 10 * len(runs) + 2 * tests
        # The platform's own, and dbt's: what there is, each model, each thread of the tests.
        assert log.sessions <= len(runs) * (1 + threads + threads) + models
        tags = [
            json.loads(one.sql.split("'")[1])
            for one in log.sent
            if "set query_tag" in one.sql and one.warehouse == account.compute_of_models
        ]
        # Tests are for their model; some are for several.
        assert {tag["asset"] for tag in tags} == {"", batch[-1], *business}


class TestCost:
    """Views over what an account tells of itself, compared with sums made by hand."""

    @pytest.fixture(scope="class")
    def told(self, worlds: Worlds) -> Iterator[SnowflakeWarehouse]:
        dbt_resource(worlds.platform.settings).project().run(["tag:cost"], None)
        with worlds.snowflake.connect() as session:
            usage.example().tell(session)
            yield worlds.snowflake

    def test_a_statement_counts_evenly_for_its_countries_and_days(
        self, told: SnowflakeWarehouse
    ) -> None:
        staged = told.query(
            "select country, slice_day, sum(credits) from cost.cost_by_slice "
            "where asset = 'staging/stg_transactions' group by all order by 1, 2"
        )
        assert [(c, d.day, round(n, 9)) for c, d, n in staged] == [
            *(("DE", n, 0.01) for n in (10, 11, 12)),
            *(("FR", n, credits) for n, credits in ((10, 0.01), (11, 0.02), (12, 0.01))),
        ]

    def test_nothing_is_lost_or_counted_twice(self, told: SnowflakeWarehouse) -> None:
        assert told.query(
            "select environment, role_name, warehouse_name, asset, used_on, "
            "round(sum(credits), 9) from cost.cost_by_slice group by all "
            "order by environment nulls last, asset nulls last, warehouse_name, used_on"
        ) == [
            ("local", usage.PLATFORM, usage.TRANSFORM, "marts/fct_sales", usage.day(3), 1.0),
            ("local", usage.PLATFORM, usage.LOAD, "raw/transactions", usage.day(3), 0.03),
            ("local", usage.PLATFORM, usage.TRANSFORM, "staging/stg_transactions", usage.day(3),
             0.07),
            ("local", usage.PLATFORM, usage.TRANSFORM, None, usage.day(3), 0.02),
            (None, usage.ANALYST, usage.BI, None, usage.day(2), 0.875),
        ]  # fmt: skip
        ((split, known),) = told.query(
            "select (select sum(credits) from cost.cost_by_slice), sum(credits_attributed_compute) "
            "from snowflake.account_usage.query_attribution_history "
            "where start_time > dateadd(day, -92, current_timestamp())"
        )
        assert split == pytest.approx(known) == pytest.approx(1.995)

    def test_who_works_for_all_countries_and_days_works_for_none(
        self, told: SnowflakeWarehouse
    ) -> None:
        assert told.query(
            "select country, slice_day from cost.cost_by_slice where asset = 'marts/fct_sales'"
        ) == [(None, None)]

    def test_what_no_statement_explains_is_idle(self, told: SnowflakeWarehouse) -> None:
        assert told.query(
            "select warehouse_name, used_on, round(credits_metered, 9), "
            "round(credits_attributed, 9), round(credits_idle, 9), statements, execution_seconds "
            "from cost.cost_warehouse_days order by 1"
        ) == [
            (usage.BI, usage.day(2), 2.0, 0.875, 1.125, 3, 180),
            (usage.LOAD, usage.day(3), 0.05, 0.03, 0.02, 1, 10),
            (usage.TRANSFORM, usage.day(3), 1.5, 1.09, 0.41, 4, 637),
        ]

    def test_a_run_wakes_a_warehouse_again_after_a_minute_without_compute(
        self, told: SnowflakeWarehouse
    ) -> None:
        assert told.query(
            "select run_id, warehouse_name, statements, statements_with_compute, "
            "warehouse_seconds, wakes, round(credits, 9) from cost.cost_runs order by 1, 2"
        ) == [
            ("r1", usage.LOAD, 1, 1, 10, 1, 0.03),
            ("r1", usage.TRANSFORM, 4, 3, 37, 2, 0.09),
            ("r2", usage.TRANSFORM, 1, 1, 600, 1, 1.0),
        ]

    def test_the_command_says_what_was_used_and_what_is_left_of_budgets(
        self,
        told: SnowflakeWarehouse,
        of_retail: pytest.MonkeyPatch,
    ) -> None:
        of_retail.setenv("RETAIL_CREDITS_PER_MONTH", "100")
        found = retail("cost", "--days", "4", "--json")
        assert found.code == 0, found.err
        costs = found.json
        assert [(s["name"], round(s["credits"], 9)) for s in costs["by_asset"]] == [
            ("marts/fct_sales", 1.0),
            ("staging/stg_transactions", 0.07),
            ("raw/transactions", 0.03),
            (None, 0.02),
        ]
        assert [(s["name"], round(s["credits"], 9)) for s in costs["by_country"]] == [
            (None, 1.02), ("FR", 0.07), ("DE", 0.03),
        ]  # fmt: skip
        assert [(s["name"], s["credits"]) for s in costs["by_environment"]][1] == (None, 0.875)
        warehouses = {w["name"]: (w["credits_metered"], w["advice"]) for w in costs["warehouses"]}
        assert warehouses[usage.BI] == (2.0, "too few statements")
        dearest = costs["runs"][0]
        assert (dearest["run_id"], dearest["wakes"]) == ("r2", 1)
        month = f"{usage.day(3):%Y-%m}"
        # Loads and models; what dashboards use has a budget with whoever owns them.
        used = {b["name"]: round(b["credits"], 9) for b in costs["budgets"]}
        assert used.get(month, 1.55) == 1.55
        of_retail.setenv("RETAIL_CREDITS_PER_DAY", "1")
        for_people = retail("cost", "--days", "3")
        assert for_people.code == 0
        assert usage.BI in for_people.out
        assert "staging/stg_transactions" not in for_people.out, "that was the day before"
        assert "0.8750 credits were used by other programs (untagged)" in for_people.out
        assert f"0 % of the budget of day {usage.day(0)}: 0.0000 of 1 credits" in for_people.out

    def test_a_budget_counts_loads_and_models_of_its_day(
        self, told: SnowflakeWarehouse, worlds: Worlds
    ) -> None:
        limited = replace(worlds.platform.settings, credits_per_day=1.0, credits_per_month=2.0)
        uses = budget_uses(limited, told, usage.day(2))
        assert [(u.name, round(u.credits, 9), u.level) for u in uses][:2] == [
            (str(usage.day(3)), 1.55, 100),
            (str(usage.day(2)), 0.0, 0),
        ]
        assert [u.level for u in uses if u.name == f"{usage.day(3):%Y-%m}"] == [75]

    def test_a_role_that_may_not_read_the_bill_is_told_what_it_lacks(
        self, told: SnowflakeWarehouse
    ) -> None:
        view = "snowflake.account_usage.warehouse_metering_history"
        told.query(f"alter table {view} rename to withheld")
        try:
            with pytest.raises(ConfigurationError, match=r"Grant it the .*SNOWFLAKE\.USAGE_VIEWER"):
                told.credits_metered(usage.day(3))
        finally:
            told.query(
                "alter table snowflake.account_usage.withheld rename to warehouse_metering_history"
            )

    def test_advice_follows_from_how_a_warehouse_is_used(self, worlds: Worlds) -> None:
        with worlds.snowflake.connect() as session:
            usage.sized().tell(session)
            found = dict(
                worlds.snowflake.query("select warehouse_name, advice from cost.cost_warehouses")
            )
        assert found == {
            "TOO_FEW_STATEMENTS": "too few statements",
            "LARGER_REMOTE": "larger",
            "LARGER_LOCAL": "larger",
            "KEEP_LOCAL": "keep",
            "MORE_CLUSTERS": "more clusters",
            "KEEP_QUEUE": "keep",
            "SMALLER": "smaller",
            "KEEP_SMALLEST": "keep",
            "FEWER_WAKES": "fewer wakes",
        }


def test_an_account_that_was_set_up_has_all_that_the_platform_needs(
    account: SnowflakeAccount, environment: None
) -> None:
    feeds = [CONTRACTS["customers"], CONTRACTS["fx_rates"]]
    made = rendered("dev", contracts=feeds)
    of_setup = replace(account, role="retail_dev_setup", database="retail_dev")
    deploy(made, of_setup, dry_run=False)
    warehouse = SnowflakeWarehouse(replace(of_setup, role="retail_dev_platform"), "prod")
    columns = (
        "select table_name, column_name, data_type from information_schema.columns "
        "where table_schema = 'RAW' order by table_name, ordinal_position"
    )
    before = warehouse.query(columns)
    assert [c.lower() for t, c, _ in before if t == "FX_RATES"] == [*raw_columns(feeds[1])]
    warehouse.prepare(feeds)
    assert warehouse.query(columns) == before, "nothing was missing"
    assert "0 files loaded" in warehouse.examine("s3://bucket/lake")
