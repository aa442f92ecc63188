"""Alerts from books to people: the outbox, routes, messages, and channels that are really there.

The webhook is an HTTP server and the mailbox an SMTP server, both on this machine; what speaks to
them is apprise, as in production.
"""

import itertools
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from retail_platform.alerts import alert as told
from retail_platform.alerts.alert import Alert, FailedRun, Kind, Severity, Subject
from retail_platform.alerts.channels import DIGEST_ABOVE, messages_of, sender, subject_and_body
from retail_platform.alerts.outbox import LONGEST_WAIT, NotDelivered, Notice, Outbox
from retail_platform.alerts.router import AlertRouter
from retail_platform.alerts.routes import LOG, Routes, load_routes
from retail_platform.errors import ConfigurationError
from retail_platform.lake.inbox import Rejection
from retail_platform_tests.mailbox import Mailbox
from retail_platform_tests.webhook import Webhook

NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)
UI = "https://dagster.example.com"


def trouble(
    number: int = 1,
    severity: Severity = Severity.ERROR,
    kind: Kind = Kind.FAILED_CHECK,
    **fields: Any,
) -> Alert:
    return Alert(
        key=f"{kind}:{number}", kind=kind, severity=severity, what=f"Trouble {number}.",
        why="It matters.", todo="Do something.", link=UI, **fields,
    )  # fmt: skip


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "alerts")


def look(
    outbox: Outbox,
    *alerts: Alert,
    at: datetime = NOW,
    kinds: tuple[Kind, ...] = (Kind.FAILED_CHECK,),
    channels: tuple[str, ...] = (LOG,),
) -> list[tuple[str, bool]]:
    """One look that finds these troubles; (key, over) of what is to be told."""
    seen = {kind: [a for a in alerts if a.kind is kind] for kind in kinds}
    notices = outbox.record(seen, lambda _: channels, at)
    return [(n.alert.key.rsplit(":", 1)[-1], n.ended) for n in notices]


class TestBooks:
    def test_a_trouble_is_told_once_and_so_is_its_end(self, outbox: Outbox) -> None:
        assert look(outbox, trouble()) == [("1", False)]
        assert look(outbox, trouble()) == []
        assert look(outbox) == [("1", True)]
        assert look(outbox) == []
        assert look(outbox, trouble()) == [("1", False)], "it is back"

    def test_another_process_knows_what_was_told(self, outbox: Outbox) -> None:
        look(outbox, trouble())
        again = Outbox(outbox.path.parent)
        assert look(again, trouble(), trouble(2)) == [("2", False)]

    def test_what_was_not_looked_at_neither_begins_nor_ends(self, outbox: Outbox) -> None:
        look(outbox, trouble())
        assert look(outbox, kinds=(Kind.SENSOR,)) == []
        assert len(outbox.troubles()) == 1

    def test_repetitions_are_counted_and_told_only_where_each_matters(self, outbox: Outbox) -> None:
        look(outbox, trouble(occasion="a"))
        assert look(outbox, trouble(occasion="b")) == []
        assert outbox.troubles()[0].times_seen == 2
        each = {"every_occasion": True, "number": 2}
        assert look(outbox, trouble(**each, occasion="v1")) == [("2", False), ("1", True)]
        assert look(outbox, trouble(**each, occasion="v1")) == []
        assert look(outbox, trouble(**each, occasion="v2")) == [("2", False)]

    def test_an_error_that_eases_is_over(self, outbox: Outbox) -> None:
        """A missing file came after all, late."""
        look(outbox, trouble())
        late = trouble(severity=Severity.INFO)
        assert look(outbox, late) == [("1", True)]
        assert look(outbox, late) == []
        assert look(outbox) == [], "the end of an info is no news"

    def test_how_far_was_looked_is_kept_with_what_was_found(self, outbox: Outbox) -> None:
        def fails(_: Alert) -> list[str]:
            raise ConfigurationError("no routes")

        with pytest.raises(ConfigurationError):
            outbox.record({Kind.SENSOR: [trouble(kind=Kind.SENSOR)]}, fails, NOW, {"until": "12"})
        assert outbox.recall("until") is None
        assert outbox.troubles() == []
        outbox.record({}, lambda _: [LOG], NOW, {"until": "12"})
        assert outbox.recall("until") == "12"

    def test_old_entries_are_dropped_and_open_ones_are_not(self, outbox: Outbox) -> None:
        look(outbox, trouble(), trouble(2))
        look(outbox, trouble(2))
        outbox.deliver(lambda _, notices: iter([notices]), NOW)
        look(outbox, trouble(2), at=NOW + timedelta(days=91))
        assert [t.alert.key for t in outbox.troubles(ended=True)] == ["failed_check:2"]

    def test_what_nobody_was_told_is_kept_however_old(self, outbox: Outbox) -> None:
        look(outbox, trouble(), channels=("hook",))
        look(outbox, trouble(), at=NOW + timedelta(days=91))
        assert [(w.channel, w.since) for w in outbox.waiting()] == [("hook", NOW)]

    def test_a_memory_of_another_release_is_a_new_beginning(self, outbox: Outbox) -> None:
        outbox.record({}, lambda _: [LOG], NOW, {"watch": '{"runs_until": "lately"}'})
        assert AlertRouter(outbox.path.parent, None).last_look() is None


class TestDelivery:
    def test_a_channel_that_is_down_is_tried_again_later_and_nothing_is_lost(
        self, outbox: Outbox
    ) -> None:
        got: list[str] = []
        down = True

        def send(channel: str, notices: Any) -> Iterator[Any]:
            if down:
                raise NotDelivered("no answer")
            got.extend(n.alert.what for n in notices)
            yield notices

        look(outbox, trouble(1), channels=("hook",))
        moment, waits = NOW, []
        for _ in range(12):
            assert outbox.deliver(send, moment) == 0
            assert outbox.deliver(send, moment + timedelta(seconds=1)) == 0
            attempts = outbox.waiting()[0].attempts
            step = timedelta(seconds=1)
            while outbox.waiting()[0].attempts == attempts:
                moment += step
                outbox.deliver(send, moment)
                step *= 2
            waits.append(moment)
        gaps = [b - a for a, b in itertools.pairwise(waits)]
        assert gaps[0] < timedelta(minutes=5) < gaps[-1] < 5 * LONGEST_WAIT
        look(outbox, trouble(1), trouble(2), channels=("hook",))
        (waiting,) = outbox.waiting()
        assert (waiting.channel, waiting.count, waiting.error) == ("hook", 2, "no answer")
        down = False
        assert outbox.deliver(send, NOW, even_waiting=True) == 2
        assert got == ["Trouble 1.", "Trouble 2."]
        assert outbox.waiting() == []
        assert outbox.deliver(send, NOW, even_waiting=True) == 0

    def test_one_channel_does_not_wait_for_another(self, outbox: Outbox) -> None:
        tried: list[str] = []

        def send(channel: str, notices: Any) -> Iterator[Any]:
            tried.append(channel)
            if channel == "broken":
                raise NotDelivered("no")
            yield notices

        look(outbox, trouble(), channels=("broken", LOG))
        assert outbox.deliver(send, NOW) == 1
        assert [w.channel for w in outbox.waiting()] == ["broken"]
        look(outbox, trouble(), trouble(2), channels=("broken", LOG))
        assert outbox.deliver(send, NOW + timedelta(seconds=1)) == 1
        assert tried == ["broken", LOG, LOG], "the broken one has to wait, and only it"

    def test_what_a_channel_took_before_it_broke_is_not_told_again(self, outbox: Outbox) -> None:
        got: list[str] = []

        def send(channel: str, notices: Any) -> Iterator[Any]:
            for notice in notices:
                if notice.alert.key.endswith("2") and len(got) == 1:
                    raise NotDelivered("full")
                got.append(notice.alert.what)
                yield [notice]

        look(outbox, trouble(1), trouble(2))
        assert outbox.deliver(send, NOW) == 1
        got.append("-")
        assert outbox.deliver(send, NOW, even_waiting=True) == 1
        assert got == ["Trouble 1.", "-", "Trouble 2."]

    def test_two_processes_do_not_tell_the_same(self, outbox: Outbox) -> None:
        other = Outbox(outbox.path.parent)
        told_by_other = []

        def send(channel: str, notices: Any) -> Iterator[Any]:
            told_by_other.append(other.deliver(send, NOW))
            yield notices

        look(outbox, trouble())
        assert outbox.deliver(send, NOW) == 1
        assert told_by_other == [0]


class TestMessages:
    def test_many_at_once_are_one_message_with_the_gravest_first(self) -> None:
        notices = [Notice(trouble(n, Severity.INFO)) for n in range(DIGEST_ABOVE)]
        assert len(messages_of(notices)) == DIGEST_ABOVE
        notices += [Notice(trouble(98)), Notice(trouble(99), ended=True)]
        (message,) = messages_of(notices)
        assert message.subject == f"{DIGEST_ABOVE + 1} alerts, 1 over"
        assert message.severity is Severity.ERROR
        summary, first, *_, last = message.body.splitlines()
        assert summary == f"{DIGEST_ABOVE + 1} failed check"
        assert first == "[error] Trouble 98."
        assert last == "... and 2 more: `retail alerts list`"
        assert message.notices == tuple(notices)

    def test_a_backfill_is_one_message_beside_the_others(self) -> None:
        bulk = [Notice(trouble(n, bulk=True)) for n in (1, 2)]
        other = Notice(trouble(3))
        single, together = messages_of([bulk[0], other, bulk[1]])
        assert single.notices == (other,)
        assert together.notices == tuple(bulk)

    def test_it_says_what_why_and_what_to_do(self) -> None:
        subject, body = subject_and_body(Notice(trouble(owners=("team:finance",))))
        assert subject == "[error] Trouble 1."
        for words in ("It matters.", "Do something.", "team:finance", UI):
            assert words in body
        subject, body = subject_and_body(Notice(trouble(), ended=True))
        assert subject == "[over] Trouble 1."


class TestFacts:
    def test_a_refused_file_is_told_without_what_was_seen_in_it(self) -> None:
        """What was seen may be a person's name."""
        record = Rejection(
            name="customers_FR_20260311.csv", version="v1", code="missing_column",
            seen="Zoé Faure, zoe@example.com", remedy="Send all columns.", feed="customers",
            country="FR", day=date(2026, 3, 11), schema_version="s",
        )  # fmt: skip
        owner = Subject(owners=("team:crm",), domain="customers")
        found = told.refused_file(record, owner, UI)
        assert "Zoé" not in found.model_dump_json()
        assert "customers_FR_20260311.csv was refused: missing_column" in found.what
        assert "Send all columns." in found.todo
        assert (found.owners, found.country) == (("team:crm",), "FR")
        newer = told.refused_file(record.model_copy(update={"version": "v2"}), owner, UI)
        assert newer.key == found.key
        assert newer.occasion != found.occasion

    def test_links_lead_to_the_page_that_shows_it(self) -> None:
        check = told.failed_check("marts/fct_sales", "unique", "r", True, "", Subject(), UI)
        assert check.link == f"{UI}/assets/marts/fct_sales?view=checks"
        run = FailedRun(run_id="r-1", job="job")
        assert told.failed_run(run, run.key, {}, UI).link == f"{UI}/runs/r-1"

    @pytest.mark.parametrize(
        ("later", "left"),
        [
            ({}, None),
            ({"assets": ("a",)}, ("b",)),
            ({"assets": ("a", "b", "c")}, None),
            ({"countries": ("CN",)}, ("a", "b")),
            ({"first": date(2026, 1, 5), "last": date(2026, 1, 9)}, ("a", "b")),
            ({"first": date(2026, 1, 3), "last": date(2026, 1, 9)}, None),
            ({"first": None, "last": None, "countries": ()}, ("a", "b")),
        ],
    )
    def test_a_failed_run_is_over_when_its_assets_were_built_since(
        self, later: dict[str, Any], left: tuple[str, ...] | None
    ) -> None:
        failed = FailedRun(
            run_id="1", job="job", assets=("a", "b"), countries=("DE", "FR"),
            first=date(2026, 1, 1), last=date(2026, 1, 3),
        )  # fmt: skip
        rest = failed.after_success(failed.model_copy(update=later))
        assert (rest.assets if rest else None) == left

    def test_a_job_without_assets_is_over_when_it_succeeds(self) -> None:
        asking = FailedRun(run_id="1", job="hourly")
        assert asking.after_success(FailedRun(run_id="2", job="nightly")) == asking
        assert asking.after_success(FailedRun(run_id="2", job="hourly")) is None


# ----------------------------------------------------------------------------------- routes


ROUTES = """
channels:
  oncall: json://127.0.0.1:{port}/hook?token=${{ALERT_TOKEN}}
  finance: json://127.0.0.1:{port}/finance
routes:
  - {{severity: [error], to: [oncall]}}
  - {{owner: ["team:finance"], country: [DE, FR], to: [finance, oncall]}}
  - {{kind: [late_rows], domain: [sales], to: [finance]}}
"""


LATE: dict[str, Any] = {"kind": Kind.LATE_ROWS, "severity": Severity.INFO}


class TestRoutes:
    @pytest.mark.parametrize(
        ("fields", "channels"),
        [
            ({}, [LOG, "oncall"]),
            ({"severity": Severity.WARNING}, [LOG]),
            (
                {"severity": Severity.WARNING, "owners": ("team:finance",), "country": "DE"},
                [LOG, "finance", "oncall"],
            ),
            ({"owners": ("x", "team:finance"), "country": "FR"}, [LOG, "oncall", "finance"]),
            ({"severity": Severity.INFO, "owners": ("team:finance",), "country": "US"}, [LOG]),
            ({"severity": Severity.INFO, "owners": ("team:finance",)}, [LOG]),
            ({**LATE, "domain": "sales"}, [LOG, "finance"]),
            ({**LATE, "domain": "stock"}, [LOG]),
            ({**LATE, "domain": "sales", "kind": Kind.STALE_ASSET}, [LOG]),
        ],
    )
    def test_every_route_that_fits_is_taken_once(
        self, tmp_path: Path, fields: dict[str, Any], channels: list[str]
    ) -> None:
        assert routes(tmp_path, ROUTES.format(port=1)).channels_of(trouble(**fields)) == channels

    def test_without_a_file_everything_goes_to_the_log(self, tmp_path: Path) -> None:
        assert load_routes(None).channels_of(trouble()) == [LOG]
        log = tmp_path / "alerts" / "alerts.log"
        list(sender(Routes(), log)(LOG, [Notice(trouble()), Notice(trouble(2), ended=True)]))
        first, second = map(json.loads, log.read_text(encoding="utf-8").splitlines())
        assert (first["what"], first["over"], first["severity"]) == ("Trouble 1.", False, "error")
        assert second["over"] is True

    def test_a_log_that_cannot_be_written_is_a_channel_that_is_down(
        self, tmp_path: Path, outbox: Outbox
    ) -> None:
        (tmp_path / "file").touch()
        look(outbox, trouble())
        assert outbox.deliver(sender(Routes(), tmp_path / "file" / "alerts.log"), NOW) == 0
        (waiting,) = outbox.waiting()
        assert "alerts.log cannot be written" in waiting.error

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("routes: [{to: [ops]}]", "routes name the channels ops; there are log"),
            ("routes: [{to: []}]", "routes.0.to"),
            ("routes: [{to: [log], severity: [fatal]}]", "routes.0.severity"),
            ("routes: [{to: [log], team: x}]", "routes.0.team: Extra inputs"),
            ("channels: {log: 'json://x'}", "the platform's own"),
            ("channels: [a", "not YAML in line 1"),
            ("- 1", "file: Input should be a valid dictionary"),
        ],
    )
    def test_a_wrong_file_is_told_with_path_and_finding(
        self, tmp_path: Path, text: str, words: str
    ) -> None:
        with pytest.raises(ConfigurationError) as caught:
            routes(tmp_path, text)
        assert str(caught.value).startswith(str(tmp_path / "alerts.yaml"))
        assert words in str(caught.value)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="RETAIL_ALERTS_FILE"):
            load_routes(tmp_path / "none.yaml")

    def test_secrets_are_in_no_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = "channels: {a: 'slack://hunter2', b: [hunter2]}\nroutes: [{to: [c]}]"
        with pytest.raises(ConfigurationError) as caught:
            routes(tmp_path, text)
        assert "hunter2" not in str(caught.value)
        monkeypatch.setenv("ALERT_TOKEN", "hunter2")
        broken = routes(tmp_path, "channels: {a: 'nonsense://${ALERT_TOKEN}', b: 'json://${NONE}'}")
        problems = broken.problems()
        assert problems[0].startswith("channel a: apprise does not understand its address")
        assert problems[1].startswith("channel b: variable NONE is not set, and ${NONE} stands for")
        assert "hunter2" not in str(problems)
        for channel in ("a", "b"):
            with pytest.raises(NotDelivered) as failed:
                list(sender(broken, tmp_path / "log")(channel, [Notice(trouble())]))
            assert "hunter2" not in str(failed.value)


def routes(folder: Path, text: str) -> Routes:
    file = folder / "alerts.yaml"
    file.write_text(text, encoding="utf-8")
    return load_routes(file)


# --------------------------------------------------------------------------------- channels


class TestRealChannels:
    def test_a_webhook_that_is_down_gets_everything_when_it_is_back(
        self, tmp_path: Path, webhook: Webhook, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ALERT_TOKEN", "s3cret")
        known = routes(tmp_path, ROUTES.format(port=webhook.port))
        send = sender(known, tmp_path / "alerts.log")
        webhook.status = 503
        outbox.record({Kind.FAILED_CHECK: [trouble(1)]}, known.channels_of, NOW)
        assert outbox.deliver(send, NOW) == 1, "the log"
        (waiting,) = outbox.waiting()
        assert waiting.channel == "oncall"
        assert "did not take the message" in waiting.error
        outbox.record({Kind.FAILED_CHECK: []}, known.channels_of, NOW)
        webhook.status = 200
        outbox.deliver(send, NOW + timedelta(minutes=1))
        assert [
            (path.partition("?")[0], body["title"], body["type"]) for path, body in webhook.got
        ] == [
            ("/hook", "[error] Trouble 1.", "failure"),
            ("/hook", "[over] Trouble 1.", "success"),
        ]
        assert outbox.waiting() == []
        stored = b"".join(
            p.read_bytes() for p in tmp_path.rglob("*") if p.name != "alerts.yaml" and p.is_file()
        )
        assert b"s3cret" not in stored

    def test_a_server_that_is_not_there(self, tmp_path: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        known = routes(tmp_path, f"channels: {{a: 'json://127.0.0.1:{port}/'}}")
        with pytest.raises(NotDelivered, match="JSON did not take the message"):
            list(sender(known, tmp_path / "log")("a", [Notice(trouble())]))

    def test_a_mailbox_that_was_full(
        self, tmp_path: Path, mailbox: Mailbox, outbox: Outbox
    ) -> None:
        known = routes(tmp_path, f"channels: {{ops: '{mailbox.address}'}}\nroutes: [{{to: [ops]}}]")
        send = sender(known, tmp_path / "alerts.log")
        outbox.record({Kind.FAILED_CHECK: [trouble(1)]}, known.channels_of, NOW)
        mailbox.full = True
        assert outbox.deliver(send, NOW) == 1, "the log"
        (waiting,) = outbox.waiting()
        assert waiting.channel == "ops"
        assert "did not take the message" in waiting.error
        mailbox.full = False
        assert outbox.deliver(send, NOW + timedelta(minutes=1)) == 1
        ((to, mail),) = mailbox.got
        assert to == ["ops@example.com"]
        assert mail["Subject"] == "[error] Trouble 1."
        body = mail.get_payload(decode=True).decode()
        assert "Why it matters: It matters.\n" in body.replace("\r\n", "\n")

    def test_a_digest_is_one_request(self, tmp_path: Path, webhook: Webhook) -> None:
        known = routes(tmp_path, f"channels: {{a: 'json://127.0.0.1:{webhook.port}/'}}")
        notices = [Notice(trouble(n)) for n in range(DIGEST_ABOVE + 1)]
        (told_now,) = sender(known, tmp_path / "log")("a", notices)
        assert len(told_now) == DIGEST_ABOVE + 1
        ((_, body),) = webhook.got
        assert body["title"] == f"{DIGEST_ABOVE + 1} alerts"


def test_a_notice_survives_the_outbox() -> None:
    notice = Notice(trouble(owners=("a", "b"), country="FR"), ended=True)
    assert Notice.of(notice.as_text()) == notice
    assert Notice.of(replace(notice, ended=False).as_text()) != notice
