"""Commands that bring rows back: quarantine and replay."""

from datetime import date
from pathlib import Path

from retail_platform.assets.slices import ORIGINALS, REPLAY_TAG
from retail_platform.cli.output import Stopwatch, fact, print_json, table
from retail_platform.cli.running import country_codes, runner
from retail_platform.contract import FeedContract, load_contracts
from retail_platform.countries import ALL
from retail_platform.errors import ConfigurationError
from retail_platform.gate.replay import originals
from retail_platform.lake.manifest import read_manifests
from retail_platform.lake.store import Lake
from retail_platform.operate.foreground import Outcome
from retail_platform.operate.quarantine import (
    QuarantinedFile,
    export,
    quarantined_files,
    quarantined_rows,
    requeue,
    stored_partitions,
)
from retail_platform.partitions import Partition
from retail_platform.protection.keys import DataKeys, open_keys
from retail_platform.resources import keys_resource
from retail_platform.settings import Settings


def chosen_feeds(contracts: dict[str, FeedContract], text: str) -> list[str]:
    """Feeds a person named; all when none.

    Raises:
        ConfigurationError: there is no such feed.
    """
    names = [word.strip() for word in text.split(",") if word.strip()]
    unknown = sorted(set(names) - contracts.keys())
    if unknown:
        raise ConfigurationError(
            f"No such feed: {', '.join(unknown)}; there are {', '.join(sorted(contracts))}."
        )
    return names or sorted(contracts)


def chosen_partitions(
    settings: Settings, feeds: str, countries: str, first: date, last: date
) -> tuple[dict[str, FeedContract], Lake, dict[str, set[Partition]]]:
    """Contracts, lake, and the partitions with deliveries that a person's words select."""
    if first > last:
        raise ConfigurationError(f"--from {first} --to {last}: expected from <= to.")
    contracts = load_contracts(settings.contracts_paths)
    lake = Lake.open(settings.lake_url)
    codes = (*country_codes(settings, countries), ALL)
    chosen = chosen_feeds(contracts, feeds)
    return contracts, lake, stored_partitions(lake, chosen, codes, first, last)


def list_quarantine(
    settings: Settings, feeds: str, countries: str, first: date, last: date, *, as_json: bool
) -> None:
    """Print files with quarantined rows."""
    contracts, lake, partitions = chosen_partitions(settings, feeds, countries, first, last)
    found = list(quarantined_files(lake, contracts, partitions))
    if as_json:
        print_json([file.as_json() for file in found])
        return
    table(
        f"{sum(f.facts.rows_quarantined for f in found)} rows of {len(found)} files in quarantine",
        ["file", "partition", "rows", "quarantined", "reasons"],
        [
            (
                f.facts.name,
                str(f.partition),
                f.facts.rows_in,
                f.facts.rows_quarantined,
                ", ".join(f"{reason} ({n})" for reason, n in f.facts.reasons.items()),
            )
            for f in found
        ],
    )
    stale = sum(not f.judged_by_current_contract for f in found)
    if stale:
        fact(f"{stale} of them were judged by an older contract: `retail replay` asks again")


def find_quarantined(settings: Settings, name: str) -> tuple[FeedContract, Lake, QuarantinedFile]:
    """The file of this name, or file id, that has quarantined rows.

    Raises:
        ConfigurationError: there is none, or several (split by country) under that name.
    """
    contracts, lake, partitions = chosen_partitions(settings, "", "", date.min, date.max)
    found = [
        file
        for file in quarantined_files(lake, contracts, partitions)
        if name in (file.facts.name, file.facts.file_id)
    ]
    if len(found) != 1:
        raise ConfigurationError(
            f"{len(found) or 'No'} file(s) {name!r} with rows in quarantine; "
            "`retail quarantine list` shows what there is."
        )
    return contracts[found[0].feed], lake, found[0]


def _keys(settings: Settings, contract: FeedContract, lake: Lake) -> DataKeys | None:
    provider = keys_resource(settings).provider()
    return open_keys(lake, provider, make=False) if contract.holds_pii else None


def show_quarantine(settings: Settings, name: str, limit: int, *, as_json: bool) -> None:
    """Print the quarantined rows of one file."""
    contract, lake, file = find_quarantined(settings, name)
    rows = quarantined_rows(lake, contract, file, _keys(settings, contract, lake))
    if as_json:
        print_json({**file.as_json(), "lines": rows.head(limit).to_dicts()})
        return
    table(
        f"{file.facts.name}: {rows.height} rows in quarantine",
        ["row", "reasons", "as delivered"],
        [(row, ", ".join(reasons), line) for row, reasons, line in rows.head(limit).rows()],
    )


def export_quarantine(settings: Settings, name: str, target: Path) -> None:
    """Write the quarantined rows of one file."""
    contract, lake, file = find_quarantined(settings, name)
    count = export(lake, contract, file, target, _keys(settings, contract, lake))
    fact(f"{count} rows in {target}; correct each in its place, then requeue")


def requeue_quarantine(settings: Settings, name: str, corrected: Path) -> None:
    """Deliver one file again with its quarantined rows corrected."""
    contract, lake, file = find_quarantined(settings, name)
    keys = _keys(settings, contract, lake)
    target, count = requeue(lake, contract, file, corrected.read_bytes(), keys)
    fact(f"{target} is in the inbox again, with {count} rows corrected")


def show_replay(
    settings: Settings, feeds: str, countries: str, first: date, last: date, *, as_json: bool
) -> None:
    """Print what a replay would judge again."""
    contracts, lake, partitions = chosen_partitions(settings, feeds, countries, first, last)
    rows = []
    for feed, of_feed in sorted(partitions.items()):
        manifests = read_manifests(lake, feed, of_feed)
        files = [facts for m in manifests.values() for facts in m.files.values()]
        other = sum(f.schema_version != contracts[feed].schema_version for f in files)
        size = sum(o.object.size for o in originals(manifests.values()))
        rows.append((feed, len(manifests), len(files), other, size))
    names = ["feed", "partitions", "files", "judged_by_another_contract", "bytes"]
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        table("A replay would judge again", [n.replace("_", " ") for n in names], rows)


def run_replay(
    settings: Settings, feeds: str, countries: str, first: date, last: date, say: Stopwatch
) -> Outcome:
    """Judge originals again and bring what changed into the marts."""
    _, _, partitions = chosen_partitions(settings, feeds, countries, first, last)
    with runner(settings, say) as (platform, foreground):
        requests = platform.desk.catch_up_requests(partitions, "replay")
        return foreground.run_until_idle(
            [r._replace(tags={**r.tags, REPLAY_TAG: ORIGINALS}) for r in requests]
        )
