"""From what is wrong to who is told: looks, keeps books in the outbox, delivers.

`alert_sensor` does it every few seconds, foreground commands at their end. Both use the same
outbox, so neither repeats what the other told.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from retail_platform.alerts.channels import sender
from retail_platform.alerts.outbox import Notice, Outbox
from retail_platform.alerts.routes import load_routes
from retail_platform.alerts.watch import Memory, Watch

LOG_FILE = "alerts.log"
_MEMORY = "watch"


@dataclass(frozen=True)
class Tick:
    """What one look brought.

    Attributes:
        notices: what is new.
        told: messages that were delivered, older ones included.
        looked_at: UTC.
        behind: more ended runs wait to be read.
    """

    notices: list[Notice]
    told: int
    looked_at: datetime
    behind: bool


class AlertRouter:
    """The one way from facts to messages."""

    def __init__(self, folder: Path, routes_file: Path | None) -> None:
        """Name the outbox folder and the routing file; both are read when needed.

        Args:
            routes_file: None tells the log only.
        """
        self.outbox = Outbox(folder)
        self._folder = folder
        self._routes_file = routes_file

    def look(self, watch: Watch) -> Tick:
        """Look once, remember what changed, tell what is due.

        Raises:
            ConfigurationError: the routing file is not usable. Nothing is lost: the next look
                finds the same.
        """
        now = datetime.now(UTC)
        routes = load_routes(self._routes_file)
        observation = watch.look(self._memory(), now)
        notices = self.outbox.record(
            observation.seen,
            routes.channels_of,
            now,
            {_MEMORY: observation.memory.model_dump_json()},
        )
        return Tick(notices, self.deliver(), now, observation.behind)

    def deliver(self, *, even_waiting: bool = False) -> int:
        """Tell what waits.

        Args:
            even_waiting: also try channels that failed and whose time has not come.
        """
        send = sender(load_routes(self._routes_file), self._folder / LOG_FILE)
        return self.outbox.deliver(send, datetime.now(UTC), even_waiting=even_waiting)

    def last_look(self) -> datetime | None:
        """When a sensor or command last looked; None if never."""
        return self._memory().looked_at

    def _memory(self) -> Memory:
        text = self.outbox.recall(_MEMORY)
        try:
            return Memory.model_validate_json(text) if text else Memory()
        except ValidationError:
            return Memory()  # of another release; what is still wrong is found again
