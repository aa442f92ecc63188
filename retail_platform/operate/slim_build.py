"""Building what a pull request changes, in its clone: the modified models and what reads them.

What was modified is found by comparing with a manifest of the main branch, the one that its
installation keeps at `dbt/target/manifest.json` below RETAIL_HOME. What is not built is read where
it is: in the clone, or, should the clone lack it, where that manifest says. Models whose feeds
never came have no table anywhere, and get one without rows.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from retail_platform.assets.models import models_without_table
from retail_platform.errors import ConfigurationError
from retail_platform.operate.clones import is_clone
from retail_platform.partitions import Slices
from retail_platform.resources import dbt_resource, warehouse_resource
from retail_platform.settings import Settings
from retail_platform.transform.dbt_project import NodeResult
from retail_platform.warehouse.protocol import PublishedTable, Warehouse
from retail_platform.warehouse.versions import Versions

_ANY = date(2025, 1, 1)
MANIFEST = Path("dbt") / "target" / "manifest.json"


def manifest_folder(path: Path) -> Path:
    """The folder of a manifest that is named by itself, by its folder or by its RETAIL_HOME.

    Raises:
        ConfigurationError: there is none.
    """
    for candidate in (path, path / "manifest.json", path / MANIFEST):
        if candidate.is_file() and candidate.name == "manifest.json":
            return candidate.parent.resolve()
    raise ConfigurationError(
        f"--modified-against {path}: expected a manifest.json of dbt, its folder, or a RETAIL_HOME "
        f"that has {MANIFEST}."
    )


def build_modified(settings: Settings, against: Path) -> list[NodeResult]:
    """Build and test modified models and what reads them; readers see the marts among them.

    Args:
        against: see `manifest_folder`.

    Returns:
        What became of models, unit tests and data tests.

    Raises:
        ConfigurationError: the settings are not those of a clone.
        DbtFailed: dbt stopped before it built anything.
    """
    state = manifest_folder(against)
    if not is_clone(settings):
        place = settings.snowflake.database if settings.snowflake else settings.home
        raise ConfigurationError(
            f"{place} is not the environment of a pull request, and whole tables would be "
            "replaced; make one with `retail clone create` and set the variables that it prints."
        )
    dbt = dbt_resource(settings).project()
    warehouse = warehouse_resource(settings).open()
    with warehouse.connect():
        modified = dbt.modified(state)
        if not modified:
            return []
        nodes = [unique_id for unique_id in modified if unique_id in dbt.manifest["nodes"]]
        first = dbt.run(models_without_table(dbt, warehouse, nodes, nodes), None)
        failed = [result for result in first if not result.ok]
        results = failed or dbt.build_modified(state)
        built = {result.unique_id for result in results if result.status == "success"}
        marts = [
            PublishedTable.of(node["alias"], node["meta"]["slice_day"])
            for unique_id, node in dbt.manifest["nodes"].items()
            if unique_id in built and node["schema"] == "marts"
        ]
        if marts:
            days = _days(warehouse, marts, settings.published_path)
            # No rows have no days, and are written to a file of any month.
            warehouse.publish(
                marts, Slices(("ALL",), min(days, default=_ANY), max(days, default=_ANY))
            )
    return results


def _days(warehouse: Warehouse, marts: Sequence[PublishedTable], published: Path) -> set[date]:
    """The first and last ones of the marts; also of what readers see of them, which may go."""
    days: set[date] = set()
    versions = Versions(published)
    newest = versions.newest()
    files = versions.files(newest) if newest else {}
    for mart in marts:
        if mart.monthly:
            ((first, last),) = warehouse.query(
                f"select min({mart.day}), max({mart.day}) from marts.{mart.name}"
            )
            days |= {day for day in (first, last) if day}
            days |= {date.fromisoformat(f"{slot}-01") for slot in files.get(mart.name, ())}
    return days
