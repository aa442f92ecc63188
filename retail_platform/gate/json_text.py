"""Where JSON text opens, closes and parts: slices of it as they were written, found in bulk.

Nothing is turned into numbers or objects here, so a value keeps its digits, its order of keys and
its spelling. Whether text is valid JSON is asked of msgspec; the index below finds its way in text
that is balanced, valid or not. Knows nothing about contracts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl

from retail_platform.gate.text import MAY_BEGIN_SPACE, MAY_END_SPACE, cut, slices

BLANK = b" \t\r\n\xef\xbb\xbf"
"""White space of JSON, and the byte order marks that are left where files were joined."""

MAX_DEPTH = 200
"""Objects and arrays within each other; beyond, parsers in later steps run out of stack."""

_OBJECT, _ARRAY, _COLON, _COMMA = ord("{"), ord("["), ord(":"), ord(",")
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_MARKS = bytes(byte in b'{}[]:,"' for byte in range(256))
_SPACE = np.zeros(256, np.bool_)
_SPACE[list(b" \t\r\n")] = True
_SAYS_ELSE = np.zeros(256, np.bool_)
_SAYS_ELSE[list(b'"{[n')] = True
"""First bytes of values that are not taken as they are written."""

_STEP = np.zeros(256, np.int8)
_STEP[list(b"{[")] = 1
_STEP[list(b"}]")] = -1
_CONSTANTS = re.compile(rb'("(?:[^"\\]|\\.)*")|(-?Infinity|NaN)')
_RAW = msgspec.json.Decoder(msgspec.Raw)
_TEXTS = msgspec.json.Decoder(list[str])


@dataclass(frozen=True)
class Structure:
    """Brackets, colons and commas outside of strings.

    Attributes:
        position: of each in the text, in bytes.
        kind: the byte itself.
        depth: how many brackets are open around it; a bracket is not inside itself.
        deepest: most brackets open at once.
        open_string: whether the text ends inside a string.
    """

    position: np.ndarray
    kind: np.ndarray
    depth: np.ndarray
    deepest: int
    open_string: bool


def structure_of(text: bytes) -> Structure:
    """Index UTF-8 text that begins outside of a string."""
    octets = np.frombuffer(text, np.uint8)
    position = np.flatnonzero(np.frombuffer(text.translate(_MARKS), np.bool_))
    kind = octets[position]
    quotes = kind == _QUOTE
    if b"\\" in text:
        escaped = np.zeros(len(text), np.bool_)
        escaped[_escaped(np.flatnonzero(octets == _BACKSLASH), len(text))] = True
        quotes &= ~escaped[position]
    inside = _odd_so_far(quotes)
    outside = np.flatnonzero(~inside & (kind != _QUOTE))
    position, kind = position[outside], kind[outside]
    step = _STEP[kind]
    depth = np.cumsum(step, dtype=np.int32)
    deepest = int(depth.max(initial=0))
    depth -= step == 1
    return Structure(position, kind, depth, deepest, bool(inside.size and inside[-1]))


def _odd_so_far(flags: np.ndarray) -> np.ndarray:
    """Whether the number of flags up to each, itself included, is odd.

    Eight at a time, as the bytes of a word: a third of what `bitwise_xor.accumulate` takes.
    """
    words = np.zeros(-(-flags.size // 8), "<u8")
    words.view(np.bool_)[: flags.size] = flags
    for bits in (8, 16, 32):
        words ^= words << np.uint64(bits)
    # The last byte of a word holds its whole parity; it turns round the words behind it.
    before = np.zeros_like(words)
    before[1:] = np.bitwise_xor.accumulate(words >> np.uint64(56))[:-1]
    words ^= before * np.uint64(0x0101010101010101)
    return words.view(np.bool_)[: flags.size]


def _escaped(backslashes: np.ndarray, size: int) -> np.ndarray:
    """Positions whose character a backslash takes the meaning from; a backslash may be one."""
    first = np.ones(backslashes.size, np.bool_)
    first[1:] = np.diff(backslashes) != 1
    count = np.arange(backslashes.size)
    offset = count - np.maximum.accumulate(np.where(first, count, 0))
    found = backslashes[offset % 2 == 0] + 1
    return found[found < size]


@dataclass(frozen=True)
class Split:
    """Documents at the beginning of some text.

    Attributes:
        documents: each as written, from its first bracket to its last.
        rest: where the first document begins that does not end here; None if there is none.
        junk: where something stands that is no document; None if nothing does.
    """

    documents: list[bytes]
    rest: int | None
    junk: int | None


def split_documents(text: bytes) -> Split:
    """Documents that follow each other, however they are parted."""
    found = structure_of(text)
    below = np.flatnonzero(found.depth < 0)
    end = int(below[0]) if below.size else found.depth.size
    outer = np.flatnonzero((found.depth[:end] == 0) & (_STEP[found.kind[:end]] != 0))
    edges = found.position[outer].tolist()
    documents: list[bytes] = []
    before = 0
    for opens, closes in zip(edges[::2], edges[1::2], strict=False):
        if text[before:opens].strip(BLANK):
            return Split(documents, None, _first_of(text, before))
        documents.append(text[opens : closes + 1])
        before = closes + 1
    rest = edges[-1] if len(edges) % 2 else None
    if text[before:rest].strip(BLANK):
        return Split(documents, None, _first_of(text, before))
    return Split(documents, rest, None)


def _first_of(text: bytes, start: int) -> int:
    return len(text) - len(text[start:].lstrip(BLANK))


def array_at(text: bytes, path: Sequence[str]) -> tuple[int, int | None] | None:
    """Where the array lies that some keys lead to.

    Args:
        text: begins with an object, which may not end here.

    Returns:
        Positions of its brackets, the second None if it does not end here; None without such an
        array.
    """
    found = structure_of(text)
    first = 0
    for level, step in enumerate(path):
        ends = np.flatnonzero((found.depth == level) & (_STEP[found.kind] == -1))
        end = next((int(e) for e in ends if e > first), found.depth.size)
        inside = np.arange(first + 1, end)
        colons = inside[(found.depth[inside] == level + 1) & (found.kind[inside] == _COLON)]
        keys = (text[found.position[c - 1] + 1 : found.position[c]].strip() for c in colons)
        named = [int(c) for c, k in zip(colons, keys, strict=True) if k == b'"%s"' % step.encode()]
        first = named[-1] + 1 if named else found.depth.size
        if (
            first >= found.depth.size
            or text[found.position[first - 1] + 1 : found.position[first]].strip()
        ):
            return None
        if found.kind[first] != (_ARRAY if level + 1 == len(path) else _OBJECT):
            return None
    closers = np.flatnonzero((found.depth == len(path)) & (_STEP[found.kind] == -1))
    closing = next((int(c) for c in closers if c > first), None)
    return int(found.position[first]), None if closing is None else int(found.position[closing])


def depths(found: Structure) -> np.ndarray:
    """How many brackets are open at most, for each object that is not in another."""
    opens = np.flatnonzero((found.depth == 0) & (found.kind == _OBJECT))
    around = found.depth + (_STEP[found.kind] == 1)
    return np.maximum.reduceat(around, opens) if opens.size else np.empty(0, np.int32)


def members(objects: bytes, found: Structure) -> pl.DataFrame:
    """Keys and values of objects.

    Args:
        objects: valid JSON objects, parted by white space.
        found: their structure.

    Returns:
        `row` (ordinal of the object), `key` and `value` (as written), in order.
    """
    mark = _marks_of_members(found)
    position, kind = found.position[mark], found.kind[mark]
    colon = np.flatnonzero(kind == _COLON)
    row = np.cumsum(kind == _OBJECT, dtype=np.uint32)[colon] - 1
    start, end = trimmed(objects, position[colon - 1] + 1, position[colon])
    key = slices(objects, start + 1, end - 1)
    return pl.DataFrame(
        {
            "row": pl.Series(row, dtype=pl.UInt32),
            "key": unescaped(key) if b"\\" in objects else key,
            "value": slices(objects, *trimmed(objects, position[colon] + 1, position[colon + 1])),
        }
    )


def _marks_of_members(found: Structure) -> np.ndarray:
    """Brackets around objects, and the colons and commas of their members."""
    parting = (found.kind == _COLON) | (found.kind == _COMMA)
    return np.flatnonzero((found.depth == 0) | ((found.depth == 1) & parting))


@dataclass(frozen=True)
class Values:
    """What objects have under the same key, one value each.

    Attributes:
        inner: the values as written, but for the quotes of `strings`.
        strings: whether all of them are strings.
        plain: whether `inner` is what they say: numbers, or strings without escapes, none of them
            empty, and none with white space at its ends.
    """

    inner: pl.Series
    strings: bool
    plain: bool

    @property
    def written(self) -> pl.Series:
        """The values as written."""
        return '"' + self.inner + '"' if self.strings else self.inner


def table(objects: bytes, found: Structure) -> dict[str, Values] | None:
    """Keys and values of objects that are written alike, as most files are.

    Args:
        objects: valid JSON objects, parted by white space.
        found: their structure.

    Returns:
        None unless each object has the keys of the first, no key twice, in the same order and
        with the same white space in front and behind.
    """
    mark = _marks_of_members(found)
    opens = np.flatnonzero(found.kind[mark] == _OBJECT)
    width = mark.size // max(opens.size, 1)
    if width < 3 or (opens != np.arange(0, mark.size, width)[: opens.size]).any():
        return None
    if opens.size * width != mark.size:
        return None
    # Whole rows at a time: the text is gone through from end to end, not once for each column.
    position = found.position[mark].reshape(-1, width)
    before, colon, behind = position[:, :-1:2], position[:, 1::2], position[:, 2::2]
    written = b",".join(objects[b + 1 : c] for b, c in zip(before[0], colon[0], strict=True))
    keys = _TEXTS.decode(b"[" + written + b"]")
    if len(set(keys)) < len(keys):
        return None
    octets = np.frombuffer(objects, np.uint8)
    start = colon + 1
    while _SPACE[octets[start]].all():  # as most writers have it
        start += 1
    start, end = (
        at.reshape(behind.shape) for at in trimmed(objects, start.ravel(), behind.ravel())
    )
    strings = (octets[start] == _QUOTE).all(axis=0)
    start, end = start + strings, end - strings
    begins, ends = octets[start], octets[end - 1]
    # Of an empty string, the first byte is the quote that closes it.
    doubtful = MAY_BEGIN_SPACE[begins] | (begins == _QUOTE) | MAY_END_SPACE[ends]
    doubtful |= b"\\" in objects
    plain = ~np.where(strings, doubtful, _SAYS_ELSE[begins]).any(axis=0)
    # Rows in turn: what is in front of a value, and the value. Cut at once: each time, polars looks
    # at the whole of the text.
    edges = np.empty((len(position), width), position.dtype)
    edges[:, 0], edges[:, 1::2], edges[:, 2::2] = position[:, 0], start, end
    parts = cut(objects, edges.ravel())
    columns: dict[str, Values] = {}
    for n, key in enumerate(keys):
        front = parts.gather_every(width, 2 * n)
        if (front != front[0]).any():
            return None
        inner = parts.gather_every(width, 2 * n + 1)
        columns[key] = Values(inner, bool(strings[n]), bool(plain[n]))
    return columns


def elements(arrays: bytes) -> pl.DataFrame:
    """Elements of arrays.

    Args:
        arrays: balanced JSON arrays, parted by white space.

    Returns:
        `row` (ordinal of the array) and `value` (as written), in order.
    """
    found = structure_of(arrays)
    mark = np.flatnonzero((found.depth == 0) | ((found.depth == 1) & (found.kind == _COMMA)))
    position, kind = found.position[mark], found.kind[mark]
    before = np.flatnonzero(_STEP[kind] != -1)
    frame = pl.DataFrame(
        {
            "row": pl.Series(np.cumsum(_STEP[kind] == 1)[before] - 1, dtype=pl.UInt32),
            "value": slices(arrays, *trimmed(arrays, position[before] + 1, position[before + 1])),
        }
    )
    # An empty array has one element that is not there.
    return frame.filter((pl.col("value") != "") | (pl.len().over("row") > 1))


def trimmed(text: bytes, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parts of some text without the white space around them."""
    octets = np.frombuffer(text, np.uint8)
    start, end = start.copy(), end.copy()
    left = np.flatnonzero(_SPACE[octets[start]] & (start < end))
    while left.size:
        start[left] += 1
        left = left[_SPACE[octets[start[left]]] & (start[left] < end[left])]
    right = np.flatnonzero(_SPACE[octets[end - 1]] & (start < end))
    while right.size:
        end[right] -= 1
        right = right[_SPACE[octets[end[right] - 1]] & (start[right] < end[right])]
    return start, end


def all_valid(text: bytes, count: int) -> bool:
    """Whether text is so many valid JSON values, each in lines of its own.

    Args:
        text: values parted by line feeds. Either all of them are balanced, or none has a line feed
            inside; else two broken ones could pass for one that is whole.
    """
    try:
        return len(_RAW.decode_lines(text)) == count
    except (msgspec.DecodeError, RecursionError):
        return False


def is_valid(text: bytes) -> bool:
    """Whether the text is one valid JSON value."""
    try:
        _RAW.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def with_quoted_constants(text: bytes) -> bytes:
    """NaN and Infinity, which JSON does not have, as strings."""
    return _CONSTANTS.sub(lambda m: m[1] or b'"' + m[2] + b'"', text)


def unescaped(strings: pl.Series) -> pl.Series:
    """The characters that JSON strings stand for.

    Args:
        strings: valid contents of JSON strings, without their quotes.
    """
    escaped = strings.str.contains("\\", literal=True).fill_null(value=False)
    if not escaped.any():
        return strings
    texts = ('"' + strings.filter(escaped) + '"').to_list()
    meant = _TEXTS.decode("[" + ",".join(texts) + "]")
    return strings.clone().scatter(escaped.arg_true(), pl.Series(meant, dtype=pl.String))


def compact(values: pl.Series) -> pl.Series:
    """JSON text without white space between its parts; nothing else changes."""
    return values.str.replace_all(r'("(?:[^"\\]|\\.)*")|\s+', "${1}")
