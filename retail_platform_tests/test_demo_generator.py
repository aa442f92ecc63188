"""The nightly feeds: reproducible, true to the real files, and dirty only where announced."""

import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest

from retail_platform.contract import load_contracts
from retail_platform.countries import load_countries
from retail_platform.demo import generator
from retail_platform.demo.catalogue import ARTICLE_GROUPS, CAMPAIGNS, MARKETS
from retail_platform.demo.dirt import Dirt
from retail_platform.demo.generator import (
    NIGHTLY_FEEDS,
    GeneratedManifest,
    GeneratorSpec,
    folder_sink,
    generate,
)

FIRST = date(2025, 1, 4)  # a Saturday
SPEC = GeneratorSpec(
    first_day=FIRST,
    days=12,
    lines_per_day=60,
    seed=11,
    feeds=NIGHTLY_FEEDS,
    customers=2_800,
    products=1_040,
)
HEADERS = {
    "transactions": "Invoice ID,Line,Customer ID,Product ID,Size,Color,Unit Price,Quantity,Date,"
    "Discount,Line Total,Store ID,Employee ID,Currency,Currency Symbol,SKU,Transaction Type,"
    "Payment Method,Invoice Total",
    "customers": "Customer ID,Name,Email,Telephone,City,Country,Gender,Date Of Birth,Job Title",
    "products": "Product ID,Category,Sub Category,Description PT,Description DE,Description FR,"
    "Description ES,Description EN,Description ZH,Color,Sizes,Production Cost",
    "stores": "Store ID,Country,City,Store Name,Number of Employees,ZIP Code,Latitude,Longitude",
    "employees": "Employee ID,Store ID,Name,Position",
    "discounts": "Start,End,Discont,Description,Category,Sub Category",
    "fx_rates": "Date,Currency,Rate",
}


@dataclass
class Delivered:
    """Everything one call of the generator sent."""

    files: dict[str, bytes] = field(default_factory=dict)
    manifest: GeneratedManifest = field(default_factory=GeneratedManifest)

    def newest(self) -> dict[str, bytes]:
        """Files as they stand after the second wave."""
        return self.files | dict(self.manifest.second_wave)

    def of(self, feed: str) -> dict[str, bytes]:
        return {n: d for n, d in self.files.items() if n.startswith(f"{feed}_")}

    def table(self, feed: str) -> pl.DataFrame:
        """All rows of a feed with headers, as text, plus the file name."""
        return pl.concat(
            pl.read_csv(data, infer_schema_length=0).with_columns(file=pl.lit(name))
            for name, data in sorted(self.of(feed).items())
        )


def delivered(spec: GeneratorSpec = SPEC, dirt: Dirt | None = None) -> Delivered:
    out = Delivered()
    out.manifest = generate(spec, dirt or Dirt.none(), out.files.__setitem__)
    return out


@pytest.fixture(scope="module")
def clean() -> Delivered:
    return delivered()


@pytest.fixture(scope="module")
def demo() -> Delivered:
    return delivered(dirt=Dirt.demo())


def data_lines(data: bytes) -> list[str]:
    return data.decode().splitlines()[1:]


def test_same_spec_same_bytes(demo: Delivered) -> None:
    again = delivered(dirt=Dirt.demo())
    assert again.files == demo.files
    assert again.manifest.second_wave == demo.manifest.second_wave
    assert again.manifest.net_sales.equals(demo.manifest.net_sales)


def test_another_seed_changes_every_sale() -> None:
    spec = replace(SPEC, days=1, feeds=("transactions",))
    one, other = delivered(spec), delivered(replace(spec, seed=12))
    assert one.files.keys() == other.files.keys()
    assert all(one.files[name] != other.files[name] for name in one.files)


@pytest.mark.parametrize(
    "smaller", [{"days": 5}, {"countries": ("FR", "GB")}, {"countries": ("US",), "days": 1}]
)
def test_a_day_does_not_depend_on_the_range(clean: Delivered, smaller: dict[str, object]) -> None:
    part = delivered(replace(SPEC, **smaller))  # type: ignore[arg-type]
    shared = {n: d for n, d in part.files.items() if not n.startswith("stores_ALL_")}
    assert shared
    assert shared.items() <= clean.files.items()


def test_a_day_does_not_depend_on_the_block_it_is_drawn_in(
    demo: Delivered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "_BLOCK_LINES", 100)
    again = delivered(dirt=Dirt.demo())
    assert again.files == demo.files
    assert again.manifest.net_sales.equals(demo.manifest.net_sales)


@pytest.mark.parametrize("dirt", [Dirt.none(), Dirt.demo()], ids=["clean", "dirty"])
def test_truth_equals_a_recomputation_from_the_files(dirt: Dirt, tmp_path: Path) -> None:
    out = delivered(SPEC, dirt)
    for name, data in out.newest().items():
        if name.startswith("transactions_") and name not in out.manifest.broken:
            (tmp_path / name).write_bytes(data)
    recomputed = duckdb.sql(
        f"""
        with line as (
            -- The file belongs to the key: only repetitions inside one file are dropped.
            select distinct *
            from read_csv('{tmp_path}/*.csv', all_varchar = true, header = true, filename = true)
        )
        select
            replace(split_part("Invoice ID", '-', 2), 'UK', 'GB') as country,
            cast(cast("Date" as timestamp) as date) as business_date,
            any_value("Currency") as currency,
            cast(sum(cast("Line Total" as decimal(18, 2))) as decimal(18, 2)) as net_amount_local
        from line
        where try_cast("Quantity" as integer) > 0
            and try_cast("Unit Price" as decimal(12, 2)) >= 0
            and try_cast("Date" as timestamp) is not null
            and "Currency" in ('USD', 'EUR', 'CNY', 'GBP')
            and "Customer ID" is not null
        group by 1, 2
        order by 1, 2
        """
    ).fetchall()
    assert recomputed == out.manifest.net_sales.rows()


def test_rows_are_accounted_for(demo: Delivered) -> None:
    manifest, newest = demo.manifest, demo.newest()
    names = [n for n in newest if n.startswith("transactions_") and n not in manifest.broken]
    assert manifest.rows["transactions"] == sum(len(data_lines(newest[n])) for n in names)
    assert manifest.rows["customers"] == demo.table("customers").height
    assert manifest.files == list(demo.files)


PLANTED: dict[str, Callable[[GeneratedManifest], bool]] = {
    "late_rows": lambda m: any(_lateness(m) < 7 for m in m.late_rows),
    "beyond_window": lambda m: any(_lateness(m) >= 7 for m in m.late_rows),
    "late_file": lambda m: bool(m.late_files),
    "correction": lambda m: bool(m.corrections),
    "identical": lambda m: bool(m.identical),
    "duplicates": lambda m: bool(m.duplicates),
    "bad_rows": lambda m: bool(m.bad_rows),
    "broken_file": lambda m: any(n.startswith("transactions_") for n in m.broken),
    "unknown_file": lambda m: any(n.startswith("store_sales_") for n in m.broken),
}


def _lateness(late: generator.LateRows) -> int:
    batch_day = datetime.strptime(late.file.split("_")[2][:8], "%Y%m%d").date()  # noqa: DTZ007
    return (batch_day - late.business_date).days


def test_every_switch_has_a_kind() -> None:
    of_other_feeds = {"repeated_events", "late_changes"}
    assert {f.name for f in fields(Dirt)} == {*PLANTED, *of_other_feeds}


@pytest.mark.parametrize("switch", PLANTED)
def test_each_switch_plants_its_kind_only(switch: str) -> None:
    spec = replace(SPEC, feeds=("transactions",))
    manifest = delivered(spec, Dirt(**{switch: True})).manifest
    assert [kind for kind, found in PLANTED.items() if found(manifest)] == [switch]


def test_none_plants_nothing(clean: Delivered) -> None:
    assert not [kind for kind, found in PLANTED.items() if found(clean.manifest)]
    assert clean.manifest.second_wave == []
    lines = clean.table("transactions")
    assert lines.n_unique() == lines.height
    batch_day = lines["file"].str.extract(r"(\d{8})").str.to_date("%Y%m%d")
    assert (lines["Date"].str.slice(0, 10).str.to_date() == batch_day).all()


def test_a_range_too_short_for_a_plant_leaves_it_out() -> None:
    manifest = delivered(replace(SPEC, days=2, feeds=("transactions",)), Dirt.demo()).manifest
    assert [kind for kind, found in PLANTED.items() if found(manifest)] == ["duplicates"]


def test_demo_plants_survive_the_smallest_shops() -> None:
    spec = replace(SPEC, lines_per_day=1, countries=("PT",), feeds=("transactions",))
    out = delivered(spec, Dirt.demo())
    assert out.manifest.net_sales.height > 0


def test_correction_has_fewer_rows_and_one_changed_amount(demo: Delivered) -> None:
    (name,) = demo.manifest.corrections
    before, after = data_lines(demo.files[name]), data_lines(dict(demo.manifest.second_wave)[name])
    assert len(after) == len(before) - 3
    (changed,) = set(after) - set(before)
    invoice = changed.split(",")[0]
    (original,) = [line for line in before if line.startswith(invoice)]
    assert original.split(",")[10] != changed.split(",")[10]


def test_second_wave_holds_late_file_correction_and_repetition(demo: Delivered) -> None:
    manifest, second = demo.manifest, dict(demo.manifest.second_wave)
    assert set(second) == {*manifest.late_files, *manifest.corrections, *manifest.identical}
    assert not set(manifest.late_files) & set(demo.files)
    assert all(second[name] == demo.files[name] for name in manifest.identical)
    received: dict[str, bytes] = {}
    manifest.deliver_second_wave(received.__setitem__)
    assert received == second


def test_bad_rows_are_where_the_manifest_says(demo: Delivered) -> None:
    assert {bad.column for bad in demo.manifest.bad_rows} == {
        "Quantity", "Unit Price", "Date", "Currency", "Customer ID",
    }  # fmt: skip
    for bad in demo.manifest.bad_rows:
        rows = list(csv.DictReader(io.StringIO(demo.files[bad.file].decode())))
        assert rows[bad.row - 1][bad.column] == (bad.value or "")


def test_duplicates_repeat_rows_of_their_file(demo: Delivered) -> None:
    for name, copies in demo.manifest.duplicates.items():
        lines = data_lines(demo.files[name])
        assert len(lines) - len(set(lines)) == copies > 0


def test_late_rows_are_in_the_later_file(demo: Delivered) -> None:
    for late in demo.manifest.late_rows:
        dates = [line.split(",")[8][:10] for line in data_lines(demo.files[late.file])]
        assert dates.count(late.business_date.isoformat()) == late.rows > 0


def test_broken_file_is_half_a_gzip_stream(demo: Delivered) -> None:
    (name,) = [n for n in demo.manifest.broken if n.startswith("transactions_")]
    assert name.removesuffix(".gz") not in demo.files
    with pytest.raises(EOFError):
        gzip.decompress(demo.files[name])


def test_header_names(clean: Delivered) -> None:
    for feed, header in HEADERS.items():
        for data in clean.of(feed).values():
            assert data.decode().splitlines()[0] == header


def test_contracts_know_every_column(clean: Delivered) -> None:
    contracts = load_contracts()
    assert set(contracts) >= set(NIGHTLY_FEEDS)
    for feed, header in HEADERS.items():
        assert [c.header for c in contracts[feed].columns] == header.split(",")


def test_markets_agree_with_the_registry() -> None:
    registry = load_countries()
    assert {m.code: m.currency for m in MARKETS.values()} == registry.currency_by_code
    for market in MARKETS.values():
        assert registry.resolve(market.token) == registry.resolve(market.name) == market.code


def test_file_names(clean: Delivered) -> None:
    names = set(clean.files)
    assert {"stores_ALL_20250104.csv", "stores_UK_20250111.csv"} <= names
    assert {"products_20250104.csv", "discounts_20250111.csv", "fx_rates_20250106.csv"} <= names
    assert {f"transactions_{m.token}_20250115.csv" for m in MARKETS.values()} <= names
    assert not any("_GB_" in name for name in names)


def test_rates_on_weekdays_and_on_the_first_day(clean: Delivered) -> None:
    days = {date.fromisoformat(f"{n[9:13]}-{n[13:15]}-{n[15:17]}") for n in clean.of("fx_rates")}
    everyday = {FIRST + timedelta(days=i) for i in range(SPEC.days)}
    assert days == {FIRST} | {day for day in everyday if day.weekday() < 5}
    rates = clean.table("fx_rates")
    assert set(rates["Currency"]) == {"CNY", "GBP", "USD"}
    assert rates["Rate"].str.contains(r"^\d\.\d{4,}$").all()
    assert rates.filter(pl.col("Date") == FIRST.isoformat()).height == 3


def test_returns_take_back_earlier_sales(clean: Delivered) -> None:
    rows = clean.table("transactions").with_columns(
        pl.col("Invoice ID").str.slice(3).alias("number"), pl.col("Line Total").cast(pl.Float64)
    )
    sales = rows.filter(pl.col("Transaction Type") == "Sale")
    returns = rows.filter(pl.col("Transaction Type") == "Return")
    assert returns.height > 20
    linked = returns.join(sales, on=["number", "Line"], suffix=" sold")
    assert linked.height == returns.height
    day, sold = (linked[c].str.slice(0, 10).str.to_date() for c in ("Date", "Date sold"))
    assert (day - sold).dt.total_days().is_between(0, 30).all()
    assert (linked["Line Total"] == -linked["Line Total sold"]).all()
    assert returns["Date"].str.ends_with("00:00:00").all()
    assert (returns["Discount"].cast(pl.Float64) == 0).all()
    assert returns["Invoice ID"].str.starts_with("RET-").all()
    assert (returns["Quantity"].cast(pl.Int64) > 0).all()
    same = ["Unit Price", "Quantity", "Customer ID", "Store ID", "SKU"]
    assert all((linked[c] == linked[f"{c} sold"]).all() for c in same)


def test_amounts_follow_the_tills() -> None:
    spring = date(2025, 3, 15)  # 35 % off, the reduction that leaves half cents
    spec = replace(SPEC, first_day=spring, lines_per_day=800, countries=("PT",))
    rows = delivered(replace(spec, feeds=("transactions",))).table("transactions")
    totals: dict[str, Decimal] = {}
    lines: dict[str, int] = {}
    half_cents = 0
    for row in rows.iter_rows(named=True):
        if row["Transaction Type"] == "Sale":
            amount = Decimal(row["Unit Price"]) * int(row["Quantity"])
            amount *= 1 - Decimal(row["Discount"])
            assert Decimal(row["Line Total"]) == amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
            half_cents += amount * 100 % 1 != 0
        assert Decimal(row["Unit Price"]) % Decimal("0.5") == 0
        invoice = row["Invoice ID"]
        totals[invoice] = totals.get(invoice, Decimal(0)) + Decimal(row["Line Total"])
        lines[invoice] = lines.get(invoice, 0) + 1
    assert all(
        totals[i] == Decimal(t) for i, t in rows.select("Invoice ID", "Invoice Total").rows()
    )
    returned = [i for i in lines if i.startswith("RET")]
    assert half_cents > 100
    assert any(lines[i] == lines[i.replace("RET", "INV")] > 1 for i in returned)
    assert any(lines[i] < lines[i.replace("RET", "INV")] for i in returned)


def test_invoice_numbers_and_skus(clean: Delivered) -> None:
    rows = clean.table("transactions")
    assert rows["Invoice ID"].str.contains(r"^(INV|RET)-(US|CN|DE|UK|FR|ES|PT)-\d{3}-\d{8}$").all()
    assert (rows["Invoice ID"].str.slice(7, 3).cast(pl.Int64) == rows["Store ID"].cast(int)).all()
    assert rows.select("Invoice ID", "Line").n_unique() == rows.height
    expected = rows.select(
        pl.col("SKU")
        == pl.concat_str(
            pl.col("SKU").str.head(4),
            "Product ID",
            pl.lit("-"),
            pl.col("Size").fill_null(""),
            pl.lit("-"),
            pl.col("Color").fill_null(""),
        )
    )
    assert expected.to_series().all()


def test_sales_refer_to_people_and_articles_delivered(clean: Delivered) -> None:
    sales, customers = clean.table("transactions"), clean.table("customers")
    batch_day = pl.col("file").str.extract(r"(\d{8})")
    known = customers.group_by("Customer ID").agg(batch_day.min().alias("known"))
    joined = sales.with_columns(batch_day.alias("day")).join(known, on="Customer ID", how="left")
    assert (joined["known"] <= joined["day"]).fill_null(False).all()
    sellers = clean.table("employees").filter(pl.col("Position") == "Sales Associate")
    keys = ["Employee ID", "Store ID"]
    assert sales.join(sellers, on=keys, how="anti").is_empty()
    articles = clean.table("products").unique("Product ID").select("Product ID", "Sizes", "Color")
    offered = sales.join(articles, on="Product ID", suffix=" offered")
    assert offered.height == sales.height
    assert (offered["Color"].fill_null("") == offered["Color offered"].fill_null("")).all()
    assert all(
        (size or "") in (sizes or "").split("|")
        for size, sizes in offered.select("Size", "Sizes").rows()
    )


def test_customer_files_are_changes_after_the_first_day(clean: Delivered) -> None:
    customers = clean.table("customers")
    assert not customers.select("file", "Customer ID").is_duplicated().any()
    again = customers.filter(~pl.col("file").str.contains("20250104"))
    first = customers.filter(pl.col("file").str.contains("20250104"))
    assert again.height >= 2 * 7 * (SPEC.days - 1)
    moved = again.join(first, on="Customer ID", suffix=" before")
    same = ["Name", "Gender", "Date Of Birth", "Country"]
    assert all((moved[c] == moved[f"{c} before"]).all() for c in same)
    assert (moved["Telephone"] != moved["Telephone before"]).sum() > 0.9 * moved.height > 0


def test_sales_are_reduced_exactly_inside_campaigns(clean: Delivered) -> None:
    group_of = {str(i + 1): ARTICLE_GROUPS[i % len(ARTICLE_GROUPS)] for i in range(SPEC.products)}
    sales = clean.table("transactions").filter(pl.col("Transaction Type") == "Sale")
    assert sales["Discount"].n_unique() > 1
    for article, moment, discount in sales.select("Product ID", "Date", "Discount").rows():
        day = date.fromisoformat(moment[:10])
        percent = sum(
            c.percent
            for c in CAMPAIGNS
            if c.window(day.year)[0] <= day <= c.window(day.year)[1] and c.covers(group_of[article])
        )
        assert Decimal(discount) * 100 == percent


def test_shop_list_understates_its_staff_by_three(clean: Delivered) -> None:
    stores = pl.read_csv(clean.files["stores_ALL_20250104.csv"], infer_schema_length=0)
    assert stores.height == 35
    assert {"06000", "08001", "EC2P 2E", "1000-001"} <= set(stores["ZIP Code"])
    staff = clean.table("employees").unique("Employee ID")
    assert staff.height == 404
    heads = staff.group_by("Store ID").len()
    joined = stores.join(heads, on="Store ID")
    assert (joined["len"] - joined["Number of Employees"].cast(pl.Int64) == 3).all()


def test_full_discount_list_matches_the_original() -> None:
    spec = replace(SPEC, first_day=date(2025, 3, 1), days=1, feeds=("discounts",))
    (data,) = delivered(spec).files.values()
    windows = pl.read_csv(data, infer_schema_length=0)
    windows = windows.filter(pl.col("Start") <= "2025-03-31")
    assert windows.height == 181
    assert windows["Category"].null_count() == windows["Sub Category"].null_count() == 10
    assert windows.select("Start", "End").n_unique() == 37


def test_partner_files_come_in_both_widths_with_and_without_header(clean: Delivered) -> None:
    shapes = set()
    for name, data in clean.of("partner_sales").items():
        rows = list(csv.reader(io.StringIO(data.decode())))
        header = rows[0][0] == "store_token"
        shapes.add((len(rows[0]), header))
        for row in rows[header:]:
            assert row[0].startswith(f"{name.split('_')[2]}-P0")
            assert Decimal(row[4].removeprefix("$")) > 0
            assert datetime.fromisoformat(row[3])
    assert shapes == {(7, True), (7, False), (6, True), (6, False)}
    text = b"".join(clean.of("partner_sales").values()).decode()
    assert ",$" in text
    assert ".000," in text


def test_gzip_holds_the_same_bytes(clean: Delivered) -> None:
    packed = delivered(replace(SPEC, gzip=True))
    assert {name.removesuffix(".gz") for name in packed.files} == set(clean.files)
    assert all(name.endswith(".csv.gz") for name in packed.files)
    for name, data in packed.files.items():
        assert gzip.decompress(data) == clean.files[name.removesuffix(".gz")]


def test_only_the_feeds_asked_for() -> None:
    out = delivered(replace(SPEC, feeds=("stores", "fx_rates")))
    assert {name.rsplit("_", 1)[0] for name in out.files} == {
        "stores_ALL", "fx_rates", *(f"stores_{m.token}" for m in MARKETS.values()),
    }  # fmt: skip
    assert out.manifest.net_sales.is_empty()


def test_volume_of_a_year_is_as_ordered() -> None:
    spec = GeneratorSpec(
        first_day=date(2024, 1, 1), days=366, lines_per_day=20, feeds=("transactions",)
    )
    lines = delivered(spec).manifest.rows["transactions"]
    assert lines == pytest.approx(366 * 7 * 20 * 1.055, rel=0.05)


def test_progress_counts_country_days() -> None:
    steps: list[tuple[int, int]] = []
    spec = replace(SPEC, feeds=("transactions",), countries=("ES", "PT"), days=3)
    generate(spec, Dirt.none(), lambda name, data: None, lambda *step: steps.append(step))
    assert steps[-1] == (6, 6)


def test_folder_sink_leaves_only_whole_files(tmp_path: Path) -> None:
    spec = replace(SPEC, days=1)
    manifest = generate(spec, Dirt.none(), folder_sink(tmp_path / "inbox"))
    assert {path.name for path in (tmp_path / "inbox").iterdir()} == set(manifest.files)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"countries": ("FR", "XX")}, "XX"),
        ({"countries": ()}, "expected some of"),
        ({"feeds": ("sales",)}, "transactions"),
        ({"products": 20_000}, "26 to 17940"),
        ({"customers": 5}, "280"),
        ({"days": 0}, "at least 1"),
        ({"first_day": date(2019, 1, 1)}, "2020-01-01"),
        ({"seed": -1}, "zero or more"),
    ],
)
def test_impossible_specs_are_explained(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SPEC, **wrong)  # type: ignore[arg-type]


def test_more_invoices_than_numbers_is_an_error() -> None:
    spec = replace(SPEC, lines_per_day=60_000, countries=("US",), feeds=("transactions",), days=1)
    with pytest.raises(ValueError, match="lower lines_per_day"):
        delivered(spec)
