"""Accounts, partners and programs (RULES 3): who is a partner, since when, in which program and tier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attribution.arrays import INSTANT
from attribution.columns import Party
from attribution.derive.schema import View, follow

__all__ = ["Accounts", "Partners", "accounts", "partners"]

Ints = NDArray[np.int64]

_EVER = datetime(1, 1, 1, tzinfo=UTC)
_NEVER = datetime(9999, 12, 31, tzinfo=UTC)
_AT_ONCE = 1 << 20
"""Touches looked up at once: few enough to stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts known at the cut-off, and what ids of merged ones now mean.

    An account is who somebody is, not something that happened: as_of hides none.
    """

    live: pl.DataFrame
    """``id, name, website, parent, family`` (the ultimate parent; without a parent the account itself)."""
    merged: dict[str, str]
    """Surviving record by the id of an account, contact or lead that was merged into it."""

    def resolve(self, column: str) -> pl.Expr:
        """The ids of a column, those of merged records replaced by their survivors."""
        return pl.col(column).replace(self.merged) if self.merged else pl.col(column)

    def existing(self, column: str) -> pl.Expr:
        """The accounts of a column, merged ones by their survivors; null where the account is deleted."""
        account = self.resolve(column)
        return pl.when(account.is_in(self.live["id"].implode())).then(account)

    def named(self, column: str) -> pl.Expr:
        """The accounts that a column names, by id or, as overlaps do, by their name if only one has it."""
        names = self.live.select("id", spelled=as_spelled("name"))
        names = names.filter(~pl.col("spelled").is_duplicated())
        by_name = as_spelled(column).replace_strict(
            names["spelled"], names["id"], default=None, return_dtype=pl.String
        )
        return pl.coalesce(by_name, self.resolve(column))


def as_spelled(column: str) -> pl.Expr:
    """Names so spelled that equal ones compare equal: case and blanks around them aside."""
    return pl.col(column).str.strip_chars().str.to_lowercase()


@dataclass(frozen=True, slots=True)
class Partners:
    """Every account that is or was a partner, by code, and every program with its members."""

    parties: tuple[Party, ...]
    """Ordered by id; each rolls up to its ultimate parent, unless that is itself."""
    parents: tuple[Party, ...]
    """Ultimate parents that are no partners themselves, ordered by id."""
    codes: pl.DataFrame
    """``partner`` (its code), ``account, family``, in the order of the codes."""
    spans: pl.DataFrame
    """``partner, since, until`` (excluded), ordered: when it was one; the spans of one do not overlap."""
    members: pl.DataFrame
    """``partner, program, tier, since, until`` (excluded), ordered by partner; program and tier by id."""
    programs: tuple[Party, ...]
    tiers: tuple[Party, ...]

    @property
    def since(self) -> tuple[int | None, ...]:
        """Per party when it was signed: its first membership of a program, else when it first was a partner.

        None where nothing tells, as of an account that only a mapped field names.
        """
        known = self.spans.filter(pl.col("since") > _EVER).select("partner", "since")
        begun = {
            code: at
            for spans in (known, self.members.select("partner", "since"))
            for code, at in spans.group_by("partner").agg(pl.col("since").dt.epoch("us").min()).iter_rows()
        }
        return tuple(begun.get(code) for code in range(len(self.parties)))

    def program_named(self, column: str) -> pl.Expr:
        """The programs that a mapped field names: by id, or by name if one has it; else the text itself."""
        names = [program.name for program in self.programs]
        by_name = {each.name: each.id for each in self.programs if names.count(each.name) == 1}
        return pl.col(column).cast(pl.String).replace(by_name)

    def held(self, touches: pl.DataFrame) -> pl.DataFrame:
        """The touches of partners that were partners at ``occurred_at`` (3.2)."""
        partner, at = touches["partner"].to_numpy(), touches["occurred_at"].dt.epoch("us").to_numpy()
        held = np.zeros(len(touches), dtype=bool)
        for _, since, until in _layers(self.spans, len(self.parties)):
            held |= (since[partner] <= at) & (at < until[partner])
        return touches.filter(pl.Series(held, dtype=pl.Boolean))

    def member_of(
        self, touches: pl.DataFrame, programs: tuple[Party, ...], own: pl.DataFrame
    ) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Program and tier of each touch, as codes; -1 for none (3.4).

        The program is the touch's own, from a mapped field (``own``: ``row, program``), else that of the
        partner's only membership at ``occurred_at``; the tier is the partner's level in it.
        """
        found = np.full(len(touches), -1, dtype=np.int16)
        found[own["row"].to_numpy()] = _codes(own["program"], programs)
        tier = np.full(len(touches), -1, dtype=np.int16)
        program_of, tier_of = (
            _codes(self.members["program"], programs),
            _codes(self.members["tier"], self.tiers),
        )
        layers = list(_layers(self.members, len(self.parties)))
        for start in range(0, len(touches), _AT_ONCE):
            part = touches[start : start + _AT_ONCE]
            partner, at = part["partner"].to_numpy(), part["occurred_at"].dt.epoch("us").to_numpy()
            named = found[start : start + _AT_ONCE].copy()
            n_memberships = np.zeros(len(part), dtype=np.int8)
            for row, since, until in layers:
                there = np.flatnonzero((since[partner] <= at) & (at < until[partner]))
                rows = row[partner[there]]
                fits = (named[there] < 0) | (named[there] == program_of[rows])
                there, rows = there[fits], rows[fits]
                n_memberships[there] += 1
                found[start + there], tier[start + there] = program_of[rows], tier_of[rows]
            several = np.flatnonzero(n_memberships > 1)
            found[start + several], tier[start + several] = named[several], -1
        return found, tier


def accounts(view: View) -> Accounts:
    """Read the accounts, following merges (3.2) and parents."""
    merged: dict[str, str] = {}
    for name in ("Account", "Contact", "Lead"):
        rows = view.newest(name, "Id", "MasterRecordId")
        rows = rows.filter(pl.col("_deleted"), pl.col("MasterRecordId").is_not_null())
        found = rows.select("Id", "MasterRecordId").collect()
        merged |= dict(found.iter_rows())
    merged = follow(merged)
    live = (
        view.live("Account", "Id", "Name", "ParentId", "Website")
        .select(
            id="Id",
            website="Website",
            name=pl.col("Name").fill_null(pl.col("Id")),
            parent=pl.col("ParentId").replace(merged) if merged else pl.col("ParentId"),
        )
        .collect()
    )
    children = live.filter(pl.col("parent").is_in(live["id"].implode()))
    families = follow(dict(children.select("id", "parent").iter_rows()))
    family = pl.col("id").replace(families) if families else pl.col("id")
    return Accounts(live.with_columns(family=family), merged)


def partners(view: View, known: Accounts, roles: pl.DataFrame, named: pl.DataFrame) -> Partners:
    """Find out who is a partner, since when (3.1, 3.2), and in which programs (3.4).

    ``roles`` are the Partner rows of opportunities, with the opportunity's account beside; ``named`` are the
    accounts that mapped partner fields name.
    """
    members = view.newest(
        "ChannelProgramMember", "PartnerId", "Id", "ProgramId", "CreatedDate", "SystemModstamp"
    )
    enrolled = members.with_columns(account=known.resolve("PartnerId")).collect()
    always = {"since": pl.lit(_EVER, INSTANT), "until": pl.lit(_NEVER, INSTANT)}
    enlisted = enrolled.filter(~pl.col("_deleted"), view.cutoff.happened("CreatedDate"))
    by_row = (
        roles.filter(pl.col("account").ne_missing(pl.col("opportunity_account")))
        .group_by("account")
        .agg(since=pl.col("occurred_at").min())
        .with_columns(until=pl.lit(_NEVER, INSTANT))
    )
    spans = pl.concat(
        [
            _flagged(view),
            enlisted.select("account", **always),
            named.select("account", **always),
            by_row,
        ]
    ).drop_nulls()
    found = known.live.join(spans, left_on="id", right_on="account", how="semi").sort("id")
    # who is of no family is of its own
    rolls_up_to = pl.when(pl.col("family") != pl.col("id")).then(pl.col("family"))
    above = known.live.join(found.select(id="family").unique(), on="id", how="semi")
    above = above.join(found, on="id", how="anti").sort("id")
    codes = found.select(
        pl.int_range(pl.len(), dtype=pl.Int32).alias("partner"), account="id", family="family"
    )
    code = codes.select("account", "partner")
    spans = spans.unique().join(code, on="account", how="inner").select("partner", "since", "until")
    until = pl.when(pl.col("_deleted")).then(pl.col("SystemModstamp")).otherwise(pl.lit(_NEVER, INSTANT))
    memberships = (
        enrolled.join(code, on="account", how="inner")
        .select("partner", member="Id", program="ProgramId", since="CreatedDate", until=until)
        .drop_nulls()
    )
    return Partners(
        tuple(Party(*row) for row in found.select("id", "name", rolls_up_to, "website").iter_rows()),
        tuple(Party(*row) for row in above.select("id", "name").iter_rows()),
        codes,
        _apart(spans),
        _tiered(view, memberships),
        _programs(view, memberships),
        _tiers(view),
    )


def _flagged(view: View) -> pl.DataFrame:
    """When IsPartner or Type said "partner": since creation, or since the version that first said so."""
    types = [name.lower() for name in view.mapping.partner_types]
    flag = pl.any_horizontal(
        pl.col("IsPartner").fill_null(value=False),
        pl.col("Type").str.to_lowercase().is_in(types).fill_null(value=False),
    )
    turned = (pl.col("Id") != pl.col("Id").shift(1)) | (pl.col("flag") != pl.col("flag").shift(1))
    first = pl.col("Id") != pl.col("Id").shift(1, fill_value="")
    until = pl.when(pl.col("Id") == pl.col("Id").shift(-1)).then(pl.col("SystemModstamp").shift(-1))
    return (
        view.versions("Account", "Type", "IsPartner", "CreatedDate", "SystemModstamp")
        .with_columns(flag=flag)
        .with_columns(first=first)
        .filter(turned.fill_null(value=True))
        .with_columns(
            since=pl.when("first").then(pl.col("CreatedDate")).otherwise(pl.col("SystemModstamp")),
            until=until.fill_null(pl.lit(_NEVER, INSTANT)),
        )
        .filter("flag")
        .select(account="Id", since="since", until="until")
        .collect()
    )


def _apart(spans: pl.DataFrame) -> pl.DataFrame:
    """The same spans of time, those of one partner that overlap or touch made one."""
    ordered = spans.sort("partner", "since", "until")
    reached = pl.col("until").cum_max().over("partner").shift(1).over("partner")
    begins = (pl.col("since") > reached).fill_null(value=True)
    return (
        ordered.with_columns(span=begins.cum_sum())
        .group_by("span")
        .agg(pl.col("partner").first(), pl.col("since").min(), pl.col("until").max())
        .drop("span")
        .sort("partner", "since")
    )


def _tiered(view: View, memberships: pl.DataFrame) -> pl.DataFrame:
    """Split memberships where their level changed: the first stored level holds since the beginning."""
    versions = view.versions("ChannelProgramMember", "LevelId", "SystemModstamp", deleted=True).collect()
    changed = (pl.col("Id") != pl.col("Id").shift(1)) | pl.col("LevelId").ne_missing(
        pl.col("LevelId").shift(1)
    )
    levels = (
        versions.filter(changed.fill_null(value=True))
        .with_columns(
            from_=pl.when(pl.col("Id") != pl.col("Id").shift(1, fill_value=""))
            .then(pl.lit(_EVER, INSTANT))
            .otherwise(pl.col("SystemModstamp")),
            to=pl.when(pl.col("Id") == pl.col("Id").shift(-1)).then(pl.col("SystemModstamp").shift(-1)),
        )
        .select(
            member="Id", tier="LevelId", from_="from_", to=pl.col("to").fill_null(pl.lit(_NEVER, INSTANT))
        )
    )
    return (
        memberships.join(levels, on="member", how="left")
        .with_columns(
            since=pl.max_horizontal("since", "from_"),
            until=pl.min_horizontal("until", "to"),
        )
        .filter(pl.col("since") < pl.col("until"))
        .select("partner", "program", "tier", "since", "until")
        .sort("partner", "since", "program")
    )


def _programs(view: View, memberships: pl.DataFrame) -> tuple[Party, ...]:
    """Every program, ordered by id; one that shows only through its members is named by its id."""
    named = view.live("ChannelProgram", "Id", "Name").collect()
    names = dict(named.iter_rows())
    for program in memberships["program"]:
        names.setdefault(program, program)
    return tuple(Party(program, names[program] or program) for program in sorted(names))


def _tiers(view: View) -> tuple[Party, ...]:
    levels = view.live("ChannelProgramLevel", "Id", "Name", "ProgramId").sort("Id").collect()
    return tuple(Party(level, name or level, program) for level, name, program in levels.iter_rows())


def _layers(spans: pl.DataFrame, n_partners: int) -> Iterator[tuple[Ints, Ints, Ints]]:
    """The first span of every partner, then the second of those that have one, and so on.

    Each layer is ``row, since, until``, one entry per partner; where it has none, the span is empty.
    """
    partner = spans["partner"].to_numpy()
    since, until = (spans[name].dt.epoch("us").to_numpy() for name in ("since", "until"))
    place = np.arange(len(partner)) - np.searchsorted(partner, partner)
    for layer in range(int(place.max(initial=-1)) + 1):
        rows = np.flatnonzero(place == layer)
        columns = np.zeros((3, n_partners), dtype=np.int64)
        columns[0, partner[rows]], columns[1, partner[rows]], columns[2, partner[rows]] = (
            rows,
            since[rows],
            until[rows],
        )
        yield columns[0], columns[1], columns[2]


def _codes(values: pl.Series, parties: tuple[Party, ...]) -> NDArray[np.int16]:
    codes = {party.id: code for code, party in enumerate(parties)}
    return values.replace_strict(codes, default=-1, return_dtype=pl.Int16).fill_null(-1).to_numpy()
