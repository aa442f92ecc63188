"""Records written as a JSON file, as contracts describe them: a line each, or one page.

The gate reads them again (`gate.json_records`).
"""

import json
from collections.abc import Iterable, Iterator, Sequence


def json_file(records: Iterable[bytes], record_path: Sequence[str]) -> Iterator[bytes]:
    """The bytes of a file, piece by piece.

    Args:
        records: each a JSON document without line ends, UTF-8.
        record_path: keys under which a page has its records; empty for a record per line.
    """
    if not record_path:
        for record in records:
            yield record + b"\n"
        return
    for key in record_path:
        yield f"{{{json.dumps(key, ensure_ascii=False)}: ".encode()
    yield b"["
    for number, record in enumerate(records):
        yield (b",\n" if number else b"\n") + record
    yield b"\n]" + b"}" * len(record_path) + b"\n"
