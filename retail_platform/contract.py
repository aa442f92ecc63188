"""Feed contracts: Open Data Contract Standard files read into the shape ingestion works with.

One YAML file per feed drives the gate, the RAW table, its checks and its documentation. Data rules
live in the YAML; how rules are applied lives in `retail_platform.gate`.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import yaml
from open_data_contract_standard.model import OpenDataContractStandard, SchemaProperty
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from retail_platform.countries import ALL, CountryRegistry
from retail_platform.errors import ConfigurationError
from retail_platform.partitions import Scope
from retail_platform.settings import PACKAGE_DIR


class Drift(StrEnum):
    """What happens to columns and values the contract does not know; see `FeedIngestion`."""

    FREEZE = "freeze"
    EVOLVE = "evolve"
    RESCUE = "rescue"
    DISCARD_ROW = "discard_row"
    DISCARD_VALUE = "discard_value"


class Format(StrEnum):
    """How the files of a feed are written."""

    CSV = "csv"
    JSON = "json"


class Kind(StrEnum):
    """Column types the platform moves from file to warehouse."""

    TEXT = "text"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DOUBLE = "double"
    DATE = "date"
    TIMESTAMP = "timestamp"


class Protect(StrEnum):
    """What takes the place of a column that holds personal data."""

    TOKEN = "token"
    ENCRYPT = "encrypt"
    BOTH = "both"
    DROP = "drop"


Normalise = Literal["text", "email", "phone"]


class ColumnIngestion(BaseModel):
    """`ingestion` custom property of a column.

    Attributes:
        formats: strptime patterns tried in order, for dates and timestamps.
        clock: which time is kept of one with an offset (``%z``): ``utc``, or ``local``, what the
            sender's clock showed.
        strip: characters removed from both ends before reading a number, e.g. ``$``.
        path: where the value is inside a JSON record: keys parted by dots, a number counts the
            elements of an array from 0; default is the column's header or name as one key.
        protect: what is kept of personal data: a token that joins, a value that only the key
            opens, both (the default), or nothing.
        normalise: how spellings of the same value are made equal before they become a token.
        generalise: what may be kept in clear, in a column of its own: the ``year`` of a date.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    formats: tuple[str, ...] = ()
    clock: Literal["utc", "local"] = "utc"
    strip: str = ""
    path: str | None = Field(default=None, pattern=r"^[^.]+(\.[^.]+)*$")
    protect: Protect | None = None
    normalise: Normalise = "text"
    generalise: Literal["year"] | None = None


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WEEK: tuple[Weekday, ...] = get_args(Weekday)


class Freshness(NamedTuple):
    """How long ago a table may have been loaded: beyond the first it warns, then it fails."""

    warn_after: timedelta
    error_after: timedelta


DAILY = Freshness(timedelta(hours=30), timedelta(days=2))
WEEKLY = Freshness(timedelta(days=8), timedelta(days=9))

_CLOSED_IN_A_ROW = {"country_holidays": 8, "ECB": 2, "IFEU": 1, "NYSE": 1, "XETR": 3}
"""By calendar the most days by which its holidays, at Easter or at New Year, lengthen a weekend."""


class Expectation(BaseModel):
    """On which days a feed delivers.

    Attributes:
        weekdays: days of the week, ``mon`` to ``sun``; the batch day, not the day of delivery.
        closed_on: days without a delivery: ``country_holidays`` of the partition's country, or a
            financial calendar of the `holidays` library such as ``ECB``.
        deadline: time ``HH:MM`` of the next day until when it is due; default the country's, in the
            country's time zone (UTC for global feeds).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weekdays: tuple[Weekday, ...] = _WEEK
    closed_on: Literal["country_holidays", "ECB", "IFEU", "NYSE", "XETR"] | None = None
    deadline: str | None = Field(default=None, pattern=r"^([01]\d|2[0-3]):[0-5]\d$")

    @cached_property
    def weekday_numbers(self) -> frozenset[int]:
        """As `date.weekday` counts."""
        return frozenset(_WEEK.index(day) for day in self.weekdays)

    @cached_property
    def longest_pause(self) -> timedelta:
        """Most days in a row without a delivery; closed days may lie beside a weekend."""
        due = sorted(self.weekday_numbers)
        apart = [(after - day) % 7 or 7 for day, after in pairwise([*due, *due[:1]])]
        closed = _CLOSED_IN_A_ROW[self.closed_on] if self.closed_on else 0
        return timedelta(days=max(apart, default=7) - 1 + closed)


_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C, where PyYAML has it: every process reads all contracts when it starts."""

_STATED = re.compile(r"rows|sha256|sum\((?P<column>[a-z][a-z0-9_]*)\)")


class ControlTotals(BaseModel):
    """What a sender states about each delivery, to be compared with what was read.

    Attributes:
        kind: `sidecar`, a small file beside the data file, named like it with ``.ctl`` or ``.json``
            behind, that holds ``key=value`` lines or one flat JSON object; or `trailer`, the last
            line of a CSV file.
        states: key -> what it states: ``rows``, ``sum(<column>)``, or ``sha256`` of the data file
            as delivered. The order is that of the fields of a trailer, behind its marker.
        marker: first field of a trailer.
        required: a data file waits for its sidecar, or is refused without a trailer. Otherwise a
            sidecar has to come before its data file, which does not wait.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["sidecar", "trailer"]
    states: Mapping[str, str] = Field(min_length=1)
    marker: str = Field(default="TRL", pattern=r"^[^\s,;|\"]+$")
    required: bool = True

    @field_validator("states")
    @classmethod
    def _known_statements(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for what in value.values():
            if not _STATED.fullmatch(what):
                raise ValueError(f"{what!r} is none of rows, sum(<column>), sha256")
        if len({*value.values()}) < len(value) or len({*map(normalised_header, value)}) < len(
            value
        ):
            raise ValueError("states says the same thing twice")
        return value

    @property
    def summed(self) -> tuple[str, ...]:
        """Columns whose sum is stated."""
        found = (_STATED.fullmatch(what) for what in self.states.values())
        return tuple(match["column"] for match in found if match and match["column"])


class FeedIngestion(BaseModel):
    """`ingestion` custom property of a contract: what the gate needs beyond the standard.

    `drift` decides about columns the contract does not know, announced by a header or, in JSON,
    by the keys of a record (those inside its values are kept by `rescue` and `evolve` alone):

    * `freeze`: the file is refused.
    * `rescue`: their values are kept in `_rescued`, as JSON by header.
    * `evolve`: each becomes a text column of RAW, named in snake case (see `gate.drift`); rows of
      other files are null there. A feed may gain 100; a file that brings one more is refused.
    * `discard_row`: rows with a value in one go to quarantine as ``row:unknown_column``.
    * `discard_value`: the values are dropped; ``<header>:discarded_unknown_column`` counts them.

    A value that breaks the rules of its column puts its row into quarantine, except under
    `discard_value`: there an optional value becomes null, the row is loaded, and `_rescued` says
    ``{"<column>": {"value": "<as delivered>", "code": "<reason>"}}`` (of personal data the code
    alone); ``<column>:discarded_<reason>`` counts it. Required values, keys and the business date
    are never given up.

    Attributes:
        scope: `country`, or `global` for reference data that belongs to no country.
        format: `csv` or `json`; one document, an array, documents after each other and pages are
            told apart by the gate.
        record_path: keys that lead from a JSON document to its records (pages with an envelope);
            default: a document is a record, an array many.
        file_name: regular expression of whole names below the inbox that are not the platform's
            own, with a group `day` (YYYYMMDD, also parted by - or /) or the groups `year`, `month`
            and `day`, and perhaps `country`.
        drift: what happens to columns and values the contract does not know.
        business_date: column that says when it happened; rows later than the batch day are bad.
        country_column: column that tells the country of a row; such files may hold many countries.
        country_pattern: regular expression whose first group is the country inside that column.
        country_ranges: ``{"1-5": "US"}`` when the column holds numbers given out in blocks.
        row_rules: names of cross-column rules in `retail_platform.gate.rules`.
        variants: accepted column orders of files without a header; default all columns in order.
        expected: on which days a delivery is due; None if it comes when it comes.
        control_totals: what the sender states about each delivery; None if nothing.
        max_bad_rows, max_bad_percent: a file with more bad rows than both is rejected whole.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scope: Scope = Scope.COUNTRY
    format: Format = Format.CSV
    record_path: tuple[str, ...] = ()
    file_name: str | None = None
    drift: Drift = Drift.FREEZE
    business_date: str | None = None
    country_column: str | None = None
    country_pattern: str | None = None
    country_ranges: Mapping[str, str] = Field(default_factory=dict)
    row_rules: tuple[str, ...] = ()
    variants: tuple[tuple[str, ...], ...] = ()
    delimiters: tuple[str, ...] = (",", ";", "\t")
    fallback_encoding: str = "latin-1"
    max_bad_rows: int = 10
    max_bad_percent: float = 20.0
    expected: Expectation | None = None
    control_totals: ControlTotals | None = None

    @field_validator("country_pattern")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        try:
            if value is not None and re.compile(value).groups != 1:
                raise ValueError("country_pattern needs exactly one group: the country")
        except re.error as exc:
            raise ValueError(f"country_pattern is no regular expression: {exc}") from exc
        return value

    @field_validator("file_name")
    @classmethod
    def _names_a_day(cls, value: str | None) -> str | None:
        try:
            groups = re.compile(value).groupindex.keys() if value is not None else {"day"}
        except re.error as exc:
            raise ValueError(f"file_name is no regular expression: {exc}") from exc
        if not ({"day"} == groups - {"country"} or {"year", "month", "day"} <= groups):
            raise ValueError(
                "file_name needs a group (?P<day>...), or the three groups year, month and day; "
                f"it has {', '.join(groups) or 'none'}"
            )
        return value


@dataclass(frozen=True)
class Column:
    """One column of a feed.

    Attributes:
        name: name in RAW, snake case.
        header: name partners write in the header line; `synonyms` are accepted too.
        sql_type: type of the column in RAW.
        precision, scale: of a decimal, else zero.
        classification: ``public``, ``internal`` or ``pii``.
        path: steps from a JSON record to the value; empty when the column's names are its key.
        protect, normalise, generalise: see `ColumnIngestion`; `protect` is None unless the column
            is classified ``pii``.
    """

    name: str
    header: str
    synonyms: tuple[str, ...]
    kind: Kind
    sql_type: str
    precision: int
    scale: int
    required: bool
    primary_key: bool
    pattern: str | None
    minimum: Decimal | None
    maximum: Decimal | None
    allowed: tuple[str, ...]
    formats: tuple[str, ...]
    clock: Literal["utc", "local"]
    strip: str
    classification: str
    protect: Protect | None
    normalise: Normalise
    generalise: Literal["year"] | None
    description: str
    path: tuple[str, ...] = ()

    @cached_property
    def stored(self) -> dict[str, str]:
        """Columns that lake and RAW have for it -> SQL type; itself, unless it is protected."""
        if self.protect is None:
            return {self.name: self.sql_type}
        kept = {}
        if self.protect in (Protect.TOKEN, Protect.BOTH):
            kept[f"{self.name}_token"] = "varchar"
        if self.protect in (Protect.ENCRYPT, Protect.BOTH):
            kept[f"{self.name}_enc"] = "varchar"
        if self.generalise:
            kept[f"{self.name}_{self.generalise}"] = "integer"
        return kept

    @cached_property
    def header_words(self) -> frozenset[str]:
        """Normalised names under which a header may announce this column."""
        return frozenset(normalised_header(w) for w in (self.name, self.header, *self.synonyms))


@dataclass(frozen=True)
class FeedContract:
    """What a feed promises."""

    name: str
    title: str
    version: str
    description: str
    grain: str
    owner: str
    domain: str
    columns: tuple[Column, ...]
    ingestion: FeedIngestion
    schema_version: str

    @property
    def holds_pii(self) -> bool:
        """Whether any column holds personal data."""
        return any(c.protect for c in self.columns)

    @property
    def scope(self) -> Scope:
        """Country feed or global feed."""
        return self.ingestion.scope

    @property
    def freshness(self) -> Freshness:
        """What is promised of the newest load; what happens comes daily, reference data seldom."""
        if self.ingestion.business_date is None:
            return WEEKLY
        pause = self.ingestion.expected.longest_pause if self.ingestion.expected else timedelta()
        return Freshness(*(limit + pause for limit in DAILY))

    @property
    def has_sidecars(self) -> bool:
        """Whether a control file belongs beside each data file."""
        totals = self.ingestion.control_totals
        return totals is not None and totals.kind == "sidecar"

    def countries_of(self, country: str, registry: CountryRegistry) -> tuple[str, ...]:
        """Countries whose partitions a file may concern.

        Args:
            country: of its name; ALL in a country feed is a file that is split by a column, and
                what it holds is only known once it is read.
        """
        split = country == ALL and self.scope is Scope.COUNTRY
        return registry.codes if split else (country,)

    @cached_property
    def column_by_name(self) -> dict[str, Column]:
        """RAW name -> column, in contract order."""
        return {c.name: c for c in self.columns}

    @cached_property
    def name_by_header(self) -> dict[str, str]:
        """Normalised header word -> RAW name."""
        return {word: c.name for c in self.columns for word in c.header_words}

    @cached_property
    def primary_key(self) -> tuple[str, ...]:
        """Columns of the business key."""
        return tuple(c.name for c in self.columns if c.primary_key)

    @cached_property
    def variants(self) -> tuple[tuple[str, ...], ...]:
        """Column orders a file without a header may have."""
        return self.ingestion.variants or (tuple(self.column_by_name),)

    @cached_property
    def country_by_number(self) -> dict[int, str]:
        """`country_ranges` spelled out."""
        numbers: dict[int, str] = {}
        for block, country in self.ingestion.country_ranges.items():
            first, last = _block(block)
            numbers.update(dict.fromkeys(range(first, last + 1), country))
        return numbers


@lru_cache(maxsize=4096)  # thousands of files repeat the same few words
def normalised_header(text: str) -> str:
    """Header names compare by letters and digits alone: `Store ID`, `store_id`, `STOREID`."""
    return re.sub(r"[^0-9a-z]", "", text.lower())


def load_contracts(extra_folders: Iterable[Path] = ()) -> dict[str, FeedContract]:
    """Read the shipped contracts and those of further folders.

    Args:
        extra_folders: each holds ``*.odcs.yaml`` files; a feed of a later folder replaces an
            earlier one of the same name.

    Returns:
        Feed name -> contract, in file-name order.

    Raises:
        ConfigurationError: listing everything wrong in all files, not just the first finding.
    """
    contracts: dict[str, FeedContract] = {}
    problems: list[str] = []
    for folder in (PACKAGE_DIR / "contracts", *extra_folders):
        if not folder.is_dir():
            problems.append(f"{folder} is not a folder (RETAIL_CONTRACTS_PATH)")
            continue
        for path in sorted(folder.glob("*.odcs.yaml")):
            try:
                contract = read_contract(path)
            except ConfigurationError as exc:
                problems.append(str(exc))
            else:
                contracts[contract.name] = contract
    if problems:
        raise ConfigurationError("\n".join(problems))
    return contracts


def read_contract(path: Path) -> FeedContract:
    """Read one contract file.

    Raises:
        ConfigurationError: with the path and every finding.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_YAML)
        odcs = OpenDataContractStandard.model_validate(document)
        if len(odcs.schema_ or []) != 1:
            raise ValueError(f"schema has {len(odcs.schema_ or [])} tables; expected one")
        (table,) = odcs.schema_ or []
        ingestion = FeedIngestion.model_validate(_custom(odcs.customProperties, "ingestion"))
        columns = tuple(_column(p) for p in table.properties or [])
    except (OSError, yaml.YAMLError, ValidationError, ValueError, KeyError) as exc:
        raise ConfigurationError(f"{path}: not a usable data contract: {exc}") from exc
    contract = FeedContract(
        name=table.name or "",
        title=odcs.name or "",
        version=odcs.version or "",
        description=(odcs.description.purpose or "").strip() if odcs.description else "",
        grain=table.dataGranularityDescription or "",
        owner=_custom(odcs.customProperties, "owner") or "team:data-platform",
        domain=odcs.domain or "retail",
        columns=columns,
        ingestion=ingestion,
        schema_version=_fingerprint(document),
    )
    _check(contract, path)
    return contract


def _column(prop: SchemaProperty) -> Column:
    options = prop.logicalTypeOptions or {}
    ingestion = ColumnIngestion.model_validate(_custom(prop.customProperties, "ingestion") or {})
    kind, precision, scale = _kind(prop)
    classification = (prop.classification or "internal").lower()
    return Column(
        name=prop.name or "",
        header=prop.businessName or prop.name or "",
        synonyms=tuple(str(s.synonym) for s in prop.synonyms or []),
        kind=kind,
        sql_type=(prop.physicalType or "").lower().replace(" ", ""),
        precision=precision,
        scale=scale,
        required=bool(prop.required),
        primary_key=bool(prop.primaryKey),
        pattern=options.get("pattern"),
        minimum=_decimal(options.get("minimum")),
        maximum=_decimal(options.get("maximum")),
        allowed=tuple(str(v.value) for v in prop.enum or []),
        formats=ingestion.formats or _DEFAULT_FORMATS.get(kind, ()),
        clock=ingestion.clock,
        strip=ingestion.strip,
        classification=classification,
        protect=ingestion.protect or (Protect.BOTH if classification == "pii" else None),
        normalise=ingestion.normalise,
        generalise=ingestion.generalise,
        description=prop.description or "",
        path=tuple(ingestion.path.split(".")) if ingestion.path else (),
    )


_DEFAULT_FORMATS = {
    Kind.DATE: ("%Y-%m-%d",),
    Kind.TIMESTAMP: ("%Y-%m-%d %H:%M:%S",),
}
_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)$")
_KINDS = {
    "varchar": Kind.TEXT,
    "boolean": Kind.BOOLEAN,
    "integer": Kind.INTEGER,
    "bigint": Kind.INTEGER,
    "double": Kind.DOUBLE,
    "date": Kind.DATE,
    "timestamp": Kind.TIMESTAMP,
}


def _kind(prop: SchemaProperty) -> tuple[Kind, int, int]:
    physical = (prop.physicalType or "").lower()
    match = _DECIMAL.match(physical)
    if match:
        return Kind.DECIMAL, int(match[1]), int(match[2])
    if physical not in _KINDS:
        known = ", ".join([*_KINDS, "decimal(p,s)"])
        raise ValueError(f"column {prop.name}: physicalType {physical!r}; expected one of {known}")
    return _KINDS[physical], 0, 0


def _decimal(value: Any) -> Decimal | None:
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation as exc:
        raise ValueError(f"minimum or maximum {value!r} is no number") from exc


def _custom(properties: Any, name: str) -> Any:
    return next((p.value for p in properties or [] if p.property == name), None) or (
        {} if name == "ingestion" else None
    )


def _fingerprint(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_CLASSIFICATIONS = ("public", "internal", "pii")
_META = frozenset({"country", "batch_date", "business_date"})
_OWN_TABLES = frozenset({"file_ledger", "late_days"})
_SQL_WORDS = frozenset(
    re.findall(
        r"\w+",
        """all analyse analyze and any array as asc asymmetric between both by case cast
        check collate column constraint create current default deferrable delete desc
        describe distinct do drop else end except exists false fetch for foreign from full
        grant group having ilike in initially inner insert intersect into is join lambda
        lateral leading left like limit minus natural not null of offset on only or order
        pivot pivot_longer pivot_wider placing primary qualify references returning right
        row rows select set show some start summarize symmetric table then to trailing
        trigger true union unique unpivot update using values variadic when where window
        with""",
    )
)
"""Reserved in one of the engines, so that names need no quotes in either."""


def is_usable_name(name: str) -> bool:
    """Whether a column may be called so: snake case, no word of SQL, no column of the platform."""
    return bool(
        re.fullmatch(r"[a-z][a-z0-9_]*", name) and name not in _META and name not in _SQL_WORDS
    )


def _check(contract: FeedContract, path: Path) -> None:
    problems: list[str] = []
    names = [c.name for c in contract.columns]
    stored = [name for c in contract.columns for name in c.stored]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", contract.name) or contract.name in _OWN_TABLES:
        problems.append(f"table name {contract.name!r} is not snake_case or is reserved")
    if not contract.primary_key:
        problems.append("no column has primaryKey: true")
    problems += [
        f"column {n!r} is there twice"
        for n in sorted({n for n in names + stored if max(names.count(n), stored.count(n)) > 1})
    ]
    problems += [
        f"column name {n!r} is not snake_case or is reserved"
        for n in names
        if not is_usable_name(n)
    ]
    words: dict[str, str] = {}
    for column in contract.columns:
        problems += _column_problems(column)
        for word in column.header_words:
            if words.setdefault(word, column.name) != column.name:
                problems.append(f"header {word!r} names both {words[word]} and {column.name}")
    problems += _ingestion_problems(contract)
    if problems:
        raise ConfigurationError(f"{path}: " + "; ".join(problems))


def _column_problems(column: Column) -> Iterator[str]:
    """What would only show when the first file is judged."""
    rules = {"pattern": column.pattern, "enum": column.allowed}
    bounds = {"minimum": column.minimum, "maximum": column.maximum}
    if column.kind is Kind.TEXT:
        yield from _pattern_problems(f"pattern of {column.name}", column.pattern)
    else:
        yield from (f"{column.name}: {r} works on varchar only" for r, v in rules.items() if v)
    if column.kind not in (Kind.INTEGER, Kind.DECIMAL, Kind.DOUBLE):
        for rule, bound in bounds.items():
            if bound is not None:
                yield f"{column.name}: {rule} works on numbers only"
    if column.kind is Kind.DECIMAL and not column.scale <= column.precision <= 38:
        yield f"{column.name}: decimal({column.precision},{column.scale}) is beyond decimal(38,s)"
    yield from _protection_problems(column)


def _protection_problems(column: Column) -> Iterator[str]:
    # A word that nobody knows must not leave personal data in clear.
    if column.classification not in _CLASSIFICATIONS:
        yield (
            f"{column.name}: classification {column.classification!r}; "
            f"expected one of {', '.join(_CLASSIFICATIONS)}"
        )
    elif column.classification != "pii" and (column.protect or column.generalise):
        yield f"{column.name}: protect and generalise are for columns classified pii"
    if column.normalise != "text" and column.kind is not Kind.TEXT:
        yield f"{column.name}: normalise {column.normalise} works on varchar only"
    if column.generalise and column.kind not in (Kind.DATE, Kind.TIMESTAMP):
        yield f"{column.name}: generalise {column.generalise} works on dates and timestamps only"
    if column.primary_key and column.protect in (Protect.ENCRYPT, Protect.DROP):
        yield f"{column.name}: a primary key needs a token; protect is {column.protect}"


def _ingestion_problems(contract: FeedContract) -> Iterator[str]:
    rules = contract.ingestion
    if rules.drift is Drift.EVOLVE and contract.holds_pii:
        yield (
            "drift evolve is not for feeds with personal data: nobody has classified what a new "
            "column holds; use rescue"
        )
    for what, used in (
        ("business_date", [rules.business_date]),
        ("country_column", [rules.country_column]),
        ("variants", [c for v in rules.variants for c in v]),
    ):
        for name in used:
            if name and name not in contract.column_by_name:
                yield f"{what} names {name!r}, which is no column"
    when = contract.column_by_name.get(rules.business_date or "")
    if when and when.kind not in (Kind.DATE, Kind.TIMESTAMP):
        yield f"business_date names {when.name!r}, which is no date or timestamp"
    if when and when.protect:
        yield f"business_date names {when.name!r}, which is pii and not kept in clear"
    if (rules.country_pattern or rules.country_ranges) and not rules.country_column:
        yield "country_pattern and country_ranges need a country_column"
    yield from _pattern_problems("country_pattern", rules.country_pattern)
    if rules.format is not Format.JSON:
        yield from _of_json_only(contract)
    if rules.control_totals:
        yield from _control_totals_problems(contract, rules.control_totals)
    taken: dict[int, str] = {}
    for block, country in rules.country_ranges.items():
        first, last = _block(block)
        if first > last:
            yield f"country_ranges: {block!r} is not a number or first-last"
        for number in range(first, last + 1):
            if taken.setdefault(number, country) != country:
                yield f"country_ranges: {number} belongs to {taken[number]} and {country}"
    # A delimiter is looked for in the bytes of the text.
    yield from (
        f"delimiter {d!r} is not one ASCII character"
        for d in rules.delimiters
        if len(d) != 1 or not d.isascii()
    )
    try:
        codecs.lookup(rules.fallback_encoding)
    except LookupError:
        yield f"fallback_encoding {rules.fallback_encoding!r} is unknown"


def _control_totals_problems(contract: FeedContract, totals: ControlTotals) -> Iterator[str]:
    if totals.kind == "trailer":
        if contract.ingestion.format is not Format.CSV:
            yield "control_totals: a trailer works on format: csv only; use a sidecar"
        if "sha256" in totals.states.values():
            yield "control_totals: a trailer cannot state the sha256 of the file it is part of"
    for name in totals.summed:
        column = contract.column_by_name.get(name)
        if column is None:
            yield f"control_totals names {name!r}, which is no column"
        elif column.kind not in (Kind.INTEGER, Kind.DECIMAL):
            yield f"control_totals: {name} is {column.sql_type}; only integer and decimal add up"
        elif column.protect:
            yield f"control_totals names {name!r}, which is pii; its sum would be kept in clear"


def _of_json_only(contract: FeedContract) -> Iterator[str]:
    if contract.ingestion.record_path:
        yield "record_path works on format: json only"
    yield from (f"{c.name}: path works on format: json only" for c in contract.columns if c.path)


_NOT_IN_POLARS = re.compile(r"\(\?<?[=!]|\(\?P=|\\[1-9]")


def _pattern_problems(what: str, pattern: str | None) -> Iterator[str]:
    """Patterns run in two engines: Python's, and that of polars, which lacks what would backtrack.

    Looked at as text: a try in polars would start its threads, and a process that forks after
    loading contracts would hang.
    """
    if pattern is None:
        return
    try:
        re.compile(pattern)
    except re.error as exc:
        yield f"{what} {pattern!r} is no regular expression ({exc})"
    if _NOT_IN_POLARS.search(pattern):
        yield f"{what} {pattern!r} uses look-around or back references; the gate knows neither"


def _block(text: str) -> tuple[int, int]:
    """First and last number of ``7`` or ``1-5``; an empty range when it is neither."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    return (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
