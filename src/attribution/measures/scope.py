"""What an audit looks at: the deals that are examined, and the evidence on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attribution.columns import DAY, KINDS, Bools, Ints
from attribution.deals import Deals
from attribution.measures.wording import noun

__all__ = ["RAW", "Found", "Scope", "days", "texts", "told"]

_INSTANT: Final = pl.Datetime("us", "UTC")
RAW: Final[dict[str, Any]] = {
    "kind": pl.String,
    "deal": pl.Int64,
    "partner": pl.Int64,
    "evidence": pl.String,
    "occurred_at": _INSTANT,
    "recorded_at": _INSTANT,
    "other_id": pl.String,
    "score": pl.Float64,
    "minor": pl.Int64,
    "finding": pl.String,
}
"""Columns of a finding: deal and partner by position, -1 for none; the amount in minor units."""
Found = tuple[str, pl.DataFrame | None, Bools, str | None]
"""A kind; its findings (None: not examined); the deals that they concern; what was not examined."""


@dataclass(frozen=True, eq=False)
class Scope:
    """The deals that are examined, and the evidence on them."""

    deals: Deals
    positions: Ints

    @cached_property
    def chosen(self) -> Bools:
        """Per deal of the snapshot: whether it is examined."""
        chosen = np.zeros(len(self.deals.snapshot.deals), dtype=bool)
        chosen[self.positions] = True
        return chosen

    @cached_property
    def any_evidence(self) -> Bools:
        """Per touchpoint of the snapshot: it ties a partner to a deal."""
        kind = self.deals.snapshot.touchpoints.kind
        evidence: Bools = self.deals.involved & (kind != KINDS.index("handed_over"))
        return evidence

    @cached_property
    def evidence(self) -> Bools:
        """The same, on the deals that are examined."""
        evidence: Bools = self.any_evidence & self.chosen[self.deals.deal_of]
        return evidence

    @cached_property
    def closed_at(self) -> Ints:
        """Per touchpoint: the close of its deal; ``OPEN`` while open."""
        closed_at: Ints = self.deals.snapshot.deals.closed_at[self.deals.deal_of]
        return closed_at

    @cached_property
    def recorded_at(self) -> Ints:
        """Per touchpoint."""
        columns = self.deals.snapshot.touchpoints
        recorded: Ints = (
            columns.recorded_at if columns.cold_at is None else columns.recorded_at[columns.cold_at]
        )
        return recorded

    def of_kinds(self, *names: str) -> Bools:
        """Per touchpoint: it is of one of these kinds."""
        codes = [self.deals.snapshot.kinds.index(name) for name in names]
        mask: Bools = np.isin(self.deals.snapshot.touchpoints.kind, codes)
        return mask

    def nouns(self, kind: NDArray[np.int8]) -> pl.Series:
        """What people call touchpoints of these kinds."""
        names = [noun(name) for name in self.deals.snapshot.kinds]
        return pl.Series(names, dtype=pl.String).gather(kind.astype(np.int64))

    def partners_of(self, codes: pl.Expr, what: str = "name") -> pl.Expr:
        """Names, or ids, of partners by code; null for -1."""
        values = [getattr(party, what) for party in self.deals.partners]
        return codes.replace_strict(range(len(values)), values, default=None, return_dtype=pl.String)

    def stake(self, deal: NDArray[np.integer[Any]]) -> Bools:
        """Per deal of the snapshot: it is one of these; -1 is none."""
        mask = np.zeros(len(self.chosen), dtype=bool)
        mask[deal[deal >= 0]] = True
        return mask & self.chosen

    def touches(self, rows: Ints) -> pl.DataFrame:
        """Touchpoints at these positions: what every finding says of one, and ``what, closed, created``."""
        snapshot = self.deals.snapshot
        columns, deal = snapshot.touchpoints, self.deals.deal_of[rows].astype(np.int64)
        cold = rows if columns.cold_at is None else columns.cold_at[rows]
        source = pl.Series(snapshot.objects, dtype=pl.String).gather(columns.object[cold].astype(np.int64))
        frame = pl.DataFrame(
            {
                "deal": deal,
                "partner": columns.partner[rows].astype(np.int64),
                "object": source,
                "record": pl.Series(columns.record[cold]).cast(pl.String)
                if len(rows)
                else pl.Series([], dtype=pl.String),
                "occurred_at": columns.occurred_at[rows],
                "recorded_at": self.recorded_at[rows],
                "closed": snapshot.deals.closed_at[deal],
                "created": snapshot.deals.created_at[deal],
                "what": self.nouns(columns.kind[rows]),
            }
        )
        in_crm = pl.concat_str("object", "record", self.partners_of(pl.col("partner"), "id"), separator=":")
        return frame.with_columns(
            evidence=pl.when(pl.col("object") == "").then("record").otherwise(in_crm),
            other_id=pl.lit(None, pl.String),
            score=pl.lit(None, pl.Float64),
            minor=self.minor(deal),
        )

    def minor(self, deal: Ints) -> pl.Series:
        """Amounts of deals in minor units; null without a deal or an amount."""
        columns = self.deals.snapshot.deals
        if not len(columns):
            return pl.Series([None] * len(deal), dtype=pl.Int64)
        known = (deal >= 0) & columns.valued[deal]
        return pl.Series(columns.amount[deal]).zip_with(pl.Series(known), pl.Series([None], dtype=pl.Int64))


def days(micros: pl.Expr) -> pl.Expr:
    """Days, to a tenth."""
    return (micros / DAY).round(1)


def told(frame: pl.DataFrame, kind: str, finding: pl.Expr) -> pl.DataFrame:
    """The rows as findings of a kind, with their sentence."""
    found = frame.with_columns(kind=pl.lit(kind), finding=finding)
    instants = [
        pl.from_epoch(name, "us").dt.replace_time_zone("UTC") for name in ("occurred_at", "recorded_at")
    ]
    return found.with_columns(instants)


def texts(values: NDArray[np.bytes_]) -> pl.Series:
    """Fixed-width bytes as text."""
    # polars takes no empty array of bytes
    return pl.Series(values).cast(pl.String) if len(values) else pl.Series([], dtype=pl.String)
