"""Commands that run assets in this process, and how their outcome is shown."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime

import dagster as dg

from retail_platform.alerts.budgets import budgets_of
from retail_platform.alerts.router import AlertRouter
from retail_platform.alerts.routes import load_routes
from retail_platform.alerts.watch import Watch
from retail_platform.cli.output import Stopwatch, fact, print_json, table
from retail_platform.countries import load_countries
from retail_platform.definitions import Platform, build_platform
from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import Lake
from retail_platform.operate.foreground import ForegroundRunner, Outcome
from retail_platform.operate.in_process import collect_garbage_seldom, imports_left_alone
from retail_platform.operate.instance import open_instance, prepare_home
from retail_platform.partitions import RANGE_END_TAG, RANGE_START_TAG, Partition, Slices
from retail_platform.resilience.breaker import Breakers
from retail_platform.settings import Settings


def build(settings: Settings) -> Platform:
    """The platform, with Dagster's own chatter turned down for a terminal."""
    logging.getLogger("dagster").setLevel(logging.ERROR)
    return build_platform(settings)


def validate_definitions(settings: Settings) -> str:
    """Load everything the way Dagster does and count it.

    Raises:
        ConfigurationError: a contract, the registry or a setting is wrong.
    """
    platform = build(settings)
    load_routes(settings.alerts_file)
    dg.Definitions.validate_loadable(platform.definitions)
    graph = platform.definitions.resolve_asset_graph()
    return (
        f"{len(platform.contracts)} contracts, {len(graph.materializable_asset_keys)} assets, "
        f"{len(graph.asset_check_keys)} checks: all definitions load"
    )


@contextmanager
def runner(settings: Settings, say: Stopwatch) -> Iterator[tuple[Platform, ForegroundRunner]]:
    """A foreground runner over the installation's Dagster instance."""
    prepare_home(settings)
    collect_garbage_seldom()
    with imports_left_alone(), open_instance(settings) as instance:
        platform = build(settings)
        lake = Lake.open(settings.lake_url)
        try:
            yield platform, ForegroundRunner(platform, instance, lake, say)
        finally:
            tell_alerts(platform, instance, lake, say)


def tell_alerts(
    platform: Platform, instance: dg.DagsterInstance, lake: Lake, say: Stopwatch
) -> None:
    """What `alert_sensor` does, at the end of a foreground command."""
    settings = platform.settings
    watch = Watch(
        instance=instance,
        graph=platform.definitions.resolve_asset_graph(),
        lake=lake,
        breakers=Breakers(settings.breakers_path),
        country_order=platform.registry.codes,
        ui_url=settings.ui_url,
        unattended=False,
        budgets=budgets_of(settings),
    )
    tick = AlertRouter(settings.alerts_path, settings.alerts_file).look(watch)
    if tick.notices:
        say(f"{len(tick.notices)} alerts: `retail alerts list`")


def run_until_idle(settings: Settings, say: Stopwatch, *, once: bool) -> Outcome:
    """Take in what arrived and build what is stale, until nothing is left to do or just once."""
    with runner(settings, say) as (_, foreground):
        return foreground.run_until_idle(once=once)


def report_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """Print what a foreground command did."""
    if as_json:
        print_json(
            {
                "green": outcome.green,
                "runs": [vars(run) for run in outcome.runs],
                "refused_files": [r.model_dump(mode="json") for r in outcome.rejections],
                "failed_checks": outcome.failed_checks,
            }
        )
        return
    fact(f"{len(outcome.runs)} runs, {len(outcome.failed_runs)} failed")
    for failed in outcome.failed_runs:
        # Dagster keeps the stack trace, and so does --json.
        message = failed.error.partition("Stack Trace:")[0].strip()
        fact((failed.partitions, "red"), f": {message}")
    if outcome.failed_checks:
        fact("Failed checks: " + ", ".join(outcome.failed_checks))
    if outcome.rejections:
        table(
            "Refused files (still in the inbox)",
            ["file", "reason", "seen", "to do"],
            [(r.name, r.code, r.seen, r.remedy) for r in outcome.rejections],
        )


def country_codes(settings: Settings, text: str) -> tuple[str, ...]:
    """Countries a person named; all of the registry when none.

    Raises:
        ConfigurationError: a name is not in the registry.
    """
    registry = load_countries(settings.countries_file)
    words = [w for w in text.split(",") if w.strip()]
    codes = [registry.resolve(word) for word in words]
    unknown = [w for w, c in zip(words, codes, strict=True) if c is None]
    if unknown:
        raise ConfigurationError(
            f"No such country: {', '.join(unknown)}; the registry has {', '.join(registry.codes)}."
        )
    return tuple(c for c in codes if c) or registry.codes


def plan_backfill(
    settings: Settings, first: date, last: date, countries: str, assets: str, *, as_json: bool
) -> None:
    """Print the runs a backfill would take."""
    with runner(settings, Stopwatch()) as (platform, foreground):
        requests = _requests(platform, foreground, first, last, countries, assets)
    runs = [
        {
            "start": request.tags[RANGE_START_TAG],
            "end": request.tags[RANGE_END_TAG],
            "assets": [key.to_user_string() for key in request.asset_selection or []],
        }
        for request in requests
    ]
    if as_json:
        print_json(runs)
    else:
        table(
            f"{len(runs)} runs, in this order",
            ["from", "to", "assets"],
            [(run["start"], run["end"], ", ".join(run["assets"])) for run in runs],
        )


def run_backfill(
    settings: Settings, first: date, last: date, countries: str, assets: str, say: Stopwatch
) -> Outcome:
    """Execute a backfill in this process."""
    outcome = Outcome()
    with runner(settings, say) as (platform, foreground):
        for request in _requests(platform, foreground, first, last, countries, assets):
            outcome.runs.append(foreground.execute(request))
    return outcome


def _requests(
    platform: Platform,
    foreground: ForegroundRunner,
    first: date,
    last: date,
    countries: str,
    assets: str,
) -> Sequence[dg.RunRequest]:
    earliest = platform.settings.first_day
    latest = min(datetime.now(UTC).date(), platform.settings.last_day or date.max)
    if not earliest <= first <= last <= latest:
        raise ConfigurationError(
            f"--from {first} --to {last}: expected {earliest} <= from <= to <= {latest}."
        )
    codes = country_codes(platform.settings, countries)
    wanted = {Partition(c, day.day) for c in codes for day in Slices(("-",), first, last)}
    graph = platform.definitions.resolve_asset_graph()
    try:
        selected = dg.AssetSelection.from_string(assets).resolve(graph)
    except dg.DagsterError as exc:
        raise ConfigurationError(f"--assets {assets!r}: {exc}") from exc
    keys = [key for key in foreground.executable_assets if key in selected]
    if not keys:
        raise ConfigurationError(
            f"--assets {assets!r} selects no asset that can be run; try 'group:marts'."
        )
    return foreground.backfill(keys, wanted)
