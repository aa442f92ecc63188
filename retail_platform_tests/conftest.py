"""Fixtures that several test modules share; keep it small."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retail_platform.settings import Environment, Settings
from retail_platform_tests.builders import Desk, local_desk


@pytest.fixture(scope="session")
def dbt_work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where dbt keeps its parsed manifest: parsing costs seconds, so all tests share one."""
    return tmp_path_factory.mktemp("dbt")


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


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 server (moto) that speaks HTTP on this machine."""
    from moto.server import ThreadedMotoServer  # seconds to import, and few tests need it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables by which S3 clients find the server."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
