"""SOQL read into a tree. What is not understood is an error, never a guess.

Understood: field lists with relationship paths, aggregates and date functions with aliases, WHERE with
comparisons, IN, LIKE, semi-joins and parentheses, GROUP BY, ORDER BY, LIMIT, OFFSET. As in Salesforce, AND
and OR are not mixed without parentheses.

Examples
--------
>>> query = parse("SELECT Id, Account.Name FROM Opportunity WHERE Amount >= 10 ORDER BY Name LIMIT 5")
>>> query.items[1].target.parts, query.limit
(('Account', 'Name'), 5)
>>> try:
...     parse("SELECT Id FORM Opportunity")
... except SoqlError as error:
...     print(error.code)
MALFORMED_QUERY
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

__all__ = [
    "Call",
    "Comparison",
    "Condition",
    "Item",
    "Junction",
    "Literal",
    "Membership",
    "Negation",
    "Order",
    "Path",
    "Query",
    "SoqlError",
    "parse",
]

_T = TypeVar("_T")


class SoqlError(Exception):
    """A query that Salesforce refuses, with its error code and its message that points at the place."""

    def __init__(self, code: str, message: str, text: str = "", at: int | None = None) -> None:
        if at is not None:
            # Salesforce quotes the surroundings and puts a caret below the place
            start = max(0, at - 40)
            excerpt = re.sub(r"\s", " ", text[start : at + 40])
            row = text.count("\n", 0, at) + 1
            column = at - (text.rfind("\n", 0, at) + 1) + 1
            message = f"\n{excerpt}\n{' ' * (at - start)}^\nERROR at Row:{row}:Column:{column}\n{message}"
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Path:
    """A field, perhaps of a parent: ``Account.Owner.Name``."""

    parts: tuple[str, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function of a field: ``COUNT(Id)``, ``CALENDAR_YEAR(CreatedDate)``."""

    function: str
    argument: Path | None
    at: int


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of the SELECT list."""

    target: Path | Call
    alias: str | None


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant as written.

    Its kind is string, number, date, datetime, boolean, null or range (``LAST_N_DAYS:3``).
    """

    kind: str
    text: str
    at: int
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field or function against constants; IN and NOT IN have several."""

    target: Path | Call
    operator: str
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Membership:
    """``Id IN (SELECT ...)``."""

    target: Path
    negated: bool
    query: Query


@dataclass(frozen=True, slots=True)
class Junction:
    """Conditions joined by AND or by OR."""

    word: str
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """NOT of a condition."""

    part: Condition


Condition = Comparison | Membership | Junction | Negation


@dataclass(frozen=True, slots=True)
class Order:
    """An entry of ORDER BY. Nulls come first unless LAST is asked for, descending or not."""

    target: Path | Call
    descending: bool
    nulls_last: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A whole SELECT."""

    text: str
    items: tuple[Item, ...]
    object: str
    object_at: int
    where: Condition | None = None
    group_by: tuple[Path | Call, ...] = ()
    order_by: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    names: frozenset[str] = field(default=frozenset())
    """Lower-case names that a path may begin with and that mean the object itself."""


_TOKEN = re.compile(
    r"""\s+
    |(?P<string>'(?:[^'\\\n]|\\.)*')
    |(?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))
    |(?P<date>\d{4}-\d\d-\d\d)(?!\w)
    |(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w:])
    |(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    |(?P<sign><=|>=|!=|[=<>(),:])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_KEYWORDS = "from where group order limit offset having with for using update all and or not in like"
_RESERVED = frozenset(_KEYWORDS.split())
_NULLARY = frozenset({"COUNT"})
_RANGES_WITH_COUNT = frozenset({"LAST_N_DAYS", "NEXT_N_DAYS", "N_DAYS_AGO"})
_SPANS = """
    TODAY YESTERDAY TOMORROW THIS_MONTH LAST_MONTH NEXT_MONTH THIS_QUARTER LAST_QUARTER NEXT_QUARTER
    THIS_YEAR LAST_YEAR NEXT_YEAR LAST_90_DAYS NEXT_90_DAYS
"""
_RANGES = frozenset(_SPANS.split())


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> Query:
    """Read a SOQL query.

    Raises
    ------
    SoqlError
        If any part of it is not understood.
    """
    parser = _Parser(text)
    query = parser.query()
    parser.expect_end()
    return query


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise SoqlError("MALFORMED_QUERY", f"unexpected token: '{text[at : at + 10]}'", text, at)
        if match.lastgroup:
            yield _Token(match.lastgroup, match.group(), at)
        at = match.end()
    yield _Token("end", "<EOF>", at)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.index = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.index]

    def unexpected(self) -> SoqlError:
        return SoqlError(
            "MALFORMED_QUERY", f"unexpected token: '{self.token.text}'", self.text, self.token.at
        )

    def is_word(self, *words: str) -> bool:
        return self.token.kind == "name" and self.token.text.upper() in words

    def take(self) -> _Token:
        token = self.token
        self.index += 1
        return token

    def skip_word(self, word: str) -> bool:
        if self.is_word(word):
            self.index += 1
            return True
        return False

    def skip_sign(self, sign: str) -> bool:
        if self.token.kind == "sign" and self.token.text == sign:
            self.index += 1
            return True
        return False

    def need_word(self, word: str) -> None:
        if not self.skip_word(word):
            raise self.unexpected()

    def need_sign(self, sign: str) -> None:
        if not self.skip_sign(sign):
            raise self.unexpected()

    def expect_end(self) -> None:
        if self.token.kind != "end":
            raise self.unexpected()

    def listed(self, one: Callable[[], _T]) -> tuple[_T, ...]:
        found = [one()]
        while self.skip_sign(","):
            found.append(one())
        return tuple(found)

    def query(self) -> Query:
        self.need_word("SELECT")
        items = self.listed(self.item)
        self.need_word("FROM")
        name = self.plain_name()
        names = {name.text.lower()}
        if self.token.kind == "name" and self.token.text.lower() not in _RESERVED:
            names.add(self.plain_name().text.lower())
        where = self.condition() if self.skip_word("WHERE") else None
        group_by: tuple[Path | Call, ...] = ()
        if self.skip_word("GROUP"):
            self.need_word("BY")
            group_by = self.listed(self.target)
        order_by: tuple[Order, ...] = ()
        if self.skip_word("ORDER"):
            self.need_word("BY")
            order_by = self.listed(self.order)
        limit = self.whole_number() if self.skip_word("LIMIT") else None
        offset = self.whole_number() if self.skip_word("OFFSET") else 0
        return Query(
            self.text, items, name.text, name.at, where, group_by, order_by, limit, offset, frozenset(names)
        )

    def plain_name(self) -> _Token:
        if self.token.kind != "name" or "." in self.token.text or self.token.text.lower() in _RESERVED:
            raise self.unexpected()
        return self.take()

    def whole_number(self) -> int:
        if self.token.kind != "number" or not self.token.text.isdigit():
            raise self.unexpected()
        return int(self.take().text)

    def item(self) -> Item:
        target = self.target()
        aliased = self.token.kind == "name" and self.token.text.lower() not in _RESERVED
        return Item(target, self.plain_name().text if aliased else None)

    def target(self) -> Path | Call:
        if self.token.kind != "name" or self.token.text.lower() in _RESERVED:
            raise self.unexpected()
        name = self.take()
        if not self.skip_sign("("):
            return Path(tuple(name.text.split(".")), name.at)
        function = name.text.upper()
        if self.skip_sign(")"):
            if function not in _NULLARY:
                raise SoqlError("MALFORMED_QUERY", f"unexpected token: '{name.text}'", self.text, name.at)
            return Call(function, None, name.at)
        argument = self.target()
        if isinstance(argument, Call):
            raise SoqlError(
                "MALFORMED_QUERY", f"Invalid function: {argument.function}", self.text, argument.at
            )
        self.need_sign(")")
        return Call(function, argument, name.at)

    def order(self) -> Order:
        target = self.target()
        descending = self.skip_word("DESC")
        if not descending:
            self.skip_word("ASC")
        nulls_last = False
        if self.skip_word("NULLS"):
            nulls_last = self.skip_word("LAST")
            if not nulls_last:
                self.need_word("FIRST")
        return Order(target, descending, nulls_last)

    def condition(self) -> Condition:
        parts = [self.term()]
        word = self.token.text.upper() if self.is_word("AND", "OR") else ""
        while word and self.skip_word(word):
            parts.append(self.term())
        if word and self.is_word("AND", "OR"):
            raise self.unexpected()
        return Junction(word, tuple(parts)) if word else parts[0]

    def term(self) -> Condition:
        if self.skip_word("NOT"):
            return Negation(self.term())
        if self.skip_sign("("):
            inside = self.condition()
            self.need_sign(")")
            return inside
        target = self.target()
        if self.token.kind == "sign" and self.token.text in ("=", "!=", "<", "<=", ">", ">="):
            return Comparison(target, self.take().text, (self.literal(),))
        if self.skip_word("LIKE"):
            return Comparison(target, "LIKE", (self.literal(),))
        negated = self.skip_word("NOT")
        self.need_word("IN")
        self.need_sign("(")
        if self.is_word("SELECT"):
            if isinstance(target, Call):
                raise self.unexpected()
            query = self.query()
            self.need_sign(")")
            return Membership(target, negated, query)
        values = self.listed(self.literal)
        self.need_sign(")")
        return Comparison(target, "NOT IN" if negated else "IN", values)

    def literal(self) -> Literal:
        token = self.token
        if token.kind in ("string", "number", "date", "datetime"):
            self.index += 1
            return Literal(token.kind, token.text, token.at)
        word = token.text.upper()
        if token.kind != "name":
            raise self.unexpected()
        if word in ("TRUE", "FALSE", "NULL"):
            self.index += 1
            return Literal("null" if word == "NULL" else "boolean", word, token.at)
        if word in _RANGES:
            self.index += 1
            return Literal("range", word, token.at)
        if word in _RANGES_WITH_COUNT:
            self.index += 1
            self.need_sign(":")
            return Literal("range", word, token.at, self.whole_number())
        raise self.unexpected()
