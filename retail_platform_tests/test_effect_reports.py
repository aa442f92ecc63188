"""Reports that measure effects, against oracles written from their definitions.

A history of months is delivered with everything that files bring: versions that replace each other,
late rows, returns, days without trade or rate, lists that come late. The oracles never look at the
SQL, nor at anything built.
"""

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from dbt.contracts.graph.manifest import Manifest

from retail_platform_tests.dbt_warehouse import (
    BASIS_POINT,
    CENT,
    Row,
    Warehouse,
    outcomes,
    rate,
    sale,
)

Table = list[tuple[Any, ...]]

FIRST, DAYS = date(2024, 11, 4), 150
"""A Monday."""
COUNTRIES = ("FR", "US")
DAYS_WITHOUT_RATE = range(100, 112)
"""The first six of them have the rate of the day before."""
REPORTS = "rpt_competitor_prices rpt_markdown_effect rpt_price_elasticity rpt_weather_effect"
Z = 1.96


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


# ---------------------------------------------------------------------------------- deliveries


@dataclass(frozen=True)
class Sold:
    """A line that counts."""

    country: str
    day: date
    store: int
    product: int
    units: int
    net: Decimal


@dataclass(frozen=True)
class Promotion:
    """Days are counted from the first; a rate came on each day of `known`."""

    first: int
    last: int
    category: str | None
    sub_category: str | None
    known: tuple[tuple[int, str], ...]

    def covers(self, group: tuple[str | None, str | None]) -> bool:
        return self.category in (None, group[0]) and self.sub_category in (None, group[1])


PROMOTIONS = (
    Promotion(40, 46, "A", "a", ((0, "0.2"), (50, "0.3"), (61, "0.4"))),
    Promotion(44, 50, "A", None, ((0, "0.1"),)),
    Promotion(60, 60, None, None, ((10, "0.5"),)),
    Promotion(68, 75, "B", "c", ((76, "0.3"), (90, "0.2"))),
    Promotion(76, 80, "A", "b", ((94, "0.3"),)),  # known on the last of the days after
    Promotion(82, 86, "A", "b", ((101, "0.3"),)),  # a day later
    Promotion(36, 77, "B", "d", ((0, "0.2"),)),  # 42 days
    Promotion(90, 132, "B", "d", ((0, "0.2"),)),  # 43 days
    Promotion(95, 105, None, None, ((20, "0.3"),)),
    Promotion(140, 146, "B", None, ((20, "0.3"),)),  # its days after are not over
    Promotion(3, 6, None, None, ((0, "0.3"),)),  # little before it
    Promotion(120, 123, "C", None, ((0, "0.3"),)),  # hardly sold
)
GROUPS = {1: ("A", "a"), 2: ("A", "a"), 3: ("A", "b"), 4: ("B", "c"), 5: ("B", "d"), 6: ("C", "e")}
MOVED = {3: ("B", "c"), 7: ("A", "b")}
"""Groups of articles from day 70 on; no list knew the seventh before, so they count from day 64."""
PRICES = {1: 20, 2: 35, 3: 50, 4: 12, 5: 80, 6: 100, 7: 15}


CITIES = {("FR", 1): "Paris", ("FR", 2): "Lyon", ("FR", 3): "Lyon",
          ("US", 1): "Boston", ("US", 2): None, ("US", 3): None}  # fmt: skip
REMOVALS = {("FR", 3): "Paris"}
"""Cities of shops from day 75 on."""
WEATHER_CITIES = {"FR": ("Paris", "Lyon", "Nice"), "US": ("Boston",)}


LATE_SHOPS = {("US", 2): "Boston"}
"""Shops that no list knew before day 75, so they count from day 69."""


def city_of(country: str, store: int, sold: date) -> str | None:
    cities = CITIES | (REMOVALS if sold >= day(75) else {})
    return (cities | (LATE_SHOPS if sold >= day(75 - 6) else {}))[country, store]


def group_of(product: int, sold: date) -> tuple[str | None, str | None]:
    known_at = 70 if product in GROUPS else 70 - 6
    groups = GROUPS | (MOVED if sold >= day(known_at) else {})
    return groups.get(product, (None, None))


def deliver_reference(warehouse: Warehouse) -> None:
    rated = [n for n in range(DAYS) if n not in DAYS_WITHOUT_RATE]
    warehouse.deliver("fx_rates", "ALL", FIRST, [rate(day(n), "USD", "1.25") for n in rated])
    for batch, groups in ((0, GROUPS), (70, MOVED)):
        rows = [
            {"product_id": product, "category": category, "sub_category": sub_category}
            for product, (category, sub_category) in groups.items()
        ]
        warehouse.deliver("products", "ALL", day(batch), rows)
    for batch, cities in ((0, CITIES), (75, REMOVALS | LATE_SHOPS)):
        for country in COUNTRIES:
            rows = [
                {"store_id": store, "city": city}
                for (where, store), city in cities.items()
                if where == country and (batch or (where, store) not in LATE_SHOPS)
            ]
            warehouse.deliver("stores", country, day(batch), rows)
    lists: dict[int, list[Row]] = defaultdict(list)
    for promotion in PROMOTIONS:
        for batch, discount in promotion.known:
            lists[batch].append(
                {"starts_on": day(promotion.first), "ends_on": day(promotion.last),
                 "category": promotion.category, "sub_category": promotion.sub_category,
                 "discount": Decimal(discount), "description": f"{promotion.first}"}
            )  # fmt: skip
    for batch, rows in lists.items():
        warehouse.deliver("discounts", "ALL", day(batch), rows)


def deliver_sales(warehouse: Warehouse, rng: random.Random) -> list[Sold]:
    """Sale lines that count: the newest version of each, of days with all rates."""
    newest: dict[tuple[str, date, str, int], Row] = {}
    for batch in range(0, DAYS, 2):
        for country in COUNTRIES:
            lines = [line(country, batch, rng) for _ in range(rng.randint(10, 22))]
            warehouse.deliver("transactions", country, day(batch), lines)
            for row in lines:
                newest[country, row["sold_at"].date(), row["invoice_id"], row["line"]] = row
    unrated = {day(n) for n in DAYS_WITHOUT_RATE[6:]}
    return [
        Sold(country, sold, row["store_id"], row["product_id"], row["quantity"], row["line_total"])
        for (country, sold, _, _), row in newest.items()
        if row["transaction_type"] == "Sale" and not (country == "US" and sold in unrated)
    ]


def line(country: str, batch: int, rng: random.Random) -> Row:
    """Mostly any line of receipts of the day; late ones replace lines of days before."""
    sold = max(0, batch - rng.choice((0, 0, 0, 1, 1, 1, 1, 5, 30)))
    if country == "FR" and sold % 7 == 6:  # closed on Sundays
        sold -= 1
    product = rng.choices(range(1, 8), (5, 4, 5, 5, 4, 0.2, 3))[0]
    on = [p for p in PROMOTIONS if p.first <= sold <= p.last]
    reduced = any(p.covers(group_of(product, day(sold))) for p in on)
    kind = rng.choice(("INV", "INV", "INV", "INV", "RET"))
    number = rng.randint(1, 9)
    return sale(
        f"{kind}-{country}-00{number % 3 + 1}-{sold:05}{number}",
        rng.randint(1, 3),
        str(PRICES[product] + (product != 4) * rng.choice((0, 0, 0, Decimal("1.50")))),
        f"{day(sold)} 12:00",
        product_id=product,
        quantity=rng.randint(1, 3) + (rng.randint(0, 4) if reduced else 0),
        # the fourth has one price, whatever is announced
        discount="0.3" if reduced and product != 4 else "0",
    )


def deliver_competitor_prices(
    warehouse: Warehouse, rng: random.Random
) -> dict[tuple[str, date, str, int], Row]:
    """Prices that count, by country, day, competitor and article."""
    newest: dict[tuple[str, date, str, int], Row] = {}
    for batch in range(0, DAYS, 4):
        for country in COUNTRIES:
            seen = {}
            for _ in range(rng.randint(0, 12)):
                observed = day(max(0, batch - rng.choice((0, 0, 0, 1, 3, 9))))
                competitor, product = rng.choice(("Nord", "Sud")), rng.randint(1, 8)
                seen[competitor, product, observed] = {
                    "competitor": competitor, "product_id": product, "observed_on": observed,
                    "price": Decimal(rng.choice((0, 999, 1234, 2000, 5001))) / 100,
                    # GBP has no rate
                    "currency": rng.choice(("EUR", "USD", "EUR", "USD", "GBP")),
                    "is_promotion": rng.choice((True, False, None)),
                    "in_stock": rng.choice((True, False, None)),
                }  # fmt: skip
            warehouse.deliver("competitor_prices", country, day(batch), list(seen.values()))
            for (competitor, product, observed), row in seen.items():
                newest[country, observed, competitor, product] = row
    return newest


Weather = tuple[Decimal | None, Decimal | None]
"""Mean temperature and precipitation."""


def deliver_weather(
    warehouse: Warehouse, rng: random.Random
) -> dict[tuple[str, str, date], Weather]:
    """Weather that counts, by country, city and day."""
    newest: dict[tuple[str, str, date], Weather] = {}
    for batch in range(0, DAYS, 6):
        for country, cities in WEATHER_CITIES.items():
            seen: dict[tuple[str, date], Row] = {}
            for city, age in ((city, age) for city in cities for age in (*range(6), 9)):
                # there is none of Lyon in between
                if rng.random() < 0.05 or (city == "Lyon" and 30 <= batch < 62):
                    continue
                observed = day(max(0, batch - age))
                coldest = Decimal(rng.randint(-90, 150)) / 10
                warmest = coldest + Decimal(rng.randint(0, 120)) / 10
                known, wet = rng.random() < 0.9, rng.random() < 0.9
                fallen = (
                    rng.choice((Decimal(0), Decimal(rng.randint(1, 300)) / 10)) if wet else None
                )
                seen[city, observed] = {
                    "city": city, "observed_on": observed, "precipitation_mm": fallen,
                    "temperature_min_c": coldest, "temperature_max_c": warmest if known else None,
                }  # fmt: skip
                mean = (coldest + warmest) / 2 if known else None
                newest[country, city, observed] = (mean, fallen)
            warehouse.deliver("weather", country, day(batch), list(seen.values()))
    return newest


# ------------------------------------------------------------------------------------- oracles


def rounded(value: Fraction | float, to: Decimal = BASIS_POINT) -> Decimal:
    """Away from zero at a tie."""
    exact = Fraction(value)
    return (Decimal(exact.numerator) / exact.denominator).quantize(to, ROUND_HALF_UP)


def ordered(rows: Iterable[tuple[Any, ...]]) -> Table:
    return sorted(rows, key=lambda row: row[:4])


def expected_indices(
    sold: list[Sold], prices: dict[tuple[str, date, str, int], Row]
) -> Iterator[tuple[Any, ...]]:
    days: dict[tuple[str, date, int], list[Sold]] = defaultdict(list)
    for one in sold:
        days[one.country, one.day, one.product].append(one)
    rated = {day(n) for n in range(DAYS) if n not in DAYS_WITHOUT_RATE[6:]}
    for (country, on, product), lines in days.items():
        units, net = sum(one.units for one in lines), sum(one.net for one in lines)
        ours = "EUR" if country == "FR" else "USD"
        for competitor in ("Nord", "Sud"):
            ages = range(7)
            seen = [(country, on - timedelta(days=age), competitor, product) for age in ages]
            latest = next((key for key in seen if key in prices), None)
            if latest is None:
                continue
            theirs = prices[latest]
            euros = {"EUR": Fraction(1), "USD": Fraction(4, 5) if on in rated else None}
            worth = euros.get(theirs["currency"])
            if theirs["currency"] == ours:
                price = theirs["price"]
            elif worth is None:
                price = None
            else:
                price = rounded(Fraction(theirs["price"]) * worth / (euros[ours] or 0), CENT)
            index = rounded(Fraction(net) / (units * Fraction(price))) if price else None
            yield (
                country, on, product, competitor, latest[1], theirs["currency"],
                theirs["is_promotion"] or False, theirs["in_stock"], ours, units, net,
                rounded(Fraction(net) / units, CENT), price, index,
            )  # fmt: skip


def expected_lifts(sold: list[Sold]) -> Iterator[tuple[Any, ...]]:
    for promotion in PROMOTIONS:
        known = [discount for n, discount in promotion.known if n <= promotion.last + 14]
        if known and promotion.last - promotion.first < 42:
            for country in COUNTRIES:
                of_country = [one for one in sold if one.country == country]
                yield from lift(promotion, known[-1], country, of_country)


def lift(
    promotion: Promotion, discount: str, country: str, sold: list[Sold]
) -> Iterator[tuple[Any, ...]]:
    before = range(promotion.first - 28, promotion.first)
    during = range(promotion.first, promotion.last + 1)
    after = range(promotion.last + 1, promotion.last + 15)
    traded = {one.day for one in sold}
    units: dict[tuple[Any, date], int] = defaultdict(int)
    for one in sold:
        units[group_of(one.product, one.day), one.day] += one.units
    groups = {
        group
        for group, on in units
        if promotion.covers(group) and day(before[0]) <= on <= day(after[-1])
    }
    if not groups:
        return
    others = [
        other
        for other in PROMOTIONS
        if other is not promotion and other.known[0][0] <= promotion.last + 14
    ]

    def disturbed(group: tuple[str | None, str | None], n: int) -> bool:
        return any(o.first <= n <= o.last and o.covers(group) for o in others)

    overlapping = {
        (o.first, o.last, o.category)
        for o in others
        for n in during
        for group in groups
        if o.first <= n <= o.last and o.covers(group) and day(n) in traded
    }
    seen = {"before": 0, "during": 0, "after": 0}
    expected = {"during": Fraction(0), "after": Fraction(0)}
    compared: dict[str, set[int]] = {"before": set(), "during": set(), "after": set()}
    for group in groups:
        for weekday in range(7):

            def clean(span: range, group: Any = group, weekday: int = weekday) -> list[int]:
                return [
                    n
                    for n in span
                    if day(n) in traded
                    and n % 7 == weekday
                    and (span is during or not disturbed(group, n))
                ]

            base = clean(before)
            if not base:
                continue
            of_base = sum(units[group, day(n)] for n in base)
            if clean(during):
                seen["before"] += of_base
                compared["before"] |= set(base)
            for name, span in (("during", clean(during)), ("after", clean(after))):
                compared[name] |= set(span)
                seen[name] += sum(units[group, day(n)] for n in span)
                expected[name] += Fraction(of_base, len(base)) * len(span)
    why = None
    if len(compared["before"]) < 3:
        why = "baseline days below 3"
    elif seen["before"] < 10:
        why = "baseline units below 10"
    elif seen["during"] < 10:
        why = "promotion units below 10"
    figures: tuple[Any, ...] = (None, None, None, None)
    change = None
    if why is None:
        ratio = seen["during"] / expected["during"]
        half = Z * math.sqrt(1 / seen["during"] + 1 / seen["before"])
        figures = (
            rounded(seen["during"] - expected["during"], CENT),
            rounded(ratio - 1),
            *(rounded(math.exp(math.log(ratio) + side * half) - 1) for side in (-1, 1)),
        )
        if expected["after"]:
            change = rounded(seen["after"] / expected["after"] - 1)
    yield (
        country, day(promotion.last), day(promotion.first), promotion.category,
        promotion.sub_category, str(promotion.first), Decimal(discount), len(overlapping),
        len(compared["before"]), seen["before"], len(compared["during"]), seen["during"],
        rounded(expected["during"], CENT), *figures, why, len(compared["after"]), seen["after"],
        rounded(expected["after"], CENT), change,
    )  # fmt: skip


def expected_elasticities(sold: list[Sold]) -> Iterator[tuple[Any, ...]]:
    """By regression on the price and one dummy variable for each article and weekday."""
    pieces: dict[tuple[str, date, int], int] = defaultdict(int)
    charged: dict[tuple[str, date, int], Decimal] = defaultdict(Decimal)
    for one in sold:
        pieces[one.country, one.day, one.product] += one.units
        charged[one.country, one.day, one.product] += one.net
    months = {(one.country, one.day.year, one.day.month) for one in sold}
    for country, year, month in months:
        closing = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
        groups: dict[Any, dict[Any, list[tuple[float, float]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for (where, on, product), units in pieces.items():
            group = group_of(product, on)
            if where == country and 0 <= (closing - on).days < 84 and group[0]:
                price = math.log(charged[where, on, product] / units)
                groups[group][product, on.weekday()].append((price, math.log(units)))
        for group, cells in groups.items():
            several = {cell: points for cell, points in cells.items() if len(points) > 1}
            yield (
                country, closing, *group, "EUR" if country == "FR" else "USD",
                len({product for product, _ in several}), *regression(list(several.values())),
            )  # fmt: skip


def regression(cells: list[list[tuple[float, float]]]) -> tuple[Any, ...]:
    points = [(number, *point) for number, cell in enumerate(cells) for point in cell]
    n, nothing = len(points), (None, None, None, None)
    if not n:
        return (0, Decimal(0), *nothing, "observations below 30")
    number, price, units = (np.array(column) for column in zip(*points, strict=True))
    dummies = (number[:, None] == np.arange(len(cells))).astype(float)
    left = price - dummies @ np.linalg.lstsq(dummies, price)[0]
    deviation = rounded(math.sqrt(left @ left / (n - len(cells))))
    if n < 30:
        return (n, deviation, *nothing, "observations below 30")
    if deviation < Decimal("0.02"):
        return (n, deviation, *nothing, "price deviation below 0.02")
    x = np.column_stack([price, dummies])
    slope = np.linalg.lstsq(x, units)[0]
    errors = units - x @ slope
    variance = errors @ errors / (n - x.shape[1])
    error = math.sqrt(variance * np.linalg.inv(x.T @ x)[0, 0])
    ends = (rounded(slope[0] + side * Z * error) for side in (-1, 1))
    return (n, deviation, rounded(slope[0]), rounded(error), *ends, None)


def expected_weather_effects(
    sold: list[Sold], weather: dict[tuple[str, str, date], Weather]
) -> Iterator[tuple[Any, ...]]:
    sales: dict[tuple[str, str], dict[date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for one in sold:
        city = city_of(one.country, one.store, one.day)
        if city:
            sales[one.country, city][one.day] += one.net
    for (country, city), by_day in sales.items():
        lines: dict[date, tuple[Any, ...]] = {}
        for on, amount in sorted(by_day.items()):
            if (country, city, on) not in weather:
                continue
            weekdays = [on - timedelta(days=7 * weeks) for weeks in (1, 2, 3, 4)]
            usual = [by_day[before] for before in weekdays if before in by_day]
            average = rounded(Fraction(sum(usual)) / len(usual), CENT) if usual else None
            change = None
            if average and len(usual) >= 3:
                change = rounded(Fraction(amount - average) / Fraction(average))
            figures = []
            for which in (0, 1):
                now = weather[country, city, on][which]
                month = [on - timedelta(days=n) for n in range(1, 29)]
                known = [weather[country, city, d][which] for d in month
                         if (country, city, d) in weather]  # fmt: skip
                before = [value for value in known if value is not None]
                anomaly = None
                if now is not None and len(before) >= 14:
                    anomaly = now - rounded(Fraction(sum(before)) / len(before))
                figures += [now, anomaly]
            lines[on] = (amount, len(usual), average, change, *figures)
            correlations = []
            for column in (5, 7):
                window = [line for past, line in lines.items() if (on - past).days < 84]
                pairs = [(line[3], line[column]) for line in window
                         if line[3] is not None and line[column] is not None]  # fmt: skip
                together = None
                if len(pairs) >= 30:
                    together = rounded(np.corrcoef(np.array(pairs, dtype=float).T)[0, 1])
                correlations += [len(pairs), together]
            currency = "EUR" if country == "FR" else "USD"
            yield (country, on, city, currency, *lines[on], *correlations)


# --------------------------------------------------------------------------------------- tests


@dataclass(frozen=True)
class History:
    """What was delivered to a warehouse and is built there."""

    warehouse: Warehouse
    sold: list[Sold]
    competitor_prices: dict[tuple[str, date, str, int], Row]
    weather: dict[tuple[str, str, date], Weather]

    def table(self, report: str, columns: str = "*") -> Table:
        return ordered(self.warehouse.execute(f"select {columns} from marts.{report}"))

    def reports(self) -> dict[str, Table]:
        return {report: self.warehouse.table(f"marts.{report}") for report in REPORTS.split()}


@pytest.fixture(scope="module", params=(1, 2))
def history(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, manifest: Manifest
) -> Iterator[History]:
    rng = random.Random(request.param)
    warehouse = Warehouse(tmp_path_factory.mktemp("effects"), manifest)
    warehouse.create_raw()
    deliver_reference(warehouse)
    sold = deliver_sales(warehouse, rng)
    prices = deliver_competitor_prices(warehouse, rng)
    weather = deliver_weather(warehouse, rng)
    warehouse.run(" ".join(f"+{report}" for report in REPORTS.split()))
    yield History(warehouse, sold, prices, weather)
    warehouse.close()


def test_price_index_is_our_price_over_theirs(history: History) -> None:
    found = history.table("rpt_competitor_prices")
    assert found == ordered(expected_indices(history.sold, history.competitor_prices))
    pairs = {(row[8], row[5], row[12] is None) for row in found}
    assert pairs >= {("EUR", "USD", False), ("USD", "EUR", False), ("EUR", "EUR", False)}
    assert {("EUR", "USD", True), ("EUR", "GBP", True)} <= pairs, "days and currencies without rate"
    assert {(row[1] - row[4]).days for row in found} == set(range(7))
    assert any(row[12] == 0 and row[13] is None for row in found)


def test_lift_is_what_was_sold_over_what_was_to_be_expected(history: History) -> None:
    found = history.table("rpt_markdown_effect", "* exclude (promotion_id)")
    assert found == sorted(expected_lifts(history.sold), key=lambda row: row[:3])
    assert {row[17] for row in found} >= {None, "baseline days below 3", "promotion units below 10"}
    assert {row[7] for row in found} >= {0, 1}
    assert {row[5] for row in found} >= {"36", "76"}
    assert not {row[5] for row in found} & {"82", "90"}
    assert sum(row[15] is not None and row[15] > 0 for row in found) > 5, "intervals above zero"


def test_elasticity_is_the_slope_that_a_regression_finds(history: History) -> None:
    found = history.table("rpt_price_elasticity")
    assert found == ordered(expected_elasticities(history.sold))
    assert {row[12] for row in found} == {
        None,
        "observations below 30",
        "price deviation below 0.02",
    }
    assert len({row[1] for row in found}) == 6
    assert sum(row[8] is not None and row[8] != 0 for row in found) > 10


def test_weather_is_beside_what_was_sold_in_it(history: History) -> None:
    found = history.table("rpt_weather_effect")
    assert found == ordered(expected_weather_effects(history.sold, history.weather))
    assert {row[2] for row in found} == {"Paris", "Lyon", "Boston"}
    assert {row[5] for row in found} == {0, 1, 2, 3, 4}
    for column in (7, 8, 9, 10, 11):
        assert {row[column] is None for row in found} == {True, False}
    for days, correlation in ((12, 13), (14, 15)):
        assert {29, 30} <= {row[days] for row in found}
        assert {row[correlation] is None for row in found if row[days] >= 30} == {False}


def test_what_is_promised_of_the_reports_holds(history: History) -> None:
    tests = " ".join(f"{name},test_type:data" for name in REPORTS.split())
    status = outcomes(history.warehouse.dbt("test", "--select", tests))
    warned = {"rpt_competitor_prices__competitor_price_local__has_a_rate"}
    assert len(status) > 7
    assert {name for name, s in status.items() if s != "pass"} == warned


def test_slices_in_any_order_are_the_whole(history: History) -> None:
    """What a day needs of other days is read from where it is declared, and nowhere else."""
    before = history.reports()
    for report in before:
        history.warehouse.execute(f"delete from marts.{report}")
    # at the end of the longest promotion, of one that came late, and of January
    cuts = [0, 77, 81, 88, DAYS + 30]
    windows = [(country, *window) for country in COUNTRIES for window in pairwise(cuts)]
    for country, start, end in random.Random(3).sample(windows, len(windows)):
        history.warehouse.run(
            REPORTS, countries=country, first_day=day(start), last_day=day(end - 1)
        )
    assert history.reports() == before
