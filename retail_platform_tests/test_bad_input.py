"""Odd and broken deliveries: what becomes of the file, its partition, its neighbours, the message.

All cases lie in one inbox and are taken in together, each on a day of its own beside a sound file
of another country: what a broken file does to the files it travels with is part of each case.
"""

import codecs
import gzip
import json
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from retail_platform.contract import Drift
from retail_platform.gate.gate import Gate
from retail_platform.lake.inbox import Arrival, read_rejections
from retail_platform.lake.naming import FileName
from retail_platform.lake.store import INBOX, Lake
from retail_platform.partitions import Partition
from retail_platform_tests.builders import (
    CONTRACTS,
    REGISTRY,
    Desk,
    Outcome,
    Row,
    csv_text,
    gzipped,
    local_desk,
    receipts,
    row,
)
from retail_platform_tests.memory import Growth

Content = Callable[[date], bytes]


@dataclass(frozen=True)
class Case:
    """A delivery and what must become of it.

    Attributes:
        content: bytes of the file for its day.
        counts: rows (in, loaded, quarantined, duplicate) of an accepted file.
        code: of the refusal; `words` must be in its message.
        layout: facts about how the file was written that the manifest must record.
    """

    content: Content
    counts: tuple[int, int, int, int] | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    code: str | None = None
    words: tuple[str, ...] = ()
    layout: dict[str, str] = field(default_factory=dict)
    feed: str = "transactions"
    country: str = "FR"
    suffix: str = ".csv"


def sales(count: int, **options: object) -> Callable[[date], str]:
    return lambda day: csv_text("transactions", receipts(count, day=day), **options)  # type: ignore[arg-type]


def changed(feed: str, count: int, *changes: dict[str, str]) -> Callable[[date], str]:
    """`count` valid rows, then one row per change."""

    def content(day: date) -> str:
        rows = receipts(count, day=day) if feed == "transactions" else []
        for number, change in enumerate(changes, start=1):
            other = {"invoice_id": f"INV-FR-021-9{number:07d}"} if feed == "transactions" else {}
            rows.append(row(feed, day=day, **(other | change)))
        return csv_text(feed, rows)

    return content


def encoded(content: Callable[[date], str], encoding: str, bom: bytes = b"") -> Content:
    return lambda day: bom + content(day).encode(encoding)


def edited(
    content: Callable[[date], str], edit: Callable[[list[str]], list[str]], newline: str = "\n"
) -> Content:
    """A file whose lines (the header is line 0) are changed."""
    return lambda day: newline.join([*edit(content(day).splitlines()), ""]).encode()


def shoppers(feed_country: str = "FR", **changes: str) -> Callable[[date], str]:
    return lambda day: csv_text("customers", [row("customers", feed_country, day, **changes)])


def plain(content: Callable[[date], str]) -> Content:
    return encoded(content, "utf-8")


def with_column(lines: list[str], header: str, value: str) -> list[str]:
    return [lines[0] + header, *(line + value for line in lines[1:])]


def repeated(first: int, lines: list[str]) -> list[str]:
    """Line `first` again at the end, three times."""
    return [*lines, *[lines[first]] * 3]


def mixed_newlines(day: date) -> bytes:
    header, a, b, c = sales(3)(day).encode().splitlines()
    return header + b"\r\n" + a + b"\n\n" + b + b"\r  \r" + c


def quoted(day: date) -> bytes:
    rows = receipts(2, day=day)
    rows[0]["payment_method"] = '"Cash, in ""small""\ncoins"'
    rows[1]["payment_method"] = '"Credit Card"'
    return csv_text("transactions", rows).encode()


def half_bad(day: date) -> bytes:
    rows = receipts(40, day=day)
    for number in range(24):
        rows[number + 3]["unit_price"] = "free"
    return csv_text("transactions", rows).encode()


def lines_of(feed: str, *changes: dict[str, str]) -> Content:
    return lambda day: csv_text(feed, [row(feed, day=day, **c) for c in changes]).encode()


SIX_COLUMNS = ("store_token", "transaction_id", "receipt_token", "transaction_time", "amount")
SIX_COLUMNS = (*SIX_COLUMNS, "user_role")


def six_columns(*, header: bool) -> Content:
    return lambda day: csv_text(
        "partner_sales", [row("partner_sales", day=day)], columns=SIX_COLUMNS, header=header
    ).encode()


def reversed_columns(day: date) -> bytes:
    names = list(reversed(CONTRACTS["transactions"].column_by_name))
    return csv_text("transactions", receipts(2, day=day), columns=names).encode()


def without_column(name: str) -> Content:
    names = [n for n in CONTRACTS["transactions"].column_by_name if n != name]
    return lambda day: csv_text("transactions", receipts(2, day=day), columns=names).encode()


FINE = (3, 3, 0, 0)
CASES: dict[str, Case] = {
    # ------------------------------------------------------------------ written in unusual ways
    "header_only_is_a_day_without_rows": Case(plain(sales(0)), (0, 0, 0, 0)),
    "semicolon": Case(plain(sales(3, delimiter=";")), FINE, layout={"delimiter": "semicolon"}),
    "tab": Case(plain(sales(3, delimiter="\t")), FINE, layout={"delimiter": "tab"}),
    "no_header": Case(plain(sales(3, header=False)), FINE, layout={"header": "no"}),
    "columns_in_another_order": Case(reversed_columns, (2, 2, 0, 0)),
    "optional_column_left_out": Case(without_column("sku"), (2, 2, 0, 0)),
    "bom_and_crlf": Case(
        encoded(sales(3, newline="\r\n"), "utf-8", codecs.BOM_UTF8),
        FINE,
        layout={"encoding": "utf-8-sig"},
    ),
    "mixed_newlines_and_blank_lines": Case(mixed_newlines, FINE),
    "no_newline_at_the_end": Case(lambda day: sales(3)(day).encode().rstrip(b"\n"), FINE),
    "latin_1": Case(
        encoded(shoppers(name="Zoë Lefèvre"), "latin-1"),
        (1, 1, 0, 0),
        layout={"encoding": "latin-1"},
        feed="customers",
    ),
    "utf_16_little_endian_with_bom": Case(
        encoded(sales(3), "utf-16-le", codecs.BOM_UTF16_LE), FINE, layout={"encoding": "utf-16"}
    ),
    "utf_16_big_endian_with_bom": Case(
        encoded(sales(3), "utf-16-be", codecs.BOM_UTF16_BE), FINE, layout={"encoding": "utf-16"}
    ),
    "utf_16_little_endian_without_bom": Case(
        encoded(sales(3), "utf-16-le"), FINE, layout={"encoding": "utf-16-le"}
    ),
    "utf_16_big_endian_without_bom": Case(
        encoded(sales(3), "utf-16-be"), FINE, layout={"encoding": "utf-16-be"}
    ),
    "utf_16_in_chinese_without_bom": Case(
        encoded(shoppers("CN", name="王小明", city="重庆"), "utf-16-le"),
        (1, 1, 0, 0),
        feed="customers",
        country="CN",
    ),
    "gzip": Case(lambda day: gzipped(sales(3)(day)), FINE, suffix=".csv.gz"),
    "gzip_without_saying_so": Case(
        lambda day: gzipped(sales(3)(day)), FINE, layout={"compression": "gzip"}
    ),
    "plain_text_that_claims_gzip": Case(
        plain(sales(3)), FINE, layout={"compression": "none"}, suffix=".csv.gz"
    ),
    "gzip_in_two_members": Case(
        lambda day: gzipped(sales(2)(day)) + gzipped(sales(3)(day).split("\n")[3]),
        FINE,
        suffix=".csv.gz",
    ),
    "quotes_around_delimiters_and_newlines": Case(quoted, (2, 2, 0, 0)),
    "six_columns_with_header": Case(
        six_columns(header=True), (1, 1, 0, 0), layout={"columns": "6"}, feed="partner_sales"
    ),
    "six_columns_without_header": Case(
        six_columns(header=False), (1, 1, 0, 0), layout={"header": "no"}, feed="partner_sales"
    ),
    "two_receipts_under_one_transaction": Case(
        lines_of("partner_sales", {"receipt_token": "21123"}, {"receipt_token": "21124"}),
        (2, 2, 0, 0),
        feed="partner_sales",
    ),
    "unknown_column_is_rescued": Case(
        edited(sales(3), lambda lines: with_column(lines, ",Loyalty Points", ",17")),
        FINE,
        layout={"columns": "20"},
    ),
    # ----------------------------------------------------------------------- rows that go wrong
    "header_twice": Case(
        edited(sales(3), lambda lines: [lines[0], *lines[:1], *lines[1:]]),
        (4, 3, 1, 0),
        {"row:repeated_header": 1},
    ),
    "header_four_times": Case(
        edited(sales(3), lambda lines: repeated(0, lines)),
        (6, 3, 1, 2),
        {"row:repeated_header": 1},
    ),
    "exact_repetitions": Case(edited(sales(3), lambda lines: repeated(1, lines)), (6, 3, 0, 3)),
    "nul_bytes_in_a_row": Case(
        edited(sales(3), lambda lines: [*lines[:3], lines[3].replace("Cash", "Ca\0sh")]),
        (3, 2, 1, 0),
        {"row:nul_byte": 1},
    ),
    "a_row_too_short_and_one_too_long": Case(
        edited(sales(3), lambda lines: [*lines, "INV-FR-021-00000009,1", lines[1] + ",more"]),
        (5, 3, 2, 0),
        {"row:wrong_field_count": 2},
    ),
    "receipt_of_another_country": Case(
        plain(changed("transactions", 2, {"invoice_id": "INV-DE-011-00000001"})),
        (3, 2, 1, 0),
        {"row:country_mismatch": 1},
    ),
    "receipt_of_no_known_country": Case(
        plain(changed("transactions", 2, {"invoice_id": "INV-XX-011-00000001"})),
        (3, 2, 1, 0),
        {"row:unknown_country": 1},
    ),
    "sold_after_the_batch_day": Case(
        plain(changed("transactions", 2, {"sold_at": "2031-01-01 10:00:00"})),
        (3, 2, 1, 0),
        {"row:after_batch_day": 1},
    ),
    "values_that_are_none": Case(
        plain(
            changed(
                "transactions",
                2,
                {"quantity": "two"},
                {"unit_price": "45.005", "line_total": "81.01"},
                {"sold_at": "31/12/2024"},
                {"line_total": "1e2"},
                {"customer_id": ""},
                {"quantity": "0", "discount": "2"},
                {"transaction_type": "Gift"},
                {"currency": "CNY"},
                {"line_total": "91.00"},
            )
        ),
        (11, 2, 9, 0),
        {
            "quantity:not_an_integer": 1,
            "unit_price:not_a_decimal": 1,
            "sold_at:not_a_timestamp": 1,
            "line_total:not_a_decimal": 1,
            "customer_id:required": 1,
            "quantity:too_small": 1,
            "discount:too_large": 1,
            "row:sale_line_total": 2,
            "transaction_type:not_allowed": 1,
            "row:currency_of_country": 1,
        },
    ),
    # ------------------------------------------------------------------------- files refused whole
    "empty_file": Case(lambda day: b"", code="empty_file", words=("no bytes", "header")),
    "empty_gzip": Case(lambda day: gzipped(b""), code="empty_file", suffix=".csv.gz"),
    "only_blank_lines": Case(lambda day: b"\n \r\n\n", code="empty_file", words=("blank lines",)),
    "only_a_bom": Case(lambda day: codecs.BOM_UTF8, code="empty_file"),
    "caret_as_delimiter": Case(
        plain(sales(3, delimiter="^")),
        code="unreadable_layout",
        words=("1 by comma", "has 19 columns", "delimiter"),
    ),
    "rows_of_another_feed": Case(
        lambda day: csv_text("stores", [row("stores")]).encode(),
        code="unreadable_layout",
        words=("8 by comma", "19 columns"),
    ),
    "truncated_gzip": Case(
        lambda day: gzipped(sales(200)(day))[:-40],
        code="truncated_gzip",
        words=("ends early", "deliver the file again"),
        suffix=".csv.gz",
    ),
    "damaged_gzip": Case(
        lambda day: gzipped(sales(200)(day))[:300] + b"\xff" * 50 + gzipped("x"),
        code="broken_gzip",
        suffix=".csv.gz",
    ),
    "rubbish_after_gzip": Case(
        lambda day: gzipped(sales(3)(day)) + b"rubbish", code="broken_gzip", suffix=".csv.gz"
    ),
    "broken_utf_16": Case(
        lambda day: codecs.BOM_UTF16_LE + sales(3)(day).encode("utf-16-le") + b"\x00",
        code="undecodable_text",
        words=("UTF-16", "Export the file as UTF-8"),
    ),
    "utf_8_with_a_broken_character": Case(
        lambda day: shoppers("CN", name="王小明")(day).encode() + b"\xe9,broken\n",
        code="undecodable_text",
        words=("UTF-8", "deliver"),
        feed="customers",
        country="CN",
    ),
    "unbalanced_quote": Case(
        edited(sales(9), lambda lines: [*lines[:4], lines[4].replace("*", '"*'), *lines[5:]]),
        code="unbalanced_quote",
        words=("line 5", "never closed"),
    ),
    "column_twice": Case(
        edited(sales(3), lambda lines: with_column(lines, ",Store_ID", ",21")),
        code="duplicate_column",
        words=("store_id",),
    ),
    "unknown_column_twice": Case(
        edited(sales(3), lambda lines: with_column(lines, ",Till,Till", ",1,2")),
        code="duplicate_column",
        words=("Till",),
    ),
    "required_column_left_out": Case(
        without_column("store_id"), code="missing_column", words=("lacks Store ID",)
    ),
    "unknown_column_under_freeze": Case(
        edited(
            lambda day: csv_text("partner_stores", [row("partner_stores")]),
            lambda lines: with_column(lines, ",Floor", ",2"),
        ),
        code="unexpected_column",
        words=("Floor", "partner_stores 1.0.0"),
        feed="partner_stores",
    ),
    "sixty_percent_bad": Case(
        half_bad,
        code="too_many_bad_rows",
        words=("24 of 40 rows (60 %)", "data row 4", "unit_price:not_a_decimal (24)", "10 rows"),
    ),
    "bytes_that_mean_nothing": Case(
        lambda day: bytes(range(256)) * 8, code="unreadable_layout", words=("columns",)
    ),
}
NEIGHBOUR_ROWS = 2


def day_of(case: str) -> date:
    return date(2024, 1, 1) + timedelta(days=list(CASES).index(case))


def name_of(case: str) -> str:
    it = CASES[case]
    return f"{it.feed}_{it.country}_{day_of(case):%Y%m%d}{it.suffix}"


@dataclass(frozen=True)
class Scene:
    """One inbox with all cases, after one look at it."""

    desk: Desk
    outcome: Outcome


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    desk = local_desk(tmp_path_factory.mktemp("corpus"))
    for case, it in CASES.items():
        day = day_of(case)
        desk.deliver(name_of(case), it.content(day))
        sound = csv_text("transactions", receipts(NEIGHBOUR_ROWS, "DE", day))
        desk.deliver(f"transactions_DE_{day:%Y%m%d}.csv", sound)
    return Scene(desk, desk.take_in())


class TestCorpus:
    @pytest.mark.parametrize("case", [c for c in CASES if CASES[c].code is None])
    def test_accepted(self, scene: Scene, case: str) -> None:
        it = CASES[case]
        assert scene.outcome.code(name_of(case)) is None
        assert name_of(case) not in scene.desk.inbox()
        facts = scene.desk.facts(it.feed, f"{it.country}|{day_of(case)}")
        counted = facts.rows_in, facts.rows_loaded, facts.rows_quarantined, facts.rows_duplicate
        assert counted == it.counts
        assert dict(facts.reasons) == it.reasons
        assert it.layout.items() <= dict(facts.layout).items()
        raw = scene.desk.raw(it.feed, "_row_number", f"{it.country}|{day_of(case)}")
        assert len(raw) == facts.rows_loaded

    @pytest.mark.parametrize("case", [c for c in CASES if CASES[c].code])
    def test_refused(self, scene: Scene, case: str) -> None:
        it = CASES[case]
        refusal = scene.outcome.refused[name_of(case)]
        assert refusal.code == it.code
        message = f"{refusal.seen} {refusal.remedy}"
        assert [word for word in it.words if word not in message] == [], message
        assert (refusal.feed, refusal.country, refusal.day) == (it.feed, it.country, day_of(case))
        # The file stays where its sender put it; the partition does not exist.
        assert name_of(case) in scene.desk.inbox()
        key = Partition(it.country, day_of(case))
        assert key not in scene.outcome.manifests[it.feed]
        assert scene.desk.raw(it.feed, "1", str(key)) == []

    @pytest.mark.parametrize("case", CASES)
    def test_its_neighbour_is_complete(self, scene: Scene, case: str) -> None:
        rows = scene.desk.raw("transactions", "invoice_id", f"DE|{day_of(case)}")
        assert rows == [("INV-DE-021-00000001",), ("INV-DE-021-00000002",)]

    def test_nothing_else_is_refused_and_every_refusal_is_recorded(self, scene: Scene) -> None:
        expected = {name_of(case) for case, it in CASES.items() if it.code}
        assert set(scene.outcome.refused) == expected
        assert {r.name for r in read_rejections(scene.desk.lake)} == expected

    def test_a_second_look_changes_nothing(self, scene: Scene) -> None:
        again = scene.desk.take_in()
        assert again.partitions == set()
        assert again.refused.keys() == scene.outcome.refused.keys()


# ------------------------------------------------------------------------------- what was kept


def shown(scene: Scene, case: str, columns: str) -> list[tuple]:
    it = CASES[case]
    return scene.desk.raw(it.feed, columns, f"{it.country}|{day_of(case)}")


class TestWhatIsKept:
    def test_every_way_of_writing_gives_the_same_rows(self, scene: Scene) -> None:
        columns = "invoice_id, unit_price, sold_at - _batch_date, line_total, sku, _row_number"
        same = [c for c, it in CASES.items() if it.counts == FINE and it.feed == "transactions"]
        assert len(same) > 10
        expected = shown(scene, "semicolon", columns)
        assert {case: shown(scene, case, columns) for case in same} == dict.fromkeys(same, expected)

    @pytest.mark.parametrize(
        ("case", "name"),
        [("latin_1", "Zoë Lefèvre"), ("utf_16_in_chinese_without_bom", "王小明")],
    )
    def test_letters_survive_the_encoding(self, scene: Scene, case: str, name: str) -> None:
        ((sealed,),) = shown(scene, case, "name_enc")
        assert scene.desk.opened("customers", "name", pl.Series([sealed])).to_list() == [name]

    def test_a_quoted_value_keeps_its_delimiter_its_quotes_and_its_newline(
        self, scene: Scene
    ) -> None:
        found = shown(scene, "quotes_around_delimiters_and_newlines", "payment_method")
        assert found == [('Cash, in "small"\ncoins',), ("Credit Card",)]

    def test_an_unknown_column_is_kept_as_json(self, scene: Scene) -> None:
        found = shown(scene, "unknown_column_is_rescued", "_rescued")
        assert [json.loads(text) for (text,) in found] == [{"Loyalty Points": "17"}] * 3

    def test_both_receipts_of_one_transaction_are_kept(self, scene: Scene) -> None:
        case = "two_receipts_under_one_transaction"
        found = shown(scene, case, "transaction_id, receipt_token, amount::varchar")
        assert found == [("t-1", "21123", "150.50"), ("t-1", "21124", "150.50")]

    def test_columns_a_variant_lacks_are_null(self, scene: Scene) -> None:
        for case in ("six_columns_with_header", "six_columns_without_header"):
            assert shown(scene, case, "source_id, user_role") == [(None, "cashier")]

    @pytest.mark.parametrize(
        ("case", "rows"),
        [
            ("header_twice", [(1, 0, "row:repeated_header")]),
            ("nul_bytes_in_a_row", [(3, 3, "row:nul_byte")]),
            (
                "a_row_too_short_and_one_too_long",
                [(4, 4, "row:wrong_field_count"), (5, 5, "row:wrong_field_count")],
            ),
            ("receipt_of_another_country", [(3, 3, "row:country_mismatch")]),
            ("sold_after_the_batch_day", [(3, 3, "row:after_batch_day")]),
        ],
    )
    def test_a_refused_row_keeps_its_number_its_text_and_its_reason(
        self, scene: Scene, case: str, rows: list[tuple[int, int, str]]
    ) -> None:
        it = CASES[case]
        lines = it.content(day_of(case)).decode().splitlines()
        facts = scene.desk.facts(it.feed, f"{it.country}|{day_of(case)}")
        expected = [(number, lines[line], [reason]) for number, line, reason in rows]
        assert scene.desk.quarantine(facts) == expected

    def test_a_row_with_several_faults_names_them_all(self, scene: Scene) -> None:
        facts = scene.desk.facts("transactions", f"FR|{day_of('values_that_are_none')}")
        _, _, reasons = scene.desk.quarantine(facts)[5]
        assert reasons == ["discount:too_large", "quantity:too_small", "row:sale_line_total"]


# ------------------------------------------------------------------------------------------ names

ODD_NAMES = {
    "transactions_FR_20259999.csv": ("impossible_date", "20259999, which is no calendar day"),
    "transactions_FR_20250229.csv": ("impossible_date", "20250229"),
    "transactions_FR_20250603.csv": ("future_date", "2025-06-03, but today is 2025-06-01"),
    "transactions_FR_20221231.csv": ("before_first_day", "RETAIL_FIRST_DAY"),
    "store_sales_FR_20250101.csv": ("unknown_feed", "'store_sales'"),
    "transaction_FR_20250101.csv": ("unknown_feed", "Did you mean transactions?"),
    "transactions_ZZ_20250101.csv": ("unknown_country", "'ZZ'; the registry has CN, DE"),
    "products_FR_20250101.csv": ("unexpected_country", "products_<YYYYMMDD>.csv"),
    "partner_sales_20250101.csv": ("missing_country", "partner_sales_FR_<YYYYMMDD>.csv"),
    "transactions FR 20250101.csv": ("unknown_name", "transactions_FR_20250111.csv"),
    "transactions_FR_20250101 .csv": ("unknown_name", "'transactions_FR_20250101 .csv'"),
    "transactions%5FFR%5F20250101.csv": ("unknown_name", "does not follow"),
    "transactions_FR_2025-01-01.csv": ("unknown_name", "<YYYYMMDD>"),
    "'transactions_FR_20250101'.csv": ("unknown_name", "does not follow"),
    '"transactions"_FR_20250101.csv': ("unknown_feed", '"transactions"'),
    "transactions_FR_20250101..csv": ("unknown_name", "does not follow"),
    "transactions_FR_20250101.xlsx": ("unknown_name", ".csv[.gz]"),
    "transactions_FR_20250101.CSV": ("unknown_name", ".csv[.gz]"),
    "交易_FR_20250101.csv": ("unknown_feed", "交易"),
    "transactions_FR_٢٠٢٥٠١٠١.csv": ("unknown_name", "does not follow"),
    "_FR_20250101.csv": ("unknown_feed", "'_FR'"),
    "README": ("unknown_name", "does not follow"),
}
SOUND_NAMES = {
    "transactions_UK_20250101.csv": ("transactions", "GB", date(2025, 1, 1)),
    "transactions_fr_20250101_till 3 (copy)'s%20.csv": ("transactions", "FR", date(2025, 1, 1)),
    "from paris/été/..a/transactions_FRA_20250102_2.csv": ("transactions", "FR", date(2025, 1, 2)),
    "fx_rates_20250602.csv": ("fx_rates", "ALL", date(2025, 6, 2)),  # tomorrow: ahead of UTC
    "fx_rates_ALL_20250601.csv": ("fx_rates", "ALL", date(2025, 6, 1)),
}
IGNORED_NAMES = (".transactions_FR_20250101.csv.Xy1", "~lock_FR_20250101.csv", "a.csv.part")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    desk = local_desk(tmp_path_factory.mktemp("named"))
    for name, (feed, country, day) in SOUND_NAMES.items():
        desk.deliver(name, csv_text(feed, [row(feed, country, day)]))
    for name in (*ODD_NAMES, *IGNORED_NAMES):
        desk.deliver(name, csv_text("transactions", receipts(1)))
    return Scene(desk, desk.take_in())


class TestNames:
    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_an_odd_name_is_refused_and_the_file_stays(self, named: Scene, name: str) -> None:
        code, words = ODD_NAMES[name]
        refusal = named.outcome.refused[name]
        assert refusal.code == code
        assert words in f"{refusal.seen} {refusal.remedy}"
        assert name in named.desk.inbox()

    @pytest.mark.parametrize("name", SOUND_NAMES)
    def test_a_sound_name_is_taken_in_beside_them(self, named: Scene, name: str) -> None:
        feed, country, day = SOUND_NAMES[name]
        assert name not in named.outcome.refused
        assert name not in named.desk.inbox()
        found = named.desk.raw(feed, "_country, _batch_date, _source_file")
        assert (country, day, name) in found

    def test_unfinished_uploads_are_left_alone_without_a_word(self, named: Scene) -> None:
        assert set(IGNORED_NAMES) <= named.desk.inbox()
        assert not set(IGNORED_NAMES) & set(named.outcome.refused)

    def test_a_name_that_no_store_can_address_is_reported_and_harms_nobody(
        self, desk: Desk
    ) -> None:
        """Such names stopped the whole listing, and with it every country."""
        desk.deliver("transactions_FR_20250111.csv", csv_text("transactions", receipts(1)))
        folder = os.fsencode(desk.lake.local_root / INBOX)  # type: ignore[operator]
        odd = {
            b"transactions_FR_20250111\n.csv": "transactions_FR_20250111\n.csv",
            b"transactions_\x7fFR_20250111.csv": "transactions_\x7fFR_20250111.csv",
            b"transactions_FR_20250111_\xe9.csv": "transactions_FR_20250111_\\xe9.csv",
        }
        for name in odd:
            path = Path(os.fsdecode(os.path.join(folder, name)))  # noqa: PTH118
            path.write_text("x")
            os.utime(path, (0, 0))
        outcome = desk.take_in()
        assert outcome.partitions == {"transactions FR|2025-01-11"}
        assert {n: outcome.code(n) for n in odd.values()} == dict.fromkeys(
            odd.values(), "unusable_name"
        )
        assert {r.name for r in read_rejections(desk.lake)} == set(odd.values())
        assert len(list((desk.lake.local_root / INBOX).iterdir())) == 3  # type: ignore[operator]
        assert desk.take_in().refused.keys() == outcome.refused.keys()


# --------------------------------------------------------------------------------- size and memory


class TestSize:
    def test_a_gzip_bomb_is_refused_quickly_and_in_bounded_memory(self, desk: Desk) -> None:
        """5 GB of zeros in 5 MB, with a trailer that says so."""
        squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        zeros = bytes(1 << 20)
        squeeze.compress(zeros)
        squeeze.flush(zlib.Z_FULL_FLUSH)  # from here on equal blocks compress to equal bytes
        block = squeeze.compress(zeros) + squeeze.flush(zlib.Z_FULL_FLUSH)
        bomb = gzip.compress(b"")[:10] + block * 5120 + squeeze.flush()
        bomb += bytes(4) + (5120 << 20 & 0xFFFFFFFF).to_bytes(4, "little")
        assert len(bomb) < 6 << 20
        desk.deliver("transactions_FR_20250111.csv.gz", bomb)
        desk.deliver("transactions_DE_20250111.csv", csv_text("transactions", receipts(1, "DE")))
        growth, started = Growth(), time.process_time()
        outcome = desk.take_in()
        assert outcome.code("transactions_FR_20250111.csv.gz") == "suspicious_compression"
        assert outcome.partitions == {"transactions DE|2025-01-11"}
        assert "transactions_FR_20250111.csv.gz" in desk.inbox()
        assert growth.megabytes < 250
        assert time.process_time() - started < 5

    def test_a_long_file_of_blanks_is_not_a_bomb(self, desk: Desk) -> None:
        """Text that compresses 200-fold and more is fine while it is small."""
        text = csv_text("transactions", receipts(1)) + "," * 1_000_000
        assert len(gzipped(text)) * 200 < len(text)
        desk.deliver("transactions_FR_20250111.csv.gz", gzipped(text))
        assert desk.take_in().refused == {}
        assert desk.facts("transactions", KEY).reasons == {"row:wrong_field_count": 1}

    def test_one_bad_row_in_a_million(self, desk: Desk) -> None:
        rows = 1_000_000
        lines = [f"group {n % 9},s-{n},Corner {n}" for n in range(rows)]
        lines[654_320] = " ,s-654320,Corner 654320"
        text = "\n".join([csv_text("partner_stores", []).strip(), *lines])
        desk.deliver("partner_stores_FR_20250111.csv.gz", gzip.compress(text.encode(), 1))
        assert desk.take_in().refused == {}
        facts = desk.facts("partner_stores", KEY)
        assert (facts.rows_in, facts.rows_loaded, facts.rows_duplicate) == (rows, rows - 1, 0)
        assert desk.quarantine(facts) == [
            (654_321, lines[654_320], ["store_group:required"]),
        ]
        assert desk.warehouse
        found = desk.warehouse.query("select sum(_row_number) from raw.partner_stores")
        assert found == [(rows * (rows + 1) // 2 - 654_321,)]


# ------------------------------------------------------------------------- several files, over time

NAME = "transactions_FR_20250111.csv"
KEY = "FR|2025-01-11"
EIGHT, NINE, TEN = (datetime(2025, 1, 12, hour, tzinfo=UTC) for hour in (8, 9, 10))


def invoices(desk: Desk, key: str = KEY) -> list[int]:
    """Numbers of the receipts in RAW."""
    return [int(i[-8:]) for (i,) in desk.raw("transactions", "invoice_id", key)]


def sold(*numbers: int, country: str = "FR", **changes: str) -> str:
    rows: list[Row] = []
    for number in numbers:
        rows += receipts(1, country, first=number)
    return csv_text("transactions", [r | changes for r in rows])


class TestSeveralDeliveries:
    @pytest.mark.parametrize("newer_first", [False, True])
    def test_the_newer_of_two_versions_counts_in_whatever_order_they_are_seen(
        self, desk: Desk, newer_first: bool
    ) -> None:
        old, new = (sold(1, 2, 3), EIGHT), (sold(2, 4), NINE)
        for content, at in (new, old) if newer_first else (old, new):
            desk.deliver(NAME, content, at)
            desk.take_in()
        assert invoices(desk) == [2, 4]
        assert [(s.delivered_at, s.state) for s in desk.states("transactions", KEY)] == [
            (EIGHT, "superseded"),
            (NINE, "loaded"),
        ]

    def test_a_correction_with_fewer_rows_takes_rows_away(self, desk: Desk) -> None:
        desk.deliver(NAME, sold(1, 2, 3))
        desk.take_in()
        desk.deliver(NAME, sold(2))
        desk.take_in()
        assert invoices(desk) == [2]
        desk.deliver(NAME, csv_text("transactions", []))
        desk.take_in()
        assert invoices(desk) == []
        assert [s.state for s in desk.states("transactions", KEY)] == [
            "superseded",
            "superseded",
            "loaded",
        ]

    def test_a_refused_correction_leaves_the_earlier_version_in_place(self, desk: Desk) -> None:
        desk.deliver(NAME, sold(1, 2))
        desk.take_in()
        desk.deliver(NAME, "")
        outcome = desk.take_in()
        assert outcome.code(NAME) == "empty_file"
        assert invoices(desk) == [1, 2]
        desk.deliver(NAME, sold(3))  # the sender repairs it
        assert desk.take_in().refused == {}
        assert invoices(desk) == [3]
        desk.take_in()
        assert read_rejections(desk.lake) == []

    def test_the_same_delivery_twice_changes_nothing(self, desk: Desk) -> None:
        desk.deliver(NAME, sold(1, 2), EIGHT)
        desk.take_in()
        before = desk.manifest("transactions", KEY)
        desk.deliver(NAME, sold(1, 2), EIGHT)
        outcome = desk.take_in()
        assert outcome.refused == {}
        assert NAME not in desk.inbox()
        assert desk.manifest("transactions", KEY) == before
        assert invoices(desk) == [1, 2]

    def test_an_identical_file_delivered_later_loads_no_row_twice(self, desk: Desk) -> None:
        desk.deliver(NAME, sold(1, 2), EIGHT)
        desk.take_in()
        stored = {o.path for o in desk.lake.list("data/")}
        desk.deliver(NAME, sold(1, 2), NINE)
        desk.take_in()
        assert invoices(desk) == [1, 2]
        (state,) = desk.states("transactions", KEY)
        assert (state.state, state.delivered_at) == ("loaded", EIGHT)
        assert {o.path for o in desk.lake.list("data/")} == stored

    def test_parts_of_one_day_add_up_and_are_corrected_one_by_one(self, desk: Desk) -> None:
        first, second = (f"transactions_FR_20250111_{part}.csv" for part in ("a", "b"))
        desk.deliver(first, sold(1, 2))
        desk.deliver(second, sold(3))
        desk.take_in()
        assert invoices(desk) == [1, 2, 3]
        desk.deliver(first, sold(2))
        desk.take_in()
        assert invoices(desk) == [2, 3]

    def test_the_same_content_under_another_name_is_not_loaded_again(self, desk: Desk) -> None:
        desk.deliver(NAME, sold(1, 2), EIGHT)
        desk.deliver("transactions_FR_20250111_copy.csv", sold(1, 2), NINE)
        desk.take_in()
        assert invoices(desk) == [1, 2]
        assert [s.state for s in desk.states("transactions", KEY)] == ["loaded", "identical"]
        desk.deliver(NAME, sold(5), TEN)  # now the copy is the only one with these rows
        desk.take_in()
        assert invoices(desk) == [1, 2, 5]

    @pytest.mark.parametrize("at_once", [False, True])
    def test_content_that_comes_back_counts_again(self, desk: Desk, at_once: bool) -> None:
        """A, then B, then A again: A counts, from its return on."""
        for content, at in ((sold(1), EIGHT), (sold(2), NINE), (sold(1), TEN)):
            desk.deliver(NAME, content, at)
            if not at_once or at is not EIGHT:
                desk.take_in()
        assert invoices(desk) == [1]
        counted = [(s.delivered_at, s.state) for s in desk.states("transactions", KEY)]
        assert counted == [(NINE, "superseded"), (TEN, "loaded")]

    def test_a_file_replaced_while_it_is_read_is_left_for_the_next_look(
        self, tmp_path: Path
    ) -> None:
        class Sender(Lake):
            """Replaces the file right after it was read."""

            def get(self, path: str) -> bytes:
                content = super().get(path)
                if path == INBOX + NAME and content == sold(1, 2).encode():
                    desk.deliver(NAME, sold(7, 8, 9))
                return content

        desk = local_desk(tmp_path)
        desk.lake = Sender(desk.lake._store, desk.lake._url, desk.lake.local_root)
        desk.deliver(NAME, sold(1, 2))
        desk.deliver("transactions_DE_20250111.csv", sold(1, country="DE"))
        outcome = desk.take_in()
        assert outcome.partitions == {"transactions DE|2025-01-11"}
        assert desk.inbox() == {NAME}
        desk.take_in()
        assert invoices(desk) == [7, 8, 9]
        assert desk.inbox() == set()

    def test_an_original_in_history_survives_a_replacement_during_reading(
        self, tmp_path: Path
    ) -> None:
        """The second delivery of known content is replaced while it is read."""

        class Sender(Lake):
            def get(self, path: str) -> bytes:
                content = super().get(path)
                if path == INBOX + NAME and armed:
                    armed.clear()
                    desk.deliver(NAME, sold(7))
                return content

        armed: list[bool] = []
        desk = local_desk(tmp_path)
        desk.lake = Sender(desk.lake._store, desk.lake._url, desk.lake.local_root)
        desk.deliver(NAME, sold(1))
        desk.take_in()
        desk.deliver(NAME, sold(1))
        armed.append(True)
        desk.take_in()  # checks that every original in history is what was delivered
        desk.take_in()
        assert invoices(desk) == [7]

    def test_a_file_withdrawn_by_its_sender_is_no_fault(self, desk: Desk) -> None:
        gone = Arrival(
            replace(next(iter(_listed(desk, NAME, sold(1)))), path=f"{INBOX}gone.csv"),
            FileName("transactions", "FR", date(2025, 1, 11)),
        )
        report = Gate(desk.lake, CONTRACTS["transactions"], REGISTRY).take_in([gone])
        assert (report.files, report.rejections, report.manifests) == (0, [], {})

    def test_a_file_that_may_not_be_read_is_refused_and_its_neighbour_is_not(
        self, tmp_path: Path
    ) -> None:
        """An upload from another account that its bucket's owner may not read, for example."""

        class Locked(Lake):
            def get(self, path: str) -> bytes:
                if path == INBOX + NAME:
                    raise PermissionError(f"403 Forbidden: {path}")
                return super().get(path)

        desk = local_desk(tmp_path)
        desk.lake = Locked(desk.lake._store, desk.lake._url, desk.lake.local_root)
        desk.deliver(NAME, sold(1))
        desk.deliver("transactions_DE_20250111.csv", sold(1, country="DE"))
        outcome = desk.take_in()
        assert outcome.code(NAME) == "unreadable_object"
        assert outcome.partitions == {"transactions DE|2025-01-11"}


def _listed(desk: Desk, name: str, content: str) -> list:
    desk.deliver(name, content)
    return list(desk.lake.list(INBOX))


# --------------------------------------------------------------------- files of several countries


class TestSplitFiles:
    NAME = "transactions_ALL_20250111.csv"

    @staticmethod
    def both(french: list[Row], german: list[Row], extra: str = "") -> str:
        return csv_text("transactions", [*french, *german]) + extra

    def test_each_country_gets_its_rows(self, desk: Desk) -> None:
        rows = receipts(2, "FR") + receipts(1, "GB") + receipts(3, "CN")
        stranger = row("transactions", invoice_id="INV-ZZ-021-00000001")
        desk.deliver(self.NAME, csv_text("transactions", [*rows, stranger]))
        outcome = desk.take_in()
        assert outcome.refused == {}
        assert desk.raw_counts("transactions") == {"CN": 3, "FR": 2, "GB": 1}
        # The stranger travels with the first country; every row is accounted for once.
        facts = {c: desk.facts("transactions", f"{c}|2025-01-11") for c in REGISTRY.codes}
        assert facts["FR"].reasons == {"row:unknown_country": 1}
        assert sum(f.rows_in for f in facts.values()) == 7

    @pytest.mark.parametrize("newer_first", [False, True])
    def test_a_correction_without_a_country_takes_its_rows_away(
        self, desk: Desk, newer_first: bool
    ) -> None:
        old = (self.both(receipts(2, "FR"), receipts(2, "DE")), EIGHT)
        new = (self.both(receipts(1, "FR"), []), NINE)
        for content, at in (new, old) if newer_first else (old, new):
            desk.deliver(self.NAME, content, at)
            desk.take_in()
        assert desk.raw_counts("transactions") == {"FR": 1}

    def test_a_day_without_rows_holds_for_every_country(self, desk: Desk) -> None:
        desk.deliver(self.NAME, csv_text("transactions", []))
        outcome = desk.take_in()
        assert outcome.partitions == {f"transactions {c}|2025-01-11" for c in REGISTRY.codes}

    def test_a_file_that_names_no_known_country_is_refused(self, desk: Desk) -> None:
        desk.deliver("stores_ALL_20250111.csv", csv_text("stores", [row("stores", "Atlantis")]))
        desk.deliver("stores_FR_20250111.csv", csv_text("stores", [row("stores")]))
        outcome = desk.take_in()
        refusal = outcome.refused["stores_ALL_20250111.csv"]
        assert refusal.code == "unknown_country"
        assert "country_name" in refusal.remedy
        assert outcome.partitions == {"stores FR|2025-01-11"}

    def test_a_split_file_delivered_again_loads_beside_its_former_companions(
        self, desk: Desk
    ) -> None:
        """Judged together with another day first, alone later: its rows lie in two objects."""
        for day in (11, 12):
            both = csv_text(
                "transactions",
                [r for c in ("FR", "DE") for r in receipts(2, c, date(2025, 1, day))],
            )
            desk.deliver(f"transactions_ALL_202501{day}.csv", both)
        desk.take_in()
        again = csv_text(
            "transactions", [r for c in ("FR", "DE") for r in receipts(2, c, date(2025, 1, 11))]
        )
        desk.deliver("transactions_ALL_20250111.csv", again)
        desk.take_in()
        days = [desk.manifest("transactions", f"FR|2025-01-{day}") for day in (11, 12)]
        desk.load("transactions", days)
        assert desk.raw_counts("transactions") == {"DE": 4, "FR": 4}


# ---------------------------------------------------------------------------------- other contracts


class TestContractChanges:
    def test_a_frozen_feed_refuses_what_every_other_one_takes(self, tmp_path: Path) -> None:
        lines = csv_text("transactions", receipts(1)).splitlines()
        text = "\n".join(with_column(lines, ",Till", ",3"))
        codes = {}
        for drift in Drift:
            rules = CONTRACTS["transactions"].ingestion.model_copy(update={"drift": drift})
            contract = replace(CONTRACTS["transactions"], ingestion=rules)
            desk = local_desk(tmp_path / drift, contracts={"transactions": contract})
            desk.deliver(NAME, text)
            codes[drift] = desk.take_in().code(NAME)
        assert codes == {**dict.fromkeys(Drift), Drift.FREEZE: "unexpected_column"}

    def test_a_refused_file_is_judged_again_when_the_contract_changes(self, tmp_path: Path) -> None:
        desk = local_desk(tmp_path)
        desk.deliver(NAME, csv_text("transactions", [r | {"line": "0"} for r in receipts(20)]))
        assert desk.take_in().code(NAME) == "too_many_bad_rows"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Gate, "take_in", None)  # the record is enough, it is not read again
            assert desk.take_in().code(NAME) == "too_many_bad_rows"
        old = desk.contracts["transactions"]
        rules = old.ingestion.model_copy(update={"max_bad_rows": 20})
        new = replace(old, ingestion=rules, schema_version="other")
        desk.contracts = {**desk.contracts, "transactions": new}
        assert desk.take_in().refused == {}
        assert desk.facts("transactions", KEY).reasons == {"line:too_small": 20}

    def test_a_file_judged_again_under_a_new_contract_is_loaded_once(self, desk: Desk) -> None:
        """Its rows lie in the object it shared with its neighbour and in one of its own."""
        first, second = (f"transactions_FR_20250111_{part}.csv" for part in ("a", "b"))
        desk.deliver(first, sold(1, 2), EIGHT)
        desk.deliver(second, sold(3), EIGHT)
        desk.take_in()
        new = replace(desk.contracts["transactions"], schema_version="other")
        desk.contracts = {**desk.contracts, "transactions": new}
        desk.deliver(first, sold(1, 2), NINE)
        desk.take_in()
        assert invoices(desk) == [1, 2, 3]
        judged_by = {s.facts.name: s.facts.schema_version for s in desk.states("transactions", KEY)}
        assert judged_by[first] == "other" != judged_by[second]


class TestDeliveryTime:
    def test_a_file_that_may_still_be_written_is_left_for_the_next_look(
        self, tmp_path: Path
    ) -> None:
        desk = local_desk(tmp_path, settle=timedelta(seconds=2))
        desk.deliver(NAME, sold(1), desk.now - timedelta(seconds=1))
        outcome = desk.take_in()
        assert (outcome.settling, outcome.partitions, desk.inbox()) == (1, set(), {NAME})
        desk.now += timedelta(seconds=2)
        assert desk.take_in().partitions == {f"transactions {KEY}"}

    def test_a_clock_that_is_a_little_ahead_is_waited_for(self, desk: Desk) -> None:
        desk.deliver(NAME, sold(1), desk.now + timedelta(minutes=5))
        assert desk.take_in().settling == 1
        desk.now += timedelta(minutes=6)
        assert desk.take_in().partitions == {f"transactions {KEY}"}

    def test_a_file_from_the_far_future_is_refused(self, desk: Desk) -> None:
        """Its time would outrank every correction for years."""
        desk.deliver(NAME, sold(1), desk.now + timedelta(days=900))
        assert desk.take_in().code(NAME) == "delivered_in_the_future"
        desk.deliver(NAME, sold(2))
        assert desk.take_in().partitions == {f"transactions {KEY}"}
        assert invoices(desk) == [2]
