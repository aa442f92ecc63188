"""Synthetic deliveries of all feeds, as files with the quirks of the real ones.

Every value is a hash of (seed, country, day, row, purpose): no generator state is carried along, so
a whole country is drawn in large vectorised blocks and yet a day looks the same however many days
or countries are asked for. The nine nightly feeds are drawn here, the others in `channels`;
reference data lives in `catalogue`, planted trouble in `dirt`.
"""

import gzip
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from retail_platform.demo import catalogue, channels
from retail_platform.demo import dirt as dirty
from retail_platform.demo.articles import SIZE_WORDS, Articles
from retail_platform.demo.catalogue import ARTICLE_GROUPS, CAMPAIGNS, MARKETS, Market
from retail_platform.demo.chance import (
    Ints,
    Purpose,
    below,
    blocks,
    draw,
    key_of,
    mixed,
    normal,
    pick,
    unit,
    words_at,
)  # fmt: skip
from retail_platform.demo.dirt import Dirt
from retail_platform.demo.files import (
    EPOCH,
    csv_bytes,
    date_of,
    file_name,
    split_csv,
    timestamp,
)  # fmt: skip

Sink = Callable[[str, bytes], None]
"""Receives file name and content, in order of delivery."""

NIGHTLY_FEEDS = (
    "stores", "employees", "customers", "products", "discounts", "fx_rates", "partner_stores",
    "partner_sales", "transactions",
)  # fmt: skip
FEEDS = (*NIGHTLY_FEEDS, *channels.FEEDS)
MAX_DAYS = 4_000
INVOICES_PER_DAY = 25_000
"""Counters of a country-day; with `MAX_DAYS` they fill the eight digits of an invoice number."""
MAX_PRODUCTS = 690 * len(ARTICLE_GROUPS)
MIN_CUSTOMERS = 280
RETURN_RATE, PARTIAL_RETURNS, LAST_RETURN_DAY = 0.06, 0.22, 30
PARTNER_SHARE = 0.05
_BLOCK_LINES = 400_000
_SLOTS = catalogue.CUSTOMER_SLOTS.split()
_BY_STORE = sorted(MARKETS.values(), key=lambda market: market.first_store)


@dataclass(frozen=True)
class GeneratorSpec:
    """What to generate.

    Attributes:
        first_day: batch day of the first files; sales start here, too.
        days: length of the range.
        countries: ISO codes.
        lines_per_day: sale lines of an average country on an average day of the year; big markets
            and busy seasons get more, returns come on top.
        seed: changes every random value.
        feeds: which feeds are delivered.
        customers: members in all seven countries once the base is fully grown.
        products: size of the article range.
        gzip: compress every file and append `.gz`.
        reference_every: days between deliveries of stores, employees, partner_stores, products and
            discounts; the first day always has them.

    Raises:
        ValueError: naming everything out of range.
    """

    first_day: date = date(2025, 1, 1)
    days: int = 14
    countries: tuple[str, ...] = tuple(sorted(MARKETS))
    lines_per_day: int = 1_000
    seed: int = 7
    feeds: tuple[str, ...] = FEEDS
    customers: int = 50_000
    products: int = MAX_PRODUCTS
    gzip: bool = False
    reference_every: int = 7

    def __post_init__(self) -> None:
        problems = []
        known = set(self.countries) & set(MARKETS)
        if not known or len(known) != len(self.countries):
            given = ", ".join(self.countries) or "none"
            problems.append(f"countries {given}: expected some of {', '.join(MARKETS)}")
        if not set(self.feeds) <= set(FEEDS):
            given = ", ".join(self.feeds)
            problems.append(f"feeds {given}: expected some of {', '.join(FEEDS)}")
        if not len(ARTICLE_GROUPS) <= self.products <= MAX_PRODUCTS:
            expected = f"{len(ARTICLE_GROUPS)} to {MAX_PRODUCTS}"
            problems.append(f"products {self.products}: expected {expected}")
        if self.customers < MIN_CUSTOMERS:
            problems.append(f"customers {self.customers}: expected at least {MIN_CUSTOMERS}")
        if min(self.days, self.lines_per_day, self.reference_every) < 1:
            problems.append("days, lines_per_day and reference_every: expected at least 1")
        if self.first < 0 or self.first + self.days > MAX_DAYS:
            limits = f"{date_of(0)} to {date_of(MAX_DAYS - 1)}"
            problems.append(f"{self.days} days from {self.first_day}: expected days in {limits}")
        if self.seed < 0:
            problems.append(f"seed {self.seed}: expected zero or more")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def first(self) -> int:
        """First day, counted from `EPOCH`."""
        return (self.first_day - EPOCH).days

    @property
    def all_days(self) -> Ints:
        """All days, counted from `EPOCH`."""
        return np.arange(self.first, self.first + self.days)


@dataclass(frozen=True)
class BadRow:
    """A row that belongs in quarantine.

    Attributes:
        row: data row in the file, from 1.
        value: text in the file; None is an empty field.
    """

    file: str
    row: int
    column: str
    value: str | None


@dataclass(frozen=True)
class LateRows:
    """Sales of `business_date` that arrive in a later day's file."""

    file: str
    business_date: date
    rows: int


@dataclass
class GeneratedManifest:
    """What was generated, and what a platform must make of it.

    Attributes:
        files: names in order of delivery, first wave.
        second_wave: (name, content) still to be delivered, after the first wave: the late file, the
            correction and the identical repetition. `net_sales` counts on them.
        rows: feed -> data rows in the newest versions of readable files; transactions include the
            rows of `bad_rows` and `duplicates`.
        broken: file name -> why it must be rejected.
        bad_rows: planted cells that send their row to quarantine.
        duplicates: file name -> rows that repeat another row of the file exactly.
        late_rows: sales delivered in the file of another day.
        late_files, corrections, identical: names in the second wave, by kind.
        net_sales: country, business_date, currency, net_amount_local (decimal): store sales minus
            returns once both waves are loaded, without quarantined rows and broken files.
    """

    files: list[str] = field(default_factory=list)
    second_wave: list[tuple[str, bytes]] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    broken: dict[str, str] = field(default_factory=dict)
    bad_rows: list[BadRow] = field(default_factory=list)
    duplicates: dict[str, int] = field(default_factory=dict)
    late_rows: list[LateRows] = field(default_factory=list)
    late_files: list[str] = field(default_factory=list)
    corrections: list[str] = field(default_factory=list)
    identical: list[str] = field(default_factory=list)
    net_sales: pl.DataFrame = field(default_factory=pl.DataFrame)

    def deliver_second_wave(self, sink: Sink) -> None:
        """Send the files of the second wave."""
        for name, data in self.second_wave:
            sink(name, data)


def generate(
    spec: GeneratorSpec,
    dirt: Dirt,
    sink: Sink,
    progress: Callable[[int, int], None] | None = None,
) -> GeneratedManifest:
    """Generate the deliveries of a range of days.

    The first wave goes to the sink; the second one, if any trouble asks for it, waits in the
    manifest until the caller delivers it.

    Args:
        spec: size and shape.
        dirt: planted trouble.
        sink: called once per file.
        progress: called with country-days of transactions done and expected.

    Raises:
        ValueError: a country-day would need more invoices than it has numbers.
    """
    return _Generation(spec, dirt, sink, progress or (lambda done, expected: None)).run()


def folder_sink(folder: Path) -> Sink:
    """Write files into a folder so that nobody ever sees half of one."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, data: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}.part")
        hidden.write_bytes(data)
        hidden.replace(path)

    return write


# --- customers ------------------------------------------------------------------------------------


def _customer_ids(market: Market, member: Ints) -> Ints:
    """Customer numbers of the first, second, ... member of a market."""
    slots = np.array([i for i, code in enumerate(_SLOTS) if code == market.code])
    return np.asarray(member // slots.size * len(_SLOTS) + slots[member % slots.size] + 1)


def _members(spec: GeneratorSpec, market: Market, day: Ints) -> Ints:
    """Members at the end of each day: 40 % of the base at first, all of it after `MAX_DAYS`."""
    rounds, rest = divmod(spec.customers, len(_SLOTS))
    base = rounds * _SLOTS.count(market.code) + _SLOTS[:rest].count(market.code)
    return np.asarray(base * (0.4 + 0.6 * (day + 1) / MAX_DAYS), np.int64)


def _roster(spec: GeneratorSpec, market: Market) -> tuple[pl.DataFrame, Ints]:
    """Everybody on the first day, then who is new or has moved; and the rows of each day."""
    days, after = spec.all_days, _members(spec, market, spec.all_days)
    before = np.concatenate([[0], after[:-1]])
    owner, position = blocks(after - before)
    joined = pl.DataFrame({"day": days[owner], "member": before[owner] + position})
    joined = joined.with_columns(version=pl.lit(0, pl.Int64))
    owner, position = blocks(np.maximum(2, before // 2_000) * (days > spec.first))
    key = key_of(spec.seed, Purpose.CHANGE, market.first_store, days[owner], position)
    moved = pl.DataFrame({"day": days[owner], "member": below(key, before[owner])}).unique()
    rows = pl.concat([joined, moved.with_columns(version=pl.col("day") + 1)])
    rows = rows.sort("day", "member")
    return rows, np.bincount(rows["day"].to_numpy() - spec.first, minlength=spec.days)


def _people(seed: int, market: Market, member: Ints, version: Ints) -> pl.DataFrame:
    """Records of members; a later version lives elsewhere and is reached otherwise."""
    person = key_of(seed, Purpose.CUSTOMER, market.first_store, member)
    contact = mixed(person + version.astype(np.uint64))
    name = [below(draw(person, i), len(words)) for i, words in enumerate(market.names)]
    title = pick(draw(person, 2), (0.95, 0.02, 0.02, 0.01))
    suffix = pick(draw(person, 3), (0.96, 0.01, 0.01, 0.01, 0.01))
    phone = below(draw(contact, 4), len(market.phones))
    mail = words_at(catalogue.MAIL_DOMAINS, pick(draw(contact, 5), (0.5, 0.3, 0.2)))
    job = below(draw(contact, 6), len(catalogue.JOB_TITLES))
    jobless = unit(draw(contact, 7)) < catalogue.JOBLESS_SHARE
    age = below(draw(person, 8), 24_500).astype("timedelta64[D]")
    marks = [list(mark) for mark in zip(*market.phones, strict=True)]
    three, four = [f"{i:03d}" for i in range(1_000)], [f"{i:04d}" for i in range(10_000)]

    def joined_text(*parts: pl.Series) -> pl.Series:
        frame = pl.DataFrame([part.alias(str(i)) for i, part in enumerate(parts)])
        return frame.select(pl.concat_str(pl.all())).to_series()

    def space(text: str) -> pl.Series:
        return pl.repeat(text, member.size, eager=True)

    ids = _customer_ids(market, member)
    return pl.DataFrame(
        {
            "Customer ID": ids,
            "Name": joined_text(
                words_at(["", *catalogue.TITLES], title),
                words_at(market.names[0], name[0]),
                space(" "),
                words_at(market.names[1], name[1]),
                words_at(["", *catalogue.SUFFIXES], suffix),
            ),
            "Email": joined_text(
                words_at(market.mail_names[0], name[0]),
                space("."),
                words_at(market.mail_names[1], name[1]),
                pl.Series(ids % 997),
                space("@"),
                mail,
            ),
            "Telephone": joined_text(
                words_at(marks[0], phone),
                words_at(three, below(draw(contact, 9), 1_000)),
                words_at(marks[1], phone),
                words_at(three, below(draw(contact, 10), 1_000)),
                words_at(marks[2], phone),
                words_at(four, below(draw(contact, 11), 10_000)),
                words_at(marks[3], phone),
            ),
            "City": words_at([shop.city for shop in market.shops], below(draw(contact, 12), 5)),
            "Country": space(market.name),
            "Gender": words_at(catalogue.GENDERS, pick(draw(person, 13), catalogue.GENDER_SHARE)),
            "Date Of Birth": pl.Series(np.datetime64("1940-01-01", "D") + age).cast(pl.Date),
            "Job Title": words_at(
                [*catalogue.JOB_TITLES, None], np.where(jobless, len(catalogue.JOB_TITLES), job)
            ),
        }
    )


# --- small reference feeds ------------------------------------------------------------------------


def _first_employees() -> dict[str, Ints]:
    """ISO country code -> number of the first employee of each shop; associates come first."""
    heads = [[s.associates + len(catalogue.OTHER_POSITIONS) for s in m.shops] for m in _BY_STORE]
    starts = 1 + np.concatenate([[0], np.cumsum(heads)[:-1]]).reshape(len(heads), -1)
    return {market.code: starts[i] for i, market in enumerate(_BY_STORE)}


def _employees(seed: int, market: Market) -> pl.DataFrame:
    starts = _first_employees()[market.code]
    rows = [
        (int(starts[i]) + j, market.first_store + i, position)
        for i, shop in enumerate(market.shops)
        for j, position in enumerate(
            ["Sales Associate"] * shop.associates + list(catalogue.OTHER_POSITIONS)
        )
    ]
    key = key_of(seed, Purpose.EMPLOYEE, np.array([row[0] for row in rows]))
    first, second = (
        words_at(words, below(draw(key, i), len(words))) for i, words in enumerate(market.names)
    )
    schema = ["Employee ID", "Store ID", "Position"]
    return pl.DataFrame(rows, schema, orient="row").select(
        "Employee ID", "Store ID", (first + " " + second).alias("Name"), "Position"
    )


def _percent_off(days: Ints) -> Ints:
    """Reduction in percent per day and article group."""
    table = np.zeros((days.size, len(ARTICLE_GROUPS)), np.int64)
    for row, day in enumerate(map(date_of, days)):
        for campaign in CAMPAIGNS:
            first, last = campaign.window(day.year)
            if first <= day <= last:
                table[row] += [campaign.percent * campaign.covers(g) for g in ARTICLE_GROUPS]
    return table


def _rates(seed: int) -> dict[str, list[str]]:
    """Currency -> quotation of every day since `EPOCH`; weekends repeat Friday's."""
    quotes = {}
    for i, (currency, (base, decimals)) in enumerate(sorted(catalogue.FX_BASE.items())):
        steps = 0.004 * normal(key_of(seed, Purpose.RATE, i, np.arange(MAX_DAYS)))
        level, quotes[currency] = 0.0, list[str]()
        for day, step in enumerate(steps):
            if date_of(day).weekday() < 5:
                # The pull back to the base keeps a walk of ten years believable.
                level = 0.99 * level + float(step)
            quotes[currency].append(f"{base * np.exp(level):.{decimals}f}")
    return quotes


def _partner_sales(spec: GeneratorSpec, market: Market) -> tuple[pl.DataFrame, Ints]:
    """Receipts of all days, in the mix of notations partners use; and the rows of each day."""
    days = spec.all_days
    count = max(3, round(spec.lines_per_day * market.volume * PARTNER_SHARE))
    owner, position = blocks(np.full(days.size, count))
    key = key_of(spec.seed, Purpose.PARTNER, market.first_store, days[owner], position)
    moment = timestamp(days[owner], 9 * 3_600 + below(draw(key, 0), 11 * 3_600))
    transaction = days[owner] * 100_000 + position
    cents = pl.Series((5_100 * np.exp(0.6 * normal(key))).astype(np.int64)).clip(100)
    frame = pl.DataFrame(
        {
            "moment": moment,
            "shop": below(draw(key, 4), catalogue.PARTNER_SHOPS) + 1,
            "form": below(draw(key, 5), 3),
            "dollar": words_at(["", "$"], below(draw(key, 6), 2)),
            "cents": cents,
            "transaction_id": pl.Series(transaction).cast(pl.String),
            "receipt_token": pl.Series(transaction * 7 + 3).cast(pl.String),
            "source_id": words_at(catalogue.PARTNER_SOURCES, below(draw(key, 7), 3)),
            "user_role": words_at(catalogue.PARTNER_ROLES, pick(draw(key, 8), (0.7, 0.1, 0.2))),
        }
    )
    time = pl.col("moment").dt
    frame = frame.select(
        pl.format(f"{market.token}-P0{{}}", "shop").alias("store_token"),
        "transaction_id",
        "receipt_token",
        pl.when(pl.col("form") == 0)
        .then(time.strftime("%Y%m%dT%H%M%S.000"))
        .when(pl.col("form") == 1)
        .then(time.strftime("%Y-%m-%d %H:%M:%S"))
        .otherwise(time.strftime("%Y-%m-%dT%H:%M:%S"))
        .alias("transaction_time"),
        pl.format(
            "{}{}.{}",
            "dollar",
            pl.col("cents") // 100,
            (pl.col("cents") % 100).cast(pl.String).str.zfill(2),
        ).alias("amount"),
        *(["source_id"] if market.partner_source_id else []),
        "user_role",
    )
    return frame, np.full(days.size, count)


# --- store transactions ---------------------------------------------------------------------------


def _sales(
    spec: GeneratorSpec, market: Market, articles: Articles, days: Ints
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sale lines of some days, and the return lines they will cause (on their return's day).

    Money is in whole cents, prices in half units of the currency, days since `EPOCH`.
    """
    dates = [date_of(day) for day in days]
    season = [
        catalogue.MONTH_FACTOR[d.month - 1] * catalogue.WEEKDAY_FACTOR[d.weekday()] for d in dates
    ]
    weather = 0.92 + 0.16 * unit(key_of(spec.seed, Purpose.DAY, market.first_store, days))
    line_mean = float(np.dot(catalogue.LINES_PER_INVOICE, range(1, 8)))
    expected = spec.lines_per_day * market.volume / line_mean * np.array(season) * weather
    invoices = np.maximum(1, np.rint(expected)).astype(np.int64)
    if invoices.max() > INVOICES_PER_DAY:
        raise ValueError(
            f"{invoices.max()} invoices in {market.code} on {dates[int(invoices.argmax())]}: "
            f"invoice numbers allow {INVOICES_PER_DAY} a day; lower lines_per_day"
        )
    owner, sequence = blocks(invoices)
    day = days[owner]
    key = key_of(spec.seed, Purpose.SALE, market.first_store, day, sequence)
    lines = 1 + pick(draw(key, 0), catalogue.LINES_PER_INVOICE)
    shop = pick(draw(key, 1), catalogue.STORE_SHARE)
    associates = np.array([shop.associates for shop in market.shops])
    employee = _first_employees()[market.code][shop] + below(draw(key, 2), associates[shop])
    # The power makes early members the loyal ones and leaves some who never buy.
    member = unit(draw(key, 3)) ** 1.5 * _members(spec, market, days)[owner]
    shares, hours = zip(*catalogue.OPENING_HOURS, strict=True)
    # Sequence numbers follow the clock, so a file needs no sorting by time.
    progress = (sequence + unit(draw(key, 4))) / invoices[owner]
    second = (np.interp(progress, shares, hours) * 3_600).astype(np.int64)
    returned = unit(draw(key, 6)) < RETURN_RATE
    partial = (unit(draw(key, 7)) < PARTIAL_RETURNS) & (lines > 1)
    taken_back = np.where(partial, 1 + below(draw(key, 8), lines), 0)
    delay = below(draw(key, 9), LAST_RETURN_DAY + 1)

    invoice, line = blocks(lines)
    line_key = draw(key[invoice], 16 + line)
    rank = unit(draw(line_key, 0)) ** 1.3 * articles.popular.size
    article = articles.popular[rank.astype(np.int64)]
    half_units = np.maximum(1, np.rint(2 * market.price_level * articles.dollars)).astype(np.int64)
    price = half_units[article]
    quantity = 1 + pick(draw(line_key, 1), catalogue.QUANTITY)
    percent = _percent_off(days)[owner[invoice], articles.group[article]]
    cents = (price * quantity * (100 - percent) + 1) // 2  # half a cent goes up
    total = np.add.reduceat(cents, np.cumsum(lines) - lines)
    sales = pl.DataFrame(
        {
            "file_day": day[invoice],
            "day": day[invoice],
            "is_return": np.zeros(line.size, np.int64),
            "counter": (day * INVOICES_PER_DAY + sequence)[invoice],
            "line": line + 1,
            "customer": _customer_ids(market, member.astype(np.int64))[invoice],
            "article": article,
            "size": articles.sizes(article, draw(line_key, 2)),
            "half_units": price,
            "quantity": quantity,
            "second": second[invoice],
            "percent": percent,
            "cents": cents,
            "shop": shop[invoice],
            "employee": employee[invoice],
            "cash": (unit(draw(key, 5)) < 0.1997).astype(np.int64)[invoice],
            "total": total[invoice],
            "plain": ((lines == 1) & ~returned)[invoice],
        }
    )
    chosen = taken_back[invoice]
    back = np.flatnonzero(returned[invoice] & ((chosen == 0) | (chosen == line + 1)))
    when = (day + delay)[invoice[back]]
    returns = sales[back].with_columns(
        pl.Series("file_day", when),
        pl.Series("day", when),
        -pl.when(pl.Series(partial[invoice[back]])).then("cents").otherwise("total").alias("total"),
        -pl.col("cents"),
        is_return=pl.lit(1, pl.Int64),
        second=pl.lit(0, pl.Int64),
        percent=pl.lit(0, pl.Int64),
    )
    return sales, returns


def _in_file_order(rows: pl.DataFrame) -> pl.DataFrame:
    """By file, sales before returns, then by invoice and line."""
    order = rows["file_day"].to_numpy()
    for column, bits in (("is_return", 1), ("counter", 27), ("line", 3)):
        order = (order << bits) | rows[column].to_numpy()
    return rows[np.argsort(order, kind="stable")]


def _rendered(market: Market, articles: Articles, rows: pl.DataFrame) -> pl.DataFrame:
    """The transactions feed as the tills write it."""
    column = {name: rows[name].to_numpy() for name in rows.columns}
    four = [f"{i:04d}" for i in range(10_000)]
    stores = [market.first_store + i for i in range(len(market.shops))]
    heads = [f"{kind}-{market.token}-{s:03d}-" for kind in ("INV", "RET") for s in stores]
    colors, color = catalogue.COLORS, articles.color[column["article"]]
    first, span = int(column["day"].min()), int(np.ptp(column["day"])) + 1
    two = [f"{i:02d}" for i in range(60)]
    minutes = [f"{hour}:{minute}:" for hour in two[:24] for minute in two]
    text = {
        "head": words_at(heads, column["is_return"] * len(stores) + column["shop"]),
        "high": words_at(four, column["counter"] // 10_000),
        "low": words_at(four, column["counter"] % 10_000),
        "day": words_at([f"{date_of(first + i)} " for i in range(span)], column["day"] - first),
        "minute": words_at(minutes, column["second"] // 60),
        "second": words_at(two, column["second"] % 60),
        "sku": words_at(articles.sku_heads, column["article"]),
        "sku_size": words_at([f"{word}-" for word in SIZE_WORDS], column["size"]),
        "sku_color": words_at([*colors, ""], color),
    }
    joined = pl.DataFrame(text).select(
        invoice=pl.concat_str("head", "high", "low"),
        moment=pl.concat_str("day", "minute", "second"),
        sku=pl.concat_str("sku", "sku_size", "sku_color"),
    )
    same = {"Currency": market.currency, "Currency Symbol": market.symbol}
    return pl.DataFrame(
        {
            "Invoice ID": joined["invoice"],
            "Line": column["line"],
            "Customer ID": column["customer"],
            "Product ID": column["article"] + 1,
            "Size": words_at([word or None for word in SIZE_WORDS], column["size"]),
            "Color": words_at([*colors, None], color),
            "Unit Price": column["half_units"] / 2,
            "Quantity": column["quantity"],
            "Date": joined["moment"],
            "Discount": column["percent"] / 100,
            "Line Total": column["cents"] / 100,
            "Store ID": column["shop"] + market.first_store,
            "Employee ID": column["employee"],
            **{name: pl.repeat(word, rows.height, eager=True) for name, word in same.items()},
            "SKU": joined["sku"],
            "Transaction Type": words_at(["Sale", "Return"], column["is_return"]),
            "Payment Method": words_at(["Credit Card", "Cash"], column["cash"]),
            "Invoice Total": column["total"] / 100,
        }
    )


class _Generation:
    """One call of `generate`: who delivers what, in which order, and what it adds up to."""

    def __init__(
        self, spec: GeneratorSpec, dirt: Dirt, sink: Sink, progress: Callable[[int, int], None]
    ) -> None:
        self.spec, self.sink, self.progress = spec, sink, progress
        self.plants = dirty.place(dirt, spec.countries, spec.days)
        self.markets = [MARKETS[code] for code in spec.countries]
        self.reference_days = [int(day) for day in spec.all_days[:: spec.reference_every]]
        self.manifest = GeneratedManifest()

    def run(self) -> GeneratedManifest:
        """Deliver feed by feed."""
        for feed in FEEDS:
            if feed not in self.spec.feeds:
                continue
            if feed in channels.FEEDS:
                self.channel(feed)
            else:
                getattr(self, feed)()
        return self.manifest

    def channel(self, feed: str) -> None:
        """Deliver a feed beside the nightly ones."""
        if feed == "suppliers":
            for file in channels.suppliers(self.world):
                self.deliver_file(feed, file)
            return
        for market in self.markets:
            for file in channels.files_of(feed, self.world, market, self.plants.repeated_events):
                cell = (market.code, file.day - self.spec.first)
                if feed == "stock_cdc" and cell == self.plants.late_changes:
                    self.manifest.late_files.append(file.name)
                    self.manifest.second_wave.append(self.packed(file.name, file.data))
                    self.manifest.rows[feed] += file.rows
                else:
                    self.deliver_file(feed, file)

    def deliver_file(self, feed: str, file: channels.File) -> None:
        """Deliver one file of a channel as it is named there."""
        name, data = self.packed(file.name, file.data)
        self.sink(name, data)
        self.manifest.files.append(name)
        self.manifest.rows[feed] += file.rows

    @cached_property
    def world(self) -> channels.World:
        """What the channels share with the shops."""
        spec = self.spec
        return channels.World(
            seed=spec.seed,
            days=spec.all_days,
            reference_days=self.reference_days,
            lines_per_day=spec.lines_per_day,
            articles=self.articles,
            receipts=self.receipts,
            people=lambda market, *member: _people(spec.seed, market, *member),
            roster=lambda market: _roster(spec, market),
            members=lambda market, days: _members(spec, market, days),
        )

    def receipts(
        self,
        market: Market,
        change: Callable[[Market, pl.DataFrame], pl.DataFrame] = lambda market, sales: sales,
    ) -> Iterator[tuple[Ints, pl.DataFrame]]:
        """Lines of a market in blocks of days; returns wait for the day of their file.

        Args:
            change: sends sales to another day's file.
        """
        days = self.spec.all_days
        per_block = max(1, int(_BLOCK_LINES / (self.spec.lines_per_day * market.volume)))
        waiting: list[pl.DataFrame] = []
        for start in range(0, days.size, per_block):
            block = days[start : start + per_block]
            sales, returns = _sales(self.spec, market, self.articles, block)
            sales = change(market, sales)
            rows = _in_file_order(pl.concat([*waiting, sales, returns]))
            due = rows["file_day"].search_sorted(int(block[-1]), side="right")
            waiting = [rows[due:]]
            yield block, rows[:due]

    @cached_property
    def articles(self) -> Articles:
        return Articles(self.spec.seed, self.spec.products)

    def packed(self, name: str, data: bytes) -> tuple[str, bytes]:
        """Name and content as delivered."""
        if self.spec.gzip and not name.endswith(".gz"):
            return f"{name}.gz", gzip.compress(data, compresslevel=4, mtime=0)
        return name, data

    def deliver(self, feed: str, token: str | None, day: int, data: bytes, rows: int) -> None:
        name, data = self.packed(file_name(feed, token, day), data)
        self.sink(name, data)
        self.manifest.files.append(name)
        self.manifest.rows[feed] += rows

    def deliver_reference(
        self, feed: str, market: Market, frame: pl.DataFrame, header: bool = True
    ) -> None:
        data = csv_bytes(frame, header)
        for day in self.reference_days:
            self.deliver(feed, market.token, day, data, frame.height)

    def deliver_daily(
        self, feed: str, market: Market, frame: pl.DataFrame, sizes: Ints, header: bool = True
    ) -> None:
        contents = split_csv(frame, sizes, header)
        for day, size, data in zip(self.spec.all_days, sizes, contents, strict=True):
            self.deliver(feed, market.token, day, data, int(size))

    def stores(self) -> None:
        """One file for all countries on the first day, then one per country."""
        first, *later = self.reference_days
        frame = catalogue.stores(self.markets)
        self.deliver("stores", "ALL", first, csv_bytes(frame), frame.height)
        for market in self.markets:
            frame = catalogue.stores([market])
            for day in later:
                self.deliver("stores", market.token, day, csv_bytes(frame), frame.height)

    def employees(self) -> None:
        for market in self.markets:
            self.deliver_reference("employees", market, _employees(self.spec.seed, market))

    def partner_stores(self) -> None:
        for market in self.markets:
            frame = catalogue.partner_stores(market)
            self.deliver_reference("partner_stores", market, frame, market.partner_header)

    def customers(self) -> None:
        for market in self.markets:
            rows, sizes = _roster(self.spec, market)
            member, version = rows["member"].to_numpy(), rows["version"].to_numpy()
            frame = _people(self.spec.seed, market, member, version)
            self.deliver_daily("customers", market, frame, sizes)

    def partner_sales(self) -> None:
        for market in self.markets:
            frame, sizes = _partner_sales(self.spec, market)
            self.deliver_daily("partner_sales", market, frame, sizes, market.partner_header)

    def products(self) -> None:
        contents: dict[int, bytes] = {}
        for day in self.reference_days:
            quarter = date_of(day).year * 4 + (date_of(day).month - 1) // 3
            if quarter not in contents:
                contents[quarter] = csv_bytes(self.articles.frame(self.spec.seed, quarter))
            self.deliver("products", None, day, contents[quarter], self.spec.products)

    def discounts(self) -> None:
        for day in self.reference_days:
            frame = catalogue.discounts(date_of(day) + timedelta(days=60))
            self.deliver("discounts", None, day, csv_bytes(frame), frame.height)

    def fx_rates(self) -> None:
        """Weekdays; the first day in any case, or its sales could not be converted."""
        rates = _rates(self.spec.seed)
        for day in self.spec.all_days:
            if date_of(day).weekday() < 5 or day == self.spec.first:
                lines = [f"{date_of(day)},{currency},{rates[currency][day]}" for currency in rates]
                data = "\n".join(["Date,Currency,Rate", *lines, ""]).encode()
                self.deliver("fx_rates", None, day, data, len(lines))

    def transactions(self) -> None:
        """Draw each country in blocks of days; returns and late sales wait for their file's day."""
        days, loaded, done = self.spec.all_days, [], 0
        for market in self.markets:
            for block, rows in self.receipts(market, self.with_late_rows):
                totals = self.deliver_transactions(market, block, rows)
                loaded.append(totals.with_columns(country=pl.lit(market.code)))
                done += block.size
                self.progress(done, days.size * len(self.markets))
        self.manifest.net_sales = _net_sales(pl.concat(loaded))
        unknown = self.plants.unknown_file
        if unknown:
            name = file_name("store_sales", MARKETS[unknown[0]].token, days[unknown[1]])
            name, data = self.packed(name, b"store,amount\nP01,12.50\n")
            self.sink(name, data)
            self.manifest.files.append(name)
            self.manifest.broken[name] = "the name belongs to no feed"

    def with_late_rows(self, market: Market, sales: pl.DataFrame) -> pl.DataFrame:
        """Send some sales to a later day's file."""
        file_day = sales["file_day"].to_numpy().copy()
        for move in self.plants.moves:
            sold, delivered = (self.spec.first + i for i in (move.sold, move.delivered))
            late = dirty.plain_sales(sales, sold)[1 : move.rows + 1]  # the day keeps its first
            if move.country == market.code and late.size:
                file_day[late] = delivered
                name, _ = self.packed(file_name("transactions", market.token, delivered), b"")
                self.manifest.late_rows.append(LateRows(name, date_of(sold), late.size))
        return sales.with_columns(pl.Series("file_day", file_day))

    def deliver_transactions(self, market: Market, block: Ints, rows: pl.DataFrame) -> pl.DataFrame:
        """Deliver the files of a block; net amount per business day of what must be loaded."""
        sizes = np.bincount(rows["file_day"].to_numpy() - block[0], minlength=block.size)
        special = {
            day + self.spec.first
            for country, day in self.plants.special_cells()
            if country == market.code
        }
        contents = split_csv(_rendered(market, self.articles, rows), sizes)
        loaded = [rows.filter(~pl.col("file_day").is_in(special))]
        for day, size, data in zip(block, sizes, contents, strict=True):
            if day in special:
                today = rows.filter(pl.col("file_day") == day)
                loaded.append(self.deliver_planted(market, int(day), today))
            else:
                self.deliver("transactions", market.token, day, data, int(size))
        return pl.concat(loaded).group_by("day").agg(pl.col("cents").sum())

    def deliver_planted(self, market: Market, day: int, rows: pl.DataFrame) -> pl.DataFrame:
        """Deliver one file with its planted trouble; the rows of it that must be loaded."""
        cell, plants, manifest = (market.code, day - self.spec.first), self.plants, self.manifest
        plain_name = file_name("transactions", market.token, day)
        lines = _rendered(market, self.articles, rows)
        if cell == plants.broken_file:
            self.sink(f"{plain_name}.gz", dirty.truncated_gzip(csv_bytes(lines)))
            manifest.files.append(f"{plain_name}.gz")
            manifest.broken[f"{plain_name}.gz"] = "the gzip stream ends early"
            return rows.clear()
        name, _ = self.packed(plain_name, b"")
        loaded = rows
        bad_cells = [bad for bad in plants.bad_cells if (bad.country, bad.day) == cell]
        positions = dirty.plain_sales(rows, day)[: len(bad_cells)]
        for bad, position in zip(bad_cells, positions, strict=False):
            lines = dirty.spoiled(lines, position, bad.column, bad.value)
            manifest.bad_rows.append(BadRow(name, int(position) + 1, bad.column, bad.value))
        loaded = rows.filter(~pl.int_range(pl.len()).is_in(positions))
        if cell == plants.duplicates:
            copies = lines.head(dirty.DUPLICATE_ROWS)
            lines = pl.concat([lines, copies])
            manifest.duplicates[name] = copies.height
        data = csv_bytes(lines)
        if cell == plants.late_file:
            manifest.late_files.append(name)
            manifest.second_wave.append(self.packed(plain_name, data))
            manifest.rows["transactions"] += lines.height
            return loaded
        self.deliver("transactions", market.token, day, data, lines.height)
        if cell == plants.identical:
            manifest.identical.append(name)
            manifest.second_wave.append(self.packed(plain_name, data))
        if cell == plants.correction:
            loaded = dirty.corrected(rows, day)
            manifest.corrections.append(name)
            second = csv_bytes(_rendered(market, self.articles, loaded))
            manifest.second_wave.append(self.packed(plain_name, second))
            manifest.rows["transactions"] += loaded.height - rows.height
        return loaded


def _net_sales(loaded: pl.DataFrame) -> pl.DataFrame:
    """Cents per country and day, summed over blocks, as the truth to compare marts with."""
    rows = loaded.group_by("country", "day").agg(pl.col("cents").sum()).sort("country", "day")
    return pl.DataFrame(
        [
            (country, date_of(day), MARKETS[country].currency, Decimal(cents).scaleb(-2))
            for country, day, cents in rows.iter_rows()
        ],
        {
            "country": pl.String,
            "business_date": pl.Date,
            "currency": pl.String,
            "net_amount_local": pl.Decimal(18, 2),
        },
        orient="row",
    )
