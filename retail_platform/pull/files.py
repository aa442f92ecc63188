"""Records become one inbox file, in the format the contract of their feed names.

Text of numbers, order of fields and nulls stay as the source gave them; what they mean is the
gate's business.
"""

import base64
import csv
import gzip
import hashlib
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any

import simplejson

from retail_platform.contract import FeedContract, Format
from retail_platform.lake.json_pages import json_file

_IN_MEMORY_BYTES = 16 << 20


class Spool:
    """Records waiting to become a file: on disk when they are many."""

    def __init__(self) -> None:
        self._lines: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115
        self._fields: dict[str, None] = {}
        self._digest = hashlib.sha256()
        self.rows = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_all(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take records, in order."""
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record."""
        line = _json(record).encode()
        self._digest.update(line + b"\n")
        self._fields.update(dict.fromkeys(record))
        self._lines.write(line + b"\n")
        self.rows += 1

    @property
    def digest(self) -> str:
        """Identity of all records and their order."""
        return self._digest.hexdigest()[:16]

    def close(self) -> None:
        """Free memory or disk."""
        self._lines.close()

    @contextmanager
    def as_file(self, contract: FeedContract) -> Iterator[tuple[Path, str]]:
        """The file, for the length of a block, and its SHA-256; same records, same bytes."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pulled"
            with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                if contract.ingestion.format is Format.JSON:
                    packed.writelines(json_file(self._records(), contract.ingestion.record_path))
                else:
                    self._write_csv(packed)
            with path.open("rb") as done:
                checksum = hashlib.file_digest(done, "sha256").hexdigest()
            yield path, checksum

    def _records(self) -> Iterator[bytes]:
        self._lines.seek(0)
        for line in self._lines:
            yield line.rstrip(b"\n")

    def _write_csv(self, out: gzip.GzipFile) -> None:
        text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
        writer = csv.DictWriter(text, list(self._fields), lineterminator="\n")
        writer.writeheader()
        for line in self._records():
            record = simplejson.loads(line, use_decimal=True)
            writer.writerow({key: _cell(value) for key, value in record.items()})
        text.detach()


def extension(contract: FeedContract) -> str:
    """End of the names of pulled files of a feed."""
    return f".{contract.ingestion.format.value}.gz"


def file_name(contract: FeedContract, country: str, day: date, part: str) -> str:
    """Name of a pulled file; see `lake.naming`."""
    return f"{contract.name}_{country}_{day:%Y%m%d}_{part}{extension(contract)}"


def _json(value: Any) -> str:
    return simplejson.dumps(value, ensure_ascii=False, use_decimal=True, default=_plain)


def _plain(value: Any) -> str:
    """Database values that JSON has no word for."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    return str(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (bool, dict, list)):
        return _json(value)
    return str(value)
