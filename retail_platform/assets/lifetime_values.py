"""Customer lifetime values: marts that Python computes out of fct_customers_monthly.

What a customer is expected to buy needs a likelihood to be maximised, which SQL cannot. Here is
what the marts are, what is read for them and what they promise; the mathematics are in
`analytics/lifetime_value.py`.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from typing import Any

import dagster as dg
import numpy as np
import pandera.errors
import pandera.polars as pa
import polars as pl

from retail_platform.analytics.lifetime_value import (
    MAX_CORRELATION,
    MIN_REPEAT_BUYERS,
    Histories,
    NoEstimate,
    Numbers,
    Purchasing,
    Spending,
    fit_purchasing,
    fit_spending,
    hold_out,
    spend_correlation,
)
from retail_platform.assets.models import Table, TableRun, models_without_table
from retail_platform.assets.specs import CONTRACT_CHECK, computed_mart_spec
from retail_platform.partitions import Partition, Partitioning, Slices
from retail_platform.resources import DbtResource
from retail_platform.warehouse.protocol import Warehouse

HORIZON_WEEKS = 52
YEARLY_DISCOUNT = 0.10
"""What money costs in a year; the usual assumption where nobody has stated another."""

HOLDOUT_WEEKS = 13
MIN_CALIBRATION_WEEKS = 26
"""A quarter is told from half a year or more, or not at all."""

_DAYS = 7
_CUSTOMERS = dg.AssetKey(["marts", "fct_customers_monthly"])
_CUSTOMER_DAYS = dg.AssetKey(["marts", "fct_customer_behavior"])
_INPUTS = (_CUSTOMERS, _CUSTOMER_DAYS)

_KEY = {
    "country": ("varchar", "Market, ISO code."),
    "business_date": ("date", "Closing day: the last day of a calendar month."),
}
VALUES = {
    **_KEY,
    "customer_id": ("bigint", "Customer, dim_customer."),
    "first_purchase_date": ("date", "First day with a sale receipt in the country."),
    "last_purchase_date": ("date", "Newest one up to the closing day."),
    "repeat_purchases": ("bigint", "Days with a sale receipt after the first; x of the model."),
    "average_repeat_purchase_eur": (
        "decimal(18,2)",
        "Mean value of the repeat purchases, euros; null where there are none.",
    ),
    "alive_probability": (
        "decimal(5,4)",
        "That the customer has not left for good, 0 to 1. Always 1 without a repeat purchase: in "
        "BG/NBD nobody leaves before the second.",
    ),
    "expected_purchases_52w_units": (
        "decimal(18,4)",
        "Days with a purchase expected in the 52 weeks after the closing day.",
    ),
    "expected_purchase_eur": (
        "decimal(18,2)",
        "Value expected of one of them, euros: the customer's own mean, drawn towards that of all.",
    ),
    "lifetime_value_52w_eur": (
        "decimal(18,2)",
        "Value expected of the 52 weeks, discounted to the closing day, euros.",
    ),
}
FITS = {
    **_KEY,
    "customers": ("bigint", "Customers with a purchase up to the closing day."),
    "repeat_customers": ("bigint", "Those of them with purchases on two days or more."),
    "purchasing_r": ("decimal(18,8)", "Shape of the purchase rates, BG/NBD."),
    "purchasing_alpha_weeks": ("decimal(18,8)", "Scale of the purchase rates, weeks."),
    "purchasing_a": ("decimal(18,8)", "First parameter of the chance to leave, BG/NBD."),
    "purchasing_b": ("decimal(18,8)", "Second parameter of the chance to leave."),
    "purchasing_log_likelihood": ("decimal(18,3)", "Logarithm of the likelihood at its maximum."),
    "purchasing_not_fitted": ("varchar", "Why there is no BG/NBD; null if there is."),
    "spend_correlation": (
        "decimal(18,4)",
        "Correlation of repeat purchases and their mean value among repeat customers, -1 to 1; "
        "null where all are equal.",
    ),
    "spending_p": ("decimal(18,8)", "Shape of the values of a customer's purchases, Gamma-Gamma."),
    "spending_q": ("decimal(18,8)", "Shape of what differs between customers, Gamma-Gamma."),
    "spending_v_eur": ("decimal(18,8)", "Scale of it, euros."),
    "spending_not_fitted": ("varchar", "Why there is no Gamma-Gamma; null if there is."),
    "holdout_customers": ("bigint", "Customers of 13 weeks ago whose purchases since were told."),
    "holdout_mean_absolute_error_units": (
        "decimal(18,4)",
        "Mean difference per customer between expected and actual purchases of the last 13 weeks, "
        "told from what was known before them.",
    ),
    "holdout_total_error_rate": (
        "decimal(18,4)",
        "Expected / actual purchases of all of them - 1; null if there were none.",
    ),
    "holdout_not_measured": ("varchar", "Why there is no hold-out error; null if there is."),
}

COLUMNS = {"rpt_clv": VALUES, "rpt_clv_fit": FITS}
"""SQL type and description of each column of each mart."""

_VALUES_DESCRIPTION = f"""\
One row per country, closing day and customer with a purchase up to it: what is expected of him in
the {HORIZON_WEEKS} weeks that follow. Purchases are days with a sale receipt. How many there will
be, and whether he still is a customer, is BG/NBD (Fader, Hardie, Lee 2005); the value of one is
Gamma-Gamma (Fader, Hardie 2013), of gross sales less discounts; returns and costs are not
predicted, so this is revenue and no profit. Both are fitted by maximum likelihood to the country's
customers as of the day, see rpt_clv_fit for parameters and errors, and for why estimates are null.
The discount is {YEARLY_DISCOUNT:.0%} a year. Closing days are the last days of calendar months in
which the country had a customer; partitions of other days are empty. First ever means since the
first day delivered. Models: analytics/lifetime_value.py."""
_FITS_DESCRIPTION = f"""\
One row per country and closing day: the models behind rpt_clv. There is none of fewer than
{MIN_REPEAT_BUYERS} customers who came back, and none of spending where value and number of
purchases are correlated by more than {MAX_CORRELATION}, which Gamma-Gamma rules out; what is
missing says why. Parameters have five significant digits, and those are what rpt_clv is computed
from. At 0.001 or 10,000 a parameter is at its limit: customers do not differ, or nobody leaves.
The hold-out error is that of a BG/NBD of the customers of {HOLDOUT_WEEKS} weeks ago, over what they
bought since; without at least {MIN_CALIBRATION_WEEKS} weeks before there is none."""


# ------------------------------------------------------------------------------------- promises


def _between(low: float, high: float = float("inf")) -> pa.Check:
    return pa.Check.in_range(low, high)


@cache
def _schemas() -> dict[str, pa.DataFrameSchema]:
    """What the frames promise; types and ranges by column, and what holds between columns."""
    ranges = {
        "repeat_purchases": _between(0),
        "alive_probability": _between(0, 1),
        "expected_purchases_52w_units": _between(0),
        "expected_purchase_eur": _between(0),
        "lifetime_value_52w_eur": _between(0),
        "customers": _between(1),
        "repeat_customers": _between(0),
        "spend_correlation": _between(-1, 1),
        "holdout_customers": _between(1),
        "holdout_mean_absolute_error_units": _between(0),
        "holdout_total_error_rate": _between(-1),
        **{
            name: _between(1e-3, 1e4)
            for name in FITS
            if name.startswith(("purchasing_", "spending_"))
            and name not in ("purchasing_log_likelihood", "spending_v_eur")
            and not name.endswith("_not_fitted")
        },
    }
    required = {
        *("country", "business_date", "customer_id", "first_purchase_date"),
        *("last_purchase_date", "repeat_purchases", "customers", "repeat_customers"),
    }
    first, last = pl.col("first_purchase_date"), pl.col("last_purchase_date")
    worth = pl.col("lifetime_value_52w_eur")
    told = pl.col("expected_purchases_52w_units").is_not_null()
    rules = {
        "rpt_clv": {
            "purchases lie before the closing day": (first <= last)
            & (last <= pl.col("business_date")),
            "repeat purchases take more than a day": (pl.col("repeat_purchases") > 0)
            == (first < last),
            "a value has a number of purchases and a price": worth.is_not_null()
            == (told & pl.col("expected_purchase_eur").is_not_null()),
        },
        "rpt_clv_fit": {
            "a model is there or the reason why it is not": pl.all_horizontal(
                pl.col(of).is_null() != pl.col(why).is_null()
                for of, why in (
                    ("purchasing_r", "purchasing_not_fitted"),
                    ("spending_p", "spending_not_fitted"),
                    ("holdout_customers", "holdout_not_measured"),
                )
            ),
            "who came back is a customer": pl.col("repeat_customers") <= pl.col("customers"),
        },
    }
    keys = {
        "rpt_clv": ["country", "business_date", "customer_id"],
        "rpt_clv_fit": ["country", "business_date"],
    }
    return {
        table: pa.DataFrameSchema(
            {
                name: pa.Column(kind, checks=ranges.get(name), nullable=name not in required)
                for name, kind in _polars(columns).items()
            },
            checks=[_rule(name, holds) for name, holds in rules[table].items()],
            unique=keys[table],
            strict=True,
        )
        for table, columns in COLUMNS.items()
    }


def _rule(name: str, holds: pl.Expr) -> pa.Check:
    return pa.Check(lambda data: data.lazyframe.select(holds), name=name)


# -------------------------------------------------------------------------------------- the assets


def lifetime_value_specs(
    partitioning: Partitioning, database: str
) -> tuple[list[dg.AssetSpec], list[dg.AssetCheckSpec]]:
    """The two marts and their checks."""
    history = ["first_purchase_date", "last_purchase_date", "purchase_days"]
    spend = ["purchases_eur", "first_purchase_eur"]

    def lineage(column: str) -> list[dg.TableColumnDep]:
        if column in (*_KEY, "customer_id", "first_purchase_date", "last_purchase_date"):
            return [dg.TableColumnDep(_CUSTOMERS, column)]
        of_money = column.endswith("_eur") or column.startswith("spend")
        told = [
            dg.TableColumnDep(_CUSTOMERS, name) for name in (*history, *(spend if of_money else ()))
        ]
        if column.startswith("holdout"):
            told += [
                dg.TableColumnDep(_CUSTOMER_DAYS, n) for n in ("business_date", "sale_invoices")
            ]
        return told

    specs = [
        computed_mart_spec(
            name,
            database=database,
            description=description,
            columns=COLUMNS[name],
            deps=[dg.AssetDep(key, partition_mapping=partitioning.window(None)) for key in _INPUTS],
            lineage={column: lineage(column) for column in COLUMNS[name]},
            partitioning=partitioning,
        )
        for name, description in (
            ("rpt_clv", _VALUES_DESCRIPTION),
            ("rpt_clv_fit", _FITS_DESCRIPTION),
        )
    ]
    checks = [
        dg.AssetCheckSpec(
            CONTRACT_CHECK,
            asset=spec.key,
            description="Types, ranges, the grain, and what holds between columns (pandera).",
        )
        for spec in specs
    ]
    return specs, checks


class LifetimeValueRun(TableRun):
    """Computes lifetime values of the closing days of one run."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        dbt: DbtResource,
        warehouse: Warehouse,
    ) -> None:
        """Pick the marts this run has selected."""
        tables = [
            Table(dg.AssetKey(["marts", name]), "marts", name, "business_date") for name in COLUMNS
        ]
        super().__init__(context, {t.key: t for t in tables}, warehouse)
        self._dbt = dbt.project()
        self._rows: dict[str, pl.DataFrame] = {}

    def build(self, slices: Slices) -> None:
        """Replace the slices of the marts."""
        with self._warehouse.connect():
            inputs = [f"model.retail_platform.{key.path[-1]}" for key in _INPUTS]
            never_built = models_without_table(self._dbt, self._warehouse, inputs)
            if never_built:
                self._dbt.run(never_built, slices, self._context.run_id)
            self._rows = lifetime_values(self._warehouse, slices)
            for mart in self.tables.values():
                self._warehouse.replace_slices(
                    mart.address, sql_types(mart.table), self._rows[mart.table], slices
                )

    def checks(self, slices: Slices) -> Iterator[dg.AssetCheckEvaluation]:
        """Whether the rows are as promised."""
        for key in self._checks:
            mart = self.tables[key.asset_key].table
            broken = broken_promises(mart, self._rows[mart])
            yield dg.AssetCheckEvaluation(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=not broken,
                blocking=False,
                metadata={"slices": str(slices), "message": "; ".join(broken) or "passed"},
            )


def broken_promises(mart: str, rows: pl.DataFrame) -> list[str]:
    """What rows break: column or rule, and how often."""
    try:
        _schemas()[mart].validate(rows, lazy=True)
    except pandera.errors.SchemaErrors as error:
        counts = error.failure_cases.group_by("column", "check").len().sort("column", "check")
        return [f"{column}: {check} ({n} times)" for column, check, n in counts.rows()]
    return []


# ------------------------------------------------------------------------------------ computation


def lifetime_values(warehouse: Warehouse, slices: Slices) -> dict[str, pl.DataFrame]:
    """Rows of both marts in the slices."""
    values, fits = [], []
    for closing in _closing_days(warehouse, slices):
        split = closing.day - timedelta(weeks=HOLDOUT_WEEKS)
        customers = _customers(warehouse, closing, split)
        if customers.is_empty():  # who came only brought things back
            continue
        histories = _histories(customers, closing.day)
        purchasing, spending, fit = _fitted(histories)
        fit |= _held_out(customers, split)
        key = {"country": closing.country, "business_date": closing.day}
        fits.append({**dict.fromkeys(FITS), **key, **fit, "customers": len(customers)})
        values.append(
            customers.with_columns(
                **{name: pl.lit(value) for name, value in key.items()},
                **_expectations(histories, purchasing, spending),
            )
        )
    rows = pl.concat(values) if values else pl.DataFrame(schema=_polars(VALUES))
    return {
        "rpt_clv": rows.select(pl.col(n).cast(kind) for n, kind in _polars(VALUES).items()),
        "rpt_clv_fit": pl.DataFrame(fits, schema=_polars(FITS), orient="row"),
    }


def _closing_days(warehouse: Warehouse, slices: Slices) -> list[Partition]:
    """Last days of the months that end in the slices and in which the country had a customer."""
    rows = warehouse.query(
        f"select distinct country, business_date from marts.{_CUSTOMERS.path[-1]} "
        f"where {slices.condition('business_date')}"
    )
    return sorted(Partition(country, day) for country, day in rows)


def _customers(warehouse: Warehouse, until: Partition, split: date) -> pl.DataFrame:
    """Purchases of each customer of a country up to a closing day and including it.

    What was known on the day of the split is read along: at the last month end before it, and from
    the days since.
    """
    of_country = f"country = '{until.country}'"
    ((carried,),) = warehouse.query(
        f"select coalesce(max(business_date), date '{date.min}') "
        f"from marts.{_CUSTOMERS.path[-1]} where {of_country} and business_date <= date '{split}'"
    )
    rows = warehouse.query(
        "select customer_id, closing.first_purchase_date, closing.last_purchase_date, "
        "closing.purchase_days - 1, "
        "cast(closing.purchases_eur - closing.first_purchase_eur as double), "
        "coalesce(since.last_purchase_date, known.last_purchase_date), "
        "coalesce(known.purchase_days, 0) + coalesce(since.purchase_days, 0) - 1 "
        f"from (select * from marts.{_CUSTOMERS.path[-1]} where {of_country} "
        f"and business_date = date '{until.day}' and purchase_days > 0) as closing "
        f"left join (select * from marts.{_CUSTOMERS.path[-1]} where {of_country} "
        f"and business_date = date '{carried}') as known using (customer_id) "
        "left join (select customer_id, max(business_date) as last_purchase_date, "
        f"count(*) as purchase_days from marts.{_CUSTOMER_DAYS.path[-1]} where {of_country} "
        f"and business_date > date '{carried}' and business_date <= date '{split}' "
        "and sale_invoices > 0 group by customer_id) as since using (customer_id) "
        "order by customer_id"
    )
    schema = {
        "customer_id": pl.Int64(),
        "first_purchase_date": pl.Date(),
        "last_purchase_date": pl.Date(),
        "repeat_purchases": pl.Int64(),
        "repeat_spend": pl.Float64(),
        "last_purchase_known": pl.Date(),
        "repeat_purchases_known": pl.Int64(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _histories(customers: pl.DataFrame, until: date) -> Histories:
    first, repeats = pl.col("first_purchase_date"), pl.col("repeat_purchases")
    columns = customers.select(
        repeats=repeats.cast(pl.Float64),
        recency=(pl.col("last_purchase_date") - first).dt.total_days() / _DAYS,
        age=(pl.lit(until) - first).dt.total_days() / _DAYS,
        spend=pl.when(repeats > 0).then(pl.col("repeat_spend") / repeats).otherwise(0.0),
    )
    return Histories(*(column.to_numpy() for column in columns))


def _fitted(of: Histories) -> tuple[Purchasing | None, Spending | None, dict[str, Any]]:
    """Both models, or not, and the columns that say so."""
    correlation = spend_correlation(of)
    told: dict[str, Any] = {
        "repeat_customers": int(np.count_nonzero(of.repeats)),
        "spend_correlation": None if correlation is None else round(correlation, 4),
    }
    purchasing = spending = None
    try:
        purchasing = fit_purchasing(of)
        told |= {
            "purchasing_r": purchasing.r,
            "purchasing_alpha_weeks": purchasing.alpha,
            "purchasing_a": purchasing.a,
            "purchasing_b": purchasing.b,
            "purchasing_log_likelihood": round(purchasing.log_likelihood(of), 3),
        }
    except NoEstimate as reason:
        told["purchasing_not_fitted"] = str(reason)
    try:
        spending = fit_spending(of)
        told |= {"spending_p": spending.p, "spending_q": spending.q, "spending_v_eur": spending.v}
    except NoEstimate as reason:
        told["spending_not_fitted"] = str(reason)
    return purchasing, spending, told


def _held_out(customers: pl.DataFrame, split: date) -> dict[str, Any]:
    """Columns on what was bought after the split, told from what was known on that day."""
    known_since = min(customers["first_purchase_date"])
    if split - known_since < timedelta(weeks=MIN_CALIBRATION_WEEKS):
        weeks = MIN_CALIBRATION_WEEKS + HOLDOUT_WEEKS
        return {"holdout_not_measured": f"fewer than {weeks} weeks of purchases"}
    before = customers.filter(pl.col("first_purchase_date") <= split).with_columns(
        last_purchase_date="last_purchase_known",
        repeat_purchases="repeat_purchases_known",
        repeat_spend=0.0,  # is not told
        afterwards=(pl.col("repeat_purchases") - pl.col("repeat_purchases_known")).cast(pl.Float64),
    )
    try:
        error = hold_out(_histories(before, split), before["afterwards"].to_numpy(), HOLDOUT_WEEKS)
    except NoEstimate as reason:
        return {"holdout_not_measured": f"{reason} before the last {HOLDOUT_WEEKS} weeks"}
    return {
        "holdout_customers": len(before),
        "holdout_mean_absolute_error_units": round(error.mean_absolute_error, 4),
        "holdout_total_error_rate": None
        if error.total_error_rate is None
        else round(error.total_error_rate, 4),
    }


def _expectations(
    of: Histories, purchasing: Purchasing | None, spending: Spending | None
) -> dict[str, pl.Series]:
    """Columns of rpt_clv that are estimated, rounded as they are stored; null without a model."""
    spend = None if spending is None else spending.expected_spend(of)
    told: dict[str, tuple[Numbers | None, int]] = {
        "average_repeat_purchase_eur": (np.where(of.repeats > 0, of.spend, np.nan), 2),
        "expected_purchase_eur": (spend, 2),
        "alive_probability": (None, 4),
        "expected_purchases_52w_units": (None, 4),
        "lifetime_value_52w_eur": (None, 2),
    }
    if purchasing is not None:
        told["alive_probability"] = (purchasing.probability_alive(of), 4)
        purchases, discounted = purchasing.discounted_purchases(
            of, HORIZON_WEEKS, [0, YEARLY_DISCOUNT]
        )
        told["expected_purchases_52w_units"] = (purchases, 4)
        if spend is not None:
            told["lifetime_value_52w_eur"] = (discounted * spend, 2)
    nothing = np.full(len(of.age), np.nan)
    return {
        name: pl.Series(np.round(nothing if numbers is None else numbers, digits)).fill_nan(None)
        for name, (numbers, digits) in told.items()
    }


def sql_types(mart: str) -> dict[str, str]:
    """SQL type of each column of a mart."""
    return {name: kind for name, (kind, _) in COLUMNS[mart].items()}


def _polars(columns: dict[str, tuple[str, str]]) -> dict[str, pl.DataType]:
    types = {"varchar": pl.String(), "date": pl.Date(), "bigint": pl.Int64()}
    return {name: types.get(kind, pl.Float64()) for name, (kind, _) in columns.items()}
