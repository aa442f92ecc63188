"""Telling: how notices read, and handing them to a channel."""

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retail_platform.alerts.alert import Severity
from retail_platform.alerts.outbox import NotDelivered, Notice, Send
from retail_platform.alerts.routes import LOG, Routes
from retail_platform.errors import ConfigurationError

DIGEST_ABOVE = 10
"""More notices than this for one channel at once become a single message."""

_SHOWN_IN_DIGEST = 10
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def subject_and_body(notice: Notice) -> tuple[str, str]:
    """A notice as people read it."""
    alert = notice.alert
    if notice.ended:
        return f"[over] {alert.what}", f"This trouble is over.\n\n{alert.link}"
    return (
        f"[{alert.severity}] {alert.what}",
        f"Why it matters: {alert.why}\nWhat to do: {alert.todo}\n"
        f"Owner: {', '.join(alert.owners)}\n\n{alert.link}",
    )


def digest(notices: Sequence[Notice]) -> tuple[str, str]:
    """Many notices as one: how many of what, and the gravest."""
    begun = [n for n in notices if not n.ended]
    over = len(notices) - len(begun)
    counts: dict[str, int] = {}
    for notice in begun:
        name = notice.alert.kind.replace("_", " ")
        counts[name] = counts.get(name, 0) + 1
    title = f"{len(begun)} alerts, {over} over" if over else f"{len(begun)} alerts"
    gravest = sorted(notices, key=lambda n: (n.ended, _ORDER[n.alert.severity]))
    lines = [subject_and_body(n)[0] for n in gravest[:_SHOWN_IN_DIGEST]]
    more = len(notices) - len(lines)
    summary = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return title, "\n".join(
        [*([summary] if summary else []), *lines]
        + ([f"... and {more} more: `retail alerts list`"] if more else [])
    )


@dataclass(frozen=True)
class Message:
    """One message and the notices it tells.

    Attributes:
        severity: of the gravest; None for good news.
    """

    subject: str
    body: str
    severity: Severity | None
    notices: tuple[Notice, ...]


def messages_of(notices: Sequence[Notice]) -> list[Message]:
    """Messages that tell everything.

    What belongs to backfills, and everything when there is a lot, goes into a digest.
    """
    many = len(notices) > DIGEST_ABOVE
    together = tuple(n for n in notices if many or n.alert.bulk)
    if len(together) < 2:
        together = ()
    messages = [
        Message(*subject_and_body(n), None if n.ended else n.alert.severity, (n,))
        for n in notices
        if n not in together
    ]
    if together:
        begun = [n.alert.severity for n in together if not n.ended]
        gravest = min(begun, key=_ORDER.__getitem__, default=None)
        messages.append(Message(*digest(together), gravest, together))
    return messages


def sender(routes: Routes, log: Path) -> Send:
    """What `Outbox.deliver` hands messages to.

    Args:
        log: file of JSON lines that everything is written to.
    """

    def send(channel: str, notices: Sequence[Notice]) -> Iterator[Collection[Notice]]:
        if channel == LOG:
            _write(log, notices)
            yield notices
            return
        if channel not in routes.channels:
            raise NotDelivered(
                "The routing file has no such channel any more; give it back, or "
                f"`retail alerts drop {channel}`."
            )
        service = _service(routes, channel)
        for message in messages_of(notices):
            _notify(service, message)
            yield message.notices

    return send


def _write(log: Path, notices: Sequence[Notice]) -> None:
    lines = [
        json.dumps(
            {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "over": notice.ended,
                **notice.alert.model_dump(mode="json", exclude={"every_occasion", "bulk"}),
            },
            ensure_ascii=False,
        )
        for notice in notices
    ]
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
    except OSError as exc:
        raise NotDelivered(f"{log} cannot be written: {exc}") from exc


def _service(routes: Routes, channel: str) -> Any:
    try:
        address = routes.address(channel)
    except ConfigurationError as exc:
        raise NotDelivered(str(exc)) from exc
    import apprise  # noqa: PLC0415 - half a second, and only where messages leave

    # Its log lines may carry addresses, and addresses secrets.
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    service = apprise.Apprise()
    if not service.add(address):
        raise NotDelivered("apprise does not understand the address of this channel.")
    return service


def _notify(service: Any, message: Message) -> None:
    import apprise  # noqa: PLC0415

    kinds = {
        Severity.ERROR: apprise.NotifyType.FAILURE,
        Severity.WARNING: apprise.NotifyType.WARNING,
        Severity.INFO: apprise.NotifyType.INFO,
        None: apprise.NotifyType.SUCCESS,
    }
    told = service.notify(
        title=message.subject, body=message.body, notify_type=kinds[message.severity],
        body_format="text",
    )  # fmt: skip
    if not told:
        raise NotDelivered(f"{service[0].service_name} did not take the message.")
