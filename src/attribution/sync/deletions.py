"""What the CRM lists as deleted, held against what was read of the same records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from attribution.arrays import INSTANT
from attribution.errors import CrmError, TransientCrmError
from attribution.mirror.log import ObjectLog
from attribution.mirror.pages import Pages
from attribution.sync.report import iso
from attribution.sync.source import Source
from attribution.sync.watermark import deletion_span

__all__ = ["DELETION", "Told", "told_deletions", "without_undeleted"]

DELETION: Final = {"Id": pl.String(), "deleted_at": INSTANT}
"""A record that is gone, and since when."""
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


def without_undeleted(deletions: pl.DataFrame, rows: Pages, log: ObjectLog, source: Source) -> pl.DataFrame:
    """Decide about records stamped and deleted in one second by asking which of them are live."""
    if deletions.is_empty() or "SystemModstamp" not in rows.schema:
        return deletions
    asked = deletions.group_by("Id").agg(pl.col("deleted_at").max())
    is_asked = pl.col("Id").is_in(asked["Id"].implode())
    read = rows.scan().select("Id", "SystemModstamp").filter(is_asked).collect()
    read = read.unique("Id", keep="last", maintain_order=True)
    stored = log.newest_of(asked["Id"], ("SystemModstamp",))
    stored = stored.filter(~pl.col("_deleted")).select("Id", "SystemModstamp")
    stamps = pl.concat([stored.join(read, on="Id", how="anti"), read])
    tied = stamps.join(asked, on="Id", how="inner").filter(
        pl.col("SystemModstamp").dt.truncate("1s") == pl.col("deleted_at").dt.truncate("1s")
    )
    if tied.is_empty():
        return deletions
    live = source.are_live(log.object, sorted(tied["Id"]))
    # a tombstone must be later than the version it ends
    just_after = (
        tied.filter(~pl.col("Id").is_in(sorted(live)))
        .select("Id", (pl.col("SystemModstamp") + pl.duration(microseconds=1)).alias("deleted_at"))
        .cast({"deleted_at": INSTANT})
    )
    return pl.concat([deletions.filter(~pl.col("Id").is_in(tied["Id"].to_list())), just_after])
