"""Errors of the platform: what was seen, what was expected, what to do.

Add a class here when a caller must tell one failure from another. `Terminal` errors never heal by
trying again (bad data, bad configuration); `Transient` ones may (a lock, a dropped connection).
"""


class RetailError(Exception):
    """Base of every error the platform raises on purpose."""


class Terminal(RetailError):
    """Trying again cannot help; somebody has to change something."""


class Transient(RetailError):
    """Trying again later may help."""


class ConfigurationError(Terminal):
    """A setting, registry entry or contract is wrong or missing."""


class FileRejected(Terminal):
    """A delivered file cannot be taken as it is; it stays in the inbox.

    Attributes:
        code: short stable identifier of the kind of problem, e.g. ``truncated_gzip``.
        seen: what was found in the file.
        remedy: what the sender or operator should do.
        discreet: `seen` for feeds with personal data, without words of the file: what looks like
            a header or a key may be somebody's name.
    """

    def __init__(self, code: str, seen: str, remedy: str, discreet: str = "") -> None:
        super().__init__(f"{code}: {seen} {remedy}")
        self.code = code
        self.seen = seen
        self.remedy = remedy
        self.discreet = discreet or seen

    def discreetly(self) -> "FileRejected":
        """The same refusal, quoting nothing of the file."""
        return FileRejected(self.code, self.discreet, self.remedy)


class SourceUnavailable(Transient):
    """A pulled source does not answer, or not now.

    Attributes:
        source: its name; empty when it was not asked at all.
    """

    def __init__(self, message: str, source: str = "") -> None:
        super().__init__(message)
        self.source = source


class SourceRefused(Terminal):
    """A pulled source answers, but not what its configuration promises."""


class KeysUnavailable(Transient):
    """The service that guards the keys of personal data does not answer or refuses."""


class SecretsUnavailable(Transient):
    """The service that keeps secrets does not answer."""


class GateFault(Terminal):
    """The gate failed at a file; the text of the error is withheld, it may quote the file."""


class WarehouseBusy(Transient):
    """Another process holds the warehouse file."""


class LoadMismatch(Terminal):
    """The rows that arrived in the warehouse are not the rows the manifest promises."""


class DependencyDown(Transient):
    """Something the platform depends on kept failing and is left alone for a moment."""
