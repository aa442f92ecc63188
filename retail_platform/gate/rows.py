"""Rows judged against the contract: typed values out, reasons for everything that is not right.

Text is cast here with a reason per cell; value rules run in pandera, whose failure cases become
reasons per row. Work is per frame, and a frame holds the rows of many files.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import product
from typing import TypeVar

import pandera.errors
import pandera.polars as pa
import polars as pl

from retail_platform.contract import Column, Drift, FeedContract, Kind
from retail_platform.countries import CountryRegistry
from retail_platform.errors import ConfigurationError
from retail_platform.gate.rules import RULES

Moment = TypeVar("Moment", pl.Expr, pl.Series)

META = ("_file", "_row", "_line", "_country", "_batch_date", "_problem", "_rescued")
"""Columns a frame carries beside the contract's: file index, row number, original text, country,
batch day, a reason found while splitting, what does not fit the contract as JSON."""

_OFFSET = r"(?:[Zz]|[+-]\d{2}:?\d{2})$"
_EARLIEST, _BEYOND = datetime(1900, 1, 1), datetime(2101, 1, 1)  # noqa: DTZ001 - as values are


@dataclass(frozen=True)
class Judged:
    """One frame, split.

    Attributes:
        good: meta columns and typed contract columns of rows without fault.
        bad: meta columns and `_reasons` (list of ``column:code``) of the others.
        discarded: `_file`, `_country`, `reason` of each value that good rows had to give up.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    discarded: pl.DataFrame


class RowJudge:
    """Applies one contract to frames."""

    def __init__(self, contract: FeedContract, registry: CountryRegistry) -> None:
        unknown = [r for r in contract.ingestion.row_rules if r not in RULES]
        if unknown:
            raise ConfigurationError(
                f"Contract {contract.name} names row rules {', '.join(unknown)}; "
                f"known are {', '.join(RULES)} (retail_platform/gate/rules.py)."
            )
        self._contract = contract
        self._registry = registry

    def judge(self, frame: pl.DataFrame) -> Judged:
        """Split a frame of text columns into typed good rows and bad rows with reasons.

        Args:
            frame: `META` columns and every contract column as text (null when blank).
        """
        typed, structural, of_values = self._faults(frame)
        discarded = _NO_DISCARDS
        if self._contract.ingestion.drift is Drift.DISCARD_VALUE:
            cells = self._discardable(of_values)
            if not cells.is_empty():
                frame, discarded = self._without(frame, cells)
                # As if the values had been left blank: rules across columns may hold now.
                typed, structural, of_values = self._faults(frame)
        found = (
            pl.concat([structural, of_values])
            .sort("index", "reason")
            .group_by("index", maintain_order=True)
            .agg(pl.col("reason").alias("_reasons"))
        )
        discarded = discarded.join(found, on="index", how="anti").drop("index")
        if found.is_empty():
            empty = (
                frame.select(META)
                .clear()
                .with_columns(pl.lit(None, dtype=pl.List(pl.String)).alias("_reasons"))
            )
            return Judged(typed, empty, discarded)
        numbered = frame.select(META).with_row_index("index")
        bad = numbered.join(found, on="index", how="inner", maintain_order="left").drop("index")
        good = typed.with_row_index("index").join(found, on="index", how="anti").drop("index")
        return Judged(good, bad, discarded)

    def _faults(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """The frame with typed columns, and `index`, `reason` of bad rows and of bad values."""
        columns = self._contract.columns
        typed = frame.with_columns(_likely_cast(c).alias(c.name) for c in columns)
        doubtful = [c for c in columns if _is_doubtful(c, frame, typed)]
        if doubtful:
            typed = typed.with_columns(frame.select(_cast(c).alias(c.name) for c in doubtful))
        # The order of `reasons` decides nothing; a row may have several.
        reasons = [
            pl.DataFrame({"index": pl.Series(index, dtype=pl.UInt32), "reason": reason})
            for reason, index in self._cast_failures(frame, typed)
        ]
        cast_failed = pl.concat(reasons) if reasons else _NO_REASONS
        by_rules = (
            self._rule_failures(typed)
            .join(cast_failed, on="index", how="left")
            .filter(
                # A value that could not be read is not also "missing".
                ~(
                    pl.col("check").eq("required")
                    & pl.col("reason").is_not_null()
                    & pl.col("reason").str.starts_with(pl.concat_str(pl.col("column"), pl.lit(":")))
                )
            )
            .select("index", pl.format("{}:{}", "column", "check").alias("reason"))
            .unique()
        )
        structural = (
            frame.with_row_index("index")
            .filter(pl.col("_problem").is_not_null())
            .select("index", pl.col("_problem").alias("reason"))
        )
        # A row that could not even be split has no values to judge.
        of_values = pl.concat([cast_failed, by_rules]).join(structural, on="index", how="anti")
        return typed, structural, of_values

    def _discardable(self, faults: pl.DataFrame) -> pl.DataFrame:
        """`index`, `column`, `code` of bad values that a row can do without."""
        names = {
            c.name
            for c in self._contract.columns
            if not (c.required or c.primary_key or c.name == self._contract.ingestion.business_date)
        }
        parts = pl.col("reason").str.split_exact(":", 1)
        return (
            faults.select(
                "index",
                parts.struct.field("field_0").alias("column"),
                parts.struct.field("field_1").alias("code"),
            )
            .filter(pl.col("column").is_in(names))
            .group_by("index", "column")
            .agg(pl.col("code").sort().str.join(","))
        )

    def _without(
        self, frame: pl.DataFrame, cells: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Blank some cells and say in `_rescued` what they held; also one line per cell."""
        index = pl.int_range(pl.len(), dtype=pl.UInt32)
        said = []
        for (name,), of_column in cells.group_by("column"):
            rows = of_column["index"]
            personal = self._contract.column_by_name[str(name)].classification == "pii"
            value = pl.lit(None, dtype=pl.String) if personal else frame[str(name)].gather(rows)
            said.append(of_column.with_columns(value=value))
            blank = pl.when(~index.is_in(rows.implode())).then(pl.col(str(name)))
            frame = frame.with_columns(blank.alias(str(name)))
        told = pl.struct("value", "code").struct.json_encode()
        log = (
            pl.concat(said)
            .sort("index", "column")
            .select("index", entry=pl.concat_str(pl.lit('"'), "column", pl.lit('":'), told))
            .group_by("index", maintain_order=True)
            .agg(pl.col("entry").str.join(","))
            .select("index", log=pl.concat_str(pl.lit("{"), "entry", pl.lit("}")))
        )
        numbered = frame.with_row_index("index")
        discarded = cells.join(numbered, on="index").select(
            "index",
            "_file",
            "_country",
            pl.format("{}:discarded_{}", "column", "code").alias("reason"),
        )
        rescued = numbered.join(log, on="index", how="left", maintain_order="left")["log"]
        return frame.with_columns(rescued.alias("_rescued")), discarded

    def _cast_failures(
        self, text: pl.DataFrame, typed: pl.DataFrame
    ) -> list[tuple[str, pl.Series]]:
        """A value that could not be read is a null more than there was."""
        return [
            (
                f"{c.name}:{_CAST_CODES[c.kind]}",
                (text[c.name].is_not_null() & typed[c.name].is_null()).arg_true(),
            )
            for c in self._contract.columns
            if _nulls_were_added(c, text, typed)
        ]

    def _rule_failures(self, typed: pl.DataFrame) -> pl.DataFrame:
        try:
            # Eager and lazy=True on purpose: a LazyFrame would be checked for its schema alone,
            # and without `lazy` pandera stops at the first failure.
            self.schema.validate(typed, lazy=True)
        except pandera.errors.SchemaErrors as exc:
            cases = exc.failure_cases
            whole_frame = cases.filter(pl.col("index").is_null())
            if not whole_frame.is_empty():
                detail = whole_frame.select("column", "check", "failure_case").rows()[:3]
                # Not chained: pandera's own message quotes values.
                raise AssertionError(
                    f"Contract {self._contract.name}: the cast frame does not have the types the "
                    f"schema expects: {detail}. This is a fault of the gate, not of the file."
                ) from None
            return cases.select(
                pl.col("index").cast(pl.UInt32),
                pl.col("column").fill_null("row"),
                pl.col("check").replace("not_nullable", "required"),
            )
        return _NO_FAILURES

    @cached_property
    def schema(self) -> pa.DataFrameSchema:
        """The contract as a pandera schema over cast frames."""
        checks = [
            _row_check(name, RULES[name](self._registry))
            for name in self._contract.ingestion.row_rules
        ]
        business_date = self._contract.ingestion.business_date
        if business_date:
            happened = pl.col(business_date).cast(pl.Date) <= pl.col("_batch_date")
            checks.append(_row_check("after_batch_day", happened))
        return pa.DataFrameSchema(
            {c.name: _pandera_column(c) for c in self._contract.columns}, checks=checks
        )


_NO_REASONS = pl.DataFrame(schema={"index": pl.UInt32, "reason": pl.String})
_NO_DISCARDS = pl.DataFrame(
    schema={"index": pl.UInt32, "_file": pl.UInt32, "_country": pl.String, "reason": pl.String}
)
_NO_FAILURES = pl.DataFrame(schema={"index": pl.UInt32, "column": pl.String, "check": pl.String})
_CAST_CODES = {
    Kind.BOOLEAN: "not_a_boolean",
    Kind.INTEGER: "not_an_integer",
    Kind.DECIMAL: "not_a_decimal",
    Kind.DOUBLE: "not_a_number",
    Kind.DATE: "not_a_date",
    Kind.TIMESTAMP: "not_a_timestamp",
}


def dtype_of(column: Column) -> pl.DataType:
    """Polars type of a cast column."""
    if column.kind is Kind.DECIMAL:
        return pl.Decimal(column.precision, column.scale)
    simple: dict[Kind, pl.DataType] = {
        Kind.TEXT: pl.String(),
        Kind.BOOLEAN: pl.Boolean(),
        Kind.INTEGER: pl.Int32() if column.sql_type == "integer" else pl.Int64(),
        Kind.DOUBLE: pl.Float64(),
        Kind.DATE: pl.Date(),
        Kind.TIMESTAMP: pl.Datetime("us"),
    }
    return simple[column.kind]


def _in_any_case(*words: str) -> list[str]:
    return ["".join(w) for word in words for w in product(*({c, c.upper()} for c in word))]


_TRUE = _in_any_case("true", "t", "yes", "y", "1")
_FALSE = _in_any_case("false", "f", "no", "n", "0")


def _nulls_were_added(column: Column, text: pl.DataFrame, typed: pl.DataFrame) -> bool:
    return typed[column.name].null_count() > text[column.name].null_count()


def _likely_cast(column: Column) -> pl.Expr:
    """What `_cast` makes of values written as most are; other values become null, or impossible."""
    text = _stripped(column)
    if column.kind is Kind.INTEGER:
        return text.cast(dtype_of(column), strict=False)
    if column.kind in (Kind.DATE, Kind.TIMESTAMP):
        return _moment(text, column, column.formats[0])
    return _cast(column)


def _is_doubtful(column: Column, text: pl.DataFrame, typed: pl.DataFrame) -> bool:
    """Whether `_cast` may say something else than `_likely_cast`."""
    if column.kind not in (Kind.INTEGER, Kind.DATE, Kind.TIMESTAMP):
        return False
    if _nulls_were_added(column, text, typed):
        return True
    return column.kind is not Kind.INTEGER and not _is_possible(typed[column.name]).all()


def _stripped(column: Column) -> pl.Expr:
    text = pl.col(column.name)
    return text.str.strip_chars(column.strip) if column.strip else text


def _cast(column: Column) -> pl.Expr:
    """Typed values of a text column, null where one cannot be read."""
    if column.kind is Kind.TEXT:
        return pl.col(column.name)
    text, dtype = _stripped(column), dtype_of(column)
    if column.kind is Kind.BOOLEAN:
        true = text.is_in(_TRUE)
        return pl.when(true | text.is_in(_FALSE)).then(true)
    if column.kind is Kind.INTEGER:
        # Spreadsheets and data frames write 1234.0 for an integer column that has blanks.
        return text.str.strip_suffix(".0").cast(dtype, strict=False)
    if column.kind is Kind.DECIMAL:
        # Checked as text first: a cast alone would round 80.555 to 80.56 and nobody would know.
        digits = column.precision - column.scale
        exact = text.str.contains(rf"^[+-]?\d{{1,{digits}}}(?:\.\d{{0,{column.scale}}}0*)?$")
        return pl.when(exact).then(text.cast(dtype, strict=False))
    if column.kind is Kind.DOUBLE:
        number = text.cast(dtype, strict=False)
        return pl.when(number.is_finite()).then(number)
    moments = [_moment(text, column, pattern) for pattern in column.formats]
    return pl.coalesce(pl.when(_is_possible(moment)).then(moment) for moment in moments)


def _is_possible(moment: Moment) -> Moment:
    """Whether days are none that only a slip of the pen makes."""
    return moment.is_between(_EARLIEST, _BEYOND, closed="left")


def _moment(text: pl.Expr, column: Column, pattern: str) -> pl.Expr:
    if column.kind is Kind.DATE:
        return text.str.to_date(pattern, strict=False)
    if "%z" in pattern and column.clock == "local":
        text = pl.when(text.str.contains(_OFFSET)).then(text.str.replace(_OFFSET, ""))
        pattern = pattern.replace("%z", "")
    elif "%z" in pattern:
        text = text.str.replace(r"[Zz]$", "+00:00")  # `%z` does not know it
    value = text.str.to_datetime(pattern, time_unit="us", strict=False, cache=False)
    if "%z" in pattern:
        value = value.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return value


def _pandera_column(column: Column) -> pa.Column:
    checks = []
    if column.pattern:
        checks.append(pa.Check.str_matches(column.pattern, error="pattern"))
    if column.allowed:
        checks.append(pa.Check.isin(list(column.allowed), error="not_allowed"))
    bound = float if column.kind is Kind.DOUBLE else int if column.kind is Kind.INTEGER else None
    if column.minimum is not None:
        low = bound(column.minimum) if bound else column.minimum
        checks.append(pa.Check.ge(low, error="too_small"))
    if column.maximum is not None:
        high = bound(column.maximum) if bound else column.maximum
        checks.append(pa.Check.le(high, error="too_large"))
    return pa.Column(dtype_of(column), checks=checks, nullable=not column.required)


def _row_check(code: str, holds: pl.Expr) -> pa.Check:
    expression = holds.fill_null(value=True)
    return pa.Check(lambda data: data.lazyframe.select(expression), name=code, error=code)
