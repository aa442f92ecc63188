"""What a load into RAW consists of, whichever engine does it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from retail_platform.errors import LoadMismatch
from retail_platform.partitions import Partition
from retail_platform.warehouse.protocol import PartitionLoad


class ActiveRows(NamedTuple):
    """Rows of an object that count.

    Objects hold rows of many files, active and superseded ones; the manifest's files pick. A file
    that was judged again lies in an older object too: only the object its manifest names counts.
    """

    object: str
    file_id: str
    country: str
    delivered_at: datetime


def active_rows(loads: Iterable[PartitionLoad]) -> list[ActiveRows]:
    """Which rows of which objects count."""
    return [
        ActiveRows(
            path, f.facts.file_id, load.partition.country, f.delivered_at.replace(tzinfo=None)
        )
        for load in loads
        for f in load.active
        for path in f.facts.data
    ]


def objects(loads: Iterable[PartitionLoad]) -> list[str]:
    """Lake objects that hold active rows of the partitions, in the order of the partitions.

    So do the rows in each of them: rows of one day lie together in RAW without a sort, and that
    lets an engine skip what is not asked for.
    """
    return list(dict.fromkeys(rows.object for rows in active_rows(loads)))


def in_order(loads: Iterable[PartitionLoad]) -> list[PartitionLoad]:
    """As they lie in RAW: by day."""
    return sorted(loads, key=lambda load: (load.partition.day, load.partition.country))


def ledger_rows(
    feed: str, loads: Iterable[PartitionLoad], now: datetime, run_id: str
) -> list[tuple[Any, ...]]:
    """Rows of the file ledger, in the order of its columns."""
    return [
        (
            feed,
            load.partition.country,
            load.partition.day,
            f.facts.file_id,
            f.facts.name,
            f.facts.checksum,
            f.facts.size_bytes,
            f.delivered_at.replace(tzinfo=None),
            f.state,
            f.facts.rows_in,
            f.facts.rows_loaded,
            f.facts.rows_quarantined,
            f.facts.rows_duplicate,
            json.dumps(dict(f.facts.reasons), sort_keys=True),
            f.facts.schema_version,
            now,
            run_id,
        )
        for load in loads
        for f in load.files
    ]


def verify(table: str, loads: Sequence[PartitionLoad], found: Mapping[Partition, int]) -> None:
    """Compare what a table holds with what the manifests promise.

    Args:
        found: rows per partition.

    Raises:
        LoadMismatch: naming the partitions that differ.
    """
    wrong = [
        f"{load.partition}: manifest {load.rows}, {table} {found.get(load.partition, 0)}"
        for load in loads
        if found.get(load.partition, 0) != load.rows
    ]
    if wrong:
        raise LoadMismatch(
            f"{len(wrong)} partitions would not hold the rows of their manifest: "
            + "; ".join(wrong[:5])
            + ". Nothing was changed."
        )


def missing_object(feed: str, path: object) -> LoadMismatch:
    """The error of a manifest that names an object the lake does not have."""
    return LoadMismatch(
        f"A manifest of {feed} names {path}, which is not in the lake. "
        "Restore the object, or replay the feed from history."
    )
