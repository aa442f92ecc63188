"""One late file on top of history: seconds from arrival to marts, on short and on long history.

    python -m retail_platform_tests.benchmarks.late_file              # 365 and 8 x 365 days
    python -m retail_platform_tests.benchmarks.late_file --days 46    # 46 and 368 days
    python -m retail_platform_tests.benchmarks.late_file --grow lines # 8 x order lines per day

Both histories are built once, in bulk, with some files of France held back. A process that is up
and warm then gets one of them at a time and runs until idle: the gate, RAW, staging, and the marts
of the seven business days it can touch. The first file of a process warms it up and is not
counted. Processes on the short and on the long history take turns.

Counted are the whole way and the data work alone, and each mart by itself; reported beside them is
a look that finds nothing to do. Checked is that the day's order lines are in the facts.
"""

import argparse
import json
import os
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from retail_platform_tests.benchmarks.deliveries import FIRST_DAY, deliveries
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
from retail_platform_tests.benchmarks.platform_parts import BOOKKEEPING, DATA, START

TOLERANCE = 0.2
COUNTRY = "FR"
FEED = "transactions"
_KEPT_BACK_EVERY = 2
"""Days between files held back."""


def history(work: Path, name: str, days: int, lines_factor: float, held_back: int) -> Path:
    """A home whose marts are complete but for the files held back; built when missing.

    The newest day is the same for short and long history.
    """
    home = work / f"home-{days}-{lines_factor:g}-{held_back}"
    if (home / "ready").is_file():
        return home
    shutil.rmtree(home, ignore_errors=True)
    last = FIRST_DAY + timedelta(days=364)
    first = last - timedelta(days=days - 1)
    given = deliveries(work, days, lines_factor, first)
    late = home / "held_back"
    late.mkdir(parents=True)
    inbox = home / "lake" / "inbox"
    inbox.mkdir(parents=True)
    late_names = {
        f"{FEED}_{COUNTRY}_{last - timedelta(days=7 + n * _KEPT_BACK_EVERY):%Y%m%d}.csv"
        for n in range(held_back)
    }
    for path in given.folder.iterdir():
        ((late if path.name in late_names else inbox) / path.name).hardlink_to(path)
    missing = late_names - {path.name for path in late.iterdir()}
    if missing:
        raise SystemExit(f"{days} days are too few to hold back {held_back} files: no {missing}")
    parsed = next(work.glob("home-*/dbt"), None)
    if parsed:  # when the other history was built
        shutil.copytree(parsed, home / "dbt")
    OUTPUT.print(f"{name}: building history of {days} days, {given.rows[FEED]:,} order lines")
    run = run_python(
        name,
        0,
        "retail_platform_tests.benchmarks.platform_run",
        [str(home)],
        _environment(home, given.period),
    )
    OUTPUT.print(f"{name}: built in {run.wall:.0f} s")
    (home / "ready").write_text(json.dumps(given.period), encoding="utf-8")
    return home


def _environment(home: Path, period: Mapping[str, str]) -> dict[str, str]:
    return {
        "RETAIL_HOME": str(home),
        "RETAIL_ENV": "local",
        "RETAIL_SETTLE_SECONDS": "0",
        **period,
    }


def take_in_late_files(home: Path, samples: int, warm_up: int) -> list[dict[str, Any]]:
    """In this process: deliver late files one by one and time each but those that warm up."""
    warnings.simplefilter("ignore")
    os.environ["RETAIL_HOME"] = str(home)

    from retail_platform.cli.running import runner
    from retail_platform.settings import Settings
    from retail_platform_tests.benchmarks.platform_parts import watch
    from retail_platform_tests.benchmarks.stopwatch import Stopwatch

    found = []
    stopwatch = Stopwatch()
    models: Counter[str] = Counter()
    _note_seconds_of_models(models)
    watch(stopwatch)
    with runner(Settings.from_env(), lambda line: print(line, flush=True)) as (
        platform,
        foreground,
    ):
        del platform
        for number in range(warm_up + samples):
            source = sorted((home / "held_back").iterdir())[0]
            lines = sum(1 for _ in source.open(encoding="utf-8")) - 1
            target = home / "lake" / "inbox" / source.name
            models.clear()
            before = stopwatch.seconds()
            wall, cpu = time.monotonic(), time.process_time()
            shutil.copyfile(source, target)
            with stopwatch.part(f"{BOOKKEEPING}: between runs"):
                outcome = foreground.run_until_idle()
            seconds = {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}
            after = stopwatch.seconds()
            began = time.monotonic()
            idle = foreground.run_until_idle()
            idle_wall = time.monotonic() - began
            assert not idle.runs, idle.runs
            assert not outcome.failed_runs, outcome.failed_runs
            _check(home, source.name, lines)
            source.unlink()
            parts = {
                label: {
                    unit: value - before.get(label, {}).get(unit, 0.0)
                    for unit, value in units.items()
                }
                for label, units in after.items()
            }
            if number >= warm_up:
                found.append(
                    {
                        **seconds,
                        "idle_wall": idle_wall,
                        "dagster_runs": len(outcome.runs),
                        "runs": [(run.partitions, run.seconds) for run in outcome.runs],
                        "parts": parts,
                        "models": dict(models),
                    }
                )
    return found


def _note_seconds_of_models(seconds: Counter[str]) -> None:
    """Add up how long each model is built from now on, by name."""
    from retail_platform.assets.lifetime_values import LifetimeValueRun
    from retail_platform.transform.dbt_project import DbtProject

    run, build = DbtProject.run, LifetimeValueRun.build

    def noted_run(*arguments: Any, **options: Any) -> Any:
        results = run(*arguments, **options)
        for result in results:
            seconds[result.unique_id.rpartition(".")[2]] += result.seconds
        return results

    def noted_build(*arguments: Any) -> None:
        began = time.monotonic()
        build(*arguments)
        seconds["rpt_clv, rpt_clv_fit"] += time.monotonic() - began

    DbtProject.run = noted_run  # type: ignore[method-assign]
    LifetimeValueRun.build = noted_build  # type: ignore[method-assign]


def _check(home: Path, name: str, lines: int) -> None:
    import duckdb

    day = date.fromisoformat(name.removesuffix(".csv")[-8:])
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        row = connection.execute(
            "select count(*) from marts.fct_sales where country = ? and business_date = ? "
            "and channel = 'store'",
            [COUNTRY, day],
        ).fetchone()
    if row is None or row[0] != lines:
        raise AssertionError(f"{name} holds {lines} order lines, the facts {row}")


def _values(runs: Sequence[Run], name: str, kind: str, unit: str) -> list[float]:
    samples = [s for run in runs if run.name == name for s in run.facts["samples"]]
    if kind == "all":
        return [s[unit] for s in samples]
    if kind == "idle":
        return [s["idle_wall"] for s in samples]
    return [
        sum(part[unit] for label, part in s["parts"].items() if label.startswith(kind))
        for s in samples
    ]


def _seconds_of_models(runs: Sequence[Run], sizes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Model -> median seconds on each history and their ratio, the longest first."""
    short, long = sizes
    samples: dict[str, list[dict[str, float]]] = {size: [] for size in sizes}
    for run in runs:
        samples[run.name] += [sample["models"] for sample in run.facts["samples"]]
    found = {}
    for name in {name for of_size in samples.values() for models in of_size for name in models}:
        medians = {
            size: spread([models.get(name, 0.0) for models in of_size])["median"]
            for size, of_size in samples.items()
        }
        found[name] = {**medians, "ratio": medians[long] / max(medians[short], 1e-9)}
    return dict(sorted(found.items(), key=lambda item: -item[1][long]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=365, help="days of the short history")
    parser.add_argument("--times", type=int, default=8, help="how much longer the long one is")
    parser.add_argument("--grow", choices=("days", "lines"), default="days")
    parser.add_argument("--lines-factor", type=float, default=1.0)
    parser.add_argument("--samples", type=int, default=3, help="counted files per process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--work", type=Path, default=Path(".retail/benchmarks/late_file"))
    parser.add_argument("--output", type=Path, default=None, help="JSON file (default: in --work)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        samples = take_in_late_files(options.child, options.samples, int(options.warm_up))
        report_facts({"samples": samples})
        return
    work = options.work.resolve()
    held_back = options.rounds * (options.samples + options.warm_up)
    in_days = options.grow == "days"
    sizes = {
        "1x": (options.days, options.lines_factor),
        f"{options.times}x": (
            options.days * (options.times if in_days else 1),
            options.lines_factor * (1 if in_days else options.times),
        ),
    }
    homes = {
        name: history(work, name, days, factor, held_back) for name, (days, factor) in sizes.items()
    }

    def contestant(name: str) -> Any:
        home = homes[name]
        period = json.loads((home / "ready").read_text(encoding="utf-8"))
        return lambda number: run_python(
            name,
            number,
            "retail_platform_tests.benchmarks.late_file",
            [
                *("--child", str(home), "--samples", str(options.samples)),
                "--warm-up" if options.warm_up else "--no-warm-up",
            ],
            _environment(home, period),
        )

    try:
        runs = round_robin(
            options.rounds, {name: contestant(name) for name in sizes}, lambda run: None
        )
    finally:
        for home in homes.values():  # its late files are used up
            (home / "ready").unlink(missing_ok=True)
    short, long = sizes
    rows, found = [], {}
    for title, kind in {
        "arrival to marts": "all",
        "data work": DATA,
        "Dagster": BOOKKEEPING,
        "nothing to do": "idle",
    }.items():
        of_kind: dict[str, Any] = {
            name: {u: spread(_values(runs, name, kind, u)) for u in ("wall", "cpu")}
            for name in sizes
        }
        for unit in ("wall", "cpu"):
            of_kind[f"{unit}_ratio"] = of_kind[long][unit]["median"] / max(
                of_kind[short][unit]["median"], 1e-9
            )
        found[title] = of_kind
        rows.append(
            (
                title,
                *(
                    f"{of_kind[n]['wall']['median']:.2f} "
                    f"[{of_kind[n]['wall']['min']:.2f}..{of_kind[n]['wall']['max']:.2f}]"
                    for n in sizes
                ),
                f"{of_kind['wall_ratio']:.2f}",
                "" if kind == "idle" else f"{of_kind['cpu_ratio']:.2f}",
            )
        )
    print_table(
        f"one late file ({options.grow} grow)",
        ["", f"{short} wall s", f"{long} wall s", "wall ratio", "CPU ratio"],
        rows,
    )
    labels = sorted({label for run in runs for s in run.facts["samples"] for label in s["parts"]})
    part_rows = []
    for label in labels:
        if label.startswith(START):
            continue
        values = {n: spread(_values(runs, n, label, "wall"))["median"] for n in sizes}
        cpu = {n: spread(_values(runs, n, label, "cpu"))["median"] for n in sizes}
        found[label] = {"wall": values, "cpu": cpu}
        part_rows.append(
            (label, *(f"{values[n]:.3f}" for n in sizes), *(f"{cpu[n]:.3f}" for n in sizes))
        )
    print_table(
        "parts (medians)",
        ["", *(f"{n} wall s" for n in sizes), *(f"{n} CPU s" for n in sizes)],
        part_rows,
    )
    of_models = _seconds_of_models(runs, list(sizes))
    print_table(
        "models (medians; the database's work and dbt's around it)",
        ["", *(f"{n} wall s" for n in sizes), "ratio"],
        [
            (name, *(f"{seconds[n]:.3f}" for n in sizes), f"{seconds['ratio']:.2f}")
            for name, seconds in of_models.items()
        ],
    )
    ratio = found["arrival to marts"]["wall_ratio"]
    met = abs(ratio - 1) <= TOLERANCE
    OUTPUT.print(f"target 1 +- {TOLERANCE}: {'met' if met else 'MISSED'} ({ratio:.2f})")
    write_report(
        options.output or work / "late_file.json",
        {
            "benchmark": "late_file",
            "sizes": json.loads(json.dumps(sizes)),
            "grow": options.grow,
            "summary": found,
            "models": of_models,
            "target": {"ratio": ratio, "tolerance": TOLERANCE, "met": met},
        },
        runs,
    )


if __name__ == "__main__":
    main()
