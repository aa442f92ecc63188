"""Pulled sources, up to the inbox and through the gate into RAW: services over real HTTP."""

import gzip
import io
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from retail_platform.contract import ControlTotals, read_contract
from retail_platform.errors import ConfigurationError, SourceRefused, SourceUnavailable
from retail_platform.lake.store import INBOX
from retail_platform.pull.cursor import cursor_path, read_cursor
from retail_platform.pull.puller import Puller, Report
from retail_platform.pull.sources import RestSource, load_sources
from retail_platform.settings import PACKAGE_DIR
from retail_platform_tests.builders import CONTRACTS, REGISTRY, Desk, local_desk
from retail_platform_tests.services import Record, Service, Trouble, basic, pull_killed_at, serving

NOW = datetime(2025, 1, 11, 12, tzinfo=UTC)
SECRET = "s3cr3t-of-the-shop"
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: web-orders
name: Web orders
version: 1.0.0
status: active
customProperties:
  - property: ingestion
    value: {ingestion}
schema:
  - name: web_orders
    physicalType: table
    properties:
      - {{name: order_id, physicalType: varchar, required: true, primaryKey: true}}
      - {{name: status, physicalType: varchar}}
      - {{name: amount, physicalType: 'decimal(18,2)'}}
      - name: updated_at
        physicalType: timestamp
        customProperties:
          - {{property: ingestion, value: {{formats: ['%Y-%m-%dT%H:%M:%SZ']}}}}
"""


@pytest.fixture
def contract(tmp_path: Path) -> Any:
    path = tmp_path / "web_orders.odcs.yaml"
    path.write_text(CONTRACT.format(ingestion="{scope: country, drift: rescue}"))
    return read_contract(path)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service()) as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path, contract: Any) -> Desk:
    # Pulled files are as old as they are: the desk looks at them a little later.
    later = datetime.now(UTC) + timedelta(hours=1)
    return local_desk(tmp_path, contracts={**CONTRACTS, "web_orders": contract}, now=later)


@pytest.fixture
def pull(desk: Desk, service: Service) -> Callable[..., Report]:
    """Pulls the orders of a country with what a test changes in the source."""

    def run(
        country: str = "FR",
        *,
        path: str = "orders/link",
        now: datetime = NOW,
        on_step: Callable[[str], None] = lambda step: None,
        days: tuple[Any, Any] | None = None,
        **changes: Any,
    ) -> Report:
        source = RestSource.model_validate({**source_of(service, path), **changes})
        puller = Puller(
            desk.lake,
            source,
            desk.contracts["web_orders"],
            REGISTRY,
            {"SHOP_TOKEN": SECRET, "SHOP_USER": "shop-user"}.__getitem__,
            on_step,
            lambda: now,
        )
        return puller.pull_days(country, *days) if days else puller.pull(country)

    return run


@pytest.fixture
def kill(desk: Desk, service: Service, contract: Any, tmp_path: Path) -> Callable[[str], None]:
    """Pulls France in a process that is killed before a step."""
    url, path = (tmp_path / "lake").as_uri(), tmp_path / "web_orders.odcs.yaml"
    return lambda step: pull_killed_at(step, url, path, source_of(service), "FR")


def source_of(service: Service, path: str = "orders/link") -> dict[str, Any]:
    return {
        "name": "shop",
        "kind": "rest",
        "feed": "web_orders",
        "countries": {"FR": "fr", "DE": "de", "CN": "cn"},
        "url": service.url,
        "path": path,
        "records": "orders",
        "paging": {"kind": "link_header"},
        "incremental": {"field": "updated_at", "param": "updated_since", "overlap": 600},
        "requests_per_second": 1000,
        "backoff_seconds": 0.01,
        "timeout_seconds": 5,
    }


def order(number: int, at: str = "10:00:00", status: str = "paid", **more: Any) -> Record:
    fields = {"order_id": f"o-{number}", "status": status, "amount": 12.5}
    return {**fields, "updated_at": f"2025-01-11T{at}Z", **more}


def rows(desk: Desk, name: str) -> list[dict[str, str]]:
    text = gzip.decompress(desk.lake.get(INBOX + name))
    return pl.read_csv(io.BytesIO(text), infer_schema=False).to_dicts()


def delivered(desk: Desk, report: Report) -> list[str]:
    """Order numbers in the files of a pull."""
    return [row["order_id"] for file in report.files for row in rows(desk, file.name)]


class TestPages:
    @pytest.mark.parametrize(
        ("path", "paging", "requests"),
        [
            ("orders/link", {"kind": "link_header"}, 3),
            ("orders/next", {"kind": "next_url", "path": "next"}, 3),
            ("orders/cursor", {"kind": "cursor", "path": "meta.cursor", "param": "at"}, 3),
            ("orders/page", {"kind": "page", "first": 0}, 4),  # the last one is empty
            ("orders/offset", {"kind": "offset", "limit": 3}, 4),
        ],
    )
    def test_every_record_of_every_page_once(
        self, desk: Desk, service: Service, pull: Any, path: str, paging: Any, requests: int
    ) -> None:
        service.records = [order(n) for n in range(7)]
        report = pull(path=path, paging=paging)
        assert delivered(desk, report) == [f"o-{n}" for n in range(7)]
        assert (report.rows, report.requests, report.pages) == (7, requests, requests)
        (file,) = report.files
        assert file.name.startswith("web_orders_FR_20250111_shop-")
        desk.take_in()
        assert desk.raw("web_orders", "order_id, amount")[0] == ("o-0", pytest.approx(12.5))

    @pytest.mark.parametrize("record_path", ["[orders]", "[data, orders]", "[]"])
    def test_as_json_where_the_contract_says_so(
        self, desk: Desk, service: Service, pull: Any, tmp_path: Path, record_path: str
    ) -> None:
        """In the envelope the contract describes, into RAW, with what is nested."""
        path = tmp_path / "web_orders.odcs.yaml"
        ingestion = f"{{scope: country, format: json, drift: rescue, record_path: {record_path}}}"
        text = CONTRACT.format(ingestion=ingestion)
        path.write_text(text.replace("formats: [", "path: times.changed, formats: ["))
        desk.contracts["web_orders"] = read_contract(path)  # type: ignore[index]
        service.records = [
            {"order_id": f"é-{n}", "amount": 12.5, "status": None, "times": {"changed": at}}
            for n, at in enumerate(["2025-01-11T10:00:00Z", "2025-01-11T11:00:00Z"])
        ]
        report = pull(incremental={"field": "times.changed"})
        assert report.files[0].name.endswith(".json.gz")
        outcome = desk.take_in()
        assert not outcome.refused
        assert desk.raw("web_orders", "order_id, status, cast(updated_at as varchar)") == [
            ("é-0", None, "2025-01-11 10:00:00"),
            ("é-1", None, "2025-01-11 11:00:00"),
        ]

    def test_numbers_keep_their_digits(self, desk: Desk, service: Service, pull: Any) -> None:
        body = b'{"orders": [{"order_id": "o-1", "amount": 12345678901234567.10, "note": null, '
        body += b'"lines": [{"sku": "\xc3\xa9"}], "updated_at": "2025-01-11T10:00:00Z"}]}'
        service.trouble = [Trouble(body=body)]
        (row,) = rows(desk, pull().files[0].name)
        assert row["amount"] == "12345678901234567.10"
        assert (row["note"], row["lines"]) == (None, '[{"sku": "é"}]')

    def test_pages_that_do_not_turn_are_not_asked_for_ever(
        self, service: Service, pull: Any
    ) -> None:
        service.records = [order(n) for n in range(3)]
        with pytest.raises(SourceRefused, match=r"Page 2 of .* is page 1 again. Correct `paging`"):
            pull(path="orders/stuck", paging={"kind": "page", "param": "p"})

    def test_a_wrong_place_of_the_records_is_no_empty_answer(
        self, service: Service, pull: Any
    ) -> None:
        service.records = [order(1)]
        with pytest.raises(SourceRefused, match="nothing at 'data'; it has the keys orders"):
            pull(records="data")

    def test_no_token_for_another_host(self, service: Service, pull: Any) -> None:
        with serving(Service(records=[order(1)])) as stranger:
            link = {"Link": f'<{stranger.url}/orders/link>; rel="next"'}
            service.trouble = [Trouble(body=b'{"orders": []}', headers=link)]
            with pytest.raises(SourceRefused, match="is not its own host"):
                pull(auth={"kind": "header", "name": "X-Key", "token": "${SHOP_TOKEN}"})
            assert not stranger.asked


class TestAuth:
    @pytest.mark.parametrize(
        ("auth", "header", "value"),
        [
            ({"kind": "bearer", "token": "${SHOP_TOKEN}"}, "Authorization", None),
            ({"kind": "header", "name": "X-Key", "token": "${SHOP_TOKEN}"}, "X-Key", SECRET),
            (
                {
                    "kind": "basic",
                    "username": "${SHOP_USER}",
                    "password": "${SHOP_TOKEN}",
                },
                "Authorization",
                basic("shop-user", SECRET),
            ),
        ],
    )
    def test_header(
        self, desk: Desk, service: Service, pull: Any, auth: Any, header: str, value: str | None
    ) -> None:
        service.records = [order(1)]
        service.authorized = lambda headers: headers.get(header) == (value or f"Bearer {SECRET}")
        assert delivered(desk, pull(auth=auth)) == ["o-1"]

    def test_client_credentials(self, desk: Desk, service: Service, pull: Any) -> None:
        service.records = [order(n) for n in range(5)]
        service.authorized = lambda headers: headers.get("Authorization") == "Bearer issued-token"
        auth = {
            "kind": "oauth2",
            "token_url": f"{service.url}/token",
            "client_id": "${SHOP_USER}",
            "client_secret": "${SHOP_TOKEN}",
        }
        assert len(delivered(desk, pull(auth=auth))) == 5
        assert service.paths.count("/token") == 1
        assert SECRET in service.asked[0][2]["body"]

    def test_refused_says_where_and_not_with_what(
        self, service: Service, pull: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        echo = f'{{"error": "unknown token {SECRET}"}}'.encode()
        service.trouble = [Trouble(status=403, body=echo)]
        with pytest.raises(SourceRefused) as caught:
            pull(auth={"kind": "bearer", "token": "${SHOP_TOKEN}"})
        assert "answered 403" in str(caught.value)
        assert "unknown token ***" in str(caught.value)
        assert SECRET not in caplog.text
        assert len(service.asked) == 1, "asking again changes nothing"


class TestTrouble:
    def test_repeats_what_failed_for_now(self, desk: Desk, service: Service, pull: Any) -> None:
        service.records = [order(n) for n in range(4)]
        service.trouble = [
            Trouble(status=500),
            Trouble(status=503),
            Trouble(),
            Trouble(seconds=0.6),
            Trouble(status=429, headers={"Retry-After": "1"}),
        ]
        report = pull(timeout_seconds=0.3)
        assert delivered(desk, report) == ["o-0", "o-1", "o-2", "o-3"]
        assert report.requests == 6
        times = [at for at, *_ in service.asked]
        assert times[5] - times[4] >= 1, "as long as the service said"

    def test_gives_up_with_a_clear_word(self, desk: Desk, service: Service, pull: Any) -> None:
        service.trouble = [Trouble(status=502)] * 3
        params = {"token": SECRET, "limit": 3}
        with pytest.raises(SourceUnavailable, match="answered 502 Bad Gateway") as caught:
            pull(attempts=3, params=params)
        assert SECRET not in str(caught.value)
        assert "token=***" in str(caught.value)
        assert caught.value.__suppress_context__
        assert len(service.asked) == 3
        assert not desk.inbox()

    def test_a_long_wait_is_left_to_the_next_pull(self, service: Service, pull: Any) -> None:
        service.trouble = [Trouble(status=429, headers={"Retry-After": "3600"})]
        began = time.monotonic()
        with pytest.raises(SourceUnavailable, match="come back after 3600 s"):
            pull()
        assert time.monotonic() - began < 5

    def test_nobody_there(self, service: Service, pull: Any) -> None:
        gone = "http://127.0.0.1:9/api"  # discard: nothing listens
        with pytest.raises(SourceUnavailable, match="cannot be reached"):
            pull(url=gone, attempts=2, params={"key": SECRET})

    def test_a_page_for_people_is_no_news(self, service: Service, pull: Any) -> None:
        service.trouble = [Trouble(body=b"<html>We are down for maintenance</html>")]
        with pytest.raises(SourceUnavailable, match="no JSON"):
            pull()

    def test_never_faster_than_allowed(self, service: Service, pull: Any) -> None:
        service.records = [order(n) for n in range(9)]
        pull(requests_per_second=10)
        times = [at for at, *_ in service.asked]
        # Not gap by gap: on a busy machine one request comes late and the next in time.
        assert times[-1] - times[0] >= 0.07 * (len(times) - 1)


class TestNews:
    def test_only_what_changed(self, desk: Desk, service: Service, pull: Any) -> None:
        service.records = [order(1), order(2, "10:30:00")]
        first = pull()
        assert (first.cursor_before, first.cursor_after) == (None, "2025-01-11T10:30:00+00:00")
        service.records[0] = order(1, "10:40:00", "shipped")
        second = pull()
        assert delivered(desk, second) == ["o-1"]
        assert second.repeated == 1, "o-2 lies in the overlap"
        assert "updated_since=2025-01-11T10%3A20%3A00Z" in service.paths[-1]
        third = pull()
        assert third.files == []
        assert third.cursor_after == second.cursor_after
        desk.take_in()
        assert desk.raw("web_orders", "order_id, status") == [
            ("o-1", "paid"),
            ("o-1", "shipped"),
            ("o-2", "paid"),
        ]

    def test_what_becomes_visible_late(self, desk: Desk, service: Service, pull: Any) -> None:
        service.records = [order(1, "10:30:00")]
        pull()
        service.records.append(order(2, "10:25:00"))
        assert delivered(desk, pull()) == ["o-2"]
        assert pull().files == []

    def test_a_service_that_ignores_the_question(
        self, desk: Desk, service: Service, pull: Any
    ) -> None:
        everything = {"field": "updated_at", "overlap": 600}
        service.records = [order(1, "08:00:00"), order(2, "10:30:00")]
        pull(incremental=everything)
        service.records.append(order(3, "10:40:00"))
        assert delivered(desk, pull(incremental=everything)) == ["o-3"]

    def test_one_record_of_tomorrow_hides_nothing(
        self, desk: Desk, service: Service, pull: Any
    ) -> None:
        service.records = [order(1, updated_at="2099-01-01T00:00:00Z"), order(2, "11:00:00")]
        assert pull().cursor_after == NOW.isoformat()
        service.records.append(order(3, "12:05:00"))
        assert delivered(desk, pull(now=NOW + timedelta(hours=1))) == ["o-3"]

    def test_the_day_is_that_of_the_country(self, service: Service, pull: Any) -> None:
        service.records = [order(1)]
        late = NOW.replace(hour=20)
        assert [str(pull(c, now=late).files[0].day) for c in ("FR", "CN")] == [
            "2025-01-11",
            "2025-01-12",
        ]

    def test_a_record_without_the_field(self, service: Service, pull: Any) -> None:
        service.records = [order(1)]
        with pytest.raises(SourceRefused, match=r"no changed_on \(it has order_id, status"):
            pull(incremental={"field": "changed_on"})
        with pytest.raises(SourceRefused, match="holds 'paid', which is no timestamp"):
            pull(incremental={"field": "status"})

    def test_a_cursor_nobody_can_read(self, desk: Desk, service: Service, pull: Any) -> None:
        desk.lake.put(cursor_path("shop", "FR"), b"half a cur")
        with pytest.raises(ConfigurationError, match=r"cursors/shop/FR.json .* delete it"):
            pull()
        service.records = [order(1)]
        assert delivered(desk, pull("DE")) == ["o-1"], "the neighbour is unharmed"


class TestDays:
    def test_a_window_is_a_file_a_day(self, desk: Desk, service: Service, pull: Any) -> None:
        service.records = [
            order(1, updated_at="2025-01-02T23:30:00Z"),  # the 3rd in France
            order(2, updated_at="2025-01-03T12:00:00Z"),
            order(3, updated_at="2025-01-04T12:00:00Z"),
            order(4, updated_at="2025-01-05T12:00:00Z"),
        ]
        days = (datetime(2025, 1, 3).date(), datetime(2025, 1, 4).date())  # noqa: DTZ001
        names = ["web_orders_FR_20250103_shop-day.csv.gz", "web_orders_FR_20250104_shop-day.csv.gz"]
        for _ in range(2):
            report = pull(days=days)
            assert [(f.name, f.rows) for f in report.files] == [(names[0], 2), (names[1], 1)]
            desk.take_in()
        assert desk.raw("web_orders", "order_id") == [("o-1",), ("o-2",), ("o-3",)]
        assert read_cursor(desk.lake, "shop", "FR").position.value is None

    def test_a_source_told_by_day(self, desk: Desk, service: Service, pull: Any) -> None:
        by_day = {"incremental": None, "params": {"day": "{day}"}}
        service.records = [order(n, day=f"2025-01-{n:02d}") for n in (10, 11, 12)]
        name = "web_orders_FR_20250111_shop.csv.gz"
        assert [f.name for f in pull(**by_day).files] == [name]
        assert pull(**by_day).files == [], "the same answer again"
        service.records[1] = order(11, status="shipped", day="2025-01-11")
        assert [f.name for f in pull(**by_day).files] == [name]
        assert [row["status"] for row in rows(desk, name)] == ["shipped"]
        report = pull(days=(NOW.date() - timedelta(days=1), NOW.date()), **by_day)
        assert [str(f.day) for f in report.files] == ["2025-01-10", "2025-01-11"]
        with pytest.raises(ConfigurationError, match="cannot be asked for days"):
            pull(days=(NOW.date(), NOW.date()), incremental=None)


class TestKilled:
    @pytest.mark.parametrize(("taken_in", "days_later"), [(False, 0), (True, 0), (True, 3)])
    @pytest.mark.parametrize("step", ["intent", "put", "commit", "done"])
    def test_nothing_lost_nothing_doubled(
        self,
        desk: Desk,
        service: Service,
        pull: Any,
        kill: Any,
        step: str,
        taken_in: bool,
        days_later: int,
    ) -> None:
        """Killed before each step; the gate was faster than the repetition, or was not."""
        service.records = [order(0, "09:00:00")]
        pull()
        service.records += [order(1), order(2)]
        kill(step)
        if taken_in:
            desk.take_in()
        arrived = step in ("commit", "done")
        service.records[1] = order(1, "10:05:00", "shipped")
        report = pull(now=NOW + timedelta(days=days_later))
        assert delivered(desk, report) == (["o-1"] if arrived else ["o-2", "o-1"][::-1])
        desk.take_in()
        expected = [("o-0", "paid"), ("o-1", "paid"), ("o-1", "shipped"), ("o-2", "paid")]
        if not arrived:  # nobody ever saw the first version
            expected.remove(("o-1", "paid"))
        assert desk.raw("web_orders", "order_id, status") == expected
        assert pull(now=NOW + timedelta(days=days_later)).files == []

    def test_a_put_that_comes_after_its_client_died(
        self, desk: Desk, service: Service, pull: Any, kill: Any
    ) -> None:
        """The repetition has the same name, so it replaces what appears late."""
        service.records = [order(1)]
        kill("put")
        (late,) = pull().files
        content = desk.lake.get(INBOX + late.name)
        desk.lake.delete_many([INBOX + late.name, cursor_path("shop", "FR")])
        service.records.append(order(2))
        again = pull().files
        assert [f.name for f in again] == [late.name]
        assert content != desk.lake.get(INBOX + late.name)


class TestSourcesFile:
    def test_the_example_holds(self) -> None:
        found = load_sources(PACKAGE_DIR / "sources.yaml", CONTRACTS, REGISTRY)
        assert [s.kind for s in found] == ["rest", "rest", "sql"]
        assert dict(found[1].countries) == {"ALL": "ALL"}

    def test_nothing_without_a_file(self) -> None:
        assert load_sources(None, CONTRACTS, REGISTRY) == ()

    def test_everything_wrong_at_once(self, tmp_path: Path) -> None:
        good = {"name": "a", "kind": "rest", "feed": "fx_rates", "url": "https://x.example"}
        wrong = [
            {**good, "feed": "fx_rate"},
            {**good, "name": "b", "countries": ["FR"]},
            {**good, "name": "c", "auth": {"kind": "bearer", "token": SECRET}},
            {**good, "name": "d", "path": "{land}"},
            {**good, "name": "e", "feed": "stores", "countries": ["XX"]},
            {**good, "name": "f", "path": "{day}", "incremental": {"field": "x"}},
            {"name": "g", "kind": "sql", "feed": "stores", "url": "${X}"},
            {**good, "name": "i", "kind": "sql", "table": "t", "url": f"x://u:{SECRET}@h/${{D}}"},
            {**good, "name": "h", "url": f"https://user:{SECRET}@x.example"},
            good,
            good,
        ]
        path = tmp_path / "sources.yaml"
        path.write_text(yaml.safe_dump({"sources": wrong}))
        with pytest.raises(ConfigurationError) as caught:
            load_sources(path, CONTRACTS, REGISTRY)
        for finding in (
            "source a: feed 'fx_rate' has no contract",
            "source b: fx_rates is one feed for all",
            "source c: rest.auth.bearer.token: Value error, a secret is not written here; name the",
            "source d: land in braces",
            "source e: countries XX are not in the registry",
            "source f: {day} asks for one day",
            "either table or query",
            "source h: rest.url",
            "source i: sql.url: Value error, a secret is not written here",
            "source a: the name is there twice",
        ):
            assert finding in str(caught.value)
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize("required", [False, True])
    def test_what_is_pulled_cannot_wait_for_control_totals(
        self, tmp_path: Path, required: bool
    ) -> None:
        totals = ControlTotals(kind="sidecar", states={"count": "rows"}, required=required)
        rules = CONTRACTS["fx_rates"].ingestion.model_copy(update={"control_totals": totals})
        contracts = {**CONTRACTS, "fx_rates": replace(CONTRACTS["fx_rates"], ingestion=rules)}
        source = {"name": "a", "kind": "rest", "feed": "fx_rates", "url": "https://x.example"}
        path = tmp_path / "sources.yaml"
        path.write_text(yaml.safe_dump({"sources": [source]}))
        if required:
            with pytest.raises(ConfigurationError, match=r"fx_rates requires .*\(sidecar\)"):
                load_sources(path, contracts, REGISTRY)
        else:
            assert load_sources(path, contracts, REGISTRY)
