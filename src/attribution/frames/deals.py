"""The table of deals, checked and arranged as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from attribution.arrays import codes_of, fixed_width, local_days
from attribution.columns import DEAL_TYPES, NO_DAY, OPEN, OUTCOMES, DealColumns, Ints, micros
from attribution.errors import UsageError
from attribution.tables import Columns

__all__ = ["DealRows", "View", "names_in"]

_COLUMNS = (
    "amount",
    "currency",
    "closed_on",
    "account_id",
    "account_parent_id",
    "deal_type",
    "owner_id",
    "name",
    "lead_created_at",
)
_TAKEN = (
    "partner",
    "partner_id",
    "parent",
    "parent_id",
    "program",
    "program_id",
    "tier",
    "tier_id",
    "share",
    "deals",
    "n_deals",
    "approved_amount",
    "auto_approved_amount",
    "claimed_amount",
    *("participation_amount",),
)
"""Columns of results, which no segment can be called."""


@dataclass(frozen=True, slots=True)
class View:
    """When the tables are looked at."""

    as_of: int
    zone: str


@dataclass(frozen=True, slots=True, eq=False)
class DealRows:
    """Deals as given, one entry per row of their table."""

    columns: Columns
    view: View
    currency: str
    id: pl.Series
    created_at: Ints
    closed_at: Ints
    """``OPEN`` unless closed by as_of."""
    account: pl.Series
    account_parent: pl.Series
    lead_created_at: Ints
    """``OPEN`` without a lead by as_of."""
    order: Ints
    """Rows of the visible deals, ordered by id."""

    @classmethod
    def read(cls, deals: object, view: View) -> DealRows:
        """Check every row."""
        table = Columns(
            "deals",
            deals,
            key="id",
            required=("id", "created_at", "closed_at", "is_won"),
            optional=_COLUMNS,
            others=True,
        )
        ids = table.text("id", null=False)
        table.unique("id", ids)
        created, closed = table.instants("created_at", null=False), table.instants("closed_at")
        won = table.boolean("is_won")
        table.refuse(
            "closed_at",
            closed.is_null() & won.is_not_null(),
            "nothing is given, though is_won says that the deal is closed",
            hint="an open deal has neither closed_at nor is_won",
        )
        table.refuse(
            "is_won",
            closed.is_not_null() & won.is_null(),
            "nothing is given, though closed_at says that the deal is closed",
            hint="an open deal has neither closed_at nor is_won",
        )
        created_at, closed_at = micros(created), micros(closed)
        closed_at[closed_at > view.as_of] = OPEN
        by_id = ids.arg_sort().to_numpy().astype(np.int64)
        lead_created_at = micros(table.instants("lead_created_at"))
        lead_created_at[lead_created_at > view.as_of] = OPEN
        return cls(
            table,
            view,
            _currency(table),
            ids,
            created_at,
            closed_at,
            table.text("account_id"),
            table.text("account_parent_id"),
            lead_created_at,
            by_id[created_at[by_id] <= view.as_of],
        )

    @property
    def position(self) -> Ints:
        """Per row its position among the visible deals; -1 for one that is not visible."""
        position = np.full(len(self.id), -1, dtype=np.int64)
        position[self.order] = np.arange(len(self.order))
        return position

    def rows_of(self, table: Columns, column: str = "deal_id") -> Ints:
        """Which deal each row of another table means, as a row of this one."""
        wanted = table.text(column, null=False, checked=False)
        rows = pl.DataFrame({"id": self.id, "row": np.arange(len(self.id))})
        row = wanted.to_frame("id").join(rows, on="id", how="left", maintain_order="left")["row"]
        table.refuse(column, row.is_null(), "is the id of no deal", hint="every row names a row of deals")
        return row.to_numpy().astype(np.int64)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the visible deals, in their order; a deal without a name is called by its id."""
        named = self.columns.text("name", checked=False).fill_null(self.id)
        return tuple(named.gather(self.order))

    def arranged(
        self, reopened: Ints
    ) -> tuple[DealColumns, tuple[tuple[str, tuple[str, ...]], ...], tuple[str, ...]]:
        """The visible deals as a snapshot holds them, its segments and owners.

        ``reopened`` has the start of the last of several open spells, per visible deal.
        """
        table, order = self.columns, self.order
        amount = table.minor_units("amount", self.currency).gather(order)
        closed_at = self.closed_at[order]
        is_open = closed_at == OPEN
        won = table.boolean("is_won").fill_null(value=False).to_numpy()[order]
        outcome = np.where(is_open, 0, np.where(won, OUTCOMES.index("won"), OUTCOMES.index("lost")))

        created_on = local_days(self.created_at[order], self.view.zone)
        closed_on = np.where(is_open, NO_DAY, local_days(np.where(is_open, 0, closed_at), self.view.zone))
        given = table.days("closed_on").gather(order).to_physical()
        stated = given.is_not_null().to_numpy()
        closed_on[stated] = given.drop_nulls().to_numpy()

        types = table.choice("deal_type", DEAL_TYPES)[order]
        types[types < 0] = DEAL_TYPES.index("unclassified")
        kept = sorted(table.others + ["owner_id"] * ("owner_id" in table))
        for name in kept:
            if name in _TAKEN:
                raise UsageError(
                    f"deals: no segment can be called {name!r}",
                    hint="results have a column of this name: rename it",
                )
        codes, segments = [], []
        for name in kept:
            values = table.labels(name).gather(order)
            names = names_in(values)
            codes.append(codes_of(values, names))
            segments.append((name, names))
        accounts, owned = self.account.gather(order), table.labels("owner_id").gather(order)
        owners = names_in(owned)
        columns = DealColumns(
            id=fixed_width(self.id.gather(order)),
            created_at=self.created_at[order],
            closed_at=closed_at,
            outcome=outcome.astype(np.int8),
            closed_on=closed_on.astype(np.int32),
            amount=amount.fill_null(0).to_numpy().astype(np.int64),
            valued=amount.is_not_null().to_numpy().copy(),
            rate_is_current=np.zeros(len(amount), dtype=bool),
            deal_type=types.astype(np.int8),
            account=codes_of(accounts, names_in(accounts)),
            lead_created_at=self.lead_created_at[order],
            last_open_spell_at=reopened,
            lead_source=np.full(len(order), -1, dtype=np.int16),
            owner=codes_of(owned, owners),
            close_date_pushes=np.full(len(order), -1, dtype=np.int16),
            segments=tuple(codes),
            close_before_creation=~is_open & (closed_on < created_on),
            approximate=np.zeros(len(order), dtype=bool),
        )
        return columns, tuple(segments), owners


def _currency(table: Columns) -> str:
    given = table.text("currency")
    table.refuse(
        "currency", ~given.str.contains("^[A-Z]{3}$"), "is no code of a currency", hint="such as USD"
    )
    if "currency" in table and "amount" in table:
        table.refuse(
            "currency",
            given.is_null() & table.rows["amount"].is_not_null(),
            "nothing is given, though there is an amount",
        )
    codes = given.drop_nulls()
    if not len(codes):
        return "XXX"
    table.refuse(
        "currency",
        given != codes[0],
        f"is not {codes[0]}, as before",
        hint="convert amounts to one currency first, at the rates that your finance team uses",
    )
    return str(codes[0])


def names_in(values: pl.Series) -> tuple[str, ...]:
    """The different values, sorted bytewise."""
    return tuple(values.drop_nulls().unique().cast(pl.String).sort())
