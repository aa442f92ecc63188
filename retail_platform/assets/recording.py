"""Recording the events of many partitions from inside an op.

In a run over a range of partitions Dagster gives every partition the metadata of the one output,
and stores events that an op yields itself one by one. An op that knows something about each
partition (rows loaded, rows rejected) records the events here instead: each with its own metadata,
all of them in batches::

    @dg.multi_asset(specs=[dg.AssetSpec("sales", partitions_def=..., skippable=True)], ...)
    def sales(context):
        loaded = load(context.partition_keys)
        record_materializations(context, (materialization(key) for key in loaded))

Such an op yields no output for these assets, hence ``skippable``. Steps that depend on them are
then skipped in the same run; automation has to start them. Dagster adds data versions to outputs
only: where they matter, set the tag ``dagster/data_version`` on the materializations.

How batches are stored is the business of the storage (`retail_platform.event_log`); Dagster forms
them when ``DAGSTER_EVENT_BATCH_SIZE`` is set and otherwise stores event by event. This is the only
module that creates events with parts of Dagster that are not public API.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeVar
from uuid import uuid4

import dagster as dg

try:
    from dagster._core.definitions.asset_checks.asset_check_evaluation import (
        AssetCheckEvaluationTargetMaterializationData,
    )
    from dagster._core.definitions.partitions.utils import get_tags_from_multi_partition_key
    from dagster._core.events import DagsterEventBatchMetadata
except ImportError as error:
    raise ImportError(
        f"{error}. Recording events in batches relies on these internals, last seen in Dagster "
        f"1.13; installed is {dg.__version__}. Install a version this project allows, or adapt "
        "this module: `_log_materialization_or_observation_events_for_asset` in "
        "dagster/_core/execution/plan/execute_step.py shows how Dagster batches its own events."
    ) from error

_LOOKUP_SIZE = 10_000
"""Storage ids per query: databases limit the parameters of one statement (SQLite: 32,766)."""

Event = TypeVar("Event")


def record_materializations(
    context: dg.AssetExecutionContext, materializations: Iterable[dg.AssetMaterialization]
) -> int:
    """Record partitions as materialized, each with its own metadata and tags.

    They are stored when this returns, and stay when the op fails later. The tags that name the
    dimensions of a multi-dimensional partition are added, as Dagster does for outputs.

    Args:
        context: of the running op. An op called as a plain function has no run to record for.
        materializations: in the order in which they are to count as having happened; read
            completely before the first is recorded.

    Returns:
        How many were recorded.

    Raises:
        ValueError: one belongs to an asset this op does not materialize in this run, or names no
            partition although its asset has partitions. Nothing is recorded then.
    """
    step_context = context.get_step_execution_context()
    selected = context.selected_asset_keys
    partitions_defs = {spec.key: spec.partitions_def for spec in context.assets_def.specs}
    # Storages update the entry of an asset once per batch: one batch is always of one asset.
    by_asset: dict[dg.AssetKey, list[dg.AssetMaterialization]] = defaultdict(list)
    for materialization in materializations:
        key = materialization.asset_key
        if key not in selected:
            raise ValueError(
                f"{key.to_user_string()} is not materialized by this step, which has "
                f"{_listed(asset.to_user_string() for asset in selected)}."
                " Record it in the op that declares it."
            )
        by_asset[key].append(_of_partition(materialization, partitions_defs[key]))
    for of_one_asset in by_asset.values():
        for materialization, batch in _batched(of_one_asset):
            dg.DagsterEvent.asset_materialization(step_context, materialization, batch)
    return sum(map(len, by_asset.values()))


def record_check_evaluations(
    context: dg.AssetExecutionContext, evaluations: Iterable[dg.AssetCheckEvaluation]
) -> Iterator[dg.AssetCheckEvaluation]:
    """Record the results of checks; yield those that have to fail the step.

    Use it as ``yield from record_check_evaluations(context, evaluations)``: Dagster fails a step
    over a blocking check only when the op yields that evaluation. All others are recorded in
    batches before the first one is yielded. The outputs of the checks remain mandatory
    (``yield dg.Output(None, output_name="<asset>_<check>")``).

    Args:
        context: of the running op.
        evaluations: read completely before the first is recorded. Give those of good partitions
            the materialization they looked at, see `latest_materializations`; without it Dagster
            cannot tell whether the result still holds.

    Yields:
        Evaluations that failed with severity ERROR and block what is downstream.

    Raises:
        ValueError: one belongs to a check this op does not run in this run. Nothing is recorded
            then.
    """
    step_context = context.get_step_execution_context()
    selected = context.selected_asset_check_keys
    failing: list[dg.AssetCheckEvaluation] = []
    by_check: dict[dg.AssetCheckKey, list[dg.AssetCheckEvaluation]] = defaultdict(list)
    for evaluation in evaluations:
        key = evaluation.asset_check_key
        if key not in selected:
            raise ValueError(
                f"Check {key.to_user_string()} is not run by this step, which has "
                f"{_listed(check.to_user_string() for check in selected)}."
                " Record it in the op that declares it."
            )
        is_error = not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR
        (failing if is_error and evaluation.blocking else by_check[key]).append(evaluation)
    for key, of_one_check in by_check.items():
        for evaluation, batch in _batched(of_one_check):
            outcome = "passed" if evaluation.passed else "did not pass"
            # `DagsterEvent.asset_check_evaluation` does the same, but takes no batch.
            dg.DagsterEvent.from_step(
                event_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION,
                step_context=step_context,
                event_specific_data=evaluation,
                message=f"Asset check {key.to_user_string()} {outcome}.",
                batch_metadata=batch,
            )
    yield from failing


def latest_materializations(
    context: dg.AssetExecutionContext, asset_key: dg.AssetKey, partitions: Collection[str]
) -> dict[str, AssetCheckEvaluationTargetMaterializationData]:
    """What check evaluations of these partitions refer to, found in a few queries for all.

    Returns:
        Per partition its latest materialization; partitions without one are left out.
    """
    wanted = set(partitions)
    storage_ids = sorted(
        storage_id
        for partition, storage_id in context.instance.get_latest_storage_id_by_partition(
            asset_key, dg.DagsterEventType.ASSET_MATERIALIZATION
        ).items()
        if partition in wanted
    )
    return {
        str(record.partition): AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
        for start in range(0, len(storage_ids), _LOOKUP_SIZE)
        for record in context.instance.get_asset_event_summary_records(
            dg.DagsterEventType.ASSET_MATERIALIZATION,
            asset_key=asset_key,
            storage_ids=storage_ids[start : start + _LOOKUP_SIZE],
        )
    }


def _of_partition(
    materialization: dg.AssetMaterialization, partitions_def: dg.PartitionsDefinition | None
) -> dg.AssetMaterialization:
    if partitions_def is None:
        return materialization
    if materialization.partition is None:
        raise ValueError(
            f"{materialization.asset_key.to_user_string()} has partitions, but one of its "
            "materializations names none. Set `partition` on each."
        )
    if not isinstance(partitions_def, dg.MultiPartitionsDefinition):
        return materialization
    key = partitions_def.get_partition_key_from_str(materialization.partition)
    dimensions = get_tags_from_multi_partition_key(key)
    return materialization._replace(tags={**(materialization.tags or {}), **dimensions})


def _batched(events: Sequence[Event]) -> Iterator[tuple[Event, DagsterEventBatchMetadata]]:
    """Each event with the batch it belongs to; Dagster stores what is left at the last one."""
    batch_id = str(uuid4())
    last = len(events) - 1
    for number, event in enumerate(events):
        yield event, DagsterEventBatchMetadata(batch_id, is_end=number == last)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
