"""The market registry as the dbt project knows it: a macro, because dbt reads no file of others.

``make markets`` writes it anew, after the registry changed.
"""

from retail_platform.countries import CountryRegistry, load_countries
from retail_platform.settings import PROJECT_DIR

MACRO_FILE = PROJECT_DIR / "dbt_project" / "macros" / "known_markets.sql"

_MACRO = """\
{{#- Written by `make markets`: the countries of the market registry. -#}}
{{% macro known_markets() %}}
    {{% do return({{
{lines}
    }}) %}}
{{% endmacro %}}
"""


def macro_text(registry: CountryRegistry) -> str:
    """The macro file: name, currency and time zone of each country."""
    told = {"name", "currency", "timezone"}
    lines = [f"        {c.code!r}: {c.model_dump(include=told)!r}," for c in registry]
    return _MACRO.format(lines="\n".join(lines))


if __name__ == "__main__":
    MACRO_FILE.write_text(macro_text(load_countries()), encoding="utf-8")
