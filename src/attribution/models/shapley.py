"""Shapley values: what partners add to the coalitions in which they appear."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attribution.columns import OUTCOMES
from attribution.deals import Deals
from attribution.errors import UsageError
from attribution.models.base import Scores
from attribution.models.multi_touch import repeats

__all__ = ["EXACT_PLAYERS", "GAMES", "Shapley", "Values", "shapley_values"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

GAMES = ("set", "rate")
EXACT_PLAYERS = 20
"""Up to this many partners every coalition of the rate game is looked at."""
_WORD = 63
"""Partners that an integer holds as bits."""
_ZERO = 1e-12
"""Values below this are rounding."""


@dataclass(frozen=True, slots=True)
class Shapley:
    """Credit by Shapley value: what a partner adds, averaged over all orders in which partners could join.

    The value of a coalition S is, in the game ``"set"``, the won deals whose partners all belong to S; then
    the Shapley value of a deal is an equal split over its distinct partners, exactly, and the model equals
    ``Linear(by="partner")``. In the game ``"rate"`` it is the win rate, won / closed, of the deals whose
    partners all belong to S (0 without such a deal); a value below 0, of a partner with whom rates fall, is
    shown by :func:`attribution.shapley_values` and scores 0. The score is the value of the touchpoint's
    partner, divided by its touchpoints on the deal.

    Rates are exact up to 20 partners, by the zeta transform over all 2^n coalitions; beyond, the mean of
    ``samples`` random orders, each with its reverse, whose standard error ``shapley_values`` states.

    Source: L. S. Shapley, "A value for n-person games" (1953).

    Misleads, by rate, where partners are many and deals few: most coalitions then hold a handful of deals,
    and one win by chance is a rate of 1. By set, wherever ``Linear(by="partner")`` does.

    Parameters
    ----------
    game
        ``"set"`` (default) or ``"rate"``.
    samples
        Random orders of the rate game beyond 20 partners; an even number of at least 4.
    seed
        Of the random orders: equal seeds, equal scores.

    Raises
    ------
    UsageError
        For another game, or too few samples.
    """

    game: Literal["set", "rate"] = "set"
    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.game not in GAMES:
            raise UsageError(f"there is no Shapley game {self.game!r}", hint="use set or rate")
        if self.samples < 4 or self.samples % 2:
            raise UsageError(
                f"{self.samples} samples of a Shapley value", hint="use an even number of at least 4"
            )

    def scores(self, deals: Deals) -> Scores:
        """Value of each touchpoint's partner per touchpoint of it on the deal; 0 where the value is below."""
        each = 1 / repeats(deals)
        if self.game == "set":
            return each
        return _scored(shapley_values(deals, self), deals, each)

    def resampled(self, deals: Deals, draws: Iterable[Ints]) -> Iterator[Scores]:
        """Scores where each deal counts so many times, per draw; the set game learns nothing from others."""
        each = 1 / repeats(deals)
        sets = coalitions(deals) if self.game == "rate" else None
        for times in draws:
            yield each if sets is None else _scored(rate_values(sets, self, times[sets.deal]), deals, each)


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Shapley values of the partners of closed deals."""

    codes: Ints
    """Code of each partner."""
    values: Floats
    """They add up to the value of all partners together."""
    errors: Floats
    """Standard errors; 0 where exact."""
    n_won: int


@dataclass(frozen=True, slots=True, eq=False)
class Coalitions:
    """The sets of partners of closed deals, each set once."""

    codes: Ints
    """Code of each partner, by its number."""
    deal: Ints
    """Positions of the deals."""
    won: Bools
    coalition: Ints
    """Which set each deal has."""
    player: Ints
    """Numbers of the partners of each set in turn; one may stand there several times."""
    starts: Ints
    """Where in ``player`` each set begins."""


def shapley_values(deals: Deals, model: Shapley) -> Values:
    """Shapley values over the selected closed deals that have touchpoints."""
    sets = coalitions(deals)
    if model.game == "rate":
        return rate_values(sets, model)
    shares = 1 / repeats(deals)
    is_won = np.zeros(len(deals.snapshot.deals), dtype=bool)
    is_won[sets.deal[sets.won]] = True
    rows = is_won[deals.deal_of]
    n_partners = np.bincount(deals.deal_of[rows], shares[rows], minlength=len(is_won))
    each = shares[rows] / n_partners[deals.deal_of[rows]]
    partner = deals.snapshot.touchpoints.partner[rows]
    earned = np.bincount(partner, each, minlength=len(deals.partners)).astype(np.float64)
    return Values(sets.codes, earned[sets.codes], np.zeros(len(sets.codes)), int(sets.won.sum()))


def coalitions(deals: Deals) -> Coalitions:
    """The sets of partners of the selected closed deals that have touchpoints."""
    columns, touchpoints = deals.snapshot.deals, deals.snapshot.touchpoints
    is_played = np.zeros(len(columns), dtype=bool)
    is_played[deals.selected] = True
    is_played &= columns.outcome != OUTCOMES.index("open")
    is_played &= np.diff(touchpoints.offsets) > 0
    deal = np.flatnonzero(is_played)
    counts = np.diff(touchpoints.offsets)[deal]
    partner = touchpoints.partner[is_played[deals.deal_of]]
    codes = np.flatnonzero(np.bincount(partner, minlength=len(deals.partners)))
    number = np.zeros(len(deals.partners), dtype=np.int64)
    number[codes] = np.arange(len(codes))
    player, starts = number[partner], np.cumsum(counts) - counts
    coalition, first = np.zeros(len(deal), dtype=np.int64), np.arange(min(1, len(deal)))
    # partners as bits, 63 at a time: deals with the same bits so far have the same number
    for lowest in range(0, len(codes) if len(deal) else 0, _WORD):
        inside = (player >= lowest) & (player < lowest + _WORD)
        bit = np.where(inside, np.left_shift(1, (player - lowest) % _WORD), 0)
        bits = np.bitwise_or.reduceat(bit, starts)
        words, word = np.unique(bits, return_inverse=True)
        _, first, coalition = np.unique(coalition * len(words) + word, return_index=True, return_inverse=True)
    # in the order of the first deal that has each
    order = np.argsort(first)
    rank = np.empty(len(first), dtype=np.int64)
    rank[order] = np.arange(len(first))
    stands = np.zeros(len(deal), dtype=bool)
    stands[first] = True
    sizes = counts[stands]
    return Coalitions(
        codes,
        deal,
        columns.outcome[deal] == OUTCOMES.index("won"),
        rank[coalition],
        player[np.repeat(stands, counts)],
        np.cumsum(sizes) - sizes,
    )


def rate_values(sets: Coalitions, model: Shapley, times: Ints | None = None) -> Values:
    """Values of the rate game, where each deal counts once or so many times."""
    n, n_sets = len(sets.codes), len(sets.starts)
    times = np.ones(len(sets.deal), dtype=np.int64) if times is None else times
    n_won: Floats = np.bincount(sets.coalition, times * sets.won, n_sets).astype(np.float64)
    n_closed: Floats = np.bincount(sets.coalition, times, n_sets).astype(np.float64)
    exact = np.zeros(n)
    if not n_sets:
        return Values(sets.codes, exact, exact, 0)
    if n <= EXACT_PLAYERS:
        masks = np.bitwise_or.reduceat(np.left_shift(1, sets.player), sets.starts)
        won, closed = (np.bincount(masks, each, 1 << n).astype(np.float64) for each in (n_won, n_closed))
        values = _exactly(won, closed, n)
        # what a partner adds nothing to is rounding, and a score of 1e-18 can be all of a deal
        values[np.abs(values) < _ZERO] = 0
        return Values(sets.codes, values, exact, int(n_won.sum()))
    values, errors = _sampled(sets.player, sets.starts, n_won, n_closed, n, model)
    return Values(sets.codes, values, errors, int(n_won.sum()))


def _scored(values: Values, deals: Deals, each: Floats) -> Scores:
    by_partner = np.zeros(len(deals.partners))
    by_partner[values.codes] = np.maximum(values.values, 0)
    scores: Scores = by_partner[deals.snapshot.touchpoints.partner] * each
    return scores


def _exactly(n_won: Floats, n_closed: Floats, n: int) -> Floats:
    """Values of the rate game, from the deals that have each set of partners, numbered by its bits."""
    for counts in (n_won, n_closed):
        for bit in range(n):
            halves = counts.reshape(-1, 2, 1 << bit)
            halves[:, 1] += halves[:, 0]
    rates = n_won / np.maximum(n_closed, 1)
    size = np.bitwise_count(np.arange(1 << n, dtype=np.uint32))
    weights = np.array([1 / (n * comb(n - 1, k)) for k in range(n)])
    values = np.empty(n)
    for bit in range(n):
        without, joined = np.moveaxis(rates.reshape(-1, 2, 1 << bit), 1, 0)
        sizes = size.reshape(-1, 2, 1 << bit)[:, 0]
        values[bit] = (weights[sizes] * (joined - without)).sum()
    return values


def _sampled(
    player: Ints, starts: Ints, won: Floats, closed: Floats, n: int, model: Shapley
) -> tuple[Floats, Floats]:
    """Mean and standard error over random orders, in pairs of an order and its reverse.

    A set joins the coalition with the last of its partners, so that one order costs one pass over the sets.
    """
    generator = np.random.default_rng(model.seed)
    total, squares = np.zeros(n), np.zeros(n)
    n_pairs = model.samples // 2
    for _ in range(n_pairs):
        order = generator.permutation(n)
        pair = np.zeros(n)
        for each in (order, order[::-1]):
            rank = np.empty(n, dtype=np.int64)
            rank[each] = np.arange(n)
            joins = np.maximum.reduceat(rank[player], starts)
            n_won = np.cumsum(np.bincount(joins, won, minlength=n))
            n_closed = np.cumsum(np.bincount(joins, closed, minlength=n))
            pair[each] += np.diff(n_won / np.maximum(n_closed, 1), prepend=0) / 2
        total += pair
        squares += pair**2
    mean = total / n_pairs
    variance = np.maximum(squares / n_pairs - mean**2, 0) * n_pairs / (n_pairs - 1)
    return mean, np.sqrt(variance / n_pairs)
