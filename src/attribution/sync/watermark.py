"""Which span of time to read next: pure functions of what was read and of the server's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = [
    "DeletionSpan",
    "Window",
    "bound_from_clock",
    "deletion_span",
    "forgotten",
    "halved",
    "literal",
    "next_window",
    "probe_span",
    "unless_to_come",
]

_OVERLAP: Final = timedelta(minutes=10)
"""Read again this much before the watermark: a safety margin; unchanged rows are not stored twice."""
_UNNOTICED: Final = timedelta(hours=1)
"""So much a clock may have been ahead in every answer of a sync; nothing but the next sync tells."""
_CLOCK_LAG: Final = timedelta(seconds=5)
"""How long after its stamp a change is taken to be visible, where the CRM does not tell."""
_OLDEST: Final = datetime(1999, 1, 1, tzinfo=UTC)
"""Salesforce is no older than that; an earlier stamp is still in the first half of everything."""
_PROBE: Final = timedelta(hours=1)
_NAMED: Final = timedelta(hours=25)
"""So far back it is asked which records have changed: as long as a daily sync needs."""
_SHORTEST: Final = timedelta(minutes=2)
"""Salesforce ignores seconds and wants more than one minute between the ends of a span."""
_DELETES_KEPT: Final = timedelta(days=15) - timedelta(minutes=5)
"""How far back deleted records can be asked for; less a little, since the clock runs on while we ask."""


@dataclass(frozen=True, slots=True)
class Window:
    """Changes stamped in ``[since, until)``; ``since`` None means from the beginning."""

    since: datetime | None
    until: datetime


@dataclass(frozen=True, slots=True)
class DeletionSpan:
    """For which span to ask for deleted records, and whether some lie too far back to be told."""

    since: datetime
    until: datetime
    has_gap: bool


def unless_to_come(watermark: datetime | None, server_time: datetime) -> datetime | None:
    """A watermark, or None if it is still to come: nobody can have read up to there.

    What lies ahead by less than the overlap is made up for by that.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> unless_to_come(noon, noon.replace(hour=13)) == noon
    True
    >>> unless_to_come(noon.replace(day=9), noon) is None
    True
    """
    return None if watermark is None or watermark > server_time + _OVERLAP else watermark


def next_window(
    watermark: datetime | None, bound: datetime, *, is_full: bool = False, by_clock: bool = False
) -> Window | None:
    """The window to read now, or None if nothing newer is asked for than is safe to read yet.

    Parameters
    ----------
    watermark
        Up to which instant the object has been read completely; None before the first time.
    bound
        Up to which instant every change is visible now.
    is_full
        Whether to read everything again, whatever was read before.
    by_clock
        Whether nothing but the Date of answers tells the bounds of this object: the clock behind the last
        one may have been ahead, unnoticed.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> next_window(noon, noon.replace(hour=13)).since.isoformat()
    '2026-01-01T11:50:00+00:00'
    >>> next_window(noon, noon) is None
    True
    >>> next_window(noon, noon, is_full=True)
    Window(since=None, until=datetime.datetime(2026, 1, 1, 12, 0, tzinfo=datetime.timezone.utc))
    """
    if watermark is None or is_full:
        return Window(None, bound if watermark is None else max(watermark, bound))
    if bound <= watermark:
        return None
    return Window(watermark - _OVERLAP - (_UNNOTICED if by_clock else timedelta()), bound)


def halved(window: Window) -> tuple[Window, ...]:
    """The two halves of a window, on whole seconds; none if it is too short to be halved.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> [half.until.minute for half in halved(Window(noon, noon.replace(minute=30)))]
    [15, 30]
    """
    since = _OLDEST if window.since is None else window.since
    middle = (since + (window.until - since) / 2).replace(microsecond=0)
    if not since < middle < window.until:
        return ()
    return Window(window.since, middle), Window(middle, window.until)


def probe_span(server_time: datetime, watermark: datetime | None) -> tuple[datetime, datetime]:
    """A span that ends now, to ask what has changed, and until when changes are visible.

    It begins at the watermark where that is not so long ago that too many of them might be listed.
    """
    if watermark is not None and watermark > server_time - _NAMED:
        return min(watermark, server_time - _SHORTEST), server_time
    return server_time - _PROBE, server_time


def bound_from_clock(server_time: datetime) -> datetime:
    """Until when changes are taken to be visible where the CRM does not tell."""
    return server_time - _CLOCK_LAG


def deletion_span(watermark: datetime, server_time: datetime) -> DeletionSpan:
    """The span of deletions to ask for: from the last one on, but no further back than is kept.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> deletion_span(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)).has_gap
    True
    """
    oldest = server_time - _DELETES_KEPT
    since = min(watermark, server_time) - _OVERLAP
    return DeletionSpan(max(since, oldest), server_time, has_gap=watermark < oldest)


def forgotten(server_time: datetime) -> datetime:
    """An instant since which deleted records can no longer be asked for: what is known up to it has a gap."""
    return server_time - _DELETES_KEPT - timedelta(days=1)


def literal(instant: datetime) -> str:
    """An instant as SOQL spells it; milliseconds only where they matter.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> literal(datetime(2026, 1, 1, 12, tzinfo=UTC))
    '2026-01-01T12:00:00Z'
    """
    spelling = "milliseconds" if instant.microsecond else "seconds"
    return instant.astimezone(UTC).isoformat(timespec=spelling).replace("+00:00", "Z")
