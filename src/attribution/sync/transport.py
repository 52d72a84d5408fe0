"""By which way a window is read: few rows by REST, many in bulk, and none of them on one answer's word."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from attribution.errors import AttributionError, CrmError, StoppedEarly, TransientCrmError
from attribution.sync.bulk import BULK_PAGE_ROWS, JobFailed, Staging, read_in_bulk
from attribution.sync.failures import Kind, kind_of
from attribution.sync.rest import PAGE_ROWS, Queries, Read, condition, selected
from attribution.sync.source import ObjectDescription
from attribution.sync.watermark import Window
from attribution.sync.wire import Wire

__all__ = ["Transport"]

_BULK_ABOVE: Final = 5_000
"""More rows than this are read in bulk."""
_POLLS: Final = 5
"""How often a bulk job is looked at until it is done, about."""
_CALLS_INSTEAD: Final = 50
"""In so many calls at most a window is read by REST whose bulk jobs failed."""
_COUNTED: Final = 3
"""How often a window is read that delivers fewer rows than were counted."""

Told = Callable[[int, int | None], None]


class Transport:
    """Reads windows: counts first, then chooses REST or a bulk job, and holds the rows against the count.

    Parameters
    ----------
    base
        Path of the REST API in its version.
    poll_seconds
        First wait between two looks at a bulk job.
    """

    def __init__(self, wire: Wire, base: str, poll_seconds: float) -> None:
        self._wire = wire
        self._base = base
        self._poll_seconds = poll_seconds
        self.queries = Queries(wire, base)

    @staticmethod
    def effort(rows: int) -> tuple[str, int]:
        """How so many records would be read, ``REST`` or ``bulk``, and in about how many calls."""
        if rows <= _BULK_ABOVE:
            return "REST", math.ceil(rows / PAGE_ROWS)
        # made, looked at, fetched, dropped
        return "bulk", 1 + _POLLS + math.ceil(rows / BULK_PAGE_ROWS) + 1

    def read(
        self,
        description: ObjectDescription,
        fields: Sequence[str],
        window: Window,
        cursor: str | None,
        where: str | None,
        staging: Path,
        progress: Told,
        *,
        is_quiet: bool,
    ) -> Iterator[pl.DataFrame]:
        """Pages of records changed in a window; see :meth:`attribution.sync.source.Source.read`."""
        soql = _soql(description.name, fields, window, cursor, where)
        begun = Staging(staging).begun(self._wire.server_time)
        if begun is not None and begun.soql == soql:
            yield from self._in_bulk(description, fields, window, cursor, where, staging, progress, None)
            return
        counted = self._counted(description.name, window, cursor, where)
        progress(0, counted)
        if counted == 0 and is_quiet:
            return
        for _ in range(_COUNTED):
            if counted is None or counted > _BULK_ABOVE:
                pages = self._in_bulk(description, fields, window, cursor, where, staging, progress, counted)
            else:
                pages = self.queries.of_window(
                    description.name, selected(fields), window, cursor, where, progress
                )
            rows = yield from pages
            if counted is None or rows >= counted:
                return
            # records leave a window where they are edited or purged meanwhile; else one of the two is wrong
            counted = self._counted(description.name, window, cursor, where)
            if counted is None or rows >= counted:
                return
            Staging(staging).clear()
        raise TransientCrmError(
            f"Salesforce: a query of {counted:,} rows delivered {rows:,}", hint="run the sync again"
        )

    def begun(
        self,
        object: str,
        fields: Sequence[str],
        window: Window,
        cursor: str | None,
        where: str | None,
        staging: Path,
    ) -> Window | None:
        """The window of a bulk job that was begun earlier, if it starts like this one."""
        begun = Staging(staging).begun(self._wire.server_time)
        if begun is None:
            return None
        earlier = Window(window.since, begun.until)
        return earlier if begun.soql == _soql(object, fields, earlier, cursor, where) else None

    def _counted(self, object: str, window: Window, cursor: str | None, where: str | None) -> int | None:
        """How many rows a window has; None where it takes too long to count them."""
        try:
            return self.queries.count(object, where, window=window, cursor=cursor)
        except AttributionError as error:
            if kind_of(error) is not Kind.TIMEOUT:
                raise
            return None

    def _in_bulk(
        self,
        description: ObjectDescription,
        fields: Sequence[str],
        window: Window,
        cursor: str | None,
        where: str | None,
        staging: Path,
        progress: Told,
        rows: int | None,
    ) -> Read:
        """Read a window by a bulk job; by REST where there can be none, if that does not cost too much."""
        try:
            return (
                yield from read_in_bulk(
                    self._wire,
                    f"{self._base}/jobs/query",
                    description,
                    _soql(description.name, fields, window, cursor, where),
                    selected(fields),
                    until=window.until,
                    staging=staging,
                    poll_seconds=self._poll_seconds,
                    progress=progress,
                )
            )
        except (CrmError, StoppedEarly) as error:
            # each is told before the first page, so no row has been delivered yet
            if isinstance(error, JobFailed) or kind_of(error) is Kind.BULK_QUOTA:
                if rows is None:
                    rows = self._counted(description.name, window, cursor, where)
                self._refuse_if_costly(error, rows)
            elif kind_of(error) is not Kind.NOT_BULK:
                raise
        return (
            yield from self.queries.of_window(
                description.name, selected(fields), window, cursor, where, progress
            )
        )

    def _refuse_if_costly(self, error: AttributionError, rows: int | None) -> None:
        calls = math.inf if rows is None else math.ceil(rows / PAGE_ROWS)
        told = "too many rows to be counted" if rows is None else f"{rows:,} rows would take {calls:,} calls"
        if isinstance(error, JobFailed):
            if calls > _CALLS_INSTEAD:
                raise CrmError(
                    f"{error.message}, twice; by REST {told}, and more than {_CALLS_INSTEAD} are not tried",
                    hint="run the sync again; if it goes on, ask Salesforce about the job",
                ) from error
            return
        left = self._wire.calls_left
        if left is not None and calls > left:
            raise StoppedEarly(
                f"{error.message}; by REST {told}, and {left:,} are left to this sync",
                hint="the quota of bulk jobs is one of 24 hours: run it again later to resume",
            ) from error


def _soql(object: str, fields: Sequence[str], window: Window, cursor: str | None, where: str | None) -> str:
    return f"SELECT {', '.join(selected(fields))} FROM {object}{condition(cursor, window, where)}"
