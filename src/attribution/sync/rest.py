"""Queries by REST: pages in the order of their keys, every row of them or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeVar

import polars as pl

from attribution.errors import CrmError, TransientCrmError
from attribution.sync.descriptions import ID, FieldDescription, ObjectDescription
from attribution.sync.documents import Page, validated
from attribution.sync.failures import Garbled, Kind, kind_of, read_json
from attribution.sync.intake import OtherTime
from attribution.sync.rows import has_two_spellings
from attribution.sync.source import Query, all_of
from attribution.sync.watermark import Window, halved, literal
from attribution.sync.wire import Wire

__all__ = ["PAGE_ROWS", "Queries", "Take", "as_text", "condition", "selected", "soql_of"]

T = TypeVar("T")

Take = Callable[[pl.DataFrame], object]
"""Is given one page, every value as text; a record may come in several of them, and the last time counts."""
PAGE_ROWS: Final = 2_000
"""Rows of a page; Salesforce may send fewer where they are wide."""
_READS: Final = 3
"""How often a read is begun anew when its pages vanish or do not add up."""
_IDS_PER_QUERY: Final = 200


class Queries:
    """What can be asked in SOQL, one page after the other.

    Parameters
    ----------
    base
        Path of the REST API in its version.
    """

    def __init__(self, wire: Wire, base: str) -> None:
        self._wire = wire
        self._base = base

    def count(
        self,
        object: str,
        where: str | None = None,
        *,
        window: Window | None = None,
        cursor: str | None = None,
    ) -> int:
        """Number of records, soft-deleted ones included, that meet a SOQL condition."""

        def accept(response: Any) -> int:
            page = validated(Page, read_json(response))
            if page.records or not page.done:
                raise Garbled("a count with records, or without an end")
            return page.total

        soql = f"SELECT COUNT() FROM {object}{condition(cursor, window, where)}"
        return self._wire.call("GET", f"{self._base}/queryAll", accept, params={"q": soql})

    def page(self, soql: str, operation: str = "queryAll", needs: Sequence[str] = ()) -> Page:
        """The only page of a short query, each record with the fields that it ``needs`` to make sense."""

        def accept(response: Any) -> Page:
            page = validated(Page, read_json(response))
            if not page.done or page.total != len(page.records):
                raise Garbled(f"a page of {page.total} records holds {len(page.records)}")
            if not all(type(record.get(name)) is str for record in page.records for name in needs):
                raise Garbled("a record without what was asked for")
            return page

        return self._wire.call("GET", f"{self._base}/{operation}", accept, params={"q": soql})

    def live(self, object: str, ids: Sequence[str]) -> set[str]:
        """Those of the given records that exist and are not deleted."""

        def ask(listed: str) -> Iterator[str]:
            page = self.page(f"SELECT Id FROM {object} WHERE {listed}", "query", ("Id",))
            return (record["Id"] for record in page.records)

        return set(_by_ids(ids, ask))

    def of_ids(
        self,
        description: ObjectDescription,
        fields: Sequence[str],
        ids: Sequence[str],
        where: str | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Those of the given records that there are."""

        def ask(listed: str) -> Iterator[pl.DataFrame]:
            met = all_of(listed, where)
            pages: list[pl.DataFrame] = []
            self._of_keys(description, fields, None, None, met, pages.append, lambda rows, total: None)
            return iter(pages)

        return _by_ids(ids, ask)

    def of_window(self, query: Query, take: Take, progress: Callable[[int, int | None], None]) -> int:
        """Read a window, and tell how many different rows it has.

        One that takes Salesforce too long is read in halves, and these again.
        """
        description, fields = query.description, selected(query.fields)
        try:
            return self._of_keys(description, fields, query.window, query.cursor, query.where, take, progress)
        except CrmError as error:
            halves = halved(query.window) if query.cursor and kind_of(error) is Kind.TIMEOUT else ()
            if not halves:
                raise
        return sum(self.of_window(replace(query, window=half), take, progress) for half in halves)

    def _of_keys(
        self,
        description: ObjectDescription,
        fields: Sequence[str],
        window: Window | None,
        cursor: str | None,
        where: str | None,
        take: Take,
        progress: Callable[[int, int | None], None],
    ) -> int:
        """Every page of a window in the order of its keys; after pages are lost, from the last key on."""
        names = list(dict.fromkeys((*fields, cursor or "Id", "Id")))
        described = [description.fields[name] for name in names]
        order = f"{cursor}, Id" if cursor else "Id"
        after: str | None = None
        left: int | None = None
        failures = rows = 0
        while True:
            met = condition(cursor, window, all_of(where, after))
            soql = f"SELECT {', '.join(names)} FROM {description.name}{met}"
            delivered = 0
            try:
                for total, page in self._pages(f"{soql} ORDER BY {order}", described, left):
                    # what was expected of the whole window, less what has come of it
                    left = total - page.height if delivered == 0 else (left or 0) - page.height
                    delivered += page.height
                    rows += page.height
                    progress(delivered, total)
                    if page.height:
                        after = _after(page, cursor)
                        take(page.select(fields))
                if left:
                    raise TransientCrmError(
                        f"Salesforce: a query of {delivered + left} rows delivered {delivered}"
                    )
                return rows
            except TransientCrmError as error:
                if kind_of(error) not in (Kind.LOCATOR, None):
                    raise
                failures = 1 if kind_of(error) is Kind.LOCATOR and delivered else failures + 1
                if failures >= _READS:
                    raise
                if isinstance(error, (_Inconsistent, OtherTime)) or after is None:
                    # rows are missing somewhere before the last key
                    after, left, rows = None, None, 0

    def _pages(
        self, soql: str, fields: Sequence[FieldDescription], expected: int | None
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """The pages of one query, each with the number of rows that all of them have."""
        page, frame = self._page(f"{self._base}/queryAll", fields, {"q": soql})
        if expected is not None and page.total != expected:
            raise _Inconsistent(f"Salesforce: {expected} rows were left of a query, and now {page.total} are")
        yield page.total, frame
        seen, ids, total, read = {""}, [frame["Id"]], page.total, frame.height
        while not page.done:
            following = page.following or ""
            if following in seen or read > total:
                raise TransientCrmError("Salesforce: the pages of a query go in circles")
            seen.add(following)
            page, frame = self._page(following, fields)
            ids.append(frame["Id"])
            # an empty page leads nowhere, either
            read += frame.height or total
            yield page.total, frame
        if len(ids) > 1 and pl.concat(ids).is_duplicated().any():
            raise _Inconsistent("Salesforce: one row of a query came in the place of another")

    def _page(
        self, path: str, fields: Sequence[FieldDescription], params: Mapping[str, str] | None = None
    ) -> tuple[Page, pl.DataFrame]:
        def accept(response: Any) -> tuple[Page, pl.DataFrame]:
            page = validated(Page, read_json(response))
            frame = as_text(page.records, fields)
            if not frame["Id"].str.contains(ID).fill_null(value=False).all():
                # it could never be asked for again
                raise Garbled("a record without an id")
            if has_two_spellings(frame["Id"]):
                raise Garbled("ids of two lengths")
            if frame["Id"].is_duplicated().any():
                raise Garbled("a page with one row in the place of another")
            return page, frame

        return self._wire.call("GET", path, accept, params=params)


def _by_ids(ids: Sequence[str], ask: Callable[[str], Iterator[T]]) -> Iterator[T]:
    """What is told of records by their ids; of fewer at once where that takes Salesforce too long."""
    for first in range(0, len(ids), _IDS_PER_QUERY):
        some = ids[first : first + _IDS_PER_QUERY]
        listed = ", ".join(f"'{each}'" for each in some)
        try:
            told = list(ask(f"Id IN ({listed})"))
        except CrmError as error:
            if kind_of(error) is not Kind.TIMEOUT or len(some) < 2:
                raise
            half = len(some) // 2
            told = [each for part in (some[:half], some[half:]) for each in _by_ids(part, ask)]
        yield from told


def as_text(records: Sequence[Mapping[str, Any]], fields: Sequence[FieldDescription]) -> pl.DataFrame:
    """Records as columns of text, in which nothing is null, and no text is empty."""
    try:
        columns = [_column(field, [record[field.name] for record in records]) for field in fields]
    except KeyError as error:
        raise Garbled(f"a record without {error}") from None
    return pl.DataFrame(columns)


def _column(field: FieldDescription, values: Sequence[Any]) -> pl.Series:
    # what is no text can be told from text here only; other types are read, and so checked, later
    if field.is_text and not all(value is None or type(value) is str for value in values):
        raise Garbled(f"{field.name} with a value that is no text")
    return pl.Series(field.name, [_text(value) for value in values], pl.String())


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON can spell half a surrogate pair, which is no text that could be stored
        return value if value.isprintable() else value.encode("utf-8", "replace").decode("utf-8")
    raise Garbled("a value that is neither text, number nor flag")


class _Inconsistent(TransientCrmError):
    """What is left of a query is not what was left of it before."""


def _after(page: pl.DataFrame, cursor: str | None) -> str | None:
    """SOQL condition for what comes after the last record of a page; None where its key cannot be read."""
    last = page.row(-1, named=True)
    if cursor is None:
        return f"Id > '{last['Id']}'"
    try:
        at = literal(datetime.fromisoformat(last[cursor]))
    except (TypeError, ValueError):
        return None
    return f"{cursor} > {at} OR ({cursor} = {at} AND Id > '{last['Id']}')"


def selected(fields: Sequence[str]) -> list[str]:
    """Id comes last, because it is never empty: that shows a row of a bulk page that was cut short."""
    return [name for name in fields if name != "Id"] + ["Id"]


def soql_of(query: Query) -> str:
    """One query for all records."""
    met = condition(query.cursor, query.window, query.where)
    return f"SELECT {', '.join(selected(query.fields))} FROM {query.description.name}{met}"


def condition(cursor: str | None, window: Window | None, where: str | None) -> str:
    """WHERE with everything that the records must meet, or nothing."""
    parts = [] if where is None else [f"({where})"]
    if cursor is not None and window is not None:
        parts += [f"{cursor} >= {literal(window.since)}"] if window.since else []
        parts.append(f"{cursor} < {literal(window.until)}")
    return f" WHERE {' AND '.join(parts)}" if parts else ""
