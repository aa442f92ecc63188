"""One run in this process, as all foreground commands execute theirs.

`JobDefinition.execute_in_process` describes the whole job and the selected part of it, twice, for
each run: a sixth of the time of a small one. What is selected here is described once.
"""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg

try:
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.execute_in_process import core_execute_in_process
except ImportError as error:
    raise ImportError(
        f"{error}. Runs in this process go through internals last seen in Dagster 1.13; installed "
        f"is {dg.__version__}."
    ) from error

FOREGROUND_TAG = "retail_platform/foreground"
"""Process id of the command that executes a run; lets the next command find runs whose process
was killed."""


def collect_garbage_seldom() -> None:
    """Look for garbage when there may be some.

    A run makes hundreds of thousands of small objects that live until it ends; looking through
    them again and again took an eighth of its time.
    """
    gc.set_threshold(100_000, 20, 100)


_SELECTED: WeakKeyDictionary[dg.JobDefinition, dict[frozenset[dg.AssetKey], dg.JobDefinition]] = (
    WeakKeyDictionary()
)
"""Per job what was selected of it so far; the empty selection stands for all."""


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
    selection = frozenset(assets)
    result = core_execute_in_process(
        job=InMemoryJob(job_def=_selected(job, selection)),
        instance=instance,
        asset_selection=selection,
        run_tags={**job.run_tags, **tags, FOREGROUND_TAG: str(os.getpid())},
        run_config={
            "ops": dict(ops or {}),
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        output_capturing_enabled=False,
        raise_on_error=False,
    )
    if any(_was_interrupted(event) for event in result.all_events):
        raise KeyboardInterrupt
    return result


def _selected(job: dg.JobDefinition, assets: frozenset[dg.AssetKey]) -> dg.JobDefinition:
    """The part of a job that builds these assets, as a job to be executed in one process."""
    known = _SELECTED.setdefault(job, {})
    if not known:
        known[frozenset()] = job.as_ephemeral_job({}, {})
    if assets not in known:
        part = known[frozenset()].get_subset(asset_selection=assets)
        # For each run Dagster selects the same once more.
        part.get_subset = lambda **_: part  # type: ignore[method-assign]
        known[assets] = part
    return known[assets]


def _was_interrupted(event: dg.DagsterEvent) -> bool:
    return (
        event.event_type is dg.DagsterEventType.RUN_FAILURE
        and event.job_failure_data.failure_reason is not None
        and event.job_failure_data.failure_reason.name == "UNEXPECTED_TERMINATION"
    )
