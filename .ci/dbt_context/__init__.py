"""What dbt gives to templates, for SQLFluff: enough of it that the project's own macros run.

SQLFluff brings `ref`, `source` and `return`; the rest is here. Nothing is asked of a database and
nothing of dbt, which takes longer to start than all models take to lint. The run is an increment of
some countries and days, so that what only increments do is looked at, too.
"""

import datetime
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jinja2

execute = False
flags = SimpleNamespace(FULL_REFRESH=False)
modules = SimpleNamespace(datetime=datetime, re=re)
_VARS = {"countries": "FR,DE", "first_day": "2025-01-01", "last_day": "2025-01-31"}


def var(name: str, default: object = 1) -> object:
    """The slices of a run; any other variable is a number."""
    return _VARS.get(name, default)


class _Config:
    def __call__(self, **_: object) -> str:
        return ""

    def get(self, _: str, default: object = None) -> object:
        return default


config = _Config()


class _Adapter:
    @jinja2.pass_context
    def dispatch(self, context: Any, name: str, *_: str) -> Callable[..., str]:
        """The macro for the engine that `engine` names, or the one for all."""
        found: Callable[..., str] = (
            context.get(f"{context['engine']}__{name}") or context[f"default__{name}"]
        )
        return found


adapter = _Adapter()


def _compiler_error(message: str) -> None:
    raise ValueError(message)


exceptions = SimpleNamespace(raise_compiler_error=_compiler_error)


class _Dbt:
    """Macros of dbt that differ between engines, in a form that all of them can parse."""

    def dateadd(self, datepart: str, interval: object, from_date_or_timestamp: str) -> str:
        return f"dateadd({datepart}, {interval}, {from_date_or_timestamp})"

    def datediff(self, first_date: str, second_date: str, datepart: str) -> str:
        return f"datediff('{datepart}', {first_date}, {second_date})"

    def date_trunc(self, datepart: str, date: str) -> str:
        return f"date_trunc('{datepart}', {date})"

    def last_day(self, date: str, datepart: str) -> str:
        return f"last_day({date}, {datepart})"

    def hash(self, field: str) -> str:
        return f"md5({field})"

    def listagg(self, measure: str, delimiter_text: str, order_by_clause: str) -> str:
        return f"listagg({measure}, {delimiter_text}) within group ({order_by_clause})"

    def safe_cast(self, field: str, type: str) -> str:
        return f"try_cast({field} as {type})"

    def split_part(self, string_text: str, delimiter_text: str, part_number: int) -> str:
        return f"split_part({string_text}, {delimiter_text}, {part_number})"


dbt = _Dbt()
