"""The touchpoint graph of a deal, as networkx: a view made when asked for, never the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.deals import Deal

if TYPE_CHECKING:
    import networkx

__all__ = ["deal_graph"]


def deal_graph(deal: Deal) -> networkx.DiGraph[str]:
    """Who did what on a deal, under which program, and in which order: a directed acyclic graph.

    Every node has a ``type``, and its name is the type, a colon and the id, such as
    ``opportunity:006Ab00000QxYzZ``:

    ============= ==================================================================================
    node          attributes beside ``type``
    ============= ==================================================================================
    opportunity   ``id``, ``name``, ``outcome`` (open, won, lost), ``created_at``, ``closed_at`` (aware UTC
                  instants; closed_at None while open), ``amount`` (Decimal in ``currency``; None:
                  unvalued), ``currency``, ``deal_type``
    partner       ``id``, ``name``
    program       ``id``, ``name``
    touchpoint    ``id`` (object:record id:partner id), ``kind``, ``strength`` (exposure, weak, strong),
                  ``occurred_at``, ``recorded_at`` (aware UTC instants), ``position`` (0 is the first of the
                  path), ``own_account``, ``self_deal``, ``logged_late`` (bool), ``role`` (str or None)
    ============= ==================================================================================

    Every edge has a ``relation``:

    ============= ========================== =======================================================
    relation      from, to                   further attributes
    ============= ========================== =======================================================
    ``made``      partner, touchpoint
    ``under``     touchpoint, program        (none where the touchpoint has no program)
    ``touched``   touchpoint, opportunity    ``days``: from the deal's creation to the touchpoint, a
                                             float, negative before it
    ``then``      touchpoint, the next one   ``days``: between the two, a float
    ============= ========================== =======================================================

    Parameters
    ----------
    deal
        A deal, such as ``deals["006Ab00000QxYzZ"]``; ``deal.graph`` calls this function.

    Examples
    --------
    The partners of a deal, by the number of their touchpoints::

        graph = deals["006Ab00000QxYzZ"].graph
        partners = [node for node, type in graph.nodes(data="type") if type == "partner"]
        sorted(partners, key=graph.out_degree, reverse=True)
    """
    import networkx

    graph: networkx.DiGraph[str] = networkx.DiGraph()
    opportunity = f"opportunity:{deal.id}"
    graph.add_node(
        opportunity,
        type="opportunity",
        id=deal.id,
        name=deal.name,
        outcome=deal.outcome,
        created_at=deal.created_at,
        closed_at=deal.closed_at,
        amount=deal.amount,
        currency=deal.currency,
        deal_type=deal.deal_type,
    )
    previous = None
    for position, touchpoint in enumerate(deal.touchpoints):
        node = f"touchpoint:{touchpoint.id}"
        graph.add_node(
            node,
            type="touchpoint",
            id=touchpoint.id,
            kind=touchpoint.kind,
            strength=touchpoint.strength,
            occurred_at=touchpoint.occurred_at,
            recorded_at=touchpoint.recorded_at,
            position=position,
            own_account=touchpoint.own_account,
            self_deal=touchpoint.self_deal,
            logged_late=touchpoint.logged_late,
            role=touchpoint.role,
        )
        partner = f"partner:{touchpoint.partner.id}"
        graph.add_node(partner, type="partner", id=touchpoint.partner.id, name=touchpoint.partner.name)
        graph.add_edge(partner, node, relation="made")
        if touchpoint.program is not None:
            program = f"program:{touchpoint.program.id}"
            graph.add_node(program, type="program", id=touchpoint.program.id, name=touchpoint.program.name)
            graph.add_edge(node, program, relation="under")
        days = (touchpoint.occurred_at - deal.created_at).total_seconds() / 86_400
        graph.add_edge(node, opportunity, relation="touched", days=days)
        if previous is not None:
            gap = touchpoint.occurred_at - previous.occurred_at
            graph.add_edge(
                f"touchpoint:{previous.id}", node, relation="then", days=gap.total_seconds() / 86_400
            )
        previous = touchpoint
    return graph
