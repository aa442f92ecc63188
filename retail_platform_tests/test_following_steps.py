"""In a run of several steps each follows on those before it that succeeded, and on no other."""

from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.plan.active import ActiveExecution

from retail_platform.assets.following_steps import follow_steps_that_succeeded
from retail_platform.assets.models import ModelRun
from retail_platform.partitions import RANGE_END_TAG, RANGE_START_TAG
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform_tests.histories import Installation, day, fail

CHAIN = ("fct_customer_behavior", "fct_customers_monthly", "rpt_cohort_retention")
"""Three steps, each made of what the one before records."""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path) -> Any:
    with Installation.new(tmp_path_factory.mktemp("home") / "home", dbt_work_dir) as installed:
        (installed.lake.local_root or Path()).mkdir(parents=True, exist_ok=True)
        DuckDBWarehouse(installed.warehouse).prepare(installed.platform.contracts.values())
        yield installed


def run(installation: Installation, *marts: str) -> Any:
    """One run over the days of January, as the UI launches it."""
    keys = [dg.AssetKey(["marts", mart]) for mart in marts]
    job = installation.platform.definitions.resolve_implicit_global_asset_job_def()
    return job.get_subset(asset_selection=set(keys)).execute_in_process(
        instance=installation.instance,
        tags={RANGE_START_TAG: f"FR|{day(1)}", RANGE_END_TAG: f"FR|{day(31)}"},
        raise_on_error=False,
    )


def built(installation: Installation, result: Any) -> Counter[str]:
    """How many partitions a run has built, by mart."""
    records = installation.instance.get_records_for_run(
        result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION, limit=1_000
    ).records
    return Counter(r.event_log_entry.get_dagster_event().asset_key.path[-1] for r in records)


def test_a_chain_of_marts_is_built_in_one_run(installation: Installation) -> None:
    result = run(installation, *CHAIN)
    assert result.success
    assert built(installation, result) == dict.fromkeys(CHAIN, 31)


def test_what_follows_on_a_failure_is_not_built(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelRun, "build", lambda *_: fail())
    result = run(installation, *CHAIN)
    assert not result.success
    assert not built(installation, result)


def test_another_dagster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ActiveExecution, "_should_skip_step")
    with pytest.raises(RuntimeError, match="no longer decides step by step"):
        follow_steps_that_succeeded()
