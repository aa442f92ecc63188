"""An account of Snowflake on this machine, for tests: fakesnow's server with what it lacks.

    python -m retail_platform_tests.snowflake_server <port> <S3 host:port>

The real connector, dbt-snowflake and dagster-snowflake talk to it over HTTP; behind it is DuckDB.
Each shim says in one line what would fail without it. They reach into fakesnow, whose version is
pinned for that reason.
"""

import logging
import re
import sys
import threading
import time
from functools import lru_cache
from string import Template
from typing import Any
from weakref import WeakKeyDictionary

import duckdb
import fakesnow.arrow
import fakesnow.copy_into as copying
import fakesnow.cursor as cursors
import fakesnow.server
import fakesnow.transforms.transforms as transforms
import pyarrow
import pyarrow.fs
import uvicorn
import yaml
from fsspec.implementations.arrow import ArrowFSWrapper
from snowflake.connector.errors import Error, ProgrammingError
from sqlglot import exp

from retail_platform.operate.in_process import collect_garbage_seldom
from retail_platform.settings import PROJECT_DIR

ACCOUNT_USAGE = PROJECT_DIR / "dbt_project" / "models" / "cost" / "_account_usage__sources.yml"

_BEGINS = r"(?:\s|--[^\n]*\n)*"
_CHANGE = _BEGINS + r"(create|alter|drop|desc|describe)\s+(or\s+replace\s+)?"
UNEXECUTED = {
    "roles and users": _CHANGE + r"(database\s+)?(role|user)\b",
    "grants": _BEGINS + r"(grant|revoke)\b",
    "compute": _CHANGE + r"(warehouse|resource\s+monitor)\b",
    "integrations": _CHANGE + r"((storage|notification)\s+)?integration\b",
    "policies": _CHANGE + r"(masking|row\s+access)\s+policy\b",
    "tags": _CHANGE + r"(tag\b|table\s+\S+\s+modify\s+column\s+\S+\s+set\s+tag\b)",
    "settings of databases and schemas": _CHANGE + r"(?<=alter\s)(database|schema)\b",
    "settings of stages": _CHANGE + r"(?<=alter\s)stage\b",
    "what runs by itself": _CHANGE + r"(pipe|stream|task|procedure)\b",
    "calls": _BEGINS + r"call\b",
    "settings of sessions": _CHANGE + r"session\s+(un)?set\b",
}
"""What the server says yes to and does not do: nothing here is tested by being accepted.

DuckDB has nothing of the kind, or its parser refuses the statement.
"""


def temporary_tables_may_be_qualified() -> None:
    """DuckDB keeps temporary relations in a catalog of their own, so `temporary` is left out."""
    transform = cursors.FakeSnowflakeCursor._transform

    def without_temporary(self: Any, expression: Any, params: Any) -> Any:
        if isinstance(expression, exp.Create) and expression.args.get("properties"):
            properties = expression.args["properties"]
            kept = [p for p in properties.expressions if not isinstance(p, exp.TemporaryProperty)]
            properties.set("expressions", kept)
        return transform(self, expression, params)

    cursors.FakeSnowflakeCursor._transform = without_temporary


def failures_are_answers() -> None:
    """An unexpected exception would be HTTP 500, which the connector repeats for minutes."""
    execute = cursors.FakeSnowflakeCursor.execute

    def answered(self: Any, command: str, *arguments: Any, **options: Any) -> Any:
        try:
            return execute(self, command, *arguments, **options)
        except Error:
            raise
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            raise ProgrammingError(msg=message, errno=603, sqlstate="XX000") from error

    cursors.FakeSnowflakeCursor.execute = answered


def policies_need_not_parse() -> None:
    """Statements are parsed before they are left out, and the parser knows no row access policy."""
    parse = fakesnow.server.parse_one

    def parsed(command: str, *arguments: Any, **options: Any) -> Any:
        unexecuted = re.match(UNEXECUTED["policies"], command, re.IGNORECASE)
        return parse("grant nothing" if unexecuted else command, *arguments, **options)

    fakesnow.server.parse_one = parsed


_ADVICE = (
    "If you would like to continue loading when an error is encountered, use other values such as "
    "'SKIP_FILE' or 'CONTINUE' for the ON_ERROR option. For more information on loading options, "
    "please run 'info loading_data' in a SQL client."
)
"""What Snowflake ends every error of COPY with."""


class _Copying:
    """DuckDB, as long as one COPY lasts."""

    of_this_thread = threading.local()

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        """Snowflake's errors name the file (and the line, which DuckDB does not know)."""
        try:
            return self._connection.execute(sql, *parameters)
        except duckdb.Error as error:
            file = re.search(r"s3://[^/]+/([^']+)", sql)
            where = f"  File '{file[1]}'\n  {_ADVICE}" if file else ""
            raise ProgrammingError(
                msg=f"{error}\n{where}", errno=100038, sqlstate="22018"
            ) from error


def copy_knows_its_files() -> None:
    """METADATA$FILENAME is unknown to it, and a column that a file lacks is an error, not null."""
    copy, inserts = cursors.copy_into, copying._inserts

    def copy_into(connection: duckdb.DuckDBPyConnection, *arguments: Any) -> str:
        _Copying.of_this_thread.one = _Copying(connection)
        return str(copy(_Copying.of_this_thread.one, *arguments))

    def statements(expression: Any, options: Any, urls: Any, info: Any = None) -> Any:
        made = inserts(expression, options, urls, info)
        for statement, url in zip(made, urls, strict=True):
            key = url.split("://", 1)[-1].split("/", 1)[-1]
            present = copying._get_parquet_column_names(url, _Copying.of_this_thread.one)
            known = {name.upper() for name in present}
            for column in list(statement.expression.find_all(exp.Column)):
                if column.name.upper() == "METADATA$FILENAME":
                    column.replace(exp.Literal.string(key))
                elif column.name.upper() not in known:
                    column.replace(exp.Null())
            for name in list(statement.expression.find_all(exp.Identifier)):
                if isinstance(name.parent, exp.Cast) and name.name.upper() not in known:
                    name.replace(exp.Null())
        return made

    cursors.copy_into, copying._inserts = copy_into, statements


def folders_are_no_columns() -> None:
    """DuckDB takes `key=value/` in a path for a column; Snowflake does not."""
    read = copying.ReadParquet.read_expression

    def without_hive(self: Any, url: str) -> Any:
        expression = read(self, url)
        expression.append(
            "expressions",
            exp.EQ(this=exp.Literal(this="hive_partitioning", is_string=False),
                   expression=exp.Boolean(this=False)),
        )  # fmt: skip
        return expression

    copying.ReadParquet.read_expression = without_hive


def missing_times_are_null() -> None:
    """In answers they would be 1970."""
    convert = fakesnow.arrow.timestamp_to_sf_struct

    def with_nulls(times: Any) -> Any:
        if isinstance(times, pyarrow.ChunkedArray):
            times = times.combine_chunks()
        struct = convert(times)
        return pyarrow.StructArray.from_arrays(
            struct.flatten(), fields=list(struct.type), mask=times.is_null()
        )

    fakesnow.arrow.timestamp_to_sf_struct = with_nulls


def create_account_usage(account: Any) -> None:
    """Every account has it: views over its history, here empty tables with the columns in use."""
    (source,) = yaml.safe_load(ACCOUNT_USAGE.read_text(encoding="utf-8"))["sources"]
    session = account.connect(database=source["database"], schema=source["schema"])
    for table in source["tables"]:
        columns = ", ".join(f"{c['name']} {c['data_type']}" for c in table["columns"])
        session.cursor().execute(f"create table {table['name']} ({columns})")


def databases_can_be_cloned() -> None:
    """A clone would be an empty database, its comment would be lost, and none could be dropped."""
    execute = cursors.FakeSnowflakeCursor.execute
    comments: dict[str, str] = {}

    def clone(duck: Any, copy: str, source: str) -> None:
        for schema, table in duck.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = ? "
            "and not starts_with(lower(schema_name), '_fs_')",
            [source],
        ).fetchall():
            duck.execute(f'create schema if not exists {copy}."{schema}"')
            address = f'"{schema}"."{table}"'
            duck.execute(f"create table {copy}.{address} as from {source}.{address}")

    def executed(self: Any, command: str, *arguments: Any, **options: Any) -> Any:
        def matched(shape: str) -> re.Match[str] | None:
            return re.fullmatch(shape, command, re.IGNORECASE)

        if made := matched(r"create database (\w+) clone (\w+) comment = '(.*)'"):
            execute(self, f"create database {made[1]}")
            clone(self._duck_conn, made[1].upper(), made[2].upper())
            comments[made[1].upper()] = made[3]
            return execute(self, "select 'created' as status")
        if dropped := matched(r"drop database (\w+)"):
            self._duck_conn.execute(f"detach {dropped[1].upper()}")
            del comments[dropped[1].upper()]
            return execute(self, "select 'dropped' as status")
        if shown := matched(r"show databases like '(\w+)%'"):
            alike = re.compile(shown[1].replace("_", "."), re.IGNORECASE)
            rows = [f"('{n}', '{c}')" for n, c in comments.items() if alike.match(n)]
            values = ", ".join(rows) or "('', '')"
            found = f'select * from (values {values}) as t("name", "comment")'
            return execute(self, found if rows else f"{found} where false")
        return execute(self, command, *arguments, **options)

    cursors.FakeSnowflakeCursor.execute = executed


ABANDONED_SECONDS = 2.0
"""So long a transaction may be idle while others wait for it. On Snowflake it is five minutes."""

_CHANGES_ROWS = re.compile(
    _BEGINS + r"(?:delete\s+from|update|merge\s+into)\s+([\w.\"$]+)", re.IGNORECASE
)
_BEGINS_TRANSACTION = re.compile(_BEGINS + r"(?:begin|start\s+transaction)\b", re.IGNORECASE)
_ENDS_TRANSACTION = re.compile(_BEGINS + r"(?:commit|rollback)\b", re.IGNORECASE)


class _Locks:
    """Tables whose rows open transactions have deleted, updated or merged.

    On Snowflake others that want to do the same wait for their end. That of a client which is gone
    is aborted: not by the end of its connection, which nobody notices, but once it has been idle
    for some time and another transaction waits.
    """

    def __init__(self) -> None:
        self._tables: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
        self._idle_since: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._changed = threading.Condition()

    def before(self, session: Any, command: str) -> None:
        """Wait for what a statement needs, and keep it until its transaction ends."""
        with self._changed:
            self._idle_since.pop(session, None)
            if _BEGINS_TRANSACTION.match(command):
                self._tables[session] = set()
            if change := _CHANGES_ROWS.match(command):
                name = ".".join(change[1].replace('"', "").upper().split(".")[-2:])
                table = f"{session.database}.{name}"
                while holders := self._holders(table, session):
                    for holder in holders:
                        self._abort_abandoned(holder)
                    self._changed.wait(0.05)
                if session in self._tables:
                    self._tables[session].add(table)

    def after(self, session: Any, command: str) -> None:
        """Note that a session has nothing to do, and whether its transaction has ended."""
        with self._changed:
            self._idle_since[session] = time.monotonic()
            if _ENDS_TRANSACTION.match(command):
                self._tables.pop(session, None)
                self._changed.notify_all()

    def _holders(self, table: str, session: Any) -> list[Any]:
        return [
            other
            for other, held in self._tables.items()
            if other is not session and table in held and not other.is_closed()
        ]

    def _abort_abandoned(self, session: Any) -> None:
        since = self._idle_since.get(session)
        if since is not None and time.monotonic() - since > ABANDONED_SECONDS:
            session._duck_conn.rollback()
            self._tables.pop(session, None)


def changes_wait_for_open_transactions() -> None:
    """DuckDB fails at once instead, and keeps the transaction of a client that was killed."""
    locks = _Locks()
    execute = cursors.FakeSnowflakeCursor.execute

    def in_turn(self: Any, command: str, *arguments: Any, **options: Any) -> Any:
        locks.before(self._conn, command)
        try:
            return execute(self, command, *arguments, **options)
        finally:
            locks.after(self._conn, command)

    cursors.FakeSnowflakeCursor.execute = in_turn


class _Sessions(dict[str, Any]):
    """Open ones; what they have not committed ends with them."""

    def __delitem__(self, token: str) -> None:
        self[token].close()
        super().__delitem__(token)


def sessions_end() -> None:
    """Without a master token the connector tells nobody that a session is closed."""

    class Answer(fakesnow.server.JSONResponse):
        def __init__(self, content: Any, **options: Any) -> None:
            if "sessionInfo" in (content.get("data") or {}):
                content["data"]["masterToken"] = content["data"]["token"]
            super().__init__(content, **options)

    fakesnow.server.JSONResponse = Answer
    fakesnow.server.sessions = _Sessions()


def statements_are_parsed_once() -> None:
    """To know of what kind it is, the server would parse each before its cursor does."""
    parsed = lru_cache(100)(fakesnow.server.parse_one)
    fakesnow.server.parse_one = parsed
    cursors.parse_one = lambda command: parsed(command).copy()


def answers_tell_their_columns() -> None:
    """Of each answer a second statement would ask, which is parsed and planned like the first."""

    def columns(self: Any) -> list[tuple[Any, ...]]:
        return [(name, str(kind), *[None] * 4) for name, kind, *_ in self._duck_conn.description]

    cursors.FakeSnowflakeCursor._describe_last_sql = columns


_COLUMNS_OF_A_TABLE = """
select
    name as "name",
    case
        when type = 'VARCHAR' then
            'VARCHAR(' || coalesce(ext_character_maximum_length, 16777216) || ')'
        when starts_with(type, 'DECIMAL') then replace(type, 'DECIMAL', 'NUMBER')
        when type = 'BIGINT' then 'NUMBER(38,0)'
        when type = 'DOUBLE' then 'FLOAT'
        when type = 'TIMESTAMP' then 'TIMESTAMP_NTZ(9)'
        when type = 'TIMESTAMP WITH TIME ZONE' then 'TIMESTAMP_TZ(9)'
        when type = 'JSON' then 'VARIANT'
        else type
    end as "type",
    'COLUMN' as "kind",
    if("notnull", 'N', 'Y') as "null?"
from pragma_table_info('"${catalog}"."${schema}"."${table}"')
left join _fs_global._fs_information_schema._fs_columns_ext
    on ext_table_catalog = '${catalog}' and ext_table_schema = '${schema}'
    and ext_table_name = '${table}' and ext_column_name = name
order by cid
"""


def one_table_is_described() -> None:
    """A third of the time of small models went into listing the columns of all databases."""
    transforms.SQL_DESCRIBE_TABLE = Template(_COLUMNS_OF_A_TABLE)


class S3(ArrowFSWrapper):
    """DuckDB's own S3 reader is an extension that has to be downloaded."""

    protocol = "s3"


def main(port: int, s3: str) -> None:
    """Serve until the process is ended."""
    collect_garbage_seldom()  # statements become trees of thousands of small objects
    for shim in (
        changes_wait_for_open_transactions,
        sessions_end,
        temporary_tables_may_be_qualified,
        databases_can_be_cloned,
        failures_are_answers,
        policies_need_not_parse,
        statements_are_parsed_once,
        answers_tell_their_columns,
        one_table_is_described,
        copy_knows_its_files,
        folders_are_no_columns,
        missing_times_are_null,
    ):
        shim()
    account = fakesnow.server.shared_fs
    account.nop_regexes = list(UNEXECUTED.values())
    account.duck_conn.register_filesystem(
        S3(
            pyarrow.fs.S3FileSystem(
                access_key="test",
                secret_key="test",
                endpoint_override=s3,
                scheme="http",
                region="us-east-1",
            )
        )
    )
    create_account_usage(account)
    logging.getLogger("fakesnow.server").setLevel(logging.WARNING)
    uvicorn.run(fakesnow.server.app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
