"""Assets of pulled sources: `sources/<name>`, upstream of the inbox of the feed they fill.

They share partitions with their feed, but no run: what a pull brings lies in the inbox, and the
inbox sensor takes it from there. A run without partitions asks for news since the last pull; a run
for partitions asks again for what changed on those days.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from filelock import FileLock
from filelock import Timeout as LockTimeout
from pydantic import Field

from retail_platform.assets.recording import record_materializations
from retail_platform.assets.slices import slices_for
from retail_platform.assets.specs import source_key
from retail_platform.contract import FeedContract
from retail_platform.countries import CountryRegistry
from retail_platform.errors import (
    ConfigurationError,
    DependencyDown,
    SourceUnavailable,
    Terminal,
    Transient,
)
from retail_platform.partitions import Partitioning
from retail_platform.pull.puller import Delivered, Puller, Report
from retail_platform.pull.sources import Source
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import pulled_source
from retail_platform.resources import LakeResource
from retail_platform.secrets import secret

_SECONDS_BETWEEN_TRIES = 60


class PullRequest(dg.Config):
    """What one run asks for.

    Attributes:
        countries: only these; all of the source when empty.
        tries: how often the run tries when the source is not available.
    """

    countries: list[str] = Field(default_factory=list)
    tries: int = 3


def pull_op(source: Source) -> str:
    """Name of the op that pulls a source; also of its job and its pool."""
    return f"pull_{source.name}"


def build_pull_assets(
    source: Source,
    contract: FeedContract,
    registry: CountryRegistry,
    partitioning: Partitioning,
    locks: Path,
    breakers: Breakers,
) -> dg.AssetsDefinition:
    """The asset of one source.

    Args:
        contract: of the feed the source fills.
        locks: folder of the lock that keeps two pulls of one source apart, since Dagster's pool
            does not know of runs on the command line.
        breakers: a source that keeps not answering is left alone for a while, for all countries.
    """
    key = source_key(source.name)
    circuit = pulled_source(source.name)

    @dg.multi_asset(
        name=pull_op(source),
        specs=[
            dg.AssetSpec(
                key,
                group_name="sources",
                owners=[contract.owner],
                kinds={"api" if source.kind == "rest" else "sql"},
                tags={"domain": contract.domain},
                description=f"Pulled from {source.shown} as files of {contract.title}.",
                partitions_def=partitioning.of(contract.scope),
                skippable=True,
            )
        ],
        partitions_def=partitioning.of(contract.scope),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=pull_op(source),
    )
    def pull(
        context: dg.AssetExecutionContext, config: PullRequest, lake: LakeResource
    ) -> Iterator[Any]:
        puller = Puller(lake.open(), source, contract, registry, secret)
        work: dict[str, Callable[[], Report]] = {
            c: partial(puller.pull, c) for c in config.countries or source.countries
        }
        if context.has_partition_key or context.has_partition_key_range:
            box = slices_for(context, partitioning, contract.scope)
            work = {
                c: partial(puller.pull_days, c, box.first_day, box.last_day)
                for c in box.countries
                if c in source.countries
            }
        unknown = work.keys() - source.countries.keys()
        if unknown or not work:
            raise _final(
                ConfigurationError(
                    f"Source {source.name} is pulled for {', '.join(source.countries)}, not for "
                    f"{', '.join(sorted(unknown)) or 'these countries'}."
                )
            )
        with _alone(locks / f"{pull_op(source)}.lock", source.name):
            failures = _pull_each(context, key, work, partial(breakers.guard, circuit))
        _fail(failures, config.tries)
        yield from ()  # no output: partitions that got files are recorded, the others are not

    return pull


def _pull_each(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    work: Mapping[str, Callable[[], Report]],
    guard: Callable[[], AbstractContextManager[None]],
) -> dict[str, Exception]:
    """One country's trouble is put off until the others are done."""
    failures: dict[str, Exception] = {}
    for country, pull in work.items():
        try:
            with guard():
                report = pull()
        except (Terminal, Transient) as error:
            context.log.error(f"{country}: {error}")
            failures[country] = error
            continue
        context.log.info(
            f"{country}: {report.rows} new records in {len(report.files)} files, "
            f"{report.repeated} seen before, {report.requests} requests"
        )
        record_materializations(context, _materializations(key, report))
    return failures


def _materializations(key: dg.AssetKey, report: Report) -> Sequence[dg.AssetMaterialization]:
    """One per batch day that got files; what the pull cost is told with the last."""
    by_day: dict[str, list[Delivered]] = defaultdict(list)
    for file in report.files:
        by_day[f"{report.country}|{file.day.isoformat()}"].append(file)
    return [
        dg.AssetMaterialization(
            key,
            partition=partition,
            metadata={
                "rows": sum(file.rows for file in files),
                "bytes": sum(file.bytes for file in files),
                "files": ", ".join(file.name for file in files[:20]),
                **(
                    {
                        "requests": report.requests,
                        "pages": report.pages,
                        "bytes_received": report.bytes,
                        "records_seen_before": report.repeated,
                        "cursor_before": report.cursor_before or "none",
                        "cursor_after": report.cursor_after or "none",
                    }
                    if partition == max(by_day)
                    else {}
                ),
            },
        )
        for partition, files in by_day.items()
    ]


@contextmanager
def _alone(path: Path, name: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except LockTimeout:
        message = f"Source {name} is being pulled by another process on this machine."
        raise _final(SourceUnavailable(message)) from None
    try:
        yield
    finally:
        lock.release()


def _fail(failures: Mapping[str, Exception], tries: int) -> None:
    """End the op as the failures say: tried again only where that may help."""
    if not failures:
        return
    message = "; ".join(f"{country}: {error}" for country, error in failures.items())
    # A source that is left alone was not asked; the next run asks it.
    may_pass = any(
        isinstance(error, Transient) and not isinstance(error, DependencyDown)
        for error in failures.values()
    )
    if may_pass and tries > 1:
        raise dg.RetryRequested(tries - 1, _SECONDS_BETWEEN_TRIES) from SourceUnavailable(message)
    raise _final(next(iter(failures.values())), message)


def _final(error: Exception, message: str = "") -> dg.Failure:
    return dg.Failure(
        description=message or str(error),
        metadata={"kind": type(error).__name__},
        allow_retries=False,
    )


def jobs_of(sources: Collection[Source]) -> dict[str, Any]:
    """Source name -> job that pulls it."""
    return {
        source.name: dg.define_asset_job(
            pull_op(source),
            selection=dg.AssetSelection.assets(source_key(source.name)),
            description=f"What is new in {source.shown}, into the inbox of {source.feed}.",
        )
        for source in sources
    }
