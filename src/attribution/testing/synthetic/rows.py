"""Rows of a generated org: ids, stamps, draws, deletions."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from attribution.testing.synthetic.schema import Schema, all_objects
from attribution.testing.synthetic.words import LEAD_SOURCES

__all__ = ["DAY", "Company", "Deal", "Row", "Rows", "instant", "salesforce_id"]

Row = dict[str, object]

DAY = timedelta(days=1)
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHECK = string.ascii_uppercase + "012345"


def salesforce_id(prefix: str, number: int) -> str:
    """Return the 18-character id of the nth record of an object: key prefix, body, checksum.

    Examples
    --------
    >>> salesforce_id("006", 36), salesforce_id("006", 10)
    ('006Sy000000000aIAA', '006Sy000000000AIAQ')
    """
    body = ""
    for _ in range(9):
        number, digit = divmod(number, 62)
        body = _DIGITS[digit] + body
    short = f"{prefix}Sy0{body}"
    chunks = (short[i : i + 5] for i in (0, 5, 10))
    return short + "".join(_CHECK[sum(c.isupper() << i for i, c in enumerate(chunk))] for chunk in chunks)


@dataclass(slots=True)
class Company:
    """An account, the ids merged into it, its people, and the partner that it is or shares a parent with."""

    id: str
    name: str
    since: datetime
    merged: list[str] = field(default_factory=list)
    contacts: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    relative: Company | None = None


@dataclass(slots=True)
class Deal:
    """What the touches need to know of a deal; `children` go with it when it is deleted."""

    id: str
    company: Company | None
    account_id: str | None
    owner_id: str
    created_at: datetime
    ends_at: datetime
    is_closed: bool
    children: list[Row] = field(default_factory=list)


class Rows:
    """Adds rows, object by object; what they tell is for those who build on it."""

    def __init__(
        self, rng: Random, now: datetime, zone: ZoneInfo, schema: Schema, amount_field: str, currency: str
    ) -> None:
        self.rng, self.now, self.zone, self.schema = rng, now, zone, schema
        self.amount_field, self.currency = amount_field, currency
        self.licensed, self.mapped = schema.partner_licences, bool(schema.objects)
        self.limit = now - timedelta(hours=1)
        """Until when rows are recorded: a watermark some minutes before `now` still covers them all."""
        self.objects = all_objects(schema)
        self.rows: dict[str, list[Row]] = {name: [] for name in self.objects}
        # Salesforce has no null in a checkbox.
        self.unchecked = {
            name: {each.name: False for each in item.fields if each.type == "boolean" and not each.nillable}
            for name, item in self.objects.items()
        }
        self.has = {name: {each.name for each in item.fields} for name, item in self.objects.items()}
        self.prefix = {name: item.key_prefix or "000" for name, item in self.objects.items()}
        # Histories share a key prefix.
        self.first = {name: 1_000_000 if name.endswith("__History") else 1 for name in self.objects}
        self.reps: list[str] = []
        self.partners: list[Company] = []
        self.customers: list[Company] = []
        self.campaigns: list[str] = []
        self.record_types: dict[str, str] = {}
        self.n_companies = 0
        self.start = now - 4 * 365 * DAY
        days = [self.day(self.start) + timedelta(days=n) for n in range(4 * 365)]
        noons = [datetime(day.year, day.month, day.day, 12, tzinfo=zone).utcoffset() for day in days]
        self.clock_changes = [days[n] for n in range(1, len(days)) if noons[n] != noons[n - 1]]

    # --- small things --------------------------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        """Whether something of that probability happens."""
        return self.rng.random() < probability

    def add(
        self, name: str, at: datetime, by: str, changed_at: datetime | None = None, **values: object
    ) -> Row:
        """Add a row; fields that the org lacks are left out."""
        has = self.has[name]
        changed_at = max(at, changed_at or at)
        row: Row = {"Id": salesforce_id(self.prefix[name], self.first[name] + len(self.rows[name]))}
        row.update(self.unchecked[name])
        row.update(CreatedDate=at, CreatedById=by)
        if "SystemModstamp" in has:
            row["SystemModstamp"] = changed_at
        if "LastModifiedDate" in has:
            row.update(LastModifiedDate=changed_at, LastModifiedById=by)
        row.update(
            values if values.keys() <= has else {key: value for key, value in values.items() if key in has}
        )
        self.rows[name].append(row)
        return row

    def add_id(
        self, name: str, at: datetime, by: str, changed_at: datetime | None = None, **values: object
    ) -> str:
        """Add a row and return its id."""
        return str(self.add(name, at, by, changed_at, **values)["Id"])

    def delete(self, row: Row, at: datetime) -> None:
        """Put a row into the recycle bin."""
        row["IsDeleted"] = True
        if "SystemModstamp" in row:
            row["SystemModstamp"] = max(at, instant(row, "SystemModstamp"))

    def moment(self, low: datetime, high: datetime) -> datetime:
        """Draw a whole second in between, now and then close to midnight in the zone."""
        seconds = int((high - low).total_seconds())
        at = low + timedelta(seconds=self.rng.randint(0, max(0, seconds)))
        if self.chance(0.08):
            local = at.astimezone(self.zone)
            midnight = datetime(local.year, local.month, local.day, tzinfo=self.zone).astimezone(UTC)
            at = midnight + timedelta(seconds=self.rng.randint(-1800, 1800))
        return min(max(at, low), max(low, high))

    def day(self, at: datetime) -> date:
        """Return the day of an instant in the zone."""
        return at.astimezone(self.zone).date()

    def days(self, low: float, high: float) -> timedelta:
        """Draw a number of days."""
        return timedelta(seconds=int(self.rng.uniform(low, high) * 86400))

    def rep(self) -> str:
        """Draw one of our own people."""
        return self.rng.choice(self.reps)

    def lead_source(self) -> str | None:
        """Draw a lead source."""
        return self.rng.choices(tuple(LEAD_SOURCES), tuple(LEAD_SOURCES.values()))[0]


def instant(row: Row, name: str) -> datetime:
    """Return a field that holds an instant."""
    value = row[name]
    assert isinstance(value, datetime)
    return value
