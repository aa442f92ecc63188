"""Runs start in processes that need not import anything; test_ui sees it in a running platform."""

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest
from dagster._grpc import server

from retail_platform import warm_runs


@pytest.fixture
def code_server(monkeypatch: pytest.MonkeyPatch) -> server.DagsterApiServer:
    """As Dagster makes it, before it loads our definitions; the class is mended afterwards."""
    monkeypatch.setattr(server.DagsterApiServer, "_mp_ctx", None, raising=False)
    made = object.__new__(server.DagsterApiServer)
    made.__dict__["_mp_ctx"] = multiprocessing.get_context("spawn")
    return made


def test_a_run_finds_everything_imported(tmp_path: Path) -> None:
    """Asked in a process of its own: Python has one process to fork from, which others use."""
    told = tmp_path / "modules.json"
    tell = f"import sys, json; open({str(told)!r}, 'w').write(json.dumps(list(sys.modules)))"
    code_server = f"""
from dagster._grpc.server import DagsterApiServer
from retail_platform import warm_runs

if __name__ == "__main__":
    code_server = object.__new__(DagsterApiServer)
    warm_runs.fork_runs_of_this_process()
    run = code_server._mp_ctx.Process(target=exec, args=({tell!r},))
    run.start()
    run.join()
    assert run.exitcode == 0
"""
    script = tmp_path / "code_server.py"
    script.write_text(code_server, encoding="utf-8")
    subprocess.run([sys.executable, str(script)], check=True)
    assert {
        *("retail_platform.definitions", "retail_platform.gate.gate"),
        *("polars", "pandera.polars", "duckdb", "dagster_dbt", "dbt.cli.main"),
        "dbt.adapters.duckdb.connections",
    } <= set(json.loads(told.read_text()))


def test_what_is_no_code_server_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dagster._grpc.server")
    warm_runs.fork_runs_of_this_process()
    assert "dagster._grpc.server" not in sys.modules


def test_without_forks_runs_start_as_they_always_did(
    code_server: server.DagsterApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    warm_runs.fork_runs_of_this_process()
    assert not isinstance(vars(server.DagsterApiServer)["_mp_ctx"], property)


def test_a_code_server_that_works_differently_is_noticed(
    code_server: server.DagsterApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.DagsterApiServer, "__init__", lambda self: None)
    with pytest.raises(RuntimeError, match="no longer keeps in `_mp_ctx`"):
        warm_runs.fork_runs_of_this_process()
