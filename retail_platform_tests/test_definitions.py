"""The platform as Dagster sees it: what every asset says about itself, and what a stranger adds.

Nothing runs here except what a new feed needs to prove that it is one.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from retail_platform.assets.batch_day import WAREHOUSE_POOL
from retail_platform.countries import ALL
from retail_platform.definitions import Platform, build_platform
from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import INBOX, Lake
from retail_platform.operate.foreground import ForegroundRunner
from retail_platform.partitions import Scope
from retail_platform.resources import warehouse_resource
from retail_platform.settings import Environment
from retail_platform_tests.builders import CONTRACTS
from retail_platform_tests.histories import sales, small_platform
from retail_platform_tests.test_contracts import loyalty, write

Specs = dict[str, dg.AssetSpec]

MARTS = {
    "dim_channel",
    "dim_customer",
    "dim_date",
    "dim_employee",
    "dim_geography",
    "dim_product",
    "dim_promotion",
    "dim_store",
    "dim_supplier",
    "fct_checkouts",
    "fct_customer_behavior",
    "fct_customers_monthly",
    "fct_inventory_daily",
    "fct_inventory_movements",
    "fct_sales",
    "fct_shop_sales_daily",
    "rpt_abandoned_carts",
    "rpt_channel_performance",
    "rpt_clv",
    "rpt_clv_fit",
    "rpt_cohort_retention",
    "rpt_competitor_prices",
    "rpt_daily_sales",
    "rpt_gmroi",
    "rpt_like_for_like",
    "rpt_product_performance",
    "rpt_markdown_effect",
    "rpt_price_elasticity",
    "rpt_returns",
    "rpt_rfm",
    "rpt_reorder_alert_quality",
    "rpt_reorder_alerts",
    "rpt_size_curve",
    "rpt_stock",
    "rpt_store_performance",
    "rpt_supplier_performance",
    "rpt_top_stores",
    "rpt_transactions_lifecycle",
    "rpt_weather_effect",
}
INTERMEDIATE = {
    "int_competitor_prices",
    "int_crm_contacts",
    "int_fx_rates",
    "int_inventory_monthly",
    "int_inventory_movements",
    "int_online_checkouts",
    "int_online_orders",
    "int_online_refunds",
    "int_online_sales",
    "int_pos_events",
    "int_sales",
    "int_stock_history",
    "int_weather",
}
MADE_BY_THE_QUERY = {
    "country",
    "channel",
    "channel_name",
    "is_own",
    "has_shops",
    "line_source",
    "is_return",
    "transaction_type",
    "files",
    "rows_valid",
    "alerts",
    "stock_outs",
    "public_holiday_name",
}
"""Columns of models that stand for a constant or a count, and so come from no column."""
LEDGER = "raw/file_ledger"
NOTICES = {
    f"staging/late_{feed}"
    for feed in (
        "competitor_prices",
        "fx_rates",
        "inventory_movements",
        "online_checkouts",
        "online_orders",
        "online_refunds",
        "partner_sales",
        "pos_events",
        "transactions",
        "weather",
    )
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path) -> Platform:
    return small_platform(tmp_path_factory.mktemp("home"), dbt_work_dir)


@pytest.fixture(scope="module")
def specs(platform: Platform) -> Specs:
    return by_name(platform)


@pytest.fixture(scope="module")
def graph(platform: Platform) -> Any:
    return platform.definitions.resolve_asset_graph()


def by_name(platform: Platform) -> Specs:
    specs = platform.definitions.resolve_all_asset_specs()
    return {spec.key.to_user_string(): spec for spec in specs}


def layer(name: str) -> str:
    return name.split("/")[0]


def countries(spec: dg.AssetSpec) -> set[str]:
    """Countries an asset has partitions of."""
    assert isinstance(spec.partitions_def, dg.MultiPartitionsDefinition)
    of_country = spec.partitions_def.get_partitions_def_for_dimension("country")
    return set(of_country.get_partition_keys())


class TestEveryAsset:
    def test_is_known_by_its_layer_and_name(self, specs: Specs) -> None:
        feeds = set(CONTRACTS)
        assert set(specs) == {
            *(f"{of_feeds}/{feed}" for of_feeds in ("inbox", "feeds", "raw") for feed in feeds),
            *(f"staging/stg_{feed}" for feed in feeds),
            *(f"intermediate/{model}" for model in INTERMEDIATE),
            "semantics/time_spine",
            *(f"marts/{mart}" for mart in MARTS),
            LEDGER,
            *NOTICES,
        }

    def test_says_whose_it_is_and_what_it_is(self, specs: Specs) -> None:
        for name, spec in specs.items():
            assert spec.owners, f"{name} has no owner"
            assert len(spec.description or "") > 30, f"{name} says only {spec.description!r}"
            assert spec.group_name == layer(name), name
            assert spec.kinds, f"{name} has no kind"
            assert "domain" in spec.tags, f"{name} has no domain"

    def test_with_personal_data_is_tagged(self, specs: Specs) -> None:
        tagged = {name for name, spec in specs.items() if spec.tags.get("pii") == "true"}
        assert tagged == {
            f"{of_files}/{feed}"
            for of_files in ("feeds", "raw")
            for feed in (
                "crm_contacts",
                "customers",
                "employees",
                "online_checkouts",
                "online_orders",
                "online_refunds",
                "suppliers",
            )
        }

    def test_is_partitioned_by_country_and_day(self, specs: Specs, platform: Platform) -> None:
        for name, spec in specs.items():
            if name == LEDGER:
                continue  # one table over all feeds, written in each load's transaction
            assert isinstance(spec.partitions_def, dg.MultiPartitionsDefinition), name
            dimensions = {d.name for d in spec.partitions_def.partitions_defs}
            assert dimensions == {"country", "day"}, name
            assert countries(spec) in (set(platform.registry.codes), {ALL}), name

    def test_runs_by_itself_and_promises_freshness(self, specs: Specs, graph: Any) -> None:
        for key in graph.materializable_asset_keys:
            spec = specs[key.to_user_string()]
            assert spec.automation_condition, f"{spec.key} waits for a person"
            assert spec.freshness_policy, f"{spec.key} may be any age"

    def test_that_is_a_feed_is_stale_when_its_contract_says_so(
        self, specs: Specs, platform: Platform
    ) -> None:
        for feed, contract in platform.contracts.items():
            for name in (f"feeds/{feed}", f"raw/{feed}"):
                policy = specs[name].freshness_policy
                assert isinstance(policy, TimeWindowFreshnessPolicy)
                assert policy.warn_window is not None
                limits = (policy.warn_window, policy.fail_window)
                assert tuple(at.to_timedelta() for at in limits) == contract.freshness, name

    def test_that_is_a_country_mart_of_business_days_is_rebuilt_when_it_gets_stale(
        self, specs: Specs
    ) -> None:
        rebuilt = {
            name
            for name, spec in specs.items()
            if spec.automation_condition
            and spec.automation_condition.get_label() == "when_inputs_arrive_or_stale"
        }
        assert rebuilt == {
            "intermediate/int_competitor_prices",
            "intermediate/int_inventory_monthly",
            "intermediate/int_inventory_movements",
            "intermediate/int_online_checkouts",
            "intermediate/int_online_orders",
            "intermediate/int_online_refunds",
            "intermediate/int_online_sales",
            "intermediate/int_pos_events",
            "intermediate/int_sales",
            "intermediate/int_weather",
            "marts/dim_date",
            "marts/fct_checkouts",
            "marts/fct_customer_behavior",
            "marts/fct_customers_monthly",
            "marts/fct_inventory_daily",
            "marts/fct_inventory_movements",
            "marts/fct_sales",
            "marts/fct_shop_sales_daily",
            "marts/rpt_abandoned_carts",
            "marts/rpt_channel_performance",
            "marts/rpt_clv",
            "marts/rpt_clv_fit",
            "marts/rpt_cohort_retention",
            "marts/rpt_competitor_prices",
            "marts/rpt_daily_sales",
            "marts/rpt_gmroi",
            "marts/rpt_like_for_like",
            "marts/rpt_product_performance",
            "marts/rpt_markdown_effect",
            "marts/rpt_price_elasticity",
            "marts/rpt_returns",
            "marts/rpt_rfm",
            "marts/rpt_reorder_alert_quality",
            "marts/rpt_reorder_alerts",
            "marts/rpt_size_curve",
            "marts/rpt_stock",
            "marts/rpt_store_performance",
            "marts/rpt_supplier_performance",
            "marts/rpt_top_stores",
            "marts/rpt_weather_effect",
        }

    def test_is_built_in_one_run_for_many_partitions_and_alone_with_the_warehouse(
        self, graph: Any
    ) -> None:
        for key in graph.materializable_asset_keys:
            node = graph.get(key)
            assert node.backfill_policy == dg.BackfillPolicy.single_run(), key
            assert node.assets_def.op.pool == WAREHOUSE_POOL, f"{key} writes beside others"

    def test_has_a_check(self, graph: Any) -> None:
        checked = {key.asset_key.to_user_string() for key in graph.asset_check_keys}
        assets = {key.to_user_string() for key in graph.materializable_asset_keys}
        # A RAW table is what its feed was checked for; dated ones also say how late rows were.
        assert assets - checked == {
            f"raw/{name}" for name, c in CONTRACTS.items() if not c.ingestion.business_date
        }

    def test_says_what_its_columns_mean(self, specs: Specs, graph: Any) -> None:
        for key in graph.materializable_asset_keys:
            schema = specs[key.to_user_string()].metadata["dagster/column_schema"]
            assert schema.columns, key
            assert [c.name for c in schema.columns if not c.description] == [], key

    def test_that_is_a_table_says_where_it_is(
        self, specs: Specs, graph: Any, platform: Platform
    ) -> None:
        account = platform.settings.snowflake
        database = account.database if account else "warehouse"
        for key in graph.materializable_asset_keys:
            name = key.to_user_string()
            if layer(name) != "feeds":
                address = specs[name].metadata["dagster/table_name"]
                assert address == f"{database}.{name.replace('/', '.')}"

    def test_says_which_columns_its_columns_come_from(self, specs: Specs, graph: Any) -> None:
        columns = {
            name: {c.name for c in spec.metadata["dagster/column_schema"].columns}
            for name, spec in specs.items()
            if "dagster/column_schema" in spec.metadata
        }
        for key in graph.materializable_asset_keys:
            name = key.to_user_string()
            if layer(name) == "feeds":
                continue
            lineage = specs[name].metadata["dagster/column_lineage"].deps_by_column
            parents = {parent.to_user_string() for parent in graph.get(key).parent_keys}
            untold = columns[name] - {column for column, inputs in lineage.items() if inputs}
            assert {c for c in untold if not c.startswith("_")} <= MADE_BY_THE_QUERY, name
            for column, inputs in lineage.items():
                for of in inputs:
                    source = of.asset_key.to_user_string()
                    assert source in parents, f"{name}.{column}"
                    assert source == LEDGER or of.column_name in columns[source], f"{name}.{column}"

    def test_converted_amounts_come_from_amount_and_rate(self, specs: Specs) -> None:
        lineage = specs["marts/fct_sales"].metadata["dagster/column_lineage"].deps_by_column
        assert {
            (of.asset_key.to_user_string(), of.column_name) for of in lineage["net_amount_eur"]
        } >= {
            ("intermediate/int_sales", "net_amount_local"),
            ("intermediate/int_fx_rates", "eur_rate"),
        }


class TestLineage:
    def test_files_are_where_everything_begins(self, graph: Any) -> None:
        roots = {
            k.to_user_string() for k in graph.get_all_asset_keys() if not graph.get(k).parent_keys
        }
        assert roots == {*(f"inbox/{feed}" for feed in CONTRACTS), LEDGER, *NOTICES}

    def test_rows_that_are_too_late_concern_what_reads_their_feed_by_batch_day_and_nothing_else(
        self, graph: Any
    ) -> None:
        """Days that another feed has late rows of would be gaps, and gaps are runs."""

        def readers(name: str) -> set[str]:
            """Those of business days."""
            return {
                key.to_user_string()
                for key in graph.get(dg.AssetKey(name.split("/"))).child_keys
                if graph.get(key).assets_def.op.name.startswith("business_day")
            }

        for notice in NOTICES:
            feed = notice.removeprefix("staging/late_")
            assert readers(notice) == readers(f"staging/stg_{feed}") != set()

    def test_every_mart_is_made_of_the_feeds_it_speaks_about(self, graph: Any) -> None:
        def feeds_above(key: dg.AssetKey) -> set[str]:
            if key.path[0] == "inbox":
                return {key.path[-1]}
            inputs = graph.get(key).parent_keys - {key}
            return set().union(*(feeds_above(parent) for parent in inputs))

        of_the_night = {"transactions", "partner_sales"}
        sold = {*of_the_night, "pos_events", "online_orders", "online_refunds"}
        moved = {"inventory_movements", "fx_rates"}
        assert {mart: feeds_above(dg.AssetKey(["marts", mart])) for mart in MARTS} == {
            "dim_channel": sold,
            "dim_customer": {"customers", "crm_contacts"},
            "dim_date": sold,
            "dim_employee": {"employees"},
            "dim_geography": {"stores", "customers", "crm_contacts", "weather"},
            "dim_product": {"products"},
            "dim_promotion": {"discounts"},
            "dim_store": {"stores", "partner_stores"},
            "dim_supplier": {"suppliers"},
            "fct_checkouts": {"online_checkouts", "fx_rates"},
            "fct_customer_behavior": {*sold, "fx_rates"},
            "fct_customers_monthly": {*sold, "fx_rates"},
            "fct_inventory_daily": moved,
            "fct_inventory_movements": moved,
            "fct_sales": {*sold, "fx_rates"},
            "fct_shop_sales_daily": {*sold, "fx_rates"},
            "rpt_abandoned_carts": {"online_checkouts", "fx_rates"},
            "rpt_channel_performance": {*sold, "fx_rates"},
            "rpt_clv": {*sold, "fx_rates"},
            "rpt_clv_fit": {*sold, "fx_rates"},
            "rpt_cohort_retention": {*sold, "fx_rates"},
            "rpt_competitor_prices": {*sold, "fx_rates", "competitor_prices"},
            "rpt_daily_sales": {*sold, "fx_rates"},
            "rpt_gmroi": {*sold, *moved, "products"},
            "rpt_like_for_like": {*sold, "fx_rates"},
            "rpt_product_performance": {*sold, "fx_rates", "products"},
            "rpt_markdown_effect": {*sold, "fx_rates", "products", "discounts"},
            "rpt_price_elasticity": {*sold, "fx_rates", "products"},
            "rpt_returns": {*sold, "fx_rates"},
            "rpt_rfm": {*sold, "fx_rates"},
            "rpt_reorder_alert_quality": {*moved, "suppliers"},
            "rpt_reorder_alerts": {*moved, "suppliers"},
            "rpt_size_curve": {*sold, "fx_rates", "products"},
            "rpt_stock": moved,
            "rpt_store_performance": {*sold, "fx_rates", "stores", "partner_stores"},
            "rpt_supplier_performance": {"inventory_movements", "suppliers"},
            "rpt_top_stores": {*sold, "fx_rates"},
            "rpt_transactions_lifecycle": of_the_night,
            "rpt_weather_effect": {*sold, "fx_rates", "weather", "stores", "partner_stores"},
        }

    def test_each_edge_is_of_the_kind_that_its_two_ends_are(
        self, graph: Any, platform: Platform
    ) -> None:
        """Where batch days become business days is the lookback, and nowhere else; reports that
        look back on the business days before have windows."""
        rules = platform.partitioning
        found = {}
        for key in graph.materializable_asset_keys:
            for parent in graph.get(key).parent_keys:
                if graph.get(parent).partitions_def is not None:
                    edge = (parent.to_user_string(), key.to_user_string())
                    found[edge] = graph.get_partition_mapping(key, parent)
        special = {edge: m for edge, m in found.items() if m != rules.same_day()}
        assert special == {
            ("staging/stg_transactions", "intermediate/int_sales"): rules.lookback(),
            ("staging/stg_partner_sales", "intermediate/int_sales"): rules.lookback(),
            ("staging/stg_pos_events", "intermediate/int_pos_events"): rules.lookback(),
            ("staging/stg_online_orders", "intermediate/int_online_orders"): rules.lookback(),
            ("staging/stg_online_refunds", "intermediate/int_online_refunds"): rules.lookback(),
            ("staging/stg_online_checkouts", "intermediate/int_online_checkouts"): rules.lookback(),
            (
                "staging/stg_inventory_movements",
                "intermediate/int_inventory_movements",
            ): rules.lookback(),
            ("staging/stg_fx_rates", "intermediate/int_fx_rates"): rules.carried_rates(),
            ("staging/late_fx_rates", "intermediate/int_fx_rates"): rules.carried_rates(),
            (
                "staging/stg_competitor_prices",
                "intermediate/int_competitor_prices",
            ): rules.lookback(),
            ("staging/stg_weather", "intermediate/int_weather"): rules.lookback(),
            ("intermediate/int_fx_rates", "marts/fct_sales"): rules.from_global(),
            ("intermediate/int_fx_rates", "marts/fct_checkouts"): rules.from_global(),
            ("marts/fct_shop_sales_daily", "marts/rpt_like_for_like"): rules.window(None),
            ("marts/fct_sales", "marts/rpt_returns"): rules.window(0, 60),
            ("marts/fct_customer_behavior", "marts/rpt_rfm"): rules.window(364),
            ("marts/fct_customer_behavior", "marts/fct_customers_monthly"): rules.window(None),
            ("marts/fct_customers_monthly", "marts/fct_customers_monthly"): rules.own_past(),
            ("intermediate/int_fx_rates", "marts/rpt_product_performance"): rules.from_global(),
            ("marts/dim_product", "marts/rpt_product_performance"): rules.from_global(None, 6),
            ("marts/fct_sales", "marts/rpt_size_curve"): rules.window(27),
            ("marts/dim_product", "marts/rpt_size_curve"): rules.from_global(None, 6),
            ("marts/rpt_product_performance", "marts/rpt_gmroi"): rules.window(27),
            ("marts/fct_inventory_daily", "marts/rpt_gmroi"): rules.window(27),
            ("marts/dim_product", "marts/rpt_gmroi"): rules.from_global(None, 6),
            ("marts/dim_store", "marts/rpt_store_performance"): rules.window(None, 6),
            ("intermediate/int_fx_rates", "marts/fct_inventory_movements"): rules.from_global(),
            ("intermediate/int_fx_rates", "marts/fct_inventory_daily"): rules.from_global(),
            (
                "intermediate/int_inventory_movements",
                "intermediate/int_inventory_monthly",
            ): rules.window(None),
            (
                "intermediate/int_inventory_monthly",
                "intermediate/int_inventory_monthly",
            ): rules.own_past(),
            (
                "intermediate/int_inventory_movements",
                "marts/fct_inventory_daily",
            ): rules.window(None),
            ("intermediate/int_inventory_monthly", "marts/fct_inventory_daily"): rules.window(None),
            ("intermediate/int_inventory_movements", "marts/rpt_stock"): rules.window(27),
            ("marts/fct_inventory_daily", "marts/rpt_stock"): rules.window(27),
            (
                "intermediate/int_inventory_movements",
                "marts/rpt_reorder_alerts",
            ): rules.window(None),
            ("intermediate/int_inventory_monthly", "marts/rpt_reorder_alerts"): rules.window(None),
            ("marts/dim_supplier", "marts/rpt_reorder_alerts"): rules.from_global(None, 6),
            ("marts/rpt_reorder_alerts", "marts/rpt_reorder_alert_quality"): rules.window(60),
            ("marts/fct_inventory_daily", "marts/rpt_reorder_alert_quality"): rules.window(0, 67),
            (
                "intermediate/int_inventory_movements",
                "marts/rpt_supplier_performance",
            ): rules.window(179),
            ("marts/dim_supplier", "marts/rpt_supplier_performance"): rules.from_global(None, 6),
            ("marts/fct_customer_behavior", "marts/rpt_clv"): rules.window(None),
            ("marts/fct_customer_behavior", "marts/rpt_clv_fit"): rules.window(None),
            ("marts/fct_customers_monthly", "marts/rpt_clv"): rules.window(None),
            ("marts/fct_customers_monthly", "marts/rpt_clv_fit"): rules.window(None),
            ("intermediate/int_competitor_prices", "marts/rpt_competitor_prices"): rules.window(6),
            ("intermediate/int_fx_rates", "marts/rpt_competitor_prices"): rules.from_global(),
            ("marts/fct_sales", "marts/rpt_markdown_effect"): rules.window(69, 14),
            ("marts/dim_product", "marts/rpt_markdown_effect"): rules.from_global(None, 20),
            ("marts/dim_promotion", "marts/rpt_markdown_effect"): rules.from_global(None, 14),
            ("marts/fct_sales", "marts/rpt_price_elasticity"): rules.window(83),
            ("marts/dim_product", "marts/rpt_price_elasticity"): rules.from_global(None, 6),
            ("marts/fct_sales", "marts/rpt_weather_effect"): rules.window(111),
            ("intermediate/int_weather", "marts/rpt_weather_effect"): rules.window(111),
            ("marts/dim_store", "marts/rpt_weather_effect"): rules.window(None, 6),
        }


class TestLoading:
    def test_dagster_loads_the_code_location_in_a_fresh_process(
        self, tmp_path: Path, dbt_work_dir: Path
    ) -> None:
        (tmp_path / "dbt").symlink_to(dbt_work_dir)  # parsed once for all tests
        done = subprocess.run(
            [sys.executable, "-m", "dagster", "definitions", "validate", "-m",
             "retail_platform.definitions"],
            env={"RETAIL_HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Validation successful" in done.stdout + done.stderr

    @pytest.mark.embedded("the embedded warehouse is what production refuses")
    def test_no_environment_falls_back_to_another(self, platform: Platform) -> None:
        settings = replace(platform.settings, environment=Environment.PROD)
        with pytest.raises(
            ConfigurationError, match=r"RETAIL_ENV=prod: .* expected RETAIL_ENV=local"
        ):
            build_platform(settings)


class TestWhatAStrangerAdds:
    @pytest.fixture
    def widened(self, tmp_path: Path, dbt_work_dir: Path) -> Platform:
        """A platform with a contract of one's own and nothing else."""
        write(tmp_path / "own", loyalty(), "loyalty")
        home = tmp_path / "home"
        home.mkdir()
        return small_platform(
            home, dbt_work_dir, lambda s: replace(s, contracts_paths=(tmp_path / "own",))
        )

    def test_a_contract_is_a_feed_with_assets_checks_and_automation(
        self, widened: Platform
    ) -> None:
        specs = by_name(widened)
        assert {name for name in specs if name.endswith("/loyalty")} == {
            "inbox/loyalty",
            "feeds/loyalty",
            "raw/loyalty",
        }
        for name in ("feeds/loyalty", "raw/loyalty"):
            assert specs[name].automation_condition
            assert specs[name].freshness_policy
            assert specs[name].owners
        checks = widened.definitions.resolve_asset_graph().asset_check_keys
        assert dg.AssetCheckKey(dg.AssetKey(["feeds", "loyalty"]), "conforms_to_contract") in checks

    def test_its_files_are_loaded_without_code(self, widened: Platform) -> None:
        lake = Lake.open(widened.settings.lake_url)
        lake.put(f"{INBOX}loyalty_FR_20250111.csv", b"card,points\nA,1\nB,many\n")
        with dg.DagsterInstance.ephemeral() as instance:
            outcome = ForegroundRunner(widened, instance, lake).run_until_idle()
            assert outcome.green
            loaded = instance.get_materialized_partitions(dg.AssetKey(["raw", "loyalty"]))
        assert loaded == {"FR|2025-01-11"}
        warehouse = warehouse_resource(widened.settings).open()
        assert warehouse.query("select card, points, _country from raw.loyalty") == [("A", 1, "FR")]

    def test_a_country_is_one_entry_in_a_registry(self, tmp_path: Path, dbt_work_dir: Path) -> None:
        registry = tmp_path / "own.yaml"
        registry.write_text(
            "countries:\n"
            "  - {code: FR, name: France, currency: EUR, timezone: Europe/Paris}\n"
            "  - {code: PL, name: Poland, currency: PLN, timezone: Europe/Warsaw,"
            " aliases: [POL]}\n",
            encoding="utf-8",
        )
        platform = small_platform(
            tmp_path, dbt_work_dir, lambda s: replace(s, countries_file=registry)
        )
        specs = by_name(platform)
        for name, contract in CONTRACTS.items():
            expected = {"FR", "PL"} if contract.scope is Scope.COUNTRY else {ALL}
            for of_feed in (f"inbox/{name}", f"feeds/{name}", f"raw/{name}", f"staging/stg_{name}"):
                assert countries(specs[of_feed]) == expected, of_feed
        assert countries(specs["marts/fct_sales"]) == {"FR", "PL"}
        delivery = replace(sales("FR", 3, [], 1), name="transactions_POL_20250103.csv")
        lake = Lake.open(platform.settings.lake_url)
        lake.put(INBOX + delivery.name, delivery.content)
        (arrival,) = platform.desk.look(lake).arrivals
        assert arrival.file.country == "PL"
