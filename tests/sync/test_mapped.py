"""Orgs of every shape: mapped objects and fields, what they lead to, and what a changed one still needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from attribution.errors import UsageError
from attribution.mapping import Mapping
from attribution.settings import read_toml
from attribution.store import Store
from attribution.testing import Org
from tests.loopback import NOON, connect

REGISTRATION = """Name string 80, Partner_Account__c > Account, Sales_Contact__c > Contact,
    Opportunity__c > Opportunity, Anything__c > Account|Contact, Submitted_On__c date, Status__c picklist 40,
    Approved_On__c datetime, Worth__c currency 18.2, Home__c address, Proven__c boolean"""
MAPPED = """
[mapping]
segments = ["Industry__c", "RecordType.DeveloperName", "Owner.Manager.Name"]
[[mapping.lookups]]
object = "Opportunity"
field = "Referring_Partner__c"
kind = "sourced_by"
[[mapping.touchpoints]]
object = "Deal_Registration__c"
kind = "deal_registration"
partner = "Sales_Contact__r.AccountId"
opportunity = "Opportunity__c"
occurred_at = "Submitted_On__c"
approval = { field = "Status__c" }
"""


@pytest.fixture
def org(monkeypatch: pytest.MonkeyPatch) -> Iterator[Org]:
    with Org(now=NOON, multi_currency=True) as org:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", org.ca_bundle)
        org.add_field("Opportunity", "Industry__c picklist 40, Referring_Partner__c > Account")
        org.add_object("Deal_Registration__c", "a01", REGISTRATION, label="Deal Registration")
        yield org
    org.close()


def mapping_of(folder: Path, text: str = MAPPED) -> Mapping:
    file = folder / "attribution.toml"
    file.write_text(text)
    return Mapping.from_file(read_toml(file), "mapping")


def later(org: Org, minutes: float = 30) -> None:
    org.advance(timedelta(minutes=minutes))


def deals(org: Org, *rows: dict[str, Any]) -> list[str]:
    usual = {"StageName": "Prospecting", "CloseDate": date(2026, 7, 1), "Name": "a deal"}
    return org.insert("Opportunity", [usual | row for row in rows])


def column(store: Store, object: str, name: str) -> dict[str, Any]:
    rows = store.rows(object)
    return dict(zip(rows["Id"], rows[name], strict=True))


def soql(org: Org, since: int, object: str) -> list[str]:
    return [call.soql for call in org.requests[since:] if call.soql and f" FROM {object} " in f"{call.soql} "]


def test_a_mapping_is_read_with_all_that_its_paths_lead_to(org: Org, tmp_path: Path) -> None:
    (acme,) = org.insert("Account", [{"Name": "Acme"}])
    (contact,) = org.insert("Contact", [{"LastName": "No. 7", "AccountId": acme}])
    (kind,) = org.insert(
        "RecordType", [{"Name": "Other", "DeveloperName": "Other", "SobjectType": "Opportunity"}]
    )
    boss, owner = org.insert(
        "User", [{"LastName": name, "Username": name, "Email": name} for name in ("b", "o")]
    )
    org.update("User", owner, ManagerId=boss)
    (deal,) = deals(org, {"RecordTypeId": kind, "OwnerId": owner, "Referring_Partner__c": acme})
    org.track_history("Deal_Registration__c", "Status__c")
    (registration,) = org.insert(
        "Deal_Registration__c",
        [{"Opportunity__c": deal, "Sales_Contact__c": contact, "Submitted_On__c": date(2026, 5, 4)}],
    )
    later(org)
    org.update("Deal_Registration__c", registration, Status__c="Approved")
    later(org)
    store = Store(tmp_path)
    mapping = mapping_of(tmp_path)
    report = store.sync(connect(org))
    assert store.mapping == mapping
    assert report.warnings == ()
    assert column(store, "RecordType", "DeveloperName") == {kind: "Other"}
    assert column(store, "User", "ManagerId")[owner] == boss
    assert column(store, "User", "Name")[boss] == "b"
    assert column(store, "Contact", "AccountId") == {contact: acme}
    assert store.rows("Deal_Registration__History").select("ParentId", "Field", "NewValue").rows() == [
        (registration, "Status__c", "Approved")
    ]
    assert store.rows("Deal_Registration__c")["Submitted_On__c"].to_list() == [date(2026, 5, 4)]
    assert store.log("Opportunity").coverage.lookups["RecordTypeId"] == "RecordType"
    store.check_mapping(mapping)
    org.delete("Deal_Registration__c", registration)
    later(org)
    store.sync(connect(org))
    assert store.rows("Deal_Registration__c").is_empty()
    assert store.rows("Deal_Registration__History").is_empty()


def test_the_standard_evidence_arrives_archived_activities_and_all(org: Org, tmp_path: Path) -> None:
    (acme,) = org.insert("Account", [{"Name": "Acme"}])
    (contact,) = org.insert("Contact", [{"LastName": "No. 7", "AccountId": acme}])
    (campaign,) = org.insert("Campaign", [{"Name": "Fair"}])
    (deal,) = deals(org, {"AccountId": acme})
    made = {
        "CampaignMember": [{"CampaignId": campaign, "ContactId": contact, "HasResponded": True}],
        "PartnerFundRequest": [
            {"Title": "t", "CampaignId": campaign, "ChannelPartnerId": acme, "Status": "Approved"}
        ],
        "OpportunityContactRole": [{"OpportunityId": deal, "ContactId": contact}],
        "Task": [
            {
                "WhoId": contact,
                "Status": "Completed",
                "Priority": "Normal",
                "IsClosed": True,
                "IsArchived": True,
            }
        ],
        "Event": [{"WhoId": contact, "StartDateTime": NOON, "DurationInMinutes": 30, "IsArchived": True}],
        "CurrencyType": [
            {"IsoCode": "USD", "ConversionRate": Decimal(1), "DecimalPlaces": 2, "IsCorporate": True}
        ],
        "DatedConversionRate": [
            {
                "IsoCode": "EUR",
                "ConversionRate": Decimal("0.9"),
                "StartDate": day,
                "NextStartDate": day + timedelta(30),
            }
            for day in (date(2026, 1, 1), date(2026, 1, 31))
        ],
    }
    ids = {name: org.insert(name, rows) for name, rows in made.items()}
    ids["EventRelation"] = org.insert("EventRelation", [{"EventId": ids["Event"][0], "RelationId": contact}])
    ids["TaskRelation"] = org.insert("TaskRelation", [{"TaskId": ids["Task"][0], "RelationId": contact}])
    later(org)
    store = Store(tmp_path)
    store.sync(connect(org))
    assert {name: sorted(store.rows(name)["Id"]) for name in ids} == {name: sorted(ids[name]) for name in ids}
    assert store.rows("DatedConversionRate")["ConversionRate"].to_list() == [Decimal("0.9")] * 2


def test_a_rate_that_is_deleted_is_missed_by_counting(org: Org, tmp_path: Path) -> None:
    rates = [
        {
            "IsoCode": "EUR",
            "ConversionRate": Decimal(rate),
            "StartDate": NOON.date(),
            "NextStartDate": date(2030, 1, 1),
        }
        for rate in (1, 2)
    ]
    one, two = org.insert("DatedConversionRate", rates)
    later(org)
    store = Store(tmp_path)
    store.sync(connect(org), objects=["DatedConversionRate"])
    org.delete("DatedConversionRate", one)
    (three,) = org.insert("DatedConversionRate", rates[:1])
    later(org)
    report = store.sync(connect(org), objects=["DatedConversionRate"])
    assert (report.objects[0].written, report.objects[0].deleted) == (1, 1)
    assert sorted(store.rows("DatedConversionRate")["Id"]) == sorted([two, three])
    before = len(org.requests)
    later(org)
    assert store.sync(connect(org), objects=["DatedConversionRate"]).objects[0].deleted == 0
    assert not any("SELECT Id FROM Dated" in each for each in soql(org, before, "DatedConversionRate"))


# -- a changed mapping


def test_a_new_field_is_read_alone_and_the_watermark_stays(org: Org, tmp_path: Path) -> None:
    rows = [{"Industry__c": "Food"}, {"Industry__c": None}, {"Industry__c": "Paper"}]
    food, none, gone = deals(org, *rows)
    later(org)
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Opportunity"])
    org.delete("Opportunity", gone)
    later(org)
    store.sync(connect(org), objects=["Opportunity"])
    before, watermark = len(org.requests), store.watermarks["Opportunity"]
    mapping = Mapping(segments=("Industry__c",))
    with pytest.raises(
        UsageError, match=r"segments\[0\]: Industry__c of Opportunity is not in the store"
    ) as told:
        store.check_mapping(mapping)
    assert "attribution sync" in str(told.value.hint)
    # nothing has changed since, so there is no window to read
    report = store.sync(connect(org), mapping=mapping, objects=["Opportunity"])
    asked = soql(org, before, "Opportunity")
    assert [each.partition(" WHERE")[0] for each in asked] == [
        "SELECT COUNT() FROM Opportunity",
        "SELECT Industry__c, Id, SystemModstamp FROM Opportunity",
    ]
    assert "no longer" not in str(report.warnings)
    assert (report.objects[0].read, report.objects[0].written) == (3, 1)
    assert store.watermarks["Opportunity"] == watermark
    assert column(store, "Opportunity", "Industry__c") == {food: "Food", none: None}
    log = store.log("Opportunity")
    assert log.newest().filter(pl.col("Id") == gone).collect()["_deleted"].to_list() == [True]
    newest = log.versions().filter(pl.col("Industry__c") == "Food").collect()
    assert log.coverage.since == {"Industry__c": newest["_synced_at"][0]}
    store.check_mapping(mapping)
    later(org)
    org.update("Opportunity", none, Industry__c="Wood")
    later(org)
    store.sync(connect(org), mapping=mapping, objects=["Opportunity"])
    assert column(store, "Opportunity", "Industry__c") == {food: "Food", none: "Wood"}


def test_a_new_field_is_read_in_bulk_where_the_records_are_many(org: Org, tmp_path: Path) -> None:
    org.load({"Account": [{"Name": f"{n}", "Industry": "Food" if n % 2 else None} for n in range(5_001)]})
    org.load({"Opportunity": [{"StageName": "x", "CloseDate": NOON.date(), "Name": "d"}]})
    later(org)
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    before = len(org.requests)
    mapping = Mapping(segments=("Account.Industry",))
    report = store.sync(connect(org), mapping=mapping, objects=["Account"])
    assert any("/jobs/query" in call.path for call in org.requests[before:])
    assert (report.objects[0].read, report.objects[0].written) == (5_001, 2_500)
    assert store.rows("Account")["Industry"].null_count() == 2_501


def test_a_field_that_comes_back_is_read_again(org: Org, tmp_path: Path) -> None:
    (deal,) = deals(org, {"Industry__c": "Food"})
    later(org)
    store, mapped = Store(tmp_path), Mapping(segments=("Industry__c",))
    store.sync(connect(org), mapping=mapped, objects=["Opportunity"])
    later(org)
    assert store.sync(connect(org), objects=["Opportunity"]).warnings == ()
    with pytest.raises(UsageError, match="not in the store"):
        store.check_mapping(mapped)
    org.update("Opportunity", deal, Industry__c=None)
    later(org)
    store.sync(connect(org), objects=["Opportunity"])
    assert column(store, "Opportunity", "Industry__c") == {deal: "Food"}
    store.sync(connect(org), mapping=mapped, objects=["Opportunity"])
    assert column(store, "Opportunity", "Industry__c") == {deal: None}
    assert store.log("Opportunity").coverage.since == {}


def test_of_a_history_only_the_new_part_is_read(org: Org, tmp_path: Path) -> None:
    org.add_field("Opportunity", "Value__c currency 18.2")
    for field in ("Industry__c", "Referring_Partner__c", "Value__c"):
        org.track_history("Opportunity", field)
    (deal,) = deals(org, {})
    (acme,) = org.insert("Account", [{"Name": "Acme"}])
    org.update("Opportunity", deal, Industry__c="Food", Referring_Partner__c=acme, Value__c=Decimal(7))
    later(org)
    store, name = Store(tmp_path), "OpportunityFieldHistory"
    lookup = {"object": "Opportunity", "field": "Referring_Partner__c", "kind": "role"}
    one = Mapping(lookups=(lookup,))
    store.sync(connect(org), mapping=one, objects=[name])
    assert store.rows(name)["Field"].to_list() == ["Referring_Partner__c"]
    later(org)
    two = Mapping(lookups=(lookup,), amount_field="Value__c")
    before = len(org.requests)
    report = store.sync(connect(org), mapping=two, objects=[name])
    first = soql(org, before, name)[0]
    assert "AND (NOT (Field IN ('Referring_Partner__c')))" in first
    assert report.objects[0].written == 1
    assert sorted(store.rows(name)["Field"]) == ["Referring_Partner__c", "Value__c"]
    # back to one, and to two again: what was not read in between is read now
    later(org)
    store.sync(connect(org), mapping=one, objects=[name])
    org.update("Opportunity", deal, Value__c=Decimal(8))
    later(org)
    store.sync(connect(org), mapping=one, objects=[name])
    assert len(store.rows(name)) == 2
    store.sync(connect(org), mapping=two, objects=[name])
    assert store.rows(name)["NewValue"].sort().to_list() == sorted(["7.0", "8.0", acme])


def test_a_backfill_that_fails_is_made_up_for(org: Org, tmp_path: Path) -> None:
    (deal,) = deals(org, {"Industry__c": "Food"})
    later(org)
    store, mapped = Store(tmp_path), Mapping(segments=("Industry__c",))
    store.sync(connect(org), objects=["Opportunity"])
    later(org)
    org.faults.add("/queryAll", skip=1, times=6, status=503)
    report = store.sync(connect(org), mapping=mapped, objects=["Opportunity"])
    assert [each.object for each in report.failed] == ["Opportunity"]
    assert "Industry__c" not in store.log("Opportunity").coverage.fields
    store.sync(connect(org), mapping=mapped, objects=["Opportunity"])
    assert column(store, "Opportunity", "Industry__c") == {deal: "Food"}


@pytest.mark.parametrize("stop_at", range(1, 6))
def test_wherever_a_changed_mapping_is_interrupted_the_next_run_ends_the_same(
    org: Org, tmp_path: Path, stop_at: int
) -> None:
    for field in ("Industry__c", "Referring_Partner__c"):
        org.track_history("Opportunity", field)
    (acme,) = org.insert("Account", [{"Name": "Acme"}])
    one, two = deals(org, {"Industry__c": "Food", "Referring_Partner__c": acme}, {})
    later(org)
    store, names = Store(tmp_path), ["Opportunity", "OpportunityFieldHistory"]
    lookup = {"object": "Opportunity", "field": "Referring_Partner__c", "kind": "role"}
    store.sync(connect(org), objects=["Opportunity"])
    org.update("Opportunity", one, Referring_Partner__c=None)
    org.update("Opportunity", two, Industry__c="Wood", Name="b")
    later(org)
    told = 0

    def interrupt(progress: object) -> None:
        nonlocal told
        told += 1
        if told == stop_at:
            raise KeyboardInterrupt

    mapping = Mapping(segments=("Industry__c",), lookups=(lookup,))
    with pytest.raises(KeyboardInterrupt):
        store.sync(connect(org), mapping=mapping, objects=names, progress=interrupt)
    later(org)
    store.sync(connect(org), mapping=mapping, objects=names)
    fields = ("Industry__c", "Referring_Partner__c", "Name")
    for field in fields:
        assert column(store, "Opportunity", field) == {
            row["Id"]: row[field] for row in org.rows("Opportunity")
        }
    assert store.rows("OpportunityFieldHistory")["OldValue"].to_list() == [acme]
    newest = store.log("Opportunity").newest().collect()
    assert newest["Id"].is_unique().all()


# -- a wrong mapping


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        (
            '"Submitted_On__c"',
            '"Submitted__c"',
            r"line 13: Deal_Registration__c has no field Submitted__c; it has: Submitted_On__c, ",
            "permission set",
        ),
        (
            '"Deal_Registration__c"',
            '"Deal_Registraton__c"',
            r"line 9: there is no object Deal_Registraton__c; there is: Deal_Registration__c, ",
            "permission set",
        ),
        (
            '"Sales_Contact__r.AccountId"',
            '"Sales_Contact__c"',
            r"line 11: Sales_Contact__c of Deal_Registration__c is a lookup to Contact, but partner must "
            r"be a lookup to Account, or a path that ends in one",
            r"Sales_Contact__r\.AccountId",
        ),
        (
            '"Sales_Contact__r.AccountId"',
            '"Sales_Contact__c.AccountId"',
            r"line 11: Sales_Contact__c\.AccountId is no path",
            r"Sales_Contact__r\.AccountId",
        ),
        (
            '"Sales_Contact__r.AccountId"',
            '"Anything__r.AccountId"',
            r"line 11: Anything__r\.AccountId cannot be followed: Anything__c of Deal_Registration__c points "
            r"to Account or Contact",
            "one object",
        ),
        (
            '"Sales_Contact__r.AccountId"',
            '"Status__r.AccountId"',
            r"line 11: Status__r\.AccountId cannot be followed: Status__c of Deal_Registration__c is a pick",
            "one object",
        ),
        (
            '"Sales_Contact__r.AccountId"',
            '"Name"',
            r"line 11: Name of Deal_Registration__c is of type string, but partner must be a lookup",
            "Partner_Account__c",
        ),
        (
            'opportunity = "Opportunity__c"',
            'opportunity = "Partner_Account__c"',
            r"line 12: Partner_Account__c .* is a lookup to Account, but opportunity must be a lookup to Opp",
            "Opportunity__c",
        ),
        (
            '"Submitted_On__c"',
            '"Status__c"',
            r"line 13: Status__c .* is of type picklist, but occurred_at must be a date or an instant",
            "Submitted_On__c",
        ),
        (
            'field = "Status__c"',
            'field = "Worth__c"',
            r"line 14: Worth__c .* is of type currency, but approval\.field must be text",
            "Status__c",
        ),
        (
            '"Owner.Manager.Name"',
            '"Owner.Manager.Nickname"',
            r"line 3: User has no field Nickname; it has: Name, ",
            "permission set",
        ),
        (
            '"Referring_Partner__c"',
            '"Reffering_Partner__c"',
            r"line 6: Opportunity has no field Reffering_Partner__c; it has: Referring_Partner__c, ",
            "permission set",
        ),
        (
            "[mapping]",
            '[mapping]\namount_field = "Name"',
            r"line 3: Name .* amount_field must be a number",
            "Amount",
        ),
    ],
)
def test_what_a_mapping_names_wrongly_is_told_by_line(
    org: Org, tmp_path: Path, old: str, new: str, message: str, hint: str
) -> None:
    assert old in MAPPED
    mapping_of(tmp_path, MAPPED.replace(old, new))
    store = Store(tmp_path)
    with pytest.raises(UsageError, match=rf"attribution\.toml {message}") as refused:
        store.sync(connect(org))
    assert re.search(hint, str(refused.value.hint))
    assert store.objects == ()


def test_a_sync_that_finds_no_partner_says_what_to_do(org: Org, tmp_path: Path) -> None:
    (acme,) = org.insert("Account", [{"Name": "Acme", "Type": "Partner"}])
    (deal,) = deals(org, {"AccountId": acme})
    later(org)
    store = Store(tmp_path)
    assert "doctor --suggest" in store.sync(connect(org)).warnings[0]
    (contact,) = org.insert("Contact", [{"LastName": "No. 7", "AccountId": acme}])
    org.insert("OpportunityContactRole", [{"OpportunityId": deal, "ContactId": contact}])
    later(org)
    assert store.sync(connect(org)).warnings == ()


def test_names_of_partners_that_no_account_has_are_told(org: Org, tmp_path: Path) -> None:
    org.add_object("Overlap__c", "a09", "Known_As__c string 80, Account__c > Account")
    acme, _ = org.insert("Account", [{"Name": "Acme"}, {"Name": "Twin"}])
    org.insert("Account", [{"Name": "twin"}])
    names = ("aCME ", "Nobody Inc", "Nobody Inc", "Twin", None, acme)
    org.insert("Overlap__c", [{"Known_As__c": name, "Account__c": acme} for name in names])
    later(org)
    text = (
        MAPPED.partition("[[")[0]
        + """[[mapping.touchpoints]]
object = "Overlap__c"
kind = "overlap"
partner = "Known_As__c"
account = "Account__c"
"""
    )
    report = Store(tmp_path / "acme").sync(connect(org), mapping=mapping_of(tmp_path, text))
    assert report.warnings[0] == (
        "Overlap__c: 3 records count nothing, because Known_As__c is the name of no account, or of several: "
        "'Nobody Inc', 'Twin'"
    )
