"""Cross-column rules that contracts name in `row_rules`.

A rule is an expression that is true for a good row; unknown (null) counts as good, because the
missing value itself is reported by the column's own rule. Single-column rules belong in the YAML.
"""

from collections.abc import Callable

import polars as pl

from retail_platform.countries import CountryRegistry

Rule = Callable[[CountryRegistry], pl.Expr]

_CENT = 0.011
"""Amounts agree when they differ by at most a cent: partners round half up or half even."""


def _currency_of_country(registry: CountryRegistry) -> pl.Expr:
    expected = pl.col("_country").replace_strict(registry.currency_by_code, default=None)
    return pl.col("currency") == expected


def _sale_line_total(_: CountryRegistry) -> pl.Expr:
    gross = pl.col("unit_price").cast(pl.Float64) * pl.col("quantity")
    due = gross * (1 - pl.col("discount").cast(pl.Float64))
    differs = (due - pl.col("line_total").cast(pl.Float64)).abs() > _CENT
    return ~((pl.col("transaction_type") == "Sale") & differs)


def _return_line_is_negative(_: CountryRegistry) -> pl.Expr:
    return ~((pl.col("transaction_type") == "Return") & (pl.col("line_total") > 0))


def _window_ends_after_start(_: CountryRegistry) -> pl.Expr:
    return pl.col("ends_on") >= pl.col("starts_on")


def _movement_sign(_: CountryRegistry) -> pl.Expr:
    kind, quantity = pl.col("movement_type"), pl.col("quantity")
    adds, takes = ("receipt", "transfer_in", "return"), ("sale", "transfer_out")
    return (
        pl.when(kind.is_in(adds))
        .then(quantity > 0)
        .when(kind.is_in(takes))
        .then(quantity < 0)
        .otherwise(pl.lit(value=True))
    )


RULES: dict[str, Rule] = {
    "currency_of_country": _currency_of_country,
    "sale_line_total": _sale_line_total,
    "return_line_is_negative": _return_line_is_negative,
    "window_ends_after_start": _window_ends_after_start,
    "movement_sign": _movement_sign,
}
