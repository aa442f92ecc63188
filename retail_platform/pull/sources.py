"""What is pulled from where: the sources of an installation, read from its YAML file.

Plain values; who is asked, how and when is in the modules beside this one. Secrets are never in
the file: ``${NAME}`` stands for the environment variable that holds one.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    field_validator,
    model_validator,
)

from retail_platform.contract import FeedContract
from retail_platform.countries import ALL, CountryRegistry
from retail_platform.errors import ConfigurationError
from retail_platform.partitions import Scope
from retail_platform.settings import VARIABLE

_OVERLAPS = {"timestamp": 300, "date": 1, "integer": 1000}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _named(text: str) -> str:
    if not VARIABLE.search(text):
        raise ValueError("a secret is not written here; name the variable that holds it: ${NAME}")
    return text


Secret = Annotated[str, AfterValidator(_named)]
"""A text with at least one ``${NAME}`` in it."""


class BearerAuth(_Strict):
    """``Authorization: Bearer <token>``."""

    kind: Literal["bearer"]
    token: Secret


class HeaderAuth(_Strict):
    """A token in a header of its own, e.g. ``X-Api-Key``."""

    kind: Literal["header"]
    name: str
    token: Secret


class BasicAuth(_Strict):
    """User name and password."""

    kind: Literal["basic"]
    username: str
    password: Secret


class ClientCredentials(_Strict):
    """OAuth 2: a token is fetched with client id and secret, and again before it expires."""

    kind: Literal["oauth2"]
    token_url: str = Field(pattern=r"^https?://.")
    client_id: str
    client_secret: Secret
    scope: str = ""


Auth = Annotated[
    BearerAuth | HeaderAuth | BasicAuth | ClientCredentials, Field(discriminator="kind")
]


class OnePage(_Strict):
    """Everything is in one answer."""

    kind: Literal["none"] = "none"


class LinkHeader(_Strict):
    """The next page is in the header ``Link`` (RFC 8288)."""

    kind: Literal["link_header"]


class NextUrl(_Strict):
    """The address of the next page is in the body, at a JSON path."""

    kind: Literal["next_url"]
    path: str


class BodyCursor(_Strict):
    """A word in the body, at a JSON path, is sent as a parameter to get the next page."""

    kind: Literal["cursor"]
    path: str
    param: str


class PageNumber(_Strict):
    """Pages are counted; an empty page, or the total of pages at a JSON path, ends them."""

    kind: Literal["page"]
    param: str = "page"
    first: int = 1
    total_path: str | None = None


class Offset(_Strict):
    """Records are counted; an empty page, or the total of records at a JSON path, ends them."""

    kind: Literal["offset"]
    limit: int = Field(gt=0)
    param: str = "offset"
    limit_param: str = "limit"
    total_path: str | None = None


Paging = Annotated[
    OnePage | LinkHeader | NextUrl | BodyCursor | PageNumber | Offset, Field(discriminator="kind")
]


class Incremental(_Strict):
    """How a source is asked for what changed.

    Attributes:
        field: of a record (keys parted by dots) or column that grows when a record changes.
        type: of that field. Timestamps without an offset are taken for UTC where they are compared.
        start: where the first pull begins; everything when left out.
        overlap: how far each pull reaches back behind the newest record seen, for records that
            became visible late: seconds of a timestamp, days of a date, else a plain number.
        param, until_param: request parameters for from and to; without the first a REST service
            is asked for everything and what is old is left out here.
        format: strftime pattern of these parameters, in UTC where the field has an offset.
    """

    field: str
    type: Literal["timestamp", "date", "integer"] = "timestamp"
    start: str | int | None = None
    overlap: int = Field(default=-1, ge=-1, validate_default=False)
    param: str | None = None
    until_param: str | None = None
    format: str = ""

    @field_validator("start", mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        """YAML reads an unquoted day or time as such."""
        return value.isoformat() if isinstance(value, date) else value

    @property
    def reach(self) -> int:
        """The overlap, with its default by type."""
        return self.overlap if self.overlap >= 0 else _OVERLAPS[self.type]

    @property
    def pattern(self) -> str:
        """The strftime pattern, with its default by type."""
        return self.format or ("%Y-%m-%d" if self.type == "date" else "%Y-%m-%dT%H:%M:%SZ")


class _Source(_Strict):
    """What all sources have.

    Attributes:
        name: part of file names and asset keys.
        feed: whose files the records become.
        countries: ISO code -> what the source calls it; replaces ``{country}`` in paths, parameters
            and queries. `ALL` where one answer holds all countries.
        schedule: cron expression, UTC.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    feed: str
    countries: Mapping[str, str] = Field(default_factory=dict)
    schedule: str = "5 * * * *"
    incremental: Incremental | None = None

    @field_validator("countries", mode="before")
    @classmethod
    def _called_the_same(cls, value: Any) -> Any:
        return {str(code): str(code) for code in value} if isinstance(value, list) else value


class RestSource(_Source):
    """A REST service that answers in JSON.

    Attributes:
        url, path, params: ``{country}`` and ``{day}`` (the batch day, ISO) in path and parameters
            are replaced.
        records: JSON path of the records in an answer.
        requests_per_second: never asked more often than this.
        timeout_seconds: of one request, each for connecting and for waiting.
        attempts, backoff_seconds, patience_seconds: a request that is refused for now (429, 5xx) or
            lost is repeated this often, waiting exponentially longer or as long as the service
            says, and not longer than the patience altogether.
    """

    kind: Literal["rest"]
    url: str = Field(pattern=r"^https?://[^@?#]+$")
    path: str = ""
    params: Mapping[str, str | int] = Field(default_factory=dict)
    auth: Auth | None = None
    paging: Paging = OnePage()
    records: str = "$"
    requests_per_second: float = Field(default=5.0, gt=0)
    timeout_seconds: float = Field(default=30.0, gt=0)
    attempts: int = Field(default=5, ge=1)
    backoff_seconds: float = Field(default=1.0, ge=0)
    patience_seconds: float = Field(default=300.0, gt=0)

    @property
    def by_day(self) -> bool:
        """Whether a request asks for one day."""
        return any("{day}" in str(text) for text in (self.path, *self.params.values()))

    @property
    def shown(self) -> str:
        """What is asked, for people."""
        return "/".join(part.strip("/") for part in (self.url, self.path) if part)


class SqlSource(_Source):
    """A table or query of a database that SQLAlchemy knows.

    Attributes:
        url: SQLAlchemy URL; its password, or all of it, is a variable. The driver has to be
            installed.
        table: name, perhaps with its schema.
        query: instead of a table; a parameter ``:country`` is bound where it occurs. Records whose
            incremental column is null are left out: give it a value here (coalesce).
        chunk_rows: rows of one file, and of one step of the cursor.
    """

    kind: Literal["sql"]
    url: str
    table: str | None = Field(default=None, pattern=r"^[^.\s]+(\.[^.\s]+)?$")
    query: str | None = None
    chunk_rows: int = Field(default=100_000, gt=0)

    by_day: Literal[False] = False

    @field_validator("url")
    @classmethod
    def _without_password(cls, url: str) -> str:
        password = re.search(r"://[^/@]*:([^@]*)@", url)
        if password:
            _named(password[1])
        return url

    @model_validator(mode="after")
    def _one_of_both(self) -> "SqlSource":
        if bool(self.table) == bool(self.query):
            raise ValueError("either table or query is needed")
        return self

    @property
    def shown(self) -> str:
        """What is asked, for people."""
        place = re.sub(r"://[^/]*@", "://", self.url).partition("?")[0]
        return f"{self.table or 'query'} in {place}"


Source = RestSource | SqlSource


class _Entry(RootModel[Annotated[RestSource | SqlSource, Field(discriminator="kind")]]):
    """One entry of the file."""


def load_sources(
    path: Path | None, contracts: Mapping[str, FeedContract], registry: CountryRegistry
) -> tuple[Source, ...]:
    """Read a sources file; nothing is pulled where there is none.

    Returns:
        Sources in the order of the file, with the countries they cover spelled out.

    Raises:
        ConfigurationError: listing everything wrong, not just the first finding.
    """
    if path is None:
        return ()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as exc:
        raise ConfigurationError(f"{path} (RETAIL_SOURCES_FILE) cannot be read: {exc}") from exc
    entries = document.get("sources") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ConfigurationError(
            f"{path} has no list `sources`. Start from retail_platform/sources.yaml."
        )
    sources: list[Source] = []
    problems: list[str] = []
    for number, entry in enumerate(entries, start=1):
        label = entry.get("name", f"number {number}") if isinstance(entry, dict) else number
        try:
            source = _Entry.model_validate(entry).root
        except ValidationError as exc:
            problems += [f"source {label}: {problem}" for problem in _said(exc)]
            continue
        found = [*_problems(source, contracts, registry)]
        if source.name in {s.name for s in sources}:
            found.append("the name is there twice")
        problems += [f"source {label}: {problem}" for problem in found]
        if not found:
            sources.append(_with_countries(source, contracts[source.feed], registry))
    if problems:
        raise ConfigurationError(f"{path}: " + "; ".join(problems))
    return tuple(sources)


def _said(error: ValidationError) -> list[str]:
    """Findings without the input: somebody may have put a secret where its name belongs."""
    return [
        f"{'.'.join(str(part) for part in finding['loc'])}: {finding['msg']}"
        for finding in error.errors(include_url=False, include_input=False)
    ]


def _problems(
    source: Source, contracts: Mapping[str, FeedContract], registry: CountryRegistry
) -> Sequence[str]:
    contract = contracts.get(source.feed)
    if contract is None:
        return [f"feed {source.feed!r} has no contract; known are {', '.join(sorted(contracts))}"]
    problems = []
    unknown = [c for c in source.countries if c != ALL and c not in registry.codes]
    if unknown:
        problems.append(f"countries {', '.join(unknown)} are not in the registry")
    if contract.scope is Scope.GLOBAL and set(source.countries) - {ALL}:
        problems.append(f"{source.feed} is one feed for all; leave countries out")
    split = contract.scope is Scope.COUNTRY and ALL in source.countries
    if split and (contract.ingestion.country_column is None or len(source.countries) > 1):
        problems.append(f"{source.feed} cannot be pulled for ALL: no column tells the country")
    totals = contract.ingestion.control_totals
    if totals and totals.required:
        problems.append(
            f"{source.feed} requires control totals ({totals.kind}), which nobody states of what "
            "is pulled: it would never be taken in. Say `required: false` in the contract"
        )
    words = f"{source.path} {source.params}" if isinstance(source, RestSource) else ""
    strange = set(re.findall(r"\{(\w+)\}", words)) - {"country", "day"}
    if strange:
        problems.append(f"{', '.join(sorted(strange))} in braces; known are country and day")
    if source.incremental and source.by_day:
        problems.append("{day} asks for one day, incremental for what changed; use one of them")
    return problems


def _with_countries(source: Source, contract: FeedContract, registry: CountryRegistry) -> Source:
    if source.countries:
        return source
    codes = registry.codes if contract.scope is Scope.COUNTRY else (ALL,)
    return source.model_copy(update={"countries": {code: code for code in codes}})
