"""Columns of RAW tables and of the file ledger, derived from contracts."""

from collections.abc import Iterable

from retail_platform.contract import Drift, FeedContract
from retail_platform.warehouse.protocol import PartitionLoad

RAW_SCHEMA = "raw"
LEDGER = "file_ledger"
LATE_DAYS = "late_days"

META_COLUMNS: dict[str, tuple[str, str]] = {
    "_country": ("varchar", "Country of the partition; ALL for global feeds."),
    "_batch_date": ("date", "Batch day of the partition, from the file name."),
    "_delivered_at": ("timestamp", "When the file was delivered, UTC."),
    "_file_id": ("varchar", "Identity of the file's name and content; key into the ledger."),
    "_source_file": ("varchar", "Name of the file below the inbox."),
    "_row_number": ("bigint", "Data row in the file, from 1."),
    "_loaded_at": ("timestamp", "When the row was loaded, UTC."),
    "_run_id": ("varchar", "Dagster run that loaded it."),
    "_rescued": (
        "varchar",
        "What does not fit the contract, as JSON, encrypted in a feed with personal data; "
        "else null.",
    ),
}

EVOLVED = "Brought by files, unknown to the contract."
"""Comment on such columns of RAW; by it they are told from those of the contract."""

LEDGER_COLUMNS: dict[str, str] = {
    "feed": "varchar",
    "country": "varchar",
    "batch_date": "date",
    "file_id": "varchar",
    "file_name": "varchar",
    "checksum": "varchar",
    "size_bytes": "bigint",
    "delivered_at": "timestamp",
    "state": "varchar",
    "rows_in": "bigint",
    "rows_loaded": "bigint",
    "rows_quarantined": "bigint",
    "rows_duplicate": "bigint",
    "reasons": "varchar",
    "schema_version": "varchar",
    "loaded_at": "timestamp",
    "run_id": "varchar",
}

LATE_DAYS_COLUMNS: dict[str, str] = {
    "feed": "varchar",
    "country": "varchar",
    "batch_date": "date",
    "business_date": "date",
}


def raw_columns(contract: FeedContract) -> dict[str, str]:
    """Column name -> SQL type of a feed's RAW table, contract columns first."""
    return {
        **{name: sql_type for c in contract.columns for name, sql_type in c.stored.items()},
        **{name: sql_type for name, (sql_type, _) in META_COLUMNS.items()},
    }


def evolved_columns(contract: FeedContract, loads: Iterable[PartitionLoad]) -> dict[str, str]:
    """Column name -> SQL type of what RAW has gained by these partitions.

    The union over all partitions that were ever loaded, so it ends the same whatever their order.
    """
    if contract.ingestion.drift is not Drift.EVOLVE:
        return {}
    names = {name for load in loads for name in load.evolved} - contract.column_by_name.keys()
    return dict.fromkeys(sorted(names), "varchar")
