"""What the gate finds in the bytes of a text is what a plain reading of its characters finds."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retail_platform.contract import load_contracts
from retail_platform.gate import pile as pile_module
from retail_platform.gate import text as text_module
from retail_platform.gate.frames import Piece, text_frame, without_repetitions
from retail_platform.gate.json_records import read_records
from retail_platform.gate.json_text import structure_of
from retail_platform.gate.layout import Layout
from retail_platform.gate.pile import Pile, SeenLines
from retail_platform.gate.text import FileText

STORES = load_contracts()["stores"]
NAMES = tuple(c.name for c in STORES.columns[:3])
RANDOM = settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SPACES = " \t\v\f\u0085\u00a0\u1680\u2003\u2028\u202f\u205f\u3000"
VALUES = st.text(st.sampled_from("aé€ \t\v\u0085\u00a0\u1680\u2003\u202f\u205f\u3000Å"), max_size=4)
GOOD_LINES = st.lists(VALUES, min_size=3, max_size=3)
ANY_LINES = st.lists(VALUES, min_size=1, max_size=4)
GOOD_AND_BLANK = GOOD_LINES | st.just([""])


def file_text(content: bytes) -> FileText:
    """Some content as the gate reads it."""
    return FileText(io.BytesIO(content), "", "utf-8", "none", quoted=False)


def read_plainly(content: str, delimiter: str) -> list[tuple[int, str, list[str | None] | None]]:
    """Row number, line, and values or None if there are more or fewer than three."""
    lines = content.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found = []
    for number, line in enumerate((x for x in lines if x.strip(SPACES)), start=1):
        values = line.split(delimiter)
        stripped = [value.strip(SPACES) or None for value in values]
        found.append((number, line, stripped if len(values) == len(NAMES) else None))
    return found


def rows_of(content: str, delimiter: str) -> list[tuple[int, str, list[str | None] | None]]:
    """The same, found by the gate."""
    layout = Layout(delimiter, NAMES, None)
    pieces = [Piece(0, rows) for rows in file_text(content.encode()).rows(delimiter)]
    if not pieces:
        return []
    frame = text_frame(pieces, layout, STORES).sort("_row")
    return [
        (
            row["_row"],
            row["_line"],
            [row[name] for name in NAMES] if row["_problem"] is None else None,
        )
        for row in frame.iter_rows(named=True)
    ]


class TestLinesAndFields:
    @pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
    @pytest.mark.parametrize("delimiter", [",", "\t"])
    @pytest.mark.parametrize(
        "lines", [GOOD_LINES, ANY_LINES, GOOD_AND_BLANK], ids=["even", "uneven", "gaps"]
    )
    @RANDOM
    @given(data=st.data())
    def test_are_those_of_the_characters(
        self,
        monkeypatch: pytest.MonkeyPatch,
        chunk: int,
        delimiter: str,
        lines: st.SearchStrategy[list[str]],
        data: st.DataObject,
    ) -> None:
        monkeypatch.setattr(text_module, "CHUNK_CHARACTERS", chunk)
        written = data.draw(st.lists(lines, max_size=6))
        ends = data.draw(st.lists(st.sampled_from(["\n", "\r\n", "\r", "\n\n", ""]), min_size=6))
        content = "".join(
            delimiter.join(values) + end for values, end in zip(written, ends, strict=False)
        )
        assert rows_of(content, delimiter) == read_plainly(content, delimiter)

    def test_a_line_end_is_not_torn_apart_inside_quotes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(text_module, "CHUNK_CHARACTERS", 1)
        text = FileText(io.BytesIO(b'a,"b\r\nc",d\r\n'), "", "utf-8", "none", quoted=True)
        (rows,) = text.rows(",")
        assert rows.records == [('a,"b\nc",d', ["a", "b\nc", "d"])]

    def test_only_columns_with_white_space_cost_a_look_at_every_value(self) -> None:
        found = rows_of("a,b,c\nd, e ,\n", ",")
        assert found == [(1, "a,b,c", ["a", "b", "c"]), (2, "d, e ,", ["d", "e", None])]


class TestRepetitions:
    def test_are_of_one_file(self) -> None:
        layout = Layout(",", NAMES, None)
        rows = next(file_text(b"a,b,c\na,b,d\n").rows(","))
        frame = text_frame([Piece(0, rows), Piece(1, rows)], layout, STORES)
        left, again = without_repetitions(frame)
        assert (left.height, again.height) == (4, 0)
        left, again = without_repetitions(pl.concat([frame, frame.head(1)]))
        assert (left.height, again.height) == (4, 1)

    @RANDOM
    @given(st.lists(st.lists(st.integers(0, 30), min_size=1, unique=True), max_size=5))
    def test_of_earlier_chunks(self, chunks: list[list[int]]) -> None:
        seen, before = SeenLines(), set[int]()
        for chunk in chunks:
            found = seen.see(pl.Series([str(n) for n in chunk])).to_list()
            assert found == [n in before for n in chunk]
            before |= set(chunk)


class TestPile:
    @pytest.fixture(params=[0, 1 << 20], ids=["on disk", "in memory"])
    def pile(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Pile]:
        monkeypatch.setattr(pile_module, "IN_MEMORY_BYTES", request.param)
        with ThreadPoolExecutor(2) as workers:
            pile = Pile(lambda frame: frame, workers)
            pile.add(pl.DataFrame({"_file_id": ["a", "b"], "value": [1, 2]}))
            pile.add(pl.DataFrame({"_file_id": ["b"], "value": [3], "_extra_new": ["x"]}))
            yield pile

    def test_keeps_rows(self, pile: Pile) -> None:
        found = [pl.read_parquet(content) for content in pile.objects([], [])]
        assert pl.concat(found, how="diagonal")["value"].to_list() == [1, 2, 3]

    def test_leaves_out_what_refused_files_brought(self, pile: Pile) -> None:
        found = [pl.read_parquet(content) for content in pile.objects(["b"], ["_extra_new"])]
        assert [frame.to_dicts() for frame in found] == [[{"_file_id": "a", "value": 1}]]


@RANDOM
@given(st.text(st.sampled_from('"{}a,'), max_size=40))
def test_what_is_inside_json_strings_is_no_structure(text: str) -> None:
    inside = np.cumsum([character == '"' for character in text]) % 2 == 1
    expected = [n for n, c in enumerate(text) if c in "{}," and not inside[n]]
    assert structure_of(text.encode()).position.tolist() == expected


@RANDOM
@given(
    st.lists(st.text(st.sampled_from(" \t\r\ufeff"), max_size=2), max_size=6),
    st.lists(st.sampled_from(['{"a":1}', '{"a": "x y"}', "", "\ufeff"]), max_size=6),
    st.booleans(),
)
def test_records_of_lines_are_the_lines_without_what_is_around_them(
    around: list[str], documents: list[str], ended: bool
) -> None:
    edges = [*around, *[""] * len(documents)]
    lines = [f"{edge}{document}{edge}" for edge, document in zip(edges, documents, strict=False)]
    text = ('{"first":0}\n' + "\n".join(lines) + "\n" * ended).encode()
    plainly = [line.strip(" \t\r\ufeff").encode() for line in text.decode().split("\n")]
    found = [record for records in read_records(iter([text]), ()) for record in records]
    assert found == [line for line in plainly if line]
