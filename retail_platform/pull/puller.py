"""One pull of one source and country: ask, deliver into the inbox, remember how far.

What makes it harmless to stop anywhere:

1. *intent*: the cursor notes the file that is about to be put and the position behind it.
2. *put*: the file appears in the inbox whole, by one put, and is on disk when that returns.
3. *commit*: the cursor moves to the position behind it.

The next pull finds an intent only if this one stopped between 1 and 3. If the file lies in the
inbox, or a manifest says that the gate took it in, it arrived and step 3 is done now; else the same
question is asked again. A file is named by the position it was pulled from, so even a put that a
store carries out after its client died is replaced, and not added to, by the repetition.

Pulls reach back behind the newest record, for what became visible late; records that were delivered
in the same content are left out by fingerprint. So each version of a record is in one file, and a
quiet source delivers nothing.

A window asked for by day (backfill) has no cursor: one file for each day, always under the same
name, so a repetition replaces the earlier one. Days that were pulled as news before are then in RAW
under both names; staging takes the newest version of each key. One name for both would lose rows: a
file of news holds what became visible since the pull before, of whatever days it is, so no file of
a day holds all that such a file does.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

from retail_platform.contract import FeedContract
from retail_platform.countries import ALL, CountryRegistry
from retail_platform.errors import ConfigurationError
from retail_platform.lake.manifest import read_manifests
from retail_platform.lake.store import INBOX, Lake
from retail_platform.partitions import Partition
from retail_platform.pull.credentials import Credentials
from retail_platform.pull.cursor import (
    Cursor,
    News,
    Pending,
    Point,
    Position,
    field_of,
    in_text,
    point_of,
    read_cursor,
    write_cursor,
)
from retail_platform.pull.files import Spool, file_name
from retail_platform.pull.sources import Incremental, RestSource, Source

_DAY = timedelta(days=1)
Step = Callable[[str], None]


@dataclass(frozen=True)
class Delivered:
    """One file that a pull put into the inbox."""

    name: str
    day: date
    rows: int
    bytes: int


@dataclass
class Report:
    """What one pull of a country did.

    Attributes:
        files: delivered, oldest first; empty when there was nothing new.
        repeated: records met again that were delivered before.
        requests, pages, bytes: what it cost.
        cursor_before, cursor_after: newest value of the incremental field.
    """

    source: str
    country: str
    files: list[Delivered] = field(default_factory=list)
    repeated: int = 0
    requests: int = 0
    pages: int = 0
    bytes: int = 0
    cursor_before: str | None = None
    cursor_after: str | None = None

    @property
    def rows(self) -> int:
        """New records delivered."""
        return sum(file.rows for file in self.files)

    def as_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {**asdict(self), "rows": self.rows}


class Puller:
    """Pulls one source."""

    def __init__(
        self,
        lake: Lake,
        source: Source,
        contract: FeedContract,
        registry: CountryRegistry,
        read_secret: Callable[[str], str],
        on_step: Step = lambda step: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            read_secret: value of an environment variable.
            on_step: called with the name of each step of the protocol before it begins, and with
                ``done`` after the last.
        """
        self._lake = lake
        self._source = source
        self._contract = contract
        self._registry = registry
        self._credentials = Credentials(read_secret)
        self._on_step = on_step
        self._now = now

    def pull(self, country: str) -> Report:
        """Bring what is new since the last pull into the inbox.

        Raises:
            SourceUnavailable, SourceRefused, ConfigurationError: nothing is lost; the next pull
                goes on behind the last file that arrived.
        """
        now = self._now()
        cursor = self._settled(read_cursor(self._lake, self._source.name, country))
        report = Report(self._source.name, country, cursor_before=cursor.position.value)
        day = now.astimezone(self._zone(country)).date()
        rule = self._source.incremental
        if rule is None:
            cursor = self._pull_all(cursor, day, report)
        else:
            cursor = self._pull_news(rule, cursor, day, now, report)
        write_cursor(self._lake, cursor.model_copy(update={"checked_at": now}))
        report.cursor_after = cursor.position.value
        return report

    def pull_days(self, country: str, first: date, last: date) -> Report:
        """Bring what changed in a window into the inbox again, a file for each day.

        Args:
            first, last: days of the incremental field, in the country's time zone; without one, the
                days asked for.

        Raises:
            SourceUnavailable, SourceRefused, ConfigurationError: as `pull`, or the source cannot
                be asked by day.
        """
        report = Report(self._source.name, country)
        rule = self._source.incremental
        if rule is not None and rule.type != "integer":
            self._pull_window(rule, country, first, last, report)
        elif rule is None and self._source.by_day:
            for number in range((last - first).days + 1):
                day = first + number * _DAY
                with Spool() as spool:
                    for batch in self._batches(country, day, None, None, report):
                        spool.add_all(batch)
                    self._put_day(country, day, self._source.name, spool, report)
        else:
            raise ConfigurationError(
                f"Source {self._source.name} cannot be asked for days: it needs an incremental "
                "field of type timestamp or date, or {day} in its path or parameters."
            )
        return report

    def _pull_news(
        self, rule: Incremental, cursor: Cursor, day: date, now: datetime, report: Report
    ) -> Cursor:
        news = News(rule, cursor.position, now)
        batches = self._batches(cursor.country, day, news.since, None, report)
        if isinstance(self._source, RestSource):
            # Pages come in any order, so they count together, when the last one is there. A
            # database hands rows out in the order of the cursor: every chunk is a step of its own.
            batches = iter([chain.from_iterable(batches)])
        for batch in batches:
            with Spool() as spool:
                spool.add_all(record for record in batch if news.is_new(record))
                if spool.rows:
                    cursor = self._deliver(cursor, day, spool, news.position(), report)
        report.repeated = news.repeated
        return cursor

    def _pull_all(self, cursor: Cursor, day: date, report: Report) -> Cursor:
        """A source that tells everything every time: its newest answer of a day replaces others."""
        with Spool() as spool:
            for batch in self._batches(cursor.country, day, None, None, report):
                spool.add_all(batch)
            position = Position(value=f"{day} {spool.digest}")
            if not spool.rows or position == cursor.position:
                report.repeated = spool.rows
                return cursor
            return self._deliver(cursor, day, spool, position, report)

    def _pull_window(
        self, rule: Incremental, country: str, first: date, last: date, report: Report
    ) -> None:
        zone = self._zone(country)
        since, until = self._around(rule, first, last)
        spools: dict[date, Spool] = {}
        try:
            for batch in self._batches(country, first, since, until, report):
                for record in batch:
                    day = _day_of(point_of(rule, field_of(record, rule.field)), zone)
                    if first <= day <= last:
                        spools.setdefault(day, Spool()).add(record)
            for day in sorted(spools):
                self._put_day(country, day, f"{self._source.name}-day", spools[day], report)
        finally:
            for spool in spools.values():
                spool.close()

    def _put_day(self, country: str, day: date, part: str, spool: Spool, report: Report) -> None:
        if not spool.rows:
            return
        name = file_name(self._contract, country, day, part)
        with spool.as_file(self._contract) as (path, _):
            self._on_step("put")
            self._lake.put_file(INBOX + name, path)
            report.files.append(Delivered(name, day, spool.rows, path.stat().st_size))
        self._on_step("done")

    def _deliver(
        self, cursor: Cursor, day: date, spool: Spool, position: Position, report: Report
    ) -> Cursor:
        """Steps 1 to 3."""
        part = self._source.name
        if self._source.incremental:
            part += f"-{self._identity(cursor.position)}"
        name = file_name(self._contract, cursor.country, day, part)
        with spool.as_file(self._contract) as (path, checksum):
            self._on_step("intent")
            pending = Pending(name=name, checksum=checksum, day=day, position=position)
            write_cursor(self._lake, cursor.model_copy(update={"pending": pending}))
            self._on_step("put")
            self._lake.put_file(INBOX + name, path)
            report.files.append(Delivered(name, day, spool.rows, path.stat().st_size))
        self._on_step("commit")
        moved = cursor.model_copy(update={"position": position, "last_file": name})
        write_cursor(self._lake, moved)
        self._on_step("done")
        return moved

    def _identity(self, position: Position) -> str:
        """Of the question a file answers: where it begins, and where pulling began at all."""
        start = self._source.incremental.start if self._source.incremental else None
        return hashlib.sha256(f"{start} {position.id}".encode()).hexdigest()[:10]

    def _settled(self, cursor: Cursor) -> Cursor:
        """The cursor of a pull that was stopped, as it had been if it had ended."""
        pending = cursor.pending
        if pending is None:
            return cursor
        settled = cursor.model_copy(update={"pending": None})
        if self._arrived(cursor.country, pending):
            settled = settled.model_copy(
                update={"position": pending.position, "last_file": pending.name}
            )
        write_cursor(self._lake, settled)
        return settled

    def _arrived(self, country: str, pending: Pending) -> bool:
        """Whether a file got as far as the inbox; asked in the order in which files go on."""
        try:
            waiting = self._lake.get(INBOX + pending.name)
        except FileNotFoundError:
            waiting = None
        if waiting is not None and hashlib.sha256(waiting).hexdigest() == pending.checksum:
            return True
        # A file for all countries is in the manifest of each.
        code = self._contract.countries_of(country, self._registry)[0]
        partition = Partition(code, pending.day)
        manifest = read_manifests(self._lake, self._contract.name, [partition]).get(partition)
        return manifest is not None and any(
            facts.name == pending.name and facts.checksum == pending.checksum
            for facts in manifest.files.values()
        )

    def _batches(
        self, country: str, day: date, since: Point | None, until: Point | None, report: Report
    ) -> Iterator[Iterable[Mapping[str, Any]]]:
        source = self._source
        words = {"country": source.countries[country], "day": day.isoformat()}
        if isinstance(source, RestSource):
            from retail_platform.pull.rest import Traffic, rest_pages  # noqa: PLC0415 - dlt: 1.5 s

            params = {name: _filled(value, words) for name, value in source.params.items()}
            rule = source.incremental
            if rule and rule.param and since is not None:
                params[rule.param] = _asked(rule, since)
            if rule and rule.until_param and until is not None:
                params[rule.until_param] = _asked(rule, until)
            traffic = Traffic()
            try:
                path = str(_filled(source.path, words))
                yield from rest_pages(source, path, params, self._credentials, traffic)
            finally:
                report.requests += traffic.requests
                report.pages += traffic.pages
                report.bytes += traffic.bytes
            return
        from retail_platform.pull.sql import sql_chunks  # noqa: PLC0415 - SQLAlchemy and a driver

        report.requests += 1
        for chunk in sql_chunks(source, words["country"], since, until, self._credentials):
            report.pages += 1
            yield chunk

    def _around(self, rule: Incremental, first: date, last: date) -> tuple[Point, Point]:
        """What to ask for to get some days: wider by a day where it is unknown in whose time."""
        if rule.type == "date":
            return first, last + _DAY
        zone = UTC if isinstance(self._source, RestSource) else None
        since, until = (datetime.combine(d, time(), zone) for d in (first - _DAY, last + 2 * _DAY))
        return since, until

    def _zone(self, country: str) -> ZoneInfo:
        return ZoneInfo("UTC" if country == ALL else self._registry[country].timezone)


def _filled(text: str | int, words: Mapping[str, str]) -> str | int:
    if isinstance(text, str):
        for word, value in words.items():
            text = text.replace(f"{{{word}}}", value)
    return text


def _asked(rule: Incremental, point: Point) -> str:
    """A value as a request parameter; a moment in UTC, its fraction cut off."""
    if isinstance(point, int):
        return str(point)
    if isinstance(point, datetime) and point.tzinfo:
        point = point.astimezone(UTC)
    return point.strftime(rule.pattern)


def _day_of(point: Point, zone: ZoneInfo) -> date:
    if isinstance(point, datetime):
        return (point.astimezone(zone) if point.tzinfo else point).date()
    if isinstance(point, date):
        return point
    raise TypeError(f"a day was expected, got {in_text(point)}")
