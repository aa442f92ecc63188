"""Commands around the environments of pull requests: make them, build in them, drop them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from retail_platform.cli.output import Stopwatch, fact, print_json, table
from retail_platform.operate.clones import Clone, clones_of
from retail_platform.operate.slim_build import build_modified
from retail_platform.settings import Settings


def create_clone(
    settings: Settings, name: str, days: int, readers: Sequence[str], *, as_json: bool
) -> None:
    """Make a clone, and print the settings with which commands work in it."""
    clone = clones_of(settings).create(name, days, readers)
    if as_json:
        print_json(asdict(clone))
        return
    fact(f"{clone.place}, until {clone.expires}. To work in it:")
    for variable, value in clone.variables.items():
        fact(f"export {variable}={value}")


def list_clones(settings: Settings, *, as_json: bool) -> None:
    """Print which clones there are."""
    found = clones_of(settings).all()
    if as_json:
        print_json([asdict(clone) for clone in found])
        return
    table("Clones", ["name", "place", "expires"], [_row(clone) for clone in found])


def drop_clones(settings: Settings, names: Sequence[str]) -> None:
    """Drop clones."""
    clones = clones_of(settings)
    for name in names:
        fact(f"{clones.drop(name).place} is gone")


def _row(clone: Clone) -> tuple[str, str, str]:
    return clone.name, clone.place, str(clone.expires)


def build(settings: Settings, against: Path, say: Stopwatch, *, as_json: bool) -> bool:
    """Build what differs from a manifest.

    Returns:
        Whether everything was built and passed.
    """
    say(f"building what differs from {against}")
    results = build_modified(settings, against)
    failed = [result for result in results if not result.ok]
    models = [r.unique_id.split(".")[-1] for r in results if r.unique_id.startswith("model.")]
    if as_json:
        print_json(
            {
                "green": not failed,
                "models": models,
                "tests": len(results) - len(models),
                "failed": [
                    {"node": r.unique_id, "status": r.status, "message": r.message} for r in failed
                ],
            }
        )
        return not failed
    fact(f"{len(models)} models: {', '.join(models) or 'nothing differs'}")
    fact(f"{len(results) - len(models)} tests, {len(failed)} of all failed or were skipped")
    for result in failed:
        fact((result.unique_id, "red"), f" {result.status}: {result.message}")
    return not failed
