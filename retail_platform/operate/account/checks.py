"""What must hold of the set-up before any of it is run.

Names exist, roles end at SYSADMIN, money and personal data are guarded. Each rule lists its
offenders by name. How statements are read is the business of `statements`; whether an account
executes them is not known here.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from retail_platform.errors import ConfigurationError
from retail_platform.operate.account.scripts import FIRST, ProtectedColumn
from retail_platform.operate.account.statements import (
    Statement,
    columns,
    properties,
    statements,
)

SYSADMIN, ACCOUNTADMIN = "sysadmin", "accountadmin"
_SYSTEM_ROLES = frozenset({SYSADMIN, ACCOUNTADMIN})
_USAGE_ROLES = frozenset({"snowflake.governance_viewer", "snowflake.usage_viewer"})
"""Database roles of Snowflake's own, which open its views over the account's history."""
_ANALYST = re.compile(r"\w+_analyst(_[a-z]{2})?")
_OPEN_TO_ANALYSTS = ("marts", "semantics")


@dataclass(frozen=True)
class Grant:
    """A privilege on a layer, a warehouse or another object.

    Attributes:
        on: kind of the object; `tables` are those of a schema.
        to: role of either kind, as it is written.
    """

    privileges: tuple[str, ...]
    on: str
    object: str
    to: str


@dataclass
class Account:
    """What the statements make of an account; names as they are written."""

    statements: list[Statement]
    defined: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    parents: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    grants: list[Grant] = field(default_factory=list)
    warehouses: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    monitor_of: dict[str, str] = field(default_factory=dict)
    policy_of: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    tag_of: dict[tuple[str, str], str] = field(default_factory=dict)
    tables: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    made_as: list[tuple[Statement, str]] = field(default_factory=list)

    @cached_property
    def roles(self) -> set[str]:
        """Roles of the account and of the database that the scripts create."""
        return self.defined["role"] | self.defined["database role"]

    def above(self, role: str) -> set[str]:
        """The role and all that inherit from it."""
        return _closure(role, self.parents)

    def below(self, role: str) -> set[str]:
        """The role and all that it inherits."""
        children: dict[str, set[str]] = defaultdict(set)
        for child, parents in self.parents.items():
            for parent in parents:
                children[parent].add(child)
        return _closure(role, children)


def _closure(start: str, edges: Mapping[str, Collection[str]]) -> set[str]:
    found, waiting = {start}, [start]
    while waiting:
        for one in edges.get(waiting.pop(), ()):
            if one not in found:
                found.add(one)
                waiting.append(one)
    return found


def read_account(scripts: Mapping[str, str], owner: str) -> Account:
    """Facts of all statements, in the order of the scripts.

    Args:
        owner: role that runs all scripts, until one says otherwise.

    Raises:
        ConfigurationError: a statement has no known shape.
    """
    account = Account([s for name, sql in scripts.items() for s in statements(name, sql)])
    script, role = "", owner
    for statement in account.statements:
        if statement.script != script:
            script, role = statement.script, owner
        if statement.kind == "use role":
            role = statement.facts["role"]
        account.made_as.append((statement, role))
        _take(account, statement)
    return account


_NAMED_BY = {
    "storage integration": "integration",
    "notification integration": "integration",
    "masking policy": "policy",
    "row access policy": "policy",
    "file format": "format",
    "task that calls": "task",
    "task of a stream": "task",
    "database role": "role",
}
_DEFINES = (
    *("role", "database role", "user", "database", "schema", "warehouse", "monitor"),
    *("storage integration", "notification integration", "file format", "stage", "table", "tag"),
    *("masking policy", "row access policy", "procedure", "stream", "pipe"),
    *("task that calls", "task of a stream"),
)


def _take(account: Account, statement: Statement) -> None:
    kind, facts = statement.kind, statement.facts
    if kind in _DEFINES:
        named_by = _NAMED_BY.get(kind, kind)
        defined = kind if kind == "database role" else named_by
        account.defined[defined].add(facts[named_by])
    match kind:
        case "grant role" | "grant database role" if facts["to_kind"] != "user":
            account.parents[facts["role"]].add(facts["to"])
        case "grant":
            privileges = tuple(facts["privileges"].split(", "))
            account.grants.append(Grant(privileges, facts["on"], facts["object"], facts["to"]))
        case "grant on tables":
            privileges = tuple(facts["privileges"].split(", "))
            account.grants.append(Grant(privileges, "tables", facts["object"], facts["to"]))
        case "warehouse" | "warehouse settings":
            account.warehouses[facts["warehouse"]] |= properties(facts["properties"])
        case "monitor of warehouse":
            account.monitor_of[facts["warehouse"]] = facts["monitor"]
        case "mask of tag":
            account.policy_of[facts["tag"]] = facts["policy"]
        case "masking policy" | "row access policy" | "body":
            account.bodies[facts["policy"]].add(facts["body"])
        case "tag of column":
            account.tag_of[facts["table"], facts["column"]] = facts["tag"]
        case "table" | "column":
            account.tables[facts["table"]] |= columns(facts["columns"])
        case _:
            pass


def check(account: Account, protected: Iterable[ProtectedColumn]) -> list[str]:
    """Everything that is wrong, in words that name the object; empty if nothing is."""
    found = [problem for rule in RULES for problem in rule(account)]
    return [*found, *_unmasked(account, protected)]


def refuse(problems: Collection[str]) -> None:
    """Raise ConfigurationError if there are problems."""
    if problems:
        raise ConfigurationError(
            f"The set-up is not run: {len(problems)} problem(s). " + " ".join(problems)
        )


# ------------------------------------------------------------------------------------------- rules

_USES = (
    *("role", "user", "warehouse", "monitor", "integration", "schema", "stage", "format"),
    *("table", "stream", "tag", "policy", "procedure", "task", "pipe"),
)
"""Facts of a statement that name a thing of that kind."""
_IN_SCHEMAS = ("table", "stage", "format", "tag", "policy", "procedure", "task", "stream", "pipe")
_INSIDE = re.compile(r"\b\w+\.(?!information_schema\b)\w+\.\w+\b")


def undefined_names(account: Account) -> Iterator[str]:
    """Whatever a statement uses has been created before, bodies of tasks and the like included."""
    known: dict[str, set[str]] = defaultdict(set, {"role": {*_SYSTEM_ROLES, *_USAGE_ROLES}})
    # The first file gives its user a warehouse that it creates two paragraphs later.
    known["warehouse"] = set(account.defined["warehouse"])
    for statement in account.statements:
        facts = statement.facts
        if statement.kind in _DEFINES:
            named_by = _NAMED_BY.get(statement.kind, statement.kind)
            known[named_by].add(facts[named_by])
        used = [(kind, facts[kind]) for kind in _USES if facts.get(kind)]
        used += [
            ("schema", facts[kind].rpartition(".")[0]) for kind in _IN_SCHEMAS if facts.get(kind)
        ]
        if "to" in facts:
            used.append(("user" if facts["to_kind"] == "user" else "role", facts["to"]))
        if "object" in facts:
            used.append((_kind_of_object(facts), facts["object"]))
        for kind, name in dict.fromkeys(used):
            if name not in known[kind]:
                yield f"{statement.script}: {kind} {name} is used before anything creates it."
        names = set().union(*known.values())
        for name in sorted(set(_INSIDE.findall(facts.get("body", ""))) - names):
            yield f"{statement.script}: {name} is used inside of a body, and nothing creates it."


def _kind_of_object(facts: Mapping[str, str]) -> str:
    on = facts.get("on") or facts.get("what", "schema" if "." in facts["object"] else "database")
    return {"file format": "format", "resource monitor": "monitor"}.get(on, on)


def roles_end_at_sysadmin(account: Account) -> Iterator[str]:
    """What no administrator inherits, nobody can hand on or take back."""
    for role in sorted(account.defined["role"]):
        if SYSADMIN not in account.above(role):
            yield f"Role {role} is not granted to a role that ends at SYSADMIN."
    for role in sorted(account.defined["database role"]):
        if SYSADMIN not in account.above(role):
            yield f"Database role {role} is granted to no role that ends at SYSADMIN."


def warehouses_suspend(account: Account) -> Iterator[str]:
    """Compute that nobody uses stops by itself, and starts when it is needed."""
    for name, found in sorted(account.warehouses.items()):
        if not 0 < int(found.get("auto_suspend", 0)) <= 600:
            yield f"Warehouse {name} has no auto_suspend of 600 seconds or less."
        for needed in ("auto_resume", "statement_timeout_in_seconds", "scaling_policy"):
            if needed not in found:
                yield f"Warehouse {name} has no {needed}."


def warehouses_are_monitored(account: Account) -> Iterator[str]:
    """Each has a quota."""
    for name in sorted(account.defined["warehouse"] - account.monitor_of.keys()):
        yield f"Warehouse {name} has no resource monitor."


def accountadmin_runs_the_first_file_only(account: Account) -> Iterator[str]:
    """And creates nothing there but what no other role can."""
    allowed = (
        *("use role", "role", "user", "key", "no key", "grant role", "grant on account"),
        *("monitor", "quota", "monitor of warehouse"),
    )
    for statement, role in account.made_as:
        if role != ACCOUNTADMIN:
            continue
        said = " ".join(statement.text.split())[:80]
        if statement.script != FIRST:
            yield f"{statement.script}: runs as ACCOUNTADMIN, as only {FIRST} may: {said}"
        elif statement.kind not in allowed and statement.facts.get("role") not in _USAGE_ROLES:
            yield f"{statement.script}: needs no ACCOUNTADMIN: {said}"


def nothing_is_granted_to_system_roles(account: Account) -> Iterator[str]:
    """Privileges lie with roles of our own."""
    for grant in account.grants:
        if grant.to in (*_SYSTEM_ROLES, "public"):
            yield f"{', '.join(grant.privileges)} on {grant.object} is granted to {grant.to}."


def analysts_read_marts_only(account: Account) -> Iterator[str]:
    """No way leads from an analyst to a layer that holds personal data, by inheritance either."""
    for role in sorted(account.defined["role"]):
        if not _ANALYST.fullmatch(role):
            continue
        held = account.below(role)
        for usage in sorted(held & _USAGE_ROLES):
            yield f"Role {role} reads the statements of the account through {usage}."
        for grant in account.grants:
            if grant.to not in held or grant.on not in ("schema", "tables"):
                continue
            if grant.object.rpartition(".")[2] not in _OPEN_TO_ANALYSTS:
                via = "" if grant.to == role else f" through {grant.to}"
                yield (
                    f"Role {role} gets {', '.join(grant.privileges)} on {grant.on} of "
                    f"{grant.object}{via}."
                )
            elif {*grant.privileges} - {"usage", "select"}:
                yield f"Role {role} may change {grant.object} through {grant.to}."


def marts_are_granted_by_their_guard(account: Account) -> Iterator[str]:
    """SELECT on all or future marts would show a table before its row access policy is on it."""
    for grant in account.grants:
        writes = grant.to.endswith("_w") or "ownership" in grant.privileges
        if grant.on == "tables" and grant.object.endswith(".marts") and not writes:
            yield f"{grant.to} reads {grant.object} before its tables have a row access policy."


_KNOWN_FUNCTIONS = frozenset({"IS_ROLE_IN_SESSION"})


def policies_make_sense(account: Account) -> Iterator[str]:
    """Bodies parse, call only what exists, name only roles there are, and are the same twice."""
    roles = {role.upper() for role in account.defined["role"]}
    for policy, bodies in sorted(account.bodies.items()):
        if len(bodies) > 1:
            yield f"Policy {policy} is created with one body and altered to another."
        for body in sorted(bodies):
            yield from _body_problems(policy, body, roles)


def _body_problems(policy: str, body: str, roles: Collection[str]) -> Iterator[str]:
    try:
        tree = sqlglot.parse_one(body, dialect="snowflake")
    except SqlglotError as exc:
        yield f"Body of policy {policy} does not parse: {str(exc).splitlines()[0]}"
        return
    for call in tree.find_all(exp.Anonymous):
        if call.name.upper() not in _KNOWN_FUNCTIONS:
            yield f"Policy {policy} calls {call.name}, which is no function known here."
    for column in tree.find_all(exp.Column):
        if column.name not in ("val", "country"):
            yield f"Policy {policy} names {column.name}, which is none of its arguments."
    for role in sorted(_roles_named_in(tree) - set(roles)):
        yield f"Policy {policy} names role {role}, which nothing creates."
    if not tree.args.get("default"):
        yield f"Policy {policy} has no ELSE: what it does not foresee would be null."


def _roles_named_in(tree: exp.Expr) -> set[str]:
    """Roles that a body compares with, in upper case."""
    named = {
        text.name
        for call in tree.find_all(exp.Anonymous)
        if call.name.upper() == "IS_ROLE_IN_SESSION"
        for text in call.find_all(exp.Literal)
    }
    for test in tree.find_all(exp.In, exp.EQ):
        if isinstance(test.this, exp.CurrentRole):
            named |= {text.name for text in test.find_all(exp.Literal)}
    return named


def tags_mask(account: Account) -> Iterator[str]:
    """A tag without a policy hides nothing."""
    for tag in sorted(account.defined["tag"] - account.policy_of.keys()):
        yield f"Tag {tag} has no masking policy."


def _unmasked(account: Account, protected: Iterable[ProtectedColumn]) -> Iterator[str]:
    for column in protected:
        table = next(
            (t for t in account.tables if t.endswith(f".{column.schema}.{column.table}")), ""
        )
        where = f"{column.schema}.{column.table}.{column.name}"
        tag = account.tag_of.get((table, column.name))
        if tag is None:
            yield f"Column {where} stands for personal data and has no tag."
        elif not tag.endswith(f".{column.tag}"):
            yield f"Column {where} has tag {tag}; expected {column.tag}."
        elif tag not in account.policy_of:
            yield f"Column {where} has no masking policy: its tag {tag} has none."
    for table, name in account.tag_of:
        if name not in account.tables.get(table, {}):
            yield f"Column {table}.{name} is tagged and does not exist."


Rule = Callable[[Account], Iterator[str]]
RULES: tuple[Rule, ...] = (
    undefined_names,
    roles_end_at_sysadmin,
    warehouses_suspend,
    warehouses_are_monitored,
    accountadmin_runs_the_first_file_only,
    nothing_is_granted_to_system_roles,
    analysts_read_marts_only,
    marts_are_granted_by_their_guard,
    policies_make_sense,
    tags_mask,
)
