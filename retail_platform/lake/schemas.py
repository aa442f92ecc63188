"""How the files of a feed were written: every schema ever taken in, each recorded once.

A record is named by its content and never changes, so it does not matter how often, when or in
which order files of a schema are seen. Which files had it, first and last, is not part of it: the
manifests name the schema of each of their files (`FileFacts.schema_id`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from retail_platform.lake.store import Lake, schema_path, schemas_prefix

EXTRA = "_extra_"
"""Precedes names of columns that the contract does not know, in layouts and data objects."""


class ObservedColumn(BaseModel):
    """One column of a file.

    Attributes:
        header: as delivered; empty in a file without a header line.
        column: RAW column its values go to; None when they go to none.
        evolved: the RAW column is one the contract does not know.
    """

    model_config = ConfigDict(frozen=True)

    header: str
    column: str | None
    evolved: bool = False


class ObservedSchema(BaseModel):
    """What files written alike have in common.

    Attributes:
        contract_version: of the contract that read them.
        facts: how they were written: delimiter, header (yes or no), encoding.
        columns: in the order of the file.
    """

    model_config = ConfigDict(frozen=True)

    feed: str
    contract_version: str
    facts: Mapping[str, str]
    columns: tuple[ObservedColumn, ...]

    @cached_property
    def schema_id(self) -> str:
        """Hash of all of it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @property
    def evolved(self) -> tuple[str, ...]:
        """RAW columns the contract does not know."""
        # In JSON records may spell one column in several ways.
        names = (c.column for c in self.columns if c.evolved and c.column)
        return tuple(dict.fromkeys(names))


def record_schemas(lake: Lake, schemas: Iterable[ObservedSchema]) -> None:
    """Put records; one that is there already stays as it is."""
    lake.put_many(
        [
            (schema_path(s.feed, s.schema_id), s.model_dump_json(indent=1).encode())
            for s in sorted(schemas, key=lambda s: s.schema_id)
        ]
    )


def read_schemas(lake: Lake, feed: str) -> dict[str, ObservedSchema]:
    """Schema id -> schema, of everything ever taken in."""
    paths = [obj.path for obj in lake.list(schemas_prefix(feed))]
    found = [ObservedSchema.model_validate_json(t) for t in lake.get_many(paths) if t is not None]
    return {s.schema_id: s for s in found}
