"""RULES 5 to 7, each worked by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest

from attribution.errors import UsageError
from attribution.measures.claims import STANDINGS, STATES, claims, influenced, sourced
from attribution.measures.evidence import NONE, VERDICTS, counting
from attribution.policy import Policy
from tests.notation import path


def source(*texts: str, **more) -> str | None:
    """Who sources the first deal."""
    deals = path(*texts, **more)
    row = claims(deals).sourcing.source[0]
    return None if row < 0 else deals.touchpoint(int(row)).partner.name


def verdicts(*texts: str, **more) -> list[str]:
    """What became of the sourcing evidence of the first deal, in path order."""
    deals = path(*texts, **more)
    mine = claims(deals).sourcing.verdict[: deals.snapshot.touchpoints.offsets[1]]
    return [VERDICTS[code] for code in mine if code != NONE]


def standing(*texts: str, **more) -> dict[str, str]:
    """What each partner is on the first deal, with the approval of influenced ones."""
    deals = path(*texts, **more)
    found = claims(deals)
    result = {}
    for pair in (found.deal == 0).nonzero()[0]:
        name = STANDINGS[found.standing[pair]]
        if name == "influenced":
            name = STATES[found.state[pair]]
        result[deals.partners[found.partner[pair]].name] = name
    return result


# 5 Sourced


def test_rule_5_a_referral_outranks_a_partner_owned_deal():
    assert source("ann:partner_owned@0 bob:referral@-1 won@10") == "bob"


def test_rule_5_within_a_rank_the_earliest_event_wins_then_the_id():
    assert source("ann:referral@-1 bob:referral@-2 won@10") == "bob"
    assert source("ann:referral@-1+record=B bob:referral@-1+record=A won@10") == "bob"


def test_rule_5_meetings_roles_and_what_was_handed_over_never_source():
    assert source("ann@-1 bob:role@0+role=Referral cat:handed_over@0 won@10") is None


def test_rule_5_2_a_linked_lead_is_at_most_lead_max_age_days_old():
    assert source("ann:referral@-365 won@10") == "ann"
    assert source("ann:referral@-365.001 won@10") is None


def test_rule_5_2_a_lead_created_after_the_deal_does_not_source_it():
    assert source("ann:referral@0 won@10") == "ann"
    assert verdicts("ann:referral@0.001 won@10") == ["outside_window"]


def test_rule_5_2_an_unlinked_lead_must_lie_in_the_sourcing_window():
    assert source("ann:referral@-90+unlinked won@10") == "ann"
    assert source("ann:referral@-90.001+unlinked won@10") is None
    assert source("ann:referral@-30+unlinked won@10", policy=Policy(sourcing_window_days=29)) is None


def test_rule_5_3_a_role_sources_if_the_policy_says_so():
    policy = Policy(sourcing_roles=("Referral",))
    assert source("ann:role@2+role=Referral bob:role@1+role=Implementation won@10", policy=policy) == "ann"


def test_rule_5_1_an_approved_registration_outranks_everything():
    assert source("ann:referral@-5 bob:deal_registration@1+approved won@90") == "bob"


def test_rule_5_1_a_registration_is_submitted_within_the_days_of_grace():
    assert source("ann:deal_registration@3+approved won@90") == "ann"
    assert verdicts("ann:deal_registration@3.001+approved won@90") == ["submitted_late"]
    policy = Policy(registration_grace_days=5)
    assert source("ann:deal_registration@5+approved won@90", policy=policy) == "ann"


def test_rule_5_1_a_registration_must_be_approved_by_as_of_however_late():
    assert source("ann:deal_registration@1+approved=80 won@90") == "ann"
    assert source("ann:deal_registration@1+approved=1000 won@90") == "ann"
    assert verdicts("ann:deal_registration@1+approved=1000.001 won@90") == ["pending"]
    assert verdicts("ann:deal_registration@1+pending won@90") == ["pending"]
    assert verdicts("ann:deal_registration@1 won@90") == ["unapproved"]
    assert verdicts("ann:deal_registration@1+rejected won@90") == ["rejected"]


def test_rule_5_1_a_registration_holds_for_its_term_from_its_approval():
    assert source("ann:deal_registration@-200+approved=-90 won@90") == "ann"
    assert verdicts("ann:deal_registration@-200+approved=-90.001 won@90") == ["expired"]
    policy = Policy(registration_term_days=30)
    assert verdicts("ann:deal_registration@-31+approved=-31 won@90", policy=policy) == ["expired"]


def test_rule_5_1_a_mapped_expiry_takes_the_place_of_the_term():
    # the date lasts to the end of its day, which is the instant stored
    assert source("ann:deal_registration@-300+approved=-300+expires=0.001 won@90") == "ann"
    assert verdicts("ann:deal_registration@-5+approved+expires=0 won@90") == ["expired"]


def test_rule_5_1_expiry_is_that_of_the_evidence_whenever_one_looks():
    text = "ann:deal_registration@-10+approved=-10+expires=5 created@0 won@90"
    assert [source(text, as_of=day) for day in (91, 500, 5_000)] == ["ann"] * 3


def test_rule_5_1_a_registration_is_never_void_and_shows_that_it_was_contested():
    mine, other = "account=acme ann:deal_registration@-1+approved won@90", "account=acme created@-9"
    for texts, contested in (((mine,), False), ((mine, other), True)):
        found = claims(path(*texts)).sourcing
        assert (found.source[0] >= 0, found.contested_by_direct[0]) == (True, contested)
    assert not claims(path("account=acme ann:referral@-1", other)).sourcing.contested_by_direct.any()


def test_rule_5_1_a_registration_recorded_late_is_out():
    assert verdicts("ann:deal_registration@1+approved+recorded=14.001 won@90") == ["late"]


def test_rule_5_within_a_rank_the_earliest_approval_breaks_a_tie_of_instants():
    ann, bob = "ann:deal_registration@1+record=A", "bob:deal_registration@1+record=B"
    assert source(f"{ann}+approved=4 {bob}+approved=3 won@90") == "bob"
    assert source(f"{ann}+approved=3 {bob}+approved=3 won@90") == "ann"
    assert source(f"{ann}+approved=3 bob:deal_registration@0.9+approved=9 won@90") == "bob"
    assert source("ann:partner_owned@0+record=A bob:partner_owned@0+approved+record=B won@90") == "bob"


def test_rule_5_3_a_mapped_lookup_that_says_so_sources():
    assert source("ann:sourced_by@2 bob:role@1 won@90") == "ann"
    assert source("ann:sourced_by@20 won@90") is None  # set on day 20: recorded too late


def test_rule_5_3_an_orgs_own_kind_sources_if_the_mapping_says_so():
    assert source("ann:workshop@1+sourcing bob:workshop@0 won@90") == "ann"
    assert source("ann:meeting@1+sourcing won@90") is None


def test_rule_5_a_rejected_claim_is_out_and_the_next_wins():
    text = "ann:referral@-5+rejected bob:referral@-1+pending won@90"
    assert (source(text), verdicts(text)) == ("bob", ["rejected", "valid"])


def test_rule_5_late_evidence_is_out_and_the_next_in_order_wins():
    late, in_time = "ann:referral@-5+recorded=14.001", "bob:partner_owned@0"
    assert source(f"{late} {in_time} won@90") == "bob"
    assert verdicts(f"{late} {in_time} won@90") == ["late", "valid"]
    assert source(f"ann:referral@-5+recorded=14 {in_time} won@90") == "ann"


def test_rule_5_evidence_is_void_while_another_new_deal_of_the_account_is_open():
    mine = "account=acme ann:referral@-5 won@10"
    assert source(mine, "account=acme created@-9 won@-4") is None
    assert source(mine, "account=acme created@-5 type=unclassified") is None
    assert verdicts(mine, "account=acme created@-9 lost@20") == ["void"]


def test_rule_5_not_void_by_a_closed_later_renewal_or_foreign_deal():
    mine = "account=acme ann:referral@-5 won@10"
    assert source(mine, "account=acme created@-9 won@-5") == "ann"
    assert source(mine, "account=acme created@-4 won@20") == "ann"
    assert source(mine, "account=acme created@-9 type=renewal") == "ann"
    assert source(mine, "account=acme created@-9 type=expansion") == "ann"
    assert source(mine, "account=globex created@-9") == "ann"
    assert source("ann:referral@-5 won@10", "created@-9") == "ann"


def test_rule_5_a_deal_that_closed_before_it_was_created_was_never_open():
    mine, blocking = "account=acme ann:referral@-5 won@10", "account=acme created@-9 won@20"
    impossible = "account=acme created@-3 won@-7"
    assert source(mine, impossible) == "ann"
    assert source(mine, blocking, impossible) is None


def test_rule_5_a_deal_does_not_void_its_own_evidence():
    assert source("account=acme ann:partner_owned@0 won@10") == "ann"
    assert source("account=acme ann:partner_owned@0 won@10", "account=acme created@0 won@5") is None


def test_rule_5_voiding_can_be_switched_off():
    policy = Policy(void_by=())
    assert source("account=acme ann:referral@-5 won@10", "account=acme created@-9", policy=policy) == "ann"


def test_rule_5_a_direct_touch_on_the_account_voids_if_the_policy_says_so():
    policy = Policy(void_by=("direct_activity",))
    mine = "account=acme ann:referral@-5 won@10"
    assert source(f"{mine} direct@-5") == "ann"
    for touch, void in (("-5", True), ("-95", True), ("-95.001", False), ("-4.999", False)):
        assert (source(f"{mine} direct:call@{touch}", policy=policy) is None) == void
        # on another deal of the account, a renewal even
        other = f"account=acme type=renewal direct@{touch}"
        assert (source(mine, other, policy=policy) is None) == void
    assert source(mine, "account=globex direct@-6", policy=policy) == "ann"
    assert source("ann:referral@-5 direct@-6 won@10", policy=policy) == "ann"  # on no account
    # an open opportunity is another matter
    assert source(mine, "account=acme created@-9", policy=policy) == "ann"
    week = Policy(void_by=("open_opportunity", "direct_activity"), direct_activity_days=7)
    assert source(f"{mine} direct@-12", policy=week) is None
    assert source(f"{mine} direct@-12.001", policy=week) == "ann"
    assert source(mine, "account=acme created@-9", policy=week) is None


def test_rule_5_a_direct_touch_contests_a_registration_and_does_not_void_it():
    policy = Policy(void_by=("direct_activity",))
    found = claims(
        path("account=acme ann:deal_registration@-1+approved direct@-2 won@90", policy=policy)
    ).sourcing
    assert (found.source[0] >= 0, found.contested_by_direct[0]) == (True, True)


def test_rule_5_renewals_cannot_be_sourced():
    assert verdicts("ann:referral@-5 type=renewal won@10") == ["renewal"]
    assert source("ann:referral@-5 type=renewal won@10") is None


def test_rule_5_contested_needs_two_partners_with_valid_evidence():
    def contested(text: str) -> int:
        return sourced(path(text)).by("partner").foot["contested_deals"]

    assert contested("ann:referral@-1 bob:partner_owned@0 won@10") == 1
    assert contested("ann:referral@-1 ann:partner_owned@0 won@10") == 0
    assert contested("ann:referral@-1 bob:partner_owned@0+recorded=20 won@10") == 0
    assert contested("ann:referral@-1 bob:referral@-2 type=renewal won@10") == 0


def test_rule_5_4_a_partner_lead_source_is_unverified_and_never_in_the_headline():
    deals = path(
        "lead_source=Partner won@10 100.00 USD",
        "lead_source=Partner_Referral ann:referral@-1 won@10 7.00 USD",  # somebody was named
        "lead_source=Web won@10 3.00 USD",
        "lead_source=Channel won@10",  # unvalued
        "lead_source=Partner type=renewal won@10 5.00 USD",
        "lead_source=Partner account=acme won@10 11.00 USD",  # void
        "account=acme created@-3",
    )
    table = sourced(deals).by("partner")
    assert table.foot["total"] == Decimal("7.00")
    assert table.foot["unverified"] == {"n_deals": 2, "amount": Decimal("100.00")}


def test_rule_5_own_account_is_no_evidence_and_an_explicit_self_deal_is():
    assert source("ann:referral@-1+own won@10") is None
    assert source("ann:referral@-1+self won@10") == "ann"


def test_rule_3_4_a_sourced_claim_carries_the_program_of_its_winning_evidence():
    deals = path("ann/resale:referral@-1 ann/cosell@2 won@10 100.00 USD")
    (row,) = sourced(deals).by("partner", "program").rows
    assert (row["program"], row["program_id"], row["amount"]) == ("resale", "resale-id", Decimal("100.00"))


# 6 Influenced


def test_rule_6_1_the_sourcing_partner_does_not_influence():
    assert standing("ann:referral@-1 ann@2 bob@2 won@30") == {"ann": "sourced", "bob": "claimed"}


def test_rule_6_1_a_partner_whose_evidence_lost_may_influence():
    assert standing("ann:referral@-2 bob:referral@-1 won@30") == {"ann": "sourced", "bob": "claimed"}


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("ann@10 won@10", True),
        ("ann@10.001 won@10", False),
        ("ann@-355 won@10", True),
        ("ann@-355.001 won@10", False),
        ("ann@1000", True),
        ("ann@635", True),
        ("ann@634.999", False),
        ("ann@5+own won@10", False),
        ("ann@5+self won@10", True),
        ("ann@5+weak won@10", True),
        ("ann@5+exposure won@10", False),
        ("ann:handed_over@5 won@10", False),
        ("ann@5+rejected won@10", False),
        ("ann@5+pending won@10", True),
        ("ann:deal_registration@-5+approved=-5 won@10", True),
        ("ann:deal_registration@-95+approved=-95 won@10", False),
        ("ann:deal_registration@-95+pending won@10", True),
        ("ann:deal_registration@-95+pending+expires=0 won@10", False),
        ("ann:deal_registration@5+approved+expires=6 won@10", True),
        ("ann:workshop@5 won@10", True),
        ("ann@5+reach=0..365 won@10", False),
        ("ann@5+reach=365..366 won@10", True),
    ],
)
def test_rule_6_1_counting_touchpoints(text, counts):
    assert counting(path(text)).tolist() == [counts]


def test_rule_6_2_one_strong_or_two_weak_on_distinct_days():
    assert standing("ann@1 won@30") == {"ann": "claimed"}
    assert standing("ann@1+weak won@30") == {"ann": "weak_only"}
    assert standing("ann@1+weak ann@1.9+weak won@30") == {"ann": "weak_only"}
    assert standing("ann@1.9+weak ann@2.1+weak won@30") == {"ann": "claimed"}
    assert standing("ann@1+weak bob@3+weak won@30") == {"ann": "weak_only", "bob": "weak_only"}


def test_rule_6_2_days_are_those_of_the_organization():
    # 23:00 and 01:00 in UTC: one evening in New York, two days in Berlin
    text = "ann@2.96+weak ann@3.04+weak won@30"
    assert standing(text, zone="America/New_York") == {"ann": "weak_only"}
    assert standing(text, zone="Europe/London") == {"ann": "claimed"}


def test_rule_6_3_a_counting_touchpoint_must_lie_late_days_before_the_close():
    assert standing("ann@23 won@30") == {"ann": "claimed"}
    assert standing("ann@23.001 won@30") == {"ann": "too_late"}


def test_rule_6_3_reopened_deals_need_one_before_the_last_open_spell():
    assert standing("ann@9.999 reopened@10 won@30") == {"ann": "claimed"}
    assert standing("ann@10 reopened@10 won@30") == {"ann": "too_late"}


def test_rule_6_3_one_and_the_same_touchpoint_satisfies_both_guards():
    # day 24 is before the last spell but too near the close; day 1 does not count any more
    text = "ann@24 ann@1 reopened@25 won@30"
    assert standing(text, policy=Policy(influence_window_days=20)) == {"ann": "too_late"}
    assert standing(text) == {"ann": "claimed"}
    assert standing("ann@26 reopened@25 ann@24 won@30") == {"ann": "too_late"}


def test_rule_6_3_a_weak_touchpoint_may_satisfy_the_guards():
    assert standing("ann@5+weak ann@29 won@30") == {"ann": "claimed"}


def test_rule_6_3_open_deals_are_provisional_instead():
    deals = path("ann@1000 reopened@3", "ann@1 won@30")
    assert standing("ann@1000 reopened@3") == {"ann": "claimed"}
    assert claims(deals).provisional.tolist() == [True, False]


def test_rule_6_4_evidence_recorded_by_the_owner_approves():
    assert standing("ann@1+owner won@30") == {"ann": "auto_approved"}
    assert standing("ann@1+weak+owner ann@2+weak won@30") == {"ann": "claimed"}
    assert standing("ann@31+owner ann@1 won@30") == {"ann": "claimed"}


def test_rule_6_4_a_meeting_with_an_internal_user_approves_unless_of_the_partner_team():
    policy = Policy(partner_team=("005A",))
    assert standing("ann@1+host=005A won@30") == {"ann": "auto_approved"}
    assert standing("ann@1+host=005A won@30", policy=policy) == {"ann": "claimed"}
    assert standing("ann@1+host=005A+host=005B won@30", policy=policy) == {"ann": "auto_approved"}
    assert standing("ann@31+host=005B ann@1 won@30", policy=policy) == {"ann": "claimed"}


def test_rule_6_4_the_approval_of_the_crm_comes_before_the_automatic_one():
    assert standing("ann@1+approved won@30") == {"ann": "approved"}
    assert standing("ann@1+pending ann@2+owner won@30") == {"ann": "pending"}
    assert standing("ann@1+pending ann@2+approved won@30") == {"ann": "approved"}
    assert standing("ann@1+approved=1001 ann@2+owner won@30") == {"ann": "pending"}
    assert standing("ann@1+rejected ann@2 won@30") == {"ann": "claimed"}
    assert standing("ann@1+rejected won@30") == {}


def test_rule_6_4_pending_claims_are_beside_the_headline():
    deals = path("ann@1+pending won@30 100.00 USD", "ann@1+approved won@30 7.00 USD")
    (row,) = influenced(deals).by("partner").rows
    assert (row["amount"], row["approved_amount"], row["claimed_amount"]) == (7, 7, 100)


def test_rule_6_4_claimed_amounts_are_beside_the_headline_never_in_it():
    deals = path("ann@1+owner bob@1 won@30 100.00 USD", "ann@1 won@30 7.00 USD")
    rows = {row["partner"]: row for row in influenced(deals).by("partner").rows}
    assert (rows["ann"]["amount"], rows["ann"]["claimed_amount"]) == (Decimal("100.00"), Decimal("7.00"))
    assert (rows["bob"]["amount"], rows["bob"]["claimed_amount"]) == (Decimal("0.00"), Decimal("100.00"))
    assert (rows["ann"]["n_deals"], rows["bob"]["n_deals"]) == (1, 0)
    for row in rows.values():
        assert row["approved_amount"] + row["auto_approved_amount"] == row["amount"]


# 7 Roll-ups


def test_rule_7_1_influenced_total_is_each_deal_once():
    deals = path("ann/resale@1+owner ann/cosell@2 bob/cosell@1+owner won@30 100.00 USD")
    measure = influenced(deals)
    assert [row["amount"] for row in measure.by("partner").rows] == [Decimal("100.00")] * 2
    assert measure.total() == Decimal("100.00")
    programs = {row["program"]: row["amount"] for row in measure.by("program").rows}
    assert programs == {"resale": Decimal("100.00"), "cosell": Decimal("100.00")}
    assert len(measure.by("partner", "program")) == 3


def test_rule_7_1_above_partner_a_deal_counts_in_its_best_state():
    deals = path("ann/cosell@1 bob/cosell@1+owner won@30 100.00 USD")
    (row,) = influenced(deals).by("program").rows
    assert (row["amount"], row["claimed_amount"], row["n_deals"]) == (Decimal("100.00"), Decimal("0.00"), 1)


def test_rule_7_1_influenced_refuses_to_be_summed():
    measure = influenced(path("ann@1+owner won@30 100.00 USD"))
    for refused in (measure, measure.by("partner")):
        with pytest.raises(UsageError, match="cannot be added up"):
            sum(refused)
        with pytest.raises(UsageError, match="cannot be added up"):
            sum([refused, refused])
        with pytest.raises(UsageError, match="cannot be added up"):
            refused + refused


def test_rule_7_1_of_selects_the_deals_measured():
    deals = path("ann:referral@0 won@9 1.00 USD", "ann:referral@0 lost@9 2.00 USD", "ann:referral@0 4.00 USD")
    totals = {of: sourced(deals, of).total() for of in ("won", "lost", "open", "all")}
    assert totals == {"won": Decimal(1), "lost": Decimal(2), "open": Decimal(4), "all": Decimal(7)}
    with pytest.raises(UsageError, match="'closed'") as error:
        sourced(deals, "closed")
    assert "won, open, lost, all" in error.value.hint


def test_rule_7_3_a_filter_keeps_the_claims_of_the_whole_organization():
    deals = path("account=acme ann:referral@-5 won@10 1.00 USD", "account=acme created@-9 won@40")
    early = deals.where(closed="2026-01-01..2026-01-20")
    assert len(early) == 1
    assert sourced(early).total() == 0  # void by a deal outside the selection


def test_empty_deals_give_empty_results():
    for measure in (sourced(path()), influenced(path())):
        table = measure.by("partner", "program")
        assert (table.rows, measure.total(), measure.selected()) == ([], 0, 0)
        assert "total" in str(table)


def test_an_account_with_very_many_deals_is_no_trouble():
    texts = [f"account=acme created@{at} won@{at + 0.5} ann:partner_owned@{at}" for at in range(3_000)]
    assert (claims(path(*texts, as_of=9_000)).sourcing.source >= 0).all()
