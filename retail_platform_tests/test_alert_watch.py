"""From an installation to alerts: real runs, checks, freshness, ticks and files are looked at.

What is told, and to whom, is the business of test_alerts.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.remote_origin import RemoteInstigatorOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.test_utils import freeze_time
from dagster._daemon.freshness import FreshnessDaemon
from dagster._daemon.types import DaemonHeartbeat
from dagster._utils.error import SerializableErrorInfo

from retail_platform.alerts.alert import Alert, Kind, Severity
from retail_platform.alerts.budgets import BudgetUse
from retail_platform.alerts.outbox import Outbox
from retail_platform.alerts.router import AlertRouter
from retail_platform.alerts.watch import SILENT_AFTER, Memory, Observation, Watch
from retail_platform.definitions import Platform
from retail_platform.errors import WarehouseBusy
from retail_platform.lake.store import INBOX, Lake
from retail_platform.operate.instance import dagster_environment, open_instance
from retail_platform.partitions import RANGE_END_TAG, RANGE_START_TAG
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import WAREHOUSE
from retail_platform.resources import LakeResource
from retail_platform_tests.histories import broken, put, sales, small_platform
from retail_platform_tests.test_automation import Location, Record
from retail_platform_tests.webhook import Webhook

UI = "http://ui"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path) -> Platform:
    return small_platform(tmp_path_factory.mktemp("home"), dbt_work_dir)


@dataclass
class Scene:
    """An installation and somebody who looks at it again and again."""

    platform: Platform
    watch: Watch
    memory: Memory = field(default_factory=Memory)

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.watch.instance

    def look(self, at: datetime | None = None) -> Observation:
        observation = self.watch.look(self.memory, at or datetime.now(UTC))
        self.memory = observation.memory
        return observation

    def seen(self, kind: Kind, at: datetime | None = None) -> list[Alert]:
        observation = self.look(at)
        assert observation.seen[Kind.BLIND] == []
        return list(observation.seen[kind])

    def run(self, assets: list[str], start: str, end: str) -> dg.DagsterRun:
        return Record(self.platform, self.instance).started(assets, start, end)

    def failed(self, run: dg.DagsterRun, retries: int = 0) -> None:
        """A run whose process died; Dagster repeats it as often as its tag says."""
        self.instance.add_run_tags(run.run_id, {"dagster/max_retries": str(retries)})
        self.instance.report_run_failed(run)

    def succeeded(self, run: dg.DagsterRun) -> None:
        Record(self.platform, self.instance).ended(run)


@pytest.fixture
def scene(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    for name, value in dagster_environment(platform.settings).items():
        monkeypatch.setenv(name, value)
    shutil.rmtree(platform.settings.dagster_home, ignore_errors=True)
    with open_instance(platform.settings) as instance:
        yield Scene(
            platform,
            Watch(
                instance=instance,
                graph=platform.definitions.resolve_asset_graph(),
                lake=Lake.open((tmp_path / "lake").as_uri()),
                breakers=Breakers(tmp_path / "breakers", failures=1),
                country_order=platform.registry.codes,
                ui_url=UI,
            ),
        )


SALES, FACT = "intermediate/int_sales", "marts/fct_sales"


class TestRuns:
    def test_a_failure_is_open_until_its_assets_were_built(self, scene: Scene) -> None:
        run = scene.run([SALES, FACT], "CN|2025-01-04", "FR|2025-01-10")
        assert scene.seen(Kind.FAILED_RUN) == []
        scene.failed(run)
        (alert,) = scene.seen(Kind.FAILED_RUN)
        assert alert.link == f"{UI}/runs/{run.run_id}"
        assert "intermediate/int_sales, marts/fct_sales for CN, FR, 2025-01-04 to" in alert.what
        assert scene.seen(Kind.FAILED_RUN) == [alert], "it is not forgotten"
        scene.succeeded(scene.run([SALES], "FR|2025-01-09", "FR|2025-01-12"))
        (rest,) = scene.seen(Kind.FAILED_RUN)
        assert rest.key == alert.key
        assert SALES not in rest.what
        scene.succeeded(scene.run([SALES, FACT], "FR|2025-01-11", "FR|2025-01-12"))
        assert len(scene.seen(Kind.FAILED_RUN)) == 1, "other days"
        scene.succeeded(scene.run([FACT], "CN|2025-01-04", "FR|2025-01-10"))
        assert scene.seen(Kind.FAILED_RUN) == []

    def test_the_same_request_failing_again_is_the_same_trouble(self, scene: Scene) -> None:
        for _ in range(2):
            scene.failed(scene.run([FACT], "FR|2025-01-04", "FR|2025-01-10"))
        first, second = scene.instance.get_runs()
        (alert,) = scene.seen(Kind.FAILED_RUN)
        assert alert.occasion in (first.run_id, second.run_id)

    def test_what_dagster_repeats_by_itself_is_not_told_yet(self, scene: Scene) -> None:
        run = scene.run([FACT], "FR|2025-01-04", "FR|2025-01-10")
        scene.failed(run, retries=1)
        assert scene.seen(Kind.FAILED_RUN) == []

    def test_errors_are_told_by_class_because_they_may_quote_rows(self, scene: Scene) -> None:
        @dg.asset
        def leaking() -> None:
            raise ValueError("cannot read 'zoe@example.com'")

        dg.materialize([leaking], instance=scene.instance, raise_on_error=False)
        (alert,) = scene.seen(Kind.FAILED_RUN)
        assert "(ValueError)" in alert.what
        assert "zoe" not in alert.model_dump_json()
        assert alert.key in scene.memory.failed

    def test_a_backfill_is_marked(self, scene: Scene) -> None:
        keys = frozenset({dg.AssetKey(FACT.split("/"))})
        job = scene.platform.definitions.resolve_implicit_global_asset_job_def()
        run = scene.instance.create_run_for_job(
            job.get_subset(asset_selection=keys),
            tags={
                RANGE_START_TAG: "FR|2025-01-04", RANGE_END_TAG: "FR|2025-01-04",
                "retail_platform/trigger": "backfill",
            },
            asset_selection=keys,
            status=dg.DagsterRunStatus.STARTED,
        )  # fmt: skip
        scene.failed(run)
        (alert,) = scene.seen(Kind.FAILED_RUN)
        assert alert.bulk
        assert alert.country == "FR"


class TestChecks:
    def evaluated(self, scene: Scene, asset: str, check: str, passed: bool, **facts: Any) -> None:
        scene.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(asset.split("/")), check_name=check, passed=passed,
                severity=facts.pop("severity", dg.AssetCheckSeverity.ERROR), metadata=facts,
            )
        )  # fmt: skip

    def some_check(self, scene: Scene) -> tuple[str, str]:
        keys = sorted(scene.watch.graph.asset_check_keys, key=str)
        key = next(k for k in keys if k.asset_key.path[0] == "marts")
        return key.asset_key.to_user_string(), key.name

    def test_the_newest_result_counts(self, scene: Scene) -> None:
        asset, check = self.some_check(scene)
        assert scene.seen(Kind.FAILED_CHECK) == []
        self.evaluated(scene, asset, check, False, failing_rows=3, slices="FR 2025-01-04")
        (alert,) = scene.seen(Kind.FAILED_CHECK)
        assert alert.what == f"Check {check} on {asset} failed: 3 rows in FR 2025-01-04."
        assert alert.severity is Severity.ERROR
        self.evaluated(scene, asset, check, False, severity=dg.AssetCheckSeverity.WARN)
        (warned,) = scene.seen(Kind.FAILED_CHECK)
        assert (warned.key, warned.severity) == (alert.key, Severity.INFO)
        self.evaluated(scene, asset, check, True)
        assert scene.seen(Kind.FAILED_CHECK) == []

    def test_missing_and_late_deliveries_are_told_one_by_one(self, scene: Scene) -> None:
        def record(partition: str, delivered: str) -> dg.TableRecord:
            due = "2026-03-12 05:00 UTC"
            return dg.TableRecord({"partition": partition, "due": due, "delivered": delivered})

        table = dg.MetadataValue.table(
            [record("FR|2026-03-11", "missing"), record("CN|2026-03-11", "2026-03-12 09:00 UTC")]
        )
        self.evaluated(
            scene, "feeds/transactions", "delivered_in_time", False, missing=1, deliveries=table
        )
        observation = scene.look()
        missing, late = observation.seen[Kind.DELIVERY]
        assert missing.country == "FR"
        assert missing.severity is Severity.ERROR
        assert "transactions of FR for 2026-03-11 has not come" in missing.what
        assert (late.country, late.severity) == ("CN", Severity.INFO)
        assert observation.seen[Kind.FAILED_CHECK] == [], "it is not told twice"

    def test_rows_beyond_the_lookback(self, scene: Scene) -> None:
        self.evaluated(
            scene, "raw/transactions", "arrives_within_lookback", False,
            severity=dg.AssetCheckSeverity.WARN, business_days_touched=4,
        )  # fmt: skip
        (alert,) = scene.seen(Kind.LATE_ROWS)
        assert "4 business days" in alert.what
        assert alert.every_occasion


class TestFilesAndDependencies:
    def test_a_refused_file_is_open_as_long_as_it_lies_there(self, scene: Scene) -> None:
        put(scene.watch.lake, broken("store_sales_FR_20250101.csv", 1))
        scene.platform.desk.look(scene.watch.lake)
        (alert,) = scene.seen(Kind.REFUSED_FILE)
        assert "store_sales_FR_20250101.csv was refused: unknown_feed" in alert.what
        put(scene.watch.lake, broken("store_sales_FR_20250101.csv", 2))
        assert scene.seen(Kind.REFUSED_FILE) == [], "nobody has judged what replaced it"
        scene.platform.desk.look(scene.watch.lake)
        (newer,) = scene.seen(Kind.REFUSED_FILE)
        assert (newer.key, newer.occasion == alert.occasion) == (alert.key, False)
        scene.watch.lake.delete_many([f"{INBOX}store_sales_FR_20250101.csv"])
        assert scene.seen(Kind.REFUSED_FILE) == []

    def test_an_open_circuit(self, scene: Scene) -> None:
        with pytest.raises(WarehouseBusy), scene.watch.breakers.guard(WAREHOUSE):
            raise WarehouseBusy("held")
        (alert,) = scene.seen(Kind.DEPENDENCY)
        assert "The warehouse failed 1 times in a row (WarehouseBusy)" in alert.what

    def test_what_cannot_be_looked_at_is_a_blind_spot(self, scene: Scene) -> None:
        path = scene.watch.lake.local_root
        assert path
        (path / "rejected").mkdir()
        (path / "rejected" / "x.json").write_text("{")
        observation = scene.look()
        (blind,) = observation.seen[Kind.BLIND]
        assert "refused_file could not be looked for (ValidationError)" in blind.what
        assert Kind.REFUSED_FILE not in observation.seen
        assert Kind.FAILED_RUN in observation.seen, "the others are looked at"


class TestBudgets:
    def test_each_level_is_told_once_and_the_bill_is_read_every_six_hours(
        self, scene: Scene, tmp_path: Path
    ) -> None:
        asked: list[date] = []
        used = 2.9

        def budgets(today: date) -> list[BudgetUse]:
            asked.append(today)
            return [BudgetUse("day", "2025-01-11", used, 4.0)]

        scene.watch = replace(scene.watch, budgets=budgets)
        outbox = Outbox(tmp_path / "alerts")
        told = []
        for hours, used in ((0, 2.9), (6, 3.0), (12, 3.5), (13, 4.5), (18, 4.5), (24, 4.5)):  # noqa: B007
            at = NOW + timedelta(hours=hours)
            seen = {Kind.BUDGET: scene.look(at).seen[Kind.BUDGET]}
            told += [(hours, n.alert.severity) for n in outbox.record(seen, lambda _: [], at)]
        assert told == [(6, Severity.INFO), (18, Severity.ERROR)]
        assert len(asked) == 5
        (trouble,) = outbox.troubles()
        assert "4.50 of 4 credits of the day 2025-01-11 are used: 100 % is pa" in trouble.alert.what

    def test_a_bill_that_cannot_be_read_is_a_blind_spot_until_it_can(self, scene: Scene) -> None:
        def refused(today: date) -> list[BudgetUse]:
            raise WarehouseBusy("does not answer")

        scene.watch = replace(scene.watch, budgets=refused)
        for hours in (0, 1):
            observation = scene.look(NOW + timedelta(hours=hours))
            assert Kind.BUDGET not in observation.seen
            (blind,) = observation.seen[Kind.BLIND]
            assert "budget could not be looked for (WarehouseBusy)" in blind.what
        scene.watch = replace(scene.watch, budgets=lambda today: [])
        observation = scene.look(NOW + timedelta(hours=6))
        assert observation.seen[Kind.BUDGET] == ()
        assert observation.seen[Kind.BLIND] == []

    @pytest.mark.parametrize(
        ("credits", "level"),
        [(0, 0), (2.99, 0), (3, 75), (3.59, 75), (3.6, 90), (4, 100)],
    )
    def test_levels(self, credits: float, level: int) -> None:
        assert BudgetUse("day", "2025-01-11", credits, 4.0).level == level


class TestFreshness:
    def test_a_stale_asset_until_it_is_fresh(self, scene: Scene) -> None:
        record = Record(scene.platform, scene.instance)

        def daemon(at: datetime) -> None:
            with freeze_time(at):
                list(FreshnessDaemon().run_iteration(Location(record)))

        with freeze_time(NOW - timedelta(days=3)):
            record.built(FACT, "FR|2025-01-04")
        daemon(NOW)
        stale = {a.key for a in scene.seen(Kind.STALE_ASSET)}
        assert stale == {f"stale_asset:{FACT}"}
        record.built(FACT, "FR|2025-01-04")
        daemon(datetime.now(UTC) + timedelta(seconds=1))
        assert scene.seen(Kind.STALE_ASSET) == []


class TestAutomation:
    def test_a_daemon_that_falls_silent(self, scene: Scene) -> None:
        (required, *_) = scene.instance.get_required_daemon_types()
        beat = DaemonHeartbeat((NOW - timedelta(hours=1)).timestamp(), required, "id", [])
        scene.instance.add_daemon_heartbeat(beat)
        assert Kind.DAEMON not in scene.look(NOW).seen, "it may be starting"
        seen: list[Alert] = []
        for minute in range(1, 7):
            seen = list(scene.look(NOW + timedelta(minutes=minute)).seen.get(Kind.DAEMON, []))
        assert [a.key for a in seen] == [f"daemon:{required}"]
        fresh = DaemonHeartbeat((NOW + timedelta(minutes=6)).timestamp(), required, "id", [])
        scene.instance.add_daemon_heartbeat(fresh)
        assert scene.seen(Kind.DAEMON, NOW + timedelta(minutes=7)) == []
        foreground = replace(scene, watch=replace(scene.watch, unattended=False))
        assert Kind.DAEMON not in foreground.look(NOW + timedelta(days=1)).seen

    def test_a_sensor_that_fails_again_and_again_or_is_not_evaluated(self, scene: Scene) -> None:
        state = sensor_state("inbox_sensor")
        scene.instance.add_instigator_state(state)

        def tick(status: TickStatus, at: datetime) -> None:
            error = SerializableErrorInfo("no zoe@example.com", [], "KeyError")
            scene.instance.create_tick(
                TickData(
                    instigator_origin_id=state.instigator_origin_id,
                    instigator_name="inbox_sensor",
                    instigator_type=InstigatorType.SENSOR,
                    status=status,
                    timestamp=at.timestamp(),
                    selector_id=state.selector_id,
                    run_ids=[],
                    error=error if status is TickStatus.FAILURE else None,
                )
            )

        tick(TickStatus.SUCCESS, NOW)
        tick(TickStatus.FAILURE, NOW + timedelta(seconds=3))
        assert scene.seen(Kind.SENSOR, NOW) == [], "once may be a restart"
        tick(TickStatus.FAILURE, NOW + timedelta(seconds=6))
        (alert,) = scene.seen(Kind.SENSOR, NOW)
        assert alert.what == "inbox_sensor failed 2 times in a row (KeyError)."
        tick(TickStatus.SKIPPED, NOW + timedelta(seconds=9))
        assert scene.seen(Kind.SENSOR, NOW + timedelta(minutes=1)) == []
        for minute in range(2, 8):
            found = scene.seen(Kind.SENSOR, NOW + timedelta(minutes=minute))
        (alert,) = found
        assert "inbox_sensor is on, but was last evaluated" in alert.what


def sensor_state(name: str) -> InstigatorState:
    """A sensor as the daemon notes it when it is switched on."""
    from dagster._core.remote_origin import (
        RegisteredCodeLocationOrigin,
        RemoteRepositoryOrigin,
    )

    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "__repository__")
    return InstigatorState(
        RemoteInstigatorOrigin(repository, name),
        InstigatorType.SENSOR,
        InstigatorStatus.RUNNING,
        SensorInstigatorData(min_interval=3, sensor_type=SensorType.STANDARD),
    )


class TestTheSensor:
    def test_it_tells_and_keeps_the_books_over_ticks(
        self,
        tmp_path: Path,
        dbt_work_dir: Path,
        webhook: Webhook,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Through the definitions that Dagster loads."""
        routes = tmp_path / "alerts.yaml"
        routes.write_text(
            f"channels: {{ops: 'json://127.0.0.1:{webhook.port}/'}}\n"
            "routes: [{severity: [error], to: [ops]}]"
        )
        home = tmp_path / "home"
        home.mkdir()
        platform = small_platform(
            home, dbt_work_dir, lambda s: replace(s, alerts_file=routes, ui_url=UI)
        )
        lake = Lake.open(platform.settings.lake_url)
        put(lake, broken("store_sales_FR_20250101.csv", 1))
        put(lake, sales("FR", 10, [(10, 1, 1)], 1))
        platform.desk.look(lake)
        repository = platform.definitions.get_repository_def()
        sensor = repository.get_sensor_def("alert_sensor")
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        for name, value in dagster_environment(platform.settings).items():
            monkeypatch.setenv(name, value)
        with open_instance(platform.settings) as instance:

            def tick() -> str:
                context = dg.build_sensor_context(
                    instance,
                    repository_def=repository,
                    resources={"lake": LakeResource(url=platform.settings.lake_url)},
                )
                return sensor.evaluate_tick(context).skip_message or ""

            assert tick() == "1 new, 2 told, 0 waiting for their channel."
            assert tick() == "0 new, 0 told, 0 waiting for their channel."
            lake.delete_many([f"{INBOX}store_sales_FR_20250101.csv"])
            assert tick() == "1 new, 2 told, 0 waiting for their channel."
        titles = [body["title"] for _, body in webhook.got]
        what = "File store_sales_FR_20250101.csv was refused: unknown_feed."
        assert titles == [f"[error] {what}", f"[over] {what}"]
        router = AlertRouter(platform.settings.alerts_path, routes)
        looked = router.last_look()
        assert looked
        assert datetime.now(UTC) - looked < SILENT_AFTER
