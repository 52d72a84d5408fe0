"""The REST API of the org: from a request to a response, without any socket.

Bodies, status codes and error codes are those that Salesforce documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from attribution.errors import UsageError
from attribution.testing.messages import ApiError, Request, Response, as_json, not_found, timestamp
from attribution.testing.objects import SObject
from attribution.testing.queries import Queries, compiled
from attribution.testing.records import full_id, milliseconds, shared_sql, to_instant

if TYPE_CHECKING:
    from attribution.testing.org import Org

__all__ = ["Rest"]

_VERSION = re.compile(r"/services/data/v(\d\d)\.0(/.*)?")
_OLDEST, _NEWEST = 31, 68


class Rest:
    """What lies below ``/services/data``, Bulk API 2.0 aside."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self.queries = Queries(org)
        self._routes: tuple[tuple[str, str, Callable[..., Response]], ...] = (
            ("GET", r"/?", self._resources),
            ("GET", r"/sobjects/?", self._describe_global),
            ("GET", r"/sobjects/(\w+)/describe/?", self._describe),
            ("GET", r"/sobjects/(\w+)/updated/?", self._updated),
            ("GET", r"/sobjects/(\w+)/deleted/?", self._deleted),
            ("POST", r"/sobjects/(\w+)/?", self._create),
            ("GET", r"/sobjects/(\w+)/(\w{15,18})", self._retrieve),
            ("PATCH", r"/sobjects/(\w+)/(\w{15,18})", self._change),
            ("DELETE", r"/sobjects/(\w+)/(\w{15,18})", self._remove),
            ("GET", r"/limits/?", self._limits),
            ("GET", r"/limits/recordCount/?", self._record_count),
            ("GET", r"/(query|queryAll)/?", self.queries.first),
            ("GET", r"/(?:query|queryAll)/(01g\w{15})-(\d+)", self.queries.more),
            ("POST", r"/jobs/query/?", org.bulk.create),
            ("GET", r"/jobs/query/?", org.bulk.listing),
            ("GET", r"/jobs/query/(\w+)/?", org.bulk.info),
            ("GET", r"/jobs/query/(\w+)/results/?", org.bulk.results),
            ("PATCH", r"/jobs/query/(\w+)/?", org.bulk.change),
            ("DELETE", r"/jobs/query/(\w+)/?", org.bulk.delete),
        )

    def versions(self) -> Response:
        """Answer ``/services/data``, which needs no login."""
        seasons = ("Winter '", "Spring '", "Summer '")
        return as_json(
            [
                {
                    "label": f"{seasons[(number - 59) % 3]}{24 + (number - 59) // 3}",
                    "url": f"/services/data/v{number}.0",
                    "version": f"{number}.0",
                }
                for number in range(_OLDEST, _NEWEST + 1)
            ]
        )

    def answer(self, request: Request) -> Response:
        """Answer a request of a logged-in user."""
        match = _VERSION.fullmatch(request.path)
        if match is None:
            raise not_found()
        if not _OLDEST <= int(match[1]) <= _NEWEST:
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        rest, version = match[2] or "", f"v{match[1]}.0"
        wrong_method = False
        for method, pattern, answer in self._routes:
            found = re.fullmatch(pattern, rest)
            if found and method == request.method:
                return answer(request, version, *found.groups())
            wrong_method = wrong_method or found is not None
        if wrong_method:
            message = f"HTTP Method '{request.method}' not allowed"
            raise ApiError(405, "METHOD_NOT_ALLOWED", message)
        raise not_found()

    # -- describe

    def _object(self, name: str) -> SObject:
        found = self._org.state.visible.get(name.lower())
        if found is None:
            raise not_found()
        return found

    def _resources(self, request: Request, version: str) -> Response:
        names = ("sobjects", "query", "queryAll", "limits", "jobs")
        resources = {name: f"/services/data/{version}/{name}" for name in names}
        identity = f"https://login.salesforce.com/id/{self._org.id}/{self._org.state.user_id}"
        return as_json(resources | {"identity": identity})

    def _describe_global(self, request: Request, version: str) -> Response:
        objects = [obj.summary(version) for _, obj in sorted(self._org.state.visible.items())]
        changed = max(self._org.state.changed.values())
        return self._if_modified(
            request, changed, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects}
        )

    def _describe(self, request: Request, version: str, name: str) -> Response:
        obj = self._object(name)
        document = obj.describe(version)
        document["childRelationships"] = [
            {
                "cascadeDelete": lookup.cascade_delete,
                "childSObject": child.name,
                "deprecatedAndHidden": False,
                "field": lookup.name,
                "relationshipName": None,
                "restrictedDelete": False,
            }
            for child, lookup in self._org.state.lookups_to(obj)
            if (child.name, lookup.name) not in self._org.state.hidden
        ]
        return self._if_modified(request, self._org.state.changed[obj.name], document)

    def _if_modified(self, request: Request, changed: datetime, document: Any) -> Response:
        headers = {"Last-Modified": format_datetime(changed.replace(microsecond=0), usegmt=True)}
        since = request.headers.get("if-modified-since")
        if since:
            try:
                seen = parsedate_to_datetime(since)
            except ValueError as error:
                raise ApiError(400, "MALFORMED_ID", f"invalid If-Modified-Since: {since}") from error
            if changed.replace(microsecond=0) <= seen:
                return Response(304, b"", headers)
        return as_json(document, headers=headers)

    # -- replication

    def _window(self, request: Request, name: str, days: int) -> tuple[SObject, datetime, datetime]:
        obj = self._object(name)
        if not obj.replicateable or obj.cursor is None:
            raise not_found()
        try:
            start, end = _minute(request.query["start"]), _minute(request.query["end"])
        except (KeyError, ValueError) as error:
            raise ApiError(
                400, "INVALID_REPLICATION_DATE", "start and end must be dateTime values"
            ) from error
        if start >= end:
            message = "endDate must be at least one minute greater than startDate"
            raise ApiError(400, "INVALID_REPLICATION_DATE", message)
        if start < self._org.now - timedelta(days=days):
            raise ApiError(400, "INVALID_REPLICATION_DATE", f"startDate cannot be more than {days} days ago")
        return obj, start, end

    def _covered(self, end: datetime) -> datetime:
        return min(end, self._org.state.covered_until().replace(second=0, microsecond=0))

    def _updated(self, request: Request, version: str, name: str) -> Response:
        obj, start, end = self._window(request, name, 30)
        covered = self._covered(end)
        alive = " AND IsDeleted = 0" if obj.has("IsDeleted") else ""
        if obj.name in self._org.state.unshared:
            alive += f" AND {shared_sql(obj.name, 'Id')}"
        with self._org.state.records.reading() as connection:
            found = connection.execute(
                f'SELECT Id FROM "{obj.name}" WHERE {obj.cursor} >= ? AND {obj.cursor} < ?{alive}',
                (milliseconds(start), milliseconds(end)),
            ).fetchall()
        if len(found) > 600_000:
            raise ApiError(400, "EXCEEDED_ID_LIMIT", "too many ids; use a smaller timespan")
        return as_json({"ids": [identity for (identity,) in found], "latestDateCovered": timestamp(covered)})

    def _deleted(self, request: Request, version: str, name: str) -> Response:
        obj, start, end = self._window(request, name, 15)
        covered = self._covered(end)
        with self._org.state.records.reading() as connection:
            found = connection.execute(
                "SELECT id, deleted_at FROM _deleted WHERE object = ? AND deleted_at >= ? AND deleted_at < ? "
                "ORDER BY deleted_at, id",
                (obj.name, milliseconds(start), milliseconds(end)),
            ).fetchall()
        if len(found) > 600_000:
            raise ApiError(400, "EXCEEDED_ID_LIMIT", "too many ids; use a smaller timespan")
        earliest = self._org.earliest_deletion or self._org.now - timedelta(days=15)
        return as_json(
            {
                "deletedRecords": [
                    {"deletedDate": timestamp(to_instant(deleted_at)), "id": identity}
                    for identity, deleted_at in found
                ],
                "earliestDateAvailable": timestamp(earliest),
                "latestDateCovered": timestamp(covered),
            }
        )

    # -- limits

    def _limits(self, request: Request, version: str) -> Response:
        org = self._org
        jobs = org.bulk.created_today()
        limits = {
            "DailyApiRequests": (org.quota, max(0, org.quota - org.used)),
            "DailyBulkApiBatches": (15_000, 15_000),
            "DailyBulkV2QueryJobs": (org.bulk.quota, max(0, org.bulk.quota - jobs)),
            "DailyBulkV2QueryFileStorageMB": (976_562, 976_562),
            "DataStorageMB": (1_024, 512),
            "FileStorageMB": (1_024, 512),
        }
        return as_json({name: {"Max": most, "Remaining": left} for name, (most, left) in limits.items()})

    def _record_count(self, request: Request, version: str) -> Response:
        wanted = {
            name.strip().lower() for name in request.query.get("sObjects", "").split(",") if name.strip()
        }
        counts = []
        with self._org.state.records.reading() as connection:
            for key, obj in sorted(self._org.state.visible.items()):
                if not wanted or key in wanted:
                    alive = " WHERE IsDeleted = 0" if obj.has("IsDeleted") else ""
                    (count,) = connection.execute(f'SELECT COUNT(*) FROM "{obj.name}"{alive}').fetchone()
                    counts.append({"count": count, "name": obj.name})
        return as_json({"sObjects": counts})

    # -- single records

    def _retrieve(self, request: Request, version: str, name: str, identity: str) -> Response:
        obj = self._object(name)
        wanted = request.query.get("fields")
        names = wanted.split(",") if wanted else [item.name for item in obj.fields]
        soql = f"SELECT {', '.join(names)} FROM {obj.name} WHERE Id = '{identity}'"
        plan = compiled(self._org, soql, include_deleted=True)
        with self._org.state.records.reading() as connection:
            sql = f"SELECT {self.queries.select(plan)}{plan.source}{plan.tail}"
            found = connection.execute(sql, plan.parameters).fetchall()
        if not found:
            raise not_found()
        self._refuse_deleted(obj, identity)
        return as_json(self.queries.records(plan, found, version)[0])

    def _refuse_deleted(self, obj: SObject, identity: str) -> None:
        row = self._org.state.records.get(self._org.state.object(obj.name), full_id(identity) or identity)
        if row is None:
            raise not_found()
        if row.get("IsDeleted"):
            raise ApiError(404, "ENTITY_IS_DELETED", "entity is deleted")

    def _values(self, obj: SObject, body: bytes) -> dict[str, Any]:
        try:
            document = json.loads(body)
        except ValueError as error:
            raise ApiError(400, "JSON_PARSER_ERROR", str(error)) from error
        values: dict[str, Any] = {}
        for name, value in document.items():
            item = obj.by_name.get(name.lower())
            if item is None:
                message = f"No such column '{name}' on sobject of type {obj.name}"
                raise ApiError(400, "INVALID_FIELD", message)
            try:
                if item.type == "date" and value is not None:
                    value = date.fromisoformat(value[:10])
                elif item.type == "datetime" and value is not None:
                    value = datetime.fromisoformat(value).astimezone(UTC)
            except (TypeError, ValueError) as error:
                message = f"Cannot deserialize instance of {item.type} from value {value!r}"
                raise ApiError(400, "JSON_PARSER_ERROR", message) from error
            values[item.name] = value
        return values

    def _create(self, request: Request, version: str, name: str) -> Response:
        obj = self._object(name)
        values = self._values(obj, request.body)
        (identity,) = self._edit(lambda: self._org.insert(obj.name, [values]))
        headers = {"Location": f"/services/data/{version}/sobjects/{obj.name}/{identity}"}
        return as_json({"id": identity, "success": True, "errors": []}, 201, headers)

    def _change(self, request: Request, version: str, name: str, identity: str) -> Response:
        obj = self._object(name)
        self._refuse_deleted(obj, identity)
        values = self._values(obj, request.body)
        self._edit(lambda: self._org.update(obj.name, identity, **values))
        return Response(204)

    def _remove(self, request: Request, version: str, name: str, identity: str) -> Response:
        obj = self._object(name)
        self._refuse_deleted(obj, identity)
        self._edit(lambda: self._org.delete(obj.name, identity))
        return Response(204)

    @staticmethod
    def _edit(edit: Callable[[], Any]) -> Any:
        try:
            return edit()
        except UsageError as error:
            code = "UNABLE_TO_LOCK_ROW" if error.message.startswith("UNABLE_TO_LOCK_ROW") else "INVALID_FIELD"
            raise ApiError(400, code, error.message) from error


def _minute(text: str) -> datetime:
    # a plus sign that was not escaped arrives as a blank
    instant = datetime.fromisoformat(text.replace(" ", "+"))
    if instant.tzinfo is None:
        raise ValueError(text)
    return instant.astimezone(UTC).replace(second=0, microsecond=0)
