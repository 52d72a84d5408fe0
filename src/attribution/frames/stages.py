"""The table of stages: when a deal was reopened."""

from __future__ import annotations

import numpy as np
import polars as pl

from attribution.columns import OPEN, Ints, micros
from attribution.frames.deals import DealRows
from attribution.tables import Columns

__all__ = ["last_open_spells"]


def last_open_spells(stages: object, rows: DealRows) -> Ints:
    """Per visible deal: when the last of two or more open spells before its close began (RULES 6.3)."""
    table = Columns(
        "stages",
        stages,
        key="deal_id",
        required=("deal_id", "stage", "entered_at"),
        optional=("is_closed",),
    )
    row = rows.rows_of(table)
    stage = table.text("stage", null=False, checked=False)
    entered, is_closed = micros(table.instants("entered_at", null=False)), table.boolean("is_closed")
    deal = rows.position[row]
    spells = (
        pl.DataFrame(
            {
                "deal": deal,
                "stage": stage,
                "entered_at": entered,
                "open": ~is_closed.fill_null(value=False),
                "created_at": rows.created_at[row],
                "closed_at": rows.closed_at[row],
            }
        )
        .filter(pl.col("deal") >= 0, pl.col("entered_at") <= rows.view.as_of, pl.col("closed_at") < OPEN)
        .sort("deal", "entered_at", maintain_order=True)
        .filter(pl.struct("deal", "stage").rle_id().diff().fill_null(1) != 0)
    )
    unknown = (
        spells.group_by("deal", maintain_order=True)
        .first()
        .filter(pl.col("entered_at") > pl.col("created_at"))
        .with_columns(entered_at="created_at", open=True)
    )
    last = (
        pl.concat([spells, unknown])
        .filter("open", pl.col("entered_at") < pl.col("closed_at"))
        .group_by("deal")
        .agg(n=pl.len(), at=pl.col("entered_at").max())
        .filter(pl.col("n") >= 2)
    )
    reopened = np.full(len(rows.order), OPEN)
    reopened[last["deal"].to_numpy()] = last["at"].to_numpy()
    return reopened
