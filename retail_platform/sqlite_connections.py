"""Connections to SQLite databases that stay open between two uses.

Dagster opens and closes the database at each question. Opening one costs about as much as the
question, closing it moves what was written from the write-ahead log into the database; together
they took a quarter of a small run.

Only connections; what is asked over them is in `retail_platform.event_log`.
"""

import os
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy.engine import Connection, Engine

_MOST_DATABASES = 8
"""Each run has a database of its own, and a process that looks at runs sees many of them."""


class KeptConnections:
    """One open connection to each of the databases that were used last.

    Threads and nested uses that find it taken get another one, which is closed afterwards.
    """

    def __init__(self) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def engine(self, url: str) -> Engine:
        """The engine of a database; it also keeps the statements that were compiled."""
        with self._lock:
            self._forget_those_of_the_parent_process()
            if url not in self._engines:
                self._engines[url] = _engine(url)
            self._engines.move_to_end(url)
            while len(self._engines) > _MOST_DATABASES:
                self._engines.popitem(last=False)[1].dispose()
            return self._engines[url]

    def begin(self, url: str) -> AbstractContextManager[Connection]:
        """A connection in a transaction that ends with the context."""
        return self.engine(url).begin()

    def close(self) -> None:
        """Close what is open. The next use opens it again."""
        with self._lock:
            self._forget_those_of_the_parent_process()
            for engine in self._engines.values():
                engine.dispose()
            self._engines.clear()

    def _forget_those_of_the_parent_process(self) -> None:
        """SQLite's connections do not survive a fork, not even being closed by the child."""
        if self._process != os.getpid():
            for engine in self._engines.values():
                engine.dispose(close=False)
            self._engines.clear()
            self._process = os.getpid()


def _engine(url: str) -> Engine:
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        pool_size=1,
        max_overflow=-1,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )
    sa.event.listen(engine, "connect", _wait_for_the_disk_at_checkpoints_only)
    return engine


def _wait_for_the_disk_at_checkpoints_only(connection: Any, _: Any) -> None:
    """With the write-ahead log that Dagster uses, a killed process loses nothing either way.

    A machine that loses power may lose its last events; what they were about is then done again.
    """
    connection.execute("PRAGMA synchronous=NORMAL")
