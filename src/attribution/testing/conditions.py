"""WHERE into SQL, with Salesforce's semantics of null, case and dates.

A comparison is true or false, never unknown: null differs from every value, is in no list, and is on no side
of ``<``.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from attribution.testing.objects import COMPOUND, IDENTITY, NUMBER, TEXT, Field
from attribution.testing.records import day_text, full_id, milliseconds
from attribution.testing.soql import (
    Call,
    Comparison,
    Condition,
    Junction,
    Literal,
    Membership,
    Negation,
    Path,
    Query,
    SoqlError,
)

__all__ = ["Conditions", "Target", "seconds_sql"]

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_SQL_OPERATORS = {"=": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


@dataclass(frozen=True, slots=True)
class Target:
    """What is compared: its SQL and the field that says its type."""

    sql: str
    field: Field


class Conditions(ABC):
    """The half of the compiler that reads conditions; the other half resolves names."""

    query: Query
    now: datetime
    zone: ZoneInfo
    depth: int
    parameters: list[Any]

    @abstractmethod
    def target(self, target: Path | Call) -> Target:
        """Resolve a field or function."""

    @abstractmethod
    def ids(self, query: Query, at: int) -> str:
        """Return SQL for the ids that a sub-select finds, in a column x."""

    def error(self, code: str, message: str, at: int | None = None) -> SoqlError:
        """Return the refusal of the query, pointing at a place."""
        return SoqlError(code, message, self.query.text, at)

    def condition(self, condition: Condition) -> str:
        """Return the SQL of a condition."""
        match condition:
            case Junction(word, parts):
                sql = "(" + f" {word} ".join(self.condition(part) for part in parts) + ")"
                return self._with_lower_bound(condition, sql) if word == "OR" else sql
            case Negation(part):
                return f"({self.condition(part)} IS NOT TRUE)"
            case Membership(target, negated, query):
                return self._membership(target, negated, query)
            case Comparison():
                return self._comparison(condition)

    def unfilterable(self, found: Field, at: int) -> SoqlError:
        """Return the refusal to filter by a field."""
        return self.error("INVALID_FIELD", f"field '{found.name}' can not be filtered in a query call", at)

    def _membership(self, target: Path, negated: bool, query: Query) -> str:
        found = self.target(target)
        if found.field.type not in IDENTITY:
            raise self.error(
                "INVALID_FIELD", f"The left operand of IN must be an id: {found.field.name}", target.at
            )
        if self.depth or len(query.items) != 1 or query.group_by or query.order_by or query.limit is not None:
            raise self.error("MALFORMED_QUERY", "semi join sub-selects are plain and not nested", target.at)
        # a null in the list would make NOT IN unknown for every row
        ids = f"SELECT x FROM ({self.ids(query, target.at)}) WHERE x IS NOT NULL"
        if negated:
            return f"({found.sql} IS NULL OR {found.sql} NOT IN ({ids}))"
        return f"{found.sql} IN ({ids})"

    def _comparison(self, condition: Comparison) -> str:
        found = self.target(condition.target)
        at, operator = condition.target.at, condition.operator
        if not found.field.filterable or found.field.type in COMPOUND:
            raise self.unfilterable(found.field, at)
        self._check_operator(found.field, operator, condition.values, at)
        if operator == "LIKE":
            pattern = self._text(condition.values[0], like=True)
            self.parameters.append(like_pattern(pattern))
            return f"crm_like({found.sql}, ?)"
        if operator in ("IN", "NOT IN"):
            return self._in_list(found, condition.values, negated=operator == "NOT IN")
        literal = condition.values[0]
        if literal.kind == "range":
            return self._in_range(found, operator, literal)
        value = self._value(found.field, literal)
        if value is None:
            return f"{found.sql} IS {'NOT ' if operator == '!=' else ''}NULL"
        self.parameters.append(value)
        collate = " COLLATE CRM" if found.field.type in TEXT else ""
        if operator == "!=":
            return f"({found.sql} IS NULL OR {found.sql} <> ?{collate})"
        return f"{found.sql} {_SQL_OPERATORS[operator]} ?{collate}"

    def _check_operator(self, found: Field, operator: str, values: tuple[Literal, ...], at: int) -> None:
        equality = operator in ("=", "!=", "IN", "NOT IN")
        kind = found.type
        if (kind == "boolean" and not equality) or (operator == "LIKE" and kind not in TEXT):
            raise self.error("INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {kind} field", at)
        if not equality and any(value.kind == "null" for value in values):
            raise self.error("INVALID_QUERY_FILTER_OPERATOR", "null takes only = and !=", at)
        if kind == "boolean" and any(value.kind == "null" for value in values):
            raise self.error("INVALID_FIELD", self._wrong_type(found, "boolean"), at)

    def _in_list(self, found: Target, literals: tuple[Literal, ...], *, negated: bool) -> str:
        if any(literal.kind == "range" for literal in literals):
            raise self.error("MALFORMED_QUERY", "date literals do not go into a list", literals[0].at)
        values = [self._value(found.field, literal) for literal in literals]
        given = [value for value in values if value is not None]
        collate = " COLLATE CRM" if found.field.type in TEXT else ""
        self.parameters.extend(given)
        sql = f"({found.sql}{collate} IN ({', '.join('?' * len(given))}))"
        if None in values:
            sql = f"({found.sql} IS NULL OR {sql})"
        return f"({sql} IS NOT TRUE)" if negated else sql

    def _in_range(self, found: Target, operator: str, literal: Literal) -> str:
        if found.field.type not in ("date", "datetime"):
            raise self.error("INVALID_FIELD", self._wrong_type(found.field, found.field.type), literal.at)
        first, after = range_days(literal, self.now.astimezone(self.zone).date())
        start, end = self._day_start(found.field, first), self._day_start(found.field, after)
        if operator in ("=", "!="):
            self.parameters.extend((start, end))
            inside = f"({found.sql} >= ? AND {found.sql} < ?)"
            return inside if operator == "=" else f"({inside} IS NOT TRUE)"
        bound, comparator = {"<": (start, "<"), "<=": (end, "<"), ">": (end, ">="), ">=": (start, ">=")}[
            operator
        ]
        self.parameters.append(bound)
        return f"{found.sql} {comparator} ?"

    def _day_start(self, found: Field, day: date) -> Any:
        if found.type == "date":
            return day_text(day)
        return milliseconds(datetime(day.year, day.month, day.day, tzinfo=self.zone))

    def _with_lower_bound(self, condition: Junction, sql: str) -> str:
        # (stamp = a AND Id > b) OR stamp > a: SQLite finds the index only if told that stamp >= a
        bounds = self._lower_bounds(condition)
        for found_sql, value in bounds.items():
            self.parameters.append(value)
            sql = f"({sql} AND {found_sql} >= ?)"
        return sql

    def _lower_bounds(self, condition: Condition) -> dict[str, Any]:
        match condition:
            case Comparison(
                Path() as path, "=" | ">" | ">=", (Literal(kind="date" | "datetime") as literal,)
            ):
                found = self.target(path)
                return {found.sql: self._value(found.field, literal)}
            case Junction("AND", parts):
                return {key: value for part in parts for key, value in self._lower_bounds(part).items()}
            case Junction("OR", parts):
                each = [self._lower_bounds(part) for part in parts]
                shared = set(each[0]).intersection(*each[1:])
                return {key: min(bounds[key] for bounds in each) for key in shared}
        return {}

    # -- constants

    def _wrong_type(self, found: Field, kind: str, *, quoted: bool = True) -> str:
        hint = "and should not be enclosed in quotes" if quoted else "and should be enclosed in quotes"
        return f"value of filter criterion for field '{found.name}' must be of type {kind} {hint}"

    def _value(self, found: Field, literal: Literal) -> Any:
        if literal.kind == "null":
            return None
        kind = found.type
        if kind in TEXT or kind in IDENTITY:
            if literal.kind != "string":
                raise self.error("INVALID_FIELD", self._wrong_type(found, "string", quoted=False), literal.at)
            text = self._text(literal)
            if kind in IDENTITY and text:
                identity = full_id(text)
                if identity is None:
                    raise self.error("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {text}", literal.at)
                return identity
            return text or None
        wanted, reader = self._reader(kind)
        if literal.kind not in wanted:
            name = {"datetime": "dateTime", "currency": "double", "percent": "double"}.get(kind, kind)
            raise self.error("INVALID_FIELD", self._wrong_type(found, name), literal.at)
        try:
            return reader(literal.text)
        except ValueError as error:
            raise self.error("MALFORMED_QUERY", f"invalid value: {literal.text}", literal.at) from error

    @staticmethod
    def _reader(kind: str) -> tuple[tuple[str, ...], Callable[[str], Any]]:
        if kind == "boolean":
            return ("boolean",), lambda text: int(text == "TRUE")
        if kind in NUMBER:
            return ("number",), float
        if kind == "date":
            return ("date",), lambda text: day_text(date.fromisoformat(text))
        return ("datetime",), lambda text: milliseconds(datetime.fromisoformat(text.upper()).astimezone(UTC))

    def _text(self, literal: Literal, *, like: bool = False) -> str:
        if literal.kind != "string":
            raise self.error("MALFORMED_QUERY", f"unexpected token: '{literal.text}'", literal.at)

        def unescape(match: re.Match[str]) -> str:
            character = match.group(1)
            if like and character in "%_\\":
                return match.group()
            if character not in _ESCAPES:
                raise self.error("MALFORMED_QUERY", f"Illegal escape sequence: {match.group()}", literal.at)
            return _ESCAPES[character]

        return re.sub(r"\\(.)", unescape, literal.text[1:-1])


def seconds_sql(sql: str) -> str:
    """Return SQL for the whole seconds, rounded down, of a column of milliseconds."""
    return f"({sql} - (({sql} % 1000) + 1000) % 1000) / 1000"


def like_pattern(pattern: str) -> str:
    """Turn a LIKE pattern into a regular expression of the whole value."""
    pieces = re.findall(r"\\[%_\\]|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return "".join(wild.get(piece) or re.escape(piece[-1].lower()) for piece in pieces)


def range_days(literal: Literal, today: date) -> tuple[date, date]:
    """Return the first day of a date literal and the day after its last."""
    one, count = timedelta(days=1), literal.count or 0
    quarter = today.replace(month=3 * ((today.month - 1) // 3) + 1, day=1)
    spans: dict[str, Callable[[], tuple[date, date]]] = {
        "TODAY": lambda: (today, today + one),
        "YESTERDAY": lambda: (today - one, today),
        "TOMORROW": lambda: (today + one, today + 2 * one),
        "LAST_N_DAYS": lambda: (today - count * one, today + one),
        "LAST_90_DAYS": lambda: (today - 90 * one, today + one),
        "NEXT_N_DAYS": lambda: (today + one, today + (count + 1) * one),
        "NEXT_90_DAYS": lambda: (today + one, today + 91 * one),
        "N_DAYS_AGO": lambda: (today - count * one, today - (count - 1) * one),
    }
    if literal.text in spans:
        return spans[literal.text]()
    which, unit = literal.text.split("_")
    first, months = {
        "MONTH": (today.replace(day=1), 1),
        "QUARTER": (quarter, 3),
        "YEAR": (today.replace(month=1, day=1), 12),
    }[unit]
    start = add_months(first, {"LAST": -months, "THIS": 0, "NEXT": months}[which])
    return start, add_months(start, months)


def add_months(first: date, months: int) -> date:
    """Move the first day of a month by whole months."""
    index = first.year * 12 + first.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)
