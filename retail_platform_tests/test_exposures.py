"""The uses of the marts that dbt is told of are the uses that are in the code."""

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from dbt.contracts.graph.manifest import Manifest

from retail_platform.settings import PROJECT_DIR

EVERY = "*"
"""Stands for a mart whose name is known when the code runs."""
OF_THE_BUILD = {
    "retail_platform/assets/business_day.py": "asks facts for rows that lack a rate",
    "retail_platform/assets/specs.py": "tells Dagster at which address marts are",
    "retail_platform/operate/slim_build.py": "asks marts that it has built for their days",
}
"""Code that names marts as a part of building them, which is no use of them."""


def asked_for(file: Path) -> set[str]:
    """Names of marts in the texts of a module, after `from` or a database whose name is known when
    the code runs; constants of the module are put in."""
    module = importlib.import_module(".".join(file.relative_to(PROJECT_DIR).with_suffix("").parts))
    texts = []
    for part in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            texts.append(part.value)
        if isinstance(part, ast.JoinedStr):
            texts.append("".join(_text(value, vars(module)) for value in part.values))
    return {name for text in texts for name in re.findall(r"(?:\bfrom |\*\.)marts\.(\w+|\*)", text)}


def _text(value: ast.expr, constants: dict[str, Any]) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    assert isinstance(value, ast.FormattedValue)
    try:
        return str(eval(ast.unparse(value.value), constants.copy()))
    except (NameError, TypeError):  # a variable of a function, or one called like a constant
        return EVERY


def names(manifest: Manifest, exposure: Any) -> set[str]:
    return {manifest.nodes[i].name for i in exposure.depends_on_nodes}


@pytest.fixture(scope="module")
def readers() -> dict[str, set[str]]:
    """Modules that ask marts for something, and which."""
    found = {}
    for file in (PROJECT_DIR / "retail_platform").rglob("*.py"):
        if "marts." in file.read_text("utf-8") and (marts := asked_for(file)):
            found[str(file.relative_to(PROJECT_DIR))] = marts
    return found


def test_every_module_that_reads_marts_is_exposed(
    manifest: Manifest, readers: dict[str, set[str]]
) -> None:
    exposed = [e.config.meta["read_by"] for e in manifest.exposures.values()]
    assert sorted(exposed) == sorted(readers.keys() - OF_THE_BUILD.keys())
    assert readers.keys() >= OF_THE_BUILD.keys()


def test_an_exposure_names_what_its_code_reads(
    manifest: Manifest, readers: dict[str, set[str]]
) -> None:
    marts = {n.name for n in manifest.nodes.values() if n.schema == "marts"}
    for exposure in manifest.exposures.values():
        read = readers[exposure.config.meta["read_by"]]
        assert names(manifest, exposure) == (marts if EVERY in read else read), exposure.name
