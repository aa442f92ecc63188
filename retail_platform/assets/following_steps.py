"""A step follows on one that succeeded, whether or not that one has yielded outputs.

The steps of this platform record the partitions that they build (`recording`) and yield nothing, by
which Dagster tells that what follows in the same run has nothing to do: it skips those steps, and
the run is green. A backfill of several marts, launched in the UI, would build the first ones and
fail without a word about why. Here a step that has nothing to say fails.

The only module that changes which steps of a run Dagster executes.
"""

import dagster as dg
from dagster._core.execution.plan.active import ActiveExecution


def follow_steps_that_succeeded() -> None:
    """Skip no step; once that is done, it changes nothing.

    Raises:
        RuntimeError: Dagster decides in another way by now.
    """
    if not hasattr(ActiveExecution, "_should_skip_step"):
        raise RuntimeError(
            "Dagster no longer decides step by step what to skip, as it did in 1.13; installed is "
            f"{dg.__version__}. See ActiveExecution in dagster/_core/execution/plan/active.py."
        )
    ActiveExecution._should_skip_step = _never  # type: ignore[method-assign, assignment]


def _never(execution: ActiveExecution, step_key: str) -> bool:
    """Steps after one that failed are abandoned elsewhere."""
    return False
