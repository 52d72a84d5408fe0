"""Evidence: what each touchpoint is worth, for influence and for sourcing.

- :func:`counting` says which touchpoints count at all: for influence, and as players of credit;
- :func:`sourcing` says which of them could source their deal, why the others could not, and which one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.columns import APPROVALS, DAY, DEAL_TYPES, KINDS, OPEN, Decision, Flag
from attribution.deals import Deals

__all__ = [
    "VERDICTS",
    "Sourcing",
    "counting",
    "decided_by_crm",
    "decided_here",
    "judgements",
    "ranks",
    "sourcing",
]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int8]

VERDICTS = (
    *("none", "valid", "rejected", "declined", "unapproved", "pending", "submitted_late", "expired"),
    *("outside_window", "late", "void", "renewal"),
)
"""What became of a touchpoint as sourcing evidence; of several reasons the first.

``none``: it is of a kind that never sources. ``rejected``: by the CRM; ``declined``: the claim was rejected
by a decision that the store keeps. ``unapproved``: nothing says that the registration was approved;
``pending``: it is still to be decided, or was approved after as_of. ``submitted_late``: after the deal's
creation and its days of grace. ``expired``: the deal was created when the record no longer held.
``outside_window``: a lead too old for the deal, or younger than it. ``late``: recorded too long after the
deal's creation.
"""
NONE, VALID = 0, 1

_KIND = {name: code for code, name in enumerate(KINDS)}
_APPROVAL = {name: code for code, name in enumerate(APPROVALS)}
_NEW_TYPES = [DEAL_TYPES.index("new"), DEAL_TYPES.index("unclassified")]
_NOBODY = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class Sourcing:
    """Who brought the deals of a snapshot in."""

    source: Ints
    """Per deal: position of the touchpoint that sources it, or -1."""
    contested: Bools
    """Per deal: two or more partners have valid sourcing evidence."""
    unverified: Bools
    """Per deal: nobody sourced it, but its lead source says that some partner did."""
    verdict: Codes
    """Per touchpoint: code into ``VERDICTS``."""
    contested_by_direct: Bools
    """Per deal: an approved registration sources it, though we were working the account already."""


def counting(deals: Deals) -> Bools:
    """Mask over the touchpoints of the snapshot: those that count for influence and earn credit.

    Strong or weak, at most ``influence_window_days`` before the close (open deals: before as_of) and not
    after it; not rejected, not expired when the deal was created, not on the partner's own account, and not
    a record of what was handed over to the partner.
    """

    def build() -> Bools:
        columns, touchpoints = deals.snapshot.deals, deals.snapshot.touchpoints
        latest = np.minimum(columns.closed_at, deals.snapshot.as_of)[deals.deal_of]
        counts: Bools = deals.involved & (touchpoints.kind != _KIND["handed_over"])
        counts &= touchpoints.occurred_at <= latest
        latest -= deals.policy.influence_window_days * DAY
        counts &= touchpoints.occurred_at >= latest
        counts[touchpoints.judged[_expired(deals)]] = False
        return counts

    return deals.memoized("counting", build)


def _expired(deals: Deals) -> Bools:
    """Which of the ``judged`` touchpoints no longer held when their deal was created.

    A record holds to the end of its mapped expiry date; an approved registration without one for
    ``registration_term_days`` from its approval.
    """
    columns, touchpoints = deals.snapshot.deals, deals.snapshot.touchpoints
    created = columns.created_at[deals.deal_of[touchpoints.judged]]
    term = deals.policy.registration_term_days * DAY
    by_term = (
        (touchpoints.kind[touchpoints.judged] == _KIND["deal_registration"])
        & (touchpoints.approval == _APPROVAL["approved"])
        & (touchpoints.expires_at == OPEN)
        & (created - term > touchpoints.approved_at)
    )
    expired: Bools = by_term | (created >= touchpoints.expires_at)
    return expired


def sourcing(deals: Deals) -> Sourcing:
    """Choose the touchpoint that sources each deal of the snapshot, under the policy of ``deals``."""
    columns, touchpoints, policy = deals.snapshot.deals, deals.snapshot.touchpoints, deals.policy
    n_deals = len(columns)
    ranked = ranks(deals)
    rows = np.flatnonzero(ranked)
    rank, deal = ranked[rows], deals.deal_of[rows]
    happened, created = touchpoints.occurred_at[rows], columns.created_at[deal]
    linked = (touchpoints.flags[rows] & Flag.LINKED) != 0
    window = np.where(linked, policy.lead_max_age_days, policy.sourcing_window_days) * DAY
    approval, approved_at, expired = judgements(deals, rows)

    registered = rank == 1
    declined = _declined(deals)[rows] & (approval == _APPROVAL["none"])
    approved = (approval == _APPROVAL["approved"]) & (approved_at <= deals.snapshot.as_of)
    void = _void(deals, deal, happened)
    renewal = columns.deal_type == DEAL_TYPES.index("renewal")
    reasons = {
        "rejected": approval == _APPROVAL["rejected"],
        "declined": declined,
        "unapproved": registered & (approval == _APPROVAL["none"]),
        "pending": registered & ~approved,
        "submitted_late": registered & (happened > created + policy.registration_grace_days * DAY),
        "expired": expired,
        "outside_window": (rank == 2) & ((happened > created) | (happened < created - window)),
        "late": touchpoints.recorded_at[rows] > created + policy.claim_days * DAY,
        "void": ~registered & void,
        "renewal": renewal[deal],
    }
    verdict = np.full(len(touchpoints), NONE, dtype=np.int8)
    codes = [VERDICTS.index(reason) for reason in reasons]
    verdict[rows] = np.select(list(reasons.values()), codes, default=VALID)

    # The winner: of the valid evidence of a deal the lowest rank, and of that the first in order.
    valid = verdict[rows] == VALID
    rows, rank, deal = rows[valid], rank[valid].astype(np.int64), deal[valid]
    n_valid = max(1, len(rows))
    order = _by_approval(deal, happened[valid], approved_at[valid])
    best = np.full(n_deals, _NOBODY)
    np.minimum.at(best, deal[order], rank[order] * n_valid + np.arange(len(rows)))
    source, won = np.full(n_deals, -1), best != _NOBODY
    at = order[best[won] % n_valid]
    source[won] = rows[at]
    contested_by_direct = np.zeros(n_deals, dtype=bool)
    contested_by_direct[won] = (rank[at] == 1) & void[valid][at]

    partner = touchpoints.partner[rows].astype(np.int64)
    smallest, greatest = np.full(n_deals, _NOBODY), np.full(n_deals, -1)
    np.minimum.at(smallest, deal, partner)
    np.maximum.at(greatest, deal, partner)
    contested = smallest < greatest

    vague = {name.casefold() for name in policy.partner_lead_sources}
    lead_sources = [at for at, name in enumerate(deals.snapshot.lead_sources) if name.casefold() in vague]
    unverified = np.isin(columns.lead_source, lead_sources) & ~won & ~renewal
    candidates = np.flatnonzero(unverified)
    unverified[candidates] = ~_void(deals, candidates, columns.created_at[candidates])
    return Sourcing(source, contested, unverified, verdict, contested_by_direct)


def ranks(deals: Deals) -> Codes:
    """Rank of each touchpoint as sourcing evidence, 1 before 2 before 3; 0: it is none."""
    touchpoints = deals.snapshot.touchpoints
    by_kind = np.zeros(len(deals.snapshot.kinds), dtype=np.int8)
    by_kind[_KIND["deal_registration"]] = 1
    by_kind[_KIND["referral"]] = 2
    by_kind[[_KIND["partner_owned"], _KIND["sourced_by"]]] = 3
    rank = by_kind[touchpoints.kind]
    rank[(touchpoints.kind >= len(KINDS)) & ((touchpoints.flags & Flag.SOURCING) != 0)] = 3
    sourcing_roles = [
        at for at, role in enumerate(deals.snapshot.roles) if role in deals.policy.sourcing_roles
    ]
    if sourcing_roles:
        rank[(touchpoints.kind == _KIND["role"]) & np.isin(touchpoints.role, sourcing_roles)] = 3
    rank[~deals.attached | ((touchpoints.flags & Flag.OWN_ACCOUNT) != 0)] = 0
    return rank


def decided_here(deals: Deals, kind: str) -> dict[tuple[int, int], Decision]:
    """The newest decision on each claim of a kind, by position of the deal and code of the partner."""
    snapshot = deals.snapshot
    ids, partners = snapshot.deals.id, {party.id: code for code, party in enumerate(snapshot.partners)}
    found: dict[tuple[int, int], Decision] = {}
    for decision in snapshot.decisions:
        claim = decision.claim
        at = int(np.searchsorted(ids, np.bytes_(claim.opportunity_id.encode())))
        there = at < len(ids) and ids[at].decode() == claim.opportunity_id
        if claim.kind == kind and there and claim.partner_id in partners:
            found[at, partners[claim.partner_id]] = decision
    return found


def _declined(deals: Deals) -> Bools:
    """Mask over all touchpoints: those of partners whose sourced claim on the deal was rejected here."""
    touchpoints = deals.snapshot.touchpoints
    mask = np.zeros(len(touchpoints), dtype=bool)
    for (deal, partner), decision in decided_here(deals, "sourced").items():
        begin, end = touchpoints.offsets[deal : deal + 2]
        mask[begin:end] |= (touchpoints.partner[begin:end] == partner) & (not decision.approve)
    return mask


def judgements(deals: Deals, rows: Ints) -> tuple[Codes, Ints, Bools]:
    """What the records of these touchpoints say: ``approval, approved_at, expired``."""
    touchpoints = deals.snapshot.touchpoints
    approval = np.full(len(rows), _APPROVAL["none"], dtype=np.int8)
    approved_at, expired = np.full(len(rows), OPEN), np.zeros(len(rows), dtype=bool)
    if len(touchpoints.judged) and len(rows):
        at = np.minimum(np.searchsorted(touchpoints.judged, rows), len(touchpoints.judged) - 1)
        judged = touchpoints.judged[at] == rows
        at = at[judged]
        approval[judged] = touchpoints.approval[at]
        approved_at[judged] = touchpoints.approved_at[at]
        expired[judged] = _expired(deals)[at]
    return approval, approved_at, expired


def _by_approval(deal: NDArray[np.integer[Any]], happened: Ints, approved_at: Ints) -> Ints:
    """Order of evidence that is in path order: that of one deal and instant by the earliest approval."""
    order = np.arange(len(deal))
    same = (np.diff(deal) == 0) & (np.diff(happened) == 0)
    tied = np.flatnonzero(np.append(same, [False]) | np.append([False], same)) if len(deal) else order
    if len(tied):
        by_approval = np.lexsort((tied, approved_at[tied], happened[tied], deal[tied]))
        order[tied] = tied[by_approval]
    return order


def _void(deals: Deals, deal: NDArray[np.integer[Any]], happened: Ints) -> Bools:
    """Whether we were working the account of these deals already at these instants, as the policy sees it."""
    void = np.zeros(len(deal), dtype=bool)
    if "open_opportunity" in deals.policy.void_by:
        void |= _open_elsewhere(deals, deal, happened)
    if "direct_activity" in deals.policy.void_by:
        void |= _direct_before(deals, deal, happened)
    return void


def _direct_before(deals: Deals, deal: NDArray[np.integer[Any]], happened: Ints) -> Bools:
    """Whether our own people touched the account in the ``direct_activity_days`` before these instants."""
    acts, account = deals.snapshot.direct, deals.snapshot.deals.account[deal]
    moments = np.sort(acts.occurred_at)

    def keys(account: NDArray[np.int32], rank: Ints) -> Ints:
        """Numbers that sort by account, then instant."""
        return account * np.int64(len(moments) + 1) + rank

    known = acts.account >= 0
    ordered = np.sort(keys(acts.account, np.searchsorted(moments, acts.occurred_at))[known])
    oldest = happened - deals.policy.direct_activity_days * DAY
    before = np.searchsorted(ordered, keys(account, np.searchsorted(moments, oldest)))
    until = np.searchsorted(ordered, keys(account, np.searchsorted(moments, happened, side="right")))
    worked: Bools = (until > before) & (account >= 0)
    return worked


def _open_elsewhere(deals: Deals, deal: NDArray[np.integer[Any]], happened: Ints) -> Bools:
    """Whether *another* new or unclassified deal of the same account was open at these instants.

    Open at t = created at or before t, less closed at or before t; both counts by binary search, whatever
    the number of deals of an account.
    """
    columns = deals.snapshot.deals
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


def decided_by_crm(deals: Deals) -> tuple[Bools, Bools]:
    """Masks over all touchpoints: those that the CRM says are approved, and those it says are pending."""
    touchpoints = deals.snapshot.touchpoints
    approved = np.zeros(len(touchpoints), dtype=bool)
    pending = np.zeros(len(touchpoints), dtype=bool)
    is_approved = touchpoints.approval == _APPROVAL["approved"]
    by_now = touchpoints.approved_at <= deals.snapshot.as_of
    approved[touchpoints.judged[is_approved & by_now]] = True
    is_pending = (touchpoints.approval == _APPROVAL["pending"]) | (is_approved & ~by_now)
    pending[touchpoints.judged[is_pending]] = True
    return approved, pending
