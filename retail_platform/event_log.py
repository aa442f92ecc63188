"""Dagster event log on SQLite that stores a batch of events in two transactions.

Dagster's own SQLite storage accepts a batch but stores it event by event: per event it opens the
database of the run and the index over all runs, compiles the statements anew and waits for the disk
twice. A range run over a year of country partitions spends most of its time there. The classes
below keep Dagster's tables and row formats, so that either storage reads what the other wrote; what
they do differently is in `retail_platform.event_log_batched`.

Batches are formed by Dagster itself and only when the environment variable
``DAGSTER_EVENT_BATCH_SIZE`` is set (1000 is a good value), in every process that creates or
executes runs. Without it Dagster stores one event at a time; announced ranges and recorded
materializations are stored at once all the same.

Enable it in dagster.yaml, in the place where the stock storage would write::

    storage:
      custom:
        module: retail_platform.event_log
        class: BatchedSqliteStorage
        config:
          base_dir: {env: DAGSTER_HOME}

The sibling for Postgres is `retail_platform.event_log_postgres`; creating events is
`retail_platform.assets.recording`.
"""

import json
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Self

from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster import EventLogEntry
from dagster._core.event_api import EventHandlerFn
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
)
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
    SqliteEventLogStorageWatchdog,
)
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection
from watchdog.events import FileSystemEvent
from watchdog.observers import Observer

from retail_platform.event_log_batched import BatchedEventLogStorage, Row
from retail_platform.sqlite_connections import KeptConnections
from retail_platform.whole_files import write_whole

_INDEXED_EVENTS = {*ASSET_EVENTS, *ASSET_CHECK_EVENTS, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS}
"""What the stock SQLite storage copies from the database of the run into the index."""

_INTERNALS = ("_connect", "_db_lock", "_initdb", "_initialized_dbs", "_obs", "_watchers")

_INSERT_RANGE = """
    INSERT INTO event_logs
        (run_id, dagster_event_type, timestamp, step_key, asset_key, event, partition)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6 || json_quote(value) || ?7, value FROM json_each(?8)
"""
_INSERT_TEXT = """
    INSERT INTO event_logs
        (run_id, dagster_event_type, timestamp, step_key, asset_key, partition, event)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
"""
_INSERT_TAG = """
    INSERT INTO asset_event_tags (event_timestamp, asset_key, event_id, key, value)
    VALUES (?3, ?5, ?6, ?7, ?8)
"""


class BatchedSqliteEventLogStorage(BatchedEventLogStorage, SqliteEventLogStorage):
    """Event log on SQLite: one database per run plus an index over all runs.

    Args:
        base_dir: directory of the databases, created when missing.
        inst_data: configuration this was built from, kept for processes started later.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._connections = KeptConnections()
        super().__init__(base_dir, inst_data)
        missing = [name for name in _INTERNALS if not hasattr(self, name)]
        if missing:
            raise NotImplementedError(
                f"Dagster's SQLite event log has no {', '.join(missing)} any more, on which "
                "storing a batch relies. Use a Dagster version this was tested with, or "
                "`storage.sqlite` instead."
            )
        # A batch holds two connections at once. Dagster's lock would block its own thread.
        self._db_lock = threading.RLock()  # type: ignore[assignment]
        self._empty_run: bytes | None = None

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Build from the ``config`` of dagster.yaml; called by Dagster."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """As Dagster does, but over connections that stay open."""
        with self._db_lock:
            url = self.conn_string_for_shard(shard)
            if shard not in self._initialized_dbs:
                self._create_tables(shard, url)
                self._initialized_dbs.add(shard)
            with self._connections.begin(url) as connection:
                yield connection

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """As Dagster does, but looking at the write-ahead log too; called by the UI.

        The database itself changes at checkpoints only, as long as the run keeps it open.
        """
        observer: Any = self._obs
        if observer is None:
            observer = self._obs = Observer()  # type: ignore[assignment]
            observer.start()
        watchdog = _Watchdog(self, run_id, callback, cursor)
        watched = observer.schedule(watchdog, self._base_dir, recursive=True)
        self._watchers[run_id][callback] = (watchdog, watched)

    def wipe(self) -> None:
        """Delete everything; see Dagster's."""
        self._connections.close()  # the files of the runs go
        super().wipe()

    def dispose(self) -> None:
        """Close what is open."""
        super().dispose()
        self._connections.close()

    def _create_tables(self, shard: str, url: str) -> None:
        """Databases of runs begin alike: all but the first of a process are copies.

        What Dagster does to make one takes a tenth of a small run.
        """
        path = Path(self.path_for_shard(shard))
        if shard == INDEX_SHARD_NAME or path.exists():
            self._initdb(self._connections.engine(url))
        elif self._empty_run is None:
            self._initdb(self._connections.engine(url))
            with closing(sqlite3.connect(path)) as made:
                self._empty_run = made.serialize()
        else:
            write_whole(path, self._empty_run)

    @contextmanager
    def _batch_transaction(self, run_ids: Collection[str]) -> Iterator[Connection]:
        # The index commits last: should the process die in between, an event is in the log of its
        # run but does not count as having happened. That is also what Dagster's order leads to.
        with super()._batch_transaction(run_ids) as index, ExitStack() as runs:
            self._batch.runs = {
                run_id: runs.enter_context(self.run_connection(run_id)) for run_id in run_ids
            }
            yield index

    def _insert_events(
        self, connection: Connection, events: Sequence[EventLogEntry]
    ) -> Sequence[tuple[EventLogEntry, int]]:
        rows = [(event, self._event_to_row(event)) for event in events]
        for run_id, of_run in self._batch.runs.items():
            _insert(of_run, [row for event, row in rows if event.run_id == run_id])
        indexed = [pair for pair in rows if pair[0].dagster_event_type in _INDEXED_EVENTS]
        _insert(connection, [row for _, row in indexed])
        ids = _newest_ids(connection, len(indexed))
        return [(event, event_id) for (event, _), event_id in zip(indexed, ids, strict=True)]

    def _insert_range(
        self,
        connection: Connection,
        shared: Row,
        around: tuple[str, str],
        partitions: Sequence[str],
    ) -> Sequence[int]:
        parameters = (*_values(shared), *around, json.dumps(partitions))
        for each in (self._batch.runs[shared["run_id"]], connection):
            each.exec_driver_sql(_INSERT_RANGE, parameters)
        return _newest_ids(connection, len(partitions))

    def _insert_texts(
        self, connection: Connection, shared: Row, texts: Sequence[tuple[str | None, str]]
    ) -> Sequence[int]:
        values = _values(shared)
        parameters = [(*values, *text) for text in texts]
        for each in (self._batch.runs[shared["run_id"]], connection):
            each.exec_driver_sql(_INSERT_TEXT, parameters)
        return _newest_ids(connection, len(texts))

    def _insert_tags(
        self, connection: Connection, shared: Row, tags: Sequence[tuple[int, str, str]]
    ) -> None:
        values = _values(shared)
        connection.exec_driver_sql(_INSERT_TAG, [(*values, *tag) for tag in tags])


def _insert(connection: Connection, rows: Sequence[Row]) -> None:
    if rows:
        connection.execute(SqlEventLogStorageTable.insert(), rows)


def _values(shared: Row) -> tuple[Any, ...]:
    """First parameters of the statements above."""
    return (
        shared["run_id"],
        shared["dagster_event_type"],
        shared["timestamp"].strftime("%Y-%m-%d %H:%M:%S.%f"),
        shared["step_key"],
        shared["asset_key"],
    )


def _newest_ids(connection: Connection, count: int) -> range:
    """Ids of the rows inserted last; they are consecutive, because nobody else writes meanwhile."""
    last: int = connection.exec_driver_sql("SELECT last_insert_rowid()").scalar_one()
    return range(last - count + 1, last + 1)


class _Watchdog(SqliteEventLogStorageWatchdog):
    """Hands on the events of one run, of whatever file the database consists."""

    def __init__(
        self,
        log: BatchedSqliteEventLogStorage,
        run_id: str,
        callback: EventHandlerFn,
        cursor: str | None,
    ) -> None:
        super().__init__(log, run_id, callback, cursor)
        self._patterns = [f"{log.path_for_shard(run_id)}{end}" for end in ("", "-wal")]

    def on_modified(self, event: FileSystemEvent) -> None:
        """Look for new events."""
        self._process_log()


class _Kept:
    """Runs or schedules, over a connection that stays open."""

    def __init__(self, conn_string: str) -> None:
        self._url = conn_string
        self._connections = KeptConnections()
        super().__init__(conn_string)  # type: ignore[call-arg]

    def connect(self) -> AbstractContextManager[Connection]:
        """A connection in a transaction."""
        return self._connections.begin(self._url)

    def dispose(self) -> None:
        """Close what is open."""
        self._connections.close()


class _KeptRunStorage(_Kept, SqliteRunStorage):  # type: ignore[misc]
    pass


class _KeptScheduleStorage(_Kept, SqliteScheduleStorage):  # type: ignore[misc]
    pass


def _read_migrations_once() -> None:
    """Keep the migrations of a database for the next one; once that is done, it changes nothing.

    To see that a database is up to date, Dagster imports some sixty files: for each of the three
    databases of an instance, and for each run.
    """
    read = ScriptDirectory.from_config
    if hasattr(read, "__wrapped__"):
        return
    known: dict[str | None, ScriptDirectory] = {}

    @wraps(read)
    def read_once(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in known:
            known[location] = read(config)
        return known[location]

    ScriptDirectory.from_config = read_once  # type: ignore[method-assign]


class BatchedSqliteStorage(DagsterSqliteStorage):
    """Runs, schedules and events on SQLite, in the directories of Dagster's own SQLite storage.

    An instance can change between the two at any time; its history stays.

    Args:
        base_dir: directory of ``history`` and ``schedules``, created when missing.
        inst_data: configuration this was built from, kept for processes started later.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        _read_migrations_once()
        super().__init__(base_dir, inst_data)
        # Dagster's own have created the tables.
        base = Path(base_dir)
        self._run_storage = _KeptRunStorage(create_db_conn_string(str(base / "history"), "runs"))
        self._event_log_storage = BatchedSqliteEventLogStorage(str(base / "history" / "runs"))
        self._schedule_storage = _KeptScheduleStorage(
            create_db_conn_string(str(base / "schedules"), "schedules")
        )

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Build from the ``config`` of dagster.yaml; called by Dagster."""
        return cls.from_local(inst_data=inst_data, **config_value)
