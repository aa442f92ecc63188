"""Deliveries for tests: one valid row per feed, and a desk that takes deliveries in.

A test starts from a valid row and changes what it is about, so that nothing else can be the reason
for what it sees.
"""

import gzip
import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from retail_platform.contract import FeedContract, load_contracts
from retail_platform.countries import CountryRegistry, load_countries
from retail_platform.gate.gate import Gate, GateReport
from retail_platform.lake.inbox import (
    Rejection,
    forget_rejections,
    inbox_name,
    plan_arrivals,
    read_rejections,
    record_rejections,
)
from retail_platform.lake.manifest import FileFacts, FileState, Manifest, read_manifests
from retail_platform.lake.store import INBOX, MANIFESTS, Lake
from retail_platform.partitions import Partition
from retail_platform.protection.keys import DataKeys
from retail_platform.protection.originals import decrypted
from retail_platform.protection.values import Protector
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform.warehouse.protocol import PartitionLoad

CONTRACTS = load_contracts()
REGISTRY = load_countries()
KEYS = DataKeys({1: b"a key that only tests ever use.."})
DAY = date(2025, 1, 11)
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
FIRST_DAY = date(2023, 1, 1)
Row = dict[str, str]

_VALID: Mapping[str, Row] = {
    "transactions": {
        "invoice_id": "INV-{cc}-021-00000001",
        "line": "1",
        "customer_id": "1001",
        "product_id": "485",
        "size": "M",
        "color": "",
        "unit_price": "50.00",
        "quantity": "2",
        "sold_at": "{day} 10:15:00",
        "discount": "0.1",
        "line_total": "90.00",
        "store_id": "21",
        "employee_id": "7",
        "currency": "{currency}",
        "currency_symbol": "*",
        "sku": "MASU485-M-",
        "transaction_type": "Sale",
        "payment_method": "Cash",
        "invoice_total": "90.00",
    },
    "stores": {
        "store_id": "21",
        "country_name": "{country}",
        "city": "Lyon",
        "store_name": "Store Lyon",
        "number_of_employees": "8",
        "zip_code": "06000",
        "latitude": "45.76",
        "longitude": "4.83",
    },
    "employees": {
        "employee_id": "7",
        "store_id": "21",
        "name": "Zoé Faure",
        "position": "Sales Associate",
    },
    "customers": {
        "customer_id": "1001",
        "name": "Zoé Faure",
        "email": "zoe@fake_gmail.com",
        "telephone": "+33 3 25 13 71 87",
        "city": "Lyon",
        "country_name": "{country}",
        "gender": "F",
        "date_of_birth": "1980-02-29",
        "job_title": "",
    },
    "products": {
        "product_id": "485",
        "category": "Masculine",
        "sub_category": "Suits and Blazers",
        "description_pt": "Fato",
        "description_de": "Anzug",
        "description_fr": "Costume",
        "description_es": "Traje",
        "description_en": "Suit",
        "description_zh": "西装",
        "color": "",
        "sizes": "S|M|L",
        "production_cost": "16.10",
    },
    "discounts": {
        "starts_on": "2025-01-01",
        "ends_on": "2025-01-10",
        "discount": "0.4",
        "description": "40% discount during our Winter Sale",
        "category": "Masculine",
        "sub_category": "Suits and Blazers",
    },
    "fx_rates": {"rate_date": "{day}", "currency": "USD", "rate": "1.0301"},
    "partner_stores": {"store_group": "g1", "store_token": "s-1", "store_name": "Corner"},
    "partner_sales": {
        "store_token": "s-1",
        "transaction_id": "t-1",
        "receipt_token": "r-1",
        "transaction_time": "{day} 10:00:00",
        "amount": "$150.50",
        "source_id": "till",
        "user_role": "cashier",
    },
    "inventory_movements": {
        "movement_id": "1",
        "moved_at": "{day} 09:00:00",
        "movement_type": "receipt",
        "store_id": "21",
        "product_id": "485",
        "size": "M",
        "quantity": "2",
        "unit_cost": "16.1000",
        "currency": "{currency}",
        "supplier_id": "SUP-0001",
        "counterpart_store_id": "",
        "reference": "",
    },
    "suppliers": {
        "supplier_id": "SUP-0001",
        "name": "Weavers",
        "home_country": "PT",
        "category": "Masculine",
        "currency": "EUR",
        "lead_time_days": "14",
        "minimum_order_quantity": "50",
        "payment_terms_days": "30",
        "on_time_rate": "0.9",
        "contact_email": "orders@fake_supplier.com",
    },
    "competitor_prices": {
        "competitor": "Rival",
        "product_id": "485",
        "observed_on": "{day}",
        "price": "48.00",
        "currency": "{currency}",
        "is_promotion": "false",
        "in_stock": "true",
    },
}
_NAMES = {"CN": "中国", "DE": "Deutschland", "ES": "España", "GB": "United Kingdom"}
_SPOKEN = {"FR": "France", "PT": "Portugal", "US": "United States", **_NAMES}


def row(feed: str, country: str = "FR", day: date = DAY, **changes: str) -> Row:
    """A row that satisfies the contract of a feed, with changes; column name -> text."""
    facts = {
        "cc": "UK" if country == "GB" else country,  # receipts say UK
        "country": _SPOKEN.get(country, country),
        "currency": REGISTRY.currency_by_code.get(country, "EUR"),
        "day": day.isoformat(),
    }
    unknown = changes.keys() - _VALID[feed].keys()
    assert not unknown, f"{feed} has no column {unknown}"
    return {name: text.format(**facts) for name, text in _VALID[feed].items()} | changes


def unprotected(feed: str) -> FeedContract:
    """The contract of a feed as if nobody had thought of its personal data."""
    columns = tuple(replace(c, protect=None) for c in CONTRACTS[feed].columns)
    return replace(CONTRACTS[feed], columns=columns, schema_version="unprotected")


def receipts(count: int, country: str = "FR", day: date = DAY, first: int = 1) -> list[Row]:
    """Valid, distinct transaction rows."""
    code = "UK" if country == "GB" else country
    return [
        row("transactions", country, day, invoice_id=f"INV-{code}-021-{number:08d}")
        for number in range(first, first + count)
    ]


def csv_text(
    feed: str,
    rows: Iterable[Row],
    *,
    delimiter: str = ",",
    header: bool = True,
    columns: Sequence[str] | None = None,
    newline: str = "\n",
) -> str:
    """Rows as partners write them: original header names, no quotes unless a value has them."""
    contract = CONTRACTS[feed]
    names = list(columns or contract.column_by_name)
    lines = [delimiter.join(contract.column_by_name[n].header for n in names)] if header else []
    lines += [delimiter.join(r[n] for n in names) for r in rows]
    return "".join(line + newline for line in lines)


@dataclass(frozen=True)
class Outcome:
    """What one look at the inbox brought.

    Attributes:
        refused: file name -> why, from names and from the gate.
        waiting: files without what belongs to them.
        manifests: feed -> partitions that changed.
    """

    refused: Mapping[str, Rejection]
    manifests: Mapping[str, Mapping[Partition, Manifest]]
    settling: int
    waiting: Sequence[str] = ()

    def code(self, name: str) -> str | None:
        """Why a file was refused, None when it was not."""
        return self.refused[name].code if name in self.refused else None

    @property
    def partitions(self) -> set[str]:
        """``feed FR|2025-01-11`` of everything that changed."""
        return {f"{feed} {p}" for feed, changed in self.manifests.items() for p in changed}


@dataclass
class Desk:
    """Does what a batch-day run does with the inbox, without Dagster."""

    lake: Lake
    warehouse: DuckDBWarehouse | None = None
    contracts: Mapping[str, FeedContract] = field(default_factory=lambda: CONTRACTS)
    registry: CountryRegistry = REGISTRY
    keys: DataKeys = KEYS
    now: datetime = NOW
    settle: timedelta = timedelta(0)
    clock: datetime = datetime(2025, 1, 12, 6, tzinfo=UTC)
    on_step: Callable[[str], None] = lambda step: None

    def deliver(self, name: str, content: str | bytes, at: datetime | None = None) -> None:
        """Put a file into the inbox; without a time, a minute after the one before."""
        data = content.encode() if isinstance(content, str) else content
        self.lake.put(INBOX + name, data)
        if at is None:
            self.clock += timedelta(minutes=1)
        if self.lake.local_root:
            stamp = (at or self.clock).timestamp()
            os.utime(self.lake.local_root / INBOX / name, (stamp, stamp))

    def take_in(self, *, load: bool = True) -> Outcome:
        """Look at the inbox once: plan, gate, records of refusals, RAW. Checks every identity."""
        objects = list(self.lake.list(INBOX))
        known = read_rejections(self.lake)
        forget_rejections(self.lake, known, {inbox_name(o): o.version for o in objects})
        plan = plan_arrivals(
            objects,
            self.contracts,
            self.registry,
            known_rejections=known,
            first_day=FIRST_DAY,
            now=self.now,
            settle=self.settle,
        )
        refused = list(plan.rejections)
        manifests = {}
        for feed, contract in self.contracts.items():
            arrivals = [a for a in plan.arrivals if a.file.feed == feed]
            halves = [w.arrival for w in plan.waiting if w.is_data and w.arrival.file.feed == feed]
            if not (arrivals or halves):
                continue
            gate = Gate(self.lake, contract, self.registry, self.keys, on_step=self.on_step)
            gate.clear_away(halves)
            report: GateReport = gate.take_in(arrivals)
            refused += report.rejections
            manifests[feed] = report.manifests
        record_rejections(self.lake, refused)
        if load:
            for feed, changed in manifests.items():
                self.load(feed, changed.values())
        self.check_identities(loaded=load)
        waiting = [str(half) for half in plan.waiting]
        return Outcome({r.name: r for r in refused}, manifests, plan.settling, waiting)

    def load(self, feed: str, manifests: Iterable[Manifest], run_id: str = "run") -> None:
        """Bring manifests into RAW."""
        assert self.warehouse, "This test needs a warehouse."
        loads = [PartitionLoad.of(m) for m in manifests]
        self.warehouse.replace_partitions(self.lake, self.contracts[feed], loads, run_id)

    def inbox(self) -> set[str]:
        """Names of the files that lie in the inbox."""
        return {inbox_name(o) for o in self.lake.list(INBOX)}

    def manifest(self, feed: str, key: str) -> Manifest:
        """The manifest of one partition, e.g. ``FR|2025-01-11``."""
        partition = Partition.parse(key)
        return read_manifests(self.lake, feed, [partition])[partition]

    def states(self, feed: str, key: str) -> list[FileState]:
        """Files of one partition, oldest delivery first."""
        return sorted(self.manifest(feed, key).file_states(), key=lambda f: f.delivered_at)

    def facts(self, feed: str, key: str) -> FileFacts:
        """The only file of one partition."""
        (state,) = self.states(feed, key)
        return state.facts

    def raw(self, feed: str, columns: str, key: str | None = None) -> list[tuple]:
        """Rows of a RAW table, sorted."""
        assert self.warehouse, "This test needs a warehouse."
        where = ""
        if key:
            partition = Partition.parse(key)
            where = f"where _country = '{partition.country}' and _batch_date = '{partition.day}'"
        return self.warehouse.query(f"select {columns} from raw.{feed} {where} order by all")

    def raw_counts(self, feed: str) -> dict[str, int]:
        """Rows of a RAW table by country."""
        return Counter(country for (country,) in self.raw(feed, "_country"))

    def quarantine(self, facts: FileFacts) -> list[tuple[int, str, list[str]]]:
        """(row number, original text, reasons) of a file's refused rows."""
        frames = [pl.read_parquet(io.BytesIO(self.lake.get(path))) for path in facts.quarantine]
        frame = pl.concat(frames).filter(pl.col("_file_id") == facts.file_id)
        if "_line_enc" in frame.columns:
            feed = facts.quarantine[0].split("/")[1]
            lines = self.opened(feed, "_line", frame["_line_enc"])
            frame = frame.with_columns(_line=lines)
        return frame.select("_row_number", "_line", "_reasons").sort("_row_number").rows()

    def opened(self, feed: str, column: str, values: pl.Series) -> pl.Series:
        """Encrypted values in clear."""
        return Protector(self.contracts[feed], self.keys).decrypted(values, column)

    def original(self, facts: FileFacts) -> bytes:
        """A file as it was delivered, from history."""
        content = self.lake.get(facts.history)
        if facts.history.endswith(".enc"):
            return b"".join(decrypted([content], self.keys))
        return content

    def check_identities(self, *, loaded: bool = True) -> None:
        """Every accepted file: rows in = loaded + quarantined + duplicate, and all of it is there.

        The counts are not believed: rows are counted in the lake, the original in history is
        hashed, and the ledger and RAW are asked, if everything was loaded.
        """
        paths = [o.path for o in self.lake.list(MANIFESTS)]
        manifests = [Manifest.model_validate_json(self.lake.get(path)) for path in paths]
        stored = {
            kind: self._rows_by_object(kind) for kind in ("data/", "quarantine/") if manifests
        }
        for manifest in manifests:
            for facts in manifest.files.values():
                assert facts.rows_in == (
                    facts.rows_loaded + facts.rows_quarantined + facts.rows_duplicate
                )
                key = facts.file_id, manifest.country
                data = sum(stored["data/"][path].get(key, 0) for path in facts.data)
                bad = sum(stored["quarantine/"][path].get(key, 0) for path in facts.quarantine)
                assert (data, bad) == (facts.rows_loaded, facts.rows_quarantined), facts.name
                original = hashlib.sha256(self.original(facts)).hexdigest()
                assert original == facts.checksum, facts.history
        if loaded and self.warehouse and self.warehouse.path.exists():
            self._check_ledger(manifests)

    def _rows_by_object(self, kind: str) -> dict[str, dict[tuple[str, str], int]]:
        """Object -> (file, country) -> rows."""
        return {
            o.path: {
                (file_id, country): count
                for file_id, country, count in pl.read_parquet(
                    io.BytesIO(self.lake.get(o.path)), columns=["_file_id", "_country"]
                )
                .group_by("_file_id", "_country")
                .len()
                .rows()
            }
            for o in self.lake.list(kind)
        }

    def _check_ledger(self, manifests: Sequence[Manifest]) -> None:
        """The ledger lists the files of the manifests, and RAW holds the rows of the loaded ones.

        Partitions that are not in the ledger were not loaded yet; RAW must not know them either.
        """
        assert self.warehouse
        with self.warehouse.connect() as connection:
            ledger = connection.execute(
                "select feed, country, batch_date, file_id, state, rows_in, rows_loaded, "
                "rows_quarantined, rows_duplicate from raw.file_ledger"
            ).fetchall()
            raw = {
                (feed, *key): rows
                for (feed,) in connection.execute(
                    "select distinct feed from raw.file_ledger"
                ).fetchall()
                for *key, rows in connection.execute(
                    f"select _country, _batch_date, _file_id, count(*) from raw.{feed} group by all"
                ).fetchall()
            }
        partitions = {entry[:3] for entry in ledger}
        expected = {
            (m.feed, m.country, m.day, f.facts.file_id): f
            for m in manifests
            for f in m.file_states()
            if (m.feed, m.country, m.day) in partitions
        }
        assert {entry[:5] for entry in ledger} == {(*key, f.state) for key, f in expected.items()}
        assert all(entry[5] == sum(entry[6:]) for entry in ledger)
        assert raw == {
            key: f.facts.rows_loaded
            for key, f in expected.items()
            if f.state == "loaded" and f.facts.rows_loaded
        }


def gzipped(content: str | bytes) -> bytes:
    """Compressed the same way every time (no time stamp inside)."""
    data = content.encode() if isinstance(content, str) else content
    return gzip.compress(data, mtime=0)


def local_desk(folder: Path, **options: object) -> Desk:
    """A desk over a new local lake and warehouse."""
    lake = Lake.open((folder / "lake").as_uri())
    return Desk(lake, DuckDBWarehouse(folder / "warehouse.duckdb"), **options)  # type: ignore[arg-type]
