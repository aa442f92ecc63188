"""The SQS queue that tells about new objects.

A message is deleted only after what it announced was planned durably; if the process dies before,
it comes back by itself. What cannot be read goes to the queue's dead-letter queue together with the
reason.
"""

import json
import logging
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from retail_platform.lake.notifications import Notified, UnreadableMessage, read_message

_LOG = logging.getLogger(__name__)

MOST_MESSAGES = 500
"""Messages of one look. The sensor's cursor remembers their receipts, some 400 bytes each."""

_WAIT_SECONDS = 2
_HIDDEN_SECONDS = 300
"""After this long without a sign of life of who received them, messages come back."""

_BATCH = 10


@dataclass(frozen=True)
class Message:
    """One message and what it announces."""

    receipt: str
    notified: tuple[Notified, ...]


class ArrivalQueue:
    """One queue. Connects when first used."""

    def __init__(self, url: str) -> None:
        """Name the queue.

        Args:
            url: of the queue; region and credentials come from AWS's own variables.
        """
        self.url = url

    @cached_property
    def _client(self) -> Any:
        import boto3  # noqa: PLC0415 - slow, and only where there is a queue

        return boto3.client("sqs")

    def receive(self, seconds: float = 10.0, most: int = MOST_MESSAGES) -> list[Message]:
        """Messages that are there now; waits a moment for the first.

        Unreadable ones are in the dead-letter queue afterwards.

        Args:
            seconds: stop asking for more after this long.
            most: at most about this many messages.
        """
        until = time.monotonic() + seconds
        found: list[Message] = []
        while len(found) < most and time.monotonic() < until:
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=_BATCH,
                WaitTimeSeconds=0 if found else _WAIT_SECONDS,
                VisibilityTimeout=_HIDDEN_SECONDS,
            )
            raw = answer.get("Messages", [])
            if not raw:
                break
            found += self._readable(raw)
        return found

    def _readable(self, raw: Sequence[dict[str, Any]]) -> Iterator[Message]:
        for message in raw:
            try:
                yield Message(message["ReceiptHandle"], tuple(read_message(message["Body"])))
            except UnreadableMessage as error:
                self._refuse(message, str(error))

    @contextmanager
    def held(self, messages: Collection[Message]) -> Iterator[None]:
        """Keep messages from coming back while a block works on them, however long it takes.

        When it ends, at least two thirds of `_HIDDEN_SECONDS` are left to store what was made of
        them. Coming back would cost no more than a look that finds nothing new, but each time
        brings a message nearer to the dead-letter queue.
        """
        if not messages:
            yield
            return
        over = threading.Event()
        receipts = [message.receipt for message in messages]

        def signs_of_life() -> None:
            while not over.wait(_HIDDEN_SECONDS / 3):
                self._hide(receipts)

        thread = threading.Thread(target=signs_of_life, name="queue-messages-held", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _hide(self, receipts: Sequence[str]) -> None:
        """Count `_HIDDEN_SECONDS` anew; a message that is gone already is fine."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as boto3

        entries = [
            {"Id": str(n), "ReceiptHandle": r, "VisibilityTimeout": _HIDDEN_SECONDS}
            for n, r in enumerate(receipts)
        ]
        try:
            for start in range(0, len(entries), _BATCH):
                self._client.change_message_visibility_batch(
                    QueueUrl=self.url, Entries=entries[start : start + _BATCH]
                )
        except (BotoCoreError, ClientError) as error:
            _LOG.warning("Messages may come back before they were planned: %s", error)

    def delete(self, receipts: Collection[str]) -> None:
        """Messages that need not come back; one that is gone already is fine."""
        entries = [{"Id": str(n), "ReceiptHandle": r} for n, r in enumerate(receipts)]
        for start in range(0, len(entries), _BATCH):
            self._client.delete_message_batch(
                QueueUrl=self.url, Entries=entries[start : start + _BATCH]
            )

    def waiting(self) -> tuple[int, int]:
        """How many messages wait, in this queue and in its dead-letter queue, approximately."""
        return self._depth(self.url), self._depth(self._dead_letters) if self._dead_letters else 0

    def _depth(self, url: str) -> int:
        name = "ApproximateNumberOfMessages"
        answer = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def _refuse(self, message: dict[str, Any], reason: str) -> None:
        if self._dead_letters is None:
            return  # nowhere to put it: it stays, and comes back until somebody looks at it
        self._client.send_message(
            QueueUrl=self._dead_letters,
            MessageBody=message["Body"],
            MessageAttributes={"reason": {"DataType": "String", "StringValue": reason[:250]}},
        )
        self.delete([message["ReceiptHandle"]])

    @cached_property
    def _dead_letters(self) -> str | None:
        """The queue's dead-letter queue, from its redrive policy."""
        attributes = self._client.get_queue_attributes(
            QueueUrl=self.url, AttributeNames=["RedrivePolicy"]
        ).get("Attributes", {})
        policy = json.loads(attributes.get("RedrivePolicy", "{}"))
        arn = policy.get("deadLetterTargetArn")
        if not arn:
            return None
        *_, account, name = arn.split(":")
        url: str = self._client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)[
            "QueueUrl"
        ]
        return url
