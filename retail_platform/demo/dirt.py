"""Deliberate trouble for the synthetic feeds: which kinds, on which days, and how rows are spoiled.

Every plant sits on a day counted from the first one, so that a demonstration of ten days or more
shows all of them and a test knows where to look. Nothing clean is generated here.
"""

import gzip
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import polars as pl

Cell = tuple[str, int]
"""ISO country code and day index, 0 for the first day."""


@dataclass(frozen=True)
class Dirt:
    """Switches for the kinds of trouble, in the store transactions unless another feed is named.

    A plant whose day lies outside the generated range is left out; ten days hold everything.

    Attributes:
        late_rows: sales of yesterday and of three days ago arrive in a later day's file.
        beyond_window: sales nine days old arrive in a file, later than a seven-day lookback sees.
        late_file: the whole file of a day arrives in the second wave.
        correction: a file is delivered again in the second wave under the same name, with rows
            removed and an amount changed.
        identical: a file is delivered again in the second wave, byte for byte.
        duplicates: rows repeated exactly within their file.
        bad_rows: cells no contract accepts; those rows belong in quarantine.
        broken_file: the only file of a day is a gzip stream cut in half.
        unknown_file: a file whose name belongs to no feed.
        repeated_events: tills send some events again, some of them a day later, and all of them
            out of order.
        late_changes: a day's changes of the stock table arrive in the second wave.
    """

    late_rows: bool = False
    beyond_window: bool = False
    late_file: bool = False
    correction: bool = False
    identical: bool = False
    duplicates: bool = False
    bad_rows: bool = False
    broken_file: bool = False
    unknown_file: bool = False
    repeated_events: bool = False
    late_changes: bool = False

    @classmethod
    def none(cls) -> "Dirt":
        """Clean deliveries."""
        return cls()

    @classmethod
    def demo(cls) -> "Dirt":
        """Everything, in small numbers."""
        return cls(**{field.name: True for field in fields(cls)})


@dataclass(frozen=True)
class Move:
    """Sales that miss the file of their own day.

    Attributes:
        sold, delivered: day indexes of the sale and of the file it arrives in.
        rows: how many one-line invoices.
    """

    country: str
    sold: int
    delivered: int
    rows: int


@dataclass(frozen=True)
class BadCell:
    """One unacceptable value.

    Attributes:
        country, day: the file it goes into.
        column: header name.
        value: text written there; None leaves the field empty.
    """

    country: str
    day: int
    column: str
    value: str | None


@dataclass(frozen=True)
class Plants:
    """What is planted where; None and empty where nothing is."""

    moves: tuple[Move, ...] = ()
    bad_cells: tuple[BadCell, ...] = ()
    duplicates: Cell | None = None
    correction: Cell | None = None
    identical: Cell | None = None
    late_file: Cell | None = None
    broken_file: Cell | None = None
    unknown_file: Cell | None = None
    repeated_events: bool = False
    late_changes: Cell | None = None

    def special_cells(self) -> set[Cell]:
        """Files that differ from the plain rendering of their rows or are delivered otherwise."""
        single = {self.duplicates, self.correction, self.identical, self.late_file}
        bad = {(cell.country, cell.day) for cell in self.bad_cells}
        return {cell for cell in single | {self.broken_file} if cell is not None} | bad


_BAD_VALUES: tuple[tuple[str, str | None], ...] = (
    ("Quantity", "two"),
    ("Unit Price", "-5.0"),
    ("Date", "2025-13-45 10:00:00"),
    ("Currency", "XXX"),
    ("Customer ID", None),
)
DUPLICATE_ROWS = 4
CORRECTION_DROPS = 3


def place(dirt: Dirt, countries: tuple[str, ...], days: int) -> Plants:
    """Choose country and day of every plant.

    Each kind has a day of its own, so that no file suffers twice even with a single country.

    Args:
        dirt: kinds wanted.
        countries: ISO codes in the order of generation.
        days: length of the range.
    """

    def cell(wanted: bool, preferred: str, day: int) -> Cell | None:
        country = preferred if preferred in countries else countries[-1]
        return (country, day) if wanted and day < days else None

    moves = []
    if dirt.late_rows:
        moves = [Move(c, *when) for c in countries[:2] for when in ((4, 5, 3), (2, 5, 2))]
    if dirt.beyond_window:
        moves += [Move(countries[0], 0, 9, 2)]
    return Plants(
        moves=tuple(m for m in moves if m.delivered < days),
        bad_cells=tuple(
            BadCell(countries[i % len(countries)], 2, column, value)
            for i, (column, value) in enumerate(_BAD_VALUES)
            if dirt.bad_rows and days > 2
        ),
        duplicates=cell(dirt.duplicates, "DE", 1),
        correction=cell(dirt.correction, "FR", 3),
        identical=cell(dirt.identical, "PT", 8),
        late_file=cell(dirt.late_file, "GB", 6),
        broken_file=cell(dirt.broken_file, "ES", 7),
        unknown_file=cell(dirt.unknown_file, "FR", 7),
        repeated_events=dirt.repeated_events,
        late_changes=cell(dirt.late_changes, "FR", 5),
    )


def plain_sales(rows: pl.DataFrame, day: int) -> npt.NDArray[np.int64]:
    """Positions of sales of a day that can be touched without consequences elsewhere.

    Those are one-line invoices nobody returns: no other row repeats their total or refers to them.

    Args:
        rows: order lines with columns `plain` and `day`.
        day: business day.
    """
    return np.flatnonzero((rows["plain"] & (rows["day"] == day)).to_numpy())


def corrected(rows: pl.DataFrame, day: int) -> pl.DataFrame:
    """The second version of a file: some sales gone, one sold once more than first reported."""
    touched = plain_sales(rows, day)[: CORRECTION_DROPS + 1]
    if not touched.size:
        return rows
    position = pl.int_range(pl.len())
    changed, dropped = touched[0], touched[1:].tolist()
    # Rounding half a cent up as the tills do; amounts are whole cents.
    cents = (pl.col("half_units") * (pl.col("quantity") + 1) * (100 - pl.col("percent")) + 1) // 2
    hit = position == changed
    return rows.with_columns(
        quantity=pl.when(hit).then(pl.col("quantity") + 1).otherwise("quantity"),
        cents=pl.when(hit).then(cents).otherwise("cents"),
        total=pl.when(hit).then(cents).otherwise("total"),
    ).filter(~position.is_in(dropped))


def spoiled(lines: pl.DataFrame, position: int, column: str, value: str | None) -> pl.DataFrame:
    """Rendered lines with one cell overwritten; the column becomes text."""
    hit = pl.int_range(pl.len()) == position
    return lines.with_columns(
        pl.when(hit).then(pl.lit(value)).otherwise(pl.col(column).cast(pl.String)).alias(column)
    )


def truncated_gzip(data: bytes) -> bytes:
    """A compressed file whose transfer stopped half way."""
    packed = gzip.compress(data, mtime=0)
    return packed[: len(packed) // 2]
