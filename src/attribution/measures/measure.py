"""What every measure is: cells of deals and partners, added up into a table.

A measure holds *cells*, one per claim or per credited touchpoint of the deals it measures. A table adds
them up by partner, program, deal type or whatever else is known of a touchpoint or its deal. Money stays
in whole minor units until a table shows it, and nothing is rounded here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from attribution import money
from attribution.columns import DEAL_TYPES, NO_DAY, NOBODY, OUTCOMES, Ints, Party
from attribution.deals import Deals
from attribution.errors import UsageError, known
from attribution.measures.results import Row, Table, heading, plain

__all__ = ["BY", "BY_DEAL", "DENSE", "OF", "Cells", "Dimension", "Groups", "Measure", "counted", "measured"]

OF = ("won", "open", "lost", "all")
"""Which deals are measured."""
BY_DEAL = ("deal_type", "quarter")
"""What is known of every deal, beside its segments."""
BY = ("partner", "parent", "program", "tier", *BY_DEAL)
"""What every table can be grouped by, beside the segments of the deals."""
DENSE = 1 << 22
"""Up to this many combinations of labels are counted in place; of more, only those that occur."""
_PARTIES = ("partner", "parent", "program", "tier")
"""Those of them that have an id beside their name."""
_TIES = ("partner_id", "program", "program_id")
"""Rows of one amount are ordered by these, then by what else they are grouped by."""
_EPOCH = date(1970, 1, 1)
_NO_QUARTER = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """One entry per claim or credited touchpoint: the touchpoint that stands for it, and its numbers."""

    touchpoint: Ints
    """Position in the snapshot; it says on which deal, whose, and under which program."""
    numbers: dict[str, NDArray[Any]] = field(default_factory=dict)
    """What the measure adds up, by name; one entry per cell."""

    def __len__(self) -> int:
        return len(self.touchpoint)

    def where(self, mask: NDArray[np.bool_]) -> Cells:
        """The cells under a mask."""
        return Cells(self.touchpoint[mask], {name: column[mask] for name, column in self.numbers.items()})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Measure(ABC):
    """What ``sourced``, ``influenced`` and ``attribute`` return; :meth:`by` makes a table of it."""

    deals: Deals
    outcome: str
    """Which deals are measured: one of ``OF``."""
    measured: Ints
    """Positions, ascending, of those among the selected deals."""
    n_contested: int
    """Deals measured for which two or more partners have valid sourcing evidence."""
    cells: Cells

    name: ClassVar[str]

    @abstractmethod
    def _add_up(self, cells: Cells, codes: Ints, n: int) -> dict[str, NDArray[Any]]:
        """Columns of ``n`` groups, ``amount`` among them; amounts in minor units."""

    def _beside(self, cells: Cells) -> dict[str, Any]:
        """What of the deals measured the rows of these cells do not show, by its name in the foot."""
        return {}

    def total(self) -> Decimal:
        """Amount of the measure over all partners, each deal once."""
        return self._major(self._total(self.cells))

    def selected(self) -> Decimal:
        """Amount of all deals measured."""
        return self._major(self._selected())

    def by(
        self,
        *names: str,
        partner: str | Iterable[str] | None = None,
        program: str | Iterable[str] | None = None,
    ) -> Table:
        """Group by one or more of what is known of partners and deals; largest amount first.

        Parameters
        ----------
        names
            What to group by, outermost first: ``"partner"``, ``"parent"`` (the partner's ultimate parent, or
            itself), ``"program"``, ``"tier"`` (the partner's level in the program when it acted),
            ``"deal_type"``, ``"quarter"`` (of the close date), or a segment of the deals.
        partner, program
            Names or ids: show what belongs to one of them only. ``total`` then covers the rows shown, while
            ``selected``, and with it every share, still refers to all deals measured.

        Raises
        ------
        UsageError
            For something that a table cannot be grouped by, a partner or a program that does not exist.
        """
        existing = (*BY, *(segment for segment, _ in self.deals.snapshot.segments))
        if not names or len(set(names)) < len(names) or not set(names) <= set(existing):
            raise UsageError(
                f"a table cannot be grouped by {', '.join(map(repr, names)) or 'nothing'}",
                hint=f"name one or more of, each once: {known(existing)}",
            )
        cells = self.cells
        if partner is not None or program is not None:
            cells = cells.where(self.deals.touchpoints_of(partner, program)[cells.touchpoint])
        groups = Groups.of(tuple(Dimension.of(self.deals, cells, name) for name in names), len(cells))
        columns = self._add_up(cells, groups.codes, groups.n)
        found = groups.present()
        ties = dict.fromkeys((*_TIES, *groups.columns))
        found.sort(
            key=lambda it: (-int(columns["amount"][it[0]]), *(it[1].get(label) or "" for label in ties))
        )
        selected = self._selected()
        rows = [labels | self._numbers(columns, code, selected) for code, labels in found]
        return self._table(names, (*groups.columns, *columns, "share"), rows, cells)

    def _table(self, by: tuple[str, ...], columns: tuple[str, ...], rows: list[Row], cells: Cells) -> Table:
        return Table(self._head(), by, columns, rows, self._foot(cells))

    def _numbers(self, columns: dict[str, NDArray[Any]], code: int, selected: int) -> Row:
        row: Row = {}
        for name, column in columns.items():
            value = column[code].item()
            row[name] = self._major(value) if name.endswith("amount") else value
        return row | {"share": money.share(columns["amount"][code].item(), selected)}

    def _head(self) -> dict[str, Any]:
        return heading(self.deals, self.outcome, measure=self.name)

    def _foot(self, cells: Cells) -> dict[str, Any]:
        counts = counted(self.deals, self.measured)
        return {
            "total": self._major(self._total(cells)),
            "selected": self.selected(),
            "n_deals": counts.pop("n_deals"),
            "contested_deals": self.n_contested,
            "future_dated_deals": counts.pop("future_dated_deals"),
            **self._beside(cells),
            **counts,
        }

    def _total(self, cells: Cells) -> int:
        return int(self._add_up(cells, np.zeros(len(cells), dtype=np.int64), 1)["amount"][0])

    def _selected(self) -> int:
        return money.total(self._amounts(self.measured))

    def _amounts(self, deal: NDArray[np.integer[Any]]) -> Ints:
        """Minor units of these deals; 0 where unvalued."""
        amounts: Ints = self.deals.snapshot.deals.amount[deal]
        return amounts

    def _major(self, minor: int) -> Decimal:
        return money.major(minor, self.deals.currency)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {self.total():,f} of {self.selected():,f} {self.deals.currency} on "
            f"{len(self.measured):,} {self.outcome} deals as of {plain(self.deals.as_of)}>"
        )


def measured(deals: Deals, of: str) -> Ints:
    """Positions of the selected deals that are won, open, lost, or all.

    Raises
    ------
    UsageError
        If ``of`` is none of these.
    """
    if of not in OF:
        raise UsageError(f"there are no {of!r} deals", hint=f"of is one of: {', '.join(OF)}")
    if of == "all":
        return deals.selected
    outcome = deals.snapshot.deals.outcome[deals.selected]
    positions: Ints = deals.selected[outcome == OUTCOMES.index(of)]
    return positions


@dataclass(frozen=True, slots=True, eq=False)
class Dimension:
    """One thing that cells can be grouped by: what its groups are called, and to which a cell belongs."""

    name: str
    labels: tuple[Party, ...] | tuple[str, ...]
    codes: NDArray[np.integer[Any]]
    """Position among the labels, per cell; -1 for none."""

    @classmethod
    def of(cls, deals: Deals, cells: Cells, name: str) -> Dimension:
        """Read a dimension off the touchpoints of cells, or off their deals."""
        snapshot = deals.snapshot
        touchpoints = snapshot.touchpoints
        if name == "partner":
            return cls(name, snapshot.partners, touchpoints.partner[cells.touchpoint])
        if name == "parent":
            parents, parent_of = deals.parents
            return cls(name, parents, parent_of[touchpoints.partner[cells.touchpoint]])
        if name == "program":
            return cls(name, snapshot.programs, touchpoints.program[cells.touchpoint])
        if name == "tier":
            return cls(name, snapshot.tiers, touchpoints.tier[cells.touchpoint])
        return cls.of_deals(deals, deals.deal_of[cells.touchpoint], name)

    @classmethod
    def of_deals(cls, deals: Deals, positions: NDArray[np.integer[Any]], name: str) -> Dimension:
        """Read a dimension off deals: their type, the calendar quarter of their close date, a segment."""
        columns, segments = deals.snapshot.deals, deals.snapshot.segments
        if name == "deal_type":
            return cls(name, DEAL_TYPES, columns.deal_type[positions])
        if name == "quarter":
            days = columns.closed_on[positions]
            months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
            quarters = np.where(days == NO_DAY, _NO_QUARTER, months // 3)
            known_ones, codes = np.unique(quarters, return_inverse=True)
            there = known_ones[known_ones != _NO_QUARTER]
            names = tuple(f"{1970 + each // 4}Q{each % 4 + 1}" for each in there.tolist())
            return cls(name, names, codes - (len(known_ones) - len(there)))
        at = [segment for segment, _ in segments].index(name)
        return cls(name, segments[at][1], columns.segments[at][positions])

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that name its groups: parties have an id beside their name."""
        return (self.name, f"{self.name}_id") if self.name in _PARTIES else (self.name,)

    def label(self, cell: int) -> Row:
        """Those columns for the group of a cell."""
        code = int(self.codes[cell])
        label = self.labels[code] if code >= 0 else None
        if self.name not in _PARTIES:
            return {self.name: NOBODY if label is None else label}
        if not isinstance(label, Party):
            return {self.name: NOBODY, f"{self.name}_id": None}
        return {self.name: label.name, f"{self.name}_id": label.id or None}


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Which group each cell falls into, and what the groups are called."""

    dimensions: tuple[Dimension, ...]
    codes: Ints
    """Per cell, in ``0 .. n - 1``."""
    n: int

    @classmethod
    def of(cls, dimensions: tuple[Dimension, ...], n_cells: int) -> Groups:
        """Number the combinations of labels that cells have."""
        codes, n = np.zeros(n_cells, dtype=np.int64), 1
        for dimension in dimensions:
            # no label is -1, hence one more
            size = len(dimension.labels) + 1
            codes = codes * size + dimension.codes + 1
            n *= size
            if n > DENSE:
                present, codes = np.unique(codes, return_inverse=True)
                n = len(present)
        return cls(dimensions, codes, n)

    def present(self) -> list[tuple[int, Row]]:
        """Code and labels of each group that has cells."""
        cell = np.full(self.n, -1, dtype=np.int64)
        cell[self.codes] = np.arange(len(self.codes))
        codes = np.flatnonzero(cell >= 0)
        return [
            (code, {name: value for each in self.dimensions for name, value in each.label(any_cell).items()})
            for code, any_cell in zip(codes.tolist(), cell[codes].tolist(), strict=True)
        ]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that name a group."""
        return tuple(column for dimension in self.dimensions for column in dimension.columns)


def counted(deals: Deals, positions: Ints) -> dict[str, Any]:
    """How many deals are measured, and what must not be overlooked among them."""
    columns = deals.snapshot.deals
    as_of_day = (deals.as_of.astimezone(ZoneInfo(deals.snapshot.zone)).date() - _EPOCH).days
    future = (columns.outcome[positions] == OUTCOMES.index("won")) & (
        columns.closed_on[positions] > as_of_day
    )
    return {
        "n_deals": len(positions),
        "future_dated_deals": int(future.sum()),
        "unvalued_deals": int((~columns.valued[positions]).sum()),
        "current_rate_deals": int(columns.rate_is_current[positions].sum()),
        "excluded_deals": deals.snapshot.excluded_deals,
    }
