"""S3 and Snowflake on this machine: what `RETAIL_ENV=ci` runs on.

    python -m retail_platform_tests.emulators <command> [arguments]

starts both, runs the command with the variables by which it finds them, and ends with its exit
code. S3 is moto's server, Snowflake is `snowflake_server`; clients talk HTTP to either.
"""

import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from retail_platform.settings import PROJECT_DIR, Settings, SnowflakeAccount, exported

SECONDS_TO_START = 60


@contextmanager
def s3_server() -> Iterator[str]:
    """An S3 server in a thread of this process; its address."""
    from moto.server import ThreadedMotoServer  # seconds to import, and few tests need it

    # A line for each request would be kept until the test ends.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def s3_variables(endpoint: str) -> dict[str, str]:
    """The variables by which S3 clients find the server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextmanager
def snowflake_server(s3_endpoint: str, log: Path) -> Iterator[SnowflakeAccount]:
    """An emulated account in a process of its own; it can read every bucket of the S3 server.

    Raises:
        RuntimeError: it did not start; with what it said.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    s3 = s3_endpoint.removeprefix("http://")
    program = [sys.executable, "-m", "retail_platform_tests.snowflake_server", str(port), s3]
    with log.open("wb") as output:
        server = subprocess.Popen(program, cwd=PROJECT_DIR, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the emulator of Snowflake did not start: {log.read_text()}")
            time.sleep(0.1)
        yield SnowflakeAccount(
            account="emulated",
            user="loader",
            role="RETAIL_LOADER",
            database="RETAIL_TEST",
            warehouse="RETAIL_LOAD_XS",
            transform_warehouse="RETAIL_TRANSFORM_XS",
            host="127.0.0.1",
            port=port,
            protocol="http",
        )
    finally:
        server.terminate()
        server.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def snowflake_variables(account: SnowflakeAccount) -> dict[str, str]:
    """The variables by which the platform finds the account."""
    return {
        "SNOWFLAKE_HOST": account.host,
        "SNOWFLAKE_PORT": str(account.port),
        "SNOWFLAKE_PROTOCOL": account.protocol,
        "SNOWFLAKE_PASSWORD": "anything",
    }


def make_bucket(account: SnowflakeAccount) -> str:
    """A new bucket, and the stage over the lake in it; clients have to know where both are."""
    import boto3

    from retail_platform.warehouse.snowflake_account import connection

    name = "bucket-" + os.urandom(6).hex()
    boto3.client("s3").create_bucket(Bucket=name)
    with connection(account) as session:
        session.cursor().execute("create schema if not exists raw")
        session.cursor().execute(f"create or replace stage raw.lake url = 's3://{name}/lake/'")
    return name


def main(command: Sequence[str]) -> int:
    """Exit code of a command that has both emulators for as long as it lasts."""
    with (
        tempfile.TemporaryDirectory() as folder,
        s3_server() as endpoint,
        snowflake_server(endpoint, Path(folder) / "snowflake.log") as emulated,
    ):
        variables = {"RETAIL_ENV": "ci", **s3_variables(endpoint), **snowflake_variables(emulated)}
        with exported({**variables, "RETAIL_LAKE_URL": "s3://any/lake"}):
            account = Settings.from_env().snowflake
            assert account, "the environment `ci` is one on Snowflake"
            bucket = make_bucket(account)
        with exported({**variables, "RETAIL_LAKE_URL": f"s3://{bucket}/lake"}):
            return subprocess.call([*command])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
