"""The dbt models on DuckDB: totals by hand, convergence of sliced runs, the replace strategies.

Rules inside one model are unit tests beside the model; what is made of customers over time is in
`test_customer_models`.
"""

import calendar
import json
import math
import random
import re
import shutil
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import cache, partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import holidays
import pytest
from dbt.contracts.graph.manifest import Manifest

from retail_platform.countries import load_countries
from retail_platform.transform.public_holidays import MACRO_FILE, macro_text
from retail_platform_tests.dbt_warehouse import (
    CENT,
    Row,
    Warehouse,
    messages,
    outcomes,
    rate,
    sale,
    share,
)

# -------------------------------------------------------------------------------------- builders


def receipt(store: str, transaction: str, token: str, amount: str, at: str) -> Row:
    """A valid partner receipt in dollars."""
    return {
        "store_token": store,
        "transaction_id": transaction,
        "receipt_token": token,
        "transaction_time": datetime.fromisoformat(at),
        "amount": Decimal(amount),
        "user_role": "cashier",
    }


def checkout(country: str, number: int, begun: str, rng: random.Random) -> Row:
    """Any version of a checkout begun at that local time; at the limits of time more than seldom.

    Versions may be changed in the same minute: then the later delivery counts.
    """
    begun_local = datetime.fromisoformat(begun)
    begun_at = begun_local - timedelta(hours={"FR": 1, "US": -5}[country])
    took = rng.choice((None, None, 600, 3_600, 3_601, 86_400, 7 * 86_400, 7 * 86_400 + 1))
    return {
        "checkout_id": number,
        "created_at": begun_at,
        "created_at_local": begun_local,
        "updated_at": f"2025-01-01 00:0{rng.randint(0, 9)}:00",
        "completed_at": None if took is None else begun_at + timedelta(seconds=took),
        "currency": {"FR": "EUR", "US": "USD"}[country],
        "subtotal_price": Decimal(rng.randint(0, 99_999)) / 100,
        "buyer_accepts_marketing": rng.choice((True, False, None)),
        "email_token": rng.choice(("E", None)),
        "phone_token": rng.choice(("P", None, None)),
    }


def till_event(number: int, line: Row, rng: random.Random) -> Row:
    """What a till says about a store line, when it was sold or again later."""
    of_line = {k: v for k, v in line.items() if k != "transaction_type"}
    return {
        **of_line,
        "event_id": f"e{number}",
        "source": f"till-{number % 2}",
        "event_type": f"receipt_line.{'returned' if line['line_total'] < 0 else 'sold'}",
        "produced_at": f"2025-01-01 00:{rng.randint(0, 59):02}:00",
    }


def order(country: str, number: int, placed: str, rng: random.Random) -> Row:
    """Any version of an order placed at that local time, with none to three lines."""
    lines = [
        {
            "product_id": n,
            "variant_title": rng.choice(("M", None)),
            "quantity": rng.randint(1, 2),
            "price": str(Decimal(rng.randint(0, 999)) / 100),
        }
        for n in range(1, rng.randint(1, 4))
    ]
    return {
        "order_id": number,
        "created_at_local": datetime.fromisoformat(placed),
        "updated_at": f"2025-01-01 00:{rng.randint(0, 59):02}:00",
        "financial_status": rng.choice(("authorized", "paid", None, "voided")),
        "test": rng.random() < 0.1,
        "currency": {"FR": "EUR", "US": "USD"}[country],
        "customer_id": rng.choice((1, None)),
        "subtotal_price": Decimal(rng.randint(0, 2_999)) / 100,
        "line_items": json.dumps(lines) if lines else None,
    }


def refund(country: str, number: int, made: str, rng: random.Random) -> Row:
    """Any version of a refund made at that local time."""
    lines = [
        {"quantity": rng.randint(1, 2), "line_item": {"product_id": n, "price": f"{n}.50"}}
        for n in range(1, rng.randint(1, 4))
    ]
    return {
        "refund_id": number,
        "order_id": number + 100,
        "created_at_local": datetime.fromisoformat(made),
        "transaction_status": rng.choice(("success", "success", None, "failure")),
        "amount": rng.choice((None, Decimal(0), Decimal(rng.randint(1, 2_999)) / 100)),
        "currency": {"FR": "EUR", "US": "USD"}[country],
        "refund_line_items": json.dumps(lines),
    }


def movement(country: str, number: int, kind: str, at: str, **values: object) -> Row:
    """One piece of an article that costs ten, moved in the first shop."""
    taken = kind in ("sale", "transfer_out")
    return {
        "movement_id": f"m{number}",
        "moved_at": datetime.fromisoformat(at),
        "movement_type": kind,
        "store_id": 1,
        "product_id": 1,
        "size": "M",
        "quantity": -1 if taken else 1,
        "unit_cost": Decimal("10.0000"),
        "currency": {"FR": "EUR", "US": "USD"}[country],
        "supplier_id": "SUP-1" if kind == "receipt" else None,
        **values,
    }


def any_movement(country: str, number: int, at: str, rng: random.Random) -> Row:
    """Few items, so that movements meet; much is sold, so that stock ends, and falls below none."""
    kind = rng.choice(("receipt", "sale", "sale", "sale", "return", "count"))
    if rng.random() < 0.2:
        kind = rng.choice(("transfer_in", "transfer_out"))
    pieces = rng.randint(1, 4)
    if kind == "count":
        pieces = rng.randint(-2, 2)
    return movement(
        country,
        number,
        kind,
        at,
        store_id=rng.randint(1, 2),
        product_id=rng.randint(1, 3),
        size=rng.choice(("M", None)),
        quantity=-pieces if kind in ("sale", "transfer_out") else pieces,
        unit_cost=Decimal(rng.randint(0, 99_999)) / 10_000,
        supplier_id=f"SUP-{rng.randint(1, 3)}" if kind == "receipt" else None,
    )


FRI, SAT, SUN = date(2025, 1, 10), date(2025, 1, 11), date(2025, 1, 12)
NO_RATE_DAY = date(2025, 1, 20)


@dataclass(frozen=True)
class Build:
    """One full build, made once for all tests that start from it."""

    path: Path
    status: dict[str, str]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> Build:
    warehouse = Warehouse(tmp_path_factory.mktemp("build"), manifest)
    warehouse.create_raw()
    deliver_two_countries_around_a_weekend(warehouse)
    status = outcomes(warehouse.dbt("build"))
    return Build(warehouse.path, status)


@pytest.fixture
def traded(build: Build, tmp_path: Path, manifest: Manifest) -> Iterator[Warehouse]:
    """A copy of that build, to change at will."""
    shutil.copy(build.path, tmp_path)
    warehouse = Warehouse(tmp_path, manifest)
    yield warehouse
    warehouse.close()


def deliver_two_countries_around_a_weekend(warehouse: Warehouse) -> None:
    """The cases that real files bring."""
    deliver = warehouse.deliver
    deliver("fx_rates", "ALL", FRI, [rate(FRI, "USD", "1.25")])
    deliver(
        "transactions",
        "FR",
        FRI,
        [
            sale("INV-FR-021-00000001", 1, "31.50", "2025-01-10 09:00", quantity=2, discount="0.4"),
            sale("INV-FR-021-00000001", 2, "10.00", "2025-01-10 09:00"),
            # the same key twice in one file: the later row counts
            sale("INV-FR-022-00000002", 1, "99.00", "2025-01-10 10:00"),
            sale(" INV-FR-022-00000002 ", 1, "50.00", "2025-01-10 10:00"),
        ],
    )
    deliver(
        "transactions",
        "FR",
        SAT,
        [
            # a correction of Friday's line, and a return of one of the two discounted pieces
            sale("INV-FR-021-00000001", 2, "8.00", "2025-01-10 09:00"),
            sale(
                "RET-FR-021-00000001", 1, "31.50", "2025-01-11 00:00", line_total=Decimal("-18.90")
            ),
        ],
    )
    # one day late
    deliver(
        "transactions", "FR", SUN, [sale("INV-FR-022-00000003", 1, "20.00", "2025-01-10 23:59")]
    )
    deliver(
        "transactions", "US", SAT, [sale("INV-US-001-00000001", 1, "100.00", "2025-01-11 12:00")]
    )
    deliver(
        "transactions",
        "US",
        NO_RATE_DAY,
        [sale("INV-US-001-00000009", 1, "5.00", "2025-01-20 12:00")],
    )
    deliver(
        "partner_sales",
        "US",
        SAT,
        [
            # two receipts of one transaction are two sales
            receipt("shop-a", "t1", "21123", "150.50", "2025-01-11 10:00"),
            receipt("shop-a", "t1", "21124", "20.10", "2025-01-11 10:00"),
        ],
    )
    deliver(
        "partner_stores",
        "US",
        SAT,
        [{"store_token": "shop-a", "store_name": "A", "store_group": "g"}],
    )
    deliver("stores", "FR", FRI, [{"store_id": 21, "store_name": "Paris"}, {"store_id": 22}])
    deliver("stores", "FR", SUN, [{"store_id": 21, "store_name": "Paris Nord"}])
    deliver("customers", "FR", FRI, [{"customer_id": 1, "name_token": "N", "gender": "F"}])
    deliver("products", "ALL", FRI, [{"product_id": 1, "production_cost": Decimal("4.20")}])
    deliver(
        "discounts", "ALL", FRI, [{"starts_on": FRI, "ends_on": SUN, "discount": Decimal("0.4")}]
    )
    deliver(
        "employees",
        "FR",
        FRI,
        [{"employee_id": 1, "store_id": 21, "name_token": "N", "position": "P"}],
    )


# ------------------------------------------------------------------------------------ properties


def test_every_model_says_how_it_is_sliced_and_described(manifest: Manifest) -> None:
    for node in manifest.nodes.values():
        if node.resource_type != "model":
            continue
        tags = set(node.config.tags)
        assert len(tags & {"batch_day", "business_day"}) == 1, (node.name, tags)
        assert len(tags & {"country", "global"}) == 1, (node.name, tags)
        assert node.config.meta["slice_day"] in node.columns, node.name
        assert node.config.meta["dagster"]["owners"], node.name
        assert node.description.startswith("One row per"), node.name
        assert all(column.description for column in node.columns.values()), node.name
        assert node.config.contract.enforced, node.name


def test_other_days_are_read_as_declared(manifest: Manifest) -> None:
    """The declaration is also the lineage: what is read without it would not make stale."""
    for node in manifest.nodes.values():
        if node.resource_type == "model":
            macros = "in_window|carried_rows|rows_since_carried"
            read = set(re.findall(rf"(?:{macros})\(\s*'(\w+)'", node.raw_code))
            assert read == set(node.config.meta.get("reads", {})), node.name
            inputs = {manifest.nodes[i].name for i in node.depends_on.nodes if i in manifest.nodes}
            assert read <= {*inputs, node.name}, node.name


def test_personal_data_is_nowhere_and_its_tokens_stay_in_staging(manifest: Manifest) -> None:
    private = (
        *("first_name", "last_name", "email", "telephone", "phone", "date_of_birth"),
        *("birthdate", "mailing_street", "mailing_postal_code", "contact_email"),
    )
    tokens = {f"{name}_token" for name in ("name", *private)}
    for node in manifest.nodes.values():
        if node.resource_type == "model":
            assert not {*private, *(f"{name}_enc" for name in private)} & set(node.columns)
            if node.schema != "staging":
                assert not tokens & set(node.columns), node.name


# --------------------------------------------------------------------------------- hand-made days


def test_totals_by_hand(build: Build, traded: Warehouse) -> None:
    status = build.status
    # US sold in dollars ten days after the last rate: reported, and nothing else fails
    blocked = {"assert_no_sales_day_without_fx_rate"}
    assert {name for name, s in status.items() if s in ("fail", "error", "skipped")} == blocked
    assert {name for name, s in status.items() if s == "warn"} == {
        "stg_partner_sales__transaction_id__one_receipt",
        "fct_sales__store_key__in_dim_store",  # nobody delivered the US shops
        "fct_sales__employee_id__in_dim_employee",
    }

    columns = (
        "country, business_date, channel, active_stores, transactions, return_transactions,"
        " units_sold, units_returned, gross_sales_local, discounts_local, returns_local,"
        " net_sales_local, net_sales_eur, avg_store_sales_eur, top_store_key"
    )
    money = Decimal
    assert traded.execute(f"select {columns} from marts.rpt_daily_sales order by all") == [
        ("FR", FRI, "store", 2, 3, 0, 5, 0, money("141.00"), money("25.20"), money("0.00"),
         money("115.80"), money("115.80"), money("57.90"), "22"),
        ("FR", SAT, "store", 1, 0, 1, 0, 1, money("0.00"), money("0.00"), money("18.90"),
         money("-18.90"), money("-18.90"), money("-18.90"), "21"),
        ("US", SAT, "partner", 1, 2, 0, 2, 0, money("170.60"), money("0.00"), money("0.00"),
         money("170.60"), money("136.48"), money("136.48"), "shop-a"),
        ("US", SAT, "store", 1, 1, 0, 1, 0, money("100.00"), money("0.00"), money("0.00"),
         money("100.00"), money("80.00"), money("80.00"), "1"),
    ]  # fmt: skip

    assert traded.execute(
        "select business_date, store_rank, channel, store_key, net_sales_eur"
        " from marts.rpt_top_stores where country = 'US' order by all"
    ) == [(SAT, 1, "partner", "shop-a", money("136.48")), (SAT, 2, "store", "1", money("80.00"))]

    assert traded.execute(
        "select sale_invoice_id, discount_amount_local from marts.fct_sales"
        " where transaction_type = 'Return'"
    ) == [("INV-FR-021-00000001", money("-12.60"))]

    assert traded.execute(
        "select batch_date, rows_in, rows_valid, rows_ignored, ignored_reasons"
        " from marts.rpt_transactions_lifecycle where country = 'FR' order by all"
    ) == [(FRI, 4, 3, 1, "replaced_in_batch 1"), (SAT, 2, 2, 0, None), (SUN, 1, 1, 0, None)]

    assert traded.execute(
        "select store_name, valid_from, valid_to, is_current from marts.dim_store"
        " where store_key = '21' order by valid_from"
    ) == [("Paris", FRI, SUN, False), ("Paris Nord", SUN, None, True)]

    # trading days only, the blocked one included
    assert traded.execute("select country, business_date from marts.dim_date order by all") == [
        ("FR", FRI), ("FR", SAT), ("US", SAT), ("US", NO_RATE_DAY)
    ]  # fmt: skip


def test_a_blocked_day_appears_when_its_rate_arrives(traded: Warehouse) -> None:
    traded.deliver("fx_rates", "ALL", NO_RATE_DAY, [rate(NO_RATE_DAY, "USD", "2.00")])

    traded.run(
        "tag:batch_day,tag:global", countries="ALL", first_day=NO_RATE_DAY, last_day=NO_RATE_DAY
    )
    days = {"first_day": NO_RATE_DAY, "last_day": NO_RATE_DAY + timedelta(days=6)}
    traded.run("tag:business_day,tag:global", countries="ALL", **days)
    traded.run("tag:business_day,tag:country", countries="US", **days)

    assert traded.execute(
        "select net_sales_eur from marts.rpt_daily_sales where business_date = ?", [NO_RATE_DAY]
    ) == [(Decimal("2.50"),)]


def test_a_corrected_rate_reprices_its_days_and_no_others(traded: Warehouse) -> None:
    """Friday's dollar also serves the weekend: Saturday's 100 and 170.60 were 80 and 136.48."""
    euros = "select country, net_sales_eur from marts.rpt_daily_sales order by all"
    before = traded.execute(euros)
    traded.deliver("fx_rates", "ALL", FRI, [rate(FRI, "USD", "1.00")], 2)

    traded.run("stg_fx_rates", countries="ALL", first_day=FRI, last_day=FRI)
    days = {"first_day": FRI, "last_day": FRI + timedelta(days=6)}
    traded.run("int_fx_rates", countries="ALL", **days)
    traded.run("fct_sales rpt_daily_sales", countries="US", **days)

    of_france = [row for row in before if row[0] == "FR"]
    assert before == [*of_france, ("US", Decimal("80.00")), ("US", Decimal("136.48"))]
    assert traded.execute(euros) == [
        *of_france, ("US", Decimal("100.00")), ("US", Decimal("170.60"))
    ]  # fmt: skip


def test_a_correction_that_removes_rows_removes_them_everywhere(traded: Warehouse) -> None:
    traded.deliver(
        "transactions", "FR", FRI, [sale("INV-FR-021-00000001", 1, "1.00", "2025-01-10 09:00")], 2
    )
    traded.deliver("stores", "FR", SUN, [], 2)
    traded.deliver("employees", "FR", FRI, [], 2)

    traded.run("tag:batch_day,tag:country", countries="FR", first_day=FRI, last_day=SUN)
    traded.run("tag:business_day,tag:country", countries="FR", first_day=FRI, last_day=FRI)

    assert traded.execute(
        "select invoice_id, line, net_amount_local from marts.fct_sales"
        " where country = 'FR' and business_date = ? order by all", [FRI]
    ) == [
        ("INV-FR-021-00000001", 1, Decimal("1.00")),
        ("INV-FR-021-00000001", 2, Decimal("8.00")),  # Saturday's batch still brings it
        ("INV-FR-022-00000003", 1, Decimal("20.00")),
    ]  # fmt: skip
    assert traded.execute(
        "select store_name, valid_to from marts.dim_store where store_key = '21'"
    ) == [("Paris", None)]
    # delivered once and withdrawn: nothing staged names this key any more
    assert traded.table("marts.dim_employee") == []


# ------------------------------------------------------------------------------ what became of rows


def test_what_became_of_rows_is_as_defined(warehouse: Warehouse) -> None:
    """Of several files of a batch, of which some do not count; keys that a batch has twice."""
    rng = random.Random(SEED)
    keys = {
        "transactions": ("invoice_id", "line"),
        "partner_sales": ("store_token", "transaction_id", "receipt_token"),
    }
    expected = []
    for n, country, feed in product(range(DAYS), ("FR", "US"), keys):
        batch = FIRST + timedelta(days=n)
        rows = [r for _ in range(3) for r in random_rows(feed, country, batch, rng)]
        warehouse.deliver(feed, country, batch, rows)
        warehouse.execute("delete from raw.file_ledger where feed = $1 and country = $2"
                          " and batch_date = $3", [feed, country, batch])  # fmt: skip
        files, counted = 0, Counter[str]()
        ends = sorted(rng.randint(0, len(rows)) for _ in range(rng.randint(0, 2)))
        for begin, end in pairwise([0, *ends, len(rows)]):
            reasons = {
                reason: rng.randint(1, 3) for reason in rng.sample(REASONS, rng.randint(0, 3))
            }
            bad = max(reasons.values(), default=0)  # a row may have several
            loaded, twice = end - begin, rng.randint(0, 2)
            told = {"rows_in": loaded + bad + twice, "rows_loaded": loaded,
                    "rows_quarantined": bad, "rows_duplicate": twice}  # fmt: skip
            of_batch = {"feed": feed, "country": country, "batch_date": batch}
            text = json.dumps(reasons)
            warehouse.insert("file_ledger", of_batch | told | {"reasons": text, "state": "loaded"})
            # an older delivery of the file
            warehouse.insert("file_ledger", of_batch | told | {"reasons": text, "state": "gone"})
            files += 1
            counted.update(told | reasons | {"exact_duplicate": twice})
        valid = len({tuple(str(row[name]) for name in keys[feed]) for row in rows})
        counted["replaced_in_batch"] = counted["rows_loaded"] - valid
        ignored = [
            f"{reason} {counted[reason]}"
            for reason in sorted((*REASONS, "exact_duplicate", "replaced_in_batch"))
            if counted[reason]
        ]
        counts = [counted[f"rows_{name}"] for name in ("in", "loaded", "quarantined", "duplicate")]
        expected.append((country, batch, feed, files, *counts, valid, counts[0] - valid,
                         ", ".join(ignored) or None))  # fmt: skip

    warehouse.run("stg_transactions stg_partner_sales rpt_transactions_lifecycle")

    found = warehouse.table("marts.rpt_transactions_lifecycle")
    assert found == sorted(expected, key=repr)
    assert {row[3] for row in found} == {1, 2, 3}
    assert any(row[9] for row in found if "replaced_in_batch" in (row[10] or ""))


# ----------------------------------------------------------------------------------- all channels


def test_a_sale_counts_once_whoever_tells_of_it(warehouse: Warehouse) -> None:
    """Written from the definitions, in exact arithmetic, for versions that arrive in any order."""
    rng = random.Random(SEED)
    files: dict[tuple[str, date, str, int], Row] = {}
    events: dict[tuple[str, date, str, str], Row] = {}
    orders: dict[tuple[str, int], Row] = {}
    refunds: dict[tuple[str, int], Row] = {}
    warehouse.deliver("fx_rates", "ALL", FIRST, [rate(FIRST, "USD", "1.25")])
    for batch in (FIRST + timedelta(days=n) for n in range(6)):
        for country in ("FR", "US"):
            lines = [
                sale(f"{kind}-{country}-001-{n:08}", line, str(rng.randint(1, 9)), f"{day} 12:00")
                for kind in ("INV", "RET") for n in rng.sample(range(1, 91), 24)
                for line in range(1, rng.randint(1, 3) + 1)
                for day in (FIRST + timedelta(days=n % 6),) if day <= batch
            ]  # fmt: skip
            shuffled = rng.sample(lines, len(lines))
            booked, rung_up = shuffled[::5], shuffled[::2]
            told = [till_event(rng.randint(1, 150), line, rng) for line in rung_up]
            told = list({(e["source"], e["event_id"]): e for e in told}.values())
            placed = [order(country, n, f"{FIRST + timedelta(days=n % 6)} 23:30", rng)
                      for n in rng.sample(range(1, 61), 20)]  # fmt: skip
            repaid = [refund(country, n, f"{FIRST + timedelta(days=n % 6)} 00:30", rng)
                      for n in rng.sample(range(1, 41), 10)]  # fmt: skip
            for feed, rows in {
                "transactions": booked, "pos_events": told, "online_orders": placed,
                "online_refunds": repaid,
            }.items():  # fmt: skip
                warehouse.deliver(feed, country, batch, rows)
            for line in booked:
                files[country, line["sold_at"].date(), line["invoice_id"], line["line"]] = line
            for event in told:
                key = (country, event["sold_at"].date(), event["source"], event["event_id"])
                if key not in events or event["produced_at"] >= events[key]["produced_at"]:
                    events[key] = event
            for document in placed:
                number = (country, document["order_id"])
                known = orders.get(number)
                if known is None or document["updated_at"] >= known["updated_at"]:
                    orders[number] = document
            refunds |= {(country, document["refund_id"]): document for document in repaid}

    warehouse.run("+fct_sales")

    expected = {key: ("store", "file", line["line_total"]) for key, line in files.items()}
    booked_receipts = {key[:3] for key in files}
    last_told: dict[tuple[str, date, str, int], tuple[str, str, str]] = {}
    for (country, day, source, event_id), event in events.items():
        line_key = (country, day, event["invoice_id"], event["line"])
        if line_key[:3] in booked_receipts:
            continue
        order_of_telling = (event["produced_at"], source, event_id)
        if line_key not in last_told or order_of_telling > last_told[line_key]:
            last_told[line_key] = order_of_telling
            expected[line_key] = ("store", "till_event", event["line_total"])

    def spread(
        country: str, moment: datetime, name: str, amount: Decimal, values: list[Decimal]
    ) -> None:
        so_far = before = Decimal()
        for line, value in enumerate(values, start=1):
            so_far += value
            until = amount * so_far / sum(values) if sum(values) else Decimal()
            until = amount if line == len(values) else until.quantize(CENT, ROUND_HALF_UP)
            expected[country, moment.date(), name, line] = ("online", "shop_api", until - before)
            before = until

    for (country, number), document in orders.items():
        if not document["test"] and document["financial_status"] != "voided":
            values = [
                line["quantity"] * Decimal(line["price"])
                for line in json.loads(document["line_items"] or "[]")
            ] or [Decimal()]
            amount = document["subtotal_price"]
            spread(country, document["created_at_local"], f"order/{number}", amount, values)
    for (country, number), document in refunds.items():
        if document["amount"] and document["transaction_status"] != "failure":
            values = [
                line["quantity"] * Decimal(line["line_item"]["price"])
                for line in json.loads(document["refund_line_items"])
            ] or [Decimal()]
            amount = -document["amount"]
            spread(country, document["created_at_local"], f"refund/{number}", amount, values)

    found = warehouse.execute(
        "select country, business_date, invoice_id, line, channel, line_source, net_amount_local,"
        " net_amount_eur from marts.fct_sales order by all"
    )
    assert found == sorted(
        (*key, channel, source, amount,
         (amount * (Decimal("0.8") if key[0] == "US" else 1)).quantize(CENT, ROUND_HALF_UP))
        for key, (channel, source, amount) in expected.items()
    )  # fmt: skip
    counts = Counter(source for *_, source, _, _ in found)
    assert set(counts) == {"file", "till_event", "shop_api"}
    assert min(counts.values()) > 50, "each source has its part"


# ------------------------------------------------------------------------------- abandoned carts


def test_carts_are_abandoned_and_recovered_as_defined(warehouse: Warehouse) -> None:
    """Written from the definition, in exact arithmetic, for versions that arrive in any order."""
    rng = random.Random(SEED)
    warehouse.deliver("fx_rates", "ALL", FIRST, [rate(FIRST, "USD", "1.25")])
    begun = {
        (country, n): f"{FIRST + timedelta(days=n % DAYS)} {rng.randint(0, 23):02}:30"
        for country in ("FR", "US") for n in range(1, 301)
    }  # fmt: skip
    newest: dict[tuple[str, int], Row] = {}
    for batch in (FIRST + timedelta(days=n) for n in range(2 * DAYS)):
        for country in ("FR", "US"):
            numbers = rng.sample(range(1, 301), 40)
            versions = [checkout(country, n, begun[country, n], rng) for n in numbers]
            warehouse.deliver("online_checkouts", country, batch, versions)
            for version in versions:
                key = (country, version["checkout_id"])
                if key not in newest or version["updated_at"] >= newest[key]["updated_at"]:
                    newest[key] = version

    warehouse.run("+rpt_abandoned_carts +dim_customer")

    facts, days = [], defaultdict(list)
    for (country, number), version in newest.items():
        day = version["created_at_local"].date()
        if country == "US" and day > FIRST + timedelta(days=6):
            continue  # the only rate of the dollar is carried no further
        took = version["completed_at"] and version["completed_at"] - version["created_at"]
        contact = bool(version["email_token"] or version["phone_token"])
        completed = took is not None and took <= timedelta(minutes=60)
        abandoned = not completed and (contact or took is not None)
        recovered = abandoned and took is not None and took <= timedelta(days=7)
        contactable = abandoned and contact and version["buyer_accepts_marketing"] is True
        price = version["subtotal_price"]
        euros = price if country == "FR" else (price * 4 / 5).quantize(CENT, ROUND_HALF_UP)
        states = (completed, abandoned, recovered, contactable)
        facts.append((country, day, number, *states, euros))
        days[country, day].append((*states, price, euros))

    report = []
    for (country, day), checkouts in days.items():
        completed, abandoned, recovered, contactable = (
            sum(column) for column in list(zip(*checkouts, strict=True))[:4]
        )
        revenue = [sum((c[n] for c in checkouts if c[2]), Decimal()) for n in (4, 5)]
        rates = share(abandoned, completed + abandoned), share(recovered, abandoned)
        counts = (len(checkouts), completed, abandoned, recovered, contactable)
        report.append((country, day, *counts, *rates, *revenue))

    assert warehouse.execute(
        "select country, business_date, checkout_id, is_completed_in_time, is_abandoned,"
        " is_recovered, is_contactable, subtotal_amount_eur from marts.fct_checkouts order by all"
    ) == sorted(facts)
    assert warehouse.execute(
        "select country, business_date, created_checkouts, completed_checkouts,"
        " abandoned_checkouts, recovered_checkouts, contactable_checkouts, abandonment_rate,"
        " recovery_rate, recovered_revenue_local, recovered_revenue_eur"
        " from marts.rpt_abandoned_carts order by all"
    ) == sorted(report)
    assert len(report) == DAYS + 7, "every day of France, a week of the United States"

    tests = "fct_checkouts,test_type:data rpt_abandoned_carts,test_type:data"
    status = outcomes(warehouse.dbt("test", "--select", tests))
    assert len(status) > 10
    assert {name for name, s in status.items() if s != "pass"} == {
        "assert_no_checkout_day_without_fx_rate"
    }


# -------------------------------------------------------------------------------------- inventory


INVENTORY = "+rpt_reorder_alerts +fct_inventory_movements +dim_product"


def test_stock_by_hand(warehouse: Warehouse) -> None:
    """Three pieces are received, two sold; the receipt of a fourth is told three days late."""
    friday, saturday = f"{FRI} 09:00", f"{SAT} 09:00"
    warehouse.deliver("fx_rates", "ALL", FRI, [rate(FRI, "USD", "1.25")])
    deliver = partial(warehouse.deliver, "inventory_movements", "US")
    deliver(FRI, [movement("US", 1, "receipt", friday, quantity=3)])
    deliver(
        SAT,
        [
            movement("US", 2, "sale", saturday, quantity=-2, unit_cost=Decimal(11)),
            movement("US", 3, "receipt", saturday, size=None),
        ],
    )
    warehouse.run(INVENTORY)
    deliver(
        FRI + timedelta(days=3),
        [movement("US", 4, "receipt", friday, unit_cost=Decimal(14))],
    )
    monday = {"first_day": FRI + timedelta(days=3), "last_day": FRI + timedelta(days=3)}
    warehouse.run("stg_inventory_movements", countries="US", **monday)
    warehouse.run(
        "int_inventory_movements fct_inventory_movements",
        countries="US", first_day=FRI, last_day=FRI,
    )  # fmt: skip
    warehouse.run("fct_inventory_daily rpt_stock", countries="US", first_day=FRI, last_day=SUN)

    money = Decimal
    assert warehouse.execute(
        "select movement_id, signed_quantity, cost_amount_local, cost_amount_eur"
        " from marts.fct_inventory_movements order by all"
    ) == [
        ("m1", 3, money("30.00"), money("24.00")),
        ("m2", -2, money("-22.00"), money("-17.60")),
        ("m3", 1, money("10.00"), money("8.00")),
        ("m4", 1, money("14.00"), money("11.20")),
    ]
    assert warehouse.execute(
        "select business_date, size, opening_units, received_units, sold_units, closing_units,"
        " average_unit_cost_local, closing_value_local, closing_value_eur"
        " from marts.fct_inventory_daily order by all"
    ) == [
        (FRI, "M", 0, 4, 0, 4, money("11.0000"), money("44.00"), money("35.20")),
        (SAT, "M", 4, 0, 2, 2, money("11.0000"), money("22.00"), money("17.60")),
        (SAT, None, 0, 1, 0, 1, money("10.0000"), money("10.00"), money("8.00")),
    ]
    assert warehouse.execute(
        "select business_date, on_hand_units, sold_units_28d, days_of_supply, weeks_of_supply,"
        " sell_through_of_supply_rate, sell_through_of_opening_rate, average_stock_value_28d_local,"
        " annual_stock_turn from marts.rpt_stock where size = 'M' order by all"
    ) == [
        (FRI, 4, 0, None, None, money("0.0000"), None, money("44.00"), money("0.0000")),
        # 2 of 4; 22 * 365 / 28 = 286.786 a year from a stock of 33
        (SAT, 2, 2, money("28.0000"), money("4.0000"), money("0.5000"), None, money("33.00"),
         money("8.6905")),
    ]  # fmt: skip

    reconciles = "assert_stock_reconciles_with_movements"
    assert outcomes(warehouse.dbt("test", "--select", reconciles)) == {reconciles: "pass"}
    warehouse.execute("update marts.fct_inventory_daily set closing_units = 3 where size = 'M'")
    assert outcomes(warehouse.dbt("test", "--select", reconciles)) == {reconciles: "fail"}


def test_stock_is_as_defined(warehouse: Warehouse) -> None:
    """Written from the definitions, in exact arithmetic, for movements told late and corrected."""
    rng = random.Random(SEED)
    days = [FIRST + timedelta(days=n) for n in range(45) if n % 7]
    for rated in (FIRST, FIRST + timedelta(days=20), FIRST + timedelta(days=36)):
        warehouse.deliver("fx_rates", "ALL", rated, [rate(rated, "USD", "1.25")])
    newest: dict[tuple[str, date, str], Row] = {}
    terms: list[tuple[date, dict[str, int]]] = []
    for batch in days[::9]:
        terms.append((batch, {f"SUP-{n}": rng.randint(0, 9) for n in (1, 2, 3) if n < len(terms)}))
        suppliers = [{"supplier_id": s, "lead_time_days": n} for s, n in terms[-1][1].items()]
        warehouse.deliver("suppliers", "ALL", batch, suppliers)
    for batch in days:
        for country in ("FR", "US"):
            told = []
            for number in rng.sample(range(1, 60), 6):
                moved = max(FIRST, batch - timedelta(days=rng.choice((0, 0, 1, 5))))
                if moved in days:
                    told.append(any_movement(country, number, f"{moved} 12:00", rng))
            warehouse.deliver("inventory_movements", country, batch, told)
            for m in told:
                newest[country, m["moved_at"].date(), m["movement_id"]] = m

    warehouse.run(INVENTORY)

    expected_daily, expected_report = stock_as_defined(newest)
    daily = warehouse.execute(
        "select country, business_date, store_id, product_id, coalesce(size, ''), opening_units,"
        " received_units, sold_units, returned_units, transferred_in_units, transferred_out_units,"
        " counted_units, closing_units, movements, average_unit_cost_local, closing_value_local,"
        " closing_value_eur from marts.fct_inventory_daily order by all"
    )
    assert daily == sorted(expected_daily)
    assert any(row[12] < 0 for row in daily), "stock below none is shown"
    report = warehouse.execute(
        "select country, business_date, store_id, product_id, coalesce(size, ''), on_hand_units,"
        " opening_units_28d, received_units_28d, sold_units_28d, average_daily_units_28d,"
        " daily_units_deviation_28d, days_of_supply, weeks_of_supply, sell_through_of_supply_rate,"
        " sell_through_of_opening_rate, on_hand_value_local, cost_of_sales_28d_local,"
        " average_stock_value_28d_local, annual_stock_turn from marts.rpt_stock order by all"
    )
    assert report == sorted(expected_report)
    alerts = warehouse.execute(
        "select country, business_date, store_id, product_id, coalesce(size, ''), supplier_id,"
        " lead_time_days, reorder_point_units, is_alert from marts.rpt_reorder_alerts order by all"
    )
    assert alerts == sorted(alerts_as_defined(expected_report, newest, terms))
    assert {is_alert for *_, is_alert in alerts} == {True, False, None}
    tests = " ".join(
        f"{model},test_type:data"
        for model in ("int_inventory_movements", "fct_inventory_movements", "fct_inventory_daily",
                      "rpt_stock", "rpt_reorder_alerts")
    )  # fmt: skip
    status = outcomes(warehouse.dbt("test", "--select", tests))
    assert len(status) > 15
    assert {name for name, s in status.items() if s != "pass"} == {
        "assert_no_inventory_day_without_fx_rate",
        "fct_inventory_daily__closing_units__not_negative",
        "fct_inventory_movements__product_id__in_dim_product",
        "rpt_reorder_alerts__lead_time__known",
    }


def stock_as_defined(
    movements: Mapping[tuple[str, date, str], Row],
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Rows of fct_inventory_daily and rpt_stock, item by item and day by day."""

    def rounded(value: Fraction, places: int) -> Decimal:
        exact = Decimal(value.numerator) / Decimal(value.denominator)
        return exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)

    def per(part: int | Decimal, whole: int | Decimal) -> Decimal | None:
        return rounded(Fraction(part) / Fraction(whole), 4) if whole > 0 else None

    def cost(m: Row) -> Decimal:
        return (m["quantity"] * m["unit_cost"]).quantize(Decimal("0.01"), ROUND_HALF_UP)

    def pieces(of: Sequence[Row], *kinds: str) -> int:
        return sum(m["quantity"] for m in of if m["movement_type"] in kinds)

    kinds = ("receipt", "sale", "return", "transfer_in", "transfer_out", "count")
    moved_on: dict[tuple[Any, ...], dict[date, list[Row]]] = defaultdict(lambda: defaultdict(list))
    country_days: dict[str, set[date]] = defaultdict(set)
    for (country, day, _), m in movements.items():
        moved_on[country, m["store_id"], m["product_id"], m["size"] or ""][day].append(m)
        # a rate serves its day and six more
        if country == "FR" or (day - FIRST).days in {*range(7), *range(20, 27), *range(36, 43)}:
            country_days[country].add(day)
    daily, report = [], []
    for (country, *item), by_day in moved_on.items():
        value_on: dict[date, Decimal] = {}
        for day in sorted(country_days[country]):
            until = [m for d, of_day in by_day.items() if d <= day for m in of_day]
            today = by_day.get(day, [])
            receipts = [m for m in until if m["movement_type"] == "receipt"]
            closing = pieces(until, *kinds)
            valued = receipts or until
            weight = sum(abs(m["quantity"]) for m in valued)
            average, value = None, Decimal("0.00")
            if weight:
                total = sum((abs(cost(m)) for m in valued), Decimal())
                average = rounded(Fraction(total) / weight, 4)
                value = rounded(Fraction(closing * average), 2)
            euros = rounded(Fraction(value) * (1 if country == "FR" else Fraction(4, 5)), 2)
            value_on[day] = value
            if today or closing:
                received, sold, returned, come, gone, counted = (pieces(today, k) for k in kinds)
                daily.append(
                    (country, day, *item, closing - pieces(today, *kinds), received, -sold,
                     returned, come, -gone, counted, closing, len(today), average, value, euros)
                )  # fmt: skip
            window = [day - timedelta(days=n) for n in range(28)]
            in_window = [m for d in window for m in by_day.get(d, ())]
            if not in_window and not closing:
                continue
            sold_each_day = [-pieces(by_day.get(d, ()), "sale") for d in window]
            sold, received = sum(sold_each_day), pieces(in_window, "receipt", "transfer_in")
            opening = closing - pieces(in_window, *kinds)
            spent = -sum(
                (cost(m) for m in in_window if m["movement_type"] in ("sale", "return")), Decimal()
            )
            values = [value_on.get(d, Decimal()) for d in window if d in country_days[country]]
            stock = rounded(Fraction(sum(values, Decimal())) / len(values), 2)
            deviation = Decimal(statistics.stdev(sold_each_day)).quantize(Decimal("0.0001"))
            report.append(
                (country, day, *item, closing, opening, received, sold, per(sold, 28), deviation,
                 per(closing * 28, sold), per(closing * 4, sold), per(sold, opening + received),
                 per(sold, opening), value, spent, stock, per(spent * 365, stock * 28))
            )  # fmt: skip
    return daily, report


def alerts_as_defined(
    report: Sequence[tuple[Any, ...]],
    movements: Mapping[tuple[str, date, str], Row],
    terms: Sequence[tuple[date, Mapping[str, int]]],
) -> Iterator[tuple[Any, ...]]:
    """Rows of rpt_reorder_alerts, from those of rpt_stock."""
    for country, day, *rest in report:
        item, (on_hand, _, _, sold, daily, deviation) = rest[:3], rest[3:9]
        if not sold:
            continue
        receipts = [
            (moved, m["movement_id"], m["supplier_id"])
            for (of, moved, _), m in movements.items()
            if of == country
            and moved <= day
            and m["movement_type"] == "receipt"
            and [m["store_id"], m["product_id"], m["size"] or ""] == item
        ]
        supplier = max(receipts)[-1] if receipts else None
        lists = [(batch, of[supplier]) for batch, of in terms if supplier in of]
        # the first list with a supplier counts for the six days before it, too
        known = [agreed for batch, agreed in lists if batch <= day] or [
            agreed for batch, agreed in lists[:1] if batch <= day + timedelta(days=6)
        ]
        if not known:
            yield (country, day, *item, supplier, None, None, None)
            continue
        time = known[-1]
        safety = 1.645 * math.sqrt(time * float(deviation) ** 2 + float(daily) ** 2 * 2**2)
        point = daily * time + Decimal(safety).quantize(Decimal("0.0001"), ROUND_HALF_UP)
        yield (country, day, *item, supplier, time, point, on_hand <= point)


# --------------------------------------------------------------------------------------- calendar


def retail_calendar(years: range) -> dict[date, Row]:
    """The 4-5-4 calendar, day by day from its definition: no arithmetic of the model's."""
    found: dict[date, Row] = {}
    restated: dict[tuple[int, int, int], date] = {}
    for year in years:
        first, end = (saturday_nearest_31_january(y) + timedelta(days=1) for y in (year, year + 1))
        days = [first + timedelta(days=n) for n in range((end - first).days)]
        weeks = [days[n : n + 7] for n in range(0, len(days), 7)]
        months = [4, 5, 4] * 3 + [4, 5, len(weeks) - 48]
        in_months = [(m, w) for m, size in enumerate(months, 1) for w in range(1, size + 1)]
        left_out = len(weeks) - 52
        for week, (dates, (month, week_of_month)) in enumerate(
            zip(weeks, in_months, strict=True), 1
        ):
            again = (year, week - left_out) if week > left_out else (None, None)
            for day in dates:
                found[day] = {
                    "retail_year": year,
                    "retail_quarter": (month + 2) // 3,
                    "retail_month": month,
                    "retail_week": week,
                    "retail_week_of_month": week_of_month,
                    "retail_year_start": first,
                    "retail_week_start": dates[0],
                    "restated_retail_year": again[0],
                    "restated_retail_week": again[1],
                    "comparable_date": restated.get((year - 1, week, day.weekday())),
                }
        restated |= {
            (year, week, day.weekday()): day
            for week, dates in enumerate(weeks[left_out:], 1)
            for day in dates
        }
    return found


def saturday_nearest_31_january(year: int) -> date:
    around = [date(year, 1, 31) + timedelta(days=n) for n in range(-3, 4)]
    return next(day for day in around if day.isoweekday() == 6)


def test_every_day_stands_in_three_calendars(warehouse: Warehouse) -> None:
    first, last = date(2010, 1, 1), date(2035, 12, 31)
    retail = retail_calendar(range(2008, 2036))
    sell_every_day(warehouse, ["FR"], first, last)

    warehouse.run("dim_date")

    found = rows_of(warehouse, "select * exclude (country, public_holiday_name, is_public_holiday)")
    assert [row["business_date"] for row in found] == [
        first + timedelta(days=n) for n in range((last - first).days + 1)
    ]
    for row in found:
        day = row["business_date"]
        iso = day.isocalendar()
        assert row == {
            "business_date": day,
            "calendar_year": day.year,
            "calendar_quarter": (day.month + 2) // 3,
            "calendar_month": day.month,
            "month_name": calendar.month_name[day.month],
            "day_of_month": day.day,
            "iso_year": iso.year,
            "iso_week": iso.week,
            "weekday": iso.weekday,
            "day_name": calendar.day_name[day.weekday()],
            "is_weekend": day.weekday() in (5, 6),
            **retail[day],
        }


def test_public_holidays_are_what_the_library_says(warehouse: Warehouse) -> None:
    assert MACRO_FILE.read_text("utf-8") == macro_text(load_countries()), (
        "Holidays or the registry changed: run `make holidays`, then rebuild dim_date."
    )
    countries = load_countries().codes
    sell_every_day(warehouse, [*countries, "XX"], date(2019, 1, 1), date(2036, 12, 31))

    warehouse.run("dim_date")

    for row in rows_of(warehouse, "select *"):
        country, day = row["country"], row["business_date"]
        known = country in countries and 2020 <= day.year <= 2035
        name = public_holidays(country).get(day) if known else None
        assert row["public_holiday_name"] == name
        assert row["is_public_holiday"] == ((name is not None) if known else None)


@cache
def public_holidays(country: str) -> dict[date, str]:
    return dict(holidays.country_holidays(country, years=range(2020, 2036), language="en_US"))


def sell_every_day(warehouse: Warehouse, countries: Sequence[str], first: date, last: date) -> None:
    """The two columns of int_sales that the calendar is made from."""
    warehouse.execute("create schema intermediate")
    warehouse.execute(
        "create table intermediate.int_sales as select country, cast(day as date) as business_date"
        " from (select unnest($1) as country), generate_series($2, $3, interval 1 day) as _ (day)",
        [list(countries), first, last],
    )


def rows_of(warehouse: Warehouse, select: str) -> list[Row]:
    """Rows of dim_date by column, in order."""
    sql = f"{select} from marts.dim_date order by country, business_date"
    names = [name for name, *_ in warehouse.execute(f"describe {sql}")]
    return [dict(zip(names, row, strict=True)) for row in warehouse.execute(sql)]


# ------------------------------------------------------------------------------------ convergence


FIRST = date(2025, 1, 1)
DAYS = 10
REASONS = ("currency:not_allowed", "quantity:too_small", "row:no_total")
"""Some for which a row goes to quarantine."""
SEED = 1


def random_rows(feed: str, country: str, day: date, rng: random.Random) -> list[Row]:
    """A delivery from a small set of keys, so that versions collide all the time."""

    def some(population: int) -> list[int]:
        return rng.sample(range(1, population + 1), rng.randint(0, population))

    def moment() -> str:
        return f"{day - timedelta(days=rng.choice((0, 0, 0, 1, 3, 6, 9)))} 12:00"

    if feed == "transactions":
        prefix = rng.choice(("INV", "RET"))
        return [
            sale(f"{prefix}-{country}-00{n % 3 + 1}-0000000{n}", rng.randint(1, 2),
                 str(rng.randint(1, 9)), moment(), quantity=rng.randint(1, 3), customer_id=n % 4,
                 size="SML"[n % 3])
            for n in some(9)
        ]  # fmt: skip
    if feed == "partner_sales":
        return [
            receipt(f"s{n % 2}", f"t{n}", "r", str(rng.randint(-5, 50)), moment()) for n in some(5)
        ]
    if feed == "fx_rates":
        currencies = [code for code in ("USD", "GBP") if rng.random() < 0.4]
        return [rate(day, code, str(rng.randint(2, 9))) for code in currencies]
    label = rng.choice(("a", "b"))
    if feed == "online_checkouts":
        return [checkout(country, n, moment(), rng) for n in some(5)]
    if feed == "online_orders":
        return [order(country, n, moment(), rng) for n in some(5)]
    if feed == "online_refunds":
        return [refund(country, n, moment(), rng) for n in some(3)]
    if feed == "pos_events":
        lines = random_rows("transactions", country, day, rng)
        return [till_event(n, line, rng) for n, line in enumerate(lines)]
    if feed == "inventory_movements":
        return [any_movement(country, n, moment(), rng) for n in some(5)]
    if feed == "stock_cdc":
        return [
            {"op": rng.choice((None, "I", "U", "U", "D")), "stock_id": n, "lsn": rng.randint(1, 9),
             "on_hand": rng.randint(0, 99), "committed_at": f"{day} 0{n}:00"} for n in some(4)
        ]  # fmt: skip
    reference: dict[str, list[Row]] = {
        "stores": [{"store_id": n, "city": label, "latitude": float(n)} for n in some(3)],
        "partner_stores": [{"store_token": f"s{n}", "store_name": label} for n in some(2)],
        "employees": [{"employee_id": n, "position": label} for n in some(3)],
        "customers": [{"customer_id": n, "city": label, "email_token": rng.choice("EF")}
                      for n in some(3)],
        "products": [{"product_id": n, "category": label, "production_cost": Decimal(n)}
                     for n in some(3)],
        "discounts": [
            {"starts_on": FIRST, "ends_on": FIRST, "category": rng.choice((None, "c")),
             "discount": Decimal("0.1"), "description": label} for _ in some(2)
        ],
        "crm_contacts": [{"contact_id": f"c{n}", "lead_source": label, "mailing_city": label,
                          "email_token": rng.choice("EFG"), "last_modified_at": moment()}
                         for n in some(3)],
        "suppliers": [{"supplier_id": f"SUP-{n}", "lead_time_days": rng.randint(1, 9)}
                      for n in some(3)],
        "weather": [{"city": city, "observed_on": moment()[:10], "wind_kmh": 1.0,
                     "temperature_min_c": float(rng.randint(0, 9)), "temperature_max_c": 10.0,
                     "precipitation_mm": float(rng.randint(0, 9))} for city in ("a", "b")],
        "competitor_prices": [{"competitor": label, "product_id": n, "observed_on": moment()[:10],
                               "price": Decimal(rng.randint(1, 9)), "currency": "USD"}
                              for n in some(3)],
    }  # fmt: skip
    return reference[feed]


def contents(warehouse: Warehouse) -> dict[str, list[tuple[object, ...]]]:
    """Rows of every model."""
    return {
        name: warehouse.table(name)
        for node in warehouse.manifest.nodes.values()
        if node.resource_type == "model"
        for name in (f"{node.schema}.{node.alias}",)
    }


def touched_days(warehouse: Warehouse, countries: set[str], first: date, last: date) -> set[date]:
    """Business days that the staged rows of these batches have a part in."""
    of_business = ("transactions", "partner_sales", "pos_events", "inventory_movements")
    of_the_web = ("online_orders", "online_refunds", "online_checkouts")
    from_outside = ("competitor_prices", "weather")
    valid_from = ("suppliers", "products", "stores", "partner_stores", "discounts")
    dated = dict.fromkeys((*of_business, *of_the_web, *from_outside), "business_date")
    dated |= dict.fromkeys(valid_from, "batch_date")
    rows = warehouse.execute(
        " ".join(
            f"select {column} from staging.stg_{feed} "
            "where batch_date between $1 and $2 and list_contains($3, country) union"
            for feed, column in dated.items()
        )
        + """
        select rate_date + unnest([0, 6]) from staging.stg_fx_rates
        where batch_date between $1 and $2 and list_contains($3, country)
        """,
        [first, last, sorted(countries)],
    )
    return {row[0] for row in rows}


def process(warehouse: Warehouse, countries: set[str], first: date, last: date) -> None:
    """What the orchestrator does for a rectangle of batches: the batches, then their days."""
    scope = "" if "ALL" in countries else ",tag:country"
    touched = touched_days(warehouse, countries, first, last)
    warehouse.run(
        f"tag:batch_day{scope}", countries=",".join(countries), first_day=first, last_day=last
    )
    touched |= touched_days(warehouse, countries, first, last)
    if touched:
        models = warehouse.manifest.nodes.values()
        reads = {n.name: n.config.meta["reads"] for n in models if n.config.meta.get("reads")}
        later = " ".join(f"{name}+" for name in sorted(reads))
        ahead = max(w.get("days_after", 0) for windows in reads.values() for w in windows.values())
        # a rate concerns the sales of every country
        concerned = "" if "ALL" in countries else ",".join(countries)
        warehouse.run(
            f"tag:business_day{scope}",
            exclude=later,
            countries=concerned,
            first_day=min(touched),
            last_day=max(touched),
        )
        warehouse.run(later, countries=concerned, first_day=min(touched) - timedelta(days=ahead))


def test_sliced_runs_in_any_order_equal_one_full_build(warehouse: Warehouse) -> None:
    rng = random.Random(SEED)
    feeds = [feed for feed in warehouse.columns if feed != "file_ledger"]
    scopes = {
        feed: ["ALL"]
        if feed in ("products", "discounts", "fx_rates", "suppliers")
        else ["FR", "US"]
        for feed in feeds
    }
    slices = [
        (f, c, FIRST + timedelta(days=n)) for f in feeds for c in scopes[f] for n in range(DAYS)
    ]

    for feed, country, day in slices:
        warehouse.deliver(feed, country, day, random_rows(feed, country, day, rng))
    # The first run creates every table, so that all others are increments.
    warehouse.run(first_day=FIRST, last_day=FIRST)
    windows = [(0, 3), (4, 6), (7, DAYS)]
    for first, last in rng.sample(windows, len(windows)):
        process(warehouse, {"ALL", "FR", "US"}, FIRST + timedelta(first), FIRST + timedelta(last))

    # Corrections: other rows, fewer rows, none at all. One day at a time, because what a run must
    # look up outside its slices shows only when they are narrow.
    for countries in ({"FR"}, {"ALL"}, {"US"}, {"FR", "US"}):
        day = FIRST + timedelta(days=rng.randrange(DAYS))
        for feed, country, delivered in slices:
            if country in countries and delivered == day:
                rows = random_rows(feed, country, day, rng) if rng.random() < 0.5 else []
                warehouse.deliver(feed, country, day, rows, version=2)
        process(warehouse, countries, day, day)

    sliced = contents(warehouse)
    for schema in ("staging", "intermediate", "marts"):
        warehouse.execute(f"drop schema {schema} cascade")
    warehouse.run()

    rebuilt = contents(warehouse)
    for model, rows in sliced.items():
        assert rows == rebuilt[model], model
        assert rows, f"{model} is empty: this run proved nothing about it"


# ------------------------------------------------------------------------------- run by run safety


def test_running_twice_changes_nothing(traded: Warehouse) -> None:
    before = contents(traded)
    traded.run()
    assert contents(traded) == before


def test_a_failed_insert_leaves_the_slice_as_it_was(traded: Warehouse) -> None:
    traded.execute("delete from staging.stg_stores where store_name is null")
    traded.execute("alter table staging.stg_stores alter column store_name set not null")
    before = traded.table("staging.stg_stores")
    assert before

    result = traded.dbt("run", "--select", "stg_stores", countries="FR")

    assert not result.success
    assert "NOT NULL" in messages(result)
    assert traded.table("staging.stg_stores") == before


def test_data_tests_look_at_the_slices_of_the_run_only(traded: Warehouse) -> None:
    traded.execute(
        "insert into marts.fct_sales from marts.fct_sales where business_date = ?", [FRI]
    )
    name = "fct_sales__grain__unique"

    elsewhere = traded.dbt("test", "--select", name, countries="FR", first_day=SAT, last_day=SUN)
    there = traded.dbt("test", "--select", name, countries="FR", first_day=FRI, last_day=FRI)

    assert outcomes(elsewhere) == {name: "pass"}
    assert outcomes(there) == {name: "fail"}


@pytest.mark.parametrize(
    ("arguments", "variables", "reason"),
    [
        ((), {"countries": "FR'; drop"}, "expected comma separated codes"),
        ((), {"first_day": "11.01.2025"}, "expected an ISO date"),
        ((), {"first_day": "2025-01-12", "last_day": "2025-01-11"}, "no later than last_day"),
        (("--full-refresh",), {"countries": "FR"}, "would drop every other slice"),
    ],
)
def test_wrong_slices_stop_the_run(
    warehouse: Warehouse, arguments: tuple[str, ...], variables: Row, reason: str
) -> None:
    result = warehouse.dbt("run", "--select", "stg_stores", *arguments, **variables)
    assert not result.success
    assert reason in messages(result)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("add column new integer", "Target columns not in source: .*new"),
        ("drop column city", "Source columns not in target: .*city"),
        ("alter city type integer", "New column types: .*city"),
    ],
)
def test_an_increment_with_other_columns_than_its_table_is_refused(
    warehouse: Warehouse, change: str, difference: str
) -> None:
    warehouse.run("stg_stores")
    warehouse.execute(f"alter table staging.stg_stores {change}")
    result = warehouse.dbt("run", "--select", "stg_stores")
    assert not result.success
    assert re.search(difference, messages(result))


def test_an_increment_may_have_the_columns_of_its_table_in_another_order(
    warehouse: Warehouse,
) -> None:
    warehouse.run("stg_stores")
    warehouse.execute("alter table staging.stg_stores drop column city")
    warehouse.execute("alter table staging.stg_stores add column city varchar")
    warehouse.deliver("stores", "FR", FRI, [{"store_id": 1, "city": "Lyon"}])
    warehouse.run("stg_stores")
    assert warehouse.execute("select city from staging.stg_stores") == [("Lyon",)]


WEEKS = [date(2025, 1, 10) + timedelta(weeks=n) for n in range(5)]
UNLIKE: dict[str, tuple[str, set[str]]] = {
    "A": ("delete from sales where {last} and customer_id < 7", {"lines", "null_rate"}),
    "B": ("delete from sales where {last} and customer_id < 3", set()),
    "C": ("insert into sales select s.* from sales s, range(2) where {last}", {"lines"}),
    "D": ("insert into sales select s.* from sales s where {last}", set()),
    "E": ("update sales set customer_id = null where {last} and customer_id < 3", {"null_rate"}),
    "F": ("update sales set customer_id = null where {last} and customer_id < 2", set()),
    "G": ("update sales set unit_price_local = 21 where {last}", {"price"}),
    "H": ("update sales set unit_price_local = 20 where {last}", set()),
    "I": ("update sales set unit_price_local = 4.9 where {last}", {"price"}),
    # What was unusual before says nothing of the day.
    "J": ("update sales set unit_price_local = 30 where {own} and business_date = '2025-01-10'",
          set()),
    # Two weeks are too few to be the usual, and so is another weekday, or another country.
    "K": ("delete from sales where {own} and business_date < '2025-01-24' or {last}"
          " and customer_id < 7", set()),
    "L": ("update sales set business_date = business_date + 1, unit_price_local = 99"
          " where {last}", set()),
    "M": ("update sales set country = 'N', unit_price_local = 99 where {last}", set()),
}  # fmt: skip
"""By country what happens to it, and which of its measures are unlike themselves then."""


def test_a_day_is_like_the_same_weekday_before(warehouse: Warehouse) -> None:
    """Ten lines on each of five Fridays, for 10 euros, two of them without a buyer."""
    last = WEEKS[-1]
    warehouse.execute("create schema marts")
    warehouse.execute(
        "create table marts.fct_sales as select country, cast(day as date) as business_date, case"
        " when n < 8 then n end as customer_id, cast(10 as decimal(18, 2)) as unit_price_local"
        " from range(10) lines(n), (select unnest(?) as day), (select unnest(?) as country)",
        [WEEKS, [*UNLIKE]],
    )
    for country, (change, _) in UNLIKE.items():
        own = f"country = '{country}'"
        told = change.format(own=own, last=f"{own} and business_date = '{last}'")
        warehouse.execute(told.replace(" sales", " marts.fct_sales"))
    tests = {
        "lines": "fct_sales__lines__like_same_weekday",
        "null_rate": "fct_sales__customer_id__null_rate_like_same_weekday",
        "price": "fct_sales__unit_price_local__like_same_weekday",
    }
    done = warehouse.dbt("test", "--select", *tests.values(), first_day=last, last_day=last)
    found: dict[str, set[str]] = {}
    for result in done.result.results:
        assert result.status == "warn"
        rows = warehouse.execute(result.node.compiled_code)
        found[result.node.name] = {str(country) for country, *_ in rows}
    for name, test in tests.items():
        assert found[test] == {c for c, (_, unlike) in UNLIKE.items() if name in unlike}, name
