"""What an account tells of itself, made up so that it can be added by hand.

Days are days ago, because the models read the last ones only.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from snowflake.connector import SnowflakeConnection

LOAD, TRANSFORM, BI = "RETAIL_LOAD_XS", "RETAIL_TRANSFORM_XS", "RETAIL_BI_XS"
PLATFORM, ANALYST = "RETAIL_PLATFORM", "RETAIL_ANALYST"


def day(ago: int) -> date:
    """A day, UTC."""
    return datetime.now(UTC).date() - timedelta(days=ago)


@dataclass(frozen=True)
class Statement:
    """A row of QUERY_HISTORY, and of QUERY_ATTRIBUTION_HISTORY if it has credits.

    Attributes:
        at: begin, as text with its offset from UTC.
        size: None if it needs no warehouse.
    """

    id: str
    at: str
    seconds: float
    warehouse: str
    tag: str = ""
    credits: float = 0.0
    size: str | None = "X-Small"
    role: str = PLATFORM
    queued: float = 0.0
    spilled: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Hour:
    """A row of WAREHOUSE_METERING_HISTORY."""

    at: str
    warehouse: str
    compute: float
    cloud_services: float = 0.0
    warehouse_id: int = 7


@dataclass
class History:
    """What is to be told."""

    statements: list[Statement] = field(default_factory=list)
    hours: list[Hour] = field(default_factory=list)

    def tell(self, session: SnowflakeConnection) -> None:
        """Instead of what was told before."""
        statements = self.statements
        _fill(session, "query_history", [
            (s.id, s.tag, s.role, s.warehouse, s.size, s.at, _end(s), int(s.seconds * 1000),
             int(s.queued * 1000), *s.spilled)
            for s in statements
        ])  # fmt: skip
        _fill(session, "query_attribution_history", [
            (s.id, s.warehouse, s.tag, s.at, _end(s), s.credits, None)
            for s in statements if s.credits
        ])  # fmt: skip
        _fill(session, "warehouse_metering_history", [
            (h.at, h.at, h.warehouse_id, h.warehouse, h.compute + h.cloud_services, h.compute,
             h.cloud_services)
            for h in self.hours
        ])  # fmt: skip


def _end(statement: Statement) -> str:
    return str(datetime.fromisoformat(statement.at) + timedelta(seconds=statement.seconds))


def _fill(session: SnowflakeConnection, view: str, rows: Sequence[Iterable[Any]]) -> None:
    table = f"snowflake.account_usage.{view}"
    cursor = session.cursor()
    cursor.execute(f"delete from {table}")
    values = [", ".join("null" if v is None else repr(v) for v in row) for row in rows]
    if values:
        cursor.execute(f"insert into {table} values ({'), ('.join(values)})")


def tag(run: str = "r1", **more: str) -> str:
    """As the platform says it."""
    return json.dumps({"environment": "local", "run": run, **more})


def slices(asset: str, countries: str, first: str, last: str, run: str = "r1") -> str:
    """The tag of a load or a model."""
    return tag(run, asset=asset, countries=countries, first_day=first, last_day=last)


def example() -> History:
    """Two days of one installation and of a program that is none of ours."""
    d, e = day(3), day(2)
    everything = slices("marts/fct_sales", "", "1900-01-01", "9999-12-31", "r2")
    statements = [
        Statement("load", f"{d} 10:00:00+00:00", 10, LOAD, credits=0.03,
                  tag=slices("raw/transactions", "FR", "2025-01-11", "2025-01-11")),
        # Two countries and three days: six shares.
        Statement("model", f"{d} 10:00:20+00:00", 30, TRANSFORM, credits=0.06,
                  tag=slices("staging/stg_transactions", "DE,FR", "2025-01-10", "2025-01-12")),
        Statement("again", f"{d} 10:00:55+00:00", 5, TRANSFORM, credits=0.01,
                  tag=slices("staging/stg_transactions", "FR", "2025-01-11", "2025-01-11")),
        # Needs no warehouse, so it keeps none awake: the next one wakes it after 70 s.
        Statement("setting", f"{d} 10:01:50+00:00", 1, TRANSFORM, size=None, tag=tag()),
        Statement("test", f"{d} 10:02:10+00:00", 2, TRANSFORM, credits=0.02, tag=tag()),
        Statement("all", f"{d} 12:00:00+00:00", 600, TRANSFORM, credits=1.0, tag=everything),
        # The next day, for those who look at a clock in London.
        Statement("dashboard", f"{d} 22:30:00-04:00", 60, BI, credits=0.5, role=ANALYST),
        Statement("words", f"{e} 09:00:00+00:00", 60, BI, "a workbook", 0.25, role=ANALYST),
        Statement("theirs", f"{e} 09:01:00+00:00", 60, BI, '{"app": "x"}', 0.125, role=ANALYST),
        Statement("long ago", f"{day(100)} 09:01:00+00:00", 60, BI, tag("r0"), 9.0),
    ]  # fmt: skip
    hours = [
        Hour(f"{d} 10:00:00+00:00", LOAD, 0.05, 0.001),
        Hour(f"{d} 10:00:00+00:00", TRANSFORM, 0.25, 0.002),
        Hour(f"{d} 12:00:00+00:00", TRANSFORM, 1.25),
        Hour(f"{d} 22:00:00-04:00", BI, 1.0),
        Hour(f"{e} 09:00:00+00:00", BI, 1.0),
        Hour(f"{e} 09:00:00+00:00", "CLOUD_SERVICES_ONLY", 0.0, 0.3, warehouse_id=0),
        Hour(f"{day(100)} 09:00:00+00:00", BI, 9.0),
    ]
    return History(statements, hours)


def sized() -> History:
    """Warehouses of which each is used in another way; what is to be done stands in the name."""
    usual = Statement("", f"{day(1)} 08:00:00+00:00", 10, "", credits=0.04)
    local, remote = _with(usual, spilled=(5, 0)), _with(usual, spilled=(5, 5))
    used: dict[str, tuple[list[Statement], float]] = {
        # name: its statements, metered
        "TOO_FEW_STATEMENTS": ([remote] * 19, 1.0),
        "LARGER_REMOTE": ([usual] * 19 + [remote], 1.0),
        "LARGER_LOCAL": ([usual] * 18 + [local] * 2, 1.0),
        "KEEP_LOCAL": ([usual] * 19 + [local], 1.0),
        "MORE_CLUSTERS": ([_with(usual, queued=0.5)] * 20, 1.0),
        "KEEP_QUEUE": ([_with(usual, queued=0.4)] * 20, 1.0),
        "SMALLER": ([_with(usual, seconds=4, size="Small")] * 20, 1.0),
        "KEEP_SMALLEST": ([_with(usual, seconds=4)] * 20, 1.0),
        "FEWER_WAKES": ([usual] * 20, 1.7),
    }
    history = History()
    for name, (statements, metered) in used.items():
        for n, one in enumerate(statements):
            history.statements.append(_with(one, id=f"{name}{n}", warehouse=name))
        history.hours.append(Hour(f"{day(1)} 08:00:00+00:00", name, metered))
    return history


def _with(statement: Statement, **changed: Any) -> Statement:
    return Statement(**{**vars(statement), **changed})
