"""Models that share a deal among its touchpoints by a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from math import isfinite, lcm
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attribution.columns import NOBODY
from attribution.deals import Deals
from attribution.errors import UsageError, known
from attribution.models.base import Scores
from attribution.views import Touchpoint

__all__ = ["Linear", "Position", "TimeDecay", "Weighted", "repeats"]


@dataclass(frozen=True, slots=True)
class Linear:
    """Equal credit to every touchpoint of the path, or to every partner on it.

    Score 1 each: a partner with three of a deal's four touchpoints gets three quarters. With
    ``by="partner"`` each distinct partner counts once, 1 / (its touchpoints on the deal) each: one half. The
    oldest of the multi-touch rules.

    Misleads when partners differ in how much they log: ten short calls outweigh one referral. By partner,
    when one did all of the work and another came along once.

    Parameters
    ----------
    by
        ``"touchpoint"`` (default) or ``"partner"``.

    Raises
    ------
    UsageError
        For another ``by``.
    """

    by: Literal["touchpoint", "partner"] = "touchpoint"

    def __post_init__(self) -> None:
        if self.by not in ("touchpoint", "partner"):
            raise UsageError(f"linear by {self.by!r}", hint="use touchpoint or partner")

    def scores(self, deals: Deals) -> Scores:
        """Score per touchpoint, equal for all or for all partners of a deal; float64."""
        if self.by == "partner":
            return 1 / repeats(deals)
        return np.ones(len(deals.snapshot.touchpoints))


@dataclass(frozen=True, slots=True)
class Position:
    """Fixed shares to the first and the last touchpoint; those between share the rest equally.

    The shares of a path of n >= 3 are ``first``, (1 - first - last) / (n - 2) each, ``last``. With one or
    two touchpoints nothing lies between, and the ends are renormalised: 40/20/40 gives 50/50 to two, all to
    one. "Position-based" or "U-shaped" in web analytics.

    Misleads when the ends of the path are accidents of logging: whoever logs the first email and the last
    call gets most of the deal, however little lay in them.

    Parameters
    ----------
    first, last
        Shares, each in [0, 1] and at most 1 together.

    Raises
    ------
    UsageError
        For shares that are not.

    Examples
    --------
    >>> Position(first=0.3, last=0.5)
    Position(first=0.3, last=0.5)
    """

    first: float = 0.4
    last: float = 0.4

    def __post_init__(self) -> None:
        if not (isfinite(self.first) and isfinite(self.last) and self.first >= 0 and self.last >= 0):
            raise UsageError(
                f"position with first={self.first} and last={self.last}", hint="shares lie in [0, 1]"
            )
        if sum(self._ends()) > 1:
            raise UsageError(
                f"position gives {self.first} to the first and {self.last} to the last touchpoint",
                hint="together they are at most 1",
            )

    def scores(self, deals: Deals) -> Scores:
        """Score per touchpoint by its place on the path; float64."""
        first, last = self._ends()
        unit = lcm(first.denominator, last.denominator)
        # whole numbers, so that no share is off because 1 - 0.4 - 0.4 is not 0.2 in binary
        ends = int(first * unit), int(last * unit)
        offsets = deals.snapshot.touchpoints.offsets
        counts = np.diff(offsets)
        between = np.maximum(counts - 2, 1)
        scores = np.full(len(deals.snapshot.touchpoints), float(unit - sum(ends)))
        for share, place in zip(ends, (offsets[:-1], offsets[1:] - 1), strict=True):
            several = counts > 1
            scores[place[several]] = (share * between)[several]
            if not any(ends):
                scores[place[counts == 2]] = 1
        scores[offsets[:-1][counts == 1]] = 1
        return scores

    def _ends(self) -> tuple[Fraction, Fraction]:
        """The shares as they are written: 0.4 is 2/5."""
        return Fraction(str(self.first)), Fraction(str(self.last))


@dataclass(frozen=True, slots=True)
class TimeDecay:
    """The more recent, the more credit: half as much for every half-life.

    Score 2^(-age / half_life), where age is the time from the touchpoint to the end of the path. Which end
    does not matter: the close and the last touchpoint give equal shares. Common in web analytics, there
    with seven days; deals live longer.

    Misleads when the work that decides a deal is done early: the referral of January is worth an eighth
    of a reminder in April.

    Parameters
    ----------
    half_life
        A duration above 0; default: 30 days.

    Raises
    ------
    UsageError
        For a half-life that is not above 0.
    """

    half_life: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        if not isinstance(self.half_life, timedelta) or self.half_life <= timedelta(0):
            raise UsageError(
                f"time decay with a half-life of {self.half_life}",
                hint="it is a time above 0, such as 30 days",
            )

    def scores(self, deals: Deals) -> Scores:
        """Score per touchpoint by its age: 1 for the last of a path; float64."""
        touchpoints = deals.snapshot.touchpoints
        counts = np.diff(touchpoints.offsets)
        # from the last touchpoint, so that scores of long paths do not vanish altogether
        last = touchpoints.occurred_at[touchpoints.offsets[1:][counts > 0] - 1]
        age = touchpoints.occurred_at - np.repeat(last, counts[counts > 0])
        halvings: Scores = age / (self.half_life / timedelta(microseconds=1))
        return np.exp2(halvings, out=halvings)


@dataclass(frozen=True, slots=True)
class Weighted:
    """Credit by what a touchpoint is: its kind, its role or its program, or a weight of your own.

    The score is the weight that ``weights`` gives to the touchpoint's kind (role, program), or
    ``otherwise``; weights are relative: 3 and 1 are as 6 and 2. Fixed weights are what partner teams agree
    on before a quarter; no data stand behind them.

    Misleads when the weights were set by whoever profits from them: the result restates the opinion.

    Parameters
    ----------
    weights
        Weight by name, such as ``{"referral": 3, "meeting": 1}``; ``"(none)"`` stands for no role or no
        program. Or a function from :class:`~attribution.views.Touchpoint` to its weight, which is called
        once per touchpoint: for millions, write a model of your own.
    by
        What the names are names of: ``"kind"`` (default), ``"role"`` or ``"program"`` (name or id).
    otherwise
        Weight of what ``weights`` does not name; default 1.

    Raises
    ------
    UsageError
        For another ``by``, a weight that is not finite and at least 0, or, when scoring, a kind or program
        that does not exist.

    Examples
    --------
    >>> Weighted({"referral": 3, "meeting": 1}) == Weighted({"meeting": 1, "referral": 3})
    True
    >>> wins_by_phone = Weighted(lambda touchpoint: 2.0 if touchpoint.kind == "call" else 1.0)
    """

    weights: Mapping[str, float] | tuple[tuple[str, float], ...] | Callable[[Touchpoint], float]
    by: Literal["kind", "role", "program"] = "kind"
    otherwise: float = 1.0

    def __post_init__(self) -> None:
        if self.by not in ("kind", "role", "program"):
            raise UsageError(f"weighted by {self.by!r}", hint="use kind, role or program")
        if callable(self.weights):
            return
        weights = tuple(sorted((name, float(weight)) for name, weight in dict(self.weights).items()))
        for name, weight in (*weights, ("otherwise", self.otherwise)):
            if not (isfinite(weight) and weight >= 0):
                raise UsageError(f"the weight of {name} is {weight:g}", hint="weights are finite and >= 0")
        # a tuple, because models are values and serve as keys
        object.__setattr__(self, "weights", weights)

    def scores(self, deals: Deals) -> Scores:
        """Weight of each touchpoint; float64."""
        if callable(self.weights):
            rows = range(len(deals.snapshot.touchpoints))
            return np.array([self.weights(deals.touchpoint(row)) for row in rows], dtype=np.float64)
        snapshot, touchpoints = deals.snapshot, deals.snapshot.touchpoints
        names: list[tuple[str, ...]]
        codes: NDArray[np.integer]
        if self.by == "program":
            names = [(program.name, program.id) for program in snapshot.programs]
            codes = touchpoints.program
        elif self.by == "role":
            names, codes = [(role,) for role in snapshot.roles], touchpoints.role
        else:
            names, codes = [(kind,) for kind in snapshot.kinds], touchpoints.kind
        # the last one is for code -1
        names.append((NOBODY,))
        table = np.full(len(names), float(self.otherwise))
        for name, weight in dict(self.weights).items():
            found = [at for at, called in enumerate(names) if name in called]
            # a role that nobody plays yet is no mistake
            if not found and self.by != "role":
                raise UsageError(
                    f"there is no {self.by} {name!r}", hint=f"known: {known(called[0] for called in names)}"
                )
            table[found] = weight
        scores: Scores = table[codes]
        return scores


def repeats(deals: Deals) -> NDArray[np.int64]:
    """How many touchpoints of its deal are of the same partner, itself included; per touchpoint.

    Examples
    --------
    On a path ``ann bob ann`` it is 2, 1, 2.
    """
    touchpoints = deals.snapshot.touchpoints
    n = len(touchpoints)
    # sorting packed integers takes a fifteenth of the time of np.unique; deal, partner and the place on the
    # path of 2^20 each would just fit
    place = np.arange(n) - touchpoints.offsets[deals.deal_of]
    bits = int(place.max(initial=0)).bit_length()
    keys = deals.deal_of * np.int64(len(deals.partners)) + touchpoints.partner
    keys = (keys << bits) + place
    keys.sort()
    place = keys & ((1 << bits) - 1)
    keys >>= bits
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(starts, append=n)
    found = np.empty(n, dtype=np.int64)
    # the deals are in order before and after
    found[place + touchpoints.offsets[deals.deal_of]] = np.repeat(counts, counts)
    return found
