"""Reports over the sales of more than a day, compared with their definitions, exactly."""

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from dbt.contracts.graph.manifest import Manifest

from retail_platform_tests.dbt_warehouse import CENT, Row, Warehouse, outcomes, share

FIRST, LAST = date(2017, 1, 15), date(2018, 4, 28)
"""The retail year 2017 has 53 weeks; the last one ends on 3 February 2018."""


def sales_of_a_year_and_more(rng: random.Random) -> list[Row]:
    """Shops that open and close, sales on some of their days, and returns of some of them."""
    rows: list[Row] = []
    for country, currency, rate in (("FR", "EUR", Decimal(1)), ("US", "USD", Decimal("0.8"))):
        for shop in ("1", "2", "3", "4", None):
            channel = "store" if shop else "online"
            opened = FIRST + timedelta(days=rng.choice((0, 0, 10, 21, 200)))
            closed = LAST - timedelta(days=rng.choice((0, 0, 0, 30)))
            day = opened
            while day <= closed:
                amount = Decimal(rng.randint(100, 9_999)) / 100
                # the dollar is worth more from 2018 on
                worth = rate + (Decimal("0.1") if rate < 1 and day.year == 2018 else 0)
                sold = {
                    "country": country, "business_date": day, "channel": channel,
                    "currency_code": currency, "store_key": shop, "line": 1,
                    "invoice_id": f"{shop}/{day}", "sale_invoice_id": None,
                    "transaction_type": "Sale", "quantity": rng.randint(1, 3),
                    "net_amount_local": amount, "net_amount_eur": (amount * worth).quantize(CENT),
                }  # fmt: skip
                rows.append(sold)
                if rng.random() < 0.4:
                    back = day + timedelta(days=rng.choice((0, 1, 30, 59, 60, 61)))
                    rows.append(
                        sold | {
                            "business_date": back, "invoice_id": f"R/{shop}/{day}",
                            "sale_invoice_id": rng.choice((sold["invoice_id"], None)),
                            "transaction_type": "Return", "quantity": 1,
                            "net_amount_local": -amount, "net_amount_eur": -sold["net_amount_eur"],
                        }
                    )  # fmt: skip
                day += timedelta(days=rng.choice((1, 2, 3, 9)))
    return rows


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return sales_of_a_year_and_more(random.Random(1))


@pytest.fixture(scope="module")
def reported(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], manifest: Manifest
) -> Iterator[Warehouse]:
    warehouse = Warehouse(tmp_path_factory.mktemp("reports"), manifest)
    fact_of(warehouse, rows)
    warehouse.run("fct_shop_sales_daily rpt_like_for_like rpt_returns")
    yield warehouse
    warehouse.close()


def fact_of(warehouse: Warehouse, rows: list[Row]) -> None:
    """The columns of fct_sales that the reports read."""
    warehouse.execute("create schema marts")
    warehouse.execute(
        "create table marts.fct_sales (country varchar, business_date date, channel varchar,"
        " currency_code varchar, store_key varchar, line integer, invoice_id varchar,"
        " sale_invoice_id varchar, transaction_type varchar, quantity integer,"
        " net_amount_local decimal(18, 2), net_amount_eur decimal(18, 2))"
    )
    text = "\n".join(
        ",".join("" if value is None else str(value) for value in row.values()) for row in rows
    )
    file = Path(warehouse.folder) / "fct_sales.csv"
    file.write_text(text, encoding="utf-8")
    warehouse.execute(f"copy marts.fct_sales from '{file}' (header false)")


def total(rows: list[Row], column: str) -> Decimal:
    return sum((row[column] for row in rows), Decimal())


def week_of(rows: list[Row], last: date) -> list[Row]:
    return [r for r in rows if last - timedelta(days=6) <= r["business_date"] <= last]


def test_growth_is_that_of_comparable_shops(reported: Warehouse, rows: list[Row]) -> None:
    sold = defaultdict(list)
    for row in rows:
        sold[row["country"], row["channel"], row["currency_code"]].append(row)
    expected = []
    saturdays = [date(2017, 1, 7) + timedelta(days=7 * n) for n in range(80)]
    for (country, channel, currency), lines in sold.items():
        opened: dict[str | None, date] = {}
        for row in sorted(lines, key=lambda row: row["business_date"]):
            opened.setdefault(row["store_key"], row["business_date"])
        for saturday in saturdays:
            before = saturday - timedelta(days=364)
            this, last = week_of(lines, saturday), week_of(lines, before)
            if not this:
                continue
            shops = {r["store_key"] for r in this}
            comparable = {
                shop
                for shop in shops & {r["store_key"] for r in last}
                if opened[shop] < before - timedelta(days=6) and saturday != date(2018, 2, 3)
            }
            now = [r for r in this if r["store_key"] in comparable]
            then = [r for r in last if r["store_key"] in comparable]
            local, local_then = total(now, "net_amount_local"), total(then, "net_amount_local")
            euros_then = total(then, "net_amount_eur")
            constant = (
                (local * euros_then / local_then).quantize(CENT, ROUND_HALF_UP)
                if local_then
                else None
            )
            expected.append(
                (country, saturday, channel, currency, len(shops), len(comparable),
                 total(this, "net_amount_local"), total(this, "net_amount_eur"),
                 local, total(now, "net_amount_eur"), constant, local_then, euros_then,
                 share(local - local_then, local_then))
            )  # fmt: skip
    found = reported.execute("select * from marts.rpt_like_for_like order by all")
    assert found == sorted(expected, key=lambda row: row[:4])
    assert {row[5] for row in found} >= {0, 1, 2, 3}
    assert max(row[1] for row in found) > date(2018, 2, 3)


def test_returns_are_told_by_their_day_and_by_the_day_of_their_sale(
    reported: Warehouse, rows: list[Row]
) -> None:
    days = defaultdict(list)
    for row in rows:
        key = (row["country"], row["business_date"], row["channel"], row["currency_code"])
        days[key].append(row)
    returns = [row for row in rows if row["transaction_type"] == "Return"]
    expected = []
    for (country, day, channel, currency), lines in days.items():
        sales = [row for row in lines if row["transaction_type"] == "Sale"]
        back = [row for row in lines if row["transaction_type"] == "Return"]
        receipts = {row["invoice_id"] for row in sales}
        since = [
            row
            for row in returns
            if (row["country"], row["channel"]) == (country, channel)
            and row["sale_invoice_id"] in receipts
            and 0 <= (row["business_date"] - day).days <= 60
        ]
        sold, units = total(sales, "net_amount_local"), sum(row["quantity"] for row in sales)
        given, given_since = -total(back, "net_amount_local"), -total(since, "net_amount_local")
        expected.append(
            (country, day, channel, currency, units, sold, total(sales, "net_amount_eur"),
             len(back), given, -total(back, "net_amount_eur"), share(given, sold),
             share(len(back), units), len(since), given_since, -total(since, "net_amount_eur"),
             share(given_since, sold), share(len(since), units))
        )  # fmt: skip
    found = reported.execute("select * from marts.rpt_returns order by all")
    assert found == sorted(expected, key=lambda row: row[:4])
    assert sum(row[12] for row in found) > 100


def test_what_is_promised_of_the_reports_holds(reported: Warehouse) -> None:
    models = ("fct_shop_sales_daily", "rpt_like_for_like", "rpt_returns")
    tests = " ".join(f"{model},test_type:data" for model in models)
    status = outcomes(reported.dbt("test", "--select", tests))
    assert len(status) >= 9
    assert set(status.values()) == {"pass"}
