"""A backlog from inbox to marts: a plain DuckDB script, this platform, and dlt + dbt.

    python -m retail_platform_tests.benchmarks.backlog            # 1 M order lines, 7 x 365
    python -m retail_platform_tests.benchmarks.backlog --days 37 --rounds 3

Whole processes, round robin, on the same files; ratios are those of one round. A run counts only
if fact rows, rows of every mart and net sales by country are equal for all and to what was
generated. All build the marts of the script; what the platform's other marts cost is shown beside.

  script         casts, deduplicates, builds the same marts with the platform's reads and writes
                 (lake, RAW, staging, marts, published copy); no gate, no tests, nothing recorded
  script_lean    the same straight from the files into staging: what those layers cost anybody
  platform       `retail run` in a fresh process, split into data work and Dagster's bookkeeping
  platform_all   the same with every mart
  dlt_dbt        dlt (filesystem -> DuckDB -> Arrow, file by file), then `dbt run` with the same
                 models, no tests
  dlt_dbt_tuned  the same with one query of our own for a thousand files
"""

import argparse
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from retail_platform_tests.benchmarks.answers import MARTS, answers_of, check_answers
from retail_platform_tests.benchmarks.deliveries import Deliveries, deliveries, link_into
from retail_platform_tests.benchmarks.measure import (
    OUTPUT,
    Run,
    print_summary,
    print_table,
    round_robin,
    run_python,
    summary,
    write_report,
)
from retail_platform_tests.benchmarks.platform_parts import BOOKKEEPING, DATA, START

PACKAGE = "retail_platform_tests.benchmarks"
MOST_DAGSTER_RUNS = 36
TARGETS = {
    "data work of platform / script": 2.0,
    "platform / script": 5.0,
    "platform / dlt_dbt": 1.0,
}


def contestants(
    given: Deliveries, work: Path, databases: dict[str, Path]
) -> dict[str, Callable[[int], Run]]:
    """Name -> what runs it once, in a folder of its own.

    Nothing is deleted before the last round: for a while after that a disk creates files at a tenth
    of its speed.
    """

    def fresh(name: str, number: int) -> Path:
        folder = work / "rounds" / f"{name}-{number}"
        folder.mkdir(parents=True)
        databases[name] = folder / "warehouse.duckdb"
        return folder

    def script(name: str, *options: str) -> Callable[[int], Run]:
        def run(number: int) -> Run:
            database = fresh(name, number) / "warehouse.duckdb"
            arguments = [str(given.folder), str(database), *options]
            return run_python(name, number, f"{PACKAGE}.plain_duckdb", arguments)

        return run

    def platform(name: str, *options: str) -> Callable[[int], Run]:
        def run(number: int) -> Run:
            folder = fresh(name, number)
            link_into(given.folder, folder / "lake" / "inbox")
            return run_python(
                name,
                number,
                f"{PACKAGE}.platform_run",
                [str(folder), *options],
                {
                    "RETAIL_HOME": str(folder),
                    "RETAIL_ENV": "local",
                    "RETAIL_SETTLE_SECONDS": "0",
                    **given.period,
                },
            )

        return run

    def dlt_dbt(name: str, *options: str) -> Callable[[int], Run]:
        def run(number: int) -> Run:
            arguments = [str(given.folder), str(fresh(name, number)), *options]
            return run_python(name, number, f"{PACKAGE}.dlt_dbt", arguments)

        return run

    return {
        "script": script("script", "--layered"),
        "script_lean": script("script_lean"),
        "platform": platform("platform", "--marts", *MARTS),
        "platform_all": platform("platform_all"),
        "dlt_dbt": dlt_dbt("dlt_dbt"),
        "dlt_dbt_tuned": dlt_dbt("dlt_dbt_tuned", "--tuned"),
    }


def warm_up(work: Path, names: Sequence[str]) -> None:
    """One run of each over two days of files: compiles bytecode, and is not counted."""
    few = contestants(deliveries(work, 2), work, {})
    for name in names:
        few[name](0)


def kinds(parts: Mapping[str, Mapping[str, float]], unit: str) -> dict[str, float]:
    """Seconds of start, data work and bookkeeping."""
    return {
        kind: sum(v[unit] for label, v in parts.items() if label.startswith(kind))
        for kind in (START, DATA, BOOKKEEPING)
    }


def verdicts(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Every target with its median ratio over the rounds, by wall clock and by CPU time."""
    by_round: dict[int, dict[str, Run]] = {}
    for run in runs:
        by_round.setdefault(run.round, {})[run.name] = run
    found = {}
    for name, limit in TARGETS.items():
        above, below = name.removeprefix("data work of ").split(" / ")
        ratios = {"wall": [], "cpu": []}
        for of_round in by_round.values():
            if above not in of_round or below not in of_round:
                continue
            for unit, values in ratios.items():
                value = getattr(of_round[above], unit)
                if name.startswith("data work"):
                    value = kinds(of_round[above].facts["parts"], unit)[DATA]
                values.append(value / getattr(of_round[below], unit))
        if ratios["wall"]:
            medians = {unit: statistics.median(values) for unit, values in ratios.items()}
            found[name] = {**medians, "limit": limit, "met": medians["wall"] <= limit}
    return found


def print_parts(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Where the time of the platform went: medians over the rounds."""
    mine = [run for run in runs if run.name == "platform"]
    labels = sorted({label for run in mine for label in run.facts["parts"]})
    wall = statistics.median(run.wall for run in mine)
    medians: dict[str, dict[str, float]] = {}
    for label in labels:
        of_label = [
            run.facts["parts"].get(label, {"wall": 0, "cpu": 0, "calls": 0}) for run in mine
        ]
        medians[label] = {
            unit: statistics.median(part[unit] for part in of_label)
            for unit in ("wall", "cpu", "calls")
        }
    rows = []
    for kind in (START, DATA, BOOKKEEPING):
        of_kind = [label for label in labels if label.startswith(kind)]
        total = {u: sum(medians[label][u] for label in of_kind) for u in ("wall", "cpu")}
        rows.append((kind.upper(), *_row(total, wall), ""))
        rows += [
            (
                "  " + label.removeprefix(f"{kind}: "),
                *_row(medians[label], wall),
                f"{medians[label]['calls']:.0f}",
            )
            for label in sorted(of_kind, key=lambda label: -medians[label]["wall"])
        ]
    outside = wall - sum(part["wall"] for part in medians.values())
    rows.append(("END OF PROCESS", f"{outside:.2f}", "", f"{100 * outside / wall:.0f}", ""))
    print_table(
        "platform, where the time goes (medians)", ["", "wall s", "CPU s", "%", "calls"], rows
    )
    return medians


def _row(part: Mapping[str, float], wall: float) -> tuple[str, str, str]:
    return f"{part['wall']:.2f}", f"{part['cpu']:.2f}", f"{100 * part['wall'] / wall:.0f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=365, help="batch days (default 365)")
    parser.add_argument(
        "--lines-factor", type=float, default=1.0, help="order lines per country and day, relative"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only", default="", help="contestants, separated by commas")
    parser.add_argument("--work", type=Path, default=Path(".retail/benchmarks/backlog"))
    parser.add_argument("--output", type=Path, default=None, help="JSON file (default: in --work)")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    given = deliveries(work, options.days, options.lines_factor)
    order_lines = given.rows["transactions"] + given.rows["partner_sales"]
    OUTPUT.print(f"{given.files} files, {given.rows} rows, {order_lines:,} order lines")
    shutil.rmtree(work / "rounds", ignore_errors=True)
    databases: dict[str, Path] = {}
    chosen = contestants(given, work, databases)
    if options.only:
        chosen = {name: chosen[name] for name in options.only.split(",")}
    agreed: dict[str, Any] = {}

    def check(run: Run) -> None:
        answers = answers_of(databases[run.name])
        check_answers(run.name, answers, agreed, given.net_sales_local, order_lines)
        agreed.update(answers)
        if run.facts.get("dagster_runs", 0) > MOST_DAGSTER_RUNS:
            raise AssertionError(
                f"{run.facts['dagster_runs']} Dagster runs; at most {MOST_DAGSTER_RUNS} expected."
            )

    if options.warm_up:
        warm_up(work, list(chosen))
    runs = round_robin(options.rounds, chosen, check)
    found = summary(runs, next(iter(chosen)))
    print_summary(f"{order_lines:,} order lines, {given.files} files", found)
    content: dict[str, Any] = {
        "benchmark": "backlog",
        "deliveries": {"days": given.days, "files": given.files, "rows": given.rows},
        "answers": agreed,
        "summary": found,
    }
    if "platform" in chosen:
        content["parts"] = print_parts(runs)
        counts = {run.facts["dagster_runs"] for run in runs if run.name == "platform"}
        OUTPUT.print(f"Dagster runs of the platform: {counts}")
    content["targets"] = verdicts(runs)
    print_table(
        "targets (median of the rounds)",
        ["", "wall", "CPU", "limit", ""],
        [
            (
                name,
                f"{v['wall']:.2f}",
                f"{v['cpu']:.2f}",
                v["limit"],
                "met" if v["met"] else "MISSED",
            )
            for name, v in content["targets"].items()
        ],
    )
    write_report(options.output or work / "backlog.json", content, runs)


if __name__ == "__main__":
    main()
