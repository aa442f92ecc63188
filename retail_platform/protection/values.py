"""Values of personal data replaced by tokens and ciphertexts, whole columns at a time.

`<column>_token` is a keyed HMAC-SHA-256 of the normalised value: equal for equal people, in every
feed and country. `<column>_enc` is the value itself under AES-256-GCM. Its nonce is an HMAC of
column and value under a key of its own, as in SIV modes: two different values practically never
share one (96 bits of a pseudo-random function; among a thousand million values the chance is one in
10^11), and the same value in the same column gives the same ciphertext. That tells no more than the
token does, and it keeps lake objects a function of their content.
"""

import base64
from collections.abc import Callable

import polars as pl
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from retail_platform.contract import Column, FeedContract, Normalise
from retail_platform.errors import ConfigurationError
from retail_platform.protection.keys import DataKeys

LINE = "_line"
"""A whole row as it was delivered; encrypted in quarantine under ``_line_enc``."""

_RESCUED = "_rescued"
_NONCE_BYTES = 12


class Protector:
    """Replaces what one feed holds of personal data."""

    def __init__(self, contract: FeedContract, keys: DataKeys) -> None:
        """Prepare the keys of the feed's columns."""
        self._contract = contract
        self._keys = keys
        self._token = HMAC(keys.derive(keys.first, "token"), SHA256())

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Good rows with protected columns in place of those that hold personal data.

        Args:
            frame: typed contract columns, ``_rescued`` and whatever else belongs to a row.
        """
        private = [c for c in self._contract.columns if c.protect]
        kept = [series for c in private for series in self._stored(c, frame[c.name])]
        return frame.drop(c.name for c in private).with_columns(
            *kept,
            # What nobody has classified may be anything, its name included.
            self.encrypted(frame[_RESCUED], _RESCUED).alias(_RESCUED),
        )

    def lines(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Bad rows with their original text encrypted."""
        return frame.drop(LINE).with_columns(self.encrypted(frame[LINE], LINE).alias(f"{LINE}_enc"))

    def _stored(self, column: Column, values: pl.Series) -> list[pl.Series]:
        text = values.cast(pl.String)
        makers: dict[str, Callable[[], pl.Series]] = {
            f"{column.name}_token": lambda: self.tokens(text, column.normalise),
            f"{column.name}_enc": lambda: self.encrypted(text, column.name),
            f"{column.name}_year": lambda: values.dt.year().cast(pl.Int32),
        }
        return [makers[name]().alias(name) for name in column.stored]

    def tokens(self, values: pl.Series, normalise: Normalise) -> pl.Series:
        """Tokens of text: 64 hexadecimal digits; null stays null."""
        of_kind = self._token.copy()
        of_kind.update(f"{normalise}\0".encode())

        def token(value: bytes) -> bytes:
            mac = of_kind.copy()
            mac.update(value)
            return mac.finalize()

        def made(distinct: pl.Series) -> pl.Series:
            values = normalised(distinct, normalise).cast(pl.Binary).to_list()
            return pl.Series([token(v) for v in values], dtype=pl.Binary).bin.encode("hex")

        return _of_distinct(values, made)

    def encrypted(self, values: pl.Series, column: str) -> pl.Series:
        """Text as ``v<key version>:<base64 of nonce, ciphertext and tag>``; null stays null."""
        version = self._keys.newest
        context = self._context(column)
        nonces = HMAC(self._keys.derive(version, "nonce"), SHA256())
        nonces.update(context + b"\0")
        seal = self._cipher(version).encrypt

        def sealed(value: bytes) -> bytes:
            mac = nonces.copy()
            mac.update(value)
            nonce = mac.finalize()[:_NONCE_BYTES]
            return nonce + seal(nonce, value, context)

        def made(distinct: pl.Series) -> pl.Series:
            values = distinct.cast(pl.Binary).to_list()
            packed = pl.Series([sealed(v) for v in values], dtype=pl.Binary)
            return f"v{version}:" + packed.bin.encode("base64")

        return _of_distinct(values, made)

    def decrypted(self, values: pl.Series, column: str) -> pl.Series:
        """What `encrypted` was given.

        Raises:
            ConfigurationError: the values were encrypted with other keys, or changed since.
        """
        context = self._context(column)
        ciphers: dict[str, AESGCM] = {}

        def opened(text: str) -> str:
            version, _, packed = text.partition(":")
            if version not in ciphers:
                ciphers[version] = self._cipher(int(version.removeprefix("v")))
            raw = base64.b64decode(packed)
            nonce, sealed = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
            return ciphers[version].decrypt(nonce, sealed, context).decode()

        def made(distinct: pl.Series) -> pl.Series:
            try:
                return pl.Series([opened(text) for text in distinct.to_list()], dtype=pl.String)
            except (InvalidTag, ValueError):
                raise ConfigurationError(
                    f"A value of {self._contract.name}.{column} does not open: it was encrypted "
                    "with other keys than those of this lake, or changed since."
                ) from None

        return _of_distinct(values, made)

    def _cipher(self, version: int) -> AESGCM:
        return AESGCM(self._keys.derive(version, "value"))

    def _context(self, column: str) -> bytes:
        """What a ciphertext belongs to: moved to another column it does not open."""
        return f"{self._contract.name}.{column}".encode()


def _of_distinct(values: pl.Series, made: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Something made of text, once for each distinct value; null stays null."""
    text = values.cast(pl.String).rename("text").to_frame()
    given = text["text"].is_not_null()
    if 10 * text["text"].n_unique() > 9 * given.sum():
        # Nearly all occur once, as e-mail addresses do: a join would cost more than it saves.
        found = made(text["text"].filter(given)).cast(pl.String)
        nothing = pl.Series([None], dtype=pl.String)
        return (
            found
            if given.all()
            else nothing.new_from_index(0, len(given)).scatter(given.arg_true(), found)
        )
    distinct = text["text"].drop_nulls().unique()
    table = distinct.to_frame().with_columns(made(distinct).cast(pl.String).alias("made"))
    return text.join(table, on="text", how="left", maintain_order="left")["made"]


def normalised(values: pl.Series, how: Normalise) -> pl.Series:
    """Spellings of the same thing made equal; the same in all countries.

    Text is trimmed, composed (Unicode NFC) and case-folded; an e-mail address has no blanks
    besides. A phone number is its digits, with ``+`` before an international prefix (``00``
    counts as one, a trunk zero in brackets does not) and ``x`` before an extension; what has no
    digits is text.
    """
    text = _folded(values.str.strip_chars())
    if how == "email":
        return text.str.replace_all(r"\s", "")
    if how == "phone":
        return _phone(text)
    return text


def _folded(text: pl.Series) -> pl.Series:
    lower = text.str.normalize("NFC").str.to_lowercase()
    foreign = ~text.str.contains(r"^[\x00-\x7f]*$")
    if not foreign.any():
        return lower
    # Lower case is the folded form of ASCII alone: elsewhere `ß` is `ss`, and a sigma has two.
    composed = text.filter(foreign).str.normalize("NFC")
    folded = pl.Series([value.casefold() for value in composed.to_list()], dtype=pl.String)
    return lower.scatter(foreign.arg_true(), folded.str.normalize("NFC"))


def _phone(text: pl.Series) -> pl.Series:
    frame = text.str.normalize("NFKC").rename("text").to_frame()
    number = pl.col("text").str.replace(r"(?:x|ext\.?|#)\s*\d+\s*$", "")
    extension = pl.col("text").str.extract(r"(?:x|ext\.?|#)\s*(\d+)\s*$")
    abroad = number.str.contains(r"^\W*(?:\+|00)")
    digits = number.str.replace(r"\(0\)", "").str.replace_all(r"\D", "")
    spelled = pl.when(abroad).then(pl.lit("+") + digits.str.replace(r"^00", "")).otherwise(
        number.str.replace_all(r"\D", "")
    ) + pl.when(extension.is_not_null()).then(pl.lit("x") + extension).otherwise(pl.lit(""))
    return frame.select(
        pl.when(pl.col("text").str.contains(r"\d")).then(spelled).otherwise("text").alias("text")
    )["text"]
