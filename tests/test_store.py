"""A sync over the real wire: no record lost, none doubled, no deletion missed, and clear refusals."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from attribution.errors import StoppedEarly, StoreError, UsageError
from attribution.mapping import Mapping
from attribution.readings import readings
from attribution.store import Store
from attribution.sync.report import Progress
from attribution.testing import Org
from tests.loopback import NOON, connect


def deal(**fields: object) -> dict[str, object]:
    return {"StageName": "Prospecting", "CloseDate": date(2026, 7, 1), "Name": "a deal"} | fields


def later(org: Org, minutes: float = 30) -> None:
    org.advance(timedelta(minutes=minutes))


def live(org: Org, object: str, field: str) -> dict[str, object]:
    return {row["Id"]: row[field] for row in org.rows(object) if not row["IsDeleted"]}


def held(store: Store, object: str, field: str, known_at: datetime | None = None) -> dict[str, object]:
    rows = store.rows(object, known_at)
    return dict(zip(rows["Id"], rows[field], strict=True))


def test_a_first_sync_mirrors_every_object_with_its_types(org: Org, tmp_path: Path) -> None:
    (account,) = org.insert("Account", [{"Name": "NA", "Type": "001"}])
    org.insert("Opportunity", [deal(AccountId=account, Amount=Decimal("1234567.89"), Name='é\n😀 "q" ,')])
    later(org)
    store = Store(tmp_path / "new" / "my störe")
    seen: list[Progress] = []
    report = store.sync(connect(org), progress=seen.append)
    assert {each.status for each in report.objects} == {"ok", "unavailable"}
    assert report.unavailable == ("CurrencyType", "DatedConversionRate")
    assert set(store.objects) == set(readings(Mapping())) - set(report.unavailable)
    assert store.organization_id == org.id
    assert report.api_calls == len(org.requests)
    record = store.rows("Opportunity").row(0, named=True)
    assert record["Amount"] == Decimal("1234567.89")
    assert record["Name"] == 'é\n😀 "q" ,'
    assert record["CloseDate"] == date(2026, 7, 1)
    assert record["CreatedDate"] == NOON
    assert record["IsWon"] is False
    assert not [name for name in record if name.startswith("_")]
    assert store.rows("Account").select("Name", "Type").rows() == [("NA", "001")]
    assert Progress("Opportunity", 1, 1) in seen


def test_the_report_is_the_documented_json(org: Org, tmp_path: Path) -> None:
    later(org)
    org.remove_object("Partner")
    document = Store(tmp_path).sync(connect(org), objects=["Account", "Partner"]).to_dict()
    assert json.loads(json.dumps(document)) == document
    assert list(document) == [
        *(
            "run_id",
            "started_at",
            "finished_at",
            "api_calls",
            "objects",
            "rejected",
            "unavailable",
            "warnings",
        )
    ]
    assert document["unavailable"] == ["Partner"]
    account, partner = document["objects"]
    assert account == {
        "object": "Account",
        "status": "ok",
        "read": 0,
        "written": 0,
        "deleted": 0,
        "rejected": 0,
        "api_calls": 3,
        "from": None,
        "to": "2026-06-01T12:30:00Z",
        "message": None,
        "reconciled": None,
    }
    assert partner["status"] == "unavailable"
    assert "Partner" in partner["message"]


def test_a_second_sync_of_an_unchanged_org_writes_no_row(org: Org, tmp_path: Path) -> None:
    org.insert("Account", [{"Name": "x"}, {"Name": "y"}])
    later(org)
    store = Store(tmp_path)
    store.sync(connect(org))
    data = sorted(tmp_path.rglob("*.parquet"))
    later(org)
    report = store.sync(connect(org))
    assert sum(each.written + each.deleted for each in report.objects) == 0
    assert sorted(tmp_path.rglob("*.parquet")) == data
    assert {store.log(name).version for name in store.objects} == {1}
    before = store.watermarks
    store.sync(connect(org))
    assert {store.log(name).version for name in store.objects} == {1}
    assert store.watermarks == before


def test_edits_deletions_purges_and_undeletions_arrive(org: Org, tmp_path: Path) -> None:
    edited, deleted, purged, back = org.insert("Account", [{"Name": name} for name in "abcd"])
    later(org)
    store = Store(tmp_path)
    store.sync(connect(org))
    known_at = org.now
    later(org)
    org.update("Account", edited, Name="A")
    for gone in (deleted, purged, back):
        org.delete("Account", gone)
    org.purge("Account", purged)
    later(org)
    report = store.sync(connect(org), objects=["Account"])
    assert (report.objects[0].written, report.objects[0].deleted) == (1, 3)
    assert held(store, "Account", "Name") == {edited: "A"}
    org.undelete("Account", back)
    later(org)
    store.sync(connect(org), objects=["Account"])
    assert held(store, "Account", "Name") == {edited: "A", back: "d"}
    assert sorted(held(store, "Account", "Name", known_at).values()) == ["a", "b", "c", "d"]
    assert store.versions("Account", known_at).collect().height == 4


def test_a_record_edited_and_purged_within_one_second_is_gone(org: Org, tmp_path: Path) -> None:
    one, two = org.insert("Account", [{"Name": "a"}, {"Name": "b"}])
    later(org)
    org.update("Account", one, Name="A")
    org.update("Account", two, Name="B")
    later(org, 5)
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    org.now = NOON + timedelta(minutes=30)
    org.delete("Account", one)
    org.purge("Account", one)
    org.delete("Account", two)
    org.undelete("Account", two)
    later(org, 60)
    store.sync(connect(org), objects=["Account"])
    assert held(store, "Account", "Name") == {two: "B"}


def test_a_late_commit_with_an_early_stamp_is_not_lost(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store_objects = ["Account"]
    slow = org.begin()
    slow.insert("Account", [{"Name": "slow"}])
    later(org)
    org.insert("Account", [{"Name": "quick"}])
    later(org)
    report = store.sync(connect(org), objects=store_objects)
    assert report.objects[0].to == NOON
    slow.commit()
    later(org)
    store.sync(connect(org), objects=store_objects)
    assert held(store, "Account", "Name") == live(org, "Account", "Name")


def test_after_many_rounds_of_edits_the_store_equals_the_org(org: Org, tmp_path: Path) -> None:
    draw = random.Random(20260601)
    store = Store(tmp_path)
    for turn in range(12):
        slow = org.begin() if turn < 11 and draw.random() < 0.5 else None
        ids = org.insert("Account", [{"Name": f"{turn}.{n}"} for n in range(draw.randint(0, 4))])
        if slow is not None:
            slow.insert("Account", [{"Name": f"{turn} late"}])
        for row in org.rows("Account"):
            match draw.randrange(8):
                case 0 if not row["IsDeleted"]:
                    org.update("Account", row["Id"], Name=f"{row['Name']}'")
                case 1 if not row["IsDeleted"]:
                    org.delete("Account", row["Id"])
                case 2 if row["IsDeleted"]:
                    org.undelete("Account", row["Id"])
                case 3 if row["IsDeleted"] and row["Id"] not in ids:
                    org.purge("Account", row["Id"])
        later(org, draw.choice([0.5, 3, 45]))
        store.sync(connect(org), objects=["Account"])
        if slow is not None:
            slow.commit()
    later(org, 60)
    store.sync(connect(org), objects=["Account"])
    assert held(store, "Account", "Name") == live(org, "Account", "Name")
    newest = store.log("Account").newest().collect()
    assert newest["Id"].is_unique().all()


def test_many_rows_come_in_bulk_and_nothing_is_left_behind(org: Org, tmp_path: Path) -> None:
    name = 'of "q",\n é'
    org.load({"Account": [{"Name": f"{n} {name}"} for n in range(6_000)]})
    later(org)
    store = Store(tmp_path)
    report = store.sync(connect(org), objects=["Account"])
    assert report.objects[0].read == 6_000
    assert held(store, "Account", "Name") == live(org, "Account", "Name")
    assert [call.method for call in org.requests if "/jobs/query" in call.path][-1] == "DELETE"
    assert not (tmp_path / "staging").exists()
    assert store.log("Account").version == 0


def test_rest_and_bulk_spell_the_same_values(org: Org, tmp_path: Path) -> None:
    org.hide_field("Opportunity", "LeadSource")
    amounts = [Decimal(n) / 100 + 912260031 for n in range(5_001)]
    ids = org.load({"Opportunity": [deal(Amount=amount) for amount in amounts]})["Opportunity"]
    later(org)
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Opportunity"])
    assert any("/jobs/query" in call.path for call in org.requests)
    org.delete("Opportunity", ids[0])
    org.purge("Opportunity", ids[0])
    org.show_field("Opportunity", "LeadSource")
    later(org)
    before = len(org.requests)
    report = store.sync(connect(org), objects=["Opportunity"])
    assert not any("/jobs/query" in call.path for call in org.requests[before:])
    assert (report.objects[0].read, report.objects[0].written, report.objects[0].deleted) == (5_000, 0, 1)


def test_a_field_that_appears_is_read_for_every_record(org: Org, tmp_path: Path) -> None:
    org.hide_field("Account", "Type")
    (account,) = org.insert("Account", [{"Name": "x", "Type": "Partner"}])
    later(org)
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    assert "Type" not in store.rows("Account").columns
    org.show_field("Account", "Type")
    later(org)
    report = store.sync(connect(org), objects=["Account"])
    assert held(store, "Account", "Type") == {account: "Partner"}
    assert report.warnings == ("Account: Type is new: read for every record",)
    assert (report.objects[0].read, report.objects[0].written) == (1, 1)
    org.hide_field("Account", "Type")
    org.update("Account", account, Name="y")
    later(org)
    report = store.sync(connect(org), objects=["Account"])
    assert held(store, "Account", "Type") == {account: "Partner"}
    assert held(store, "Account", "Name") == {account: "y"}
    assert "hidden now and no longer read" in report.warnings[0]


def test_a_hidden_needed_field_names_the_permission_and_nothing_is_written(org: Org, tmp_path: Path) -> None:
    org.hide_field("Opportunity", "Amount")
    with pytest.raises(UsageError, match="field Amount of Opportunity") as refused:
        Store(tmp_path / "store").sync(connect(org))
    assert "Read access for field Amount of Opportunity: grant it in a permission set" in str(
        refused.value.hint
    )
    assert not (tmp_path / "store").exists()


def test_a_required_object_that_is_hidden_is_an_error(org: Org, tmp_path: Path) -> None:
    org.remove_object("OpportunityStage")
    with pytest.raises(UsageError, match="object OpportunityStage is not visible"):
        Store(tmp_path / "store").sync(connect(org))
    assert not (tmp_path / "store").exists()


def test_an_optional_object_without_a_needed_field_is_unavailable(org: Org, tmp_path: Path) -> None:
    org.hide_field("Lead", "ConvertedAccountId")
    report = Store(tmp_path).sync(connect(org), objects=["Lead", "User"])
    assert report.unavailable == ("Lead",)
    assert "ConvertedAccountId" in report.warnings[0]


def test_an_org_without_partner_licences_is_mirrored_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Org(now=NOON, partner_licences=False) as org:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", org.ca_bundle)
        later(org)
        report = Store(tmp_path).sync(connect(org))
    assert set(report.unavailable) == {
        *("ChannelProgram", "ChannelProgramLevel", "ChannelProgramMember", "PartnerFundRequest"),
        *("CurrencyType", "DatedConversionRate"),
    }
    assert "PartnerAccountId" not in Store(tmp_path).rows("Opportunity").columns
    assert ["doctor --suggest" in warning for warning in report.warnings] == [True]
    org.close()


def test_an_object_that_fails_leaves_the_others_alone_and_goes_on_next_time(org: Org, tmp_path: Path) -> None:
    org.insert("Account", [{"Name": "x"}])
    later(org)
    store = Store(tmp_path)
    org.faults.unavailable("/Account/updated", times=6)
    report = store.sync(connect(org), objects=["Account", "User"])
    assert [each.object for each in report.failed] == ["Account"]
    assert "503" in str(report.failed[0].message)
    assert store.objects == ("User",)
    store.sync(connect(org), objects=["Account", "User"])
    assert store.rows("Account").height == 1


def test_refused_questions_about_replication_are_told(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    org.insert("Account", [{"Name": "x"}])
    later(org)
    for path in ("/Account/updated", "/Account/deleted"):
        org.faults.error(path, 403, "INSUFFICIENT_ACCESS", "no access")
    report = store.sync(connect(org), objects=["Account"])
    assert store.rows("Account").height == 1
    assert report.objects[0].to == org.now - timedelta(seconds=5)
    assert ["purged" in warning for warning in report.warnings] == [False, True]


def test_deletions_too_old_to_be_told_are_warned_of(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account", "Contact"])
    org.advance(timedelta(days=16))
    (warning,) = store.sync(connect(org), objects=["Account", "Contact"]).warnings
    assert "Account, Contact: Salesforce no longer tells everything that was purged" in warning
    later(org)
    assert store.sync(connect(org), objects=["Account", "Contact"]).warnings == ()


def test_the_daily_quota_stops_the_sync_and_keeps_what_is_complete(org: Org, tmp_path: Path) -> None:
    later(org)
    store = Store(tmp_path)
    org.faults.quota_exceeded("/Opportunity/updated")
    with pytest.raises(StoppedEarly, match="REQUEST_LIMIT_EXCEEDED"):
        store.sync(connect(org))
    assert "Account" in store.objects
    assert "Opportunity" not in store.objects
    store.sync(connect(org))
    assert "Opportunity" in store.objects


def test_another_organization_is_refused(org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["User"])
    with Org(now=NOON, organization={"Id": "00DAb0000000002"}) as other:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", other.ca_bundle)
        with pytest.raises(StoreError, match=f"belongs to organization {org.id}, not to {other.id}"):
            store.sync(connect(other))
    other.close()


def test_a_changed_type_is_refused_before_anything_is_written(org: Org, tmp_path: Path) -> None:
    org.add_field("Opportunity", "Value__c string 80")
    store = Store(tmp_path)
    store.sync(connect(org), mapping=Mapping(segments=("Value__c",)))
    with Org(now=NOON + timedelta(hours=1)) as changed, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", changed.ca_bundle)
        changed.add_field("Opportunity", "Value__c currency")
        with pytest.raises(
            StoreError, match=r"Opportunity\.Value__c is Decimal.* but the store holds String"
        ):
            store.sync(connect(changed), mapping=Mapping(segments=("Value__c",)))
    changed.close()
    assert {store.log(name).version for name in store.objects} == {0}


def test_of_two_syncs_at_once_the_second_is_refused(org: Org, tmp_path: Path) -> None:
    org.insert("Account", [{"Name": "x"}])
    later(org)
    refusals = []

    def meanwhile(progress: Progress) -> None:
        with pytest.raises(StoreError, match="another sync is writing") as refused:
            Store(tmp_path).sync(connect(org), objects=["Account"])
        refusals.append(refused.value)

    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"], progress=meanwhile)
    assert refusals
    assert store.versions("Account").collect().height == 1


KILLED = """
import os, signal, sys
from attribution.store import Store
from attribution.sync.salesforce import Salesforce

def kill(progress):
    if progress.object == "Account" and progress.rows:
        os.kill(os.getpid(), signal.SIGKILL)

objects = ["OpportunityStage", "Account"]
Store(sys.argv[1]).sync(Salesforce.from_env(), objects=objects, progress=kill, parallel=1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("rows", [3, 6_000])
def test_a_sync_killed_between_page_and_commit_leaves_the_object_as_before(
    org: Org, tmp_path: Path, rows: int
) -> None:
    org.load({"Account": [{"Name": f"{n}"} for n in range(rows)]})
    later(org)
    environment = org.environment | {
        "ATTRIBUTION_BULK_POLL_SECONDS": "0",
        "PATH": "",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert store.objects == ("OpportunityStage",)
    store.sync(connect(org), objects=["OpportunityStage", "Account"])
    assert held(store, "Account", "Name") == live(org, "Account", "Name")
    assert not (tmp_path / "staging").exists()


def test_an_opportunity_with_an_unreadable_field_stays_in_the_counts(org: Org, tmp_path: Path) -> None:
    (account,) = org.insert("Account", [{"Name": "x"}])
    (good,) = org.insert("Opportunity", [deal(AccountId=account)])
    later(org)
    record = dict.fromkeys(readings(Mapping())["Opportunity"].fields) | {
        "Id": good,
        "Amount": "ten",
        "SystemModstamp": "2026-06-01T12:00:00.000+0000",
    }
    org.faults.add("/queryAll", skip=2, status=200, body={"totalSize": 1, "done": True, "records": [record]})
    store = Store(tmp_path)
    report = store.sync(connect(org), objects=["Opportunity"])
    (rejected,) = report.rejected
    assert rejected.id == good
    assert {"Amount: 'ten' is no currency", "StageName is missing"} <= set(rejected.reason.split("; "))
    assert held(store, "Opportunity", "Amount") == {good: None}
    assert "rejected" in str(report)


def test_unknown_objects_are_named(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(UsageError, match="no object Invoice") as refused:
        store.sync(connect(org), objects=["Invoice"])
    assert "Account" in str(refused.value.hint)
    store.sync(connect(org), objects=["User"])
    with pytest.raises(UsageError, match="Account is not in the store") as refused:
        store.rows("Account")
    assert refused.value.hint == "mirrored: User"
    with pytest.raises(UsageError, match="is not in the store"):
        store.rows("../User")
    with pytest.raises(UsageError, match="has no time zone"):
        store.rows("User", datetime(2026, 1, 1))


def test_folders_that_are_no_store_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(StoreError, match=r"is no store: it has no store\.json but holds thesis\.doc"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="is a file, not a store"):
        Store(tmp_path / "thesis.doc")
    with pytest.raises(UsageError, match="a store cannot lie at"):
        Store(tmp_path / "a[b]")


@pytest.mark.parametrize("text", ["", "[]", '{"format": "x"}', '{"format": 1}'])
def test_a_damaged_store_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(StoreError, match=r"store\.json cannot be read"):
        Store(tmp_path)


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 2, "organization_id": "00D000000000001AAA"}')
    with pytest.raises(StoreError, match="made by a newer version") as refused:
        Store(tmp_path)
    assert "upgrade" in str(refused.value.hint)


def test_settings_come_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "attribution.toml").write_text(
        '[mapping]\namount_field = "ACV__c"\n[policy]\nlate_days = 3\n'
    )
    store = Store(tmp_path)
    assert store.mapping == Mapping(amount_field="ACV__c")
    assert store.policy.late_days == 3
    assert Store(tmp_path / "none").mapping == Mapping()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mapping", "is not TOML"),
        ("[mappings]", "no section mappings"),
        ("mapping = 3", "mapping is no section"),
        ("[mapping]\namount = 3", "'amount'"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "attribution.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        _ = Store(tmp_path).mapping


def test_the_secret_is_nowhere_in_the_store(org: Org, tmp_path: Path) -> None:
    Store(tmp_path).sync(connect(org), objects=["User"])
    assert not [
        file for file in tmp_path.rglob("*") if file.is_file() and org.token.encode() in file.read_bytes()
    ]


def test_rows_are_sorted_by_id(org: Org, tmp_path: Path) -> None:
    org.insert("Account", [{"Name": "x"} for _ in range(5)])
    later(org)
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    assert store.rows("Account")["Id"].is_sorted()
    assert isinstance(store.versions("Account"), pl.LazyFrame)
