"""The shape of every result: rows of numbers, and what they were made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from html import escape
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from attribution import money
from attribution.deals import Deals
from attribution.errors import UsageError

if TYPE_CHECKING:
    import pandas
    import polars

__all__ = [
    "NotAdditive",
    "ParticipationTable",
    "Row",
    "Table",
    "documented",
    "heading",
    "pandas_itself",
    "plain",
    "spelled",
    "told_apart",
]

Row = dict[str, Any]

FRACTIONS = (
    *("share", "removal_effect", "removal_effect_value", "low_removal_effect", "high_removal_effect"),
    *("probability", "p_conversion"),
)
"""Columns that people read as percentages."""
NUMBERS = ("deals", "shapley_value", "standard_error", "value", "low", "high")
"""Other numbers that are no amounts."""
_FIGURES = (
    *("value", "low", "high", "baseline"),
    *("difference", "difference_low", "difference_high"),
)
"""Estimates with intervals; of money where the ``unit`` of the row is a currency."""
COUNTS = ("n_deals", "n_findings", "n_partners", "n_walks", "n_with", "n_without", "n")

_PARTICIPATION = {"amount": "participation_amount"}
_LABELS = {
    "n_deals": "deals",
    "future_dated_deals": "future-dated deals",
    "unverified": "unverified lead source",
    "current_rate_deals": "deals at current rates",
}


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
        rows = [documented(row, self.head["currency"]) for row in self.rows]
        document: dict[str, Any] = plain({**self.head, "by": list(self.by), "rows": rows, **self.foot})
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
        library = pandas_itself()
        dtypes = {"counts": "bool", **dict.fromkeys((*FRACTIONS, *NUMBERS), "float64")}
        dtypes |= dict.fromkeys(COUNTS, "int64")
        dtypes |= dict.fromkeys(self.labels, "object")
        frame: pandas.DataFrame = library.DataFrame(
            {
                name: library.Series([row[name] for row in self.rows], dtype=dtypes.get(name, "object"))
                for name in self.columns
            }
        )
        return frame

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
        lines = [self._title(), *aligned(shown, body, [self._is_number(name) for name in shown])]
        if hidden:
            lines.append(f"… and {hidden:,} more")
        lines += ["", *self._noted()]
        return "\n".join(line.rstrip() for line in lines)

    def _noted(self) -> list[str]:
        """The notes as lines."""
        notes = self._notes()
        wide = max(len(label) for label, _ in notes)
        return [f"{label.ljust(wide)}  {value}" for label, value in notes]

    def _is_number(self, name: str) -> bool:
        """Whether a column of the text is aligned as numbers are."""
        if name in self.labels:
            return False
        return name.endswith("amount") or name in (*NUMBERS, *COUNTS, *FRACTIONS)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        notes = "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in self._notes())
        return f"{html_table(self._title(), *self._text())}<dl>{notes}</dl>"

    def _title(self) -> str:
        name = self.head["measure"] + (f" ({self.head['model']})" if "model" in self.head else "")
        known_at = self.head["known_at"]
        what = self.head.get("opportunity_id") or f"{self.head['of']} deals"
        until = "" if known_at is None else f", known at {plain(known_at)}"
        return (
            f"{name} by {', '.join(self.by)}: {what} "
            f"as of {plain(self.head['as_of'])}{until}, in {self.head['currency']}"
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
    """A table whose rows overlap: each shows whole deals, so that adding rows counts deals twice.

    A frame and a file cannot refuse a sum, so ``amount`` is called ``participation_amount`` there.
    """

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a pandas frame; amounts are ``Decimal`` objects."""
        return Table.to_pandas(self).rename(columns=_PARTICIPATION)

    def _frame(self, rows: Sequence[Row]) -> polars.DataFrame:
        return Table._frame(self, rows).rename(_PARTICIPATION)

    def _notes(self) -> list[tuple[str, str]]:
        notes = Table._notes(self)
        return [("total, each deal once" if label == "total" else label, value) for label, value in notes]


def pandas_itself() -> ModuleType:
    """The library; an extra, that need not be there.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise UsageError(
            "pandas is not installed",
            hint="pip install 'partner-attribution[pandas]', or use to_polars()",
        ) from None
    return pandas


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


def plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value


def aligned(shown: Sequence[str], body: Sequence[Sequence[str]], numeric: Sequence[bool]) -> list[str]:
    """Lines of a table for people: the names of its columns, a rule, and its rows."""
    widths = [max(map(len, column)) for column in zip(shown, *body, strict=True)]
    lines = []
    for row in (shown, *body):
        cells = zip(row, widths, numeric, strict=True)
        lines.append(
            "  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in cells)
        )
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def html_table(title: str, shown: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table for notebooks."""
    head = "".join(f"<th>{escape(name)}</th>" for name in shown)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in body)
    caption = f"<caption>{escape(title)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def told_apart(parties: Sequence[tuple[str, str | None]]) -> list[str]:
    """What to call each of these, by name and id: the id only where a name stands for more than one.

    Examples
    --------
    >>> told_apart([("Ann", "1"), ("Bob", "2"), ("Ann", "3")])
    ['Ann (1)', 'Bob', 'Ann (3)']
    """
    counts = Counter(name for name, _ in parties)
    return [f"{name} ({id_})" if counts[name] > 1 else name for name, id_ in parties]


def documented(row: Row, currency: str) -> Row:
    """The row as JSON has it: where its ``unit`` is money, its figures are decimal strings."""
    if not str(row.get("unit", "")).startswith(currency):
        return row
    return row | {name: spelled(row[name], currency) for name in _FIGURES if name in row}


def spelled(amount: float | None, currency: str) -> str | None:
    """An estimate of money as a decimal string: every digit known, at least those of the currency.

    Examples
    --------
    >>> spelled(1234.5, "USD"), spelled(1e-7, "USD"), spelled(20 / 3, "JPY"), spelled(-3.0, "JPY")
    ('1234.50', '0.0000001', '6.666666666666667', '-3')
    """
    if amount is None:
        return None
    whole, _, fraction = f"{Decimal(repr(float(amount))):f}".partition(".")
    fraction = fraction.rstrip("0").ljust(money.digits(currency), "0")
    return f"{whole}.{fraction}" if fraction else whole


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
    return f"{value:,.2f}" if isinstance(value, float) else str(plain(value))
