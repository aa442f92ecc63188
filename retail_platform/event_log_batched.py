"""What storing events in batches has in common on all databases.

Dagster's tables and row formats are kept, so that the stock storages read what these wrote and the
other way round. What changes is how many statements and transactions the events of a run take:

* a batch of events, as Dagster forms it, is stored in one transaction;
* the announcement of a range and the materializations of its partitions come as one event per
  asset; the rows that an event per partition would have had are made here, because creating and
  serializing those events costs more than storing them;
* one repetitive column is shorter, see `BatchedEventLogStorage`.

The classes for SQLite (`retail_platform.event_log`) and Postgres
(`retail_platform.event_log_postgres`) say how rows are inserted. They override parts of Dagster
that are not public API; the tests compare them with the stock storages and are the reason to trust
them after an upgrade.
"""

import threading
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import groupby
from operator import itemgetter
from typing import Any

from dagster import AssetKey, AssetMaterialization, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.definitions.partitions.subset import PartitionsSubset
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, DagsterEventType
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetEventTagsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._serdes import serialize_value
from sqlalchemy import bindparam, text
from sqlalchemy.engine import Connection

from retail_platform.event_log_text import MaterializationTexts, planned_text

_DETAILS = text("SELECT asset_details FROM asset_keys WHERE asset_key = :asset_key")
_LATEST_BY_PARTITION = """
    SELECT partition, max(id) FROM event_logs
    WHERE asset_key = :asset_key AND dagster_event_type = :event_type AND id > :after
        AND partition {} GROUP BY partition
"""
_LATEST = text(_LATEST_BY_PARTITION.format("IS NOT NULL"))
_LATEST_OF_PARTITIONS = text(_LATEST_BY_PARTITION.format("IN :partitions")).bindparams(
    bindparam("partitions", expanding=True)
)

Row = Mapping[str, Any]
"""Columns of `event_logs` and their values."""


class BatchedEventLogStorage(SqlEventLogStorage):
    """An event log that stores batches, and events that stand for many partitions.

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

        Creating one event per partition costs more than storing it; the database makes the rows
        that those events would have had, so that readers find nothing changed.
        """
        return True

    def store_event(self, event: EventLogEntry) -> None:
        """Store one event; of an announced range, one row per partition."""
        materializations = getattr(self._batch, "materializations", None)
        if materializations and event.dagster_event_type is DagsterEventType.ASSET_MATERIALIZATION:
            self._batch.materializations = None
            self._store_materializations(event, materializations)
        elif _planned_partitions(event) is not None:
            self.store_event_batch([event])
        else:
            super().store_event(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of any kinds, all or none of them.

        Dagster stores the events of a failed batch again one by one, so a part that stayed behind
        would be there twice.

        Args:
            events: in the order in which they happened.

        Raises:
            sqlalchemy.exc.OperationalError: SQLite: another process kept a database locked for
                longer than Dagster's 30 s.
        """
        with self._batch_transaction({event.run_id for event in events}) as connection:
            for partitions, group in groupby(events, _planned_partitions):
                if partitions is None:
                    self._store_events(connection, list(group))
                else:
                    keys = [str(key) for key in partitions.get_partition_keys()]
                    for event in group if keys else ():
                        self._store_planned_range(connection, event, keys)

    def store_materializations(
        self,
        materializations: Sequence[AssetMaterialization],
        log: Callable[[AssetMaterialization], object],
    ) -> None:
        """Store the materializations of many partitions of one asset, all or none of them.

        Dagster creates one event for all, which here becomes the rows that an event for each would
        have had; they share its timestamp.

        Args:
            materializations: in the order in which they are to count as having happened; they
                differ in partition, metadata and tags only.
            log: makes Dagster log the materialization it is given as an event, in this thread.

        Raises:
            ValueError: several assets or descriptions.
            RuntimeError: no event came; nothing is stored.
        """
        if len({(m.asset_key, m.description) for m in materializations}) != 1:
            raise ValueError("Materializations stored at once are of one asset, described alike.")
        self._batch.materializations = materializations
        try:
            log(materializations[0])
            if self._batch.materializations is not None:
                raise RuntimeError("Dagster did not hand the event of a materialization on.")
        finally:
            self._batch.materializations = None

    def get_latest_storage_id_by_partition(
        self,
        asset_key: AssetKey,
        event_type: DagsterEventType,
        partitions: set[str] | None = None,
        after_cursor: int | None = None,
    ) -> Mapping[str, int]:
        """As Dagster does, with statements that are written down instead of put together.

        Automation asks this hundreds of times in each of its looks, and putting the statement
        together takes longer than answering it.
        """
        values: dict[str, Any] = {
            "asset_key": asset_key.to_string(),
            "event_type": event_type.value,
            "after": -1 if after_cursor is None else after_cursor,
        }
        statement = _LATEST
        if partitions:
            statement = _LATEST_OF_PARTITIONS
            values["partitions"] = list(partitions)
        with self.index_connection() as connection:
            wiped = connection.execute(_DETAILS, {"asset_key": values["asset_key"]}).scalar()
            if not wiped:
                return dict(connection.execute(statement, values).tuples().all())
        # Dagster knows what counts since
        return super().get_latest_storage_id_by_partition(
            asset_key, event_type, partitions, after_cursor
        )

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
    def _batch_transaction(self, run_ids: Collection[str]) -> Iterator[Connection]:
        """One transaction on the index for all that happens inside; rolled back on any error."""
        with self.index_transaction() as connection:
            self._batch.connection = connection
            try:
                yield connection
            finally:
                self._batch.connection = None

    @abstractmethod
    def _insert_events(
        self, connection: Connection, events: Sequence[EventLogEntry]
    ) -> Sequence[tuple[EventLogEntry, int]]:
        """Insert the rows of events; those that are in the index, with their ids there."""

    @abstractmethod
    def _insert_range(
        self,
        connection: Connection,
        shared: Row,
        around: tuple[str, str],
        partitions: Sequence[str],
    ) -> Sequence[int]:
        """Insert a row per partition; its text is the partition with what is around it."""

    @abstractmethod
    def _insert_texts(
        self, connection: Connection, shared: Row, texts: Sequence[tuple[str | None, str]]
    ) -> Sequence[int]:
        """Insert a row per partition and text; their ids in the index."""

    @abstractmethod
    def _insert_tags(
        self, connection: Connection, shared: Row, tags: Sequence[tuple[int, str, str]]
    ) -> None:
        """Insert tags: id of the event, key, value."""

    def _store_events(self, connection: Connection, events: Sequence[EventLogEntry]) -> None:
        """Insert events and bring what is derived from them up to date.

        Derived are the tags, one entry per asset with its latest events, and the executions of
        checks.
        """
        inserted = self._insert_events(connection, events)
        self._store_asset_event_tags(
            connection, [event for event, _ in inserted], [event_id for _, event_id in inserted]
        )
        for event, event_id in _latest_by_asset_and_type(inserted):
            self._store_asset_event(connection, event, event_id)
        for event, event_id in inserted:
            if event.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, event_id)

    def _store_planned_range(
        self, connection: Connection, event: EventLogEntry, partitions: Sequence[str]
    ) -> None:
        shared, around = self._shared(event), planned_text(event)
        ids = self._insert_range(connection, shared, around, partitions)
        self._store_asset_event(connection, event, ids[-1])

    def _store_materializations(
        self, event: EventLogEntry, materializations: Sequence[AssetMaterialization]
    ) -> None:
        texts = MaterializationTexts(event)
        shared = self._shared(event)
        indexed = self.get_asset_tags_to_index({k for m in materializations for k in m.tags or {}})
        with self._batch_transaction({event.run_id}) as connection:
            ids = self._insert_texts(
                connection, shared, [(m.partition, texts.text_of(m)) for m in materializations]
            )
            tags = [
                (event_id, key, value)
                for event_id, m in zip(ids, materializations, strict=True)
                for key, value in (m.tags or {}).items()
                if key in indexed
            ]
            if tags and self.has_table(AssetEventTagsTable.name):
                self._insert_tags(connection, shared, tags)
            self._store_asset_event(connection, texts.event_of(materializations[-1]), ids[-1])

    def _shared(self, event: EventLogEntry) -> Row:
        """The row of an event without what differs between partitions."""
        dagster_event = event.get_dagster_event()
        assert dagster_event.asset_key is not None
        return {
            "run_id": event.run_id,
            "dagster_event_type": dagster_event.event_type_value,
            "timestamp": self._event_insert_timestamp(event),  # type: ignore[no-untyped-call]
            "step_key": dagster_event.step_key,
            "asset_key": dagster_event.asset_key.to_string(),
        }

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


def _planned_partitions(event: EventLogEntry) -> PartitionsSubset | None:
    """Partitions whose materialization the event announces, if those are several."""
    if event.dagster_event_type is not DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
        return None
    return event.get_dagster_event().asset_materialization_planned_data.partitions_subset


def _latest_by_asset_and_type(
    inserted: Sequence[tuple[EventLogEntry, int]],
) -> list[tuple[EventLogEntry, int]]:
    """The events that decide what the entries of assets look like in the end, oldest first.

    Every event overwrites its columns of the entry, and all events of one type write the same
    columns; so the last event of each type leaves the same entry as applying them all.
    """
    latest = {
        (event.get_dagster_event().asset_key, event.dagster_event_type): (event, event_id)
        for event, event_id in inserted
        if event.dagster_event_type in ASSET_EVENTS and event.get_dagster_event().asset_key
    }
    return sorted(latest.values(), key=itemgetter(1))
