"""One sync: what to read of every object, read it, and commit each object at once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl

from attribution.errors import CrmError, TransientCrmError, UsageError
from attribution.mapping import Reading
from attribution.mirror.log import INSTANT, ObjectLog
from attribution.sync.rows import Rejected, column_types, typed
from attribution.sync.source import ObjectDescription, ObjectSummary, Source
from attribution.sync.watermark import Window, bound_from_clock, deletion_span, next_window, probe_span

__all__ = ["ObjectReport", "Plan", "Progress", "Rejected", "SyncReport", "plan", "run"]

Status = Literal["ok", "unavailable", "failed"]


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
    """Why the object is unavailable or failed."""

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
            "from": _iso(self.from_),
            "to": _iso(self.to),
            "message": self.message,
        }


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

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of a sync."""
        return {
            "run_id": self.run_id,
            "started_at": _iso(self.started_at),
            "finished_at": _iso(self.finished_at),
            "api_calls": self.api_calls,
            "objects": [report.to_dict() for report in self.objects],
            "rejected": [{"object": r.object, "id": r.id, "reason": r.reason} for r in self.rejected],
            "unavailable": list(self.unavailable),
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        row = "{:<22}{:<12}{:>9}{:>9}{:>9}{:>9}  {}".format
        lines = [row("object", "status", "read", "written", "deleted", "rejected", "up to")]
        lines += [
            row(r.object, r.status, r.read, r.written, r.deleted, r.rejected, _iso(r.to) or "-")
            for r in self.objects
        ]
        lines += [f"rejected {r.object} {r.id or '(no id)'}: {r.reason}" for r in self.rejected[:20]]
        if len(self.rejected) > 20:
            lines.append(f"... and {len(self.rejected) - 20} more rejected")
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([*lines, f"{self.api_calls} API calls"])


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be read, checked against what the connected user can see; made before anything is written."""

    started_at: datetime
    calls_before: int
    """What the source had sent before this sync."""
    objects: Mapping[str, ObjectSummary]
    """Every object of the organization."""
    readable: Mapping[str, tuple[ObjectDescription, tuple[str, ...]]]
    """Per object to read: its description and the fields to read."""
    unavailable: Mapping[str, str]
    """Per optional object that cannot be read: why."""


def plan(source: Source, readings: Mapping[str, Reading], *, calls_before: int) -> Plan:
    """Find out what can be read.

    Raises
    ------
    UsageError
        If a required object, or a needed field of it, is not visible to the connected user.
    """
    objects = source.objects()
    readable: dict[str, tuple[ObjectDescription, tuple[str, ...]]] = {}
    unavailable: dict[str, str] = {}
    for name, reading in readings.items():
        summary = objects.get(name)
        if summary is None or not summary.is_queryable:
            if reading.required:
                raise UsageError(
                    f"object {name} is not visible to the connected user",
                    hint=f"Read access for object {name}: grant it in a permission set (Object Permissions)",
                )
            unavailable[name] = f"{name} is not in this organization, or hidden from the connected user"
            continue
        description = source.describe(name)
        hidden = [field for field in reading.needed if field not in description.fields]
        if hidden and reading.required:
            raise UsageError(
                f"field {', '.join(hidden)} of {name} does not exist or is hidden from the connected user",
                hint=f"Read access for field {', '.join(hidden)} of {name}: grant it in a permission set "
                "(Field Permissions)",
            )
        if hidden:
            unavailable[name] = f"{name} is not read: field {', '.join(hidden)} is hidden or does not exist"
            continue
        readable[name] = description, tuple(field for field in reading.fields if field in description.fields)
    return Plan(source.server_time, calls_before, objects, readable, unavailable)


def run(
    source: Source, plan: Plan, mirror: Path, staging: Path, progress: Callable[[Progress], object] | None
) -> SyncReport:
    """Read every planned object and commit it; one that fails leaves the others alone."""
    reports: list[ObjectReport] = []
    rejected: list[Rejected] = []
    warnings: list[str] = []
    # one handle per table, opened before the first read: whoever commits in between makes us stop
    logs = {name: ObjectLog(mirror, name) for name in plan.readable}
    for name, (description, fields) in plan.readable.items():
        logs[name].check_types(column_types(description, fields))
    for name, (description, fields) in plan.readable.items():
        reading = _ObjectRun(source, plan, description, fields, logs[name], staging, progress)
        calls, started = source.api_calls, time.monotonic()
        try:
            report = reading.run()
            rejected += reading.rejected
        except CrmError as error:
            report = ObjectReport(name, "failed", to=logs[name].watermark, message=str(error))
            warnings.append(f"{name} failed: {error}")
        seconds = time.monotonic() - started
        reports.append(replace(report, api_calls=source.api_calls - calls, seconds=seconds))
        warnings += reading.warnings
    for name, reason in plan.unavailable.items():
        reports.append(ObjectReport(name, "unavailable", message=reason))
        if ObjectLog(mirror, name).exists:
            warnings.append(f"{reason}; what was read of it before is kept")
        elif name in plan.objects:
            warnings.append(reason)
    return SyncReport(
        run_id=uuid.uuid4().hex,
        started_at=plan.started_at,
        finished_at=source.server_time,
        api_calls=source.api_calls - plan.calls_before,
        objects=tuple(reports),
        rejected=tuple(rejected),
        unavailable=tuple(plan.unavailable),
        warnings=tuple(warnings),
    )


class _ObjectRun:
    """The sync of one object: choose the window, read it whole, commit it with its watermarks."""

    def __init__(
        self,
        source: Source,
        plan: Plan,
        description: ObjectDescription,
        fields: tuple[str, ...],
        log: ObjectLog,
        staging: Path,
        progress: Callable[[Progress], object] | None,
    ) -> None:
        self.source = source
        self.plan = plan
        self.description = description
        self.fields = fields
        self.log = log
        self.staging = staging
        self.progress = progress
        self.rejected: list[Rejected] = []
        self.warnings: list[str] = []

    def run(self) -> ObjectReport:
        name, log = self.description.name, self.log
        window = next_window(log.watermark, self._bound(), in_full=self._grew())
        if window is None:
            return ObjectReport(name, "ok", from_=log.watermark, to=log.watermark)
        rows, read = self._read(window)
        deletions, deletes_watermark = self._deletions(window.until)
        if deletions is not None:
            deletions = self._without_undeleted(deletions, rows)
        appended = log.append(
            rows,
            synced_at=self.source.server_time,
            watermark=window.until,
            deletions=deletions,
            deletes_watermark=deletes_watermark,
        )
        return ObjectReport(
            name,
            "ok",
            read=read,
            written=appended.written,
            deleted=appended.deleted,
            rejected=len(self.rejected),
            from_=window.since,
            to=window.until,
        )

    def _bound(self) -> datetime:
        """Until when every change is visible now; asked before reading, of the server's clock only."""
        now = self.source.server_time
        if not self.description.is_replicateable:
            return bound_from_clock(now)
        since, until = probe_span(now, self.log.watermark)
        try:
            return self.source.covered_until(self.description.name, since, until)
        except TransientCrmError:
            raise
        except CrmError as error:
            self.warnings.append(f"{self.description.name}: Salesforce does not tell what it covers: {error}")
            return bound_from_clock(now)

    def _grew(self) -> bool:
        """Whether fields are read that were not before: then every record is read again, for their values."""
        name, stored = self.description.name, self.log.fields
        if not stored:
            return False
        gone = sorted(set(stored) - set(self.fields))
        if gone:
            self.warnings.append(f"{name}: {', '.join(gone)} is no longer read; stored values are kept")
        new = sorted(set(self.fields) - set(stored))
        if new:
            self.warnings.append(f"{name}: {', '.join(new)} is new: every record is read again")
        return bool(new)

    def _read(self, window: Window) -> tuple[pl.DataFrame, int]:
        pages = [pl.DataFrame(schema=column_types(self.description, self.fields))]
        read = 0
        for text in self.source.read(
            self.description.name,
            self.fields,
            window,
            cursor=self.description.cursor,
            staging=self.staging,
            progress=self._tell,
        ):
            read += text.height
            page = typed(text, self.description, self.plan.objects)
            pages.append(page.rows.select(self.fields))
            self.rejected += page.rejected
        return pl.concat(pages), read

    def _tell(self, rows: int, total: int | None) -> None:
        if self.progress is not None:
            self.progress(Progress(self.description.name, rows, total))

    def _deletions(self, until: datetime) -> tuple[pl.DataFrame | None, datetime | None]:
        """Records gone since the last sync, purged ones included, and until when that is known."""
        if not self.description.is_replicateable:
            return None, None
        name, before = self.description.name, self.log.deletes_watermark
        if before is None:
            # what was gone before the first read was never seen
            return None, until
        span = deletion_span(before, self.source.server_time)
        try:
            found = self.source.deletions(name, span.since, span.until)
        except TransientCrmError:
            raise
        except CrmError as error:
            # the log of deleted records may not reach back far enough, and never will again
            self.warnings.append(
                f"{name}: Salesforce does not tell what was purged since {_iso(before)} ({error}); "
                "records purged then still count here: sync into a new store to be sure"
            )
            return None, None
        if span.has_gap or (found.available_since is not None and found.available_since > before):
            self.warnings.append(
                f"{name}: Salesforce no longer tells everything that was purged since {_iso(before)}; "
                "records purged then still count here: sync into a new store to be sure"
            )
        return found.rows, found.covered_until if found.covered_until > before else None

    def _without_undeleted(self, deletions: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        """Decide about records stamped and deleted in one second by asking which of them are live."""
        if deletions.is_empty() or "SystemModstamp" not in rows.columns:
            return deletions
        stored = self.log.newest().filter(~pl.col("_deleted")).select("Id", "SystemModstamp")
        asked = deletions.lazy().group_by("Id").agg(pl.col("deleted_at").max())
        stamps = pl.concat(
            [stored.join(rows.lazy(), on="Id", how="anti"), rows.lazy().select("Id", "SystemModstamp")]
        )
        tied = (
            stamps.join(asked, on="Id", how="inner")
            .filter(pl.col("SystemModstamp").dt.truncate("1s") == pl.col("deleted_at").dt.truncate("1s"))
            .collect()
        )
        if tied.is_empty():
            return deletions
        live = self.source.are_live(self.description.name, sorted(tied["Id"]))
        # a tombstone must be later than the version it ends
        just_after = (
            tied.filter(~pl.col("Id").is_in(sorted(live)))
            .select("Id", (pl.col("SystemModstamp") + pl.duration(microseconds=1)).alias("deleted_at"))
            .cast({"deleted_at": INSTANT})
        )
        return pl.concat([deletions.filter(~pl.col("Id").is_in(tied["Id"].to_list())), just_after])


def _iso(instant: datetime | None) -> str | None:
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
