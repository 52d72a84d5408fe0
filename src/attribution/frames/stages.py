"""The table of stages: the spells of each deal, and the order of the stages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from attribution.arrays import codes_of
from attribution.columns import OPEN, UNKNOWN_STAGE, Ints, SpellColumns, Stage, micros
from attribution.errors import UsageError
from attribution.frames.deals import DealRows
from attribution.tables import Columns

__all__ = ["Stages"]

_MOST = np.iinfo(np.int16).max


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """What the table tells of the visible deals."""

    spells: SpellColumns
    stages: tuple[Stage, ...]
    last_open_spell_at: Ints
    """Per deal: when the last of two or more open spells before its close began (RULES 6.3)."""

    @classmethod
    def untold(cls, rows: DealRows) -> Stages:
        """Without a table nothing is known of stages, and no deal was reopened."""
        n = len(rows.order)
        nowhere = np.zeros(n + 1, dtype=np.int64)
        spells = SpellColumns(nowhere, np.empty(0, dtype=np.int16), np.empty(0, dtype=np.int64))
        return cls(spells, (), np.full(n, OPEN))

    @classmethod
    def read(cls, stages: object, rows: DealRows) -> Stages:
        """Check every row, then make spells of those that are visible."""
        table = Columns(
            "stages",
            stages,
            key="deal_id",
            required=("deal_id", "stage", "entered_at"),
            optional=("is_closed",),
        )
        row = rows.rows_of(table)
        given = pl.DataFrame(
            {
                "deal": rows.position[row],
                "stage": table.text("stage", null=False, checked=False),
                "entered_at": micros(table.instants("entered_at", null=False)),
                "open": ~table.boolean("is_closed").fill_null(value=False),
                "created_at": rows.created_at[row],
            }
        )
        seen = (
            given.filter(pl.col("deal") >= 0, pl.col("entered_at") <= rows.view.as_of)
            .sort("deal", "entered_at", maintain_order=True)
            .filter(pl.struct("deal", "stage").rle_id().diff().fill_null(1) != 0)
        )
        unknown = (
            seen.group_by("deal", maintain_order=True)
            .first()
            .filter(pl.col("entered_at") > pl.col("created_at"))
            .with_columns(entered_at="created_at", stage=pl.lit(UNKNOWN_STAGE), open=pl.lit(value=True))
            .select(seen.columns)
        )
        spells = pl.concat([unknown, seen]).sort("deal", "entered_at", maintain_order=True)
        names = _in_order(given["stage"].unique(maintain_order=True), seen)
        if len(names) > _MOST // 2:
            raise UsageError(
                f"stages: column 'stage' has {len(names):,} different values",
                hint=f"at most {_MOST // 2:,} are possible: is it the right column?",
            )
        known = (UNKNOWN_STAGE, *names)
        # one name may stand for open spells and, elsewhere, for closed ones
        code = 2 * codes_of(spells["stage"], known) + ~spells["open"].to_numpy()
        columns = SpellColumns(
            offsets=np.searchsorted(spells["deal"].to_numpy(), np.arange(len(rows.order) + 1)).astype(
                np.int64
            ),
            stage=code.astype(np.int16),
            entered_at=spells["entered_at"].to_numpy().astype(np.int64),
        )
        kinds = tuple(
            Stage(name, is_closed, None if name == UNKNOWN_STAGE else place)
            for place, name in enumerate(known)
            for is_closed in (False, True)
        )
        return cls(columns, kinds, _last_open_spells(spells, rows))


def _last_open_spells(spells: pl.DataFrame, rows: DealRows) -> Ints:
    closed_at = rows.closed_at[rows.order][spells["deal"].to_numpy()]
    last = (
        spells.with_columns(closed_at=closed_at)
        .filter("open", pl.col("closed_at") < OPEN, pl.col("entered_at") < pl.col("closed_at"))
        .group_by("deal")
        .agg(n=pl.len(), at=pl.col("entered_at").max())
        .filter(pl.col("n") >= 2)
    )
    reopened = np.full(len(rows.order), OPEN)
    reopened[last["deal"].to_numpy()] = last["at"].to_numpy()
    return reopened


def _in_order(names: pl.Series, seen: pl.DataFrame) -> tuple[str, ...]:
    """The stages in the order in which most deals first came to them; equal ones as the table names them.

    Of two stages that some deals went through both of, the one that more of them entered first comes before;
    a stage comes the earlier, the more stages it comes before.
    """
    listed = tuple(name for name in names if name != UNKNOWN_STAGE)
    code = codes_of(seen["stage"], (*listed, UNKNOWN_STAGE)).astype(np.int64)
    first = seen.with_columns(code=code).unique(["deal", "stage"], keep="first", maintain_order=True)
    deal, code, n = first["deal"].to_numpy(), first["code"].to_numpy(), len(listed) + 1
    before = np.zeros(n * n, dtype=np.int64)
    apart = 1
    while (same := deal[apart:] == deal[:-apart]).any():
        before += np.bincount(code[:-apart][same] * n + code[apart:][same], minlength=n * n)
        apart += 1
    ahead = before.reshape(n, n)[:-1, :-1]
    rank = np.sign(ahead - ahead.T).sum(axis=1)
    return tuple(listed[at] for at in np.argsort(-rank, kind="stable"))
