"""Every explanation and every step of the waterfall, against a slow reading of the rules."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.measures.explanation import explain
from attribution.measures.waterfall import STEPS, waterfall
from tests.measures.oracle import truth
from tests.measures.strategies import AS_OF, POLICIES, ZONE, amount, decisions, paths
from tests.notation import deals_of


@settings(max_examples=150, deadline=None)
@given(paths(), POLICIES, st.data())
def test_every_partner_and_record_is_explained_as_a_slow_reading_has_it(drawn, policy, data):
    made = data.draw(decisions(drawn))
    deals = deals_of(drawn, AS_OF, policy, ZONE, decisions=made)
    for deal in drawn:
        known = truth(drawn, deal, AS_OF, policy, ZONE, made)
        told = explain(deals, deal.id, models=())
        record = {each.touchpoint.id.split(":")[1]: each for each in told.evidence}
        assert record.keys() == {touch.record for touch in deal.touches}
        source = known.source
        for touch in deal.touches:
            expected = known.verdicts[touch.record]
            if expected == "valid" and source is not None:
                mine = "won" if touch is source else "valid"
                expected = mine if touch.partner == source.partner else "lost"
            assert record[touch.record].sourcing == expected
            assert set(record[touch.record].refused) == known.refused[touch.record]
            assert record[touch.record].counts == (touch in known.players)
        assert {each.partner.name: each.standing for each in told.partners} == known.standings
        states = {partner: state for partner, (state, _) in known.influenced.items()}
        assert {each.partner.name: each.state for each in told.partners if each.state} == states
        for each in told.partners:
            headline = {"approved", "auto_approved"}
            assert each.headline == (each.standing == "sourced" or each.state in headline)
            assert each.reasons
        assert told.step == known.step
        assert str(told).splitlines()[1] == told.verdict[0]


@settings(max_examples=150, deadline=None)
@given(paths(), POLICIES, st.sampled_from(["won", "open", "lost", "all"]), st.data())
def test_the_waterfall_has_each_deal_once_and_adds_up(drawn, policy, of, data):
    made = data.draw(decisions(drawn))
    deals = deals_of(drawn, AS_OF, policy, ZONE, decisions=made)
    mine = [deal for deal in drawn if of in ("all", deal.outcome)]
    expected = dict.fromkeys(STEPS, (Decimal(0), 0))
    for deal in mine:
        step = truth(drawn, deal, AS_OF, policy, ZONE, made).step
        total, n = expected[step]
        expected[step] = total + amount(deal), n + 1
    table = waterfall(deals, of=of)
    assert {row["step"]: (row["amount"], row["n_deals"]) for row in table.rows} == expected
    names = ("deal_type", "quarter", *(name for name, _ in deals.snapshot.segments))
    for by in [(), *((name,) for name in names), names]:
        table = waterfall(deals, by=by, of=of)
        assert sum((row["amount"] for row in table.rows), Decimal(0)) == table.foot["selected"]
        assert sum(row["n_deals"] for row in table.rows) == len(mine) == table.foot["n_deals"]
