"""Comparing those who have something with those who do not (yet): hazards and means, within strata.

Arrays in, a figure with its standard error out; nothing here knows of deals. Times are whole numbers, so
that ties are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan

import numpy as np

from attribution.measures.intervals import Bools, Floats, Ints

__all__ = [
    "NEVER",
    "Contrast",
    "HazardRatio",
    "Race",
    "compact",
    "hazard_ratio",
    "overlap_difference",
    "overlap_weights",
    "race",
]

NEVER = np.iinfo(np.int64).max
"""Instead of a time: it does not come."""
_STEPS = 60
_CONVERGED = 1e-12


@dataclass(frozen=True, slots=True)
class HazardRatio:
    """How many times as fast events come to those exposed."""

    log: float
    """Natural logarithm; infinite where all events that tell anything fell on one side, NaN without any."""
    error: float
    """Standard error of the logarithm."""
    n_events_with: int
    """Events of those exposed at that time."""
    n_events_without: int
    time_with: int
    """Time at risk, summed, after exposure."""
    time_without: int


@dataclass(frozen=True, slots=True)
class Contrast:
    """A weighted difference of two means."""

    value: float
    error: float
    n_with: int
    n_without: int
    effective_with: float
    """As many equally weighted observations would tell as much: (sum of weights)^2 / sum of squares."""
    effective_without: float
    n_alone: int
    """Exposed observations in cells that hold nobody to compare them with."""


def hazard_ratio(
    end: Ints, event: Bools, exposed_from: Ints, stratum: Ints, entry: Ints | None = None
) -> HazardRatio:
    """Hazard ratio of a yes-or-no exposure that begins at some time and stays (Cox's partial likelihood).

    At the time t of each event those at risk in its stratum (``entry < t <= end``) are n1 exposed before t
    and n0 others. With d events of which d1 are exposed, the likelihood of b = log(ratio) is, in Efron's
    form for ties, the product over l = 0 .. d - 1 of

        exp(b)^d1 / ((n1 - l d1 / d) exp(b) + (n0 - l d0 / d)).

    The baseline hazard of each stratum may have any shape. Sources: D. R. Cox (1972); B. Efron (1977).

    Misleads when the ratio changes with time: it is then an average over the events that were seen.

    Parameters
    ----------
    end
        When observation of each ended.
    event
        Whether by the event; others are censored.
    exposed_from
        Exposed at all t later than this; ``NEVER``: not at all.
    stratum
        Codes; only members of one stratum are compared.
    entry
        At risk at all t later than this; default: 0. Whoever ends by then is left out.
    """
    return race(end, event, stratum, entry).ratio(exposed_from)


@dataclass(frozen=True, slots=True, eq=False)
class Race:
    """Who is at risk when, whoever is exposed: the part of a hazard ratio that many exposures share."""

    seen: Bools
    """Who takes part at all; the columns below are theirs."""
    end: Ints
    entry: Ints
    event: Bools
    stratum: Ints
    times: Ints
    """The distinct times of events."""
    at: Ints
    """Keys of the events, ordered: by stratum, then by time."""
    d: Ints
    """Events of each key."""
    n: Ints
    """At risk then."""

    def ratio(self, exposed_from: Ints) -> HazardRatio:
        """The hazard ratio of those exposed at all t later than this, as :func:`hazard_ratio` has it."""
        exposed_from = np.maximum(exposed_from[self.seen], self.entry)
        rows = np.flatnonzero(exposed_from < self.end)
        time_with = int((self.end[rows] - exposed_from[rows]).sum())
        total = int((self.end - self.entry).sum())
        with_event = rows[self.event[rows]]
        place = np.searchsorted(self.at, self._keys(with_event, self.end[with_event]) - 1)
        d1 = np.bincount(place, minlength=len(self.at))
        n1 = self._at_risk(rows, exposed_from[rows])
        counts = (int(d1.sum()), int(self.d.sum() - d1.sum()), time_with, total - time_with)
        tells = (n1 > 0) & (n1 < self.n)
        return HazardRatio(*_partial_likelihood(self.d[tells], d1[tells], self.n[tells], n1[tells]), *counts)

    def _keys(self, rows: Ints, time: Ints) -> Ints:
        """Keys, sorted, of the first event later than these times of these rows."""
        # of the times only their order among the events matters: a key sorts by stratum, then by that
        return _keys(self.stratum[rows], self.times, time)

    def _at_risk(self, rows: Ints, start: Ints) -> Ints:
        """How many of these rows are in the stratum of each event, have started before it and not ended."""
        return _at_risk(self.at, self._keys(rows, start), self._keys(rows, self.end[rows]))


def race(end: Ints, event: Bools, stratum: Ints, entry: Ints | None = None) -> Race:
    """What :func:`hazard_ratio` works out of everybody, to be asked for several exposures."""
    entry = np.zeros(len(end), dtype=np.int64) if entry is None else entry
    seen = end > entry
    end, event, stratum, entry = end[seen], event[seen], stratum[seen], entry[seen]
    times = np.unique(end[event])
    at, d = np.unique(_keys(stratum[event], times, end[event]) - 1, return_counts=True)
    n = _at_risk(at, _keys(stratum, times, entry), _keys(stratum, times, end))
    return Race(seen, end, entry, event, stratum, times, at, d, n)


def _keys(stratum: Ints, times: Ints, time: Ints) -> Ints:
    found: Ints = stratum * (len(times) + 1) + np.searchsorted(times, time, side="right")
    found.sort()
    return found


def _at_risk(at: Ints, starts: Ints, ends: Ints) -> Ints:
    started, ended = (np.searchsorted(keys, at, side="right") for keys in (starts, ends))
    # those of lower strata have all started and ended
    present: Ints = started - ended
    return present


def _partial_likelihood(d: Ints, d1: Ints, n: Ints, n1: Ints) -> tuple[float, float]:
    """Maximum of the logarithm, and its standard error."""
    if not len(d):
        return nan, nan
    n_events, n_exposed = int(d.sum()), int(d1.sum())
    if n_exposed in (0, n_events):
        return (-inf if n_exposed == 0 else inf), nan
    rank = np.arange(n_events) - np.repeat(np.cumsum(d) - d, d)
    part = rank / np.repeat(d, d)
    with_ = np.repeat(n1, d) - part * np.repeat(d1, d)
    without = np.repeat(n - n1, d) - part * np.repeat(d - d1, d)
    log = 0.0
    for _ in range(_STEPS):
        p = with_ / (with_ + without * np.exp(-log))
        information = float((p * (1 - p)).sum())
        step = (n_exposed - float(p.sum())) / information
        # far from the maximum the quadratic approximation overshoots
        log += float(np.clip(step, -1, 1))
        if abs(step) < _CONVERGED:
            break
    p = with_ / (with_ + without * np.exp(-log))
    return log, float(1 / np.sqrt((p * (1 - p)).sum()))


def compact(codes: Ints) -> Ints:
    """The same codes without gaps: each becomes its rank among those that occur.

    Examples
    --------
    >>> compact(np.array([7, 3, 7, 900]))
    array([1, 0, 1, 2])
    """
    if not len(codes) or codes.min() < 0 or codes.max() > 4 * len(codes):
        return np.unique(codes, return_inverse=True)[1]
    rank: Ints = np.cumsum(np.bincount(codes) > 0) - 1
    return rank[codes]


def overlap_weights(exposed: Bools, cell: Ints) -> Floats:
    """Weight of each observation in a comparison within cells; 0 where its cell holds one kind only.

    In a cell of n1 exposed and n0 others, n in all, an exposed one weighs n0 / n and another n1 / n: 1 - e
    and e, with e = n1 / n the chance of being exposed there.
    """
    cell = compact(cell)
    n = np.bincount(cell)
    share = np.bincount(cell, exposed) / n
    weights: Floats = np.where(exposed, 1 - share[cell], share[cell])
    return weights


def overlap_difference(outcome: Floats, exposed: Bools, cell: Ints, unit: Ints) -> Contrast:
    """Mean of the exposed less mean of the others, compared within cells under :func:`overlap_weights`.

    This is the difference of Mantel and Haenszel: the sum over cells of (n1 n0 / n) (mean1 - mean0), over the
    sum of n1 n0 / n. Every covariate that makes a cell is balanced exactly. The error allows a unit to be
    observed in several cells. Residuals are taken from the mean of their cell, shifted by the common
    difference, and enlarged by n / (n - 1), so that a cell with one exposed counts in full.

    Sources: F. Li, K. L. Morgan, A. M. Zaslavsky, "Balancing covariates via propensity score weighting"
    (2018); S. Greenland, J. M. Robins, "Estimation of a common effect parameter from sparse follow-up data"
    (1985).

    Misleads when the difference varies much between cells: those where both kinds are common count most.

    Parameters
    ----------
    outcome, exposed, cell
        One entry per observation; cells are codes.
    unit
        Codes of what is observed: observations of one unit may depend on one another.
    """
    weight = overlap_weights(exposed, cell)
    kept = weight > 0
    n_alone = int((exposed & ~kept).sum())
    outcome, exposed, weight = outcome[kept], exposed[kept], weight[kept]
    if not len(outcome):
        return Contrast(nan, nan, 0, 0, 0.0, 0.0, n_alone)
    cell, unit = compact(cell[kept]), compact(unit[kept])
    whole = float(weight[exposed].sum())
    signed = np.where(exposed, weight, -weight)
    value = float(signed @ outcome) / whole
    n = np.bincount(cell)
    residual = outcome - (np.bincount(cell, outcome) / n)[cell] - signed * value
    pull = signed * residual * np.sqrt(n / (n - 1))[cell]
    error = float(np.sqrt((np.bincount(unit, pull) ** 2).sum())) / whole

    def effective(rows: Bools) -> float:
        return float(weight[rows].sum() ** 2 / (weight[rows] ** 2).sum())

    n_with, n_without = len(np.unique(unit[exposed])), len(np.unique(unit[~exposed]))
    return Contrast(value, error, n_with, n_without, effective(exposed), effective(~exposed), n_alone)
