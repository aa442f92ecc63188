"""Migrations on their way into an account: schemachange decides what is new and keeps the history.

It is used as a library: its command would want keys in files and in the environment.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from retail_platform.errors import ConfigurationError, WarehouseBusy
from retail_platform.operate.account.scripts import MIGRATIONS, Rendered
from retail_platform.settings import SnowflakeAccount
from retail_platform.warehouse.snowflake_account import connector_credential, endpoint

HISTORY = "governance.setup_history"
_APPLICATION = "retail_platform"
_LOGIN_SECONDS, _ANSWER_SECONDS = 30, 120


@dataclass(frozen=True)
class Deployment:
    """What was applied, or would be; names of scripts in order."""

    applied: tuple[str, ...]
    unchanged: tuple[str, ...]


def deploy(rendered: Rendered, account: SnowflakeAccount, *, dry_run: bool) -> Deployment:
    """Apply migrations that the account has not seen, or not as they are now.

    Args:
        account: its role, database and warehouse are those of the set-up.
        dry_run: say only which; nothing is changed.

    Raises:
        ConfigurationError: schemachange is not installed, the log-in is refused, or a statement
            is; scripts before it are applied and remembered.
        WarehouseBusy: Snowflake does not answer.
    """
    try:
        from schemachange.config.ChangeHistoryTable import ChangeHistoryTable  # noqa: PLC0415
        from schemachange.config.DeployConfig import DeployConfig  # noqa: PLC0415
        from schemachange.deploy import deploy as apply  # noqa: PLC0415
        from schemachange.ScriptExecutionError import ScriptExecutionError  # noqa: PLC0415
    except ImportError as exc:
        raise ConfigurationError(
            "schemachange is not installed; pip install -e '.[snowflake-setup]'."
        ) from exc
    from snowflake.connector.errors import Error, OperationalError  # noqa: PLC0415

    history = ChangeHistoryTable.from_str(f"{account.database}.{HISTORY}")
    with TemporaryDirectory(prefix="snowflake-setup-") as folder, _quiet():
        rendered.write(Path(folder))
        config = DeployConfig.factory(
            config_file_path=Path(folder),
            root_folder=str(Path(folder) / MIGRATIONS),
            change_history_table=history.fully_qualified,
            create_change_history_table=True,
            raise_exception_on_ignored_versioned_script=True,
            dry_run=dry_run,
        )
        try:
            session = _session(account, history)
            try:
                apply(config, session)
            finally:
                session.con.close()
        except ScriptExecutionError as exc:
            raise ConfigurationError(
                f"{exc.script_name}: {_words(exc.error_message)} Scripts before it are applied; "
                "correct it and apply again."
            ) from exc
        except OperationalError as exc:
            raise WarehouseBusy(
                f"Snowflake account {account.account} does not answer: {_words(exc)}"
            ) from exc
        except (Error, ValueError) as exc:
            raise ConfigurationError(
                f"User {account.user} cannot work as role {account.role} in database "
                f"{account.database} of account {account.account}: {_words(exc)} Has ACCOUNTADMIN "
                "run accountadmin_first.sql?"
            ) from exc
    applied: tuple[str, ...] = tuple(session.applied)
    return Deployment(applied, tuple(n for n in rendered.migrations if n not in applied))


def _session(account: SnowflakeAccount, history: Any) -> Any:
    from importlib.metadata import version  # noqa: PLC0415

    import structlog  # noqa: PLC0415
    from schemachange.session.SnowflakeSession import SnowflakeSession  # noqa: PLC0415

    class Session(SnowflakeSession):
        """Remembers which scripts it was given; in a dry run it is given them as well."""

        def __init__(self, **arguments: Any) -> None:
            self.applied: list[str] = []
            super().__init__(**arguments)

        def apply_change_script(self, script: Any, *arguments: Any, **options: Any) -> None:
            super().apply_change_script(script, *arguments, **options)
            self.applied.append(script.name)

    secrets = connector_credential()
    return Session(
        schemachange_version=version("schemachange"),
        application=_APPLICATION,
        logger=structlog.get_logger(),
        change_history_table=history,
        account=account.account,
        user=account.user,
        role=account.role,
        warehouse=account.warehouse,
        database=account.database,
        password=secrets.pop("password", None),
        additional_snowflake_params={
            **endpoint(account),
            **secrets,
            "login_timeout": _LOGIN_SECONDS,
            "network_timeout": _ANSWER_SECONDS,
        },
        session_parameters={"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Its log would repeat, line by line, what the result says, and at `debug` keys as well."""
    import structlog  # noqa: PLC0415

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.reset_defaults()


def _words(said: Any) -> str:
    text = " ".join(str(said).split())
    return text if text.endswith(".") else f"{text}."
