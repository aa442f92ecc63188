"""Feed contracts: Open Data Contract Standard files read into the shape ingestion works with.

One YAML file per feed drives the gate, the RAW table, its checks and its documentation. Data rules
live in the YAML; how rules are applied lives in `retail_platform.gate`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from open_data_contract_standard.model import OpenDataContractStandard, SchemaProperty
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from retail_platform.errors import ConfigurationError
from retail_platform.partitions import Scope
from retail_platform.settings import PACKAGE_DIR


class Drift(StrEnum):
    """What happens to columns the contract does not know."""

    FREEZE = "freeze"
    RESCUE = "rescue"


class Kind(StrEnum):
    """Column types the platform moves from file to warehouse."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DOUBLE = "double"
    DATE = "date"
    TIMESTAMP = "timestamp"


class ColumnIngestion(BaseModel):
    """`ingestion` custom property of a column.

    Attributes:
        formats: strptime patterns tried in order, for dates and timestamps.
        strip: characters removed from both ends before reading a number, e.g. ``$``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    formats: tuple[str, ...] = ()
    strip: str = ""


class FeedIngestion(BaseModel):
    """`ingestion` custom property of a contract: what the gate needs beyond the standard.

    Attributes:
        scope: `country`, or `global` for reference data that belongs to no country.
        drift: columns the contract does not know: `freeze` rejects the file, `rescue` keeps them.
        business_date: column that says when it happened; rows later than the batch day are bad.
        country_column: column that tells the country of a row; such files may hold many countries.
        country_pattern: regular expression whose first group is the country inside that column.
        country_ranges: ``{"1-5": "US"}`` when the column holds numbers given out in blocks.
        row_rules: names of cross-column rules in `retail_platform.gate.rules`.
        variants: accepted column orders of files without a header; default all columns in order.
        max_bad_rows, max_bad_percent: a file with more bad rows than both is rejected whole.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scope: Scope = Scope.COUNTRY
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

    @field_validator("country_pattern")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        if value is not None and re.compile(value).groups != 1:
            raise ValueError("country_pattern needs exactly one group: the country")
        return value


@dataclass(frozen=True)
class Column:
    """One column of a feed.

    Attributes:
        name: name in RAW, snake case.
        header: name partners write in the header line; `synonyms` are accepted too.
        precision, scale: of a decimal, else zero.
        classification: ``public``, ``internal`` or ``pii``.
    """

    name: str
    header: str
    synonyms: tuple[str, ...]
    kind: Kind
    precision: int
    scale: int
    required: bool
    primary_key: bool
    pattern: str | None
    minimum: Decimal | None
    maximum: Decimal | None
    allowed: tuple[str, ...]
    formats: tuple[str, ...]
    strip: str
    classification: str
    description: str

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
    def scope(self) -> Scope:
        """Country feed or global feed."""
        return self.ingestion.scope

    @cached_property
    def column_by_name(self) -> dict[str, Column]:
        """RAW name -> column, in contract order."""
        return {c.name: c for c in self.columns}

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
            first, _, last = block.partition("-")
            numbers.update(dict.fromkeys(range(int(first), int(last or first) + 1), country))
        return numbers


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
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        odcs = OpenDataContractStandard.model_validate(document)
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
    return Column(
        name=prop.name or "",
        header=prop.businessName or prop.name or "",
        synonyms=tuple(str(s.synonym) for s in prop.synonyms or []),
        kind=kind,
        precision=precision,
        scale=scale,
        required=bool(prop.required),
        primary_key=bool(prop.primaryKey),
        pattern=options.get("pattern"),
        minimum=_decimal(options.get("minimum")),
        maximum=_decimal(options.get("maximum")),
        allowed=tuple(str(v.value) for v in prop.enum or []),
        formats=ingestion.formats or _DEFAULT_FORMATS.get(kind, ()),
        strip=ingestion.strip,
        classification=prop.classification or "internal",
        description=prop.description or "",
    )


_DEFAULT_FORMATS = {
    Kind.DATE: ("%Y-%m-%d",),
    Kind.TIMESTAMP: ("%Y-%m-%d %H:%M:%S",),
}
_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)$")
_KINDS = {
    "varchar": Kind.TEXT,
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
    return None if value is None else Decimal(str(value))


def _custom(properties: Any, name: str) -> Any:
    return next((p.value for p in properties or [] if p.property == name), None) or (
        {} if name == "ingestion" else None
    )


def _fingerprint(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_META = frozenset({"country", "batch_date", "business_date"})


def _check(contract: FeedContract, path: Path) -> None:
    problems: list[str] = []
    names = [c.name for c in contract.columns]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", contract.name):
        problems.append(f"table name {contract.name!r} is not snake_case")
    if not contract.primary_key:
        problems.append("no column has primaryKey: true")
    if contract.scope is Scope.COUNTRY and contract.ingestion.country_ranges:
        bad = [b for b in contract.ingestion.country_ranges if not re.fullmatch(r"\d+(-\d+)?", b)]
        problems += [f"country_ranges: {b!r} is not a number or first-last" for b in bad]
    problems += [
        f"column {n!r} is there twice" for n in sorted({n for n in names if names.count(n) > 1})
    ]
    problems += [
        f"column name {n!r} is not snake_case or is reserved"
        for n in names
        if not re.fullmatch(r"[a-z][a-z0-9_]*", n) or n in _META
    ]
    words: dict[str, str] = {}
    for column in contract.columns:
        for word in column.header_words:
            if words.setdefault(word, column.name) != column.name:
                problems.append(f"header {word!r} names both {words[word]} and {column.name}")
    known = set(names)
    for what, used in (
        ("business_date", [contract.ingestion.business_date]),
        ("country_column", [contract.ingestion.country_column]),
        ("variants", [c for v in contract.ingestion.variants for c in v]),
    ):
        problems += [
            f"{what} names {c!r}, which is no column" for c in used if c and c not in known
        ]
    if problems:
        raise ConfigurationError(f"{path}: " + "; ".join(problems))
