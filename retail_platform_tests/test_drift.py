"""Columns and values that no contract announced: what each mode of drift makes of them, up to RAW.

Whatever becomes of them is a function of the lake: the order of arrivals and a rebuild change
nothing.
"""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from retail_platform.contract import (
    Drift,
    FeedContract,
    Format,
    is_usable_name,
    read_contract,
)
from retail_platform.errors import ConfigurationError
from retail_platform.gate import gate
from retail_platform.gate.drift import MAX_EVOLVED_COLUMNS, evolved_name
from retail_platform.gate.gate import Gate
from retail_platform.gate.replay import judge_again
from retail_platform.lake.manifest import Manifest
from retail_platform.lake.schemas import read_schemas
from retail_platform.lake.store import MANIFESTS
from retail_platform.transform.dbt_project import DbtProject
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.raw_tables import raw_columns
from retail_platform_tests.builders import (
    CONTRACTS,
    REGISTRY,
    Desk,
    Row,
    csv_text,
    local_desk,
    row,
    unprotected,
)
from retail_platform_tests.histories import Delivery, Installation, Visit, small_platform
from retail_platform_tests.test_contracts import document, ingestion, unclassified, write

CUSTOMERS = unprotected("customers")
"""What unknown columns of protected feeds become is the business of `test_protection`."""

FILE = "customers_FR_20250111.csv"
KEY = "FR|2025-01-11"
NEIGHBOUR = "customers_DE_20250111.csv"
EARLIER = "customers_FR_20250110.csv"


def drifting(drift: Drift, contract: FeedContract = CUSTOMERS) -> FeedContract:
    """A contract under another mode."""
    return replace(contract, ingestion=contract.ingestion.model_copy(update={"drift": drift}))


def desk_with(folder: Path, *contracts: FeedContract) -> Desk:
    """A desk whose contracts are the shipped ones, but for customers and some."""
    own = {c.name: c for c in (CUSTOMERS, *contracts)}
    return local_desk(folder, contracts={**CONTRACTS, **own})


def people(*changes: Row, country: str = "FR") -> list[Row]:
    """One customer for each set of changes, numbered from 1."""
    return [
        row("customers", country, customer_id=str(number), **changed)
        for number, changed in enumerate(changes, start=1)
    ]


def widened(rows: Sequence[Row], **columns: Sequence[str]) -> str:
    """Customers with further columns at the end of each line."""
    return with_headers(rows, list(columns), list(columns.values()))


def with_headers(
    rows: Sequence[Row],
    headers: Iterable[str],
    values: Sequence[Sequence[str]],
    feed: str = "customers",
) -> str:
    first, *lines = csv_text(feed, rows).splitlines()
    wide = [",".join([first, *headers])]
    wide += [
        ",".join([line, *(of_column[n] for of_column in values)]) for n, line in enumerate(lines)
    ]
    return "".join(f"{line}\n" for line in wide)


def in_raw(desk: Desk, columns: str) -> list[tuple[Any, ...]]:
    return desk.raw("customers", f"customer_id, {columns}", KEY)


def raw_names(warehouse: DuckDBWarehouse, feed: str = "customers") -> set[str]:
    return {name for name, *_ in warehouse.query(f"describe raw.{feed}")}


# -------------------------------------------------------------------------------- unknown columns


@pytest.fixture
def desk_of(tmp_path: Path, request: pytest.FixtureRequest) -> Desk:
    """A file with two unknown columns between two without, taken in under a mode."""
    desk = desk_with(tmp_path, drifting(request.param))
    desk.deliver(EARLIER, csv_text("customers", people({})))
    desk.take_in()
    text = with_headers(
        people({}, {}, {}), ["Loyalty Points", "Größe"], [["5", "", ""], ["", "XL", ""]]
    )
    desk.deliver(FILE, text)
    desk.deliver(NEIGHBOUR, csv_text("customers", people({}, country="DE")))
    desk.take_in()
    assert desk.raw_counts("customers")["DE"] == 1
    return desk


class TestUnknownColumns:
    @pytest.mark.parametrize("desk_of", [Drift.FREEZE], indirect=True)
    def test_freeze_refuses_the_file(self, desk_of: Desk) -> None:
        assert desk_of.inbox() == {FILE}
        assert in_raw(desk_of, "1") == []

    @pytest.mark.parametrize("desk_of", [Drift.RESCUE], indirect=True)
    def test_rescue_keeps_values_under_their_headers(self, desk_of: Desk) -> None:
        kept = [json.loads(text) for _, text in in_raw(desk_of, "_rescued")]
        assert kept[0] == {"Loyalty Points": "5", "Größe": None}
        assert kept[1] == {"Loyalty Points": None, "Größe": "XL"}
        assert raw_names(warehouse_of(desk_of)) == set(raw_columns(CUSTOMERS))

    @pytest.mark.parametrize("desk_of", [Drift.EVOLVE], indirect=True)
    def test_evolve_adds_text_columns_that_are_null_elsewhere(self, desk_of: Desk) -> None:
        gained = in_raw(desk_of, "loyalty_points, grosse, _rescued")
        assert gained == [(1, "5", None, None), (2, None, "XL", None), (3, None, None, None)]
        elsewhere = desk_of.raw("customers", "loyalty_points, grosse", "FR|2025-01-10")
        assert elsewhere == [(None, None)]
        assert desk_of.facts("customers", KEY).evolved == ("loyalty_points", "grosse")

    @pytest.mark.parametrize("desk_of", [Drift.DISCARD_ROW], indirect=True)
    def test_discard_row_quarantines_rows_that_use_one(self, desk_of: Desk) -> None:
        assert in_raw(desk_of, "_rescued") == [(3, None)]
        facts = desk_of.facts("customers", KEY)
        assert dict(facts.reasons) == {"row:unknown_column": 2}
        rows = desk_of.quarantine(facts)
        assert [(n, line[-4:], why) for n, line, why in rows] == [
            (1, ",,5,", ["row:unknown_column"]),
            (2, ",,XL", ["row:unknown_column"]),
        ]

    @pytest.mark.parametrize("desk_of", [Drift.DISCARD_VALUE], indirect=True)
    def test_discard_value_drops_and_counts_them(self, desk_of: Desk) -> None:
        assert in_raw(desk_of, "_rescued") == [(1, None), (2, None), (3, None)]
        assert raw_names(warehouse_of(desk_of)) == set(raw_columns(CUSTOMERS))
        counts = {
            "Größe:discarded_unknown_column": 1,
            "Loyalty Points:discarded_unknown_column": 1,
        }
        assert dict(desk_of.facts("customers", KEY).reasons) == counts
        ledger = warehouse_of(desk_of).query(
            "select rows_loaded, rows_quarantined, reasons from raw.file_ledger "
            f"where file_name = '{FILE}'"
        )
        assert [(loaded, bad, json.loads(text)) for loaded, bad, text in ledger] == [(3, 0, counts)]


def warehouse_of(desk: Desk) -> DuckDBWarehouse:
    assert desk.warehouse
    return desk.warehouse


# ----------------------------------------------------------------------------------- JSON records

JSON_FILE = "customers_FR_20250111.json"


def as_json(contract: FeedContract) -> FeedContract:
    """The same feed, delivered as JSON."""
    return replace(
        contract, ingestion=contract.ingestion.model_copy(update={"format": Format.JSON})
    )


def records(*extra: dict[str, Any], country: str = "FR") -> str:
    """A customer a line, with further keys."""
    rows = people(*[{}] * len(extra), country=country)
    pairs = zip(rows, extra, strict=True)
    return "\n".join(json.dumps({**r, **keys}, ensure_ascii=False) for r, keys in pairs)


@pytest.fixture
def json_desk(tmp_path: Path, request: pytest.FixtureRequest) -> Desk:
    """Four customers, two of them with values under unknown keys, taken in under a mode."""
    desk = desk_with(tmp_path, drifting(request.param, as_json(CUSTOMERS)))
    desk.deliver("customers_FR_20250110.json", records({}))
    desk.take_in()
    desk.deliver(
        JSON_FILE,
        records(
            {"loyaltyPoints": 5.50, "Größe": None},
            {"Größe": {"eu": [1, 2]}},
            {"Größe": "", "LOYALTY-POINTS": " "},
            {},
        ),
    )
    desk.deliver("customers_DE_20250111.json", records({}, country="DE"))
    desk.take_in()
    assert desk.raw_counts("customers")["DE"] == 1
    return desk


class TestUnknownKeys:
    @pytest.mark.parametrize("json_desk", [Drift.FREEZE], indirect=True)
    def test_freeze_refuses_the_file(self, json_desk: Desk) -> None:
        assert json_desk.inbox() == {JSON_FILE}

    @pytest.mark.parametrize("json_desk", [Drift.RESCUE], indirect=True)
    def test_rescue_keeps_them_as_they_are(self, json_desk: Desk) -> None:
        kept = [text and json.loads(text) for _, text in in_raw(json_desk, "_rescued")]
        assert kept[:2] == [{"loyaltyPoints": 5.5, "Größe": None}, {"Größe": {"eu": [1, 2]}}]
        assert kept[3] is None

    @pytest.mark.parametrize("json_desk", [Drift.EVOLVE], indirect=True)
    def test_evolve_adds_text_columns_that_are_null_elsewhere(self, json_desk: Desk) -> None:
        assert in_raw(json_desk, "loyalty_points, grosse, _rescued") == [
            (1, "5.5", None, None),
            (2, None, '{"eu":[1,2]}', None),
            (3, None, None, None),
            (4, None, None, None),
        ]
        elsewhere = json_desk.raw("customers", "loyalty_points, grosse", "FR|2025-01-10")
        assert elsewhere == [(None, None)]
        facts = json_desk.facts("customers", KEY)
        assert set(facts.evolved) == {"loyalty_points", "grosse"}
        schema = read_schemas(json_desk.lake, "customers")[str(facts.schema_id)]
        assert [(c.header, c.column) for c in schema.columns if c.evolved] == [
            ("Größe", "grosse"),
            ("LOYALTY-POINTS", "loyalty_points"),
            ("loyaltyPoints", "loyalty_points"),
        ]

    @pytest.mark.parametrize("json_desk", [Drift.DISCARD_ROW], indirect=True)
    def test_discard_row_quarantines_records_that_use_one(self, json_desk: Desk) -> None:
        assert in_raw(json_desk, "_rescued") == [(3, None), (4, None)]
        facts = json_desk.facts("customers", KEY)
        assert dict(facts.reasons) == {"row:unknown_column": 2}
        assert [number for number, *_ in json_desk.quarantine(facts)] == [1, 2]

    @pytest.mark.parametrize("json_desk", [Drift.DISCARD_VALUE], indirect=True)
    def test_discard_value_drops_and_counts_them(self, json_desk: Desk) -> None:
        assert in_raw(json_desk, "_rescued") == [(n, None) for n in (1, 2, 3, 4)]
        assert raw_names(warehouse_of(json_desk)) == set(raw_columns(CUSTOMERS))
        assert dict(json_desk.facts("customers", KEY).reasons) == {
            "Größe:discarded_unknown_column": 1,
            "loyaltyPoints:discarded_unknown_column": 1,
        }

    def test_discard_value_gives_up_optional_values_and_counts_loaded_records_only(
        self, tmp_path: Path
    ) -> None:
        desk = desk_with(tmp_path, drifting(Drift.DISCARD_VALUE, as_json(CUSTOMERS)))
        desk.deliver(
            JSON_FILE, records({"gender": "robot", "a": 1}, {"name": None, "a": 2}, {"a": 3})
        )
        desk.take_in()
        assert in_raw(desk, "gender, _rescued") == [
            (1, None, '{"gender":{"value":"robot","code":"not_allowed"}}'),
            (3, "F", None),
        ]
        assert dict(desk.facts("customers", KEY).reasons) == {
            "a:discarded_unknown_column": 2,
            "gender:discarded_not_allowed": 1,
            "name:required": 1,
        }

    def test_discarded_keys_of_personal_data_are_not_named(self, tmp_path: Path) -> None:
        contract = drifting(Drift.DISCARD_VALUE, as_json(CONTRACTS["customers"]))
        desk = desk_with(tmp_path, contract)
        desk.deliver(JSON_FILE, records({"Zoé Faure": 1, "Chloé Martin": 2}))
        desk.take_in()
        reasons = dict(desk.facts("customers", KEY).reasons)
        assert reasons == {"row:discarded_unknown_column": 2}

    def test_evolve_is_not_for_personal_data(self, tmp_path: Path) -> None:
        doc = document("customers")
        ingestion(doc).update({"drift": "evolve", "format": "json", "variants": []})
        with pytest.raises(ConfigurationError, match="evolve is not for feeds with personal data"):
            read_contract(write(tmp_path, doc))

    def test_one_column_spelled_twice_in_a_record_breaks_that_record(self, tmp_path: Path) -> None:
        desk = desk_with(tmp_path, drifting(Drift.EVOLVE, as_json(CUSTOMERS)))
        desk.deliver(JSON_FILE, records({"myPoints": 1, "my_points": 2}, {"My Points": 3}))
        desk.take_in()
        assert in_raw(desk, "my_points") == [(2, "3")]
        assert dict(desk.facts("customers", KEY).reasons) == {"row:duplicate_key": 1}

    def test_what_makes_no_column_is_rescued(self, tmp_path: Path) -> None:
        weather = drifting(Drift.EVOLVE, CONTRACTS["weather"])
        desk = desk_with(tmp_path, weather)
        observation = {
            "city": "Lyon",
            "date": "2025-01-11",
            "temperature": {"min": 1, "max": 4, "unit": "C"},
            "***": [1],
            "uvIndex": 3,
        }
        desk.deliver("weather_FR_20250111.json", json.dumps({"observations": [observation]}))
        desk.take_in()
        ((index, kept),) = desk.raw("weather", "uv_index, _rescued")
        assert index == "3"
        assert json.loads(kept) == {"***": [1], "temperature": {"unit": "C"}}

    def test_a_feed_gains_no_more_than_a_hundred(self, tmp_path: Path) -> None:
        desk = desk_with(tmp_path, drifting(Drift.EVOLVE, as_json(CUSTOMERS)))
        desk.deliver(JSON_FILE, records(*({f"k{n}": 1} for n in range(MAX_EVOLVED_COLUMNS + 1))))
        desk.deliver("customers_FR_20250112.json", records({"points": 1}))
        outcome = desk.take_in()
        assert outcome.code(JSON_FILE) == "too_many_new_columns"
        assert "101 columns that are new" in outcome.refused[JSON_FILE].seen
        assert "k1" not in raw_names(warehouse_of(desk))
        assert desk.raw("customers", "points") == [("1",)]

    def test_neither_the_order_nor_the_size_of_chunks_matters(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deliveries = [
            (JSON_FILE, records({"points": 1}, {"tier": "gold"}, {"points": None}), 1),
            (JSON_FILE, records({"points": 2}, {"Tier": "x"}), 2),
            ("customers_FR_20250112.json", records({}, {"once": True}), 3),
        ]
        found = []
        for number, order in enumerate(([0, 1, 2], [2, 1, 0])):
            folder = tmp_path / str(number)
            folder.mkdir()
            desk = desk_with(folder, drifting(Drift.EVOLVE, as_json(CUSTOMERS)))
            start = datetime(2025, 1, 14, tzinfo=UTC)
            for name, text, minute in (deliveries[n] for n in order):
                desk.deliver(name, text, at=start + timedelta(minutes=minute))
                desk.take_in()
            found.append((contents(warehouse_of(desk)), remembered(desk)))
            assert contents(rebuilt(desk, folder / "rebuilt")) == found[-1][0]
            monkeypatch.setattr(gate, "CHUNK_CHARACTERS", 1)
        assert found[0] == found[1]


# ------------------------------------------------------------------------------ values that break


class TestBrokenValues:
    def test_an_optional_value_becomes_null_and_the_row_says_what_it_was(
        self, tmp_path: Path
    ) -> None:
        desk = desk_with(tmp_path, drifting(Drift.DISCARD_VALUE))
        rows = people({}, {"gender": "robot", "date_of_birth": "never"}, {"name": ""})
        desk.deliver(FILE, csv_text("customers", rows))
        desk.take_in()
        good, freed = in_raw(desk, "gender, date_of_birth, city, _rescued")
        assert good == (1, "F", date(1980, 2, 29), "Lyon", None)
        assert freed[:4] == (2, None, None, "Lyon")
        # What is personal is not copied into a column that is not.
        assert json.loads(freed[4]) == {
            "date_of_birth": {"value": None, "code": "not_a_date"},
            "gender": {"value": "robot", "code": "not_allowed"},
        }
        assert dict(desk.facts("customers", KEY).reasons) == {
            "date_of_birth:discarded_not_a_date": 1,
            "gender:discarded_not_allowed": 1,
            "name:required": 1,
        }

    @pytest.mark.parametrize("drift", [d for d in Drift if d is not Drift.DISCARD_VALUE])
    def test_every_other_mode_quarantines_the_row(self, tmp_path: Path, drift: Drift) -> None:
        desk = desk_with(tmp_path, drifting(drift))
        desk.deliver(FILE, csv_text("customers", people({}, {"gender": "robot"})))
        desk.take_in()
        assert in_raw(desk, "gender") == [(1, "F")]
        assert dict(desk.facts("customers", KEY).reasons) == {"gender:not_allowed": 1}

    def test_rules_across_columns_judge_what_is_left(self, tmp_path: Path) -> None:
        contract = drifting(Drift.DISCARD_VALUE, CONTRACTS["transactions"])
        columns = tuple(
            replace(c, required=c.required and c.name != "discount") for c in contract.columns
        )
        desk = desk_with(tmp_path, replace(contract, columns=columns))
        # Neither discount fits its total; one of them is no discount at all.
        wrong = [
            row("transactions", invoice_id="INV-FR-021-00000001", discount="7"),
            row("transactions", invoice_id="INV-FR-021-00000002", discount="0.5"),
        ]
        desk.deliver("transactions_FR_20250111.csv", csv_text("transactions", wrong))
        desk.take_in()
        assert desk.raw("transactions", "invoice_id, discount, _rescued") == [
            ("INV-FR-021-00000001", None, '{"discount":{"value":"7","code":"too_large"}}')
        ]
        reasons = dict(desk.facts("transactions", KEY).reasons)
        assert reasons == {"discount:discarded_too_large": 1, "row:sale_line_total": 1}

    def test_keys_are_never_given_up(self, tmp_path: Path) -> None:
        contract = drifting(Drift.DISCARD_VALUE)
        columns = tuple(
            replace(c, required=c.required and c.name != "customer_id") for c in contract.columns
        )
        desk = desk_with(tmp_path, replace(contract, columns=columns))
        desk.deliver(FILE, csv_text("customers", [*people({}), row("customers", customer_id="x")]))
        desk.take_in()
        assert dict(desk.facts("customers", KEY).reasons) == {"customer_id:not_an_integer": 1}

    def test_given_up_values_do_not_make_a_file_a_bad_one(self, tmp_path: Path) -> None:
        desk = desk_with(tmp_path, drifting(Drift.DISCARD_VALUE))
        desk.deliver(FILE, csv_text("customers", people(*[{"gender": "robot"}] * 30)))
        assert desk.take_in().refused == {}
        assert len(in_raw(desk, "1")) == 30


# -------------------------------------------------------------------------------- evolved columns

NAMES = {
    "Loyalty Points": "loyalty_points",
    "loyaltyPoints": "loyalty_points",
    " LOYALTY-POINTS ": "loyalty_points",
    "Prénom usuel": "prenom_usuel",
    "Straße": "strasse",
    "e-mail (2)": "e_mail_2",
    "2nd Phone": "x_2nd_phone",
    "Order": "x_order",
    "Country": "x_country",
    "Batch Date": "x_batch_date",
    "Ñame": "x_name",  # without its tilde it is a column of the contract
    "***": "",
}


class TestEvolvedNames:
    @pytest.mark.parametrize("header", NAMES)
    def test_a_header_becomes_a_name(self, header: str) -> None:
        assert evolved_name(header, CUSTOMERS) == NAMES[header]

    def test_letters_that_are_lost_do_not_make_two_columns_one(self) -> None:
        names = {
            evolved_name(h, CUSTOMERS) for h in ("价格", "数量", "价格 EUR", "数量 EUR", "eur")
        }
        assert len(names) == 5
        assert all(is_usable_name(name) for name in names)

    def test_long_headers_are_cut_and_stay_apart(self) -> None:
        one, other = (evolved_name("very " * 50 + end, CUSTOMERS) for end in ("a", "b"))
        assert one != other
        assert max(len(one), len(other)) <= 60

    def test_no_name_needs_quotes(self) -> None:
        words = duckdb.execute(
            "select keyword_name from duckdb_keywords() where keyword_category = 'reserved'"
        ).fetchall()
        assert [word for (word,) in words if is_usable_name(word)] == []


class TestEvolvedColumns:
    @pytest.fixture
    def desk(self, tmp_path: Path) -> Desk:
        return desk_with(tmp_path, drifting(Drift.EVOLVE))

    def test_a_header_that_names_one_twice_is_refused(self, desk: Desk) -> None:
        text = with_headers(people({}), ["Loyalty Points", "loyalty_points"], [["1"], ["2"]])
        desk.deliver(FILE, text)
        refusal = desk.take_in().refused[FILE]
        assert refusal.code == "duplicate_column"
        assert "names loyalty_points more than once" in refusal.seen

    def test_a_column_without_a_name_is_rescued(self, desk: Desk) -> None:
        text = with_headers(people({}, {}), ["", "Points"], [["x", ""], ["1", "2"]])
        desk.deliver(FILE, text)
        desk.take_in()
        assert in_raw(desk, "points, _rescued") == [(1, "1", '{"":"x"}'), (2, "2", None)]

    def test_a_header_and_nothing_below_it_adds_the_column_too(self, desk: Desk) -> None:
        desk.deliver(FILE, widened([], points=[]))
        desk.deliver(EARLIER, csv_text("customers", people({})))
        desk.take_in()
        assert desk.raw_counts("customers") == {"FR": 1}
        assert "points" in raw_names(warehouse_of(desk))

    def test_a_feed_gains_no_more_than_a_hundred(self, desk: Desk) -> None:
        def file(day: int, headers: Sequence[str]) -> str:
            name = f"customers_FR_202501{day:02d}.csv"
            desk.deliver(name, with_headers(people({}), headers, [["1"]] * len(headers)))
            return name

        many = [f"c{n}" for n in range(MAX_EVOLVED_COLUMNS - 1)]
        file(1, many)
        # A file that is refused for its rows has brought nothing.
        nameless = people(*[{"name": ""}] * 11)
        desk.deliver("customers_FR_20250103.csv", widened(nameless, lost=["1"] * 11))
        last, over = file(4, ["c1", "last"]), file(5, ["c1", "over"])
        found = desk.take_in()
        assert {name: refusal.code for name, refusal in found.refused.items()} == {
            "customers_FR_20250103.csv": "too_many_bad_rows",
            over: "too_many_new_columns",
        }
        assert last not in desk.inbox()
        assert "1 columns that are new (over, ...)" in found.refused[over].seen
        assert "has gained 100 already" in found.refused[over].seen
        # Known ones are welcome, to another gate as well.
        known, further = file(6, many[:3]), file(7, ["further"])
        found = desk.take_in()
        assert (found.code(known), found.code(further)) == (None, "too_many_new_columns")
        assert len(raw_names(warehouse_of(desk))) == len(raw_columns(CUSTOMERS)) + 100

    def test_a_contract_takes_a_column_over(self, desk: Desk, tmp_path: Path) -> None:
        desk.deliver(FILE, widened(people({}, {}), points=["7", "many"]))
        desk.take_in()
        doc = unclassified("customers")
        ingestion(doc)["drift"] = "evolve"
        doc["schema"][0]["properties"].append({"name": "points", "physicalType": "bigint"})
        contract = read_contract(write(tmp_path / "own", doc))
        desk.contracts = {**desk.contracts, "customers": contract}
        # What was judged before is loaded as a rebuild would load it: the contract had no points.
        desk.load("customers", [desk.manifest("customers", KEY)])
        assert in_raw(desk, "points") == [(1, None), (2, None)]
        assert contents(warehouse_of(desk)) == contents(rebuilt(desk, tmp_path / "rebuilt"))
        known = {m.partition: m for m in [desk.manifest("customers", KEY)]}
        report = judge_again(Gate(desk.lake, contract, REGISTRY), desk.lake, known, set(known))
        desk.load("customers", report.manifests.values())
        assert in_raw(desk, "points") == [(1, 7)]
        assert contents(warehouse_of(desk)) == contents(rebuilt(desk, tmp_path / "again"))

    def test_a_feed_that_evolves_no_longer_loses_them(self, desk: Desk, tmp_path: Path) -> None:
        desk.deliver(FILE, widened(people({}), points=["7"]))
        desk.take_in()
        desk.contracts = {**desk.contracts, "customers": CUSTOMERS}
        desk.load("customers", [desk.manifest("customers", KEY)])
        assert contents(warehouse_of(desk)) == contents(rebuilt(desk, tmp_path / "rebuilt"))
        assert "points" not in raw_names(warehouse_of(desk))

    def test_a_column_of_an_earlier_contract_gives_way(self, desk: Desk, tmp_path: Path) -> None:
        with warehouse_of(desk).connect() as connection:
            warehouse_of(desk).prepare(desk.contracts.values())
            connection.execute("alter table raw.customers add column points date")
        desk.deliver(FILE, widened(people({}), points=["many"]))
        desk.take_in()
        assert in_raw(desk, "points") == [(1, "many")]
        assert contents(warehouse_of(desk)) == contents(rebuilt(desk, tmp_path / "rebuilt"))


# ------------------------------------------------------------------------------------ convergence


def contents(warehouse: DuckDBWarehouse) -> tuple[set[str], list[tuple[Any, ...]]]:
    """Columns and rows of customers, apart from when and by which run they were loaded."""
    names = raw_names(warehouse) - {"_loaded_at", "_run_id"}
    listed = ", ".join(sorted(names))
    return names, warehouse.query(f"select {listed} from raw.customers order by all")


def rebuilt(desk: Desk, folder: Path) -> DuckDBWarehouse:
    """RAW of customers from the lake alone."""
    folder.mkdir()
    warehouse = DuckDBWarehouse(folder / "warehouse.duckdb")
    fresh = replace(desk, warehouse=warehouse)
    fresh.load("customers", manifests(desk))
    return warehouse


def manifests(desk: Desk) -> list[Manifest]:
    paths = [o.path for o in desk.lake.list(f"{MANIFESTS}customers/")]
    return [Manifest.model_validate_json(desk.lake.get(path)) for path in paths]


def remembered(desk: Desk) -> list[Any]:
    """Manifests, apart from which objects hold the rows, and the registry of schemas."""
    facts = {"files": {"__all__": {"data", "quarantine"}}}
    known = [m.model_dump_json(exclude=facts) for m in manifests(desk)]
    # Files stand in a manifest in the order in which they were seen.
    return [sorted(map(sorted, known)), read_schemas(desk.lake, "customers")]


HISTORY = [
    ("customers_FR_20250111.csv", widened(people({}, {}), points=["1", ""], once=["", "x"]), 1),
    # A correction without the columns, and one that spells it otherwise.
    ("customers_FR_20250111.csv", csv_text("customers", people({}, {})), 2),
    ("customers_FR_20250111.csv", widened(people({"city": "Nice"}), Points=["3"]), 3),
    ("customers_FR_20250110.csv", csv_text("customers", people({})), 4),
    ("customers_FR_20250112.csv", widened(people({}), bonus=["x"], points=["4"]), 5),
    ("customers_DE_20250112.csv", widened(people({}, country="DE"), tier=["gold"]), 6),
    ("customers_FR_20250113.csv", csv_text("customers", people({}), delimiter=";"), 7),
]


def play(folder: Path, order: Sequence[int], chance: random.Random) -> Desk:
    """The history in some order, with looks at the inbox in between."""
    folder.mkdir()
    desk = desk_with(folder, drifting(Drift.EVOLVE))
    for number in order:
        name, text, minute = HISTORY[number]
        if name in desk.inbox() or chance.random() < 0.4:
            desk.take_in()
        start = datetime(2025, 1, 14, tzinfo=UTC)
        desk.deliver(name, text, at=start + timedelta(minutes=minute))
    desk.take_in()
    return desk


def test_the_order_of_arrivals_changes_neither_raw_nor_what_is_remembered(tmp_path: Path) -> None:
    chance = random.Random(3)
    reference = play(tmp_path / "0", range(len(HISTORY)), chance)
    expected = contents(warehouse_of(reference))
    assert expected[0] >= {"points", "once", "bonus", "tier"}
    assert contents(rebuilt(reference, tmp_path / "rebuilt")) == expected
    assert len(read_schemas(reference.lake, "customers")) == 6
    for number in range(1, 5):
        order = chance.sample(range(len(HISTORY)), len(HISTORY))
        other = play(tmp_path / str(number), order, chance)
        assert contents(warehouse_of(other)) == expected, order
        assert remembered(other) == remembered(reference), order


def test_models_do_not_notice_columns_that_raw_gains(
    tmp_path: Path, dbt_work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DbtProject, "test", lambda *_: [])  # data tests take most of the time
    doc = document("stores")
    ingestion(doc)["drift"] = "evolve"
    write(tmp_path / "own", doc, "stores")
    shops = [row("stores", store_id=str(number)) for number in (1, 2)]
    home = tmp_path / "home"
    with Installation.new(home, dbt_work_dir) as installation:
        installation.platform = small_platform(
            home, dbt_work_dir, lambda s: replace(s, contracts_paths=(tmp_path / "own",))
        )
        # Names that staging gives to other columns are among them.
        texts = [
            csv_text("stores", shops[:1]),
            with_headers(
                shops,
                ["Country Code", "Batch Date", "shop name", "Row Number", "file_id"],
                [["a", "b"]] * 5,
                "stores",
            ),
        ]
        for number, text in enumerate(texts, start=1):
            good = tuple(("FR", f"{n} Lyon") for n in range(1, number + 1))
            installation.deliver(
                Delivery(f"stores_FR_2025010{number}.csv", text.encode(), number, good)
            )
            outcome = installation.visit(Visit())
            assert outcome.green
        staged = DuckDBWarehouse(installation.warehouse).query(
            "select country, batch_date::varchar, store_id, row_number "
            "from staging.stg_stores order by all"
        )
    assert staged == [
        ("FR", "2025-01-01", 1, 1),
        ("FR", "2025-01-02", 1, 1),
        ("FR", "2025-01-02", 2, 2),
    ]
