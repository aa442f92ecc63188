"""Reading marts: what both engines offer, and the one statement that is asked of them.

The embedded engine answers from its published versions and never opens the live warehouse for
that; Snowflake answers by Time Travel. Where each of them keeps what was is said in the modules
beside this one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Protocol

import polars as pl

from retail_platform.errors import ConfigurationError
from retail_platform.resources import warehouse_resource
from retail_platform.settings import Settings

DAY_COLUMNS = ("business_date", "batch_date", "valid_from")
"""What the day of a mart is called; the first that it has."""


@dataclass(frozen=True)
class MartFacts:
    """One mart in a list.

    Attributes:
        newest_day: None where it has no rows, or no day.
        published_at: when its rows were last written, UTC; None if that is not known.
        run_id: of the run that wrote them; empty if that is not known.
    """

    mart: str
    rows: int
    newest_day: date | None
    published_at: datetime | None
    run_id: str


class Marts(Protocol):
    """The marts of one environment."""

    @property
    def place(self) -> str:
        """Which environment it is, for a person."""
        ...

    def names(self) -> list[str]:
        """Which marts there are now."""
        ...

    def relation(self, mart: str, as_of: str = "") -> str:
        """What stands behind `from` to read a mart.

        Args:
            as_of: a moment or a run, see `moments`; empty for now.

        Raises:
            ConfigurationError: there is no such mart, or nothing is known of that moment.
        """
        ...

    def facts(self) -> list[MartFacts]:
        """All marts, by name."""
        ...

    def read(self, sql: str) -> pl.DataFrame:
        """Rows of a statement; columns in lower case."""
        ...


def open_marts(settings: Settings, environment: str = "") -> Marts:
    """The marts of an installation, or of another environment beside it.

    Args:
        environment: another RETAIL_HOME, or another database of the same Snowflake account.

    Raises:
        ConfigurationError: there is no such environment.
    """
    # Each engine is imported where it is used: Snowflake's client takes seconds.
    if settings.snowflake:
        from retail_platform.operate.marts.snowflake import SnowflakeMarts  # noqa: PLC0415

        return SnowflakeMarts(
            warehouse_resource(settings).open(), environment or settings.snowflake.database
        )
    from retail_platform.operate.marts.published import PublishedMarts  # noqa: PLC0415

    home = Path(environment).expanduser().resolve() if environment else settings.home
    if not home.is_dir():
        raise ConfigurationError(
            f"{home} is no folder; expected the RETAIL_HOME of another environment."
        )
    return PublishedMarts(home / settings.published_path.name, home / settings.warehouse_path.name)


def columns_of(marts: Marts, relation: str) -> dict[str, pl.DataType]:
    """Columns of a relation, in its order."""
    return dict(marts.read(f"select * from {relation} limit 0").schema)


def day_of(columns: Mapping[str, object]) -> str | None:
    """The column that holds the day, if there is one."""
    return next((name for name in DAY_COLUMNS if name in columns), None)


def restriction(
    columns: Mapping[str, object],
    countries: Sequence[str],
    first: date | None,
    last: date | None,
) -> str:
    """A `where` for countries and days, both inclusive; empty when all are wanted.

    Raises:
        ConfigurationError: days are asked of a mart that has none.
    """
    conditions = []
    if countries:
        conditions.append("country in ('" + "', '".join(countries) + "')")
    if first or last:
        day = day_of(columns)
        if day is None:
            raise ConfigurationError(f"--from, --to: it has none of {', '.join(DAY_COLUMNS)}.")
        conditions.append(f"{day} between date '{first or date.min}' and date '{last or date.max}'")
    return " where " + " and ".join(conditions) if conditions else ""


def selection(
    marts: Marts,
    relation: str,
    *,
    wanted: Sequence[str],
    countries: Sequence[str],
    days: tuple[date | None, date | None],
    limit: int | None,
) -> str:
    """The statement for some columns and rows of a mart, in the order of its days.

    Raises:
        ConfigurationError: a column is not there.
    """
    columns = columns_of(marts, relation)
    unknown = [name for name in wanted if name not in columns]
    if unknown:
        raise ConfigurationError(
            f"--columns: no {', '.join(unknown)}; it has {', '.join(columns)}."
        )
    order = [name for name in (day_of(columns), "country") if name in columns]
    order += [name for name in columns if name not in order]
    statement = f"select {', '.join(wanted or columns)} from {relation}"
    statement += restriction(columns, countries, *days)
    statement += " order by " + ", ".join(f"{name} nulls last" for name in order)
    return f"{statement} limit {limit}" if limit else statement


def no_such_mart(mart: str, names: Sequence[str], where: str) -> ConfigurationError:
    """The error for a name that is no mart."""
    there = ", ".join(names) or "none"
    return ConfigurationError(f"{mart!r} is no mart of {where}; there are: {there}.")
