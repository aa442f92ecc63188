"""Recording the events of many partitions from inside an op.

In a run over a range of partitions Dagster gives every partition the metadata of the one output,
and stores events that an op yields itself one by one. An op that knows something about each
partition (rows loaded, rows rejected) records the events here instead: each with its own metadata,
all of them in batches::

    @dg.multi_asset(specs=[dg.AssetSpec("sales", partitions_def=..., skippable=True)], ...)
    def sales(context):
        loaded = load(context.partition_keys)
        record_materializations(context, (materialization(key) for key in loaded))

Such an op yields no output for these assets, hence ``skippable``. Steps that depend on them Dagster
would skip in the same run; see `following_steps`. It adds data versions to outputs only: where they
matter, set the tag ``dagster/data_version`` on the materializations.

The storages of this project (`retail_platform.event_log`) take the materializations of an asset at
once. For others Dagster creates an event for each and forms batches of them when
``DAGSTER_EVENT_BATCH_SIZE`` is set, as it does for the results of checks. This is the only module
that creates events with parts of Dagster that are not public API.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar
from uuid import uuid4

import dagster as dg

from retail_platform.event_log_batched import BatchedEventLogStorage

try:
    from dagster._core.definitions.asset_checks.asset_check_evaluation import (
        AssetCheckEvaluationTargetMaterializationData,
    )
    from dagster._core.definitions.partitions.utils import get_tags_from_multi_partition_key
    from dagster._core.events import DagsterEventBatchMetadata
    from dagster._record import copy
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

    They are stored when this returns, asset by asset, and stay when the op fails later. The tags
    that name the dimensions of a multi-dimensional partition are added, as Dagster does for
    outputs.

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
    # Stored at once are those of one asset, whose entry is then updated once; the description is
    # also the message of the event, which they share.
    alike: dict[tuple[dg.AssetKey, str | None], list[dg.AssetMaterialization]] = defaultdict(list)
    for materialization in materializations:
        key = materialization.asset_key
        if key not in selected:
            raise ValueError(
                f"{key.to_user_string()} is not materialized by this step, which has "
                f"{_listed(asset.to_user_string() for asset in selected)}."
                " Record it in the op that declares it."
            )
        alike[key, materialization.description].append(
            _of_partition(materialization, partitions_defs[key])
        )
    storage = context.instance.event_log_storage
    for together in alike.values():
        if isinstance(storage, BatchedEventLogStorage):
            log = partial(dg.DagsterEvent.asset_materialization, step_context)
            storage.store_materializations(together, log)
        else:
            for materialization, batch in _batched(together):
                dg.DagsterEvent.asset_materialization(step_context, materialization, batch)
    return sum(map(len, alike.values()))


def record_check_evaluations(
    context: dg.AssetExecutionContext, evaluations: Iterable[dg.AssetCheckEvaluation]
) -> Iterator[dg.AssetCheckEvaluation | dg.Output[None]]:
    """Record the results of checks; yield what has to come from the op itself.

    Use it as ``yield from record_check_evaluations(context, evaluations)``: Dagster fails a step
    over a blocking check only when the op yields that evaluation, and expects an output for each
    check. All others are recorded in batches before anything is yielded.

    An `AssetCheckResult` would do the same, but for each Dagster looks at all input partitions of
    the run.

    Args:
        context: of the running op.
        evaluations: read completely before the first is recorded. Give those of good partitions
            the materialization they looked at, see `latest_materializations`; without it Dagster
            cannot tell whether the result still holds. Those of a whole asset get its newest.

    Yields:
        Evaluations that failed with severity ERROR and block what is downstream; outputs of the
        checks.

    Raises:
        ValueError: one belongs to a check this op does not run in this run. Nothing is recorded
            then.
    """
    selected = context.selected_asset_check_keys
    given = list(evaluations)
    for evaluation in given:
        if evaluation.asset_check_key not in selected:
            raise ValueError(
                f"Check {evaluation.asset_check_key.to_user_string()} is not run by this step, "
                f"which has {_listed(check.to_user_string() for check in selected)}."
                " Record it in the op that declares it."
            )
    given = _with_targets(context, given)
    failing = [evaluation for evaluation in given if _fails_the_step(evaluation)]
    step_context = context.get_step_execution_context()
    for evaluation, batch in _batched([e for e in given if not _fails_the_step(e)]):
        # `DagsterEvent.asset_check_evaluation` does the same, but takes no batch.
        dg.DagsterEvent.from_step(
            event_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION,
            step_context=step_context,
            event_specific_data=evaluation,
            message=_message(evaluation),
            batch_metadata=batch,
        )
    yield from failing
    for key in dict.fromkeys(evaluation.asset_check_key for evaluation in given):
        yield dg.Output(
            None, dg.AssetCheckSpec(key.name, asset=key.asset_key).get_python_identifier()
        )


def _message(evaluation: dg.AssetCheckEvaluation) -> str:
    key, outcome = evaluation.asset_key, "passed" if evaluation.passed else "did not pass"
    message = f"Asset check '{evaluation.check_name}' on '{key.to_user_string()}' {outcome}."
    if evaluation.description is not None:
        message += f" Description: '{evaluation.description}'"
    return message


def _fails_the_step(evaluation: dg.AssetCheckEvaluation) -> bool:
    is_error = not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR
    return is_error and bool(evaluation.blocking)


def _with_targets(
    context: dg.AssetExecutionContext, evaluations: Sequence[dg.AssetCheckEvaluation]
) -> list[dg.AssetCheckEvaluation]:
    """Those of whole assets with the newest materialization as what they looked at."""
    keys = {e.asset_key for e in evaluations if e.partition is None}
    newest = {
        record.asset_entry.asset_key: AssetCheckEvaluationTargetMaterializationData(
            storage_id=last.storage_id, run_id=last.run_id, timestamp=last.timestamp
        )
        for record in context.instance.get_asset_records(list(keys))
        if (last := record.asset_entry.last_materialization_record)
    }
    return [
        copy(e, target_materialization_data=newest.get(e.asset_key))
        if e.partition is None and e.target_materialization_data is None
        else e
        for e in evaluations
    ]


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
