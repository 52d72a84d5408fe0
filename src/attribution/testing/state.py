"""What an org is at an instant: its clock, its schema, its rows, and what Salesforce fills in by itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from attribution.errors import UsageError, known
from attribution.testing.objects import Field, SObject
from attribution.testing.records import (
    Records,
    Row,
    Unit,
    checksum,
    day_text,
    encode,
    milliseconds,
    to_instant,
)

__all__ = ["STANDARD_STAGES", "State", "fiscal_period"]

_EVENT_STARTS = ("StartDateTime", "ActivityDateTime", "IsAllDayEvent", "ActivityDate")
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# name, probability, forecast category, its label
_STAGES = (
    ("Prospecting", 10, "Pipeline", "Pipeline"),
    ("Qualification", 10, "Pipeline", "Pipeline"),
    ("Needs Analysis", 20, "Pipeline", "Pipeline"),
    ("Value Proposition", 50, "Pipeline", "Pipeline"),
    ("Id. Decision Makers", 60, "Pipeline", "Pipeline"),
    ("Perception Analysis", 70, "Pipeline", "Pipeline"),
    ("Proposal/Price Quote", 75, "BestCase", "Best Case"),
    ("Negotiation/Review", 90, "Forecast", "Commit"),
    ("Closed Won", 100, "Closed", "Closed"),
    ("Closed Lost", 0, "Omitted", "Omitted"),
)
STANDARD_STAGES: tuple[Mapping[str, Any], ...] = tuple(
    {
        "ApiName": name,
        "MasterLabel": name,
        "IsActive": True,
        "SortOrder": order,
        "IsClosed": category in ("Closed", "Omitted"),
        "IsWon": category == "Closed",
        "ForecastCategory": category,
        "ForecastCategoryName": label,
        "DefaultProbability": probability,
    }
    for order, (name, probability, category, label) in enumerate(_STAGES, start=1)
)
"""The opportunity stages that every new org comes with."""


@dataclass
class State:
    """The org behind its API; ``Org`` is the handle that tests use."""

    now: datetime
    records: Records
    user_id: str
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    fiscal_start: int = 1
    fiscal_by_start: bool = False
    writes_history: bool = True
    schema: dict[str, SObject] = field(default_factory=dict)
    hidden: set[tuple[str, str]] = field(default_factory=set)
    unshared: set[str] = field(default_factory=set)
    """Objects of which some record is not shared with the user of the API."""
    tracked: dict[str, set[str]] = field(default_factory=dict)
    open: list[Unit] = field(default_factory=list)
    changed: dict[str, datetime] = field(default_factory=dict)
    _visible: dict[str, SObject] | None = None
    _stages: dict[str, Row] | None = None
    _counters: dict[str, Iterator[int]] = field(default_factory=dict)

    # -- schema

    def object(self, name: str) -> SObject:
        """Return an object by its API name, whatever its case."""
        if name in self.schema:
            return self.schema[name]
        for key, obj in self.schema.items():
            if key.lower() == name.lower():
                return obj
        raise UsageError(f"the org has no object {name!r}", hint=f"it has {known(self.schema, 40)}")

    def field(self, obj: SObject, name: str) -> Field:
        """Return a field by its API name, whatever its case."""
        found = obj.by_name.get(name.lower())
        if found is None:
            names = known((item.name for item in obj.fields), 60)
            raise UsageError(f"{obj.name} has no field {name!r}", hint=f"it has {names}")
        return found

    def set_object(self, obj: SObject) -> None:
        """Put an object into the schema, or change it."""
        self.schema[obj.name] = obj
        self.changed[obj.name] = self.now
        self._visible = None

    def remove_object(self, obj: SObject) -> None:
        """Take an object out of the schema."""
        del self.schema[obj.name]
        self._visible = None

    def hide(self, obj: SObject, name: str) -> None:
        """Hide a field from the user of the API."""
        self.hidden.add((obj.name, self.field(obj, name).name))
        self.changed[obj.name] = self.now
        self._visible = None

    def show(self, obj: SObject, name: str) -> None:
        """Undo ``hide``."""
        self.hidden.discard((obj.name, self.field(obj, name).name))
        self.changed[obj.name] = self.now
        self._visible = None

    @property
    def visible(self) -> dict[str, SObject]:
        """The schema as the user of the API sees it, by lower-case name."""
        if self._visible is None:
            self._visible = {
                name.lower(): obj.without(field for owner, field in self.hidden if owner == name)
                for name, obj in self.schema.items()
            }
        return self._visible

    def lookups_to(self, obj: SObject) -> Iterator[tuple[SObject, Field]]:
        """Yield the fields of all objects that may point to a record of this one."""
        for child in list(self.schema.values()):
            for item in child.fields:
                if obj.name in item.reference_to:
                    yield child, item

    # -- time

    def stamp(self) -> int:
        """Return the clock as Salesforce stamps rows: whole seconds, in milliseconds."""
        return milliseconds(self.now) // 1000 * 1000

    def covered_until(self) -> datetime:
        """Return the start of the oldest open transaction, or the clock."""
        return min((unit.started_at for unit in self.open), default=self.now)

    # -- rows

    def refuse_if_locked(self, unit: Unit, obj: SObject, identity: str) -> None:
        """Raise if another open transaction has written that row."""
        if any(other is not unit and other.holds(obj, identity) for other in self.open):
            raise UsageError(
                f"UNABLE_TO_LOCK_ROW: {obj.name} {identity} is held by an open transaction",
                hint="commit it first",
            )

    def new_ids(self, obj: SObject, count: int) -> list[str]:
        """Return fresh ids, ascending."""
        counter = self._counters.setdefault(obj.name, itertools.count(1))
        return [self._identity(obj.key_prefix or "000", next(counter)) for _ in range(count)]

    @staticmethod
    def _identity(prefix: str, number: int) -> str:
        digits = ""
        while number:
            number, digit = divmod(number, 62)
            digits = _BASE62[digit] + digits
        short = f"{prefix}Ab{digits:0>10}"
        return short + checksum(short)

    def encoded(self, obj: SObject, values: Mapping[str, Any]) -> Row:
        """Turn field names and Python values into columns and stored values."""
        row: Row = {}
        for name, value in values.items():
            found = self.field(obj, name)
            row[found.name] = encode(found, value)
        return row

    def fill(self, obj: SObject, row: Row) -> None:
        """Fill in what was not given for a new record."""
        columns = {name: [value] for name, value in row.items()}
        self.fill_columns(obj, columns, 1)
        row |= {name: values[0] for name, values in columns.items()}
        for item in obj.fields:
            if item.type == "boolean" and row.get(item.name) is None:
                row[item.name] = 0

    def fill_columns(self, obj: SObject, columns: dict[str, list[Any]], count: int) -> None:
        """Fill in what was not given for new records, a column at a time."""

        def default(name: str, values: Any) -> None:
            if not obj.has(name):
                return
            given = columns.get(name)
            if given is None:
                columns[name] = list(values)
            elif None in given:
                columns[name] = [new if old is None else old for old, new in zip(given, values, strict=False)]

        if "Id" not in columns:
            columns["Id"] = self.new_ids(obj, count)
        elif None in columns["Id"]:
            fresh = iter(self.new_ids(obj, columns["Id"].count(None)))
            columns["Id"] = [next(fresh) if old is None else old for old in columns["Id"]]
        now = self.stamp()
        for name in ("CreatedDate", "LastModifiedDate", "SystemModstamp"):
            default(name, itertools.repeat(now, count))
        for name in ("CreatedById", "LastModifiedById", "OwnerId"):
            default(name, itertools.repeat(self.user_id, count))
        if obj.name == "Opportunity":
            for name, values in self._opportunity_defaults(columns, count).items():
                default(name, values)
        if obj.name in ("Lead", "Contact", "User"):
            blank = [None] * count
            both = zip(columns.get("FirstName", blank), columns.get("LastName", blank), strict=True)
            default("Name", [" ".join(filter(None, pair)) or None for pair in both])
        if obj.name == "CampaignMember":
            blank = [None] * count
            both = zip(columns.get("ContactId", blank), columns.get("LeadId", blank), strict=True)
            default("LeadOrContactId", [contact or lead for contact, lead in both])
        if obj.name == "Event":
            for name, values in _event_defaults(columns, count).items():
                default(name, values)
        if obj.name == "OpportunityStage":
            self.forget_stages()
        for name, values in columns.items():
            if None in values and obj.by_name[name.lower()].type == "boolean":
                columns[name] = [value or 0 for value in values]

    def _opportunity_defaults(self, columns: dict[str, list[Any]], count: int) -> dict[str, list[Any]]:
        names = columns.get("StageName", [None] * count)
        stages = [self.stage(name) for name in names]
        probabilities = [
            stage["DefaultProbability"] if given is None else given
            for given, stage in zip(columns.get("Probability", [None] * count), stages, strict=True)
        ]
        periods = [self.fiscal(day) for day in columns.get("CloseDate", [None] * count)]
        amounts = columns.get("Amount", [None] * count)
        return {
            "Probability": probabilities,
            "ExpectedRevenue": [
                expected(amount, chance) for amount, chance in zip(amounts, probabilities, strict=True)
            ],
            "FiscalYear": [period[0] for period in periods],
            "FiscalQuarter": [period[1] for period in periods],
            "Fiscal": [period[2] for period in periods],
        } | {
            name: [stage[name] for stage in stages]
            for name in ("IsClosed", "IsWon", "ForecastCategory", "ForecastCategoryName")
        }

    def follow_stage(self, row: Row, old: Row) -> None:
        """Keep the fields of a changed opportunity in step with its stage, amount and close date."""
        if row.get("StageName") != old.get("StageName"):
            stage = self.stage(row.get("StageName"))
            for name in ("IsClosed", "IsWon", "ForecastCategory", "ForecastCategoryName"):
                row[name] = stage[name]
            if row.get("Probability") == old.get("Probability"):
                row["Probability"] = stage["DefaultProbability"]
            row["LastStageChangeDate"] = self.stamp()
        row["ExpectedRevenue"] = expected(row.get("Amount"), row.get("Probability"))
        row["FiscalYear"], row["FiscalQuarter"], row["Fiscal"] = self.fiscal(row.get("CloseDate"))

    def stage(self, name: str | None) -> Row:
        """Return the stage of that API name or label; an unknown one is an open pipeline stage."""
        if self._stages is None:
            self._stages = {}
            obj = self.schema.get("OpportunityStage")
            for identity in self.records.ids(obj) if obj else ():
                row = self.records.get(obj, identity) if obj else None
                for key in ("MasterLabel", "ApiName"):
                    if row and row[key]:
                        self._stages[row[key].lower()] = row
        unknown: Row = {"IsClosed": 0, "IsWon": 0, "DefaultProbability": None}
        unknown |= {"ForecastCategory": "Pipeline", "ForecastCategoryName": "Pipeline"}
        return self._stages.get((name or "").lower(), unknown)

    def forget_stages(self) -> None:
        """Read the stages again when next needed."""
        self._stages = None

    def fiscal(self, close_date: str | None) -> tuple[int | None, int | None, str | None]:
        """Return fiscal year, quarter, and both as Salesforce spells them."""
        if close_date is None:
            return None, None, None
        year, quarter = fiscal_period(date.fromisoformat(close_date), self.fiscal_start, self.fiscal_by_start)
        return year, quarter, f"{year} {quarter}"

    def without_column(self, obj: SObject, name: str) -> SObject:
        """Return the object less one field."""
        return replace(obj, fields=tuple(item for item in obj.fields if item.name.lower() != name.lower()))


def _event_defaults(columns: dict[str, list[Any]], count: int) -> dict[str, list[Any]]:
    # an event has its beginning, end and day in several spellings, which Salesforce keeps in step
    blank: list[Any] = [None] * count
    starts = [
        start or moment or (day_start(day) if whole and day else None)
        for start, moment, whole, day in zip(
            *(columns.get(name, blank) for name in _EVENT_STARTS), strict=True
        )
    ]
    lengths = columns.get("DurationInMinutes", blank)
    ends = [
        given or (None if start is None or minutes is None else start + 60_000 * minutes)
        for given, start, minutes in zip(columns.get("EndDateTime", blank), starts, lengths, strict=True)
    ]
    whole_days = columns.get("IsAllDayEvent", blank)
    return {
        "StartDateTime": starts,
        "EndDateTime": ends,
        "ActivityDateTime": [None if whole else at for at, whole in zip(starts, whole_days, strict=True)],
        "ActivityDate": [None if at is None else day_text(to_instant(at)) for at in starts],
        "EndDate": [None if at is None else day_text(to_instant(at)) for at in ends],
        "DurationInMinutes": [
            None if start is None or end is None else (end - start) // 60_000
            for start, end in zip(starts, ends, strict=True)
        ],
    }


def day_start(day: str) -> int:
    """Return the first instant of a stored date in UTC, as all-day events have it."""
    return milliseconds(datetime.fromisoformat(day).replace(tzinfo=UTC))


def expected(amount: float | None, probability: float | None) -> float | None:
    """Return amount times probability, to the cent."""
    if amount is None or probability is None:
        return None
    return round(amount * probability / 100, 2)


def aware(instant: datetime) -> datetime:
    """Return an instant in UTC, or refuse it if it is naive."""
    if instant.tzinfo is None:
        raise UsageError(f"the org's clock needs an aware instant, not {instant.isoformat()}")
    return instant.astimezone(UTC)


def fiscal_period(day: date, start_month: int, named_by_start: bool) -> tuple[int, int]:
    """Return the fiscal year and quarter of a day.

    Examples
    --------
    >>> fiscal_period(date(2026, 1, 31), 2, False), fiscal_period(date(2026, 2, 1), 2, False)
    ((2026, 4), (2027, 1))
    """
    first_year = day.year if day.month >= start_month else day.year - 1
    year = first_year if named_by_start or start_month == 1 else first_year + 1
    return year, (day.month - start_month) % 12 // 3 + 1
