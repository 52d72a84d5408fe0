"""What edits do to rows: stamps, stage history, recycle bin, merges, transactions."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from attribution.errors import UsageError
from attribution.testing import Org
from attribution.testing.messages import Request
from attribution.testing.records import full_id, java_double
from attribution.testing.rest import Rest

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def org() -> Iterator[Org]:
    org = Org(now=NOW)
    yield org
    org.close()


def ids_of(org: Org, object: str, resource: str = "query") -> list[str]:
    request = Request("GET", f"/services/data/v68.0/{resource}", {"q": f"SELECT Id FROM {object}"}, {}, b"")
    return [record["Id"] for record in json.loads(Rest(org).answer(request).body)["records"]]


def deleted(org: Org, object: str) -> list[str]:
    window = {"start": (org.now - timedelta(days=10)).isoformat(), "end": (org.now + HOUR).isoformat()}
    request = Request("GET", f"/services/data/v68.0/sobjects/{object}/deleted", window, {}, b"")
    return [entry["id"] for entry in json.loads(Rest(org).answer(request).body)["deletedRecords"]]


def opportunity(org: Org, **fields: Any) -> str:
    given = {"Name": "Deal", "StageName": "Prospecting", "CloseDate": date(2026, 9, 1), "Amount": 100}
    return org.insert("Opportunity", [given | fields])[0]


def test_ids_have_the_prefix_and_the_checksum(org: Org) -> None:
    one, two = org.insert("Lead", [{"LastName": "a"}, {"LastName": "b"}])
    assert one < two
    assert one.startswith("00Q")
    assert full_id(one[:15]) == one
    # a pair published in Salesforce's own documentation
    assert full_id("001A0000006Vm9r") == "001A0000006Vm9rIAC"
    assert full_id("nope") is None


def test_a_new_record_is_stamped_and_history_may_be_loaded(org: Org) -> None:
    old = NOW - timedelta(days=400)
    fresh = org.row("Account", org.insert("Account", [{"Name": "a"}])[0])
    assert fresh["CreatedDate"] == fresh["SystemModstamp"] == fresh["LastModifiedDate"] == NOW
    assert fresh["CreatedById"] == fresh["OwnerId"] == org.state.user_id
    (loaded,) = org.insert("Account", [{"Id": "001A0000006Vm9r", "CreatedDate": old, "SystemModstamp": old}])
    assert loaded == "001A0000006Vm9rIAC"
    assert org.row("Account", loaded)["SystemModstamp"] == old
    with pytest.raises(UsageError, match="already"):
        org.insert("Account", [{"Id": loaded}])


@pytest.mark.parametrize(
    "row",
    [
        {"Nope": 1},
        {"Name": 5},
        {"CreatedDate": datetime(2026, 1, 1)},
        {"AnnualRevenue": "5"},
        {"IsDeleted": 1},
    ],
)
def test_what_does_not_fit_is_refused(org: Org, row: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        org.insert("Account", [row])
    with pytest.raises(UsageError):
        org.load({"Account": [row]})


def test_insert_and_load_agree(org: Org) -> None:
    rows: list[dict[str, Any]] = [
        {"Name": "x", "StageName": "Closed Won", "CloseDate": date(2026, 2, 3), "Amount": Decimal("1.25")},
        {"Name": "y", "StageName": "closed lost", "CloseDate": date(2025, 12, 3), "Probability": 7},
        {"Name": "z", "StageName": "Unheard of", "CloseDate": date(2025, 12, 3), "IsClosed": True},
    ]
    org.insert("Opportunity", rows)
    org.load({"Opportunity": rows})
    found = [{key: value for key, value in row.items() if key != "Id"} for row in org.rows("Opportunity")]
    assert found[:3] == found[3:]
    assert [(row["IsClosed"], row["IsWon"]) for row in found[:3]] == [
        (True, True),
        (True, False),
        (True, False),
    ]
    assert [row["ForecastCategory"] for row in found[:3]] == ["Closed", "Omitted", "Pipeline"]
    assert [row["Probability"] for row in found[:3]] == [100, 7, None]
    assert [row["ExpectedRevenue"] for row in found[:3]] == [Decimal("1.25"), None, None]


def test_the_fiscal_year_may_start_in_february() -> None:
    org = Org(organization={"FiscalYearStartMonth": 2})
    row = org.row("Opportunity", opportunity(org, CloseDate=date(2026, 2, 1)))
    assert (row["FiscalYear"], row["FiscalQuarter"], row["Fiscal"]) == (2027, 1, "2027 1")
    org.close()


def test_a_change_of_stage_writes_history(org: Org) -> None:
    deal = opportunity(org)
    assert org.rows("OpportunityHistory") == []
    org.advance(HOUR)
    org.update("Opportunity", deal, Name="only a name")
    assert org.rows("OpportunityHistory") == []
    org.update("Opportunity", deal, StageName="Closed Won", Amount=Decimal(250))
    row = org.row("Opportunity", deal)
    assert (row["IsClosed"], row["IsWon"], row["Probability"], row["ForecastCategory"]) == (
        True,
        True,
        100,
        "Closed",
    )
    assert row["SystemModstamp"] == row["LastModifiedDate"] == row["LastStageChangeDate"] == NOW + HOUR
    (history,) = org.rows("OpportunityHistory")
    assert history["OpportunityId"] == deal
    assert (history["StageName"], history["Amount"], history["PrevAmount"]) == ("Closed Won", 250, 100)
    assert history["CreatedDate"] == history["SystemModstamp"] == NOW + HOUR
    org.update("Opportunity", deal, CloseDate=date(2027, 1, 5))
    assert org.row("Opportunity", deal)["FiscalYear"] == 2027
    assert len(org.rows("OpportunityHistory")) == 2


def test_stage_history_may_be_off_and_a_formula_does_not_stamp() -> None:
    org = Org(now=NOW, opportunity_history=False)
    deal = opportunity(org)
    org.advance(HOUR)
    org.update("Opportunity", deal, StageName="Closed Lost", stamp=False)
    assert org.rows("OpportunityHistory") == []
    assert org.row("Opportunity", deal)["SystemModstamp"] == NOW
    org.close()


def test_field_history(org: Org) -> None:
    org.add_field("Opportunity", "Partner__c > Account")
    org.track_history("Opportunity", "Partner__c")
    (account,) = org.insert("Account", [{"Name": "p"}])
    deal = opportunity(org)
    org.update("Opportunity", deal, Partner__c=account)
    (entry,) = org.rows("OpportunityFieldHistory")
    assert (entry["Field"], entry["OldValue"], entry["NewValue"]) == ("Partner__c", None, account)


def test_delete_takes_children_along_and_undelete_brings_them_back(org: Org) -> None:
    (account,) = org.insert("Account", [{"Name": "a"}])
    deal = opportunity(org, AccountId=account)
    earlier = opportunity(org, AccountId=account)
    org.delete("Opportunity", earlier)
    org.advance(HOUR)
    org.update("Opportunity", deal, Amount=5)
    (meeting,) = org.insert("Event", [{"WhatId": deal, "Subject": "Meeting"}])
    org.advance(HOUR)
    org.delete("Account", account)
    assert ids_of(org, "Opportunity") == ids_of(org, "OpportunityHistory") == ids_of(org, "Event") == []
    assert ids_of(org, "Opportunity", "queryAll") == [deal, earlier]
    assert org.row("Event", meeting)["SystemModstamp"] == NOW + 2 * HOUR
    assert deleted(org, "Account") == [account]
    assert sorted(deleted(org, "Opportunity")) == [deal, earlier]
    org.advance(HOUR)
    org.undelete("Account", account)
    assert ids_of(org, "Opportunity") == [deal]
    assert ids_of(org, "Event") == [meeting]
    assert deleted(org, "Account") == []
    assert deleted(org, "Opportunity") == [earlier]
    assert org.row("Account", account)["SystemModstamp"] == NOW + 3 * HOUR
    with pytest.raises(UsageError, match="not deleted"):
        org.undelete("Account", account)


def test_a_purged_record_is_only_in_get_deleted_for_fifteen_days(org: Org) -> None:
    (account,) = org.insert("Account", [{"Name": "a"}])
    deal = opportunity(org, AccountId=account)
    org.purge("Account", account)
    assert org.rows("Account") == org.rows("Opportunity") == []
    assert deleted(org, "Account") == [account]
    assert deleted(org, "Opportunity") == [deal]
    org.advance(timedelta(days=16))
    assert deleted(org, "Account") == []


def test_objects_without_a_recycle_bin_vanish(org: Org) -> None:
    (kind,) = org.insert(
        "RecordType", [{"Name": "New", "DeveloperName": "New", "SobjectType": "Opportunity"}]
    )
    org.delete("RecordType", kind)
    assert org.rows("RecordType") == []
    assert deleted(org, "RecordType") == [kind]


def test_a_merge_moves_what_points_to_the_loser(org: Org) -> None:
    winner, loser = org.insert("Account", [{"Name": "winner"}, {"Name": "loser"}])
    deal = opportunity(org, AccountId=loser)
    (subsidiary,) = org.insert("Account", [{"Name": "child", "ParentId": loser}])
    org.advance(HOUR)
    org.merge("Account", winner, loser)
    lost = org.row("Account", loser)
    assert (lost["IsDeleted"], lost["MasterRecordId"], lost["SystemModstamp"]) == (True, winner, NOW + HOUR)
    assert org.row("Opportunity", deal)["AccountId"] == winner
    assert org.row("Opportunity", deal)["SystemModstamp"] == NOW + HOUR
    assert org.row("Account", subsidiary)["ParentId"] == winner
    assert deleted(org, "Account") == [loser]
    with pytest.raises(UsageError, match="cannot be merged"):
        org.merge("Opportunity", deal, deal)


def test_archived_activities_are_only_in_query_all(org: Org) -> None:
    (event,) = org.insert("Event", [{"Subject": "old", "IsArchived": True}])
    assert ids_of(org, "Event") == []
    assert ids_of(org, "Event", "queryAll") == [event]


def test_an_event_has_its_times_in_every_spelling(org: Org) -> None:
    timed, whole = org.insert(
        "Event",
        [
            {"ActivityDateTime": NOW, "DurationInMinutes": 90},
            {"ActivityDate": date(2026, 5, 1), "IsAllDayEvent": True},
        ],
    )
    row = org.row("Event", timed)
    assert (row["StartDateTime"], row["EndDateTime"]) == (NOW, NOW + timedelta(minutes=90))
    assert (row["ActivityDate"], row["EndDate"]) == (date(2026, 6, 30), date(2026, 6, 30))
    row = org.row("Event", whole)
    assert (row["ActivityDateTime"], row["StartDateTime"]) == (None, datetime(2026, 5, 1, tzinfo=UTC))


def test_transactions_overlap_lock_and_roll_back(org: Org) -> None:
    (account,) = org.insert("Account", [{"Name": "a"}])
    first = org.begin()
    first.update("Account", account, Name="b")
    org.advance(HOUR)
    second = org.begin()
    (made,) = second.insert("Account", [{"Name": "c"}])
    with pytest.raises(UsageError, match="UNABLE_TO_LOCK_ROW"):
        org.update("Account", account, Name="x")
    assert org.row("Account", account)["Name"] == "a"
    assert org.state.covered_until() == NOW
    first.commit()
    assert org.row("Account", account)["Name"] == "b"
    assert org.state.covered_until() == NOW + HOUR
    second.roll_back()
    assert ids_of(org, "Account") == [account]
    assert made not in deleted(org, "Account")
    with pytest.raises(UsageError, match="ended"):
        second.insert("Account", [{"Name": "d"}])


def test_a_transaction_sees_its_own_writes(org: Org) -> None:
    with org.transaction():
        deal = opportunity(org)
        org.update("Opportunity", deal, StageName="Closed Won")
        org.delete("Opportunity", deal)
        assert org.rows("Opportunity") == []
    assert org.row("Opportunity", deal)["IsWon"] is True
    assert [row["IsDeleted"] for row in org.rows("OpportunityHistory")] == [True]


def test_a_failing_transaction_leaves_nothing(org: Org) -> None:
    with pytest.raises(UsageError), org.transaction():  # noqa: PT012 -- the block is what is tested
        org.insert("Account", [{"Name": "a"}])
        org.insert("Account", [{"Nope": "b"}])
    assert org.rows("Account") == []
    assert org.state.covered_until() == NOW


def test_loaded_rows_that_are_deleted_are_in_get_deleted(org: Org) -> None:
    stamp = NOW - timedelta(days=2)
    ids = org.load({"Account": [{"Name": "a"}, {"Name": "b", "IsDeleted": True, "SystemModstamp": stamp}]})[
        "Account"
    ]
    assert deleted(org, "Account") == ids[1:]


def test_loaded_stages_and_organization_replace_those_of_a_new_org(org: Org) -> None:
    stage = {"ApiName": "Won", "MasterLabel": "Gewonnen", "IsClosed": True, "IsWon": True, "IsActive": True}
    org.load(
        {
            "Organization": [{"Id": "00DAb0000000009", "Name": "Other", "FiscalYearStartMonth": 7}],
            "OpportunityStage": [stage],
            "Opportunity": [{"Name": "x", "StageName": "Gewonnen", "CloseDate": date(2026, 1, 1)}],
        }
    )
    assert [row["ApiName"] for row in org.rows("OpportunityStage")] == ["Won"]
    assert org.id == full_id("00DAb0000000009")
    assert [row["IsWon"] for row in org.rows("Opportunity")] == [True]
    assert org.row("Opportunity", opportunity(org))["FiscalYear"] == 2027


def test_the_clock_moves_only_by_hand(org: Org) -> None:
    assert org.now == NOW
    org.advance(HOUR)
    assert org.now == NOW + HOUR
    with pytest.raises(UsageError, match="aware"):
        org.now = datetime(2026, 1, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0, "0.0"),
        (12.5, "12.5"),
        (-1234567.25, "-1234567.25"),
        (1e7, "1.0E7"),
        (912260031.0, "9.12260031E8"),
        (-123456789.12, "-1.2345678912E8"),
        (0.0005, "5.0E-4"),
    ],
)
def test_numbers_in_csv(value: float | None, text: str) -> None:
    assert java_double(value) == text
    assert value is None or float(text) == value
