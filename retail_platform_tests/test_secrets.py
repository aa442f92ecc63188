"""Secrets in AWS Secrets Manager: a server that speaks HTTP (moto), and the real client."""

import base64
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from retail_platform import secrets
from retail_platform.alerts.routes import Routes
from retail_platform.errors import ConfigurationError, SecretsUnavailable
from retail_platform.pull.credentials import Credentials
from retail_platform.resilience.failures import Failure, classify
from retail_platform.resources import resources_for
from retail_platform.secrets import secret
from retail_platform.settings import Settings, with_variables
from retail_platform.warehouse.snowflake_account import (
    connector_credential,
    credential,
    dbt_secrets,
)
from retail_platform_tests.test_snowflake import DER, KEY, PEM, encoded, without

VALUE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [n for n in os.environ if n.startswith(("SNOWFLAKE_", "SHOP_"))]:
        monkeypatch.delenv(name)
    secrets.forget()
    yield
    secrets.forget()


@pytest.fixture
def manager(s3_environment: None) -> Any:
    import boto3

    return boto3.client("secretsmanager")


def made(manager: Any, **content: Any) -> tuple[str, str]:
    """Name and ARN of a new secret."""
    name = f"retail/{os.urandom(4).hex()}"
    return name, manager.create_secret(Name=name, **content)["ARN"]


def test_a_secret_is_named_by_name_or_arn_and_part_of_it_by_a_key(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, arn = made(manager, SecretString=VALUE)
    inside, inside_arn = made(manager, SecretString=json.dumps({"token": VALUE, "user": "shop"}))
    for reference in (name, arn, f" {name} ", f"{inside}#token", f"{inside_arn}#token"):
        monkeypatch.setenv("SHOP_TOKEN_SECRET", reference)
        assert secret("SHOP_TOKEN") == VALUE
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    secrets.forget()
    monkeypatch.setenv("SHOP_TOKEN_SECRET", arn)
    assert secret("SHOP_TOKEN") == VALUE, "an ARN says in which region"


def test_a_variable_without_the_ending_holds_the_secret_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigurationError, match=r"SHOP_TOKEN is not set, .* SHOP_TOKEN_SECRET"):
        secret("SHOP_TOKEN")
    monkeypatch.setenv("SHOP_TOKEN", "here")
    assert secret("SHOP_TOKEN") == "here"


def test_the_secret_counts_where_both_are_set(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are while dbt runs, which is handed the values by variables."""
    monkeypatch.setenv("SHOP_TOKEN", "old")
    monkeypatch.setenv("SHOP_TOKEN_SECRET", made(manager, SecretString=VALUE)[0])
    assert secret("SHOP_TOKEN") == VALUE


def test_files_of_an_installation_name_them_like_variables(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN_SECRET", made(manager, SecretString=VALUE)[0])
    assert with_variables("json://${SHOP_TOKEN}@host", secret) == f"json://{VALUE}@host"
    routes = Routes.model_validate({"channels": {"ops": "json://${SHOP_TOKEN}@host"}})
    assert routes.address("ops") == f"json://{VALUE}@host"
    credentials = Credentials(secret)
    assert credentials.reveal("Bearer ${SHOP_TOKEN}") == f"Bearer {VALUE}"
    assert credentials.hide(f"401 for {VALUE}") == "401 for ***"


def test_rotation_is_seen_after_a_while_and_threads_ask_once(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = made(manager, SecretString="first")
    monkeypatch.setenv("SHOP_TOKEN_SECRET", name)
    asked = []
    ask = secrets._ask
    monkeypatch.setattr(secrets, "_ask", lambda *words: asked.append(words) or ask(*words))
    with ThreadPoolExecutor(4) as pool:
        assert {*pool.map(secret, ["SHOP_TOKEN"] * 8)} == {"first"}
    manager.put_secret_value(SecretId=name, SecretString="second")
    assert (secret("SHOP_TOKEN"), len(asked)) == ("first", 1)
    monkeypatch.setattr(secrets, "_REMEMBERED_SECONDS", -1.0)
    assert (secret("SHOP_TOKEN"), len(asked)) == ("second", 2)


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        ("content", "key", "said"),
        [
            ({"SecretBinary": b"\x00\x01"}, "", "which is binary; expected text"),
            ({"SecretString": VALUE}, "#token", "key 'token' in it, but that is no JSON object"),
            ({"SecretString": json.dumps([VALUE])}, "#token", "but that is no JSON object"),
            ({"SecretString": json.dumps({"a": VALUE})}, "#b", "has no key 'b'; there are: a"),
            ({"SecretString": json.dumps({"a": {"b": VALUE}})}, "#a", "key 'a' holds no text"),
            ({"SecretString": json.dumps({"a": ""})}, "#a", "which is empty"),
        ],
    )
    def test_with_what_it_holds(
        self,
        manager: Any,
        monkeypatch: pytest.MonkeyPatch,
        content: dict[str, Any],
        key: str,
        said: str,
    ) -> None:
        name, _ = made(manager, **content)
        monkeypatch.setenv("SHOP_TOKEN_SECRET", name + key)
        with pytest.raises(ConfigurationError, match=f"SHOP_TOKEN_SECRET names .*{said}") as told:
            secret("SHOP_TOKEN")
        assert VALUE not in repr(told.value)
        assert told.value.__cause__ is told.value.__context__ is None, "it might quote the secret"

    def test_with_where_it_should_be(self, manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SHOP_TOKEN_SECRET", "retail/none")
        with pytest.raises(ConfigurationError, match="retail/none, but there is no such secret"):
            secret("SHOP_TOKEN")
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        with pytest.raises(ConfigurationError, match="its ARN, or AWS_DEFAULT_REGION"):
            secret("SHOP_TOKEN")

    @pytest.mark.parametrize(
        ("status", "code", "said"),
        [
            (400, "AccessDeniedException", "allow secretsmanager:GetSecretValue on it .*user/shop"),
            (400, "DecryptionFailure", "allow kms:Decrypt on it"),
            (400, "InvalidRequestException", r"cannot be read \(InvalidRequestException\)"),
        ],
    )
    def test_with_who_asks(
        self, s3_environment: None, monkeypatch: pytest.MonkeyPatch, status: int, code: str,
        said: str,
    ) -> None:  # fmt: skip
        body = json.dumps({"__type": code, "Message": "User: arn:aws:iam::1:user/shop is not"})

        class Refusing(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Refusing)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
            monkeypatch.setenv("SHOP_TOKEN_SECRET", "arn:aws:secretsmanager:eu-west-1:1:secret:a-b")
            with pytest.raises(ConfigurationError, match=f"1:secret:a-b, which .*{said}"):
                secret("SHOP_TOKEN")
        finally:
            server.shutdown()
            server.server_close()

    def test_nobody_answers(self, s3_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setenv("SHOP_TOKEN_SECRET", "retail/shop")
        with pytest.raises(SecretsUnavailable, match="does not answer") as told:
            secret("SHOP_TOKEN")
        assert classify(told.value) == Failure(transient=True)


class TestSnowflake:
    def test_key_and_phrase_come_from_there(
        self, manager: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held = {"key": base64.b64encode(encoded(PEM, VALUE)).decode(), "phrase": VALUE}
        name, _ = made(manager, SecretString=json.dumps(held))
        references = {
            "SNOWFLAKE_PRIVATE_KEY_SECRET": f"{name}#key",
            "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE_SECRET": f"{name}#phrase",
        }
        for variable, reference in references.items():
            monkeypatch.setenv(variable, reference)
        assert connector_credential() == {"private_key": encoded(DER)}
        of_dbt = dbt_secrets()
        assert of_dbt.keys() == {"SNOWFLAKE_PRIVATE_KEY", "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"}
        opened = serialization.load_pem_private_key(
            of_dbt["SNOWFLAKE_PRIVATE_KEY"].encode(),
            of_dbt["SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"].encode(),
        )
        assert opened.private_bytes(
            DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ) == encoded(DER)
        assert KEY.key_size == 2048
        # Settings know where it is and are none the wiser.
        settings = Settings.from_env({**without("SNOWFLAKE_PRIVATE_KEY_PATH"), **references})
        shown = [repr(settings), *map(repr, resources_for(settings).values())]
        assert not [text for text in shown if VALUE in text or held["key"] in text]

    def test_a_phrase_that_does_not_open_is_not_shown(
        self, manager: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY", encoded(PEM, "other").decode())
        name, _ = made(manager, SecretString=VALUE)
        monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PASSPHRASE_SECRET", name)
        with pytest.raises(ConfigurationError, match="does not open the key") as told:
            credential()
        assert VALUE not in repr(told.value)

    def test_there_is_one_credential(self) -> None:
        both = {**without(), "SNOWFLAKE_PRIVATE_KEY_SECRET": "retail/key"}
        with pytest.raises(
            ConfigurationError, match=r"PATH and SNOWFLAKE_PRIVATE_KEY of .* is set"
        ):
            Settings.from_env(both)


def test_nothing_of_aws_is_imported_where_no_secret_lies_there() -> None:
    import subprocess
    import sys

    program = (
        "import sys, retail_platform.secrets as s; s.secret('HOME'); "
        "sys.exit(bool({'boto3', 'dagster_aws'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
