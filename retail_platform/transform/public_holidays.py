"""Public holidays as the dbt project knows them: a macro written from the `holidays` library.

SQL cannot ask the library, and a table loaded beside the models would be an input that no
partition knows of. A macro is code, so marts stay a function of the lake and of code.
``make holidays`` writes it anew, after the library or the market registry changed.
"""

import holidays

from retail_platform.countries import CountryRegistry, load_countries
from retail_platform.settings import PROJECT_DIR

MACRO_FILE = PROJECT_DIR / "dbt_project" / "macros" / "known_public_holidays.sql"
YEARS = range(2020, 2036)

_MACRO = """\
{{#- Written by `make holidays`: public holidays of whole countries from {first} to {last}. -#}}
{{% macro known_public_holidays() -%}}
{lines}
{{%- endmacro %}}

{{% macro where_public_holidays_are_known() %}}
    {{% do return({{'countries': {countries}, 'first_year': {first}, 'last_year': {last}}}) %}}
{{% endmacro %}}
"""


def macro_text(registry: CountryRegistry) -> str:
    """The macro file: a line ``country,date,name`` for each holiday of the registry's countries."""
    lines = [
        f"{country.code},{day},{name}"
        for country in registry
        for day, name in sorted(
            # Without a language the library follows the locale of whoever runs it.
            holidays.country_holidays(country.code, years=YEARS, language="en_US").items()
        )
    ]
    countries = list(dict.fromkeys(line[:2] for line in lines))
    return _MACRO.format(
        first=YEARS[0], last=YEARS[-1], lines="\n".join(lines), countries=countries
    )


if __name__ == "__main__":
    MACRO_FILE.write_text(macro_text(load_countries()), encoding="utf-8")
