"""What the lake knows and the warehouse does not: files taken in by a run that never loaded them.

A run takes files out of the inbox, then loads them. Whatever stops it in between leaves manifests
that no event and no file points at, so they are found by comparing the lake with the ledger. The
same comparison finds everything after a warehouse was lost.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from retail_platform.contract import FeedContract
from retail_platform.lake.manifest import read_manifests
from retail_platform.lake.store import MANIFESTS, Lake
from retail_platform.partitions import Partition, bounding_slices
from retail_platform.warehouse.protocol import PartitionLoad, Warehouse
from retail_platform.warehouse.raw_tables import LEDGER, RAW_SCHEMA

_CLOCK_SKEW = timedelta(minutes=1)
"""The clocks of object store and warehouse may differ by this much."""


def unloaded_partitions(
    lake: Lake, warehouse: Warehouse, contracts: Mapping[str, FeedContract]
) -> dict[str, set[Partition]]:
    """Feed -> partitions whose manifest says something else than the ledger.

    Costs one listing; only manifests younger than their last load are read.
    """
    warehouse.prepare(contracts.values())
    loaded = {
        (feed, Partition(country, day)): at.replace(tzinfo=UTC)
        for feed, country, day, at in warehouse.query(
            "select feed, country, batch_date, max(loaded_at) "
            f"from {RAW_SCHEMA}.{LEDGER} group by feed, country, batch_date"
        )
    }
    never = datetime.min.replace(tzinfo=UTC)
    suspects: dict[str, set[Partition]] = defaultdict(set)
    for obj in lake.list(MANIFESTS):
        feed, country, name = obj.path.removeprefix(MANIFESTS).split("/")
        partition = Partition(country, date.fromisoformat(name.removesuffix(".json")))
        if feed in contracts and obj.modified + _CLOCK_SKEW > loaded.get((feed, partition), never):
            suspects[feed].add(partition)
    return {
        feed: found
        for feed, partitions in suspects.items()
        if (found := _differing(lake, warehouse, feed, partitions))
    }


def _differing(
    lake: Lake, warehouse: Warehouse, feed: str, partitions: set[Partition]
) -> set[Partition]:
    countries = sorted({p.country for p in partitions})
    known = warehouse.loaded_files(feed, bounding_slices(partitions, countries))
    return {
        partition
        for partition, manifest in read_manifests(lake, feed, partitions).items()
        if PartitionLoad.of(manifest).fingerprint != known.get(partition)
    }
