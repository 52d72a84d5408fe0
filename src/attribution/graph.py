"""Graphs as networkx: of the touchpoints of a deal, and of the partners across deals.

Views made when asked for, never the storage.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attribution import money
from attribution.columns import OUTCOMES
from attribution.deals import Deals
from attribution.views import Deal

if TYPE_CHECKING:
    import networkx

__all__ = ["deal_graph", "ecosystem_graph"]

Ints = NDArray[np.int64]

_BLOCK = 1 << 20
"""Pairs of partners that are counted at a time, and pairs that may exist to be counted in place."""


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
                  path), ``own_account``, ``self_deal``, ``logged_late`` (bool), ``role`` (str or None),
                  ``tier`` (name or None), ``approval`` (pending, approved, rejected or None),
                  ``approved_at``, ``expires_at`` (aware UTC instants or None)
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
            tier=touchpoint.tier.name if touchpoint.tier else None,
            approval=touchpoint.approval,
            approved_at=touchpoint.approved_at,
            expires_at=touchpoint.expires_at,
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


def ecosystem_graph(deals: Deals) -> networkx.Graph[str]:
    """Which partners appear on the same deals: an undirected graph.

    A partner appears on a deal with a strong or weak touchpoint, whatever its age, that was not rejected and
    is not on the partner's own account.

    Parameters
    ----------
    deals
        The selected ones are looked at, such as ``deals.where(closed="2026Q2")``.

    Returns
    -------
    A node ``partner:<id>`` per partner with a deal: ``id``, ``name``, ``n_deals`` (open, won and lost) and
    ``won_amount``, a Decimal: the sum of its won deals, each in full. An edge per pair with a deal
    in common: ``n_deals``, and ``won_amount``, the sum of those won. Amounts do not add up: partners share
    deals.

    Notes
    -----
    A deal of k partners makes k(k - 1)/2 pairs: a million deals of ten partners take seconds, one deal of
    ten thousand as long as a million of ten.

    Examples
    --------
    The partners who work with most others, and the pairs who win most::

        graph = at.ecosystem_graph(deals)
        sorted(graph.degree, key=lambda it: -it[1])[:10]
        sorted(graph.edges(data="won_amount"), key=lambda it: -it[2])[:10]
    """
    import networkx

    n_partners = len(deals.partners)
    columns = deals.snapshot.deals
    won = columns.outcome == OUTCOMES.index("won")
    amount = np.where(won, columns.amount, 0)
    chosen = np.zeros(len(columns), dtype=bool)
    chosen[deals.selected] = True
    rows = np.flatnonzero(deals.involved & chosen[deals.deal_of])
    # each partner of a deal once, ordered by deal; sorting takes a fifteenth of the time of np.unique
    keys = deals.deal_of[rows].astype(np.int64) * n_partners + deals.snapshot.touchpoints.partner[rows]
    keys.sort()
    keys = keys[np.diff(keys, prepend=-1) != 0]
    deal, partner = np.divmod(keys, max(1, n_partners))

    def decimal(minor: int) -> Decimal:
        return money.major(minor, deals.currency)

    graph: networkx.Graph[str] = networkx.Graph()
    n_deals = np.bincount(partner, minlength=n_partners)
    won_amount = money.sum_by(partner, amount[deal], n_partners)
    nodes = [f"partner:{party.id}" for party in deals.partners]
    for code in np.flatnonzero(n_deals).tolist():
        party = deals.partners[code]
        graph.add_node(
            nodes[code],
            id=party.id,
            name=party.name,
            n_deals=int(n_deals[code]),
            won_amount=decimal(int(won_amount[code])),
        )
    pairs, counts, amounts = _pairs(deal, partner, amount, n_partners)
    graph.add_edges_from(
        (nodes[one], nodes[other], {"n_deals": count, "won_amount": decimal(minor)})
        for (one, other), count, minor in zip(
            zip(*(part.tolist() for part in np.divmod(pairs, max(1, n_partners))), strict=True),
            counts.tolist(),
            amounts.tolist(),
            strict=True,
        )
    )
    return graph


def _pairs(deal: Ints, partner: Ints, amount: Ints, n_partners: int) -> tuple[Ints, Ints, Ints]:
    """Pairs of partners on one deal, as ``smaller * n_partners + greater``: ``pairs, deals, amounts``.

    Deals are taken together by their number of partners, so that each step is one array.
    """
    starts = np.flatnonzero(np.diff(deal, prepend=-1))
    sizes = np.diff(starts, append=len(deal))
    found: list[tuple[Ints, Ints, Ints]] = [(np.empty(0, dtype=np.int64),) * 3]
    for size in np.unique(sizes[sizes > 1]).tolist():
        one, other = np.triu_indices(size, 1)
        of_size = starts[sizes == size]
        step = max(1, _BLOCK // len(one))
        for first in range(0, len(of_size), step):
            block = of_size[first : first + step]
            members = partner[block[:, np.newaxis] + np.arange(size)]
            keys = (members[:, one] * n_partners + members[:, other]).ravel()
            found.append(_added_up(keys, None, np.repeat(amount[deal[block]], len(one)), n_partners**2))
    keys, counts, amounts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _added_up(keys, counts, amounts, n_partners**2)


def _added_up(keys: Ints, counts: Ints | None, amounts: Ints, n_keys: int) -> tuple[Ints, Ints, Ints]:
    """Each key once, with the sums of its counts (None: 1 each) and amounts."""
    if n_keys > _BLOCK:
        different, codes = np.unique(keys, return_inverse=True)
        n = len(different)
    else:
        different, codes, n = np.arange(n_keys), keys, n_keys
    n_each = np.bincount(codes, minlength=n) if counts is None else money.sum_by(codes, counts, n)
    present = np.flatnonzero(n_each)
    return different[present], n_each[present], money.sum_by(codes, amounts, n)[present]
