"""Runs start in processes that need neither import anything nor read the dbt project; test_ui sees
it in a running platform."""

import json
import multiprocessing
import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest
from dagster._grpc import server

from retail_platform import warm_runs
from retail_platform.settings import PROJECT_DIR
from retail_platform.transform.dbt_project import DbtProject


@pytest.fixture
def code_server(monkeypatch: pytest.MonkeyPatch) -> server.DagsterApiServer:
    """As Dagster makes it, before it loads our definitions; the class is mended afterwards."""
    monkeypatch.setattr(server.DagsterApiServer, "_mp_ctx", None, raising=False)
    made = object.__new__(server.DagsterApiServer)
    made.__dict__["_mp_ctx"] = multiprocessing.get_context("spawn")
    return made


_TELL = """
import json, multiprocessing.forkserver, os, sys
from pathlib import Path
from retail_platform import warm_runs
from retail_platform.resources import dbt_resource
from retail_platform.settings import Settings

warm_runs.fork_runs_of_this_process()  # as the definitions do wherever they are loaded
starts_runs = multiprocessing.forkserver._forkserver._forkserver_pid is not None
modules = list(sys.modules)
parent = Path(f"/proc/{os.getppid()}/task").iterdir()
threads = [(task / "comm").read_text().strip() for task in parent]
project = dbt_resource(Settings.from_env()).project()
ready = "_runner" in vars(project)
project.ensure_parsed()
kept = "_runner" in vars(project)
told = {
    "modules": modules, "threads": threads, "ready": ready, "kept": kept, "starts": starts_runs
}
Path(sys.argv[1]).write_text(json.dumps(told))
"""


def test_a_run_finds_everything_imported_and_the_project_read(
    tmp_path: Path, dbt_work_dir: Path
) -> None:
    """Asked in a process of its own: Python has one process to fork from, which others use."""
    told = tmp_path / "told.json"
    copytree(dbt_work_dir, tmp_path / "home" / "dbt")
    code_server = f"""
from dagster._grpc.server import DagsterApiServer
from retail_platform import warm_runs

if __name__ == "__main__":
    code_server = object.__new__(DagsterApiServer)
    warm_runs.fork_runs_of_this_process()
    run = code_server._mp_ctx.Process(target=exec, args=({_TELL!r},))
    run.start()
    run.join()
    assert run.exitcode == 0
"""
    script = tmp_path / "code_server.py"
    script.write_text(code_server, encoding="utf-8")
    home = {"RETAIL_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, str(script), str(told)], check=True, env=home)
    run = json.loads(told.read_text())
    assert run["ready"]
    assert run["kept"]
    assert not run["starts"], "a run that would start runs, and import everything for them"
    pool = [name for name in run["threads"] if re.fullmatch(r"polars-\d+", name)]
    assert not pool, "a fork would wait forever for threads that only its parent has"
    assert {
        *("retail_platform.definitions", "retail_platform.gate.gate"),
        *("polars", "pandera.polars", "duckdb", "dagster_dbt", "dbt.cli.main"),
        "dbt.adapters.duckdb.connections",
    } <= set(run["modules"])


def test_a_project_that_was_changed_meanwhile_is_read_again(
    tmp_path: Path, dbt_work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_dir = copytree(dbt_work_dir, tmp_path / "dbt")
    variables = {"RETAIL_DUCKDB_PATH": "warehouse.duckdb"}
    project = DbtProject(PROJECT_DIR / "dbt_project", work_dir, "duckdb", variables)
    project.warm_up()
    read = project._runner
    project.ensure_parsed()
    assert project._runner is read
    # As if another process had parsed the changed project.
    monkeypatch.setattr(DbtProject, "_fingerprint", lambda self: "changed")
    (work_dir / "target" / "project.sha256").write_text("changed", encoding="utf-8")
    project.ensure_parsed()
    assert project._runner is not read


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
