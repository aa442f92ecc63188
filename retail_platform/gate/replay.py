"""Originals in history judged anew: after a contract changed, or when lake objects were lost.

What was delivered, and when, stays as it was; only what the gate finds in the files changes. Which
partitions are replayed, and what happens to them then, is decided by the run.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from retail_platform.gate.gate import Gate, GateReport, StoredOriginal, batches, originals_of
from retail_platform.lake.inbox import Arrival
from retail_platform.lake.manifest import Delivery, FileFacts, Manifest, write_manifests
from retail_platform.lake.naming import FileName
from retail_platform.lake.store import Lake, LakeObject, country_of_history
from retail_platform.partitions import Partition


@dataclass(frozen=True)
class Original(Arrival):
    """A file in history.

    Attributes:
        delivered_as: its name in the inbox.
        deliveries: when it was delivered.
    """

    delivered_as: str
    deliveries: tuple[Delivery, ...]

    @property
    def name(self) -> str:
        """Name below the inbox: the identity under which deliveries supersede each other."""
        return self.delivered_as


def originals(manifests: Iterable[Manifest]) -> list[Original]:
    """Files of some partitions as they lie in history, each once, in the order of partitions."""
    found: dict[str, Original] = {}
    for manifest in sorted(manifests, key=lambda m: (m.day, m.country)):
        for facts in manifest.files.values():
            deliveries = tuple(d for d in manifest.deliveries if d.file_id == facts.file_id)
            name = FileName(manifest.feed, country_of_history(facts.history), manifest.day)
            obj = LakeObject(
                facts.history, facts.size_bytes, deliveries[-1].delivered_at, facts.checksum
            )
            controls = (
                (LakeObject(facts.control_file, 0, obj.modified, facts.control_checksum),)
                if facts.control_file
                else ()
            )
            original = Original(obj, name, facts.name, deliveries, controls=controls)
            found.setdefault(facts.history, original)
    return list(found.values())


def judge_again(
    gate: Gate,
    lake: Lake,
    known: Mapping[Partition, Manifest],
    partitions: AbstractSet[Partition],
    on_batch: Callable[[int], None] = lambda files: None,
) -> GateReport:
    """Judge the originals of some partitions under the contract as it is now.

    Harmless to interrupt and to repeat: rows are stored under names that follow from their content,
    and a manifest is replaced in one piece.

    Originals of before the feed was known to hold personal data are encrypted.

    Args:
        known: manifests of the partitions that have one.
        partitions: the only ones whose manifests change; a file that was split by country may
            have others.
        on_batch: told the number of files done so far.

    Returns:
        Partitions that changed. A file that the contract refuses by now is among the rejections
        and keeps what was found in it before.
    """
    report = GateReport()
    done = 0
    for batch in batches(originals(known.values())):
        accepted, rejections = gate.judge(batch, {})
        changed: dict[Partition, Manifest] = {}
        for original, by_country in accepted:
            assert isinstance(original, Original)
            for country, facts in by_country.items():
                partition = Partition(country, original.file.day)
                if partition not in partitions:
                    continue
                before = changed.get(partition) or report.manifests.get(partition)
                before = before or known.get(partition)
                before = before or Manifest.empty(original.file.feed, partition)
                changed[partition] = before.with_facts(facts, original.deliveries)
        changed = {p: m for p, m in changed.items() if m != known.get(p)}
        moved = _to_encrypt(accepted)
        gate.keep_originals([original for _, original in moved])
        write_manifests(lake, changed.values())
        # Other partitions may still name an original that was split by country.
        lake.delete_many(
            [o[0].path for a, o in moved if partitions >= set(gate.possible_partitions(a))]
        )
        done += len(batch)
        report.add(GateReport(changed, rejections, len(accepted)))
        on_batch(done)
    return report


def _to_encrypt(
    accepted: Sequence[tuple[Arrival, Mapping[str, FileFacts]]],
) -> list[tuple[Arrival, StoredOriginal]]:
    """Files, control files among them, that shall lie elsewhere in history than they do."""
    return [
        (arrival, original)
        for arrival, by_country in accepted
        for original in originals_of(arrival, next(iter(by_country.values())))
        if original[0].path != original[1]
    ]
