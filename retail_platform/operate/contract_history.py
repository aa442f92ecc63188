"""Contracts of the past, from git or a folder, and those of today compared with them.

Works on what is there: without git, without history or in a clone that does not reach back far
enough there is nothing to compare, which is said and is no failure.
"""

import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from retail_platform.contract import FeedContract, load_contracts, read_contract
from retail_platform.errors import ConfigurationError
from retail_platform.operate.contract_changes import Comparison, compare
from retail_platform.settings import PACKAGE_DIR

_PATTERN = "*.odcs.yaml"
_MAIN = "origin/main"


def check_contracts(folders: Sequence[Path], against: str | None = None) -> Comparison:
    """Compare the contracts of this installation with older ones.

    Args:
        folders: with contracts of one's own, beside the shipped ones.
        against: git revision or folder; default the point where this branch left origin/main, or
            the last commit where there is no such thing.

    Raises:
        ConfigurationError: a contract of today is wrong, or `against` is no revision and no folder.
    """
    today = load_contracts(folders)
    if against is not None and Path(against).is_dir():
        return _against(today, [(p, p.read_text("utf-8")) for p in _files(Path(against))], against)
    old: list[tuple[Path, str]] = []
    compared_with = ""
    notes = []
    without_history: set[str] = set()
    for folder in (PACKAGE_DIR / "contracts", *folders):
        try:
            revision, name = _revision(folder, against)
            old += _at(folder, revision)
        except _NoHistory as reason:
            if against is not None:
                raise ConfigurationError(
                    f"--against {against!r} is no folder, and no revision either: {reason}"
                ) from reason
            notes.append(f"Contracts in {folder} are not compared: {reason}")
            without_history |= {read_contract(path).name for path in _files(folder)}
        else:
            compared_with = compared_with or name
    found = _against(today, old, compared_with, without_history)
    found.notes = notes + found.notes
    return found


def _against(
    today: Mapping[str, FeedContract],
    files: Iterable[tuple[Path, str]],
    name: str,
    left_out: Collection[str] = (),
) -> Comparison:
    old: dict[str, FeedContract] = {}
    retired, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files:
            copy = Path(folder, path.name)
            copy.write_text(text, encoding="utf-8")
            try:
                contract = read_contract(copy)
            except ConfigurationError as exc:
                reason = str(exc).replace(str(copy), path.name)
                notes.append(f"The older contract is not compared: {reason}")
                continue
            old[contract.name] = contract
            if yaml.safe_load(text).get("status") in ("deprecated", "retired"):
                retired.append(contract.name)
    kept = {feed: contract for feed, contract in old.items() if feed not in left_out}
    rest = {feed: contract for feed, contract in today.items() if feed not in left_out}
    found = compare(kept, rest, name, retired)
    found.notes += notes
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(_PATTERN))


class _NoHistory(Exception):
    """There is nothing in git to compare with; says why."""


def _revision(folder: Path, wanted: str | None) -> tuple[str, str]:
    """The commit to compare a folder with, and how to call it."""
    if wanted is not None:
        return _commit(folder, wanted), wanted
    head = _commit(folder, "HEAD")
    try:
        main = _commit(folder, _MAIN)
    except _NoHistory:
        return head, f"HEAD ({head[:9]})"
    try:
        base = _git(folder, "merge-base", main, head).strip()
    except _NoHistory as exc:
        raise _NoHistory(
            f"this clone does not reach back to where the branch left {_MAIN}; fetch more of it"
        ) from exc
    return base, f"{_MAIN} ({base[:9]})"


def _commit(folder: Path, revision: str) -> str:
    return _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()


def _at(folder: Path, revision: str) -> list[tuple[Path, str]]:
    """Contracts of a folder as they were; none if the folder was not there yet."""
    names = _git(folder, "ls-tree", "-z", "--name-only", revision, "./").split("\0")
    return [
        (Path(name), _git(folder, "show", f"{revision}:./{name}"))
        for name in names
        if Path(name).match(_PATTERN)
    ]


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    except OSError as exc:
        raise _NoHistory(f"git cannot be run ({exc.strerror}).") from exc
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise _NoHistory(said[0] if said else f"git knows no {arguments[-1].split('^')[0]}.")
    return done.stdout
