"""Statements of the set-up: cut apart, recognised, read into facts.

sqlglot keeps most of Snowflake's administrative statements as text it has not looked at. So each
kind that `snowflake_setup/` uses has its shape here, and a statement has to match one from end to
end: a word too many or misspelled is no shape. Whether facts fit together is asked in `checks`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from retail_platform.errors import ConfigurationError

_SNOWFLAKE = Dialect.get_or_raise("snowflake")

_NAME = r"[a-z_][a-z0-9_]*"
_PARTS = {
    "name": _NAME,
    "dotted": rf"{_NAME}(?:\.{_NAME}){{0,2}}",
    "in_schema": rf"{_NAME}\.{_NAME}\.{_NAME}",
    "text": r"'(?:[^']|'')*'",
    "number": r"\d+",
}


@dataclass(frozen=True)
class Statement:
    """One statement of a script.

    Attributes:
        text: as it stands there.
        words: the same with one space between tokens, lower case outside of quotes, no comments.
        kind: which shape it has.
        facts: what the shape names in it; empty where an optional part is missing.
    """

    script: str
    text: str
    words: str
    kind: str
    facts: Mapping[str, str]


def statements(script: str, sql: str) -> Iterator[Statement]:
    """The statements of a script, in order.

    Args:
        script: its name, for messages.

    Raises:
        ConfigurationError: one has no known shape; names the script and the statement.
    """
    for tokens in _cut(script, sql):
        text = sql[tokens[0].start : tokens[-1].end + 1]
        words = _words(tokens, sql)
        for kind, shape in _SHAPES.items():
            if match := shape.fullmatch(words):
                facts = {name: value or "" for name, value in match.groupdict().items()}
                yield Statement(script, text, words, kind, facts)
                break
        else:
            raise ConfigurationError(
                f"{script}: not understood: {' '.join(text.split())[:160]} - "
                "retail_platform/operate/account/statements.py says what is."
            )


def properties(text: str) -> dict[str, str]:
    """`a = 1 b = 'x'` as a mapping; values without their quotes."""
    return {name: value.strip("'") for name, value in re.findall(r"(\w+) = (\S+)", text)}


def columns(text: str) -> dict[str, str]:
    """`a varchar, b decimal(1, 2)` as a mapping of name to type."""
    found = re.findall(rf"({_NAME}) ({_TYPE})(?:, |$)", text)
    return {name: sql_type.replace(" ", "") for name, sql_type in found}


def _cut(script: str, sql: str) -> Iterator[list[Token]]:
    try:
        tokens = _SNOWFLAKE.tokenize(sql)
    except SqlglotError as exc:
        raise ConfigurationError(f"{script}: {exc}") from exc
    current: list[Token] = []
    for token in tokens:
        if token.token_type is TokenType.SEMICOLON:
            if current:
                yield current
            current = []
        else:
            current.append(token)
    if current:
        last = sql[current[0].start : current[-1].end + 1]
        raise ConfigurationError(f"{script}: no semicolon behind: {' '.join(last.split())[:80]}")


_TIGHT_BEFORE = frozenset({TokenType.DOT, TokenType.COMMA, TokenType.R_PAREN})
_TIGHT_AFTER = frozenset({TokenType.DOT, TokenType.L_PAREN})


def _words(tokens: list[Token], sql: str) -> str:
    parts: list[str] = []
    previous: Token | None = None
    for token in tokens:
        start = token.start
        if previous is not None and previous.token_type is TokenType.COMMAND:
            start = previous.end + 1  # what follows CALL is one token, whose start is not its own
        text = sql[start : token.end + 1].strip()
        quoted = text.startswith(("'", "$$"))
        tight = token.token_type in _TIGHT_BEFORE or (
            previous is not None
            and (
                previous.token_type in _TIGHT_AFTER
                # f(x), decimal(12,2), but `in (`: what is a word of SQL keeps its space.
                or (token.token_type is TokenType.L_PAREN and previous.end + 1 == token.start)
            )
        )
        if parts and not tight:
            parts.append(" ")
        parts.append(text if quoted else text.lower())
        previous = token
    return "".join(parts)


_TYPE = r"(?:varchar|boolean|integer|bigint|double|date|timestamp_ntz|decimal\(\d+, \d+\))"
_ONE_OF = {
    "account_privilege": "create database|create warehouse|create role|create user|"
    "create integration|apply tag|apply masking policy|apply row access policy|execute task",
    "privilege": "usage|select|insert|update|delete|truncate|ownership|create table|create view|"
    "create pipe|create stream|create task",
    "size": "'XSMALL'|'SMALL'|'MEDIUM'|'LARGE'|'XLARGE'",
}


def _shape(pattern: str) -> re.Pattern[str]:
    """A pattern in which `<role:name>` is a name kept as `role`, `<:text>` a text not kept."""

    def part(match: re.Match[str]) -> str:
        inner = {**_PARTS, **_ONE_OF}.get(match["kind"], match["kind"])
        return f"(?P<{match['fact']}>{inner})" if match["fact"] else f"(?:{inner})"

    return re.compile(re.sub(r"<(?P<fact>\w*):(?P<kind>\w+)>", part, pattern), re.DOTALL)


def _list(fact: str, kind: str) -> str:
    return rf"(?P<{fact}>(?:{_ONE_OF[kind]})(?:, (?:{_ONE_OF[kind]}))*)"


_COMMENT = r" comment = <:text>"
_TO = r" to (?P<to_kind>role|database role) <to:dotted>"
_COLUMNS = rf"(?P<columns>{_NAME} {_TYPE}(?:, {_NAME} {_TYPE})*)"
_PROPERTIES = (
    r"(?P<properties>(?: (?:warehouse_size = <:size>|auto_suspend = <:number>|auto_resume = true|"
    r"initially_suspended = true|min_cluster_count = 1|max_cluster_count = <:number>|"
    r"scaling_policy = (?:'STANDARD'|'ECONOMY')|statement_timeout_in_seconds = <:number>|"
    r"statement_queued_timeout_in_seconds = <:number>))+)"
)
_SCHEDULE = (
    r" warehouse = <warehouse:name> schedule = '\d+ minutes'"
    r"(?: error_integration = <integration:name>)?"
)
_KEY = r"'[A-Za-z0-9+/=]+'"
_LAKE = r"'(?:s3|gcs|azure)://[^']+/'"
_STORAGE = (
    r"(?:storage_aws_role_arn = <:text> storage_allowed_locations = \('s3://[^']+/'\)|"
    r"storage_allowed_locations = \('gcs://[^']+/'\)|"
    r"azure_tenant_id = <:text> storage_allowed_locations = \('azure://[^']+/'\))"
)

_SHAPES: dict[str, re.Pattern[str]] = {
    kind: _shape(pattern)
    for kind, pattern in {
        "use role": r"use role <role:name>",
        # ------------------------------------------------------------------------- roles and users
        "role": rf"create role if not exists <role:name>{_COMMENT}",
        "database role": rf"create database role if not exists <role:dotted>{_COMMENT}",
        "user": (
            r"create user if not exists <user:name> type = service default_role = <role:name> "
            rf"default_warehouse = <warehouse:name>{_COMMENT}"
        ),
        "key": rf"alter user <user:name> set rsa_public_key(?:_2)? = {_KEY}",
        "no key": r"alter user <user:name> unset rsa_public_key_2",
        # ---------------------------------------------------------------------------------- grants
        "grant role": r"grant role <role:name> to (?P<to_kind>role|user) <to:name>",
        "grant database role": rf"grant database role <role:dotted>{_TO}",
        "grant on account": (
            rf"grant {_list('privileges', 'account_privilege')} on account "
            r"to (?P<to_kind>role) <to:name>(?: with grant option)?"
        ),
        "grant": (
            rf"grant {_list('privileges', 'privilege')} on "
            r"(?P<on>database|schema|warehouse|stage|file format|integration) <object:dotted>"
            rf"{_TO}"
        ),
        "grant on tables": (
            rf"grant {_list('privileges', 'privilege')} on (?P<which>all|future) tables "
            rf"in schema <object:dotted>{_TO}"
        ),
        # ------------------------------------------------------------------ databases and schemas
        "database": rf"create database if not exists <database:name>{_COMMENT}",
        "retention": (
            r"alter (?:database|schema) <object:dotted> set "
            r"data_retention_time_in_days = <days:number>"
        ),
        "schema": rf"create schema if not exists <schema:dotted>{_COMMENT}",
        "managed access": r"alter schema <schema:dotted> enable managed access",
        # --------------------------------------------------------------------------------- compute
        "warehouse": rf"create warehouse if not exists <warehouse:name>{_PROPERTIES}{_COMMENT}",
        "warehouse settings": rf"alter warehouse <warehouse:name> set{_PROPERTIES}",
        "monitor": (
            r"create resource monitor if not exists <monitor:name> with credit_quota = <:number> "
            r"frequency = monthly start_timestamp = immediately triggers "
            r"on 75 percent do notify on 90 percent do suspend "
            r"on 100 percent do suspend_immediate"
        ),
        "quota": r"alter resource monitor <monitor:name> set credit_quota = <:number>",
        "monitor of warehouse": (
            r"alter warehouse <warehouse:name> set resource_monitor = <monitor:name>"
        ),
        # -------------------------------------------------------------------------------- the lake
        "storage integration": (
            r"create storage integration if not exists <integration:name> type = external_stage "
            rf"storage_provider = '(?:S3|GCS|AZURE)' enabled = true {_STORAGE}{_COMMENT}"
        ),
        "storage integration settings": (
            rf"alter storage integration <integration:name> set {_STORAGE}"
        ),
        "notification integration": (
            r"create notification integration if not exists <integration:name> enabled = true "
            r"direction = outbound type = queue notification_provider = aws_sns "
            rf"aws_sns_topic_arn = <:text> aws_sns_role_arn = <:text>{_COMMENT}"
        ),
        "file format": (
            r"create file format if not exists <format:in_schema> "
            rf"type = (?:parquet use_logical_type = true|json){_COMMENT}"
        ),
        "stage": (
            rf"create stage if not exists <stage:in_schema> url = {_LAKE} "
            rf"storage_integration = <integration:name>{_COMMENT}"
        ),
        "stage settings": (
            rf"alter stage <stage:in_schema> set url = {_LAKE} "
            r"storage_integration = <integration:name>"
        ),
        # ---------------------------------------------------------------------------------- tables
        "table": rf"create table if not exists <table:in_schema> \({_COLUMNS}\){_COMMENT}",
        "column": (
            r"alter table <table:in_schema> add column if not exists "
            rf"(?P<columns>{_NAME} {_TYPE})"
        ),
        # ------------------------------------------------------------------------------ governance
        "tag": rf"create tag if not exists <tag:in_schema>{_COMMENT}",
        "mask of tag": r"alter tag <tag:in_schema> set masking policy <policy:in_schema> force",
        "tag of column": (
            r"alter table <table:in_schema> modify column <column:name> "
            r"set tag <tag:in_schema> = '(?P<holds>[a-z0-9_]+)'"
        ),
        "masking policy": (
            r"create masking policy if not exists <policy:in_schema> as \(val varchar\) returns "
            rf"varchar -> (?P<body>case .+ end){_COMMENT}"
        ),
        "row access policy": (
            r"create row access policy if not exists <policy:in_schema> as \(country varchar\) "
            rf"returns boolean -> (?P<body>case .+ end){_COMMENT}"
        ),
        "body": (
            r"alter (?P<of>masking|row access) policy <policy:in_schema> set body -> "
            r"(?P<body>case .+ end)"
        ),
        # ------------------------------------------------------------------- what runs by itself
        "procedure": (
            r"create or replace procedure <procedure:in_schema>\(\) returns varchar language sql "
            r"execute as caller as \$\$(?P<body>.+)\$\$"
        ),
        "call": r"call <procedure:in_schema>\(\)",
        "task that calls": (
            rf"create or replace task <task:in_schema>{_SCHEDULE}{_COMMENT} "
            r"as call <procedure:in_schema>\(\)"
        ),
        "task of a stream": (
            rf"create or replace task <task:in_schema>{_SCHEDULE}{_COMMENT} "
            rf"when system\$stream_has_data\('(?P<stream>{_PARTS['in_schema']})'\) "
            r"as execute immediate \$\$(?P<body>.+)\$\$"
        ),
        "resume": r"alter task <task:in_schema> resume",
        "stream": (
            r"create stream if not exists <stream:in_schema> on table <table:in_schema> "
            r"append_only = true"
        ),
        "pipe": (
            r"create or replace pipe <pipe:in_schema> auto_ingest = true"
            rf"(?: error_integration = <integration:name>)?{_COMMENT} "
            r"as copy into <table:in_schema> \((?:<:name>, )+<:name>\) "
            r"from \((?P<body>select .+)\) "
            rf"file_format = \(format_name = '(?P<format>{_PARTS['in_schema']})'\)"
        ),
        "refresh": r"alter pipe <pipe:in_schema> refresh",
        # -------------------------------------------------------------------------------- teardown
        "drop": (
            r"drop (?P<what>database|integration|warehouse|resource monitor|user|role) "
            r"if exists <object:name>"
        ),
    }.items()
}

KINDS = tuple(_SHAPES)
