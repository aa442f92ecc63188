"""The lake as objects: one thin interface over a folder, S3, GCS or Azure.

Layout (the only place that spells out a path):

    inbox/                                              files as partners deliver them
    history/<feed>/country=CC/year=/month=/day=/<file>  originals, kept for ever
    data/<feed>/<content hash>.parquet                  rows that satisfy the contract
    quarantine/<feed>/<content hash>.parquet            rows that do not, with reasons
    manifests/<feed>/CC/YYYY-MM-DD.json                 what a partition consists of: commit point
    schemas/<feed>/<content hash>.json                  how files of the feed were written
    rejected/<hash>.json                                why a file still lies in the inbox
    cursors/<source>/CC.json                            how far a pulled source has been pulled
    keys/<version>.json                                 data keys of personal data, wrapped

Originals that hold personal data are encrypted and end in ``.enc``.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlparse

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError
from obstore.store import LocalStore, ObjectStore, S3Store, from_url

from retail_platform.errors import ConfigurationError
from retail_platform.lake.refusals import refusal, summary
from retail_platform.partitions import Partition

if TYPE_CHECKING:
    from obstore import ObjectMeta

INBOX = "inbox/"
MANIFESTS = "manifests/"
REJECTED = "rejected/"
CURSORS = "cursors/"
HISTORY = "history/"
KEYS = "keys/"
_IO_THREADS = 8
Item = TypeVar("Item")
Result = TypeVar("Result")
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # surrogates: bytes that are no UTF-8


@dataclass(frozen=True)
class LakeObject:
    """One object as a listing shows it.

    Attributes:
        path: key below the lake root.
        modified: when it was delivered, UTC.
        version: changes with every delivery, also of the same content.
        addressable: False for a name under which no store can open it (``inbox//a.csv``,
            ``inbox/../a.csv``, control characters); `path` is then only for people to read.
    """

    path: str
    size: int
    modified: datetime
    version: str
    addressable: bool = True


class Lake:
    """Reads and writes lake objects; knows nothing about what is in them."""

    def __init__(self, store: ObjectStore, url: str, local_root: Path | None = None) -> None:
        self._store = store
        self._url = url
        self.local_root = local_root

    @classmethod
    def open(cls, url: str) -> "Lake":
        """Open a lake by address.

        Args:
            url: ``file:///...``, ``s3://bucket/prefix``, ``gs://bucket/prefix``,
                ``az://container/prefix`` (the account is in ``AZURE_STORAGE_ACCOUNT_NAME``) or
                ``abfss://container@account.dfs.core.windows.net/prefix``. Credentials and
                endpoints come from the provider's own variables, e.g. ``AWS_ENDPOINT_URL`` (one
                that starts with ``http:`` needs ``AWS_ALLOW_HTTP=true`` as well).

        Raises:
            ConfigurationError: what there is to identify by cannot be used. That there is nothing,
                or no such bucket, the first listing, reading or writing says.
        """
        if urlparse(url).scheme == "file":
            root = Path(unquote(urlparse(url).path))
            (root / INBOX).mkdir(parents=True, exist_ok=True)
            return cls(LocalStore(root), url, local_root=root)
        with _explaining("", url):
            return cls(from_url(url), url)

    def list(self, prefix: str) -> Iterator[LakeObject]:
        """All objects below a prefix; objects with impossible names are not `addressable`.

        Raises:
            ConfigurationError: no such bucket, nothing to identify by, or an impossible name in a
                store that cannot be listed around it.
            PermissionError: the platform may not list it.
        """
        try:
            with self._explaining(prefix):
                metas = [meta for page in obstore.list(self._store, prefix) for meta in page]
        except InvalidPathError as exc:
            # One such name, and the store's client refuses to list anything: neighbours included.
            yield from self._list_with_odd_names(prefix, exc)
            return
        for meta in metas:
            if not (self.local_root is None and _is_folder_marker(meta["path"], meta["size"])):
                yield _described(meta)

    def _list_with_odd_names(self, prefix: str, error: Exception) -> Iterator[LakeObject]:
        if self.local_root:
            yield from self._walk(self.local_root, prefix)
        elif isinstance(self._store, S3Store):
            yield from _s3_objects(self._store, prefix)
        else:
            raise ConfigurationError(
                f"An object below {prefix} has a name with an empty folder, '..' or a control "
                "character in it, and this store cannot list it. Rename or remove the object. It "
                f"said: {summary(error)}"
            ) from error

    def _walk(self, root: Path, prefix: str) -> Iterator[LakeObject]:
        for folder, _, names in os.walk(root / prefix):
            for file in (Path(folder, name) for name in names):
                path = file.relative_to(root).as_posix()
                if _is_addressable(path):
                    found = self.head(path)
                    if found:
                        yield found
                elif file.is_file():
                    status = file.stat()
                    modified = datetime.fromtimestamp(status.st_mtime, UTC)
                    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
                    version = f"{status.st_mtime_ns}-{status.st_size}"
                    yield LakeObject(shown, status.st_size, modified, version, addressable=False)

    def head(self, path: str) -> LakeObject | None:
        """What a listing would show for one object, or None when it is not there."""
        try:
            with self._explaining(path):
                return _described(obstore.head(self._store, path))
        except FileNotFoundError:
            return None

    def find(self, paths: Sequence[str]) -> Sequence[LakeObject]:
        """What a listing would show for these paths; those that are not there are left out."""
        usable = [path for path in paths if _is_addressable(path)]
        return [obj for obj in self.each(self.head, usable) if obj]

    def path_of(self, bucket: str, key: str) -> str | None:
        """Path of an object that somebody calls by bucket and key; None if it is elsewhere."""
        if not isinstance(self._store, S3Store) or self._store.config.get("bucket") != bucket:
            return None
        root = f"{self._store.prefix}/" if self._store.prefix else ""
        return key.removeprefix(root) if key.startswith(root) else None

    def get(self, path: str) -> bytes:
        """Whole content of one object.

        Raises:
            FileNotFoundError: there is no such object.
            PermissionError: there is, but the platform may not read it.
        """
        with self._explaining(path):
            if self.local_root:  # a sixth of what the way through the store costs
                return (self.local_root / path).read_bytes()
            return bytes(obstore.get(self._store, path).bytes())

    def chunks(self, path: str, size: int = 1 << 20) -> Iterator[bytes]:
        """Content in pieces of at least `size` bytes, for files larger than memory.

        Raises:
            FileNotFoundError, PermissionError: as `get`.
        """
        if self.local_root:
            with self._explaining(path), (self.local_root / path).open("rb") as file:
                yield from iter(lambda: file.read(size), b"")
            return
        with self._explaining(path):
            stream = obstore.get(self._store, path).stream(min_chunk_size=size)
        for chunk in stream:
            yield bytes(chunk)

    def _explaining(self, path: str) -> AbstractContextManager[None]:
        return _explaining(path, self._url)

    def get_many(self, paths: Sequence[str]) -> Iterator[bytes | None]:
        """Contents in the order asked for; None where there is no object."""

        def one(path: str) -> bytes | None:
            try:
                return self.get(path)
            except FileNotFoundError:
                return None

        return self.each(one, paths)

    @contextmanager
    def files(self, paths: Sequence[str]) -> Iterator[dict[str, Path]]:
        """Objects as files, for libraries that read nothing else; copies where the lake is remote.

        Returns:
            Path -> file, in the order asked for.

        Raises:
            FileNotFoundError: naming an object that is not there.
            PermissionError: as `get`.
        """
        if self.local_root:
            found = {path: self.local_root / path for path in paths}
            for path, file in found.items():
                if not file.is_file():
                    raise FileNotFoundError(path)
            yield found
            return
        with tempfile.TemporaryDirectory() as folder:
            copies = {path: Path(folder) / str(number) for number, path in enumerate(paths)}

            def download(path: str) -> None:
                try:
                    with copies[path].open("wb") as copy:
                        copy.writelines(self.chunks(path))
                except FileNotFoundError as exc:
                    raise FileNotFoundError(path) from exc

            for _ in self.each(download, paths):
                pass
            yield copies

    def each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results of some work with the lake, in order; side by side where the store is remote.

        A remote store keeps its callers waiting. A disk does not, and threads would cost several
        times what they carry.
        """
        if self.local_root or len(items) < 2:
            yield from map(work, items)
            return
        with ThreadPoolExecutor(_IO_THREADS) as pool:
            yield from pool.map(work, items)

    def put(self, path: str, data: bytes | IO[bytes]) -> None:
        """Create or replace an object; a reader sees the old or the new content, never half."""
        with self._explaining(path):
            obstore.put(self._store, path, data)

    def put_file(self, path: str, file: Path) -> None:
        """Create or replace an object from a file; once this returns, a power cut cannot undo it.

        Elsewhere a store keeps what it has accepted; a local disk is asked to write it now.
        """
        with self._explaining(path):
            obstore.put(self._store, path, file)
        if self.local_root:
            target = self.local_root / path
            for written in (target, target.parent):
                with suppress(FileNotFoundError):  # taken in already
                    descriptor = os.open(written, os.O_RDONLY)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)

    def put_new(self, path: str, data: bytes) -> bool:
        """Create an object; False, and nothing changes, when there is one already."""
        try:
            with self._explaining(path):
                obstore.put(self._store, path, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def put_many(self, objects: Sequence[tuple[str, bytes]]) -> None:
        """Create or replace several objects; returns when all are there."""
        for _ in self.each(lambda o: self.put(*o), objects):
            pass

    def copy_many(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copy objects to new names, server side where the store can; one that is gone is not."""

        def one(pair: tuple[str, str]) -> None:
            with suppress(FileNotFoundError), self._explaining(pair[0]):
                obstore.copy(self._store, *pair)

        for _ in self.each(one, pairs):
            pass

    def delete_many(self, paths: Sequence[str]) -> None:
        """Delete objects; one that is gone already is fine."""

        def one(path: str) -> None:
            with suppress(FileNotFoundError), self._explaining(path):
                obstore.delete(self._store, path)

        for _ in self.each(one, paths):
            pass


@contextmanager
def _explaining(path: str, url: str) -> Iterator[None]:
    """Every store has its own error for the same trouble."""
    try:
        yield
    except (BaseError, PermissionError, FileNotFoundError) as exc:
        told = refusal(exc, path, url)
        if told:
            raise told from exc
        raise


def _described(meta: "ObjectMeta") -> LakeObject:
    tag = meta.get("e_tag") or str(meta["size"])
    modified = meta["last_modified"]
    return LakeObject(meta["path"], meta["size"], modified, _version(tag, modified))


def _version(tag: str, modified: datetime) -> str:
    """A tag of S3 tells contents apart, but not two deliveries of the same content.

    Whole seconds, because that is what every store tells in listings and for single objects alike.
    Azure puts the tag into quotes for a single object only.
    """
    bare = tag.strip('"')
    return f"{bare}@{int(modified.timestamp())}"


def _is_addressable(path: str) -> bool:
    """Whether obstore accepts a key: one segment it does not, and it refuses a whole listing."""
    return not _UNUSABLE.search(path) and not {"", ".", ".."} & set(path.split("/"))


def _is_folder_marker(path: str, size: int) -> bool:
    """Consoles show folders as empty objects; the trailing slash of their key is lost here."""
    return size == 0 and "." not in path.rsplit("/", 1)[-1]


def _s3_objects(store: S3Store, prefix: str) -> Iterator[LakeObject]:
    """Listing through boto3, which takes keys as they are."""
    import boto3  # noqa: PLC0415 - slow, and only for a bucket with odd names in it

    root = f"{store.prefix}/" if store.prefix else ""
    pages = (
        boto3.client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=store.config["bucket"], Prefix=root + prefix)
    )
    for found in (entry for page in pages for entry in page.get("Contents", [])):
        path = found["Key"].removeprefix(root)
        if not path.endswith("/"):
            modified = found["LastModified"].astimezone(UTC)
            version = _version(found["ETag"], modified)
            usual = _is_addressable(path)
            yield LakeObject(path, found["Size"], modified, version, addressable=usual)


def manifest_path(feed: str, partition: Partition) -> str:
    """Where the manifest of a partition lies."""
    return f"{MANIFESTS}{feed}/{partition.country}/{partition.day.isoformat()}.json"


def data_path(feed: str, digest: str) -> str:
    """Where accepted rows with this content hash lie."""
    return f"data/{feed}/{digest}.parquet"


def quarantine_path(feed: str, digest: str) -> str:
    """Where refused rows with this content hash lie."""
    return f"quarantine/{feed}/{digest}.parquet"


def schemas_prefix(feed: str) -> str:
    """Folder of the schemas of a feed."""
    return f"schemas/{feed}/"


def schema_path(feed: str, schema_id: str) -> str:
    """Where the record of a schema lies."""
    return f"{schemas_prefix(feed)}{schema_id}.json"


def history_path(feed: str, partition: Partition, file_name: str, checksum: str) -> str:
    """Where an original is kept; the checksum keeps two deliveries of one name apart."""
    base = file_name.rsplit("/", 1)[-1]
    stem, dot, extension = base.partition(".")
    return (
        f"{HISTORY}{feed}/country={partition.country}/year={partition.day:%Y}"
        f"/month={partition.day:%m}/day={partition.day:%d}/{stem}__{checksum[:8]}{dot}{extension}"
    )


def encrypted_history_path(path: str) -> str:
    """Where an original lies that holds personal data."""
    return f"{path}.enc"


def is_encrypted_history(path: str) -> bool:
    """Whether that is the path of an encrypted original."""
    return path.startswith(HISTORY) and path.endswith(".enc")


def key_path(version: int) -> str:
    """Where a wrapped data key lies."""
    return f"{KEYS}{version:04}.json"


def country_of_history(path: str) -> str:
    """Country, or ALL, that the name of an original gave it; see `history_path`."""
    return path.split("/country=", 1)[1].split("/", 1)[0]
