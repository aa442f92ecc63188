"""Headline figures asked of the semantic layer, beside the same figures of the marts."""

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dbt.contracts.graph.manifest import Manifest
from dbt_metricflow.cli.dbt_connectors.adapter_backed_client import AdapterBackedSqlClient
from metricflow.engine.metricflow_engine import MetricFlowEngine, MetricFlowQueryRequest
from metricflow_semantics.model.dbt_manifest_parser import (
    parse_manifest_from_dbt_generated_manifest,
)
from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

from retail_platform_tests.dbt_warehouse import Warehouse, rate, sale

FRI, SAT = date(2025, 1, 10), date(2025, 1, 11)
METRICS = (
    "net_sales_eur",
    "gross_sales_eur",
    "returns_eur",
    "units_sold",
    "units_returned",
    "transactions",
    "average_transaction_value_eur",
    "units_per_transaction",
    "average_unit_retail_eur",
    "discount_rate",
    "returns_rate_of_period",
)


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> Iterator[Warehouse]:
    """Two countries on two days: discounts, a basket of two lines, returns of the day before."""
    warehouse = Warehouse(tmp_path_factory.mktemp("semantics"), manifest)
    warehouse.create_raw()
    rates = [rate(FRI, "USD", "1.25")]
    warehouse.deliver("fx_rates", "ALL", FRI, rates)
    at = f"{FRI} 10:00"
    warehouse.deliver(
        "transactions", "FR", FRI,
        [sale("INV-FR-001-1", 1, "100.00", at, discount="0.2", quantity=2),
         sale("INV-FR-001-1", 2, "15.50", at),
         sale("INV-FR-002-2", 1, "40.00", at)],
    )  # fmt: skip
    warehouse.deliver("transactions", "US", FRI, [sale("INV-US-003-3", 1, "80.00", at)])
    warehouse.deliver(
        "transactions", "FR", SAT,
        [sale("RET-FR-002-2", 1, "40.00", f"{SAT} 00:00"),
         sale("INV-FR-001-4", 1, "9.99", f"{SAT} 12:00", quantity=3)],
    )  # fmt: skip
    warehouse.deliver("transactions", "US", SAT, [sale("RET-US-003-3", 1, "80.00", f"{SAT} 00:00")])
    warehouse.run("+rpt_daily_sales time_spine")
    yield warehouse
    warehouse.close()


@pytest.fixture(scope="module")
def engine(dbt_work_dir: Path) -> MetricFlowEngine:
    """MetricFlow over the manifest that dbt wrote; it writes statements, we run them."""
    written = (dbt_work_dir / "target" / "semantic_manifest.json").read_text("utf-8")
    lookup = SemanticManifestLookup(parse_manifest_from_dbt_generated_manifest(written))
    dialect: Any = SimpleNamespace(type=lambda: "duckdb")
    return MetricFlowEngine(lookup, AdapterBackedSqlClient(dialect))


def asked(
    engine: MetricFlowEngine, warehouse: Warehouse, metrics: Sequence[str], *by: str
) -> list[tuple[Any, ...]]:
    """What metrics are grouped by, and the metrics, in the order given."""
    request = MetricFlowQueryRequest.create(metric_names=metrics, group_by_names=by)
    statement = engine.explain(request).sql_statement.sql
    return warehouse.execute(f"select {', '.join([*by, *metrics])} from ({statement}) order by all")


def test_by_country_and_day_as_in_the_marts(engine: MetricFlowEngine, traded: Warehouse) -> None:
    names = ("net_sales_eur", "returns_eur", "units_sold", "units_returned", "transactions")
    found = asked(engine, traded, names, "order_line__country", "metric_time__day")
    expected = traded.execute(
        "select country, cast(business_date as timestamp), sum(net_sales_eur),"
        " sum(cast(returns_local * eur_rate as decimal(18, 2))), sum(units_sold),"
        " sum(units_returned), sum(transactions) from marts.rpt_daily_sales"
        " join (select distinct country, business_date, currency_code, eur_rate"
        " from marts.fct_sales) using (country, business_date, currency_code)"
        " group by all order by all"
    )
    assert len(expected) == 4
    assert [[value or 0 for value in row] for row in found] == [list(row) for row in expected]


def test_of_everything_as_worked_out_by_hand(engine: MetricFlowEngine, traded: Warehouse) -> None:
    """Sold: 200 less 20 %, 15.50, 40, 29.97 euros, and 80 dollars at 0.8; back: 40 and 64 euros."""
    (found,) = asked(engine, traded, METRICS)
    sold, gross, back = Decimal("309.47"), Decimal("349.47"), Decimal("104.00")
    expected = [
        sold - back, gross, back, 8, 2, 4, sold / 4, Decimal(8) / 4, sold / 8,
        1 - sold / gross, back / sold,
    ]  # fmt: skip
    for name, value, right in zip(METRICS, found, expected, strict=True):
        assert float(value) == pytest.approx(float(right)), name


def test_so_far_this_month(engine: MetricFlowEngine, traded: Warehouse) -> None:
    """Lined up on the days of the time spine."""
    found = asked(engine, traded, ("net_sales_eur_so_far_this_month",), "metric_time__day")
    # A rate is carried for six days, and so is what was sold until then.
    assert [value for _, value in found] == [Decimal("279.50"), *6 * [Decimal("205.47")]]
