"""Data keys: made once, kept wrapped in the lake, in clear only in memory.

Who wraps them is a key provider: a master key in a file of this machine, or one in AWS KMS, in
modules of their own. What is done with the keys is the business of `values` and `originals`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, ConfigDict

from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import HISTORY, KEYS, Lake, is_encrypted_history, key_path

KEY_BYTES = 32


class WrappedKey(BaseModel):
    """One data key as it lies in the lake.

    Attributes:
        version: from 1; the highest protects what arrives now.
        provider: kind of key provider that wrapped it.
        master: which of its keys did.
        wrapped: base64.
    """

    model_config = ConfigDict(frozen=True)

    version: int
    provider: str
    master: str
    wrapped: str


class KeyProvider(Protocol):
    """Guards a master key; data keys pass through, the master key never leaves."""

    name: str

    def new_key(self, version: int) -> WrappedKey:
        """A new data key, wrapped.

        Raises:
            ConfigurationError: the master key must not be used as it is.
            KeysUnavailable: it cannot be reached.
        """
        ...

    def unwrap(self, key: WrappedKey) -> bytes:
        """The data key in clear.

        Raises:
            ConfigurationError: another master key wrapped it, or it was changed since.
            KeysUnavailable: the master key cannot be reached.
        """
        ...


@dataclass(frozen=True)
class DataKeys:
    """The data keys of a lake, in clear.

    Attributes:
        by_version: 32 bytes each. New values are encrypted with the newest. Tokens are made with
            the first for ever: with another key for each rotation they would join nothing.
    """

    by_version: Mapping[int, bytes] = field(repr=False)

    @property
    def first(self) -> int:
        """Version that tokens are made with."""
        return min(self.by_version)

    @property
    def newest(self) -> int:
        """Version that encrypts what arrives now."""
        return max(self.by_version)

    def derive(self, version: int, purpose: str, salt: bytes = b"") -> bytes:
        """A key of its own for each purpose, 32 bytes.

        Raises:
            ConfigurationError: the lake has no data key of this version.
        """
        if version not in self.by_version:
            known = ", ".join(str(v) for v in sorted(self.by_version))
            raise ConfigurationError(
                f"Data key {version} is needed, but the lake has {known}. Restore "
                f"{key_path(version)} from a backup of the lake."
            )
        kdf = HKDF(SHA256(), KEY_BYTES, salt=salt, info=f"retail_platform {purpose}".encode())
        return kdf.derive(self.by_version[version])


def wrapped_keys(lake: Lake) -> list[WrappedKey]:
    """Data keys as they lie in the lake, the oldest first."""
    paths = sorted(o.path for o in lake.list(KEYS) if re.fullmatch(rf"{KEYS}\d+\.json", o.path))
    return [WrappedKey.model_validate_json(text) for text in lake.get_many(paths) if text]


def open_keys(lake: Lake, provider: KeyProvider, *, make: bool) -> DataKeys:
    """The data keys of a lake.

    Args:
        make: whether the first one is made when there is none yet.

    Raises:
        ConfigurationError, KeysUnavailable: there are none, or they cannot be unwrapped. Never an
            empty set: nothing goes on in clear because a key is missing.
    """
    wrapped = wrapped_keys(lake)
    if not wrapped:
        _refuse_to_start_anew(lake, make=make)
        _add(lake, provider.new_key(1))
        wrapped = wrapped_keys(lake)
    for key in wrapped:
        if key.provider != provider.name:
            raise ConfigurationError(
                f"{key_path(key.version)} was wrapped by provider {key.provider!r} ({key.master}), "
                f"but this installation uses {provider.name!r}. Set or unset RETAIL_KMS_KEY_ID."
            )
    return DataKeys({key.version: provider.unwrap(key) for key in wrapped})


def _refuse_to_start_anew(lake: Lake, *, make: bool) -> None:
    """Another first key would hide that the old one is lost; asked once in the life of a lake."""
    if any(is_encrypted_history(obj.path) for obj in lake.list(HISTORY)):
        raise ConfigurationError(
            f"The lake holds encrypted originals and no data keys: {KEYS} was lost. Restore it "
            "from a backup of the lake."
        )
    if not make:
        raise ConfigurationError(f"The lake has no data keys ({KEYS}); the first run makes them.")


def rotate(lake: Lake, provider: KeyProvider) -> int:
    """Add a data key for what arrives from now on; what is encrypted already stays readable.

    Returns:
        Its version.
    """
    version = open_keys(lake, provider, make=True).newest + 1
    _add(lake, provider.new_key(version))
    return version


def _add(lake: Lake, key: WrappedKey) -> None:
    """Of several processes that add the same version, one does, and all go on with its key."""
    lake.put_new(key_path(key.version), key.model_dump_json(indent=1).encode())
