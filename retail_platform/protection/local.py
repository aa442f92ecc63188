"""Key provider of the embedded platform: a master key in a file that only its owner can read."""

import base64
import binascii
import hashlib
import os
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from retail_platform.errors import ConfigurationError
from retail_platform.protection.keys import KEY_BYTES, WrappedKey

_NONCE_BYTES = 12


class LocalMasterKey:
    """A file with one key in base64; whoever loses it loses what was encrypted."""

    name = "local"

    def __init__(self, path: Path) -> None:
        """Name the file; it is made when the first data key is."""
        self.path = path

    def new_key(self, version: int) -> WrappedKey:
        """A new data key, wrapped; see `KeyProvider`."""
        if not self.path.exists():
            _create(self.path)
        master = self._read()
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(master).encrypt(nonce, os.urandom(KEY_BYTES), _context(version))
        return WrappedKey(
            version=version,
            provider=self.name,
            master=_identity(master),
            wrapped=base64.b64encode(nonce + sealed).decode(),
        )

    def unwrap(self, key: WrappedKey) -> bytes:
        """The data key in clear; see `KeyProvider`."""
        if not self.path.exists():
            raise ConfigurationError(
                f"{self.path} is missing; it holds the master key {key.master}, without which the "
                "personal data of this lake cannot be read. Restore it from a backup."
            )
        master = self._read()
        if _identity(master) != key.master:
            raise ConfigurationError(
                f"{self.path} holds master key {_identity(master)}, but the data keys of this lake "
                f"were wrapped by {key.master}. Bring that file here from where it was made."
            )
        wrapped = base64.b64decode(key.wrapped)
        try:
            return AESGCM(master).decrypt(
                wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _context(key.version)
            )
        except InvalidTag:
            raise ConfigurationError(
                f"Data key {key.version} in the lake is damaged. Restore it from a backup."
            ) from None

    def _read(self) -> bytes:
        mode = self.path.stat().st_mode
        if os.name == "posix" and mode & 0o077:
            raise ConfigurationError(
                f"{self.path} can be read by others (mode {mode & 0o777:04o}). Do "
                f"chmod 600 {self.path}; if somebody may have read it, treat its data as disclosed."
            )
        try:
            master = base64.b64decode(self.path.read_text("ascii"), validate=False)
        except (binascii.Error, UnicodeDecodeError):
            master = b""
        if len(master) != KEY_BYTES:
            raise ConfigurationError(
                f"{self.path} holds no key: expected {KEY_BYTES} bytes in base64. "
                "Restore it from a backup."
            )
        return master


def _create(path: Path) -> None:
    """Whole or not at all, on disk before anything depends on it; the first of several wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)  # readable by its owner alone
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()


def _identity(master: bytes) -> str:
    return hashlib.sha256(b"retail_platform master key\0" + master).hexdigest()[:12]


def _context(version: int) -> bytes:
    return f"retail_platform data key {version}".encode()
