"""What a batch keeps while its files are read: judged rows, and hashes of the lines of long files.

Both grow with what partners send, so rows go to a temporary file when they are many, and of a line
only eight bytes are kept.
"""

import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
import polars as pl

IN_MEMORY_BYTES = 96 << 20
"""Judged rows beyond this size are put on disk; they become lake objects of their own."""

_MERGED = 4_000_000
"""Hashes sorted into one array; beyond, merging costs more memory than looking into the next."""


class Pile:
    """Frames in the order they were added; files differ in columns beside the contract's."""

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []
        self._bytes = 0
        self._files: list[IO[bytes]] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Put rows on the pile."""
        if frame.is_empty():
            return
        self._frames.append(frame)
        self._bytes += int(frame.estimated_size())
        if self._bytes > IN_MEMORY_BYTES:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - gone when the pile is
            pl.concat(self._frames, how="diagonal").write_ipc(file, compression="lz4")
            self._files.append(file)
            self._frames, self._bytes = [], 0

    def parts(self) -> Iterator[pl.DataFrame]:
        """All rows, in frames of bounded size; the pile is gone afterwards."""
        while self._files:
            with self._files.pop(0) as file:
                file.seek(0)
                yield pl.read_ipc(file)
        if self._frames:
            yield pl.concat(self._frames, how="diagonal")
        self._frames = []


class SeenLines:
    """Lines of a file longer than one chunk."""

    def __init__(self) -> None:
        self._sorted: list[np.ndarray] = []

    def see(self, lines: pl.Series) -> pl.Series:
        """Remember the lines of a chunk; tells for each whether an earlier chunk had it."""
        hashes = lines.hash(seed=17).to_numpy()
        order = np.argsort(hashes)
        ascending = hashes[order]
        known = np.zeros(len(hashes), np.bool_)
        for earlier in self._sorted:
            at = np.searchsorted(earlier, ascending)
            known |= earlier[np.minimum(at, len(earlier) - 1)] == ascending
        if self._sorted and len(self._sorted[-1]) + len(ascending) <= _MERGED:
            ascending = np.sort(np.concatenate([self._sorted.pop(), ascending]), kind="stable")
        if len(ascending):
            self._sorted.append(ascending)
        found = np.empty_like(known)
        found[order] = known
        return pl.Series(found)
