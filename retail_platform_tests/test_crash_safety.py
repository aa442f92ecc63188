"""Crash safety: a `retail run` is killed at every step, the next ones finish what it began.

Each command is a process of its own, forked from one that has the imports done, and dies by SIGKILL
at a point of the commit protocol, of the RAW transaction, inside dbt or before events are recorded;
once in the run over global feeds, once in a run over countries. Others are interrupted by Ctrl-C.
"""

import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from retail_platform.countries import ALL
from retail_platform.lake.manifest import Manifest
from retail_platform.lake.store import INBOX, MANIFESTS, Lake
from retail_platform.operate.foreground import ForegroundRunner
from retail_platform.operate.in_process import collect_garbage_seldom
from retail_platform.operate.instance import open_instance
from retail_platform.partitions import RANGE_START_TAG, Partition, Scope
from retail_platform.settings import PROJECT_DIR
from retail_platform.transform.dbt_project import DbtProject
from retail_platform_tests.histories import (
    COUNTRIES,
    FAULTS,
    actual_raw,
    articles,
    differences,
    expected_raw,
    faults,
    members,
    order_pages,
    put,
    rates,
    rebuilt_from_scratch,
    sales,
    small_platform,
    stock_changes,
    till_events,
    unpublished,
)

pytestmark = pytest.mark.embedded(
    "copies homes with lake and warehouse in them; test_snowflake_loads kills loads on Snowflake"
)

KNOWN = [
    *(sales(c, n, [(n, 1, 1), (n, 2, 2)], n) for c in COUNTRIES for n in (1, 2)),
    *(rates(n, 7, n) for n in (1, 2)),
    members("FR", 2, {1: "Lyon", 2: "Nice"}, 2),
    order_pages("FR", 2, [(2, 1, 1, 10), (2, 2, 1, 20)], 2),
    stock_changes("CN", 2, [("U", 1, 20, 5)], 2),
    articles(4, {1: "Feminine", 2: "Masculine"}, 4),
]
NEW = [
    sales("FR", 2, [(2, 1, 3), (2, 3, 0)], 10),  # a correction, with a row for the quarantine
    sales("FR", 10, [(10, 1, 1), (9, 1, 1), (1, 9, 1)], 11),  # late, and beyond the lookback
    sales("CN", 3, [(3, 1, 1), (3, 1, 1)], 12),  # a row twice
    rates(2, 8, 13),
    articles(3, {1: "Children"}, 15),  # older than what is known
    till_events("FR", 3, [(3, 1, 5, 1), (3, 1, 6, 2)], 16, "-a"),
    order_pages("FR", 2, [(2, 1, 5, 11)], 17),  # a correction that takes an order away
    stock_changes("CN", 1, [("L", 1, 10, 9), ("L", 2, 10, 9)], 18),  # a full load, late
]


_SLOW_IMPORTS = [
    "retail_platform_tests.histories",
    "retail_platform.event_log",
    "open_data_contract_standard.model",
    "dagster_dbt",
    "dbt.cli.main",
    "dbt.adapters.duckdb",
    "dbt.adapters.duckdb.environments.local",
    "dbt.task.run",
    "holidays.financial",
    "pandera.backends.polars.register",
    "pandera.backends.polars.builtin_checks",
    "pyarrow.compute",
    "upath.core",
]
"""Done once, in the process that is forked. polars may be imported there, not used: its threads do
not go along."""


def run_until_idle(
    home: Path, dbt_work_dir: Path, dies_at: str | None, scope: Scope, by: signal.Signals
) -> None:
    """What the process does: `retail run`, with a sudden end."""

    def die() -> None:
        (run,) = instance.get_runs(limit=1)
        of_all = Partition.parse(run.tags[RANGE_START_TAG]).country == ALL
        if of_all == (scope is Scope.GLOBAL):
            os.kill(os.getpid(), by)

    collect_garbage_seldom()  # as the command does
    DbtProject.test = lambda *_: []  # type: ignore[method-assign] - slow, and changes nothing
    platform = small_platform(home, dbt_work_dir)
    with open_instance(platform.settings) as instance, faults(dies_at, 0, die):
        lake = Lake.open(platform.settings.lake_url)
        outcome = ForegroundRunner(platform, instance, lake).run_until_idle()
    assert outcome.green, outcome


def command(
    home: Path,
    dbt_work_dir: Path,
    dies_at: str | None = None,
    scope: Scope = Scope.COUNTRY,
    by: signal.Signals = signal.SIGKILL,
) -> int:
    """Exit code of one command.

    Args:
        dies_at: one of `FAULTS`.
        scope: kind of run in which it dies there.
        by: signal that it dies by, or has to live with.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_SLOW_IMPORTS)
    process = context.Process(target=run_until_idle, args=(home, dbt_work_dir, dies_at, scope, by))
    process.start()
    process.join(timeout=300)
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture(scope="module")
def loaded_home(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path) -> Path:
    """An installation that has taken in the known files; the new ones lie in its inbox."""
    home = tmp_path_factory.mktemp("loaded")
    lake = Lake.open((home / "lake").as_uri())
    for delivery in KNOWN:
        put(lake, delivery)
    assert command(home, dbt_work_dir) == 0
    for delivery in NEW:
        put(lake, delivery)
    return home


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path, loaded_home: Path
) -> Path:
    """The warehouse that the same files make when nothing happens."""
    scratch = tmp_path_factory.mktemp("scratch")
    dbt = DbtProject(
        PROJECT_DIR / "dbt_project",
        dbt_work_dir,
        "duckdb",
        {"RETAIL_DUCKDB_PATH": str(scratch / "warehouse.duckdb")},
    )
    platform = small_platform(loaded_home, dbt_work_dir)
    return rebuilt_from_scratch(scratch, [*KNOWN, *NEW], platform, dbt)


CHAINS = [FAULTS[n::2] for n in range(2)]


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("points", CHAINS, ids=", ".join)
def test_commands_killed_one_after_the_other_lose_nothing_and_double_nothing(
    tmp_path: Path,
    dbt_work_dir: Path,
    loaded_home: Path,
    undisturbed: Path,
    points: list[str],
    scope: Scope,
) -> None:
    home = tmp_path / "home"
    shutil.copytree(loaded_home, home)  # keeps the delivery times
    for point in points:
        code = command(home, dbt_work_dir, point, scope)
        assert code == -signal.SIGKILL, f"{point} was not reached"
        assert_nothing_is_half_done(home)
    assert command(home, dbt_work_dir) == 0
    assert_ends_like(undisturbed, home)


def test_commands_that_are_interrupted_lose_nothing_and_double_nothing(
    tmp_path: Path, dbt_work_dir: Path, loaded_home: Path, undisturbed: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(loaded_home, home)
    # What Ctrl-C sends, and what a service manager sends. Both come again and again.
    for point, by in (("batch-day events", signal.SIGINT), ("load commit", signal.SIGTERM)):
        before = statuses(home, dbt_work_dir)
        assert command(home, dbt_work_dir, point, by=by) != 0
        assert_nothing_is_half_done(home)
        ended = statuses(home, dbt_work_dir)[len(before) :]
        assert [status.name for status in ended].index("FAILURE") == len(ended) - 1, "it went on"
    assert command(home, dbt_work_dir) == 0
    assert_ends_like(undisturbed, home)


def statuses(home: Path, dbt_work_dir: Path) -> list[dg.DagsterRunStatus]:
    """How the runs of an installation ended, the oldest first."""
    with open_instance(small_platform(home, dbt_work_dir).settings) as instance:
        return [run.status for run in reversed(instance.get_runs())]


def assert_ends_like(undisturbed: Path, home: Path) -> None:
    """Everything is what it would be if nothing had happened."""
    assert actual_raw(home / "warehouse.duckdb") == expected_raw([*KNOWN, *NEW])
    assert_ledger_adds_up(home / "warehouse.duckdb")
    assert "\n".join(differences(home / "warehouse.duckdb", undisturbed)) == ""
    assert "\n".join(unpublished(home / "published", home / "warehouse.duckdb")) == ""


def assert_nothing_is_half_done(home: Path) -> None:
    """Right after a crash: every file is somewhere, every RAW partition is old or new, not half."""
    lake = Lake.open((home / "lake").as_uri())
    known = {
        (facts.name, facts.checksum)
        for obj in lake.list(MANIFESTS)
        for facts in Manifest.model_validate_json(lake.get(obj.path)).files.values()
    }
    waiting = {obj.path.removeprefix(INBOX) for obj in lake.list(INBOX)}
    assert {d.name for d in NEW} <= waiting | {name for name, _ in known}
    assert_ledger_adds_up(home / "warehouse.duckdb")
    before, after = expected_raw(KNOWN), expected_raw([*KNOWN, *NEW])
    for feed, rows in actual_raw(home / "warehouse.duckdb").items():
        for partition in {row[:2] for row in rows}:
            found = [row for row in rows if row[:2] == partition]
            assert found in (
                [row for row in version.get(feed, []) if row[:2] == partition]
                for version in (before, after)
            ), (feed, partition)


def assert_ledger_adds_up(warehouse: Path) -> None:
    """Per file: rows in = loaded + quarantined + duplicate, and RAW holds the loaded ones."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        ledger = connection.execute(
            "select feed, file_id, country, state, rows_in, rows_loaded, rows_quarantined, "
            "rows_duplicate from raw.file_ledger order by all"
        ).fetchall()
        in_raw = {
            (feed, *key): count
            for feed in {row[0] for row in ledger}
            for *key, count in connection.execute(
                f"select _file_id, _country, count(*) from raw.{feed} group by all"
            ).fetchall()
        }
    assert ledger
    for *_, rows_in, loaded, quarantined, duplicate in ledger:
        assert rows_in == loaded + quarantined + duplicate
    counted = {(f, i, c): loaded for f, i, c, s, _, loaded, *_ in ledger if s == "loaded"}
    assert {key: count for key, count in counted.items() if count} == in_raw
