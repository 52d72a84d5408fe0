"""What the CRM lists as deleted, held against what was read of the same records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from attribution.arrays import INSTANT
from attribution.errors import CrmError, TransientCrmError
from attribution.mirror.log import ObjectLog
from attribution.mirror.pages import Pages
from attribution.mirror.versions import OWN
from attribution.sync.planning import Planned
from attribution.sync.reconciliation import is_too_many
from attribution.sync.report import iso
from attribution.sync.source import Source
from attribution.sync.watermark import deletion_span

__all__ = ["Told", "confirmed", "told_deletions", "vanished"]

_DELETION: Final = {"Id": pl.String(), "deleted_at": INSTANT}
"""A record that is gone, and since when."""
_SAMPLE: Final = 1_000
"""Of more deletions than this, about so many are asked for."""
_COMPARED_EVERY: Final = timedelta(days=1)
"""How often every id is compared where Salesforce does not tell what was purged."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the log of deleted records says, and what it no longer says."""

    rows: pl.DataFrame | None
    """Records that are gone; None where the log is not told."""
    covered_until: datetime | None
    """Up to which instant that is all of them; None where some may lack."""
    compared_until: datetime | None
    """Up to which instant all are known once every id is compared; None where that need not be done."""
    warnings: tuple[str, ...]


def told_deletions(source: Source, name: str, before: datetime, until: datetime) -> Told:
    """Ask which records are gone since an instant up to which that is known.

    Raises
    ------
    TransientCrmError
        If the CRM cannot be asked now.
    """
    span = deletion_span(before, source.server_time)
    try:
        found = source.deletions(name, span.since, span.until)
    except TransientCrmError:
        raise
    except CrmError as error:
        # the log of deleted records may not reach back far enough, or be none of this user's business
        warning = (
            f"{name}: Salesforce does not tell what was purged since {iso(before)} ({error}): "
            "every id is compared instead, once a day"
        )
        return Told(None, None, until if until - before >= _COMPARED_EVERY else None, (warning,))
    if span.has_gap or (found.available_since is not None and found.available_since > before):
        warning = (
            f"{name}: Salesforce no longer tells everything that was purged since {before:%Y-%m-%d}: "
            "every id is compared instead"
        )
        # known only once that is done: a sync that is killed before finds the gap again
        return Told(found.rows, None, found.covered_until, (warning,))
    covered_until = found.covered_until if found.covered_until > before else None
    return Told(found.rows, covered_until, None, ())


def vanished(
    source: Source,
    planned: Planned,
    log: ObjectLog,
    read: Pages,
    until: datetime,
    most_percent: float,
    every_id: Callable[[], pl.Series] | None,
) -> Told:
    """Records gone from an object that neither marks nor lists what was deleted: a count tells.

    Parameters
    ----------
    read
        The records of the window up to ``until``.
    most_percent
        Part of the records above which none that vanished is taken for deleted.
    every_id
        Reads the ids of all that there are; None where ``read`` is all of them.
    """
    nothing, name, where = Told(None, None, None, ()), planned.description.name, planned.reading.where
    if "IsDeleted" in planned.fields or not log.exists:
        return nothing
    stored = log.newest().filter(~pl.col("_deleted")).select("Id").collect()["Id"]
    there = read.scan().select("Id").collect()["Id"]
    held = pl.concat([stored, there]).unique()
    if every_id is not None:
        try:
            if source.count(name, where) == held.len():
                return nothing
        except TransientCrmError as error:
            if not source.is_too_slow(error):
                raise
        there = every_id()
    gone = held.filter(~held.is_in(there.implode()))
    is_emptied = there.is_empty() and gone.len() > 0 and most_percent < 100
    if is_emptied or is_too_many(gone.len(), held.len(), most_percent):
        warning = (
            f"{name}: {gone.len():,} of {held.len():,} records have vanished, which looks like lost access: "
            "none of them was touched; allow it with --max-vanished-percent"
        )
        return Told(None, None, None, (warning,))
    rows = pl.DataFrame({"Id": gone, "deleted_at": [until] * gone.len()}, schema=_DELETION)
    return Told(rows, None, None, ())


def confirmed(deletions: pl.DataFrame, rows: Pages, log: ObjectLog, source: Source) -> pl.DataFrame:
    """Those of the listed deletions of live records that the CRM does not show alive.

    It may have listed them wrongly, or they were undeleted since. Of a record that was stamped and deleted in
    one second, nothing but that tells which came last.
    """
    asked = deletions.group_by("Id", maintain_order=True).agg(pl.col("deleted_at").max())
    is_asked = pl.col("Id").is_in(asked["Id"].implode())
    names = [name for name in ("SystemModstamp", "IsDeleted") if name in rows.schema]
    read = rows.scan().select("Id", *names).filter(is_asked).collect()
    read = read.unique("Id", keep="last", maintain_order=True)
    stored = log.newest_of(asked["Id"], [name for name in names if name in log.fields])
    stored = stored.filter(~pl.col("_deleted")).drop(OWN)
    state = pl.concat([stored.join(read, on="Id", how="anti"), read], how="diagonal")
    if "IsDeleted" in names:
        # these become tombstones by themselves
        state = state.filter(~pl.col("IsDeleted").fill_null(value=False))
    told = asked.join(state, on="Id", how="inner", maintain_order="left")
    if "SystemModstamp" in names:
        second = pl.col("SystemModstamp").dt.truncate("1s")
        told = told.filter(second.is_null() | (second <= pl.col("deleted_at").dt.truncate("1s")))
        # a tombstone must be later than the version it ends
        after = (pl.col("SystemModstamp") + pl.duration(microseconds=1)).cast(INSTANT)
        told = told.with_columns(pl.max_horizontal("deleted_at", after))
    live = sorted(_live(source, log.object, told["Id"].sort().to_list()))
    return told.filter(~pl.col("Id").is_in(live)).select(list(_DELETION))


def _live(source: Source, name: str, ids: list[str]) -> set[str]:
    """Those of the records that are live; of many, none is where none of a sample is."""
    sample = ids[:: max(1, len(ids) // _SAMPLE)]
    live = source.are_live(name, sample) if sample else set()
    return source.are_live(name, ids) if live and len(sample) < len(ids) else live
