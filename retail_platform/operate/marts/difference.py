"""What differs between two states of a mart, found by one statement inside of the engine.

Rows belong together by the key that the mart declares: the columns of its test `unique_grain`. The
statement is the same on both engines; what it compares is behind two relations, see `reading`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl

from retail_platform.errors import ConfigurationError
from retail_platform.operate.marts.reading import Marts, columns_of

_EXAMPLES = 3
_NO_SUM = ("average", "avg", "price", "unit", "rate", "per", "deviation")
"""Words of names that end like money and are no amounts: their sum says nothing."""


@dataclass(frozen=True)
class Cell:
    """A changed value; None is null."""

    row: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Total:
    """An amount over all rows, in one currency."""

    column: str
    currency: str
    before: Decimal
    after: Decimal


@dataclass
class Difference:
    """Two states of a mart.

    Attributes:
        key: columns by which rows belong together.
        rows: how many were `added`, `removed`, `changed`, and are `equal`.
        added, removed: a few of them, by their key.
        changed_cells: per column; columns without any are left out.
        examples: of changed cells, per column.
        missing_columns, new_columns: those that one state lacks; they are not compared.
    """

    mart: str
    key: tuple[str, ...]
    rows: dict[str, int] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed_cells: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[Cell]] = field(default_factory=dict)
    totals: list[Total] = field(default_factory=list)
    missing_columns: tuple[str, ...] = ()
    new_columns: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Nothing differs."""
        lines = self.rows["added"] + self.rows["removed"] + self.rows["changed"]
        return not (lines or self.missing_columns or self.new_columns)


def declared_key(manifest: Mapping[str, Any], mart: str) -> tuple[str, ...]:
    """The key that a mart declares in the dbt project.

    Raises:
        ConfigurationError: it declares none.
    """
    for node in manifest["nodes"].values():
        test = node.get("test_metadata") or {}
        attached = manifest["nodes"].get(node.get("attached_node") or "", {})
        if test.get("name") == "unique_grain" and attached.get("alias") == mart:
            arguments = test["kwargs"].get("arguments", test["kwargs"])
            return tuple(arguments["columns"])
    raise ConfigurationError(
        f"{mart} declares no key by which rows belong together: the dbt project has no test "
        "unique_grain of it. Name the columns with --key."
    )


def compare(
    marts: Marts, mart: str, before: str, after: str, key: Sequence[str], where: str = ""
) -> Difference:
    """Compare two relations.

    Args:
        marts: through which both can be read.
        where: restricts both, see `reading.restriction`.

    Raises:
        ConfigurationError: one of them lacks a column of the key.
    """
    old, new = columns_of(marts, before), columns_of(marts, after)
    for name in key:
        if name not in old or name not in new:
            raise ConfigurationError(
                f"{mart} has no column {name} on both sides, which its key has."
            )
    shared = {name: kind for name, kind in new.items() if name in old}
    found = Difference(
        mart,
        tuple(key),
        rows=dict.fromkeys(("added", "removed", "changed", "equal"), 0),
        missing_columns=tuple(name for name in old if name not in new),
        new_columns=tuple(name for name in new if name not in old),
    )
    totals: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(dict)
    statement = difference_sql(before, after, key, shared, where)
    for section, subject, row, one, other, count in marts.read(statement).rows():
        if section == "rows":
            found.rows[subject] = int(count)
        elif section == "cell":
            found.changed_cells[subject] = int(count)
            found.examples.setdefault(subject, []).append(Cell(row, one, other))
        elif section == "example":
            (found.added if subject == "added" else found.removed).append(row)
        else:
            totals[subject, row][section] = Decimal(one or 0)
    found.totals = [
        Total(column, currency, sums.get("before", Decimal(0)), sums.get("after", Decimal(0)))
        for (column, currency), sums in sorted(totals.items())
    ]
    return found


def difference_sql(
    before: str, after: str, key: Sequence[str], columns: Mapping[str, pl.DataType], where: str = ""
) -> str:
    """The statement: what differs, how often, and a few examples, as text.

    Its rows are (section, subject, row, before, after, count). A key that occurs more than once is
    no key; its rows are paired in the order of their values, so that each is counted once.

    Args:
        columns: those to compare, the key among them.
    """
    values = [name for name in columns if name not in key]
    names = ", ".join(columns)
    order = ", ".join(values or key)
    on = " and ".join(f"b.{name} is not distinct from a.{name}" for name in (*key, "occurrence"))
    label = " || ', ' || ".join(
        f"'{name}=' || coalesce(cast(b.{name} as varchar), cast(a.{name} as varchar), 'null')"
        for name in key
    )
    differs = " or ".join(f"b.{name} is distinct from a.{name}" for name in values) or "false"
    both = "".join(f", b.{name} as before_{name}, a.{name} as after_{name}" for name in values)
    sides = ", ".join(
        f"{side}_rows as (select {names}, row_number() over (partition by {', '.join(key)} "
        f"order by {order}) as occurrence from {relation}{where})"
        for side, relation in (("before", before), ("after", after))
    )
    parts = [
        "select 'rows' as section, verdict as subject, cast(null as varchar) as row_key, "
        "cast(null as varchar) as before_value, cast(null as varchar) as after_value, "
        "count(*) as how_many from compared group by verdict",
        "select 'example', verdict, row_key, null, null, nth from (select verdict, row_key, "
        "row_number() over (partition by verdict order by row_key) as nth from compared "
        f"where verdict in ('added', 'removed')) as examples where nth <= {_EXAMPLES}",
        *_cells(values),
        *_totals(columns),
    ]
    return (
        f"with {sides}, compared as (select {label} as row_key, "
        "case when a.occurrence is null then 'removed' when b.occurrence is null then 'added' "
        f"when {differs} then 'changed' else 'equal' end as verdict{both} "
        f"from before_rows as b full outer join after_rows as a on {on}) "
        f"{' union all '.join(parts)} order by section, subject, row_key"
    )


def _cells(values: Sequence[str]) -> Iterator[str]:
    if not values:
        return
    whether, one, other = (
        " ".join(f"when '{name}' then {expression.format(name)}" for name in values)
        for expression in (
            "before_{0} is distinct from after_{0}",
            "cast(before_{0} as varchar)",
            "cast(after_{0} as varchar)",
        )
    )
    named = " union all ".join(f"select '{name}' as name" for name in values)
    yield (
        "select 'cell', name, row_key, before_value, after_value, how_many from (select name, "
        f"row_key, case name {one} end as before_value, case name {other} end as after_value, "
        "row_number() over (partition by name order by row_key) as nth, "
        "count(*) over (partition by name) as how_many "
        f"from compared cross join ({named}) as names where verdict = 'changed' "
        f"and case name {whether} end) as cells where nth <= {_EXAMPLES}"
    )


def _totals(columns: Mapping[str, pl.DataType]) -> Iterator[str]:
    """Sums of amounts; those in local currency by currency, and not where it is not said."""
    for name, kind in columns.items():
        *words, unit = name.split("_")
        if not kind.is_numeric() or not words or set(words) & set(_NO_SUM):
            continue
        if unit == "eur":
            currency = "'EUR'"
        elif unit == "local" and "currency_code" in columns:
            currency = "currency_code"
        else:
            continue
        exact = f"decimal(38, {getattr(kind, 'scale', None) or 2})"
        for side in ("before", "after"):
            total = f"cast(sum(cast(amount as {exact})) as {exact})"
            yield (
                f"select '{side}', '{name}', currency, cast({total} as varchar), null, count(*) "
                f"from (select {currency} as currency, {name} as amount from {side}_rows) "
                "as amounts group by currency"
            )
