"""The set-up on an account: schemachange applies what is new, and nothing twice.

The account is the emulator (see snowflake_server.py, which lists what it accepts without doing it)
behind the real connector; schemachange is real. Three feeds stand for all. That the platform finds
what it needs afterwards is asked in test_snowflake_parity.py.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from snowflake.connector import SnowflakeConnection, connect

from retail_platform.countries import CountryRegistry
from retail_platform.errors import ConfigurationError
from retail_platform.operate.account.deployment import Deployment, deploy
from retail_platform.operate.account.scripts import Rendered
from retail_platform.operate.account.statements import statements
from retail_platform.settings import PROJECT_DIR, SnowflakeAccount
from retail_platform.warehouse.snowflake_account import endpoint
from retail_platform_tests.snowflake_account import CONTRACTS, KEY, registry, rendered
from retail_platform_tests.snowflake_server import UNEXECUTED
from retail_platform_tests.test_snowflake_setup import inner_statements

FEEDS = [CONTRACTS[name] for name in ("customers", "employees", "fx_rates")]
ALWAYS = ("A__guard_marts.sql",)


def setup(**changed: Any) -> Rendered:
    return rendered("ci", **{"contracts": FEEDS, "load_without_orchestrator": True, **changed})


@pytest.fixture(scope="module")
def of_setup(account: SnowflakeAccount) -> Iterator[SnowflakeAccount]:
    """The account as its set-up logs in; the emulator takes any key, but one has to be sent."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SNOWFLAKE_PRIVATE_KEY_PATH", "SNOWFLAKE_PASSWORD"):
            patch.delenv(name, raising=False)
        pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        patch.setenv("SNOWFLAKE_PRIVATE_KEY", pem.decode())
        yield replace(
            account,
            user="retail_ci_setup",
            role="retail_ci_setup",
            database="retail_ci",
            warehouse="retail_ci_load",
        )


@pytest.fixture(scope="module")
def session(of_setup: SnowflakeAccount) -> Iterator[SnowflakeConnection]:
    """A worksheet; ACCOUNTADMIN has run the first file in it."""
    with connect(
        account=of_setup.account,
        user="admin",
        password="anything",
        database="snowflake",
        **endpoint(of_setup),
        session_parameters={"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
    ) as opened:
        for statement in statements("", setup().first):
            opened.cursor().execute(statement.text)
        yield opened


@pytest.fixture(scope="module")
def first(of_setup: SnowflakeAccount, session: SnowflakeConnection) -> Deployment:
    """The first deployment, after a look at what it would do."""
    planned = deploy(setup(), of_setup, dry_run=True)
    assert schemas(session) == set(), "a dry run changes nothing"
    applied = deploy(setup(), of_setup, dry_run=False)
    assert applied == planned
    return applied


def rows(session: SnowflakeConnection, sql: str) -> list[Any]:
    return session.cursor().execute(sql).fetchall()  # type: ignore[union-attr]


def schemas(session: SnowflakeConnection) -> set[str]:
    found = rows(session, "select schema_name from retail_ci.information_schema.schemata")
    return {name.lower() for (name,) in found} - {"information_schema", "main", "public"}


def test_everything_is_applied_once_and_remembered(
    first: Deployment, session: SnowflakeConnection
) -> None:
    names = tuple(setup().migrations)
    assert first == Deployment(names, ())
    history = rows(session, "select script, status from retail_ci.governance.setup_history")
    assert history[: len(names)] == [(name, "Success") for name in names]
    layers = {"raw", "staging", "intermediate", "semantics", "marts"}
    assert schemas(session) == layers | {"cost", "governance", "landing"}


@pytest.mark.usefixtures("first")
def test_a_second_time_applies_nothing_but_the_guard(of_setup: SnowflakeAccount) -> None:
    again = deploy(setup(), of_setup, dry_run=False)
    assert again.applied == ALWAYS
    assert again.unchanged == tuple(n for n in setup().migrations if n not in ALWAYS)


@pytest.mark.usefixtures("first")
def test_a_country_that_is_added_changes_the_scripts_that_name_countries(
    of_setup: SnowflakeAccount,
) -> None:
    italy = registry()["FR"].model_copy(update={"code": "IT", "name": "Italy"})
    grown = setup(countries=CountryRegistry((*registry().countries, italy)))
    found = deploy(grown, of_setup, dry_run=True)
    assert found.applied == ("R__20_analysts.sql", "R__60_policies.sql", *ALWAYS)


@pytest.mark.usefixtures("first")
def test_a_column_that_a_contract_gains_is_added_and_rows_stay(
    of_setup: SnowflakeAccount, session: SnowflakeConnection
) -> None:
    rows(session, "insert into retail_ci.raw.fx_rates (_country) values ('ALL')")
    contract = CONTRACTS["fx_rates"]
    gained = replace(contract.columns[0], name="fixing", header="Fixing", sql_type="varchar")
    grown = replace(contract, columns=(*contract.columns, gained))
    found = deploy(setup(contracts=[*FEEDS[:2], grown]), of_setup, dry_run=False)
    assert found.applied == (
        "R__50_raw_tables.sql", "R__55_load_without_orchestrator.sql", *ALWAYS
    )  # fmt: skip
    assert rows(session, "select _country, fixing from retail_ci.raw.fx_rates") == [("ALL", None)]
    rows(session, "delete from retail_ci.raw.fx_rates")
    rows(session, "alter table retail_ci.raw.fx_rates drop column fixing")


@pytest.mark.usefixtures("first")
def test_a_script_that_fails_is_named_and_tried_again(
    of_setup: SnowflakeAccount, session: SnowflakeConnection
) -> None:
    texts = {**setup().migrations}
    texts["R__95_mistake.sql"] = "create table retail_ci.nowhere.t (a varchar);\n"
    wrong = replace(setup(), migrations=texts)
    with pytest.raises(ConfigurationError, match=r"R__95_mistake\.sql: .*NOWHERE.* apply again"):
        deploy(wrong, of_setup, dry_run=False)
    texts["R__95_mistake.sql"] = "create table if not exists retail_ci.governance.t (a varchar);\n"
    found = deploy(replace(setup(), migrations=texts), of_setup, dry_run=False)
    assert "R__95_mistake.sql" in found.applied
    states = rows(
        session,
        "select status from retail_ci.governance.setup_history "
        "where script = 'R__95_mistake.sql' order by installed_on",
    )
    assert states == [("Failed",), ("Success",)]


def test_what_the_emulator_does_not_do_is_in_the_readme() -> None:
    text = (PROJECT_DIR / "snowflake_setup" / "README.md").read_text("utf-8")
    listed = text.partition("Accepted there and not executed")[2]
    assert not [what for what in UNEXECUTED if what not in listed]


@pytest.mark.usefixtures("first")
def test_the_guard_looks_for_marts_without_a_policy(session: SnowflakeConnection) -> None:
    for table in ("fct_new", "fct_guarded"):
        rows(session, f"create table retail_ci.marts.{table} (country varchar, amount integer)")
    rows(session, "create table retail_ci.marts.without_country (amount integer)")
    rows(session, "create table retail_ci.staging.stg_members (email_token varchar, city varchar)")
    unguarded, protected = re.findall(
        r"cursor for\s+(select .+?);", setup().migrations["R__80_marts_guard.sql"], re.DOTALL
    )
    references = r"table\(retail_ci\.information_schema\.policy_references\(.+?\)\)"
    stub = "(select 'FCT_GUARDED' as ref_entity_name)"
    query, replaced = re.subn(references, stub, unguarded, flags=re.DOTALL)
    assert replaced == 1
    assert rows(session, query) == [("FCT_NEW",)]
    assert rows(session, protected) == [("STAGING", "STG_MEMBERS", "EMAIL_TOKEN")]


class TestLoadsWithoutOrchestrator:
    """The statements of a task, with a table in place of the stream: the emulator has none."""

    @pytest.fixture
    def move(self, session: SnowflakeConnection, first: Deployment) -> Any:
        del first
        scripts = setup().migrations["R__55_load_without_orchestrator.sql"]
        (task,) = [
            s for s in statements("", scripts)
            if s.kind == "task of a stream" and s.facts["task"].endswith(".fx_rates_into_raw")
        ]  # fmt: skip
        rows(session, "create or replace table retail_ci.landing.fx_rates_arrivals "
                      "as select * from retail_ci.landing.fx_rates where false")  # fmt: skip

        def run(*arrivals: tuple[str, int, str, int, str]) -> list[Any]:
            """Let rows of (file, row, content, delivered on, object) arrive; what RAW has then."""
            rows(session, "delete from retail_ci.landing.fx_rates_arrivals")
            for file, number, content, day, name in arrivals:
                session.cursor().execute(
                    "insert into retail_ci.landing.fx_rates_arrivals "
                    "(_country, _batch_date, _source_file, _row_number, _file_id, _delivered_at, "
                    "_object) values (%s, %s, %s, %s, %s, %s, %s)",
                    ("ALL", date(2025, 1, 1), file, number, content, datetime(2025, 1, day), name),  # noqa: DTZ001
                )
            for statement in inner_statements(task):
                rows(session, statement)
            return rows(
                session,
                "select _source_file, _row_number, _file_id, _run_id from retail_ci.raw.fx_rates "
                "order by 1, 2",
            )

        yield run
        rows(session, "delete from retail_ci.raw.fx_rates")

    def test_a_newer_delivery_of_a_file_replaces_it_whole(self, move: Any) -> None:
        both = [
            ("a.csv", 1, "v1", 1, "o1"),
            ("a.csv", 2, "v1", 1, "o1"),
            ("b.csv", 1, "b", 1, "o1"),
        ]
        assert move(*both) == [(file, n, content, "snowpipe") for file, n, content, _, _ in both]
        assert move(("a.csv", 1, "v2", 2, "o2")) == [
            ("a.csv", 1, "v2", "snowpipe"),
            ("b.csv", 1, "b", "snowpipe"),
        ]

    def test_an_older_one_that_comes_late_changes_nothing(self, move: Any) -> None:
        move(("a.csv", 1, "v2", 2, "o2"))
        assert move(("a.csv", 1, "v1", 1, "o1")) == [("a.csv", 1, "v2", "snowpipe")]

    def test_of_two_in_one_batch_the_newer_counts(self, move: Any) -> None:
        two = [
            ("a.csv", 1, "v1", 1, "o1"),
            ("a.csv", 2, "v1", 1, "o1"),
            ("a.csv", 1, "v2", 2, "o2"),
        ]
        assert move(*two) == [("a.csv", 1, "v2", "snowpipe")]

    def test_the_same_object_again_changes_nothing(self, move: Any) -> None:
        once = move(("a.csv", 1, "v1", 1, "o1"))
        assert move(("a.csv", 1, "v1", 1, "o1")) == once
