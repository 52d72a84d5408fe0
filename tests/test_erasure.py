"""Erasing a person: nothing is left anywhere, nothing comes back, and nobody else loses anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from attribution.cli import main
from attribution.columns import Claim, Decision
from attribution.errors import StoreError, UsageError
from attribution.mirror.decisions import append_decision, read_decisions
from attribution.mirror.erased import Erased
from attribution.mirror.folder import Folder
from attribution.mirror.log import ObjectLog
from attribution.readings import DECISIONS
from attribution.store import Store
from attribution.testing import Org
from tests.loopback import NOON, connect
from tests.traces import traces

MAPPED = """
[mapping]
segments = [
    "Champion__r.Email", "Champion__r.Born__c", "Champion__r.Mood__c", "Remark__c", "Size__c", "Owner.Name",
]
"""
ANN = ("ann.quxley@example.com", "1971-02-03", "Grumpy", "Quxley's own deal", "Talks of Quxley")
"""What the records of the org below say of one person."""


@pytest.fixture
def org(org: Org) -> Org:
    org.add_field("Contact", "Born__c date, Mood__c picklist 40, Extra__c string 80")
    org.add_field("Opportunity", "Champion__c > Contact, Remark__c string 255, Size__c picklist 40")
    return org


READ = ("Contact", "Opportunity", "OpportunityHistory")


def sync(org: Org, store: Store, objects: Sequence[str] | None = READ) -> None:
    source = connect(org)
    report = store.sync(source, objects=objects)
    assert not report.failed, report


def later(org: Org) -> None:
    org.advance(timedelta(minutes=30))


def filled(org: Org, folder: Path, objects: Sequence[str] | None = READ) -> tuple[Store, str, str]:
    """A store of three reads, with the ids of a contact and of the opportunity that she champions."""
    ann, bob = org.insert(
        "Contact",
        [
            {"LastName": "-", "Email": ANN[0], "Born__c": date(1971, 2, 3), "Mood__c": ANN[2]},
            {"LastName": "-", "Email": "bob@example.com", "Born__c": date(1980, 1, 1), "Mood__c": "Merry"},
        ],
    )
    usual = {"StageName": "Prospecting", "CloseDate": date(2026, 7, 1), "Size__c": "Large"}
    deal, _ = org.insert(
        "Opportunity",
        [
            usual | {"Name": ANN[3], "Champion__c": ann, "Remark__c": ANN[4]},
            usual | {"Name": "other", "Champion__c": bob, "Remark__c": "none"},
        ],
    )
    folder.mkdir(exist_ok=True)
    (folder / "attribution.toml").write_text(MAPPED)
    store = Store(folder)
    later(org)
    for turn in range(3):
        sync(org, store, READ if turn else objects)
        org.update("Contact", ann, Email=f"{turn}.{ANN[0]}")
        org.update("Opportunity", deal, Remark__c=f"{turn} {ANN[4]}")
        later(org)
    if objects is None:
        store.deals()
    (folder / "staging" / "Contact").mkdir(parents=True)
    store.versions("Contact").collect().write_parquet(folder / "staging" / "Contact" / "000000.parquet")
    data = next((folder / "mirror" / "Contact").glob("*.parquet"))
    shutil.copy(data, data.with_name("part-left-by-a-killed-writer.parquet"))
    shutil.copy(data, data.with_name("part-not-finished.parquet#1"))
    return store, ann, deal


def versions(store: Store, object: str) -> pl.DataFrame:
    return store.versions(object).sort("_synced_at", "Id").collect()


def test_what_a_person_is_known_by_is_nowhere_any_more(
    org: Org, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, ann, _ = filled(org, tmp_path / "store", None)
    assert len(traces(store.path, *ANN[:3])) > 9
    before, watermarks = versions(store, "Contact"), store.watermarks
    assert main(["erase", "--record", ann[:15], "--store", str(store.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "object": "Contact",
        "id": ann,
        "removed": False,
        "fields": ["Born__c", "Email", "Mood__c"],
        "versions": 3,
    }
    assert traces(store.path, *ANN[:3]) == []
    emptied = before.with_columns(pl.when(pl.col("Id") != ann).then(pl.col("Born__c", "Email", "Mood__c")))
    assert versions(store, "Contact").equals(emptied)
    assert store.watermarks == watermarks
    assert {deal.name for deal in store.deals()} == {ANN[3], "other"}
    assert traces(store.path / "cache", *ANN[:3]) == []


def test_an_erased_person_stays_erased_whatever_comes(org: Org, tmp_path: Path) -> None:
    store, ann, _ = filled(org, tmp_path)
    store.erase(ann)
    org.update("Contact", ann, Email=f"new.{ANN[0]}", Extra__c="Quxley again")
    later(org)
    # a field that is new to the mirror is as personal as the others
    (tmp_path / "attribution.toml").write_text(MAPPED.replace("Born__c", "Extra__c"))
    store = Store(tmp_path)
    sync(org, store)
    org.update("Contact", ann, Extra__c="Quxley for the third time")
    later(org)
    sync(org, store)
    assert traces(tmp_path, *ANN[:3], "Quxley again", "third time") == []
    assert store.rows("Contact").filter(Id=ann).height == 1
    # a table that is read from the beginning
    shutil.rmtree(tmp_path / "mirror" / "Contact")
    sync(org, store)
    assert traces(tmp_path, *ANN[:3], "third time") == []
    assert store.rows("Contact")["Email"].to_list() == [None, "bob@example.com"]
    source = connect(org)
    assert not store.verify(source, objects=READ).has_drift
    again = store.erase(ann)
    assert (again.removed, again.versions) == (False, 0)


def test_free_text_of_other_records_goes_and_what_the_numbers_need_stays(org: Org, tmp_path: Path) -> None:
    store, _, deal = filled(org, tmp_path, None)
    assert store.erase(deal).fields == ("Name", "Remark__c")
    assert traces(tmp_path, *ANN[3:]) == []
    assert set(store.rows("Opportunity")["Size__c"]) == {"Large"}
    assert {each.name for each in store.deals()} == {deal, "other"}
    assert len(store.deals()) == 2


def test_an_account_may_be_a_person(org: Org, tmp_path: Path) -> None:
    values = {"Name": "Dr Ann Quxley", "Website": "https://quxley.example", "Type": "Customer"}
    (account,) = org.insert("Account", [values])
    later(org)
    store = Store(tmp_path)
    sync(org, store, ["Account"])
    store.erase(account)
    assert traces(tmp_path, "Quxley", "quxley.example") == []
    org.update("Account", account, Website="https://ann.quxley.example")
    later(org)
    sync(org, store, ["Account"])
    assert store.rows("Account").select("Name", "Website", "Type").rows() == [(None, None, "Customer")]


def test_a_decision_goes_on_without_its_words_and_goes_with_its_deal(org: Org, tmp_path: Path) -> None:
    store, _, deal = filled(org, tmp_path)
    claim = Claim(deal, "001Ab0000000001AAA", "influenced")
    decision = Decision(claim, True, "005Ab0000000001AAA", ANN[4], NOON)
    append_decision(ObjectLog(tmp_path / "mirror", DECISIONS), decision)
    store.erase(deal)
    assert traces(tmp_path, *ANN[3:]) == []
    assert read_decisions(store.log(DECISIONS)) == (replace(decision, reason=""),)
    decided = store.rows(DECISIONS)["Id"][0]
    assert store.erase(decided).fields == ("Reason",)
    store.erase(deal, all=True)
    assert read_decisions(store.log(DECISIONS)) == ()


def test_a_removed_record_is_never_read_again(org: Org, tmp_path: Path) -> None:
    store, ann, deal = filled(org, tmp_path, None)
    org.track_history("Opportunity", "StageName")
    others = versions(store, "Contact").filter(pl.col("Id") != ann)
    assert store.erase(ann, all=True).versions == 3
    assert store.erase(deal, all=True).removed
    assert traces(tmp_path, *ANN) == []
    erased = Erased.read(tmp_path / "mirror")
    assert (erased.removed("Contact", [ann, "003000000000009AAA"]), erased.n_removed("Contact")) == ({ann}, 1)
    assert ann[:15] not in (tmp_path / "mirror" / "erased.json").read_text()
    assert versions(store, "Contact").equals(others)
    assert versions(store, "OpportunityHistory").filter(OpportunityId=deal).is_empty()
    # edited, deleted and undeleted; read with a field more; read from the beginning
    org.update("Contact", ann, Email=ANN[0])
    org.update("Opportunity", deal, StageName="Closed Won")
    later(org)
    sync(org, store)
    org.delete("Contact", ann)
    later(org)
    sync(org, store)
    org.undelete("Contact", ann)
    (tmp_path / "attribution.toml").write_text(MAPPED.replace("Born__c", "Extra__c"))
    later(org)
    sync(org, store := Store(tmp_path))
    assert store.rows("Contact")["Id"].to_list() == others["Id"].to_list()
    for name in ("Contact", "Opportunity", "OpportunityHistory"):
        shutil.rmtree(tmp_path / "mirror" / name)
    sync(org, store)
    assert traces(tmp_path, *ANN) == []
    assert store.rows("Contact")["Id"].to_list() == others["Id"].to_list()
    assert versions(store, "OpportunityHistory").filter(OpportunityId=deal).is_empty()
    assert [each.name for each in store.deals()] == ["other"]
    assert store.erase(ann[:15], all=False).removed
    source = connect(org)
    assert not store.verify(source, objects=READ).has_drift
    report = store.sync(source, objects=["Contact"], reconcile=True)
    assert [(each.reconciled.ids, each.reconciled.fetched) for each in report.objects if each.reconciled] == [
        (1, 0)
    ]


def test_a_record_that_nobody_knows_is_an_error(
    org: Org, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, ann, _ = filled(org, tmp_path)
    other = ann[:17] + ("A" if ann[17] != "A" else "B")
    for wrong in (ann[:14], other, ann.lower(), "003000000000099AAA", "", "' OR 1=1"):
        assert main(["erase", "--record", wrong, "--store", str(tmp_path)]) == 2
        assert f"there is no record {wrong}" in capsys.readouterr().err
    with pytest.raises(UsageError, match="there is no record 003 in the store"):
        store.erase("003", all=True)
    assert not (tmp_path / "mirror" / "erased.json").exists()
    assert main(["erase", "--record", ann, "--store", str(tmp_path / "none")]) == 5
    assert not (tmp_path / "none").exists()


def test_while_a_sync_runs_nothing_is_erased(org: Org, tmp_path: Path) -> None:
    store, ann, _ = filled(org, tmp_path)
    with Folder(tmp_path).lock(), pytest.raises(StoreError, match="another sync is writing"):
        store.erase(ann)
    assert not (tmp_path / "mirror" / "erased.json").exists()
    assert traces(tmp_path, ANN[0]) != []


def test_without_the_list_of_the_erased_nothing_is_written(org: Org, tmp_path: Path) -> None:
    store, ann, _ = filled(org, tmp_path)
    store.erase(ann, all=True)
    (tmp_path / "mirror" / "erased.json").write_text('{"salt": "')
    org.update("Contact", ann, Email="back@example.com")
    later(org)
    with pytest.raises(StoreError, match="list of erased records, cannot be read"):
        sync(org, store)
    assert traces(tmp_path, "back@example.com") == []
