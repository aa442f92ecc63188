"""Whether alerts foresaw stock-outs and what suppliers delivered, against oracles.

Written from the definitions and read from what was delivered: movements told late and corrected,
days without an exchange rate, terms that change. Only which alerts stood is taken from
rpt_reorder_alerts, which has an oracle of its own (test_dbt_models).
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from dbt.contracts.graph.manifest import Manifest

from retail_platform_tests.dbt_warehouse import Row, Warehouse, outcomes, rate, share

Table = list[tuple[Any, ...]]
Item = tuple[int, int, str | None]

FIRST, DAYS = date(2024, 3, 1), 300
COUNTRIES = {"FR": "EUR", "US": "USD"}
RECENT, BOTH = 90, 180
HORIZON, SILENCE = 60, 7
QUIET = range(150, 165)
"""Nobody reports anything of these days."""
WITHOUT_RATE = range(90, 110)
"""Six of them have the rate of the day before."""
WITHOUT_SUP_3 = range(110, 230)
"""More than the 90 days of a window."""
TERMS = [
    (0, {"SUP-1": 4, "SUP-2": 75}),
    (40, {"SUP-1": 9, "SUP-2": 75, "SUP-3": 2}),
    (200, {"SUP-1": 2, "SUP-2": 30, "SUP-3": 12}),
]
"""Lead times by supplier, from a day on."""
REPORTS = ("rpt_reorder_alert_quality", "rpt_supplier_performance")


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


# ---------------------------------------------------------------------------------- deliveries


def deliver(warehouse: Warehouse, seed: int) -> list[Row]:
    """A history in RAW; the movements that count in it, the newest version of each."""
    rng = random.Random(seed)
    rated = [n for n in range(DAYS) if n not in WITHOUT_RATE]
    warehouse.deliver("fx_rates", "ALL", FIRST, [rate(day(n), "USD", "1.25") for n in rated])
    for number, agreed in TERMS:
        suppliers = [{"supplier_id": s, "lead_time_days": n} for s, n in agreed.items()]
        warehouse.deliver("suppliers", "ALL", day(number), suppliers)
    newest: dict[tuple[str, date, str], Row] = {}
    for batch in sorted(rng.sample(range(DAYS), 220)):
        if batch in QUIET:
            continue
        for country in COUNTRIES:
            ids = rng.sample(range(8), rng.randint(0, 7))
            told = [movement(country, batch, number, rng) for number in ids]
            warehouse.deliver("inventory_movements", country, day(batch), told)
            for row in told:
                newest[country, row["moved_at"].date(), row["movement_id"]] = row
    return [
        {"country": country, "day": moved, **row} for (country, moved, _), row in newest.items()
    ]


def movement(country: str, batch: int, movement_id: int, rng: random.Random) -> Row:
    """Mostly of the day; late ones, and those that replace one told before."""
    number = max(0, batch - rng.choice((0, 0, 0, 0, 1, 6, 35)))
    moved = day(number - 20 if number in QUIET else number)
    # each of them is delivered by suppliers of its own, mostly
    store, product = rng.choice((21, 21, 22)), rng.choice((1, 1, 2))
    kind = rng.choice(("receipt", "sale", "sale", "sale", "count"))
    supplier = {(22, 2): "SUP-2", (22, 1): "SUP-3"}.get((store, product), "SUP-1")
    if supplier == "SUP-3" and number in WITHOUT_SUP_3:
        supplier = "SUP-1"
    return {
        "movement_id": f"m{movement_id}",
        "moved_at": datetime.combine(moved, time(rng.randint(8, 19))),
        "movement_type": kind,
        "store_id": store,
        "product_id": product,
        "size": rng.choice((None, "M")),
        "quantity": {
            "receipt": rng.randint(1, 6),
            "sale": -rng.randint(1, 3),
            "count": rng.choice((-1, 1)),
        }[kind],
        "unit_cost": Decimal(rng.randint(0, 4000)) / 100,
        "currency": COUNTRIES[country],
        "supplier_id": rng.choice((supplier, supplier, supplier, None))
        if kind == "receipt"
        else None,
    }


def is_rated(country: str, of: date) -> bool:
    """Whether there is a rate, at most six days old."""
    number = (of - FIRST).days
    return country == "FR" or number not in WITHOUT_RATE[6:]


# -------------------------------------------------------------------------------------- oracle


def stock_levels(moved: list[Row]) -> dict[tuple[str, Item], dict[date, tuple[int, int]]]:
    """Per item the days on which it moved: pieces at the beginning and at the end of each."""
    changes: dict[tuple[str, Item], dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for m in moved:
        item = (m["store_id"], m["product_id"], m["size"])
        changes[m["country"], item][m["day"]] += m["quantity"]
    levels = {}
    for key, by_day in changes.items():
        on_hand = 0
        levels[key] = {}
        for of in sorted(by_day):
            levels[key][of] = (on_hand, on_hand + by_day[of])
            on_hand += by_day[of]
    return levels


def expected_quality(moved: list[Row], alerts: Table) -> Table:
    """Alert by alert: wait and see; stock-out by stock-out: look who had warned."""
    known = sorted({(m["country"], m["day"]) for m in moved if is_rated(m["country"], m["day"])})
    stood: dict[tuple[str, Item], list[tuple[date, date]]] = defaultdict(list)
    for country, of, store, product, size, on_hand, lead_time, is_alert in alerts:
        if is_alert and on_hand > 0:
            last = of + timedelta(days=min(lead_time, HORIZON))
            stood[country, (store, product, size)].append((of, last))
    levels = stock_levels(moved)
    found: Table = []
    for country, today in known:
        right, ends = [], []
        outs = []
        for (where, item), days in levels.items():
            if where != country:
                continue
            of_item = {d: level for d, level in days.items() if is_rated(country, d)}
            for of, last in stood[country, item]:
                if of == today:
                    ends.append(last)
                    right.append(any(of < d <= last and n <= 0 for d, (_, n) in of_item.items()))
            if today in of_item and of_item[today][0] > 0 >= of_item[today][1]:
                outs.append(any(of < today <= last for of, last in stood[country, item]))
        until = today + timedelta(days=HORIZON + SILENCE)
        closed = not ends or any(c == country and max(ends) <= d <= until for c, d in known)
        found.append(
            (country, today, len(ends), max(ends, default=None), closed,
             sum(right) if closed else None, share(sum(right), len(ends)) if closed else None,
             len(outs), sum(outs), share(sum(outs), len(outs)))
        )  # fmt: skip
    return found


def expected_suppliers(moved: list[Row]) -> Table:
    found: Table = []
    for country, today in sorted({(m["country"], m["day"]) for m in moved}):
        for supplier in ("SUP-1", "SUP-2", "SUP-3"):
            received = [
                m for m in moved
                if (m["country"], m["supplier_id"]) == (country, supplier)
                and 0 <= (today - m["day"]).days < BOTH
            ]  # fmt: skip
            if not received:
                continue
            now = [m for m in received if (today - m["day"]).days < RECENT]
            before = [m for m in received if (today - m["day"]).days >= RECENT]
            last = max(m["day"] for m in received)
            price, price_before = per_piece(now), per_piece(before)
            change = None
            if price is not None and price_before:
                change = rounded((price - price_before) / price_before)
            found.append(
                (country, today, supplier, len(now), len({m["day"] for m in now}), pieces(now),
                 last, (today - last).days, COUNTRIES[country], cost(now), price, price_before,
                 change, lead_time(supplier, today))
            )  # fmt: skip
    return found


def lead_time(supplier: str, today: date) -> int | None:
    """That of the last list up to the day; the first one with a supplier counts six days before."""
    lists = [(day(n), agreed[supplier]) for n, agreed in TERMS if supplier in agreed]
    known = [agreed for came, agreed in lists if came <= today]
    if not known and today >= lists[0][0] - timedelta(days=6):
        return lists[0][1]
    return known[-1] if known else None


def pieces(of: list[Row]) -> int:
    return sum(m["quantity"] for m in of)


def cost(of: list[Row]) -> Decimal:
    return sum((m["quantity"] * m["unit_cost"] for m in of), Decimal("0.00"))


def per_piece(of: list[Row]) -> Decimal | None:
    return rounded(cost(of) / pieces(of)) if of else None


def rounded(number: Decimal) -> Decimal:
    return number.quantize(Decimal("0.0001"), ROUND_HALF_UP)


# --------------------------------------------------------------------------------------- tests


@dataclass(frozen=True)
class History:
    """What was delivered to a warehouse and is built there."""

    warehouse: Warehouse
    moved: list[Row]

    def table(self, mart: str) -> Table:
        return self.warehouse.execute(f"select * from marts.{mart} order by all")


@pytest.fixture(scope="module", params=(1, 2))
def history(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, manifest: Manifest
) -> Iterator[History]:
    warehouse = Warehouse(tmp_path_factory.mktemp("history"), manifest)
    warehouse.create_raw()
    moved = deliver(warehouse, request.param)
    warehouse.run(" ".join(f"+{report}" for report in REPORTS))
    yield History(warehouse, moved)
    warehouse.close()


def test_a_history_holds_what_could_go_wrong(history: History) -> None:
    """Else the comparisons below would prove little."""
    quality = history.table("rpt_reorder_alert_quality")
    assert {row[4] for row in quality} == {True, False}
    assert any(row[5] and row[5] < row[2] for row in quality), "right and wrong alerts"
    assert sum(row[7] for row in quality) > sum(row[8] for row in quality) > 10
    waits = {(row[3] - row[1]).days for row in quality if row[3]}
    assert {2, 4, 9, 60} <= waits
    suppliers = history.table("rpt_supplier_performance")
    assert any(row[3] == 0 for row in suppliers), "a supplier who delivers no more"
    assert any(row[12] is None for row in suppliers)
    assert {row[12] < 0 for row in suppliers if row[12] is not None} == {True, False}
    assert {row[13] for row in suppliers} == {None, 2, 4, 9, 12, 30, 75}
    before = {(row[1], row[13]) for row in suppliers if row[2] == "SUP-3" and row[1] < day(40)}
    assert {(day(33), None), (day(34), 2)} <= before, "six days before the list, and seven"


def test_alerts_are_judged_as_defined(history: History) -> None:
    alerts = history.warehouse.execute(
        "select country, business_date, store_id, product_id, size, on_hand_units, lead_time_days,"
        " is_alert from marts.rpt_reorder_alerts"
    )
    expected = expected_quality(history.moved, alerts)
    assert history.table("rpt_reorder_alert_quality") == expected


def test_suppliers_are_measured_as_defined(history: History) -> None:
    assert history.table("rpt_supplier_performance") == expected_suppliers(history.moved)


def test_data_tests_pass(history: History) -> None:
    select = " ".join(f"{report},test_type:data" for report in REPORTS)
    status = outcomes(history.warehouse.dbt("test", "--select", select))
    assert len(status) == 8
    assert {name for name, s in status.items() if s != "pass"} == set()


def test_a_slice_is_the_same_when_it_is_built_alone(history: History) -> None:
    """What it needs of other days is read from where it is declared, and nowhere else."""
    reports = (*REPORTS, "rpt_reorder_alerts", "fct_inventory_daily")
    before = {report: history.table(report) for report in reports}
    # the last one ends six days before the first list with SUP-3
    slices = (("FR", 120, 120), ("US", 185, 190), ("FR", 240, 299), ("FR", 30, 34))
    for country, first, last in slices:
        history.warehouse.run(
            " ".join(reports), countries=country, first_day=day(first), last_day=day(last)
        )
        assert {report: history.table(report) for report in reports} == before


def test_what_moved_before_is_carried_and_read_where_it_is_not(history: History) -> None:
    warehouse, monthly = history.warehouse, "intermediate.int_inventory_monthly"
    built = ("fct_inventory_daily", "rpt_reorder_alerts")
    before = {mart: history.table(mart) for mart in built}
    carried, today = date(2024, 5, 31), day(120)
    warehouse.execute(f"create table kept as from {monthly}")
    try:
        warehouse.execute(
            f"update {monthly} set closing_units = closing_units + 1000, supplier_id = 'SUP-9'"
            " where country = 'FR' and business_date = ?",
            [carried],
        )
        warehouse.execute(
            f"delete from {monthly} where country = 'US' and business_date = ?", [carried]
        )
        warehouse.run(" ".join(built), countries="FR,US", first_day=today, last_day=today)
        stock = warehouse.execute(
            "select country, store_id, product_id, size, closing_units from"
            " marts.fct_inventory_daily where business_date = ?",
            [today],
        )
        known = warehouse.execute("select distinct store_id, product_id, size from kept where"
                                  " country = 'FR' and business_date = ?", [carried])  # fmt: skip
        assert known
        assert {row[1:4] for row in stock if row[0] == "FR" and row[4] > 900} == {*known}
        suppliers = warehouse.execute(
            "select distinct supplier_id from marts.rpt_reorder_alerts"
            " where country = 'FR' and business_date = ?",
            [today],
        )
        assert ("SUP-9",) in suppliers
        for mart, rows in before.items():
            of_us = [row for row in rows if row[0] == "US"]
            assert [row for row in history.table(mart) if row[0] == "US"] == of_us
    finally:
        warehouse.execute(f"delete from {monthly}")
        warehouse.execute(f"insert into {monthly} from kept")
        warehouse.execute("drop table kept")
        warehouse.run(" ".join(built), countries="FR,US", first_day=today, last_day=today)
    assert {mart: history.table(mart) for mart in built} == before


def test_a_day_closes_when_its_country_reports_again(history: History) -> None:
    """Open until then, as it was when nothing later was known."""
    warehouse = history.warehouse
    report = "rpt_reorder_alert_quality"
    complete = history.table(report)
    (country, of, closes_on) = next(
        (row[0], row[1], row[3]) for row in complete if row[4] and row[2] and row[5] != 0
    )
    warehouse.execute("create table kept as from marts.fct_inventory_daily")
    try:
        warehouse.execute(
            "delete from marts.fct_inventory_daily where country = ? and business_date >= ?",
            [country, closes_on],
        )
        warehouse.run(report, countries=country, first_day=of, last_day=of)
        (row,) = [r for r in history.table(report) if r[:2] == (country, of)]
        assert row[4:7] == (False, None, None)
        warehouse.execute("delete from marts.fct_inventory_daily")
        warehouse.execute("insert into marts.fct_inventory_daily from kept")
        warehouse.run(report, countries=country, first_day=of, last_day=of)
        assert history.table(report) == complete
    finally:
        warehouse.execute("drop table kept")
