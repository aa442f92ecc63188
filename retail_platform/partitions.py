"""Country x day partitions: keys, definitions, rectangles and the mappings between layers.

Everything that knows how a partition is written or which partitions depend on which is here.
Two meanings of `day` share these definitions: up to staging it is the BATCH day (from the file
name), from the intermediate layer on it is the BUSINESS day (when it happened).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import dagster as dg

from retail_platform.countries import ALL, CountryRegistry

LOOKBACK_DAYS = 7
"""A business day is rebuilt from the files of this many batch days, its own included. Measured
retail practice: tills upload late after network trouble, practically never later than a week;
what is later still is rebuilt too, but reported."""

HISTORY_DAYS = 3653
"""How far back "all days before" reaches: ten years, more than any installation has partitions."""

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
_SINGLE_TAG = "dagster/partition"
_DAY = timedelta(days=1)


class Scope(StrEnum):
    """Whether an asset has one partition per country, or one for everybody."""

    COUNTRY = "country"
    GLOBAL = "global"


class Partition(NamedTuple):
    """One country (or ALL) on one day."""

    country: str
    day: date

    def __str__(self) -> str:
        return f"{self.country}|{self.day.isoformat()}"

    @classmethod
    def parse(cls, key: str) -> "Partition":
        """Read Dagster's key, e.g. ``FR|2025-01-11``."""
        return _parsed(key)


@lru_cache(maxsize=100_000)
def _parsed(key: str) -> Partition:
    country, _, day = key.partition("|")
    return Partition(country, date.fromisoformat(day))


def range_of(tags: Mapping[str, str]) -> tuple[str, str] | None:
    """First and last partition key that a run says it is for; None if it is for no partition."""
    start = tags.get(RANGE_START_TAG) or tags.get(_SINGLE_TAG)
    return (start, tags.get(RANGE_END_TAG) or start) if start else None


@dataclass(frozen=True)
class Slices:
    """A rectangle of partitions: some countries x contiguous days, both ends included."""

    countries: tuple[str, ...]
    first_day: date
    last_day: date

    def __iter__(self) -> Iterator[Partition]:
        for offset in range(self.days):
            for country in self.countries:
                yield Partition(country, self.first_day + offset * _DAY)

    def __len__(self) -> int:
        return len(self.countries) * self.days

    def __str__(self) -> str:
        days = self.first_day.isoformat()
        if self.days > 1:
            days += f"...{self.last_day.isoformat()}"
        return f"{','.join(self.countries)} {days}"

    @property
    def days(self) -> int:
        """How many days, at least one."""
        return (self.last_day - self.first_day).days + 1

    @property
    def ends(self) -> tuple[Partition, Partition]:
        """First and last of the partitions."""
        return (
            Partition(self.countries[0], self.first_day),
            Partition(self.countries[-1], self.last_day),
        )

    def condition(self, day: str) -> str:
        """SQL: rows of these partitions, of a table with `country` and this column of days."""
        countries = ", ".join(f"'{c}'" for c in self.countries)
        return (
            f"{day} between date '{self.first_day}' and date '{self.last_day}' "
            f"and country in ({countries})"
        )

    def run_tags(self) -> dict[str, str]:
        """Tags that make one Dagster run cover exactly these partitions."""
        first, last = self.ends
        return {RANGE_START_TAG: str(first), RANGE_END_TAG: str(last)}

    @classmethod
    def of(cls, partitions: Iterable[Partition], order: Collection[str]) -> "Slices":
        """The one rectangle that these partitions fill completely.

        Raises:
            ValueError: the partitions are empty or leave holes.
        """
        keys = set(partitions)
        if not keys:
            raise ValueError("No partitions: a range whose start lies after its end?")
        box = bounding_slices(keys, order)
        present = {key.country for key in keys}
        box = cls(tuple(c for c in box.countries if c in present), box.first_day, box.last_day)
        if len(box) != len(keys):
            raise ValueError(
                f"{len(keys)} partitions do not fill {box} ({len(box)} partitions). "
                "Run them as several ranges; `retail backfill` splits any selection."
            )
        return box


def bounding_slices(partitions: Iterable[Partition], order: Collection[str]) -> Slices:
    """Smallest Dagster range around partitions; `order` is the order of country keys."""
    keys = set(partitions)
    ranked = list(order)
    positions = [ranked.index(key.country) for key in keys]
    days = [key.day for key in keys]
    countries = tuple(ranked[min(positions) : max(positions) + 1])
    return Slices(countries, min(days), max(days))


def rectangles(
    partitions: Iterable[Partition], order: Collection[str], *, days_together: bool = False
) -> list[Slices]:
    """Cover any set of partitions exactly with few disjoint ranges.

    Dagster's own conversion yields a range per country or per day; a run start costs seconds, so
    blocks of neighbouring countries x days are worth finding. Of two ways the one with fewer ranges
    is taken; at a tie the one that keeps a country's days together.

    Args:
        days_together: never split contiguous days of a country.
    """
    ranked = list(order)
    keys = set(partitions)
    by_country = _by_country(keys, ranked)
    return by_country if days_together else min(by_country, _by_day(keys, ranked), key=len)


def joined(
    exact: Iterable[Slices], order: Collection[str], is_spare: Callable[[set[Partition]], bool]
) -> list[Slices]:
    """Ranges of which neighbours are one where they are most of the block around both.

    Three late files are a run for three countries instead of three runs, each of which takes
    seconds to start; a block that is mostly of others would be more work than it saves.

    Args:
        exact: disjoint ranges.
        is_spare: whether these partitions may be built though nobody asked for them.
    """
    parts = sorted(exact, key=lambda part: (part.first_day, part.last_day))
    wanted = {partition for part in parts for partition in part}
    found: list[Slices] = []
    for part in parts:
        block = bounding_slices([*found[-1].ends, *part.ends], order) if found else part
        others = set(block) - wanted
        if found and 2 * len(others) <= len(block) and is_spare(others):
            found[-1] = block
        else:
            found.append(part)
    return found


def _by_country(keys: set[Partition], ranked: list[str]) -> list[Slices]:
    """A country's contiguous days are one range; neighbours with the same days share it."""
    spans: dict[tuple[int, int], set[int]] = {}
    for number, country in enumerate(ranked):
        days = {key.day.toordinal() for key in keys if key.country == country}
        for span in _contiguous(days):
            spans.setdefault(span, set()).add(number)
    return [
        Slices(tuple(ranked[lo : hi + 1]), date.fromordinal(first), date.fromordinal(last))
        for (first, last), numbers in sorted(spans.items())
        for lo, hi in _contiguous(numbers)
    ]


def _by_day(keys: set[Partition], ranked: list[str]) -> list[Slices]:
    """Sweep over the days; a block of countries grows while the next day has the same block."""
    by_day: dict[date, set[int]] = {}
    for key in keys:
        by_day.setdefault(key.day, set()).add(ranked.index(key.country))
    done: list[tuple[date, int, int, date]] = []
    growing: dict[tuple[int, int], tuple[date, date]] = {}
    for day in sorted(by_day):
        still: dict[tuple[int, int], tuple[date, date]] = {}
        for block in _contiguous(by_day[day]):
            first, last = growing.pop(block, (day, day))
            if last < day - _DAY:
                done.append((first, *block, last))
                first = day
            still[block] = (first, day)
        done += [(first, *block, last) for block, (first, last) in growing.items()]
        growing = still
    done += [(first, *block, last) for block, (first, last) in growing.items()]
    return [Slices(tuple(ranked[lo : hi + 1]), first, last) for first, lo, hi, last in sorted(done)]


def _contiguous(numbers: set[int]) -> list[tuple[int, int]]:
    blocks: list[tuple[int, int]] = []
    for n in sorted(numbers):
        if blocks and n == blocks[-1][1] + 1:
            blocks[-1] = (blocks[-1][0], n)
        else:
            blocks.append((n, n))
    return blocks


class CountryDayPartitions(dg.MultiPartitionsDefinition):
    """Dagster's country x day partitions, but each key is made once.

    Dagster makes the keys of a range anew for every asset and mapping that asks for them, which
    takes about as long as storing the events of these partitions.
    """

    def __init__(self, partitions_defs: Mapping[str, dg.PartitionsDefinition]) -> None:
        """Dimensions as Dagster takes them; their keys are known without a look at the instance."""
        super().__init__(partitions_defs)
        self._known: dict[str, dg.MultiPartitionKey] = {}

    def get_partition_key_from_str(self, partition_key_str: str) -> dg.MultiPartitionKey:
        """The key that is written like this."""
        key = self._known.get(partition_key_str)
        if key is None:
            key = super().get_partition_key_from_str(partition_key_str)
            self._known[partition_key_str] = key
        return key

    def get_partition_keys_in_range(
        self, partition_key_range: dg.PartitionKeyRange, dynamic_partitions_store: Any = None
    ) -> list[dg.MultiPartitionKey]:
        """Countries from one to the other, each with the days from one to the other."""
        start, end = map(self.get_partition_key_from_str, partition_key_range)
        dimensions = [
            dimension.partitions_def.get_partition_keys_in_range(
                dg.PartitionKeyRange(
                    start.keys_by_dimension[dimension.name], end.keys_by_dimension[dimension.name]
                )
            )
            for dimension in self.partitions_defs
        ]
        return [self.get_partition_key_from_str("|".join(keys)) for keys in product(*dimensions)]


@dataclass(frozen=True)
class Partitioning:
    """The two partition definitions of an installation and the mappings between layers."""

    codes: tuple[str, ...]
    first_day: date
    last_day: date | None
    country: dg.MultiPartitionsDefinition
    everywhere: dg.MultiPartitionsDefinition

    @classmethod
    def build(
        cls, registry: CountryRegistry, first_day: date, last_day: date | None = None
    ) -> "Partitioning":
        """`end_offset=1`: today's files are today's partition, not tomorrow's.

        Args:
            last_day: without it a partition comes every day.
        """
        day = dg.DailyPartitionsDefinition(
            start_date=str(first_day),
            end_date=str(last_day + _DAY) if last_day else None,
            end_offset=1,
        )

        def with_countries(codes: Collection[str]) -> dg.MultiPartitionsDefinition:
            return CountryDayPartitions(
                {"country": dg.StaticPartitionsDefinition(list(codes)), "day": day}
            )

        return cls(
            registry.codes,
            first_day,
            last_day,
            with_countries(registry.codes),
            with_countries([ALL]),
        )

    def has(self, day: date) -> bool:
        """Whether a day is none before the first or after the last; today is not asked."""
        return self.first_day <= day and (self.last_day is None or day <= self.last_day)

    def of(self, scope: Scope) -> dg.MultiPartitionsDefinition:
        """Definition for assets of a scope."""
        return self.country if scope is Scope.COUNTRY else self.everywhere

    def order(self, scope: Scope) -> tuple[str, ...]:
        """Country keys of a scope in partition order."""
        return self.codes if scope is Scope.COUNTRY else (ALL,)

    def same_day(self) -> dg.PartitionMapping:
        """Country and day of the input are those of the output."""
        return self.window(0)

    def lookback(self) -> dg.PartitionMapping:
        """Business day S reads batch days S ... S+6: a late file makes S-6 ... S stale."""
        return self._mapping(dg.IdentityPartitionMapping(), _days(0, LOOKBACK_DAYS - 1))

    def carried_rates(self) -> dg.PartitionMapping:
        """Rates of day S come from rate days S-6 ... S, each delivered up to six days late."""
        return self._mapping(
            dg.IdentityPartitionMapping(), _days(1 - LOOKBACK_DAYS, LOOKBACK_DAYS - 1)
        )

    def window(self, days_before: int | None, days_after: int = 0) -> dg.PartitionMapping:
        """Day S reads days S - before ... S + after of an input of the same kind of day.

        Args:
            days_before: None for all days before.
        """
        return self._mapping(dg.IdentityPartitionMapping(), _window(days_before, days_after))

    def own_past(self) -> dg.PartitionMapping:
        """Day S of an asset is made of its own days before S."""
        return self._mapping(dg.IdentityPartitionMapping(), _days(-HISTORY_DAYS, -1))

    def from_global(self, days_before: int | None = 0, days_after: int = 0) -> dg.PartitionMapping:
        """Every country reads the one global partition of the same day, or of days around it.

        Args:
            days_before: None for all days before.
        """
        broadcast = dg.StaticPartitionMapping({ALL: list(self.codes)})
        return self._mapping(broadcast, _window(days_before, days_after))

    @staticmethod
    def _mapping(country: dg.PartitionMapping, day: dg.PartitionMapping) -> dg.PartitionMapping:
        return dg.MultiPartitionMapping(
            {
                "country": dg.DimensionPartitionMapping("country", country),
                "day": dg.DimensionPartitionMapping("day", day),
            }
        )


def _window(days_before: int | None, days_after: int) -> dg.PartitionMapping:
    if days_before == days_after == 0:
        return dg.IdentityPartitionMapping()
    return _days(-(HISTORY_DAYS if days_before is None else days_before), days_after)


def _days(start: int, end: int) -> dg.PartitionMapping:
    return dg.TimeWindowPartitionMapping(
        start_offset=start, end_offset=end, allow_nonexistent_upstream_partitions=True
    )
