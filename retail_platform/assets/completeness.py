"""The check that says which deliveries are missing or late.

What does not arrive starts no run, so a schedule asks; so does every run that takes files in.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import dagster as dg

from retail_platform.assets.specs import feed_key
from retail_platform.contract import FeedContract
from retail_platform.countries import CountryRegistry
from retail_platform.lake.completeness import Gap, find_gaps
from retail_platform.lake.inbox import plan_arrivals
from retail_platform.lake.store import INBOX
from retail_platform.partitions import Partitioning
from retail_platform.resources import LakeResource

COMPLETENESS_CHECK = "delivered_in_time"
_MOST_SHOWN = 50


def build_completeness_checks(
    contracts: Mapping[str, FeedContract], registry: CountryRegistry, partitioning: Partitioning
) -> dg.AssetChecksDefinition | None:
    """One check per feed whose contract says when, or of which halves, it delivers.

    Returns:
        None when no contract does.
    """
    expected = {n: c for n, c in contracts.items() if c.ingestion.expected or c.has_sidecars}
    if not expected:
        return None

    specs = {_spec(name).get_python_identifier(): _spec(name) for name in expected}

    # Runs after what takes files in, so that a gap that was filled is green at once; not as its
    # successor, because Dagster skips the successors of an op that records its partitions itself.
    @dg.op(
        name=COMPLETENESS_CHECK,
        out={name: dg.Out(is_required=False) for name in specs},
        tags={"dagster/priority": "-1"},
    )
    def delivered_in_time(
        context: dg.OpExecutionContext, lake: LakeResource
    ) -> Iterator[dg.AssetCheckEvaluation | dg.Output[None]]:
        chosen = {key.asset_key.path[-1] for key in context.selected_asset_check_keys}
        asked = {name: contract for name, contract in expected.items() if name in chosen}
        store, now = lake.open(), datetime.now(UTC)
        paired = any(contract.has_sidecars for contract in asked.values())
        objects = store.list(INBOX) if paired else []
        plan = plan_arrivals(
            objects,
            contracts,
            registry,
            first_day=partitioning.first_day,
            last_day=partitioning.last_day,
            now=now,
        )
        gaps = find_gaps(store, asked, registry, now, waiting=plan.waiting)
        for name in asked:
            # Evaluations, not results: for a result Dagster looks up every partition of the run.
            yield _evaluation(name, [gap for gap in gaps if gap.feed == name])
            yield dg.Output(None, output_name=_spec(name).get_python_identifier())

    return dg.AssetChecksDefinition.create(
        keys_by_input_name={},
        node_def=delivered_in_time,
        check_specs_by_output_name=specs,
        can_subset=True,
    )


def _spec(feed: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        COMPLETENESS_CHECK,
        asset=feed_key(feed),
        description="Every delivery of the last days came until its deadline.",
    )


def _evaluation(feed: str, gaps: list[Gap]) -> dg.AssetCheckEvaluation:
    missing = [gap for gap in gaps if gap.missing]
    columns = ("partition", "due", "delivered")
    return dg.AssetCheckEvaluation(
        asset_key=feed_key(feed),
        check_name=COMPLETENESS_CHECK,
        passed=not gaps,
        # What came late is there by now; what is missing keeps the marts incomplete.
        severity=dg.AssetCheckSeverity.ERROR if missing else dg.AssetCheckSeverity.WARN,
        metadata={
            "missing": len(missing),
            "late": len(gaps) - len(missing),
            **(
                {
                    "deliveries": dg.MetadataValue.table(
                        [
                            dg.TableRecord(
                                {c: gap.as_json()[c] or "missing" for c in columns}
                                | {"waits_for": gap.waits_for}
                            )
                            for gap in gaps[:_MOST_SHOWN]
                        ]
                    )
                }
                if gaps
                else {}
            ),
        },
    )
