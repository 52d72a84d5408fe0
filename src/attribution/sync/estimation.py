"""What a sync would cost: a count of each window, and from it the calls; writes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from attribution.errors import CrmError
from attribution.mirror.log import ObjectLog
from attribution.sync.planning import Plan, Planned
from attribution.sync.source import Source
from attribution.sync.watermark import (
    Window,
    bound_from_clock,
    deletion_span,
    next_window,
    probe_span,
    unless_to_come,
)

__all__ = ["Estimate", "ObjectEstimate", "estimate", "estimate_object"]

_IDS_ASKED: Final = 200


class Measurable(Source, Protocol):
    """A source that knows beforehand what reading costs, and what the organization has used."""

    def effort(self, rows: int) -> tuple[str, int]:
        """How so many records would be read, and in about how many calls."""
        ...

    @property
    def daily_usage(self) -> tuple[int, int] | None:
        """API calls of the whole organization in the last 24 hours, and how many are allowed."""
        ...


@dataclass(frozen=True, slots=True)
class ObjectEstimate:
    """What the next sync of one object would cost."""

    object: str
    transport: str | None
    """``REST`` or ``bulk``; None if nothing has to be read, or it cannot be told."""
    rows: int | None
    """Records that would be delivered; None if they cannot be counted."""
    calls: int | None
    since: datetime | None
    """Start of the window; None: from the beginning."""
    remark: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object in the JSON document."""
        return {
            "object": self.object,
            "transport": self.transport,
            "rows": self.rows,
            "calls": self.calls,
            "from": None if self.since is None else _iso(self.since),
            "remark": self.remark,
        }


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the next sync would cost, about."""

    objects: tuple[ObjectEstimate, ...]
    schema_calls: int
    """Calls that a sync sends before it reads the first object."""
    own_calls: int
    """Calls that this estimate has cost."""
    usage: tuple[int, int] | None
    """API calls of the whole organization in the last 24 hours, and how many are allowed."""
    max_quota_percent: float | None
    max_api_calls: int | None = None

    @property
    def rows(self) -> int:
        """Records that would be delivered."""
        return sum(each.rows or 0 for each in self.objects)

    @property
    def calls(self) -> int:
        """Calls of the whole sync."""
        return self.schema_calls + sum(each.calls or 0 for each in self.objects)

    @property
    def remaining(self) -> int | None:
        """Calls that are left to a sync before it stops; None if Salesforce does not tell."""
        if self.usage is None:
            return None
        used, allowed = self.usage
        share = 100.0 if self.max_quota_percent is None else self.max_quota_percent
        left = max(0, math.floor(allowed * share / 100) - used)
        return left if self.max_api_calls is None else min(left, self.max_api_calls)

    @property
    def fits(self) -> bool | None:
        """Whether the sync would come to its end; None if Salesforce does not tell what is left."""
        return None if self.remaining is None else self.calls <= self.remaining

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        used, allowed = self.usage or (None, None)
        return {
            "objects": [each.to_dict() for each in self.objects],
            "rows": self.rows,
            "calls": self.calls,
            "schema_calls": self.schema_calls,
            "own_calls": self.own_calls,
            "api_calls_used": used,
            "api_calls_allowed": allowed,
            "api_calls_remaining": self.remaining,
            "fits": self.fits,
        }

    def __str__(self) -> str:
        width = max((len(each.object) + 2 for each in self.objects), default=22)
        row = f"{{:<{max(width, 22)}}}{{:<11}}{{:>12}}{{:>9}}  {{:<22}}{{}}".format
        lines = [row("object", "transport", "rows", "calls", "changed since", "")]
        for each in self.objects:
            rows, calls = ("-" if value is None else f"{value:,}" for value in (each.rows, each.calls))
            since = "the beginning" if each.since is None else _iso(each.since)
            line = row(each.object, each.transport or "-", rows, calls, since, each.remark or "")
            lines.append(line.rstrip())
        lines += [
            row("schema", "", "", f"{self.schema_calls:,}", "", "").rstrip(),
            row("in all", "", f"{self.rows:,}", f"{self.calls:,}", "", "").rstrip(),
            "",
        ]
        if self.usage is None or self.remaining is None:
            lines.append("Salesforce does not tell what is left of the quota")
        else:
            used, allowed = self.usage
            verdict = "enough" if self.fits else "not enough: it would stop early, and go on the next time"
            lines.append(
                f"the organization has used {used:,} of {allowed:,} calls; {self.remaining:,} are left to a "
                f"sync: {verdict}"
            )
        return "\n".join([*lines, f"this estimate took {self.own_calls:,} calls"])


def estimate(
    source: Measurable,
    plan: Plan,
    mirror: Path,
    *,
    max_quota_percent: float | None,
    max_api_calls: int | None = None,
    calls_before: int,
) -> Estimate:
    """Count what each window holds; one call per object, or two with every id to compare.

    Raises
    ------
    StoppedEarly
        If a budget runs out.
    """
    # the same questions come first in a sync
    schema_calls = source.api_calls - calls_before
    objects = tuple(
        estimate_object(
            source, planned, ObjectLog(mirror, name), is_full=plan.is_full, reconciles=plan.reconciles
        )
        for name, planned in plan.readable.items()
    )
    own = source.api_calls - calls_before
    return Estimate(objects, schema_calls, own, source.daily_usage, max_quota_percent, max_api_calls)


def estimate_object(
    source: Measurable,
    planned: Planned,
    log: ObjectLog | None,
    *,
    rows: int | None = None,
    is_full: bool = False,
    reconciles: bool = False,
) -> ObjectEstimate:
    """What the next sync of one object would cost.

    Parameters
    ----------
    log
        What is mirrored of it; None: nothing yet.
    rows
        All records of the object where they were counted already.
    """
    watermark = None if log is None else unless_to_come(log.watermark, source.server_time)
    bound, by_clock = bound_from_clock(source.server_time), not planned.description.is_replicateable
    window = next_window(watermark, bound, is_full=is_full, by_clock=by_clock)
    since = watermark if window is None else window.since
    try:
        known = log if log is not None and log.watermark is not None else None
        parts = list(_parts(source, planned, known, window, rows, reconciles=reconciles))
    except CrmError as error:
        return ObjectEstimate(planned.reading.object, None, None, None, since, f"cannot be counted: {error}")
    read = sum(each.rows for each in parts)
    transports = [each.transport for each in parts if each.transport]
    remarks = ", ".join(each.remark for each in parts if each.remark)
    return ObjectEstimate(
        planned.reading.object,
        max(transports, default=None),
        read,
        sum(each.calls for each in parts),
        since,
        remarks or None,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    calls: int
    rows: int = 0
    transport: str | None = None
    remark: str | None = None


def _parts(
    source: Measurable,
    planned: Planned,
    log: ObjectLog | None,
    window: Window | None,
    rows: int | None,
    *,
    reconciles: bool,
) -> Iterator[_Part]:
    """What a sync of one object consists of, in the order in which it happens."""
    description, where, every = planned.description, planned.reading.where, rows
    if description.is_replicateable:
        # until when changes are visible
        yield _Part(1)
    if log is not None and description.cursor is not None:
        new = [each for each in planned.fields if each not in log.coverage.fields]
        if new:
            every = source.count(description.name, where) if every is None else every
            yield _read(source, every, f"{', '.join(new)} of every record")
    if log is not None and log.coverage.unread:
        unread = len(log.coverage.unread)
        yield _Part(math.ceil(unread / _IDS_ASKED), unread)
    if window is not None:
        is_whole = window.since is None or description.cursor is None
        found = every if is_whole else None
        if found is None:
            found = source.count(description.name, where, window=window, cursor=description.cursor)
        before = log.watermark if log is not None and description.is_replicateable else None
        is_told = before is not None and probe_span(source.server_time, before)[0] <= before
        yield _read(source, found, is_quiet=is_told and window.since is not None)
    if log is None:
        return
    if window is not None and (description.is_replicateable or "IsDeleted" not in planned.fields):
        # what was deleted, or a count that shows what is gone
        yield _Part(1)
    if reconciles or _has_gap(log.deletes_watermark, source.server_time):
        every = source.count(description.name, where) if every is None else every
        yield _read(source, every, "every id")


def _has_gap(deletes_watermark: datetime | None, now: datetime) -> bool:
    if deletes_watermark is None:
        return False
    known = unless_to_come(deletes_watermark, now)
    return known is None or deletion_span(known, now).has_gap


def _read(source: Measurable, rows: int, remark: str | None = None, *, is_quiet: bool = False) -> _Part:
    """A read of so many records, which are counted first; none are asked for twice, unless that is told."""
    transport, calls = source.effort(rows)
    return _Part(1 + max(calls, 0 if is_quiet else 1), rows, transport if rows else None, remark)


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
