"""What will and will not be synced, and why: everything ``attribution doctor`` says."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from attribution.errors import CrmError
from attribution.mapping import Mapping, split_path
from attribution.readings import Reading, readings
from attribution.settings import closest
from attribution.sync.planning import Describe, problems, with_followed
from attribution.sync.source import ObjectDescription

if TYPE_CHECKING:
    from attribution.sync.salesforce import Salesforce

__all__ = ["Diagnosis", "ObjectDiagnosis", "examine"]

Verdict = Literal["synced", "unavailable", "blocked"]


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
            "objects": [
                {
                    "object": each.object,
                    "verdict": each.verdict,
                    "rows": each.rows,
                    "missing_fields": list(each.missing_fields),
                    "sees_purges": each.sees_purges,
                    "reason": each.reason,
                }
                for each in self.objects
            ],
            "problems": list(self.problems),
            "advice": list(self.advice),
        }

    def __str__(self) -> str:
        used = "unknown" if self.daily_calls is None else "{:,} of {:,}".format(*self.daily_calls)
        lines = [f"organization {self.organization_id}, API calls in the last 24 hours: {used}", ""]
        width = max(22, *(len(each.object) + 2 for each in self.objects))
        row = f"{{:<{width}}}{{:<13}}{{:>12}}  {{}}".format
        lines.append(row("object", "verdict", "rows", "remarks"))
        for each in self.objects:
            rows = "-" if each.rows is None else f"{each.rows:,}"
            lines.append(row(each.object, each.verdict, rows, each.reason or "").rstrip())
        lines += ["", *(f"wrong: {problem}" for problem in self.problems)] if self.problems else []
        lines += ["", *(f"- {advice}" for advice in self.advice)] if self.advice else []
        return "\n".join(lines)


def examine(source: Salesforce, mapping: Mapping) -> Diagnosis:
    """Look at every object that the mapping reads; writes nothing.

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
        _examine(source, reading, describe(name))
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
    advice = [*_advice(source, mapping, objects)]
    if not wrong:
        advice += _approvals(mapping, describe)
    return Diagnosis(organization_id, source.daily_usage, objects, wrong, tuple(advice))


def _examine(source: Salesforce, reading: Reading, description: ObjectDescription) -> ObjectDiagnosis:
    missing = tuple(name for name in reading.fields if name not in description.fields)
    hidden = [name for name in reading.needed if name in missing]
    try:
        rows: int | None = source.count(reading.object, reading.where)
        reason = f"without {', '.join(missing)}" if missing else None
    except CrmError as error:
        rows, reason = None, f"cannot be counted: {error}"
    if hidden:
        verdict: Verdict = "blocked" if reading.required else "unavailable"
        reason = f"{', '.join(hidden)} hidden or missing: grant Read in a permission set (Field Permissions)"
    else:
        verdict = "synced"
    return ObjectDiagnosis(reading.object, verdict, rows, missing, description.is_replicateable, reason)


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
