"""Rows of many files become one frame of text columns, with country and duplicates resolved.

Between `layout` (how one file is arranged) and `rows` (whether values are right): splitting lines,
naming columns, telling the country of a row, finding exact repetitions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from retail_platform.contract import Drift, FeedContract
from retail_platform.countries import ALL, CountryRegistry
from retail_platform.gate.layout import Layout
from retail_platform.gate.rows import META
from retail_platform.gate.text import MAY_BEGIN_SPACE, MAY_END_SPACE, Lines, Rows, lines_of
from retail_platform.lake.schemas import EXTRA

_QUOTED = r'"(?:[^"]|"")*"'
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""Odd, and without a pattern: files get different patterns of bits."""


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one file.

    Attributes:
        file: index of the file in its batch.
        rows: as read, a header line included.
    """

    file: int
    rows: Rows


def text_frame(pieces: Sequence[Piece], layout: Layout, contract: FeedContract) -> pl.DataFrame:
    """Split rows into the contract's columns.

    Args:
        pieces: of files that share `layout` (their header lines may differ in spelling).

    Returns:
        `META` columns (country and batch day still null) and every contract column as text. Columns
        the contract does not know are there under their `EXTRA` names, if the feed's drift is
        `evolve` or `discard_value`.
    """
    plain = [p for p in pieces if p.rows.records is None]
    quoted = [p for p in pieces if p.rows.records is not None]
    frames = [
        *([_plain_frame(plain, layout)] if plain else []),
        *([_quoted_frame(quoted, layout)] if quoted else []),
    ]
    return _arrange(pl.concat(frames, how="diagonal"), layout, contract)


def _numbered(lines: pl.DataFrame, pieces: Sequence[Piece], layout: Layout) -> pl.DataFrame:
    """Give lines the file and the row they are from; header lines are left out.

    Args:
        lines: `piece` (index) and whatever belongs to a row, in order.
    """
    files = pl.DataFrame(
        {
            "piece": pl.int_range(len(pieces), dtype=pl.UInt32, eager=True),
            "_file": pl.Series([p.file for p in pieces], dtype=pl.UInt32),
            "first": pl.Series([p.rows.first for p in pieces], dtype=pl.Int64),
        }
    )
    number = pl.col("first") + pl.int_range(pl.len(), dtype=pl.Int64).over("piece")
    numbered = lines.join(files, on="piece", how="left", maintain_order="left")
    numbered = numbered.with_columns(_row=number - (1 if layout.header is not None else 0))
    return numbered.filter(pl.col("_row") > 0).drop("piece", "first")


def _plain_frame(pieces: Sequence[Piece], layout: Layout) -> pl.DataFrame:
    """Rows that are one line each."""
    texts = [p.rows.text for p in pieces]
    lines = lines_of(b"".join(texts)) if len(texts) > 1 else pieces[0].rows.lines
    piece = np.searchsorted(np.cumsum([len(text) for text in texts]), lines.start, side="right")
    line = lines.series
    count, blanks = _delimiters(lines, layout)
    if b'"' in lines.text:
        quotes = line.str.contains('"', literal=True)
        unquoted = line.filter(quotes).str.replace_all(_QUOTED, "")
        found = unquoted.str.count_matches(layout.delimiter, literal=True)
        count[quotes.to_numpy()] = found.to_numpy()
    frame = pl.DataFrame(
        {"piece": pl.Series(piece, dtype=pl.UInt32), "_line": line, "_width": count + 1}
    )
    meta = _numbered(frame, pieces, layout)
    problem = _problem(pl.col("_line"), pl.col("_width"), layout)
    meta = meta.with_columns(_problem=problem).drop("_width")
    whole = meta.filter(pl.col("_problem").is_null())
    # Those of a long file are most often all there is of its text, but for the header.
    text = lines.last(whole.height) if len(pieces) == 1 and whole.height == meta.height else None
    text = whole["_line"].str.join("\n").item().encode() if text is None else text
    values = _values(text, layout)
    values = values.with_columns(blank_to_null(pl.col(values.columns[n])) for n in blanks)
    if whole.height == meta.height:
        return whole.hstack(values)
    return pl.concat(
        [whole.hstack(values), meta.filter(~pl.col("_problem").is_null())], how="diagonal"
    )


def _delimiters(lines: Lines, layout: Layout) -> tuple[np.ndarray, Sequence[int]]:
    """What the bytes of lines tell before they are split.

    Returns:
        Delimiters of each line, those inside quotes included; and the fields that may have white
        space around their values, or nothing but that.
    """
    width = len(layout.fields)
    octets = np.frombuffer(lines.text, np.uint8)
    if not layout.delimiter.isascii():
        found = lines.series.str.count_matches(layout.delimiter, literal=True)
        return found.to_numpy().copy(), range(width)
    delimiter = np.flatnonzero(octets == ord(layout.delimiter))
    if b'"' not in lines.text and delimiter.size == lines.start.size * (width - 1):
        # If every line has its share of them, values stand in columns.
        table = delimiter.reshape(-1, width - 1)
        if (table[:, 0] >= lines.start).all() and (table[:, -1] < lines.end).all():
            at = _spaces_at_edges(octets, layout.delimiter)
            line = np.searchsorted(lines.end, at)
            fields = np.searchsorted(delimiter, at) - line * (width - 1)
            return np.full(lines.start.size, width - 1), np.unique(fields).tolist()
    first, beyond = np.searchsorted(delimiter, [lines.start, lines.end])
    return beyond - first, range(width)


def _spaces_at_edges(octets: np.ndarray, delimiter: str) -> np.ndarray:
    """Where values may begin or end with white space; blank lines count as values."""
    # As signed numbers, control characters, the space and all beyond ASCII: few, in most text.
    at = np.flatnonzero(octets.view(np.int8) <= ord(" "))
    kind = octets[at]
    begins, ends = at[MAY_BEGIN_SPACE[kind]], at[MAY_END_SPACE[kind]]
    edge = np.zeros(256, np.bool_)
    edge[[ord("\n"), ord(delimiter)]] = True
    found = np.concatenate([begins[edge[octets[begins - 1]]], ends[edge[octets[ends + 1]]]])
    return found[octets[found] != ord(delimiter)]


def _values(text: bytes, layout: Layout) -> pl.DataFrame:
    """Fields of lines that have as many as the layout."""
    schema: dict[str, pl.DataType] = dict.fromkeys(_fields(layout), pl.String())
    if not text:
        return pl.DataFrame(schema=schema)
    return pl.read_csv(
        text,
        has_header=False,
        separator=layout.delimiter,
        quote_char='"',
        schema=schema,
        encoding="utf8",
    )


def _quoted_frame(pieces: Sequence[Piece], layout: Layout) -> pl.DataFrame:
    """Rows that were split by the csv reader already."""
    names = _fields(layout)
    records = [(n, *record) for n, p in enumerate(pieces) for record in p.rows.records or []]
    nothing: list[str | None] = [None] * len(names)
    values = [fields if len(fields) == len(names) else nothing for _, _, fields in records]
    frame = pl.DataFrame(
        {
            "piece": pl.Series([number for number, _, _ in records], dtype=pl.UInt32),
            "_line": pl.Series([line for _, line, _ in records], dtype=pl.String),
            "_width": pl.Series([len(fields) for _, _, fields in records], dtype=pl.Int64),
        }
    ).hstack(pl.DataFrame(values, schema=dict.fromkeys(names, pl.String()), orient="row"))
    frame = _numbered(frame, pieces, layout)
    problem = _problem(pl.col("_line"), pl.col("_width"), layout)
    return (
        frame.with_columns(blank_to_null(pl.col(name)) for name in names)
        .with_columns(_problem=problem)
        .drop("_width")
    )


def _fields(layout: Layout) -> list[str]:
    return [f"c{i}" for i in range(len(layout.fields))]


def _problem(line: pl.Expr, width: pl.Expr, layout: Layout) -> pl.Expr:
    """What is wrong with a row as a whole; null for one that has all its fields."""
    return (
        pl.when(line == pl.lit(layout.header, dtype=pl.String))
        .then(pl.lit("row:repeated_header"))
        .when(line.str.contains("\0", literal=True))
        .then(pl.lit("row:nul_byte"))
        .when(width != len(layout.fields))
        .then(pl.lit("row:wrong_field_count"))
    )


def _arrange(frame: pl.DataFrame, layout: Layout, contract: FeedContract) -> pl.DataFrame:
    position = {name: f"c{i}" for i, name in enumerate(layout.fields)}
    columns = [
        pl.col(position[c.name]).alias(c.name)
        if c.name in position
        else pl.lit(None, dtype=pl.String).alias(c.name)
        for c in contract.columns
    ]
    problem, rescued, carried = _unknown_columns(position, contract)
    problem = pl.coalesce("_problem", problem)
    return frame.select(
        "_file",
        "_row",
        "_line",
        pl.lit(None, dtype=pl.String).alias("_country"),
        pl.lit(None, dtype=pl.Date).alias("_batch_date"),
        problem.alias("_problem"),
        pl.when(problem.is_null()).then(rescued).alias("_rescued"),
        *columns,
        *carried,
    )


def _unknown_columns(
    position: dict[str, str], contract: FeedContract
) -> tuple[pl.Expr, pl.Expr, list[pl.Expr]]:
    """What becomes of columns the contract does not know.

    Returns:
        A reason against the row, what is kept as JSON, and columns that stay in the frame.
    """
    nothing = pl.lit(None, dtype=pl.String)
    values = {name: pl.col(field) for name, field in position.items() if name.startswith(EXTRA)}
    named = [value.alias(name) for name, value in values.items()]
    if not values:
        return nothing, nothing, []
    match contract.ingestion.drift:
        case Drift.DISCARD_ROW:
            filled = pl.any_horizontal(value.is_not_null() for value in values.values())
            return pl.when(filled).then(pl.lit("row:unknown_column")), nothing, []
        case Drift.DISCARD_VALUE:
            return nothing, nothing, named
        case Drift.EVOLVE if EXTRA not in values:
            return nothing, nothing, named
        case Drift.EVOLVE:  # a column without a name cannot become one of RAW
            nameless = values.pop(EXTRA)
            rescued = pl.struct(nameless.alias("")).struct.json_encode()
            carried = [value.alias(name) for name, value in values.items()]
            return nothing, pl.when(nameless.is_not_null()).then(rescued), carried
    kept = [value.alias(name.removeprefix(EXTRA)) for name, value in values.items()]
    return nothing, pl.struct(kept).struct.json_encode(), []


def blank_to_null(value: pl.Expr) -> pl.Expr:
    """Text without white space around it; null if nothing else is there."""
    stripped = value.str.strip_chars()
    return pl.when(stripped.str.len_bytes() > 0).then(stripped)


def with_countries(
    frame: pl.DataFrame, files: pl.DataFrame, contract: FeedContract, registry: CountryRegistry
) -> pl.DataFrame:
    """Give every row its country and batch day.

    Args:
        files: ``_file``, ascending, ``_token`` (ISO code or ALL from the file name), ``_day``.

    Returns:
        The frame; where a row contradicts the file name or names no known country, `_problem` says
        so. A row whose country cannot be told travels with the first country of its file; the
        country stays null when a file has no row with a known one.
    """
    of_file = files.drop("_file")[files["_file"].search_sorted(frame["_file"])]
    joined = frame.hstack(of_file)
    token = pl.col("_token")
    if contract.ingestion.country_column is None or contract.scope.value == "global":
        found, told = token, pl.lit(value=True)
    else:
        found, told = _country_of_row(contract, registry)
    shared = token == ALL if contract.scope.value == "country" else pl.lit(value=False)
    # Numbers may belong to a country that this installation has no partitions for.
    market = pl.when(found.is_in([*registry.codes, ALL])).then(found)
    wrong = (
        pl.when(~told & market.is_null() & (shared | ~pl.lit(bool(contract.country_by_number))))
        .then(pl.lit("row:unknown_country"))
        .when(~shared & found.is_not_null() & (found != token))
        .then(pl.lit("row:country_mismatch"))
    )
    country = token
    if (files["_token"] == ALL).any():
        of_row = pl.when(shared).then(market).otherwise(token)
        country = pl.coalesce(of_row, of_row.drop_nulls().first().over("_file"))
    return joined.with_columns(
        _problem=pl.coalesce("_problem", wrong),
        _country=country,
        _batch_date=pl.col("_day"),
    ).select(frame.columns)


def _country_of_row(contract: FeedContract, registry: CountryRegistry) -> tuple[pl.Expr, pl.Expr]:
    """Country a row names, and whether it names none at all (blank: other rules report it)."""
    value = pl.col(contract.ingestion.country_column or "")
    if contract.country_by_number:
        number = value.str.strip_suffix(".0").cast(pl.Int64, strict=False)
        found = number.replace_strict(
            contract.country_by_number, default=None, return_dtype=pl.String
        )
        return found, value.is_null()
    word = (
        value.str.extract(contract.ingestion.country_pattern, 1)
        if (contract.ingestion.country_pattern)
        else value
    )
    found = word.str.to_uppercase().replace_strict(
        registry.code_by_alias, default=None, return_dtype=pl.String
    )
    # A word that does not even match the pattern is reported by the column's own pattern rule.
    return found, word.is_null()


def without_repetitions(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split off rows that repeat an earlier row of the same file word for word.

    Returns:
        Remaining rows, and the repetitions (`META` columns).
    """
    if not _may_repeat(frame):
        return frame, frame.select(META).clear()
    repeated = ~pl.struct("_file", "_line").is_first_distinct()
    marked = frame.with_columns(repeated.alias("_repeated"))
    if not marked["_repeated"].any():
        return frame, frame.select(META).clear()
    return (
        marked.filter(~pl.col("_repeated")).drop("_repeated"),
        marked.filter("_repeated").select(META),
    )


def _may_repeat(frame: pl.DataFrame) -> bool:
    """Whether two rows look alike: hashes are compared several times as fast as text."""
    hashes = frame["_line"].hash().to_numpy() ^ (frame["_file"].to_numpy() * _SPREAD)
    return pl.Series(hashes).n_unique() < frame.height
