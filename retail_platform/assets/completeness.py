"""The check that says which deliveries are missing or late.

Not part of the runs that take files in: what does not arrive starts no run. A schedule asks.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import dagster as dg

from retail_platform.assets.specs import feed_key
from retail_platform.contract import FeedContract
from retail_platform.countries import CountryRegistry
from retail_platform.lake.completeness import Gap, find_gaps
from retail_platform.resources import LakeResource

COMPLETENESS_CHECK = "delivered_in_time"
_MOST_SHOWN = 50


def build_completeness_checks(
    contracts: Mapping[str, FeedContract], registry: CountryRegistry
) -> dg.AssetChecksDefinition | None:
    """One check per feed whose contract says when it delivers; None when no contract does."""
    expected = {name: c for name, c in contracts.items() if c.ingestion.expected}
    if not expected:
        return None

    @dg.multi_asset_check(
        name="delivered_in_time",
        specs=[
            dg.AssetCheckSpec(
                COMPLETENESS_CHECK,
                asset=feed_key(name),
                description="Every delivery of the last days came until its deadline.",
            )
            for name in expected
        ],
    )
    def delivered_in_time(lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
        gaps = find_gaps(lake.open(), expected, registry, datetime.now(UTC))
        for name in expected:
            yield _result(name, [gap for gap in gaps if gap.feed == name])

    return delivered_in_time


def _result(feed: str, gaps: list[Gap]) -> dg.AssetCheckResult:
    missing = [gap for gap in gaps if gap.missing]
    columns = ("partition", "due", "delivered")
    return dg.AssetCheckResult(
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
                            dg.TableRecord({c: gap.as_json()[c] or "missing" for c in columns})
                            for gap in gaps[:_MOST_SHOWN]
                        ]
                    )
                }
                if gaps
                else {}
            ),
        },
    )
