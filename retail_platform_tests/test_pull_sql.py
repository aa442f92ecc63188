"""Pulled tables of a real PostgreSQL, up to the inbox and through the gate into RAW."""

import gzip
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from retail_platform.contract import read_contract
from retail_platform.errors import SourceRefused, SourceUnavailable
from retail_platform.lake.store import INBOX
from retail_platform.pull.cursor import read_cursor
from retail_platform.pull.puller import Puller, Report
from retail_platform.pull.sources import SqlSource
from retail_platform_tests.builders import CONTRACTS, REGISTRY, Desk, local_desk
from retail_platform_tests.services import pull_killed_at
from retail_platform_tests.test_pull import CONTRACT

URL = "WEB_DATABASE_URL"
TABLE = """
create table {schema}.orders (
    order_id text primary key, status text, amount numeric(18, 2), updated_at timestamp,
    country text default 'FR')
"""


@pytest.fixture
def database(
    postgres_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[sa.Engine]:
    """A schema `web` of its own with a table of orders; the URL is in the environment."""
    monkeypatch.setenv(URL, f"{postgres_server}postgres")
    engine = sa.create_engine(f"{postgres_server}postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("drop schema if exists web cascade"))
        connection.execute(sa.text("create schema web"))
        connection.execute(sa.text(TABLE.format(schema="web")))
    yield engine
    engine.dispose()


@pytest.fixture
def contract_path(tmp_path: Path) -> Path:
    path = tmp_path / "web_orders.odcs.yaml"
    text = CONTRACT.format(ingestion="{scope: country, drift: rescue}")
    path.write_text(text.replace("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S%.f"))
    return path


@pytest.fixture
def desk(tmp_path: Path, contract_path: Path) -> Desk:
    later = datetime.now(UTC) + timedelta(hours=1)
    contracts = {**CONTRACTS, "web_orders": read_contract(contract_path)}
    return local_desk(tmp_path, contracts=contracts, now=later)


def source(**changes: Any) -> dict[str, Any]:
    values = {
        "name": "web",
        "kind": "sql",
        "feed": "web_orders",
        "countries": {"FR": "FR", "DE": "DE"},
        "url": f"${{{URL}}}",
        "table": "web.orders",
        "incremental": {"field": "updated_at", "overlap": 600},
        "chunk_rows": 4,
    }
    return {**values, **changes}


@pytest.fixture
def pull(desk: Desk, database: sa.Engine) -> Callable[..., Report]:
    def run(country: str = "FR", *, days: Any = None, **changes: Any) -> Report:
        from retail_platform.secrets import secret

        model = SqlSource.model_validate(source(**changes))
        now = datetime(2025, 1, 11, 12, tzinfo=UTC)
        puller = Puller(
            desk.lake, model, desk.contracts["web_orders"], REGISTRY, secret, now=lambda: now
        )
        return puller.pull_days(country, *days) if days else puller.pull(country)

    return run


def write(database: sa.Engine, statement: str) -> None:
    with database.connect() as connection:
        connection.execute(sa.text(statement))


def insert(database: sa.Engine, first: int, last: int, at: str = "2025-01-11 10:00") -> None:
    write(
        database,
        "insert into web.orders (order_id, status, amount, updated_at) "
        f"select 'o-' || n, 'paid', n + 0.10, timestamp '{at}' + n * interval '1 second' "
        f"from generate_series({first}, {last}) n",
    )


def raw(desk: Desk) -> list[tuple[str, str]]:
    desk.take_in()
    return desk.raw("web_orders", "order_id, status")


def test_inserts_updates_and_quiet(desk: Desk, database: sa.Engine, pull: Any) -> None:
    insert(database, 1, 3)
    first = pull()
    assert (first.rows, first.cursor_after) == (3, "2025-01-11T10:00:03")
    text = gzip.decompress(desk.lake.get(INBOX + first.files[0].name)).decode()
    assert text.splitlines()[:2] == [
        "order_id,status,amount,updated_at,country",
        "o-1,paid,1.10,2025-01-11 10:00:01,FR",
    ]
    write(
        database,
        "update web.orders set status = 'sent', updated_at = '2025-01-11 10:30:00.123456' "
        "where order_id = 'o-2'",
    )
    second = pull()
    assert (second.rows, second.repeated) == (1, 2)
    assert pull().files == []
    assert raw(desk) == [("o-1", "paid"), ("o-2", "paid"), ("o-2", "sent"), ("o-3", "paid")]


def test_a_transaction_that_commits_late(desk: Desk, database: sa.Engine, pull: Any) -> None:
    """It said 10:00:05 before the pull and became visible after one that saw 10:00:07."""
    slow = sa.create_engine(database.url).connect()
    slow.execute(
        sa.text("insert into web.orders values ('late', 'paid', 1, '2025-01-11 10:00:05', 'FR')")
    )
    insert(database, 1, 7)
    assert pull().rows == 7
    slow.commit()
    slow.close()
    assert pull().rows == 1
    write(database, "insert into web.orders values ('later', '', 1, '2025-01-11 09:50:07', 'FR')")
    assert pull().rows == 1, "the reach of ten minutes includes its end"
    assert len(raw(desk)) == 9


def test_a_table_larger_than_a_chunk(desk: Desk, database: sa.Engine, pull: Any) -> None:
    """Every chunk is a file and a step of the cursor; also when all rows changed at once."""
    insert(database, 5, 10)
    insert(database, 1, 4)
    report = pull()
    assert [f.rows for f in report.files] == [4, 4, 2]
    text = gzip.decompress(desk.lake.get(INBOX + report.files[0].name)).decode()
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == ["o-1", "o-2", "o-3", "o-4"]
    write(database, "update web.orders set status = 'sent', updated_at = '2025-01-11 11:00'")
    again = pull()
    assert [f.rows for f in again.files] == [4, 4, 2]
    assert len({f.name for f in (*report.files, *again.files)}) == 6
    assert len(raw(desk)) == 20


@pytest.mark.parametrize("step", ["put2", "commit2", "done2"])
def test_killed_in_the_second_chunk(
    desk: Desk, database: sa.Engine, pull: Any, step: str, tmp_path: Path, contract_path: Path
) -> None:
    insert(database, 1, 10)
    pull_killed_at(step, (tmp_path / "lake").as_uri(), contract_path, source(), "FR")
    write(database, "update web.orders set updated_at = '2025-01-11 11:00' where order_id = 'o-9'")
    report = pull()
    assert report.rows == (6 if step == "put2" else 2)
    assert [order for order, _ in raw(desk)] == sorted(f"o-{n}" for n in range(1, 11))
    assert read_cursor(desk.lake, "web", "FR").pending is None


def test_a_query_for_each_country(desk: Desk, database: sa.Engine, pull: Any) -> None:
    insert(database, 1, 3)
    write(database, "update web.orders set country = 'DE' where order_id = 'o-2'")
    query = "select order_id, status, amount, updated_at from web.orders where country = :country;"
    for country in ("FR", "DE"):
        pull(country, table=None, query=query)
    desk.take_in()
    assert desk.raw_counts("web_orders") == {"FR": 2, "DE": 1}


def test_a_window_by_day(desk: Desk, database: sa.Engine, pull: Any) -> None:
    for day in (2, 3, 4):
        insert(database, day * 10, day * 10 + 1, f"2025-01-0{day} 23:59:00")
    days = datetime(2025, 1, 3).date(), datetime(2025, 1, 4).date()  # noqa: DTZ001
    for _ in range(2):
        report = pull(days=days)
        assert [(str(f.day), f.rows) for f in report.files] == [
            ("2025-01-03", 2),
            ("2025-01-04", 2),
        ]
        assert len(raw(desk)) == 4


def test_errors_name_no_password_and_no_row(
    desk: Desk, database: sa.Engine, pull: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceRefused, match=r"updated_on.*does not exist.*Correct the source"):
        pull(incremental={"field": "updated_on"})
    monkeypatch.setenv(URL, "postgresql+psycopg2://web:pa55word@127.0.0.1:9/web")
    with pytest.raises(SourceUnavailable, match=r"web.orders in \$\{WEB_DATABASE_URL\}") as caught:
        pull()
    assert "pa55word" not in str(caught.value)
    assert caught.value.__suppress_context__
    monkeypatch.setenv(URL, "teradatasql://web:pa55word@db/web")
    with pytest.raises(SourceRefused, match="driver that is not installed"):
        pull()
    monkeypatch.setenv(URL, "pa55word")
    with pytest.raises(SourceRefused, match="is no SQLAlchemy URL") as caught:
        pull()
    assert "pa55word" not in str(caught.value)
    assert not desk.inbox()
