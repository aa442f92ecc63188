"""`retail alerts`, and what `retail doctor` says about alerts, circuits, daemons and queues.

Commands run in this process through `main`; webhook and mailbox are servers of this machine.
"""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus
from dagster._daemon.types import DaemonHeartbeat
from dagster._utils.error import SerializableErrorInfo

from retail_platform.alerts.alert import Alert, Kind, Severity
from retail_platform.alerts.outbox import Outbox
from retail_platform.alerts.router import AlertRouter
from retail_platform.alerts.routes import load_routes
from retail_platform.errors import WarehouseBusy
from retail_platform.operate.instance import open_instance
from retail_platform.resilience import breaker
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import WAREHOUSE
from retail_platform.settings import Settings
from retail_platform_tests.mailbox import Mailbox
from retail_platform_tests.test_alert_watch import sensor_state
from retail_platform_tests.test_alerts import trouble
from retail_platform_tests.test_cli import Said, retail
from retail_platform_tests.webhook import Webhook

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RETAIL_HOME in which nothing has run yet."""
    for name in (*os.environ, "DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE"):
        if name.startswith(("RETAIL_", "DAGSTER_")):
            monkeypatch.setenv(name, "")  # so that it is restored even if it was not set
            monkeypatch.delenv(name)
    monkeypatch.setenv("RETAIL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def routing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes the routing file."""
    file = tmp_path / "alerts.yaml"

    def write(text: str) -> None:
        file.write_text(text, encoding="utf-8")
        monkeypatch.setenv("RETAIL_ALERTS_FILE", str(file))

    return write


def looked(*alerts: Alert) -> None:
    """A look that found these troubles; nothing is told yet."""
    settings = Settings.from_env()
    router = AlertRouter(settings.alerts_path, settings.alerts_file)
    routes = load_routes(settings.alerts_file)
    router.outbox.record({Kind.FAILED_CHECK: alerts}, routes.channels_of, datetime.now(UTC))


def lines(said: Said) -> list[str]:
    """Rows of a table, without its frame."""
    return [" ".join(line.replace("│", " ").split()) for line in said.out.splitlines()]


class TestList:
    def test_nothing_is_wrong_and_nobody_has_looked(self) -> None:
        said = retail("alerts", "list")
        assert (said.code, lines(said)[0]) == (0, "0 open troubles")
        assert retail("alerts", "list", "--json").json == {"troubles": [], "waiting": []}

    def test_what_is_open_is_1_and_what_is_over_is_shown_on_demand(self) -> None:
        looked(trouble(1, owners=("team:finance",)), trouble(2))
        looked(trouble(2))
        said = retail("alerts", "list")
        assert (said.code, lines(said)[0]) == (1, "1 open troubles")
        minute = f"{datetime.now(UTC):%Y-%m-%d}"
        assert any(line.startswith(f"error Trouble 2. {minute}") for line in lines(said))
        assert "Trouble 1." not in said.out
        everything = retail("alerts", "list", "--all", "--json")
        assert everything.code == 1
        found = {t["alert"]["what"]: t for t in everything.json["troubles"]}
        assert found["Trouble 1."]["ended_at"]
        assert found["Trouble 1."]["alert"]["owners"] == ["team:finance"]
        assert found["Trouble 2."]["ended_at"] is None
        looked()
        assert retail("alerts", "list").code == 0

    def test_what_is_only_worth_knowing_is_0(self) -> None:
        looked(trouble(1, Severity.INFO))
        said = retail("alerts", "list")
        assert (said.code, lines(said)[0]) == (0, "1 open troubles")
        looked(trouble(1, Severity.INFO), trouble(2, Severity.WARNING))
        assert retail("alerts", "list").code == 1

    def test_who_could_not_be_told(self, webhook: Webhook, routing: Callable[[str], None]) -> None:
        routing(f"channels: {{ops: 'json://127.0.0.1:{webhook.port}/'}}\nroutes: [{{to: [ops]}}]")
        looked(trouble())
        assert "ops: 1 messages wait" in retail("alerts", "list").out
        assert "not tried yet" in retail("alerts", "list").out
        webhook.status = 503
        retail("alerts", "flush")
        said = retail("alerts", "list")
        assert "(1 attempts; JSON did not take the message.)" in said.out
        (waiting,) = retail("alerts", "list", "--json").json["waiting"]
        assert (waiting["channel"], waiting["count"], waiting["attempts"]) == ("ops", 1, 1)

    def test_books_that_cannot_be_read(self, home: Path) -> None:
        (home / "alerts").mkdir(parents=True)
        (home / "alerts" / "outbox.sqlite").write_text("my notes on alerts, by hand" * 99)
        said = retail("alerts", "list")
        assert said.code == 2
        assert "outbox.sqlite is no outbox of alerts" in said.err
        assert "Move it away" in said.err


class TestChannels:
    def test_every_channel_is_tried_and_says_what_is_wrong(
        self,
        webhook: Webhook,
        mailbox: Mailbox,
        routing: Callable[[str], None],
        monkeypatch: pytest.MonkeyPatch,
        home: Path,
    ) -> None:
        channels = {"hook": f"json://127.0.0.1:{webhook.port}/x", "mail": mailbox.address}
        routing(json.dumps({"channels": channels}))
        said = retail("alerts", "test")
        assert (said.code, lines(said)) == (0, ["ok log", "ok hook", "ok mail"])
        ((path, body),) = webhook.got
        assert (path, body["type"]) == ("/x", "info")
        ((_, mail),) = mailbox.got
        assert mail["Subject"] == body["title"]
        assert "This is a test" in body["title"]
        assert "This is a test" in (home / "alerts" / "alerts.log").read_text()
        channels |= {"odd": "nonsense://x", "lost": "json://${NO_SUCH_HOST}/"}
        routing(json.dumps({"channels": channels}))
        webhook.status, mailbox.full = 500, True
        said = retail("alerts", "test", "--json")
        assert said.code == 1
        found = {c["channel"]: (c["ok"], c["error"]) for c in said.json}
        assert found["log"] == (True, "")
        assert found["hook"] == (False, "JSON did not take the message.")
        assert found["mail"] == (False, "E-Mail did not take the message.")
        assert "does not understand the address" in found["odd"][1]
        assert "NO_SUCH_HOST" in found["lost"][1]
        text = retail("alerts", "test")
        assert text.code == 1
        assert "no hook JSON did not take the message." in lines(text)
        assert retail("alerts", "list").code == 0, "a test is no trouble"

    @pytest.mark.parametrize("command", [["test"], ["flush"]])
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("routes: [{to: [ops]}]", "routes name the channels ops; there are log"),
            ("channels: [a", "not YAML in line 1"),
            ("\x00", "alerts.yaml: "),
        ],
    )
    def test_a_routing_file_that_is_not_usable_is_2(
        self, command: list[str], text: str, words: str, routing: Callable[[str], None]
    ) -> None:
        routing(text)
        said = retail("alerts", *command)
        assert (said.code, said.out) == (2, "")
        assert words in said.err
        assert len(said.err.splitlines()) == 1

    def test_a_routing_file_that_is_not_there_is_2(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RETAIL_ALERTS_FILE", "/no/such.yaml")
        for command in ("test", "flush"):
            said = retail("alerts", command)
            assert said.code == 2
            assert "/no/such.yaml: cannot be read (RETAIL_ALERTS_FILE)" in said.err
        assert retail("alerts", "list").code == 0, "reads the books only"


class TestFlush:
    def test_it_tells_what_waits_also_before_its_time(
        self, webhook: Webhook, mailbox: Mailbox, routing: Callable[[str], None]
    ) -> None:
        channels = {"hook": f"json://127.0.0.1:{webhook.port}/", "mail": mailbox.address}
        routing(json.dumps({"channels": channels, "routes": [{"to": ["hook", "mail"]}]}))
        looked(trouble())
        webhook.status, mailbox.full = 503, True
        said = retail("alerts", "flush")
        assert said.code == 1
        assert lines(said) == [
            "1 messages told, 2 still waiting",  # the log's
            "hook: JSON did not take the message.",
            "mail: E-Mail did not take the message.",
        ]
        webhook.status, mailbox.full = 200, False
        said = retail("alerts", "flush")
        assert (said.code, lines(said)) == (0, ["2 messages told, 0 still waiting"])
        assert [body["title"] for _, body in webhook.got] == ["[error] Trouble 1."]
        assert [mail["Subject"] for _, mail in mailbox.got] == ["[error] Trouble 1."]
        said = retail("alerts", "flush")
        assert (said.code, lines(said)) == (0, ["0 messages told, 0 still waiting"])
        assert len(webhook.got) == 1

    def test_a_channel_that_is_gone_keeps_its_messages_until_they_are_dropped(
        self, webhook: Webhook, routing: Callable[[str], None]
    ) -> None:
        routing(f"channels: {{old: 'json://127.0.0.1:{webhook.port}/'}}\nroutes: [{{to: [old]}}]")
        looked(trouble())
        routing("channels: {}")
        said = retail("alerts", "flush")
        assert said.code == 1
        assert "old: The routing file has no such channel any more" in said.out
        assert retail("doctor", "--json").code == 2
        unknown = retail("alerts", "drop", "odl")
        assert unknown.code == 2
        assert "Nothing waits for 'odl'; channels with messages that wait: old." in unknown.err
        dropped = retail("alerts", "drop", "old")
        assert (dropped.code, lines(dropped)[0]) == (
            0,
            "1 messages for old dropped; the log has them",
        )
        assert retail("alerts", "flush").code == 0
        assert retail("alerts", "list").code == 1, "the trouble is open all the same"
        assert webhook.got == []


def found(subject: str) -> tuple[int, bool, str]:
    """Exit code of `retail doctor`, and what it says about a subject."""
    said = retail("doctor", "--json")
    (finding,) = [f for f in said.json if f["subject"] == subject]
    return said.code, finding["ok"], finding["seen"]


class TestDoctor:
    def test_alerts(
        self, webhook: Webhook, routing: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code, ok, seen = found("alerts")
        assert (code, ok, seen) == (0, True, "told to log; nobody has looked yet")
        routing("channels: {ops: 'json://${OPS_HOST}/', bad: 'nonsense://x'}")
        code, ok, seen = found("alerts")
        assert (code, ok) == (2, False)
        assert "channel ops" in seen
        assert "OPS_HOST" in seen
        assert "channel bad: apprise does not understand its address" in seen
        monkeypatch.setenv("OPS_HOST", f"127.0.0.1:{webhook.port}")
        routing("channels: {ops: 'json://${OPS_HOST}/'}\nroutes: [{to: [ops]}]")
        looked(trouble())
        code, ok, seen = found("alerts")
        assert (code, ok, seen) == (0, True, "told to log, ops; nobody has looked yet")
        webhook.status = 503
        retail("alerts", "flush")
        code, ok, seen = found("alerts")
        assert (code, ok) == (2, False)
        assert "channel ops: 1 messages wait since" in seen
        assert "JSON did not take the message." in seen
        webhook.status = 200
        retail("alerts", "flush")
        assert found("alerts")[:2] == (0, True)

    def test_a_routing_file_that_cannot_be_read(self, routing: Callable[[str], None]) -> None:
        routing("channels: [a")
        code, ok, seen = found("alerts")
        assert (code, ok) == (2, False)
        assert "not YAML in line 1" in seen

    def test_books_that_cannot_be_read(self, home: Path) -> None:
        (home / "alerts").mkdir(parents=True)
        (home / "alerts" / "outbox.sqlite").write_text("my notes on alerts, by hand" * 99)
        code, ok, seen = found("alerts")
        assert (code, ok) == (2, False)
        assert "is no outbox of alerts" in seen

    def test_circuits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert found("dependencies") == (0, True, "none ever failed")
        breakers = Breakers(Settings.from_env().breakers_path, retry_after=0.0)
        opened(breakers)
        code, ok, seen = found("dependencies")
        assert (code, ok) == (2, False)
        assert seen == (
            f"The warehouse failed {breaker.FAILURES} times in a row (WarehouseBusy); "
            "it is tried again now."
        )
        with breakers.guard(WAREHOUSE):
            pass
        assert found("dependencies") == (0, True, "none is left alone")

    def test_daemons_and_sensors(self) -> None:
        settings = Settings.from_env()
        now = datetime.now(UTC)  # of this test: tests before it may take minutes
        with open_instance(settings) as instance:
            assert found("daemons") == (0, True, "none has run here; `make dev` starts them")
            first, *others = sorted(instance.get_required_daemon_types())
            beat(instance, first, now - timedelta(hours=1))
            code, ok, seen = found("daemons")
            assert (code, ok) == (2, False)
            assert seen.startswith(f"silent: {', '.join([first, *others])} (last sign of life")
            for name in (first, *others):
                beat(instance, name, now)
            assert found("daemons") == (0, True, f"{len(others) + 1} alive")
            state = sensor_state("inbox_sensor")
            instance.add_instigator_state(state)
            assert found("inbox_sensor") == (0, True, "last evaluated never")
            ticked(instance, state, TickStatus.SKIPPED, now - timedelta(hours=1))
            code, ok, seen = found("inbox_sensor")
            assert (code, ok) == (2, False)
            assert "is on, but was last evaluated" in seen
            assert "restart the daemon" in seen
            ticked(instance, state, TickStatus.FAILURE, now)
            code, ok, seen = found("inbox_sensor")
            assert (code, ok) == (2, False)
            assert "(KeyError); its page in the UI shows the error" in seen
            assert "zoe" not in seen
            ticked(instance, state, TickStatus.SUCCESS, now + timedelta(seconds=3))
            assert found("inbox_sensor")[:2] == (0, True)

    def test_dagsters_storage_that_cannot_be_read(self, home: Path) -> None:
        (home / "dagster" / "dagster.yaml").parent.mkdir(parents=True)
        (home / "dagster" / "dagster.yaml").write_text("storage: {sqlite: [")
        (home / "dagster" / "schedules").write_text("a file where a folder should be")
        code, ok, _ = found("daemons")
        assert (code, ok) == (2, False)

    def test_a_queue(self, s3_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
        boto3.client("s3").create_bucket(Bucket="doctored")
        sqs = boto3.client("sqs")
        dead = sqs.create_queue(QueueName="doctored-dead")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": "5"}
        url = sqs.create_queue(
            QueueName="doctored", Attributes={"RedrivePolicy": json.dumps(policy)}
        )["QueueUrl"]
        monkeypatch.setenv("RETAIL_LAKE_URL", "s3://doctored/retail")
        monkeypatch.setenv("RETAIL_QUEUE_URL", url)
        sqs.send_message(QueueUrl=url, MessageBody="{}")
        assert found("queue") == (0, True, f"{url}, 1 messages waiting")
        sqs.send_message(QueueUrl=dead, MessageBody="{}")
        code, ok, seen = found("queue")
        assert (code, ok) == (2, False)
        assert "1 messages lie in its dead-letter queue" in seen
        monkeypatch.setenv("RETAIL_QUEUE_URL", f"{url}-of-nobody")
        code, ok, seen = found("queue")
        assert (code, ok) == (2, False)
        assert seen.startswith("QueueDoesNotExist: ")
        monkeypatch.setenv("RETAIL_LAKE_URL", "s3://no-such-bucket/retail")
        code, ok, seen = found("lake")
        assert (code, ok) == (2, False)
        assert seen.startswith("s3://no-such-bucket/retail: there is no such bucket (NoSuchBucket)")


def opened(breakers: Breakers) -> None:
    """A warehouse that failed until its circuit opened."""
    for _ in range(breaker.FAILURES):
        with pytest.raises(WarehouseBusy), breakers.guard(WAREHOUSE):
            raise WarehouseBusy("held")


def beat(instance: dg.DagsterInstance, daemon: str, at: datetime) -> None:
    instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), daemon, "id", []))


def ticked(instance: dg.DagsterInstance, state: Any, status: TickStatus, at: datetime) -> None:
    error = SerializableErrorInfo("no zoe@example.com", [], "KeyError")
    instance.create_tick(
        TickData(
            instigator_origin_id=state.instigator_origin_id,
            instigator_name=state.instigator_name,
            instigator_type=InstigatorType.SENSOR,
            status=status,
            timestamp=at.timestamp(),
            selector_id=state.selector_id,
            run_ids=[],
            error=error if status is TickStatus.FAILURE else None,
        )
    )


def test_dropping_leaves_other_channels_and_what_was_told_alone(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.record({Kind.FAILED_CHECK: [trouble()]}, lambda _: ["a", "b"], NOW)

    def send(channel: str, notices: Any) -> Iterator[Any]:
        yield notices if channel == "a" else []

    assert outbox.deliver(send, NOW) == 1
    assert (outbox.drop("a"), [w.channel for w in outbox.waiting()]) == (0, ["b"])
    assert outbox.drop("b") == 1
    assert outbox.troubles()[0].last_told
