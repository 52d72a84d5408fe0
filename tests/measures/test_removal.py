from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import UsageError
from attribution.measures.credit import attribute
from attribution.measures.removal import removal_effects
from attribution.models import Markov, absence, chains
from tests.laws import check_credit
from tests.measures.markov_oracle import Walk, effects, gain, text
from tests.measures.strategies import AS_OF, paths
from tests.notation import deals_of, path

WALKS = st.lists(
    st.builds(
        Walk,
        st.lists(st.sampled_from("ABCD"), min_size=1, max_size=5).map(tuple),
        st.booleans(),
        st.integers(0, 500),
    ),
    min_size=1,
    max_size=7,
)


def table(walks, order=1, **more):
    rows = removal_effects(path(*map(text, walks), **more), order=order).rows
    return {row["partner"]: row for row in rows}


# by hand


def test_removal_effects_of_a_small_chain():
    # P(won) = 1/2. Without A: only B > won, reached by a quarter of the walks, is left.
    walks = [Walk(("A", "B"), True, 60), Walk(("A",), False), Walk(("A",), False), Walk(("B",), True, 40)]
    effect = removal_effects(path(*map(text, walks)))
    assert effect.p_conversion == 0.5
    assert [(row["partner"], row["removal_effect"], row["deals"], row["amount"]) for row in effect.rows] == [
        ("B", 1.0, pytest.approx(4 / 3), Decimal("66.67")),
        ("A", 0.5, pytest.approx(2 / 3), Decimal("33.33")),
    ]
    matrix = {(row["from_state"], row["to_state"]): row for row in effect.transition_matrix.rows}
    assert {pair: row["probability"] for pair, row in matrix.items()} == {
        ("(start)", "A"): 0.75,
        ("(start)", "B"): 0.25,
        ("A", "B"): pytest.approx(1 / 3),
        ("A", "(lost)"): pytest.approx(2 / 3),
        ("B", "(won)"): 1.0,
    }
    assert matrix["A", "(lost)"]["n_walks"] == 2


def test_states_of_a_higher_order_show_their_path():
    rows = removal_effects(path("A@0 B@1 C@2 won@9", "A@0 lost@9"), order=2).transition_matrix.rows
    assert [(row["from_state"], row["to_state"]) for row in rows] == [
        ("(start)", "A"),
        ("(start)", "A > B"),
        ("A > B", "B > C"),
        ("B > C", "(won)"),
        ("A", "(lost)"),
    ]


def test_a_useless_partner_earns_markov_credit():
    # A and A > U are won at the same rate, U alone never is
    walks = [Walk(("A",), True), Walk(("A",), False), Walk(("A", "U"), True), Walk(("A", "U"), False)]
    walks += [Walk(("U",), False)]
    rows = table(walks)
    assert rows["U"]["removal_effect"] == pytest.approx(float(effects(walks, 1)["U"]))
    assert rows["U"]["deals"] > 0


def test_a_partner_seen_only_in_lost_deals_has_a_row_of_zeros():
    row = table([Walk(("A",), True, 10), Walk(("A", "B"), False, 70)])["B"]
    assert (row["removal_effect"], row["removal_effect_value"], row["deals"], row["amount"]) == (0, 0, 0, 0)


def test_without_a_win_everything_is_zero_and_without_a_deal_nothing_is_there():
    effect = removal_effects(path("A@0 lost@9 5.00 USD"))
    assert (effect.p_conversion, [row["removal_effect"] for row in effect.rows]) == (0.0, [0.0])
    for deals in (path(), path("A@1"), path("won@9")):
        effect = removal_effects(deals, order=3)
        assert (effect.rows, effect.p_conversion, effect.transition_matrix.rows) == ([], 0.0, [])


def test_an_unvalued_win_is_a_conversion_and_no_value():
    rows = {row["partner"]: row for row in removal_effects(path("A@0 won@9", "B@0 won@9 10.00 USD")).rows}
    assert (rows["A"]["removal_effect"], rows["A"]["removal_effect_value"]) == (0.5, 0.0)
    assert (rows["B"]["deals"], rows["B"]["amount"]) == (1.0, Decimal("10.00"))


def test_open_deals_and_deals_without_players_teach_nothing():
    closed = ["A@0 B@1 won@9 10.00 USD", "A@0 lost@9"]
    alone = removal_effects(path(*closed))
    more = removal_effects(path(*closed, "C@0 A@1", "won@9 7.00 USD", "C@20 lost@9"))
    assert more.rows == alone.rows
    assert (more.foot["total"], more.foot["unattributed"], more.foot["selected"]) == (10, 7, 17)


def test_level_program_walks_programs():
    deals = path("A/resale@0 B@1 won@9 9.00 USD", "B/resale@0 lost@9")
    rows = removal_effects(deals, level="program").rows
    assert [(row["program"], row["program_id"], row["removal_effect"]) for row in rows] == [
        ("(none)", None, 1.0),
        ("resale", "resale-id", 1.0),
    ]
    assert Markov(level="program").scores(deals).tolist() == [1, 1, 1]


def test_markov_splits_each_deal_by_the_effects_of_its_own_partners():
    deals = path("A@0 B@1 won@9 90.00 USD", "A@0 lost@9", "A@0 lost@9", "B@0 won@9 10.00 USD", "C@1 5.00 USD")
    assert Markov().scores(deals).tolist() == [0.5, 1, 0.5, 0.5, 1, 0]
    by = {row["partner"]: row["amount"] for row in attribute(deals, Markov()).by("partner").rows}
    assert by == {"A": Decimal(30), "B": Decimal(70)}


def test_credit_notes_that_cancel_out_leave_no_value_to_share():
    effect = removal_effects(path("A@0 won@9 10.00 USD", "B@0 won@9 -10.00 USD"))
    assert [row["removal_effect_value"] for row in effect.rows] == [0, 0]
    assert effect.foot["total"] == 0


@pytest.mark.parametrize(("order", "level"), [(0, "partner"), (5, "partner"), (1.5, "partner"), (1, "kind")])
def test_orders_and_levels_that_do_not_exist_are_refused(order, level):
    with pytest.raises(UsageError, match="Markov chain of"):
        removal_effects(path(), order=order, level=level)


def test_more_states_than_can_be_told_apart_are_refused():
    with pytest.raises(UsageError, match="too many states"):
        chains.fit(path(" ".join(f"p{at:05}@0" for at in range(60_000)) + " won@9"), 4, "partner")


# laws


@settings(max_examples=60, deadline=None)
@given(WALKS, st.integers(1, 4))
def test_removal_effects_equal_solving_the_chain_again_in_fractions(walks, order):
    got = table(walks, order)
    exact, valued = effects(walks, order), effects(walks, order, worth=True)
    if not any(walk.won for walk in walks):
        exact = dict.fromkeys(exact, Fraction(0))
    won = [walk for walk in walks if walk.won]
    for partner, row in got.items():
        assert row["removal_effect"] == pytest.approx(float(exact[partner]), abs=1e-12)
        assert row["removal_effect_value"] == pytest.approx(float(valued[partner]), abs=1e-12)
        if sum(exact.values()):
            assert row["deals"] == pytest.approx(
                float(exact[partner] / sum(exact.values()) * len(won)), abs=1e-9
            )
    assert sum(row["amount"] for row in got.values()) == sum(walk.value for walk in won)


@settings(max_examples=60, deadline=None)
@given(WALKS, st.integers(1, 4))
def test_the_chain_is_won_as_often_as_the_deals(walks, order):
    deals = path(*map(text, walks))
    assert removal_effects(deals, order=order).p_conversion == sum(walk.won for walk in walks) / len(walks)
    # as stated, and as the chain itself has it when nobody is removed
    assert gain(walks, order, None, worth=False) == Fraction(sum(walk.won for walk in walks), len(walks))
    chain = chains.fit(deals, order, "partner")
    nobody = replace(chain, codes=np.append(chain.codes, 99))
    solved = absence._by_iteration(nobody, (chain.won / chain.visits)[:, None])
    assert solved[-1] == pytest.approx(sum(walk.won for walk in walks) / len(walks), abs=1e-11)


@settings(max_examples=60, deadline=None)
@given(WALKS, st.integers(1, 4))
def test_all_ways_of_solving_a_chain_agree(walks, order):
    check_solvers(chains.fit(path(*map(text, walks)), order, "partner"))


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("sticky", [0.0, 0.95])
def test_all_ways_agree_where_partners_are_many_and_follow_one_another(order, sticky):
    # with 0.95 the next partner is mostly the one before the last, which a chain of order 1 cannot guess
    random = np.random.default_rng(order)
    walks = []
    for _ in range(400):
        steps = random.integers(0, 9, random.geometric(0.1)).tolist()
        for at in range(2, len(steps)):
            if random.random() < sticky:
                steps[at] = steps[at - 2]
        walks.append(Walk(tuple(f"p{one}" for one in steps), bool(random.random() < 0.4), 100))
    chain = chains.fit(path(*(text(walk, 400) for walk in walks)), order, "partner")
    earned = check_solvers(chain)
    if not sticky:
        # of many visits to each state the blocks need nobody's help
        found, missing = absence._Blocks.of(chain, earned).without(range(2, 7))
        assert missing.max() <= 1e-12
        assert found == pytest.approx(absence._by_inverse(chain, earned)[2:7], abs=1e-11)


def check_solvers(chain):
    earned = np.stack([chain.won / chain.visits, chain.value / chain.visits], axis=1)
    earned /= np.maximum(earned.max(axis=0), 1e-300)
    solvers = absence._by_inverse, absence._by_blocks, absence._by_iteration
    one, *others = (solve(chain, earned) for solve in solvers)
    for other in others:
        assert one == pytest.approx(other, abs=1e-11)
    return earned


@settings(max_examples=40, deadline=None)
@given(WALKS)
def test_self_loops_change_no_effect_at_order_1(walks):
    def once(path):
        return tuple(one for at, one in enumerate(path) if at == 0 or path[at - 1] != one)

    looped, plain = table(walks), table([walk._replace(path=once(walk.path)) for walk in walks])
    for partner, row in plain.items():
        assert row["removal_effect"] == pytest.approx(looped[partner]["removal_effect"], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(paths(), st.integers(1, 4), st.sampled_from(["partner", "program"]))
def test_credit_by_markov_adds_up(drawn, order, level):
    deals = deals_of(drawn, AS_OF)
    check_credit(attribute(deals, Markov(order=order, level=level), of="all"))
    effect = removal_effects(deals, order=order, level=level)
    assert sum((row["amount"] for row in effect.rows), Decimal(0)) == effect.foot["total"]
    assert effect.foot["total"] + effect.foot["unattributed"] == effect.foot["selected"]
    assert str(effect)
    assert effect.to_polars().height == len(effect.rows)
