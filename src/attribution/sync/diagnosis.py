"""What will and will not be synced, and why: everything ``attribution doctor`` says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from attribution.errors import CrmError
from attribution.mapping import Mapping, Reading

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
    advice: tuple[str, ...]

    @property
    def blocked(self) -> bool:
        """Whether a sync would stop."""
        return any(each.verdict == "blocked" for each in self.objects)

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
            "advice": list(self.advice),
        }

    def __str__(self) -> str:
        used = "unknown" if self.daily_calls is None else "{:,} of {:,}".format(*self.daily_calls)
        lines = [f"organization {self.organization_id}, API calls in the last 24 hours: {used}", ""]
        row = "{:<22}{:<13}{:>12}  {}".format
        lines.append(row("object", "verdict", "rows", "remarks"))
        for each in self.objects:
            rows = "-" if each.rows is None else f"{each.rows:,}"
            lines.append(row(each.object, each.verdict, rows, each.reason or "").rstrip())
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
    objects = tuple(
        _examine(source, reading)
        if (summary := visible.get(name)) is not None and summary.is_queryable
        else ObjectDiagnosis(
            name,
            "blocked" if reading.required else "unavailable",
            None,
            (),
            sees_purges=False,
            reason="not in this organization, or hidden: grant Read in a permission set (Object Permissions)",
        )
        for name, reading in mapping.readings().items()
    )
    return Diagnosis(organization_id, source.daily_usage, objects, tuple(_advice(mapping, objects)))


def _examine(source: Salesforce, reading: Reading) -> ObjectDiagnosis:
    description = source.describe(reading.object)
    missing = tuple(name for name in reading.fields if name not in description.fields)
    hidden = [name for name in reading.needed if name in missing]
    try:
        rows: int | None = source.count(reading.object)
        reason = f"without {', '.join(missing)}" if missing else None
    except CrmError as error:
        rows, reason = None, f"cannot be counted: {error}"
    if hidden:
        verdict: Verdict = "blocked" if reading.required else "unavailable"
        reason = f"{', '.join(hidden)} hidden or missing: grant Read in a permission set (Field Permissions)"
    else:
        verdict = "synced"
    return ObjectDiagnosis(reading.object, verdict, rows, missing, description.is_replicateable, reason)


def _advice(mapping: Mapping, objects: tuple[ObjectDiagnosis, ...]) -> Iterator[str]:
    """What to set or to grant so that the numbers say more."""
    found = {each.object: each for each in objects}
    if mapping.currency is None and "CurrencyIsoCode" not in found["Opportunity"].missing_fields:
        yield 'this org has several currencies: without currency = "USD", or another, NO amount counts'
    elif mapping.currency is None:
        yield 'amounts are printed in XXX: set currency = "USD", or whichever it is, under [mapping]'
    if {"IsPartner", "Type"} <= set(found["Account"].missing_fields):
        yield "no account can be flagged a partner: neither IsPartner nor Type of Account is readable"
    if found["OpportunityHistory"].verdict != "synced":
        yield "closes are dated by CloseDate, and earlier as_of are approximate, without OpportunityHistory"
    if "ContactId" in found["User"].missing_fields or found["User"].verdict != "synced":
        yield "nobody is known to be a partner user: leads and deals that partners created name no partner"
    touching = [name for name in ("Partner", "Lead", "Event") if not found[name].rows]
    if len(touching) == 3:
        yield "Partner, Lead and Event show no row: there would be no touchpoint at all"
