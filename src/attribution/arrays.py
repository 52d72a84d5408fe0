"""Columns of polars: the types of instants and numbers, as arrays, and dates as instants of a zone."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = [
    "DECIMAL",
    "INSTANT",
    "Codes",
    "codes_of",
    "day_end",
    "day_start",
    "fixed_width",
    "local_days",
    "numbered",
]

INSTANT: Final = pl.Datetime("us", "UTC")
"""Type of every column of instants."""
DECIMAL: Final = pl.Decimal(38, 18)
"""Type of every number that is no whole number: wide enough that no change of a field's scale alters it."""

Codes = NDArray[np.int32]


def codes_of(values: pl.Series, names: tuple[str, ...]) -> Codes:
    """Position of each value among the names, which are all of them; -1 for null."""
    return values.cast(pl.Enum(names)).to_physical().cast(pl.Int32).fill_null(-1).to_numpy()


def fixed_width(text: pl.Series) -> NDArray[np.bytes_]:
    """Strings as an array of bytes, all of one width."""
    width = int(text.str.len_bytes().max() or 1)  # type: ignore[arg-type] # lengths are integers
    if text.str.len_bytes().sum() == text.str.len_chars().sum() and len(text) * width < 1 << 32:
        # one long string of ASCII: ten times faster than string by string
        joined = text.str.pad_end(width, "\0").str.join("").item().encode()
        return np.frombuffer(joined, dtype=f"S{width}")
    return np.array([each.encode() for each in text], dtype=f"S{width}")


def numbered(n: int) -> NDArray[np.bytes_]:
    """The numbers 1 to n as text of one width, so that their order is that of their bytes."""
    width = len(str(n))
    digits = np.empty((n, width), dtype=np.uint8)
    left = np.arange(1, n + 1)
    # ten times faster than number by number
    for place in reversed(range(width)):
        tens = left // 10
        digits[:, place] = left - tens * 10 + ord("0")
        left = tens
    return digits.view(f"S{width}").reshape(-1)


def day_start(day: pl.Expr, zone: ZoneInfo) -> pl.Expr:
    """The instant at which a date begins in the zone; a date itself is never shifted."""
    local = day.cast(pl.Datetime("us"))

    def at(wall: pl.Expr) -> pl.Expr:
        return wall.dt.replace_time_zone(
            zone.key, ambiguous="earliest", non_existent="null"
        ).dt.convert_time_zone("UTC")

    # where the clock skips midnight, the day begins 24 hours after the previous one did
    return pl.coalesce(at(local), at(local - pl.duration(hours=24)) + pl.duration(hours=24))


def day_end(day: pl.Expr, zone: ZoneInfo) -> pl.Expr:
    """The instant at which a date ends in the zone: 00:00 of the next day."""
    return day_start(day.dt.offset_by("1d"), zone)


def local_days(instants: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Calendar days, since the epoch, of instants in a zone."""
    local = pl.Series(instants).cast(INSTANT).dt.convert_time_zone(zone)
    return local.dt.date().to_physical().cast(pl.Int64).to_numpy()
