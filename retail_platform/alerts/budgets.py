"""Budgets of credits: what a day and a month may cost, and how much of that is used.

Counted is what the warehouses of the installation are billed for compute, idle time included. How
the bill comes about, by asset and country, is the business of `retail cost`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from retail_platform.resources import warehouse_resource
from retail_platform.settings import Settings
from retail_platform.warehouse.protocol import Warehouse

LEVELS = (75, 90, 100)
"""Percent of a budget that somebody is told of, as the resource monitors of the account."""


@dataclass(frozen=True)
class BudgetUse:
    """How much of a budget is used.

    Attributes:
        period: `day` or `month`.
        name: which one, UTC: 2025-01-11 or 2025-01.
    """

    period: str
    name: str
    credits: float
    budget: float

    @property
    def percent(self) -> int:
        """Whole percent that are used up."""
        return int(100 * self.credits / self.budget)

    @property
    def level(self) -> int:
        """The highest of LEVELS that is passed; 0 if none is."""
        return max((level for level in LEVELS if self.percent >= level), default=0)


LookAtBudgets = Callable[[date], Sequence[BudgetUse]]


def budgets_of(settings: Settings) -> LookAtBudgets | None:
    """How to look at the budgets of an installation; None without any.

    Looking wakes a warehouse that sleeps.
    """
    if not (settings.credits_per_day or settings.credits_per_month):
        return None
    return lambda today: budget_uses(settings, warehouse_resource(settings).open(), today)


def budget_uses(settings: Settings, warehouse: Warehouse, today: date) -> list[BudgetUse]:
    """Budgets of today and yesterday, and of their months.

    The bill is hours behind, so that a day is over before it is complete.

    Args:
        today: UTC.

    Raises:
        ConfigurationError: the role may not read the bill.
    """
    days = (today - timedelta(days=1), today)
    used = warehouse.credits_metered(days[0].replace(day=1))
    found = []
    if settings.credits_per_day:
        found += [
            BudgetUse("day", str(day), used.get(day, 0.0), settings.credits_per_day) for day in days
        ]
    if settings.credits_per_month:
        for month in dict.fromkeys(f"{day:%Y-%m}" for day in days):
            credits = sum(c for day, c in used.items() if f"{day:%Y-%m}" == month)
            found.append(BudgetUse("month", month, credits, settings.credits_per_month))
    return found
