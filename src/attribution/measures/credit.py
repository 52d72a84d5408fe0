"""Credit: a deal's amount shared among its touchpoints by a model, exactly.

The way of a cent: the counting touchpoints are the players (:mod:`attribution.measures.players`); the model
scores them; the scores of a deal become shares (:func:`_shares`); :func:`attribution.money.allocate` turns
shares into whole minor units. From then on integers are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attribution import money
from attribution.columns import NOBODY, Bools, Ints
from attribution.deals import Deals
from attribution.errors import UsageError
from attribution.measures.claims import Claims, claims
from attribution.measures.evidence import counting
from attribution.measures.measure import Cells, Measure, measured
from attribution.measures.players import playing, pooled
from attribution.measures.resampling import Bootstrap
from attribution.measures.results import Row, Table
from attribution.models.base import AttributionModel, LearningModel, Scores, model_name

__all__ = ["ELIGIBLE", "Credit", "attribute"]

ELIGIBLE = ("any", "qualified")
"""Whose touchpoints may keep credit: any partner's, or only those with a headline claim on the deal."""
UNATTRIBUTED = "(unattributed)"
"""Label, in files, of the row that nobody gets."""

_DEAL_COLUMNS = (
    *("touchpoint", "occurred_at", "partner", "partner_id", "program", "program_id"),
    *("kind", "counts", "amount", "share"),
)
_SMALL = 2.0**-500
"""Sums of scores that are smaller, or greater than its inverse, are scaled; float64 reaches to 2^1023."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Credit(Measure):
    """Amounts by model: total + unattributed == selected, to the minor unit.

    Its cells are the touchpoints with a share in a deal; ``deals`` of a table is the sum of their shares.
    """

    model: AttributionModel
    intervals: Bootstrap | None = None

    name: ClassVar[str] = "credit"

    def unattributed(self) -> Decimal:
        """Amount that nobody gets: deals without players, and shares of partners who are not eligible."""
        return self._major(self._selected() - self._total(self.cells))

    def of(self, opportunity_id: str) -> Table:
        """One deal, touchpoint by touchpoint, in path order; those without credit show 0.

        Parameters
        ----------
        opportunity_id
            Id of 18 or 15 characters.

        Raises
        ------
        UsageError
            If the deal is not among those that were credited.
        """
        deal = self.deals[opportunity_id]
        columns, touchpoints = self.deals.snapshot.deals, self.deals.snapshot.touchpoints
        position = int(np.searchsorted(columns.id, np.bytes_(deal.id.encode())))
        if position not in self.measured:
            raise UsageError(
                f"opportunity {deal.id} is {deal.outcome}, and this is the credit of {self.outcome} deals",
                hint=f"attribute(deals, model, of={deal.outcome!r}) credits it",
            )
        begin, end = (int(bound) for bound in touchpoints.offsets[position : position + 2])
        cells = self.cells.where((self.cells.touchpoint >= begin) & (self.cells.touchpoint < end))
        shares = dict(zip(cells.touchpoint.tolist(), cells.numbers["share"].tolist(), strict=True))
        amounts = dict(zip(cells.touchpoint.tolist(), cells.numbers["amount"].tolist(), strict=True))
        players = counting(self.deals)
        rows: list[Row] = []
        for row in np.flatnonzero(self.deals.attached[begin:end]) + begin:
            touchpoint = self.deals.touchpoint(int(row))
            program = touchpoint.program
            rows.append(
                {
                    "touchpoint": touchpoint.id,
                    "occurred_at": touchpoint.occurred_at,
                    "partner": touchpoint.partner.name,
                    "partner_id": touchpoint.partner.id or None,
                    "program": program.name if program else NOBODY,
                    "program_id": program.id if program else None,
                    "kind": touchpoint.kind,
                    "counts": bool(players[row]),
                    "amount": self._major(amounts.get(int(row), 0)),
                    "share": shares.get(int(row), 0.0),
                }
            )
        selected, total = int(columns.amount[position]), self._total(cells)
        foot = {
            "total": self._major(total),
            "selected": self._major(selected),
            "unattributed": self._major(selected - total),
            "unvalued_deals": int(not columns.valued[position]),
        }
        head = {**self._head(), "opportunity_id": deal.id}
        remainder = {"amount": foot["unattributed"], "share": 1 - _sum(cells.numbers["share"])}
        return Table(
            head, ("touchpoint",), _DEAL_COLUMNS, rows, foot, {"touchpoint": UNATTRIBUTED, **remainder}
        )

    def _add_up(self, cells: Cells, codes: Ints, n: int) -> dict[str, NDArray[Any]]:
        sums = {
            "amount": money.sum_by(codes, cells.numbers["amount"], n),
            "deals": np.bincount(codes, weights=cells.numbers["share"], minlength=n),
        }
        return sums if self.intervals is None else sums | self._limits(self.intervals, cells, codes, n)

    def _limits(self, intervals: Bootstrap, cells: Cells, codes: Ints, n: int) -> dict[str, Ints]:
        """Limits of the amounts of groups over resampled deals, in minor units."""
        deal = self.deals.deal_of[cells.touchpoint]
        draws = intervals.draws(self.deals)
        if isinstance(self.model, LearningModel):
            players = playing(self.deals)
            rows, offsets, touchpoint = _players_of(self.deals, players, self.measured)
            at = np.searchsorted(touchpoint, cells.touchpoint)
            amount, again = self._amounts(deal), intervals.draws(self.deals)
            drawn = [
                np.bincount(codes, _shares(scores[rows], offsets)[at] * amount * times[deal], minlength=n)
                for scores, times in zip(self.model.resampled(players, again), draws, strict=True)
            ]
        else:
            amount = cells.numbers["amount"]
            drawn = [np.bincount(codes, amount * times[deal], minlength=n) for times in draws]
        limits = zip(("low_amount", "high_amount"), intervals.limits(drawn), strict=True)
        return {name: np.rint(limit).astype(np.int64) for name, limit in limits}

    def _total(self, cells: Cells) -> int:
        return money.total(cells.numbers["amount"])

    def _head(self) -> dict[str, Any]:
        head = Measure._head(self)
        return {"measure": head.pop("measure"), "model": model_name(self.model), **head}

    def _beside(self, cells: Cells) -> dict[str, Any]:
        unattributed = {"unattributed": self.unattributed()}
        if len(cells) == len(self.cells):
            return unattributed
        return unattributed | {"not_shown": self._major(self._total(self.cells) - self._total(cells))}

    def _table(self, by: tuple[str, ...], columns: tuple[str, ...], rows: list[Row], cells: Cells) -> Table:
        selected = self._selected()
        unattributed = selected - self._total(self.cells)
        remainder = {
            **dict.fromkeys(by, UNATTRIBUTED),
            "amount": self._major(unattributed),
            "deals": len(self.measured) - _sum(self.cells.numbers["share"]),
            "share": money.share(unattributed, selected),
        }
        return Table(self._head(), by, columns, rows, self._foot(cells), remainder)


def attribute(
    deals: Deals,
    model: AttributionModel,
    *,
    of: str = "won",
    eligible: str = "any",
    pool: str = "partners",
    intervals: Bootstrap | None = None,
) -> Credit:
    """Share the amount of each deal among its counting touchpoints, as a model scores them.

    Parameters
    ----------
    deals
        The selected ones are credited, and a model that learns from data learns from them, won and lost.
    model
        Anything with ``scores``, such as ``at.Linear()``; see :class:`~attribution.models.AttributionModel`.
    of
        ``"won"``, ``"open"`` (pipeline), ``"lost"`` or ``"all"``.
    eligible
        ``"any"``, or ``"qualified"``: what partners without a headline claim on the deal would get,
        sourced or influenced, is unattributed; so is what ``(direct)`` would get.
    pool
        Who plays: ``"partners"``, or ``"all"``, where the meetings and calls of our own people without a
        partner are touchpoints, too, of a partner ``(direct)`` without an id.
    intervals
        Such as ``at.Bootstrap()``: tables then have the limits ``low_amount`` and ``high_amount``, rounded to
        the minor unit. Each table draws anew; a model that learns from data learns again from every draw.

    Returns
    -------
    Credit, exact: parts of a deal and what is unattributed add up to the deal. A deal without players, or
    whose scores are all 0, is wholly unattributed. An unvalued deal adds to ``deals``, not to ``amount``.

    Raises
    ------
    UsageError
        For another ``of``, ``eligible`` or ``pool``, or a model whose scores are not one finite number >= 0
        per touchpoint.

    Examples
    --------
    ::

        credit = at.attribute(deals, at.Linear())
        credit.by("partner", "program")
        credit.of("006Ab00000QxYzZ")
        assert credit.total() + credit.unattributed() == credit.selected()
    """
    if eligible not in ELIGIBLE:
        raise UsageError(f"eligible is {eligible!r}", hint=f"use one of: {', '.join(ELIGIBLE)}")
    positions = measured(deals, of)
    everybody, players = pooled(deals, pool), playing(deals, pool)
    scores = _checked(model, players)

    rows, offsets, touchpoint = _players_of(everybody, players, positions)
    shares = _shares(scores[rows], offsets)
    amounts = money.allocate(deals.snapshot.deals.amount[positions], shares, offsets)

    keep = shares > 0
    found = claims(deals)
    if eligible == "qualified":
        keep &= _qualified(found, everybody)[touchpoint]
    cells = Cells(touchpoint[keep], {"share": shares[keep], "amount": amounts[keep]})
    n_contested = int(found.sourcing.contested[positions].sum())
    return Credit(everybody, of, positions, n_contested, cells, model, intervals)


def _players_of(everybody: Deals, players: Deals, positions: Ints) -> tuple[Ints, Ints, Ints]:
    """The players of these deals: their rows, where each deal begins, and their touchpoints."""
    is_measured = np.zeros(len(everybody.snapshot.deals), dtype=bool)
    is_measured[positions] = True
    rows = np.flatnonzero(is_measured[players.deal_of])
    counts = np.diff(players.snapshot.touchpoints.offsets)[positions]
    return rows, np.concatenate([[0], np.cumsum(counts)]), np.flatnonzero(counting(everybody))[rows]


def _qualified(found: Claims, everybody: Deals) -> Bools:
    """Mask over the touchpoints of a pool: those of partners with a headline claim on the deal."""
    touchpoints = everybody.snapshot.touchpoints
    # in the columns that pools share, where direct touches come after all others
    mask = np.zeros(len(touchpoints.record), dtype=bool)
    mask[found.rows] = found.per_row(found.headline)
    return mask if touchpoints.cold_at is None else mask[touchpoints.cold_at]


def _checked(model: AttributionModel, players: Deals) -> Scores:
    """The model's scores, one finite number >= 0 per player."""
    name = model_name(model)
    scores = np.asarray(model.scores(players), dtype=np.float64)
    n = len(players.snapshot.touchpoints)
    if scores.shape != (n,):
        raise UsageError(
            f"model {name} returned scores of shape {scores.shape} for {n:,} touchpoints",
            hint="scores(deals) returns one float64 per touchpoint of deals.snapshot",
        )
    # the minimum of numbers and NaN is NaN, which is not >= 0
    if n and not (scores.min() >= 0 and scores.max() < np.inf):
        wrong = ~((scores >= 0) & (scores < np.inf))
        row = int(np.argmax(wrong))
        deal = players.snapshot.deals.id[players.deal_of[row]].decode()
        raise UsageError(
            f"model {name} scored a touchpoint of deal {deal} with {scores[row]}",
            hint="scores are finite and not negative; 0 earns nothing",
        )
    return scores


def _shares(scores: Scores, offsets: Ints) -> Scores:
    """Scores divided by the sum of their deal, 0 where that is 0; they are overwritten by it."""
    # block by block, so that what is worked on stays in the processor's cache
    for first, last in money.blocks(offsets):
        begin, end = int(offsets[first]), int(offsets[last])
        if begin < end:
            counts = np.diff(offsets[first : last + 1])
            _divide(scores[begin:end], counts[counts > 0])
    return scores


def _divide(scores: Scores, counts: Ints) -> None:
    starts = np.cumsum(counts) - counts
    with np.errstate(over="ignore"):
        sums = np.add.reduceat(scores, starts)
    if not (sums.min() > _SMALL and sums.max() < 1 / _SMALL):
        # by powers of two, which changes no share, so that sums neither overflow nor vanish
        _, exponent = np.frexp(np.maximum.reduceat(scores, starts))
        np.ldexp(scores, -np.repeat(exponent, counts), out=scores)
        sums = np.add.reduceat(scores, starts)
        sums[sums == 0] = 1
    if (sums != 1).any():
        scores /= np.repeat(sums, counts)


def _sum(shares: Scores) -> float:
    # a sum of shares that is a whole number of deals is shown as one
    return round(float(shares.sum()), 9)
