"""JSON in all shapes and compressions through the gate, and what becomes of broken ones.

The feed is the tests' own: orders with a nested customer, whose records also come in pages.
"""

import codecs
import gzip
import io
import json
import os
import random
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from retail_platform.contract import FeedContract, load_contracts
from retail_platform.errors import ConfigurationError, FileRejected
from retail_platform.gate import json_frames, json_records
from retail_platform.gate.compression import decompress
from retail_platform.gate.json_frames import JsonPiece, json_frame
from retail_platform.gate.json_records import Records, read_records
from retail_platform.gate.json_text import (
    MAX_DEPTH,
    Table,
    Values,
    nested_table,
    structure_of,
    table,
)
from retail_platform.operate.quarantine import QuarantinedFile, export, quarantined_rows, requeue
from retail_platform.partitions import Partition
from retail_platform_tests.builders import Desk, local_desk
from retail_platform_tests.damage import damaged
from retail_platform_tests.memory import Growth
from retail_platform_tests.test_contracts import write
from retail_platform_tests.test_lake_on_s3 import s3_desk

__all__ = ["s3_desk"]  # a fixture
Record = dict[str, Any]
FEW = 60
EXAMPLES = int(os.environ.get("RETAIL_TEST_EXAMPLES", FEW))
KEY = "FR|2025-01-11"
BOUND_MB = 600
"""What the gate may need beside some 300 of the process itself."""
COLUMNS: list[dict[str, Any]] = [
    {"name": "order_id", "physicalType": "varchar", "required": True, "primaryKey": True},
    {"name": "customer_id", "physicalType": "bigint", "path": "customer.id"},
    {"name": "city", "physicalType": "varchar", "path": "customer.address.city"},
    {"name": "first_sku", "physicalType": "varchar", "path": "lines.0.sku"},
    {"name": "lines", "physicalType": "varchar"},
    {"name": "first_tag", "physicalType": "varchar", "path": "tags.0"},
    {"name": "amount", "physicalType": "decimal(12,2)"},
    {"name": "rate", "physicalType": "double"},
    {"name": "paid", "physicalType": "boolean"},
    {"name": "ordered_at", "businessName": "Ordered At", "physicalType": "timestamp"},
    {"name": "note", "physicalType": "varchar"},
]


def document(feed: str, columns: list[dict[str, Any]], **ingestion: Any) -> dict[str, Any]:
    """A contract; `path` of a column is moved to where contracts have it."""
    properties = []
    for column in columns:
        own = {k: v for k, v in column.items() if k != "path"}
        if "path" in column:
            value = {"path": column["path"]}
            own["customProperties"] = [{"property": "ingestion", "value": value}]
        properties.append(own)
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": feed,
        "status": "active",
        "version": "1.0.0",
        "customProperties": [{"property": "ingestion", "value": ingestion}],
        "schema": [{"name": feed, "properties": properties}],
    }


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FeedContract]:
    folder = tmp_path_factory.mktemp("own")
    for feed, options in {
        "orders": {"drift": "rescue"},
        "pages": {"drift": "rescue", "record_path": ["data", "orders"]},
        "frozen": {"drift": "freeze"},
    }.items():
        write(folder, document(feed, COLUMNS, format="json", **options), feed)
    flags = [
        {"name": "id", "physicalType": "varchar", "primaryKey": True},
        {"name": "flag", "physicalType": "boolean"},
    ]
    write(folder, document("flags", flags), "flags")
    return load_contracts([folder])


@pytest.fixture
def orders(desk: Desk, contracts: dict[str, FeedContract]) -> Desk:
    desk.contracts = contracts
    return desk


def order(number: int, **changes: Any) -> Record:
    return {
        "order_id": f"A{number}",
        "customer": {"id": number, "address": {"city": "Lyon"}},
        "lines": [{"sku": f"S{number}", "qty": 1}],
        "amount": 10.5,
        "paid": True,
        "orderedAt": "2025-01-11 10:15:00",
        **changes,
    }


def orders_of(count: int) -> list[Record]:
    return [order(number) for number in range(1, count + 1)]


def ndjson(records: list[Record]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def firehose(records: list[Record]) -> str:
    return "".join(json.dumps(record, separators=(",", ":")) for record in records)


def pretty(records: list[Record]) -> str:
    return "\n".join(json.dumps(record, indent=2, ensure_ascii=False) for record in records)


def array(records: list[Record]) -> str:
    return json.dumps(records)


def array_of_lines(records: list[Record]) -> str:
    return "[\r\n" + ",\r\n".join(json.dumps(record) for record in records) + "\r\n]\r\n"


def page(records: list[Record]) -> str:
    return json.dumps({"next": None, "data": {"orders": records, "total": len(records)}})


def pages(records: list[Record]) -> str:
    return "\n".join(page(records[i : i + 2]) for i in range(0, len(records), 2))


def array_of_pages(records: list[Record]) -> str:
    return f"[{page(records[:2])}, {page(records[2:])}]"


def packed_zip(content: bytes, name: str = "orders.json") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def packed_zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


def in_two(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda content: pack(content[:100]) + pack(content[100:])


SHAPES: dict[str, tuple[str, Callable[[list[Record]], str]]] = {
    "ndjson": ("orders", ndjson),
    "firehose": ("orders", firehose),
    "pretty": ("orders", pretty),
    "array": ("orders", array),
    "array_of_lines": ("orders", array_of_lines),
    "page": ("pages", page),
    "pages": ("pages", pages),
    "array_of_pages": ("pages", array_of_pages),
}
PACKERS: dict[str, tuple[str, str, Callable[[bytes], bytes]]] = {
    "none": (".json", "none", bytes),
    "gzip": (".ndjson.gz", "gzip", gzip.compress),
    "gzip_members": (".jsonl.gz", "gzip", in_two(gzip.compress)),
    "zip": (".json.zip", "zip", packed_zip),
    "zstd": (".json.zst", "zstd", packed_zstd),
    "zstd_frames": (".json.zst", "zstd", in_two(packed_zstd)),
}


class TestShapes:
    @pytest.fixture(scope="class")
    def taken_in(
        self, tmp_path_factory: pytest.TempPathFactory, contracts: dict[str, FeedContract]
    ) -> Desk:
        """Every shape in every compression, each as a file of its own of one partition."""
        desk = local_desk(tmp_path_factory.mktemp("shapes"), contracts=contracts)
        for shape, (feed, write_shape) in SHAPES.items():
            for packer, (suffix, _, pack) in PACKERS.items():
                content = pack(write_shape(orders_of(5)).encode())
                desk.deliver(f"{feed}_FR_20250111_{shape}-{packer}{suffix}", content)
        assert desk.take_in().refused == {}
        return desk

    @pytest.mark.parametrize("packer", PACKERS)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_every_shape_gives_the_same_rows(self, taken_in: Desk, shape: str, packer: str) -> None:
        feed = SHAPES[shape][0]
        suffix, compression, _ = PACKERS[packer]
        name = f"{feed}_FR_20250111_{shape}-{packer}{suffix}"
        (facts,) = [s.facts for s in taken_in.states(feed, KEY) if s.facts.name == name]
        assert (facts.rows_in, facts.rows_loaded) == (5, 5)
        assert facts.layout["compression"] == compression
        assert facts.layout["format"] == "json"
        rows = pl.concat(
            pl.read_parquet(io.BytesIO(taken_in.lake.get(path))) for path in facts.data
        ).filter(pl.col("_file_id") == facts.file_id)
        assert rows["_row_number"].to_list() == [1, 2, 3, 4, 5]
        assert rows.select("order_id", "customer_id", "city", "first_sku", "amount", "paid").row(
            4
        ) == ("A5", 5, "Lyon", "S5", Decimal("10.50"), True)
        assert rows["_rescued"].to_list() == [None] * 5

    def test_on_s3(self, s3_desk: Desk, contracts: dict[str, FeedContract]) -> None:
        s3_desk.contracts = contracts
        for n, (_, (suffix, _, pack)) in enumerate(PACKERS.items()):
            content = pack(pages(orders_of(5)).encode())
            s3_desk.deliver(f"pages_FR_20250111_{n}{suffix}", content)
        assert s3_desk.take_in().refused == {}
        loaded = [s.facts.rows_loaded for s in s3_desk.states("pages", KEY)]
        assert loaded == [5] * len(PACKERS)

    def test_text_in_small_pieces_gives_the_same_records(self) -> None:
        for feed, write_shape in SHAPES.values():
            path = ["data", "orders"] if feed == "pages" else []
            text = write_shape([order(n, note='}{ "x", [1\\') for n in range(5)]).encode()
            whole = list(read_records(iter([text]), path))
            for size in (1, 7, 64):
                pieces = (text[i : i + size] for i in range(0, len(text), size))
                cut = [record for batch in read_records(pieces, path) for record in batch]
                assert cut == [record for batch in whole for record in batch], (write_shape, size)

    @pytest.mark.parametrize("text", [b"[{},,7]", b"[,]", b"[{},]", b"[]", b"[ ]", b"[[],[ ]]"])
    def test_elements_that_are_not_there_are_counted_alike_in_small_pieces(
        self, text: bytes
    ) -> None:
        (whole,) = read_records(iter([text]), []) or [[]]
        for size in (1, 2, 3):
            pieces = (text[i : i + size] for i in range(0, len(text), size))
            assert [r for batch in read_records(pieces, []) for r in batch] == list(whole)


def values(
    contract: FeedContract, *records: str, columns: str = "note"
) -> tuple[list[Any], list[str | None], list[str | None]]:
    """A column, `_problem` and `_rescued` of records."""
    piece = JsonPiece(0, Records.of([record.encode() for record in records]), 1)
    frame, _ = json_frame([piece], contract)
    return frame[columns].to_list(), frame["_problem"].to_list(), frame["_rescued"].to_list()


class TestValues:
    @pytest.mark.parametrize(
        ("written", "text"),
        [
            ("10.50", "10.50"),
            ('"10.50"', "10.50"),
            ("0.1", "0.1"),
            ("12345678901234567890.123456789", "12345678901234567890.123456789"),
            ("1e3", "1e3"),
            ("-0", "-0"),
            ("true", "true"),
            ("null", None),
            ("NaN", "NaN"),
            ("-Infinity", "-Infinity"),
            ('""', None),
            ('" a "', "a"),
            ('"\\u00e9\\n\\"\\\\ \\ud83d\\ude00"', 'é\n"\\ 😀'),
            ('"中文, \\"x\\": {}[]"', '中文, "x": {}[]'),
            ('{ "b" : [1.50, "x  y"],\n "a": null }', '{"b":[1.50,"x  y"],"a":null}'),
            ("[ ]", "[]"),
        ],
    )
    def test_a_value_stays_as_it_is_written(
        self, contracts: dict[str, FeedContract], written: str, text: str | None
    ) -> None:
        record = f'{{"order_id": "1", "note" :{written} }}'
        assert values(contracts["orders"], record)[:2] == ([text], [None])

    def test_keys_are_found_by_letters_and_digits_and_paths_exactly_first(
        self, contracts: dict[str, FeedContract]
    ) -> None:
        contract = contracts["orders"]
        found, problems, _ = values(
            contract,
            *(f'{{"{key}": "7"}}' for key in ("order_id", "orderId", "ORDER-ID", "order\\u005fid")),
            columns="order_id",
        )
        assert (found, problems) == (["7"] * 4, [None] * 4)
        assert values(contract, '{"Customer":{"ID":7}}', columns="customer_id")[0] == ["7"]

    def test_what_no_path_names_is_kept(self, contracts: dict[str, FeedContract]) -> None:
        rescued = values(
            contracts["orders"],
            '{"order_id":"1","till":{"no": 1.50},"customer":{"id":1,"vip":true,"address":{"z":1}}}',
            '{"order_id":"1","customer":"anonymous","a\\"b":1}',
            '{"order_id":"1","customer":null,"lines":[{"sku":"x"}]}',
            '{"tags":["a", "b"]}',
        )[2]
        assert [r and json.loads(r) for r in rescued] == [
            {"till": {"no": 1.5}, "customer": {"vip": True, "address": {"z": 1}}},
            {"customer": "anonymous", 'a"b': 1},
            None,
            {"tags": ["a", "b"]},
        ]
        assert "1.50" in (rescued[0] or "")

    @pytest.mark.parametrize(
        ("record", "problem"),
        [
            ('{"order_id":"1","order_id":"2"}', "row:duplicate_key"),
            ('{"order_id":"1","orderId":"2"}', "row:duplicate_key"),
            ('{"x":1,"x":1}', "row:duplicate_key"),
            ('{"customer":{"id":1,"id":2}}', "row:duplicate_key"),
            ("7", "row:not_an_object"),
            ("[{}]", "row:not_an_object"),
            ('"text"', "row:not_an_object"),
            ('{"note":"\\ud800"}', "row:lone_surrogate"),
            ('{"x":["\\udc00"]}', "row:lone_surrogate"),
            ('{"note":"a\\u0000b"}', "row:nul_byte"),
            ('{"note":tru}', "row:not_json"),
            ('{"note":01}', "row:not_json"),
            ('{"note":"a', "row:not_json"),
            ('{"a":1} {"b":2}', "row:not_json"),
            ("", "row:not_json"),
            ('{"x":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}", "row:nested_too_deep"),
            ('{"x":' + "[" * 100_000 + "]" * 100_000 + "}", "row:nested_too_deep"),
        ],
    )
    def test_a_record_that_cannot_be_taken_apart_leaves_its_neighbours_alone(
        self, contracts: dict[str, FeedContract], record: str, problem: str
    ) -> None:
        good = '{"order_id":"1","note":"fine"}'
        found, problems, _ = values(contracts["orders"], good, record, good)
        assert problems == [None, problem, None]
        assert [found[0], found[2]] == ["fine", "fine"]

    def test_booleans_of_csv_and_json(self, orders: Desk) -> None:
        words = ["TRUE", "false", "1", "0", "Yes", "no", "t", "F", "", "maybe"]
        orders.deliver(
            "flags_FR_20250111.csv",
            "id,flag\n" + "".join(f"{n},{word}\n" for n, word in enumerate(words)),
        )
        orders.take_in()
        flags = [flag for _, flag in orders.raw("flags", "id, flag")]
        assert flags == [True, False] * 4 + [None]
        assert orders.facts("flags", KEY).reasons == {"flag:not_a_boolean": 1}


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


GOOD = ndjson(orders_of(12))
REFUSED: dict[str, tuple[bytes | str, str, str]] = {
    "cut_array": (array(orders_of(3))[:-9], "truncated_json", "line 1"),
    "cut_lines": (GOOD[:-9], "truncated_json", "line 12 "),
    "cut_firehose": (firehose(orders_of(3))[:-9], "truncated_json", "never closed"),
    "csv_under_a_json_name": ("order_id,amount\nA1,2\n", "not_json", "order_id,amount"),
    "text": ("Internal Server Error", "not_json", "Internal"),
    "html": ("<html><body>502</body></html>", "not_json", "<html>"),
    "number": ("7", "not_json", "'7'"),
    "blanks": (" \n\t\r\n", "empty_file", "[]"),
    "nothing": ("", "empty_file", "no bytes"),
    "something_between": ('{"order_id":\n"1"} x {"order_id":"2"}', "broken_json", "'x "),
    "bracket_too_many": (array(orders_of(2)) + "]", "broken_json", "between documents"),
    "wrong_bracket": ('[{"order_id":"1"}}', "broken_json", "wrong bracket"),
    "nothing_but_openings": ("[" * 100_000, "truncated_json", "never closed"),
    "quote_never_closed": (
        array(orders_of(3)).replace('"A2"', '"A2', 1),
        "truncated_json",
        "never closed",
    ),
    "half_utf_16": (GOOD.encode("utf-16")[:-1], "undecodable_text", "UTF-16"),
    "many_bad_records": ("[1,2,3,4,5,6,7,8,9,10,11,12]", "too_many_bad_rows", "not_an_object"),
    "zip_of_two": (
        packed_zip(b"[]")[:0] + b"PK\x05\x06" + bytes(18),
        "unusable_archive",
        "0 files",
    ),
    "zip_that_leads_out": (packed_zip(b"[]", "../x.json"), "unusable_archive", "'../x.json'"),
    "zip_with_a_root": (packed_zip(b"[]", "/x.json"), "unusable_archive", "'/x.json'"),
    "zip_with_a_drive": (packed_zip(b"[]", "C:\\x.json"), "unusable_archive", "leads out"),
    "zip_in_zip": (packed_zip(packed_zip(b"[]")), "unusable_archive", "once more"),
    "zip_cut": (packed_zip(GOOD.encode())[:-30], "broken_zip", "ends early"),
    "zip_damaged": (
        packed_zip(GOOD.encode()).replace(b"orders.json", b"ordexx.json", 1),
        "broken_zip",
        "differ",
    ),
    "zip_bomb": (packed_zip(b" " * (100 << 20)), "suspicious_compression", "expand"),
    "zstd_cut": (packed_zstd(GOOD.encode())[:-9], "broken_zstd", "ends early"),
    "zstd_followed_by_something": (packed_zstd(b"[]") + b"x", "broken_zstd", "damaged"),
    "zstd_bomb": (packed_zstd(b" " * (100 << 20)), "suspicious_compression", "expand"),
    "long_line": ('{"order_id":"' + "x" * (50 << 20), "record_too_long", "32 MB"),
}
ACCEPTED: dict[str, tuple[bytes | str, tuple[int, int, int, int]]] = {
    "empty_array": ("[]", (0, 0, 0, 0)),
    "empty_document": ("{}", (1, 0, 1, 0)),
    "marks_in_every_line": ("\ufeff" + GOOD.replace("\n", "\n\ufeff"), (12, 12, 0, 0)),
    "mark_and_blank_beside_a_broken_line": (
        GOOD.replace('"A5"', '"A5').replace("\n", "\n\ufeff "), (12, 11, 1, 0)
    ),
    "mixed_newlines": (GOOD.replace("\n", "\r\n", 3).replace("}\n", "}\r", 2), (12, 12, 0, 0)),
    "utf_16": (GOOD.encode("utf-16"), (12, 12, 0, 0)),
    "utf_16_without_mark": (GOOD.encode("utf-16-be"), (12, 12, 0, 0)),
    "utf_8_mark": (codecs.BOM_UTF8 + GOOD.encode(), (12, 12, 0, 0)),
    "latin_1": ('[{"order_id":"é"}]'.encode("latin-1"), (1, 1, 0, 0)),
    "repetitions": (GOOD + GOOD[: GOOD.index("\n") + 1] * 2, (14, 12, 0, 2)),
    "a_broken_line": (GOOD.replace('"A5"', '"A5'), (12, 11, 1, 0)),
    "other_records": (GOOD + '[1, {"order_id": "B"}]\nnull\n', (15, 13, 2, 0)),
    "not_a_number": (GOOD.replace("10.5", "NaN", 1).replace("10.5", "-Infinity", 1),
                     (12, 10, 2, 0)),
    "trailing_comma": (array(orders_of(12))[:-1] + ",]", (13, 12, 1, 0)),
    "deep": (GOOD + f'{{"order_id":"D","note":{deep(100_000)}}}\n', (13, 12, 1, 0)),
    "duplicates_and_halves": (
        GOOD + '{"order_id":"D","order_id":"D"}\n{"order_id":"E\\ud800"}\n', (14, 12, 2, 0)
    ),
    "zip_of_a_mac": (packed_zip(GOOD.encode(), "a/b/orders.json"), (12, 12, 0, 0)),
}  # fmt: skip


class TestBadInput:
    @pytest.fixture(scope="class")
    def look(
        self, tmp_path_factory: pytest.TempPathFactory, contracts: dict[str, FeedContract]
    ) -> tuple[Desk, dict[str, Any]]:
        """All cases in one inbox, each beside a sound file of its own."""
        desk = local_desk(tmp_path_factory.mktemp("bad"), contracts=contracts)
        contents = {
            **{n: c[0] for n, c in REFUSED.items()},
            **{n: c[0] for n, c in ACCEPTED.items()},
        }
        for name, content in contents.items():
            desk.deliver(f"orders_FR_20250111_{name}.json", content)
            desk.deliver(
                f"orders_DE_20250111_{name}.json", ndjson(orders_of(2)) + f'{{"order_id":"{name}"}}'
            )
        began, growth = time.monotonic(), Growth()
        outcome = desk.take_in()
        seconds = time.monotonic() - began
        return desk, {"outcome": outcome, "seconds": seconds, "megabytes": growth.megabytes}

    @pytest.mark.parametrize("case", REFUSED)
    def test_a_broken_file_is_refused_with_a_reason(
        self, look: tuple[Desk, dict[str, Any]], case: str
    ) -> None:
        _, code, words = REFUSED[case]
        refusal = look[1]["outcome"].refused[f"orders_FR_20250111_{case}.json"]
        assert refusal.code == code
        assert words in refusal.seen + refusal.remedy

    @pytest.mark.parametrize("case", ACCEPTED)
    def test_an_odd_file_is_taken_row_by_row(
        self, look: tuple[Desk, dict[str, Any]], case: str
    ) -> None:
        desk, found = look
        name = f"orders_FR_20250111_{case}.json"
        assert found["outcome"].code(name) is None
        (facts,) = [s.facts for s in desk.states("orders", KEY) if s.facts.name == name]
        counts = (facts.rows_in, facts.rows_loaded, facts.rows_quarantined, facts.rows_duplicate)
        assert counts == ACCEPTED[case][1]

    def test_neighbours_time_and_memory(self, look: tuple[Desk, dict[str, Any]]) -> None:
        desk, found = look
        assert set(found["outcome"].refused) == {f"orders_FR_20250111_{c}.json" for c in REFUSED}
        beside = [s.facts.rows_loaded for s in desk.states("orders", "DE|2025-01-11")]
        assert beside == [3] * (len(REFUSED) + len(ACCEPTED))
        assert found["seconds"] < 60
        assert found["megabytes"] < BOUND_MB

    def test_a_page_without_records_says_what_is_there(self, orders: Desk) -> None:
        for n, content in enumerate(
            ['{"data":{"items":[],"total":0}}', '{"orders":[]}', '{"data":7}', "[[]]"]
        ):
            orders.deliver(f"pages_FR_20250111_{n}.json", content)
        orders.deliver("pages_FR_20250111_ok.json", '{"data":{"orders":null}}')
        outcome = orders.take_in()
        seen = [outcome.refused[f"pages_FR_20250111_{n}.json"] for n in range(4)]
        assert {r.code for r in seen} == {"record_path_missing"}
        assert "data has the keys items, total" in seen[0].seen
        assert "the document has the keys orders" in seen[1].seen
        assert outcome.code("pages_FR_20250111_ok.json") is None

    def test_a_bad_record_in_a_page_is_that_record_s_trouble(self, orders: Desk) -> None:
        bad = page(orders_of(3)).replace('"A2"', '"A2\\ud800"')
        orders.deliver("pages_FR_20250111.json", page(orders_of(2)) + "\n" + bad)
        orders.take_in()
        facts = orders.facts("pages", KEY)
        assert facts.reasons == {"row:lone_surrogate": 1}
        assert (facts.rows_in, facts.rows_loaded, facts.rows_duplicate) == (5, 3, 1)

    def test_an_unknown_key_refuses_the_file_of_a_frozen_contract(self, orders: Desk) -> None:
        orders.deliver("frozen_FR_20250111_a.json", ndjson([order(1), order(2, till=7)]))
        orders.deliver("frozen_FR_20250111_b.json", ndjson([order(3)]))
        outcome = orders.take_in()
        assert outcome.code("frozen_FR_20250111_a.json") == "unexpected_column"
        assert "till" in outcome.refused["frozen_FR_20250111_a.json"].seen
        assert orders.raw("frozen", "order_id") == [("A3",)]

    def test_json_under_a_csv_contract(self, orders: Desk) -> None:
        orders.deliver("transactions_FR_20250111.csv", ndjson(orders_of(2)))
        refusal = orders.take_in().refused["transactions_FR_20250111.csv"]
        assert refusal.code == "unreadable_layout"
        assert "begins like JSON" in refusal.seen


class TestLargeFiles:
    def test_a_file_of_several_chunks_keeps_count_and_finds_repetitions(
        self, orders: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("retail_platform.gate.text._TEXT_BYTES", 4096)
        monkeypatch.setattr("retail_platform.gate.gate.CHUNK_CHARACTERS", 10_000)
        monkeypatch.setattr("retail_platform.gate.pile.IN_MEMORY_BYTES", 20_000)
        records = [*orders_of(300), order(1), order(299), order(7, amount="many")]
        orders.deliver("orders_FR_20250111.json", array(records))
        orders.deliver("pages_FR_20250111.json", page(records))
        orders.take_in()
        for feed in ("orders", "pages"):
            facts = orders.facts(feed, KEY)
            counts = (facts.rows_in, facts.rows_loaded, facts.rows_duplicate)
            assert counts == (303, 300, 2)
            assert len(facts.data) > 1, "rows waited on disk"
            ((number, line, reasons),) = orders.quarantine(facts)
            assert (number, reasons) == (303, ["amount:not_a_decimal"])
            assert json.loads(line)["amount"] == "many"

    def test_content_goes_to_disk_piece_by_piece(self) -> None:
        with tempfile.SpooledTemporaryFile(max_size=1000) as out:

            def pieces() -> Iterator[bytes]:
                yield b"x" * 2000
                assert out._rolled, "still in memory"  # type: ignore[attr-defined]
                yield b"y"

            assert decompress(pieces(), out) == "none"
            assert out.tell() == 2001

    def test_a_record_without_an_end_is_not_read_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(json_records, "LONGEST_RECORD", 1000)
        pieces = iter([b'[{"a":"', *[b"x" * 100] * 50])
        with pytest.raises(FileRejected, match="record_too_long"):
            list(read_records(pieces, []))
        assert len(list(pieces)) > 30


class TestQuarantine:
    @pytest.mark.parametrize(
        ("feed", "write_shape", "suffix"),
        [("orders", pretty, ".json"), ("orders", ndjson, ".ndjson.gz"),
         ("pages", pages, ".json.zip"), ("orders", array, ".json.zst")],
    )  # fmt: skip
    def test_bad_records_come_back_corrected(
        self, orders: Desk, tmp_path: Path, feed: str, write_shape: Callable[..., str], suffix: str
    ) -> None:
        records = orders_of(4)
        records[1].update(amount="many\nof them", note="wide\u3000space")
        name = f"{feed}_FR_20250111{suffix}"
        pack = next(p for s, _, p in PACKERS.values() if s.endswith(suffix[-4:]))
        orders.deliver(name, pack(write_shape(records).encode()))
        orders.take_in()
        contract = orders.contracts[feed]
        file = QuarantinedFile(feed, Partition.parse(KEY), orders.facts(feed, KEY), True)
        assert quarantined_rows(orders.lake, contract, file)["row"].to_list() == [2]
        assert export(orders.lake, contract, file, tmp_path / "bad.ndjson") == 1
        (line,) = (tmp_path / "bad.ndjson").read_text().splitlines()
        good = json.dumps({**json.loads(line), "amount": 7})
        assert requeue(orders.lake, contract, file, good.encode()) == (name, 1)
        orders.now = orders.now.replace(year=2030)
        assert orders.take_in().refused == {}
        newest = next(s.facts for s in orders.states(feed, KEY) if s.state == "loaded")
        assert (newest.name, newest.rows_loaded, newest.rows_quarantined) == (name, 4, 0)
        assert (
            newest.layout["compression"] == orders.states(feed, KEY)[0].facts.layout["compression"]
        )
        amounts = [str(a) for (a,) in orders.raw(feed, "amount", KEY)]
        assert sorted(amounts) == ["10.50", "10.50", "10.50", "7.00"]
        assert ("wide\u3000space",) in orders.raw(feed, "note", KEY)


MEMBER_NAMES = ("order_id", "orderId", "customer", "lines", "note", "rate", "new", "n\\u0065w")
MEMBER_VALUES = (
    *("1", "10.50", "null", "true", "NaN", '""', '" "', '"x"', '" x"', '"x\u3000"', '"Orl\u00e9"'),
    *('"\\u0000"', '"\\n\\"y"', '"{,:"', "[]", "{}", '[{"sku": "S", "qty": 1}]', '["a"]'),
    *('{"id": 1, "address": {"city": "Lyon"}}', '{"id":2,"zip":"x"}', '{"id":3,"id":4}'),
)


@st.composite
def records_alike(draw: st.DrawFn) -> list[str]:
    """Records with the same keys, most of them in the same order and between the same blanks."""
    names = draw(st.lists(st.sampled_from(MEMBER_NAMES), min_size=1, max_size=4))
    gap = draw(st.sampled_from(["", " "]))
    written = []
    for _ in range(draw(st.integers(1, 4))):
        odd = draw(st.integers(0, 9)) == 0
        mine = draw(st.permutations(names)) if odd else names
        blank = draw(st.sampled_from(["", "  ", "\t"])) if odd else gap
        values = [draw(st.sampled_from(MEMBER_VALUES)) for _ in mine]
        members = (
            f'"{name}":{blank}{value}{blank}' for name, value in zip(mine, values, strict=True)
        )
        written.append("{" + f",{gap}".join(members) + "}")
    return written


WORDS = ("1", "-2.50", "1e5", "null", "true", "false", "20250111")
TEXTS = (
    '""',
    '"x"',
    '" x"',
    '"x\u3000"',
    '"Orl\u00e9ans, Loiret"',
    '"a: 1"',
    '"\\"\\\\"',
    '"\\u0000"',
)
ODD = (*WORDS, *TEXTS, '"{"', '"}"', "{}", "[1]", "[]", '{"id":1}', '"a"  ', "1 ", " 1", "\t2")


@st.composite
def records_with_other_values(draw: st.DrawFn) -> tuple[list[str], bool]:
    """Records that differ in values only, and whether that is true of all of them."""
    inner = ("id", "address", "zip")
    gap = draw(st.sampled_from(["", " "]))
    names = draw(st.lists(st.sampled_from(MEMBER_NAMES), min_size=1, max_size=5))
    below = {n: draw(st.lists(st.sampled_from(inner), min_size=1, max_size=2)) for n in names}
    nested = {n for n in names if draw(st.integers(0, 2)) == 0}
    kinds = {
        path: draw(st.sampled_from((WORDS, TEXTS)))
        for name in names
        for path in [(name,), *((name, key) for key in below[name])]
    }
    twice = len(set(names)) < len(names) or any(len(set(below[n])) < len(below[n]) for n in nested)
    twice |= {"new", "n\\u0065w"} <= set(names)
    alike = not twice
    written = []
    for number in range(draw(st.integers(1, 5))):

        def value(path: tuple[str, ...], number: int = number) -> str:
            nonlocal alike
            if number and draw(st.integers(0, 29)) == 0:
                alike = False
                return draw(st.sampled_from(ODD))
            return draw(st.sampled_from(kinds[path]))

        def members(pairs: list[tuple[str, str]]) -> str:
            return "{" + f",{gap}".join(f'"{key}":{gap}{text}' for key, text in pairs) + "}"

        record = [
            (n, members([(k, value((n, k))) for k in below[n]]) if n in nested else value((n,)))
            for n in names
        ]
        if number and len(record) > 1 and draw(st.integers(0, 19)) == 0:
            record = record[::-1]
            alike = False
        written.append(members(record))
    return written, alike


def flat(found: Table) -> dict[str, list[str]]:
    """Values as they are written."""
    columns = {}
    for key, values in found.items():
        if isinstance(values, Values):
            columns[key] = values.written.to_list()
        else:
            columns |= {f"{key}.{below}": column for below, column in flat(values).items()}
    return columns


class TestRecordsWrittenAlike:
    def test_are_one_table_with_those_inside_them(self) -> None:
        records = [b'{"a": 1, "b": {"c": " x"}}', b'{"a": 22, "b": {"c": ""}}']
        found = nested_table(b"\n".join(records), records[0])
        assert found is not None
        assert flat(found) == {"a": ["1", "22"], "b.c": ['" x"', '""']}

    @pytest.mark.parametrize(
        "other",
        ['{"z": 1, "b": {"c": "y"}}', '{"a": {}, "b": {"c": "y"}}', '{"a": 1, "b": {"c": null}}',
         '{"a": "1", "b": {"c": "y"}}', '{"a":  1, "b": {"c": "y"}}', '{"a": 1 , "b": {"c": "y"}}',
         '{"a": 1, "x": {"c": "y"}}', '{"a": 1, "b": {"c": "y", "d": 1}}', '{"a": [1], "b": "c"}',
         '{"a": 1, "b": {"c": "{"}}', '{"b": {"c": "y"}, "a": 1}', '{"a": 1, "b": {"c": "y"} }',
         '{"a": 1}', "{}"],
    )  # fmt: skip
    def test_are_no_such_table_if_more_differs_than_values(self, other: str) -> None:
        first = '{"a": 1, "b": {"c": "x"}}'
        for records in ([first, other], [first, other, first], [first, first, other, other]):
            assert nested_table("\n".join(records).encode(), first.encode()) is None

    def test_a_value_where_the_text_is_over_already_is_none(self) -> None:
        records = ['{"a":' + 9 * " " + "1}", '{"a":2}']
        assert nested_table("\n".join(records).encode(), records[0].encode()) is None

    def test_brackets_in_a_string_of_the_first_hide_none_of_the_others(self) -> None:
        records = ['{"a": {"x": 1}, "s": "{"}', '{"a": {"x": {}}, "s": "-"}']
        assert nested_table("\n".join(records).encode(), records[0].encode()) is None

    @settings(deadline=None, max_examples=5 * EXAMPLES)
    @given(drawn=records_with_other_values())
    def test_and_only_those_are_found_in_one_go(self, drawn: tuple[list[str], bool]) -> None:
        records, alike = drawn
        found = nested_table("\n".join(records).encode(), records[0].encode())
        if alike:
            assert found is not None
        if found is not None:
            for number, record in enumerate(records):
                told = {key: json.loads(column[number]) for key, column in flat(found).items()}
                seen = json.loads(record)
                inner = {k: v for k, v in seen.items() if isinstance(v, dict)}
                expected = {k: v for k, v in seen.items() if k not in inner}
                expected |= {f"{k}.{below}": v for k in inner for below, v in inner[k].items()}
                assert told == expected

    def test_are_one_table(self) -> None:
        text = b'{"a": 1, "b": " x"}\n{"a": 2, "b": "y"}'
        found = table(text, structure_of(text))
        assert found is not None
        assert flat(found) == {"a": ["1", "2"], "b": ['" x"', '"y"']}

    @pytest.mark.parametrize("feed", ["orders", "frozen"])
    @settings(deadline=None, max_examples=5 * EXAMPLES)
    @given(records=records_alike() | records_with_other_values().map(lambda drawn: drawn[0]))
    @example(records=['{"customer":{"address":1}}'])
    @example(records=['{"customer":{"id":1,"zip":"x"}}'])
    @example(records=['{"lines":{"0":{"sku":"x"}}}'])
    @example(records=['{"note":"","rate":""}', '{"note":"a ","rate":"2 "}'])
    def test_give_what_each_of_them_gives_alone(
        self, contracts: dict[str, FeedContract], feed: str, records: list[str]
    ) -> None:
        lines = [record.encode() for record in records]
        together = [JsonPiece(0, Records.of(lines), 1)]
        as_read = read_records(iter([b"\n".join(lines) + b"\n"]), ())
        read = [JsonPiece(0, found, 1) for found in as_read]
        nothing = {"table": lambda *_: None, "nested_table": lambda *_: None}
        with patch.multiple(json_frames, **nothing):
            expected, strangers = json_frame(together, contracts[feed])
        for pieces in (together, read):
            frame, found = json_frame(pieces, contracts[feed])
            assert frame.drop("_row").to_dicts() == expected.drop("_row").to_dicts()
            assert found == strangers


NAMES = r"clicks/(?P<country>[A-Z]{2})/(?P<day>\d{4}/\d{2}/\d{2})/\d{2}/clicks-.+\.gz"


class TestNamesOfTheirOwn:
    def contracts_with(self, folder: Path, pattern: str) -> dict[str, FeedContract]:
        write(folder, document("events", COLUMNS, format="json", file_name=pattern), "events")
        return load_contracts([folder])

    @pytest.mark.parametrize(
        "pattern",
        [NAMES, NAMES.replace(r"(?P<day>\d{4}/\d{2}/\d{2})",
                              r"(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)")],
    )  # fmt: skip
    def test_firehose_folders(self, desk: Desk, tmp_path: Path, pattern: str) -> None:
        desk.contracts = self.contracts_with(tmp_path / "own", pattern)
        folder = "clicks/FR/2025/01/11/06/clicks-FR-3-2025-01-11-06-00-12"
        desk.deliver(f"{folder}-0b4c.gz", gzip.compress(firehose(orders_of(2)).encode()))
        desk.deliver("events_FR_20250111.json", firehose([order(3)]))
        desk.deliver("clicks/FR/2025/13/11/06/clicks-x.gz", b"")
        outcome = desk.take_in()
        assert next(iter(outcome.refused.values())).code == "impossible_date"
        assert outcome.partitions == {f"events {KEY}"}
        assert desk.raw_counts("events") == {"FR": 3}

    def test_a_name_that_fits_two_feeds_is_refused(self, desk: Desk, tmp_path: Path) -> None:
        doc = document("other", COLUMNS, format="json", file_name=r"pos.*/(?P<day>[0-9]{8}).gz")
        write(tmp_path / "own", doc, "other")
        pattern = r"pos_(?P<country>..)/(?P<day>[0-9]{8})\.gz"
        desk.contracts = self.contracts_with(tmp_path / "own", pattern)
        desk.deliver("pos_FR/20250111.gz", firehose([order(1)]))
        refusal = desk.take_in().refused["pos_FR/20250111.gz"]
        assert refusal.code == "ambiguous_name"
        assert "other" in refusal.seen
        assert "events" in refusal.seen

    @pytest.mark.parametrize(
        ("pattern", "words"),
        [("(", "no regular expression"), ("x", "it has none"), ("(?P<month>..)", "it has month"),
         ("(?P<month>..)(?P<day>..)", "file_name needs")],
    )  # fmt: skip
    def test_a_pattern_that_names_no_day(self, tmp_path: Path, pattern: str, words: str) -> None:
        with pytest.raises(ConfigurationError, match="file_name") as caught:
            self.contracts_with(tmp_path / "own", pattern)
        assert words in str(caught.value)

    def test_paths_need_json(self, tmp_path: Path) -> None:
        write(tmp_path / "own", document("events", COLUMNS, record_path=["a"]), "events")
        with pytest.raises(ConfigurationError) as caught:
            load_contracts([tmp_path / "own"])
        assert "record_path works on format: json only" in str(caught.value)
        assert "city: path works on format: json only" in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@settings(max_examples=EXAMPLES, derandomize=EXAMPLES == FEW, database=None, deadline=None)
@given(records=st.lists(st.dictionaries(st.text(max_size=6), json_values, max_size=5), min_size=1),
       indent=st.sampled_from([None, 1]), ascii_only=st.booleans())  # fmt: skip
def test_nothing_of_a_record_is_lost(
    contracts: dict[str, FeedContract], records: list[Record], indent: int | None, ascii_only: bool
) -> None:
    """What the gate rescues is what Python's reader finds, for keys that no column names."""
    written = [json.dumps(r, indent=indent, ensure_ascii=ascii_only) for r in records]
    _, problems, rescued = values(contracts["orders"], *written)
    known = {"note", "rate", "paid", "lines", "amount", "city"}
    for text, problem, kept in zip(written, problems, rescued, strict=True):
        expected = json.loads(text, parse_constant=str)
        if problem is None and not known & {k.lower() for k in expected}:
            assert json.loads(kept or "{}") == expected
        elif problem is not None:
            assert problem in ("row:lone_surrogate", "row:duplicate_key")


def broken_files(chance: random.Random) -> bytes:
    """A file of some shape and compression with something done to it."""
    feed_shape = chance.choice([shape for feed, shape in SHAPES.values() if feed == "orders"])
    content = feed_shape(orders_of(chance.randint(0, 30))).encode()
    pack = chance.choice(list(PACKERS.values()))[2]
    early = chance.random() < 0.5
    content = content if early else pack(content)
    content = damaged(content, chance)
    return pack(content) if early else content


@pytest.mark.timeout(3600)
@settings(
    max_examples=max(3, EXAMPLES // 20),
    derandomize=EXAMPLES == FEW,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
def test_any_file_is_loaded_quarantined_or_refused(
    contracts: dict[str, FeedContract], tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Many files at once: every one ends in a manifest or with a reason, and identities hold."""
    chance = random.Random(seed)
    desk = local_desk(tmp_path_factory.mktemp("fuzz"), contracts=contracts)
    names = [f"orders_FR_20250111_{n}.json" for n in range(60)]
    for name in names:
        noise = chance.random() < 0.1
        content = chance.randbytes(chance.randint(0, 500)) if noise else broken_files(chance)
        desk.deliver(name, content)
    began, growth = time.monotonic(), Growth()
    outcome = desk.take_in()
    accepted = {s.facts.name for s in desk.states("orders", KEY)} if outcome.manifests else set()
    assert accepted | outcome.refused.keys() == set(names)
    assert not accepted & outcome.refused.keys()
    assert desk.inbox() == set(outcome.refused)
    assert all(r.seen and r.remedy for r in outcome.refused.values())
    assert time.monotonic() - began < 60
    assert growth.megabytes < BOUND_MB
