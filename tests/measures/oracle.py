"""RULES 5 and 6 read slowly: one deal, one touchpoint at a time, over the notation's own objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from attribution.columns import KINDS, Decision, Flag
from attribution.policy import Policy
from tests.notation import Path, Touch

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Truth:
    source: Touch | None
    contested: bool
    contested_by_direct: bool
    unverified: bool
    influenced: dict[str, tuple[str, list[Touch]]]
    """State and counting touchpoints, per partner."""
    players: list[Touch]
    involved: list[Touch]
    """Touchpoints that tie their partner to the deal, whatever their age (7.3)."""
    verdicts: dict[str, str]
    """What became of each record as sourcing evidence."""
    refused: dict[str, set[str]]
    """Why each record does not count."""
    standings: dict[str, str]
    """What every partner with a touchpoint is."""
    step: str
    """Of the waterfall."""


def in_order(touches: list[Touch]) -> list[Touch]:
    return sorted(touches, key=lambda touch: (touch.day, f"Event:{touch.record}:{touch.partner}"))


def attached(touch: Touch, policy: Policy) -> bool:
    return touch.reach is None or touch.reach[0] <= policy.influence_window_days < touch.reach[1]


def void(paths: list[Path], deal: Path, day: float, policy: Policy) -> bool:
    if "direct_activity" in policy.void_by and any(
        day - policy.direct_activity_days <= act.day <= day
        for other in paths
        for act in other.direct
        if other.account == deal.account is not None
    ):
        return True
    return "open_opportunity" in policy.void_by and any(
        other is not deal
        and other.account == deal.account is not None
        and other.type in ("new", "unclassified")
        and other.created <= day
        and (other.closed is None or day < other.closed)
        for other in paths
    )


def approval(touch: Touch, as_of: float) -> str:
    if touch.approval == "approved" and touch.approved > as_of:
        return "pending"
    return touch.approval


def expired(touch: Touch, deal: Path, policy: Policy) -> bool:
    if touch.expires is not None:
        return not deal.created < touch.expires  # an expiry date lasts to the end of its day
    if touch.kind == "deal_registration" and touch.approval == "approved":
        return not deal.created <= touch.approved + policy.registration_term_days
    return False


def rank(touch: Touch, deal: Path, as_of: float, policy: Policy) -> int | None:
    if approval(touch, as_of) == "rejected" or expired(touch, deal, policy):
        return None
    if touch.kind == "deal_registration":
        in_time = touch.day <= deal.created + policy.registration_grace_days
        return 1 if in_time and approval(touch, as_of) == "approved" else None
    if touch.kind == "referral":
        oldest = policy.lead_max_age_days if touch.flags & Flag.LINKED else policy.sourcing_window_days
        return 2 if deal.created - oldest <= touch.day <= deal.created else None
    if touch.kind in ("partner_owned", "sourced_by"):
        return 3
    if touch.kind == "role" and touch.role in policy.sourcing_roles:
        return 3
    return 3 if touch.kind not in KINDS and touch.flags & Flag.SOURCING else None


def verdict(paths: list[Path], touch: Touch, deal: Path, as_of: float, policy: Policy, declined: bool) -> str:
    """The first reason, in the order of the rules, for which a touchpoint does not source the deal."""
    by_mapping = touch.kind not in KINDS and touch.flags & Flag.SOURCING
    by_role = touch.kind == "role" and touch.role in policy.sourcing_roles
    rank_3 = touch.kind in ("partner_owned", "sourced_by") or by_mapping or by_role
    sources = touch.kind in ("deal_registration", "referral") or rank_3
    if not sources or not attached(touch, policy) or touch.flags & Flag.OWN_ACCOUNT:
        return "none"
    said = approval(touch, as_of)
    if said == "rejected":
        return "rejected"
    if said == "none" and declined:
        return "declined"
    if touch.kind == "deal_registration":
        if said != "approved":
            return {"none": "unapproved", "pending": "pending"}[said]
        if touch.day > deal.created + policy.registration_grace_days:
            return "submitted_late"
    if expired(touch, deal, policy):
        return "expired"
    if touch.kind == "referral" and rank(touch, deal, as_of, policy) is None:
        return "outside_window"
    if (touch.day if touch.recorded is None else touch.recorded) > deal.created + policy.claim_days:
        return "late"
    if touch.kind != "deal_registration" and void(paths, deal, touch.day, policy):
        return "void"
    return "renewal" if deal.type == "renewal" else "valid"


def refusals(touch: Touch, deal: Path, as_of: float, policy: Policy) -> set[str]:
    """Every reason for which a touchpoint does not count."""
    end = as_of if deal.closed is None else deal.closed
    window = policy.influence_window_days
    holds = {
        "ambiguous": touch.reach is not None and window >= touch.reach[1],
        "out_of_reach": touch.reach is not None and window < touch.reach[0],
        "own_account": touch.flags & Flag.OWN_ACCOUNT,
        "rejected": touch.approval == "rejected",
        "handed_over": touch.kind == "handed_over",
        "exposure": touch.strength == "exposure",
        "expired": expired(touch, deal, policy),
        "after_close": touch.day > end,
        "outside_window": touch.day < end - window,
    }
    return {name for name, reason in holds.items() if reason}


def truth(
    paths: list[Path],
    deal: Path,
    as_of: float,
    policy: Policy,
    zone: str,
    decisions: tuple[Decision, ...] = (),
) -> Truth:
    decided = {
        (each.claim.kind, each.claim.partner_id.removesuffix("-id")): each.approve
        for each in decisions
        if each.claim.opportunity_id == deal.id
    }
    evidence, verdicts, refused = [], {}, {}
    for touch in in_order(deal.touches):
        declined = decided.get(("sourced", touch.partner)) is False
        verdicts[touch.record] = verdict(paths, touch, deal, as_of, policy, declined)
        refused[touch.record] = refusals(touch, deal, as_of, policy)
        recorded = touch.day if touch.recorded is None else touch.recorded
        if (
            attached(touch, policy)
            and not touch.flags & Flag.OWN_ACCOUNT
            and rank(touch, deal, as_of, policy)
            and recorded <= deal.created + policy.claim_days
            and (touch.kind == "deal_registration" or not void(paths, deal, touch.day, policy))
            and deal.type != "renewal"
            and not (declined and approval(touch, as_of) == "none")
        ):
            evidence.append(touch)
    never = float("inf")
    evidence.sort(
        key=lambda touch: (
            rank(touch, deal, as_of, policy),
            touch.day,
            touch.approved if approval(touch, as_of) == "approved" else never,
        )
    )
    source = evidence[0] if evidence else None
    unverified = (
        source is None
        and deal.lead_source in policy.partner_lead_sources
        and deal.type != "renewal"
        and not void(paths, deal, deal.created, policy)
    )

    end = as_of if deal.closed is None else deal.closed
    involved = [
        touch
        for touch in in_order(deal.touches)
        if attached(touch, policy)
        and touch.strength != "exposure"
        and not touch.flags & Flag.OWN_ACCOUNT
        and touch.approval != "rejected"
    ]
    players = [
        touch
        for touch in involved
        if touch.kind != "handed_over"
        and not expired(touch, deal, policy)
        and end - policy.influence_window_days <= touch.day <= end
    ]
    influenced = {}
    standings = dict.fromkeys({touch.partner for touch in deal.touches}, "none")
    if source is not None:
        standings[source.partner] = "sourced"
    for partner in {touch.partner for touch in players} - {source.partner if source else None}:
        mine = [touch for touch in players if touch.partner == partner]
        strong = [touch for touch in mine if touch.strength == "strong"]
        days = {
            (EPOCH + timedelta(days=t.day)).astimezone(ZoneInfo(zone)).date() for t in mine if t not in strong
        }
        standings[partner] = "weak_only"
        if not strong and len(days) < 2:
            continue
        standings[partner] = "too_late"
        if deal.closed is not None and not any(
            touch.day <= deal.closed - policy.late_days
            and (deal.reopened is None or touch.day < deal.reopened)
            for touch in mine
        ):
            continue
        automatic = any(
            touch.flags & Flag.BY_OWNER or set(touch.hosts) - set(policy.partner_team) for touch in strong
        )
        by_crm = {approval(touch, as_of) for touch in mine}
        here = decided.get(("influenced", partner))
        standings[partner] = "rejected"
        if here is False and not by_crm & {"approved", "pending"}:
            continue
        standings[partner] = "influenced"
        if "approved" in by_crm:
            state = "approved"
        elif "pending" in by_crm:
            state = "pending"
        elif here:
            state = "approved"
        else:
            state = "auto_approved" if automatic else "claimed"
        influenced[partner] = state, mine
    contested = len({touch.partner for touch in evidence}) > 1
    direct = source is not None and source.kind == "deal_registration"
    direct = direct and void(paths, deal, source.day, policy)
    touched = [t for t in deal.touches if attached(t, policy) and not t.flags & Flag.OWN_ACCOUNT]
    if source is not None:
        step = "sourced"
    elif {state for state, _ in influenced.values()} & {"approved", "auto_approved"}:
        step = "influenced"
    elif any(touch.strength == "strong" for touch in touched):
        step = "unqualified"
    else:
        step = "exposed" if touched else "direct"
    return Truth(
        source,
        contested,
        direct,
        unverified,
        influenced,
        players,
        involved,
        verdicts,
        refused,
        standings,
        step,
    )
