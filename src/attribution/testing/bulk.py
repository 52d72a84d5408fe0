"""Bulk API 2.0 query jobs: created, polled until complete, downloaded as pages of CSV.

SQLite itself spells the CSV, so that a million rows take seconds; a finished job is a file, and later
changes of the rows do not show in it.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import tempfile
import threading
from array import array
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

from attribution.testing.compiler import Column, Plan
from attribution.testing.messages import ApiError, Request, Response, as_json, not_found, timestamp
from attribution.testing.objects import COMPOUND, IDENTITY
from attribution.testing.queries import compiled, datetime_sql
from attribution.testing.records import full_id
from attribution.testing.soql import SoqlError, parse

if TYPE_CHECKING:
    from attribution.testing.org import Org

__all__ = ["BulkJobs"]

_LIFE = timedelta(days=7)
_DAY = timedelta(days=1)
_PAGE = 50_000
_DELIMITERS = {"COMMA": ",", "TAB": "\t", "SEMICOLON": ";", "PIPE": "|", "CARET": "^", "BACKQUOTE": "`"}
_LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
_FINAL = ("JobComplete", "Aborted", "Failed")


@dataclass
class _Job:
    id: str
    operation: str
    plan: Plan
    delimiter: str
    line_ending: str
    version: str
    created_at: datetime
    state: str = "UploadComplete"
    polls_left: int = 0
    error: str = ""
    header: bytes = b""
    file: IO[bytes] | None = None
    ends: array[int] = field(default_factory=lambda: array("q", [0]))

    @property
    def n_rows(self) -> int:
        return len(self.ends) - 1


class BulkJobs:
    """The query jobs of an org.

    Attributes
    ----------
    polls
        How many times a new job answers InProgress before it is complete.
    page
        Rows of a page, unless the client asks for fewer.
    quota
        Jobs that may be created within 24 hours.
    """

    def __init__(self, org: Org) -> None:
        self._org = org
        self._jobs: dict[str, _Job] = {}
        self._created: list[datetime] = []
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._failures: list[str] = []
        self.polls = 1
        self.page = _PAGE
        self.quota = 10_000

    def created_today(self) -> int:
        """Return how many jobs were created in the last 24 hours."""
        return sum(self._org.now - created_at < _DAY for created_at in self._created)

    def fail_next(self, message: str = "InternalServerError: Retried more than 15 times") -> None:
        """Let the next job end as Failed with that message."""
        self._failures.append(message)

    def close(self) -> None:
        """Forget all jobs and their files."""
        with self._lock:
            for job in self._jobs.values():
                self._discard(job)
            self._jobs.clear()

    @staticmethod
    def _discard(job: _Job) -> None:
        if job.file is not None:
            job.file.close()
            job.file = None

    # -- requests

    def create(self, request: Request, version: str) -> Response:
        """Answer ``POST /jobs/query``."""
        try:
            document = json.loads(request.body)
            operation, soql = document["operation"], document["query"]
        except (ValueError, KeyError, TypeError) as error:
            raise ApiError(400, "INVALIDJOB", f"operation and query are needed: {error}") from error
        if operation not in ("query", "queryAll"):
            raise ApiError(400, "INVALIDOPERATION", f"Unsupported operation: {operation}")
        try:
            delimiter = _DELIMITERS[document.get("columnDelimiter") or "COMMA"]
            line_ending = _LINE_ENDINGS[document.get("lineEnding") or "LF"]
        except KeyError as error:
            raise ApiError(400, "INVALIDJOB", f"unknown value: {error}") from error
        with self._lock:
            made = self.created_today()
            if made >= self.quota:
                message = f"Max bulk v2 query jobs ({self.quota}) per 24 hrs has been reached ({made})."
                raise ApiError(400, "LIMIT_EXCEEDED", message)
            plan = self._plan(soql, include_deleted=operation == "queryAll")
            identity = full_id(f"750Ab{next(self._numbers):010d}") or ""
            job = _Job(identity, operation, plan, delimiter, line_ending, version, self._org.now)
            job.polls_left = self.polls
            job.error = self._failures.pop(0) if self._failures else ""
            self._jobs[identity] = job
            self._created.append(self._org.now)
            return as_json(self._document(job, short=True))

    def _plan(self, soql: str, *, include_deleted: bool) -> Plan:
        plan = compiled(self._org, soql, include_deleted=include_deleted)
        if plan.kind != "rows":
            raise ApiError(400, "FEATURENOTENABLED", "Aggregate Relationships not supported in Bulk Query")
        if plan.compound:
            raise ApiError(400, "FEATURENOTENABLED", "Selecting compound data not supported in Bulk Query")
        if not plan.object.bulk:
            message = f"Entity '{plan.object.name}' is not supported by the Bulk API."
            raise ApiError(400, "INVALIDENTITY", message)
        try:
            offset = parse(soql).offset
        except SoqlError as error:
            raise ApiError(400, error.code, error.message) from error
        if offset:
            raise ApiError(400, "FEATURENOTENABLED", "OFFSET is not supported in Bulk Query")
        return plan

    def _job(self, identity: str) -> _Job:
        job = self._jobs.get(full_id(identity) or identity)
        if job is None or self._org.now - job.created_at > _LIFE:
            raise not_found()
        return job

    def listing(self, request: Request, version: str) -> Response:
        """Answer ``GET /jobs/query``."""
        with self._lock:
            documents = [self._document(job) for job in self._jobs.values()]
        return as_json({"done": True, "records": documents, "nextRecordsUrl": None})

    def info(self, request: Request, version: str, identity: str) -> Response:
        """Answer ``GET /jobs/query/ID``; each poll brings the job nearer to its end."""
        with self._lock:
            job = self._job(identity)
            if job.state not in _FINAL:
                if job.polls_left > 0:
                    job.polls_left -= 1
                    job.state = "InProgress"
                elif job.error:
                    job.state = "Failed"
                else:
                    self._run(job)
                    job.state = "JobComplete"
            return as_json(self._document(job))

    def results(self, request: Request, version: str, identity: str) -> Response:
        """Answer ``GET /jobs/query/ID/results`` with a page of CSV."""
        with self._lock:
            job = self._job(identity)
            if job.state != "JobComplete" or job.file is None:
                message = f"The requested job is not complete: {job.state}"
                raise ApiError(400, "INVALIDJOBSTATE", message)
            start = self._position(job, request.query.get("locator"))
            asked = request.query.get("maxRecords")
            if asked is not None and not (asked.isdigit() and int(asked) > 0):
                raise ApiError(400, "INVALIDJOB", f"maxRecords must be a positive number, not {asked}")
            # like Salesforce, which may send fewer rows than were asked for
            end = min(start + min(int(asked or self.page), self.page), job.n_rows)
            job.file.seek(job.ends[start])
            body = job.header + job.file.read(job.ends[end] - job.ends[start])
        more = base64.b64encode(str(end).encode()).decode().rstrip("=") if end < job.n_rows else "null"
        headers = {
            "Content-Type": "text/csv",
            "Sforce-Locator": more,
            "Sforce-NumberOfRecords": str(end - start),
        }
        return Response(200, body, headers)

    @staticmethod
    def _position(job: _Job, locator: str | None) -> int:
        if not locator or locator == "null":
            return 0
        try:
            position = int(base64.b64decode(locator + "=" * (-len(locator) % 4), validate=True))
        except (ValueError, binascii.Error) as error:
            raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator") from error
        if not 0 < position < job.n_rows:
            raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return position

    def change(self, request: Request, version: str, identity: str) -> Response:
        """Answer ``PATCH /jobs/query/ID``: only aborting is possible."""
        with self._lock:
            job = self._job(identity)
            try:
                wanted = json.loads(request.body)["state"]
            except (ValueError, KeyError, TypeError) as error:
                raise ApiError(400, "INVALIDJOB", "state is needed") from error
            if wanted != "Aborted" or job.state in _FINAL:
                raise ApiError(
                    400, "INVALIDJOBSTATE", f"cannot change the state from {job.state} to {wanted}"
                )
            job.state = "Aborted"
            return as_json(self._document(job))

    def delete(self, request: Request, version: str, identity: str) -> Response:
        """Answer ``DELETE /jobs/query/ID``."""
        with self._lock:
            job = self._job(identity)
            if job.state not in _FINAL:
                raise ApiError(400, "INVALIDJOBSTATE", f"a job in state {job.state} cannot be deleted")
            self._discard(job)
            del self._jobs[job.id]
        return Response(204)

    # -- documents and rows

    def _document(self, job: _Job, *, short: bool = False) -> dict[str, Any]:
        names = {sign: name for name, sign in _DELIMITERS.items()}
        document: dict[str, Any] = {
            "id": job.id,
            "operation": job.operation,
            "object": job.plan.object.name,
            "createdById": self._org.state.user_id,
            "createdDate": timestamp(job.created_at),
            "systemModstamp": timestamp(job.created_at),
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(job.version[1:]),
            "lineEnding": "LF" if job.line_ending == "\n" else "CRLF",
            "columnDelimiter": names[job.delimiter],
        }
        if short:
            return document
        document |= {"jobType": "V2Query", "retries": 0, "totalProcessingTime": job.n_rows // 100}
        document["numberRecordsProcessed"] = job.n_rows
        if job.state == "Failed":
            document["errorMessage"] = job.error
        return document

    def _run(self, job: _Job) -> None:
        plan = job.plan
        names = (f'"{".".join(column.path)}"' for column in plan.columns)
        job.header = (job.delimiter.join(names) + job.line_ending).encode()
        line = f"'\"{job.delimiter}\"'".join(f" || {part} || " for part in map(csv_sql, plan.columns))
        # closed by stop(): it must outlive this request
        job.file = tempfile.TemporaryFile()  # noqa: SIM115
        position = 0
        ending = job.line_ending
        with self._org.state.records.reading() as connection:
            rows = connection.execute(f"SELECT '\"'{line}'\"'{plan.source}{plan.tail}", plan.parameters)
            while chunk := rows.fetchmany(20_000):
                lines = [(text + ending).encode() for (text,) in chunk]
                for data in lines:
                    position += len(data)
                    job.ends.append(position)
                job.file.write(b"".join(lines))


def csv_sql(column: Column) -> str:
    """Return SQL for the text of a column between its quotes."""
    kind, sql = column.field.type, column.sql
    if kind == "datetime":
        sql = datetime_sql(sql, "Z")
    elif kind == "boolean":
        sql = f"CASE {sql} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END"
    elif kind in ("double", "currency", "percent"):
        sql = f"java_double({sql})"
    elif kind not in IDENTITY | COMPOUND | {"date", "int"}:
        sql = f"replace({sql}, '\"', '\"\"')"
    return f"coalesce({sql}, '')"
