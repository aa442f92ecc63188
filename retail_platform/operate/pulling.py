"""Pulls in the foreground, and how far each source has been pulled.

The same asset as behind the schedules, executed in this process. Files it brings lie in the inbox
afterwards, for the inbox sensor or `retail run`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import dagster as dg

from retail_platform.assets.pulled import pull_op
from retail_platform.assets.specs import source_key
from retail_platform.definitions import Platform
from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import INBOX, Lake
from retail_platform.operate.in_process import execute_here
from retail_platform.partitions import Partition, Scope, Slices, rectangles
from retail_platform.pull.cursor import read_cursor
from retail_platform.pull.sources import Source


@dataclass(frozen=True)
class PulledPartition:
    """What a run put into the inbox for one country and batch day."""

    partition: str
    rows: int
    files: str


@dataclass(frozen=True)
class PullOutcome:
    """What a foreground pull did.

    Attributes:
        error: why it failed, empty when it did not.
    """

    source: str
    pulled: Sequence[PulledPartition]
    error: str


@dataclass(frozen=True)
class PullState:
    """How far one source and country has been pulled.

    Attributes:
        waiting: whether its last file still lies in the inbox.
        unfinished: a pull was stopped between file and cursor; the next one settles it.
    """

    source: str
    country: str
    cursor: str | None
    checked_at: datetime | None
    last_file: str | None
    waiting: bool
    unfinished: bool


def source_named(platform: Platform, name: str) -> Source:
    """The source of this name.

    Raises:
        ConfigurationError: there is none.
    """
    for source in platform.sources:
        if source.name == name:
            return source
    known = ", ".join(s.name for s in platform.sources) or "none; set RETAIL_SOURCES_FILE"
    raise ConfigurationError(f"No such source: {name!r}; there are: {known}.")


def pull_now(
    platform: Platform,
    instance: dg.DagsterInstance,
    source: Source,
    countries: Sequence[str],
    window: tuple[date, date] | None = None,
) -> PullOutcome:
    """Pull one source in this process, without waiting for one that is not available.

    Args:
        countries: only these; all of the source when empty.
        window: first and last day to ask for again; None asks for what is new.

    Raises:
        KeyboardInterrupt: the command was interrupted; what was not pulled yet is left.
    """
    runs: list[dict[str, str]] = [{}]
    if window:
        scope = platform.contracts[source.feed].scope
        runs = [box.run_tags() for box in _boxes(platform, scope, source, countries, *window)]
    job = platform.definitions.resolve_implicit_global_asset_job_def()
    pulled: list[PulledPartition] = []
    errors: list[str] = []
    for tags in runs:
        config: dict[str, Any] = {"tries": 1, "countries": [] if window else list(countries)}
        ops = {pull_op(source): {"config": config}}
        result = execute_here(job, instance, [source_key(source.name)], tags, ops)
        for entry in instance.all_logs(result.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION):
            made = entry.asset_materialization
            if made:
                files = str(made.metadata["files"].value)
                rows = int(str(made.metadata["rows"].value))
                pulled.append(PulledPartition(str(made.partition), rows, files))
        errors += [_reason(event) for event in result.all_events if event.is_step_failure]
    return PullOutcome(source.name, pulled, "; ".join(errors))


def _boxes(
    platform: Platform,
    scope: Scope,
    source: Source,
    countries: Sequence[str],
    first: date,
    last: date,
) -> list[Slices]:
    """Runs over the countries, which need not stand together in the registry."""
    days = Slices(tuple(countries or source.countries), first, last)
    return rectangles({Partition(c, d) for c, d in days}, platform.partitioning.order(scope))


def _reason(event: dg.DagsterEvent) -> str:
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    return str(failure.error.message if failure.error else event.message).strip()


def read_states(lake: Lake, sources: Sequence[Source]) -> list[PullState]:
    """How far each source and country has been pulled, from the lake."""
    waiting = {obj.path.removeprefix(INBOX) for obj in lake.list(INBOX)}
    states = []
    for source in sources:
        for country in source.countries:
            cursor = read_cursor(lake, source.name, country)
            states.append(
                PullState(
                    source.name,
                    country,
                    cursor.position.value,
                    cursor.checked_at,
                    cursor.last_file,
                    cursor.last_file in waiting,
                    cursor.pending is not None,
                )
            )
    return states
