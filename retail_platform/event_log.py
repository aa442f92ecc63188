"""Dagster event log on SQLite that stores a batch of events in two transactions.

Dagster's own SQLite storage accepts a batch but stores it event by event: per event it opens the
database of the run and the index over all runs, compiles the statements anew and waits for the disk
twice. A range run over a year of country partitions spends most of its time there. The classes
below keep Dagster's tables and row formats, so that either storage reads what the other wrote. They
change how many transactions a batch takes and shorten one repetitive column, see
`BatchedEventLogStorage`.

Batches are formed by Dagster itself and only when the environment variable
``DAGSTER_EVENT_BATCH_SIZE`` is set (1000 is a good value), in every process that creates or
executes runs. Without it everything works as before, one event at a time.

Enable it in dagster.yaml, in the place where the stock storage would write::

    storage:
      custom:
        module: retail_platform.event_log
        class: BatchedSqliteStorage
        config:
          base_dir: {env: DAGSTER_HOME}

The classes override parts of Dagster that are not public API; the tests of this module compare
them with the stock storage and are the reason to trust them after an upgrade. The sibling for
Postgres is `retail_platform.event_log_postgres`; creating events is
`retail_platform.assets.recording`.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from operator import itemgetter
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from dagster import EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    AssetMaterializationPlannedData,
    DagsterEventType,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData, serialize_value
from sqlalchemy.engine import Connection

_INDEXED_EVENTS = {*ASSET_EVENTS, *ASSET_CHECK_EVENTS, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS}
"""What the stock SQLite storage copies from the database of the run into the index."""


class BatchedEventLogStorage(SqlEventLogStorage):
    """What storing a batch has in common on all databases: the tables derived from the events.

    While a check is announced but not yet evaluated, the event of its execution record does not
    list the partitions of the run. This is the one answer that differs from the stock storages.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Before Dagster's constructor, which already asks for index connections. Per thread,
        # because the instance is shared by threads and a connection must not be.
        self._batch = threading.local()
        self._known_tables: set[str] = set()
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    @property
    def supports_partition_subset_in_asset_materialization_planned_events(self) -> bool:
        """Dagster then announces a run over a range with one event per asset.

        Creating one event per partition costs more than storing it; `_rows_of` writes the rows that
        those events would have had, so that readers find nothing changed.
        """
        return True

    def store_event(self, event: EventLogEntry) -> None:
        """Store one event; of an announced range, one row per partition."""
        if _planned_range(event) is None:
            super().store_event(event)
        else:
            self.store_event_batch([event])

    def _rows_of(
        self, events: Sequence[EventLogEntry]
    ) -> tuple[list[EventLogEntry], list[dict[str, Any]]]:
        """Rows to insert, and the event each of them belongs to."""
        pairs = [(event, row) for event in events for row in self._rows_of_event(event)]
        return [event for event, _ in pairs], [row for _, row in pairs]

    def _rows_of_event(self, event: EventLogEntry) -> list[dict[str, Any]]:
        planned = _planned_range(event)
        if planned is None or planned.partitions_subset is None:
            return [self._event_to_row(event)]
        # The rows differ in nothing but the partition: serialized once, with a word in its place.
        placeholder = uuid4().hex
        of_one = AssetMaterializationPlannedData(planned.asset_key, partition=placeholder)
        row = self._event_to_row(
            event._replace(
                dagster_event=event.get_dagster_event()._replace(event_specific_data=of_one)
            )
        )
        before, after = row["event"].split(serialize_value(placeholder))
        return [
            {**row, "partition": partition, "event": before + serialize_value(partition) + after}
            for partition in planned.partitions_subset.get_partition_keys()
        ]

    def has_table(self, table_name: str) -> bool:
        """Whether the table exists. Once there it stays, so Dagster need not ask for each event."""
        known = table_name in self._known_tables
        if not known and super().has_table(table_name):  # type: ignore[safe-super]
            self._known_tables.add(table_name)
            known = True
        return known

    def index_connection(self) -> AbstractContextManager[Connection]:
        """The connection of the batch this thread is storing, otherwise a new one.

        Dagster's methods for single events open their own connection; inside a batch they have to
        take part in its transaction instead.
        """
        connection: Connection | None = getattr(self._batch, "connection", None)
        if connection is not None:
            return nullcontext(connection)
        return super().index_connection()  # type: ignore[safe-super]

    @contextmanager
    def _batch_transaction(self) -> Iterator[Connection]:
        """One transaction on the index for all that happens inside; rolled back on any error."""
        with self.index_transaction() as connection:
            self._batch.connection = connection
            try:
                yield connection
            finally:
                self._batch.connection = None

    def _index_events(
        self,
        connection: Connection,
        events: Sequence[EventLogEntry],
        rows: Sequence[dict[str, Any]],
    ) -> None:
        """Insert the rows of events and bring what is derived from them up to date.

        Derived are the tags, one entry per asset with its latest events, and the executions of
        checks.
        """
        if not events:
            return
        insert = SqlEventLogStorageTable.insert().returning(
            SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
        )
        event_ids: Sequence[int] = connection.execute(insert, rows).scalars().all()
        self._store_asset_event_tags(connection, events, event_ids)
        for event, event_id in _latest_by_asset_and_type(events, rows, event_ids):
            self._store_asset_event(connection, event, event_id)
        for event, event_id in zip(events, event_ids, strict=True):
            if event.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, event_id)

    def _store_asset_check_evaluation_planned(
        self, event: EventLogEntry, event_id: int | None
    ) -> None:
        """Insert one row for each partition a check is going to look at.

        Dagster repeats the event, which lists all partitions, in the row of each partition: 113 MB
        and 10 s for one check on 2,555 partitions. The row names its partition itself, so the copy
        of the event in it goes without the list. The event log keeps the complete event.
        """
        dagster_event = event.get_dagster_event()
        planned = dagster_event.event_specific_data
        if (
            not isinstance(planned, AssetCheckEvaluationPlanned)
            or planned.partitions_subset is None
        ):
            super()._store_asset_check_evaluation_planned(event, event_id)
            return
        without_list = AssetCheckEvaluationPlanned(
            asset_key=planned.asset_key, check_name=planned.check_name
        )
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(
                event._replace(
                    dagster_event=dagster_event._replace(event_specific_data=without_list)
                )
            ),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),  # type: ignore[no-untyped-call]
            "evaluation_event_storage_id": event_id,
        }
        rows = [
            {**row, "partition": partition}
            for partition in planned.partitions_subset.get_partition_keys()
        ]
        if rows:
            with self.index_connection() as connection:
                connection.execute(AssetCheckExecutionsTable.insert(), rows)


def _planned_range(event: EventLogEntry) -> AssetMaterializationPlannedData | None:
    """What the event announces, if that is the materialization of several partitions."""
    if event.dagster_event_type is not DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
        return None
    planned = event.get_dagster_event().asset_materialization_planned_data
    return planned if planned.partitions_subset is not None else None


def _latest_by_asset_and_type(
    events: Sequence[EventLogEntry], rows: Sequence[dict[str, Any]], event_ids: Sequence[int]
) -> list[tuple[EventLogEntry, int]]:
    """The events that decide what the entries of assets look like in the end, oldest first.

    Every event overwrites its columns of the entry, and all events of one type write the same
    columns; so the last event of each type leaves the same entry as applying them all.
    """
    latest: dict[tuple[str, str], tuple[EventLogEntry, int]] = {}
    for event, row, event_id in zip(events, rows, event_ids, strict=True):
        if row["asset_key"] is not None and event.dagster_event_type in ASSET_EVENTS:
            latest[row["asset_key"], row["dagster_event_type"]] = (event, event_id)
    return sorted(latest.values(), key=itemgetter(1))


class BatchedSqliteEventLogStorage(BatchedEventLogStorage, SqliteEventLogStorage):
    """Event log on SQLite: one database per run plus an index over all runs.

    Args:
        base_dir: directory of the databases, created when missing.
        inst_data: configuration this was built from, kept for processes started later.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        if not hasattr(self, "_db_lock"):
            raise NotImplementedError(
                "Dagster's SQLite event log has no `_db_lock` any more, on which storing a batch "
                "relies. Use a Dagster version this was tested with, or `storage.sqlite` instead."
            )
        # A batch holds two connections at once. Dagster's lock would block its own thread.
        self._db_lock = threading.RLock()  # type: ignore[assignment]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Build from the ``config`` of dagster.yaml; called by Dagster."""
        return cls(inst_data=inst_data, **config_value)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of any kinds, all or none of them.

        Dagster stores the events of a failed batch again one by one, so a part that stayed behind
        would be there twice.

        Args:
            events: in the order in which they happened.

        Raises:
            sqlalchemy.exc.OperationalError: another process kept a database locked for longer than
                Dagster's 30 s.
        """
        events, rows = self._rows_of(events)
        indexed = [
            (event, row)
            for event, row in zip(events, rows, strict=True)
            if event.dagster_event_type in _INDEXED_EVENTS
        ]
        # The index commits last: should the process die in between, an event is in the log of its
        # run but does not count as having happened. That is also what Dagster's order leads to.
        with self._batch_transaction() as index, ExitStack() as run_transactions:
            for run_id in dict.fromkeys(event.run_id for event in events):
                run = run_transactions.enter_context(self.run_connection(run_id))
                run.execute(
                    SqlEventLogStorageTable.insert(),
                    [row for row in rows if row["run_id"] == run_id],
                )
            self._index_events(index, [event for event, _ in indexed], [row for _, row in indexed])


class BatchedSqliteStorage(DagsterSqliteStorage):
    """Runs, schedules and events on SQLite, in the directories of Dagster's own SQLite storage.

    An instance can change between the two at any time; its history stays.

    Args:
        base_dir: directory of ``history`` and ``schedules``, created when missing.
        inst_data: configuration this was built from, kept for processes started later.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = BatchedSqliteEventLogStorage(
            str(Path(base_dir) / "history" / "runs")
        )

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Build from the ``config`` of dagster.yaml; called by Dagster."""
        return cls.from_local(inst_data=inst_data, **config_value)
