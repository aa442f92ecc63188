"""The embedded warehouse: one DuckDB file, one writer at a time.

DuckDB lets a single process open a file for writing and none other read it meanwhile. So every
access opens the file briefly under a lock of our own, and waits, with a message that names the
holder, when somebody else (a notebook, a BI tool) keeps it open.
"""

import glob
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import polars as pl
from filelock import FileLock, Timeout
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from retail_platform.contract import Drift, FeedContract
from retail_platform.errors import WarehouseBusy
from retail_platform.lake.schemas import EXTRA
from retail_platform.lake.store import Lake
from retail_platform.partitions import LOOKBACK_DAYS, Partition, Slices
from retail_platform.warehouse.loads import (
    active_rows,
    in_order,
    ledger_rows,
    missing_object,
    objects,
    verify,
)
from retail_platform.warehouse.protocol import Fingerprint, PartitionLoad, PublishedTable
from retail_platform.warehouse.publish import publish
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
from retail_platform.warehouse.versions import USUAL, Retention

T = TypeVar("T")

_LOG = logging.getLogger(__name__)

TRANSACTION_ROWS = 4_000_000
"""Rows of one transaction; a backlog of years is loaded in several, and of a remote lake no more
than this is copied to the local disk at a time."""


class DuckDBWarehouse:
    """RAW tables, ledger and marts in one file."""

    def __init__(
        self,
        path: Path,
        *,
        published: Path | None = None,
        retention: Retention = USUAL,
        patience_seconds: float = 600.0,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> None:
        """Describe the warehouse; nothing is opened yet.

        Args:
            published: folder of the copy for readers; beside the file if not said.
            retention: of its older versions.
            patience_seconds: how long to wait for another process to let go of the file.
            on_step: called before each step of the load transaction.
        """
        self.path = path
        self._published = published or path.parent / "published"
        self._retention = retention
        self._patience = patience_seconds
        self._on_step = on_step
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{path}.lock")
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._prepared: dict[str, FeedContract] = {}

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Keep every other process of the platform out; re-entrant within this object.

        Raises:
            WarehouseBusy: another process of the platform kept the lock for too long.
        """
        try:
            self._lock.acquire(timeout=self._patience)
        except Timeout as exc:
            raise WarehouseBusy(
                f"Another process of the platform has been writing {self.path} for more than "
                f"{self._patience:g} s. Wait for its run to end, or stop it."
            ) from exc
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file for reading and writing, alone; closed again at the end.

        Inside of another `connect` of this object its connection is used: opening and closing the
        file takes 40 ms. So it does for dbt, which opens the file by itself, and more than once in
        a command; around it, what is open already is shared by DuckDB.

        Raises:
            WarehouseBusy: another process of the platform, or a foreign one, keeps the file.
        """
        if self._connection is not None:
            yield self._connection
            return
        with self._exclusive():
            self._connection = connection = self._open()
            try:
                yield connection
            finally:
                self._connection = None
                self._prepared.clear()
                self._close(connection)

    def for_models(self) -> AbstractContextManager[None]:
        """Nothing to do: loads and models share the cores of this machine."""
        return nullcontext()

    def _open(self) -> duckdb.DuckDBPyConnection:
        return self.when_free(lambda: duckdb.connect(str(self.path)))

    def _close(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Also writes what is still in the write-ahead log to its place in the file."""
        connection.close()

    def when_free(self, attempt: Callable[[], T]) -> T:
        """Do something that opens the file, waiting while another process holds it.

        Raises:
            WarehouseBusy: it did not let go within the patience of this warehouse.
        """

        def report(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            _LOG.warning(
                "The warehouse %s is open in another process; waiting for it to close. "
                "Readers can use the published copy instead, which never blocks. (%s)",
                self.path,
                str(error).splitlines()[0] if error else "",
            )

        retrying = Retrying(
            retry=retry_if_exception_type(_Held),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            stop=stop_after_delay(self._patience),
            before_sleep=report,
            reraise=True,
        )

        def guarded() -> T:
            try:
                return attempt()
            except duckdb.IOException as exc:
                if "lock" not in str(exc).lower():
                    raise
                raise _Held(
                    f"{self.path} is open in another process: {exc}. Close it there, or read the "
                    "published copy instead."
                ) from exc

        return retrying(guarded)

    def prepare(self, contracts: Iterable[FeedContract]) -> None:
        """Create schemas, RAW tables, their columns and the ledger where they are missing."""
        with self.connect() as connection:
            by_name = {c.name: c for c in contracts if self._prepared.get(c.name) is not c}
            if not by_name:
                return
            for schema in (RAW_SCHEMA, "staging", "intermediate", "marts"):
                connection.execute(f"create schema if not exists {schema}")
            _drop_settled(connection, by_name)
            _create(
                connection,
                {
                    **{name: raw_columns(contract) for name, contract in by_name.items()},
                    LEDGER: LEDGER_COLUMNS,
                    LATE_DAYS: LATE_DAYS_COLUMNS,
                },
            )
            self._prepared.update(by_name)

    def replace_partitions(
        self, lake: Lake, contract: FeedContract, loads: Sequence[PartitionLoad], run_id: str
    ) -> None:
        """Make RAW and the ledger hold exactly these files for these partitions, or nothing new."""
        with self.connect() as connection:
            self.prepare([contract])
            evolved = evolved_columns(contract, loads)
            if evolved:
                _evolve(connection, contract, evolved)
            for group in _transactions(loads):
                try:
                    with lake.files(objects(group)) as files:
                        self._replace(connection, contract, group, files, run_id)
                except FileNotFoundError as exc:
                    raise missing_object(contract.name, exc) from exc

    def _replace(
        self,
        connection: duckdb.DuckDBPyConnection,
        contract: FeedContract,
        loads: Sequence[PartitionLoad],
        files: Mapping[str, Path],
        run_id: str,
    ) -> None:
        now = datetime.now(UTC).replace(tzinfo=None)
        days = [load.partition.day for load in loads]
        # A literal range lets DuckDB skip row groups: the cost stays flat as history grows.
        between = f"between date '{min(days)}' and date '{max(days)}'"
        connection.register("active", _active(loads, files))
        connection.register("incoming_files", _ledger_rows(contract.name, loads, now, run_id))
        connection.register("replaced", _keys(loads))
        table = f"{RAW_SCHEMA}.{contract.name}"
        self._on_step("begin")
        connection.begin()
        try:
            self._on_step("delete")
            connection.execute(
                f"delete from {table} using replaced "
                f"where {table}._batch_date {between} and {table}._country = replaced.country "
                f"and {table}._batch_date = replaced.day"
            )
            self._on_step("insert")
            if files:
                _insert(connection, contract, loads, list(files.values()), now, run_id)
            self._on_step("ledger")
            connection.execute(
                f"delete from {RAW_SCHEMA}.{LEDGER} using replaced "
                f"where {LEDGER}.feed = ? and {LEDGER}.batch_date {between} "
                f"and {LEDGER}.country = replaced.country and {LEDGER}.batch_date = replaced.day",
                [contract.name],
            )
            connection.execute(
                f"insert into {RAW_SCHEMA}.{LEDGER} by name select * from incoming_files"
            )
            self._remember_late_days(connection, contract, between)
            _verify(connection, table, between, loads)
            self._on_step("commit")
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        finally:
            for name in ("active", "incoming_files", "replaced"):
                connection.unregister(name)
        self._on_step("committed")

    @staticmethod
    def _remember_late_days(
        connection: duckdb.DuckDBPyConnection, contract: FeedContract, between: str
    ) -> None:
        """Add business days that late rows touch.

        Never removed: a correction that takes a late row away changes the same day again.
        """
        if contract.ingestion.business_date is None:
            return
        connection.execute(
            f"insert into {RAW_SCHEMA}.{LATE_DAYS} select distinct ?, _country, _batch_date, "
            f"cast({contract.ingestion.business_date} as date) as business_date "
            f"from {RAW_SCHEMA}.{contract.name} semi join replaced "
            "on _country = replaced.country and _batch_date = replaced.day "
            f"where _batch_date {between} and cast({contract.ingestion.business_date} as date) "
            f"<= _batch_date - {LOOKBACK_DAYS} "
            f"except select * from {RAW_SCHEMA}.{LATE_DAYS}",
            [contract.name],
        )

    def late_days(
        self, feed: str, batch_partitions: Collection[Partition]
    ) -> list[tuple[Partition, Partition]]:
        """(batch partition, business partition) of rows ever seen later than the lookback."""
        if not batch_partitions:
            return []
        days = [p.day for p in batch_partitions]
        rows = self._own(
            f"select country, batch_date, business_date from {RAW_SCHEMA}.{LATE_DAYS} "
            "where feed = ? and batch_date between ? and ? order by all",
            [feed, min(days), max(days)],
        )
        found = [(Partition(c, batch), Partition(c, day)) for c, batch, day in rows]
        return [pair for pair in found if pair[0] in set(batch_partitions)]

    def loaded_files(self, feed: str, slices: Slices) -> Mapping[Partition, Fingerprint]:
        """Ledger entries by partition, as `PartitionLoad.fingerprint`."""
        rows = self._own(
            "select country, batch_date, file_id, "
            "strftime(delivered_at, '%Y-%m-%d %H:%M:%S.%f'), state, schema_version "
            f"from {RAW_SCHEMA}.{LEDGER} where feed = ? and batch_date between ? and ? "
            "and list_contains(?, country)",
            [feed, slices.first_day, slices.last_day, list(slices.countries)],
        )
        found: dict[Partition, set[tuple[str, str, str, str]]] = defaultdict(set)
        for country, day, file_id, delivered_at, state, schema_version in rows:
            found[Partition(country, day)].add((file_id, delivered_at, state, schema_version))
        return {partition: frozenset(entries) for partition, entries in found.items()}

    def files_loaded(self) -> int:
        """How many files the ledger lists."""
        ((count,),) = self._own(f"select count(*) from {RAW_SCHEMA}.{LEDGER}", []) or [(0,)]
        return int(count)

    def tables(self) -> set[tuple[str, str]]:
        """(schema, name) of all tables there are."""
        return set(self.query("select table_schema, table_name from information_schema.tables"))

    def publish(self, tables: Sequence[PublishedTable], slices: Slices, run_id: str = "") -> None:
        """Write the files that hold the slices anew, see `publish.publish`."""
        with self.connect() as connection:
            publish(connection, tables, slices, self._published, run_id, self._retention)

    def credits_metered(self, first_day: date) -> Mapping[date, float]:
        """Nothing: a machine of one's own bills no credits."""
        return {}

    def examine(self, lake_url: str) -> str:
        """Whether the file can be opened, and its size."""
        if not self.path.exists():
            return f"{self.path} does not exist yet; the first run creates it"
        try:
            duckdb.connect(str(self.path), read_only=True).close()
        except duckdb.IOException as exc:
            raise WarehouseBusy(
                f"{self.path} is open in another process ({str(exc).splitlines()[0]}). Runs wait "
                "for it; if it is not a run of the platform, close it or read the published copy "
                "instead."
            ) from exc
        return f"{self.path}, {self.path.stat().st_size >> 20} MiB"

    def _own(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Rows of a table of our own; none before anything was loaded."""
        if not self.path.exists():
            return []
        try:
            return self.query(sql, parameters)
        except duckdb.CatalogException:
            return []  # the first process died before it created the tables

    def replace_slices(
        self, table: str, columns: Mapping[str, str], rows: pl.DataFrame, slices: Slices
    ) -> None:
        """Make a table of business days hold exactly these rows in these slices."""
        spelled = ", ".join(f"{name} {sql_type}" for name, sql_type in columns.items())
        cast = ", ".join(f"cast({name} as {sql_type})" for name, sql_type in columns.items())
        with self.connect() as connection:
            connection.register("incoming_rows", rows.to_arrow())
            connection.begin()
            try:
                connection.execute(f"create schema if not exists {table.partition('.')[0]}")
                connection.execute(f"create table if not exists {table} ({spelled})")
                connection.execute(f"delete from {table} where {slices.condition('business_date')}")
                connection.execute(
                    f"insert into {table} ({', '.join(columns)}) select {cast} from incoming_rows "
                    "order by business_date, country"
                )
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            finally:
                connection.unregister("incoming_rows")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a read-only statement."""
        with self.connect() as connection:
            return connection.execute(sql, list(parameters)).fetchall()


class _Held(WarehouseBusy):
    """A foreign process has the file open."""


def _create(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Mapping[str, str]]) -> None:
    """Create tables, or add the columns their contracts have gained since."""
    there: dict[str, set[str]] = defaultdict(set)
    for table, column in connection.execute(
        "select table_name, column_name from duckdb_columns() where schema_name = ?", [RAW_SCHEMA]
    ).fetchall():
        there[table].add(column)
    for table, columns in tables.items():
        if table not in there:
            spelled = ", ".join(f"{name} {sql_type}" for name, sql_type in columns.items())
            connection.execute(f"create table {RAW_SCHEMA}.{table} ({spelled})")
            continue
        for name, sql_type in columns.items():
            if name not in there[table]:
                connection.execute(f"alter table {RAW_SCHEMA}.{table} add column {name} {sql_type}")


def _evolve(
    connection: duckdb.DuckDBPyConnection, contract: FeedContract, columns: Mapping[str, str]
) -> None:
    """Add columns that files brought; they are null in what is there already."""
    table = f"{RAW_SCHEMA}.{contract.name}"
    there = dict(
        connection.execute(
            "select column_name, comment from duckdb_columns() "
            "where schema_name = ? and table_name = ?",
            [RAW_SCHEMA, contract.name],
        ).fetchall()
    )
    for name, sql_type in columns.items():
        if there.get(name) == EVOLVED:
            continue
        connection.begin()
        if name in there:  # of an earlier contract; its type may be another
            connection.execute(f"alter table {table} drop column {name}")
        connection.execute(f"alter table {table} add column {name} {sql_type}")
        connection.execute(f"comment on column {table}.{name} is '{EVOLVED}'")
        connection.commit()


def _drop_settled(
    connection: duckdb.DuckDBPyConnection, contracts: Mapping[str, FeedContract]
) -> None:
    """Drop evolved columns that a contract knows by now, or whose feed evolves no longer.

    A rebuild from the lake would not have them: what the contract knows is loaded as the contract
    says, once the originals are judged again.
    """
    evolved = connection.execute(
        "select table_name, column_name from duckdb_columns() where schema_name = ? "
        "and comment = ?",
        [RAW_SCHEMA, EVOLVED],
    ).fetchall()
    for table, column in evolved:
        contract = contracts.get(table)
        if contract and (
            column in contract.column_by_name or contract.ingestion.drift is not Drift.EVOLVE
        ):
            connection.execute(f"alter table {RAW_SCHEMA}.{table} drop column {column}")


def _transactions(loads: Sequence[PartitionLoad]) -> Iterator[list[PartitionLoad]]:
    group: list[PartitionLoad] = []
    rows = 0
    for load in in_order(loads):
        if group and rows + load.rows > TRANSACTION_ROWS:
            yield group
            group, rows = [], 0
        group.append(load)
        rows += load.rows
    if group:
        yield group


def _active(loads: Iterable[PartitionLoad], files: Mapping[str, Path]) -> Any:
    """Which rows of the copies of objects count."""
    rows = [
        (str(files[r.object]), r.file_id, r.country, r.delivered_at) for r in active_rows(loads)
    ]
    keys = {"object": pl.String(), "_file_id": pl.String(), "_country": pl.String()}
    schema = {**keys, "_delivered_at": pl.Datetime("us")}
    return pl.DataFrame(rows, schema=schema, orient="row").to_arrow()


def _insert(
    connection: duckdb.DuckDBPyConnection,
    contract: FeedContract,
    loads: Iterable[PartitionLoad],
    objects: Sequence[Path],
    now: datetime,
    run_id: str,
) -> None:
    """Active rows of the objects into RAW; columns younger than an object are null."""
    reader = "read_parquet(?, filename = true, union_by_name = true, hive_partitioning = false)"
    paths = [glob.escape(str(path)) for path in objects]
    stored = {
        name for name, *_ in connection.execute(f"describe from {reader}", [paths]).fetchall()
    }
    columns = raw_columns(contract)
    values = {
        name: f"cast(stored.{name} as {sql_type})" if name in stored else "null"
        for name, sql_type in columns.items()
    }
    for name in evolved_columns(contract, loads):
        columns[name] = "varchar"
        values[name] = f"stored.{EXTRA}{name}" if f"{EXTRA}{name}" in stored else "null"
    values |= {"_delivered_at": "active._delivered_at", "_loaded_at": "?", "_run_id": "?"}
    selected = ", ".join(values[name] for name in columns)
    connection.execute(
        f"insert into {RAW_SCHEMA}.{contract.name} ({', '.join(columns)}) "
        f"select {selected} from {reader} as stored join active on stored.filename = active.object "
        "and stored._file_id = active._file_id and stored._country = active._country",
        [now, run_id, paths],
    )


def _keys(loads: Sequence[PartitionLoad]) -> Any:
    return pl.DataFrame(
        {
            "country": [load.partition.country for load in loads],
            "day": [load.partition.day for load in loads],
        }
    ).to_arrow()


def _ledger_rows(feed: str, loads: Sequence[PartitionLoad], now: datetime, run_id: str) -> Any:
    types = {"varchar": pl.String, "date": pl.Date, "bigint": pl.Int64}
    return pl.DataFrame(
        ledger_rows(feed, loads, now, run_id),
        schema={c: types.get(t, pl.Datetime("us")) for c, t in LEDGER_COLUMNS.items()},
        orient="row",
    ).to_arrow()


def _verify(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    between: str,
    loads: Sequence[PartitionLoad],
) -> None:
    found = {
        Partition(country, day): count
        for country, day, count in connection.execute(
            f"select _country, _batch_date, count(*) from {table} semi join replaced "
            "on _country = replaced.country and _batch_date = replaced.day "
            f"where _batch_date {between} group by all"
        ).fetchall()
    }
    verify(table, loads, found)
