"""Who is told what: the file named in `RETAIL_ALERTS_FILE`.

Channels have a name and an address of the `apprise` library; routes say which alerts go to which
channels. Addresses may hold ``${VARIABLE}``: what it stands for is put in when a message leaves
and appears nowhere else::

    channels:
      oncall: slack://${SLACK_TOKEN}/#data-platform
      finance: mailto://mail.example.com?from=retail@example.com&to=finance@example.com
    routes:
      - {severity: [error, warning], to: [oncall]}
      - {owner: ["team:finance"], country: [DE, FR], to: [finance]}
"""

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retail_platform.alerts.alert import Alert, Kind, Severity
from retail_platform.errors import ConfigurationError
from retail_platform.secrets import secret
from retail_platform.settings import with_variables

LOG = "log"
"""The channel that is always there and is told everything: a file of JSON lines."""


class Route(BaseModel):
    """Alerts that fulfil all conditions go to these channels; an empty condition fits everything.

    Attributes:
        owner: at least one owner of what the alert is about.
        country: of the partition; an alert about several countries has none and does not fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: tuple[str, ...] = Field(min_length=1)
    severity: frozenset[Severity] = frozenset()
    kind: frozenset[Kind] = frozenset()
    owner: frozenset[str] = frozenset()
    domain: frozenset[str] = frozenset()
    country: frozenset[str] = frozenset()

    def fits(self, alert: Alert) -> bool:
        """Whether an alert takes this route."""
        return all(
            not wanted or bool(wanted & found)
            for wanted, found in (
                (self.severity, {alert.severity}),
                (self.kind, {alert.kind}),
                (self.owner, set(alert.owners)),
                (self.domain, {alert.domain}),
                (self.country, {alert.country}),
            )
        )


class Routes(BaseModel):
    """All channels and routes of an installation. Every route that fits is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: dict[str, str] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()

    @model_validator(mode="after")
    def _channels_are_there(self) -> "Routes":
        if LOG in self.channels:
            raise ValueError(f"channel {LOG!r} is the platform's own; name yours differently")
        known = {*self.channels, LOG}
        unknown = sorted({name for route in self.routes for name in route.to} - known)
        if unknown:
            raise ValueError(
                f"routes name the channels {', '.join(unknown)}; there are "
                f"{', '.join(sorted(known))}"
            )
        return self

    def channels_of(self, alert: Alert) -> list[str]:
        """Names of the channels to tell, each once."""
        named = [name for route in self.routes if route.fits(alert) for name in route.to]
        return list(dict.fromkeys([LOG, *named]))

    def problems(self) -> list[str]:
        """What would keep channels from ever delivering; nothing is sent."""
        return [p for name in self.channels for p in self._problems_of(name)]

    def _problems_of(self, name: str) -> Sequence[str]:
        try:
            address = self.address(name)
        except ConfigurationError as exc:
            return [str(exc)]
        import apprise  # noqa: PLC0415 - half a second, and only where messages leave

        if apprise.Apprise.instantiate(address) is None:
            return [
                f"channel {name}: apprise does not understand its address; the documentation of "
                "apprise lists its services"
            ]
        return []

    def address(self, name: str) -> str:
        """Address of a channel with its variables filled in: a secret.

        Raises:
            ConfigurationError: a variable is not set; the message names it and the channel.
        """
        try:
            return with_variables(self.channels[name], secret)
        except ConfigurationError as exc:
            raise ConfigurationError(f"channel {name}: {exc}") from exc


def load_routes(file: Path | None) -> Routes:
    """Read the routing file; without one only the log is told.

    Raises:
        ConfigurationError: with the path and every finding, values left out.
    """
    if file is None:
        return Routes()
    try:
        return Routes.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except ValidationError as exc:
        # Pydantic shows the input beside each finding, and addresses may hold secrets.
        found = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}"
            for e in exc.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"{file}: not a usable routing file: {found}") from exc
    except yaml.YAMLError as exc:
        at = getattr(exc, "problem_mark", None)
        where = f" in line {at.line + 1}" if at else ""
        raise ConfigurationError(f"{file}: not YAML{where} (RETAIL_ALERTS_FILE)") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{file}: cannot be read (RETAIL_ALERTS_FILE): {exc}") from exc
