"""A mirror in memory: what deriving reads, without a store and without a wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

import polars as pl

from attribution.arrays import DECIMAL, INSTANT
from attribution.derive.schema import STANDARD_TYPES

_TYPES = {bool: pl.Boolean, int: pl.Int64, Decimal: DECIMAL, datetime: INSTANT, date: pl.Date}


class MemoryRecords:
    """Records of a CRM, by object, each list of rows read at one instant; later reads are later versions."""

    def __init__(self, *reads: tuple[datetime, Mapping[str, Sequence[Mapping[str, object]]]]) -> None:
        self._versions: dict[str, pl.DataFrame] = {}
        for read_at, records in reads:
            for name, rows in records.items():
                frame = _frame(rows, read_at)
                earlier = self._versions.get(name)
                self._versions[name] = frame if earlier is None else _together(earlier, frame)

    def versions(self, object: str) -> pl.LazyFrame | None:
        found = self._versions.get(object)
        return None if found is None else found.lazy()

    def target(self, object: str, lookup: str) -> str | None:
        rows = self._versions.get(object, pl.DataFrame())
        ids = rows[lookup].drop_nulls() if lookup in rows.columns else pl.Series()
        prefixes = {rows["Id"][0][:3]: name for name, rows in self._versions.items() if len(rows)}
        return prefixes.get(ids[0][:3]) if len(ids) else None

    def known_since(self, object: str, field: str) -> datetime | None:
        return None

    def newest(self, object: str) -> pl.LazyFrame | None:
        found = self.versions(object)
        return (
            None if found is None else found.sort("_synced_at").unique("Id", keep="last", maintain_order=True)
        )


def _together(earlier: pl.DataFrame, later: pl.DataFrame) -> pl.DataFrame:
    """Both reads; a field that one of them leaves empty has the type that the other knows."""
    both = [name for name in later.columns if name in earlier.columns]
    for name in both:
        if later[name].null_count() == len(later):
            later = later.with_columns(pl.col(name).cast(earlier.schema[name]))
        elif earlier[name].null_count() == len(earlier):
            earlier = earlier.with_columns(pl.col(name).cast(later.schema[name]))
    return pl.concat([earlier, later], how="diagonal_relaxed")


def _frame(rows: Sequence[Mapping[str, object]], read_at: datetime) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["Id"]
    schema = {name: _type(rows, name) for name in names}
    frame = pl.DataFrame(
        {name: [row.get(name) for row in rows] for name in names}, schema=schema, strict=False
    )
    deleted = pl.col("IsDeleted") if "IsDeleted" in names else pl.lit(value=False)
    return frame.with_columns(_deleted=deleted, _synced_at=pl.lit(read_at, INSTANT))


def _type(rows: Sequence[Mapping[str, object]], name: str) -> pl.DataType | type[pl.DataType]:
    value = next((row[name] for row in rows if row.get(name) is not None), None)
    return STANDARD_TYPES.get(name, pl.String) if value is None else _TYPES.get(type(value), pl.String)
