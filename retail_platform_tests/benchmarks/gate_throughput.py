"""The gate on CSV and on JSON, beside polars reading the same bytes and writing Parquet unchecked.

    python -m retail_platform_tests.benchmarks.gate_throughput

The same orders (12 columns, among them two of a nested customer) as one CSV file and as one JSON
file. The gate takes the file from an inbox to data, history and manifest; polars reads it with the
types it finds and writes one Parquet file with the same compression. Seconds are those of the work;
start and imports of the processes are not counted. Peak memory is that of the whole process.

``--megabytes 2000 --gate-only --rounds 1`` shows what large files need.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
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

TARGET_RATIO = 3.0
BLOCK = 10_000
MODULE = "retail_platform_tests.benchmarks.gate_throughput"
CONTESTANTS = ("gate_csv", "polars_csv", "gate_json", "polars_json")
COLUMNS: dict[str, dict[str, Any]] = {
    "order_id": {"physicalType": "varchar", "primaryKey": True, "required": True},
    "customer_id": {"physicalType": "bigint", "path": "customer.id"},
    "customer_city": {"physicalType": "varchar", "path": "customer.city"},
    "store_id": {"physicalType": "integer"},
    "sku": {"physicalType": "varchar"},
    "quantity": {"physicalType": "integer"},
    "unit_price": {"physicalType": "decimal(12,2)"},
    "amount": {"physicalType": "decimal(12,2)"},
    "currency": {"physicalType": "varchar"},
    "ordered_at": {"physicalType": "timestamp"},
    "paid": {"physicalType": "boolean"},
    "note": {"physicalType": "varchar"},
}


def contract(kind: str) -> dict[str, Any]:
    """Contract of feed `orders_<kind>`."""
    properties = []
    for name, column in COLUMNS.items():
        prop = {"name": name, **{k: v for k, v in column.items() if k != "path"}}
        if kind == "json" and "path" in column:
            value = {"path": column["path"]}
            prop["customProperties"] = [{"property": "ingestion", "value": value}]
        properties.append(prop)
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": f"orders_{kind}",
        "status": "active",
        "version": "1.0.0",
        "customProperties": [{"property": "ingestion", "value": {"format": kind}}],
        "schema": [{"name": f"orders_{kind}", "properties": properties}],
    }


def some_orders(kind: str) -> str:
    """Different orders, one line each, whose numbers begin with ``@@@@``."""
    written = []
    for number in range(BLOCK):
        price, quantity = 500 + number % 20_000, 1 + number % 4
        order = {
            "order_id": f"ORD-@@@@{number:06d}",
            "customer_id": number * 7919 % 1_000_003,
            "customer_city": ("Lyon", "Nantes", "Saint-Étienne", "Nice")[number % 4],
            "store_id": number % 35,
            "sku": f"MASU{number % 9973}-M-",
            "quantity": quantity,
            "unit_price": f"{price / 100:.2f}",
            "amount": f"{price * quantity / 100:.2f}",
            "currency": "EUR",
            "ordered_at": f"2025-01-11 {number % 24:02d}:{number % 60:02d}:{number % 59:02d}",
            "paid": number % 3 > 0,
            "note": "leave at the door" if number % 5 == 0 else "",
        }
        if kind == "csv":
            written.append(",".join(str(value) for value in order.values()) + "\n")
            continue
        customer = {"id": order.pop("customer_id"), "city": order.pop("customer_city")}
        written.append(json.dumps({**order, "customer": customer}, ensure_ascii=False) + "\n")
    return "".join(written)


def orders_file(work: Path, kind: str, megabytes: float) -> tuple[Path, int]:
    """A file of about this size, made once, and its number of rows."""
    path = work / f"orders-{megabytes:g}.{kind}"
    count = path.with_suffix(f".{kind}.rows")
    if not count.is_file():
        work.mkdir(parents=True, exist_ok=True)
        block = some_orders(kind).encode()
        blocks = max(1, round(megabytes * 1e6 / len(block)))
        with path.open("wb") as file:
            file.write((",".join(COLUMNS) + "\n").encode() if kind == "csv" else b"")
            for number in range(blocks):
                file.write(block.replace(b"@@@@", b"%04d" % number))
        count.write_text(str(BLOCK * blocks))
    return path, int(count.read_text())


def through_the_gate(work: Path, path: Path, kind: str) -> int:
    """Rows that were loaded."""
    import yaml

    from retail_platform.contract import read_contract
    from retail_platform.countries import load_countries
    from retail_platform.gate.gate import Gate
    from retail_platform.lake.inbox import plan_arrivals
    from retail_platform.lake.store import INBOX, Lake

    home = work / f"lake-{kind}"
    shutil.rmtree(home, ignore_errors=True)
    inbox = home / INBOX
    inbox.mkdir(parents=True)
    os.link(path, inbox / f"orders_{kind}_FR_20250111.{kind}")
    own = home / "own.odcs.yaml"
    own.write_text(yaml.safe_dump(contract(kind)))
    feed, registry = read_contract(own), load_countries()
    lake = Lake.open(home.as_uri())
    plan = plan_arrivals(
        lake.list(INBOX),
        {feed.name: feed},
        registry,
        first_day=date(2023, 1, 1),
        now=datetime.now(UTC),
    )
    report = Gate(lake, feed, registry).take_in(plan.arrivals)
    (manifest,) = report.manifests.values()
    (facts,) = manifest.files.values()
    shutil.rmtree(home)
    return facts.rows_loaded


def through_polars(work: Path, path: Path, kind: str) -> int:
    """Rows that were written."""
    import polars as pl

    target = work / f"polars-{kind}.parquet"
    frame = pl.scan_csv(path).collect() if kind == "csv" else pl.read_ndjson(path)
    frame.write_parquet(target, compression="zstd", compression_level=1)
    target.unlink()
    return frame.height


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=200, help="of each file")
    parser.add_argument("--gate-only", action="store_true", help="without polars")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(".retail/benchmarks/gate_throughput"))
    parser.add_argument("--output", type=Path, default=None, help="JSON file (default: in --work)")
    parser.add_argument("--child", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    if options.child:
        reader, _, kind = options.child.partition("_")
        path, rows = orders_file(work, kind, options.megabytes)
        take = through_the_gate if reader == "gate" else through_polars
        few, _ = orders_file(work, kind, 0.1)
        take(work, few, kind)  # imports, and what is made once per process
        wall, cpu = time.monotonic(), time.process_time()
        loaded = take(work, path, kind)
        seconds = {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}
        size = path.stat().st_size
        report_facts({"seconds": seconds, "rows": rows, "loaded": loaded, "bytes": size})
        return
    for kind in ("csv", "json"):
        orders_file(work, kind, options.megabytes)

    def contestant(name: str) -> Any:
        own = ["--child", name, "--megabytes", f"{options.megabytes:g}", "--work", str(work)]
        return lambda number: run_python(name, number, MODULE, own)

    names = [n for n in CONTESTANTS if n.startswith("gate") or not options.gate_only]
    runs = round_robin(options.rounds, {name: contestant(name) for name in names}, check)
    found = {name: figures(name, runs) for name in names}
    print_table(
        f"one file of {options.megabytes:g} MB",
        ["", "rows", "wall s", "CPU s", "rows/s", "MB/s", "peak MB", "wall ratio", "CPU ratio"],
        [
            (
                name,
                f["rows"],
                f"{f['wall']['median']:.2f}",
                f"{f['cpu']['median']:.2f}",
                f"{f['rows'] / f['wall']['median']:,.0f}",
                f"{f['bytes'] / f['wall']['median'] / 1e6:.0f}",
                f"{f['peak_mb']['median']:.0f}",
                *(f"{f[r]['median']:.2f}" if r in f else "" for r in ("wall_ratio", "cpu_ratio")),
            )
            for name, f in found.items()
        ],
    )
    for name, f in found.items():
        if "wall_ratio" in f:
            ratio = f["wall_ratio"]["median"]
            verdict = "met" if ratio <= TARGET_RATIO else "MISSED"
            OUTPUT.print(f"{name}: target {TARGET_RATIO:g} x polars: {verdict} ({ratio:.2f})")
    report = {"benchmark": "gate_throughput", "target_ratio": TARGET_RATIO, "summary": found}
    write_report(options.output or work / "gate_throughput.json", report, runs)
    for path in work.glob("orders-*"):
        path.unlink()


def check(run: Run) -> None:
    """Every row arrives."""
    if run.facts["loaded"] != run.facts["rows"]:
        raise AssertionError(f"{run.name}: {run.facts['loaded']} of {run.facts['rows']} rows")


def figures(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Seconds and peak memory; of the gate also the ratio to polars in the same round."""
    mine = {run.round: run for run in runs if run.name == name}
    other = name.replace("gate", "polars")
    yardstick = {run.round: run for run in runs if run.name == other and other != name}
    first = next(iter(mine.values()))
    found: dict[str, Any] = {
        "rows": first.facts["rows"],
        "bytes": first.facts["bytes"],
        "peak_mb": spread([run.peak_mb for run in mine.values()]),
    }
    for what in ("wall", "cpu"):
        seconds = {number: run.facts["seconds"][what] for number, run in mine.items()}
        found[what] = spread(list(seconds.values()))
        if yardstick:
            others = {number: run.facts["seconds"][what] for number, run in yardstick.items()}
            found[f"{what}_ratio"] = spread([seconds[n] / others[n] for n in seconds])
    return found


if __name__ == "__main__":
    main()
