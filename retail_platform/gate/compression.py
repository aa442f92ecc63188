"""Compressed bytes to bytes: gzip, zip, zstd, told apart by how they begin; guarded against bombs.

A name says nothing about it: partners forget the extension, and tools unpack on the way. Nothing is
ever written under a name that an archive gives.
"""

import gzip
import io
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import PurePosixPath
from typing import IO

from retail_platform.errors import FileRejected

MAX_EXPANSION = 200
"""Text shrinks 5-30 fold; gzip's own ceiling is about 1,030. Beyond this factor (and beyond the
free allowance) a file claims to be far more than anybody sent."""

FREE_EXPANSION_BYTES = 64 << 20
"""Expansion below this size is harmless whatever the factor: empty columns compress very well."""

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an archive of nothing
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP_STEP = 64 << 10
_READ_STEP = 1 << 20
_PACKED_IN_MEMORY = 16 << 20
_AGAIN = "Deliver the file again."


def decompress(pieces: Iterator[bytes], out: IO[bytes]) -> str:
    """Write the content of a file.

    Args:
        pieces: the file as delivered.

    Returns:
        ``gzip``, ``zip``, ``zstd`` or ``none``.

    Raises:
        FileRejected: truncated_gzip, broken_gzip, broken_zip, broken_zstd, unusable_archive,
            suspicious_compression.
    """
    first = next(pieces, b"")
    whole = chain([first], pieces)
    if first.startswith(_GZIP):
        _gunzip(whole, out)
        return "gzip"
    if first.startswith(_ZIP):
        _write(_unzipped(whole), out)
        return "zip"
    if first.startswith(_ZSTD):
        _write(_unzstd(whole), out)
        return "zstd"
    _write(whole, out)
    return "none"


def _write(pieces: Iterator[bytes], out: IO[bytes]) -> None:
    # A spooled file looks at its size after each call only; `writelines` would be one.
    for piece in pieces:
        out.write(piece)


def compress(content: bytes, name: str) -> bytes:
    """Pack content the way its name says; the same every time."""
    base, _, extension = name.rsplit("/", 1)[-1].rpartition(".")
    if extension == "gz":
        return gzip.compress(content, mtime=0)
    if extension == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(base), content, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()
    if extension == "zst":
        import pyarrow as pa  # noqa: PLC0415 - as below

        packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
        return packed
    return content


def _check_expansion(read: int, written: int) -> None:
    if written > max(FREE_EXPANSION_BYTES, MAX_EXPANSION * read):
        raise FileRejected(
            "suspicious_compression",
            f"The first {read} compressed bytes expand to {written} and more.",
            "Check the file with its sender; a genuine one can be delivered uncompressed.",
        )


def _gunzip(pieces: Iterator[bytes], out: IO[bytes]) -> None:
    expander = zlib.decompressobj(wbits=31)
    read = written = 0
    waiting = b""
    # Small pieces, because zlib hands back a copy of what it did not use after every step.
    slices = (
        piece[start : start + _GZIP_STEP]
        for piece in pieces
        for start in range(0, len(piece), _GZIP_STEP)
    )
    try:
        while True:
            if not waiting:
                waiting = next(slices, b"")
                read += len(waiting)
                if not waiting:
                    break
            if expander.eof:  # several gzip members may follow each other
                expander = zlib.decompressobj(wbits=31)
            text = expander.decompress(waiting, 1 << 20)
            waiting = expander.unconsumed_tail or expander.unused_data
            written += len(text)
            _check_expansion(read, written)
            out.write(text)
    except zlib.error as exc:
        raise FileRejected(
            "broken_gzip", f"The compressed data is damaged ({exc}).", _AGAIN
        ) from exc
    if not expander.eof:
        raise FileRejected(
            "truncated_gzip",
            f"The compressed data ends early, after {written} bytes of text.",
            "The transfer was cut off; deliver the file again.",
        )


def _unzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    # The directory of an archive is at its end.
    with tempfile.SpooledTemporaryFile(max_size=_PACKED_IN_MEMORY) as packed:
        _write(pieces, packed)
        packed.seek(0)
        try:
            with zipfile.ZipFile(packed) as archive:
                member = _only_member(archive)
                read, written = member.compress_size, 0
                with archive.open(member) as content:
                    while text := content.read(_READ_STEP):
                        if not written and text.startswith((_GZIP, *_ZIP, _ZSTD)):
                            raise _unusable(f"{member.filename!r} is compressed once more")
                        written += len(text)
                        _check_expansion(read, written)
                        yield text
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error, ValueError) as exc:
            raise FileRejected(
                "broken_zip",
                f"The archive is damaged or ends early ({exc}).",
                "The transfer may have been cut off; deliver the file again.",
            ) from exc


def _only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The one data file of an archive."""
    members = [m for m in archive.infolist() if not m.is_dir()]
    # What the archiver of macOS adds to every file.
    members = [m for m in members if not m.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        names = ", ".join(repr(m.filename) for m in members[:10]) or "none"
        raise _unusable(f"There are {len(members)} files in the archive: {names}")
    (member,) = members
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise _unusable(f"The name {member.filename!r} in the archive leads out of it")
    if member.flag_bits & 1:
        raise _unusable(f"{member.filename!r} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _unusable(f"{member.filename!r} is packed by method {member.compress_type}")
    return member


def _unusable(seen: str) -> FileRejected:
    return FileRejected(
        "unusable_archive",
        f"{seen}.",
        "Deliver one data file per archive, packed by the usual method (deflate), without a "
        "password; or deliver it as .gz or .zst.",
    )


def _unzstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    import pyarrow as pa  # noqa: PLC0415 - a tenth of a second, and few files need it

    written = 0
    with tempfile.SpooledTemporaryFile(max_size=_PACKED_IN_MEMORY) as packed:
        _write(pieces, packed)
        packed.seek(0)
        try:
            with pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), "zstd") as content:
                while text := content.read(_READ_STEP):
                    written += len(text)
                    _check_expansion(packed.tell(), written)
                    yield text
        except (OSError, pa.ArrowException) as exc:
            raise FileRejected(
                "broken_zstd",
                f"The compressed data is damaged or ends early, after {written} bytes ({exc}).",
                "The transfer may have been cut off; deliver the file again.",
            ) from exc
