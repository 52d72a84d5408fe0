from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import UsageError
from attribution.measures.coalitions import shapley_values
from attribution.measures.credit import attribute
from attribution.models import Linear, Shapley, shapley
from tests.laws import check_credit
from tests.measures.strategies import AS_OF, paths
from tests.notation import deals_of, path

RATE = Shapley(game="rate")
JOURNEYS = st.lists(
    st.tuples(st.lists(st.sampled_from("ABCD"), min_size=1, max_size=5), st.booleans()),
    min_size=1,
    max_size=8,
)


def text(journey):
    touched, won = journey
    return (
        " ".join(f"{one}@{at}" for at, one in enumerate(touched)) + f" {'won' if won else 'lost'}@50 1.00 USD"
    )


def slow(journeys, rate):
    """By definition: every order of joining, in fractions."""
    players = sorted({one for touched, _ in journeys for one in touched})

    def worth(coalition):
        inside = [won for touched, won in journeys if set(touched) <= coalition]
        return Fraction(sum(inside), (len(inside) or 1) if rate else 1)

    values = dict.fromkeys(players, Fraction(0))
    orders = list(permutations(players))
    for order in orders:
        for at, one in enumerate(order):
            gained = worth(set(order[: at + 1])) - worth(set(order[:at]))
            values[one] += gained / len(orders)
    return values


def test_a_partner_with_whom_rates_fall_is_shown_and_scores_zero():
    # A and A > U are won at the same rate, U alone never is
    texts = ["A@0 won@9 1.00 USD", "A@0 lost@9", "A@0 U@1 won@9 8.00 USD", "A@0 U@1 lost@9", "U@0 lost@9"]
    deals = path(*texts)
    rows = {row["partner"]: row for row in shapley_values(deals).rows}
    assert rows["U"]["shapley_value"] == pytest.approx(-0.05)
    assert rows["A"]["shapley_value"] == pytest.approx(0.45)
    assert rows["A"]["standard_error"] == 0
    by = attribute(deals, RATE).by("partner")
    assert [(row["partner"], row["amount"]) for row in by.rows] == [("A", 9)]
    assert "-0.0500" in str(shapley_values(deals))
    assert shapley_values(deals).to_polars()["shapley_value"].sum() == pytest.approx(0.4)


def test_six_partners_of_one_deal_share_it_whatever_their_names():
    deals = path("A@0 B@1 C@2 D@3 E@4 F@5 won@9 6.00 USD")
    for model in (Shapley(), RATE):
        assert [row["amount"] for row in attribute(deals, model).by("partner").rows] == [1] * 6


def test_a_partner_who_adds_nothing_gets_nothing():
    # with U deals are won as often as without it, whoever else is there
    texts = [
        f"{who} {end}@9 7.00 USD" for who in ("A@0", "A@0 U@1", "B@0", "B@0 U@1") for end in ("won", "lost")
    ]
    deals = path(*texts, *("A@0 B@1 won@9", "A@0 B@1 U@2 won@9"))
    rows = {row["partner"]: row["shapley_value"] for row in shapley_values(deals).rows}
    assert rows["U"] == 0
    assert "U" not in {row["partner"] for row in attribute(deals, RATE).by("partner").rows}


def test_a_value_is_split_over_the_touchpoints_of_its_partner():
    assert RATE.scores(path("A@0 A@1 B@2 won@9")).tolist() == [0.25, 0.25, 0.5]


def test_nothing_closed_has_no_values():
    for deals in (path(), path("A@0"), path("won@9")):
        assert shapley_values(deals).rows == []
        assert not RATE.scores(deals).any()


def test_beyond_twenty_partners_values_are_sampled_with_an_error_that_holds():
    random = np.random.default_rng(5)
    texts = []
    for _ in range(80):
        touches = " ".join(f"p{one}@{at}" for at, one in enumerate(random.choice(9, 3, replace=False)))
        texts.append(f"{touches} {'won' if random.random() < 0.4 else 'lost'}@50")
    texts += [f"p{at}@0 {'won' if at % 3 else 'lost'}@50" for at in range(9)]
    exact = {row["partner"]: row["shapley_value"] for row in shapley_values(path(*texts)).rows}
    many = [*texts, *(f"q{at}@0 p0@1 lost@9" for at in range(15))]
    sampled = shapley_values(path(*many), Shapley(game="rate", samples=400, seed=3))
    assert all(row["standard_error"] > 0 for row in sampled.rows)
    assert sampled.foot["total"] == pytest.approx(sum("won" in one for one in many) / len(many))
    assert sampled.rows == shapley_values(path(*many), Shapley(game="rate", samples=400, seed=3)).rows
    # the sampler itself, on a game whose values are known
    deals = path(*texts)
    touchpoints = deals.snapshot.touchpoints
    won, closed = (deals.snapshot.deals.outcome == 1).astype(float), np.ones(len(deals))
    starts, model = touchpoints.offsets[:-1], Shapley("rate", 2000)
    mean, error = shapley._sampled(touchpoints.partner.astype(np.int64), starts, won, closed, 9, model)
    for code, party in enumerate(deals.partners):
        assert abs(mean[code] - exact[party.name]) < 5 * error[code] < 0.1


def test_deals_of_the_same_partners_are_looked_at_once():
    texts = [f"p{at}@0 p{at + 70}@1 p{at}@2 {'won' if at % 2 else 'lost'}@9" for at in range(30)]
    sets = shapley.coalitions(path(*texts, *texts, "p71@0 p1@1 lost@9"))
    assert (len(sets.starts), len(sets.coalition), len(sets.codes)) == (30, 61, 60)
    # ids of deals are sorted as text, and sets are in the order of their deals
    paths = sorted(range(61), key=lambda at: f"D{at + 1}")
    first: dict[int, int] = {}
    wanted = [first.setdefault(at % 30 if at < 60 else 1, len(first)) for at in paths]
    assert sets.coalition.tolist() == wanted
    once, twice = (
        shapley_values(path(*texts * times), Shapley(game="rate", samples=10)).rows for times in (1, 2)
    )
    assert [row["shapley_value"] for row in once] == [row["shapley_value"] for row in twice]


@pytest.mark.parametrize("wrong", [{"game": "sum"}, {"samples": 3}, {"samples": 2}])
def test_parameters_that_cannot_be_are_refused(wrong):
    with pytest.raises(UsageError):
        Shapley(**wrong)


@settings(max_examples=60, deadline=None)
@given(JOURNEYS, st.booleans())
def test_values_equal_all_orders_of_joining(journeys, rate):
    table = shapley_values(path(*map(text, journeys)), Shapley(game="rate" if rate else "set"))
    exact = slow(journeys, rate)
    assert {row["partner"] for row in table.rows} == set(exact)
    for row in table.rows:
        assert row["shapley_value"] == pytest.approx(float(exact[row["partner"]]), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(paths())
def test_the_set_game_is_linear_by_partner(drawn):
    deals = deals_of(drawn, AS_OF)
    one, other = (attribute(deals, model, of="all") for model in (Shapley(), Linear(by="partner")))
    assert one.by("partner", "program").rows == other.by("partner", "program").rows
    check_credit(attribute(deals, RATE, of="all"))
