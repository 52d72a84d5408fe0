"""The waterfall: every deal in exactly one step, from sourced by a partner to without one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.columns import STRENGTHS, Flag, Ints
from attribution.deals import Deals
from attribution.measures.claims import claims

__all__ = ["STEPS", "steps"]

STEPS = ("sourced", "influenced", "unqualified", "exposed", "direct")
"""In which step a deal is: the first of these that holds.

``sourced``: a partner brought it in. ``influenced``: some partner has a headline claim. ``unqualified``: a
strong touchpoint, but no headline claim. ``exposed``: only weak evidence or overlaps. ``direct``: none.
"""
SOURCED, INFLUENCED, UNQUALIFIED, EXPOSED, DIRECT = range(len(STEPS))


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
