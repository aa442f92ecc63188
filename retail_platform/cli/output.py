"""How commands talk: facts on standard output (text or JSON), progress on standard error.

File names and error messages may contain square brackets, which rich takes for markup: all text
goes through `Text`, which leaves it alone.
"""

import json
import sys
import time
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_facts = Console()
_progress = Console(stderr=True)

_WIDE = 200
"""Columns of a table that goes into a file or another program, where nobody sees a line break."""


class Format(StrEnum):
    """How rows of a mart are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class Stopwatch:
    """Progress lines with the seconds since the command began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print one line."""
        seconds = f"{time.monotonic() - self._began:6.1f} s"
        _progress.print(Text.assemble((seconds, "dim"), f"  {line}"), soft_wrap=True)


def fact(*parts: str | tuple[str, str]) -> None:
    """One line on standard output.

    Args:
        parts: texts, or texts with their style.
    """
    _facts.print(Text.assemble(*parts), soft_wrap=True)


def complain(message: str) -> None:
    """One line on standard error about why the command ends."""
    _progress.print(Text(message, style="red"), soft_wrap=True)


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
        view.add_row(*(Text(f"{v:,}" if isinstance(v, (int, Decimal)) else str(v)) for v in row))
    if not _facts.is_terminal:
        _facts.width = max(_facts.width, _WIDE)
    _facts.print(view)
