"""The `retail` command: arguments, output and exit codes; the work is done in other modules.

Exit codes: 0 all green, 1 something was refused or failed, 2 usage or environment.
"""

import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from retail_platform.cli.output import Format, Stopwatch, complain, fact, print_json, table
from retail_platform.errors import ConfigurationError, RetailError
from retail_platform.settings import Settings

app = typer.Typer(
    name="retail",
    help="Files in, trusted marts out: run and look after the platform.",
    epilog="First steps: doctor, generate, run, status. Exit codes: 0 all green, 1 something was "
    "refused or failed, 2 usage or environment. Settings are RETAIL_* variables, see README.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
backfill_app = typer.Typer(help="Rebuild partitions by country and date.", no_args_is_help=True)
app.add_typer(backfill_app, name="backfill")
quarantine_app = typer.Typer(
    help="Rows that broke their contract: look at them, correct them, bring them back.",
    no_args_is_help=True,
)
app.add_typer(quarantine_app, name="quarantine")
schema_app = typer.Typer(help="How the files of a feed are written.", no_args_is_help=True)
app.add_typer(schema_app, name="schema")
contracts_app = typer.Typer(help="Contracts and their versions.", no_args_is_help=True)
app.add_typer(contracts_app, name="contracts")
pull_app = typer.Typer(
    help="Services and databases that are asked for news (RETAIL_SOURCES_FILE).",
    no_args_is_help=True,
)
app.add_typer(pull_app, name="pull")
alerts_app = typer.Typer(
    help="What is wrong and who was told; whether the channels work.", no_args_is_help=True
)
app.add_typer(alerts_app, name="alerts")

account_app = typer.Typer(
    help="Set up a Snowflake account: render the scripts, look at them, apply them.",
    epilog="The order, per environment: render; a person with ACCOUNTADMIN runs "
    "accountadmin_first.sql; plan; apply. Repeating any of it is harmless. What is created, and "
    "which variables it takes, is in snowflake_setup/README.md.",
    no_args_is_help=True,
)
app.add_typer(account_app, name="snowflake-setup")

clone_app = typer.Typer(
    help="Environments of pull requests: copies of what was built, to change things in.",
    no_args_is_help=True,
)
app.add_typer(clone_app, name="clone")

keys_app = typer.Typer(help="Keys that protect personal data.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

Port = Annotated[int, typer.Option(min=1, max=65535, help="Port of the UI on 127.0.0.1.")]
LinesPerDay = Annotated[
    int, typer.Option(min=1, help="Order lines per country and day, on average.")
]
Json = Annotated[bool, typer.Option("--json", help="Facts as one JSON document.")]
Countries = Annotated[
    str, typer.Option(help="Country codes separated by commas; all countries if left out.")
]


def main() -> None:
    """Entry point: errors the platform raises on purpose become one line and exit code 2."""
    try:
        app()
    except ConfigurationError as exc:
        complain(str(exc))
        sys.exit(2)
    except RetailError as exc:
        complain(f"{type(exc).__name__}: {exc}")
        sys.exit(1)


@app.command()
def generate(
    days: Annotated[int, typer.Option(min=1, help="How many batch days.")] = 14,
    first_day: Annotated[
        str | None, typer.Option(help="First batch day, ISO; default: so that it ends yesterday.")
    ] = None,
    countries: Countries = "",
    lines_per_day: LinesPerDay = 300,
    seed: Annotated[int, typer.Option(help="Same seed, same files.")] = 7,
    feeds: Annotated[str, typer.Option(help="Feed names separated by commas; default all.")] = "",
    dirt: Annotated[
        bool, typer.Option(help="Plant late rows, corrections, duplicates, broken files.")
    ] = False,
    gzip: Annotated[bool, typer.Option(help="Compress the files.")] = False,
    into: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the files; default the inbox."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write realistic files of the fashion retailer, as its partners would deliver them."""
    from retail_platform.demo.feed import write_demo_files  # noqa: PLC0415 - numpy, polars

    settings = Settings.from_env()
    say = Stopwatch()
    start = _day(first_day) if first_day else date.today() - timedelta(days=days)  # noqa: DTZ011
    result = write_demo_files(
        settings,
        first_day=start,
        days=days,
        countries=_codes(settings, countries),
        lines_per_day=lines_per_day,
        seed=seed,
        feeds=tuple(f.strip() for f in feeds.split(",") if f.strip()),
        dirt=dirt,
        gzip=gzip,
        into=into,
        on_progress=say,
    )
    if as_json:
        print_json(result)
    else:
        fact(f"{result['files']} files, {result['rows']:,} rows in {result['folder']}")


@app.command()
def run(
    until_idle: Annotated[
        bool,
        typer.Option(
            "--until-idle/--once", help="Go on until nothing is left to do, or stop after one look."
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Do in the foreground what sensors and automation would do, until nothing is left to do.

    Also repeats what failed.
    """
    from retail_platform.cli.running import report_outcome, run_until_idle  # noqa: PLC0415

    outcome = run_until_idle(Settings.from_env(), Stopwatch(), once=not until_idle)
    report_outcome(outcome, as_json=as_json)
    raise typer.Exit(0 if outcome.green else 1)


@app.command()
def status(as_json: Json = False) -> None:
    """What lies in the inbox, which feed is complete through which day, what is refused and why."""
    from retail_platform.cli.running import build  # noqa: PLC0415
    from retail_platform.lake.store import Lake  # noqa: PLC0415
    from retail_platform.operate.marts.reading import open_marts  # noqa: PLC0415
    from retail_platform.operate.status import read_status  # noqa: PLC0415
    from retail_platform.resilience.breaker import Breakers  # noqa: PLC0415

    settings = Settings.from_env()
    desk = build(settings).desk
    marts = open_marts(settings)
    found = read_status(
        desk,
        Lake.open(settings.lake_url),
        marts.facts(),
        Breakers(settings.breakers_path),
    )
    if as_json:
        print_json(found.as_json())
    else:
        fact(f"{found.waiting} files waiting, {found.settling} still being written")
        for half in found.halves:
            fact(str(half))
        countries = sorted({c for f in found.feeds for c in f.complete_through})
        table(
            "Newest batch day by feed and country",
            ["feed", "partitions", *countries],
            [
                (f.feed, f.partitions, *(str(f.complete_through.get(c, "")) for c in countries))
                for f in found.feeds
            ],
        )
        table(
            f"Marts of {marts.place}",
            ["mart", "rows", "newest day"],
            [(m.mart, m.rows, str(m.newest_day or "")) for m in found.marts],
        )
        for circuit in found.circuits:
            if circuit.open:
                fact((str(circuit), "red"))
        if found.missing:
            fact((f"{len(found.missing)} deliveries are overdue", "red"))
        if found.gaps:
            table(
                "Missing or late deliveries",
                ["feed", "partition", "due", "delivered"],
                [
                    tuple(value or "missing" for value in g.as_json().values())[:4]
                    for g in found.gaps
                ],
            )
        if found.rejections:
            table(
                "Refused files (still in the inbox)",
                ["file", "reason", "seen", "to do"],
                [(r.name, r.code, r.seen, r.remedy) for r in found.rejections],
            )
    raise typer.Exit(1 if found.rejections or found.missing else 0)


AsOf = Annotated[
    str,
    typer.Option(
        help="A time (2025-01-31T18:30, UTC), '2 hours ago', or a run: as it left what it "
        "published, or as it found what it loaded into."
    ),
]
FromDay = Annotated[str | None, typer.Option("--from", help="First day, ISO.")]
ToDay = Annotated[str | None, typer.Option("--to", help="Last day, ISO.")]


@app.command()
def mart(
    name: Annotated[str | None, typer.Argument(help="Which mart; none lists all.")] = None,
    as_of: AsOf = "",
    country: Countries = "",
    first: FromDay = None,
    last: ToDay = None,
    columns: Annotated[str, typer.Option(help="Columns separated by commas; default all.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Rows at most.")] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Default table; csv into a file.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="File to write.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rows of a mart as they are now or as readers saw them at an earlier moment."""
    from retail_platform.cli.reading import list_marts, show_mart  # noqa: PLC0415

    settings = Settings.from_env()
    if name is None:
        list_marts(settings, as_json=as_json)
        return
    usual = Format.JSON if as_json else Format.CSV if output else Format.TABLE
    show_mart(
        settings,
        name,
        as_of,
        columns=columns,
        countries=country,
        days=(_day(first) if first else None, _day(last) if last else None),
        limit=limit,
        form=form or usual,
        output=output,
    )


@app.command()
def diff(
    name: Annotated[str, typer.Argument(help="Which mart.")],
    from_as_of: AsOf = "",
    to_as_of: AsOf = "",
    from_env: Annotated[
        str, typer.Option(help="Another RETAIL_HOME; on Snowflake another database.")
    ] = "",
    to_env: Annotated[str, typer.Option(help="The same for the other side.")] = "",
    country: Countries = "",
    first: FromDay = None,
    last: ToDay = None,
    key: Annotated[
        str, typer.Option(help="Columns by which rows belong together; default the declared ones.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Rows added, removed and changed between two moments or two environments.

    Exit code 0: equal, 1: different.
    """
    from retail_platform.cli.reading import diff_mart  # noqa: PLC0415

    equal = diff_mart(
        Settings.from_env(),
        name,
        moments=(from_as_of, to_as_of),
        environments=(from_env, to_env),
        countries=country,
        days=(_day(first) if first else None, _day(last) if last else None),
        key=key,
        as_json=as_json,
    )
    raise typer.Exit(0 if equal else 1)


CloneName = Annotated[str, typer.Argument(help="Such as the number of the pull request.")]


@clone_app.command("create")
def clone_create(
    name: CloneName,
    days: Annotated[int, typer.Option(min=1, help="After how many days it may go.")] = 7,
    grant_to: Annotated[
        list[str] | None, typer.Option(help="Role that may read its marts; Snowflake only.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy what was built: a Snowflake database by zero-copy clone, or RETAIL_HOME's warehouse.

    The lake is not copied and not written to.
    """
    from retail_platform.cli.cloning import create_clone  # noqa: PLC0415

    create_clone(Settings.from_env(), name, days, grant_to or [], as_json=as_json)


@clone_app.command("list")
def clone_list(as_json: Json = False) -> None:
    """Which clones there are, and until when."""
    from retail_platform.cli.cloning import list_clones  # noqa: PLC0415

    list_clones(Settings.from_env(), as_json=as_json)


@clone_app.command("drop")
def clone_drop(
    names: Annotated[list[str], typer.Argument(help="Clones, by name.")],
) -> None:
    """Drop clones; refused for what does not say of itself that it is one."""
    from retail_platform.cli.cloning import drop_clones  # noqa: PLC0415

    drop_clones(Settings.from_env(), names)


@app.command()
def build(
    modified_against: Annotated[
        Path,
        typer.Option(
            help="manifest.json of the main branch, or the RETAIL_HOME of an installation of it."
        ),
    ],
    as_json: Json = False,
) -> None:
    """In a clone: build and test the models that differ from a manifest, and what reads them."""
    from retail_platform.cli.cloning import build as build_modified  # noqa: PLC0415

    green = build_modified(Settings.from_env(), modified_against, Stopwatch(), as_json=as_json)
    raise typer.Exit(0 if green else 1)


@app.command()
def doctor(port: Port = 3000, as_json: Json = False) -> None:
    """Look at everything that commonly goes wrong and say what to do about it."""
    from retail_platform.operate.doctor import examine  # noqa: PLC0415

    findings = examine(port)
    if as_json:
        print_json([vars(f) for f in findings])
    else:
        for finding in findings:
            mark = ("ok", "green") if finding.ok else ("no", "red")
            fact(mark, f"  {finding.subject:12} {finding.seen}")
    raise typer.Exit(0 if all(f.ok for f in findings) else 2)


@app.command()
def validate() -> None:
    """Read contracts, parse the dbt project, load every definition; for CI and after edits."""
    from retail_platform.cli.running import validate_definitions  # noqa: PLC0415

    fact(validate_definitions(Settings.from_env()))


@app.command()
def demo(
    days: Annotated[
        int, typer.Option(min=8, help="How many batch days; 45 hold a month for all reports.")
    ] = 45,
    lines_per_day: LinesPerDay = 120,
    as_json: Json = False,
) -> None:
    """The whole road in one go, without UI: demo files in, marts out, a table of what happened."""
    from retail_platform.cli.showing import run_demo  # noqa: PLC0415

    ok = run_demo(Settings.from_env(), days, lines_per_day, Stopwatch(), as_json=as_json)
    raise typer.Exit(0 if ok else 1)


@app.command()
def dev(
    port: Port = 3000,
    days: Annotated[int, typer.Option(min=0, help="Demo batch days to deliver; 0 for none.")] = 14,
    lines_per_day: LinesPerDay = 120,
    exit_when_complete: Annotated[
        bool, typer.Option(help="Stop when the demo files are in the marts.")
    ] = False,
) -> None:
    """Start UI and daemon with sensors on, deliver demo files, show progress until Ctrl-C."""
    from retail_platform.cli.serving import serve  # noqa: PLC0415

    ok = serve(Settings.from_env(), port, days, lines_per_day, Stopwatch(), exit_when_complete)
    raise typer.Exit(0 if ok else 1)


@app.command()
def cost(
    days: Annotated[
        int, typer.Option(min=1, max=92, help="How many days back, today included.")
    ] = 30,
    as_json: Json = False,
) -> None:
    """What Snowflake bills: credits by asset, country and warehouse, idle time, budgets.

    Exit code 1 says that a budget is used up.
    """
    from retail_platform.cli.costing import show_costs  # noqa: PLC0415

    ok = show_costs(Settings.from_env(), days, as_json=as_json)
    raise typer.Exit(0 if ok else 1)


@backfill_app.command("plan")
def backfill_plan(
    first: Annotated[str, typer.Option("--from", help="First day, ISO.")],
    last: Annotated[str, typer.Option("--to", help="Last day, ISO.")],
    countries: Countries = "",
    assets: Annotated[
        str, typer.Option(help="Asset selection, e.g. 'group:marts' or 'key:marts/fct_sales+'.")
    ] = "*",
    as_json: Json = False,
) -> None:
    """Show the runs a backfill would take; nothing is executed."""
    from retail_platform.cli.running import plan_backfill  # noqa: PLC0415

    plan_backfill(Settings.from_env(), _day(first), _day(last), countries, assets, as_json=as_json)


@backfill_app.command("run")
def backfill_run(
    first: Annotated[str, typer.Option("--from", help="First day, ISO.")],
    last: Annotated[str, typer.Option("--to", help="Last day, ISO.")],
    countries: Countries = "",
    assets: Annotated[
        str, typer.Option(help="Asset selection, e.g. 'group:marts' or 'key:marts/fct_sales+'.")
    ] = "*",
    as_json: Json = False,
) -> None:
    """Rebuild assets for countries and days, in few runs, in this process."""
    from retail_platform.cli.running import report_outcome, run_backfill  # noqa: PLC0415

    outcome = run_backfill(
        Settings.from_env(), _day(first), _day(last), countries, assets, Stopwatch()
    )
    report_outcome(outcome, as_json=as_json)
    raise typer.Exit(0 if outcome.green else 1)


Feeds = Annotated[str, typer.Option(help="Feed names separated by commas; all if left out.")]
First = Annotated[str, typer.Option("--from", help="First batch day, ISO.")]
Last = Annotated[str, typer.Option("--to", help="Last batch day, ISO.")]
FileWord = Annotated[str, typer.Argument(metavar="FILE", help="Name of the file, or its id.")]


@quarantine_app.command("list")
def quarantine_list(
    feeds: Feeds = "",
    countries: Countries = "",
    first: First = "1900-01-01",
    last: Last = "9999-12-31",
    as_json: Json = False,
) -> None:
    """Files with rows in quarantine, and why."""
    from retail_platform.cli.repairing import list_quarantine  # noqa: PLC0415

    settings = Settings.from_env()
    list_quarantine(settings, feeds, countries, _day(first), _day(last), as_json=as_json)


@quarantine_app.command("show")
def quarantine_show(
    file: FileWord,
    limit: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 50,
    as_json: Json = False,
) -> None:
    """The quarantined rows of one file as they were delivered, with reasons."""
    from retail_platform.cli.repairing import show_quarantine  # noqa: PLC0415

    show_quarantine(Settings.from_env(), file, limit, as_json=as_json)


@quarantine_app.command("export")
def quarantine_export(
    file: FileWord,
    into: Annotated[Path, typer.Option(help="File to write; must not exist yet.")],
) -> None:
    """Write the quarantined rows of one file, to be corrected in an editor."""
    from retail_platform.cli.repairing import export_quarantine  # noqa: PLC0415

    export_quarantine(Settings.from_env(), file, into)


@quarantine_app.command("requeue")
def quarantine_requeue(
    file: FileWord,
    corrected: Annotated[
        Path,
        typer.Option("--with", exists=True, dir_okay=False, help="The exported rows, corrected."),
    ],
) -> None:
    """Deliver a file again with its quarantined rows corrected; it replaces the old delivery.

    After a change of the contract nothing has to be corrected: use `retail replay`.
    """
    from retail_platform.cli.repairing import requeue_quarantine  # noqa: PLC0415

    requeue_quarantine(Settings.from_env(), file, corrected)


@pull_app.command("list")
def pull_list(as_json: Json = False) -> None:
    """What is pulled, from where, how often."""
    from retail_platform.cli.pulling import list_sources  # noqa: PLC0415

    list_sources(Settings.from_env(), as_json=as_json)


@pull_app.command("run")
def pull_run(
    source: Annotated[str, typer.Argument(help="Name of the source.")],
    country: Countries = "",
    first: Annotated[
        str | None, typer.Option("--from", help="Ask again for what changed since this day, ISO.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="Until this day, ISO.")] = None,
    as_json: Json = False,
) -> None:
    """Bring what is new, or what changed in a window, into the inbox; `retail run` takes it in."""
    from retail_platform.cli.pulling import run_source  # noqa: PLC0415

    window = _day(first) if first else None, _day(last) if last else None
    ok = run_source(Settings.from_env(), source, country, *window, as_json=as_json)
    raise typer.Exit(0 if ok else 1)


@pull_app.command("status")
def pull_status(as_json: Json = False) -> None:
    """How far each source and country has been pulled."""
    from retail_platform.cli.pulling import show_states  # noqa: PLC0415

    show_states(Settings.from_env(), as_json=as_json)


@keys_app.command("rotate")
def keys_rotate() -> None:
    """Add a data key for what arrives from now on; what is encrypted already stays readable.

    Tokens stay as they are. `retail replay` encrypts older rows with the new key.
    """
    from retail_platform.lake.store import Lake  # noqa: PLC0415
    from retail_platform.protection.keys import rotate  # noqa: PLC0415
    from retail_platform.resources import keys_resource  # noqa: PLC0415

    settings = Settings.from_env()
    version = rotate(Lake.open(settings.lake_url), keys_resource(settings).provider())
    fact(f"data key {version} encrypts what arrives from now on")


Environment = Annotated[
    str,
    typer.Option("--env", help="Environment of snowflake_setup/environments.yml: dev, ci, prod."),
]
EnvironmentsFile = Annotated[
    Path | None,
    typer.Option("--environments", dir_okay=False, help="A file to read instead of that one."),
]


@account_app.command("render")
def account_render(
    env: Environment,
    into: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the files; default below RETAIL_HOME."),
    ] = None,
    environments: EnvironmentsFile = None,
    as_json: Json = False,
) -> None:
    """Fill the scripts with environment, countries and contracts, check them, write them to files.

    Needs no account. accountadmin_first.sql is for a worksheet; `apply` makes the migrations anew.
    """
    from retail_platform.cli.account import render_scripts  # noqa: PLC0415

    render_scripts(Settings.from_env(), env, environments, into, as_json=as_json)


@account_app.command("plan")
def account_plan(
    env: Environment, environments: EnvironmentsFile = None, as_json: Json = False
) -> None:
    """Check the scripts and say which of them the account has not seen as they are now.

    Changes nothing. Without SNOWFLAKE_ACCOUNT it says what there is, and nothing about an account.
    """
    from retail_platform.cli.account import plan_migrations  # noqa: PLC0415

    plan_migrations(Settings.from_env(), env, environments, as_json=as_json)


@account_app.command("apply")
def account_apply(
    env: Environment, environments: EnvironmentsFile = None, as_json: Json = False
) -> None:
    """Check the scripts, then apply those the account has not seen as they are now.

    Logs in as SNOWFLAKE_USER, by default retail_<env>_setup, with its private key, as role
    RETAIL_<ENV>_SETUP. A script that fails stops it; apply again when it is corrected.
    """
    from retail_platform.cli.account import apply_migrations  # noqa: PLC0415

    apply_migrations(Settings.from_env(), env, environments, as_json=as_json)


@account_app.command("teardown")
def account_teardown(env: Environment, environments: EnvironmentsFile = None) -> None:
    """Print the statements that take an environment away; refused where `keep: true` says so.

    Executes nothing: a person with ACCOUNTADMIN runs them in a worksheet.
    """
    from retail_platform.cli.account import print_teardown  # noqa: PLC0415

    print_teardown(Settings.from_env(), env, environments)


@app.command()
def replay(
    first: First,
    last: Last,
    feeds: Feeds = "",
    countries: Countries = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what there is.")] = False,
    as_json: Json = False,
) -> None:
    """Judge originals in history again, under the contracts as they are now; rebuild what changed.

    What was delivered, and when, stays as it was. Repeating it changes nothing.
    """
    from retail_platform.cli.repairing import run_replay, show_replay  # noqa: PLC0415
    from retail_platform.cli.running import report_outcome  # noqa: PLC0415

    settings = Settings.from_env()
    where = feeds, countries, _day(first), _day(last)
    if dry_run:
        show_replay(settings, *where, as_json=as_json)
        return
    outcome = run_replay(settings, *where, Stopwatch())
    report_outcome(outcome, as_json=as_json)
    raise typer.Exit(0 if outcome.green else 1)


FeedWord = Annotated[str, typer.Argument(metavar="FEED", help="Name of the feed.")]


@schema_app.command("history")
def schema_history(feed: FeedWord, as_json: Json = False) -> None:
    """Every schema its files ever had: first and last seen, and what differs from the contract."""
    from retail_platform.cli.schemas import show_history  # noqa: PLC0415

    show_history(Settings.from_env(), feed, as_json=as_json)


@schema_app.command("diff")
def schema_diff(
    feed: FeedWord,
    one: Annotated[str, typer.Argument(metavar="[A]", help="Id, contract or newest.")] = "contract",
    other: Annotated[str, typer.Argument(metavar="[B]", help="Id, contract or newest.")] = "newest",
    as_json: Json = False,
) -> None:
    """Columns that B has and A has not, and the reverse; what is spelled or ordered otherwise."""
    from retail_platform.cli.schemas import show_diff  # noqa: PLC0415

    show_diff(Settings.from_env(), feed, one, other, as_json=as_json)


@contracts_app.command("check")
def contracts_check(
    against: Annotated[
        str | None,
        typer.Option(
            help="Git revision or folder; default where the branch left origin/main, or HEAD."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare contracts with older ones: is a breaking change a new major version?"""
    from retail_platform.cli.schemas import report_comparison  # noqa: PLC0415
    from retail_platform.operate.contract_history import check_contracts  # noqa: PLC0415

    found = check_contracts(Settings.from_env().contracts_paths, against)
    report_comparison(found, as_json=as_json)
    raise typer.Exit(1 if found.problems else 0)


@alerts_app.command("list")
def alerts_list(
    ended: Annotated[bool, typer.Option("--all", help="Also what is over by now.")] = False,
    as_json: Json = False,
) -> None:
    """What is wrong, since when, and what could not be told yet; 1 if something is."""
    from retail_platform.cli.alerting import list_alerts  # noqa: PLC0415

    green = list_alerts(Settings.from_env(), ended=ended, as_json=as_json)
    raise typer.Exit(0 if green else 1)


@alerts_app.command("test")
def alerts_test(as_json: Json = False) -> None:
    """Send a test message through every channel of the routing file."""
    from retail_platform.cli.alerting import test_channels  # noqa: PLC0415

    raise typer.Exit(0 if test_channels(Settings.from_env(), as_json=as_json) else 1)


@alerts_app.command("flush")
def alerts_flush() -> None:
    """Tell now what waits for a channel that was down."""
    from retail_platform.cli.alerting import flush_alerts  # noqa: PLC0415

    raise typer.Exit(0 if flush_alerts(Settings.from_env()) else 1)


@alerts_app.command("drop")
def alerts_drop(
    channel: Annotated[str, typer.Argument(help="Name of the channel.")],
) -> None:
    """Forget what waits for a channel that is gone for good; the log has it."""
    from retail_platform.cli.alerting import drop_messages  # noqa: PLC0415

    drop_messages(Settings.from_env(), channel)


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError as exc:
        raise ConfigurationError(f"{text!r} is no day; expected e.g. 2025-01-31.") from exc


def _codes(settings: Settings, text: str) -> tuple[str, ...]:
    from retail_platform.cli.running import country_codes  # noqa: PLC0415

    return country_codes(settings, text)


if __name__ == "__main__":
    main()
