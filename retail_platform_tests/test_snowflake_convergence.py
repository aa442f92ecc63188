"""Convergence on Snowflake: a random history ends there like a rebuild from scratch on DuckDB.

The history is taken in as everywhere, by automation and runs of Dagster; the lake is a bucket. That
DuckDB ends like the same rebuild is in test_convergence, so what is compared here are the engines.
``RETAIL_TEST_SNOWFLAKE_HISTORIES=20 pytest retail_platform_tests/test_snowflake_convergence.py``
plays more histories; `RETAIL_ENV=ci make test` plays those of test_convergence.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from retail_platform.settings import PROJECT_DIR
from retail_platform.transform.dbt_project import DbtProject
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.snowflake import SnowflakeWarehouse
from retail_platform_tests.emulated_cloud import Cloud
from retail_platform_tests.histories import (
    Delivery,
    Installation,
    Step,
    Visit,
    actual_raw,
    broken,
    differences,
    empty_tables,
    expected_raw,
    living_in,
    rebuilt_from_scratch,
)
from retail_platform_tests.test_convergence import one_of_each, random_history, week
from retail_platform_tests.test_snowflake_parity import columns_of

FEW = 1
HISTORIES = int(os.environ.get("RETAIL_TEST_SNOWFLAKE_HISTORIES", FEW))


def short_history(seed: int) -> list[Step]:
    """Two random histories with one look in between, on top of what leaves no mart empty.

    So the second one corrects what the first one loaded, and marts are built once: a run is much
    work for the emulator, whatever comes of it.
    """
    first, second = (
        # No two versions of a name are of the same minute.
        [replace(d, minute=d.minute + shift) for d in random_history(seed + n) if is_file(d)]
        for n, shift in ((0, 20.25), (1, 40.5))
    )
    refused = broken("transactions_FR_20250110.csv", 30)
    return [*week(), *one_of_each(3), refused, *first, Visit(once=True), *second]


def is_file(step: Step) -> TypeGuard[Delivery]:
    return isinstance(step, Delivery)


@pytest.mark.timeout(36_000)
@settings(
    max_examples=HISTORIES,
    derandomize=HISTORIES == FEW,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(1, 2**32))
def test_a_random_history_ends_with_the_same_tables_on_both_engines(
    tmp_path: Path,
    dbt_work_dir: Path,
    cloud: Cloud,
    no_data_tests: None,
    seed: int,
) -> None:
    history = short_history(seed) if HISTORIES == FEW else random_history(seed)
    scratch = tmp_path / "scratch"
    variables = {"RETAIL_DUCKDB_PATH": str(scratch / "warehouse.duckdb")}
    dbt = DbtProject(PROJECT_DIR / "dbt_project", dbt_work_dir, "duckdb", variables)
    home = tmp_path / "home"
    with living_in(cloud), Installation.new(home, dbt_work_dir) as installation:
        installation.play([*history, Visit()])
        rebuilt = rebuilt_from_scratch(scratch, installation.seen, installation.platform, dbt)
        copy = installation.warehouse
        found = columns_of(SnowflakeWarehouse(cloud.account, "ci"))
    if HISTORIES == FEW:
        assert empty_tables(copy, "marts") == set(), "a comparison of nothing with nothing"
    assert actual_raw(copy) == expected_raw(installation.seen)
    assert "\n".join(differences(copy, rebuilt)) == ""
    types = columns_of(DuckDBWarehouse(rebuilt))
    assert found == {table: types[table] for table in found}
