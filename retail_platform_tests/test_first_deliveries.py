"""Channels and cities: one row from the first delivery on, whatever the order of deliveries."""

from datetime import date, timedelta
from random import Random
from typing import NamedTuple

import pytest
from dbt.contracts.graph.manifest import Manifest

from retail_platform.countries import load_countries
from retail_platform.transform.markets import MACRO_FILE, macro_text
from retail_platform_tests.dbt_warehouse import Row, Warehouse

FIRST = date(2025, 1, 1)
CHANNELS = {
    "transactions": ("store", "Own shops", True, True),
    "pos_events": ("store", "Own shops", True, True),
    "online_orders": ("online", "Web shop", True, False),
    "online_refunds": ("online", "Web shop", True, False),
    "partner_sales": ("partner", "Shops of partners", False, True),
}
CITIES = ("stores", "customers", "crm_contacts", "weather")
COUNTRIES = {
    "FR": ("France", "EUR", "Europe/Paris"),
    "CN": ("China", "CNY", "Asia/Shanghai"),
}
NAMES = (" Paris ", "Lyon", "上海", "Côte-d'Or", "", None)
KEYS = {
    "stores": "store_id",
    "customers": "customer_id",
    "crm_contacts": "contact_id",
    "weather": "observed_on",
}


class Slot(NamedTuple):
    feed: str
    country: str
    day: date


class World:
    """What is delivered by now, and what the two dimensions must be then."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.delivered: dict[Slot, list[str | None]] = {}

    def deliver(self, slot: Slot, values: list[str | None]) -> None:
        """Values are cities; of sales only how many there are counts."""
        self.delivered[slot] = values
        rows: list[Row] = [{} for _ in values]
        if slot.feed in CITIES:
            for number, (row, city) in enumerate(zip(rows, values, strict=True)):
                key = FIRST if slot.feed == "weather" else number
                named = "mailing_city" if slot.feed == "crm_contacts" else "city"
                row |= {KEYS[slot.feed]: key, named: city}
        self.warehouse.deliver(slot.feed, slot.country, slot.day, rows)

    def run(self, country: str, first: date, last: date) -> None:
        self.warehouse.run(
            "+dim_channel +dim_geography", countries=country, first_day=first, last_day=last
        )

    def channels(self) -> list[tuple[object, ...]]:
        firsts: dict[tuple[str, tuple[object, ...]], date] = {}
        for (feed, country, day), values in self.delivered.items():
            if feed in CHANNELS and values:
                key = country, CHANNELS[feed]
                firsts[key] = min(day, firsts.get(key, day))
        return sorted((c, *told, day) for (c, told), day in firsts.items())

    def geography(self) -> list[tuple[object, ...]]:
        firsts: dict[tuple[str, str], date] = {}
        for (feed, country, day), values in self.delivered.items():
            for city in values if feed in CITIES else ():
                if city and city.strip():
                    key = country, city.strip()
                    firsts[key] = min(day, firsts.get(key, day))
        return sorted((c, city, *COUNTRIES[c], day) for (c, city), day in firsts.items())

    def check(self) -> None:
        for table, expected in (
            ("dim_channel", self.channels()),
            ("dim_geography", self.geography()),
        ):
            assert sorted(self.warehouse.execute(f"select * from marts.{table}")) == expected


@pytest.mark.parametrize("seed", range(2))
def test_any_order_of_deliveries_and_corrections_gives_the_first_days(
    seed: int, warehouse: Warehouse
) -> None:
    draw = Random(seed)
    world = World(warehouse)
    slots = [
        Slot(feed, country, FIRST + timedelta(days=n))
        for feed in (*CHANNELS, *CITIES)
        for country in COUNTRIES
        for n in range(5)
    ]
    for slot in draw.sample(slots, len(slots) // 3):
        world.deliver(slot, draw.choices(NAMES, k=2))
    warehouse.run("+dim_channel +dim_geography")
    world.check()
    assert len(world.channels()) > 4
    assert len(world.geography()) > 4
    for step in range(4):
        country = draw.choice(list(COUNTRIES))
        first = FIRST + timedelta(days=draw.randrange(5))
        last = min(first + timedelta(days=draw.randrange(2)), FIRST + timedelta(days=4))
        touched = [s for s in slots if s.country == country and first <= s.day <= last]
        for slot in draw.sample(touched, max(1, len(touched) // 2)):
            # every other step takes back what it touches
            world.deliver(slot, draw.choices(NAMES, k=draw.randrange(3)) if step % 2 else [])
        world.run(country, first, last)
        world.check()
    warehouse.run("dim_channel dim_geography")
    world.check()


def test_the_withdrawal_of_everything_leaves_nothing(warehouse: Warehouse) -> None:
    world = World(warehouse)
    for feed in (*CHANNELS, *CITIES):
        world.deliver(Slot(feed, "FR", FIRST), ["Paris"])
    world.run("FR", FIRST, FIRST)
    world.check()
    for feed in (*CHANNELS, *CITIES):
        world.deliver(Slot(feed, "FR", FIRST), [])
    world.run("FR", FIRST, FIRST)
    assert warehouse.table("marts.dim_channel") == warehouse.table("marts.dim_geography") == []


def test_markets_are_those_of_the_registry(manifest: Manifest) -> None:
    assert MACRO_FILE.read_text("utf-8") == macro_text(load_countries()), "run `make markets`"
