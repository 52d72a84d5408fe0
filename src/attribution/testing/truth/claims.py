"""Sections 5 and 6: who sourced a deal, who influenced it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from attribution.testing.truth.drafts import Draft
from attribution.testing.truth.facts import TouchpointTruth
from attribution.testing.truth.partners import Partners
from attribution.testing.truth.records import Book, read
from attribution.testing.truth.touches import Touch

__all__ = ["influenced", "sourcing", "touchpoint"]

Working = tuple[Mapping[str, list[Draft]], Collection[tuple[str, str | None, frozenset[str], datetime]]]
"""What shows that we were working an account: deals by account, and touches of our own people."""
_LOGGED_LATE = timedelta(days=14)
_LATEST = datetime.max.replace(tzinfo=UTC)
_OF_PEOPLE = ("meeting", "call", "email", "task", "campaign_response", "contact_role")
"""Kinds that are no touchpoint where the partner is the buyer (rule 3.3)."""


def _expiry(book: Book, touch: Touch) -> datetime | None:
    """Rule 5.1: the mapped date, else a registration's approval and the term."""
    if touch.expires_at is None and touch.kind == "deal_registration" and touch.approved_at is not None:
        return touch.approved_at + timedelta(days=book.rules.registration_term_days)
    return touch.expires_at


def _has_expired(book: Book, deal: Draft, touch: Touch) -> bool:
    """Rule 5.1: whether it had expired when the deal was created."""
    expiry = _expiry(book, touch)
    return expiry is not None and deal.created_at > expiry


def touchpoint(book: Book, partners: Partners, deal: Draft, touch: Touch) -> TouchpointTruth:
    """Rules 3.3, 3.4, 4.1, 6.1: a touchpoint with what is to be said of it on its deal."""
    own = book.is_own(touch.partner_id, deal.account_id)
    own_account = own and touch.kind in _OF_PEOPLE
    end = deal.closed_at or book.as_of
    in_window = end - timedelta(days=book.rules.influence_window_days) <= touch.occurred_at <= end
    out = own_account or touch.kind == "handed_over" or touch.strength == "exposure"
    out = out or touch.approval == "rejected" or _has_expired(book, deal, touch)
    program, tier = partners.membership(touch.partner_id, touch.occurred_at, touch.program_id)
    return TouchpointTruth(
        id=touch.id,
        occurred_at=touch.occurred_at,
        recorded_at=touch.recorded_at,
        partner_id=touch.partner_id,
        program_id=program,
        kind=touch.kind,
        strength=touch.strength,
        own_account=own_account,
        self_deal=own and not own_account,
        logged_late=abs(touch.recorded_at - touch.occurred_at) > _LOGGED_LATE,
        counting=in_window and not out,
        tier_id=tier,
        approval=touch.approval,
    )


# --- 5. sourced --------------------------------------------------------------------------------------------


def _rank(book: Book, deal: Draft, touch: Touch) -> int | None:
    """Rank a touchpoint as sourcing evidence; None if it is none."""
    rules = book.rules
    if touch.kind == "deal_registration":
        in_time = touch.occurred_at <= deal.created_at + timedelta(days=rules.registration_grace_days)
        approved = touch.approval == "approved" and not _has_expired(book, deal, touch)
        return 1 if in_time and approved else None
    if touch.kind == "referral":
        reach = timedelta(days=rules.lead_max_age_days if touch.linked else rules.sourcing_window_days)
        return 2 if deal.created_at - reach <= touch.occurred_at <= deal.created_at else None
    if touch.kind in ("partner_owned", "sourced_by") or touch.sourcing:
        return 3
    return 3 if touch.kind == "role" and touch.role in rules.sourcing_roles else None


def _is_void(book: Book, deal: Draft, at: datetime, working: Working) -> bool:
    """Another new deal of the account was open at that instant, or our own people had touched the account."""
    rules, (by_account, direct) = book.rules, working
    since = at - timedelta(days=rules.direct_activity_days)
    if "direct_activity" in rules.void_by and any(
        deal.id in related and since <= when <= at for _, _, related, when in direct
    ):
        return True
    return "open_opportunity" in rules.void_by and any(
        other.id != deal.id
        and other.deal_type in ("new", "unclassified")
        and other.created_at <= at
        and (other.closed_at is None or at < other.closed_at)
        for other in by_account.get(deal.account_id or "", ())
    )


def sourcing(book: Book, deal: Draft, working: Working) -> tuple[Touch | None, bool, bool]:
    """(winning evidence, contested, unverified)."""
    if deal.deal_type == "renewal":
        return None, False, False
    valid = []
    for touch in deal.touches:
        rank = _rank(book, deal, touch)
        late = touch.recorded_at > deal.created_at + timedelta(days=book.rules.claim_days)
        if rank is None or late or touch.approval == "rejected":
            continue
        void = rank > 1 and _is_void(book, deal, touch.occurred_at, working)
        if not void and not _has_expired(book, deal, touch):
            order = (rank, touch.occurred_at, touch.approved_at or _LATEST, touch.id.encode())
            valid.append((order, touch))
    valid.sort(key=lambda item: item[0])
    if valid:
        return valid[0][1], len({touch.partner_id for _, touch in valid}) >= 2, False
    named = {name.casefold() for name in book.rules.partner_lead_sources}
    lead_source = (read(deal.record, "LeadSource", str) or "").casefold()
    return None, False, lead_source in named and not _is_void(book, deal, deal.created_at, working)


# --- 6. influenced -----------------------------------------------------------------------------------------


def _is_enough(book: Book, touches: list[Touch]) -> bool:
    """Rule 6.2: one strong, or two weak ones from different records on distinct calendar days."""
    if any(touch.strength == "strong" for touch in touches):
        return True
    # One partner has one touchpoint per record, so two days make two records.
    return len({touch.occurred_at.astimezone(book.zone).date() for touch in touches}) >= 2


def _passes_guards(book: Book, deal: Draft, touches: list[Touch]) -> bool:
    """Rule 6.3: one and the same touchpoint is early enough, and before the last of several open spells."""
    if deal.closed_at is None:
        return True
    entered = [at for _, is_closed, at in deal.spells if not is_closed and at < deal.closed_at]
    latest = deal.closed_at - timedelta(days=book.rules.late_days)
    return any(
        touch.occurred_at <= latest and (len(entered) < 2 or touch.occurred_at < entered[-1])
        for touch in touches
    )


def _state(book: Book, deal: Draft, touches: list[Touch]) -> str:
    """Rule 6.4: what the CRM says, else automatic approval; no local decisions are kept here."""
    said = {touch.approval for touch in touches}
    for state in ("approved", "pending"):
        if state in said:
            return state
    owner = read(deal.record, "OwnerId", str)
    for touch in touches:
        if touch.strength != "strong":
            continue
        by_owner = touch.author_id == owner and book.is_internal(owner)
        hosted = any(book.is_internal(host) and host not in book.rules.partner_team for host in touch.hosts)
        if by_owner or (touch.kind == "meeting" and hosted):
            return "auto_approved"
    return "claimed"


def influenced(
    book: Book, deal: Draft, points: Mapping[str, TouchpointTruth], sourced_by: str | None
) -> tuple[tuple[str, str, tuple[str | None, ...]], ...]:
    """(partner, state, programs) of every partner that influenced the deal."""
    found = []
    for partner in sorted({touch.partner_id for touch in deal.touches} - {sourced_by or ""}):
        mine = [touch for touch in deal.touches if touch.partner_id == partner and points[touch.id].counting]
        if mine and _is_enough(book, mine) and _passes_guards(book, deal, mine):
            programs = {points[touch.id].program_id for touch in mine}
            state = _state(book, deal, mine)
            found.append((partner, state, tuple(sorted(programs, key=lambda p: p or ""))))
    return tuple(found)
