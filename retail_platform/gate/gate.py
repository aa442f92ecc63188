"""The gate: inbox files of one feed become manifests, Parquet and quarantine, or are refused.

Commit protocol, harmless to interrupt anywhere: data and quarantine objects (named by content) ->
original in history -> manifest put (the commit point) -> inbox objects deleted, the control file
before its data file. Running it again over the same inbox gives the same lake.
"""

import hashlib
import tempfile
import traceback
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl
import polars.selectors as cs

from retail_platform.contract import Drift, FeedContract, Format
from retail_platform.countries import CountryRegistry
from retail_platform.errors import ConfigurationError, FileRejected, GateFault, RetailError
from retail_platform.gate.control_totals import Meter, Stated, Trailer, read_sidecar
from retail_platform.gate.drift import EvolvedColumns
from retail_platform.gate.frames import Piece, text_frame, with_countries, without_repetitions
from retail_platform.gate.json_frames import UNKNOWN_KEYS, JsonPiece, json_frame
from retail_platform.gate.json_records import read_records
from retail_platform.gate.layout import (
    Layout,
    observed_json_schema,
    observed_schema,
    recognise,
    unexpected_columns,
)
from retail_platform.gate.pile import Pile, SeenLines
from retail_platform.gate.rows import Judged, RowJudge
from retail_platform.gate.text import (
    CHUNK_CHARACTERS,
    IN_MEMORY_BYTES,
    FileText,
    fetch,
    pieces_of,
    with_last,
)
from retail_platform.lake.inbox import Arrival, Rejection, inbox_name
from retail_platform.lake.manifest import (
    FileFacts,
    Manifest,
    read_manifests,
    write_manifests,
)
from retail_platform.lake.schemas import EXTRA, ObservedSchema, record_schemas
from retail_platform.lake.store import (
    HISTORY,
    Lake,
    LakeObject,
    data_path,
    encrypted_history_path,
    history_path,
    is_encrypted_history,
    quarantine_path,
)
from retail_platform.partitions import Partition
from retail_platform.protection.keys import DataKeys
from retail_platform.protection.originals import ContentChanged, encrypted
from retail_platform.protection.values import LINE, Protector
from retail_platform.settings import PACKAGE_DIR

BATCH_FILES = 512
"""Files judged together: pandera costs about 18 ms a call whatever the size, so a call serves
many files; beyond some hundred files the call no longer shows in the total."""

BATCH_BYTES = 96 << 20
"""Bytes read together; bounds memory at a few hundred megabytes for wide text frames."""

READ_AHEAD = 2
"""Frames made, each by a thread, while the one before them is judged. Each takes memory."""

Step = Callable[[str], None]
Item = TypeVar("Item")
StoredOriginal = tuple[LakeObject, str, str]
"""A file, where in history it belongs, and the checksum of its content."""


@dataclass
class GateReport:
    """What became of the files.

    Attributes:
        manifests: partitions that changed, with their new manifest.
        rejections: files refused now; they stay in the inbox.
        files: files taken in, repetitions of known content included.
    """

    manifests: dict[Partition, Manifest] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    files: int = 0

    def add(self, other: "GateReport") -> None:
        """Merge the report of another batch."""
        self.manifests.update(other.manifests)
        self.rejections += other.rejections
        self.files += other.files


class Gate:
    """Takes in files of one feed."""

    def __init__(
        self,
        lake: Lake,
        contract: FeedContract,
        registry: CountryRegistry,
        keys: DataKeys | None = None,
        on_step: Step = lambda step: None,
    ) -> None:
        """Prepare for one feed.

        Args:
            keys: of the lake; a feed without personal data needs none.
            on_step: called with the name of each step of the commit protocol before it begins.

        Raises:
            ConfigurationError: the feed holds personal data and there are no keys to protect it.
        """
        if contract.holds_pii and keys is None:
            raise ConfigurationError(
                f"Feed {contract.name} holds personal data, and there are no data keys to protect "
                "it. Its files wait in the inbox."
            )
        self._keys = keys
        self._protector = Protector(contract, keys) if contract.holds_pii and keys else None
        self._lake = lake
        self._contract = contract
        self._registry = registry
        self._judge = RowJudge(contract, registry)
        self._evolved = EvolvedColumns(lake, contract)
        self._recorded: set[str] = set()
        self._on_step = on_step

    def take_in(
        self,
        arrivals: Iterable[Arrival],
        on_batch: Callable[[int], None] = lambda files: None,
    ) -> GateReport:
        """Judge and commit files, batch by batch.

        Args:
            on_batch: told the number of files judged so far, for progress.
        """
        with ThreadPoolExecutor(1) as mover:
            return self.start(arrivals, mover, on_batch).result()

    def start(
        self,
        arrivals: Iterable[Arrival],
        mover: Executor,
        on_batch: Callable[[int], None] = lambda files: None,
    ) -> "Future[GateReport]":
        """Judge files now and leave their commit to somebody else.

        The processor judges while the disk or the network moves what is judged already.

        Args:
            mover: commits the batches in the background, one after the other.
        """
        report = GateReport()
        moved = mover.submit(lambda: report)
        done = 0
        for batch in batches(sorted(arrivals, key=lambda a: (a.file.day, a.file.country, a.name))):
            known = self._known_manifests(batch)
            accepted, rejections = self.judge(batch, known)
            report.rejections += rejections
            moved = mover.submit(self._commit, moved, accepted, known)
            done += len(batch)
            on_batch(done)
        return moved

    def judge(
        self, arrivals: Sequence[Arrival], known: Mapping[Partition, Manifest]
    ) -> tuple[list[tuple[Arrival, dict[str, FileFacts]]], list[Rejection]]:
        """Read files and store their rows; nothing of it counts before a manifest names it.

        Args:
            known: manifests; a file in them that this contract has judged is not read again.

        Returns:
            Accepted files with what was found in them by country, and the refused ones.
        """
        repeated: list[tuple[Arrival, dict[str, FileFacts]]] = []
        rejections: list[Rejection] = []
        with ThreadPoolExecutor(READ_AHEAD) as workers, self._quoting_nobody():
            batch = self._batch(workers)
            for arrival, text, stated in self._fetch(arrivals):
                if isinstance(text, FileRejected):
                    rejections.append(self._rejection(arrival, text))
                    continue
                try:
                    file_id = file_id_of(arrival.name, text.checksum)
                    facts = self._already_judged(arrival, file_id, stated, known)
                    if facts:
                        repeated.append((arrival, {arrival.file.country: facts}))
                    else:
                        batch.add(arrival, file_id, text, stated)
                except FileRejected as error:
                    rejections.append(self._rejection(arrival, error))
                finally:
                    text.close()
            judged, refused = batch.finish()
        rejections += [self._rejection(a, e) for a, e in refused]
        return [*repeated, *self._store_rows(judged)], rejections

    def _batch(self, workers: Executor) -> "_Batch":
        return _Batch(
            self._contract, self._registry, self._judge, self._evolved, self._protector, workers
        )

    @contextmanager
    def _quoting_nobody(self) -> Iterator[None]:
        """Withhold texts of unexpected errors where a feed holds personal data.

        Libraries like to quote the value they failed at, and errors end in logs.
        """
        try:
            yield
        except (RetailError, OSError):
            raise
        except Exception as error:
            if self._protector is None:
                raise
            frames = traceback.extract_tb(error.__traceback__)
            where = [f for f in frames if Path(f.filename).is_relative_to(PACKAGE_DIR)][-1]
            raise GateFault(
                f"{type(error).__name__} in {where.name} ({Path(where.filename).name}:"
                f"{where.lineno}) at files of {self._contract.name}. Its text is withheld because "
                "it may quote personal data; the files wait in the inbox."
            ) from None

    def _fetch(
        self, arrivals: Sequence[Arrival]
    ) -> Iterator[tuple[Arrival, FileText | FileRejected, Stated | None]]:
        declared = self._contract.ingestion.control_totals

        def one(arrival: Arrival) -> tuple[Arrival, FileText | FileRejected, Stated | None] | None:
            stated: Stated | None = None
            try:
                if declared:
                    stated = read_sidecar(self._lake, arrival.controls, declared, self._keys)
                text = fetch(
                    self._lake,
                    arrival.object,
                    self._contract.ingestion.fallback_encoding,
                    self._keys,
                )
            except FileRejected as error:
                return arrival, error, None
            except PermissionError as error:
                refused = FileRejected(
                    "unreadable_object",
                    f"The file cannot be read: {error}.",
                    "Give it read access to what this sender uploads, and deliver the file again.",
                )
                return arrival, refused, None
            except FileNotFoundError:
                return None  # taken in meanwhile, or withdrawn by its sender
            return arrival, text, stated

        yield from (found for found in self._lake.each(one, arrivals) if found)

    def _known_manifests(self, arrivals: Sequence[Arrival]) -> dict[Partition, Manifest]:
        wanted = {p for a in arrivals for p in self.possible_partitions(a)}
        return read_manifests(self._lake, self._contract.name, wanted)

    def possible_partitions(self, arrival: Arrival) -> list[Partition]:
        """Partitions that rows of the file may belong to."""
        file = arrival.file
        codes = self._contract.countries_of(file.country, self._registry)
        return [Partition(code, file.day) for code in codes]

    def _already_judged(
        self,
        arrival: Arrival,
        file_id: str,
        stated: Stated | None,
        known: Mapping[Partition, Manifest],
    ) -> FileFacts | None:
        """Facts of the same content under the same contract; a split file is judged again.

        So is one beside which another control file lies.
        """
        partitions = self.possible_partitions(arrival)
        manifest = known.get(partitions[0]) if len(partitions) == 1 else None
        facts = manifest.files.get(file_id) if manifest else None
        if facts and stated and facts.control_file != self._control_path(arrival, stated):
            return None
        return facts if facts and facts.schema_version == self._contract.schema_version else None

    def _rejection(self, arrival: Arrival, error: FileRejected) -> Rejection:
        told = error.discreetly() if self._contract.holds_pii else error
        return Rejection.of(
            told,
            arrival.object,
            arrival.file,
            self._contract.schema_version,
            arrival.control_version,
        )

    def _store_rows(self, judged: "_Judged") -> list[tuple[Arrival, dict[str, FileFacts]]]:
        feed = self._contract.name
        schemas = {file.schema.schema_id: file.schema for file in judged.files}
        record_schemas(self._lake, [s for i, s in schemas.items() if i not in self._recorded])
        self._recorded |= schemas.keys()
        self._on_step("data")
        data = self._put_objects(judged.good, lambda digest: data_path(feed, digest))
        self._on_step("quarantine")
        quarantine = self._put_objects(judged.bad, lambda digest: quarantine_path(feed, digest))
        accepted = []
        for file in judged.files:
            by_country = {
                country: FileFacts(
                    file_id=file.file_id,
                    name=file.arrival.name,
                    checksum=file.checksum,
                    size_bytes=file.arrival.object.size,
                    rows_in=counts.loaded + counts.quarantined + counts.duplicate,
                    rows_loaded=counts.loaded,
                    rows_quarantined=counts.quarantined,
                    rows_duplicate=counts.duplicate,
                    reasons=dict(sorted((counts.reasons + counts.discarded).items())),
                    layout=file.layout,
                    schema_version=self._contract.schema_version,
                    data=data if counts.loaded else (),
                    quarantine=quarantine if counts.quarantined else (),
                    history=self.history_path(file.arrival, file.checksum),
                    schema_id=file.schema.schema_id,
                    evolved=file.schema.evolved,
                    control_totals=file.stated.totals if file.stated else {},
                    control_file=self._control_path(file.arrival, file.stated),
                    control_checksum=file.stated.checksum if file.stated else "",
                )
                for country, counts in file.counts.items()
            }
            accepted.append((file.arrival, by_country))
        return accepted

    def history_path(self, arrival: Arrival, checksum: str) -> str:
        """Where the original of a file lies once it is taken in."""
        if is_encrypted_history(arrival.object.path):
            return arrival.object.path  # it lies there already, whatever the contract says by now
        partition = Partition(arrival.file.country, arrival.file.day)
        path = history_path(self._contract.name, partition, arrival.name, checksum)
        return encrypted_history_path(path) if self._protector else path

    def _control_path(self, arrival: Arrival, stated: Stated | None) -> str | None:
        """Where a control file lies once its data file is taken in."""
        if stated is None or not arrival.controls:
            return None
        path = arrival.controls[0].path
        if not path.startswith(HISTORY):
            partition = Partition(arrival.file.country, arrival.file.day)
            name = inbox_name(arrival.controls[0])
            path = history_path(self._contract.name, partition, name, stated.checksum)
        if self._protector and not is_encrypted_history(path):
            path = encrypted_history_path(path)
        return path

    def _put_objects(
        self, contents: Iterable[bytes], path_of: Callable[[str], str]
    ) -> tuple[str, ...]:
        paths = []
        for content in contents:
            path = path_of(hashlib.sha256(content).hexdigest()[:32])
            self._lake.put(path, content)
            paths.append(path)
        return tuple(paths)

    def _commit(
        self,
        before: "Future[GateReport]",
        accepted: Sequence[tuple[Arrival, dict[str, FileFacts]]],
        known: Mapping[Partition, Manifest],
    ) -> GateReport:
        """Make judged files count.

        Args:
            before: the batch before, which may have changed the same partitions; nothing is
                committed after one that failed.
        """
        report = before.result()
        if not accepted:
            return report
        feed = self._contract.name
        known = {**known, **report.manifests}
        self._on_step("history")
        # An original in history is never written again: the inbox may hold other content by now.
        kept = {
            path
            for m in known.values()
            for facts in m.files.values()
            for path in (facts.history, facts.control_file)
        }
        originals = [o for a, f in accepted for o in originals_of(a, next(iter(f.values())))]
        self.keep_originals([original for original in originals if original[1] not in kept])
        # A file replaced while it was read is left for the next look: what lies in the inbox now
        # is not what was judged.
        unchanged = [(a, f) for a, f in accepted if self._unchanged(a)]
        changed: dict[Partition, Manifest] = {}
        for arrival, by_country in unchanged:
            for country, facts in by_country.items():
                partition = Partition(country, arrival.file.day)
                manifest = changed.get(partition) or known.get(partition)
                manifest = manifest or Manifest.empty(feed, partition)
                changed[partition] = manifest.with_delivery(facts, arrival.object.modified)
        self._on_step("manifests")
        write_manifests(self._lake, [m for p, m in changed.items() if m != known.get(p)])
        self._on_step("inbox")
        done = [a for a, _ in unchanged if self._unchanged(a)]
        # What is left by a process that dies here is a delivery the manifest knows; a control file
        # that is left would be held against the next data file of its name.
        controls = [control.path for a in done for control in a.controls]
        if controls:
            self._lake.delete_many(controls)
            self._on_step("inbox data")
        self._lake.delete_many([a.object.path for a in done])
        report.manifests.update(changed)
        report.files += len(unchanged)
        return report

    def clear_away(self, waiting: Iterable[Arrival]) -> None:
        """Delete data files of the inbox that are taken in already.

        A process that died between deleting a control file and its data file leaves a data file
        that would wait for ever.
        """
        files = list(waiting)
        known = self._known_manifests(files)
        for arrival in files:
            deliveries = [
                manifest.files[delivery.file_id]
                for partition in self.possible_partitions(arrival)
                if (manifest := known.get(partition))
                for delivery in manifest.deliveries
                if delivery.delivered_at == arrival.object.modified
            ]
            same_name = [facts for facts in deliveries if facts.name == arrival.name]
            if not same_name:
                continue
            digest = hashlib.sha256()
            try:
                for piece in pieces_of(self._lake, arrival.object):
                    digest.update(piece)
            except FileNotFoundError:
                continue
            taken_in = digest.hexdigest() in {facts.checksum for facts in same_name}
            if taken_in and self._unchanged(arrival):
                self._lake.delete_many([arrival.object.path])

    def keep_originals(self, originals: Sequence[StoredOriginal]) -> None:
        """Bring files into history, encrypted if the feed holds personal data.

        A file that is gone or was replaced meanwhile is left out; whoever commits looks whether
        it is still the one that was judged.
        """
        if self._keys is None or self._protector is None:
            self._lake.copy_many([(obj.path, path) for obj, path, _ in originals])
            return
        keys = self._keys

        def one(original: StoredOriginal) -> None:
            obj, path, checksum = original
            # Only ciphertext is ever spooled to disk, and only the right content is put.
            with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as sealed:
                try:
                    sealed.writelines(encrypted(pieces_of(self._lake, obj), checksum, keys))
                except (FileNotFoundError, ContentChanged):
                    return
                sealed.seek(0)
                self._lake.put(path, sealed)

        for _ in self._lake.each(one, originals):
            pass

    def _unchanged(self, arrival: Arrival) -> bool:
        for obj in (arrival.object, *arrival.controls):
            now = self._lake.head(obj.path)
            if now is None or now.version != obj.version:
                return False
        return True


def originals_of(arrival: Arrival, facts: FileFacts) -> list[StoredOriginal]:
    """A data file and its control file, on their way into history."""
    originals = [(arrival.object, facts.history, facts.checksum)]
    if facts.control_file:
        path, checksum = facts.control_file, facts.control_checksum
        originals += [(control, path, checksum) for control in arrival.controls]
    return originals


def file_id_of(name: str, checksum: str) -> str:
    """Identity of some content under some name."""
    return hashlib.sha256(f"{name}\0{checksum}".encode()).hexdigest()[:16]


def batches(arrivals: Iterable[Arrival]) -> Iterator[list[Arrival]]:
    """Files that are judged together, in the order given."""
    batch: list[Arrival] = []
    size = 0
    for arrival in arrivals:
        if batch and (len(batch) == BATCH_FILES or size + arrival.object.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(arrival)
        size += arrival.object.size
    if batch:
        yield batch


@dataclass
class _Counts:
    loaded: int = 0
    quarantined: int = 0
    duplicate: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    discarded: Counter[str] = field(default_factory=Counter)


@dataclass
class _File:
    """One file on its way through a batch."""

    arrival: Arrival
    file_id: str
    checksum: str
    layout: Mapping[str, str]
    schema: ObservedSchema
    counts: defaultdict[str, _Counts] = field(default_factory=lambda: defaultdict(_Counts))
    first_bad_row: int | None = None
    seen_lines: SeenLines | None = None
    stated: Stated | None = None
    evolved: set[str] = field(default_factory=set)

    @property
    def total(self) -> _Counts:
        """Counts over all countries."""
        total = _Counts()
        for counts in self.counts.values():
            total.loaded += counts.loaded
            total.quarantined += counts.quarantined
            total.duplicate += counts.duplicate
            total.reasons += counts.reasons
        return total


@dataclass(frozen=True)
class _Judged:
    files: list[_File]
    good: Iterator[bytes]
    bad: Iterator[bytes]


_Frame = tuple[pl.DataFrame, Mapping[int, Sequence[str]]]
"""Rows of files, and by file the keys that the contract does not know, as `json_frame` has them."""


def _of_one_partition(frame: pl.DataFrame) -> bool:
    """Whether there are rows, all of one file and country, as most of a long file's are."""
    return not frame.is_empty() and all(
        (frame[name] == frame[name][0]).all() for name in ("_file", "_country")
    )


def _frame_of_text(pieces: Sequence[Piece], layout: Layout, contract: FeedContract) -> _Frame:
    return text_frame(pieces, layout, contract), {}


class _Batch:
    """Collects rows of many files and judges them in large frames."""

    def __init__(
        self,
        contract: FeedContract,
        registry: CountryRegistry,
        judge: RowJudge,
        evolved: EvolvedColumns,
        protector: Protector | None,
        workers: Executor,
    ) -> None:
        self._contract = contract
        self._registry = registry
        self._judge = judge
        self._evolved = evolved
        self._protector = protector
        self._files: list[_File] = []
        self._schemas: dict[tuple[Layout, str], ObservedSchema] = {}
        self._broken: dict[int, FileRejected] = {}
        self._waiting: dict[Layout, list[Piece]] = defaultdict(list)
        self._waiting_records: list[JsonPiece] = []
        self._waiting_characters = 0
        self._workers = workers
        self._in_work: deque[Future[_Frame]] = deque()
        stored = [name for c in contract.columns for name in c.stored]
        line = f"{LINE}_enc" if protector else LINE
        self._good = Pile(partial(self._arranged, ["_rescued", *stored]), workers)
        self._bad = Pile(partial(self._arranged, ["_reasons", line]), workers)
        self._meter = Meter(contract)

    def add(
        self, arrival: Arrival, file_id: str, text: FileText, stated: Stated | None = None
    ) -> None:
        """Read one file; frames are judged as soon as enough rows wait.

        Args:
            stated: by its control file.

        Raises:
            FileRejected: the file cannot be read to its end.
        """
        written = {"encoding": text.encoding, "compression": text.compression}
        number = len(self._files)
        if self._contract.ingestion.format is Format.JSON:
            facts = {"format": "json", **written}
            schema = observed_json_schema(text.encoding, self._contract)
            self._files.append(_File(arrival, file_id, text.checksum, facts, schema))
            read = self._read_json
        else:
            trailer = self._trailer_of(arrival)
            head = trailer.without(text.head(21)) if trailer else text.head(20)
            layout = recognise(head, self._contract)
            facts = {**layout.describe(), **written}
            schema = self._schema(layout, text.encoding)
            self._files.append(_File(arrival, file_id, text.checksum, facts, schema))
            read = partial(self._read_csv, layout, trailer)
        self._files[number].stated = stated
        try:
            read(number, text)
        except FileRejected as error:
            self._broken[number] = error

    def _schema(self, layout: Layout, encoding: str) -> ObservedSchema:
        """Put together once for files written alike."""
        if (layout, encoding) not in self._schemas:
            self._schemas[layout, encoding] = observed_schema(layout, encoding, self._contract)
        return self._schemas[layout, encoding]

    def _trailer_of(self, arrival: Arrival) -> Trailer | None:
        declared = self._contract.ingestion.control_totals
        if declared is None or declared.kind != "trailer":
            return None
        # What is in history came before trailers were required, if it has none.
        again = arrival.object.path.startswith(HISTORY)
        return Trailer(declared, required=declared.required and not again)

    def _read_csv(
        self, layout: Layout, trailer: Trailer | None, number: int, text: FileText
    ) -> None:
        all_rows = text.rows(layout.delimiter)
        for rows in self._in_order(trailer.rows(all_rows) if trailer else all_rows):
            if rows.first == 1 and not rows.last:
                self._files[number].seen_lines = SeenLines()
            self._make_room(len(rows.text) + sum(len(line) for line, _ in rows.records or []))
            self._waiting[layout].append(Piece(number, rows))
        if trailer:
            self._files[number].stated = trailer.stated()

    def _read_json(self, number: int, text: FileText) -> None:
        first = 1
        pieces = read_records(text.pieces(), self._contract.ingestion.record_path)
        for records, last in self._in_order(with_last(pieces)):
            if first == 1 and not last:
                self._files[number].seen_lines = SeenLines()
            self._make_room(int(records.written.str.len_bytes().sum()))
            self._waiting_records.append(JsonPiece(number, records, first))
            first += len(records)

    def _in_order(self, pieces: Iterator[Item]) -> Iterator[Item]:
        """Pieces of a file; an error in reading one comes after those in the rows before it."""
        try:
            yield from pieces
        except Exception:
            self._judge_frames()
            raise

    def finish(self) -> tuple[_Judged, list[tuple[Arrival, FileRejected]]]:
        """Judge what still waits; decide which files hold too many bad rows."""
        self._judge_waiting()
        self._judge_frames()
        for number, file in enumerate(self._files):
            if file.evolved:  # in JSON known only once all records are read
                encoding = file.layout["encoding"]
                file.schema = observed_json_schema(encoding, self._contract, file.evolved)
            if number not in self._broken:
                error = self._meter.difference(number, file.checksum, file.stated)
                error = error or self._verdict(file) or self._evolved.admit(file.schema.evolved)
                if error:
                    self._broken[number] = error
        refused = [(self._files[n].arrival, e) for n, e in sorted(self._broken.items())]
        kept = [f for n, f in enumerate(self._files) if n not in self._broken]
        for file in kept:
            # A file for all countries speaks for each of them: a header and nothing below it is a
            # day without rows, and a correction may hold a country no longer.
            named = file.arrival.file.country
            for country in self._contract.countries_of(named, self._registry):
                file.counts.setdefault(country, _Counts())
        # Columns that nobody announced stay only if a file that is taken in brought them.
        evolved = {name for file in kept for name in file.schema.evolved}
        dropped = {name for file in self._files for name in file.schema.evolved} - evolved
        without = [self._files[n].file_id for n in self._broken], [EXTRA + n for n in dropped]
        return _Judged(kept, self._good.objects(*without), self._bad.objects(*without)), refused

    def _arranged(self, columns: Sequence[str], frame: pl.DataFrame) -> pl.DataFrame:
        """Rows in partition order and with file identities."""
        files = list(self._files)  # at this moment: more may come meanwhile
        ids = pl.DataFrame(
            {
                "_file_id": pl.Series([f.file_id for f in files], dtype=pl.String),
                "_source_file": pl.Series([f.arrival.name for f in files], dtype=pl.String),
            }
        )
        if not (_of_one_partition(frame) and frame["_row"].is_sorted()):
            frame = frame.sort("_batch_date", "_country", "_file", "_row")
        return frame.hstack(ids[frame["_file"]]).select(
            "_country",
            "_batch_date",
            "_file_id",
            "_source_file",
            pl.col("_row").alias("_row_number"),
            *columns,
            *sorted(name for name in frame.columns if name.startswith(EXTRA)),
        )

    def _make_room(self, characters: int) -> None:
        """Judge what waits, if with so much more it would be too much."""
        if self._waiting_characters + characters > CHUNK_CHARACTERS:
            self._judge_waiting()
        self._waiting_characters += characters

    def _judge_waiting(self) -> None:
        """Have frames made of what waits, and judge those begun long enough ago."""
        begin = self._workers.submit
        for layout, pieces in self._waiting.items():
            self._in_work.append(begin(_frame_of_text, pieces, layout, self._contract))
        self._waiting.clear()
        if any(len(piece.records) for piece in self._waiting_records):
            self._in_work.append(begin(json_frame, self._waiting_records, self._contract))
        self._waiting_records = []
        self._waiting_characters = 0
        self._judge_frames(but=READ_AHEAD)

    def _judge_frames(self, but: int = 0) -> None:
        """Judge frames in the order they were begun, all but the last few."""
        while len(self._in_work) > but:
            frame, strangers = self._in_work.popleft().result()
            for number, keys in strangers.items():
                if self._contract.ingestion.drift is Drift.EVOLVE:
                    self._files[number].evolved |= set(keys)
                else:
                    self._broken.setdefault(
                        number, unexpected_columns("Records have", keys, self._contract)
                    )
            if not frame.is_empty():
                self._meter.add(frame)
                self._judge_frame(frame)

    def _judge_frame(self, frame: pl.DataFrame) -> None:
        numbers = frame["_file"].unique().sort().to_list()
        names = pl.DataFrame(
            {
                "_file": pl.Series(numbers, dtype=pl.UInt32),
                "_token": [self._files[n].arrival.file.country for n in numbers],
                "_day": [self._files[n].arrival.file.day for n in numbers],
            }
        )
        frame = with_countries(frame, names, self._contract, self._registry)
        lost = frame.filter(pl.col("_country").is_null())["_file"].unique().to_list()
        for number in lost:
            self._broken[number] = FileRejected(
                "unknown_country",
                f"No row names a country of the registry ({', '.join(self._registry.codes)}).",
                f"Check column {self._contract.ingestion.country_column}.",
            )
        frame = frame.filter(~pl.col("_file").is_in(lost)) if lost else frame
        frame, repetitions = without_repetitions(frame)
        frame, again = self._without_lines_of_earlier_chunks(frame)
        judged = self._judge.judge(frame)
        self._count(judged.good, "loaded")
        self._count(judged.bad, "quarantined")
        self._count(repetitions, "duplicate")
        self._count(again, "duplicate")
        self._count_reasons(judged.bad)
        self._count_discarded(judged)
        dropped = ["_line", "_problem"]
        if self._contract.ingestion.drift is Drift.DISCARD_VALUE:
            dropped += [c for c in judged.good.columns if c.startswith(EXTRA)]
        good, bad = judged.good.drop(dropped), judged.bad.drop("_problem", "_rescued")
        # Before they are kept: the pile may go to disk.
        self._good.add(self._protector.rows(good) if self._protector else good)
        self._bad.add(self._protector.lines(bad) if self._protector else bad)

    def _without_lines_of_earlier_chunks(
        self, frame: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Only files longer than one chunk need their lines remembered, as 8-byte hashes."""
        long_files = [n for n in frame["_file"].unique() if self._files[n].seen_lines is not None]
        again = frame.clear()
        for number in long_files:
            seen = self._files[number].seen_lines
            assert seen is not None
            mine = frame.filter(pl.col("_file") == number)
            again = pl.concat([again, mine.filter(seen.see(mine["_line"]))])
        if again.is_empty():
            return frame, again
        return frame.join(again.select("_file", "_row"), on=["_file", "_row"], how="anti"), again

    def _count(self, rows: pl.DataFrame, what: str) -> None:
        if _of_one_partition(rows):
            counted = [(*rows.select("_file", "_country").row(0), rows.height)]
        else:
            counted = rows.group_by("_file", "_country").len().rows()
        for number, country, count in counted:
            counts = self._files[number].counts[country]
            setattr(counts, what, getattr(counts, what) + count)

    def _count_reasons(self, bad: pl.DataFrame) -> None:
        if bad.is_empty():
            return
        reasons = bad.select("_file", "_country", "_reasons").explode("_reasons")
        for number, country, reason, count in (
            reasons.group_by("_file", "_country", "_reasons").len().rows()
        ):
            self._files[number].counts[country].reasons[reason] += count
        for number, row in bad.group_by("_file").agg(pl.col("_row").min()).rows():
            file = self._files[number]
            file.first_bad_row = min(row, file.first_bad_row or row)

    def _count_discarded(self, judged: Judged) -> None:
        """Values of good rows that were given up: the rows are loaded, the counts inform."""
        if self._contract.ingestion.drift is not Drift.DISCARD_VALUE:
            return
        if UNKNOWN_KEYS in judged.good.columns:
            keys = judged.good.select("_file", "_country", name=UNKNOWN_KEYS)
            named = keys.explode("name").drop_nulls("name")
        else:
            named = (
                judged.good.select("_file", "_country", cs.starts_with(EXTRA))
                .unpivot(index=["_file", "_country"], variable_name="name")
                .drop_nulls("value")
                .with_columns(pl.col("name").str.strip_prefix(EXTRA))
            )
        # Their names are words of the file, see `FileRejected.discreet`.
        name = pl.lit("row") if self._contract.holds_pii else pl.col("name")
        unknown = named.select("_file", "_country", reason=name + ":discarded_unknown_column")
        for values in (judged.discarded, unknown):
            for number, country, reason, count in (
                values.group_by("_file", "_country", "reason").len().rows()
            ):
                self._files[number].counts[country].discarded[reason] += count

    def _verdict(self, file: _File) -> FileRejected | None:
        total = file.total
        rows = total.loaded + total.quarantined + total.duplicate
        limits = self._contract.ingestion
        percent = 100 * total.quarantined / rows if rows else 0.0
        if total.quarantined <= limits.max_bad_rows or percent <= limits.max_bad_percent:
            return None
        frequent = ", ".join(f"{reason} ({n})" for reason, n in total.reasons.most_common(5))
        return FileRejected(
            "too_many_bad_rows",
            f"{total.quarantined} of {rows} rows ({percent:.0f} %) break the contract, the first "
            f"in data row {file.first_bad_row}: {frequent}.",
            f"At most {limits.max_bad_rows} rows or {limits.max_bad_percent:g} % may be bad. "
            f"Correct the file, or the contract {self._contract.name} {self._contract.version}.",
        )
