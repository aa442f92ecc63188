"""Originals encrypted for history, and read again; in pieces, so that files may be of any size.

An encrypted original is a header and chunks sealed by AES-256-GCM. Each content has a key of its
own, derived from a data key and the content's SHA-256, and chunks count up in their nonces, the
last one marked: none can be changed, moved, left out or cut off unnoticed, no nonce is used twice,
and the same content under the same data key gives the same object, whoever writes it how often.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from retail_platform.errors import ConfigurationError, FileRejected
from retail_platform.protection.keys import DataKeys

CHUNK_BYTES = 1 << 20
_TAG_BYTES = 16
_HEADER = struct.Struct(">8sI32s")
"""Format, version of the data key, SHA-256 of the clear content."""

_FORMAT = b"RETAIL\x001"


class ContentChanged(Exception):
    """The content is not the one it was announced as; nothing of what was yielded may be kept."""


def encrypted(pieces: Iterable[bytes], checksum: str, keys: DataKeys) -> Iterator[bytes]:
    """Encrypt one original.

    Args:
        pieces: its content, in order.
        checksum: SHA-256 of the content, hexadecimal.

    Raises:
        ContentChanged: at the end, when the content has another checksum. A key belongs to one
            content, so what was yielded must be thrown away then.
    """
    header = _HEADER.pack(_FORMAT, keys.newest, bytes.fromhex(checksum))
    cipher = _cipher(header, keys)
    digest = hashlib.sha256()
    yield header
    for nonce, chunk in _numbered(pieces, CHUNK_BYTES):
        digest.update(chunk)
        yield cipher.encrypt(nonce, chunk, header)
    if digest.hexdigest() != checksum:
        raise ContentChanged(checksum)


def decrypted(pieces: Iterable[bytes], keys: DataKeys | None) -> Iterator[bytes]:
    """Content of an encrypted original.

    Raises:
        FileRejected: damaged_original.
        ConfigurationError: there is no data key for it.
    """
    if keys is None:
        raise ConfigurationError("An original in history is encrypted and there are no data keys.")
    stream = iter(pieces)
    head = b""
    while len(head) < _HEADER.size and (piece := next(stream, b"")):
        head += piece
    header, rest = head[: _HEADER.size], head[_HEADER.size :]
    if len(header) < _HEADER.size or not header.startswith(_FORMAT):
        raise _damaged()
    cipher = _cipher(header, keys)

    def sealed() -> Iterator[bytes]:
        yield rest
        yield from stream

    for nonce, chunk in _numbered(sealed(), CHUNK_BYTES + _TAG_BYTES):
        try:
            yield cipher.decrypt(nonce, chunk, header)
        except InvalidTag:
            raise _damaged() from None


def _damaged() -> FileRejected:
    return FileRejected(
        "damaged_original",
        "The encrypted original in history is not as it was written.",
        "Restore an earlier version of the object, or have the file delivered again.",
    )


def _cipher(header: bytes, keys: DataKeys) -> AESGCM:
    _, version, checksum = _HEADER.unpack(header)
    return AESGCM(keys.derive(version, "original", salt=checksum))


def _numbered(pieces: Iterable[bytes], size: int) -> Iterator[tuple[bytes, bytes]]:
    """Chunks of this size, the last one shorter or equal, with their nonces; at least one."""
    waiting = bytearray()
    number = 0
    for piece in pieces:
        waiting += piece
        while len(waiting) > size:  # one that is full may still be the last
            yield _nonce(number, last=False), bytes(waiting[:size])
            del waiting[:size]
            number += 1
    yield _nonce(number, last=True), bytes(waiting)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")
