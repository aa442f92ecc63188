"""Arrival histories: a small world of files, a platform they arrive at, and what must come of them.

`Installation` plays deliveries and visits (one `retail run` each) on the real platform;
`expected_raw` says by simple means which rows count, `rebuilt_from_scratch` what everything made
of them has to look like. Which histories are worth playing is the business of the tests.
"""

import json
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb
import pytest
from dbt.adapters.sql import SQLConnectionManager

from retail_platform.assets import batch_day, business_day, models
from retail_platform.assets.lifetime_values import lifetime_values, sql_types
from retail_platform.assets.recording import record_materializations
from retail_platform.contract import FeedContract
from retail_platform.countries import ALL, CountryRegistry
from retail_platform.definitions import Platform, build_platform
from retail_platform.gate.gate import Gate
from retail_platform.lake.inbox import plan_arrivals
from retail_platform.lake.manifest import Manifest
from retail_platform.lake.store import INBOX, MANIFESTS, Lake
from retail_platform.operate.foreground import ForegroundRunner, Outcome
from retail_platform.operate.instance import open_instance
from retail_platform.partitions import Partition, Slices
from retail_platform.protection.keys import DataKeys
from retail_platform.resources import (
    DbtResource,
    DuckDBResource,
    SnowflakeWarehouseResource,
    keys_resource,
    resources_for,
)
from retail_platform.settings import Environment, Settings, exported
from retail_platform.transform.dbt_project import DbtProject
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.protocol import PartitionLoad, Warehouse
from retail_platform.warehouse.publish import CATALOGUE
from retail_platform_tests.builders import Row, csv_text, row

if TYPE_CHECKING:
    from retail_platform_tests.emulated_cloud import Cloud

CLOUD: "Cloud | None" = None
"""Where installations live: in folders, on DuckDB, or in this cloud, on Snowflake.

The one seam between the engines: `RETAIL_ENV=ci` sets it for all tests, see conftest.py.
"""


@contextmanager
def living_in(cloud: "Cloud") -> Iterator[None]:
    """Installations made in this block live in the cloud."""
    with pytest.MonkeyPatch.context() as patch, exported(cloud.variables):
        patch.setitem(globals(), "CLOUD", cloud)
        yield


FIRST_DAY = date(2025, 1, 1)
LAST_DAY = date(2025, 2, 15)
"""Late, so that what reads all days before has some to do, and no later: it is built often."""
COUNTRIES = ("CN", "FR")
"""One country whose sales need an exchange rate and one whose sales do not."""

REGISTRY_OF_TWO = """countries:
  - {code: CN, name: China, currency: CNY, timezone: Asia/Shanghai, aliases: [中国]}
  - {code: FR, name: France, currency: EUR, timezone: Europe/Paris}
"""
_EPOCH = datetime(2025, 2, 1, tzinfo=UTC)
_CURRENCIES = {"CN": "CNY", "FR": "EUR"}
_IDENTITY = {
    "transactions": "invoice_id || ' x' || quantity || ' on ' || cast(sold_at as date)",
    "partner_sales": "transaction_id || ' ' || amount",
    "stores": "store_id || ' ' || city",
    "customers": "customer_id || ' ' || city",
    "crm_contacts": "right(contact_id, 1) || ' at ' || strftime(last_modified_at, '%M') || ' as '"
    " || lead_source",
    "products": "product_id || ' ' || category",
    "fx_rates": "rate_date || ' ' || currency || ' ' || cast(rate as decimal(9, 2))",
    "pos_events": "event_id || ' x' || quantity || ' at ' || strftime(produced_at, '%M')",
    "online_orders": "order_id || ' ' || total_price || ' at ' || strftime(updated_at, '%M')",
    "online_checkouts": "checkout_id || ' at ' || strftime(updated_at, '%M') || ' after ' || "
    "coalesce(date_diff('minute', created_at, completed_at), 0)",
    "inventory_movements": "movement_id || ' x' || quantity || ' on ' || cast(moved_at as date)",
    "suppliers": "supplier_id || ' ' || lead_time_days",
    "stock_cdc": "coalesce(op, 'L') || stock_id || ' @' || lsn || ' = ' || on_hand",
    "employees": "employee_id || ' ' || position",
    "partner_stores": "store_token || ' ' || store_name",
    "discounts": "starts_on || ' to ' || ends_on || ': ' || cast(100 * discount as integer)",
    "competitor_prices": "competitor || ' ' || price || ' on ' || observed_on",
    "weather": "city || ' ' || cast(temperature_max_c as integer) || ' on ' || observed_on",
    "online_refunds": "refund_id || ' of ' || order_id || ': ' || amount",
}
"""What tells two rows of a feed apart, as SQL over its RAW table."""


def day(number: int) -> date:
    """Day of the small world, from 1."""
    return FIRST_DAY + timedelta(days=number - 1)


# ---------------------------------------------------------------------------------- deliveries


@dataclass(frozen=True)
class Delivery:
    """One file put into the inbox.

    Attributes:
        minute: when it was delivered, in minutes; decides which version of a name is newer.
        rows: country and identity of each row that ought to be loaded; None for a file that ought
            to be refused.
    """

    name: str
    content: bytes = field(repr=False)
    minute: float
    rows: tuple[tuple[str, str], ...] | None

    @property
    def at(self) -> datetime:
        """Delivery time."""
        return _EPOCH + timedelta(minutes=self.minute)

    @property
    def feed(self) -> str:
        """Feed the name belongs to."""
        return next(feed for feed in _IDENTITY if self.name.startswith(feed))

    @property
    def batch_date(self) -> date:
        """Batch day the name carries."""
        digits = re.findall(r"\d{4}/?\d{2}/?\d{2}", self.name)[0].replace("/", "")
        return datetime.strptime(digits, "%Y%m%d").date()  # noqa: DTZ007


def sales(
    country: str, batch: int, lines: Sequence[tuple[int, int, int]], minute: float, part: str = ""
) -> Delivery:
    """Till receipts.

    Args:
        lines: (business day, number of the receipt on that day, quantity); quantity 0 is a row
            that breaks the contract. Receipts of the same number are of the same customer.
    """
    made, good = [], {}
    for sold, number, quantity in lines:
        invoice = f"INV-{country}-021-{sold:04d}{number:04d}"
        total = f"{quantity * 45}.00"
        made.append(
            row(
                "transactions",
                country,
                day(sold),
                invoice_id=invoice,
                customer_id=str(1000 + number),
                quantity=str(quantity),
                line_total=total,
                invoice_total=total,
            )
        )
        if quantity:
            good[f"{invoice} x{quantity} on {day(sold)}"] = country
    name = f"transactions_{country}_{day(batch):%Y%m%d}{part}.csv"
    return _delivery(name, "transactions", made, minute, [(c, i) for i, c in good.items()])


def partner_receipts(
    country: str, batch: int, lines: Sequence[tuple[int, int, int]], minute: float
) -> Delivery:
    """Partner sales in US dollars: (business day, number, dollars)."""
    made = [
        row(
            "partner_sales",
            country,
            day(sold),
            transaction_id=f"t{sold}-{number}",
            receipt_token=f"r{sold}-{number}",
            amount=f"${dollars}.00",
        )
        for sold, number, dollars in lines
    ]
    good = {f"t{sold}-{number} {dollars}.00" for sold, number, dollars in lines}
    name = f"partner_sales_{country}_{day(batch):%Y%m%d}.csv"
    return _delivery(name, "partner_sales", made, minute, [(country, i) for i in sorted(good)])


def shops(batch: int, cities: Mapping[str, Mapping[int, str]], minute: float) -> Delivery:
    """One file with the shops of several countries: country -> shop number -> city."""
    made = [
        row("stores", country, store_id=str(number), city=city)
        for country, of_country in cities.items()
        for number, city in of_country.items()
    ]
    good = [
        (c, f"{number} {city}") for c, shops in cities.items() for number, city in shops.items()
    ]
    return _delivery(f"stores_ALL_{day(batch):%Y%m%d}.csv", "stores", made, minute, good)


def members(country: str, batch: int, cities: Mapping[int, str], minute: float) -> Delivery:
    """Customers and where they live now; each has an address of his own, see `contacts`."""
    made = [
        row("customers", country, customer_id=str(n), city=c, email=f"member{n}@example.com")
        for n, c in cities.items()
    ]
    good = [(country, f"{number} {city}") for number, city in cities.items()]
    return _delivery(
        f"customers_{country}_{day(batch):%Y%m%d}.csv", "customers", made, minute, good
    )


def contacts(
    country: str, batch: int, versions: Sequence[tuple[int, int, int]], minute: float
) -> Delivery:
    """A page of the CRM system.

    Args:
        versions: (number of the contact, minute in which the CRM system changed it, customer whose
            e-mail address it has since; 0 for an address of its own, -1 for a contact deleted).
    """
    records, good = [], {}
    for number, changed, member in versions:
        label = "deleted" if member < 0 else f"member{member}"
        records.append(
            {
                "attributes": {"type": "Contact"},
                "Id": f"003{number:012d}",
                "Email": f"{label if member > 0 else f'contact{number}'}@example.com",
                "MailingCity": "Bordeaux",
                "LeadSource": label,
                "HasOptedOutOfEmail": False,
                "Marketing_Consent__c": changed % 2 == 0,
                "IsDeleted": member < 0,
                "LastModifiedDate": f"2025-01-20T10:{changed:02d}:00.000+0000",
            }
        )
        good[f"{number} at {changed:02d} as {label}"] = country
    content = json.dumps({"records": records}).encode()
    name = f"crm_contacts_{country}_{day(batch):%Y%m%d}.json"
    return Delivery(name, content, minute, tuple((c, i) for i, c in good.items()))


def articles(batch: int, categories: Mapping[int, str], minute: float) -> Delivery:
    """Products and the category they are in now; the first one is what everybody sells."""
    made = [row("products", product_id=str(484 + n), category=c) for n, c in categories.items()]
    good = [(ALL, f"{484 + number} {category}") for number, category in categories.items()]
    return _delivery(f"products_{day(batch):%Y%m%d}.csv", "products", made, minute, good)


def rates(batch: int, rate: int, minute: float, of: Sequence[int] = ()) -> Delivery:
    """Exchange rates of the yuan and the dollar; of the batch day, unless told otherwise."""
    made, good = [], []
    for rated in of or (batch,):
        for currency in ("CNY", "USD"):
            made.append(
                row("fx_rates", rate_date=str(day(rated)), currency=currency, rate=f"{rate}.5")
            )
            good.append((ALL, f"{day(rated)} {currency} {rate}.50"))
    return _delivery(f"fx_rates_{day(batch):%Y%m%d}.csv", "fx_rates", made, minute, good)


def till_events(
    country: str, batch: int, told: Sequence[tuple[int, int, int, int]], minute: float, part: str
) -> Delivery:
    """Events of one till.

    Args:
        told: (business day, number of the event, minute in which the till sent it, pieces).
        part: end of the file's name; a stream never writes a name twice.
    """
    lines, good = [], {}
    for sold, number, sent, quantity in told:
        record = {
            "event_id": f"{sold}-{number}",
            "source": f"{country}-021-T1",
            "type": "receipt_line.sold",
            "produced_at": f"2025-01-20T10:{sent:02d}:00Z",
            "receipt": {
                "invoice_id": f"INV-{country}-021-{sold:04d}{number:04d}",
                "line": 1,
                "store_id": 21,
                "sold_at": f"{day(sold)}T10:00:00+01:00",
                "currency": _CURRENCIES[country],
            },
            "item": {
                "product_id": 1, "quantity": quantity, "unit_price": "1", "discount": 0,
                "line_total": quantity,
            },
        }  # fmt: skip
        lines.append(json.dumps(record))
        good[f"{sold}-{number} x{quantity} at {sent:02d}"] = None
    when = f"{day(batch):%Y/%m/%d}"
    name = f"pos_events/{country}/{when}/06/events-{day(batch):%Y%m%d}{part}"
    content = "".join(lines).encode()
    return Delivery(name, content, minute, tuple((country, identity) for identity in good))


def order_pages(
    country: str,
    batch: int,
    versions: Sequence[tuple[int, int, int, int]],
    minute: float,
    part: str = "",
) -> Delivery:
    """Pages of a web shop's order list, two orders on each, as an API answers them.

    Args:
        versions: (business day, number of the order on that day, minute in which the shop changed
            it, total).
    """
    orders, good = [], {}
    for placed, number, changed, total in versions:
        order = {
            "id": placed * 1000 + number,
            "created_at": f"{day(placed)}T12:00:00+00:00",
            "updated_at": f"2025-01-20T10:{changed:02d}:00+00:00",
            "currency": _CURRENCIES[country],
            "subtotal_price": f"{total}.00",
            "total_price": f"{total}.00",
            "email": f"buyer{number}@example.com",
        }
        orders.append(order)
        good[f"{order['id']} {total}.00 at {changed:02d}"] = None
    pages = [{"orders": orders[n : n + 2]} for n in range(0, len(orders), 2)] or [{"orders": []}]
    content = "\n".join(map(json.dumps, pages)).encode()
    name = f"online_orders_{country}_{day(batch):%Y%m%d}{part}.json"
    return Delivery(name, content, minute, tuple((country, identity) for identity in good))


def checkout_pages(
    country: str,
    batch: int,
    versions: Sequence[tuple[int, int, int, int]],
    minute: float,
    part: str = "",
) -> Delivery:
    """A page of a web shop's checkouts; the third of every day is of somebody unknown.

    Args:
        versions: (business day, number of the checkout on that day, minute in which the shop
            changed it, minutes from its beginning to its completion; 0 for not completed).
    """
    checkouts, good = [], {}
    for begun, number, changed, minutes in versions:
        begun_at = datetime(2025, 1, 1, 12, tzinfo=UTC) + timedelta(days=begun - 1)
        checkout = {
            "id": begun * 1000 + number,
            "token": f"c{number}",
            "created_at": begun_at.isoformat(),
            "updated_at": f"2025-01-20T10:{changed:02d}:00+00:00",
            "completed_at": (begun_at + timedelta(minutes=minutes)).isoformat()
            if minutes
            else None,
            "currency": _CURRENCIES[country],
            "subtotal_price": f"{number}0.00",
            "total_price": f"{number}2.00",
            "buyer_accepts_marketing": number == 1,
            "line_items": [],
            "email": None if number == 3 else f"buyer{number}@example.com",
        }
        checkouts.append(checkout)
        good[f"{checkout['id']} at {changed:02d} after {minutes}"] = None
    content = json.dumps({"checkouts": checkouts}).encode()
    name = f"online_checkouts_{country}_{day(batch):%Y%m%d}{part}.json"
    return Delivery(name, content, minute, tuple((country, identity) for identity in good))


def movements(
    country: str, batch: int, told: Sequence[tuple[int, int, int]], minute: float, part: str = ""
) -> Delivery:
    """Stock movements of one shop.

    Args:
        told: (business day, number of the movement on that day, pieces): received from a supplier
            or, if negative, sold; the first of every day is a count.
    """
    made, good = [], {}
    for moved, number, pieces in told:
        kind = "count" if number == 1 else "receipt" if pieces > 0 else "sale"
        identity = f"{moved}-{number}"
        made.append(
            row(
                "inventory_movements",
                country,
                day(moved),
                movement_id=identity,
                movement_type=kind,
                product_id=str(number % 2 + 1),
                quantity=str(pieces),
                supplier_id=f"SUP-000{number}" if kind == "receipt" else "",
            )
        )
        if pieces or kind == "count":
            good[f"{identity} x{pieces} on {day(moved)}"] = country
    stem = f"inventory_movements_{country}_{day(batch):%Y%m%d}{part}.csv"
    total = sum(pieces for _, _, pieces in told)
    content = csv_text("inventory_movements", made) + f"TRL,{len(made)},{total}\n"
    return Delivery(stem, content.encode(), minute, tuple((c, i) for i, c in good.items()))


def purchasing(batch: int, lead_times: Mapping[int, int], minute: float) -> Delivery:
    """Suppliers and the days they take to deliver."""
    made = [
        row("suppliers", supplier_id=f"SUP-000{n}", lead_time_days=str(days))
        for n, days in lead_times.items()
    ]
    good = [(ALL, f"SUP-000{n} {days}") for n, days in lead_times.items()]
    return _delivery(f"suppliers_{day(batch):%Y%m%d}.csv", "suppliers", made, minute, good)


def stock_changes(
    country: str, batch: int, log: Sequence[tuple[str, int, int, int]], minute: float
) -> Delivery:
    """A file of the replicated stock table.

    Args:
        log: (operation, row, position, pieces); operation L for rows of a full load, which come
            in a file of their own.
    """
    lines, good = [], {}
    for op, stock, position, pieces in log:
        currency = _CURRENCIES[country]
        values = f"{stock},21,1,M,B,{pieces},0,1,1,1.5,{currency},2025-01-01 00:00:{position:02d}.0"
        lines.append(f"{values},{position}\n" if op == "L" else f"{op},{values},{position}\n")
        good[lines[-1]] = f"{op}{stock} @{position} = {pieces}"
    full = bool(log) and log[0][0] == "L"
    stem = "LOAD00000001" if full else f"{day(batch):%Y%m%d}-220000123"
    name = f"stock_cdc/{country}/{day(batch):%Y/%m/%d}/{stem}.csv"
    content = "".join(lines).encode()
    return Delivery(name, content, minute, tuple((country, g) for g in good.values()))


def staff(country: str, batch: int, positions: Mapping[int, str], minute: float) -> Delivery:
    """Employees of one shop and what they are now; the seventh is who sells everything."""
    shop = {"CN": "6", "FR": "21"}[country]
    made = [
        row("employees", country, employee_id=str(n), store_id=shop, position=position)
        for n, position in positions.items()
    ]
    good = [(country, f"{number} {position}") for number, position in positions.items()]
    return _delivery(
        f"employees_{country}_{day(batch):%Y%m%d}.csv", "employees", made, minute, good
    )


def partner_shops(country: str, batch: int, names: Mapping[int, str], minute: float) -> Delivery:
    """Shops of partners and what they are called now; the first one makes all partner sales."""
    made = [
        row("partner_stores", country, store_token=f"s-{n}", store_name=name)
        for n, name in names.items()
    ]
    good = [(country, f"s-{number} {name}") for number, name in names.items()]
    name = f"partner_stores_{country}_{day(batch):%Y%m%d}.csv"
    return _delivery(name, "partner_stores", made, minute, good)


def promotions(batch: int, windows: Sequence[tuple[int, int, int]], minute: float) -> Delivery:
    """Promotions of all articles: (first day, last day, percent taken off)."""
    made, good = [], []
    for first, last, percent in windows:
        days = {"starts_on": str(day(first)), "ends_on": str(day(last))}
        everything = {"category": "", "sub_category": ""}
        made.append(row("discounts", **days, **everything, discount=f"{percent / 100}"))
        good.append((ALL, f"{day(first)} to {day(last)}: {percent}"))
    return _delivery(f"discounts_{day(batch):%Y%m%d}.csv", "discounts", made, minute, good)


def competitor_prices(
    country: str, batch: int, seen: Sequence[tuple[int, int, int]], minute: float
) -> Delivery:
    """What others want for the article that everybody sells.

    Args:
        seen: (business day, number of the competitor, price).
    """
    made = [
        row(
            "competitor_prices",
            country,
            day(observed),
            competitor=f"Rival {number}",
            price=f"{price}.00",
        )
        for observed, number, price in seen
    ]
    good = {f"Rival {number} {price}.00 on {day(observed)}" for observed, number, price in seen}
    name = f"competitor_prices_{country}_{day(batch):%Y%m%d}.csv"
    return _delivery(name, "competitor_prices", made, minute, [(country, i) for i in sorted(good)])


def weather(
    country: str, batch: int, told: Sequence[tuple[int, str, int]], minute: float
) -> Delivery:
    """Weather of cities: (business day, city, highest temperature)."""
    observations, good = [], {}
    for observed, city, degrees in told:
        observations.append(
            {
                "city": city,
                "date": str(day(observed)),
                "temperature": {"min": degrees - 8, "max": degrees},
                "precipitation_mm": 0.5,
                "wind_kmh": 12.5,
                "condition": "cloudy",
            }
        )
        good[f"{city} {degrees} on {day(observed)}"] = None
    content = json.dumps({"observations": observations}).encode()
    name = f"weather_{country}_{day(batch):%Y%m%d}.json"
    return Delivery(name, content, minute, tuple((country, identity) for identity in good))


def refund_pages(
    country: str, batch: int, told: Sequence[tuple[int, int, int, int]], minute: float
) -> Delivery:
    """A page of what a web shop paid back for orders, see `order_pages`.

    Args:
        told: (business day, number of the refund on that day, business day of the order, amount);
            the order has the number of the refund.
    """
    refunds, good = [], {}
    for paid, number, placed, amount in told:
        refund = {
            "id": paid * 1000 + number,
            "order_id": placed * 1000 + number,
            "created_at": f"{day(paid)}T12:00:00+00:00",
            "restock": True,
            "refund_line_items": [
                {"quantity": 1, "line_item": {"product_id": 485, "price": f"{amount}.00"}}
            ],
            "transactions": [
                {
                    "amount": f"{amount}.00",
                    "currency": _CURRENCIES[country],
                    "status": "success",
                }
            ],
        }
        refunds.append(refund)
        good[f"{refund['id']} of {refund['order_id']}: {amount}.00"] = None
    content = json.dumps({"refunds": refunds}).encode()
    name = f"online_refunds_{country}_{day(batch):%Y%m%d}.json"
    return Delivery(name, content, minute, tuple((country, identity) for identity in good))


def broken(name: str, minute: float) -> Delivery:
    """A file under that name that no contract accepts."""
    return Delivery(name, b"Wrong,Columns\n1,2\n", minute, None)


def _delivery(
    name: str, feed: str, rows: Sequence[Row], minute: float, good: Sequence[tuple[str, str]]
) -> Delivery:
    return Delivery(name, csv_text(feed, rows).encode(), minute, tuple(good))


@dataclass(frozen=True)
class Visit:
    """One `retail run`: the platform looks at the inbox and works until nothing is left to do.

    Attributes:
        fails_at: point at which everything fails from then on, see `faults`; None = all is well.
        after: how often that point is passed before it fails.
        meanwhile: file that another process takes in when the first run over business days has
            read its inputs and not yet recorded what it made of them.
        once: only one look, as a sensor does: what arrived is loaded, no mart is built of it yet.
    """

    fails_at: str | None = None
    after: int = 0
    meanwhile: Delivery | None = None
    once: bool = False


Step = Delivery | Visit

FAULTS = (
    *(f"gate {step}" for step in ("data", "quarantine", "history", "manifests", "inbox")),
    *(f"load {s}" for s in ("begin", "delete", "insert", "ledger", "commit", "committed")),
    "before models",
    "dbt statement",
    "after models",
    "batch-day publication",
    "batch-day events",
    "business-day publication",
    "business-day events",
)
"""Points of a run, in about the order in which it passes them."""


class Fault(Exception):
    """What an injected failure raises."""


def fail() -> None:
    """What a full disk or a lost connection does."""
    raise Fault("injected")


@contextmanager
def faults(point: str | None, after: int, strike: Callable[[], None] = fail) -> Iterator[None]:
    """Strike whenever the platform passes a point, from a certain time on.

    Args:
        point: one of `FAULTS`; None strikes never.
        after: how often the point is passed unharmed.
    """
    passed: Counter[str] = Counter()

    def pass_by(here: str) -> None:
        passed[here] += 1
        if here == point and passed[here] > after:
            strike()

    def gate(*arguments: Any) -> Gate:
        return Gate(*arguments, on_step=lambda step: pass_by(f"gate {step}"))

    def warehouse(resource: DuckDBResource) -> DuckDBWarehouse:
        return DuckDBWarehouse(Path(resource.path), on_step=lambda step: pass_by(f"load {step}"))

    def passing(here: str, real: Callable[..., Any], then: str | None = None) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            pass_by(here)
            result = real(*arguments, **options)
            if then:
                pass_by(then)
            return result

        return wrapper

    def on_snowflake(resource: SnowflakeWarehouseResource) -> Warehouse:
        from retail_platform_tests.emulated_cloud import opened

        return opened(resource, lambda step: pass_by(f"load {step}"))

    recorded = record_materializations
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_day, "Gate", gate)
        patch.setattr(DuckDBResource, "open", warehouse)
        patch.setattr(SnowflakeWarehouseResource, "open", on_snowflake)
        build = passing("before models", models.ModelRun.build, "after models")
        patch.setattr(models.ModelRun, "build", build)
        query = passing("dbt statement", SQLConnectionManager.add_query)
        patch.setattr(SQLConnectionManager, "add_query", query)
        for module, kind in ((batch_day, "batch-day"), (business_day, "business-day")):
            patch.setattr(module, "record_materializations", passing(f"{kind} events", recorded))
            publish = passing(f"{kind} publication", models.ModelRun.publish)
            patch.setattr(module, "ModelRun", type("Run", (models.ModelRun,), {"publish": publish}))
        yield


# ----------------------------------------------------------------------------------- platform


@dataclass
class Installation:
    """A platform of two countries that histories are played on.

    Attributes:
        seen: deliveries that were taken in, in the order the platform came to see them.
        pending: files that lie in the inbox, by name.
        unsettled: a visit failed, so some of them may be known already.
    """

    platform: Platform
    instance: dg.DagsterInstance
    seen: list[Delivery] = field(default_factory=list)
    pending: dict[str, Delivery] = field(default_factory=dict)
    unsettled: bool = False

    @classmethod
    @contextmanager
    def new(
        cls, home: Path, dbt_work_dir: Path, change: Callable[[Settings], Settings] = lambda s: s
    ) -> Iterator["Installation"]:
        """An empty installation; anything that lies below `home` is removed."""
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        with cls.at(home, dbt_work_dir, change) as installation:
            yield installation

    @classmethod
    @contextmanager
    def at(
        cls, home: Path, dbt_work_dir: Path, change: Callable[[Settings], Settings] = lambda s: s
    ) -> Iterator["Installation"]:
        """The one below `home`, whose history is on disk: it can be copied and goes on from there.

        It does not know what the other one has seen.
        """
        platform = small_platform(home, dbt_work_dir, change)
        with open_instance(platform.settings) as instance:
            yield cls(platform, instance)

    @property
    def lake(self) -> Lake:
        """The lake."""
        return Lake.open(self.platform.settings.lake_url)

    @property
    def warehouse(self) -> Path:
        """The warehouse file; of a warehouse in the cloud, a copy of what it holds now."""
        path = self.platform.settings.warehouse_path
        return CLOUD.copy_of_tables(path) if CLOUD else path

    @property
    def published(self) -> Path:
        """The copy for readers; in the cloud there is none."""
        return self.platform.settings.published_path

    def unpublished(self) -> list[str]:
        """See `unpublished`; in the cloud readers ask the warehouse itself."""
        if CLOUD:
            return []
        return unpublished(self.published, self.warehouse)

    def lose_warehouse(self) -> None:
        """All tables are gone."""
        if CLOUD:
            CLOUD.lose_tables()
        else:
            self.warehouse.unlink()

    def play(self, steps: Sequence[Step]) -> None:
        """Deliver and visit in the order given."""
        for step in steps:
            if isinstance(step, Visit):
                self.visit(step)
            else:
                self.deliver(step)

    def deliver(self, delivery: Delivery) -> None:
        """Put a file into the inbox; it replaces one of the same name that still lies there."""
        if self.unsettled and delivery.name in self.pending:
            self.visit()  # whether the replaced one was ever seen must not be a guess
        put(self.lake, delivery)
        self.pending[delivery.name] = delivery

    def visit(self, visit: Visit = Visit()) -> Outcome:
        """Run until idle, as a new command would."""
        runner = ForegroundRunner(self.platform, self.instance, self.lake)
        meanwhile = [visit.meanwhile] if visit.meanwhile else []

        def overtake() -> None:
            while meanwhile:
                self._take_in(runner, meanwhile.pop())

        point, strike = ("business-day events", overtake) if meanwhile else (visit.fails_at, fail)
        with faults(point, visit.after, strike):
            outcome = runner.run_until_idle(once=visit.once)
        assert not meanwhile, "no run over business days"
        self.unsettled = bool(visit.fails_at)
        if not self.unsettled:
            waiting = {obj.path.removeprefix(INBOX) for obj in self.lake.list(INBOX)}
            refused = {name for name, delivery in self.pending.items() if delivery.rows is None}
            assert waiting == refused == {r.name for r in outcome.rejections}
            self.seen += [d for name, d in self.pending.items() if name not in waiting]
            self.pending = {name: d for name, d in self.pending.items() if name in waiting}
        return outcome

    def _take_in(self, runner: ForegroundRunner, delivery: Delivery) -> None:
        """What the sensor has done for a new file, and nothing of what automation does then."""
        put(self.lake, delivery)
        for request in self.platform.desk.range_requests(
            self.platform.desk.look(self.lake).arrivals
        ):
            outcome = runner.execute(request)
            assert outcome.success, outcome
        self.seen.append(delivery)

    def rebuild_from_lake(self, days: int) -> None:
        """Lose the warehouse and backfill everything."""
        self.lose_warehouse()
        runner = ForegroundRunner(self.platform, self.instance, self.lake)
        self._backfill(runner, runner.executable_assets, days)

    def build_business_days(self, names: Collection[str] = ()) -> None:
        """Build what is of business days, in as few runs as there can be.

        Args:
            names: of tables; without any it is all of them.
        """
        runner = ForegroundRunner(self.platform, self.instance, self.lake)
        graph = self.platform.definitions.resolve_asset_graph()
        assets = [
            key
            for key in runner.executable_assets
            if graph.get(key).assets_def.op.name.startswith("business_day")
            and (not names or key.path[-1] in names)
        ]
        self._backfill(runner, assets, (LAST_DAY - FIRST_DAY).days + 1)

    @staticmethod
    def _backfill(runner: ForegroundRunner, assets: list[dg.AssetKey], days: int) -> None:
        partitions = [Partition(c, day(n)) for c in COUNTRIES for n in range(1, days + 1)]
        for request in runner.backfill(assets, partitions):
            outcome = runner.execute(request)
            assert outcome.success, outcome


def small_platform(
    home: Path, dbt_work_dir: Path, change: Callable[[Settings], Settings] = lambda s: s
) -> Platform:
    """A platform of two countries, with dbt parsed once for all that share a work dir.

    Of a closed period: reports that look back have a partition on every later day.
    """
    countries = home / "countries.yaml"
    countries.write_text(REGISTRY_OF_TWO, encoding="utf-8")
    settings = Settings(
        environment=Environment.LOCAL,
        home=home,
        lake_url=(home / "lake").as_uri(),
        countries_file=countries,
        first_day=FIRST_DAY,
        last_day=LAST_DAY,
        settle_seconds=0,
    )
    settings = change(CLOUD.settings(settings) if CLOUD else settings)
    resources = resources_for(settings)
    stock = resources["dbt"]
    assert isinstance(stock, DbtResource)
    parsed = CLOUD.dbt_work_dir if CLOUD else dbt_work_dir
    # A copy of a resource would give runs the settings of the original.
    resources["dbt"] = DbtResource(**{**stock.model_dump(), "work_dir": str(parsed)})
    return build_platform(settings, resources)


def put(lake: Lake, delivery: Delivery) -> None:
    """Write a file into a lake's inbox with its delivery time."""
    if lake.local_root is None:
        from retail_platform_tests.emulated_cloud import put_at

        put_at(lake, INBOX + delivery.name, delivery.content, delivery.at)
        return
    path = lake.local_root / INBOX / delivery.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(delivery.content)
    os.utime(path, (delivery.at.timestamp(), delivery.at.timestamp()))


# ------------------------------------------------------------------------------------- oracles


def expected_raw(deliveries: Sequence[Delivery]) -> dict[str, list[tuple[str, date, str]]]:
    """Feed -> rows that count (country, batch day, identity): those of the newest delivery of each
    name; of the same content under two names, once."""
    newest: dict[str, Delivery] = {}
    for delivery in sorted(deliveries, key=lambda d: d.minute):
        newest[delivery.name] = delivery
    expected: dict[str, list[tuple[str, date, str]]] = defaultdict(list)
    for delivery in {(d.feed, d.batch_date, d.content): d for d in newest.values()}.values():
        expected[delivery.feed] += [
            (country, delivery.batch_date, identity) for country, identity in delivery.rows or ()
        ]
    return {feed: sorted(rows) for feed, rows in expected.items() if rows}


def actual_raw(warehouse: Path) -> dict[str, list[tuple[str, date, str]]]:
    """Feed -> rows in RAW, comparable with `expected_raw`."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        found = {
            feed: connection.execute(
                f"select _country, _batch_date, {identity} from raw.{feed} order by all"
            ).fetchall()
            for feed, identity in _IDENTITY.items()
        }
    return {feed: rows for feed, rows in found.items() if rows}


def rebuilt_from_scratch(
    home: Path, deliveries: Sequence[Delivery], platform: Platform, dbt: DbtProject
) -> Path:
    """The same deliveries on an empty machine, everything built at once: no Dagster, no slices.

    A name can lie in the inbox only once, so its versions pass the gate one after the other, in
    the order of their delivery times.

    Args:
        dbt: project over the warehouse in `home`.

    Returns:
        The warehouse file.
    """
    shutil.rmtree(home, ignore_errors=True)
    # Other keys would make other tokens and ciphertexts of the same people.
    settings = platform.settings
    keys = keys_resource(settings).open(Lake.open(settings.lake_url))
    lake = Lake.open((home / "lake").as_uri())
    warehouse = DuckDBWarehouse(home / "warehouse.duckdb")
    versions: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in sorted(deliveries, key=lambda d: d.minute):
        versions[delivery.name].append(delivery)
    while versions:
        for of_name in versions.values():
            put(lake, of_name.pop(0))
        versions = {name: rest for name, rest in versions.items() if rest}
        _through_the_gate(lake, platform.contracts, platform.registry, keys)
    warehouse.prepare(platform.contracts.values())
    manifests = defaultdict(list)
    for obj in lake.list(MANIFESTS):
        manifest = Manifest.model_validate_json(lake.get(obj.path))
        manifests[manifest.feed].append(PartitionLoad.of(manifest))
    for feed, loads in manifests.items():
        warehouse.replace_partitions(lake, platform.contracts[feed], loads, "rebuild")
    failed = [r for r in dbt.run(["*"], None) if not r.ok]
    assert not failed, failed
    everything = Slices(COUNTRIES, FIRST_DAY, settings.last_day or LAST_DAY)
    for mart, rows in lifetime_values(warehouse, everything).items():
        warehouse.replace_slices(f"marts.{mart}", sql_types(mart), rows, everything)
    return warehouse.path


def _through_the_gate(
    lake: Lake, contracts: Mapping[str, FeedContract], registry: CountryRegistry, keys: DataKeys
) -> None:
    plan = plan_arrivals(
        lake.list(INBOX), contracts, registry, first_day=FIRST_DAY, now=datetime.now(UTC)
    )
    for feed, contract in contracts.items():
        arrivals = [a for a in plan.arrivals if a.file.feed == feed]
        report = Gate(lake, contract, registry, keys).take_in(arrivals)
        assert not report.rejections, report.rejections


_NOT_COMPARED = {"_loaded_at", "_run_id", "loaded_at", "run_id"}
"""When and by which run something was loaded is not part of what it is."""


def differences(actual: Path, expected: Path) -> list[str]:
    """Every cell of RAW, ledger, staging, intermediate and marts that differs, table by table."""
    found = []
    with duckdb.connect() as connection:
        connection.execute(f"attach '{actual}' as actual (read_only)")
        connection.execute(f"attach '{expected}' as expected (read_only)")
        columns: dict[str, dict[str, list[str]]] = {"actual": {}, "expected": {}}
        for catalog, schema, table, column in connection.execute(
            "select database_name, schema_name, table_name, column_name from duckdb_columns() "
            "where schema_name in ('raw', 'staging', 'intermediate', 'marts') "
            # Days that were ever touched by late rows: a record of the past, made to outlive them.
            "and table_name <> 'late_days' order by column_index"
        ).fetchall():
            if column not in _NOT_COMPARED:
                columns[catalog].setdefault(f"{schema}.{table}", []).append(column)
        for table, names in columns["expected"].items():
            listed = ", ".join(names)
            both = [f"select {listed} from {side}.{table}" for side in ("actual", "expected")]
            if table not in columns["actual"]:  # no run ever touched it
                both[0] = f"{both[1]} limit 0"
            for label, one, other in (("lacks", *both[::-1]), ("has too much", *both)):
                rows = connection.execute(f"({one}) except all ({other}) order by all").fetchall()
                found += [f"{table} {label}: {_shown(names, r)}" for r in rows[:3]]
    return found


def empty_tables(warehouse: Path, schema: str) -> set[str]:
    """Tables without rows: whatever is said of them, a history says nothing about them."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        tables = connection.execute(
            f"select table_name from duckdb_tables() where schema_name = '{schema}'"
        ).fetchall()
        return {
            table
            for (table,) in tables
            if not connection.execute(f"select 1 from {schema}.{table} limit 1").fetchall()
        }


def unpublished(published: Path, warehouse: Path) -> list[str]:
    """Every row of a mart that readers lack, or see although it is there no longer."""
    found = []
    with duckdb.connect() as connection:
        connection.execute(f"attach '{published / CATALOGUE}' as published (read_only)")
        connection.execute(f"attach '{warehouse}' as warehouse (read_only)")
        marts: dict[str, set[str]] = {"published": set(), "warehouse": set()}
        for catalog, mart in connection.execute(
            "select distinct database_name, table_name from duckdb_columns() "
            "where schema_name = 'marts'"
        ).fetchall():
            marts[catalog].add(mart)
        for mart in sorted(marts["warehouse"]):
            real = f"from warehouse.marts.{mart}"
            copy = f"from published.marts.{mart}"
            if mart not in marts["published"]:  # no run ever asked for it
                copy = f"{real} limit 0"
            for label, one, other in (("lacks", real, copy), ("has too much", copy, real)):
                rows = connection.execute(f"({one}) except all ({other}) order by all").fetchall()
                found += [f"published {mart} {label}: {r}" for r in rows[:3]]
    return found


def _shown(names: Sequence[str], values: Sequence[object]) -> str:
    return ", ".join(
        f"{name}={value}" for name, value in zip(names, values, strict=True) if value is not None
    )
