"""Failures that pass and failures that do not: classification, retried steps, circuit breakers."""

import logging
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import dagster as dg
import duckdb
import pytest
from obstore.exceptions import BaseError, GenericError
from obstore.store import S3Store

from retail_platform.assets.slices import ONLY_ARRIVALS, ONLY_ARRIVALS_TAG
from retail_platform.errors import (
    DependencyDown,
    FileRejected,
    LoadMismatch,
    SourceUnavailable,
    Transient,
    WarehouseBusy,
)
from retail_platform.lake.store import Lake
from retail_platform.partitions import RANGE_END_TAG, RANGE_START_TAG
from retail_platform.resilience import steps
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import (
    OBJECT_STORE,
    QUEUE,
    WAREHOUSE,
    Failure,
    classify,
)
from retail_platform.resources import LakeResource
from retail_platform.transform.dbt_project import DbtFailed
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform_tests.histories import COUNTRIES, Installation, faults, put, sales
from retail_platform_tests.webhook import Webhook

BUSY = WarehouseBusy("somebody writes")


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as exc:
        return exc


class TestClassification:
    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (BUSY, Failure(True, WAREHOUSE)),
            (raised(RuntimeError("while loading"), BUSY), Failure(True, WAREHOUSE)),
            (DbtFailed("IO Error: Could not set lock on file w.duckdb"), Failure(True, WAREHOUSE)),
            (DbtFailed("Binder Error: no such column"), Failure(False)),
            (LoadMismatch("counts"), Failure(False)),
            (FileRejected("empty_file", "nothing", "again"), Failure(False)),
            (raised(LoadMismatch("counts"), BUSY), Failure(False)),
            (Transient("later"), Failure(True)),
            (SourceUnavailable("no answer", "rates"), Failure(True, "source rates")),
            (SourceUnavailable("pulled by another process"), Failure(True)),
            (sqlite3.OperationalError("database is locked"), Failure(True)),
            (sqlite3.OperationalError("no such table"), Failure(False)),
            (ConnectionResetError("peer"), Failure(True)),
            (PermissionError("access to inbox/a.csv is denied"), Failure(False)),
            (ZeroDivisionError(), Failure(False)),
        ],
        ids=str,
    )
    def test_of_errors_made_here(self, error: Exception, expected: Failure) -> None:
        assert classify(error) == expected

    def test_of_errors_that_came_up_while_another_was_handled(self) -> None:
        def instead(**how: Any) -> Exception:
            try:
                raise BUSY
            except WarehouseBusy:
                try:
                    if how:
                        raise RuntimeError("said better") from how["cause"]
                    raise RuntimeError("while tidying up")
                except RuntimeError as error:
                    return error

        assert classify(instead()) == Failure(True, WAREHOUSE)
        assert classify(instead(cause=None)) == Failure(False), "who hid it knew why"

    @pytest.mark.parametrize(
        ("status", "transient"), [(503, True), (429, True), (403, False), (501, False)]
    )
    def test_of_what_an_object_store_answers(
        self,
        webhook: Webhook,
        status: int,
        transient: bool,
    ) -> None:
        webhook.status = status
        store = S3Store(
            "bucket", endpoint=f"http://127.0.0.1:{webhook.port}", region="us-east-1",
            access_key_id="k", secret_access_key="s", client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )  # fmt: skip
        with pytest.raises((BaseError, PermissionError)) as caught:
            Lake(store, "s3://bucket").put("inbox/a.csv", b"x")
        assert classify(caught.value) == Failure(transient, OBJECT_STORE)

    def test_of_an_object_store_that_does_not_answer(self) -> None:
        store = S3Store(
            "bucket", endpoint="http://127.0.0.1:9", region="us-east-1", access_key_id="k",
            secret_access_key="s", client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )  # fmt: skip
        with pytest.raises(GenericError) as caught:
            list(Lake(store, "s3://bucket").list("inbox/"))
        assert classify(caught.value) == Failure(True, OBJECT_STORE)

    def test_of_a_queue(self, s3_environment: None) -> None:
        config = botocore.config.Config(retries={"total_max_attempts": 1}, connect_timeout=1)
        away = boto3.client("sqs", endpoint_url="http://127.0.0.1:9", config=config)
        with pytest.raises(botocore.exceptions.EndpointConnectionError) as caught:
            away.list_queues()
        assert classify(caught.value) == Failure(True, QUEUE)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        with pytest.raises(botocore.exceptions.ClientError) as wrong:
            boto3.client("sqs").get_queue_url(QueueName="there-is-none")
        assert classify(wrong.value) == Failure(False, QUEUE)

    @pytest.mark.parametrize(("status", "transient"), [(500, True), (403, False)])
    def test_of_what_a_queue_answers(
        self, webhook: Webhook, s3_environment: None, status: int, transient: bool
    ) -> None:
        webhook.status = status
        config = botocore.config.Config(retries={"total_max_attempts": 1})
        here = boto3.client("sqs", endpoint_url=f"http://127.0.0.1:{webhook.port}", config=config)
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            here.list_queues()
        assert classify(caught.value) == Failure(transient, QUEUE)

    def test_of_a_warehouse_somebody_has_open(self, tmp_path: Path) -> None:
        path = tmp_path / "w.duckdb"
        duckdb.connect(str(path)).close()
        program = f"import duckdb; c = duckdb.connect({str(path)!r}); print(1, flush=True); input()"
        holder = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout
        assert holder.stdout.readline()
        try:
            with pytest.raises(WarehouseBusy) as caught:
                DuckDBWarehouse(path, patience_seconds=0.2).query("select 1")
            assert classify(caught.value) == Failure(True, WAREHOUSE)
            with pytest.raises(duckdb.IOException) as bare:
                duckdb.connect(str(path))
            assert classify(bare.value) == Failure(True, WAREHOUSE)
        finally:
            holder.kill()
            holder.communicate()


class TestBreakers:
    @pytest.fixture
    def breakers(self, tmp_path: Path) -> Breakers:
        return Breakers(tmp_path / "breakers", failures=2, retry_after=0.3)

    def fail(self, breakers: Breakers, error: Exception = BUSY) -> None:
        with pytest.raises(type(error)), breakers.guard(WAREHOUSE):
            raise error

    def test_it_opens_after_failures_in_a_row_for_all_processes(
        self, breakers: Breakers, tmp_path: Path
    ) -> None:
        self.fail(breakers)
        with breakers.guard(WAREHOUSE):
            pass
        self.fail(breakers)
        assert breakers.refusal([WAREHOUSE]) is None, "not in a row"
        self.fail(breakers)
        elsewhere = Breakers(tmp_path / "breakers", failures=2, retry_after=0.3)
        refusal = elsewhere.refusal([OBJECT_STORE, WAREHOUSE])
        assert refusal
        assert refusal.startswith("The warehouse failed 2 times in a row (WarehouseBusy)")
        with pytest.raises(DependencyDown, match="tried again after"), elsewhere.guard(WAREHOUSE):
            raise AssertionError("it was called")
        with elsewhere.guard(OBJECT_STORE):
            pass

    def test_one_call_is_let_through_later_and_decides(self, breakers: Breakers) -> None:
        for _ in range(2):
            self.fail(breakers)
        time.sleep(0.35)
        assert breakers.refusal([WAREHOUSE]) is None
        self.fail(breakers)  # the probe
        assert breakers.refusal([WAREHOUSE])
        time.sleep(0.35)
        with breakers.guard(WAREHOUSE):
            pass
        (state,) = breakers.states()
        assert (state.open, state.failures) == (False, 0)
        self.fail(breakers)
        assert breakers.refusal([WAREHOUSE]) is None, "it counts anew"

    def test_errors_that_are_not_the_dependencys_say_nothing_about_it(
        self, breakers: Breakers
    ) -> None:
        self.fail(breakers)
        for error in (LoadMismatch("x"), Transient("y"), ZeroDivisionError()):
            self.fail(breakers, error)
        (state,) = breakers.states()
        assert (state.failures, state.open) == (1, False)

    def test_a_state_that_cannot_be_read_is_a_new_beginning(
        self, breakers: Breakers, tmp_path: Path
    ) -> None:
        for _ in range(2):
            self.fail(breakers)
        (tmp_path / "breakers" / "warehouse.json").write_text("{")
        assert breakers.refusal([WAREHOUSE]) is None
        with breakers.guard(WAREHOUSE):
            pass

    def test_failures_at_the_same_moment_all_count(self, tmp_path: Path) -> None:
        breakers = Breakers(tmp_path / "breakers", failures=1000)

        def fail_often(_: int) -> None:
            for _ in range(10):
                self.fail(breakers)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fail_often, range(8)))
        assert breakers.states()[0].failures == 80

    def test_what_never_failed_leaves_no_file(self, breakers: Breakers, tmp_path: Path) -> None:
        with breakers.guard(WAREHOUSE):
            pass
        assert breakers.states() == []
        assert not (tmp_path / "breakers").exists()


class TestSteps:
    """Real runs over a real platform; only the waiting is shorter."""

    @pytest.fixture
    def installation(
        self, tmp_path: Path, dbt_work_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Installation]:
        monkeypatch.setattr(steps, "STEP_RETRIES", dg.RetryPolicy(max_retries=2, delay=0.01))
        with Installation.new(tmp_path / "home", dbt_work_dir) as installation:
            for country in COUNTRIES:
                put(installation.lake, sales(country, 10, [(10, 1, 2), (9, 2, 1)], 1))
            yield installation

    def run(self, installation: Installation) -> Any:
        """A range run as the inbox sensor requests it for a backlog."""
        platform = installation.platform
        plan = platform.desk.look(installation.lake)
        (request,) = platform.desk.range_requests(plan.arrivals)
        assert request.tags[ONLY_ARRIVALS_TAG] == ONLY_ARRIVALS
        return platform.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=installation.instance,
            asset_selection=request.asset_selection,
            tags=request.tags,
            raise_on_error=False,
        )

    @pytest.mark.parametrize("point", ["load committed", "batch-day events"])
    def test_a_repeated_step_skips_nothing_that_its_first_attempt_loaded(
        self, installation: Installation, point: str
    ) -> None:
        """The rows are in RAW, so they are no news; but nobody was told."""
        struck = []

        def once() -> None:
            if not struck:
                struck.append(point)
                raise WarehouseBusy("lost for a moment")

        with faults(point, 0, once):
            result = self.run(installation)
        assert struck
        assert result.success
        retries = [
            e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_RESTARTED
        ]
        assert len(retries) == 1
        for asset in ("feeds/transactions", "raw/transactions", "staging/stg_transactions"):
            built = installation.instance.get_materialized_partitions(dg.AssetKey(asset.split("/")))
            assert built == {"CN|2025-01-10", "FR|2025-01-10"}, asset
        (count,) = duckdb.connect(str(installation.warehouse), read_only=True).execute(
            "select count(*) from raw.transactions"
        ).fetchone() or (0,)
        assert count == 4

    def test_bad_data_and_bugs_fail_at_once(self, installation: Installation) -> None:
        attempts = []

        def wrong() -> None:
            attempts.append(1)
            raise LoadMismatch("counts")

        with faults("load commit", 0, wrong):
            assert not self.run(installation).success
        assert len(attempts) == 1

    def test_what_keeps_failing_fails_the_run_and_opens_the_circuit(
        self, installation: Installation
    ) -> None:
        attempts = []

        def busy() -> None:
            attempts.append(1)
            raise BUSY

        with faults("load commit", 0, busy):
            assert not self.run(installation).success
            assert len(attempts) == 3
            breakers = Breakers(installation.platform.settings.breakers_path)
            assert breakers.refusal([WAREHOUSE]) is None
            assert not self.retry(installation).success
        assert len(attempts) == 5, "the circuit opened with the fifth failure"
        assert breakers.refusal([WAREHOUSE])
        failed = self.retry(installation)
        (error,) = [
            e.step_failure_data.error.cause.message for e in failed.all_events if e.is_step_failure
        ]
        assert "The warehouse failed 5 times in a row (WarehouseBusy)" in error
        assert len(attempts) == 5, "nothing was called"
        skipped = {
            name: self.tick(installation, name)
            for name in ("inbox_sensor", "range_automation_sensor")
        }
        assert all("The warehouse failed" in reason for reason in skipped.values()), skipped

    def retry(self, installation: Installation) -> Any:
        """The same files, taken in already, once more."""
        job = installation.platform.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=installation.instance,
            asset_selection=[dg.AssetKey(["raw", "transactions"])],
            tags={RANGE_START_TAG: "CN|2025-01-10", RANGE_END_TAG: "FR|2025-01-10"},
            raise_on_error=False,
        )

    def tick(self, installation: Installation, name: str) -> str:
        repository = installation.platform.definitions.get_repository_def()
        context = dg.build_sensor_context(
            installation.instance,
            repository_def=repository,
            resources={"lake": LakeResource(url=installation.platform.settings.lake_url)},
        )
        tick = repository.get_sensor_def(name).evaluate_tick(context)
        assert not tick.run_requests
        return tick.skip_message or ""


def test_an_open_circuit_says_until_when(tmp_path: Path) -> None:
    breakers = Breakers(tmp_path, failures=1, retry_after=3600)
    with pytest.raises(WarehouseBusy), breakers.guard(WAREHOUSE):
        raise BUSY
    (state,) = breakers.states()
    assert state.retry_at
    assert abs(state.retry_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    assert f"{state.retry_at:%H:%M:%S} UTC" in str(state)
    assert state.as_json()["state"] == "open"
