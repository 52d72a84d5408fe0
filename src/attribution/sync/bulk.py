"""Bulk API 2.0 queries: create a job, wait for it, and take its pages only if every row is there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import polars as pl
import requests
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from attribution.errors import AttributionError, CrmError, TransientCrmError
from attribution.sync.wire import Garbled, Kind, Wire, kind_of, read_json

__all__ = ["BULK_PAGE_ROWS", "JobFailed", "Staging", "read_in_bulk"]

BULK_PAGE_ROWS: Final = 50_000
"""Rows of a page of a bulk job."""
_LONGEST_POLL: Final = 10.0
_LONGEST_WAIT: Final = 4 * 3600.0
_CHUNK: Final = 1 << 20
_KEPT: Final = timedelta(days=7) - timedelta(hours=1)
"""How long Salesforce keeps the results of a job; less a little, to read them."""
_GONE: Final = frozenset({Kind.MISSING, Kind.LOCATOR, Kind.FATAL})
"""What an answer about a job that was begun earlier can mean if the job is no longer there."""


class JobFailed(CrmError):
    """Salesforce gave the job up; the same rows can still be read by REST."""


class _Job(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    id: Annotated[str, Field(pattern=r"^[0-9A-Za-z]+$")]
    state: str
    rows: Annotated[int | None, Field(alias="numberRecordsProcessed")] = None
    error: Annotated[str | None, Field(alias="errorMessage")] = None


class _Begun(BaseModel):
    """How far a job has been read: kept in a file beside its pages, so that another process can go on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    soql: str
    until: AwareDatetime
    """End of the window that is read."""
    created_at: AwareDatetime
    total: int | None = None
    """Rows that Salesforce says there are; None until the job is done."""
    pages: int = 0
    rows: int = 0
    locator: str = ""
    """Where the next page begins; empty before the first."""
    is_whole: bool = False


class Staging:
    """A folder that keeps the pages of one bulk job until they are committed.

    Parameters
    ----------
    folder
        Need not exist; whoever commits the rows removes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / "job.json"

    def begun(self, now: datetime | None) -> _Begun | None:
        """The job that was begun, unless Salesforce has dropped it by now or its pages are lost."""
        try:
            begun = _Begun.model_validate_json(self._state.read_bytes())
        except (OSError, ValidationError):
            return None
        is_kept = begun.is_whole or now is None or now - begun.created_at < _KEPT
        return begun if is_kept and all(file.exists() for file in self.files(begun)) else None

    def files(self, begun: _Begun) -> list[Path]:
        """The pages that are here, in order."""
        return [self._folder / f"{number:06}.parquet" for number in range(begun.pages)]

    def clear(self) -> None:
        """Forget whatever was begun."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def save(self, begun: _Begun) -> _Begun:
        """Remember how far a job has been read."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._replace(self._state, lambda file: file.write_text(begun.model_dump_json(), "utf-8"))
        return begun

    def add(self, begun: _Begun, page: pl.DataFrame, locator: str) -> _Begun:
        """Keep one more page; a process killed in between asks for that page again."""
        file = self._folder / f"{begun.pages:06}.parquet"
        self._replace(file, lambda each: page.write_parquet(each, compression="lz4"))
        read = begun.rows + page.height
        return self.save(
            begun.model_copy(update={"pages": begun.pages + 1, "rows": read, "locator": locator})
        )

    def csv(self) -> Path:
        """Where a page is put before it is understood."""
        return self._folder / "page.csv"

    @staticmethod
    def _replace(file: Path, write: Callable[[Path], object]) -> None:
        temporary = file.with_suffix(".part")
        write(temporary)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(file)


def read_in_bulk(
    wire: Wire,
    jobs_path: str,
    soql: str,
    fields: Sequence[str],
    *,
    until: datetime,
    staging: Path,
    poll_seconds: float,
    progress: Callable[[int, int | None], None],
) -> Iterator[pl.DataFrame]:
    """Yield the pages of a query as text, in the order of ``fields``, once all of them are in ``staging``.

    The last of ``fields`` must never be empty: a row cut short shows by it. A job for the same query that
    was begun there is continued where it was; one that is gone or has failed is replaced.

    Raises
    ------
    JobFailed
        If Salesforce gives the job up.
    TransientCrmError
        If the pages together do not hold as many rows as the job says.
    """
    kept = Staging(staging)
    begun = kept.begun(wire.server_time)
    if begun is not None and begun.soql == soql:
        try:
            begun = _finished(wire, jobs_path, begun, fields, kept, poll_seconds, progress)
        except CrmError as error:
            if not isinstance(error, JobFailed) and kind_of(error) not in _GONE:
                raise
            begun = None
    else:
        begun = None
    if begun is None:
        kept.clear()
        job = wire.call("POST", jobs_path, _job_of, body={"operation": "queryAll", "query": soql})
        now = wire.server_time or until
        begun = kept.save(_Begun(id=job.id, soql=soql, until=until, created_at=now))
        try:
            begun = _finished(wire, jobs_path, begun, fields, kept, poll_seconds, progress, job)
        except JobFailed:
            kept.clear()
            raise
    for file in kept.files(begun):
        yield pl.read_parquet(file, glob=False)


def _finished(
    wire: Wire,
    jobs_path: str,
    begun: _Begun,
    fields: Sequence[str],
    kept: Staging,
    poll_seconds: float,
    progress: Callable[[int, int | None], None],
    job: _Job | None = None,
) -> _Begun:
    """Fetch what is missing of a job, and check that every row is there."""
    progress(begun.rows, begun.total)
    if begun.is_whole:
        return begun
    path = f"{jobs_path}/{begun.id}"
    if begun.total is None or begun.pages == 0:
        job = _wait(wire, path, job or wire.call("GET", path, _job_of), poll_seconds)
        begun = kept.save(begun.model_copy(update={"total": job.rows}))
    seen = {begun.locator}
    try:
        while begun.pages == 0 or begun.locator:
            page, locator = _page(wire, f"{path}/results", begun.locator, fields, kept.csv())
            begun = kept.add(begun, page, locator)
            progress(begun.rows, begun.total)
            if locator and locator in seen:
                kept.clear()
                raise TransientCrmError("Salesforce: the pages of a bulk job go in circles")
            seen.add(locator)
    finally:
        kept.csv().unlink(missing_ok=True)
    if begun.total is not None and begun.rows != begun.total:
        kept.clear()
        raise TransientCrmError(
            f"Salesforce: a bulk job of {begun.total} rows delivered {begun.rows}", hint="run the sync again"
        )
    begun = kept.save(begun.model_copy(update={"is_whole": True}))
    # every row is here: Salesforce drops the job itself after seven days, so a failure harms nobody
    with contextlib.suppress(AttributionError):
        wire.call("DELETE", path, lambda response: response.status_code)
    return begun


def _job_of(response: requests.Response) -> _Job:
    try:
        return _Job.model_validate(read_json(response))
    except ValidationError:
        raise Garbled("no bulk job") from None


def _wait(wire: Wire, path: str, job: _Job, poll_seconds: float) -> _Job:
    pause, waited = poll_seconds, 0.0
    while job.state in ("UploadComplete", "InProgress"):
        if waited > _LONGEST_WAIT:
            raise TransientCrmError(f"Salesforce: a bulk job is still {job.state} after {waited:.0f} seconds")
        wire.sleep(pause)
        waited += pause
        pause = min(max(pause * 1.5, 0.01), _LONGEST_POLL)
        job = wire.call("GET", path, _job_of)
    if job.state != "JobComplete":
        raise JobFailed(f"Salesforce: bulk job {job.state}: {job.error or 'no reason given'}"[:300])
    return job


def _page(wire: Wire, path: str, locator: str, fields: Sequence[str], file: Path) -> tuple[pl.DataFrame, str]:
    """One page of results, and where the next one begins; the empty text after the last."""
    params = {"maxRecords": str(BULK_PAGE_ROWS)} | ({"locator": locator} if locator else {})

    def accept(response: requests.Response) -> tuple[pl.DataFrame, str]:
        expected = response.headers.get("Sforce-NumberOfRecords", "")
        if not expected.isdigit():
            raise Garbled("no Sforce-NumberOfRecords")
        with file.open("wb") as staged:
            staged.writelines(response.iter_content(_CHUNK))
        page = parsed(file, fields)
        if page.height != int(expected):
            raise Garbled(f"a page of {expected} rows holds {page.height}")
        following = response.headers.get("Sforce-Locator", "")
        return page, "" if following == "null" else following

    return wire.call("GET", path, accept, params=params, stream=True)


def parsed(file: Path, fields: Sequence[str]) -> pl.DataFrame:
    """Read a page of CSV as text; polars alone accepts a page cut after a quote, or a row cut short."""
    with file.open("rb") as staged:
        size = staged.seek(0, 2)
        staged.seek(max(0, size - 1))
        if staged.read(1) != b"\n":
            raise Garbled("a page that does not end in a newline")
    try:
        page = pl.read_csv(file, infer_schema=False, glob=False)
    except pl.exceptions.PolarsError:
        raise Garbled("no CSV") from None
    if page.columns != list(fields):
        raise Garbled("other columns than asked for")
    # an empty value is "", a missing one null
    if page.height and page[fields[-1]].null_count():
        raise Garbled("a row cut short")
    return page
