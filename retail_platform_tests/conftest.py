"""Fixtures that several test modules share; keep it small."""

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
