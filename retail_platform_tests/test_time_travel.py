"""Marts as readers saw them: versions of the published copy, and what can be asked of them."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest

from retail_platform.operate.marts.moments import parse_moment
from retail_platform.operate.marts.published import PublishedMarts
from retail_platform.partitions import Slices
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.protocol import PublishedTable
from retail_platform.warehouse.publish import CATALOGUE, publish
from retail_platform.warehouse.versions import GRACE, Retention, Version, Versions
from retail_platform_tests.builders import Desk, csv_text, row
from retail_platform_tests.test_cli import retail
from retail_platform_tests.test_warehouse import DIMENSION, MART, fill_marts, process, says

QUARTER = Slices(("FR",), date(2025, 1, 30), date(2025, 3, 2))
FEBRUARY = Slices(("FR",), date(2025, 2, 3), date(2025, 2, 9))
NOW = datetime.now(UTC)


class Copy:
    """A warehouse with two marts, and their published copy."""

    def __init__(self, home: Path) -> None:
        self.warehouse = DuckDBWarehouse(home / "warehouse.duckdb")
        self.folder = home / "published"
        self.versions = Versions(self.folder)

    def publish(self, amount: int, slices: Slices = QUARTER, run_id: str = "") -> Version:
        """Both marts, with this amount in all rows of the slices' months."""
        fill_marts(self.warehouse, amount)
        with self.warehouse.connect() as connection:
            publish(connection, [MART, DIMENSION], slices, self.folder, run_id)
        newest = self.versions.newest()
        assert newest
        return newest

    def amounts(self, version: Version) -> Sequence[object]:
        """What the files of a version hold: amount per month."""
        files = self.versions.files(version)["rpt_daily_sales"].values()
        paths = [str(self.folder / "rpt_daily_sales" / file) for file in files]
        with duckdb.connect() as connection:
            return connection.execute(
                "select month(business_date), any_value(amount), count(distinct amount) "
                f"from read_parquet({paths}) group by all order by all"
            ).fetchall()

    @property
    def files(self) -> set[str]:
        return {str(p.relative_to(self.folder)) for p in self.folder.glob("*/*")}


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "it's here")


POLLING = """
import sys, time, duckdb
seen = set()
print("reading", flush=True)
while 20 not in seen:
    time.sleep(0.01)
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        found = connection.execute(
            "select amount, count(*) from (select amount from marts.rpt_daily_sales "
            "union all select store_id from marts.dim_store) group by all"
        ).fetchall()
    assert len(found) == 1 and found[0][1] == 33, found
    seen.add(found[0][0])
print(sorted(seen), flush=True)
"""


class TestVersions:
    def test_a_version_costs_what_it_changes(self, copy: Copy) -> None:
        first = copy.publish(1)
        before = copy.files
        second = copy.publish(2, FEBRUARY)
        assert len(copy.files - before) == 2  # February, and the dimension
        assert copy.amounts(first) == [(1, 1, 1), (2, 1, 1), (3, 1, 1)]
        assert copy.amounts(second) == [(1, 1, 1), (2, 2, 1), (3, 1, 1)]
        before = copy.files
        third = copy.publish(2, FEBRUARY)
        assert copy.files == before
        assert third.number > second.number

    def test_who_polls_never_sees_half_a_version(self, copy: Copy) -> None:
        copy.publish(0)
        with process(POLLING, copy.folder / CATALOGUE) as reader, copy.warehouse.connect():
            assert says(reader) == "reading"
            for amount in range(1, 21):
                copy.publish(amount)
            seen = says(reader)
        assert seen.endswith(", 20]")

    def test_versions_are_found_by_time_and_by_run(self, copy: Copy) -> None:
        first = copy.publish(1, run_id="aaaa1111-1")
        second = copy.publish(2, FEBRUARY, run_id="bbbb2222-2")
        third = copy.publish(3, FEBRUARY, run_id="bbbb2222-2")
        at = copy.versions.at
        assert at(first.published_at - timedelta(microseconds=1)) is None
        assert at(first.published_at) == first
        assert at(third.published_at - timedelta(microseconds=1)) == second
        assert at(NOW + timedelta(days=1)) == third
        assert copy.versions.of_run("bbbb") == [third]
        assert copy.versions.of_run("") == [first, third]
        assert copy.versions.of_run("%") == [first, third]
        assert copy.versions.of_run("bbbb2222_2") == []
        assert copy.versions.last_publications()["dim_store"] == third

    def test_a_copy_that_had_no_versions_becomes_the_first_one(self, copy: Copy) -> None:
        """The months that nothing is published into must not vanish."""
        for month, day in (("2024-12", "2024-12-05"), ("2025-02", "2025-02-05")):
            path = copy.folder / "rpt_daily_sales" / f"{month}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            duckdb.execute(
                f"copy (select 'FR' as country, date '{day}' as business_date, 9 as amount) to "
                f"'{str(path).replace(chr(39), chr(39) * 2)}'"
            )
        assert copy.amounts(copy.publish(1)) == [(1, 1, 1), (2, 1, 1), (3, 1, 1), (12, 9, 1)]

    def test_a_publication_that_died_before_readers_were_shown_it_is_shown_by_the_next(
        self, copy: Copy
    ) -> None:
        copy.publish(1)
        before = (copy.folder / CATALOGUE).read_bytes(), (copy.folder / ".shows").read_bytes()
        copy.publish(2)
        (copy.folder / CATALOGUE).write_bytes(before[0])
        (copy.folder / ".shows").write_bytes(before[1])
        fill_marts(copy.warehouse, 2)
        with copy.warehouse.connect() as connection:
            publish(connection, [DIMENSION], FEBRUARY, copy.folder)
        with duckdb.connect(str(copy.folder / CATALOGUE), read_only=True) as reader:
            found = reader.execute("select distinct amount from marts.rpt_daily_sales").fetchall()
        assert found == [(2,)]


class TestRetention:
    """How old a version is counts from when another one replaced it."""

    def test_old_versions_go_and_the_files_only_they_had(self, copy: Copy) -> None:
        first = copy.publish(1)
        second = copy.publish(2, FEBRUARY)
        old = NOW + timedelta(days=8)
        assert copy.versions.expire(Retention(days=7, versions=2), old) == []
        assert copy.versions.kept() == [first, second]
        assert copy.versions.expire(Retention(days=7, versions=1), old) == []
        assert copy.versions.kept() == [second]
        assert copy.versions.at(first.published_at) is None
        # Whoever was told of it just before is still reading.
        assert len(copy.amounts(first)) == 3
        soon = old + GRACE - timedelta(seconds=1)
        assert copy.versions.expire(Retention(days=7, versions=1), soon) == []
        later = old + GRACE + timedelta(seconds=1)
        gone = copy.versions.expire(Retention(days=7, versions=1), later)
        assert sorted(path.name.split(".")[0] for path in gone) == ["2025-02", "all"]
        assert copy.amounts(second) == [(1, 1, 1), (2, 2, 1), (3, 1, 1)]

    def test_a_version_that_was_current_until_now_is_not_old(self, copy: Copy) -> None:
        copy.folder.mkdir(parents=True)
        month, week = timedelta(days=30), timedelta(days=7)
        first = copy.versions.add(NOW - month, "", {"dim_store": {"all": "1.parquet"}})
        second = copy.versions.add(NOW, "", {"dim_store": {"all": "2.parquet"}})
        copy.versions.expire(Retention(days=7, versions=1), NOW + week - GRACE)
        assert copy.versions.kept() == [first, second]
        copy.versions.expire(Retention(days=7, versions=1), NOW + week + GRACE)
        assert copy.versions.kept() == [second]

    def test_a_file_of_an_old_version_that_came_back_stays(self, copy: Copy) -> None:
        copy.publish(1)
        copy.publish(2)
        newest = copy.publish(1)
        day = timedelta(days=1)
        copy.versions.expire(Retention(0, 1), NOW + day)
        gone = copy.versions.expire(Retention(0, 1), NOW + 2 * day)
        assert len(gone) == 4
        assert copy.amounts(newest) == [(1, 1, 1), (2, 1, 1), (3, 1, 1)]

    def test_what_a_dead_process_left_behind_goes_when_nobody_can_be_at_it(
        self, copy: Copy
    ) -> None:
        copy.publish(1)
        files = copy.files
        for name, age in ((".2025-02.4711", 2 * GRACE), ("2025-02.f00.parquet", GRACE / 2)):
            path = copy.folder / "rpt_daily_sales" / name
            path.write_bytes(b"PAR1 half a file")
            os.utime(path, times=(0, (datetime.now(UTC) - age).timestamp()))
        copy.publish(1)
        assert copy.files == files | {"rpt_daily_sales/2025-02.f00.parquet"}


# -------------------------------------------------------------------------------- asked by command

SALES = PublishedTable("fct_sales", "business_date", monthly=True)
LINES = [
    # country, day, channel, invoice, line, currency, local, euros, customer
    ("FR", "2025-01-31", "store", "R1", 1, "EUR", "10.00", "10.00", 1),
    ("FR", "2025-01-31", "store", "R1", 2, "EUR", "5.50", "5.50", 1),
    ("FR", "2025-02-01", "store", "R2", 1, "EUR", "7.00", "7.00", None),
    ("GB", "2025-02-01", "online", "R3", 1, "GBP", "8.00", "9.60", 2),
]
LATER = [
    LINES[0],
    # Another amount, and another customer; one line less, two lines more.
    ("FR", "2025-02-01", "store", "R2", 1, "EUR", "6.00", "6.00", 7),
    ("GB", "2025-02-01", "online", "R3", 1, "GBP", "8.00", "9.60", None),
    ("GB", "2025-02-01", "online", "R4", 1, "GBP", "1.00", "1.20", 2),
    ("GB", "2025-02-02", "online", "R5", 1, "USD", "2.00", "1.90", 2),
]


class Shop(Copy):
    """Lines of receipts, published."""

    def sell(self, lines: Sequence[tuple[object, ...]], run_id: str) -> Version:
        values = ", ".join(str(line).replace("None", "null") for line in lines)
        with self.warehouse.connect() as connection:
            connection.execute(
                "create schema if not exists marts; create or replace table marts.fct_sales as "
                "select country, business_date::date as business_date, channel, invoice_id, line, "
                "currency_code, local::decimal(18, 2) as net_amount_local, "
                "eur::decimal(18, 2) as net_amount_eur, eur::decimal(18, 2) as unit_price_eur, "
                "customer::bigint as customer_id "
                f"from (values {values}) as lines(country, business_date, channel, invoice_id, "
                "line, currency_code, local, eur, customer)"
            )
            publish(connection, [SALES], QUARTER, self.folder, run_id)
        newest = self.versions.newest()
        assert newest
        return newest


@pytest.fixture(scope="class")
def shop(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path) -> Iterator[Shop]:
    """Two versions, by runs whose ids begin with 11111111 and 22222222."""
    home = tmp_path_factory.mktemp("shop")
    (home / "dbt").symlink_to(dbt_work_dir)  # parsed once for all tests
    shop = Shop(home)
    shop.sell(LINES, "11111111-aaaa")
    shop.sell(LATER, "22222222-bbbb")
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("RETAIL_", "SNOWFLAKE_")):
                patch.delenv(name)
        patch.setenv("RETAIL_HOME", str(home))
        yield shop


class TestMart:
    def test_rows_now_and_as_of_a_run_and_a_time(self, shop: Shop) -> None:
        def invoices(*options: str) -> list[str]:
            return [row["invoice_id"] for row in retail("mart", "fct_sales", *options).json]

        first = shop.versions.kept()[0]
        assert invoices("--json") == ["R1", "R2", "R3", "R4", "R5"]
        assert invoices("--json", "--as-of", "11111111") == ["R1", "R1", "R2", "R3"]
        at = first.published_at.isoformat()
        assert invoices("--json", "--as-of", at) == ["R1", "R1", "R2", "R3"]
        assert invoices("--json", "--as-of", "0 seconds ago", "--country", "UK,FR") == [
            *("R1", "R2", "R3", "R4", "R5")
        ]
        days = ("--from", "2025-02-01", "--to", "2025-02-01")
        assert invoices("--json", *days) == ["R2", "R3", "R4"]
        assert invoices("--json", "--limit", "1") == ["R1"]

    def test_formats(self, shop: Shop, tmp_path: Path) -> None:
        asked = ("mart", "fct_sales", "--columns", "invoice_id,net_amount_eur", "--limit", "1")
        assert retail(*asked, "--format", "csv").out == "invoice_id,net_amount_eur\nR1,10.00\n"
        assert "10.00" in retail(*asked).out
        for name in ("rows.csv", "rows.json", "rows.parquet"):
            form = name.split(".")[1]
            said = retail(*asked, "--format", form, "-o", str(tmp_path / name))
            assert said.out == f"1 rows in {tmp_path / name}\n"
        frame = pl.read_parquet(tmp_path / "rows.parquet")
        assert frame.rows() == [("R1", Decimal("10.00"))]
        assert frame.schema["net_amount_eur"] == pl.Decimal(18, 2)
        assert json.loads((tmp_path / "rows.json").read_text()) == [
            {"invoice_id": "R1", "net_amount_eur": "10.00"}
        ]

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["nothing"], "'nothing' is no mart of .*; there are: fct_sales"),
            (["fct_sales", "--as-of", "2020-01-01"], "the oldest moment is 20"),
            (["fct_sales", "--as-of", "2999-01-01"], "is in the future"),
            (["fct_sales", "--as-of", "soon"], "expected a time like"),
            (["fct_sales", "--as-of", "33333333"], "no run of that id"),
            (["fct_sales", "--columns", "a,line"], "no a; it has country, business_date"),
            (["fct_sales", "--country", "XX"], "No such country: XX"),
            (["fct_sales", "--format", "parquet"], "needs --output"),
        ],
    )
    def test_what_cannot_be_answered_is_usage(
        self, shop: Shop, options: list[str], told: str
    ) -> None:
        said = retail("mart", *options)
        assert said.code == 2
        assert re.search(told, said.err)

    def test_all_marts_with_their_freshness(self, shop: Shop) -> None:
        newest = shop.versions.newest()
        assert newest
        assert retail("mart", "--json").json == [
            {
                "mart": "fct_sales",
                "rows": 5,
                "newest_day": "2025-02-02",
                "published_at": newest.published_at.isoformat(),
                "run_id": "22222222-bbbb",
            }
        ]
        assert "22222222" in retail("mart").out

    def test_a_load_stands_for_the_marts_that_it_found(self, desk: Desk) -> None:
        desk.deliver("customers_FR_20250111.csv", csv_text("customers", [row("customers")]))
        desk.take_in()
        assert desk.warehouse
        ((loaded_at,),) = desk.warehouse.query("select loaded_at from raw.file_ledger")
        desk.warehouse.query("update raw.file_ledger set run_id = '44444444-cccc'")
        versions = Versions(desk.warehouse.path.parent / "published")
        versions.folder.mkdir()
        before = versions.add(loaded_at.replace(tzinfo=UTC), "", {"m": {"all": "before.parquet"}})
        versions.add(before.published_at + timedelta(seconds=1), "", {"m": {"all": "x.parquet"}})
        marts = PublishedMarts(versions.folder, desk.warehouse.path)
        assert "before.parquet" in marts.relation("m", "44444444")
        assert "x.parquet" in marts.relation("m")


class TestDiff:
    def test_what_was_added_removed_and_changed(self, shop: Shop) -> None:
        said = retail("diff", "fct_sales", "--from-as-of", "11111111", "--json")
        assert said.code == 1
        found = said.json
        assert found["key"] == ["country", "business_date", "channel", "invoice_id", "line"]
        assert found["rows"] == {"added": 2, "removed": 1, "changed": 2, "equal": 1}
        assert found["removed"] == [
            "country=FR, business_date=2025-01-31, channel=store, invoice_id=R1, line=2"
        ]
        assert [text.split("invoice_id=")[1] for text in found["added"]] == [
            "R4, line=1",
            "R5, line=1",
        ]
        assert found["changed_cells"] == {
            "customer_id": 2,
            "net_amount_eur": 1,
            "net_amount_local": 1,
            "unit_price_eur": 1,
        }
        assert [(c["before"], c["after"]) for c in found["examples"]["customer_id"]] == [
            (None, "7"),
            ("2", None),
        ]
        totals = {(t["column"], t["currency"]): (t["before"], t["after"]) for t in found["totals"]}
        assert totals == {
            ("net_amount_eur", "EUR"): ("32.10", "28.70"),
            ("net_amount_local", "EUR"): ("22.50", "16.00"),
            ("net_amount_local", "GBP"): ("8.00", "9.00"),
            ("net_amount_local", "USD"): ("0", "2.00"),
        }
        text = retail("diff", "fct_sales", "--from-as-of", "11111111").out
        assert "2 rows added, 1 removed, 2 changed, 1 equal" in text
        assert "-3.40" in text

    def test_equal_is_0(self, shop: Shop) -> None:
        asked = ("diff", "fct_sales", "--from-as-of", "11111111")
        assert retail(*asked, "--to", "2025-01-31", "--from", "2025-02-01").code == 0
        said = retail("diff", "fct_sales", "--from-as-of", "11111111", "--to-as-of", "11111111-")
        assert said.code == 0
        assert "0 rows added, 0 removed, 0 changed, 4 equal" in said.out

    def test_two_environments(self, shop: Shop, tmp_path: Path) -> None:
        other = Shop(tmp_path / "other")
        other.sell([*LATER[:3], *LATER[4:]], "")
        asked = ("diff", "fct_sales", "--to-env", str(tmp_path / "other"), "--json")
        assert retail(*asked).json["rows"] == {
            **{"added": 0, "removed": 1, "changed": 0, "equal": 4}
        }

    def test_a_column_that_one_side_lacks_is_a_difference(self, shop: Shop, tmp_path: Path) -> None:
        other = Shop(tmp_path / "other")
        other.sell(LATER, "")
        with other.warehouse.connect() as connection:
            connection.execute("alter table marts.fct_sales rename customer_id to buyer_id")
            publish(connection, [SALES], QUARTER, other.folder)
        said = retail("diff", "fct_sales", "--to-env", str(tmp_path / "other"), "--json")
        assert said.code == 1
        assert said.json["missing_columns"] == ["customer_id"]
        assert said.json["new_columns"] == ["buyer_id"]

    def test_a_key_that_is_none_counts_each_row_once(self, shop: Shop) -> None:
        said = retail(
            *("diff", "fct_sales", "--from-as-of", "11111111", "--key", "country", "--json")
        )
        assert said.json["rows"] == {"added": 2, "removed": 1, "changed": 2, "equal": 1}

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ([], "Both sides are the same"),
            (["--to-env", "/no/such/home"], "is no folder"),
            (["--from-as-of", "11111111", "--key", "a"], "has no column a on both sides"),
        ],
    )
    def test_usage_is_2(self, shop: Shop, options: list[str], told: str) -> None:
        said = retail("diff", "fct_sales", *options)
        assert said.code == 2
        assert told in said.err


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-01-31", datetime(2025, 1, 31, tzinfo=UTC)),
        ("2025-01-31T18:30", datetime(2025, 1, 31, 18, 30, tzinfo=UTC)),
        ("2025-01-31T18:30+02:00", datetime(2025, 1, 31, 16, 30, tzinfo=UTC)),
        ("2  Hours ago", datetime(2025, 1, 31, 22, tzinfo=UTC)),
        ("1 week ago", datetime(2025, 1, 25, tzinfo=UTC)),
        ("0c9f6d5e", None),
    ],
)
def test_moments(text: str, moment: datetime | None) -> None:
    assert parse_moment(text, datetime(2025, 2, 1, tzinfo=UTC)) == moment
