"""Rows that broke their contract: where they are, why, and how they come back.

Reads the lake and puts corrected files into the inbox; what follows is the road every file takes.
Rows are exported a line each, in the format of their feed: CSV under its header, or NDJSON.
"""

import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from retail_platform.contract import FeedContract, Format
from retail_platform.errors import ConfigurationError, RetailError
from retail_platform.gate.compression import compress
from retail_platform.gate.control_totals import Meter, Restated, Trailer
from retail_platform.gate.frames import Piece, text_frame
from retail_platform.gate.json_frames import JsonPiece, json_frame
from retail_platform.gate.json_records import Records, read_records
from retail_platform.gate.layout import recognise, split_line
from retail_platform.gate.text import FileText, Rows, fetch
from retail_platform.lake.json_pages import json_file
from retail_platform.lake.manifest import FileFacts, Manifest, read_manifests
from retail_platform.lake.naming import CONTROL_SUFFIXES
from retail_platform.lake.store import INBOX, MANIFESTS, Lake
from retail_platform.partitions import Partition
from retail_platform.protection.keys import DataKeys
from retail_platform.protection.values import LINE, Protector


class NotRequeued(RetailError):
    """What a person wanted to put back does not fit what lies in quarantine."""


@dataclass(frozen=True)
class QuarantinedFile:
    """A file that counts, with rows that do not.

    Attributes:
        judged_by_current_contract: False when a replay may find something else.
    """

    feed: str
    partition: Partition
    facts: FileFacts
    judged_by_current_contract: bool

    def as_json(self) -> dict[str, object]:
        """Plain values for `--json`."""
        return {
            "feed": self.feed,
            "partition": str(self.partition),
            "file": self.facts.name,
            "file_id": self.facts.file_id,
            "rows": self.facts.rows_in,
            "quarantined": self.facts.rows_quarantined,
            "reasons": dict(self.facts.reasons),
            "judged_by_current_contract": self.judged_by_current_contract,
        }


def stored_partitions(
    lake: Lake,
    feeds: Collection[str],
    countries: Collection[str],
    first: date,
    last: date,
) -> dict[str, set[Partition]]:
    """Feed -> partitions that have a manifest, found in one listing."""
    found: dict[str, set[Partition]] = {}
    for obj in lake.list(MANIFESTS):
        feed, country, name = obj.path.removeprefix(MANIFESTS).split("/")
        day = date.fromisoformat(name.removesuffix(".json"))
        if feed in feeds and country in countries and first <= day <= last:
            found.setdefault(feed, set()).add(Partition(country, day))
    return found


def quarantined_files(
    lake: Lake,
    contracts: Mapping[str, FeedContract],
    partitions: Mapping[str, Collection[Partition]],
) -> Iterator[QuarantinedFile]:
    """Active files with quarantined rows, by feed, day and country.

    Args:
        partitions: feed -> where to look.
    """
    for feed in sorted(partitions):
        manifests = read_manifests(lake, feed, partitions[feed])
        for partition in sorted(manifests, key=lambda p: (p.day, p.country)):
            for facts in _active(manifests[partition]):
                if facts.rows_quarantined:
                    current = facts.schema_version == contracts[feed].schema_version
                    yield QuarantinedFile(feed, partition, facts, current)


def _active(manifest: Manifest) -> list[FileFacts]:
    return [state.facts for state in manifest.file_states() if state.state == "loaded"]


def quarantined_rows(
    lake: Lake, contract: FeedContract, file: QuarantinedFile, keys: DataKeys | None = None
) -> pl.DataFrame:
    """Rows of one file: `row` (number in the file), `reasons` (list), `line` (original text).

    Args:
        keys: of the lake; lines of a feed with personal data are encrypted.
    """
    frames = [
        pl.read_parquet(io.BytesIO(lake.get(path))).filter(
            (pl.col("_file_id") == file.facts.file_id)
            & (pl.col("_country") == file.partition.country)
        )
        for path in file.facts.quarantine
    ]
    return (
        pl.concat([_with_lines(frame, contract, keys) for frame in frames])
        .select(row="_row_number", reasons="_reasons", line=LINE)
        .sort("row")
    )


def _with_lines(frame: pl.DataFrame, contract: FeedContract, keys: DataKeys | None) -> pl.DataFrame:
    sealed = f"{LINE}_enc"
    if sealed not in frame.columns:
        return frame
    if keys is None:
        raise ConfigurationError(f"Quarantined rows of {contract.name} open with data keys only.")
    line = Protector(contract, keys).decrypted(frame[sealed], LINE)
    return frame.with_columns(line.alias(LINE)).drop(sealed)


def export(
    lake: Lake,
    contract: FeedContract,
    file: QuarantinedFile,
    target: Path,
    keys: DataKeys | None = None,
) -> int:
    """Write the quarantined rows as a file a person can correct, under the header they came with.

    Nobody else may read it: it holds what partners sent, in clear.

    Args:
        keys: see `quarantined_rows`.

    Returns:
        How many rows.

    Raises:
        NotRequeued: the target exists already.
    """
    if target.exists():
        raise NotRequeued(f"{target} exists already; name another file.")
    rows = quarantined_rows(lake, contract, file, keys)
    header, _ = _original_rows(lake, contract, file, keys)
    lines = [*([header] if header is not None else []), *_lines(rows["line"], contract)]
    target.touch(mode=0o600)
    target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return rows.height


def requeue(
    lake: Lake,
    contract: FeedContract,
    file: QuarantinedFile,
    corrected: bytes,
    keys: DataKeys | None = None,
) -> tuple[str, int]:
    """Put the file into the inbox again with its quarantined rows corrected.

    It arrives under its old name and so replaces what was delivered under it; the ledger keeps
    both. Rows are matched by their order, so there must be as many as were exported.

    Args:
        corrected: what `export` wrote, corrected, UTF-8.
        keys: see `quarantined_rows`.

    Returns:
        Name in the inbox, and how many rows were replaced.

    Raises:
        NotRequeued: another number of rows than lie in quarantine, or a file of this name waits in
            the inbox already.
    """
    header, rows = _original_rows(lake, contract, file, keys)
    lines = [line for line in corrected.decode("utf-8-sig").splitlines() if line.strip()]
    if header is not None and lines and lines[0].strip() == header.strip():
        lines = lines[1:]
    numbers = quarantined_rows(lake, contract, file, keys)["row"].to_list()
    if len(lines) != len(numbers):
        raise NotRequeued(
            f"{len(lines)} corrected rows, but {len(numbers)} rows of {file.facts.name} lie in "
            "quarantine. Export them again and correct each in its place."
        )
    control = INBOX + file.facts.name + CONTROL_SUFFIXES[0]
    if lake.head(INBOX + file.facts.name) or (contract.has_sidecars and lake.head(control)):
        raise NotRequeued(
            f"{file.facts.name} waits in the inbox already; run the platform first, then export "
            "again."
        )
    for number, line in zip(numbers, lines, strict=True):
        rows[number - 1] = line
    totals = _restated(header, rows, file.facts, contract)
    if contract.ingestion.format is Format.JSON:
        records = (line.encode() for line in _lines(pl.Series(rows, dtype=pl.String), contract))
        content = b"".join(json_file(records, contract.ingestion.record_path))
    else:
        all_lines = [*([header] if header is not None else []), *rows]
        if totals and not contract.has_sidecars:
            all_lines.append(totals.trailer)
        content = "".join(f"{line}\n" for line in all_lines).encode()
    packed = compress(content, file.facts.name)
    if totals and contract.has_sidecars:
        lake.put(control, totals.sidecar(packed).encode())
    lake.put(INBOX + file.facts.name, packed)
    return file.facts.name, len(lines)


def _restated(
    header: str | None, rows: list[str], facts: FileFacts, contract: FeedContract
) -> Restated | None:
    """Control totals of corrected rows, in place of those that the sender stated."""
    declared = contract.ingestion.control_totals
    if declared is None or not (declared.required or facts.control_totals):
        return None
    if contract.ingestion.format is Format.JSON:
        frame, _ = json_frame(
            [JsonPiece(0, Records(pl.Series(rows, dtype=pl.String)), 1)], contract
        )
    else:
        lines = [*([header] if header is not None else []), *rows]
        layout = recognise(lines[:20], contract)
        records = [(line, split_line(line, layout.delimiter)) for line in lines]
        frame = text_frame([Piece(0, Rows(b"", records, 1, last=True))], layout, contract)
    meter = Meter(contract)
    meter.add(frame)
    return Restated(declared, meter.totals(0))


def _lines(rows: pl.Series, contract: FeedContract) -> pl.Series:
    """Rows of a file, a line each; in JSON a line end inside a record is white space."""
    json_feed = contract.ingestion.format is Format.JSON
    return rows.str.replace_all(r"[\r\n]+", " ") if json_feed else rows


def _original_rows(
    lake: Lake, contract: FeedContract, file: QuarantinedFile, keys: DataKeys | None
) -> tuple[str | None, list[str]]:
    """Header line (None if there is none) and data rows of the original, as text."""
    facts = file.facts
    obj = lake.head(facts.history)
    if obj is None:
        raise NotRequeued(f"{facts.history}, the original of {facts.name}, is not in the lake.")
    text = fetch(lake, obj, contract.ingestion.fallback_encoding, keys)
    try:
        if contract.ingestion.format is Format.JSON:
            pages = read_records(text.pieces(), contract.ingestion.record_path)
            return None, [record for records in pages for record in records.written]
        return _csv_rows(text, contract)
    finally:
        text.close()


def _csv_rows(text: FileText, contract: FeedContract) -> tuple[str | None, list[str]]:
    declared = contract.ingestion.control_totals
    trailer = Trailer(declared, required=False) if declared and declared.kind == "trailer" else None
    head = text.head(21)
    layout = recognise(trailer.without(head) if trailer else head[:20], contract)
    rows: list[str] = []
    chunks = text.rows(layout.delimiter)
    for chunk in trailer.rows(chunks) if trailer else chunks:
        if chunk.records is not None:
            rows += [line for line, _ in chunk.records]
        else:
            rows += [line for line in chunk.text.decode().split("\n") if line.strip()]
    return (rows[0], rows[1:]) if layout.header is not None else (None, rows)
