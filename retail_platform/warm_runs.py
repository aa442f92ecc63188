"""Runs that start in a moment: their process is forked from one that has imported everything.

Dagster's code server starts each run in a fresh interpreter, which imports the same modules for
several seconds of CPU before it does anything: longer than most runs take. A forked process has
them, and has read the dbt project (warm_start.py). What is imported is what the code server itself
was started with, so a reload in the UI, which replaces the code server, replaces them, too.

The only module that changes how Dagster starts processes. Where a platform cannot fork (Windows),
or runs are started by another launcher (Kubernetes, ECS), nothing changes.
"""

import multiprocessing
import sys
from multiprocessing import forkserver

import dagster as dg

_CODE_SERVER = "dagster._grpc.server"

_IMPORTED_BY_RUNS = [
    "dagster._cli",
    "dagster._grpc.impl",
    "retail_platform.definitions",
    "dbt.cli.main",
    "dbt.adapters.duckdb",
    "dbt.adapters.duckdb.environments.local",
    "dbt.task.run",
    "dbt.task.test",
    "retail_platform.warm_start",
]


def fork_runs_of_this_process() -> None:
    """If this process is a code server, let it start runs from a warm process.

    Raises:
        RuntimeError: Dagster's code server has become a different one.
    """
    server = sys.modules.get(_CODE_SERVER)
    if server is None or "forkserver" not in multiprocessing.get_all_start_methods():
        return
    if multiprocessing.parent_process():  # a run, which has the modules of a code server
        return
    if "_mp_ctx" not in server.DagsterApiServer.__init__.__code__.co_names:
        raise RuntimeError(
            "Dagster's code server no longer keeps in `_mp_ctx` how it starts runs, as it did in "
            f"1.13; installed is {dg.__version__}. See DagsterApiServer in {server.__file__}."
        )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_BY_RUNS)
    # A property of the class comes before what an instance, made before, has set for itself.
    server.DagsterApiServer._mp_ctx = property(lambda _: context, lambda server, context: None)
    forkserver.ensure_running()  # else it begins to import when the first run is asked for
