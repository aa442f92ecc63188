"""Bad input from tills and from the replicated stock table: what becomes of file and rows.

How files are packed and cut in general is the business of test_bad_input and test_formats; these
are the ways in which an event stream and a change log go wrong. ``RETAIL_TEST_EXAMPLES=2000`` plays
many damaged files.
"""

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from retail_platform_tests.builders import Desk, Outcome, local_desk
from retail_platform_tests.damage import damaged
from retail_platform_tests.histories import order_pages, stock_changes, till_events
from retail_platform_tests.memory import Growth

KEY = "FR|2025-01-11"
FEW = 60
EXAMPLES = int(os.environ.get("RETAIL_TEST_EXAMPLES", FEW))
BOUND_MB = 600

EVENT = till_events("FR", 11, [(10, 1, 5, 2)], 0, "-a").content.decode()
CHANGE = stock_changes("FR", 11, [("U", 1, 9, 10)], 0).content.decode()
LOADED = stock_changes("FR", 11, [("L", 2, 9, 10)], 0).content.decode()
HEADER = (
    "Op,Stock ID,Store ID,Product ID,Size,Bin,On hand,Reserved,Reorder point,Safety stock,"
    "Unit cost,Currency,Committed at,LSN\n"
)


def event(**changes: Any) -> str:
    """Another event of the same till; a mapping changes a part of the nested record."""
    told = json.loads(EVENT) | {"event_id": "other"}
    for name, value in changes.items():
        told[name] = told[name] | value if isinstance(value, dict) else value
    return json.dumps(told)


EVENTS: dict[str, tuple[str | bytes, tuple[int, int], str | None]] = {
    "mark": (b"\xef\xbb\xbf" + EVENT.encode(), (1, 0), None),
    "list": (f"[{EVENT},{event()}]", (2, 0), None),
    "newlines": (f"{EVENT}\r\n{event()}\n{event(event_id='b')}\r{EVENT}", (3, 0), None),
    "new_key": (event(weather="rain"), (1, 0), None),
    "key_twice": (
        EVENT + event().replace("{", '{"event_id": "x", ', 1), (1, 1), "row:duplicate_key"
    ),
    "infinity": (
        EVENT + event(item={"quantity": float("inf")}), (1, 1), "quantity:not_an_integer"
    ),
    "nan": (EVENT + event(item={"unit_price": "NaN"}), (1, 1), "unit_price:not_a_decimal"),
    "surrogate": (EVENT + event(event_id="\ud800"), (1, 1), "row:lone_surrogate"),
    "deep": (EVENT + event(x=0).replace("0}", "[" * 100_000 + "]" * 100_000 + "}"), (1, 1),
             "row:nested_too_deep"),
    "nobody": (EVENT + "{}", (1, 1), "event_id:required"),
    "no_number": (EVENT + event(event_id=None), (1, 1), "event_id:required"),
    "no_zone": (EVENT + event(produced_at="2025-01-20T10:00:00"), (1, 1),
                "produced_at:not_a_timestamp"),
    "old_clock": (EVENT + event(produced_at="1899-01-20T10:00:00Z"), (1, 1),
                  "produced_at:not_a_timestamp"),
    "currency": (EVENT + event(receipt={"currency": "CNY"}), (1, 1), "row:currency_of_country"),
    "flat": (EVENT + event(receipt="none"), (1, 1), "invoice_id:required"),
}  # fmt: skip
"""Content, rows loaded and quarantined, one of the reasons."""

EVENTS_REFUSED = {
    "log": ("10:15:02 till 3 started\n", "not_json"),
    "cut": (EVENT[:-40], "truncated_json"),
    "zeros": (EVENT.encode() + bytes(10), "broken_json"),
    "half_packed": (gzip.compress(EVENT.encode())[:-6], "truncated_gzip"),
    "nothing": ("", "empty_file"),
}

CHANGES: dict[str, tuple[str | bytes, tuple[int, int]]] = {
    "header": (HEADER + CHANGE, (1, 0)),
    "mark": ("\ufeff" + CHANGE, (1, 0)),
    "semicolons": (CHANGE.replace(",", ";"), (1, 0)),
    "windows": (CHANGE.replace("\n", "\r\n"), (1, 0)),
    "utf_16": (CHANGE.encode("utf-16"), (1, 0)),
    "repeated": (CHANGE * 2, (1, 1)),
}
"""Content, rows loaded, repetitions."""

CHANGES_REFUSED = {
    "operation": (CHANGE + CHANGE.replace("U", "X", 1), "op:not_allowed"),
    "mixed": (CHANGE + LOADED, "row:wrong_field_count"),
    "short": (CHANGE + "U,3,21,1\n", "row:wrong_field_count"),
    "long": (CHANGE + CHANGE.replace("\n", ",1\n"), "row:wrong_field_count"),
    "position": (CHANGE + CHANGE.replace(",9\n", ",-9\n"), "lsn:too_small"),
    "text": (CHANGE + CHANGE.replace(",9\n", ",nine\n"), "lsn:not_an_integer"),
    "zero": (CHANGE + CHANGE.replace("M", "\0"), "row:nul_byte"),
    "currency": (CHANGE + CHANGE.replace("EUR", "USD"), "row:currency_of_country"),
    "future": (CHANGE.replace("2025-01-01", "2125-01-01"), "committed_at:not_a_timestamp"),
    "quote": (CHANGE + CHANGE.replace("M", '"M'), "unbalanced_quote"),
    "nothing": ("", "empty_file"),
}
"""A change that is missing would be wrong for ever, so one bad row refuses the file."""


def of_events(name: str) -> str:
    return f"pos_events/FR/2025/01/11/06/{name}"


def of_changes(name: str) -> str:
    """The names of change files carry a running number."""
    number = [*CHANGES, *CHANGES_REFUSED].index(name)
    return f"stock_cdc/FR/2025/01/11/20250111-{number}.csv"


@pytest.fixture(scope="module")
def taken_in(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, Outcome]:
    """All cases in one inbox."""
    desk = local_desk(tmp_path_factory.mktemp("desk"))
    files: dict[str, str | bytes] = {
        **{of_events(name): case[0] for name, case in {**EVENTS, **EVENTS_REFUSED}.items()},
        **{of_changes(name): case[0] for name, case in CHANGES.items()},
        **{of_changes(name): case[0] for name, case in CHANGES_REFUSED.items()},
    }
    for name, content in files.items():
        desk.deliver(name, content)
    growth = Growth()
    outcome = desk.take_in()
    assert growth.megabytes < BOUND_MB
    return desk, outcome


@pytest.mark.parametrize("case", EVENTS)
def test_an_event_that_cannot_be_read_leaves_the_others_alone(
    taken_in: tuple[Desk, Outcome], case: str
) -> None:
    _, (loaded, quarantined), reason = EVENTS[case]
    (facts,) = (s.facts for s in taken_in[0].states("pos_events", KEY)
                if s.facts.name == of_events(case))  # fmt: skip
    assert (facts.rows_loaded, facts.rows_quarantined) == (loaded, quarantined)
    assert reason is None or reason in facts.reasons


@pytest.mark.parametrize("case", EVENTS_REFUSED)
def test_a_stream_that_cannot_be_told_apart_is_refused(
    taken_in: tuple[Desk, Outcome], case: str
) -> None:
    desk, outcome = taken_in
    assert outcome.code(of_events(case)) == EVENTS_REFUSED[case][1]
    assert of_events(case) in desk.inbox()


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_log_is_read_however_it_is_written(
    taken_in: tuple[Desk, Outcome], case: str
) -> None:
    (facts,) = (s.facts for s in taken_in[0].states("stock_cdc", KEY)
                if s.facts.name == of_changes(case))  # fmt: skip
    assert (facts.rows_loaded, facts.rows_duplicate) == CHANGES[case][1]
    assert facts.rows_quarantined == 0


@pytest.mark.parametrize("case", CHANGES_REFUSED)
def test_a_change_log_with_a_bad_row_is_refused_whole(
    taken_in: tuple[Desk, Outcome], case: str
) -> None:
    desk, outcome = taken_in
    refusal = outcome.refused[of_changes(case)]
    assert CHANGES_REFUSED[case][1] in (refusal.code, *refusal.seen.replace("(", " ").split())
    assert of_changes(case) in desk.inbox()


@pytest.mark.timeout(3600)
@settings(
    max_examples=max(3, EXAMPLES // 20),
    derandomize=EXAMPLES == FEW,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
def test_damaged_events_changes_and_pages_are_loaded_quarantined_or_refused(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    desk = local_desk(tmp_path / str(seed))
    names = set()
    for n in range(30):
        told = [(chance.randint(5, 11), k, k, k) for k in range(chance.randint(1, 9))]
        log = [(chance.choice("IUD"), k + 1, k, k) for k in range(chance.randint(1, 9))]
        pages = [(chance.randint(5, 11), k, k, k + 1) for k in range(chance.randint(1, 9))]
        files = {
            f"pos_events/FR/2025/01/11/06/e{n}": till_events("FR", 11, told, 0, "-a"),
            f"stock_cdc/FR/2025/01/11/20250111-{n}.csv": stock_changes("FR", 11, log, 0),
            f"online_orders_FR_20250111_{n}.json": order_pages("FR", 11, pages, 0),
        }
        for name, delivery in files.items():
            desk.deliver(name, damaged(delivery.content, chance))
            names.add(name)
    growth = Growth()
    outcome = desk.take_in()  # which checks the identities of counts
    accepted = {
        state.facts.name
        for feed, manifests in outcome.manifests.items()
        for partition in manifests
        for state in desk.states(feed, str(partition))
    }
    assert accepted | outcome.refused.keys() == names
    assert not accepted & outcome.refused.keys()
    assert desk.inbox() == set(outcome.refused)
    assert all(r.seen and r.remedy for r in outcome.refused.values())
    assert growth.megabytes < BOUND_MB
