"""The feeds beside the nightly files: true to their partners' shapes, and to the nightly files."""

import csv
import gzip
import io
import json
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from retail_platform.countries import load_countries
from retail_platform.demo import channels, generator
from retail_platform.demo.catalogue import MARKETS
from retail_platform.demo.dirt import Dirt
from retail_platform.demo.generator import NIGHTLY_FEEDS, GeneratorSpec, generate

Record = dict[str, Any]
SPEC = GeneratorSpec(
    first_day=date(2025, 3, 24),  # clocks are put forward on the 30th in Europe
    days=10,
    lines_per_day=150,
    seed=11,
    feeds=(*channels.FEEDS, "transactions", "customers"),
    customers=2_800,
    products=1_040,
    countries=("CN", "FR", "US"),
)
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def clean() -> Files:
    files: Files = {}
    generate(SPEC, Dirt.none(), files.__setitem__)
    return files


@pytest.fixture(scope="module")
def repeated() -> Files:
    files: Files = {}
    spec = replace(SPEC, feeds=("pos_events",))
    generate(spec, Dirt(repeated_events=True), files.__setitem__)
    return files


def of(files: Files, feed: str) -> Files:
    return {n: d for n, d in files.items() if n.startswith((f"{feed}_", f"{feed}/"))}


def table(files: Files, feed: str) -> list[Record]:
    return [
        {**row, "file": name}
        for name, data in of(files, feed).items()
        for row in csv.DictReader(io.StringIO(data.decode()))
        if not next(iter(row.values())).startswith("TRL")
    ]


def events(files: Files) -> list[Record]:
    return [
        {**json.loads(line), "file": name}
        for name, data in of(files, "pos_events").items()
        for line in gzip.decompress(data).splitlines()
    ]


def pages(files: Files, feed: str, key: str) -> list[Record]:
    return [
        {**record, "file": name}
        for name, data in of(files, feed).items()
        for record in json.loads(data)[key]
    ]


def orders_in(files: Files) -> list[Record]:
    return pages(files, "online_orders", "orders")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def day_of(name: str) -> date:
    return datetime.strptime(name.split("_")[-1][:8], "%Y%m%d").date()  # noqa: DTZ007


def test_together_they_are_all_feeds() -> None:
    assert (*NIGHTLY_FEEDS, *channels.FEEDS) == generator.FEEDS
    zones = {c.code: c.timezone for c in load_countries().countries}
    assert zones.items() <= channels.TIME_ZONES.items()
    assert channels.TIME_ZONES.keys() == MARKETS.keys()


def test_same_spec_same_bytes_and_a_day_does_not_depend_on_the_range(clean: Files) -> None:
    part: Files = {}
    generate(replace(SPEC, days=6, countries=("FR",)), Dirt.none(), part.__setitem__)
    assert len(part) > 50
    assert part.items() <= clean.items()


def test_till_events_are_the_receipts_of_the_largest_shops(clean: Files) -> None:
    first = {MARKETS[c].first_store for c in SPEC.countries}
    streaming = {n + i for n in first for i in range(channels.STREAMING_SHOPS)}
    rung_up = {
        (r["Invoice ID"], int(r["Line"]), Decimal(r["Line Total"]), int(r["Product ID"]))
        for r in table(clean, "transactions")
        if int(r["Store ID"]) in streaming
    }
    told = [
        (e["receipt"]["invoice_id"], e["receipt"]["line"], Decimal(e["item"]["line_total"]),
         e["item"]["product_id"]) for e in events(clean)
    ]  # fmt: skip
    assert len(told) == len(set(told)) > 500
    assert set(told) == rung_up
    assert {kind for e in events(clean) for kind in [e["type"]]} == {
        "receipt_line.sold",
        "receipt_line.returned",
    }


def test_clean_events_are_in_order_and_their_folder_is_the_local_day(clean: Files) -> None:
    by_file = defaultdict(list)
    for event in events(clean):
        sold = moment(event["receipt"]["sold_at"])
        by_file[event["file"]].append(sold)
        _, _, year, month, day, _, _ = event["file"].split("/")
        assert (sold.year, sold.month, sold.day) == (int(year), int(month), int(day))
        assert timedelta(0) < moment(event["produced_at"]) - sold < timedelta(minutes=2)
    assert all(times == sorted(times) for times in by_file.values())
    paris = {e["receipt"]["sold_at"][-6:] for e in events(clean) if e["file"].split("/")[1] == "FR"}
    assert paris == {"+01:00", "+02:00"}


def test_repeated_events_come_later_elsewhere_and_out_of_order(
    clean: Files, repeated: Files
) -> None:
    versions = defaultdict(list)
    for event in events(repeated):
        versions[event["source"], event["event_id"]].append(event)
    again = [sorted(v, key=lambda e: e["attempt"]) for v in versions.values() if len(v) > 1]
    assert len(versions) == len(events(clean))
    assert 0 < len(again) < 0.1 * len(versions)
    assert any(first["file"].rsplit("/", 3)[0] != second["file"].rsplit("/", 3)[0]
               for first, second in again)  # fmt: skip
    for first, second in again:
        assert second["produced_at"] > first["produced_at"]
        assert (first["receipt"], first["item"]) == (second["receipt"], second["item"])
    times = [e["produced_at"] for e in events(repeated) if e["file"] == again[0][0]["file"]]
    assert times != sorted(times)


def test_orders_come_in_versions_whose_change_is_of_the_day_of_their_file(clean: Files) -> None:
    versions = defaultdict(list)
    for order in orders_in(clean):
        versions[order["id"]].append(order)
        assert moment(order["updated_at"]).date() == day_of(order["file"])
        assert moment(order["updated_at"]) >= moment(order["created_at"])
        lines = sum(Decimal(i["price"]) * i["quantity"] for i in order["line_items"])
        assert Decimal(order["total_line_items_price"]) == lines
        total = lines - Decimal(order["total_discounts"])
        assert Decimal(order["total_price"]) == total
    assert any(len({v["file"] for v in of_order}) > 1 for of_order in versions.values())
    assert any(len({v["file"] for v in of_order}) == 1 < len(of_order)
               for of_order in versions.values())  # fmt: skip
    assert {v["financial_status"] for v in orders_in(clean)} >= {"authorized", "paid", "voided"}


def test_refunds_take_back_a_line_of_a_known_order(clean: Files) -> None:
    orders = {o["id"]: o for o in orders_in(clean)}
    refunds = pages(clean, "online_refunds", "refunds")
    assert refunds
    for refund in refunds:
        order = orders[refund["order_id"]]
        (line,) = refund["refund_line_items"]
        assert line["line_item_id"] in {i["id"] for i in order["line_items"]}
        assert refund["transactions"][0]["amount"] == line["line_item"]["price"]


def test_some_checkouts_are_abandoned_and_the_others_are_orders(clean: Files) -> None:
    versions: dict[int, list[Record]] = defaultdict(list)
    for checkout in pages(clean, "online_checkouts", "checkouts"):
        versions[checkout["id"]].append(checkout)
    latest = {n: max(v, key=lambda c: moment(c["updated_at"])) for n, v in versions.items()}
    completed = {n for n, c in latest.items() if c["completed_at"]}
    assert completed == {o["checkout_id"] for o in orders_in(clean)}
    assert len(latest) - len(completed) > 10
    assert any(len(v) > 1 for v in versions.values())


def test_contacts_are_members_with_their_address(clean: Files) -> None:
    members = {(r["Customer ID"], r["Email"]) for r in table(clean, "customers")}
    contacts = pages(clean, "crm_contacts", "records")
    assert {(str(c["Loyalty_Number__c"]), c["Email"]) for c in contacts} <= members
    assert 0.5 < len(contacts) / len(members) < 0.7
    assert {c["Marketing_Consent__c"] for c in contacts} == {True, False}


def test_movements_are_what_the_receipts_say_and_come_in_the_next_morning(clean: Files) -> None:
    moved = table(clean, "inventory_movements")
    net: dict[str, int] = defaultdict(int)
    for row in moved:
        net[row["Movement Type"]] += int(row["Quantity"])
        assert row["Moved At"][:10] == str(day_of(row["file"]))
    lines = table(clean, "transactions")
    assert -net["sale"] == sum(int(r["Quantity"]) for r in lines if r["Invoice ID"][0] == "I")
    assert net["return"] == sum(int(r["Quantity"]) for r in lines if r["Invoice ID"][0] == "R")
    last = str(SPEC.first_day + timedelta(days=SPEC.days - 1))
    came = [r for r in moved if r["Movement Type"] == "receipt"]
    assert sum(int(r["Quantity"]) for r in came if not r["Reference"]) == sum(
        int(r["Quantity"]) for r in lines if r["Invoice ID"][0] == "I" and r["Date"][:10] != last
    )
    assert net["transfer_in"] == -net["transfer_out"] > 0
    suppliers = {r["Supplier ID"] for r in table(clean, "suppliers")}
    assert {r["Supplier ID"] for r in moved if r["Movement Type"] == "receipt"} <= suppliers
    assert len({(r["file"], r["Movement ID"]) for r in moved}) == len(moved)


def test_no_shop_sells_what_it_does_not_have(clean: Files) -> None:
    balance: dict[tuple[str, ...], int] = {}
    opened = Counter()
    for row in sorted(table(clean, "inventory_movements"), key=lambda r: r["Moved At"]):
        item = tuple(row[name] for name in ("Currency", "Store ID", "Product ID", "Size"))
        assert (item not in balance) == (row["Reference"] == "opening stock"), row
        balance[item] = balance.get(item, 0) + int(row["Quantity"])
        assert balance[item] >= 0, row
        opened[row["Moved At"][:10]] += row["Reference"] == "opening stock"
    days = [opened[str(SPEC.first_day + timedelta(days=n))] for n in (0, SPEC.days - 1)]
    assert days[0] > days[1] > 0


def test_changes_lead_from_state_to_state(clean: Files) -> None:
    """Who replays the log sees inserts of what is not there and deletes of what is."""
    for country in ("CN", "FR", "US"):
        files = sorted(of(clean, f"stock_cdc/{country}").items(), key=lambda f: f[0].split("/")[2:])
        there: set[str] = set()
        position = 0
        ops = set()
        for name, data in sorted(files, key=lambda f: (f[0].split("/")[2:5], "LOAD" not in f[0])):
            for row in csv.reader(io.StringIO(data.decode())):
                op = "L" if "LOAD" in name else row.pop(0)
                assert len(row) == 13
                ops.add(op)
                assert int(row[12]) > position or op == "L"
                position = int(row[12])
                assert (row[0] in there) == (op in "UD"), (name, row)
                there ^= {row[0]} if op != "U" else set()
        assert ops == {"L", "I", "U", "D"}


def test_late_changes_wait_for_the_second_wave() -> None:
    files: Files = {}
    spec = replace(SPEC, feeds=("stock_cdc",))
    made = generate(spec, Dirt(late_changes=True), files.__setitem__)
    (late,) = made.late_files
    assert late == "stock_cdc/FR/2025/03/29/20250329-220000123.csv"
    assert late not in files
    assert [name for name, _ in made.second_wave] == [late]


def test_a_large_day_of_tills_is_cut_into_files_of_hours() -> None:
    files: Files = {}
    spec = replace(SPEC, feeds=("pos_events",), lines_per_day=3_000, days=1, countries=("CN",))
    made = generate(spec, Dirt.none(), files.__setitem__)
    hours = [name.split("/")[5] for name in files]
    assert hours == [f"{hour:02d}" for hour in range(10, 23)]
    assert made.rows["pos_events"] == len(events(files))


def test_weather_follows_the_seasons() -> None:
    def warmth(first_day: date) -> float:
        files: Files = {}
        spec = replace(SPEC, feeds=("weather",), first_day=first_day, days=7)
        generate(spec, Dirt.none(), files.__setitem__)
        seen = pages(files, "weather", "observations")
        return sum(o["temperature"]["max"] for o in seen) / len(seen)

    assert warmth(date(2025, 7, 14)) > warmth(date(2025, 1, 14)) + 8
