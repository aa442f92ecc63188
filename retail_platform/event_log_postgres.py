"""Dagster event log on Postgres that stores a batch of events in one transaction.

The counterpart of `retail_platform.event_log` for deployments where several machines share one
instance; see there for why and for the environment variable that makes Dagster form batches.
Dagster's own Postgres storage batches materializations, but writes the events that announce them,
and everything about checks, one by one.

Needs the package dagster-postgres. Enable it in dagster.yaml::

    storage:
      custom:
        module: retail_platform.event_log_postgres
        class: BatchedPostgresStorage
        config:
          postgres_url: {env: DAGSTER_POSTGRES_URL}
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import sqlalchemy as sa
from dagster import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config
from sqlalchemy.engine import Connection

from retail_platform.event_log_batched import BatchedEventLogStorage, Row

_INSERT_RANGE = sa.text("""
    INSERT INTO event_logs
        (run_id, dagster_event_type, timestamp, step_key, asset_key, event, partition)
    SELECT :run_id, :dagster_event_type, :timestamp, :step_key, :asset_key,
        :before || CAST(to_json(partition) AS text) || :after, partition
    FROM unnest(CAST(:partitions AS text[])) WITH ORDINALITY AS inserted (partition, number)
    ORDER BY number
    RETURNING id
""")
_INSERT_TEXTS = sa.text("""
    INSERT INTO event_logs
        (run_id, dagster_event_type, timestamp, step_key, asset_key, event, partition)
    SELECT :run_id, :dagster_event_type, :timestamp, :step_key, :asset_key, event, partition
    FROM unnest(CAST(:partitions AS text[]), CAST(:texts AS text[]))
        WITH ORDINALITY AS inserted (partition, event, number)
    ORDER BY number
    RETURNING id
""")
_INSERT_TAGS = sa.text("""
    INSERT INTO asset_event_tags (event_timestamp, asset_key, event_id, key, value)
    SELECT :timestamp, :asset_key, event_id, key, value
    FROM unnest(CAST(:ids AS bigint[]), CAST(:keys AS text[]), CAST(:values AS text[]))
        AS inserted (event_id, key, value)
""")


class BatchedPostgresEventLogStorage(BatchedEventLogStorage, PostgresEventLogStorage):
    """Event log on Postgres, where one table holds the events of all runs."""

    @contextmanager
    def _batch_transaction(self, run_ids: Collection[str]) -> Iterator[Connection]:
        with super()._batch_transaction(run_ids) as connection:
            # Sensors remember the highest id they have seen. Ids are given out before the commit
            # that makes them visible, so whoever wrote a higher id meanwhile would hide this batch.
            connection.execute(sa.text("LOCK TABLE event_logs IN SHARE ROW EXCLUSIVE MODE"))
            yield connection

    def _insert_events(
        self, connection: Connection, events: Sequence[EventLogEntry]
    ) -> Sequence[tuple[EventLogEntry, int]]:
        insert = SqlEventLogStorageTable.insert().returning(
            SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
        )
        rows = [self._event_to_row(event) for event in events]
        return list(zip(events, connection.execute(insert, rows).scalars(), strict=True))

    def _insert_range(
        self,
        connection: Connection,
        shared: Row,
        around: tuple[str, str],
        partitions: Sequence[str],
    ) -> Sequence[int]:
        before, after = around
        parameters = {"before": before, "after": after, "partitions": list(partitions)}
        return list(connection.execute(_INSERT_RANGE, {**shared, **parameters}).scalars())

    def _insert_texts(
        self, connection: Connection, shared: Row, texts: Sequence[tuple[str | None, str]]
    ) -> Sequence[int]:
        partitions, events = zip(*texts, strict=True)
        parameters = {**shared, "partitions": list(partitions), "texts": list(events)}
        return list(connection.execute(_INSERT_TEXTS, parameters).scalars())

    def _insert_tags(
        self, connection: Connection, shared: Row, tags: Sequence[tuple[int, str, str]]
    ) -> None:
        ids, keys, values = map(list, zip(*tags, strict=True))
        connection.execute(_INSERT_TAGS, {**shared, "ids": ids, "keys": keys, "values": values})


class BatchedPostgresStorage(DagsterPostgresStorage):
    """Runs, schedules and events on Postgres, in the tables of Dagster's own Postgres storage.

    Takes the arguments and the configuration of `DagsterPostgresStorage`.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: Any = None,
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data, token_provider)
        self._event_log_storage = BatchedPostgresEventLogStorage(
            postgres_url, should_autocreate_tables, token_provider=token_provider
        )

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Build from the ``config`` of dagster.yaml; called by Dagster."""
        url = sa.make_url(pg_url_from_config(config_value))
        if url.drivername == "postgresql":
            # From SQLAlchemy 2.1 on this means psycopg 3; dagster-postgres comes with psycopg2.
            url = url.set(drivername="postgresql+psycopg2")
        return cls(
            url.render_as_string(hide_password=False),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
            token_provider=get_token_provider_from_config(config_value),
        )
