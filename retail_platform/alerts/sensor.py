"""The sensor that keeps people informed: `alert_sensor`."""

from collections.abc import Sequence

import dagster as dg

from retail_platform.alerts.budgets import LookAtBudgets
from retail_platform.alerts.router import AlertRouter
from retail_platform.alerts.watch import Watch
from retail_platform.resilience.breaker import Breakers
from retail_platform.resources import LakeResource


def build_alert_sensor(
    router: AlertRouter,
    breakers: Breakers,
    country_order: Sequence[str],
    ui_url: str,
    budgets: LookAtBudgets | None,
) -> dg.SensorDefinition:
    """The sensor; it requests no runs."""

    @dg.sensor(
        name="alert_sensor",
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the owners what failed, what is missing, and when it is over.",
    )
    def alert_sensor(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SkipReason:
        if context.repository_def is None:
            raise ValueError("The sensor is evaluated without a code location.")
        watch = Watch(
            instance=context.instance,
            graph=context.repository_def.asset_graph,
            lake=lake.open(),
            breakers=breakers,
            country_order=country_order,
            ui_url=ui_url,
            budgets=budgets,
        )
        tick = router.look(watch)
        for notice in tick.notices:
            context.log.info(f"{'over: ' if notice.ended else ''}{notice.alert.what}")
        waiting = sum(w.count for w in router.outbox.waiting())
        return dg.SkipReason(
            f"{len(tick.notices)} new, {tick.told} told, {waiting} waiting for their channel."
        )

    return alert_sensor
