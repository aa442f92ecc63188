"""How articles, shops, channels and sizes do, compared with the definitions, exactly.

The inputs of the reports are made up with what they really hold: returns without their sale, lines
without a price, articles that change their category or come late, shops that open, days without a
dollar rate. The oracle never looks at the SQL.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from dbt.contracts.graph.manifest import Manifest

from retail_platform_tests.dbt_warehouse import CENT, Warehouse, outcomes, share

Table = list[tuple[Any, ...]]

FIRST, DAYS = date(2025, 1, 1), 75
CURRENCIES = {"FR": ("EUR", "EUR", "USD"), "US": ("USD", "USD", "GBP")}
"""Of shops, web shop and partners."""
DAYS_WITHOUT_USD = range(41, 44)
UNKNOWN_ARTICLE, LATE_ARTICLE = 9, 8
LATE_LIST, LATE_SHOPS = 30, 55
"""Days of the first lists with an article and with shops that sold weeks before: six days after the
end of a part that is built alone below."""
MODELS = (
    "rpt_daily_sales rpt_top_stores rpt_product_performance rpt_store_performance"
    " rpt_channel_performance rpt_size_curve rpt_gmroi"
)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


# ------------------------------------------------------------------------------------ made-up data


@dataclass(frozen=True)
class Line:
    """What the reports read of a line of fct_sales."""

    country: str
    business_date: date
    channel: str
    invoice_id: str
    line: int
    transaction_type: str
    product_id: int | None
    store_key: str | None
    employee_id: int | None
    size: str | None
    quantity: int
    signed_quantity: int
    gross_amount_local: Decimal
    discount_amount_local: Decimal
    net_amount_local: Decimal
    currency_code: str
    gross_amount_eur: Decimal
    net_amount_eur: Decimal

    @property
    def is_sale(self) -> bool:
        return self.transaction_type == "Sale"


@dataclass(frozen=True)
class Version:
    """What was so for some time, and counts from a day that may be earlier."""

    valid_from: date
    valid_to: date | None
    applies_from: date

    def is_valid(self, at: date) -> bool:
        return self.applies_from <= at and (self.valid_to is None or at < self.valid_to)


@dataclass(frozen=True)
class Article(Version):
    """A version of dim_product."""

    product_id: int
    category: str
    sub_category: str
    production_cost_usd: Decimal


@dataclass(frozen=True)
class Shop(Version):
    """A version of dim_store."""

    country: str
    channel: str
    store_key: str
    store_name: str
    city: str | None
    number_of_employees: int | None


@dataclass(frozen=True)
class Stock:
    """What rpt_gmroi reads of a row of fct_inventory_daily."""

    country: str
    business_date: date
    product_id: int
    closing_value_eur: Decimal


@dataclass(frozen=True)
class World:
    """All that the reports are made of."""

    lines: list[Line]
    articles: list[Article]
    shops: list[Shop]
    stock: list[Stock]
    rates: dict[tuple[date, str], Decimal]

    def article(self, product: int | None, at: date) -> Article | None:
        """What an article was on a day."""
        versions = (v for v in self.articles if v.product_id == product)
        return next((v for v in versions if v.is_valid(at)), None)

    def shop(self, country: str, channel: str, store: str, at: date) -> Shop | None:
        """What a shop was on a day."""
        key = (country, channel, store)
        versions = (v for v in self.shops if (v.country, v.channel, v.store_key) == key)
        return next((v for v in versions if v.is_valid(at)), None)


def made_up(rng: random.Random) -> World:
    rates = {
        (day(n), currency): (Decimal(rng.randint(7_000_000_000, 12_000_000_000)).scaleb(-10))
        for n in range(DAYS)
        for currency in ("USD", "GBP")
        if currency == "GBP" or n not in DAYS_WITHOUT_USD
    }
    lines = [
        line
        for n in range(DAYS)
        for country in CURRENCIES
        if n % 9 and (country == "FR" or n not in DAYS_WITHOUT_USD)
        for receipt in range(rng.randint(2, 9))
        for line in receipt_of(country, n, receipt, rates, rng)
    ]
    return World(lines, list(articles(rng)), list(shops(rng)), list(stock(rng)), rates)


def receipt_of(
    country: str, n: int, number: int, rates: Mapping[tuple[date, str], Decimal], rng: random.Random
) -> Iterator[Line]:
    """Some lines of one receipt, all sold or all taken back, often without their sale."""
    channel = rng.choice(("store", "store", "store", "online", "partner"))
    currency = CURRENCIES[country][("store", "online", "partner").index(channel)]
    if (day(n), currency) not in rates and currency != "EUR":
        return
    # own shops and those of partners have the same keys, and their receipts the same numbers
    store = {
        "store": str(rng.randint(1, 3 if n > 31 else 2)),
        "online": None,
        "partner": rng.choice(("1", "2")),
    }[channel]
    is_sale = rng.random() < 0.75
    worth = rates.get((day(n), currency), Decimal(1))
    for position in range(1, rng.randint(1, 4) + 1):
        product = None if channel == "partner" else rng.randint(1, 9)
        if channel == "online" and rng.random() < 0.1:
            product = None
        quantity = rng.randint(1, 4)
        price = rng.choice((Decimal(0), *(Decimal(rng.randint(100, 9_999)).scaleb(-2),) * 6))
        gross = price * quantity * (1 if is_sale else -1)
        off = rng.choice((Decimal(0), Decimal(0), Decimal("0.2"), Decimal("0.333"), Decimal(1)))
        net = (gross * (1 - off)).quantize(CENT, ROUND_HALF_UP)
        yield Line(
            country, day(n), channel, f"{number}", position,
            "Sale" if is_sale else "Return",
            product, store,
            rng.choice((1, 2, 3, None)) if channel == "store" else None,
            rng.choice(("S", "M", "M", "L", None)) if product else None,
            quantity, quantity if is_sale else -quantity,
            gross, gross - net, net, currency, euros(gross, worth), euros(net, worth),
        )  # fmt: skip


def articles(rng: random.Random) -> Iterator[Article]:
    """Some change on a few days, in cost or in category; one came late and one never."""
    for product in range(1, UNKNOWN_ARTICLE):
        begun = LATE_LIST if product == LATE_ARTICLE else 0
        for spell in spells(begun, product % 4, rng):
            category = rng.choice(("Feminine", "Masculine", "Children"))
            group = f"{category} {rng.choice((1, 2))}"
            cost = Decimal(rng.randint(0, 3_000)).scaleb(-2)
            yield Article(*spell, product, category, group, cost)


def shops(rng: random.Random) -> Iterator[Shop]:
    """The third own shop is known weeks after it opened; one partner's second shop never."""
    for country in CURRENCIES:
        for store in ("1", "2", "3"):
            for spell in spells(LATE_SHOPS if store == "3" else 0, 2, rng):
                staff = rng.choice((None, 0, 1, 3, 7))
                yield Shop(*spell, country, "store", store, "S", rng.choice("ab"), staff)
        for spell in spells(0, 1, rng):
            yield Shop(*spell, country, "partner", "1", rng.choice("PQ"), None, None)


def stock(rng: random.Random) -> Iterator[Stock]:
    """On some days, of some articles in one size or two, sometimes less than none."""
    for country in CURRENCIES:
        for n in rng.sample(range(DAYS), DAYS * 2 // 3):
            for product in rng.choices(range(1, UNKNOWN_ARTICLE + 1), k=rng.randint(1, 6)):
                value = Decimal(rng.randint(-15_000, 20_000)).scaleb(-2)
                yield Stock(country, day(n), product, value)


def spells(
    begun: int, changes: int, rng: random.Random
) -> Iterator[tuple[date, date | None, date]]:
    """From a day on, one after the other, the last one open; the first counts six days earlier."""
    starts = [begun, *sorted(rng.sample(range(begun + 1, DAYS), changes))]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        counts = day(start - 6 if start == begun else start)
        yield day(start), None if end is None else day(end), counts


def euros(amount: Decimal, rate: Decimal) -> Decimal:
    return (amount * rate).quantize(CENT, ROUND_HALF_UP)


def put(warehouse: Warehouse, table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """An input of the reports, with the columns that they read."""
    schema = table.split(".")[0]
    warehouse.execute(f"create schema if not exists {schema}")
    warehouse.execute(f"create or replace table {table} ({columns})")
    lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
    file = warehouse.folder / "rows.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    warehouse.execute(f"copy {table} from '{file}' (header false)")


def put_lines(warehouse: Warehouse, world: World) -> None:
    kinds = {"business_date": "date", "product_id": "bigint", "employee_id": "bigint"}
    kinds |= dict.fromkeys(("line", "quantity", "signed_quantity"), "integer")
    kinds |= {f.name: "decimal(18, 2)" for f in fields(Line) if "_amount_" in f.name}
    columns = ", ".join(f"{f.name} {kinds.get(f.name, 'varchar')}" for f in fields(Line))
    put(warehouse, "marts.fct_sales", columns, map(astuple, world.lines))


def put_versions(warehouse: Warehouse, world: World) -> None:
    put(
        warehouse,
        "marts.dim_product",
        "country varchar, valid_from date, valid_to date, applies_from date, product_id bigint,"
        " category varchar, sub_category varchar, production_cost_usd decimal(18, 2)",
        (("ALL", *astuple(article)) for article in world.articles),
    )
    put(
        warehouse,
        "marts.dim_store",
        "valid_from date, valid_to date, applies_from date, country varchar, channel varchar,"
        " store_key varchar, store_name varchar, city varchar, number_of_employees integer",
        map(astuple, world.shops),
    )


def put_stock(warehouse: Warehouse, world: World) -> None:
    put(
        warehouse,
        "marts.fct_inventory_daily",
        "country varchar, business_date date, product_id bigint, closing_value_eur decimal(18, 2)",
        map(astuple, world.stock),
    )


def put_rates(warehouse: Warehouse, world: World) -> None:
    put(
        warehouse,
        "intermediate.int_fx_rates",
        "country varchar, business_date date, currency_code varchar, eur_rate decimal(18, 10)",
        (("ALL", *key, rate) for key, rate in world.rates.items()),
    )


# ------------------------------------------------------------------------------------------ oracle


def total(values: Iterable[Decimal]) -> Decimal:
    return sum(values, Decimal("0.00"))


def per(amount: Decimal, count: int | None) -> Decimal | None:
    """To the cent, away from zero at a tie; of nothing there is none."""
    return (amount / count).quantize(CENT, ROUND_HALF_UP) if count else None


def grouped(lines: Iterable[Line], key: Callable[[Line], Any]) -> Mapping[Any, list[Line]]:
    groups = defaultdict(list)
    for line in lines:
        groups[key(line)].append(line)
    return groups


def expected_products(world: World) -> Table:
    found: Table = []
    groups = grouped(
        world.lines, lambda line: (line.country, line.business_date, line.channel, line.product_id)
    )
    for (country, at, channel, product), lines in groups.items():
        sold = [line for line in lines if line.is_sale]
        back = [line for line in lines if not line.is_sale]
        units_sold = sum(line.quantity for line in sold)
        units_back = sum(line.quantity for line in back)
        gross = total(line.gross_amount_eur for line in sold)
        bought = total(line.net_amount_eur for line in sold)
        returned = -total(line.net_amount_eur for line in back)
        net = bought - returned
        article, rate = world.article(product, at), world.rates.get((at, "USD"))
        cost = margin = margin_rate = None
        if article and rate:
            cost = euros(article.production_cost_usd * (units_sold - units_back), rate)
            margin = net - cost
            margin_rate = share(margin, net)
        found.append(
            (country, at, channel, product,
             article.category if article else None, article.sub_category if article else None,
             units_sold, units_back, gross, gross - bought, returned, net,
             cost, margin, margin_rate)
        )  # fmt: skip
    return found


def expected_stores(world: World) -> Table:
    found: Table = []
    for (country, at), of_day in grouped(
        world.lines, lambda line: (line.country, line.business_date)
    ).items():
        of_shops = grouped(
            (line for line in of_day if line.store_key),
            lambda line: (line.channel, line.store_key),
        )
        net = {
            shop: total(line.net_amount_eur for line in lines) for shop, lines in of_shops.items()
        }
        best_first = sorted(of_shops, key=lambda shop: (-net[shop], shop))
        country_net = total(line.net_amount_eur for line in of_day)
        for rank, shop in enumerate(best_first, start=1):
            sold = [line for line in of_shops[shop] if line.is_sale]
            back = [line for line in of_shops[shop] if not line.is_sale]
            receipts = len({line.invoice_id for line in sold})
            units = sum(line.quantity for line in sold)
            sales = total(line.net_amount_eur for line in sold)
            returns = -total(line.net_amount_eur for line in back)
            known = world.shop(country, *shop, at)
            staff = known.number_of_employees if known else None
            sellers = {line.employee_id for line in sold} - {None}
            found.append(
                (country, at, *shop,
                 known.store_name if known else None, known.city if known else None,
                 receipts, len({line.invoice_id for line in back}),
                 units, sum(line.quantity for line in back), sales, returns, net[shop],
                 per(sales, receipts), share(units, receipts), per(sales, units),
                 share(returns, sales), staff, len(sellers), per(net[shop], staff),
                 share(net[shop], country_net), rank)
            )  # fmt: skip
    return found


def expected_best_stores(world: World) -> Table:
    return [
        (country, at, rank, channel, store, receipts, units, net)
        for country, at, channel, store, _, _, receipts, _, units, _, _, _, net, *_, rank
        in expected_stores(world)
        if rank <= 5
    ]  # fmt: skip


def expected_days(world: World) -> Table:
    found: Table = []
    for key, lines in grouped(
        world.lines,
        lambda line: (line.country, line.business_date, line.channel, line.currency_code),
    ).items():
        sold = [line for line in lines if line.is_sale]
        back = [line for line in lines if not line.is_sale]
        net: dict[str, Decimal] = defaultdict(Decimal)
        for line in lines:
            if line.store_key:
                net[line.store_key] += line.net_amount_eur
        euros_of_all = total(line.net_amount_eur for line in lines)
        found.append(
            (*key, len(net), len({line.invoice_id for line in sold}),
             len({line.invoice_id for line in back}),
             sum(line.quantity for line in sold), sum(line.quantity for line in back),
             total(line.gross_amount_local for line in sold),
             total(line.discount_amount_local for line in sold),
             -total(line.net_amount_local for line in back),
             total(line.net_amount_local for line in lines), euros_of_all,
             per(euros_of_all, len(net)), min(net, key=lambda s: (-net[s], s), default=None))
        )  # fmt: skip
    return found


def expected_channels(world: World) -> Table:
    found: Table = []
    country_net: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    for line in world.lines:
        country_net[line.country, line.business_date] += line.net_amount_eur
    for key, lines in grouped(
        world.lines,
        lambda line: (line.country, line.business_date, line.channel, line.currency_code),
    ).items():
        sold = [line for line in lines if line.is_sale]
        back = [line for line in lines if not line.is_sale]
        receipts = len({line.invoice_id for line in sold})
        units = sum(line.quantity for line in sold)
        gross = total(line.gross_amount_local for line in sold)
        sales = total(line.net_amount_local for line in sold)
        returns = -total(line.net_amount_local for line in back)
        net = total(line.net_amount_eur for line in lines)
        found.append(
            (*key, receipts, units, sum(line.quantity for line in back),
             gross, gross - sales, sales, returns, sales - returns, net,
             per(sales, receipts), share(units, receipts), per(sales, units),
             share(gross - sales, gross), share(returns, sales), share(net, country_net[key[:2]]))
        )  # fmt: skip
    return found


def window(last: date) -> list[date]:
    """28 days up to one."""
    return [last - timedelta(days=n) for n in range(28)]


def expected_sizes(world: World) -> Table:
    sold: dict[tuple[str, date], dict[tuple[str, str, str], int]] = {}
    for line in world.lines:
        of_day = sold.setdefault((line.country, line.business_date), defaultdict(int))
        article = world.article(line.product_id, line.business_date)
        if line.is_sale and line.size and article:
            of_day[article.category, article.sub_category, line.size] += line.quantity
    found: Table = []
    for country, last in sold:
        sizes: dict[tuple[str, str, str], int] = defaultdict(int)
        groups: dict[tuple[str, str], int] = defaultdict(int)
        for at in window(last):
            for (category, group, size), units in sold.get((country, at), {}).items():
                sizes[category, group, size] += units
                groups[category, group] += units
        for (category, group, size), units in sizes.items():
            of_all = groups[category, group]
            found.append(
                (country, last, category, group, size, units, of_all, share(units, of_all))
            )
    return found


def expected_gmroi(world: World) -> Table:
    margins: dict[tuple[str, date, str], list[Decimal | None]] = defaultdict(list)
    values: dict[tuple[str, date, str], Decimal] = defaultdict(Decimal)
    for country, at, channel, _, category, *_, margin, _ in expected_products(world):
        if channel == "store" and category:
            margins[country, at, category].append(margin)
    known = {(row.country, row.business_date) for row in world.stock}
    for row in world.stock:
        article = world.article(row.product_id, row.business_date)
        if article:
            values[row.country, row.business_date, article.category] += row.closing_value_eur
    found: Table = []
    for country, last in known:
        days = window(last)
        stock_days = sum((country, at) in known for at in days)
        for category in ("Feminine", "Masculine", "Children"):
            keys = [(country, at, category) for at in days]
            if not any(key in margins or key in values for key in keys):
                continue
            earned = [margin for key in keys for margin in margins.get(key, [])]
            average = per(total(values.get(key, Decimal()) for key in keys), stock_days)
            assert average is not None
            if None in earned:
                found.append((country, last, category, None, average, None))
                continue
            margin = total(amount for amount in earned if amount is not None)
            gmroi = share(margin * 365, average * 28)
            found.append((country, last, category, margin, average, gmroi))
    return found


# ------------------------------------------------------------------------------------------- tests


@dataclass(frozen=True)
class Reports:
    """What is built of a world."""

    warehouse: Warehouse
    world: World

    def table(self, report: str) -> Table:
        return in_order(self.warehouse.execute(f"select * from marts.{report}"))


def in_order(table: Table) -> Table:
    return sorted(table, key=repr)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> Iterator[Reports]:
    warehouse = Warehouse(tmp_path_factory.mktemp("reports"), manifest)
    world = made_up(random.Random(1))
    put_lines(warehouse, world)
    put_versions(warehouse, world)
    put_stock(warehouse, world)
    put_rates(warehouse, world)
    warehouse.run(MODELS)
    yield Reports(warehouse, world)
    warehouse.close()


def test_articles_are_as_defined(reports: Reports) -> None:
    found = reports.table("rpt_product_performance")
    assert found == in_order(expected_products(reports.world))
    late = [row for row in found if row[3] == LATE_ARTICLE]
    assert {row[4] is None for row in late} == {True, False}
    assert any(row[4] for row in late if row[1] == day(LATE_LIST - 6)), "six days before its list"
    assert any(row[1] == day(LATE_LIST - 7) for row in late), "seven"
    assert {row[2] for row in found if row[3] is None} == {"online", "partner"}
    known = [row for row in found if row[4] is not None]
    assert any(row[12] is None for row in known), "a day without a dollar rate"
    assert any(row[12] is not None and row[12] < 0 for row in known), "more came back than went"
    assert {row[14] is None for row in known if row[13] is not None} == {True, False}


def test_shops_are_as_defined(reports: Reports) -> None:
    found = reports.table("rpt_store_performance")
    assert found == in_order(expected_stores(reports.world))
    late = [row for row in found if row[2:4] == ("store", "3")]
    assert {row[4] is None for row in late} == {True, False}
    assert any(row[4] for row in late if row[1] == day(LATE_SHOPS - 6)), "six days before its list"
    assert any(row[1] == day(LATE_SHOPS - 7) for row in late), "seven"
    assert {row[17] for row in found} == {None, 0, 1, 3, 7}
    assert any(row[6] == 0 for row in found), "a shop that took back only"
    assert any(row[20] is None for row in found), "a country that took back more than it sold"


def test_the_best_shops_are_as_defined(reports: Reports) -> None:
    found = reports.table("rpt_top_stores")
    assert found == in_order(expected_best_stores(reports.world))
    assert {row[2] for row in found} == {1, 2, 3, 4, 5}


def test_days_are_as_defined(reports: Reports) -> None:
    found = reports.table("rpt_daily_sales")
    assert found == in_order(expected_days(reports.world))
    assert {row[4] for row in found if row[2] == "online"} == {0}
    assert {row[15] for row in found} == {None, "1", "2", "3"}
    assert any(row[5] == 0 for row in found), "a channel that took back only"


def test_channels_are_as_defined(reports: Reports) -> None:
    found = reports.table("rpt_channel_performance")
    assert found == in_order(expected_channels(reports.world))
    assert len({row[2:4] for row in found}) == 6, "partners have a currency of their own"
    assert any(row[4] == 0 for row in found), "a channel that took back only"
    assert any(row[18] is None for row in found), "a country that took back more than it sold"


def test_sizes_are_as_defined(reports: Reports) -> None:
    found = reports.table("rpt_size_curve")
    assert found == in_order(expected_sizes(reports.world))
    assert {row[4] for row in found} == {"S", "M", "L"}
    assert len({row[3] for row in found if row[1] == day(DAYS - 1)}) > 4


def test_what_stock_earns_is_as_defined(reports: Reports) -> None:
    found = reports.table("rpt_gmroi")
    assert found == in_order(expected_gmroi(reports.world))
    assert {row[3] is None for row in found} == {True, False}, "days without a dollar rate"
    assert any(row[4] < 0 for row in found), "stock below none"
    assert any(row[5] is not None and row[5] < 0 for row in found), "sold below cost"


def test_data_tests_pass(reports: Reports) -> None:
    select = " ".join(f"{model},test_type:generic" for model in MODELS.split())
    status = outcomes(reports.warehouse.dbt("test", "--select", select))
    assert {name for name, s in status.items() if s != "pass"} == {
        "rpt_product_performance__cost_of_goods_sold_eur__of_all_known_articles"
    }


def test_hand_worked_examples(reports: Reports) -> None:
    select = " ".join(f"{model},test_type:unit" for model in MODELS.split())
    status = outcomes(reports.warehouse.dbt("test", "--select", select))
    assert len(status) >= 2 * len(MODELS.split())
    assert set(status.values()) == {"pass"}


def test_days_built_alone_in_any_order_are_those_of_a_full_build(reports: Reports) -> None:
    """What a day needs of other days is read from where it is declared, and nowhere else."""
    full = {model: reports.table(model) for model in MODELS.split()}
    rng = random.Random(1)
    parts = [(country, first) for country in CURRENCIES for first in range(0, DAYS, 25)]
    for country, first in rng.sample(parts, len(parts)):
        reports.warehouse.run(
            MODELS, countries=country, first_day=day(first), last_day=day(first + 24)
        )
    assert {model: reports.table(model) for model in full} == full
