"""What all contestants have to agree on: rows of every mart and net sales in euros by country."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

MARTS = (
    "fct_sales",
    "dim_customer",
    "dim_date",
    "dim_employee",
    "dim_product",
    "dim_promotion",
    "dim_store",
    "rpt_daily_sales",
    "rpt_top_stores",
)


def answers_of(database: Path) -> dict[str, Any]:
    """Read the answers from a DuckDB file with a schema `marts`."""
    with duckdb.connect(str(database), read_only=True) as connection:
        rows = {
            mart: connection.execute(f"select count(*) from marts.{mart}").fetchone()[0]
            for mart in MARTS
        }
        net_sales = connection.execute(
            "select country, sum(net_amount_eur), "
            "sum(net_amount_local) filter (where channel = 'store') "
            "from marts.fct_sales group by all order by all"
        ).fetchall()
        reported = connection.execute(
            "select country, sum(net_sales_eur) from marts.rpt_daily_sales group by all"
        ).fetchall()
    return {
        "rows": rows,
        "net_sales_eur": {country: str(eur) for country, eur, _ in net_sales},
        "reported_net_sales_eur": {country: str(eur) for country, eur in reported},
        "shop_net_sales_local": {country: str(local) for country, _, local in net_sales},
    }


class WrongAnswer(AssertionError):
    """A contestant computed something else than the others, or than the generator planted."""


def check_answers(
    name: str,
    found: Mapping[str, Any],
    agreed: Mapping[str, Any],
    truth: Mapping[str, Decimal],
    order_lines: int,
) -> None:
    """Compare with what another contestant found and with what was generated.

    Raises:
        WrongAnswer: naming the first difference.
    """
    local = {country: Decimal(value) for country, value in found["shop_net_sales_local"].items()}
    if local != truth:
        raise WrongAnswer(f"{name}: net sales of shops {local}, generated were {dict(truth)}")
    if found["rows"]["fct_sales"] != order_lines:
        raise WrongAnswer(
            f"{name}: {found['rows']['fct_sales']} order lines, generated were {order_lines}"
        )
    if found["net_sales_eur"] != found["reported_net_sales_eur"]:
        raise WrongAnswer(f"{name}: facts and daily report disagree about net sales")
    for kind, value in agreed.items():
        if found[kind] != value:
            raise WrongAnswer(f"{name}: {kind} {found[kind]}, the others have {value}")
