"""Commands that read marts, now or as of earlier, and say what differs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from retail_platform.cli.output import Format, fact, print_json, table
from retail_platform.cli.running import country_codes
from retail_platform.errors import ConfigurationError
from retail_platform.operate.marts.difference import Difference, compare, declared_key
from retail_platform.operate.marts.moments import spell
from retail_platform.operate.marts.reading import (
    Marts,
    columns_of,
    open_marts,
    restriction,
    selection,
)
from retail_platform.resources import dbt_resource
from retail_platform.settings import Settings

Days = tuple[date | None, date | None]


def list_marts(settings: Settings, *, as_json: bool) -> None:
    """Print which marts there are, and how fresh they are."""
    marts = open_marts(settings)
    facts = marts.facts()
    if as_json:
        print_json([asdict(mart) for mart in facts])
        return
    now = datetime.now(UTC)
    table(
        f"Marts of {marts.place}",
        ["mart", "rows", "newest day", "published", "age", "run"],
        [
            (
                m.mart,
                m.rows,
                str(m.newest_day or ""),
                spell(m.published_at) if m.published_at else "",
                str(now - m.published_at).split(".")[0] if m.published_at else "",
                m.run_id[:8],
            )
            for m in facts
        ],
    )


def show_mart(
    settings: Settings,
    mart: str,
    as_of: str,
    *,
    columns: str,
    countries: str,
    days: Days,
    limit: int | None,
    form: Format,
    output: Path | None,
) -> None:
    """Print rows of a mart, or write them to a file.

    Raises:
        ConfigurationError: there is no such mart, column, country or moment; or Parquet without a
            file.
    """
    if form is Format.PARQUET and output is None:
        raise ConfigurationError("--format parquet needs --output: it is nothing for a terminal.")
    marts = open_marts(settings)
    statement = selection(
        marts,
        marts.relation(mart, as_of),
        wanted=[name.strip() for name in columns.split(",") if name.strip()],
        countries=_countries(settings, countries),
        days=days,
        limit=limit,
    )
    rows = marts.read(statement)
    _write(rows, mart, form, output)
    if output:
        fact(f"{rows.height:,} rows in {output}")


def _write(rows: pl.DataFrame, title: str, form: Format, output: Path | None) -> None:
    if form is Format.TABLE and output is None:
        values = [tuple("" if v is None else v for v in row) for row in rows.rows()]
        table(title, rows.columns, values)
    elif form is Format.JSON and output is None:
        print_json(rows.to_dicts())
    elif form is Format.JSON:
        text = json.dumps(rows.to_dicts(), indent=2, ensure_ascii=False, default=str)
        _into(output).write_text(text + "\n", encoding="utf-8")
    elif form is Format.PARQUET:
        rows.write_parquet(_into(output))
    elif output is None:
        sys.stdout.write(rows.write_csv())
    else:
        rows.write_csv(_into(output))


def _into(output: Path | None) -> Path:
    if output is None:
        raise TypeError("a file was expected")
    return output


def diff_mart(
    settings: Settings,
    mart: str,
    *,
    moments: tuple[str, str],
    environments: tuple[str, str],
    countries: str,
    days: Days,
    key: str,
    as_json: bool,
) -> bool:
    """Print what differs between two states of a mart.

    Args:
        moments, environments: of the state before and of the one after.

    Returns:
        Whether they are equal.

    Raises:
        ConfigurationError: both are the same state, or one of them is not known.
    """
    if moments[0] == moments[1] and environments[0] == environments[1]:
        raise ConfigurationError(
            "Both sides are the same; expected --from-as-of, --to-as-of, --from-env or --to-env."
        )
    sides = [open_marts(settings, environment) for environment in environments]
    before, after = (side.relation(mart, at) for side, at in zip(sides, moments, strict=True))
    where = restriction(
        columns_of(sides[1], after), _countries(settings, countries), days[0], days[1]
    )
    columns = tuple(name.strip() for name in key.split(",") if name.strip())
    if not columns:
        columns = declared_key(dbt_resource(settings).project().manifest, mart)
    found = compare(sides[1], mart, before, after, columns, where)
    if as_json:
        print_json({"equal": found.equal, **asdict(found)})
    else:
        _show(found, sides, moments)
    return found.equal


def _show(found: Difference, sides: Sequence[Marts], moments: tuple[str, str]) -> None:
    before, after = (
        f"{side.place}, {at or 'now'}" for side, at in zip(sides, moments, strict=True)
    )
    fact(f"{found.mart}: from {before} to {after}; rows by {', '.join(found.key)}")
    rows = found.rows
    fact(
        f"{rows['added']:,} rows added, {rows['removed']:,} removed, {rows['changed']:,} changed, "
        f"{rows['equal']:,} equal",
    )
    for word, names in (("lacks", found.missing_columns), ("has besides", found.new_columns)):
        if names:
            fact(f"The later one {word}: {', '.join(names)}")
    for word, keys in (("added", found.added), ("removed", found.removed)):
        for one in keys:
            fact(f"  {word}: {one}")
    if found.changed_cells:
        table(
            "Changed cells",
            ["column", "cells", "for example", "before", "after"],
            [
                (name, count, cell.row, str(cell.before or ""), str(cell.after or ""))
                for name, count in found.changed_cells.items()
                for cell in found.examples[name]
            ],
        )
    if found.totals and not found.equal:
        table(
            "Totals",
            ["column", "currency", "before", "after", "difference"],
            [(t.column, t.currency, t.before, t.after, t.after - t.before) for t in found.totals],
        )


def _countries(settings: Settings, text: str) -> tuple[str, ...]:
    """Those a person named; none when all are wanted, whatever the registry knows."""
    return country_codes(settings, text) if text.strip() else ()
