"""Models that give a deal to one touchpoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution.deals import Deals
from attribution.models.base import Scores

__all__ = ["FirstTouch", "LastTouch"]


@dataclass(frozen=True, slots=True)
class FirstTouch:
    """All credit to the first touchpoint of the path.

    Score 1 for the touchpoint with the smallest (occurred_at, id), 0 for the others. The rule of web
    analytics ("first click"); for deals it says who opened the door.

    Misleads when the door was open already: whoever logs the earliest meeting wins, and the partner who
    did the work gets nothing.
    """

    def scores(self, deals: Deals) -> Scores:
        """1 for the first touchpoint of each deal, else 0; float64 per touchpoint."""
        first = deals.snapshot.touchpoints.offsets[:-1]
        return _one_per_deal(deals, first)


@dataclass(frozen=True, slots=True)
class LastTouch:
    """All credit to the last touchpoint of the path.

    Score 1 for the touchpoint with the greatest (occurred_at, id), 0 for the others ("last click").

    Misleads when partners turn up once a deal is as good as won: the nearer to the signature, the surer
    the credit.
    """

    def scores(self, deals: Deals) -> Scores:
        """1 for the last touchpoint of each deal, else 0; float64 per touchpoint."""
        last = deals.snapshot.touchpoints.offsets[1:] - 1
        return _one_per_deal(deals, last)


def _one_per_deal(deals: Deals, position: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Scores:
    touchpoints = deals.snapshot.touchpoints
    scores = np.zeros(len(touchpoints))
    scores[position[np.diff(touchpoints.offsets) > 0]] = 1
    return scores
