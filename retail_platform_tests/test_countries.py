"""The market registry: what a partner may call a country, and what a registry file may hold."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from retail_platform.countries import CountryRegistry, load_countries
from retail_platform.errors import ConfigurationError
from retail_platform_tests.builders import REGISTRY

FRANCE = {"code": "FR", "name": "France", "currency": "EUR", "timezone": "Europe/Paris"}
SPAIN = {"code": "ES", "name": "Spain", "currency": "EUR", "timezone": "Europe/Madrid"}


def load(tmp_path: Path, *countries: dict[str, Any]) -> CountryRegistry:
    path = tmp_path / "countries.yaml"
    path.write_text(yaml.safe_dump({"countries": list(countries)}), encoding="utf-8")
    return load_countries(path)


class TestShippedRegistry:
    def test_the_seven_markets_and_their_money(self) -> None:
        assert REGISTRY.currency_by_code == {
            "CN": "CNY",
            "DE": "EUR",
            "ES": "EUR",
            "FR": "EUR",
            "GB": "GBP",
            "PT": "EUR",
            "US": "USD",
        }
        assert REGISTRY.codes == tuple(REGISTRY.currency_by_code)

    @pytest.mark.parametrize(
        ("word", "code"),
        [
            ("FR", "FR"),
            ("uk", "GB"),
            ("gbr", "GB"),
            (" United Kingdom ", "GB"),
            ("中国", "CN"),
            ("españa", "ES"),
            ("ESPAÑA", "ES"),
            ("Deutschland", "DE"),
            ("United States", "US"),
            ("Portugal", "PT"),
            ("ALL", None),
            ("", None),
            ("XX", None),
        ],
    )
    def test_names_that_partners_use(self, word: str, code: str | None) -> None:
        assert REGISTRY.resolve(word) == code


class TestRegistryFiles:
    def test_a_country_is_one_entry(self, tmp_path: Path) -> None:
        italy = {
            "code": "IT",
            "name": "Italy",
            "currency": "EUR",
            "timezone": "Europe/Rome",
            "feed_deadline": "07:30",
            "aliases": ["ITA", "Italia"],
        }
        registry = load(tmp_path, SPAIN, italy, FRANCE)
        assert registry.codes == ("ES", "IT", "FR")  # order is the order of partitions
        assert registry.resolve("ITALIA") == "IT"
        assert [c.feed_deadline for c in registry] == ["06:00", "07:30", "06:00"]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"code": "FRA"}, "code"),
            ({"code": "fr"}, "code"),
            ({"code": False}, "code"),  # what YAML makes of an unquoted NO
            ({"currency": "euro"}, "currency"),
            ({"timezone": "Europe/Lutetia"}, "unknown time zone 'Europe/Lutetia'"),
            ({"timezone": "/etc/passwd"}, "unknown time zone"),
            ({"feed_deadline": "6am"}, "feed_deadline"),
            ({"vat": 20}, "vat"),
        ],
    )
    def test_a_wrong_entry_is_named(
        self, tmp_path: Path, changes: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ConfigurationError) as caught:
            load(tmp_path, FRANCE | changes)
        assert words in str(caught.value)
        assert str(tmp_path / "countries.yaml") in str(caught.value)

    @pytest.mark.parametrize(
        ("other", "words"),
        [
            ({"code": "FR"}, "'FR' names both FR and FR"),
            ({"name": "france"}, "'FRANCE' names both FR and ES"),
            ({"aliases": ["fr"]}, "'FR' names both FR and ES"),
            ({"aliases": ["All"]}, "'ALL' names both the word for all countries and ES"),
        ],
    )
    def test_two_countries_cannot_share_a_name(
        self, tmp_path: Path, other: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=words):
            load(tmp_path, FRANCE, SPAIN | other)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "not a country registry"),
            ("- a", "not a country registry"),
            ("countries:", "not a country registry"),
            ("countries: []", "lists no country"),
            ("countries: [", "not a country registry"),
            ("markets: []", "not a country registry"),
        ],
    )
    def test_a_file_that_is_no_registry(self, tmp_path: Path, text: str, words: str) -> None:
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ConfigurationError, match=words):
            load_countries(tmp_path / "c.yaml")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"none.yaml is not a country registry"):
            load_countries(tmp_path / "none.yaml")
