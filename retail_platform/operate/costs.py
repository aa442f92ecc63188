"""What Snowflake bills for an installation and why: the views of cost, read for a person.

Nothing here decides anything; budgets and who is told of them are the business of alerts.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from retail_platform.alerts.budgets import BudgetUse, budget_uses
from retail_platform.errors import ConfigurationError
from retail_platform.resources import dbt_resource, warehouse_resource
from retail_platform.settings import Engine, Settings
from retail_platform.transform.dbt_project import DbtFailed
from retail_platform.warehouse.protocol import Warehouse

COST_DAYS = 92
"""How many days the views go back; var cost_days of the dbt project."""

_RUNS = 10


@dataclass(frozen=True)
class Spend:
    """Credits of executed statements with something in common; null where it is not known.

    Attributes:
        name: an asset, country, day, role or environment.
    """

    name: str | None
    credits: float


@dataclass(frozen=True)
class WarehouseUse:
    """One warehouse in the days asked for; advice is that of the last 14 days, if it was used."""

    name: str
    size: str | None
    credits_metered: float
    credits_idle: float
    statements: int
    advice: str | None


@dataclass(frozen=True)
class RunUse:
    """What one run took on one warehouse.

    Attributes:
        seconds: of execution.
        wakes: how often the warehouse had to be woken at most.
    """

    run_id: str
    warehouse: str | None
    started_at: datetime
    statements: int
    seconds: float
    wakes: int
    credits: float


@dataclass(frozen=True)
class Costs:
    """Everything `retail cost` says.

    Attributes:
        first_day: first day that counts, UTC.
        by_asset, by_country, by_day, by_role: credits of this environment, most first, days in
            order; a name of null has none.
        by_environment: all credits of the account; null is what other programs used.
        runs: the dearest.
    """

    environment: str
    first_day: date
    by_asset: Sequence[Spend]
    by_country: Sequence[Spend]
    by_day: Sequence[Spend]
    by_role: Sequence[Spend]
    by_environment: Sequence[Spend]
    warehouses: Sequence[WarehouseUse]
    runs: Sequence[RunUse]
    budgets: Sequence[BudgetUse]

    def as_json(self) -> dict[str, Any]:
        """For other programs."""
        budgets = [{**asdict(b), "percent": b.percent, "level": b.level} for b in self.budgets]
        return {**asdict(self), "budgets": budgets}


def read_costs(settings: Settings, days: int) -> Costs:
    """Make the views anew, which executes nothing, and read them.

    Args:
        days: how many, today included.

    Raises:
        ConfigurationError: the warehouse is embedded, or the role may not read the bill.
    """
    if settings.engine is not Engine.SNOWFLAKE:
        raise ConfigurationError(
            f"RETAIL_WAREHOUSE is {settings.engine.value!r}, which bills nothing; the cost is that "
            "of a Snowflake account: set RETAIL_WAREHOUSE=snowflake."
        )
    warehouse = warehouse_resource(settings).open()
    today = datetime.now(UTC).date()
    with warehouse.connect(), warehouse.for_models():
        budgets = budget_uses(settings, warehouse, today)
        failed = [
            f"{result.unique_id}: {result.message}"
            for result in dbt_resource(settings).project().run(["tag:cost"], None)
            if not result.ok
        ]
        if failed:
            raise DbtFailed("\n".join(failed))
        return _costs(settings.environment.value, warehouse, today, days, budgets)


def _costs(
    environment: str, warehouse: Warehouse, today: date, days: int, budgets: Sequence[BudgetUse]
) -> Costs:
    first_day = today - timedelta(days=days - 1)
    since = f"used_on >= date '{first_day}'"
    ours = f"{since} and environment = '{environment}'"

    def spent(by: str, condition: str = ours, order: str = "2 desc, 1") -> list[Spend]:
        rows = warehouse.query(
            f"select {by}, sum(credits) from cost.cost_by_slice where {condition} "
            f"group by {by} order by {order}"
        )
        return [Spend(None if name is None else str(name), credits) for name, credits in rows]

    return Costs(
        environment,
        first_day,
        by_asset=spent("asset"),
        by_country=spent("country"),
        by_day=spent("used_on", order="1"),
        by_role=spent("role_name"),
        by_environment=spent("environment", since),
        warehouses=[
            WarehouseUse(*row)
            for row in warehouse.query(
                "select used.warehouse_name, max_by(used.warehouse_size, used.used_on), "
                "sum(used.credits_metered), sum(used.credits_idle), sum(used.statements), "
                "max(sized.advice) from cost.cost_warehouse_days as used "
                "left outer join cost.cost_warehouses as sized "
                f"on sized.warehouse_name = used.warehouse_name where {since} "
                "group by used.warehouse_name order by 3 desc, 1"
            )
        ],
        runs=[
            RunUse(*row)
            for row in warehouse.query(
                "select run_id, warehouse_name, started_at, statements, "
                "cast(warehouse_seconds as double), wakes, credits from cost.cost_runs "
                f"where environment = '{environment}' and started_at >= date '{first_day}' "
                f"order by credits desc, started_at, warehouse_name limit {_RUNS}"
            )
        ],
        budgets=budgets,
    )
