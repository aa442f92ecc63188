"""Which deliveries were due and did not come, or came late.

A contract says on which days its feed delivers, the registry until when; the lake says what came.
Pure functions of these and the time: who asks, and who is told, is decided elsewhere.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays

from retail_platform.contract import FeedContract
from retail_platform.countries import ALL, CountryRegistry
from retail_platform.lake.inbox import Waiting
from retail_platform.lake.manifest import read_manifests
from retail_platform.lake.store import MANIFESTS, Lake
from retail_platform.partitions import LOOKBACK_DAYS, Partition

PATIENCE = timedelta(hours=1)
"""How long the halves of a delivery may lie apart: senders write them one after the other."""

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Gap:
    """A delivery that did not come in time.

    Attributes:
        due: until when, UTC.
        delivered_at: when it came after all, None while it is missing.
        waits_for: what has not come of a delivery of which one half is there.
    """

    feed: str
    partition: Partition
    due: datetime
    delivered_at: datetime | None
    waits_for: str = ""

    @property
    def missing(self) -> bool:
        """Whether it has not come yet."""
        return self.delivered_at is None

    def as_json(self) -> dict[str, str | None]:
        """Plain values for `--json` and check metadata."""
        return {
            "feed": self.feed,
            "partition": str(self.partition),
            "due": f"{self.due:%Y-%m-%d %H:%M} UTC",
            "delivered": f"{self.delivered_at:%Y-%m-%d %H:%M} UTC" if self.delivered_at else None,
            "waits_for": self.waits_for or None,
        }


def due_at(
    contract: FeedContract, registry: CountryRegistry, partition: Partition
) -> datetime | None:
    """Until when a partition is due: the next morning, at its country's deadline.

    Returns:
        UTC; None when the contract expects nothing that day.
    """
    expected = contract.ingestion.expected
    if expected is None or partition.day.weekday() not in expected.weekday_numbers:
        return None
    if expected.closed_on and partition.day in _closed_days(
        expected.closed_on, partition.country, partition.day.year
    ):
        return None
    zone, deadline = "UTC", expected.deadline
    if partition.country != ALL:
        country = registry[partition.country]
        zone, deadline = country.timezone, expected.deadline or country.feed_deadline
    at = time.fromisoformat(deadline or "06:00")
    local = datetime.combine(partition.day + _ONE_DAY, at, ZoneInfo(zone))
    return local.astimezone(UTC)


@lru_cache(maxsize=256)
def _closed_days(calendar: str, country: str, year: int) -> frozenset[date]:
    if calendar == "country_holidays":
        return frozenset(holidays.country_holidays(country, years=year))
    return frozenset(holidays.financial_holidays(calendar, years=year))


def find_gaps(
    lake: Lake,
    contracts: Mapping[str, FeedContract],
    registry: CountryRegistry,
    now: datetime,
    days: int = LOOKBACK_DAYS,
    waiting: Iterable[Waiting] = (),
) -> list[Gap]:
    """Deliveries of the last days that were due and are missing, or came late.

    Expected is what a feed and country has delivered before: nothing is missing from a partner who
    has not started, and what was due before the first delivery is a backlog, not a delay.

    Args:
        now: UTC.
        days: how far back to look.
        waiting: halves of deliveries in the inbox; each is a gap after a while, whatever is
            expected of its day.
    """
    since = now.date() - timedelta(days=days)
    gaps = [
        Gap(
            half.arrival.file.feed,
            Partition(half.arrival.file.country, half.arrival.file.day),
            half.arrival.object.modified + PATIENCE,
            None,
            str(half),
        )
        for half in waiting
        if half.arrival.object.modified + PATIENCE < now and half.arrival.file.feed in contracts
    ]
    halves = {(gap.feed, gap.partition) for gap in gaps}
    there = _days_there(lake, contracts)
    for feed, by_country in there.items():
        contract = contracts[feed]
        firsts = {c: Partition(c, min(days_there)) for c, days_there in by_country.items()}
        recent = [Partition(c, d) for c, found in by_country.items() for d in found if d >= since]
        delivered = _delivered(lake, feed, {*firsts.values(), *recent})
        for country, days_there in by_country.items():
            started = delivered[firsts[country]]
            for day in _each_day(since, now.date()):
                partition = Partition(country, day)
                due = due_at(contract, registry, partition)
                if due is None or due > now or due < started:
                    continue
                came = delivered.get(partition) if day in days_there else None
                if (feed, partition) in halves:
                    continue
                if came is None or came > due:
                    gaps.append(Gap(feed, partition, due, came))
    return sorted(gaps, key=lambda g: (g.feed, g.partition.day, g.partition.country))


def _days_there(
    lake: Lake, contracts: Mapping[str, FeedContract]
) -> dict[str, dict[str, set[date]]]:
    """Feed -> country -> batch days with a delivery, of feeds that are expected at all."""
    found: dict[str, dict[str, set[date]]] = defaultdict(lambda: defaultdict(set))
    for obj in lake.list(MANIFESTS):
        feed, country, name = obj.path.removeprefix(MANIFESTS).split("/")
        if feed in contracts and contracts[feed].ingestion.expected:
            found[feed][country].add(date.fromisoformat(name.removesuffix(".json")))
    return found


def _delivered(lake: Lake, feed: str, partitions: Iterable[Partition]) -> dict[Partition, datetime]:
    """When the first file of each partition came."""
    return {
        partition: min(d.delivered_at for d in manifest.deliveries)
        for partition, manifest in read_manifests(lake, feed, partitions).items()
    }


def _each_day(first: date, last: date) -> Iterable[date]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))
