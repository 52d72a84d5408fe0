"""Models that share a deal among its touchpoints by a rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution.deals import Deals
from attribution.models.base import Scores

__all__ = ["Linear"]


@dataclass(frozen=True, slots=True)
class Linear:
    """Equal credit to every touchpoint of the path.

    Score 1 each: a partner with three of a deal's four touchpoints gets three quarters. The oldest of the
    multi-touch rules.

    Misleads when partners differ in how much they log: ten short calls outweigh one referral.
    """

    def scores(self, deals: Deals) -> Scores:
        """1 for every touchpoint; float64."""
        return np.ones(len(deals.snapshot.touchpoints))
