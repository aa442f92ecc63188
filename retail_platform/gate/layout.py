"""Text to columns: delimiter, header or no header, which field is which contract column.

Only the arrangement of a file is decided here; whether values are right is judged in `rows`.
"""

import csv
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from retail_platform.contract import Drift, FeedContract, normalised_header
from retail_platform.errors import FileRejected
from retail_platform.gate.drift import evolved_name
from retail_platform.lake.schemas import EXTRA, ObservedColumn, ObservedSchema

_SAMPLE_LINES = 20
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True)
class Layout:
    """How a file arranges its values.

    Attributes:
        fields: for each field of a row the contract column it holds, or `EXTRA` and a name for a
            column the contract does not know: its header, or if it evolves its RAW name.
        header: the header line, or None when the file has none.
    """

    delimiter: str
    fields: tuple[str, ...]
    header: str | None

    def describe(self) -> dict[str, str]:
        """Facts for the manifest."""
        return {
            "delimiter": _NAMES.get(self.delimiter, self.delimiter),
            "header": "yes" if self.header is not None else "no",
            "columns": str(len(self.fields)),
        }


def recognise(head: Sequence[str], contract: FeedContract) -> Layout:
    """Find delimiter, header and columns from the first lines of a file.

    Args:
        head: first lines that are not blank, at least one if the file has any.

    Raises:
        FileRejected: empty_file, unreadable_layout, duplicate_column, missing_column,
            unexpected_column.
    """
    if not head:
        raise FileRejected(
            "empty_file",
            "The file holds only blank lines.",
            "Deliver the file again; a day without rows is a file with just the header.",
        )
    words = contract.name_by_header
    required = {c.name for c in contract.columns if c.required}
    best: tuple[int, str, list[str]] | None = None
    for delimiter in contract.ingestion.delimiters:
        fields = split_line(head[0], delimiter)
        names = [words[w] for w in map(normalised_header, fields) if w in words]
        known = len(names)
        # Among many columns that nobody announced, those that have to be there tell a header.
        telling = known >= (len(fields) + 1) // 2 or required <= set(names)
        if known >= 2 and telling and (best is None or known > best[0]):
            best = (known, delimiter, fields)
    if best:
        _, delimiter, fields = best
        return Layout(delimiter, _header_columns(fields, words, contract), head[0])
    return _without_header(head, contract)


def observed_schema(layout: Layout, encoding: str, contract: FeedContract) -> ObservedSchema:
    """What the registry of schemas remembers of a file.

    Of a feed with personal data not what unknown columns are called: what looks like a header may
    have a row of data in it.
    """
    evolves = contract.ingestion.drift is Drift.EVOLVE
    if layout.header is None:
        headers = [""] * len(layout.fields)
    else:
        headers = [f.strip() for f in split_line(layout.header, layout.delimiter)]
    columns = []
    unknown = 0
    for header, field in zip(headers, layout.fields, strict=True):
        extra = field.startswith(EXTRA)
        name = field.removeprefix(EXTRA) if evolves or not extra else ""
        if extra and contract.holds_pii:
            unknown += 1
            header = f"(unknown {unknown})"
        columns.append(
            ObservedColumn(header=header, column=name or None, evolved=extra and bool(name))
        )
    facts = {**layout.describe(), "encoding": encoding}
    return ObservedSchema(
        feed=contract.name,
        contract_version=contract.version,
        facts={name: facts[name] for name in sorted(facts) if name != "columns"},
        columns=tuple(columns),
    )


def observed_json_schema(
    encoding: str, contract: FeedContract, evolved: Collection[str] = ()
) -> ObservedSchema:
    """What the registry remembers of a JSON file, whose records each say what they hold.

    Args:
        evolved: keys of its records that the contract does not know, if they become columns.
    """
    known = [
        ObservedColumn(header=".".join(c.path) or c.header, column=c.name) for c in contract.columns
    ]
    names = {key: evolved_name(key, contract) for key in sorted(evolved)}
    gained = [
        ObservedColumn(header=key, column=name or None, evolved=bool(name))
        for key, name in names.items()
    ]
    return ObservedSchema(
        feed=contract.name,
        contract_version=contract.version,
        facts={"encoding": encoding, "format": "json"},
        columns=(*known, *gained),
    )


def split_line(line: str, delimiter: str) -> list[str]:
    """Fields of one line; a line with a broken quote is one field."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return [line]


def _header_columns(
    fields: list[str], words: dict[str, str], contract: FeedContract
) -> tuple[str, ...]:
    columns = [words.get(normalised_header(f)) or _unknown(f, contract) for f in fields]
    twice = sorted(name.removeprefix(EXTRA) for name, n in Counter(columns).items() if n > 1)
    if twice:
        raise FileRejected(
            "duplicate_column",
            f"The header names {', '.join(twice)} more than once.",
            "Send every column once.",
            discreet="The header names the same column more than once.",
        )
    missing = [c.header for c in contract.columns if c.required and c.name not in columns]
    if missing:
        raise FileRejected(
            "missing_column",
            f"The header lacks {', '.join(missing)}; it has {', '.join(fields)}.",
            f"Send all required columns of contract {contract.name} {contract.version}.",
            discreet=f"The header lacks {', '.join(missing)}; it has {len(fields)} columns.",
        )
    extra = [f for f, c in zip(fields, columns, strict=True) if c.startswith(EXTRA)]
    if extra and contract.ingestion.drift is Drift.FREEZE:
        raise unexpected_columns("The header has", extra, contract)
    return tuple(columns)


def unexpected_columns(where: str, names: Sequence[str], contract: FeedContract) -> FileRejected:
    """The refusal of a file with columns that its contract does not know."""
    unknown = f"which contract {contract.name} {contract.version} does not know."
    return FileRejected(
        "unexpected_column",
        f"{where} {', '.join(names[:20])}, {unknown}",
        "Leave the column out, or add it to the contract.",
        discreet=f"{where} {len(names)} columns {unknown}",
    )


def _unknown(header: str, contract: FeedContract) -> str:
    name = header.strip()
    evolves = contract.ingestion.drift is Drift.EVOLVE
    return EXTRA + (evolved_name(name, contract) if evolves else name)


def _without_header(head: Sequence[str], contract: FeedContract) -> Layout:
    by_length = {len(v): v for v in contract.variants}
    seen: dict[str, int] = {}
    for delimiter in contract.ingestion.delimiters:
        lengths = Counter(len(split_line(line, delimiter)) for line in head[:_SAMPLE_LINES])
        usual, _ = lengths.most_common(1)[0]
        seen[_NAMES.get(delimiter, delimiter)] = usual
        if usual in by_length and usual > 1:
            return Layout(delimiter, by_length[usual], None)
    if head[0].lstrip()[:1] in ("{", "["):
        raise FileRejected(
            "unreadable_layout",
            f"The file begins like JSON ({head[0].strip()[:40]!r}), but {contract.name} is CSV.",
            "Deliver CSV, or correct `format` of the contract.",
            discreet=f"The file begins like JSON, but {contract.name} is CSV.",
        )
    expected = " or ".join(str(n) for n in sorted(by_length))
    raise FileRejected(
        "unreadable_layout",
        "There is no header line of this feed, and rows split into "
        + ", ".join(f"{n} by {name}" for name, n in seen.items())
        + f"; contract {contract.name} has {expected} columns.",
        "Check delimiter and columns against the contract and deliver the file again.",
    )
