"""Claims: which partner sourced a deal, and which influenced it.

Everything is worked out on whole columns, once per snapshot and policy:

- :func:`attribution.measures.evidence.sourcing` chooses the one touchpoint that sources a deal;
- :func:`_influence` judges every other partner with counting touchpoints.

:func:`sourced` and :func:`influenced` only select deals from the result and wrap it in a measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attribution import money
from attribution.columns import DAY, OPEN, STRENGTHS, Flag, Ints
from attribution.deals import Deals
from attribution.measures.evidence import (
    Bools,
    Codes,
    Sourcing,
    counting,
    decided_by_crm,
    decided_here,
    sourcing,
)
from attribution.measures.measure import Cells, Measure, measured
from attribution.measures.results import NotAdditive, ParticipationTable, Row, Table

__all__ = [
    "STANDINGS",
    "STATES",
    "Claims",
    "Influenced",
    "Sourced",
    "claims",
    "influenced",
    "sourced",
]

STANDINGS = ("sourced", "influenced", "weak_only", "too_late", "rejected")
"""What a partner with counting touchpoints is on a deal; ``too_late``: a guard refused it; ``rejected``: a
decision that the store keeps did."""
SOURCED, INFLUENCED, WEAK_ONLY, TOO_LATE, REJECTED = range(len(STANDINGS))

STATES = ("pending", "claimed", "auto_approved", "approved")
"""Approval of an influenced claim, the better the later; the headline begins at ``auto_approved``."""
PENDING, CLAIMED, AUTO_APPROVED, APPROVED = range(len(STATES))

_STRONG = STRENGTHS.index("strong")
_NOBODY = np.iinfo(np.int64).max
_BEFORE_ALL = -2
"""No code of a deal, partner or program is this."""


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """Every claim on every deal of a snapshot, under one policy."""

    sourcing: Sourcing
    rows: Ints
    """Counting touchpoints, ordered by (deal, partner, program, path)."""
    starts: Ints
    """Where in ``rows`` each pair of deal and partner begins. The columns below have one entry per pair."""
    deal: Ints
    partner: Ints
    standing: Codes
    """Code into ``STANDINGS``."""
    state: Codes
    """Code into ``STATES``; says something of influenced pairs only."""
    provisional: Bools
    """The deal is open: no guard has judged the pair yet."""
    influence: Cells
    """Influenced pairs, once for each program and tier of their counting touchpoints, ordered by deal."""

    @property
    def headline(self) -> Bools:
        """Per pair: it sourced the deal, or influenced it and was approved."""
        approved = (self.standing == INFLUENCED) & (self.state >= AUTO_APPROVED)
        headline: Bools = approved | (self.standing == SOURCED)
        return headline

    def per_row(self, pairs: NDArray[Any]) -> NDArray[Any]:
        """Values of pairs, repeated for each of their ``rows``."""
        return np.repeat(pairs, np.diff(self.starts, append=len(self.rows)))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Sourced(Measure):
    """Amounts by the one partner who brought each deal in; rows add up to the total.

    ``unverified`` is no part of them: deals whose lead source says "a partner" without naming one.
    """

    unverified: Ints
    """Positions of those deals among the ones measured."""

    name: ClassVar[str] = "sourced"

    def _add_up(self, cells: Cells, codes: Ints, n: int) -> dict[str, NDArray[Any]]:
        amount = self._amounts(self.deals.deal_of[cells.touchpoint])
        return {"amount": money.sum_by(codes, amount, n), "n_deals": np.bincount(codes, minlength=n)}

    def _beside(self, cells: Cells) -> dict[str, Any]:
        amount = self._major(money.total(self._amounts(self.unverified)))
        return {"unverified": {"n_deals": len(self.unverified), "amount": amount}}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Influenced(NotAdditive, Measure):
    """Amounts by partner of deals that it did not source but took part in: **not additive**.

    Every partner of a deal shows the whole deal. :meth:`total` counts each deal once; adding rows, or the
    measure itself, raises :class:`~attribution.errors.UsageError`.
    """

    name: ClassVar[str] = "influenced"

    def _add_up(self, cells: Cells, codes: Ints, n: int) -> dict[str, NDArray[Any]]:
        # Each deal once per group, in the best state that one of its claims there has reached.
        deal, state = self.deals.deal_of[cells.touchpoint], cells.numbers["state"]
        n_deals = max(1, len(self.deals.snapshot.deals))
        keys = (codes * n_deals + deal) * len(STATES) + state
        keys.sort()
        claim, state = np.divmod(keys, len(STATES))
        best = np.diff(claim, append=-1) != 0
        group, deal = np.divmod(claim[best], n_deals)
        amount, state = self._amounts(deal), state[best]
        by_state = [
            money.sum_by(group[state == code], amount[state == code], n) for code in range(len(STATES))
        ]
        return {
            "amount": by_state[APPROVED] + by_state[AUTO_APPROVED],
            "approved_amount": by_state[APPROVED],
            "auto_approved_amount": by_state[AUTO_APPROVED],
            "claimed_amount": by_state[CLAIMED] + by_state[PENDING],
            "n_deals": np.bincount(group[state >= AUTO_APPROVED], minlength=n),
        }

    def _table(self, by: tuple[str, ...], columns: tuple[str, ...], rows: list[Row], cells: Cells) -> Table:
        return ParticipationTable(self._head(), by, columns, rows, self._foot(cells))


def sourced(deals: Deals, of: str = "won") -> Sourced:
    """Which partner brought each deal in: at most one per deal, by rank of evidence, then earliest event.

    Parameters
    ----------
    deals
        The selected ones are measured, under the policy that ``deals`` carries.
    of
        ``"won"``, ``"open"``, ``"lost"`` or ``"all"``.

    Raises
    ------
    UsageError
        If ``of`` is none of these.

    Examples
    --------
    ::

        sourced = at.sourced(deals.where(closed="2026Q2"))
        sourced.by("partner", "program")
        sourced.total()
    """
    positions, found = measured(deals, of), claims(deals)
    source = found.sourcing.source[positions]
    return Sourced(
        deals,
        of,
        positions,
        int(found.sourcing.contested[positions].sum()),
        Cells(source[source >= 0]),
        positions[found.sourcing.unverified[positions]],
    )


def influenced(deals: Deals, of: str = "won") -> Influenced:
    """Which partners took part in deals that they did not source: any number per deal, not additive.

    Parameters
    ----------
    deals
        The selected ones are measured, under the policy that ``deals`` carries.
    of
        ``"won"``, ``"open"``, ``"lost"`` or ``"all"``. Claims on open deals are provisional.

    Raises
    ------
    UsageError
        If ``of`` is none of these.

    Examples
    --------
    ::

        influenced = at.influenced(deals)
        influenced.by("partner")            # amount: approved and auto-approved; claimed_amount beside it
        influenced.total()                  # each deal once
    """
    positions, found = measured(deals, of), claims(deals)
    is_measured = np.zeros(len(deals.snapshot.deals), dtype=bool)
    is_measured[positions] = True
    shown = is_measured[deals.deal_of[found.influence.touchpoint]]
    cells = found.influence if shown.all() else found.influence.where(shown)
    return Influenced(deals, of, positions, int(found.sourcing.contested[positions].sum()), cells)


def claims(deals: Deals) -> Claims:
    """Every claim on every deal of the snapshot, selected or not, under the policy of ``deals``."""

    def build() -> Claims:
        found = sourcing(deals)
        return Claims(found, *_influence(deals, found.source))

    return deals.memoized("claims", build)


def _influence(deals: Deals, source: Ints) -> tuple[Ints, Ints, Ints, Ints, Codes, Codes, Bools, Cells]:
    """Judge each pair of deal and partner with counting touchpoints: ``Claims`` from ``rows`` on."""
    columns, touchpoints, policy = deals.snapshot.deals, deals.snapshot.touchpoints, deals.policy
    rows = _by_pair(deals, np.flatnonzero(counting(deals)))
    of, who, happened = deals.deal_of[rows], touchpoints.partner[rows], touchpoints.occurred_at[rows]
    begins = (np.diff(of, prepend=_BEFORE_ALL) != 0) | (np.diff(who, prepend=_BEFORE_ALL) != 0)
    starts = np.flatnonzero(begins)
    deal, partner = of[starts].astype(np.int64), who[starts].astype(np.int64)
    provisional = columns.closed_at[deal] == OPEN

    def some(mask: Bools) -> Bools:
        """Which pairs have a touchpoint under the mask."""
        found: Bools = np.logical_or.reduceat(mask, starts) if len(starts) else np.zeros(0, dtype=bool)
        return found

    strong = deals.strength[rows] == _STRONG
    closed_at = columns.closed_at[of]
    # one and the same touchpoint must satisfy both guards
    in_time = some(
        (happened <= closed_at - policy.late_days * DAY) & (happened < columns.last_open_spell_at[of])
    )
    by_owner = (touchpoints.flags[rows] & Flag.BY_OWNER) != 0
    approving = some(strong & (by_owner | _hosted(deals)[rows]))
    enough = some(strong) | _on_two_days(deals, rows, np.cumsum(begins) - 1, ~strong, len(starts))

    is_source = (
        (source[deal] >= 0) & (touchpoints.partner[source[deal]] == partner) if len(deal) else provisional
    )
    approved, pending = decided_by_crm(deals)
    by_crm, pending_there = some(approved[rows]), some(pending[rows])
    approved_here, rejected_here = _decided(deals, deal, partner, by_crm | pending_there)
    standing = np.select(
        [is_source, ~enough, ~in_time & ~provisional, rejected_here],
        [SOURCED, WEAK_ONLY, TOO_LATE, REJECTED],
        default=INFLUENCED,
    ).astype(np.int8)
    state = np.select(
        [by_crm | approved_here, pending_there, approving],
        [APPROVED, PENDING, AUTO_APPROVED],
        default=CLAIMED,
    ).astype(np.int8)

    # of the adjacent touchpoints of a pair under one program and tier, one stands for the claim
    first = begins
    for column in (touchpoints.program, touchpoints.tier):
        first = first | (np.diff(column[rows], prepend=_BEFORE_ALL) != 0)
    sizes = np.diff(starts, append=len(rows))
    first &= np.repeat(standing == INFLUENCED, sizes)
    influence = Cells(rows[first], {"state": np.repeat(state, sizes)[first]})
    return rows, starts, deal, partner, standing, state, provisional, influence


def _decided(deals: Deals, deal: Ints, partner: Ints, by_crm: Bools) -> tuple[Bools, Bools]:
    """Which pairs a decision in the store approved, and which it rejected; the CRM's word comes before it."""
    approved, rejected = np.zeros(len(deal), dtype=bool), np.zeros(len(deal), dtype=bool)
    n_partners = len(deals.partners)
    keys = deal * n_partners + partner
    for (of, who), decision in decided_here(deals, "influenced").items():
        at = int(np.searchsorted(keys, of * n_partners + who))
        if at < len(keys) and keys[at] == of * n_partners + who:
            (approved if decision.approve else rejected)[at] = not by_crm[at]
    return approved, rejected


def _by_pair(deals: Deals, rows: Ints) -> Ints:
    """Touchpoints ordered by (deal, partner, program, path)."""
    touchpoints = deals.snapshot.touchpoints
    deal, partner, program = deals.deal_of[rows], touchpoints.partner[rows], touchpoints.program[rows]
    position_bits = len(rows).bit_length()
    n_partners, n_programs = len(deals.partners), len(deals.programs) + 1
    if len(deals.snapshot.deals) * n_partners * n_programs >= 1 << (63 - position_bits):
        return rows[np.lexsort((program, partner, deal))]
    # sorting packed integers takes a thirtieth of the time
    keys = (deal.astype(np.int64) * n_partners + partner) * n_programs + program + 1
    keys <<= position_bits
    keys += np.arange(len(rows))
    keys.sort()
    ordered: Ints = rows[keys & ((1 << position_bits) - 1)]
    return ordered


def _hosted(deals: Deals) -> Bools:
    """Mask over all touchpoints: meetings with an internal user who is not of the partner team."""
    touchpoints = deals.snapshot.touchpoints
    team = {user[:15] for user in deals.policy.partner_team}
    impartial = np.array([host[:15] not in team for host in deals.snapshot.hosts], dtype=bool)
    hosted = np.zeros(len(touchpoints), dtype=bool)
    hosted[touchpoints.hosted[impartial[touchpoints.host]]] = True
    return hosted


def _on_two_days(deals: Deals, rows: Ints, pair: Ints, weak: Bools, n_pairs: int) -> Bools:
    """Which pairs have weak touchpoints on two calendar days of the snapshot's zone.

    They are of different records, too: a record makes one touchpoint per partner.
    """
    from attribution.arrays import local_days

    if not weak.any():
        return np.zeros(n_pairs, dtype=bool)
    day = local_days(deals.snapshot.touchpoints.occurred_at[rows[weak]], deals.snapshot.zone)
    first, last = np.full(n_pairs, _NOBODY), np.full(n_pairs, -_NOBODY)
    np.minimum.at(first, pair[weak], day)
    np.maximum.at(last, pair[weak], day)
    return first < last
