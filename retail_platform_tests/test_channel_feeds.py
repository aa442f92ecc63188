"""Web shop, CRM, tills and stock table on the road: real shapes through gate, RAW and models.

The samples are fixtures of the web shop's and the CRM's makers, as they publish them.
"""

import gzip
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from retail_platform.settings import PROJECT_DIR
from retail_platform.transform.dbt_project import DbtProject
from retail_platform_tests.builders import Desk, local_desk

SAMPLES = Path(__file__).parent / "samples"
LOAD = "1001,21,485,M,B0-1,{},0,4,2,12.5,EUR,2025-01-10 00:00:00.000000,100\n"
CHANGE = "{},1001,21,485,M,B0-1,{},0,4,2,12.5,EUR,2025-01-{} 09:00:00.000000,{}\n"


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))


def page(key: str, *records: object) -> str:
    return json.dumps({key: list(records)})


def event(number: str, **changes: object) -> str:
    told = {
        "event_id": number,
        "source": "FR-021-T1",
        "type": "receipt_line.sold",
        "attempt": 1,
        "produced_at": "2025-01-11T10:15:02.250+01:00",
        "receipt": {"invoice_id": "INV-FR-021-00000001", "line": 1, "store_id": 21,
                    "sold_at": "2025-01-11T00:15:00+01:00", "currency": "EUR"},
        "item": {"product_id": 485, "quantity": 1, "unit_price": "50.00", "discount": 0.1,
                 "line_total": "45.00"},
    }  # fmt: skip
    return json.dumps(told | changes)


def contact(**changes: object) -> dict[str, object]:
    return {
        "attributes": {"type": "Contact", "url": "/services/data/v61.0/sobjects/Contact/003x"},
        "Id": "003000000000001AAA",
        "LastName": "Faure",
        "Email": "zoe@fake_gmail.com",
        "HasOptedOutOfEmail": False,
        "Marketing_Consent__c": True,
        "LastModifiedDate": "2025-01-11T08:00:00.000+0000",
        **changes,
    }


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path) -> Desk:
    """Everything delivered, taken in and built once."""
    folder = tmp_path_factory.mktemp("home")
    desk = local_desk(folder)
    assert desk.warehouse
    desk.warehouse.prepare(desk.contracts.values())
    order, page_of_orders = sample("shopify_order")["order"], sample("shopify_orders")
    desk.deliver("online_orders_US_20250110.json", page("orders", order))
    desk.deliver("online_orders_US_20250111.json", json.dumps(page_of_orders))
    desk.deliver("online_checkouts_US_20250111.json", json.dumps(sample("shopify_checkouts")))
    refund = sample("shopify_refund")["refund"]
    desk.deliver("online_refunds_US_20250111.json", page("refunds", refund))
    desk.deliver("crm_contacts_FR_20250110.json", json.dumps(sample("salesforce_accounts")))
    desk.deliver("crm_contacts_FR_20250111.json", page("records", contact()))
    stream = "pos_events/FR/2025/01/{}/pos-events-FR-3-2025-01-11-06-00-12-0b4c.gz"
    told = [
        event("1"),
        event("2"),
        # The same number at another till is another event.
        event("1", source="FR-021-T2"),
        event("3", type="receipt_line.voided"),
    ]
    # Firehose writes objects after each other, parted by nothing.
    desk.deliver(stream.format("11/06"), gzip.compress("".join(told).encode()))
    again = event("1", attempt=2, produced_at="2025-01-11T09:30:00Z")
    overtaken = event("2", attempt=2, produced_at="2025-01-11T10:15:01+01:00")
    desk.deliver(stream.format("12/01"), gzip.compress(f"{again}\n{overtaken}\n".encode()))
    folder_of_day = "stock_cdc/FR/2025/01/{}/{}.csv"
    desk.deliver(
        folder_of_day.format(12, "20250112-220000123"),
        CHANGE.format("D", 5, 12, 300) + CHANGE.format("I", 8, 12, 310),
    )
    desk.deliver(folder_of_day.format(10, "LOAD00000001"), LOAD.format(9))
    desk.deliver(folder_of_day.format(11, "20250111-220000123"), CHANGE.format("U", 5, 11, 200))
    desk.outcome = desk.take_in()  # type: ignore[attr-defined]
    dbt = DbtProject(
        PROJECT_DIR / "dbt_project",
        dbt_work_dir,
        "duckdb",
        {"RETAIL_DUCKDB_PATH": str(desk.warehouse.path)},
    )
    models = ["pos_events", "online_orders", "online_checkouts"]
    built = dbt.run(
        [
            *(f"stg_{m}" for m in (*models, "online_refunds", "crm_contacts", "stock_cdc")),
            *(f"int_{m}" for m in (*models, "stock_history")),
        ],
        None,
    )
    assert all(node.ok for node in built), built
    return desk


def rows(desk: Desk, sql: str) -> list[tuple[Any, ...]]:
    assert desk.warehouse
    return desk.warehouse.query(sql)


def test_all_of_it_is_taken_in(loaded: Desk) -> None:
    assert loaded.outcome.refused == {}  # type: ignore[attr-defined]
    assert loaded.inbox() == set()


def test_both_versions_of_an_order_become_one_order(loaded: Desk) -> None:
    assert rows(loaded, "select count(*) from staging.stg_online_orders") == [(2,)]
    # Both say they were changed at the same second: the later delivery counts.
    assert rows(
        loaded,
        "select order_id, financial_status, total_amount_local, business_date::varchar, "
        "created_at, batch_date::varchar from intermediate.int_online_orders",
    ) == [
        (450789469, "partially_refunded", Decimal("598.94"), "2008-01-10",
         datetime(2008, 1, 10, 16), "2025-01-11")
    ]  # fmt: skip


def test_an_abandoned_cart_is_no_sale(loaded: Desk) -> None:
    assert rows(
        loaded,
        "select is_completed, total_amount_local, count(*) over () "
        "from intermediate.int_online_checkouts",
    ) == [(False, Decimal("409.94"), 1)]
    assert rows(loaded, "select count(*) from intermediate.int_online_orders") == [(1,)]


def test_a_refund_says_what_was_paid_back(loaded: Desk) -> None:
    (found,) = rows(
        loaded,
        "select order_id, amount_local, currency_code, is_restocked, "
        "json_array_length(refund_line_items) from staging.stg_online_refunds",
    )
    assert found == (450789469, Decimal("209.00"), "USD", True, 2)


def test_contacts_carry_consent_and_other_objects_are_no_contacts(loaded: Desk) -> None:
    assert rows(loaded, "select contact_id, may_be_emailed from staging.stg_crm_contacts") == [
        ("003000000000001AAA", True)
    ]
    facts = loaded.facts("crm_contacts", "FR|2025-01-10")
    assert facts.rows_quarantined == 3
    assert facts.reasons["object_type:not_allowed"] == 3


def test_an_event_counts_once_with_its_latest_producer_time(loaded: Desk) -> None:
    assert rows(
        loaded,
        "select source, event_id, attempt, produced_at, batch_date::varchar "
        "from intermediate.int_pos_events order by all",
    ) == [
        ("FR-021-T1", "1", 2, datetime(2025, 1, 11, 9, 30), "2025-01-12"),
        ("FR-021-T1", "2", 1, datetime(2025, 1, 11, 9, 15, 2, 250_000), "2025-01-11"),
        ("FR-021-T2", "1", 1, datetime(2025, 1, 11, 9, 15, 2, 250_000), "2025-01-11"),
    ]
    facts = loaded.facts("pos_events", "FR|2025-01-11")
    assert facts.reasons == {"event_type:not_allowed": 1}


def test_times_with_an_offset_are_kept_by_the_clock_of_the_shop_and_in_utc(loaded: Desk) -> None:
    assert set(
        rows(
            loaded,
            "select sold_at, sold_at_utc, business_date::varchar from staging.stg_pos_events",
        )
    ) == {(datetime(2025, 1, 11, 0, 15), datetime(2025, 1, 10, 23, 15), "2025-01-11")}


def test_changes_of_the_stock_table_are_its_history(loaded: Desk) -> None:
    assert rows(
        loaded,
        "select op, on_hand, valid_from::date::varchar, valid_to::date::varchar, is_current "
        "from intermediate.int_stock_history order by lsn",
    ) == [
        ("L", 9, "2025-01-10", "2025-01-11", False),
        ("U", 5, "2025-01-11", "2025-01-12", False),
        ("D", 5, "2025-01-12", "2025-01-12", False),
        ("I", 8, "2025-01-12", None, True),
    ]


@pytest.mark.parametrize(
    ("kind", "quantity", "good"),
    [("sale", -1, 1), ("sale", 1, 0), ("receipt", -1, 0), ("count", -3, 1), ("count", 2, 1)],
)
def test_a_movement_adds_or_takes_as_its_type_says(
    desk: Desk, kind: str, quantity: int, good: int
) -> None:
    desk.deliver(
        "inventory_movements_FR_20250111.csv",
        "Movement ID,Moved At,Movement Type,Store ID,Product ID,Quantity,Unit Cost,Currency\n"
        f"m1,2025-01-11 10:00:00,{kind},21,485,{quantity},12.5,EUR\nTRL,1,{quantity}\n",
    )
    desk.take_in(load=False)
    facts = desk.facts("inventory_movements", "FR|2025-01-11")
    assert facts.rows_loaded == good
    assert facts.reasons == ({} if good else {"row:movement_sign": 1})


def test_a_change_that_cannot_be_read_refuses_its_file(desk: Desk) -> None:
    name = "stock_cdc/FR/2025/01/11/20250111-220000123.csv"
    desk.deliver(name, CHANGE.format("U", 5, 11, 200) + CHANGE.format("X", 5, 11, 201))
    outcome = desk.take_in(load=False)
    assert outcome.code(name) == "too_many_bad_rows"
    assert "op:not_allowed" in outcome.refused[name].seen
