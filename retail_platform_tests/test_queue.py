"""Files announced through a queue: messages read, planned once, lost ones found by listing.

``RETAIL_TEST_NOTIFIED_FILES=10000 pytest retail_platform_tests/test_queue.py`` takes in many.
"""

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from retail_platform.automation.arrivals import (
    ArrivalDesk,
    Look,
    SensorMemory,
    identity,
    look_for_arrivals,
)
from retail_platform.errors import ConfigurationError
from retail_platform.lake import queue
from retail_platform.lake.notifications import Notified, UnreadableMessage, read_message
from retail_platform.lake.queue import ArrivalQueue, Message
from retail_platform.lake.store import INBOX, Lake
from retail_platform.partitions import Partitioning
from retail_platform.settings import Settings
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform_tests.builders import (
    CONTRACTS,
    DAY,
    FIRST_DAY,
    REGISTRY,
    Desk,
    csv_text,
    row,
)

FILES = int(os.environ.get("RETAIL_TEST_NOTIFIED_FILES", "70"))
AT_ONCE = max(14, FILES // 20)
"""Messages that wait at a time; so that even a few come in more than five waves."""


def s3_event(bucket: str, key: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    """What S3 writes; keys are URL-encoded in it."""
    return {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": name,
                "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 1}},
            }
        ]
    }


def event_bridge(bucket: str, key: str, kind: str = "Object Created") -> dict[str, Any]:
    """What EventBridge writes; keys are plain in it."""
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    return {"source": "aws.s3", "detail-type": kind, "detail": detail}


def sns(message: object) -> dict[str, Any]:
    """An SNS notification around a message."""
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:x", "Message": json.dumps(message)}


class TestMessages:
    @pytest.mark.parametrize(
        ("body", "keys"),
        [
            (s3_event("b", "inbox/a+b%C3%A9%2Bc.csv"), ["inbox/a bé+c.csv"]),
            (s3_event("b", "k", "ObjectCreated:CompleteMultipartUpload"), ["k"]),
            (s3_event("b", "k", "s3:ObjectCreated:Copy"), ["k"]),
            (s3_event("b", "k", "ObjectRemoved:Delete"), []),
            (s3_event("b", "k", "ObjectRestore:Completed"), []),
            ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}, []),
            (sns(s3_event("b", "x%20y.csv")), ["x y.csv"]),
            (sns({"Event": "s3:TestEvent"}), []),
            (event_bridge("b", "a%20b.csv"), ["a%20b.csv"]),
            (event_bridge("b", "k", "Object Deleted"), []),
            (sns(event_bridge("b", "k")), ["k"]),
            ({"Records": [{"eventSource": "aws:sqs", "body": json.dumps(s3_event("b", "k"))}]},
             ["k"]),
            ({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(
                s3_event("b", "k"))}}]}, ["k"]),
            ({"Records": []}, []),
        ],
    )  # fmt: skip
    def test_what_was_created(self, body: object, keys: list[str]) -> None:
        assert read_message(json.dumps(body)) == [Notified("b", key) for key in keys]

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ("", "Not JSON"),
            ("inbox/a.csv", "Not JSON"),
            ("[" * 100_000, "Not JSON"),
            ("[1]", "not an object"),
            ('"text"', "not an object"),
            ("{}", "Neither an S3, SNS nor EventBridge event"),
            ('{"Records": [{"eventSource": "aws:kinesis"}]}', "record of 'aws:kinesis'"),
            ('{"Records": [3]}', "not an object"),
            (json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:"}]}),
             "without s3.bucket.name"),
            (json.dumps(s3_event("b", "")), "without s3.object.key"),
            (json.dumps({"detail-type": "Object Created", "source": "aws.ec2"}), "aws.ec2"),
            (json.dumps(sns(sns(sns(sns(s3_event("b", "k")))))), "envelopes"),
        ],
    )  # fmt: skip
    def test_what_is_something_else(self, body: str, words: str) -> None:
        with pytest.raises(UnreadableMessage, match=words):
            read_message(body)


@dataclass
class Yard:
    """A bucket, its queues, and a sensor that looks at them."""

    bucket: str
    lake: Lake
    queue: ArrivalQueue
    sqs: Any
    dead_url: str
    desk: ArrivalDesk
    memory: SensorMemory = field(default_factory=SensorMemory)
    handed_on: Counter[str] = field(default_factory=Counter)

    def deliver(self, name: str, content: bytes = b"x") -> str:
        """Put a file; returns its key."""
        self.lake.put(INBOX + name, content)
        return INBOX + name

    def send(self, *bodies: object) -> None:
        for start in range(0, len(bodies), 10):
            entries = [
                {"Id": str(n), "MessageBody": body if isinstance(body, str) else json.dumps(body)}
                for n, body in enumerate(bodies[start : start + 10])
            ]
            self.sqs.send_message_batch(QueueUrl=self.queue.url, Entries=entries)

    def announce(self, *keys: str) -> None:
        self.send(*(s3_event(self.bucket, key) for key in keys))

    def tick(self, sweep: float = 1e9, *, killed: bool = False) -> Look:
        """One evaluation. Killed: everything happened, and nothing of it was stored."""
        look = look_for_arrivals(self.desk, self.lake, self.memory, self.queue, sweep)
        if not killed:
            self.memory = SensorMemory.of(look.memory.cursor())
            self.handed_on.update(identity([a]) for a in look.fresh)
        return look

    def show_again(self, receipts: Collection[str]) -> None:
        """What happens five minutes after a consumer has died with messages in hand."""
        for receipt_handle in receipts:
            self.sqs.change_message_visibility(
                QueueUrl=self.queue.url, ReceiptHandle=receipt_handle, VisibilityTimeout=0
            )

    def in_flight(self) -> int:
        """Messages that are there, hidden ones included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue.url, AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)


@pytest.fixture
def yard(s3_environment: None) -> Yard:
    bucket = f"retail-{uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    sqs = boto3.client("sqs")
    dead = sqs.create_queue(QueueName=f"{bucket}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    policy = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": "50"}
    url = sqs.create_queue(
        QueueName=f"{bucket}-arrivals", Attributes={"RedrivePolicy": json.dumps(policy)}
    )["QueueUrl"]
    yard = Yard(
        bucket,
        Lake.open(f"s3://{bucket}/retail"),
        ArrivalQueue(url),
        sqs,
        dead,
        ArrivalDesk(
            contracts=CONTRACTS,
            registry=REGISTRY,
            partitioning=Partitioning.build(REGISTRY, FIRST_DAY),
            batch_day_models={},
            settle=timedelta(0),
            backlog_partitions=60,
        ),
    )
    yard.tick(sweep=0)  # the first look lists
    return yard


def announced(yard: Yard, *keys: str) -> None:
    yard.announce(*(f"retail/{key}" for key in keys))


class TestTheSensor:
    def test_an_announced_file_is_handed_on_and_its_message_goes_a_tick_later(
        self, yard: Yard
    ) -> None:
        announced(yard, yard.deliver("transactions_FR_20250111.csv"))
        (found,) = yard.tick().fresh
        assert found.name == "transactions_FR_20250111.csv"
        assert yard.in_flight() == 1, "the plan is not stored before the tick has ended"
        assert yard.tick().fresh == []
        assert yard.in_flight() == 0

    def test_names_are_decoded(self, yard: Yard) -> None:
        yard.deliver("nightly run/transactions_FR_20250111_é+1.csv")
        announced(yard, "inbox/nightly+run/transactions_FR_20250111_%C3%A9%2B1.csv")
        (found,) = yard.tick().fresh
        assert found.name == "nightly run/transactions_FR_20250111_é+1.csv"

    def test_a_consumer_that_dies_before_its_plan_is_stored_loses_nothing(self, yard: Yard) -> None:
        announced(yard, yard.deliver("transactions_FR_20250111.csv"))
        assert len(yard.tick(killed=True).fresh) == 1
        assert yard.in_flight() == 1, "the message comes back by itself"
        assert len(yard.tick(sweep=0).fresh) == 1, "and the listing does not even wait for it"

    def test_messages_stay_hidden_as_long_as_a_tick_works_and_come_back_if_it_dies(
        self, yard: Yard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "_HIDDEN_SECONDS", 2)
        monkeypatch.setattr(queue, "_WAIT_SECONDS", 0)
        announced(yard, *(yard.deliver(f"transactions_FR_20250111_{n}.csv") for n in range(12)))
        met: list[Message] = []

        class DiedAtWork(Exception):
            pass

        def work(*_: Any) -> None:
            time.sleep(2.6)
            met.extend(ArrivalQueue(yard.queue.url).receive(seconds=0.2))
            raise DiedAtWork

        with monkeypatch.context() as patch:
            patch.setattr(ArrivalDesk, "look", work)
            with pytest.raises(DiedAtWork):
                yard.tick()
        assert met == [], "another consumer got what the tick was working on"
        time.sleep(2.1)
        assert len(yard.tick().fresh) == 12, "it came back, and not by listing"
        yard.show_again(yard.memory.receipts)
        assert yard.tick().fresh == [], "a daemon that slept too long gets them once more"
        yard.tick()
        assert yard.in_flight() == 0

    def test_a_queue_that_does_not_take_signs_of_life_stops_no_tick(
        self, yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(queue, "_HIDDEN_SECONDS", 0.1)
        gone = ArrivalQueue(f"{yard.queue.url}-gone")
        with gone.held([Message("receipt", ())]):
            time.sleep(0.3)
        assert "Messages may come back before they were planned" in caplog.text
        assert not [t for t in threading.enumerate() if t.name == "queue-messages-held"]

    def test_a_second_announcement_plans_nothing(self, yard: Yard) -> None:
        key = yard.deliver("transactions_FR_20250111.csv")
        announced(yard, key, key)
        assert len(yard.tick().fresh) == 1
        announced(yard, key)
        assert yard.tick().fresh == []
        yard.tick()
        assert yard.in_flight() == 0

    def test_what_is_no_delivery_is_ignored(self, yard: Yard) -> None:
        yard.lake.put("data/x.parquet", b"x")
        announced(yard, "data/x.parquet", "inbox/gone_FR_20250111.csv", "inbox/a//b.csv")
        yard.send(s3_event("another-bucket", "retail/inbox/transactions_FR_20250111.csv"))
        yard.announce("elsewhere/inbox/transactions_FR_20250111.csv")
        assert yard.tick().fresh == []
        assert yard.in_flight() == 0

    def test_what_cannot_be_read_is_kept_with_the_reason(self, yard: Yard) -> None:
        announced(yard, yard.deliver("transactions_FR_20250111.csv"))
        yard.send("not json", {"Records": [{"eventSource": "aws:kinesis"}]})
        assert len(yard.tick().fresh) == 1
        found = yard.sqs.receive_message(
            QueueUrl=yard.dead_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )["Messages"]
        reasons = {m["Body"]: m["MessageAttributes"]["reason"]["StringValue"] for m in found}
        assert reasons["not json"].startswith("Not JSON")
        assert len(reasons) == 2

    def test_a_message_that_was_lost_is_made_up_for_by_listing(self, yard: Yard) -> None:
        yard.deliver("transactions_FR_20250111.csv")
        assert yard.tick(sweep=1e9).fresh == []
        assert len(yard.tick(sweep=0).fresh) == 1
        assert yard.tick(sweep=0).fresh == []

    def test_a_refused_file_is_recorded_when_it_is_announced(self, yard: Yard) -> None:
        announced(yard, yard.deliver("store_sales_FR_20250101.csv"))
        look = yard.tick()
        assert look.fresh == []
        assert [r.code for r in look.plan.rejections] == ["unknown_feed"]


@pytest.mark.timeout(60 + FILES // 2)
def test_every_file_is_loaded_once_whatever_happens_to_messages_and_consumers(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shuffled, one in five twice, one in twenty lost, and a consumer that dies five times."""
    monkeypatch.setattr(queue, "_WAIT_SECONDS", 0)
    chance = random.Random(7)
    names = [
        f"transactions_{country}_{DAY + timedelta(days=number // 7 % 300):%Y%m%d}_{number}.csv"
        for number in range(FILES)
        for country in [REGISTRY.codes[number % 7]]
    ]
    keys = [
        yard.deliver(name, csv_text("transactions", [receipt(name)]).encode()) for name in names
    ]
    told = [key for key in keys if chance.random() > 0.05]
    told += chance.sample(told, len(told) // 5)
    chance.shuffle(told)
    dies = {round(death * len(told) / 5) for death in range(5)}
    for start in range(0, len(told), AT_ONCE):
        wave = told[start : start + AT_ONCE]
        announced(yard, *wave)
        if any(start <= death < start + AT_ONCE for death in dies):
            look = yard.tick(killed=True)
            yard.show_again(look.memory.receipts)
        for _ in range(10 + AT_ONCE // 100):
            yard.tick()
            if not yard.in_flight():
                break
    yard.tick(sweep=0, killed=True)
    yard.tick(sweep=0)
    yard.tick()
    assert set(yard.handed_on.values()) == {1}
    assert len(yard.handed_on) == len(names)
    assert yard.in_flight() == 0
    desk = Desk(yard.lake, DuckDBWarehouse(tmp_path / "warehouse.duckdb"), now=datetime.now(UTC))
    assert desk.take_in().refused == {}
    loaded = desk.warehouse.query("select file_name, rows_loaded, state from raw.file_ledger")
    assert sorted(loaded) == sorted((name, 1, "loaded") for name in names)
    assert desk.inbox() == set()


def receipt(name: str) -> dict[str, str]:
    """The one row of a file."""
    _, country, day, number = name.removesuffix(".csv").split("_")
    code = "UK" if country == "GB" else country
    when = datetime.strptime(day, "%Y%m%d").date()  # noqa: DTZ007
    return row("transactions", country, when, invoice_id=f"INV-{code}-021-{int(number):08d}")


def test_settings_name_the_queue_only_for_a_lake_that_has_one(tmp_path: Path) -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/1/arrivals"
    env = {"RETAIL_QUEUE_URL": url, "RETAIL_LAKE_URL": "s3://bucket/retail"}
    assert Settings.from_env(env).queue_url == url
    with pytest.raises(ConfigurationError, match="only S3 announces"):
        Settings.from_env({"RETAIL_QUEUE_URL": url, "RETAIL_HOME": str(tmp_path)})
    with pytest.raises(ConfigurationError, match="expected https://sqs"):
        Settings.from_env({**env, "RETAIL_QUEUE_URL": "arrivals"})
