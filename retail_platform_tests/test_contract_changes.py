"""Changes of contracts against their versions, over real git repositories and folders."""

import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from retail_platform.contract import read_contract
from retail_platform.errors import ConfigurationError
from retail_platform.operate import contract_history
from retail_platform.operate.contract_changes import Comparison, Level, changes_of, compare
from retail_platform.operate.contract_history import check_contracts
from retail_platform_tests.test_cli import retail
from retail_platform_tests.test_contracts import Document, column, document, ingestion, write

NONE, MINOR, MAJOR = Level


def options(doc: Document, name: str, **values: object) -> None:
    column(doc, name).setdefault("logicalTypeOptions", {}).update(values)


def add(doc: Document, **prop: object) -> None:
    doc["schema"][0]["properties"].append({"physicalType": "varchar", **prop})


def remove(doc: Document, name: str) -> None:
    doc["schema"][0]["properties"].remove(column(doc, name))


Edit = Callable[[Document], object]
RULES: dict[str, tuple[Edit, list[tuple[Level, str]]]] = {
    "nothing": (lambda d: None, []),
    "text": (lambda d: d.update(name="Tills"), [(NONE, "title is worded differently")]),
    "text of a column": (
        lambda d: column(d, "sku").update(description="Unit."),
        [(NONE, "sku: description is worded differently")],
    ),
    "column gone": (lambda d: remove(d, "sku"), [(MAJOR, "column sku is gone")]),
    "optional column": (
        lambda d: add(d, name="till"),
        [(MINOR, "optional column till is new")],
    ),
    "required column": (
        lambda d: add(d, name="till", required=True),
        [(MAJOR, "required column till is new")],
    ),
    "order of columns": (
        lambda d: d["schema"][0]["properties"].reverse(),
        [(MAJOR, "key: invoice_id, line -> line, invoice_id"), (MAJOR, "without a header, ")],
    ),
    "wider number": (
        lambda d: column(d, "line").update(physicalType="bigint"),
        [(MINOR, "line: type integer -> bigint")],
    ),
    "narrower number": (
        lambda d: column(d, "product_id").update(physicalType="integer"),
        [(MAJOR, "product_id: type bigint -> integer")],
    ),
    "wider decimal": (
        lambda d: column(d, "invoice_total").update(physicalType="decimal(13,3)"),
        [(MINOR, "invoice_total: type decimal(12,2) -> decimal(13,3)")],
    ),
    "decimal with fewer digits": (
        lambda d: column(d, "invoice_total").update(physicalType="decimal(12,3)"),
        [(MAJOR, "invoice_total: type decimal(12,2) -> decimal(12,3)")],
    ),
    "other type": (
        lambda d: column(d, "invoice_total").update(physicalType="varchar"),
        [(MAJOR, "invoice_total: type decimal(12,2) -> varchar")],
    ),
    "required": (
        lambda d: column(d, "sku").update(required=True),
        [(MAJOR, "sku: required now")],
    ),
    "optional": (
        lambda d: column(d, "currency").update(required=False),
        [(MINOR, "currency: optional now")],
    ),
    "key": (
        lambda d: column(d, "sku").update(primaryKey=True),
        [(MAJOR, "key: invoice_id, line -> invoice_id, line, sku")],
    ),
    "pattern added": (
        lambda d: options(d, "sku", pattern="^A"),
        [(MAJOR, "sku: pattern None -> ^A")],
    ),
    "pattern gone": (
        lambda d: column(d, "invoice_id").pop("logicalTypeOptions"),
        [(MINOR, "invoice_id: pattern ^(INV|RET)")],
    ),
    "value no longer allowed": (
        lambda d: column(d, "transaction_type").update(enum=[{"value": "Sale"}]),
        [(MAJOR, "transaction_type: allowed values: - Return")],
    ),
    "value more": (
        lambda d: column(d, "transaction_type")["enum"].append({"value": "Gift"}),
        [(MINOR, "transaction_type: allowed values: + Gift")],
    ),
    "all values allowed": (
        lambda d: column(d, "transaction_type").pop("enum"),
        [(MINOR, "transaction_type: allowed values: - Sale, - Return")],
    ),
    "only some values allowed": (
        lambda d: column(d, "payment_method").update(enum=[{"value": "Cash"}]),
        [(MAJOR, "payment_method: allowed values: + Cash")],
    ),
    "range tightened": (
        lambda d: options(d, "line", minimum=2, maximum=9),
        [(MAJOR, "line: minimum 1 -> 2"), (MAJOR, "line: maximum None -> 9")],
    ),
    "range widened": (
        lambda d: options(d, "line", minimum=0),
        [(MINOR, "line: minimum 1 -> 0")],
    ),
    "range open": (
        lambda d: column(d, "line").pop("logicalTypeOptions"),
        [(MINOR, "line: minimum 1 -> None")],
    ),
    "other header": (
        lambda d: column(d, "sku").update(businessName="Stock Unit"),
        [(MINOR, "sku: header 'stockunit' is understood")],
    ),
    "formats in another order": (
        lambda d: column(d, "sold_at")["customProperties"][0]["value"]["formats"].reverse(),
        [(MAJOR, "sold_at: formats ")],
    ),
    "a format more": (
        lambda d: column(d, "sold_at")["customProperties"][0]["value"]["formats"].append("%Y"),
        [(MINOR, "sold_at: formats ")],
    ),
    "personal": (
        lambda d: column(d, "customer_id").update(classification="pii"),
        [(MAJOR, "customer_id: classification internal -> pii")],
    ),
    "drift stricter": (
        lambda d: ingestion(d).update(drift="freeze"),
        [(MAJOR, "drift rescue -> freeze")],
    ),
    "drift looser": (
        lambda d: ingestion(d).update(drift="evolve"),
        [(MINOR, "drift rescue -> evolve")],
    ),
    "business date": (
        lambda d: ingestion(d).pop("business_date"),
        [(MAJOR, "business_date sold_at -> None")],
    ),
    "country": (
        lambda d: ingestion(d).update(country_pattern="^(..)"),
        [(MAJOR, "country_pattern ")],
    ),
    "scope": (
        lambda d: ingestion(d).update(scope="global"),
        [(MAJOR, "scope country -> global")],
    ),
    "rule more": (
        lambda d: ingestion(d)["row_rules"].append("window_ends_after_start"),
        [(MAJOR, "row_rules ")],
    ),
    "rule less": (
        lambda d: ingestion(d).update(row_rules=["sale_line_total"]),
        [(MINOR, "row_rules ")],
    ),
    "threshold": (
        lambda d: ingestion(d).update(max_bad_rows=9, max_bad_percent=30),
        [(MAJOR, "max_bad_rows 10 -> 9"), (MINOR, "max_bad_percent 20.0 -> 30.0")],
    ),
    "delimiters": (
        lambda d: ingestion(d).update(delimiters=[","]),
        [(MAJOR, "delimiters ")],
    ),
    "encoding": (
        lambda d: ingestion(d).update(fallback_encoding="cp1252"),
        [(MAJOR, "fallback_encoding latin-1 -> cp1252")],
    ),
    "expected days": (
        lambda d: ingestion(d).update(expected={"weekdays": ["mon"]}),
        [(MINOR, "expected ")],
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_change_and_what_it_needs(tmp_path: Path, rule: str) -> None:
    edit, expected = RULES[rule]
    before, after = document(), document()
    edit(after)
    old, new = (read_contract(write(tmp_path / n, d)) for n, d in (("a", before), ("b", after)))
    found = list(changes_of(old, new))
    assert [level for level, _ in found] == [level for level, _ in expected], found
    for (_, what), (_, words) in zip(found, expected, strict=True):
        assert what.startswith(words)


def test_a_variant_that_is_no_longer_understood(tmp_path: Path) -> None:
    before, after = document("partner_sales"), document("partner_sales")
    ingestion(after)["variants"].pop()
    old, new = (read_contract(write(tmp_path / n, d)) for n, d in (("a", before), ("b", after)))
    ((level, what),) = changes_of(old, new)
    assert level is MAJOR
    assert what.startswith("without a header, store_token, ")
    assert list(changes_of(new, old)) == []


def test_a_header_that_is_no_longer_understood(tmp_path: Path) -> None:
    before, after = document(), document()
    column(before, "sku")["synonyms"] = [{"id": "one", "synonym": "Article"}]
    old, new = (read_contract(write(tmp_path / n, d)) for n, d in (("a", before), ("b", after)))
    assert list(changes_of(old, new)) == [(MAJOR, "sku: header 'article' is no longer understood")]


VERSIONS: dict[str, tuple[str, Edit, str | None]] = {
    "breaking as major": ("2.0.0", lambda d: remove(d, "sku"), None),
    "breaking as minor": ("1.1.0", lambda d: remove(d, "sku"), "expected at least 2.0.0"),
    "breaking unsaid": ("1.0.0", lambda d: remove(d, "sku"), "a change is breaking (column sku is"),
    "additive as minor": ("1.1.0", lambda d: add(d, name="till"), None),
    "additive as major": ("2.0.0", lambda d: add(d, name="till"), None),
    "additive as patch": ("1.0.1", lambda d: add(d, name="till"), "expected at least 1.1.0"),
    "text unsaid": ("1.0.0", lambda d: d.update(name="Tills"), None),
    "backwards": ("0.9.0", lambda d: None, "1.0.0 -> 0.9.0 goes backwards"),
    "no version": ("two", lambda d: remove(d, "sku"), "is not MAJOR.MINOR.PATCH"),
}


@pytest.mark.parametrize("case", VERSIONS)
def test_versions_that_say_what_changed_and_versions_that_do_not(tmp_path: Path, case: str) -> None:
    version, edit, problem = VERSIONS[case]
    before, after = document(), document()
    edit(after)
    after["version"] = version
    old, new = (read_contract(write(tmp_path / n, d)) for n, d in (("a", before), ("b", after)))
    found = compare({"transactions": old}, {"transactions": new}, "before").problems
    if problem is None:
        assert found == []
    else:
        assert len(found) == 1
        assert problem in found[0]
        assert found[0].startswith("transactions: ")


# ------------------------------------------------------------------------------------------- git


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The platform as a repository that ships two contracts below `pkg/contracts`."""
    root = tmp_path / "repository"
    contracts = root / "pkg" / "contracts"
    contracts.mkdir(parents=True)
    monkeypatch.setattr(contract_history, "PACKAGE_DIR", root / "pkg")
    monkeypatch.setattr("retail_platform.contract.PACKAGE_DIR", root / "pkg")
    monkeypatch.setenv("RETAIL_HOME", str(tmp_path / "home"))
    for feed in ("transactions", "stores"):
        write(contracts, document(feed), feed)
    git(tmp_path, "init", "-q", "-b", "main", str(root))
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    return root


def change(repository: Path, edit: Edit, feed: str = "transactions", version: str = "") -> None:
    doc = deepcopy(document(feed))
    edit(doc)
    doc["version"] = version or doc["version"]
    write(repository / "pkg" / "contracts", doc, feed)


def found_in(comparison: Comparison) -> list[str]:
    return [f"{c.feed}: {c.what}" for c in comparison.changes]


class TestGit:
    def test_what_is_not_committed_is_compared_with_the_last_commit(self, repository: Path) -> None:
        assert check_contracts([]).as_json() == {
            "against": f"HEAD ({git(repository, 'rev-parse', 'HEAD')[:9]})",
            "compared": 2, "ok": True, "changes": [], "problems": [], "notes": [],
        }  # fmt: skip
        change(repository, lambda d: remove(d, "sku"))
        found = check_contracts([])
        assert found_in(found) == ["transactions: column sku is gone"]
        assert len(found.problems) == 1

    def test_a_branch_is_compared_with_where_it_left_main(self, repository: Path) -> None:
        start = git(repository, "rev-parse", "HEAD")
        change(repository, lambda d: add(d, name="till"), version="1.1.0")
        git(repository, "commit", "-qam", "main goes on")
        git(repository, "update-ref", "refs/remotes/origin/main", "HEAD")
        git(repository, "checkout", "-q", "-b", "mine", start)
        change(repository, lambda d: remove(d, "zip_code"), "stores", "2.0.0")
        git(repository, "commit", "-qam", "mine")
        found = check_contracts([])
        # What main did meanwhile is not taken back by this branch.
        assert found_in(found) == ["stores: column zip_code is gone"]
        assert found.against == f"origin/main ({start[:9]})"
        assert found.problems == []

    def test_feeds_come_and_go(self, repository: Path) -> None:
        contracts = repository / "pkg" / "contracts"
        write(contracts, document("fx_rates"), "fx_rates")
        (contracts / "stores.odcs.yaml").unlink()
        found = check_contracts([])
        assert found_in(found) == ["fx_rates: the feed is new", "stores: the feed is gone"]
        assert found.problems == [
            "stores: the contract is gone. Give it status deprecated or retired first."
        ]
        git(repository, "checkout", "-q", ".")
        change(repository, lambda d: d.update(status="deprecated"), "stores")
        git(repository, "commit", "-qam", "announced")
        (contracts / "stores.odcs.yaml").unlink()
        assert check_contracts([]).problems == []

    def test_an_older_contract_that_cannot_be_read_is_no_obstacle(self, repository: Path) -> None:
        change(repository, lambda d: ingestion(d).update(drift="whatever"))
        git(repository, "commit", "-qam", "a contract of other times")
        change(repository, lambda d: None)
        found = check_contracts([])
        assert found.problems == []
        assert "transactions.odcs.yaml: not a usable data contract" in found.notes[0]

    def test_a_clone_that_does_not_reach_back_far_enough(
        self, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(2):
            git(repository, "commit", "-q", "--allow-empty", "-m", f"main {number}")
        git(repository, "branch", "mine", "HEAD~2")
        git(repository, "checkout", "-q", "mine")
        git(repository, "commit", "-q", "--allow-empty", "-m", "mine")
        shallow = tmp_path / "shallow"
        git(tmp_path, "clone", "-q", "--depth", "1", "--no-single-branch",
            repository.as_uri(), str(shallow))  # fmt: skip
        monkeypatch.setattr(contract_history, "PACKAGE_DIR", shallow / "pkg")
        said = retail("contracts", "check")
        assert said.code == 0
        assert "does not reach back to where the branch left origin/main" in said.out

    def test_without_git(
        self, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (repository / ".git").rename(tmp_path / "git")
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
        change(repository, lambda d: remove(d, "sku"))
        found = check_contracts([])
        assert (found.changes, found.problems) == ([], [])
        assert "not a git repository" in found.notes[0]
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
        assert "git cannot be run (No such file" in check_contracts([]).notes[0]
        with pytest.raises(ConfigurationError, match="--against 'v1' is no folder, and no rev"):
            check_contracts([], "v1")

    def test_contracts_of_ones_own_outside_of_git(self, repository: Path, tmp_path: Path) -> None:
        """They replace shipped ones, which therefore are not gone."""
        own = tmp_path / "own"
        write(own, document("stores"), "stores")
        change(repository, lambda d: remove(d, "sku"))
        found = check_contracts([own])
        assert found_in(found) == ["transactions: column sku is gone"]
        assert f"Contracts in {own} are not compared" in found.notes[0]


class TestCommand:
    def test_it_fails_for_a_breaking_change_until_the_version_says_so(
        self, repository: Path
    ) -> None:
        assert retail("contracts", "check").code == 0
        change(repository, lambda d: remove(d, "sku"))
        said = retail("contracts", "check")
        assert said.code == 1
        assert "breaking" in said.out
        assert "transactions: version 1.0.0, but a change is breaking" in said.out
        change(repository, lambda d: remove(d, "sku"), version="2.0.0")
        assert retail("contracts", "check").code == 0

    def test_as_json_against_a_revision_and_a_folder(
        self, repository: Path, tmp_path: Path
    ) -> None:
        git(repository, "tag", "v1")
        change(repository, lambda d: add(d, name="till"), version="1.1.0")
        git(repository, "commit", "-qam", "two")
        write(tmp_path / "old", document(), "transactions")
        write(tmp_path / "old", document("stores"), "stores")
        for against in ("v1", str(tmp_path / "old")):
            found = retail("contracts", "check", "--against", against, "--json").json
            assert (found["against"], found["ok"], found["compared"]) == (against, True, 2)
            assert found["changes"] == [
                {
                    "feed": "transactions",
                    "versions": "1.0.0 -> 1.1.0",
                    "effect": "additive",
                    "needs": "minor",
                    "what": "optional column till is new",
                }
            ]
        assert retail("contracts", "check", "--json").json["changes"] == []

    def test_a_revision_that_does_not_exist(self, repository: Path) -> None:
        said = retail("contracts", "check", "--against", "v9")
        assert said.code == 2
        assert "--against 'v9' is no folder, and no revision either: git knows no v9" in said.err
