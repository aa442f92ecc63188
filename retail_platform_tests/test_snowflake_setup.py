"""The set-up of an account before it reaches one: it parses, it is sound, and mistakes are refused.

Policies are executed, on DuckDB: their bodies are plain SQL once it is known which roles a session
holds, and that follows from the grants. What runs on the emulator is in
test_snowflake_setup_deployed.py. Nothing here has run on a real account.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from sqlglot import exp
from typer.testing import CliRunner

from retail_platform.cli.app import app
from retail_platform.contract import Protect
from retail_platform.errors import ConfigurationError
from retail_platform.operate.account.checks import Account, check, read_account, refuse
from retail_platform.operate.account.environments import SETUP_DIR, read_environment
from retail_platform.operate.account.scripts import (
    FIRST,
    LAYERS,
    Rendered,
    protected_columns,
    raw_tables,
    render_teardown,
)
from retail_platform.operate.account.statements import KINDS, Statement, statements
from retail_platform.settings import PROJECT_DIR
from retail_platform.warehouse.raw_tables import RAW_SCHEMA, raw_columns
from retail_platform_tests.snowflake_account import (
    CONTRACTS,
    KEY,
    PUBLIC_KEY,
    VARIABLES,
    environment,
    registry,
    rendered,
)
from retail_platform_tests.statement_log import SUSPENDS_AFTER

DBT = PROJECT_DIR / "dbt_project"
EVERYTHING = {"load_without_orchestrator": True}
MASKED = "***"
TENANT = "0f1e2d3c-0000-4000-8000-123456789abc"
ON_GCS = {"lake_url": "gs://bucket/lake", "lake_role_arn": None}
ON_AZURE = {
    "lake_url": "abfss://lake@account.dfs.core.windows.net/retail",
    "lake_role_arn": None,
    "lake_tenant_id": TENANT,
}

AS_TEXT = {
    **dict.fromkeys(
        ("role", "database role", "user", "key", "no key"),
        "sqlglot has no statement for roles of Snowflake and their users",
    ),
    **dict.fromkeys(
        ("grant role", "grant database role", "grant", "grant on tables"),
        "it knows GRANT to a role on few kinds of objects",
    ),
    **dict.fromkeys(
        ("monitor", "quota", "monitor of warehouse", "warehouse settings"),
        "it creates warehouses and alters none; monitors it does not know",
    ),
    **dict.fromkeys(
        ("retention", "managed access", "stage settings", "storage integration settings"),
        "it alters tables, and little else",
    ),
    "notification integration": "it knows the integrations of storage only",
    **dict.fromkeys(
        ("masking policy", "body", "mask of tag", "tag of column"),
        "policies are text to it; their bodies are parsed here, and executed",
    ),
    **dict.fromkeys(
        ("task that calls", "task of a stream", "resume", "stream", "pipe", "refresh", "call"),
        "what runs by itself is text to it; the statements inside are parsed here",
    ),
    "drop": "it drops no users and no monitors",
}
"""Kinds of statements that sqlglot keeps as text, and why; shapes in `statements.py` read them."""
UNPARSABLE = {"row access policy": "sqlglot takes it for a clause of ALTER TABLE and fails"}


def account_of(scripts: Mapping[str, str]) -> Account:
    return read_account(scripts, "retail_prod_setup")


def problems_of(scripts: Mapping[str, str]) -> list[str]:
    return check(account_of(scripts), protected_columns(CONTRACTS.values()))


@pytest.fixture(scope="module")
def setup() -> Rendered:
    return rendered()


@pytest.fixture(scope="module")
def account(setup: Rendered) -> Account:
    return account_of(setup.scripts)


@pytest.fixture(scope="module")
def all_statements() -> list[Statement]:
    """Of everything there is, the parts that are off by default and the teardown included."""
    scripts = rendered(**EVERYTHING).scripts
    teardown = render_teardown("dev", environment("dev"), registry())
    return [s for name, sql in [*scripts.items(), ("", teardown)] for s in statements(name, sql)]


# -------------------------------------------------------------------------------------- it parses


class TestEveryStatement:
    def test_parses_in_the_dialect_of_snowflake_or_is_text_to_it_for_a_reason(
        self, all_statements: list[Statement]
    ) -> None:
        logging.getLogger("sqlglot").setLevel(logging.ERROR)
        unparsed: dict[str, str] = {}
        for statement in all_statements:
            if statement.kind in UNPARSABLE:
                with pytest.raises(sqlglot.ParseError):
                    sqlglot.parse_one(statement.text, dialect="snowflake")
            elif isinstance(sqlglot.parse_one(statement.text, dialect="snowflake"), exp.Command):
                unparsed[statement.kind] = statement.text
        assert unparsed.keys() - AS_TEXT.keys() == set(), unparsed
        assert AS_TEXT.keys() - unparsed.keys() == set(), "no longer text: take it off the list"

    def test_there_is_no_shape_that_nothing_uses(self, all_statements: list[Statement]) -> None:
        assert {s.kind for s in all_statements} == set(KINDS)

    def test_inside_of_tasks_and_pipes_parses_as_well(
        self, all_statements: list[Statement]
    ) -> None:
        bodies = [s for s in all_statements if s.kind in ("task of a stream", "pipe")]
        assert len(bodies) == 2 * len(CONTRACTS)
        for statement in bodies:
            for part in inner_statements(statement):
                tree = sqlglot.parse_one(part, dialect="snowflake")
                assert isinstance(tree, (exp.Delete, exp.Insert, exp.Copy)), part

    def test_a_comment_with_a_quote_ends_no_literal(self) -> None:
        country = registry()["FR"].model_copy(update={"name": "Côte d'Ivoire; drop role x"})
        countries = type(registry())((country,))
        text = rendered(countries=countries).migrations["R__20_analysts.sql"]
        assert [s.kind for s in statements("", text)].count("role") == 1


def inner_statements(statement: Statement) -> list[str]:
    """What a pipe copies, or a task does between begin and commit."""
    if statement.kind == "pipe":
        return [statement.text[statement.text.index("copy into") :]]
    found = re.search(r"begin transaction;(.+?)commit;", statement.facts["body"], re.DOTALL)
    assert found
    return [part for part in found[1].split(";") if part.strip()]


# -------------------------------------------------------------------------------------- it is sound


@pytest.mark.parametrize("name", ["dev", "ci", "prod"])
@pytest.mark.parametrize("changed", [{}, EVERYTHING], ids=["orchestrated", "by itself"])
def test_every_environment_is_sound(name: str, changed: dict[str, Any]) -> None:
    found = read_account(rendered(name, **changed).scripts, f"retail_{name}_setup")
    schemas = ("raw", "landing") if changed else ("raw",)
    assert check(found, protected_columns(CONTRACTS.values(), schemas)) == []


def test_every_country_has_its_analysts(account: Account) -> None:
    analysts = {r for r in account.roles if re.fullmatch(r"retail_prod_analyst_\w\w", r)}
    assert analysts == {f"retail_prod_analyst_{c.lower()}" for c in registry().codes}
    assert analysts < account.below("retail_prod_analyst")


def test_warehouses_are_small_and_do_not_idle(account: Account) -> None:
    assert set(account.warehouses) == {f"retail_prod_{w}" for w in ("load", "transform", "bi")}
    for found in account.warehouses.values():
        assert (found["warehouse_size"], found["auto_suspend"]) == ("XSMALL", "60")


def test_time_travel_is_a_matter_of_the_environment() -> None:
    def days(name: str) -> str:
        text = rendered(name).migrations["R__30_grants.sql"]
        return next(s.facts["days"] for s in statements("", text) if s.kind == "retention")

    assert (days("dev"), days("ci"), days("prod")) == ("1", "0", "14")


def test_the_same_names_twice_would_be_two_environments_in_one(setup: Rendered) -> None:
    assert setup.name == "retail_prod"
    assert not [n for n, text in rendered("dev").scripts.items() if "retail_prod" in text]


def test_the_teardown_drops_all_that_was_created_and_nothing_else() -> None:
    made = read_account(rendered("dev", failures=environment("prod").failures).scripts, "x")
    text = render_teardown("dev", environment("dev"), registry())
    dropped = {(s.facts["what"], s.facts["object"]) for s in statements("", text)
               if s.kind == "drop"}  # fmt: skip
    # What lies in the database goes with it.
    created = {
        (what, name)
        for what, kind in [("resource monitor", "monitor"), *((k, k) for k in (
            "database", "integration", "warehouse", "user", "role"))]
        for name in made.defined[kind]
    }  # fmt: skip
    assert dropped == created


@pytest.mark.parametrize(("name", "keep"), [("prod", True), ("prod", False), ("dev", True)])
def test_what_is_to_be_kept_has_no_teardown(name: str, keep: bool) -> None:
    env = environment(name).model_copy(update={"keep": keep})
    with pytest.raises(ConfigurationError, match=f"Environment {name} is kept"):
        render_teardown(name, env, registry())


# ------------------------------------------------------------------------------ one truth for RAW


class TestRaw:
    def test_tables_are_those_of_contracts_and_of_dbt_sources(self, account: Account) -> None:
        text = (DBT / "models/staging/_raw__sources.yml").read_text("utf-8")
        sources = {
            table["name"]: {c["name"]: c["data_type"] for c in table["columns"]}
            for table in yaml.safe_load(text)["sources"][0]["tables"]
        }
        made = {
            name.rpartition(".")[2]: {
                column: "timestamp" if t == "timestamp_ntz" else t for column, t in columns.items()
            }
            for name, columns in account.tables.items()
        }
        assert {n: made[n] for n in CONTRACTS} == {n: raw_columns(c) for n, c in CONTRACTS.items()}
        assert {n: made[n] for n in sources} == sources
        assert made.keys() == {t.name for t in raw_tables(CONTRACTS.values())}

    def test_a_column_that_a_contract_gains_is_in_the_table_and_added_to_it(self) -> None:
        text = rendered().migrations["R__50_raw_tables.sql"]
        created, added = {}, {}
        for statement in statements("", text):
            where = created if statement.kind == "table" else added
            words = where.setdefault(statement.facts["table"], [])
            words += statement.facts["columns"].split(", ")
        # decimal(12, 2) is cut in two by the comma, on both sides.
        assert created == added

    def test_schemas_are_the_layers_of_the_dbt_project(self) -> None:
        project = yaml.safe_load((DBT / "dbt_project.yml").read_text("utf-8"))
        folders = project["models"]["retail_platform"].values()
        layers = {f["+schema"] for f in folders if isinstance(f, dict) and "+schema" in f}
        # Of what is made of cost nobody but the platform sees anything.
        assert layers - {"cost"} | {RAW_SCHEMA} == set(LAYERS)

    def test_what_counts_as_a_wake_is_when_warehouses_suspend(self) -> None:
        project = yaml.safe_load((DBT / "dbt_project.yml").read_text("utf-8"))
        suspend = {
            warehouse.auto_suspend_seconds
            for name in ("dev", "ci", "prod")
            for warehouse in environment(name).warehouses.values()
        }
        assert suspend == {project["vars"]["cost_auto_suspend_seconds"]} == {SUSPENDS_AFTER}

    def test_dbt_replaces_marts_without_their_grants(self) -> None:
        """Copied, they would show a table whose policy went with the old one."""
        files = [p for p in DBT.rglob("*") if p.suffix in (".yml", ".sql")]
        assert not [p for p in files if "copy_grants" in p.read_text("utf-8")]

    def test_every_mart_says_its_country_so_that_rows_can_be_kept_apart(self) -> None:
        for path in (DBT / "models/marts").glob("*.yml"):
            (model,) = yaml.safe_load(path.read_text("utf-8"))["models"]
            assert "country" in {column["name"] for column in model["columns"]}, path


# ---------------------------------------------------------------------- policies, role by role


def body_of(account: Account, policy: str) -> str:
    (body,) = account.bodies[f"retail_prod.governance.{policy}"]
    return body


def answers(body: str, role: str, held: set[str], values: list[str | None]) -> list[Any]:
    """What a policy makes of values, for a session with this primary role that holds some."""
    tree = sqlglot.parse_one(body, dialect="snowflake")
    for call in list(tree.find_all(exp.CurrentRole)):
        call.replace(exp.Literal.string(role.upper()))
    for call in list(tree.find_all(exp.Anonymous)):
        assert call.name.upper() == "IS_ROLE_IN_SESSION"
        named = call.expressions[0].name
        call.replace(exp.Boolean(this=named in {r.upper() for r in held}))
    sql = f"select {tree.sql('duckdb')} from (select unnest(?) as value) as t(value)"
    sql = re.sub(r"\b(val|country)\b", "value", sql, flags=re.IGNORECASE)
    with duckdb.connect() as engine:
        return [row[0] for row in engine.execute(sql, [values]).fetchall()]


def everybody(account: Account) -> list[str]:
    return sorted(account.defined["role"] | {"sysadmin", "accountadmin", "public"})


class TestMasks:
    SEE_TOKENS = ("platform", "transformer", "data_science", "marketing_ops", "pii_admin")

    @pytest.mark.parametrize(
        ("policy", "seen_by"), [("mask_token", SEE_TOKENS), ("mask_ciphertext", ("pii_admin",))]
    )
    def test_only_those_see_a_value_whose_work_it_is(
        self, account: Account, policy: str, seen_by: tuple[str, ...]
    ) -> None:
        body = body_of(account, policy)
        seen = {
            role: answers(body, role, account.below(role), ["value", None])
            for role in everybody(account)
        }
        allowed = {f"retail_prod_{role}" for role in seen_by}
        assert {role for role, found in seen.items() if found == ["value", None]} == allowed
        others = {tuple(found) for role, found in seen.items() if role not in allowed}
        assert others == {(MASKED, MASKED)}, "not even whether there is a value"

    def test_who_inherits_a_role_sees_what_everybody_sees(self, account: Account) -> None:
        assert "retail_prod_pii_admin" in account.below("sysadmin")
        body = body_of(account, "mask_ciphertext")
        assert answers(body, "sysadmin", account.below("sysadmin"), ["v"]) == [MASKED]

    def test_the_loader_sees_what_it_moves_when_it_moves_by_itself(self) -> None:
        alone = account_of(rendered(**EVERYTHING).scripts)
        for policy in ("mask_token", "mask_ciphertext"):
            assert answers(body_of(alone, policy), "retail_prod_loader", set(), ["v"]) == ["v"]

    def test_models_read_nothing_that_is_masked_for_who_builds_them(self, account: Account) -> None:
        """They would write asterisks into the tables they build."""
        hidden = {
            c.name for c in protected_columns(CONTRACTS.values()) if c.tag == "pii_ciphertext"
        }
        body = body_of(account, "mask_ciphertext")
        assert answers(body, "retail_prod_platform", set(), ["v"]) == [MASKED]
        for path in (DBT / "models").rglob("*.sql"):
            words = set(re.findall(r"\w+", path.read_text("utf-8")))
            assert not words & hidden, path

    def test_every_protected_column_is_tagged_and_what_stays_in_clear_is_not(
        self, account: Account
    ) -> None:
        kept = {"token": Protect.TOKEN, "enc": Protect.ENCRYPT}
        for contract in CONTRACTS.values():
            for column in contract.columns:
                for suffix, protection in kept.items():
                    name = f"{column.name}_{suffix}"
                    tagged = (f"retail_prod.raw.{contract.name}", name) in account.tag_of
                    assert tagged == (column.protect in (protection, Protect.BOTH)), name
        assert ("retail_prod.raw.customers", "_rescued") in account.tag_of
        assert ("retail_prod.raw.customers", "date_of_birth_year") not in account.tag_of
        assert ("retail_prod.raw.products", "_rescued") not in account.tag_of


class TestRows:
    VALUES = ("CN", "DE", "ES", "FR", "GB", "PT", "US", "ALL", "XX", None)

    def seen(self, account: Account, *roles: str) -> list[str | None]:
        held = set().union(*(account.below(role) for role in roles))
        body = body_of(account, "rows_of_country")
        shown = answers(body, roles[0], held, list(self.VALUES))
        assert set(shown) <= {True, False}
        return [value for value, show in zip(self.VALUES, shown, strict=True) if show]

    @pytest.mark.parametrize("code", registry().codes)
    def test_an_analyst_sees_the_country_and_what_belongs_to_none(
        self, account: Account, code: str
    ) -> None:
        assert self.seen(account, f"retail_prod_analyst_{code.lower()}") == [code, "ALL"]

    def test_who_holds_two_countries_sees_both(self, account: Account) -> None:
        roles = ("retail_prod_analyst_fr", "retail_prod_analyst_de")
        assert self.seen(account, *roles) == ["DE", "FR", "ALL"]

    def test_analysts_of_all_countries_see_those_of_the_registry(self, account: Account) -> None:
        assert self.seen(account, "retail_prod_analyst") == [*registry().codes, "ALL"]

    def test_everybody_else_sees_all_or_nothing_of_a_country(self, account: Account) -> None:
        all_rows = ("platform", "transformer", "data_science", "marketing_ops", "all_countries")
        all_rows += ("setup",)  # it adds columns to what the transformer owns
        for role in everybody(account):
            if "_analyst" in role:
                continue
            name = role.removeprefix("retail_prod_")
            everything = name in (*all_rows, "sysadmin")
            expected = list(self.VALUES) if everything else ["ALL"]
            assert self.seen(account, role) == expected, role


# ------------------------------------------------------------------------- mistakes are refused

ROLES, ANALYSTS = "V1.1.0__roles.sql", "R__20_analysts.sql"
GRANTS, POLICIES = "R__30_grants.sql", "R__60_policies.sql"
COLUMNS, SCHEMAS = "R__70_protected_columns.sql", "V1.0.0__schemas.sql"
COST = "V1.2.0__cost.sql"
AT_THE_END = ""

MISTAKES = [
    (ROLES, "grant role retail_prod_data_science to role sysadmin;", "",
     "Role retail_prod_data_science is not granted to a role that ends at SYSADMIN"),
    (GRANTS, "grant database role retail_prod.raw_w to role retail_prod_loader;", "",
     "Database role retail_prod.raw_w is granted to no role"),
    (COLUMNS, r"alter table retail_prod.raw.customers modify column email_enc\s[^;]+;", "",
     "Column raw.customers.email_enc stands for personal data and has no tag"),
    (COLUMNS, r"(column email_enc\s+set tag retail_prod.governance).pii_ciphertext",
     r"\1.pii_token", "Column raw.customers.email_enc has tag .*pii_token; expected pii_cipher"),
    (COLUMNS, "column telephone_enc", "column telefone_enc",
     "Column retail_prod.raw.customers.telefone_enc is tagged and does not exist"),
    (POLICIES, r"alter tag retail_prod.governance.pii_token [^;]+;", "",
     "Tag retail_prod.governance.pii_token has no masking policy"),
    (FIRST, "alter warehouse retail_prod_bi set resource_monitor = retail_prod_bi;", "",
     "Warehouse retail_prod_bi has no resource monitor"),
    (FIRST, r"    auto_suspend = 60\n", "", "Warehouse retail_prod_bi has no auto_suspend"),
    (FIRST, "auto_suspend = 60", "auto_suspend = 0", "Warehouse retail_prod_load has no auto_sus"),
    (FIRST, r"    statement_timeout_in_seconds = \d+\n", "",
     "Warehouse retail_prod_load has no statement_timeout"),
    (POLICIES, "RETAIL_PROD_PII_ADMIN", "RETAIL_PROD_PII_ADMN",
     "Policy retail_prod.governance.mask_ciphertext names role RETAIL_PROD_PII_ADMN"),
    (POLICIES, r"current_role\(", "curent_role(",
     "Policy retail_prod.governance.mask_token calls curent_role"),
    (POLICIES, "then val", "then vall", "mask_token names vall, which is none of its arguments"),
    (POLICIES, "else '[*]+'", "", "Policy retail_prod.governance.mask_token has no ELSE"),
    (POLICIES, "returns varchar", "retuns varchar", "not understood: .*mask_token"),
    (POLICIES, r"(rows_of_country set body -> case\s+when country = ')ALL", r"\1all",
     "rows_of_country is created with one body and altered to another"),
    (POLICIES, r"set masking policy retail_prod.governance.mask_token",
     "set masking policy retail_prod.governance.mask_tokn",
     "policy retail_prod.governance.mask_tokn is used before anything creates it"),
    (ANALYSTS, AT_THE_END, "grant database role retail_prod.raw_r to role retail_prod_analyst_fr;",
     "Role retail_prod_analyst_fr gets usage on schema of retail_prod.raw through retail_prod.raw"),
    (ANALYSTS, AT_THE_END, "grant usage on schema retail_prod.raw to role retail_prod_analyst_fr;",
     r"Role retail_prod_analyst_fr gets usage on schema of retail_prod.raw\."),
    (ANALYSTS, AT_THE_END, "grant role retail_prod_data_science to role retail_prod_analyst;",
     "Role retail_prod_analyst gets select on tables of retail_prod.staging through"),
    (ANALYSTS, AT_THE_END, "grant database role retail_prod.marts_w to role retail_prod_analyst;",
     "Role retail_prod_analyst may change retail_prod.marts through retail_prod.marts_w"),
    (ANALYSTS, AT_THE_END, "grant role retail_prod_usage to role retail_prod_analyst_fr;",
     "Role retail_prod_analyst_fr reads the statements of the account through snowflake.gov"),
    (FIRST, "snowflake.usage_viewer", "snowflake.usage_view",
     "role snowflake.usage_view is used before anything creates it"),
    (COST, AT_THE_END, "use role accountadmin;\ngrant database role snowflake.usage_viewer "
     "to role retail_prod_platform;", "V1.2.0__cost.sql: runs as ACCOUNTADMIN, as only .+ may"),
    (FIRST, AT_THE_END, "grant database role retail_prod.raw_r to role retail_prod_usage;",
     "needs no ACCOUNTADMIN: grant database role"),
    (GRANTS, AT_THE_END, "grant select on future tables in schema retail_prod.marts "
     "to database role retail_prod.marts_r;", "reads retail_prod.marts before its tables have"),
    (GRANTS, AT_THE_END, "grant usage on warehouse retail_prod_bi to role retail_prod_anlyst;",
     "role retail_prod_anlyst is used before anything creates it"),
    (GRANTS, AT_THE_END, "grant usage on warehouse retail_prod_bii to role retail_prod_analyst;",
     "warehouse retail_prod_bii is used before anything creates it"),
    (GRANTS, AT_THE_END, "grant usage on schema retail_prod.mart to role retail_prod_platform;",
     "schema retail_prod.mart is used before anything creates it"),
    (GRANTS, AT_THE_END, "grant usage on schema retail_prod.raw to role sysadmin;",
     "usage on retail_prod.raw is granted to sysadmin"),
    (GRANTS, AT_THE_END, "grnat usage on schema retail_prod.raw to role retail_prod_loader;",
     "not understood: grnat usage"),
    (GRANTS, AT_THE_END, "grant usages on schema retail_prod.raw to role retail_prod_loader;",
     "not understood: grant usages"),
    (GRANTS, AT_THE_END, "grant usage on schema retail_prod.raw to role retail_prod_loader wiht "
     "grant option;", "not understood: grant usage on schema retail_prod.raw to role .* wiht"),
    (GRANTS, AT_THE_END, "use role retail_prod_loader", "no semicolon behind: use role"),
    (SCHEMAS, AT_THE_END, "use role accountadmin;\ncreate schema if not exists retail_prod.x "
     "comment = '';", "V1.0.0__schemas.sql: runs as ACCOUNTADMIN, as only .+ may: create schema"),
    (FIRST, "use role retail_prod_setup;", "", "needs no ACCOUNTADMIN: create database"),
    ("R__80_marts_guard.sql", "governance.pii_token", "governance.pii_tokn",
     "retail_prod.governance.pii_tokn is used inside of a body, and nothing creates it"),
    ("A__guard_marts.sql", "guard_marts", "gard_marts",
     "procedure retail_prod.governance.gard_marts is used before anything creates it"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "was", "planted", "said"), MISTAKES, ids=[said[:50] for *_, said in MISTAKES]
)
def test_a_mistake_is_refused_by_name(
    setup: Rendered, script: str, was: str, planted: str, said: str
) -> None:
    right = setup.scripts[script]
    wrong = re.sub(was, planted, right) if was else f"{right}{planted}\n"
    assert wrong != right
    with pytest.raises(ConfigurationError, match=said):
        refuse(problems_of({**setup.scripts, script: wrong}))


# ------------------------------------------------------------------------ values of environments

ELLIPTIC = ec.generate_private_key(ec.SECP256R1()).public_key()
SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()


def pem(key: Any) -> str:
    return str(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


class TestEnvironments:
    @pytest.mark.parametrize(
        ("variable", "value", "said"),
        [
            ("RETAIL_LAKE_URL", "s3://bucket/it's", "lake_url: it is .* which no stage of Snow"),
            ("RETAIL_LAKE_URL", "file:///lake", "lake_url: it is .* which no stage of Snow"),
            ("RETAIL_LAKE_URL", "az://lake/a", "or abfss://container@account"),
            ("RETAIL_LAKE_URL", "gs://bucket/lake", "a lake on GCS knows no lake_role_arn"),
            ("RETAIL_LAKE_ROLE_ARN", "lake", "lake_role_arn: String should match"),
            ("RETAIL_FAILURES_TOPIC_ARN", "arn:aws:sns", "failures.topic_arn: String should"),
            ("RETAIL_BI_PUBLIC_KEY", "ssh-rsa AAAA", "public_keys.bi.0: is no RSA public key"),
            ("RETAIL_BI_PUBLIC_KEY", "", "public_keys.bi.0: is no RSA public key"),
            ("RETAIL_BI_PUBLIC_KEY", pem(ELLIPTIC), "public_keys.bi.0: is no RSA public key"),
            ("RETAIL_BI_PUBLIC_KEY", pem(SHORT), "public_keys.bi.0: is no RSA public key"),
        ],
    )
    def test_a_value_that_would_break_a_statement_is_refused(
        self, variable: str, value: str, said: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=said):
            read_environment("prod", variable={**VARIABLES, variable: value}.__getitem__)

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"lake_role_arn": None}, "a lake on S3 needs lake_role_arn"),
            ({"lake_tenant_id": TENANT}, "a lake on S3 knows no lake_tenant_id"),
            ({**ON_AZURE, "lake_tenant_id": None}, "a lake on AZURE needs lake_tenant_id"),
            ({**ON_AZURE, "lake_tenant_id": "mine"}, "lake_tenant_id: String should match"),
            ({**ON_GCS, "load_without_orchestrator": True}, "needs a lake on S3"),
        ],
    )
    def test_a_storage_integration_is_told_what_its_provider_needs(
        self, tmp_path: Path, changed: Mapping[str, Any], said: str
    ) -> None:
        path = tmp_path / "environments.yml"
        given = yaml.safe_load((SETUP_DIR / "environments.yml").read_text("utf-8"))
        path.write_text(yaml.safe_dump({"prod": {**given["prod"], **changed}}), "utf-8")
        with pytest.raises(ConfigurationError, match=said):
            read_environment("prod", path, variable=VARIABLES.__getitem__)

    @pytest.mark.parametrize(
        ("on", "integration", "url"),
        [
            (ON_GCS, "storage_provider = 'GCS'", "gcs://bucket/lake/"),
            (
                ON_AZURE,
                f"azure_tenant_id = '{TENANT}'",
                "azure://account.blob.core.windows.net/lake/retail/",
            ),
        ],
        ids=["GCS", "AZURE"],
    )
    def test_a_lake_on_another_store_has_its_integration_and_stage(
        self, on: Mapping[str, Any], integration: str, url: str
    ) -> None:
        made = rendered(**on)
        text = made.migrations["R__40_lake.sql"]
        assert integration in text
        assert "aws" not in text.split("create notification integration")[0]
        assert text.count(f"('{url}')") == 2
        assert text.count(f"url = '{url}'") == 2
        assert problems_of(made.scripts) == []
        for statement in statements("", text):
            if statement.kind in ("storage integration", "stage"):
                tree = sqlglot.parse_one(statement.text, dialect="snowflake")
                assert not isinstance(tree, exp.Command)

    def test_a_private_key_is_refused_and_not_shown(self) -> None:
        secret = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        given = {**VARIABLES, "RETAIL_BI_PUBLIC_KEY": secret}
        with pytest.raises(ConfigurationError, match="is a private key; it stays") as caught:
            read_environment("prod", variable=given.__getitem__)
        assert secret.splitlines()[5] not in str(caught.value)

    def test_keys_may_be_pem_or_base64_and_a_second_one_takes_over(self) -> None:
        body = "".join(PUBLIC_KEY.splitlines()[1:-1])
        given = {**VARIABLES, "RETAIL_BI_PUBLIC_KEY": body}
        env = read_environment("prod", variable=given.__getitem__)
        assert env.public_keys["bi"] == (body,) == env.public_keys["platform"]
        keys = {**env.public_keys, "bi": (body, body)}
        text = rendered(public_keys=keys).migrations["R__10_service_users.sql"]
        assert f"alter user retail_prod_bi set rsa_public_key_2 = '{body}';" in text
        assert "alter user retail_prod_platform unset rsa_public_key_2;" in text

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("prod: {keep: true, colour: red}", "colour: Extra inputs are not permitted"),
            ("dev: {}", "has no environment 'prod'; there are: dev"),
            ("- prod", "has no environment 'prod'; there are: none"),
            ("prod: {", "cannot be read"),
            ("prod: 3", "Input should be a valid dictionary"),
        ],
    )
    def test_a_file_that_says_something_else_is_refused(
        self, tmp_path: Path, text: str, said: str
    ) -> None:
        path = tmp_path / "environments.yml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigurationError, match=said):
            read_environment("prod", path)

    def test_a_warehouse_or_a_key_that_is_missing_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "environments.yml"
        text = (PROJECT_DIR / "snowflake_setup/environments.yml").read_text("utf-8")
        path.write_text(re.sub(r"    (load|setup): .+\n", "", text), encoding="utf-8")
        with pytest.raises(
            ConfigurationError, match=r"not there: warehouses\.load, public_keys\.setup"
        ):
            read_environment("prod", path, VARIABLES.__getitem__)


# -------------------------------------------------------------------------------------- commands


class TestCommands:
    @pytest.fixture(autouse=True)
    def _shell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SNOWFLAKE_ACCOUNT", raising=False)
        for name, value in VARIABLES.items():
            monkeypatch.setenv(name, value)

    def test_render_writes_files_and_takes_away_what_no_longer_belongs_there(
        self, tmp_path: Path, setup: Rendered
    ) -> None:
        stale = tmp_path / "migrations" / "R__99_gone.sql"
        stale.parent.mkdir()
        stale.touch()
        words = ["snowflake-setup", "render", "--env", "prod", "--into", str(tmp_path)]
        assert CliRunner().invoke(app, words).exit_code == 0
        written = {p.name: p.read_text("utf-8") for p in tmp_path.rglob("*.sql")}
        assert written == setup.scripts

    def test_plan_needs_no_account(self) -> None:
        said = CliRunner().invoke(app, ["snowflake-setup", "plan", "--env", "dev"])
        assert said.exit_code == 0
        assert "SNOWFLAKE_ACCOUNT is not set" in said.output
        assert "R__60_policies.sql" in said.output

    def test_apply_needs_one(self) -> None:
        said = CliRunner().invoke(app, ["snowflake-setup", "apply", "--env", "dev"])
        assert isinstance(said.exception, ConfigurationError)
        assert "SNOWFLAKE_ACCOUNT is not set" in str(said.exception)

    def test_a_variable_that_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("RETAIL_LAKE_ROLE_ARN")
        said = CliRunner().invoke(app, ["snowflake-setup", "plan", "--env", "dev"])
        assert "RETAIL_LAKE_ROLE_ARN is not set" in str(said.exception)

    def test_teardown_prints_statements_and_refuses_production(self) -> None:
        said = CliRunner().invoke(app, ["snowflake-setup", "teardown", "--env", "dev"])
        assert "drop database if exists retail_dev;" in said.output
        said = CliRunner().invoke(app, ["snowflake-setup", "teardown", "--env", "prod"])
        assert "Environment prod is kept" in str(said.exception)
