"""Stages: the history of each opportunity, oldest first, and the spells it spent in a stage (RULES 1.6)."""

from __future__ import annotations

import numpy as np
import polars as pl

from attribution.columns import UNKNOWN_STAGE, SpellColumns, Stage, micros, read_only
from attribution.derive.schema import View, in_order

__all__ = [
    "LOST",
    "OPEN",
    "WON",
    "history",
    "last_open_spells",
    "outcome",
    "pushes",
    "runs",
    "spell_columns",
    "spells",
    "stage_names",
]

OPEN, WON, LOST = 0, 1, 2


def stage_names(view: View) -> pl.DataFrame:
    """What each name of a stage means: by API name before label, active stages before others.

    Columns: ``name``, as records spell it; ``stage``, its label; ``stage_outcome``; ``place`` in the process.
    """
    stages = view.live(
        "OpportunityStage", "Id", "ApiName", "MasterLabel", "IsActive", "IsClosed", "IsWon", "SortOrder"
    ).collect()
    named = [
        stages.select(
            name=spelled,
            stage=pl.coalesce("MasterLabel", "ApiName"),
            stage_outcome=outcome(pl.col("IsClosed"), pl.col("IsWon")),
            place="SortOrder",
            rank=pl.lit(rank),
            inactive=~pl.col("IsActive").fill_null(value=False),
            id="Id",
        )
        for rank, spelled in enumerate(("ApiName", "MasterLabel"))
    ]
    ranked = pl.concat(named).drop_nulls("name").sort("rank", "inactive", "id")
    return ranked.unique("name", keep="first", maintain_order=True).drop("rank", "inactive", "id")


def history(view: View, found: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """History rows by ``deal``, oldest first, with the stage and the outcome that they mean."""
    unknown = (
        pl.when(pl.col("ForecastCategory") == "Closed")
        .then(WON)
        .when((pl.col("Probability") == 0) & (pl.col("ForecastCategory") == "Omitted"))
        .then(LOST)
        .otherwise(OPEN)
    )
    rows = (
        view.live(
            "OpportunityHistory",
            *("Id", "OpportunityId", "StageName", "Amount", "CloseDate", "Probability", "ForecastCategory"),
            *("CreatedDate", "SystemModstamp"),
        )
        .join(found.lazy().select("deal", "Id"), left_on="OpportunityId", right_on="Id", how="inner")
        .join(names.lazy(), left_on="StageName", right_on="name", how="left")
        .select(
            *("deal", "Id", "Amount", "CloseDate", "CreatedDate", "SystemModstamp"),
            outcome=pl.coalesce("stage_outcome", unknown).cast(pl.Int8),
            # a stage that nobody lists is its own name
            stage=pl.coalesce("stage", "StageName"),
        )
        .collect()
    )
    return in_order(rows, "deal", "CreatedDate", "SystemModstamp", "Id").drop("Id", "SystemModstamp")


def outcome(closed: pl.Expr, won: pl.Expr) -> pl.Expr:
    """Open, won or lost, of the two flags that a stage and an opportunity have."""
    return pl.when(closed & won).then(WON).when(closed).then(LOST).otherwise(OPEN).cast(pl.Int8)


def runs(what: str, of: str) -> pl.Expr:
    """Number of the unbroken run of equal values that each row, in order, belongs to."""
    return (
        ((pl.col(of) != pl.col(of).shift(1)) | pl.col(what).ne_missing(pl.col(what).shift(1)))
        .fill_null(value=True)
        .cum_sum()
    )


def spells(
    found: pl.DataFrame, history: pl.DataFrame, visible: pl.DataFrame, names: pl.DataFrame
) -> pl.DataFrame:
    """Each stay of an opportunity in a stage, by ``deal``, oldest first: ``stage, entered_at, open``.

    Between its creation and its first history row the stage is unknown; without any row it has always been
    the current one.
    """
    begins = runs("stage", of="deal")
    told = visible.filter(begins != begins.shift(1, fill_value=0)).select(
        "deal", "stage", entered_at="CreatedDate", open=pl.col("outcome") == OPEN
    )
    first = visible.group_by("deal").agg(first_at=pl.col("CreatedDate").first())
    deals = found.select("deal", "CreatedDate", "StageName", "record_outcome").join(
        first, on="deal", how="left"
    )
    has_rows = pl.col("deal").is_in(history["deal"].unique().implode())
    current = (
        deals.filter(~has_rows)
        .join(names, left_on="StageName", right_on="name", how="left")
        .select(
            "deal",
            stage=pl.coalesce("stage", "StageName", pl.lit(UNKNOWN_STAGE)),
            entered_at="CreatedDate",
            open=pl.col("record_outcome") == OPEN,
        )
    )
    unknown = deals.filter(
        has_rows, pl.col("first_at").is_null() | (pl.col("first_at") > pl.col("CreatedDate"))
    ).select("deal", stage=pl.lit(UNKNOWN_STAGE), entered_at="CreatedDate", open=pl.lit(value=True))
    return in_order(pl.concat([unknown, current, told]).with_row_index("row"), "deal", "entered_at", "row")


def last_open_spells(spells: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """Per closed deal with two or more open spells before its close: when the last of them began."""
    closed = found.filter(pl.col("closed_at").is_not_null()).select("deal", "closed_at")
    return (
        spells.filter("open")
        .join(closed, on="deal", how="inner")
        .filter(pl.col("entered_at") < pl.col("closed_at"))
        .group_by("deal")
        .agg(spells=pl.len(), last_open_spell_at=pl.col("entered_at").max())
        .filter(pl.col("spells") >= 2)
        .drop("spells")
    )


def pushes(visible: pl.DataFrame) -> pl.DataFrame:
    """Per opportunity, how often its close date was moved to a later day while it stayed open."""
    same = pl.col("deal") == pl.col("deal").shift(1)
    later = pl.col("CloseDate") > pl.col("CloseDate").shift(1)
    return (
        visible.filter(same & later & (pl.col("outcome") == OPEN))
        .group_by("deal")
        .agg(close_date_pushes=pl.len().cast(pl.Int64))
    )


def spell_columns(
    spells: pl.DataFrame, names: pl.DataFrame, deals: pl.DataFrame
) -> tuple[SpellColumns, tuple[Stage, ...]]:
    """The spells of these deals as a snapshot holds them, and the stages in the order of the process.

    ``deals`` has the number of each deal among the spells (``row``) and the one it has now (``deal``).
    """
    kinds = spells.select("stage", "open").unique()
    places = names.group_by("stage").agg(pl.col("place").min())
    kinds = (
        kinds.join(places, on="stage", how="left")
        .sort(pl.col("stage") != UNKNOWN_STAGE, "place", "stage", ~pl.col("open"), nulls_last=True)
        .with_row_index("code")
    )
    stages = tuple(
        Stage(name, not is_open, place)
        for name, is_open, place in kinds.select("stage", "open", "place").rows()
    )
    rows = spells.join(kinds, on=("stage", "open"), how="left", maintain_order="left")
    now = np.full(int(spells["deal"].max() or 0) + 1, -1, dtype=np.int64)  # type: ignore[arg-type] # deals are numbered
    now[deals["row"].to_numpy()] = deals["deal"].to_numpy()
    deal = now[rows["deal"].to_numpy()]
    kept = deal >= 0
    columns = SpellColumns(
        offsets=np.searchsorted(deal[kept], np.arange(len(deals) + 1)).astype(np.int64),
        stage=rows["code"].to_numpy()[kept].astype(np.int16),
        entered_at=micros(rows["entered_at"])[kept],
    )
    return read_only(columns), stages
