"""Columns of RAW tables and of the file ledger, derived from contracts."""

from retail_platform.contract import FeedContract

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
    "_rescued": ("varchar", "Columns the contract does not know, as JSON; else null."),
}

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
        **{c.name: c.sql_type for c in contract.columns},
        **{name: sql_type for name, (sql_type, _) in META_COLUMNS.items()},
    }
