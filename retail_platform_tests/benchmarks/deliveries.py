"""Files for the benchmarks, made once per size by the demo generator, and the truth about them."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from retail_platform.demo.dirt import Dirt
from retail_platform.demo.generator import NIGHTLY_FEEDS, GeneratorSpec, folder_sink, generate
from retail_platform.partitions import LOOKBACK_DAYS

FIRST_DAY = date(2025, 1, 1)
_LINES_PER_COUNTRY_DAY = 372
"""Makes 1.0 million order lines, returns included, in 7 countries x 365 days."""


@dataclass(frozen=True)
class Deliveries:
    """A folder of delivered files and what is in them.

    Attributes:
        first_day: first of the batch days.
        net_sales_local: country -> net amount of the shops' order lines, from the generator.
    """

    folder: Path
    first_day: date
    days: int
    files: int
    rows: dict[str, int]
    net_sales_local: dict[str, Decimal]

    @property
    def period(self) -> dict[str, str]:
        """Settings of a platform that has partitions for these days and no others.

        Reports that look back are built for every later day; up to today, a benchmark would take
        longer every day it is run.
        """
        last = self.first_day + timedelta(days=self.days - 1)
        # a first batch holds some of the days before
        first = self.first_day - timedelta(days=LOOKBACK_DAYS)
        return {"RETAIL_FIRST_DAY": str(first), "RETAIL_LAST_DAY": str(last)}


def deliveries(work: Path, days: int, lines_factor: float = 1.0, **others: Any) -> Deliveries:
    """The nine nightly feeds in 7 countries at their usual cadence; rivals read no others.

    Args:
        work: folder of the benchmark; files of the same kind are used again.
        lines_factor: order lines per country and day compared with the usual.
        others: what else differs from that, as the generator calls it.
    """
    spec = GeneratorSpec(
        days=days,
        lines_per_day=max(1, round(_LINES_PER_COUNTRY_DAY * lines_factor)),
        **{"first_day": FIRST_DAY, "feeds": NIGHTLY_FEEDS, **others},
    )
    kind = hashlib.sha256(repr(spec).encode()).hexdigest()[:8]
    folder = work / f"deliveries-{days}-{lines_factor:g}-{kind}"
    facts = folder / "facts.json"
    if not facts.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        made = generate(spec, Dirt.none(), folder_sink(folder / "inbox"))
        totals: dict[str, Decimal] = {}
        for country, amount in made.net_sales.select("country", "net_amount_local").rows():
            totals[country] = totals.get(country, Decimal(0)) + amount
        facts.write_text(
            json.dumps(
                {
                    "files": len(made.files),
                    "rows": dict(made.rows),
                    "net_sales_local": {c: str(v) for c, v in totals.items()},
                }
            ),
            encoding="utf-8",
        )
    known = json.loads(facts.read_text(encoding="utf-8"))
    return Deliveries(
        folder=folder / "inbox",
        first_day=spec.first_day,
        days=days,
        files=known["files"],
        rows=known["rows"],
        net_sales_local={c: Decimal(v) for c, v in known["net_sales_local"].items()},
    )


def link_into(folder: Path, inbox: Path) -> None:
    """The same files in an inbox, with their times of delivery, without copying content."""
    inbox.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        (inbox / path.name).hardlink_to(path)
