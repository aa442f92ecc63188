"""Rows that broke their contract come back: corrected by a person, or under a changed contract."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from retail_platform.assets.slices import ORIGINALS, REPLAY_TAG
from retail_platform.cli.app import app
from retail_platform.definitions import Platform
from retail_platform.errors import ConfigurationError
from retail_platform.lake.store import INBOX
from retail_platform.operate.foreground import ForegroundRunner, Outcome
from retail_platform.operate.quarantine import (
    NotRequeued,
    QuarantinedFile,
    export,
    quarantined_files,
    quarantined_rows,
    requeue,
    stored_partitions,
)
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform_tests.builders import gzipped
from retail_platform_tests.histories import (
    FIRST_DAY,
    LAST_DAY,
    Installation,
    day,
    rates,
    sales,
    small_platform,
)
from retail_platform_tests.test_contracts import column, document, write

FILE = "transactions_FR_20250105.csv"
pytestmark = [
    pytest.mark.usefixtures("no_data_tests"),
    pytest.mark.embedded("copies homes with lake and warehouse in them"),
]


@pytest.fixture(scope="module")
def loaded_home(
    tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path, no_data_tests: None
) -> Path:
    home = tmp_path_factory.mktemp("loaded")
    with Installation.at(home, dbt_work_dir) as installation:
        # Row 2 breaks the contract: it sells nothing.
        installation.deliver(sales("FR", 5, [(5, 1, 2), (5, 2, 0), (4, 3, 1)], 1))
        installation.deliver(sales("CN", 5, [(5, 1, 1)], 1))
        installation.deliver(rates(5, 7, 1))
        installation.visit()
    return home


@pytest.fixture
def installed(tmp_path: Path, dbt_work_dir: Path, loaded_home: Path) -> Iterator[Installation]:
    home = tmp_path / "home"
    shutil.copytree(loaded_home, home, symlinks=True)
    with Installation.at(home, dbt_work_dir) as installation:
        yield installation


def in_quarantine(installation: Installation) -> list[QuarantinedFile]:
    platform = installation.platform
    where = stored_partitions(
        installation.lake, platform.contracts, ["CN", "FR"], date.min, date.max
    )
    return list(quarantined_files(installation.lake, platform.contracts, where))


def sold(installation: Installation) -> int:
    """Pieces in the mart, all countries."""
    query = "select coalesce(sum(quantity), 0) from marts.fct_sales where country = 'FR'"
    return int(DuckDBWarehouse(installation.warehouse).query(query)[0][0])


def ledger(installation: Installation) -> list[tuple[str, str, int, int]]:
    """(file, state, loaded, quarantined) of what France delivered."""
    return DuckDBWarehouse(installation.warehouse).query(
        "select file_name, state, rows_loaded, rows_quarantined from raw.file_ledger "
        "where country = 'FR' order by all"
    )


def corrected(path: Path) -> bytes:
    """What a person makes of the export: three pieces instead of none."""
    header, line = path.read_text(encoding="utf-8").splitlines()
    fields = line.split(",")
    names = header.split(",")
    fields[names.index("Quantity")] = "3"
    for total in ("Line Total", "Invoice Total"):
        fields[names.index(total)] = "135.00"
    return f"{header}\n{','.join(fields)}\n".encode()


class TestRequeue:
    def test_what_is_in_quarantine_is_shown_with_its_reason(self, installed: Installation) -> None:
        (file,) = in_quarantine(installed)
        assert (file.facts.name, str(file.partition)) == (FILE, "FR|2025-01-05")
        assert file.judged_by_current_contract
        ((row, reasons, line),) = quarantined_rows(
            installed.lake, installed.platform.contracts["transactions"], file
        ).rows()
        assert row == 2
        assert reasons == ["quantity:too_small"]
        assert line.startswith("INV-FR-021-00050002,")

    def test_a_corrected_row_reaches_the_marts_and_the_ledger_says_how(
        self, installed: Installation, tmp_path: Path
    ) -> None:
        (file,) = in_quarantine(installed)
        contract = installed.platform.contracts["transactions"]
        assert sold(installed) == 3
        assert export(installed.lake, contract, file, tmp_path / "bad.csv") == 1
        assert requeue(installed.lake, contract, file, corrected(tmp_path / "bad.csv")) == (FILE, 1)
        runner = ForegroundRunner(installed.platform, installed.instance, installed.lake)
        assert runner.run_until_idle().green
        assert sold(installed) == 6
        assert ledger(installed) == [(FILE, "loaded", 3, 0), (FILE, "superseded", 2, 1)]
        assert in_quarantine(installed) == []

    def test_a_packed_file_comes_back_packed(self, installed: Installation, tmp_path: Path) -> None:
        plain = sales("FR", 6, [(6, 1, 2), (6, 2, 0)], 2)
        name = plain.name + ".gz"
        (installed.lake.local_root / INBOX / name).write_bytes(gzipped(plain.content))
        runner = ForegroundRunner(installed.platform, installed.instance, installed.lake)
        runner.run_until_idle()
        file = next(f for f in in_quarantine(installed) if f.facts.name == name)
        contract = installed.platform.contracts["transactions"]
        export(installed.lake, contract, file, tmp_path / "bad.csv")
        requeue(installed.lake, contract, file, corrected(tmp_path / "bad.csv"))
        assert runner.run_until_idle().green
        assert (name, "loaded", 2, 0) in ledger(installed)

    def test_another_number_of_rows_is_refused_and_nothing_is_delivered(
        self, installed: Installation, tmp_path: Path
    ) -> None:
        (file,) = in_quarantine(installed)
        contract = installed.platform.contracts["transactions"]
        with pytest.raises(NotRequeued, match="0 corrected rows, but 1 rows"):
            requeue(installed.lake, contract, file, b"")
        assert list(installed.lake.list(INBOX)) == []

    def test_a_delivery_that_waits_is_not_overwritten(
        self, installed: Installation, tmp_path: Path
    ) -> None:
        (file,) = in_quarantine(installed)
        contract = installed.platform.contracts["transactions"]
        export(installed.lake, contract, file, tmp_path / "bad.csv")
        installed.deliver(sales("FR", 5, [(5, 1, 7)], 9))
        with pytest.raises(NotRequeued, match="waits in the inbox already"):
            requeue(installed.lake, contract, file, corrected(tmp_path / "bad.csv"))
        with pytest.raises(NotRequeued, match="exists already"):
            export(installed.lake, contract, file, tmp_path / "bad.csv")


class TestReplay:
    def replayed(self, installed: Installation, platform: Platform) -> Outcome:
        runner = ForegroundRunner(platform, installed.instance, installed.lake)
        where = stored_partitions(
            installed.lake, ["transactions"], ["CN", "FR"], date.min, date.max
        )
        requests = platform.desk.catch_up_requests(where, "replay")
        return runner.run_until_idle(
            [r._replace(tags={**r.tags, REPLAY_TAG: ORIGINALS}) for r in requests]
        )

    @pytest.fixture
    def tolerant(self, installed: Installation, tmp_path: Path, dbt_work_dir: Path) -> Platform:
        """The same installation after somebody allowed lines without pieces."""
        doc = document("transactions")
        column(doc, "quantity")["logicalTypeOptions"]["minimum"] = 0
        write(tmp_path / "own", doc, "transactions")
        return small_platform(
            tmp_path / "home",
            dbt_work_dir,
            lambda s: replace(s, contracts_paths=(tmp_path / "own",)),
        )

    def test_a_changed_contract_judges_the_originals_again(
        self, installed: Installation, tolerant: Platform
    ) -> None:
        installed.platform = tolerant
        (file,) = in_quarantine(installed)
        assert not file.judged_by_current_contract
        outcome = self.replayed(installed, tolerant)
        assert outcome.green, outcome
        assert ledger(installed) == [(FILE, "loaded", 3, 0)]
        assert in_quarantine(installed) == []
        delivered = installed.lake.local_root / "manifests/transactions/FR" / f"{day(5)}.json"
        assert '"2025-02-01T00:01:00Z"' in delivered.read_text(), "the delivery keeps its time"

    def test_repeating_it_changes_nothing(
        self, installed: Installation, tolerant: Platform
    ) -> None:
        self.replayed(installed, tolerant)
        before = {o.path: o.version for o in installed.lake.list("manifests/")}
        again = self.replayed(installed, tolerant)
        assert again.green
        assert {o.path: o.version for o in installed.lake.list("manifests/")} == before
        assert len(again.runs) == 1, "nothing changed, so nothing downstream runs"

    def test_lost_rows_are_made_again_from_the_originals(self, installed: Installation) -> None:
        lost = [o.path for o in installed.lake.list("data/transactions/")]
        contents = {path: installed.lake.get(path) for path in lost}
        installed.lake.delete_many(lost)
        self.replayed(installed, installed.platform)
        assert {path: installed.lake.get(path) for path in lost} == contents

    def test_a_contract_that_refuses_a_file_by_now_keeps_what_was_loaded(
        self, installed: Installation, tmp_path: Path, dbt_work_dir: Path
    ) -> None:
        doc = document("transactions")
        doc["schema"][0]["properties"].append(
            {"name": "till", "physicalType": "varchar", "required": True, "description": "Till."}
        )
        write(tmp_path / "own", doc, "transactions")
        strict = small_platform(
            tmp_path / "home",
            dbt_work_dir,
            lambda s: replace(s, contracts_paths=(tmp_path / "own",)),
        )
        before = ledger(installed)
        outcome = self.replayed(installed, strict)
        assert not outcome.green
        assert ledger(installed) == before


class TestCommands:
    @pytest.fixture
    def retail(
        self, installed: Installation, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., Result]:
        home = installed.platform.settings.home
        monkeypatch.setenv("RETAIL_HOME", str(home))
        monkeypatch.setenv("RETAIL_COUNTRIES_FILE", str(home / "countries.yaml"))
        monkeypatch.setenv("RETAIL_FIRST_DAY", str(FIRST_DAY))
        monkeypatch.setenv("RETAIL_LAST_DAY", str(LAST_DAY))
        return lambda *words: CliRunner().invoke(app, [str(word) for word in words])

    def test_from_the_list_to_the_inbox(
        self, retail: Callable[..., Result], installed: Installation, tmp_path: Path
    ) -> None:
        (found,) = json.loads(retail("quarantine", "list", "--json").stdout)
        assert (found["file"], found["quarantined"]) == (FILE, 1)
        assert "1 rows of 1 files" in retail("quarantine", "list", "--countries", "FR").stdout
        assert json.loads(retail("quarantine", "list", "--countries", "CN", "--json").stdout) == []
        shown = json.loads(retail("quarantine", "show", FILE, "--json").stdout)
        assert shown["lines"][0]["reasons"] == ["quantity:too_small"]
        assert retail("quarantine", "export", FILE, "--into", tmp_path / "bad.csv").exit_code == 0
        (tmp_path / "good.csv").write_bytes(corrected(tmp_path / "bad.csv"))
        done = retail("quarantine", "requeue", found["file_id"], "--with", tmp_path / "good.csv")
        assert "in the inbox again" in done.stdout
        assert [o.path for o in installed.lake.list(INBOX)] == [INBOX + FILE]

    def test_words_that_name_nothing(self, retail: Callable[..., Result]) -> None:
        assert "No file(s) 'x.csv'" in str(retail("quarantine", "show", "x.csv").exception)
        wrong = retail("replay", "--from", "2025-01-01", "--to", "2025-01-31", "--feeds", "sale")
        assert isinstance(wrong.exception, ConfigurationError)
        assert "No such feed: sale; there are" in str(wrong.exception)
        assert ", customers, " in str(wrong.exception)

    def test_a_replay_can_be_looked_at_first(self, retail: Callable[..., Result]) -> None:
        month = ("--from", "2025-01-01", "--to", "2025-01-31", "--countries", "FR")
        (feed,) = [
            row
            for row in json.loads(retail("replay", *month, "--dry-run", "--json").stdout)
            if row["feed"] == "transactions"
        ]
        assert (feed["partitions"], feed["files"], feed["judged_by_another_contract"]) == (1, 1, 0)
        done = retail("replay", *month, "--feeds", "transactions", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["green"]
