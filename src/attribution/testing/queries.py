"""SOQL queries over REST: pages of records, cursors, aggregates."""

from __future__ import annotations

import itertools
import re
import threading
from array import array
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attribution.testing.compiler import Plan, compile_query
from attribution.testing.conditions import seconds_sql
from attribution.testing.messages import ApiError, Request, Response, as_json
from attribution.testing.objects import COMPOUND
from attribution.testing.records import full_id
from attribution.testing.soql import SoqlError, parse

if TYPE_CHECKING:
    from attribution.testing.org import Org

__all__ = ["Queries", "compiled", "datetime_sql"]

PAGE = 2000
_LOCATOR_LIFE = timedelta(days=2)


def datetime_sql(sql: str, suffix: str) -> str:
    """Return SQL that spells a column of milliseconds as an instant."""
    seconds = seconds_sql(sql)
    fraction = f"printf('.%03d', (({sql} % 1000) + 1000) % 1000)"
    return f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}, 'unixepoch') || {fraction} || '{suffix}'"


def compiled(org: Org, soql: str, *, include_deleted: bool) -> Plan:
    """Parse and compile a query against what the user may see.

    Raises
    ------
    ApiError
        If Salesforce would refuse the query.
    """
    state = org.state
    try:
        return compile_query(
            parse(soql),
            state.visible,
            now=state.now,
            zone=state.zone,
            include_deleted=include_deleted,
            unshared=state.unshared,
        )
    except SoqlError as error:
        raise ApiError(400, error.code, error.message) from error


@dataclass(frozen=True)
class _Cursor:
    plan: Plan
    rowids: array[int]
    page: int
    opened_at: datetime


class Queries:
    """``/query``, ``/queryAll`` and their cursors."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self._cursors: dict[str, _Cursor] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def first(self, request: Request, version: str, resource: str) -> Response:
        """Answer ``/query?q=`` and ``/queryAll?q=`` with the first page."""
        soql = request.query.get("q")
        if soql is None:
            raise ApiError(400, "MALFORMED_QUERY", "A query string has to be specified")
        plan = compiled(self._org, soql, include_deleted=resource == "queryAll")
        with self._org.state.records.reading() as connection:
            if plan.kind == "count":
                # LIMIT bounds what is counted
                sql = f"SELECT COUNT(*) FROM (SELECT 1{plan.source}{plan.tail})"
                (count,) = connection.execute(sql, plan.parameters).fetchone()
                return as_json({"totalSize": count, "done": True, "records": []})
            rows = connection.execute(f"SELECT {self.select(plan)}{plan.source}{plan.tail}", plan.parameters)
            page = self._page_size(request)
            found = rows.fetchmany(page + 1)
            if plan.kind == "aggregate":
                return self._aggregate(plan, found, page)
            if len(found) <= page:
                return self._answer_page(plan, found, len(found), version)
            every = connection.execute(f"SELECT {plan.alias}.rowid{plan.source}{plan.tail}", plan.parameters)
            rowids = array("q", (rowid for (rowid,) in every))
        identity = full_id(f"01gAb{next(self._numbers):010d}") or ""
        with self._lock:
            self._cursors[identity] = _Cursor(plan, rowids, page, self._org.now)
        return self._answer_page(plan, found[:page], len(rowids), version, f"{identity}-{page}")

    def _page_size(self, request: Request) -> int:
        match = re.search(r"batchSize=(\d+)", request.headers.get("sforce-query-options", ""), re.IGNORECASE)
        return min(max(int(match[1]), 200), PAGE) if match else PAGE

    def more(self, request: Request, version: str, identity: str, position: str) -> Response:
        """Answer a nextRecordsUrl."""
        with self._lock:
            cursor = self._cursors.get(identity)
        start = int(position)
        if (
            cursor is None
            or self._org.now - cursor.opened_at > _LOCATOR_LIFE
            or not 0 < start < len(cursor.rowids)
        ):
            raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        wanted = cursor.rowids[start : start + cursor.page]
        plan = cursor.plan
        with self._org.state.records.reading() as connection:
            marks = ", ".join("?" * len(wanted))
            picked = f"{plan.source} WHERE {plan.alias}.rowid IN ({marks})"
            sql = f"SELECT {plan.alias}.rowid, {self.select(plan)}{picked}"
            rows = {row[0]: row[1:] for row in connection.execute(sql, tuple(wanted))}
        found = [rows[rowid] for rowid in wanted if rowid in rows]
        after = start + cursor.page
        more = f"{identity}-{after}" if after < len(cursor.rowids) else None
        return self._answer_page(plan, found, len(cursor.rowids), version, more)

    def expire(self) -> None:
        """Make every open nextRecordsUrl answer INVALID_QUERY_LOCATOR."""
        with self._lock:
            self._cursors.clear()

    def select(self, plan: Plan) -> str:
        """Return the SELECT list of a plan: the ids that links need, then its columns."""
        if plan.kind == "aggregate":
            return ", ".join(_json_sql(column.sql, column.field.type) for column in plan.columns)
        columns = [_json_sql(column.sql, column.field.type) for column in plan.columns]
        return ", ".join([f"{plan.alias}.Id", *(sql for _, _, sql in plan.parents), *columns])

    def _aggregate(self, plan: Plan, rows: list[tuple[Any, ...]], page: int) -> Response:
        if len(rows) > page:
            hint = "use LIMIT to restrict the results to a single batch"
            raise ApiError(400, "EXCEEDED_ID_LIMIT", f"Aggregate query does not support queryMore(), {hint}")
        records = []
        for row in rows:
            record: dict[str, Any] = {"attributes": {"type": "AggregateResult"}}
            for column, value in zip(plan.columns, row, strict=True):
                record[column.path[0]] = _json_value(column.field.type, value)
            records.append(record)
        return as_json({"totalSize": len(records), "done": True, "records": records})

    def _answer_page(
        self, plan: Plan, rows: list[tuple[Any, ...]], total: int, version: str, more: str | None = None
    ) -> Response:
        document: dict[str, Any] = {"totalSize": total, "done": more is None}
        if more is not None:
            document["nextRecordsUrl"] = f"/services/data/{version}/query/{more}"
        document["records"] = self.records(plan, rows, version)
        return as_json(document)

    def records(self, plan: Plan, rows: list[tuple[Any, ...]], version: str) -> list[dict[str, Any]]:
        """Return rows of a plan as records, parents nested."""
        base = f"/services/data/{version}/sobjects/"
        parents = plan.parents
        first = 1 + len(parents)
        booleans = [
            index for index, column in enumerate(plan.columns, first) if column.field.type == "boolean"
        ]
        places = [
            (index, column.path[:-1], column.path[-1]) for index, column in enumerate(plan.columns, first)
        ]
        records = []
        for row in rows:
            values: Any = row
            if booleans:
                values = list(row)
                for index in booleans:
                    if values[index] is not None:
                        values[index] = bool(values[index])
            url = f"{base}{plan.object.name}/{row[0]}"
            record: dict[str, Any] = {"attributes": {"type": plan.object.name, "url": url}}
            nested: dict[tuple[str, ...], dict[str, Any] | None] = {(): record}
            for index, (names, owner, _) in enumerate(parents, 1):
                link = {"attributes": {"type": owner, "url": f"{base}{owner}/{row[index]}"}}
                nested[names] = link if row[index] is not None else None
            for index, names, name in places:
                holder = nested.get(names)
                if holder is not None:
                    holder[name] = values[index]
                _attach(nested, names)
            records.append(record)
        return records


def _attach(nested: dict[tuple[str, ...], dict[str, Any] | None], names: tuple[str, ...]) -> None:
    # hang a parent into its child, and that into its own, the first time that a field of it comes along
    for depth in range(len(names), 0, -1):
        holder = nested.get(names[: depth - 1])
        if holder is not None and names[depth - 1] not in holder:
            holder[names[depth - 1]] = nested.get(names[:depth])


def _json_sql(sql: str, kind: str) -> str:
    if kind == "datetime":
        return datetime_sql(sql, "+0000")
    return "NULL" if kind in COMPOUND else sql


def _json_value(kind: str, value: Any) -> Any:
    return bool(value) if kind == "boolean" and value is not None else value
