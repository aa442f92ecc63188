"""The lake on a folder and on S3: the same objects, the same gate, the same RAW tables.

S3 is a server that speaks HTTP (moto) and the client is the real one, so pages of listings, ETags,
quoting of keys and server-side copies are those of production. Keys are also put into the server
directly where a test needs more of them than HTTP brings in reasonable time.
"""

import logging
import os
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from retail_platform.gate import text
from retail_platform.lake.inbox import inbox_name, plan_arrivals, read_rejections
from retail_platform.lake.store import INBOX, Lake
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform_tests.builders import (
    CONTRACTS,
    FIRST_DAY,
    NOW,
    REGISTRY,
    Desk,
    csv_text,
    gzipped,
    receipts,
    row,
)


class S3Desk(Desk):
    """A desk whose deliveries carry the time a test gives them: S3 itself only knows now."""

    bucket: str

    def deliver(self, name: str, content: str | bytes, at: datetime | None = None) -> None:
        super().deliver(name, content, at)
        server_bucket(self.bucket).keys[f"lake/{INBOX}{name}"].last_modified = at or self.clock


def server_bucket(name: str) -> Any:
    """The bucket inside the server."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[name]


def put_raw(bucket: str, key: str, content: bytes = b"x") -> None:
    """An object under exactly this key, without HTTP, written in January."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, key, content)
    server_bucket(bucket).keys[key].last_modified = datetime(2025, 1, 12, tzinfo=UTC)


@pytest.fixture
def s3_desk(s3_environment: None, tmp_path: Path) -> S3Desk:
    """A desk over a new bucket."""
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    name = "bucket-" + os.urandom(6).hex()
    boto3.client("s3").create_bucket(Bucket=name)
    desk = S3Desk(Lake.open(f"s3://{name}/lake"), DuckDBWarehouse(tmp_path / "w.duckdb"))
    desk.bucket = name
    return desk


@pytest.fixture(params=["folder", "s3"])
def on_both(request: pytest.FixtureRequest) -> Desk:
    """A desk over a folder, then one over S3."""
    found: Desk = request.getfixturevalue("desk" if request.param == "folder" else "s3_desk")
    return found


@pytest.fixture
def lake(on_both: Desk) -> Lake:
    return on_both.lake


class TestObjects:
    def test_a_listing_and_a_look_at_one_object_agree(self, lake: Lake) -> None:
        lake.put("inbox/a/b.csv", b"12345")
        (listed,) = lake.list(INBOX)
        assert (listed.path, listed.size, listed.addressable) == ("inbox/a/b.csv", 5, True)
        assert lake.head("inbox/a/b.csv") == listed
        assert abs(datetime.now(UTC) - listed.modified) < timedelta(minutes=1)
        assert lake.get("inbox/a/b.csv") == b"12345"
        assert b"".join(lake.chunks("inbox/a/b.csv")) == b"12345"

    def test_a_version_changes_with_the_content(self, lake: Lake) -> None:
        versions = set()
        for content in (b"one", b"two", b"three"):
            lake.put("inbox/a.csv", content)
            found = lake.head("inbox/a.csv")
            assert found
            versions.add(found.version)
        assert len(versions) == 3

    def test_a_version_changes_with_every_delivery_of_the_same_content(self, on_both: Desk) -> None:
        """Otherwise the sensor would take a second delivery for the one it saw."""
        versions = set()
        for hour in range(3):
            on_both.deliver("a.csv", b"same", datetime(2025, 1, 12, hour, tzinfo=UTC))
            (listed,) = on_both.lake.list(INBOX)
            assert on_both.lake.head("inbox/a.csv") == listed
            versions.add(listed.version)
        assert len(versions) == 3

    def test_what_is_not_there(self, lake: Lake) -> None:
        assert lake.head("inbox/none.csv") is None
        assert list(lake.list("nothing/")) == []
        with pytest.raises(FileNotFoundError):
            lake.get("inbox/none.csv")
        lake.delete_many(["inbox/none.csv"])
        lake.copy_many([("inbox/none.csv", "history/none.csv")])
        assert lake.head("history/none.csv") is None

    @pytest.mark.parametrize("count", [3, 40])
    def test_many_objects_keep_their_order(self, lake: Lake, count: int) -> None:
        lake.put_many([(f"data/{n:03}", str(n).encode()) for n in range(count)])
        asked = [f"data/{n:03}" for n in reversed(range(count + 1))]
        assert list(lake.get_many(asked)) == [
            None,
            *(str(n).encode() for n in reversed(range(count))),
        ]

    def test_a_copy_replaces_and_the_source_stays(self, lake: Lake) -> None:
        lake.put("inbox/a.csv", b"new")
        lake.put("history/a.csv", b"old")
        lake.copy_many([("inbox/a.csv", "history/a.csv")])
        assert lake.get("history/a.csv") == lake.get("inbox/a.csv") == b"new"
        lake.put("inbox/a.csv", b"newer")
        assert lake.get("history/a.csv") == b"new"


NAMES = (
    "transactions_FR_20250101.csv",
    "transactions_FR_20250102_till 3.csv",
    "transactions_FR_20250103_a%20b%2Fc.csv",
    'transactions_FR_20250104_O\'Brien "x".csv',
    "transactions_FR_20250105_été 中文.csv",
    "transactions_FR_20250106_a+b&c=d#e?f.csv",
    "from paris/..till 1/transactions_FR_20250107_back\\slash~.csv",
    "transactions_FR_20250108_[a]{b}^c|d*e.csv",
)


class TestGateToRaw:
    def test_a_story_of_deliveries_ends_the_same_on_both(self, on_both: Desk) -> None:
        desk = on_both
        day = date(2025, 1, 11)
        times = [datetime(2025, 1, 12, hour, tzinfo=UTC) for hour in range(5, 12)]

        def sold(first: int, count: int, country: str = "FR") -> str:
            return csv_text("transactions", receipts(count, country, day, first=first))

        # Corrections seen before what they correct, parts, a copy, a file for all, a broken one.
        desk.deliver("transactions_FR_20250111.csv", sold(1, 2), times[3])
        desk.deliver("transactions_FR_20250111_late.csv.gz", gzipped(sold(50, 3)), times[4])
        desk.deliver("transactions_DE_20250111.csv", sold(1, 4, "DE"), times[0])
        desk.deliver("transactions_DE_20250111_copy.csv", sold(1, 4, "DE"), times[1])
        shops = [row("stores", c, store_id=str(n)) for n, c in enumerate(("FR", "CN", "CN"), 1)]
        desk.deliver("stores_ALL_20250111.csv", csv_text("stores", shops), times[0])
        desk.deliver("fx_rates_20250111.csv", csv_text("fx_rates", [row("fx_rates")]), times[0])
        desk.deliver("transactions_PT_20250111.csv", "", times[0])
        first = desk.take_in()
        desk.deliver("transactions_FR_20250111.csv", sold(1, 9), times[0])
        desk.deliver("fx_rates_20250111.csv", csv_text("fx_rates", [row("fx_rates")]), times[2])
        second = desk.take_in()

        assert first.code("transactions_PT_20250111.csv") == "empty_file"
        assert second.refused.keys() == {"transactions_PT_20250111.csv"}
        assert desk.inbox() == {"transactions_PT_20250111.csv"}
        assert [r.code for r in read_rejections(desk.lake)] == ["empty_file"]
        assert desk.raw_counts("transactions") == {"DE": 4, "FR": 5}
        assert desk.raw_counts("stores") == {"CN": 2, "FR": 1}
        assert desk.raw("fx_rates", "_country, rate::varchar, _delivered_at") == [
            ("ALL", "1.03010000", datetime(2025, 1, 12, 5))  # noqa: DTZ001 - RAW holds UTC
        ]
        states = [(s.facts.rows_in, s.state) for s in desk.states("transactions", f"FR|{day}")]
        assert states == [(9, "superseded"), (2, "loaded"), (3, "loaded")]
        originals = {o.path.rsplit("/", 1)[1].split("__")[0] for o in desk.lake.list("history/")}
        assert len(originals) == 6

    def test_the_longest_names_arrive_too(self, on_both: Desk) -> None:
        name = f"transactions_FR_20250111_{'x' * 171}.csv"
        on_both.deliver(name, csv_text("transactions", receipts(1)))
        assert on_both.take_in().refused == {}
        assert on_both.raw("transactions", "_source_file") == [(name,)]

    def test_unusual_names_arrive_and_are_kept_under_their_name(self, on_both: Desk) -> None:
        for number, name in enumerate(NAMES, start=1):
            content = csv_text("transactions", receipts(1, day=date(2025, 1, number)))
            on_both.deliver(name, content)
        outcome = on_both.take_in()
        assert outcome.refused == {}
        assert on_both.inbox() == set()
        assert {n for (n,) in on_both.raw("transactions", "_source_file")} == set(NAMES)
        stems = {o.path.rsplit("/", 1)[1].split("__")[0] for o in on_both.lake.list("history/")}
        assert stems == {name.rsplit("/", 1)[-1].removesuffix(".csv") for name in NAMES}

    def test_a_file_replaced_while_it_is_read_waits_for_the_next_look(
        self, on_both: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = "transactions_FR_20250111.csv"
        on_both.deliver(name, csv_text("transactions", receipts(1)))
        read, replaced = Lake.get, list[str]()

        def get_then_replace(lake: Lake, path: str) -> bytes:
            content = read(lake, path)
            if path == INBOX + name and not replaced:
                replaced.append(name)
                on_both.deliver(name, csv_text("transactions", receipts(2)))
            return content

        with monkeypatch.context() as patch:
            patch.setattr(Lake, "get", get_then_replace)
            assert on_both.take_in().partitions == set()
        assert on_both.inbox() == {name}
        on_both.take_in()
        assert on_both.raw_counts("transactions") == {"FR": 2}

    def test_a_file_larger_than_memory_allows_is_streamed(
        self, on_both: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = csv_text("transactions", receipts(16_000)) + "\n" * (1 << 20)
        on_both.deliver("transactions_FR_20250111.csv", content)
        read = Lake.get

        def get(lake: Lake, path: str) -> bytes:
            assert not path.startswith(INBOX), "read whole"
            return read(lake, path)

        with monkeypatch.context() as patch:
            patch.setattr(text, "IN_MEMORY_BYTES", 100_000)
            patch.setattr(Lake, "get", get)
            assert on_both.take_in().refused == {}
        assert on_both.raw_counts("transactions") == {"FR": 16_000}


class TestKeysOfS3:
    def test_listings_of_several_pages_are_read_to_their_end(self, s3_desk: S3Desk) -> None:
        """S3 lists a thousand keys at a time."""
        for number in range(2_100):
            put_raw(s3_desk.bucket, f"lake/inbox/note {number:04}.txt")
        s3_desk.deliver("transactions_FR_20250111.csv", csv_text("transactions", receipts(2)))
        found = list(s3_desk.lake.list(INBOX))
        assert len({o.path for o in found}) == len(found) == 2_101
        plan = plan_arrivals(found, CONTRACTS, REGISTRY, first_day=FIRST_DAY, now=NOW)
        assert len(plan.rejections) == 2_100
        assert [a.name for a in plan.arrivals] == ["transactions_FR_20250111.csv"]

    ODD = (
        "lake/inbox//transactions_FR_20250111.csv",
        "lake/inbox/../transactions_FR_20250112.csv",
        "lake/inbox/./transactions_FR_20250113.csv",
        "lake/inbox/a//transactions_FR_20250114.csv",
        "lake/inbox/transactions_FR_20250115\x7f.csv",
    )

    def test_keys_that_no_file_can_have_are_reported_and_their_neighbours_taken_in(
        self, s3_desk: S3Desk
    ) -> None:
        """One of them, and the listing failed for everybody."""
        for key in self.ODD:
            put_raw(s3_desk.bucket, key)
        for number in range(1_100):
            put_raw(s3_desk.bucket, f"lake/inbox/.hidden {number:04}")
        s3_desk.deliver("transactions_DE_20250111.csv", csv_text("transactions", receipts(2, "DE")))
        outcome = s3_desk.take_in()
        assert outcome.partitions == {"transactions DE|2025-01-11"}
        odd = {key.removeprefix("lake/inbox/") for key in self.ODD}
        assert {name: r.code for name, r in outcome.refused.items()} == dict.fromkeys(
            odd, "unusable_name"
        )
        # Nobody touched them, and the next look says the same.
        assert set(self.ODD) <= set(server_bucket(s3_desk.bucket).keys)
        assert s3_desk.take_in().refused.keys() == odd

    def test_listing_around_odd_keys_describes_objects_as_always(self, s3_desk: S3Desk) -> None:
        """Versions in particular: a file whose version seems to change is never taken in."""
        for name in NAMES:
            s3_desk.deliver(name, name)
        usual = list(s3_desk.lake.list(INBOX))
        put_raw(s3_desk.bucket, self.ODD[0])
        around = [o for o in s3_desk.lake.list(INBOX) if o.addressable]
        assert sorted(around, key=inbox_name) == sorted(usual, key=inbox_name)
        assert [s3_desk.lake.head(o.path) for o in around] == around

    def test_folders_made_in_a_console_are_no_files(self, s3_desk: S3Desk) -> None:
        for key in ("lake/inbox/", "lake/inbox/paris/"):
            put_raw(s3_desk.bucket, key, b"")
        for odd in (None, self.ODD[0]):
            if odd:
                put_raw(s3_desk.bucket, odd)
            assert {o.path for o in s3_desk.lake.list(INBOX) if o.addressable} == set()

    def test_a_key_may_end_in_a_space(self, s3_desk: S3Desk) -> None:
        put_raw(s3_desk.bucket, "lake/inbox/transactions_FR_20250111.csv ")
        outcome = s3_desk.take_in()
        assert outcome.code("transactions_FR_20250111.csv ") == "unknown_name"


class TestDeniedAccess:
    def test_s3_may_refuse_a_single_object(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Refusing(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
                self.send_response(403)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Refusing)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                monkeypatch.setenv(name, "test")
            monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
            lake = Lake.open("s3://bucket/lake")
            with pytest.raises(PermissionError, match="is denied"):
                lake.get("inbox/a.csv")
            with pytest.raises(PermissionError, match="is denied"):
                next(lake.chunks("inbox/a.csv"))
        finally:
            server.shutdown()
            server.server_close()

    SCRIPT = """
import os, sys
from retail_platform.lake.store import Lake
lake = Lake.open(sys.argv[1])
if os.geteuid() == 0:
    os.seteuid(65534)  # permissions mean nothing to the super user
for read in (lake.get, lambda path: next(lake.chunks(path))):
    try:
        read("inbox/a.csv")
    except PermissionError as error:
        print(error)
"""

    def test_a_file_may_belong_to_somebody_else(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            root.chmod(0o755)
            lake = Lake.open(root.as_uri())
            lake.put("inbox/a.csv", b"secret")
            (root / "inbox/a.csv").chmod(0)
            done = subprocess.run(
                [sys.executable, "-c", self.SCRIPT, root.as_uri()],
                capture_output=True,
                text=True,
                check=True,
            )
        assert done.stdout.splitlines() == ["access to inbox/a.csv is denied"] * 2


@pytest.mark.parametrize("name", ["plain", "with space", "100%25", "été 中文", "a#b?c"])
def test_a_lake_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    lake = Lake.open((tmp_path / name).as_uri())
    lake.put("inbox/a.csv", b"1")
    assert (tmp_path / name / "inbox" / "a.csv").read_bytes() == b"1"
    assert [o.path for o in lake.list(INBOX)] == ["inbox/a.csv"]
