"""The warehouse: partitions replaced whole, with their ledger, in one transaction."""
