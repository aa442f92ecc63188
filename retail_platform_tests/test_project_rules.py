"""The rules of dbt-project-evaluator, asked of the parsed project instead of tables in a warehouse.

Each rule lists its offenders. Who offends on purpose stands in `ON_PURPOSE`, with the reason; an
exception that is no longer needed fails like a new offender. For each rule there is a change that
breaks it, because a rule nothing can break says nothing.

Two rules are elsewhere: what sources say, how fresh they are included, is compared with the
contracts of their feeds (test_contracts), and every asset promises freshness (test_definitions).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from pathlib import PurePosixPath
from typing import Any

import pytest
from dbt.contracts.graph.manifest import Manifest

MAX_PARENTS = 7
MAX_LEAVES = 3
MAX_VIEWS_IN_A_ROW = 4
PREFIXES = {
    "staging": ("stg_",),
    "intermediate": ("int_",),
    "marts": ("dim_", "fct_", "rpt_"),
}
"""What names begin with, by layer. Layers are folders."""
GRAIN_TESTS = ("unique_grain", "grain_not_null")
MIN_EXAMPLES = 2
PACKAGE = "retail_platform"

Rule = Callable[[Manifest], Iterator[str]]


# ---------------------------------------------------------------------------- what a manifest says


def models(manifest: Manifest) -> list[Any]:
    return [n for n in manifest.nodes.values() if n.resource_type == "model"]


def layer(model: Any) -> str:
    return PurePosixPath(model.path).parts[0]


def parents(manifest: Manifest, node: Any, kind: str) -> list[Any]:
    """What a node reads: its `model`s or its `source`s."""
    known = {**manifest.nodes, **manifest.sources}
    return [known[i] for i in node.depends_on_nodes if known[i].resource_type == kind]


def children(manifest: Manifest) -> dict[str, list[Any]]:
    """Who reads a model or source, by the name of what is read: models and exposures."""
    read_by: dict[str, list[Any]] = {
        n.name: [] for n in (*models(manifest), *manifest.sources.values())
    }
    for reader in (*models(manifest), *manifest.exposures.values()):
        for kind in ("model", "source"):
            for parent in parents(manifest, reader, kind):
                read_by[parent.name].append(reader)
    return read_by


def data_tests(manifest: Manifest) -> list[Any]:
    return [n for n in manifest.nodes.values() if n.resource_type == "test"]


def generic_tests(manifest: Manifest) -> list[Any]:
    """Those that stand with a model, unlike those in a file of their own."""
    return [t for t in data_tests(manifest) if getattr(t, "attached_node", None)]


# ---------------------------------------------------------------------------------------- modeling


def joins_a_source_to_models(manifest: Manifest) -> Iterator[str]:
    for model in models(manifest):
        if parents(manifest, model, "source") and parents(manifest, model, "model"):
            yield model.name


def reads_a_source_beyond_staging(manifest: Manifest) -> Iterator[str]:
    for model in models(manifest):
        if layer(model) != "staging" and parents(manifest, model, "source"):
            yield model.name


def reads_several_sources(manifest: Manifest) -> Iterator[str]:
    for model in models(manifest):
        if len(parents(manifest, model, "source")) > 1:
            yield model.name


def stages_what_is_modeled(manifest: Manifest) -> Iterator[str]:
    """A staging model of another model, of whichever layer."""
    for model in models(manifest):
        if layer(model) == "staging" and parents(manifest, model, "model"):
            yield model.name


def is_staged_several_times(manifest: Manifest) -> Iterator[str]:
    read_by = children(manifest)
    for source in manifest.sources.values():
        if len(read_by[source.name]) > 1:
            yield source.name


def is_an_unused_source(manifest: Manifest) -> Iterator[str]:
    read_by = children(manifest)
    for source in manifest.sources.values():
        if not read_by[source.name]:
            yield source.name


def is_a_source_declared_twice(manifest: Manifest) -> Iterator[str]:
    times = Counter(s.relation_name for s in manifest.sources.values())
    for source in manifest.sources.values():
        if times[source.relation_name] > 1:
            yield source.name


def has_no_parents(manifest: Manifest) -> Iterator[str]:
    for model in models(manifest):
        if not model.depends_on_nodes:
            yield model.name


def names_a_table_itself(manifest: Manifest) -> Iterator[str]:
    """SQL with `from schema.table` in it; macros are SQL too."""
    macros = [m for m in manifest.macros.values() if m.package_name == PACKAGE]
    for node in (*models(manifest), *macros):
        sql = node.raw_code if node.resource_type == "model" else node.macro_sql
        sql = re.sub(r"--.*|\{#.*?#\}", "", sql)
        read = re.findall(r"(?i)(?<!distinct )\b(?:from|join)\s+([\w\"`]+)\.[\w\"`]", sql)
        # `is distinct from restated.day` and `extract(... from cte.day)` name a step, not a schema
        steps = set(re.findall(r"(?i)(?:\bas\s+(\w+))|(?:(\w+)\s+as\s+\()", sql))
        if set(read) - {step for found in steps for step in found}:
            yield node.name


def joins_too_much(manifest: Manifest) -> Iterator[str]:
    for model in models(manifest):
        if len(set(model.depends_on_nodes)) > MAX_PARENTS:
            yield model.name


def fans_out(manifest: Manifest) -> Iterator[str]:
    """A model behind which more than a few others end the graph."""
    read_by = {
        name: [r for r in readers if r.resource_type == "model"]
        for name, readers in children(manifest).items()
    }
    for model in models(manifest):
        if sum(not read_by[reader.name] for reader in read_by[model.name]) > MAX_LEAVES:
            yield model.name


def rejoins_what_it_came_from(manifest: Manifest) -> Iterator[str]:
    """Reads a model and one made of it that nobody else reads, so two steps could be one."""
    read_by = children(manifest)
    for model in models(manifest):
        direct = parents(manifest, model, "model")
        for between in direct:
            alone = [reader.name for reader in read_by[between.name]] == [model.name]
            if alone and any(p in direct for p in parents(manifest, between, "model")):
                yield model.name


# ------------------------------------------------------------------------------------- performance


def is_a_view_on_views(manifest: Manifest) -> Iterator[str]:
    def views(model: Any) -> int:
        """Length of the longest chain of views that ends here."""
        if model.config.materialized not in ("view", "ephemeral"):
            return 0
        return 1 + max(map(views, parents(manifest, model, "model")), default=0)

    for model in models(manifest):
        if views(model) >= MAX_VIEWS_IN_A_ROW:
            yield model.name


def exposes_what_is_no_table(manifest: Manifest) -> Iterator[str]:
    for exposure in manifest.exposures.values():
        read = parents(manifest, exposure, "model")
        views = [m for m in read if m.config.materialized in ("view", "ephemeral")]
        if views or parents(manifest, exposure, "source"):
            yield exposure.name


# ----------------------------------------------------------------------------------------- testing


def has_no_test_of_its_grain(manifest: Manifest) -> Iterator[str]:
    """Two rows may share the grain, or a column of it may be null."""
    grains: dict[str, dict[str, set[str]]] = {}
    for test in generic_tests(manifest):
        if test.test_metadata.name in GRAIN_TESTS:
            columns = set(test.test_metadata.kwargs["columns"])
            grains.setdefault(test.attached_node, {})[test.test_metadata.name] = columns
    for model in models(manifest):
        unique, filled = (grains.get(model.unique_id, {}).get(test, set()) for test in GRAIN_TESTS)
        if not unique or not filled or not unique <= set(model.columns):
            yield model.name
        else:
            yield from (f"{model.name}.{column}" for column in unique - filled)


def has_no_test_beyond_its_grain(manifest: Manifest) -> Iterator[str]:
    """A model that computes something, of which no data test or worked example looks at a value."""
    looked_at = {i for example in manifest.unit_tests.values() for i in example.depends_on.nodes}
    for test in data_tests(manifest):
        if getattr(test, "test_metadata", None) is None or (
            test.test_metadata.name not in GRAIN_TESTS
        ):
            looked_at.update(test.depends_on_nodes)
    for model in models(manifest):
        if layer(model) in ("intermediate", "marts") and model.unique_id not in looked_at:
            yield model.name


def has_few_worked_examples(manifest: Manifest) -> Iterator[str]:
    """A fact or report of which fewer than two results were worked out by hand."""
    examples = Counter(example.model for example in manifest.unit_tests.values())
    for model in models(manifest):
        if model.name.startswith(("fct_", "rpt_")) and examples[model.name] < MIN_EXAMPLES:
            yield model.name


# ----------------------------------------------------------------------------------- documentation


def is_undescribed(manifest: Manifest) -> Iterator[str]:
    for node in (
        *models(manifest),
        *manifest.sources.values(),
        *manifest.exposures.values(),
        *manifest.semantic_models.values(),
        *manifest.metrics.values(),
    ):
        if not node.description.strip():
            yield node.name


def has_undescribed_columns(manifest: Manifest) -> Iterator[str]:
    for node in (*models(manifest), *manifest.sources.values()):
        if not node.columns or not all(c.description.strip() for c in node.columns.values()):
            yield node.name


def belongs_to_an_undescribed_source(manifest: Manifest) -> Iterator[str]:
    for source in manifest.sources.values():
        if not source.source_description.strip():
            yield source.name


# --------------------------------------------------------------------------------------- structure


def is_named_unlike_its_layer(manifest: Manifest) -> Iterator[str]:
    for model in models(manifest):
        if not model.name.startswith(PREFIXES.get(layer(model), ())):
            yield model.name


def is_in_another_folder_than_its_schema(manifest: Manifest) -> Iterator[str]:
    for model in models(manifest):
        folder = str(PurePosixPath(model.path).parent)
        if not folder == model.schema == model.meta["dagster"]["group"]:
            yield model.name


def is_described_elsewhere(manifest: Manifest) -> Iterator[str]:
    """The columns, data tests and worked examples of a model are in one file beside it."""
    for model in models(manifest):
        beside = str(PurePosixPath(model.original_file_path).with_suffix(".yml"))
        tests = [t for t in generic_tests(manifest) if t.attached_node == model.unique_id]
        examples = [u for u in manifest.unit_tests.values() if u.model == model.name]
        files = {node.original_file_path for node in (*tests, *examples)}
        if model.patch_path != f"{PACKAGE}://{beside}" or files - {beside}:
            yield model.name


def is_a_source_outside_staging(manifest: Manifest) -> Iterator[str]:
    for source in manifest.sources.values():
        if source.original_file_path != f"models/staging/_{source.source_name}__sources.yml":
            yield source.name


# -------------------------------------------------------------------------------------- governance


def has_no_contract(manifest: Manifest) -> Iterator[str]:
    for model in models(manifest):
        types = [column.data_type for column in model.columns.values()]
        if not model.config.contract.enforced or not types or not all(types):
            yield model.name


def has_no_owner(manifest: Manifest) -> Iterator[str]:
    for model in models(manifest):
        if not model.meta["dagster"].get("owners"):
            yield model.name
    for exposure in manifest.exposures.values():
        if not (exposure.owner.name or exposure.owner.email):
            yield exposure.name


def is_public_beside_the_marts(manifest: Manifest) -> Iterator[str]:
    """What others build on is the marts, all of them, and nothing but them."""
    for model in models(manifest):
        if (model.access == "public") != (layer(model) == "marts"):
            yield model.name


def exposes_what_is_not_public(manifest: Manifest) -> Iterator[str]:
    for exposure in manifest.exposures.values():
        if any(m.access != "public" for m in parents(manifest, exposure, "model")):
            yield exposure.name


# ------------------------------------------------------------------------ exceptions, with reasons

LEDGER = "the ledger counts rows of files, which staging models do not know: it is no feed"
NO_SIZE = "accessories have no size"
NO_GROUP = "articles without a group are one group; their contract keeps them out"
REPORTS = "reports are what the project delivers, and each is made of facts and dimensions"
ON_PURPOSE: dict[Rule, dict[str, str]] = {
    joins_a_source_to_models: {"rpt_transactions_lifecycle": LEDGER},
    reads_a_source_beyond_staging: {"rpt_transactions_lifecycle": LEDGER},
    is_named_unlike_its_layer: {"time_spine": "the semantic layer's own word for such a table"},
    has_no_test_of_its_grain: {
        "fct_inventory_daily.size": NO_SIZE,
        "int_inventory_monthly.size": NO_SIZE,
        "fct_shop_sales_daily.store_key": "the web shop is none of the shops",
        "rpt_reorder_alerts.size": NO_SIZE,
        "rpt_stock.size": NO_SIZE,
        "rpt_price_elasticity.category": NO_GROUP,
        "rpt_price_elasticity.sub_category": NO_GROUP,
        "rpt_product_performance.product_id": "lines that name no article are sales too",
    },
    fans_out: {"fct_sales": REPORTS, "dim_product": REPORTS},
    rejoins_what_it_came_from: {
        "dim_customer": "whose a contact is, is a history by contact; the dimension has persons",
    },
}


# ----------------------------------------------------------------------- changes that break a rule


def node(manifest: Manifest, name: str) -> Any:
    """A part of the manifest, as a copy that may be changed."""
    for kind in ("nodes", "sources", "exposures", "macros"):
        known = getattr(manifest, kind)
        for unique_id, found in known.items():
            if found.name == name:
                setattr(manifest, kind, {**known, unique_id: (changed := deepcopy(found))})
                return changed
    raise KeyError(name)


def reads(reader: str, *read: str) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        changed = node(manifest, reader)
        changed.depends_on.nodes += [node(manifest, name).unique_id for name in read]

    return change


def reads_nothing(reader: str) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        node(manifest, reader).depends_on.nodes = []

    return change


def says(name: str, path: str, value: object) -> Callable[[Manifest], None]:
    """Another value of an attribute: of the node, or of what the dots lead to."""

    def change(manifest: Manifest) -> None:
        *way, last = path.split(".")
        at: Any = node(manifest, name)
        for step in way:
            at = at[step] if isinstance(at, dict) else getattr(at, step)
        if isinstance(at, dict):
            at[last] = value
        else:
            setattr(at, last, value)

    return change


def loses(name: str) -> Callable[[Manifest], None]:
    """A test that is no longer there."""

    def change(manifest: Manifest) -> None:
        unique_id = node(manifest, name).unique_id
        manifest.nodes = {i: n for i, n in manifest.nodes.items() if i != unique_id}

    return change


def all_of(*changes: Callable[[Manifest], None]) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        for one in changes:
            one(manifest)

    return change


def says_in_sql(name: str, sql: str) -> Callable[[Manifest], None]:
    return says(name, "raw_code", f"select * from {sql}")


def has_no_test_but_of_its_grain(name: str) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        unique_id = node(manifest, name).unique_id
        manifest.nodes = {
            i: n
            for i, n in manifest.nodes.items()
            if n.resource_type != "test"
            or unique_id not in n.depends_on_nodes
            or n.name.startswith(f"{name}__grain__")
        }
        manifest.unit_tests = {i: u for i, u in manifest.unit_tests.items() if u.model != name}

    return change


def has_examples(name: str, left: int) -> Callable[[Manifest], None]:
    """A model that keeps the first few of its worked examples."""

    def change(manifest: Manifest) -> None:
        of_model = [i for i, u in manifest.unit_tests.items() if u.model == name]
        manifest.unit_tests = {
            i: u for i, u in manifest.unit_tests.items() if i not in of_model[left:]
        }

    return change


VIEWS = ("stg_transactions", "int_sales", "fct_sales", "rpt_daily_sales")
BREAKS: list[tuple[Rule, Callable[[Manifest], None], str]] = [
    (joins_a_source_to_models, reads("int_sales", "transactions"), "int_sales"),
    (reads_a_source_beyond_staging, reads("dim_date", "transactions"), "dim_date"),
    (reads_several_sources, reads("stg_stores", "partner_stores"), "stg_stores"),
    (stages_what_is_modeled, reads("stg_stores", "stg_partner_stores"), "stg_stores"),
    (stages_what_is_modeled, reads("stg_stores", "dim_store"), "stg_stores"),
    (is_staged_several_times, reads("stg_partner_stores", "stores"), "stores"),
    (is_an_unused_source, reads_nothing("stg_weather"), "weather"),
    (
        is_a_source_declared_twice,
        says("stores", "relation_name", '"warehouse"."raw"."weather"'),
        "weather",
    ),
    (has_no_parents, reads_nothing("dim_date"), "dim_date"),
    (names_a_table_itself, says_in_sql("dim_date", "raw.transactions"), "dim_date"),
    (names_a_table_itself, says_in_sql("dim_date", '"db"."raw"."transactions"'), "dim_date"),
    (
        names_a_table_itself,
        says_in_sql("dim_date", "days\njoin marts.fct_sales as sales on true"),
        "dim_date",
    ),
    (
        names_a_table_itself,
        says("versions_of_touched_keys", "macro_sql", "select * from staging.stg_stores"),
        "versions_of_touched_keys",
    ),
    (
        joins_too_much,
        reads("rpt_returns", *(f"dim_{d}" for d in
              ("date", "store", "product", "promotion", "supplier", "employee", "customer"))),
        "rpt_returns",
    ),
    (
        fans_out,
        all_of(*(reads(f"rpt_{r}", "stg_weather") for r in
                 ("returns", "rfm", "size_curve", "top_stores"))),
        "stg_weather",
    ),
    (
        rejoins_what_it_came_from,
        all_of(
            reads_nothing("dim_date"), reads("dim_date", "int_weather", "stg_weather"),
            reads_nothing("rpt_weather_effect"),
        ),
        "dim_date",
    ),
    (
        is_a_view_on_views,
        all_of(*(says(name, "config.materialized", "view") for name in VIEWS)),
        "rpt_daily_sales",
    ),
    (exposes_what_is_no_table, says("fct_sales", "config.materialized", "view"), "demo"),
    (exposes_what_is_no_table, reads("demo", "transactions"), "demo"),
    (has_no_test_of_its_grain, loses("dim_date__grain__unique"), "dim_date"),
    (has_no_test_of_its_grain, loses("dim_date__grain__not_null"), "dim_date"),
    (
        has_no_test_of_its_grain,
        says("dim_date__grain__not_null", "test_metadata.kwargs.columns", ["country"]),
        "dim_date.business_date",
    ),
    (has_no_test_of_its_grain, says("dim_date", "columns", {}), "dim_date"),
    (has_no_test_beyond_its_grain, has_no_test_but_of_its_grain("rpt_gmroi"), "rpt_gmroi"),
    (has_few_worked_examples, has_examples("rpt_gmroi", 1), "rpt_gmroi"),
    (has_few_worked_examples, has_examples("fct_sales", 0), "fct_sales"),
    (is_undescribed, says("dim_date", "description", " "), "dim_date"),
    (is_undescribed, says("stores", "description", ""), "stores"),
    (is_undescribed, says("demo", "description", ""), "demo"),
    (has_undescribed_columns, says("dim_date", "columns.country.description", ""), "dim_date"),
    (has_undescribed_columns, says("stores", "columns.city.description", ""), "stores"),
    (belongs_to_an_undescribed_source, says("stores", "source_description", ""), "stores"),
    (is_named_unlike_its_layer, says("dim_date", "path", "intermediate/dim_date.sql"), "dim_date"),
    (is_named_unlike_its_layer, says("dim_date", "name", "date"), "date"),
    (is_in_another_folder_than_its_schema, says("dim_date", "schema", "staging"), "dim_date"),
    (
        is_in_another_folder_than_its_schema,
        says("dim_date", "path", "marts/dates/dim_date.sql"),
        "dim_date",
    ),
    (
        is_described_elsewhere,
        says("dim_date__grain__unique", "original_file_path", "models/marts/dim_store.yml"),
        "dim_date",
    ),
    (
        is_described_elsewhere,
        says("dim_date", "patch_path", "retail_platform://models/marts/schema.yml"),
        "dim_date",
    ),
    (
        is_a_source_outside_staging,
        says("stores", "original_file_path", "models/marts/_raw__sources.yml"),
        "stores",
    ),
    (has_no_contract, says("dim_date", "config.contract.enforced", False), "dim_date"),
    (has_no_contract, says("dim_date", "columns.country.data_type", None), "dim_date"),
    (has_no_owner, says("dim_date", "meta.dagster.owners", []), "dim_date"),
    (has_no_owner, says("demo", "owner.name", None), "demo"),
    (is_public_beside_the_marts, says("int_sales", "access", "public"), "int_sales"),
    (is_public_beside_the_marts, says("fct_sales", "access", "protected"), "fct_sales"),
    (exposes_what_is_not_public, reads("demo", "int_sales"), "demo"),
]  # fmt: skip
RULES = list(dict.fromkeys(rule for rule, _, _ in BREAKS))


def test_every_rule_can_be_broken() -> None:
    defined = {
        f
        for f in globals().values()
        if getattr(f, "__annotations__", None) == {"manifest": Manifest, "return": Iterator[str]}
    }
    assert defined == set(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_nobody_offends_but_on_purpose(rule: Rule, manifest: Manifest) -> None:
    assert set(rule(manifest)) == set(ON_PURPOSE.get(rule, ()))


@pytest.mark.parametrize(
    ("rule", "change", "offender"),
    [pytest.param(*b, id=f"{n}-{b[0].__name__}") for n, b in enumerate(BREAKS)],
)
def test_a_change_for_the_worse_is_found(
    rule: Rule, change: Callable[[Manifest], None], offender: str, manifest: Manifest
) -> None:
    changed = copy(manifest)
    change(changed)
    assert set(rule(changed)) - set(rule(manifest)) >= {offender}
