"""The outbox: which troubles are open, what was told about them, and what still has to be told.

One SQLite file that every process of an installation may open at any time. A trouble and the
message about it are stored in one transaction, together with how far was looked; so nothing is
lost between looking and telling, and nothing is told twice while the same trouble stays open.
"""

import json
import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from retail_platform.alerts.alert import Alert, Kind, Severity
from retail_platform.errors import ConfigurationError, Transient

FIRST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(hours=1)
"""A channel that is down is tried again after these, doubling in between, with jitter."""

FORGET_AFTER = timedelta(days=90)
"""Ended troubles and delivered messages are kept this long, for `retail alerts list`."""

_SCHEMA = """
create table if not exists troubles (
    key text primary key, kind text not null, alert text not null, occasion text not null,
    open_since text not null, last_seen text not null, times_seen integer not null,
    ended_at text
);
create table if not exists messages (
    id integer primary key, channel text not null, notice text not null, created_at text not null,
    attempts integer not null default 0, due_at text not null, told_at text, error text
);
create index if not exists waiting on messages (channel, id) where told_at is null;
create table if not exists memory (name text primary key, value text not null);
"""


@dataclass(frozen=True)
class Notice:
    """What is to be told: that a trouble began, or that it is over."""

    alert: Alert
    ended: bool = False

    def as_text(self) -> str:
        """For the outbox."""
        return json.dumps({"alert": self.alert.model_dump(mode="json"), "ended": self.ended})

    @classmethod
    def of(cls, text: str) -> "Notice":
        """From the outbox."""
        fields = json.loads(text)
        return cls(Alert.model_validate(fields["alert"]), fields["ended"])


class NotDelivered(Transient):
    """A channel did not take a message; the text says why and holds no secret."""


Send = Callable[[str, Sequence[Notice]], Iterator[Collection[Notice]]]
"""Given a channel and all it is to be told; yields what the channel has taken, as it takes it.
Raises `NotDelivered` when it does not take the rest."""


@dataclass(frozen=True)
class Trouble:
    """A trouble as the outbox knows it.

    Attributes:
        last_told: when a message about it left for the first of its channels; None if none has.
    """

    alert: Alert
    open_since: datetime
    last_seen: datetime
    times_seen: int
    ended_at: datetime | None
    last_told: datetime | None


@dataclass(frozen=True)
class Waiting:
    """Messages of one channel that could not be delivered yet."""

    channel: str
    count: int
    since: datetime
    attempts: int
    error: str


class Outbox:
    """See the module. Cheap to create; the file appears when first used."""

    def __init__(self, folder: Path) -> None:
        """Name the folder."""
        self.path = folder / "outbox.sqlite"
        self._delivering = FileLock(folder / "delivering.lock")
        self._ready = False

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._opened() as connection:
                yield connection
        except sqlite3.OperationalError:
            raise  # locked for a moment, or the disk is full
        except sqlite3.DatabaseError as exc:
            raise ConfigurationError(
                f"{self.path} is no outbox of alerts ({exc}). Move it away: what is still wrong is "
                "found and told again."
            ) from exc

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        if not self._ready:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as connection:
            if not self._ready:
                connection.execute("pragma journal_mode = wal")
                connection.executescript(_SCHEMA)
                self._ready = True
            connection.execute("begin immediate")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def recall(self, name: str) -> str | None:
        """What `record` remembered under this name."""
        with self._transaction() as connection:
            row = connection.execute("select value from memory where name = ?", [name]).fetchone()
        return row[0] if row else None

    def record(
        self,
        seen: Mapping[Kind, Sequence[Alert]],
        channels_of: Callable[[Alert], Sequence[str]],
        now: datetime,
        remember: Mapping[str, str] | None = None,
    ) -> list[Notice]:
        """Compare what there is with what was known; put messages about the difference in place.

        Args:
            seen: every trouble there is, by kind. A kind that is not in here was not looked at:
                its troubles neither begin nor end.
            channels_of: names of the channels that are told about an alert.
            now: UTC.
            remember: stored in the same transaction, for `recall`.

        Returns:
            What is going to be told.
        """
        stamp = now.isoformat()
        notices: list[Notice] = []
        with self._transaction() as connection:
            known = {
                key: (Alert.model_validate_json(text), occasion, ended)
                for key, text, occasion, ended in connection.execute(
                    "select key, alert, occasion, ended_at from troubles where kind in "
                    f"({', '.join('?' * len(seen))})",
                    [kind.value for kind in seen],
                )
            }
            present: set[str] = set()
            for alert in (alert for alerts in seen.values() for alert in alerts):
                present.add(alert.key)
                before, occasion, ended = known.get(alert.key, (None, "", None))
                is_new = before is None or ended is not None
                again = occasion != alert.occasion
                if before and not is_new and _has_eased(before, alert):
                    notices.append(Notice(alert, ended=True))
                elif (is_new and not (before and not again and alert.every_occasion)) or (
                    not is_new and again and alert.every_occasion
                ):
                    notices.append(Notice(alert))
                _store(connection, alert, stamp, is_new=is_new, again=again)
            for key, (alert, _, ended) in known.items():
                if key not in present and ended is None:
                    connection.execute(
                        "update troubles set ended_at = ? where key = ?", [stamp, key]
                    )
                    if alert.severity is not Severity.INFO:
                        notices.append(Notice(alert, ended=True))
            connection.executemany(
                "insert into messages (channel, notice, created_at, due_at) values (?, ?, ?, ?)",
                [
                    (channel, notice.as_text(), stamp, stamp)
                    for notice in notices
                    for channel in channels_of(notice.alert)
                ],
            )
            connection.executemany(
                "insert or replace into memory values (?, ?)", list((remember or {}).items())
            )
            old = (now - FORGET_AFTER).isoformat()
            connection.execute("delete from troubles where ended_at < ?", [old])
            connection.execute("delete from messages where told_at < ?", [old])
        return notices

    def deliver(self, send: Send, now: datetime, *, even_waiting: bool = False) -> int:
        """Hand waiting messages to their channels, the oldest first.

        A message counts as told when its channel took it. A process that dies in between has it
        told once more by the next one: at least once, never not at all.

        Args:
            even_waiting: also try channels whose time to be tried again has not come.

        Returns:
            How many messages were told; zero also while another process delivers.
        """
        try:
            with self._delivering.acquire(timeout=0):
                due = self._due(now, even_waiting=even_waiting)
                return sum(self._deliver_to(c, found, send, now) for c, found in due.items())
        except Timeout:
            return 0

    def drop(self, channel: str) -> int:
        """Forget what waits for a channel, e.g. one that is gone for good.

        Returns:
            How many messages nobody will be told.
        """
        with self._transaction() as connection:
            return connection.execute(
                "delete from messages where channel = ? and told_at is null", [channel]
            ).rowcount

    def _due(self, now: datetime, *, even_waiting: bool) -> dict[str, dict[int, Notice]]:
        """Channel -> its messages by number; channels whose oldest has to wait are left out."""
        with self._transaction() as connection:
            rows = connection.execute(
                "select id, channel, notice, due_at from messages where told_at is null order by id"
            ).fetchall()
        found: dict[str, dict[int, Notice]] = defaultdict(dict)
        waits: set[str] = set()
        for number, channel, notice, due_at in rows:
            if channel not in found and due_at > now.isoformat() and not even_waiting:
                waits.add(channel)
            if channel not in waits:
                found[channel][number] = Notice.of(notice)
        return found

    def _deliver_to(
        self, channel: str, due: Mapping[int, Notice], send: Send, now: datetime
    ) -> int:
        left = dict(due)
        try:
            for told in send(channel, list(due.values())):
                numbers = [number for number, notice in left.items() if notice in told]
                self._update("told_at = ?, error = null", [now.isoformat()], numbers)
                for number in numbers:
                    del left[number]
        except NotDelivered as exc:
            with self._transaction() as connection:
                (attempts,) = connection.execute(
                    "select max(attempts) from messages where id = ?", [next(iter(left))]
                ).fetchone()
            due_at = (now + _wait(attempts)).isoformat()
            self._update("attempts = attempts + 1, due_at = ?, error = ?", [due_at, str(exc)], left)
        return len(due) - len(left)

    def _update(self, change: str, values: Sequence[str], numbers: Iterable[int]) -> None:
        with self._transaction() as connection:
            connection.executemany(
                f"update messages set {change} where id = ?", [[*values, n] for n in numbers]
            )

    def troubles(self, *, ended: bool = False) -> list[Trouble]:
        """Open troubles, the oldest first; also those that ended, if asked for."""
        with self._transaction() as connection:
            told = {}
            for notice, told_at in connection.execute(
                "select notice, told_at from messages where told_at is not null"
            ):
                told[Notice.of(notice).alert.key] = told_at
            rows = connection.execute(
                "select alert, open_since, last_seen, times_seen, ended_at from troubles "
                + ("" if ended else "where ended_at is null ")
                + "order by open_since, key"
            ).fetchall()
        found = []
        for text, since, seen, times, ended_at in rows:
            alert = Alert.model_validate_json(text)
            found.append(
                Trouble(
                    alert,
                    _time(since),
                    _time(seen),
                    times,
                    _time(ended_at) if ended_at else None,
                    _time(told[alert.key]) if alert.key in told else None,
                )
            )
        return found

    def waiting(self) -> list[Waiting]:
        """Channels with messages that are not delivered."""
        with self._transaction() as connection:
            rows = connection.execute(
                "select channel, count(*), min(created_at), max(attempts), max(error) "
                "from messages where told_at is null group by channel order by channel"
            ).fetchall()
        return [
            Waiting(c, n, _time(since), tries, error or "") for c, n, since, tries, error in rows
        ]


def _store(
    connection: sqlite3.Connection, alert: Alert, stamp: str, *, is_new: bool, again: bool
) -> None:
    """A trouble that is there now."""
    connection.execute(
        "insert into troubles values (?, ?, ?, ?, ?, ?, 1, null) on conflict (key) do update set "
        "alert = excluded.alert, occasion = excluded.occasion, last_seen = excluded.last_seen, "
        "open_since = iif(?, excluded.open_since, open_since), ended_at = null, "
        "times_seen = iif(?, 1, times_seen + ?)",
        [
            alert.key, alert.kind.value, alert.model_dump_json(), alert.occasion, stamp, stamp,
            is_new, is_new, int(again),
        ],
    )  # fmt: skip


def _has_eased(before: Alert, now: Alert) -> bool:
    """An error that is no more than worth knowing by now is over, e.g. a file that came late."""
    return now.severity is Severity.INFO and before.severity is not Severity.INFO


def _wait(attempts: int) -> timedelta:
    longest = min(FIRST_WAIT * 2 ** min(attempts, 20), LONGEST_WAIT)
    return longest * (0.75 + 0.5 * random.random())


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
