"""Building tables inside an op: build, test, count, publish; shared by both kinds of day."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg

from retail_platform.partitions import Partition, Slices
from retail_platform.transform.dbt_project import DbtFailed, DbtProject, NodeResult
from retail_platform.warehouse.protocol import PublishedTable, Warehouse


@dataclass(frozen=True)
class Table:
    """One table as the op that builds it needs to know it.

    Attributes:
        schema, table: its address in the warehouse.
        day: its day column.
    """

    key: dg.AssetKey
    schema: str
    table: str
    day: str

    @property
    def address(self) -> str:
        """``schema.table``."""
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class Model(Table):
    """A table that is a dbt model."""

    unique_id: str


def models_of(
    specs: Sequence[dg.AssetSpec], manifest: Mapping[str, Any]
) -> dict[dg.AssetKey, Model]:
    """Models behind asset specs, inputs before what is made of them."""
    unique_ids = {spec.metadata["dagster_dbt/unique_id"]: spec for spec in specs}
    parents = {
        unique_id: [
            p for p in manifest["nodes"][unique_id]["depends_on"]["nodes"] if p in unique_ids
        ]
        for unique_id in unique_ids
    }
    found = {}
    for unique_id in TopologicalSorter(parents).static_order():
        spec = unique_ids[unique_id]
        node = manifest["nodes"][unique_id]
        found[spec.key] = Model(
            key=spec.key,
            unique_id=unique_id,
            schema=node["schema"],
            table=node["alias"],
            day=node["meta"]["slice_day"],
        )
    return found


class TableRun(ABC):
    """Builds the selected tables of one run over its slices."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        tables: Mapping[dg.AssetKey, Table],
        warehouse: Warehouse,
    ) -> None:
        """Pick the tables and checks this run has selected.

        Args:
            tables: inputs before what is made of them.
        """
        self._context = context
        self._warehouse = warehouse
        self.tables = {k: t for k, t in tables.items() if k in context.selected_asset_keys}
        self._checks = {
            key for key in context.selected_asset_check_keys if key.asset_key in self.tables
        }

    @abstractmethod
    def build(self, slices: Slices) -> None:
        """Replace the slices of the tables."""

    @abstractmethod
    def checks(self, slices: Slices) -> Iterator[dg.AssetCheckEvaluation]:
        """What is to be said about the slices, once they are built."""

    def row_counts(self, slices: Slices) -> dict[dg.AssetKey, dict[Partition, int]]:
        """Rows per table and partition inside the slices, in one query."""
        statement = " union all ".join(
            f"select {n}, country, {m.day}, count(*) from {m.address} "
            f"where {slices.condition(m.day)} group by all"
            for n, m in enumerate(self.tables.values())
        )
        counts: dict[dg.AssetKey, dict[Partition, int]] = {key: {} for key in self.tables}
        keys = list(self.tables)
        for number, country, day, count in self._warehouse.query(statement):
            counts[keys[number]][Partition(country, day)] = count
        return counts

    def materializations(
        self,
        wanted: Mapping[dg.AssetKey, Collection[Partition]],
        counts: Mapping[dg.AssetKey, Mapping[Partition, int]],
    ) -> Iterator[dg.AssetMaterialization]:
        """One event per table and partition, inputs before what is made of them.

        Args:
            counts: rows, as `row_counts` found them.
        """
        for key in self.tables:
            for partition in sorted(wanted[key], key=lambda p: (p.day, p.country)):
                rows = counts[key].get(partition, 0)
                yield dg.AssetMaterialization(
                    key, partition=str(partition), metadata={"dagster/partition_row_count": rows}
                )

    def publish(self, slices: Slices) -> None:
        """Give readers their copy of the marts that changed."""
        tables = [
            PublishedTable.of(m.table, m.day) for m in self.tables.values() if m.schema == "marts"
        ]
        if tables:
            self._warehouse.publish(tables, slices, self._context.run_id)


class ModelRun(TableRun):
    """Builds dbt models, and tests them with dbt."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        models: Mapping[dg.AssetKey, Model],
        dbt: DbtProject,
        warehouse: Warehouse,
    ) -> None:
        """Pick the models and tests this run has selected."""
        super().__init__(context, models, warehouse)
        self._dbt = dbt
        self._models = [m for key, m in models.items() if key in self.tables]

    def build(self, slices: Slices) -> None:
        """Build the models, and those below them that have no table yet.

        Raises:
            DbtFailed: listing every model that failed, with the database's words.
        """
        with self._warehouse.connect():
            selected = [m.unique_id for m in self._models]
            names = {key.name for key in self._checks}
            tests = [i for i, (name, _) in self._severities().items() if name in names]
            inputs = models_without_table(
                self._dbt, self._warehouse, [*selected, *tests], but=selected
            )
            models = [*inputs, *(m.table for m in self._models)]
            results = self._dbt.run(models, slices, self._context.run_id)
        self._context.log.info(
            "\n".join(f"{r.unique_id}: {r.status} in {r.seconds:.2f} s" for r in results)
        )
        failed = [r for r in results if r.status == "error"]
        if failed:
            raise DbtFailed("\n".join(f"{r.unique_id}: {r.message}" for r in failed))

    def checks(self, slices: Slices) -> Iterator[dg.AssetCheckEvaluation]:
        """Run the tests of the models; what they found, as results of asset checks."""
        by_name = {key.name: key for key in self._checks}
        results = self._dbt.test(sorted(by_name), slices, self._context.run_id)
        severities = self._severities()
        for result in results:
            name = severities.get(result.unique_id, ("", ""))[0]
            key = by_name.get(name)
            if key:
                yield _evaluation(key, result, severities[result.unique_id][1], slices)

    def _severities(self) -> dict[str, tuple[str, str]]:
        return {
            unique_id: (node["name"], node["config"].get("severity", "ERROR").upper())
            for unique_id, node in self._dbt.manifest["nodes"].items()
            if node["resource_type"] == "test"
        }


def models_without_table(
    dbt: DbtProject, warehouse: Warehouse, nodes: Sequence[str], but: Collection[str] = ()
) -> list[str]:
    """Models among these nodes, and those that they are made of, that were never built.

    Their feed never came; a feed that is not there must not keep the others out of the marts.

    Args:
        nodes: models and tests, by unique id.
        but: models that are about to be built.
    """
    known = dbt.manifest["nodes"]
    found: set[str] = set()
    unseen = {*nodes}
    while unseen:
        node = unseen.pop()
        found.add(node)
        unseen |= {p for p in known[node]["depends_on"]["nodes"] if p in known} - found
    existing = warehouse.tables()
    return sorted(
        known[unique_id]["name"]
        for unique_id in found.difference(but)
        if known[unique_id]["resource_type"] == "model"
        and (known[unique_id]["schema"], known[unique_id]["alias"]) not in existing
    )


def _evaluation(
    key: dg.AssetCheckKey, result: NodeResult, severity: str, slices: Slices
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=result.status == "pass",
        severity=dg.AssetCheckSeverity.ERROR if severity == "ERROR" else dg.AssetCheckSeverity.WARN,
        blocking=False,
        metadata={
            "failing_rows": result.failures,
            "slices": str(slices),
            "message": result.message or "passed",
            "sql": dg.MetadataValue.md(f"```sql\n{result.sql.strip()}\n```"),
        },
    )
