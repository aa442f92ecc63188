"""The text of events that differ in a few values: serialized once, the values filled in.

Serializing an event takes Dagster longer than storing it, and nearly all of it is about what the
events of a range share. Here Dagster serializes one event with marks instead of the values; the
text of any other is that with its own values in the place of the marks.
"""

import json
import re
from functools import cache
from typing import Any

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData
from dagster._serdes import serialize_value

_MARK = "7d1f0c5e9b7a4c0f8e52"
"""Stands for a value; no part of an event looks like it."""

_SIMPLE_METADATA: dict[Any, int | str] = {
    dg.IntMetadataValue: 794_102_958_104_371_655,
    dg.TextMetadataValue: _MARK,
}
"""Kinds of metadata whose text is that of their value, with something around it."""


_UNKNOWN = (
    "Dagster serializes events in a way this module does not know; installed is "
    f"{dg.__version__}, last seen was 1.13. Use a Dagster version this project allows, or one of "
    "Dagster's own storages."
)


def planned_text(event: dg.EventLogEntry) -> tuple[str, str]:
    """What is before and after the partition, as JSON, where a range of an asset is announced.

    Raises:
        NotImplementedError: this Dagster serializes in another way.
    """
    announced = event.get_dagster_event().asset_materialization_planned_data
    of_one = AssetMaterializationPlannedData(announced.asset_key, partition=_MARK)
    before, mark, after = serialize_value(_about(event, of_one)).partition(json.dumps(_MARK))
    if not mark or _MARK in after:
        raise NotImplementedError(_UNKNOWN)
    return before, after


class MaterializationTexts:
    """Texts of the event about each of many materializations.

    Args:
        event: as Dagster logged it about one of them. The others have its asset and description;
            partition, metadata and tags may differ.

    Raises:
        NotImplementedError: this Dagster serializes in another way.
    """

    def __init__(self, event: dg.EventLogEntry) -> None:
        self._event = event
        self._pieces: dict[object, tuple[list[str], list[int]]] = {}
        logged = event.get_dagster_event().step_materialization_data.materialization
        if self.text_of(logged) != serialize_value(event):
            raise NotImplementedError(_UNKNOWN)

    def event_of(self, materialization: dg.AssetMaterialization) -> dg.EventLogEntry:
        """The event about this materialization."""
        return _about(self._event, StepMaterializationData(materialization))

    def text_of(self, materialization: dg.AssetMaterialization) -> str:
        """What Dagster would serialize `event_of` to."""
        metadata, tags = materialization.metadata, materialization.tags or {}
        labels = (tuple(metadata), tuple(tags), materialization.tags is None)
        if labels not in self._pieces:
            self._pieces[labels] = self._pieces_like(materialization)
        pieces, order = self._pieces[labels]
        values = [
            json.dumps(materialization.partition),
            *map(_metadata_text, metadata.values()),
            *map(json.dumps, tags.values()),
        ]
        pieces = pieces.copy()
        pieces[1::2] = [values[number] for number in order]
        return "".join(pieces)

    def _pieces_like(self, example: dg.AssetMaterialization) -> tuple[list[str], list[int]]:
        """Text with a gap at every second place, and which value belongs into which gap."""
        labels, tags = list(example.metadata), list(example.tags or {})
        marks = [f"{_MARK}{number}" for number in range(1 + len(labels) + len(tags))]
        of_labels, of_tags = marks[1 : 1 + len(labels)], marks[1 + len(labels) :]
        marked = example._replace(
            partition=marks[0],
            metadata={
                label: dg.TextMetadataValue(mark)
                for label, mark in zip(labels, of_labels, strict=True)
            },
            tags=None if example.tags is None else dict(zip(tags, of_tags, strict=True)),
        )
        gaps = {
            (
                _metadata_text(dg.TextMetadataValue(mark))
                if mark in of_labels
                else json.dumps(mark)
            ): n
            for n, mark in enumerate(marks)
        }
        pieces = re.split(
            f"({'|'.join(map(re.escape, gaps))})", serialize_value(self.event_of(marked))
        )
        return pieces, [gaps[gap] for gap in pieces[1::2]]


def _about(event: dg.EventLogEntry, data: Any) -> dg.EventLogEntry:
    return event._replace(
        dagster_event=event.get_dagster_event()._replace(event_specific_data=data)
    )


def _metadata_text(value: Any) -> str:
    kind: Any = type(value)
    if kind not in _SIMPLE_METADATA:
        return serialize_value(value)
    before, after = _around(kind)
    return before + json.dumps(value.value) + after


@cache
def _around(kind: Any) -> tuple[str, str]:
    example = _SIMPLE_METADATA[kind]
    before, after = serialize_value(kind(example)).split(json.dumps(example))
    return before, after
