"""What lies in the inbox and what it means: arrivals by partition, and refusals with reasons.

`plan_arrivals` is a pure function of a listing; reading and judging file contents is the gate's.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from retail_platform.contract import FeedContract
from retail_platform.countries import CountryRegistry
from retail_platform.errors import FileRejected
from retail_platform.lake.naming import FileName, is_temporary, read_file_name
from retail_platform.lake.store import INBOX, REJECTED, Lake, LakeObject
from retail_platform.partitions import Partition

_CLOCK_TOLERANCE = timedelta(hours=1)
"""A sender's clock may be ahead by this much; the file waits until its time has come."""


class Rejection(BaseModel):
    """Why a file still lies in the inbox.

    Attributes:
        name: name below the inbox.
        version: of the object; a new version of the file is judged anew.
        schema_version: of the contract that judged it; a changed contract judges anew.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    code: str
    seen: str
    remedy: str
    feed: str | None = None
    country: str | None = None
    day: date | None = None
    schema_version: str | None = None

    @property
    def path(self) -> str:
        """Where the record lies; one per file name."""
        return f"{REJECTED}{hashlib.sha256(self.name.encode()).hexdigest()[:24]}.json"

    @classmethod
    def of(
        cls,
        error: FileRejected,
        obj: LakeObject,
        name: FileName | None = None,
        schema_version: str | None = None,
    ) -> "Rejection":
        """Record of an error about an inbox object."""
        return cls(
            name=inbox_name(obj),
            version=obj.version,
            code=error.code,
            seen=error.seen,
            remedy=error.remedy,
            feed=name.feed if name else None,
            country=name.country if name else None,
            day=name.day if name else None,
            schema_version=schema_version,
        )


@dataclass(frozen=True)
class Arrival:
    """One inbox object and the feed, country (or ALL) and batch day its name gives it."""

    object: LakeObject
    file: FileName

    @property
    def name(self) -> str:
        """Name below the inbox: the identity under which deliveries supersede each other."""
        return inbox_name(self.object)


@dataclass(frozen=True)
class ArrivalPlan:
    """A listing, understood.

    Attributes:
        arrivals: files to take in.
        rejections: files refused by their name, or already refused by the gate in this version.
        settling: objects too young or temporary; looked at again next time.
    """

    arrivals: tuple[Arrival, ...]
    rejections: tuple[Rejection, ...]
    settling: int

    def partitions(
        self, contracts: Mapping[str, FeedContract], registry: CountryRegistry
    ) -> dict[str, set[Partition]]:
        """Feed -> partitions that must run to take the files in."""
        wanted: dict[str, set[Partition]] = defaultdict(set)
        for arrival in self.arrivals:
            file = arrival.file
            codes = contracts[file.feed].countries_of(file.country, registry)
            wanted[file.feed] |= {Partition(code, file.day) for code in codes}
        return dict(wanted)


def inbox_name(obj: LakeObject) -> str:
    """Name of an inbox object without the inbox prefix."""
    return obj.path.removeprefix(INBOX)


def plan_arrivals(
    objects: Iterable[LakeObject],
    contracts: Mapping[str, FeedContract],
    registry: CountryRegistry,
    *,
    known_rejections: Iterable[Rejection] = (),
    first_day: date,
    now: datetime,
    settle: timedelta = timedelta(0),
) -> ArrivalPlan:
    """Decide what each inbox object is.

    Args:
        objects: listing of the inbox.
        known_rejections: records of earlier refusals; same file version and contract stay refused.
        now: current time, UTC.
        settle: objects modified more recently than this are left for the next look.
    """
    refused = {(r.name, r.version, r.schema_version): r for r in known_rejections}
    arrivals: list[Arrival] = []
    rejections: list[Rejection] = []
    settling = 0
    for obj in objects:
        name = inbox_name(obj)
        if is_temporary(name):
            continue
        ahead = obj.modified - now
        if -settle < ahead <= _CLOCK_TOLERANCE:
            settling += 1
            continue
        try:
            if not obj.addressable:
                raise FileRejected(
                    "unusable_name",
                    f"No file can be opened under the name {name!r}.",
                    "Deliver it again without empty folders, '..' and control characters in the "
                    "name, and delete this one.",
                )
            if ahead > _CLOCK_TOLERANCE:
                raise FileRejected(
                    "delivered_in_the_future",
                    f"{name!r} says it was written at {obj.modified:%Y-%m-%d %H:%M} UTC, but it is "
                    f"{now:%Y-%m-%d %H:%M}; every correction would count as older.",
                    "Set the sender's clock and deliver the file again, or set its time (touch).",
                )
            file = read_file_name(name, contracts, registry, first_day, now.date())
        except FileRejected as error:
            rejections.append(Rejection.of(error, obj))
            continue
        known = refused.get((name, obj.version, contracts[file.feed].schema_version))
        if known:
            rejections.append(known)
        else:
            arrivals.append(Arrival(obj, file))
    return ArrivalPlan(tuple(arrivals), tuple(rejections), settling)


def read_rejections(lake: Lake) -> list[Rejection]:
    """All records of refused files."""
    paths = [obj.path for obj in lake.list(REJECTED)]
    return [Rejection.model_validate_json(t) for t in lake.get_many(paths) if t is not None]


def record_rejections(lake: Lake, rejections: Iterable[Rejection]) -> None:
    """Write records; one per file name, the newest refusal wins."""
    lake.put_many([(r.path, r.model_dump_json(indent=1).encode()) for r in rejections])


def forget_rejections(lake: Lake, known: Iterable[Rejection], present: Mapping[str, str]) -> None:
    """Drop records of files that are gone from the inbox or were replaced.

    Args:
        present: name -> version of everything now in the inbox.
    """
    gone = [r.path for r in known if present.get(r.name) != r.version]
    lake.delete_many(gone)
