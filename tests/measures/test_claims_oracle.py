from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.measures.claims import claims, counting, influenced, sourced
from tests.measures.oracle import truth
from tests.measures.strategies import AS_OF, POLICIES, ZONE, amount, paths
from tests.notation import deals_of


def measured(deals, of):
    return [deal for deal in deals if of in ("all", deal.outcome)]


def by_key(table, *columns):
    return {tuple(row[column] for column in columns): row for row in table.rows}


@settings(max_examples=250, deadline=None)
@given(paths(), POLICIES, st.sampled_from(["won", "open", "lost", "all"]))
def test_claims_equal_a_slow_reading_of_rules_5_and_6(drawn, policy, of):
    deals = deals_of(drawn, AS_OF, policy, ZONE)
    truths = {deal.id: truth(drawn, deal, AS_OF, policy, ZONE) for deal in drawn}

    counted = counting(deals)
    assert sorted(deals.touchpoint(row).id for row in counted.nonzero()[0]) == sorted(
        f"Event:{touch.record}:{touch.partner}-id" for known in truths.values() for touch in known.players
    )
    found = claims(deals)
    for at, deal in enumerate(sorted(drawn, key=lambda deal: deal.id)):
        assert bool(found.contested[at]) == truths[deal.id].contested
        assert bool(found.unverified[at]) == truths[deal.id].unverified

    mine = measured(drawn, of)
    expected: dict[tuple[str, str], tuple[Decimal, int]] = {}
    for deal in mine:
        source = truths[deal.id].source
        if source:
            key = source.partner, source.program or "(none)"
            total, n = expected.get(key, (Decimal(0), 0))
            expected[key] = total + amount(deal), n + 1
    measure = sourced(deals, of)
    got = by_key(measure.by("partner", "program"), "partner", "program")
    assert {key: (row["amount"], row["n_deals"]) for key, row in got.items()} == expected
    assert measure.total() == sum((total for total, _ in expected.values()), Decimal(0))
    foot = measure.by("partner").foot
    assert foot["unverified"]["n_deals"] == sum(truths[deal.id].unverified for deal in mine)
    assert foot["contested_deals"] == sum(truths[deal.id].contested for deal in mine)

    for columns in (("partner",), ("program",), ("partner", "program")):
        groups: dict[tuple[str, ...], dict[str, str]] = {}
        for deal in mine:
            for partner, (state, programs) in truths[deal.id].influenced.items():
                for program in programs:
                    key = tuple(
                        {"partner": partner, "program": program or "(none)"}[column] for column in columns
                    )
                    states = groups.setdefault(key, {})
                    states[deal.id] = min(state, states.get(deal.id, state))  # auto_approved < claimed
        got = by_key(influenced(deals, of).by(*columns), *columns)
        assert got.keys() == groups.keys()
        for key, states in groups.items():
            amounts = {
                state: sum((amount(deal) for deal in mine if states.get(deal.id) == state), Decimal(0))
                for state in ("auto_approved", "claimed")
            }
            assert got[key]["amount"] == got[key]["auto_approved_amount"] == amounts["auto_approved"]
            assert got[key]["claimed_amount"] == amounts["claimed"]
            assert got[key]["n_deals"] == sum(state == "auto_approved" for state in states.values())
    headline = {
        deal.id: amount(deal)
        for deal in mine
        if any(state == "auto_approved" for state, _ in truths[deal.id].influenced.values())
    }
    assert influenced(deals, of).total() == sum(headline.values(), Decimal(0))
