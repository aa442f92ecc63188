"""Processes measured from outside, and tables of what they needed. Knows no benchmark."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from retail_platform.settings import PROJECT_DIR

OUTPUT = Console(width=120)


@dataclass(frozen=True)
class Run:
    """One measured process.

    Attributes:
        wall, cpu: seconds, children of the process included in `cpu`.
        peak_mb: largest resident set of the process.
        facts: what the process reported about itself.
    """

    name: str
    round: int
    wall: float
    cpu: float
    peak_mb: float
    facts: Mapping[str, Any]


class ProcessFailed(RuntimeError):
    """A measured process did not end well; the message carries the end of its output."""


def run_python(
    name: str,
    round_number: int,
    module: str,
    arguments: Sequence[str],
    env: Mapping[str, str] | None = None,
) -> Run:
    """Run a module as a process of its own.

    The process finds the time of its start in ``BENCHMARK_SPAWNED_AT`` and the file to write its
    facts (JSON) to in ``BENCHMARK_FACTS``.
    """
    with tempfile.TemporaryDirectory() as folder:
        facts_file, log_file = Path(folder) / "facts.json", Path(folder) / "log"
        variables = {
            **os.environ,
            **(env or {}),
            "BENCHMARK_FACTS": str(facts_file),
            "PYTHONPATH": str(PROJECT_DIR),
        }
        # An installation has its bytecode compiled; compiling it doubles the time of a start.
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        os.sync()  # what the run before has left to be written is not this one's
        with log_file.open("wb") as log:
            began = time.monotonic()
            variables["BENCHMARK_SPAWNED_AT"] = repr(time.time())
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=variables,
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            tail = log_file.read_text(encoding="utf-8", errors="replace")[-4000:]
            raise ProcessFailed(f"{name} ended with code {process.returncode}:\n{tail}")
        facts = json.loads(facts_file.read_text(encoding="utf-8")) if facts_file.is_file() else {}
    return Run(
        name, round_number, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, facts
    )


def report_facts(facts: Mapping[str, Any]) -> None:
    """Called by a measured process: hand facts to the one that measures."""
    target = os.environ.get("BENCHMARK_FACTS")
    if target:
        Path(target).write_text(json.dumps(facts, default=str), encoding="utf-8")


def seconds_since_spawn() -> float:
    """Called by a measured process: age of this process."""
    return time.time() - float(os.environ.get("BENCHMARK_SPAWNED_AT", time.time()))


def round_robin(
    rounds: int, contestants: Mapping[str, Callable[[int], Run]], check: Callable[[Run], None]
) -> list[Run]:
    """A B C A B C ...: what disturbs the machine for a while disturbs all of them.

    Args:
        check: raises when the result of a run is wrong.
    """
    runs = []
    for number in range(1, rounds + 1):
        for name, contestant in contestants.items():
            run = contestant(number)
            check(run)
            OUTPUT.print(f"round {number}: {name} {run.wall:.2f} s, {run.cpu:.2f} s CPU")
            runs.append(run)
    return runs


def summary(runs: Sequence[Run], yardstick: str) -> dict[str, dict[str, Any]]:
    """Median, minimum and maximum per contestant; ratios to the yardstick of the same round."""
    base = {run.round: run for run in runs if run.name == yardstick}
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(run.name for run in runs):
        mine = [run for run in runs if run.name == name]
        ratios = [run.wall / base[run.round].wall for run in mine]
        cpu_ratios = [run.cpu / base[run.round].cpu for run in mine]
        found[name] = {
            "n": len(mine),
            "wall": spread([run.wall for run in mine]),
            "cpu": spread([run.cpu for run in mine]),
            "peak_mb": spread([run.peak_mb for run in mine]),
            "wall_ratio": spread(ratios),
            "cpu_ratio": spread(cpu_ratios),
        }
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum, maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def print_summary(title: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """The summary as a table."""
    rows = [
        (
            name,
            str(s["n"]),
            range_of(s["wall"], 2),
            range_of(s["cpu"], 2),
            f"{s['peak_mb']['median']:.0f}",
            range_of(s["wall_ratio"], 2),
            range_of(s["cpu_ratio"], 2),
        )
        for name, s in found.items()
    ]
    print_table(title, ["", "n", "wall s", "CPU s", "peak MB", "wall ratio", "CPU ratio"], rows)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table; all columns but the first are numbers."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(str(value) for value in row))
    OUTPUT.print(table)


def write_report(path: Path, content: Mapping[str, Any], runs: Sequence[Run] = ()) -> None:
    """Everything that was measured, as JSON, with where and when."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_average": os.getloadavg(),
        },
        **content,
        "runs": [asdict(run) for run in runs],
    }
    path.write_text(json.dumps(document, indent=1, default=str), encoding="utf-8")
    OUTPUT.print(f"written: {path}")


def range_of(values: Mapping[str, float], digits: int) -> str:
    """A spread as text."""
    if values["min"] == values["max"]:
        return f"{values['median']:.{digits}f}"
    return f"{values['median']:.{digits}f} [{values['min']:.{digits}f}..{values['max']:.{digits}f}]"
