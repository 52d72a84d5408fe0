"""Bulk API 2.0 queries: create a job, wait for it, and take its pages only if every row is there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import polars as pl
import requests
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from attribution.errors import AttributionError, CrmError, TransientCrmError
from attribution.mirror.durable import replace
from attribution.sync.failures import RETRIED, Garbled, Kind, kind_of, read_json
from attribution.sync.rows import told_types
from attribution.sync.source import ObjectDescription
from attribution.sync.wire import Wire

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


class _Listing(BaseModel):
    model_config = ConfigDict(extra="ignore")

    records: list[_Listed]


class _Intent(BaseModel):
    """That a job is about to be created: kept while its id is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: AwareDatetime


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
        self._intent = folder / "intent.json"

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
        return [self._folder / f"{number:06}.csv" for number in range(begun.pages)]

    def intended(self) -> datetime | None:
        """When a job was about to be created whose id was never learned; None if none was."""
        try:
            return _Intent.model_validate_json(self._intent.read_bytes()).at
        except (OSError, ValidationError):
            return None

    def intend(self, at: datetime) -> None:
        """Remember that a job is about to be created."""
        self._folder.mkdir(parents=True, exist_ok=True)
        text = _Intent(at=at).model_dump_json()
        replace(self._intent, lambda file: file.write_text(text, "utf-8"))

    def clear(self) -> None:
        """Forget whatever was begun; what others keep in the folder stays."""
        for file in self._folder.glob("*.*"):
            if file.suffix in (".csv", ".json", ".part"):
                file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def save(self, begun: _Begun) -> _Begun:
        """Remember how far a job has been read."""
        self._folder.mkdir(parents=True, exist_ok=True)
        replace(self._state, lambda file: file.write_text(begun.model_dump_json(), "utf-8"))
        self._intent.unlink(missing_ok=True)
        return begun

    def add(self, begun: _Begun, page: bytes, rows: int, locator: str) -> _Begun:
        """Keep one more page; a process killed meanwhile asks for that page again."""
        replace(self._folder / f"{begun.pages:06}.csv", lambda file: file.write_bytes(page))
        read = begun.rows + rows
        return self.save(
            begun.model_copy(update={"pages": begun.pages + 1, "rows": read, "locator": locator})
        )


def read_in_bulk(
    wire: Wire,
    jobs_path: str,
    description: ObjectDescription,
    soql: str,
    fields: Sequence[str],
    *,
    until: datetime,
    staging: Path,
    poll_seconds: float,
    progress: Callable[[int, int | None], None],
) -> Generator[pl.DataFrame, None, int]:
    """Yield the pages of a query, in the order of ``fields``, and keep each in ``staging`` as well.

    Values are text, or where a page allows have the type of :func:`~attribution.sync.rows.told_types`.
    The last of ``fields`` must never be empty: a row cut short shows by it. A job for the same query that
    was begun there is continued where it was; one that is gone or has failed is replaced, and its pages are
    yielded once more. Returns the number of rows.

    Raises
    ------
    JobFailed
        If Salesforce gives a job up, and another one in its place, which is before the first page.
    TransientCrmError
        If the pages together do not hold as many rows as the job says.
    """
    kept, types = Staging(staging), told_types(description, fields)
    begun = kept.begun(wire.server_time)
    if begun is not None and begun.soql == soql:
        try:
            return (yield from _pages(wire, jobs_path, begun, fields, types, kept, poll_seconds, progress))
        except Garbled:
            # a page that was kept is damaged
            pass
        except CrmError as error:
            if not isinstance(error, JobFailed) and kind_of(error) not in _GONE:
                raise

    def of_new_job() -> Generator[pl.DataFrame, None, int]:
        job = _created(wire, jobs_path, description.name, soql, kept, until)
        now = wire.server_time or until
        begun = kept.save(_Begun(id=job.id, soql=soql, until=until, created_at=now))
        try:
            return (
                yield from _pages(wire, jobs_path, begun, fields, types, kept, poll_seconds, progress, job)
            )
        except JobFailed:
            kept.clear()
            raise

    try:
        return (yield from of_new_job())
    except JobFailed:
        # what failed once may have been bad luck
        return (yield from of_new_job())


def _created(wire: Wire, jobs_path: str, object: str, soql: str, kept: Staging, until: datetime) -> _Job:
    """Create a job; where it is not known whether one was created already, look before doing it again."""
    before = kept.intended()
    kept.clear()
    if before is not None:
        _abort_orphan(wire, jobs_path, object, before)
    now = wire.server_time or until
    kept.intend(now)
    try:
        return wire.call(
            "POST",
            jobs_path,
            _job_of,
            body={"operation": "queryAll", "query": soql},
            before_repeating=lambda: _abort_orphan(wire, jobs_path, object, now),
        )
    except AttributionError as error:
        if kind_of(error) not in (None, *RETRIED):
            # refused: there is no job of ours, and one that looks like it is somebody else's
            kept.clear()
        raise


def _abort_orphan(wire: Wire, jobs_path: str, object: str, since: datetime) -> None:
    """Abort the job that was created for an object since an instant, if it is the only one."""
    try:
        listed = wire.call("GET", jobs_path, _listing_of, params={"jobType": "V2Query"}).records
        orphans = [
            each
            for each in listed
            if (each.object, each.operation) == (object, "queryAll")
            and each.state in _RUNNING
            and each.created_at >= since.replace(microsecond=0)
        ]
        # of several, somebody else's might be hit; one that is left runs to its end, and is forgotten then
        if len(orphans) == 1:
            path = f"{jobs_path}/{orphans[0].id}"
            wire.call("PATCH", path, lambda response: response.status_code, body={"state": "Aborted"})
    except TransientCrmError:
        raise
    except CrmError:
        # it has ended meanwhile, or this user may not list jobs: it costs the org nothing more
        return


def _pages(
    wire: Wire,
    jobs_path: str,
    begun: _Begun,
    fields: Sequence[str],
    types: Mapping[str, pl.DataType],
    kept: Staging,
    poll_seconds: float,
    progress: Callable[[int, int | None], None],
    job: _Job | None = None,
) -> Generator[pl.DataFrame, None, int]:
    """The pages that are here, then those that are missing; at last, whether every row was there."""
    progress(begun.rows, begun.total)
    ids = []
    for file in kept.files(begun):
        page = parsed(file.read_bytes(), fields, types)
        ids.append(page["Id"].hash())
        yield page
    if begun.is_whole:
        return begun.rows
    path = f"{jobs_path}/{begun.id}"
    if begun.total is None or begun.pages == 0:
        job = _wait(wire, path, job or wire.call("GET", path, _job_of), poll_seconds)
        begun = kept.save(begun.model_copy(update={"total": job.rows}))
    seen = {begun.locator}
    while begun.pages == 0 or begun.locator:
        data, page, locator = _page(wire, f"{path}/results", begun.locator, fields, types)
        begun = kept.add(begun, data, page.height, locator)
        del data
        progress(begun.rows, begun.total)
        if locator and locator in seen:
            kept.clear()
            raise TransientCrmError("Salesforce: the pages of a bulk job go in circles")
        seen.add(locator)
        ids.append(page["Id"].hash())
        yield page
    if begun.total is not None and begun.rows != begun.total:
        kept.clear()
        raise TransientCrmError(
            f"Salesforce: a bulk job of {begun.total} rows delivered {begun.rows}", hint="run the sync again"
        )
    if _repeat(ids):
        kept.clear()
        raise TransientCrmError(
            "Salesforce: one row of a bulk job came in the place of another", hint="run the sync again"
        )
    kept.save(begun.model_copy(update={"is_whole": True}))
    # every row is here: Salesforce drops the job itself after seven days, so a failure harms nobody
    with contextlib.suppress(AttributionError):
        wire.call("DELETE", path, lambda response: response.status_code)
    return begun.rows


def _repeat(ids: Sequence[pl.Series]) -> bool:
    """Whether two of the hashes are the same; sorted, because a table of them takes ten times the memory."""
    if not ids:
        return False
    hashes = np.concatenate([each.to_numpy() for each in ids])
    hashes.sort()
    return bool((hashes[1:] == hashes[:-1]).any())


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


def _wait(wire: Wire, path: str, job: _Job, poll_seconds: float) -> _Job:
    pause, waited = poll_seconds, 0.0
    while job.state in _RUNNING:
        if waited > _LONGEST_WAIT:
            raise TransientCrmError(f"Salesforce: a bulk job is still {job.state} after {waited:.0f} seconds")
        wire.sleep(pause)
        waited += pause
        pause = min(max(pause * 1.5, 0.01), _LONGEST_POLL)
        job = wire.call("GET", path, _job_of)
    if job.state == "JobComplete" and job.rows is None:
        raise TransientCrmError("Salesforce: a bulk job does not tell its number of rows")
    if job.state != "JobComplete":
        raise JobFailed(f"Salesforce: bulk job {job.state}: {job.error or 'no reason given'}"[:300])
    return job


def _page(
    wire: Wire, path: str, locator: str, fields: Sequence[str], types: Mapping[str, pl.DataType]
) -> tuple[bytes, pl.DataFrame, str]:
    """One page of results, raw and read, and where the next one begins; the empty text after the last."""
    params = {"maxRecords": str(BULK_PAGE_ROWS)} | ({"locator": locator} if locator else {})

    def accept(response: requests.Response) -> tuple[bytes, pl.DataFrame, str]:
        expected = response.headers.get("Sforce-NumberOfRecords", "")
        if not expected.isdigit():
            raise Garbled("no Sforce-NumberOfRecords")
        data = b"".join(response.iter_content(_CHUNK))
        page = parsed(data, fields, types)
        if page.height != int(expected):
            raise Garbled(f"a page of {expected} rows holds {page.height}")
        following = response.headers.get("Sforce-Locator")
        if following is None:
            raise Garbled("no Sforce-Locator")
        return data, page, "" if following == "null" else following

    return wire.call("GET", path, accept, params=params, stream=True)


def parsed(data: bytes, fields: Sequence[str], types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Read a page of CSV as text, but for ``types``; polars alone accepts a page or a row that is cut.

    Where a value is not of its type, the whole page is text.
    """
    if not data.endswith(b"\n"):
        raise Garbled("a page that does not end in a newline")
    try:
        page = pl.read_csv(data, infer_schema=False, schema_overrides=types)
    except pl.exceptions.PolarsError:
        if types:
            return parsed(data, fields, {})
        raise Garbled("no CSV") from None
    if page.columns != list(fields):
        raise Garbled("other columns than asked for")
    # an empty value is "", a missing one null; and the last field is the id, which is neither
    if page.height and (page[fields[-1]].null_count() or (page[fields[-1]] == "").any()):
        raise Garbled("a row cut short")
    return page
