"""Claims: which partner sourced a deal, and which influenced it.

Everything is worked out on whole columns, once per snapshot and policy:

- :func:`counting` says which touchpoints count at all;
- :func:`_source` chooses the one touchpoint that sources a deal;
- :func:`_influence` judges every other partner with counting touchpoints.

:func:`sourced` and :func:`influenced` only select deals from the result and wrap it in a measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attribution import money
from attribution.deals import DAY, DEAL_TYPES, KINDS, OPEN, STRENGTHS, Deals, Flag
from attribution.measures.results import (
    Cells,
    Ints,
    Measure,
    NotAdditive,
    ParticipationTable,
    Row,
    Table,
    measured,
)

__all__ = [
    "STANDINGS",
    "STATES",
    "VERDICTS",
    "Claims",
    "Influenced",
    "Sourced",
    "claims",
    "counting",
    "influenced",
    "sourced",
]

Bools = NDArray[np.bool_]
Codes = NDArray[np.int8]

VERDICTS = ("none", "valid", "outside_window", "late", "void", "renewal")
"""What became of a touchpoint as sourcing evidence; ``none``: it is of a kind that never sources."""
NONE, VALID, OUTSIDE_WINDOW, LATE, VOID, RENEWAL = range(len(VERDICTS))

STANDINGS = ("sourced", "influenced", "weak_only", "too_late")
"""What a partner with counting touchpoints is on a deal; ``too_late``: a guard refused it."""
SOURCED, INFLUENCED, WEAK_ONLY, TOO_LATE = range(len(STANDINGS))

STATES = ("claimed", "auto_approved", "approved")
"""Approval of an influenced claim, the better the later; the headline begins at ``auto_approved``."""
CLAIMED, AUTO_APPROVED, APPROVED = range(len(STATES))

_KIND = {name: code for code, name in enumerate(KINDS)}
_NEW_TYPES = [DEAL_TYPES.index("new"), DEAL_TYPES.index("unclassified")]
_STRONG = STRENGTHS.index("strong")
_WEAK = STRENGTHS.index("weak")
_NOBODY = np.iinfo(np.int64).max
_BEFORE_ALL = -2
"""No code of a deal, partner or program is this."""


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """Every claim on every deal of a snapshot, under one policy."""

    source: Ints
    """Per deal: position of the touchpoint that sources it, or -1."""
    contested: Bools
    """Per deal: two or more partners have valid sourcing evidence."""
    unverified: Bools
    """Per deal: nobody sourced it, but its lead source says that some partner did."""
    verdict: Codes
    """Per touchpoint: code into ``VERDICTS``."""
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
        n_deals = max(1, len(self.deals.snapshot.deals))
        deal = self.deals.deal_of[cells.touchpoint]
        keys = (codes * n_deals + deal) * len(STATES) + cells.numbers["state"]
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
            "claimed_amount": by_state[CLAIMED],
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
    source = found.source[positions]
    return Sourced(
        deals,
        of,
        positions,
        int(found.contested[positions].sum()),
        Cells(source[source >= 0]),
        positions[found.unverified[positions]],
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
    shown = found.per_row((found.standing == INFLUENCED) & is_measured[found.deal])
    rows, state = found.rows[shown], found.per_row(found.state)[shown]
    # of the touchpoints of a pair under one program, adjacent in these rows, one stands for the claim
    touchpoints = deals.snapshot.touchpoints
    first = np.zeros(len(rows), dtype=bool)
    for column in (deals.deal_of, touchpoints.partner, touchpoints.program):
        first |= np.diff(column[rows], prepend=_BEFORE_ALL) != 0
    return Influenced(
        deals,
        of,
        positions,
        int(found.contested[positions].sum()),
        Cells(rows[first], {"state": state[first]}),
    )


def claims(deals: Deals) -> Claims:
    """Every claim on every deal of the snapshot, selected or not, under the policy of ``deals``."""

    def build() -> Claims:
        source, contested, unverified, verdict = _source(deals)
        return Claims(source, contested, unverified, verdict, *_influence(deals, source))

    return deals.memoized("claims", build)


def counting(deals: Deals) -> Bools:
    """Mask over the touchpoints of the snapshot: those that count for influence and earn credit.

    Strong or weak, at most ``influence_window_days`` before the close (open deals: before as_of) and not
    after it; not on the partner's own account, and not a record of what was handed over to the partner.
    """

    def build() -> Bools:
        touchpoints = deals.snapshot.touchpoints
        latest = np.minimum(deals.snapshot.deals.closed_at, deals.snapshot.as_of)[deals.deal_of]
        earliest = latest - deals.policy.influence_window_days * DAY
        counts: Bools = (
            deals.attached
            & (deals.strength >= _WEAK)
            & ((touchpoints.flags & Flag.OWN_ACCOUNT) == 0)
            & (touchpoints.kind != _KIND["handed_over"])
            & (touchpoints.occurred_at <= latest)
            & (touchpoints.occurred_at >= earliest)
        )
        return counts

    return deals.memoized("counting", build)


def _source(deals: Deals) -> tuple[Ints, Bools, Bools, Codes]:
    """Choose the touchpoint that sources each deal: ``source, contested, unverified, verdict``."""
    columns, touchpoints, policy = deals.snapshot.deals, deals.snapshot.touchpoints, deals.policy
    n_deals = len(columns)
    ranks = _ranks(deals)
    rows = np.flatnonzero(ranks)
    rank, deal = ranks[rows], deals.deal_of[rows]
    happened, created = touchpoints.occurred_at[rows], columns.created_at[deal]
    linked = (touchpoints.flags[rows] & Flag.LINKED) != 0
    window = np.where(linked, policy.lead_max_age_days, policy.sourcing_window_days) * DAY

    outside_window = (rank == 2) & ((happened > created) | (happened < created - window))
    late = touchpoints.recorded_at[rows] > created + policy.claim_days * DAY
    void = (rank >= 2) & _void(deals, deal, happened)
    renewal = columns.deal_type == DEAL_TYPES.index("renewal")

    verdict = np.full(len(touchpoints), NONE, dtype=np.int8)
    verdict[rows] = np.select(
        [outside_window, late, void, renewal[deal]], [OUTSIDE_WINDOW, LATE, VOID, RENEWAL], default=VALID
    )

    # The winner: of the valid evidence of a deal the lowest rank, and of that the first in path order,
    # which is the order of the rows.
    valid = verdict[rows] == VALID
    rows, rank, deal = rows[valid], rank[valid].astype(np.int64), deal[valid]
    n_touchpoints = max(1, len(touchpoints))
    best = np.full(n_deals, _NOBODY)
    np.minimum.at(best, deal, rank * n_touchpoints + rows)
    source = np.where(best == _NOBODY, -1, best % n_touchpoints)

    partner = touchpoints.partner[rows].astype(np.int64)
    smallest, greatest = np.full(n_deals, _NOBODY), np.full(n_deals, -1)
    np.minimum.at(smallest, deal, partner)
    np.maximum.at(greatest, deal, partner)
    contested = smallest < greatest

    vague = {name.casefold() for name in policy.partner_lead_sources}
    lead_sources = [at for at, name in enumerate(deals.snapshot.lead_sources) if name.casefold() in vague]
    unverified = np.isin(columns.lead_source, lead_sources) & (source < 0) & ~renewal
    candidates = np.flatnonzero(unverified)
    unverified[candidates] = ~_void(deals, candidates, columns.created_at[candidates])
    return source, contested, unverified, verdict


def _ranks(deals: Deals) -> Codes:
    """Rank of each touchpoint as sourcing evidence, 1 before 2; 0: it is none."""
    touchpoints = deals.snapshot.touchpoints
    sourcing_roles = [
        at for at, role in enumerate(deals.snapshot.roles) if role in deals.policy.sourcing_roles
    ]
    ranks = np.zeros(len(touchpoints), dtype=np.int8)
    ranks[touchpoints.kind == _KIND["referral"]] = 2
    ranks[touchpoints.kind == _KIND["partner_owned"]] = 3
    ranks[(touchpoints.kind == _KIND["role"]) & np.isin(touchpoints.role, sourcing_roles)] = 3
    ranks[~deals.attached | ((touchpoints.flags & Flag.OWN_ACCOUNT) != 0)] = 0
    return ranks


def _void(deals: Deals, deal: NDArray[np.integer[Any]], happened: Ints) -> Bools:
    """Whether *another* new or unclassified deal of the same account was open at these instants.

    Open at t = created at or before t, less closed at or before t; both counts by binary search, whatever
    the number of deals of an account.
    """
    columns = deals.snapshot.deals
    if "open_opportunity" not in deals.policy.void_by or not len(deal):
        return np.zeros(len(deal), dtype=bool)
    # a deal that closed before it was created was never open
    blocks = (
        np.isin(columns.deal_type, _NEW_TYPES)
        & (columns.account >= 0)
        & (columns.closed_at > columns.created_at)
    )
    created, closed = columns.created_at[blocks], columns.closed_at[blocks]
    moments = np.sort(np.concatenate([created, closed]))

    def keys(account: NDArray[np.int32], instant: Ints) -> Ints:
        """Numbers that sort by account, then instant."""
        return account * np.int64(len(moments) + 1) + np.searchsorted(moments, instant, side="right")

    account = columns.account[deal]
    at = keys(account, happened)
    begun = np.searchsorted(np.sort(keys(columns.account[blocks], created)), at, side="right")
    ended = np.searchsorted(np.sort(keys(columns.account[blocks], closed)), at, side="right")
    itself = blocks[deal] & (columns.created_at[deal] <= happened) & (happened < columns.closed_at[deal])
    void: Bools = (begun - ended - itself > 0) & (account >= 0)
    return void


def _influence(deals: Deals, source: Ints) -> tuple[Ints, Ints, Ints, Ints, Codes, Codes, Bools]:
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
    approving = some(strong & (((touchpoints.flags[rows] & Flag.BY_OWNER) != 0) | _hosted(deals)[rows]))
    enough = some(strong) | _on_two_days(deals, rows, np.cumsum(begins) - 1, ~strong, len(starts))

    is_source = (
        (source[deal] >= 0) & (touchpoints.partner[source[deal]] == partner) if len(deal) else provisional
    )
    standing = np.select(
        [is_source, ~enough, ~in_time & ~provisional], [SOURCED, WEAK_ONLY, TOO_LATE], default=INFLUENCED
    ).astype(np.int8)
    state = np.where(approving, AUTO_APPROVED, CLAIMED).astype(np.int8)
    return rows, starts, deal, partner, standing, state, provisional


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
    if not weak.any():
        return np.zeros(n_pairs, dtype=bool)
    day = _days(deals.snapshot.touchpoints.occurred_at[rows[weak]], deals.snapshot.zone)
    first, last = np.full(n_pairs, _NOBODY), np.full(n_pairs, -_NOBODY)
    np.minimum.at(first, pair[weak], day)
    np.maximum.at(last, pair[weak], day)
    return first < last


def _days(instants: Ints, zone: str) -> Ints:
    """Calendar days, since the epoch, of instants in a zone."""
    import polars

    local = polars.Series(instants).cast(polars.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    return local.dt.date().to_physical().cast(polars.Int64).to_numpy()
