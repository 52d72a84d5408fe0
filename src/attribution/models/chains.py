"""Walks of closed deals, and the Markov chains that they make once they are counted.

The states of a chain are the last k partners, or programs; it begins at (start) and ends in (won) or (lost).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution import money
from attribution.columns import OUTCOMES
from attribution.deals import Deals
from attribution.errors import UsageError

__all__ = ["LEVELS", "Chain", "Walks", "count", "fit", "walked", "walks"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

LEVELS = ("partner", "program")
"""Whose sequence the states are made of."""
_IN_PLACE = 1 << 24
"""Up to this many possible keys are counted in place; of more, only those that occur."""


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
    value = walks.amount[won] if times is None else walks.amount[won] * times[won]
    ends = walks.last[won]
    if times is not None:
        ends, value = ends[times[won] > 0], value[times[won] > 0]
    kept, (first, *last, ends, source, target) = _numbered(
        n_keys, begun[0], ended[0][0], ended[1][0], ends, sources, targets
    )

    def per_state(states: Ints, counts: Ints) -> Ints:
        return np.bincount(states, counts, minlength=len(kept)).astype(np.int64)

    started = per_state(first, begun[1])
    grams = np.stack([kept // base**back % base for back in range(walks.order)], axis=1)
    occurring = np.flatnonzero(np.bincount(grams.reshape(-1), minlength=base)[1:]) + 1
    number = np.full(base, -1)
    number[occurring] = np.arange(len(occurring))
    return Chain(
        codes=walks.codes[occurring - 1],
        grams=number[grams],
        started=started,
        visits=started + per_state(target, n_runs),
        won=per_state(last[0], ended[0][1]),
        lost=per_state(last[1], ended[1][1]),
        value=money.sum_by(ends, value, len(kept)).astype(np.float64),
        source=source,
        target=target,
        count=n_runs,
    )


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


def _numbered(n_keys: int, *keys: Ints) -> tuple[Ints, list[Ints]]:
    """All keys that occur, ascending, and the places of each of these among them."""
    if n_keys <= _IN_PLACE:
        occurs = np.zeros(n_keys, dtype=bool)
        for each in keys:
            occurs[each] = True
        place = np.cumsum(occurs) - 1
        return np.flatnonzero(occurs), [place[each] for each in keys]
    # np.unique hashes, and keys of which only the highest digits differ all collide: minutes, for millions
    together = np.sort(np.concatenate(keys))
    kept = together[np.diff(together, prepend=-1) > 0]
    return kept, [np.searchsorted(kept, each) for each in keys]
