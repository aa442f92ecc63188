"""How commands talk: facts on standard output (text or JSON), progress on standard error."""

import json
import sys
import time
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

facts = Console()
progress = Console(stderr=True)


class Stopwatch:
    """Progress lines with the seconds since the command began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print one line."""
        progress.print(
            f"[dim]{time.monotonic() - self._began:6.1f} s[/dim]  {line}", highlight=False
        )


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=_plain)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def table(title: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """A titled table; numbers to the right."""
    view = Table(title=title, title_justify="left", header_style="bold")
    numeric = [
        all(isinstance(r[i], (int, float, Decimal)) for r in rows) for i in range(len(columns))
    ]
    for name, right in zip(columns, numeric, strict=True):
        view.add_column(name, justify="right" if right and rows else "left", overflow="fold")
    for row in rows:
        view.add_row(*(f"{v:,}" if isinstance(v, (int, Decimal)) else str(v) for v in row))
    facts.print(view)
