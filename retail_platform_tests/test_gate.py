"""The gate as a function: whatever bytes arrive, rows are loaded, quarantined, or the file refused.

What particular broken files lead to is in `test_bad_input`; here are the laws that hold for all.
"""

import io
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from retail_platform.countries import CountryRegistry
from retail_platform.errors import ConfigurationError
from retail_platform.gate import gate as gate_module
from retail_platform.gate import text as text_module
from retail_platform.gate.gate import Gate
from retail_platform.gate.rows import Judged, RowJudge
from retail_platform.gate.text import FileText, Rows
from retail_platform.lake.inbox import plan_arrivals
from retail_platform.lake.manifest import FileFacts
from retail_platform.lake.store import INBOX, Lake
from retail_platform_tests.builders import (
    CONTRACTS,
    DAY,
    FIRST_DAY,
    NOW,
    REGISTRY,
    Desk,
    Row,
    csv_text,
    gzipped,
    receipts,
    row,
)

KEY = f"FR|{DAY}"


@contextmanager
def new_desk() -> Iterator[Desk]:
    """A desk over a lake of its own, without a warehouse, gone afterwards."""
    folder = tempfile.mkdtemp()
    try:
        yield Desk(Lake.open(Path(folder).as_uri()))
    finally:
        shutil.rmtree(folder)


def facts_of(facts: FileFacts) -> dict[str, object]:
    """What a file turned out to be, apart from the objects that hold its rows."""
    return facts.model_dump(exclude={"data", "quarantine"})


# --------------------------------------------------------------------------------------- any bytes

FILES = {
    "transactions_FR_20250111.csv": csv_text("transactions", receipts(6)).encode(),
    "transactions_ALL_20250111.csv": csv_text(
        "transactions", receipts(3) + receipts(3, "DE")
    ).encode(),
    "partner_sales_FR_20250111.csv": csv_text(
        "partner_sales",
        [row("partner_sales", receipt_token=str(n)) for n in range(6)],
        header=False,
    ).encode(),
    "employees_ALL_20250111.csv": csv_text(
        "employees", [row("employees", employee_id=str(n)) for n in range(1, 7)]
    ).encode(),
    "customers_FR_20250111.csv": csv_text(
        "customers", [row("customers", customer_id=str(n), city="Nîmes") for n in range(1, 7)]
    ).encode(),
    "products_20250111.csv": csv_text(
        "products", [row("products", product_id=str(n)) for n in range(1, 7)]
    ).encode(),
    "fx_rates_20250111.csv": csv_text("fx_rates", [row("fx_rates")]).encode(),
}
NASTY = [b'"', b'""', b"\0", b"\r", b"\n", b"\r\n", b",", b";", b"\t", b"\xff", b"\xef\xbb\xbf"]
NASTY += [b"\xff\xfe", b"\x1f\x8b", "é".encode(), b"\xe9", b"\x85", b"\xe2\x80\xa8", b" ", b"\\"]
ENCODINGS = ["utf-8"] * 5 + ["utf-16", "utf-16-be", "latin-1", "utf-8-sig"]
NASTY += [b"INV-ZZ-001-00000001", b"99999999999999999999", b"NaN", b"-0", b"1e400", b"'", b"\x1a"]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A sound file with a few bytes, lines or its encoding changed."""
    name = draw(st.sampled_from(sorted(FILES)))
    content = FILES[name]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["insert", "cut", "swap lines", "repeat lines", "overwrite"]))
        piece = draw(st.sampled_from(NASTY) | st.binary(min_size=1, max_size=4))
        if kind == "insert":
            content = content[:at] + piece + content[at:]
        elif kind == "overwrite":
            content = content[:at] + piece + content[at + len(piece) :]
        elif kind == "cut":
            content = content[:at] + content[at + draw(st.integers(1, 200)) :]
        else:
            lines = content.split(b"\n")
            chosen = draw(st.integers(0, len(lines) - 1))
            target = draw(st.integers(0, len(lines) - 1))
            if kind == "swap lines":
                lines[chosen], lines[target] = lines[target], lines[chosen]
            else:
                lines[target:target] = [lines[chosen]] * draw(st.integers(1, 3))
            content = b"\n".join(lines)
    encoding = draw(
        st.sampled_from(["utf-8"] * 5 + ["utf-16", "utf-16-be", "latin-1", "utf-8-sig"])
    )
    if encoding != "utf-8":
        content = content.decode("utf-8", "replace").encode(encoding, "replace")
    if draw(st.booleans()) and draw(st.booleans()):
        content = gzipped(content)
        content = content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content
    return name, content


def rubbish() -> st.SearchStrategy[tuple[str, bytes]]:
    return st.tuples(st.sampled_from(sorted(FILES)), st.binary(max_size=400))


RANDOM = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


class TestAnyBytes:
    @RANDOM
    @given(damaged() | rubbish())
    @example(("employees_ALL_20250111.csv", FILES["employees_ALL_20250111.csv"]))
    def test_a_file_is_taken_in_with_every_row_accounted_for_or_refused_with_a_reason(
        self, delivery: tuple[str, bytes]
    ) -> None:
        name, content = delivery
        with new_desk() as desk:
            desk.deliver(name, content)
            outcome = desk.take_in(load=False)  # checks that no row is lost or doubled
            refusal = outcome.refused.get(name)
            if refusal:
                assert refusal.code
                assert refusal.seen
                assert refusal.remedy
                assert desk.inbox() == {name}
                assert outcome.partitions == set()
                assert list(desk.lake.list("manifests/")) == []
            else:
                assert desk.inbox() == set()
                assert outcome.partitions
                _check_row_numbers(desk)

    def test_sound_files_are_taken_in(self) -> None:
        """Otherwise the law above would hold for a gate that refuses everything."""
        with new_desk() as desk:
            for name, content in FILES.items():
                desk.deliver(name, content)
            outcome = desk.take_in(load=False)
            assert outcome.refused == {}
            facts = desk.facts("transactions", f"DE|{DAY}")
            assert (facts.rows_in, facts.rows_loaded) == (3, 3)


def _check_row_numbers(desk: Desk) -> None:
    """Rows, good and bad, come from different places of their file."""
    frames = [
        pl.read_parquet(desk.lake.get(o.path), columns=["_file_id", "_row_number"])
        for kind in ("data/", "quarantine/")
        for o in desk.lake.list(kind)
    ]
    if frames:
        rows = pl.concat(frames)
        assert not rows.is_duplicated().any()
        assert rows["_row_number"].min() >= 1  # type: ignore[operator]


# ------------------------------------------------------------------------------- independent of how


def mixed_file(seed: int, country: str = "FR", rows: int = 60) -> str:
    """Valid rows, bad rows, repetitions near and far, a second header."""
    rng = random.Random(seed)
    lines = csv_text("transactions", receipts(rows, country, first=seed * 1000 + 1)).splitlines()
    for number in rng.sample(range(1, rows), 5):
        lines[number] = lines[number].replace("Sale", "Gift")
    lines += rng.sample(lines[1:], 6)
    lines.insert(rng.randrange(20, 50), lines[0])
    return "\n".join(lines)


class TestReadingAhead:
    """Frames are made by threads while those before them are judged."""

    @pytest.fixture
    def desk(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
        monkeypatch.setattr(text_module, "CHUNK_CHARACTERS", 500)
        monkeypatch.setattr(gate_module, "CHUNK_CHARACTERS", 500)
        with new_desk() as desk:
            desk.deliver("transactions_FR_20250111.csv", mixed_file(1))
            yield desk

    def test_the_first_error_is_that_of_the_first_rows(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reading, read_on = FileText.rows, threading.Event()

        def unreadable(text: FileText, delimiter: str) -> Iterator[Rows]:
            rows = reading(text, delimiter)
            yield next(rows)
            yield next(rows)
            read_on.set()
            raise OSError("the disk, later")

        def faulty(*_: object) -> pl.DataFrame:
            assert read_on.wait(10)
            raise LookupError("the first rows")

        monkeypatch.setattr(FileText, "rows", unreadable)
        monkeypatch.setattr(gate_module, "text_frame", faulty)
        with pytest.raises(LookupError, match="the first rows"):
            desk.take_in(load=False)

    @pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
    def test_no_thread_outlives_an_abort(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
    ) -> None:
        frames: list[pl.DataFrame] = []

        def interrupted(_: RowJudge, frame: pl.DataFrame) -> Judged:
            frames.append(frame)
            raise error

        monkeypatch.setattr(RowJudge, "judge", interrupted)
        before = set(threading.enumerate())
        with pytest.raises(error):
            desk.take_in(load=False)
        assert set(threading.enumerate()) <= before
        assert len(frames) == 1


class TestIndependenceOfBatches:
    @pytest.mark.parametrize("quoted", [False, True])
    @pytest.mark.parametrize("chunk", [1, 500, 3_000, 7_000, 20_000])
    def test_a_file_read_in_chunks_is_judged_as_if_read_at_once(
        self, monkeypatch: pytest.MonkeyPatch, chunk: int, quoted: bool
    ) -> None:
        content = mixed_file(1)
        if quoted:
            content = content.replace("Cash", '"Cash, ""small"""')
        with new_desk() as whole, new_desk() as pieces:
            whole.deliver("transactions_FR_20250111.csv", content)
            whole.take_in(load=False)
            monkeypatch.setattr(text_module, "CHUNK_CHARACTERS", chunk)
            monkeypatch.setattr(gate_module, "CHUNK_CHARACTERS", chunk)
            pieces.deliver("transactions_FR_20250111.csv", content)
            pieces.take_in(load=False)
            expected = whole.facts("transactions", KEY)
            assert (expected.rows_in, expected.rows_quarantined, expected.rows_duplicate) == (
                67,
                6,
                6,
            )
            found = pieces.facts("transactions", KEY)
            assert facts_of(found) == facts_of(expected)
            assert pieces.quarantine(found) == whole.quarantine(expected)
            assert _rows(pieces, found).equals(_rows(whole, expected))

    @settings(RANDOM, max_examples=10)
    @given(st.lists(st.integers(0, 9), min_size=1, max_size=10), st.randoms(use_true_random=False))
    def test_files_are_judged_alike_alone_and_together(
        self, seeds: list[int], rng: random.Random
    ) -> None:
        files = {}
        for number, seed in enumerate(seeds):
            country = rng.choice(["FR", "DE", "GB"])
            content = mixed_file(seed, country, rows=40)
            if rng.random() < 0.3:
                content = content.replace("Cash", '"Cash"')
            if rng.random() < 0.3:
                content = content.replace(",", ";")
            if rng.random() < 0.2:
                content = content.replace("Sale", "Gift")
            files[f"transactions_{country}_20250111_{number}.csv"] = content
        with new_desk() as together, new_desk() as alone:
            refused = {}
            for name, content in files.items():
                together.deliver(name, content)
                alone.deliver(name, content)
                refused |= alone.take_in(load=False).refused
            assert together.take_in(load=False).refused.keys() == refused.keys()
            for country in {name.split("_")[1] for name in files.keys() - refused.keys()}:
                a, b = (d.states("transactions", f"{country}|{DAY}") for d in (alone, together))
                assert [(facts_of(x.facts), x.state) for x in a] == [
                    (facts_of(x.facts), x.state) for x in b
                ]
                for x, y in zip(a, b, strict=True):
                    assert _rows(alone, x.facts).equals(_rows(together, y.facts))
            # Nothing of a refused file travels along in the objects of its companions.
            stored = {
                name
                for kind in ("data/", "quarantine/")
                for o in together.lake.list(kind)
                for name in pl.read_parquet(together.lake.get(o.path))["_source_file"]
            }
            assert stored == files.keys() - refused.keys()

    def test_many_files_are_taken_in_batch_by_batch_and_reported(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gate_module, "BATCH_FILES", 4)
        with new_desk() as desk:
            for number in range(10):
                day = DAY + timedelta(days=number)
                desk.deliver(
                    f"transactions_FR_{day:%Y%m%d}.csv",
                    csv_text("transactions", receipts(1, day=day)),
                )
            done: list[int] = []
            report = Gate(desk.lake, CONTRACTS["transactions"], REGISTRY).take_in(
                _plan(desk), done.append
            )
            assert done == [4, 8, 10]
            assert (report.files, len(report.manifests)) == (10, 10)
            assert len(list(desk.lake.list("data/"))) == 3  # files of a batch share an object
            desk.check_identities()


def _plan(desk: Desk) -> list:
    plan = plan_arrivals(desk.lake.list(INBOX), CONTRACTS, REGISTRY, first_day=FIRST_DAY, now=NOW)
    return list(plan.arrivals)


def _rows(desk: Desk, facts: FileFacts) -> pl.DataFrame:
    frames = [pl.read_parquet(desk.lake.get(path)) for path in facts.data]
    rows = pl.concat(frames) if frames else pl.DataFrame({"_file_id": [], "_row_number": []})
    return rows.filter(pl.col("_file_id") == facts.file_id).sort("_row_number")


# ------------------------------------------------------------------------------- commit protocol


class TestOrderOfRows:
    """Engines that prune by country and day need the rows of a partition side by side."""

    MIXED: ClassVar = [
        row for pair in zip(receipts(3), receipts(3, "DE"), strict=True) for row in pair
    ]

    @pytest.mark.parametrize(
        "files",
        [
            {"ALL_20250111": MIXED},
            {"FR_20250112": receipts(1), "FR_20250111": receipts(1)},
            {"ALL_20250112": MIXED, "FR_20250111": receipts(2), "ALL_20250111": MIXED},
        ],
        ids=["countries of one file", "days", "all of it"],
    )
    def test_partitions_lie_one_after_the_other(self, files: dict[str, list[Row]]) -> None:
        with new_desk() as desk:
            for name, rows in files.items():
                desk.deliver(f"transactions_{name}.csv", csv_text("transactions", rows))
            desk.take_in(load=False)
            (written,) = [o.path for o in desk.lake.list("data/")]
            found = pl.read_parquet(io.BytesIO(desk.lake.get(written)))
        assert len(found) == sum(map(len, files.values()))
        partitions = found.select("_batch_date", "_country")
        assert partitions.n_unique() > 1
        assert partitions.equals(partitions.sort("_batch_date", "_country"))
        for _, of_file in found.group_by("_source_file", "_country"):
            assert of_file["_row_number"].is_sorted()

    def test_lines_of_all_kinds_lie_in_quarantine_as_they_stood(self) -> None:
        good = csv_text("transactions", receipts(30), header=False).splitlines()
        header = csv_text("transactions", []).strip()
        sells_nothing = row("transactions", invoice_id="INV-FR-021-00000099", quantity="0")
        (bad_value,) = csv_text("transactions", [sells_nothing], header=False).splitlines()
        text = "\n".join([header, "too,few", *good, bad_value, "too,few,again"])
        with new_desk() as desk:
            desk.deliver("transactions_FR_20250111.csv", text)
            desk.take_in(load=False)
            (written,) = [o.path for o in desk.lake.list("quarantine/")]
            rows = pl.read_parquet(io.BytesIO(desk.lake.get(written)))["_row_number"]
        assert rows.to_list() == [1, 32, 33]


class TestCommitProtocol:
    STEPS = ("data", "quarantine", "history", "manifests", "inbox")

    def test_steps_come_in_the_order_that_makes_a_crash_harmless(self) -> None:
        seen: list[tuple[str, int, int, int, int]] = []
        with new_desk() as desk:
            desk.deliver("transactions_FR_20250111.csv", mixed_file(1))

            def look(step: str) -> None:
                kinds = ("data/", "quarantine/", "history/", "manifests/")
                seen.append((step, *(len(list(desk.lake.list(kind))) for kind in kinds)))
                assert desk.inbox() == {"transactions_FR_20250111.csv"}

            gate = Gate(desk.lake, CONTRACTS["transactions"], REGISTRY, on_step=look)
            gate.take_in(_plan(desk))
            assert seen == [
                ("data", 0, 0, 0, 0),
                ("quarantine", 1, 0, 0, 0),
                ("history", 1, 1, 0, 0),
                ("manifests", 1, 1, 1, 0),
                ("inbox", 1, 1, 1, 1),
            ]
            assert desk.inbox() == set()

    @pytest.mark.parametrize("step", STEPS)
    def test_a_failure_at_any_step_and_another_attempt_end_as_one_attempt(self, step: str) -> None:
        class Failure(Exception):
            pass

        def fail(reached: str) -> None:
            if reached == step:
                raise Failure

        files = {f"transactions_FR_20250111_{n}.csv": mixed_file(n) for n in range(3)}
        with new_desk() as smooth, new_desk() as rough:
            for desk in (smooth, rough):
                for name, content in files.items():
                    desk.deliver(name, content)
            smooth.take_in(load=False)
            gate = Gate(rough.lake, CONTRACTS["transactions"], REGISTRY, on_step=fail)
            with pytest.raises(Failure):
                gate.take_in(_plan(rough))
            assert rough.inbox() == set(files)
            rough.take_in(load=False)
            assert rough.inbox() == set()
            for kind in ("data/", "quarantine/", "history/", "manifests/"):
                paths = [o.path for o in smooth.lake.list(kind)]
                assert paths == [o.path for o in rough.lake.list(kind)]
                assert list(smooth.lake.get_many(paths)) == list(rough.lake.get_many(paths))


# ------------------------------------------------------------------------------------------- values


def judged(column: str, values: list[str], feed: str = "transactions") -> dict[str, object]:
    """Value as delivered -> value as loaded, or the reason it was not."""
    rows = [row(feed, **{_KEYS[feed]: str(n), column: v}) for n, v in enumerate(values, start=1)]
    if feed == "transactions":
        for number, it in enumerate(rows, start=1):
            it["invoice_id"] = f"INV-FR-021-{number:08d}"
    rules = CONTRACTS[feed].ingestion.model_copy(
        update={"max_bad_rows": len(values), "row_rules": ()}
    )
    with new_desk() as desk:
        desk.contracts = {feed: replace(CONTRACTS[feed], ingestion=rules)}
        desk.deliver(f"{feed}_FR_20250111.csv", csv_text(feed, rows, delimiter=";"))
        assert desk.take_in(load=False).refused == {}
        facts = desk.facts(feed, KEY)
        found: dict[str, object] = {}
        for number, _, reasons in desk.quarantine(facts) if facts.quarantine else []:
            (reason,) = reasons
            found[values[number - 1]] = reason.partition(":")[2]
        loaded = _rows(desk, facts)
        if f"{column}_enc" in loaded.columns:
            clear = desk.opened(feed, column, loaded[f"{column}_enc"])
            loaded = loaded.with_columns(clear.alias(column))
        for number, value in loaded.select("_row_number", column).rows() if facts.data else []:
            found[values[number - 1]] = value
        return found


_KEYS = {"transactions": "line", "customers": "customer_id", "stores": "store_id"}


class TestValues:
    @settings(RANDOM, max_examples=20)
    @given(
        st.lists(
            st.decimals(-(10**11), 10**11, allow_nan=False, places=None).map(str)
            | st.decimals(-(10**10), 10**10, places=2).map(str)
            | st.from_regex(r"[-+]?[0-9]{1,3}(\.[0-9]{0,3})?", fullmatch=True)
            | st.sampled_from(
                ["1e2", ".5", "5.", "1,5", "0x1", "\u0661", "--1", "1.500", "NaN", "inf"]
            ),
            min_size=1,
            max_size=40,
            unique=True,
        )
    )
    def test_a_decimal_is_loaded_exactly_or_not_at_all(self, texts: list[str]) -> None:
        for text, value in judged("line_total", texts).items():
            if isinstance(value, Decimal):
                assert value == Decimal(text)
            else:
                plain = text.isascii() and text.lower().strip("+-0123456789.") == ""
                digits = plain and text.strip("+-")[:1].isdigit() and text.count(".") < 2
                if digits and len(text) - len(text.lstrip("+-")) < 2:
                    number = Decimal(text)
                    assert abs(number) >= 10**10 or number != round(number, 2), text
                assert value == "not_a_decimal"

    def test_integers(self) -> None:
        assert judged(
            "quantity", ["1", "7.0", " 8 ", "+3", "1.5", "x", "3000000000", "0", "1001"]
        ) == {
            "1": 1,
            "7.0": 7,
            " 8 ": 8,
            "+3": 3,
            "1.5": "not_an_integer",
            "x": "not_an_integer",
            "3000000000": "not_an_integer",  # more than the column's 32 bits hold
            "0": "too_small",
            "1001": "too_large",
        }

    def test_large_integers(self) -> None:
        assert judged("customer_id", ["3000000000", str(2**63)]) == {
            "3000000000": 3_000_000_000,
            str(2**63): "not_an_integer",
        }

    def test_timestamps(self) -> None:
        at = datetime(2025, 1, 10, 9, 8)  # noqa: DTZ001 - shop times carry no zone
        assert judged(
            "sold_at",
            [
                "2025-01-10 09:08:00",
                "2025-01-10T09:08:00",
                "2025-01-10 09:08",
                "01/10/2025 09:08",
                "2025-01-32 09:08:00",
                "10.01.2025 09:08",
                "0025-01-10 09:08:00",
                "9999-01-10 09:08:00",
                "2025-01-12 00:00:00",
                "2025-01-11 23:59:59",
                "",
            ],
        ) == {
            "2025-01-10 09:08:00": at,
            "2025-01-10T09:08:00": at,
            "2025-01-10 09:08": at,
            "01/10/2025 09:08": at,
            "2025-01-32 09:08:00": "not_a_timestamp",
            "10.01.2025 09:08": "not_a_timestamp",
            "0025-01-10 09:08:00": "not_a_timestamp",
            "9999-01-10 09:08:00": "not_a_timestamp",
            "2025-01-12 00:00:00": "after_batch_day",
            "2025-01-11 23:59:59": datetime(2025, 1, 11, 23, 59, 59),  # noqa: DTZ001
            "": "required",
        }

    def test_one_impossible_year_among_moments_written_alike(self) -> None:
        at = datetime(2025, 1, 10, 9, 8)  # noqa: DTZ001 - shop times carry no zone
        for slip in ("0025-01-10 09:08:00", "9999-01-10 09:08:00"):
            found = judged("sold_at", ["2025-01-10 09:08:00", slip])
            assert found == {"2025-01-10 09:08:00": at, slip: "not_a_timestamp"}

    def test_numbers_with_a_point(self) -> None:
        assert judged("latitude", ["48.85", "-90", "90.1", "NaN", "inf", "", "1e1"], "stores") == {
            "48.85": 48.85,
            "-90": -90.0,
            "90.1": "too_large",
            "NaN": "not_a_number",
            "inf": "not_a_number",
            "": None,
            "1e1": 10.0,
        }

    def test_text_keeps_its_zeros_and_blanks_become_nothing(self) -> None:
        assert judged("zip_code", ["06000", " 1000-001 ", "  ", "EC2P 2E"], "stores") == {
            "06000": "06000",
            " 1000-001 ": "1000-001",
            "  ": None,
            "EC2P 2E": "EC2P 2E",
        }

    def test_patterns_and_dates_of_customers(self) -> None:
        assert judged("email", ["a@fake_x.com", "a.b", "a@b@c", ""], "customers") == {
            "a@fake_x.com": "a@fake_x.com",
            "a.b": "pattern",
            "a@b@c": "pattern",
            "": None,
        }
        found = judged("date_of_birth", ["1980-02-29", "1981-02-29", "1899-12-31"], "customers")
        assert found == {
            "1980-02-29": "1980-02-29",  # encrypted as text
            "1981-02-29": "not_a_date",
            "1899-12-31": "not_a_date",
        }


class TestRulesOfRows:
    CASES: ClassVar[dict[str, tuple[dict[str, str], str | None]]] = {
        "sale": ({}, None),
        "sale_rounded_half_up_or_half_even": ({"line_total": "90.01"}, None),
        "sale_two_cents_off": ({"line_total": "90.02"}, "row:sale_line_total"),
        "return": (
            {"transaction_type": "Return", "discount": "0", "line_total": "-90.00"},
            None,
        ),
        "return_that_is_paid": (
            {"transaction_type": "Return", "discount": "0", "line_total": "90.00"},
            "row:return_line_is_negative",
        ),
        "money_of_another_country": ({"currency": "USD"}, "row:currency_of_country"),
    }

    @pytest.mark.parametrize("case", CASES)
    def test_receipts(self, case: str) -> None:
        changes, reason = self.CASES[case]
        with new_desk() as desk:
            desk.deliver(
                "transactions_FR_20250111.csv",
                csv_text("transactions", [row("transactions", **changes)]),
            )
            desk.take_in(load=False)
            assert list(desk.facts("transactions", KEY).reasons) == ([reason] if reason else [])

    def test_a_discount_window_ends_after_its_start(self) -> None:
        rows = [
            row("discounts", ends_on="2025-01-01"),
            row("discounts", ends_on="2024-12-31", category="Feminine"),
        ]
        with new_desk() as desk:
            desk.deliver("discounts_20250111.csv", csv_text("discounts", rows))
            desk.take_in(load=False)
            facts = desk.facts("discounts", f"ALL|{DAY}")
            assert facts.reasons == {"row:window_ends_after_start": 1}

    def test_a_rule_nobody_knows_is_a_configuration_error(self) -> None:
        rules = CONTRACTS["transactions"].ingestion.model_copy(update={"row_rules": ("magic",)})
        with new_desk() as desk, pytest.raises(ConfigurationError, match="magic; known are"):
            Gate(desk.lake, replace(CONTRACTS["transactions"], ingestion=rules), REGISTRY)


class TestThresholds:
    @pytest.mark.parametrize(
        ("rows", "bad", "refused"),
        [(10, 10, False), (11, 11, True), (55, 11, False), (54, 11, True), (1000, 200, False)],
    )
    def test_a_file_is_refused_beyond_both_limits(self, rows: int, bad: int, refused: bool) -> None:
        """More than ten rows and more than twenty per cent."""
        sales = receipts(rows)
        for it in sales[:bad]:
            it["quantity"] = "none"
        with new_desk() as desk:
            desk.deliver("transactions_FR_20250111.csv", csv_text("transactions", sales))
            outcome = desk.take_in(load=False)
        expected = {"transactions_FR_20250111.csv": "too_many_bad_rows"} if refused else {}
        assert {name: r.code for name, r in outcome.refused.items()} == expected

    def test_a_feed_may_tolerate_nothing(self) -> None:
        rows = [row("fx_rates", currency=c) for c in ("USD", "GBP", "pounds")]
        with new_desk() as desk:
            desk.deliver("fx_rates_20250111.csv", csv_text("fx_rates", rows))
            refusal = desk.take_in(load=False).refused["fx_rates_20250111.csv"]
        assert refusal.code == "too_many_bad_rows"
        assert "1 of 3 rows (33 %)" in refusal.seen
        assert "currency:pattern (1)" in refusal.seen


class TestCountries:
    SMALL = CountryRegistry(tuple(c for c in REGISTRY if c.code in ("DE", "FR")))

    def test_rows_of_a_country_that_is_no_market_are_quarantined(self) -> None:
        """Shop 1 is American; there are no American partitions in this installation."""
        rows = [row("employees", employee_id=str(n), store_id=str(n)) for n in (1, 11, 21, 99)]
        with new_desk() as desk:
            desk.registry = self.SMALL
            desk.deliver("employees_ALL_20250111.csv", csv_text("employees", rows))
            outcome = desk.take_in(load=False)
            assert outcome.partitions == {f"employees {c}|{DAY}" for c in ("DE", "FR")}
            german, french = (desk.facts("employees", f"{c}|{DAY}") for c in ("DE", "FR"))
            assert german.rows_in + french.rows_in == 4
            assert (german.rows_loaded, french.rows_loaded) == (1, 1)
            assert german.reasons == {"row:unknown_country": 2}

    def test_shops_named_by_number_must_fit_the_file(self) -> None:
        rows = [row("employees", employee_id=str(n), store_id=str(n)) for n in (1, 21, 25, 99)]
        with new_desk() as desk:
            desk.deliver("employees_FR_20250111.csv", csv_text("employees", rows))
            desk.take_in(load=False)
            facts = desk.facts("employees", KEY)
            # Shop 99 is in no block: a new one, perhaps; its country is that of the file.
            assert (facts.rows_loaded, dict(facts.reasons)) == (3, {"row:country_mismatch": 1})

    @pytest.mark.parametrize("word", ["France", "FRANCE", "fra", "fr"])
    def test_any_name_of_a_country_will_do(self, word: str) -> None:
        with new_desk() as desk:
            shop = row("stores", country_name=word)
            desk.deliver("stores_ALL_20250111.csv", csv_text("stores", [shop]))
            desk.take_in(load=False)
            assert desk.facts("stores", KEY).rows_loaded == 1
