"""Deals as they went: how long each was open, how it ended, and from which age on a partner was there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from attribution.columns import DAY, NO_DAY, OUTCOMES, UNKNOWN_STAGE, Party
from attribution.deals import Deals
from attribution.errors import UsageError, known
from attribution.measures.hazards import NEVER, Race
from attribution.measures.intervals import Bools, Floats, Ints
from attribution.measures.results import Row

__all__ = ["OPEN_DEAL", "Histories", "exposures", "happened", "histories_of", "touched"]

OPEN_DEAL, _WON = OUTCOMES.index("open"), OUTCOMES.index("won")


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """Deals as they went, one entry per deal; ages in microseconds since the deal's creation."""

    end: Ints
    """Age at the close, or at as_of while open; above 0."""
    outcome: NDArray[np.int8]
    touched: Ints
    """Age from which on the deal is touched: 0 if by its creation, ``NEVER`` if not before its end."""
    reach: Ints
    """Age at as_of, closed or not: how far the deal could be followed."""
    usual_days: Floats
    """Days to close as reports show them: close date less created date; NaN while open."""
    stratum: Ints
    moved: Ints
    """Of each move to another open stage, the deal; ordered by deal and age; empty if no stages are known."""
    moved_at: Ints
    """And its age then."""
    moved_to: Ints
    """Code of that stage."""
    by_stage: bool
    """Compare only deals that are in the same stage."""
    covariates: dict[str, Ints]
    """Codes of what was known of the deal at its creation and makes no stratum."""
    races: dict[int, tuple[Race, Ints]] = field(default_factory=dict, repr=False)
    """Who is at risk from an age on, and which deal each span is of; the same however deals are touched."""

    @property
    def won(self) -> Bools:
        """Which deals were won."""
        found: Bools = self.outcome == _WON
        return found

    def stage_at(self, deal: Ints, age: Ints) -> Ints:
        """The stage of each deal at an age of whole days: that of its last move until then, else -1."""
        day = -(-self.moved_at // DAY)
        width = int(max(day.max(initial=0), age.max(initial=0) // DAY)) + 1
        last = np.searchsorted(self.moved * width + day, deal * width + age // DAY, side="right") - 1
        found = np.append(self.moved_to, [-1])[last]
        return np.where(np.append(self.moved, [-1])[last] == deal, found, -1)

    def touched_at(self, ages: Ints) -> Histories:
        """The same deals, had they been touched at these ages."""
        return replace(self, touched=np.where(ages < self.end, ages, NEVER))


def histories_of(deals: Deals, strata: list[str]) -> tuple[Histories, Ints]:
    """The selected deals that were open for a while, not touched, and their positions."""
    from attribution.arrays import local_days

    columns, as_of = deals.snapshot.deals, deals.snapshot.as_of
    end = np.minimum(columns.closed_at, as_of) - columns.created_at
    possible = (end > 0) & ~columns.close_before_creation
    kept = deals.selected[possible[deals.selected]]
    created = columns.created_at[kept]
    covariates = _covariates(deals, kept)
    for name in strata:
        if name not in covariates and name != "stage":
            raise UsageError(
                f"there is no stratum {name!r}", hint=f"strata are: {known(['stage', *covariates])}"
            )
    stratum = np.zeros(len(kept), dtype=np.int64)
    for name in dict.fromkeys(each for each in strata if each in covariates):
        codes = covariates.pop(name)
        stratum = np.unique(stratum * (codes.max(initial=0) + 2) + codes + 1, return_inverse=True)[1]
    dated = (columns.outcome[kept] != OPEN_DEAL) & (columns.closed_on[kept] != NO_DAY)
    created_on = local_days(created, deals.snapshot.zone)
    usual = np.where(dated, columns.closed_on[kept] - created_on.astype(np.float64), np.nan)
    histories = Histories(
        end[kept],
        columns.outcome[kept],
        np.full(len(kept), NEVER),
        as_of - created,
        usual,
        stratum,
        *_moves(deals, kept),
        "stage" in strata,
        covariates,
    )
    return histories, kept


def _moves(deals: Deals, kept: Ints) -> tuple[Ints, Ints, Ints]:
    """Which of the deals kept moved to another open stage, at which age, and to which; once per move."""
    snapshot = deals.snapshot
    spells, columns = snapshot.spells, snapshot.deals
    deal = np.repeat(np.arange(len(columns)), np.diff(spells.offsets))
    follows = np.append([False], deal[1:] == deal[:-1])[: len(deal)]
    # a stay that nothing is known of is no stage that a deal could move on from
    known = np.array([stage.name != UNKNOWN_STAGE for stage in snapshot.stages] + [False])
    follows[1:] &= known[spells.stage[:-1]]
    moves = follows & (spells.entered_at < columns.closed_at[deal])
    place = np.full(len(columns), -1)
    place[kept] = np.arange(len(kept))
    moves &= place[deal] >= 0
    ages = np.maximum((spells.entered_at - columns.created_at[deal])[moves], 0)
    return place[deal[moves]], ages, spells.stage[moves].astype(np.int64)


def _covariates(deals: Deals, positions: Ints) -> dict[str, Ints]:
    """Codes of everything that is known of these deals from their creation on; -1 for nothing."""
    columns, snapshot = deals.snapshot.deals, deals.snapshot
    month = columns.created_at[positions].astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    quarter = month // 3
    return {
        "deal_type": columns.deal_type[positions].astype(np.int64),
        "created_quarter": quarter - quarter.min(initial=0),
        **{
            name: codes[positions].astype(np.int64)
            for (name, _), codes in zip(snapshot.segments, columns.segments, strict=True)
        },
    }


def exposures(deals: Deals, rows: Ints, by: str | None) -> Iterator[tuple[Row, Ints]]:
    """Labels of each partner or program that is told apart, and its touchpoints."""
    if by is None:
        yield {}, rows
        return
    touchpoints = deals.snapshot.touchpoints
    parties: tuple[Party, ...] = deals.partners if by == "partner" else deals.programs
    codes = (touchpoints.partner if by == "partner" else touchpoints.program)[rows]
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(parties) + 1))
    named = sorted(enumerate(parties), key=lambda each: (each[1].name, each[1].id))
    for code, party in named:
        touches = rows[order[bounds[code] : bounds[code + 1]]]
        if len(touches):
            yield {by: party.name, f"{by}_id": party.id}, touches


def touched(deals: Deals, rows: Ints) -> Ints:
    """Per deal of the snapshot, the age from which these touchpoints expose it; ``NEVER``."""
    touchpoints, created_at = deals.snapshot.touchpoints, deals.snapshot.deals.created_at
    deal = deals.deal_of[rows]
    recorded_at = touchpoints.recorded_at[rows if touchpoints.cold_at is None else touchpoints.cold_at[rows]]
    # a touch logged with hindsight was nobody's knowledge before: who logs it may know how the deal ended
    ages = np.maximum(touchpoints.occurred_at[rows], recorded_at) - created_at[deal]
    recent = ages >= -deals.policy.influence_window_days * DAY
    return _first(deals, deal[recent], ages[recent])


def happened(deals: Deals, rows: Ints) -> Ints:
    """Per deal of the snapshot, the age at the first of these touchpoints, whenever recorded; ``NEVER``."""
    deal = deals.deal_of[rows]
    ages = deals.snapshot.touchpoints.occurred_at[rows] - deals.snapshot.deals.created_at[deal]
    return _first(deals, deal, ages)


def _first(deals: Deals, deal: NDArray[np.int32], ages: Ints) -> Ints:
    first = np.full(len(deals.snapshot.deals), NEVER)
    np.minimum.at(first, deal, np.maximum(ages, 0))
    return first
