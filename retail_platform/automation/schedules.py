"""Schedules: the safety net behind the sensors. What runs on arrival belongs in the sensors."""

from datetime import timedelta

import dagster as dg

from retail_platform.partitions import LOOKBACK_DAYS, Partitioning, Scope, Slices


def build_daily_schedule(
    partitioning: Partitioning, job_names: dict[Scope, str]
) -> dg.ScheduleDefinition:
    """Every night: take in the last week of batch days again, whatever the sensors did.

    Files that a dead run left in the inbox are taken in, RAW and staging are rebuilt from the lake;
    marts follow by automation. Cheap, because it is two runs, and harmless, because a partition
    that is replaced by itself stays the same.
    """

    @dg.schedule(
        name="nightly_catchup_schedule",
        cron_schedule="30 5 * * *",
        execution_timezone="UTC",
        target=dg.AssetSelection.groups("feeds", "raw", "staging"),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Safety net: takes in the last 7 batch days again.",
    )
    def nightly_catchup_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
        today = context.scheduled_execution_time.date()
        requests = []
        for scope, job_name in job_names.items():
            slices = Slices(partitioning.order(scope), today - timedelta(days=LOOKBACK_DAYS), today)
            requests.append(
                dg.RunRequest(
                    run_key=f"{scope.value}:{today}",
                    job_name=job_name,
                    tags={**slices.run_tags(), "retail_platform/trigger": "nightly_catchup"},
                )
            )
        return requests

    return nightly_catchup_schedule
