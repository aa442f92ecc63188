"""Column lineage of the dbt models, read from their compiled SQL.

Computed once per state of the project, when it is parsed; runs and the UI read the result. Which
assets the tables are is not known here: a table is ``schema/table``, as its asset key is.
"""

from collections.abc import Mapping
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

ColumnLineage = dict[str, dict[str, list[tuple[str, str]]]]
"""Model unique id -> column -> (``schema/table``, column) pairs it is computed from."""


def column_lineage(manifest: Mapping[str, Any], compiled: Mapping[str, str]) -> ColumnLineage:
    """Trace every documented column of every model to the tables the model reads.

    Args:
        manifest: dbt's manifest; says which columns tables have.
        compiled: model unique id -> compiled SQL.

    Returns:
        Columns whose SQL cannot be traced are left out: lineage informs, it does not gate.
    """
    schema: dict[str, object] = dict(_schema(manifest))
    found: ColumnLineage = {}
    for unique_id, sql in compiled.items():
        try:
            tree = qualify(
                sqlglot.parse_one(sql, dialect="duckdb"),
                dialect="duckdb",
                schema=schema,
                validate_qualify_columns=False,
                identify=False,
            )
        except SqlglotError:
            continue
        try:
            # All columns at once share what they have in common. Nodes keep whole subqueries:
            # cutting them down to one column is for people who draw them.
            nodes = lineage(
                None, tree, schema, dialect="duckdb", scope=build_scope(tree),
                trim_selects=False, copy=False,
            )  # fmt: skip
        except (SqlglotError, ValueError):
            continue
        documented = manifest["nodes"][unique_id]["columns"]
        columns = {
            name: inputs
            for name in documented
            if name in nodes and (inputs := sorted(_tables(nodes[name])))
        }
        found[unique_id] = columns
    return found


def _schema(manifest: Mapping[str, Any]) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    schema: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    nodes = [n for n in manifest["nodes"].values() if n["resource_type"] == "model"]
    for node in [*nodes, *manifest["sources"].values()]:
        table = node.get("alias") or node["identifier"]
        columns = {c["name"]: c.get("data_type") or "varchar" for c in node["columns"].values()}
        schema.setdefault(node["database"], {}).setdefault(node["schema"], {})[table] = columns
    return schema


def _tables(node: Node) -> set[tuple[str, str]]:
    return {
        (f"{leaf.expression.db}/{leaf.expression.name}", leaf.name.rsplit(".", 1)[-1])
        for leaf in node.walk()
        if isinstance(leaf.expression, exp.Table) and leaf.expression.db
    }
