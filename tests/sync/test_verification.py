"""The store held against the org: what may differ is no drift, whatever else differs is told."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from attribution.cli import main
from attribution.errors import StoppedEarly, StoreError, UsageError
from attribution.mapping import Mapping
from attribution.store import Store
from attribution.sync.drift import FieldDrift, MonthDrift, ObjectVerification
from attribution.testing import Field, Org, generate
from tests.loopback import NOON, connect

MONTHS = [datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)]


def accounts(org: Org, count: int = 20) -> list[str]:
    """Half of them created in the last second of a year, half in the first of the next."""
    rows = [{"Name": f"{n}", "CreatedDate": MONTHS[n % 2], "SystemModstamp": NOON} for n in range(count)]
    ids = org.insert("Account", rows)
    org.advance(timedelta(minutes=30))
    return ids


def verify(org: Org, store: Store, *objects: str, **options: Any) -> ObjectVerification:
    found = store.verify(connect(org), objects=objects or ["Account"], **options)
    assert found.failed == ()
    return found.objects[0]


def synced(org: Org, folder: Path, *objects: str) -> Store:
    store = Store(folder)
    store.sync(connect(org), objects=objects or ["Account"])
    org.advance(timedelta(minutes=30))
    return store


def forget(org: Org, identity: str, object: str = "Account") -> None:
    with org.state.records.writing() as connection:
        connection.execute(f'DELETE FROM "{object}" WHERE Id = ?', (identity,))
        connection.execute("DELETE FROM _deleted WHERE id = ?", (identity,))


def test_a_generated_org_is_mirrored_without_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with generate(60, seed=3).org() as org:
        for name, value in org.environment.items():
            monkeypatch.setenv(name, value)
        store = Store(tmp_path)
        store.sync(connect(org))
        found = store.verify(connect(org))
    org.close()
    assert not found.has_drift
    assert found.failed == ()
    assert {each.object for each in found.objects} == set(store.objects)
    assert all(each.there == each.here for each in found.objects)
    assert sum(each.sampled for each in found.objects) > 500


def test_an_equal_store_costs_a_count_and_a_sample(org: Org, tmp_path: Path) -> None:
    accounts(org)
    store = synced(org, tmp_path)
    before = len(org.requests)
    told = verify(org, store)
    assert (told.there, told.here, told.sampled, told.has_drift) == (20, 20, 20, False)
    asked = [call.soql for call in org.requests[before:] if call.soql and "FROM Account" in call.soql]
    assert asked[0].startswith(
        "SELECT CALENDAR_YEAR(CreatedDate) y, CALENDAR_MONTH(CreatedDate) m, COUNT(Id)"
    )
    assert ["Id IN (" in each for each in asked] == [False, True]


def test_what_changes_after_the_watermark_is_no_drift(org: Org, tmp_path: Path) -> None:
    # two fewer of one month and two more of the other, so that counts of both differ
    deleted, back, purged, edited, *_ = accounts(org)
    store = synced(org, tmp_path)
    org.delete("Account", back)
    org.advance(timedelta(minutes=30))
    store.sync(connect(org), objects=["Account"])
    org.advance(timedelta(minutes=30))
    org.undelete("Account", back)
    org.delete("Account", deleted)
    org.delete("Account", purged)
    org.purge("Account", purged)
    org.update("Account", edited, Name="later")
    org.insert("Account", [{"Name": "new"}])
    org.insert("Account", [{"Name": "backdated", "CreatedDate": MONTHS[1]}])
    org.advance(timedelta(minutes=30))
    told = verify(org, store)
    assert (told.there, told.here) == (19, 19)
    assert not told.has_drift, told


def test_what_was_purged_a_moment_ago_is_no_drift(org: Org, tmp_path: Path) -> None:
    first, second, *_ = accounts(org)
    store = synced(org, tmp_path)
    org.delete("Account", first)
    org.purge("Account", first)
    org.advance(timedelta(seconds=20))
    told = verify(org, store)
    assert (told.there, told.here, told.has_drift) == (19, 20, False), told
    # an end that lies in the future may be refused: the minute before is told all the same
    org.advance(timedelta(minutes=1))
    org.faults.error("/Account/deleted", 400, "INVALID_REPLICATION_DATE", "in the future")
    assert not verify(org, store).has_drift
    assert org.faults.pending == 0
    forget(org, second)
    assert [each.surplus for each in verify(org, store).months] == [(second,)]


def test_what_lacks_and_what_is_too_much_is_told_by_month_and_id(org: Org, tmp_path: Path) -> None:
    known = accounts(org)
    org.hide_record("Account", known[0])
    store = synced(org, tmp_path)
    org.show_record("Account", known[0])
    forget(org, known[1])
    forget(org, known[3])
    told = verify(org, store, sample=0)
    assert told.months == (
        MonthDrift("2025-12", 10, 9, (known[0],), ()),
        MonthDrift("2026-01", 8, 10, (), (known[1], known[3])),
    )
    assert told.has_drift
    # neither a month nor its count betrays one that stands in for another, but a sample does
    org.insert("Account", [{"Name": "n", "CreatedDate": MONTHS[1], "SystemModstamp": MONTHS[1]}] * 2)
    org.hide_record("Account", known[0])
    told = verify(org, store)
    assert told.months == ()
    assert told.fields == (FieldDrift(known[1], "Id"), FieldDrift(known[3], "Id"))


def test_a_value_that_changed_behind_its_stamp_is_told(org: Org, tmp_path: Path) -> None:
    (deal, _) = org.insert(
        "Opportunity",
        [
            {
                "Name": "d",
                "StageName": "Prospecting",
                "CloseDate": date(2026, 7, 1),
                "Amount": Decimal("1.10"),
            }
            for _ in range(2)
        ],
    )
    org.advance(timedelta(minutes=30))
    store = synced(org, tmp_path, "Opportunity")
    org.update("Opportunity", deal, stamp=False, Amount=Decimal("1.11"))
    told = verify(org, store, "Opportunity")
    assert told.fields == (FieldDrift(deal, "Amount"),)
    assert "1.11" not in json.dumps(told.to_dict())


def test_the_seed_chooses_the_sample(org: Org, tmp_path: Path) -> None:
    accounts(org, 60)
    store = synced(org, tmp_path)

    def chosen(seed: int) -> str:
        before = len(org.requests)
        assert verify(org, store, sample=5, seed=seed).sampled == 5
        return next(each.soql for each in org.requests[before:] if each.soql and "Id IN (" in each.soql)

    assert chosen(1) == chosen(1) != chosen(2)


def test_unseen_and_unread_records_are_no_drift(org: Org, tmp_path: Path) -> None:
    known = accounts(org)
    with org.state.records.writing() as connection:
        connection.execute("UPDATE Account SET ParentId = '006Ab0000000001IAA' WHERE Id = ?", (known[1],))
    store = synced(org, tmp_path)
    org.hide_record("Account", known[0])
    store.sync(connect(org), objects=["Account"], reconcile=True)
    told = verify(org, store)
    assert (told.unseen, told.unread, told.has_drift, told.here, told.there) == (1, 1, False, 19, 19)


def test_what_was_erased_is_no_drift(org: Org, tmp_path: Path) -> None:
    org.add_field("Opportunity", "Partner__c > Account")
    org.track_history("Opportunity", "Partner__c")
    (acme,) = org.insert("Account", [{"Name": "x"}])
    usual = {"Name": "d", "StageName": "Prospecting", "CloseDate": date(2026, 7, 1)}
    emptied, removed = org.insert("Opportunity", [usual, usual])
    for deal in (emptied, removed):
        org.update("Opportunity", deal, Partner__c=acme)
    org.advance(timedelta(minutes=30))
    lookup = {"object": "Opportunity", "field": "Partner__c", "kind": "role"}
    mapping, names = Mapping(lookups=(lookup,)), ("Opportunity", "OpportunityFieldHistory")
    store = Store(tmp_path)
    store.sync(connect(org), mapping=mapping, objects=names)
    store.erase(emptied, mapping=mapping)
    store.erase(removed, all=True, mapping=mapping)
    org.advance(timedelta(minutes=30))
    store.sync(connect(org), mapping=mapping, objects=names)
    assert store.rows("Opportunity").select("Id", "Name").rows() == [(emptied, None)]
    found = store.verify(connect(org), mapping=mapping, objects=names)
    assert [(each.there, each.here) for each in found.objects] == [(2, 1), (2, 1)]
    assert not found.has_drift, found
    forget(org, emptied, "Opportunity")
    assert verify(org, store, "Opportunity").months == (MonthDrift("2026-06", 1, 1, (), (emptied,)),)


def test_archived_activities_count(org: Org, tmp_path: Path) -> None:
    org.insert("Task", [{"Subject": "x", "Status": "Completed", "Priority": "Normal", "IsArchived": True}])
    org.advance(timedelta(minutes=30))
    told = verify(org, synced(org, tmp_path, "Task"), "Task")
    assert (told.there, told.here, told.has_drift) == (1, 1, False)


def test_a_count_by_month_that_is_refused_is_made_month_by_month(org: Org, tmp_path: Path) -> None:
    known = accounts(org)
    store = synced(org, tmp_path)
    org.faults.error(
        "/queryAll$", 400, "QUERY_TIMEOUT", "Your query request was running for too long.", skip=1
    )
    before = len(org.requests)
    told = verify(org, store, sample=0)
    assert (told.there, told.has_drift) == (20, False)
    counts = [
        call.soql for call in org.requests[before:] if call.soql and "COUNT() FROM Account" in call.soql
    ]
    assert len(counts) == 1 + 7
    assert counts[1].endswith("CreatedDate >= 2025-12-01T00:00:00Z AND CreatedDate < 2026-01-01T00:00:00Z")
    org.faults.error("/queryAll$", 400, "MALFORMED_QUERY", "field can not be grouped", skip=1)
    forget(org, known[0])
    assert verify(org, store, sample=0).months == (MonthDrift("2025-12", 9, 10, (), (known[0],)),)


def test_an_object_that_fails_is_told_and_the_others_are_compared(org: Org, tmp_path: Path) -> None:
    accounts(org)
    store = synced(org, tmp_path, "Account", "User")
    org.faults.unavailable("/queryAll$", skip=1, times=6)
    found = store.verify(connect(org), objects=["Account", "User"])
    assert [each.object for each in found.failed] == ["Account"]
    assert "503" in str(found.failed[0].message)
    assert found.objects[1].message is None
    assert not found.has_drift


def test_types_budgets_and_nonsense_are_refused(org: Org, tmp_path: Path) -> None:
    accounts(org)
    store = synced(org, tmp_path)
    with pytest.raises(UsageError, match="a sample of -1"):
        verify(org, store, sample=-1)
    org.used = org.quota - 1
    with pytest.raises(StoppedEarly):
        verify(org, store)
    org.used = 0
    org.hide_field("Account", "Type")
    obj = org.state.object("Account")
    fields = tuple(each for each in obj.fields if each.name != "Name")
    org.state.set_object(replace(obj, fields=(*fields, Field("Name", "double"))))
    with pytest.raises(StoreError, match=r"Account.Name is Decimal.* but the store holds String"):
        verify(org, store)


def test_the_command_exits_5_if_there_is_drift(
    org: Org, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = accounts(org)
    store = synced(org, tmp_path)
    words = ["verify", "--store", str(store.path), "--object", "Account"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[1].split() == ["Account", "20", "20", "20", "0", "0", "ok"]
    assert "API calls, seed 0" in told
    forget(org, known[2])
    assert main([*words, "--json"]) == 5
    document = json.loads(capsys.readouterr().out)
    assert document["drift"] is True
    assert document["objects"][0]["drift"] == [
        {"month": "2025-12", "there": 9, "here": 10, "lacking": [], "surplus": [known[2]]}
    ]
    assert main(words) == 5
    assert (
        f"drift: Account created in 2025-12: 9 there, 10 here; 1 are not there: {known[2]}"
        in capsys.readouterr().out
    )
    org.faults.unavailable("/queryAll$", skip=1, times=None)
    assert main(words) == 3
