"""Which functions of the platform and of Dagster are what kind of work.

The one place to correct when a function is renamed: `Stopwatch.wrap` complains then.
"""

from retail_platform_tests.benchmarks.stopwatch import Stopwatch

START = "start"
DATA = "data work"
BOOKKEEPING = "Dagster"
REST = f"{BOOKKEEPING}: running ops, the rest"


def watch(stopwatch: Stopwatch) -> None:
    """Wrap; call it after the process has paid for its imports."""
    import pandera.polars as pandera
    from dagster._core.instance.runs.run_domain import RunDomain

    from retail_platform import event_log
    from retail_platform.assets import batch_day, business_day, models
    from retail_platform.automation.arrivals import ArrivalDesk
    from retail_platform.gate import gate, rows
    from retail_platform.operate import foreground
    from retail_platform.transform.dbt_project import DbtProject
    from retail_platform.warehouse import duckdb_file

    def data(owner: object, name: str, what: str) -> None:
        stopwatch.wrap(owner, name, f"{DATA}: {what}")

    def bookkeeping(owner: object, name: str, what: str) -> None:
        stopwatch.wrap(owner, name, f"{BOOKKEEPING}: {what}")

    data(ArrivalDesk, "look", "inbox listing and names")
    data(ArrivalDesk, "range_requests", "inbox listing and names")
    data(batch_day._BatchDayRun, "take_in_files", "gate, listing, waiting for files to be moved")
    data(gate.Gate, "start", "gate, the rest")
    data(gate._Batch, "add", "gate, decode and split lines")
    data(gate, "text_frame", "gate, decode and split lines")
    data(gate._Batch, "_judge_frame", "gate, countries and repetitions")
    data(rows.RowJudge, "judge", "gate, casts")
    data(pandera.DataFrameSchema, "validate", "gate, rules (pandera)")
    data(gate.Gate, "_store_rows", "gate, Parquet")
    data(duckdb_file.DuckDBWarehouse, "replace_partitions", "RAW load")
    data(duckdb_file.DuckDBWarehouse, "_open", "warehouse file, open and close")
    data(duckdb_file.DuckDBWarehouse, "_close", "warehouse file, open and close")
    data(batch_day, "read_manifests", "RAW load, manifests and ledger")
    data(duckdb_file.DuckDBWarehouse, "loaded_files", "RAW load, manifests and ledger")
    data(duckdb_file.DuckDBWarehouse, "late_days", "RAW load, manifests and ledger")
    data(DbtProject, "run", "dbt models")
    data(DbtProject, "test", "dbt tests")
    data(models.TableRun, "row_counts", "row counts")
    data(duckdb_file, "publish", "publish")
    data(business_day, "_days_without_rate", "row counts")
    stopwatch.wrap(DbtProject, "ensure_parsed", f"{START}: dbt parse")

    bookkeeping(foreground.ForegroundRunner, "execute", "running ops, the rest")
    bookkeeping(foreground.ForegroundRunner, "_recover", "looking for failed attempts")
    bookkeeping(foreground, "evaluate_ranges", "what to run (automation)")
    bookkeeping(RunDomain, "create_run_for_job", "planned events")
    bookkeeping(batch_day, "record_materializations", "materialisation events")
    bookkeeping(business_day, "record_materializations", "materialisation events")
    storage = event_log.BatchedSqliteEventLogStorage
    bookkeeping(storage, "store_event", "single events (logs, steps)")
    bookkeeping(storage, "_store_materializations", "materialisation events")
