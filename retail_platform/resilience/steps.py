"""Steps of runs that live through a failure that passes: retried if that may help, else not.

Bad data fails at once; a lock or a dropped connection is worth some patience.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import dagster as dg

from retail_platform.errors import DependencyDown
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import classify

STEP_RETRIES = dg.RetryPolicy(
    max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
"""About 2, 6 and 14 seconds. Not handed to Dagster, which would retry every error: this is how
often and when, `classify` says whether."""


Op = Callable[..., Iterator[Any]]


def transient_failures_retried(breakers: Breakers, *dependencies: str) -> Callable[[Op], Op]:
    """Decorate the function of an op, a generator, that calls these dependencies.

    Put it below Dagster's decorator. Circuits that are open fail the step at once, before it has
    done anything (`DependencyDown`); a failure that may pass makes Dagster run the step again.
    """

    def decorated(op: Op) -> Op:
        @wraps(op)
        def attempt(context: dg.AssetExecutionContext, **resources: Any) -> Iterator[Any]:
            with _retried(context), ExitStack() as guards:
                for name in dependencies:
                    guards.enter_context(breakers.guard(name))
                yield from op(context, **resources)

        return attempt

    return decorated


@contextmanager
def _retried(context: dg.AssetExecutionContext) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        attempt = context.retry_number + 1
        may_pass = classify(error).transient and not isinstance(error, DependencyDown)
        if may_pass and attempt <= STEP_RETRIES.max_retries:
            wait = STEP_RETRIES.calculate_delay(attempt)
            context.log.warning(f"{error} The step is repeated in {wait:.0f} s.")
            raise dg.RetryRequested(STEP_RETRIES.max_retries, max(wait, 0.0)) from error
        raise
