"""Circuit breakers: what keeps failing is left alone for a while, by all processes together.

Closed, calls go through. After `FAILURES` transient failures in a row the circuit opens, and who
needs the dependency is told at once instead of waiting for it; `RETRY_AFTER_SECONDS` later one
call is let through to see, and closes the circuit if it succeeds. The rules are pybreaker's; here
is their memory, a small file per dependency.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pybreaker
from filelock import FileLock

from retail_platform.errors import DependencyDown
from retail_platform.resilience.failures import classify
from retail_platform.whole_files import write_whole

FAILURES = 5
RETRY_AFTER_SECONDS = 60.0


@dataclass(frozen=True)
class CircuitState:
    """What is remembered about one dependency.

    Attributes:
        state: ``closed``, ``open`` or ``half-open``, as pybreaker calls them.
        opened_at: UTC, ISO; empty while it never opened.
        error: class of the last failure.
        retry_after: seconds from opening to the next try.
    """

    name: str
    state: str = pybreaker.STATE_CLOSED
    failures: int = 0
    successes: int = 0
    opened_at: str = ""
    error: str = ""
    retry_after: float = RETRY_AFTER_SECONDS

    @property
    def open(self) -> bool:
        """Whether it is, or may be, still down."""
        return self.state != pybreaker.STATE_CLOSED

    @property
    def retry_at(self) -> datetime | None:
        """When it is tried again; None while it never opened."""
        if not self.opened_at:
            return None
        return datetime.fromisoformat(self.opened_at) + timedelta(seconds=self.retry_after)

    @property
    def blocks(self) -> bool:
        """Whether calls are refused at present."""
        at = self.retry_at
        return self.state == pybreaker.STATE_OPEN and at is not None and datetime.now(UTC) < at

    def __str__(self) -> str:
        if not self.open:
            return f"{self.name}: in order"
        at = self.retry_at
        return (
            f"The {self.name} failed {max(self.failures, 1)} times in a row ({self.error}); it is "
            f"tried again {f'after {at:%H:%M:%S} UTC' if at and self.blocks else 'now'}."
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self)


class Breakers:
    """The circuit breakers of an installation."""

    def __init__(
        self,
        folder: Path,
        failures: int = FAILURES,
        retry_after: float = RETRY_AFTER_SECONDS,
    ) -> None:
        """Name the folder of their state; it appears with the first failure.

        Args:
            failures: in a row that open a circuit.
            retry_after: seconds until a call is let through again.
        """
        self._folder = folder
        self._failures = failures
        self._retry_after = retry_after

    @contextmanager
    def guard(self, name: str) -> Iterator[None]:
        """Call a dependency inside of this.

        Errors pass through. Those that are transient and the dependency's count against it; others
        say nothing about it.

        Raises:
            DependencyDown: its circuit is open; nothing was called.
        """
        memory = _FileStorage(self._file(name), name, self._retry_after)
        state = memory.read()
        if state.blocks:
            raise DependencyDown(str(state))
        breaker = pybreaker.CircuitBreaker(
            fail_max=self._failures,
            reset_timeout=self._retry_after,
            state_storage=memory,
            throw_new_error_on_trip=False,
        )
        try:
            yield
        except Exception as error:
            failure = classify(error)
            if failure.transient and failure.dependency == name:
                memory.error = type(error).__name__
                with suppress(pybreaker.CircuitBreakerError, type(error)):
                    breaker.call(_fail, error)
            raise
        with suppress(pybreaker.CircuitBreakerError):  # opened by another process meanwhile
            breaker.call(lambda: None)

    def states(self) -> list[CircuitState]:
        """All dependencies that ever failed, by name."""
        files = sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []
        return [_read(file, CircuitState(file.stem.replace("-", " "))) for file in files]

    def refusal(self, names: Iterable[str]) -> str | None:
        """Why nothing should be started that needs these; None when all may be called."""
        for name in names:
            state = _read(self._file(name), CircuitState(name))
            if state.blocks:
                return str(state)
        return None

    def _file(self, name: str) -> Path:
        return self._folder / f"{name.replace(' ', '-')}.json"


def _fail(error: Exception) -> NoReturn:
    raise error


def _read(file: Path, otherwise: CircuitState) -> CircuitState:
    """A state; one that another release wrote, or nobody yet, is a new beginning."""
    try:
        return CircuitState(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return otherwise


class _FileStorage(pybreaker.CircuitBreakerStorage):
    """pybreaker's state in a file that all processes of an installation share."""

    def __init__(self, file: Path, name: str, retry_after: float) -> None:
        super().__init__(name)
        self._file = file
        self._new = CircuitState(name, retry_after=retry_after)
        self.error = ""

    def read(self) -> CircuitState:
        """As it is now."""
        return _read(self._file, self._new)

    def _change(self, **changes: Any) -> None:
        """Writes only what differs: most calls succeed and change nothing."""
        if replace(self.read(), **changes) != self.read():
            with self._locked():
                self._write(replace(self.read(), **changes))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._file.with_suffix(".lock")):
            yield

    def _write(self, state: CircuitState) -> None:
        write_whole(self._file, json.dumps(asdict(state)))

    @property
    def state(self) -> str:
        return self.read().state

    @state.setter
    def state(self, state: str) -> None:
        self._change(state=state)

    def increment_counter(self) -> None:
        with self._locked():
            now = self.read()
            self._write(replace(now, failures=now.failures + 1, error=self.error or now.error))

    def reset_counter(self) -> None:
        self._change(failures=0)

    def increment_success_counter(self) -> None:
        with self._locked():
            now = self.read()
            self._write(replace(now, successes=now.successes + 1))

    def reset_success_counter(self) -> None:
        self._change(successes=0)

    @property
    def counter(self) -> int:
        return self.read().failures

    @property
    def success_counter(self) -> int:
        return self.read().successes

    @property
    def opened_at(self) -> datetime | None:
        text = self.read().opened_at
        return datetime.fromisoformat(text) if text else None

    @opened_at.setter
    def opened_at(self, opened_at: datetime) -> None:
        self._change(opened_at=opened_at.isoformat())
