"""What is the platform's state: inbox, feeds by country, marts, refused files.

Facts only, as plain data; how they are printed is the CLI's business. Reads the lake and what
readers of marts see, so it answers while a run works.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from retail_platform.automation.arrivals import ArrivalDesk
from retail_platform.lake.completeness import Gap, find_gaps
from retail_platform.lake.inbox import Rejection, Waiting
from retail_platform.lake.store import MANIFESTS, Lake
from retail_platform.operate.marts.reading import MartFacts
from retail_platform.resilience.breaker import Breakers, CircuitState


@dataclass(frozen=True)
class FeedStatus:
    """One feed.

    Attributes:
        complete_through: country -> newest batch day delivered.
        partitions: partitions with at least one accepted delivery.
    """

    feed: str
    partitions: int
    complete_through: dict[str, date]


@dataclass(frozen=True)
class Status:
    """State of the installation."""

    waiting: int
    settling: int
    rejections: tuple[Rejection, ...]
    feeds: tuple[FeedStatus, ...]
    marts: tuple[MartFacts, ...]
    gaps: tuple[Gap, ...]
    circuits: tuple[CircuitState, ...] = ()
    halves: tuple[Waiting, ...] = ()

    @property
    def missing(self) -> list[Gap]:
        """Deliveries that are overdue."""
        return [gap for gap in self.gaps if gap.missing]

    def as_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {
            "waiting_files": self.waiting,
            "files_being_written": self.settling,
            "halves_of_deliveries": [str(half) for half in self.halves],
            "refused_files": [r.model_dump(mode="json") for r in self.rejections],
            "missing_or_late": [gap.as_json() for gap in self.gaps],
            "feeds": [asdict(f) for f in self.feeds],
            "marts": [
                {"mart": m.mart, "rows": m.rows, "newest_day": m.newest_day} for m in self.marts
            ],
            "circuits": [c.as_json() for c in self.circuits],
        }


def read_status(
    desk: ArrivalDesk, lake: Lake, marts: Sequence[MartFacts], breakers: Breakers | None = None
) -> Status:
    """Look at everything once.

    Args:
        marts: as readers see them, see `Marts.facts`.
    """
    plan = desk.look(lake)
    days: dict[str, dict[str, date]] = defaultdict(dict)
    counts: dict[str, int] = defaultdict(int)
    for obj in lake.list(MANIFESTS):
        feed, country, name = obj.path.removeprefix(MANIFESTS).split("/")
        day = date.fromisoformat(name.removesuffix(".json"))
        counts[feed] += 1
        days[feed][country] = max(day, days[feed].get(country, day))
    feeds = tuple(
        FeedStatus(feed, counts[feed], dict(sorted(days[feed].items()))) for feed in desk.contracts
    )
    gaps = find_gaps(lake, desk.contracts, desk.registry, datetime.now(UTC), waiting=plan.waiting)
    return Status(
        len(plan.arrivals),
        plan.settling,
        plan.rejections,
        feeds,
        tuple(marts),
        tuple(gaps),
        tuple(breakers.states()) if breakers else (),
        plan.waiting,
    )
