"""One partition-materialisation in Dagster's event log: batched storage, stock SQLite beside it.

    python -m retail_platform_tests.benchmarks.bookkeeping

A run over a range of country x day partitions of three assets that do no work: creating the run,
one planned and one materialisation event per asset and partition with the metadata a RAW load has,
ending the run. Everything the process does between submitting the run and its end is counted,
divided by assets x partitions. Start of the process and of the instance are not.

The stock storage gets fewer days by default, because it takes minutes; its cost is linear.
"""

import argparse
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from retail_platform_tests.benchmarks.measure import (
    OUTPUT,
    Run,
    print_table,
    report_facts,
    round_robin,
    run_python,
    spread,
    write_report,
)

TARGET_MS = 1.0
COUNTRIES = ("CN", "DE", "ES", "FR", "GB", "PT", "US")
ASSETS = 3
BATCHED = """
storage:
  custom:
    module: retail_platform.event_log
    class: BatchedSqliteStorage
    config:
      base_dir: {env: DAGSTER_HOME}
"""
STORAGES = {"batched": BATCHED, "stock": ""}


def record(home: Path, storage: str, days: int) -> dict[str, Any]:
    """One run over all countries and so many days; seconds it took, and what is recorded."""
    import dagster as dg

    from retail_platform.assets.recording import record_materializations
    from retail_platform.operate.instance import EVENT_BATCH_SIZE
    from retail_platform.partitions import Partition

    warnings.simplefilter("ignore")
    (home / "dagster.yaml").write_text(f"telemetry: {{enabled: false}}\n{STORAGES[storage]}")
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.pop("DAGSTER_EVENT_BATCH_SIZE", None)
    if storage == "batched":
        os.environ["DAGSTER_EVENT_BATCH_SIZE"] = str(EVENT_BATCH_SIZE)
    partitions = dg.MultiPartitionsDefinition(
        {
            "country": dg.StaticPartitionsDefinition(list(COUNTRIES)),
            "day": dg.DailyPartitionsDefinition("2025-01-01", end_date="2026-01-01"),
        }
    )
    keys = [dg.AssetKey(["raw", f"feed_{n}"]) for n in range(ASSETS)]

    @dg.multi_asset(
        specs=[dg.AssetSpec(key, partitions_def=partitions, skippable=True) for key in keys],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def load(context: dg.AssetExecutionContext) -> Iterator[Any]:
        for key in keys:
            record_materializations(
                context,
                (
                    dg.AssetMaterialization(
                        key,
                        partition=str(partition),
                        metadata={
                            "dagster/partition_row_count": 400,
                            "rows_in": 400,
                            "rows_quarantined": 0,
                            "rows_duplicate": 0,
                            "files": f"transactions_{partition[:2]}_20250101.csv",
                            "files_superseded": 0,
                        },
                    )
                    for partition in context.partition_keys
                ),
            )
        yield from ()

    last = dg.DailyPartitionsDefinition("2025-01-01").get_partition_keys()[days - 1]
    tags = {
        "dagster/asset_partition_range_start": f"{COUNTRIES[0]}|2025-01-01",
        "dagster/asset_partition_range_end": f"{COUNTRIES[-1]}|{last}",
    }
    with dg.DagsterInstance.from_config(str(home)) as instance:
        job = dg.Definitions(assets=[load], executor=dg.in_process_executor)
        job_def = job.resolve_implicit_global_asset_job_def()
        wall, cpu = time.monotonic(), time.process_time()
        result = job_def.execute_in_process(
            instance=instance,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        seconds = {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}
        assert result.success
        log = instance.event_log_storage
        recorded = {
            str(kind.value): sum(
                len(log.get_latest_storage_id_by_partition(key, kind)) for key in keys
            )
            for kind in (
                dg.DagsterEventType.ASSET_MATERIALIZATION,
                dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
            )
        }
        example = Partition.parse(f"{COUNTRIES[0]}|2025-01-01")
        newest = log.fetch_materializations(
            dg.AssetRecordsFilter(keys[0], asset_partitions=[str(example)]), limit=1
        ).records[0]
        assert newest.asset_materialization is not None
        assert newest.asset_materialization.metadata["rows_in"].value == 400
    size = sum(path.stat().st_size for path in home.rglob("*.db"))
    return {"seconds": seconds, "recorded": recorded, "megabytes": size / 1e6}


def check(run: Run) -> None:
    """Every partition of every asset is planned and materialised once."""
    expected = ASSETS * len(COUNTRIES) * run.facts["days"]
    if set(run.facts["recorded"].values()) != {expected}:
        raise AssertionError(f"{run.name}: recorded {run.facts['recorded']}, expected {expected}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=365, help="at most 365")
    parser.add_argument("--stock-days", type=int, default=None, help="default: a fifth of --days")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(".retail/benchmarks/bookkeeping"))
    parser.add_argument("--output", type=Path, default=None, help="JSON file (default: in --work)")
    parser.add_argument("--child", choices=STORAGES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    if options.child:
        home = work / options.child
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        report_facts({**record(home, options.child, options.days), "days": options.days})
        return
    days = {
        "batched": options.days,
        "stock": options.stock_days or max(1, options.days // 5),
    }

    def contestant(storage: str) -> Any:
        return lambda number: run_python(
            storage,
            number,
            "retail_platform_tests.benchmarks.bookkeeping",
            ["--child", storage, "--days", str(days[storage]), "--work", str(work)],
        )

    runs = round_robin(options.rounds, {s: contestant(s) for s in STORAGES}, check)
    found = {}
    for storage in STORAGES:
        mine = [run for run in runs if run.name == storage]
        count = ASSETS * len(COUNTRIES) * days[storage]
        found[storage] = {
            "partition_materializations": count,
            "wall_ms": spread([1000 * run.facts["seconds"]["wall"] / count for run in mine]),
            "cpu_ms": spread([1000 * run.facts["seconds"]["cpu"] / count for run in mine]),
            "kilobytes": spread([1000 * run.facts["megabytes"] / count for run in mine]),
        }
    print_table(
        "one partition-materialisation (planned and materialised)",
        ["storage", "of", "wall ms", "min", "max", "CPU ms", "KB"],
        [
            (
                storage,
                f["partition_materializations"],
                f"{f['wall_ms']['median']:.2f}",
                f"{f['wall_ms']['min']:.2f}",
                f"{f['wall_ms']['max']:.2f}",
                f"{f['cpu_ms']['median']:.2f}",
                f"{f['kilobytes']['median']:.1f}",
            )
            for storage, f in found.items()
        ],
    )
    best = found["batched"]["wall_ms"]["median"]
    OUTPUT.print(f"target {TARGET_MS} ms: {'met' if best <= TARGET_MS else 'MISSED'} ({best:.2f})")
    write_report(
        options.output or work / "bookkeeping.json",
        {"benchmark": "bookkeeping", "target_ms": TARGET_MS, "summary": found},
        runs,
    )


if __name__ == "__main__":
    main()
