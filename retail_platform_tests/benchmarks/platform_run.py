"""`retail run` in a fresh process, from inbox to marts, with every second booked to a kind of work.

The same machinery as the command; timers are put around functions from outside.
"""

import argparse
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main() -> None:
    """Run until idle and report facts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path, help="RETAIL_HOME with files in its inbox")
    parser.add_argument(
        "--marts", nargs="+", help="only these marts and what they are made of; all without it"
    )
    options = parser.parse_args()
    os.environ["RETAIL_HOME"] = str(options.home)
    warnings.simplefilter("ignore")

    from retail_platform.cli.running import runner
    from retail_platform.settings import Settings
    from retail_platform_tests.benchmarks.measure import report_facts, seconds_since_spawn
    from retail_platform_tests.benchmarks.platform_parts import BOOKKEEPING, REST, START, watch
    from retail_platform_tests.benchmarks.stopwatch import Stopwatch

    stopwatch = Stopwatch()
    stopwatch.book(f"{START}: interpreter and imports", seconds_since_spawn(), time.process_time())
    if options.marts:
        _build_only(options.marts)
    watch(stopwatch)
    with (
        stopwatch.part(f"{START}: definitions and instance"),
        runner(Settings.from_env(), lambda line: print(line, flush=True)) as (_, foreground),
        stopwatch.part(f"{BOOKKEEPING}: between runs"),
    ):
        outcome = foreground.run_until_idle()
    assert REST in stopwatch.wall
    if not outcome.green:
        raise SystemExit(
            f"not green: {outcome.failed_runs} {outcome.failed_checks} {outcome.rejections}"
        )
    report_facts(
        {
            "dagster_runs": len(outcome.runs),
            "parts": stopwatch.seconds(),
            "seconds_of_runs": [(run.partitions, run.seconds) for run in outcome.runs],
        }
    )


def _build_only(marts: Sequence[str]) -> None:
    """Automation does not look at other marts."""
    import dagster as dg

    from retail_platform.operate import foreground

    evaluate = foreground.evaluate_ranges
    selection = dg.AssetSelection.assets(*(["marts", mart] for mart in marts)).upstream()

    def evaluate_these(instance: Any, graph: Any, _: Any, *arguments: Any) -> Any:
        return evaluate(instance, graph, selection, *arguments)

    foreground.evaluate_ranges = evaluate_these


if __name__ == "__main__":
    main()
