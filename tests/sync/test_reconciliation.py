"""Every id compared: what no window shows is found, and what only seems to be gone is kept."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from attribution.cli import main
from attribution.errors import StoppedEarly, UsageError
from attribution.mapping import Mapping
from attribution.store import Store
from attribution.sync.reconciliation import Reconciliation
from attribution.sync.report import Progress, SyncReport
from attribution.testing import Org
from tests.loopback import NOON, connect


def accounts(org: Org, count: int) -> list[str]:
    ids = org.load({"Account": [{"Name": f"{n:05}"} for n in range(count)]})["Account"]
    later(org)
    return ids


def later(org: Org, **duration: float) -> None:
    org.advance(timedelta(**(duration or {"minutes": 30})))


def sync(org: Org, store: Store, *objects: str, **options: Any) -> SyncReport:
    return store.sync(connect(org), objects=objects or ["Account"], **options)


def reconciled(org: Org, store: Store, *objects: str, **options: Any) -> Reconciliation:
    report = sync(org, store, *objects, reconcile=True, **options)
    assert report.outcome == "ok"
    found = report.objects[-1].reconciled
    assert found is not None
    return found


def forget(org: Org, object: str, *ids: str) -> None:
    """Remove records so that neither the recycle bin nor the log of deletions tells of them."""
    with org.state.records.writing() as connection:
        for identity in ids:
            connection.execute(f'DELETE FROM "{object}" WHERE Id = ?', (identity,))
            connection.execute("DELETE FROM _deleted WHERE object = ? AND id = ?", (object, identity))


def ids(store: Store, object: str = "Account") -> set[str]:
    return set(store.rows(object)["Id"])


def soql(org: Org, since: int) -> list[str]:
    return [call.soql for call in org.requests[since:] if call.soql]


def test_nothing_to_find_costs_one_read_and_writes_nothing(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 40)
    sync(org, store)
    before, version = len(org.requests), store.log("Account").version
    assert reconciled(org, store) == Reconciliation(40)
    assert store.log("Account").version == version
    assert [each.partition(" WHERE")[0] for each in soql(org, before)[-2:]] == [
        "SELECT COUNT() FROM Account",
        "SELECT Id, CreatedDate FROM Account",
    ]
    assert ids(store) == set(known)


def test_whoever_sees_everything_knows_that_what_vanished_is_gone(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 40)
    sync(org, store)
    known_at = org.now
    later(org)
    forget(org, "Account", *known[:3])
    assert sync(org, store).objects[0].deleted == 0
    told = reconciled(org, store)
    assert (told.vanished, told.deleted, told.unseen, told.is_braked) == (3, 3, (), False)
    assert ids(store) == set(known[3:])
    assert len(store.rows("Account", known_at)) == 40
    assert reconciled(org, store) == Reconciliation(37)
    log = store.log("Account")
    gone = log.newest().filter("_deleted").collect()
    assert gone["IsDeleted"].to_list() == [True] * 3
    assert (gone["SystemModstamp"] > NOON).all()


def test_view_all_records_of_one_object_is_enough(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 40)
    (contact,) = org.insert("Contact", [{"LastName": "x"}])
    org.see_all_data(granted=False)
    org.see_all_records("Account")
    later(org)
    sync(org, store, "Account", "Contact")
    forget(org, "Account", known[0])
    forget(org, "Contact", contact)
    report = sync(org, store, "Account", "Contact", reconcile=True)
    deleted = {each.object: each.reconciled.deleted for each in report.objects if each.reconciled}
    assert deleted == {"Account": 1, "Contact": 0}
    assert store.log("Contact").coverage.unseen == (contact,)


def test_lost_access_is_unseen_and_not_deleted(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 40)
    sync(org, store)
    for hidden in known[:2]:
        org.hide_record("Account", hidden)
    later(org)
    report = sync(org, store, reconcile=True)
    told = report.objects[0].reconciled
    assert told is not None
    assert (told.vanished, told.deleted, told.unseen) == (2, 0, tuple(sorted(known[:2])))
    assert ids(store) == set(known)
    assert store.log("Account").coverage.unseen == told.unseen
    (warning,) = report.warnings
    assert f"no longer seen, though nothing says that it was deleted: {known[0]}, {known[1]}; kept" in warning
    assert report.to_dict()["objects"][0]["reconciled"]["unseen"] == list(told.unseen)
    assert store.runs[-1]["objects"][0]["reconciled"]["unseen"] == 2
    # windows keep the mark, and another comparison has nothing to add
    org.update("Account", known[5], Name="changed")
    later(org)
    sync(org, store)
    assert store.log("Account").coverage.unseen == told.unseen
    version = store.log("Account").version
    assert reconciled(org, store).unseen == told.unseen
    assert store.log("Account").version == version


def test_what_is_seen_again_is_read_again(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 40)
    sync(org, store)
    hidden, edited = known[:2]
    org.hide_record("Account", hidden)
    org.hide_record("Account", edited)
    later(org)
    reconciled(org, store)
    org.update("Account", hidden, Name="meanwhile")
    later(org)
    sync(org, store)
    # the stamp of the change is behind the watermark when the record is shown again
    org.show_record("Account", hidden)
    later(org)
    told = reconciled(org, store)
    assert (told.fetched, told.unseen) == (1, (edited,))
    names = dict(zip(store.rows("Account")["Id"], store.rows("Account")["Name"], strict=True))
    assert names[hidden] == "meanwhile"
    assert store.log("Account").coverage.unseen == (edited,)
    # one that comes with a window is seen again, too
    org.show_record("Account", edited)
    org.update("Account", edited, Name="back")
    later(org)
    sync(org, store)
    assert store.log("Account").coverage.unseen == ()
    assert reconciled(org, store) == Reconciliation(40)


def test_an_unseen_record_that_is_known_to_be_deleted_becomes_a_tombstone(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 40)
    sync(org, store)
    for hidden in known[:3]:
        org.hide_record("Account", hidden)
    later(org)
    reconciled(org, store)
    org.delete("Account", known[0])
    later(org)
    # the log of deletions tells of it though the user does not see it
    assert sync(org, store).objects[0].deleted == 1
    assert store.log("Account").coverage.unseen == (known[1], known[2])
    org.faults.error(f"/sobjects/Account/{known[1]}", 404, "ENTITY_IS_DELETED", "entity is deleted")
    org.faults.error(f"/sobjects/Account/{known[2]}", 403, "INSUFFICIENT_ACCESS", "insufficient access")
    later(org)
    told = reconciled(org, store)
    assert org.faults.pending == 0
    assert (told.deleted, told.unseen) == (1, (known[2],))
    # with View All Data at last, it is certain that the other one is gone, too
    forget(org, "Account", known[2])
    org.see_all_data(granted=True)
    later(org)
    told = reconciled(org, store)
    assert (told.deleted, told.unseen) == (1, ())
    assert ids(store) == set(known[3:])


@pytest.mark.parametrize(("gone", "braked"), [(5, False), (6, True)])
def test_many_that_vanish_at_once_are_not_touched(org: Org, tmp_path: Path, gone: int, braked: bool) -> None:
    store, known = Store(tmp_path), accounts(org, 30)
    sync(org, store)
    forget(org, "Account", *known[:gone])
    (missed,) = org.insert("Account", [{"Name": "missed", "CreatedDate": NOON, "SystemModstamp": NOON}])
    report = sync(org, store, reconcile=True)
    told = report.objects[0].reconciled
    assert told is not None
    assert (told.vanished, told.is_braked) == (gone, braked)
    assert ids(store) == {missed, *(known if braked else known[gone:])}
    assert any("6 of 30 records have vanished without a trace" in each for each in report.warnings) == braked
    assert store.log("Account").coverage.unseen == ()
    if braked:
        assert "6 vanished, which is too many: none touched" in str(report)
        later(org)
        assert reconciled(org, store, max_vanished_percent=50).deleted == 6
        assert ids(store) == {missed, *known[6:]}


def test_the_brake_holds_for_lost_access_as_well(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 30)
    sync(org, store)
    for hidden in known[:20]:
        org.hide_record("Account", hidden)
    later(org)
    before = len(org.requests)
    told = reconciled(org, store)
    assert (told.is_braked, told.unseen, told.deleted) == (True, (), 0)
    assert not any("/sobjects/Account/001" in call.path for call in org.requests[before:])
    assert ids(store) == set(known)


def test_what_the_mirror_lacks_is_fetched(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 30)
    org.hide_record("Account", known[0])
    sync(org, store)
    assert known[0] not in ids(store)
    org.show_record("Account", known[0])
    later(org)
    sync(org, store)
    assert known[0] not in ids(store), "no window shows it"
    watermark = store.watermarks["Account"]
    told = reconciled(org, store)
    assert (told.fetched, told.ids, told.deleted) == (1, 30, 0)
    assert ids(store) == set(known)
    assert store.watermarks["Account"] == watermark
    assert reconciled(org, store) == Reconciliation(30)


def test_many_that_lack_are_picked_out_of_a_bulk_read(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    known = accounts(org, 12_000)
    with org.state.records.writing() as connection:
        connection.executemany("INSERT INTO _unshared VALUES ('Account', ?)", [(each,) for each in known[2:]])
    org.state.unshared.add("Account")
    sync(org, store)
    with org.state.records.writing() as connection:
        connection.execute("DELETE FROM _unshared")
    later(org)
    before = len(org.requests)
    told = reconciled(org, store)
    assert (told.ids, told.fetched) == (12_000, 11_998)
    assert len(org.requests) - before < 60
    assert ids(store) == set(known)
    assert not (tmp_path / "staging").exists()


def test_a_record_deleted_while_ids_are_read_is_no_mystery(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 30)
    org.see_all_data(granted=False)
    sync(org, store)
    slow = org.begin()
    slow.insert("Contact", [{"LastName": "holds the watermark back"}])
    later(org)
    org.delete("Account", known[0])
    later(org)
    told = reconciled(org, store)
    assert (told.vanished, told.deleted, told.unseen) == (1, 1, ())
    slow.commit()
    later(org)
    assert sync(org, store).objects[0].deleted == 0
    assert ids(store) == set(known[1:])


def test_children_of_a_deleted_record_went_with_it(org: Org, tmp_path: Path) -> None:
    kept, gone = org.insert(
        "Opportunity",
        [{"Name": n, "StageName": "Prospecting", "CloseDate": date(2026, 7, 1)} for n in "ab"],
    )
    org.advance(timedelta(days=1))
    for identity in (kept, gone):
        org.update("Opportunity", identity, StageName="Qualification")
    later(org)
    store, names = Store(tmp_path), ("Opportunity", "OpportunityHistory")
    sync(org, store, *names)
    assert len(ids(store, "OpportunityHistory")) == 2
    of_kept, of_gone = (
        next(row["Id"] for row in org.rows("OpportunityHistory") if row["OpportunityId"] == each)
        for each in (kept, gone)
    )
    org.see_all_data(granted=False)
    org.delete("Opportunity", gone)
    forget(org, "OpportunityHistory", of_kept, of_gone)
    later(org)
    report = sync(org, store, *names, reconcile=True)
    told = {each.object: each.reconciled for each in report.objects}["OpportunityHistory"]
    assert told is not None
    assert (told.deleted, told.unseen) == (1, (of_kept,))


def test_a_gap_in_the_log_of_deletions_is_closed_in_the_same_run(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 40)
    sync(org, store)
    for gone in known[:2]:
        org.delete("Account", gone)
        org.purge("Account", gone)
    org.advance(timedelta(days=40))
    forget(org, "Account", *known[:2])
    org.update("Account", known[3], Name="after more than thirty days")
    later(org)
    # killed after the window is committed, and before every id is compared
    with pytest.raises(StoppedEarly) as stop:
        sync(org, store, max_api_calls=9)
    (account,) = stop.value.report.objects
    assert (account.status, account.written) == ("stopped", 1)
    assert store.rows("Account").filter(Name="after more than thirty days").height == 1
    assert ids(store) == set(known)
    later(org)
    report = sync(org, store)
    told = report.objects[0].reconciled
    assert told is not None
    assert told.deleted == 2
    assert ids(store) == set(known[2:])
    assert "every id is compared instead" in report.warnings[0]
    later(org)
    report = sync(org, store)
    assert (report.objects[0].reconciled, report.warnings) == (None, ())


def test_a_log_of_deletions_that_was_purged_early_is_a_gap(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 40)
    sync(org, store)
    org.delete("Account", known[0])
    org.purge("Account", known[0])
    org.advance(timedelta(days=2))
    forget(org, "Account", known[0])
    org.earliest_deletion = org.now - timedelta(days=1)
    assert sync(org, store).objects[0].deleted == 1
    assert ids(store) == set(known[1:])


def test_whoever_may_not_ask_for_deletions_compares_once_a_day(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 40)
    sync(org, store)
    org.faults.error("/Account/deleted", 403, "INSUFFICIENT_ACCESS", "no", times=None)
    org.delete("Account", known[0])
    org.purge("Account", known[0])
    compared = []
    for _ in range(5):
        later(org, hours=10)
        compared.append(sync(org, store).objects[0].reconciled is not None)
    assert compared == [False, False, True, False, False]
    assert ids(store) == set(known[1:])


def test_an_undeleted_parent_brings_its_field_history_back(org: Org, tmp_path: Path) -> None:
    org.add_field("Opportunity", "Partner__c > Account")
    org.track_history("Opportunity", "Partner__c")
    (acme,) = accounts(org, 1)
    (deal,) = org.insert(
        "Opportunity", [{"Name": "d", "StageName": "Prospecting", "CloseDate": date(2026, 7, 1)}]
    )
    org.update("Opportunity", deal, Partner__c=acme)
    later(org)
    lookup = {"object": "Opportunity", "field": "Partner__c", "kind": "role"}
    options = {"mapping": Mapping(lookups=(lookup,))}
    store, name = Store(tmp_path), "OpportunityFieldHistory"
    sync(org, store, name, **options)
    history = ids(store, name)
    assert len(history) == 1
    org.delete("Opportunity", deal)
    later(org)
    assert sync(org, store, name, **options).objects[0].deleted == 1
    org.undelete("Opportunity", deal)
    later(org)
    assert sync(org, store, name, **options).objects[0].written == 1
    assert ids(store, name) == history


@pytest.mark.parametrize("name", ["Account", "Contact", "Lead"])
@pytest.mark.parametrize("purged", [False, True])
def test_merges_are_followed(org: Org, tmp_path: Path, name: str, purged: bool) -> None:
    usual = {
        "Account": {"Name": "x"},
        "Contact": {"LastName": "x"},
        "Lead": {"LastName": "x", "Company": "x"},
    }
    winner, loser = org.insert(name, [usual[name]] * 2)
    (member,) = (
        org.insert("CampaignMember", [{"CampaignId": org.insert("Campaign", [{"Name": "c"}])[0]}])
        if name == "Account"
        else org.insert(
            "CampaignMember",
            [{"CampaignId": org.insert("Campaign", [{"Name": "c"}])[0], f"{name}Id": loser}],
        )
    )
    later(org)
    store = Store(tmp_path)
    sync(org, store, name, "CampaignMember")
    org.merge(name, winner, loser)
    if purged:
        org.purge(name, loser)
    later(org)
    sync(org, store, name, "CampaignMember")
    assert ids(store, name) == {winner}
    versions = store.log(name).newest().collect()
    (master,) = versions.filter(Id=loser)["MasterRecordId"].to_list()
    assert master == (None if purged else winner)
    if name != "Account":
        assert store.rows("CampaignMember").filter(Id=member)[f"{name}Id"].to_list() == [winner]
    assert reconciled(org, store, name) == Reconciliation(1)


def test_a_cascade_and_its_undoing_arrive(org: Org, tmp_path: Path) -> None:
    (acme,) = accounts(org, 1)
    (deal,) = org.insert(
        "Opportunity",
        [{"Name": "d", "AccountId": acme, "StageName": "Prospecting", "CloseDate": date(2026, 7, 1)}],
    )
    (role,) = org.insert("Partner", [{"OpportunityId": deal, "AccountToId": acme}])
    later(org)
    store, names = Store(tmp_path), ("Account", "Opportunity", "Partner")
    sync(org, store, *names)
    org.delete("Account", acme)
    later(org)
    sync(org, store, *names)
    assert [ids(store, name) for name in names] == [set(), set(), set()]
    org.undelete("Account", acme)
    later(org)
    sync(org, store, *names)
    assert [ids(store, name) for name in names] == [{acme}, {deal}, {role}]
    org.delete("Account", acme)
    org.purge("Account", acme)
    later(org)
    sync(org, store, *names)
    assert [ids(store, name) for name in names] == [set(), set(), set()]
    assert [reconciled(org, store, name) for name in names] == [Reconciliation(0)] * 3


def test_an_object_without_a_recycle_bin(org: Org, tmp_path: Path) -> None:
    one, two = org.insert("User", [{"LastName": n, "Username": n, "Email": n} for n in "ab"])
    later(org)
    store = Store(tmp_path)
    sync(org, store, "User")
    org.delete("User", one)
    later(org)
    assert sync(org, store, "User").objects[0].deleted == 1
    assert two in ids(store, "User")
    assert one not in ids(store, "User")
    forget(org, "User", two)
    assert reconciled(org, store, "User").deleted == 1


def test_an_unreadable_record_is_not_fetched_over_and_over(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 20)
    org.hide_record("Account", known[0])
    sync(org, store)
    org.show_record("Account", known[0])
    with org.state.records.writing() as connection:
        connection.execute("UPDATE Account SET ParentId = '006Ab0000000001IAA' WHERE Id = ?", (known[0],))
    later(org)
    report = sync(org, store, reconcile=True)
    assert [each.id for each in report.rejected] == [known[0]]
    assert store.log("Account").coverage.unread == (known[0],)
    later(org)
    before = len(org.requests)
    assert reconciled(org, store).fetched == 0
    assert sum(known[0] in each for each in soql(org, before)) == 1, "only every sync asks again"


def test_a_failure_changes_nothing(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 30)
    sync(org, store)
    forget(org, "Account", known[0])
    version = store.log("Account").version
    # the organization is asked for first
    org.faults.unavailable("/queryAll", skip=1, times=None)
    (failed,) = sync(org, store, reconcile=True).failed
    assert "503" in str(failed.message)
    assert store.log("Account").version == version
    org.faults.clear()
    assert reconciled(org, store).deleted == 1


def test_the_command_reconciles(org: Org, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = accounts(org, 30)
    words = ["sync", "--store", str(tmp_path), "--object", "Account"]
    assert main(words) == 0
    forget(org, "Account", known[0])
    capsys.readouterr()
    assert main([*words, "--reconcile", "--json"]) == 0
    (account,) = json.loads(capsys.readouterr().out)["objects"]
    assert account["reconciled"] == {
        "ids": 29,
        "fetched": 0,
        "deleted": 1,
        "vanished": 1,
        "unseen": [],
        "braked": False,
    }
    assert main([*words, "--reconcile"]) == 0
    assert "Account: 29 ids compared: 0 fetched, 0 deleted, 0 unseen" in capsys.readouterr().out
    assert main([*words, "--max-vanished-percent", "101"]) == 2
    with pytest.raises(UsageError, match="max_vanished_percent is -1"):
        sync(org, Store(tmp_path), max_vanished_percent=-1)


def test_a_full_sync_sees_what_changed_without_a_stamp(org: Org, tmp_path: Path) -> None:
    store, known = Store(tmp_path), accounts(org, 40)
    sync(org, store)
    # as a formula does, when what it is made of changes
    org.update("Account", known[7], stamp=False, Name="changed")
    later(org)
    assert sync(org, store).objects[0].written == 0
    found = store.verify(connect(org), objects=["Account"])
    assert found.has_drift
    assert "sync --full" in str(found)
    assert "--reconcile" not in str(found)
    org.delete("Account", known[9])
    later(org)
    (told,) = sync(org, store, full=True).objects
    assert (told.from_, told.read, told.written, told.deleted) == (None, 40, 1, 1)
    assert dict(store.rows("Account").select("Id", "Name").rows())[known[7]] == "changed"
    assert ids(store) == {*known} - {known[9]}
    # and at once again, when nothing newer is safe to be read
    watermark = store.log("Account").watermark
    (told,) = sync(org, store, full=True, reconcile=True).objects
    assert not store.verify(connect(org), objects=["Account"]).has_drift
    assert (told.read >= 40, told.written, told.deleted) == (True, 0, 0)
    assert told.reconciled == Reconciliation(39)
    assert store.log("Account").watermark >= watermark


def test_pages_that_are_committed_are_not_taken_for_another_full_read(org: Org, tmp_path: Path) -> None:
    store, known, kept = Store(tmp_path / "store"), accounts(org, 5_001), tmp_path / "kept"
    sync(org, store)
    window = store.path / "staging" / "Account" / "window"

    def keep(progress: Progress) -> None:
        if progress.rows:
            shutil.copytree(window, kept, dirs_exist_ok=True)

    later(org)
    sync(org, store, full=True, progress=keep)
    # as if it had been killed after its commit
    shutil.copytree(kept, window)
    org.update("Account", known[7], stamp=False, Name="changed")
    (told,) = sync(org, store, full=True).objects
    assert (told.read, told.written) == (5_001, 1)


def test_a_full_read_of_nothing_costs_what_was_estimated(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    org.advance(timedelta(minutes=30))
    sync(org, store)
    later(org)
    estimate = store.plan(connect(org), objects=["Account"], full=True)
    assert estimate.calls == sync(org, store, full=True).api_calls
