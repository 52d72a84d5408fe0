"""What a sync tells of itself: its progress, what it did with each object, and in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from attribution.sync.reconciliation import Reconciliation
from attribution.sync.rows import Rejected

__all__ = ["ObjectReport", "Progress", "Rejected", "Status", "SyncReport", "grouped", "iso"]

Status = Literal["ok", "unavailable", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the reading of one object is."""

    object: str
    rows: int
    """Rows read so far."""
    total: int | None
    """Rows expected; None while not known."""


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """What a sync did with one object."""

    object: str
    status: Status
    read: int = 0
    """Rows that Salesforce delivered."""
    written: int = 0
    """Versions of live records that were new."""
    deleted: int = 0
    """Tombstones that were new."""
    rejected: int = 0
    api_calls: int = 0
    from_: datetime | None = None
    """Start of the window read; None if from the beginning, or if nothing was read."""
    to: datetime | None = None
    """Up to which instant the object has now been read completely."""
    seconds: float = 0.0
    message: str | None = None
    """Why the object is unavailable, failed, or was not read to its end."""
    reconciled: Reconciliation | None = None
    """What comparing every id came to; None if that was not done."""

    def to_dict(self) -> dict[str, Any]:
        """The object in the JSON of a sync."""
        return {
            "object": self.object,
            "status": self.status,
            "read": self.read,
            "written": self.written,
            "deleted": self.deleted,
            "rejected": self.rejected,
            "api_calls": self.api_calls,
            "from": iso(self.from_),
            "to": iso(self.to),
            "message": self.message,
            "reconciled": None if self.reconciled is None else self.reconciled.to_dict(),
        }

    def to_log(self) -> dict[str, Any]:
        """The object in a log: as in the JSON of a sync, with the seconds that it took."""
        document = self.to_dict() | {"seconds": round(self.seconds, 3)}
        if self.reconciled is not None:
            document["reconciled"] = self.reconciled.to_dict() | {"unseen": len(self.reconciled.unseen)}
        return document


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did. Instants are the server's."""

    run_id: str
    started_at: datetime
    finished_at: datetime
    api_calls: int
    objects: tuple[ObjectReport, ...]
    rejected: tuple[Rejected, ...]
    unavailable: tuple[str, ...]
    """Optional objects that the organization does not show."""
    warnings: tuple[str, ...]

    @property
    def failed(self) -> tuple[ObjectReport, ...]:
        """Objects that could not be read this time; what they had before is kept."""
        return tuple(report for report in self.objects if report.status == "failed")

    @property
    def stopped(self) -> tuple[ObjectReport, ...]:
        """Objects that were still to be read when the budget ran out; the next sync begins with them."""
        return tuple(report for report in self.objects if report.status == "stopped")

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of a sync."""
        return {
            "run_id": self.run_id,
            "started_at": iso(self.started_at),
            "finished_at": iso(self.finished_at),
            "api_calls": self.api_calls,
            "objects": [report.to_dict() for report in self.objects],
            "rejected": [{"object": r.object, "id": r.id, "reason": r.reason} for r in self.rejected],
            "unavailable": list(self.unavailable),
            "warnings": list(self.warnings),
        }

    @property
    def outcome(self) -> Literal["ok", "failed", "stopped"]:
        """In one word, how the sync ended."""
        return "stopped" if self.stopped else "failed" if self.failed else "ok"

    def to_ledger(self) -> dict[str, Any]:
        """The sync in the ledger and in a log: without the rejected values, which may tell of persons."""
        document = self.to_dict()
        return {
            "run_id": document["run_id"],
            "outcome": self.outcome,
            "started_at": document["started_at"],
            "finished_at": document["finished_at"],
            "api_calls": self.api_calls,
            **{
                name: sum(getattr(each, name) for each in self.objects)
                for name in ("read", "written", "deleted", "rejected")
            },
            "objects": [each.to_log() for each in self.objects if each.status != "unavailable"],
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        width = max((len(r.object) + 2 for r in self.objects), default=22)
        row = f"{{:<{max(width, 22)}}}{{:<12}}{{:>11}}{{:>11}}{{:>9}}{{:>9}}  {{}}".format
        lines = [row("object", "status", "read", "written", "deleted", "rejected", "up to")]
        for r in self.objects:
            counts = (f"{number:,}" for number in (r.read, r.written, r.deleted, r.rejected))
            lines.append(row(r.object, r.status, *counts, iso(r.to) or "-"))
        lines += [f"{r.object}: {r.reconciled}" for r in self.objects if r.reconciled is not None]
        lines += [f"rejected {r.object} {r.id or '(no id)'}: {r.reason}" for r in self.rejected[:20]]
        if len(self.rejected) > 20:
            lines.append(f"... and {len(self.rejected) - 20} more rejected")
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([*lines, f"{self.api_calls:,} API calls"])


def grouped(warnings: Sequence[str]) -> tuple[str, ...]:
    """Say once what is to be said of several objects.

    Examples
    --------
    >>> grouped(["Lead: too late", "Task: hidden", "User: too late"])
    ('Lead, User: too late', 'Task: hidden')
    """
    objects: dict[str, list[str]] = {}
    for warning in warnings:
        name, colon, rest = warning.partition(": ")
        objects.setdefault(rest if colon else warning, []).append(name if colon else "")
    return tuple(f"{', '.join(names)}: {rest}" if all(names) else rest for rest, names in objects.items())


def iso(instant: datetime | None) -> str | None:
    """An instant as JSON spells it."""
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
