"""The milestone model: credit to whoever was last to act before a deal's milestones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from math import isfinite, lcm

import numpy as np

from attribution.columns import OPEN, Ints
from attribution.deals import Deals
from attribution.errors import UsageError
from attribution.models.base import Scores, described

__all__ = ["PRESETS", "Milestone"]

PRESETS = ("u_shaped", "bizible_u", "w_shaped", "full_path")
"""Class methods that make the model in its usual shapes."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """Fixed shares to the touchpoints at a deal's milestones; all others share the rest equally.

    The milestones are the first touch, the creation of the deal's earliest lead, the creation of the
    opportunity, and the close. The touchpoint of a milestone is the last one at or before it, else the first
    of the path; a touchpoint that stands for several milestones adds up their shares. A milestone that a deal
    lacks (no lead, or not closed yet) drops out, and its share is spread over the rest in proportion; so is
    the rest of 1 - first - lead - opportunity - closed where no touchpoint is left for it.

    The usual shapes are class methods: :meth:`u_shaped`, :meth:`bizible_u`, :meth:`w_shaped`,
    :meth:`full_path`. They come from marketing automation (Bizible, now Adobe Marketo Measure).

    Misleads when the milestones are artefacts of the CRM: a lead that is converted in bulk, or an opportunity
    that is logged after the handshake, hands the share to whoever happened to be there.

    Parameters
    ----------
    first, lead, opportunity, closed
        Shares of the milestones, each in [0, 1] and at most 1 together; with 0 it is no milestone.

    Raises
    ------
    UsageError
        For shares that are not.

    Examples
    --------
    >>> Milestone.w_shaped() == Milestone(first=0.3, lead=0.3, opportunity=0.3)
    True
    """

    first: float = 0.0
    lead: float = 0.0
    opportunity: float = 0.0
    closed: float = 0.0

    def __post_init__(self) -> None:
        for name in ("first", "lead", "opportunity", "closed"):
            share = getattr(self, name)
            if not (isfinite(share) and share >= 0):
                raise UsageError(f"a milestone with {name}={share}", hint="shares lie in [0, 1]")
        if sum(self._shares()) > 1:
            raise UsageError(
                f"milestones get {float(sum(self._shares())):g} of a deal", hint="together they get at most 1"
            )

    @classmethod
    def u_shaped(cls) -> Milestone:
        """40 % to the first touch, 40 % to the lead's creation, 20 % to the others."""
        return cls(first=0.4, lead=0.4)

    @classmethod
    def bizible_u(cls) -> Milestone:
        """50 % to the first touch, 50 % to the lead's creation."""
        return cls(first=0.5, lead=0.5)

    @classmethod
    def w_shaped(cls) -> Milestone:
        """30 % each to the first touch, lead's and opportunity's creation; 10 % to the others."""
        return cls(first=0.3, lead=0.3, opportunity=0.3)

    @classmethod
    def full_path(cls) -> Milestone:
        """22.5 % each to first touch, lead's and opportunity's creation and close; 10 % to the others."""
        return cls(first=0.225, lead=0.225, opportunity=0.225, closed=0.225)

    def __str__(self) -> str:
        preset = next((name for name in PRESETS if getattr(Milestone, name)() == self), None)
        return preset or described(self)

    def scores(self, deals: Deals) -> Scores:
        """Share of the milestones of each touchpoint; float64, whole numbers."""
        columns, touchpoints = deals.snapshot.deals, deals.snapshot.touchpoints
        counts = np.diff(touchpoints.offsets)
        played = np.flatnonzero(counts > 0)
        first, counts = touchpoints.offsets[:-1][played], counts[played]
        shares = self._shares()
        unit = lcm(*(share.denominator for share in shares))
        instants = (None, columns.lead_created_at, columns.created_at, columns.closed_at)
        # whole numbers, as in Position
        earned = np.zeros(len(touchpoints))
        is_milestone = np.zeros(len(touchpoints), dtype=bool)
        for share, instant in zip(shares, instants, strict=True):
            if not share:
                continue
            at = first if instant is None else _last_by(deals, played, instant[played])
            reached = np.ones(len(played), dtype=bool) if instant is None else instant[played] != OPEN
            # a deal has one touchpoint per milestone, so that no index occurs twice
            earned[at[reached]] += float(share * unit)
            is_milestone[at[reached]] = True
        rest = unit - int(sum(shares) * unit)
        n_others = np.add.reduceat(~is_milestone, first, dtype=np.int64) if len(first) else counts
        scores: Scores = earned * np.repeat(np.maximum(n_others, 1), counts)
        scores[~is_milestone] = rest
        return scores

    def _shares(self) -> tuple[Fraction, ...]:
        """The shares as they are written: 0.225 is 9/40."""
        return tuple(Fraction(str(getattr(self, each.name))) for each in fields(self))


def _last_by(deals: Deals, played: Ints, instant: Ints) -> Ints:
    """The last touchpoint of each deal at or before an instant, else its first: by binary search."""
    offsets, occurred_at = deals.snapshot.touchpoints.offsets, deals.snapshot.touchpoints.occurred_at
    low, high = offsets[played], offsets[played + 1] - 1
    while (searching := low < high).any():
        middle = (low + high + 1) // 2
        by_then = occurred_at[middle] <= instant
        low = np.where(searching & by_then, middle, low)
        high = np.where(searching & ~by_then, middle - 1, high)
    return low
