from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import UsageError
from attribution.measures.comparison import compare
from attribution.measures.credit import attribute
from attribution.measures.removal import removal_effects
from attribution.measures.resampling import Bootstrap
from attribution.models import Linear, Markov, Shapley
from tests.measures.strategies import AS_OF, paths
from tests.notation import deals_of, path

ENDS = ["won", "won", "lost"]
TEXTS = [
    f"{['ann', 'bob', 'ann', 'cat'][at % 4]}@1 {['bob', 'cat', 'dan'][at % 3]}@2 {ENDS[at % 3]}@9 {at}.00 USD"
    for at in range(24)
]
FEW = Bootstrap(n=40, seed=3)


class Fixed:
    """Draws that are given."""

    def __init__(self, *times):
        self.times = times

    def draws(self, deals):
        return iter([np.array(each) for each in self.times])

    def limits(self, drawn):
        return np.min(drawn, axis=0), np.max(drawn, axis=0)


def repeated(times):
    """The deals that a draw stands for, written out."""
    return path(*(text for text, n in zip(TEXTS, times, strict=True) for _ in range(n)))


def in_order(times):
    """Ids are sorted as text: the entry of each deal in the order of the snapshot."""
    order = sorted(range(len(TEXTS)), key=lambda at: f"D{at + 1}")
    return [times[at] for at in order]


def amounts(table, column="amount"):
    return {row["partner"]: row[column] for row in table.rows}


@pytest.mark.parametrize(
    "model", [Linear(), Markov(), Markov(order=2), Shapley(game="rate"), Shapley()], ids=str
)
def test_a_draw_is_credited_as_the_deals_it_stands_for(model):
    times = np.random.default_rng(5).integers(0, 4, len(TEXTS)).tolist()
    credit = attribute(path(*TEXTS), model, intervals=Fixed(in_order(times))).by("partner")
    expected = amounts(attribute(repeated(times), model).by("partner"))
    for row in credit.rows:
        assert row["low_amount"] == row["high_amount"]
        # the units left over of each deal are not split again
        assert abs(row["low_amount"] - expected.get(row["partner"], 0)) <= Decimal("0.02") * len(TEXTS)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_effects_of_a_draw_are_those_of_the_deals_it_stands_for(order):
    times = np.random.default_rng(order).integers(0, 3, len(TEXTS)).tolist()
    table = removal_effects(path(*TEXTS), order=order, intervals=Fixed(in_order(times)))
    expected = {row["partner"]: row for row in removal_effects(repeated(times), order=order).rows}
    for row in table.rows:
        wanted = expected[row["partner"]]
        assert row["low_removal_effect"] == pytest.approx(wanted["removal_effect"], abs=1e-12)
        assert abs(row["high_amount"] - wanted["amount"]) <= Decimal("0.01")


def test_intervals_are_reproducible_and_hold_most_of_the_draws():
    deals = path(*TEXTS)
    one, same, other = (
        attribute(deals, Markov(), intervals=Bootstrap(n=40, seed=seed)).by("partner").to_dict()
        for seed in (3, 3, 4)
    )
    assert one == same != other
    for row in one["rows"]:
        assert Decimal(row["low_amount"]) <= Decimal(row["amount"]) <= Decimal(row["high_amount"])
    narrow = attribute(deals, Markov(), intervals=Bootstrap(n=40, seed=3, level=0.5)).by("partner")
    for wide, row in zip(one["rows"], narrow.rows, strict=True):
        assert Decimal(wide["low_amount"]) <= row["low_amount"] <= row["high_amount"]
    assert "low_amount" in attribute(deals, Linear(), intervals=FEW).by("program").to_csv()


def test_models_are_compared_over_the_same_draws():
    deals = path(*TEXTS)
    table = compare(deals, [Linear(), Markov()], intervals=FEW)
    alone = attribute(deals, Markov(), intervals=FEW).by("partner")
    assert amounts(table, "markov_low_amount") == amounts(alone, "low_amount")
    assert list(table.columns)[2:8] == [
        f"{name}_{each}" for name in ("linear", "markov") for each in ("amount", "low_amount", "high_amount")
    ]
    assert "markov_high_amount" in table.to_polars().columns


@pytest.mark.parametrize("wrong", [{"n": 3}, {"level": 1.0}, {"level": float("nan")}])
def test_parameters_that_cannot_be_are_refused(wrong):
    with pytest.raises(UsageError, match="bootstrap"):
        Bootstrap(**wrong)


def test_nothing_has_no_intervals():
    for deals in (path(), path("A@1"), path("won@9 1.00 USD"), path("A@1 lost@9")):
        assert attribute(deals, Markov(), intervals=FEW).by("partner").rows == []
        assert all(row["high_amount"] == 0 for row in removal_effects(deals, intervals=FEW).rows)


@settings(max_examples=25)
@given(paths(), st.sampled_from([Linear(), Markov(order=2), Shapley(game="rate")]), st.integers(0, 9))
def test_limits_are_in_order_whatever_the_deals(drawn, model, seed):
    deals = deals_of(drawn, AS_OF)
    for pool in ("partners", "all"):
        credit = attribute(deals, model, of="all", pool=pool, intervals=Bootstrap(n=20, seed=seed))
        for row in credit.by("partner", "program").rows:
            assert row["low_amount"] <= row["high_amount"]
