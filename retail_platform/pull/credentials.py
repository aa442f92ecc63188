"""Secrets of sources: read when they are needed, and kept out of everything people read."""

from collections.abc import Callable

from retail_platform.settings import with_variables

_SHORTEST = 4
"""Shorter values are no secrets, and hiding them would make any text unreadable."""


class Credentials:
    """Looks secrets up and remembers them, to take them out of messages."""

    def __init__(self, read: Callable[[str], str]) -> None:
        """Prepare.

        Args:
            read: value of an environment variable; raises when it is not set.
        """
        self._read = read
        self._known: set[str] = set()

    def reveal(self, text: str) -> str:
        """A text of the configuration with its ``${VARIABLES}`` filled in.

        Raises:
            ConfigurationError: a variable is not set.
        """

        def value(name: str) -> str:
            found = self._read(name)
            self.remember(found)
            return found

        return with_variables(text, value)

    def remember(self, value: str | None) -> None:
        """Hide this value from now on."""
        if value and len(value) >= _SHORTEST:
            self._known.add(value)

    def hide(self, text: str) -> str:
        """A text without the secrets in it."""
        for value in sorted(self._known, key=len, reverse=True):
            text = text.replace(value, "***")
        return text
