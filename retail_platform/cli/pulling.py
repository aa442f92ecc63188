"""Commands about pulled sources."""

from dataclasses import asdict
from datetime import date

from retail_platform.cli.output import complain, fact, print_json, table
from retail_platform.cli.running import build, country_codes
from retail_platform.contract import load_contracts
from retail_platform.countries import load_countries
from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import Lake
from retail_platform.operate.instance import open_instance
from retail_platform.operate.pulling import pull_now, read_states, source_named
from retail_platform.pull.sources import Source, load_sources
from retail_platform.settings import Settings


def _sources(settings: Settings) -> tuple[Source, ...]:
    registry = load_countries(settings.countries_file)
    return load_sources(settings.sources_file, load_contracts(settings.contracts_paths), registry)


def list_sources(settings: Settings, *, as_json: bool) -> None:
    """Print what is pulled, from where, how often."""
    sources = [
        {
            "source": s.name,
            "kind": s.kind,
            "asked": s.shown,
            "feed": s.feed,
            "countries": ", ".join(s.countries),
            "schedule": s.schedule,
        }
        for s in _sources(settings)
    ]
    if as_json:
        print_json(sources)
    elif sources:
        table("Pulled sources", list(sources[0]), [tuple(s.values()) for s in sources])
    else:
        fact("Nothing is pulled: RETAIL_SOURCES_FILE is not set, or lists no source.")


def run_source(
    settings: Settings,
    name: str,
    countries: str,
    first: date | None,
    last: date | None,
    *,
    as_json: bool,
) -> bool:
    """Pull one source now.

    Returns:
        Whether it succeeded.

    Raises:
        ConfigurationError: no such source or country, or a window with one end.
    """
    if (first is None) != (last is None):
        raise ConfigurationError("A window needs both ends: --from and --to.")
    window = (first, last) if first and last else None
    if window and window[0] > window[1]:
        raise ConfigurationError(f"--from {first} --to {last}: the window ends before it begins.")
    codes = country_codes(settings, countries) if countries else ()
    with open_instance(settings) as instance:
        platform = build(settings)
        outcome = pull_now(platform, instance, source_named(platform, name), codes, window)
    if as_json:
        print_json({"green": not outcome.error, **asdict(outcome)})
    else:
        for made in outcome.pulled:
            fact(f"{made.partition}: {made.rows:,} records in {made.files}")
        if not outcome.pulled and not outcome.error:
            fact(f"Nothing new in {name}.")
        if outcome.error:
            complain(outcome.error)
    return not outcome.error


def show_states(settings: Settings, *, as_json: bool) -> None:
    """Print how far each source and country has been pulled."""
    states = read_states(Lake.open(settings.lake_url), _sources(settings))
    if as_json:
        print_json([asdict(state) for state in states])
        return
    table(
        "Pulled so far",
        ["source", "country", "cursor", "asked at (UTC)", "last file", ""],
        [
            (
                s.source,
                s.country,
                s.cursor or "",
                f"{s.checked_at:%Y-%m-%d %H:%M:%S}" if s.checked_at else "never",
                s.last_file or "",
                "stopped half way" if s.unfinished else "in the inbox" if s.waiting else "",
            )
            for s in states
        ],
    )
