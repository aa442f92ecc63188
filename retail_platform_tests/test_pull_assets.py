"""Pulled sources in Dagster and on the command line, from schedule to the final table."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from filelock import FileLock

from retail_platform.assets.specs import feed_key, inbox_key, source_key
from retail_platform.definitions import Platform, build_platform
from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import INBOX, Lake
from retail_platform.operate.instance import open_instance
from retail_platform.operate.pulling import pull_now, source_named
from retail_platform.resilience.breaker import FAILURES, Breakers
from retail_platform.resilience.failures import pulled_source
from retail_platform.settings import Settings
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform_tests.services import Service, Trouble, serving
from retail_platform_tests.test_cli import retail as command

SECRET = "s3cr3t-of-the-rates"
TODAY = datetime.now(UTC).date()
KEY = source_key("rates")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Rates of the last two days, for whoever knows the token."""
    monkeypatch.setenv("RATES_TOKEN", SECRET)
    with serving(Service(authorized=lambda h: h.get("Authorization") == f"Bearer {SECRET}")) as s:
        for day, currency in [(TODAY - timedelta(days=1), "CHF"), (TODAY, "CHF"), (TODAY, "SEK")]:
            s.records.append({"rate_date": str(day), "currency": currency, "rate": 0.93})
        yield s


@pytest.fixture
def pulling(settings: Settings, service: Service, tmp_path: Path, dbt_work_dir: Path) -> Settings:
    """Settings with a source of exchange rates."""
    settings.home.mkdir()
    (settings.home / "dbt").symlink_to(dbt_work_dir)  # parsed once for all tests
    source = {
        "name": "rates",
        "kind": "rest",
        "feed": "fx_rates",
        "url": service.url,
        "params": {"day": "{day}"},
        "records": "orders",
        "auth": {"kind": "bearer", "token": "${RATES_TOKEN}"},
        "attempts": 2,
        "backoff_seconds": 0.01,
    }
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"sources": [source]}))
    return replace(settings, sources_file=path)


@pytest.fixture
def platform(pulling: Settings) -> Platform:
    return build_platform(pulling)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as created:
        yield created


def everything_written(instance: dg.DagsterInstance) -> str:
    return "\n".join(
        str(entry) for run in instance.get_runs() for entry in instance.all_logs(run.run_id)
    )


def test_lineage_and_schedule(platform: Platform) -> None:
    graph = platform.definitions.resolve_asset_graph()
    assert graph.get(inbox_key("fx_rates")).parent_keys == {KEY}
    assert graph.get(feed_key("fx_rates")).parent_keys == {inbox_key("fx_rates")}
    assert graph.get(KEY).partitions_def == graph.get(feed_key("fx_rates")).partitions_def
    assert graph.get(KEY).group_name == "sources"
    schedule = platform.definitions.resolve_schedule_def("pull_rates_schedule")
    assert (schedule.cron_schedule, schedule.default_status.value) == ("5 * * * *", "RUNNING")


def test_nothing_is_pulled_by_default(pulling: Settings) -> None:
    by_default = replace(pulling, sources_file=None)
    graph = build_platform(by_default).definitions.resolve_asset_graph()
    assert not [key for key in graph.get_all_asset_keys() if key.path[0] == "sources"]


def test_the_schedule_asks_for_news(
    platform: Platform, service: Service, instance: dg.DagsterInstance
) -> None:
    job = platform.definitions.resolve_job_def("pull_rates")
    for expected in (1, 1):  # the second time there is nothing new
        assert job.execute_in_process(instance=instance).success
        found = instance.fetch_materializations(KEY, limit=5).records
        assert len(found) == expected
    made = found[0].asset_materialization
    assert made
    assert made.partition == f"ALL|{TODAY}"
    values = {name: value.value for name, value in made.metadata.items()}
    assert (values["rows"], values["requests"], values["pages"]) == (2, 1, 1)
    assert values["cursor_before"] == "none"
    assert values["cursor_after"].startswith(str(TODAY))
    assert values["bytes_received"] > 100
    assert SECRET not in everything_written(instance)


def test_what_is_not_available_is_tried_again(
    platform: Platform,
    service: Service,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("retail_platform.assets.pulled._SECONDS_BETWEEN_TRIES", 0)
    service.trouble = [Trouble(status=503)] * 2
    job = platform.definitions.resolve_job_def("pull_rates")
    assert job.execute_in_process(instance=instance).success
    assert len(service.asked) == 3
    service.trouble = [Trouble(status=404, body=f'"{SECRET}"'.encode())]
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    assert len(service.asked) == 4, "what is wrong for good is asked once"
    written = everything_written(instance)
    assert "answered 404" in written
    assert SECRET not in written


def test_a_source_that_keeps_not_answering_is_left_alone_for_a_while(
    pulling: Settings,
    service: Service,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seven countries would wait for it one after the other, and the next run again."""
    assert pulling.sources_file
    (source,) = yaml.safe_load(pulling.sources_file.read_text())["sources"]
    shops = {**source, "name": "shops", "feed": "transactions", "path": "{country}", "attempts": 1}
    pulling.sources_file.write_text(yaml.safe_dump({"sources": [source, shops]}))
    platform = build_platform(pulling)
    breakers = Breakers(pulling.breakers_path)
    monkeypatch.setattr("retail_platform.assets.pulled._SECONDS_BETWEEN_TRIES", 0)
    refused = f"The source shops failed {FAILURES} times in a row (SourceUnavailable)"

    def pull() -> Any:
        return pull_now(platform, instance, source_named(platform, "shops"), ())

    service.trouble = [Trouble(status=503)] * 99
    error = pull().error
    assert len(service.asked) == FAILURES, "the others were not asked for"
    assert error.count("answered 503") == FAILURES
    assert error.count(refused) == len(platform.registry.codes) - FAILURES
    result = platform.definitions.resolve_job_def("pull_shops").execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert not result.success
    assert not any(e.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY for e in result.all_events)
    tick = platform.definitions.resolve_schedule_def("pull_shops_schedule").evaluate_tick(
        dg.build_schedule_context(instance)
    )
    assert refused in (tick.skip_message or "")
    assert len(service.asked) == FAILURES
    (state,) = breakers.states()
    assert (state.name, state.open) == ("source shops", True)
    assert breakers.refusal([pulled_source("rates")]) is None

    a_minute_passes(pulling)
    assert breakers.refusal([pulled_source("shops")]) is None
    assert (
        pull().error.count(refused[: refused.index("failed")]) == len(platform.registry.codes) - 1
    )
    assert len(service.asked) == FAILURES + 1, "one call is let through and decides for all"

    a_minute_passes(pulling)
    service.trouble = []
    assert pull().error == ""
    assert len(service.asked) == FAILURES + 1 + len(platform.registry.codes)
    (state,) = breakers.states()
    assert (state.open, state.failures) == (False, 0)
    service.trouble = [Trouble(status=404)] * 99
    assert "answered 404" in pull().error
    assert not breakers.states()[0].open, "what it refuses for good it answers"


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_ends(
    pulling: Settings, service: Service, exported: None, by: signal.Signals
) -> None:
    """CN and FR are no neighbours in the registry, so their window is pulled in two runs."""
    assert pulling.sources_file
    (source,) = yaml.safe_load(pulling.sources_file.read_text())["sources"]
    shops = {**source, "name": "shops", "feed": "transactions", "countries": ["CN", "FR"]}
    pulling.sources_file.write_text(yaml.safe_dump({"sources": [shops]}))
    service.on_request = lambda: os.kill(os.getpid(), by)
    day = str(TODAY)
    # Only so that a command that does not catch it fails this test instead of ending all tests.
    before = signal.signal(by, signal.default_int_handler)
    try:
        said = command("pull", "run", "shops", "--from", day, "--to", day)
    finally:
        signal.signal(by, before)
    assert said.code not in (0, 2)
    assert said.out == ""
    assert len(service.asked) == 1, "it went on"
    with open_instance(pulling) as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    service.on_request = lambda: None
    assert command("pull", "run", "shops", "--from", day, "--to", day).code == 0
    assert len(service.asked) == 3


def a_minute_passes(settings: Settings) -> None:
    """For circuits that are open: they opened a minute earlier than they did."""
    for file in settings.breakers_path.glob("*.json"):
        state = json.loads(file.read_text())
        earlier = datetime.fromisoformat(state["opened_at"]) - timedelta(minutes=1)
        file.write_text(json.dumps({**state, "opened_at": earlier.isoformat()}))


def test_not_twice_at_once(
    platform: Platform, pulling: Settings, instance: dg.DagsterInstance
) -> None:
    (pulling.home / "locks").mkdir(parents=True)
    with FileLock(pulling.home / "locks" / "pull_rates.lock"):
        outcome = pull_now(platform, instance, source_named(platform, "rates"), ())
    assert "being pulled by another process" in outcome.error
    with pytest.raises(ConfigurationError, match="there are: rates"):
        source_named(platform, "shop")


def test_a_schedule_that_is_none(pulling: Settings) -> None:
    assert pulling.sources_file
    text = pulling.sources_file.read_text()
    pulling.sources_file.write_text(text.replace("kind: rest", "kind: rest\n  schedule: hourly"))
    with pytest.raises(ConfigurationError, match="source rates: schedule 'hourly' is no cron"):
        build_platform(pulling)


@pytest.fixture
def exported(pulling: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings as commands read them."""
    for name, value in {
        "RETAIL_HOME": str(pulling.home),
        "RETAIL_SOURCES_FILE": str(pulling.sources_file),
        "RETAIL_SETTLE_SECONDS": "0",
        # Commands export these; they are to be as before afterwards.
        "DAGSTER_HOME": "",
        "DAGSTER_EVENT_BATCH_SIZE": "",
    }.items():
        monkeypatch.setenv(name, value)


def test_command_line_to_the_final_table(
    pulling: Settings, service: Service, exported: None
) -> None:
    """`retail pull run`, then `retail run`: what the service said is in the warehouse."""

    def retail(*words: str) -> Any:
        said = command(*words, "--json")
        assert SECRET not in said.out + said.err
        assert said.code == 0, said
        return said.json

    assert [s["source"] for s in retail("pull", "list")] == ["rates"]
    window = ("--from", str(TODAY - timedelta(days=1)), "--to", str(TODAY))
    outcome = retail("pull", "run", "rates", *window)
    assert [(p["partition"], p["rows"]) for p in outcome["pulled"]] == [
        (f"ALL|{TODAY - timedelta(days=1)}", 1),
        (f"ALL|{TODAY}", 2),
    ]
    (state,) = retail("pull", "status")
    assert (state["source"], state["country"], state["cursor"]) == ("rates", "ALL", None)
    assert retail("run")["green"]
    warehouse = DuckDBWarehouse(pulling.warehouse_path)
    assert warehouse.query("select count(*) from staging.stg_fx_rates") == [(3,)]
    assert not list(Lake.open(pulling.lake_url).list(INBOX))
