"""Rows of a database, in the order of the incremental column, read from one open cursor.

SQLAlchemy alone: one statement and a stream are all that is needed, and what dlt would add (type
hints, state in a pipeline's folder) is decided here by contract and cursor. Any database with a
SQLAlchemy dialect will do; its driver has to be installed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from retail_platform.errors import SourceRefused, SourceUnavailable
from retail_platform.pull.credentials import Credentials
from retail_platform.pull.cursor import Point
from retail_platform.pull.sources import SqlSource


def sql_chunks(
    source: SqlSource,
    country: str,
    since: Point | None,
    until: Point | None,
    credentials: Credentials,
) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Rows in chunks of at most `chunk_rows`, oldest change first.

    All chunks are of one statement: what is committed while they are read belongs to the next pull.

    Args:
        country: what the source calls it.
        since, until: of the incremental column; from included, to excluded.

    Raises:
        SourceUnavailable: the database cannot be reached or gave up.
        SourceRefused: it does not understand, or its driver is not installed.
        ConfigurationError: a secret is not set.
    """
    with _telling(source, credentials), _engine(source, credentials) as engine:
        statement = _statement(source, country, since, until)
        with engine.connect() as connection:
            rows = connection.execution_options(yield_per=source.chunk_rows).execute(statement)
            for chunk in rows.mappings().partitions():
                yield [dict(row) for row in chunk]


def _statement(
    source: SqlSource, country: str, since: Point | None, until: Point | None
) -> sa.Select[Any]:
    if source.table:
        schema, _, name = source.table.rpartition(".")
        origin: sa.FromClause = sa.table(name, schema=schema or None)
    else:
        query = sa.text((source.query or "").rstrip().rstrip(";"))
        if ":country" in (source.query or ""):
            query = query.bindparams(country=country)
        origin = query.columns().subquery("pulled")
    statement: sa.Select[Any] = sa.select(sa.literal_column("*")).select_from(origin)
    if source.incremental:
        column: sa.ColumnClause[Any] = sa.column(source.incremental.field)
        statement = statement.where(column.is_not(None)).order_by(column)
        if since is not None:
            statement = statement.where(column >= since)
        if until is not None:
            statement = statement.where(column < until)
    return statement


@contextmanager
def _engine(source: SqlSource, credentials: Credentials) -> Iterator[sa.Engine]:
    text = credentials.reveal(source.url)
    try:
        url = sa.make_url(text)
        credentials.remember(str(url.password) if url.password else None)
        # Values of rows may be personal; they stay out of messages.
        engine = sa.create_engine(url, hide_parameters=True, poolclass=sa.NullPool)
    except (sa.exc.NoSuchModuleError, ImportError) as exc:
        raise SourceRefused(
            f"{source.shown} needs a driver that is not installed "
            f"({credentials.hide(str(exc))}). Install it beside the platform."
        ) from None
    except sa.exc.ArgumentError:
        raise SourceRefused(
            f"The url of source {source.name} is no SQLAlchemy URL; expected "
            "dialect+driver://user:password@host/database."
        ) from None
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _telling(source: SqlSource, credentials: Credentials) -> Iterator[None]:
    """Errors of any database as ours, without statement, parameters and secrets."""
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError) as exc:
        raise SourceUnavailable(
            f"{source.shown}: {_first_lines(exc, credentials)}. The next pull goes on where this "
            "one stopped.",
            source.name,
        ) from None
    except sa.exc.SQLAlchemyError as exc:
        raise SourceRefused(
            f"{source.shown}: {_first_lines(exc, credentials)}. Correct the source."
        ) from None


def _first_lines(error: sa.exc.SQLAlchemyError, credentials: Credentials) -> str:
    said = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
    return credentials.hide(" ".join(said.split()))[:300]
