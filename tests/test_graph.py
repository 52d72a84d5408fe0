from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import networkx

from tests.notation import path

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
