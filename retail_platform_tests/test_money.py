"""Money of different currencies is never added up, and every amount says in what it is."""

import re
from datetime import date
from decimal import Decimal

import sqlglot
from dbt.contracts.graph.manifest import Manifest
from sqlglot import exp

from retail_platform_tests.dbt_warehouse import Warehouse, messages, rate, sale

DAY = date(2025, 1, 10)
ONE_CURRENCY = {"currency_code", "invoice_id"}
"""What makes a group of rows one of a single currency: the currency, or one receipt."""


def test_an_amount_says_its_currency_in_its_name(manifest: Manifest) -> None:
    for node in manifest.nodes.values():
        if node.resource_type == "model":
            for column in node.columns.values():
                if column.data_type in ("decimal(18,2)", "decimal(18,4)"):
                    is_amount = re.search(r"_(local|eur|usd)(_|$)", column.name)
                    is_ratio = re.search(
                        r"(rate|share|growth|turn|margin_return|days|weeks|units)"
                        r"|(index|elasticity|deviation|correlation|anomaly_(c|mm)$)",
                        column.name,
                    )
                    assert is_amount or is_ratio, f"{node.name}.{column.name}"


def test_local_amounts_are_added_up_within_a_currency(warehouse: Warehouse) -> None:
    """Read from the statements: every total of them is one per currency, or per receipt."""
    done = warehouse.dbt("compile", "--full-refresh")
    assert done.success, messages(done)
    totals = 0
    for result in done.result.results:
        if result.node.resource_type != "model":
            continue
        statement = sqlglot.parse_one(result.node.compiled_code, dialect="duckdb")
        for added in statement.find_all(exp.Sum):
            names = {column.name for column in added.find_all(exp.Column)}
            if not any(re.search(r"_local(_|$)", name) for name in names):
                continue
            window = added.find_ancestor(exp.Window, exp.Select)
            if isinstance(window, exp.Window):
                keys = window.args.get("partition_by") or []
            else:
                group = added.find_ancestor(exp.Select).args.get("group")
                keys = group.expressions if group else []
            within = {column.name for key in keys for column in key.find_all(exp.Column)}
            assert within & ONE_CURRENCY, f"{result.node.name}: {added.sql()} over {within}"
            totals += 1
    assert totals > 10


def test_china_does_not_sell_three_quarters_of_everything(warehouse: Warehouse) -> None:
    """7,300 yuan, 1,500 euros and 1,200 dollars: 73 % if they are added, 29 % of what they are."""
    warehouse.deliver("fx_rates", "ALL", DAY, [rate(DAY, "CNY", "7.3"), rate(DAY, "USD", "1.2")])
    for country, price in {"CN": "7300.00", "FR": "1500.00", "US": "1200.00"}.items():
        line = sale(f"INV-{country}-001-00000001", 1, price, f"{DAY} 12:00")
        warehouse.deliver("transactions", country, DAY, [line])
    warehouse.run("+rpt_daily_sales")
    share = "cast(sum({0}) filter (country = 'CN') / sum({0}) as decimal(4, 3))"
    assert warehouse.execute(
        f"select {share.format('net_sales_local')}, {share.format('net_sales_eur')}"
        " from marts.rpt_daily_sales"
    ) == [(Decimal("0.730"), Decimal("0.286"))]
