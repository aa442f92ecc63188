"""dlt + dbt on the same files: what one would set up with the two usual tools.

dlt lists the folder, reads CSV through DuckDB into Arrow and loads into DuckDB tables of text; dbt
builds the models of dbt_project over views that give the loaded tables the names, types and meta
columns of RAW. `dbt run` only: no tests, and without the report that needs the gate's ledger.
Personal data, which the platform makes tokens of and encrypts, stays in clear here.

In two forms: a table per file, as the guides to dlt's filesystem source write a reader; and
``--tuned``, where one query reads a thousand files, which nobody gets without writing it himself.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retail_platform_tests.benchmarks.answers import MARTS
from retail_platform_tests.benchmarks.plain_duckdb import (
    COLUMNS,
    COUNTRY_OF_STORE,
    MOMENT,
    csv_reader,
    shapes,
)

DATASET = "landing"
LEDGER = "file_ledger"
FILES_PER_PAGE = 1_000


def load(folder: Path, home: Path, *, tuned: bool) -> None:
    """All files into tables of text, one per feed, with name and time of delivery of the file."""
    import dlt
    import duckdb
    import pyarrow as pa
    from dlt.common.storages.fsspec_filesystem import FileItemDict
    from dlt.sources.filesystem import filesystem

    def resource(feed: str) -> Any:
        @dlt.transformer(name=feed, write_disposition="append", max_table_nesting=0)
        def read_each(items: list[FileItemDict]) -> Iterator[pa.Table]:
            columns = list(COLUMNS[feed])
            for item in items:
                path = str(folder / item["file_name"])
                fields, header = tuple(columns), True
                if feed.startswith("partner_"):
                    ((fields, header),) = shapes([path], columns)
                reader = csv_reader([path], dict.fromkeys(fields, "varchar"), header=header)
                table = duckdb.sql(f"select * exclude (filename) from {reader}").to_arrow_table()
                delivered = item["modification_date"].replace(tzinfo=None)
                yield table.append_column(
                    "file_name", pa.array([item["file_name"]] * len(table), pa.string())
                ).append_column("delivered_at", pa.array([delivered] * len(table)))

        @dlt.transformer(name=feed, write_disposition="append", max_table_nesting=0)
        def read_many(items: list[FileItemDict]) -> Iterator[pa.Table]:
            delivered = {item["file_name"]: item["modification_date"] for item in items}
            paths = [str(folder / item["file_name"]) for item in items]
            columns = list(COLUMNS[feed])
            with duckdb.connect() as connection:
                connection.register(
                    "delivered",
                    pa.table(
                        {
                            "file_name": list(delivered),
                            "delivered_at": [d.replace(tzinfo=None) for d in delivered.values()],
                        }
                    ),
                )
                groups = (
                    shapes(paths, columns)
                    if feed.startswith("partner_")
                    else {(tuple(columns), True): paths}
                )
                for (fields, header), same in groups.items():
                    reader = csv_reader(same, dict.fromkeys(fields, "varchar"), header=header)
                    yield connection.execute(
                        f"select * exclude (filename) from {reader} join delivered "
                        "on file_name = parse_filename(filename)"
                    ).to_arrow_table()

        files = filesystem(
            bucket_url=folder.as_uri(), file_glob=f"{feed}_*.csv", files_per_page=FILES_PER_PAGE
        )
        return files | (read_many if tuned else read_each)

    pipeline = dlt.pipeline(
        pipeline_name="benchmark",
        pipelines_dir=str(home / "dlt"),
        destination=dlt.destinations.duckdb(str(home / "warehouse.duckdb")),
        dataset_name=DATASET,
    )
    pipeline.run([resource(feed) for feed in COLUMNS], loader_file_format="parquet")


def shim(home: Path) -> None:
    """Views that look like the RAW tables dbt_project reads."""
    import duckdb

    from retail_platform.contract import load_contracts
    from retail_platform.warehouse.raw_tables import LEDGER, LEDGER_COLUMNS, raw_columns

    contracts = load_contracts()
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        connection.execute("create schema raw")
        # The feeds that are not delivered are empty here as they are for the platform.
        empty = {LEDGER: LEDGER_COLUMNS} | {
            name: raw_columns(c) for name, c in contracts.items() if name not in COLUMNS
        }
        for table, kinds in empty.items():
            spelled = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
            connection.execute(f"create table raw.{table} ({spelled})")
        for feed, columns in COLUMNS.items():
            token = f"regexp_extract(file_name, '^{feed}_([A-Z]{{2,3}})_', 1)"
            of_row = COUNTRY_OF_STORE if feed == "stores" else "country"
            spelled = ", ".join(
                f"{_cast(feed, name, kind)} as {stored}"
                if not stored.endswith("_year")
                else f"year({_cast(feed, name, kind)}) as {stored}"
                for name, kind in columns.items()
                for stored in contracts[feed].column_by_name[name].stored
            )
            connection.execute(
                f"create view raw.{feed} as select {spelled}, {of_row} as _country, "
                "cast(strptime(regexp_extract(file_name, '_([0-9]{8})\\.csv$', 1), '%Y%m%d') "
                "as date) as _batch_date, delivered_at at time zone 'UTC' as _delivered_at, "
                "file_name as _file_id, file_name as _source_file, _row_number, "
                "delivered_at at time zone 'UTC' as _loaded_at, "
                "'' as _run_id, cast(null as varchar) as _rescued "
                f"from (select *, case {token} when 'UK' then 'GB' when '' then 'ALL' "
                f"else {token} end as country, rowid as _row_number from {DATASET}.{feed})"
            )


def _cast(feed: str, column: str, kind: str) -> str:
    if (feed, column) == ("partner_sales", "transaction_time"):
        return f"cast({MOMENT} as timestamp)"
    if (feed, column) == ("partner_sales", "amount"):
        return "cast(trim(amount, '$') as decimal(12, 2))"
    return f"cast({column} as {kind})"


def transform(home: Path) -> None:
    """`dbt run`: the marts that are compared, and what they are made of."""
    from dbt.cli.main import dbtRunner

    from retail_platform.settings import PROJECT_DIR

    project = home / "dbt_project"
    shutil.copytree(
        PROJECT_DIR / "dbt_project",
        project,
        ignore=shutil.ignore_patterns("target", "logs", "dbt_packages"),
    )
    os.environ["RETAIL_DUCKDB_PATH"] = str(home / "warehouse.duckdb")
    marts = [f"+{mart}" for mart in MARTS]
    result = dbtRunner().invoke(
        ["run", "--project-dir", str(project), "--profiles-dir", str(project), "--target", "duckdb",
         "--select", *marts, "--log-level", "error", "--no-use-colors"]
    )  # fmt: skip
    if not result.success:
        raise SystemExit(f"dbt: {result.exception or [r.message for r in result.result]}")


def main() -> None:
    """Load and transform once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of delivered files")
    parser.add_argument("home", type=Path, help="folder for database and state")
    parser.add_argument("--tuned", action="store_true", help="see the module's docstring")
    options = parser.parse_args()
    os.environ.update({"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"})
    seconds = {}
    for part, work in {
        "dlt": lambda: load(options.folder, options.home, tuned=options.tuned),
        "views": lambda: shim(options.home),
        "dbt": lambda: transform(options.home),
    }.items():
        began = time.monotonic()
        work()
        seconds[part] = time.monotonic() - began
    target = os.environ.get("BENCHMARK_FACTS")
    if target:
        Path(target).write_text(json.dumps({"seconds": seconds}), encoding="utf-8")
    else:
        print(json.dumps(seconds, indent=1))


if __name__ == "__main__":
    main()
