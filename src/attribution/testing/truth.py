"""The known truth of a small org, worked out the slow way.

This is the referee for the fast code: dictionaries, lists, `Fraction` and `datetime`, one rule of the rules
page after the other, in the order in which a person with a pencil would apply them. It shares no code with
the fast path on purpose, and is one long file so that it reads from top to bottom; each step names its rule.

Read are the rows as one sync would store them: one version per record, deleted ones with ``IsDeleted``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

__all__ = [
    "DealTruth",
    "Rules",
    "TouchpointTruth",
    "Truth",
    "credit",
    "known_truth",
    "split",
    "table",
    "totals",
]

Record = Mapping[str, object]
Records = Mapping[str, Sequence[Record]]
Of = Literal["won", "open", "lost", "all"]
Measure = Literal["sourced", "influenced", "linear", "first_touch", "last_touch"]
Closed = tuple[date, date] | None
_Value = TypeVar("_Value")

_UNKNOWN = "(unknown)"
_NONE = "(none)"
_ALWAYS = datetime(1, 1, 1, tzinfo=UTC)
_RECREATED_WITHIN = timedelta(hours=24)
_LOGGED_LATE = timedelta(days=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The windows and lists of the rules page with their defaults.

    `deal_types` are exact values of Type; `excluded` are the ids of the opportunities left out by a mapping.

    Examples
    --------
    >>> Rules(claim_days=30).claim_days
    30
    """

    influence_window_days: int = 365
    sourcing_window_days: int = 90
    claim_days: int = 14
    lead_max_age_days: int = 365
    late_days: int = 7
    partner_types: tuple[str, ...] = (
        "Channel Partner / Reseller",
        "Installation Partner",
        "Technology Partner",
        "Partner",
        "Reseller",
    )
    partner_lead_sources: tuple[str, ...] = ("Partner", "Partner Referral", "Channel")
    sourcing_roles: tuple[str, ...] = ()
    partner_team: tuple[str, ...] = ()
    deal_types: tuple[tuple[str, str], ...] = ()
    excluded: frozenset[str] = frozenset()
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class TouchpointTruth:
    """One dated act of one partner on one deal; `counting` is rule 6.1."""

    id: str
    occurred_at: datetime
    recorded_at: datetime
    partner_id: str
    program_id: str | None
    kind: str
    strength: str
    own_account: bool
    self_deal: bool
    logged_late: bool
    counting: bool


@dataclass(frozen=True, slots=True)
class DealTruth:
    """Everything the rules say about one deal as of an instant.

    `spells` are (stage, is_closed, entered_at); `influenced` are (partner id, state, program ids).
    """

    id: str
    created_at: datetime
    closed_at: datetime | None
    outcome: str
    closed_on: date | None
    amount_minor: int | None
    deal_type: str
    future_dated: bool
    spells: tuple[tuple[str, bool, datetime], ...]
    touchpoints: tuple[TouchpointTruth, ...]
    sourced_partner_id: str | None
    sourced_program: str | None
    contested: bool
    unverified: bool
    influenced: tuple[tuple[str, str, tuple[str | None, ...]], ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """The deals, the touchpoints that reach none, and the names to print.

    `ambiguous` and `orphans` hold touchpoint ids; `partner_names` has the partners seen on a deal,
    `program_names` every program.
    """

    deals: dict[str, DealTruth]
    ambiguous: frozenset[str]
    orphans: frozenset[str]
    partner_names: dict[str, str]
    program_names: dict[str, str]
    excluded_deals: int = 0
    digits: int = 2


# --- reading a record --------------------------------------------------------------------------------------


def _read(row: Record, name: str, kind: type[_Value]) -> _Value | None:
    value = row.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise TypeError(f"{name} of {row.get('Id')} is {value!r}, not a {kind.__name__}")


def _need(row: Record, name: str, kind: type[_Value]) -> _Value:
    value = _read(row, name, kind)
    if value is None:
        raise ValueError(f"{row.get('Id')} has no {name}")
    return value


def _id(row: Record) -> str:
    return _need(row, "Id", str)


def _created(row: Record) -> datetime:
    return _need(row, "CreatedDate", datetime)


def _stamp(row: Record) -> datetime:
    return _need(row, "SystemModstamp", datetime)


def _deleted(row: Record) -> bool:
    return row.get("IsDeleted") is True


# --- 1. time: the zone turns days into instants ------------------------------------------------------------


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _end_of(day: date, zone: ZoneInfo) -> datetime:
    """Rule 1.5: 00:00 of the next day in the zone."""
    return _midnight(day + timedelta(days=1), zone)


def _instant_of(day: date, created_at: datetime, zone: ZoneInfo) -> datetime:
    """Rule 1.1: 00:00 of the day, or the record's creation if that falls on the same day."""
    return created_at if created_at.astimezone(zone).date() == day else _midnight(day, zone)


# --- the org, as dictionaries ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Touch:
    """A touchpoint not yet judged: `author_id` recorded it, `host_id` owns the meeting."""

    id: str
    occurred_at: datetime
    recorded_at: datetime
    partner_id: str
    kind: str
    author_id: str | None
    host_id: str | None = None
    role: str | None = None
    linked: bool = True

    @property
    def order(self) -> tuple[datetime, bytes]:
        """Path order (rule 4.1)."""
        return self.occurred_at, self.id.encode()


@dataclass(slots=True)
class _Draft:
    """A deal on its way to a `DealTruth`."""

    id: str
    record: Record
    account_id: str | None
    created_at: datetime
    deal_type: str
    closed_at: datetime | None
    outcome: str
    closed_on: date | None
    amount_minor: int | None
    spells: list[tuple[str, bool, datetime]]
    touches: list[_Touch] = field(default_factory=list)


class _Org:
    """The records by id, with references followed and partner facts looked up."""

    def __init__(self, records: Records, as_of: datetime, rules: Rules) -> None:
        self.as_of = as_of
        self.rules = rules
        self.records = records
        zone = next((_read(row, "TimeZoneSidKey", str) for row in records.get("Organization", ())), None)
        self.zone = ZoneInfo(rules.time_zone or zone or "UTC")
        self.accounts = {_id(row): row for row in records.get("Account", ())}
        self.contacts = {_id(row): row for row in records.get("Contact", ())}
        self.users = {_id(row): row for row in records.get("User", ())}
        self.stages: dict[str, tuple[str, str]] = {}
        for row in records.get("OpportunityStage", ()):
            outcome = "open" if not row.get("IsClosed") else "won" if row.get("IsWon") else "lost"
            label = _read(row, "MasterLabel", str) or _need(row, "ApiName", str)
            self.stages[label] = (label, outcome)
        for row in records.get("OpportunityStage", ()):
            name = _read(row, "ApiName", str)
            if name is not None:
                self.stages.setdefault(name, self.stages[_read(row, "MasterLabel", str) or name])
        self.opportunities = {_id(row): row for row in self.live("Opportunity")}
        self.partner_rows = self._partner_rows()
        self.partner_since = self._partner_since()
        self.memberships: dict[str, list[Record]] = {}
        for row in records.get("ChannelProgramMember", ()):
            partner = self.account(row, "PartnerId")
            if partner is not None:
                self.memberships.setdefault(partner, []).append(row)

    def live(self, name: str) -> list[Record]:
        """Rule 1.3: a deleted record exists at no as_of."""
        return [row for row in self.records.get(name, ()) if not _deleted(row)]

    # references: rule 3.2, merges follow MasterRecordId

    def _survivor(self, rows: Mapping[str, Record], record_id: str | None) -> str | None:
        seen: set[str] = set()
        while record_id is not None and record_id in rows and _deleted(rows[record_id]):
            master = _read(rows[record_id], "MasterRecordId", str)
            if master is None or record_id in seen:
                return None
            seen.add(record_id)
            record_id = master
        return record_id

    def account(self, row: Record, name: str) -> str | None:
        return self._survivor(self.accounts, _read(row, name, str))

    def contact_account(self, contact_id: str | None) -> str | None:
        survivor = self._survivor(self.contacts, contact_id)
        if survivor is None or survivor not in self.contacts:
            return None
        return self.account(self.contacts[survivor], "AccountId")

    def ultimate_parent(self, account_id: str) -> str:
        seen = {account_id}
        while account_id in self.accounts:
            parent = self.account(self.accounts[account_id], "ParentId")
            if parent is None or parent in seen:
                break
            seen.add(parent)
            account_id = parent
        return account_id

    def is_own(self, partner_id: str, account_id: str | None) -> bool:
        """Rule 3.3: the opportunity's own account, or one that shares its ultimate parent."""
        if account_id is None:
            return False
        return partner_id == account_id or self.ultimate_parent(partner_id) == self.ultimate_parent(
            account_id
        )

    def is_internal(self, user_id: str | None) -> bool:
        """Rule 6.4: a User without ContactId; a user that nobody knows is not internal."""
        return user_id in self.users and self.users[user_id].get("ContactId") is None

    # partners: rules 3.1, 3.2, 4.3

    def _partner_rows(self) -> list[tuple[Record, str, str, datetime, datetime, str | None]]:
        """Rule 4.3: (row, opportunity, partner, occurred_at, recorded_at, author) of the live rows."""
        groups: dict[tuple[str, str], list[Record]] = {}
        for row in self.records.get("Partner", ()):
            opportunity, partner = _read(row, "OpportunityId", str), self.account(row, "AccountToId")
            if opportunity is not None and partner is not None:
                groups.setdefault((opportunity, partner), []).append(row)
        found = []
        for (opportunity, partner), rows in groups.items():
            rows.sort(key=lambda row: (_created(row), _stamp(row), _id(row)))
            facts: dict[str, tuple[datetime, str | None]] = {}
            gone: list[Record] = []
            for row in rows:
                before = [
                    old for old in gone if timedelta(0) <= _created(row) - _stamp(old) <= _RECREATED_WITHIN
                ]
                if before:
                    facts[_id(row)] = facts[_id(max(before, key=lambda old: (_stamp(old), _id(old))))]
                else:
                    facts[_id(row)] = (_created(row), _read(row, "CreatedById", str))
                if _deleted(row):
                    gone.append(row)
                else:
                    at, author = facts[_id(row)]
                    found.append((row, opportunity, partner, at, at, author))
        return found

    def _partner_since(self) -> dict[str, datetime]:
        """Rule 3.1: from which instant on each partner account is one."""
        since: dict[str, datetime] = {}

        def note(account_id: str | None, at: datetime) -> None:
            if account_id is not None:
                since[account_id] = min(at, since.get(account_id, at))

        types = {name.casefold() for name in self.rules.partner_types}
        for row in self.live("Account"):
            if row.get("IsPartner") is True or (_read(row, "Type", str) or "").casefold() in types:
                note(_id(row), _created(row))
        for row in self.live("ChannelProgramMember"):
            if _created(row) <= self.as_of:
                note(self.account(row, "PartnerId"), _ALWAYS)
        for _, opportunity, partner, at, _, _ in self.partner_rows:
            record = self.opportunities.get(opportunity)
            if record is not None and self.account(record, "AccountId") != partner:
                note(partner, at)
        return since

    def is_partner(self, account_id: str | None, at: datetime) -> bool:
        return account_id in self.partner_since and self.partner_since[account_id] <= at

    def program(self, partner_id: str, at: datetime) -> str | None:
        """Rule 3.4: of the partner's only membership existing at that instant (creation to deletion)."""
        there = [
            row
            for row in self.memberships.get(partner_id, ())
            if _created(row) <= at and not (_deleted(row) and _stamp(row) <= at)
        ]
        return _read(there[0], "ProgramId", str) if len(there) == 1 else None

    # stages: rule 1.6

    def stage(self, row: Record) -> tuple[str, str]:
        """(name, outcome) of a history row."""
        name = _read(row, "StageName", str) or _UNKNOWN
        if name in self.stages:
            return self.stages[name]
        if row.get("ForecastCategory") == "Closed":
            return name, "won"
        if row.get("Probability") == 0 and row.get("ForecastCategory") == "Omitted":
            return name, "lost"
        return name, "open"


# --- 1 and 2. deals ----------------------------------------------------------------------------------------


def _deal_type(record: Record, rules: Rules) -> str:
    """Rule 2.2."""
    value = _read(record, "Type", str)
    if value is None:
        return "unclassified"
    for given, meaning in rules.deal_types:
        if value == given:
            return meaning
    low = value.casefold()
    if "renew" in low:
        return "renewal"
    if low.startswith("existing") or any(
        word in low for word in ("upgrade", "upsell", "expansion", "add-on", "cross")
    ):
        return "expansion"
    return "new" if "new" in low else "unclassified"


def _draft(
    org: _Org, record: Record, history: list[Record], synced_at: datetime, digits: int, quantum: Decimal
) -> _Draft:
    """Rules 1.5 to 1.7, 1.10: one deal without its touchpoints."""
    history = sorted(history, key=lambda row: (_created(row), _stamp(row), _id(row)))
    seen = [row for row in history if _created(row) <= org.as_of]
    now = org.as_of >= synced_at
    record_outcome = "open" if not record.get("IsClosed") else "won" if record.get("IsWon") else "lost"
    created_at = _created(record)

    # 1.7: at or after the watermark the record itself counts; earlier the last history row, else the record.
    source = record if now or not seen else seen[-1]
    closed_on = _read(source, "CloseDate", date)
    amount = _read(source, "Amount", Decimal)

    # 1.5: from the newest row back while rows are closed with the same outcome.
    closed_at, outcome = None, "open"
    newest = org.stage(seen[-1])[1] if seen else "open"
    explained = bool(history) and org.stage(history[-1])[1] != "open"
    if newest != "open" and not (now and record_outcome == "open"):
        for row in reversed(seen):
            if org.stage(row)[1] != newest:
                break
            closed_at = _created(row)
        outcome = record_outcome if now else newest
    elif record_outcome != "open" and not explained:
        # No row tells of this close. (Where a later row does, the deal was still open here.)
        first_closed_version = _stamp(record)
        day = _read(record, "CloseDate", date)
        at = first_closed_version if day is None else min(_end_of(day, org.zone), first_closed_version)
        if at <= org.as_of:
            closed_at, outcome = at, record_outcome

    # 1.6: spells.
    spells: list[tuple[str, bool, datetime]] = []
    if not history:
        name = _read(record, "StageName", str) or _UNKNOWN
        spells.append((org.stages.get(name, (name, ""))[0], record_outcome != "open", created_at))
    else:
        if not seen or created_at < _created(seen[0]):
            spells.append((_UNKNOWN, False, created_at))
        for row in seen:
            name, row_outcome = org.stage(row)
            if not spells or spells[-1][0] != name:
                spells.append((name, row_outcome != "open", _created(row)))

    minor = None if amount is None else int(amount.quantize(quantum, ROUND_HALF_EVEN).scaleb(digits))
    account_id = org.account(record, "AccountId")
    kind = _deal_type(record, org.rules)
    return _Draft(
        _id(record),
        record,
        account_id,
        created_at,
        kind,
        closed_at,
        outcome,
        closed_on,
        minor,
        spells,
    )


# --- 4. touchpoints ----------------------------------------------------------------------------------------


def _by_account(drafts: Mapping[str, _Draft]) -> dict[str, list[_Draft]]:
    found: dict[str, list[_Draft]] = {}
    for deal in drafts.values():
        if deal.account_id is not None:
            found.setdefault(deal.account_id, []).append(deal)
    return found


class _Placing:
    """Gives each touchpoint to its deal, or lists it as ambiguous or orphan."""

    def __init__(self, org: _Org, drafts: dict[str, _Draft]) -> None:
        self.org = org
        self.drafts = drafts
        self.by_account = _by_account(drafts)
        self.ambiguous: set[str] = set()
        self.orphans: set[str] = set()

    def on_deal(self, touch: _Touch, opportunity_id: str) -> None:
        if opportunity_id in self.drafts:
            self.drafts[opportunity_id].touches.append(touch)
        elif opportunity_id not in self.org.rules.excluded:
            self.orphans.add(touch.id)

    def on_account(self, touch: _Touch, account_id: str | None) -> None:
        """Rule 4.2: only if exactly one deal of the account is eligible at that instant."""
        touch.linked = False
        window = timedelta(days=self.org.rules.influence_window_days)
        eligible = [
            deal
            for deal in self.by_account.get(account_id or "", ())
            if deal.deal_type != "renewal"
            and deal.created_at - window <= touch.occurred_at <= (deal.closed_at or self.org.as_of)
        ]
        if len(eligible) == 1:
            eligible[0].touches.append(touch)
        elif eligible:
            self.ambiguous.add(touch.id)
        else:
            self.orphans.add(touch.id)


def _owner_kind(org: _Org, row: Record, sourcing_kind: str) -> tuple[str, str] | None:
    """(kind, partner) of a lead or an opportunity: brought by a partner user, or handed over to a partner."""
    author, at = _read(row, "CreatedById", str), _created(row)
    if author in org.users and org.users[author].get("ContactId") is not None:
        partner = org.contact_account(_read(org.users[author], "ContactId", str))
        kind = sourcing_kind
    elif org.is_internal(author):
        partner, kind = org.account(row, "PartnerAccountId"), "handed_over"
    else:
        return None
    return (kind, partner) if partner is not None and org.is_partner(partner, at) else None


def _place_touchpoints(org: _Org, placing: _Placing) -> None:
    """Go through the table of section 4, one block per source."""
    as_of = org.as_of

    for row, opportunity, partner, occurred_at, recorded_at, author in org.partner_rows:
        if occurred_at <= as_of and org.is_partner(partner, occurred_at):
            touch_id = f"Partner:{_id(row)}:{partner}"
            role = _read(row, "Role", str)
            touch = _Touch(touch_id, occurred_at, recorded_at, partner, "role", author, role=role)
            placing.on_deal(touch, opportunity)

    for deal in placing.drafts.values():
        found = _owner_kind(org, deal.record, "partner_owned")
        if found is not None:
            kind, partner = found
            touch_id = f"Opportunity:{deal.id}:{partner}"
            author = _read(deal.record, "CreatedById", str)
            touch = _Touch(touch_id, deal.created_at, deal.created_at, partner, kind, author)
            placing.on_deal(touch, deal.id)

    for row in org.live("Lead"):
        found = _owner_kind(org, row, "referral")
        at = _created(row)
        converted_on = _read(row, "ConvertedDate", date)
        if found is None or at > as_of or row.get("IsConverted") is not True:
            continue
        if converted_on is not None and _instant_of(converted_on, at, org.zone) > as_of:
            continue  # 1.2: converted later than as_of
        kind, partner = found
        lead_touch = _Touch(
            f"Lead:{_id(row)}:{partner}", at, at, partner, kind, _read(row, "CreatedById", str)
        )
        linked_to = _read(row, "ConvertedOpportunityId", str)
        if linked_to is not None:
            placing.on_deal(lead_touch, linked_to)
        else:
            placing.on_account(lead_touch, org.account(row, "ConvertedAccountId"))

    for row in org.live("Event"):
        meeting = _meeting(org, row)
        if meeting is None:
            continue
        what = _read(row, "WhatId", str) or ""
        if what.startswith("006"):
            placing.on_deal(meeting, what)
        elif what.startswith("001"):
            placing.on_account(meeting, org.account(row, "WhatId"))
        else:
            placing.orphans.add(meeting.id)


def _meeting(org: _Org, row: Record) -> _Touch | None:
    """Read an Event as a touchpoint: held, no copy or head of a series, with a contact of a partner."""
    if row.get("IsChild") is True or row.get("IsRecurrence") is True:
        return None
    created_at, day = _created(row), _read(row, "ActivityDate", date)
    ends_at = _read(row, "EndDateTime", datetime)
    if row.get("IsAllDayEvent") is True:
        if day is None:
            return None
        occurred_at = _instant_of(day, created_at, org.zone)
        last_day = _read(row, "EndDate", date) or (day if ends_at is None else ends_at.astimezone(UTC).date())
        ends_at = _end_of(last_day, org.zone)
    else:
        starts_at = _read(row, "ActivityDateTime", datetime)
        if starts_at is None:
            return None
        occurred_at = starts_at
        if ends_at is None:
            ends_at = starts_at + timedelta(minutes=_read(row, "DurationInMinutes", int) or 0)
    if ends_at > org.as_of or occurred_at > org.as_of:
        return None
    who = _read(row, "WhoId", str) or ""
    partner = org.contact_account(who) if who.startswith("003") else None
    if partner is None or not org.is_partner(partner, occurred_at):
        return None
    return _Touch(
        f"Event:{_id(row)}:{partner}",
        occurred_at,
        created_at,
        partner,
        "meeting",
        _read(row, "CreatedById", str),
        host_id=_read(row, "OwnerId", str),
    )


def _touchpoint(org: _Org, deal: _Draft, touch: _Touch) -> TouchpointTruth:
    own = org.is_own(touch.partner_id, deal.account_id)
    own_account = own and touch.kind == "meeting"
    end = deal.closed_at or org.as_of
    in_window = end - timedelta(days=org.rules.influence_window_days) <= touch.occurred_at <= end
    return TouchpointTruth(
        id=touch.id,
        occurred_at=touch.occurred_at,
        recorded_at=touch.recorded_at,
        partner_id=touch.partner_id,
        program_id=org.program(touch.partner_id, touch.occurred_at),
        kind=touch.kind,
        strength="strong",
        own_account=own_account,
        self_deal=own and not own_account,
        logged_late=abs(touch.recorded_at - touch.occurred_at) > _LOGGED_LATE,
        counting=in_window and not own_account and touch.kind != "handed_over",
    )


# --- 5. sourced --------------------------------------------------------------------------------------------


def _rank(org: _Org, deal: _Draft, touch: _Touch) -> int | None:
    """Rank a touchpoint as sourcing evidence; None if it is none."""
    rules = org.rules
    if touch.kind == "referral":
        reach = timedelta(days=rules.lead_max_age_days if touch.linked else rules.sourcing_window_days)
        return 2 if deal.created_at - reach <= touch.occurred_at <= deal.created_at else None
    if touch.kind == "partner_owned":
        return 3
    return 3 if touch.kind == "role" and touch.role in rules.sourcing_roles else None


def _is_void(deal: _Draft, at: datetime, by_account: Mapping[str, list[_Draft]]) -> bool:
    """Another opportunity of the same account with type new or unclassified was open at that instant."""
    return any(
        other.id != deal.id
        and other.deal_type in ("new", "unclassified")
        and other.created_at <= at
        and (other.closed_at is None or at < other.closed_at)
        for other in by_account.get(deal.account_id or "", ())
    )


def _sourcing(
    org: _Org, deal: _Draft, by_account: Mapping[str, list[_Draft]]
) -> tuple[_Touch | None, bool, bool]:
    """(winning evidence, contested, unverified)."""
    if deal.deal_type == "renewal":
        return None, False, False
    valid = []
    for touch in deal.touches:
        rank = _rank(org, deal, touch)
        late = touch.recorded_at > deal.created_at + timedelta(days=org.rules.claim_days)
        if rank is not None and not late and not _is_void(deal, touch.occurred_at, by_account):
            valid.append((rank, touch.order, touch))
    valid.sort(key=lambda item: item[:2])
    if valid:
        return valid[0][2], len({touch.partner_id for _, _, touch in valid}) >= 2, False
    named = {name.casefold() for name in org.rules.partner_lead_sources}
    lead_source = (_read(deal.record, "LeadSource", str) or "").casefold()
    return None, False, lead_source in named and not _is_void(deal, deal.created_at, by_account)


# --- 6. influenced -----------------------------------------------------------------------------------------


def _passes_guards(org: _Org, deal: _Draft, touches: list[_Touch]) -> bool:
    """Rule 6.3: one and the same touchpoint is early enough, and before the last of several open spells."""
    if deal.closed_at is None:
        return True
    entered = [at for _, is_closed, at in deal.spells if not is_closed and at < deal.closed_at]
    latest = deal.closed_at - timedelta(days=org.rules.late_days)
    return any(
        touch.occurred_at <= latest and (len(entered) < 2 or touch.occurred_at < entered[-1])
        for touch in touches
    )


def _state(org: _Org, deal: _Draft, touches: list[_Touch]) -> str:
    """Rule 6.4: automatic approval, since no decisions are kept in this CRM."""
    owner = _read(deal.record, "OwnerId", str)
    for touch in touches:
        by_owner = touch.author_id == owner and org.is_internal(owner)
        hosted = org.is_internal(touch.host_id) and touch.host_id not in org.rules.partner_team
        if by_owner or (touch.kind == "meeting" and hosted):
            return "auto_approved"
    return "claimed"


def _influenced(
    org: _Org, deal: _Draft, points: Mapping[str, TouchpointTruth], sourced_by: str | None
) -> tuple[tuple[str, str, tuple[str | None, ...]], ...]:
    found = []
    for partner in sorted({touch.partner_id for touch in deal.touches} - {sourced_by or ""}):
        # Every kind of these sources is strong, so one counting touchpoint is enough (6.2).
        mine = [touch for touch in deal.touches if touch.partner_id == partner and points[touch.id].counting]
        if mine and _passes_guards(org, deal, mine):
            programs = {points[touch.id].program_id for touch in mine}
            found.append((partner, _state(org, deal, mine), tuple(sorted(programs, key=lambda p: p or ""))))
    return tuple(found)


# --- all of it ---------------------------------------------------------------------------------------------


def known_truth(
    records: Records,
    *,
    as_of: datetime,
    policy: Rules | None = None,
    digits: int = 2,
    synced_at: datetime | None = None,
) -> Truth:
    """Work out every deal of an org, slowly.

    Parameters
    ----------
    records : mapping of str to sequence of mapping
        Salesforce object -> rows with Salesforce field names and Python values, one version per record.
    as_of : datetime
        The event cut-off, aware.
    policy : Rules, optional
        Windows and lists; the defaults of the rules page if not given.
    digits : int
        Minor-unit digits of the one currency.
    synced_at : datetime, optional
        The watermark of the sync, from which on the records themselves count; the newest SystemModstamp
        if not given.

    Returns
    -------
    Truth
        Frozen and comparable with ``==``.

    Raises
    ------
    ValueError
        If `as_of` is naive.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> known_truth({"Opportunity": []}, as_of=datetime(2026, 1, 1, tzinfo=UTC)).deals
    {}
    """
    if as_of.tzinfo is None:
        raise ValueError("as_of needs a time zone")
    if synced_at is None:
        stamps = [
            row["SystemModstamp"] for rows in records.values() for row in rows if "SystemModstamp" in row
        ]
        synced_at = max((at for at in stamps if isinstance(at, datetime)), default=_ALWAYS)
    org = _Org(records, as_of, policy or Rules())
    history: dict[str, list[Record]] = {}
    for row in org.live("OpportunityHistory"):
        history.setdefault(_need(row, "OpportunityId", str), []).append(row)

    drafts: dict[str, _Draft] = {}
    quantum, excluded = Decimal(1).scaleb(-digits), 0
    for key, record in org.opportunities.items():
        if _created(record) > as_of:
            continue
        if key in org.rules.excluded:
            excluded += 1
            continue
        drafts[key] = _draft(org, record, history.get(key, []), synced_at, digits, quantum)

    placing = _Placing(org, drafts)
    _place_touchpoints(org, placing)

    deals: dict[str, DealTruth] = {}
    for key, deal in drafts.items():
        deal.touches.sort(key=lambda touch: touch.order)
        points = {touch.id: _touchpoint(org, deal, touch) for touch in deal.touches}
        winner, contested, unverified = _sourcing(org, deal, placing.by_account)
        sourced_by = None if winner is None else winner.partner_id
        today = as_of.astimezone(org.zone).date()
        deals[key] = DealTruth(
            id=key,
            created_at=deal.created_at,
            closed_at=deal.closed_at,
            outcome=deal.outcome,
            closed_on=deal.closed_on,
            amount_minor=deal.amount_minor,
            deal_type=deal.deal_type,
            future_dated=deal.outcome == "won" and deal.closed_on is not None and deal.closed_on > today,
            spells=tuple(deal.spells),
            touchpoints=tuple(points.values()),
            sourced_partner_id=sourced_by,
            sourced_program=None if winner is None else points[winner.id].program_id,
            contested=contested,
            unverified=unverified,
            influenced=_influenced(org, deal, points, sourced_by),
        )

    partners = {point.partner_id for deal in deals.values() for point in deal.touchpoints}
    names = {key: _read(org.accounts.get(key, {}), "Name", str) or key for key in sorted(partners)}
    programs = {_id(row): _read(row, "Name", str) or _id(row) for row in org.live("ChannelProgram")}
    ambiguous, orphans = frozenset(placing.ambiguous), frozenset(placing.orphans)
    return Truth(deals, ambiguous, orphans, names, programs, excluded, digits)


# --- 1.11 and 8. credit ------------------------------------------------------------------------------------


def split(amount_minor: int, shares: Sequence[Fraction]) -> list[int]:
    """Split minor units by largest remainder (rule 1.11), equal remainders to the earlier share.

    Examples
    --------
    >>> split(-10001, [Fraction(1, 3)] * 3)
    [-3334, -3334, -3333]
    """
    exact = [abs(amount_minor) * share for share in shares]
    units = [int(part) for part in exact]
    left = (abs(amount_minor) if any(shares) else 0) - sum(units)
    by_remainder = sorted(range(len(shares)), key=lambda i: (units[i] - exact[i], i))
    for i in by_remainder[:left]:
        units[i] += 1
    return [-unit if amount_minor < 0 else unit for unit in units]


def _shares(players: Sequence[TouchpointTruth], model: str) -> list[Fraction]:
    n = len(players)
    if model == "linear":
        return [Fraction(1, n)] * n
    if model not in ("first_touch", "last_touch"):
        raise ValueError(f"there is no model {model!r} here")
    chosen = 0 if model == "first_touch" else n - 1
    return [Fraction(int(i == chosen)) for i in range(n)]


def _selected(truth: Truth, of: Of, closed: Closed = None) -> list[DealTruth]:
    return [
        deal
        for deal in truth.deals.values()
        if of in ("all", deal.outcome)
        and (closed is None or (deal.closed_on is not None and closed[0] <= deal.closed_on <= closed[1]))
    ]


def credit(truth: Truth, model: str, of: Of = "won") -> dict[str, tuple[tuple[str, int], ...]]:
    """Return (touchpoint id, minor units) of every player of each valued deal, in path order.

    A deal without a player has an empty tuple: it is unattributed. Unvalued deals are absent.
    """
    found = {}
    for deal in _selected(truth, of):
        if deal.amount_minor is not None:
            players = [point for point in deal.touchpoints if point.counting]
            units = split(deal.amount_minor, _shares(players, model)) if players else []
            found[deal.id] = tuple((point.id, unit) for point, unit in zip(players, units, strict=True))
    return found


# --- 7. tables ---------------------------------------------------------------------------------------------

_Key = tuple[str | None, ...]


@dataclass(slots=True)
class _Line:
    amount: int = 0
    claimed: int = 0
    n_deals: int = 0
    deals: Fraction = Fraction(0)


def _money(minor: int, digits: int) -> str:
    return str(Decimal(minor).scaleb(-digits).quantize(Decimal(1).scaleb(-digits)))


def _key(by: Sequence[str], partner_id: str, program_id: str | None) -> _Key:
    return tuple(partner_id if name == "partner" else program_id for name in by)


def _lines(truth: Truth, measure: str, by: Sequence[str], deals: Sequence[DealTruth]) -> dict[_Key, _Line]:
    lines: dict[_Key, _Line] = {}
    for deal in deals:
        amount = deal.amount_minor or 0
        if measure == "sourced":
            if deal.sourced_partner_id is not None:
                line = lines.setdefault(_key(by, deal.sourced_partner_id, deal.sourced_program), _Line())
                line.amount += amount
                line.n_deals += 1
        elif measure == "influenced":
            states: dict[_Key, set[str]] = {}
            for partner, state, programs in deal.influenced:
                for program in programs:
                    states.setdefault(_key(by, partner, program), set()).add(state)
            for key, found in states.items():  # each deal once per row, the better state first
                line = lines.setdefault(key, _Line())
                if "auto_approved" in found:
                    line.amount += amount
                    line.n_deals += 1
                else:
                    line.claimed += amount
        else:
            players = [point for point in deal.touchpoints if point.counting]
            shares = _shares(players, measure) if players else []
            for point, share, unit in zip(players, shares, split(amount, shares), strict=True):
                if share:
                    line = lines.setdefault(_key(by, point.partner_id, point.program_id), _Line())
                    line.amount += unit
                    line.deals += share
    return lines


def table(
    truth: Truth,
    measure: Measure = "sourced",
    by: Sequence[str] = ("partner",),
    of: Of = "won",
    closed: Closed = None,
) -> list[dict[str, object]]:
    """Return the rows of a measure's JSON document, by amount descending, then partner and program id."""
    deals = _selected(truth, of, closed)
    selected = sum(deal.amount_minor or 0 for deal in deals)
    lines = _lines(truth, measure, by, deals)
    rows = []
    for key, line in sorted(lines.items(), key=lambda item: (-item[1].amount, [p or _NONE for p in item[0]])):
        row: dict[str, object] = {}
        for name, value in zip(by, key, strict=True):
            names = truth.partner_names if name == "partner" else truth.program_names
            row[name] = _NONE if value is None else names.get(value, value)
            row[f"{name}_id"] = value
        row["amount"] = _money(line.amount, truth.digits)
        if measure == "influenced":
            row["approved_amount"] = _money(0, truth.digits)
            row["auto_approved_amount"] = _money(line.amount, truth.digits)
            row["claimed_amount"] = _money(line.claimed, truth.digits)
        if measure in ("sourced", "influenced"):
            row["n_deals"] = line.n_deals
        else:
            row["deals"] = float(line.deals)
        row["share"] = float(Fraction(line.amount, selected)) if selected else None
        rows.append(row)
    return rows


def totals(
    truth: Truth, measure: Measure = "sourced", of: Of = "won", closed: Closed = None
) -> dict[str, object]:
    """Return the header of a measure's JSON document.

    `n_deals` is the number of deals behind `total` for sourced and influenced, and of all selected deals for
    credit; `selected_deals` is the latter for every measure.
    """
    deals = _selected(truth, of, closed)
    selected = sum(deal.amount_minor or 0 for deal in deals)
    if measure == "sourced":
        behind = [deal for deal in deals if deal.sourced_partner_id is not None]
    elif measure == "influenced":
        behind = [deal for deal in deals if any(state == "auto_approved" for _, state, _ in deal.influenced)]
    else:
        behind = [deal for deal in deals if any(point.counting for point in deal.touchpoints)]
    total = sum(deal.amount_minor or 0 for deal in behind)
    unverified = [deal for deal in deals if deal.unverified]
    return {
        "total": _money(total, truth.digits),
        "selected": _money(selected, truth.digits),
        "unattributed": _money(selected - total, truth.digits),
        "n_deals": len(behind) if measure in ("sourced", "influenced") else len(deals),
        "selected_deals": len(deals),
        "contested_deals": sum(deal.contested for deal in deals),
        "future_dated_deals": sum(deal.future_dated for deal in deals),
        "unverified": {
            "n_deals": len(unverified),
            "amount": _money(sum(deal.amount_minor or 0 for deal in unverified), truth.digits),
        },
        "unvalued_deals": sum(deal.amount_minor is None for deal in deals),
        "excluded_deals": truth.excluded_deals,
    }
