"""Activities: meetings (Event), calls, e-mails and other closed tasks (Task), with a partner and without."""

from __future__ import annotations

import polars as pl

from attribution.arrays import day_end
from attribution.columns import KINDS
from attribution.derive.schema import date_only
from attribution.derive.touchpoints import EXPOSURE, STRONG, WEAK, Scene, conform, of_kind

__all__ = ["direct", "guests", "meetings", "tasks"]

_CALL, _TASK = KINDS.index("call"), KINDS.index("task")


def meetings(scene: Scene) -> pl.LazyFrame:
    """Events that have ended, one touchpoint per partner whose contact took part: meeting, strong."""
    owned = _attended(scene, _ended(scene), "Event").join(
        scene.people.internal.lazy(), left_on="OwnerId", right_on="user", how="left"
    )
    return conform(_about(scene, owned).with_columns(kind=of_kind("meeting"), strength=pl.lit(STRONG)))


def _ended(scene: Scene) -> pl.LazyFrame:
    zone = scene.view.cutoff.zone
    all_day = pl.col("IsAllDayEvent").fill_null(value=False)
    day = pl.col("ActivityDate").fill_null(pl.col("ActivityDateTime").dt.date())
    last_day = pl.coalesce("EndDate", pl.col("EndDateTime").dt.date(), day)
    minutes = pl.duration(minutes=pl.col("DurationInMinutes").fill_null(0))
    begins = date_only(day, zone)
    return (
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


def tasks(scene: Scene) -> pl.LazyFrame:
    """Closed tasks, one touchpoint per partner whose contact took part: call, email weak, else exposure."""
    strength = pl.when(pl.col("kind") == _TASK).then(EXPOSURE).otherwise(WEAK)
    rows = _attended(scene, _closed(scene), "Task")
    return conform(_about(scene, rows).with_columns(strength=strength))


def _closed(scene: Scene) -> pl.LazyFrame:
    due = date_only(pl.col("ActivityDate"), scene.view.cutoff.zone)
    kinds = {name: KINDS.index(name) for name in ("call", "email")}
    kind = pl.col("TaskSubtype").str.to_lowercase().replace_strict(kinds, default=_TASK, return_dtype=pl.Int8)
    return (
        scene.view.live(
            "Task",
            *("Id", "WhoId", "WhatId", "OwnerId", "CreatedById", "CreatedDate", "IsClosed", "TaskSubtype"),
            *("CompletedDateTime", "ActivityDate"),
        )
        .filter(_true("IsClosed"))
        .with_columns(occurred_at=pl.coalesce("CompletedDateTime", due, "CreatedDate"), kind=kind)
    )


def direct(scene: Scene, deals: pl.DataFrame, partnered: dict[str, pl.Series]) -> pl.DataFrame:
    """Meetings and calls of our own people on a deal, or on the account of one, without a partner.

    Parameters
    ----------
    deals
        With ``id``, ``account``, and the codes ``deal`` and ``account_code``.
    partnered
        Ids of the activities with a partner, by object.

    Returns
    -------
    ``object, record, occurred_at, recorded_at, kind, deal`` (-1: on the account only), ``account_code``.
    """
    ours = scene.people.internal.lazy().select(OwnerId="user")
    on_deal = deals.select(what="id", deal="deal", account_code="account_code")
    of_account = deals.select(what="account", deal=pl.lit(-1, pl.Int32), account_code="account_code")
    where = pl.concat([on_deal, of_account.drop_nulls("what").unique()])
    meeting = _ended(scene).with_columns(kind=of_kind("meeting"))
    call = _closed(scene).filter(pl.col("kind") == _CALL)
    return pl.concat(
        acts.filter(scene.view.cutoff.happened("occurred_at"))
        .join(ours, on="OwnerId", how="semi")
        .join(partnered[name].unique().to_frame("Id").lazy(), on="Id", how="anti")
        .with_columns(what=scene.accounts.resolve("WhatId"))
        .join(where.lazy(), on="what", how="inner")
        .select(
            *("occurred_at", "kind", "deal", "account_code"),
            object=pl.lit(name),
            record="Id",
            recorded_at="CreatedDate",
        )
        .collect()
        for name, acts in (("Event", meeting), ("Task", call))
    )


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
