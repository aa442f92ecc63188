"""What ops print is in files that the UI finds; no process is started to repeat it elsewhere."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from retail_platform.compute_logs import FileComputeLogManager
from retail_platform.operate.instance import open_instance
from retail_platform.settings import Settings


@dg.op
def speak() -> None:
    print("said by an op")
    print("and complained", file=sys.stderr)


@dg.op
def fail() -> None:
    print("last words")
    raise ValueError("no")


@dg.job
def talk() -> None:
    speak()
    fail()


def said(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Lines that the UI shows of a run; its events say where they are."""
    found = []
    for entry in instance.all_logs(run_id, dg.DagsterEventType.LOGS_CAPTURED):
        data: Any = entry.get_dagster_event().event_specific_data
        manager = instance.compute_log_manager
        log_key = [run_id, "compute_logs", data.file_key]
        assert manager.is_capture_complete(log_key)
        log = manager.get_log_data(log_key)
        found += [*(log.stdout or b"").decode().splitlines()]
        found += [*(log.stderr or b"").decode().splitlines()]
    return found


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Programs that Dagster starts."""
    started: list[list[str]] = []
    start = subprocess.Popen.__init__

    def noted(self: Any, arguments: Any, *rest: Any, **options: Any) -> None:
        started.append(list(arguments))
        start(self, arguments, *rest, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    return started


def test_the_ui_shows_what_ops_print_and_the_console_does_not(
    settings: Settings, capfd: pytest.CaptureFixture[str], no_processes: list[list[str]]
) -> None:
    with open_instance(settings) as instance:
        assert isinstance(instance.compute_log_manager, FileComputeLogManager)
        result = talk.execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        found = said(instance, result.run_id)
    assert not result.success
    assert {"said by an op", "and complained", "last words"} <= set(found)
    assert no_processes == []
    console = capfd.readouterr()
    assert not {"said by an op", "last words"} & set((console.out + console.err).splitlines())
    print("afterwards")
    assert capfd.readouterr().out == "afterwards\n"


def test_files_are_where_dagster_keeps_them_by_default(settings: Settings) -> None:
    with open_instance(settings) as instance:
        manager = instance.compute_log_manager
        path = manager.get_captured_local_path(["run", "compute_logs", "key"], "out")
    assert Path(path) == settings.dagster_home / "storage/run/compute_logs/key.out"


def test_dagster_captures_as_it_did_when_this_was_written() -> None:
    """Only the mirroring is replaced; a release that does more has to be looked at."""
    source = inspect.getsource(LocalComputeLogManager.capture_logs)
    assert "mirror_stream_to_file(sys.stdout, outpath)" in source
    assert "touch_file(self.complete_artifact_path(log_key))" in source
    assert ComputeIOType.STDOUT.value == "stdout"
