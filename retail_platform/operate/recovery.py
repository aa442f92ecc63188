"""Whether earlier runs can have left anything undone, told without a look at all of history.

Looking for it takes longer the more history there is, and nearly always finds nothing. A command
that ended with nothing left to do writes down when it began; as long as no run has failed since
then and the warehouse is the one it left, there is nothing to look for.
"""

from datetime import datetime
from pathlib import Path

import dagster as dg
from pydantic import BaseModel, ValidationError

from retail_platform.warehouse.protocol import Warehouse
from retail_platform.whole_files import write_whole


class AllDone(BaseModel):
    """What a command that left nothing undone wrote down.

    Attributes:
        since: when it began, UTC.
        files: how many the ledger listed at its end.
    """

    since: datetime
    files: int


class Recovery:
    """Remembers the last command of an installation that left nothing undone."""

    def __init__(self, instance: dg.DagsterInstance, warehouse: Warehouse, note: Path) -> None:
        """Look at nothing yet.

        Args:
            note: file that is written.
        """
        self._instance = instance
        self._warehouse = warehouse
        self._note = note

    def nothing_undone(self) -> bool:
        """Whether everything that earlier runs began is known to be done."""
        try:
            known = AllDone.model_validate_json(self._note.read_bytes())
        except (FileNotFoundError, ValidationError):
            return False
        failed = dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
            updated_after=known.since,
        )
        # A warehouse that was lost or brought back from a copy lists fewer files.
        same_warehouse = known.files <= self._warehouse.files_loaded()
        return same_warehouse and not self._instance.get_runs(failed, limit=1)

    def all_done(self, since: datetime) -> None:
        """Write down that nothing is left undone.

        Args:
            since: when the command began, UTC.
        """
        known = AllDone(since=since, files=self._warehouse.files_loaded())
        write_whole(self._note, known.model_dump_json())
