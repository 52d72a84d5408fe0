"""Deriving agrees, deal by deal, with a slow and separate reading of RULES 1 to 4."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from attribution import Deals, Policy, money
from attribution.columns import from_micros, to_micros
from attribution.derive import derive
from attribution.testing.synthetic import generate
from attribution.testing.truth import Rules
from tests.records import MemoryRecords


@pytest.mark.parametrize(
    ("seed", "size", "days_back", "options"),
    [
        (0, 0, 0, {}),
        (1, 3, 0, {}),
        (0, 1200, 0, {}),
        (1, 1200, 0, {"partner_licences": False}),
        (2, 1200, 1, {"currency": "JPY"}),
        (3, 1200, 45, {"currency": "KWD", "partner_licences": False}),
        (4, 1200, 200, {"amount_field": "ACV__c"}),
        (5, 1200, 500, {"time_zone": "Australia/Lord_Howe"}),
        (6, 1200, 30, {"mapped": False, "multi_currency": False}),
    ],
)
def test_every_deal_and_touchpoint_equals_the_known_truth(seed, size, days_back, options):
    org = generate(size, seed, **options)
    as_of = org.now - timedelta(days=days_back)
    reads = MemoryRecords((org.now, org.records))
    snapshot = derive(reads, org.mapping, as_of=to_micros(as_of), watermark=to_micros(org.now))
    _same(Deals(snapshot, Policy()), org.truth(as_of=as_of, synced_at=org.now))


@pytest.mark.parametrize(("seed", "days_back", "known"), [(1, 0, False), (2, 20, False), (3, 5, True)])
def test_after_edits_too_and_as_known_before_them(seed, days_back, known):
    org = generate(800, seed)
    read_at = org.edited_at + timedelta(minutes=10)
    reads = [(org.now, org.records), (read_at, org.edits)]
    as_of = org.edited_at - timedelta(days=days_back)
    known_at = org.now + timedelta(minutes=5) if known else None
    # what was known then was complete until then at most
    synced_at = known_at or org.edited_at
    truth = org.truth(as_of=as_of, synced_at=synced_at, edited=True, known_at=known_at)
    snapshot = derive(
        MemoryRecords(*(read for read in reads if known_at is None or read[0] <= known_at)),
        org.mapping,
        as_of=to_micros(as_of),
        known_at=None if known_at is None else to_micros(known_at),
        watermark=to_micros(org.edited_at),
    )
    _same(Deals(snapshot, Policy()), truth)


def _same(deals, truth):
    assert {deal.id: _deal(deal) for deal in deals} == {
        key: _expected(deal) for key, deal in truth.deals.items()
    }
    assert _spelled(deals) == {
        key: (deal.spells, deal.owner_id, deal.close_date_pushes) for key, deal in truth.deals.items()
    }
    assert _stranded(deals, ambiguous=True) == truth.ambiguous
    assert _stranded(deals, ambiguous=False) == truth.orphans
    assert _direct(deals) == truth.direct


def _spelled(deals):
    """Per deal: its spells, owner and pushes, as the truth has them."""
    snapshot = deals.snapshot
    columns, spells = snapshot.deals, snapshot.spells
    found = {}
    for at, deal in enumerate(columns.id):
        rows = range(*spells.offsets[at : at + 2])
        stages = [snapshot.stages[spells.stage[row]] for row in rows]
        told = [
            (stage.name, stage.is_closed, from_micros(int(spells.entered_at[row])))
            for stage, row in zip(stages, rows, strict=True)
        ]
        owner = snapshot.owners[columns.owner[at]] if columns.owner[at] >= 0 else None
        found[deal.decode()] = (tuple(told), owner, int(columns.close_date_pushes[at]))
    return found


def _deal(deal):
    amount = None if deal.amount is None else int(deal.amount.scaleb(money.digits(deal.currency)))
    facts = (deal.created_at, deal.closed_at, deal.outcome, deal.closed_on, deal.deal_type, amount)
    facts += (deal.lead_created_at,)
    path = [
        (t.partner.id, t.program and t.program.id, t.tier and t.tier.id, t.approval or "none", *_touch(t))
        for t in deal.touchpoints
    ]
    return facts, tuple(deal.segments.items()), path


def _expected(deal):
    facts = (deal.created_at, deal.closed_at, deal.outcome, deal.closed_on, deal.deal_type, deal.amount_minor)
    facts += (deal.lead_created_at,)
    path = [(t.partner_id, t.program_id, t.tier_id, t.approval, *_touch(t)) for t in deal.touchpoints]
    return facts, deal.segments, path


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


def _direct(deals):
    """What our own people did without a partner: the act, its deal, the deals of its account, and when."""
    snapshot, found = deals.snapshot, set()
    acts, ids = snapshot.direct, snapshot.deals.id.tolist()
    assert (np.diff(acts.deal) >= 0).all()
    for row, (deal, account) in enumerate(zip(acts.deal, acts.account, strict=True)):
        same = np.flatnonzero(snapshot.deals.account == account) if account >= 0 else []
        act = f"{snapshot.objects[acts.object[row]]}:{acts.record[row].decode()}"
        related = frozenset(ids[at].decode() for at in same)
        at = from_micros(int(acts.occurred_at[row]))
        found.add((act, ids[deal].decode() if deal >= 0 else None, related, at))
    assert len(found) == len(acts)
    return found


def test_a_narrower_window_reaches_other_deals_without_deriving_again():
    org = generate(1000, 7)
    reads = MemoryRecords((org.now, org.records))
    snapshot = derive(reads, org.mapping, as_of=to_micros(org.now), watermark=to_micros(org.now))
    for days in (0, 1, 30, 90, 1000):
        truth = org.truth(as_of=org.now, policy=Rules(influence_window_days=days))
        _same(Deals(snapshot, Policy(influence_window_days=days)), truth)
