"""Deals and touchpoints one at a time, as objects: what people look at, never the storage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from attribution import money
from attribution.columns import (
    APPROVALS,
    DEAL_TYPES,
    NO_DAY,
    OPEN,
    OUTCOMES,
    STRENGTHS,
    Flag,
    Party,
    Snapshot,
    from_micros,
)

if TYPE_CHECKING:
    import networkx

__all__ = ["Deal", "Touchpoint", "deal_at", "touchpoint_at"]


@dataclass(frozen=True, slots=True)
class Touchpoint:
    """One dated act of one partner on one opportunity, with its evidence record."""

    id: str
    """``object:record id:partner id``."""
    occurred_at: datetime
    recorded_at: datetime
    partner: Party
    program: Party | None
    tier: Party | None
    """The partner's level in the program at that instant."""
    kind: str
    strength: str
    own_account: bool
    self_deal: bool
    logged_late: bool
    role: str | None
    approval: str | None
    """What a mapped field says of the record: ``pending``, ``approved`` or ``rejected``."""
    approved_at: datetime | None
    expires_at: datetime | None
    """The last instant at which the record holds."""


@dataclass(frozen=True, slots=True)
class Deal:
    """An opportunity together with its touchpoints, as of an instant: a view of one row of ``Deals``."""

    id: str
    name: str
    created_at: datetime
    lead_created_at: datetime | None
    """Creation of the earliest lead that became this deal."""
    closed_at: datetime | None
    outcome: str
    closed_on: date | None
    amount: Decimal | None
    currency: str
    rate_is_current: bool
    """The amount was converted at today's rate, as no dated one covers the close date."""
    deal_type: str
    segments: dict[str, str | None] = field(hash=False)
    """Values of the fields that deals can be grouped by, by name."""
    as_of: datetime
    touchpoints: tuple[Touchpoint, ...]
    """The path: touchpoints in the order (occurred_at, id)."""

    @property
    def graph(self) -> networkx.DiGraph[str]:
        """The touchpoint graph of this deal; see :func:`attribution.graph.deal_graph`."""
        from attribution.graph import deal_graph

        return deal_graph(self)


def deal_at(snapshot: Snapshot, position: int, rows: Iterable[int]) -> Deal:
    """The deal at a position of the snapshot's columns, with the touchpoints at these rows of theirs."""
    columns = snapshot.deals
    closed_on = int(columns.closed_on[position])
    closed_at = int(columns.closed_at[position])
    lead_created_at = int(columns.lead_created_at[position])
    return Deal(
        id=columns.id[position].decode(),
        name=snapshot.names[position],
        created_at=from_micros(int(columns.created_at[position])),
        lead_created_at=None if lead_created_at == OPEN else from_micros(lead_created_at),
        closed_at=None if closed_at == OPEN else from_micros(closed_at),
        outcome=OUTCOMES[columns.outcome[position]],
        closed_on=None if closed_on == NO_DAY else date(1970, 1, 1) + timedelta(days=closed_on),
        amount=money.major(int(columns.amount[position]), snapshot.currency)
        if columns.valued[position]
        else None,
        currency=snapshot.currency,
        rate_is_current=bool(columns.rate_is_current[position]),
        deal_type=DEAL_TYPES[columns.deal_type[position]],
        segments={
            name: None if codes[position] < 0 else values[codes[position]]
            for (name, values), codes in zip(snapshot.segments, columns.segments, strict=True)
        },
        as_of=from_micros(snapshot.as_of),
        touchpoints=tuple(touchpoint_at(snapshot, row) for row in rows),
    )


def touchpoint_at(snapshot: Snapshot, row: int) -> Touchpoint:
    """The touchpoint at a position of the snapshot's columns."""
    columns = snapshot.touchpoints
    partner = snapshot.partners[columns.partner[row]]
    flags = int(columns.flags[row])
    cold = row if columns.cold_at is None else columns.cold_at[row]
    source, record = snapshot.objects[columns.object[cold]], columns.record[cold].decode()
    at = int(np.searchsorted(columns.judged, row))
    judged = at < len(columns.judged) and columns.judged[at] == row
    approval = APPROVALS[columns.approval[at]] if judged else "none"
    approved_at = int(columns.approved_at[at]) if judged else OPEN
    expires_at = int(columns.expires_at[at]) if judged else OPEN
    return Touchpoint(
        # evidence of no CRM has the id that it was given
        id=f"{source}:{record}:{partner.id or partner.name}" if source else record,
        occurred_at=from_micros(int(columns.occurred_at[row])),
        recorded_at=from_micros(int(columns.recorded_at[cold])),
        partner=partner,
        program=None if columns.program[row] < 0 else snapshot.programs[columns.program[row]],
        tier=None if columns.tier[row] < 0 else snapshot.tiers[columns.tier[row]],
        kind=snapshot.kinds[columns.kind[row]],
        strength=STRENGTHS[flags & Flag.STRENGTH],
        own_account=bool(flags & Flag.OWN_ACCOUNT),
        self_deal=bool(flags & Flag.SELF_DEAL),
        logged_late=bool(flags & Flag.LOGGED_LATE),
        role=None if columns.role[row] < 0 else snapshot.roles[columns.role[row]],
        approval=None if approval == "none" else approval,
        approved_at=None if approved_at == OPEN else from_micros(approved_at),
        expires_at=None if expires_at == OPEN else from_micros(expires_at - 1),
    )
