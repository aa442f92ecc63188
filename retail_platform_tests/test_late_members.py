"""Articles, shops and suppliers that are told of after something happened to them.

Worked out by hand on few days, in dbt alone. That lineage asks for the days which are built here
one by one is in test_definitions; that reports are right at large is in the tests of reports.
"""

from datetime import date, datetime, time, timedelta
from decimal import Decimal

import yaml

from retail_platform.partitions import LOOKBACK_DAYS
from retail_platform_tests.dbt_warehouse import PROJECT, Row, Warehouse, rate, sale

DAY = date(2025, 1, 31)
"""A Friday that ends a month."""
SEVEN_DAYS_BEFORE, SIX_DAYS_BEFORE, DAY_AFTER = (DAY + timedelta(days=n) for n in (-1, 0, 1))
LIST_DAY = DAY + timedelta(days=6)
REPORTS = (
    "rpt_product_performance rpt_markdown_effect rpt_gmroi rpt_store_performance"
    " rpt_supplier_performance rpt_size_curve rpt_reorder_alerts rpt_price_elasticity"
    " rpt_weather_effect"
)
LISTS = "stg_products dim_product stg_stores dim_store stg_suppliers dim_supplier"

FOUND = {
    "rpt_product_performance": "category, cost_of_goods_sold_eur from {} where product_id = 7",
    "rpt_store_performance": "city, number_of_employees from {}",
    "rpt_size_curve": "category, units_sold_28d from {} where size = 'S'",
    "rpt_gmroi": "category, average_stock_value_28d_eur from {} where category <> 'A'",
    "rpt_supplier_performance": "supplier_id, lead_time_days from {}",
    "rpt_reorder_alerts": "supplier_id, lead_time_days from {}",
    "rpt_price_elasticity": "category, observations from {} where category <> 'A'",
    "rpt_weather_effect": "city, net_sales_local from {}",
}
"""What tells whether a report knew the article, the shop or the supplier."""


def moved(number: int, kind: str, day: date, quantity: int) -> Row:
    return {
        "movement_id": f"m{number}",
        "moved_at": datetime.combine(day, time(9)),
        "movement_type": kind,
        "store_id": 5,
        "product_id": 7,
        "size": "S",
        "quantity": quantity,
        "unit_cost": Decimal(10),
        "currency": "EUR",
        "supplier_id": "SUP-7" if kind == "receipt" else None,
    }


def sold(day: date, product: int, size: str = "S") -> Row:
    invoice = f"INV-FR-005-{day:%m%d}000{product}"
    return sale(invoice, 1, "30.00", f"{day} 12:00", product_id=product, size=size)


def article(product: int, category: str, cost: int) -> Row:
    cost_usd = Decimal(cost)
    return {"product_id": product, "category": category, "sub_category": category.lower(),
            "production_cost": cost_usd}  # fmt: skip


def shop(city: str, employees: int) -> Row:
    return {"store_id": 5, "city": city, "number_of_employees": employees}


def supplier(lead_time: int) -> Row:
    return {"supplier_id": "SUP-7", "lead_time_days": lead_time}


def deliver_facts(warehouse: Warehouse) -> None:
    """Two days of shop 5 and article 7, and what else reports need to say something of them."""
    days = (SEVEN_DAYS_BEFORE, SIX_DAYS_BEFORE)
    warehouse.deliver("fx_rates", "ALL", DAY, [rate(day, "USD", "1.25") for day in days])
    for number, day in enumerate(days):
        warehouse.deliver("transactions", "FR", day, [sold(day, 7), sold(day, 9, "M")])
        warehouse.deliver(
            "inventory_movements",
            "FR",
            day,
            [moved(2 * number, "receipt", day, 6), moved(2 * number + 1, "sale", day, -1)],
        )
    seen = {"temperature_min_c": 1.0, "temperature_max_c": 3.0, "precipitation_mm": 0.0}
    cities = ("Paris", "Lyon")
    warehouse.deliver("transactions", "FR", DAY_AFTER, [sold(DAY_AFTER, 7)])
    weather = [{"city": city, "observed_on": day, **seen} for city in cities for day in days]
    warehouse.deliver("weather", "FR", DAY, weather)


def deliver_lists(warehouse: Warehouse, day: date, category: str, city: str, terms: int) -> None:
    warehouse.deliver("products", "ALL", day, [article(7, category, 10 + terms)])
    warehouse.deliver("stores", "FR", day, [shop(city, terms)])
    warehouse.deliver("suppliers", "ALL", day, [supplier(terms)])


def found_on(warehouse: Warehouse, day: date) -> dict[str, list[tuple[object, ...]]]:
    return {
        report: warehouse.execute(
            "select "
            + select.format(f"(from marts.{report} where business_date = ?)")
            + " order by all",
            [day],
        )
        for report, select in FOUND.items()
    }


def reports(warehouse: Warehouse) -> dict[str, list[tuple[object, ...]]]:
    return {report: warehouse.table(f"marts.{report}") for report in REPORTS.split()}


def rebuild(warehouse: Warehouse) -> None:
    """The lists of one day, and then each day alone that could be concerned, and those after it."""
    warehouse.run(LISTS, first_day=LIST_DAY, last_day=LIST_DAY)
    for day in (SIX_DAYS_BEFORE, SEVEN_DAYS_BEFORE):
        warehouse.run(REPORTS, first_day=day, last_day=day)
    warehouse.run(REPORTS, first_day=DAY_AFTER)


UNKNOWN = {
    "rpt_product_performance": [(None, None)],
    "rpt_store_performance": [(None, None)],
    "rpt_size_curve": [],
    "rpt_gmroi": [],
    "rpt_supplier_performance": [("SUP-7", None)],
    "rpt_reorder_alerts": [("SUP-7", None)],
    "rpt_price_elasticity": [],
    "rpt_weather_effect": [],
}


def test_a_list_counts_for_six_days_before_it_and_only_the_first_one(warehouse: Warehouse) -> None:
    """The list of the 7th day came first: it is too late for the day, until that of the 6th comes,
    and again when that is withdrawn."""
    deliver_facts(warehouse)
    warehouse.deliver("products", "ALL", date(2025, 1, 1), [article(9, "A", 1)])
    deliver_lists(warehouse, LIST_DAY + timedelta(days=1), "C", "Lyon", 9)
    warehouse.run(" ".join(f"+{report}" for report in REPORTS.split()))
    before = reports(warehouse)
    assert found_on(warehouse, SIX_DAYS_BEFORE) == UNKNOWN
    # six days before the list that is now the first one
    assert found_on(warehouse, DAY_AFTER)["rpt_store_performance"] == [("Lyon", 9)]

    deliver_lists(warehouse, LIST_DAY, "B", "Paris", 4)
    rebuild(warehouse)

    assert found_on(warehouse, SIX_DAYS_BEFORE) == {
        # 14 dollars of 0.80 each
        "rpt_product_performance": [("B", Decimal("11.20"))],
        "rpt_store_performance": [("Paris", 4)],
        "rpt_size_curve": [("B", 1)],
        # 10 pieces of 10 on the 31st; what was there on the day before, nobody knew
        "rpt_gmroi": [("B", Decimal("50.00"))],
        "rpt_supplier_performance": [("SUP-7", 4)],
        "rpt_reorder_alerts": [("SUP-7", 4)],
        "rpt_price_elasticity": [("B", 0)],
        "rpt_weather_effect": [("Paris", Decimal("60.00"))],
    }
    assert found_on(warehouse, SEVEN_DAYS_BEFORE) == UNKNOWN
    of_day_after = found_on(warehouse, DAY_AFTER)
    assert of_day_after["rpt_product_performance"] == [("B", Decimal("11.20"))]
    assert of_day_after["rpt_store_performance"] == [("Paris", 4)]
    facts = "business_date, product_id, units_sold, net_sales_eur"
    sales = warehouse.execute(f"select {facts} from marts.rpt_product_performance order by all")
    each = (1, Decimal("30.00"))
    assert sales == [
        *((day, n, *each) for day in (SEVEN_DAYS_BEFORE, SIX_DAYS_BEFORE) for n in (7, 9)),
        (DAY_AFTER, 7, *each),
    ]

    for feed, country in (("products", "ALL"), ("stores", "FR"), ("suppliers", "ALL")):
        warehouse.deliver(feed, country, LIST_DAY, [], version=2)
    rebuild(warehouse)
    assert reports(warehouse) == before


def test_the_days_after_a_promotion_know_articles_that_are_told_of_late(
    warehouse: Warehouse,
) -> None:
    """The last day of the promotion reads the 14th of them, and lists of six days after that."""
    after = DAY + timedelta(days=14)
    promotion = {"starts_on": DAY, "ends_on": DAY, "category": "A", "discount": Decimal("0.1")}
    warehouse.deliver("discounts", "ALL", DAY, [promotion])
    warehouse.deliver("products", "ALL", date(2025, 1, 1), [article(9, "A", 1)])
    warehouse.deliver("products", "ALL", after + timedelta(days=6), [article(8, "A", 1)])
    warehouse.deliver("products", "ALL", after + timedelta(days=7), [article(7, "A", 1)])
    for day, products in ((DAY - timedelta(days=7), (9,)), (DAY, (9,)), (after, (7, 8, 9))):
        lines = [sold(day, product) for product in products]
        warehouse.deliver("transactions", "FR", day, lines)
    warehouse.run("+rpt_markdown_effect")
    warehouse.execute("delete from marts.rpt_markdown_effect")

    warehouse.run("rpt_markdown_effect", first_day=DAY, last_day=DAY)

    assert warehouse.execute(
        "select business_date, baseline_units, promotion_units, after_units"
        " from marts.rpt_markdown_effect"
    ) == [(DAY, 1, 1, 2)]


def test_both_halves_of_the_platform_look_back_equally_far() -> None:
    project = yaml.safe_load((PROJECT / "dbt_project.yml").read_text("utf-8"))
    assert project["vars"]["lookback_days"] == LOOKBACK_DAYS
