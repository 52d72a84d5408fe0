"""From tables of deals, touchpoints and stages to a snapshot: :meth:`attribution.deals.Deals.from_frames`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attribution.arrays import Codes, codes_of, fixed_width
from attribution.columns import (
    APPROVALS,
    DAY,
    DEAL_TYPES,
    KINDS,
    NO_DAY,
    OPEN,
    OUTCOMES,
    STRENGTHS,
    Bools,
    DealColumns,
    Flag,
    Ints,
    Party,
    Snapshot,
    Stranded,
    TouchpointColumns,
    micros,
    read_only,
    to_micros,
)
from attribution.errors import DataError, UsageError, known
from attribution.periods import FiscalYear
from attribution.tables import Columns

__all__ = ["snapshot_of_frames"]

_DEAL_COLUMNS = (
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
_TOUCHPOINT_COLUMNS = (
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
_STRENGTH_OF_KIND = {
    **dict.fromkeys(("campaign_response", "contact_role", "call", "email"), "weak"),
    **dict.fromkeys(("task", "overlap"), "exposure"),
}
"""Of the other kinds the evidence is strong."""
_ON_OWN_ACCOUNT = ("campaign_response", "contact_role", "meeting", "call", "email", "task")
"""Kinds that are no touchpoints where the partner is of the deal's own account; the others state it."""
_LOGGED_LATE = 14 * DAY
_NO_MAPPING = "frames"
"""In place of the hash of a mapping: nothing was mapped."""


@dataclass(frozen=True, slots=True)
class _View:
    """When the tables are looked at."""

    as_of: int
    zone: str


@dataclass(frozen=True, slots=True, eq=False)
class _DealRows:
    """Deals as given, one entry per row of their table."""

    columns: Columns
    id: pl.Series
    created_at: Ints
    closed_at: Ints
    """``OPEN`` unless closed by as_of."""
    account: pl.Series
    account_parent: pl.Series
    order: Ints
    """Rows of the visible deals, ordered by id."""

    @property
    def position(self) -> Ints:
        """Per row its position among the visible deals; -1 for one that is not visible."""
        position = np.full(len(self.id), -1, dtype=np.int64)
        position[self.order] = np.arange(len(self.order))
        return position

    def rows_of(self, table: Columns, column: str = "deal_id") -> Ints:
        """Which deal each row of another table means, as a row of this one."""
        wanted = table.text(column, null=False, checked=False)
        row = wanted.cast(pl.Enum(self.id), strict=False).to_physical()
        table.refuse(column, row.is_null(), "is the id of no deal", hint="every row names a row of deals")
        return row.to_numpy().astype(np.int64)


def snapshot_of_frames(
    deals: object, touchpoints: object, stages: object, *, as_of: datetime, zone: str
) -> Snapshot:
    """Check the tables and arrange them as columns; what they hold is said in ``Deals.from_frames``.

    Raises
    ------
    UsageError
        For columns that are missing, unknown or of another type, naive instants, and unknown zones.
    DataError
        For rows that cannot be.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"there is no time zone {zone!r}", hint="names look like 'America/New_York'"
        ) from None
    if not isinstance(as_of, datetime):
        raise UsageError(
            f"as_of is {as_of!r}, and an instant is needed", hint="such as datetime(2026, 6, 30, tzinfo=UTC)"
        )
    view = _View(to_micros(as_of, "as_of"), zone)
    table = Columns(
        "deals",
        deals,
        key="id",
        required=("id", "created_at", "closed_at", "is_won"),
        optional=_DEAL_COLUMNS,
        others=True,
    )
    rows = _deal_rows(table, view)
    currency = _currency(table)
    reopened = np.full(len(rows.order), OPEN) if stages is None else _last_open_spells(stages, rows, view)
    columns, segments = _deal_columns(rows, view, currency, reopened)
    touches = Columns(
        "touchpoints",
        touchpoints,
        key="id",
        required=("deal_id", "occurred_at", "partner"),
        optional=_TOUCHPOINT_COLUMNS,
    )
    given = _Touches.read(touches, rows, view)
    named = table.text("name", checked=False).fill_null(rows.id)
    return Snapshot(
        deals=read_only(columns),
        touchpoints=read_only(given.columns(rows)),
        stranded=read_only(_nothing_stranded()),
        names=tuple(named.gather(rows.order)),
        partners=given.partners,
        parents=given.parents,
        programs=tuple(Party(name, name) for name in given.programs),
        tiers=(),
        kinds=given.kinds,
        segments=segments,
        objects=("",),
        roles=given.roles,
        lead_sources=(),
        hosts=(),
        as_of=view.as_of,
        known_at=None,
        currency=currency,
        zone=zone,
        fiscal=FiscalYear(),
        mapping_hash=_NO_MAPPING,
        direct_touches=given.n_direct,
    )


def _deal_rows(table: Columns, view: _View) -> _DealRows:
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
    table.instants("lead_created_at")  # checked: no rule reads it
    return _DealRows(
        table,
        ids,
        created_at,
        closed_at,
        table.text("account_id"),
        table.text("account_parent_id"),
        by_id[created_at[by_id] <= view.as_of],
    )


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


def _deal_columns(
    rows: _DealRows, view: _View, currency: str, reopened: Ints
) -> tuple[DealColumns, tuple[tuple[str, tuple[str, ...]], ...]]:
    table, order = rows.columns, rows.order
    amount = table.minor_units("amount", currency).gather(order)
    closed_at = rows.closed_at[order]
    is_open = closed_at == OPEN
    won = table.boolean("is_won").fill_null(value=False).to_numpy()[order]
    outcome = np.where(is_open, 0, np.where(won, OUTCOMES.index("won"), OUTCOMES.index("lost")))

    created_on = _local_days(rows.created_at[order], view.zone)
    closed_on = np.where(is_open, NO_DAY, _local_days(np.where(is_open, 0, closed_at), view.zone))
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
        names = _names(values)
        codes.append(codes_of(values, names))
        segments.append((name, names))
    accounts = rows.account.gather(order)
    columns = DealColumns(
        id=fixed_width(rows.id.gather(order)),
        created_at=rows.created_at[order],
        closed_at=closed_at,
        outcome=outcome.astype(np.int8),
        closed_on=closed_on.astype(np.int32),
        amount=amount.fill_null(0).to_numpy().astype(np.int64),
        valued=amount.is_not_null().to_numpy().copy(),
        rate_is_current=np.zeros(len(amount), dtype=bool),
        deal_type=types.astype(np.int8),
        account=codes_of(accounts, _names(accounts)),
        last_open_spell_at=reopened,
        lead_source=np.full(len(order), -1, dtype=np.int16),
        segments=tuple(codes),
        close_before_creation=~is_open & (closed_on < created_on),
        approximate=np.zeros(len(order), dtype=bool),
    )
    return columns, tuple(segments)


def _last_open_spells(stages: object, rows: _DealRows, view: _View) -> Ints:
    """Per visible deal: when the last of two or more open spells before its close began (RULES 6.3)."""
    table = Columns(
        "stages",
        stages,
        key="deal_id",
        required=("deal_id", "stage", "entered_at"),
        optional=("is_closed",),
    )
    row = rows.rows_of(table)
    stage = table.text("stage", null=False, checked=False)
    entered, is_closed = micros(table.instants("entered_at", null=False)), table.boolean("is_closed")
    deal = rows.position[row]
    spells = (
        pl.DataFrame(
            {
                "deal": deal,
                "stage": stage,
                "entered_at": entered,
                "open": ~is_closed.fill_null(value=False),
                "created_at": rows.created_at[row],
                "closed_at": rows.closed_at[row],
            }
        )
        .filter(pl.col("deal") >= 0, pl.col("entered_at") <= view.as_of, pl.col("closed_at") < OPEN)
        .sort("deal", "entered_at", maintain_order=True)
        .filter(pl.struct("deal", "stage").rle_id().diff().fill_null(1) != 0)
    )
    unknown = (
        spells.group_by("deal", maintain_order=True)
        .first()
        .filter(pl.col("entered_at") > pl.col("created_at"))
        .with_columns(entered_at="created_at", open=True)
    )
    last = (
        pl.concat([spells, unknown])
        .filter("open", pl.col("entered_at") < pl.col("closed_at"))
        .group_by("deal")
        .agg(n=pl.len(), at=pl.col("entered_at").max())
        .filter(pl.col("n") >= 2)
    )
    reopened = np.full(len(rows.order), OPEN)
    reopened[last["deal"].to_numpy()] = last["at"].to_numpy()
    return reopened


@dataclass(frozen=True, slots=True, eq=False)
class _Touches:
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
    partners: tuple[Party, ...]
    parents: tuple[Party, ...]
    programs: tuple[str, ...]
    kinds: tuple[str, ...]
    roles: tuple[str, ...]
    n_direct: int

    @classmethod
    def read(cls, table: Columns, rows: _DealRows, view: _View) -> _Touches:
        """Check every row, then keep the visible ones with a partner."""
        deal = rows.position[rows.rows_of(table)]
        happened = micros(table.instants("occurred_at", null=False))
        recorded = table.instants("recorded_at")
        recorded_at = np.where(recorded.is_null().to_numpy(), happened, micros(recorded))
        direct = table.boolean("is_direct").fill_null(value=False).to_numpy()
        given_id = table.text("id", null=False) if "id" in table else None
        if given_id is not None:
            table.unique("id", given_id)
        partner, everybody, called = _partners(table, direct)
        kind, strength, kinds = _kinds(table)
        (program, programs), (role, roles) = table.coded("program"), table.coded("role")
        by_owner = table.boolean("recorded_by_owner").fill_null(value=False).to_numpy()
        approval, approved_at, expires_at = _judged(table, recorded_at, view)

        visible = (deal >= 0) & (happened <= view.as_of)
        keep = np.flatnonzero(visible & ~direct)
        if given_id is None:
            kind_order = np.argsort(np.argsort(kinds))
            ties = [pl.Series(each[keep]) for each in (called, partner, kind_order[kind], program)]
        else:
            ties = [given_id.gather(keep)]
        order = keep[_path_order(deal[keep], happened[keep], ties)]
        seen = np.bincount(partner[order], minlength=len(everybody)) > 0
        partners = tuple(party for party, visible in zip(everybody, seen.tolist(), strict=True) if visible)
        width = len(str(len(order)))
        numbers = pl.Series(np.arange(1, len(order) + 1)).cast(pl.String).str.zfill(width)
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
            fixed_width(numbers if given_id is None else given_id.gather(order)),
            approval[order],
            approved_at[order],
            expires_at[order],
            partners,
            _parents(everybody, partners),
            programs,
            kinds,
            roles,
            int((visible & direct).sum()),
        )

    def columns(self, rows: _DealRows) -> TouchpointColumns:
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
        )

    def _of_own_account(self, rows: _DealRows) -> Bools:
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
        names = _names(accounts)
        families = _names(pl.Series([top(each) for each in (*names, *(p.id for p in self.partners))]))
        family = {name: at for at, name in enumerate(families)}
        of_account = np.array([family[top(name)] for name in names] + [-1], dtype=np.int64)
        of_partner = np.array([family[top(party.id)] for party in self.partners], dtype=np.int64)
        own: Bools = of_account[codes_of(accounts, names)][self.deal] == of_partner[self.partner]
        return own


def _partners(table: Columns, direct: Bools) -> tuple[Codes, tuple[Party, ...], Codes]:
    """Code of the partner per row, whom the codes mean, and the code of the name per row."""
    called, names = table.coded("partner")
    nobody = pl.Series((called < 0) & ~direct)
    table.refuse(
        "partner", nobody, "nobody is named", hint="a touch without a partner is direct: say so in is_direct"
    )
    partner, ids = called, names
    if "partner_id" in table:
        partner, ids = table.coded("partner_id")
        nobody = pl.Series((partner < 0) & ~direct)
        table.refuse("partner_id", nobody, "nothing is given, though a partner is named")
    parent, above = table.coded("parent")
    name_of = _one_per(table, "partner", partner, ids, called, names)
    parent_of = _one_per(table, "parent", partner, ids, parent, above)

    of_name: dict[str, str | None] = {}
    for code, name in name_of.items():
        of_name[name] = None if name in of_name else ids[code]  # a name of two is no reference
    known_ids = {ids[code] for code in name_of}
    parties: list[Party] = []
    for code, identity in enumerate(ids):
        up = parent_of.get(code)
        if up is not None and up not in known_ids:
            up = of_name.get(up) or up
        parties.append(Party(identity, name_of.get(code, identity), None if up == identity else up))
    _refuse_circle(table, parties)
    return partner, tuple(parties), called


def _refuse_circle(table: Columns, parties: list[Party]) -> None:
    """Refuse parents of which one is, over others, its own."""
    above = {party.id: party.parent_id for party in parties if party.parent_id is not None}
    while above:
        start, up = above.popitem()
        line = [start]
        while up in above:
            line.append(up)
            up = above.pop(up)
        if up in line:
            circle = " under ".join([*line[line.index(up) :], up])
            raise DataError(
                f"touchpoints: column 'parent': {circle} is a circle",
                hint="leave the parent of the topmost empty",
            )


def _one_per(
    table: Columns, column: str, partner: Codes, ids: tuple[str, ...], value: Codes, names: tuple[str, ...]
) -> dict[int, str]:
    """The one value of a column that each partner has, by the partner's code; null is no value."""
    if value is partner:
        return dict(enumerate(names))
    given = np.flatnonzero((partner >= 0) & (value >= 0))
    pairs = pl.Series(partner[given].astype(np.int64) * len(names) + value[given]).unique().sort()
    found: dict[int, str] = {}
    for code, at in (divmod(pair, len(names)) for pair in pairs):
        if code in found:
            row = int(given[np.argmax((partner[given] == code) & (value[given] == at))])
            what = f"and {found[code]!r} are both given for {ids[code]!r}"
            table.fail(column, row, what, "one partner has one: correct the others")
        found[code] = names[at]
    return found


def _parents(everybody: tuple[Party, ...], partners: tuple[Party, ...]) -> tuple[Party, ...]:
    """Parents of these partners, and theirs, that are not among them."""
    party_of = {party.id: party for party in everybody}
    found = {party.id: party for party in partners}
    wanted = [party.parent_id for party in partners]
    while wanted:
        above = wanted.pop()
        if above is not None and above not in found:
            found[above] = party_of.get(above, Party(above, above))
            wanted.append(found[above].parent_id)
    return tuple(found[above] for above in sorted(found.keys() - {party.id for party in partners}))


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


def _judged(table: Columns, recorded_at: Ints, view: _View) -> tuple[NDArray[np.int8], Ints, Ints]:
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


def _names(values: pl.Series) -> tuple[str, ...]:
    """The different values, sorted bytewise."""
    return tuple(values.drop_nulls().unique().cast(pl.String).sort())


def _few(column: str, codes: Codes, names: tuple[str, ...]) -> NDArray[np.int16]:
    most = np.iinfo(np.int16).max
    if len(names) > most:
        raise UsageError(
            f"touchpoints: column {column!r} has {len(names):,} different values",
            hint=f"at most {most:,} are possible: is it the right column?",
        )
    return codes.astype(np.int16)


def _local_days(instants: Ints, zone: str) -> Ints:
    local = pl.Series(instants).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    return local.dt.date().to_physical().cast(pl.Int64).to_numpy()


def _nothing_stranded() -> Stranded:
    return Stranded(
        np.empty(0, dtype="S1"),
        np.empty(0, dtype=np.int64),
        np.empty(0, dtype=np.int32),
        np.empty(0, dtype=np.int8),
        np.empty(0, dtype=bool),
    )
