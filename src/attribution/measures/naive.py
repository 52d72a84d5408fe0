"""The naive rung: what dashboards show of deals with partners and without."""

from __future__ import annotations

from math import isfinite, nan

import numpy as np

from attribution.measures.effect_table import figure
from attribution.measures.hazards import NEVER
from attribution.measures.histories import OPEN_DEAL, Histories
from attribution.measures.intervals import Bools, Estimate, Floats, difference, mean, welch, wilson
from attribution.measures.results import Row
from attribution.measures.rung_rows import FEWEST_DECIDED, FEWEST_WON, rung_row

__all__ = ["naive"]


def naive(histories: Histories, dealt: list[Histories]) -> list[Row]:
    """Closed deals with a touch before their close, less those without: what dashboards show.

    Win rate: won / (won + lost), with Newcombe's interval; days to close: mean of the won, by dates, with
    Welch's. Misleads always: a deal that lives longer has more time to be touched (immortal time), and
    sellers choose whom they call into what.
    """
    rate, days, n_rate, n_days, fewest = _usual(histories)
    by_chance = [_usual_figures(each) for each in dealt]
    rate_by_chance, days_by_chance = (_mean(list(each)) for each in zip(*by_chance, strict=True))
    return [
        rung_row(
            "naive",
            "win_rate_difference",
            n_rate,
            _ends(rate),
            "won / (won + lost) with a touch before the close or without, as dashboards show: sellers choose"
            " whom they call into what" + _by_chance(rate_by_chance, "win_rate_difference"),
            fewest >= FEWEST_WON and min(n_rate) >= FEWEST_DECIDED,
        ),
        rung_row(
            "naive",
            "days_to_close_difference",
            n_days,
            _ends(days),
            "close date less created date of won deals: a deal that lives longer has more time to be touched"
            + _by_chance(days_by_chance, "days_to_close_difference"),
            min(n_days) >= FEWEST_WON,
        ),
    ]


def _by_chance(value: float | None, measure: str) -> str:
    return "" if value is None else f"; touches dealt at random would show {figure(measure, value)}"


def _usual_figures(histories: Histories) -> tuple[float, float]:
    """The differences of :func:`_usual` alone; NaN where one side is empty."""
    touched, closed = histories.touched != NEVER, histories.outcome != OPEN_DEAL
    dated = histories.won & np.isfinite(histories.usual_days)

    def apart(values: Floats, side: Bools) -> float:
        if not side.any() or side.all():
            return nan
        return float(values[side].mean() - values[~side].mean())

    return (
        apart(histories.won[closed].astype(np.float64), touched[closed]),
        apart(histories.usual_days[dated], touched[dated]),
    )


def _usual(
    histories: Histories,
) -> tuple[Estimate, Estimate, tuple[int, int], tuple[int, int], int]:
    """Differences of win rate and of days to close, with - without; sizes, and the fewest wins of a side."""
    group = (histories.touched == NEVER).astype(np.int64)
    n = np.bincount(group[histories.outcome != OPEN_DEAL], minlength=2)
    won = np.bincount(group[histories.won], minlength=2)
    rates = wilson(won, n)
    dated = histories.won & np.isfinite(histories.usual_days)
    days = mean(histories.usual_days[dated], group[dated], 2)
    return (
        difference(*_sides(rates)),
        welch(*_sides(days)),
        (int(n[0]), int(n[1])),
        (int(won[0]), int(won[1])),
        int(won.min()),
    )


def _sides(estimate: Estimate) -> tuple[Estimate, Estimate]:
    """The estimates of two groups, apart."""
    one, other = (
        Estimate(
            estimate.n[at],
            estimate.value[at],
            estimate.low[at],
            estimate.high[at],
            None if estimate.variance is None else estimate.variance[at],
        )
        for at in (slice(0, 1), slice(1, 2))
    )
    return one, other


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return _number(estimate.value), _number(estimate.low), _number(estimate.high)


def _number(array: Floats) -> float:
    return float(array[0])


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if isfinite(value)]
    return sum(finite) / len(finite) if finite else None
