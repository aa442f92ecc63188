"""Commands that set up a Snowflake account."""

from pathlib import Path

from retail_platform.cli.output import fact, print_json, table
from retail_platform.contract import load_contracts
from retail_platform.countries import load_countries
from retail_platform.operate.account.checks import check, read_account, refuse
from retail_platform.operate.account.deployment import Deployment, deploy
from retail_platform.operate.account.environments import read_environment
from retail_platform.operate.account.scripts import (
    Rendered,
    protected_columns,
    render,
    render_teardown,
)
from retail_platform.operate.account.statements import statements
from retail_platform.settings import Settings, has_snowflake_account, snowflake_setup_account


def _checked(settings: Settings, env: str, environments: Path | None) -> Rendered:
    """All scripts, rendered and found to be sound."""
    registry = load_countries(settings.countries_file)
    contracts = load_contracts(settings.contracts_paths)
    rendered = render(env, read_environment(env, environments), registry, contracts.values())
    account = read_account(rendered.scripts, f"{rendered.name}_setup")
    refuse(check(account, protected_columns(contracts.values())))
    return rendered


def render_scripts(
    settings: Settings, env: str, environments: Path | None, into: Path | None, *, as_json: bool
) -> None:
    """Write the scripts of an environment into a folder."""
    rendered = _checked(settings, env, environments)
    paths = rendered.write(into or settings.home / "snowflake_setup" / env)
    if as_json:
        print_json([str(path) for path in paths])
        return
    for path in paths:
        fact(str(path))


def plan_migrations(
    settings: Settings, env: str, environments: Path | None, *, as_json: bool
) -> None:
    """Say what `apply` would do."""
    rendered = _checked(settings, env, environments)
    if has_snowflake_account():
        account = snowflake_setup_account(rendered.name)
        found = deploy(rendered, account, dry_run=True)
        _report(rendered, found, "would be applied", as_json=as_json)
        return
    names = tuple(rendered.migrations)
    _report(rendered, Deployment(names, ()), "is sound; SNOWFLAKE_ACCOUNT is not set",
            as_json=as_json)  # fmt: skip


def apply_migrations(
    settings: Settings, env: str, environments: Path | None, *, as_json: bool
) -> None:
    """Apply what is new."""
    rendered = _checked(settings, env, environments)
    account = snowflake_setup_account(rendered.name)
    found = deploy(rendered, account, dry_run=False)
    _report(rendered, found, "applied", as_json=as_json)


def print_teardown(settings: Settings, env: str, environments: Path | None) -> None:
    """Print the statements that take an environment away."""
    registry = load_countries(settings.countries_file)
    fact(render_teardown(env, read_environment(env, environments), registry))


def _report(rendered: Rendered, found: Deployment, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": rendered.name, "applied": found.applied, "unchanged": found.unchanged})
        return
    table(
        f"Migrations of {rendered.name}",
        ["script", "statements", "state"],
        [
            (
                name,
                len(list(statements(name, text))),
                done if name in found.applied else "unchanged",
            )
            for name, text in rendered.migrations.items()
        ],
    )
