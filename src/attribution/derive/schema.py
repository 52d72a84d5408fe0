"""The columns that deriving reads and makes, and how a missing one reads: as null, never as zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from zoneinfo import ZoneInfo

import polars as pl

from attribution.mapping import Mapping

__all__ = ["EVIDENCE", "INSTANT", "Cutoff", "Records", "columns", "day_end", "day_start", "follow", "never"]

INSTANT = pl.Datetime("us", "UTC")
LATE = 14
"""Days between an act and its record from which it is flagged ``logged_late`` (RULES 4.1)."""

_TYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    "_deleted": pl.Boolean,
    "_synced_at": INSTANT,
    "SystemModstamp": INSTANT,
    "CreatedDate": INSTANT,
    "ActivityDateTime": INSTANT,
    "EndDateTime": INSTANT,
    "ActivityDate": pl.Date,
    "EndDate": pl.Date,
    "CloseDate": pl.Date,
    "ConvertedDate": pl.Date,
    "DurationInMinutes": pl.Int64,
    "FiscalYearStartMonth": pl.Int64,
    "Amount": pl.Decimal(38, 18),
    "Probability": pl.Decimal(38, 18),
}
_TRUTHS = (
    "IsClosed",
    "IsWon",
    "IsActive",
    "IsPartner",
    "IsAllDayEvent",
    "UsesStartDateAsFiscalYearName",
    "IsChild",
    "IsRecurrence",
)

EVIDENCE: dict[str, pl.DataType | type[pl.DataType]] = {
    "object": pl.String,
    "record": pl.String,
    "partner": pl.String,
    "occurred_at": INSTANT,
    "recorded_at": INSTANT,
    "kind": pl.String,
    "strength": pl.Int8,
    "opportunity": pl.String,
    "account": pl.String,
    "explicit": pl.Boolean,
    "recorded_by": pl.String,
    "host": pl.String,
    "role": pl.String,
}
"""What every source of touchpoints returns: one row per (record, partner).

``opportunity`` names the deal; where it is null, ``account`` goes by the account rule; where both are, the
touch is an orphan. ``explicit`` rows count on a partner's own deal. ``host`` is a meeting's internal user.
"""


class Records(Protocol):
    """The mirror, as deriving sees it."""

    def newest(self, object: str) -> pl.LazyFrame | None:
        """Newest version of each record, deleted ones too (``_deleted``); None where nothing is mirrored."""

    def versions(self, object: str) -> pl.LazyFrame | None:
        """Every version of each record, with ``_synced_at``; None where nothing is mirrored."""


@dataclass(frozen=True, slots=True)
class Cutoff:
    """What may be seen: events up to ``as_of``, records made up to ``known_at``; and the org's days."""

    as_of: int
    """Microseconds since the epoch."""
    known_at: int | None
    current: bool
    """Whether the records themselves, and not their history, tell the state as of this instant."""
    zone: ZoneInfo

    def happened(self, instant: str) -> pl.Expr:
        """Whether an instant column lies at or before as_of."""
        return pl.col(instant).dt.epoch("us") <= self.as_of

    def known(self, instant: str = "CreatedDate") -> pl.Expr:
        """Whether a record was made at or before known_at."""
        if self.known_at is None:
            return pl.lit(True)
        return pl.col(instant).dt.epoch("us") <= self.known_at


def columns(
    frame: pl.LazyFrame | None, *names: str, mapping: Mapping | None = None, **flags: pl.Expr
) -> pl.DataFrame:
    """Read these columns of a mirrored object, as their types; one that the org lacks is all null.

    ``flags`` are further columns, each true or false, worked out of any of the object's fields. An object
    that is not mirrored reads as no rows.
    """
    types = {name: _type(name, mapping) for name in names}
    if frame is None:
        return pl.DataFrame(schema={**types, **dict.fromkeys(flags, pl.Boolean)})
    there = frame.collect_schema().names()
    read = [
        (pl.col(name) if name in there else pl.lit(None)).cast(kind).alias(name)
        for name, kind in types.items()
    ]
    return frame.select(*read, **flags).collect()


def _type(name: str, mapping: Mapping | None) -> pl.DataType | type[pl.DataType]:
    if mapping is not None and name == mapping.amount_field:
        return pl.Decimal(38, 18)
    return pl.Boolean if name in _TRUTHS else _TYPES.get(name, pl.String)


def day_start(day: pl.Expr, zone: ZoneInfo) -> pl.Expr:
    """The instant at which a date begins in the zone; a date itself is never shifted."""
    # where the clock skips midnight, the day begins with the first minute that exists: 24 hours after the
    # previous midnight never differs from it by a calendar day
    local = day.cast(pl.Datetime("us")).dt.replace_time_zone(
        zone.key, ambiguous="earliest", non_existent="null"
    )
    skipped = (
        (day.cast(pl.Datetime("us")) - pl.duration(hours=24))
        .dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
        .dt.convert_time_zone("UTC")
    ) + pl.duration(hours=24)
    return pl.coalesce(local.dt.convert_time_zone("UTC"), skipped)


def day_end(day: pl.Expr, zone: ZoneInfo) -> pl.Expr:
    """The instant at which a date ends in the zone: 00:00 of the next day."""
    return day_start(day.dt.offset_by("1d"), zone)


def local_day(instant: pl.Expr, zone: ZoneInfo) -> pl.Expr:
    """The date of an instant in the zone."""
    return instant.dt.convert_time_zone(zone.key).dt.date()


def never() -> pl.Expr:
    """A null instant."""
    return pl.lit(None, dtype=INSTANT)


def follow(links: dict[str, str]) -> dict[str, str]:
    """Follow each chain of links to its end; the members of a ring all lead to its smallest.

    Examples
    --------
    >>> follow({"a": "b", "b": "c"})
    {'a': 'c', 'b': 'c'}
    """
    ends: dict[str, str] = {}
    for start in links:
        path, at = [], start
        seen = set()
        while at in links and at not in ends and at not in seen:
            seen.add(at)
            path.append(at)
            at = links[at]
        end = min(path[path.index(at) :]) if at in seen else ends.get(at, at)
        ends.update(dict.fromkeys(path, end))
    return ends
