"""The waterfall: every deal in exactly one step, from sourced by a partner to without one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution import money
from attribution.columns import STRENGTHS, Flag, Ints
from attribution.deals import Deals
from attribution.errors import UsageError, known
from attribution.measures.claims import claims
from attribution.measures.measure import BY_DEAL, Dimension, Groups, counted, measured
from attribution.measures.results import Row, Table, heading

__all__ = ["STEPS", "steps", "waterfall"]

STEPS = ("sourced", "influenced", "unqualified", "exposed", "direct")
"""In which step a deal is: the first of these that holds.

``sourced``: a partner brought it in. ``influenced``: some partner has a headline claim. ``unqualified``: a
strong touchpoint, but no headline claim. ``exposed``: only weak evidence or overlaps. ``direct``: none.
"""
SOURCED, INFLUENCED, UNQUALIFIED, EXPOSED, DIRECT = range(len(STEPS))


def waterfall(deals: Deals, *, by: str | Iterable[str] = (), of: str = "won") -> Table:
    """Split the amount of all deals into exclusive steps that add up to it, to the minor unit.

    A deal falls into the first step that holds: ``sourced``; ``influenced`` (some headline claim, approved
    or auto-approved); ``unqualified`` (a strong touchpoint, no headline claim); ``exposed`` (only weak
    evidence or overlaps); ``direct`` (no touchpoint). Touches of a partner on its own account are none.

    Parameters
    ----------
    deals
        The selected ones are measured, under the policy that ``deals`` carries.
    by
        What else to group by: ``"deal_type"``, ``"quarter"`` (of the close date), segments of the deals. Not
        partners or programs: a deal has several of them, and would be in several rows.
    of
        ``"won"``, ``"open"``, ``"lost"`` or ``"all"``.

    Returns
    -------
    A table with the five steps, in order, for each group: ``amount``, ``n_deals`` and ``share`` of
    ``selected``.

    Raises
    ------
    UsageError
        For another ``of``, or something that does not group deals.

    Examples
    --------
    ::

        at.waterfall(deals.where(closed="2026Q2"))
        at.waterfall(deals, by="quarter").to_csv("waterfall.csv")
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    groupable = (*BY_DEAL, *(name for name, _ in deals.snapshot.segments))
    if len(set(names)) < len(names) or not set(names) <= set(groupable):
        raise UsageError(
            f"a waterfall cannot be grouped by {', '.join(map(repr, names))}",
            hint=f"it has each deal once; name one or more of, each once: {known(groupable)}",
        )
    positions = measured(deals, of)
    groups = Groups.of(tuple(Dimension.of_deals(deals, positions, name) for name in names), len(positions))
    codes = groups.codes * len(STEPS) + steps(deals)[positions]
    n = groups.n * len(STEPS)
    amounts = money.sum_by(codes, deals.snapshot.deals.amount[positions], n)
    counts = np.bincount(codes, minlength=n)
    selected = money.total(amounts)
    rows: list[Row] = []
    for group, labels in groups.present() if names else [(0, {})]:
        for step, label in enumerate(STEPS):
            minor = int(amounts[group * len(STEPS) + step])
            rows.append(
                {
                    **labels,
                    "step": label,
                    "amount": money.major(minor, deals.currency),
                    "n_deals": int(counts[group * len(STEPS) + step]),
                    "share": money.share(minor, selected),
                }
            )
    total = money.major(selected, deals.currency)
    foot: dict[str, Any] = {"total": total, "selected": total, **counted(deals, positions)}
    by_columns = (*names, "step")
    head = heading(deals, of, measure="waterfall")
    return Table(head, by_columns, (*by_columns, "amount", "n_deals", "share"), rows, foot)


def steps(deals: Deals) -> NDArray[np.int8]:
    """Code into ``STEPS`` for each deal of the snapshot, selected or not, under the policy of ``deals``."""
    found, touchpoints = claims(deals), deals.snapshot.touchpoints
    n_deals = len(deals.snapshot.deals)

    def some(deal: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        mask = np.zeros(n_deals, dtype=bool)
        mask[deal] = True
        return mask

    touched = deals.attached & ((touchpoints.flags & Flag.OWN_ACCOUNT) == 0)
    strong = touched & (deals.strength == STRENGTHS.index("strong"))
    influenced: Ints = found.deal[found.headline]
    holds = [found.sourcing.source >= 0, some(influenced), some(deals.deal_of[strong])]
    holds.append(some(deals.deal_of[touched]))
    return np.select(holds, [SOURCED, INFLUENCED, UNQUALIFIED, EXPOSED], default=DIRECT).astype(np.int8)
