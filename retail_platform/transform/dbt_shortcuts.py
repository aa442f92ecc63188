"""What dbt is kept from doing in this process, because nobody asked for it and it costs CPU time.

Small models and data tests take dbt tens of milliseconds each, of which the database needs two.
All of this reaches into dbt where it publishes nothing. A release that lacks one of these places
is as slow there as without this module, and a test fails.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from typing import Any, NamedTuple


class Shortcut(NamedTuple):
    """One function of a class or module of dbt, and what makes a cheaper one of it."""

    owner: Any
    name: str
    of: Callable[[Callable[..., Any]], Callable[..., Any]]


_TAKEN = "is_shortcut"
"""Attribute of the functions that stand for others."""


def take_shortcuts() -> None:
    """Replace the functions; once that is done, it changes nothing."""
    for owner, name, of in shortcuts():
        original = getattr(owner, name, None)
        if original and not hasattr(original, _TAKEN):
            cheaper = wraps(original)(of(original))
            setattr(cheaper, _TAKEN, True)
            setattr(owner, name, cheaper)


def shortcuts() -> list[Shortcut]:
    """All of them; importing dbt takes seconds."""
    # ruff: noqa: PLC0415
    from dbt.adapters.base import BaseAdapter
    from dbt.adapters.duckdb import DuckDBAdapter
    from dbt.clients.jinja import MacroGenerator
    from dbt.compilation import Linker
    from dbt.context import base
    from dbt.context.macros import MacroNamespace
    from dbt.contracts.graph.nodes import ParsedNode
    from dbt.graph import Graph
    from dbt.graph.selector_methods import QualifiedNameSelectorMethod
    from dbt.plugins.manager import PluginManager
    from dbt_common.behavior_flags import BehaviorFlagRendered
    from dbt_common.clients import agate_helper
    from dbt_common.clients.jinja import MacroFuzzEnvironment
    from dbt_common.events.base_types import BaseEvent
    from dbt_common.events.event_manager import EventManager

    return [
        Shortcut(BehaviorFlagRendered, "_default_source", _no_search_for_a_flags_module),
        Shortcut(PluginManager, "get_prefixed_modules", _one_search_for_plugins),
        Shortcut(Linker, "get_graph_summary", _no_graph_summary),
        Shortcut(Linker, "link_graph", _one_graph_of_a_project),
        Shortcut(Linker, "add_test_edges", _edges_of_a_build_alone),
        Shortcut(Graph, "get_subset_graph", _selected_nodes_alone),
        Shortcut(QualifiedNameSelectorMethod, "node_is_match", _no_second_look_at_other_names),
        Shortcut(MacroFuzzEnvironment, "compile", _each_template_once),
        Shortcut(base, "get_context_modules", _one_list_of_modules),
        Shortcut(MacroNamespace, "__getitem__", _one_look_for_a_macro),
        Shortcut(MacroGenerator, "__init__", _macro_without_ancestors),
        Shortcut(ParsedNode, "write_node", _no_file_of_each_statement),
        Shortcut(agate_helper, "build_type_tester", _one_tester_of_equal_columns),
        Shortcut(BaseAdapter, "get_column_schema_from_query", _one_look_at_types),
        Shortcut(DuckDBAdapter, "get_column_schema_from_query", _one_look_at_types),
        Shortcut(EventManager, "fire_event", _no_event_that_nobody_hears),
        Shortcut(BaseEvent, "__init__", _late_event),
    ]


def _no_search_for_a_flags_module(_: Callable[..., Any]) -> Callable[..., Any]:
    """To name the module that declares a flag, dbt reads the sources of all its callers."""
    return lambda *_: "dbt.adapters.base.impl"


def _one_search_for_plugins(find: Callable[..., Any]) -> Callable[..., Any]:
    """Every command lists all installed modules; none is installed while a process runs."""
    return lru_cache(find)


def _no_graph_summary(_: Callable[..., Any]) -> Callable[..., Any]:
    """Each node of the project is serialized for a diagnostic file, at every command."""
    return lambda *_: {}


def _one_graph_of_a_project(link: Callable[..., Any]) -> Callable[..., Any]:
    """Every command links all nodes and searches them for cycles; a project stays what it is."""
    linked: dict[str, Any] = {}

    def link_graph(self: Any, manifest: Any) -> None:
        nodes = [len(getattr(manifest, kind)) for kind in _LINKED]
        if linked.get("manifest") is not manifest or linked["nodes"] != nodes:
            link(self, manifest)
            linked.update(manifest=manifest, nodes=nodes, graph=self.graph)
        self.graph = linked["graph"]

    return link_graph


def _edges_of_a_build_alone(add: Callable[..., Any]) -> Callable[..., Any]:
    """`dbt build` has tests before models in its graph; other commands share theirs."""

    def add_test_edges(self: Any, manifest: Any) -> None:
        self.graph = self.graph.copy()
        add(self, manifest)

    return add_test_edges


def _selected_nodes_alone(_: Callable[..., Any]) -> Callable[..., Any]:
    """To keep a few nodes of a graph, dbt copies it and removes all others, one by one.

    What is reached over nodes that are not selected is an edge, as there.
    """

    def get_subset_graph(self: Any, selected: Iterable[str]) -> Any:
        wanted = set(selected)
        missing = wanted - self.graph.nodes
        if missing:
            raise ValueError(f"Not in the graph, or disabled: {', '.join(sorted(missing))}.")
        subset = type(self.graph)()
        # in the order of the graph, which is that in which dbt runs what could run at once
        subset.add_nodes_from(node for node in self.graph if node in wanted)
        for node in wanted:
            ahead, seen = list(self.graph.successors(node)), {node}
            while ahead:
                reached = ahead.pop()
                if reached in wanted:
                    subset.add_edge(node, reached)
                elif reached not in seen:
                    seen.add(reached)
                    ahead += self.graph.successors(reached)
        return type(self)(subset)

    return get_subset_graph


_LINKED = (
    *("sources", "nodes", "semantic_models", "exposures", "functions", "metrics"),
    *("unit_tests", "saved_queries"),
)


def _no_second_look_at_other_names(is_match: Callable[..., Any]) -> Callable[..., Any]:
    """Each selected name is compared with all nodes, part by part; few hold it anywhere."""

    def node_is_match(self: Any, name: str, fqn: list[str], is_versioned: bool) -> bool:
        exact = not (is_versioned or set(name) & set("*?[]"))
        if exact and name not in ".".join(fqn):
            return False
        return bool(is_match(self, name, fqn, is_versioned))

    return node_is_match


def _each_template_once(compile_: Callable[..., Any]) -> Callable[..., Any]:
    """The templates of a project are the same in every run, and so is their code."""
    codes: dict[tuple[type, str], Any] = {}

    def compile_once(self: Any, source: Any, *arguments: Any, **options: Any) -> Any:
        if arguments or options or not isinstance(source, str):
            return compile_(self, source, *arguments, **options)
        key = (type(self), source)  # one of dbt's two kinds has other filters
        if key not in codes:
            codes[key] = compile_(self, source)
        return codes[key]

    return compile_once


def _one_list_of_modules(list_: Callable[..., Any]) -> Callable[..., Any]:
    """Templates see the functions of some Python modules, wrapped anew for each node."""
    return lru_cache(list_)


def _one_look_for_a_macro(_: Callable[..., Any]) -> Callable[..., Any]:
    """A node's context holds hundreds of macros, each searched for in five places."""

    def find(self: Any, key: str) -> Any:
        found = vars(self).get("found")
        if found is None:
            found = self.found = {}
            for place in reversed(list(self._search_order())):
                found.update(place)
        return found[key]

    return find


def _macro_without_ancestors(_: Callable[..., Any]) -> Callable[..., Any]:
    """Each of the hundreds of macros of each context goes through three constructors."""

    def __init__(  # noqa: N807
        self: Any, macro: Any, context: Any = None, node: Any = None, stack: Any = None
    ) -> None:
        self.macro = macro
        self.context = context
        self.node = node
        self.stack = stack

    return __init__


def _no_file_of_each_statement(_: Callable[..., Any]) -> Callable[..., Any]:
    """Every statement is written into two files; results carry it, and so do asset checks."""
    return lambda *_: None


def _one_tester_of_equal_columns(build: Callable[..., Any]) -> Callable[..., Any]:
    """For each answer of the database a parser of dates is made, in all its languages."""
    remembered = lru_cache(build)

    def build_type_tester(
        text_columns: Iterable[str], string_null_values: Iterable[str] | None = ("null", "")
    ) -> Any:
        nulls = None if string_null_values is None else tuple(string_null_values)
        return remembered(frozenset(text_columns), nulls)

    return build_type_tester


_FROM = re.compile(r"\bfrom\b(?P<subquery>\s*\()?", re.IGNORECASE)


def _one_look_at_types(ask: Callable[..., Any]) -> Callable[..., Any]:
    """Each time a model is built the database is asked for the types that its contract names.

    Such a query is of constants: its one `from` is that of what dbt puts around all queries.
    """
    known: dict[tuple[type, str], list[Any]] = {}

    def get_column_schema_from_query(self: Any, sql: str) -> list[Any]:
        if [bool(subquery) for subquery in _FROM.findall(sql)] != [True]:
            return list(ask(self, sql))
        key = (type(self), sql)
        if key not in known:
            known[key] = list(ask(self, sql))
        return known[key].copy()

    return get_column_schema_from_query


_UNIMPORTANT = {"debug", "test", "info"}


def _no_event_that_nobody_hears(fire: Callable[..., Any]) -> Callable[..., Any]:
    """Events become messages and lines of text before anybody looks at their level."""
    from dbt.tracking import track_behavior_change_warn
    from dbt_common.events.logger import PRINT_EVENT_NAMES

    def fire_event(self: Any, e: Any, level: Any = None, *arguments: Any, **options: Any) -> None:
        heard = (
            arguments
            or options.get("force_warn_or_error_handling")
            or (level or e.level_tag()).value not in _UNIMPORTANT
            or type(e).__name__ in PRINT_EVENT_NAMES
            or any(logger.level.value in _UNIMPORTANT for logger in self.loggers)
            # dbt's own, which is about warnings
            or any(callback is not track_behavior_change_warn for callback in self.callbacks)
        )
        if heard:
            fire(self, e, level, *arguments, **options)

    return fire_event


def _late_event(make: Callable[..., Any]) -> Callable[..., Any]:
    """The message in an event is made when somebody reads it."""
    from dbt_common.events.base_types import BaseEvent

    def message(self: Any) -> Any:
        parts = vars(self).pop("parts", None)
        if parts:
            arguments, fields = parts
            make(self, *arguments, **fields)
        return vars(self)["pb_msg"]

    def keep(self: Any, value: Any) -> None:
        vars(self)["pb_msg"] = value

    BaseEvent.pb_msg = property(message, keep)

    def __init__(self: Any, *arguments: Any, **fields: Any) -> None:  # noqa: N807
        vars(self)["parts"] = (arguments, fields)

    return __init__
