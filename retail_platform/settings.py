"""Settings: the only place that reads environment variables.

Everything else receives a `Settings` value. Nothing here touches disk or network.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from pathlib import Path

from retail_platform.errors import ConfigurationError

PACKAGE_DIR = Path(__file__).resolve().parent
PROJECT_DIR = PACKAGE_DIR.parent


class Environment(StrEnum):
    """Where the platform runs. There is no fallback: an unknown name is an error."""

    LOCAL = "local"
    CI = "ci"
    PROD = "prod"


class Engine(StrEnum):
    """Which warehouse holds RAW and the marts. The lake is the same under both."""

    DUCKDB = "duckdb"
    SNOWFLAKE = "snowflake"


@dataclass(frozen=True)
class SnowflakeAccount:
    """Where on Snowflake an installation works, and as whom. Secrets are not part of it.

    Attributes:
        warehouse: compute of loads and of what a person asks.
        transform_warehouse: compute of models; empty where it is that of loads.
        stage: external stage whose URL is the root of the lake, as ``schema.stage``.
        host, port, protocol: set for private links and emulators only.
    """

    account: str
    user: str
    role: str
    database: str
    warehouse: str
    stage: str = "raw.lake"
    transform_warehouse: str = ""
    host: str = ""
    port: int = 0
    protocol: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "SnowflakeAccount":
        """Read the `SNOWFLAKE_*` variables.

        Raises:
            ConfigurationError: naming the variable, what it holds and what it may hold.
        """
        given = {f.name: env.get(f"SNOWFLAKE_{f.name.upper()}", "").strip() for f in fields(cls)}
        needed = ("account", "user", "role", "database", "warehouse")
        missing = [f"SNOWFLAKE_{name.upper()}" for name in needed if not given[name]]
        if missing:
            raise ConfigurationError(
                f"RETAIL_WAREHOUSE is 'snowflake', but not set: {', '.join(missing)}."
            )
        stage = given["stage"] or cls.stage
        # These become part of statements.
        for name, value, expected in (
            ("SNOWFLAKE_DATABASE", given["database"], r"[A-Za-z_][A-Za-z0-9_]*"),
            ("SNOWFLAKE_WAREHOUSE", given["warehouse"], r"[A-Za-z_][A-Za-z0-9_$]*"),
            (
                "SNOWFLAKE_TRANSFORM_WAREHOUSE",
                given["transform_warehouse"],
                r"([A-Za-z_][A-Za-z0-9_$]*)?",
            ),
            ("SNOWFLAKE_STAGE", stage, r"[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*"),
        ):
            if not re.fullmatch(expected, value):
                shape = "schema.stage" if "STAGE" in name else "a name"
                raise ConfigurationError(
                    f"{name} is {value!r}; expected {shape} of letters, digits and underscores."
                )
        if given["protocol"] not in ("", "http", "https"):
            raise ConfigurationError(
                f"SNOWFLAKE_PROTOCOL is {given['protocol']!r}; expected http or https."
            )
        if not re.fullmatch(r"\d{0,5}", given["port"]):
            raise ConfigurationError(
                f"SNOWFLAKE_PORT is {given['port']!r}; expected a number like 443."
            )
        _one_credential(env)
        read = {**given, "stage": stage, "port": int(given["port"] or 0)}
        return cls(**read)  # type: ignore[arg-type]

    @property
    def compute_of_models(self) -> str:
        """The warehouse on which models are built."""
        return self.transform_warehouse or self.warehouse


def has_snowflake_account() -> bool:
    """Whether an account is named at all; its set-up can be looked at without."""
    return bool(os.environ.get("SNOWFLAKE_ACCOUNT"))


def snowflake_setup_account(name: str) -> SnowflakeAccount:
    """The account as its set-up sees it, with the names that the set-up gives.

    Args:
        name: of database and roles, as ``retail_prod``.

    Raises:
        ConfigurationError: SNOWFLAKE_ACCOUNT or what the user is known by is missing or wrong.
    """
    if not has_snowflake_account():
        raise ConfigurationError(
            "SNOWFLAKE_ACCOUNT is not set; expected <organisation>-<account>, beside "
            f"SNOWFLAKE_PRIVATE_KEY_PATH of user {name}_setup."
        )
    given = {
        "SNOWFLAKE_USER": f"{name}_setup",
        **os.environ,
        "SNOWFLAKE_ROLE": f"{name}_setup",
        "SNOWFLAKE_DATABASE": name,
        "SNOWFLAKE_WAREHOUSE": f"{name}_load",
    }
    return SnowflakeAccount.from_env(given)


_CREDENTIALS = ("SNOWFLAKE_PRIVATE_KEY_PATH", "SNOWFLAKE_PRIVATE_KEY", "SNOWFLAKE_PASSWORD")


def _one_credential(env: Mapping[str, str]) -> str:
    """Name of the variable that holds what the user is known by."""
    found = [name for name in _CREDENTIALS if env.get(name) or env.get(f"{name}_SECRET")]
    if len(found) != 1:
        raise ConfigurationError(
            f"{' and '.join(found) or 'None'} of {', '.join(_CREDENTIALS)} is set; expected "
            "exactly one: the path of a private key, the key itself (PEM, or base64 of it), or, "
            "for emulators, a password. Of the latter two, _SECRET with the ARN or name of a "
            "secret of AWS Secrets Manager may be set instead."
        )
    return found[0]


def snowflake_credential(secret: Callable[[str], str]) -> dict[str, str]:
    """What the user is known by, as dagster-snowflake names it; read when a connection opens.

    Args:
        secret: value of a variable, or of the secret that stands for it.

    Raises:
        ConfigurationError: none or several are set, or the key file is not there.
    """
    name = _one_credential(os.environ)
    value = secret(name)
    if name == "SNOWFLAKE_PASSWORD":
        return {"password": value}
    if name == "SNOWFLAKE_PRIVATE_KEY_PATH" and not Path(value).is_file():
        raise ConfigurationError(
            f"SNOWFLAKE_PRIVATE_KEY_PATH is {value!r}, where no file is; expected the private key "
            "(PEM, PKCS #8) whose public key ALTER USER ... SET RSA_PUBLIC_KEY has been given."
        )
    phrase = "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"
    key = {name.removeprefix("SNOWFLAKE_").lower(): value}
    if not (given(phrase) or secret_reference(phrase)):
        return key
    return {**key, "private_key_password": secret(phrase)}


@dataclass(frozen=True)
class Settings:
    """Everything that differs between two installations.

    Attributes:
        environment: `local` (embedded: folder + DuckDB), `prod`, or `ci` (what runs in production,
            on emulators).
        home: folder of everything mutable on this machine.
        lake_url: root of the lake; an address with file:, s3:, gs:, az: or abfss:.
        contracts_paths: folders with additional feed contracts.
        countries_file: registry that replaces the shipped one.
        sources_file: services and databases that are pulled; nothing is pulled without it.
        first_day: first day that can be a partition.
        last_day: last such day, for a closed period; None goes on with the calendar.
        settle_seconds: a local file younger than this may still be being written and is left alone.
        queue_url: SQS queue that tells about new objects; empty means the inbox is listed instead.
        sweep_seconds: with a queue, how often the inbox is listed nevertheless, for messages that
            were lost.
        kms_key_id: AWS KMS key that guards the keys of personal data; empty means a file in `home`.
        backlog_partitions: more arrived partitions than this in one tick are run as ranges at once.
        alerts_file: who is told what; None tells the log only.
        credits_per_day, credits_per_month: budgets of compute on Snowflake; 0 means none.
        ui_url: where people reach the UI, for links in alerts; without a slash at the end.
        snowflake: the warehouse, unless it is the embedded one.
        keep_days: for how long what readers of the embedded warehouse saw can still be asked for.
        keep_versions: as many of its newest versions are kept, however old.
    """

    environment: Environment
    home: Path
    lake_url: str
    contracts_paths: tuple[Path, ...] = ()
    countries_file: Path | None = None
    sources_file: Path | None = None
    first_day: date = date(2023, 1, 1)
    last_day: date | None = None
    settle_seconds: float = 2.0
    queue_url: str = ""
    sweep_seconds: float = 300.0
    backlog_partitions: int = 60
    alerts_file: Path | None = None
    ui_url: str = "http://127.0.0.1:3000"
    kms_key_id: str = ""
    credits_per_day: float = 0.0
    credits_per_month: float = 0.0
    snowflake: SnowflakeAccount | None = None
    keep_days: float = 7.0
    keep_versions: int = 10

    @property
    def engine(self) -> Engine:
        """Which warehouse it is."""
        return Engine.SNOWFLAKE if self.snowflake else Engine.DUCKDB

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file of the embedded warehouse."""
        return self.home / "warehouse.duckdb"

    @property
    def published_path(self) -> Path:
        """Folder with the read-only copy of the marts."""
        return self.home / "published"

    @property
    def master_key_path(self) -> Path:
        """File that guards the keys of personal data where no KMS key does."""
        return self.home / "keys" / "master.key"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own state: runs, events, schedules."""
        return self.home / "dagster"

    @property
    def alerts_path(self) -> Path:
        """Folder with the outbox of alerts and their log."""
        return self.home / "alerts"

    @property
    def breakers_path(self) -> Path:
        """Folder with the state of circuit breakers, shared by all processes."""
        return self.home / "breakers"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "Settings":
        """Read the `RETAIL_*` variables.

        Raises:
            ConfigurationError: naming the variable, what it holds and what it may hold.
        """
        env = os.environ if env is None else env
        name = env.get("RETAIL_ENV", Environment.LOCAL.value)
        try:
            environment = Environment(name)
        except ValueError as exc:
            valid = ", ".join(e.value for e in Environment)
            message = f"RETAIL_ENV is {name!r}; expected one of: {valid}."
            raise ConfigurationError(message) from exc
        home = Path(env.get("RETAIL_HOME") or ".retail").expanduser().resolve()
        lake_url = env.get("RETAIL_LAKE_URL", "")
        if not lake_url:
            if environment is not Environment.LOCAL:
                message = f"RETAIL_LAKE_URL is not set; RETAIL_ENV={name} needs s3://bucket/prefix."
                raise ConfigurationError(message)
            lake_url = (home / "lake").as_uri()
        if not re.match(r"(file|s3|gs|az|abfss)://.", lake_url):
            raise ConfigurationError(
                f"RETAIL_LAKE_URL is {lake_url!r}; expected s3://bucket/prefix or file:///folder "
                "(Google: gs://bucket/prefix; Azure: az://container/prefix or "
                "abfss://container@account.dfs.core.windows.net/prefix)."
            )
        countries = env.get("RETAIL_COUNTRIES_FILE", "")
        sources = env.get("RETAIL_SOURCES_FILE", "")
        alerts = env.get("RETAIL_ALERTS_FILE", "")
        return cls(
            environment=environment,
            home=home,
            lake_url=lake_url,
            contracts_paths=tuple(
                Path(p).expanduser().resolve()
                for p in env.get("RETAIL_CONTRACTS_PATH", "").split(os.pathsep)
                if p
            ),
            countries_file=Path(countries).expanduser().resolve() if countries else None,
            sources_file=Path(sources).expanduser().resolve() if sources else None,
            first_day=_day(env, "RETAIL_FIRST_DAY") or cls.first_day,
            last_day=_day(env, "RETAIL_LAST_DAY"),
            settle_seconds=_number(env, "RETAIL_SETTLE_SECONDS", 2.0),
            queue_url=_queue(env, lake_url),
            sweep_seconds=_number(env, "RETAIL_SWEEP_SECONDS", 300.0),
            backlog_partitions=int(_number(env, "RETAIL_BACKLOG_PARTITIONS", 60)),
            alerts_file=Path(alerts).expanduser().resolve() if alerts else None,
            ui_url=_ui_url(env),
            kms_key_id=env.get("RETAIL_KMS_KEY_ID", "").strip(),
            credits_per_day=_credits(env, "RETAIL_CREDITS_PER_DAY"),
            credits_per_month=_credits(env, "RETAIL_CREDITS_PER_MONTH"),
            snowflake=_snowflake(
                _emulated(env) if environment is Environment.CI else env, lake_url
            ),
            keep_days=_number(env, "RETAIL_KEEP_DAYS", cls.keep_days),
            keep_versions=int(_number(env, "RETAIL_KEEP_VERSIONS", cls.keep_versions)),
        )


_EMULATED = {
    "RETAIL_WAREHOUSE": "snowflake",
    "SNOWFLAKE_ACCOUNT": "emulated",
    "SNOWFLAKE_USER": "retail_ci_platform",
    "SNOWFLAKE_ROLE": "RETAIL_CI_PLATFORM",
    "SNOWFLAKE_DATABASE": "RETAIL_CI",
    "SNOWFLAKE_WAREHOUSE": "RETAIL_CI_LOAD",
    "SNOWFLAKE_TRANSFORM_WAREHOUSE": "RETAIL_CI_TRANSFORM",
}
"""What `RETAIL_ENV=ci` stands for; the names are those of the account set-up."""


def _emulated(env: Mapping[str, str]) -> Mapping[str, str]:
    """Variables of the emulated account. It has an address: a real one is found by its name."""
    if not env.get("SNOWFLAKE_HOST"):
        raise ConfigurationError(
            "RETAIL_ENV is 'ci', but SNOWFLAKE_HOST is not set; expected the address of an "
            "emulator, as `RETAIL_ENV=ci make demo` sets it."
        )
    return {**_EMULATED, **{name: value for name, value in env.items() if value}}


def _snowflake(env: Mapping[str, str], lake_url: str) -> SnowflakeAccount | None:
    name = env.get("RETAIL_WAREHOUSE") or Engine.DUCKDB.value
    try:
        engine = Engine(name)
    except ValueError as exc:
        valid = ", ".join(e.value for e in Engine)
        raise ConfigurationError(
            f"RETAIL_WAREHOUSE is {name!r}; expected one of: {valid}."
        ) from exc
    if engine is Engine.DUCKDB:
        return None
    if lake_url.startswith("file://"):
        raise ConfigurationError(
            f"RETAIL_WAREHOUSE is 'snowflake', but the lake is {lake_url}, which its stage cannot "
            "reach; set RETAIL_LAKE_URL to s3://bucket/prefix."
        )
    if lake_url.startswith("az://"):
        raise ConfigurationError(
            f"RETAIL_WAREHOUSE is 'snowflake', but the lake is {lake_url}, which does not say in "
            "which account; expected abfss://container@account.dfs.core.windows.net/prefix."
        )
    return SnowflakeAccount.from_env(env)


def _credits(env: Mapping[str, str], name: str) -> float:
    credits = _number(env, name, 0.0)
    if credits and env.get("RETAIL_WAREHOUSE") != Engine.SNOWFLAKE.value:
        raise ConfigurationError(
            f"{name} is {env[name]}, but the warehouse is not Snowflake, and nothing else bills "
            "credits; unset it, or set RETAIL_WAREHOUSE=snowflake."
        )
    return credits


def _queue(env: Mapping[str, str], lake_url: str) -> str:
    url = env.get("RETAIL_QUEUE_URL", "")
    if url and not re.match(r"https?://.", url):
        raise ConfigurationError(
            f"RETAIL_QUEUE_URL is {url!r}; expected https://sqs.<region>.amazonaws.com/<account>/"
            "<queue>."
        )
    if url and not lake_url.startswith("s3://"):
        raise ConfigurationError(
            f"RETAIL_QUEUE_URL is set, but the lake is {lake_url}; only S3 announces objects there."
        )
    return url


def _ui_url(env: Mapping[str, str]) -> str:
    url = env.get("RETAIL_UI_URL") or "http://127.0.0.1:3000"
    if not re.match(r"https?://.", url):
        raise ConfigurationError(f"RETAIL_UI_URL is {url!r}; expected http:// or https://.")
    return url.rstrip("/")


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError as exc:
        raise ConfigurationError(f"{name} is {text!r}; expected a number.") from exc
    if not 0 <= value < math.inf:
        raise ConfigurationError(f"{name} is {text}; expected zero or more.")
    return value


VARIABLE = re.compile(r"\$\{(\w+)\}")
"""How files of an installation (sources, alert channels) name a secret: ``${SHOP_TOKEN}``."""


def given(name: str) -> str:
    """What a variable that such a file names holds; empty when it is not set."""
    return os.environ.get(name, "")


def secret_reference(name: str) -> str:
    """The secret of AWS Secrets Manager that stands for a variable, as ``<ARN or name>[#key]``."""
    return os.environ.get(f"{name}_SECRET", "").strip()


def with_variables(text: str, read: Callable[[str], str]) -> str:
    """Text with every ``${NAME}`` replaced by the value of that variable.

    Args:
        read: value of a variable.

    Raises:
        ConfigurationError: a variable is not set.
    """
    return VARIABLE.sub(lambda match: read(match[1]), text)


@contextmanager
def exported(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the length of a block, for libraries that read them by themselves."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _day(env: Mapping[str, str], name: str) -> date | None:
    text = env.get(name)
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as exc:
        raise ConfigurationError(f"{name} is {text!r}; expected a day like 2023-01-01.") from exc


def export(variables: Mapping[str, str]) -> None:
    """Set variables that libraries read by themselves (Dagster's home, dbt's profile)."""
    os.environ.update(variables)
