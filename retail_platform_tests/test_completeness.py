"""Deliveries that were due and did not come: calendars, deadlines, check, `retail status`."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from retail_platform.assets.completeness import COMPLETENESS_CHECK
from retail_platform.contract import Expectation
from retail_platform.countries import ALL
from retail_platform.lake.completeness import Gap, due_at, find_gaps
from retail_platform.lake.manifest import Delivery, FileFacts, Manifest, write_manifests
from retail_platform.lake.store import Lake
from retail_platform.operate.status import read_status
from retail_platform.partitions import Partition
from retail_platform.settings import Settings
from retail_platform_tests.builders import CONTRACTS, REGISTRY
from retail_platform_tests.histories import FIRST_DAY, Installation, Visit, sales

TODAY = date(2026, 3, 12)
NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open((tmp_path / "lake").as_uri())


def came(lake: Lake, feed: str, country: str, day: date, at: datetime | None = None) -> None:
    """A delivery; in good time unless told otherwise."""
    at = at or datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)
    facts = FileFacts(
        file_id="f", name="n", checksum="c", size_bytes=1, rows_in=0, rows_loaded=0,
        rows_quarantined=0, rows_duplicate=0, reasons={}, layout={}, schema_version="v",
        data=(), quarantine=(), history="h",
    )  # fmt: skip
    manifest = Manifest.empty(feed, Partition(country, day))
    deliveries = (Delivery(file_id="f", delivered_at=at),)
    write_manifests(
        lake, [manifest.model_copy(update={"files": {"f": facts}, "deliveries": deliveries})]
    )


def days(*numbers: int) -> list[date]:
    return [TODAY - timedelta(days=n) for n in numbers]


def gaps(lake: Lake, now: datetime = NOW) -> list[tuple[str, bool]]:
    """(partition, missing)."""
    return [(str(g.partition), g.missing) for g in find_gaps(lake, CONTRACTS, REGISTRY, now)]


class TestWhenADeliveryIsDue:
    @pytest.mark.parametrize(
        ("country", "day", "due"),
        [
            ("FR", date(2026, 1, 14), "2026-01-15 05:00"),
            ("FR", date(2026, 7, 14), "2026-07-15 04:00"),  # summer time
            ("US", date(2026, 1, 14), "2026-01-15 11:00"),
            ("CN", date(2026, 1, 14), "2026-01-14 22:00"),  # tomorrow comes early there
            ("GB", date(2026, 3, 28), "2026-03-29 05:00"),  # the night the clocks change
        ],
    )
    def test_at_the_deadline_of_the_country(self, country: str, day: date, due: str) -> None:
        found = due_at(CONTRACTS["transactions"], REGISTRY, Partition(country, day))
        assert f"{found:%Y-%m-%d %H:%M}" == due

    @pytest.mark.parametrize(
        ("day", "expected"),
        [
            (date(2026, 3, 13), True),
            (date(2026, 3, 14), False),  # a Saturday
            (date(2026, 4, 3), False),  # Good Friday
            (date(2026, 7, 14), True),  # a holiday of France is none of the European Central Bank
        ],
    )
    def test_on_days_the_contract_names(self, day: date, expected: bool) -> None:
        due = due_at(CONTRACTS["fx_rates"], REGISTRY, Partition(ALL, day))
        assert (due is not None) is expected

    def test_holidays_are_those_of_the_country(self) -> None:
        contract = CONTRACTS["transactions"]
        expected = Expectation(closed_on="country_holidays")
        ingestion = contract.ingestion.model_copy(update={"expected": expected})
        closed = replace(contract, ingestion=ingestion)
        bastille = date(2026, 7, 14)
        assert due_at(closed, REGISTRY, Partition("FR", bastille)) is None
        assert due_at(closed, REGISTRY, Partition("DE", bastille)) is not None

    def test_not_at_all_when_the_contract_expects_nothing(self) -> None:
        assert due_at(CONTRACTS["products"], REGISTRY, Partition(ALL, TODAY)) is None


class TestGaps:
    def test_nothing_is_missing_from_a_partner_who_has_not_started(self, lake: Lake) -> None:
        assert gaps(lake) == []

    def test_a_day_that_did_not_come(self, lake: Lake) -> None:
        for day in days(1, 2, 3, 5, 6, 7, 8):
            came(lake, "transactions", "FR", day)
        assert gaps(lake) == [(str(Partition("FR", TODAY - timedelta(days=4))), True)]

    def test_a_day_is_not_missing_before_its_deadline(self, lake: Lake) -> None:
        for day in days(2, 3, 4, 5, 6, 7, 8):
            came(lake, "transactions", "FR", day)
        early = datetime(2026, 3, 12, 4, 59, tzinfo=UTC)  # 05:59 in Paris
        assert gaps(lake, early) == []
        assert gaps(lake, early + timedelta(minutes=1)) == [("FR|2026-03-11", True)]

    def test_a_day_that_came_late(self, lake: Lake) -> None:
        for day in days(1, 2, 3, 5, 6, 7, 8):
            came(lake, "transactions", "FR", day)
        came(lake, "transactions", "FR", TODAY - timedelta(days=4), NOW)
        assert gaps(lake) == [("FR|2026-03-08", False)]

    def test_a_correction_does_not_make_a_delivery_late(self, lake: Lake) -> None:
        for day in days(*range(1, 9)):
            came(lake, "transactions", "FR", day)
        path = f"manifests/transactions/FR/{TODAY - timedelta(days=2)}.json"
        manifest = Manifest.model_validate_json(lake.get(path))
        facts = manifest.files["f"].model_copy(update={"file_id": "g"})
        write_manifests(lake, [manifest.with_delivery(facts, NOW)])
        assert gaps(lake) == []

    def test_a_backlog_is_no_delay(self, lake: Lake) -> None:
        """Somebody's first delivery is a year of history, brought today."""
        for day in days(*range(1, 30)):
            came(lake, "transactions", "FR", day, NOW - timedelta(hours=1))
        assert gaps(lake) == []

    def test_countries_and_feeds_are_judged_each_for_itself(self, lake: Lake) -> None:
        for day in days(*range(1, 9)):
            came(lake, "transactions", "DE", day)
            came(lake, "products", ALL, day)
        for day in days(*range(2, 9)):
            came(lake, "transactions", "ES", day)
        assert gaps(lake) == [("ES|2026-03-11", True)]


def going_on(settings: Settings) -> Settings:
    """With the calendar."""
    return replace(settings, last_day=None)


class TestWhoIsTold:
    @pytest.fixture
    def installation(self, tmp_path: Path, dbt_work_dir: Path) -> Any:
        home = tmp_path / "home"
        with Installation.new(home, dbt_work_dir, going_on) as installation:
            today = datetime.now(UTC).date()
            for n in (2, 3, 4, 6, 7, 8):
                came(installation.lake, "transactions", "FR", today - timedelta(days=n))
            yield installation

    def test_the_check_fails_and_lists_what_is_missing(self, installation: Installation) -> None:
        definitions = installation.platform.definitions
        result = definitions.resolve_job_def("hourly_completeness").execute_in_process(
            instance=installation.instance
        )
        assert result.success
        found = {e.asset_key.path[-1]: e for e in result.get_asset_check_evaluations()}
        assert {e.check_name for e in found.values()} == {COMPLETENESS_CHECK}
        assert found["customers"].passed
        failed = found["transactions"]
        assert not failed.passed
        assert failed.severity is dg.AssetCheckSeverity.ERROR
        assert failed.metadata["missing"].value >= 1
        assert failed.metadata["deliveries"].records[0].data["delivered"] == "missing"

    def test_a_gap_is_closed_by_the_run_that_fills_it(self, installation: Installation) -> None:
        lake, today = installation.lake, datetime.now(UTC).date()
        for n in (0, 1):
            came(lake, "transactions", "FR", today - timedelta(days=n))
        gap = today - timedelta(days=5)
        assert [
            g.partition.day for g in find_gaps(lake, CONTRACTS, REGISTRY, datetime.now(UTC))
        ] == [gap]
        installation.play([sales("FR", 1 + (gap - FIRST_DAY).days, [], 0), Visit()])
        key = dg.AssetCheckKey(dg.AssetKey(["feeds", "transactions"]), COMPLETENESS_CHECK)
        storage = installation.instance.event_log_storage
        last = storage.get_latest_asset_check_execution_by_key([key])[key]
        assert last.event.dagster_event.asset_check_evaluation_data.passed

    def test_status_names_them(self, installation: Installation) -> None:
        desk = installation.platform.desk
        status = read_status(desk, installation.lake, [])
        missing = {gap.partition.day for gap in status.missing}
        assert datetime.now(UTC).date() - timedelta(days=5) in missing
        assert status.as_json()["missing_or_late"]

    def test_a_schedule_asks_every_hour(self, installation: Installation) -> None:
        name = "hourly_completeness_schedule"
        schedule = installation.platform.definitions.resolve_schedule_def(name)
        assert schedule.cron_schedule == "10 * * * *"
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


def test_a_gap_is_told_in_words() -> None:
    gap = Gap("transactions", Partition("FR", TODAY), NOW, None)
    assert gap.as_json() == {
        "feed": "transactions",
        "partition": "FR|2026-03-12",
        "due": "2026-03-12 12:00 UTC",
        "delivered": None,
        "waits_for": None,
    }
