"""Marts of the embedded engine, from the versions of their published copy."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import duckdb
import polars as pl

from retail_platform.errors import ConfigurationError
from retail_platform.operate.marts.moments import EXPECTED, parse_moment, spell
from retail_platform.operate.marts.reading import MartFacts, day_of, no_such_mart
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.publish import rows_of
from retail_platform.warehouse.raw_tables import LEDGER, RAW_SCHEMA
from retail_platform.warehouse.versions import Version, Versions

_PATIENCE_SECONDS = 30.0


class PublishedMarts:
    """Versions of a published folder. Only a load's run id makes it look into the warehouse."""

    def __init__(self, folder: Path, warehouse: Path) -> None:
        self._folder = folder
        self._warehouse = warehouse
        self._versions = Versions(folder)

    @property
    def place(self) -> str:
        """Which environment it is."""
        return str(self._folder.parent)

    def names(self) -> list[str]:
        """Which marts there are now."""
        newest = self._versions.newest()
        return list(self._versions.files(newest)) if newest else []

    def relation(self, mart: str, as_of: str = "") -> str:
        """The files of a version; see `Marts.relation`."""
        version = self._version(as_of)
        files = self._versions.files(version)
        if mart not in files:
            where = f"{self.place} as of {spell(version.published_at)}" if as_of else self.place
            raise no_such_mart(mart, list(files), where)
        return self._rows_of(mart, files[mart])

    def _version(self, as_of: str) -> Version:
        newest = self._versions.newest()
        if newest is None:
            raise ConfigurationError(
                f"Nothing was published in {self._folder} yet; `retail run` builds and publishes."
            )
        if not as_of:
            return newest
        moment = parse_moment(as_of)
        if moment is None:
            of_run = self._versions.of_run(as_of.strip())
            if len(of_run) == 1:
                return of_run[0]
            if of_run:
                ids = ", ".join(version.run_id for version in of_run)
                raise ConfigurationError(f"--as-of {as_of!r} begins several runs: {ids}.")
            moment = self._loaded_at(as_of.strip())
        found = self._versions.at(moment)
        if found is None:
            oldest = self._versions.kept()[0]
            raise ConfigurationError(
                f"--as-of {as_of!r} is {spell(moment)}, of which nothing is kept in "
                f"{self._folder}; the oldest moment is {spell(oldest.published_at)}. "
                "RETAIL_KEEP_DAYS says for how long versions are kept."
            )
        return found

    def _loaded_at(self, run_id: str) -> datetime:
        warehouse = DuckDBWarehouse(self._warehouse, patience_seconds=_PATIENCE_SECONDS)
        rows = []
        if (RAW_SCHEMA, LEDGER) in (warehouse.tables() if self._warehouse.is_file() else ()):
            rows = warehouse.query(
                f"select run_id, max(loaded_at) from {RAW_SCHEMA}.{LEDGER} "
                "where starts_with(run_id, ?) group by run_id",
                [run_id],
            )
        if len(rows) != 1:
            raise ConfigurationError(
                f"--as-of {run_id!r}: no run of that id published marts that are kept, and "
                f"{len(rows) or 'none'} loaded files that count; {EXPECTED}."
            )
        return cast("datetime", rows[0][1]).replace(tzinfo=UTC)

    def facts(self) -> list[MartFacts]:
        """All marts, by name."""
        newest = self._versions.newest()
        if newest is None:
            return []
        last = self._versions.last_publications()
        found = []
        with duckdb.connect() as connection:  # one for all: opening takes longer than counting
            for mart, files in self._versions.files(newest).items():
                rows = connection.sql(f"from {self._rows_of(mart, files)}")
                day = day_of(dict.fromkeys(rows.columns))
                newest_day = f"cast(max({day}) as date)" if day else "cast(null as date)"
                ((count, last_day),) = rows.aggregate(f"count(*), {newest_day}").fetchall()
                version = last.get(mart)
                at, run_id = (version.published_at, version.run_id) if version else (None, "")
                found.append(MartFacts(mart, count, last_day, at, run_id))
        return found

    def _rows_of(self, mart: str, files: Mapping[str, str]) -> str:
        return rows_of(self._folder.resolve() / mart, files.values())

    def read(self, sql: str) -> pl.DataFrame:
        """Rows of a statement."""
        with duckdb.connect() as connection:
            return cast("pl.DataFrame", pl.from_arrow(connection.sql(sql).to_arrow_table()))
