"""File names: `<feed>_<CC>_<YYYYMMDD>[_<part>].csv[.gz]` read or refused with a reason.

A name decides feed, country and batch day; there is no guessing and no fallback to today. A
contract may describe names of its own, for senders that lay files out by folders.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from retail_platform.contract import FeedContract
from retail_platform.countries import ALL, CountryRegistry
from retail_platform.errors import FileRejected
from retail_platform.partitions import Scope

EXPECTED = "<feed>_<CC>_<YYYYMMDD>[_<part>].csv[.gz] (or .json, .ndjson, .jsonl; .zip, .zst)"
_NAME = re.compile(
    r"(?P<head>.+?)_(?P<day>[0-9]{8})(?:_(?P<part>[^.]+))?"
    r"\.(?:csv|json|ndjson|jsonl)(?:\.(?:gz|zip|zst))?",
    re.DOTALL,
)
_LONGEST_NAME = 200
"""File systems end at 255 bytes, and the copy in history has a checksum in its name."""

CONTROL_SUFFIXES = (".ctl", ".json")
"""What the name of a control file has behind the name of the data file it belongs to."""

_TEMPORARY = re.compile(r"^[.~]|\.(?:part|partial|tmp|temp|crdownload|filepart)$|#\d+$")


@dataclass(frozen=True)
class FileName:
    """What a well-formed name says.

    Attributes:
        country: ISO code, or ALL for global feeds and for files that are split by a column.
        day: batch day.
    """

    feed: str
    country: str
    day: date


def is_temporary(name: str) -> bool:
    """Whether the name is that of a file still being copied or an editor's leftover."""
    return bool(_TEMPORARY.search(name.rsplit("/", 1)[-1]))


def data_name_of(name: str) -> str | None:
    """Name of the data file, if this may be the name of a control file."""
    for suffix in CONTROL_SUFFIXES:
        data = name.removesuffix(suffix)
        # A control file has the whole name before it: stores_20250105.json is a data file.
        if data != name and "." in data.rsplit("/", 1)[-1]:
            return data
    return None


def read_file_name(
    name: str,
    contracts: Mapping[str, FeedContract],
    registry: CountryRegistry,
    first_day: date,
    today: date,
    last_day: date | None = None,
) -> FileName:
    """Read feed, country and batch day from a file name.

    Args:
        name: name below the inbox; folders are allowed and carry no meaning.
        first_day, today: batch days outside are refused; one day ahead is allowed because some
            countries live ahead of UTC.
        last_day: of an installation that takes no more days.

    Raises:
        FileRejected: codes unknown_name, ambiguous_name, unknown_feed, unknown_country,
            missing_country, unexpected_country, impossible_date, future_date, before_first_day,
            after_last_day.
    """
    base = name.rsplit("/", 1)[-1]
    if len(base.encode()) > _LONGEST_NAME:
        raise FileRejected(
            "unknown_name",
            f"The name {base!r} is longer than {_LONGEST_NAME} bytes.",
            "Rename the file, e.g. transactions_FR_20250111.csv, and deliver it again.",
        )
    described = _described(name, contracts)
    if described:
        contract, groups = described
        country = _country(name, contract, groups.get("country"), registry)
        parts = (groups.get(part) or "" for part in ("year", "month", "day"))
        digits = re.sub("[-/]", "", "".join(parts))
        return FileName(contract.name, country, _day(name, digits, first_day, today, last_day))
    match = _NAME.fullmatch(base)
    if not match:
        raise FileRejected(
            "unknown_name",
            f"The name {base!r} does not follow {EXPECTED}.",
            "Rename the file, e.g. transactions_FR_20250111.csv, and deliver it again.",
        )
    head = match["head"]
    feed, token = (head, None) if head in contracts else _split_country(head)
    if feed not in contracts:
        near = difflib.get_close_matches(feed, contracts, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise FileRejected(
            "unknown_feed",
            f"{base!r} belongs to feed {feed!r}; known are {', '.join(sorted(contracts))}.",
            f"Rename the file or add a contract for the feed.{hint}",
        )
    country = _country(base, contracts[feed], token, registry)
    return FileName(feed, country, _day(base, match["day"], first_day, today, last_day))


def _described(
    name: str, contracts: Mapping[str, FeedContract]
) -> tuple[FeedContract, dict[str, str | None]] | None:
    """The feed whose contract describes this name, and the groups of its pattern."""
    found = [
        (contract, match.groupdict())
        for contract in contracts.values()
        if contract.ingestion.file_name
        and (match := re.fullmatch(contract.ingestion.file_name, name, re.DOTALL))
    ]
    if len(found) > 1:
        raise FileRejected(
            "ambiguous_name",
            f"The name {name!r} fits file_name of {', '.join(c.name for c, _ in found)}.",
            "Make file_name of these contracts tell their files apart.",
        )
    return found[0] if found else None


def _split_country(head: str) -> tuple[str, str | None]:
    feed, _, token = head.rpartition("_")
    return (feed, token) if feed and re.fullmatch(r"[A-Za-z]{2,3}", token) else (head, None)


def _country(
    base: str, contract: FeedContract, token: str | None, registry: CountryRegistry
) -> str:
    if contract.scope is Scope.GLOBAL:
        if token not in (None, ALL):
            raise FileRejected(
                "unexpected_country",
                f"{base!r} names country {token}, but {contract.name} is one feed for all.",
                f"Deliver it as {contract.name}_<YYYYMMDD>.csv.",
            )
        return ALL
    if token is None or token == ALL:
        if contract.ingestion.country_column is None:
            raise FileRejected(
                "missing_country",
                f"{base!r} names no country and {contract.name} has no country column.",
                f"Deliver one file per country: {contract.name}_FR_<YYYYMMDD>.csv.",
            )
        return ALL
    code = registry.resolve(token)
    if code is None:
        raise FileRejected(
            "unknown_country",
            f"{base!r} names country {token!r}; the registry has {', '.join(registry.codes)}.",
            "Correct the name, or add the country to the registry.",
        )
    return code


def _day(base: str, digits: str, first_day: date, today: date, last_day: date | None) -> date:
    try:
        if not re.fullmatch("[0-9]{8}", digits):
            raise ValueError("eight digits expected")
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError as exc:
        raise FileRejected(
            "impossible_date",
            f"{base!r} carries {digits}, which is no calendar day.",
            "Correct the date in the name (YYYYMMDD) and deliver the file again.",
        ) from exc
    if day > today + timedelta(days=1):
        raise FileRejected(
            "future_date",
            f"{base!r} is dated {day}, but today is {today}.",
            "Correct the date in the name; or leave the file, it is taken when its day comes.",
        )
    if day < first_day:
        raise FileRejected(
            "before_first_day",
            f"{base!r} is dated {day}, before the first partition {first_day}.",
            "Set RETAIL_FIRST_DAY to an earlier day to load older history.",
        )
    if last_day and day > last_day:
        raise FileRejected(
            "after_last_day",
            f"{base!r} is dated {day}, after the last partition {last_day}.",
            "Set RETAIL_LAST_DAY to a later day, or leave it out, to load newer files.",
        )
    return day
