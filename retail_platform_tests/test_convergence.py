"""Convergence: whatever the order, split, repetition, lateness or correction of the deliveries, and
whatever failed on the way, every table ends equal, cell by cell, to a rebuild from scratch.

Named histories hold the known hazards and are always played; then come random ones, few by default.
``RETAIL_TEST_HISTORIES=200 pytest retail_platform_tests/test_convergence.py`` plays many.
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from retail_platform.settings import PROJECT_DIR
from retail_platform.transform.dbt_project import DbtProject
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform_tests.histories import (
    COUNTRIES,
    FAULTS,
    FIRST_DAY,
    LAST_DAY,
    Delivery,
    Installation,
    Step,
    Visit,
    actual_raw,
    articles,
    broken,
    checkout_pages,
    competitor_prices,
    contacts,
    day,
    differences,
    empty_tables,
    expected_raw,
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

Play = Callable[..., Path]
FEW = 2
HISTORIES = int(os.environ.get("RETAIL_TEST_HISTORIES", FEW))
KINDS = [
    *("partner", "shops", "members", "articles", "broken", "again", "events", "stock", "orders"),
    *("checkouts", "movements", "purchasing", "contacts", "staff", "partner shops"),
    *("promotions", "competitors", "weather", "refunds"),
]
DAYS = 12


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path, no_data_tests: None) -> Play:
    """Plays a history on a new installation and compares the end with a rebuild from scratch."""
    home, scratch = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("scratch")
    dbt = DbtProject(
        PROJECT_DIR / "dbt_project",
        dbt_work_dir,
        "duckdb",
        {"RETAIL_DUCKDB_PATH": str(scratch / "warehouse.duckdb")},
    )

    def play_it(
        history: list[Step],
        days_to_lose: int = 0,
        filled: Sequence[str] = (),
        last_day: date = LAST_DAY,
    ) -> Path:
        with Installation.new(
            home, dbt_work_dir, lambda s: replace(s, last_day=last_day)
        ) as installation:
            installation.play([*history, Visit()])
            rebuilt = rebuilt_from_scratch(scratch, installation.seen, installation.platform, dbt)
            assert actual_raw(installation.warehouse) == expected_raw(installation.seen)
            assert "\n".join(differences(installation.warehouse, rebuilt)) == ""
            assert "\n".join(installation.unpublished()) == ""
            # Of a table without rows all of this says nothing.
            assert {schema: empty_tables(rebuilt, schema) for schema in filled} == {
                schema: set() for schema in filled
            }
            if days_to_lose:
                installation.rebuild_from_lake(days_to_lose)
                assert "\n".join(differences(installation.warehouse, rebuilt)) == ""
            return rebuilt

    return play_it


def week(minute: float = 0) -> list[Delivery]:
    """Sales of both countries on days 1 to 8; rates on all of them except the weekend 4 and 5."""
    return [
        *(sales(c, n, [(n, k, k) for k in (1, 2, 3)], minute + n)
          for c in COUNTRIES for n in range(1, 9)),
        *(rates(n, 7, minute + n) for n in (1, 2, 3, 6, 7, 8)),
    ]  # fmt: skip


def one_of_each(minute: float) -> list[Delivery]:
    """A file of what marts need beside sales and rates, so that none of them is empty."""
    return [
        shops(3, {"FR": {21: "Lyon"}}, minute),
        members("FR", 3, {1: "Lyon"}, minute),
        staff("FR", 3, {7: "Cashier"}, minute),
        articles(3, {1: "Masculine"}, minute),
        promotions(3, [(2, 3, 40)], minute),
        purchasing(3, {2: 3}, minute),
        movements("FR", 3, [(2, 2, 9), (3, 4, -9)], minute),
        checkout_pages("FR", 3, [(3, 1, 1, 30)], minute),
        competitor_prices("FR", 3, [(3, 1, 40)], minute),
        weather("FR", 3, [(3, "Lyon", 7)], minute),
    ]


LATE_AND_CORRECTED: list[Step] = [
    *week(),
    partner_receipts("FR", 2, [(2, 1, 100), (2, 2, 50)], 3),
    broken("transactions_FR_20250110.csv", 4),
    *one_of_each(3),
    Visit(),
    # Late by 1 and 6 days: inside the lookback. By 7 and 8 days: beyond it.
    sales("FR", 9, [(9, 1, 1), (8, 9, 1), (3, 9, 1), (2, 9, 1), (1, 9, 2)], 20),
    # A correction: one receipt gone, one changed, one moved to the day before.
    sales("CN", 5, [(5, 1, 4), (4, 2, 2)], 21),
    # The same bytes again, and bytes that are known under another name.
    sales("CN", 6, [(6, k, k) for k in (1, 2, 3)], 22),
    sales("FR", 7, [(7, 4, 1), (7, 5, 1), (7, 6, 0)], 23, "_b"),
    sales("FR", 7, [(7, 4, 1), (7, 5, 1), (7, 6, 0)], 24, "_c"),
    # Delivered before the version that is known, seen after it.
    sales("FR", 8, [(8, 1, 9)], 1),
    # A good file in the place of the refused one; it changes a receipt of two days before.
    sales("FR", 10, [(10, 1, 1), (8, 1, 5)], 25),
    # Friday's rate, which is the weekend's too, was wrong.
    rates(3, 8, 26),
    Visit(),
    # Corrections take late receipts away again, inside the lookback and beyond it.
    sales("FR", 9, [(9, 1, 1), (8, 9, 1), (1, 9, 2)], 30),
    # What the other name still holds counts from now on.
    sales("FR", 7, [(7, 4, 3)], 31, "_b"),
    # A rate eight days late.
    rates(10, 9, 32, of=(2, 10)),
    # Known bytes under another name, this time to the end.
    sales("CN", 6, [(6, k, k) for k in (1, 2, 3)], 33, "_b"),
]

REFERENCE_DATA_AND_FAILURES: list[Step] = [
    # No rates yet: CN is blocked, FR is not.
    *(sales(c, n, [(n, 1, 1), (n, 2, 2)], n) for c in COUNTRIES for n in (1, 2, 3)),
    shops(3, {"CN": {6: "Beijing"}, "FR": {21: "Lyon", 22: "Paris"}}, 3),
    members("FR", 5, {1: "Lyon", 2: "Nice"}, 5),
    articles(5, {1: "Children", 2: "Feminine"}, 5),
    checkout_pages("CN", 2, [(2, 1, 1, 0), (2, 2, 1, 60)], 5),
    purchasing(4, {2: 3, 3: 9}, 5),
    movements("CN", 2, [(2, 2, 9), (2, 4, 3), (2, 3, -4)], 5),
    movements("FR", 3, [(2, 2, 5), (3, 3, -7), (3, 4, 0)], 5),
    staff("FR", 5, {7: "Cashier", 8: "Manager"}, 5),
    partner_shops("FR", 5, {1: "Corner", 2: "Kiosk"}, 5),
    promotions(5, [(2, 3, 40), (8, 10, 20)], 5),
    competitor_prices("FR", 3, [(2, 1, 40), (3, 2, 55)], 5),
    weather("FR", 3, [(2, "Lyon", 5), (3, "Lyon", 7)], 5),
    Visit("load ledger", after=3),
    Visit(),
    rates(1, 7, 10, of=(1,)),
    rates(2, 7, 10),
    # Older batches arrive after newer ones.
    members("FR", 2, {1: "Lyon", 2: "Paris", 3: "Brest"}, 11),
    # Contacts of customers who are known later and before; the third is nobody's.
    contacts("FR", 3, [(1, 2, 1), (2, 5, 3), (3, 1, 0)], 11),
    articles(2, {1: "Masculine", 2: "Feminine"}, 11),
    staff("FR", 2, {7: "Trainee"}, 11),
    partner_shops("FR", 2, {1: "Booth"}, 11),
    promotions(2, [(2, 3, 30), (1, 2, 10)], 11),
    # The correction of a file for all countries holds nothing of CN any more.
    shops(3, {"FR": {21: "Nantes"}}, 12),
    # Receipts beyond the lookback in a run that fails after RAW is loaded.
    sales("FR", 10, [(10, 1, 1), (2, 9, 1)], 13),
    # A till repeats an event into the files of later days; what it said last came first.
    till_events("FR", 2, [(2, 1, 5, 1), (2, 2, 1, 1)], 13, "-a"),
    till_events("FR", 10, [(2, 2, 2, 2)], 13, "-b"),
    # An order's newest version comes before an older one, and in a smaller correction not at all.
    order_pages("FR", 6, [(5, 1, 9, 30), (5, 2, 1, 20), (5, 3, 1, 10)], 13),
    order_pages("CN", 6, [(6, 1, 1, 5)], 13),
    # Checkouts that are completed later, one of them on the last day that counts.
    checkout_pages("FR", 6, [(5, 1, 1, 0), (5, 2, 1, 30), (5, 3, 1, 0), (6, 1, 1, 0)], 13),
    checkout_pages("CN", 3, [(2, 1, 2, 61)], 13),
    # A partner's sale, and money paid back for orders that come at the same time.
    partner_receipts("FR", 2, [(2, 1, 100)], 13),
    refund_pages("FR", 7, [(6, 1, 5, 9), (6, 2, 5, 5)], 13),
    # Weather that is later than the lookback, of the city in which the shop turned out to be.
    competitor_prices("FR", 11, [(5, 1, 50)], 13),
    competitor_prices("CN", 3, [(1, 1, 300)], 13),
    weather("FR", 10, [(2, "Nantes", 9), (3, "Nantes", 9), (10, "Nantes", 3)], 13),
    # Stock of all later days: received ten days ago, a day without a rate in between.
    movements("FR", 11, [(1, 2, 3), (11, 3, -1)], 13),
    movements("CN", 12, [(10, 3, -2), (12, 1, -1)], 13),
    # Changes of the 3rd before the full load of the 1st.
    stock_changes("CN", 3, [("D", 1, 30, 5), ("U", 2, 31, 7)], 13),
    Visit("before models"),
    Visit(),
    till_events("FR", 3, [(2, 1, 4, 9), (3, 1, 1, 1)], 20, "-a"),
    order_pages("FR", 7, [(5, 1, 4, 99), (5, 2, 3, 25)], 20),
    order_pages("FR", 6, [(5, 2, 1, 20), (5, 3, 2, 0)], 20),
    # Beyond the lookback, and an older version after a newer one.
    checkout_pages("FR", 12, [(5, 1, 9, 10_080), (6, 1, 9, 61)], 20),
    checkout_pages("FR", 7, [(5, 1, 5, 0), (5, 3, 5, 90)], 20),
    # The sale was never made, and the supplier takes longer since before it was.
    movements("FR", 3, [(2, 2, 1)], 20),
    purchasing(2, {2: 8}, 20),
    stock_changes("CN", 1, [("L", 1, 10, 9), ("L", 2, 10, 9)], 20),
    stock_changes("CN", 2, [("U", 1, 20, 5), ("U", 1, 30, 6)], 20),
    # The third customer was never one of ours, so a contact is nobody's. The first contact takes
    # consent back in a batch before, the third is deleted there: what is known is older.
    members("FR", 2, {1: "Lyon"}, 20),
    contacts("FR", 1, [(1, 3, 1), (3, 4, -1)], 20),
    contacts("FR", 6, [(3, 2, 2)], 20),
    articles(7, {1: "Masculine"}, 20),
    # Corrections with fewer rows, some of them changed.
    staff("FR", 5, {7: "Manager"}, 20),
    partner_shops("FR", 5, {1: "Corner"}, 20),
    promotions(5, [(2, 3, 25)], 20),
    competitor_prices("FR", 3, [(3, 2, 50)], 20),
    weather("FR", 10, [(3, "Nantes", 9), (10, "Nantes", 4)], 20),
    refund_pages("FR", 7, [(6, 1, 5, 8)], 20),
    # What older batches say of the same counts where nothing newer does.
    competitor_prices("FR", 6, [(2, 1, 60), (5, 1, 99)], 20),
    weather("FR", 7, [(2, "Nantes", 1), (3, "Nantes", 1)], 20),
    refund_pages("FR", 6, [(6, 1, 5, 4), (6, 3, 5, 2)], 20),
    sales("CN", 3, [(3, 2, 5)], 20),
    # The last day of the lookback, with no rate or neighbour that rebuilds the day anyway.
    sales("CN", 10, [(4, 9, 1)], 20),
    # One feed's manifests are put when the next feed fails.
    Visit("gate quarantine", after=2),
    # Taken in while the days it touches are built without it.
    Visit(meanwhile=sales("CN", 3, [(1, 5, 9)], 21, "_b")),
    # A price that sales of two days later are compared with. Alone: nothing else builds that day.
    competitor_prices("CN", 2, [(2, 2, 310)], 22),
    Visit(),
    # The correction lacks the row that was deleted; without it the change of the 2nd counts.
    stock_changes("CN", 3, [("U", 2, 31, 8)], 30),
    # One checkout was never begun, and one was completed a minute too late to be in time.
    checkout_pages("FR", 6, [(5, 1, 1, 0), (5, 2, 1, 61)], 30),
    # A key whose older versions are of days that no file of this visit is of.
    staff("FR", 6, {7: "Buyer"}, 30),
    # Built and not published, with nothing coming after it that would publish the same again.
    members("FR", 8, {1: "Metz"}, 22),
    Visit("batch-day publication"),
    sales("FR", 11, [(11, 1, 1)], 23),
    # A day that only late rows build.
    weather("FR", 11, [(3, "Nantes", 8)], 23),
    Visit("business-day publication"),
]


MONTH_AFTER_MONTH: list[Step] = [
    purchasing(31, {2: 3, 3: 9}, 31),
    *(rates(n, 7, n) for n in (31, 40, 56)),
    *(sales(c, n, [(n, k, k) for k in (1, 2, 3)], n) for c in COUNTRIES for n in (31, 56)),
    *(movements(c, n, [(n, 2, 9), (n, 3, 4)], n) for c in COUNTRIES for n in (31, 56)),
    Visit(),
    # The first month: more, on a day before the others that lacks a rate in CN, and less than was
    # known. The first try fails.
    *(sales(c, 33, [(27, 4, 9), (31, 2, 8)], 70) for c in COUNTRIES),
    *(movements(c, 33, [(27, 3, 2), (31, 4, 1)], 70) for c in COUNTRIES),
    sales("CN", 31, [(31, 3, 1)], 70),
    movements("FR", 31, [(31, 3, 1)], 70),
    Visit("before models"),
    Visit(),
    # The second month alone, which goes on from the first: a day between, and the last one.
    *(sales(c, 40, [(40, 1, 2), (40, 4, 1)], 80) for c in COUNTRIES),
    movements("FR", 40, [(40, 2, -3)], 80),
    sales("FR", 59, [(59, 1, 5), (59, 5, 2)], 80),
    movements("CN", 59, [(59, 3, -2)], 80),
]


@pytest.mark.timeout(600)
def test_what_is_carried_from_month_end_to_month_end_ends_like_a_rebuild(play: Play) -> None:
    """Which carries nothing, and adds up all days."""
    # Rates, and reports of weeks and later days, reach beyond the last delivery.
    rebuilt = play(MONTH_AFTER_MONTH, last_day=day(72))
    for table in ("marts.fct_customers_monthly", "intermediate.int_inventory_monthly"):
        closed = DuckDBWarehouse(rebuilt).query(f"select distinct business_date from {table}")
        assert {of for (of,) in closed} == {date(2025, 1, 31), date(2025, 2, 28)}


@pytest.mark.timeout(600)
def test_late_and_corrected_deliveries_end_like_a_rebuild_even_without_the_warehouse(
    play: Play,
) -> None:
    # all of them: a month is closed long after its last delivery
    play(LATE_AND_CORRECTED, (LAST_DAY - FIRST_DAY).days + 1, filled=["marts"])


@pytest.mark.timeout(600)
def test_reference_data_out_of_order_missing_rates_and_failed_runs_end_like_a_rebuild(
    play: Play,
) -> None:
    play(REFERENCE_DATA_AND_FAILURES, filled=["raw", "staging", "intermediate", "marts"])


def random_history(seed: int) -> list[Step]:
    """Deliveries of all kinds on few days, so that they meet, with visits in between.

    Drawn from a seed: what Hypothesis would build and shrink itself begins with dozens of histories
    in which nothing happens, and each takes seconds to play.
    """
    chance = random.Random(seed)
    batch_days = chance.sample(range(1, DAYS + 1), 5)

    def lines() -> list[tuple[int, int, int]]:
        """(business day, number, amount): mostly in time, some late, some beyond the lookback."""
        return [
            (max(1, batch - chance.choice([0, 0, 1, 3, 6, 7, 9])), chance.randint(1, 3), amount)
            for amount in chance.choices(range(4), k=chance.randint(0, 4))
        ]

    def known() -> dict[int, str]:
        return {n: chance.choice(["Lyon", "Nice"]) for n in range(1, 4) if chance.random() < 0.7}

    steps: list[Step] = []
    delivered: list[Delivery] = []
    visits = 0
    for number in range(chance.randint(8, 16)):
        batch, country = chance.choice(batch_days), chance.choice(COUNTRIES)
        # One in six is seen later than it was delivered, after versions that are newer.
        minute = number if chance.random() < 5 / 6 else -number
        match chance.choice(["sales"] * 6 + ["rates"] * 2 + KINDS):
            case "sales":
                step = sales(country, batch, lines(), minute, chance.choice(["", "", "_b"]))
            case "rates":
                late = chance.choice([0, 0, 1, 6, 8])
                step = rates(batch, chance.randint(6, 9), minute, of=[max(1, batch - late)])
            case "partner":
                step = partner_receipts(country, batch, lines(), minute)
            case "shops":
                present = [c for c in COUNTRIES if chance.random() < 0.7]
                # The first one is where everything is sold.
                cities = {c: {20 + n: city for n, city in known().items()} for c in present}
                step = shops(batch, cities, minute)
            case "members":
                step = members(country, batch, known(), minute)
            case "contacts":
                told = {
                    (n, chance.randint(0, 9)): chance.randint(-1, 3)
                    for n in chance.choices(range(1, 4), k=chance.randint(0, 4))
                }
                step = contacts(country, batch, [(*k, m) for k, m in told.items()], minute)
            case "articles":
                step = articles(batch, known(), minute)
            case "events":
                told = [(sold, n, chance.randint(0, 9), n) for sold, n, _ in lines()]
                if not told:
                    continue
                step = till_events(country, batch, told, minute, f"-{number}")
            case "orders":
                changed = [(sold, n, chance.randint(0, 9), total) for sold, n, total in lines()]
                step = order_pages(country, batch, changed, minute, chance.choice(["", "_2"]))
            case "checkouts":
                after = (0, 30, 60, 61, 10_080, 10_081)
                begun = [(sold, n, chance.randint(0, 9), chance.choice(after))
                         for sold, n, _ in lines()]  # fmt: skip
                step = checkout_pages(country, batch, begun, minute, chance.choice(["", "_2"]))
            case "movements":
                told = [(sold, n, n * chance.choice([-2, -1, 0, 1, 2])) for sold, n, _ in lines()]
                step = movements(country, batch, told, minute, chance.choice(["", "_b"]))
            case "purchasing":
                step = purchasing(batch, {n: chance.randint(1, 20) for n in (2, 3)}, minute)
            case "stock":
                ops = "L" if chance.random() < 0.3 else "IUUD"
                log = {
                    (chance.choice(ops), chance.randint(1, 2), chance.randint(0, 9)): n
                    for n in range(chance.randint(1, 4))
                }
                step = stock_changes(country, batch, [(*k, n) for k, n in log.items()], minute)
            case "staff":
                step = staff(country, batch, {6 + n: of for n, of in known().items()}, minute)
            case "partner shops":
                step = partner_shops(country, batch, known(), minute)
            case "promotions":
                windows = {(n, n + chance.randint(0, 2)) for n, _, _ in lines()}
                step = promotions(
                    batch, [(*w, chance.randint(1, 3)) for w in sorted(windows)], minute
                )
            case "competitors":
                seen = {(sold, n): price for sold, n, price in lines()}
                step = competitor_prices(
                    country, batch, [(*k, 40 + price) for k, price in seen.items()], minute
                )
            case "weather":
                felt = {(seen, ("Lyon", "Nice")[n % 2]): n for seen, n, _ in lines()}
                step = weather(country, batch, [(*k, n) for k, n in felt.items()], minute)
            case "refunds":
                paid = {(back, n): amount for back, n, amount in lines()}
                step = refund_pages(
                    country, batch, [(*k, max(1, k[0] - 3), a) for k, a in paid.items()], minute
                )
            case "broken":
                step = broken(f"transactions_{country}_{day(batch):%Y%m%d}.csv", minute)
            case "again" if delivered:
                original = chance.choice(delivered)
                name = chance.choice([original.name, original.name.replace(".csv", "_c.csv")])
                step = replace(original, name=name, minute=minute)
            case _:
                continue
        steps.append(step)
        delivered.append(step)
        if visits < 3 and chance.random() < 0.3:
            visits += 1
            failing = Visit(chance.choice(FAULTS), chance.randint(0, 3))
            # Only sales are sure to start a run over business days, in which another arrives.
            overtaken = Visit(meanwhile=sales(country, batch, lines(), minute, "_m"))
            if step.feed == "transactions" and step.rows is not None and chance.random() < 0.3:
                steps.append(overtaken)
            else:
                steps.append(failing if chance.random() < 0.5 else Visit())
    return steps


@pytest.mark.timeout(36_000)
@settings(
    max_examples=HISTORIES,
    derandomize=HISTORIES == FEW,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
def test_any_history_ends_like_a_rebuild(play: Play, seed: int) -> None:
    play(random_history(seed))
