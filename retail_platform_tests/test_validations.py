"""The list of validations in the dbt docs: what it names exists, and it names what exists.

Codes of the gate are proven by files and rows that earn them; data tests, worked examples and
contracts by the manifest; checks and freshness by the assets.
"""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbt.contracts.graph.manifest import Manifest

from retail_platform.definitions import Platform
from retail_platform.settings import PROJECT_DIR
from retail_platform_tests.builders import csv_text, local_desk, receipts, row
from retail_platform_tests.histories import small_platform

LIST = PROJECT_DIR / "dbt_project/models/docs/validations.md"
FRESHNESS, CONTRACT = " freshness", " contract"
"""How a promise of an asset, or of a model, is told from its checks."""


def kinds(section: str) -> dict[str, list[str]]:
    """Examples by kind of one section of the list."""
    _, _, text = LIST.read_text("utf-8").partition(f"\n## {section}\n")
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| (`[^|]+`) \|$", text.split("\n## ")[0], re.M)
    found = {kind: re.findall(r"`([^`]+)`", examples) for kind, examples in rows}
    assert len(found) == len(rows), "a kind is there twice"
    return found


def examples(section: str) -> set[str]:
    return {name for names in kinds(section).values() for name in names}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path) -> Platform:
    return small_platform(tmp_path_factory.mktemp("home"), dbt_work_dir)


@pytest.fixture(scope="module")
def promises(platform: Platform) -> set[str]:
    """All asset checks, with their asset, and the assets that say how old they may be."""
    graph: Any = platform.definitions.resolve_asset_graph()
    checks = {f"{key.asset_key.to_user_string()} {key.name}" for key in graph.asset_check_keys}
    specs = platform.definitions.resolve_all_asset_specs()
    return checks | {s.key.to_user_string() + FRESHNESS for s in specs if s.freshness_policy}


def test_there_are_many_kinds_each_named_once() -> None:
    sections = [kinds(section) for section in ("Files", "Rows", "Deliveries", "Models")]
    assert len({kind for section in sections for kind in section}) == sum(map(len, sections)) >= 40


def test_a_file_is_refused_for_each_reason_that_is_named(tmp_path: Path) -> None:
    desk = local_desk(tmp_path)
    some = csv_text("transactions", receipts(20))
    stock = csv_text("inventory_movements", [row("inventory_movements")])
    rates = csv_text("fx_rates", [row("fx_rates")], columns=("rate_date", "currency", "rate"))
    files: dict[str, str | bytes] = {
        "unknown_feed_FR_20250111.csv": some,
        "transactions_FR_20990101.csv": some,
        "transactions_CN_20250111.csv.gz": gzip.compress(some.encode())[:-20],
        "transactions_DE_20250111.csv": some + 'INV-DE-021-00000001,1,"',
        "transactions_ES_20250111.csv": some.replace("Quantity,", "", 1),
        "fx_rates_ALL_20250111.csv": rates.replace("\n", ",x\n"),
        "inventory_movements_FR_20250111.csv": stock + "TRL,3,2\n",
        "transactions_PT_20250111.csv": csv_text(
            "transactions", [r | {"quantity": "many"} for r in receipts(20, "PT")]
        ),
    }
    for name, content in files.items():
        desk.deliver(name, content)
    outcome = desk.take_in()
    assert outcome.refused.keys() == files.keys()
    assert {rejection.code for rejection in outcome.refused.values()} == examples("Files")


def test_a_row_goes_to_quarantine_for_each_reason_that_is_named(tmp_path: Path) -> None:
    desk = local_desk(tmp_path)
    good = receipts(60)
    wrong = [
        {"quantity": "two"},
        {"product_id": ""},
        {"invoice_id": "INV-FR-021-1"},
        {"transaction_type": "Gift"},
        {"discount": "1.1", "line_total": "-9.00"},
        {"line_total": "1.00"},
        {"currency": "USD"},
        {"invoice_id": "INV-DE-021-00000001"},
        {"sold_at": "2025-01-12 10:00:00"},
    ]
    bad = [r | changes for r, changes in zip(receipts(9, first=61), wrong, strict=True)]
    desk.deliver("transactions_FR_20250111.csv", csv_text("transactions", good + bad))
    desk.take_in()
    reasons = desk.facts("transactions", "FR|2025-01-11").reasons
    assert reasons.keys() == examples("Rows")


def test_what_is_named_of_deliveries_is_promised_by_assets(promises: set[str]) -> None:
    assert examples("Deliveries") <= promises


def test_what_is_named_of_models_is_tested(manifest: Manifest, promises: set[str]) -> None:
    models = {n.name: n for n in manifest.nodes.values() if n.resource_type == "model"}
    tests = {n.name for n in manifest.nodes.values() if n.resource_type == "test"}
    worked = {example.name for example in manifest.unit_tests.values()}
    enforced = {name + CONTRACT for name, m in models.items() if m.config.contract.enforced}
    assert examples("Models") <= tests | worked | enforced | promises


def test_whatever_there_is_is_of_a_kind_that_is_named(
    manifest: Manifest, promises: set[str]
) -> None:
    listed = examples("Deliveries") | examples("Models")
    tests = {n.name: n for n in manifest.nodes.values() if n.resource_type == "test"}

    def kinds_of(names: set[str]) -> Iterator[str]:
        """The generic test behind a data test, and itself if it is in a file of its own."""
        for test in (tests[name] for name in names & tests.keys()):
            metadata = getattr(test, "test_metadata", None)
            yield metadata.name if metadata else test.name

    assert set(kinds_of(tests.keys())) == set(kinds_of(listed))
    by_itself = {name.split(" ")[1] for name in promises if name.split(" ")[1] not in tests}
    assert by_itself == {name.split(" ")[1] for name in listed & promises}
