"""Which of the versions of a record is the newest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

__all__ = ["OWN", "marked", "newest", "newest_of"]

OWN: Final = ("_synced_at", "_deleted")
"""Columns of a version that are no fields of Salesforce's."""


def newest(versions: pl.LazyFrame) -> pl.LazyFrame:
    """The newest version of every record, tombstones included.

    Examples
    --------
    >>> versions = pl.LazyFrame({"Id": ["a", "b", "a"], "_synced_at": [1, 1, 2], "Rank": [7, 8, 9]})
    >>> newest(versions).sort("Id").collect()["Rank"].to_list()
    [9, 8]
    """
    commits = versions.group_by("_synced_at").len().sort("len", "_synced_at").collect()
    if commits.height < 2:
        return versions
    # Ids are unique within a commit, so the largest commit needs no deduplication: grouping every
    # version instead takes several times as long, because most records never change.
    base_at = commits.item(-1, "_synced_at")
    base = versions.filter(pl.col("_synced_at") == base_at)
    rest = versions.filter(pl.col("_synced_at") != base_at)
    latest = rest.group_by("Id").agg(pl.col("_synced_at").max())
    rest = rest.join(latest, on=["Id", "_synced_at"], how="semi")
    newer = rest.filter(pl.col("_synced_at") > base_at)
    older = rest.filter(pl.col("_synced_at") < base_at).join(base.select("Id"), on="Id", how="anti")
    return pl.concat([base.join(newer.select("Id"), on="Id", how="anti"), newer, older])


def newest_of(versions: pl.LazyFrame, ids: pl.Series, fields: Sequence[str] | None = None) -> pl.DataFrame:
    """The newest version of each of some records, tombstones included: these fields, or all."""
    # is_in goes into the scan, which then decodes no other row: a join of the ids reads them all; the
    # ends skip whole files, because Salesforce delivers what is large in the order of the ids
    among = pl.col("Id").is_between(pl.lit(ids.min()), pl.lit(ids.max()))
    asked = versions.filter(among, pl.col("Id").is_in(ids.implode()))
    latest = asked.group_by("Id").agg(pl.col("_synced_at").max()).collect(engine="streaming")
    found = versions.filter(among, pl.col("Id").is_in(latest["Id"].implode()))
    if fields is not None:
        found = found.select("Id", *fields, *OWN)
    found = found.join(latest.lazy(), on=["Id", "_synced_at"], how="semi", maintain_order="left")
    # somebody else may have written two versions of one instant
    return found.collect(engine="streaming").unique("Id", keep="last", maintain_order=True)


def marked(rows: pl.DataFrame) -> pl.DataFrame:
    """Records as versions: with ``_deleted``, which says what ``IsDeleted`` says where there is one."""
    gone = pl.col("IsDeleted").fill_null(False) if "IsDeleted" in rows.columns else pl.lit(False)
    return rows.with_columns(gone.alias("_deleted"))
