"""Snowflake without an account: settings, keys, what goes wrong before the first statement."""

import base64
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from retail_platform.alerts.budgets import budgets_of
from retail_platform.contract import load_contracts
from retail_platform.errors import ConfigurationError, WarehouseBusy
from retail_platform.operate.doctor import _snowflake_key
from retail_platform.resilience.failures import WAREHOUSE, classify
from retail_platform.resources import dbt_resource, resources_for, warehouse_resource
from retail_platform.settings import PROJECT_DIR, Engine, Settings, SnowflakeAccount
from retail_platform.warehouse import snowflake_reach
from retail_platform.warehouse.raw_tables import LEDGER_COLUMNS, raw_columns
from retail_platform.warehouse.snowflake_account import (
    connection,
    connector_credential,
    credential,
    dbt_secrets,
    fingerprint,
)
from retail_platform.warehouse.snowflake_reach import reach

GIVEN = {
    "RETAIL_WAREHOUSE": "snowflake",
    "RETAIL_LAKE_URL": "s3://bucket/lake",
    "SNOWFLAKE_ACCOUNT": "org-account",
    "SNOWFLAKE_USER": "retail_loader",
    "SNOWFLAKE_ROLE": "RETAIL_LOADER",
    "SNOWFLAKE_DATABASE": "RETAIL_PROD",
    "SNOWFLAKE_WAREHOUSE": "RETAIL_LOAD_XS",
    "SNOWFLAKE_PRIVATE_KEY_PATH": "/run/secrets/key.p8",
}
RESERVED = (
    "account all alter and any as between by case cast check column connect connection constraint "
    "create cross current current_date current_time current_timestamp current_user database delete "
    "distinct drop else exists false following for from full grant group having ilike in increment "
    "inner insert intersect into is issue join lateral left like localtime localtimestamp minus "
    "natural not null of on or order organization qualify regexp revoke right rlike row rows "
    "sample schema select set some start table tablesample then to trigger true try_cast union "
    "unique update using values view when whenever where with"
)
"""Words that cannot be the name of a column there without quotes."""


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in GIVEN.items() if name not in names}


class TestSettings:
    def test_the_engine_is_a_matter_of_configuration_only(self) -> None:
        settings = Settings.from_env(GIVEN)
        assert settings.engine is Engine.SNOWFLAKE
        assert settings.snowflake == SnowflakeAccount(
            account="org-account",
            user="retail_loader",
            role="RETAIL_LOADER",
            database="RETAIL_PROD",
            warehouse="RETAIL_LOAD_XS",
            stage="raw.lake",
        )
        assert Settings.from_env({}).engine is Engine.DUCKDB

    def test_budgets_are_those_of_the_installation(self) -> None:
        assert budgets_of(Settings.from_env(GIVEN)) is None
        budgets = {"RETAIL_CREDITS_PER_DAY": "2.5", "RETAIL_CREDITS_PER_MONTH": "60"}
        settings = Settings.from_env({**GIVEN, **budgets})
        assert (settings.credits_per_day, settings.credits_per_month) == (2.5, 60)
        assert budgets_of(settings) is not None

    @pytest.mark.parametrize(
        ("named", "of_models"), [("", "RETAIL_LOAD_XS"), ("RETAIL_TRANSFORM", "RETAIL_TRANSFORM")]
    )
    def test_models_have_a_warehouse_of_their_own_where_one_is_named(
        self, named: str, of_models: str, tmp_path: Path
    ) -> None:
        from dbt.config.profile import read_profile
        from dbt.config.renderer import ProfileRenderer
        from dbt_common.context import set_invocation_context

        settings = Settings.from_env(
            {**GIVEN, "RETAIL_HOME": str(tmp_path), "SNOWFLAKE_TRANSFORM_WAREHOUSE": named}
        )
        account = settings.snowflake
        assert account is not None
        assert (account.warehouse, account.compute_of_models) == ("RETAIL_LOAD_XS", of_models)
        profile = read_profile(str(PROJECT_DIR / "dbt_project"))["retail_platform"]
        variables = {**dbt_resource(settings).variables, "SNOWFLAKE_PRIVATE_KEY_PATH": "key.p8"}
        set_invocation_context(variables)
        told = ProfileRenderer({}).render_data(profile)["outputs"]["snowflake"]
        assert told["warehouse"] == of_models

    def test_production_runs_on_snowflake_only(self) -> None:
        in_production = {"RETAIL_ENV": "prod"}
        resources_for(Settings.from_env({**GIVEN, **in_production}))
        on_duckdb = Settings.from_env({**in_production, "RETAIL_LAKE_URL": "s3://bucket/lake"})
        with pytest.raises(ConfigurationError, match="or RETAIL_WAREHOUSE=snowflake"):
            resources_for(on_duckdb)

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"RETAIL_WAREHOUSE": "postgres"}, "'postgres'; expected one of: duckdb, snowflake"),
            ({"RETAIL_LAKE_URL": ""}, "its stage cannot reach; set RETAIL_LAKE_URL to s3://"),
            (
                {"RETAIL_LAKE_URL": "az://lake/a"},
                "in which account; expected abfss://container@acc",
            ),
            ({"SNOWFLAKE_ROLE": ""}, "not set: SNOWFLAKE_ROLE"),
            ({"SNOWFLAKE_STAGE": "lake"}, "SNOWFLAKE_STAGE is 'lake'; expected schema.stage"),
            ({"SNOWFLAKE_DATABASE": "a; drop"}, "SNOWFLAKE_DATABASE is 'a; drop'; expected a name"),
            (
                {"SNOWFLAKE_TRANSFORM_WAREHOUSE": "a b"},
                "SNOWFLAKE_TRANSFORM_WAREHOUSE is 'a b'; expected a name",
            ),
            ({"SNOWFLAKE_PORT": "https"}, "SNOWFLAKE_PORT is 'https'; expected a number"),
            ({"SNOWFLAKE_PROTOCOL": "ftp"}, "SNOWFLAKE_PROTOCOL is 'ftp'; expected http or https"),
            ({"SNOWFLAKE_PRIVATE_KEY_PATH": ""}, "None of SNOWFLAKE_PRIVATE_KEY_PATH"),
            ({"SNOWFLAKE_PASSWORD": "x"}, "and SNOWFLAKE_PASSWORD of .* is set; expected exactly"),
        ],
    )
    def test_what_is_wrong_is_said(self, changed: Mapping[str, str], said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            Settings.from_env({**GIVEN, **changed})

    def test_secrets_are_in_no_settings_and_no_resource(self) -> None:
        secret = "correct horse battery"
        given = {**without("SNOWFLAKE_PRIVATE_KEY_PATH"), "SNOWFLAKE_PASSWORD": secret}
        settings = Settings.from_env(given)
        shown = [repr(settings), *map(repr, resources_for(settings).values())]
        assert not [text for text in shown if secret in text]

    def test_no_column_of_raw_is_a_reserved_word(self) -> None:
        names = {name for contract in load_contracts().values() for name in raw_columns(contract)}
        assert len(names) > 100
        assert not (names | LEDGER_COLUMNS.keys()) & set(RESERVED.split())


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def encoded(encoding: serialization.Encoding, phrase: str = "") -> bytes:
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if phrase:
        protection = serialization.BestAvailableEncryption(phrase.encode())
    return KEY.private_bytes(encoding, serialization.PrivateFormat.PKCS8, protection)


PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER


class TestKey:
    @pytest.fixture(autouse=True)
    def _nothing_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("PRIVATE_KEY_PATH", "PRIVATE_KEY", "PRIVATE_KEY_PASSPHRASE", "PASSWORD"):
            monkeypatch.delenv(f"SNOWFLAKE_{name}", raising=False)

    @pytest.mark.parametrize("phrase", ["", "open sesame"])
    @pytest.mark.parametrize("form", ["PEM", "base64 of PEM", "base64 of DER"])
    def test_a_key_is_taken_however_it_is_spelled(
        self, monkeypatch: pytest.MonkeyPatch, form: str, phrase: str
    ) -> None:
        text = {
            "PEM": encoded(PEM, phrase).decode(),
            "base64 of PEM": base64.b64encode(encoded(PEM, phrase)).decode(),
            "base64 of DER": base64.b64encode(encoded(DER, phrase)).decode(),
        }[form]
        monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY", text)
        if phrase:
            monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", phrase)
        for pem in (credential()["private_key"], dbt_secrets()["SNOWFLAKE_PRIVATE_KEY"]):
            loaded = serialization.load_pem_private_key(
                pem.encode(), phrase.encode() if phrase else None
            )
            assert isinstance(loaded, rsa.RSAPrivateKey)
            assert loaded.private_numbers() == KEY.private_numbers()
        plain = connector_credential()["private_key"]
        assert plain == encoded(DER), "as the connector takes it, for the set-up of an account"

    def test_a_key_in_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        path = tmp_path / "key.p8"
        path.write_bytes(encoded(PEM))
        monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PATH", str(path))
        assert credential() == {"private_key_path": str(path)}
        assert dbt_secrets() == {}

    @pytest.mark.parametrize(
        ("content", "phrase", "said"),
        [
            (None, "", "where no file is; expected the private key"),
            (b"ssh-rsa AAAA", "", "holds no private key; expected PEM"),
            (encoded(PEM, "right"), "xyzzy", "PASSPHRASE does not open the key in .*key.p8"),
            (encoded(PEM, "right"), "", "is encrypted; set SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"),
            (encoded(PEM), "surplus", "is not encrypted; unset SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"),
        ],
    )
    def test_what_is_wrong_with_a_key_is_said_without_showing_it(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        content: bytes | None,
        phrase: str,
        said: str,
    ) -> None:
        path = tmp_path / "key.p8"
        if content:
            path.write_bytes(content)
        monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PATH", str(path))
        monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", phrase)
        with pytest.raises(ConfigurationError, match=said) as caught:
            credential()
        assert not phrase or phrase not in str(caught.value)


@contextmanager
def answering(
    status: int = 200, body: str = "", tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """A server that says the same to everything; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_HEAD = do_CONNECT = do_POST  # noqa: N815 - the names the server looks for

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def of_nobody_known(folder: Path) -> ssl.SSLContext:
    """What a server shows whose certificate it made itself."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2125, 1, 1, tzinfo=UTC))
        .sign(KEY, hashes.SHA256())
    )
    (folder / "server.pem").write_bytes(encoded(PEM) + made.public_bytes(PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


class TestReach:
    """How far one comes, without a log-in; before the connector tries for half a minute."""

    @pytest.fixture(autouse=True)
    def _no_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)

    def said(self, port: int = 0, host: str = "127.0.0.1", protocol: str = "") -> str:
        account = SnowflakeAccount(
            "org-account", "u", "r", "d", "w", host=host, port=port, protocol=protocol
        )
        with pytest.raises(WarehouseBusy) as caught:
            reach(account)
        assert caught.value.__cause__ is None, "a proxy's address may hold a password"
        return str(caught.value)

    def test_any_answer_will_do(self) -> None:
        with answering(403) as port:
            reach(
                SnowflakeAccount(
                    "a", "u", "r", "d", "w", host="127.0.0.1", port=port, protocol="http"
                )
            )

    def test_a_name_that_nobody_knows(self) -> None:
        said = self.said(host="org-account.invalid")
        assert "the name org-account.invalid does not resolve: " in said
        assert "Check SNOWFLAKE_ACCOUNT (<organisation>-<account>)" in said

    def test_a_port_where_nobody_listens(self) -> None:
        said = self.said(1)
        assert "127.0.0.1:1 takes no connection: Failed to establish a new connection: " in said
        assert "Connection refused. Check SNOWFLAKE_PORT" in said

    def test_a_server_that_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(snowflake_reach, "_SECONDS", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            assert "takes the connection, but answers nothing within" in self.said(port)

    def test_a_certificate_of_nobody_known(self, tmp_path: Path) -> None:
        with answering(tls=of_nobody_known(tmp_path)) as port:
            said = self.said(port)
        assert "a certificate that is not trusted" in said
        assert "CERTIFICATE_VERIFY_FAILED" in said
        assert "REQUESTS_CA_BUNDLE" in said

    def test_a_server_that_speaks_no_tls(self) -> None:
        with answering() as port:
            assert "or speaks no TLS" in self.said(port)

    def test_a_proxy_that_refuses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with answering(407) as port:
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:hidden@127.0.0.1:{port}")
            said = self.said(host="org-account.invalid")
        assert f"proxy 127.0.0.1:{port} does not let through to org-account.invalid: " in said
        assert "407" in said
        assert "hidden" not in said

    def test_a_proxy_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://me:hidden@127.0.0.1:1")
        said = self.said(host="org-account.invalid")
        assert "proxy 127.0.0.1:1 does not let through" in said
        assert "Connection refused" in said


def test_a_warehouse_that_nobody_can_wake_is_told_from_one_that_sleeps() -> None:
    from retail_platform.warehouse.snowflake import sleeps  # seconds to import

    assert sleeps({"state": "SUSPENDED", "auto_resume": "false"})
    assert not sleeps({"state": "SUSPENDED", "auto_resume": "true"})
    assert not sleeps({"state": "STARTED", "auto_resume": "false"})


class TestConnection:
    def test_a_host_that_does_not_answer_is_named_and_tried_again_later(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SNOWFLAKE_PRIVATE_KEY_PATH", raising=False)
        monkeypatch.setenv("SNOWFLAKE_PASSWORD", "secret words")
        account = SnowflakeAccount(
            "a", "u", "r", "d", "w", host="127.0.0.1", port=1, protocol="http"
        )
        unreachable = connection(account)
        with pytest.raises(WarehouseBusy, match=r"127\.0\.0\.1:1 does not answer") as caught:
            unreachable.__enter__()
        assert "secret words" not in str(caught.value)
        assert classify(caught.value).transient

    @pytest.mark.parametrize(
        ("status", "code", "message", "said"),
        [
            (200, "390100", "Incorrect username or password was specified.",
             r"SNOWFLAKE_USER \(loader\)"),
            (200, "390144", "JWT token is invalid. [0f1e]", "fingerprint SHA256:.{43}="),
            (200, "390189", "Role 'R' specified in the connect string is not granted to this user.",
             "Grant role R to user loader"),
            (200, "390422", "Incoming request with IP/Token 10.0.0.1 is not allowed.",
             "network policy does not let this machine in"),
            (404, "", "", "there is no account a. Check SNOWFLAKE_ACCOUNT"),
        ],
    )  # fmt: skip
    def test_a_log_in_that_is_refused_is_not_tried_again_and_the_reason_is_said(
        self, monkeypatch: pytest.MonkeyPatch, status: int, code: str, message: str, said: str
    ) -> None:
        """The answers are Snowflake's as its connector reads them; they were not seen live."""
        monkeypatch.delenv("SNOWFLAKE_PASSWORD", raising=False)
        monkeypatch.delenv("SNOWFLAKE_PRIVATE_KEY_PATH", raising=False)
        monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY", encoded(PEM).decode())
        answer = {"success": False, "code": code, "message": message, "data": {}}
        with answering(status, json.dumps(answer)) as port:
            account = SnowflakeAccount(
                "a", "loader", "R", "d", "w", host="127.0.0.1", port=port, protocol="http"
            )
            refused = connection(account)
            with pytest.raises(ConfigurationError, match=said) as caught:
                refused.__enter__()
        assert message in str(caught.value)
        assert not classify(caught.value).transient

    def test_the_fingerprint_is_told_as_users_are_described(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """As Snowflake's documentation makes it: rsa -pubout -outform DER | dgst -sha256."""
        path = tmp_path / "key.p8"
        path.write_bytes(encoded(PEM))
        monkeypatch.delenv("SNOWFLAKE_PASSWORD", raising=False)
        monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PATH", str(path))
        public = KEY.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        digest = base64.b64encode(hashlib.sha256(public).digest()).decode()
        assert fingerprint() == f"SHA256:{digest}"
        for name, value in {**GIVEN, "SNOWFLAKE_PRIVATE_KEY_PATH": str(path)}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("RETAIL_HOME", str(tmp_path))
        assert (
            _snowflake_key()
            == f"opens; RSA_PUBLIC_KEY_FP of `describe user` has to be SHA256:{digest}"
        )

    def test_failures_are_those_of_the_warehouse_and_only_absence_is_transient(self) -> None:
        from snowflake.connector import errors

        assert classify(errors.OperationalError("gone")).transient
        assert classify(errors.ServiceUnavailableError()).dependency == WAREHOUSE
        assert not classify(errors.ProgrammingError("no such column")).transient
        through_dbt = RuntimeError(
            "250001: Could not connect to Snowflake backend after 2 attempt(s)"
        )
        assert classify(through_dbt).dependency == WAREHOUSE

    def test_the_embedded_warehouse_imports_none_of_it(self, settings: Settings) -> None:
        import subprocess
        import sys

        program = (
            "import sys, retail_platform.definitions; "
            "sys.exit(bool({'snowflake.connector', 'dagster_snowflake'} & sys.modules.keys()))"
        )
        assert subprocess.run([sys.executable, "-c", program]).returncode == 0
        assert warehouse_resource(settings).open()
