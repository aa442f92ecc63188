"""Which delivery of a partition counts: decided by delivery times, in whatever order it is seen."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retail_platform.lake.manifest import FileFacts, Manifest, read_manifests, write_manifests
from retail_platform.lake.store import Lake, manifest_path
from retail_platform.partitions import Partition

PARTITION = Partition("FR", date(2025, 1, 11))
START = datetime(2025, 1, 12, 6, tzinfo=UTC)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def facts(name: str, content: str, rows: int = 1) -> FileFacts:
    return FileFacts(
        file_id=f"{name}:{content}",
        name=name,
        checksum=content,
        size_bytes=10,
        rows_in=rows,
        rows_loaded=rows,
        rows_quarantined=0,
        rows_duplicate=0,
        reasons={},
        layout={},
        schema_version="1",
        data=("data/x",),
        quarantine=(),
        history="history/x",
    )


Story = list[tuple[str, str, int]]
"""Deliveries: file name, content, hour."""


def manifest_of(story: Story) -> Manifest:
    manifest = Manifest.empty("transactions", PARTITION)
    for name, content, hour in story:
        manifest = manifest.with_delivery(facts(name, content), at(hour))
    return manifest


def states(story: Story) -> dict[str, tuple[str, datetime]]:
    return {s.facts.file_id: (s.state, s.delivered_at) for s in manifest_of(story).file_states()}


class TestStates:
    def test_the_newest_version_of_a_name_counts(self) -> None:
        assert states([("a", "1", 0), ("a", "2", 1), ("b", "3", 0)]) == {
            "a:1": ("superseded", at(0)),
            "a:2": ("loaded", at(1)),
            "b:3": ("loaded", at(0)),
        }

    def test_content_that_returns_counts_from_its_return_on(self) -> None:
        assert states([("a", "1", 0), ("a", "2", 1), ("a", "1", 2), ("a", "1", 3)]) == {
            "a:1": ("loaded", at(2)),
            "a:2": ("superseded", at(1)),
        }

    def test_equal_content_under_two_names_counts_once_for_the_first(self) -> None:
        assert states([("b", "1", 1), ("a", "1", 0)]) == {
            "a:1": ("loaded", at(0)),
            "b:1": ("identical", at(1)),
        }

    def test_a_copy_takes_over_when_the_first_file_is_corrected(self) -> None:
        assert states([("a", "1", 0), ("b", "1", 1), ("a", "2", 2)]) == {
            "a:1": ("superseded", at(0)),
            "a:2": ("loaded", at(2)),
            "b:1": ("loaded", at(1)),
        }

    def test_versions_of_the_same_moment_are_ranked_by_content(self) -> None:
        """S3 tells seconds only; any rule will do if it does not depend on who looks first."""
        story: Story = [("a", "1", 0), ("a", "2", 0)]
        assert states(story) == states(story[::-1])
        assert sorted(state for state, _ in states(story).values()) == ["loaded", "superseded"]

    def test_the_same_delivery_twice_is_the_same_manifest(self) -> None:
        manifest = manifest_of([("a", "1", 0)])
        assert manifest.with_delivery(facts("a", "1"), at(0)) is manifest

    def test_facts_of_a_later_judgement_replace_earlier_ones(self) -> None:
        manifest = manifest_of([("a", "1", 0)])
        (state,) = manifest.with_delivery(facts("a", "1", rows=7), at(1)).file_states()
        assert (state.facts.rows_loaded, state.delivered_at) == (7, at(0))


deliveries = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("1234"), st.integers(0, 6)), max_size=12
)


@given(deliveries, st.randoms(use_true_random=False))
def test_states_do_not_depend_on_the_order_in_which_deliveries_are_seen(
    story: Story, rng: object
) -> None:
    expected = states(story)
    other = [*story, *story[:3]]  # some of them twice
    rng.shuffle(other)  # type: ignore[attr-defined]
    assert states(other) == expected
    assert manifest_of(other) == manifest_of(story)


@given(deliveries)
def test_states_are_those_of_a_plain_account_of_the_rule(story: Story) -> None:
    """Written as differently as possible: hour by hour, the content each name has then."""
    counted: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name, content, hour in sorted(set(story), key=lambda d: (d[2], f"{d[0]}:{d[1]}")):
        if not counted[name] or counted[name][-1][1] != content:
            counted[name].append((hour, content))
    newest = {name: series[-1] for name, series in counted.items()}
    expected = {}
    for name, content, _ in story:
        hour, current = newest[name]
        if current != content:
            state = "superseded"
        elif any(
            other == content and (since, twin) < (hour, name)
            for twin, (since, other) in newest.items()
        ):
            state = "identical"
        else:
            state = "loaded"
        expected[f"{name}:{content}"] = state
    assert {file_id: state for file_id, (state, _) in states(story).items()} == expected
    # Every content that any name has now is loaded exactly once.
    loaded = [f.split(":")[1] for f, state in expected.items() if state == "loaded"]
    assert sorted(loaded) == sorted({content for _, content in newest.values()})


class TestStorage:
    @pytest.fixture
    def lake(self, tmp_path: Path) -> Lake:
        return Lake.open(tmp_path.as_uri())

    @pytest.mark.parametrize("count", [1, 30])
    def test_manifests_come_back_as_they_were_written(self, lake: Lake, count: int) -> None:
        written = [
            Manifest.empty("transactions", Partition("FR", date(2025, 1, 1) + timedelta(days=n)))
            .with_delivery(facts("é中", str(n)), at(n / 7))
            .with_delivery(facts("b", "2"), at(n))
            for n in range(count)
        ]
        write_manifests(lake, written)
        asked = [m.partition for m in written] + [Partition("DE", date(2025, 1, 1))]
        found = read_manifests(lake, "transactions", asked)
        assert found == {m.partition: m for m in written}
        assert [found[m.partition].file_states() for m in written] == [
            m.file_states() for m in written
        ]
        assert read_manifests(lake, "stores", asked) == {}

    def test_the_path_names_feed_country_and_day(self, lake: Lake) -> None:
        write_manifests(lake, [manifest_of([("a", "1", 0)])])
        (found,) = lake.list("manifests/")
        assert found.path == "manifests/transactions/FR/2025-01-11.json"
        assert found.path == manifest_path("transactions", PARTITION)
