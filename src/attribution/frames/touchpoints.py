"""The table of touchpoints, checked and arranged as columns in path order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attribution.arrays import Codes, codes_of, fixed_width, numbered
from attribution.columns import (
    APPROVALS,
    DAY,
    KINDS,
    OPEN,
    STRENGTHS,
    Bools,
    DealColumns,
    DirectTouches,
    Flag,
    Ints,
    Party,
    TouchpointColumns,
    micros,
)
from attribution.errors import UsageError, known
from attribution.frames.deals import DealRows, View, names_in
from attribution.frames.partners import parents_of, partners_of
from attribution.tables import Columns

__all__ = ["Touches"]

_COLUMNS = (
    "id",
    "partner_id",
    "parent",
    "program",
    "kind",
    "strength",
    "role",
    "recorded_at",
    "approval",
    "approved_at",
    "expires_at",
    "recorded_by_owner",
    "is_direct",
    "recorded_by",
    "approved_by",
    "website",
)
_STRENGTH_OF_KIND = {
    **dict.fromkeys(("campaign_response", "contact_role", "call", "email"), "weak"),
    **dict.fromkeys(("task", "overlap"), "exposure"),
}
"""Of the other kinds the evidence is strong."""
_ON_OWN_ACCOUNT = ("campaign_response", "contact_role", "meeting", "call", "email", "task")
"""Kinds that are no touchpoints where the partner is of the deal's own account; the others state it."""
_LOGGED_LATE = 14 * DAY


@dataclass(frozen=True, slots=True, eq=False)
class Touches:
    """The visible touchpoints, in path order, and what their codes mean."""

    deal: Ints
    occurred_at: Ints
    recorded_at: Ints
    partner: NDArray[np.int32]
    program: NDArray[np.int16]
    kind: NDArray[np.int8]
    strength: NDArray[np.uint8]
    role: NDArray[np.int16]
    by_owner: Bools
    record: NDArray[np.bytes_]
    approval: NDArray[np.int8]
    """Code into ``APPROVALS``, as of the view."""
    approved_at: Ints
    expires_at: Ints
    approver: NDArray[np.int8]
    """Code into ``APPROVERS``."""
    partners: tuple[Party, ...]
    parents: tuple[Party, ...]
    programs: tuple[str, ...]
    kinds: tuple[str, ...]
    roles: tuple[str, ...]
    direct: DirectTouches
    untold: tuple[str, ...]
    """Facts of ``Snapshot.untold`` that the table has no column for."""

    @classmethod
    def read(cls, touchpoints: object, rows: DealRows, deals: DealColumns) -> Touches:
        """Check every row, then keep the visible ones: those with a partner, and direct ones beside them."""
        table = Columns(
            "touchpoints",
            touchpoints,
            key="id",
            required=("deal_id", "occurred_at", "partner"),
            optional=_COLUMNS,
        )
        view = rows.view
        deal = rows.position[rows.rows_of(table)]
        happened = micros(table.instants("occurred_at", null=False))
        recorded = table.instants("recorded_at")
        recorded_at = np.where(recorded.is_null().to_numpy(), happened, micros(recorded))
        direct = table.boolean("is_direct").fill_null(value=False).to_numpy()
        given_id = table.text("id", null=False) if "id" in table else None
        if given_id is not None:
            table.unique("id", given_id)
        partner, everybody, called = partners_of(table, direct)
        kind, strength, kinds = _kinds(table)
        (program, programs), (role, roles) = table.coded("program"), table.coded("role")
        by_owner = table.boolean("recorded_by_owner").fill_null(value=False).to_numpy()
        approval, approved_at, expires_at = _judged(table, recorded_at, view)

        visible = np.flatnonzero((deal >= 0) & (happened <= view.as_of))
        if given_id is None:
            kind_order = np.argsort(np.argsort(kinds))
            names = (np.where(direct, -1, code) for code in (called, partner))
            ties = [pl.Series(each[visible]) for each in (*names, kind_order[kind], program)]
        else:
            ties = [given_id.gather(visible)]
        path = visible[_path_order(deal[visible], happened[visible], ties)]
        records = numbered(len(path)) if given_id is None else fixed_width(given_id.gather(path))
        on_path = ~direct[path]
        order, alone = path[on_path], path[~on_path]
        seen = np.bincount(partner[order], minlength=len(everybody)) > 0
        partners = tuple(party for party, visible in zip(everybody, seen.tolist(), strict=True) if visible)
        return cls(
            deal[order],
            happened[order],
            recorded_at[order],
            (np.cumsum(seen) - 1).astype(np.int32)[partner[order]],
            _few("program", program[order], programs),
            kind[order].astype(np.int8),
            strength[order].astype(np.uint8),
            _few("role", role[order], roles),
            by_owner[order],
            records[on_path],
            approval[order],
            approved_at[order],
            expires_at[order],
            _approvers(table)[order],
            partners,
            parents_of(everybody, partners),
            programs,
            kinds,
            roles,
            DirectTouches(
                deal=deal[alone].astype(np.int32),
                account=deals.account[deal[alone]],
                occurred_at=happened[alone],
                recorded_at=recorded_at[alone],
                kind=kind[alone].astype(np.int8),
                object=np.zeros(len(alone), dtype=np.int8),
                record=records[~on_path],
            ),
            tuple(
                fact
                for fact, column in (
                    ("recorded_at", "recorded_at"),
                    ("approver", "approved_by"),
                    ("website", "website"),
                )
                if column not in table
            ),
        )

    def columns(self, rows: DealRows) -> TouchpointColumns:
        """The touchpoints as a snapshot holds them."""
        own = self._of_own_account(rows)
        flags = self.strength | np.uint8(Flag.LINKED)
        implicit = np.isin(self.kind, [self.kinds.index(kind) for kind in _ON_OWN_ACCOUNT])
        for mask, flag in (
            (own & implicit, Flag.OWN_ACCOUNT),
            (own & ~implicit, Flag.SELF_DEAL),
            (np.abs(self.recorded_at - self.occurred_at) > _LOGGED_LATE, Flag.LOGGED_LATE),
            (self.by_owner, Flag.BY_OWNER),
        ):
            flags[mask] |= np.uint8(flag)
        judged = np.flatnonzero((self.approval > 0) | (self.expires_at != OPEN))
        nowhere = np.empty(0, dtype=np.int64)
        return TouchpointColumns(
            offsets=np.searchsorted(self.deal, np.arange(len(rows.order) + 1)).astype(np.int64),
            occurred_at=self.occurred_at,
            partner=self.partner,
            program=self.program,
            kind=self.kind,
            flags=flags,
            tier=np.full(len(self.deal), -1, dtype=np.int16),
            recorded_at=self.recorded_at,
            object=np.zeros(len(self.deal), dtype=np.int8),
            record=self.record,
            role=self.role,
            reached=nowhere,
            reach_from=nowhere,
            reach_below=nowhere,
            hosted=nowhere,
            host=np.empty(0, dtype=np.int32),
            judged=judged,
            approval=self.approval[judged],
            approved_at=self.approved_at[judged],
            expires_at=self.expires_at[judged],
            approver=self.approver[judged],
        )

    def _of_own_account(self, rows: DealRows) -> Bools:
        """Where the partner is the deal's account, or shares its ultimate parent."""
        if not rows.account.is_not_null().any():
            return np.zeros(len(self.deal), dtype=bool)
        above = {party.id: party.parent_id for party in (*self.partners, *self.parents)}
        pairs = pl.DataFrame({"id": rows.account, "parent": rows.account_parent}).unique().drop_nulls()
        above |= dict(pairs.iter_rows())

        def top(account: str) -> str:
            seen = {account}
            while (parent := above.get(account)) is not None and parent not in seen:
                seen.add(parent)
                account = parent
            return min(seen) if parent is not None else account

        accounts = rows.account.gather(rows.order)
        names = names_in(accounts)
        families = names_in(pl.Series([top(each) for each in (*names, *(p.id for p in self.partners))]))
        family = {name: at for at, name in enumerate(families)}
        of_account = np.array([family[top(name)] for name in names] + [-1], dtype=np.int64)
        of_partner = np.array([family[top(party.id)] for party in self.partners], dtype=np.int64)
        own: Bools = of_account[codes_of(accounts, names)][self.deal] == of_partner[self.partner]
        return own


def _kinds(table: Columns) -> tuple[Codes, Codes, tuple[str, ...]]:
    """Kind and strength per row, and the kinds that exist."""
    given, names = table.coded("kind")
    strength = table.choice("strength", STRENGTHS)
    kinds = (*KINDS, *(name for name in names if name not in KINDS))
    if len(kinds) > np.iinfo(np.int8).max:
        raise UsageError(
            f"touchpoints: there are {len(kinds) - len(KINDS)} kinds of your own",
            hint=f"{np.iinfo(np.int8).max - len(KINDS)} are possible: group them",
        )
    meant = [*(kinds.index(name) for name in names), kinds.index("meeting")]
    kind = np.array(meant, dtype=np.int32)[given]
    unknown = pl.Series((kind >= len(KINDS)) & (strength < 0))
    hint = f"give its strength, or use {known(KINDS, 20)}"
    table.refuse("kind", unknown, "is none of the kinds that the rules know", hint=hint)
    strengths = [STRENGTHS.index(_STRENGTH_OF_KIND.get(name, "strong")) for name in kinds]
    default = np.array(strengths, dtype=np.int32)
    return kind, np.where(strength < 0, default[kind], strength), kinds


def _judged(table: Columns, recorded_at: Ints, view: View) -> tuple[NDArray[np.int8], Ints, Ints]:
    """What each row says of its record as of the view: ``approval, approved_at, expires_at``."""
    # null, which is -1, is the first of them: none
    approval = (table.choice("approval", APPROVALS[1:]) + 1).astype(np.int8)
    stated = table.instants("approved_at")
    approved = approval == APPROVALS.index("approved")
    approved_at = np.where(stated.is_null().to_numpy(), recorded_at, micros(stated))
    approved_at[~approved] = OPEN
    later = approved & (approved_at > view.as_of)
    approval[later], approved_at[later] = APPROVALS.index("pending"), OPEN
    expires = micros(table.instants_or_ends("expires_at", view.zone))
    expires[expires != OPEN] += 1  # it holds at that instant still
    return approval, approved_at, expires


def _approvers(table: Columns) -> NDArray[np.int8]:
    """Whether who approved a record is who recorded it."""
    recorded, approved = table.text("recorded_by"), table.text("approved_by")
    same = (recorded == approved).cast(pl.Int8) + 1
    return same.fill_null(0).to_numpy().astype(np.int8)


def _path_order(deal: Ints, happened: Ints, ties: list[pl.Series]) -> Ints:
    """Order by deal, instant and then these, as bytes; the number of the row decides in the end."""
    if not len(deal):
        return np.empty(0, dtype=np.int64)
    # one integer of deal and instant sorts eight times faster; what its last bits lose is a tie
    since = happened - happened.min()
    lost = max(0, int(since.max()).bit_length() + int(deal.max()).bit_length() - 63)
    keys = (deal << (63 - int(deal.max()).bit_length())) | (since >> lost)
    ordered = pl.Series(keys).arg_sort().to_numpy().astype(np.int64)
    same = np.diff(keys[ordered]) == 0
    tied = np.flatnonzero(np.append(same, [False]) | np.append([False], same))
    if len(tied):
        rows = np.sort(ordered[tied])
        all_keys = [pl.Series(deal[rows]), pl.Series(happened[rows]), *(each.gather(rows) for each in ties)]
        frame = pl.DataFrame([key.alias(str(at)) for at, key in enumerate(all_keys)])
        by_key = frame.select(pl.arg_sort_by(*frame.columns, maintain_order=True)).to_series().to_numpy()
        ordered[tied] = rows[by_key]
    return ordered


def _few(column: str, codes: Codes, names: tuple[str, ...]) -> NDArray[np.int16]:
    most = np.iinfo(np.int16).max
    if len(names) > most:
        raise UsageError(
            f"touchpoints: column {column!r} has {len(names):,} different values",
            hint=f"at most {most:,} are possible: is it the right column?",
        )
    return codes.astype(np.int16)
