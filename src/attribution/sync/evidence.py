"""Whether what was read tells of partners at all, and of which it tells nothing."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from attribution.derive.partners import as_spelled
from attribution.errors import known
from attribution.mapping import Mapping, split_path
from attribution.mirror.logs import Logs
from attribution.readings import OVERLAPS

__all__ = ["has_evidence", "strangers"]


def has_evidence(logs: Logs, mapping: Mapping) -> bool:
    """Whether the mirror holds one record that may become a touchpoint of a partner.

    Stops at the first one; what is quick to look at comes first.
    """
    return any(_found(logs, mapping))


def strangers(logs: Logs, mapping: Mapping) -> Iterator[str]:
    """Tell of every mapped field of names how many of them are the name of no account: they count nothing."""
    accounts = _live(logs, "Account", "Id", "Name")
    for touches in mapping.touchpoints:
        log = logs.of(touches.object)
        if not log.exists or "." in touches.partner or touches.partner in log.coverage.refers_to:
            continue
        unknown = (
            _live(logs, touches.object, touches.partner)
            .select(said=touches.partner, spelled=as_spelled(touches.partner))
            .filter(pl.col("said").is_not_null())
            .join(accounts.select("Id"), left_on="said", right_on="Id", how="anti")
            .join(_once_named(accounts), on="spelled", how="anti")
            .collect()
        )
        if not unknown.is_empty():
            yield (
                f"{touches.object}: {unknown.height} records count nothing, because {touches.partner} is the "
                f"name of no account, or of several: {known(map(repr, unknown['said'].unique()), 5)}"
            )


def _once_named(accounts: pl.LazyFrame) -> pl.LazyFrame:
    names = accounts.select(spelled=as_spelled("Name"))
    return names.group_by("spelled").len().filter(pl.col("len") == 1)


def _found(logs: Logs, mapping: Mapping) -> Iterator[bool]:
    yield _any(_live(logs, "Partner", "OpportunityId"), pl.col("OpportunityId").is_not_null())
    for touches in mapping.touchpoints:
        name = split_path(touches.partner)[0]
        yield _any(_live(logs, touches.object, name), pl.col(name).is_not_null())
    for lookup in mapping.lookups:
        name = split_path(lookup.field)[0]
        yield _any(_live(logs, lookup.object, name), pl.col(name).is_not_null())
    yield _any(_live(logs, OVERLAPS, "Id"))
    for name in ("Opportunity", "Lead"):
        yield _any(_live(logs, name, "PartnerAccountId"), pl.col("PartnerAccountId").is_not_null())
    users = _live(logs, "User", "Id", "ContactId").filter(pl.col("ContactId").is_not_null()).select("Id")
    partners = _partners(logs, mapping).collect()
    contacts = _live(logs, "Contact", "Id", "AccountId").join(
        partners.lazy(), left_on="AccountId", right_on="partner", how="semi"
    )
    people = contacts.select("Id").collect().lazy()
    for name in ("Opportunity", "Lead"):
        yield _any(_live(logs, name, "CreatedById").join(users, left_on="CreatedById", right_on="Id"))
    if not partners.is_empty():
        funded = _live(logs, "PartnerFundRequest", "ChannelPartnerId")
        yield _any(funded, pl.col("ChannelPartnerId").is_not_null())
    for name, field in (
        ("OpportunityContactRole", "ContactId"),
        ("CampaignMember", "ContactId"),
        ("Event", "WhoId"),
        ("EventRelation", "RelationId"),
        ("Task", "WhoId"),
        ("TaskRelation", "RelationId"),
    ):
        yield _any(_live(logs, name, field).join(people, left_on=field, right_on="Id", how="semi"))


def _partners(logs: Logs, mapping: Mapping) -> pl.LazyFrame:
    """Ids of the accounts that a flag, a type or a program makes partners."""
    accounts = _live(logs, "Account", "Id", "IsPartner", "Type")
    types = [each.lower() for each in mapping.partner_types]
    flagged = accounts.filter(
        pl.col("IsPartner").cast(pl.String).eq("true") | pl.col("Type").str.to_lowercase().is_in(types)
    )
    members = _live(logs, "ChannelProgramMember", "PartnerId")
    return pl.concat([flagged.select(partner="Id"), members.select(partner="PartnerId")]).unique()


def _live(logs: Logs, object: str, *names: str) -> pl.LazyFrame:
    """Fields of the live records of an object; null where the mirror lacks the field or the object."""
    log = logs.of(object)
    held = log.fields
    missing = [pl.lit(None, pl.String).alias(name) for name in names if name not in held]
    if not log.exists:
        return pl.LazyFrame(schema=dict.fromkeys(names, pl.String()))
    return log.current().with_columns(missing).select(names)


def _any(frame: pl.LazyFrame, condition: pl.Expr | None = None) -> bool:
    found = frame if condition is None else frame.filter(condition)
    return found.head(1).collect().height > 0
