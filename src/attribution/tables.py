"""A table that somebody hands over: read column by column, and every row checked.

What is wrong is an error that names the table, the column and the first row, counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from numbers import Real
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from attribution import money
from attribution.arrays import INSTANT, Codes, codes_of, day_end
from attribution.errors import DataError, UsageError, known

__all__ = ["Columns"]

_BLANKS = r"^\s|\s$|^$"
_YEARS = (1, 9999)
"""Years that a Python datetime can hold."""
_ISO = ("%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z")
_NAIVE_HINT = "which moment it means would depend on the machine: give it a zone, such as UTC"


class Columns:
    """The columns of one table.

    Parameters
    ----------
    name
        What messages call the table.
    data
        A polars or pandas frame, anything with ``__arrow_c_stream__``, or a mapping of names to columns.
    key
        Column that names a row in messages, beside its number.
    required, optional
        Columns that must, and those that may be there.
    others
        Whether further columns are welcome.

    Raises
    ------
    UsageError
        If it is no table, or its columns are not these.
    """

    def __init__(
        self,
        name: str,
        data: object,
        *,
        key: str,
        required: Iterable[str],
        optional: Iterable[str],
        others: bool = False,
    ) -> None:
        self.name = name
        self.key = key
        self.rows = _frame(name, data)
        wanted = (*required, *optional)
        for column in required:
            if column not in self.rows.columns:
                raise UsageError(
                    f"{name}: there is no column {column!r}",
                    hint=f"its columns are: {known(self.rows.columns, 40)}",
                )
        self.others = [column for column in self.rows.columns if column not in wanted]
        if self.others and not others:
            raise UsageError(
                f"{name}: there is no use for the column {self.others[0]!r}",
                hint=f"columns are: {known(wanted, 40)}",
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, column: str) -> bool:
        return column in self.rows.columns

    def text(self, column: str, *, null: bool = True, checked: bool = True) -> pl.Series:
        """Strings; whole numbers are taken as such. Checked: neither empty nor padded with blanks."""
        values = self._get(column)
        if values.dtype.is_integer() or isinstance(values.dtype, pl.Categorical | pl.Enum | pl.Null):
            values = values.cast(pl.String)
        self._need(column, values, isinstance(values.dtype, pl.String), "text")
        if checked:
            self.refuse(column, values.str.contains(_BLANKS), "is empty, or begins or ends with a blank")
        return values if null else self._filled(column, values)

    def coded(self, column: str) -> tuple[Codes, tuple[str, ...]]:
        """Strings of which few are different: the code of each, -1 for null, and what the codes mean.

        The names are sorted bytewise, and checked as text is.
        """
        values = self.text(column, checked=False)
        names = values.drop_nulls().unique().sort()
        if names.str.contains(_BLANKS).any():
            self.text(column)
        return codes_of(values, tuple(names)), tuple(names)

    def choice(self, column: str, existing: tuple[str, ...]) -> Codes:
        """Strings out of a few: the code of each among them; -1 for null."""
        codes, names = self.coded(column)
        for code, name in enumerate(names):
            if name not in existing:
                wrong = pl.Series(codes == code)
                self.refuse(column, wrong, "is none of those that exist", hint=f"use {known(existing)}")
        meant = np.array([*(existing.index(name) for name in names), -1], dtype=np.int32)
        return meant[codes]

    def boolean(self, column: str) -> pl.Series:
        """True, false or null."""
        values = self._get(column)
        self._need(column, values, values.dtype == pl.Boolean, "true or false")
        return values.cast(pl.Boolean)

    def instants(self, column: str, *, null: bool = True) -> pl.Series:
        """Aware instants, in UTC and microseconds; ISO 8601 text with a zone is read."""
        values = self._get(column)
        if isinstance(values.dtype, pl.String):
            values = self._read_instants(column, values)
        naive = isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is None
        if naive and values.null_count() < len(values):
            self._naive(column, int(values.is_not_null().arg_max() or 0))
        if naive or values.dtype == pl.Null:
            values = values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        self._need(column, values, isinstance(values.dtype, pl.Datetime), "instants with a zone")
        values = values.dt.convert_time_zone("UTC").cast(INSTANT)
        self._in_calendar(column, values)
        return values if null else self._filled(column, values)

    def days(self, column: str) -> pl.Series:
        """Dates, or null; ISO text is read, and so are naive instants at midnight, as pandas holds dates."""
        values = self._get(column)
        if isinstance(values.dtype, pl.String):
            read = values.str.to_date("%Y-%m-%d", strict=False)
            self.refuse(column, read.is_null() & values.is_not_null(), "is no date", hint="write 2026-06-30")
            values = read
        if isinstance(values.dtype, pl.Datetime):
            self._need(column, values, values.dtype.time_zone is None, "dates")
            self.refuse(column, values != values.dt.truncate("1d"), "is an instant, and a date is needed")
            values = values.cast(pl.Date)
        self._need(column, values, values.dtype in (pl.Date, pl.Null), "dates")
        values = values.cast(pl.Date)
        self._in_calendar(column, values)
        return values

    def instants_or_ends(self, column: str, zone: str) -> pl.Series:
        """Instants; a date is the end of its day in the zone, less a microsecond."""
        values = self._get(column)
        dated = values.dtype == pl.Date
        if isinstance(values.dtype, pl.String):
            dated = bool(values.str.contains(r"^\d{4}-\d\d-\d\d$").all()) and values.null_count() < len(
                values
            )
        if not dated:
            return self.instants(column)
        ends = self.days(column).to_frame("day").select(day_end(pl.col("day"), ZoneInfo(zone)))
        return ends.to_series().dt.offset_by("-1us")

    def minor_units(self, column: str, currency: str) -> pl.Series:
        """Amounts as whole minor units of the currency, exactly, or null."""
        values, digits = self._get(column), money.digits(currency)
        if values.dtype.is_integer():
            minor = values.cast(pl.Int64, strict=False)
            limit = (2**63 - 1) // 10**digits
            too_large = (minor.is_null() & values.is_not_null()) | ~minor.is_between(-limit, limit)
            self._too_large(column, too_large.fill_null(value=True) & values.is_not_null())
            scaled: pl.Series = minor * 10**digits
            return scaled
        if values.dtype.is_float():
            return self._float_units(column, values, currency)
        if isinstance(values.dtype, pl.Decimal | pl.Null):
            values = values.cast(pl.String)
        self._need(column, values, isinstance(values.dtype, pl.String), "amounts")
        whole_form = r"^[+-]?\d+(\.\d*)?$"
        self.refuse(
            column, ~values.str.contains(whole_form), "is no amount", hint="write amounts such as 1234.56"
        )
        fraction = values.str.extract(r"\.(\d*)$").fill_null("").str.strip_chars_end("0")
        self._too_precise(column, (fraction.str.len_bytes() > digits) & values.is_not_null(), currency)
        text = values.str.extract(r"^[+-]?(\d+)") + fraction.str.pad_end(digits, "0")
        minor = text.cast(pl.Int64, strict=False)
        self._too_large(column, minor.is_null() & values.is_not_null())
        negative = values.str.starts_with("-").fill_null(value=False)
        signed: pl.Series = minor * (1 - 2 * negative.cast(pl.Int64))
        return signed

    def labels(self, column: str) -> pl.Series:
        """Any plain values as text, or null."""
        values = self._get(column)
        plain = (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Date, pl.Datetime, pl.Decimal, pl.Null)
        fits = values.dtype.is_integer() or values.dtype.is_float() or isinstance(values.dtype, plain)
        self._need(column, values, fits, "text, whole numbers, booleans or dates to group by")
        if values.dtype.is_float():
            # pandas makes whole numbers floats where one is missing
            self.refuse(column, values != values.floor(), "is no whole number", hint="group numbers yourself")
            values = values.cast(pl.Int64)
        return values.cast(pl.String)

    def unique(self, column: str, values: pl.Series) -> None:
        """Refuse values that occur twice."""
        if values.n_unique() < len(values):
            first = values.is_duplicated().arg_max() or 0
            again = int((values == values[first]).arg_true()[1])
            self.fail(column, again, f"is also that of row {first}")

    def refuse(
        self, column: str, wrong: pl.Series, what: str, *, hint: str | None = None, shown: bool = True
    ) -> None:
        """Raise an error that names the first row under a mask, if there is one; null is not wrong."""
        if wrong.any():
            self.fail(column, int(wrong.fill_null(value=False).arg_max() or 0), what, hint, shown=shown)

    def fail(
        self, column: str, row: int, what: str, hint: str | None = None, *, shown: bool = True
    ) -> NoReturn:
        """Raise an error about one row."""
        value = self.rows[column][row] if shown and column in self else None
        said = "" if value is None else f"{str(value)!r} " if isinstance(value, str) else f"{value} "
        raise DataError(f"{self._where(column, row)}: {said}{what}", hint=hint)

    def _where(self, column: str, row: int) -> str:
        named = column == self.key or self.key not in self
        key = "" if named else f" ({self.key} {str(self.rows[self.key][row])!r})"
        return f"{self.name}: column {column!r}, row {row}{key}"

    def _get(self, column: str) -> pl.Series:
        if column in self:
            return self.rows[column]
        return pl.repeat(None, len(self), dtype=pl.Null, eager=True)

    def _need(self, column: str, values: pl.Series, fits: bool, what: str) -> None:
        if not fits and values.dtype != pl.Null:
            raise UsageError(
                f"{self.name}: column {column!r} is of type {values.dtype}, and {what} are needed",
                hint="convert the column first",
            )

    def _filled(self, column: str, values: pl.Series) -> pl.Series:
        self.refuse(column, values.is_null(), "nothing is given, and it must be", shown=False)
        return values

    def _naive(self, column: str, row: int) -> NoReturn:
        raise UsageError(
            f"{self._where(column, row)}: {self.rows[column][row]} has no time zone", hint=_NAIVE_HINT
        )

    def _read_instants(self, column: str, values: pl.Series) -> pl.Series:
        zoned = values.str.contains(r"[T ]\d\d:.*([Zz]|[+-]\d\d:?\d\d)$")
        naive = ~zoned & values.str.contains(r"^\d{4}-\d\d-\d\d([T ][\d:.]+)?$")
        if naive.any():
            self._naive(column, int(naive.fill_null(value=False).arg_max() or 0))
        text = values.str.replace(" ", "T", literal=True).str.replace("[Zz]$", "+00:00")
        read = text.str.to_datetime(_ISO[0], time_unit="us", strict=False)
        if read.null_count() > values.null_count():
            read = read.fill_null(text.str.to_datetime(_ISO[1], time_unit="us", strict=False))
        self.refuse(
            column, read.is_null() & values.is_not_null(), "is no instant", hint="write 2026-06-30T09:30:00Z"
        )
        return read

    def _float_units(self, column: str, values: pl.Series, currency: str) -> pl.Series:
        self.refuse(
            column, ~values.is_finite(), "is no amount", hint="leave out what is unknown: null is unvalued"
        )
        exact = values.cast(pl.Float64).fill_null(0).to_numpy()
        scale = 10.0 ** money.digits(currency)
        minor = np.rint(exact * scale)
        self._too_large(column, pl.Series(np.abs(minor) >= 2.0**53), "exact floats")
        # the float nearest to a decimal of so many digits is this quotient: numpy rounds it correctly
        self._too_precise(column, pl.Series(minor / scale != exact), currency)
        units: pl.Series = pl.Series(minor.astype(np.int64)).set(values.is_null(), None)
        return units

    def _in_calendar(self, column: str, values: pl.Series) -> None:
        beyond = ~values.dt.year().is_between(*_YEARS)
        self.refuse(column, beyond, "it is beyond the years 1 to 9999", shown=False)

    def _too_precise(self, column: str, wrong: pl.Series, currency: str) -> None:
        digits = money.digits(currency)
        self.refuse(
            column,
            wrong,
            f"has more than the {digits} digits of {currency}",
            hint="round amounts first, once and where it can be seen",
        )

    def _too_large(self, column: str, wrong: pl.Series, of: str = "64 bits of minor units") -> None:
        self.refuse(column, wrong, f"is beyond {of}", hint="if it is meant, pass it as decimal or text")


def _frame(name: str, data: object) -> pl.DataFrame:
    """The table as a polars frame."""
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if isinstance(data, pl.DataFrame):
        return data
    if type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns"):
        return _of_columns(name, {column: data[column] for column in data.columns}, len(data.columns))  # type: ignore[index] # it is a pandas frame
    if isinstance(data, Mapping):
        return _of_columns(name, data, len(data))
    if hasattr(data, "__arrow_c_stream__"):
        return pl.DataFrame(data)
    raise UsageError(
        f"{name} is of type {type(data).__name__}, which is no table",
        hint="pass a polars, pandas or Arrow table, or a dict of columns",
    )


def _of_columns(name: str, columns: Mapping[Any, Any], n: int) -> pl.DataFrame:
    wrong = [column for column in columns if not isinstance(column, str)]
    if wrong or len(columns) < n:
        which = "the same name twice" if len(columns) < n else f"{wrong[0]!r}, which is no text"
        raise UsageError(f"{name}: a column is called {which}", hint="give each column a name of its own")
    series = {column: _series(name, column, values) for column, values in columns.items()}
    lengths = {column: len(values) for column, values in series.items()}
    if len(set(lengths.values())) > 1:
        shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise UsageError(
            f"{name}: column {shortest!r} has {lengths[shortest]} rows and {longest!r} {lengths[longest]}",
            hint="all columns of a table are of one length",
        )
    return pl.DataFrame(series)


def _series(name: str, column: str, values: Any) -> pl.Series:
    """One column as a polars series; Python objects of several types are an error, but for numbers."""
    if isinstance(values, pl.Series):
        return values.alias(column)
    if hasattr(values, "isna") and hasattr(values, "dtype"):
        if values.dtype != object:
            read: pl.Series = pl.from_pandas(values)
            return read.alias(column)
        values = [None if missing else value for value, missing in zip(values, values.isna(), strict=True)]
    elif isinstance(values, np.ndarray) and values.dtype != object:
        return pl.Series(column, values)
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UsageError(
            f"{name}: column {column!r} is one value", hint="a column is a list, one value per row"
        )
    values = list(values)
    types = {type(value) for value in values} - {type(None)}
    if len(types) > 1 and not all(issubclass(each, datetime) for each in types):
        if bool not in types and all(issubclass(each, Real) for each in types):
            values = [None if value is None else float(value) for value in values]
        elif types <= {int, Decimal}:
            values = [None if value is None else Decimal(value) for value in values]
        else:
            names = known(each.__name__ for each in types)
            raise UsageError(f"{name}: column {column!r} mixes types: {names}", hint="convert it first")
    if any(issubclass(each, datetime) for each in types):
        aware = [value is not None and value.tzinfo is not None for value in values]
        if any(aware):
            # polars would take a naive one among them for UTC
            for row, value in enumerate(values):
                if value is not None and not aware[row]:
                    raise UsageError(
                        f"{name}: column {column!r}, row {row}: {value} has no time zone", hint=_NAIVE_HINT
                    )
            values = [None if value is None else value.astimezone(UTC) for value in values]
    try:
        return pl.Series(column, values)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise UsageError(
            f"{name}: column {column!r} cannot be read: {str(error).splitlines()[0]}", hint="convert it first"
        ) from None
