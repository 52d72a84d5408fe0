from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution import money
from attribution.errors import DataError

SCORES = st.one_of(st.integers(0, 4).map(float), st.floats(0, 1e6), st.just(0.0))


@st.composite
def split(draw, largest: int):
    """Amounts, shares and offsets of some deals."""
    amounts, shares, offsets = [], [], [0]
    for _ in range(draw(st.integers(0, 5))):
        scores = draw(st.lists(SCORES, max_size=30))
        total = float(np.sum(scores))
        shares += [score / total if total else 0.0 for score in scores]
        amounts.append(draw(st.integers(-largest, largest)))
        offsets.append(len(shares))
    return np.array(amounts, dtype=np.int64), np.array(shares), np.array(offsets)


def slowly(amount: int, shares: list[float]) -> list[int]:
    """RULES 1.11 in fractions, for one deal."""
    if not any(shares):
        return [0] * len(shares)
    exact = [abs(amount) * Fraction(share) for share in shares]
    parts = [int(part) for part in exact]
    remainders = [round((product - part) * 2**30) for product, part in zip(exact, parts, strict=True)]
    # what float64 shares of such an amount cannot tell apart is equal
    least = min(1 + abs(amount) // 2**21, 2**20)
    order = sorted((at for at in range(len(parts)) if shares[at]), key=lambda at: -remainders[at])
    levels = [0]
    for before, at in pairwise(order):
        levels.append(levels[-1] + (remainders[before] - remainders[at] > least))
    order = [at for _, at in sorted(zip(levels, order, strict=True))]
    for at in order[: abs(amount) - sum(parts)]:
        parts[at] += 1
    return [part if amount > 0 else -part for part in parts]


def allocate(amount: int, *shares: float) -> list[int]:
    return money.allocate(np.array([amount]), np.array(shares), np.array([0, len(shares)])).tolist()


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (123456, "USD", "1234.56"),
        (-1, "JPY", "-1"),
        (1, "KWD", "0.001"),
        (0, "XXX", "0.00"),
        (7, "CLF", "0.0007"),
    ],
)
def test_amounts_have_the_digits_of_their_currency(minor, currency, text):
    assert f"{money.major(minor, currency):f}" == str(money.major(minor, currency)) == text


def test_an_amount_does_not_depend_on_the_decimal_context():
    with localcontext(prec=3):
        assert money.major(2**62 + 1, "USD") == Decimal("46116860184273879.05")


def test_rule_1_11_leftover_units_go_to_the_largest_remainders():
    assert allocate(10, 0.25, 0.5, 0.25) == [3, 5, 2]
    assert allocate(100, 0.335, 0.329, 0.336) == [33, 33, 34]


def test_rule_1_11_three_equal_shares_of_100_01():
    assert allocate(10_001, 1 / 3, 1 / 3, 1 / 3) == [3334, 3334, 3333]


def test_rule_1_11_remainders_closer_than_the_grid_are_equal():
    nearly = 2.0**-40
    assert allocate(1, 0.5 - nearly, 0.5 + nearly) == [1, 0]
    nearly = 0.45 * 2.0**-30
    assert allocate(1, 0.5 - nearly, 0.5 + nearly) == [1, 0]
    assert allocate(1, 0.5 - 2.0**-30, 0.5 + 2.0**-30) == [0, 1]


@pytest.mark.parametrize(
    ("amount", "scores"),
    [
        (4_194_309, (6, 1, 1, 1, 6)),
        (50_645_907, (1, 1, 1, 3)),
        (42_055_105, (3, 1, 6)),
        (10**12 + 5, (1, 2, 3)),
        (10**12 - 5, (9, 9, 9, 9, 4)),
    ],
)
def test_rule_1_11_ties_are_those_of_exact_fractions_on_large_deals_too(amount, scores):
    exact = [amount * Fraction(score, sum(scores)) for score in scores]
    parts = [int(product) for product in exact]
    order = sorted(range(len(parts)), key=lambda at: (parts[at] - exact[at], at))
    for at in order[: amount - sum(parts)]:
        parts[at] += 1
    assert allocate(amount, *(score / sum(scores) for score in scores)) == parts


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(-(10**12), 10**12))
def test_rule_1_11_whole_scores_are_shared_as_exact_fractions_are(scores, amount):
    total = sum(scores) or 1
    exact = [abs(amount) * Fraction(score, total) for score in scores]
    parts = [int(product) for product in exact]
    order = sorted((at for at in range(len(parts)) if scores[at]), key=lambda at: (parts[at] - exact[at], at))
    for at in order[: abs(amount) - sum(parts)]:
        parts[at] += 1
    expected = [part if amount > 0 else -part for part in parts]
    assert allocate(amount, *(score / total for score in scores)) == expected


def test_rule_1_11_the_sign_is_restored():
    assert allocate(-10, 0.25, 0.5, 0.25) == [-3, -5, -2]


def test_rule_1_11_a_share_of_0_never_receives_a_unit():
    assert allocate(7, 0.0, 0.5, 0.0, 0.5) == [0, 4, 0, 3]
    assert allocate(2**62 + 1, 0.0, 1 / 3, 1 / 3, 1 / 3)[0] == 0
    assert allocate(5, 0.0, 0.0) == [0, 0]
    # a unit is left over, and no remainder is greater than that of the share of 0
    assert allocate(2**52, 0.0, 0.5, 0.5 - 2.0**-52) == [0, 2**51 + 1, 2**51 - 1]


def test_rule_1_11_thirty_identical_shares():
    assert allocate(100, *[1 / 30] * 30) == [4] * 10 + [3] * 20


@given(split(largest=10**13))
def test_allocating_equals_exact_fractions(case):
    amounts, shares, offsets = case
    parts = money.allocate(amounts, shares, offsets).tolist()
    for deal, amount in enumerate(amounts.tolist()):
        mine = slice(offsets[deal], offsets[deal + 1])
        assert parts[mine] == slowly(amount, shares[mine].tolist())


@given(split(largest=2**63 - 1))
def test_parts_add_up_to_the_deal_whatever_its_size(case):
    amounts, shares, offsets = case
    parts = money.allocate(amounts, shares, offsets).tolist()
    for deal, amount in enumerate(amounts.tolist()):
        mine = slice(offsets[deal], offsets[deal + 1])
        assert sum(parts[mine]) == (amount if shares[mine].any() else 0)
        assert not any(part for part, share in zip(parts[mine], shares[mine], strict=True) if share == 0)
        whole = sum(map(Fraction, shares[mine].tolist()))
        for part, share in zip(parts[mine], shares[mine].tolist(), strict=True):
            assert not share or abs(part - amount * Fraction(share) / whole) <= 1 + abs(amount) * 2**-40


def test_blocks_of_deals_change_nothing():
    random = np.random.default_rng(20_261_121)
    counts = random.integers(0, 12, 4_000)
    counts[[0, 17, 3_999]] = 0
    counts[[5, 100]] = 3 * money._BLOCK, money._BLOCK  # longer than a block
    offsets = np.concatenate([[0], np.cumsum(counts)])
    scores = random.random(offsets[-1])
    sums = np.array([scores[a:b].sum() for a, b in pairwise(offsets)])
    shares = scores / np.repeat(sums, counts)
    amounts = random.integers(-(10**9), 10**9, len(counts))
    parts = money.allocate(amounts, shares, offsets)
    for deal in (5, 6, 17, 100, 101, 3_998):
        mine = slice(offsets[deal], offsets[deal + 1])
        assert parts[mine].tolist() == slowly(int(amounts[deal]), shares[mine].tolist())
    owner = np.repeat(np.arange(len(counts)), counts)
    assert (money.sum_by(owner, parts, len(counts)) == np.where(counts > 0, amounts, 0)).all()


def test_nothing_to_allocate():
    assert money.allocate(np.array([5, 6]), np.array([]), np.array([0, 0, 0])).tolist() == []
    assert money.allocate(np.array([], dtype=np.int64), np.array([]), np.array([0])).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-(2**58), 2**58)), max_size=30))
def test_sums_are_exact_beyond_float64(pairs):
    codes = np.array([code for code, _ in pairs], dtype=np.int64)
    values = np.array([value for _, value in pairs], dtype=np.int64)
    expected = [sum(value for code, value in pairs if code == wanted) for wanted in range(4)]
    assert money.sum_by(codes, values, 4).tolist() == expected
    assert money.total(values) == sum(expected)


def test_sums_that_do_not_fit_are_refused():
    huge = np.array([2**62, 2**62])
    assert money.total(huge) == 2**63
    with pytest.raises(DataError, match=r"2\^63 minor units"):
        money.sum_by(np.array([0, 0]), huge, 1)
