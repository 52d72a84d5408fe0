from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import UsageError
from attribution.measures.credit import attribute
from attribution.models import Linear, Position, TimeDecay, Weighted
from attribution.models.multi_touch import repeats
from tests.measures.strategies import AS_OF, paths
from tests.notation import deals_of, path

ENDS = st.integers(0, 20).flatmap(lambda first: st.tuples(st.just(first), st.integers(0, 20 - first)))


def shares(model, text):
    return [row["share"] for row in attribute(path(text), model).of("D1").rows]


def by_partner(model, text):
    return {row["partner"]: row["amount"] for row in attribute(path(text), model).by("partner").rows}


# by hand


def test_linear_by_partner_counts_each_partner_once():
    text = "ann@1 ann@2 bob@3 ann@4 won@30 100.00 USD"
    assert by_partner(Linear(by="partner"), text) == {"ann": Decimal(50), "bob": Decimal(50)}
    assert by_partner(Linear(), text) == {"ann": Decimal(75), "bob": Decimal(25)}
    assert shares(Linear(by="partner"), text)[:2] == [pytest.approx(1 / 6)] * 2


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Position(), [[100], [50, 50], [40, 20, 40], [40, 10, 10, 40]]),
        (Position(first=0.3, last=0.6), [[100], [Fraction(100, 3), Fraction(200, 3)], [30, 10, 60]]),
        (Position(first=1, last=0), [[100], [100, 0], [100, 0, 0]]),
        (Position(first=0, last=0), [[100], [50, 50], [0, 100, 0], [0, 50, 50, 0]]),
        (Position(first=0.5, last=0.5), [[100], [50, 50], [50, 0, 50]]),
    ],
)
def test_rule_8_2_position(model, expected):
    for percents in expected:
        text = " ".join(f"p{at}@{at}" for at in range(len(percents))) + " won@30"
        assert shares(model, text) == [float(Fraction(percent, 100)) for percent in percents]


def test_position_adds_up_over_the_touchpoints_of_a_partner():
    text = "ann@1 bob@2 ann@3 won@30 100.00 USD"
    assert by_partner(Position(), text) == {"ann": Decimal(80), "bob": Decimal(20)}


def test_rule_8_2_time_decay_halves_with_every_half_life():
    assert shares(TimeDecay(), "ann@0 bob@30 cat@60 won@90") == [1 / 7, 2 / 7, 4 / 7]
    assert shares(TimeDecay(timedelta(hours=12)), "ann@0 bob@0.5 won@1") == [1 / 3, 2 / 3]


def test_time_decay_of_touchpoints_long_before_the_close_keeps_their_ratio():
    short = TimeDecay(timedelta(minutes=1))
    assert shares(short, "ann@1 bob@1 won@300") == [0.5, 0.5]
    assert shares(short, "ann@1 bob@90 won@300") == [0, 1]


def test_weighted_by_kind_role_and_program():
    text = "ann/resale:referral@1 bob/cosell:meeting@2 cat:call@3+role=Advisor won@30"
    assert shares(Weighted({"referral": 6, "meeting": 3}), text) == [0.6, 0.3, 0.1]
    assert shares(Weighted({"Advisor": 2, "(none)": 1}, by="role"), text) == [0.25, 0.25, 0.5]
    assert shares(Weighted({"Nobody": 9}, by="role"), text) == [1 / 3] * 3
    assert shares(Weighted({"resale": 1, "cosell-id": 3}, by="program", otherwise=0), text) == [0.25, 0.75, 0]
    assert shares(Weighted({"resale": 1, "(none)": 4, "cosell": 0}, by="program"), text) == [0.2, 0, 0.8]


def test_weighted_by_a_function_of_the_touchpoint():
    def by_tier(touchpoint):
        return 3.0 if touchpoint.tier else 1.0

    assert shares(Weighted(by_tier), "ann@1+tier=Gold bob@31 cat@2 won@30")[:2] == [0.75, 0.25]


def test_weights_that_are_all_zero_leave_the_deal_unattributed():
    credit = attribute(path("ann@1 won@9 5.00 USD"), Weighted({}, otherwise=0))
    assert (credit.total(), credit.unattributed()) == (0, 5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Linear(by="program"), "linear by 'program'"),
        (lambda: Position(first=0.7, last=0.4), "gives 0.7 to the first and 0.4 to the last"),
        (lambda: Position(first=-0.1), "first=-0.1"),
        (lambda: Position(last=float("nan")), "last=nan"),
        (lambda: TimeDecay(timedelta(0)), "half-life"),
        (lambda: TimeDecay(30), "half-life of 30"),
        (lambda: Weighted({}, by="partner"), "weighted by 'partner'"),
        (lambda: Weighted({"call": -1}), "weight of call is -1"),
        (lambda: Weighted({}, otherwise=float("inf")), "weight of otherwise is inf"),
        (lambda: Weighted({"cal": 1}).scores(path("ann@1 won@9")), "no kind 'cal'"),
        (lambda: Weighted({"x": 1}, by="program").scores(path("ann@1 won@9")), "no program 'x'"),
    ],
)
def test_parameters_that_cannot_be_are_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()


def test_models_with_parameters_are_values():
    assert len({Position(), Position(0.4, 0.4), TimeDecay(), Linear(), Linear(by="partner")}) == 4
    assert hash(Weighted({"call": 1})) == hash(Weighted((("call", 1),)))


MODELS = [Linear(by="partner"), Position(), TimeDecay(), Weighted({"call": 3})]


@pytest.mark.parametrize("model", MODELS)
def test_no_deals_and_no_players_score_nothing(model):
    assert model.scores(path()).tolist() == model.scores(path("won@9")).tolist() == []


# laws


@settings(max_examples=60, deadline=None)
@given(paths())
def test_repeats_equal_counting_one_by_one(drawn):
    deals = deals_of(drawn, AS_OF)
    partner, offsets = deals.snapshot.touchpoints.partner.tolist(), deals.snapshot.touchpoints.offsets
    slow = [partner[a:b].count(one) for a, b in pairwise(offsets.tolist()) for one in partner[a:b]]
    assert repeats(deals).tolist() == slow


@given(st.integers(1, 12), ENDS)
def test_position_equals_exact_fractions(n, ends):
    first, last = Fraction(ends[0], 20), Fraction(ends[1], 20)
    exact = [first, *[(1 - first - last) / (n - 2)] * (n - 2), last] if n > 2 else [first, last][:n]
    exact = exact if sum(exact) and n > 1 else [Fraction(1)] * n
    text = " ".join(f"p{at:02}@{at}" for at in range(n)) + " won@30"
    model = Position(first=ends[0] / 20, last=ends[1] / 20)
    assert shares(model, text) == [float(share / sum(exact)) for share in exact]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 60), st.integers(0, 300))
def test_time_decay_does_not_depend_on_when_the_path_ends(days, half_life, later):
    model = TimeDecay(timedelta(days=half_life))
    text = " ".join(f"p{at}@{day}" for at, day in enumerate(sorted(days)))
    got = shares(model, f"{text} won@{40 + later}")
    weights = [2 ** (-(40 + later - day) / half_life) for day in sorted(days)]
    assert np.allclose(got, np.array(weights) / sum(weights), rtol=1e-12, atol=0)
