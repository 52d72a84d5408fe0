"""Days in the sentences of an explanation: where two that are compared fall on one, the time is told, too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.measures.explanation import explain
from attribution.policy import Policy
from tests.notation import path

HOUR = 1 / 24
SECOND = HOUR / 3600


def told(text: str, *others: str, **more):
    return explain(path(text, *others, **more), "D1", models=())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "created@0.5 ann:referral@0.75",
            "Its referral of 1 January 2026 at 18:00 came after the deal was created on 1 January 2026 "
            "at 12:00.",
        ),
        (
            "created@0.5 ann:referral@-89.75+unlinked",
            "Its referral of 3 October 2025 at 06:00 came more than 90 days before the deal was created "
            "on 1 January 2026 at 12:00.",
        ),
        (
            "created@0.5 ann:deal_registration@3.75+approved",
            "Its registration of 4 January 2026 at 18:00 came more than 3 days after the deal was "
            "created on 1 January 2026 at 12:00.",
        ),
        (
            "created@0.5 ann:deal_registration@-89.75+approved",
            "Its registration of 3 October 2025 held until 1 January 2026 at 06:00. It had expired when "
            "the deal was created on 1 January 2026 at 12:00.",
        ),
        (
            "created@0.5 ann:deal_registration@-89.25+approved",
            "Its registration of 3 October 2025 was approved on 3 October 2025 and held until 1 January "
            "2026 at 18:00. It covers the deal, which was created on 1 January 2026 at 12:00.",
        ),
        (
            "created@0.5 ann:sourced_by@0.5+recorded=14.75",
            "Its entry as sourcing partner was recorded on 15 January 2026 at 18:00. That is too late: "
            "the deal was created on 1 January 2026 at 12:00, and 14 days are allowed.",
        ),
        (
            "ann@83.75 won@90.5",
            "Its first counting touchpoint is of 25 March 2026 at 18:00, and one of 25 March 2026 at "
            "12:00 or earlier is needed: 7 days before the close on 1 April 2026 at 12:00.",
        ),
        (
            "ann@20.5 reopened@20.5 won@90",
            "Its first counting touchpoint is of 21 January 2026 at 12:00, and one before the last open "
            "stage is needed, which began on 21 January 2026 at 12:00.",
        ),
        # only as many digits as it takes
        (
            f"created@0.5 ann:referral@{0.5 + SECOND:.12f}",
            "Its referral of 1 January 2026 at 12:00:01 came after the deal was created on 1 January "
            "2026 at 12:00:00.",
        ),
    ],
)
def test_the_time_is_told_where_a_limit_and_an_event_share_the_day(text, reason):
    text = text if "won" in text else f"{text} won@90"
    assert told(f"{text} 1.00 USD").partners[0].reasons[0] == reason


def test_what_voids_evidence_on_its_very_day_is_told_with_times():
    void = told("account=acme ann:referral@-5 won@90", "account=acme created@-5.25 lost@-4.75")
    assert void.partners[0].reasons[0] == (
        "Its referral of 27 December 2025 at 00:00 is void. Opportunity D2 of the same account was open from "
        "26 December 2025 at 18:00 to 27 December 2025 at 06:00."
    )
    policy = Policy(void_by=("direct_activity",))
    void = told("account=acme ann:referral@-5.25 won@90 direct:call@-5.5", policy=policy)
    assert void.partners[0].reasons[0] == (
        "Its referral of 26 December 2025 at 18:00 is void. Our own people were working the account: call of "
        "26 December 2025 at 12:00 (Event D1r1)."
    )


def test_rules_tell_the_time_where_evidence_is_of_the_day_of_the_limit():
    def rule(text: str) -> dict[str, str]:
        return {clause.name: clause.text for clause in told(f"{text} 1.00 USD").clauses}

    assert rule("ann@83.75 won@90.5")["late_days"] == (
        "One counting touchpoint must lie on 25 March 2026 at 12:00 or earlier, 7 days before the close."
    )
    assert rule("ann@83 won@90.5")["late_days"] == (
        "One counting touchpoint must lie on 25 March 2026 at 12:00 or earlier, 7 days before the close."
    )
    assert "on 25 March 2026 or earlier" in rule("ann@82.75 won@90.5")["late_days"]
    assert rule("ann@90.75 won@90.5")["influence_window_days"] == (
        "Touchpoints count from 1 April 2025 at 12:00 to 1 April 2026 at 12:00: 365 days."
    )
    assert rule("ann:sourced_by@0.5+recorded=14.75 created@0.5 won@90")["claim_days"] == (
        "Sourcing evidence must be recorded by 15 January 2026 at 12:00, 14 days after the deal."
    )


def test_the_zone_is_said_once_and_an_hour_that_comes_twice_has_its_offset():
    # clocks in New York go back on 1 November 2026: 01:30 comes at 05:30 and at 06:30 UTC
    first, then = 304 + 5.5 * HOUR, 304 + 6.5 * HOUR
    text = f"ann:referral@{first:.12f} bob:referral@{then:.12f} created@305 won@400 1.00 USD"
    explanation = told(text, zone="America/New_York")
    assert explanation.standing_of("bob").reasons[0] == (
        "Its referral of 1 November 2026 at 01:30 UTC-0500 is valid, but that of ann came first, on "
        "1 November 2026 at 01:30 UTC-0400."
    )
    assert str(explanation).count("America/New_York") == 1
    assert explanation.to_dict()["time_zone"] == "America/New_York"


def test_as_of_the_end_of_a_day_is_not_called_the_next_day():
    assert told("ann@1", as_of=31).title.endswith("as of the end of 31 January 2026, time zone UTC")
    assert told("ann@1", as_of=31.5).title.endswith("as of 1 February 2026, time zone UTC")


@given(st.integers(-200, 200), st.integers(-200, 200))
def test_what_is_compared_is_never_told_by_one_text(first, then):
    """Two referrals, seconds or hours apart: their order can be read off what is told."""
    if first == then:
        return
    one, other = (f"referral@{-1 + each * SECOND * 97:.12f}" for each in (first, then))
    explanation = told(f"ann:{one} bob:{other} won@90", zone="America/St_Johns")
    late = explanation.standing_of("bob" if first < then else "ann").reasons[0]
    mine, theirs = late.removesuffix(".").split(" is valid, but that of ")
    assert mine.removeprefix("Its referral of ") != theirs.split(", on ")[1]


def test_a_self_deal_is_flagged():
    explanation = told("ann:role@1+self bob@2 won@90 5.00 USD")
    assert [each["self_deal"] for each in explanation.to_dict()["evidence"]] == [True, False]
    assert "counts; self-deal" in str(explanation)
    assert explanation.standing_of("ann").reasons[-1] == (
        "It is a self-deal: the customer is the partner itself, or of its family."
    )
    assert not any("self-deal" in reason for reason in explanation.standing_of("bob").reasons)
