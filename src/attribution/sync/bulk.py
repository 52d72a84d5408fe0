"""Bulk API 2.0 queries: create a job, wait for it, and take its pages only if every row is there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import polars as pl
import requests
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attribution.errors import AttributionError, CrmError, TransientCrmError
from attribution.sync.wire import Garbled, Wire, read_json

__all__ = ["JobFailed", "read_in_bulk"]

_PAGE_ROWS: Final = 50_000
_LONGEST_POLL: Final = 10.0
_LONGEST_WAIT: Final = 4 * 3600.0
_CHUNK: Final = 1 << 20


class JobFailed(CrmError):
    """Salesforce gave the job up; the same rows can still be read by REST."""


class _Job(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    id: Annotated[str, Field(pattern=r"^[0-9A-Za-z]+$")]
    state: str
    rows: Annotated[int | None, Field(alias="numberRecordsProcessed")] = None
    error: Annotated[str | None, Field(alias="errorMessage")] = None


def read_in_bulk(
    wire: Wire,
    jobs_path: str,
    soql: str,
    fields: Sequence[str],
    *,
    staging: Path,
    poll_seconds: float,
    progress: Callable[[int, int | None], None],
) -> Iterator[pl.DataFrame]:
    """Yield the pages of a query as text, in the order of ``fields``.

    The last of ``fields`` must never be empty: a row cut short shows by it.

    Raises
    ------
    JobFailed
        If Salesforce gives the job up.
    TransientCrmError
        If the pages together do not hold as many rows as the job says.
    """
    job = wire.call("POST", jobs_path, _job_of, body={"operation": "queryAll", "query": soql})
    path = f"{jobs_path}/{job.id}"
    job = _wait(wire, path, job, poll_seconds)
    staging.mkdir(parents=True, exist_ok=True)
    file = staging / f"{job.id}.csv"
    read, locator = 0, ""
    seen = {""}
    try:
        while True:
            page, locator = _page(wire, f"{path}/results", locator, fields, file)
            read += page.height
            progress(read, job.rows)
            yield page
            if not locator:
                break
            if locator in seen:
                raise TransientCrmError("Salesforce: the pages of a bulk job go in circles")
            seen.add(locator)
    finally:
        file.unlink(missing_ok=True)
    if job.rows is not None and read != job.rows:
        raise TransientCrmError(
            f"Salesforce: a bulk job of {job.rows} rows delivered {read}", hint="run the sync again"
        )
    # every row is here: Salesforce drops the job itself after seven days, so a failure harms nobody
    with contextlib.suppress(AttributionError):
        wire.call("DELETE", path, lambda response: response.status_code)


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
    params = {"maxRecords": str(_PAGE_ROWS)} | ({"locator": locator} if locator else {})

    def accept(response: requests.Response) -> tuple[pl.DataFrame, str]:
        expected = response.headers.get("Sforce-NumberOfRecords", "")
        if not expected.isdigit():
            raise Garbled("no Sforce-NumberOfRecords")
        with file.open("wb") as staged:
            staged.writelines(response.iter_content(_CHUNK))
        page = _parsed(file, fields)
        if page.height != int(expected):
            raise Garbled(f"a page of {expected} rows holds {page.height}")
        following = response.headers.get("Sforce-Locator", "")
        return page, "" if following == "null" else following

    return wire.call("GET", path, accept, params=params, stream=True)


def _parsed(file: Path, fields: Sequence[str]) -> pl.DataFrame:
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
