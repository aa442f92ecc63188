"""What is made of customers over time, against an oracle written from the definitions.

Lines are delivered with everything that files bring: versions that replace each other, late rows,
returns, guests, days without a rate. The oracle never looks at the SQL, nor at anything built.

`rfm_orders.csv` is published: 995 customers and their scores, as the article "RFM - Transaction
Level Data" of the R package rfm shows them for its data set `rfm_data_orders` (A. Hebbali,
rfm.rsquaredacademy.com, MIT licence; after Blattberg, Kim, Neslin: Database Marketing, 2008,
chapter 12). Names are left out.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dbt.contracts.graph.manifest import Manifest

from retail_platform_tests.dbt_warehouse import CENT, Row, Warehouse, outcomes, rate, sale, share

Table = list[tuple[Any, ...]]

FIRST, DAYS = date(2023, 12, 20), 430
"""More than the 365 days of RFM, across two ends of years and a 29 February."""
COUNTRIES = ("FR", "US")
CUSTOMERS = (*range(1, 13), None)
DAYS_WITHOUT_RATE = range(200, 222)
"""Six of them have the rate of the day before."""
BUILT = "+fct_customer_behavior+"

SEGMENTS = {
    5: ("New", "Potential loyalist", "Potential loyalist", "Champions", "Champions"),
    4: ("New", "Potential loyalist", "Potential loyalist", "Champions", "Champions"),
    3: ("Needs attention", "Needs attention", "Needs attention", "Loyal", "Loyal"),
    2: ("Hibernating", "Hibernating", "At risk", "At risk", "At risk"),
    1: ("Lost", "Lost", "At risk", "At risk", "At risk"),
}
"""By recency score, and frequency score from 1."""


# ---------------------------------------------------------------------------------- deliveries


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def deliver(warehouse: Warehouse, seed: int) -> pl.DataFrame:
    """A history in RAW; the lines that count in it, the newest version of each."""
    rng = random.Random(seed)
    rated = [n for n in range(DAYS) if n not in DAYS_WITHOUT_RATE]
    warehouse.deliver("fx_rates", "ALL", FIRST, [rate(day(n), "USD", "1.25") for n in rated])
    newest: dict[tuple[str, date, str, int], Row] = {}
    for batch in sorted(rng.sample(range(DAYS), 120)):
        if 80 <= batch < 170:  # spring passes without trade
            continue
        for country in COUNTRIES:
            lines = [line(country, batch, rng) for _ in range(rng.randint(0, 9))]
            warehouse.deliver("transactions", country, day(batch), lines)
            for number in lines:
                key = (country, number["sold_at"].date(), number["invoice_id"], number["line"])
                newest[key] = number
    last_rated = DAYS_WITHOUT_RATE[0] - 1
    unrated = {day(n) for n in DAYS_WITHOUT_RATE if n > last_rated + 6}
    return pl.DataFrame(
        [
            {
                "country": country,
                "business_date": sold,
                "customer": number["customer_id"],
                "invoice": invoice,
                "is_return": number["transaction_type"] == "Return",
                "units": number["quantity"],
                "gross": cents(country, number["unit_price"] * number["quantity"]),
                "net": cents(country, number["line_total"]),
            }
            for (country, sold, invoice, _), number in newest.items()
            if country == "FR" or sold not in unrated
        ],
        infer_schema_length=None,
    ).with_columns(gross=pl.when("is_return").then(-pl.col("gross")).otherwise("gross"))


def line(country: str, batch: int, rng: random.Random) -> Row:
    """Any line of few receipts of the day, mostly; late ones repeat receipts of days before."""
    sold = day(max(0, batch - rng.choice((0, 0, 0, 0, 1, 5, 30))))
    number = rng.randint(1, 4)
    kind = rng.choice(("INV", "INV", "INV", "RET"))
    return sale(
        f"{kind}-{country}-001-{sold:%m%d}{number:04}",
        rng.randint(1, 2),
        str(rng.choice((5, 5, 10, Decimal("19.99")))),
        f"{sold} 12:00",
        customer_id=customer(sold, number),
        quantity=rng.randint(1, 3),
        discount=rng.choice(("0", "0", "0.2", "0.333")),
    )


def customer(sold: date, receipt: int) -> int | None:
    """Whose receipt it is: regulars, guests, and those who come in one week of their life."""
    if receipt == 1:
        return 100 + sold.toordinal() // 7
    return CUSTOMERS[(sold.toordinal() * 5 + receipt * receipt) % len(CUSTOMERS)]


def cents(country: str, amount: Decimal) -> int:
    """Euro cents; a dollar is 0.80 EUR."""
    euros = amount * 4 / 5 if country == "US" else amount
    return int(euros.quantize(CENT, ROUND_HALF_UP) * 100)


def euros(amount: int) -> Decimal:
    return Decimal(amount) / 100


# -------------------------------------------------------------------------------------- oracle


def customer_days(lines: pl.DataFrame) -> pl.DataFrame:
    sold, back = pl.col("is_return").not_(), pl.col("is_return")
    return (
        lines.filter(pl.col("customer").is_not_null())
        .group_by("country", "business_date", "customer")
        .agg(
            sales=pl.col("invoice").filter(sold).n_unique(),
            returns=pl.col("invoice").filter(back).n_unique(),
            units_sold=pl.col("units").filter(sold).sum(),
            units_returned=pl.col("units").filter(back).sum(),
            gross=pl.col("gross").filter(sold).sum(),
            bought=pl.col("net").filter(sold).sum(),
            returned=-pl.col("net").filter(back).sum(),
        )
        .with_columns(net=pl.col("bought") - pl.col("returned"))
    )


def expected_behavior(days: pl.DataFrame) -> Table:
    return sorted(
        (
            *(row[name] for name in ("country", "business_date", "customer", "sales", "returns")),
            *(row["units_sold"], row["units_returned"], euros(row["gross"])),
            *(
                euros(row["gross"] - row["bought"]),
                share(row["gross"] - row["bought"], row["gross"]),
            ),
            *(euros(row["returned"]), euros(row["net"])),
        )
        for row in days.iter_rows(named=True)
    )


def expected_rfm(days: pl.DataFrame) -> Table:
    """Closing day by closing day: every Saturday, and nothing when nobody came in its week."""
    found: Table = []
    saturdays = [d for d in map(day, range(DAYS + 6)) if d.isoweekday() == 6]
    for country in COUNTRIES:
        of_country = days.filter(country=country)
        for saturday in saturdays:
            age = pl.lit(saturday) - pl.col("business_date")
            until = of_country.filter(age >= timedelta(0))
            if until.filter(age < timedelta(days=7)).is_empty():
                continue
            buyers = (
                until.filter(age < timedelta(days=365))
                .group_by("customer")
                .agg(
                    last=pl.col("business_date").filter(pl.col("sales") > 0).max(),
                    frequency=pl.col("sales").sum(),
                    monetary=pl.col("net").sum(),
                )
                .filter(pl.col("frequency") > 0)
            )
            people = buyers.rows(named=True)
            for one in people:
                r, f, m = (
                    1 + 5 * sum(other[what] < one[what] for other in people) // len(people)
                    for what in ("last", "frequency", "monetary")
                )
                found.append(
                    (country, saturday, one["customer"], one["last"], (saturday - one["last"]).days,
                     one["frequency"], euros(one["monetary"]), r, f, m, SEGMENTS[r][f - 1])
                )  # fmt: skip
    return sorted(found)


def expected_customers(days: pl.DataFrame) -> Table:
    """Month by month in which anybody came; all who had ever come, person by person."""
    found: Table = []
    for country in COUNTRIES:
        of_country = days.filter(country=country).sort("business_date").rows(named=True)
        for closing in sorted({end_of_month(row["business_date"]) for row in of_country}):
            until = [row for row in of_country if row["business_date"] <= closing]
            for customer in {row["customer"] for row in until}:
                came = [row for row in until if row["customer"] == customer]
                bought = [row for row in came if row["sales"]]
                of_months = defaultdict(list)
                for row in came:
                    of_months[end_of_month(row["business_date"])].append(row)
                first = last = spent_first = net_first_month = None
                if bought:
                    first, last = (bought[n]["business_date"] for n in (0, -1))
                    spent_first = euros(bought[0]["bought"])
                    net_first_month = euros(sum(r["net"] for r in of_months[end_of_month(first)]))
                found.append(
                    (country, closing, customer, first, last, len(bought),
                     euros(sum(row["bought"] for row in bought)), spent_first,
                     euros(sum(row["net"] for row in came)), net_first_month,
                     sum(row["sales"] > 0 for row in of_months[closing]),
                     euros(sum(row["net"] for row in of_months[closing])))
                )  # fmt: skip
    return sorted(found, key=lambda row: row[:3])


def end_of_month(of: date) -> date:
    return (of.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def expected_cohorts(days: pl.DataFrame) -> Table:
    """Month by month; who came when and for how much, person by person."""
    first: dict[tuple[str, int], date] = {}
    bought: dict[tuple[str, date], set[int]] = defaultdict(set)
    spent: dict[tuple[str, date, int], int] = defaultdict(int)
    months: dict[str, set[date]] = defaultdict(set)
    for row in days.sort("business_date").iter_rows(named=True):
        country, customer = row["country"], row["customer"]
        month = row["business_date"].replace(day=1)
        months[country].add(month)
        spent[country, month, customer] += row["net"]
        if row["sales"]:
            first.setdefault((country, customer), month)
            bought[country, month].add(customer)
    people: dict[tuple[str, date], set[int]] = defaultdict(set)
    for (country, customer), month in first.items():
        people[country, month].add(customer)
    found: Table = []
    for (country, begun), cohort in people.items():
        in_first_month = sum(spent[country, begun, one] for one in cohort)
        for month in (m for m in months[country] if m >= begun):
            active = len(cohort & bought[country, month])
            now = sum(spent[country, month, one] for one in cohort)
            found.append(
                (country, end_of_month(month), begun,
                 (month.year - begun.year) * 12 + month.month - begun.month, len(cohort), active,
                 share(active, len(cohort)), euros(in_first_month), euros(now),
                 share(now, in_first_month))
            )  # fmt: skip
    return sorted(found, key=lambda row: row[:3])


# --------------------------------------------------------------------------------------- tests


@dataclass(frozen=True)
class History:
    """What was delivered to a warehouse and is built there."""

    warehouse: Warehouse
    days: pl.DataFrame

    def table(self, mart: str) -> Table:
        return self.warehouse.execute(f"select * from marts.{mart} order by 1, 2, 3")


@pytest.fixture(scope="module", params=(1, 2))
def history(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, manifest: Manifest
) -> Iterator[History]:
    warehouse = Warehouse(tmp_path_factory.mktemp("history"), manifest)
    warehouse.create_raw()
    lines = deliver(warehouse, request.param)
    warehouse.run(f"{BUILT} +dim_customer")
    yield History(warehouse, customer_days(lines))
    warehouse.close()


def test_a_history_holds_what_could_go_wrong(history: History) -> None:
    """Else the comparisons below would prove little."""
    days = history.days
    rfm = pl.DataFrame(history.table("rpt_rfm"), orient="row")
    assert days.filter(pl.col("sales") == 0).height > 5, "days of returns only"
    assert days.filter(pl.col("net") < 0).height > 5
    assert set(rfm["column_7"]) == set(rfm["column_8"]) == set(rfm["column_9"]) == {1, 2, 3, 4, 5}
    assert set(rfm["column_10"]) == {name for row in SEGMENTS.values() for name in row}
    assert rfm["column_4"].max() > 350, "customers who have not come for long"
    cohorts = history.table("rpt_cohort_retention")
    assert {row[5] == 0 for row in cohorts} == {True, False}
    assert any(row[9] is not None and row[9] < 0 for row in cohorts)
    closed = {row[1] for row in cohorts if row[0] == "FR"}
    assert date(2024, 2, 29) in closed
    assert date(2024, 4, 30) not in closed, "a month without customers"


def test_days_of_customers_are_as_defined(history: History) -> None:
    assert history.table("fct_customer_behavior") == expected_behavior(history.days)


def test_recency_frequency_and_value_are_as_defined(history: History) -> None:
    assert history.table("rpt_rfm") == expected_rfm(history.days)


def test_customers_at_month_ends_are_as_defined(history: History) -> None:
    found = history.table("fct_customers_monthly")
    assert found == expected_customers(history.days)
    assert any(row[3] is None for row in found), "who only returned"


def test_cohorts_are_as_defined(history: History) -> None:
    assert history.table("rpt_cohort_retention") == expected_cohorts(history.days)


def test_data_tests_pass(history: History) -> None:
    models = "fct_customer_behavior fct_customers_monthly rpt_rfm rpt_cohort_retention"
    select = " ".join(f"{model},test_type:data" for model in models.split())
    status = outcomes(history.warehouse.dbt("test", "--select", select))
    assert "assert_customer_behavior_reconciles_with_fct_sales" in status
    assert len(status) > 15
    assert {name for name, s in status.items() if s != "pass"} == set()


CLOSING = ("fct_customers_monthly", "rpt_rfm", "rpt_cohort_retention")


def test_a_closing_day_is_the_same_when_it_is_built_alone(history: History) -> None:
    """What it needs of other days is read from where it is declared, and nowhere else."""
    before = {mart: history.table(mart) for mart in CLOSING}
    for country, closing in (("FR", date(2025, 1, 25)), ("US", date(2025, 1, 31))):
        for first in (closing, closing - timedelta(days=40), closing - timedelta(days=300)):
            history.warehouse.run(
                " ".join(CLOSING), countries=country, first_day=first, last_day=closing
            )
            assert {mart: history.table(mart) for mart in before} == before


def test_what_customers_did_before_is_carried_and_read_where_it_is_not(history: History) -> None:
    warehouse = history.warehouse
    before = history.table("fct_customers_monthly")
    closing, carried = date(2025, 1, 31), date(2024, 12, 31)
    of_january = {"first_day": closing, "last_day": closing}
    warehouse.execute(
        "update marts.fct_customers_monthly set purchase_days = 1000"
        f" where country = 'FR' and business_date = '{carried}'"
    )
    warehouse.execute(
        "delete from marts.fct_customers_monthly"
        f" where country = 'US' and business_date = '{carried}'"
    )
    warehouse.run("fct_customers_monthly", countries="FR,US", **of_january)
    rows = [row for row in history.table("fct_customers_monthly") if row[1] == closing]
    of_us = [row for row in rows if row[0] == "US"]
    assert of_us == [row for row in before if row[:2] == ("US", closing)]
    of_fr = {row[2]: row[5] for row in rows if row[0] == "FR"}
    known = {row[2] for row in before if row[:2] == ("FR", carried)}
    assert known
    assert {customer for customer, days in of_fr.items() if days >= 1000} == known
    warehouse.run("fct_customers_monthly", countries="FR,US", first_day=carried, last_day=closing)
    assert history.table("fct_customers_monthly") == before


def test_the_reconciliation_sees_a_customer_who_is_lost(history: History) -> None:
    warehouse = history.warehouse
    name = "assert_customer_behavior_reconciles_with_fct_sales"
    warehouse.execute("create table kept as from marts.fct_customer_behavior")
    try:
        # one without money in it, which no total would miss
        warehouse.execute(
            "update marts.fct_customer_behavior set net_sales_eur = 0 where customer_id = 1"
        )
        assert outcomes(warehouse.dbt("test", "--select", name)) == {name: "fail"}
        warehouse.execute("delete from marts.fct_customer_behavior where customer_id = 1")
        assert outcomes(warehouse.dbt("test", "--select", name)) == {name: "fail"}
    finally:
        warehouse.execute("delete from marts.fct_customer_behavior")
        warehouse.execute("insert into marts.fct_customer_behavior from kept")
        warehouse.execute("drop table kept")


# ------------------------------------------------------------------------------------- literature

BORDERS = {
    ("recency", 114): (4, 5),
    ("recency", 180): (3, 4),
    ("recency", 297): (2, 3),
    ("recency", 481): (1, 2),
    ("monetary", 255): (2, 1),
    ("monetary", 506): (4, 3),
}
"""Values to which we give the first score and the publication the second."""


def test_scores_are_those_of_the_literature_but_for_values_on_a_border(
    warehouse: Warehouse,
) -> None:
    """A fifth of 995 customers is 199. Equals share a score here and there, and differ in it where
    the border between two classes runs among or beside them: we count who is worse than they are
    (114 days: 795 customers, less than four fifths), the package compares with the quantile plus
    one, 255 with 255.8 or 114 days with 115, and so leaves whoever is on the border below it.
    """
    published = pl.read_csv(Path(__file__).with_name("rfm_orders.csv")).with_row_index("customer")
    end = date(2006, 12, 30)  # a Saturday; published are days before a Sunday
    warehouse.execute("create schema marts")
    warehouse.execute(
        "create table marts.fct_customer_behavior (country varchar, business_date date,"
        " customer_id bigint, sale_invoices bigint, net_sales_eur decimal(18, 2))"
    )
    warehouse.execute(
        "insert into marts.fct_customer_behavior select 'FR', $1 - unnest($2)::integer, unnest($3),"
        " unnest($4), unnest($5)",
        [end, *(published[c].to_list()
                for c in ("recency_days", "customer", "transaction_count", "amount"))],
    )  # fmt: skip
    (run,) = warehouse.dbt("run", "--select", "rpt_rfm").result.results
    # Published are orders of three years, and the report looks at one.
    of_a_year, of_three_years = "-364", "-1095"
    sql = run.node.compiled_code
    assert sql.count(of_a_year) == 1
    scored = warehouse.execute(
        "select customer_id, recency_days, frequency, monetary_eur, recency_score, frequency_score,"
        f" monetary_score from ({sql.replace(of_a_year, of_three_years)})"
        " where business_date = $1 order by customer_id", [end]
    )  # fmt: skip
    assert [row[:4] for row in scored] == [row[:4] for row in published.rows()]
    found, differences = set(), 0
    for ours, theirs in zip(scored, published.rows(), strict=True):
        for n, name in enumerate(("recency", "frequency", "monetary"), start=1):
            if ours[n + 3] != theirs[n + 3]:
                differences += 1
                found.add(((name, int(ours[n])), (ours[n + 3], theirs[n + 3])))
    assert dict(found) == BORDERS
    assert differences == 14
