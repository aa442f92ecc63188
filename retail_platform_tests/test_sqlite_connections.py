"""Connections that stay open: one for each database, none across a fork, none for ever."""

import os
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from retail_platform.sqlite_connections import KeptConnections


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/one.db"


@pytest.fixture
def connections(url: str) -> KeptConnections:
    """To databases of which the first has a table."""
    kept = KeptConnections()
    with kept.begin(url) as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.exec_driver_sql("CREATE TABLE t (n INTEGER)")
    return kept


def open_databases(folder: Path) -> set[str]:
    """Names of the databases below a folder that this process has open."""
    files = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    return {file.stem for file in files if file.is_relative_to(folder)}


def test_the_next_use_finds_it_open(connections: KeptConnections, url: str) -> None:
    with connections.begin(url) as first:
        one = first.connection.driver_connection
    with connections.begin(url) as second:
        assert second.connection.driver_connection is one


def test_an_error_undoes_what_was_done(connections: KeptConnections, url: str) -> None:
    def insert_and_fail() -> None:
        with connections.begin(url) as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")
            connection.exec_driver_sql("INSERT INTO missing VALUES (1)")

    with pytest.raises(sa.exc.OperationalError):
        insert_and_fail()
    assert rows(connections, url) == []


def test_nested_uses_and_other_threads_have_one_each(
    connections: KeptConnections, url: str
) -> None:
    seen = []

    def read() -> None:
        seen.append(rows(connections, url))

    with connections.begin(url) as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        read()
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert seen == [[], []], "what is not committed is nobody else's"
    assert rows(connections, url) == [1]


def test_few_stay_open(tmp_path: Path, connections: KeptConnections) -> None:
    for number in range(30):
        with connections.begin(f"sqlite:///{tmp_path}/{number}.db") as connection:
            connection.exec_driver_sql("CREATE TABLE t (n INTEGER)")
    assert open_databases(tmp_path) == {str(n) for n in range(22, 30)}
    connections.close()
    assert open_databases(tmp_path) == set()


def test_closed_ones_open_again(connections: KeptConnections, url: str) -> None:
    connections.close()
    assert rows(connections, url) == []


def test_a_forked_process_has_its_own(
    connections: KeptConnections, url: str, tmp_path: Path
) -> None:
    with connections.begin(url) as connection:
        kept = connection.connection.driver_connection
    child = os.fork()
    if not child:
        code = 1
        try:
            with connections.begin(url) as connection:
                connection.exec_driver_sql("INSERT INTO t VALUES (2)")
                code = 3 if connection.connection.driver_connection is kept else 0
            connections.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with connections.begin(url) as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    assert rows(connections, url) == [2, 1]


def rows(connections: KeptConnections, url: str) -> list[int]:
    with connections.begin(url) as connection:
        return list(connection.execute(sa.text("SELECT n FROM t")).scalars())
