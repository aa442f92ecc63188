"""The lake on Google's and Microsoft's stores: what holds on a folder and on S3 holds there.

The tests of test_lake_on_s3.py are collected here once more, over other stores. Google's is S3
behind Google's headers (gcs_server.py says how far that goes), Microsoft's is Azurite, where it is
installed (azure_server.py).
"""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retail_platform.errors import ConfigurationError
from retail_platform.lake.address import provider_of, stage_url
from retail_platform.lake.store import INBOX, Lake, LakeObject
from retail_platform.resilience.failures import classify
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform_tests import azure_server, test_lake_on_s3
from retail_platform_tests.builders import Desk, csv_text, receipts
from retail_platform_tests.gcs_server import GcsServer
from retail_platform_tests.test_lake_on_s3 import (  # noqa: F401 - collected here once more
    TestGateToRaw,
    TestObjects,
)

GCS = ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_APPLICATION_CREDENTIALS")


@pytest.fixture(scope="module")
def gcs_server() -> Iterator[GcsServer]:
    server = GcsServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not azure_server.program():
        pytest.skip("no Azurite found (npm install --global azurite)")
    with azure_server.azurite(tmp_path_factory.mktemp("azurite")) as url:
        yield url


@pytest.fixture
def gcs(gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a new bucket."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", gcs_server.key)
    name = "bucket" + os.urandom(6).hex()  # the client quotes hyphens, and moto takes them so
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket(name, "us-east-1")
    return f"gs://{name}/lake"


@pytest.fixture
def azure(azurite: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a new container."""
    for name, value in {
        "AZURE_STORAGE_ACCOUNT_NAME": azure_server.ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": azure_server.KEY,
        "AZURE_STORAGE_USE_EMULATOR": "true",
        "AZURITE_BLOB_STORAGE_URL": azurite,
    }.items():
        monkeypatch.setenv(name, value)
    name = "container-" + os.urandom(6).hex()
    azure_server.create_container(azurite, name)
    return f"az://{name}/lake"


class DatedLake(Lake):
    """A lake whose objects were delivered when a test says: the store itself only knows now."""

    dates: dict[str, datetime]

    def list(self, prefix: str) -> Iterator[LakeObject]:
        yield from map(self._dated, super().list(prefix))

    def head(self, path: str) -> LakeObject | None:
        found = super().head(path)
        return self._dated(found) if found else None

    def _dated(self, found: LakeObject) -> LakeObject:
        return replace(found, modified=self.dates.get(found.path, found.modified))


class AzureDesk(Desk):
    def deliver(self, name: str, content: str | bytes, at: datetime | None = None) -> None:
        super().deliver(name, content, at)
        assert isinstance(self.lake, DatedLake)
        self.lake.dates[INBOX + name.replace("\\", "/")] = at or self.clock


@pytest.fixture(params=["gcs", "azure"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def on_both(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk over either store, for the tests collected here once more."""
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
    if url.startswith("gs:"):
        desk = test_lake_on_s3.S3Desk(Lake.open(url), warehouse)
        desk.bucket = url.split("/")[2]
        return desk
    # Azure takes a backslash for a slash: such a file arrives under the name that listings tell.
    names = tuple(name.replace("\\", " ") for name in test_lake_on_s3.NAMES)
    monkeypatch.setattr(test_lake_on_s3, "NAMES", names)
    lake = DatedLake.open(url)
    assert isinstance(lake, DatedLake)
    lake.dates = {}
    return AzureDesk(lake, warehouse)


@pytest.fixture
def lake(on_both: Desk) -> Lake:
    return on_both.lake


class TestStores:
    def test_an_object_is_created_once(self, lake: Lake) -> None:
        assert lake.put_new("cursors/a.json", b"first")
        assert not lake.put_new("cursors/a.json", b"second")
        assert lake.get("cursors/a.json") == b"first"

    def test_a_file_of_many_parts_arrives_whole(self, lake: Lake, tmp_path: Path) -> None:
        file = tmp_path / "large"
        content = os.urandom(1 << 20) * 12
        file.write_bytes(content)
        lake.put_file("data/large", file)
        assert lake.get("data/large") == content
        assert b"".join(lake.chunks("data/large")) == content

    def test_what_is_deleted_is_gone(self, lake: Lake) -> None:
        lake.put_many([("data/a", b"1"), ("data/b", b"2")])
        lake.delete_many(["data/a", "data/c"])
        assert [o.path for o in lake.list("data/")] == ["data/b"]

    def test_a_missing_bucket_is_named(self, url: str) -> None:
        elsewhere = re.sub("//(bucket|container-)", "//no", url)
        lake = Lake.open(elsewhere)
        for ask in (
            lambda: list(lake.list(INBOX)),
            lambda: lake.put("data/a", b""),
            lambda: lake.get("data/a"),
        ):
            with pytest.raises(ConfigurationError, match=f"{elsewhere}: there is no such") as told:
                ask()
            assert len(str(told.value)) < 200
            assert not classify(told.value).transient


def test_google_lists_a_thousand_keys_at_a_time(gcs: str) -> None:
    bucket = gcs.split("/")[2]
    for number in range(2_100):
        test_lake_on_s3.put_raw(bucket, f"lake/inbox/note {number:04}.txt")
    assert len({o.path for o in Lake.open(gcs).list(INBOX)}) == 2_100


def test_microsoft_lists_five_thousand_keys_at_a_time(azure: str) -> None:
    lake = Lake.open(azure)
    lake.put_many([(f"inbox/note {number:04}.txt", b"") for number in range(5_100)])
    assert len({o.path for o in lake.list(INBOX)}) == 5_100


def test_a_name_that_no_listing_can_get_around_is_told(gcs: str) -> None:
    test_lake_on_s3.put_raw(gcs.split("/")[2], "lake/inbox//transactions_FR_20250111.csv")
    with pytest.raises(ConfigurationError, match=r"cannot list it\. Rename .*inbox//transactions"):
        list(Lake.open(gcs).list(INBOX))


def test_azure_quotes_tags_of_single_objects_only() -> None:
    """Seen on Azurite; with versions that differ so, no file would ever be taken in."""
    from retail_platform.lake.store import _described

    at = datetime(2025, 1, 12, tzinfo=UTC)
    listed, looked_at = (
        _described({"path": "a", "size": 1, "last_modified": at, "e_tag": tag, "version": None})
        for tag in ("0x8DC", '"0x8DC"')
    )
    assert listed == looked_at


class TestCredentials:
    """Nothing is asked of anybody: what is given is refused before a request leaves."""

    @pytest.fixture(autouse=True)
    def _nothing_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [n for n in os.environ if n.startswith(("AZURE_", "GOOGLE_", "AWS_"))]:
            monkeypatch.delenv(name)

    @pytest.mark.parametrize(
        ("url", "given", "said"),
        [
            ("az://lake/retail", {}, "Expected AZURE_STORAGE_ACCOUNT_NAME .*Account must be"),
            (
                "abfss://lake@account.dfs.core.windows.net/retail",
                {"AZURE_STORAGE_ACCOUNT_KEY": "!"},
                "Expected AZURE_STORAGE_ACCOUNT_NAME .*Invalid Access Key",
            ),
            (
                "gs://lake/retail",
                {"GOOGLE_SERVICE_ACCOUNT": "/no/such.json"},
                "Expected GOOGLE_SERVICE_ACCOUNT .*from /no/such.json: No such file",
            ),
        ],
    )
    def test_what_is_wrong_with_them_is_said_in_a_line(
        self, monkeypatch: pytest.MonkeyPatch, url: str, given: dict[str, str], said: str
    ) -> None:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigurationError, match=said) as told:
            list(Lake.open(url).list(INBOX))
        assert str(told.value).startswith(f"{url}: no usable credentials.")
        assert "Debug" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "provider", "stage"),
    [
        ("s3://bucket/a/b", "S3", "s3://bucket/a/b/"),
        ("s3://bucket", "S3", "s3://bucket/"),
        ("gs://bucket/a/", "GCS", "gcs://bucket/a/"),
        (
            "abfss://lake@account.dfs.core.windows.net/a",
            "AZURE",
            "azure://account.blob.core.windows.net/lake/a/",
        ),
    ],
)
def test_a_stage_spells_the_same_place_in_its_own_way(url: str, provider: str, stage: str) -> None:
    assert (provider_of(url), stage_url(url)) == (provider, stage)


@pytest.mark.parametrize("url", ["file:///lake", "az://lake/a", "gs://", "s3://bucket/it's"])
def test_no_stage_lies_over_any_other_address(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected s3://bucket/prefix, gs://"):
        stage_url(url)


def test_a_file_goes_the_whole_way_under_an_address_that_names_the_account(
    azure: str, tmp_path: Path
) -> None:
    container = azure.split("/")[2]
    long = f"abfss://{container}@{azure_server.ACCOUNT}.dfs.core.windows.net/lake"
    desk = Desk(Lake.open(long), DuckDBWarehouse(tmp_path / "w.duckdb"), now=datetime.now(UTC))
    desk.deliver("transactions_FR_20250111.csv", csv_text("transactions", receipts(3)))
    assert desk.take_in().refused == {}
    assert desk.raw_counts("transactions") == {"FR": 3}
    assert {o.path for o in Lake.open(azure).list("data/")} == {
        o.path for o in desk.lake.list("data/")
    }
