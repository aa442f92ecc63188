"""Where JSON text opens, closes and parts: slices of it as they were written, found in bulk.

Nothing is turned into numbers or objects here, so a value keeps its digits, its order of keys and
its spelling. Whether text is valid JSON is asked of msgspec; the index below finds its way in text
that is balanced, valid or not. Knows nothing about contracts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl

from retail_platform.gate.text import MAY_BEGIN_SPACE, MAY_END_SPACE, cut, slices

BLANK = b" \t\r\n\xef\xbb\xbf"
"""White space of JSON, and the byte order marks that are left where files were joined."""

MAX_DEPTH = 200
"""Objects and arrays within each other; beyond, parsers in later steps run out of stack."""

_OBJECT, _ARRAY, _COLON, _COMMA = ord("{"), ord("["), ord(":"), ord(",")
_QUOTE, _BACKSLASH, _CLOSES_OBJECT = ord('"'), ord("\\"), ord("}")
_MARKS = bytes(byte in b'{}[]:,"' for byte in range(256))
_SPACE = np.zeros(256, np.bool_)
_SPACE[list(b" \t\r\n")] = True
_IN_WORD = np.zeros(256, np.bool_)
_IN_WORD[list(b"-+.0123456789eEtrufalsn")] = True
"""Bytes of numbers, true, false and null."""

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
        quotes &= ~_escaped(text)[position]
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


def _quotes(text: bytes) -> np.ndarray:
    """Positions of quotes that open or close a string."""
    position = np.flatnonzero(np.frombuffer(text, np.uint8) == _QUOTE)
    return position[~_escaped(text)[position]] if b"\\" in text else position


def _escaped(text: bytes) -> np.ndarray:
    """By byte, whether a backslash takes the meaning from it; a backslash may be one."""
    backslashes = np.flatnonzero(np.frombuffer(text, np.uint8) == _BACKSLASH)
    first = np.ones(backslashes.size, np.bool_)
    first[1:] = np.diff(backslashes) != 1
    count = np.arange(backslashes.size)
    offset = count - np.maximum.accumulate(np.where(first, count, 0))
    escaped = np.zeros(len(text) + 1, np.bool_)
    escaped[backslashes[offset % 2 == 0] + 1] = True
    return escaped[:-1]


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
        plain: whether `inner` is what they say: numbers, or strings without escapes and without
            white space at their ends.
    """

    inner: pl.Series
    strings: bool
    plain: bool

    @property
    def written(self) -> pl.Series:
        """The values as written."""
        return '"' + self.inner + '"' if self.strings else self.inner


Table = dict[str, "Values | Table"]
"""By key what objects have under it; under a key that leads to further objects, what these have."""


def table(objects: bytes, found: Structure) -> Table | None:
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
    plain = _are_plain(begins, ends, strings, escapes=b"\\" in objects)
    # Rows in turn: what is in front of a value, and the value. Cut at once: each time, polars looks
    # at the whole of the text.
    edges = np.empty((len(position), width), position.dtype)
    edges[:, 0], edges[:, 1::2], edges[:, 2::2] = position[:, 0], start, end
    parts = cut(objects, edges.ravel())
    columns: Table = {}
    for n, key in enumerate(keys):
        front = parts.gather_every(width, 2 * n)
        if (front != front[0]).any():
            return None
        inner = parts.gather_every(width, 2 * n + 1)
        columns[key] = Values(inner, bool(strings[n]), bool(plain[n]))
    return columns


@dataclass(frozen=True)
class _Leaf:
    """A value in an object that holds no further ones.

    Attributes:
        path: keys that lead to it.
        start, end: where it is in the object; of a string, without the quotes.
        string: whether it is one.
    """

    path: tuple[str, ...]
    start: int
    end: int
    string: bool


def _leaves(text: bytes) -> list[_Leaf] | None:
    """Leaves of an object in their order.

    Returns:
        None if there is none, if a key is there twice, or if there are arrays or empty objects.
    """
    found = structure_of(text)
    if found.deepest > MAX_DEPTH or (found.kind == _ARRAY).any():
        return None
    position, kind = found.position.tolist(), found.kind.tolist()
    leaves: list[_Leaf] = []
    around: list[str] = []
    seen: set[tuple[str, ...]] = set()
    for n, mark in enumerate(kind):
        if mark == _COLON:
            (key,) = _TEXTS.decode(b"[" + text[position[n - 1] + 1 : position[n]] + b"]")
            path = (*around, key)
            if path in seen:
                return None
            seen.add(path)
            if kind[n + 1] == _OBJECT:
                around.append(key)
                continue
            between = text[position[n] + 1 : position[n + 1]]
            value = between.strip()
            start = position[n] + 1 + between.index(value)
            string = value[:1] == b'"'
            leaves.append(_Leaf(path, start + string, start + len(value) - string, string))
        elif mark == _CLOSES_OBJECT:
            if kind[n - 1] == _OBJECT:
                return None
            del around[-1:]
    return leaves or None


def nested_table(objects: bytes, first: bytes) -> Table | None:
    """Keys and values of objects that are written alike, and of those inside them, in one go.

    Args:
        objects: valid JSON objects, parted by white space.
        first: the first of them.

    Returns:
        None unless each object is the first one with other values: a string for a string, a number
        or word for a number or word. Arrays are no values here.
    """
    leaves = _leaves(first) if objects.startswith(first) else None
    end = len(objects.rstrip(BLANK))
    edges = _edges(objects, first, leaves, end) if leaves else None
    if leaves is None or edges is None:
        return None
    octets = np.frombuffer(objects, np.uint8)
    begins, ends = octets[edges[:, ::2]], octets[edges[:, 1::2] - 1]
    strings = np.array([leaf.string for leaf in leaves])
    words = (edges[:, ::2] < edges[:, 1::2]) & _IN_WORD[begins] & _IN_WORD[ends]
    if not (words | strings).all():
        return None
    # Values, and in between what has to be the same in all objects.
    parts = cut(objects, edges.ravel())
    to_next = objects[len(first) : edges[1, 0]] if len(edges) > 1 else first[: leaves[0].start]
    if to_next.lstrip(BLANK) != first[: leaves[0].start]:
        return None
    same = [first[a.end : b.start] for a, b in pairwise(leaves)]
    same.append(first[leaves[-1].end :] + to_next)
    expected = pl.Series(same, dtype=pl.Binary).cast(pl.String)
    in_turn = np.tile(np.arange(len(leaves), dtype=np.uint32), len(edges))[:-1]
    if (parts.gather_every(2, 1) != expected.gather(in_turn)).any():
        return None
    if objects[edges[-1, -1] : end] != first[leaves[-1].end :]:
        return None
    plain = _are_plain(begins, ends, strings, escapes=b"\\" in objects)
    found: Table = {}
    for n, leaf in enumerate(leaves):
        level = found
        for key in leaf.path[:-1]:
            level = level.setdefault(key, {})  # type: ignore[assignment]  # no leaf is there
        inner = parts.gather_every(2 * len(leaves), 2 * n)
        level[leaf.path[-1]] = Values(inner, leaf.string, bool(plain[n]))
    return found


def _edges(objects: bytes, first: bytes, leaves: Sequence[_Leaf], end: int) -> np.ndarray | None:
    """Where values begin and end, if objects differ in them only; to be checked.

    In each object, a value is as far from the quotes around it as in the first one. So quotes alone
    tell where values are, for a third of what an index of all marks costs.

    Args:
        end: of the last object.

    Returns:
        A row for each object, and in it two positions for each leaf, all of them ascending; None
        where objects differ in more.
    """
    quotes, own = _quotes(objects), _quotes(first)
    count, over = divmod(quotes.size, own.size)
    # With brackets anywhere else, in strings too, a value might be more than a word.
    brackets = count * len({leaf.path[:n] for leaf in leaves for n in range(len(leaf.path))})
    folded = np.frombuffer(objects, np.uint8) | 0x20
    if over or np.count_nonzero(folded == _OBJECT) != brackets:
        return None
    quotes = quotes.reshape(count, own.size)
    # Behind the last quote of an object comes the first of the next.
    to_next = int(quotes[1, 0] - quotes[0, 0]) if count > 1 else len(first)
    last = end - len(first) + to_next + own[0]
    quotes = np.column_stack([quotes, np.append(quotes[1:, 0], last)])
    own = np.append(own, to_next + own[0])
    behind = np.searchsorted(own, [leaf.start for leaf in leaves])
    mark = np.column_stack([behind - 1, behind]).ravel()
    edges = quotes.take(mark, axis=1)
    edges += np.array([at for leaf in leaves for at in (leaf.start, leaf.end)]) - own[mark]
    flat = edges.ravel()
    ascending = flat[0] >= 0 and flat[-1] < end and (flat[1:] >= flat[:-1]).all()
    return edges if ascending else None


def _are_plain(
    begins: np.ndarray, ends: np.ndarray, strings: np.ndarray, *, escapes: bool
) -> np.ndarray:
    """By column, whether values are what they say; see `Values.plain`.

    Args:
        begins, ends: first and last byte of each value; a row for each object.
        strings: by column, whether values are strings.
        escapes: whether there may be any.
    """
    # An empty string has quotes here.
    doubtful = MAY_BEGIN_SPACE[begins] | MAY_END_SPACE[ends] | escapes
    return ~np.where(strings, doubtful, _SAYS_ELSE[begins]).any(axis=0)


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
