"""Text from the CRM to typed columns, the same for JSON and for CSV, and what could not be read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl

from attribution.arrays import DECIMAL, INSTANT
from attribution.sync.descriptions import ID, FieldDescription, ObjectDescription, ObjectSummary

__all__ = [
    "Rejected",
    "TypedRows",
    "column_types",
    "has_two_spellings",
    "is_id",
    "key_prefix",
    "told_types",
    "typed",
]

_TYPES: Final[Mapping[str, pl.DataType]] = {
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "datetime": INSTANT,
    "int": pl.Int64(),
    "long": pl.Int64(),
    "currency": DECIMAL,
    "double": DECIMAL,
    "percent": DECIMAL,
}
_DAY: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
_YEAR_1: Final = date.min.toordinal() - date(1970, 1, 1).toordinal()
"""The first day of year 1, in days since 1970."""
_ALWAYS_KEPT: Final = frozenset({"Opportunity"})
"""Objects whose rows stay, with the unreadable field empty: a deal must never vanish from the counts."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record, or a field of an opportunity, that was not stored because it could not be read."""

    object: str
    id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class TypedRows:
    """One page of records in the types of the mirror, and what was rejected of it."""

    rows: pl.DataFrame
    rejected: tuple[Rejected, ...]


def key_prefix(object: str, objects: Mapping[str, ObjectSummary]) -> str | None:
    """First characters of the ids of an object; None where they have none of their own."""
    summary = objects.get(object)
    return summary.key_prefix if summary is not None else None


def is_id(text: str | None, prefix: str | None = None) -> bool:
    """Whether a text can be an id, of an object with this prefix."""
    # fullmatch, as $ would let a newline follow
    return text is not None and re.fullmatch(ID, text) is not None and text.startswith(prefix or "")


def has_two_spellings(ids: pl.Series) -> bool:
    """Whether some ids of an answer have 15 characters and others 18: one record would become two."""
    lengths = ids.str.len_bytes()
    return lengths.min() != lengths.max()


def column_types(description: ObjectDescription, fields: tuple[str, ...]) -> dict[str, pl.DataType]:
    """Type of every column in the mirror; whatever is no number, date or flag is text."""
    return {name: _TYPES.get(description.fields[name].type, pl.String()) for name in fields}


def told_types(description: ObjectDescription, fields: Sequence[str]) -> dict[str, pl.DataType]:
    """Types that a parser of CSV may read at once: those whose spelling it knows as well as we do."""
    types = column_types(description, tuple(fields))
    return {name: kind for name, kind in types.items() if kind in (pl.Boolean, DECIMAL)}


def typed(
    text: pl.DataFrame, description: ObjectDescription, objects: Mapping[str, ObjectSummary]
) -> TypedRows:
    """Read every value of a page of text.

    Parameters
    ----------
    text
        Records as text, with ``Id``; null is "no value", and no text is empty. A column may have its type
        already.
    description
        The object, with the type of every column of ``text``.
    objects
        Every object, for the key prefixes of their ids.

    Returns
    -------
    TypedRows
        Rows of which some value is unreadable, or an id belongs to another object, are rejected with
        the reason; an opportunity is kept without that value, and reported all the same.

    Examples
    --------
    >>> import polars as pl
    >>> from attribution.sync.descriptions import FieldDescription, ObjectDescription
    >>> fields = {"Id": FieldDescription("Id", "id"), "Rank": FieldDescription("Rank", "int")}
    >>> level = ObjectDescription("ChannelProgramLevel", fields, is_replicateable=True)
    >>> page = pl.DataFrame({"Id": ["0Pv000000000001AAA", "0Pv000000000002AAA"], "Rank": ["1", "gold"]})
    >>> read = typed(page, level, {})
    >>> read.rows["Rank"].to_list(), read.rejected[0].reason
    ([1], "Rank: 'gold' is no int")
    """
    fields = [description.fields[name] for name in text.columns]
    rows = pl.DataFrame([_values(text[field.name], field.type) for field in fields])
    prefixes = {field.name: _prefix(field, description.name, objects) for field in fields}
    if not any(
        _is_suspect(text[field.name], rows[field.name], prefixes[field.name], field) for field in fields
    ):
        return TypedRows(rows, ())
    text = text.cast(pl.String())
    unreadable = pl.DataFrame(
        [_unreadable(text[field.name], rows[field.name], prefixes[field.name], field) for field in fields]
    )
    is_bad = unreadable.select(pl.any_horizontal(pl.all()).alias("bad"))["bad"]
    rejected = _reasons(text.filter(is_bad), unreadable.filter(is_bad), fields, prefixes, description.name)
    if description.name not in _ALWAYS_KEPT:
        return TypedRows(rows.filter(~is_bad), rejected)
    others = [name for name in rows.columns if name != "Id"]
    emptied = [
        pl.when(~unreadable[name]).then(pl.col(name)).alias(name) for name in others if unreadable[name].any()
    ]
    return TypedRows(rows.with_columns(emptied).filter(~unreadable["Id"]), rejected)


def _is_suspect(text: pl.Series, value: pl.Series, prefix: str | None, field: FieldDescription) -> bool:
    """Whether some value of a column may be unreadable: seldom, and much faster told than which."""
    if value.null_count() > (0 if field.is_never_empty else text.null_count()):
        return True
    if text.name == "Id" and (text.null_count() or not text.str.contains(ID).all()):
        return True
    return prefix is not None and not text.str.starts_with(prefix).all()


def _values(text: pl.Series, kind: str) -> pl.Series:
    """Parse a column of text; what cannot be parsed becomes null."""
    if text.dtype != pl.String:
        return text
    usual = _usual(text, kind)
    if usual is None or usual.null_count() > text.null_count() or _is_beyond_years(usual):
        # some value is spelled as it seldom is, or not at all
        return text.to_frame().select(_value(text.name, kind)).to_series()
    return usual


def _is_beyond_years(values: pl.Series) -> bool:
    """Whether a column of days or instants has some before year 1: a year may have a sign."""
    if not values.dtype.is_temporal():
        return False
    first = values.to_physical().min()
    per_day = 1 if values.dtype == pl.Date else 86_400_000_000
    return isinstance(first, int) and first < _YEAR_1 * per_day


def _usual(text: pl.Series, kind: str) -> pl.Series | None:
    """Parse a column as it nearly always is spelled, several times as fast; None if there is no such way."""
    match _TYPES.get(kind):
        case None:
            return text
        case pl.Boolean():
            truth = text == "true"
            return truth if (truth | (text == "false")).all() else None
        case pl.Date():
            # parsers take signs and blanks for digits; there are fewer days than records
            is_usual = text.unique().str.contains(f"{_DAY}$").all()
            return text.str.to_date("%Y-%m-%d", strict=False, cache=False) if is_usual else None
        case pl.Datetime():
            least = text.min()
            zone = "Z" if isinstance(least, str) and least.endswith("Z") else "+0000"
            # a parser takes signs and blanks for digits, and they come before these
            if isinstance(least, str) and least < "1":
                return None
            if not (text.str.len_bytes() == len(f"2026-12-31T23:59:59.000{zone}")).all():
                return None
            # Salesforce stamps whole seconds, and a variable part would take six times as long
            spelling = f"%Y-%m-%dT%H:%M:%S.000{zone}"
            instants = text.str.to_datetime(spelling, time_unit="us", strict=False, cache=False)
            return instants.dt.replace_time_zone("UTC")
        case pl.Int64():
            return text.cast(pl.Int64, strict=False)
        case _:
            return text.cast(DECIMAL, strict=False)


def _value(name: str, type: str) -> pl.Expr:
    """Parse a column in every spelling that there is."""
    text = pl.col(name)
    kind = _TYPES.get(type)
    if kind is None:
        return text
    if kind == pl.Boolean:
        lower = text.str.to_lowercase()
        return pl.when(lower == "true").then(True).when(lower == "false").then(False).alias(name)
    if kind == pl.Date:
        dates = text.str.to_date("%Y-%m-%d", strict=False)
        return pl.when(text.str.contains(f"{_DAY}$"), dates.dt.year().is_between(1, 9999)).then(dates)
    if kind == INSTANT:
        # REST writes +0000 where Bulk writes Z
        zoned = text.str.replace("Z$", "+0000")
        instants = zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)
        # an offset can lead beyond the years that a calendar has
        return pl.when(text.str.contains(f"{_DAY}T"), instants.dt.year().is_between(1, 9999)).then(instants)
    if kind == pl.Int64:
        # Bulk may write a whole number as 1.0E3
        number = text.cast(DECIMAL, strict=False)
        whole = number.cast(pl.Int64, strict=False)
        is_whole = whole.cast(DECIMAL, strict=False) == number
        return pl.coalesce(text.cast(pl.Int64, strict=False), pl.when(is_whole).then(whole))
    return text.cast(DECIMAL, strict=False)


def _prefix(field: FieldDescription, own: str, objects: Mapping[str, ObjectSummary]) -> str | None:
    """First characters that an id in this field must have; None where that cannot be judged."""
    if field.name == "Id":
        return key_prefix(own, objects)
    is_judged = field.type == "reference" and len(field.refers_to) == 1
    return key_prefix(field.refers_to[0], objects) if is_judged else None


def _unreadable(text: pl.Series, value: pl.Series, prefix: str | None, field: FieldDescription) -> pl.Series:
    bad = value.is_null() & (text.is_not_null() | field.is_never_empty)
    if field.name == "Id":
        bad = bad | text.is_null() | ~text.fill_null("").str.contains(ID)
    if prefix is not None:
        bad = bad | ~text.str.starts_with(prefix).fill_null(True)
    return bad.alias(text.name)


def _reasons(
    text: pl.DataFrame,
    unreadable: pl.DataFrame,
    fields: list[FieldDescription],
    prefixes: Mapping[str, str | None],
    object: str,
) -> tuple[Rejected, ...]:
    rejected = []
    for values, bad in zip(text.iter_rows(named=True), unreadable.iter_rows(named=True), strict=True):
        reasons = [
            _reason(field, values[field.name], prefixes[field.name]) for field in fields if bad[field.name]
        ]
        rejected.append(Rejected(object, values["Id"], "; ".join(reasons)))
    return tuple(rejected)


def _reason(field: FieldDescription, value: str | None, prefix: str | None) -> str:
    if value is None:
        return f"{field.name} is missing"
    shown = repr(value if len(value) <= 40 else value[:40] + "…")
    if prefix is not None and not value.startswith(prefix):
        return f"{field.name}: {shown} is an id of another object: it does not begin with {prefix}"
    return f"{field.name}: {shown} is no {field.type}"
