"""The verdict on one deal, in a few sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from attribution.columns import from_micros
from attribution.measures.facts import Facts
from attribution.measures.reasons import Standing
from attribution.measures.results import Row
from attribution.measures.sourcing_reasons import contenders, contested_by_direct
from attribution.measures.wording import listed
from attribution.views import Deal

__all__ = ["amount_text", "stranded_of", "verdict_of"]

_STEPS = {
    "sourced": "sourced",
    "influenced": "influenced",
    "unqualified": "unqualified: there is strong evidence of a partner, but no approved claim",
    "exposed": "exposed: there is only weak evidence of partners",
    "direct": "direct",
}


def verdict_of(facts: Facts, partners: Sequence[Standing], deal: Deal, step: str) -> Iterator[str]:
    """The outcome in a few sentences."""
    snapshot, sourcing = facts.deals.snapshot, facts.found.sourcing
    sources = [each.partner.name for each in partners if each.standing == "sourced"]
    yield f"{sources[0] if sources else 'Nobody'} sourced this deal."
    if sourcing.unverified[facts.position]:
        lead_source = snapshot.lead_sources[snapshot.deals.lead_source[facts.position]]
        facts.note("partner_lead_sources")
        yield f"Its lead source says “{lead_source}” but names nobody, so that it stays unverified."
    if sourcing.contested[facts.position]:
        others = [each.partner.name for each in partners if each.partner.id in contenders(facts)]
        yield f"It is contested: {listed(others)} {'has' if len(others) == 1 else 'have'} valid evidence too."
    blocker = contested_by_direct(facts)
    if blocker is not None:
        yield f"It is contested by direct sales. {blocker} An approved registration is not voided by that."
    influenced = [each for each in partners if each.standing == "influenced"]
    approved = [each.partner.name for each in influenced if each.headline]
    if approved:
        yield f"{listed(approved)} influenced it."
    waiting = [each.partner.name for each in influenced if not each.headline]
    if waiting:
        claims = "claims" if len(waiting) == 1 else "claim"
        yield f"{listed(waiting)} {claims} to have influenced it. Nobody approved that: it is in no headline."
    if not partners:
        yield "No partner has a touchpoint on it."
    if deal.outcome != "lost":
        amount = "It has no amount, and counts" if deal.amount is None else f"{amount_text(deal)} count"
        yield f"{'If it is won: ' * (deal.outcome == 'open')}{amount} as {_STEPS[step]}."


def stranded_of(facts: Facts) -> Iterator[Row]:
    """Evidence of the deal's account that the account rule brought to no deal."""
    snapshot = facts.deals.snapshot
    columns, account = snapshot.stranded, snapshot.deals.account[facts.position]
    if account < 0:
        return
    for at in np.flatnonzero(columns.account == account):
        partner = snapshot.partners[columns.partner[at]]
        yield {
            "touchpoint": columns.id[at].decode(),
            "occurred_at": from_micros(int(columns.occurred_at[at])),
            "partner": partner.name,
            "partner_id": partner.id,
            "kind": snapshot.kinds[columns.kind[at]],
            "reason": "ambiguous" if columns.ambiguous[at] else "orphan",
        }


def amount_text(deal: Deal) -> str:
    """The amount of a deal, with its currency."""
    return f"{deal.amount:,f} {deal.currency}"
