"""The one-shot demo: both waves of demo files through the platform, then a table of what happened.

Its verdict is strict: exactly the planted broken files are refused, every planted bad row is in
quarantine, net sales equal the generator's own books, and no mart is empty.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl

from retail_platform.cli.output import Stopwatch, fact, print_json, table
from retail_platform.cli.running import runner
from retail_platform.demo.dirt import Dirt
from retail_platform.demo.feed import deliver_first_wave, inbox_sink, spec_for
from retail_platform.demo.generator import GeneratedManifest
from retail_platform.demo.rates_service import CURRENCIES, rates_service
from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import MANIFESTS, Lake
from retail_platform.operate.foreground import Outcome
from retail_platform.operate.pulling import PullOutcome, pull_now
from retail_platform.resources import warehouse_resource
from retail_platform.settings import Engine, Settings
from retail_platform.warehouse.protocol import Warehouse
from retail_platform.warehouse.publish import CATALOGUE

Ask = Callable[[str], list[tuple[Any, ...]]]
"""Rows of a statement that both engines understand."""

_LAYERS = ("raw", "staging", "intermediate", "marts")
_DAYS_OF_ALL_MARTS = 45
"""Some reports are of whole months, and of customers who come again within them."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo shows.

    Attributes:
        rows: table -> rows.
        refused: file -> reason.
        net_sales: (country, day, net sales in EUR).
        problems: everything that is not as it should be; empty means success.
    """

    rows: dict[str, int]
    quarantined: int
    duplicates: int
    refused: dict[str, str]
    net_sales: list[tuple[str, date, Decimal]]
    problems: list[str]


def run_demo(
    settings: Settings, days: int, lines_per_day: int, say: Stopwatch, *, as_json: bool
) -> bool:
    """Deliver, run, deliver again, run again, compare.

    Raises:
        ConfigurationError: the lake or the warehouse holds data already, so the demo's books would
            not balance.
    """
    lake = Lake.open(settings.lake_url)
    if next(lake.list(MANIFESTS), None):
        raise ConfigurationError(
            f"{settings.lake_url} holds data already. The demo compares totals, so it needs an "
            "empty home: set RETAIL_HOME to a new folder, or run `make clean`."
        )
    if warehouse_resource(settings).open().files_loaded():
        raise ConfigurationError(
            "The warehouse holds data already. The demo compares totals, so it needs an empty one: "
            "a new RETAIL_HOME, or another SNOWFLAKE_DATABASE."
        )
    spec = spec_for(
        first_day=date.today() - timedelta(days=days),  # noqa: DTZ011 - the operator's today
        days=days,
        lines_per_day=lines_per_day,
        customers=3_000,
        products=1_000,
    )
    made = deliver_first_wave(spec, Dirt.demo(), inbox_sink(lake), say)
    with (
        rates_service(settings.home) as service,
        runner(replace(settings, sources_file=service.sources_file), say) as (platform, foreground),
    ):
        say("exchange rates of a web service, pulled day by day")
        days_pulled = spec.first_day, spec.first_day + timedelta(days=days - 1)
        (source,) = platform.sources
        pull = pull_now(platform, foreground.instance, source, (), days_pulled)
        foreground.run_until_idle()
        say("second wave: a late file, a correction, a repetition")
        made.deliver_second_wave(inbox_sink(lake))
        outcome = foreground.run_until_idle()
    result = _compare(settings, made, outcome)
    result.problems.extend(_wrong_pull(settings, pull, *days_pulled))
    if days >= _DAYS_OF_ALL_MARTS:
        empty = [name for name, count in result.rows.items() if not count and "marts." in name]
        result.problems.extend(f"{name} has no rows" for name in empty)
    if as_json:
        print_json(asdict(result))
    else:
        _show(result)
    return not result.problems


def _compare(settings: Settings, made: GeneratedManifest, outcome: Outcome) -> DemoResult:
    warehouse = warehouse_resource(settings).open()
    with warehouse.connect():
        found = [(_LAYERS.index(s), s, name) for s, name in warehouse.tables() if s in _LAYERS]
        tables = [f"{schema}.{name}" for _, schema, name in sorted(found)]
        rows = {t: warehouse.query(f"select count(*) from {t}")[0][0] for t in tables}
        quarantined, duplicates = warehouse.query(
            "select coalesce(sum(rows_quarantined), 0), coalesce(sum(rows_duplicate), 0) "
            "from raw.file_ledger where state = 'loaded'"
        )[0]
    refused = {r.name: r.code for r in outcome.rejections}
    problems = [f"run {r.partitions} failed: {r.error}" for r in outcome.failed_runs]
    problems += [f"{n} was refused ({refused[n]})" for n in sorted(refused.keys() - made.broken)]
    problems += [f"{n} was taken in" for n in sorted(made.broken.keys() - refused.keys())]
    bad = len({(b.file, b.row) for b in made.bad_rows})
    if quarantined != bad:
        problems.append(f"{quarantined} rows in quarantine, {bad} planted")
    with _readers(settings, warehouse) as ask:
        problems += _wrong_totals(ask, made)
        net_sales = ask(
            "select country, business_date, cast(sum(net_sales_eur) as decimal(18, 2)) "
            "from marts.rpt_daily_sales group by country, business_date "
            "order by country asc nulls last, business_date asc nulls last"
        )
    return DemoResult(rows, int(quarantined), int(duplicates), refused, net_sales, problems)


@contextmanager
def _readers(settings: Settings, warehouse: Warehouse) -> Iterator[Ask]:
    """What readers ask: the published copy, where there is one, or else the warehouse itself."""
    if settings.engine is Engine.SNOWFLAKE:
        with warehouse.connect():
            yield warehouse.query
    else:
        with duckdb.connect(str(settings.published_path / CATALOGUE), read_only=True) as published:
            yield lambda sql: published.execute(sql).fetchall()


def _wrong_pull(settings: Settings, pull: PullOutcome, first: date, last: date) -> list[str]:
    """What is missing of the pulled rates in the table that sales are converted with."""
    currencies = ", ".join(f"'{currency}'" for currency in CURRENCIES)
    ((found,),) = (
        warehouse_resource(settings)
        .open()
        .query(
            "select count(*) from intermediate.int_fx_rates "
            f"where currency_code in ({currencies}) "
            f"and business_date between date '{first}' and date '{last}'"
        )
    )
    wanted = ((last - first).days + 1) * len(CURRENCIES)
    problems = [f"the pull failed: {pull.error}"] if pull.error else []
    if found != wanted:
        problems.append(f"{found} pulled exchange rates arrived, {wanted} told by the service")
    return problems


def _wrong_totals(ask: Ask, made: GeneratedManifest) -> list[str]:
    """Days whose sales by the shops' nightly files differ from the generator's books.

    What tills alone know, because the file was broken or the row refused, is in no books.
    """
    found = pl.DataFrame(
        ask(
            "select country, business_date, currency_code, "
            "cast(sum(net_amount_local) as decimal(18, 2)) from marts.fct_sales "
            "where channel = 'store' and line_source = 'file' "
            "group by country, business_date, currency_code"
        ),
        {
            "country": pl.String,
            "business_date": pl.Date,
            "currency": pl.String,
            "found": pl.Decimal(18, 2),
        },
        orient="row",
    )
    keys = ["country", "business_date", "currency"]
    both = made.net_sales.join(found, on=keys, how="full", coalesce=True)
    wrong = both.filter(
        pl.col("found")
        .cast(pl.Decimal(18, 2))
        .ne_missing(pl.col("net_amount_local").cast(pl.Decimal(18, 2)))
    ).sort(keys)
    return [
        f"{country} {day}: net sales {have} {currency}, the books say {want}"
        for country, day, currency, want, have in wrong.select(
            *keys, "net_amount_local", "found"
        ).rows()
    ]


def _show(result: DemoResult) -> None:
    table("Rows per table", ["table", "rows"], list(result.rows.items()))
    table("Refused files", ["file", "reason"], list(result.refused.items()))
    days = sorted({day for _, day, _ in result.net_sales})
    by_country: dict[str, dict[date, Decimal]] = {}
    for country, day, amount in result.net_sales:
        by_country.setdefault(country, {})[day] = amount
    table(
        "Net sales in EUR by day and country",
        ["day", *by_country],
        [(str(d), *(by_country[c].get(d, Decimal(0)) for c in by_country)) for d in days],
    )
    fact(f"{result.quarantined} rows in quarantine, {result.duplicates} exact repetitions dropped")
    if result.problems:
        fact(("Not as it should be:", "red"))
        for problem in result.problems:
            fact(f"  {problem}")
    else:
        fact(
            (
                "All files loaded, exactly the planted ones refused, totals equal the "
                "generator's books.",
                "green",
            )
        )
