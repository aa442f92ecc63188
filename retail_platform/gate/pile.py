"""What a batch keeps while its files are read: judged rows, and hashes of the lines of long files.

Both grow with what partners send, so rows go to a temporary file when they are many, and of a line
only eight bytes are kept.
"""

import io
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
import polars as pl

IN_MEMORY_BYTES = 64 << 20
"""Judged rows beyond this size go to disk, frame by frame; each frame becomes a lake object."""

_MERGED = 4_000_000
"""Hashes sorted into one array; beyond, merging costs more memory than looking into the next."""


class Pile:
    """Frames in the order they were added; files differ in columns beside the contract's."""

    def __init__(self) -> None:
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
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 - ends with the pile
            for waiting in self._frames:
                buffer = io.BytesIO()
                waiting.write_ipc(buffer, compression="lz4")
                self._sizes.append(self._file.write(buffer.getbuffer()))
            self._frames, self._bytes = [], 0

    def parts(self) -> Iterator[pl.DataFrame]:
        """All rows, in frames of bounded size; to be asked for once."""
        if self._file:
            with self._file as file:
                file.seek(0)
                for size in self._sizes:
                    yield pl.read_ipc(file.read(size))
        if self._frames:
            yield pl.concat(self._frames, how="diagonal")


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
