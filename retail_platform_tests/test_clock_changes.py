"""Days of 23 and of 25 hours, as tills and web shop tell of them, from their files to the marts.

In Paris clocks were put forward from 2 to 3 on 31 March 2024, and back from 3 to 2 on 27 October;
in New York on 10 March and 3 November; in Shanghai never. A business day is that of the sender's
clock, however long it is; how long something took is told in UTC.
"""

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from retail_platform.settings import PROJECT_DIR
from retail_platform.transform.dbt_project import DbtProject
from retail_platform_tests.builders import Desk, csv_text, local_desk, row

BATCH = date(2025, 1, 11)
FORWARD, BACK = date(2024, 3, 31), date(2024, 10, 27)
BACK_IN_NEW_YORK = date(2024, 11, 3)

SOLD = {
    "FR": [
        # 23 hours: a minute lies between the second and the third
        "2024-03-31T00:00:00+01:00", "2024-03-31T01:59:00+01:00", "2024-03-31T03:00:00+02:00",
        "2024-03-31T23:59:59+02:00", "2024-04-01T00:00:00+02:00",
        # 25 hours: half past two is there twice, an hour apart
        "2024-10-26T23:59:59+02:00", "2024-10-27T00:00:00+02:00", "2024-10-27T02:30:00+02:00",
        "2024-10-27T02:30:00+01:00", "2024-10-27T23:59:59+01:00",
    ],
    # half past two of that night, on the evening before in UTC
    "CN": ["2024-03-31T02:30:00+08:00", "2024-10-27T02:30:00+08:00"],
}  # fmt: skip
"""When pieces for 10 were sold, one on each receipt."""

ORDERED = ["2024-11-02T23:59:59-04:00", "2024-11-03T01:30:00-04:00",
           "2024-11-03T01:30:00-05:00", "2024-11-03T23:59:59-05:00"]  # fmt: skip
"""When orders of 10 dollars were placed in New York; the last is of the 4th in UTC."""

CHECKOUTS = {
    "FR": [
        # 80 minutes by the clock and 20 in truth
        ("2024-03-31T01:50:00+01:00", "2024-03-31T03:10:00+02:00"),
        # 10 and 70
        ("2024-10-27T02:20:00+02:00", "2024-10-27T02:30:00+01:00"),
        # 40 minutes before it was begun, and 20 after it
        ("2024-10-27T02:50:00+02:00", "2024-10-27T02:10:00+01:00"),
    ],
    "US": [
        ("2024-11-03T01:20:00-04:00", "2024-11-03T01:30:00-05:00"),
        # seven days less an hour by the clock, of which one had 25 hours
        ("2024-10-28T12:00:00-04:00", "2024-11-04T11:00:00-05:00"),
        ("2024-10-28T12:00:00-04:00", "2024-11-04T11:00:01-05:00"),
    ],
}
"""When checkouts were begun and completed."""


def told(country: str, number: int, at: str) -> str:
    return json.dumps(
        {
            "event_id": str(number),
            "source": f"{country}-021-T1",
            "type": "receipt_line.sold",
            "attempt": 1,
            "produced_at": at,
            "receipt": {"invoice_id": f"INV-{country}-021-{number:08}", "line": 1, "store_id": 21,
                        "sold_at": at, "currency": {"FR": "EUR", "CN": "CNY"}[country]},
            "item": {"product_id": 1, "quantity": 1, "unit_price": "10.00", "discount": 0,
                     "line_total": "10.00"},
        }
    )  # fmt: skip


def document(number: int, at: str, **values: object) -> dict[str, object]:
    return {"id": number, "created_at": at, "updated_at": at, "subtotal_price": "10.00",
            "total_price": "10.00", "email": "buyer@example.com", **values}  # fmt: skip


@pytest.fixture(scope="module")
def marts(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path) -> Desk:
    """All of it delivered, taken in and built."""
    desk = local_desk(tmp_path_factory.mktemp("home"))
    assert desk.warehouse
    desk.warehouse.prepare(desk.contracts.values())
    # Friday's rates serve the Sunday
    rates = [
        row("fx_rates", rate_date=day, currency=currency, rate=rate)
        for day in ("2024-03-29", "2024-10-25", "2024-10-28", "2024-11-01")
        for currency, rate in (("USD", "1.25"), ("CNY", "8"))
    ]
    desk.deliver(f"fx_rates_{BATCH:%Y%m%d}.csv", csv_text("fx_rates", rates))
    for country, times in SOLD.items():
        events = "".join(told(country, number, at) for number, at in enumerate(times, 1))
        stream = f"pos_events/{country}/2025/01/11/06/pos-events-{country}-3-2025-01-11-06-00-12-a"
        desk.deliver(stream, events)
    orders = [document(n, at, currency="USD") for n, at in enumerate(ORDERED, 1)]
    desk.deliver(f"online_orders_US_{BATCH:%Y%m%d}.json", json.dumps({"orders": orders}))
    for country, spans in CHECKOUTS.items():
        checkouts = [
            document(n, begun, token=f"c{n}", currency={"FR": "EUR", "US": "USD"}[country],
                     completed_at=completed, line_items=[])
            for n, (begun, completed) in enumerate(spans, 1)
        ]  # fmt: skip
        content = json.dumps({"checkouts": checkouts})
        desk.deliver(f"online_checkouts_{country}_{BATCH:%Y%m%d}.json", content)
    assert desk.take_in().refused == {}
    variables = {"RETAIL_DUCKDB_PATH": str(desk.warehouse.path)}
    dbt = DbtProject(PROJECT_DIR / "dbt_project", dbt_work_dir, "duckdb", variables)
    built = dbt.run(["+rpt_daily_sales", "+rpt_abandoned_carts"], None)
    assert all(node.ok for node in built), built
    return desk


def found(marts: Desk, sql: str) -> list[tuple[Any, ...]]:
    assert marts.warehouse
    return marts.warehouse.query(sql)


def test_a_day_has_the_sales_of_its_23_or_25_hours(marts: Desk) -> None:
    assert found(
        marts,
        "select country, business_date, channel, transactions, net_sales_local, net_sales_eur "
        "from marts.rpt_daily_sales order by all",
    ) == [
        ("CN", FORWARD, "store", 1, Decimal("10.00"), Decimal("1.25")),
        ("CN", BACK, "store", 1, Decimal("10.00"), Decimal("1.25")),
        ("FR", FORWARD, "store", 4, Decimal("40.00"), Decimal("40.00")),
        ("FR", date(2024, 4, 1), "store", 1, Decimal("10.00"), Decimal("10.00")),
        ("FR", date(2024, 10, 26), "store", 1, Decimal("10.00"), Decimal("10.00")),
        ("FR", BACK, "store", 4, Decimal("40.00"), Decimal("40.00")),
        ("US", date(2024, 11, 2), "online", 1, Decimal("10.00"), Decimal("8.00")),
        ("US", BACK_IN_NEW_YORK, "online", 3, Decimal("30.00"), Decimal("24.00")),
    ]


def test_half_past_two_that_is_there_twice_is_two_sales(marts: Desk) -> None:
    """By the clock of the shop they are at the same time, and an hour lies between them."""
    half_past_two = datetime.fromisoformat("2024-10-27 02:30")
    assert found(
        marts,
        "select invoice_id, sales.sold_at, sold_at_utc from marts.fct_sales as sales "
        "inner join intermediate.int_pos_events as told using (country, business_date, invoice_id) "
        "where country = 'FR' and hour(sales.sold_at) = 2 order by sold_at_utc",
    ) == [
        ("INV-FR-021-00000008", half_past_two, datetime.fromisoformat("2024-10-27 00:30")),
        ("INV-FR-021-00000009", half_past_two, datetime.fromisoformat("2024-10-27 01:30")),
    ]


def test_a_checkout_takes_as_long_as_it_takes_whatever_the_clock_shows(marts: Desk) -> None:
    """An hour is the limit of what is in time, seven times 24 hours of what is recovered."""
    assert found(
        marts,
        "select country, business_date, checkout_id, is_completed_in_time, is_abandoned, "
        "is_recovered from marts.fct_checkouts order by all",
    ) == [
        ("FR", FORWARD, 1, True, False, False),
        ("FR", BACK, 2, False, True, True),
        ("FR", BACK, 3, True, False, False),
        ("US", date(2024, 10, 28), 2, False, True, True),
        ("US", date(2024, 10, 28), 3, False, True, False),
        ("US", BACK_IN_NEW_YORK, 1, False, True, True),
    ]
    assert found(
        marts,
        "select country, business_date, created_checkouts, completed_checkouts, "
        "abandoned_checkouts, recovered_checkouts from marts.rpt_abandoned_carts order by all",
    ) == [
        ("FR", FORWARD, 1, 1, 0, 0),
        ("FR", BACK, 2, 1, 1, 1),
        ("US", date(2024, 10, 28), 2, 0, 2, 1),
        ("US", BACK_IN_NEW_YORK, 1, 0, 1, 1),
    ]
