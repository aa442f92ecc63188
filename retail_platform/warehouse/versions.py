"""Versions of the published copy: which files readers saw, since when, and by which run.

Files are never changed once they have their name, and versions share those that stay the same, so
a version costs what it changed. The record is an SQLite database beside the files: a version is
there whole or not at all. It is written by whoever holds the warehouse, and read by anybody.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

RECORD = "versions.sqlite"

GRACE = timedelta(hours=1)
"""For how long files stay once no version can be asked for that names them: somebody may have been
told of them just before, and still be reading."""

_TABLES = """
create table if not exists versions (
    version integer primary key, published_at text not null, run_id text not null, expired_at text
);
create table if not exists publications (
    mart text primary key, version integer not null, published_at text not null,
    run_id text not null
);
create table if not exists files (
    mart text not null, slot text not null, file text not null, since integer not null,
    until integer
);
create index if not exists files_until on files (until);
"""

Files = Mapping[str, Mapping[str, str]]
"""Mart -> slot (a month, or all of it) -> name of the file that holds it."""


@dataclass(frozen=True)
class Retention:
    """How long versions can be asked for.

    Attributes:
        days: since readers stopped seeing them.
        versions: as many of the newest are kept, however old.
    """

    days: float = 7
    versions: int = 10


USUAL = Retention()


@dataclass(frozen=True)
class Version:
    """What readers saw from a moment on.

    Attributes:
        published_at: UTC.
        run_id: of the run that published it; empty outside of runs.
    """

    number: int
    published_at: datetime
    run_id: str


class Versions:
    """The record of one published folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / RECORD

    def newest(self) -> Version | None:
        """What readers see now; None before the first publication."""
        found = self._ask("order by version desc limit 1")
        return found[0] if found else None

    def kept(self) -> list[Version]:
        """All that can be asked for, oldest first."""
        return self._ask("and expired_at is null order by version")

    def at(self, moment: datetime) -> Version | None:
        """What readers saw at a moment; None where that is not known (any more)."""
        found = self._ask(
            "and expired_at is null and published_at <= ? order by version desc limit 1",
            _text(moment),
        )
        return found[0] if found else None

    def of_run(self, run_id: str) -> list[Version]:
        """What runs left whose id begins so: the last version of each."""
        pattern = run_id.replace("%", "").replace("_", "") + "%"
        by_run = {
            v.run_id: v
            for v in self._ask("and expired_at is null and run_id like ? order by version", pattern)
        }
        return list(by_run.values())

    def _ask(self, condition: str, *parameters: str) -> list[Version]:
        if not self._path.is_file():
            return []
        with self._open() as record:
            rows = record.execute(
                f"select version, published_at, run_id from versions where true {condition}",
                parameters,
            ).fetchall()
        return [Version(n, datetime.fromisoformat(at), run_id) for n, at, run_id in rows]

    def files(self, version: Version) -> dict[str, dict[str, str]]:
        """The files of a version, see `Files`; slots in order."""
        found: dict[str, dict[str, str]] = {}
        with self._open() as record:
            for mart, slot, file in record.execute(
                "select mart, slot, file from files where since <= ? and coalesce(until, ?) > ? "
                "order by mart, slot",
                [version.number, version.number + 1, version.number],
            ):
                found.setdefault(mart, {})[slot] = file
        return found

    def last_publications(self) -> dict[str, Version]:
        """Per mart the version that last wrote it, whether or not anything was new in it."""
        if not self._path.is_file():
            return {}
        with self._open() as record:
            rows = record.execute(
                "select mart, version, published_at, run_id from publications"
            ).fetchall()
        return {m: Version(n, datetime.fromisoformat(at), run) for m, n, at, run in rows}

    def add(self, at: datetime, run_id: str, replaced: Files) -> Version:
        """Record a version: the newest one, with these files in their slots."""
        with self._open() as record, record:
            record.execute("begin immediate")
            (newest,) = record.execute("select max(version) from versions").fetchone()
            number = (newest or 0) + 1
            record.execute(
                "insert into versions values (?, ?, ?, null)", [number, _text(at), run_id]
            )
            for mart, slots in replaced.items():
                record.execute(
                    "insert or replace into publications values (?, ?, ?, ?)",
                    [mart, number, _text(at), run_id],
                )
                for slot, file in slots.items():
                    self._replace(record, number, mart, slot, file)
        return Version(number, at, run_id)

    @staticmethod
    def _replace(record: sqlite3.Connection, number: int, mart: str, slot: str, file: str) -> None:
        current = "mart = ? and slot = ? and until is null"
        same = f"select 1 from files where {current} and file = ?"
        if record.execute(same, [mart, slot, file]).fetchone():
            return
        record.execute(f"update files set until = ? where {current}", [number, mart, slot])
        record.execute("insert into files values (?, ?, ?, ?, null)", [mart, slot, file, number])

    def expire(self, retention: Retention, now: datetime | None = None) -> list[Path]:
        """Forget versions that are old, and remove files that no reader can know any more.

        How old a version is counts from when the next one replaced it. What a process left behind
        that died while it published goes as well.

        Returns:
            Files removed.
        """
        now = now or datetime.now(UTC)
        with self._open() as record, record:
            record.execute("begin immediate")
            record.execute(
                "update versions set expired_at = ? where expired_at is null and version in ("
                "select version from (select version, lead(published_at) over (order by version) "
                "as replaced_at, count(*) over () - row_number() over (order by version) as newer "
                "from versions) where replaced_at < ? and newer >= ?)",
                [_text(now), _text(now - timedelta(days=retention.days)), retention.versions],
            )
            forgotten = _text(now - GRACE)
            record.execute("delete from versions where expired_at < ?", [forgotten])
            oldest = "(select min(version) from versions)"
            gone = record.execute(
                f"select distinct mart, file from files where until <= {oldest} and not exists ("
                "select 1 from files as others where others.mart = files.mart "
                f"and others.file = files.file and coalesce(others.until, {oldest} + 1) > {oldest})"
            ).fetchall()
            paths = [self.folder / mart / file for mart, file in gone]
            # Before the record forgets them: a process that dies here does it again.
            for path in paths:
                path.unlink(missing_ok=True)
            record.execute(f"delete from files where until <= {oldest}")
            # Of the marts just written only: there are more files with every version.
            newest = "mart in (select mart from publications where version = "
            newest += "(select max(version) from versions))"
            written = record.execute(f"select mart from publications where {newest}").fetchall()
            named = record.execute(f"select mart, file from files where {newest}").fetchall()
        known = {self.folder / mart / file for mart, file in named}
        for path in (path for (mart,) in written for path in (self.folder / mart).glob("*")):
            if path not in known and path.stat().st_mtime < (now - GRACE).timestamp():
                path.unlink()
                paths.append(path)
        return paths

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        record = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        with closing(record):
            # Names of new columns would need a migration; tables are only ever added.
            record.executescript(_TABLES)
            yield record


def _text(moment: datetime) -> str:
    """Sorts as time does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
