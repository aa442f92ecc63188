"""What kind of failure an error is: whose, and whether trying again may help. One function says."""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
from obstore.exceptions import BaseError as ObstoreError
from obstore.exceptions import GenericError

from retail_platform.errors import SourceUnavailable, Terminal, Transient, WarehouseBusy

OBJECT_STORE = "object store"
QUEUE = "queue"
WAREHOUSE = "warehouse"


def pulled_source(name: str) -> str:
    """What a pulled source is called among dependencies."""
    return f"source {name}"


_WAREHOUSE_AWAY = ("could not set lock", "could not connect to snowflake backend")
"""What dbt hands on of an error of its adapter."""

_STATUS = re.compile(r"status code: (\d{3})")
_NO_ANSWER = re.compile(r"http error|error sending request|timed out|connection", re.IGNORECASE)
_THROTTLED = frozenset(
    {
        "Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded",
        "SlowDown", "TooManyRequestsException", "RequestTimeout", "ServiceUnavailable",
        "InternalError", "KMSThrottlingException",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """What an error is a sign of.

    Attributes:
        transient: trying again later may help.
        dependency: what failed, None when nothing outside did or it cannot be told.
    """

    transient: bool
    dependency: str | None = None


def classify(error: BaseException) -> Failure:
    """Judge an error by itself and by what caused it; the first line that fits counts.

    ==========================================================  ============  =========
    error                                                       dependency    transient
    ==========================================================  ============  =========
    `Terminal`: bad data, bad configuration, wrong counts                     no
    `WarehouseBusy`: another process holds the file             warehouse     yes
    `SourceUnavailable`: a pulled source does not answer        source <name> yes
    any other `Transient`                                                     yes
    DuckDB cannot lock its file (also through dbt, as text)     warehouse     yes
    Snowflake does not answer (also through dbt, as text)       warehouse     yes
    obstore: time-out, refused connection, 429, 5xx             object store  yes
    obstore: anything else                                      object store  no
    botocore: no connection, time-out, throttled, 5xx           queue         yes
    SQLite is locked (Dagster's storage, the outbox)                          yes
    `ConnectionError`, `TimeoutError`                                         yes
    everything else: a bug, or data nobody thought of                         no
    ==========================================================  ============  =========

    A `PermissionError` or a missing object stays what it is until somebody changes something.
    """
    for cause in _causes(error):
        found = _judge(cause)
        if found:
            return found
    return Failure(transient=False)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, outermost first; each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )


def _judge(error: BaseException) -> Failure | None:
    text = str(error).lower()
    if isinstance(error, Terminal):
        return Failure(transient=False)
    if isinstance(error, WarehouseBusy) or any(words in text for words in _WAREHOUSE_AWAY):
        return Failure(transient=True, dependency=WAREHOUSE)
    if isinstance(error, SourceUnavailable) and error.source:
        return Failure(transient=True, dependency=pulled_source(error.source))
    if isinstance(error, Transient):
        return Failure(transient=True)
    if isinstance(error, duckdb.IOException) and "lock" in text:
        return Failure(transient=True, dependency=WAREHOUSE)
    if type(error).__module__ == "snowflake.connector.errors" and _snowflake_may_recover(error):
        return Failure(transient=True, dependency=WAREHOUSE)
    if isinstance(error, ObstoreError):
        may_pass = isinstance(error, GenericError) and _store_may_recover(str(error))
        return Failure(transient=may_pass, dependency=OBJECT_STORE)
    if type(error).__module__.startswith("botocore"):
        return Failure(transient=_aws_may_recover(error), dependency=QUEUE)
    if isinstance(error, sqlite3.OperationalError) and ("locked" in text or "busy" in text):
        return Failure(transient=True)
    if isinstance(error, (ConnectionError, TimeoutError)):
        return Failure(transient=True)
    return None


def _snowflake_may_recover(error: BaseException) -> bool:
    """The connection, or something on its way; a statement that is refused stays refused."""
    from snowflake.connector import errors  # noqa: PLC0415 - imported already by who raised it

    return isinstance(
        error,
        (
            errors.OperationalError,
            errors.InterfaceError,
            errors.InternalServerError,
            errors.ServiceUnavailableError,
            errors.GatewayTimeoutError,
            errors.BadGatewayError,
            errors.RequestTimeoutError,
            errors.TooManyRequests,
            errors.OtherHTTPRetryableError,
        ),
    )


def _store_may_recover(text: str) -> bool:
    """Obstore has one class for all of it; what it says has been the same since it exists."""
    status = _STATUS.search(text)
    if status:
        return int(status[1]) in (408, 429, 500, 502, 503, 504)
    return bool(_NO_ANSWER.search(text))


def _aws_may_recover(error: BaseException) -> bool:
    from botocore.exceptions import (  # noqa: PLC0415 - imported already by who raised the error
        ClientError,
        ConnectionError,
        HTTPClientError,
    )

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or error.response.get("Error", {}).get("Code") in _THROTTLED
    return isinstance(error, (ConnectionError, HTTPClientError))
