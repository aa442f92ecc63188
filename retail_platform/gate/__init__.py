"""The gate: raw files in, contract-true Parquet and quarantine out."""
