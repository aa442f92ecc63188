"""Connections to a Snowflake account: who connects, how, and what is wrong when it fails."""

import base64
import binascii
import hashlib
import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from retail_platform.errors import ConfigurationError, WarehouseBusy
from retail_platform.secrets import secret
from retail_platform.settings import SnowflakeAccount, snowflake_credential
from retail_platform.warehouse.raw_tables import RAW_SCHEMA

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from snowflake.connector import SnowflakeConnection

_SESSION = {
    # What a column or a cast without more words means must not depend on the account.
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "TIMEZONE": "UTC",
    "CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False,
}
_OF_PROFILE = {
    "private_key": "SNOWFLAKE_PRIVATE_KEY",
    "private_key_password": "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE",
    "password": "SNOWFLAKE_PASSWORD",
}
_LOGIN_SECONDS = 30
_ANSWER_SECONDS = 120
"""How long a request may stay without an answer; a statement that runs long is asked after."""


def credential() -> dict[str, str]:
    """What the user is known by, as dagster-snowflake takes it; a key is always PEM.

    Raises:
        ConfigurationError: it is missing, or not a key, or the pass-phrase does not open it.
        SecretsUnavailable: it is in Secrets Manager, which does not answer.
    """
    found = snowflake_credential(secret)
    if "private_key" in found:
        found["private_key"] = _as_pem(found["private_key"], "private_key_password" in found)
    if "password" not in found:
        _open_key(found)
    return found


def connector_credential() -> dict[str, Any]:
    """The same as Snowflake's connector takes it: a password, or a key as DER.

    Raises:
        ConfigurationError: as `credential`.
    """
    found = credential()
    if "password" in found:
        return dict(found)
    key = _open_key(found)
    return {"private_key": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())}


def fingerprint() -> str:
    """Of the key's public half, as DESCRIBE USER shows it; empty where it is a password.

    Raises:
        ConfigurationError: as `credential`.
    """
    found = credential()
    if "password" in found:
        return ""
    public = _open_key(found).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"SHA256:{base64.b64encode(hashlib.sha256(der).digest()).decode()}"


def dbt_secrets() -> dict[str, str]:
    """What profiles.yml reads, and the environment spells otherwise or only points to.

    dbt knows no base64 of PEM, and nothing of Secrets Manager.
    """
    found = credential()
    return {variable: found[name] for name, variable in _OF_PROFILE.items() if name in found}


def _as_pem(text: str, encrypted: bool) -> str:
    """PEM as it is, or base64 of it, or of DER, where line breaks do not survive."""
    if text.lstrip().startswith("-----BEGIN"):
        return text
    try:
        raw = base64.b64decode(text, validate=False)
    except binascii.Error as exc:
        raise ConfigurationError(_NO_KEY.format("SNOWFLAKE_PRIVATE_KEY")) from exc
    if raw.startswith(b"-----BEGIN"):
        return raw.decode("ascii", "replace")
    kind = "ENCRYPTED PRIVATE KEY" if encrypted else "PRIVATE KEY"
    lines = textwrap.fill(base64.b64encode(raw).decode(), 64)
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\n"


_NO_KEY = (
    "{} holds no private key; expected PEM (-----BEGIN ... PRIVATE KEY-----), PKCS #8, or base64 "
    "of it."
)


def _open_key(found: Mapping[str, str]) -> "PrivateKeyTypes":
    path = found.get("private_key_path")
    variable = "SNOWFLAKE_PRIVATE_KEY_PATH" if path else "SNOWFLAKE_PRIVATE_KEY"
    where = f"{variable} ({path})" if path else variable
    content = Path(path).read_bytes() if path else found["private_key"].encode()
    phrase = found.get("private_key_password")
    try:
        return load_pem_private_key(content, phrase.encode() if phrase else None)
    except TypeError as exc:
        remedy = "unset SNOWFLAKE_PRIVATE_KEY_PASSPHRASE" if phrase else (
            "set SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"
        )  # fmt: skip
        state = "not encrypted" if phrase else "encrypted"
        raise ConfigurationError(f"The key in {where} is {state}; {remedy}.") from exc
    except ValueError as exc:
        if phrase and b"ENCRYPTED" in content:
            raise ConfigurationError(
                f"SNOWFLAKE_PRIVATE_KEY_PASSPHRASE does not open the key in {where}."
            ) from exc
        raise ConfigurationError(_NO_KEY.format(where)) from exc


@contextmanager
def connection(account: SnowflakeAccount, query_tag: str = "") -> Iterator["SnowflakeConnection"]:
    """A session of the account.

    Raises:
        ConfigurationError: the credential cannot be used, or Snowflake does not accept it.
        WarehouseBusy: Snowflake does not answer.
    """
    # Seconds to import, and the embedded warehouse never needs them.
    from dagster_snowflake import SnowflakeResource  # noqa: PLC0415
    from snowflake.connector.errors import Error  # noqa: PLC0415

    resource = SnowflakeResource(
        account=account.account,
        user=account.user,
        role=account.role,
        database=account.database,
        schema=RAW_SCHEMA,
        warehouse=account.warehouse,
        autocommit=True,
        login_timeout=_LOGIN_SECONDS,
        network_timeout=_ANSWER_SECONDS,
        additional_snowflake_connection_args={
            **endpoint(account),
            "session_parameters": {**_SESSION, "QUERY_TAG": query_tag},
        },
        **cast("dict[str, Any]", credential()),
    )
    with ExitStack() as stack:
        try:
            session = stack.enter_context(resource.get_connection())
        except Error as exc:
            raise _refusal(account, exc) from exc
        stack.callback(session.close)  # dagster-snowflake does not, when a statement fails
        yield session


def shown(session: "SnowflakeConnection", statement: str) -> list[dict[str, Any]]:
    """Rows of a SHOW statement, by names of columns in lower case."""
    with session.cursor() as cursor:
        cursor.execute(statement)
        columns = [column.name.lower() for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def endpoint(account: SnowflakeAccount) -> dict[str, Any]:
    """Where the account answers, if not where its name says."""
    given = {"host": account.host, "port": account.port, "protocol": account.protocol}
    return {name: value for name, value in given.items() if value}


def host_of(account: SnowflakeAccount) -> str:
    """Where the account answers, without a port unless one is set."""
    host = account.host or f"{account.account}.snowflakecomputing.com"
    return f"{host}:{account.port}" if account.port else host


_CODE = re.compile(r"\b390\d{3}\b")
"""Codes by which Snowflake itself refuses a log-in."""
_NO_SUCH_ACCOUNT = 290404


def _refusal(account: SnowflakeAccount, error: Any) -> Exception:
    where = host_of(account)
    said = " ".join(str(error.msg or error).split())
    code = _CODE.search(f"{error.errno} {said}")
    if error.errno == _NO_SUCH_ACCOUNT:
        return ConfigurationError(
            f"At {where} there is no account {account.account}. Check SNOWFLAKE_ACCOUNT; expected "
            f"<organisation>-<account>. It said: {said}"
        )
    if code or "JWT token is invalid" in said:
        return ConfigurationError(
            f"Snowflake at {where} refuses user {account.user} with role {account.role}: {said} "
            f"{_remedy(account, int(code[0]) if code else 0)}"
        )
    return WarehouseBusy(
        f"Snowflake at {where} does not answer: {said} Check SNOWFLAKE_ACCOUNT (and "
        "SNOWFLAKE_HOST, if set), name resolution, the proxy and the account's network policy."
    )


def _remedy(account: SnowflakeAccount, code: int) -> str:
    held = fingerprint()
    known = {
        390100: f"Check SNOWFLAKE_USER ({account.user}), and what it is known by.",
        390189: (
            f"Grant role {account.role} to user {account.user}, or correct SNOWFLAKE_ROLE; "
            "`show grants to user` tells what it has."
        ),
        390422: "The account's network policy does not let this machine in.",
    }
    if code not in known and held:
        return (
            f"The key held here has the fingerprint {held}; compare it with RSA_PUBLIC_KEY_FP of "
            f"`describe user {account.user}`, SNOWFLAKE_ACCOUNT and SNOWFLAKE_USER with the "
            "account's, and the clock of this machine with the time."
        )
    return known.get(code, "See snowflake_setup/README.md for what the user needs.")
