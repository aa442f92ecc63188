"""Dagster resources: the outside world behind small interfaces, chosen per environment.

Values only; connections open when an op asks for them.
"""

from functools import cache
from pathlib import Path

import dagster as dg

from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import Lake
from retail_platform.settings import PROJECT_DIR, Environment, Settings
from retail_platform.transform.dbt_project import DbtProject
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse


class LakeResource(dg.ConfigurableResource):
    """Where files arrive and everything derived from them is kept."""

    url: str

    def open(self) -> Lake:
        """The lake."""
        return Lake.open(self.url)


class DuckDBResource(dg.ConfigurableResource):
    """The embedded warehouse and the read-only copy of its marts."""

    path: str
    published: str

    def open(self) -> DuckDBWarehouse:
        """The warehouse."""
        return DuckDBWarehouse(Path(self.path))


class DbtResource(dg.ConfigurableResource):
    """The dbt project, warm for the life of the process."""

    project_dir: str
    work_dir: str
    target: str
    warehouse_path: str

    def project(self) -> DbtProject:
        """The project with its parsed manifest; the same object for the same settings."""
        return _project(self.project_dir, self.work_dir, self.target, self.warehouse_path)


@cache
def _project(project_dir: str, work_dir: str, target: str, warehouse_path: str) -> DbtProject:
    return DbtProject(
        Path(project_dir), Path(work_dir), target, {"RETAIL_DUCKDB_PATH": warehouse_path}
    )


def resources_for(settings: Settings) -> dict[str, dg.ConfigurableResource]:
    """The resource set of an environment; there is no fallback from one to another.

    Raises:
        ConfigurationError: the environment has no warehouse yet.
    """
    if settings.environment is not Environment.LOCAL:
        raise ConfigurationError(
            f"RETAIL_ENV={settings.environment.value}: the Snowflake warehouse is not part of this "
            "release; expected RETAIL_ENV=local."
        )
    return {
        "lake": LakeResource(url=settings.lake_url),
        "warehouse": DuckDBResource(
            path=str(settings.warehouse_path), published=str(settings.published_path)
        ),
        "dbt": DbtResource(
            project_dir=str(PROJECT_DIR / "dbt_project"),
            work_dir=str(settings.home / "dbt"),
            target="duckdb",
            warehouse_path=str(settings.warehouse_path),
        ),
    }
