"""Calendar, names and bytes of demo files: what partners write, not what is in it."""

import io
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import polars as pl

from retail_platform.demo.chance import Ints

EPOCH = date(2020, 1, 1)


def date_of(day: int) -> date:
    """Calendar day of a count of days since `EPOCH`."""
    return EPOCH + timedelta(days=int(day))


def timestamp(day: Ints, second: Ints) -> pl.Series:
    """Moments (to the millisecond, no zone) from days since `EPOCH` and seconds since midnight."""
    moment = np.datetime64(EPOCH, "s") + (day * 86_400 + second).astype("timedelta64[s]")
    return pl.Series(moment.astype("datetime64[ms]"))


def file_name(feed: str, token: str | None, day: int, extension: str = "csv") -> str:
    """Name of a delivery, the country left out where there is none."""
    return "_".join(filter(None, (feed, token, f"{date_of(day):%Y%m%d}"))) + f".{extension}"


def csv_bytes(frame: pl.DataFrame, header: bool = True) -> bytes:
    """A frame as one CSV file."""
    buffer = io.BytesIO()
    frame.write_csv(buffer, include_header=header)
    return buffer.getvalue()


def split_csv(frame: pl.DataFrame, sizes: Ints, header: bool = True) -> Iterator[bytes]:
    """One CSV per group of consecutive rows.

    Writing all rows at once and cutting at line ends is several times faster than writing each
    group; no value holds a line break.
    """
    head, text = csv_bytes(frame.clear(), header), csv_bytes(frame, header=False)
    for lines in _groups_of_lines(text, sizes):
        yield head + lines


def _groups_of_lines(text: bytes, sizes: Ints) -> Iterator[bytes]:
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    cuts = np.concatenate([[0], ends])[np.concatenate([[0], np.cumsum(sizes)])].tolist()
    for start, end in pairwise(cuts):
        yield text[start:end]


def split_ndjson(frame: pl.DataFrame, sizes: Ints) -> Iterator[bytes]:
    """One text of JSON lines per group of consecutive rows."""
    buffer = io.BytesIO()
    frame.write_ndjson(buffer)
    yield from _groups_of_lines(buffer.getvalue(), sizes)


def enveloped(key: str, lines: bytes) -> bytes:
    """JSON lines as one document, the way web services answer: records below a key."""
    return b'{"' + key.encode() + b'":[' + lines.rstrip(b"\n").replace(b"\n", b",") + b"]}"
