"""The records of a JSON file: one document, an array, documents after each other, pages.

Which of them a file is shows in the file; `record_path` says where the records of a page are. Text
is read in bounded pieces, so an array of several gigabytes is no different from one of three
records. What is inside a record is not looked at here: a broken one is a record too, as long as it
can be told where it begins and ends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import methodcaller

import numpy as np
import polars as pl

from retail_platform.errors import FileRejected
from retail_platform.gate.json_text import (
    BLANK,
    all_valid,
    array_at,
    elements,
    is_valid,
    members,
    split_documents,
    structure_of,
    trimmed,
    with_quoted_constants,
)
from retail_platform.gate.text import lines_of, slices

LONGEST_RECORD = 32 << 20
"""Bytes. Text beyond this length that is one record, or an unfinished one, is not read on: it would
have to be in memory several times over, and no warehouse column takes it."""

_SAMPLE_LINES = 20
_BOM = b"\xef\xbb\xbf"
_WHITE = b" \t\r\n"
_OPENS_ARRAY = methodcaller("startswith", b"[")


@dataclass(frozen=True)
class Records:
    """Consecutive records of a file.

    Attributes:
        written: each as it is written, as text.
        objects: all of them in one text, parted by white space, if each is known to be a valid
            object; else None.
    """

    written: pl.Series
    objects: bytes | None = None

    @classmethod
    def of(cls, records: Sequence[bytes]) -> "Records":
        """Records of which nothing is known."""
        return cls(pl.Series(records, dtype=pl.Binary).cast(pl.String))

    def __len__(self) -> int:
        return len(self.written)

    def __iter__(self) -> Iterator[bytes]:
        return (record.encode() for record in self.written)


def read_records(pieces: Iterator[bytes], record_path: Sequence[str]) -> Iterator[Records]:
    """Records as they are written.

    Args:
        pieces: UTF-8 text of the file in pieces of any length.
        record_path: keys that lead from a document to its records.

    Raises:
        FileRejected: empty_file, not_json, broken_json, truncated_json, record_too_long,
            record_path_missing.
    """
    head = next((piece for piece in pieces if piece.strip(BLANK)), b"")
    first = head.lstrip(BLANK)[:40]
    if not first:
        raise FileRejected(
            "empty_file",
            "The file holds only blanks.",
            "Deliver the file again; a day without rows is an empty array: [].",
        )
    if first[:1] not in b"{[":
        raise FileRejected(
            "not_json",
            f"The file begins with {first.decode(errors='replace')!r}, which is neither an object "
            "nor an array.",
            "Deliver JSON, or correct `format` of the contract.",
            discreet="The file begins with neither an object nor an array.",
        )
    reader = _Reader(tuple(record_path))
    rest = chain([head], pieces)
    yield from reader.of_lines(rest) if _has_a_document_per_line(head) else reader.of_stream(rest)


def _has_a_document_per_line(head: bytes) -> bool:
    """Lines that stand for themselves: if one is broken, the next is not."""
    lines = [line for line in map(_stripped, head.split(b"\n", 2 * _SAMPLE_LINES)) if line]
    sample = lines[:_SAMPLE_LINES]
    return 2 * sum(line[:1] in b"{[" and is_valid(line) for line in sample) >= len(sample)


def _objects(text: bytes) -> Records | None:
    """Records of lines that are a valid object each; None if any is not."""
    lines = lines_of(text)
    start, end = trimmed(text, lines.start, lines.end)
    if not start.size or (np.frombuffer(text, np.uint8)[start] != ord("{")).any():
        return None
    return Records(slices(text, start, end), text) if all_valid(text, start.size) else None


def _stripped(line: bytes) -> bytes:
    return line.strip(_WHITE).removeprefix(_BOM).lstrip(_WHITE)


@dataclass
class _Open:
    """An array of records whose document does not end in the text at hand.

    Attributes:
        shell: the document so far, without the elements of the array.
        levels: brackets of the document that are open inside the array.
        count: elements so far.
        closed: whether the array has ended.
    """

    shell: bytes
    levels: int
    count: int = 0
    closed: bool = False


class _Reader:
    """Finds records and remembers where in the file it is, for messages."""

    def __init__(self, record_path: tuple[str, ...]) -> None:
        self._path = record_path
        self._byte = 0
        self._line = 1

    def _pass(self, text: bytes) -> None:
        self._byte += len(text)
        self._line += int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))

    def _place(self, before: bytes = b"") -> str:
        line = self._line + before.count(b"\n")
        return f"line {line} (byte {self._byte + len(before)})"

    # ------------------------------------------------------------------ a document per line

    def of_lines(self, pieces: Iterator[bytes]) -> Iterator[Records]:
        """Records of text in which every line is whole documents, or broken on its own."""
        rest = b""
        unfinished: str | None = None
        for piece in chain(pieces, [b""]):
            text = rest + piece
            cut = text.rfind(b"\n") + 1 if piece else len(text)
            text, rest = text[:cut], text[cut:]
            self._check_length(rest)
            found = None if self._path else _objects(text)
            lines = [] if found else [s for s in map(_stripped, text.split(b"\n")) if s]
            if found:
                unfinished = None
                yield found
            elif lines and all_valid(b"\n".join(lines), len(lines)):
                unfinished = None
                yield Records.of(self._records(lines))
            elif lines:
                records, unfinished = self._of_doubtful(text)
                yield Records.of(records)
            self._pass(text)
        if unfinished:
            raise self._truncated(unfinished)

    def _of_doubtful(self, text: bytes) -> tuple[list[bytes], str | None]:
        """Records of lines that are not all valid; and where the last one begins if it is cut."""
        records: list[bytes] = []
        unfinished = None
        before = 0
        for raw in _kept_lines(text):
            line = _stripped(raw)
            if line:
                unfinished = None
                if is_valid(line) or is_valid(with_quoted_constants(line)):
                    records += self._records([line])
                else:
                    split = split_documents(line)
                    if split.junk is None and split.rest is None:
                        records += self._records(split.documents)
                    elif self._path:
                        raise self._broken(self._place(text[:before]), "a page that is not valid")
                    else:
                        records.append(line)
                        unfinished = self._place(text[:before]) if split.rest is not None else None
            before += len(raw)
        return records, unfinished

    # ------------------------------------------------------------------ anything else

    def of_stream(self, pieces: Iterator[bytes]) -> Iterator[Records]:
        """Records of documents that may span lines, or share one."""
        text = b""
        array: _Open | None = None
        for piece in pieces:
            text += piece
            while True:
                records, text, array, again = self._step(text, array)
                if records:
                    yield Records.of(records)
                if not again:
                    break
            self._check_length(text)
        if array or text.strip(BLANK):
            raise self._truncated(self._place())

    def _step(
        self, text: bytes, array: _Open | None
    ) -> tuple[list[bytes], bytes, _Open | None, bool]:
        """Take off the beginning of the text what can be understood.

        Returns:
            Records, the rest of the text, the array that the rest is in, and whether there may be
            more in the rest.
        """
        if array is None:
            return self._documents(text)
        if array.closed:
            return self._shell_end(text, array)
        return self._elements(text, array)

    def _documents(self, text: bytes) -> tuple[list[bytes], bytes, _Open | None, bool]:
        split = split_documents(text)
        if split.junk is not None:
            seen = text[split.junk : split.junk + 40].decode(errors="replace")
            place = self._place(text[: split.junk])
            raise self._broken(place, f"{seen!r} between documents", "text between documents")
        records = self._records(split.documents)
        if split.rest is None:
            self._pass(text)
            return records, b"", None, False
        self._pass(text[: split.rest])
        text = text[split.rest :]
        opens: int | None = None
        if text[:1] == b"[":
            opens, levels = 0, 1
        elif self._path and (found := array_at(text, self._path)):
            opens, levels = found[0], len(self._path) + 1
        if opens is None:
            return records, text, None, False
        self._pass(text[: opens + 1])
        return records, text[opens + 1 :], _Open(text[: opens + 1], levels), True

    def _elements(self, text: bytes, array: _Open) -> tuple[list[bytes], bytes, _Open, bool]:
        """Elements of an array that began before the text."""
        found = structure_of(text)
        ends = np.flatnonzero(found.depth < 0)
        if ends.size:
            end = int(found.position[ends[0]])
            array.closed = True
        else:
            commas = np.flatnonzero((found.depth == 0) & (found.kind == ord(",")))
            if not commas.size:
                return [], text, array, False
            end = int(found.position[commas[-1]])
        # Brackets around them make a whole array of these elements.
        records = elements(b"[" + text[:end] + b"]")["value"].to_list()
        if not records and (array.count or not array.closed):
            records = [""]  # a comma, and nothing before or behind it
        array.count += len(records)
        rest = end if array.closed else end + 1
        self._pass(text[:rest])
        found_records = [record.encode() for record in records]
        if self._path and array.levels == 1:  # an array of pages
            found_records = self._records(found_records)
        return found_records, text[rest:], array, array.closed

    def _shell_end(
        self, text: bytes, array: _Open
    ) -> tuple[list[bytes], bytes, _Open | None, bool]:
        """What comes after an array, to the end of its document."""
        found = structure_of(text)
        ends = np.flatnonzero(found.depth == -array.levels)
        if not ends.size:
            return [], text, array, False
        end = int(found.position[ends[0]]) + 1
        if not is_valid(with_quoted_constants(array.shell + text[:end])):
            raise self._broken(self._place(text[:end]), "a document that is not valid")
        self._pass(text[:end])
        return [], text[end:], None, True

    # ------------------------------------------------------------------ from documents to records

    def _records(self, documents: list[bytes]) -> list[bytes]:
        """Records of whole documents."""
        if any(map(_OPENS_ARRAY, documents)):
            if any(document[:1] == b"[" and document[-1:] != b"]" for document in documents):
                raise self._broken(self._place(), "an array that a wrong bracket closes")
            nested = [_elements_of(d) if d[:1] == b"[" else [d] for d in documents]
            documents = list(chain.from_iterable(nested))
        if not self._path or not documents:
            return documents
        if all_valid(b"\n".join(documents), len(documents)):
            return self._of_pages(documents)
        found = (
            self._of_pages([page]) if is_valid(page) else self._of_doubtful_page(page)
            for page in documents
        )
        return list(chain.from_iterable(found))

    def _of_pages(self, pages: list[bytes]) -> list[bytes]:
        """Records of valid pages."""
        values = pages
        for number, step in enumerate(self._path):
            for value in values:
                if value[:1] != b"{":
                    raise self._no_records(number, value)
            objects = b"\n".join(values)
            frame = members(objects, structure_of(objects))
            named = frame.filter(pl.col("key") == step).unique("row", keep="last").sort("row")
            if named.height < len(values):
                there = set(named["row"].to_list())
                lacking = next(n for n in range(len(values)) if n not in there)
                keys = frame.filter(pl.col("row") == lacking)["key"].to_list()
                raise self._no_records(number, values[lacking], keys)
            values = [value.encode() for value in named["value"]]
        records: list[bytes] = []
        for value in values:
            if value[:1] == b"[":
                records += _elements_of(value)
            elif value[:1] == b"{":
                records.append(value)
            elif value != b"null":
                raise self._no_records(len(self._path), value)
        return records

    def _of_doubtful_page(self, page: bytes) -> list[bytes]:
        """Records of a page that is not valid, if that is a matter of its records."""
        found = array_at(page, self._path)
        if found and found[1] is not None:
            opens, closes = found[0], found[1]
            if is_valid(with_quoted_constants(page[: opens + 1] + page[closes:])):
                return _elements_of(page[opens : closes + 1])
        raise self._broken(self._place(), "a page that is not valid")

    # ------------------------------------------------------------------ refusals

    def _check_length(self, text: bytes) -> None:
        if len(text) > LONGEST_RECORD:
            raise FileRejected(
                "record_too_long",
                f"What begins in {self._place()} has no end within {LONGEST_RECORD >> 20} MB.",
                "Check for a quote or bracket that is never closed; a record must be shorter.",
            )

    def _truncated(self, place: str) -> FileRejected:
        return FileRejected(
            "truncated_json",
            f"The file ends inside a document; what begins in {place} is never closed.",
            "The transfer was cut off, or a quote or bracket is missing; deliver the file again.",
        )

    def _broken(self, place: str, seen: str, discreet: str = "") -> FileRejected:
        return FileRejected(
            "broken_json",
            f"There is {seen} in {place}.",
            "Correct the file and deliver it again.",
            discreet=f"There is {discreet or seen} in {place}.",
        )

    def _no_records(self, depth: int, value: bytes, keys: Sequence[str] = ()) -> FileRejected:
        where = ".".join(self._path[:depth]) or "the document"
        if value[:1] == b"{" and depth < len(self._path):
            seen = f"{where} has the keys {', '.join(keys) or '(none)'}"
        else:
            seen = f"{where} is {value[:40].decode(errors='replace')!r}"
        return FileRejected(
            "record_path_missing",
            f"There are no records at {'.'.join(self._path)}: {seen} (a document near "
            f"{self._place()}).",
            "Correct `record_path` of the contract, or the file.",
            discreet=f"There are no records at {'.'.join(self._path)} in a document near "
            f"{self._place()}.",
        )


def _kept_lines(text: bytes) -> list[bytes]:
    """Lines that end with a line feed, and with nothing else."""
    *lines, last = text.split(b"\n")
    return [*(line + b"\n" for line in lines), last]


def _elements_of(array: bytes) -> list[bytes]:
    return [value.encode() for value in elements(array)["value"]]
