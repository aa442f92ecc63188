"""Who is who in shops and CRM system: cases by hand, and an oracle that asks again on every day.

Both look at the dimension of customers as it is built by slices, in any order, with corrections.
The oracle knows nothing of versions: it takes what files up to a day told, finds the persons of
that day, and compares days.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import polars as pl
import pytest
from dbt.contracts.graph.manifest import Manifest

from retail_platform_tests.dbt_warehouse import Row, Warehouse, outcomes

FIRST = date(2025, 1, 1)
BUILT = "+dim_customer"
COLUMNS = (
    *("country", "customer_key", "customer_id", "contact_id", "contact_count", "known_from"),
    *("matched_by", "city", "country_name", "address_from", "gender", "birth_year"),
    *("birth_year_from", "job_title", "lead_source", "marketing_consent"),
    *("has_opted_out_of_email", "may_be_emailed", "marketing_consent_at"),
)
Version = tuple[Any, ...]
"""A row of the dimension: the columns above, valid_from, valid_to, is_current."""


def day(number: int) -> date:
    """From 1."""
    return FIRST + timedelta(days=number - 1)


at = datetime.fromisoformat
"""Times of the CRM system, UTC."""


def customer(
    number: int, email: str | None = None, phone: str | None = None, **more: object
) -> Row:
    return {
        "customer_id": number,
        "email_token": email,
        "telephone_token": phone,
        "country_name": "France",
        **more,
    }


def contact(
    number: int | str,
    email: str | None = None,
    phone: str | None = None,
    changed: int = 0,
    **more: object,
) -> Row:
    """Somebody who agreed to marketing; `changed` is the minute of the version."""
    return {
        "contact_id": f"c{number}",
        "email_token": email,
        "phone_token": phone,
        "marketing_consent": True,
        "has_opted_out_of_email": False,
        "is_deleted": False,
        "created_at": at("2024-01-01"),
        "last_modified_at": at("2025-01-01") + timedelta(minutes=changed),
        **more,
    }


# ------------------------------------------------------------------------------------ cases by hand


DAYS_OF_CASES = range(1, 5)


class Case(NamedTuple):
    """What files of day 1, 2, ... hold of a few people, and which versions there are then.

    Attributes:
        versions: key -> (from, to, contact, other columns that matter) of each version.
    """

    customers: Mapping[int, Sequence[Row]]
    contacts: Mapping[int, Sequence[Row]]
    versions: Mapping[str, Sequence[tuple[int, int | None, str | None, Row]]]


# People of one case have nothing to do with those of another: tokens begin with its letter, and
# numbers of customers with its place in the alphabet.
CASES = {
    "a contact before the customer": Case(
        {3: [customer(101, "a", city="Lyon")]},
        {1: [contact("a", "a", mailing_city="Nice")]},
        {
            "crm/ca": [(1, 3, "ca", {"city": "Nice", "known_from": "crm"})],
            "shop/101": [
                (3, None, "ca", {"city": "Lyon", "known_from": "shop and crm",
                                 "matched_by": "email", "may_be_emailed": True}),
            ],
        },
    ),
    "a customer before the contact": Case(
        {1: [customer(201, "b")]},
        {
            2: [contact("b", "b", mailing_city="Nice", mailing_country="Monaco",
                        birthdate_year=1980)],
        },
        {
            "shop/201": [
                (1, 2, None, {"known_from": "shop", "contact_count": 0, "may_be_emailed": False,
                              "marketing_consent": None, "country_name": "France"}),
                # of an address nothing is taken from the one and the rest from the other
                (2, None, "cb", {"city": "Nice", "country_name": "Monaco", "address_from": "crm",
                                 "birth_year": 1980, "birth_year_from": "crm"}),
            ],
        },
    ),
    "a contact that changes the e-mail address": Case(
        {1: [customer(301, "c1"), customer(302, "c2")]},
        {
            1: [contact("c", "c1")],
            2: [contact("c", "c2", changed=2)],
            # a page with an older version comes late
            3: [contact("c", "c1", changed=1)],
            4: [contact("c", "c3", changed=3)],
        },
        {
            "shop/301": [(1, 2, "cc", {}), (2, None, None, {})],
            "shop/302": [(1, 2, None, {}), (2, 4, "cc", {}), (4, None, None, {})],
            "crm/cc": [(4, None, "cc", {})],
        },
    ),
    "a consent that is withdrawn": Case(
        {1: [customer(401, "d")]},
        {
            1: [contact("d", "d")],
            3: [contact("d", "d", changed=3, marketing_consent=False,
                        marketing_consent_at=at("2025-01-03 09:00"))],
        },
        {
            "shop/401": [
                (1, 3, "cd", {"marketing_consent": True, "may_be_emailed": True}),
                (3, None, "cd", {"marketing_consent": False, "may_be_emailed": False,
                                 "marketing_consent_at": at("2025-01-03 09:00")}),
            ],
        },
    ),
    "an address of a family": Case(
        # the first who enrolled, until the CRM system notes who it is
        {1: [customer(502, "e")], 2: [customer(501, "e")]},
        {1: [contact("e", "e")], 3: [contact("e", "e", changed=1, customer_id=502)]},
        {
            "shop/501": [(2, 3, "ce", {}), (3, None, None, {})],
            "shop/502": [(1, 2, "ce", {}), (2, 3, None, {}), (3, None, "ce", {})],
        },
    ),
    "a telephone of a family": Case(
        # other addresses are other people; without an address the telephone counts
        {2: [customer(601, "f1", "f"), customer(602, None, "f")]},
        {1: [contact("f1", "f2", "f"), contact("f2", None, "f")]},
        {
            "crm/cf1": [(1, 2, "cf1", {})],
            "crm/cf2": [(1, 2, "cf2", {})],
            "shop/601": [(2, None, "cf2", {"matched_by": "phone"})],
            "shop/602": [(2, None, "cf1", {"matched_by": "phone"})],
        },
    ),
    "a person who is in the CRM system twice": Case(
        {1: [customer(701, "g", "G")]},
        {
            1: [contact("g1", None, "G", lead_source="Phone", created_at=at("2020-01-01"))],
            2: [contact("g3", "g", lead_source="Web")],
            3: [contact("g2", "g", has_opted_out_of_email=True, lead_source="Store",
                        created_at=at("2023-01-01"))],
            4: [contact("g2", "g", changed=4, is_deleted=True)],
        },
        {
            "shop/701": [
                (1, 2, "cg1", {"contact_count": 1, "lead_source": "Phone", "matched_by": "phone"}),
                (2, 3, "cg3", {"contact_count": 2, "lead_source": "Web", "matched_by": "email"}),
                (3, 4, "cg2", {"contact_count": 3, "lead_source": "Store", "may_be_emailed": False,
                               "marketing_consent": True, "has_opted_out_of_email": True}),
                (4, None, "cg3", {"contact_count": 2, "may_be_emailed": True}),
            ],
        },
    ),
    "a contact that is deleted and restored": Case(
        {},
        {
            1: [contact("h", "h")],
            2: [contact("h", "h", changed=1, is_deleted=True)],
            4: [contact("h", "h", changed=2)],
        },
        {"crm/ch": [(1, 2, "ch", {}), (4, None, "ch", {})]},
    ),
    "a loyalty number that somebody typed": Case(
        {1: [customer(901, "i")]},
        {1: [contact("i", "I", customer_id=901)]},
        {"shop/901": [(1, None, None, {})], "crm/ci": [(1, None, "ci", {})]},
    ),
}  # fmt: skip


class World:
    """What is delivered by now, and what the dimension is made of it."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.rows: dict[tuple[str, str, date], Sequence[Row]] = {}

    def deliver(self, feed: str, country: str, on: date, rows: Sequence[Row]) -> None:
        self.rows[feed, country, on] = rows
        self.warehouse.deliver(feed, country, on, list(rows))

    def deliver_cases(self, number: int) -> None:
        """What all cases have on a day."""
        for feed in ("customers", "crm_contacts"):
            files = [c.customers if feed == "customers" else c.contacts for c in CASES.values()]
            rows = [row for of_days in files for row in of_days.get(number, ())]
            self.deliver(feed, "FR", day(number), rows)

    def build(self, country: str, first: date, last: date) -> None:
        self.warehouse.run(BUILT, countries=country, first_day=first, last_day=last)

    def versions(self) -> list[Version]:
        return self.warehouse.execute(
            f"select {', '.join(COLUMNS)}, valid_from, valid_to, is_current"
            " from marts.dim_customer order by country, customer_key, valid_from"
        )


def by_column(version: Version) -> Row:
    return dict(zip((*COLUMNS, "valid_from", "valid_to", "is_current"), version, strict=True))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> Iterator[World]:
    """All cases, delivered day by day and built at once."""
    warehouse = Warehouse(tmp_path_factory.mktemp("cases"), manifest)
    warehouse.create_raw()
    world = World(warehouse)
    for number in DAYS_OF_CASES:
        world.deliver_cases(number)
    warehouse.run(BUILT)
    yield world
    warehouse.close()


@pytest.mark.parametrize("name", CASES)
def test_who_is_who_by_hand(told: World, name: str) -> None:
    expected = {
        (key, day(first)): (last and day(last), last is None, contact_id, more)
        for key, versions in CASES[name].versions.items()
        for first, last, contact_id, more in versions
    }
    of_case = {key.removeprefix("shop/").removeprefix("crm/") for key, _ in expected}
    of_case |= {row["contact_id"] for rows in CASES[name].contacts.values() for row in rows}
    found = {}
    for version in map(by_column, told.versions()):
        if version["customer_key"].partition("/")[2] in of_case:
            key = version["customer_key"], version["valid_from"]
            more = expected[key][-1] if key in expected else {}
            found[key] = (
                *(version["valid_to"], version["is_current"], version["contact_id"]),
                {column: version[column] for column in more},
            )
    assert found == expected


@pytest.mark.parametrize("step", [1, -1], ids=["forwards", "backwards"])
def test_days_that_arrive_one_by_one_make_the_same_persons(
    step: int, told: World, warehouse: Warehouse
) -> None:
    world = World(warehouse)
    warehouse.run(BUILT)
    for number in DAYS_OF_CASES[::step]:
        world.deliver_cases(number)
        world.build("FR", day(number), day(number))
    assert world.versions() == told.versions()


def test_what_a_correction_takes_away_was_never_told(warehouse: Warehouse) -> None:
    """First the customer's address goes, to which a later contact belonged; then that contact."""
    world = World(warehouse)
    world.deliver("customers", "FR", day(1), [customer(1, "old"), customer(2, "b")])
    world.deliver("customers", "FR", day(2), [customer(1, "a")])
    world.deliver("crm_contacts", "FR", day(4), [contact(1, "a"), contact(2, None, "p")])
    world.deliver("crm_contacts", "FR", day(5), [contact(2, "b", "p", changed=1)])
    warehouse.run(BUILT)

    def short() -> list[Row]:
        columns = ("customer_key", "contact_id", "valid_from", "valid_to")
        return [tuple(v[c] for c in columns) for v in map(by_column, world.versions())]

    nobody = ("crm/c2", "c2", day(4), day(5))
    second = [("shop/2", None, day(1), day(5)), ("shop/2", "c2", day(5), None)]
    first = [("shop/1", None, day(1), day(4)), ("shop/1", "c1", day(4), None)]
    assert short() == [nobody, *first, *second]

    world.deliver("customers", "FR", day(2), [])
    world.build("FR", day(2), day(2))
    first = [("shop/1", None, day(1), None)]
    assert short() == [("crm/c1", "c1", day(4), None), nobody, *first, *second]

    world.deliver("crm_contacts", "FR", day(5), [])
    world.build("FR", day(5), day(5))
    nobody, second = ("crm/c2", "c2", day(4), None), [("shop/2", None, day(1), None)]
    assert short() == [("crm/c1", "c1", day(4), None), nobody, *first, *second]

    # A customer who comes late has had the address all the time, so c2 was never nobody.
    world.deliver("customers", "FR", day(3), [customer(3, "x", "P"), customer(4, None, "p")])
    world.build("FR", day(3), day(3))
    second += [("shop/3", None, day(3), None), ("shop/4", None, day(3), day(4)),
               ("shop/4", "c2", day(4), None)]  # fmt: skip
    assert short() == [("crm/c1", "c1", day(4), None), *first, *second]


def test_who_moves_to_another_country_is_a_person_of_that_country(warehouse: Warehouse) -> None:
    """What one country tells changes nothing in another."""
    world = World(warehouse)
    world.deliver("customers", "FR", day(1), [customer(1, "a")])
    world.deliver("crm_contacts", "FR", day(1), [contact(1, "a")])
    warehouse.run(BUILT)
    before = world.versions()
    world.deliver("crm_contacts", "US", day(2), [contact(1, "a", changed=1, is_deleted=False)])
    world.build("US", day(2), day(2))
    (american,) = [v for v in world.versions() if v[0] == "US"]
    assert by_column(american)["customer_key"] == "crm/c1"
    assert [v for v in world.versions() if v[0] == "FR"] == before
    world.deliver("customers", "US", day(2), [customer(1, "a", country_name="United States")])
    world.build("US", day(2), day(2))
    (american,) = [v for v in world.versions() if v[0] == "US"]
    assert by_column(american)["customer_key"] == "shop/1"
    assert by_column(american)["known_from"] == "shop and crm"
    assert [v for v in world.versions() if v[0] == "FR"] == before


# ----------------------------------------------------------------------------- histories and oracle

COUNTRIES = ("FR", "US")
DAYS = 6


def any_customers(draw: Random) -> list[Row]:
    """Some of five people, as they say they are today; few addresses, so that they are shared."""
    return [
        customer(
            number,
            draw.choice(("e1", "e2", "e3", None)),
            draw.choice(("p1", "p2", None)),
            city=draw.choice(("Lyon", "Nice", "", None)),
            gender=draw.choice(("F", "M")),
            date_of_birth_year=draw.choice((1980, None, None)),
            job_title=draw.choice(("Baker", None)),
        )
        for number in draw.sample(range(1, 6), draw.randint(0, 3))
    ]


def any_contacts(draw: Random) -> list[Row]:
    """Some of six contacts, at times twice in a file; one in six versions is deleted."""
    return [
        contact(
            number,
            draw.choice(("e1", "e2", "e3", "e4", None)),
            draw.choice(("p1", "p2", "p3", None)),
            draw.randint(0, 9),
            customer_id=draw.choice((None, None, 1, 4)),
            mailing_city=draw.choice(("Nantes", None)),
            mailing_country=draw.choice(("Frankreich", None)),
            birthdate_year=draw.choice((1990, None)),
            lead_source=draw.choice(("Store", "Web")),
            marketing_consent=draw.choice((True, True, False, None)),
            has_opted_out_of_email=draw.choice((False, False, True, None)),
            is_deleted=draw.choice((False, False, None, None, False, True)),
            created_at=draw.choice((at("2020-01-01"), at("2021-01-01"), None)),
            marketing_consent_at=draw.choice((at("2022-01-01"), at("2023-01-01"), None)),
        )
        for number in draw.choices(range(1, 7), k=draw.randint(0, 4))
    ]


KINDS = {"customers": any_customers, "crm_contacts": any_contacts}


def known_on(world: World, feed: str, country: str, on: date) -> list[Row]:
    """Who is known by the files up to a day, and how: the newest version of each."""
    key, order = {
        "customers": ("customer_id", ["batch_date", "row"]),
        "crm_contacts": ("contact_id", ["last_modified_at", "batch_date", "row"]),
    }[feed]
    told = [
        {**row, "batch_date": batch, "row": number}
        for (of_feed, of_country, batch), rows in world.rows.items()
        for number, row in enumerate(rows)
        if (of_feed, of_country) == (feed, country) and batch <= on
    ]
    if not told:
        return []
    frame = pl.DataFrame(told, infer_schema_length=None).sort(order)
    return frame.group_by(key, maintain_order=True).last().rows(named=True)


def persons_on(world: World, country: str, on: date) -> dict[str, Row]:
    """Everybody of a day, by key: columns of the dimension."""
    customers = {c["customer_id"]: c for c in known_on(world, "customers", country, on)}
    contacts = [c for c in known_on(world, "crm_contacts", country, on) if not c["is_deleted"]]
    found: dict[str, Row] = {}
    of_customer: dict[int, list[tuple[int, Row]]] = {number: [] for number in customers}
    for one in contacts:
        email, phone = one["email_token"], one["phone_token"]
        same_email = [n for n, c in customers.items() if email and c["email_token"] == email]
        same_phone = [
            n for n, c in customers.items()
            if phone and c["telephone_token"] == phone and not (email and c["email_token"])
        ]  # fmt: skip
        several = same_email or same_phone
        if several:
            noted = one["customer_id"]
            chosen = noted if noted in several else min(several)
            of_customer[chosen].append((0 if same_email else 1, one))
            continue
        found[f"crm/{one['contact_id']}"] = {
            "contact_id": one["contact_id"], "contact_count": 1, "known_from": "crm",
            "city": one["mailing_city"], "country_name": one["mailing_country"],
            "address_from": "crm", "birth_year": one["birthdate_year"],
            "birth_year_from": one["birthdate_year"] and "crm", "lead_source": one["lead_source"],
            **agreed([one]),
        }  # fmt: skip
    never = at("9999-01-01")
    for number, shop in customers.items():
        same = sorted(
            of_customer[number],
            key=lambda c: (c[0], c[1]["created_at"] or never, c[1]["contact_id"]),
        )
        how, main = same[0] if same else (None, {})
        person = {
            "customer_id": number, "contact_id": main.get("contact_id"),
            "contact_count": len(same), "known_from": "shop and crm" if same else "shop",
            "matched_by": None if how is None else ("email", "phone")[how],
            "city": shop["city"] or None, "country_name": shop["country_name"],
            "address_from": "shop", "gender": shop["gender"], "job_title": shop["job_title"],
            "birth_year": shop["date_of_birth_year"], "birth_year_from": "shop",
            "lead_source": main.get("lead_source"), **agreed([c for _, c in same]),
        }  # fmt: skip
        if not shop["city"] and main.get("mailing_city"):
            person |= {"city": main["mailing_city"], "country_name": main["mailing_country"]}
            person["address_from"] = "crm"
        if shop["date_of_birth_year"] is None:
            born = main.get("birthdate_year")
            person |= {"birth_year": born, "birth_year_from": born and "crm"}
        found[f"shop/{number}"] = person
    return found


def agreed(contacts: Sequence[Row]) -> Row:
    """What several contacts of a person allow: what all of them do."""
    if not contacts:
        return {"may_be_emailed": False}
    said = [c["marketing_consent_at"] for c in contacts if c["marketing_consent_at"]]
    return {
        "marketing_consent": all(c["marketing_consent"] for c in contacts),
        "has_opted_out_of_email": any(c["has_opted_out_of_email"] for c in contacts),
        # whoever was not asked whether he wants e-mail gets none
        "may_be_emailed": all(
            c["marketing_consent"] and c["has_opted_out_of_email"] is False for c in contacts
        ),
        "marketing_consent_at": max(said, default=None),
    }


def expected_versions(world: World) -> list[Version]:
    """Days on which a person was the same in a row."""
    found: list[Version] = []
    last = max(on for _, _, on in world.rows)
    days = [FIRST + timedelta(days=n) for n in range((last - FIRST).days + 1)]
    for country in COUNTRIES:
        of_days = [persons_on(world, country, on) for on in days]
        for key in sorted({key for persons in of_days for key in persons}):
            states = [persons.get(key) for persons in of_days]
            starts = [n for n, s in enumerate(states) if n == 0 or s != states[n - 1]]
            for start, following in zip(starts, [*starts[1:], None], strict=True):
                if (state := states[start]) is not None:
                    row = {"country": country, "customer_key": key, **state}
                    until = None if following is None else days[following]
                    told = (row.get(column) for column in COLUMNS)
                    found.append((*told, days[start], until, until is None))
    return found


@pytest.mark.parametrize("seed", [2])
def test_persons_are_those_of_the_day_whatever_is_built_in_which_order(
    seed: int, warehouse: Warehouse
) -> None:
    draw = Random(seed)
    world = World(warehouse)
    slots = [(f, c, day(n)) for f in KINDS for c in COUNTRIES for n in range(1, DAYS + 1)]
    for feed, country, on in slots:
        world.deliver(feed, country, on, KINDS[feed](draw) if draw.random() < 0.8 else [])
    # The first run makes the tables, so that all others are increments.
    world.build("FR,US", day(3), day(3))
    for first, last in draw.sample([(1, 2), (4, 4), (5, DAYS)], 3):
        world.build("FR,US", day(first), day(last))
    assert world.versions() == expected_versions(world)
    for _ in range(4):
        country, on = draw.choice(COUNTRIES), day(draw.randint(1, DAYS))
        for feed in draw.sample(list(KINDS), draw.randint(1, 2)):
            world.deliver(feed, country, on, KINDS[feed](draw) if draw.random() < 0.6 else [])
        world.build(country, on, on)
        assert world.versions() == expected_versions(world)
    in_order = world.versions()
    assert {v[5] for v in in_order} == {"shop", "crm", "shop and crm"}
    assert max(v[4] for v in in_order) > 1, "somebody is in the CRM system twice"

    # Whoever joins by number and day finds one person.
    assert not warehouse.execute(
        "select a.country from marts.dim_customer a join marts.dim_customer b"
        " on a.country = b.country"
        " and (a.customer_id = b.customer_id or a.contact_id = b.contact_id)"
        " and (a.customer_key, a.valid_from) < (b.customer_key, b.valid_from)"
        " and b.valid_from < coalesce(a.valid_to, date '9999-12-31')"
        " and a.valid_from < coalesce(b.valid_to, date '9999-12-31')"
    )
    tests = " ".join(f"{model}__*" for model in ("int_crm_contacts", "dim_customer"))
    status = outcomes(warehouse.dbt("test", "--select", tests))
    assert len(status) == 11
    assert {name for name, s in status.items() if s != "pass"} == set()
