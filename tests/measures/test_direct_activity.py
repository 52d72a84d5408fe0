"""Voiding by our own people's activity, from the records of a whole org, against the slow truth."""

from __future__ import annotations

import pytest

from attribution import Deals, Policy
from attribution.columns import to_micros
from attribution.derive import derive
from attribution.measures.claims import claims
from attribution.testing import generate
from attribution.testing.truth import Rules
from tests.records import MemoryRecords


@pytest.fixture(scope="module")
def org():
    return generate(400, 5)


@pytest.fixture(scope="module")
def snapshot(org):
    reads = MemoryRecords((org.now, org.records))
    return derive(reads, org.mapping, as_of=to_micros(org.now), watermark=to_micros(org.now))


@pytest.mark.parametrize("void_by", [("direct_activity",), ("open_opportunity", "direct_activity"), ()])
def test_who_sources_under_direct_activity_equals_the_slow_truth(org, snapshot, void_by):
    deals = Deals(snapshot, Policy(void_by=void_by, direct_activity_days=200))
    found = claims(deals).sourcing
    truth = org.truth(as_of=org.now, policy=Rules(void_by=void_by, direct_activity_days=200))
    partner = snapshot.touchpoints.partner
    got = {
        key.decode(): (snapshot.partners[partner[row]].id if row >= 0 else None, bool(contested), bool(vague))
        for key, row, contested, vague in zip(
            snapshot.deals.id, found.source, found.contested, found.unverified, strict=True
        )
    }
    expected = {
        each.id: (each.sourced_partner_id, each.contested, each.unverified) for each in truth.deals.values()
    }
    assert got == expected
    plain = claims(Deals(snapshot, Policy(void_by=()))).sourcing
    assert ((plain.source >= 0) & (found.source < 0)).any() == bool(void_by)
