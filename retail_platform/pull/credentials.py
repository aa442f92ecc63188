"""Secrets of sources: read when they are needed, and kept out of everything people read."""

from collections.abc import Callable

from retail_platform.pull.sources import Secret

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

    def reveal(self, secret: Secret) -> str:
        """The value of a secret.

        Raises:
            ConfigurationError: the variable is not set.
        """
        value = self._read(secret.env)
        self.remember(value)
        return value

    def remember(self, value: str | None) -> None:
        """Hide this value from now on."""
        if value and len(value) >= _SHORTEST:
            self._known.add(value)

    def hide(self, text: str) -> str:
        """A text without the secrets in it."""
        for value in sorted(self._known, key=len, reverse=True):
            text = text.replace(value, "***")
        return text
