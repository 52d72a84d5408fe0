"""Touchpoints from activities: meetings (Event), calls, e-mails and other closed tasks (Task)."""

from __future__ import annotations

import polars as pl

from attribution.arrays import day_end
from attribution.columns import KINDS
from attribution.derive.schema import date_only
from attribution.derive.touchpoints import EXPOSURE, STRONG, WEAK, Scene, conform, of_kind

__all__ = ["guests", "meetings", "tasks"]


def meetings(scene: Scene) -> pl.LazyFrame:
    """Events that have ended, one touchpoint per partner whose contact took part: meeting, strong."""
    zone = scene.view.cutoff.zone
    all_day = pl.col("IsAllDayEvent").fill_null(value=False)
    day = pl.col("ActivityDate").fill_null(pl.col("ActivityDateTime").dt.date())
    last_day = pl.coalesce("EndDate", pl.col("EndDateTime").dt.date(), day)
    minutes = pl.duration(minutes=pl.col("DurationInMinutes").fill_null(0))
    begins = date_only(day, zone)
    events = (
        scene.view.live(
            "Event",
            *("Id", "WhoId", "WhatId", "OwnerId", "CreatedById", "CreatedDate", "ActivityDateTime"),
            *("ActivityDate", "IsAllDayEvent", "EndDateTime", "EndDate", "DurationInMinutes"),
            *("IsChild", "IsRecurrence"),
        )
        .filter(~_true("IsChild"), ~_true("IsRecurrence"))
        .with_columns(
            occurred_at=pl.when(all_day).then(begins).otherwise(pl.col("ActivityDateTime").fill_null(begins)),
            ended_at=pl.when(all_day)
            .then(day_end(last_day, zone))
            .otherwise(pl.coalesce("EndDateTime", pl.col("ActivityDateTime") + minutes, day_end(day, zone))),
        )
        .filter(scene.view.cutoff.happened("ended_at"))
    )
    owned = _attended(scene, events, "Event").join(
        scene.people.internal.lazy(), left_on="OwnerId", right_on="user", how="left"
    )
    return conform(_about(scene, owned).with_columns(kind=of_kind("meeting"), strength=pl.lit(STRONG)))


def tasks(scene: Scene) -> pl.LazyFrame:
    """Closed tasks, one touchpoint per partner whose contact took part: call, email weak, else exposure."""
    due = date_only(pl.col("ActivityDate"), scene.view.cutoff.zone)
    kinds = {name: KINDS.index(name) for name in ("call", "email")}
    kind = (
        pl.col("TaskSubtype")
        .str.to_lowercase()
        .replace_strict(kinds, default=KINDS.index("task"), return_dtype=pl.Int8)
    )
    closed = (
        scene.view.live(
            "Task",
            *("Id", "WhoId", "WhatId", "CreatedById", "CreatedDate", "IsClosed", "TaskSubtype"),
            *("CompletedDateTime", "ActivityDate"),
        )
        .filter(_true("IsClosed"))
        .with_columns(occurred_at=pl.coalesce("CompletedDateTime", due, "CreatedDate"), kind=kind)
    )
    strength = pl.when(pl.col("kind") == KINDS.index("task")).then(EXPOSURE).otherwise(WEAK)
    return conform(_about(scene, _attended(scene, closed, "Task")).with_columns(strength=strength))


def guests(scene: Scene) -> pl.DataFrame:
    """``record, host``: internal users who attended meetings without owning them (6.4)."""
    invited = scene.view.live("EventRelation", "EventId", "RelationId")
    return (
        invited.join(scene.people.internal.lazy(), left_on="RelationId", right_on="user", how="inner")
        .select("host", record="EventId")
        .unique()
        .collect()
    )


def _attended(scene: Scene, activities: pl.LazyFrame, object: str) -> pl.LazyFrame:
    """The activities in which contacts of a partner took part, once per ``partner``."""
    resolve, contacts = scene.accounts.resolve, scene.contacts_of_partners().select("contact", "partner")
    activities = activities.with_columns(record="Id", contact=resolve("WhoId")).drop("Id", "WhoId")
    invited = activities.join(contacts, on="contact", how="inner").drop("contact")
    relations = (
        scene.view.live(f"{object}Relation", f"{object}Id", "RelationId")
        .select(record=f"{object}Id", contact=resolve("RelationId"))
        .join(contacts, on="contact", how="inner")
        .select("record", "partner")
        .unique()
        .collect()
    )
    if relations.is_empty():
        return invited
    others = relations.lazy().join(invited.select("record", "partner"), on=["record", "partner"], how="anti")
    more = activities.drop("contact").join(others, on="record", how="inner")
    return pl.concat([invited, more.select(invited.collect_schema().names())])


def _about(scene: Scene, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Where an activity leads: the opportunity it is about, else an account by its rule, else nowhere."""
    what = pl.col("WhatId")
    return rows.with_columns(
        recorded_at="CreatedDate",
        recorded_by="CreatedById",
        opportunity=pl.when(what.str.starts_with("006")).then(what),
        reach=pl.when(what.str.starts_with("001")).then(scene.accounts.resolve("WhatId")),
        explicit=pl.lit(value=False),
    )


def _true(name: str) -> pl.Expr:
    return pl.col(name).fill_null(value=False)
