"""Stays: how long each deal was in each open stage, and whether it moved on from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution.columns import OPEN, OUTCOMES, Bools, Ints
from attribution.deals import Deals

__all__ = ["Stays", "stays"]

_NOWHERE = -1
"""Place of a stage of which nobody knows it, and of the unknown stage: before all others."""


@dataclass(frozen=True, slots=True, eq=False)
class Stays:
    """One entry per deal and open stage it was in, ordered by deal; stages it skipped are absent."""

    offsets: Ints
    """Deal ``i`` of the snapshot has the stays ``offsets[i]:offsets[i + 1]``."""
    stage: Ints
    """Code into ``Snapshot.stages``."""
    total: Ints
    """Microseconds in the stage, re-entries summed."""
    lasts: Bools
    """The deal is in the stage as of the snapshot: ``total`` is what has passed so far."""
    first: Ints
    """Microseconds of the first spell alone."""
    first_lasts: Bools
    advanced: Bools
    """After it entered the stage it came to a later open one, or was won."""
    settled: Bools
    """It has advanced, or was lost; otherwise it may still do either."""
    n_backward: Ints
    """Per deal of the snapshot: moves from an open stage to an earlier open one; -1: nothing is known."""


def stays(deals: Deals) -> Stays:
    """The stays of all deals of the snapshot; worked out once."""
    return deals.memoized("stays", lambda: _stays(deals))


def _stays(deals: Deals) -> Stays:
    snapshot = deals.snapshot
    columns, spells = snapshot.deals, snapshot.spells
    n_deals, n_stages = len(columns), max(1, len(snapshot.stages))
    deal = np.repeat(np.arange(n_deals), np.diff(spells.offsets))
    end = np.minimum(columns.closed_at, snapshot.as_of)[deal]
    follows = np.append(deal[1:] == deal[:-1], [False])[: len(deal)]
    left = np.where(follows, np.append(spells.entered_at[1:], [0])[: len(deal)], end)
    is_closed = np.array([stage.is_closed for stage in snapshot.stages] + [False])
    # what was recorded at or after the close is no open spell any more
    open_ = ~is_closed[spells.stage] & (
        (spells.entered_at < columns.closed_at[deal]) & (spells.entered_at <= snapshot.as_of)
    )
    lasts = ~follows & (columns.closed_at[deal] == OPEN)
    deal, stage = deal[open_], spells.stage[open_].astype(np.int64)
    spent = np.maximum(np.minimum(left, end)[open_] - spells.entered_at[open_], 0)
    lasts = lasts[open_]

    place = np.array([_NOWHERE if each.place is None else each.place for each in snapshot.stages] + [0])[
        stage
    ]
    later = np.append(deal[1:] == deal[:-1], [False])[: len(deal)]
    back = (
        later
        & (np.append(place[1:], [0])[: len(deal)] < place)
        & (np.append(place[1:], [0])[: len(deal)] != _NOWHERE)
    )
    n_backward = np.bincount(deal[back], minlength=n_deals)
    n_backward[np.diff(spells.offsets) == 0] = -1

    # by (deal, stage), and within that in the order of time: the first of each is the first spell
    order = np.argsort(deal * n_stages + stage, kind="stable")
    pair = (deal * n_stages + stage)[order]
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    of, which = np.divmod(pair[starts], n_stages)
    won = (columns.outcome == OUTCOMES.index("won"))[of]
    lost = (columns.outcome == OUTCOMES.index("lost"))[of]
    advanced = won | (_furthest(deal, place, later, n_deals)[order[starts]] > place[order[starts]])

    def over(mask: Bools) -> Bools:
        found: Bools = np.logical_or.reduceat(mask, starts) if len(starts) else np.zeros(0, dtype=bool)
        return found

    return Stays(
        offsets=np.searchsorted(of, np.arange(n_deals + 1)).astype(np.int64),
        stage=which,
        total=np.add.reduceat(spent[order], starts) if len(starts) else np.zeros(0, dtype=np.int64),
        lasts=over(lasts[order]),
        first=spent[order[starts]],
        first_lasts=lasts[order[starts]],
        advanced=advanced,
        settled=advanced | lost,
        n_backward=n_backward,
    )


def _furthest(deal: Ints, place: Ints, later: Bools, n_deals: int) -> Ints:
    """Per spell, the furthest place of the spells of its deal that come after it."""
    if not len(deal):
        return place
    # earlier deals weigh more, so that running backwards through them the maximum begins anew in each
    step = int(place.max()) + 2
    weighed = place + 1 + (n_deals - deal) * step
    reached = np.maximum.accumulate(weighed[::-1])[::-1] - (n_deals - deal) * step - 1
    return np.where(later, np.append(reached[1:], [0]), _NOWHERE)
