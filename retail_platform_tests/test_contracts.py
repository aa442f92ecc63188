"""Feed contracts: what the shipped ones promise, and what a contract of one's own may get wrong."""

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import holidays
import pytest
import yaml
from dbt.contracts.graph.manifest import Manifest

from retail_platform.contract import (
    DAILY,
    Drift,
    Expectation,
    FeedIngestion,
    Kind,
    load_contracts,
    normalised_header,
    read_contract,
)
from retail_platform.errors import ConfigurationError
from retail_platform.gate.rows import RowJudge
from retail_platform.partitions import Scope
from retail_platform.settings import PACKAGE_DIR, PROJECT_DIR
from retail_platform.warehouse.raw_tables import raw_columns
from retail_platform_tests.builders import CONTRACTS, REGISTRY, Desk

Document = dict[str, Any]
SHIPPED = PACKAGE_DIR / "contracts"


def document(feed: str = "transactions") -> Document:
    found: Document = yaml.safe_load((SHIPPED / f"{feed}.odcs.yaml").read_text("utf-8"))
    return found


def ingestion(doc: Document) -> Document:
    found: Document = next(
        p["value"] for p in doc["customProperties"] if p["property"] == "ingestion"
    )
    return found


def column(doc: Document, name: str) -> Document:
    found: Document = next(p for p in doc["schema"][0]["properties"] if p["name"] == name)
    return found


def unclassified(feed: str) -> Document:
    """A contract whose columns nobody has thought of as personal data."""
    doc = document(feed)
    for found in doc["schema"][0]["properties"]:
        if found.pop("classification", None) == "pii":
            for custom in found.get("customProperties", []):
                kept = custom["value"].items()
                custom["value"] = {k: v for k, v in kept if k not in ("protect", "generalise")}
    return doc


def write(folder: Path, doc: Document, name: str = "x") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.odcs.yaml"
    path.write_text(yaml.safe_dump(doc, allow_unicode=True), encoding="utf-8")
    return path


class TestShippedContracts:
    def test_the_feeds(self) -> None:
        assert sorted(CONTRACTS) == [
            "competitor_prices",
            "crm_contacts",
            "customers",
            "discounts",
            "employees",
            "fx_rates",
            "inventory_movements",
            "online_checkouts",
            "online_orders",
            "online_refunds",
            "partner_sales",
            "partner_stores",
            "pos_events",
            "products",
            "stock_cdc",
            "stores",
            "suppliers",
            "transactions",
            "weather",
        ]
        shared = {name for name, c in CONTRACTS.items() if c.scope is Scope.GLOBAL}
        assert shared == {"products", "discounts", "fx_rates", "suppliers"}

    @pytest.mark.parametrize("feed", CONTRACTS)
    def test_each_says_who_owns_it_what_a_row_is_and_what_every_column_means(
        self, feed: str
    ) -> None:
        contract = CONTRACTS[feed]
        assert contract.owner.startswith("team:")
        assert contract.description
        assert contract.grain.startswith("one row per")
        assert contract.primary_key
        assert [c.name for c in contract.columns if not c.description] == []
        keys = [contract.column_by_name[name] for name in contract.primary_key]
        assert all(k.required for k in keys) or feed == "discounts"

    @pytest.mark.parametrize("feed", CONTRACTS)
    def test_each_can_judge_rows(self, feed: str) -> None:
        assert list(RowJudge(CONTRACTS[feed], REGISTRY).schema.columns) == list(
            CONTRACTS[feed].column_by_name
        )

    @pytest.mark.parametrize("feed", CONTRACTS)
    def test_the_dbt_source_has_the_columns_of_the_raw_table(self, feed: str) -> None:
        sources = yaml.safe_load(
            (PROJECT_DIR / "dbt_project/models/staging/_raw__sources.yml").read_text("utf-8")
        )
        tables = {t["name"]: t["columns"] for t in sources["sources"][0]["tables"]}
        declared = {c["name"]: c["data_type"].replace(", ", ",") for c in tables[feed]}
        assert declared == raw_columns(CONTRACTS[feed])

    @pytest.mark.parametrize("feed", CONTRACTS)
    def test_the_dbt_source_may_be_as_old_as_the_contract_says(
        self, feed: str, manifest: Manifest
    ) -> None:
        source = manifest.sources[f"source.retail_platform.raw.{feed}"]
        limits = (source.freshness.warn_after, source.freshness.error_after)
        assert tuple(timedelta(**{f"{at.period}s": at.count}) for at in limits) == (
            CONTRACTS[feed].freshness
        )

    @pytest.mark.parametrize(
        ("expected", "pause"),
        [
            ({}, 0),
            ({"weekdays": ["mon", "tue", "wed", "thu", "fri"]}, 2),
            ({"weekdays": ["mon", "thu"]}, 3),
            ({"weekdays": ["wed"]}, 6),
            ({"weekdays": ["sun", "sat"]}, 5),
            ({"closed_on": "XETR"}, 3),
            ({"weekdays": ["mon", "tue", "wed", "thu", "fri"], "closed_on": "ECB"}, 4),
            ({"closed_on": "country_holidays"}, 8),
        ],
    )
    def test_a_feed_may_be_older_by_the_days_on_which_nothing_comes(
        self, expected: dict[str, Any], pause: int
    ) -> None:
        assert Expectation(**expected).longest_pause == timedelta(days=pause)
        ingestion = FeedIngestion(business_date="sold_at", expected=expected)
        feed = replace(CONTRACTS["transactions"], ingestion=ingestion)
        assert feed.freshness == tuple(limit + timedelta(days=pause) for limit in DAILY)

    @pytest.mark.parametrize(
        ("calendar", "countries"),
        [("country_holidays", REGISTRY.codes), *((c, ()) for c in ("ECB", "IFEU", "NYSE", "XETR"))],
    )
    def test_calendars_close_no_longer_than_a_feed_may_pause(
        self, calendar: str, countries: tuple[str, ...]
    ) -> None:
        weekdays = ("mon", "tue", "wed", "thu", "fri")
        pause = Expectation(weekdays=weekdays, closed_on=calendar).longest_pause
        years = range(2023, 2036)
        of_calendar = [holidays.country_holidays(c, years=years) for c in countries] or [
            holidays.financial_holidays(calendar, years=years)
        ]
        for closed in of_calendar:
            in_a_row = longest = 0
            for n in range(365 * len(years)):
                day = date(years[0], 1, 1) + timedelta(days=n)
                in_a_row = in_a_row + 1 if day in closed or day.weekday() > 4 else 0
                longest = max(longest, in_a_row)
            assert timedelta(days=longest) <= pause

    def test_personal_data_is_classified(self) -> None:
        personal = {
            f"{c.name}.{column.name}"
            for c in CONTRACTS.values()
            for column in c.columns
            if column.classification == "pii"
        }
        assert personal >= {
            "customers.name",
            "customers.email",
            "customers.telephone",
            "customers.date_of_birth",
            "employees.name",
            "online_orders.email",
            "online_orders.customer",
            "online_checkouts.shipping_address",
            "online_refunds.note",
            "crm_contacts.email",
            "crm_contacts.birthdate",
            "suppliers.contact_email",
        }

    def test_a_contract_as_ingestion_sees_it(self) -> None:
        contract = CONTRACTS["transactions"]
        assert contract.primary_key == ("invoice_id", "line")
        assert contract.ingestion.drift is Drift.RESCUE
        price = contract.column_by_name["unit_price"]
        assert (price.kind, price.precision, price.scale) == (Kind.DECIMAL, 12, 2)
        assert (price.minimum, price.maximum, price.required) == (Decimal(0), None, True)
        assert contract.column_by_name["transaction_type"].allowed == ("Sale", "Return")
        assert len(contract.column_by_name["sold_at"].formats) > 1
        assert contract.variants == (tuple(contract.column_by_name),)
        assert [len(v) for v in CONTRACTS["partner_sales"].variants] == [7, 6]
        assert CONTRACTS["employees"].country_by_number[35] == "PT"


@pytest.mark.parametrize(
    ("written", "compared"),
    [("Store ID", "storeid"), ("store_id", "storeid"), (" STORE-ID ", "storeid"), ("***", "")],
)
def test_headers_compare_by_letters_and_digits(written: str, compared: str) -> None:
    assert normalised_header(written) == compared


class TestSchemaVersion:
    def test_it_changes_with_any_word_of_the_contract_and_with_nothing_else(
        self, tmp_path: Path
    ) -> None:
        doc = document()
        shuffled = dict(reversed(list(copy.deepcopy(doc).items())))
        other = copy.deepcopy(doc)
        ingestion(other)["max_bad_rows"] = 11
        versions = [
            read_contract(write(tmp_path / str(n), d)).schema_version
            for n, d in enumerate((doc, shuffled, other))
        ]
        assert versions[0] == versions[1] == CONTRACTS["transactions"].schema_version
        assert versions[2] != versions[0]


def loyalty() -> Document:
    """The smallest useful contract."""
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "loyalty",
        "status": "active",
        "version": "1.0.0",
        "schema": [
            {
                "name": "loyalty",
                "properties": [
                    {"name": "card", "physicalType": "varchar", "primaryKey": True},
                    {"name": "points", "physicalType": "integer"},
                ],
            }
        ],
    }


class TestContractsOfOnesOwn:
    def test_a_new_feed_is_one_file(self, tmp_path: Path, desk: Desk) -> None:
        write(tmp_path / "own", loyalty(), "loyalty")
        contracts = load_contracts([tmp_path / "own"])
        assert contracts.keys() - CONTRACTS.keys() == {"loyalty"}
        desk.contracts = contracts
        desk.deliver("loyalty_FR_20250111.csv", "card,points\nA,1\nB,many\n")
        assert desk.take_in().partitions == {"loyalty FR|2025-01-11"}
        assert desk.raw("loyalty", "card, points, _country") == [("A", 1, "FR")]
        assert desk.facts("loyalty", "FR|2025-01-11").reasons == {"points:not_an_integer": 1}

    def test_a_contract_of_a_later_folder_replaces_an_earlier_one(self, tmp_path: Path) -> None:
        doc = document("partner_stores")
        doc["version"] = "9.9.9"
        write(tmp_path / "own", doc, "anything")
        assert load_contracts([tmp_path / "own"])["partner_stores"].version == "9.9.9"
        assert load_contracts()["partner_stores"].version != "9.9.9"

    def test_everything_wrong_in_all_files_is_said_at_once(self, tmp_path: Path) -> None:
        first, second = loyalty(), loyalty()
        first["schema"][0]["properties"][0]["physicalType"] = "text"
        second["schema"][0]["name"] = "My Cards"
        second["schema"][0]["properties"][0]["primaryKey"] = False
        write(tmp_path / "own", first, "first")
        write(tmp_path / "own", second, "second")
        with pytest.raises(ConfigurationError) as caught:
            load_contracts([tmp_path / "own", tmp_path / "none"])
        lines = str(caught.value).splitlines()
        assert len(lines) == 3
        assert "first.odcs.yaml" in lines[0]
        assert "physicalType 'text'; expected one of varchar" in lines[0]
        assert "'My Cards' is not snake_case" in lines[1]
        assert "no column has primaryKey" in lines[1]
        assert lines[2] == f"{tmp_path / 'none'} is not a folder (RETAIL_CONTRACTS_PATH)"


def protected(doc: Document, name: str, classification: str = "pii", **ingest: str) -> None:
    """Classify a column and say how it is kept."""
    properties = [{"property": "ingestion", "value": ingest}]
    column(doc, name).update(classification=classification, customProperties=properties)


WRONG: dict[str, tuple[Callable[[Document], object], str]] = {
    "no_table": (lambda d: d.pop("schema"), "schema has 0 tables; expected one"),
    "two_tables": (lambda d: d["schema"].append(d["schema"][0]), "schema has 2 tables"),
    "no_columns": (lambda d: d["schema"][0].update(properties=[]), "no column has primaryKey"),
    "unknown_setting": (lambda d: ingestion(d).update(drft="freeze"), "drft"),
    "unknown_drift": (
        lambda d: ingestion(d).update(drift="ignore"),
        "'freeze', 'evolve', 'rescue', ",
    ),
    "name_of_an_own_table": (
        lambda d: d["schema"][0].update(name="file_ledger"),
        "'file_ledger' is not snake_case or is reserved",
    ),
    "unknown_type": (
        lambda d: column(d, "sku").update(physicalType="text"),
        "column sku: physicalType 'text'; expected one of varchar",
    ),
    "decimal_too_wide": (
        lambda d: column(d, "line_total").update(physicalType="decimal(39,2)"),
        "line_total: decimal(39,2) is beyond decimal(38,s)",
    ),
    "no_primary_key": (
        lambda d: [p.pop("primaryKey", 0) for p in d["schema"][0]["properties"]],
        "no column has primaryKey: true",
    ),
    "column_twice": (
        lambda d: d["schema"][0]["properties"].append(column(d, "sku")),
        "column 'sku' is there twice",
    ),
    "header_twice": (
        lambda d: column(d, "sku").update(businessName="store-ID"),
        "header 'storeid' names both store_id and sku",
    ),
    "meta_column": (lambda d: column(d, "sku").update(name="_row"), "'_row' is not snake_case"),
    "partition_column": (lambda d: column(d, "sku").update(name="country"), "is reserved"),
    "sql_word": (lambda d: column(d, "sku").update(name="order"), "'order' is not snake_case or"),
    "broken_pattern": (
        lambda d: column(d, "sku").update(logicalTypeOptions={"pattern": "("}),
        "pattern of sku '(' is no regular expression",
    ),
    "look_around": (
        lambda d: column(d, "sku").update(logicalTypeOptions={"pattern": "(?=a)b"}),
        "pattern of sku '(?=a)b' uses look-around",
    ),
    "pattern_of_a_number": (
        lambda d: column(d, "line").update(logicalTypeOptions={"pattern": "1"}),
        "line: pattern works on varchar only",
    ),
    "list_of_numbers": (
        lambda d: column(d, "line").update(enum=[{"value": 1}]),
        "line: enum works on varchar only",
    ),
    "bound_that_is_no_number": (
        lambda d: column(d, "quantity").update(logicalTypeOptions={"minimum": "one"}),
        "minimum or maximum 'one' is no number",
    ),
    "bound_of_a_text": (
        lambda d: column(d, "sku").update(logicalTypeOptions={"maximum": 3}),
        "sku: maximum works on numbers only",
    ),
    "business_date_nowhere": (
        lambda d: ingestion(d).update(business_date="when"),
        "business_date names 'when', which is no column",
    ),
    "business_date_no_date": (
        lambda d: ingestion(d).update(business_date="sku"),
        "business_date names 'sku', which is no date or timestamp",
    ),
    "country_column_nowhere": (
        lambda d: ingestion(d).update(country_column="land"),
        "country_column names 'land', which is no column",
    ),
    "country_pattern_without_column": (
        lambda d: ingestion(d).pop("country_column"),
        "need a country_column",
    ),
    "country_pattern_without_group": (
        lambda d: ingestion(d).update(country_pattern="[A-Z]{2}"),
        "country_pattern needs exactly one group",
    ),
    "country_pattern_broken": (
        lambda d: ingestion(d).update(country_pattern="(("),
        "country_pattern is no regular expression",
    ),
    "country_range_of_words": (
        lambda d: ingestion(d).update(country_ranges={"one": "US"}),
        "country_ranges: 'one' is not a number or first-last",
    ),
    "country_range_backwards": (
        lambda d: ingestion(d).update(country_ranges={"5-1": "US"}),
        "country_ranges: '5-1' is not",
    ),
    "country_ranges_overlap": (
        lambda d: ingestion(d).update(country_ranges={"1-5": "US", "5-9": "CN"}),
        "country_ranges: 5 belongs to US and CN",
    ),
    "variant_of_strangers": (
        lambda d: ingestion(d).update(variants=[["sku", "colour"]]),
        "variants names 'colour', which is no column",
    ),
    "unknown_classification": (
        lambda d: column(d, "sku").update(classification="confidential"),
        "sku: classification 'confidential'; expected one of public, internal, pii",
    ),
    "protection_of_nothing": (
        lambda d: protected(d, "sku", "internal", protect="token"),
        "sku: protect and generalise are for columns classified pii",
    ),
    "year_of_a_text": (
        lambda d: protected(d, "sku", generalise="year"),
        "sku: generalise year works on dates and timestamps only",
    ),
    "phone_that_is_a_number": (
        lambda d: protected(d, "quantity", normalise="phone"),
        "quantity: normalise phone works on varchar only",
    ),
    "key_without_a_token": (
        lambda d: protected(d, "line", protect="encrypt"),
        "line: a primary key needs a token; protect is encrypt",
    ),
    "business_date_that_is_not_kept": (
        lambda d: protected(d, "sold_at"),
        "business_date names 'sold_at', which is pii and not kept in clear",
    ),
    "new_columns_beside_personal_data": (
        lambda d: (protected(d, "sku"), ingestion(d).update(drift="evolve")),
        "drift evolve is not for feeds with personal data",
    ),
    "name_of_a_token": (
        lambda d: (protected(d, "sku"), column(d, "color").update(name="sku_token")),
        "column 'sku_token' is there twice",
    ),
    "wide_delimiter": (
        lambda d: ingestion(d).update(delimiters=["||"]),
        "delimiter '||' is not one ASCII character",
    ),
    "foreign_delimiter": (
        lambda d: ingestion(d).update(delimiters=["§"]),
        "delimiter '§' is not one ASCII character",
    ),
    "unknown_encoding": (
        lambda d: ingestion(d).update(fallback_encoding="latin-99"),
        "fallback_encoding 'latin-99' is unknown",
    ),
}


class TestWrongContracts:
    @pytest.mark.parametrize("case", WRONG)
    def test_what_is_wrong_is_said_with_the_file(self, tmp_path: Path, case: str) -> None:
        change, words = WRONG[case]
        doc = document()
        change(doc)
        path = write(tmp_path, doc)
        with pytest.raises(ConfigurationError) as caught:
            read_contract(path)
        assert words in str(caught.value)
        assert str(caught.value).startswith(str(path))

    @pytest.mark.parametrize("text", ["", "- a", "a: [", "a", "\x00"])
    def test_a_file_that_is_no_contract(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "x.odcs.yaml").write_text(text)
        with pytest.raises(ConfigurationError, match="not a usable data contract"):
            read_contract(tmp_path / "x.odcs.yaml")
