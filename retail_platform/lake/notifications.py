"""Messages about new objects: what S3, SNS and EventBridge put into a queue, read into keys.

Only what a message says; whether the object is still there, and what it is, the lake knows.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from retail_platform.errors import RetailError

_DEEPEST = 4
"""Envelopes within envelopes: SQS record, SNS notification, event."""


class UnreadableMessage(RetailError):
    """A message that is none of the kinds understood; the words say what was seen."""


@dataclass(frozen=True)
class Notified:
    """An object that was created.

    Attributes:
        key: as the object is called, not as it is spelled in an event.
    """

    bucket: str
    key: str


def read_message(body: str) -> list[Notified]:
    """Objects a message says were created; none for deletions and test events.

    Args:
        body: of one SQS message: an S3 event (also inside an SNS notification), an EventBridge
            event, or the records by which AWS hands messages to functions.

    Raises:
        UnreadableMessage: the message is something else.
    """
    return list(_read(body, _DEEPEST))


def _read(body: object, depth: int) -> Iterator[Notified]:
    if depth == 0:
        raise UnreadableMessage(f"More than {_DEEPEST} envelopes within each other.")
    document = _object(body)
    if document.get("Event") == "s3:TestEvent":
        return
    if "Message" in document and "TopicArn" in document:
        yield from _read(document["Message"], depth - 1)
    elif "detail-type" in document:
        yield from _of_event_bridge(document)
    elif isinstance(document.get("Records"), list):
        for record in document["Records"]:
            yield from _of_record(record, depth)
    else:
        raise UnreadableMessage(
            f"Neither an S3, SNS nor EventBridge event; it has {', '.join(sorted(document)[:8])}."
        )


def _object(body: object) -> Mapping[str, Any]:
    document = body
    if isinstance(body, str):
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise UnreadableMessage(f"Not JSON ({exc}): {body[:80]!r}.") from exc
    if not isinstance(document, Mapping):
        raise UnreadableMessage(f"JSON, but not an object: {str(document)[:80]!r}.")
    return document


def _of_event_bridge(document: Mapping[str, Any]) -> Iterator[Notified]:
    if document.get("source") != "aws.s3":
        raise UnreadableMessage(f"An event of {document.get('source')!r}, expected 'aws.s3'.")
    if document["detail-type"] == "Object Created":
        # The one kind of event in which keys are not URL-encoded.
        yield _notified(document, ("detail", "bucket", "name"), ("detail", "object", "key"))


def _of_record(record: object, depth: int) -> Iterator[Notified]:
    document = _object(record)
    source = document.get("eventSource") or document.get("EventSource")
    if source == "aws:s3":
        if str(document.get("eventName", "")).removeprefix("s3:").startswith("ObjectCreated:"):
            found = _notified(document, ("s3", "bucket", "name"), ("s3", "object", "key"))
            yield Notified(found.bucket, unquote_plus(found.key))
    elif source == "aws:sqs":
        yield from _read(document.get("body"), depth - 1)
    elif source == "aws:sns":
        yield from _read(_object(document.get("Sns")).get("Message"), depth - 1)
    else:
        raise UnreadableMessage(f"A record of {source!r}, expected 'aws:s3'.")


def _notified(
    document: Mapping[str, Any], bucket: tuple[str, ...], key: tuple[str, ...]
) -> Notified:
    return Notified(_text(document, bucket), _text(document, key))


def _text(document: Mapping[str, Any], path: tuple[str, ...]) -> str:
    value: object = document
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, str) or not value:
        raise UnreadableMessage(f"An S3 event without {'.'.join(path)}.")
    return value
