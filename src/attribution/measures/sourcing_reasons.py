"""Why a partner sourced a deal, or what became of the evidence by which it could have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attribution.columns import DAY, DEAL_TYPES, KINDS, OPEN, Flag
from attribution.measures.evidence import VERDICTS, decided_here
from attribution.measures.facts import Facts
from attribution.measures.wording import RANKS, called, days_text, noun

__all__ = ["contenders", "contested_by_direct", "sourcing_reasons"]


def sourcing_reasons(facts: Facts, partner: int) -> Iterator[str]:
    """What became of each piece of evidence by which the partner could have sourced the deal."""
    verdict = facts.found.sourcing.verdict
    winner = facts.deals.snapshot.touchpoints.partner[facts.source] if facts.source >= 0 else -1
    for row in facts.of(partner):
        name = VERDICTS[verdict[row]]
        if name == "valid":
            if row == facts.source:
                yield _won(facts, row)
            elif winner != partner:
                yield _lost(facts, row)
        elif name != "none":
            yield _out(facts, row, name)


def _won(facts: Facts, row: int) -> str:
    facts.note("rank")
    facts.note("claim_days")
    noun, happened = facts.noun(row), facts.occurred_at(row)
    if facts.deals.snapshot.touchpoints.kind[row] != KINDS.index("deal_registration"):
        if facts.deals.policy.void_by:
            facts.note("void_by")
        day, created = facts.day(happened), facts.day(facts.created_at)
        return f"Its {noun} of {day} came first. The deal was created on {created}."
    facts.note("registration_grace_days")
    until, created = facts.days(facts.holds_until(row), facts.created_at)
    approved = facts.day(facts.approved_at(row))
    return (
        f"Its {noun} of {facts.day(happened)} was approved on {approved} and held until {until}. "
        f"It covers the deal, which was created on {created}."
    )


def _lost(facts: Facts, row: int) -> str:
    """Valid evidence that another partner's was before."""
    facts.note("rank")
    rank, best = facts.ranks[row - facts.rows[0]], facts.ranks[facts.source - facts.rows[0]]
    ours, first = facts.occurred_at(row), facts.occurred_at(facts.source)
    other = facts.deals.snapshot.partners[facts.deals.snapshot.touchpoints.partner[facts.source]].name
    if rank != best:
        return f"{_its(facts, row)} is valid, but {RANKS[best]} ranks before {RANKS[rank]}."
    if ours != first:
        mine, theirs = facts.days(ours, first)
        return f"Its {facts.noun(row)} of {mine} is valid, but that of {other} came first, on {theirs}."
    mine = f"{_its(facts, row)} is valid"
    approved, first = facts.approved_at(row), facts.approved_at(facts.source)
    if approved == OPEN != first:
        return f"{mine}, but that of {other} came at the same time and was approved, on {facts.day(first)}."
    if approved != first:
        later, earlier = facts.days(approved, first)
        return f"{mine} and was approved on {later}, but that of {other} of the same time on {earlier}."
    return f"{mine}, but that of {other} of the same time has the smaller id."


def _out(facts: Facts, row: int, verdict: str) -> str:
    """Evidence that is not valid, and what made it so."""
    policy = facts.deals.policy
    match verdict:
        case "rejected":
            return f"{_its(facts, row)} was rejected in the CRM."
        case "declined":
            decided = decided_here(facts.deals, "sourced")
            partner = int(facts.deals.snapshot.touchpoints.partner[row])
            return f"Its claim to have sourced it was {facts.decided(decided[facts.position, partner])}"
        case "unapproved":
            return f"{_its(facts, row)} was never approved."
        case "pending":
            return f"{_its(facts, row)} is not approved yet."
        case "submitted_late":
            facts.note("registration_grace_days")
            latest = facts.created_at + policy.registration_grace_days * DAY
            its, created = _its_beside_creation(facts, row, latest)
            days = days_text(policy.registration_grace_days)
            return f"{its} came more than {days} after the deal was created on {created}."
        case "expired":
            until, created = facts.days(facts.holds_until(row), facts.created_at)
            return (
                f"{_its(facts, row)} held until {until}. "
                f"It had expired when the deal was created on {created}."
            )
        case "outside_window":
            return _outside(facts, row)
        case "late":
            facts.note("claim_days")
            latest = facts.created_at + policy.claim_days * DAY
            recorded, created = facts.days(facts.recorded_at(row), facts.created_at, beside=[latest])
            return (
                f"Its {facts.noun(row)} was recorded on {recorded}. That is too late: the deal was "
                f"created on {created}, and {days_text(policy.claim_days)} are allowed."
            )
        case "void":
            facts.note("void_by")
            happened, blocker = _blocker(facts, facts.occurred_at(row))
            return f"Its {facts.noun(row)} of {happened} is void. {blocker}"
        case _:
            facts.note("renewal")
            return f"{_its(facts, row)} brings nothing: the deal is a renewal."


def _its(facts: Facts, row: int) -> str:
    return f"Its {facts.noun(row)} of {facts.day(facts.occurred_at(row))}"


def _its_beside_creation(facts: Facts, row: int, limit: int) -> tuple[str, str]:
    """A piece of evidence that missed a limit, and the creation of the deal that the limit counts from."""
    happened, created = facts.days(facts.occurred_at(row), facts.created_at, beside=[limit])
    return f"Its {facts.noun(row)} of {happened}", created


def _outside(facts: Facts, row: int) -> str:
    linked = bool(facts.deals.snapshot.touchpoints.flags[row] & Flag.LINKED)
    name = "lead_max_age_days" if linked else "sourcing_window_days"
    facts.note(name)
    days: int = getattr(facts.deals.policy, name)
    its, created = _its_beside_creation(facts, row, facts.created_at - days * DAY)
    if facts.occurred_at(row) > facts.created_at:
        return f"{its} came after the deal was created on {created}."
    return f"{its} came more than {days_text(days)} before the deal was created on {created}."


def _blocker(facts: Facts, at: int) -> tuple[str, str]:
    """When evidence of an instant was, and what voids it: the oldest other new deal open then.

    Else the last direct touch on the account before it.
    """
    columns, names = facts.deals.snapshot.deals, facts.deals.snapshot.names
    new = [DEAL_TYPES.index("new"), DEAL_TYPES.index("unclassified")]
    same = (columns.account == columns.account[facts.position]) & np.isin(columns.deal_type, new)
    was_open = same & (columns.created_at <= at) & (at < columns.closed_at)
    was_open[facts.position] = False
    others = np.flatnonzero(was_open)
    if "open_opportunity" not in facts.deals.policy.void_by or not len(others):
        return _direct_touch(facts, at)
    other = int(others[np.argmin(columns.created_at[others])])
    closed_at = int(columns.closed_at[other])
    lasted = [int(columns.created_at[other]), *([] if closed_at == OPEN else [closed_at])]
    happened, since, *until = facts.days(at, *lasted)
    opportunity = f"Opportunity {called(columns.id[other].decode(), names[other])} of the same account"
    if not until:
        return happened, f"{opportunity} has been open since {since}."
    return happened, f"{opportunity} was open from {since} to {until[0]}."


def _direct_touch(facts: Facts, at: int) -> tuple[str, str]:
    """When evidence of an instant was, and the last direct touch on the account by then."""
    facts.note("direct_activity_days")
    acts, account = facts.deals.snapshot.direct, facts.deals.snapshot.deals.account[facts.position]
    rows = np.flatnonzero((acts.account == account) & (acts.occurred_at <= at))
    row = rows[np.argmax(acts.occurred_at[rows])]
    what = noun(facts.deals.snapshot.kinds[acts.kind[row]])
    source, record = facts.deals.snapshot.objects[acts.object[row]], acts.record[row].decode()
    called_so = f"{source} {record}" if source else record
    happened, when = facts.days(at, int(acts.occurred_at[row]))
    return happened, f"Our own people were working the account: {what} of {when} ({called_so})."


def contenders(facts: Facts) -> set[str]:
    """Ids of the partners with valid evidence who did not source the deal."""
    valid = facts.rows[facts.found.sourcing.verdict[facts.rows] == VERDICTS.index("valid")]
    partner = facts.deals.snapshot.touchpoints.partner
    return {facts.deals.partners[code].id for code in set(partner[valid]) - {partner[facts.source]}}


def contested_by_direct(facts: Facts) -> str | None:
    """What would have voided the evidence of the source, were it no approved registration."""
    if not facts.found.sourcing.contested_by_direct[facts.position]:
        return None
    return _blocker(facts, facts.occurred_at(facts.source))[1]
