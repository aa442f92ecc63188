"""Bytes to text: encodings and bounded pieces. Knows nothing about columns.

A delivered object becomes a `FileText`: checksum, encoding and text in bounded pieces. Files that
do not fit comfortably in memory are spooled to a temporary file while they are checked.
"""

import codecs
import csv
import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import IO, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from retail_platform.errors import FileRejected
from retail_platform.gate.compression import decompress
from retail_platform.lake.store import Lake, LakeObject, is_encrypted_history
from retail_platform.protection.keys import DataKeys
from retail_platform.protection.originals import decrypted

IN_MEMORY_BYTES = 64 << 20
"""Larger content is spooled to disk, so memory stays bounded whatever a partner sends."""

CHUNK_CHARACTERS = 12 << 20
"""Text judged at once, in bytes of UTF-8: some hundred thousand rows. Columns of text and of values
take about ten times that in memory."""

_FEW_LINES = 500
"""Up to this many lines Python is done before polars has begun."""

_PIECE_BYTES = 128 << 10
"""Looked at once; more than fits into a processor's cache takes twice as long."""

_TEXT_BYTES = 8 << 20
_LINE_FEED = ord("\n")
MAY_BEGIN_SPACE = np.zeros(256, np.bool_)
MAY_BEGIN_SPACE[list(b"\t\v\f\r \xc2\xe1\xe2\xe3")] = True
MAY_END_SPACE = np.zeros(256, np.bool_)
MAY_END_SPACE[[*b"\t\v\f\r \x85\x9f\xa0\xa8\xa9\xaf", *range(0x80, 0x8B)]] = True
"""First and last bytes of all white space there is in a line, and of some letters."""

_MAY_BE_SPACE = MAY_BEGIN_SPACE.copy()
_MAY_BE_SPACE[_LINE_FEED] = True
"""First bytes of all white space there is in Unicode, and of some letters."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


Item = TypeVar("Item")


@dataclass(frozen=True)
class Rows:
    """Consecutive data rows of one file, none of them blank except inside `text`.

    Attributes:
        text: UTF-8; lines that end with a line feed, each one row (blank lines count for nothing).
        records: where quotes need a reader of their own, instead of `text`: the original text of
            each row, without its line end, and its values.
        first: number of the first row in the file, from 1 (a header counts as a row here).
        last: whether the file ends here.
    """

    text: bytes
    records: list[tuple[str, list[str]]] | None
    first: int
    last: bool

    @cached_property
    def lines(self) -> "Lines":
        """Those of `text`."""
        return lines_of(self.text)


@dataclass(frozen=True)
class Lines:
    """Lines of some text that are not blank, and where they are in it.

    Attributes:
        start: position of the first byte of each.
        end: position behind its last byte.
    """

    text: bytes
    start: np.ndarray
    end: np.ndarray

    @property
    def series(self) -> pl.Series:
        """The lines as strings; the text is not copied."""
        return slices(self.text, self.start, self.end)

    def last(self, count: int) -> bytes | None:
        """The last of the lines as one text; None if a blank one stands among them."""
        if not count:
            return b""
        start, end = self.start[-count:], self.end[-count:]
        alone = (start[1:] == end[:-1] + 1).all() and end[-1] + 1 == len(self.text)
        return self.text[start[0] :] if alone else None


def lines_of(text: bytes) -> Lines:
    """Lines that are not blank.

    Args:
        text: UTF-8, lines separated by line feeds.
    """
    octets = np.frombuffer(text, np.uint8)
    end = np.flatnonzero(octets == _LINE_FEED)
    if octets.size and octets[-1] != _LINE_FEED:
        end = np.append(end, octets.size)
    start = np.zeros_like(end)
    start[1:] = end[:-1] + 1
    if not end.size:
        return Lines(text, start, end)
    # An empty line begins with its line feed, which counts as a space.
    doubtful = _MAY_BE_SPACE[octets[start]]
    if not doubtful.any():
        return Lines(text, start, end)
    kept = ~doubtful
    kept[doubtful] = slices(text, start[doubtful], end[doubtful]).str.contains(r"\S").to_numpy()
    return Lines(text, start[kept], end[kept])


def slices(text: bytes, start: np.ndarray, end: np.ndarray) -> pl.Series:
    """Parts of UTF-8 text that follow each other; what lies between them is skipped, not copied."""
    edges = np.empty(2 * start.size, np.int64)
    edges[::2], edges[1::2] = start, end
    return cut(text, edges).gather_every(2)


def cut(text: bytes, edges: np.ndarray) -> pl.Series:
    """Parts of UTF-8 text from each edge to the next; the text is not copied."""
    if not edges.size:
        return pl.Series([], dtype=pl.String)
    buffers = [None, pa.py_buffer(edges), pa.py_buffer(text)]
    return pl.Series(pa.Array.from_buffers(pa.large_string(), edges.size - 1, buffers))


class FileText:
    """Decoded content of one delivered file.

    Attributes:
        checksum: SHA-256 of the object as delivered.
        encoding: Python codec name.
        compression: ``gzip``, ``zip``, ``zstd`` or ``none``.
        quoted: whether a double quote occurs anywhere.
    """

    def __init__(
        self,
        content: IO[bytes],
        checksum: str,
        encoding: str,
        compression: str,
        quoted: bool,
    ) -> None:
        self._content = content
        self.checksum = checksum
        self.encoding = encoding
        self.compression = compression
        self.quoted = quoted

    def head(self, lines: int) -> list[str]:
        """First lines that are not blank."""
        return list(islice((line for line in self._lines() if not _blank(line)), lines))

    def rows(self, delimiter: str) -> Iterator[Rows]:
        """All rows that are not blank, in chunks of about `CHUNK_CHARACTERS`.

        Raises:
            FileRejected: unbalanced_quote.
        """
        if self.quoted and not self._is_one_row_per_line(delimiter):
            return self._quoted_rows(delimiter)
        return self._plain_rows()

    def pieces(self, size: int | None = None) -> Iterator[bytes]:
        """The text in UTF-8, in bounded pieces; line ends stay as they are.

        Args:
            size: bytes of the file that a piece holds, if not the usual number.
        """
        size = size or _TEXT_BYTES
        self._content.seek(0)
        if self.encoding in ("utf-8", "utf-8-sig"):
            self._content.seek(len(codecs.BOM_UTF8) if self.encoding == "utf-8-sig" else 0)
            yield from iter(lambda: self._content.read(size), b"")
            return
        decoder = codecs.getincrementaldecoder(self.encoding)()
        for piece in iter(lambda: self._content.read(size), b""):
            yield decoder.decode(piece).encode()

    def close(self) -> None:
        """Free memory or the temporary file."""
        self._content.close()

    def _chunks(self) -> Iterator[bytes]:
        """The text in pieces of whole lines; however lines ended, a line feed parts them now."""
        waiting: list[bytes] = []
        for piece in self.pieces(CHUNK_CHARACTERS):
            # \n, \r\n and \r all end a line, as partners mix them. Whether one \r at the end of a
            # piece is half of a \r\n shows in the next.
            cut = max(piece.rfind(b"\n"), piece.rfind(b"\r", 0, len(piece) - 1)) + 1
            if not cut:
                waiting.append(piece)
                continue
            yield _with_line_feeds(b"".join([*waiting, piece[:cut]]))
            waiting = [piece[cut:]] if cut < len(piece) else []
        if waiting:
            last = _with_line_feeds(b"".join(waiting))
            yield last if last.endswith(b"\n") else last + b"\n"

    def _lines(self) -> Iterator[str]:
        for text in self._chunks():
            start = 0
            while start < len(text):
                end = text.find(b"\n", start)
                end = len(text) if end < 0 else end
                yield text[start:end].decode()
                start = end + 1

    def _plain_rows(self) -> Iterator[Rows]:
        first = 1
        for text, last in with_last(self._chunks()):
            rows = Rows(text, None, first, last)
            yield rows
            if not last:
                first += rows.lines.start.size

    def _is_one_row_per_line(self, delimiter: str) -> bool:
        """Whether all quotes stand around whole values and close in their line.

        The rule by far; such lines can be split by the hundred thousand, where Python's reader,
        which copes with the rest, takes ten times as long.
        """
        value = rf'(?:[^"{re.escape(delimiter)}]*|"(?:[^"]|"")*")'
        plain = re.compile(rf"{value}(?:{re.escape(delimiter)}{value})*")
        for text in self._chunks():
            if text.count(b"\n") <= _FEW_LINES:
                quoted = [line for line in text.decode().split("\n") if '"' in line]
                alone = all(plain.fullmatch(line) and line.strip('" \t') for line in quoted)
            else:
                lines = lines_of(text).series
                lines = lines.filter(lines.str.contains('"', literal=True))
                alone = (
                    lines.str.contains(f"^(?:{plain.pattern})$") & ~lines.str.contains(r'^[\s"]*$')
                ).all()
            if not alone:
                return False
        return True

    def _quoted_rows(self, delimiter: str) -> Iterator[Rows]:
        pending: list[str] = []

        def remember() -> Iterator[str]:
            for line in self._lines():
                pending.append(line)
                yield line + "\n"

        reader = csv.reader(remember(), delimiter=delimiter, strict=True)
        first, size = 1, 0
        records: list[tuple[str, list[str]]] = []
        started = 1
        try:
            for row in reader:
                text = "\n".join(pending)
                pending.clear()
                started = reader.line_num + 1
                if any(value.strip() for value in row) or delimiter in text:
                    if size > CHUNK_CHARACTERS:
                        yield Rows(b"", records, first, last=False)
                        first, size, records = first + len(records), 0, []
                    records.append((text, row))
                    size += len(text)
        except csv.Error as exc:
            raise FileRejected(
                "unbalanced_quote",
                f"A quote that opens in line {started} is never closed properly ({exc}).",
                'Write quotes inside values twice ("") or leave them out, and deliver again.',
            ) from exc
        if records:
            yield Rows(b"", records, first, last=True)


def _with_line_feeds(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text


def _blank(line: str) -> bool:
    return not line or line.isspace()


def with_last(items: Iterator[Item]) -> Iterator[tuple[Item, bool]]:
    """Each item, and whether it is the last one."""
    before = next(items, None)
    if before is None:
        return
    for item in items:
        yield before, False
        before = item
    yield before, True


def fetch(
    lake: Lake, obj: LakeObject, fallback_encoding: str, keys: DataKeys | None = None
) -> FileText:
    """Read one object, decrypt, decompress and recognise its encoding.

    Args:
        fallback_encoding: used when the bytes are not valid UTF-8.
        keys: of originals that are encrypted.

    Raises:
        ConfigurationError: the object is encrypted and there is no key for it.
        FileRejected: damaged_original, empty_file, undecodable_text, and what `decompress` raises.
    """
    digest = hashlib.sha256()
    stored = pieces_of(lake, obj)

    def hashed() -> Iterator[bytes]:
        for piece in decrypted(stored, keys) if is_encrypted_history(obj.path) else stored:
            digest.update(piece)
            yield piece

    # What will not stay in memory goes to disk at once, not after a copy in memory.
    in_memory = IN_MEMORY_BYTES if obj.size <= IN_MEMORY_BYTES else 1
    content: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=in_memory)  # noqa: SIM115
    try:
        compression = decompress(hashed(), content)
        if content.tell() == 0:
            raise FileRejected(
                "empty_file",
                "The file holds no bytes.",
                "Deliver the file again; a day without rows is a file with just the header, or []"
                " in JSON.",
            )
        encoding, quoted = _examine(content, fallback_encoding)
    except FileRejected:
        content.close()
        raise
    return FileText(content, digest.hexdigest(), encoding, compression, quoted)


def pieces_of(lake: Lake, obj: LakeObject) -> Iterable[bytes]:
    """Content of an object, in one piece unless it is large."""
    return [lake.get(obj.path)] if obj.size <= IN_MEMORY_BYTES else lake.chunks(obj.path)


def _examine(content: IO[bytes], fallback: str) -> tuple[str, bool]:
    """Encoding, and whether a quote occurs."""
    content.seek(0)
    head = content.read(4096)
    encoding = next((codec for bom, codec in _BOMS if head.startswith(bom)), None)
    encoding = encoding or _utf16_without_bom(head)
    decoder = codecs.getincrementaldecoder(encoding or "utf-8")("strict")
    quoted = special = False
    content.seek(0)
    try:
        while piece := content.read(_PIECE_BYTES):
            text = decoder.decode(piece)
            quoted = quoted or '"' in text
            special = special or not text.isascii()
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as exc:
        # Characters that were valid UTF-8 up to here mean a damaged file, not another encoding:
        # reading it as Latin-1 would turn every accent of every row into two wrong letters.
        if encoding or special or not exc.object[: exc.start].isascii():
            raise FileRejected(
                "undecodable_text",
                f"The file starts as {(encoding or 'utf-8').upper()} but is not valid "
                f"({exc.reason}).",
                "Export the file as UTF-8 and deliver it again.",
            ) from exc
        content.seek(0)
        quoted = any(b'"' in piece for piece in iter(lambda: content.read(_PIECE_BYTES), b""))
        return fallback, quoted
    return encoding or "utf-8", quoted


def _utf16_without_bom(head: bytes) -> str | None:
    """Latin text in UTF-16 has a zero in every other byte; nothing else looks like that."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if half >= 2 and odd > 0.8 * half and even == 0:
        return "utf-16-le"
    if half >= 2 and even > 0.8 * half and odd == 0:
        return "utf-16-be"
    return None
