"""Totals a sender states, beside a file or in its last line, against what was read."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest

from retail_platform.contract import (
    ControlTotals,
    FeedContract,
    Format,
    read_contract,
)
from retail_platform.demo.dirt import Dirt
from retail_platform.demo.generator import GeneratorSpec, generate
from retail_platform.errors import ConfigurationError
from retail_platform.gate import text
from retail_platform.gate.gate import Gate
from retail_platform.gate.replay import judge_again
from retail_platform.lake.completeness import find_gaps
from retail_platform.lake.inbox import plan_arrivals, read_rejections
from retail_platform.lake.manifest import FileFacts, Manifest
from retail_platform.operate.contract_changes import Level, changes_of
from retail_platform.operate.quarantine import export, quarantined_files, requeue
from retail_platform.partitions import Partition
from retail_platform_tests.builders import (
    CONTRACTS,
    FIRST_DAY,
    KEYS,
    NOW,
    REGISTRY,
    Desk,
    Outcome,
    csv_text,
    local_desk,
    row,
)
from retail_platform_tests.test_contracts import document, ingestion, write
from retail_platform_tests.test_queue import Yard, announced, yard  # noqa: F401 - a fixture

FILE = "partner_sales_FR_20250111.csv"
KEY = "FR|2025-01-11"
NEIGHBOUR = "partner_sales_DE_20250111.csv"
STATES = {"row_count": "rows", "total": "sum(amount)"}


def stating(
    kind: str,
    states: Mapping[str, str] = STATES,
    contract: FeedContract = CONTRACTS["partner_sales"],
    **options: Any,
) -> FeedContract:
    """A contract whose sender states totals."""
    totals = ControlTotals.model_validate({"kind": kind, "states": states, **options})
    return replace(
        contract,
        ingestion=contract.ingestion.model_copy(update={"control_totals": totals}),
        schema_version=f"{kind} {sorted(states.items())} {sorted(options.items())}",
    )


def desk_with(folder: Path, *contracts: FeedContract) -> Desk:
    return local_desk(folder, contracts={**CONTRACTS, **{c.name: c for c in contracts}})


@pytest.fixture
def beside(tmp_path: Path) -> Desk:
    """Partner sales come with a control file."""
    return desk_with(tmp_path, stating("sidecar"))


@pytest.fixture
def below(tmp_path: Path) -> Desk:
    """Partner sales end with a trailer."""
    return desk_with(tmp_path, stating("trailer"))


def sales(*amounts: str, country: str = "FR") -> str:
    rows = [
        row("partner_sales", country, amount=amount, transaction_id=f"t-{n}")
        for n, amount in enumerate(amounts)
    ]
    return csv_text("partner_sales", rows)


def deliver(
    desk: Desk, data: str, control: str | bytes, name: str = FILE, suffix: str = ".ctl"
) -> None:
    desk.deliver(name + suffix, control)
    desk.deliver(name, data)


def control_of(desk: Desk, facts: FileFacts) -> bytes:
    assert facts.control_file
    return desk.lake.get(facts.control_file)


def refusal(desk: Desk, outcome: Outcome, code: str, *words: str, name: str = FILE) -> None:
    """One file is refused and stays, its neighbour is in."""
    assert outcome.code(name) == code, outcome.refused
    said = outcome.refused[name].seen + outcome.refused[name].remedy
    assert [w for w in words if w not in said] == []
    assert name in desk.inbox()
    assert KEY not in {str(p) for p in outcome.manifests.get("partner_sales", {})}


# -------------------------------------------------------------------------------- sidecars


@pytest.mark.parametrize(
    ("suffix", "control"),
    [
        (".ctl", "row_count=3\ntotal=150.75\n"),
        (".ctl", "# by the till\n\nRow Count = 3\r\nTOTAL=+150.750\nsent_by=x\n"),
        (".json", '{"row_count": 3, "total": 150.75, "at": null, "tills": [1]}'),
        (".json", '{"rowCount": "3", "total": "0150.75"}'),
        (".ctl", "row_count=3\ntotal=150.75\n".encode("utf-16")),
    ],
)
def test_matching_totals_let_a_file_in_and_are_recorded(
    beside: Desk, suffix: str, control: str | bytes
) -> None:
    deliver(beside, sales("$100.50", "50.25", ""), control, suffix=suffix)
    beside.take_in()
    facts = beside.facts("partner_sales", KEY)
    assert facts.control_totals == {"rows": "3", "sum(amount)": "150.75"}
    assert (facts.rows_loaded, facts.rows_quarantined) == (2, 1)  # the blank one is required
    content = control if isinstance(control, bytes) else control.encode()
    assert control_of(beside, facts) == content
    assert str(facts.control_file).startswith("history/partner_sales/country=FR")
    assert beside.inbox() == set()


@pytest.mark.parametrize(
    ("rows", "control", "code", "words"),
    [
        (("1", "2"), "row_count=3\ntotal=3", "control_totals_differ", ["stated 3, read 2"]),
        (("1", "2"), "row_count=2\ntotal=3.01", "control_totals_differ", ["stated 3.01, read 3"]),
        (("1", "oops"), "row_count=2\ntotal=1", "control_totals_differ",
         ["read 1 and 1 rows whose value is no number"]),
        (("1", "2"), "row_count=2", "unreadable_control_file", ["does not state total"]),
        (("1", "2"), "row_count=2\ntotal=3,00", "unreadable_control_file", ["'3,00'"]),
        (("1", "2"), "row_count=2.5\ntotal=3", "unreadable_control_file", ["whole number"]),
        (("1", "2"), "row_count=2\nrow-count=3\ntotal=3", "unreadable_control_file", ["twice"]),
        (("1", "2"), "two rows", "unreadable_control_file", ["'two rows'", "row_count, total"]),
        (("1", "2"), "", "unreadable_control_file", ["no bytes"]),
        (("1", "2"), '{"row_count": 2, "total": 3', "unreadable_control_file", []),
        (("1", "2"), '{"row_count": true, "total": {}}', "unreadable_control_file", []),
        (("1", "2"), "[2, 3]", "unreadable_control_file", []),
        (("1", "2"), "row_count=2\ntotal=NaN", "unreadable_control_file", ["'NaN'"]),
        (("1", "2"), b"\xff\xfe\x00", "unreadable_control_file", []),
        (("1", "2"), "row_count=2\ntotal=3\n" + "#" * 70_000, "unreadable_control_file", []),
    ],
)  # fmt: skip
def test_a_difference_refuses_the_file_and_nothing_else(
    beside: Desk, rows: tuple[str, ...], control: str | bytes, code: str, words: list[str]
) -> None:
    deliver(beside, sales(*rows), control)
    deliver(beside, sales("7", country="DE"), "row_count=1\ntotal=7", NEIGHBOUR)
    outcome = beside.take_in()
    refusal(beside, outcome, code, *words)
    assert beside.inbox() == {FILE, f"{FILE}.ctl"}
    assert beside.raw_counts("partner_sales") == {"DE": 1}
    assert beside.take_in().manifests == {}  # not judged again

    beside.deliver(f"{FILE}.ctl", f"row_count={len(rows)}\ntotal=3")
    if code == "unreadable_control_file":
        beside.take_in()
        assert beside.facts("partner_sales", KEY).rows_loaded == 2
        assert beside.inbox() == set()


def test_sums_count_every_row_as_delivered_and_do_not_round(tmp_path: Path) -> None:
    desk = desk_with(tmp_path, stating("sidecar"))
    lines = sales("0.10", "0.10", "0.103", "-0.3", "1e3").splitlines()
    good = "\n".join([*lines[:-1], lines[1]])  # one more, word for word
    deliver(desk, good, "row_count=5\ntotal=0.103")
    desk.take_in()
    facts = desk.facts("partner_sales", KEY)
    assert (facts.rows_in, facts.rows_duplicate, facts.rows_quarantined) == (5, 1, 1)
    many = ["99999999.99"] * 400 + ["0.01"]
    deliver(desk, sales(*many), f"row_count=401\ntotal={sum(map(Decimal, many))}", NEIGHBOUR)
    desk.take_in()
    assert desk.facts("partner_sales", "DE|2025-01-11").control_totals["sum(amount)"] == (
        "39999999996.01"
    )


def test_a_checksum_is_that_of_the_object(tmp_path: Path) -> None:
    desk = desk_with(tmp_path, stating("sidecar", {"digest": "sha256"}))
    data = sales("1")
    deliver(desk, data, f"digest={hashlib.sha256(data.encode()).hexdigest().upper()}")
    deliver(desk, data, f"digest={'0' * 64}", NEIGHBOUR)
    outcome = desk.take_in()
    assert outcome.code(NEIGHBOUR) == "control_totals_differ"
    assert desk.facts("partner_sales", KEY).rows_loaded == 1


def test_two_control_files_are_one_too_many_until_one_is_gone(beside: Desk) -> None:
    deliver(beside, sales("1"), "row_count=1\ntotal=1")
    beside.deliver(f"{FILE}.json", '{"row_count": 2, "total": 1}')
    refusal(beside, beside.take_in(), "two_control_files", f"{FILE}.ctl and {FILE}.json")
    beside.lake.delete_many([f"inbox/{FILE}.json"])
    beside.take_in()
    assert beside.facts("partner_sales", KEY).control_totals["rows"] == "1"


def test_the_order_of_a_listing_changes_nothing(beside: Desk) -> None:
    deliver(beside, sales("1"), "row_count=1\ntotal=1")
    beside.deliver(f"{FILE}.json", '{"row_count": 2, "total": 1}')
    listed = sorted(beside.lake.list("inbox/"), key=lambda o: o.path)
    plans = [
        plan_arrivals(objects, beside.contracts, REGISTRY, first_day=FIRST_DAY, now=NOW)
        for objects in (listed, listed[::-1])
    ]
    assert plans[0] == plans[1]
    (one,) = (a for a in plans[0].arrivals if a.controls)
    assert [c.path for c in one.controls] == [f"inbox/{FILE}.ctl", f"inbox/{FILE}.json"]


@pytest.mark.parametrize("first", [FILE, f"{FILE}.json"])
def test_whichever_half_comes_first_waits_for_the_other(beside: Desk, first: str) -> None:
    halves = {FILE: sales("1"), f"{FILE}.json": '{"row_count": 1, "total": 1}'}
    beside.deliver(first, halves.pop(first))
    outcome = beside.take_in()
    awaited = f"{FILE}.ctl or {FILE}.json" if first == FILE else FILE
    assert list(outcome.waiting) == [f"{first} waits for {awaited}"]
    assert not outcome.refused
    assert beside.inbox() == {first}
    for name, content in halves.items():
        beside.deliver(name, content)
    outcome = beside.take_in()
    assert not outcome.waiting
    assert beside.facts("partner_sales", KEY).rows_loaded == 1
    assert beside.inbox() == set()


def test_a_half_that_is_still_being_written_keeps_the_other_waiting(tmp_path: Path) -> None:
    desk = desk_with(tmp_path, stating("sidecar", required=False))
    desk.settle = timedelta(seconds=30)
    desk.deliver(FILE, sales("1"))
    desk.deliver(f"{FILE}.ctl", "row_count=9\ntotal=1", at=NOW)
    assert desk.take_in().settling == 2
    desk.now += timedelta(minutes=1)
    assert desk.take_in().code(FILE) == "control_totals_differ"


def test_after_a_while_a_half_is_missing_in_the_calendar(beside: Desk) -> None:
    beside.deliver(FILE, sales("1"))
    delivered = beside.clock
    plan = plan_arrivals(
        beside.lake.list("inbox/"), beside.contracts, REGISTRY, first_day=FIRST_DAY, now=NOW
    )

    def gaps(after: timedelta) -> list[str]:
        at = delivered + after
        found = find_gaps(beside.lake, beside.contracts, REGISTRY, at, waiting=plan.waiting)
        assert all(gap.missing and str(gap.partition) == KEY for gap in found)
        return [gap.waits_for for gap in found]

    assert gaps(timedelta(minutes=59)) == []
    assert gaps(timedelta(minutes=61)) == [f"{FILE} waits for {FILE}.ctl or {FILE}.json"]


def test_optional_totals_count_when_they_are_there(tmp_path: Path) -> None:
    desk = desk_with(tmp_path, stating("sidecar", required=False))
    desk.deliver(FILE, sales("1"))
    deliver(desk, sales("1"), "row_count=2\ntotal=1", NEIGHBOUR)
    outcome = desk.take_in()
    assert desk.facts("partner_sales", KEY).control_totals == {}
    assert outcome.code(NEIGHBOUR) == "control_totals_differ"


def test_a_correction_needs_totals_of_its_own(beside: Desk) -> None:
    deliver(beside, sales("1"), "row_count=1\ntotal=1")
    beside.take_in()
    deliver(beside, sales("1", "2"), "row_count=1\ntotal=1")
    assert beside.take_in().code(FILE) == "control_totals_differ"
    beside.deliver(f"{FILE}.ctl", "row_count=2\ntotal=3")
    beside.take_in()
    assert [f.state for f in beside.states("partner_sales", KEY)] == ["superseded", "loaded"]
    # The same content again, with totals that are wrong this time and then spelled differently.
    deliver(beside, sales("1", "2"), "row_count=7\ntotal=3")
    assert beside.take_in().code(FILE) == "control_totals_differ"
    beside.deliver(f"{FILE}.ctl", "row_count=2\ntotal=3.0")
    beside.take_in()
    assert control_of(beside, beside.states("partner_sales", KEY)[-1].facts).endswith(b"3.0")
    assert beside.inbox() == set()


class Killed(BaseException):
    """The end of a process."""


@pytest.mark.parametrize("at", ["history", "manifests", "inbox", "inbox data"])
def test_a_process_that_dies_between_the_two_moves_ends_the_same(beside: Desk, at: str) -> None:
    deliver(beside, sales("1", "2"), "row_count=2\ntotal=3")

    def die(step: str) -> None:
        if step == at:
            raise Killed

    beside.on_step = die
    with pytest.raises(Killed):
        beside.take_in()
    assert beside.inbox() == ({FILE} if at == "inbox data" else {FILE, f"{FILE}.ctl"})
    beside.on_step = lambda step: None
    beside.take_in(load=False)
    manifest = beside.manifest("partner_sales", KEY)
    assert len(manifest.deliveries) == len(manifest.files) == 1
    assert beside.inbox() == set()
    assert len(list(beside.lake.list("history/"))) == 2


def test_a_data_file_that_only_looks_like_the_one_taken_in_goes_on_waiting(beside: Desk) -> None:
    deliver(beside, sales("1"), "row_count=1\ntotal=1")
    at = beside.clock
    beside.take_in()
    beside.deliver(FILE, sales("2"), at=at)  # another content, at the very same time
    assert beside.take_in(load=False).waiting
    assert beside.inbox() == {FILE}


def test_a_file_split_by_country_is_compared_as_a_whole(tmp_path: Path) -> None:
    contract = stating("sidecar", {"rows": "rows"}, CONTRACTS["stores"])
    desk = desk_with(tmp_path, contract)
    rows = [row("stores", c, store_id=str(n)) for n, c in enumerate(["FR", "DE", "FR"], start=1)]
    name = "stores_ALL_20250111.csv"
    deliver(desk, csv_text("stores", rows), "rows=3", name)
    outcome = desk.take_in()
    assert not outcome.refused
    assert desk.facts("stores", KEY).control_totals == {"rows": "3"}
    deliver(desk, csv_text("stores", rows), "rows=2", "stores_ALL_20250112.csv")
    assert desk.take_in().code("stores_ALL_20250112.csv") == "control_totals_differ"


def test_json_files_have_control_files_too(tmp_path: Path) -> None:
    contract = stating("sidecar", {"n": "rows", "sum": "sum(amount)"})
    contract = replace(
        contract, ingestion=contract.ingestion.model_copy(update={"format": Format.JSON})
    )
    desk = desk_with(tmp_path, contract)
    name = "partner_sales_FR_20250111.json"
    records = [row("partner_sales", amount=a, transaction_id=a) for a in ("1.5", "2")]
    deliver(desk, json.dumps(records), '{"n": 2, "sum": 3.50}', name, ".json")
    desk.take_in()
    assert desk.facts("partner_sales", KEY).control_totals == {"rows": "2", "sum(amount)": "3.5"}
    assert desk.inbox() == set()


def test_control_files_of_personal_data_are_encrypted_and_not_quoted(tmp_path: Path) -> None:
    desk = desk_with(tmp_path, stating("sidecar", {"rows": "rows"}, CONTRACTS["employees"]))
    text = csv_text("employees", [row("employees")])
    deliver(desk, text, "rows=1\nsent_by=Chloé Martin", "employees_FR_20250111.csv")
    deliver(desk, text, "Chloé Martin", "employees_DE_20250111.csv")
    outcome = desk.take_in()
    facts = desk.facts("employees", KEY)
    assert str(facts.control_file).endswith(".enc")
    assert b"Martin" not in control_of(desk, facts)
    refused = outcome.refused["employees_DE_20250111.csv"]
    assert refused.code == "unreadable_control_file"
    assert "Martin" not in refused.model_dump_json()
    assert replayed(desk, "employees") == {}


def replayed(desk: Desk, feed: str) -> Mapping[str, Manifest]:
    """What a replay under the contract as it is changes."""
    gate = Gate(desk.lake, desk.contracts[feed], REGISTRY, KEYS)
    manifest = desk.manifest(feed, KEY)
    report = judge_again(gate, desk.lake, {manifest.partition: manifest}, {manifest.partition})
    assert not report.rejections, report.rejections
    return {str(p): m for p, m in report.manifests.items()}


@pytest.mark.parametrize("kind", ["sidecar", "trailer"])
def test_originals_are_replayed_with_the_totals_they_came_with(tmp_path: Path, kind: str) -> None:
    desk = desk_with(tmp_path)
    desk.deliver(FILE, sales("1"))
    desk.take_in()
    desk.contracts = {**CONTRACTS, "partner_sales": stating(kind)}
    again = replayed(desk, "partner_sales")[KEY]  # nobody stated anything then
    assert [f.control_totals for f in again.files.values()] == [{}]
    if kind == "sidecar":
        deliver(desk, sales("1", "2"), "row_count=2\ntotal=3")
    else:
        desk.deliver(FILE, sales("1", "2") + "TRL|2|3\n")
    desk.take_in()
    replayed(desk, "partner_sales")
    facts = desk.states("partner_sales", KEY)[-1].facts
    assert facts.control_totals == {"rows": "2", "sum(amount)": "3"}
    assert (facts.control_file is None) == (kind == "trailer")
    assert replayed(desk, "partner_sales") == {}


# -------------------------------------------------------------------------------- trailers


@pytest.mark.parametrize(
    "trailer",
    ["TRL|3|3.50\n", "TRL,3,3.5", '"TRL","3","3.5"\n\n \n', " TRL,3,3.5,2025-01-11\r\n"],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_a_trailer_is_no_row(below: Desk, trailer: str, quoted: bool) -> None:
    data = sales("1", "2", "0.5")
    if quoted:  # a value over two lines: rows are read one by one
        data = data.replace("cashier", '"cash\nier"', 1)
    below.deliver(FILE, data + trailer)
    below.take_in()
    facts = below.facts("partner_sales", KEY)
    assert (facts.rows_in, facts.rows_loaded, facts.rows_quarantined) == (3, 3, 0)
    assert facts.control_totals == {"rows": "3", "sum(amount)": "3.5"}
    assert facts.control_file is None


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (sales("1", "2"), "trailer_missing", ["TRL"]),
        (sales("1", "2") + "TRL|3|3\n", "control_totals_differ", ["stated 3, read 2"]),
        (sales("1", "2") + "TRL|2|4\n", "control_totals_differ", ["the trailer", "stated 4"]),
        (sales("1") + "TRL|1|1\n" + "s-1,t-9,r,2025-01-11 10:00:00,1,till,x\n",
         "trailer_misplaced", ["rows behind its trailer"]),
        (sales("1") + "TRL|1|1\nTRL|1|1\n", "trailer_misplaced", ["more than one"]),
        ("TRL|1|1\n" + sales("1"), "trailer_misplaced", []),
        (sales("1", "2") + "TRL\n", "unreadable_trailer", ["does not state row_count"]),
        (sales("1", "2") + "TRL|2|many\n", "unreadable_trailer", ["'many'", "row_count, total"]),
        (sales("1", "2") + "TRLR|2|3\n", "trailer_missing", []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("quoted", [False, True])
def test_what_is_wrong_with_a_trailer(
    below: Desk, content: str, code: str, words: list[str], quoted: bool
) -> None:
    below.deliver(FILE, content.replace("cashier", '"cash\nier"', 1) if quoted else content)
    below.deliver(NEIGHBOUR, sales("7", country="DE") + "TRL|1|7\n")
    refusal(below, below.take_in(), code, *words)
    assert below.raw_counts("partner_sales") == {"DE": 1}


def test_a_day_without_rows_and_a_file_without_header_have_trailers(below: Desk) -> None:
    header, line = sales("1").splitlines()
    below.deliver(FILE, f"{header}\nTRL|0|0\n")
    below.deliver(NEIGHBOUR, f"{line}\nTRL|1|1\n")
    assert not below.take_in().refused
    assert below.facts("partner_sales", "DE|2025-01-11").rows_loaded == 1


@pytest.mark.parametrize("end", ["TRL|3000|3000\n", "TRL|3000|3000\n" + "\n" * 40])
def test_a_trailer_of_a_file_longer_than_a_chunk(
    below: Desk, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "CHUNK_CHARACTERS", 20)
    for quoted, name in ((False, FILE), (True, NEIGHBOUR)):
        data = sales(*["1"] * 3000)[:None]
        below.deliver(name, (data.replace("cashier", '"cash\nier"', 1) if quoted else data) + end)
    assert not below.take_in().refused
    below.deliver(FILE, sales(*["1"] * 1500) + "TRL|1500|1500\n" + sales("2") + end)
    assert below.take_in().code(FILE) == "trailer_misplaced"


# -------------------------------------------------------------------------------- around it


@pytest.mark.parametrize("kind", ["sidecar", "trailer"])
def test_corrected_rows_are_requeued_with_totals_of_their_own(tmp_path: Path, kind: str) -> None:
    states = STATES if kind == "trailer" else {**STATES, "digest": "sha256"}
    desk = desk_with(tmp_path, stating(kind, states))
    contract = desk.contracts["partner_sales"]
    lines = sales("1", "2")
    data = lines.replace("2025-01-11 10:00:00,2", "someday,2")
    if kind == "trailer":
        desk.deliver(FILE, data + "TRL|2|3\n")
    else:
        digest = hashlib.sha256(data.encode()).hexdigest()
        deliver(desk, data, f"row_count=2\ntotal=3\ndigest={digest}")
    desk.take_in()
    (file,) = quarantined_files(
        desk.lake, desk.contracts, {"partner_sales": [Partition.parse(KEY)]}
    )
    bad = tmp_path / "bad.csv"
    assert export(desk.lake, contract, file, bad) == 1
    corrected = bad.read_text().replace("someday,2", "2025-01-11 11:00:00,5").encode()
    requeue(desk.lake, contract, file, corrected)
    desk.now = datetime.now(UTC) + timedelta(days=1)
    assert not desk.take_in().refused
    facts = desk.states("partner_sales", KEY)[-1].facts
    assert (facts.rows_loaded, facts.rows_quarantined) == (2, 0)
    assert facts.control_totals["sum(amount)"] == "6"
    assert desk.inbox() == set()


def test_announced_halves_are_handed_on_once_both_are_there(yard: Yard) -> None:  # noqa: F811
    desk = replace(yard.desk, contracts={**CONTRACTS, "partner_sales": stating("sidecar")})
    yard.desk = desk
    for n, order in enumerate((["", ".ctl"], [".json", ""])):
        day = f"partner_sales_FR_2025011{n}.csv"
        first, second = (day + suffix for suffix in order)
        announced(yard, yard.deliver(first))
        look = yard.tick()
        assert not look.fresh
        assert len(look.plan.waiting) == 1
        yard.tick()
        assert yard.in_flight() == 0
        announced(yard, yard.deliver(second))
        (arrival,) = yard.tick().fresh
        assert arrival.name == day
        assert len(arrival.controls) == 1
        yard.lake.put(f"inbox/{day}{max(order)}", b"another")
        announced(yard, f"inbox/{day}{max(order)}")
        assert [a.name for a in yard.tick().fresh] == [day]  # for judgement with the new one
    dead = boto3.client("sqs").receive_message(QueueUrl=yard.dead_url)
    assert "Messages" not in dead


def test_nothing_changes_without_a_declaration(desk: Desk) -> None:
    deliver(desk, sales("1"), "row_count=7")
    desk.deliver(NEIGHBOUR, sales("1") + "TRL|1|1\n")
    outcome = desk.take_in()
    assert outcome.code(f"{FILE}.ctl") == "unknown_name"
    assert desk.facts("partner_sales", KEY).control_totals == {}
    assert desk.facts("partner_sales", "DE|2025-01-11").rows_quarantined == 1


@pytest.mark.parametrize(
    ("totals", "words"),
    [
        ({"kind": "sidecar", "states": {}}, "states"),
        ({"kind": "letter", "states": {"n": "rows"}}, "kind"),
        ({"kind": "sidecar", "states": {"n": "count"}}, "none of rows, sum"),
        ({"kind": "sidecar", "states": {"n": "rows", "m": "rows"}}, "twice"),
        ({"kind": "sidecar", "states": {"n": "sum(nothing)"}}, "no column"),
        ({"kind": "sidecar", "states": {"n": "sum(name)"}}, "varchar"),
        ({"kind": "trailer", "states": {"n": "sha256"}}, "part of"),
        ({"kind": "trailer", "states": {"n": "rows"}, "marker": "a,b"}, "marker"),
    ],
)
def test_what_cannot_be_declared(tmp_path: Path, totals: dict[str, Any], words: str) -> None:
    changed = document("employees")
    ingestion(changed)["control_totals"] = totals
    with pytest.raises(ConfigurationError, match=words):
        read_contract(write(tmp_path, changed))


def test_demanding_totals_breaks_senders_and_making_them_optional_does_not() -> None:
    without, with_totals = CONTRACTS["partner_sales"], stating("sidecar")
    optional = stating("sidecar", required=False)
    levels = [
        max(level for level, _ in changes_of(old, new))
        for old, new in ((without, with_totals), (with_totals, optional), (optional, with_totals))
    ]
    assert levels == [Level.MAJOR, Level.MINOR, Level.MAJOR]


def test_demo_movements_end_with_their_trailer(desk: Desk) -> None:
    files: dict[str, bytes] = {}
    spec = GeneratorSpec(
        first_day=datetime(2025, 1, 11, tzinfo=UTC).date(),
        days=2,
        lines_per_day=60,
        seed=3,
        feeds=("inventory_movements",),
        countries=("FR",),
    )
    generate(spec, Dirt.none(), files.__setitem__)
    for name, data in files.items():
        desk.deliver(name, data)
    assert not desk.take_in(load=False).refused
    facts = desk.facts("inventory_movements", KEY)
    assert facts.control_totals["rows"] == str(facts.rows_in)
    assert read_rejections(desk.lake) == []
