"""Players: whose acts may earn credit. Partners' and, where asked for, those of our own people."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attribution.columns import (
    DIRECT,
    STRENGTHS,
    Bools,
    DirectTouches,
    Flag,
    Ints,
    Snapshot,
    TouchpointColumns,
)
from attribution.deals import Deals
from attribution.errors import UsageError
from attribution.measures.evidence import counting

__all__ = ["POOLS", "playing", "pooled"]

POOLS = ("partners", "all")
"""Who plays: partners only, or also ``(direct)``, our own people where no partner took part."""

_HOT = ("occurred_at", "partner", "program", "kind", "flags", "tier", "role")
_COLD = ("recorded_at", "object", "record")
_AS_STRONG = np.uint8(STRENGTHS.index("strong") | Flag.LINKED)


def pooled(deals: Deals, pool: str) -> Deals:
    """The same deals, with direct touches on their paths if the pool is ``"all"``.

    There they are touchpoints of the partner ``(direct)``, the last one, and obey the same window.

    Raises
    ------
    UsageError
        For another pool.
    """
    if pool not in POOLS:
        raise UsageError(f"there is no pool {pool!r}", hint=f"use one of: {', '.join(POOLS)}")
    if pool == "partners":
        return deals
    joined = deals.memoized("with direct touches", lambda: _with_direct(deals.snapshot))
    return Deals(joined, deals.policy, deals.selected)


def playing(deals: Deals, pool: str = "partners") -> Deals:
    """The same deals with the counting touchpoints only: what a model sees.

    Raises
    ------
    UsageError
        For another pool.
    """
    everybody = pooled(deals, pool)
    players = everybody.memoized("players", lambda: _counting_only(everybody))
    return Deals(players, deals.policy, deals.selected)


def _counting_only(deals: Deals) -> Snapshot:
    keep, touchpoints = counting(deals), deals.snapshot.touchpoints
    if keep.all():
        return deals.snapshot
    before = np.concatenate([[0], np.cumsum(keep)])
    cold_at = touchpoints.cold_at
    columns = TouchpointColumns(
        offsets=before[touchpoints.offsets],
        **{name: getattr(touchpoints, name)[keep] for name in _HOT},
        **{name: getattr(touchpoints, name) for name in _COLD},
        **_some(touchpoints, before, keep),
        cold_at=np.flatnonzero(keep) if cold_at is None else cold_at[keep],
    )
    # what was worked out of all touchpoints is not true of these
    return replace(deals.snapshot, touchpoints=columns, memo={})


def _with_direct(snapshot: Snapshot) -> Snapshot:
    """Direct touches of deals merged into their paths, in the order (deal, occurred_at, id)."""
    touchpoints, direct = snapshot.touchpoints, snapshot.direct
    acts = np.flatnonzero(direct.deal >= 0)
    ahead = _place(touchpoints, direct, acts)
    # an act goes where its place is, plus one for each act before it
    at = ahead + np.arange(len(acts))
    n = len(touchpoints) + len(acts)
    is_act = np.zeros(n, dtype=bool)
    is_act[at] = True
    place = np.flatnonzero(~is_act)
    added = {
        "occurred_at": direct.occurred_at[acts],
        "partner": len(snapshot.partners),
        "program": -1,
        "kind": direct.kind[acts],
        "flags": _AS_STRONG,
        "tier": -1,
        "role": -1,
    }
    hot = {}
    for name in _HOT:
        given = getattr(touchpoints, name)
        column = np.empty(n, dtype=given.dtype)
        column[place], column[at] = given, added[name]
        hot[name] = column
    cold_at = np.empty(n, dtype=np.int64)
    old = touchpoints.cold_at
    cold_at[place] = np.arange(len(place)) if old is None else old
    cold_at[at] = len(touchpoints.recorded_at) + acts
    columns = TouchpointColumns(
        offsets=touchpoints.offsets + np.searchsorted(direct.deal[acts], np.arange(len(snapshot.deals) + 1)),
        **hot,
        **{name: np.concatenate([getattr(touchpoints, name), getattr(direct, name)]) for name in _COLD},
        **_some(touchpoints, place, np.ones(len(touchpoints), dtype=bool)),
        cold_at=cold_at,
    )
    return replace(
        snapshot,
        touchpoints=columns,
        partners=(*snapshot.partners, DIRECT),
        partner_since=(*snapshot.partner_since, None) if snapshot.partner_since else (),
        memo={},
    )


def _some(touchpoints: TouchpointColumns, place: Ints, keep: Bools) -> dict[str, Any]:
    """The columns of facts that few touchpoints have, for those kept and at their new places."""
    found: dict[str, Any] = {}
    for at, facts in (
        ("reached", ("reach_from", "reach_below")),
        ("hosted", ("host",)),
        ("judged", ("approval", "approved_at", "expires_at")),
    ):
        positions = getattr(touchpoints, at)
        kept = keep[positions]
        found[at] = place[positions[kept]]
        found |= {name: getattr(touchpoints, name)[kept] for name in facts}
    return found


def _place(touchpoints: TouchpointColumns, direct: DirectTouches, acts: Ints) -> Ints:
    """Before which touchpoint each act belongs, by binary search on the path of its deal."""
    deal = direct.deal[acts]
    low, high = touchpoints.offsets[deal], touchpoints.offsets[deal + 1]
    while (searching := np.flatnonzero(low < high)).size:
        middle = (low[searching] + high[searching]) // 2
        act = acts[searching]
        happened, at = touchpoints.occurred_at[middle], direct.occurred_at[act]
        earlier = happened < at
        tied = np.flatnonzero(happened == at)
        cold = middle[tied] if touchpoints.cold_at is None else touchpoints.cold_at[middle[tied]]
        source, record = touchpoints.object[cold], touchpoints.record[cold]
        other = direct.object[act[tied]]
        earlier[tied] = (source < other) | ((source == other) & (record < direct.record[act[tied]]))
        low[searching[earlier]] = middle[earlier] + 1
        high[searching[~earlier]] = middle[~earlier]
    return low
