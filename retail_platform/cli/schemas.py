"""Commands about how files are written, and about changes of contracts."""

from dataclasses import asdict
from typing import Any

from retail_platform.cli.output import fact, print_json, table
from retail_platform.contract import FeedContract, load_contracts
from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import Lake
from retail_platform.operate.contract_changes import Comparison
from retail_platform.operate.schemas import (
    SeenSchema,
    Sighting,
    difference,
    find_schema,
    schema_of,
    seen_schemas,
)
from retail_platform.settings import Settings


def _seen(settings: Settings, feed: str) -> tuple[FeedContract, list[SeenSchema]]:
    contracts = load_contracts(settings.contracts_paths)
    if feed not in contracts:
        raise ConfigurationError(f"No such feed: {feed}; there are {', '.join(sorted(contracts))}.")
    return contracts[feed], seen_schemas(Lake.open(settings.lake_url), contracts[feed])


def show_history(settings: Settings, feed: str, *, as_json: bool) -> None:
    """Print every schema of a feed."""
    contract, seen = _seen(settings, feed)
    expected = schema_of(contract)
    if as_json:
        print_json(
            [
                {
                    "schema_id": s.schema.schema_id,
                    "first_seen": _sighting(s.first),
                    "last_seen": _sighting(s.last),
                    "files": s.files,
                    "differs_from_contract": asdict(difference(expected, s.schema)),
                    **s.schema.model_dump(exclude={"feed"}),
                }
                for s in seen
            ]
        )
        return
    table(
        f"{len(seen)} schemas of {feed}; contract {contract.version}",
        ["schema", "first seen", "last seen", "files", "contract", "written", "differs"],
        [
            (
                s.schema.schema_id,
                str(s.first.day if s.first else ""),
                str(s.last.day if s.last else ""),
                s.files,
                s.schema.contract_version,
                ", ".join(s.schema.facts.values()),
                "; ".join(difference(expected, s.schema).lines()),
            )
            for s in seen
        ],
    )


def _sighting(seen: Sighting | None) -> dict[str, Any] | None:
    return {"day": seen.day, "file": seen.file} if seen else None


def show_diff(settings: Settings, feed: str, one: str, other: str, *, as_json: bool) -> None:
    """Print what is different between two schemas, or a schema and the contract."""
    contract, seen = _seen(settings, feed)
    (name, before), (other_name, after) = (find_schema(w, contract, seen) for w in (one, other))
    found = difference(before, after)
    if as_json:
        print_json({"from": name, "to": other_name, "same": found.same, **asdict(found)})
    elif found.same:
        fact(f"{other_name} is written as {name}")
    else:
        fact(f"{other_name} differs from {name}:")
        for line in found.lines():
            fact(f"  {line}")


def report_comparison(found: Comparison, *, as_json: bool) -> None:
    """Print how contracts changed and whether their versions say so."""
    if as_json:
        print_json(found.as_json())
        return
    if found.changes:
        table(
            f"Contracts against {found.against}",
            ["feed", "version", "change", "needs", "what"],
            [
                (c.feed, c.versions, c.level.effect, c.level.name.lower(), c.what)
                for c in found.changes
            ],
        )
    for note in found.notes:
        fact(note)
    for problem in found.problems:
        fact((problem, "red"))
    if not (found.problems or found.notes):
        fact(f"{found.compared} contracts against {found.against}: versions say what changed")
