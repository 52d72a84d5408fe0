from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.columns import Party
from attribution.measures.claims import STATES, claims, influenced, sourced
from attribution.measures.credit import attribute
from attribution.measures.evidence import counting
from attribution.models import Linear
from tests.measures.oracle import truth
from tests.measures.strategies import AS_OF, POLICIES, ZONE, amount, decisions, paths
from tests.notation import deals_of

PARENTS = {"ann": "Group", "bob": "Group", "cat": "cat"}
FAMILY = {
    "partners": lambda deals: tuple(
        Party(party.id, party.name, "group" if party.name in ("ann", "bob") else None)
        for party in deals.partners
    ),
    "parents": lambda _: (Party("group", "Group"),),
}
BY = [
    *[("partner",), ("program",), ("partner", "program"), ("parent",), ("tier",), ("deal_type",)],
    *[("Region",), ("parent", "Region"), ("Size", "program", "deal_type"), ("tier", "partner")],
]


def labels(columns, deal, touch) -> tuple[str, ...]:
    """What a touchpoint is filed under."""
    of = {
        "partner": touch.partner,
        "parent": PARENTS[touch.partner],
        "program": touch.program,
        "tier": touch.tier,
        "deal_type": deal.type,
        "Region": deal.segments.get("Region"),
        "Size": deal.segments.get("Size"),
    }
    return tuple(of[column] or "(none)" for column in columns)


def built(drawn, policy, **more):
    """The deals, two of the partners in one family, and both segments there."""
    plain = deals_of(drawn, AS_OF, policy, ZONE)
    family = {name: make(plain) for name, make in FAMILY.items()}
    return deals_of(drawn, AS_OF, policy, ZONE, **family, **more)


def measured(deals, of):
    return [deal for deal in deals if of in ("all", deal.outcome)]


def by_key(table, *columns):
    return {tuple(row[column] for column in columns): row for row in table.rows}


def existing(deals, columns):
    names = {"Region", "Size"} - {name for name, _ in deals.snapshot.segments}
    return not names & set(columns)


@settings(max_examples=250, deadline=None)
@given(paths(), POLICIES, st.data())
def test_evidence_equals_a_slow_reading_of_rules_5_and_6(drawn, policy, data):
    made = data.draw(decisions(drawn))
    deals = deals_of(drawn, AS_OF, policy, ZONE, decisions=made)
    truths = {deal.id: truth(drawn, deal, AS_OF, policy, ZONE, made) for deal in drawn}
    for mask, touches in (
        (counting(deals), [touch for known in truths.values() for touch in known.players]),
        (deals.involved, [touch for known in truths.values() for touch in known.involved]),
    ):
        assert sorted(deals.touchpoint(row).id for row in mask.nonzero()[0]) == sorted(
            f"Event:{touch.record}:{touch.partner}-id" for touch in touches
        )
    found = claims(deals).sourcing
    for at, deal in enumerate(sorted(drawn, key=lambda deal: deal.id)):
        known = truths[deal.id]
        source = deals.touchpoint(int(found.source[at])).id if found.source[at] >= 0 else None
        assert source == (known.source and f"Event:{known.source.record}:{known.source.partner}-id")
        assert bool(found.contested[at]) == known.contested
        assert bool(found.contested_by_direct[at]) == known.contested_by_direct
        assert bool(found.unverified[at]) == known.unverified


@settings(max_examples=200, deadline=None)
@given(paths(), POLICIES, st.sampled_from(["won", "open", "lost", "all"]), st.sampled_from(BY), st.data())
def test_claims_equal_a_slow_reading_of_rules_5_to_7(drawn, policy, of, columns, data):
    made = data.draw(decisions(drawn))
    deals = built(drawn, policy, decisions=made)
    truths = {deal.id: truth(drawn, deal, AS_OF, policy, ZONE, made) for deal in drawn}
    mine = measured(drawn, of)
    if not existing(deals, columns):
        return

    expected: dict[tuple[str, ...], tuple[Decimal, int]] = {}
    for deal in mine:
        if source := truths[deal.id].source:
            key = labels(columns, deal, source)
            total, n = expected.get(key, (Decimal(0), 0))
            expected[key] = total + amount(deal), n + 1
    measure = sourced(deals, of)
    got = by_key(measure.by(*columns), *columns)
    assert {key: (row["amount"], row["n_deals"]) for key, row in got.items()} == expected
    assert measure.total() == sum((total for total, _ in expected.values()), Decimal(0))
    foot = measure.by("partner").foot
    assert foot["unverified"]["n_deals"] == sum(truths[deal.id].unverified for deal in mine)
    assert foot["contested_deals"] == sum(truths[deal.id].contested for deal in mine)

    groups: dict[tuple[str, ...], dict[str, str]] = {}
    best: dict[str, str] = {}
    for deal in mine:
        for state, touches in truths[deal.id].influenced.values():
            best[deal.id] = max(state, best.get(deal.id, state), key=STATES.index)
            for key in {labels(columns, deal, touch) for touch in touches}:
                states = groups.setdefault(key, {})
                states[deal.id] = max(state, states.get(deal.id, state), key=STATES.index)
    got = by_key(influenced(deals, of).by(*columns), *columns)
    assert got.keys() == groups.keys()
    for key, states in groups.items():
        amounts = {
            state: sum((amount(deal) for deal in mine if states.get(deal.id) == state), Decimal(0))
            for state in STATES
        }
        assert got[key]["amount"] == amounts["auto_approved"] + amounts["approved"]
        assert got[key]["auto_approved_amount"] == amounts["auto_approved"]
        assert got[key]["approved_amount"] == amounts["approved"]
        assert got[key]["claimed_amount"] == amounts["claimed"] + amounts["pending"]
        assert got[key]["n_deals"] == sum(state in STATES[2:] for state in states.values())
    headline = {deal.id: amount(deal) for deal in mine if best.get(deal.id) in STATES[2:]}
    assert influenced(deals, of).total() == sum(headline.values(), Decimal(0))


@settings(max_examples=60, deadline=None)
@given(paths(), POLICIES, st.sampled_from(BY))
def test_credit_adds_up_by_everything(drawn, policy, columns):
    deals = built(drawn, policy)
    if existing(deals, columns):
        credit = attribute(deals, Linear(), of="all")
        table = credit.by(*columns)
        assert sum((row["amount"] for row in table.rows), Decimal(0)) == credit.total()
        assert credit.total() + credit.unattributed() == credit.selected()
        expected = {
            labels(columns, deal, touch)
            for deal in drawn
            for touch in truth(drawn, deal, AS_OF, policy, ZONE).players
        }
        assert by_key(table, *columns).keys() == expected
