"""How far a source has been pulled, for each country: kept in the lake, beside what was pulled.

`cursors/<source>/<country>.json` holds the position after the last file that is safely in the
inbox and, while a file is on its way, where the position will be when it has arrived. Asking the
lake whether that file arrived is all it takes to go on after a crash; see `puller`.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import simplejson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retail_platform.errors import ConfigurationError, SourceRefused
from retail_platform.lake.store import CURSORS, Lake
from retail_platform.pull.sources import Incremental

Point = datetime | date | int
"""A value of the field that grows."""

_CLOCKS = timedelta(hours=14)
"""Local time without an offset can be this far ahead of UTC."""

_PRUNE_ABOVE = 50_000


class Position(BaseModel):
    """Where a pull begins.

    Attributes:
        value: newest value of the incremental field that was delivered; of a source without one,
            the day and the content of the last delivery.
        seen: fingerprint -> value of the delivered records that the next pull will meet again,
            because it reaches back behind the newest.
    """

    model_config = ConfigDict(frozen=True)

    value: str | None = None
    seen: Mapping[str, str] = Field(default_factory=dict)

    @property
    def id(self) -> str:
        """Short identity: pulls that begin at the same position deliver under the same name."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:10]


class Pending(BaseModel):
    """A file on its way into the inbox.

    Attributes:
        name: below the inbox.
        position: holds once the file is there.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    checksum: str
    day: date
    position: Position


class Cursor(BaseModel):
    """The state of one source and country.

    Attributes:
        checked_at: when it was last asked, also if there was nothing new.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    country: str
    position: Position = Position()
    pending: Pending | None = None
    last_file: str | None = None
    checked_at: datetime | None = None


def cursor_path(source: str, country: str) -> str:
    """Where a cursor lies."""
    return f"{CURSORS}{source}/{country}.json"


def read_cursor(lake: Lake, source: str, country: str) -> Cursor:
    """The cursor of a source and country; a new one if it was never pulled.

    Raises:
        ConfigurationError: what lies there is no cursor.
    """
    path = cursor_path(source, country)
    try:
        return Cursor.model_validate_json(lake.get(path))
    except FileNotFoundError:
        return Cursor(source=source, country=country)
    except ValidationError as exc:
        raise ConfigurationError(
            f"{path} in the lake is no cursor of this release ({exc.error_count()} findings). "
            "Restore it, or delete it: the source is then pulled from its start again."
        ) from exc


def write_cursor(lake: Lake, cursor: Cursor) -> None:
    """Put a cursor."""
    path = cursor_path(cursor.source, cursor.country)
    lake.put(path, cursor.model_dump_json(indent=1).encode())


def point_of(rule: Incremental, value: Any, what: str = "") -> Point:
    """Read a value of the incremental field.

    Args:
        what: name of the record for messages.

    Raises:
        SourceRefused: it is not what the source's configuration says.
    """
    try:
        if rule.type == "integer":
            return int(value)
        if isinstance(value, datetime):
            return value.date() if rule.type == "date" else value
        if isinstance(value, date):
            return value if rule.type == "date" else datetime(*value.timetuple()[:3])  # noqa: DTZ001
        moment = datetime.fromisoformat(str(value))
    except (TypeError, ValueError) as exc:
        raise SourceRefused(
            f"{what or rule.field} holds {value!r}, which is no {rule.type}. "
            "Correct `incremental` of the source: field or type."
        ) from exc
    return moment.date() if rule.type == "date" else moment


def ordered(point: Point) -> Point:
    """A value as it is compared: a moment without an offset is taken for UTC."""
    if isinstance(point, datetime) and point.tzinfo is None:
        return point.replace(tzinfo=UTC)
    return point


def in_text(point: Point) -> str:
    """A value as a cursor holds it; `point_of` reads it again."""
    return str(point) if isinstance(point, int) else point.isoformat()


def reaching_back(rule: Incremental, point: Point) -> Point:
    """Where a pull begins, given the newest value."""
    if isinstance(point, int):
        return point - rule.reach
    if isinstance(point, datetime):
        return (point - timedelta(seconds=rule.reach)).replace(microsecond=0)
    return point - timedelta(days=rule.reach)


def fingerprint(record: Mapping[str, Any]) -> str:
    """Identity of the content of a record, whatever the order of its fields."""
    text = simplejson.dumps(record, sort_keys=True, default=str, use_decimal=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def field_of(record: Mapping[str, Any], path: str) -> Any:
    """The value at keys parted by dots; None when it is not there."""
    value: Any = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


class News:
    """Tells new records from those delivered before, and finds the next position."""

    def __init__(self, rule: Incremental, position: Position, now: datetime) -> None:
        """Begin at a position.

        Args:
            now: UTC. The position never goes beyond it: one record dated in the future would
                otherwise hide everything that comes after.
        """
        self._rule = rule
        self._position = position
        self._now = now
        newest = None if position.value is None else point_of(rule, position.value)
        self._newest = newest
        start = None if rule.start is None else point_of(rule, rule.start, "`start`")
        self.since: Point | None = start if newest is None else reaching_back(rule, newest)
        self._met: dict[str, Point] = {}
        self._prune_at = _PRUNE_ABOVE
        self.repeated = self.older = 0

    def is_new(self, record: Mapping[str, Any]) -> bool:
        """Whether a record was not delivered before in this very content.

        Raises:
            SourceRefused: its incremental field is missing or unreadable.
        """
        value = field_of(record, self._rule.field)
        if value is None:
            raise SourceRefused(
                f"A record has no {self._rule.field} (it has {', '.join(list(record)[:20])}), so "
                "nobody can tell whether it is new. Correct `incremental` of the source."
            )
        point = point_of(self._rule, value)
        if self.since is not None and ordered(point) < ordered(self.since):  # type: ignore[operator]
            self.older += 1
            return False
        mark = fingerprint(record)
        known = mark in self._met or mark in self._position.seen
        self._met[mark] = point
        if known:
            self.repeated += 1
            return False
        reached = self._at_most_now(point)
        if self._newest is None or ordered(reached) > ordered(self._newest):  # type: ignore[operator]
            self._newest = reached
        if len(self._met) > self._prune_at:
            self._met = self._still_needed()
            self._prune_at = max(_PRUNE_ABOVE, 2 * len(self._met))
        return True

    def position(self) -> Position:
        """The position after what was met so far."""
        if self._newest is None:
            return self._position
        seen = {mark: in_text(point) for mark, point in self._still_needed().items()}
        return Position(value=in_text(self._newest), seen=dict(sorted(seen.items())))

    def _still_needed(self) -> dict[str, Point]:
        if self._newest is None:
            return self._met
        floor = ordered(reaching_back(self._rule, self._newest))
        known = {m: point_of(self._rule, text) for m, text in self._position.seen.items()}
        return {m: p for m, p in {**known, **self._met}.items() if ordered(p) >= floor}  # type: ignore[operator]

    def _at_most_now(self, point: Point) -> Point:
        if isinstance(point, datetime):
            ceiling = self._now + (_CLOCKS if point.tzinfo is None else timedelta(0))
            late = ordered(point) > ceiling  # type: ignore[operator]
            return (ceiling if point.tzinfo else ceiling.replace(tzinfo=None)) if late else point
        if isinstance(point, date):
            return min(point, (self._now + _CLOCKS).date())
        return point
