"""File names: read, or refused with a reason; never guessed."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retail_platform.countries import ALL
from retail_platform.errors import FileRejected
from retail_platform.lake.naming import FileName, is_temporary, read_file_name
from retail_platform.partitions import Scope
from retail_platform_tests.builders import CONTRACTS, FIRST_DAY, REGISTRY

TODAY = date(2025, 6, 1)
CODES = {
    "unknown_name",
    "unknown_feed",
    "unknown_country",
    "missing_country",
    "unexpected_country",
    "impossible_date",
    "future_date",
    "before_first_day",
    "after_last_day",
}
NEW_YEAR = date(2025, 1, 1)


def read(name: str) -> FileName:
    return read_file_name(name, CONTRACTS, REGISTRY, FIRST_DAY, TODAY)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("transactions_FR_20250101.csv", ("transactions", "FR")),
        ("transactions_UK_20250101.csv", ("transactions", "GB")),
        ("transactions_gbr_20250101.csv.gz", ("transactions", "GB")),
        ("transactions_FR_20250101_till-3_v2.csv", ("transactions", "FR")),
        ("transactions_FR_20250101_20240101.csv", ("transactions", "FR")),
        (f"transactions_FR_20250101_{'é' * 85}.csv", ("transactions", "FR")),
        ("a/b_c/transactions_FR_20250101.csv", ("transactions", "FR")),
        ("partner_sales_US_20250101.csv", ("partner_sales", "US")),
        ("fx_rates_20250101.csv", ("fx_rates", ALL)),
        ("fx_rates_ALL_20250101_2.csv", ("fx_rates", ALL)),
        ("stores_ALL_20250101.csv", ("stores", ALL)),
        ("transactions_FR_20250101.json", ("transactions", "FR")),
        ("transactions_FR_20250101_2.ndjson.gz", ("transactions", "FR")),
        ("transactions_FR_20250101.jsonl.zst", ("transactions", "FR")),
        ("transactions_FR_20250101.csv.zip", ("transactions", "FR")),
        ("stores_20250101.csv", ("stores", ALL)),
    ],
)
def test_a_name_gives_feed_country_and_day(name: str, expected: tuple[str, str]) -> None:
    assert read(name) == FileName(*expected, NEW_YEAR)


@pytest.mark.parametrize(
    ("name", "code", "remedy"),
    [
        ("transactions_FR_20250101", "unknown_name", "deliver it again"),
        ("transactions_FR_250101.csv", "unknown_name", "transactions_FR_20250111.csv"),
        ("transactions_FR_20250101.csv.bz2", "unknown_name", "Rename"),
        ("transactions_FR_20250101.csv\n", "unknown_name", "Rename"),
        ("transactions_FR_20250101_.csv", "unknown_name", "Rename"),
        ("20250101.csv", "unknown_name", "Rename"),
        (f"transactions_FR_20250101_{'é' * 88}.csv", "unknown_name", "Rename"),
        ("sales_20250101.csv", "unknown_feed", "add a contract"),
        ("transactons_FR_20250101.csv", "unknown_feed", "Did you mean transactions?"),
        ("transactions_FRANCE_20250101.csv", "unknown_feed", "Did you mean transactions?"),
        ("TRANSACTIONS_FR_20250101.csv", "unknown_feed", "add a contract"),
        ("transactions_IT_20250101.csv", "unknown_country", "add the country to the registry"),
        ("partner_stores_20250101.csv", "missing_country", "partner_stores_FR_<YYYYMMDD>.csv"),
        ("partner_stores_ALL_20250101.csv", "missing_country", "one file per country"),
        ("discounts_GB_20250101.csv", "unexpected_country", "discounts_<YYYYMMDD>.csv"),
        ("fx_rates_all_20250101.csv", "unexpected_country", "fx_rates_<YYYYMMDD>.csv"),
        ("transactions_FR_20250001.csv", "impossible_date", "YYYYMMDD"),
        ("transactions_FR_00000000.csv", "impossible_date", "YYYYMMDD"),
        ("transactions_FR_20250603.csv", "future_date", "when its day comes"),
        ("transactions_FR_99991231.csv", "future_date", "Correct the date"),
        ("transactions_FR_20221231.csv", "before_first_day", "RETAIL_FIRST_DAY"),
    ],
)
def test_a_refusal_says_what_to_do(name: str, code: str, remedy: str) -> None:
    with pytest.raises(FileRejected) as refused:
        read(name)
    assert refused.value.code == code
    assert remedy in refused.value.remedy
    assert repr(name.rsplit("/", 1)[-1]) in refused.value.seen


@pytest.mark.parametrize("day", [FIRST_DAY, TODAY, TODAY + timedelta(days=1)])
def test_days_at_the_edge_are_accepted(day: date) -> None:
    """One day ahead, because some shops live ahead of UTC."""
    assert read(f"transactions_CN_{day:%Y%m%d}.csv").day == day


def test_a_closed_period_takes_its_last_day_and_none_after_it() -> None:
    def of_closed_period(name: str) -> FileName:
        return read_file_name(name, CONTRACTS, REGISTRY, FIRST_DAY, TODAY, NEW_YEAR)

    assert of_closed_period("transactions_FR_20250101.csv").day == NEW_YEAR
    with pytest.raises(FileRejected) as refused:
        of_closed_period("transactions_FR_20250102.csv")
    assert refused.value.code == "after_last_day"
    assert "RETAIL_LAST_DAY" in refused.value.remedy


words = st.text(alphabet="abcXYZ_019.-/ %é中'\"\\\n\0", max_size=20)


@given(
    st.text(max_size=60)
    | st.builds("_".join, st.lists(words | st.sampled_from([*CONTRACTS, "FR", "ALL"]), max_size=5))
    | st.builds(
        "{}_{}_{}{}{}".format,
        st.sampled_from([*CONTRACTS, "sales", ""]),
        st.sampled_from(["FR", "UK", "ALL", "XX", ""]) | words,
        st.integers(0, 10**9).map(str) | st.dates().map("{:%Y%m%d}".format),
        words,
        st.sampled_from([".csv", ".csv.gz", ".CSV", ""]),
    )
)
def test_any_name_is_read_or_refused(name: str) -> None:
    refused = None
    try:
        found = read(name)
    except FileRejected as error:
        refused = error
    if refused:
        assert refused.code in CODES
        assert refused.seen
        assert refused.remedy
        return
    assert found.feed in CONTRACTS
    assert FIRST_DAY <= found.day <= TODAY + timedelta(days=1)
    assert f"{found.day:%Y%m%d}" in name.rsplit("/", 1)[-1]
    assert found.country in (*REGISTRY.codes, ALL)


@given(
    st.sampled_from(sorted(CONTRACTS)),
    st.sampled_from(sorted(REGISTRY.code_by_alias)),
    st.dates(FIRST_DAY, TODAY),
    st.from_regex(r"(_[A-Za-z0-9 ()%é-]{1,12})?", fullmatch=True),
    st.sampled_from(["", ".gz"]),
)
def test_every_name_that_follows_the_rule_is_read(
    feed: str, alias: str, day: date, part: str, compression: str
) -> None:
    shared = CONTRACTS[feed].scope is Scope.GLOBAL
    if shared or len(alias) > 3 or not alias.isascii():
        token, country = ("", ALL) if shared else ("_FR", "FR")
    else:
        token, country = f"_{alias}", REGISTRY.resolve(alias) or ""
    name = f"{feed}{token}_{day:%Y%m%d}{part}.csv{compression}"
    assert read(name) == FileName(feed, country, day)


@pytest.mark.parametrize(
    ("name", "temporary"),
    [
        (".transactions_FR_20250101.csv.a8Xy", True),
        ("from paris/.hidden.csv", True),
        ("~transactions_FR_20250101.csv", True),
        ("transactions_FR_20250101.csv.part", True),
        ("transactions_FR_20250101.csv.filepart", True),
        ("transactions_FR_20250101.csv#3", True),
        ("transactions_FR_20250101.csv", False),
        (".from paris/transactions_FR_20250101.csv", False),
        ("partner_sales_FR_20250101_#3.csv", False),
    ],
)
def test_unfinished_uploads_are_recognised_by_name(name: str, temporary: bool) -> None:
    assert is_temporary(name) is temporary
