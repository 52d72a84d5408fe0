"""Evidence whose record names what is gone, and approvals by whom: what an audit needs of the records."""

from __future__ import annotations

import pytest

from attribution import Deals, Mapping, Policy, audit
from attribution.columns import to_micros
from attribution.derive import derive
from attribution.mapping import Approval, Touches
from attribution.measures.auditing import Audit
from tests.records import MemoryRecords
from tests.small_org import ANN, AS_OF, BOB, CUSTOMER, DEAL, PARTNER_USER, REP, REP_2, Org, at, row

REGISTRATIONS = Touches(
    object="Deal_Registration__c",
    kind="deal_registration",
    partner="Partner__c",
    opportunity="Opportunity__c",
    approval=Approval(field="Status__c"),
)


def audited(org: Org, mapping: Mapping | None = None) -> Audit:
    reads = MemoryRecords((at("08-31"), org.rows), (at("09-01"), org.later))
    snapshot = derive(reads, mapping or Mapping(), as_of=to_micros(AS_OF), watermark=to_micros(AS_OF))
    return audit(Deals(snapshot, Policy()), of="all")


def found(org: Org, kind: str, mapping: Mapping | None = None) -> list[tuple[object, ...]]:
    """``deal, partner, evidence, other`` of the findings of a kind."""
    findings = audited(org, mapping).findings.filter(kind=kind)
    return list(findings.select("deal_id", "partner_id", "evidence", "other_id").iter_rows())


@pytest.fixture
def org() -> Org:
    org = Org()
    org.deal()
    return org


def gone(org: Org, name: str, record_id: str, into: str | None = None) -> None:
    org.change(name, record_id, at("08-15"), IsDeleted=True, MasterRecordId=into)


def test_a_deleted_partner_account_leaves_its_rows_behind(org):
    org.role("00I1", at("02-01"))
    assert found(org, "deleted_record") == []
    gone(org, "Account", ANN)
    assert found(org, "deleted_record") == [(DEAL, None, "Partner:00I1", ANN)]


def test_a_merged_partner_account_is_named_with_its_survivor(org):
    org.role("00I1", at("02-01"))
    gone(org, "Account", ANN, into=BOB)
    assert found(org, "merged_record") == [(DEAL, BOB, f"Partner:00I1:{BOB}", ANN)]
    assert found(org, "deleted_record") == []
    # what it was merged into is deleted in turn: there is no survivor
    gone(org, "Account", BOB)
    assert found(org, "merged_record") == []
    assert found(org, "deleted_record") == [(DEAL, None, "Partner:00I1", ANN)]


def test_a_deleted_opportunity_makes_its_evidence_an_orphan_that_says_why(org):
    org.meeting("00U1", at("02-01"))
    gone(org, "Opportunity", DEAL)
    assert found(org, "deleted_record") == [(None, ANN, f"Event:00U1:{ANN}", DEAL)]
    assert found(org, "orphan") == [(None, ANN, f"Event:00U1:{ANN}", None)]
    # where there is no deal, people are told the record
    assert f"orphan: Event:00U1:{ANN}: Ann: meeting: no deal was in reach" in str(audited(org))


def test_a_deleted_contact_of_a_partner_takes_the_meeting_along(org):
    org.meeting("00U1", at("02-01"))
    org.meeting("00U2", at("02-02"), who="003CUSTOMER")
    gone(org, "Contact", "003ANN")
    gone(org, "Contact", "003CUSTOMER")
    # the customer's own contact is nobody's evidence
    assert found(org, "deleted_record") == [(DEAL, ANN, f"Event:00U1:{ANN}", "003ANN")]


def test_the_account_of_a_meeting_was_merged(org):
    org.add("Account", row("001OLD", at("01-01"), Name="Old"))
    org.meeting("00U1", at("02-01"), what="001OLD")
    gone(org, "Account", "001OLD", into=CUSTOMER)
    assert found(org, "merged_record") == [(DEAL, ANN, f"Event:00U1:{ANN}", "001OLD")]


@pytest.mark.parametrize(
    ("author", "changed_by", "changed_at", "flagged"),
    [
        (PARTNER_USER, PARTNER_USER, "02-03", True),
        (PARTNER_USER, REP, "02-03", False),
        (REP, REP, "02-03", True),
        (REP, REP_2, "02-03", False),
        # written as approved, and never touched again
        (REP, None, None, True),
        # somebody changed it later, and no history tells who
        (REP, None, "02-03", False),
    ],
)
def test_the_claimant_is_the_approver(org, author, changed_by, changed_at, flagged):
    record = row(
        *("a01", at("02-01")), CreatedById=author, Partner__c=ANN, Opportunity__c=DEAL, Status__c="Approved"
    )
    if changed_at is not None:
        record["SystemModstamp"] = at(changed_at)
    org.add("Deal_Registration__c", record)
    if changed_by is not None:
        change = {"ParentId": "a01", "Field": "Status__c", "OldValue": "Submitted", "NewValue": "Approved"}
        org.add("Deal_Registration__History", row("017", at("02-03"), CreatedById=changed_by) | change)
    expected = [(DEAL, ANN, f"Deal_Registration__c:a01:{ANN}", None)] if flagged else []
    assert found(org, "self_approved", Mapping(touchpoints=(REGISTRATIONS,))) == expected
