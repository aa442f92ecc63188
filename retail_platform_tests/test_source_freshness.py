"""`dbt source freshness` on DuckDB: how long ago each feed was loaded, and what dbt says of it.

That the limits are those of the contracts is in `test_contracts`.
"""

from datetime import UTC, datetime, timedelta

import pytest

from retail_platform_tests.builders import CONTRACTS
from retail_platform_tests.dbt_warehouse import Warehouse, outcomes

MINUTE = timedelta(minutes=1)


def loaded(warehouse: Warehouse, feed: str, ago: timedelta) -> None:
    """A partition of the feed was loaded then, without a row in it."""
    warehouse.insert(
        "file_ledger",
        {"feed": feed, "loaded_at": datetime.now(UTC).replace(tzinfo=None) - ago},
    )


def freshness(warehouse: Warehouse, select: str = "source:raw") -> dict[str, str]:
    return outcomes(warehouse.dbt("source", "freshness", "--select", select))


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Asia/Shanghai"])
def test_a_feed_is_fresh_then_warned_about_then_stale(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """Every feed is as old as it may be, or a little older, wherever the machine stands."""
    monkeypatch.setenv("TZ", zone)
    expected = {}
    for n, (feed, contract) in enumerate(CONTRACTS.items()):
        warn, error = contract.freshness
        ago, status = (
            (warn - MINUTE, "pass"),
            (warn + MINUTE, "warn"),
            (error - MINUTE, "warn"),
            (error + MINUTE, "error"),
        )[n % 4]
        loaded(warehouse, feed, ago)
        loaded(warehouse, feed, timedelta(days=99))
        expected[feed] = status
    assert freshness(warehouse) == expected


def test_a_feed_that_was_never_loaded_is_stale(warehouse: Warehouse) -> None:
    loaded(warehouse, "pos_events", MINUTE)
    select = "source:raw.pos_events source:raw.transactions"
    assert freshness(warehouse, select) == {"pos_events": "pass", "transactions": "error"}
