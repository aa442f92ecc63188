"""Dagster resources: the outside world behind small interfaces, chosen per environment.

Values only; connections open when an op asks for them.
"""

from functools import cache
from pathlib import Path

import dagster as dg

from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import Lake
from retail_platform.protection.keys import DataKeys, KeyProvider, open_keys
from retail_platform.protection.kms import KmsKey
from retail_platform.protection.local import LocalMasterKey
from retail_platform.settings import PROJECT_DIR, Environment, Settings
from retail_platform.transform.dbt_project import DbtProject
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse


class LakeResource(dg.ConfigurableResource):
    """Where files arrive and everything derived from them is kept."""

    url: str

    def open(self) -> Lake:
        """The lake."""
        return Lake.open(self.url)


class KeysResource(dg.ConfigurableResource):
    """Keys of personal data: wrapped in the lake, unwrapped by KMS or a file of this machine."""

    kms_key_id: str
    master_key_path: str

    def provider(self) -> KeyProvider:
        """Who wraps and unwraps; the same object for the same settings."""
        return _provider(self.kms_key_id, self.master_key_path)

    def open(self, lake: Lake) -> DataKeys:
        """The data keys of a lake; see `open_keys`."""
        return open_keys(lake, self.provider(), make=True)


@cache
def _provider(kms_key_id: str, master_key_path: str) -> KeyProvider:
    return KmsKey(kms_key_id) if kms_key_id else LocalMasterKey(Path(master_key_path))


def keys_resource(settings: Settings) -> KeysResource:
    """Keys of an installation, also for commands that need nothing else of it."""
    return KeysResource(
        kms_key_id=settings.kms_key_id, master_key_path=str(settings.master_key_path)
    )


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
        "keys": keys_resource(settings),
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
