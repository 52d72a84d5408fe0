from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import combinations

import networkx
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.columns import Party
from attribution.graph import ecosystem_graph
from tests.measures.oracle import truth
from tests.measures.strategies import AS_OF, amount, paths
from tests.notation import deals_of, path

DEAL = path(
    "ann/resale:referral@-1+recorded=20 bob@2.5+weak ann/resale@4+self won@10 100.00 USD type=expansion"
)["D1"]


def test_nodes_are_the_deal_its_partners_programs_and_touchpoints():
    graph = DEAL.graph
    kinds = {
        wanted: sorted(node for node, type_ in graph.nodes(data="type") if type_ == wanted)
        for wanted in ("opportunity", "partner", "program", "touchpoint")
    }
    assert kinds == {
        "opportunity": ["opportunity:D1"],
        "partner": ["partner:ann-id", "partner:bob-id"],
        "program": ["program:resale-id"],
        "touchpoint": [f"touchpoint:Event:D1r{at}:{who}-id" for at, who in enumerate(("ann", "bob", "ann"))],
    }
    assert graph.nodes["opportunity:D1"] == {
        "type": "opportunity",
        "id": "D1",
        "name": "D1",
        "outcome": "won",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "closed_at": datetime(2026, 1, 11, tzinfo=UTC),
        "amount": Decimal("100.00"),
        "currency": "USD",
        "deal_type": "expansion",
    }
    assert graph.nodes["touchpoint:Event:D1r0:ann-id"] == {
        "type": "touchpoint",
        "id": "Event:D1r0:ann-id",
        "kind": "referral",
        "strength": "strong",
        "occurred_at": datetime(2025, 12, 31, tzinfo=UTC),
        "recorded_at": datetime(2026, 1, 21, tzinfo=UTC),
        "position": 0,
        "own_account": False,
        "self_deal": False,
        "logged_late": False,
        "role": None,
        "tier": None,
        "approval": None,
        "approved_at": None,
        "expires_at": None,
    }
    assert graph.nodes["partner:ann-id"] == {"type": "partner", "id": "ann-id", "name": "ann"}
    assert graph.nodes["program:resale-id"] == {"type": "program", "id": "resale-id", "name": "resale"}


def test_edges_say_who_did_what_under_which_program_and_in_which_order():
    first, second, third = (f"touchpoint:{touch.id}" for touch in DEAL.touchpoints)
    assert {(a, b): edge for a, b, edge in DEAL.graph.edges(data=True)} == {
        ("partner:ann-id", first): {"relation": "made"},
        ("partner:bob-id", second): {"relation": "made"},
        ("partner:ann-id", third): {"relation": "made"},
        (first, "program:resale-id"): {"relation": "under"},
        (third, "program:resale-id"): {"relation": "under"},
        (first, "opportunity:D1"): {"relation": "touched", "days": -1.0},
        (second, "opportunity:D1"): {"relation": "touched", "days": 2.5},
        (third, "opportunity:D1"): {"relation": "touched", "days": 4.0},
        (first, second): {"relation": "then", "days": 3.5},
        (second, third): {"relation": "then", "days": 1.5},
    }


def test_the_graph_is_acyclic_and_made_when_asked_for():
    assert networkx.is_directed_acyclic_graph(DEAL.graph)
    assert networkx.dag_longest_path_length(DEAL.graph, weight=None) == 4
    assert DEAL.graph is not DEAL.graph


def test_a_deal_without_touchpoints_is_one_node():
    assert list(path("lost@3")["D1"].graph.nodes) == ["opportunity:D1"]


def test_a_registration_says_what_became_of_it():
    text = "ann/resale:deal_registration@1+approved=2+expires=30+tier=Gold won@10"
    node = path(text)["D1"].graph.nodes["touchpoint:Event:D1r0:ann-id"]
    assert (node["approval"], node["tier"]) == ("approved", "Gold")
    assert node["approved_at"] == datetime(2026, 1, 3, tzinfo=UTC)
    # the last instant at which it holds
    assert node["expires_at"] == datetime(2026, 1, 30, 23, 59, 59, 999_999, tzinfo=UTC)


TOGETHER = path(
    "ann@1 bob@2 ann@3 won@9 100.00 USD",
    "ann@1+weak bob@-900 cat:workshop@3 won@9 7.00 USD",
    "ann@1 cat@2 lost@9 50.00 USD",
    "ann@1 dan@2+own eve@3+exposure fay@4+rejected won@9 0.50 USD",
    "gus@1",
)


def test_the_ecosystem_of_partners_on_the_same_deals():
    graph = ecosystem_graph(TOGETHER)
    assert dict(graph.nodes(data=True)) == {
        f"partner:{name}-id": {
            "id": f"{name}-id",
            "name": name,
            "n_deals": n_deals,
            "won_amount": Decimal(won_amount),
        }
        for name, n_deals, won_amount in (
            ("ann", 4, "107.50"),
            ("bob", 2, "107.00"),
            ("cat", 2, "7.00"),
            ("gus", 1, "0.00"),
        )
    }
    edges = {frozenset((a[8:11], b[8:11])): data for a, b, data in graph.edges(data=True)}
    assert edges == {
        frozenset(("ann", "bob")): {"n_deals": 2, "won_amount": Decimal("107.00")},
        frozenset(("ann", "cat")): {"n_deals": 2, "won_amount": Decimal("7.00")},
        frozenset(("bob", "cat")): {"n_deals": 1, "won_amount": Decimal("7.00")},
    }


def test_the_ecosystem_is_that_of_the_selected_deals():
    assert ecosystem_graph(TOGETHER.where(partner="gus")).number_of_edges() == 0
    assert ecosystem_graph(path()).number_of_nodes() == 0


@settings(max_examples=60, deadline=None)
@given(paths(), st.booleans())
def test_the_ecosystem_equals_a_slow_count(drawn, crowded):
    deals = deals_of(drawn, AS_OF)
    if crowded:  # so many partners that not every pair has a place
        partners = deals.partners + tuple(Party(f"x{at}", f"x{at}") for at in range(1_100))
        deals = deals_of(drawn, AS_OF, partners=partners)
    expected = {}
    for deal in drawn:
        partners = {touch.partner for touch in truth(drawn, deal, AS_OF, deals.policy, "UTC").involved}
        for pair in combinations(sorted(partners), 2):
            n, won_amount = expected.get(pair, (0, Decimal(0)))
            expected[pair] = n + 1, won_amount + (amount(deal) if deal.outcome == "won" else 0)
    graph = ecosystem_graph(deals)
    got = {
        tuple(sorted((a[8:11], b[8:11]))): (data["n_deals"], data["won_amount"])
        for a, b, data in graph.edges(data=True)
    }
    assert got == expected
