"""The `retail` command as a person or a script uses it: what it says, and its exit codes.

Commands run in this process through `main`, over one small installation; a few are processes of
their own. What the commands do to the data is the business of other tests.
"""

import csv
import gzip
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
import yaml

from retail_platform.assets.models import ModelRun
from retail_platform.cli.app import app, main
from retail_platform.errors import WarehouseBusy
from retail_platform.lake.store import INBOX, Lake
from retail_platform.operate.costs import COST_DAYS
from retail_platform.operate.instance import open_instance
from retail_platform.resilience.breaker import Breakers
from retail_platform.resilience.failures import WAREHOUSE
from retail_platform.settings import PROJECT_DIR, Settings
from retail_platform_tests.histories import Delivery, fail, put, sales

pytestmark = pytest.mark.embedded(
    "on a laptop's settings; for emulators there is `RETAIL_ENV=ci make demo`"
)

REGISTRY = """countries:
  - {code: CN, name: China, currency: CNY, timezone: Asia/Shanghai}
  - {code: DE, name: Germany, currency: EUR, timezone: Europe/Berlin, aliases: [Deutschland]}
  - {code: FR, name: France, currency: EUR, timezone: Europe/Paris}
"""
MARTS_OF_SALES = ["dim_date", "fct_sales", "rpt_daily_sales", "rpt_top_stores"]


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which has to be one JSON document and nothing else."""
        return json.loads(self.out)


def retail(*arguments: str) -> Said:
    """Run a command as the console script does."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["retail", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int)
    return Said(ended.value.code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path) -> Iterator[Path]:
    """RETAIL_HOME of this module: three countries, three days of French sales, built."""
    home = tmp_path_factory.mktemp("home")
    (home / "countries.yaml").write_text(REGISTRY, encoding="utf-8")
    (home / "dbt").symlink_to(dbt_work_dir)  # parsed once for all tests
    variables = {
        "RETAIL_HOME": str(home),
        "RETAIL_COUNTRIES_FILE": str(home / "countries.yaml"),
        "RETAIL_FIRST_DAY": "2025-01-01",
        "RETAIL_LAST_DAY": "2025-01-31",
        "RETAIL_SETTLE_SECONDS": "0",
    }
    # Commands export what Dagster reads for the length of their process.
    level = logging.getLogger("dagster").level
    with pytest.MonkeyPatch.context() as patch:
        for name in (*os.environ, "DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE"):
            if name.startswith(("RETAIL_", "DAGSTER_")):
                patch.setenv(name, "")  # so that it is restored even if it was not set
                patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield home
    logging.getLogger("dagster").setLevel(level)


def lake() -> Lake:
    return Lake.open(Settings.from_env().lake_url)


def deliver(delivery: Delivery) -> None:
    """Put a file into the inbox now: what is due since before the first delivery is not overdue."""
    put(lake(), delivery)
    root = lake().local_root
    assert root
    os.utime(root / INBOX / delivery.name)


@pytest.fixture(scope="module")
def first_run(home: Path) -> Said:
    """`retail run --json` over the first deliveries."""
    for number in (1, 2, 3):
        deliver(sales("FR", number, [(number, 1, 1), (number, 2, 3)], number))
    return retail("run", "--json")


class TestHelp:
    def test_every_command_and_every_option_says_what_it_is_for(self) -> None:
        def speechless(command: Any, path: str) -> Iterator[str]:
            if not command.help:
                yield path
            for option in command.params:
                if not option.help:
                    yield f"{path} {option.opts}"
            for name, below in getattr(command, "commands", {}).items():
                yield from speechless(below, f"{path} {name}")

        assert list(speechless(typer.main.get_command(app), "retail")) == []

    def test_the_first_page_names_first_steps_and_exit_codes(self) -> None:
        said = retail("--help")
        assert said.code == 0
        words = " ".join(said.out.split())
        assert "First steps: doctor, generate, run, status." in words
        assert "0 all green, 1 something was refused or failed, 2 usage or environment" in words

    @pytest.mark.parametrize("arguments", [[], ["backfill"]])
    def test_a_command_without_a_verb_teaches(self, arguments: list[str]) -> None:
        said = retail(*arguments)
        assert said.code == 2
        assert "Commands" in said.out + said.err

    @pytest.mark.parametrize(
        "arguments",
        [["rnu"], ["run", "--all"], ["backfill", "plan"], ["doctor", "--port", "70000"]],
    )
    def test_what_cannot_be_understood_is_usage(self, arguments: list[str]) -> None:
        said = retail(*arguments)
        assert said.code == 2
        assert "--help" in said.err

    def test_help_waits_for_no_library(self) -> None:
        """Dagster, dbt and polars take seconds to import."""
        program = (
            "import sys, retail_platform.cli.app\n"
            "print({'dagster', 'dbt', 'polars', 'duckdb', 'numpy'} & sys.modules.keys())"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stdout.strip() == "set()", done.stderr


def generate(*options: str) -> Said:
    return retail("generate", "--first-day", "2025-01-02", "--lines-per-day", "8", *options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestGenerate:
    def test_the_facts_are_what_lies_on_disk(self, tmp_path: Path) -> None:
        said = generate(
            "--days", "8", "--countries", "FR", "--feeds", "transactions, stores",
            "--into", str(tmp_path / "new" / "files"), "--json",
        )  # fmt: skip
        assert said.code == 0
        files = contents(tmp_path / "new" / "files")
        rows = 0
        for content in files.values():
            header, *data = csv.reader(io.StringIO(content.decode("utf-8-sig")))
            assert header[0] in ("Invoice ID", "Store ID")
            rows += len(data)
        assert said.json == {
            "folder": str(tmp_path / "new" / "files"),
            "files": len(files),
            "rows": rows,
            "must_be_refused": {},
        }
        assert {name.split("_FR_")[0] for name in files if "_FR_" in name} >= {"transactions"}

    def test_planted_trouble_is_told_and_counted_as_it_lies_there(self, tmp_path: Path) -> None:
        """A correction takes the place of the file it corrects."""
        said = generate(
            "--days", "8", "--countries", "FR", "--feeds", "transactions",
            "--dirt", "--into", str(tmp_path), "--json",
        )  # fmt: skip
        files = contents(tmp_path)
        assert said.json["files"] == len(files)
        assert said.json["must_be_refused"].keys() <= files.keys()
        assert said.json["must_be_refused"]

    def test_the_same_seed_gives_the_same_files(self, tmp_path: Path) -> None:
        made = {}
        for name, seed in (("one", "7"), ("again", "7"), ("other", "8")):
            said = generate(
                "--days", "1", "--feeds", "transactions,fx_rates",
                "--seed", seed, "--into", str(tmp_path / name),
            )  # fmt: skip
            assert said.code == 0
            made[name] = contents(tmp_path / name)
        assert made["one"] == made["again"]
        assert made["one"].keys() == made["other"].keys()
        assert made["one"] != made["other"]

    def test_countries_are_those_of_the_registry_unless_some_are_named(
        self, tmp_path: Path
    ) -> None:
        def delivered(*options: str) -> set[str]:
            folder = tmp_path / "-".join(options)
            said = generate(
                "--days", "1", "--feeds", "transactions", "--into", str(folder), *options
            )
            assert said.code == 0
            assert f"{len(contents(folder))} files" in said.out
            assert str(folder) in said.out
            return {name.split("_")[1] for name in contents(folder)}

        assert delivered() == {"CN", "DE", "FR"}
        assert delivered("--countries", "France, deutschland") == {"DE", "FR"}

    def test_the_inbox_is_where_files_go(self, home: Path, tmp_path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RETAIL_HOME", str(tmp_path))
            said = generate("--days", "1", "--feeds", "transactions", "--gzip", "--json")
            files = contents(tmp_path / "lake" / "inbox")
        assert said.json["folder"] == f"{(tmp_path / 'lake').as_uri()}/{INBOX}"
        assert set(files) == {f"transactions_{c}_20250102.csv.gz" for c in ("CN", "DE", "FR")}
        assert all(gzip.decompress(content) for content in files.values())

    def test_days_end_yesterday_unless_told_otherwise(self, tmp_path: Path) -> None:
        said = retail("generate", "--days", "2", "--feeds", "transactions", "--countries", "FR",
                      "--lines-per-day", "2", "--into", str(tmp_path))  # fmt: skip
        assert said.code == 0
        today = datetime.now().date()  # noqa: DTZ005 - the operator's
        assert set(contents(tmp_path)) == {
            f"transactions_FR_{today - timedelta(days=n):%Y%m%d}.csv" for n in (1, 2)
        }

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--countries", "FR,Oz,XX"], "No such country: Oz, XX; the registry has CN, DE, FR."),
            (["--feeds", "shops"], "feeds shops: expected some of stores, employees, customers"),
            (["--first-day", "2.1.2025"], "'2.1.2025' is no day; expected e.g. 2025-01-31."),
            (["--countries", "[/FR]"], "No such country: [/FR]; the registry has CN, DE, FR."),
        ],
    )  # fmt: skip
    def test_a_wrong_value_is_told_with_what_is_right(
        self, tmp_path: Path, options: list[str], words: str
    ) -> None:
        said = retail("generate", "--into", str(tmp_path / "files"), *options)
        assert said.code == 2
        assert words in said.err
        assert said.out == ""
        assert not (tmp_path / "files").exists()

    def test_a_file_is_no_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)  # a long path would be broken into lines
        Path("file").touch()
        said = retail("generate", "--into", "file")
        assert said.code == 2
        assert "is a file" in said.err


class TestRun:
    def test_green_is_0_and_json_says_what_ran(self, first_run: Said) -> None:
        assert first_run.code == 0
        facts = first_run.json
        assert facts["green"] is True
        assert facts["refused_files"] == facts["failed_checks"] == []
        assert [(run["partitions"], run["success"]) for run in facts["runs"]] == [
            ("FR|2025-01-01 ... FR|2025-01-03", True),
            ("FR|2025-01-01 ... FR|2025-01-03", True),
            ("FR|2025-01-01 ... FR|2025-01-03", True),
            ("FR|2025-01-01 ... FR|2025-01-30", True),  # reports of four weeks
            ("FR|2025-01-01 ... FR|2025-01-31", True),  # and of all later days
            ("FR|2025-01-01 ... FR|2025-01-31", True),  # and those of month ends
        ]
        built = [asset for run in facts["runs"] for asset in run["assets"]]
        assert len(built) == len(set(built))
        assert "raw/transactions" in facts["runs"][0]["assets"]
        assert "marts/rpt_daily_sales" in facts["runs"][1]["assets"]

    def test_progress_is_not_mixed_with_facts(self, first_run: Said) -> None:
        assert "3 files in the inbox" in first_run.err
        assert "FR|2025-01-01 ... FR|2025-01-03: done in" in first_run.err

    def test_nothing_to_do_is_green(self, first_run: Said) -> None:
        said = retail("run")
        assert said.code == 0
        assert said.out == "0 runs, 0 failed\n"

    def test_once_is_one_look_and_the_rest_waits(self, first_run: Said) -> None:
        deliver(sales("FR", 2, [(2, 1, 5), (2, 2, 3)], 9))
        looked = retail("run", "--once", "--json")
        assert looked.code == 0
        assert [run["assets"][0].split("/")[0] for run in looked.json["runs"]] == ["feeds"]
        rest = retail("run", "--until-idle", "--json")
        layers = [run["assets"][0].split("/")[0] for run in rest.json["runs"]]
        assert layers == ["intermediate", *4 * ["marts"]], "and reports of more than a day"

    def test_what_failed_is_1_and_is_repeated_by_the_next_command(self, first_run: Said) -> None:
        deliver(sales("FR", 1, [(1, 1, 1), (1, 2, 4)], 10))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ModelRun, "build", lambda *_: fail())
            failed = retail("run")
        assert failed.code == 1
        # The rows are in RAW when the models fail, so those are tried again alone.
        assert failed.out.splitlines() == [
            "2 runs, 2 failed",
            *["FR|2025-01-01: retail_platform_tests.histories.Fault: injected"] * 2,
        ]
        repeated = retail("run", "--json")
        assert repeated.code == 0
        assert repeated.json["runs"]


@pytest.fixture(scope="class")
def refused(first_run: Said) -> Iterator[Said]:
    """`retail run` while two files are refused: one by the gate, one by its name."""
    broken = {"transactions_FR_20250104.csv": b"Wrong,Columns\n1,2\n", "sales[b].csv": b"x\n"}
    for name, content in broken.items():
        lake().put(INBOX + name, content)
    yield retail("run")
    lake().delete_many([INBOX + name for name in broken])
    assert retail("run").code == 0


class TestRefusedFiles:
    def test_run_is_1_and_says_which_why_and_what_to_do(self, refused: Said) -> None:
        assert refused.code == 1
        assert "Failed checks: feeds/transactions:conforms_to_contract" in refused.out
        lines = {line.split()[1]: line for line in refused.out.splitlines() if ".csv " in line}
        assert "unreadable_layout" in lines["transactions_FR_20250104.csv"]
        assert "Check delimiter" in lines["transactions_FR_20250104.csv"]
        assert "unknown_name" in lines["sales[b].csv"]
        assert "Rename the file" in lines["sales[b].csv"]

    def test_they_stay_a_reason_for_1(self, refused: Said) -> None:
        said = retail("run", "--json")
        assert said.code == 1
        assert said.json["green"] is False
        assert said.json["runs"] == []
        found = {r["name"]: (r["code"], r["country"]) for r in said.json["refused_files"]}
        assert found == {
            "transactions_FR_20250104.csv": ("unreadable_layout", "FR"),
            "sales[b].csv": ("unknown_name", None),
        }

    def test_status_is_1_and_lists_them(self, refused: Said) -> None:
        said = retail("status")
        assert said.code == 1
        for words in ("Refused files", "transactions_FR_20250104.csv", "sales[b].csv"):
            assert words in said.out
        as_json = retail("status", "--json")
        assert as_json.code == 1
        assert {r["name"] for r in as_json.json["refused_files"]} == {
            "transactions_FR_20250104.csv",
            "sales[b].csv",
        }


class TestStatus:
    def test_green_is_0_and_complete_through_the_last_batch(self, first_run: Said) -> None:
        said = retail("status", "--json")
        assert said.code == 0
        facts = said.json
        assert (facts["waiting_files"], facts["files_being_written"]) == (0, 0)
        assert facts["refused_files"] == []
        feeds = {f["feed"]: f for f in facts["feeds"]}
        assert feeds["transactions"]["complete_through"] == {"FR": "2025-01-03"}
        assert feeds["transactions"]["partitions"] == 3
        assert feeds["stores"]["complete_through"] == {}
        marts = {m["mart"]: m for m in facts["marts"]}
        assert marts["fct_sales"] == {"mart": "fct_sales", "rows": 6, "newest_day": "2025-01-03"}

    def test_the_same_as_text(self, first_run: Said) -> None:
        said = retail("status")
        assert said.code == 0
        lines = [" ".join(line.replace("│", " ").split()) for line in said.out.splitlines()]
        assert "0 files waiting, 0 still being written" in lines
        assert "transactions 3 2025-01-03" in lines
        assert "fct_sales 6 2025-01-03" in lines
        assert "Refused" not in said.out

    def test_a_file_that_has_come_is_waiting(self, first_run: Said) -> None:
        name = f"{INBOX}transactions_FR_20250105.csv"
        deliver(sales("FR", 5, [(5, 1, 1)], 10))
        said = retail("status", "--json")
        lake().delete_many([name])
        assert said.code == 0
        assert said.json["waiting_files"] == 1

    def test_circuits_that_are_open(self, first_run: Said, home: Path) -> None:
        breakers = Breakers(home / "breakers", failures=1)
        with pytest.raises(WarehouseBusy), breakers.guard(WAREHOUSE):
            raise WarehouseBusy("held")
        text, as_json = retail("status"), retail("status", "--json")
        shutil.rmtree(home / "breakers")
        assert text.code == as_json.code == 0, "it says nothing about files"
        words = "The warehouse failed 1 times in a row (WarehouseBusy); it is tried again after"
        assert words in text.out
        (circuit,) = as_json.json["circuits"]
        assert (circuit["name"], circuit["state"]) == ("warehouse", "open")


class TestDoctor:
    def test_all_is_well(self, first_run: Said) -> None:
        said = retail("doctor", "--json")
        assert said.code == 0
        seen = {finding["subject"]: finding["seen"] for finding in said.json}
        assert all(finding["ok"] for finding in said.json)
        assert seen["countries"] == "CN, DE, FR"
        assert seen["lake"].endswith("lake, 0 files in the inbox")
        assert "warehouse.duckdb" in seen["warehouse"]
        text = retail("doctor")
        assert text.code == 0
        assert [line[:4] for line in text.out.splitlines()] == ["ok  "] * len(seen)
        assert [line[4:16].strip() for line in text.out.splitlines()] == list(seen)

    @pytest.mark.parametrize(
        ("variable", "value", "subject", "remedy"),
        [
            ("RETAIL_ENV", "prdo", "settings", "expected one of: local, ci, prod"),
            ("RETAIL_ENV", "prod", "settings", "RETAIL_LAKE_URL is not set"),
            ("RETAIL_SETTLE_SECONDS", "[/soon]", "settings", "'[/soon]'; expected a number"),
            ("RETAIL_COUNTRIES_FILE", "/no/such.yaml", "countries", "Start from"),
            ("RETAIL_CONTRACTS_PATH", "/no/such", "contracts", "/no/such"),
            ("RETAIL_HOME", "/dev/null/home", "home folder", "/dev/null/home"),
        ],
    )
    def test_a_broken_setting_is_2_and_says_what_to_do(
        self, variable: str, value: str, subject: str, remedy: str
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(variable, value)
            text, as_json = retail("doctor"), retail("doctor", "--json")
        assert text.code == as_json.code == 2
        (found,) = (f for f in as_json.json if f["subject"] == subject)
        assert not found["ok"]
        assert remedy in found["seen"]
        assert f"no  {subject:12} {found['seen'].splitlines()[0]}" in text.out

    def test_an_environment_that_cannot_work_is_found(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RETAIL_ENV", "prod")
            patch.setenv("RETAIL_LAKE_URL", "file:///tmp")
            said = retail("doctor")
        assert said.code == 2
        assert "expected RETAIL_ENV=local" in said.out


def marts(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all marts."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        names = connection.execute(
            "select table_name from duckdb_tables() where schema_name = 'marts' order by all"
        ).fetchall()
        return {
            name: connection.execute(f"select * from marts.{name} order by all").fetchall()
            for (name,) in names
        }


class TestCost:
    def test_the_embedded_warehouse_bills_nothing_and_says_so(self) -> None:
        said = retail("cost")
        assert said.code == 2
        assert "RETAIL_WAREHOUSE is 'duckdb', which bills nothing" in said.err

    def test_no_more_days_are_asked_for_than_the_views_have(self) -> None:
        assert retail("cost", "--days", str(COST_DAYS + 1)).code == 2
        project = yaml.safe_load((PROJECT_DIR / "dbt_project" / "dbt_project.yml").read_text())
        assert project["vars"]["cost_days"] == COST_DAYS == 92


class TestBackfill:
    def test_the_plan_lists_exactly_the_runs(self, first_run: Said) -> None:
        """Countries that are neighbours in the registry share a run, others do not."""

        def planned(*options: str) -> list[tuple[str, str, int]]:
            said = retail(
                "backfill", "plan", "--from", "2025-01-01", "--to", "2025-01-02", "--json", *options
            )
            assert said.code == 0
            return [(run["start"], run["end"], len(run["assets"])) for run in said.json]

        def days(country: str, last: str = "") -> tuple[str, str]:
            return f"{country}|2025-01-01", f"{last or country}|2025-01-02"

        assert planned() == [
            (*days("ALL"), 15),
            (*days("CN", "FR"), 53),
            (*days("ALL"), 2),
            *((*days("CN", "FR"), n) for n in (21, 11, 4, 2, 1, 1)),  # what looks back comes after
        ]
        marts = ("--assets", "key:intermediate/int_sales or key:marts/fct_sales")
        assert planned("--countries", "france", *marts) == [(*days("FR"), 2)]
        assert planned("--countries", "FR,CN", *marts) == [(*days("CN"), 2), (*days("FR"), 2)]

    def test_the_plan_as_text_names_the_assets(self, first_run: Said) -> None:
        said = retail(
            "backfill", "plan", "--from", "2025-01-02", "--to", "2025-01-02", "--countries", "FR",
            "--assets", "key:marts/fct_sales+",
        )  # fmt: skip
        assert said.code == 0
        assert "3 runs, in this order" in said.out
        assert (
            "marts/fct_sales, marts/fct_shop_sales_daily, marts/rpt_channel_performance" in said.out
        )

    def test_the_plan_runs_nothing(self, first_run: Said, home: Path) -> None:
        def runs() -> int:
            with open_instance(Settings.from_env()) as instance:
                return instance.get_runs_count()

        before = runs(), marts(home)
        assert retail("backfill", "plan", "--from", "2025-01-01", "--to", "2025-01-03").code == 0
        assert (runs(), marts(home)) == before

    def test_run_executes_the_plan_and_changes_nothing_when_nothing_changed(
        self, first_run: Said, home: Path
    ) -> None:
        options = ("--from", "2025-01-01", "--to", "2025-01-03", "--countries", "FR", "--json",
                   "--assets", " or ".join(f"key:marts/{m}" for m in MARTS_OF_SALES))  # fmt: skip
        before = marts(home)
        plan, said = retail("backfill", "plan", *options), retail("backfill", "run", *options)
        assert said.code == 0
        assert said.json["green"] is True
        assert [(run["partitions"], run["assets"]) for run in said.json["runs"]] == [
            (f"{run['start']} ... {run['end']}", run["assets"]) for run in plan.json
        ]
        assert marts(home) == before
        assert before["rpt_daily_sales"]

    def test_run_brings_back_what_was_lost(self, first_run: Said, home: Path) -> None:
        before = marts(home)
        with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
            connection.execute(
                "delete from marts.rpt_daily_sales where business_date < '2025-01-03'"
            )
        assert marts(home) != before
        said = retail("backfill", "run", "--from", "2025-01-01", "--to", "2025-01-02",
                      "--countries", "FR", "--assets", "key:marts/rpt_daily_sales")  # fmt: skip
        assert said.code == 0
        assert said.out == "1 runs, 0 failed\n"
        assert marts(home) == before

    def test_a_run_that_fails_is_1(self, first_run: Said) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ModelRun, "build", lambda *_: fail())
            said = retail("backfill", "run", "--from", "2025-01-01", "--to", "2025-01-01",
                          "--countries", "FR", "--assets", "key:marts/rpt_daily_sales")  # fmt: skip
        assert said.code == 1
        assert "1 runs, 1 failed" in said.out
        assert "injected" in said.out

    @pytest.mark.parametrize(
        ("first", "last", "options", "words"),
        [
            ("2025-01-03", "2025-01-02", [], "expected 2025-01-01 <= from <= to <= "),
            ("2024-12-31", "2025-01-02", [], "expected 2025-01-01 <= from <= to <= "),
            ("2025-01-01", "2025-1", [], "'2025-1' is no day; expected e.g. 2025-01-31."),
            ("2025-02-29", "2025-03-01", [], "'2025-02-29' is no day"),
            ("2025-01-01", "2025-01-01", ["--countries", "UK"], "the registry has CN, DE, FR"),
            ("2025-01-01", "2025-01-01", ["--assets", "marts("], "--assets 'marts('"),
            ("2025-01-01", "2025-01-01", ["--assets", "fct_sales"], "did you mean"),
            ("2025-01-01", "2025-01-01", ["--assets", "group:inbox"], "try 'group:marts'"),
        ],
    )
    def test_a_wrong_value_is_told_with_what_is_right(
        self, first: str, last: str, options: list[str], words: str
    ) -> None:
        for verb in ("plan", "run"):
            said = retail("backfill", verb, "--from", first, "--to", last, *options)
            assert said.code == 2
            assert words in said.err
            assert said.out == ""

    def test_the_newest_day_is_that_of_the_newest_partition(
        self, first_run: Said, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said = retail("backfill", "plan", "--from", "2025-01-31", "--to", "2025-02-01")
        assert (said.code, "to <= 2025-01-31." in said.err) == (2, True)
        monkeypatch.setenv("RETAIL_LAST_DAY", "")
        today = datetime.now(UTC).date()
        tomorrow = today + timedelta(days=1)
        assert retail("backfill", "plan", "--from", str(today), "--to", str(today)).code == 0
        said = retail("backfill", "plan", "--from", str(today), "--to", str(tomorrow))
        assert said.code == 2
        assert f"to <= {today}." in said.err


@pytest.fixture
def clone(first_run: Said, home: Path, dbt_work_dir: Path) -> Iterator[Path]:
    """The environment of pull request 12, and commands that work in it."""
    made = retail("clone", "create", "12", "--days", "3", "--json")
    assert made.code == 0, made.err
    place = Path(made.json["place"])
    (place / "dbt").symlink_to(dbt_work_dir)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.json["variables"].items():
            patch.setenv(name, value)
        yield place
    assert retail("clone", "drop", "12").code == 0


class TestClone:
    def test_what_a_pull_request_changes_is_built_in_its_clone_and_nothing_else(
        self, clone: Path, home: Path, dbt_work_dir: Path, tmp_path: Path
    ) -> None:
        # As the main branch would have it, had the pull request changed this one model.
        manifest = json.loads((dbt_work_dir / "target" / "manifest.json").read_text())
        manifest["nodes"]["model.retail_platform.fct_customer_behavior"]["raw_code"] += "-- old"
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        of_customers = "fct_customer_behavior fct_customers_monthly rpt_cohort_retention rpt_rfm"
        changed = of_customers.split()
        asked = ("diff", "fct_customer_behavior", "--from-env", str(home))
        assert retail(*asked).code == 0
        with duckdb.connect(str(clone / "warehouse.duckdb")) as warehouse:
            for mart in (*changed, "rpt_top_stores"):
                warehouse.execute(f"delete from marts.{mart}")
        assert retail("build", "--modified-against", str(home), "--json").json["models"] == []
        built = retail("build", "--modified-against", str(tmp_path), "--json")
        assert (built.code, built.json["failed"]) == (0, [])
        assert sorted(built.json["models"]) == changed
        assert built.json["tests"] > 5
        with duckdb.connect(str(clone / "warehouse.duckdb")) as warehouse:
            rows = {
                mart: warehouse.execute(f"select count(*) from marts.{mart}").fetchall()[0][0]
                for mart in (*changed, "rpt_top_stores")
            }
        assert rows["fct_customer_behavior"] > 0
        assert rows["rpt_top_stores"] == 0
        assert retail(*asked).code == 0
        with duckdb.connect(str(home / "published" / "retail.duckdb"), read_only=True) as main:
            assert main.execute("select count(*) from marts.rpt_top_stores").fetchall() != [(0,)]

    def test_readers_of_a_clone_see_its_own_files(self, clone: Path, home: Path) -> None:
        for place in (clone, home):
            with duckdb.connect(str(place / "published" / "retail.duckdb")) as published:
                ((sql,),) = published.execute(
                    "select sql from duckdb_views() where view_name = 'rpt_daily_sales'"
                ).fetchall()
            assert f"{place}/published/rpt_daily_sales/2025-01." in sql
        # A file that both name takes its space once.
        (file,) = (clone / "published" / "rpt_daily_sales").glob("*.parquet")
        assert file.stat().st_nlink == 2

    def test_clones_are_listed_until_they_are_dropped(self, first_run: Said, home: Path) -> None:
        place = home / "clones" / "7"
        said = retail("clone", "create", "7")
        assert (said.code, f"export RETAIL_HOME={place}" in said.out) == (0, True)
        expires = datetime.now(UTC).date() + timedelta(days=7)
        assert [(c["name"], c["expires"]) for c in retail("clone", "list", "--json").json] == [
            ("7", expires.isoformat())
        ]
        assert retail("clone", "drop", "7").code == 0
        assert not place.exists()
        assert retail("clone", "list", "--json").json == []

    def test_only_what_is_a_clone_is_dropped_and_built_in(
        self, first_run: Said, home: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said = retail("clone", "create", "13")
        assert (said.code, "is the environment of a pull request" in said.err) == (2, True)
        monkeypatch.setenv("RETAIL_HOME", str(home))
        (home / "clones" / "mine").mkdir()
        for arguments, told in (
            (("clone", "drop", "mine"), "is no clone; there are: 12"),
            (("clone", "drop", "../published"), "is no name of a clone"),
            (("clone", "create", "12"), "is there already"),
            (("clone", "create", "14", "--grant-to", "analyst"), "is for Snowflake"),
            (("build", "--modified-against", str(home)), "is not the environment of a pull"),
            (("build", "--modified-against", str(home / "lake")), "expected a manifest.json"),
        ):
            said = retail(*arguments)
            assert (said.code, told in said.err) == (2, True), said.err
        assert (home / "clones" / "mine").is_dir()
        (home / "clones" / "mine").rmdir()


class TestValidate:
    def test_all_definitions_are_counted(self) -> None:
        said = retail("validate")
        assert said.code == 0
        assert re.fullmatch(
            r"19 contracts, \d\d+ assets, \d\d+ checks: all definitions load\n", said.out
        )

    def test_a_wrong_contract_is_2_and_named(self, tmp_path: Path) -> None:
        (tmp_path / "loyalty.odcs.yaml").write_text("kind: DataContract\n", encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RETAIL_CONTRACTS_PATH", str(tmp_path))
            said = retail("validate")
        assert said.code == 2
        assert "loyalty.odcs.yaml" in said.err


class TestAsAProcess:
    """What a script sees."""

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        script = Path(sys.executable).with_name("retail")
        return subprocess.run(
            [script, *arguments], env={**os.environ, **variables}, capture_output=True, text=True
        )

    def test_facts_are_all_there_is_on_standard_output(self) -> None:
        done = self.run("doctor", "--json")
        assert done.returncode == 0
        assert json.loads(done.stdout)
        assert done.stderr == ""

    def test_an_environment_that_does_not_exist_is_2_in_one_line(self) -> None:
        done = self.run("generate", RETAIL_ENV="prdo")
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr == "RETAIL_ENV is 'prdo'; expected one of: local, ci, prod.\n"

    def test_the_module_is_the_command(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "retail_platform.cli.app", "generate", "--days", "0"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert "--days" in done.stderr
