"""RULES 5 and 6 read slowly: one deal, one touchpoint at a time, over the notation's own objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from attribution.deals import Flag
from attribution.policy import Policy
from tests.notation import Path, Touch

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Truth:
    source: Touch | None
    contested: bool
    unverified: bool
    influenced: dict[str, tuple[str, set[str | None]]]
    """State, and programs of the counting touchpoints, per partner."""
    players: list[Touch]


def in_order(touches: list[Touch]) -> list[Touch]:
    return sorted(touches, key=lambda touch: (touch.day, f"Event:{touch.record}:{touch.partner}"))


def attached(touch: Touch, policy: Policy) -> bool:
    return touch.reach is None or touch.reach[0] <= policy.influence_window_days < touch.reach[1]


def void(paths: list[Path], deal: Path, day: float, policy: Policy) -> bool:
    return bool(policy.void_by) and any(
        other is not deal
        and other.account == deal.account is not None
        and other.type in ("new", "unclassified")
        and other.created <= day
        and (other.closed is None or day < other.closed)
        for other in paths
    )


def rank(touch: Touch, deal: Path, policy: Policy) -> int | None:
    if touch.kind == "referral":
        oldest = policy.lead_max_age_days if touch.flags & Flag.LINKED else policy.sourcing_window_days
        return 2 if deal.created - oldest <= touch.day <= deal.created else None
    if touch.kind == "partner_owned" or (touch.kind == "role" and touch.role in policy.sourcing_roles):
        return 3
    return None


def truth(paths: list[Path], deal: Path, as_of: float, policy: Policy, zone: str) -> Truth:
    evidence = []
    for touch in in_order(deal.touches):
        recorded = touch.day if touch.recorded is None else touch.recorded
        if (
            attached(touch, policy)
            and not touch.flags & Flag.OWN_ACCOUNT
            and rank(touch, deal, policy)
            and recorded <= deal.created + policy.claim_days
            and not void(paths, deal, touch.day, policy)
            and deal.type != "renewal"
        ):
            evidence.append(touch)
    evidence.sort(key=lambda touch: rank(touch, deal, policy))
    source = evidence[0] if evidence else None
    unverified = (
        source is None
        and deal.lead_source in policy.partner_lead_sources
        and deal.type != "renewal"
        and not void(paths, deal, deal.created, policy)
    )

    end = as_of if deal.closed is None else deal.closed
    players = [
        touch
        for touch in in_order(deal.touches)
        if attached(touch, policy)
        and touch.strength != "exposure"
        and not touch.flags & Flag.OWN_ACCOUNT
        and touch.kind != "handed_over"
        and end - policy.influence_window_days <= touch.day <= end
    ]
    influenced = {}
    for partner in {touch.partner for touch in players} - {source.partner if source else None}:
        mine = [touch for touch in players if touch.partner == partner]
        strong = [touch for touch in mine if touch.strength == "strong"]
        days = {
            (EPOCH + timedelta(days=t.day)).astimezone(ZoneInfo(zone)).date() for t in mine if t not in strong
        }
        if not strong and len(days) < 2:
            continue
        if deal.closed is not None and not any(
            touch.day <= deal.closed - policy.late_days
            and (deal.reopened is None or touch.day < deal.reopened)
            for touch in mine
        ):
            continue
        approved = any(
            touch.flags & Flag.BY_OWNER or set(touch.hosts) - set(policy.partner_team) for touch in strong
        )
        influenced[partner] = "auto_approved" if approved else "claimed", {touch.program for touch in mine}
    contested = len({touch.partner for touch in evidence}) > 1
    return Truth(source, contested, unverified, influenced, players)
