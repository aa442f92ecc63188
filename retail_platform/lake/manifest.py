"""Manifests: what a partition of a feed consists of, and which delivery counts.

A manifest records every accepted delivery. Which of them are active is computed from the set of
deliveries alone, by the time each was delivered, so it does not matter when or in which order the
platform came to see them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from retail_platform.lake.store import Lake, manifest_path
from retail_platform.partitions import Partition

State = Literal["loaded", "superseded", "identical"]


class FileFacts(BaseModel):
    """What the gate found in one file, for one partition.

    Counts obey ``rows_in = rows_loaded + rows_quarantined + rows_duplicate``.

    Attributes:
        data, quarantine: lake objects that hold its rows (shared with other files).
        reasons: ``column:code`` -> rows in quarantine; ``column:discarded_code`` -> rows loaded
            without that value.
        layout: how the file was written (encoding, delimiter, header).
        schema_id: its record among the schemas of the feed; None in older manifests.
        evolved: RAW columns it brought that the contract does not know.
        control_totals: what its sender stated about the whole file, and what was found in it:
            ``rows``, ``sum(<column>)``, ``sha256``.
        control_file: the sidecar that stated it, in history; None if a trailer did.
        control_checksum: SHA-256 of the sidecar.
    """

    model_config = ConfigDict(frozen=True)

    file_id: str
    name: str
    checksum: str
    size_bytes: int
    rows_in: int
    rows_loaded: int
    rows_quarantined: int
    rows_duplicate: int
    reasons: Mapping[str, int]
    layout: Mapping[str, str]
    schema_version: str
    data: tuple[str, ...]
    quarantine: tuple[str, ...]
    history: str
    schema_id: str | None = None
    evolved: tuple[str, ...] = ()
    control_totals: Mapping[str, str] = {}
    control_file: str | None = None
    control_checksum: str = ""


class Delivery(BaseModel):
    """That a file with this content arrived at this time."""

    model_config = ConfigDict(frozen=True)

    file_id: str
    delivered_at: datetime


class FileState(BaseModel):
    """One file of a partition and whether its rows count.

    Attributes:
        delivered_at: start of the current uninterrupted series of deliveries of this content.
        state: `superseded` by newer content of the same name; `identical` to another active file.
    """

    model_config = ConfigDict(frozen=True)

    facts: FileFacts
    delivered_at: datetime
    state: State


class Manifest(BaseModel):
    """All accepted deliveries of one partition of one feed."""

    model_config = ConfigDict(frozen=True)

    feed: str
    country: str
    day: date
    files: Mapping[str, FileFacts]
    deliveries: tuple[Delivery, ...]

    @classmethod
    def empty(cls, feed: str, partition: Partition) -> "Manifest":
        """The manifest of a partition nothing was delivered for."""
        return cls(feed=feed, country=partition.country, day=partition.day, files={}, deliveries=())

    @property
    def partition(self) -> Partition:
        """The partition this manifest describes."""
        return Partition(self.country, self.day)

    def with_delivery(self, facts: FileFacts, delivered_at: datetime) -> "Manifest":
        """This manifest plus one delivery; the same delivery twice changes nothing."""
        delivery = Delivery(file_id=facts.file_id, delivered_at=delivered_at)
        if delivery in self.deliveries:
            return self
        deliveries = sorted((*self.deliveries, delivery), key=lambda d: (d.delivered_at, d.file_id))
        files = {**self.files, facts.file_id: facts}
        return self.model_copy(update={"files": files, "deliveries": tuple(deliveries)})

    def with_facts(self, facts: FileFacts, deliveries: Iterable[Delivery]) -> "Manifest":
        """This manifest with other findings about one file, and when it was delivered."""
        merged = {*self.deliveries, *(d for d in deliveries if d.file_id == facts.file_id)}
        ordered = tuple(sorted(merged, key=lambda d: (d.delivered_at, d.file_id)))
        files = {**self.files, facts.file_id: facts}
        return self.model_copy(update={"files": files, "deliveries": ordered})

    def file_states(self) -> list[FileState]:
        """State of every file, decided by delivery time alone (ties: by content)."""
        by_name: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in self.deliveries:
            by_name[self.files[delivery.file_id].name].append(delivery)
        current: dict[str, datetime] = {}
        for series in by_name.values():
            newest = series[-1]
            since = newest.delivered_at
            for delivery in reversed(series):
                if delivery.file_id != newest.file_id:
                    break
                since = delivery.delivered_at
            current[newest.file_id] = since
        kept: set[str] = set()
        seen_content: set[str] = set()
        for file_id in sorted(current, key=lambda f: (current[f], self.files[f].name)):
            if self.files[file_id].checksum not in seen_content:
                seen_content.add(self.files[file_id].checksum)
                kept.add(file_id)
        first_seen: dict[str, datetime] = {}
        for delivery in self.deliveries:
            first_seen.setdefault(delivery.file_id, delivery.delivered_at)
        return [
            FileState(
                facts=facts,
                delivered_at=current.get(file_id, first_seen[file_id]),
                state=(
                    "loaded"
                    if file_id in kept
                    else "identical"
                    if file_id in current
                    else "superseded"
                ),
            )
            for file_id, facts in sorted(self.files.items())
        ]


def read_manifests(
    lake: Lake, feed: str, partitions: Iterable[Partition]
) -> dict[Partition, Manifest]:
    """Manifests of those partitions that have one."""
    wanted = list(partitions)
    texts = lake.get_many([manifest_path(feed, p) for p in wanted])
    return {
        partition: Manifest.model_validate_json(text)
        for partition, text in zip(wanted, texts, strict=True)
        if text is not None
    }


def write_manifests(lake: Lake, manifests: Iterable[Manifest]) -> None:
    """Put manifests: from here on their deliveries are part of the platform."""
    lake.put_many(
        [
            (manifest_path(m.feed, m.partition), m.model_dump_json(indent=1).encode())
            for m in manifests
        ]
    )
