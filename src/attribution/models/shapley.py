"""Shapley values: what partners add to the coalitions in which they appear."""

from __future__ import annotations

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
        values = shapley_values(deals, self)
        by_partner = np.zeros(len(deals.partners))
        by_partner[values.codes] = np.maximum(values.values, 0)
        scores: Scores = by_partner[deals.snapshot.touchpoints.partner] * each
        return scores


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


def shapley_values(deals: Deals, model: Shapley) -> Values:
    """Shapley values over the selected closed deals that have touchpoints."""
    snapshot = deals.snapshot
    is_played = np.zeros(len(snapshot.deals), dtype=bool)
    is_played[deals.selected] = True
    is_played &= snapshot.deals.outcome != OUTCOMES.index("open")
    counts = np.diff(snapshot.touchpoints.offsets)
    is_played &= counts > 0
    rows = is_played[deals.deal_of]
    partner, counts = snapshot.touchpoints.partner[rows], counts[is_played]
    won = snapshot.deals.outcome[is_played] == OUTCOMES.index("won")
    codes = np.flatnonzero(np.bincount(partner, minlength=len(deals.partners)))
    number = np.zeros(len(deals.partners), dtype=np.int64)
    number[codes] = np.arange(len(codes))
    player, starts, n = number[partner], np.cumsum(counts) - counts, len(codes)
    exact = np.zeros(n)
    if not len(counts):
        return Values(codes, exact, exact, 0)
    if model.game == "set":
        shares = (1 / repeats(deals))[rows]
        shares /= np.repeat(np.add.reduceat(shares, starts), counts)
        shares *= np.repeat(won, counts)
        values = np.bincount(player, shares, minlength=n).astype(np.float64)
        return Values(codes, values, exact, int(won.sum()))
    if n <= EXACT_PLAYERS:
        masks = np.bitwise_or.reduceat(np.left_shift(1, player), starts)
        values = _exactly(masks, won, n)
        # what a partner adds nothing to is rounding, and a score of 1e-18 can be all of a deal
        values[np.abs(values) < _ZERO] = 0
        return Values(codes, values, exact, int(won.sum()))
    values, errors = _sampled(player, starts, won, n, model)
    return Values(codes, values, errors, int(won.sum()))


def _exactly(masks: Ints, won: Bools, n: int) -> Floats:
    """Values of the rate game, from the partners of each deal as bits."""
    n_won = np.bincount(masks[won], minlength=1 << n)
    n_closed = np.bincount(masks, minlength=1 << n)
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


def _sampled(player: Ints, starts: Ints, won: Bools, n: int, model: Shapley) -> tuple[Floats, Floats]:
    """Mean and standard error over random orders, in pairs of an order and its reverse.

    A deal joins the coalition with the last of its partners, so that one order costs one pass.
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
            n_won = np.cumsum(np.bincount(joins[won], minlength=n))
            n_closed = np.cumsum(np.bincount(joins, minlength=n))
            pair[each] += np.diff(n_won / np.maximum(n_closed, 1), prepend=0) / 2
        total += pair
        squares += pair**2
    mean = total / n_pairs
    variance = np.maximum(squares / n_pairs - mean**2, 0) * n_pairs / (n_pairs - 1)
    return mean, np.sqrt(variance / n_pairs)
