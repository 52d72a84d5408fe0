"""Deriving agrees, deal by deal, with a slow and separate reading of RULES 1 to 4."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from attribution import Deals, Mapping, Policy
from attribution.deals import to_micros
from attribution.derive import derive
from attribution.testing.synthetic import generate
from attribution.testing.truth import Rules, known_truth
from tests.records import MemoryRecords


@pytest.mark.parametrize(
    ("seed", "size", "licences", "days_back"),
    [
        (0, 0, True, 0),
        (1, 3, True, 0),
        (0, 1500, True, 0),
        (1, 1500, False, 0),
        (2, 1500, True, 1),
        (3, 1500, True, 45),
        (4, 1500, False, 200),
        (5, 1500, True, 500),
    ],
)
def test_every_deal_and_touchpoint_equals_the_known_truth(seed, size, licences, days_back):
    org = generate(size, seed, partner_licences=licences)
    as_of = org.now - timedelta(days=days_back)
    truth = known_truth(org.records, as_of=as_of, synced_at=org.now)
    snapshot = derive(
        MemoryRecords((org.now, org.records)), Mapping(), as_of=to_micros(as_of), watermark=to_micros(org.now)
    )
    deals = Deals(snapshot, Policy())
    assert _all(deals) == {key: _expected(deal) for key, deal in truth.deals.items()}
    assert _stranded(deals, ambiguous=True) == truth.ambiguous
    assert _stranded(deals, ambiguous=False) == truth.orphans


def _all(deals):
    return {deal.id: _deal(deal) for deal in deals}


def _deal(deal):
    amount = None if deal.amount is None else int(deal.amount * 100)
    facts = (deal.created_at, deal.closed_at, deal.outcome, deal.closed_on, deal.deal_type, amount)
    return facts, [(t.partner.id, t.program and t.program.id, *_touch(t)) for t in deal.touchpoints]


def _expected(deal):
    facts = (deal.created_at, deal.closed_at, deal.outcome, deal.closed_on, deal.deal_type, deal.amount_minor)
    return facts, [(t.partner_id, t.program_id, *_touch(t)) for t in deal.touchpoints]


def _touch(t):
    marks = (t.own_account, t.self_deal, t.logged_late)
    return t.id, t.occurred_at, t.recorded_at, t.kind, t.strength, marks


def _stranded(deals, ambiguous):
    """Ids of the account-level touches without a deal under this policy, for one of the two reasons."""
    stranded, touchpoints = deals.snapshot.stranded, deals.snapshot.touchpoints
    always = {touch.decode() for touch in stranded.id[stranded.ambiguous == ambiguous]}
    window = deals.policy.influence_window_days * 86_400_000_000
    crowded = touchpoints.reach_below <= window
    here = touchpoints.reached[crowded if ambiguous else ~crowded & (touchpoints.reach_from > window)]
    return always | {deals.touchpoint(int(row)).id for row in np.sort(here)}


def test_a_narrower_window_reaches_fewer_deals_without_deriving_again():
    org = generate(1500, 7)
    snapshot = derive(
        MemoryRecords((org.now, org.records)),
        Mapping(),
        as_of=to_micros(org.now),
        watermark=to_micros(org.now),
    )
    for days in (0, 1, 30, 90, 1000):
        truth = known_truth(org.records, as_of=org.now, policy=Rules(influence_window_days=days))
        deals = Deals(snapshot, Policy(influence_window_days=days))
        assert _all(deals) == {key: _expected(deal) for key, deal in truth.deals.items()}
        assert _stranded(deals, ambiguous=True) == truth.ambiguous
        assert _stranded(deals, ambiguous=False) == truth.orphans
