"""`retail run` in a fresh process, from inbox to marts, with every second booked to a kind of work.

The same machinery as the command; timers are put around functions from outside.
"""

import argparse
import os
import time
import warnings
from pathlib import Path


def main() -> None:
    """Run until idle and report facts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path, help="RETAIL_HOME with files in its inbox")
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


if __name__ == "__main__":
    main()
