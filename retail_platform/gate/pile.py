"""What a batch keeps while its files are read: judged rows, and hashes of the lines of long files.

Both grow with what partners send, so rows wait as finished Parquet in a temporary file when they
are many, and of a line only eight bytes are kept.
"""

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import IO

import numpy as np
import polars as pl

IN_MEMORY_BYTES = 24 << 20
"""Judged rows beyond this size go to disk, frame by frame; each frame becomes a lake object."""

OBJECT_ROWS = 4_000_000
"""Rows of one Parquet object of a single large file (about 100 MB for receipts)."""

_MERGED = 4_000_000
"""Hashes sorted into one array; beyond, merging costs more memory than looking into the next."""


class Pile:
    """Judged rows of a batch, on their way to lake objects.

    Files differ in columns beside the contract's, and only at the end it is known which of them are
    refused.
    """

    def __init__(self, arranged: Callable[[pl.DataFrame], pl.DataFrame], workers: Executor) -> None:
        """Begin with nothing.

        Args:
            arranged: gives a frame the columns and order of rows that its object has, `_file_id`
                among the columns; called by workers.
            workers: turn frames into Parquet while more are judged.
        """
        self._arranged = arranged
        self._workers = workers
        self._in_work: list[Future[list[bytes]]] = []
        self._frames: list[pl.DataFrame] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._sizes: list[int] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Put rows on the pile."""
        if frame.is_empty():
            return
        self._frames.append(frame)
        self._bytes += int(frame.estimated_size())
        if self._bytes > IN_MEMORY_BYTES:
            self._to_disk()
            self._in_work = [self._workers.submit(self._packed, f) for f in self._frames]
            self._frames, self._bytes = [], 0

    def _packed(self, frame: pl.DataFrame) -> list[bytes]:
        return [_parquet(part) for part in _parts(self._arranged(frame))]

    def _to_disk(self) -> None:
        """Keep what workers have packed; memory holds one such lot at most."""
        for packed in self._in_work:
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 - ends with the pile
            self._sizes += [self._file.write(content) for content in packed.result()]
        self._in_work = []

    def objects(self, refused: Sequence[str], dropped: Sequence[str]) -> Iterator[bytes]:
        """All rows as Parquet, in objects of bounded size; to be asked for once.

        Args:
            refused: file ids whose rows are left out.
            dropped: columns that only they have.
        """

        def kept(frame: pl.DataFrame) -> pl.DataFrame:
            return frame.filter(~pl.col("_file_id").is_in(refused)).drop(dropped, strict=False)

        self._to_disk()
        if self._file:
            with self._file as file:
                file.seek(0)
                for size in self._sizes:
                    content = file.read(size)
                    if refused:
                        written = pl.read_parquet(content)
                        left = kept(written)
                        if left.is_empty():
                            continue
                        if left.shape != written.shape:
                            content = _parquet(left)
                    yield content
        if self._frames:
            frame = self._arranged(pl.concat(self._frames, how="diagonal"))
            self._frames = []
            yield from map(_parquet, _parts(kept(frame) if refused else frame))


def _parts(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for start in range(0, frame.height, OBJECT_ROWS):
        yield frame.slice(start, OBJECT_ROWS)


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1)
    return buffer.getvalue()


class SeenLines:
    """Lines of a file longer than one chunk."""

    def __init__(self) -> None:
        self._sorted: list[np.ndarray] = []

    def see(self, lines: pl.Series) -> pl.Series:
        """Remember the lines of a chunk; tells for each whether an earlier chunk had it."""
        hashes = lines.hash(seed=17).to_numpy()
        ascending = np.sort(hashes)
        known = np.zeros(len(hashes), np.bool_)
        for earlier in self._sorted:
            at = np.searchsorted(earlier, ascending)
            known |= earlier[np.minimum(at, len(earlier) - 1)] == ascending
        again = ascending[known]
        if self._sorted and len(self._sorted[-1]) + len(ascending) <= _MERGED:
            ascending = np.sort(np.concatenate([self._sorted.pop(), ascending]), kind="stable")
        if len(ascending):
            self._sorted.append(ascending)
        return pl.Series(np.isin(hashes, again) if again.size else np.zeros_like(known))
