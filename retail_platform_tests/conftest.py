"""Fixtures that several test modules share; keep it small."""

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import chown, copytree, which
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from retail_platform.operate.in_process import collect_garbage_seldom
from retail_platform.settings import (
    PROJECT_DIR,
    Environment,
    Settings,
    SnowflakeAccount,
)
from retail_platform.transform.dbt_project import DbtProject
from retail_platform.transform.dbt_shortcuts import take_shortcuts
from retail_platform_tests.builders import Desk, local_desk
from retail_platform_tests.emulators import (
    s3_server,
    s3_variables,
    snowflake_server,
    snowflake_variables,
)
from retail_platform_tests.mailbox import Mailbox
from retail_platform_tests.webhook import Webhook

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

    from retail_platform_tests.dbt_warehouse import Warehouse
    from retail_platform_tests.emulated_cloud import Cloud

_LONGEST = (
    *("test_ui", "test_crash_safety", "test_convergence", "test_benchmarks_smoke"),
    "test_snowflake_parity",
)
"""Modules that take minutes. They wait for processes and disks as much as they compute, which is
why the suite runs in more processes than there are cores."""


_SECONDS_ON_EMULATORS = 7_200
"""A test may take as long there: a statement is a hundred times the work that it is to DuckDB."""


_ON_DUCKDB = {
    "warehouse": "models worked out by hand, in dbt alone; test_snowflake_parity compares",
}
"""Fixtures whose tests are of the embedded engine, and why."""


def on_emulators() -> bool:
    """Whether installations of tests live on emulators of S3 and Snowflake."""
    return os.environ.get("RETAIL_ENV") == Environment.CI.value


def pytest_report_header() -> list[str]:
    """Said first, and not in the middle of thousands of dots."""
    if not on_emulators():
        return []
    return [
        "RETAIL_ENV=ci: installations live on emulators of S3 and Snowflake. Tests marked "
        "`embedded` are left out; their marks say why."
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what does not apply; the longest modules begin.

    So no process is left with one of them at the end.
    """
    for item in items:
        for name in _ON_DUCKDB.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.embedded(_ON_DUCKDB[name]))
    if on_emulators():
        embedded = [item for item in items if item.get_closest_marker("embedded")]
        config.hook.pytest_deselected(items=embedded)
        items[:] = [item for item in items if item not in embedded]
        for item in items:
            item.add_marker(pytest.mark.timeout(_SECONDS_ON_EMULATORS), append=False)
    rank = {name: n for n, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def pytest_configure() -> None:
    """As the foreground commands do."""
    collect_garbage_seldom()


@pytest.fixture(scope="session")
def dbt_work_dir(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Where dbt keeps its parsed manifest: parsing costs seconds, so all tests share one."""
    mine = tmp_path_factory.mktemp("dbt")
    if worker_id == "master":
        return mine
    # The processes of the suite have their folders below the same one. One of them parses there.
    parsed = tmp_path_factory.getbasetemp().parent / "dbt"
    _parsed_project(parsed)
    return Path(copytree(parsed, mine, dirs_exist_ok=True))


@pytest.fixture(scope="session")
def manifest(dbt_work_dir: Path) -> "Manifest":
    """The dbt project, for tests that run dbt without the platform."""
    take_shortcuts()
    return _parsed_project(dbt_work_dir).parsed()


def _parsed_project(work_dir: Path) -> DbtProject:
    """Of our own project dbt has nothing to warn of; users' may have."""
    variables = {"RETAIL_DUCKDB_PATH": "warehouse.duckdb"}
    project = DbtProject(PROJECT_DIR / "dbt_project", work_dir, "duckdb", variables)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_WARN_ERROR", "1")
        project.ensure_parsed()
    return project


@pytest.fixture
def warehouse(tmp_path: Path, manifest: "Manifest") -> Iterator["Warehouse"]:
    """RAW tables without rows, and dbt on them."""
    from retail_platform_tests.dbt_warehouse import Warehouse

    warehouse = Warehouse(tmp_path, manifest)
    warehouse.create_raw()
    yield warehouse
    warehouse.close()


@pytest.fixture(scope="module")
def no_data_tests() -> Iterator[None]:
    """Data tests of dbt change nothing, and would take a third of the time of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DbtProject, "test", lambda *_: [])
        yield


@pytest.fixture
def platform_home(tmp_path: Path) -> Path:
    """RETAIL_HOME of a test."""
    return tmp_path / "home"


@pytest.fixture
def settings(platform_home: Path) -> Settings:
    """Settings of an embedded platform below a temporary folder."""
    return Settings(
        environment=Environment.LOCAL,
        home=platform_home,
        lake_url=(platform_home / "lake").as_uri(),
        settle_seconds=0,
    )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk over a new local lake and warehouse."""
    return local_desk(tmp_path)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A web server that takes JSON, or refuses it."""
    hook = Webhook()
    yield hook
    hook.stop()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A mail server that takes mails, or refuses them."""
    box = Mailbox()
    yield box
    box.stop()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 server (moto) that speaks HTTP on this machine."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def s3_environment(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables by which S3 clients find the server."""
    for name, value in s3_variables(s3_endpoint).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def account(
    s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SnowflakeAccount]:
    """An emulated account; it can read every bucket of the S3 server."""
    log = tmp_path_factory.mktemp("snowflake") / "server.log"
    with snowflake_server(s3_endpoint, log) as emulated:
        yield emulated


@pytest.fixture(scope="session")
def cloud(
    s3_endpoint: str,
    account: SnowflakeAccount,
    dbt_work_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> "Cloud":
    """Emulators that an installation can live on."""
    from retail_platform_tests.emulated_cloud import Cloud  # imports Snowflake's connector

    work_dir = tmp_path_factory.mktemp("cloud") / "dbt"
    # Where the project on Snowflake looks for column lineage, which took seconds to compute.
    copytree(dbt_work_dir, work_dir / "duckdb")
    variables = {**s3_variables(s3_endpoint), **snowflake_variables(account)}
    return Cloud(replace(account, database="RETAIL_CLOUD"), variables, work_dir)


@pytest.fixture(scope="session", autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Installations live on emulators where RETAIL_ENV is ci; nothing else asks for it."""
    if not on_emulators():
        yield
        return
    from retail_platform_tests.histories import living_in  # imports the whole platform

    cloud = request.getfixturevalue("cloud")
    with living_in(cloud), pytest.MonkeyPatch.context() as patch:
        patch.delenv("RETAIL_ENV")
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A server on the loopback interface, gone afterwards; its URL without a database."""
    pytest.importorskip("dagster_postgres", reason="dagster-postgres is not installed")
    # Debian keeps the programs of the server out of PATH.
    debian = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    path = os.pathsep.join([os.environ["PATH"], *debian])
    initdb, pg_ctl = which("initdb", path=path), which("pg_ctl", path=path)
    if initdb is None or pg_ctl is None:
        pytest.skip("no PostgreSQL server found (Debian: apt-get install postgresql)")
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with TemporaryDirectory(prefix="postgres") as directory:
        if user:
            chown(directory, user)
        data, log = f"{directory}/data", f"{directory}/log"
        options = f"-h 127.0.0.1 -p {port} -k {directory} -c fsync=off"
        run = partial(subprocess.run, check=True, capture_output=True, user=user, cwd=directory)
        run([initdb, "-D", data, "-A", "trust", "-U", "dagster", "--no-sync"])
        run([pg_ctl, "-D", data, "-l", log, "-o", options, "-w", "start"])
        try:
            yield f"postgresql+psycopg2://dagster@127.0.0.1:{port}/"
        finally:
            run([pg_ctl, "-D", data, "-m", "immediate", "-w", "stop"])
