"""Schedules: the safety net behind the sensors. What runs on arrival belongs in the sensors."""

from datetime import timedelta
from typing import Any

import dagster as dg

from retail_platform.errors import ConfigurationError
from retail_platform.partitions import LOOKBACK_DAYS, Partitioning, Scope, Slices
from retail_platform.pull.sources import Source
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import pulled_source


def build_nightly_schedule(
    scope: Scope, partitioning: Partitioning, job: Any
) -> dg.ScheduleDefinition:
    """Every night: take in the last week of batch days again, whatever the sensors did.

    Files that a dead run left in the inbox are taken in, RAW and staging are rebuilt from the lake;
    marts follow by automation. Cheap, because it is one run, and harmless, because a partition that
    is replaced by itself stays the same.

    Args:
        job: asset job over the batch-day assets of the scope.
    """

    @dg.schedule(
        name=f"nightly_{scope.value}_catchup_schedule",
        job=job,
        # Global feeds first: sales need exchange rates.
        cron_schedule="20 5 * * *" if scope is Scope.GLOBAL else "30 5 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Safety net: takes in the last {LOOKBACK_DAYS} batch days again.",
    )
    def nightly_catchup_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        today = context.scheduled_execution_time.date()
        slices = Slices(partitioning.order(scope), today - timedelta(days=LOOKBACK_DAYS - 1), today)
        return dg.RunRequest(
            run_key=f"{scope.value}:{today}",
            tags={**slices.run_tags(), "retail_platform/trigger": "nightly_catchup"},
        )

    return nightly_catchup_schedule


def build_pull_schedule(source: Source, job: Any, breakers: Breakers) -> dg.ScheduleDefinition:
    """Asks a source for what is new, as often as its configuration says.

    Args:
        job: pulls the source; run without partitions.
        breakers: nothing is asked of a source that is left alone at present.

    Raises:
        ConfigurationError: the cron expression is none.
    """

    def ask(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        reason = breakers.refusal([pulled_source(source.name)])
        return dg.SkipReason(reason) if reason else dg.RunRequest()

    try:
        return dg.ScheduleDefinition(
            name=f"pull_{source.name}_schedule",
            job=job,
            cron_schedule=source.schedule,
            execution_timezone="UTC",
            execution_fn=ask,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=f"Pulls what is new in {source.shown}.",
        )
    except dg.DagsterInvalidDefinitionError as exc:
        raise ConfigurationError(
            f"source {source.name}: schedule {source.schedule!r} is no cron expression."
        ) from exc


def build_completeness_schedule(job: Any) -> dg.ScheduleDefinition:
    """Every hour: which deliveries are overdue.

    Args:
        job: of the completeness checks.
    """
    return dg.ScheduleDefinition(
        name="hourly_completeness_schedule",
        job=job,
        cron_schedule="10 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Asks which deliveries were due and did not come.",
    )
