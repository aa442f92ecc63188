"""The scripts of `snowflake_setup/`, filled with an environment, the registry and the contracts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from retail_platform.contract import FeedContract
from retail_platform.countries import CountryRegistry
from retail_platform.errors import ConfigurationError
from retail_platform.operate.account.environments import SETUP_DIR, AccountEnvironment
from retail_platform.warehouse.raw_tables import (
    LATE_DAYS,
    LATE_DAYS_COLUMNS,
    LEDGER,
    LEDGER_COLUMNS,
    RAW_SCHEMA,
    raw_columns,
)

FIRST = "accountadmin_first.sql"
TEARDOWN = "teardown.sql"
MIGRATIONS = "migrations"

LAYERS = (RAW_SCHEMA, "staging", "intermediate", "semantics", "marts")
_SCHEMAS = {
    RAW_SCHEMA: "Rows as delivered, and the ledger of files.",
    "staging": "Typed, cleaned, newest version of each row.",
    "intermediate": "Business steps that several marts share.",
    "semantics": "What metrics are defined on.",
    "marts": "Star schema and reports: what others build on.",
    "governance": "Tags, policies, their guard, and the history of migrations.",
}
_WAREHOUSES = {
    "load": "Loads of RAW.",
    "transform": "Models.",
    "bi": "People and dashboards.",
}
_ACCESS = {
    "loader": ("raw_w",),
    "transformer": ("raw_r", "staging_w", "intermediate_w", "semantics_w", "marts_w"),
    "data_science": ("staging_r", "intermediate_r", "semantics_r", "marts_r"),
    "marketing_ops": ("staging_r", "semantics_r", "marts_r"),
    "pii_admin": ("raw_r", "staging_r"),
}
_COMPUTE = {
    "loader": "load",
    "transformer": "transform",
    "data_science": "bi",
    "marketing_ops": "bi",
    "pii_admin": "bi",
}
_SEES_TOKENS = ("platform", "transformer", "data_science", "marketing_ops", "pii_admin")
_SEES_CIPHERTEXT = ("pii_admin",)
_ROLES = ("all_countries", "analyst", "platform", *_ACCESS, "usage", "setup")
_SET_AT_LOAD = ("_delivered_at", "_loaded_at", "_run_id")
"""Columns of RAW that objects of the lake have not."""


@dataclass(frozen=True)
class RawTable:
    """A table of RAW.

    Attributes:
        columns: name -> SQL type on Snowflake.
        incoming: those of them that objects of the lake have; none, if it is not a feed's.
    """

    name: str
    description: str
    columns: Mapping[str, str]
    incoming: Mapping[str, str]


@dataclass(frozen=True)
class ProtectedColumn:
    """A column that stands for personal data.

    Attributes:
        tag: `pii_token` or `pii_ciphertext`.
        holds: what the contract calls it.
    """

    schema: str
    table: str
    name: str
    tag: str
    holds: str


@dataclass(frozen=True)
class Rendered:
    """Statements for one environment.

    Attributes:
        name: of all objects, in lower case: `retail_prod`.
        first: what ACCOUNTADMIN runs once.
        migrations: file name -> text, in the order in which schemachange applies them.
    """

    name: str
    first: str
    migrations: Mapping[str, str]

    @property
    def scripts(self) -> dict[str, str]:
        """All of them, in order."""
        return {FIRST: self.first, **self.migrations}

    def write(self, folder: Path) -> list[Path]:
        """Write the files, migrations below a folder of their own; their paths.

        Files of an earlier rendering that no longer belong there are deleted.
        """
        below = folder / MIGRATIONS
        below.mkdir(parents=True, exist_ok=True)
        for stale in below.glob("[VRA]*__*.sql"):
            if stale.name not in self.migrations:
                stale.unlink()
        texts = {folder / FIRST: self.first}
        texts |= {below / name: text for name, text in self.migrations.items()}
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        return list(texts)


def render(
    env_name: str,
    env: AccountEnvironment,
    registry: CountryRegistry,
    contracts: Iterable[FeedContract],
) -> Rendered:
    """All scripts of an environment but its teardown; a migration that says nothing is left out."""
    jinja, context = _jinja(), _context(env_name, env, registry, list(contracts))
    filled = {}
    for path in sorted((SETUP_DIR / MIGRATIONS).glob("*.sql"), key=_order):
        text = _fill(jinja, f"{MIGRATIONS}/{path.name}", context)
        if text.strip():
            filled[path.name] = text
    return Rendered(context["retail"], _fill(jinja, FIRST, context), filled)


def render_teardown(env_name: str, env: AccountEnvironment, registry: CountryRegistry) -> str:
    """Statements that take an environment away.

    Raises:
        ConfigurationError: it is to be kept.
    """
    if env.keep or env_name.startswith("prod"):
        raise ConfigurationError(
            f"Environment {env_name} is kept (keep: true in environments.yml, or its name begins "
            "with prod); nothing of it is taken away."
        )
    return _fill(_jinja(), TEARDOWN, _context(env_name, env, registry, []))


def protected_columns(
    contracts: Iterable[FeedContract], schemas: Iterable[str] = (RAW_SCHEMA,)
) -> list[ProtectedColumn]:
    """Columns of tables of feeds that stand for personal data, by contract.

    What may be kept in clear (the year of a birthday) is none; `_rescued` of such a feed is one.
    """
    return [
        ProtectedColumn(schema, contract.name, name, tag, holds)
        for schema in schemas
        for contract in contracts
        for name, tag, holds in _protected(contract)
    ]


def _protected(contract: FeedContract) -> list[tuple[str, str, str]]:
    found = [
        (stored, "pii_token" if stored.endswith("_token") else "pii_ciphertext", column.name)
        for column in contract.columns
        if column.protect
        for stored in column.stored
        if stored in (f"{column.name}_token", f"{column.name}_enc")
    ]
    return [*found, ("_rescued", "pii_ciphertext", "anything")] if contract.holds_pii else found


def raw_tables(contracts: Iterable[FeedContract]) -> list[RawTable]:
    """Tables of RAW, those of the platform itself last."""
    tables = []
    for contract in sorted(contracts, key=lambda c: c.name):
        columns = _on_snowflake(raw_columns(contract))
        incoming = {name: t for name, t in columns.items() if name not in _SET_AT_LOAD}
        tables.append(RawTable(contract.name, contract.description, columns, incoming))
    ledger, late = _on_snowflake(LEDGER_COLUMNS), _on_snowflake(LATE_DAYS_COLUMNS)
    return [
        *tables,
        RawTable(LEDGER, "One row per file: what it held, what became of it.", ledger, {}),
        RawTable(LATE_DAYS, "Business days that late rows touched.", late, {}),
    ]


def _on_snowflake(columns: Mapping[str, str]) -> dict[str, str]:
    """What `timestamp` alone means is a setting of the account."""
    return {n: "timestamp_ntz" if t == "timestamp" else t for n, t in columns.items()}


def _context(
    env_name: str,
    env: AccountEnvironment,
    registry: CountryRegistry,
    contracts: list[FeedContract],
) -> dict[str, Any]:
    retail = f"retail_{env_name}"
    alone = env.load_without_orchestrator
    # Tasks of the loader read what they move.
    loader = ("loader",) if alone else ()
    schemas = (RAW_SCHEMA, "landing") if alone else (RAW_SCHEMA,)
    analysts = [f"{retail}_analyst_{code.lower()}" for code in registry.codes]
    columns = protected_columns(contracts)
    return {
        "retail": retail,
        "env_name": env_name,
        "env": env,
        "countries": registry.countries,
        "layers": LAYERS,
        "schemas": _SCHEMAS,
        "warehouse_purposes": _WAREHOUSES,
        "access_of": _ACCESS,
        "warehouse_of": _COMPUTE,
        "sees_tokens": _SEES_TOKENS + loader,
        "sees_ciphertext": _SEES_CIPHERTEXT + loader,
        "raw_tables": raw_tables(contracts),
        "protected_columns": protected_columns(contracts, schemas),
        "token_columns": sorted({c.name for c in columns if c.tag == "pii_token"}),
        "teardown_roles": [*analysts, *(f"{retail}_{role}" for role in _ROLES)],
    }


def _jinja() -> Environment:
    jinja = Environment(
        loader=FileSystemLoader(SETUP_DIR),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    jinja.filters["in_quotes"] = lambda text: " ".join(text.split()).replace(
        "'", "\N{RIGHT SINGLE QUOTATION MARK}"
    )
    return jinja


def _fill(jinja: Environment, name: str, context: Mapping[str, Any]) -> str:
    macros: dict[str, Any] = {}
    for path in sorted((SETUP_DIR / "macros").glob("*.sql")):
        module = jinja.get_template(f"macros/{path.name}").make_module(dict(context))
        macros |= {n: m for n, m in vars(module).items() if not n.startswith("_")}
    return jinja.get_template(name).render({**context, **macros})


def _order(path: Path) -> tuple[int, str]:
    """As schemachange: versioned, repeatable, always."""
    return "VRA".index(path.name[0]), path.name
