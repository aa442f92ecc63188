"""Keys, tokens, encryption of values and originals, and what the gate makes of them."""

import base64
import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retail_platform.contract import Drift, Protect
from retail_platform.errors import ConfigurationError, FileRejected, GateFault, KeysUnavailable
from retail_platform.gate import gate as gate_module
from retail_platform.gate.gate import Gate
from retail_platform.gate.replay import judge_again
from retail_platform.lake.inbox import plan_arrivals
from retail_platform.lake.manifest import read_manifests
from retail_platform.lake.schemas import read_schemas
from retail_platform.lake.store import INBOX, Lake, key_path
from retail_platform.operate.quarantine import QuarantinedFile, export, quarantined_rows, requeue
from retail_platform.partitions import Partition
from retail_platform.protection import originals
from retail_platform.protection.keys import DataKeys, open_keys, rotate
from retail_platform.protection.kms import KmsKey
from retail_platform.protection.local import LocalMasterKey
from retail_platform.protection.originals import ContentChanged, decrypted, encrypted
from retail_platform.protection.values import Protector
from retail_platform_tests.builders import (
    CONTRACTS,
    DAY,
    FIRST_DAY,
    KEYS,
    NOW,
    REGISTRY,
    Desk,
    csv_text,
    row,
    unprotected,
)

CUSTOMERS = CONTRACTS["customers"]
KEY = f"FR|{DAY}"
FILE = "customers_FR_20250111.csv"
ROTATED = DataKeys({**KEYS.by_version, 2: b"the second key that tests use..."})


# ----------------------------------------------------------------------------------------- values


def tokens(values: list[str | None], how: str, keys: DataKeys = KEYS) -> list[str | None]:
    series = pl.Series(values, dtype=pl.String)
    found = Protector(CUSTOMERS, keys).tokens(series, how)  # type: ignore[arg-type]
    return found.to_list()


class TestTokens:
    @pytest.mark.parametrize(
        ("how", "same"),
        [
            ("text", ["Zoé Straße", " zoé STRASSE ", "Zoe\u0301 Straße", "ZOÉ Straße"]),
            ("text", ["Γιώργος", "ΓΙΏΡΓΟΣ"]),
            ("email", ["zoe@fake_gmail.com", " Zoe@Fake_Gmail.COM", "zoe @fake_gmail.com"]),
            ("phone", ["+33 3 25 13 71 87", "0033325137187", "+33 (0)3.25.13.71.87"]),
            ("phone", ["(555) 123-4567 x12", "555.123.4567 ext. 12", "5551234567x12"]),
            ("phone", ["unknown", " UNKNOWN "]),
        ],
    )  # fmt: skip
    def test_spellings_of_one_thing_have_one_token(self, how: str, same: list[str]) -> None:
        assert len(set(tokens(list(same), how))) == 1

    @pytest.mark.parametrize(
        ("how", "different"),
        [
            ("text", ["Zoé", "Zoe", "Zoé F", "Zo é"]),
            ("email", ["a@x.com", "a@x.org", "b@x.com"]),
            ("phone", ["+33 325137187", "325137187", "0325137187", "325137187 x1", "none", "n/a"]),
        ],
    )  # fmt: skip
    def test_different_things_do_not(self, how: str, different: list[str]) -> None:
        assert len(set(tokens(list(different), how))) == len(different)

    def test_they_are_hexadecimal_and_nothing_stays_nothing(self) -> None:
        first, none = tokens(["x", None], "text")
        assert none is None
        assert first
        assert len(first) == 64
        assert set(first) <= set("0123456789abcdef")

    def test_they_join_feeds_and_survive_a_rotation_and_need_the_key(self) -> None:
        name = pl.Series(["Zoé Faure"])
        of_staff = Protector(CONTRACTS["employees"], ROTATED).tokens(name, "text").to_list()
        assert of_staff == tokens(["Zoé Faure"], "text")
        assert of_staff != tokens(["Zoé Faure"], "text", DataKeys({1: b"x" * 32}))
        assert of_staff != tokens(["Zoé Faure"], "email"), "kinds of things do not mix"


class TestValues:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.none() | st.text(), max_size=20))
    def test_what_was_encrypted_comes_back_and_equal_texts_look_equal(
        self, values: list[str | None]
    ) -> None:
        usable = [v for v in values if v is None or v.isprintable()]
        protector = Protector(CUSTOMERS, KEYS)
        sealed = protector.encrypted(pl.Series(usable, dtype=pl.String), "name")
        assert protector.decrypted(sealed, "name").to_list() == usable
        assert sealed.n_unique() == len(set(usable))
        assert all(text.startswith("v1:") for text in sealed if text)

    def test_a_ciphertext_opens_in_its_column_with_its_key_and_unchanged_only(self) -> None:
        protector = Protector(CUSTOMERS, KEYS)
        (sealed,) = protector.encrypted(pl.Series(["Zoé"]), "name")
        raw = bytearray(base64.b64decode(sealed.removeprefix("v1:")))
        raw[-1] ^= 1
        changed = "v1:" + base64.b64encode(raw).decode()
        for who, text, column in (
            (protector, sealed, "email"),
            (Protector(CUSTOMERS, DataKeys({1: b"x" * 32})), sealed, "name"),
            (Protector(CONTRACTS["employees"], KEYS), sealed, "name"),
            (protector, changed, "name"),
            (protector, "v1:rubbish", "name"),
        ):
            with pytest.raises(ConfigurationError, match="does not open"):
                who.decrypted(pl.Series([text]), column)
        with pytest.raises(ConfigurationError, match="Data key 2 is needed, but the lake has 1"):
            protector.decrypted(pl.Series(["v2:AAAA"]), "name")

    def test_the_newest_key_encrypts_and_the_older_ones_still_open(self) -> None:
        old = Protector(CUSTOMERS, KEYS).encrypted(pl.Series(["Zoé"]), "name")
        after = Protector(CUSTOMERS, ROTATED)
        new = after.encrypted(pl.Series(["Zoé"]), "name")
        assert new.str.starts_with("v2:").all()
        assert after.decrypted(pl.concat([old, new]), "name").to_list() == ["Zoé", "Zoé"]

    @pytest.mark.parametrize(
        ("protect", "kept"),
        [
            (Protect.TOKEN, ["email_token"]),
            (Protect.ENCRYPT, ["email_enc"]),
            (Protect.BOTH, ["email_token", "email_enc"]),
            (Protect.DROP, []),
        ],
    )
    def test_a_contract_says_what_is_kept_of_a_column(
        self, desk: Desk, protect: Protect, kept: list[str]
    ) -> None:
        columns = tuple(
            replace(c, protect=protect) if c.name == "email" else c for c in CUSTOMERS.columns
        )
        desk.contracts = {"customers": replace(CUSTOMERS, columns=columns)}
        desk.deliver(FILE, csv_text("customers", [row("customers")]))
        desk.take_in()
        assert desk.warehouse
        names = desk.warehouse.query(
            "select column_name from duckdb_columns() where table_name = 'customers' "
            "and column_name like 'email%'"
        )
        assert [name for (name,) in names] == kept


# -------------------------------------------------------------------------------------- originals


class TestOriginals:
    @pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 250])
    def test_any_size_in_any_pieces_comes_back(
        self, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        monkeypatch.setattr(originals, "CHUNK_BYTES", 100)
        content = os.urandom(size)
        checksum = hashlib.sha256(content).hexdigest()
        pieces = [content[:7], content[7:130], content[130:]]
        sealed = b"".join(encrypted(pieces, checksum, KEYS))
        assert sealed == b"".join(encrypted([content], checksum, KEYS)), "a function of the content"
        for step in (1, 33, 1000):
            cut = [sealed[i : i + step] for i in range(0, len(sealed), step)]
            assert b"".join(decrypted(cut, ROTATED)) == content

    def test_nothing_can_be_changed_moved_left_out_or_cut_off(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(originals, "CHUNK_BYTES", 100)
        content = os.urandom(300)
        sealed = b"".join(encrypted([content], hashlib.sha256(content).hexdigest(), KEYS))
        head, rest = sealed[:44], sealed[44:]
        one, two, three = rest[:116], rest[116:232], rest[232:]
        flipped = bytes([three[0] ^ 1]) + three[1:]
        other = bytearray(head)
        other[20] ^= 1
        for wrong in (
            head + one + two,
            head + one + three,
            head + two + one + three,
            head + one + two + flipped,
            head + one + two + three[:-1],
            head + one + two + three + b"x",
            bytes(other) + rest,
            head[:30],
            b"",
            b"Customer ID,Name\n",
        ):
            with pytest.raises(FileRejected, match="damaged_original"):
                b"".join(decrypted([wrong], KEYS))

    def test_other_content_than_was_announced_is_noticed(self) -> None:
        with pytest.raises(ContentChanged):
            b"".join(encrypted([b"new"], hashlib.sha256(b"old").hexdigest(), KEYS))


# ------------------------------------------------------------------------------------------- keys


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open((tmp_path / "lake").as_uri())


class TestLocalKeys:
    def test_they_are_made_once_and_only_their_owner_can_read_them(
        self, lake: Lake, tmp_path: Path
    ) -> None:
        path = tmp_path / "keys" / "master.key"
        keys = open_keys(lake, LocalMasterKey(path), make=True)
        assert path.stat().st_mode & 0o777 == 0o600
        assert [p.name for p in path.parent.iterdir()] == ["master.key"]
        again = open_keys(lake, LocalMasterKey(path), make=True)
        assert (again.newest, dict(again.by_version)) == (1, dict(keys.by_version))
        stored = lake.get(key_path(1))
        assert base64.b64encode(keys.by_version[1]) not in stored
        assert "by_version" not in repr(keys)

    def test_rotation_adds_one(self, lake: Lake, tmp_path: Path) -> None:
        provider = LocalMasterKey(tmp_path / "master.key")
        before = open_keys(lake, provider, make=True)
        assert rotate(lake, provider) == 2
        after = open_keys(lake, provider, make=True)
        assert after.by_version[1] == before.by_version[1] != after.by_version[2]

    def test_a_version_somebody_else_added_meanwhile_is_kept(
        self, lake: Lake, tmp_path: Path
    ) -> None:
        provider = LocalMasterKey(tmp_path / "master.key")
        assert lake.put_new(key_path(1), provider.new_key(1).model_dump_json().encode())
        first = open_keys(lake, provider, make=True).by_version
        assert not lake.put_new(key_path(1), provider.new_key(1).model_dump_json().encode())
        assert open_keys(lake, provider, make=True).by_version == first

    def test_without_the_right_key_nothing_goes_on(self, lake: Lake, tmp_path: Path) -> None:
        path = tmp_path / "master.key"
        provider = LocalMasterKey(path)
        with pytest.raises(ConfigurationError, match="no data keys"):
            open_keys(lake, provider, make=False)
        open_keys(lake, provider, make=True)
        content = path.read_bytes()
        path.chmod(0o640)
        with pytest.raises(ConfigurationError, match=r"read by others \(mode 0640\)"):
            open_keys(lake, provider, make=True)
        path.chmod(0o600)
        path.write_bytes(b"not a key")
        with pytest.raises(ConfigurationError, match="holds no key"):
            open_keys(lake, provider, make=True)
        path.write_bytes(base64.b64encode(os.urandom(32)))
        with pytest.raises(ConfigurationError, match="were wrapped by"):
            open_keys(lake, provider, make=True)
        path.unlink()
        with pytest.raises(ConfigurationError, match="is missing"):
            open_keys(lake, provider, make=True)
        assert not path.exists(), "another master key would hide the loss"
        path.write_bytes(content)
        path.chmod(0o600)
        lake.put("history/customers/x.csv.enc", b"")
        lake.delete_many([key_path(1)])
        with pytest.raises(ConfigurationError, match="keys/ was lost"):
            open_keys(lake, provider, make=True)

    def test_a_feed_with_personal_data_is_not_taken_in_without_keys(self, lake: Lake) -> None:
        with pytest.raises(ConfigurationError, match="wait in the inbox"):
            Gate(lake, CUSTOMERS, REGISTRY)
        Gate(lake, CONTRACTS["transactions"], REGISTRY)


@pytest.mark.usefixtures("s3_environment")
class TestKms:
    @pytest.fixture
    def key_id(self, s3_environment: None) -> str:
        import boto3

        return str(boto3.client("kms").create_key()["KeyMetadata"]["KeyId"])

    def test_the_key_never_leaves_and_the_lake_is_on_s3(self, key_id: str) -> None:
        import boto3

        name = "keys-" + os.urandom(6).hex()
        boto3.client("s3").create_bucket(Bucket=name)
        lake = Lake.open(f"s3://{name}/lake")
        keys = open_keys(lake, KmsKey(key_id), make=True)
        assert len(keys.by_version[1]) == 32
        assert rotate(lake, KmsKey(key_id)) == 2
        assert open_keys(lake, KmsKey(key_id), make=False).by_version[1] == keys.by_version[1]
        assert base64.b64encode(keys.by_version[1]) not in lake.get(key_path(1))
        assert not lake.put_new(key_path(2), b"{}")

    def test_data_keys_are_unwrapped_once_a_process(self, lake: Lake, key_id: str) -> None:
        provider = KmsKey(key_id)
        keys = open_keys(lake, provider, make=True)
        provider._client = None
        assert open_keys(lake, provider, make=True) == keys

    def test_a_key_that_cannot_be_used_is_said(self, lake: Lake) -> None:
        with pytest.raises(KeysUnavailable, match=r"(?s)KMS key .*wait in the inbox"):
            open_keys(lake, KmsKey("00000000-0000-0000-0000-000000000000"), make=True)

    def test_a_data_key_opens_as_the_version_it_was_made_for_only(
        self, lake: Lake, key_id: str
    ) -> None:
        open_keys(lake, KmsKey(key_id), make=True)
        lake.put(key_path(2), lake.get(key_path(1)).replace(b'"version": 1', b'"version": 2'))
        with pytest.raises(KeysUnavailable, match="InvalidCiphertext"):
            open_keys(lake, KmsKey(key_id), make=True)

    def test_a_lake_belongs_to_the_provider_it_began_with(
        self, lake: Lake, key_id: str, tmp_path: Path
    ) -> None:
        open_keys(lake, KmsKey(key_id), make=True)
        with pytest.raises(ConfigurationError, match="wrapped by provider 'kms'"):
            open_keys(lake, LocalMasterKey(tmp_path / "master.key"), make=True)


# ------------------------------------------------------------------------------------------- gate


GOOD = row("customers")
BAD = row("customers", customer_id="1002", email="nobody")


def plan(lake: Lake) -> list:
    found = plan_arrivals(lake.list(INBOX), CONTRACTS, REGISTRY, first_day=FIRST_DAY, now=NOW)
    return list(found.arrivals)


class TestGate:
    def test_values_are_judged_first_and_then_replaced(self, desk: Desk) -> None:
        desk.deliver(FILE, csv_text("customers", [GOOD, BAD]))
        desk.take_in()
        facts = desk.facts("customers", KEY)
        assert facts.reasons == {"email:pattern": 1}
        assert facts.history.endswith(".csv.enc")
        assert desk.original(facts) == csv_text("customers", [GOOD, BAD]).encode()
        ((name, sealed, year),) = desk.raw("customers", "name_token, email_enc, date_of_birth_year")
        assert [name] == tokens([GOOD["name"]], "text")
        assert desk.opened("customers", "email", pl.Series([sealed])).to_list() == [GOOD["email"]]
        assert year == 1980
        ((number, line, _),) = desk.quarantine(facts)
        assert (number, line) == (2, csv_text("customers", [BAD], header=False).strip())

    def test_unknown_columns_are_encrypted_name_and_value(self, desk: Desk) -> None:
        header, line = csv_text("customers", [GOOD]).splitlines()
        desk.deliver(FILE, f"{header},Second Phone\n{line},+33 9\n")
        desk.take_in()
        ((rescued,),) = desk.raw("customers", "_rescued")
        clear = desk.opened("customers", "_rescued", pl.Series([rescued])).item()
        assert clear == '{"Second Phone":"+33 9"}'

    def test_words_of_a_file_are_remembered_nowhere(self, desk: Desk) -> None:
        """What looks like an unknown column may be a row behind the header, its line end lost."""
        header, line = csv_text("customers", [GOOD]).splitlines()
        rules = CUSTOMERS.ingestion.model_copy(update={"drift": Drift.DISCARD_VALUE})
        desk.contracts = {"customers": replace(CUSTOMERS, ingestion=rules)}
        desk.deliver(FILE, f"{header},Zoé,Faure\n{line},+33 9,x\n")
        desk.take_in()
        (schema,) = read_schemas(desk.lake, "customers").values()
        assert [c.header for c in schema.columns[-2:]] == ["(unknown 1)", "(unknown 2)"]
        facts = desk.facts("customers", KEY)
        assert dict(facts.reasons) == {"row:discarded_unknown_column": 2}
        assert desk.raw("customers", "_rescued") == [(None,)]

    @pytest.mark.parametrize("step", ["data", "quarantine", "history", "manifests", "inbox"])
    def test_a_failure_at_any_step_and_another_attempt_end_as_one_attempt(
        self, tmp_path: Path, step: str
    ) -> None:
        def fail(reached: str) -> None:
            if reached == step:
                raise InterruptedError

        smooth, rough = (Desk(Lake.open((tmp_path / n).as_uri())) for n in ("smooth", "rough"))
        for desk in (smooth, rough):
            desk.deliver(FILE, csv_text("customers", [GOOD, BAD]))
        smooth.take_in(load=False)
        with pytest.raises(InterruptedError):
            Gate(rough.lake, CUSTOMERS, REGISTRY, KEYS, on_step=fail).take_in(plan(rough.lake))
        assert rough.inbox() == {FILE}
        rough.take_in(load=False)
        assert (smooth.inbox(), rough.inbox()) == (set(), set())
        contents = [
            {o.path: desk.lake.get(o.path) for o in desk.lake.list("")} for desk in (smooth, rough)
        ]
        assert contents[0] == contents[1]
        assert any(path.startswith("history/") for path in contents[0])

    def test_a_file_replaced_after_it_was_judged_is_not_kept_as_what_it_was(
        self, desk: Desk
    ) -> None:
        desk.deliver(FILE, csv_text("customers", [GOOD]))

        def replace_it(step: str) -> None:
            if step == "history":
                desk.deliver(FILE, csv_text("customers", [GOOD, BAD]))

        Gate(desk.lake, CUSTOMERS, REGISTRY, KEYS, on_step=replace_it).take_in(plan(desk.lake))
        assert list(desk.lake.list("history/")) == []
        assert desk.inbox() == {FILE}
        desk.take_in()
        assert desk.facts("customers", KEY).rows_in == 2

    def test_a_file_larger_than_memory_is_streamed(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from retail_platform.gate import text

        for module in (text, gate_module):
            monkeypatch.setattr(module, "IN_MEMORY_BYTES", 1000)
        monkeypatch.setattr(originals, "CHUNK_BYTES", 500)
        rows = [row("customers", customer_id=str(n)) for n in range(1, 101)]
        desk.deliver(FILE, csv_text("customers", rows))
        assert desk.take_in().refused == {}  # compares the original in history, too
        assert desk.facts("customers", KEY).rows_loaded == 100

    def test_texts_of_unexpected_errors_are_withheld(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stumble(*_: object) -> None:
            raise ValueError(f"could not parse {GOOD['name']}")

        monkeypatch.setattr(gate_module, "text_frame", stumble)
        desk.deliver(FILE, csv_text("customers", [GOOD]))
        with pytest.raises(GateFault, match=r"ValueError in _frame_of_text \(gate.py:") as found:
            desk.take_in()
        assert GOOD["name"] not in str(found.value)
        assert found.value.__cause__ is None, "Dagster records the chain of causes"
        assert found.value.__suppress_context__

    def test_quarantined_rows_come_back(self, desk: Desk, tmp_path: Path) -> None:
        desk.deliver(FILE, csv_text("customers", [GOOD, BAD]))
        desk.take_in()
        file = QuarantinedFile(
            "customers", Partition.parse(KEY), desk.facts("customers", KEY), True
        )
        with pytest.raises(ConfigurationError, match="open with data keys only"):
            quarantined_rows(desk.lake, CUSTOMERS, file)
        target = tmp_path / "bad.csv"
        assert export(desk.lake, CUSTOMERS, file, target, KEYS) == 1
        assert target.stat().st_mode & 0o777 == 0o600
        assert target.read_text() == csv_text("customers", [BAD])
        corrected = target.read_bytes().replace(b"nobody", b"some@body")
        requeue(desk.lake, CUSTOMERS, file, corrected, KEYS)
        desk.now = datetime.now(UTC)
        desk.take_in()
        assert [s.facts.rows_quarantined for s in desk.states("customers", KEY)] == [1, 0]


class TestReplay:
    def replayed(self, desk: Desk, keys: DataKeys = KEYS) -> None:
        partition = Partition.parse(KEY)
        gate = Gate(desk.lake, CUSTOMERS, REGISTRY, keys)
        known = read_manifests(desk.lake, "customers", [partition])
        report = judge_again(gate, desk.lake, known, {partition})
        assert report.rejections == []
        desk.load("customers", report.manifests.values())

    def test_a_lake_of_before_becomes_protected(self, desk: Desk) -> None:
        desk.contracts = {"customers": unprotected("customers")}
        desk.deliver(FILE, csv_text("customers", [GOOD, BAD]))
        desk.take_in(load=False)
        assert desk.facts("customers", KEY).history.endswith(".csv")
        desk.contracts = {"customers": CUSTOMERS}
        for _ in range(2):  # the second time nothing is left to do
            self.replayed(desk)
            desk.check_identities()
            (original,) = desk.lake.list("history/")
            assert original.path.endswith(".csv.enc")
        assert desk.raw("customers", "name_token") == [(tokens([GOOD["name"]], "text")[0],)]

    def test_an_original_that_other_partitions_name_in_clear_stays(self, desk: Desk) -> None:
        desk.contracts = {"customers": unprotected("customers")}
        shared = [GOOD, row("customers", "DE", customer_id="5")]
        desk.deliver("customers_ALL_20250111.csv", csv_text("customers", shared))
        desk.take_in(load=False)
        desk.contracts = {"customers": CUSTOMERS}
        self.replayed(desk)
        assert len(list(desk.lake.list("history/"))) == 2
        desk.check_identities(loaded=False)

    def test_after_a_rotation_it_encrypts_anew_and_tokens_stay(self, desk: Desk) -> None:
        desk.deliver(FILE, csv_text("customers", [GOOD]))
        desk.take_in()
        ((token, sealed),) = desk.raw("customers", "name_token, name_enc")
        self.replayed(desk, ROTATED)
        ((same, other),) = desk.raw("customers", "name_token, name_enc")
        assert same == token
        assert (sealed[:3], other[:3]) == ("v1:", "v2:")

    def test_a_damaged_original_keeps_what_was_found_before(self, desk: Desk) -> None:
        desk.deliver(FILE, csv_text("customers", [GOOD]))
        desk.take_in()
        facts = desk.facts("customers", KEY)
        content = bytearray(desk.lake.get(facts.history))
        content[-1] ^= 1
        desk.lake.put(facts.history, bytes(content))
        gate = Gate(desk.lake, CUSTOMERS, REGISTRY, KEYS)
        known = read_manifests(desk.lake, "customers", [Partition.parse(KEY)])
        report = judge_again(gate, desk.lake, known, {Partition.parse(KEY)})
        assert [r.code for r in report.rejections] == ["damaged_original"]
        assert desk.facts("customers", KEY) == facts
