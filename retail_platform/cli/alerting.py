"""Commands about alerts: what is open, whether channels work, what waits is told or dropped."""

from dataclasses import asdict
from datetime import UTC, datetime

from retail_platform.alerts.alert import Alert, Kind, Severity
from retail_platform.alerts.channels import sender
from retail_platform.alerts.outbox import NotDelivered, Notice
from retail_platform.alerts.router import LOG_FILE, AlertRouter
from retail_platform.alerts.routes import LOG, load_routes
from retail_platform.cli.output import fact, print_json, table
from retail_platform.errors import ConfigurationError
from retail_platform.settings import Settings


def list_alerts(settings: Settings, *, ended: bool, as_json: bool) -> bool:
    """Print open troubles and what could not be told yet.

    Returns:
        Whether nothing is open that is more than worth knowing.
    """
    outbox = AlertRouter(settings.alerts_path, settings.alerts_file).outbox
    troubles = outbox.troubles(ended=ended)
    waiting = outbox.waiting()
    if as_json:
        print_json(
            {
                "troubles": [
                    {**asdict(t), "alert": t.alert.model_dump(mode="json")} for t in troubles
                ],
                "waiting": [asdict(w) for w in waiting],
            }
        )
    else:
        table(
            f"{sum(t.ended_at is None for t in troubles)} open troubles",
            ["severity", "what", "since", "times", "owner", "over"],
            [
                (
                    t.alert.severity.value,
                    t.alert.what,
                    _minute(t.open_since),
                    t.times_seen,
                    ", ".join(t.alert.owners),
                    _minute(t.ended_at) if t.ended_at else "",
                )
                for t in troubles
            ],
        )
        for w in waiting:
            fact(
                (w.channel, "red"),
                f": {w.count} messages wait since {_minute(w.since)} UTC "
                f"({w.attempts} attempts; {w.error or 'not tried yet'})",
            )
    return all(t.ended_at or t.alert.severity is Severity.INFO for t in troubles)


def test_channels(settings: Settings, *, as_json: bool) -> bool:
    """Send a message through every channel, past routes and outbox.

    Returns:
        Whether all took it.
    """
    routes = load_routes(settings.alerts_file)
    send = sender(routes, settings.alerts_path / LOG_FILE)
    notice = Notice(
        Alert(
            key="test",
            kind=Kind.BLIND,
            severity=Severity.INFO,
            what="This is a test of the alerts of retail_platform.",
            why="So that you know it works.",
            todo="Nothing.",
            link=settings.ui_url,
        )
    )
    results: dict[str, str] = {}
    for channel in (LOG, *routes.channels):
        try:
            list(send(channel, [notice]))
            results[channel] = ""
        except NotDelivered as exc:
            results[channel] = str(exc)
    if as_json:
        print_json([{"channel": c, "ok": not e, "error": e} for c, e in results.items()])
    else:
        for channel, error in results.items():
            fact(("no", "red") if error else ("ok", "green"), f"  {channel:12} {error}")
    return not any(results.values())


def flush_alerts(settings: Settings) -> bool:
    """Tell what waits now, also to channels that failed a moment ago.

    Returns:
        Whether nothing is left.
    """
    router = AlertRouter(settings.alerts_path, settings.alerts_file)
    told = router.deliver(even_waiting=True)
    left = router.outbox.waiting()
    fact(f"{told} messages told, {sum(w.count for w in left)} still waiting")
    for w in left:
        fact((w.channel, "red"), f": {w.error}")
    return not left


def drop_messages(settings: Settings, channel: str) -> None:
    """Forget what waits for a channel."""
    outbox = AlertRouter(settings.alerts_path, settings.alerts_file).outbox
    dropped = outbox.drop(channel)
    if not dropped:
        waiting = ", ".join(w.channel for w in outbox.waiting()) or "none"
        raise ConfigurationError(
            f"Nothing waits for {channel!r}; channels with messages that wait: {waiting}."
        )
    fact(f"{dropped} messages for {channel} dropped; the log has them")


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
