"""Marts as readers saw them: versions of the published copy, and what can be asked of them."""

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from retail_platform.partitions import Slices
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.publish import CATALOGUE, publish
from retail_platform.warehouse.versions import GRACE, Retention, Version, Versions
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
        first = copy.publish(1)
        second = copy.publish(2)
        within = second.published_at + timedelta(days=6)
        copy.versions.expire(Retention(days=7, versions=1), within)
        assert copy.versions.kept() == [first, second]

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
