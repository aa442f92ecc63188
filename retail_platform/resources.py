"""Dagster resources: the outside world behind small interfaces, chosen per environment.

Values only; connections open when an op asks for them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import Lake
from retail_platform.protection.keys import DataKeys, KeyProvider, open_keys
from retail_platform.protection.kms import KmsKey
from retail_platform.protection.local import LocalMasterKey
from retail_platform.settings import PROJECT_DIR, Engine, Environment, Settings, SnowflakeAccount
from retail_platform.transform.dbt_project import DbtProject
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.protocol import Warehouse
from retail_platform.warehouse.versions import Retention


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


class WarehouseResource(dg.ConfigurableResource, ABC):
    """RAW, ledger and marts, on whichever engine."""

    @abstractmethod
    def open(self) -> Warehouse:
        """The warehouse; it connects when it is used."""


class DuckDBResource(WarehouseResource):
    """The embedded warehouse and the read-only copy of its marts."""

    path: str
    published: str
    keep_days: float = Retention.days
    keep_versions: int = Retention.versions

    def open(self) -> DuckDBWarehouse:
        """The warehouse."""
        retention = Retention(self.keep_days, self.keep_versions)
        return DuckDBWarehouse(Path(self.path), published=Path(self.published), retention=retention)


class SnowflakeWarehouseResource(WarehouseResource):
    """A database on Snowflake. Secrets are no fields: Dagster shows fields in its UI."""

    account: dict[str, Any]
    environment: str
    _run_id: str = PrivateAttr(default="")

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remember whose statements these will be."""
        self._run_id = context.run_id or ""

    def open(self) -> Warehouse:
        """The warehouse."""
        from retail_platform.warehouse.snowflake import SnowflakeWarehouse  # noqa: PLC0415

        return SnowflakeWarehouse(SnowflakeAccount(**self.account), self.environment, self._run_id)


def warehouse_resource(settings: Settings) -> WarehouseResource:
    """The warehouse of an installation; the one place that chooses the engine.

    Raises:
        ConfigurationError: another environment than `local` on the embedded warehouse.
    """
    if settings.snowflake:
        return SnowflakeWarehouseResource(
            account=asdict(settings.snowflake), environment=settings.environment.value
        )
    if settings.environment is not Environment.LOCAL:
        raise ConfigurationError(
            f"RETAIL_ENV={settings.environment.value}: RETAIL_WAREHOUSE is 'duckdb', the embedded "
            "warehouse; expected RETAIL_ENV=local, or RETAIL_WAREHOUSE=snowflake."
        )
    return DuckDBResource(
        path=str(settings.warehouse_path),
        published=str(settings.published_path),
        keep_days=settings.keep_days,
        keep_versions=settings.keep_versions,
    )


class DbtResource(dg.ConfigurableResource):
    """The dbt project, warm for the life of the process.

    Attributes:
        target: engine, as profiles.yml calls it.
        variables: what profiles.yml reads from the environment, secrets excepted.
    """

    project_dir: str
    work_dir: str
    target: str
    variables: dict[str, str]

    def project(self) -> DbtProject:
        """The project with its parsed manifest; the same object for the same settings."""
        variables = tuple(sorted(self.variables.items()))
        return _project(self.project_dir, self.work_dir, self.target, variables)


@cache
def _project(
    project_dir: str, work_dir: str, target: str, variables: tuple[tuple[str, str], ...]
) -> DbtProject:
    return DbtProject(Path(project_dir), Path(work_dir), target, dict(variables), _SECRETS[target])


def _secrets_of_snowflake() -> Mapping[str, str]:
    from retail_platform.warehouse.snowflake_account import dbt_secrets  # noqa: PLC0415

    return dbt_secrets()


_SECRETS: dict[str, Callable[[], Mapping[str, str]]] = {
    Engine.DUCKDB.value: dict,
    Engine.SNOWFLAKE.value: _secrets_of_snowflake,
}


def dbt_resource(settings: Settings) -> DbtResource:
    """The dbt project on the warehouse of an installation."""
    variables = {"RETAIL_DUCKDB_PATH": str(settings.warehouse_path)}
    if settings.snowflake:
        variables = {
            "RETAIL_ENV": settings.environment.value,
            **{
                f"SNOWFLAKE_{name.upper()}": str(value)
                for name, value in asdict(settings.snowflake).items()
            },
        }
    return DbtResource(
        project_dir=str(PROJECT_DIR / "dbt_project"),
        work_dir=str(settings.home / "dbt"),
        target=settings.engine.value,
        variables=variables,
    )


def resources_for(settings: Settings) -> dict[str, dg.ConfigurableResource]:
    """The resource set of an environment; there is no fallback from one to another.

    Raises:
        ConfigurationError: production on the embedded warehouse.
    """
    return {
        "lake": LakeResource(url=settings.lake_url),
        "keys": keys_resource(settings),
        "warehouse": warehouse_resource(settings),
        "dbt": dbt_resource(settings),
    }
