"""What becomes of partners, what they cost, and what they bring: :func:`lifecycle`."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import numpy as np

from attribution.columns import OPEN, OUTCOMES
from attribution.deals import Deals
from attribution.errors import UsageError
from attribution.measures import partner_money, partner_times
from attribution.measures.claims import claims
from attribution.measures.lifecycle_table import Lifecycle
from attribution.measures.partner_scene import Scene
from attribution.measures.partner_tables import margins_of, read_costs, read_roster
from attribution.measures.results import heading

__all__ = ["lifecycle"]

_COLUMNS = ("metric", "partner", "partner_id", "n", "value", "low", "high", "unit", "note")
_CAPS = {"mql": 30, "sql": 60, "won": 180}
_FEWEST = 10


def lifecycle(
    deals: Deals,
    costs: object = None,
    *,
    partners: object = None,
    margins: object = None,
    satisfaction: object = None,
    leads: object = None,
    target: float = 1_000_000,
    horizon_days: int = 365,
    activation_days: int = 90,
    idle_days: int = 180,
    discount: float = 0.1,
    caps: Mapping[str, int] | None = None,
    seed: int = 0,
) -> Lifecycle:
    """From first contact with a partner to what it brings: times, conversion, cost, return, concentration.

    Won deals without an amount, or a margin, are left out and counted in the note, never taken as 0; where
    none of them has one, what would rest on it is absent.

    Times are Kaplan-Meier curves over all partners, those to whom it has not happened yet being censored at
    as_of, and those who ended without it never having it: a mean over those to whom it has leaves out
    everybody who is slow. What is not supplied is absent (None), and its note says what to supply. A figure
    of which n is below 10 is marked ``insufficient``.

    ============================ ==========================================================================
    metric                       what it is
    ============================ ==========================================================================
    ``time_to_recruit``          median days from identified to signed
    ``time_to_first_revenue``    median days from signed to the first win that it sourced; 0 if earlier
    ``..._restricted_mean``      mean of the same, each counted for at most ``horizon_days``
    ``earning_by_horizon``       share of partners with such a win within ``horizon_days`` of signing
    ``activation``               share with a strong or weak touchpoint within ``activation_days`` of signing
    ``tenure``                   median days from signed to ended, or to ``idle_days`` without a touchpoint
                                 after the last one; who never had one and has not ended is there still,
                                 censored at as_of
    ``handed_over_deals``        deals that we handed over to partners; ``_open_deals``: still open
    ``revenue_per_recruit``      mean sourced and won amount within ``horizon_days`` of signing, of all
                                 partners signed that long ago; bootstrap interval
    ``partners_needed``          ``target`` / ``revenue_per_recruit``
    ``cost``                     of partners one by one; and of all, the programme's own included
    ``cost_per_recruited``       cost / partners signed; ``cost_per_activated``: with a touchpoint
    ``return_on_investment``     (margin - cost) / cost. Bounds, not an interval: low counts deals that a
                                 partner sourced, high also the linear credit of headline influence on others
    ``customer_lifetime_value``  of accounts first won through the partner: margin of all their wins in each
                                 of 3 years, over the customers followed so long, churned ones as 0,
                                 discounted by ``discount`` a year. Bootstrap interval
    ``eql_to_mql`` ...           share of leads that made the next step within its cap of days, of those who
                                 could: whose cap had passed by as_of. Wilson interval
    ``top_1_share``, ``top_5_``  share of the sourced revenue that the largest partners bring
    ``gini``                     0: all signed partners source as much; 1: one sources everything
    ``satisfaction``             mean score
    ============================ ==========================================================================

    Sources: E. L. Kaplan, P. Meier, "Nonparametric estimation from incomplete observations" (1958); C. Gini,
    "Variabilita e mutabilita" (1912); B. Efron, "Bootstrap methods" (1979).

    Misleads when partners that left early are missing from the tables; and a mean of few recruits with one
    large deal misleads whatever its interval says: look at ``gini``.

    Parameters
    ----------
    deals
        The selected ones count.
    costs
        Table ``partner`` (id or name; empty: of the programme), ``amount``; optional ``kind``, ``currency``,
        ``incurred_at``. Later costs than as_of do not count. It comes on top of the costs that ``deals``
        carry from objects that the mapping names.
    partners
        Table ``partner``; optional ``identified_at``, ``signed_at``, ``ended_at``: instants, or dates. Names
        partners without any touchpoint, and stands instead of what the org says: there a partner is signed
        when its first membership of a program is created, else when its account becomes a partner.
    margins
        Share of every amount, or a table ``deal_id``, ``margin`` (amount).
    satisfaction
        Table ``partner``, ``score``.
    leads
        Table ``id``, ``eql_at``, ``mql_at``, ``sql_at``, ``won_at``.
    target
        Revenue for which new partners are needed, in the report currency.
    horizon_days, activation_days, idle_days
        As above.
    discount
        Per year.
    caps
        Days that a step may take; default ``{"mql": 30, "sql": 60, "won": 180}``.
    seed
        Of the bootstrap.

    Returns
    -------
    A row per metric, and per metric and partner: ``metric, partner, partner_id, n, value, low, high``
    (interval of 95 % unless said otherwise), ``unit, note``.

    Raises
    ------
    UsageError
        For parameters that make no sense, and tables without the columns needed.
    DataError
        For rows that cannot be.

    Examples
    --------
    >>> from attribution.testing import simulate
    >>> deals = simulate(300, seed=1).load()
    >>> found = lifecycle(deals, {"partner": ["Northgate Systems"], "amount": ["1000.00"]})
    >>> [row["value"] for row in found.rows if row["metric"] == "cost" and row["partner"] == "(all)"]
    [1000.0]
    """
    for name, value in (
        ("target", target),
        ("horizon_days", horizon_days),
        ("activation_days", activation_days),
        ("idle_days", idle_days),
    ):
        if not (isinstance(value, int | float) and 0 < value < inf):
            raise UsageError(f"{name} is {value!r}", hint="give a number above 0")
    if not 0 <= discount < inf:
        raise UsageError(f"discount is {discount!r}", hint="give a share per year, such as 0.1")
    limits = {**_CAPS, **(caps or {})}
    if set(limits) != set(_CAPS) or min(limits.values()) <= 0:
        raise UsageError("caps are days above 0 of mql, sql and won", hint=f"such as {_CAPS}")
    roster = read_roster(deals, partners)
    source = claims(deals).sourcing.source[deals.selected]
    sourced_by = np.full(len(source), -1)
    sourced_by[source >= 0] = deals.snapshot.touchpoints.partner[source[source >= 0]]
    scene = Scene(
        deals,
        roster,
        read_costs(deals, roster, costs),
        margins_of(deals, margins),
        sourced_by,
        deals.snapshot.deals.outcome[deals.selected] == OUTCOMES.index("won"),
        int(horizon_days),
        seed,
    )
    rows = [
        *partner_times.times(scene, activation_days, idle_days),
        *partner_times.handed_over(scene),
        *partner_money.needed(scene, target),
        *partner_money.costs(scene),
        *partner_money.return_on_investment(scene),
        *partner_money.lifetime_value(scene, discount),
        *partner_times.funnel(scene, leads, limits),
        *partner_money.concentration(scene),
        *partner_money.satisfaction(scene, satisfaction),
    ]
    for row in rows:
        is_known = any(row[name] is not None for name in ("value", "low"))
        if is_known and row["n"] < _FEWEST and row["unit"] != "deals" and row["metric"] != "cost":
            row["note"] = f"insufficient; {row['note']}"
    head = heading(deals, "all", measure="lifecycle") | {
        "target": target,
        "horizon_days": horizon_days,
        "activation_days": activation_days,
        "idle_days": idle_days,
        "discount": discount,
        "caps": limits,
    }
    signed = roster.signed_at != OPEN
    foot = {
        "n_deals": len(deals),
        "n_partners": len(roster.parties),
        "n_signed": int(signed.sum()),
        "unvalued_deals": int((~deals.snapshot.deals.valued[deals.selected]).sum()),
    }
    return Lifecycle(head, ("metric", "partner"), _COLUMNS, rows, foot)
