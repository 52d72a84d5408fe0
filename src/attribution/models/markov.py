"""The Markov model: what would be lost if a partner, or a program, were not there.

Paths become a chain (:func:`fit`): its states are the last k partners, it begins at (start) and ends in
(won) or (lost). The removal effect of a partner is the part of conversions that pass through it
(:func:`removal_effects`), computed exactly, not by simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from attribution import money
from attribution.columns import OUTCOMES
from attribution.deals import Deals
from attribution.errors import UsageError
from attribution.models.base import Scores

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["LEVELS", "Chain", "Markov", "Removal", "fit", "removal_effects"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

LEVELS = ("partner", "program")
"""Whose sequence the states are made of."""
_DENSE_STATES = 400
"""Up to this many states one inverse is fastest."""
_IN_PLACE = 1 << 22
"""Up to this many possible keys are counted in place; of more, only those that occur."""
_RESIDUAL = 1e-12
"""Probability that may be missing from the visits of a chain."""
_ZERO = 1e-11
"""Removal effects below this are rounding."""


@dataclass(frozen=True, slots=True)
class Markov:
    """Credit in proportion to the removal effect of a touchpoint's partner.

    The paths of closed deals are walks on a chain whose states are the last ``order`` partners (a shorter
    path is one state), from (start) to (won) or (lost). The removal effect of a partner is
    1 - P(won without it) / P(won), where each walk that reaches it is lost: the probability that a won walk
    passes through it. Score: that effect, once per touchpoint, so that each deal is split among its own
    partners; :func:`attribution.removal_effects` gives the global credit of the textbooks.
    Fitted on the selected closed deals that have players; lost deals teach the chain what loses.

    Source: Anderl, Becker, von Wangenheim, Schumann, "Mapping the customer journey", IJRM 33 (2016).

    Misleads when a partner is on many paths without changing any: the effect measures presence on won
    paths, not lift. A useless partner who attends every deal gets as much as the one who wins them.

    Parameters
    ----------
    order
        How many touchpoints the chain remembers, 1 to 4. The higher, the more deals it needs.
    level
        ``"partner"`` (default) or ``"program"``: whose sequence is walked.

    Raises
    ------
    UsageError
        For another order or level.
    """

    order: int = 1
    level: Literal["partner", "program"] = "partner"

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3, 4):
            raise UsageError(f"a Markov chain of order {self.order!r}", hint="the order is 1, 2, 3 or 4")
        if self.level not in LEVELS:
            raise UsageError(f"a Markov chain of level {self.level!r}", hint="use partner or program")

    def scores(self, deals: Deals) -> Scores:
        """Removal effect of each touchpoint's partner (program); 0 for one that no closed deal has."""
        codes, n_codes = walked(deals, self.level)
        chain = fit(deals, self.order, self.level)
        effects = np.zeros(n_codes)
        effects[chain.codes] = removal_effects(chain).conversions
        scores: Scores = effects[codes]
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Walks of closed deals, counted; a state is known by the touchpoints it remembers."""

    codes: Ints
    """Code of each partner (program) that occurs, by its number in ``grams``."""
    grams: Ints
    """Per state and step back: number of the partner, the newest first; -1 where the path is shorter."""
    started: Ints
    """Walks that begin in a state."""
    visits: Ints
    won: Ints
    """Walks that end in a state and are won."""
    lost: Ints
    value: Floats
    """Minor units of the walks that end in a state and are won."""
    source: Ints
    """State that a transition leaves; sorted by it, then by ``target``."""
    target: Ints
    count: Ints

    def __len__(self) -> int:
        return len(self.visits)

    @property
    def n_walks(self) -> int:
        """Deals that the chain was fitted on."""
        return int(self.started.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """What the chain loses without each partner, by its number in the chain."""

    conversions: Floats
    """Fraction of the won walks, in [0, 1]."""
    value: Floats
    """Fraction of their amount."""
    p_conversion: float
    """Probability that a walk is won: won deals / closed deals, as what flows in flows out."""


def walked(deals: Deals, level: str) -> tuple[NDArray[np.integer], int]:
    """Code of the partner, or of the program (0: none), per touchpoint; and how many codes there are."""
    touchpoints = deals.snapshot.touchpoints
    if level == "program":
        return touchpoints.program + 1, len(deals.programs) + 1
    return touchpoints.partner, len(deals.partners)


def fit(deals: Deals, order: int, level: str) -> Chain:
    """Count the walks of the selected closed deals that have touchpoints.

    Raises
    ------
    UsageError
        If there are more states to be told apart than fit into 63 bits.
    """
    snapshot = deals.snapshot
    is_fitted = np.zeros(len(snapshot.deals), dtype=bool)
    is_fitted[deals.selected] = True
    is_fitted &= snapshot.deals.outcome != OUTCOMES.index("open")
    is_fitted &= np.diff(snapshot.touchpoints.offsets) > 0
    counts = np.diff(snapshot.touchpoints.offsets)[is_fitted]
    walked_codes, n_codes = walked(deals, level)
    occurring = walked_codes if is_fitted.all() else walked_codes[is_fitted[deals.deal_of]]
    codes = np.flatnonzero(np.bincount(occurring, minlength=n_codes))
    number = np.zeros(n_codes, dtype=np.int64)
    # 0 is for "nothing", where a path is shorter than the memory of the chain
    number[codes] = np.arange(1, len(codes) + 1)
    base = len(codes) + 1
    if base**order >= 1 << 63:
        raise UsageError(
            f"a chain of order {order} over {len(codes):,} {level}s has too many states",
            hint="use a lower order",
        )

    keys, n_states = _keys(number[occurring], counts, order, base)
    state, kept = _compact(keys, base**order)
    ends = np.cumsum(n_states)
    first, last = state[ends - n_states], state[ends - 1]
    won = snapshot.deals.outcome[is_fitted] == OUTCOMES.index("won")
    inside = np.ones(len(state), dtype=bool)
    inside[ends - 1] = False
    at = np.flatnonzero(inside)
    source, target, count = _transitions(state[at], state[at + 1], len(kept))
    grams = np.stack([kept // base**back % base - 1 for back in range(order)], axis=1)

    def per_state(states: Ints) -> Ints:
        return np.bincount(states, minlength=len(kept))

    return Chain(
        codes=codes,
        grams=grams,
        started=per_state(first),
        visits=per_state(state),
        won=per_state(last[won]),
        lost=per_state(last[~won]),
        value=money.sum_by(last[won], snapshot.deals.amount[is_fitted][won], len(kept)).astype(np.float64),
        source=source,
        target=target,
        count=count,
    )


def removal_effects(chain: Chain) -> Removal:
    """Removal effect of each partner of a chain, on conversions and on their amount.

    With Q the probabilities between states, s of starting and r of being won, P(won) = s'(I - Q)^-1 r, which
    equals won / all walks, as they are counted. Without a partner it is 0 for walks that begin in one of its
    states, and s'(I - Q_keep)^-1 r for all others. An amount is won likewise, r being the mean amount won by
    a visit. Up to 400 states one inverse answers for all partners; beyond, each is a sparse system, solved
    until less than 1e-12 of the walks is unaccounted for.
    """
    n_partners = len(chain.codes)
    if not chain.won.any():
        return Removal(np.zeros(n_partners), np.zeros(n_partners), 0.0)
    starts = chain.started / chain.n_walks
    earned = np.stack([chain.won / chain.visits, chain.value / chain.visits], axis=1)
    whole = np.array([chain.won.sum(), chain.value.sum()]) / chain.n_walks
    solve = _by_inverse if len(chain) <= _DENSE_STATES else _by_iteration
    without = solve(chain, starts, earned)
    # the amounts of wins and credit notes may cancel out: then there is nothing to take a fraction of
    if abs(whole[1]) <= _ZERO * np.abs(chain.value).sum():
        whole[1] = without[:, 1] = 1
    effects = 1 - without / whole
    effects[np.abs(effects) < _ZERO] = 0
    return Removal(np.clip(effects[:, 0], 0, 1), effects[:, 1], float(chain.won.sum() / chain.n_walks))


def _keys(numbers: Ints, counts: Ints, order: int, base: int) -> tuple[Ints, Ints]:
    """States of all walks in a row, as numbers with the newest touchpoint in the lowest digit of ``base``.

    Also how many states each walk has: one per touchpoint from the ``order``-th on, or one in all.
    """
    if order == 1:
        return numbers, counts
    ends = np.cumsum(counts)
    place = np.arange(len(numbers)) - np.repeat(ends - counts, counts)
    keys = numbers.copy()
    for back in range(1, order):
        reaches = np.flatnonzero(place >= back)
        keys[reaches] += numbers[reaches - back] * base**back
    is_state = place >= order - 1
    is_state[ends - 1] = True
    return keys[is_state], np.maximum(counts - order + 1, 1)


def _compact(keys: Ints, n_keys: int) -> tuple[Ints, Ints]:
    """Each key as a number from 0 on, in their order, and the keys that occur."""
    if n_keys > _IN_PLACE:
        kept, numbers = np.unique(keys, return_inverse=True)
        return numbers, kept
    kept = np.flatnonzero(np.bincount(keys, minlength=n_keys))
    number = np.zeros(n_keys, dtype=np.int64)
    number[kept] = np.arange(len(kept))
    return number[keys], kept


def _transitions(source: Ints, target: Ints, n_states: int) -> tuple[Ints, Ints, Ints]:
    """Each pair of states that follow one another, and how often they do."""
    pairs = source * n_states + target
    if n_states**2 <= _IN_PLACE:
        counted = np.bincount(pairs, minlength=n_states**2)
        found = np.flatnonzero(counted)
        count = counted[found]
    else:
        pairs.sort()
        starts = np.flatnonzero(np.diff(pairs, prepend=-1))
        found, count = pairs[starts], np.diff(starts, append=len(pairs))
    return found // max(1, n_states), found % max(1, n_states), count


def _by_inverse(chain: Chain, starts: Floats, earned: Floats) -> Floats:
    """What walks earn without each partner; per column of ``earned``.

    A walk enters the states of a partner at one that ends in it, unless it begins in them. With N the inverse
    and E the states that end in it, the walks that avoid E earn
    s'N r - (s'N)_E (N_EE)^-1 (N r)_E, s without those that begin in the partner's states.
    """
    links = np.eye(len(chain))
    links[chain.source, chain.target] -= chain.count / chain.visits[chain.source]
    inverse = np.linalg.inv(links)
    gains = inverse @ earned
    without = np.empty((len(chain.codes), earned.shape[1]))
    for partner in range(len(chain.codes)):
        entered = np.flatnonzero(chain.grams[:, 0] == partner)
        elsewhere = np.where((chain.grams == partner).any(axis=1), 0, starts)
        into = inverse[:, entered]
        lost = np.linalg.solve(into[entered], gains[entered])
        without[partner] = elsewhere @ gains - (elsewhere @ into) @ lost
    return without


def _by_iteration(chain: Chain, starts: Floats, earned: Floats) -> Floats:
    """The same for many states: expected visits of the walks that avoid a partner, as a sparse system."""
    from scipy import sparse

    weight = chain.count / chain.visits[chain.source]
    # from target to source: visits = starts + links visits
    links = sparse.csr_array((weight, (chain.target, chain.source)), shape=(len(chain), len(chain)))
    visits = chain.visits / chain.n_walks
    without = np.empty((len(chain.codes), earned.shape[1]))
    for partner in range(len(chain.codes)):
        keep = ~(chain.grams == partner).any(axis=1)
        without[partner] = _visits(links, keep, starts * keep, visits * keep) @ earned
    return without


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
