"""Where touchpoints are born: one function per row of the table in RULES 4, all returning ``EVIDENCE``."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from attribution.derive.partners import Accounts
from attribution.derive.schema import (
    EVIDENCE,
    INSTANT,
    Cutoff,
    Records,
    columns,
    day_end,
    day_start,
    local_day,
)

__all__ = ["People", "evidence", "people", "roles"]

_STRONG = 2
_REPLACED_WITHIN = "24h"


@dataclass(frozen=True, slots=True)
class People:
    """Whose account a contact or a user belongs to."""

    contacts: pl.DataFrame
    """``contact, account``."""
    partner_users: pl.DataFrame
    """``user, account``: users with a contact."""
    internal: pl.DataFrame
    """``user``: users without a contact."""


def people(records: Records, cutoff: Cutoff, accounts: Accounts) -> People:
    """Read contacts and users."""
    contacts = (
        columns(records.newest("Contact"), "Id", "AccountId", "CreatedDate", "_deleted")
        .filter(~pl.col("_deleted"), cutoff.known(), pl.col("AccountId").is_not_null())
        .select(contact="Id", account=accounts.resolve("AccountId"))
    )
    users = columns(records.newest("User"), "Id", "ContactId", "CreatedDate", "_deleted").filter(
        ~pl.col("_deleted"), cutoff.known()
    )
    external = users.select(user="Id", contact=accounts.resolve("ContactId")).drop_nulls()
    return People(
        contacts,
        external.join(contacts, on="contact", how="inner").select("user", "account"),
        users.filter(pl.col("ContactId").is_null()).select(user="Id"),
    )


def roles(records: Records, cutoff: Cutoff, accounts: Accounts, opportunities: pl.DataFrame) -> pl.DataFrame:
    """Partner rows of opportunities: role, strong.

    A row re-created within 24 hours of a deletion keeps its id and inherits instants and author (4.3).
    """
    rows = (
        columns(
            records.newest("Partner"),
            *("Id", "OpportunityId", "AccountToId", "Role", "CreatedDate", "CreatedById", "SystemModstamp"),
            "_deleted",
        )
        .filter(cutoff.known())
        .with_columns(partner=accounts.resolve("AccountToId"))
        .drop_nulls(["OpportunityId", "partner", "CreatedDate"])
    )
    origins = _origins(rows)
    return (
        rows.filter(~pl.col("_deleted"))
        .with_columns(origin=pl.col("Id").replace(origins))
        .join(
            rows.select(origin="Id", occurred_at="CreatedDate", recorded_by="CreatedById"),
            on="origin",
            how="left",
        )
        .filter(cutoff.happened("occurred_at"))
        .join(
            opportunities.select("id", opportunity_account="account"), left_on="OpportunityId", right_on="id"
        )
        .with_columns(
            object=pl.lit("Partner"),
            record="Id",
            recorded_at="occurred_at",
            kind=pl.lit("role"),
            strength=pl.lit(_STRONG),
            opportunity="OpportunityId",
            explicit=pl.lit(value=True),
            role="Role",
        )
    )


def _origins(rows: pl.DataFrame) -> dict[str, str]:
    """The row whose instants each re-created row inherits: the start of its chain of replacements."""
    deletions = (
        rows.filter("_deleted")
        .select("OpportunityId", "partner", replaced="Id", deleted_at="SystemModstamp", born="CreatedDate")
        .drop_nulls()
        .sort("deleted_at", "born", "replaced")
    )
    matched = rows.sort("CreatedDate", "Id").join_asof(
        deletions,
        left_on="CreatedDate",
        right_on="deleted_at",
        by=["OpportunityId", "partner"],
        strategy="backward",
        tolerance=_REPLACED_WITHIN,
        check_sortedness=False,
    )
    # a row deleted in the second of its creation would replace itself
    matched = matched.filter(pl.col("replaced").is_not_null(), pl.col("replaced") != pl.col("Id"))
    replaced = dict(zip(matched["Id"], matched["replaced"], strict=True))
    ends: dict[str, str] = {}
    for row in replaced:
        start = row
        while start in replaced and replaced[start] != row:
            start = replaced[start]
        ends[row] = start
    return ends


def evidence(
    records: Records,
    cutoff: Cutoff,
    accounts: Accounts,
    everybody: People,
    opportunities: pl.DataFrame,
    role_rows: pl.DataFrame,
) -> pl.DataFrame:
    """Every dated act of an account on a deal, whether or not the account was a partner then."""
    sources = (
        role_rows,
        _opened(opportunities, everybody, accounts),
        _leads(records, cutoff, everybody, accounts),
        _meetings(records, cutoff, everybody, accounts),
    )
    return pl.concat([_conform(source) for source in sources])


def _conform(source: pl.DataFrame) -> pl.DataFrame:
    """The columns of ``EVIDENCE``, in order; what a source does not know is null."""
    return source.select(
        (pl.col(name) if name in source.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in EVIDENCE.items()
    )


def _opened(opportunities: pl.DataFrame, everybody: People, accounts: Accounts) -> pl.DataFrame:
    """Opportunities created by a partner user: partner_owned. Created internally for one: handed_over."""
    rows = opportunities.with_columns(
        object=pl.lit("Opportunity"),
        record="id",
        occurred_at="created_at",
        recorded_at="created_at",
        recorded_by="created_by",
        opportunity="id",
    ).drop("account")
    return _created(rows, everybody, accounts, by_partner="partner_owned")


def _leads(records: Records, cutoff: Cutoff, everybody: People, accounts: Accounts) -> pl.DataFrame:
    """Converted leads created by a partner user: referral. Created internally for one: handed_over."""
    rows = (
        columns(
            records.newest("Lead"),
            *("Id", "CreatedDate", "CreatedById", "ConvertedDate", "ConvertedAccountId"),
            *("ConvertedOpportunityId", "PartnerAccountId", "_deleted"),
        )
        .filter(
            ~pl.col("_deleted"),
            cutoff.happened("CreatedDate"),
            cutoff.known(),
            # a conversion that lies in the future of as_of has not linked the lead to anything yet
            (day_start(pl.col("ConvertedDate"), cutoff.zone).dt.epoch("us") <= cutoff.as_of).fill_null(
                value=True
            ),
            pl.col("ConvertedOpportunityId").is_not_null() | pl.col("ConvertedAccountId").is_not_null(),
        )
        .select(
            object=pl.lit("Lead"),
            record="Id",
            occurred_at="CreatedDate",
            recorded_at="CreatedDate",
            recorded_by="CreatedById",
            partner_account="PartnerAccountId",
            opportunity="ConvertedOpportunityId",
            account=pl.when(pl.col("ConvertedOpportunityId").is_null()).then(
                accounts.resolve("ConvertedAccountId")
            ),
        )
    )
    return _created(rows, everybody, accounts, by_partner="referral")


def _created(rows: pl.DataFrame, everybody: People, accounts: Accounts, by_partner: str) -> pl.DataFrame:
    """Evidence from who created a record: a partner user's account, else the account it was handed to."""
    users = everybody.partner_users.rename({"account": "creator_account"})
    insiders = everybody.internal.with_columns(inside=pl.lit(value=True))
    handed = pl.when("inside").then(accounts.resolve("partner_account"))
    return (
        rows.join(users, left_on="recorded_by", right_on="user", how="left")
        .join(insiders, left_on="recorded_by", right_on="user", how="left")
        .select(
            pl.exclude("creator_account", "partner_account", "inside"),
            partner=pl.coalesce("creator_account", handed),
            kind=pl.when(pl.col("creator_account").is_not_null())
            .then(pl.lit(by_partner))
            .otherwise(pl.lit("handed_over")),
            strength=pl.lit(_STRONG),
            explicit=pl.lit(value=True),
        )
    )


def _meetings(records: Records, cutoff: Cutoff, everybody: People, accounts: Accounts) -> pl.DataFrame:
    """Events that have ended, one touchpoint per account whose contact took part: meeting, strong."""
    all_day = pl.col("IsAllDayEvent").fill_null(value=False)
    day = pl.col("ActivityDate").fill_null(pl.col("ActivityDateTime").dt.date())
    last_day = pl.coalesce("EndDate", pl.col("EndDateTime").dt.date(), day)
    minutes = pl.duration(minutes=pl.col("DurationInMinutes").fill_null(0))
    begins = _date_only(day, cutoff)
    rows = (
        columns(
            records.newest("Event"),
            *("Id", "WhoId", "WhatId", "OwnerId", "CreatedById", "CreatedDate", "ActivityDateTime"),
            *("ActivityDate", "IsAllDayEvent", "EndDateTime", "EndDate", "DurationInMinutes", "IsChild"),
            *("IsRecurrence", "_deleted"),
        )
        .filter(~pl.col("_deleted"), cutoff.known(), ~_true("IsChild"), ~_true("IsRecurrence"))
        .with_columns(
            occurred_at=pl.when(all_day).then(begins).otherwise(pl.col("ActivityDateTime").fill_null(begins)),
            ended_at=pl.when(all_day)
            .then(day_end(last_day, cutoff.zone))
            .otherwise(
                pl.coalesce("EndDateTime", pl.col("ActivityDateTime") + minutes, day_end(day, cutoff.zone))
            ),
        )
        .filter(cutoff.happened("ended_at"), pl.col("occurred_at").is_not_null())
        .with_columns(who=accounts.resolve("WhoId"))
        .join(everybody.contacts, left_on="who", right_on="contact", how="inner")
        .join(everybody.internal.with_columns(host="user"), left_on="OwnerId", right_on="user", how="left")
    )
    return rows.select(
        object=pl.lit("Event"),
        record="Id",
        partner="account",
        occurred_at="occurred_at",
        recorded_at="CreatedDate",
        kind=pl.lit("meeting"),
        strength=pl.lit(_STRONG),
        opportunity=pl.when(_is_a("WhatId", "006")).then(pl.col("WhatId")),
        account=pl.when(_is_a("WhatId", "001")).then(accounts.resolve("WhatId")),
        explicit=pl.lit(value=False),
        recorded_by="CreatedById",
        host="host",
    )


def _date_only(day: pl.Expr, cutoff: Cutoff) -> pl.Expr:
    """A fact known by its date alone: 00:00 of that day, or its record's creation on the same day (1.1)."""
    same_day = local_day(pl.col("CreatedDate"), cutoff.zone) == day
    return pl.when(same_day).then(pl.col("CreatedDate")).otherwise(day_start(day, cutoff.zone)).cast(INSTANT)


def _true(name: str) -> pl.Expr:
    return pl.col(name).fill_null(value=False)


def _is_a(column: str, key_prefix: str) -> pl.Expr:
    return pl.col(column).str.starts_with(key_prefix)
