"""Accounts, partners and programs (RULES 3): who is a partner, since when, and in which program."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from attribution.deals import Party
from attribution.derive.schema import INSTANT, Cutoff, Records, columns, follow
from attribution.mapping import Mapping

__all__ = ["Accounts", "accounts", "partner_spans", "partners", "program_spans", "programs"]

_EVER = datetime(1, 1, 1, tzinfo=UTC)
_NEVER = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts known at the cut-off, and what ids of merged ones now mean.

    An account is who somebody is, not something that happened: as_of hides none.
    """

    live: pl.DataFrame
    """``id, name, parent, family`` (the ultimate parent; an account without a parent is its own family)."""
    merged: dict[str, str]
    """Surviving record by the id of an account or contact that was merged into it."""

    def resolve(self, column: str) -> pl.Expr:
        """The ids of a column, those of merged records replaced by their survivors."""
        return pl.col(column).replace(self.merged)


def accounts(records: Records, cutoff: Cutoff) -> Accounts:
    """Read the accounts, following merges (3.2) and parents."""
    merged: dict[str, str] = {}
    for name in ("Account", "Contact"):
        rows = columns(records.newest(name), "Id", "MasterRecordId", "_deleted")
        rows = rows.filter(pl.col("_deleted"), pl.col("MasterRecordId").is_not_null())
        merged |= dict(zip(rows["Id"], rows["MasterRecordId"], strict=True))
    merged = follow(merged)
    live = (
        columns(records.newest("Account"), "Id", "Name", "ParentId", "CreatedDate", "_deleted")
        .filter(~pl.col("_deleted"), cutoff.known())
        .select(
            id="Id", name=pl.col("Name").fill_null(pl.col("Id")), parent=pl.col("ParentId").replace(merged)
        )
    )
    children = live.filter(pl.col("parent").is_in(live["id"].implode()))
    families = follow(dict(zip(children["id"], children["parent"], strict=True)))
    return Accounts(live.with_columns(family=pl.col("id").replace(families)), merged)


def partner_spans(
    records: Records, mapping: Mapping, cutoff: Cutoff, known_accounts: Accounts, roles: pl.DataFrame
) -> pl.DataFrame:
    """When each account was a partner (3.1, 3.2): rows of ``partner, since, until`` (until excluded).

    ``roles`` are the Partner rows with an opportunity, as :func:`~attribution.derive.touchpoints.roles` reads
    them, with the opportunity's account beside.
    """
    members = columns(records.newest("ChannelProgramMember"), "PartnerId", "CreatedDate", "_deleted").filter(
        ~pl.col("_deleted"), cutoff.happened("CreatedDate"), cutoff.known()
    )
    enrolled = members.select(
        partner=known_accounts.resolve("PartnerId"),
        since=pl.lit(_EVER, INSTANT),
        until=pl.lit(_NEVER, INSTANT),
    )
    named = (
        roles.filter(pl.col("partner").ne_missing(pl.col("opportunity_account")))
        .group_by("partner")
        .agg(since=pl.col("occurred_at").min())
        .with_columns(until=pl.lit(_NEVER, INSTANT))
    )
    spans = pl.concat([_flagged(records, mapping, cutoff), enrolled, named]).drop_nulls()
    return spans.join(known_accounts.live.select("id"), left_on="partner", right_on="id", how="semi").unique()


def _flagged(records: Records, mapping: Mapping, cutoff: Cutoff) -> pl.DataFrame:
    """When IsPartner or Type said "partner": since creation, or since the version that first said so."""
    types = [name.lower() for name in mapping.partner_types]
    flag = pl.any_horizontal(
        pl.col("IsPartner").fill_null(value=False),
        pl.col("Type").str.to_lowercase().is_in(types).fill_null(value=False),
    )
    versions = (
        columns(
            records.versions("Account"),
            *("Id", "Type", "IsPartner", "CreatedDate", "SystemModstamp", "_synced_at", "_deleted"),
        )
        .filter(~pl.col("_deleted"), cutoff.known())
        .with_columns(flag=flag)
        .sort("Id", "_synced_at")
    )
    first = pl.col("Id") != pl.col("Id").shift(1, fill_value="")
    turns = versions.with_columns(first=first).filter(
        pl.col("first") | (pl.col("flag") != pl.col("flag").shift(1))
    )
    until = pl.when(pl.col("Id") == pl.col("Id").shift(-1)).then(pl.col("SystemModstamp").shift(-1))
    return (
        turns.with_columns(
            since=pl.when("first").then(pl.col("CreatedDate")).otherwise(pl.col("SystemModstamp")),
            until=until.fill_null(pl.lit(_NEVER, INSTANT)),
        )
        .filter("flag")
        .select(partner="Id", since="since", until="until")
    )


def program_spans(records: Records, cutoff: Cutoff, known_accounts: Accounts) -> pl.DataFrame:
    """When each partner was in a program (3.4): rows of ``partner, program, since, until`` (excluded)."""
    members = columns(
        records.newest("ChannelProgramMember"),
        *("PartnerId", "ProgramId", "CreatedDate", "SystemModstamp", "_deleted"),
    ).filter(cutoff.known())
    ended = pl.when(pl.col("_deleted")).then(pl.col("SystemModstamp")).otherwise(pl.lit(_NEVER, INSTANT))
    return members.select(
        partner=known_accounts.resolve("PartnerId"), program="ProgramId", since="CreatedDate", until=ended
    ).drop_nulls()


def partners(known_accounts: Accounts, spans: pl.DataFrame) -> tuple[Party, ...]:
    """Every account that is or was a partner, ordered by id."""
    found = known_accounts.live.join(spans.select(id="partner"), on="id", how="semi").sort("id")
    return tuple(Party(*row) for row in found.select("id", "name", "parent").iter_rows())


def programs(records: Records, cutoff: Cutoff, spans: pl.DataFrame) -> tuple[Party, ...]:
    """Every program, ordered by id; one that the org shows only through its members is named by its id."""
    named = columns(records.newest("ChannelProgram"), "Id", "Name", "CreatedDate", "_deleted").filter(
        ~pl.col("_deleted"), cutoff.happened("CreatedDate"), cutoff.known()
    )
    names = dict(zip(named["Id"], named["Name"], strict=True))
    for program in spans["program"]:
        names.setdefault(program, program)
    return tuple(Party(program, names[program] or program) for program in sorted(names))
