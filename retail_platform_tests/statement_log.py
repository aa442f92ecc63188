"""What this process sends to Snowflake, on which warehouses, and how often it wakes them."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

SUSPENDS_AFTER = 60.0
"""Seconds; auto_suspend of all warehouses that snowflake_setup/ makes."""

_COMMENTS = re.compile(r"\s*(?:/\*.*?\*/|--[^\n]*\n)\s*", re.DOTALL)
_COMPUTES = re.compile(
    r"(select|with|insert|delete|update|merge|copy)\b|create\b.*?\b(table)\b.*?\bas\b\s*\(?\s*"
    r"(select|with)\b",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Sent:
    """One statement.

    Attributes:
        began, ended: seconds of this machine's clock.
    """

    sql: str
    warehouse: str
    began: float
    ended: float

    @property
    def needs_warehouse(self) -> bool:
        """Whether Snowflake would have to wake a warehouse for it.

        Definitions, settings, SHOW and DESCRIBE are answered without. Some queries are, too, e.g.
        from cached results; they count all the same.
        """
        text = _COMMENTS.sub(" ", self.sql).strip()
        return _COMPUTES.match(text) is not None


@dataclass
class StatementLog:
    """Everything that was sent, in order, and how many sessions it took."""

    sent: list[Sent] = field(default_factory=list)
    sessions: int = 0

    def on(self, warehouse: str) -> list[Sent]:
        """Statements that a warehouse had to be awake for."""
        return [s for s in self.sent if s.warehouse == warehouse and s.needs_warehouse]

    def wakes(self) -> Counter[str]:
        """How often each warehouse was woken: statements closer than it suspends are one wake."""
        found: Counter[str] = Counter()
        for warehouse in {s.warehouse for s in self.sent}:
            awake_until = float("-inf")
            for one in sorted(self.on(warehouse), key=lambda s: s.began):
                found[warehouse] += one.began > awake_until
                awake_until = max(awake_until, one.ended + SUSPENDS_AFTER)
        return found


@contextmanager
def statement_log() -> Iterator[StatementLog]:
    """Write down what this process sends, whoever sends it, for the length of a block."""
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

    log = StatementLog()
    warehouses: dict[int, str] = {}
    execute, connect = SnowflakeCursor.execute, SnowflakeConnection.connect

    def connecting(self: Any, **arguments: Any) -> Any:
        log.sessions += 1
        warehouses[id(self)] = arguments.get("warehouse", "")
        return connect(self, **arguments)

    def recording(self: Any, command: str, *arguments: Any, **options: Any) -> Any:
        session = id(self.connection)
        if used := re.match(r"\s*use\s+warehouse\s+(\w+)", command, re.IGNORECASE):
            warehouses[session] = used[1]
        began = time.monotonic()
        try:
            return execute(self, command, *arguments, **options)
        finally:
            told = arguments[0] if arguments and arguments[0] else ()
            sql = command % tuple(map(repr, told)) if told else command
            log.sent.append(Sent(sql, warehouses.get(session, ""), began, time.monotonic()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SnowflakeConnection, "connect", connecting)
        patch.setattr(SnowflakeCursor, "execute", recording)
        yield log
