"""JSON records of many files become one frame of text columns.

The counterpart of `frames.text_frame` for JSON: which value of a record belongs to which contract
column, what the contract does not name, and which records cannot be taken apart at all.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from retail_platform.contract import Drift, FeedContract, Kind, normalised_header
from retail_platform.gate.drift import MAX_EVOLVED_COLUMNS, evolved_name
from retail_platform.gate.frames import blank_to_null
from retail_platform.gate.json_records import Records
from retail_platform.gate.json_text import (
    MAX_DEPTH,
    Table,
    Values,
    all_valid,
    compact,
    depths,
    elements,
    is_valid,
    members,
    nested_table,
    structure_of,
    table,
    unescaped,
    with_quoted_constants,
)
from retail_platform.lake.schemas import EXTRA

UNKNOWN_KEYS = f"{EXTRA}keys"
"""Column with the unknown keys of each record: a list, because nobody knows how many there are."""

NO_OBJECT = b"{}"
"""Stands for a record that has no values, so that rows and records stay in step."""


@dataclass(frozen=True)
class JsonPiece:
    """Consecutive records of one file.

    Attributes:
        file: index of the file in its batch.
        records: at least one.
        first: number of the first record in the file, from 1.
    """

    file: int
    records: Records
    first: int


@dataclass
class _Step:
    """One step of the contract's paths.

    Attributes:
        spelled: keys by which records may call it, the preferred one first.
        columns: contract columns whose value is here.
        below: further steps.
    """

    spelled: list[str]
    columns: list[str] = field(default_factory=list)
    below: dict[str, "_Step"] = field(default_factory=dict)

    def keys(self, seen: Sequence[str], exact: frozenset[str]) -> list[str]:
        """Those of the keys seen that mean this step, the preferred one first.

        Args:
            exact: keys that are the very spelling of some step; they mean that one.
        """
        words = {normalised_header(word) for word in self.spelled}
        alike = [k for k in seen if k not in exact and normalised_header(k) in words - {""}]
        return [*(k for k in self.spelled if k in seen), *alike]


def steps_of(contract: FeedContract) -> dict[str, _Step]:
    """The contract's columns as a tree of keys."""
    root: dict[str, _Step] = {}
    for column in contract.columns:
        names = [column.header, column.name, *column.synonyms]
        level = root
        for spelled in [[key] for key in column.path] or [names]:
            step = level.setdefault(spelled[0], _Step([]))
            step.spelled += [word for word in spelled if word not in step.spelled]
            level = step.below
        step.columns.append(column.name)
    return root


def json_frame(
    pieces: Sequence[JsonPiece], contract: FeedContract
) -> tuple[pl.DataFrame, dict[int, list[str]]]:
    """Values of records as the contract's columns.

    Returns:
        `META` columns (country and batch day still null) and every contract column as text. Keys
        the contract does not know are there as columns under their `EXTRA` names if the feed's
        drift is `evolve`, and as `UNKNOWN_KEYS`, those of the row with a value, if it is
        `discard_value`. And by file these keys, if it is `freeze` or `evolve`.
    """
    drift = contract.ingestion.drift
    written = pl.concat([piece.records.written for piece in pieces])
    count = len(written)
    known = [p.records.objects for p in pieces if p.records.objects is not None]
    if len(known) == len(pieces):
        objects = b"\n".join(known) if len(known) > 1 else known[0]
        problems: dict[int, str] = {}
    else:
        objects, problems = _sound(written)
    found = _Found(count, contract)
    unknown, below = found.take_apart(objects, written[0].encode(), steps_of(contract))
    file = np.repeat([p.file for p in pieces], [len(p.records) for p in pieces])
    row = [np.arange(len(p.records)) + p.first for p in pieces]
    strangers: dict[int, list[str]] = {}
    if drift in (Drift.FREEZE, Drift.EVOLVE) and unknown.height:
        by_file = pl.DataFrame({"file": file[unknown["row"].to_numpy()], "key": unknown["key"]})
        for number, key in by_file.unique(maintain_order=True).rows():
            strangers.setdefault(number, []).append(key)
    nothing = _nothing(count)
    rescued = nothing
    carried: dict[str, pl.Series] = {}
    match drift:
        case Drift.RESCUE:
            rescued = _objects(pl.concat([unknown, below]), count)
        case Drift.EVOLVE:
            crowded = [n for n, keys in strangers.items() if len(keys) > MAX_EVOLVED_COLUMNS]
            carried, nameless = found.evolved(unknown, ~np.isin(file, crowded), contract)
            rescued = _objects(pl.concat([nameless, below]), count)
        case Drift.DISCARD_ROW:
            found.refuse_filled(unknown)
        case Drift.DISCARD_VALUE:
            carried = {UNKNOWN_KEYS: found.filled(unknown)}
    problems |= found.problems
    problem = nothing.scatter(list(problems), pl.Series(list(problems.values()), dtype=pl.String))
    frame = pl.DataFrame(
        {
            "_file": pl.Series(file, dtype=pl.UInt32),
            "_row": pl.Series(np.concatenate(row), dtype=pl.Int64),
            "_line": written,
            "_country": nothing,
            "_batch_date": _nothing(count, pl.Date()),
            "_problem": problem,
            "_rescued": rescued,
            **{c.name: found.columns.get(c.name, nothing) for c in contract.columns},
            **carried,
        }
    )
    return frame, strangers


def _nothing(count: int, dtype: pl.DataType | None = None) -> pl.Series:
    """A column of nulls, of text if nothing else is said."""
    return pl.repeat(None, count, dtype=dtype or pl.String(), eager=True)


def _sound(written: pl.Series) -> tuple[bytes, dict[int, str]]:
    """Objects that can be taken apart, one for each record, and what is wrong with the others."""
    problems: dict[int, str] = {}
    text = written.str.join("\n").item().encode()
    valid = all_valid(text, len(written))
    if valid and written.str.starts_with("{").all():
        return text, problems
    sound = [record.encode() for record in written]
    for number, record in enumerate(sound):
        repaired = record
        problem = None
        if not valid and not is_valid(record):
            repaired = with_quoted_constants(record)
            problem = None if is_valid(repaired) else _fault_of(repaired)
        if problem is None and repaired[:1] != b"{":
            problem = "row:not_an_object"
        if problem:
            problems[number] = problem
        sound[number] = NO_OBJECT if problem else repaired
    return b"\n".join(sound), problems


def _fault_of(record: bytes) -> str:
    """Why a record is not valid."""
    if structure_of(record).deepest > MAX_DEPTH:
        return "row:nested_too_deep"
    try:
        json.loads(record)
    except ValueError:
        return "row:not_json"
    # Half of a character that takes two: the only thing Python's reader lets pass.
    return "row:lone_surrogate"


def _meaning(seen: Sequence[str], steps: dict[str, _Step]) -> dict[str, str]:
    """Which of the keys seen mean which step."""
    exact = frozenset(k for step in steps.values() for k in step.spelled)
    return {k: name for name, step in steps.items() for k in step.keys(seen, exact)}


def _fits(alike: Table, steps: dict[str, _Step]) -> bool:
    """Whether each key means a step of its own, and nothing is left of objects inside others."""
    meant = _meaning(list(alike), steps)
    inside = {key: values for key, values in alike.items() if not isinstance(values, Values)}
    return len(set(meant.values())) == len(meant) and all(
        key in meant and not steps[meant[key]].columns and _is_all_named(below, steps[meant[key]])
        for key, below in inside.items()
    )


def _is_all_named(alike: Table, step: _Step) -> bool:
    """Whether columns name all that objects hold to which a step leads."""
    meant = _meaning(list(alike), step.below)
    return (
        len(meant) == len(alike)
        and all(
            step.below[meant[key]].columns
            for key, values in alike.items()
            if isinstance(values, Values)
        )
        and _fits(alike, step.below)
    )


class _Found:
    """What is found in records, in columns of their number.

    Attributes:
        columns: contract column -> text.
        problems: record -> why it cannot be taken.
    """

    def __init__(self, count: int, contract: FeedContract) -> None:
        self._count = count
        self._texts = {c.name for c in contract.columns if c.kind is Kind.TEXT}
        self.columns: dict[str, pl.Series] = {}
        self.problems: dict[int, str] = {}

    def take_apart(
        self, text: bytes, first: bytes, steps: dict[str, _Step]
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Read all columns.

        Args:
            text: the records, parted by white space.
            first: the first of them, unless it is broken.

        Returns:
            `row`, `key` and `value` of what no column names on the first level; and of the first
            level's keys in whose values something is left that no column names.
        """
        rows = np.arange(self._count, dtype=np.uint32)
        alike = nested_table(text, first)
        if alike and _fits(alike, steps):
            return self._level_of_table(alike, rows, steps)
        return self._level(text, rows, steps)

    def filled(self, unknown: pl.DataFrame) -> pl.Series:
        """Keys that have a value, by record; null for a record without any."""
        nothing = _nothing(self._count, pl.List(pl.String))
        with_value = unknown.filter(self._text(unknown).is_not_null())
        if with_value.is_empty():
            return nothing
        by_row = with_value.group_by("row", maintain_order=True).agg(pl.col("key").unique())
        rows = pl.DataFrame({"row": pl.int_range(self._count, dtype=pl.UInt32, eager=True)})
        return rows.join(by_row, on="row", how="left", maintain_order="left")["key"]

    def refuse_filled(self, unknown: pl.DataFrame) -> None:
        """Refuse records with a value under an unknown key."""
        if unknown.height:
            with_value = unknown.filter(self._text(unknown).is_not_null())
            self._note(with_value["row"].to_numpy(), "row:unknown_column")

    def evolved(
        self, unknown: pl.DataFrame, wanted: np.ndarray, contract: FeedContract
    ) -> tuple[dict[str, pl.Series], pl.DataFrame]:
        """Unknown keys as columns.

        Args:
            wanted: by record; the others are of files that bring too many and are refused.

        Returns:
            `EXTRA` name -> text; and what is left, of keys that make no name.
        """
        unknown = unknown.filter(wanted[unknown["row"].to_numpy()])
        names = {key: evolved_name(key, contract) for key in unknown["key"].unique()}
        named = unknown.with_columns(
            name=pl.col("key").replace_strict(names, return_dtype=pl.String),
            text=self._text(unknown),
        )
        nameless = named.filter(pl.col("name") == "").select(unknown.columns)
        columns = {}
        for (name,), mine in sorted(named.partition_by("name", as_dict=True).items()):
            if not name:
                continue
            again = ~mine["row"].is_first_distinct()
            if again.any():  # spelled in two ways by the same record
                self._note(mine.filter(again)["row"].to_numpy(), "row:duplicate_key")
                mine = mine.filter(~again)
            nothing = _nothing(self._count)
            columns[f"{EXTRA}{name}"] = nothing.scatter(mine["row"], mine["text"])
        return columns, nameless

    def _level(
        self, text: bytes, rows: np.ndarray, steps: dict[str, _Step]
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """One level of objects.

        Args:
            text: the objects, parted by line feeds.
            rows: the record each of them is from.

        Returns:
            `row`, `key` and `value` of what no step names, and of what is left below named keys.
        """
        found = structure_of(text)
        if found.deepest > MAX_DEPTH:
            self._note(rows[depths(found) > MAX_DEPTH], "row:nested_too_deep")
        alike = table(text, found)
        if alike and _fits(alike, steps):
            return self._level_of_table(alike, rows, steps)
        frame = members(text, found)
        frame = frame.with_columns(pl.Series("row", rows[frame["row"].to_numpy()]))
        meant = _meaning(frame["key"].unique(maintain_order=True).to_list(), steps)
        # All keys that mean a step are parted in one go, under its name.
        named = frame.with_columns(
            pl.col("key").replace_strict(meant, default=None, return_dtype=pl.Enum(list(steps)))
        )
        parts = {name: part for (name,), part in named.partition_by("key", as_dict=True).items()}
        unknown = frame.filter(named["key"].is_null()) if None in parts else frame.clear()
        twice = unknown.filter(~pl.struct("row", "key").is_first_distinct())
        self._note(twice["row"].to_numpy(), "row:duplicate_key")
        kept = [unknown.clear()]
        for name, step in steps.items():
            mine = parts.get(name)
            if mine is None:
                continue
            repeated = mine["row"] == mine["row"].shift()  # a record's keys are together
            if repeated.any():
                self._note(mine.filter(repeated)["row"].to_numpy(), "row:duplicate_key")
                mine = mine.unique("row", keep="first", maintain_order=True)
            for column in step.columns:
                self._fill(column, mine["row"], self._text(mine))
            if step.below:
                kept.append(self._below(mine.with_columns(key=pl.lit(name)), step))
        return unknown, pl.concat(kept)

    def _level_of_table(
        self,
        alike: Table,
        rows: np.ndarray,
        steps: dict[str, _Step],
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """One level of objects that have the same keys, where these fit the steps."""
        meant = _meaning(list(alike), steps)
        row = pl.Series("row", rows, dtype=pl.UInt32)

        def long(key: str, values: Values) -> pl.DataFrame:
            return pl.DataFrame([row, values.written.alias("value")]).select(
                "row", pl.lit(key).alias("key"), "value"
            )

        nothing = pl.DataFrame(schema={"row": pl.UInt32, "key": pl.String, "value": pl.String})
        strange = [
            long(key, values)
            for key, values in alike.items()
            if key not in meant and isinstance(values, Values)
        ]
        unknown = pl.concat([nothing, *strange]).sort("row", maintain_order=True)
        kept = [nothing]
        keys = {name: key for key, name in meant.items()}
        for name, step in steps.items():
            if name not in keys:
                continue
            values = alike[keys[name]]
            if not isinstance(values, Values):
                self._level_of_table(values, rows, step.below)
                continue
            if step.columns:
                if values.plain:
                    text = values.inner
                    if not self._texts.isdisjoint(step.columns):
                        # A copy, or these few bytes would keep the whole text in memory.
                        text = pl.Series(text.to_arrow(compat_level=pl.CompatLevel.oldest()))
                    if values.strings:
                        text = text.set(text == "", None)
                elif values.strings:
                    text = self._meant(values.inner, row)
                else:
                    text = self._text(long(name, values))
                for column in step.columns:
                    self._fill(column, row, text)
            if step.below:
                kept.append(self._below(long(name, values), step))
        return unknown, pl.concat(kept)

    def _below(self, mine: pl.DataFrame, step: _Step) -> pl.DataFrame:
        """Objects and arrays that steps lead into; returns what is left of them."""
        start = mine["value"].str.slice(0, 1)
        objects, arrays = mine.filter(start == "{"), mine.filter(start == "[")
        kept = [mine.filter(~start.is_in(["{", "["]) & (mine["value"] != "null"))]
        if not objects.is_empty():
            text = objects["value"].str.join("\n").item().encode()
            unknown, below = self._level(text, objects["row"].to_numpy(), step.below)
            left = _objects(pl.concat([unknown, below]), self._count)
            of_rows = objects.with_columns(value=left.gather(objects["row"]))
            kept.append(of_rows.filter(pl.col("value").is_not_null()))
        if not arrays.is_empty():
            self._of_arrays(arrays, step)
            kept.append(arrays)
        left_over = pl.concat(kept).select("row", "key", "value")
        return left_over.clear() if step.columns else left_over

    def _of_arrays(self, arrays: pl.DataFrame, step: _Step) -> None:
        """Elements that are named by their number."""
        found = elements(arrays["value"].str.join("\n").item().encode())
        found = found.with_columns(
            pl.Series("row", arrays["row"].to_numpy()[found["row"].to_numpy()]),
            number=pl.int_range(pl.len()).over("row"),
        )
        for key, below in step.below.items():
            if not key.isdecimal():
                continue
            mine = found.filter(pl.col("number") == int(key))
            for column in below.columns:
                self._fill(column, mine["row"], self._text(mine))
            if below.below and not mine.is_empty():
                self._below(mine.with_columns(key=pl.lit(key)), below)

    def _fill(self, column: str, rows: pl.Series, values: pl.Series) -> None:
        if len(rows) == self._count:  # rows ascend, so each is there
            self.columns[column] = values
            return
        before = self.columns.get(column, _nothing(self._count))
        self.columns[column] = before.scatter(rows, values)

    def _text(self, found: pl.DataFrame) -> pl.Series:
        """Values as text columns hold them: strings without quotes, anything else as written."""
        value = found["value"]
        start = value.str.slice(0, 1)
        if not start.is_in(['"', "{", "[", "n"]).any():
            return value
        strings, nested = start == '"', start.is_in(["{", "["])
        text = value.set(start == "n", None)
        if strings.any():
            inner = value.filter(strings).str.strip_prefix('"').str.strip_suffix('"')
            text = text.scatter(
                strings.arg_true(), self._meant(inner, found["row"].filter(strings))
            )
        if nested.any():
            text = text.scatter(nested.arg_true(), compact(value.filter(nested)))
        return text

    def _meant(self, strings: pl.Series, rows: pl.Series) -> pl.Series:
        """What strings say; a blank one says nothing, as in CSV."""
        meant = unescaped(strings)
        if meant is not strings:  # without escapes, no NUL
            nul = meant.str.contains("\0", literal=True)
            self._note(rows.filter(nul).to_numpy(), "row:nul_byte")
        return meant.to_frame("text").select(blank_to_null(pl.col("text"))).to_series()

    def _note(self, rows: np.ndarray, problem: str) -> None:
        for row in rows.tolist():
            self.problems.setdefault(row, problem)


def _objects(left: pl.DataFrame, count: int) -> pl.Series:
    """JSON objects of keys and values, by record; null for a record without any."""
    nothing = _nothing(count)
    if left.is_empty():
        return nothing
    spelled = {key: json.dumps(key, ensure_ascii=False) for key in left["key"].unique()}
    member = left["key"].replace_strict(spelled, return_dtype=pl.String) + ":"
    by_row = (
        left.select("row", member=member + compact(left["value"]))
        .group_by("row", maintain_order=True)
        .agg(pl.col("member").str.join(","))
    )
    return nothing.scatter(by_row["row"], "{" + by_row["member"] + "}")
