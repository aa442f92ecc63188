"""The benchmarks run and check their answers; at 1/200 of their size, so no time is asserted."""

import json
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace

import duckdb
import pytest

from retail_platform_tests.benchmarks import backlog, bookkeeping, gate_throughput, late_file
from retail_platform_tests.benchmarks.answers import WrongAnswer, check_answers
from retail_platform_tests.benchmarks.measure import Run
from retail_platform_tests.benchmarks.stopwatch import Stopwatch

pytestmark = [pytest.mark.timeout(600), pytest.mark.embedded("measures the embedded platform")]


def test_all_contestants_build_the_same_marts_from_a_backlog(tmp_path: Path) -> None:
    # all but the platform with every mart, which the late files are taken in by
    contestants = ["script", "script_lean", "platform", "dlt_dbt", "dlt_dbt_tuned"]
    arguments = "--days 8 --lines-factor 0.25 --rounds 1 --no-warm-up --only"
    backlog.main([*arguments.split(), ",".join(contestants), "--work", str(tmp_path)])
    report = json.loads((tmp_path / "backlog.json").read_text())
    assert [run["name"] for run in report["runs"]] == contestants
    platform = next(run for run in report["runs"] if run["name"] == "platform")
    assert 0 < platform["facts"]["dagster_runs"] <= backlog.MOST_DAGSTER_RUNS
    parts = platform["facts"]["parts"]
    # Nearly every second of the process is booked to some kind of work, and none twice.
    booked = sum(part["wall"] for part in parts.values())
    assert 0.7 * platform["wall"] < booked <= platform["wall"]
    assert report["answers"]["rows"]["fct_sales"] > 0


def test_every_partition_is_recorded_once_by_both_event_storages(tmp_path: Path) -> None:
    bookkeeping.main(["--days", "2", "--stock-days", "1", "--rounds", "1", "--work", str(tmp_path)])
    summary = json.loads((tmp_path / "bookkeeping.json").read_text())["summary"]
    assert summary["batched"]["partition_materializations"] == 42
    assert summary["stock"]["partition_materializations"] == 21


def test_a_late_file_reaches_the_marts_on_short_and_long_history(
    tmp_path: Path, dbt_work_dir: Path
) -> None:
    # As if a history had been built before.
    copytree(dbt_work_dir, tmp_path / "home-parsed" / "dbt")
    sizes = "--days 8 --times 2 --lines-factor 0.1 --countries FR --samples 1 --rounds 1"
    late_file.main([*sizes.split(), "--no-warm-up", "--models", "--work", str(tmp_path)])
    report = json.loads((tmp_path / "late_file.json").read_text())
    assert [run["name"] for run in report["runs"]] == ["1x", "2x"]
    assert all(s["dagster_runs"] for run in report["runs"] for s in run["facts"]["samples"])
    assert {"fct_sales", "rpt_like_for_like", "rpt_clv, rpt_clv_fit"} <= report["models"].keys()
    assert all(report["models"]["rpt_gmroi"][size]["rows"] for size in ("1x", "2x"))


def test_a_mart_is_empty_that_has_no_rows_or_no_table(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute("create schema marts")
        connection.execute("create table marts.fct_sales as select 1 as a")
        connection.execute("create table marts.rpt_gmroi as select 1 as a where false")
    empty = late_file.empty_marts(tmp_path)
    assert {"rpt_gmroi", "rpt_stock", "rpt_clv"} <= set(empty)
    assert "fct_sales" not in empty


def test_a_model_is_compared_on_the_same_late_file() -> None:
    def run(name: str, *cpu: float) -> Run:
        models = [{"models": {"fct_sales": {"cpu": seconds, "rows": 7}}} for seconds in cpu]
        return Run(name, 1, 0, 0, 0, {"samples": models})

    runs = [run("1x", 1, 10), run("8x", 2, 30), run("1x", 4), run("8x", 4)]
    (found,) = late_file.costs_of_models(runs, ["1x", "8x"]).values()
    assert found["8x"] == {"rows": 7, "cpu": {"median": 4, "min": 2, "max": 30}}
    assert found["ratio"] == {"median": 2, "min": 1, "max": 3}


def test_csv_and_json_go_through_the_gate_and_through_polars(tmp_path: Path) -> None:
    gate_throughput.main(["--megabytes", "1", "--rounds", "1", "--work", str(tmp_path)])
    summary = json.loads((tmp_path / "gate_throughput.json").read_text())["summary"]
    assert set(summary) == set(gate_throughput.CONTESTANTS)
    assert all(found["rows"] > 0 for found in summary.values())


def test_a_wrong_answer_has_no_time() -> None:
    answers = {
        "rows": {"fct_sales": 10},
        "net_sales_eur": {"FR": "1.00"},
        "reported_net_sales_eur": {"FR": "1.00"},
        "shop_net_sales_local": {"FR": "1.00"},
    }
    truth = {"FR": 1}
    check_answers("right", answers, answers, truth, 10)
    with pytest.raises(WrongAnswer, match="order lines"):
        check_answers("wrong", answers, {}, truth, 11)
    with pytest.raises(WrongAnswer, match="generated"):
        check_answers("wrong", answers, {}, {"FR": 2}, 10)
    with pytest.raises(WrongAnswer, match="others"):
        check_answers("wrong", answers, {"net_sales_eur": {"FR": "2.00"}}, truth, 10)


def test_seconds_inside_a_part_belong_to_the_inner_part_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    clock = SimpleNamespace(monotonic=lambda: now, process_time=lambda: now / 2)
    monkeypatch.setattr("retail_platform_tests.benchmarks.stopwatch.time", clock)
    watch = Stopwatch()
    now = 1.0
    with watch.part("outer"):
        now = 3.0
        with watch.part("inner"):
            now = 10.0
        now = 14.0
    assert watch.seconds() == {
        "outer": {"wall": 2.0 + 4.0, "cpu": 3.0, "calls": 1},
        "inner": {"wall": 7.0, "cpu": 3.5, "calls": 1},
    }
