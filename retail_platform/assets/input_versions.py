"""Data versions of inputs are looked up when an output asks for them, not before each step.

Before a step begins, Dagster finds the partitions of every input that the run reads, to name their
data versions in the events of its outputs. The steps of this platform record partitions themselves
(`recording`) and never ask; for a model that reads two months of sales of seven countries, finding
thousands of partitions takes longer than building it.

The only module that changes what Dagster does before a step.
"""

import dagster as dg
from dagster._core.execution.context.data_version_cache import DataVersionCache


def look_up_input_versions_when_asked() -> None:
    """Leave out the look ahead; once that is done, it changes nothing.

    Raises:
        RuntimeError: Dagster keeps what it looked up in another way by now.
    """
    if not hasattr(DataVersionCache, "maybe_fetch_and_get_input_asset_version_info"):
        raise RuntimeError(
            "Dagster no longer looks up data versions of inputs on demand, as it did in 1.13; "
            f"installed is {dg.__version__}. See DataVersionCache in dagster/_core/execution."
        )
    DataVersionCache.fetch_external_input_asset_version_info = _nothing_ahead  # type: ignore[assignment]


def _nothing_ahead(cache: DataVersionCache) -> None:
    """Nothing is known, and what is asked for is fetched then; as of then, not of the start."""
    cache.is_external_input_asset_version_info_loaded = True
