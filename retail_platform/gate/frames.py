"""Rows of many files become one frame of text columns, with country and duplicates resolved.

Between `layout` (how one file is arranged) and `rows` (whether values are right): splitting lines,
naming columns, telling the country of a row, finding exact repetitions.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import polars as pl

from retail_platform.contract import FeedContract
from retail_platform.countries import ALL, CountryRegistry
from retail_platform.gate.layout import Layout, split_line
from retail_platform.gate.rows import META
from retail_platform.gate.text import Rows

_EXTRA = "_extra_"
_QUOTED = r'"(?:[^"]|"")*"'


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
        `META` columns (country and batch day still null) and every contract column as text.
    """
    lines: list[str] = []
    files: list[pl.Series] = []
    numbers: list[pl.Series] = []
    fields: list[list[str] | None] = []
    for piece in pieces:
        headed = layout.header is not None
        skip = 1 if headed and piece.rows.first == 1 else 0
        count = len(piece.rows.lines) - skip
        start = piece.rows.first + skip - (1 if headed else 0)
        lines += piece.rows.lines[skip:]
        files.append(pl.repeat(piece.file, count, dtype=pl.UInt32, eager=True))
        numbers.append(pl.int_range(start, start + count, dtype=pl.Int64, eager=True))
        fields.extend(piece.rows.fields[skip:] if piece.rows.fields else repeat(None, count))
    meta = pl.DataFrame(
        {
            "_file": pl.concat(files),
            "_row": pl.concat(numbers),
            "_line": pl.Series(lines, dtype=pl.String),
        }
    )
    meta = meta.with_columns(_problem=_structural_problem(meta, fields, layout))
    whole = meta["_problem"].is_null()
    values = _split(meta.filter(whole), fields, whole, layout)
    frame = pl.concat([values, meta.filter(~whole)], how="diagonal")
    return _arrange(frame, layout, contract)


def _structural_problem(
    meta: pl.DataFrame, fields: list[list[str] | None], layout: Layout
) -> pl.Series:
    line = pl.col("_line")
    width = len(layout.fields)
    if any(f is not None for f in fields):
        # Some files were split by the csv reader already.
        counts = pl.Series(
            [
                len(f if f is not None else split_line(text, layout.delimiter))
                for f, text in zip(fields, meta["_line"], strict=True)
            ],
            dtype=pl.Int64,
        )
        wrong = pl.lit(counts) != width
    else:
        bare = line
        if meta["_line"].str.contains('"', literal=True).any():
            bare = line.str.replace_all(_QUOTED, "")
        wrong = bare.str.count_matches(layout.delimiter, literal=True) != width - 1
    header = pl.lit(layout.header, dtype=pl.String)
    return meta.select(
        pl.when(line == header)
        .then(pl.lit("row:repeated_header"))
        .when(line.str.contains("\0", literal=True))
        .then(pl.lit("row:nul_byte"))
        .when(wrong)
        .then(pl.lit("row:wrong_field_count"))
        .alias("_problem")
    ).to_series()


def _split(
    meta: pl.DataFrame, fields: list[list[str] | None], whole: pl.Series, layout: Layout
) -> pl.DataFrame:
    names = [f"c{i}" for i in range(len(layout.fields))]
    schema: dict[str, pl.DataType] = dict.fromkeys(names, pl.String())
    if meta.is_empty():
        return pl.DataFrame(schema=schema).hstack(meta)
    if any(f is not None for f in fields):
        rows = [
            f if f is not None else split_line(text, layout.delimiter)
            for f, text in zip(
                (f for f, ok in zip(fields, whole, strict=True) if ok), meta["_line"], strict=True
            )
        ]
        values = pl.DataFrame(rows, schema=schema, orient="row")
    else:
        values = pl.read_csv(
            io.BytesIO("\n".join(meta["_line"]).encode()),
            has_header=False,
            separator=layout.delimiter,
            quote_char='"',
            schema=schema,
            encoding="utf8",
        )
    return values.hstack(meta)


def _arrange(frame: pl.DataFrame, layout: Layout, contract: FeedContract) -> pl.DataFrame:
    position = {name: f"c{i}" for i, name in enumerate(layout.fields)}
    columns = [
        _blank_to_null(pl.col(position[c.name])).alias(c.name)
        if c.name in position
        else pl.lit(None, dtype=pl.String).alias(c.name)
        for c in contract.columns
    ]
    extra = [
        _blank_to_null(pl.col(field)).alias(name.removeprefix(_EXTRA))
        for name, field in position.items()
        if name.startswith(_EXTRA)
    ]
    rescued = pl.struct(extra).struct.json_encode() if extra else pl.lit(None, dtype=pl.String)
    return frame.select(
        "_file",
        "_row",
        "_line",
        pl.lit(None, dtype=pl.String).alias("_country"),
        pl.lit(None, dtype=pl.Date).alias("_batch_date"),
        "_problem",
        pl.when(pl.col("_problem").is_null()).then(rescued).alias("_rescued"),
        *columns,
    )


def _blank_to_null(value: pl.Expr) -> pl.Expr:
    stripped = value.str.strip_chars()
    return pl.when(stripped.str.len_bytes() > 0).then(stripped)


def with_countries(
    frame: pl.DataFrame, files: pl.DataFrame, contract: FeedContract, registry: CountryRegistry
) -> pl.DataFrame:
    """Give every row its country and batch day.

    Args:
        files: ``_file``, ``token`` (ISO code or ALL from the file name), ``day``.

    Returns:
        The frame; where a row contradicts the file name or names no known country, `_problem` says
        so. A row whose country cannot be told travels with the first country of its file; the
        country stays null when a file has no row with a known one.
    """
    joined = frame.join(files, on="_file", how="left", maintain_order="left")
    token = pl.col("token")
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
    first = pl.when(shared).then(market).otherwise(token).drop_nulls().first().over("_file")
    return joined.with_columns(
        _problem=pl.coalesce("_problem", wrong),
        _country=pl.coalesce(pl.when(shared).then(market).otherwise(token), first),
        _batch_date=pl.col("day"),
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
    repeated = ~pl.struct("_file", "_line").is_first_distinct()
    marked = frame.with_columns(repeated.alias("_repeated"))
    if not marked["_repeated"].any():
        return frame, frame.select(META).clear()
    return (
        marked.filter(~pl.col("_repeated")).drop("_repeated"),
        marked.filter("_repeated").select(META),
    )
