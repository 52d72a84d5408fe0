"""What the metrics of partners are worked out from."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

import numpy as np

from attribution import money
from attribution.columns import KINDS
from attribution.deals import Deals
from attribution.measures.intervals import Bools, Estimate, Floats, Ints
from attribution.measures.partner_tables import Books, Roster
from attribution.measures.results import Row

__all__ = ["NO_FIGURE", "UNSIGNED", "Figures", "Scene", "acts", "figures_of", "left_out"]

Figures = tuple[float, float, float]
"""Value, low and high; NaN for what is absent."""
NO_FIGURE: Figures = (nan, nan, nan)
UNSIGNED = "not known: supply signed_at in partners"
_EVERYBODY = "(all)"


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything that the metrics are worked out from."""

    deals: Deals
    roster: Roster
    books: Books
    margins: Floats | None
    """Minor units per deal of the snapshot."""
    sourced_by: Ints
    """Per selected deal, code of the partner that sourced it; -1 for none."""
    won: Bools
    horizon_days: int
    seed: int

    @property
    def as_of(self) -> int:
        """The event cut-off."""
        return self.deals.snapshot.as_of

    @property
    def earned(self) -> Bools:
        """Which of the selected deals were won, have an amount, and were sourced by a partner."""
        found: Bools = (
            self.won & (self.sourced_by >= 0) & self.deals.snapshot.deals.valued[self.deals.selected]
        )
        return found

    @property
    def is_selected(self) -> Bools:
        """Which deals of the snapshot are selected."""
        found = np.zeros(len(self.deals.snapshot.deals), dtype=bool)
        found[self.deals.selected] = True
        return found

    @property
    def revenue(self) -> Floats:
        """Sourced and won amount of each party, in major units."""
        rows = self.earned
        minor = money.sum_by(
            self.sourced_by[rows],
            self.deals.snapshot.deals.amount[self.deals.selected[rows]],
            len(self.roster.parties),
        )
        return minor / self.unit

    @property
    def unit(self) -> int:
        """Minor units of a major one. Estimates are floats: they are no amounts to the cent."""
        unit: int = 10 ** money.digits(self.deals.currency)
        return unit

    def row(
        self,
        metric: str,
        n: int,
        figures: Figures,
        unit: str,
        note: str,
        who: int | None = None,
    ) -> Row:
        """A row of the table; figures that are not finite are absent."""
        party = None if who is None else self.roster.parties[who]
        value, low, high = (float(each) if isfinite(each) else None for each in figures)
        return {
            "metric": metric,
            "partner": _EVERYBODY if party is None else party.name,
            "partner_id": None if party is None else party.id,
            "n": int(n),
            "value": value,
            "low": low,
            "high": high,
            "unit": unit,
            "note": note,
        }


def acts(scene: Scene) -> tuple[Ints, Ints]:
    """Partner and instant of each strong or weak touchpoint on a selected deal; handing over is none."""
    touchpoints = scene.deals.snapshot.touchpoints
    rows = scene.deals.involved & scene.is_selected[scene.deals.deal_of]
    rows &= touchpoints.kind != KINDS.index("handed_over")
    return touchpoints.partner[rows].astype(np.int64), touchpoints.occurred_at[rows]


def left_out(n: int, what: str, of: str = "won deals") -> str:
    """In words, how many are left out since this is not known of them; empty for none."""
    return f"; {of} without {what}, left out: {n:,}" if n else ""


def figures_of(estimate: Estimate, unit: float = 1) -> Figures:
    """The figures of the first group, in a unit."""
    value, low, high = (float(each[0]) / unit for each in (estimate.value, estimate.low, estimate.high))
    return value, low, high
