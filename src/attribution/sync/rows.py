"""Text from the CRM to typed columns, the same for JSON and for CSV, and what could not be read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from attribution.arrays import DECIMAL, INSTANT
from attribution.sync import values
from attribution.sync.descriptions import FieldDescription, ObjectDescription, ObjectSummary
from attribution.sync.report import Rejected

__all__ = ["TypedRows", "column_types", "is_id", "key_prefix", "told_types", "typed"]

_TYPES: Final[Mapping[str, pa.DataType]] = {
    "boolean": values.FLAG,
    "date": values.DAY,
    "datetime": values.INSTANT,
    "int": values.WHOLE,
    "long": values.WHOLE,
    "currency": values.NUMBER,
    "double": values.NUMBER,
    "percent": values.NUMBER,
}
_OF_MIRROR: Final[Mapping[pa.DataType, pl.DataType]] = {
    values.FLAG: pl.Boolean(),
    values.DAY: pl.Date(),
    values.INSTANT: INSTANT,
    values.WHOLE: pl.Int64(),
    values.NUMBER: DECIMAL,
    values.TEXT: pl.String(),
}
"""The same types as the mirror has them."""
_ID: Final = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?")
_ALWAYS_KEPT: Final = frozenset({"Opportunity"})
"""Objects whose rows stay, with the unreadable field empty: a deal must never vanish from the counts."""


@dataclass(frozen=True, slots=True)
class TypedRows:
    """One page of records in the types of the mirror, and what was rejected of it."""

    columns: pa.Table
    rejected: tuple[Rejected, ...]

    @property
    def rows(self) -> pl.DataFrame:
        """The columns as the mirror takes them."""
        return pl.DataFrame(self.columns.to_reader())


def key_prefix(object: str, objects: Mapping[str, ObjectSummary]) -> str | None:
    """First characters of the ids of an object; None where they have none of their own."""
    summary = objects.get(object)
    return summary.key_prefix if summary is not None else None


def is_id(text: str | None, prefix: str | None = None) -> bool:
    """Whether a text can be an id, of an object with this prefix."""
    return text is not None and _ID.fullmatch(text) is not None and text.startswith(prefix or "")


def column_types(description: ObjectDescription, fields: Sequence[str]) -> dict[str, pl.DataType]:
    """Type of every column in the mirror; whatever is no number, date or flag is text."""
    return {name: _OF_MIRROR[_type(description, name)] for name in fields}


def told_types(description: ObjectDescription, fields: Sequence[str]) -> dict[str, pa.DataType]:
    """Types that a parser of CSV may give the columns: those whose spelling it knows as well as we do."""
    types = {name: _type(description, name) for name in fields}
    return {name: kind if kind in values.OF_CSV else values.TEXT for name, kind in types.items()}


def typed(text: pa.Table, description: ObjectDescription, objects: Mapping[str, ObjectSummary]) -> TypedRows:
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
    >>> import pyarrow as pa
    >>> from attribution.sync.descriptions import FieldDescription, ObjectDescription
    >>> fields = {"Id": FieldDescription("Id", "id"), "Rank": FieldDescription("Rank", "int")}
    >>> level = ObjectDescription("ChannelProgramLevel", fields, is_replicateable=True)
    >>> page = pa.table({"Id": ["0Pv000000000001AAA", "0Pv000000000002AAA"], "Rank": ["1", "gold"]})
    >>> read = typed(page, level, {})
    >>> read.rows["Rank"].to_list(), read.rejected[0].reason
    ([1], "Rank: 'gold' is no int")
    """
    names = text.column_names
    fields = [description.fields[name] for name in names]
    read = [values.values_of(text[name], _type(description, name)) for name in names]
    rows = pa.Table.from_arrays(read, names=names)
    prefixes = {field.name: _prefix(field, description.name, objects) for field in fields}
    if not any(_is_suspect(text[name], rows[name], prefixes[name], is_own=name == "Id") for name in names):
        return TypedRows(rows, ())
    bad = {name: _unreadable(text[name], rows[name], prefixes[name], is_own=name == "Id") for name in names}
    is_bad = np.logical_or.reduce([*bad.values()])
    rejected = []
    for place, record in zip(np.flatnonzero(is_bad), text.filter(is_bad).to_pylist(), strict=True):
        unreadable = [field for field in fields if bad[field.name][place]]
        reasons = [_reason(field, record[field.name], prefixes[field.name]) for field in unreadable]
        rejected.append(Rejected(description.name, record["Id"], "; ".join(reasons)))
    if description.name not in _ALWAYS_KEPT:
        return TypedRows(rows.filter(~is_bad), tuple(rejected))
    emptied = [pc.if_else(bad[name], None, rows[name]) if bad[name].any() else rows[name] for name in names]
    return TypedRows(pa.Table.from_arrays(emptied, names=names).filter(~bad["Id"]), tuple(rejected))


def _type(description: ObjectDescription, field: str) -> pa.DataType:
    return _TYPES.get(description.fields[field].type, values.TEXT)


def _prefix(field: FieldDescription, own: str, objects: Mapping[str, ObjectSummary]) -> str | None:
    """First characters that an id in this field must have; None where that cannot be judged."""
    if field.name == "Id":
        return key_prefix(own, objects)
    is_judged = field.type == "reference" and len(field.refers_to) == 1
    return key_prefix(field.refers_to[0], objects) if is_judged else None


def _is_suspect(text: pa.ChunkedArray, value: pa.ChunkedArray, prefix: str | None, *, is_own: bool) -> bool:
    """Whether some value of a column may be unreadable: seldom, and much faster told than which."""
    if value.null_count > text.null_count:
        return True
    if is_own and (text.null_count or not _are_ids(text)):
        return True
    return prefix is not None and not pc.all(pc.starts_with(text, prefix), min_count=0).as_py()


def _are_ids(text: pa.ChunkedArray) -> bool:
    ends = pc.min_max(pc.binary_length(text)).as_py()
    # where some have 15 and some 18 characters, they are looked at one by one
    is_long = ends["min"] == ends["max"] in (None, 15, 18)
    return is_long and bool(pc.all(pc.ascii_is_alnum(text), min_count=0).as_py())


def _unreadable(
    text: pa.ChunkedArray, value: pa.ChunkedArray, prefix: str | None, *, is_own: bool
) -> NDArray[np.bool_]:
    bad = pc.and_(text.is_valid(), value.is_null())
    if is_own:
        bad = pc.or_(bad, pc.invert(pc.match_substring_regex(text, f"^{_ID.pattern}$").fill_null(False)))
    if prefix is not None:
        bad = pc.or_(bad, pc.invert(pc.starts_with(text, prefix)).fill_null(False))
    places: NDArray[np.bool_] = bad.to_numpy()
    return places


def _reason(field: FieldDescription, value: str | None, prefix: str | None) -> str:
    if value is None:
        return f"{field.name} is missing"
    shown = repr(value if len(value) <= 40 else value[:40] + "…")
    if prefix is not None and not value.startswith(prefix):
        return f"{field.name}: {shown} is an id of another object: it does not begin with {prefix}"
    return f"{field.name}: {shown} is no {field.type}"
