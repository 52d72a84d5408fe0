"""The shape of every result: cells of deals and partners, added up into one kind of table.

A measure holds *cells*, one per claim or per credited touchpoint of the deals it measures. A table adds
them up by partner, program, deal type or whatever else is known of a touchpoint or its deal. Money stays
in whole minor units until a table shows it, and nothing is rounded here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from attribution import money
from attribution.columns import DEAL_TYPES, NOBODY, OUTCOMES, Party
from attribution.deals import Deals
from attribution.errors import UsageError, known

if TYPE_CHECKING:
    import pandas
    import polars

__all__ = [
    "BY",
    "OF",
    "Cells",
    "Measure",
    "NotAdditive",
    "ParticipationTable",
    "Row",
    "Table",
    "heading",
    "measured",
]

Ints = NDArray[np.int64]
Row = dict[str, Any]

OF = ("won", "open", "lost", "all")
"""Which deals are measured."""
BY = ("partner", "parent", "program", "tier", "deal_type")
"""What every table can be grouped by, beside the segments of the deals."""
FRACTIONS = ("share", "removal_effect", "removal_effect_value", "probability", "p_conversion")
"""Columns that people read as percentages."""
NUMBERS = ("deals", "shapley_value", "standard_error")
"""Other numbers that are no amounts."""
COUNTS = ("n_deals", "n_walks")
DENSE = 1 << 22
"""Up to this many combinations of labels are counted in place; of more, only those that occur."""
_PARTIES = ("partner", "parent", "program", "tier")
"""Those of them that have an id beside their name."""
_TIES = ("partner_id", "program", "program_id")
"""Rows of one amount are ordered by these, then by what else they are grouped by."""

_LABELS = {
    "n_deals": "deals",
    "future_dated_deals": "future-dated deals",
    "unverified": "unverified lead source",
    "current_rate_deals": "deals at current rates",
}
_EPOCH = date(1970, 1, 1)


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


class NotAdditive:
    """Refuses to be added up, and says why."""

    __slots__ = ()

    def _refuse(self, *_: object) -> NoReturn:
        raise UsageError(
            "influenced amounts cannot be added up: each partner of a deal shows the whole deal",
            hint="use .total() of the measure, which counts each deal once, or .rows to read single rows",
        )

    __add__ = __radd__ = __iter__ = _refuse


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of numbers with everything needed to say where they come from.

    Amounts are exact decimals of the report currency, shares fractions of ``selected``.
    """

    head: dict[str, Any]
    """Measure, model, as_of, known_at, hashes of policy and mapping, currency, and which deals (``of``)."""
    by: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[Row]
    foot: dict[str, Any]
    """Total, selected, and what must not be overlooked: unattributed, unverified, unvalued deals."""
    remainder: Row | None = None
    """What no row gets, as a row: files carry it, because there the foot is lost."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns that name a row: what it is grouped by, and the ids of that."""
        named = {*self.by, *(f"{name}_id" for name in self.by)}
        return tuple(name for name in self.columns if name in named)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: amounts as decimal strings, instants as ISO 8601 in UTC."""
        document: dict[str, Any] = _plain({**self.head, "by": list(self.by), "rows": self.rows, **self.foot})
        return document

    def to_polars(self) -> polars.DataFrame:
        """The rows as a polars frame; amounts are of type decimal."""
        return self._frame(self.rows)

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a pandas frame; amounts are ``Decimal`` objects.

        Raises
        ------
        UsageError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UsageError(
                "pandas is not installed",
                hint="pip install 'partner-attribution[pandas]', or use to_polars()",
            ) from None
        dtypes = {"counts": "bool", **dict.fromkeys((*FRACTIONS, *NUMBERS), "float64")}
        dtypes |= dict.fromkeys(COUNTS, "int64")
        dtypes |= dict.fromkeys(self.labels, "object")
        return pandas.DataFrame(
            {
                name: pandas.Series([row[name] for row in self.rows], dtype=dtypes.get(name, "object"))
                for name in self.columns
            }
        )

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_polars().__arrow_c_stream__(requested_schema)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Comma-separated text, also written to ``path`` if given; credit has a row ``(unattributed)``."""
        text = self._file_frame().write_csv()
        if path is not None:
            Path(path).write_text(text, encoding="utf-8", newline="")
        return text

    def to_parquet(self, path: str | Path) -> None:
        """Write a Parquet file with the columns and rows of :meth:`to_csv`."""
        self._file_frame().write_parquet(path)

    def _file_frame(self) -> polars.DataFrame:
        if self.remainder is None:
            return self._frame(self.rows)
        return self._frame([*self.rows, {**dict.fromkeys(self.columns), **self.remainder}])

    def _frame(self, rows: Sequence[Row]) -> polars.DataFrame:
        import polars

        types: dict[str, Any] = {
            **dict.fromkeys((*FRACTIONS, *NUMBERS), polars.Float64),
            **dict.fromkeys(COUNTS, polars.Int64),
            "counts": polars.Boolean,
            "occurred_at": polars.Datetime("us", "UTC"),
        }
        amount = polars.Decimal(38, money.digits(self.head["currency"]))
        schema = {
            name: amount if name.endswith("amount") else types.get(name, polars.String)
            for name in self.columns
        } | dict.fromkeys(self.labels, polars.String)
        return polars.DataFrame({name: [row[name] for row in rows] for name in self.columns}, schema=schema)

    def to_text(self, rows: int | None = None) -> str:
        """Aligned text for people: a title, the first ``rows`` rows (default: all), and the totals."""
        shown, body = self._text()
        body, hidden = body[:rows], len(body[rows:]) if rows is not None else 0
        labels = self.labels
        numeric = [
            name not in labels and (name.endswith("amount") or name in (*NUMBERS, *COUNTS, *FRACTIONS))
            for name in shown
        ]
        widths = [max(map(len, column)) for column in zip(shown, *body, strict=True)]
        lines = [self._title()]
        for row in (shown, *body):
            cells = zip(row, widths, numeric, strict=True)
            lines.append(
                "  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in cells)
            )
        lines.insert(2, "  ".join("-" * width for width in widths))
        if hidden:
            lines.append(f"… and {hidden:,} more")
        notes = self._notes()
        wide = max(len(label) for label, _ in notes)
        lines += ["", *(f"{label.ljust(wide)}  {value}" for label, value in notes)]
        return "\n".join(line.rstrip() for line in lines)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        shown, body = self._text()
        head = "".join(f"<th>{escape(name)}</th>" for name in shown)
        rows = ("".join(f"<td>{escape(text)}</td>" for text in row) for row in body)
        notes = "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in self._notes())
        return (
            f"<table><caption>{escape(self._title())}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table><dl>{notes}</dl>"
        )

    def _title(self) -> str:
        name = self.head["measure"] + (f" ({self.head['model']})" if "model" in self.head else "")
        known_at = self.head["known_at"]
        what = self.head.get("opportunity_id") or f"{self.head['of']} deals"
        until = "" if known_at is None else f", known at {_plain(known_at)}"
        return (
            f"{name} by {', '.join(self.by)}: {what} "
            f"as of {_plain(self.head['as_of'])}{until}, in {self.head['currency']}"
        )

    def _text(self) -> tuple[list[str], list[list[str]]]:
        """Column names and cells for people: an id only where a name stands for more than one."""
        shown = [name for name in self.columns if name in self.by or name[-3:] != "_id" or self._needs(name)]
        return shown, [[_text(name, row[name]) for name in shown] for row in self.rows]

    def _needs(self, id_column: str) -> bool:
        name = id_column.removesuffix("_id")
        ids = {(row[name], row[id_column]) for row in self.rows}
        return len({label for label, _ in ids}) < len(ids)

    def _notes(self) -> list[tuple[str, str]]:
        return [
            (_LABELS.get(name, name.replace("_", " ")), _text(name, value))
            for name, value in self.foot.items()
            # most orgs have one currency: nothing to say there
            if value or name != "current_rate_deals"
        ]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ParticipationTable(NotAdditive, Table):
    """A table whose rows overlap: each shows whole deals, so that adding rows counts deals twice."""

    def _file_frame(self) -> polars.DataFrame:
        # in a file nothing refuses a sum, so the column says what it is
        return self._frame(self.rows).rename({"amount": "participation_amount"})

    def _notes(self) -> list[tuple[str, str]]:
        notes = Table._notes(self)
        return [("total, each deal once" if label == "total" else label, value) for label, value in notes]


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
            ``"deal_type"``, or a segment of the deals.
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
        groups = _Groups.of(self.deals, cells, names)
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
        return row | {"share": columns["amount"][code].item() / selected if selected else None}

    def _head(self) -> dict[str, Any]:
        return heading(self.deals, self.outcome, measure=self.name)

    def _foot(self, cells: Cells) -> dict[str, Any]:
        columns = self.deals.snapshot.deals
        as_of_day = (self.deals.as_of.astimezone(ZoneInfo(self.deals.snapshot.zone)).date() - _EPOCH).days
        closed_on = columns.closed_on[self.measured]
        future = (columns.outcome[self.measured] == OUTCOMES.index("won")) & (closed_on > as_of_day)
        return {
            "total": self._major(self._total(cells)),
            "selected": self.selected(),
            "n_deals": len(self.measured),
            "contested_deals": self.n_contested,
            "future_dated_deals": int(future.sum()),
            **self._beside(cells),
            "unvalued_deals": int((~columns.valued[self.measured]).sum()),
            "current_rate_deals": int(columns.rate_is_current[self.measured].sum()),
            "excluded_deals": self.deals.snapshot.excluded_deals,
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
            f"{len(self.measured):,} {self.outcome} deals as of {_plain(self.deals.as_of)}>"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Dimension:
    """One thing that cells can be grouped by: what its groups are called, and to which a cell belongs."""

    name: str
    labels: tuple[Party, ...] | tuple[str, ...]
    codes: NDArray[np.integer[Any]]
    """Position among the labels, per cell; -1 for none."""

    @classmethod
    def of(cls, deals: Deals, cells: Cells, name: str) -> _Dimension:
        """Read a dimension off the touchpoints of cells, or off their deals."""
        snapshot = deals.snapshot
        columns, touchpoints = snapshot.deals, snapshot.touchpoints
        if name == "partner":
            return cls(name, snapshot.partners, touchpoints.partner[cells.touchpoint])
        if name == "parent":
            parents, parent_of = deals.parents
            return cls(name, parents, parent_of[touchpoints.partner[cells.touchpoint]])
        if name == "program":
            return cls(name, snapshot.programs, touchpoints.program[cells.touchpoint])
        if name == "tier":
            return cls(name, snapshot.tiers, touchpoints.tier[cells.touchpoint])
        deal = deals.deal_of[cells.touchpoint]
        if name == "deal_type":
            return cls(name, DEAL_TYPES, columns.deal_type[deal])
        at = [segment for segment, _ in snapshot.segments].index(name)
        return cls(name, snapshot.segments[at][1], columns.segments[at][deal])

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
        return {self.name: label.name, f"{self.name}_id": label.id}


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Which group each cell falls into, and what the groups are called."""

    dimensions: tuple[_Dimension, ...]
    codes: Ints
    """Per cell, in ``0 .. n - 1``."""
    n: int

    @classmethod
    def of(cls, deals: Deals, cells: Cells, names: tuple[str, ...]) -> _Groups:
        """Number the combinations of labels that cells have."""
        dimensions = tuple(_Dimension.of(deals, cells, name) for name in names)
        codes, n = np.zeros(len(cells), dtype=np.int64), 1
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


def heading(deals: Deals, of: str, **names: str) -> dict[str, Any]:
    """The head of a table: what it is called, then what its numbers were made from."""
    return {
        **names,
        "as_of": deals.as_of,
        "known_at": deals.known_at,
        "policy_hash": deals.policy.hash,
        "mapping_hash": deals.snapshot.mapping_hash,
        "currency": deals.currency,
        "of": of,
    }


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


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value


def _text(column: str, value: Any) -> str:
    """The value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        return f"{value['amount']:,f} on {value['n_deals']:,} deals"
    if column in FRACTIONS:
        return f"{value:.1%}"
    if column in ("shapley_value", "standard_error"):
        return f"{value:,.4f}"
    if isinstance(value, Decimal):
        return f"{value:,f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) else str(_plain(value))
