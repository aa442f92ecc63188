"""dbt in this process: parsed once, then invoked with the slices of a run.

A dbt subprocess costs 4-10 s per call, most of it start-up and parsing; a runner that keeps its
manifest answers in a fraction of a second. Nothing here knows about Dagster.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from retail_platform.errors import RetailError
from retail_platform.partitions import Slices
from retail_platform.settings import exported
from retail_platform.transform.column_lineage import ColumnLineage, column_lineage
from retail_platform.transform.dbt_shortcuts import take_shortcuts

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest

_LOG = logging.getLogger(__name__)
_STAMP = "project.sha256"
_LINEAGE = "column_lineage.json"
_OFFLINE = "duckdb"
_MODIFIED = "state:modified+"


class DbtFailed(RetailError):
    """dbt could not do what it was asked; the message carries dbt's own words."""


@dataclass(frozen=True)
class NodeResult:
    """What became of one model or test.

    Attributes:
        status: dbt's word: success, error, skipped, pass, fail, warn.
        failures: failing rows of a test.
        sql: compiled statement.
    """

    unique_id: str
    status: str
    seconds: float
    message: str
    failures: int
    sql: str

    @property
    def ok(self) -> bool:
        """Built, passed, or failed only with severity warn."""
        return self.status in ("success", "pass", "warn")


class DbtProject:
    """One dbt project, its parsed manifest and an in-process runner."""

    def __init__(
        self,
        project_dir: Path,
        work_dir: Path,
        target: str,
        env: Mapping[str, str] | None = None,
        secrets: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Describe the project; nothing is read yet.

        Args:
            work_dir: folder for everything dbt writes (manifest, compiled SQL, logs).
            target: output of profiles.yml, which is called as its adapter.
            env: variables the profile reads, set while dbt runs.
            secrets: more of them, asked for when dbt connects.
        """
        self.project_dir = project_dir
        self.work_dir = work_dir
        self.target = target
        self._env = dict(env or {})
        self._secrets = secrets
        self._seen = ""

    @property
    def _target_dir(self) -> Path:
        return self.work_dir / "target"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Dbt's manifest.json; parsed anew when a project file changed."""
        self.ensure_parsed()
        content: dict[str, Any] = json.loads(
            (self._target_dir / "manifest.json").read_text(encoding="utf-8")
        )
        return content

    def ensure_parsed(self) -> None:
        """Parse the project unless the manifest on disk belongs to exactly these files."""
        stamp = self._target_dir / _STAMP
        wanted = self._fingerprint()
        if self._seen != wanted:
            vars(self).pop("_runner", None)
            self._seen = wanted
        self.work_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(self.work_dir / "parse.lock", timeout=300):
            if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
                return
            shutil.rmtree(self._target_dir, ignore_errors=True)
            from dbt.cli.main import dbtRunner  # noqa: PLC0415 - 2 s, only when parsing

            take_shortcuts()
            with exported(self._env):
                result = dbtRunner().invoke(["parse", *self._common_arguments()])
            if not result.success:
                raise DbtFailed(f"dbt could not parse {self.project_dir}: {_reason(result)}")
            if self.target == _OFFLINE:
                self._write_lineage()
            stamp.write_text(wanted, encoding="utf-8")

    def _write_lineage(self) -> None:
        """Compile against an empty database and trace the columns."""
        with tempfile.TemporaryDirectory() as empty:
            # dbt-duckdb names the database after its file, and compiled SQL names the database.
            path = str(Path(empty) / "warehouse.duckdb")
            with exported({**self._env, "RETAIL_DUCKDB_PATH": path}):
                try:
                    options = ["--no-write-json", "--select", "resource_type:model"]
                    result = self._new_runner().invoke(
                        ["compile", *self._common_arguments(), *options]
                    )
                finally:
                    self._release()
        compiled = {
            node.node.unique_id: str(node.node.compiled_code)
            for node in result.result or []
            if node.node.resource_type == "model"
        }
        manifest = json.loads((self._target_dir / "manifest.json").read_text(encoding="utf-8"))
        (self._target_dir / _LINEAGE).write_text(
            json.dumps(column_lineage(manifest, compiled)), encoding="utf-8"
        )

    @cached_property
    def lineage(self) -> ColumnLineage:
        """Column lineage of the models, which is the same on all engines.

        Compiling needs a database, and only the embedded one is there without a connection.
        """
        if self.target != _OFFLINE:
            return DbtProject(self.project_dir, self.work_dir / _OFFLINE, _OFFLINE).lineage
        self.ensure_parsed()
        found: ColumnLineage = json.loads((self._target_dir / _LINEAGE).read_text(encoding="utf-8"))
        return found

    def warm_up(self) -> None:
        """Do what the first command does in a process and all later ones are spared.

        Nothing is connected to and no thread is left behind, so a process may fork afterwards. Its
        children ask with `ensure_parsed` whether the project is still the one that was read.

        Raises:
            DbtFailed: the project cannot be parsed.
        """
        self._list("--select", "resource_type:exposure")

    def run(
        self, models: Sequence[str], slices: Slices | None, run_id: str = ""
    ) -> list[NodeResult]:
        """Build models for the slices; everything when `slices` is None.

        Args:
            run_id: said in the query tag, where the engine has such a thing.

        Raises:
            DbtFailed: dbt stopped before it reached a model.
        """
        # Which relations there are, models ask of their own schemas only.
        return self._invoke("run", models, slices, run_id, "--cache-selected-only")

    def test(
        self, tests: Sequence[str], slices: Slices | None, run_id: str = ""
    ) -> list[NodeResult]:
        """Run data tests over the slices; see `run`.

        Raises:
            DbtFailed: dbt stopped before it reached a test.
        """
        # Only models ask dbt which relations there are.
        return self._invoke("test", tests, slices, run_id, "--no-populate-cache")

    def modified(self, state: Path) -> list[str]:
        """What differs from another manifest and what reads that; models and tests by unique id.

        Args:
            state: folder of the other manifest.

        Raises:
            DbtFailed: dbt could not compare them.
        """
        options = ["--state", str(state), "--output", "json", "--output-keys", "unique_id"]
        result = self._list(*options, "--select", _MODIFIED)
        if result.result is None:
            raise DbtFailed(f"dbt list {_MODIFIED}: {_reason(result)}")
        return [str(json.loads(line)["unique_id"]) for line in result.result]

    def _list(self, *options: str) -> "dbtRunnerResult":
        # It would also print what it finds, unless it may say nothing at all.
        quiet = ["--no-write-json", "--log-level", "none"]
        with exported({**self._env, **self._secrets()}):
            found: dbtRunnerResult = self._runner.invoke(
                ["list", *self._common_arguments(), *quiet, *options]
            )
        return found

    def build_modified(self, state: Path) -> list[NodeResult]:
        """Build from scratch, and test, what is `modified`.

        What else it reads and this target lacks is read where the other manifest says.

        Raises:
            DbtFailed: dbt stopped before it reached a model.
        """
        # Incrementally, a column that a change adds would stop the run.
        options = ["--full-refresh", "--defer", "--state", str(state)]
        options += ["--exclude-resource-type", "exposure"]  # there is nothing to build of them
        return self._invoke("build", [_MODIFIED], None, "", *options)

    def _invoke(
        self,
        command: str,
        names: Sequence[str],
        slices: Slices | None,
        run_id: str,
        *options: str,
    ) -> list[NodeResult]:
        if not names:
            return []
        # Writing the manifest again takes as long as a small run, and another process may be
        # reading it.
        arguments = [command, *self._common_arguments(), "--no-write-json", *options]
        arguments += ["--select", *names]
        if slices:
            arguments += ["--vars", json.dumps(slice_vars(slices))]
        of_this_run = {
            "RETAIL_RUN_ID": run_id,
            "RETAIL_DBT_REUSES_SESSIONS": str(command == "test"),
        }
        with exported({**self._env, **self._secrets(), **of_this_run}):
            try:
                result = self._runner.invoke(arguments)
            finally:
                self._release()
        if result.result is None:
            raise DbtFailed(f"dbt {command} {' '.join(names)}: {_reason(result)}")
        return [
            NodeResult(
                unique_id=node.node.unique_id,
                status=str(node.status.value if hasattr(node.status, "value") else node.status),
                seconds=float(node.execution_time or 0),
                message=str(node.message or ""),
                failures=int(getattr(node, "failures", 0) or 0),
                sql=str(getattr(node.node, "compiled_code", "") or ""),
            )
            for node in result.result
        ]

    @cached_property
    def _runner(self) -> Any:
        self.ensure_parsed()
        return self._new_runner()

    def _new_runner(self) -> Any:
        from dbt.cli.main import dbtRunner  # noqa: PLC0415 - 2 s, only where models run

        take_shortcuts()
        return dbtRunner(manifest=self._parsed())

    def parsed(self) -> "Manifest":
        """The project as dbt itself holds it, ready to be run."""
        self.ensure_parsed()
        return self._parsed()

    def _parsed(self) -> "Manifest":
        from dbt.contracts.graph.manifest import Manifest  # noqa: PLC0415

        packed = (self._target_dir / "partial_parse.msgpack").read_bytes()
        manifest: Manifest = Manifest.from_msgpack(packed)
        manifest.build_flat_graph()  # what tests see as `graph`; a packed manifest lacks it
        return manifest

    def _common_arguments(self) -> list[str]:
        return [
            "--project-dir", str(self.project_dir),
            "--profiles-dir", str(self.project_dir),
            "--target", self.target,
            "--target-path", str(self._target_dir),
            "--log-path", str(self.work_dir / "logs"),
            "--log-level", "error",
            # All that dbt does and asks the database took a tenth of the time of a run to write.
            "--log-level-file", "warn",
            "--no-use-colors",
        ]  # fmt: skip

    def _release(self) -> None:
        """dbt-duckdb keeps the file open after a command; nobody else could open it until exit."""
        if self.target == _OFFLINE:
            from dbt.adapters.duckdb.connections import (  # noqa: PLC0415
                DuckDBConnectionManager,
            )

            DuckDBConnectionManager.close_all_connections()

    def _fingerprint(self) -> str:
        # Another dbt, or another version of what is written beside the manifest, parses anew too.
        # The manifest names the database, which for DuckDB is always called the same.
        database = self._env.get("SNOWFLAKE_DATABASE", "")
        digest = hashlib.sha256(f"{self.target} {database} {version('dbt-core')}".encode())
        for module in ("dbt_project.py", "column_lineage.py"):
            digest.update(Path(__file__).with_name(module).read_bytes())
        for path in sorted(self.project_dir.rglob("*")):
            inside = path.relative_to(self.project_dir)
            if path.is_file() and inside.parts[0] not in ("target", "logs", "dbt_packages"):
                digest.update(str(inside).encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()


def slice_vars(slices: Slices) -> dict[str, str]:
    """Variables that restrict models and tests to the partitions of a run."""
    return {
        "countries": ",".join(slices.countries),
        "first_day": slices.first_day.isoformat(),
        "last_day": slices.last_day.isoformat(),
    }


def _reason(result: "dbtRunnerResult") -> str:
    return str(result.exception or "see the log above").strip()
