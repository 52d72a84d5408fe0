"""The Markov model: what would be lost if a partner, or a program, were not there.

Paths become a chain (:func:`fit`): its states are the last k partners, it begins at (start) and ends in
(won) or (lost). The removal effect of a partner is the part of conversions that pass through it
(:func:`removal_effects`), computed exactly, not by simulation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

__all__ = ["LEVELS", "Chain", "Markov", "Removal", "Walks", "count", "fit", "removal_effects", "walks"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

LEVELS = ("partner", "program")
"""Whose sequence the states are made of."""
_DENSE_STATES = 400
"""Up to this many states one inverse is fastest."""
_IN_PLACE = 1 << 24
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
        return self._scored(deals, fit(deals, self.order, self.level))

    def resampled(self, deals: Deals, draws: Iterable[Ints]) -> Iterator[Scores]:
        """Scores where each deal counts so many times, per draw."""
        found = walks(deals, self.order, self.level)
        for times in draws:
            yield self._scored(deals, count(found, times[found.deal]))

    def _scored(self, deals: Deals, chain: Chain) -> Scores:
        codes, n_codes = walked(deals, self.level)
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


@dataclass(frozen=True, slots=True, eq=False)
class Walks:
    """Walks of closed deals, before they are counted.

    A key stands for touchpoints that follow one another: their partners' numbers, from 1 on, are its digits,
    the newest the lowest; where a path is shorter, the digits of what is not there are 0.
    """

    order: int
    codes: Ints
    """Code of each partner (program), by its number less 1."""
    deal: Ints
    """Position of each walk's deal."""
    first: Ints
    """Key of the state that each walk begins in, and below of the one that it ends in."""
    last: Ints
    won: Bools
    amount: Ints
    steps: NDArray[np.integer]
    """Keys of all runs of order + 1 touchpoints: the state that a step leaves, and the next touchpoint."""
    n_steps: Ints
    """How many of them are of each walk."""

    @property
    def base(self) -> int:
        """Of the digits of keys."""
        return len(self.codes) + 1


def fit(deals: Deals, order: int, level: str) -> Chain:
    """Count the walks of the selected closed deals that have touchpoints.

    Raises
    ------
    UsageError
        If there are more states to be told apart than fit into 63 bits.
    """
    return count(walks(deals, order, level))


def walks(deals: Deals, order: int, level: str) -> Walks:
    """The walks of the selected closed deals that have touchpoints.

    Raises
    ------
    UsageError
        As :func:`fit` does.
    """
    columns, offsets = deals.snapshot.deals, deals.snapshot.touchpoints.offsets
    is_fitted = np.zeros(len(columns), dtype=bool)
    is_fitted[deals.selected] = True
    is_fitted &= columns.outcome != OUTCOMES.index("open")
    is_fitted &= np.diff(offsets) > 0
    deal = np.flatnonzero(is_fitted)
    counts = np.diff(offsets)[deal]
    walked_codes, n_codes = walked(deals, level)
    numbers = walked_codes if is_fitted.all() else walked_codes[is_fitted[deals.deal_of]]
    codes = np.arange(n_codes)
    if (n_codes + 1) ** (order + 1) > _IN_PLACE:
        codes = np.flatnonzero(np.bincount(numbers, minlength=n_codes))
        number = np.zeros(n_codes, dtype=np.int64)
        number[codes] = np.arange(len(codes))
        numbers = number[numbers]
    base = len(codes) + 1
    if base ** (order + 1) >= 1 << 63:
        raise UsageError(
            f"a chain of order {order} over {len(codes):,} {level}s has too many states",
            hint="use a lower order",
        )
    keys: NDArray[np.signedinteger[Any]] = numbers.astype(
        np.int32 if base ** (order + 1) < 1 << 31 else np.int64
    )
    keys += 1
    ends = np.cumsum(counts)
    starts = ends - counts
    length = np.minimum(counts, order)
    first, last = (_state(keys, at, length, base) for at in (starts + length - 1, ends - 1))
    is_step = np.ones(len(keys), dtype=bool)
    for place in range(order):
        is_step[starts[counts > place] + place] = False
    runs = keys.copy()
    for back in range(1, order + 1):
        runs[back:] += keys[:-back] * keys.dtype.type(base**back)
    return Walks(
        order=order,
        codes=codes,
        deal=deal,
        first=first,
        last=last,
        won=columns.outcome[deal] == OUTCOMES.index("won"),
        amount=columns.amount[deal],
        steps=runs[is_step],
        n_steps=counts - length,
    )


def count(walks: Walks, times: Ints | None = None) -> Chain:
    """Count walks, each once or so many times."""
    won, base, n_keys = walks.won, walks.base, walks.base**walks.order
    weights = None if times is None else times.astype(np.float64)
    steps = None if weights is None else np.repeat(weights, walks.n_steps)
    runs, n_runs = _counted(walks.steps, n_keys * base, steps)
    sources, targets = runs // base, runs % n_keys
    begun = _counted(walks.first, n_keys, weights)
    ended = [
        _counted(walks.last[mask], n_keys, None if weights is None else weights[mask]) for mask in (won, ~won)
    ]
    kept = np.unique(np.concatenate([begun[0], ended[0][0], ended[1][0], sources, targets]))

    def per_state(keys: Ints, counts: Ints) -> Ints:
        return np.bincount(np.searchsorted(kept, keys), counts, minlength=len(kept)).astype(np.int64)

    started = per_state(*begun)
    value = walks.amount[won] if times is None else walks.amount[won] * times[won]
    ends = walks.last[won]
    if times is not None:
        ends, value = ends[times[won] > 0], value[times[won] > 0]
    grams = np.stack([kept // base**back % base for back in range(walks.order)], axis=1)
    occurring = np.unique(grams[grams > 0])
    number = np.full(base, -1)
    number[occurring] = np.arange(len(occurring))
    return Chain(
        codes=walks.codes[occurring - 1],
        grams=number[grams],
        started=started,
        visits=started + per_state(targets, n_runs),
        won=per_state(*ended[0]),
        lost=per_state(*ended[1]),
        value=money.sum_by(np.searchsorted(kept, ends), value, len(kept)).astype(np.float64),
        source=np.searchsorted(kept, sources),
        target=np.searchsorted(kept, targets),
        count=n_runs,
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


def _state(keys: NDArray[np.integer], at: Ints, length: Ints, base: int) -> Ints:
    """Keys of so many touchpoints that end at these places."""
    state = keys[at].astype(np.int64)
    for back in range(1, int(length.max(initial=0))):
        longer = length > back
        state[longer] += keys[at[longer] - back] * np.int64(base**back)
    return state


def _counted(keys: NDArray[np.integer], n_keys: int, weights: Floats | None) -> tuple[Ints, Ints]:
    """The keys that occur, ascending, and how often they do."""
    if n_keys <= _IN_PLACE:
        counts = np.bincount(keys, weights, minlength=n_keys)
        found = np.flatnonzero(counts)
        return found, counts[found].astype(np.int64)
    if weights is None:
        keys = np.sort(keys)
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        return keys[starts].astype(np.int64), np.diff(starts, append=len(keys))
    found, numbers = np.unique(keys, return_inverse=True)
    counts = np.bincount(numbers, weights, minlength=len(found))
    return found[counts > 0].astype(np.int64), counts[counts > 0].astype(np.int64)


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
