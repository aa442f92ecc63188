"""The published copy: marts as Parquet files that readers open whenever they like.

DuckDB's own file can be open in one process only, so dashboards, notebooks and analysts open
`retail.duckdb` beside these files, which holds nothing but views over them. Each publication is a
version: new files under new names, then a new `retail.duckdb` by an atomic rename. Who has it open
goes on seeing the version that was there when it was opened, whole, for as long as versions are
kept. The work is in proportion to what changed, a month of a table.
"""

import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from retail_platform.partitions import Slices
from retail_platform.warehouse.protocol import PublishedTable
from retail_platform.warehouse.versions import USUAL, Retention, Version, Versions
from retail_platform.whole_files import write_whole

CATALOGUE = "retail.duckdb"


_SHOWS = ".shows"
"""Which folder and version the catalogue was last written for."""


def publish(
    connection: duckdb.DuckDBPyConnection,
    tables: Sequence[PublishedTable],
    slices: Slices,
    folder: Path,
    run_id: str = "",
    retention: Retention = USUAL,
) -> list[Path]:
    """Write the files that hold the slices anew, and show them to readers as one version.

    Args:
        connection: to the warehouse, which nobody writes meanwhile.
        run_id: the version can be asked for by it.
        retention: of older versions.

    Returns:
        Files written; rows that are what they were have their file already.
    """
    copies: list[tuple[PublishedTable, str, str]] = []
    for table in tables:
        (folder / table.name).mkdir(parents=True, exist_ok=True)
        rows = f"select * from marts.{table.name}"
        if not table.monthly:
            copies.append((table, "all", rows))
            continue
        for first, after in _months(slices):
            month = f"{table.day} >= date '{first}' and {table.day} < date '{after}'"
            copies.append((table, f"{first:%Y-%m}", f"{rows} where {month}"))

    def copy(table: PublishedTable, slot: str, query: str) -> tuple[Path, bool]:
        return _copy(connection.cursor(), query, folder / table.name, slot)

    # A month is too little for DuckDB to share out among its threads.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = list(pool.map(lambda wanted: copy(*wanted), copies))
    versions = Versions(folder)
    before = versions.newest()
    replaced: defaultdict[str, dict[str, str]] = defaultdict(dict)
    if before is None:
        replaced.update(_unversioned(folder, {path for path, _ in files}))
    for (table, slot, _), (path, _) in zip(copies, files, strict=True):
        replaced[table.name][slot] = path.name
    version = versions.add(datetime.now(UTC), run_id, replaced)
    show(connection, folder, version, replaced if before else None, before)
    versions.expire(retention)
    return [path for path, new in files if new]


def _copy(
    connection: duckdb.DuckDBPyConnection, query: str, folder: Path, slot: str
) -> tuple[Path, bool]:
    """The file with these rows, called after its content, and whether it had to be written."""
    unfinished = folder / f".{slot}.{os.getpid()}"
    connection.execute(f"copy ({query}) to '{_quoted(unfinished)}' (format parquet)")
    with unfinished.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    final = folder / f"{slot}.{digest[:16]}.parquet"
    new = not final.is_file()
    unfinished.replace(final)
    return final, new


def _months(slices: Slices) -> Iterator[tuple[date, date]]:
    month = slices.first_day.replace(day=1)
    while month <= slices.last_day:
        following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
        yield month, following
        month = following


def _unversioned(folder: Path, written: set[Path]) -> dict[str, dict[str, str]]:
    """Files of a folder that was published before there were versions."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*/*.parquet")):
        if path not in written:
            found.setdefault(path.parent.name, {})[path.name.split(".")[0]] = path.name
    return found


def show(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    version: Version,
    changed: Mapping[str, object] | None = None,
    before: Version | None = None,
) -> None:
    """Let whoever opens the catalogue from now on see a version.

    Args:
        changed: marts in which it differs from the one before; None writes all views anew.
        before: the version that the catalogue should be showing.
    """
    files = Versions(folder).files(version)
    place = folder.resolve()
    shows = folder / _SHOWS
    known = shows.read_text(encoding="utf-8") if shows.is_file() else ""
    catalogue = folder / CATALOGUE
    unfinished = folder / f".{CATALOGUE}.{os.getpid()}"
    unfinished.unlink(missing_ok=True)
    # Views name whole paths: in a folder that was moved they would show what it was a copy of.
    if changed and before and catalogue.is_file() and known == _shown(place, before):
        shutil.copyfile(catalogue, unfinished)
        marts = {name: files[name] for name in changed}
    else:
        marts = files
    cursor = connection.cursor()
    cursor.execute(f"attach '{_quoted(unfinished)}' as unfinished_catalogue")
    try:
        cursor.begin()
        cursor.execute("create schema if not exists unfinished_catalogue.marts")
        for name, slots in marts.items():
            cursor.execute(
                f"create or replace view unfinished_catalogue.marts.{name} as "
                f"select * from {rows_of(place / name, slots.values())}"
            )
        cursor.commit()
    finally:
        cursor.execute("detach unfinished_catalogue")
    unfinished.replace(catalogue)
    write_whole(shows, _shown(place, version))


def rows_of(folder: Path, files: Iterable[str]) -> str:
    """What stands behind `from` to read files of a mart's folder."""
    paths = ", ".join(f"'{_quoted(folder / file)}'" for file in files)
    return f"read_parquet([{paths}], hive_partitioning = false)"


def _shown(place: Path, version: Version) -> str:
    return f"{place}\n{version.number}"


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
