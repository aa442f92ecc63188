"""Counter-based randomness: every value is a hash of coordinates, so no generator state is carried.

What is drawn with it lives in the other modules of the demo.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import polars as pl

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Keys = npt.NDArray[np.uint64]


class Purpose(IntEnum):
    """First coordinate after the seed: what a value is drawn for."""

    SALE = 0
    DAY = 1
    CUSTOMER = 2
    CHANGE = 3
    PRODUCT = 4
    COST = 5
    EMPLOYEE = 6
    PARTNER = 7
    RATE = 8
    EVENT = 9
    ORDER = 10
    CART = 11
    CONTACT = 12
    MOVEMENT = 13
    SUPPLIER = 14
    WEATHER = 15
    COMPETITOR = 16
    STOCK = 17


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed(key: Keys) -> Keys:
    """Finaliser of splitmix64: every input bit decides about every output bit."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def key_of(*parts: int | Ints) -> Keys:
    """One key per row from its coordinates; integers apply to all rows."""
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = mixed(key + _GOLDEN + np.atleast_1d(np.asarray(part)).astype(np.uint64))
    return key


def draw(key: Keys, purpose: int | Ints) -> Keys:
    """Independent 64 bits for one of many purposes of a key."""
    return mixed(key + _GOLDEN * np.atleast_1d(np.asarray(purpose)).astype(np.uint64))


def unit(bits: Keys) -> Floats:
    """Uniform in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(bits: Keys, limit: int | Ints) -> Ints:
    """Uniform integer in [0, limit)."""
    return (unit(bits) * limit).astype(np.int64)


def pick(bits: Keys, shares: Sequence[float]) -> Ints:
    """Index drawn with given shares, which add up to one."""
    return np.searchsorted(np.cumsum(shares)[:-1], unit(bits), side="right").astype(np.int64)


def normal(key: Keys) -> Floats:
    """Roughly standard normal, within +-3.5."""
    draws: Floats = np.stack([unit(draw(key, purpose)) for purpose in range(4)])
    return np.asarray((draws.sum(axis=0) - 2.0) * 3.0**0.5)


def words_at(words: Sequence[str | None], index: Ints) -> pl.Series:
    """Words by position."""
    return pl.Series(words, dtype=pl.String).gather(index)


def blocks(sizes: Ints) -> tuple[Ints, Ints]:
    """Owner and position of every member of consecutive groups of given sizes."""
    owner = np.repeat(np.arange(sizes.size), sizes)
    return owner, np.arange(owner.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
