"""Azure Blob Storage on this machine, for tests: Azurite, Microsoft's own emulator, where it is.

It comes from npm (`npm install --global azurite`, a minute) and nothing that CI installs, so tests
that need it are skipped where no `azurite-blob` is found.
"""

import base64
import hashlib
import hmac
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from shutil import which

import requests

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Account and key of every Azurite; Microsoft's documentation prints them."""


def program() -> str | None:
    """Where Azurite is."""
    return which("azurite-blob")


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """A server as long as the block lasts; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = program()
    assert found
    options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence"]
    server = subprocess.Popen([found, *options, "--blobPort", str(port)], cwd=folder)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, "Azurite did not start"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def create_container(url: str, name: str) -> None:
    """What the lake's client cannot: it works with objects only."""
    now, version = formatdate(usegmt=True), "2021-08-06"
    lines = ["PUT", *[""] * 11, f"x-ms-date:{now}", f"x-ms-version:{version}"]
    lines += [f"/{ACCOUNT}/{ACCOUNT}/{name}", "restype:container"]
    digest = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
    signature = base64.b64encode(digest).decode()
    answer = requests.put(
        f"{url}/{ACCOUNT}/{name}",
        params={"restype": "container"},
        headers={
            "x-ms-date": now,
            "x-ms-version": version,
            "Authorization": f"SharedKey {ACCOUNT}:{signature}",
        },
        timeout=10,
    )
    answer.raise_for_status()
