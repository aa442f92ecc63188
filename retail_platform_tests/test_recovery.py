"""A command looks for what earlier runs left undone only when there can be something."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from retail_platform.operate import foreground
from retail_platform_tests import histories
from retail_platform_tests.histories import (
    Installation,
    Visit,
    actual_raw,
    day,
    expected_raw,
    members,
    sales,
)

FR1 = sales("FR", 1, [(1, 1, 1)], 1)
FR2 = sales("FR", 2, [(2, 1, 1)], 2)


pytestmark = pytest.mark.usefixtures("no_data_tests")


@pytest.fixture(scope="module")
def loaded_home(
    tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path, no_data_tests: None
) -> Path:
    home = tmp_path_factory.mktemp("loaded")
    with Installation.at(home, dbt_work_dir) as created:
        created.play([FR1, Visit()])
    return home


@pytest.fixture
def installation(tmp_path: Path, dbt_work_dir: Path, loaded_home: Path) -> Iterator[Installation]:
    home = tmp_path / "home"
    if histories.CLOUD:  # where a copy of the home is none of the warehouse
        with Installation.new(home, dbt_work_dir) as made:
            made.play([FR1, Visit()])
            yield made
        return
    shutil.copytree(loaded_home, home)
    with Installation.at(home, dbt_work_dir) as copied:
        yield copied


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with every look at all of history."""
    found: list[str] = []
    look = foreground.unloaded_partitions
    monkeypatch.setattr(
        foreground, "unloaded_partitions", lambda *a: (found.append("looked"), look(*a))[1]
    )
    return found


def test_after_a_command_that_left_nothing_undone_history_is_not_looked_at(
    installation: Installation, looks: list[str]
) -> None:
    installation.play([FR2, Visit()])
    assert looks == []
    assert actual_raw(installation.warehouse) == expected_raw([FR1, FR2])


def test_a_run_that_failed_is_looked_for_until_it_is_repeated(
    installation: Installation, looks: list[str]
) -> None:
    installation.play([FR2, Visit("load commit"), Visit()])
    assert actual_raw(installation.warehouse) == expected_raw([FR1, FR2])
    assert looks == ["looked"]
    installation.visit()
    assert looks == ["looked"]


def test_a_lost_warehouse_is_noticed_and_built_again(
    installation: Installation, looks: list[str]
) -> None:
    installation.lose_warehouse()
    installation.visit()
    assert looks == ["looked"]
    assert actual_raw(installation.warehouse) == expected_raw([FR1])


def test_an_unreadable_note_counts_for_nothing(
    installation: Installation, looks: list[str]
) -> None:
    note = installation.platform.settings.dagster_home / "all_done.json"
    note.write_text("{", encoding="utf-8")
    installation.visit()
    assert looks == ["looked"]


def test_models_that_failed_are_repeated_together_and_raw_is_not_loaded_again(
    installation: Installation,
) -> None:
    # The run that repeats both covers the first day of both, on which no sales are missing.
    installation.play([FR2, members("FR", 1, {1: "Lyon"}, 3), Visit("before models")])
    loaded = last_written(installation, "raw/transactions")
    known = last_written(installation, "staging/stg_transactions")
    repeated, *_ = installation.visit().runs
    assert set(repeated.assets) == {
        "marts/dim_channel",
        "intermediate/int_crm_contacts",
        "marts/dim_customer",
        "marts/dim_geography",
        "marts/rpt_transactions_lifecycle",
        "staging/stg_customers",
        "staging/stg_transactions",
    }
    assert last_written(installation, "raw/transactions") == loaded
    written = last_written(installation, "staging/stg_transactions")
    new = {
        partition for partition, storage_id in written.items() if storage_id != known.get(partition)
    }
    assert new == {"FR|2025-01-02"}, "what was up to date is left alone"
    with duckdb.connect(str(installation.warehouse), read_only=True) as connection:
        days = connection.execute(
            "select batch_date from staging.stg_customers union all "
            "select batch_date from staging.stg_transactions order by all"
        ).fetchall()
    assert days == [(day(1),), (day(1),), (day(2),)]


def last_written(installation: Installation, asset: str) -> dict[str, int]:
    """Partition -> storage id of its newest materialization."""
    return dict(
        installation.instance.get_latest_storage_id_by_partition(
            dg.AssetKey(asset.split("/")), dg.DagsterEventType.ASSET_MATERIALIZATION
        )
    )
