"""A service that tells exchange rates by day, on this machine: the pulled source of the demo."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

CURRENCIES = ("CHF", "SEK", "PLN")
"""Beside those of the files, which the demo compares to the cent."""

PAGE_SIZE = 2


@dataclass(frozen=True)
class RatesService:
    """A running service.

    Attributes:
        sources_file: describes it as a source called `market_rates`.
    """

    sources_file: Path


@contextmanager
def rates_service(folder: Path) -> Iterator[RatesService]:
    """The service on a free port of the loopback interface, for the length of a block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    source = {
        "name": "market_rates",
        "kind": "rest",
        "feed": "fx_rates",
        "url": f"http://127.0.0.1:{server.server_port}",
        "path": "rates",
        "params": {"day": "{day}"},
        "paging": {"kind": "page"},
        "records": "rates",
        "requests_per_second": 1000,
    }
    folder.mkdir(parents=True, exist_ok=True)
    sources_file = folder / "demo-sources.yaml"
    sources_file.write_text(yaml.safe_dump({"sources": [source]}), encoding="utf-8")
    try:
        yield RatesService(sources_file)
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers ``/rates?day=2026-01-02&page=1``."""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        day, page = date.fromisoformat(query["day"][0]), int(query["page"][0])
        shown = CURRENCIES[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
        rates = [{"rate_date": str(day), "currency": c, "rate": _rate(c, day)} for c in shown]
        body = json.dumps({"rates": rates}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _rate(currency: str, day: date) -> float:
    return round(1 + CURRENCIES.index(currency) * 4 + day.toordinal() % 7 / 100, 4)
