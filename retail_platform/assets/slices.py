"""From a run to its partitions: the one place that reads what a run covers."""

import dagster as dg

from retail_platform.partitions import Partition, Partitioning, Scope, Slices

ONLY_ARRIVALS_TAG = "retail_platform/only"
"""Run tag: take in what arrived and leave partitions without news alone. Set by the planner, which
covers scattered arrivals with one generous range."""

ONLY_ARRIVALS = "arrivals"


REPLAY_TAG = "retail_platform/replay"
"""Run tag: judge the originals in history anew before anything else."""

ORIGINALS = "originals"


def slices_for(
    context: dg.AssetExecutionContext, partitioning: Partitioning, scope: Scope
) -> Slices:
    """The rectangle of partitions a run covers, from its partition keys.

    Raises:
        ValueError: the keys are no rectangle, which Dagster's own ranges never produce.
    """
    keys = [Partition.parse(str(key)) for key in context.partition_keys]
    return Slices.of(keys, partitioning.order(scope))


def only_arrivals(context: dg.AssetExecutionContext) -> bool:
    """Whether partitions without news are to be left alone.

    A repeated run, or a repeated step of a run, never skips anything: its first attempt may have
    loaded rows and died before it could tell anybody.
    """
    run = context.run
    repeated = run.parent_run_id is not None or context.retry_number > 0
    return run.tags.get(ONLY_ARRIVALS_TAG) == ONLY_ARRIVALS and not repeated


def replays_originals(context: dg.AssetExecutionContext) -> bool:
    """Whether the run was asked to judge again what was judged before."""
    return context.run.tags.get(REPLAY_TAG) == ORIGINALS
