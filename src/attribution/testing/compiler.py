"""SOQL trees into SQL over the rows of the org: names, columns, joins, grouping and order."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from attribution.testing.conditions import Conditions, Target, seconds_sql
from attribution.testing.objects import COMPOUND, IDENTITY, NUMBER, TEXT, Field, SObject
from attribution.testing.records import shared_sql
from attribution.testing.soql import Call, Path, Query

__all__ = ["Column", "Plan", "compile_query"]

_HOW_TO_SPELL = (
    "If you are attempting to use a custom {0}, be sure to append the '__{1}' after the custom {0} name. "
    "Please reference your WSDL or the describe call for the appropriate names."
)
_HOW_TO_SPELL_OBJECTS = (
    "If you are attempting to use a custom object, be sure to append the '__c' after the entity name. "
    "Please reference your WSDL or the describe call for the appropriate names."
)
_AGGREGATES = frozenset({"COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX"})
_DATE_PARTS = {
    "CALENDAR_YEAR": "CAST(strftime('%Y', {0}) AS INTEGER)",
    "CALENDAR_QUARTER": "(CAST(strftime('%m', {0}) AS INTEGER) + 2) / 3",
    "CALENDAR_MONTH": "CAST(strftime('%m', {0}) AS INTEGER)",
    "DAY_IN_MONTH": "CAST(strftime('%d', {0}) AS INTEGER)",
    "DAY_ONLY": "strftime('%Y-%m-%d', {0})",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the answer: where it goes in the record, what it is, and its SQL."""

    path: tuple[str, ...]
    field: Field
    sql: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled query.

    ``source`` is FROM with its joins, ``tail`` what follows; ``parents`` are the joined relationships with
    the SQL of their ids, which a record needs for its links and to tell a missing parent from one of nulls.
    """

    kind: str
    object: SObject
    alias: str
    columns: tuple[Column, ...]
    parents: tuple[tuple[tuple[str, ...], str, str], ...]
    source: str
    tail: str
    parameters: tuple[Any, ...]

    @property
    def compound(self) -> bool:
        """Whether a compound field is selected."""
        return any(column.field.type in COMPOUND for column in self.columns)


@dataclass
class _Joins:
    """LEFT JOINs by lower-case relationship path."""

    found: dict[tuple[str, ...], tuple[str, SObject, tuple[str, ...]]] = field(default_factory=dict)
    sql: list[str] = field(default_factory=list)


def compile_query(
    query: Query,
    schema: Mapping[str, SObject],
    *,
    now: datetime,
    zone: ZoneInfo,
    include_deleted: bool,
    unshared: Set[str] = frozenset(),
) -> Plan:
    """Turn a query into SQL.

    Parameters
    ----------
    schema
        The objects that the user may see, by lower-case name, without the fields hidden from them.
    now, zone
        What ``TODAY`` means.
    unshared
        Objects of which the user does not see every record.

    Raises
    ------
    SoqlError
        INVALID_TYPE, INVALID_FIELD, MALFORMED_QUERY and the like, as Salesforce answers.
    """
    return _Compiler(query, schema, now, zone, include_deleted, 0, unshared).plan()


class _Compiler(Conditions):
    def __init__(
        self,
        query: Query,
        schema: Mapping[str, SObject],
        now: datetime,
        zone: ZoneInfo,
        include_deleted: bool,
        depth: int,
        unshared: Set[str],
    ) -> None:
        self.unshared = unshared
        self.query, self.schema, self.now, self.zone = query, schema, now, zone
        self.include_deleted, self.depth = include_deleted, depth
        self.alias = f"t{depth}"
        self.joins = _Joins()
        self.parameters: list[Any] = []
        found = schema.get(query.object.lower())
        if found is None or not found.queryable:
            message = f"sObject type '{query.object}' is not supported. {_HOW_TO_SPELL_OBJECTS}"
            raise self.error("INVALID_TYPE", message, query.object_at)
        self.object = found

    # -- the whole

    def plan(self) -> Plan:
        query = self.query
        calls = [item.target for item in query.items if isinstance(item.target, Call)]
        bare_count = [call for call in calls if call.function == "COUNT" and call.argument is None]
        if bare_count and (len(query.items) > 1 or query.group_by or query.items[0].alias):
            raise self.error("MALFORMED_QUERY", "Grouped query cannot use COUNT()", bare_count[0].at)
        kind = "count" if bare_count else "aggregate" if calls or query.group_by else "rows"
        columns = () if kind == "count" else self.columns(grouped=kind == "aggregate")
        where = self.visible()
        if query.where is not None:
            where.append(self.condition(query.where))
        tail = " WHERE " + " AND ".join(where) if where else ""
        if query.group_by:
            tail += " GROUP BY " + ", ".join(self.grouping(target) for target in query.group_by)
        if query.order_by:
            if kind == "count":
                raise self.error("MALFORMED_QUERY", "Grouped query cannot use ORDER BY with COUNT()")
            tail += " ORDER BY " + ", ".join(
                self.ordering(order.target, order.descending, order.nulls_last) for order in query.order_by
            )
        if query.offset > 2000:
            raise self.error("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000")
        if query.limit is not None or query.offset:
            tail += f" LIMIT {-1 if query.limit is None else query.limit} OFFSET {query.offset}"
        # joins are known only now: conditions and orders add theirs
        source = f' FROM "{self.object.name}" AS {self.alias}' + "".join(self.joins.sql)
        parents = tuple(
            (names, obj.name, f"{alias}.Id")
            for alias, obj, names in self.joins.found.values()
            if any(column.path[: len(names)] == names and len(column.path) > len(names) for column in columns)
        )
        return Plan(kind, self.object, self.alias, columns, parents, source, tail, tuple(self.parameters))

    def visible(self) -> list[str]:
        shared = []
        if self.object.name in self.unshared:
            shared.append(shared_sql(self.object.name, f"{self.alias}.Id"))
        if self.include_deleted:
            return shared
        hidden = ("IsDeleted", "IsArchived")
        return shared + [f"{self.alias}.{name} = 0" for name in hidden if self.object.has(name)]

    def columns(self, *, grouped: bool) -> tuple[Column, ...]:
        columns: list[Column] = []
        seen: set[tuple[str, ...]] = set()
        unnamed = 0
        group_sql = {self.target(target).sql for target in self.query.group_by}
        for item in self.query.items:
            if isinstance(item.target, Path):
                if item.alias and not grouped:
                    raise self.error(
                        "MALFORMED_QUERY", "only aggregate expressions use field aliasing", item.target.at
                    )
                names, found = self.resolve(item.target)
                if grouped and found.sql not in group_sql:
                    message = f"Field must be grouped or aggregated: {found.field.name}"
                    raise self.error("MALFORMED_QUERY", message, item.target.at)
                path = ((item.alias or names[-1]),) if grouped else names
            else:
                found = self.aggregate(item.target, group_sql)
                path = (item.alias or f"expr{unnamed}",)
                unnamed += item.alias is None
            key = tuple(part.lower() for part in path)
            if key in seen:
                raise self.error("INVALID_FIELD", f"duplicate field selected: {'.'.join(path)}")
            seen.add(key)
            columns.append(Column(path, found.field, found.sql))
        return tuple(columns)

    def grouping(self, target: Path | Call) -> str:
        found = self.target(target)
        if isinstance(target, Path) and not found.field.groupable:
            raise self.error(
                "MALFORMED_QUERY", f"field '{found.field.name}' can not be grouped in a query call", target.at
            )
        return found.sql + (" COLLATE CRM" if found.field.type in TEXT else "")

    def ordering(self, target: Path | Call, descending: bool, nulls_last: bool) -> str:
        group_sql = {self.target(item).sql for item in self.query.group_by}
        if isinstance(target, Call) and target.function in _AGGREGATES:
            found = self.aggregate(target, group_sql)
        else:
            found = self.target(target)
            if group_sql and found.sql not in group_sql:
                message = f"Ordered field must be grouped or aggregated: {found.field.name}"
                raise self.error("MALFORMED_QUERY", message, target.at)
        if not found.field.sortable:
            raise self.error(
                "MALFORMED_QUERY", f"field '{found.field.name}' can not be sorted in a query call", target.at
            )
        sql = found.sql + (" COLLATE CRM" if found.field.type in TEXT else "")
        if descending:
            sql += " DESC"
        # SQLite's own default is nulls first ascending, last descending; naming it costs the index
        if descending != nulls_last and self.may_be_null(found):
            sql += " NULLS LAST" if nulls_last else " NULLS FIRST"
        return sql

    def may_be_null(self, found: Target) -> bool:
        return found.field.nillable or not found.sql.startswith(f"{self.alias}.")

    # -- names

    def resolve(self, path: Path) -> tuple[tuple[str, ...], Target]:
        parts = path.parts
        if len(parts) > 1 and parts[0].lower() in self.query.names:
            parts = parts[1:]
        alias, obj = self.alias, self.object
        names: tuple[str, ...] = ()
        for depth, part in enumerate(parts[:-1]):
            if depth == 5:
                raise self.error(
                    "MALFORMED_QUERY", "a relationship path goes up at most five levels", path.at
                )
            relation = obj.relations.get(part.lower())
            targets = (
                [name for name in relation.reference_to if name.lower() in self.schema] if relation else []
            )
            if relation is None or relation.relationship_name is None or len(targets) != 1:
                spelling = _HOW_TO_SPELL.format("relationship", "r")
                message = f"Didn't understand relationship '{part}' in field path. {spelling}"
                raise self.error("INVALID_FIELD", message, path.at)
            names = (*names, relation.relationship_name)
            alias, obj = self.join(names, alias, relation, self.schema[targets[0].lower()])
        found = obj.by_name.get(parts[-1].lower())
        if found is None:
            message = (
                f"No such column '{parts[-1]}' on entity '{obj.name}'. {_HOW_TO_SPELL.format('field', 'c')}"
            )
            raise self.error("INVALID_FIELD", message, path.at)
        return (*names, found.name), Target(f'{alias}."{found.name}"', found)

    def join(
        self, names: tuple[str, ...], child: str, relation: Field, parent: SObject
    ) -> tuple[str, SObject]:
        key = tuple(name.lower() for name in names)
        if key not in self.joins.found:
            alias = f"{self.alias}_{len(self.joins.found)}"
            alive = (
                "" if self.include_deleted or not parent.has("IsDeleted") else f" AND {alias}.IsDeleted = 0"
            )
            if parent.name in self.unshared:
                alive += f" AND {shared_sql(parent.name, f'{alias}.Id')}"
            self.joins.sql.append(
                f' LEFT JOIN "{parent.name}" AS {alias} ON {alias}.Id = {child}."{relation.name}"{alive}'
            )
            self.joins.found[key] = (alias, parent, names)
        alias, parent, _ = self.joins.found[key]
        return alias, parent

    def target(self, target: Path | Call) -> Target:
        if isinstance(target, Path):
            return self.resolve(target)[1]
        if target.function not in _DATE_PARTS or target.argument is None:
            raise self.error("MALFORMED_QUERY", f"Invalid function: {target.function}", target.at)
        inner = self.resolve(target.argument)[1]
        if inner.field.type not in ("date", "datetime"):
            message = f"Invalid datatype for function {target.function}: {inner.field.name}"
            raise self.error("INVALID_FIELD", message, target.at)
        if not inner.field.filterable:
            raise self.unfilterable(inner.field, target.at)
        moment = inner.sql
        if inner.field.type == "datetime":
            moment = f"({seconds_sql(inner.sql)}), 'unixepoch'"
        kind = "date" if target.function == "DAY_ONLY" else "int"
        return Target(_DATE_PARTS[target.function].format(moment), Field(inner.field.name, kind))

    def aggregate(self, call: Call, group_sql: set[str]) -> Target:
        if call.function in _DATE_PARTS:
            found = self.target(call)
            if found.sql not in group_sql:
                message = f"Field must be grouped or aggregated: {found.field.name}"
                raise self.error("MALFORMED_QUERY", message, call.at)
            return found
        if call.function not in _AGGREGATES or call.argument is None:
            raise self.error("MALFORMED_QUERY", f"Invalid function: {call.function}", call.at)
        inner = self.resolve(call.argument)[1]
        number = inner.field.type in NUMBER
        if not inner.field.aggregatable or (call.function in ("SUM", "AVG") and not number):
            message = f"field {inner.field.name} does not support aggregate operator {call.function}"
            raise self.error("MALFORMED_QUERY", message, call.at)
        collate = " COLLATE CRM" if inner.field.type in TEXT else ""
        if call.function == "COUNT_DISTINCT":
            return Target(f"COUNT(DISTINCT {inner.sql}{collate})", Field("expr", "int"))
        sql = f"{call.function}({inner.sql}{collate})"
        if call.function == "COUNT":
            return Target(sql, Field("expr", "int"))
        return Target(sql, inner.field if call.function in ("MIN", "MAX") else Field("expr", "double"))

    def ids(self, query: Query, at: int) -> str:
        """Return SQL for the ids that a sub-select finds, in a column x."""
        inner = _Compiler(
            query, self.schema, self.now, self.zone, self.include_deleted, self.depth + 1, self.unshared
        ).plan()
        if inner.kind != "rows" or inner.columns[0].field.type not in IDENTITY:
            raise self.error("MALFORMED_QUERY", "semi join sub-selects return one id field", at)
        self.parameters.extend(inner.parameters)
        return f"SELECT {inner.columns[0].sql} AS x{inner.source}{inner.tail}"
