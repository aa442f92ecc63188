"""What the platform asks of a warehouse; engines live in modules of their own.

One operation matters: replace these partitions of a RAW table from these lake objects, together
with their ledger rows, in one transaction.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import polars as pl

from retail_platform.contract import FeedContract
from retail_platform.lake.manifest import FileState, Manifest
from retail_platform.lake.store import Lake
from retail_platform.partitions import Partition, Slices

Fingerprint = frozenset[tuple[str, str, str, str]]
"""Per file of a partition: id, delivery time, state, contract that judged it."""


@dataclass(frozen=True)
class PartitionLoad:
    """What one partition of a RAW table shall consist of."""

    partition: Partition
    files: tuple[FileState, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> "PartitionLoad":
        """As the manifest says."""
        return cls(manifest.partition, tuple(manifest.file_states()))

    @property
    def active(self) -> list[FileState]:
        """Files whose rows are in RAW."""
        return [f for f in self.files if f.state == "loaded"]

    @property
    def rows(self) -> int:
        """Rows RAW holds afterwards."""
        return sum(f.facts.rows_loaded for f in self.active)

    @property
    def evolved(self) -> frozenset[str]:
        """RAW columns its files brought, superseded ones included, beside the contract's."""
        return frozenset(name for f in self.files for name in f.facts.evolved)

    @property
    def fingerprint(self) -> Fingerprint:
        """What the ledger says once this is loaded."""
        return frozenset(
            (
                f.facts.file_id,
                f"{f.delivered_at:%Y-%m-%d %H:%M:%S.%f}",
                f.state,
                f.facts.schema_version,
            )
            for f in self.files
        )


@dataclass(frozen=True)
class PublishedTable:
    """One mart, as its readers' copy needs to know it.

    Attributes:
        day: its day column.
        monthly: one file per month of `day`; False for dimensions, whose older versions change
            when a newer one arrives, as one file.
    """

    name: str
    day: str
    monthly: bool

    @classmethod
    def of(cls, name: str, day: str) -> "PublishedTable":
        """A mart with this day column."""
        return cls(name, day, monthly=day == "business_date")


class Warehouse(Protocol):
    """A place for RAW tables, the ledger and the marts."""

    def connect(self) -> AbstractContextManager[Any]:
        """Keep it open for the length of a block, where that spares opening it again."""
        ...

    def for_models(self) -> AbstractContextManager[None]:
        """Use the compute of models for the length of a block, where it is another than of loads.

        Inside of `connect`: what is told here is told to a session.
        """
        ...

    def prepare(self, contracts: Iterable[FeedContract]) -> None:
        """Create schemas, RAW tables and the ledger where they are missing."""
        ...

    def replace_partitions(
        self, lake: Lake, contract: FeedContract, loads: Sequence[PartitionLoad], run_id: str
    ) -> None:
        """Make RAW and the ledger hold exactly these files for these partitions, or nothing new.

        Raises:
            LoadMismatch: other rows arrived than the manifests promise; nothing was changed.
            WarehouseBusy: another process kept the warehouse for too long.
        """
        ...

    def loaded_files(self, feed: str, slices: Slices) -> Mapping[Partition, Fingerprint]:
        """Ledger entries by partition, as `PartitionLoad.fingerprint`."""
        ...

    def replace_slices(
        self, table: str, columns: Mapping[str, str], rows: pl.DataFrame, slices: Slices
    ) -> None:
        """Make a table of business days hold exactly these rows in these slices.

        Args:
            table: ``schema.table``; made where it is missing.
            columns: SQL types by name, `country` and `business_date` among them.
            rows: of these slices, with these columns.
        """
        ...

    def files_loaded(self) -> int:
        """How many files the ledger lists."""
        ...

    def late_days(
        self, feed: str, batch_partitions: Collection[Partition]
    ) -> list[tuple[Partition, Partition]]:
        """(batch partition, business partition) of rows ever seen later than the lookback."""
        ...

    def tables(self) -> set[tuple[str, str]]:
        """(schema, name) of all tables there are, in lower case."""
        ...

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a read-only statement that both engines understand."""
        ...

    def publish(self, tables: Sequence[PublishedTable], slices: Slices, run_id: str = "") -> None:
        """Show readers what the slices of these marts hold now, as the work of a run."""
        ...

    def credits_metered(self, first_day: date) -> Mapping[date, float]:
        """Credits billed for compute since a day, by day, UTC; empty where nothing is billed.

        Raises:
            ConfigurationError: the role may not read them.
        """
        ...

    def examine(self, lake_url: str) -> str:
        """What there is, in a line for a person; repairs nothing.

        Raises:
            RetailError: saying what is wrong and what to do.
        """
        ...
