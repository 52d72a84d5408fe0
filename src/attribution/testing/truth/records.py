"""The records of an org as dictionaries: versions, references followed through merges, days as instants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TypeVar
from zoneinfo import ZoneInfo

from attribution.testing.truth.facts import Record, Records, Rules

__all__ = [
    "ALWAYS",
    "UNKNOWN",
    "Book",
    "created",
    "end_of",
    "identity",
    "instant_of",
    "is_deleted",
    "need",
    "read",
    "stamp",
]

_Value = TypeVar("_Value")

UNKNOWN = "(unknown)"
ALWAYS = datetime(1, 1, 1, tzinfo=UTC)


# --- reading a record --------------------------------------------------------------------------------------


def read(row: Record, name: str, kind: type[_Value]) -> _Value | None:
    """Return a field that is of one type, or null."""
    value = row.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise TypeError(f"{name} of {row.get('Id')} is {value!r}, not a {kind.__name__}")


def need(row: Record, name: str, kind: type[_Value]) -> _Value:
    """Return a field that is never null."""
    value = read(row, name, kind)
    if value is None:
        raise ValueError(f"{row.get('Id')} has no {name}")
    return value


def identity(row: Record) -> str:
    """Return the record's id."""
    return need(row, "Id", str)


def created(row: Record) -> datetime:
    """Return when the record was created."""
    return need(row, "CreatedDate", datetime)


def stamp(row: Record) -> datetime:
    """Return when the record last changed."""
    return need(row, "SystemModstamp", datetime)


def is_deleted(row: Record) -> bool:
    """Whether the record lies in the recycle bin."""
    return row.get("IsDeleted") is True


# --- 1. time: the zone turns days into instants ------------------------------------------------------------


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """Rule 1.5: 00:00 of the next day in the zone."""
    return _midnight(day + timedelta(days=1), zone)


def instant_of(day: date, created_at: datetime, zone: ZoneInfo) -> datetime:
    """Rule 1.1: 00:00 of the day, or the record's creation if that falls on the same day."""
    return created_at if created_at.astimezone(zone).date() == day else _midnight(day, zone)


# --- the org, as dictionaries ------------------------------------------------------------------------------


class Book:
    """Every record of the org by object and id, in all the versions that were read."""

    def __init__(
        self,
        records: Records,
        later: Sequence[tuple[datetime, Records]],
        as_of: datetime,
        known_at: datetime | None,
        rules: Rules,
    ) -> None:
        self.as_of = as_of
        self.rules = rules
        self.versions = _versions(records, later, known_at)
        zone = next((read(row, "TimeZoneSidKey", str) for row in self.rows("Organization")), None)
        self.zone = ZoneInfo(rules.time_zone or zone or "UTC")
        self.accounts = {identity(row): row for row in self.rows("Account")}
        self.contacts = {identity(row): row for row in self.rows("Contact")}
        self.users = {identity(row): row for row in self.rows("User")}
        self.opportunities = {identity(row): row for row in self.live("Opportunity")}
        self.stages: dict[str, tuple[str, str]] = {}
        for row in self.rows("OpportunityStage"):
            outcome = "open" if not row.get("IsClosed") else "won" if row.get("IsWon") else "lost"
            label = read(row, "MasterLabel", str) or need(row, "ApiName", str)
            self.stages[label] = (label, outcome)
        for row in self.rows("OpportunityStage"):
            name = read(row, "ApiName", str)
            if name is not None:
                self.stages.setdefault(name, self.stages[read(row, "MasterLabel", str) or name])

    def rows(self, name: str) -> list[Record]:
        """Return the newest version of every record of an object, deleted ones included."""
        return [versions[-1] for versions in self.versions.get(name, {}).values()]

    def live(self, name: str) -> list[Record]:
        """Rule 1.3: a deleted record exists at no as_of."""
        return [row for row in self.rows(name) if not is_deleted(row)]

    # references: rule 3.2, merges follow MasterRecordId

    def _survivor(self, rows: Mapping[str, Record], record_id: str | None) -> str | None:
        seen: set[str] = set()
        while record_id is not None and record_id in rows and is_deleted(rows[record_id]):
            master = read(rows[record_id], "MasterRecordId", str)
            if master is None or record_id in seen:
                return None
            seen.add(record_id)
            record_id = master
        return record_id

    @cached_property
    def _by_id(self) -> dict[str, Record]:
        return {identity(row): row for name in self.versions for row in self.rows(name)}

    def value(self, row: Record, path: str) -> object:
        """Return what a field, or a path over lookups such as ``Partner__r.AccountId``, holds."""
        head, dot, rest = path.partition(".")
        if not dot:
            return row.get(path)
        key = row.get(f"{head[:-3]}__c" if head.endswith("__r") else f"{head}Id")
        found = self._survivor(self._by_id, key) if isinstance(key, str) else None
        return None if found is None or found not in self._by_id else self.value(self._by_id[found], rest)

    def text(self, row: Record, path: str) -> str | None:
        """Return the text that a field or path holds; other values do not count as text."""
        found = self.value(row, path)
        return found if isinstance(found, str) and found else None

    def account(self, row: Record, path: str) -> str | None:
        """Return the account that a field or path names, merges followed; other ids are none."""
        found = self.text(row, path)
        return self._survivor(self.accounts, found) if found is not None and found[:3] == "001" else None

    def contact(self, contact_id: str | None) -> str | None:
        """Return the contact that an id stands for today."""
        if contact_id is None or not contact_id.startswith("003"):
            return None
        survivor = self._survivor(self.contacts, contact_id)
        return survivor if survivor in self.contacts else None

    def contact_account(self, contact_id: str | None) -> str | None:
        """Return the account of a contact."""
        survivor = self.contact(contact_id)
        return None if survivor is None else self.account(self.contacts[survivor], "AccountId")

    def ultimate_parent(self, account_id: str) -> str:
        """Rule 3.2: the account at the top of the family, by ParentId."""
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

    def moment(self, row: Record, path: str) -> datetime | None:
        """Rule 1.1: the instant that a field holds, be it an instant or a day."""
        found = self.value(row, path)
        if isinstance(found, datetime):
            return found
        return instant_of(found, created(row), self.zone) if isinstance(found, date) else None

    def converted(self, lead: Record) -> bool:
        """Rule 1.2: whether a lead had been converted by as_of."""
        day = read(lead, "ConvertedDate", date)
        known = day is None or instant_of(day, created(lead), self.zone) <= self.as_of
        return lead.get("IsConverted") is True and known

    # stages: rule 1.6

    def stage(self, row: Record) -> tuple[str, str]:
        """(name, outcome) of a history row."""
        name = read(row, "StageName", str) or UNKNOWN
        if name in self.stages:
            return self.stages[name]
        if row.get("ForecastCategory") == "Closed":
            return name, "won"
        if row.get("Probability") == 0 and row.get("ForecastCategory") == "Omitted":
            return name, "lost"
        return name, "open"


def _versions(
    records: Records, later: Sequence[tuple[datetime, Records]], known_at: datetime | None
) -> dict[str, dict[str, list[Record]]]:
    """Rule 1.3: by object and id, oldest first, without what was created or read after known_at."""
    reads = [(ALWAYS, records), *sorted(later, key=lambda item: item[0])]
    found: dict[str, dict[str, list[Record]]] = {}
    for read_at, tables in reads:
        if known_at is not None and read_at > known_at:
            continue
        for name, rows in tables.items():
            for row in rows:
                created_at = row.get("CreatedDate")
                if known_at is None or not isinstance(created_at, datetime) or created_at <= known_at:
                    found.setdefault(name, {}).setdefault(identity(row), []).append(row)
    return found
