"""Convergence on Snowflake: a random history ends there like a rebuild from scratch on DuckDB.

The history is taken in as everywhere, by runs of Dagster; the lake is a bucket. That DuckDB ends
like the same rebuild is in test_convergence, so what is compared here are the engines.

Histories that are taken in are minutes of work for the emulator. The ordinary suite compares the
engines after one that is built model by model (test_snowflake_parity); this is played on demand:
``RETAIL_TEST_SNOWFLAKE_HISTORIES=1 pytest retail_platform_tests/test_snowflake_convergence.py``.
With 1, business days are built at the end, in as few runs as there can be; with more, automation
decides what to build.
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
HISTORIES = int(os.environ.get("RETAIL_TEST_SNOWFLAKE_HISTORIES", 0))


def short_history(seed: int) -> list[Step]:
    """Two random histories, on top of what leaves no mart empty.

    The second one corrects what was loaded of the first one.
    """
    first, second = (
        # No two versions of a name are of the same minute.
        [replace(d, minute=d.minute + shift) for d in random_history(seed + n) if is_file(d)]
        for n, shift in ((0, 20.25), (1, 40.5))
    )
    refused = broken("transactions_FR_20250110.csv", 30)
    return [*week(), *one_of_each(3), refused, *first, Visit(once=True), *second, Visit(once=True)]


def is_file(step: Step) -> TypeGuard[Delivery]:
    return isinstance(step, Delivery)


@pytest.mark.skipif(not HISTORIES, reason="minutes; RETAIL_TEST_SNOWFLAKE_HISTORIES=1 plays it")
@pytest.mark.timeout(36_000)
@settings(
    max_examples=max(HISTORIES, FEW),
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
    scratch = tmp_path / "scratch"
    variables = {"RETAIL_DUCKDB_PATH": str(scratch / "warehouse.duckdb")}
    dbt = DbtProject(PROJECT_DIR / "dbt_project", dbt_work_dir, "duckdb", variables)
    home = tmp_path / "home"
    with living_in(cloud), Installation.new(home, dbt_work_dir) as installation:
        installation.play(short_history(seed))
        if HISTORIES == FEW:
            installation.build_business_days()
        else:
            installation.visit()
        rebuilt = rebuilt_from_scratch(scratch, installation.seen, installation.platform, dbt)
        copy = installation.warehouse
        found = columns_of(SnowflakeWarehouse(cloud.account, "ci"))
    assert empty_tables(copy, "marts") == set(), "a comparison of nothing with nothing"
    assert actual_raw(copy) == expected_raw(installation.seen)
    assert "\n".join(differences(copy, rebuilt)) == ""
    types = columns_of(DuckDBWarehouse(rebuilt))
    assert found == {table: types[table] for table in found}
