"""By which way a window is read: few rows by REST, many in bulk, and none of them on one answer's word."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from attribution.errors import AttributionError, CrmError, StoppedEarly, TransientCrmError
from attribution.sync.bulk import BULK_PAGE_ROWS, BulkRead, JobFailed
from attribution.sync.failures import Kind, kind_of
from attribution.sync.intake import Intake
from attribution.sync.job import KeptJob
from attribution.sync.rest import PAGE_ROWS, Queries, soql_of
from attribution.sync.source import Query
from attribution.sync.watermark import Window
from attribution.sync.wire import Wire

__all__ = ["Transport"]

_BULK_ABOVE: Final = 5_000
"""More rows than this are read in bulk."""
_POLLS: Final = 5
"""How often a bulk job is looked at until it is done, about."""
_CALLS_INSTEAD: Final = 50
"""In so many calls at most a window is read by REST whose bulk jobs failed."""
_READS: Final = 3
"""How often a window is read that delivers fewer rows than were counted, or others than asked for."""

Told = Callable[[int, int | None], None]


class Transport:
    """Reads windows: counts first, then chooses REST or a bulk job, and holds the rows against the count.

    Parameters
    ----------
    base
        Path of the REST API in its version.
    poll_seconds
        First wait between two looks at a bulk job.
    user_id
        Tells who is connected; None where Salesforce does not.
    """

    def __init__(self, wire: Wire, base: str, poll_seconds: float, user_id: Callable[[], str | None]) -> None:
        self._wire = wire
        self._user_id = user_id
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
        query: Query,
        into: Intake,
        progress: Told,
        *,
        is_quiet: bool,
    ) -> None:
        """Take the records changed in a window; see :meth:`attribution.sync.source.Source.read`."""
        begun = into.job.begun(self._wire.server_time)
        is_begun = begun is not None and begun.soql == soql_of(query)
        counted = self._counted(query)
        progress(0, counted)
        into.expect(query.cursor, query.window.since)
        if counted == 0 and is_quiet:
            return
        for _ in range(_READS):
            if is_begun or counted is None or counted > _BULK_ABOVE:
                rows = self._in_bulk(query, into, progress, counted)
            else:
                rows = self._by_rest(query, into, progress)
            if counted is not None and rows < counted:
                # records leave a window where they are edited or purged; else one of the two is wrong
                counted = self._counted(query)
            lacks = counted is not None and rows < counted
            # nobody knows which record a stranger stands for
            if not (lacks or into.n_strangers):
                return
            into.job.clear()
            is_begun = False
        name, strangers = query.description.name, into.n_strangers
        told = (
            f"a query of {counted:,} rows delivered {rows:,}"
            if lacks
            else f"{strangers:,} of {into.read:,} records of {name} have no id, or one of another object"
        )
        into.restart()
        raise TransientCrmError(f"Salesforce: {told}", hint="run the sync again")

    def begun(self, query: Query, staging: Path) -> Window | None:
        """The window of a bulk job that was begun earlier, if it starts like this one."""
        begun = KeptJob(staging).begun(self._wire.server_time)
        if begun is None:
            return None
        earlier = replace(query, window=Window(query.window.since, begun.until))
        return earlier.window if begun.soql == soql_of(earlier) else None

    def _counted(self, query: Query) -> int | None:
        """How many rows a window has; None where it takes too long to count them."""
        try:
            return self.queries.count(
                query.description.name, query.where, window=query.window, cursor=query.cursor
            )
        except AttributionError as error:
            if kind_of(error) is not Kind.TIMEOUT:
                raise
            return None

    def _by_rest(self, query: Query, into: Intake, progress: Told) -> int:
        into.restart()
        try:
            into.read = self.queries.of_window(query, into.add, progress)
            return into.read
        except BaseException:
            # nobody could go on after them
            into.restart()
            raise

    def _in_bulk(
        self,
        query: Query,
        into: Intake,
        progress: Told,
        rows: int | None,
    ) -> int:
        """Read a window by a bulk job; by REST where there can be none, if that does not cost too much."""
        try:
            return BulkRead(
                self._wire,
                f"{self._base}/jobs/query",
                query,
                into,
                self._poll_seconds,
                progress,
                self._user_id,
            ).run()
        except (CrmError, StoppedEarly) as error:
            # each is told before the first page
            if isinstance(error, JobFailed) or kind_of(error) is Kind.BULK_QUOTA:
                self._refuse_if_costly(error, self._counted(query) if rows is None else rows)
            elif kind_of(error) is not Kind.NOT_BULK:
                raise
        return self._by_rest(query, into, progress)

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
