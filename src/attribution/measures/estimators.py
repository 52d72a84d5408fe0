"""Curves of the time to an event: who was at risk, how many it has happened to, and how sure that is.

Everything is worked out for any number of groups in one pass: rows are sorted by (group, time) once, and
sums run within groups. Nothing here knows of deals. Times are of any one unit; integers keep ties exact.
What cannot be estimated is NaN. Intervals are of 95 % unless ``level`` says otherwise, and hold pointwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution.errors import UsageError
from attribution.measures.intervals import Bools, Estimate, Floats, Ints, Numbers, packed, ratio

__all__ = [
    "CENSORED",
    "COMPETING",
    "EVENT",
    "Curve",
    "RiskTable",
    "aalen_johansen",
    "kaplan_meier",
    "restricted_mean",
    "risk_table",
]

CENSORED, EVENT, COMPETING = range(3)
"""What ended an observation: nothing yet, the event, or something after which the event cannot happen."""

_EVENT_BITS = 2
_TOUCHES = 1e-9
"""A curve that misses a level by less, which is the rounding of floats, has reached it."""


@dataclass(frozen=True, slots=True, eq=False)
class RiskTable:
    """Per group, the distinct times at which something happened, in order."""

    offsets: Ints
    """Group ``g`` has the rows ``offsets[g]:offsets[g + 1]``."""
    time: Numbers
    n_at_risk: Ints
    """Observations that had begun before that time and had not ended before it."""
    n_events: Ints
    n_competing: Ints
    n: Ints
    """Observations, per group."""
    last: Floats
    """The longest time observed, per group; NaN without observations."""

    @property
    def group(self) -> Ints:
        """The group of each row."""
        return np.repeat(np.arange(len(self.n)), np.diff(self.offsets))

    @property
    def left(self) -> Ints:
        """Observations, per group, that went on after the last time at which something happened."""
        left = self.n.copy()
        some = self.offsets[:-1] < self.offsets[1:]
        row = self.offsets[1:][some] - 1
        left[some] = self.n_at_risk[row] - self.n_events[row] - self.n_competing[row]
        return left


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A step function per group, one value per row of its table, with pointwise intervals."""

    table: RiskTable
    value: Floats
    variance: Floats
    low: Floats
    high: Floats
    is_survival: bool
    """It falls from 1; otherwise it rises from 0."""

    def at(self, time: float) -> Estimate:
        """The curve at a time, per group; NaN for a group without observations."""
        offsets, start = self.table.offsets, float(self.is_survival)
        steps = _sums(self.table.time <= time, offsets)
        row = (offsets[:-1] + steps - 1)[steps > 0]

        def read(column: Floats, before: float) -> Floats:
            found = np.where(self.table.n > 0, before, np.nan)
            found[steps > 0] = column[row]
            return found

        # of what has not happened yet nobody knows how often it might have
        band = start if self.is_survival else np.nan
        columns = (self.value, start), (self.low, band), (self.high, band), (self.variance, 0.0)
        return Estimate(self.table.n, *(read(*column) for column in columns))

    def median(self) -> Estimate:
        """The smallest time by which it has happened to half, NaN where that is never reached.

        The interval lies where the bands of the curve cross one half (Brookmeyer & Crowley, A confidence
        interval for the median survival time, Biometrics 38, 1982).
        """
        if self.is_survival:
            crossed = self.value <= 0.5 + _TOUCHES, self.low <= 0.5, self.high <= 0.5
        else:
            crossed = self.value >= 0.5 - _TOUCHES, self.high >= 0.5, self.low >= 0.5
        return Estimate(self.table.n, *(self._first(mask) for mask in crossed))

    def _first(self, mask: Bools) -> Floats:
        """Time of the first row under a mask, per group."""
        rows = np.flatnonzero(mask)
        at = np.searchsorted(rows, self.table.offsets)
        found = np.full(len(self.table.n), np.nan)
        some = at[:-1] < at[1:]
        found[some] = self.table.time[rows[at[:-1][some]]]
        return found


def risk_table(
    time: Numbers,
    event: Numbers,
    group: Ints | None = None,
    n_groups: int = 1,
    entry: Numbers | None = None,
) -> RiskTable:
    """Who was at risk, and what happened, at each time of each group.

    Parameters
    ----------
    time
        How long each was observed; integers or floats.
    event
        What ended that: ``CENSORED``, ``EVENT`` or ``COMPETING``. Who is censored at the time of an event was
        still at risk of it.
    group
        In ``0 .. n_groups - 1``; default: all are of one.
    entry
        When observation began (left truncation): at risk at ``t`` are those with ``entry < t <= time``.
        Default: all were observed from the start, and events at time 0 count.

    Raises
    ------
    UsageError
        For a time that is not finite, or an entry that is not before its time.

    Examples
    --------
    >>> risk_table(np.array([5, 3, 5]), np.array([EVENT, COMPETING, CENSORED])).n_at_risk.tolist()
    [3, 2]
    """
    time, event = np.asarray(time), np.asarray(event)
    group = np.zeros(len(time), dtype=np.int64) if group is None else np.asarray(group, dtype=np.int64)
    if not np.isfinite(time).all():
        raise UsageError("a time is not finite", hint="leave out what was never observed")
    if entry is not None and not (np.asarray(entry) < time).all():
        raise UsageError("an entry is not before its time", hint="leave out what was never at risk")

    keys, times = None, None
    if entry is None and len(time) and np.issubdtype(time.dtype, np.integer):
        smallest = time.min()
        keys, bits = packed(group, time - smallest, spare=_EVENT_BITS)
    if keys is None:
        times, ranks = np.unique(time if entry is None else np.append(time, entry), return_inverse=True)
        keys, bits = packed(group, ranks[: len(time)], bits=len(times).bit_length(), spare=_EVENT_BITS)
        assert keys is not None  # ranks of what fits into memory fit
    keys <<= _EVENT_BITS
    keys |= event.astype(np.int64)
    keys.sort()
    moment = keys >> _EVENT_BITS
    ended = keys & ((1 << _EVENT_BITS) - 1)

    sizes = np.bincount(group, minlength=n_groups).astype(np.int64)
    ends = np.cumsum(sizes)
    first = np.flatnonzero(np.diff(moment, prepend=-1))
    bounds = np.append(first, len(moment))
    n_events, n_competing = _sums(ended == EVENT, bounds), _sums(ended == COMPETING, bounds)
    happens = n_events + n_competing > 0
    at = moment[first[happens]]
    row_group = at >> bits
    n_at_risk = ends[row_group] - first[happens]
    if entry is not None:
        begins, _ = packed(group, ranks[len(time) :], bits=bits)
        assert begins is not None  # the same ranks, without the bits of the event
        begins.sort()
        n_at_risk -= ends[row_group] - np.searchsorted(begins, at)

    def decoded(moment: Ints) -> Numbers:
        codes = moment & ((1 << bits) - 1)
        found: Numbers = codes + smallest if times is None else times[codes]
        return found

    last = np.full(n_groups, np.nan)
    last[sizes > 0] = decoded(moment[ends[sizes > 0] - 1])
    return RiskTable(
        offsets=np.searchsorted(row_group, np.arange(n_groups + 1)).astype(np.int64),
        time=decoded(at),
        n_at_risk=n_at_risk,
        n_events=n_events[happens],
        n_competing=n_competing[happens],
        n=sizes,
        last=last,
    )


def kaplan_meier(table: RiskTable, level: float = 0.95) -> Curve:
    """Probability that the event has not happened yet; what competes with it counts as censored.

    S(t) = product over t_j <= t of (1 - d_j / n_j), with Greenwood's variance and an interval on the scale of
    log(-log S) (Kaplan & Meier 1958; Kalbfleisch & Prentice 1980). NaN variance and interval from where
    nobody is left.

    Misleads when something competes with the event: where a deal can be lost, 1 - S is not the part that is
    won by t, but far more; use :func:`aalen_johansen`.

    Examples
    --------
    >>> table = risk_table(np.array([2, 3, 3, 5]), np.array([EVENT, EVENT, CENSORED, CENSORED]))
    >>> kaplan_meier(table).value.round(9).tolist()
    [0.75, 0.5]
    """
    n, d = table.n_at_risk.astype(np.float64), table.n_events.astype(np.float64)
    survival = _survival(table, d)
    spread = _running(ratio(d, n * (n - d)), table.offsets)
    variance = np.where(survival > 0, survival**2 * spread, np.nan)
    low, high = _log_log(survival, variance, level)
    unmoved = survival == 1
    low[unmoved] = high[unmoved] = 1
    return Curve(table, survival, variance, low, high, is_survival=True)


def aalen_johansen(table: RiskTable, level: float = 0.95) -> Curve:
    """Probability that the event has happened by t, where something else may end the wait for good.

    F(t) = sum over t_j <= t of S(t_j -) d1_j / n_j, with S the Kaplan-Meier curve of both kinds of end, and
    d1_j events; what ties at one time shares the same n_j. Its variance is that of the delta method (Dinse &
    Larson, A note on semi-Markov models for partially censored data, Biometrika 73, 1986), the interval lies
    on the scale of log(-log F), and where F is 0 or 1 there is none.

    Misleads when censoring tells of the outcome: if sellers leave hopeless deals open instead of closing them
    as lost, they count as if they could still be won.

    Examples
    --------
    >>> table = risk_table(np.array([2, 3, 3, 5]), np.array([EVENT, COMPETING, EVENT, CENSORED]))
    >>> aalen_johansen(table).value.round(9).tolist()
    [0.25, 0.5]
    """
    n, d1, d = _at_risk_and_ends(table)
    survival = _survival(table, d)
    before = _before(survival, table.offsets)
    value = np.clip(_running(before * d1 / n, table.offsets), 0, 1)
    # at its ends the curve is exact, or rounding would make up an interval there
    value[_running(d1, table.offsets) < 0.5] = 0
    value[(survival == 0) & (_running(d - d1, table.offsets) < 0.5)] = 1
    spread, drift = ratio(d, n * (n - d)), before * d1 / n**2
    own = _running(before**2 * d1 * (n - d1) / (n * n * n), table.offsets)
    of_spread, of_drift = (
        [_running(weight * value**power, table.offsets) for power in range(3 - i)]
        for i, weight in enumerate((spread, drift))
    )
    # sums over j <= t of (F(t) - F_j)^2 spread_j and of (F(t) - F_j) drift_j, multiplied out
    squares = value**2 * of_spread[0] - 2 * value * of_spread[1] + of_spread[2]
    variance = np.maximum(squares + own - 2 * (value * of_drift[0] - of_drift[1]), 0)
    low, high = _log_log(value, variance, level)
    return Curve(table, value, variance, low, high, is_survival=False)


def restricted_mean(curve: Curve, horizon: float, level: float = 0.95) -> Estimate:
    """Mean time without the event, of the first ``horizon``: the area under 1 - F, or under S, up to there.

    Its variance follows from the delta method as that of the curve does, the interval is normal. NaN for a
    group without observations. Beyond the last time observed the curve stays where it is.

    Misleads when few were observed for as long as ``horizon``; compare it with ``RiskTable.last``.

    Examples
    --------
    >>> table = risk_table(np.array([2, 3, 3, 5]), np.array([EVENT, EVENT, CENSORED, CENSORED]))
    >>> restricted_mean(kaplan_meier(table), 4).value.round(9).tolist()
    [3.25]
    """
    from scipy import special

    table = curve.table
    n, d1, d = _at_risk_and_ends(table)
    if curve.is_survival:
        d = d1
    before = _before(_survival(table, d), table.offsets)
    weight = before * np.maximum(horizon - table.time, 0)
    group, n_groups = table.group, len(table.n)
    gained = _running(weight * d1 / n, table.offsets)
    lost = np.bincount(group, weight * d1 / n, n_groups)
    rest = lost[group] - gained
    own, drift = weight**2 * d1 * (n - d1) / (n * n * n), weight * d1 / n**2
    terms = own - 2 * rest * drift + rest**2 * ratio(d, n * (n - d))
    variance = np.maximum(np.bincount(group, terms, n_groups), 0)
    empty = table.n == 0
    value = np.where(empty, np.nan, np.clip(horizon - lost, 0, horizon))
    reach = special.ndtri((1 + level) / 2) * np.sqrt(variance)
    return Estimate(
        table.n, value, np.maximum(value - reach, 0), np.minimum(value + reach, horizon), variance
    )


def _at_risk_and_ends(table: RiskTable) -> tuple[Floats, Floats, Floats]:
    """At risk, events, and ends of either kind, as floats."""
    n, events = table.n_at_risk.astype(np.float64), table.n_events.astype(np.float64)
    return n, events, events + table.n_competing


def _survival(table: RiskTable, d: Floats) -> Floats:
    """Product of 1 - d / n up to each row, within its group."""
    n = table.n_at_risk
    all_end = d == n
    logs = np.log1p(-np.where(all_end, 0, d / n))
    survival = np.exp(_running(logs, table.offsets))
    survival[_running(all_end.astype(np.float64), table.offsets) > 0.5] = 0  # a count of 0 or more
    return survival


def _before(survival: Floats, offsets: Ints) -> Floats:
    """The survival curve just before each row."""
    before = np.append(1.0, survival[:-1])[: len(survival)]
    before[offsets[:-1][offsets[:-1] < offsets[1:]]] = 1
    return before


def _log_log(value: Floats, variance: Floats, level: float) -> tuple[Floats, Floats]:
    """Interval of a probability on the scale of log(-log): its ends lie between 0 and 1."""
    from scipy import special

    inside = (value > 0) & (value < 1)
    logs = np.log(np.where(inside, value, 0.5))
    reach = special.ndtri((1 + level) / 2) * np.sqrt(variance) / np.where(inside, value * -logs, 1)
    # a curve at 0 or 1 has no such interval
    reach = np.where(inside, reach, 0)
    low, high = (np.where(inside, np.exp(logs * np.exp(sign * reach)), np.nan) for sign in (1, -1))
    return low, high


def _sums(mask: Bools, bounds: Ints) -> Ints:
    """How many are set between each bound and the next."""
    counts = np.append(0, np.cumsum(mask, dtype=np.int64))
    found: Ints = np.diff(counts[bounds])
    return found


def _running(values: Floats, offsets: Ints) -> Floats:
    """Running sums within groups."""
    sizes = np.diff(offsets)
    starts, sizes = offsets[:-1][sizes > 0], sizes[sizes > 0]
    if not len(starts):
        return np.zeros(0)
    fresh = values.copy()
    # every group first takes back the sum of the one before, so that sums, and their rounding, stay small
    fresh[starts[1:]] -= np.add.reduceat(values, starts)[:-1]
    found = np.cumsum(fresh)
    found -= np.repeat(found[starts] - values[starts], sizes)
    return found
