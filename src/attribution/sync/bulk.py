"""Bulk API 2.0 queries: create a job, wait for it, and take its pages only if every row is there."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import polars as pl
import requests
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from attribution.errors import AttributionError, CrmError, TransientCrmError
from attribution.sync.failures import RETRIED, Garbled, Kind, kind_of, read_json
from attribution.sync.intake import Intake
from attribution.sync.job import Begun
from attribution.sync.rest import selected, soql_of
from attribution.sync.rows import has_two_spellings, told_types
from attribution.sync.source import Query
from attribution.sync.wire import Wire

__all__ = ["BULK_PAGE_ROWS", "BulkRead", "JobFailed"]

BULK_PAGE_ROWS: Final = 50_000
"""Rows of a page of a bulk job."""
_LONGEST_POLL: Final = 10.0
_LONGEST_WAIT: Final = 4 * 3600.0
_COUNT: Final = re.compile(r"[0-9]{1,12}")
_EMPTY_PAGES: Final = 3
"""So many pages without rows may follow each other and still lead somewhere."""
_CHUNK: Final = 2**20
"""Bytes of a page that are taken at once."""
_FAILURES: Final = 2
"""After so many syncs in turn that could not get the next page, a job is given up for another one."""
_GONE: Final = frozenset({Kind.MISSING, Kind.LOCATOR, Kind.FATAL, Kind.REFUSED})
"""What an answer about a job that was begun earlier can mean if it is no longer there, or not for us."""


_RUNNING: Final = ("UploadComplete", "InProgress")


class JobFailed(CrmError):
    """Salesforce gave the job up; the same rows can still be read by REST."""


class _Job(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    id: Annotated[str, Field(pattern=r"^[0-9A-Za-z]+$")]
    state: str
    rows: Annotated[int | None, Field(alias="numberRecordsProcessed")] = None
    error: Annotated[str | None, Field(alias="errorMessage")] = None


class _Listed(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, Field(pattern=r"^[0-9A-Za-z]+$")]
    state: str
    object: str | None = None
    operation: str | None = None
    created_at: Annotated[AwareDatetime, Field(alias="createdDate")]
    created_by: Annotated[str | None, Field(alias="createdById")] = None


class _Listing(BaseModel):
    model_config = ConfigDict(extra="ignore")

    records: list[_Listed]


@dataclass(frozen=True, slots=True)
class BulkRead:
    """The reading of one query by a bulk job, or by another one in its place.

    Values are text, or where a page allows have the type of :func:`~attribution.sync.rows.told_types`.
    """

    wire: Wire
    jobs_path: str
    query: Query
    into: Intake
    poll_seconds: float
    progress: Callable[[int, int | None], None]
    user_id: Callable[[], str | None]
    """Tells who is connected; None where Salesforce does not."""

    @property
    def soql(self) -> str:
        """The query of the job."""
        return soql_of(self.query)

    def run(self) -> int:
        """Put every row into the intake, page by page, and tell how many there are.

        A job for the same query that was begun in the folder of the intake is continued where it was; one
        that is gone or has failed is replaced, and the intake begins anew. So is one whose next page two
        syncs in turn could not get: it may never come.

        Raises
        ------
        JobFailed
            If Salesforce gives a job up, and another one in its place, which is before the first page.
        TransientCrmError
            If the pages together do not hold as many rows as the job says.
        """
        begun = self.into.job.begun(self.wire.server_time)
        if (
            begun is not None
            and begun.soql == self.soql
            and begun.failures < _FAILURES
            and self.into.resume(begun.pages, begun.rows)
        ):
            try:
                return self._read(begun)
            except CrmError as error:
                if not isinstance(error, JobFailed) and kind_of(error) not in _GONE:
                    raise
        try:
            return self._read_new_job()
        except JobFailed:
            # what failed once may have been bad luck
            return self._read_new_job()

    def _read_new_job(self) -> int:
        job = self._created()
        now = self.wire.server_time or self.query.window.until
        begun = self.into.job.save(
            Begun(id=job.id, soql=self.soql, until=self.query.window.until, created_at=now)
        )
        try:
            return self._read(begun, job)
        except JobFailed:
            self.into.restart()
            raise

    def _created(self) -> _Job:
        """Create a job; where it is not known whether one was created already, look before doing it again."""
        before = self.into.job.intended()
        if before is not None:
            self._abort_orphan(before)
        self.into.restart()
        now = self.wire.server_time or self.query.window.until
        self.into.job.intend(now)
        try:
            return self.wire.call(
                "POST",
                self.jobs_path,
                _job_of,
                body={"operation": "queryAll", "query": self.soql},
                before_repeating=lambda: self._abort_orphan(now),
            )
        except AttributionError as error:
            if kind_of(error) not in (None, *RETRIED):
                # refused: there is no job of ours, and one that looks like it is somebody else's
                self.into.restart()
            raise

    def _abort_orphan(self, since: datetime) -> None:
        """Abort the job that this user created for the object since an instant, if it is the only one."""
        try:
            me = self.user_id()
            if me is None:
                return
            listed = self.wire.call("GET", self.jobs_path, _listing_of, params={"jobType": "V2Query"}).records
            orphans = [
                each
                for each in listed
                if (each.object, each.operation) == (self.query.description.name, "queryAll")
                and each.state in _RUNNING
                and each.created_at >= since.replace(microsecond=0)
                and (each.created_by or "")[:15] == me[:15]
            ]
            # of several, somebody else's might be hit; one that is left runs to its end, and that is all
            if len(orphans) == 1:
                path = f"{self.jobs_path}/{orphans[0].id}"
                aborted = {"state": "Aborted"}
                self.wire.call("PATCH", path, lambda response: response.status_code, body=aborted)
        except TransientCrmError:
            raise
        except CrmError:
            # it has ended meanwhile, or this user may not list jobs: it costs the org nothing more
            return

    def _read(self, begun: Begun, job: _Job | None = None) -> int:
        """Take the pages that are missing; at last, see whether every row was there."""
        self.progress(begun.rows, begun.total)
        if begun.is_whole:
            return begun.rows
        path = f"{self.jobs_path}/{begun.id}"
        if begun.total is None or begun.pages == 0:
            job = self._done(path, job or self.wire.call("GET", path, _job_of))
            begun = self.into.job.save(begun.model_copy(update={"total": job.rows}))
        seen, empty = {begun.locator}, 0
        while begun.pages == 0 or begun.locator:
            try:
                page, locator = self._page(f"{path}/results", begun.locator)
                # the page first: a process that is killed in between asks for it again
                self.into.add(page)
            except TransientCrmError:
                self.into.job.save(begun.model_copy(update={"failures": begun.failures + 1}))
                raise
            told = {"pages": begun.pages + 1, "rows": self.into.read, "locator": locator, "failures": 0}
            begun = self.into.job.save(begun.model_copy(update=told))
            self.progress(begun.rows, begun.total)
            empty = 0 if page.height else empty + 1
            if locator and (locator in seen or begun.rows > (begun.total or 0) or empty > _EMPTY_PAGES):
                self.into.restart()
                raise TransientCrmError("Salesforce: the pages of a bulk job go in circles")
            seen.add(locator)
        if begun.total is not None and begun.rows != begun.total:
            self.into.restart()
            raise TransientCrmError(
                f"Salesforce: a bulk job of {begun.total} rows delivered {begun.rows}",
                hint="run the sync again",
            )
        if self.into.n_different < begun.rows:
            self.into.restart()
            raise TransientCrmError(
                "Salesforce: one row of a bulk job came in the place of another", hint="run the sync again"
            )
        self.into.job.save(begun.model_copy(update={"is_whole": True}))
        # every row is here: Salesforce drops the job itself after seven days, so a failure harms nobody
        with contextlib.suppress(AttributionError):
            self.wire.call("DELETE", path, lambda response: response.status_code)
        return begun.rows

    def _done(self, path: str, job: _Job) -> _Job:
        """Wait for a job."""
        pause, waited = self.poll_seconds, 0.0
        while job.state in _RUNNING:
            if waited > _LONGEST_WAIT:
                raise TransientCrmError(
                    f"Salesforce: a bulk job is still {job.state} after {waited:.0f} seconds"
                )
            self.wire.sleep(pause)
            waited += pause
            pause = min(max(pause * 1.5, 0.01), _LONGEST_POLL)
            job = self.wire.call("GET", path, _job_of)
        if job.state == "JobComplete" and job.rows is None:
            raise TransientCrmError("Salesforce: a bulk job does not tell its number of rows")
        if job.state != "JobComplete":
            reason = self.wire.without_secrets(job.error or "no reason given")
            raise JobFailed(f"Salesforce: bulk job {job.state}: {reason}"[:300])
        return job

    def _page(self, path: str, locator: str) -> tuple[pl.DataFrame, str]:
        """One page of results, and where the next one begins; the empty text after the last."""
        params = {"maxRecords": str(BULK_PAGE_ROWS)} | ({"locator": locator} if locator else {})
        fields = selected(self.query.fields)
        types = told_types(self.query.description, fields)

        def accept(response: requests.Response) -> tuple[pl.DataFrame, str]:
            expected = response.headers.get("Sforce-NumberOfRecords", "")
            if not _COUNT.fullmatch(expected):
                raise Garbled("no Sforce-NumberOfRecords")
            body = b"".join(response.iter_content(_CHUNK))
            self.wire.check_echo(body)
            page = parsed(body, fields, types)
            if page.height != int(expected):
                raise Garbled(f"a page of {expected} rows holds {page.height}")
            following = response.headers.get("Sforce-Locator")
            if following is None:
                raise Garbled("no Sforce-Locator")
            return page, "" if following == "null" else following

        return self.wire.call("GET", path, accept, params=params, stream=True)


def _listing_of(response: requests.Response) -> _Listing:
    try:
        return _Listing.model_validate(read_json(response))
    except ValidationError:
        raise Garbled("no list of bulk jobs") from None


def _job_of(response: requests.Response) -> _Job:
    try:
        return _Job.model_validate(read_json(response))
    except ValidationError:
        raise Garbled("no bulk job") from None


def parsed(data: bytes, fields: Sequence[str], types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Read a page of CSV as text, but for ``types``; polars alone accepts a page or a row that is cut.

    An empty value is null.

    Where a value is not of its type, the whole page is text.
    """
    if not data.endswith(b"\n"):
        raise Garbled("a page that does not end in a newline")
    try:
        page = pl.read_csv(data, infer_schema=False, schema_overrides=types, null_values="")
    # what begins like an archive is taken for one
    except (OSError, pl.exceptions.PolarsError):
        if types:
            return parsed(data, fields, {})
        raise Garbled("no CSV") from None
    if page.columns != list(fields):
        raise Garbled("other columns than asked for")
    # an empty value is null, and so is a missing one; but the last field is the id
    if page[fields[-1]].null_count():
        raise Garbled("a row cut short")
    if has_two_spellings(page[fields[-1]]):
        raise Garbled("ids of two lengths")
    return page
