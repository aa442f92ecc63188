"""`retail cost`: tables of what was billed, with a bar for each line."""

from collections.abc import Sequence

from retail_platform.cli.output import fact, print_json, table
from retail_platform.operate.costs import Costs, Spend, read_costs
from retail_platform.settings import Settings

_SHOWN = 20
_BAR = 24
_STYLES = {75: "yellow", 90: "yellow", 100: "red"}


def show_costs(settings: Settings, days: int, *, as_json: bool) -> bool:
    """Print the costs of the last days.

    Returns:
        Whether every budget still holds.
    """
    costs = read_costs(settings, days)
    if as_json:
        print_json(costs.as_json())
    else:
        _show(costs)
    return all(budget.level < 100 for budget in costs.budgets)


def _show(costs: Costs) -> None:
    since = f"since {costs.first_day}, environment {costs.environment}"
    _spends(f"Credits by asset, {since}", "asset", costs.by_asset, "(small queries)")
    _spends(f"Credits by country, {since}", "country", costs.by_country, "(all at once)")
    _spends(f"Credits by day, {since}", "day", costs.by_day, "")
    table(
        "Warehouses of the account",
        ["warehouse", "size", "credits", "of these idle", "statements", "advice"],
        [
            (w.name, w.size or "", _credits(w.credits_metered), _idle(w.credits_metered,
             w.credits_idle), w.statements, w.advice or "")
            for w in costs.warehouses
        ],
    )  # fmt: skip
    table(
        f"The dearest runs, {since}",
        ["run", "warehouse", "began", "statements", "seconds", "wakes", "credits"],
        [
            (r.run_id[:8], r.warehouse or "", f"{r.started_at:%Y-%m-%d %H:%M}", r.statements,
             f"{r.seconds:.1f}", r.wakes, _credits(r.credits))
            for r in costs.runs
        ],
    )  # fmt: skip
    for other in costs.by_environment:
        if other.name != costs.environment:
            whose = f"environment {other.name}" if other.name else "other programs (untagged)"
            fact(f"{_credits(other.credits)} credits were used by {whose}")
    for budget in costs.budgets:
        fact(
            (f"{budget.percent} %", _STYLES.get(budget.level, "green")),
            f" of the budget of {budget.period} {budget.name}: {_credits(budget.credits)} of "
            f"{budget.budget:g} credits",
        )


def _spends(title: str, what: str, spends: Sequence[Spend], nothing: str) -> None:
    largest = max((s.credits for s in spends), default=0.0)
    rows = [
        (s.name or nothing, _credits(s.credits), "█" * round(_BAR * s.credits / largest))
        for s in (spends[-_SHOWN:] if what == "day" else spends[:_SHOWN])
    ]
    left = len(spends) - len(rows)
    table(f"{title}{f' ({left} more)' if left else ''}", [what, "credits", ""], rows)


def _credits(number: float) -> str:
    return f"{number:,.4f}"


def _idle(metered: float, idle: float) -> str:
    return f"{_credits(idle)} ({idle / metered:.0%})" if metered else _credits(idle)
