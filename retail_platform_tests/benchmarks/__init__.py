"""Benchmarks: how long things take, and where the time goes.

Each runs with ``python -m retail_platform_tests.benchmarks.<name>``, prints tables and writes a
JSON file with every run. Results are checked before they are timed: a wrong run has no time.

    backlog      a year of files at once: a plain DuckDB script, this platform, dlt + dbt
    bookkeeping  one partition-materialisation in the event log, batched storage and stock
    late_file    one late file, from arrival to marts, on short and on long history
"""
