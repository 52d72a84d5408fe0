"""What holding the mirror against the CRM came to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from attribution.errors import known
from attribution.sync.report import iso

__all__ = ["FieldDrift", "MonthDrift", "ObjectVerification", "Verification"]

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class MonthDrift:
    """A month of creation (UTC) in which the records here are not those there."""

    month: str | None
    """Such as ``2026-06``; None: records whose creation is not known here, or older than all of them."""
    there: int
    """Records that the CRM has."""
    here: int
    lacking: tuple[str, ...]
    """Ids of records that lack here."""
    surplus: tuple[str, ...]
    """Ids of records that are live here, and not there."""

    def to_dict(self) -> dict[str, Any]:
        """The month in the JSON document."""
        return {
            "month": self.month,
            "there": self.there,
            "here": self.here,
            "lacking": list(self.lacking),
            "surplus": list(self.surplus),
        }


@dataclass(frozen=True, slots=True)
class FieldDrift:
    """A value here that is not the one there, though the record has not changed since the watermark."""

    id: str
    field: str
    """``Id`` if there is no such record."""


@dataclass(frozen=True, slots=True)
class ObjectVerification:
    """How one object of the mirror compares to the CRM."""

    object: str
    until: datetime
    """The watermark: what was created later is not counted."""
    there: int
    here: int
    months: tuple[MonthDrift, ...] = ()
    sampled: int = 0
    """Records compared field by field."""
    fields: tuple[FieldDrift, ...] = ()
    unseen: int = 0
    """Records that the connected user no longer sees: kept, and no drift."""
    unread: int = 0
    """Records that could not be read: no drift."""
    message: str | None = None
    """Why the object could not be compared; None if it was."""

    @property
    def has_drift(self) -> bool:
        """Whether something differs that may not."""
        return bool(self.months or self.fields)

    def to_dict(self) -> dict[str, Any]:
        """The object in the JSON document; no value of a record is told."""
        return {
            "object": self.object,
            "until": iso(self.until),
            "there": self.there,
            "here": self.here,
            "drift": [each.to_dict() for each in self.months],
            "sampled": self.sampled,
            "fields": [{"id": each.id, "field": each.field} for each in self.fields],
            "unseen": self.unseen,
            "unread": self.unread,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Verification:
    """How the mirror compares to the CRM."""

    objects: tuple[ObjectVerification, ...]
    seed: int
    """What chose the sample: the same seed chooses the same records."""
    api_calls: int

    @property
    def has_drift(self) -> bool:
        """Whether something differs that may not."""
        return any(each.has_drift for each in self.objects)

    @property
    def failed(self) -> tuple[ObjectVerification, ...]:
        """Objects that could not be compared."""
        return tuple(each for each in self.objects if each.message is not None)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "drift": self.has_drift,
            "seed": self.seed,
            "api_calls": self.api_calls,
            "objects": [each.to_dict() for each in self.objects],
        }

    def __str__(self) -> str:
        width = max((len(each.object) + 2 for each in self.objects), default=22)
        row = f"{{:<{max(width, 22)}}}{{:>12}}{{:>12}}{{:>9}}{{:>8}}{{:>8}}  {{}}".format
        lines = [row("object", "there", "here", "sampled", "unseen", "unread", "verdict")]
        for each in self.objects:
            verdict = each.message or ("drift" if each.has_drift else "ok")
            counts = (
                f"{number:,}" for number in (each.there, each.here, each.sampled, each.unseen, each.unread)
            )
            lines.append(row(each.object, *counts, verdict))
        for each in self.objects:
            for month in each.months:
                told = [
                    f"{len(ids):,} {what}: {known(ids, _SHOWN)}"
                    for what, ids in (("lack here", month.lacking), ("are not there", month.surplus))
                    if ids
                ]
                created = "without a known month" if month.month is None else f"created in {month.month}"
                counted = f"{month.there:,} there, {month.here:,} here"
                lines.append(f"drift: {each.object} {created}: {counted}; {'; '.join(told)}")
            for differs in each.fields[:20]:
                what = "is not there" if differs.field == "Id" else differs.field
                lines.append(f"drift: {each.object} {differs.id}: {what}")
            if len(each.fields) > 20:
                lines.append(f"... and {len(each.fields) - 20} more values of {each.object}")
        if any(each.months for each in self.objects):
            lines.append("`attribution sync --reconcile` compares every id, and fetches what lacks here")
        if any(each.fields for each in self.objects):
            lines.append("`attribution sync --full` reads every record again, changed or not")
        return "\n".join([*lines, f"{self.api_calls} API calls, seed {self.seed}"])
