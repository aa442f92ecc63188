"""How the files of a feed were written over time, and in what that differs from its contract.

Reads the registry of schemas and the manifests; which file had which schema is theirs to say.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from retail_platform.contract import FeedContract, normalised_header
from retail_platform.errors import ConfigurationError
from retail_platform.lake.schemas import ObservedColumn, ObservedSchema, read_schemas
from retail_platform.lake.store import MANIFESTS, Lake

CONTRACT = "contract"
NEWEST = "newest"


@dataclass(frozen=True, order=True)
class Sighting:
    """A file with some schema; the order is that of batch days, then of names."""

    day: date
    file: str


@dataclass(frozen=True)
class SeenSchema:
    """A schema and the files that had it.

    Attributes:
        files: accepted ones, superseded ones included; none when all of them were judged again
            under another version of the contract.
    """

    schema: ObservedSchema
    first: Sighting | None
    last: Sighting | None
    files: int


@dataclass(frozen=True)
class SchemaDiff:
    """What is different in a second schema, by header.

    Attributes:
        respelled: (before, after) headers that mean the same column.
        reordered: columns both have, as they stand in the second, if that is another order.
        facts: fact -> (before, after), e.g. the delimiter.
    """

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    respelled: list[tuple[str, str]] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    facts: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether nothing is different."""
        return not (self.added or self.removed or self.respelled or self.reordered or self.facts)

    def lines(self) -> list[str]:
        """The differences in words."""
        parts = [
            *(f"+ {header}" for header in self.added),
            *(f"- {header}" for header in self.removed),
            *(f"{before} is spelled {after}" for before, after in self.respelled),
            *([f"order: {', '.join(self.reordered)}"] if self.reordered else []),
        ]
        return parts + [f"{n}: {one} -> {other}" for n, (one, other) in self.facts.items()]


def schema_of(contract: FeedContract) -> ObservedSchema:
    """What a contract expects, as if a file had been written exactly so."""
    columns = tuple(ObservedColumn(header=c.header, column=c.name) for c in contract.columns)
    return ObservedSchema(
        feed=contract.name, contract_version=contract.version, facts={}, columns=columns
    )


def seen_schemas(lake: Lake, contract: FeedContract) -> list[SeenSchema]:
    """All schemas of a feed, in the order in which they came up.

    Costs one read of every manifest of the feed.
    """
    schemas = read_schemas(lake, contract.name)
    sightings: dict[str, set[tuple[Sighting, str]]] = {schema_id: set() for schema_id in schemas}
    paths = [obj.path for obj in lake.list(f"{MANIFESTS}{contract.name}/")]
    for text in lake.get_many(paths):
        manifest = json.loads(text or "{}")
        for facts in manifest.get("files", {}).values():
            if facts.get("schema_id") in sightings:
                seen = Sighting(date.fromisoformat(manifest["day"]), facts["name"])
                # A file that was split by country is in several manifests.
                sightings[facts["schema_id"]].add((seen, facts["file_id"]))
    found = []
    for schema_id, files in sightings.items():
        ordered = sorted(files)
        first, last = (ordered[0][0], ordered[-1][0]) if ordered else (None, None)
        found.append(SeenSchema(schemas[schema_id], first, last, len(ordered)))
    never = Sighting(date.min, "")
    return sorted(found, key=lambda s: (s.first or never, s.last or never, s.schema.schema_id))


def find_schema(
    word: str, contract: FeedContract, seen: Sequence[SeenSchema]
) -> tuple[str, ObservedSchema]:
    """The schema a person means, and what to call it.

    Args:
        word: ``contract``, ``newest`` (that of the newest batch day) or the beginning of an id.

    Raises:
        ConfigurationError: there is none, or several.
    """
    if word == CONTRACT:
        return f"contract {contract.version}", schema_of(contract)
    accepted = [s for s in seen if s.last]
    if word == NEWEST and accepted:
        newest = max(accepted, key=lambda s: (s.last, s.schema.schema_id)).schema
        return newest.schema_id, newest
    fitting = [s.schema for s in seen if word and s.schema.schema_id.startswith(word)]
    if len(fitting) != 1:
        raise ConfigurationError(
            f"{len(fitting) or 'No'} schema(s) {word!r} of feed {contract.name}; "
            f"`retail schema history {contract.name}` shows what was seen."
        )
    return fitting[0].schema_id, fitting[0]


def difference(one: ObservedSchema, other: ObservedSchema) -> SchemaDiff:
    """What the second schema has that the first has not, and the reverse."""
    before, after = _by_identity(one), _by_identity(other)
    shared = [key for key in after if key in before]
    reordered = shared != [key for key in before if key in after]
    return SchemaDiff(
        added=[_shown(c) for key, c in after.items() if key not in before],
        removed=[_shown(c) for key, c in before.items() if key not in after],
        respelled=[
            (before[key].header, after[key].header)
            for key in shared
            # Without a header line nothing is spelled at all.
            if "" not in (before[key].header, after[key].header)
            and before[key].header != after[key].header
        ],
        reordered=[_shown(after[key]) for key in shared] if reordered else [],
        facts={
            name: (one.facts[name], other.facts[name])
            for name in sorted(one.facts.keys() & other.facts.keys())
            if one.facts[name] != other.facts[name]
        },
    )


def _by_identity(schema: ObservedSchema) -> dict[str, ObservedColumn]:
    """Columns by what they are: one of the contract, or whatever its header says."""
    return {
        f"column {c.column}"
        if c.column and not c.evolved
        else f"header {normalised_header(c.header) or c.header.casefold()}": c
        for c in schema.columns
    }


def _shown(column: ObservedColumn) -> str:
    return column.header or column.column or "(no name)"
