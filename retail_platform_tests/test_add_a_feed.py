"""A feed is added the way the README says: one contract, one staging model, nothing else.

The files a stranger would write lie in `example_feed/`. They are put into a copy of the dbt project
and into a folder of contracts; the platform then runs as it is.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from retail_platform.definitions import Platform, build_platform
from retail_platform.lake.store import Lake
from retail_platform.operate.foreground import ForegroundRunner
from retail_platform.operate.instance import open_instance
from retail_platform.operate.quarantine import quarantined_files, quarantined_rows
from retail_platform.partitions import Partition
from retail_platform.resources import DbtResource, resources_for
from retail_platform.settings import PROJECT_DIR, Settings
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform_tests.histories import Delivery, put

EXAMPLE = Path(__file__).parent / "example_feed"
FEED = "footfall"
FR = Partition.parse("FR|2025-01-11")
FILE = "footfall_FR_20250111.csv"
HEADER = "Country,Store ID,Hour,Entries,Exits\n"
FIRST = f"{HEADER}FR,21,2025-01-11 10:00,40,38\nFR,21,2025-01-11 11:00,-3,2\n"
CORRECTED = f"{HEADER}FR,21,2025-01-11 10:00,42,38\nFR,21,2025-01-11 11:00,-3,2\n"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Platform, Lake]:
    """The platform with the feed added, after a delivery and its correction were run."""
    root = tmp_path_factory.mktemp("stranger")
    contracts, project = root / "contracts", root / "dbt_project"
    contracts.mkdir()
    shutil.copytree(PROJECT_DIR / "dbt_project", project)
    shutil.copy(EXAMPLE / "footfall.odcs.yaml", contracts)
    for name in ("stg_footfall.sql", "stg_footfall.yml"):
        shutil.copy(EXAMPLE / name, project / "models/staging")

    home = root / "home"
    settings = replace(
        Settings.from_env({"RETAIL_HOME": str(home), "RETAIL_CONTRACTS_PATH": str(contracts)}),
        settle_seconds=0,
    )
    # The only thing that differs from an installation whose own project was changed.
    copied = DbtResource(
        project_dir=str(project),
        work_dir=str(root / "dbt"),
        target="duckdb",
        variables={"RETAIL_DUCKDB_PATH": str(settings.warehouse_path)},
    )
    platform = build_platform(settings, {**resources_for(settings), "dbt": copied})
    lake = Lake.open(settings.lake_url)
    for minute, content in ((1, FIRST), (2, CORRECTED)):
        put(lake, Delivery(FILE, content.encode(), minute, None))
        with open_instance(settings) as instance:
            outcome = ForegroundRunner(platform, instance, lake).run_until_idle()
        assert outcome.green, [run.error for run in outcome.runs]
    return platform, lake


def test_rows_are_in_staging_as_corrected(installation: tuple[Platform, Lake]) -> None:
    platform, _ = installation
    rows = DuckDBWarehouse(platform.settings.warehouse_path).query(
        "select country, cast(business_date as varchar), store_id, cast(hour_start as varchar), "
        "entries, exits from staging.stg_footfall"
    )
    assert rows == [("FR", "2025-01-11", 21, "2025-01-11 10:00:00", 42, 38)]


def test_the_bad_row_is_in_quarantine(installation: tuple[Platform, Lake]) -> None:
    platform, lake = installation
    (file,) = quarantined_files(lake, platform.contracts, {FEED: [FR]})
    bad = quarantined_rows(lake, platform.contracts[FEED], file)
    assert bad.rows() == [(2, ["entries:too_small"], "FR,21,2025-01-11 11:00,-3,2")]


def test_its_assets_carry_checks_and_automation(installation: tuple[Platform, Lake]) -> None:
    platform, _ = installation
    graph = platform.definitions.resolve_asset_graph()
    checks = {
        f"{key.asset_key.to_user_string()} {key.name}"
        for key in graph.asset_check_keys
        if key.asset_key.path[-1] in (FEED, "stg_footfall")
    }
    assert checks == {
        "feeds/footfall conforms_to_contract",
        "feeds/footfall delivered_in_time",
        "raw/footfall arrives_within_lookback",
        "staging/stg_footfall stg_footfall__grain__not_null",
        "staging/stg_footfall stg_footfall__grain__unique",
    }
    model = graph.get(dg.AssetKey(["staging", "stg_footfall"]))
    assert model.parent_keys == {dg.AssetKey(["raw", FEED])}
    assert model.automation_condition
    with open_instance(platform.settings) as instance:
        records = instance.event_log_storage.get_asset_check_summary_records(
            [key for key in graph.asset_check_keys if key.asset_key.path[-1] == "stg_footfall"]
        )
    assert {str(r.last_check_execution_record.status.value) for r in records.values()} == {
        "SUCCEEDED"
    }
