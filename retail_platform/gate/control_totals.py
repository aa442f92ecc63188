"""What a sender states about a delivery, and whether it is what was read.

Sidecars and trailers are read here and rows are added up. Which file belongs to which is decided
by `lake.inbox`, and what becomes of a file that differs by the gate.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import polars as pl

from retail_platform.contract import ControlTotals, FeedContract, normalised_header
from retail_platform.errors import FileRejected
from retail_platform.gate.layout import split_line
from retail_platform.gate.text import Rows, fetch
from retail_platform.lake.store import Lake, LakeObject
from retail_platform.protection.keys import DataKeys

LARGEST_CONTROL_FILE = 64 << 10
"""Bytes; a file that states a handful of totals has some hundred."""

_NUMBER = re.compile(r"[+-]?\d{1,26}(?:\.\d*)?", re.ASCII)
_SUMMED = r"^[+-]?\d{1,20}(?:\.\d{0,12}0*)?$"
_SUM = pl.Decimal(38, 12)
"""Sums are exact: values beyond it count as unreadable, and do not round."""


@dataclass(frozen=True)
class Stated:
    """What a sender states.

    Attributes:
        totals: ``rows``, ``sum(<column>)``, ``sha256`` -> as text, the same for the same number.
        where: what states it, for messages.
        checksum: SHA-256 of the sidecar; empty for a trailer.
    """

    totals: Mapping[str, str]
    where: str
    checksum: str = ""


def read_sidecar(
    lake: Lake, controls: Sequence[LakeObject], declared: ControlTotals, keys: DataKeys | None
) -> Stated | None:
    """What the control file beside a data file states; None when there is none.

    Raises:
        FileRejected: two_control_files, unreadable_control_file.
        FileNotFoundError: it is gone again.
    """
    if not controls:
        return None
    names = [obj.path.rsplit("/", 1)[-1] for obj in controls]
    if len(controls) > 1:
        raise FileRejected(
            "two_control_files",
            f"Beside the file lie {' and '.join(names)}; which of them counts is not known.",
            "Delete the one that does not count.",
        )
    where = f"the control file {names[0]}"
    if controls[0].size > LARGEST_CONTROL_FILE:
        raise _unreadable(where, declared, f"it has {controls[0].size} bytes")
    try:
        text = fetch(lake, controls[0], "latin-1", keys)
    except FileRejected as error:
        raise _unreadable(where, declared, error.seen, error.discreet) from error
    try:
        content = next(text.pieces(), b"").decode()
    finally:
        text.close()
    pairs = _members(content) if content.lstrip()[:1] in ("{", "[") else _assignments(content)
    if pairs is None:
        seen = f"it begins with {content.strip()[:40]!r}"
        raise _unreadable(where, declared, seen, "it holds something else")
    values: dict[str, str] = {}
    for key, value in pairs:
        if values.setdefault(normalised_header(key), value) != value:
            raise _unreadable(where, declared, f"it states {key!r} twice", "it states a key twice")
    stated = {key: values.get(normalised_header(key)) for key in declared.states}
    return Stated(_totals(stated, declared, where), where, text.checksum)


def _members(content: str) -> list[tuple[str, str]] | None:
    """Members of a JSON object, numbers as they are written."""
    try:
        # As a string every number is exact; a document that is no object is no list of pairs.
        found = json.loads(content, object_pairs_hook=tuple, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, tuple):
        return None
    return [(key, value) for key, value in found if isinstance(value, str)]


def _assignments(content: str) -> list[tuple[str, str]] | None:
    """Lines ``key=value``; blank lines and those that begin with # say nothing."""
    lines = [line for line in map(str.strip, content.splitlines()) if line and line[0] != "#"]
    pairs = [line.partition("=") for line in lines]
    if not pairs or not all(sign for _, sign, _ in pairs):
        return None
    return [(key.strip(), value.strip().strip('"')) for key, _, value in pairs]


def _totals(
    stated: Mapping[str, str | None], declared: ControlTotals, where: str
) -> dict[str, str]:
    totals = {}
    for key, what in declared.states.items():
        text = (stated[key] or "").strip()
        if not text:
            raise _unreadable(where, declared, f"it does not state {key}")
        if what == "sha256":
            usable = re.fullmatch("[0-9a-fA-F]{64}", text)
        else:
            usable = (_NUMBER if what != "rows" else re.compile(r"\d{1,18}")).fullmatch(text)
        if not usable:
            raise _unreadable(
                where,
                declared,
                f"it states {text[:80]!r} as {key}, which is no {_KIND.get(what, 'number')}",
                f"what it states as {key} is no {_KIND.get(what, 'number')}",
            )
        totals[what] = text.lower() if what == "sha256" else _plain(Decimal(text))
    return totals


_KIND = {"rows": "whole number", "sha256": "SHA-256 in hexadecimal digits"}


def _plain(number: Decimal) -> str:
    """The same text for the same number."""
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _unreadable(where: str, declared: ControlTotals, seen: str, discreet: str = "") -> FileRejected:
    if declared.kind == "trailer":
        form = f"{declared.marker} and behind it {', '.join(declared.states)}, with a delimiter"
    else:
        keys = ", ".join(declared.states)
        form = f"{keys} as lines key=value or as members of one JSON object"
    beginning = where[:1].upper() + where[1:]
    return FileRejected(
        f"unreadable_{'trailer' if declared.kind == 'trailer' else 'control_file'}",
        f"{beginning} cannot be understood: {seen}.",
        f"Expected is {form}; deliver it again.",
        discreet=f"{beginning} cannot be understood: {discreet or seen}.",
    )


class Trailer:
    """The last line of a CSV file that is no row."""

    def __init__(self, declared: ControlTotals, *, required: bool) -> None:
        self._declared = declared
        self._required = required
        marker = re.escape(declared.marker)
        line = rf'^ *(?:{marker}|"{marker}") *(?:$|(?P<by>[,;|\t]))'
        self._line = re.compile(line)
        self._line_in_bytes = re.compile(line.encode(), re.MULTILINE)
        self._found: str | None = None

    def without(self, head: Iterable[str]) -> list[str]:
        """First lines of a file, those left out that are trailers."""
        return [line for line in head if not self._line.match(line)]

    def rows(self, rows: Iterator[Rows]) -> Iterator[Rows]:
        """Rows of a file without its trailer.

        Raises:
            FileRejected: trailer_missing, trailer_misplaced.
        """
        for chunk in rows:
            before = self._of_records(chunk) if chunk.records is not None else self._of_text(chunk)
            if chunk.first == 1 or before.records or before.text.strip():
                yield before
        if self._found is None and self._required:
            raise FileRejected(
                "trailer_missing",
                f"The last line is no trailer: none begins with {self._declared.marker}.",
                "The file may have been cut off; deliver it again, with its trailer.",
            )

    def stated(self) -> Stated | None:
        """What the trailer states, after all rows were read; None when there is none.

        Raises:
            FileRejected: unreadable_trailer.
        """
        if self._found is None:
            return None
        match = self._line.match(self._found)
        fields = split_line(self._found.strip(), match["by"] or ",") if match else []
        values: dict[str, str | None] = dict.fromkeys(self._declared.states)
        values |= dict(zip(self._declared.states, fields[1:], strict=False))
        where = "the trailer"
        return Stated(_totals(values, self._declared, where), where)

    def _of_text(self, chunk: Rows) -> Rows:
        if self._found is not None and chunk.text.strip():
            raise self._misplaced()
        if self._declared.marker.encode() not in chunk.text:
            return chunk
        found = list(self._line_in_bytes.finditer(chunk.text))
        if not found:
            return chunk
        start = found[0].start()
        line, _, behind = chunk.text[start:].partition(b"\n")
        if behind.strip():
            raise self._misplaced(len(found))
        self._found = line.decode()
        return replace(chunk, text=chunk.text[:start])

    def _of_records(self, chunk: Rows) -> Rows:
        records = chunk.records or []
        found = [number for number, (line, _) in enumerate(records) if self._line.match(line)]
        if (self._found is not None and records) or (found and found[0] + 1 < len(records)):
            raise self._misplaced(len(found))
        if not found:
            return chunk
        self._found = records[-1][0]
        return replace(chunk, records=records[:-1])

    def _misplaced(self, count: int = 1) -> FileRejected:
        more = "more than one trailer" if count > 1 else "rows behind its trailer"
        return FileRejected(
            "trailer_misplaced",
            f"The file has {more} (a line that begins with {self._declared.marker}).",
            "It may be two files in one; deliver it with one trailer, as its last line.",
        )


@dataclass
class _Measured:
    rows: int = 0
    sums: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    unreadable: dict[str, int] = field(default_factory=lambda: defaultdict(int))


class Meter:
    """Adds up all rows of files, good and bad, as they were delivered."""

    def __init__(self, contract: FeedContract) -> None:
        declared = contract.ingestion.control_totals
        self._declared = declared
        self._columns = [contract.column_by_name[n] for n in declared.summed] if declared else []
        self._files: dict[int, _Measured] = defaultdict(_Measured)

    def add(self, frame: pl.DataFrame) -> None:
        """Measure rows.

        Args:
            frame: `META` columns and every contract column as text.
        """
        if self._declared is None:
            return
        sums, unreadable = [], []
        # Of a row that cannot be split nobody knows what it would add; blank values add nothing.
        lost = pl.col("_problem").is_not_null() & (pl.col("_problem") != "row:unknown_column")
        for column in self._columns:
            text = pl.col(column.name).str.strip_chars(column.strip or None)
            exact = text.str.contains(_SUMMED)
            value = pl.when(exact).then(text).cast(_SUM, strict=False)
            sums.append(value.sum().alias(f"sum {column.name}"))
            unread = value.is_null() & (text.is_not_null() | lost)
            unreadable.append(unread.sum().alias(f"unreadable {column.name}"))
        for found in (
            frame.group_by("_file").agg(pl.len(), *sums, *unreadable).iter_rows(named=True)
        ):
            file = self._files[found["_file"]]
            file.rows += found["len"]
            for column in self._columns:
                file.sums[column.name] += found[f"sum {column.name}"]
                file.unreadable[column.name] += found[f"unreadable {column.name}"]

    def totals(self, number: int) -> dict[str, str]:
        """Rows and sums of a file, as `Stated.totals`."""
        file = self._files[number]
        sums = {f"sum({c.name})": _plain(file.sums[c.name]) for c in self._columns}
        return {"rows": str(file.rows), **sums}

    def difference(self, number: int, checksum: str, stated: Stated | None) -> FileRejected | None:
        """Why a file is not what its sender states; None when it is, or nothing is stated."""
        if stated is None:
            return None
        found = {**self.totals(number), "sha256": checksum}
        unread = {
            f"sum({n})": count for n, count in self._files[number].unreadable.items() if count
        }
        differences = []
        for what, total in stated.totals.items():
            if total != found[what] or what in unread:
                more = (
                    f" and {unread[what]} rows whose value is no number" if what in unread else ""
                )
                differences.append(f"{what}: stated {total}, read {found[what]}{more}")
        if not differences:
            return None
        return FileRejected(
            "control_totals_differ",
            f"What was read is not what {stated.where} states: {'; '.join(differences)}.",
            "Rows were lost, doubled or changed on the way: have the sender deliver the file and "
            "its totals again, or correct whichever of them is wrong.",
        )


@dataclass(frozen=True)
class Restated:
    """Control totals the platform states itself, of a file that somebody corrected.

    Attributes:
        totals: as `Meter.totals`.
    """

    declared: ControlTotals
    totals: Mapping[str, str]

    @property
    def trailer(self) -> str:
        """The last line of a CSV file."""
        stated = (self.totals[what] for what in self.declared.states.values())
        return "|".join([self.declared.marker, *stated])

    def sidecar(self, content: bytes) -> str:
        """Text of a control file.

        Args:
            content: of the data file.
        """
        found = {**self.totals, "sha256": hashlib.sha256(content).hexdigest()}
        return "".join(f"{key}={found[what]}\n" for key, what in self.declared.states.items())
