"""Overlay: the table that ``velocity`` returns, its curves, its parts, and the page that people read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attribution.columns import DAY
from attribution.measures.estimators import Curve
from attribution.measures.figures import INPUTS
from attribution.measures.intervals import Floats, Ints, Sorted
from attribution.measures.pages import Page, page
from attribution.measures.results import Row, Table, documented, pandas_itself, plain, spelled

if TYPE_CHECKING:
    import altair
    import pandas
    import polars

__all__ = ["Followed", "Overlay"]

_TEXT = ("metric", "variant", "stage", "unit", "note")
_COUNTS = ("n", "baseline_n", "n_at_risk")
_MONEY = (
    "deal_size",
    "baseline_deal_size",
    "value",
    "baseline",
    "difference",
    *(f"from_{x}" for x in INPUTS),
)
"""Parts of sales velocity that are amounts, or amounts per day."""


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """How long the deals of each slice were followed, and what came of it; times in microseconds."""

    curve: Curve
    """Cumulative incidence of winning."""
    times: Sorted
    """How long each deal was observed."""

    def _observed(self, at: int) -> NDArray[Any]:
        """How long each deal of a slice was observed, in order."""
        return self.times.values[slice(*self.times.offsets[at : at + 2].tolist())]

    def at_risk(self, at: int, days: Sequence[int]) -> list[int]:
        """How many deals of a slice were still open, and observed, after so many days."""
        observed = self._observed(at)
        found: list[int] = (len(observed) - np.searchsorted(observed, np.array(days) * DAY)).tolist()
        return found

    def days(self, at: int) -> list[Row]:
        """The curve of one slice by the day."""
        table = self.curve.table
        mine = slice(*table.offsets[at : at + 2].tolist())
        observed = self._observed(at)
        if not len(observed):
            return []
        time = table.time[mine]
        days: Ints = np.unique(np.concatenate([[0], -(-time // DAY), [-(-int(observed[-1]) // DAY)]]))
        row = np.searchsorted(time, days * DAY, side="right")
        n_at_risk = self.at_risk(at, days.tolist())

        def read(column: Floats, before: float) -> list[float]:
            found: list[float] = np.append(before, column[mine])[row].tolist()
            return found

        columns = (
            read(self.curve.value, 0.0),
            *(map(_known, read(band, np.nan)) for band in (self.curve.low, self.curve.high)),
        )
        return [
            {"days": day, "incidence": value, "low": low, "high": high, "n_at_risk": n}
            for day, value, low, high, n in zip(days.tolist(), *columns, n_at_risk, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Overlay(Table):
    """Figures of slices beside a baseline: a long table for machines, one page for people.

    Rows are ordered by slice, the one of most deals first. Printed, it is the page: what dashboards show,
    the figure of all deals beside it, and why they differ.
    """

    parts: list[Row] = field(default_factory=list)
    """Of ``sales_velocity``, per slice and variant: its four inputs ``deals``, ``win_rate``, ``deal_size``,
    ``cycle_days``, the same of the baseline, and what each contributes to the difference (``from_...``)."""
    slices: Sequence[Row] = ()
    """What the slices are called, in the order of the rows."""
    followed: Followed | None = None
    """The slices as they were followed, to make curves of."""
    baseline_followed: Followed | None = None
    order: Sequence[int] = ()
    """Where each of the slices is in ``followed``."""
    baseline_rows: Sequence[Row] = ()
    """The figures of the baseline, if it is one for all slices."""

    def curves(self) -> Table:
        """Cumulative incidence of winning by the day, per slice, as a table.

        Columns: those of ``by``, ``days`` since creation, ``incidence`` with ``low`` and ``high``, and
        ``n_at_risk``, the deals that were still open then. A slice has a row for day 0, for every whole day
        since whose predecessor something happened, and for the last day that any of its deals was observed.

        Examples
        --------
        ::

            at.velocity(deals).curves().to_polars()
        """
        rows: list[Row] = []
        for label, at in zip(self.slices, self.order, strict=True):
            rows += [label | row for row in self.followed.days(at)] if self.followed else []
        labels = tuple(self.slices[0]) if self.slices else self.by
        columns = (*labels, "days", "incidence", "low", "high", "n_at_risk")
        return _Curves(self.head | {"measure": "win_incidence"}, self.by, columns, rows, {})

    def plot(self, kind: str = "incidence", slices: int = 4) -> altair.TopLevelMixin:
        """A picture, with Altair: ``.save("file.png")``, or shown by a notebook.

        Parameters
        ----------
        kind
            ``"incidence"``: cumulative incidence of winning with bands, and numbers at risk below; of more
            than six slices a panel each; ``"days_in_stage"``: median days in each stage, per slice.
        slices
            How many slices to show: those of most deals.

        Raises
        ------
        UsageError
            For another kind, or if Altair is not installed.
        """
        from attribution.measures.pictures import picture

        return picture(self, kind, slices)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the usual figures and those of all deals differ, and what may be claimed; a sentence each."""
        return self._page().reasons

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: head, rows, parts of sales velocity, counts, and the reasons; money as text."""
        currency = self.head["currency"]
        parts = [
            part | {name: spelled(value, currency) for name, value in part.items() if name in _MONEY}
            for part in self.parts
        ]
        document: dict[str, Any] = plain(
            {
                **self.head,
                "by": list(self.by),
                "rows": [documented(row, currency) for row in self.rows],
                "sales_velocity_parts": parts,
                **self.foot,
                "reasons": list(self.reasons),
            }
        )
        return document

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a pandas frame.

        Raises
        ------
        UsageError
            If pandas is not installed.
        """
        pandas_itself()  # polars would say it in its own words
        return self.to_polars().to_pandas()

    def _frame(self, rows: Sequence[Row]) -> polars.DataFrame:
        return _frame(self, rows)

    def to_text(self, rows: int | None = None) -> str:
        """The page for people, of the first ``rows`` slices (default: 12)."""
        return self._page(12 if rows is None else rows).to_text()

    def _repr_html_(self) -> str:
        return self._page().to_html()

    def _page(self, n_slices: int = 12) -> Page:
        return page(self.head, self.foot, self.by, self.rows, self.baseline_rows, self.slices, n_slices)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Curves(Table):
    """Points of curves."""

    def _frame(self, rows: Sequence[Row]) -> polars.DataFrame:
        return _frame(self, rows)

    def to_text(self, rows: int | None = None) -> str:
        """The points as a plain table."""
        return str(self.to_polars() if rows is None else self.to_polars().head(rows))

    def _repr_html_(self) -> str:
        html: str = self.to_polars()._repr_html_()
        return f"<p>{escape(self.head['measure'])}</p>{html}"


def _frame(table: Table, rows: Sequence[Row]) -> polars.DataFrame:
    import polars

    texts = {*_TEXT, *table.labels}
    schema = {
        name: polars.String
        if name in texts
        else polars.Int64
        if name in (*_COUNTS, "days")
        else polars.Float64
        for name in table.columns
    }
    return polars.DataFrame({name: [row[name] for row in rows] for name in table.columns}, schema=schema)


def _known(value: float) -> float | None:
    return None if value != value else value
