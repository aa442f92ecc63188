"""What runs by itself and when: conditions, ranges, sensors, the nightly schedule.

Nothing is executed here: events are put on record as runs and people would leave them, and the
question is what the platform asks for next. That what it asks for leads to the right marts is
shown by the convergence tests.
"""

import logging
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time
from dagster._daemon.asset_daemon import (
    asset_daemon_cursor_from_instigator_serialized_cursor,
    asset_daemon_cursor_to_instigator_serialized_cursor,
)
from dagster._daemon.freshness import FreshnessDaemon

from retail_platform.assets.slices import ONLY_ARRIVALS, ONLY_ARRIVALS_TAG
from retail_platform.automation import inputs, range_sensor
from retail_platform.automation.arrivals import SensorMemory
from retail_platform.automation.range_sensor import (
    describe,
    evaluate_ranges,
    range_requests,
    stale_requests,
)
from retail_platform.countries import ALL
from retail_platform.definitions import Platform
from retail_platform.lake.inbox import read_rejections
from retail_platform.lake.store import INBOX, Lake
from retail_platform.operate.instance import dagster_environment, open_instance
from retail_platform.partitions import (
    LOOKBACK_DAYS,
    RANGE_END_TAG,
    RANGE_START_TAG,
    Partition,
    Slices,
)
from retail_platform.resources import LakeResource
from retail_platform_tests.histories import (
    COUNTRIES,
    FIRST_DAY,
    articles,
    broken,
    day,
    put,
    rates,
    sales,
    shops,
    small_platform,
)

FEED = "feeds/transactions"
RAW = "raw/transactions"
STAGING = "staging/stg_transactions"
SALES = "intermediate/int_sales"
MART = "marts/rpt_daily_sales"
RATES, SPINE = "intermediate/int_fx_rates", "semantics/time_spine"
FACT = "marts/fct_sales"
LIFECYCLE = "marts/rpt_transactions_lifecycle"
OF_BATCH_DAYS = {FEED, RAW, STAGING, LIFECYCLE, "marts/dim_channel"}
CUSTOMERS = "marts/fct_customer_behavior"
RFM, COHORTS = "marts/rpt_rfm", "marts/rpt_cohort_retention"
MONTHLY = "marts/fct_customers_monthly"
GROWTH, RETURNS = "marts/rpt_like_for_like", "marts/rpt_returns"
MOVEMENTS, DAILY_STOCK = "intermediate/int_inventory_movements", "marts/fct_inventory_daily"
MONTHLY_STOCK = "intermediate/int_inventory_monthly"
STOCK_REPORT, REORDERS = "marts/rpt_stock", "marts/rpt_reorder_alerts"
LAST_DAY = date(2025, 3, 31)
LOOKING_BACK = {
    *(RFM, MONTHLY, COHORTS, GROWTH, RETURNS),
    *(
        f"marts/rpt_{name}"
        for name in (
            *("clv", "clv_fit", "competitor_prices", "gmroi", "markdown_effect"),
            *("price_elasticity", "size_curve", "weather_effect"),
        )
    ),
}
"""Reports that read days before their own: later days change with a day, and a new day has inputs
already. They are built after their input, in a run of their own."""
OF_THEIR_DAYS = {RETURNS, "marts/rpt_competitor_prices"}
"""Those of them that have nothing to say of a day without sales."""
OF_MONTH_ENDS = {COHORTS, "marts/rpt_clv", "marts/rpt_clv_fit"}
"""Those of them that are made of what is known of customers at month ends."""
OF_BUSINESS_DAYS = {
    *(SALES, FACT, MART, CUSTOMERS, "marts/rpt_top_stores", "marts/dim_date"),
    *("marts/rpt_channel_performance", "marts/rpt_product_performance"),
    *("marts/rpt_store_performance", "marts/fct_shop_sales_daily"),
}
OF_OTHER_CHANNELS = {
    *(
        f"intermediate/int_{name}"
        for name in (
            *("pos_events", "online_orders", "online_refunds", "online_sales"),
            *("online_checkouts", "inventory_movements", "inventory_monthly"),
            *("competitor_prices", "weather"),
        )
    ),
    "marts/fct_checkouts",
    "marts/fct_inventory_daily",
    "marts/fct_inventory_movements",
    "marts/rpt_abandoned_carts",
    "marts/rpt_reorder_alert_quality",
    "marts/rpt_reorder_alerts",
    "marts/rpt_stock",
    "marts/rpt_supplier_performance",
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path) -> Platform:
    """Of a closed period: reports that look back have a partition on every later day."""
    return small_platform(
        tmp_path_factory.mktemp("home"), dbt_work_dir, lambda s: replace(s, last_day=LAST_DAY)
    )


@dataclass
class Record:
    """The event log of a platform, written by hand."""

    platform: Platform
    instance: dg.DagsterInstance
    cursor: str | None = None

    @property
    def graph(self) -> Any:
        return self.platform.definitions.resolve_asset_graph()

    def built(self, asset: str, *partitions: str) -> None:
        """An asset was materialized."""
        for partition in partitions:
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(dg.AssetKey(asset.split("/")), partition=partition)
            )

    def started(self, assets: Collection[str], start: str, end: str) -> dg.DagsterRun:
        """A run over a range was started; that is all that is known of it."""
        keys = frozenset(dg.AssetKey(a.split("/")) for a in assets)
        job = self.platform.definitions.resolve_implicit_global_asset_job_def()
        return self.instance.create_run_for_job(
            job.get_subset(asset_selection=keys),
            tags={RANGE_START_TAG: start, RANGE_END_TAG: end},
            asset_selection=keys,
            status=dg.DagsterRunStatus.STARTED,
        )

    def ended(self, run: dg.DagsterRun) -> None:
        """A run is over; what it built is on record separately."""
        done = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name)
        self.instance.report_dagster_event(done, run.run_id)

    def failed(self, run: dg.DagsterRun) -> None:
        """A run is over and built nothing more."""
        self.instance.report_run_failed(run)

    def stale(self, asset: str, **options: Any) -> set[str]:
        key, events = dg.AssetKey(asset.split("/")), inputs.Events(self.instance)
        return {str(p) for p in inputs.stale_partitions(events, self.graph, key, **options)}

    def requests(self) -> list[dg.RunRequest]:
        """The runs that one evaluation of all conditions asks for."""
        requests, cursor, _ = evaluate_ranges(
            self.instance,
            self.graph,
            dg.AssetSelection.all(),
            self.platform.run_order,
            self.platform.desk,
            asset_daemon_cursor_from_instigator_serialized_cursor(self.cursor, self.graph),
            logging.getLogger(__name__),
        )
        self.cursor = asset_daemon_cursor_to_instigator_serialized_cursor(cursor)
        return requests

    def tick(self) -> list[dg.RunRequest]:
        """The same through the sensor, as its daemon evaluates it."""
        repository = self.platform.definitions.get_repository_def()
        context = dg.build_sensor_context(self.instance, self.cursor, repository_def=repository)
        tick = repository.get_sensor_def("range_automation_sensor").evaluate_tick(context)
        self.cursor = tick.cursor
        return list(tick.run_requests)

    def asked(self) -> dict[str, set[str]]:
        """What one evaluation of all conditions asks for: asset -> partitions."""
        wanted: dict[str, set[str]] = {}
        for request in self.requests():
            for name in assets_of(request):
                wanted.setdefault(name, set()).update(self.covered(request))
        return wanted

    def ran(self, request: dg.RunRequest, but: Collection[str] = ()) -> None:
        """A run did what was asked for; it failed if it has not built some of the assets."""
        covered = sorted(self.covered(request))
        run = self.started(
            assets_of(request), request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]
        )
        for key in self.graph.toposorted_asset_keys:
            if key in (request.asset_selection or []) and key.to_user_string() not in but:
                self.built(key.to_user_string(), *covered)
        (self.failed if but else self.ended)(run)

    def settled(self) -> None:
        """Runs did all that was asked for, until nothing was left to do."""
        for _ in range(9):
            requests = self.requests()
            if not requests:
                return
            for request in requests:
                self.ran(request)
        raise AssertionError(f"still asked for: {requests}")

    def covered(self, request: dg.RunRequest) -> set[str]:
        """Partitions of a range request."""
        start = Partition.parse(request.tags[RANGE_START_TAG])
        end = Partition.parse(request.tags[RANGE_END_TAG])
        order = (ALL,) if start.country == ALL else self.platform.registry.codes
        countries = order[order.index(start.country) : order.index(end.country) + 1]
        return {str(p) for p in Slices(countries, start.day, end.day)}


@pytest.fixture
def record(platform: Platform) -> Iterator[Record]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Record(platform, instance)


def assets_of(request: dg.RunRequest) -> set[str]:
    """Names of the assets a request asks for."""
    return {key.to_user_string() for key in request.asset_selection or []}


def of_their_days(requests: Iterable[dg.RunRequest]) -> list[dg.RunRequest]:
    """Without the runs of reports that look back, which every new day asks for."""
    return [request for request in requests if not assets_of(request) <= LOOKING_BACK]


def on(number: int, country: str = "FR") -> str:
    """Key of a partition of the small world."""
    return str(Partition(country, day(number)))


def between(first: int, last: int, country: str = "FR") -> set[str]:
    return {on(n, country) for n in range(first, last + 1)}


class TestAnInputIsNewer:
    def test_an_arrival_concerns_its_own_partition(self, record: Record) -> None:
        record.built("inbox/transactions", on(10))
        assert record.stale(FEED) == {on(10)}
        record.built(FEED, on(10))
        assert record.stale(FEED) == set()
        assert record.stale(RAW) == {on(10)}

    def test_a_second_delivery_makes_it_stale_again(self, record: Record) -> None:
        record.built("inbox/transactions", on(10))
        record.built(FEED, on(10))
        record.built("inbox/transactions", on(10))
        assert record.stale(FEED) == {on(10)}

    def test_the_lookback_is_the_mapping_between_batch_days_and_business_days(
        self, record: Record
    ) -> None:
        """Rows of a batch day were sold on that day or on one of the six before it."""
        record.built(STAGING, on(10))
        assert record.stale(SALES) == between(10 - LOOKBACK_DAYS + 1, 10)
        record.built(SALES, *between(4, 10))
        assert record.stale(SALES) == set()

    def test_a_list_of_articles_concerns_the_six_days_before_it_and_all_after(
        self, record: Record
    ) -> None:
        """An article that is new in it may have been sold on these days."""
        performance = "marts/rpt_product_performance"
        record.built(FACT, *between(1, 20))
        record.built(performance, *between(1, 20))
        record.built("marts/dim_product", on(10, ALL))
        assert record.stale(performance) == between(4, 20)

    def test_days_before_the_first_partition_do_not_exist(self, record: Record) -> None:
        record.built(STAGING, on(3))
        assert record.stale(SALES) == between(1, 3)

    def test_later_rows_than_the_window_are_announced_day_by_day(self, record: Record) -> None:
        record.built("staging/late_transactions", on(2))
        assert record.stale(SALES) == {on(2)}
        assert record.stale("intermediate/int_pos_events") == set()  # another feed's

    def test_a_rate_refreshes_the_countries_that_were_built_and_invents_no_day(
        self, record: Record
    ) -> None:
        record.built(SALES, on(5, "CN"))
        record.built(FACT, on(5, "CN"))
        record.built(RATES, on(5, ALL), on(6, ALL))
        assert record.stale(FACT) == {on(5, "CN")}

    def test_a_day_that_was_left_out_for_want_of_a_rate_is_tried_again_when_it_comes(
        self, record: Record
    ) -> None:
        record.built(SALES, on(5, "CN"), on(5))
        run = record.started([FACT], on(5, "CN"), on(5))
        record.built(FACT, on(5))
        record.ended(run)
        assert record.stale(FACT) == set()
        record.built(RATES, on(5, ALL))
        assert record.stale(FACT) == {on(5, "CN"), on(5)}

    def test_one_country_is_none_of_anothers_business(self, record: Record) -> None:
        record.built(STAGING, on(10, "CN"))
        assert record.stale(SALES) == between(4, 10, "CN")

    def test_what_arrives_while_a_run_works_counts_as_newer(self, record: Record) -> None:
        """The run may have read its input before: it started before the input was there."""
        record.built(STAGING, on(10))
        record.started([SALES], on(4), on(10))
        record.built(STAGING, on(10))
        record.built(SALES, *between(4, 10))
        assert record.stale(SALES) == between(4, 10)

    def test_a_failed_attempt_is_repeated_when_a_person_asks_or_something_arrives(
        self, record: Record
    ) -> None:
        record.built(STAGING, on(10))
        record.failed(record.started([SALES], on(4), on(10)))
        assert record.stale(SALES) == set()
        assert record.stale(SALES, count_failed_attempts=False) == between(4, 10)
        record.built(STAGING, on(7))
        assert record.stale(SALES) == between(1, 7)

    @pytest.mark.parametrize(
        ("asset", "parent", "country"),
        [
            (RAW, FEED, "FR"),
            (SALES, STAGING, "FR"),
            (SALES, "staging/late_transactions", "CN"),
            (RATES, "staging/stg_fx_rates", ALL),
            (FACT, RATES, ALL),
            (RFM, CUSTOMERS, "FR"),
            (GROWTH, "marts/fct_shop_sales_daily", "CN"),
        ],
    )
    def test_an_input_concerns_the_partitions_that_dagsters_mapping_says(
        self, record: Record, asset: str, parent: str, country: str
    ) -> None:
        """The condition computes them by itself, which is faster."""
        key, parent_key = (dg.AssetKey(name.split("/")) for name in (asset, parent))
        mapping = record.graph.get_partition_mapping(key, parent_key)
        of_parent, of_key = (record.graph.get(k).partitions_def for k in (parent_key, key))
        for number in (1, 3, 30):
            arrived = on(number, country)
            concerned = set(
                mapping.get_downstream_partitions_for_partitions(
                    of_parent.empty_subset().with_partition_keys([arrived]), of_parent, of_key
                ).get_partition_keys()
            )
            record.built(asset, *concerned)
            assert record.stale(asset) == set()
            record.built(parent, arrived)
            assert record.stale(asset) == concerned
            record.built(asset, *concerned)

    @pytest.mark.parametrize(
        ("before", "after"), [(0, 0), (6, 0), (0, 6), (69, 14), (None, 0), (None, 6)]
    )
    def test_what_counts_is_the_newest_input_in_the_window(
        self, record: Record, before: int | None, after: int
    ) -> None:
        rules, chance = record.platform.partitioning, random.Random(after)
        days = [day(n) for n in range(1, (LAST_DAY - FIRST_DAY).days + 2)]
        for mapping, of, readers in (
            (rules.window(before, after), "FR", ("FR",)),
            (rules.from_global(before, after), ALL, COUNTRIES),
        ):
            for arrived in (1, 5, 40):
                given = {
                    Partition(of, d): chance.randrange(9) for d in chance.sample(days, arrived)
                }
                expected = {}
                for today in days:
                    first = date.min if before is None else today - timedelta(days=before)
                    last = today + timedelta(days=after)
                    read = [n for p, n in given.items() if first <= p.day <= last]
                    expected |= {Partition(c, today): max(read) for c in readers if read}
                children = inputs._Children(mapping, (FIRST_DAY, LAST_DAY))
                assert children.newest(given) == expected

    def test_an_input_that_is_about_to_run_elsewhere_is_waited_for(self, record: Record) -> None:
        record.built(STAGING, on(10), on(12))
        coming = {dg.AssetKey(STAGING.split("/")): {Partition("FR", day(12))}}
        assert record.stale(SALES, requested=coming) == between(4, 5)

    def test_an_input_that_runs_along_makes_the_output_stale_now(self, record: Record) -> None:
        coming = {dg.AssetKey(FEED.split("/")): {Partition("FR", day(10))}}
        assert record.stale(RAW, requested=coming) == {on(10)}


class TestWhatIsAskedFor:
    @staticmethod
    def built_by(record: Record, ask: Callable[[], list[dg.RunRequest]]) -> set[str]:
        """Assets that runs build until nothing more is asked for."""
        built: set[str] = set()
        while requests := ask():
            for request in requests:
                assert not assets_of(request) & built, "is built again"
                record.ran(request)
            built |= set().union(*map(assets_of, requests))
        return built

    def test_nothing_on_an_empty_platform(self, record: Record) -> None:
        assert record.requests() == []

    def test_one_arrival_is_one_run_to_staging_and_one_to_the_marts(self, record: Record) -> None:
        record.built("inbox/transactions", on(10))
        (batch,) = record.requests()
        assert assets_of(batch) == OF_BATCH_DAYS
        assert record.covered(batch) == {on(10)}
        record.ran(batch)
        (business,) = record.requests()
        assert assets_of(business) == OF_BUSINESS_DAYS
        assert record.covered(business) == between(4, 10)
        record.ran(business)
        # What looks back on these days, and on all days before them, follows.
        assert self.built_by(record, record.requests) <= LOOKING_BACK

    def test_what_is_made_of_something_that_waits_waits_as_well(self, record: Record) -> None:
        """Reports of stock read movements, which are there, and balances that are to come."""
        record.built("staging/stg_inventory_movements", on(10))
        built: list[tuple[str, str]] = []
        while requests := record.requests():
            for request in requests:
                built += product(assets_of(request), record.covered(request))
                record.ran(request)
        assert {MOVEMENTS, MONTHLY_STOCK, DAILY_STOCK, STOCK_REPORT, REORDERS} <= dict(built).keys()
        assert [twice for twice, times in Counter(built).items() if times > 1] == []

    def test_late_files_of_neighbours_share_runs_where_all_was_built_before(
        self, record: Record
    ) -> None:
        late = (on(10), on(12, "CN"))
        for batch in (*late, *(on(n, c) for c in ("FR", "CN") for n in range(4, 20))):
            record.built(STAGING, batch)
        record.settled()
        record.built(STAGING, *late)
        (together, *_) = (r for r in record.requests() if SALES in assets_of(r))
        assert record.covered(together) == between(4, 12) | between(4, 12, "CN")

    def test_what_was_never_built_is_not_built_for_the_sake_of_neighbours(
        self, record: Record
    ) -> None:
        record.built(STAGING, on(10), on(12, "CN"))
        asked = [record.covered(r) for r in record.requests() if SALES in assets_of(r)]
        assert sorted(map(len, asked)) == [7, 7]

    def test_feeds_that_want_different_days_share_a_run_that_leaves_the_others_alone(
        self, record: Record
    ) -> None:
        record.built("inbox/transactions", on(10))
        record.built("inbox/customers", on(12), on(9, "CN"))
        (batch,) = record.requests()
        assert assets_of(batch) == OF_BATCH_DAYS | {
            "feeds/customers",
            "raw/customers",
            "staging/stg_customers",
            "intermediate/int_crm_contacts",
            "marts/dim_customer",
            "marts/dim_geography",
        }
        assert record.covered(batch) == between(9, 12) | between(9, 12, "CN")
        assert batch.tags[ONLY_ARRIVALS_TAG] == ONLY_ARRIVALS
        assert batch.run_key is None, "a sensor would ask for it once and never again"

    def test_what_is_stale_without_news_is_built_exactly(self, record: Record) -> None:
        """A generous run would leave it alone: marts that fail their freshness policy."""
        wanted = {"marts/dim_customer": on(10), "marts/dim_store": on(12, "CN")}
        for mart, partition in wanted.items():
            record.built(mart.replace("marts/dim_", "staging/stg_") + "s", partition)
            record.built(mart, partition)
        requests = stale_requests(
            {dg.AssetKey(m.split("/")): {Partition.parse(p)} for m, p in wanted.items()},
            record.instance,
            record.graph,
            record.platform.run_order,
            record.platform.desk,
        )
        assert [ONLY_ARRIVALS_TAG in request.tags for request in requests] == [False, False]
        assert {m: record.covered(r) for r in requests for m in assets_of(r)} == {
            mart: {partition} for mart, partition in wanted.items()
        }

    def test_months_apart_are_no_run_together(self, record: Record) -> None:
        record.built("inbox/transactions", on(1), on(40), on(41, "CN"))
        assert sorted(map(len, map(record.covered, record.requests()))) == [1, 4]

    def test_raw_is_not_loaded_again_because_models_behind_it_failed(self, record: Record) -> None:
        """It would be newer than their last attempt each time, and there would be no end."""
        record.built("inbox/transactions", on(10))
        record.built("inbox/customers", on(12))
        (batch,) = record.requests()
        run = record.started(assets_of(batch), on(10), on(12))
        for feed, partition in (("transactions", on(10)), ("customers", on(12))):
            record.built(f"feeds/{feed}", partition)
            record.built(f"raw/{feed}", partition)
        record.failed(run)
        (again,) = record.requests()
        assert record.covered(again) == between(10, 12)
        models = {name for name in assets_of(batch) if not name.startswith(("feeds/", "raw/"))}
        assert assets_of(again) == models
        record.failed(record.started(models, on(10), on(12)))
        assert record.requests() == []

    def test_what_happened_before_the_first_look_is_not_forgotten(self, record: Record) -> None:
        """A platform that was off, or is new, catches up."""
        for asset in (FEED, RAW, STAGING):
            record.built(asset, on(8), on(9))
        asked = record.asked()
        assert asked[SALES] == between(2, 9)
        assert asked[MART] == between(2, 9)

    def test_the_same_is_not_asked_while_it_runs_nor_after_it_failed(self, record: Record) -> None:
        record.built(STAGING, on(10))
        asked = record.asked()
        assert asked.keys() >= OF_BUSINESS_DAYS
        run = record.started(list(asked), on(4), on(10))
        assert record.asked() == {}
        record.failed(run)
        assert record.asked() == {}
        record.built(STAGING, on(10))
        assert record.asked()[SALES] == between(4, 10)

    def test_news_waits_until_the_run_that_may_have_missed_it_has_ended(
        self, record: Record
    ) -> None:
        record.built(STAGING, on(10))
        run = record.started([*OF_BUSINESS_DAYS], on(4), on(10))
        record.built(STAGING, on(10))
        assert not record.asked().keys() & OF_BUSINESS_DAYS
        record.ended(run)
        assert record.asked()[SALES] == between(4, 10)

    def test_marts_wait_for_a_run_that_writes_their_input(self, record: Record) -> None:
        record.built(STAGING, on(10))
        run = record.started([*OF_BATCH_DAYS], on(11), on(12))
        # The days 4 and 5 read no batch that is being written.
        assert record.asked()[SALES] == between(4, 4)
        record.ended(run)
        assert record.asked()[SALES] == between(4, 10)

    def test_what_a_run_covers_is_waited_for_as_a_whole(self, record: Record) -> None:
        """Seen while it records one day after the other, its days are not asked for one by one."""
        run = record.started([*OF_BATCH_DAYS], on(10, "CN"), on(12))
        for number in (10, 12):  # no file came for the 11th
            for country in COUNTRIES:
                record.built(STAGING, on(number, country))
                assert not record.asked().keys() & OF_BUSINESS_DAYS
        record.ended(run)
        (request,) = (r for r in record.requests() if SALES in assets_of(r))
        assert record.covered(request) == between(4, 12, "CN") | between(4, 12)

    def test_a_run_for_one_partition_is_waited_for(self, record: Record) -> None:
        """As people start them on an asset's page."""
        run = record.instance.create_run_for_job(
            record.platform.definitions.resolve_implicit_global_asset_job_def(),
            tags={"dagster/partition": on(5)},
            asset_selection=frozenset({dg.AssetKey(SALES.split("/"))}),
            status=dg.DagsterRunStatus.STARTED,
        )
        record.built(STAGING, on(10))
        assert record.asked()[SALES] == between(4, 10) - {on(5)}
        record.ended(run)
        assert record.asked()[SALES] == between(4, 10)

    def test_a_run_that_ends_during_the_look_is_not_repeated(
        self, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What looked missing when inputs were compared is there when nothing is running."""
        record.built("inbox/transactions", on(10))
        run = record.started([*OF_BATCH_DAYS], on(10), on(10))
        record.built(FEED, on(10))
        record.built(RAW, on(10))
        compare = inputs.stale_partitions
        seen: list[set[Partition]] = []

        def while_the_run_ends(
            instance: Any, graph: Any, key: dg.AssetKey, *rest: Any, **of: Any
        ) -> Any:
            found = compare(instance, graph, key, *rest, **of)
            if key.to_user_string() == STAGING and not seen:
                seen.append(found)
                record.built(STAGING, on(10))
                record.built(LIFECYCLE, on(10))
                record.ended(run)
            return found

        monkeypatch.setattr(inputs, "stale_partitions", while_the_run_ends)
        assert not record.asked().keys() & OF_BATCH_DAYS
        assert seen == [{Partition("FR", day(10))}]

    def test_a_new_day_is_built_from_what_is_carried_into_it(self, record: Record) -> None:
        """Friday's exchange rate is Saturday's too, and customers of Friday are in the report of
        Saturday; nobody's sales are invented for it."""
        friday = datetime(2025, 3, 7, 12, tzinfo=UTC)
        with freeze_time(friday):
            record.built("staging/stg_fx_rates", f"{ALL}|2025-03-07")
            record.built(STAGING, "CN|2025-03-07")
            record.settled()
        with freeze_time(friday + timedelta(days=1)):
            at_once = LOOKING_BACK - OF_THEIR_DAYS - OF_MONTH_ENDS
            assert record.asked() == {
                RATES: {f"{ALL}|2025-03-08"},
                SPINE: {f"{ALL}|2025-03-08"},
                **{name: {"CN|2025-03-08"} for name in at_once},
            }
            record.built(MONTHLY, "CN|2025-03-08")
            asked = record.asked()
            assert all(asked.get(name) == {"CN|2025-03-08"} for name in OF_MONTH_ENDS)

    def test_a_quiet_look_compares_nothing(
        self, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record.built("inbox/transactions", on(10))
        record.settled()
        compared: list[dg.AssetKey] = []
        compare = inputs.stale_partitions

        def counted(instance: Any, graph: Any, key: dg.AssetKey, *rest: Any, **options: Any) -> Any:
            compared.append(key)
            return compare(instance, graph, key, *rest, **options)

        monkeypatch.setattr(inputs, "stale_partitions", counted)
        assert record.asked() == {}
        assert compared == []
        record.built("inbox/transactions", on(11))
        assert record.asked()[FEED] == {on(11)}
        assert compared

    def test_the_sensor_asks_for_the_same(self, record: Record) -> None:
        record.built(STAGING, on(10))
        requests = record.requests()
        record.cursor = None
        asked_by_sensor = record.tick()
        assert [(assets_of(r), record.covered(r)) for r in asked_by_sensor] == [
            (assets_of(r), record.covered(r)) for r in requests
        ]
        for request in requests:
            record.ran(request)
        assert self.built_by(record, record.tick) <= LOOKING_BACK

    @pytest.mark.parametrize("news", ["event", "time"])
    def test_when_all_is_up_to_date_the_sensor_waits_for_news(
        self, record: Record, monkeypatch: pytest.MonkeyPatch, news: str
    ) -> None:
        looks: list[list[dg.RunRequest]] = []

        def look(*arguments: Any) -> Any:
            found = evaluate_ranges(*arguments)
            looks.append(found[0])
            return found

        monkeypatch.setattr(range_sensor, "evaluate_ranges", look)
        record.built(STAGING, on(10))
        assert record.tick()
        assert record.tick(), "what was asked for and not begun is asked for again"
        for request in looks[-1]:
            record.ran(request)
        record.settled()
        looks.clear()
        for _ in range(3):
            assert record.tick() == []
        assert len(looks) == 1
        if news == "event":
            record.built(STAGING, on(11))
            assert record.tick()
        else:
            now = time.monotonic()
            monkeypatch.setattr(range_sensor.time, "monotonic", lambda: now + 61)
            assert record.tick() == []
        assert len(looks) == 2

    def test_the_sensor_is_on(self, record: Record) -> None:
        repository = record.platform.definitions.get_repository_def()
        sensor = repository.get_sensor_def("range_automation_sensor")
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


class TestOwnPast:
    """What is made of its own days before."""

    @pytest.fixture(scope="class")
    def of_all_countries(
        self, tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path
    ) -> Platform:
        home = tmp_path_factory.mktemp("home")
        return small_platform(
            home,
            dbt_work_dir,
            lambda s: replace(s, last_day=LAST_DAY, countries_file=None),
        )

    def test_days_after_one_that_was_built_again_are_stale(self, record: Record) -> None:
        last = (LAST_DAY - FIRST_DAY).days + 1
        record.built(MONTHLY, *sorted(between(1, last)), on(1, "CN"))
        assert record.stale(MONTHLY) == between(2, last, "CN")
        record.built(MONTHLY, on(10), on(20))
        assert record.stale(MONTHLY) == between(11, last) - {on(20)} | between(2, last, "CN")

    def test_a_run_leaves_the_days_that_it_builds_in_order(self, record: Record) -> None:
        """Each is newer than the start of the attempt that built the days after it as well."""
        days = sorted(between(1, (LAST_DAY - FIRST_DAY).days + 1))
        run = record.started([MONTHLY], days[0], days[-1])
        assert record.stale(MONTHLY) == set()
        record.built(MONTHLY, *days)
        record.ended(run)
        assert record.stale(MONTHLY) == set()

    def test_a_correction_is_one_run_whatever_follows(self, record: Record) -> None:
        record.built(CUSTOMERS, *between(1, 60))
        record.settled()
        record.built(CUSTOMERS, on(10))
        (request,) = (r for r in record.requests() if MONTHLY in assets_of(r))
        assert record.covered(request) == between(10, (LAST_DAY - FIRST_DAY).days + 1)
        record.ran(request)
        assert record.stale(MONTHLY) == set()

    def test_days_of_a_country_are_never_split(
        self, of_all_countries: Platform, record: Record
    ) -> None:
        """Two runs could change places, and the later days be built on what is about to change."""
        record.platform = of_all_countries
        codes = of_all_countries.registry.codes
        wanted = {
            Partition(code, day(n)) for code in codes for n in range(1 + 4 * (code != "FR"), 10)
        }

        def days_of(name: str, country: str) -> list[int]:
            requests = range_requests(
                {dg.AssetKey(name.split("/")): wanted}, record.graph, of_all_countries.run_order
            )
            covered = [{p for p in record.covered(r) if country in p} for r in requests]
            return [len(days) for days in covered if days]

        assert days_of(CUSTOMERS, "FR") == [4, 5], "in two runs, else this would prove nothing"
        assert days_of(MONTHLY, "FR") == [9]
        assert days_of(MONTHLY, "US") == [5]


class TestRanges:
    def test_assets_that_want_the_same_partitions_share_a_run(self, record: Record) -> None:
        wanted = {Partition("FR", day(n)) for n in (4, 5, 6)}
        keys = [dg.AssetKey(name.split("/")) for name in (SALES, MART)]
        (request,) = range_requests(
            dict.fromkeys(keys, wanted), record.graph, record.platform.run_order
        )
        assert set(request.asset_selection or []) == set(keys)
        assert record.covered(request) == between(4, 6)
        assert describe(request).startswith("FR|2025-01-04 ... FR|2025-01-06: ")

    def test_exchange_rates_run_before_what_is_converted_with_them(self, record: Record) -> None:
        wanted = {
            dg.AssetKey(SALES.split("/")): {Partition("FR", day(4))},
            dg.AssetKey(RATES.split("/")): {Partition(ALL, day(4))},
        }
        requests = range_requests(wanted, record.graph, record.platform.run_order)
        assert [record.covered(r) for r in requests] == [{on(4, ALL)}, {on(4)}]

    def test_what_looks_back_has_a_run_after_its_input(self, record: Record) -> None:
        """In the same run its step would be skipped, and nothing would say so."""
        wanted = {Partition("FR", day(n)) for n in (4, 5, 6)}
        stock = (MOVEMENTS, MONTHLY_STOCK, DAILY_STOCK, STOCK_REPORT, REORDERS)
        names = (COHORTS, MONTHLY, CUSTOMERS, FACT, RFM, *stock)
        requests = range_requests(
            {dg.AssetKey(name.split("/")): wanted for name in names},
            record.graph,
            record.platform.run_order,
        )
        assert [assets_of(r) for r in requests] == [
            {FACT, CUSTOMERS, MOVEMENTS},
            {MONTHLY, RFM, MONTHLY_STOCK},
            {COHORTS, DAILY_STOCK},
            {STOCK_REPORT},
            {REORDERS},  # of its input's days, but by another step
        ]
        assert all(record.covered(r) == between(4, 6) for r in requests)

    def test_a_ragged_selection_is_covered_exactly(self, record: Record) -> None:
        wanted = {Partition("FR", day(n)) for n in (1, 2, 9)} | {Partition("CN", day(2))}
        requests = range_requests(
            {dg.AssetKey(SALES.split("/")): wanted}, record.graph, record.platform.run_order
        )
        covered = [p for r in requests for p in record.covered(r)]
        assert sorted(covered) == sorted(map(str, wanted))


def french(first: date, last: date) -> set[str]:
    return {str(p) for p in Slices(("FR",), first, last)}


class Location(LoadingContextForTest):
    """What Dagster's freshness daemon sees of a code location."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.instance)
        self._record = record
        self.asset_graph = record.graph

    def create_request_context(self) -> "Location":
        return Location(self._record)


@contextmanager
def installed(
    platform: Platform, home: Path, environment: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """The instance of an installation below `home`."""
    settings = replace(platform.settings, home=home)
    for name, value in dagster_environment(settings).items():
        environment.setenv(name, value)
    with open_instance(settings) as instance:
        yield instance


class TestFreshness:
    """A mart that fails its policy has its window rebuilt, once per failure.

    The clock is set, and Dagster's own daemon says at each time what is fresh.
    """

    LAST_BATCH = datetime(2025, 3, 18, 22, tzinfo=UTC)
    """When the last files came."""

    @pytest.fixture(scope="class")
    def fortnight(
        self, platform: Platform, tmp_path_factory: pytest.TempPathFactory
    ) -> tuple[Path, str | None]:
        """Two weeks of French batches on an instance as installed, all that follows built.

        Returns:
            The home of the installation, and the cursor of the sensor.
        """
        home = tmp_path_factory.mktemp("fortnight")
        with pytest.MonkeyPatch.context() as patch, installed(platform, home, patch) as instance:
            record = Record(platform, instance)
            self.deliver(record, self.LAST_BATCH, days=14)
            return home, record.cursor

    @pytest.fixture
    def record(
        self,
        platform: Platform,
        fortnight: tuple[Path, str | None],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[Record]:
        """A copy of the two weeks, to go on from."""
        built, cursor = fortnight
        home = shutil.copytree(built, tmp_path / "home")
        with installed(platform, home, monkeypatch) as instance:
            yield Record(platform, instance, cursor)

    @staticmethod
    def deliver(record: Record, at: datetime, days: int) -> None:
        """Files of these many days come and everything is built from them."""
        with freeze_time(at):
            batches = Slices(("FR",), at.date() - timedelta(days=days - 1), at.date())
            record.built("inbox/transactions", *map(str, batches))
            record.settled()

    def requests_at(self, record: Record, at: datetime) -> list[dg.RunRequest]:
        """What is asked for after the freshness daemon has looked."""
        with freeze_time(at):
            list(FreshnessDaemon().run_iteration(Location(record)))
            return of_their_days(record.tick())

    def test_an_installation_has_the_daemon(self, record: Record) -> None:
        assert FreshnessDaemon.daemon_type() in record.instance.get_required_daemon_types()

    def test_days_of_the_last_week_that_were_built_before_are_built_again(
        self, record: Record
    ) -> None:
        for hours in (1, 31, 47):  # at 31 there is a warning
            assert self.requests_at(record, self.LAST_BATCH + timedelta(hours=hours)) == []
        # The week is that of the failure: 14th to 20th. Nothing has come for its last two days.
        (request,) = self.requests_at(record, self.LAST_BATCH + timedelta(hours=49))
        assert assets_of(request) == OF_BUSINESS_DAYS
        assert record.covered(request) == french(date(2025, 3, 14), date(2025, 3, 18))

    def test_once_per_failure(self, record: Record) -> None:
        failed_at = self.LAST_BATCH + timedelta(hours=49)
        (request,) = self.requests_at(record, failed_at)
        assert self.requests_at(record, failed_at + timedelta(minutes=1)) == []
        with freeze_time(failed_at + timedelta(minutes=2)):
            record.ran(request, but=OF_BUSINESS_DAYS)
        # Still failing, also when the window has moved on.
        assert self.requests_at(record, failed_at + timedelta(minutes=3)) == []
        assert self.requests_at(record, failed_at + timedelta(days=1)) == []
        recovered_at = failed_at + timedelta(days=2)
        self.deliver(record, recovered_at, days=1)
        assert self.requests_at(record, recovered_at + timedelta(hours=1)) == []
        (again,) = self.requests_at(record, recovered_at + timedelta(hours=49))
        assert record.covered(again) == french(date(2025, 3, 19), date(2025, 3, 22))

    def test_a_failure_during_a_run_is_remembered_until_the_run_has_ended(
        self, record: Record
    ) -> None:
        failed_at = self.LAST_BATCH + timedelta(hours=49)
        run = record.started(OF_BUSINESS_DAYS, "FR|2025-03-14", "FR|2025-03-18")
        assert self.requests_at(record, failed_at) == []
        record.failed(run)
        (request,) = self.requests_at(record, failed_at + timedelta(minutes=1))
        assert assets_of(request) == OF_BUSINESS_DAYS

    def test_a_mart_that_could_not_be_built_is_tried_again(self, record: Record) -> None:
        """Nothing repeats a failed attempt by itself until the mart fails its policy."""
        next_day = self.LAST_BATCH + timedelta(days=1)
        with freeze_time(next_day):
            record.built("inbox/transactions", "FR|2025-03-19")
            (batch,) = of_their_days(record.requests())
            record.ran(batch)
            (business,) = of_their_days(record.requests())
            record.ran(business, but={MART})  # its input is newer than its attempt
            (alone,) = of_their_days(record.requests())
            record.ran(alone, but={MART})
            assert of_their_days(record.requests()) == []
        (request,) = self.requests_at(record, next_day + timedelta(hours=25))
        assert assets_of(request) == {MART}
        # The 19th was never built: it is left to the people who see the failed run.
        assert record.covered(request) == french(date(2025, 3, 14), date(2025, 3, 18))


class TestInboxSensor:
    """Files in; events or range runs out."""

    @pytest.fixture
    def lake(self, tmp_path: Path) -> Lake:
        lake = Lake.open((tmp_path / "lake").as_uri())
        put(lake, sales("FR", 10, [(9, 1, 2)], 1))
        return lake

    def tick(self, record: Record, lake: Lake, cursor: str | None = None) -> Any:
        """One evaluation, as the daemon makes it."""
        assert lake.local_root
        repository = record.platform.definitions.get_repository_def()
        context = dg.build_sensor_context(
            record.instance,
            cursor,
            repository_def=repository,
            resources={"lake": LakeResource(url=lake.local_root.as_uri())},
        )
        return repository.get_sensor_def("inbox_sensor").evaluate_tick(context)

    def test_a_few_files_become_events(self, record: Record, lake: Lake) -> None:
        put(lake, rates(10, 7, 1))
        tick = self.tick(record, lake)
        events = {(e.asset_key.to_user_string(), e.partition): e for e in tick.asset_events}
        assert events.keys() == {("inbox/transactions", on(10)), ("inbox/fx_rates", on(10, ALL))}
        assert not tick.run_requests
        sold = events["inbox/transactions", on(10)]
        assert sold.metadata["files"].value == "transactions_FR_20250110.csv"

    def test_a_partition_is_one_event_with_its_files(self, record: Record, lake: Lake) -> None:
        put(lake, sales("FR", 10, [(9, 1, 2)], 1, part="_b"))
        put(lake, sales("FR", 11, [(9, 1, 2)], 1))
        put(lake, sales("CN", 10, [(9, 1, 2)], 1))
        events = self.tick(record, lake).asset_events
        files = {e.partition: set(e.metadata["files"].value.split(", ")) for e in events}
        assert files == {
            on(10): {"transactions_FR_20250110.csv", "transactions_FR_20250110_b.csv"},
            on(11): {"transactions_FR_20250111.csv"},
            on(10, "CN"): {"transactions_CN_20250110.csv"},
        }

    def test_a_file_for_all_countries_is_news_for_each(self, record: Record, lake: Lake) -> None:
        put(lake, shops(10, {"CN": {6: "Beijing"}}, 1))
        events = self.tick(record, lake).asset_events
        assert {e.partition for e in events if e.asset_key.path[-1] == "stores"} == {
            on(10),
            on(10, "CN"),
        }

    def test_a_file_is_announced_once(self, record: Record, lake: Lake) -> None:
        cursor = self.tick(record, lake).cursor
        again = self.tick(record, lake, cursor)
        assert not again.asset_events
        assert "Nothing new: 1 files on their way" in again.skip_message

    def test_a_replaced_file_is_announced_again(self, record: Record, lake: Lake) -> None:
        first = self.tick(record, lake)
        put(lake, sales("FR", 10, [(9, 1, 3)], 2))
        second = self.tick(record, lake, first.cursor)
        (known,), (newer,) = first.asset_events, second.asset_events
        assert known.tags["dagster/data_version"] != newer.tags["dagster/data_version"]

    def test_the_cursor_forgets_what_has_left_the_inbox(self, record: Record, lake: Lake) -> None:
        cursor = self.tick(record, lake).cursor
        lake.delete_many([f"{INBOX}transactions_FR_20250110.csv"])
        put(lake, articles(10, {1: "Masculine"}, 3))
        assert len(SensorMemory.of(self.tick(record, lake, cursor).cursor).seen) == 1

    @pytest.mark.parametrize("cursor", ["", '["81f64a007eb00056"]', "{", '{"seen": 3}'])
    def test_a_cursor_of_another_release_is_a_new_beginning(
        self, record: Record, lake: Lake, cursor: str
    ) -> None:
        assert len(self.tick(record, lake, cursor).asset_events) == 1

    def test_a_refused_file_is_recorded_with_its_reason_and_announces_nothing(
        self, record: Record, lake: Lake
    ) -> None:
        put(lake, broken("store_sales_FR_20250101.csv", 1))
        tick = self.tick(record, lake)
        assert [e.asset_key.path[-1] for e in tick.asset_events] == ["transactions"]
        (refused,) = read_rejections(lake)
        assert refused.name == "store_sales_FR_20250101.csv"
        assert refused.code == "unknown_feed"
        assert "1 refused" in self.tick(record, lake, tick.cursor).skip_message

    def test_a_backlog_becomes_few_runs_in_dependency_order(
        self, record: Record, lake: Lake
    ) -> None:
        for number in range(1, 41):
            for country in COUNTRIES:
                put(lake, sales(country, number, [(number, 1, 2)], 1))
            put(lake, rates(number, 7, 1))
        tick = self.tick(record, lake)
        assert not tick.asset_events
        rated, sold = tick.run_requests
        assert rated.job_name == "daily_global_ingest"
        assert sold.job_name == "daily_country_ingest"
        assert record.covered(rated) == between(1, 40, ALL)
        assert record.covered(sold) == between(1, 40, "CN") | between(1, 40)
        assert {r.tags[ONLY_ARRIVALS_TAG] for r in (rated, sold)} == {ONLY_ARRIVALS}
        assert assets_of(sold) == OF_BATCH_DAYS, "files of one feed only arrived"
        assert assets_of(rated) == {"feeds/fx_rates", "raw/fx_rates", "staging/stg_fx_rates"}

    def test_a_long_gap_separates_runs(self, record: Record, lake: Lake) -> None:
        for start in (1, 48):
            for number in range(start, start + 40):
                put(lake, sales("FR", number, [(number, 1, 2)], 1))
        spans = [record.covered(r) for r in self.tick(record, lake).run_requests]
        assert spans == [between(1, 40), between(48, 87)]

    def test_other_versions_of_the_same_backlog_are_other_runs(
        self, record: Record, lake: Lake
    ) -> None:
        """Dagster never starts two runs under one key."""

        def keys() -> set[str | None]:
            return {r.run_key for r in self.tick(record, lake).run_requests}

        for number in range(1, 71):
            put(lake, sales("FR", number, [(number, 1, 2)], 1))
        first = keys()
        assert keys() == first
        put(lake, sales("FR", 70, [(70, 1, 3)], 2))
        assert len(first) == 1
        assert not keys() & first


class TestNightlySchedule:
    @pytest.mark.parametrize(
        ("name", "minute", "first", "last"),
        [("global", 20, ALL, ALL), ("country", 30, "CN", "FR")],
    )
    def test_the_last_week_is_taken_in_again(
        self, record: Record, name: str, minute: int, first: str, last: str
    ) -> None:
        repository = record.platform.definitions.get_repository_def()
        schedule = repository.get_schedule_def(f"nightly_{name}_catchup_schedule")
        assert schedule.cron_schedule == f"{minute} 5 * * *"
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
        context = dg.build_schedule_context(
            record.instance,
            scheduled_execution_time=datetime(2025, 6, 10, 5, minute, tzinfo=UTC),
            repository_def=repository,
        )
        (request,) = schedule.evaluate_tick(context).run_requests
        assert request.run_key == f"{name}:2025-06-10"
        assert request.tags[RANGE_START_TAG] == str(Partition(first, date(2025, 6, 4)))
        assert request.tags[RANGE_END_TAG] == str(Partition(last, date(2025, 6, 10)))
        assert ONLY_ARRIVALS_TAG not in request.tags, "what was loaded is loaded again"

    def test_global_feeds_and_country_feeds_are_all_there_is(self, record: Record) -> None:
        """What is made of batch days; marts of business days follow by automation."""
        repository = record.platform.definitions.get_repository_def()
        taken_in = {
            key.to_user_string()
            for name in ("global", "country")
            for key in repository.get_job(
                repository.get_schedule_def(f"nightly_{name}_catchup_schedule").job_name
            ).asset_layer.executable_asset_keys
        }
        everything = {key.to_user_string() for key in record.graph.materializable_asset_keys}
        assert everything - taken_in == (
            OF_BUSINESS_DAYS | LOOKING_BACK | OF_OTHER_CHANNELS | {RATES, SPINE}
        )
