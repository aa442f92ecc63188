"""Named automation conditions: when does an asset run by itself.

Rejected: `AutomationCondition.eager()`, which looks at the latest day only, so late files would
never reach the marts; and `any_deps_updated().since_last_handled()`, which forgets what happened
before its first tick and what was requested by a run that then failed.
"""

from datetime import timedelta
from typing import Any

import dagster as dg

from retail_platform.automation.inputs import InputsArrived
from retail_platform.partitions import LOOKBACK_DAYS


def when_inputs_arrive() -> dg.AutomationCondition:
    """An input is newer than the last attempt, and nothing that writes it or me is running."""
    return InputsArrived()


def when_stale() -> dg.AutomationCondition:
    """The freshness policy failed: rerun the lookback window once per failure.

    Only days that have been built before: a stale mart is rebuilt, days without files are not
    invented.
    """
    condition = dg.AutomationCondition
    # Typed by Dagster for assets here and for assets or checks there.
    failed: Any = condition.freshness_failed()
    failed_again = failed.newly_true().since_last_handled()
    return (
        condition.in_latest_time_window(timedelta(days=LOOKBACK_DAYS))
        & failed_again
        & ~condition.missing()
        & ~condition.in_progress()
    ).with_label("when_stale")


def when_inputs_arrive_or_stale() -> dg.AutomationCondition:
    """For marts: new input, or the freshness policy failed."""
    return (when_inputs_arrive() | when_stale()).with_label("when_inputs_arrive_or_stale")
