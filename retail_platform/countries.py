"""The market registry: which countries exist and what partners call them.

Data lives in `countries.yaml`; this module reads and checks it. Nothing about feeds belongs here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from retail_platform.errors import ConfigurationError
from retail_platform.settings import PACKAGE_DIR

ALL = "ALL"
"""Pseudo country of global reference data; also the file-name token of a file for all countries."""


class Country(BaseModel):
    """One market.

    Attributes:
        code: ISO 3166 alpha-2, upper case; the partition key.
        currency: ISO 4217 code of the money its shops take.
        feed_deadline: local time ``HH:MM`` by which a day's files are due the next morning.
        aliases: other codes and native names, matched without regard to case.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(pattern=r"^[A-Z]{2}$")
    name: str
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    timezone: str
    feed_deadline: str = Field(default="06:00", pattern=r"^\d\d:\d\d$")
    aliases: tuple[str, ...] = ()

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as exc:
            raise ValueError(f"unknown time zone {value!r}") from exc
        return value


@dataclass(frozen=True)
class CountryRegistry:
    """All markets, in partition order."""

    countries: tuple[Country, ...]

    def __iter__(self) -> Iterator[Country]:
        return iter(self.countries)

    def __getitem__(self, code: str) -> Country:
        return self._by_code[code]

    @cached_property
    def _by_code(self) -> dict[str, Country]:
        return {c.code: c for c in self.countries}

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """ISO codes in partition order."""
        return tuple(c.code for c in self.countries)

    @cached_property
    def code_by_alias(self) -> dict[str, str]:
        """Upper-cased code, name or alias -> ISO code."""
        return {
            word.upper(): c.code for c in self.countries for word in (c.code, c.name, *c.aliases)
        }

    @cached_property
    def currency_by_code(self) -> dict[str, str]:
        """ISO country code -> ISO currency code."""
        return {c.code: c.currency for c in self.countries}

    def resolve(self, word: str) -> str | None:
        """ISO code for a code, name or alias in any case; None when nobody is called that."""
        return self.code_by_alias.get(word.strip().upper())


def load_countries(path: Path | None = None) -> CountryRegistry:
    """Read a registry file.

    Raises:
        ConfigurationError: the file is missing, malformed, empty, or two countries share a name.
    """
    path = path or PACKAGE_DIR / "countries.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        countries = tuple(Country.model_validate(entry) for entry in document["countries"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValidationError) as exc:
        message = (
            f"{path} is not a country registry: {exc}. Start from retail_platform/countries.yaml."
        )
        raise ConfigurationError(message) from exc
    if not countries:
        raise ConfigurationError(f"{path} lists no country.")
    seen: dict[str, str] = {ALL: "the word for all countries"}
    for country in countries:
        for word in {w.upper() for w in (country.code, country.name, *country.aliases)}:
            if word in seen:
                message = f"{path}: {word!r} names both {seen[word]} and {country.code}."
                raise ConfigurationError(message)
            seen[word] = country.code
    return CountryRegistry(countries)
