"""The figures of overlays: each metric, in each of its variants, for all slices in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribution import money
from attribution.arrays import local_days
from attribution.columns import DAY, OPEN, OUTCOMES, Bools, Ints
from attribution.deals import Deals
from attribution.measures.estimators import (
    CENSORED,
    COMPETING,
    EVENT,
    Curve,
    aalen_johansen,
    kaplan_meier,
    restricted_mean,
    risk_table,
)
from attribution.measures.intervals import (
    Estimate,
    Floats,
    Sorted,
    mean,
    ratio,
    resampled_sums,
    resampled_winsorised,
    sorted_within,
    wilson,
)
from attribution.measures.slices import Slices
from attribution.measures.stays import stays

__all__ = ["INPUTS", "Figure", "Figures", "figures"]

_WON, _LOST = OUTCOMES.index("won"), OUTCOMES.index("lost")
_TAIL = 0.025
"""Winsorised at this quantile and its counterpart."""
INPUTS = ("deals", "win_rate", "deal_size", "cycle_days")
"""What sales velocity is made of: the product of the first three by the last."""


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One metric in one variant, with an entry per slice, or per slice and stage."""

    metric: str
    variant: str
    unit: str
    estimate: Estimate
    shown: Bools
    """Where there is anything to count at all."""
    of_cohort: bool = False
    """Counted from the creation of deals on; otherwise by the period in which they were closed."""
    by_stage: bool = False
    is_mean: bool = False
    """Differences are Welch's; otherwise they are put together from the intervals of both sides."""
    is_short: Bools | None = None
    """Nobody was observed as long as the horizon, and the curve is not at its end."""
    is_restricted: Bools | None = None
    """Where it is a mean up to the horizon alone; that does not compare with a mean of everything."""


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """All figures of some slices."""

    figures: tuple[Figure, ...]
    curve: Curve
    """Cumulative incidence of winning, per slice; times in microseconds."""
    times: Sorted
    """How long each deal of a slice was observed, microseconds."""
    inputs: dict[str, dict[str, Floats]]
    """Per variant of sales velocity, its four inputs per slice."""
    behind: dict[str, tuple[Ints, Ints]]
    """Won and decided deals behind the figures of a ``period`` and of a ``cohort``, per slice, and of those
    that were in a ``stage``, per slice and stage."""
    n_created: Ints
    stages: tuple[str, ...]


def figures(deals: Deals, slices: Slices, *, horizon_days: float, n_bootstrap: int, seed: int) -> Figures:
    """Every figure of every slice."""
    period = _Period(deals, slices)
    cohort = _Cohort(deals, slices)
    found = [*period.figures(n_bootstrap, seed), *cohort.figures(horizon_days)]
    stage = _InStages(deals, slices)
    found += stage.figures(horizon_days)
    behind: dict[str, _Period | _Cohort | _InStages] = {"period": period, "cohort": cohort, "stage": stage}
    return Figures(
        tuple(found),
        cohort.curve,
        cohort.times,
        period.inputs,
        {name: (each.n_won, each.n_decided) for name, each in behind.items()},
        cohort.n_created,
        tuple(each.name for each in deals.snapshot.stages),
    )


class _Period:
    """What is counted by the period in which deals were closed."""

    def __init__(self, deals: Deals, slices: Slices) -> None:
        snapshot, columns = deals.snapshot, deals.snapshot.deals
        self.n = len(slices)
        self.currency = deals.currency
        self.slice, self.deal = slices.closed
        outcome = columns.outcome[self.deal]
        self.won, self.lost, self.is_open = outcome == _WON, outcome == _LOST, outcome == 0
        self.decided = self.won | self.lost
        self.valued = columns.valued[self.deal]
        self.amount = columns.amount[self.deal]
        self.unit = 10.0 ** money.digits(deals.currency)
        self.told = self.won & ~columns.close_before_creation[self.deal]
        at = self.deal[self.told]
        self.instants = np.maximum(columns.closed_at[at] - columns.created_at[at], 0)
        self.dates = columns.closed_on[at] - local_days(columns.created_at[at], snapshot.zone)
        self.n_won, self.n_decided = self._count(self.won), self._count(self.decided)

    def _count(self, mask: Bools) -> Ints:
        return np.bincount(self.slice[mask], minlength=self.n).astype(np.int64)

    def _sum(self, mask: Bools) -> Floats:
        return (
            np.asarray(money.sum_by(self.slice[mask], self.amount[mask], self.n)).astype(np.float64)
            / self.unit
        )

    def figures(self, n_bootstrap: int, seed: int) -> Iterator[Figure]:
        """Close rate, deal size, the usual days to close, and sales velocity."""
        anything = np.bincount(self.slice, minlength=self.n) > 0
        bands = self._bands(n_bootstrap, seed)

        def banded(name: str, n: Ints, value: Floats) -> Estimate:
            low, high = bands[name]
            return Estimate(n, value, low, high)

        def figure(metric: str, variant: str, unit: str, estimate: Estimate, **more: Any) -> Figure:
            return Figure(metric, variant, unit, estimate, anything, **more)

        won_amount, decided_amount = self._sum(self.won & self.valued), self._sum(self.decided & self.valued)
        n_valued = self._count(self.decided & self.valued)
        count = wilson(self.n_won, self.n_decided)
        yield figure("close_rate", "period_count", "share of decided deals", count)
        by_amount = ratio(won_amount, decided_amount, empty=np.nan)
        yield figure(
            "close_rate", "period_amount", "share of decided amount", banded("amount", n_valued, by_amount)
        )
        sized = self.won & self.valued
        amount, of = self.amount[sized], self.slice[sized]
        size = mean(amount / self.unit, of, self.n)
        yield figure("deal_size", "mean", self.currency, size, is_mean=True)
        ordered = sorted_within(amount, of, self.n)
        yield figure("deal_size", "median", self.currency, _scaled(ordered.median(), 1 / self.unit))
        winsorised = np.bincount(ordered.group, ordered.winsorised(_TAIL), self.n) / self.unit
        value = ratio(winsorised, ordered.n, empty=np.nan)
        low, high = self._winsorised_bands(ordered, n_bootstrap, seed)
        yield figure("deal_size", "winsorised", self.currency, Estimate(ordered.n, value, low, high))
        of = self.slice[self.told]
        usual = mean(self.dates.astype(np.float64), of, self.n)
        yield figure("days_to_close", "usual", "days", usual, is_mean=True)
        cycle = mean(self.instants / DAY, of, self.n)
        yield figure("days_to_close", "won_mean", "days", cycle, is_mean=True)
        median = sorted_within(self.instants, of, self.n).median()
        yield figure("days_to_close", "won_median", "days", _scaled(median, 1 / DAY))
        n_open = self._count(self.is_open)
        self.inputs = {
            "throughput": {
                "deals": n_valued.astype(np.float64),
                "win_rate": ratio(size.n, n_valued, empty=np.nan),
                "deal_size": ratio(won_amount, size.n, empty=np.nan),
                "cycle_days": cycle.value,
            },
            "forecast": {
                "deals": n_open.astype(np.float64),
                "win_rate": count.value,
                "deal_size": size.value,
                "cycle_days": cycle.value,
            },
        }
        per_day = f"{self.currency} per day"
        throughput = ratio(won_amount, cycle.value, empty=np.nan)
        throughput[size.n == 0] = np.nan
        yield figure("sales_velocity", "throughput", per_day, banded("throughput", n_valued, throughput))
        parts = self.inputs["forecast"]
        forecast = ratio(parts["deals"] * parts["win_rate"] * parts["deal_size"], cycle.value, empty=np.nan)
        yield figure("sales_velocity", "forecast", per_day, banded("forecast", n_open, forecast))

    def _bands(self, n_bootstrap: int, seed: int) -> dict[str, tuple[Floats, Floats]]:
        """Percentile intervals of what is made of several sums: one resampling of each slice's deals."""
        names = ("amount", "throughput", "forecast")
        bands = {name: (np.full(self.n, np.nan), np.full(self.n, np.nan)) for name in names}
        if not n_bootstrap:
            return bands
        days = np.zeros(len(self.deal))
        days[self.told] = self.instants / DAY
        sized = self.won & self.valued
        amount = self.amount / self.unit
        facts = np.stack(
            [
                *(amount * sized, amount * (self.decided & self.valued), sized, self.won, self.decided),
                *(self.is_open, days, self.told),
            ],
            axis=1,
        ).astype(np.float64)
        bounds = np.searchsorted(self.slice, np.arange(self.n + 1))
        for at in np.flatnonzero(self.n_decided > 0).tolist():
            sums = resampled_sums(facts[bounds[at] : bounds[at + 1]], n_bootstrap, seed)
            won, decided, n_sized, n_won, n_decided, n_open, in_all, n_told = sums.T
            cycle = ratio(in_all, n_told, empty=np.nan)
            size, rate = ratio(won, n_sized, empty=np.nan), ratio(n_won, n_decided, empty=np.nan)
            samples = {
                "amount": ratio(won, decided, empty=np.nan),
                "throughput": ratio(won, cycle, empty=np.nan),
                "forecast": ratio(n_open * rate * size, cycle, empty=np.nan),
            }
            for name, sample in samples.items():
                bands[name][0][at], bands[name][1][at] = _percentiles(sample)
        return bands

    def _winsorised_bands(self, ordered: Sorted, n_bootstrap: int, seed: int) -> tuple[Floats, Floats]:
        low, high = np.full(self.n, np.nan), np.full(self.n, np.nan)
        for at in np.flatnonzero(ordered.n > 1).tolist() if n_bootstrap else ():
            mine = ordered.values[ordered.offsets[at] : ordered.offsets[at + 1]] / self.unit
            low[at], high[at] = _percentiles(resampled_winsorised(mine, _TAIL, n_bootstrap, seed))
        return low, high


class _Cohort:
    """What is counted from the creation of deals on, whatever has become of them."""

    def __init__(self, deals: Deals, slices: Slices) -> None:
        columns, as_of = deals.snapshot.deals, deals.snapshot.as_of
        self.n = len(slices)
        self.slice, self.deal = slices.created
        outcome = columns.outcome[self.deal]
        self.n_created = np.bincount(self.slice, minlength=self.n).astype(np.int64)
        self.n_won = np.bincount(self.slice[outcome == _WON], minlength=self.n).astype(np.int64)
        self.n_decided = np.bincount(self.slice[outcome != 0], minlength=self.n).astype(np.int64)
        closed_at = columns.closed_at[self.deal]
        # how long it took to close before the creation, nobody knows
        told = ~(columns.close_before_creation[self.deal] & (closed_at != OPEN))
        time = np.maximum(np.minimum(closed_at, as_of) - columns.created_at[self.deal], 0)
        ended = np.select([outcome == _WON, outcome == _LOST], [EVENT, COMPETING], default=CENSORED)
        self.curve = aalen_johansen(risk_table(time[told], ended[told], self.slice[told], self.n))
        self.times = sorted_within(time[told], self.slice[told], self.n)
        self.n_pushes = columns.close_date_pushes[self.deal]
        self.n_backward = stays(deals).n_backward[self.deal]

    def figures(self, horizon_days: float) -> Iterator[Figure]:
        """Close rate of the cohort, honest days to close, and moves in the wrong direction."""
        shown, curve, horizon = self.n_created > 0, self.curve, horizon_days * DAY

        def figure(metric: str, variant: str, unit: str, estimate: Estimate, **more: Any) -> Figure:
            return Figure(metric, variant, unit, estimate, shown, of_cohort=True, **more)

        rate = wilson(self.n_won, self.n_created)
        yield figure("close_rate", "cohort_count", "share of created deals", rate)
        short = _is_short(curve, horizon)
        median = _scaled(curve.median(), 1 / DAY)
        yield figure("days_to_close", "incidence_median", "days", median)
        area = _scaled(restricted_mean(curve, horizon), 1 / DAY)
        yield figure("days_to_close", "restricted_mean", "days", area, is_short=short)
        won = curve.at(horizon)
        yield figure("win_incidence", "at_horizon", "share of created deals", won, is_short=short)
        for metric, unit, counted in (
            ("backward_moves", "moves per deal", self.n_backward),
            ("close_date_pushes", "pushes per deal", self.n_pushes),
        ):
            told = counted >= 0
            per_deal = mean(counted[told].astype(np.float64), self.slice[told], self.n)
            yield Figure(metric, "per_deal", unit, per_deal, per_deal.n > 0, of_cohort=True, is_mean=True)


class _InStages:
    """What is counted by the stages that deals of a cohort were in."""

    def __init__(self, deals: Deals, slices: Slices) -> None:
        self.stays, columns = stays(deals), deals.snapshot.deals
        self.n_stages = len(deals.snapshot.stages)
        self.n = len(slices) * self.n_stages
        slice_, deal = slices.created
        starts = self.stays.offsets[deal]
        sizes = self.stays.offsets[deal + 1] - starts
        self.row = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
        self.group = np.repeat(slice_, sizes) * self.n_stages + self.stays.stage[self.row]
        outcome = columns.outcome[np.repeat(deal, sizes)]
        self.n_won = np.bincount(self.group[outcome == _WON], minlength=self.n).astype(np.int64)
        self.n_decided = np.bincount(self.group[outcome != 0], minlength=self.n).astype(np.int64)

    def figures(self, horizon_days: float) -> list[Figure]:
        """Days in each stage, and how many moved on from it."""
        if not self.n:
            return []
        found = self.stays
        settled = found.settled[self.row]
        advanced = np.bincount(self.group[settled], found.advanced[self.row[settled]], self.n)
        n_settled = np.bincount(self.group[settled], minlength=self.n).astype(np.int64)
        total = self._days(found.total, found.lasts, horizon_days)
        first = self._days(found.first, found.first_lasts, horizon_days)
        there = np.bincount(self.group, minlength=self.n) > 0

        def figure(metric: str, variant: str, unit: str, estimate: Estimate, **more: Any) -> Figure:
            return Figure(metric, variant, unit, estimate, there, by_stage=True, **more)

        return [
            figure("days_in_stage", "mean", "days", total[0], is_short=total[2], is_restricted=total[3]),
            figure("days_in_stage", "median", "days", total[1]),
            figure(
                "days_in_stage", "first_mean", "days", first[0], is_short=first[2], is_restricted=first[3]
            ),
            figure("stage_conversion", "rate", "share of settled deals", wilson(advanced, n_settled)),
        ]

    def _days(self, time: Ints, lasts: Bools, horizon_days: float) -> tuple[Estimate, Estimate, Bools, Bools]:
        """Mean and median of these stays, where the mean was not seen to its end, and where it is restricted.

        Where every stay has ended the mean is the plain one, else the area under the survival curve.
        """
        time, lasts = time[self.row], lasts[self.row]
        curve = kaplan_meier(risk_table(time, np.where(lasts, CENSORED, EVENT), self.group, self.n))
        plain = mean(time / DAY, self.group, self.n)
        area = _scaled(restricted_mean(curve, horizon_days * DAY), 1 / DAY)
        n_lasting = np.bincount(self.group[lasts], minlength=self.n)
        is_plain, unknown = n_lasting == 0, n_lasting == plain.n
        sides = zip(_arrays(plain), _arrays(area), strict=True)
        picked = [np.where(is_plain, one, np.where(unknown, np.nan, other)) for one, other in sides]
        short = ~is_plain & _is_short(curve, horizon_days * DAY)
        return Estimate(plain.n, *picked), _scaled(curve.median(), 1 / DAY), short, ~is_plain


def _is_short(curve: Curve, horizon: float) -> Bools:
    """Where nobody was observed up to the horizon, though some are still waiting."""
    short: Bools = (curve.table.last < horizon) & (curve.table.left > 0)
    return short


def _arrays(estimate: Estimate) -> tuple[Floats, Floats, Floats]:
    return estimate.value, estimate.low, estimate.high


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    value, low, high = (each * factor for each in _arrays(estimate))
    return Estimate(estimate.n, value, low, high)


def _percentiles(sample: Floats) -> tuple[float, float]:
    there = sample[~np.isnan(sample)]
    if not len(there):
        return np.nan, np.nan
    low, high = np.quantile(there, [0.025, 0.975])
    return float(low), float(high)
