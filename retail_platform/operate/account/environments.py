"""Environments of an account: `environments.yml` read and checked.

Every value ends up inside of a statement, so each is checked for what it may hold.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from retail_platform.errors import ConfigurationError
from retail_platform.lake.address import provider_of, stage_url
from retail_platform.secrets import secret
from retail_platform.settings import PROJECT_DIR, with_variables

SETUP_DIR = PROJECT_DIR / "snowflake_setup"
Workload = Literal["load", "transform", "bi"]
ServiceUser = Literal["setup", "platform", "bi"]
WORKLOADS: tuple[Workload, ...] = get_args(Workload)
SERVICE_USERS: tuple[ServiceUser, ...] = get_args(ServiceUser)
_LEAST_BITS = 2048
_NO_KEY = "is no RSA public key of 2048 bits or more; expected PEM or its base64"


def _public_key(text: str) -> str:
    """Base64 of DER in one line, as ALTER USER takes it. The text is never repeated in an error."""
    if "PRIVATE" in text:
        raise ValueError("is a private key; it stays where it is, the public half belongs here")
    body = "".join(line for line in text.split() if line.isascii())
    body = re.sub(r"-----(BEGIN|END)PUBLICKEY-----", "", body)
    try:
        key = load_der_public_key(base64.b64decode(body, validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm) as exc:
        raise ValueError(_NO_KEY) from exc
    if not isinstance(key, RSAPublicKey) or key.key_size < _LEAST_BITS:
        raise ValueError(_NO_KEY)
    return body


def _lake(url: str) -> str:
    try:
        provider_of(url)
    except ConfigurationError as exc:
        raise ValueError(str(exc).replace("RETAIL_LAKE_URL", "it")) from exc
    return url.rstrip("/")


_Role = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$")]
_Topic = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w.-]+$")]
_Key = Annotated[str, AfterValidator(_public_key)]
_Tenant = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
_Lake = Annotated[str, AfterValidator(_lake)]
_OF_PROVIDER = {"S3": "lake_role_arn", "AZURE": "lake_tenant_id"}
"""What the storage integration of a provider has to be told; one of GCS nothing."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class WarehouseSize(_Strict):
    """Compute of one workload.

    Attributes:
        monthly_credits: quota of its resource monitor.
        queued_timeout_minutes: a statement that waited so long for a slot gives up.
        max_clusters: more than 1 starts further clusters when queries queue.
    """

    monthly_credits: int = Field(ge=1)
    statement_timeout_minutes: int = Field(ge=1, le=24 * 60)
    queued_timeout_minutes: int = Field(default=10, ge=1, le=24 * 60)
    size: Literal["XSMALL", "SMALL", "MEDIUM", "LARGE", "XLARGE"] = "XSMALL"
    auto_suspend_seconds: int = Field(default=60, ge=30, le=600)
    max_clusters: int = Field(default=1, ge=1, le=10)
    scaling_policy: Literal["STANDARD", "ECONOMY"] = "ECONOMY"


class Failures(_Strict):
    """Who is told about a failed task or pipe."""

    topic_arn: _Topic
    role_arn: _Role


class AccountEnvironment(_Strict):
    """One environment; what its values mean is said in `environments.yml`."""

    keep: bool
    data_retention_days: int = Field(ge=0, le=90)
    lake_url: _Lake
    lake_role_arn: _Role | None = None
    lake_tenant_id: _Tenant | None = None
    failures: Failures | None = None
    load_without_orchestrator: bool = False
    public_keys: Mapping[ServiceUser, Annotated[tuple[_Key, ...], Field(max_length=2)]]
    warehouses: Mapping[Workload, WarehouseSize]

    @model_validator(mode="after")
    def _fits_the_provider(self) -> "AccountEnvironment":
        needed = _OF_PROVIDER.get(self.lake_provider)
        for name in _OF_PROVIDER.values():
            if (getattr(self, name) is None) == (name == needed):
                verb = "needs" if name == needed else "knows no"
                raise ValueError(f"a lake on {self.lake_provider} {verb} {name}")
        if self.load_without_orchestrator and self.lake_provider != "S3":
            raise ValueError(
                "load_without_orchestrator needs a lake on S3: elsewhere pipes learn of new "
                "objects through integrations that are not set up here"
            )
        return self

    @property
    def lake_provider(self) -> str:
        """``S3``, ``GCS`` or ``AZURE``."""
        return provider_of(self.lake_url)

    @property
    def lake_stage_url(self) -> str:
        """Root of the lake as Snowflake spells it, with a slash at its end."""
        return stage_url(self.lake_url)


def read_environment(
    name: str, path: Path | None = None, variable: Callable[[str], str] = secret
) -> AccountEnvironment:
    """One environment of the file, its `${NAME}` replaced.

    Args:
        path: default `snowflake_setup/environments.yml`.
        variable: value of a variable of the shell.

    Raises:
        ConfigurationError: no such environment, a variable is not set, a value is not what it may
            be.
    """
    path = path or SETUP_DIR / "environments.yml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc}") from exc
    if not isinstance(document, dict) or name not in document:
        names = ", ".join(map(str, document)) if isinstance(document, dict) else "none"
        raise ConfigurationError(f"{path} has no environment {name!r}; there are: {names}.")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigurationError(f"{path}: environment {name!r} is no name in lower case.")
    try:
        found = AccountEnvironment.model_validate(_filled(document[name], variable))
    except ValidationError as exc:
        wrong = "; ".join(
            ": ".join(
                filter(None, (".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")))
            )
            for e in exc.errors()
        )
        raise ConfigurationError(f"{path}, environment {name}: {wrong}.") from exc
    missing = [f"warehouses.{name}" for name in WORKLOADS if name not in found.warehouses]
    missing += [f"public_keys.{user}" for user in SERVICE_USERS if not found.public_keys.get(user)]
    if missing:
        raise ConfigurationError(f"{path}, environment {name}: not there: {', '.join(missing)}.")
    return found


def _filled(value: Any, variable: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, variable) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, variable) for inner in value]
    return with_variables(value, variable) if isinstance(value, str) else value
