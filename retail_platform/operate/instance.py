"""Dagster's home: created below RETAIL_HOME, with the project's dagster.yaml."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from retail_platform.assets.batch_day import WAREHOUSE_POOL
from retail_platform.settings import PROJECT_DIR, Settings, export
from retail_platform.whole_files import write_whole

EVENT_BATCH_SIZE = 1000
"""Events stored per transaction; see retail_platform.event_log."""


def dagster_environment(settings: Settings) -> dict[str, str]:
    """Variables Dagster processes need, for this process and for those it starts."""
    return {
        "RETAIL_HOME": str(settings.home),
        "DAGSTER_HOME": str(settings.dagster_home),
        "DAGSTER_EVENT_BATCH_SIZE": str(EVENT_BATCH_SIZE),
    }


def prepare_home(settings: Settings) -> None:
    """Create DAGSTER_HOME and put the project's dagster.yaml there."""
    wanted = (PROJECT_DIR / "dagster.yaml").read_text(encoding="utf-8")
    target = settings.dagster_home / "dagster.yaml"
    if not target.is_file() or target.read_text(encoding="utf-8") != wanted:
        write_whole(target, wanted)


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The installation's Dagster instance."""
    prepare_home(settings)
    export(dagster_environment(settings))
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        # On a new instance the first look at the queue precedes the default limit, and two runs
        # would start at once; said explicitly, the limit holds from the first.
        if WAREHOUSE_POOL not in {p.name for p in instance.event_log_storage.get_pool_limits()}:
            instance.event_log_storage.set_concurrency_slots(WAREHOUSE_POOL, 1)
        yield instance
