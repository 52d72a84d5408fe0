"""Sentences and documents of explanations; who won and why is held against a slow oracle elsewhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from attribution.columns import Claim, Decision
from attribution.errors import UsageError
from attribution.measures.explanation import explain
from attribution.models import Linear, Markov
from attribution.policy import Policy
from tests.notation import path


def reasons(*texts: str, partner: str = "ann", **more) -> list[str]:
    """Why a partner is what it is on the first deal."""
    told = explain(path(*texts, **more), "D1", models=())
    return list(told.standing_of(partner).reasons)


def decided(kind: str, approve: bool, partner: str = "ann") -> tuple[Decision, ...]:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return (Decision(Claim("D1", f"{partner}-id", kind), approve, "Dana", "we met them.", at),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "ann:referral@-2",
            "Its referral of 30 December 2025 came first. The deal was created on 1 January 2026.",
        ),
        ("ann:referral@-2+rejected", "Its referral of 30 December 2025 was rejected in the CRM."),
        ("ann:deal_registration@0", "Its registration of 1 January 2026 was never approved."),
        ("ann:deal_registration@0+pending", "Its registration of 1 January 2026 is not approved yet."),
        (
            "ann:deal_registration@4+approved",
            "Its registration of 5 January 2026 came more than 3 days after the "
            "deal was created on 1 January 2026.",
        ),
        (
            "ann:deal_registration@-99+approved",
            "Its registration of 24 September 2025 held until 23 December 2025. It "
            "had expired when the deal was "
            "created on 1 January 2026.",
        ),
        (
            "ann:deal_registration@-9+approved+expires=0",
            "Its registration of 23 December 2025 held until 31 December 2025. It "
            "had expired when the deal was "
            "created on 1 January 2026.",
        ),
        (
            "ann:referral@-91+unlinked",
            "Its referral of 2 October 2025 came more than 90 days before the deal "
            "was created on 1 January 2026.",
        ),
        (
            "ann:referral@1",
            "Its referral of 2 January 2026 came after the deal was created on 1 January 2026.",
        ),
        (
            "ann:sourced_by@0+recorded=15",
            "Its entry as sourcing partner was recorded on 16 January 2026. That "
            "is too late: the deal was created "
            "on 1 January 2026, and 14 days are allowed.",
        ),
        (
            "type=renewal ann:partner_owned@0",
            "Its entry of the opportunity of 1 January 2026 brings nothing: the deal is a renewal.",
        ),
        (
            "bob:referral@-2 ann:partner_owned@0",
            "Its entry of the opportunity of 1 January 2026 is valid, but a "
            "referral ranks before a partner's entry, "
            "field or role.",
        ),
        (
            "bob:referral@-2 ann:referral@-1",
            "Its referral of 31 December 2025 is valid, but that of bob came first, on 30 December 2025.",
        ),
        (
            "bob:referral@-0.5 ann:referral@-0.25",
            "Its referral of 31 December 2025 at 18:00 is valid, but that of bob came "
            "first, on 31 December 2025 at 12:00.",
        ),
        (
            "bob:deal_registration@0+approved=1 ann:deal_registration@0+approved=2",
            "Its registration of 1 January 2026 is valid and was approved on 3 January 2026, but that of bob "
            "of the same time on 2 January 2026.",
        ),
        (
            "bob:deal_registration@0+approved=1.25 ann:deal_registration@0+approved=1.5",
            "Its registration of 1 January 2026 is valid and was approved on 2 January 2026 at 12:00, but "
            "that of bob of the same time on 2 January 2026 at 06:00.",
        ),
        (
            "bob:referral@-1+approved=4 ann:referral@-1",
            "Its referral of 31 December 2025 is valid, but that of bob came at the same time and was "
            "approved, on 5 January 2026.",
        ),
        (
            "bob:referral@-1+record=A ann:referral@-1+record=B",
            "Its referral of 31 December 2025 is valid, but that of bob of the same time has the smaller id.",
        ),
    ],
)
def test_what_became_of_sourcing_evidence(text, reason):
    assert reasons(f"{text} won@90 1.00 USD")[0] == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ann@1+weak", "Its evidence is weak, and too little: one touchpoint."),
        ("ann@1+weak ann@1.5+weak", "Its evidence is weak, and too little: 2 touchpoints on one day."),
        (
            "ann@84",
            "Its first counting touchpoint is of 26 March 2026, and one of 25 "
            "March 2026 or earlier is needed: "
            "7 days before the close on 1 April 2026.",
        ),
        (
            "ann@20 reopened@10",
            "Its first counting touchpoint is of 21 January 2026, and one before "
            "the last open stage is needed, "
            "which began on 11 January 2026.",
        ),
        ("ann@91 ann:handed_over@0", "None of its evidence counts: {handed}; after the close."),
        ("ann@1+owner", "The owner of the opportunity recorded it, which approves it."),
        ("ann@1+host=005A", "One of our own people was in the meeting, which approves it."),
        ("ann@1+approved", "Its influence was approved in the CRM."),
        ("ann@1+pending", "Its approval is pending in the CRM."),
        ("ann@1", "Nobody of ours has confirmed its meeting of 2 January 2026 yet."),
    ],
)
def test_what_became_of_influence(text, reason):
    handed = "we handed it over, the partner did not bring it"
    assert reasons(f"{text} won@90 1.00 USD")[-1] == reason.format(handed=handed)


def test_what_was_decided_here_is_quoted():
    text = "ann@1 won@90"
    assert reasons(text, decisions=decided("influenced", True)) == [
        "Its influence was approved by Dana on 1 March 2026 at 00:00: we met them."
    ]
    assert reasons(text, decisions=decided("influenced", False)) == [
        "Its influence was rejected by Dana on 1 March 2026 at 00:00: we met them."
    ]
    assert reasons("ann@1+approved won@90", decisions=decided("influenced", False))[-1] == (
        "The CRM outranks what was decided here: rejected by Dana on 1 March 2026 at 00:00: we met them."
    )
    assert reasons("ann:referral@0 won@90", decisions=decided("sourced", False))[0] == (
        "Its claim to have sourced it was rejected by Dana on 1 March 2026 at 00:00: we met them."
    )
    overruled = "ann:deal_registration@0+approved won@90"
    assert reasons(overruled, decisions=decided("sourced", False))[-1] == (
        "The CRM outranks what was decided here: rejected by Dana on 1 March 2026 at 00:00: we met them."
    )


def test_what_voids_evidence_is_named():
    mine = "account=acme ann:referral@-5 won@90"
    assert reasons(mine, "account=acme created@-9")[0] == (
        "Its referral of 27 December 2025 is void. Opportunity D2 of the same account has been open since "
        "23 December 2025."
    )
    policy = Policy(void_by=("open_opportunity", "direct_activity"))
    told = explain(path(f"{mine} direct:call@-7 direct@-6 direct@-4", policy=policy), "D1", models=())
    assert told.standing_of("ann").reasons[0] == (
        "Its referral of 27 December 2025 is void. Our own people were working the account: meeting of "
        "26 December 2025 (Event D1r2)."
    )
    assert {clause.name: clause.value for clause in told.clauses}["direct_activity_days"] == 90


@pytest.mark.parametrize(
    ("text", "policy", "named", "rules"),
    [
        ("ann:referral@0", Policy(), "void_by", True),
        ("ann:referral@0", Policy(void_by=()), "void_by", False),
        ("ann:deal_registration@-99+approved", Policy(), "registration_term_days", True),
        ("ann:deal_registration@-99+approved+expires=-50", Policy(), "registration_term_days", False),
        ("ann:deal_registration@-9+approved", Policy(), "registration_term_days", True),
        ("ann:deal_registration@-9+approved+expires=50", Policy(), "registration_term_days", False),
    ],
)
def test_only_rules_that_had_a_say_are_listed(text, policy, named, rules):
    told = explain(path(f"{text} won@90 1.00 USD", policy=policy), "D1", models=())
    assert (named in {clause.name for clause in told.clauses}) == rules


def test_the_verdict_says_how_the_deal_counts():
    def verdict(text: str, **more) -> tuple[str, ...]:
        return explain(path(text, **more), "D1", models=()).verdict

    assert verdict("won@9 7.00 USD") == (
        "Nobody sourced this deal.",
        "No partner has a touchpoint on it.",
        "7.00 USD count as direct.",
    )
    assert verdict("ann:referral@0 bob@1+owner 7.00 USD", as_of=50)[1:] == (
        "bob influenced it.",
        "If it is won: 7.00 USD count as sourced.",
    )
    assert verdict("ann@1+exposure won@9")[-1] == (
        "It has no amount, and counts as exposed: there is only weak evidence of partners."
    )
    assert verdict("ann:referral@0 lost@9 7.00 USD") == ("ann sourced this deal.",)
    assert verdict("lead_source=Partner won@9")[1] == (
        "Its lead source says “Partner” but names nobody, so that it stays unverified."
    )


def test_an_explanation_is_a_document_and_a_page():
    deals = path("ann/resale:referral@-1 bob@2 won@30 100.00 USD")
    told = explain(deals, "D1", models=[Linear(), Markov()])
    document = json.loads(json.dumps(told.to_dict()))
    assert document["evidence"][0] == {
        "touchpoint": "Event:D1r0:ann-id",
        "object": "Event",
        "record_id": "D1r0",
        "partner": "ann",
        "partner_id": "ann-id",
        "program": "resale",
        "program_id": "resale-id",
        "kind": "referral",
        "strength": "strong",
        "occurred_at": "2025-12-31T00:00:00Z",
        "recorded_at": "2025-12-31T00:00:00Z",
        "approval": None,
        "approved_at": None,
        "expires_at": None,
        "self_deal": False,
        "counts": True,
        "refused": [],
        "sourcing": "won",
    }
    assert document["credit"]["linear"]["rows"][0] == {
        "touchpoint": "Event:D1r0:ann-id",
        "amount": "50.00",
        "share": 0.5,
    }
    assert list(document["credit"]) == ["linear", "markov"]
    assert [each["standing"] for each in document["partners"]] == ["sourced", "influenced"]
    assert told.rivals[0].claim == Claim("D1", "bob-id", "influenced")
    html = told._repr_html_()
    assert html.startswith("<h3>D1: won on 31 January 2026, 100.00 USD, ")
    assert "as of the end of 26 September 2028, time zone UTC</h3>" in html
    assert "<h4>Credit by model, USD</h4>" in html


def test_evidence_says_when_its_record_was_approved_unless_that_is_still_to_come():
    text = "ann:deal_registration@0+approved=2 bob@1+pending cat:deal_registration@0+rejected won@30"
    told = str(explain(path(text), "D1", models=()))
    assert "Event:D1r0:ann-id, recorded 2026-01-01 00:00, approved 2026-01-03 00:00\n" in told
    assert "Event:D1r1:bob-id, recorded 2026-01-02 00:00, pending\n" in told
    assert "Event:D1r2:cat-id, recorded 2026-01-01 00:00, rejected\n" in told
    before = str(explain(path(text, as_of=1), "D1", models=()))
    assert "2026-01-03" not in before
    assert "Event:D1r0:ann-id, recorded 2026-01-01 00:00, pending\n" in before


def test_wrong_questions_are_named():
    deals = path("ann@1 won@30 1.00 USD")
    with pytest.raises(UsageError, match="no opportunity 'D2'"):
        explain(deals, "D2")
    with pytest.raises(UsageError, match="cannot show linear, linear"):
        explain(deals, "D1", models=[Linear(), Linear()])
    with pytest.raises(UsageError, match="no partner 'bob'"):
        explain(deals, "D1").standing_of("bob")
