"""The sync of one object: choose the window, read it whole, commit it with its watermarks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Final

import polars as pl

from attribution.errors import CrmError, StoppedEarly, TransientCrmError
from attribution.mirror.coverage import Coverage
from attribution.mirror.log import Appended, ObjectLog
from attribution.mirror.pages import Pages
from attribution.sync.deletions import confirmed, told_deletions, vanished
from attribution.sync.intake import Intake
from attribution.sync.planning import Plan, Planned, planned_anew
from attribution.sync.reconciliation import Reconciliation, reconcile, take_back
from attribution.sync.report import ObjectReport, Progress, Status
from attribution.sync.rows import Rejected, column_types, is_id
from attribution.sync.source import NotShown, Query, Source, all_of
from attribution.sync.watermark import (
    Window,
    bound_from_clock,
    forgotten,
    next_window,
    probe_span,
    unless_to_come,
)

__all__ = ["OneObject"]

_WINDOW: Final = "window"
"""Where the pages of a window are kept until they are committed."""


class OneObject:
    """The sync of one object: choose the window, read it whole, commit it with its watermarks."""

    source: Source
    one_at_a_time: Lock

    def __init__(
        self,
        plan: Plan,
        planned: Planned,
        log: ObjectLog,
        staging: Path,
        progress: Callable[[Progress], object] | None,
    ) -> None:
        self.plan = plan
        self.description = planned.description
        self.planned = planned
        self.fields = planned.fields
        self.log = log
        self.staging = staging / planned.description.name
        self.progress = progress
        self.read = self.written = self.deleted = 0
        self.rejected: list[Rejected] = []
        self.warnings: list[str] = []
        self.purged_until: datetime | None = None
        """Up to which instant purges are known once every id is compared; None if their log has no gap."""
        self.reconciled: Reconciliation | None = None
        self.before: datetime | None = None
        """Up to which instant it was read; None if never, or if that is still to come."""
        self.deletes_before: datetime | None = None
        """The same of its deletions."""
        self.is_quiet = False
        """Whether the CRM has told that nothing has changed since the watermark."""
        self.changed: tuple[str, ...] = ()
        """Some of the records that have changed, by another word than that of a query."""
        self.outcome: ObjectReport | None = None
        """What became of it; None before that is known."""
        self.stopped: StoppedEarly | None = None
        """Why it was not read to its end, if a limit was reached."""

    def run(self, source: Source, one_at_a_time: Lock) -> ObjectReport:
        """Read the object, and say what became of it.

        Parameters
        ----------
        source
            A connection that no other thread uses meanwhile.
        one_at_a_time
            For what must not happen in two threads at once: telling, and writing, which takes memory and
            uses every processor by itself.
        """
        self.source, self.one_at_a_time = source, one_at_a_time
        calls, started = source.api_calls, time.monotonic()
        try:
            outcome = self._run_anew()
        except CrmError as error:
            outcome = self._so_far("failed", str(error))
            self.warnings.insert(0, f"{self.description.name} failed: {error}")
            self.rejected = []
        except StoppedEarly as error:
            self.stopped = error
            outcome = self._so_far("stopped", error.message)
            self.rejected = []
        seconds = time.monotonic() - started
        self.outcome = replace(outcome, api_calls=source.api_calls - calls, seconds=seconds)
        return self.outcome

    def not_begun(self, reason: StoppedEarly) -> ObjectReport:
        """What is to be said where a limit was reached before."""
        return self._so_far("stopped", reason.message)

    def _run_anew(self) -> ObjectReport:
        """Read the object; where a field was hidden or removed since it was described, without that."""
        try:
            return self._run()
        except NotShown as refusal:
            self.planned = planned_anew(self.source, self.plan, self.planned, refusal)
            self.description, self.fields = self.planned.description, self.planned.fields
            self.log.check_types(column_types(self.description, self.fields))
            return self._run()

    def _so_far(self, status: Status, message: str) -> ObjectReport:
        """What was done of an object that is not read to its end; all of it is committed."""
        return ObjectReport(
            self.description.name,
            status,
            read=self.read,
            written=self.written,
            deleted=self.deleted,
            to=self.log.watermark,
            message=message,
        )

    def _run(self) -> ObjectReport:
        name, log = self.description.name, self.log
        was_read = log.watermark is not None
        now = self.source.server_time
        self.before = unless_to_come(log.watermark, now)
        self.deletes_before = unless_to_come(log.deletes_watermark, now)
        bound = self._bound()
        self._warn()
        self._catch_up()
        self._ask_again()
        if self.before is None and was_read:
            self.warnings.append(
                f"{name}: it was read up to {log.watermark:%Y-%m-%d %H:%M} UTC, which is still to come by "
                "Salesforce's clock: every record is read again, and known_at tells nothing before that"
            )
        by_clock = not self.description.is_replicateable
        window = next_window(self.before, bound, is_full=self.plan.is_full, by_clock=by_clock)
        first = window
        if window is not None:
            begun = self._begun(window)
            if begun is not None:
                # what a run that was killed has read is committed first, and then what changed since
                self._read_window(begun)
                window = next_window(self.before, bound, by_clock=by_clock)
        if window is not None:
            self._read_window(window)
        if was_read or self.purged_until is not None:
            self._reconcile()
        self.rejected = list(dict.fromkeys(self.rejected))
        if self.rejected:
            # it may be the description that is wrong
            self.plan.schema.forget(name)
        # what a run that was killed after its commit has left
        shutil.rmtree(self.staging, ignore_errors=True)
        return ObjectReport(
            name,
            "ok",
            read=self.read,
            written=self.written,
            deleted=self.deleted,
            rejected=len(self.rejected),
            from_=log.watermark if first is None else first.since,
            to=log.watermark,
            reconciled=self.reconciled,
        )

    def _reconcile(self) -> None:
        """Find what no window shows: undeletions, and with every id compared whatever else was missed."""
        source, staging, percent = self.source, self.staging / "compared", self.plan.max_vanished_percent
        lock = self.one_at_a_time
        self._add(take_back(source, self.plan, self.planned, self.log, staging, self._tell, lock))
        if not self.plan.reconciles and self.purged_until is None:
            return
        done = reconcile(
            source,
            self.plan,
            self.planned,
            self.log,
            staging,
            self._tell,
            lock,
            most_percent=percent,
            deletes_watermark=self.purged_until,
        )
        self._add(done.appended)
        self.read += done.read
        self.rejected += done.rejected
        self.warnings += done.warnings
        self.reconciled = done.told

    def _begun(self, window: Window) -> Window | None:
        begun = self.source.begun(self._query(self.fields, window), self.staging / _WINDOW)
        if begun is not None and self.before is not None and begun.until <= self.before:
            # it is committed already, and tells nothing of what has changed since
            shutil.rmtree(self.staging / _WINDOW)
            return None
        return begun if begun is not None and begun.until < window.until else None

    def _read_window(self, window: Window) -> None:
        taken = self._read(self.fields, window)
        rows = taken.pages
        if not taken.read:
            self._doubt()
        deletions, deletes_watermark = self._deletions(rows, window)
        advances = self.before is None or window.until > self.before
        with self.one_at_a_time:
            appended = self.log.append(
                rows,
                synced_at=self.source.server_time,
                # everything can be read again where nothing newer is safe to read yet
                watermark=window.until if advances else None,
                deletions=deletions,
                deletes_watermark=deletes_watermark,
                coverage=self._coverage(self.fields),
                may_go_back=self.before is None or self.deletes_before is None,
            )
        # whatever could not be true is no longer so
        self.before, self.deletes_before = self.log.watermark, self.log.deletes_watermark
        self._committed(appended, _WINDOW)

    def _doubt(self) -> None:
        """Believe in an empty window, unless no query shows what is said to have changed."""
        # changes later than the window are no contradiction, and can be seen
        if self.changed and not any(
            page.height for page in self.source.read_ids(self.description, ("Id",), self.changed)
        ):
            raise TransientCrmError(
                f"{self.description.name}: records have changed, and no query shows any of them",
                hint="run the sync again",
            )

    def _committed(self, appended: Appended, of: str) -> None:
        """Count what was written, and forget the pages that it came from."""
        self._add(appended)
        shutil.rmtree(self.staging / of, ignore_errors=True)

    def _add(self, appended: Appended) -> None:
        self.written += appended.written
        self.deleted += appended.deleted

    def _coverage(self, fields: Sequence[str]) -> Coverage:
        refers_to = {name: self.description.fields[name].refers_to for name in fields}
        return Coverage(
            tuple(fields),
            self.planned.reading.where,
            {name: targets for name, targets in refers_to.items() if targets},
            unread=self._unread(),
            unseen=self.log.coverage.unseen,
            picklists=tuple(name for name in fields if self.description.fields[name].is_picked),
        )

    def _unread(self, *, asked: bool = False) -> tuple[str, ...]:
        """Ids of the records that could not be read: those of this run, and those not asked for again."""
        # whatever has no id cannot be asked for; of another object's id there will be no record here
        now = (each.id for each in self.rejected if each.id is not None and is_id(each.id))
        before = () if asked else self.log.coverage.unread
        return tuple(sorted({*before, *now}))

    def _ask_again(self) -> None:
        """Ask for the records that could not be read before; whoever is not there any more is let go."""
        before = self.log.coverage.unread
        if not before:
            return
        kept, self.rejected = self.rejected, []
        taken, where = self._intake(self.fields, "again"), self.planned.reading.where
        for page in self.source.read_ids(self.description, self.fields, before, where=where):
            taken.add(page)
        self._taken(taken)
        unread = self._unread(asked=True)
        self.rejected = [*kept, *self.rejected]
        coverage = None if unread == before else replace(self.log.coverage, unread=unread)
        with self.one_at_a_time:
            appended = self.log.append(taken.pages, synced_at=self.source.server_time, coverage=coverage)
        self._committed(appended, "again")

    def _catch_up(self) -> None:
        """Read what a changed mapping adds to what was read up to the watermark, and nothing else."""
        log, name, watermark = self.log, self.description.name, self.log.watermark
        if watermark is None or self.description.cursor is None:
            # the window that follows is everything
            return
        span, covered, where = Window(None, watermark), log.coverage, self.planned.reading.where
        if covered.where != where and covered.where is not None:
            fields = [field for field in self.fields if field in covered.fields]
            more = all_of(where, f"NOT ({covered.where})")
            rows = self._read(fields, span, more, to="more").pages
            now = self.source.server_time
            with self.one_at_a_time:
                appended = log.append(rows, synced_at=now, coverage=self._coverage(fields))
            self._committed(appended, "more")
        new = [field for field in self.fields if field not in covered.fields]
        if new and not log.is_empty:
            self.warnings.append(f"{name}: {', '.join(new)} is new: read for every record")
            rows = self._read(["Id", *new], span, to="fields").pages
            refers_to, now = self._coverage(new).refers_to, self.source.server_time
            with self.one_at_a_time:
                appended = log.backfill(rows, synced_at=now, refers_to=refers_to, unread=self._unread())
            self._committed(appended, "fields")

    def _bound(self) -> datetime:
        """Until when every change is visible now; asked before reading, of the server's clock only."""
        now = self.source.server_time
        if not self.description.is_replicateable:
            return bound_from_clock(now)
        since, until = probe_span(now, self.before)
        try:
            found = self.source.changes(self.description.name, since, until)
        except TransientCrmError:
            raise
        except CrmError as error:
            self.warnings.append(f"{self.description.name}: Salesforce does not tell what it covers: {error}")
            return bound_from_clock(now)
        self.changed = found.ids
        self.is_quiet = not found.has_any and self.before is not None and since <= self.before
        return found.covered_until

    def _warn(self) -> None:
        name, summary = self.description.name, self.plan.objects[self.description.name]
        if self.description.has_blind_edits:
            self.warnings.append(
                f"{name}: nothing filters it by SystemModstamp: it is read whole in each sync"
            )
        if summary.is_replicateable and not self.description.is_replicateable:
            self.warnings.append(
                f"{name}: its description does not say, as the list of objects does, that deletions are "
                "logged: what is purged is found only by sync --reconcile"
            )
        gone = [name for name in self.planned.hidden if name in self.log.fields]
        if gone:
            self.warnings.append(
                f"{self.description.name}: {', '.join(gone)} is hidden now and no longer read; "
                "stored values are kept"
            )

    def _read(
        self, fields: Sequence[str], window: Window, where: str | None = None, *, to: str = _WINDOW
    ) -> Intake:
        # what cannot be read must be known before anything is written, and is told in the same commit
        taken = self._intake(fields, to)
        try:
            is_quiet = self.is_quiet and window.since is not None
            self.source.read(self._query(fields, window, where), taken, self._tell, is_quiet=is_quiet)
        finally:
            self._taken(taken)
        return taken

    def _query(self, fields: Sequence[str], window: Window, where: str | None = None) -> Query:
        where = where or self.planned.reading.where
        return Query(self.description, tuple(fields), window, self.description.cursor, where)

    def _intake(self, fields: Sequence[str], to: str) -> Intake:
        """Where the records of one read are put: in a folder of their own, beside those of other reads."""
        return Intake(
            self.staging / to,
            self.description,
            fields,
            self.plan.objects,
            lambda: self.source.server_time,
        )

    def _taken(self, taken: Intake) -> None:
        self.read += taken.read
        self.rejected += taken.rejected

    def _tell(self, rows: int, total: int | None) -> None:
        if self.progress is not None:
            with self.one_at_a_time:
                self.progress(Progress(self.description.name, rows, total))

    def _deletions(self, rows: Pages, window: Window) -> tuple[pl.DataFrame | None, datetime | None]:
        """Records gone since the last sync, purged ones included, and until when that is known."""
        if not self.description.is_replicateable:
            every_id = None if self.description.cursor is None else lambda: self._every_id(window.until)
            percent = self.plan.max_vanished_percent
            gone = vanished(self.source, self.planned, self.log, rows, window.until, percent, every_id)
            self.warnings += gone.warnings
            return gone.rows, None
        if self.log.watermark is None:
            # what was gone before the first read was never seen
            return None, window.until
        # a gap is written down, so that it is still known if this sync does not come to close it
        gap = forgotten(self.source.server_time) if self.deletes_before is None else None
        before = gap or self.deletes_before or window.until
        told = told_deletions(self.source, self.description.name, before, window.until)
        self.warnings += told.warnings
        self.purged_until = told.compared_until
        if told.rows is None:
            return None, gap
        return confirmed(told.rows, rows, self.log, self.source), told.covered_until or gap

    def _every_id(self, until: datetime) -> pl.Series:
        """Ids of all records, of every age; none that was edited since the end of a window has vanished."""
        taken = self._intake(["Id"], "ids")
        query = replace(self._query(["Id"], Window(None, until)), cursor=None)
        self.source.read(query, taken, self._tell)
        self._taken(taken)
        return taken.pages.scan().collect()["Id"]
