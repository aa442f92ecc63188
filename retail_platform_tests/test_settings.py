"""Settings from the environment: defaults, and errors that name variable, value and remedy."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from retail_platform.errors import ConfigurationError
from retail_platform.settings import Environment, Settings


class TestFromEnvironment:
    def test_nothing_set_means_an_embedded_platform_in_this_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        home = tmp_path.resolve() / ".retail"
        found = Settings.from_env({})
        assert found == Settings(Environment.LOCAL, home, (home / "lake").as_uri())
        assert found.warehouse_path == home / "warehouse.duckdb"
        assert found.published_path == home / "published"
        assert found.dagster_home == home / "dagster"
        assert list(tmp_path.iterdir()) == []  # reading settings creates nothing

    def test_every_variable_is_used(self, tmp_path: Path) -> None:
        found = Settings.from_env(
            {
                "RETAIL_ENV": "prod",
                "RETAIL_HOME": str(tmp_path / "home with space"),
                "RETAIL_LAKE_URL": "s3://bucket/lake",
                "RETAIL_CONTRACTS_PATH": os.pathsep.join(
                    [str(tmp_path / "a"), "", str(tmp_path / "b")]
                ),
                "RETAIL_COUNTRIES_FILE": str(tmp_path / "c.yaml"),
                "RETAIL_FIRST_DAY": "2020-02-29",
                "RETAIL_LAST_DAY": "2020-03-31",
                "RETAIL_SETTLE_SECONDS": "0.5",
                "RETAIL_BACKLOG_PARTITIONS": "7",
                "RETAIL_KEEP_DAYS": "0.5",
                "RETAIL_KEEP_VERSIONS": "3",
            }
        )
        assert found == Settings(
            environment=Environment.PROD,
            home=tmp_path / "home with space",
            lake_url="s3://bucket/lake",
            contracts_paths=(tmp_path / "a", tmp_path / "b"),
            countries_file=tmp_path / "c.yaml",
            first_day=date(2020, 2, 29),
            last_day=date(2020, 3, 31),
            settle_seconds=0.5,
            backlog_partitions=7,
            keep_days=0.5,
            keep_versions=3,
        )

    def test_a_variable_that_is_set_to_nothing_is_not_set(self) -> None:
        empty = dict.fromkeys(
            (
                "RETAIL_HOME",
                "RETAIL_LAKE_URL",
                "RETAIL_CONTRACTS_PATH",
                "RETAIL_COUNTRIES_FILE",
                "RETAIL_FIRST_DAY",
                "RETAIL_LAST_DAY",
                "RETAIL_SETTLE_SECONDS",
                "RETAIL_BACKLOG_PARTITIONS",
                "RETAIL_KEEP_DAYS",
                "RETAIL_KEEP_VERSIONS",
            ),
            "",
        )
        assert Settings.from_env(empty) == Settings.from_env({})

    def test_a_tilde_is_the_home_of_the_user(self) -> None:
        assert Settings.from_env({"RETAIL_HOME": "~/retail"}).home == Path.home() / "retail"

    @pytest.mark.parametrize(
        ("variable", "value", "expected"),
        [
            ("RETAIL_ENV", "production", "expected one of: local, ci, prod"),
            ("RETAIL_ENV", "PROD", "expected one of: local, ci, prod"),
            ("RETAIL_ENV", "", "expected one of: local, ci, prod"),
            ("RETAIL_LAKE_URL", "/data/lake", "expected s3://bucket/prefix or file:///folder"),
            ("RETAIL_LAKE_URL", "ftp://host/lake", "expected s3://bucket/prefix"),
            ("RETAIL_LAKE_URL", "s3://", "expected s3://bucket/prefix"),
            ("RETAIL_FIRST_DAY", "yesterday", "expected a day like 2023-01-01"),
            ("RETAIL_FIRST_DAY", "2025-02-29", "expected a day"),
            ("RETAIL_LAST_DAY", "31.12.2025", "expected a day like"),
            ("RETAIL_SETTLE_SECONDS", "two", "expected a number"),
            ("RETAIL_SETTLE_SECONDS", "-1", "expected zero or more"),
            ("RETAIL_SETTLE_SECONDS", "nan", "expected zero or more"),
            ("RETAIL_BACKLOG_PARTITIONS", "inf", "expected zero or more"),
            ("RETAIL_CREDITS_PER_DAY", "-1", "expected zero or more"),
            ("RETAIL_CREDITS_PER_MONTH", "5", "nothing else bills credits; unset it"),
        ],
    )
    def test_a_wrong_value_is_named_with_what_is_right(
        self, variable: str, value: str, expected: str
    ) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings.from_env({variable: value})
        assert str(caught.value).startswith(f"{variable} is ")
        assert value in str(caught.value)
        assert expected in str(caught.value)

    def test_production_has_no_lake_by_default(self) -> None:
        with pytest.raises(ConfigurationError, match="RETAIL_LAKE_URL is not set"):
            Settings.from_env({"RETAIL_ENV": "prod"})

    def test_ci_is_production_on_emulators_and_never_on_a_real_account(self) -> None:
        given = {"RETAIL_ENV": "ci", "RETAIL_LAKE_URL": "s3://bucket/lake"}
        emulators = {"SNOWFLAKE_HOST": "127.0.0.1", "SNOWFLAKE_PORT": "8084"}
        settings = Settings.from_env({**given, **emulators, "SNOWFLAKE_PASSWORD": "anything"})
        assert settings.snowflake
        assert (settings.snowflake.host, settings.snowflake.database) == ("127.0.0.1", "RETAIL_CI")
        with pytest.raises(ConfigurationError, match=r"SNOWFLAKE_HOST is not set; .* make demo"):
            Settings.from_env({**given, "SNOWFLAKE_PASSWORD": "anything"})
        with pytest.raises(ConfigurationError, match="RETAIL_ENV=ci needs s3://bucket/prefix"):
            Settings.from_env({"RETAIL_ENV": "ci"})


def test_importing_the_package_reads_no_variable_and_touches_no_file(tmp_path: Path) -> None:
    """A wrong variable is reported by a command, not by an import."""
    modules = "settings contract countries partitions lake.store gate.gate warehouse.duckdb_file"
    code = "\n".join(f"import retail_platform.{m}" for m in modules.split())
    subprocess.run(
        [sys.executable, "-B", "-c", code],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "RETAIL_ENV": "nonsense", "RETAIL_HOME": str(tmp_path / "home")},
    )
    assert list(tmp_path.iterdir()) == []
