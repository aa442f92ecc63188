"""What changed in contracts, whom it breaks, and whether their versions say so.

Versions are MAJOR.MINOR.PATCH. A change is *breaking* when files that were accepted may be refused
or read otherwise, or when readers of RAW may find less or something else than they rely on; it
needs a new major version. A change that only adds or accepts more is *additive* and needs a minor
one. Texts for people need none. Where older contracts come from is the business of
`contract_history`.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any

from retail_platform.contract import Column, Drift, FeedContract, FeedIngestion, Kind


class Level(IntEnum):
    """Part of the version that a change has to raise."""

    NONE = 0
    MINOR = 1
    MAJOR = 2

    @property
    def effect(self) -> str:
        """What is said of a change that needs it."""
        return ("text", "additive", "breaking")[self]


@dataclass(frozen=True)
class Change:
    """One difference between two versions of a contract."""

    feed: str
    versions: str
    level: Level
    what: str


@dataclass
class Comparison:
    """Contracts of today against those of the past.

    Attributes:
        against: what they were compared with; empty if there was nothing.
        compared: how many contracts exist on both sides.
        problems: changes without the version they need; empty means success.
        notes: what could not be compared, and why.
    """

    against: str
    compared: int = 0
    changes: list[Change] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Plain values for `--json`."""
        return {
            "against": self.against,
            "compared": self.compared,
            "ok": not self.problems,
            "changes": [
                {
                    "feed": c.feed,
                    "versions": c.versions,
                    "effect": c.level.effect,
                    "needs": c.level.name.lower(),
                    "what": c.what,
                }
                for c in self.changes
            ],
            "problems": self.problems,
            "notes": self.notes,
        }


def compare(
    old: Mapping[str, FeedContract],
    new: Mapping[str, FeedContract],
    against: str,
    retired: Collection[str] = (),
) -> Comparison:
    """Every change of every feed, and the versions that do not say so.

    Args:
        retired: feeds whose old contract announced their end (status deprecated or retired);
            removing one of them is no problem.
    """
    found = Comparison(against, compared=len(old.keys() & new.keys()))
    for feed in sorted(old.keys() | new.keys()):
        if feed not in old:
            found.changes.append(Change(feed, new[feed].version, Level.NONE, "the feed is new"))
        elif feed not in new:
            level = Level.NONE if feed in retired else Level.MAJOR
            found.changes.append(Change(feed, old[feed].version, level, "the feed is gone"))
            if level is Level.MAJOR:
                found.problems.append(
                    f"{feed}: the contract is gone. Give it status deprecated or retired first."
                )
        else:
            _compare_feed(old[feed], new[feed], found)
    return found


def _compare_feed(old: FeedContract, new: FeedContract, found: Comparison) -> None:
    versions = old.version if old.version == new.version else f"{old.version} -> {new.version}"
    changes = [Change(new.name, versions, level, what) for level, what in changes_of(old, new)]
    found.changes += changes
    needed = max((c.level for c in changes), default=Level.NONE)
    before, after = _numbers(old.version), _numbers(new.version)
    if before is None or after is None:
        if changes or old.version != new.version:
            found.problems.append(f"{new.name}: version {versions} is not MAJOR.MINOR.PATCH.")
    elif after < before:
        found.problems.append(f"{new.name}: version {versions} goes backwards.")
    elif needed > _raised(before, after):
        wanted = (before[0] + 1, 0, 0) if needed is Level.MAJOR else (before[0], before[1] + 1, 0)
        worst = next(c.what for c in changes if c.level is needed)
        found.problems.append(
            f"{new.name}: version {versions}, but a change is {needed.effect} ({worst}); "
            f"expected at least {'.'.join(map(str, wanted))}."
        )


def _numbers(version: str) -> tuple[int, int, int] | None:
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _raised(before: tuple[int, int, int], after: tuple[int, int, int]) -> Level:
    if after[0] > before[0]:
        return Level.MAJOR
    return Level.MINOR if after[1] > before[1] else Level.NONE


Found = Iterator[tuple[Level, str]]


def changes_of(old: FeedContract, new: FeedContract) -> Found:
    """What changed between two versions of the contract of a feed, and how much that matters."""
    for name in old.column_by_name:
        if name not in new.column_by_name:
            yield Level.MAJOR, f"column {name} is gone"
    for name, column in new.column_by_name.items():
        before = old.column_by_name.get(name)
        if before is None:
            level = Level.MAJOR if column.required else Level.MINOR
            yield level, f"{'required' if column.required else 'optional'} column {name} is new"
        else:
            yield from ((level, f"{name}: {what}") for level, what in _of_column(before, column))
    if old.primary_key != new.primary_key:
        yield Level.MAJOR, f"key: {', '.join(old.primary_key)} -> {', '.join(new.primary_key)}"
    yield from _of_variants(old, new)
    yield from _of_ingestion(old.ingestion, new.ingestion)
    for text in ("title", "description", "grain", "owner", "domain"):
        if getattr(old, text) != getattr(new, text):
            yield Level.NONE, f"{text} is worded differently"


def _of_column(old: Column, new: Column) -> Found:
    if old.sql_type != new.sql_type:
        level = Level.MINOR if _holds_all_of(old, new) else Level.MAJOR
        yield level, f"type {old.sql_type} -> {new.sql_type}"
    if old.required != new.required:
        level = Level.MAJOR if new.required else Level.MINOR
        yield level, "required now" if new.required else "optional now"
    if old.pattern != new.pattern:
        # Whether one pattern allows all of another cannot be told in general.
        yield Level.MAJOR if new.pattern else Level.MINOR, f"pattern {old.pattern} -> {new.pattern}"
    if set(old.allowed) != set(new.allowed):
        wider = not new.allowed or (bool(old.allowed) and set(old.allowed) <= set(new.allowed))
        values = [
            *(f"+ {value}" for value in new.allowed if value not in old.allowed),
            *(f"- {value}" for value in old.allowed if value not in new.allowed),
        ]
        yield Level.MINOR if wider else Level.MAJOR, f"allowed values: {', '.join(values)}"
    if old.minimum != new.minimum:
        looser = new.minimum is None or (old.minimum is not None and new.minimum < old.minimum)
        yield Level.MINOR if looser else Level.MAJOR, f"minimum {old.minimum} -> {new.minimum}"
    if old.maximum != new.maximum:
        looser = new.maximum is None or (old.maximum is not None and new.maximum > old.maximum)
        yield Level.MINOR if looser else Level.MAJOR, f"maximum {old.maximum} -> {new.maximum}"
    for word in sorted(old.header_words - new.header_words):
        yield Level.MAJOR, f"header {word!r} is no longer understood"
    for word in sorted(new.header_words - old.header_words):
        yield Level.MINOR, f"header {word!r} is understood"
    if old.formats != new.formats and old.kind is new.kind:
        # Tried in order: one that comes before others may read their values otherwise.
        level = Level.MINOR if new.formats[: len(old.formats)] == old.formats else Level.MAJOR
        yield level, f"formats {', '.join(old.formats)} -> {', '.join(new.formats)}"
    if old.strip != new.strip:
        level = Level.MINOR if set(old.strip) <= set(new.strip) else Level.MAJOR
        yield level, f"strip {old.strip!r} -> {new.strip!r}"
    if old.classification != new.classification:
        personal = "pii" in (old.classification, new.classification)
        words = f"classification {old.classification} -> {new.classification}"
        yield Level.MAJOR if personal else Level.MINOR, words
    elif old.stored != new.stored and old.protect:
        yield Level.MAJOR, f"kept as {', '.join(old.stored)} -> {', '.join(new.stored)}"
    if old.normalise != new.normalise and old.protect and new.protect:
        yield Level.MAJOR, f"normalise {old.normalise} -> {new.normalise}: tokens change"
    if old.description != new.description:
        yield Level.NONE, "description is worded differently"
    for setting in fields(new):
        if setting.name not in _JUDGED and getattr(old, setting.name) != getattr(new, setting.name):
            # What a later release adds to contracts is not known here: assumed to be additive.
            yield Level.MINOR, f"{setting.name} changed"


_JUDGED = {
    *("name", "header", "synonyms", "kind", "sql_type", "precision", "scale", "required"),
    *("primary_key", "pattern", "minimum", "maximum", "allowed", "formats", "strip"),
    *("classification", "description", "protect", "normalise", "generalise"),
}
"""Settings of a column that are compared above, each in its own way."""


def _holds_all_of(old: Column, new: Column) -> bool:
    """Whether a type holds every value of another, unchanged."""
    if old.kind is new.kind is Kind.DECIMAL:
        return new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale
    return (old.sql_type, new.sql_type) == ("integer", "bigint")


def _of_variants(old: FeedContract, new: FeedContract) -> Found:
    """Orders of columns that files without a header may have."""
    known = new.column_by_name.keys()
    for variant in old.variants:
        if variant in new.variants or not known >= set(variant):
            continue  # a column that is gone is said already
        grown = any(len(v) > len(variant) for v in new.variants)
        if not (old.ingestion.variants or new.ingestion.variants) and grown:
            continue  # an optional column was added; who sends no header needs a variant for it
        yield Level.MAJOR, f"without a header, {', '.join(variant)} is no longer understood"


_STRICTEST_FIRST = [
    *(Drift.FREEZE, Drift.DISCARD_ROW, Drift.DISCARD_VALUE, Drift.RESCUE, Drift.EVOLVE)
]


def _of_ingestion(old: FeedIngestion, new: FeedIngestion) -> Found:
    if old.drift is not new.drift:
        looser = _STRICTEST_FIRST.index(new.drift) > _STRICTEST_FIRST.index(old.drift)
        yield Level.MINOR if looser else Level.MAJOR, f"drift {old.drift} -> {new.drift}"
    rules: tuple[tuple[str, Callable[[Any, Any], bool]], ...] = (
        ("row_rules", lambda before, after: set(after) <= set(before)),
        ("delimiters", lambda before, after: set(after) >= set(before)),
        ("max_bad_rows", lambda before, after: after >= before),
        ("max_bad_percent", lambda before, after: after >= before),
        # Any other change refuses files of senders who have not heard of it, or their totals.
        (
            "control_totals",
            lambda before, after: (
                before is not None and after == before.model_copy(update={"required": False})
            ),
        ),
    )
    for name, looser_if in rules:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            level = Level.MINOR if looser_if(before, after) else Level.MAJOR
            yield level, f"{name} {_spelled(before)} -> {_spelled(after)}"
    told = {"drift", "variants", *(name for name, _ in rules)}
    for name in type(new).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if name not in told and before != after:
            level = Level.MAJOR if name in _MEANING else Level.MINOR
            yield level, f"{name} {_spelled(before)} -> {_spelled(after)}"


_MEANING = {
    *("scope", "business_date", "country_column", "country_pattern", "country_ranges"),
    "fallback_encoding",
}
"""Settings that decide which partition a row belongs to, or what its letters are."""


def _spelled(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
