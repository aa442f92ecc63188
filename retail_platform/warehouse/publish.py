"""The published copy: marts as Parquet files that readers open whenever they like.

DuckDB's own file can be open in one process only, so dashboards, notebooks and analysts read these
files, or `retail.duckdb` beside them, which holds nothing but views over the files. Each file is
replaced by an atomic rename; the work is in proportion to what changed, a month of a table.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import duckdb

from retail_platform.partitions import Slices
from retail_platform.warehouse.protocol import PublishedTable

CATALOGUE = "retail.duckdb"


def publish(
    connection: duckdb.DuckDBPyConnection,
    tables: Sequence[PublishedTable],
    slices: Slices,
    folder: Path,
) -> list[Path]:
    """Write the files that hold the slices anew.

    Args:
        connection: to the warehouse, which nobody writes meanwhile.

    Returns:
        Files written.
    """
    copies: list[tuple[str, Path]] = []
    for table in tables:
        target = folder / table.name
        target.mkdir(parents=True, exist_ok=True)
        rows = f"select * from marts.{table.name}"
        if not table.monthly:
            copies.append((rows, target / "all"))
            continue
        for first, after in _months(slices):
            month = f"{table.day} >= date '{first}' and {table.day} < date '{after}'"
            copies.append((f"{rows} where {month}", target / f"{first:%Y-%m}"))
    # A month is too little for DuckDB to share out among its threads.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        written = list(pool.map(lambda copy: _copy(connection.cursor(), *copy), copies))
    _catalogue(folder)
    return written


def _copy(connection: duckdb.DuckDBPyConnection, query: str, stem: Path) -> Path:
    # The name of an unfinished file does not end in .parquet, so no reader's pattern finds it.
    unfinished = stem.with_name(f".{stem.name}.{os.getpid()}")
    connection.execute(f"copy ({query}) to '{_quoted(unfinished)}' (format parquet)")
    final = stem.with_name(f"{stem.name}.parquet")
    unfinished.replace(final)
    return final


def _months(slices: Slices) -> Iterator[tuple[date, date]]:
    month = slices.first_day.replace(day=1)
    while month <= slices.last_day:
        following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
        yield month, following
        month = following


def _catalogue(folder: Path) -> None:
    """Views over the files, in a small database that is replaced when a mart is added."""
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and any(p.glob("*.parquet")))
    # Views name whole paths: in a folder that was moved they would show what it was a copy of.
    wanted = "\n".join([str(folder.resolve()), *names])
    listing = folder / ".tables"
    known = listing.read_text(encoding="utf-8") if listing.is_file() else ""
    if known == wanted and (folder / CATALOGUE).is_file():
        return
    unfinished = folder / f".{CATALOGUE}.{os.getpid()}"
    unfinished.unlink(missing_ok=True)
    with duckdb.connect(str(unfinished)) as connection:
        connection.execute("create schema marts")
        for name in names:
            pattern = _quoted(folder.resolve() / name / "*.parquet")
            connection.execute(
                f"create view marts.{name} as select * from read_parquet('{pattern}', "
                "hive_partitioning = false)"
            )
    unfinished.replace(folder / CATALOGUE)
    listing.write_text(wanted, encoding="utf-8")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
