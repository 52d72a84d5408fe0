"""Intervals: how much a number owes to which deals happened to be there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.columns import Ints
from attribution.deals import Deals
from attribution.errors import UsageError

__all__ = ["Bootstrap"]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Percentile intervals over deals drawn again, with replacement, from the selected ones.

    As many deals as are selected, whatever their outcome, are drawn ``n`` times; models that learn from data
    learn again from each draw, and the interval reaches from the (1 - level) / 2 to the (1 + level) / 2
    quantile of what comes out. It covers the chance of which deals there were, and with it how many were won.

    Source: B. Efron, "Bootstrap methods: another look at the jackknife" (1979).

    Misleads when deals depend on one another (one customer, one campaign): it is too narrow then. It knows
    nothing of evidence that was never recorded, nor of whether the model is right; and of a partner with a
    handful of deals it says little.

    Parameters
    ----------
    n
        Draws; at least 20.
    seed
        Equal seeds, equal intervals.
    level
        Between 0 and 1.

    Raises
    ------
    UsageError
        For too few draws, or another level.

    Examples
    --------
    ::

        at.attribute(deals, at.Markov(), intervals=at.Bootstrap(n=500, seed=7)).by("partner")
    """

    n: int = 200
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.n < 20 or not 0 < self.level < 1:
            raise UsageError(
                f"a bootstrap of {self.n} draws at level {self.level}",
                hint="draw 20 times or more; the level lies between 0 and 1",
            )

    def draws(self, deals: Deals) -> Iterator[Ints]:
        """How often each deal of the snapshot counts, per draw; int64."""
        generator, n = np.random.default_rng(self.seed), len(deals.selected)
        for _ in range(self.n):
            times = np.zeros(len(deals.snapshot.deals), dtype=np.int64)
            if n:
                times[deals.selected] = np.bincount(generator.integers(0, n, n), minlength=n)
            yield times

    def limits(self, drawn: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Lower and upper limit of each number, from its values of all draws."""
        ends = [(1 - self.level) / 2, (1 + self.level) / 2]
        low, high = np.quantile(np.stack(drawn), ends, axis=0, method="inverted_cdf")
        return low, high
