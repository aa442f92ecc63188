"""Environments of pull requests: a copy of everything that was built, to build what is changed in.

The embedded engine copies the warehouse file and links the published files into a RETAIL_HOME of
its own, below the one it is a copy of; Snowflake clones the database, which copies nothing until
something is written. Only what says of itself that it is such a copy is ever dropped.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import duckdb

from retail_platform.errors import ConfigurationError
from retail_platform.resources import warehouse_resource
from retail_platform.settings import Settings, SnowflakeAccount
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.protocol import Warehouse
from retail_platform.warehouse.publish import show
from retail_platform.warehouse.snowflake_account import shown
from retail_platform.warehouse.versions import Versions
from retail_platform.whole_files import write_whole

MARK = "clone.json"
"""File in a RETAIL_HOME that is a copy, with what is said of it."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,29}")
_FICLONE = 0x40049409
"""Request by which Linux lets two files share their blocks until one is written to."""


@dataclass(frozen=True)
class Clone:
    """An environment of a pull request.

    Attributes:
        place: its RETAIL_HOME, or its database.
        expires: after this day it may be dropped by whoever cleans up.
        variables: settings with which commands work in it.
    """

    name: str
    place: str
    expires: date
    variables: dict[str, str]


class Clones(Protocol):
    """The environments of pull requests of one installation."""

    def create(self, name: str, days: int, readers: Sequence[str]) -> Clone:
        """Make one of what there is now.

        Args:
            days: until it expires.
            readers: roles that may read it; Snowflake only.

        Raises:
            ConfigurationError: there is one of that name, or the name is none.
        """
        ...

    def all(self) -> list[Clone]:
        """Those there are, by name."""
        ...

    def drop(self, name: str) -> Clone:
        """Take one away.

        Raises:
            ConfigurationError: there is none of that name, or it is something else.
        """
        ...


def clones_of(settings: Settings) -> Clones:
    """The environments of pull requests of an installation.

    Raises:
        ConfigurationError: it is one itself.
    """
    if is_clone(settings):
        raise ConfigurationError(
            "This is the environment of a pull request itself; clones are made and dropped from "
            "the one that it is a copy of."
        )
    if settings.snowflake:
        return SnowflakeClones(warehouse_resource(settings).open(), settings.snowflake)
    return EmbeddedClones(settings)


def is_clone(settings: Settings) -> bool:
    """Whether settings are those of a clone, where anything may be built."""
    if settings.snowflake:
        return re.search(r"_pr_\w+$", settings.snowflake.database, re.IGNORECASE) is not None
    return (settings.home / MARK).is_file()


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is no name of a clone; expected up to 30 small letters, digits and "
            "underscores, such as the number of the pull request."
        )
    return name


class EmbeddedClones:
    """Copies of a RETAIL_HOME, in its folder `clones`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.home / "clones"

    def create(self, name: str, days: int, readers: Sequence[str]) -> Clone:
        """Copy the warehouse file, link the published files; see `Clones.create`."""
        home = self._folder / _checked(name)
        if home.exists():
            raise ConfigurationError(f"{home} is there already; `retail clone drop {name}` first.")
        if readers:
            raise ConfigurationError("--grant-to is for Snowflake; who reads the folder may read.")
        source = self._settings.warehouse_path
        if not source.is_file():
            raise ConfigurationError(f"There is nothing to copy: {source} does not exist yet.")
        unfinished = self._folder / f".{name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        published = home / self._settings.published_path.name
        warehouse = DuckDBWarehouse(source, published=self._settings.published_path)
        with warehouse.connect() as connection:  # so nobody writes, nor publishes
            connection.execute("checkpoint")
            share(source, unfinished / source.name)
            _link_newest(self._settings.published_path, unfinished / published.name)
        expires = datetime.now(UTC).date() + timedelta(days=days)
        facts = {"clone_of": str(self._settings.home), "expires": expires.isoformat()}
        write_whole(unfinished / MARK, json.dumps(facts))
        unfinished.rename(home)
        newest = Versions(published).newest()
        if newest:
            with duckdb.connect() as connection:
                show(connection, published, newest)
        return self._clone(home, facts)

    def all(self) -> list[Clone]:
        """Those there are."""
        return [
            self._clone(mark.parent, json.loads(mark.read_text(encoding="utf-8")))
            for mark in sorted(self._folder.glob(f"[!.]*/{MARK}"))
        ]

    def drop(self, name: str) -> Clone:
        """Remove the folder; see `Clones.drop`."""
        home = self._folder / _checked(name)
        found = next((clone for clone in self.all() if clone.name == name), None)
        if found is None:
            there = ", ".join(clone.name for clone in self.all()) or "none"
            raise ConfigurationError(f"{home} is no clone; there are: {there}.")
        shutil.rmtree(home)
        return found

    def _clone(self, home: Path, facts: dict[str, str]) -> Clone:
        return Clone(
            home.name,
            str(home),
            date.fromisoformat(facts["expires"]),
            {"RETAIL_HOME": str(home)},
        )


def share(source: Path, copy: Path) -> None:
    """Copy a file, sharing its blocks where the file system can."""
    with source.open("rb") as old, copy.open("wb") as new:
        try:
            import fcntl  # noqa: PLC0415 - not on Windows

            fcntl.ioctl(new, _FICLONE, old.fileno())
        except (ImportError, OSError):
            shutil.copyfileobj(old, new, 1 << 24)


def _link_newest(published: Path, copy: Path) -> None:
    """The newest version alone; its files never change, so both may have the same."""
    versions = Versions(published)
    newest = versions.newest()
    if newest is None:
        return
    files = versions.files(newest)
    for mart, slots in files.items():
        (copy / mart).mkdir(parents=True)
        for file in slots.values():
            try:
                (copy / mart / file).hardlink_to(published / mart / file)
            except OSError:  # another file system
                shutil.copyfile(published / mart / file, copy / mart / file)
    Versions(copy).add(newest.published_at, newest.run_id, files)


class SnowflakeClones:
    """Databases `<database>_PR_<name>`, which say in their comment what they are."""

    def __init__(self, warehouse: Warehouse, account: SnowflakeAccount) -> None:
        """Describe them; nothing is asked yet.

        Args:
            warehouse: through which statements are sent, by a role that may create databases.
        """
        self._warehouse = warehouse
        self._database = account.database

    def create(self, name: str, days: int, readers: Sequence[str]) -> Clone:
        """Clone the database; see `Clones.create`."""
        database = self._name(name)
        if database in self._databases():
            raise ConfigurationError(
                f"Database {database} is there already; `retail clone drop {name}` first."
            )
        for role in readers:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", role):
                raise ConfigurationError(f"--grant-to {role!r}: expected the name of a role.")
        expires = datetime.now(UTC).date() + timedelta(days=days)
        facts = json.dumps({"clone_of": self._database.upper(), "expires": expires.isoformat()})
        # In one statement: a clone that does not say what it is would be nobody's.
        statements = [f"create database {database} clone {self._database} comment = '{facts}'"]
        for role in readers:
            # A clone has the privileges of what is in it, and not those of the database.
            statements += [
                f"grant usage on database {database} to role {role}",
                f"grant usage on all schemas in database {database} to role {role}",
                f"grant select on all tables in schema {database}.marts to role {role}",
            ]
        for statement in statements:
            self._warehouse.query(statement)
        return self._clone(name, expires)

    def all(self) -> list[Clone]:
        """Those there are."""
        prefix = self._name("")
        return [
            self._clone(database.removeprefix(prefix).lower(), expires)
            for database, comment in sorted(self._databases().items())
            if (expires := self._expiry(comment))
        ]

    def drop(self, name: str) -> Clone:
        """Drop the database; see `Clones.drop`."""
        database = self._name(_checked(name))
        databases = self._databases()
        if database not in databases:
            there = ", ".join(clone.name for clone in self.all()) or "none"
            raise ConfigurationError(f"There is no database {database}; clones are: {there}.")
        expires = self._expiry(databases[database])
        if expires is None:
            raise ConfigurationError(
                f"Database {database} does not say in its comment that it is a clone of "
                f"{self._database}; it stays."
            )
        self._warehouse.query(f"drop database {database}")
        return self._clone(name, expires)

    def _name(self, name: str) -> str:
        return f"{self._database}_PR_{_checked(name) if name else ''}".upper()

    def _databases(self) -> dict[str, str]:
        """Databases that are called as clones are, and their comments."""
        prefix = self._name("")
        with self._warehouse.connect() as session:
            rows = shown(session, f"show databases like '{prefix}%'")
        # To SHOW an underscore is any character.
        return {
            str(row["name"]): str(row["comment"] or "")
            for row in rows
            if str(row["name"]).startswith(prefix)
        }

    def _expiry(self, comment: str) -> date | None:
        try:
            facts: Any = json.loads(comment)
        except ValueError:
            return None
        if not isinstance(facts, dict) or facts.get("clone_of") != self._database.upper():
            return None
        return date.fromisoformat(facts["expires"])

    def _clone(self, name: str, expires: date) -> Clone:
        database = self._name(name)
        return Clone(name, database, expires, {"SNOWFLAKE_DATABASE": database})
