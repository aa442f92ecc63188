"""Partitions: keys, rectangles around any selection, and which partitions depend on which."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retail_platform.countries import ALL
from retail_platform.partitions import (
    LOOKBACK_DAYS,
    RANGE_END_TAG,
    RANGE_START_TAG,
    Partition,
    Partitioning,
    Scope,
    Slices,
    bounding_slices,
    joined,
    rectangles,
)
from retail_platform_tests.builders import REGISTRY

ORDER = REGISTRY.codes
START = date(2024, 12, 25)
PARTITIONING = Partitioning.build(REGISTRY, date(2023, 1, 1))

partitions = st.builds(
    Partition, st.sampled_from(ORDER), st.integers(0, 20).map(lambda n: START + timedelta(days=n))
)
selections = st.sets(partitions, max_size=40)
boxes = st.builds(
    lambda lo, hi, first, days: Slices(
        ORDER[min(lo, hi) : max(lo, hi) + 1],
        START + timedelta(days=first),
        START + timedelta(days=first + days),
    ),
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(0, 20),
    st.integers(0, 10),
)


class TestKeys:
    @given(partitions)
    def test_a_key_is_read_as_it_was_written(self, it: Partition) -> None:
        assert Partition.parse(str(it)) == it

    def test_the_key_is_the_one_dagster_uses(self) -> None:
        key = dg.MultiPartitionKey({"country": "FR", "day": "2025-01-11"})
        assert str(Partition("FR", date(2025, 1, 11))) == str(key) == "FR|2025-01-11"
        assert PARTITIONING.country.has_partition_key(str(key))

    @pytest.mark.parametrize("scope", Scope)
    def test_keys_are_those_of_dagsters_definition_but_made_once(self, scope: Scope) -> None:
        ours, country = PARTITIONING.of(scope), PARTITIONING.order(scope)[-1]
        stock = dg.MultiPartitionsDefinition(
            {dimension.name: dimension.partitions_def for dimension in ours.partitions_defs}
        )
        assert ours == stock
        around_new_year = dg.PartitionKeyRange(
            f"{PARTITIONING.order(scope)[0]}|2024-12-30", f"{country}|2025-01-02"
        )
        keys = ours.get_partition_keys_in_range(around_new_year)
        assert len(keys) == 4 * len(PARTITIONING.order(scope))
        expected = stock.get_partition_keys_in_range(around_new_year)
        assert keys == expected
        assert [ours.get_partition_key_from_str(key).keys_by_dimension for key in keys] == [
            stock.get_partition_key_from_str(key).keys_by_dimension for key in expected
        ]
        again = ours.get_partition_keys_in_range(around_new_year)
        assert all(one is other for one, other in zip(keys, again, strict=True))
        for unknown in ("FR", f"{country}|2025-01-01|x", f"{country}|2022-12-31", f"|{country}"):
            assert not ours.has_partition_key(unknown)

    def test_today_is_a_partition_and_the_global_scope_has_one_country(self) -> None:
        today = datetime.now(UTC).date()
        for scope, country in ((Scope.COUNTRY, "FR"), (Scope.GLOBAL, ALL)):
            assert PARTITIONING.of(scope).has_partition_key(f"{country}|{today}")
        assert PARTITIONING.order(Scope.COUNTRY) == ORDER
        assert PARTITIONING.order(Scope.GLOBAL) == (ALL,)
        assert not PARTITIONING.everywhere.has_partition_key(f"FR|{today}")


class TestSlices:
    def test_a_slice_is_countries_times_days(self) -> None:
        box = Slices(("DE", "ES"), date(2025, 1, 31), date(2025, 2, 1))
        assert [str(p) for p in box] == [
            "DE|2025-01-31",
            "ES|2025-01-31",
            "DE|2025-02-01",
            "ES|2025-02-01",
        ]
        assert (len(box), box.days) == (4, 2)
        assert str(box) == "DE,ES 2025-01-31...2025-02-01"
        assert str(Slices(("DE",), START, START)) == "DE 2024-12-25"

    @given(boxes)
    def test_a_full_rectangle_is_recognised(self, box: Slices) -> None:
        assert Slices.of(box, ORDER) == box
        assert rectangles(box, ORDER) == [box]
        assert bounding_slices(box, ORDER) == box

    @given(selections)
    def test_a_selection_with_holes_is_none(self, keys: set[Partition]) -> None:
        countries = {k.country for k in keys}
        days = [k.day for k in keys]
        full = keys and len(keys) == len(countries) * ((max(days) - min(days)).days + 1)
        if full:
            assert set(Slices.of(keys, ORDER)) == keys
        else:
            with pytest.raises(ValueError, match=r"No partitions|do not fill"):
                Slices.of(keys, ORDER)

    @given(st.sets(partitions, min_size=1, max_size=40))
    def test_the_bounding_slices_are_the_smallest_range_around_a_selection(
        self, keys: set[Partition]
    ) -> None:
        box = bounding_slices(keys, ORDER)
        assert keys <= set(box)
        assert {box.first_day, box.last_day} <= {k.day for k in keys}
        assert {box.countries[0], box.countries[-1]} <= {k.country for k in keys}
        lo = ORDER.index(box.countries[0])
        assert ORDER[lo : lo + len(box.countries)] == box.countries  # neighbours, as Dagster counts

    @settings(max_examples=20)
    @given(boxes)
    def test_dagster_reads_the_tags_as_the_same_partitions(self, box: Slices) -> None:
        tags = box.run_tags()
        found = PARTITIONING.country.get_partition_keys_in_range(
            dg.PartitionKeyRange(tags[RANGE_START_TAG], tags[RANGE_END_TAG])
        )
        assert {Partition.parse(key) for key in found} == set(box)


class TestRectangles:
    @given(selections)
    def test_every_selection_is_covered_exactly_and_without_overlap(
        self, keys: set[Partition]
    ) -> None:
        found = rectangles(keys, ORDER)
        covered = [p for box in found for p in box]
        assert len(covered) == len(set(covered))
        assert set(covered) == keys
        for box in found:
            lo = ORDER.index(box.countries[0])
            assert ORDER[lo : lo + len(box.countries)] == box.countries

    @given(selections)
    def test_there_are_never_more_than_ranges_of_one_country_or_one_day(
        self, keys: set[Partition]
    ) -> None:
        found = len(rectangles(keys, ORDER))
        by_country = sum(
            _blocks({k.day.toordinal() for k in keys if k.country == c}) for c in ORDER
        )
        by_day = sum(
            _blocks({ORDER.index(k.country) for k in keys if k.day == d})
            for d in {k.day for k in keys}
        )
        assert found <= min(by_country, by_day)

    @given(selections)
    def test_days_of_a_country_stay_together_where_they_have_to(self, keys: set[Partition]) -> None:
        found = rectangles(keys, ORDER, days_together=True)
        assert {p for box in found for p in box} == keys
        for country in ORDER:
            blocks = _blocks({k.day.toordinal() for k in keys if k.country == country})
            assert sum(country in box.countries for box in found) == blocks

    @given(selections, st.randoms(use_true_random=False))
    def test_the_order_of_the_selection_does_not_matter(
        self, keys: set[Partition], rng: object
    ) -> None:
        shuffled = sorted(keys)
        rng.shuffle(shuffled)  # type: ignore[attr-defined]
        assert rectangles(shuffled, ORDER) == rectangles(keys, ORDER)

    @pytest.mark.parametrize(
        ("boxes", "ranges"),
        [
            ([], 0),
            ([Slices(("FR",), START, START + timedelta(days=6))], 1),
            ([Slices(ORDER, START, START + timedelta(days=364))], 1),
            # Two late files of one country, and one of its neighbour on the same days.
            ([Slices(("DE", "ES"), START, START + timedelta(days=6))], 1),
            # Everybody for a week, then one country for a month longer.
            (
                [
                    Slices(ORDER, START, START + timedelta(days=6)),
                    Slices(("FR",), START + timedelta(days=7), START + timedelta(days=36)),
                ],
                2,
            ),
            # Countries that are not neighbours cannot share a range.
            ([Slices(("CN",), START, START), Slices(("US",), START, START)], 2),
        ],
    )
    def test_usual_selections_need_few_ranges(self, boxes: list[Slices], ranges: int) -> None:
        assert len(rectangles({p for box in boxes for p in box}, ORDER)) == ranges


def week(country: str, first: int, days: int = 7) -> Slices:
    """Days of a country, the first of them so many after the start."""
    begin = START + timedelta(days=first)
    return Slices((country,), begin, begin + timedelta(days=days - 1))


class TestJoinedRanges:
    @given(selections, selections)
    def test_everything_is_covered_and_nothing_that_must_not_be(
        self, keys: set[Partition], spare: set[Partition]
    ) -> None:
        exact = rectangles(keys, ORDER)
        found = joined(exact, ORDER, lambda others: others <= spare)
        covered = {p for box in found for p in box}
        assert keys <= covered <= keys | spare
        assert len(found) <= len(exact)
        for box in found:
            assert 2 * len(set(box) & keys) >= len(box)

    def test_late_files_of_neighbours_are_one_range(self) -> None:
        exact = [week("FR", 0), week("GB", 3), week("PT", 5)]
        assert joined(exact, ORDER, lambda _: True) == [
            Slices(("FR", "GB", "PT"), START, START + timedelta(days=11))
        ]

    @pytest.mark.parametrize(
        ("exact", "spare"),
        [
            ([week("FR", 0), week("GB", 3)], False),  # what is between was never built
            ([week("CN", 0), week("US", 0)], True),  # five countries for two
            ([week("FR", 0), week("FR", 30)], True),
        ],
    )
    def test_others_stay_apart(self, exact: list[Slices], spare: bool) -> None:
        assert joined(exact, ORDER, lambda _: spare) == exact


def _blocks(numbers: set[int]) -> int:
    return sum(number - 1 not in numbers for number in numbers)


class TestDependencies:
    """The mappings, asked through Dagster: this is the lineage that drives reruns."""

    @staticmethod
    def downstream(mapping: dg.PartitionMapping, key: str, up: Scope, down: Scope) -> set[str]:
        upstream, downstream = PARTITIONING.of(up), PARTITIONING.of(down)
        subset = upstream.empty_subset().with_partition_keys([key])
        found = mapping.get_downstream_partitions_for_partitions(subset, upstream, downstream)
        return set(found.get_partition_keys())

    @staticmethod
    def upstream(mapping: dg.PartitionMapping, key: str, up: Scope, down: Scope) -> set[str]:
        upstream, downstream = PARTITIONING.of(up), PARTITIONING.of(down)
        subset = downstream.empty_subset().with_partition_keys([key])
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(
            subset, downstream, upstream
        )
        return set(found.partitions_subset.get_partition_keys())

    def test_a_batch_makes_its_own_day_and_six_before_stale_in_its_country(self) -> None:
        mapping = PARTITIONING.lookback()
        found = self.downstream(mapping, "FR|2025-01-03", Scope.COUNTRY, Scope.COUNTRY)
        assert found == _days("FR", "2024-12-28", LOOKBACK_DAYS)

    def test_a_business_day_reads_its_own_batch_and_six_after(self) -> None:
        mapping = PARTITIONING.lookback()
        found = self.upstream(mapping, "FR|2025-01-03", Scope.COUNTRY, Scope.COUNTRY)
        assert found == _days("FR", "2025-01-03", LOOKBACK_DAYS)

    def test_the_first_days_have_no_business_days_before_them(self) -> None:
        mapping = PARTITIONING.lookback()
        found = self.downstream(mapping, "FR|2023-01-02", Scope.COUNTRY, Scope.COUNTRY)
        assert found == _days("FR", "2023-01-01", 2)

    def test_a_global_partition_serves_every_country_on_its_day(self) -> None:
        mapping = PARTITIONING.from_global()
        found = self.downstream(mapping, "ALL|2025-01-03", Scope.GLOBAL, Scope.COUNTRY)
        assert found == {f"{c}|2025-01-03" for c in ORDER}
        assert self.upstream(mapping, "FR|2025-01-03", Scope.GLOBAL, Scope.COUNTRY) == {
            "ALL|2025-01-03"
        }

    def test_a_global_partition_read_later_serves_every_country_from_its_day_on(self) -> None:
        closed = Partitioning.build(REGISTRY, date(2025, 1, 1), date(2025, 1, 5))
        of, everywhere = closed.of(Scope.COUNTRY), closed.of(Scope.GLOBAL)
        subset = everywhere.empty_subset().with_partition_keys(["ALL|2025-01-03"])
        found = closed.from_global(None).get_downstream_partitions_for_partitions(
            subset, everywhere, of
        )
        assert set(found.get_partition_keys()) == set().union(
            *(_days(country, "2025-01-03", 3) for country in ORDER)
        )

    def test_a_rate_is_carried_for_a_week_and_may_come_a_week_late(self) -> None:
        mapping = PARTITIONING.carried_rates()
        found = self.downstream(mapping, "ALL|2025-01-10", Scope.GLOBAL, Scope.GLOBAL)
        assert found == _days("ALL", "2025-01-04", 2 * LOOKBACK_DAYS - 1)

    def test_a_window_makes_stale_what_reads_the_day(self) -> None:
        """Read are 2 days before and 1 after; so a day is read by 1 before and 2 after."""
        mapping = PARTITIONING.window(2, 1)
        found = self.downstream(mapping, "FR|2025-01-03", Scope.COUNTRY, Scope.COUNTRY)
        assert found == _days("FR", "2025-01-02", 4)
        found = self.upstream(mapping, "FR|2025-01-03", Scope.COUNTRY, Scope.COUNTRY)
        assert found == _days("FR", "2025-01-01", 4)

    def test_all_days_before_are_those_from_the_first_on(self) -> None:
        closed = Partitioning.build(REGISTRY, date(2015, 1, 1), date(2024, 12, 31))
        mapping, of = closed.window(None), closed.of(Scope.COUNTRY)
        subset = of.empty_subset().with_partition_keys(["FR|2015-01-01"])
        found = mapping.get_downstream_partitions_for_partitions(subset, of, of)
        assert set(found.get_partition_keys()) == _days("FR", "2015-01-01", 3653)

    def test_a_closed_period_ends_with_its_last_day(self) -> None:
        closed = Partitioning.build(REGISTRY, date(2025, 1, 1), date(2025, 1, 31))
        for scope in Scope:
            days = {key.rsplit("|", 1)[-1] for key in closed.of(scope).get_partition_keys()}
            assert (min(days), max(days)) == ("2025-01-01", "2025-01-31")
        assert [closed.has(date(2025, m, 1)) for m in (1, 2)] == [True, False]
        assert not closed.has(date(2024, 12, 31))
        assert PARTITIONING.has(date(9999, 1, 1))

    def test_same_day_means_same_partition(self) -> None:
        mapping = PARTITIONING.same_day()
        key = "PT|2025-01-03"
        assert self.downstream(mapping, key, Scope.COUNTRY, Scope.COUNTRY) == {key}


def _days(country: str, first: str, count: int) -> set[str]:
    start = date.fromisoformat(first)
    return {f"{country}|{start + timedelta(days=n)}" for n in range(count)}
