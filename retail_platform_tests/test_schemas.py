"""The registry of schemas: how files of a feed were written, told by commands.

That it does not depend on the order of arrivals is in `test_drift`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retail_platform.contract import Drift
from retail_platform.lake.schemas import read_schemas
from retail_platform.operate.schemas import difference, schema_of, seen_schemas
from retail_platform_tests.builders import CONTRACTS, Desk, csv_text, row, unprotected
from retail_platform_tests.test_cli import Said, retail
from retail_platform_tests.test_drift import desk_with, drifting, people, widened

CUSTOMERS = unprotected("customers")
COLUMNS = list(CUSTOMERS.column_by_name)


def respelled(text: str) -> str:
    return text.replace("Customer ID", "customer_id").replace("Job Title", "JOB TITLE")


class TestRegistry:
    def test_one_record_for_all_files_written_alike(self, tmp_path: Path) -> None:
        desk = desk_with(tmp_path)
        for day in (11, 12, 13):
            desk.deliver(f"customers_FR_202501{day}.csv", csv_text("customers", people({})))
        desk.deliver("customers_DE_20250111.csv", csv_text("customers", people({}, country="DE")))
        # Written otherwise: the delimiter, and no header at all.
        text = csv_text("customers", people({}, {}), delimiter=";")
        desk.deliver("customers_FR_20250114.csv", text)
        desk.deliver("customers_FR_20250115.csv", csv_text("customers", people({}), header=False))
        desk.take_in(load=False)
        found = seen_schemas(desk.lake, CUSTOMERS)
        assert [(s.files, dict(s.schema.facts)) for s in found] == [
            (4, {"delimiter": "comma", "encoding": "utf-8", "header": "yes"}),
            (1, {"delimiter": "semicolon", "encoding": "utf-8", "header": "yes"}),
            (1, {"delimiter": "comma", "encoding": "utf-8", "header": "no"}),
        ]
        first, last = found[0].first, found[0].last
        assert first is not None
        assert last is not None
        assert (first.file, str(first.day)) == ("customers_DE_20250111.csv", "2025-01-11")
        assert (last.file, str(last.day)) == ("customers_FR_20250113.csv", "2025-01-13")
        assert found[0].schema.contract_version == CUSTOMERS.version
        assert [c.header for c in found[0].schema.columns] == [c.header for c in CUSTOMERS.columns]
        assert [c.column for c in found[2].schema.columns] == COLUMNS
        assert {c.header for c in found[2].schema.columns} == {""}

    def test_a_file_for_all_countries_counts_once(self, tmp_path: Path) -> None:
        desk = desk_with(tmp_path)
        rows = [row("stores", country, store_id=str(n)) for n, country in ((1, "FR"), (2, "DE"))]
        desk.deliver("stores_ALL_20250111.csv", csv_text("stores", rows))
        desk.take_in(load=False)
        (found,) = seen_schemas(desk.lake, CONTRACTS["stores"])
        assert found.files == 1

    def test_refused_files_leave_no_record(self, tmp_path: Path) -> None:
        desk = desk_with(tmp_path, drifting(Drift.FREEZE))
        desk.deliver("customers_FR_20250111.csv", widened(people({}), points=["1"]))
        desk.deliver(
            "customers_FR_20250112.csv", csv_text("customers", people(*[{"name": ""}] * 11))
        )
        assert len(desk.take_in(load=False).refused) == 2
        assert read_schemas(desk.lake, "customers") == {}

    def test_where_values_of_unknown_columns_went(self, tmp_path: Path) -> None:
        def last_column(drift: Drift) -> tuple[str, str | None, bool]:
            desk = desk_with(tmp_path / drift, drifting(drift))
            desk.deliver("customers_FR_20250111.csv", widened(people({}), myPoints=["1"]))
            desk.take_in(load=False)
            (schema,) = read_schemas(desk.lake, "customers").values()
            found = schema.columns[-1]
            return found.header, found.column, found.evolved

        assert last_column(Drift.RESCUE) == ("myPoints", None, False)
        assert last_column(Drift.EVOLVE) == ("myPoints", "my_points", True)


DIFFERENCES: dict[str, tuple[Callable[[str], str], dict[str, Any]]] = {
    "nothing": (lambda text: text, {}),
    "spelling": (
        respelled,
        {"respelled": [("Customer ID", "customer_id"), ("Job Title", "JOB TITLE")]},
    ),
    "a column more": (
        lambda _: widened(people({}), points=["1"]),
        {"added": ["points"]},
    ),
    "a column less": (
        lambda _: csv_text("customers", people({}), columns=COLUMNS[:-1]),
        {"removed": ["Job Title"]},
    ),
    "the order": (
        lambda _: csv_text("customers", people({}), columns=[*COLUMNS[1:], COLUMNS[0]]),
        {"reordered": [*(c.header for c in CUSTOMERS.columns[1:]), "Customer ID"]},
    ),
    "no header": (lambda _: csv_text("customers", people({}), header=False), {}),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_what_differs_from_the_contract(tmp_path: Path, what: str) -> None:
    change, expected = DIFFERENCES[what]
    desk = desk_with(tmp_path)
    desk.deliver("customers_FR_20250111.csv", change(csv_text("customers", people({}))))
    desk.take_in(load=False)
    (schema,) = read_schemas(desk.lake, "customers").values()
    found = vars(difference(schema_of(CUSTOMERS), schema))
    assert {name: value for name, value in found.items() if value} == expected


def test_the_same_column_under_two_modes_is_the_same(tmp_path: Path) -> None:
    desk = desk_with(tmp_path)
    desk.deliver("customers_FR_20250111.csv", widened(people({}), myPoints=["1"]))
    desk.take_in(load=False)
    desk.contracts = {**desk.contracts, "customers": drifting(Drift.EVOLVE)}
    desk.deliver("customers_FR_20250112.csv", widened(people({}), myPoints=["1"]))
    desk.take_in(load=False)
    one, other = (s.schema for s in seen_schemas(desk.lake, CUSTOMERS))
    assert one != other
    assert difference(one, other).same


class TestCommands:
    @pytest.fixture
    def desk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
        """Three files of customers: as agreed, with a semicolon, and with a column more."""
        monkeypatch.setenv("RETAIL_HOME", str(tmp_path))
        desk = desk_with(tmp_path)
        text = csv_text("customers", people({}))
        desk.deliver("customers_FR_20250111.csv", text)
        desk.deliver("customers_FR_20250112.csv", text.replace(",", ";"))
        desk.deliver("customers_FR_20250113.csv", respelled(widened(people({}), points=["1"])))
        desk.take_in(load=False)
        return desk

    def test_history_lists_schemas_as_they_came_up(self, desk: Desk) -> None:
        said = retail("schema", "history", "customers", "--json")
        assert said.code == 0
        assert [(s["first_seen"]["day"], s["files"]) for s in said.json] == [
            ("2025-01-11", 1), ("2025-01-12", 1), ("2025-01-13", 1),
        ]  # fmt: skip
        newest = said.json[-1]
        assert newest["last_seen"] == {"day": "2025-01-13", "file": "customers_FR_20250113.csv"}
        assert newest["differs_from_contract"]["added"] == ["points"]
        assert newest["columns"][-1] == {"header": "points", "column": None, "evolved": False}
        shown = retail("schema", "history", "customers")
        assert shown.code == 0
        assert "3 schemas of customers; contract" in shown.out
        assert "+ points; Customer ID is spelled customer_id" in shown.out

    def test_a_feed_nobody_delivered_has_no_history(self, desk: Desk) -> None:
        assert retail("schema", "history", "products", "--json").json == []
        nothing = retail("schema", "diff", "products")
        assert (nothing.code, "No schema(s) 'newest' of feed products" in nothing.err) == (2, True)

    def test_diff_compares_the_contract_with_the_newest(self, desk: Desk) -> None:
        said = retail("schema", "diff", "customers")
        assert said.code == 0
        assert "differs from contract 1.0.0:" in said.out
        assert "  + points\n" in said.out
        assert "  Job Title is spelled JOB TITLE\n" in said.out

    def test_diff_of_two_that_were_seen(self, desk: Desk) -> None:
        one, other, _ = (s["schema_id"] for s in retail(
            "schema", "history", "customers", "--json").json)  # fmt: skip
        found = retail("schema", "diff", "customers", one[:6], other, "--json").json
        assert (found["from"], found["to"], found["same"]) == (one, other, False)
        assert found["facts"] == {"delimiter": ["comma", "semicolon"]}
        assert retail("schema", "diff", "customers", one, "contract").out == (
            f"contract {CUSTOMERS.version} is written as {one}\n"
        )

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("history", "client"), "No such feed: client; there are"),
            (("diff", "customers", "zzz"), "No schema(s) 'zzz' of feed customers"),
            (("diff", "customers", ""), "No schema(s) '' of feed customers"),
        ],
    )
    def test_words_that_name_nothing(
        self, desk: Desk, words: tuple[str, ...], message: str
    ) -> None:
        said: Said = retail("schema", *words)
        assert said.code == 2
        assert message in said.err
        assert said.out == ""


def test_a_contract_of_another_version_is_another_schema(tmp_path: Path) -> None:
    desk = desk_with(tmp_path)
    text = csv_text("customers", people({}))
    desk.deliver("customers_FR_20250111.csv", text)
    desk.take_in(load=False)
    desk.contracts = {**CONTRACTS, "customers": replace(CUSTOMERS, version="1.1.0")}
    desk.deliver("customers_FR_20250112.csv", text)
    desk.take_in(load=False)
    versions = [s.schema.contract_version for s in seen_schemas(desk.lake, CUSTOMERS)]
    assert versions == [CUSTOMERS.version, "1.1.0"]
