"""An org that nobody has mapped: what doctor finds, and that it is a mapping at once."""

from __future__ import annotations

import tomllib
from datetime import date, timedelta
from pathlib import Path

import pytest

from attribution.mapping import Mapping
from attribution.settings import read_toml
from attribution.store import Store
from attribution.sync.diagnosis import examine
from attribution.sync.suggestion import suggest
from attribution.testing import Org
from attribution.testing.objects import Field
from tests.loopback import NOON, connect

STATES = ("Draft", "Submitted", "Approved", "Not Approved", "Rejected", "Withdrawn")


def furnish(org: Org) -> None:
    """Give the org partner fields and objects as people name them, and some that are none."""
    org.add_field("Opportunity", "Referring_Partner__c > Account, Billing_Account__c > Account")
    org.add_field(
        "Opportunity", Field("XYZ_Firm__c", "reference", reference_to=("Account",), label="Implementation SI")
    )
    org.add_field("Lead", "Reseller__c > Account")
    org.add_field("Campaign", "Alliance__c > Account, Partner_Text__c string 80")
    org.add_object(
        "Partner_Influence__c", "a01", "Deal__c > Opportunity, Firm__c > Account, Engaged_On__c date"
    )
    org.add_object("Invoice__c", "a02", "Opportunity__c > Opportunity, Account__c > Account")
    registration = [
        *(Field(name, "reference", reference_to=(to,)) for name, to in (("Customer__c", "Account"),)),
        Field("Partner_Contact__c", "reference", reference_to=("Contact",)),
        Field("Opportunity__c", "reference", reference_to=("Opportunity",)),
        Field("Date_Submitted__c", "date"),
        Field("Approval_Expires__c", "date"),
        Field("Approved_On__c", "datetime"),
        Field("Approval_Status__c", "picklist", values=STATES),
        Field("Program__c", "picklist", values=("Gold",)),
    ]
    org.add_object("vnd__DR__c", "a03", registration, label="Deal Registration")
    overlap = "xbeamprod__Account__c > Account, xbeamprod__Partner_Account__c, xbeamprod__Partner_Name__c"
    org.add_object("xbeamprod__Crossbeam_Overlap__c", "a04", overlap)
    org.add_object("Newsletter__c", "a05", "Subject__c")
    org.add_object("Warranty_Registration__c", "a06", "Account__c > Account, Contact__c > Contact")


def test_approvals_and_contacts_are_found_under_any_name(org: Org) -> None:
    states = ("Wait", "OK", "Yes", "No", "Not Approved")
    claim = [
        Field("Ally__c", "reference", reference_to=("Account",)),
        Field("Opportunity__c", "reference", reference_to=("Opportunity",)),
        Field("State__c", "picklist", values=states),
        Field("Filed__c", "date"),
        Field("Ends__c", "date"),
    ]
    org.add_object("Zap_Claim__c", "a01", claim, label="Partner Deal Claim")
    fit = [claim[0], claim[1], Field("Approval_Status__c", "picklist", values=("Accepted", "Declined"))]
    org.add_object("Partner_Fit__c", "a02", fit)
    org.add_object("Ally_Link__c", "a03", "Opportunity__c > Opportunity, Partner__c > Contact")
    found = tomllib.loads(suggest(connect(org)))["mapping"]["touchpoints"]
    assert {each.pop("object"): each for each in found} == {
        "Zap_Claim__c": {
            "kind": "deal_registration",
            "partner": "Ally__c",
            "opportunity": "Opportunity__c",
            "occurred_at": "Filed__c",
            "expires_on": "Ends__c",
            "approval": {
                "field": "State__c",
                "approved": ["OK", "Yes"],
                "rejected": ["No"],
                "pending": ["Wait", "Not Approved"],
            },
        },
        "Partner_Fit__c": {
            "kind": "role",
            "partner": "Ally__c",
            "opportunity": "Opportunity__c",
            "approval": {
                "field": "Approval_Status__c",
                "approved": ["Accepted"],
                "rejected": ["Declined"],
                "pending": [],
            },
        },
        "Ally_Link__c": {
            "kind": "role",
            "partner": "Partner__r.AccountId",
            "opportunity": "Opportunity__c",
        },
    }


def test_the_suggestion_is_a_mapping_that_can_be_synced(org: Org, tmp_path: Path) -> None:
    furnish(org)
    (acme,) = org.insert("Account", [{"Name": "Acme"}])
    usual = {"StageName": "Prospecting", "CloseDate": date(2026, 7, 1), "Name": "a deal"}
    org.insert("Opportunity", [usual | {"Referring_Partner__c": acme}, usual])
    org.insert("Invoice__c", [{"Account__c": acme}] * 3)
    org.advance(timedelta(minutes=30))
    before = len(org.requests)
    toml = suggest(connect(org))
    described = {call.path.split("/")[5] for call in org.requests[before:] if "/describe" in call.path}
    assert "Newsletter__c" not in described
    assert len(org.requests) - before <= 20
    found = tomllib.loads(toml)["mapping"]
    assert found["lookups"] == [
        {"object": "Opportunity", "field": "Referring_Partner__c", "kind": "sourced_by"},
        {"object": "Opportunity", "field": "XYZ_Firm__c", "kind": "role"},
        {"object": "Lead", "field": "Reseller__c"},
        {"object": "Campaign", "field": "Alliance__c"},
    ]
    assert {each.pop("object"): each for each in found["touchpoints"]} == {
        "Partner_Influence__c": {
            "kind": "role",
            "partner": "Firm__c",
            "opportunity": "Deal__c",
            "occurred_at": "Engaged_On__c",
        },
        "vnd__DR__c": {
            "kind": "deal_registration",
            "partner": "Partner_Contact__r.AccountId",
            "opportunity": "Opportunity__c",
            "account": "Customer__c",
            "occurred_at": "Date_Submitted__c",
            "program": "Program__c",
            "expires_on": "Approval_Expires__c",
            "approval": {
                "field": "Approval_Status__c",
                "approved": ["Approved"],
                "rejected": ["Rejected", "Withdrawn"],
                "pending": ["Draft", "Submitted", "Not Approved"],
                "at": "Approved_On__c",
            },
        },
        "xbeamprod__Crossbeam_Overlap__c": {
            "kind": "overlap",
            "partner": "xbeamprod__Partner_Name__c",
            "account": "xbeamprod__Account__c",
        },
    }
    assert "# Opportunity: Referring_Partner__c (Referring Partner), filled in 1 records" in toml
    assert "# Opportunity: XYZ_Firm__c (Implementation SI), filled in 0 records" in toml
    assert "# Invoice: 3 records" in toml
    assert '# object = "Invoice__c"' in toml
    assert '# object = "Warranty_Registration__c"' in toml
    file = tmp_path / "attribution.toml"
    file.write_text(toml)
    mapping = Mapping.from_file(read_toml(file), "mapping")
    assert not examine(connect(org), mapping).blocked
    assert Store(tmp_path).sync(connect(org)).warnings == ()
    # the comments, too, are a mapping once their marks are gone
    whole = toml.replace("\n# [[", "\n[[").replace('\n# object = "', '\nobject = "')
    for key in ("kind", "partner", "opportunity", "contact"):
        whole = whole.replace(f'\n# {key} = "', f'\n{key} = "')
    file.write_text(whole)
    assert len(Mapping.from_file(read_toml(file), "mapping").touchpoints) == 5


def test_an_org_without_any_is_told_so(org: Org) -> None:
    toml = suggest(connect(org))
    assert tomllib.loads(toml) == {"mapping": {}}
    assert "Nothing was found whose name or label smells of partners" in toml


def test_of_many_objects_only_some_are_looked_at(org: Org) -> None:
    for n in range(30):
        org.add_object(f"Partner_Link_{n:02}__c", f"b{n:02}", "Deal__c > Opportunity, Firm__c > Account")
    before = len(org.requests)
    toml = suggest(connect(org))
    assert len(tomllib.loads(toml)["mapping"]["touchpoints"]) == 25
    assert "# Not looked at, to spare API calls: 5 more objects (Partner_Link_25__c, " in toml
    assert len(org.requests) - before <= 60


def test_doctor_counts_what_no_deal_type_tells(org: Org) -> None:
    usual = {"StageName": "Prospecting", "CloseDate": date(2026, 7, 1), "Name": "a deal"}
    kinds = ["Services", "Services", "Renewal", "New Customer", "Odd", None]
    org.insert("Opportunity", [usual | {"Type": kind} for kind in kinds])
    advice = examine(connect(org), Mapping()).advice
    assert any("treated as new: 'Services' (2), 'Odd' (1), (none) (1);" in each for each in advice)
    (kind,) = org.insert(
        "RecordType", [{"Name": "R", "DeveloperName": "Odd_One", "SobjectType": "Opportunity"}]
    )
    org.insert("Opportunity", [usual | {"RecordTypeId": kind}])
    advice = examine(connect(org), Mapping(deal_type={"field": "RecordType.DeveloperName"})).advice
    assert any("treated as new: (none) (6), 'Odd_One' (1);" in each for each in advice)
    mapping = Mapping(deal_type={"values": {"Services": "expansion", "Odd": "unclassified"}})
    advice = examine(connect(org), mapping).advice
    assert any("treated as new: (none) (2);" in each for each in advice)


def test_doctor_sees_that_no_value_means_approved(org: Org) -> None:
    furnish(org)
    touches = {
        "object": "vnd__DR__c",
        "kind": "deal_registration",
        "partner": "Partner_Contact__r.AccountId",
        "opportunity": "Opportunity__c",
        "approval": {"field": "Approval_Status__c", "approved": ["Apprved"]},
    }
    told = "no value of Approval_Status__c of vnd__DR__c counts as approved; it has: Approved, "
    assert told in str(examine(connect(org), Mapping(touchpoints=(touches,))))
    touches["approval"] = {"field": "Approval_Status__c"}
    assert "counts as approved" not in str(examine(connect(org), Mapping(touchpoints=(touches,))))


def test_doctor_asks_for_the_currency_of_one_currency_orgs_only(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asks(org: Org, mapping: Mapping) -> bool:
        return any("currency = " in each for each in examine(connect(org), mapping).advice)

    assert asks(org, Mapping())
    assert not asks(org, Mapping(currency="EUR"))
    with Org(now=NOON, multi_currency=True) as several:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", several.ca_bundle)
        assert not asks(several, Mapping())
        several.remove_object("DatedConversionRate")
        assert "current rates" in str(examine(connect(several), Mapping()))
        several.remove_object("CurrencyType")
        assert "amounts have no rate" in str(examine(connect(several), Mapping()))
    several.close()


def test_doctor_says_what_a_mapping_names_in_vain(org: Org) -> None:
    mapping = Mapping(
        segments=("Nothing__c",),
        touchpoints=({"object": "None__c", "kind": "overlap", "partner": "P__c", "account": "A__c"},),
    )
    diagnosis = examine(connect(org), mapping)
    assert diagnosis.blocked
    wrong = diagnosis.to_dict()["problems"]
    assert [each.partition(";")[0] for each in wrong] == [
        "touchpoints[0].object: there is no object None__c",
        "segments[0]: Opportunity has no field Nothing__c",
    ]
    assert "wrong: segments[0]" in str(diagnosis)
