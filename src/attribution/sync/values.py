"""Values as Salesforce spells them, in JSON and in CSV, to columns of their types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from attribution.arrays import DECIMAL

__all__ = ["DAY", "FLAG", "INSTANT", "NUMBER", "OF_CSV", "TEXT", "WHOLE", "are_of_calendar", "values_of"]

TEXT: Final = pa.string()
FLAG: Final = pa.bool_()
DAY: Final = pa.date32()
INSTANT: Final = pa.timestamp("us", "UTC")
WHOLE: Final = pa.int64()
NUMBER: Final = pa.decimal128(38, 18)

OF_CSV: Final = frozenset({TEXT, FLAG, DAY, INSTANT})
"""Types that a parser of CSV may read: of numbers it takes 1E30 for 18960114910927365649.47."""

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME: Final = r"[0-9]{2}(:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)?"
_INSTANT: Final = re.compile(rf"{_DAY.pattern}[T ]{_TIME}(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)")
_CALENDAR: Final = {
    DAY: (pa.scalar(date.min, DAY).value, pa.scalar(date.max, DAY).value),
    INSTANT: tuple(pa.scalar(end.replace(tzinfo=UTC), INSTANT).value for end in (datetime.min, datetime.max)),
}


def values_of(text: pa.ChunkedArray, type: pa.DataType) -> pa.ChunkedArray:
    """Parse a column of text, unless a parser of CSV has read it; what cannot be parsed becomes null.

    Numbers are exact to 18 decimals; instants are ISO 8601 with an offset, to the microsecond.

    Examples
    --------
    >>> values_of(pa.chunked_array([["7", "1.0E3", "gold", None]]), WHOLE).to_pylist()
    [7, 1000, None, None]
    """
    if text.type == type:
        return text
    if type == NUMBER:
        return _of_polars(_numbers(pl.Series(text)))
    if type == WHOLE:
        return _of_polars(_whole(pl.Series(text)))
    if type in _CALENDAR:
        with suppress(pa.ArrowInvalid):
            values = text.cast(type)
            if are_of_calendar(values):
                return values
    # some value is spelled as it seldom is, or not at all
    read = _READERS[type]
    return pa.chunked_array([[None if each is None else read(each) for each in text.to_pylist()]], type)


def are_of_calendar(column: pa.ChunkedArray) -> bool:
    """Whether all days or instants of a column are of the years 1 to 9999; true of what is neither."""
    if column.type not in _CALENDAR:
        return True
    first, last = _CALENDAR[column.type]
    ends = pc.min_max(column)
    return ends["min"].value is None or first <= ends["min"].value <= ends["max"].value <= last


def _of_polars(values: pl.Series) -> pa.ChunkedArray:
    return pa.chunked_array([values.to_arrow()])


def _numbers(text: pl.Series) -> pl.Series:
    return text.cast(DECIMAL, strict=False)


def _whole(text: pl.Series) -> pl.Series:
    values = text.cast(pl.Int64, strict=False)
    if values.null_count() == text.null_count():
        return values
    # Bulk may write a whole number as 1.0E3
    number = _numbers(text)
    whole = number.cast(pl.Int64, strict=False)
    return values.fill_null(whole.set(whole.cast(DECIMAL, strict=False) != number, None))


def _flag(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _day(text: str) -> date | None:
    # the parser of CSV passes over blanks, too
    stripped = text.strip(" \t")
    try:
        return date.fromisoformat(stripped) if _DAY.fullmatch(stripped) else None
    except ValueError:
        return None


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if _INSTANT.fullmatch(text) else None
    except (ValueError, OverflowError):
        # an offset can lead beyond the years that a calendar has
        return None


_READERS: Final[Mapping[pa.DataType, Callable[[str], object]]] = {FLAG: _flag, DAY: _day, INSTANT: _instant}
"""Read one value in any spelling that is known; None is for what is none."""
