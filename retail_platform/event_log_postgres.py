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

from collections.abc import Mapping, Sequence
from typing import Any, Self

import sqlalchemy as sa
from dagster import EventLogEntry
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config

from retail_platform.event_log import BatchedEventLogStorage


class BatchedPostgresEventLogStorage(BatchedEventLogStorage, PostgresEventLogStorage):
    """Event log on Postgres, where one table holds the events of all runs."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of any kinds, all or none of them.

        Args:
            events: in the order in which they happened.
        """
        events, rows = self._rows_of(events)
        with self._batch_transaction() as connection:
            # Sensors remember the highest id they have seen. Ids are given out before the commit
            # that makes them visible, so whoever wrote a higher id meanwhile would hide this batch.
            connection.execute(sa.text("LOCK TABLE event_logs IN SHARE ROW EXCLUSIVE MODE"))
            self._index_events(connection, events, rows)


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
