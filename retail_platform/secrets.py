"""Secrets of the platform by name: a variable, or a secret of AWS Secrets Manager it points to.

``SHOP_TOKEN`` holds the value itself. ``SHOP_TOKEN_SECRET`` holds the ARN or the name of a secret
instead, and behind a ``#`` the key to take where that is a JSON object:
``prod/retail#shop_token``. Whoever sets both gets the secret. This is the one way, for Snowflake's
key and for every ``${NAME}`` of a file of the installation.

Values are remembered for five minutes, so that rotation is seen, and shown nowhere.
"""

import json
import threading
import time
from typing import Any

from retail_platform.errors import ConfigurationError, SecretsUnavailable
from retail_platform.settings import given, secret_reference

_REMEMBERED_SECONDS = 300.0
_MAY_PASS = frozenset({"InternalServiceError", "ThrottlingException", "Throttling"})


class _Remembered:
    """What was read lately: (variable's reference) -> when, and the value."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def get(self, variable: str, reference: str) -> str:
        with self._lock:  # so that threads that start together ask once
            at, value = self._values.get(reference, (0.0, ""))
            if not value or time.monotonic() - at > _REMEMBERED_SECONDS:
                value = _read(variable, reference)
                self._values[reference] = (time.monotonic(), value)
            return value

    def clear(self) -> None:
        self._values.clear()


_REMEMBERED = _Remembered()


def secret(name: str) -> str:
    """The secret that a name stands for.

    Args:
        name: of a variable that holds it, or to which ``_SECRET`` is appended.

    Raises:
        ConfigurationError: neither is set, there is no such secret, it may not be read, or it is
            not text.
        SecretsUnavailable: Secrets Manager does not answer.
    """
    reference = secret_reference(name)
    if reference:
        return _REMEMBERED.get(f"{name}_SECRET", reference)
    value = given(name)
    if not value:
        raise ConfigurationError(
            f"variable {name} is not set, and ${{{name}}} stands for it; expected it, or "
            f"{name}_SECRET with the ARN or name of a secret of AWS Secrets Manager."
        )
    return value


def forget() -> None:
    """Read every secret anew from now on."""
    _REMEMBERED.clear()


def _read(variable: str, reference: str) -> str:
    wanted, _, key = reference.partition("#")
    answer = _ask(variable, wanted)
    text = answer.get("SecretString")
    where = f"{variable} names {wanted}"
    if text is None:
        raise ConfigurationError(f"{where}, which is binary; expected text (SecretString).")
    return _value_of(text, key, where) if key else _not_empty(text, where)


def _value_of(text: str, key: str, where: str) -> str:
    try:
        values = json.loads(text)
    except ValueError:
        values = None  # the error would quote what it could not read
    if not isinstance(values, dict):
        raise ConfigurationError(f"{where} and key {key!r} in it, but that is no JSON object.")
    if key not in values:
        raise ConfigurationError(
            f"{where}, which has no key {key!r}; there are: {', '.join(sorted(values)) or 'none'}."
        )
    if not isinstance(values[key], str):
        raise ConfigurationError(f"{where}, whose key {key!r} holds no text.")
    return _not_empty(values[key], f"{where}#{key}")


def _not_empty(text: str, where: str) -> str:
    if not text:
        raise ConfigurationError(f"{where}, which is empty.")
    return text


def _ask(variable: str, wanted: str) -> Any:
    # Half a second to import, and few installations keep secrets there.
    import boto3  # noqa: PLC0415
    from botocore.exceptions import (  # noqa: PLC0415
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        NoRegionError,
    )

    parts = wanted.split(":")
    region = parts[3] if wanted.startswith("arn:") and len(parts) > 6 else None
    where = f"{variable} names {wanted}"
    try:
        return boto3.client("secretsmanager", region_name=region).get_secret_value(SecretId=wanted)
    except NoRegionError as exc:
        raise ConfigurationError(
            f"{where}, but in which region is not said; expected its ARN, or AWS_DEFAULT_REGION."
        ) from exc
    except NoCredentialsError as exc:
        raise ConfigurationError(
            f"{where}, but there are no AWS credentials; expected a role of the machine, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from exc
    except ClientError as exc:
        raise _refusal(where, wanted, exc.response) from exc
    except BotoCoreError as exc:
        raise SecretsUnavailable(f"{where}, but Secrets Manager does not answer: {exc}") from exc


def _refusal(where: str, wanted: str, response: Any) -> Exception:
    code = response.get("Error", {}).get("Code", "")
    said = response.get("Error", {}).get("Message", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "ResourceNotFoundException":
        return ConfigurationError(
            f"{where}, but there is no such secret, or it has no current value; compare name, "
            f"account and region. It said: {said}"
        )
    if code in ("AccessDeniedException", "DecryptionFailure"):
        action = (
            "secretsmanager:GetSecretValue" if code == "AccessDeniedException" else "kms:Decrypt"
        )
        return ConfigurationError(
            f"{where}, which may not be read: allow {action} on it to the role. It said: {said}"
        )
    if code in _MAY_PASS or status >= 500:
        return SecretsUnavailable(f"{where}, but Secrets Manager does not answer ({code}): {said}")
    return ConfigurationError(f"{where}, which cannot be read ({code}): {said}")
