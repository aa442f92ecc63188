"""Personal data leaks nowhere: planted values are looked for in everything the platform wrote.

Files with recognisable people in them, sound and broken in many ways, go through real `retail`
commands, processes of their own. Then every byte and every table is searched. That the search finds
what is there is shown on what the same files leave behind when nothing is protected.
"""

import json
import os
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from retail_platform.cli.app import app
from retail_platform.lake.store import Lake
from retail_platform.warehouse.duckdb_file import DuckDBWarehouse
from retail_platform_tests.builders import CONTRACTS, Desk, csv_text, gzipped, row, unprotected
from retail_platform_tests.histories import REGISTRY_OF_TWO


def contact(who: str, number: int, **changes: object) -> dict[str, object]:
    """A person of the CRM system, as recognisable."""
    return {
        "attributes": {"type": "Contact"},
        "Id": f"003A0000000000{number:01d}",
        "FirstName": who,
        "LastName": "Faure",
        "Email": f"{who}@{who}_mail.com",
        "Phone": f"+99 70 41 73 {number:02}",
        "Birthdate": "1907-03-09",
        "MailingStreet": f"{who} Street 1",
        "HasOptedOutOfEmail": False,
        "Marketing_Consent__c": True,
        "LastModifiedDate": "2025-01-05T10:00:00.000+0000",
        "Nickname": f"{who}chen",
        **changes,
    }


PEOPLE = ("Zzyzxa", "Zzyzxb", "Zzyzxc", "Zzyzxd", "Zzyzxe", "Zzyzxf", "Zzyzxg", "Zzyzxh", "Zzyzxi")
MARKS = (b"zzyzx", b"+99 70 41 73", b"9970417", b"1907-03-09")
"""What every planted value has in it, however it is spelled: names and addresses, phones,
birthdays."""


def person(who: str, number: int, country: str = "FR", **changes: str) -> dict[str, str]:
    """A customer whose personal data can be recognised anywhere."""
    planted = {
        "name": f"{who} Faure",
        "email": f"{who}@{who}_mail.com",
        "telephone": f"+99 70 41 73 {number:02}",
        "date_of_birth": "1907-03-09",
        "city": "Lyon",
    }
    return row("customers", country, customer_id=str(number), **(planted | changes))


def deliveries() -> dict[str, bytes]:
    """File name -> content."""
    a, b, c, d, e, f, g, h, i = PEOPLE
    head, *_ = csv_text("customers", []).splitlines()
    bad = csv_text(
        "customers",
        [
            person(a, 1),
            person(b, 2, email=f"{b} has none"),
            person(c, 3, date_of_birth="1907-03-09 or so"),
            person(d, 4),
        ],
    ).splitlines()
    bad[0] += ",Second Phone"
    bad[1:4] = [f"{line},+99 70 41 73 77" for line in bad[1:4]]  # the last row is one field short
    open_quote = csv_text("customers", [person(e, 5, "CN", name=f'"{e} Faure')])
    many = [person(f, n, "CN", email=f"{f} has none") for n in range(1, 20)]
    two_in_one = f"Customer ID,Email,{g} Faure,{g}@{g}_mail.com\n1,{g},{g},{g}\n"
    staff = [
        row("employees", employee_id="7", name=f"{h} Faure"),
        row("employees", employee_id="x", name=f"{h} Faure"),
    ]
    doubled = head.replace("Job Title", f"{i} Faure,{i} Faure") + "\n"
    files = {
        "customers_FR_20250105.csv": "\n".join(bad),
        "customers_CN_20250105.csv": open_quote,
        "customers_CN_20250106.csv": csv_text("customers", many),
        "customers_FR_20250106.csv": two_in_one,
        "customers_FR_20250107.csv": doubled,
        "customers_FR_20250108.csv": f"{a} Faure|{a}@{a}_mail.com|+99 70 41 73 01\n",
        "employees_FR_20250105.csv": csv_text("employees", staff),
    }
    records = [contact(a, 1), contact(b, 2, Birthdate="1907-03-09 or so"), contact(c, 3, Id=c)]
    files |= {
        "crm_contacts_FR_20250105.json": json.dumps({"records": records}),
        "crm_contacts_FR_20250106.json": json.dumps({"records": [contact(d, 4)]}) + f" {d} Faure",
        "crm_contacts_FR_20250107.json": json.dumps({f"{e} Faure": [contact(e, 5)]}),
        "crm_contacts_FR_20250108.json": f"{f} Faure,{f}@{f}_mail.com\n",
    }
    packed = gzipped(csv_text("customers", [person(a, 9, "CN")]))
    broken = csv_text("customers", [person(b, 9, "CN")]).encode() + "é".encode() + b"\xff"
    return {
        **{name: text.encode() for name, text in files.items()},
        "customers_CN_20250107.csv.gz": packed[: len(packed) // 2],
        "customers_CN_20250108.csv": broken,
    }


FEEDS = ("customers", "employees", "crm_contacts")
REFUSED = {
    "customers_CN_20250105.csv": "unbalanced_quote",
    "customers_CN_20250106.csv": "too_many_bad_rows",
    "customers_FR_20250106.csv": "missing_column",
    "customers_FR_20250107.csv": "duplicate_column",
    "customers_FR_20250108.csv": "unreadable_layout",
    "customers_CN_20250107.csv.gz": "truncated_gzip",
    "crm_contacts_FR_20250106.json": "broken_json",
    "crm_contacts_FR_20250107.json": "record_path_missing",
    "crm_contacts_FR_20250108.json": "not_json",
    "customers_CN_20250108.csv": "undecodable_text",
}


# ---------------------------------------------------------------------------------------- search


def found_in(content: bytes) -> bool:
    """Whether planted personal data is in it, in any case."""
    folded = content.lower()
    return any(mark in folded for mark in MARKS)


def leaks(home: Path) -> set[str]:
    """Files, and tables in files, that hold planted personal data; the inbox may."""
    leaking = set()
    for path in sorted(p for p in home.rglob("*") if p.is_file()):
        name = path.relative_to(home).as_posix()
        if "/inbox/" in f"/{name}":
            continue
        content = path.read_bytes()
        if found_in(content):
            leaking.add(name)
        leaking |= {f"{name} {part}" for part, text in parts(path, content) if found_in(text)}
    return leaking


def parts(path: Path, content: bytes) -> Iterator[tuple[str, bytes]]:
    """What a file holds in a form that a search of its bytes does not see."""
    if content.startswith(b"PAR1"):
        for series in pl.read_parquet(path):
            yield series.name, "\n".join(str(value) for value in series.to_list()).encode()
    elif content.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as database:
            for (table,) in database.execute("select name from sqlite_master where type = 'table'"):
                rows = database.execute(f'select * from "{table}"').fetchall()
                yield table, b"\n".join(plain(value) for values in rows for value in values)
    elif path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as database:
            for schema, table in database.execute(
                "select schema_name, table_name from duckdb_tables()"
            ).fetchall():
                rows = database.execute(f'select * from "{schema}"."{table}"').fetchall()
                yield (
                    f"{schema}.{table}",
                    repr(rows).encode() + str([str(v) for values in rows for v in values]).encode(),
                )


def plain(value: object) -> bytes:
    """A value of a database; Dagster packs some."""
    if isinstance(value, bytes):
        try:
            return zlib.decompress(value)
        except zlib.error:
            return value
    return str(value).encode()


# ------------------------------------------------------------------------------------------ tests


@dataclass(frozen=True)
class Installation:
    """An installation made by commands, and how to give it more of them."""

    home: Path

    @property
    def variables(self) -> dict[str, str]:
        """Its settings."""
        return {
            "RETAIL_HOME": str(self.home),
            "RETAIL_COUNTRIES_FILE": str(self.home / "countries.yaml"),
            "RETAIL_FIRST_DAY": "2025-01-01",
            "RETAIL_LAST_DAY": "2025-01-31",
            "RETAIL_SETTLE_SECONDS": "0",
        }

    def retail(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[bytes]:
        """One command in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "retail_platform.cli.app", *words],
            capture_output=True,
            check=False,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith(("RETAIL_", "DAGSTER"))},
                **self.variables,
            },
        )
        assert done.returncode == code, done.stderr.decode()
        return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, dbt_work_dir: Path) -> Installation:
    home = tmp_path_factory.mktemp("home")
    (home / "countries.yaml").write_text(REGISTRY_OF_TWO, encoding="utf-8")
    (home / "dbt").symlink_to(dbt_work_dir)
    lake = Lake.open((home / "lake").as_uri())
    for name, content in deliveries().items():
        lake.put(f"inbox/{name}", content)
    return Installation(home)


@pytest.fixture(scope="module")
def first_run(installed: Installation) -> subprocess.CompletedProcess[bytes]:
    return installed.retail("run", "--json", code=1)


def test_nothing_leaks_from_a_real_run(
    installed: Installation, first_run: subprocess.CompletedProcess[bytes]
) -> None:
    said = [first_run]
    said += [installed.retail(*words) for words in (("quarantine", "list"), ("doctor",))]
    said.append(installed.retail("status", "--json", code=1))
    outcome = json.loads(said[0].stdout)
    assert {r["name"]: r["code"] for r in outcome["refused_files"]} == REFUSED
    warehouse = DuckDBWarehouse(installed.home / "warehouse.duckdb")
    assert warehouse.query("select count(*) from raw.customers") == [(1,)]
    assert warehouse.query("select customer_id, birth_year from marts.dim_customer") == [(1, 1907)]
    joined = "raw.customers join raw.crm_contacts using (email_token)"
    assert warehouse.query(
        f"select birth_year, phone_token = telephone_token from {joined} "
        "join staging.stg_crm_contacts using (email_token, phone_token)"
    ) == [(1907, True)]
    assert warehouse.query("select sum(rows_quarantined) from raw.file_ledger") == [(6,)]
    assert len(list((installed.home / "lake" / "history").rglob("*.enc"))) == 3

    assert not any(found_in(done.stdout + done.stderr) for done in said)
    assert leaks(installed.home) == set()
    assert list((installed.home / "dagster").rglob("*.db")), "there was something to search"
    told = (installed.home / "alerts" / "alerts.log").read_text(encoding="utf-8")
    assert all(name in told for name in REFUSED), "alerts were searched, too"


@pytest.mark.usefixtures("first_run")
def test_who_has_the_key_sees_the_rows(
    installed: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in installed.variables.items():
        monkeypatch.setenv(name, value)

    def retail(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return " ".join(done.stdout.split())

    file = "customers_FR_20250105.csv"
    shown = json.loads(retail("quarantine", "show", file, "--json"))
    assert [line["row"] for line in shown["lines"]] == [2, 3, 4]
    assert all("Zzyzx" in line["line"] for line in shown["lines"])
    retail("quarantine", "export", file, "--into", tmp_path / "bad.csv")
    assert "Zzyzxb has none" in (tmp_path / "bad.csv").read_text(encoding="utf-8")
    assert "newest data key 1" in retail("doctor")
    assert "data key 2" in retail("keys", "rotate")


def test_the_search_finds_what_leaks_when_nothing_is_protected(tmp_path: Path) -> None:
    contracts = {**CONTRACTS, **{f: unprotected(f) for f in FEEDS}}
    lake = Lake.open((tmp_path / "lake").as_uri())
    desk = Desk(lake, DuckDBWarehouse(tmp_path / "warehouse.duckdb"), contracts=contracts)
    for name, content in deliveries().items():
        desk.deliver(name, content)
    assert {name: r.code for name, r in desk.take_in().refused.items()} == REFUSED
    leaking = leaks(tmp_path)
    for place in ("lake/data/", "lake/quarantine/", "lake/history/", "lake/rejected/"):
        assert any(name.startswith(place) for name in leaking), place
    assert "warehouse.duckdb raw.customers" in leaking
    assert "warehouse.duckdb raw.employees" in leaking
    refusals = {name for name in leaking if name.startswith("lake/rejected/")}
    assert len(refusals) == 5, "what was taken for a header is quoted where nobody is in it"
