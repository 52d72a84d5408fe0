"""Why a partner influenced a deal, or why it did not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attribution.columns import APPROVALS, DAY, KINDS, OPEN, STRENGTHS, Flag, Ints
from attribution.measures.evidence import counting, decided_here
from attribution.measures.facts import Facts
from attribution.measures.wording import REFUSALS, days_text

__all__ = ["influence_reasons", "refusals"]

_APPROVED, _REJECTED = APPROVALS.index("approved"), APPROVALS.index("rejected")
_STRONG = STRENGTHS.index("strong")


def influence_reasons(facts: Facts, partner: int, standing: str, state: str | None) -> Iterator[str]:
    """What made a partner what it is on the deal, as far as influence goes."""
    rows = facts.of(partner)
    counting_rows = rows[counting(facts.deals)[rows]]
    match standing:
        case "sourced":
            overruled = decided_here(facts.deals, "sourced").get((facts.position, partner))
            if overruled is not None and not overruled.approve:
                yield f"The CRM outranks what was decided here: {facts.decided(overruled)}"
            return
        case "none":
            refused = dict.fromkeys(reason for row in rows for reason in refusals(facts, int(row)))
            yield f"None of its evidence counts: {'; '.join(REFUSALS[reason] for reason in refused)}."
            return
        case "weak_only":
            facts.note("strength")
            n = len(counting_rows)
            much = "one touchpoint" if n == 1 else f"{n} touchpoints on one day"
            yield f"Its evidence is weak, and too little: {much}."
            return
        case "too_late":
            facts.note("late_days")
            yield _too_late(facts, counting_rows)
            return
        case "rejected":
            decided = decided_here(facts.deals, "influenced")[facts.position, partner]
            yield f"Its influence was {facts.decided(decided)}"
            return
    facts.note("strength")
    if facts.closed_at == OPEN:
        yield "The deal is open, so the claim is provisional."
    else:
        facts.note("late_days")
    approved = counting_rows[facts.approval[counting_rows - facts.rows[0]] == _APPROVED]
    decision = decided_here(facts.deals, "influenced").get((facts.position, partner))
    if state == "pending":
        yield "Its approval is pending in the CRM."
    elif state == "approved" and len(approved):
        yield "Its influence was approved in the CRM."
    elif state == "approved" and decision is not None:
        yield f"Its influence was {facts.decided(decision)}"
    elif state == "auto_approved":
        flags = facts.deals.snapshot.touchpoints.flags[counting_rows]
        strong = facts.deals.strength[counting_rows] == _STRONG
        if (strong & ((flags & Flag.BY_OWNER) != 0)).any():
            yield "The owner of the opportunity recorded it, which approves it."
        else:
            facts.note("partner_team")
            yield "One of our own people was in the meeting, which approves it."
    elif state == "claimed":
        noun = facts.noun(int(counting_rows[0]))
        day = facts.day(facts.occurred_at(int(counting_rows[0])))
        yield f"Nobody of ours has confirmed its {noun} of {day} yet."
    if decision is not None and (state == "pending" or (state == "approved" and not decision.approve)):
        yield f"The CRM outranks what was decided here: {facts.decided(decision)}"


def refusals(facts: Facts, row: int) -> Iterator[str]:
    """Why a touchpoint does not count: keys of ``REFUSALS``."""
    touchpoints, policy = facts.deals.snapshot.touchpoints, facts.deals.policy
    at = row - int(facts.rows[0])
    if not facts.deals.attached[row]:
        reached = int(np.searchsorted(touchpoints.reached, row))
        near = touchpoints.reach_from[reached] <= policy.influence_window_days * DAY
        facts.note("influence_window_days")
        yield "ambiguous" if near else "out_of_reach"
    if touchpoints.flags[row] & Flag.OWN_ACCOUNT:
        yield "own_account"
    if facts.approval[at] == _REJECTED:
        yield "rejected"
    if touchpoints.kind[row] == KINDS.index("handed_over"):
        yield "handed_over"
    if not touchpoints.flags[row] & Flag.STRENGTH:
        yield "exposure"
    if facts.expired[at]:
        if facts.expires_at(row) == OPEN:
            facts.note("registration_term_days")
        yield "expired"
    if touchpoints.occurred_at[row] > facts.end:
        facts.note("influence_window_days")
        yield "after_close"
    if touchpoints.occurred_at[row] < facts.end - policy.influence_window_days * DAY:
        facts.note("influence_window_days")
        yield "outside_window"


def _too_late(facts: Facts, rows: Ints) -> str:
    policy = facts.deals.policy
    first = int(facts.deals.snapshot.touchpoints.occurred_at[rows].min())
    limit = facts.closed_at - policy.late_days * DAY
    if first > limit:
        mine, latest, closed = facts.days(first, limit, facts.closed_at)
        return (
            f"Its first counting touchpoint is of {mine}, and one of {latest} or earlier is needed: "
            f"{days_text(policy.late_days)} before the close on {closed}."
        )
    reopened = int(facts.deals.snapshot.deals.last_open_spell_at[facts.position])
    mine, began = facts.days(first, reopened)
    return (
        f"Its first counting touchpoint is of {mine}, and one before the last open stage is needed, which "
        f"began on {began}."
    )
