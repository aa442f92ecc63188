"""How much memory something takes, whatever the process did before it. Linux only."""

import re
from pathlib import Path

_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


class Growth:
    """Peak of resident memory from here on, above what is resident now."""

    def __init__(self) -> None:
        """Let the kernel count anew."""
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = _peak()

    @property
    def megabytes(self) -> float:
        """How far it went."""
        return _peak() - self._before


def _peak() -> float:
    found = _PEAK.search(Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) / 1024
