"""A web service on this machine for tests of pulled sources: real HTTP, scripted trouble."""

import base64
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

Record = dict[str, Any]


@dataclass
class Trouble:
    """One answer that is not the usual one."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0


@dataclass
class Service:
    """Orders of a shop in pages of three, by whatever paging the path names.

    Attributes:
        records: what there is; `updated_since` and `updated_before` select by `updated_at`.
        trouble: answers to the next requests, before the usual ones.
        asked: (seconds, path with parameters, headers) of every request.
        authorized: whether headers are good enough.
    """

    records: list[Record] = field(default_factory=list)
    trouble: list[Trouble] = field(default_factory=list)
    asked: list[tuple[float, str, dict[str, str]]] = field(default_factory=list)
    authorized: Callable[[dict[str, str]], bool] = lambda headers: True
    url: str = ""
    page_size: int = 3
    on_request: Callable[[], None] = lambda: None

    @property
    def paths(self) -> list[str]:
        """What was asked for."""
        return [path for _, path, _ in self.asked]

    def answer(self, path: str, query: dict[str, str]) -> tuple[Any, dict[str, str]]:
        """Body and headers of the usual answer."""
        found = [
            r
            for r in self.records
            if query.get("updated_since", "") <= r.get("updated_at", "~")
            and r.get("updated_at", "") < query.get("updated_before", "~")
            and query.get("day") in (None, r.get("day"), r.get("rate_date"))
        ]
        kind = path.strip("/").split("/")[-1]
        place = next((int(query[p]) for p in ("at", "page", "offset") if p in query), 0)
        start = place * self.page_size if kind == "page" else place
        end = start + self.page_size
        body: dict[str, Any] = {"orders": found[start:end]}
        headers: dict[str, str] = {}
        if end < len(found) and kind in ("link", "next", "cursor"):
            following = f"{self.url}{path}?{urlencode({**query, 'at': end})}"
            if kind == "link":
                headers["Link"] = f'<{following}>; rel="next"'
            elif kind == "next":
                body["next"] = following
            else:
                body["meta"] = {"cursor": str(end)}
        return body, headers


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """The service on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            service.asked.append((time.monotonic(), self.path, dict(self.headers)))
            service.on_request()
            parts = urlsplit(self.path)
            if service.trouble:
                trouble = service.trouble.pop(0)
                time.sleep(trouble.seconds)
                if trouble.status != 200 or trouble.body:
                    return self.say(trouble.status, trouble.body, trouble.headers)
            if not service.authorized(dict(self.headers)):
                return self.say(401, b'{"error": "who are you"}', {})
            body, headers = service.answer(parts.path, dict(parse_qsl(parts.query)))
            return self.say(200, json.dumps(body).encode(), headers)

        def do_POST(self) -> None:
            """The token endpoint of OAuth 2."""
            sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
            service.asked.append((time.monotonic(), self.path, {"body": sent}))
            token = {"access_token": "issued-token", "expires_in": 3600}
            self.say(200, json.dumps(token).encode(), {})

        def say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            try:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client lost patience, as some tests want

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


def basic(user: str, password: str) -> str:
    """The header of HTTP basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def pull_killed_at(step: str, lake_url: str, contract: Path, source: Record, country: str) -> None:
    """Pull in a process of its own, which is killed before a step.

    Forked from a process that has the imports done and has never used the lake: the threads of its
    client do not survive a fork.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["retail_platform.pull.puller", "retail_platform.pull.rest"])
    # The server has the environment it was started with, maybe by another test.
    environment = dict(os.environ)
    child = context.Process(
        target=_pull, args=(environment, step, lake_url, contract, source, country)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL, f"the process was to be killed, not {child.exitcode}"


def _pull(
    environment: dict[str, str],
    step: str,
    lake_url: str,
    contract: Path,
    source: Record,
    country: str,
) -> None:
    os.environ.update(environment)
    from retail_platform.contract import read_contract
    from retail_platform.countries import load_countries
    from retail_platform.lake.store import Lake
    from retail_platform.pull.puller import Puller
    from retail_platform.pull.sources import _Entry
    from retail_platform.secrets import secret

    reached = 0

    def die(name: str) -> None:
        nonlocal reached
        reached += name == step.rstrip("2")
        if reached == (2 if step.endswith("2") else 1):
            os.kill(os.getpid(), signal.SIGKILL)

    Puller(
        Lake.open(lake_url),
        _Entry.model_validate(source).root,
        read_contract(contract),
        load_countries(),
        secret,
        die,
        lambda: datetime(2025, 1, 11, 12, tzinfo=UTC),
    ).pull(country)
