"""Marts of a Snowflake database, now or by Time Travel.

Importing this needs no client of Snowflake; the warehouse that it is given does.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import polars as pl

from retail_platform.errors import ConfigurationError
from retail_platform.operate.marts.moments import EXPECTED, parse_moment, spell
from retail_platform.operate.marts.reading import MartFacts, day_of, no_such_mart
from retail_platform.warehouse.protocol import Warehouse
from retail_platform.warehouse.raw_tables import LEDGER, RAW_SCHEMA

_FIXED, _REAL, _DATE, _BOOLEAN = 0, 1, 3, 13
_TIMES = {4: None, 6: "UTC", 7: "UTC", 8: None}
"""Codes of the types of columns, as Snowflake's connector numbers them."""


class SnowflakeMarts:
    """The marts of one database."""

    def __init__(self, warehouse: Warehouse, database: str) -> None:
        """Describe the marts; nothing is asked yet.

        Args:
            warehouse: through which statements are sent; its own database may be another.

        Raises:
            ConfigurationError: the name of the database is none.
        """
        if not database.replace("_", "").isalnum():
            raise ConfigurationError(
                f"{database!r} is no database; expected a name of letters, digits and underscores."
            )
        self._warehouse = warehouse
        self._database = database

    @property
    def place(self) -> str:
        """Which environment it is."""
        return f"database {self._database}"

    def names(self) -> list[str]:
        """Which marts there are now."""
        return [row[0] for row in self._tables()]

    def _tables(self) -> list[tuple[str, datetime, datetime, int]]:
        """Name, when it was made, when it last changed, days of Time Travel."""
        rows = self._warehouse.query(
            "select lower(table_name), created, last_altered, retention_time "
            f"from {self._database}.information_schema.tables where table_schema = 'MARTS' "
            "order by table_name"
        )
        return [(name, _utc(made), _utc(altered), days) for name, made, altered, days in rows]

    def relation(self, mart: str, as_of: str = "") -> str:
        """The table, and the moment; see `Marts.relation`."""
        tables = {name: (made, int(days or 0)) for name, made, _, days in self._tables()}
        if mart not in tables:
            raise no_such_mart(mart, list(tables), self.place)
        table = f"{self._database}.marts.{mart}"
        if not as_of:
            return table
        now = datetime.now(UTC)
        moment = parse_moment(as_of, now) or self._loaded_at(as_of.strip())
        made, days = tables[mart]
        oldest = max(made, now - timedelta(days=days))
        if moment < oldest:
            raise ConfigurationError(
                f"--as-of {as_of!r} is {spell(moment)}; the oldest moment of {table} is "
                f"{spell(oldest)}: it was made at {spell(made)} and keeps {days} days of Time "
                "Travel (data_retention_days in snowflake_setup/environments.yml)."
            )
        at = f"{moment:%Y-%m-%d %H:%M:%S.%f} +00:00"
        return f"{table} at (timestamp => '{at}'::timestamp_tz)"

    def _loaded_at(self, run_id: str) -> datetime:
        rows = self._warehouse.query(
            f"select run_id, max(loaded_at) from {self._database}.{RAW_SCHEMA}.{LEDGER} "
            f"where startswith(run_id, '{run_id}') group by run_id"
        )
        if len(rows) != 1:
            raise ConfigurationError(
                f"--as-of {run_id!r}: {len(rows) or 'none'} of the runs that loaded files that "
                f"count has that id; {EXPECTED}."
            )
        return _utc(rows[0][1])

    def facts(self) -> list[MartFacts]:
        """All marts, by name."""
        tables = self._tables()
        if not tables:
            return []
        counted = []
        for name, *_ in tables:
            table = f"{self._database}.marts.{name}"
            day = day_of(self.read(f"select * from {table} limit 0").schema)
            newest = f"cast(max({day}) as date)" if day else "cast(null as date)"
            counted.append(f"select '{name}' as mart, count(*) as rows_now, {newest} from {table}")
        rows = {name: found for name, *found in self._warehouse.query(" union all ".join(counted))}
        return [
            MartFacts(name, int(rows[name][0]), rows[name][1], altered, "")
            for name, _, altered, _ in tables
        ]

    def read(self, sql: str) -> pl.DataFrame:
        """Rows of a statement."""
        with self._warehouse.connect() as session, session.cursor() as cursor:
            cursor.execute(sql)
            schema = {column.name.lower(): _type(column) for column in cursor.description}
            return pl.DataFrame(cursor.fetchall(), schema=schema, orient="row")


def _type(column: Any) -> pl.DataType:
    code = column.type_code
    if code == _FIXED:
        return pl.Decimal(38, column.scale) if column.scale else pl.Int64()
    if code == _REAL:
        return pl.Float64()
    if code == _DATE:
        return pl.Date()
    if code in _TIMES:
        return pl.Datetime("us", _TIMES[code])
    return pl.Boolean() if code == _BOOLEAN else pl.String()


def _utc(moment: Any) -> datetime:
    found = cast("datetime", moment)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
