"""One run in this process, as all foreground commands execute theirs."""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

FOREGROUND_TAG = "retail_platform/foreground"
"""Process id of the command that executes a run; lets the next command find runs whose process
was killed."""


def collect_garbage_seldom() -> None:
    """Look for garbage when there may be some.

    A run makes hundreds of thousands of small objects that live until it ends; looking through
    them again and again took an eighth of its time.
    """
    gc.set_threshold(100_000, 20, 100)


@contextmanager
def imports_left_alone() -> Iterator[None]:
    """What is there already is not looked through for garbage.

    To the end only: what stays frozen is never released, which DuckDB reports as leaks at exit.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def execute_here(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    assets: Sequence[dg.AssetKey],
    tags: Mapping[str, str],
    ops: Mapping[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    """Execute assets of a job, and return when they are done or failed.

    Args:
        ops: their configuration, by name.

    Raises:
        KeyboardInterrupt: Ctrl-C, or what a service manager sends, came while the run worked.
            Dagster turns the signal into a failed run; whoever sent it meant the whole command.
    """
    result = job.execute_in_process(
        instance=instance,
        asset_selection=list(assets),
        tags={**tags, FOREGROUND_TAG: str(os.getpid())},
        run_config={
            "ops": dict(ops or {}),
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        raise_on_error=False,
    )
    if any(_was_interrupted(event) for event in result.all_events):
        raise KeyboardInterrupt
    return result


def _was_interrupted(event: dg.DagsterEvent) -> bool:
    return (
        event.event_type is dg.DagsterEventType.RUN_FAILURE
        and event.job_failure_data.failure_reason is not None
        and event.job_failure_data.failure_reason.name == "UNEXPECTED_TERMINATION"
    )
