"""What lies in the inbox and what it means: arrivals by partition, and refusals with reasons.

`plan_arrivals` is a pure function of a listing; reading and judging file contents is the gate's.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from retail_platform.contract import FeedContract
from retail_platform.countries import CountryRegistry
from retail_platform.errors import FileRejected
from retail_platform.lake.naming import (
    CONTROL_SUFFIXES,
    FileName,
    data_name_of,
    is_temporary,
    read_file_name,
)
from retail_platform.lake.store import INBOX, REJECTED, Lake, LakeObject
from retail_platform.partitions import Partition

_CLOCK_TOLERANCE = timedelta(hours=1)
"""A sender's clock may be ahead by this much; the file waits until its time has come."""


class Rejection(BaseModel):
    """Why a file still lies in the inbox.

    Attributes:
        name: name below the inbox.
        version: of the object; a new version of the file is judged anew.
        control_version: of its control file, likewise.
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
    control_version: str | None = None

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
        control_version: str | None = None,
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
            control_version=control_version,
        )


@dataclass(frozen=True)
class Arrival:
    """One inbox object and the feed, country (or ALL) and batch day its name gives it.

    Attributes:
        controls: control files beside it; more than one is for the gate to refuse.
    """

    object: LakeObject
    file: FileName
    controls: tuple[LakeObject, ...] = field(default=(), kw_only=True)

    @property
    def name(self) -> str:
        """Name below the inbox: the identity under which deliveries supersede each other."""
        return inbox_name(self.object)

    @property
    def control_version(self) -> str | None:
        """Changes with every delivery of a control file; None without one."""
        return "+".join(c.version for c in self.controls) or None


@dataclass(frozen=True)
class Waiting:
    """A file that waits for the one it belongs to.

    Attributes:
        arrival: the data file, or the control file if that came first.
        awaits: name of what has not come.
        is_data: whether it is the data file.
    """

    arrival: Arrival
    awaits: str
    is_data: bool

    def __str__(self) -> str:
        return f"{self.arrival.name} waits for {self.awaits}"


@dataclass(frozen=True)
class ArrivalPlan:
    """A listing, understood.

    Attributes:
        arrivals: files to take in.
        rejections: files refused by their name, or already refused by the gate in this version.
        settling: objects too young or temporary; looked at again next time.
        waiting: data files without the control file their contract requires, and the reverse.
    """

    arrivals: tuple[Arrival, ...]
    rejections: tuple[Rejection, ...]
    settling: int
    waiting: tuple[Waiting, ...] = ()

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
    last_day: date | None = None,
    now: datetime,
    settle: timedelta = timedelta(0),
) -> ArrivalPlan:
    """Decide what each inbox object is.

    Args:
        objects: listing of the inbox.
        known_rejections: records of earlier refusals; same file version and contract stay refused.
        first_day, last_day: days that files may be dated; without the latter up to `now`.
        now: current time, UTC.
        settle: objects modified more recently than this are left for the next look.
    """
    refused = {
        (r.name, r.version, r.schema_version, r.control_version): r for r in known_rejections
    }
    found: list[Arrival] = []
    controls: dict[str, list[Arrival]] = defaultdict(list)
    unsettled: set[str] = set()
    rejections: list[Rejection] = []
    settling = 0

    def read(name: str) -> FileName:
        return read_file_name(name, contracts, registry, first_day, now.date(), last_day)

    # Folders are listed in any order, and a file refused before is known by its control files.
    for obj in sorted(objects, key=lambda o: o.path):
        name = inbox_name(obj)
        if is_temporary(name):
            continue
        ahead = obj.modified - now
        if -settle < ahead <= _CLOCK_TOLERANCE:
            settling += 1
            unsettled.add(name)
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
            of_data = _read_control_name(name, contracts, read)
            if of_data:
                controls[of_data[0]].append(Arrival(obj, of_data[1]))
            else:
                found.append(Arrival(obj, read(name)))
        except FileRejected as error:
            rejections.append(Rejection.of(error, obj))
    arrivals: list[Arrival] = []
    waiting: list[Waiting] = []
    for arrival in found:
        contract = contracts[arrival.file.feed]
        if contract.has_sidecars:
            expected = [arrival.name + suffix for suffix in CONTROL_SUFFIXES]
            beside = controls.pop(arrival.name, [])
            if unsettled.intersection(expected):
                settling += 1
                continue
            totals = contract.ingestion.control_totals
            if not beside and totals and totals.required:
                waiting.append(Waiting(arrival, " or ".join(expected), is_data=True))
                continue
            arrival = replace(arrival, controls=tuple(c.object for c in beside))
        key = arrival.name, arrival.object.version, contract.schema_version, arrival.control_version
        if key in refused:
            rejections.append(refused[key])
        else:
            arrivals.append(arrival)
    waiting += [
        Waiting(control, data, is_data=False)
        for data, beside in controls.items()
        if data not in unsettled
        for control in beside
    ]
    return ArrivalPlan(tuple(arrivals), tuple(rejections), settling, tuple(waiting))


def _read_control_name(
    name: str, contracts: Mapping[str, FeedContract], read: Callable[[str], FileName]
) -> tuple[str, FileName] | None:
    """Name of the data file that a control file belongs to, and what that says."""
    data = data_name_of(name)
    if data and any(c.has_sidecars for c in contracts.values()):
        with suppress(FileRejected):
            file = read(data)
            if contracts[file.feed].has_sidecars:
                return data, file
    return None


def with_companions(names: Iterable[str], contracts: Mapping[str, FeedContract]) -> Collection[str]:
    """Names below the inbox, and those of data and control files that may belong to them."""
    wanted = set(names)
    if any(c.has_sidecars for c in contracts.values()):
        data = {data_name_of(name) or name for name in wanted} | wanted
        wanted |= data | {name + suffix for name in data for suffix in CONTROL_SUFFIXES}
    return wanted


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
