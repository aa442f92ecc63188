"""One late file on top of history: seconds from arrival to marts, on short and on long history.

    python -m retail_platform_tests.benchmarks.late_file              # 274 and 8 x 274 days
    python -m retail_platform_tests.benchmarks.late_file --days 46    # 46 and 368 days
    python -m retail_platform_tests.benchmarks.late_file --grow lines # 8 x order lines per day
    python -m retail_platform_tests.benchmarks.late_file --models     # each model by itself
    python -m retail_platform_tests.benchmarks.late_file --models --whole-day  # and every mart

Both histories are built once, in bulk, with some files of France held back. A process that is up
and warm then gets one of them at a time and runs until idle: the gate, RAW, staging, and the marts
of the seven business days it can touch. The first file of a process warms it up and is not
counted. Processes on the short and on the long history take turns.

Counted are the whole way and the data work alone; reported beside them is a look that finds nothing
to do. With `--models` dbt builds one model at a time, which takes longer than in operation, but the
CPU time of the process is then that of the model; the same file on both histories is one ratio.
A file of sales wakes no mart of stock or of checkouts; with `--whole-day` all that France delivers
on a day is late.
Checked is that the day's order lines are in the facts, and that no mart is empty: one without rows
costs nothing on any history.
"""

import argparse
import gc
import json
import os
import shutil
import statistics
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from retail_platform.demo.generator import MIN_CUSTOMERS, NIGHTLY_FEEDS, GeneratorSpec
from retail_platform.settings import PROJECT_DIR
from retail_platform_tests.benchmarks.deliveries import deliveries
from retail_platform_tests.benchmarks.measure import (
    OUTPUT,
    Run,
    print_table,
    range_of,
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
FEEDS = (
    *NIGHTLY_FEEDS,
    *("online_orders", "online_checkouts", "inventory_movements", "suppliers", "weather"),
    "competitor_prices",
)
"""Those that the marts are made of."""

LAST_DAY = date(2025, 12, 31)
"""Of both histories: a month, a promotion and, days before, a retail week end with it. Deliveries
can be made of the 2,192 days up to it."""

ARTICLES = 100
"""Few: shops have stock of each, every day; of the whole range there would be a thousand rows of
stock for each order line, and ever more articles that were sold once."""

_KEPT_BACK_EVERY = 2
"""Days between files held back."""

_COMPUTED = ("rpt_clv", "rpt_clv_fit")
"""Marts that one computation builds, not dbt."""


def prepare(
    work: Path,
    days: int,
    lines_factor: float,
    held_back: int,
    late_feeds: Sequence[str] = (FEED,),
    **others: Any,
) -> tuple[Path, dict[str, str]]:
    """A home with all files but those held back in its inbox, and its settings.

    The newest day is the same for short and long history.

    Args:
        held_back: days.
        late_feeds: feeds whose file of such a day is held back, where there is one.
        others: what differs from the usual deliveries.
    """
    first = LAST_DAY - timedelta(days=days - 1)
    given = deliveries(work, days, lines_factor, first_day=first, feeds=FEEDS, **others)
    home = work / f"home-{given.folder.parent.name}-{held_back}-{len(late_feeds)}"
    settings = {
        "RETAIL_HOME": str(home),
        "RETAIL_ENV": "local",
        "RETAIL_SETTLE_SECONDS": "0",
        **given.period,
    }
    if _ready(home).is_file():
        return home, settings
    shutil.rmtree(home, ignore_errors=True)
    late = home / "held_back"
    late.mkdir(parents=True)
    inbox = home / "lake" / "inbox"
    inbox.mkdir(parents=True)
    late_days = [LAST_DAY - timedelta(days=7 + n * _KEPT_BACK_EVERY) for n in range(held_back)]
    late_names = {f"{feed}_{COUNTRY}_{day:%Y%m%d}" for feed in late_feeds for day in late_days}
    for path in given.folder.iterdir():
        ((late if path.stem in late_names else inbox) / path.name).hardlink_to(path)
    needed = {f"{FEED}_{COUNTRY}_{day:%Y%m%d}" for day in late_days}
    missing = needed - {path.stem for path in late.iterdir()}
    if missing:
        raise SystemExit(f"{days} days are too few to hold back {held_back} files: no {missing}")
    parsed = next(work.glob("home-*/dbt"), None)
    if parsed:  # of a history that was built before
        shutil.copytree(parsed, home / "dbt")
    return home, settings


def _next_day(held_back: Path) -> list[Path]:
    """Files of the earliest day that is held back."""

    def day(path: Path) -> str:
        return path.stem[-8:]

    files = sorted(held_back.iterdir(), key=day)
    return [path for path in files if day(path) == day(files[0])]


def _ready(home: Path) -> Path:
    """Is there when the marts of a home are complete but for the files held back."""
    return home / "ready"


def build(home: Path, foreground: Any) -> None:
    """In this process: everything that lies in the inbox, in bulk.

    Raises:
        SystemExit: something failed, or nothing would be measured of some mart.
    """
    outcome = foreground.run_until_idle()
    if not outcome.green:
        raise SystemExit(
            f"not green: {outcome.failed_runs} {outcome.failed_checks} {outcome.rejections}"
        )
    empty = empty_marts(home)
    if empty:
        raise SystemExit(f"nothing would be measured of {', '.join(empty)}: no rows")


def empty_marts(home: Path) -> list[str]:
    """Marts of the project without a row; nobody may ever have built them."""
    from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
    from retail_platform_tests.histories import empty_tables

    marts = {path.stem for path in (PROJECT_DIR / "dbt_project/models/marts").glob("*.sql")}
    warehouse = DuckDBWarehouse(home / "warehouse.duckdb")
    built = {table for schema, table in warehouse.tables() if schema == "marts"}
    return sorted(marts.union(_COMPUTED) - (built - empty_tables(warehouse.path, "marts")))


def take_in_late_files(
    home: Path, samples: int, warm_up: int, *, from_scratch: bool, models: bool
) -> list[dict[str, Any]]:
    """In this process: deliver late files one by one and time each but those that warm up.

    Args:
        from_scratch: build the marts first.
        models: note what each model costs, one at a time.
    """
    warnings.simplefilter("ignore")
    os.environ["RETAIL_HOME"] = str(home)

    from retail_platform.cli.running import runner
    from retail_platform.settings import Settings
    from retail_platform_tests.benchmarks.platform_parts import watch
    from retail_platform_tests.benchmarks.stopwatch import Stopwatch

    found = []
    stopwatch = Stopwatch()
    of_models: defaultdict[str, Counter[str]] = defaultdict(Counter)
    if models:
        _note_models(of_models)
    watch(stopwatch)
    with runner(Settings.from_env(), lambda line: print(line, flush=True)) as (
        platform,
        foreground,
    ):
        del platform
        if from_scratch:
            build(home, foreground)
        for number in range(warm_up + samples):
            late = _next_day(home / "held_back")
            sales = next(path for path in late if path.name.startswith(FEED))
            lines = sum(1 for _ in sales.open(encoding="utf-8")) - 1
            of_models.clear()
            before = stopwatch.seconds()
            wall, cpu = time.monotonic(), time.process_time()
            for path in late:
                shutil.copyfile(path, home / "lake" / "inbox" / path.name)
            with stopwatch.part(f"{BOOKKEEPING}: between runs"):
                outcome = foreground.run_until_idle()
            seconds = {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}
            after = stopwatch.seconds()
            began = time.monotonic()
            idle = foreground.run_until_idle()
            idle_wall = time.monotonic() - began
            assert not idle.runs, idle.runs
            assert not outcome.failed_runs, outcome.failed_runs
            _check(home, sales.name, lines)
            for path in late:
                path.unlink()
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
                        "models": {model: dict(noted) for model, noted in of_models.items()},
                    }
                )
    return found


def _note_models(found: defaultdict[str, Counter[str]]) -> None:
    """From now on dbt builds one model at a time, and by its name is added up what it cost.

    CPU seconds are those of all threads of the process, the database's included; rows are those of
    the days that were built.
    """
    from dbt.task.base import BaseRunner

    from retail_platform.assets.lifetime_values import LifetimeValueRun
    from retail_platform.assets.models import TableRun
    from retail_platform.transform.dbt_project import DbtProject

    arguments, run = DbtProject._common_arguments, BaseRunner.run_with_hooks
    compute, count = LifetimeValueRun.build, TableRun.row_counts
    computed = ", ".join(_COMPUTED)

    @contextmanager
    def noted(name: str) -> Iterator[None]:
        # The model that happens to be built then would pay for the garbage of all before it.
        gc.disable()
        began = time.process_time()
        yield
        found[name]["cpu"] += time.process_time() - began
        gc.enable()

    def one_at_a_time(self: Any) -> list[str]:
        return [*arguments(self), "--threads", "1"]

    def noted_run(self: Any, manifest: Any) -> Any:
        if self.node.resource_type != "model":
            return run(self, manifest)
        with noted(self.node.name):
            return run(self, manifest)

    def noted_compute(self: Any, slices: Any) -> None:
        with noted(computed):
            compute(self, slices)

    def noted_count(self: Any, slices: Any) -> Any:
        counts = count(self, slices)
        for key, of_partitions in counts.items():
            name = computed if key.path[-1] in _COMPUTED else key.path[-1]
            found[name]["rows"] += sum(of_partitions.values())
        return counts

    DbtProject._common_arguments = one_at_a_time  # type: ignore[method-assign]
    BaseRunner.run_with_hooks = noted_run
    LifetimeValueRun.build = noted_compute  # type: ignore[method-assign]
    TableRun.row_counts = noted_count  # type: ignore[method-assign]


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


def costs_of_models(runs: Sequence[Run], sizes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Model -> rows and CPU seconds on each history, and ratios of the same file on both.

    Of the files that wake it: a list of employees is not delivered every day.
    """
    short, long = sizes
    samples: dict[str, list[dict[str, dict[str, float]]]] = {size: [] for size in sizes}
    for run in runs:
        samples[run.name] += [sample["models"] for sample in run.facts["samples"]]
    found: dict[str, dict[str, Any]] = {}
    for name in {name for of_size in samples.values() for models in of_size for name in models}:
        noted = {
            size: [models[name] for models in samples[size] if name in models] for size in sizes
        }
        found[name] = {
            size: {
                "rows": statistics.median(model.get("rows", 0) for model in noted[size]),
                "cpu": spread([model["cpu"] for model in noted[size]]),
            }
            for size in sizes
        }
        pairs = zip(noted[short], noted[long], strict=True)
        found[name]["ratio"] = spread([b["cpu"] / a["cpu"] for a, b in pairs])
    return dict(sorted(found.items(), key=lambda item: -item[1][long]["cpu"]["median"]))


def _print_models(of_models: Mapping[str, Mapping[str, Any]], sizes: Sequence[str]) -> None:
    """Each model, and which of them are not flat."""
    print_table(
        "models, one at a time (medians [min..max]; the database's work and dbt's around it)",
        ["", *(f"{n} rows" for n in sizes), *(f"{n} CPU s" for n in sizes), "ratio of a file"],
        [
            (
                name,
                *(f"{found[n]['rows']:,.0f}" for n in sizes),
                *(range_of(found[n]["cpu"], 3) for n in sizes),
                range_of(found["ratio"], 2),
            )
            for name, found in of_models.items()
        ],
    )
    grown = [n for n, found in of_models.items() if found["ratio"]["median"] > 1 + TOLERANCE]
    OUTPUT.print(f"models beyond 1 + {TOLERANCE}: {', '.join(grown) or 'none'}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=274, help="days of the short history")
    parser.add_argument("--times", type=int, default=8, help="how much longer the long one is")
    parser.add_argument("--grow", choices=("days", "lines"), default="days")
    parser.add_argument("--lines-factor", type=float, default=1.0)
    parser.add_argument("--countries", nargs="+", default=GeneratorSpec.countries)
    parser.add_argument("--models", action="store_true", help="each model, one at a time")
    parser.add_argument("--whole-day", action="store_true", help="files of all feeds are late")
    parser.add_argument("--samples", type=int, default=3, help="counted files per process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--warm-up",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="without: the process that builds a history measures, too; to see whether all works",
    )
    parser.add_argument("--work", type=Path, default=Path(".retail/benchmarks/late_file"))
    parser.add_argument("--output", type=Path, default=None, help="JSON file (default: in --work)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--from-scratch", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        samples = take_in_late_files(
            options.child,
            options.samples,
            int(options.warm_up),
            from_scratch=options.from_scratch,
            models=options.models,
        )
        report_facts({"samples": samples})
        return
    work = options.work.resolve()
    held_back = options.rounds * (options.samples + options.warm_up)
    late_feeds = FEEDS if options.whole_day else (FEED,)
    in_days = options.grow == "days"
    sizes = {
        "1x": (options.days, options.lines_factor),
        f"{options.times}x": (
            options.days * (options.times if in_days else 1),
            options.lines_factor * (1 if in_days else options.times),
        ),
    }
    given = {
        "countries": tuple(options.countries),
        "products": ARTICLES,
        # Who buys once in years is a customer of long history only.
        "customers": max(
            MIN_CUSTOMERS, round(GeneratorSpec.customers * min(1, options.lines_factor))
        ),
    }
    homes = {
        name: prepare(work, days, factor, held_back, late_feeds, **given)
        for name, (days, factor) in sizes.items()
    }

    def process(name: str, number: int, *arguments: str) -> Run:
        home, settings = homes[name]
        return run_python(
            name,
            number,
            "retail_platform_tests.benchmarks.late_file",
            ["--child", str(home), *arguments],
            settings,
        )

    def contestant(name: str) -> Any:
        def take_in(number: int) -> Run:
            arguments = ["--samples", str(options.samples)]
            if options.models:
                arguments.append("--models")
            if not options.warm_up:
                arguments += ["--no-warm-up", *(["--from-scratch"] if number == 1 else [])]
            return process(name, number, *arguments)

        return take_in

    if options.warm_up:
        for name, (home, _) in homes.items():
            if not _ready(home).is_file():
                OUTPUT.print(f"{name}: building history of {sizes[name][0]} days")
                run = process(name, 0, "--from-scratch", "--samples", "0", "--no-warm-up")
                OUTPUT.print(f"{name}: built in {run.wall:.0f} s, {run.cpu:.0f} s CPU")
                _ready(home).touch()
    try:
        runs = round_robin(
            options.rounds, {name: contestant(name) for name in sizes}, lambda run: None
        )
    finally:
        for home, _ in homes.values():  # its late files are used up
            _ready(home).unlink(missing_ok=True)
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
                *(range_of(of_kind[n]["wall"], 2) for n in sizes),
                f"{of_kind['wall_ratio']:.2f}",
                "" if kind == "idle" else f"{of_kind['cpu_ratio']:.2f}",
            )
        )
    print_table(
        f"{'files of one day' if options.whole_day else 'one late file'} ({options.grow} grow)",
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
    of_models = costs_of_models(runs, list(sizes))
    if of_models:
        _print_models(of_models, list(sizes))
    ratio = found["arrival to marts"]["wall_ratio"]
    met = abs(ratio - 1) <= TOLERANCE
    OUTPUT.print(f"target 1 +- {TOLERANCE}: {'met' if met else 'MISSED'} ({ratio:.2f})")
    write_report(
        options.output or work / "late_file.json",
        {
            "benchmark": "late_file",
            "sizes": json.loads(json.dumps(sizes)),
            "grow": options.grow,
            "late_feeds": late_feeds,
            "summary": found,
            "models": of_models,
            "target": {"ratio": ratio, "tolerance": TOLERANCE, "met": met},
        },
        runs,
    )


if __name__ == "__main__":
    main()
