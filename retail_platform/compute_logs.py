"""What ops print goes into files, where the UI shows it, and nowhere else.

Dagster's own manager repeats it on the console of the process as well, with four helper processes
for each process that executes steps, which takes about as long as loading a small file. Built on
functions of Dagster that are not public; a test fails when they change.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

try:
    from dagster._core.execution.compute_logs import redirect_to_file
    from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
    from dagster._core.storage.local_compute_log_manager import (
        IO_TYPE_EXTENSION,
        LocalComputeLogManager,
    )
    from dagster._serdes import ConfigurableClassData
    from dagster._utils import ensure_file, touch_file
except ImportError as error:
    raise ImportError(
        f"{error}. Files of what ops print rely on these internals, last seen in Dagster 1.13; "
        f"installed is {dg.__version__}. Without the section compute_logs of dagster.yaml Dagster "
        "takes its own."
    ) from error


class FileComputeLogManager(LocalComputeLogManager):
    """Files below ``storage`` of a folder, by default that of Dagster. Enable it in dagster.yaml.

    ::

        compute_logs:
          module: retail_platform.compute_logs
          class: FileComputeLogManager
          config:
            base_dir: {env: DAGSTER_HOME}
    """

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "FileComputeLogManager":
        """Build from the ``config`` of dagster.yaml; called by Dagster."""
        base = Path(config_value["base_dir"]) / "storage"
        return cls(**{**config_value, "base_dir": str(base)}, inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Redirect both streams while a step works."""
        out, err = (
            self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind])
            for kind in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        )
        ensure_file(out)  # and its folder
        with redirect_to_file(sys.stdout, out), redirect_to_file(sys.stderr, err):
            yield CapturedLogContext(log_key)
        touch_file(self.complete_artifact_path(log_key))  # type: ignore[no-untyped-call]
