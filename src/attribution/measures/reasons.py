"""Why: what each touchpoint of one deal was worth, and what each partner is on it, in words.

Nothing is decided here. :mod:`attribution.measures.evidence` and :mod:`attribution.measures.claims` have
decided; this finds the numbers, dates and records that made it so, and says it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution.columns import Claim, Decision, Flag, Party
from attribution.measures.claims import STANDINGS, STATES
from attribution.measures.evidence import VERDICTS, counting
from attribution.measures.facts import Facts
from attribution.measures.influence_reasons import influence_reasons, refusals
from attribution.measures.sourcing_reasons import sourcing_reasons
from attribution.views import Touchpoint

__all__ = ["Evidence", "Standing", "evidence_of", "standings_of"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One touchpoint of the deal, and what it was worth."""

    touchpoint: Touchpoint
    counts: bool
    """For influence, and as a player of credit."""
    refused: tuple[str, ...]
    """Why it does not count: keys of ``REFUSALS``."""
    sourcing: str
    """What became of it as sourcing evidence: ``won``, ``lost``, or one of ``evidence.VERDICTS``."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What one partner is on the deal, and why it is that and no more."""

    partner: Party
    standing: str
    """``sourced``, ``influenced``, ``weak_only``, ``too_late``, ``rejected`` or ``none``: nothing counts."""
    state: str | None
    """Approval of an influenced claim: ``approved``, ``auto_approved``, ``claimed`` or ``pending``."""
    headline: bool
    reasons: tuple[str, ...]
    claim: Claim
    """What ``Store.decide`` takes: the sourced claim of who sourced the deal, else the influenced one."""
    decisions: tuple[Decision, ...]
    """What was decided here about its claims, the oldest first."""


def evidence_of(facts: Facts) -> tuple[Evidence, ...]:
    """Every touchpoint of the deal, in path order, those that the account rule withholds too."""
    counts, verdict = counting(facts.deals), facts.found.sourcing.verdict
    return tuple(
        Evidence(
            facts.deals.touchpoint(int(row)),
            bool(counts[row]),
            () if counts[row] else tuple(refusals(facts, int(row))),
            _sourcing(facts, int(row), VERDICTS[verdict[row]]),
        )
        for row in facts.rows
    )


def _sourcing(facts: Facts, row: int, verdict: str) -> str:
    if verdict != "valid":
        return verdict
    touchpoints = facts.deals.snapshot.touchpoints
    mine = touchpoints.partner[row] == touchpoints.partner[facts.source]
    return "won" if row == facts.source else "valid" if mine else "lost"


def standings_of(facts: Facts) -> tuple[Standing, ...]:
    """Every partner with a touchpoint on the deal: the source, then headline claims, then by path."""
    partners = list(dict.fromkeys(facts.deals.snapshot.touchpoints.partner[facts.rows].tolist()))
    standings = [_standing(facts, partner) for partner in partners]
    order = {"sourced": 0, "influenced": 1}
    return tuple(
        sorted(standings, key=lambda each: (order.get(each.standing, 2), each.standing, not each.headline))
    )


def _standing(facts: Facts, partner: int) -> Standing:
    snapshot, found = facts.deals.snapshot, facts.found
    first, last = np.searchsorted(found.deal, [facts.position, facts.position + 1])
    pair = first + np.flatnonzero(found.partner[first:last] == partner)
    standing = STANDINGS[found.standing[pair[0]]] if len(pair) else "none"
    if facts.source >= 0 and snapshot.touchpoints.partner[facts.source] == partner:
        # evidence that is too old to count may still source
        standing = "sourced"
    state = STATES[found.state[pair[0]]] if standing == "influenced" else None
    party = snapshot.partners[partner]
    deal = snapshot.deals.id[facts.position].decode()
    mine = tuple(
        each
        for each in snapshot.decisions
        if (each.claim.opportunity_id, each.claim.partner_id) == (deal, party.id)
    )
    reasons = [*sourcing_reasons(facts, partner), *influence_reasons(facts, partner, standing, state)]
    if (snapshot.touchpoints.flags[facts.of(partner)] & Flag.SELF_DEAL).any():
        reasons.append("It is a self-deal: the customer is the partner itself, or of its family.")
    return Standing(
        party,
        standing,
        state,
        standing == "sourced" or state in ("approved", "auto_approved"),
        tuple(reasons),
        Claim(deal, party.id, "sourced" if standing == "sourced" else "influenced"),
        mine,
    )
