"""The warehouse of production: a database of a Snowflake account.

Objects of the lake are loaded by Snowflake itself, from an external stage over the lake; nothing of
them passes through this process. Rows come in through a temporary table, since an object may hold
rows that do not count (any more) and COPY cannot leave rows out.

Snowflake commits whatever is open when it executes DDL. So tables and columns, temporary ones
included, are made before the transaction begins.

Importing this takes seconds; the embedded warehouse never does.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import Error, ProgrammingError

from retail_platform.contract import Drift, FeedContract
from retail_platform.errors import ConfigurationError, LoadMismatch
from retail_platform.lake.address import stage_url
from retail_platform.lake.schemas import EXTRA
from retail_platform.lake.store import Lake
from retail_platform.partitions import LOOKBACK_DAYS, Partition, Slices
from retail_platform.settings import SnowflakeAccount
from retail_platform.warehouse.loads import (
    active_rows,
    in_order,
    ledger_rows,
    missing_object,
    objects,
    verify,
)
from retail_platform.warehouse.protocol import Fingerprint, PartitionLoad, PublishedTable
from retail_platform.warehouse.raw_tables import (
    EVOLVED,
    LATE_DAYS,
    LATE_DAYS_COLUMNS,
    LEDGER,
    LEDGER_COLUMNS,
    RAW_SCHEMA,
    evolved_columns,
    raw_columns,
)
from retail_platform.warehouse.snowflake_account import connection, shown
from retail_platform.warehouse.snowflake_reach import reach

FILES_PER_COPY = 1_000
"""Snowflake takes no more names than this in one COPY."""

ROWS_PER_INSERT = 1_000

_SCHEMAS = (RAW_SCHEMA, "staging", "intermediate", "marts")
_INCOMING, _ACTIVE, _REPLACED = (f"{RAW_SCHEMA}._{t}" for t in ("incoming", "active", "replaced"))
_SET_AT_LOAD = ("_delivered_at", "_loaded_at", "_run_id")
_NO_SUCH_OBJECT = 2003
_LONGEST_TAG = 2_000


class SnowflakeWarehouse:
    """RAW tables, ledger and marts in one database."""

    def __init__(
        self,
        account: SnowflakeAccount,
        environment: str,
        run_id: str = "",
        *,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> None:
        """Describe the warehouse; nothing is opened yet.

        Args:
            environment, run_id: said in the query tag of every statement.
            on_step: called before each step of the load transaction.
        """
        self._account = account
        self._tags = {"environment": environment, "run": run_id}
        self._on_step = on_step
        self._session: SnowflakeConnection | None = None
        self._prepared: dict[str, FeedContract] = {}

    @contextmanager
    def connect(self) -> Iterator[SnowflakeConnection]:
        """A session; inside of another `connect` of this object, its session.

        Raises:
            WarehouseBusy: Snowflake does not answer.
        """
        if self._session is not None:
            yield self._session
            return
        with connection(self._account, _tag(self._tags)) as session:
            self._session = session
            try:
                yield session
            finally:
                self._session = None
                self._prepared.clear()

    @contextmanager
    def for_models(self) -> Iterator[None]:
        """Statements of a block run on the warehouse of models.

        Said to the session, so that a run logs in once; naming a warehouse does not wake it.
        """
        loads, models = self._account.warehouse, self._account.compute_of_models
        if loads == models:
            yield
            return
        self._execute(f"use warehouse {models}")
        try:
            yield
        finally:
            self._execute(f"use warehouse {loads}")

    def prepare(self, contracts: Iterable[FeedContract]) -> None:
        """Create schemas, RAW tables, their columns and the ledger where they are missing."""
        with self.connect():
            by_name = {c.name: c for c in contracts if self._prepared.get(c.name) is not c}
            if not by_name:
                return
            there = {
                name.lower()
                for (name,) in self.query("select schema_name from information_schema.schemata")
            }
            for schema in _SCHEMAS:
                if schema not in there:
                    self._execute(f"create schema if not exists {schema}")
            columns = self._columns()
            self._drop_settled(by_name, columns)
            tables = {name: raw_columns(contract) for name, contract in by_name.items()}
            tables |= {LEDGER: LEDGER_COLUMNS, LATE_DAYS: LATE_DAYS_COLUMNS}
            for table, wanted in tables.items():
                self._create(table, wanted, columns.get(table, {}))
            self._prepared.update(by_name)

    def _columns(self) -> dict[str, dict[str, str | None]]:
        """RAW table -> column -> its comment."""
        found: dict[str, dict[str, str | None]] = defaultdict(dict)
        for table, column, comment in self.query(
            "select table_name, column_name, comment from information_schema.columns "
            f"where table_schema = '{RAW_SCHEMA.upper()}'"
        ):
            found[table.lower()][column.lower()] = comment
        return found

    def _create(self, table: str, columns: Mapping[str, str], there: Collection[str]) -> None:
        """Create a table, or add the columns its contract has gained since."""
        if not there:
            spelled = ", ".join(f"{name} {_type(t)}" for name, t in columns.items())
            self._execute(f"create table if not exists {RAW_SCHEMA}.{table} ({spelled})")
            return
        for name, sql_type in columns.items():
            if name not in there:
                self._execute(
                    f"alter table {RAW_SCHEMA}.{table} add column {name} {_type(sql_type)}"
                )

    def _drop_settled(
        self,
        contracts: Mapping[str, FeedContract],
        columns: Mapping[str, dict[str, str | None]],
    ) -> None:
        """Drop evolved columns that a contract knows by now, or whose feed evolves no longer."""
        for name, contract in contracts.items():
            there = columns.get(name, {})
            for column, comment in list(there.items()):
                if comment == EVOLVED and (
                    column in contract.column_by_name
                    or contract.ingestion.drift is not Drift.EVOLVE
                ):
                    self._execute(f"alter table {RAW_SCHEMA}.{name} drop column {column}")
                    del there[column]

    def _evolve(self, contract: FeedContract, columns: Mapping[str, str]) -> None:
        """Add columns that files brought; they are null in what is there already."""
        there = self._columns().get(contract.name, {})
        table = f"{RAW_SCHEMA}.{contract.name}"
        for name, sql_type in columns.items():
            if there.get(name) == EVOLVED:
                continue
            if name in there:  # of an earlier contract; its type may be another
                self._execute(f"alter table {table} drop column {name}")
            self._execute(
                f"alter table {table} add column {name} {_type(sql_type)} comment '{EVOLVED}'"
            )

    def replace_partitions(
        self, lake: Lake, contract: FeedContract, loads: Sequence[PartitionLoad], run_id: str
    ) -> None:
        """Make RAW and the ledger hold exactly these files for these partitions, or nothing new."""
        del lake  # Snowflake reads it by itself, through the stage
        loads = in_order(loads)
        if not loads:
            return
        with self.connect(), self._tagged(_tags_of(contract, loads, run_id)):
            self.prepare([contract])
            evolved = evolved_columns(contract, loads)
            if evolved:
                self._evolve(contract, evolved)
            incoming = {**raw_columns(contract), **evolved}
            for name in _SET_AT_LOAD:
                del incoming[name]
            with self._temporary(
                {
                    _INCOMING: {**incoming, "_object": "varchar"},
                    _ACTIVE: {
                        "object": "varchar",
                        "file_id": "varchar",
                        "country": "varchar",
                        "delivered_at": "timestamp",
                    },
                    _REPLACED: {"country": "varchar", "batch_date": "date"},
                }
            ):
                self._replace(contract, loads, incoming, evolved, run_id)

    def _replace(
        self,
        contract: FeedContract,
        loads: Sequence[PartitionLoad],
        incoming: Mapping[str, str],
        evolved: Mapping[str, str],
        run_id: str,
    ) -> None:
        now = datetime.now(UTC).replace(tzinfo=None)
        days = [load.partition.day for load in loads]
        # Literals: Snowflake leaves out micro-partitions by them, by a joined table late or never.
        between = f"between date '{min(days)}' and date '{max(days)}'"
        table = f"{RAW_SCHEMA}.{contract.name}"
        self._on_step("begin")
        self._execute("begin")
        try:
            self._insert(
                _REPLACED, [(p.country, p.day) for p in (load.partition for load in loads)]
            )
            # Names of objects are hashes of their content: no two are equal but for the folder.
            self._insert(_ACTIVE, [(_name(r.object), *r[1:]) for r in active_rows(loads)])
            self._on_step("delete")
            self._execute(
                f"delete from {table} using {_REPLACED} as replaced "
                f"where {table}._batch_date {between} and {table}._country = replaced.country "
                f"and {table}._batch_date = replaced.batch_date"
            )
            self._on_step("insert")
            self._copy(contract, objects(loads), incoming, evolved)
            self._insert_active(table, incoming, now, run_id)
            self._on_step("ledger")
            self._execute(
                f"delete from {RAW_SCHEMA}.{LEDGER} using {_REPLACED} as replaced "
                f"where {LEDGER}.feed = %s and {LEDGER}.batch_date {between} "
                f"and {LEDGER}.country = replaced.country "
                f"and {LEDGER}.batch_date = replaced.batch_date",
                [contract.name],
            )
            # By name: columns that a later release adds come last in the table.
            ledger = f"{RAW_SCHEMA}.{LEDGER} ({', '.join(LEDGER_COLUMNS)})"
            self._insert(ledger, ledger_rows(contract.name, loads, now, run_id))
            self._remember_late_days(contract, between)
            found = {
                Partition(country, day): count
                for country, day, count in self.query(
                    f"select _country, _batch_date, count(*) from {table} "
                    f"inner join {_REPLACED} as replaced on _country = replaced.country "
                    f"and _batch_date = replaced.batch_date where _batch_date {between} "
                    "group by _country, _batch_date"
                )
            }
            verify(table, loads, found)
            self._on_step("commit")
            self._execute("commit")
        except BaseException:
            self._in_the_end("rollback")
            raise
        self._on_step("committed")

    def _copy(
        self,
        contract: FeedContract,
        paths: Sequence[str],
        columns: Mapping[str, str],
        evolved: Collection[str],
    ) -> None:
        """All rows of the objects into the temporary table.

        Columns younger than an object are null. What the stage or an earlier load knows of a file
        does not matter: objects never change, and what they are loaded for does.
        """
        stored = {name: f"{EXTRA}{name}" if name in evolved else name for name in columns}
        selected = ", ".join(f"$1:{stored[name]}::{_type(t)}" for name, t in columns.items())
        for first in range(0, len(paths), FILES_PER_COPY):
            files = paths[first : first + FILES_PER_COPY]
            names = ", ".join(f"'{path}'" for path in files)
            try:
                results = self._execute(
                    f"copy into {_INCOMING} ({', '.join(columns)}, _object) "
                    f"from (select {selected}, metadata$filename from @{self._account.stage}/) "
                    f"files = ({names}) file_format = (type = parquet use_logical_type = true) "
                    "on_error = abort_statement force = true"
                )
            except ProgrammingError as exc:
                raise LoadMismatch(
                    f"Snowflake cannot load a partition of {contract.name} from stage "
                    f"{self._account.stage}: {_words(exc)} Nothing was changed. "
                    "Restore the object, or replay the feed from history."
                ) from exc
            loaded = {_name(str(row[0])) for row in results}
            for path in files:
                if _name(path) not in loaded:
                    raise missing_object(contract.name, path)

    def _insert_active(
        self, table: str, columns: Iterable[str], now: datetime, run_id: str
    ) -> None:
        """Rows that count, out of the temporary table."""
        named = ", ".join(columns)
        selected = ", ".join(f"incoming.{name}" for name in columns)
        self._execute(
            f"insert into {table} ({named}, {', '.join(_SET_AT_LOAD)}) "
            f"select {selected}, active.delivered_at, cast(%s as timestamp_ntz), %s "
            f"from {_INCOMING} as incoming inner join {_ACTIVE} as active "
            "on split_part(incoming._object, '/', -1) = active.object "
            "and incoming._file_id = active.file_id and incoming._country = active.country "
            "order by incoming._batch_date, incoming._country",
            [now, run_id],
        )

    def _remember_late_days(self, contract: FeedContract, between: str) -> None:
        """Add business days that late rows touch; see the other engine for why none is removed."""
        business_date = contract.ingestion.business_date
        if business_date is None:
            return
        day = f"cast({business_date} as date)"
        self._execute(
            f"insert into {RAW_SCHEMA}.{LATE_DAYS} ({', '.join(LATE_DAYS_COLUMNS)}) "
            f"select distinct %s, _country, _batch_date, {day} from {RAW_SCHEMA}.{contract.name} "
            f"inner join {_REPLACED} as replaced on _country = replaced.country "
            f"and _batch_date = replaced.batch_date where _batch_date {between} "
            f"and {day} <= dateadd(day, -{LOOKBACK_DAYS}, _batch_date) "
            f"except select {', '.join(LATE_DAYS_COLUMNS)} from {RAW_SCHEMA}.{LATE_DAYS}",
            [contract.name],
        )

    def replace_slices(
        self, table: str, columns: Mapping[str, str], rows: pl.DataFrame, slices: Slices
    ) -> None:
        """Make a table of business days hold exactly these rows in these slices."""
        spelled = ", ".join(f"{name} {_type(t)}" for name, t in columns.items())
        with self.connect(), self._tagged(_tags_of_slices(table, slices)):
            self._execute(f"create table if not exists {table} ({spelled})")
            self._execute("begin")
            try:
                self._execute(f"delete from {table} where {slices.condition('business_date')}")
                self._insert(f"{table} ({', '.join(columns)})", rows.select(*columns).rows())
                self._execute("commit")
            except BaseException:
                self._in_the_end("rollback")
                raise

    def late_days(
        self, feed: str, batch_partitions: Collection[Partition]
    ) -> list[tuple[Partition, Partition]]:
        """(batch partition, business partition) of rows ever seen later than the lookback."""
        if not batch_partitions:
            return []
        days = [p.day for p in batch_partitions]
        rows = self._own(
            f"select country, batch_date, business_date from {RAW_SCHEMA}.{LATE_DAYS} "
            "where feed = %s and batch_date between %s and %s "
            "order by country, batch_date, business_date",
            [feed, min(days), max(days)],
        )
        found = [(Partition(c, batch), Partition(c, day)) for c, batch, day in rows]
        return [pair for pair in found if pair[0] in set(batch_partitions)]

    def loaded_files(self, feed: str, slices: Slices) -> Mapping[Partition, Fingerprint]:
        """Ledger entries by partition, as `PartitionLoad.fingerprint`."""
        countries = ", ".join(["%s"] * len(slices.countries))
        rows = self._own(
            "select country, batch_date, file_id, delivered_at, state, schema_version "
            f"from {RAW_SCHEMA}.{LEDGER} where feed = %s and batch_date between %s and %s "
            f"and country in ({countries})",
            [feed, slices.first_day, slices.last_day, *slices.countries],
        )
        found: dict[Partition, set[tuple[str, str, str, str]]] = defaultdict(set)
        for country, day, file_id, at, state, schema_version in rows:
            entry = (file_id, f"{at:%Y-%m-%d %H:%M:%S.%f}", state, schema_version)
            found[Partition(country, day)].add(entry)
        return {partition: frozenset(entries) for partition, entries in found.items()}

    def files_loaded(self) -> int:
        """How many files the ledger lists."""
        ((count,),) = self._own(f"select count(*) from {RAW_SCHEMA}.{LEDGER}", []) or [(0,)]
        return int(count)

    def tables(self) -> set[tuple[str, str]]:
        """(schema, name) of all tables there are, in lower case."""
        return {
            (schema.lower(), name.lower())
            for schema, name in self.query(
                "select table_schema, table_name from information_schema.tables"
            )
        }

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a read-only statement."""
        return self._execute(sql)

    def publish(self, tables: Sequence[PublishedTable], slices: Slices, run_id: str = "") -> None:
        """Nothing to do: readers ask Snowflake, which shows them what is committed."""

    def credits_metered(self, first_day: date) -> Mapping[date, float]:
        """Compute credits of the warehouses of loads and models since a day, by day, UTC."""
        account = self._account
        try:
            rows = self._execute(
                "select cast(convert_timezone('UTC', start_time) as date) as used_on, "
                "sum(credits_used_compute) from snowflake.account_usage.warehouse_metering_history "
                "where start_time >= cast(%s as timestamp_ltz) "
                "and upper(warehouse_name) in (%s, %s) group by used_on",
                [str(first_day), account.warehouse.upper(), account.compute_of_models.upper()],
            )
        except ProgrammingError as exc:
            if exc.errno != _NO_SUCH_OBJECT:
                raise
            raise ConfigurationError(
                f"Role {account.role} does not see SNOWFLAKE.ACCOUNT_USAGE, where credits are "
                f"told: {_words(exc)} Grant it the database roles SNOWFLAKE.USAGE_VIEWER and "
                "SNOWFLAKE.GOVERNANCE_VIEWER; snowflake_setup/ does."
            ) from exc
        return {day: float(credits) for day, credits in rows}

    def examine(self, lake_url: str) -> str:
        """Whether user, role, warehouse, database and stage are there and fit together."""
        account = self._account
        reach(account)
        with self.connect() as session:
            # The warehouse of loads comes last: the session goes on with it.
            for variable, kind, name in (
                ("TRANSFORM_WAREHOUSE", "warehouse", account.compute_of_models),
                ("WAREHOUSE", "warehouse", account.warehouse),
                ("DATABASE", "database", account.database),
            ):
                if variable == "TRANSFORM_WAREHOUSE" and name == account.warehouse:
                    continue
                try:
                    self._execute(f"use {kind} {name}")
                except ProgrammingError as exc:
                    raise ConfigurationError(
                        f"SNOWFLAKE_{variable} is {name!r}, which role {account.role} of "
                        f"account {account.account} does not see: {_words(exc)} Create it, or "
                        f"grant usage on it to the role; see snowflake_setup/README.md."
                    ) from exc
            self._examine_compute(session)
            self._examine_stage(session, lake_url)
            ((version,),) = self._execute("select current_version()")
            return (
                f"Snowflake {version}, account {account.account}, user {account.user}, role "
                f"{account.role}, database {account.database}, loads on {account.warehouse}, "
                f"models on {account.compute_of_models}, {self.files_loaded()} files loaded"
            )

    def _examine_compute(self, session: SnowflakeConnection) -> None:
        """Being allowed to use a warehouse does not wake it up."""
        name = self._account.warehouse
        rows = shown(session, f"show warehouses like '{name}'")
        if any(sleeps(row) for row in rows if str(row["name"]).lower() == name.lower()):
            raise ConfigurationError(
                f"Warehouse {name} is suspended and does not resume by itself; `alter warehouse "
                f"{name} resume`, or `set auto_resume = true`."
            )

    def _examine_stage(self, session: SnowflakeConnection, lake_url: str) -> None:
        account = self._account
        expected = stage_url(lake_url)
        schema, name = account.stage.split(".")
        try:
            stages = shown(session, f"show stages in schema {account.database}.{schema}")
        except ProgrammingError as exc:
            raise ConfigurationError(
                f"SNOWFLAKE_STAGE is {account.stage!r}, but role {account.role} sees no schema "
                f"{schema} in database {account.database}: {_words(exc)} See "
                "snowflake_setup/README.md."
            ) from exc
        urls = [str(s["url"]) for s in stages if str(s["name"]).lower() == name.lower()]
        if not urls:
            raise ConfigurationError(
                f"SNOWFLAKE_STAGE is {account.stage!r}, which role {account.role} does not see in "
                f"database {account.database}. Create it over {expected}, or grant usage on it; "
                "see snowflake_setup/README.md."
            )
        if urls[0].rstrip("/") != expected.rstrip("/"):
            raise ConfigurationError(
                f"Stage {account.stage} lies over {urls[0]}, but RETAIL_LAKE_URL is {lake_url}, "
                f"which a stage calls {expected}; they must be the same place."
            )

    def _own(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Rows of a table of our own; none before anything was loaded."""
        try:
            return self._execute(sql, parameters)
        except ProgrammingError as exc:
            if exc.errno == _NO_SUCH_OBJECT:
                return []
            raise

    def _execute(self, sql: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        with self.connect() as session, session.cursor() as cursor:
            cursor.execute(sql, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def _in_the_end(self, sql: str, parameters: Sequence[Any] | None = None) -> None:
        """A statement after which all is as before, whatever happened.

        Where the session is gone, Snowflake does it by itself, and that this fails must not hide
        what failed first.
        """
        with suppress(Error):
            self._execute(sql, parameters)

    def _insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        for first in range(0, len(rows), ROWS_PER_INSERT):
            chunk = rows[first : first + ROWS_PER_INSERT]
            one = f"({', '.join(['%s'] * len(chunk[0]))})"
            self._execute(
                f"insert into {table} values {', '.join([one] * len(chunk))}",
                [value for row in chunk for value in row],
            )

    @contextmanager
    def _temporary(self, tables: Mapping[str, Mapping[str, str]]) -> Iterator[None]:
        for table, columns in tables.items():
            spelled = ", ".join(f"{name} {_type(t)}" for name, t in columns.items())
            self._execute(f"create or replace temporary table {table} ({spelled})")
        try:
            yield
        finally:
            for table in tables:
                self._in_the_end(f"drop table if exists {table}")

    @contextmanager
    def _tagged(self, tags: Mapping[str, str]) -> Iterator[None]:
        """Say in the query history what the statements of a block are for."""
        self._execute("alter session set query_tag = %s", [_tag({**self._tags, **tags})])
        try:
            yield
        finally:
            self._in_the_end("alter session set query_tag = %s", [_tag(self._tags)])


def _tags_of(contract: FeedContract, loads: Sequence[PartitionLoad], run_id: str) -> dict[str, str]:
    days = [load.partition.day for load in loads]
    return {
        "asset": f"{RAW_SCHEMA}/{contract.name}",
        "countries": ",".join(sorted({load.partition.country for load in loads})),
        "first_day": str(min(days)),
        "last_day": str(max(days)),
        "run": run_id,
    }


def _tags_of_slices(table: str, slices: Slices) -> dict[str, str]:
    return {
        "asset": table.replace(".", "/"),
        "countries": ",".join(slices.countries),
        "first_day": str(slices.first_day),
        "last_day": str(slices.last_day),
    }


def _tag(tags: Mapping[str, str]) -> str:
    return json.dumps({name: value for name, value in tags.items() if value})[:_LONGEST_TAG]


def _type(sql_type: str) -> str:
    """What `timestamp` alone means is a setting of the account."""
    return "timestamp_ntz" if sql_type == "timestamp" else sql_type


def sleeps(row: Mapping[str, Any]) -> bool:
    """Whether a row of SHOW WAREHOUSES is of one that no statement wakes up."""
    return str(row["state"]).upper() == "SUSPENDED" and str(row["auto_resume"]).lower() == "false"


def _words(error: Error) -> str:
    """What Snowflake says, in a line: an error of COPY names file, line and column."""
    text = " ".join(str(error.msg or error).split())
    # Loading half of a partition is no way out.
    text = text.partition(" If you would like to continue loading")[0]
    return text if text.endswith(".") else f"{text}."


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]
