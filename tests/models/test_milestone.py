from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import UsageError
from attribution.measures.credit import attribute
from attribution.models import Milestone
from attribution.models.base import model_name
from attribution.models.milestone import PRESETS
from tests.laws import check_credit
from tests.measures.oracle import truth
from tests.measures.strategies import AS_OF, POLICIES, ZONE, paths
from tests.notation import deals_of, path

U, BIZIBLE, W, FULL = (getattr(Milestone, name)() for name in PRESETS)
SHARES = {
    U: ("2/5", "2/5", "0", "0"),
    BIZIBLE: ("1/2", "1/2", "0", "0"),
    W: ("3/10", "3/10", "3/10", "0"),
    FULL: ("9/40", "9/40", "9/40", "9/40"),
    Milestone(lead=0.25, closed=0.5): ("0", "1/4", "0", "1/2"),
    Milestone(opportunity=1.0): ("0", "0", "1", "0"),
    Milestone(): ("0", "0", "0", "0"),
}


def percents(model, text, of="won"):
    return [round(100 * row["share"], 9) for row in attribute(path(text), model, of=of).of("D1").rows]


# by hand: first touch on day -9, lead on day -5, opportunity on day 0, close on day 30

ALL = "a@-9 b@-6 c@-1 d@4 e@29 lead@-5 won@30"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (U, [40, 40, 20 / 3, 20 / 3, 20 / 3]),
        (BIZIBLE, [50, 50, 0, 0, 0]),
        (W, [30, 30, 30, 5, 5]),
        (FULL, [22.5, 22.5, 22.5, 10, 22.5]),
    ],
)
def test_rule_8_3_shares_of_a_path_with_a_touchpoint_for_every_milestone(model, expected):
    assert percents(model, ALL) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (U, [200 / 3, 100 / 9, 100 / 9, 100 / 9]),
        (BIZIBLE, [100, 0, 0, 0]),
        (W, [300 / 7, 300 / 7, 50 / 7, 50 / 7]),
        (FULL, [22.5 / 0.775, 22.5 / 0.775, 10 / 0.775, 22.5 / 0.775]),
    ],
)
def test_rule_8_3_without_a_lead_its_share_is_spread_pro_rata_over_the_rest(model, expected):
    assert percents(model, "a@-9 c@-1 d@4 e@29 won@30") == pytest.approx(expected, abs=1e-9)


def test_rule_8_3_an_open_deal_lacks_the_close():
    text = "a@701 b@703 c@709 d@800 lead@704 created@710"
    assert percents(FULL, text, of="open") == pytest.approx([*[22.5 / 0.775] * 3, 10 / 0.775])


def test_rule_8_3_coinciding_milestones_stack():
    # lead and opportunity fall to the first touchpoint, the close to the last
    assert percents(FULL, "a@1 b@2 c@3 lead@-5 won@30") == [67.5, 10, 22.5]
    # a milestone at the very instant of a touchpoint is that touchpoint's
    assert percents(W, "a@-9 b@-5 c@0 d@1 lead@-5 won@30") == [30, 30, 30, 10]


def test_rule_8_3_with_no_other_touchpoint_the_remainder_is_shared_in_proportion():
    assert percents(W, "a@-9 b@-6 c@-1 lead@-5 won@30") == pytest.approx([100 / 3] * 3)
    assert percents(W, "a@-9 b@-1 lead@-5 won@30") == pytest.approx([200 / 3, 100 / 3])
    assert percents(FULL, "a@1 won@30") == [100]


def test_rule_8_3_a_milestone_before_the_first_touchpoint_is_the_first_ones():
    assert percents(BIZIBLE, "a@1 b@2 lead@-5 won@30") == [100, 0]


def test_the_lead_may_come_after_the_close():
    assert percents(BIZIBLE, "a@1 b@2 lead@40 won@30") == [50, 50]


def test_without_any_milestone_all_share_equally():
    assert percents(Milestone(lead=0.5), "a@1 b@2 won@30") == [50, 50]
    credit = attribute(path("a@1 won@30 5.00 USD"), Milestone(lead=1.0))
    assert (credit.total(), credit.unattributed()) == (0, 5)


def test_presets_have_names_and_other_shares_are_shown():
    assert [model_name(model) for model in (U, BIZIBLE, W, FULL)] == list(PRESETS)
    assert model_name(Milestone(lead=0.25)) == "milestone(lead=0.25)"
    assert Milestone(first=0.4, lead=0.4) == U


def test_touchpoints_outside_the_window_are_no_milestones():
    credit = attribute(path("late@31 a@1 b@2 early@-400 lead@-390 won@30 10.00 USD"), BIZIBLE)
    assert {row["partner"]: row["amount"] for row in credit.by("partner").rows} == {"a": Decimal(10)}


@pytest.mark.parametrize("wrong", [{"first": -0.1}, {"lead": float("nan")}, {"first": 0.6, "closed": 0.5}])
def test_shares_that_cannot_be_are_refused(wrong):
    with pytest.raises(UsageError, match="milestone"):
        Milestone(**wrong)


# laws


def slow_shares(model, players, deal):
    """RULES 8.3 in fractions, for one deal."""
    first, lead, opportunity, closed = map(Fraction, SHARES[model])
    dated = [(lead, deal.lead), (opportunity, deal.created), (closed, deal.closed)]
    weights = [Fraction(0)] * len(players)
    milestones = set()
    if first:
        weights[0] += first
        milestones.add(0)
    for weight, day in dated:
        if weight and day is not None:
            before = [at for at, touch in enumerate(players) if touch.day <= day]
            weights[max(before, default=0)] += weight
            milestones.add(max(before, default=0))
    others = [at for at in range(len(players)) if at not in milestones]
    for at in others:
        weights[at] = (1 - first - lead - opportunity - closed) / len(others)
    return [weight / sum(weights) if sum(weights) else weight for weight in weights]


@settings(max_examples=150, deadline=None)
@given(paths(), POLICIES, st.sampled_from(list(SHARES)))
def test_shares_equal_a_slow_reading_of_rule_8_3(drawn, policy, model):
    deals = deals_of(drawn, AS_OF, policy, ZONE)
    credit = attribute(deals, model, of="all")
    check_credit(credit)
    expected = {}
    for deal in drawn:
        players = truth(drawn, deal, AS_OF, policy, ZONE).players
        for touch, share in zip(players, slow_shares(model, players, deal) if players else [], strict=True):
            if share:
                expected[touch.record, touch.partner] = float(share)
    touched = (deals.touchpoint(row) for row in credit.cells.touchpoint)
    got = {
        (touch.id.split(":")[1], touch.partner.name): share
        for touch, share in zip(touched, credit.cells.numbers["share"].tolist(), strict=True)
    }
    assert got == expected
