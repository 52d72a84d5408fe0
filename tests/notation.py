"""Deals in one line each: ``path("ann@0 bob@3 won@10 100.00 USD")``.

A path is one deal. Its words, in any order:

``ann@3``                   a meeting of partner ann on day 3, counted from 2026-01-01T00:00Z; halves are fine
``ann/resale:role@3``       the same under program resale, of kind role
``ann@3+weak+owner``        with facts, separated by ``+``, below
``won@10`` ``lost@10``      closed on day 10; without either the deal is open
``created@-5``              created on day -5; default: day 0
``lead@-9``                 the earliest lead of the deal was created on day -9; default: no lead
``direct@4`` ``direct:call@4``  a meeting, or a call, of our own people without a partner
``100.00 USD``              amount and currency; without it the deal is unvalued
``reopened@7``              the last of two or more open spells begins on day 7
``type=renewal`` ``account=acme`` ``lead_source=Partner`` ``id=D7`` ``closed_on=12``
``Industry=Retail``         any other word with a capital is a segment

Facts of a touchpoint: ``weak``, ``exposure`` (default: strong), ``own`` account, ``self`` deal,
``unlinked`` (the account rule brought it; default: linked), ``owner`` recorded it, ``recorded=20`` (a day;
default: when it happened), ``role=Referral``, ``host=005A`` (an internal user took part), ``record=E7``,
``reach=30..90`` (days of influence window under which it is on this deal), ``tier=Gold``,
``approved`` (on the day it happened) or ``approved=4``, ``pending``, ``rejected``, ``expires=30`` (the
instant from which it does not hold), ``sourcing`` (of an own kind).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from attribution import money
from attribution.columns import (
    APPROVALS,
    DAY,
    DEAL_TYPES,
    KINDS,
    NO_DAY,
    OPEN,
    OUTCOMES,
    STRENGTHS,
    DealColumns,
    DirectTouches,
    Flag,
    Party,
    Snapshot,
    SpellColumns,
    Stranded,
    TouchpointColumns,
    read_only,
)
from attribution.deals import Deals
from attribution.periods import FiscalYear
from attribution.policy import Policy

DAY_0 = 20_454
"""2026-01-01, in days since the epoch."""
_TOUCH = re.compile(
    r"(?P<partner>\w+)(?:/(?P<program>\w+))?(?::(?P<kind>\w+))?@(?P<day>-?[\d.]+)(?P<facts>(?:\+.+)?)"
)


@dataclass
class Touch:
    partner: str
    day: float
    record: str
    program: str | None = None
    kind: str = "meeting"
    strength: str = "strong"
    flags: int = Flag.LINKED
    recorded: float | None = None
    role: str | None = None
    hosts: list[str] = field(default_factory=list)
    reach: tuple[float, float] | None = None
    tier: str | None = None
    approval: str = "none"
    approved: float | None = None
    expires: float | None = None


@dataclass
class Path:
    id: str
    created: float = 0
    closed: float | None = None
    outcome: str = "open"
    amount: Decimal | None = None
    currency: str | None = None
    type: str = "new"
    account: str | None = None
    lead_source: str | None = None
    reopened: float | None = None
    lead: float | None = None
    closed_on: int | None = None
    segments: dict[str, str] = field(default_factory=dict)
    touches: list[Touch] = field(default_factory=list)
    direct: list[Touch] = field(default_factory=list)


def instant(day: float) -> int:
    """Microseconds since the epoch of a day of the notation."""
    return round((DAY_0 + day) * DAY)


def path(
    *texts: str, as_of: float = 1000, policy: Policy | None = None, zone: str = "UTC", **more: object
) -> Deals:
    """Deals of these paths, in one snapshot as of a day; ``more`` are further columns of ``Snapshot``."""
    return deals_of([parse(text, f"D{at + 1}") for at, text in enumerate(texts)], as_of, policy, zone, **more)


def parse(text: str, id: str) -> Path:
    """One path."""
    parsed = Path(id)
    names = {"id", "type", "account", "lead_source"}
    for word in text.split():
        name, _, value = word.partition("@")
        if name in ("won", "lost") and value:
            parsed.outcome, parsed.closed = name, float(value)
        elif name in ("created", "reopened", "lead") and value:
            setattr(parsed, name, float(value))
        elif "@" in word:
            touch = _touch(word, f"{parsed.id}r{len(parsed.touches) + len(parsed.direct)}")
            (parsed.direct if touch.partner == "direct" else parsed.touches).append(touch)
        elif word.partition("=")[0] in names:
            setattr(parsed, word.partition("=")[0], word.partition("=")[2].replace("_", " "))
        elif word[0].isupper() and "=" in word:
            parsed.segments[word.partition("=")[0]] = word.partition("=")[2]
        elif word.startswith("closed_on="):
            parsed.closed_on = int(word.partition("=")[2])
        elif re.fullmatch(r"-?[\d.]+", word):
            parsed.amount = Decimal(word)
        elif re.fullmatch(r"[A-Z]{3}", word):
            parsed.currency = word
        else:
            raise ValueError(f"{word!r} is no word of a path")
    return parsed


def _touch(word: str, record: str) -> Touch:
    match = _TOUCH.fullmatch(word)
    if match is None:
        raise ValueError(f"{word!r} is no touchpoint")
    touch = Touch(match["partner"], float(match["day"]), record, match["program"], match["kind"] or "meeting")
    for fact in filter(None, match["facts"].split("+")):
        name, _, value = fact.partition("=")
        if name in STRENGTHS:
            touch.strength = name
        elif name == "own":
            touch.flags |= Flag.OWN_ACCOUNT
        elif name == "self":
            touch.flags |= Flag.SELF_DEAL
        elif name == "owner":
            touch.flags |= Flag.BY_OWNER
        elif name == "unlinked":
            touch.flags &= ~Flag.LINKED
        elif name == "recorded":
            touch.recorded = float(value)
        elif name == "host":
            touch.hosts.append(value)
        elif name == "reach":
            low, high = value.split("..")
            touch.reach = (float(low), float(high))
        elif name == "sourcing":
            touch.flags |= Flag.SOURCING
        elif name in APPROVALS:
            touch.approval = name
            touch.approved = float(value) if value else touch.day if name == "approved" else None
        elif name == "expires":
            touch.expires = float(value)
        elif name in ("role", "record", "tier"):
            setattr(touch, name, value)
        else:
            raise ValueError(f"{fact!r} is no fact of a touchpoint")
    return touch


def _codes(names: Iterable[str | None]) -> dict[str, int]:
    return {name: code for code, name in enumerate(sorted({name for name in names if name is not None}))}


def deals_of(
    paths: list[Path], as_of: float = 1000, policy: Policy | None = None, zone: str = "UTC", **more: object
) -> Deals:
    """Deals of parsed paths, whatever their order."""
    paths = sorted(paths, key=lambda deal: deal.id.encode())
    currency = next((deal.currency for deal in paths if deal.currency), "USD")
    unit = 10 ** money.digits(currency)
    touched = [
        (at, touch)
        for at, deal in enumerate(paths)
        for touch in sorted(
            deal.touches, key=lambda t: (instant(t.day), f"Event:{t.record}:{t.partner}".encode())
        )
    ]
    touches = [touch for _, touch in touched]
    partners, programs = _codes(t.partner for t in touches), _codes(t.program for t in touches)
    roles, hosts = _codes(t.role for t in touches), _codes(host for t in touches for host in t.hosts)
    tiers = _codes(t.tier for t in touches)
    kinds = (*KINDS, *sorted({t.kind for t in touches} - {*KINDS}))
    segments = {name: _codes(d.segments.get(name) for d in paths) for d in paths for name in d.segments}
    segments = dict(sorted(segments.items()))
    accounts, lead_sources = _codes(d.account for d in paths), _codes(d.lead_source for d in paths)

    def closed_on(deal: Path) -> int:
        day = deal.closed_on if deal.closed_on is not None else deal.closed
        return NO_DAY if day is None else DAY_0 + int(day // 1)

    def array(values: Iterable[object], dtype: str) -> np.ndarray:
        return np.array(list(values), dtype=dtype)

    deals = DealColumns(
        id=array((deal.id for deal in paths), "S18"),
        created_at=array((instant(deal.created) for deal in paths), "i8"),
        closed_at=array((OPEN if deal.closed is None else instant(deal.closed) for deal in paths), "i8"),
        outcome=array((OUTCOMES.index(deal.outcome) for deal in paths), "i1"),
        closed_on=array(map(closed_on, paths), "i4"),
        amount=array((0 if deal.amount is None else int(deal.amount * unit) for deal in paths), "i8"),
        valued=array((deal.amount is not None for deal in paths), "?"),
        rate_is_current=np.zeros(len(paths), dtype="?"),
        deal_type=array((DEAL_TYPES.index(deal.type) for deal in paths), "i1"),
        account=array((accounts.get(deal.account or "", -1) for deal in paths), "i4"),
        lead_created_at=array((OPEN if d.lead is None else instant(d.lead) for d in paths), "i8"),
        last_open_spell_at=array((OPEN if d.reopened is None else instant(d.reopened) for d in paths), "i8"),
        lead_source=array((lead_sources.get(deal.lead_source or "", -1) for deal in paths), "i2"),
        owner=np.full(len(paths), -1, dtype="i4"),
        close_date_pushes=np.full(len(paths), -1, dtype="i2"),
        segments=tuple(
            array((codes.get(d.segments.get(name, ""), -1) for d in paths), "i4")
            for name, codes in segments.items()
        ),
        close_before_creation=array((d.closed is not None and d.closed < d.created for d in paths), "?"),
        approximate=np.zeros(len(paths), dtype="?"),
    )
    reached = [(at, touch.reach) for at, touch in enumerate(touches) if touch.reach is not None]
    hosted = [(at, hosts[host]) for at, touch in enumerate(touches) for host in touch.hosts]
    judged = [(at, t) for at, t in enumerate(touches) if t.approval != "none" or t.expires is not None]
    touchpoints = TouchpointColumns(
        offsets=np.searchsorted(array((at for at, _ in touched), "i8"), np.arange(len(paths) + 1)),
        occurred_at=array((instant(t.day) for t in touches), "i8"),
        partner=array((partners[t.partner] for t in touches), "i4"),
        program=array((programs.get(t.program or "", -1) for t in touches), "i2"),
        kind=array((kinds.index(t.kind) for t in touches), "i1"),
        flags=array((t.flags | STRENGTHS.index(t.strength) for t in touches), "u1"),
        tier=array((tiers.get(t.tier or "", -1) for t in touches), "i2"),
        recorded_at=array((instant(t.day if t.recorded is None else t.recorded) for t in touches), "i8"),
        object=array((0 for _ in touches), "i1"),
        record=array((t.record for t in touches), "S18"),
        role=array((roles.get(t.role or "", -1) for t in touches), "i2"),
        reached=array((at for at, _ in reached), "i8"),
        reach_from=array((round(low * DAY) for _, (low, _) in reached), "i8"),
        reach_below=array((round(high * DAY) for _, (_, high) in reached), "i8"),
        hosted=array((at for at, _ in hosted), "i8"),
        host=array((code for _, code in hosted), "i4"),
        judged=array((at for at, _ in judged), "i8"),
        approval=array((APPROVALS.index(t.approval) for _, t in judged), "i1"),
        approved_at=array((OPEN if t.approved is None else instant(t.approved) for _, t in judged), "i8"),
        expires_at=array((OPEN if t.expires is None else instant(t.expires) for _, t in judged), "i8"),
    )
    nothing = array((), "i8")
    columns: dict[str, object] = {
        "deals": read_only(deals),
        "touchpoints": read_only(touchpoints),
        "stranded": Stranded(
            array((), "S18"), nothing, array((), "i4"), array((), "i1"), array((), "i4"), array((), "?")
        ),
        "direct": _direct(paths, kinds, deals.account),
        "spells": SpellColumns(np.zeros(len(paths) + 1, dtype="i8"), array((), "i2"), nothing),
        "names": tuple(deal.id for deal in paths),
        "partners": tuple(Party(f"{name}-id", name) for name in partners),
        "parents": (),
        "programs": tuple(Party(f"{name}-id", name) for name in programs),
        "tiers": tuple(Party(f"{name}-id", name) for name in tiers),
        "kinds": kinds,
        "segments": tuple((name, tuple(codes)) for name, codes in segments.items()),
        "owners": (),
        "stages": (),
        "objects": ("Event",),
        "roles": tuple(roles),
        "lead_sources": tuple(lead_sources),
        "hosts": tuple(hosts),
        "as_of": instant(as_of),
        "known_at": None,
        "currency": currency,
        "zone": zone,
        "fiscal": FiscalYear(),
        "mapping_hash": "0" * 16,
        **more,
    }
    return Deals(Snapshot(**columns), policy or Policy())  # type: ignore[arg-type] # columns are typed above


def _direct(paths: list[Path], kinds: tuple[str, ...], account: np.ndarray) -> DirectTouches:
    acts = [
        (at, touch)
        for at, deal in enumerate(paths)
        for touch in sorted(deal.direct, key=lambda t: (instant(t.day), t.record.encode()))
    ]
    deal = np.array([at for at, _ in acts], dtype="i4")
    return read_only(
        DirectTouches(
            deal=deal,
            account=account[deal],
            occurred_at=np.array([instant(t.day) for _, t in acts], dtype="i8"),
            recorded_at=np.array([instant(t.day) for _, t in acts], dtype="i8"),
            kind=np.array([kinds.index(t.kind) for _, t in acts], dtype="i1"),
            object=np.zeros(len(acts), dtype="i1"),
            record=np.array([t.record for _, t in acts], dtype="S18"),
        )
    )
