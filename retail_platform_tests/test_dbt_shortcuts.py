"""dbt with shortcuts does what dbt does: same nodes, same results, same messages that anyone hears.

A release of dbt that moves one of the places they replace fails here.
"""

import io
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import jinja2
import pytest
from dbt.adapters.duckdb import DuckDBAdapter
from dbt.clients.jinja import MacroGenerator, MacroStack
from dbt.compilation import Compiler, Linker
from dbt.context.base import BaseContext
from dbt.context.macros import MacroNamespace
from dbt.contracts.graph.manifest import Manifest
from dbt.events.types import LogTestResult, MainEncounteredError
from dbt.graph import Graph
from dbt.graph.selector import NodeSelector
from dbt.graph.selector_methods import QualifiedNameSelectorMethod
from dbt.plugins.manager import PluginManager
from dbt_common.behavior_flags import BehaviorFlagRendered
from dbt_common.clients import agate_helper
from dbt_common.clients.jinja import get_environment
from dbt_common.events import functions
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager
from dbt_common.events.logger import LoggerConfig
from dbt_common.events.types import Note, PrintEvent

from retail_platform.settings import PROJECT_DIR
from retail_platform.transform.dbt_project import DbtProject, NodeResult
from retail_platform.transform.dbt_shortcuts import shortcuts, take_shortcuts

CALLERS = {
    "_default_source": BehaviorFlagRendered.__init__,
    "get_prefixed_modules": PluginManager.from_modules,
    "get_graph_summary": Compiler.compile,
    "link_graph": Compiler.compile,
    "add_test_edges": Compiler.compile,
    "get_subset_graph": NodeSelector.get_graph_queue,
    "node_is_match": QualifiedNameSelectorMethod.search,
    "compile": jinja2.Environment.from_string,
    "get_context_modules": BaseContext.modules.fget,
    "fire_event": functions.fire_event,
    "write_node": Compiler._write_node,
    "build_type_tester": agate_helper.table_from_rows,
}


@pytest.fixture(autouse=True, scope="module")
def taken() -> None:
    take_shortcuts()


@contextmanager
def dbt_as_it_is() -> Iterator[None]:
    """Without shortcuts, but for the one that only a caller could see."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, _ in shortcuts():
            if name != "_default_source":
                patch.setattr(owner, name, getattr(owner, name).__wrapped__)
        yield


def project_over(path: Path, dbt_work_dir: Path) -> DbtProject:
    folder = PROJECT_DIR / "dbt_project"
    return DbtProject(folder, dbt_work_dir, "duckdb", {"RETAIL_DUCKDB_PATH": str(path)})


def test_dbt_has_every_place_that_is_replaced_and_uses_it() -> None:
    for owner, name, _ in shortcuts():
        assert hasattr(getattr(owner, name), "is_shortcut"), name
    for name, caller in CALLERS.items():
        assert name in caller.__code__.co_names, name
    assert {"pb_msg", "ParseDict"} <= set(BaseEvent.__init__.__wrapped__.__code__.co_names)  # type: ignore[attr-defined]


def test_names_select_the_same_nodes(manifest: Manifest) -> None:
    nodes = list(manifest.nodes.values())
    selectors = [
        *(node.name for node in nodes[:40]),
        *("marts", "retail_platform", "staging.stg_stores", "retail_platform.marts", "fct", "*"),
        *("stg_*", "marts.fct_?ales", "not_there", "stg_store", "models.v1"),
    ]
    method = QualifiedNameSelectorMethod(manifest, None, [])
    everything = set(manifest.nodes)
    found = {selector: set(method.search(everything, selector)) for selector in selectors}
    with dbt_as_it_is():
        assert found == {s: set(method.search(everything, s)) for s in selectors}
    assert found["staging.stg_stores"]
    assert not found["not_there"]
    versions = [["p", "m", "v1"], ["p", "folder", "m", "v2"]]
    for name in ("m", "m.v1", "m_v1", "v1"):
        for fqn in versions:
            expected = QualifiedNameSelectorMethod.node_is_match.__wrapped__  # type: ignore[attr-defined]
            assert method.node_is_match(name, fqn, True) == expected(method, name, fqn, True)


def test_a_project_is_linked_once_and_anew_when_it_has_changed(
    manifest: Manifest, dbt_work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a command would have set.
    flags = SimpleNamespace(USE_FAST_TEST_EDGES=False)
    monkeypatch.setattr("dbt.compilation.get_flags", lambda: flags)

    def linked(project: Manifest) -> tuple[set[Any], set[Any]]:
        linker = Linker()
        linker.link_graph(project)
        found = set(linker.nodes()), set(linker.edges())
        project.build_parent_and_child_maps()
        linker.add_test_edges(project)  # as `dbt build` does, in a graph of its own
        assert set(linker.edges()) > found[1]
        return found

    project = project_over(Path("warehouse.duckdb"), dbt_work_dir).parsed()
    with dbt_as_it_is():
        expected = linked(project)
    assert linked(project) == linked(project) == expected
    test = next(i for i, node in project.nodes.items() if node.resource_type == "test")
    del project.nodes[test]
    assert linked(project)[0] == expected[0] - {test}
    assert linked(manifest) == expected


def test_a_graph_of_few_nodes_has_the_same_edges(manifest: Manifest) -> None:
    linker = Linker()
    linker.link_graph(manifest)
    graph = Graph(linker.graph)
    models = sorted(node for node in linker.nodes() if node.startswith("model."))
    chance = random.Random(1)
    selections = [
        *([model] for model in models[:5]),
        *(chance.sample(models, n) for n in (2, 5, 20, 60)),
        models,
        chance.sample(sorted(linker.nodes()), 200),
        [],
    ]

    def kept() -> list[tuple[list[str], set[Any]]]:
        found = [graph.get_subset_graph(selection).graph for selection in selections]
        return [(list(each.nodes), set(each.edges)) for each in found]

    ours = kept()
    with dbt_as_it_is():
        assert ours == kept()
    assert ours[-3][1], "models of models"
    for subset in (graph.get_subset_graph, Graph.get_subset_graph.__wrapped__.__get__(graph)):  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="disabled"):
            subset([*models, "model.retail_platform.no_such"])


def lines_of(manager: EventManager, level: EventLevel, events: Sequence[tuple[Any, Any]]) -> str:
    stream = io.StringIO()
    manager.loggers.clear()
    manager.add_logger(LoggerConfig(name="heard", level=level, output_stream=stream))
    for event, raised in events:
        manager.fire_event(event, level=raised)
    return "\n".join(line.partition("  ")[2] or line for line in stream.getvalue().splitlines())


@pytest.mark.parametrize("level", list(EventLevel))
def test_the_same_messages_are_heard(level: EventLevel) -> None:
    def events() -> list[tuple[Any, Any]]:
        return [
            (Note(msg="a note"), None),
            (Note(msg="a warning"), EventLevel.WARN),
            (PrintEvent(msg="printed"), None),
            (MainEncounteredError(exc="lost"), None),
            (LogTestResult(name="a test", status="fail", num_failures=3), EventLevel.ERROR),
            (LogTestResult(name="a test", status="pass"), EventLevel.INFO),
        ]

    heard = lines_of(EventManager(), level, events())
    with dbt_as_it_is():
        assert heard == lines_of(EventManager(), level, events())
    assert "lost" in heard


def test_a_message_is_made_when_it_is_read_and_can_be_changed() -> None:
    quiet = Note(msg="never read")
    lines_of(EventManager(), EventLevel.ERROR, [(quiet, None)])
    assert "pb_msg" not in vars(quiet)
    note = Note(msg="one")
    note.msg = "two"
    assert (note.msg, note.message(), note.to_dict()) == ("two", "two", {"msg": "two"})


def test_callbacks_hear_everything() -> None:
    manager, heard = EventManager(), []
    manager.add_callback(lambda message: heard.append(message.info.msg))
    manager.fire_event(Note(msg="a note"))
    assert heard == ["a note"]


def test_a_template_is_rendered_anew_for_each_context_and_kind() -> None:
    text = "{{ 1 | as_text }}{{ x }}"
    for x in ("a", "b"):
        assert get_environment().from_string(text, globals={"x": x}).render({}) == f"1{x}"
    kinds = [get_environment(native=native) for native in (True, False)]
    rendered = [kind.from_string("{{ x }}", globals={"x": 1}).render({}) for kind in kinds]
    assert rendered == [1, "1"]


def test_the_nearest_macro_is_found() -> None:
    """A mark of its place stands for each macro."""
    both, all_three = {"both": "", "all": ""}, {"all": ""}
    places = [
        dict.fromkeys(names, n) for n, names in enumerate((all_three, both, {**both, "it": ""}))
    ]
    namespace = MacroNamespace(places[1], places[0], places[2], {"package": {"it": 3}})
    found = dict(namespace)
    with dbt_as_it_is():
        assert found == dict(MacroNamespace(places[1], places[0], places[2], namespace.packages))
    assert (found["all"], found["both"], found["it"]) == (0, 1, 2)
    with pytest.raises(KeyError):
        namespace["nowhere"]


def test_a_macro_knows_what_it_is_called_with(manifest: Manifest) -> None:
    macro = next(iter(manifest.macros.values()))
    every = [(macro,), (macro, {"x": 1}), (macro, {"x": 1}, object(), MacroStack())]
    known = [vars(MacroGenerator(*given)) for given in every]
    with dbt_as_it_is():
        assert known == [vars(MacroGenerator(*given)) for given in every]


def test_statements_are_in_results_and_not_in_files(tmp_path: Path, manifest: Manifest) -> None:
    node = next(iter(manifest.nodes.values()))
    node.write_node(str(tmp_path), "statement.sql", "select 1")
    assert not list(tmp_path.iterdir())


def test_answers_have_the_same_types() -> None:
    rows = [
        {"n": 1, "day": "2025-01-01", "at": "2025-01-01 10:00:00", "yes": "true", "list": [1]},
        {"n": None, "day": "null", "at": "", "yes": "false", "list": []},
    ]

    def types() -> list[list[tuple[str, str]]]:
        tables = [
            agate_helper.table_from_data_flat(rows, list(rows[0])),
            agate_helper.table_from_data_flat(rows, ["n"]),
            agate_helper.table_from_data_flat([], ["n"]),
            agate_helper.table_from_rows([["1", "2025-01-01"]], ["n", "day"], ["n"]),
            agate_helper.table_from_rows([["1", "2025-01-01"]], ["n", "day"], ["day"]),
            agate_helper.table_from_rows([["1", "2025-01-01"]], ["n", "day"], None),
        ]
        return [
            [
                (name, type(kind).__name__)
                for name, kind in zip(t.column_names, t.column_types, strict=True)
            ]
            for t in tables
        ]

    ours = types()
    with dbt_as_it_is():
        assert ours == types()
    assert len({str(of) for of in ours[-3:]}) == 3
    known = [agate_helper.build_type_tester(columns) for columns in (["n"], {"n"}, ["m"])]
    assert known[0] is known[1] is not known[2]


def test_types_that_a_contract_names_are_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = object.__new__(DuckDBAdapter)
    empty = "select * from ({}) as __dbt_sbq where false limit 0".format
    constants = empty("select cast(null as integer) as n, cast(null as varchar) as name")
    asked: list[str] = []
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute("create table sold as select 1 as n")

        def ask(sql: str) -> tuple[None, duckdb.DuckDBPyConnection]:
            asked.append(sql)
            return None, connection.execute(sql)

        monkeypatch.setattr(
            adapter, "connections", SimpleNamespace(add_select_query=ask), raising=False
        )

        def types(sql: str) -> list[tuple[str, str]]:
            columns = adapter.get_column_schema_from_query(sql)
            return [(column.name, column.dtype) for column in columns]

        found = [types(constants) for _ in (1, 2)]
        assert found == [[("n", "INTEGER"), ("name", "VARCHAR")]] * 2
        assert len(asked) == 1
        # Of a table it is news.
        of_table = [empty("select n from sold"), 'from "sold"']
        assert [types(sql) for sql in of_table] == [[("n", "INTEGER")]] * 2
        connection.execute("create or replace table sold as select 'one' as n")
        assert [types(sql) for sql in of_table] == [[("n", "VARCHAR")]] * 2
        assert len(asked) == 5


def play(home: Path, dbt_work_dir: Path, manifest: Manifest) -> list[NodeResult]:
    """A model that is built twice and one that fails; tests that pass, fail and cannot be run."""
    path = home / "warehouse.duckdb"
    project = project_over(path, dbt_work_dir)
    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema raw")
        columns = manifest.sources["source.retail_platform.raw.stores"].columns.values()
        ddl = ", ".join(f"{column.name} {column.data_type}" for column in columns)
        connection.execute(f"create table raw.stores ({ddl})")
    results = [r for _ in (1, 2) for r in project.run(["stg_stores", "stg_products"], None)]
    with duckdb.connect(str(path)) as connection:
        for _ in (1, 2):
            connection.execute(
                "insert into staging.stg_stores (country, batch_date, store_id) "
                "values ('FR', '2025-01-10', 1)"
            )
    tests = ["stg_stores__grain__unique", "stg_stores__grain__not_null"]
    results += project.test([*tests, "stg_products__grain__unique"], None)
    return sorted((replace(r, seconds=0) for r in results), key=lambda r: r.unique_id)


def test_runs_and_tests_end_the_same(
    tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path, manifest: Manifest
) -> None:
    ended = play(tmp_path_factory.mktemp("short"), dbt_work_dir, manifest)
    with dbt_as_it_is():
        assert ended == play(tmp_path_factory.mktemp("long"), dbt_work_dir, manifest)
    outcomes = [(r.unique_id.split(".")[2], r.status, r.failures) for r in ended]
    assert outcomes == [
        ("stg_products", "error", 0),
        ("stg_products", "error", 0),
        ("stg_stores", "success", 0),
        ("stg_stores", "success", 0),
        ("stg_products__grain__unique", "error", 0),
        ("stg_stores__grain__not_null", "pass", 0),
        ("stg_stores__grain__unique", "fail", 1),
    ]
