"""Demo files into a lake's inbox or a folder: what `retail generate`, `demo` and `dev` deliver."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from retail_platform.demo.dirt import Dirt
from retail_platform.demo.generator import (
    FEEDS,
    GeneratedManifest,
    GeneratorSpec,
    Sink,
    folder_sink,
    generate,
)
from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import INBOX, Lake
from retail_platform.settings import Settings


def inbox_sink(lake: Lake) -> Sink:
    """Deliver into the inbox of a lake."""
    return lambda name, data: lake.put(INBOX + name, data)


def write_demo_files(
    settings: Settings,
    *,
    first_day: date,
    days: int,
    countries: tuple[str, ...],
    lines_per_day: int,
    seed: int,
    feeds: tuple[str, ...],
    dirt: bool,
    gzip: bool,
    into: Path | None,
    on_progress: Callable[[str], None],
) -> dict[str, Any]:
    """Generate files and deliver both waves.

    Args:
        into: folder to write to instead of the inbox.

    Returns:
        Facts for the command line: folder, files, rows, names of files that must be refused.

    Raises:
        ConfigurationError: a value the generator cannot work with.
    """
    spec = spec_for(
        first_day=first_day,
        days=days,
        countries=countries,
        lines_per_day=lines_per_day,
        seed=seed,
        feeds=feeds or FEEDS,
        gzip=gzip,
    )
    sink = folder_sink(into) if into else inbox_sink(Lake.open(settings.lake_url))
    made = deliver_first_wave(spec, Dirt.demo() if dirt else Dirt.none(), sink, on_progress)
    made.deliver_second_wave(sink)
    return {
        "folder": str(into or settings.lake_url + "/" + INBOX),
        # A correction or repetition lies where the first delivery of its name lay.
        "files": len({*made.files, *(name for name, _ in made.second_wave)}),
        "rows": sum(made.rows.values()),
        "must_be_refused": made.broken,
    }


def spec_for(**values: Any) -> GeneratorSpec:
    """A generator spec, with its complaints as configuration errors."""
    try:
        return GeneratorSpec(**values)
    except ValueError as exc:
        raise ConfigurationError(str(exc)) from exc


def deliver_first_wave(
    spec: GeneratorSpec, dirt: Dirt, sink: Sink, on_progress: Callable[[str], None]
) -> GeneratedManifest:
    """Generate and deliver the first wave, saying how far it is about ten times."""
    said = 0

    def tell(done: int, expected: int) -> None:
        nonlocal said
        tenth = 10 * done // max(expected, 1)
        if tenth > said:
            said = tenth
            on_progress(f"generated {done} of {expected} country-days")

    made = generate(spec, dirt, sink, tell)
    on_progress(f"delivered {len(made.files)} files with {sum(made.rows.values()):,} rows")
    return made
