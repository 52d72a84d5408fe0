"""What a chain loses without each of its partners: removal effects, exactly.

The same question is answered in three ways, by the size of the chain and by how full it is: from one inverse
(:func:`_by_inverse`), for all partners at once on blocks of a full matrix (:func:`_by_blocks`), or one sparse
system after the other (:func:`_by_iteration`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attribution.models.chains import Chain

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Removal", "removal_effects"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_DENSE_STATES = 400
"""Up to this many states one inverse is fastest; of order 1, up to ten times as many."""
_GRID = 1 << 24
"""Most probabilities of a full matrix: 128 MB."""
_FULL = 1 / 16
"""Part of these that must occur."""
_AT_ONCE = 3 << 20
"""Expected visits that are kept at a time, of all states and some partners: 24 MB."""
_TURNS = 60
"""Corrections at most, and how small they must be beside the previous ones to go on."""
_SHRINKING = 0.8
_RESIDUAL = 1e-12
"""Probability that may be missing from the visits of a chain."""
_ZERO = 1e-11
"""Removal effects below this are rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """What the chain loses without each partner, by its number in the chain."""

    conversions: Floats
    """Fraction of the won walks, in [0, 1]."""
    value: Floats
    """Fraction of their amount."""
    p_conversion: float
    """Probability that a walk is won: won deals / closed deals, as what flows in flows out."""


def removal_effects(chain: Chain) -> Removal:
    """Removal effect of each partner of a chain, on conversions and on their amount.

    With Q the probabilities between states, s of starting and r of being won, P(won) = s'(I - Q)^-1 r, which
    equals won / all walks, as they are counted. Without a partner it is 0 for walks that begin in one of its
    states, and s'(I - Q_keep)^-1 r for all others. An amount is won likewise, r being the mean amount won by
    a visit. Less than 1e-12 of the walks is unaccounted for.
    """
    n_partners = len(chain.codes)
    if not chain.won.any():
        return Removal(np.zeros(n_partners), np.zeros(n_partners), 0.0)
    earned = np.stack([chain.won / chain.visits, chain.value / chain.visits], axis=1)
    whole = np.array([chain.won.sum(), chain.value.sum()]) / chain.n_walks
    without = _solver(chain)(chain, earned)
    # the amounts of wins and credit notes may cancel out: then there is nothing to take a fraction of
    if abs(whole[1]) <= _ZERO * np.abs(chain.value).sum():
        whole[1] = without[:, 1] = 1
    effects = 1 - without / whole
    effects[np.abs(effects) < _ZERO] = 0
    return Removal(np.clip(effects[:, 0], 0, 1), effects[:, 1], float(chain.won.sum() / chain.n_walks))


def _solver(chain: Chain) -> Callable[[Chain, Floats], Floats]:
    """Which way is fastest for a chain."""
    order, n_runs = chain.grams.shape[1], (len(chain.codes) + 1) ** (chain.grams.shape[1] + 1)
    if len(chain) <= (_DENSE_STATES if order > 1 else 10 * _DENSE_STATES):
        return _by_inverse
    return _by_blocks if _FULL * n_runs <= min(len(chain.source), _FULL * _GRID) else _by_iteration


def _by_inverse(chain: Chain, earned: Floats) -> Floats:
    """What walks earn without each partner; per column of ``earned``.

    A walk enters the states of a partner at one that ends in it, unless it begins in them. With N the inverse
    and E the states that end in it, the walks that avoid E earn
    s'N r - (s'N)_E (N_EE)^-1 (N r)_E, s without those that begin in the partner's states.
    """
    links = np.eye(len(chain))
    links[chain.source, chain.target] -= chain.count / chain.visits[chain.source]
    inverse = np.linalg.inv(links)
    starts, gains = chain.started / chain.n_walks, inverse @ earned
    without = np.empty((len(chain.codes), earned.shape[1]))
    for partner in range(len(chain.codes)):
        entered = np.flatnonzero(chain.grams[:, 0] == partner)
        elsewhere = np.where((chain.grams == partner).any(axis=1), 0, starts)
        into = inverse[:, entered]
        lost = np.linalg.solve(into[entered], gains[entered])
        without[partner] = elsewhere @ gains - (elsewhere @ into) @ lost
    return without


def _by_blocks(chain: Chain, earned: Floats) -> Floats:
    """The same for many partners at once, where most runs of order + 1 partners occur."""
    blocks = _Blocks.of(chain, earned)
    n_partners = len(chain.codes)
    at_once = max(1, _AT_ONCE // len(blocks.visits))
    found = [blocks.without(range(at, n_partners)[:at_once]) for at in range(0, n_partners, at_once)]
    without = np.concatenate([earnings for earnings, _ in found])
    unsolved = np.flatnonzero(np.concatenate([missing for _, missing in found]) > _RESIDUAL)
    if len(unsolved):
        without[unsolved] = _by_iteration(chain, earned, unsolved.tolist())
    return without


@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """A chain as full matrices: one for each run of partners that all but the oldest of a state make.

    States of one such run lead to the same states, so that a step of all walks is one product per block. An
    array over all possible states is in the order of their keys, whose lowest digit is the newest partner;
    numbers of partners begin at 1, 0 being nobody.
    """

    order: int
    visits: Floats
    """Expected visits of a walk to each state, if nobody is removed."""
    earned: Floats
    steps: Floats
    """Probability of a step, by what its states share, the partner that it adds and the one that it drops."""
    within: Floats
    """Per state, its part of the visits to all states that end in the same partner."""
    ahead: Floats
    """Expected visits by last partner, of the chain of order 1: the inverse of what it leaves open."""

    @classmethod
    def of(cls, chain: Chain, earned: Floats) -> _Blocks:
        """Fill the matrices."""
        numbers = chain.grams + 1
        order, base = numbers.shape[1], len(chain.codes) + 1
        n_shared = base ** (order - 1)
        key, newest = numbers @ base ** np.arange(order), numbers[:, 0]
        leaving = key[chain.source]
        steps = np.zeros((n_shared, base, base))
        chance = chain.count / chain.visits[chain.source]
        steps[leaving % n_shared, newest[chain.target], leaving // n_shared] = chance
        # a walk that is shorter than the order goes nowhere
        visits = np.where((numbers > 0).all(axis=1), chain.visits, 0)
        of_newest = np.maximum(np.bincount(newest, visits, minlength=base), 1)
        pairs = np.bincount(
            newest[chain.source] * base + newest[chain.target], chain.count, minlength=base**2
        )

        left = np.eye(base) - pairs.reshape(base, base) / of_newest[:, None]

        def by_key(values: Floats) -> Floats:
            all_states = np.zeros((base**order, *values.shape[1:]))
            all_states[key] = values
            return all_states

        return cls(
            order,
            by_key(chain.visits / chain.n_walks),
            by_key(earned),
            steps,
            by_key(visits / of_newest[newest]),
            np.linalg.inv(left).astype(np.float64, copy=False),
        )

    def without(self, partners: range) -> tuple[Floats, Floats]:
        """What walks earn without each of these, and a bound of the visits that are not yet right.

        Visits are corrected until next to nothing is left to correct. What is left takes a step, and the
        chain of order 1 guesses what follows: the guess goes to states as they are visited usually.
        """
        base, n_states, n = len(self.ahead), len(self.visits), len(partners)
        column, number = np.arange(n), np.array(partners) + 1
        numbers = np.arange(n_states)[:, None] // base ** np.arange(self.order) % base
        removed = np.flatnonzero((numbers[:, :, None] == number).any(axis=1))

        def by_newest(values: Floats) -> Floats:
            return values.reshape(-1, base, n)

        def repeated(values: Floats) -> Floats:
            columns = np.repeat(values[:, None], n, axis=1)
            columns.reshape(-1)[removed] = 0
            return columns

        kept = by_newest(repeated(self.within)).sum(axis=0)
        kept[kept <= 0] = 1
        change = repeated(self.visits)
        earnings = change.T @ self.earned
        guess, missing = np.zeros((base, n)), np.full(n, np.inf)
        # the other states lack, first of all, what came from states whose oldest is the partner
        left = np.empty((len(self.steps), base, n))
        np.multiply(self.steps[:, :, number], -self.visits.reshape(base, -1)[number].T[:, None], out=left)
        for _ in range(_TURNS):
            left.reshape(-1)[removed] = 0
            unguessed = left.sum(axis=0) - guess
            # the chain of order 1 without a partner is a change of rank 1 to its inverse
            follows = self.ahead.T @ unguessed
            follows -= self.ahead[number].T * (follows[number, column] / self.ahead[number, number])
            follows -= unguessed
            added = (follows - guess) / kept
            # piece by piece, which stays in the processor's cache
            for piece, weight in zip(left, self.within.reshape(-1, base, 1), strict=True):
                piece += weight * added
            left.reshape(-1)[removed] = 0
            change, left, guess = left.reshape(n_states, n), by_newest(change), follows
            earnings += change.T @ self.earned
            before = missing.max()
            missing = np.abs(change, out=left.reshape(n_states, n)).sum(axis=0) + np.abs(guess).sum(axis=0)
            if missing.max() <= _RESIDUAL or missing.max() > _SHRINKING * before:
                break
            np.matmul(self.steps, change.reshape(base, -1, n).transpose(1, 0, 2), out=left)
        return earnings, missing


def _by_iteration(chain: Chain, earned: Floats, partners: Iterable[int] | None = None) -> Floats:
    """The same for many states: expected visits of the walks that avoid a partner, as a sparse system.

    Of all partners, or of these.
    """
    from scipy import sparse

    weight = chain.count / chain.visits[chain.source]
    # from target to source: visits = starts + links visits
    links = sparse.csr_array((weight, (chain.target, chain.source)), shape=(len(chain), len(chain)))
    starts, visits = chain.started / chain.n_walks, chain.visits / chain.n_walks
    without = []
    for partner in range(len(chain.codes)) if partners is None else partners:
        keep = ~(chain.grams == partner).any(axis=1)
        without.append(_visits(links, keep, starts * keep, visits * keep) @ earned)
    return np.array(without)


def _visits(links: csr_array[Any], keep: Bools, starts: Floats, guess: Floats) -> Floats:
    """Solve x = starts + links x over the states to keep, from a guess; 0 elsewhere.

    What is missing from x earns at most the sum of the residuals, as a walk is won at most once. The last
    word has the plain iteration, which always gets there; BiCGSTAB (H. A. van der Vorst, 1992) saves it most
    of the way.
    """
    from scipy.sparse.linalg import LinearOperator, bicgstab

    n = len(starts)
    operator = LinearOperator((n, n), matvec=lambda x: x - keep * (links @ x), dtype=np.float64)
    solution, _ = bicgstab(operator, starts, x0=guess, rtol=0, atol=_RESIDUAL / np.sqrt(n), maxiter=60)
    visits: Floats = solution
    missing = np.inf
    while True:
        following = starts + keep * (links @ visits)
        previous, missing = missing, float(np.abs(following - visits).sum())
        visits = following
        # below the resolution of float64 it no longer shrinks
        if missing <= _RESIDUAL or (missing >= previous and missing < _ZERO):
            return visits
