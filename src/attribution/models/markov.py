"""The Markov model: what would be lost if a partner, or a program, were not there.

Paths become a chain (:mod:`attribution.models.chains`). The removal effect of a partner is the part of
conversions that pass through it (:mod:`attribution.models.absence`), computed exactly, not by simulation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attribution.deals import Deals
from attribution.errors import UsageError
from attribution.models.absence import removal_effects
from attribution.models.base import Scores
from attribution.models.chains import LEVELS, Chain, count, fit, walked, walks

__all__ = ["Markov"]


@dataclass(frozen=True, slots=True)
class Markov:
    """Credit in proportion to the removal effect of a touchpoint's partner.

    The paths of closed deals are walks on a chain whose states are the last ``order`` partners (a shorter
    path is one state), from (start) to (won) or (lost). The removal effect of a partner is
    1 - P(won without it) / P(won), where each walk that reaches it is lost: the probability that a won walk
    passes through it. Score: that effect, once per touchpoint, so that each deal is split among its own
    partners; :func:`attribution.removal_effects` gives the global credit of the textbooks.
    Fitted on the selected closed deals that have players; lost deals teach the chain what loses.

    Source: Anderl, Becker, von Wangenheim, Schumann, "Mapping the customer journey", IJRM 33 (2016).

    Misleads when a partner is on many paths without changing any: the effect measures presence on won
    paths, not lift. A useless partner who attends every deal gets as much as the one who wins them.

    Parameters
    ----------
    order
        How many touchpoints the chain remembers, 1 to 4. The higher, the more deals it needs.
    level
        ``"partner"`` (default) or ``"program"``: whose sequence is walked.

    Raises
    ------
    UsageError
        For another order or level.
    """

    order: int = 1
    level: Literal["partner", "program"] = "partner"

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3, 4):
            raise UsageError(f"a Markov chain of order {self.order!r}", hint="the order is 1, 2, 3 or 4")
        if self.level not in LEVELS:
            raise UsageError(f"a Markov chain of level {self.level!r}", hint="use partner or program")

    def scores(self, deals: Deals) -> Scores:
        """Removal effect of each touchpoint's partner (program); 0 for one that no closed deal has."""
        return self._scored(deals, fit(deals, self.order, self.level))

    def resampled(self, deals: Deals, draws: Iterable[NDArray[np.int64]]) -> Iterator[Scores]:
        """Scores where each deal counts so many times, per draw."""
        found = walks(deals, self.order, self.level)
        for times in draws:
            yield self._scored(deals, count(found, times[found.deal]))

    def _scored(self, deals: Deals, chain: Chain) -> Scores:
        codes, n_codes = walked(deals, self.level)
        effects = np.zeros(n_codes)
        effects[chain.codes] = removal_effects(chain).conversions
        scores: Scores = effects[codes]
        return scores
