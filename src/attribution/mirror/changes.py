"""What is new in records that were read: versions and tombstones to append."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import polars as pl

from attribution.arrays import INSTANT
from attribution.mirror.versions import marked

__all__ = ["changes", "differing", "tombstones"]

_DELETION: Final = {"Id": pl.String(), "deleted_at": INSTANT}
_AT_ONCE: Final = 100_000
"""Deletions of which the stored versions are in memory together."""


def changes(
    batches: Iterable[pl.DataFrame],
    deletions: pl.DataFrame | None,
    newest_of: Callable[[pl.Series], pl.DataFrame] | None,
) -> Iterator[pl.DataFrame]:
    """Versions to append: rows that differ from the newest stored ones, then new tombstones.

    Parameters
    ----------
    batches
        Records as read, each once.
    deletions
        ``Id`` and ``deleted_at`` of records said to be gone.
    newest_of
        Gives the newest stored versions of records by their ids; None: nothing is stored yet.
    """
    if newest_of is None:
        yield from map(marked, batches)
        return
    gone = pl.DataFrame(schema=_DELETION) if deletions is None else deletions
    gone = gone.group_by("Id", maintain_order=True).agg(pl.col("deleted_at").max())
    for batch in batches:
        rows = marked(batch)
        stored = newest_of(rows["Id"])
        changed = differing(rows, stored)
        here = gone.join(rows, on="Id", how="semi")
        if not here.is_empty():
            gone = gone.join(here, on="Id", how="anti")
            unchanged = stored.drop("_synced_at").join(changed, on="Id", how="anti")
            ended = tombstones(pl.concat([unchanged, changed], how="diagonal"), here)
            changed = pl.concat([changed.join(ended, on="Id", how="anti"), ended], how="diagonal")
        yield changed
    for part in gone.iter_slices(_AT_ONCE):
        yield tombstones(newest_of(part["Id"]).drop("_synced_at"), part)


def differing(rows: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Rows that differ from the stored version of their record, with the columns that only that one has."""
    places = stored.select("Id", pl.row_index("place"))
    place = rows.select("Id").join(places, on="Id", how="left", maintain_order="left")["place"]
    # column by column, so that no third copy of the rows is made
    is_same = place.is_not_null()
    for name in rows.columns:
        was = (
            stored[name].gather(place) if name in stored.columns else pl.repeat(None, rows.height, eager=True)
        )
        is_same &= rows[name].eq_missing(was)
    place = place.filter(~is_same)
    kept = [name for name in stored.columns if name not in rows.columns and name != "_synced_at"]
    return rows.filter(~is_same).with_columns(stored[name].gather(place) for name in kept)


def tombstones(state: pl.DataFrame, deletions: pl.DataFrame) -> pl.DataFrame:
    """The last live version of every record that is gone, marked deleted at the instant it went."""
    latest = deletions.group_by("Id").agg(pl.col("deleted_at").max())
    gone = state.filter(~pl.col("_deleted")).join(latest, on="Id", how="inner")
    marks = [pl.lit(True).alias("_deleted")]
    if "SystemModstamp" in state.columns:
        gone = gone.filter(pl.col("deleted_at") > pl.col("SystemModstamp"))
        marks.append(pl.col("deleted_at").alias("SystemModstamp"))
    if "IsDeleted" in state.columns:
        marks.append(pl.lit(True).alias("IsDeleted"))
    return gone.with_columns(marks).drop("deleted_at")
