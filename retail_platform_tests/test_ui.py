"""The platform as a person meets it: `retail dev`, sensors and automation, the UI in a browser.

One start serves all tests of this module; they build on each other in the order they stand.
"""

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from playwright.sync_api import Page, sync_playwright

from retail_platform.operate.instance import open_instance
from retail_platform.partitions import Partition
from retail_platform.settings import Environment, Settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.embedded("processes of its own, on a laptop's settings"),
    pytest.mark.timeout(1500),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (package chromium)"),
]

DAYS = 14
COMPLETE = "everything delivered is in the marts"
MARTS_OF_SALES = ("fct_sales", "rpt_daily_sales", "rpt_top_stores", "dim_date")


@dataclass
class Running:
    """A running platform."""

    settings: Settings
    url: str
    log: Path
    process: subprocess.Popen[bytes]
    seconds_to_complete: float


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = home / "terminal.log"
    settings = Settings(Environment.LOCAL, home, (home / "lake").as_uri())
    with log.open("w") as terminal:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "retail_platform.cli.app", "dev",
                "--port", str(port), "--days", str(DAYS), "--lines-per-day", "40",
            ],
            env={"PATH": "/usr/bin:/bin", "RETAIL_HOME": str(home), "HOME": str(home)},
            stdout=terminal,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        started = time.monotonic()
        try:
            _wait_for(lambda: COMPLETE in _flat(log), 1200, log)
            yield Running(
                settings, f"http://127.0.0.1:{port}", log, process, time.monotonic() - started
            )
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def page(running: Running) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def _flat(log: Path) -> str:
    return re.sub(r"\s+", " ", log.read_text())


def _wait_for(condition, seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s; the end of {log}:\n{log.read_text()[-3000:]}")
        time.sleep(0.5)


def test_sensors_and_automation_alone_bring_the_demo_into_the_marts(running: Running) -> None:
    with duckdb.connect(str(running.settings.published_path / "retail.duckdb")) as published:
        countries, days = published.execute(
            "select count(distinct country), count(distinct business_date) from marts.fct_sales"
        ).fetchone()
    assert (countries, days) == (7, DAYS)
    status = subprocess.run(
        [sys.executable, "-m", "retail_platform.cli.app", "status", "--json"],
        env={"PATH": "/usr/bin:/bin", "RETAIL_HOME": str(running.settings.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    refused = {r["code"] for r in json.loads(status.stdout)["refused_files"]}
    assert refused == {"truncated_gzip", "unknown_feed"}
    assert status.returncode == 1, "refused files are no all-clear"


def test_runs_start_from_a_process_that_has_imported_everything(running: Running) -> None:
    home = f"RETAIL_HOME={running.settings.home}"
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if home in (process / "environ").read_text().split("\0"):
                found.append((process / "cmdline").read_text())
    assert any("forkserver" in c and "retail_platform.definitions" in c for c in found)


def test_the_asset_graph_shows_the_one_way_road(page: Page, running: Running) -> None:
    page.goto(f"{running.url}/asset-groups")
    for group in ("inbox", "feeds", "raw", "staging", "intermediate", "marts"):
        page.get_by_text(group, exact=True).first.wait_for()


def test_a_partition_page_shows_its_rows(page: Page, running: Running) -> None:
    day = date.today() - timedelta(days=3)  # noqa: DTZ011
    page.goto(f"{running.url}/assets/marts/fct_sales?view=partitions&partition=FR%7C{day}")
    page.get_by_text("dagster/partition_row_count").first.wait_for()
    assert page.get_by_text(f"FR|{day}").first.is_visible()


def test_a_late_file_reruns_the_window_of_its_country_and_nothing_else(running: Running) -> None:
    day = date.today() - timedelta(days=4)  # noqa: DTZ011
    invoice = "INV-FR-021-99000001"
    name = f"transactions_FR_{day:%Y%m%d}_late.csv"
    header = (
        "Invoice ID,Line,Customer ID,Product ID,Size,Color,Unit Price,Quantity,Date,Discount,"
        "Line Total,Store ID,Employee ID,Currency,Currency Symbol,SKU,Transaction Type,"
        "Payment Method,Invoice Total"
    )
    row = (
        f"{invoice},1,47162,485,M,,80.5,2,{day} 15:42:00,0,161,21,7,EUR,€,MASU485-M-,Sale,Cash,161"
    )
    with open_instance(running.settings) as instance:
        before = _attempts(instance)
        sales_before = _net_sales(running, day)
        complete_before = _flat(running.log).count(COMPLETE)
        partial = running.settings.home / "lake" / "inbox" / f".{name}"
        partial.write_text(f"{header}\n{row}\n")
        partial.rename(partial.with_name(name))
        _wait_for(lambda: _net_sales(running, day) != sales_before, 480, running.log)
        _wait_for(lambda: _flat(running.log).count(COMPLETE) > complete_before, 180, running.log)
        after = _attempts(instance)
    window = {str(Partition("FR", day - timedelta(days=n))) for n in range(7)}
    for mart in MARTS_OF_SALES:
        key = dg.AssetKey(["marts", mart])
        new = {p for p, run in after[key].items() if before[key].get(p) != run}
        assert new == window, mart
        assert len({after[key][p] for p in new}) == 1, f"{mart} took more than one run"
    assert _net_sales(running, day) == sales_before + 161


def _attempts(instance: dg.DagsterInstance) -> dict[dg.AssetKey, dict[str, str]]:
    """Mart -> partition -> run that materialized it last."""
    found = {}
    for mart in MARTS_OF_SALES:
        key = dg.AssetKey(["marts", mart])
        ids = instance.event_log_storage.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, storage_ids=list(ids.values())), limit=10_000
        ).records
        found[key] = {str(r.partition_key): r.run_id for r in records}
    return found


def _net_sales(running: Running, day: date) -> float:
    with duckdb.connect(str(running.settings.published_path / "retail.duckdb")) as published:
        return published.execute(
            "select coalesce(sum(net_sales_local), 0) from marts.rpt_daily_sales "
            "where country = 'FR' and business_date = ? and channel = 'store'",
            [day],
        ).fetchone()[0]
