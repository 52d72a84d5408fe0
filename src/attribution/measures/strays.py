"""What an audit finds beside deals: evidence without one, partners twice, records that are gone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from attribution import money
from attribution.columns import DAY
from attribution.measures.likeness import alike
from attribution.measures.scope import RAW, Found, Scope, told

__all__ = ["dangling", "duplicates", "stranded"]


def stranded(scope: Scope) -> Iterator[Found]:
    """Evidence that reached no deal under this policy."""
    snapshot = scope.deals.snapshot
    columns, stranded = snapshot.touchpoints, snapshot.stranded
    nothing = scope.stake(np.empty(0, int))
    if snapshot.dangling is None:
        for kind in ("ambiguous", "orphan"):
            yield kind, None, nothing, "every row of the tables names its deal"
        return
    window = scope.deals.policy.influence_window_days * DAY
    crowded = columns.reach_below <= window
    beyond = ~crowded & (columns.reach_from > window)
    for kind, always, here, why in (
        ("ambiguous", stranded.ambiguous, crowded, "several deals were in reach"),
        ("orphan", ~stranded.ambiguous, beyond, "no deal was in reach"),
    ):
        frame = pl.DataFrame(
            {
                "evidence": pl.Series(stranded.id[always]).cast(pl.String)
                if always.any()
                else pl.Series([], dtype=pl.String),
                "partner": stranded.partner[always].astype(np.int64),
                "occurred_at": stranded.occurred_at[always],
                "what": scope.nouns(stranded.kind[always]),
            }
        )
        frame = pl.concat([frame, scope.touches(columns.reached[here]).select(frame.columns)]).sort(
            "occurred_at", "evidence"
        )
        frame = frame.with_columns(
            deal=pl.lit(-1, pl.Int64),
            recorded_at=pl.lit(None, pl.Int64),
            other_id=pl.lit(None, pl.String),
            score=pl.lit(None, pl.Float64),
            minor=pl.lit(None, pl.Int64),
        )
        yield kind, told(frame, kind, pl.format(f"{{}}: {why}", "what")), nothing, None


def duplicates(scope: Scope) -> Iterator[Found]:
    """Partners of two families that may be one company."""
    snapshot = scope.deals.snapshot
    _, family = scope.deals.parents
    rows_of = np.flatnonzero(scope.evidence)
    pairs = pl.DataFrame(
        {
            "partner": snapshot.touchpoints.partner[rows_of],
            "deal": scope.deals.deal_of[rows_of],
        }
    ).unique()
    deals_of = dict(pairs.group_by("partner").agg("deal").iter_rows())
    rows, stake = [], np.zeros(len(scope.chosen), dtype=bool)
    for pair in alike(snapshot.partners):
        if family[pair.one] == family[pair.other]:
            continue
        both = sorted({*deals_of.get(pair.one, ()), *deals_of.get(pair.other, ())})
        stake[both] = True
        other = snapshot.partners[pair.other]
        why = (
            f"names {pair.score:.0f} % alike" if pair.domain is None else f"the same web domain {pair.domain}"
        )
        rows.append(
            {
                **dict.fromkeys(RAW),
                "kind": "duplicate_partner",
                "deal": -1,
                "partner": pair.one,
                "other_id": other.id,
                "score": pair.score,
                "minor": money.total(snapshot.deals.amount[both]),
                "finding": f"may be {other.name}: {why}",
            }
        )
    note = (
        "web domains: nothing tells them, names alone were compared" if "website" in snapshot.untold else None
    )
    yield "duplicate_partner", pl.DataFrame(rows, schema=RAW), stake, note


def dangling(scope: Scope) -> Iterator[Found]:
    """Evidence that names a record which is gone."""
    found = scope.deals.snapshot.dangling
    if found is None:
        for kind in ("merged_record", "deleted_record"):
            yield (
                kind,
                None,
                scope.stake(np.empty(0, int)),
                "tables do not tell of merged and deleted records",
            )
        return
    merged = found.survivor != b""
    here = (found.deal < 0) | scope.chosen[found.deal] if len(scope.chosen) else found.deal < 0
    for kind, mask, finding in (
        ("merged_record", merged, pl.format("names {}, which was merged into {}", "other_id", "survivor")),
        ("deleted_record", ~merged, pl.format("names {}, which was deleted", "other_id")),
    ):
        at = np.flatnonzero(mask & here)
        texts = {
            name: pl.Series(values[at]).cast(pl.String) if len(at) else pl.Series([], dtype=pl.String)
            for name, values in (
                ("evidence", found.id),
                ("other_id", found.target),
                ("survivor", found.survivor),
            )
        }
        frame = pl.DataFrame(
            {
                **texts,
                "deal": found.deal[at],
                "partner": found.partner[at].astype(np.int64),
                "occurred_at": found.occurred_at[at],
                "minor": scope.minor(found.deal[at]),
            }
        ).with_columns(
            evidence=pl.when(pl.col("partner") < 0)
            .then("evidence")
            .otherwise(pl.concat_str("evidence", scope.partners_of(pl.col("partner"), "id"), separator=":")),
            recorded_at=pl.lit(None, pl.Int64),
            score=pl.lit(None, pl.Float64),
        )
        yield kind, told(frame, kind, finding), scope.stake(found.deal[at]), None
