"""The dbt models on DuckDB, without the rest of the platform: RAW is filled row by row, with the
columns that `_raw__sources.yml` names, so nothing of the gate or the loader is involved.
"""

from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

PROJECT = Path(__file__).parents[1] / "dbt_project"
# Writing the manifest takes as long as building the models.
QUIET = ("--quiet", "--no-use-colors", "--log-level-file", "none", "--no-write-json")
CENT, BASIS_POINT = Decimal("0.01"), Decimal("0.0001")
Row = dict[str, Any]


def raw_columns() -> dict[str, dict[str, str]]:
    """Column types per RAW table, as the dbt sources declare them."""
    sources = yaml.safe_load((PROJECT / "models/staging/_raw__sources.yml").read_text("utf-8"))
    return {
        table["name"]: {column["name"]: column["data_type"] for column in table["columns"]}
        for table in sources["sources"][0]["tables"]
    }


class Warehouse:
    """A DuckDB file with RAW tables, and dbt runs on it. Ours and dbt's connection take turns."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.path = folder / "warehouse.duckdb"
        self.manifest = manifest
        self.columns = raw_columns()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def create_raw(self) -> None:
        self.execute("create schema raw")
        for table, columns in self.columns.items():
            ddl = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            self.execute(f"create table raw.{table} ({ddl})")

    def execute(self, sql: str, parameters: object = None) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = duckdb.connect(str(self.path))
        rows: list[tuple[Any, ...]] = self._connection.execute(sql, parameters).fetchall()
        return rows

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def deliver(
        self, feed: str, country: str, day: date, rows: list[Row], version: int = 1
    ) -> None:
        """Replace one RAW slice by the given rows; a row may override any column."""
        self.execute("begin")  # a commit for each row takes longer than all the rest
        self.execute(
            f"delete from raw.{feed} where _country = ? and _batch_date = ?", [country, day]
        )
        self.insert(
            feed,
            *(
                {
                    "_country": country,
                    "_batch_date": day,
                    "_delivered_at": f"{day} 22:{version:02}:00",
                    "_file_id": f"{feed}-{country}-{day}-v{version}",
                    "_source_file": f"{feed}_{country}_{day:%Y%m%d}.csv",
                    "_row_number": number,
                    **row,
                }
                for number, row in enumerate(rows, start=1)
            ),
        )
        self.execute(
            "delete from raw.file_ledger where feed = ? and country = ? and batch_date = ?",
            [feed, country, day],
        )
        counts = {"rows_in": len(rows), "rows_loaded": len(rows)}
        nothing = {"rows_quarantined": 0, "rows_duplicate": 0, "reasons": "{}", "state": "loaded"}
        slice_ = {"feed": feed, "country": country, "batch_date": day}
        self.insert("file_ledger", {**slice_, **counts, **nothing})
        self.execute("commit")

    def insert(self, table: str, *rows: Row) -> None:
        """Rows may have different columns; those with the same ones share a statement."""
        for names, alike in groupby(rows, key=tuple):
            values = [list(row.values()) for row in alike]
            places = ", ".join(f"({', '.join('?' * len(names))})" for _ in values)
            self.execute(
                f"insert into raw.{table} ({', '.join(names)}) values {places}",
                list(chain.from_iterable(values)),
            )

    def dbt(self, *arguments: str, **variables: object) -> dbtRunnerResult:
        """Run dbt in this process on the manifest parsed once; vars as keywords."""
        self.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RETAIL_DUCKDB_PATH", str(self.path))
            # dbt changes into its project; relative paths of other tests must survive that
            patch.chdir(self.folder)
            try:
                return dbtRunner(manifest=self.manifest).invoke(
                    [
                        *QUIET, *arguments, *places(self.folder),
                        "--vars", yaml.safe_dump({k: str(v) for k, v in variables.items()}),
                    ]
                )  # fmt: skip
            finally:
                # dbt-duckdb keeps the file open otherwise, and its lock with it
                DuckDBConnectionManager.close_all_connections()

    def run(self, select: str = "*", exclude: str = "", **variables: object) -> None:
        result = self.dbt("run", "--select", select, "--exclude", exclude, **variables)
        assert result.success, messages(result)

    def table(self, name: str) -> list[tuple[Any, ...]]:
        return sorted(self.execute(f"select * from {name}"), key=repr)


def places(scratch: Path) -> list[str]:
    """Where the project is, and a folder for all that dbt writes."""
    project, folder = str(PROJECT), str(scratch)
    return ["--project-dir", project, "--profiles-dir", project,
            "--target-path", folder, "--log-path", folder]  # fmt: skip


def messages(result: dbtRunnerResult) -> str:
    """What went wrong, for assertion texts."""
    nodes = getattr(result.result, "results", None) or []
    bad = [f"{n.node.name}: {n.message}" for n in nodes if n.status in ("error", "fail")]
    return "\n".join(bad) or str(result.exception)


def outcomes(result: dbtRunnerResult) -> dict[str, str]:
    """Status per node name."""
    return {node.node.name: str(node.status) for node in result.result.results}


def sale(invoice: str, line: int, price: str, at: str, **overrides: object) -> Row:
    """A valid store line; price is that of one piece."""
    country, store = invoice.split("-")[1:3]
    currency = {"FR": "EUR", "US": "USD", "GB": "GBP", "CN": "CNY"}[country]
    quantity = int(str(overrides.get("quantity", 1)))
    discount = Decimal(str(overrides.get("discount", "0")))
    is_return = invoice.startswith("RET")
    total = (Decimal(price) * quantity * (1 - discount)).quantize(Decimal("0.01"))
    return {
        "invoice_id": invoice,
        "line": line,
        "customer_id": 1,
        "product_id": 1,
        "unit_price": Decimal(price),
        "quantity": quantity,
        "sold_at": datetime.fromisoformat(at),
        "discount": discount,
        "line_total": -total if is_return else total,
        "store_id": int(store),
        "employee_id": 1,
        "currency": currency,
        "sku": "MASU485-M-",
        "transaction_type": "Return" if is_return else "Sale",
        "payment_method": "Cash",
        **overrides,
    }


def rate(day: date, currency: str, units_per_eur: str) -> Row:
    return {"rate_date": day, "currency": currency, "rate": Decimal(units_per_eur)}


# ------------------------------------------------------------------------ arithmetic of the oracles


def share(part: Decimal | int, whole: Decimal | int) -> Decimal | None:
    """To four decimals, away from zero at a tie; of nothing there is none."""
    return (Decimal(part) / whole).quantize(BASIS_POINT, ROUND_HALF_UP) if whole > 0 else None
