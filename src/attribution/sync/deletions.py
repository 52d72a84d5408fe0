"""What the CRM lists as deleted, held against what was read of the same records."""

from __future__ import annotations

from typing import Final

import polars as pl

from attribution.arrays import INSTANT
from attribution.mirror.log import ObjectLog
from attribution.mirror.pages import Pages
from attribution.sync.source import Source

__all__ = ["DELETION", "without_undeleted"]

DELETION: Final = {"Id": pl.String(), "deleted_at": INSTANT}
"""A record that is gone, and since when."""


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
