"""An installation on emulators: its bucket, its database, and what its tables hold.

Histories are played on DuckDB and a folder, or on this: see `CLOUD` in histories.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from retail_platform.lake.store import Lake
from retail_platform.resources import SnowflakeWarehouseResource, WarehouseResource
from retail_platform.settings import Settings, SnowflakeAccount
from retail_platform.warehouse.snowflake import SnowflakeWarehouse
from retail_platform_tests.emulators import make_bucket

_SCHEMAS = ("raw", "staging", "intermediate", "semantics", "marts")
_TYPES = {
    "TEXT": pa.string(),
    "FLOAT": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP_NTZ": pa.timestamp("us"),
}


@dataclass(frozen=True)
class Cloud:
    """An account with one database, in which one installation lives at a time.

    Attributes:
        variables: by which clients find it and the S3 server.
        dbt_work_dir: what dbt has parsed for this account. Its manifests name the database, and
            parsing takes seconds: that is why all installations share it.
    """

    account: SnowflakeAccount
    variables: Mapping[str, str]
    dbt_work_dir: Path

    def settings(self, settings: Settings) -> Settings:
        """Settings of an installation, moved here; a home that is new makes all others void."""
        note = settings.home / "bucket"
        if not note.is_file():
            self.lose_tables()
            note.write_text(make_bucket(self.account), encoding="utf-8")
        url = f"s3://{note.read_text(encoding='utf-8')}/lake"
        return replace(settings, lake_url=url, snowflake=self.account)

    @cached_property
    def _warehouse(self) -> SnowflakeWarehouse:
        return SnowflakeWarehouse(self.account, "ci")

    def lose_tables(self) -> None:
        """Drop all tables; the stage stays."""
        with self._warehouse.connect():
            for schema, table in self._warehouse.tables():
                if schema in _SCHEMAS:
                    self._warehouse.query(f"drop table {schema}.{table}")

    def copy_of_tables(self, path: Path) -> Path:
        """All tables as a DuckDB file, which tests can look at with everything DuckDB has."""
        path.unlink(missing_ok=True)
        with self._warehouse.connect(), duckdb.connect(str(path)) as copy:
            tables: dict[tuple[str, str], dict[str, pa.DataType]] = {}
            for schema, table, column, kind, precision, scale in self._warehouse.query(
                "select table_schema, table_name, column_name, data_type, numeric_precision, "
                "numeric_scale from information_schema.columns order by ordinal_position"
            ):
                if schema.lower() in _SCHEMAS:
                    made = _TYPES.get(kind) or pa.decimal128(precision, scale)
                    tables.setdefault((schema.lower(), table.lower()), {})[column.lower()] = made
            for schema in _SCHEMAS:
                copy.execute(f"create schema {schema}")
            for (schema, table), columns in tables.items():
                found = self._warehouse.query(f"select {', '.join(columns)} from {schema}.{table}")
                values = zip(*found, strict=True) if found else [()] * len(columns)
                content = pa.table(
                    [pa.array(v, t) for v, t in zip(values, columns.values(), strict=True)],
                    names=list(columns),
                )
                copy.register("content", content)
                copy.execute(f"create table {schema}.{table} as from content")
                copy.unregister("content")
        return path


def put_at(lake: Lake, path: str, content: bytes, at: datetime) -> None:
    """An object that was delivered at a certain time; the S3 server is in this process."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    lake.put(path, content)
    bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[lake._store.config["bucket"]]  # type: ignore[attr-defined]
    bucket.keys[f"lake/{path}"].last_modified = at


def opened(resource: WarehouseResource, on_step: Any) -> SnowflakeWarehouse:
    """What a resource opens, with something that happens at its steps."""
    assert isinstance(resource, SnowflakeWarehouseResource)
    account = SnowflakeAccount(**resource.account)
    return SnowflakeWarehouse(account, resource.environment, resource._run_id, on_step=on_step)
