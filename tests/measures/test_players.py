from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings

from attribution.errors import UsageError
from attribution.measures.coalitions import shapley_values
from attribution.measures.comparison import compare
from attribution.measures.credit import attribute
from attribution.measures.players import playing
from attribution.measures.removal import removal_effects
from attribution.models import FirstTouch, LastTouch, Linear, Shapley
from tests.laws import check_credit
from tests.measures.oracle import in_order, truth
from tests.measures.strategies import AS_OF, POLICIES, ZONE, paths
from tests.notation import deals_of, path

WITH_DIRECT = "ann@1 direct@2 direct:call@3 bob@4+weak won@30 100.01 USD"


def test_direct_touches_play_only_in_the_pool_of_all():
    deals = path(WITH_DIRECT)
    assert {row["partner"] for row in attribute(deals, Linear()).by("partner").rows} == {"ann", "bob"}
    credit = attribute(deals, Linear(), pool="all")
    assert [(row["partner"], row["partner_id"], row["amount"]) for row in credit.by("partner").rows] == [
        ("(direct)", None, Decimal("50.00")),
        ("ann", "ann-id", Decimal("25.01")),
        ("bob", "bob-id", Decimal("25.00")),
    ]
    assert credit.by("parent").rows[0]["parent"] == "(direct)"
    assert credit.unattributed() == 0
    check_credit(credit)


def test_one_deal_shows_direct_touches_in_their_place_on_the_path():
    table = attribute(path(WITH_DIRECT), Linear(), pool="all").of("D1")
    assert [(row["touchpoint"], row["partner"], row["partner_id"], row["kind"]) for row in table.rows] == [
        ("Event:D1r0:ann-id", "ann", "ann-id", "meeting"),
        ("Event:D1r1:(direct)", "(direct)", None, "meeting"),
        ("Event:D1r2:(direct)", "(direct)", None, "call"),
        ("Event:D1r3:bob-id", "bob", "bob-id", "meeting"),
    ]


def test_at_one_instant_the_id_decides_who_is_first():
    for records, first in (("AB", "ann"), ("BA", "(direct)")):
        text = f"ann@1+record={records[0]} direct@1+record={records[1]} won@9 1.00 USD"
        row = attribute(path(text), FirstTouch(), pool="all").by("partner").rows[0]
        assert row["partner"] == first


def test_direct_touches_outside_the_window_or_after_the_close_get_nothing():
    deals = path("direct@-400 ann@1 direct@31 won@30 5.00 USD")
    assert [row["partner"] for row in attribute(deals, LastTouch(), pool="all").by("partner").rows] == ["ann"]


def test_a_deal_with_direct_touches_alone_is_direct():
    credit = attribute(path("direct@1 won@9 7.00 USD", "won@9 2.00 USD"), Linear(), pool="all")
    assert (credit.total(), credit.unattributed(), credit.selected()) == (7, 2, 9)


def test_qualified_is_for_partners_with_a_claim():
    deals = path("ann@1+owner bob@2+weak direct@3 direct@4 won@30 100.00 USD")
    credit = attribute(deals, Linear(), pool="all", eligible="qualified")
    assert [(row["partner"], row["amount"]) for row in credit.by("partner").rows] == [("ann", 25)]
    assert credit.unattributed() == 75


def test_every_measure_of_models_takes_a_pool():
    deals = path(WITH_DIRECT, "direct@1 lost@9")
    for rows in (
        compare(deals, [Linear(), FirstTouch()], pool="all").rows,
        removal_effects(deals, pool="all").rows,
        shapley_values(deals, Shapley(game="rate"), pool="all").rows,
    ):
        assert {(row["partner"], row["partner_id"]) for row in rows} == {
            ("(direct)", None),
            ("ann", "ann-id"),
            ("bob", "bob-id"),
        }
    # half of the closed deals are won, and (direct) is on all of them
    assert removal_effects(deals, pool="all").p_conversion == 0.5
    with pytest.raises(UsageError, match="no pool 'everyone'"):
        attribute(deals, Linear(), pool="everyone")


def test_without_direct_touches_the_pools_are_one():
    deals = path("ann@1 bob@2 won@9 3.00 USD", "cat@1")
    one, other = (attribute(deals, Linear(), of="all", pool=pool) for pool in ("partners", "all"))
    assert one.by("partner").to_dict() == other.by("partner").to_dict()


@settings(max_examples=60, deadline=None)
@given(paths(), POLICIES)
def test_the_pool_of_all_is_the_players_and_the_acts_in_the_window_in_path_order(drawn, policy):
    deals = deals_of(drawn, AS_OF, policy, ZONE)
    players = playing(deals, "all")
    expected = []
    for deal in sorted(drawn, key=lambda each: each.id):
        end = AS_OF if deal.closed is None else deal.closed
        acts = [act for act in deal.direct if end - policy.influence_window_days <= act.day <= end]
        path = in_order(truth(drawn, deal, AS_OF, policy, ZONE).players + acts)
        expected += [(touch.record, touch.partner, touch.day) for touch in path]
    got = [players.touchpoint(row) for row in range(len(players.snapshot.touchpoints))]
    assert [(touch.id.split(":")[1], touch.partner.name.strip("()")) for touch in got] == [
        (record, partner) for record, partner, _ in expected
    ]
    for of in ("won", "all"):
        check_credit(attribute(deals, Linear(), of=of, pool="all"))
        check_credit(attribute(deals, Linear(by="partner"), of=of, pool="all", eligible="qualified"))


@settings(max_examples=40, deadline=None)
@given(paths())
def test_facts_of_few_touchpoints_stay_with_them(drawn):
    deals = deals_of(drawn, AS_OF)
    wider = playing(deals, "all")
    by_id = {
        wider.touchpoint(row).id: wider.touchpoint(row) for row in range(len(wider.snapshot.touchpoints))
    }
    alone = playing(deals)
    for row in range(len(alone.snapshot.touchpoints)):
        touch = alone.touchpoint(row)
        assert by_id[touch.id] == touch
    for players in (alone, wider):
        columns = players.snapshot.touchpoints
        for at in (columns.reached, columns.hosted, columns.judged):
            assert (np.diff(at) >= 0).all()
    assert alone.snapshot.touchpoints.reach_from.tolist() == wider.snapshot.touchpoints.reach_from.tolist()
    assert alone.snapshot.touchpoints.host.tolist() == wider.snapshot.touchpoints.host.tolist()
