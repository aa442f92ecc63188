"""Where the time of a process goes: functions wrapped from outside, each second counted once.

A wrapped function's time is what it spends outside other wrapped functions, so that the parts add
up to the whole. Only the main thread is watched; CPU time is that of the whole process, threads of
DuckDB, polars and dbt included, and belongs to what the main thread waits for.
"""

import functools
import inspect
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopwatch:
    """Exclusive wall and CPU seconds by label."""

    def __init__(self) -> None:
        self.wall: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)
        self._stack: list[str] = []
        self._last = (time.monotonic(), time.process_time())
        self._thread = threading.get_ident()

    def book(self, label: str, wall: float, cpu: float) -> None:
        """Add time that passed before anything could be wrapped."""
        self.wall[label] += wall
        self.cpu[label] += cpu
        self._last = (time.monotonic(), time.process_time())

    @contextmanager
    def part(self, label: str) -> Iterator[None]:
        """Count the time inside under this label, except for parts inside it."""
        if threading.get_ident() != self._thread:
            yield
            return
        self._turn()
        self._stack.append(label)
        self.calls[label] += 1
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def wrap(self, owner: Any, name: str, label: str) -> None:
        """Count calls of a function under a label.

        Raises:
            AttributeError: the owner has no such function any more; correct the benchmark.
        """
        static = inspect.getattr_static(owner, name)
        function: Callable[..., Any] = getattr(owner, name) if inspect.ismodule(owner) else static
        if isinstance(static, staticmethod):
            function = static.__func__

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.part(label):
                return function(*args, **kwargs)

        setattr(owner, name, staticmethod(counted) if isinstance(static, staticmethod) else counted)

    def seconds(self) -> dict[str, dict[str, float]]:
        """Label -> wall, cpu, calls."""
        self._turn()
        return {
            label: {"wall": self.wall[label], "cpu": self.cpu[label], "calls": self.calls[label]}
            for label in self.wall
        }

    def _turn(self) -> None:
        now = (time.monotonic(), time.process_time())
        if self._stack:
            self.wall[self._stack[-1]] += now[0] - self._last[0]
            self.cpu[self._stack[-1]] += now[1] - self._last[1]
        self._last = now
