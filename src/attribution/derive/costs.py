"""What was spent on partners, from the objects that the mapping names, in the report currency (RULES 1.9)."""

from __future__ import annotations

import numpy as np
import polars as pl

from attribution.arrays import fixed_width
from attribution.columns import CostColumns, micros, read_only
from attribution.derive.currency import minor_units
from attribution.derive.mapped import instant_of
from attribution.derive.opportunities import holds
from attribution.derive.schema import View, local_day
from attribution.derive.touchpoints import Scene
from attribution.mapping import Cost

__all__ = ["costs"]


def costs(scene: Scene, currency: str) -> CostColumns | None:
    """Every cost incurred by as_of; None where no object that holds costs is mapped."""
    mapped = scene.view.mapping.costs
    if not mapped:
        return None
    codes = scene.partners.codes.select("account", code="partner")
    found = (
        pl.concat([_spent(scene, cost, currency) for cost in mapped])
        .join(codes, on="account", how="left", maintain_order="left")
        .sort("incurred_at", "id", maintain_order=True)
    )
    return read_only(
        CostColumns(
            id=fixed_width(found["id"]),
            partner=found["code"].fill_null(-1).to_numpy().astype(np.int32),
            amount=found["minor"].fill_null(0).to_numpy().astype(np.int64),
            valued=found["minor"].is_not_null().to_numpy(),
            incurred_at=micros(found["incurred_at"]),
        )
    )


def _spent(scene: Scene, cost: Cost, currency: str) -> pl.DataFrame:
    """The records of one object that count: ``id, account, minor`` (null: not known), ``incurred_at``."""
    view, nothing = scene.view, pl.lit(None, pl.String)
    rows = _as_they_were(view, cost)
    schema = rows.collect_schema()
    instant = instant_of(view, cost.incurred_at, schema).fill_null(pl.col("CreatedDate"))
    is_day = schema[cost.incurred_at] == pl.Date
    spent_on = pl.col(cost.incurred_at) if is_day else local_day(pl.col("incurred_at"), view.cutoff.zone)
    counted = (
        rows.with_columns(incurred_at=instant)
        .filter(view.cutoff.happened("incurred_at"), *(holds(condition) for condition in cost.only))
        .with_columns(closed_on=spent_on.fill_null(local_day(pl.col("incurred_at"), view.cutoff.zone)))
        .select(
            "Id",
            "CurrencyIsoCode",
            "closed_on",
            "incurred_at",
            amount=pl.col(cost.amount),
            account=scene.accounts.resolve(cost.partner) if cost.partner else nothing,
        )
        .collect()
    )
    # converted at the rate of the day on which it was spent, as a deal at that of its close date
    return minor_units(view, counted, currency).select(
        "account", "minor", "incurred_at", id=pl.lit(f"{cost.object}:") + pl.col("Id")
    )


def _as_they_were(view: View, cost: Cost) -> pl.LazyFrame:
    """The live records, as their newest versions up to as_of have them, else the first ones read."""
    fields = [cost.amount, cost.incurred_at, *(condition.field for condition in cost.only)]
    fields += ["CreatedDate", "CurrencyIsoCode", *([cost.partner] if cost.partner else [])]
    newest = view.live(cost.object, "Id", *fields)
    if view.cutoff.current:
        return newest
    past = pl.col("past")
    last = (
        view.versions(cost.object, *fields, "SystemModstamp")
        .with_columns(past=view.cutoff.happened("SystemModstamp"))
        .join(newest.select("Id"), on="Id", how="semi", maintain_order="left")
        .group_by("Id", maintain_order=True)
        .agg(
            pl.when(past.any()).then(pl.col(name).filter(past).last()).otherwise(pl.col(name).first())
            for name in newest.collect_schema().names()
            if name != "Id"
        )
    )
    # of a field that is read only since it was mapped, earlier versions tell nothing
    return pl.concat([last, newest.join(last, on="Id", how="anti")])
