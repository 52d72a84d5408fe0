"""Means, medians and proportions on arrays, with their intervals, for any number of groups in one pass.

What cannot be estimated is NaN. Intervals are of 95 % unless ``level`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.errors import UsageError

__all__ = [
    "Bools",
    "Estimate",
    "Floats",
    "Ints",
    "Numbers",
    "Sorted",
    "bootstrap",
    "difference",
    "mean",
    "packed",
    "ratio",
    "resampled_sums",
    "resampled_winsorised",
    "sorted_within",
    "welch",
    "wilson",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Numbers = NDArray[Any]

_DRAWN = 1 << 20
"""Observations drawn at a time for a bootstrap."""
_COUNTED = 1 << 16
"""Draws that are counted at a time: few enough to stay in the processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A figure per group with its interval; all arrays have one entry per group."""

    n: Ints
    """Observations that it rests on."""
    value: Floats
    low: Floats
    high: Floats
    variance: Floats | None = None
    """Square of the standard error, where there is one."""


@dataclass(frozen=True, slots=True, eq=False)
class Sorted:
    """Values ordered by (group, value)."""

    values: Numbers
    offsets: Ints

    @property
    def n(self) -> Ints:
        """Values per group."""
        return np.diff(self.offsets)

    @property
    def group(self) -> Ints:
        """The group of each value."""
        return np.repeat(np.arange(len(self.n)), self.n)

    def quantile(self, q: float) -> Floats:
        """Linear quantile per group, as ``numpy.quantile`` has it; NaN without values."""
        found = np.full(len(self.n), np.nan)
        some = self.n > 0
        place = q * (self.n[some] - 1)
        below = np.floor(place).astype(np.int64)
        first = self.offsets[:-1][some] + below
        # the last value is its own neighbour
        second = np.minimum(first + 1, self.offsets[1:][some] - 1)
        low, high = self.values[first].astype(np.float64), self.values[second].astype(np.float64)
        found[some] = low + (high - low) * (place - below)
        return found

    def median(self, level: float = 0.95) -> Estimate:
        """The median per group, and the order statistics that hold it with this certainty.

        Whatever the distribution: the ends are the values of rank k and n + 1 - k, with k the largest for
        which P(Binomial(n, 1/2) < k) <= (1 - level) / 2 (Conover, Practical Nonparametric Statistics, 3.2).
        NaN where the group is too small for any: fewer than 6 values at 95 %.
        """
        from scipy import special

        n, tail = self.n, (1 - level) / 2
        # the normal approximation is off by a rank or two: look around it
        near = np.floor(n / 2 - special.ndtri(1 - tail) * np.sqrt(n) / 2).astype(np.int64)
        k = np.zeros(len(n), dtype=np.int64)
        for rank in (near + step for step in range(-3, 4)):
            fits = (rank >= 1) & (special.bdtr(np.maximum(rank - 1.0, 0.0), n, 0.5) <= tail)
            k = np.where(fits, rank, k)
        low, high = np.full(len(n), np.nan), np.full(len(n), np.nan)
        some = k > 0
        low[some] = self.values[(self.offsets[:-1] + k - 1)[some]]
        high[some] = self.values[(self.offsets[1:] - k)[some]]
        return Estimate(n, self.quantile(0.5), low, high)

    def winsorised(self, tail: float) -> Floats:
        """Per value, what it counts as: at least the quantile ``tail``, at most the quantile ``1 - tail``."""
        low, high = (np.repeat(self.quantile(q), self.n) for q in (tail, 1 - tail))
        return np.clip(self.values.astype(np.float64), low, high)


def sorted_within(values: Numbers, group: Ints, n_groups: int) -> Sorted:
    """Order values within their groups.

    Examples
    --------
    >>> sorted_within(np.array([30, 10, 20]), np.array([0, 0, 1]), 2).quantile(0.5).tolist()
    [20.0, 20.0]
    """
    offsets = np.append(0, np.cumsum(np.bincount(group, minlength=n_groups))).astype(np.int64)
    if len(values) and np.issubdtype(values.dtype, np.integer):
        smallest = values.min()
        keys, bits = packed(group, values - smallest)
        if keys is not None:
            keys.sort()
            return Sorted((keys & ((1 << bits) - 1)) + smallest, offsets)
    return Sorted(values[np.lexsort((values, group))], offsets)


def mean(values: Numbers, group: Ints, n_groups: int, level: float = 0.95) -> Estimate:
    """Mean per group with Student's interval; NaN without values, no interval of a single one.

    Misleads when a few values are far larger than the rest: the interval is then too narrow on their side.

    Examples
    --------
    >>> mean(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 0]), 1).value.tolist()
    [2.0]
    """
    from scipy import special

    n = np.bincount(group, minlength=n_groups).astype(np.int64)
    value = ratio(np.bincount(group, values, n_groups), n, empty=np.nan)
    squares = np.bincount(group, (values - value[group]) ** 2, n_groups)
    variance = ratio(squares, n * (n - 1), empty=np.nan)
    reach = special.stdtrit(np.maximum(n - 1.0, 1.0), (1 + level) / 2) * np.sqrt(variance)
    return Estimate(n, value, value - reach, value + reach, variance)


def wilson(successes: Numbers, n: Ints, level: float = 0.95) -> Estimate:
    """Proportion with Wilson's score interval (Wilson 1927); NaN of nothing.

    Examples
    --------
    >>> wilson(np.array([12]), np.array([40])).value.tolist()
    [0.3]
    """
    from scipy import special

    z2 = special.ndtri((1 + level) / 2) ** 2
    share = ratio(successes, n, empty=np.nan)
    middle = (share + ratio(z2, 2 * n)) / (1 + ratio(z2, n))
    reach = np.sqrt(z2 * (ratio(share * (1 - share), n) + ratio(z2, 4 * n**2))) / (1 + ratio(z2, n))
    return Estimate(n, share, np.clip(middle - reach, 0, 1), np.clip(middle + reach, 0, 1))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """``one - other`` of independent groups, with an interval put together from those of both.

    low = d - sqrt((one - one.low)^2 + (other.high - other)^2), high likewise; of two Wilson intervals this is
    Newcombe's (Interval estimation for the difference between independent proportions, 1998), otherwise
    the method of variance estimates recovery (Zou & Donner 2008). ``n`` is that of ``one``.

    Misleads when the groups share members, as with ``baseline="all"``: the interval is then too wide.
    """
    value = one.value - other.value
    down = np.hypot(one.value - one.low, other.high - other.value)
    up = np.hypot(one.high - one.value, other.value - other.low)
    return Estimate(one.n, value, value - down, value + up)


def welch(one: Estimate, other: Estimate, level: float = 0.95) -> Estimate:
    """``one - other`` of two means of independent groups, with Welch's interval; both have a variance.

    Student's t with (v1 + v2)^2 / (v1^2 / (n1 - 1) + v2^2 / (n2 - 1)) degrees of freedom, v the squares of
    the standard errors (Welch 1947).
    """
    from scipy import special

    if one.variance is None or other.variance is None:
        raise UsageError("an estimate has no variance", hint="use difference()")
    value, variance = one.value - other.value, one.variance + other.variance
    parts = sum(ratio(each.variance**2, each.n - 1) for each in (one, other) if each.variance is not None)
    freedom = ratio(variance**2, parts, empty=np.nan)
    # where all values are equal there is no spread, and no degree of freedom to speak of
    reach = np.where(variance == 0, 0, special.stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance))
    return Estimate(one.n, value, value - reach, value + reach, variance)


def bootstrap(
    values: Numbers,
    statistic: Callable[[Numbers], Floats],
    n: int = 1_000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic of one group (Efron & Tibshirani 1993, 13.3).

    Parameters
    ----------
    values
        One row per observation.
    statistic
        From samples, an array of one more dimension in front, to one number per sample. Samples of which it
        is NaN are left out.
    n, seed
        Number of samples, and the start of the random numbers: one seed, one interval.

    Examples
    --------
    >>> low, high = bootstrap(np.arange(100.0), lambda samples: samples.mean(axis=1))
    >>> 40 < low < 49.5 < high < 60
    True
    """
    size = len(values)
    if not size or not n:
        return np.nan, np.nan
    random, found = np.random.default_rng(seed), []
    at_a_time = max(1, _DRAWN // size)
    for done in range(0, n, at_a_time):
        drawn = random.integers(size, size=(min(at_a_time, n - done), size), dtype=np.int32)
        found.append(statistic(values[drawn]))
    figures = np.concatenate(found)
    figures = figures[~np.isnan(figures)]
    if not len(figures):
        return np.nan, np.nan
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled_sums(values: Floats, n: int, seed: int) -> Floats:
    """Sums of each column over ``n`` samples, drawn with replacement, of the rows: a row per sample."""
    return np.concatenate([counts.astype(np.float64) @ values for counts in _counts(len(values), n, seed)])


def resampled_winsorised(ordered: Floats, tail: float, n: int, seed: int) -> Floats:
    """Winsorised means of ``n`` samples, drawn with replacement, of values in ascending order.

    What a sample consists of is how often each value was drawn: its quantiles are found in the running
    counts, and nothing is sorted again.
    """
    size, found = len(ordered), []
    for counts in _counts(size, n, seed):
        starts = size * np.arange(len(counts))
        upto = np.cumsum(counts)
        sums = np.cumsum(counts * ordered, axis=1)

        def order_statistic(rank: int, starts: Ints = starts, upto: Ints = upto) -> Ints:
            place: Ints = np.searchsorted(upto, starts + rank, side="right") - starts
            return place

        ends = []
        for place in (tail * (size - 1), (1 - tail) * (size - 1)):
            below = int(place)
            at = order_statistic(below)
            first, second = ordered[at], ordered[order_statistic(min(below + 1, size - 1))]
            ends.append((at, first + (second - first) * (place - below)))
        (bottom_at, bottom), (top_at, top) = ends
        row = np.arange(len(counts))
        n_bottom, n_rest = upto[starts + bottom_at] - starts, starts + size - upto[starts + top_at]
        middle = sums[row, top_at] - sums[row, bottom_at]
        found.append((middle + n_bottom * bottom + n_rest * top) / size)
    return np.concatenate(found)


def _counts(size: int, n: int, seed: int) -> Iterator[Ints]:
    """How often each of some rows is drawn: a row per sample, and some samples at a time."""
    random, at_a_time = np.random.default_rng(seed), max(1, _COUNTED // max(1, size))
    for done in range(0, n, at_a_time):
        m = min(at_a_time, n - done)
        drawn = random.integers(size, size=(m, size), dtype=np.int32)
        if m > 1:
            drawn += size * np.arange(m, dtype=np.int32)[:, None]
        yield np.bincount(drawn.ravel(), minlength=m * size).reshape(m, size)


def ratio(over: Any, under: Any, empty: float = 0.0) -> Floats:
    """Quotient; ``empty`` where there is nothing to divide by."""
    over, under = np.broadcast_arrays(np.asarray(over, np.float64), np.asarray(under, np.float64))
    found = np.full(over.shape, empty, dtype=np.float64)
    np.divide(over, under, out=found, where=under != 0)
    return found


def packed(group: Ints, codes: Ints, *, bits: int | None = None, spare: int = 0) -> tuple[Ints | None, int]:
    """Integers that sort by group, then code, and how many bits are the code's; None where 63 are too few."""
    bits = int(codes.max(initial=0)).bit_length() if bits is None else bits
    if int(group.max(initial=0)).bit_length() + bits + spare > 63:
        return None, bits
    return (group.astype(np.int64) << bits) | codes.astype(np.int64), bits
