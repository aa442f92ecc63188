"""Columns the contract does not know: what they are called in RAW, and how many a feed may gain.

What happens to their values is decided where rows are split (`frames`, `json_frames`) and judged
(`rows`).
"""

import hashlib
import re
import unicodedata

from retail_platform.contract import FeedContract, is_usable_name
from retail_platform.errors import FileRejected
from retail_platform.lake.schemas import read_schemas
from retail_platform.lake.store import Lake

MAX_EVOLVED_COLUMNS = 100
"""More than this is no evolution: a feed that invents columns has names where values belong."""

_LONGEST_NAME = 60


def evolved_name(header: str, contract: FeedContract) -> str:
    """RAW name of a column the contract does not know.

    A function of header and contract alone, so it does not matter which file is seen first:
    ``Loyalty Points``, ``loyaltyPoints`` and ``LOYALTY-POINTS`` are one column everywhere.

    Returns:
        Snake case; empty for a header without any letter or digit. Names that are reserved, start
        with a digit or belong to the contract are preceded by ``x_``; a hash of the header stands
        for letters without a Latin equivalent and for the end of very long names.
    """
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", header.strip())
    letters = unicodedata.normalize("NFKD", parted.casefold())
    letters = "".join(c for c in letters if not unicodedata.combining(c))
    name = re.sub(r"[^a-z0-9]+", "_", letters).strip("_")
    lost = any(c.isalnum() and not c.isascii() for c in letters)
    while name and (not is_usable_name(name) or name in contract.column_by_name):
        name = f"x_{name}"
    if lost or len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(header.strip().encode()).hexdigest()[:8]
        name = f"{name[: _LONGEST_NAME - 9] or 'column'}_{digest}"
    return name


class EvolvedColumns:
    """The columns a feed has gained so far; read from the lake when the first file brings one."""

    def __init__(self, lake: Lake, contract: FeedContract) -> None:
        self._lake = lake
        self._contract = contract
        self._known: frozenset[str] | None = None

    def admit(self, names: tuple[str, ...]) -> FileRejected | None:
        """Count the columns of one more file, or say why it is refused: too_many_new_columns."""
        if not names:
            return None
        if self._known is None:
            schemas = read_schemas(self._lake, self._contract.name).values()
            found = {name for schema in schemas for name in schema.evolved}
            self._known = frozenset(found - self._contract.column_by_name.keys())
        together = self._known.union(names)
        if len(together) > MAX_EVOLVED_COLUMNS and together != self._known:
            new = sorted(together - self._known)
            return FileRejected(
                "too_many_new_columns",
                f"The file has {len(new)} columns that are new ({', '.join(new[:5])}, ...), and "
                f"feed {self._contract.name} has gained {len(self._known)} already.",
                f"A feed may gain {MAX_EVOLVED_COLUMNS} columns. Leave them out, or add to the "
                "contract what is needed.",
            )
        self._known = together
        return None
