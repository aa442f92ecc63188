"""Deliveries beside the nightly files: till events, web shop, CRM, stock, and what is bought in.

They speak about the same shops, articles and customers, and till events and stock movements about
the same receipts, as the nightly files; so what has to agree comes in through `World`. Returned
money or corrected receipts of the nightly files are not followed here.
"""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from retail_platform.demo import catalogue
from retail_platform.demo.articles import SIZE_WORDS, Articles
from retail_platform.demo.catalogue import Market
from retail_platform.demo.chance import (
    Floats,
    Ints,
    Keys,
    Purpose,
    below,
    blocks,
    draw,
    key_of,
    normal,
    pick,
    unit,
    words_at,
)  # fmt: skip
from retail_platform.demo.files import (
    csv_bytes,
    date_of,
    enveloped,
    file_name,
    split_csv,
    split_ndjson,
    timestamp,
)  # fmt: skip

FEEDS = (
    "pos_events", "online_orders", "online_checkouts", "online_refunds", "crm_contacts",
    "inventory_movements", "suppliers", "weather", "competitor_prices", "stock_cdc",
)  # fmt: skip

TIME_ZONES = {
    "CN": "Asia/Shanghai", "DE": "Europe/Berlin", "ES": "Europe/Madrid", "FR": "Europe/Paris",
    "GB": "Europe/London", "PT": "Europe/Lisbon", "US": "America/New_York",
}  # fmt: skip
"""Clock of each market's shops and web shop."""

STREAMING_SHOPS = 2
"""Shops of a market, its largest ones, whose tills send events beside the nightly file."""

ROWS_PER_STREAM_FILE = 150
ORDER_SHARE, GUESTS, ABANDONED = 0.05, 0.2, 1.2
REFUND_RATE, CANCELLED, CONTACT_SHARE, SHELVES = 0.06, 0.03, 0.6, 40
REPEATED = 0.04
OPENING_STOCK = 24
_TAX = 20
_DAY_SECONDS = 86_400
_LOG_PER_DAY = 1_000_000
_ISO = "%Y-%m-%dT%H:%M:%S%:z"


@dataclass(frozen=True)
class World:
    """What all deliveries share.

    Attributes:
        days, reference_days: counted from the epoch of `files`.
        lines_per_day: sale lines of an average country and day.
        receipts: till lines of a market in blocks of days, sales and due returns.
        people: customer records (the columns of the customers feed) of members in a version.
        roster: `day`, `member` and `version` of who is new or changed, and the rows of each day.
        members: members at the end of each day.
    """

    seed: int
    days: Ints
    reference_days: list[int]
    lines_per_day: int
    articles: Articles
    receipts: Callable[[Market], Iterator[tuple[Ints, pl.DataFrame]]]
    people: Callable[[Market, Ints, Ints], pl.DataFrame]
    roster: Callable[[Market], tuple[pl.DataFrame, Ints]]
    members: Callable[[Market, Ints], Ints]


class File(NamedTuple):
    """One delivery: name, day (counted from the epoch), content, data rows."""

    name: str
    day: int
    data: bytes
    rows: int


def files_of(feed: str, world: World, market: Market, repeated: bool) -> Iterator[File]:
    """Files of one feed and market, in order of days within each block.

    Args:
        feed: one of `FEEDS` except suppliers, who belong to no market.
        repeated: tills repeat some events, and events come out of order.
    """
    match feed:
        case "pos_events":
            yield from _pos_events(world, market, repeated)
        case "online_orders":
            yield from _online_orders(world, market)
        case "online_checkouts":
            yield from _online_checkouts(world, market)
        case "online_refunds":
            yield from _online_refunds(world, market)
        case "crm_contacts":
            yield from _crm_contacts(world, market)
        case "inventory_movements":
            yield from _inventory_movements(world, market)
        case "weather":
            yield from _weather(world, market)
        case "competitor_prices":
            yield from _competitor_prices(world, market)
        case "stock_cdc":
            yield from _stock_cdc(world, market)


def suppliers(world: World) -> Iterator[File]:
    """The whole list on every reference day; one supplier per group of articles."""
    count = len(catalogue.ARTICLE_GROUPS)
    key = key_of(world.seed, Purpose.SUPPLIER, np.arange(count))
    homes = catalogue.SUPPLIER_HOMES
    home = below(draw(key, 0), len(homes))
    names = below(draw(key, 1), len(catalogue.SUPPLIER_NAMES))
    frame = pl.DataFrame(
        {
            "Supplier ID": [f"SUP-{n:04d}" for n in range(1, count + 1)],
            "Name": [
                f"{catalogue.SUPPLIER_NAMES[i]} {group.words[4]} Works"
                for i, group in zip(names, catalogue.ARTICLE_GROUPS, strict=True)
            ],
            "Country": words_at([country for country, _, _ in homes], home),
            "Category": [group.category for group in catalogue.ARTICLE_GROUPS],
            "Currency": words_at([currency for _, currency, _ in homes], home),
            "Lead Time Days": np.array([days for _, _, days in homes])[home]
            + below(draw(key, 2), 10),
            "Minimum Order Quantity": 50 * (1 + below(draw(key, 3), 10)),
            "Payment Terms Days": 30 * (1 + below(draw(key, 4), 3)),
            "On Time Rate": np.round(0.8 + 0.19 * unit(draw(key, 5)), 2),
            "Contact Email": [f"orders{n}@fake_supplier.com" for n in range(1, count + 1)],
        }
    )
    for day in world.reference_days:
        yield File(file_name("suppliers", None, day), day, csv_bytes(frame), frame.height)


# --- shared ---------------------------------------------------------------------------------------


def _daily(
    world: World, feed: str, market: Market, rows: pl.DataFrame, shape: pl.DataFrame, envelope: str
) -> Iterator[File]:
    """One JSON document per day that has rows.

    Args:
        rows: sorted by `file_day`, which may lie outside the range.
        shape: the same rows as records.
    """
    inside = rows["file_day"].is_between(int(world.days[0]), int(world.days[-1]))
    sizes = _per_day(world.days, rows.filter(inside)["file_day"].to_numpy())
    contents = split_ndjson(shape.filter(inside), sizes)
    for day, size, lines in zip(world.days, sizes, contents, strict=True):
        if not size:
            continue
        name = file_name(feed, market.token, int(day), "json")
        yield File(name, int(day), enveloped(envelope, lines), int(size))


def _per_day(days: Ints, of_rows: Ints) -> Ints:
    return np.bincount(of_rows - days[0], minlength=days.size)


def _wall(market: Market, day: Ints, second: Ints) -> pl.Series:
    """Moments by the clock of a market, with its zone."""
    zone = TIME_ZONES[market.code]
    shown = pl.col("shown")
    as_shown, later = (
        moment.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        # Nothing happens in the hour that is left out in spring.
        for moment in (shown, shown + pl.duration(hours=1))
    )
    frame = timestamp(day, second).to_frame("shown")
    return frame.select(pl.coalesce(as_shown, later).alias("zoned")).to_series()


def _iso(market: Market, day: Ints, second: Ints) -> pl.Series:
    return _wall(market, day, second).dt.strftime(_ISO)


def _money(cents: Ints) -> pl.Series:
    """Amounts as text with two decimals."""
    frame = pl.DataFrame({"cents": cents})
    sign = pl.when(pl.col("cents") < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    whole, rest = pl.col("cents").abs() // 100, pl.col("cents").abs() % 100
    text = pl.format("{}{}.{}", sign, whole, rest.cast(pl.String).str.zfill(2))
    return frame.select(text.alias("text")).to_series()


def _unit_cost(market: Market, articles: Articles, article: Ints) -> Floats:
    """Cost of one piece in the market's currency."""
    return np.round(np.clip(articles.dollars * 0.29, 0.56, 77.19) * market.price_level, 4)[article]


def _invoice(market: Market, rows: pl.DataFrame) -> pl.Series:
    return rows.select(
        pl.format(
            "{}-{}-{}-{}",
            pl.when(pl.col("is_return") == 1).then(pl.lit("RET")).otherwise(pl.lit("INV")),
            pl.lit(market.token),
            (pl.col("shop") + market.first_store).cast(pl.String).str.zfill(3),
            pl.col("counter").cast(pl.String).str.zfill(8),
        ).alias("invoice")
    ).to_series()


# --- tills ----------------------------------------------------------------------------------------


def _pos_events(world: World, market: Market, repeated: bool) -> Iterator[File]:
    """Several files a day where there is much to send; one event per receipt line."""
    last = int(world.days[-1])
    waiting: list[pl.DataFrame] = []
    for days, lines in world.receipts(market):
        lines = lines.filter(pl.col("shop") < STREAMING_SHOPS).drop("file_day")
        column = {name: lines[name].to_numpy() for name in lines.columns}
        key = key_of(
            world.seed, Purpose.EVENT, market.first_store, column["counter"],
            column["line"] * 2 + column["is_return"],
        )  # fmt: skip
        # The nightly file stamps returns with midnight; a till knows better.
        second = np.where(
            column["is_return"] == 1, 36_000 + below(draw(key, 0), 36_000), column["second"]
        )
        rows = lines.with_columns(
            pl.Series("second", second),
            pl.Series("delay", 1 + below(draw(key, 1), 90)),
            pl.Series("arrival", draw(key, 2)),
            file_day=pl.col("day"),
            attempt=pl.lit(1, pl.Int64),
        )
        if repeated:
            chosen = unit(draw(key, 3)) < REPEATED
            again = rows.filter(pl.Series(chosen)).with_columns(
                pl.Series("delay", 120 + below(draw(key, 4), 1_800)[chosen]),
                pl.Series("next", (unit(draw(key, 5)) < 0.5)[chosen].astype(np.int64)),
                attempt=pl.lit(2, pl.Int64),
            )
            again = again.with_columns(
                file_day=(pl.col("day") + pl.col("next")).clip(upper_bound=last),
                arrival=pl.col("arrival") ^ 0x5555_5555,
            ).drop("next")
            rows = pl.concat([rows, again])
        order = ["file_day", "arrival"] if repeated else ["file_day", "second", "counter", "line"]
        rows = pl.concat([*waiting, rows]).sort(*order, "attempt")
        due = rows["file_day"].search_sorted(int(days[-1]), side="right")
        waiting = [rows[due:]]
        yield from _stream_files(market, days, rows[:due], _events(world, market, rows[:due]))


def _events(world: World, market: Market, rows: pl.DataFrame) -> pl.DataFrame:
    column = {name: rows[name].to_numpy() for name in rows.columns}
    article, returned = column["article"], column["is_return"]
    sold_at = _wall(market, column["day"], column["second"])
    articles = world.articles
    sku = pl.DataFrame(
        {
            "head": words_at(articles.sku_heads, article),
            "size": words_at([f"{word}-" for word in SIZE_WORDS], column["size"]),
            "color": words_at([*catalogue.COLORS, ""], articles.color[article]),
        }
    ).select(pl.concat_str(pl.all()).alias("sku"))
    frame = pl.DataFrame(
        {
            "sold_at": sold_at.dt.strftime(_ISO),
            "produced_at": (
                sold_at + pl.Series(column["delay"] * 1_000, dtype=pl.Duration("ms"))
            ).dt.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z"),
            "invoice_id": _invoice(market, rows),
            "kind": words_at(["receipt_line.sold", "receipt_line.returned"], returned),
            "suffix": words_at(["S", "R"], returned),
            "till": 1 + column["counter"] % 2,
            "payment": words_at(["Credit Card", "Cash"], column["cash"]),
            "sku": sku["sku"],
            "word": words_at([word or None for word in SIZE_WORDS], column["size"]),
            "colour": words_at([*catalogue.COLORS, None], articles.color[article]),
            "price": _money(column["half_units"] * 50),
            "total": _money(column["cents"]),
            "store_id": column["shop"] + market.first_store,
            "customer_id": column["customer"],
            "product_id": article + 1,
            "discount": column["percent"] / 100,
        }
    ).hstack(rows.select("counter", "line", "attempt", "employee", "quantity"))
    return frame.select(
        event_id=pl.format("{}-{}-{}", "counter", "line", "suffix"),
        source=pl.format(
            f"{market.token}-{{}}-T{{}}", pl.col("store_id").cast(pl.String).str.zfill(3), "till"
        ),
        type="kind",
        attempt="attempt",
        produced_at="produced_at",
        receipt=pl.struct(
            "invoice_id", "line", "sold_at", "store_id", "customer_id",
            employee_id="employee", payment_method="payment", currency=pl.lit(market.currency),
        ),
        item=pl.struct(
            "product_id", "sku", "quantity", "discount",
            size="word", color="colour", unit_price="price", line_total="total",
        ),
    )  # fmt: skip


def _stream_files(
    market: Market, days: Ints, rows: pl.DataFrame, events: pl.DataFrame
) -> Iterator[File]:
    """Files as a delivery stream cuts them, at most one an hour from opening to closing."""
    per_day = _per_day(days, rows["file_day"].to_numpy())
    parts = np.clip(1 + per_day // ROWS_PER_STREAM_FILE, 1, 13)
    sizes = [
        len(piece)
        for size, count in zip(per_day.tolist(), parts.tolist(), strict=True)
        for piece in np.array_split(np.empty(size), count)
    ]
    owner, part = blocks(parts)
    contents = split_ndjson(events, np.array(sizes))
    for day, number, count, size, lines in zip(
        days[owner].tolist(), part.tolist(), parts[owner].tolist(), sizes, contents, strict=True
    ):
        hour = 22 - (count - number - 1)
        when = date_of(day)
        stream = f"pos-events-{market.token}-1-{when}-{hour:02d}-00-00-{day:04x}{number:04x}"
        name = f"pos_events/{market.token}/{when:%Y/%m/%d}/{hour:02d}/{stream}.gz"
        yield File(name, day, gzip.compress(lines, compresslevel=4, mtime=0), size)


# --- web shop -------------------------------------------------------------------------------------


def _orders(world: World, market: Market) -> pl.DataFrame:
    """All checkouts of the days that become orders, and what becomes of these; money in cents."""
    per_day = max(2, round(world.lines_per_day * market.volume * ORDER_SHARE))
    owner, position = blocks(np.full(world.days.size, per_day))
    day = world.days[owner]
    key = key_of(world.seed, Purpose.ORDER, market.first_store, day, position)
    second = np.minimum(below(draw(key, 0), _DAY_SECONDS), _DAY_SECONDS - 3_600)
    member = (unit(draw(key, 1)) ** 1.5 * world.members(market, world.days)[owner]).astype(np.int64)
    count = 1 + pick(draw(key, 2), (0.6, 0.3, 0.1))
    order, line = blocks(count)
    line_key = draw(key[order], 16 + line)
    articles = world.articles
    rank = unit(draw(line_key, 0)) ** 1.3 * articles.popular.size
    article = articles.popular[rank.astype(np.int64)]
    half_units = np.maximum(1, np.rint(2 * market.price_level * articles.dollars)).astype(np.int64)
    quantity = 1 + pick(draw(line_key, 1), catalogue.QUANTITY)
    price = half_units[article] * 50
    starts = np.cumsum(count) - count
    items = np.add.reduceat(price * quantity, starts)
    reduced = np.where(unit(draw(key, 3)) < 0.15, items // 10, 0)
    number = (market.first_store * 10_000 + day) * 100_000 + position
    lines = pl.DataFrame(
        {
            "id": number[order] * 10 + line,
            "product_id": article + 1,
            "sku": words_at(articles.sku_heads, article),
            "variant_title": words_at(
                [word or None for word in SIZE_WORDS], articles.sizes(article, draw(line_key, 2))
            ),
            "title": [articles.groups[i].words[4] for i in article],
            "quantity": quantity,
            "price": _money(price),
            "order": order,
        }
    )
    nested = (
        lines.group_by("order", maintain_order=True)
        .agg(pl.struct("id", "product_id", "sku", "variant_title", "title", "quantity", "price"))
        .select(pl.col("id").alias("line_items"))
    )
    refunded = unit(draw(key, 4)) < REFUND_RATE
    orders = pl.DataFrame(
        {
            "begun": day,
            # Some think about it for a night.
            "day": day + (unit(draw(key, 10)) < 0.1),
            "second": second,
            "number": number,
            "member": member,
            "guest": unit(draw(key, 5)) < GUESTS,
            "items": items,
            "reduced": reduced,
            "subtotal": items - reduced,
            "tax": (items - reduced) * _TAX // (100 + _TAX),
            "first_price": price[starts],
            "consent": unit(draw(key, 6)) < 0.4,
            "cancelled": (unit(draw(key, 7)) < CANCELLED) & ~refunded,
            "shipped_after": below(draw(key, 8), 4),
            "refunded_after": np.where(refunded, 4 + below(draw(key, 9), 17), -1),
        }
    )
    return orders.hstack(nested)


def _buyers(world: World, market: Market, member: Ints) -> pl.DataFrame:
    """What the web shop knows about members; their first record, as it never hears of a move."""
    people = world.people(market, member, np.zeros(member.size, np.int64))
    return people.select(
        id="Customer ID",
        email="Email",
        first_name=pl.col("Name").str.split(" ").list.first(),
        last_name=pl.col("Name").str.split(" ").list.last(),
        phone="Telephone",
        city="City",
    )


def _with_buyers(world: World, market: Market, orders: pl.DataFrame) -> pl.DataFrame:
    """Orders with the columns `email`, `phone`, `customer` and `shipping_address`."""
    buyers = _buyers(world, market, orders["member"].to_numpy())
    known = pl.struct("id", "email", "first_name", "last_name")
    address = pl.struct(
        "first_name", "last_name", "city", "phone",
        country_code=pl.lit(market.code),
    )  # fmt: skip
    described = buyers.select("email", "phone", customer=known, shipping_address=address)
    return orders.hstack(described).with_columns(
        customer=pl.when(~pl.col("guest")).then("customer")
    )


def _amounts(rows: pl.DataFrame) -> dict[str, pl.Series]:
    return {
        name: _money(rows[column].to_numpy())
        for name, column in {
            "total_line_items_price": "items",
            "total_discounts": "reduced",
            "subtotal_price": "subtotal",
            "total_tax": "tax",
            "total_price": "subtotal",
        }.items()
    }


def _online_orders(world: World, market: Market) -> Iterator[File]:
    """An order when it is placed, and again when it is shipped or cancelled, and refunded."""
    orders = _orders(world, market)
    later = pl.col("second") + 1_800
    placed = orders.with_columns(
        file_day=pl.col("day"),
        changed_second=pl.col("second"),
        financial=pl.lit("authorized"),
        fulfilled=pl.lit(None, pl.String),
    )
    shipped = orders.with_columns(
        file_day=pl.col("day") + pl.col("shipped_after"),
        changed_second=later,
        financial=pl.when("cancelled").then(pl.lit("voided")).otherwise(pl.lit("paid")),
        fulfilled=pl.when(~pl.col("cancelled")).then(pl.lit("fulfilled")),
    )
    refunded = orders.filter(pl.col("refunded_after") >= 0).with_columns(
        file_day=pl.col("day") + pl.col("refunded_after"),
        changed_second=later,
        financial=pl.lit("partially_refunded"),
        fulfilled=pl.lit("fulfilled"),
    )
    # What came to be last stands first on a page, as the web shop sorts them.
    rows = pl.concat([placed, shipped, refunded]).sort(
        "file_day", "changed_second", "number", descending=[False, True, True]
    )
    rows = _with_buyers(world, market, rows)
    changed = _iso(market, rows["file_day"].to_numpy(), rows["changed_second"].to_numpy())
    dead = rows["cancelled"] & (rows["financial"] == "voided")
    shape = rows.select(
        id="number",
        name=pl.format("#{}", pl.col("number") % 10_000_000),
        created_at=_iso(market, rows["day"].to_numpy(), rows["second"].to_numpy()),
        updated_at=changed,
        cancelled_at=pl.when(dead).then(changed),
        closed_at=pl.lit(None, pl.String),
        financial_status="financial",
        fulfillment_status="fulfilled",
        test=pl.lit(value=False),
        currency=pl.lit(market.currency),
        **_amounts(rows),
        checkout_id=pl.col("number") * 10 + 1,
        checkout_token=pl.format("c{}", "number"),
        cart_token=pl.format("t{}", "number"),
        source_name=pl.lit("web"),
        buyer_accepts_marketing="consent",
        line_items="line_items",
        email="email",
        phone="phone",
        customer="customer",
        shipping_address="shipping_address",
    )
    yield from _daily(world, "online_orders", market, rows, shape, "orders")


def _online_checkouts(world: World, market: Market) -> Iterator[File]:
    """Those that became orders, some of them a day after they were begun, and abandoned ones."""
    orders = _orders(world, market)
    key = key_of(world.seed, Purpose.CART, market.first_store, orders["number"].to_numpy())
    share = unit(draw(key, 0)) < ABANDONED / (1 + ABANDONED)
    lost = orders.filter(pl.Series(share)).with_columns(
        second=(pl.col("second") + 7_200) % (_DAY_SECONDS - 3_600)
    )
    rows = pl.concat(
        [
            orders.with_columns(file_day=pl.col("day"), done=pl.lit(value=True), kind=pl.lit(1)),
            orders.filter(pl.col("begun") < pl.col("day")).with_columns(
                file_day=pl.col("begun"), done=pl.lit(value=False), kind=pl.lit(1)
            ),
            lost.with_columns(file_day=pl.col("begun"), done=pl.lit(value=False), kind=pl.lit(2)),
        ]
    ).sort("file_day", "number", "kind")
    rows = _with_buyers(world, market, rows)
    second = rows["second"].to_numpy()
    begun_at = _iso(market, rows["begun"].to_numpy(), np.maximum(second - 600, 0))
    done_at = _iso(market, rows["day"].to_numpy(), second)
    done = rows["done"]
    shape = rows.select(
        id=pl.col("number") * 10 + pl.col("kind"),
        token=pl.when(pl.col("kind") == 1)
        .then(pl.format("c{}", "number"))
        .otherwise(pl.format("a{}", "number")),
        cart_token=pl.format("t{}", "number"),
        created_at=begun_at,
        updated_at=pl.when(done).then(done_at).otherwise(begun_at),
        completed_at=pl.when(done).then(done_at),
        closed_at=pl.lit(None, pl.String),
        currency=pl.lit(market.currency),
        **_amounts(rows),
        source_name=pl.lit("web"),
        buyer_accepts_marketing="consent",
        line_items="line_items",
        email="email",
        phone="phone",
        customer="customer",
        shipping_address="shipping_address",
    )
    yield from _daily(world, "online_checkouts", market, rows, shape, "checkouts")


def _online_refunds(world: World, market: Market) -> Iterator[File]:
    """One piece of the first line of an order, days or weeks after it."""
    rows = _orders(world, market).filter(pl.col("refunded_after") >= 0)
    rows = rows.with_columns(file_day=pl.col("day") + pl.col("refunded_after"))
    rows = rows.sort("file_day", "number")
    when = _iso(market, rows["file_day"].to_numpy(), rows["second"].to_numpy() + 1_800)
    first = pl.col("line_items").list.first()
    amount = _money(rows["first_price"].to_numpy())
    shape = rows.select(
        id=pl.col("number") * 10 + 5,
        order_id="number",
        created_at=when,
        note=pl.lit("does not fit"),
        restock=pl.lit(value=True),
        refund_line_items=pl.concat_list(
            pl.struct(
                pl.lit(1).alias("quantity"), first.struct.field("id").alias("line_item_id"),
                first.alias("line_item"),
            )
        ),
        transactions=pl.concat_list(
            pl.struct(
                amount.alias("amount"), pl.lit(market.currency).alias("currency"),
                pl.lit("refund").alias("kind"), pl.lit("success").alias("status"),
            )
        ),
        order_adjustments=pl.lit([], pl.List(pl.String)),
    )  # fmt: skip
    yield from _daily(world, "online_refunds", market, rows, shape, "refunds")


# --- customer relations ---------------------------------------------------------------------------


def _crm_contacts(world: World, market: Market) -> Iterator[File]:
    """Part of the members, new and changed ones when the nightly file brings them, too."""
    roster, _ = world.roster(market)
    key = key_of(world.seed, Purpose.CONTACT, market.first_store, roster["member"].to_numpy())
    known = unit(draw(key, 0)) < CONTACT_SHARE
    roster, key = roster.filter(pl.Series(known)), key[known]
    rows = roster.rename({"day": "file_day"})
    member, version = rows["member"].to_numpy(), rows["version"].to_numpy()
    people = world.people(market, member, version)
    second = below(draw(key, 1), _DAY_SECONDS)
    utc = "%Y-%m-%dT%H:%M:%S.000+0000"
    changed = timestamp(rows["file_day"].to_numpy(), second).dt.strftime(utc)
    consent = unit(draw(key, 2)) < 0.55
    names = pl.col("Name").str.split(" ")
    shape = people.select(
        attributes=pl.struct(pl.lit("Contact").alias("type")),
        Id=pl.format(
            "003{}{}",
            pl.lit(f"{market.first_store:03d}"),
            pl.col("Customer ID").cast(pl.String).str.zfill(9),
        ),
        Loyalty_Number__c="Customer ID",
        FirstName=names.list.first(),
        LastName=names.list.last(),
        Email="Email",
        Phone="Telephone",
        MailingCity="City",
        MailingCountry="Country",
        Birthdate=pl.col("Date Of Birth").dt.to_string("%Y-%m-%d"),
        LeadSource=pl.lit("Store"),
        HasOptedOutOfEmail=pl.Series(unit(draw(key, 3)) < 0.1),
        Marketing_Consent__c=pl.Series(consent),
        Marketing_Consent_Date__c=pl.when(pl.Series(consent)).then(changed),
        IsDeleted=pl.Series(unit(draw(key, 4)) < 0.01),
        CreatedDate=pl.lit("2019-06-01T08:00:00.000+0000"),
        LastModifiedDate=changed,
    )
    yield from _daily(world, "crm_contacts", market, rows, shape, "records")


# --- stock ----------------------------------------------------------------------------------------


def _inventory_movements(world: World, market: Market) -> Iterator[File]:
    """Sales and returns as on the receipts; every morning comes in what went the day before.

    Shops begin empty: a stock of each article comes in the night before it first moves.
    """
    sold: list[pl.DataFrame] = []
    stocked = pl.DataFrame(schema=dict.fromkeys(("shop", "article", "size"), pl.Int64))
    schema = ["day", "second", "kind", "shop", "article", "size", "quantity", "supplier", "other"]
    columns = [*schema, "reference"]
    for days, lines in world.receipts(market):
        moved = lines.with_columns(
            _invoice(market, lines).alias("reference"),
            kind=pl.when(pl.col("is_return") == 1).then(pl.lit("return")).otherwise(pl.lit("sale")),
            supplier=pl.lit(None, pl.String),
            other=pl.lit(None, pl.Int64),
            quantity=pl.when(pl.col("is_return") == 1)
            .then("quantity")
            .otherwise(-pl.col("quantity")),
        ).select(columns)
        gone = pl.concat([*sold, moved.filter(pl.col("kind") == "sale")])
        filled = (
            gone.group_by("day", "shop", "article", "size")
            .agg(-pl.col("quantity").sum())
            .filter(pl.col("day") < int(days[-1]))
            .with_columns(
                day=pl.col("day") + 1,
                second=pl.lit(25_200, pl.Int64),
                reference=pl.lit(None, pl.String),
            )
        )
        sold = [moved.filter((pl.col("kind") == "sale") & (pl.col("day") == int(days[-1])))]
        moved = pl.concat([moved, _transfers_and_counts(world, market, days)])
        new = (
            moved.group_by(stocked.columns)
            .agg(pl.col("day").min())
            .join(stocked, on=stocked.columns, how="anti")
            .with_columns(
                second=pl.lit(0, pl.Int64),
                quantity=pl.lit(OPENING_STOCK, pl.Int64),
                reference=pl.lit("opening stock"),
            )
        )
        stocked = pl.concat([stocked, new.select(stocked.columns)])
        supplied = [_receipts(came).select(columns) for came in (filled, new)]
        rows = pl.concat([moved, *supplied])
        rows = rows.sort("day", "second", "kind", "shop", "article", "size", "reference")
        yield from _movement_files(world, market, days, rows)


def _receipts(came: pl.DataFrame) -> pl.DataFrame:
    """Deliveries of the suppliers; an article group has one supplier."""
    supplier = pl.col("article") % len(catalogue.ARTICLE_GROUPS) + 1
    return came.with_columns(
        kind=pl.lit("receipt"),
        supplier=pl.format("SUP-{}", supplier.cast(pl.String).str.zfill(4)),
        other=pl.lit(None, pl.Int64),
    )


def _transfers_and_counts(world: World, market: Market, days: Ints) -> pl.DataFrame:
    """Two transfers a day, and one article counted in every shop."""
    shops = len(market.shops)
    owner, position = blocks(np.full(days.size, 2 + shops))
    key = key_of(world.seed, Purpose.MOVEMENT, market.first_store, days[owner], position)
    articles = world.articles
    article = articles.popular[below(draw(key, 0), articles.popular.size)]
    base = pl.DataFrame(
        {
            "day": days[owner],
            "second": 68_400 + below(draw(key, 1), 3_600),
            "position": position,
            "shop": np.where(position < 2, below(draw(key, 2), shops), position - 2),
            "article": article,
            "size": articles.sizes(article, draw(key, 3)),
            "difference": below(draw(key, 4), 4) - 2,
            "pieces": 1 + below(draw(key, 5), 3),
        }
    ).with_columns(
        supplier=pl.lit(None, pl.String),
        other=(pl.col("shop") + 1) % shops,
        reference=pl.format("T{}-{}", "day", "position"),
    )
    moved = base.filter(pl.col("position") < 2)
    names = ["day", "second", "kind", "shop", "article", "size", "quantity", "supplier", "other",
             "reference"]  # fmt: skip
    return pl.concat(
        [
            moved.with_columns(kind=pl.lit("transfer_out"), quantity=-pl.col("pieces")).select(
                names
            ),
            moved.with_columns(
                kind=pl.lit("transfer_in"), quantity="pieces", shop="other", other="shop"
            ).select(names),
            base.filter(pl.col("position") >= 2)
            .with_columns(
                kind=pl.lit("count"),
                quantity="difference",
                other=pl.lit(None, pl.Int64),
                reference=pl.lit(None, pl.String),
            )
            .select(names),
        ]
    )


def _movement_files(world: World, market: Market, days: Ints, rows: pl.DataFrame) -> Iterator[File]:
    column = {name: rows[name].to_numpy() for name in ("day", "article", "size", "second")}
    sizes = _per_day(days, column["day"])
    _, position = blocks(sizes)
    cost = _unit_cost(market, world.articles, column["article"])
    frame = rows.with_columns(
        pl.Series("position", position),
        pl.Series("cost", cost),
        timestamp(column["day"], column["second"]).dt.strftime("%Y-%m-%d %H:%M:%S").alias("moved"),
        words_at([word or None for word in SIZE_WORDS], column["size"]).alias("word"),
    ).select(
        pl.format(f"{market.token}-{{}}-{{}}", "day", "position").alias("Movement ID"),
        pl.col("moved").alias("Moved At"),
        pl.col("kind").alias("Movement Type"),
        (pl.col("shop") + market.first_store).alias("Store ID"),
        (pl.col("article") + 1).alias("Product ID"),
        pl.col("word").alias("Size"),
        pl.col("quantity").alias("Quantity"),
        pl.col("cost").alias("Unit Cost"),
        pl.lit(market.currency).alias("Currency"),
        pl.col("supplier").alias("Supplier ID"),
        (pl.col("other") + market.first_store).alias("Counterpart Store ID"),
        pl.col("reference").alias("Reference"),
    )
    contents = split_csv(frame, sizes)
    so_far = np.concatenate([[0], np.cumsum(frame["Quantity"].to_numpy())])
    pieces = np.diff(so_far[np.concatenate([[0], np.cumsum(sizes)])])
    for day, size, total, data in zip(
        days.tolist(), sizes.tolist(), pieces.tolist(), contents, strict=True
    ):
        data += f"TRL,{size},{total}\n".encode()
        yield File(file_name("inventory_movements", market.token, day), day, data, size)


def _stock_cdc(world: World, market: Market) -> Iterator[File]:
    """A full load on the first day, then the changes of each day; `SHELVES` rows a shop."""
    shelf = np.arange(len(market.shops) * SHELVES)
    key = key_of(world.seed, Purpose.STOCK, market.first_store, shelf)
    articles = world.articles
    article = articles.popular[below(draw(key, 0), articles.popular.size)]
    shop = shelf // SHELVES
    fixed = pl.DataFrame(
        {
            "stock_id": (market.first_store + shop) * 1_000 + shelf % SHELVES + 1,
            "store_id": market.first_store + shop,
            "product_id": article + 1,
            "size": words_at(
                [word or None for word in SIZE_WORDS], articles.sizes(article, draw(key, 1))
            ),
            "bin": [f"B{n % SHELVES // 10}-{n % 10}" for n in shelf],
        }
    )
    terms = pl.DataFrame(
        {
            "reorder_point": 4 + below(draw(key, 2), 4),
            "safety_stock": 1 + below(draw(key, 3), 3),
            "unit_cost": _unit_cost(market, articles, article),
            "currency": words_at([market.currency], np.zeros(shelf.size, np.int64)),
        }
    )

    def rows(which: Ints, day: int, second: Ints, position: Ints, state: Keys) -> pl.DataFrame:
        log = pl.DataFrame(
            {
                "committed_at": timestamp(np.full(which.size, day), second).dt.strftime(
                    "%Y-%m-%d %H:%M:%S%.6f"
                ),
                "lsn": day * _LOG_PER_DAY + position,
            }
        )
        levels = pl.DataFrame(
            {"on_hand": below(draw(state, 0), 25), "reserved": below(draw(state, 1), 3)}
        )
        return pl.concat([fixed[which], levels, terms[which], log], how="horizontal")

    first = int(world.days[0])
    there = np.flatnonzero(~_gone(world.seed, shelf + market.first_store * 10_000, first - 1))
    nothing = np.zeros(there.size, np.int64)
    loaded = rows(there, first, nothing, nothing, key[there])
    folder = f"stock_cdc/{market.token}"
    name = f"{folder}/{date_of(first):%Y/%m/%d}/LOAD00000001.csv"
    yield File(name, first, csv_bytes(loaded, header=False), loaded.height)
    for day in world.days.tolist():
        ids = shelf + market.first_store * 10_000
        before, after = (_gone(world.seed, ids, d) for d in (day - 1, day))
        today = key_of(world.seed, Purpose.STOCK, ids, day)
        touched = (unit(draw(today, 2)) < 0.2) & ~before & ~after
        which = np.flatnonzero(touched | (before != after))
        position = 1 + np.arange(which.size)
        second = 30_000 + position * 40_000 // (which.size + 1)
        changes = rows(which, day, second, position, today[which])
        op = np.where(after[which], 2, np.where(before[which], 0, 1))
        changes = pl.concat([words_at(["I", "U", "D"], op).to_frame("op"), changes],
                            how="horizontal")  # fmt: skip
        when = date_of(day)
        name = f"{folder}/{when:%Y/%m/%d}/{when:%Y%m%d}-220000123.csv"
        yield File(name, day, csv_bytes(changes, header=False), changes.height)


def _gone(seed: int, shelf: Ints, day: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
    """Whether a row of the stock table is deleted at the end of a day."""
    return unit(draw(key_of(seed, Purpose.STOCK, shelf, day), 3)) < 0.01


# --- bought in ------------------------------------------------------------------------------------


def _weather(world: World, market: Market) -> Iterator[File]:
    """Every city with a shop; seasons by day of the year and latitude."""
    owner, city = blocks(np.full(world.days.size, len(market.shops)))
    day = world.days[owner]
    key = key_of(world.seed, Purpose.WEATHER, market.first_store, day, city)
    north = np.array([shop.latitude for shop in market.shops])[city]
    season = -np.cos(2 * np.pi * (day % 365.25 - 17) / 365.25)
    mean = 30 - 0.45 * north + (2 + 0.2 * north) * season + 3 * normal(key)
    spread = 3 + 3 * unit(draw(key, 5))
    kind = pick(draw(key, 6), (0.45, 0.3, 0.2, 0.05))
    frozen = (kind == 2) & (mean < 0)
    rain = np.where(kind >= 2, np.round(12 * unit(draw(key, 7)), 1), 0.0)
    rows = pl.DataFrame({"file_day": day})
    shape = pl.DataFrame(
        {
            "city": words_at([shop.city for shop in market.shops], city),
            "date": [str(date_of(d)) for d in day],
            "low": np.round(mean - spread, 1),
            "high": np.round(mean + spread, 1),
            "precipitation_mm": rain,
            "wind_kmh": np.round(5 + 25 * unit(draw(key, 8)), 1),
            "condition": words_at(
                ["clear", "cloudy", "rain", "storm", "snow"], np.where(frozen, 4, kind)
            ),
        }
    ).select(
        "city",
        "date",
        pl.struct(pl.col("low").alias("min"), pl.col("high").alias("max")).alias("temperature"),
        "precipitation_mm",
        "wind_kmh",
        "condition",
    )
    yield from _daily(world, "weather", market, rows, shape, "observations")


def _competitor_prices(world: World, market: Market) -> Iterator[File]:
    """Some well-known articles at three competitors, on reference days."""
    articles = world.articles
    article = np.unique(articles.popular[:40])
    owner, position = blocks(np.full(len(catalogue.COMPETITORS), article.size))
    half_units = np.maximum(1, np.rint(2 * market.price_level * articles.dollars)).astype(np.int64)
    for day in world.reference_days:
        key = key_of(world.seed, Purpose.COMPETITOR, market.first_store, day, owner, position)
        price = half_units[article[position]] * 50 * (0.85 + 0.3 * unit(draw(key, 0)))
        frame = pl.DataFrame(
            {
                "Competitor": words_at(catalogue.COMPETITORS, owner),
                "Product ID": article[position] + 1,
                "Date": [str(date_of(day))] * position.size,
                "Price": _money(price.astype(np.int64)),
                "Currency": [market.currency] * position.size,
                "Promotion": unit(draw(key, 1)) < 0.2,
                "In Stock": unit(draw(key, 2)) < 0.9,
            }
        )
        name = file_name("competitor_prices", market.token, day)
        yield File(name, day, csv_bytes(frame), frame.height)
