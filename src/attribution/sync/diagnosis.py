"""What will and will not be synced, and why: everything ``attribution doctor`` says."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from attribution.errors import CrmError, known
from attribution.mapping import Mapping, split_path
from attribution.mirror.log import ObjectLog
from attribution.readings import Reading, readings
from attribution.settings import closest
from attribution.sync.descriptions import ObjectDescription
from attribution.sync.estimation import estimate_object
from attribution.sync.inquiries import Edition, Won
from attribution.sync.planning import Describe, Planned, problems, with_followed

if TYPE_CHECKING:
    from attribution.sync.salesforce import Salesforce

__all__ = ["Diagnosis", "ObjectDiagnosis", "examine"]

Verdict = Literal["synced", "unavailable", "blocked"]
_QUARTERS: Final = 8
_SEES: Final[MappingOf[bool | None, str]] = {
    True: "all records (View All Data)",
    False: "what is shared with it (no View All Data)",
    None: "all records, or not: Salesforce does not tell",
}
_NEVER_PRIVATE: Final = frozenset(
    {"Organization", "OpportunityStage", "CurrencyType", "DatedConversionRate", "RecordType", "User"}
)
"""Objects of the setup, which no sharing rule hides."""


@dataclass(frozen=True, slots=True)
class ObjectDiagnosis:
    """What a sync would do with one object."""

    object: str
    verdict: Verdict
    """``blocked``: the sync would stop, because numbers without it would be wrong."""
    rows: int | None
    """Records, soft-deleted ones included; None where they cannot be counted."""
    missing_fields: tuple[str, ...]
    """Fields that the mapping would read, but that do not exist or are hidden from the connected user."""
    sees_purges: bool
    """Whether Salesforce tells which records were purged."""
    reason: str | None
    """Why the object is not synced, or what is lost without its missing fields."""
    sees_all: bool | None = None
    """Whether the connected user sees every record; None if Salesforce does not tell."""
    watermark: datetime | None = None
    """Up to which instant the store holds it; None without a store, or before the first sync."""
    age: timedelta | None = None
    """How long ago that was."""
    expected_calls: int | None = None
    """API calls that the next sync would spend on it, about."""
    unseen: int = 0
    """Records of the store that the connected user no longer sees."""

    def to_dict(self) -> dict[str, Any]:
        """The object in the JSON document."""
        return {
            "object": self.object,
            "verdict": self.verdict,
            "rows": self.rows,
            "missing_fields": list(self.missing_fields),
            "sees_purges": self.sees_purges,
            "sees_all": self.sees_all,
            "watermark": None if self.watermark is None else _iso(self.watermark),
            "age_seconds": None if self.age is None else int(self.age.total_seconds()),
            "expected_calls": self.expected_calls,
            "unseen": self.unseen,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a sync would do with an organization."""

    organization_id: str
    daily_calls: tuple[int, int] | None
    """API calls of the whole organization in the last 24 hours, and how many are allowed."""
    objects: tuple[ObjectDiagnosis, ...]
    problems: tuple[str, ...]
    """What is wrong with the mapping, by line, object and field; a sync would stop."""
    advice: tuple[str, ...]
    edition: Edition
    view_all_data: bool | None
    """Whether the connected user sees every record of every object; None if Salesforce does not tell."""
    won: tuple[Won, ...] | None
    """Won opportunities per quarter as the connected user sees them, the latest first; None: cannot tell."""

    @property
    def blocked(self) -> bool:
        """Whether a sync would stop."""
        return bool(self.problems) or any(each.verdict == "blocked" for each in self.objects)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        used, allowed = self.daily_calls or (None, None)
        return {
            "organization_id": self.organization_id,
            "api_calls_used": used,
            "api_calls_allowed": allowed,
            "organization": self.edition.to_dict(),
            "view_all_data": self.view_all_data,
            "objects": [each.to_dict() for each in self.objects],
            "won": None
            if self.won is None
            else [
                {
                    "quarter": each.quarter,
                    "n_deals": each.n_deals,
                    "amount": None if each.amount is None else str(each.amount),
                }
                for each in self.won
            ],
            "problems": list(self.problems),
            "advice": list(self.advice),
        }

    def __str__(self) -> str:
        used = "unknown" if self.daily_calls is None else "{:,} of {:,}".format(*self.daily_calls)
        lines = [
            f"organization {self.organization_id}: {self.edition}",
            f"API calls in the last 24 hours: {used}",
            f"the connected user sees {_SEES[self.view_all_data]}",
            "",
        ]
        width = max(22, *(len(each.object) + 2 for each in self.objects))
        row = f"{{:<{width}}}{{:<13}}{{:>12}}{{:>7}}{{:>10}}{{:>7}}{{:>8}}  {{}}".format
        lines.append(row("object", "verdict", "rows", "calls", "read", "all", "purges", "remarks"))
        for each in self.objects:
            rows, calls = ("-" if n is None else f"{n:,}" for n in (each.rows, each.expected_calls))
            seen = {True: "yes", False: "no", None: "?"}[each.sees_all]
            is_read = each.verdict == "synced"
            flags = (seen, "yes" if each.sees_purges else "no") if is_read else ("-", "-")
            unseen = f"{each.unseen:,} unseen" if each.unseen else ""
            remarks = "; ".join(filter(None, (unseen, each.reason)))
            lines.append(
                row(each.object, each.verdict, rows, calls, _ago(each.age), *flags, remarks).rstrip()
            )
        lines += ["", "read: how long ago; all: every record is seen; purges: they are told"]
        if self.won is not None:
            lines += ["", f"won opportunities as this user sees them, the last {_QUARTERS} quarters"]
            for each_won in self.won[:_QUARTERS]:
                amount = "no amount" if each_won.amount is None else f"{each_won.amount:,}"
                lines.append(f"  {each_won.quarter}{each_won.n_deals:>9,}{amount:>22}")
        lines += ["", *(f"wrong: {problem}" for problem in self.problems)] if self.problems else []
        lines += ["", *(f"- {advice}" for advice in self.advice)] if self.advice else []
        return "\n".join(lines)


def examine(source: Salesforce, mapping: Mapping, mirror: Path | None = None) -> Diagnosis:
    """Look at every object that the mapping reads; writes nothing.

    Parameters
    ----------
    mirror
        Folder of the tables of a store, to say how old they are; default: there is no store.

    Raises
    ------
    CrmError
        If Salesforce cannot be reached or refuses the credentials.
    """
    organization_id = source.organization_id
    visible = source.objects()
    describe = functools.lru_cache(maxsize=None)(source.describe)
    wrong = tuple(f"{each} ({each.hint})" for each in problems(mapping, visible, describe))
    objects = tuple(
        _examine(source, reading, describe(name), mirror)
        if (summary := visible.get(name)) is not None and summary.is_queryable
        else ObjectDiagnosis(
            name,
            "blocked" if reading.required else "unavailable",
            None,
            (),
            sees_purges=False,
            reason="not in this organization, or hidden: grant Read in a permission set (Object Permissions)",
        )
        for name, reading in with_followed(readings(mapping), visible, describe).items()
    )
    won = source.won_by_quarter(mapping.amount_field) if "Opportunity" in visible else None
    advice = [*_advice(source, mapping, objects), *_hidden(source, objects)]
    if not wrong:
        advice += _approvals(mapping, describe)
    return Diagnosis(
        organization_id,
        source.daily_usage,
        objects,
        wrong,
        tuple(advice),
        source.edition(),
        source.visibility.all_data,
        won,
    )


def _examine(
    source: Salesforce, reading: Reading, description: ObjectDescription, mirror: Path | None
) -> ObjectDiagnosis:
    missing = tuple(name for name in reading.fields if name not in description.fields)
    hidden = [name for name in reading.needed if name in missing]
    try:
        rows: int | None = source.count(reading.object, reading.where)
        reason = f"without {', '.join(missing)}" if missing else None
    except CrmError as error:
        rows, reason = None, f"cannot be counted: {error}"
    purges, sees_all = bool(description.is_replicateable), source.visibility.of(reading.object)
    if hidden:
        verdict: Verdict = "blocked" if reading.required else "unavailable"
        reason = f"{', '.join(hidden)} hidden or missing: grant Read in a permission set (Field Permissions)"
        return ObjectDiagnosis(reading.object, verdict, rows, missing, purges, reason, sees_all)
    log = None if mirror is None else ObjectLog(mirror, reading.object)
    fields = tuple(field for field in reading.fields if field in description.fields)
    calls = None
    if rows is not None:
        calls = estimate_object(source, Planned(reading, description, fields), log, rows=rows).calls
    watermark = None if log is None else log.watermark
    age = None if watermark is None else source.server_time - watermark
    unseen = 0 if log is None else len(log.coverage.unseen)
    return ObjectDiagnosis(
        reading.object, "synced", rows, missing, purges, reason, sees_all, watermark, age, calls, unseen
    )


def _hidden(source: Salesforce, objects: tuple[ObjectDiagnosis, ...]) -> Iterator[str]:
    """What partial visibility does to the numbers."""
    read = [each for each in objects if each.verdict == "synced"]
    shared = [each.object for each in read if not each.sees_all and each.object not in _NEVER_PRIVATE]
    if source.visibility.all_data is None:
        yield (
            "Salesforce does not tell whether this user sees all records; if not, revenue is silently too "
            "low: compare the won opportunities above with a report of somebody who does"
        )
    elif shared:
        yield (
            f"this user sees only the records shared with it of {known(shared)}: revenue may silently be too "
            "low; grant View All Data, or View All on each object"
        )
    unseen = [f"{each.unseen:,} of {each.object}" for each in read if each.unseen]
    if unseen:
        yield (
            f"records that this user no longer sees, and that may be deleted: {', '.join(unseen)}; they are "
            "kept as they were"
        )


def _advice(source: Salesforce, mapping: Mapping, objects: tuple[ObjectDiagnosis, ...]) -> Iterator[str]:
    """What to set or to grant so that the numbers say more."""
    found = {each.object: each for each in objects}
    if found["CurrencyType"].verdict != "synced":
        if found["Opportunity"].verdict == "synced" and (
            "CurrencyIsoCode" not in found["Opportunity"].missing_fields
        ):
            yield "the org has several currencies, but CurrencyType is not readable: amounts have no rate"
        elif mapping.currency is None:
            yield 'amounts are printed in XXX: set currency = "USD", or whichever it is, under [mapping]'
    elif found["DatedConversionRate"].verdict != "synced":
        yield "amounts are converted at current rates: DatedConversionRate is not readable"
    yield from _unclassified(source, mapping, found["Opportunity"])
    if {"IsPartner", "Type"} <= set(found["Account"].missing_fields):
        yield "no account can be flagged a partner: neither IsPartner nor Type of Account is readable"
    if found["OpportunityHistory"].verdict != "synced":
        yield "closes are dated by CloseDate, and earlier as_of are approximate, without OpportunityHistory"
    if "ContactId" in found["User"].missing_fields or found["User"].verdict != "synced":
        yield "nobody is known to be a partner user: leads and deals that partners created name no partner"
    if not mapping.lookups and not mapping.touchpoints and not found["Partner"].rows:
        yield (
            "no opportunity names a partner: Partner shows no row, and the mapping names no field or object "
            "that does; `attribution doctor --suggest` looks for some"
        )
    touching = [name for name in ("Partner", "Lead", "Event") if not found[name].rows]
    if len(touching) == 3 and not mapping.lookups and not mapping.touchpoints:
        yield "Partner, Lead and Event show no row: there would be no touchpoint at all"


def _approvals(mapping: Mapping, describe: Describe) -> Iterator[str]:
    """Approvals that no record can have, because no value of the field is called so."""
    for position, touches in enumerate(mapping.touchpoints):
        approval = touches.approval
        field = None if approval is None else describe(touches.object).fields.get(approval.field)
        if approval is None or field is None or not field.values:
            continue
        if not set(approval.approved) & set(field.values):
            place = ("touchpoints", position, "approval")
            yield (
                f"{mapping.where(place)}: no value of {field.name} of {touches.object} counts as approved; "
                f"it has: {closest(next(iter(approval.approved), 'Approved'), field.values)}"
            )


def _unclassified(source: Salesforce, mapping: Mapping, opportunity: ObjectDiagnosis) -> Iterator[str]:
    """Values of the deal type that mean nothing yet, the most frequent first."""
    path = mapping.deal_type.field
    if opportunity.rows is None:
        return
    if split_path(path)[0] in opportunity.missing_fields:
        yield f"every deal counts as new: its type, {path} of Opportunity, is not readable"
        return
    try:
        counts = source.count_by("Opportunity", path)
    except CrmError as error:
        # a formula, for one, cannot be grouped by
        yield f"values of {path} cannot be counted: {error}"
        return
    unknown = [
        (rows, "(none)" if value is None else repr(value))
        for value, rows in counts.items()
        if value not in mapping.deal_type.values and mapping.deal_type.type_of(value) == "unclassified"
    ]
    if unknown:
        unknown.sort(key=lambda each: (-each[0], each[1]))
        shown = ", ".join(f"{value} ({rows:,})" for rows, value in unknown[:12])
        more = f", and {len(unknown) - 12} more" if len(unknown) > 12 else ""
        yield (
            f"deal types that are unclassified, and treated as new: {shown}{more}; "
            f'say what they mean: deal_type = {{ field = "{path}", values = {{ "..." = "renewal" }} }}'
        )


def _ago(age: timedelta | None) -> str:
    """How long ago, in its largest unit.

    Examples
    --------
    >>> _ago(timedelta(hours=49)), _ago(timedelta(minutes=3)), _ago(None)
    ('2 days', '3 min', '-')
    """
    if age is None:
        return "-"
    for unit, length in (
        ("days", timedelta(days=1)),
        ("h", timedelta(hours=1)),
        ("min", timedelta(minutes=1)),
    ):
        if age >= length * (2 if unit == "days" else 1):
            return f"{age // length} {unit}"
    return f"{max(0, int(age.total_seconds()))} s"


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
