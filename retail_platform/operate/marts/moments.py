"""Moments as people write them: a day, a time, "2 hours ago". Times without an offset are UTC."""

import re
from datetime import UTC, datetime, timedelta

from retail_platform.errors import ConfigurationError

EXPECTED = (
    "expected a time like 2025-01-31 or 2025-01-31T18:30 (UTC unless it has an offset), words like "
    "'2 hours ago', or the id of a run, of which the first 8 characters are enough"
)

_AGO = re.compile(r"(\d+) *(second|minute|hour|day|week)s? +ago")
_DAY = re.compile(r"\d{4}-\d\d-\d\d(?!\d)")
_RUN = re.compile(r"[0-9a-zA-Z-]{8,36}")


def parse_moment(text: str, now: datetime | None = None) -> datetime | None:
    """The moment in UTC; None for what may be the id of a run.

    Raises:
        ConfigurationError: it is neither, or lies in the future.
    """
    now = now or datetime.now(UTC)
    words = " ".join(text.lower().split())
    ago = _AGO.fullmatch(words)
    if ago:
        return now - timedelta(**{f"{ago[2]}s": int(ago[1])})
    # An id may well begin with eight digits, which datetime takes for a day.
    if not _DAY.match(text.strip()) and _RUN.fullmatch(text.strip()):
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError(f"--as-of {text!r}: {EXPECTED}.") from None
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > now:
        raise ConfigurationError(f"--as-of {text!r} is in the future; it is {spell(now)} now.")
    return moment


def spell(moment: datetime) -> str:
    """As it is written for a person."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
