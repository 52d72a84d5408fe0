"""Rules 1 and 2: closes, stages, amounts in the report currency, deal types, exclusions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from attribution.mapping import Filter
from attribution.testing.truth.facts import Record, Rules
from attribution.testing.truth.records import UNKNOWN, Book, created, end_of, identity, need, read, stamp
from attribution.testing.truth.touches import Touch

__all__ = ["Draft", "Rates", "deal_type", "draft", "is_excluded", "segments"]


@dataclass(slots=True)
class Draft:
    """A deal on its way to a `DealTruth`."""

    id: str
    record: Record
    account_id: str | None
    created_at: datetime
    deal_type: str
    closed_at: datetime | None
    outcome: str
    closed_on: date | None
    amount_minor: int | None
    spells: list[tuple[str, bool, datetime]]
    close_date_pushes: int
    touches: list[Touch] = field(default_factory=list)


# --- 1.9, 1.10: money --------------------------------------------------------------------------------------

_DIGITS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "KWD": 3, "BHD": 3, "JOD": 3, "OMR": 3, "TND": 3}
"""Minor digits of currencies that have other than two."""


class Rates:
    """The currencies of the org; `digits` are those of the report currency unless given."""

    def __init__(self, book: Book, digits: int | None) -> None:
        types = book.rows("CurrencyType")
        corporate = [need(row, "IsoCode", str) for row in types if row.get("IsCorporate") is True]
        self.currency = corporate[0] if corporate else book.rules.currency or "XXX"
        self.digits = _DIGITS.get(self.currency, 2) if digits is None else digits
        self.has_several = bool(types)
        self.current = {need(row, "IsoCode", str): read(row, "ConversionRate", Decimal) for row in types}
        self.dated = book.live("DatedConversionRate")

    def rate(self, currency: str, day: date | None) -> Decimal | None:
        """Rule 1.9: the dated rate of that day, else the current one."""
        for row in self.dated:
            if day is None or row.get("IsoCode") != currency:
                continue
            if need(row, "StartDate", date) <= day < need(row, "NextStartDate", date):
                return read(row, "ConversionRate", Decimal)
        return self.current.get(currency)

    def minor(self, amount: Decimal | None, currency: str | None, day: date | None) -> int | None:
        """Rules 1.9, 1.10: minor units of the report currency, rounded once, half to even."""
        if amount is None:
            return None
        exact = Fraction(amount) * int(10**self.digits)
        if self.has_several and currency not in (None, self.currency):
            rate = self.rate(str(currency), day)
            if not rate:
                return None
            exact /= Fraction(rate)
        return round(exact)  # the rounding of Fraction is half to even


# --- 2: which deals, of which type -------------------------------------------------------------------------


def _matches(value: object, condition: Filter) -> bool:
    """Whether a filter applies, read as SOQL reads it: text ignores case, `!=` is true of a missing value."""
    wanted = condition.value
    if condition.op == "is_null":
        return (value is None) is (wanted is not False)

    def same(other: object) -> bool:
        if isinstance(value, str) and isinstance(other, str):
            return value.casefold() == other.casefold()
        return type(value) is not bool and value == other if type(other) is not bool else value is other

    if condition.op == "contains":
        return isinstance(value, str) and str(wanted).casefold() in value.casefold()
    if condition.op == "in":
        return value is not None and any(same(each) for each in wanted or ())  # type: ignore[union-attr]
    return not same(wanted) if condition.op == "!=" else value is not None and same(wanted)


def is_excluded(book: Book, record: Record) -> bool:
    """Rule 2.1."""
    return identity(record) in book.rules.excluded or any(
        _matches(book.value(record, condition.field), condition) for condition in book.rules.exclude
    )


def deal_type(book: Book, record: Record) -> str:
    """Rule 2.2."""
    value = book.text(record, book.rules.deal_type_field)
    if value is None:
        return "unclassified"
    for given, meaning in book.rules.deal_types:
        if value == given:
            return meaning
    low = value.casefold()
    if "renew" in low:
        return "renewal"
    if low.startswith("existing") or any(
        word in low for word in ("upgrade", "upsell", "expansion", "add-on", "cross")
    ):
        return "expansion"
    return "new" if "new" in low else "unclassified"


def segments(book: Book, record: Record) -> tuple[tuple[str, str | None], ...]:
    """Return (field, value) of the fields that deals are grouped by."""
    found = []
    for name in book.rules.segments:
        value = book.value(record, name)
        if isinstance(value, bool):
            value = "true" if value else "false"
        found.append((name, None if value is None or value == "" else str(value)))
    return tuple(found)


# --- 1.5 to 1.7 --------------------------------------------------------------------------------------------


def _custom_amount(
    book: Book, record: Record, changes: list[Record], now: bool, rules: Rules
) -> Decimal | None:
    """Rule 1.7: a custom amount field at as_of, from the history of the field."""
    rows = sorted((row for row in changes if row.get("Field") == rules.amount_field), key=created)
    if now or not rows:
        return read(record, rules.amount_field, Decimal)
    seen = [row for row in rows if created(row) <= book.as_of]
    text = seen[-1].get("NewValue") if seen else rows[0].get("OldValue")
    return None if text is None else Decimal(str(text))


def draft(
    book: Book,
    record: Record,
    history: list[Record],
    changes: list[Record],
    synced_at: datetime,
    rates: Rates,
) -> Draft:
    """Rules 1.5 to 1.7, 1.9, 1.10: one deal without its touchpoints."""
    rules = book.rules
    history = sorted(history, key=lambda row: (created(row), stamp(row), identity(row)))
    seen = [row for row in history if created(row) <= book.as_of]
    now = book.as_of >= synced_at
    record_outcome = "open" if not record.get("IsClosed") else "won" if record.get("IsWon") else "lost"
    created_at = created(record)

    # 1.7: at or after the watermark the record itself counts; earlier the last history row, else the record.
    source = record if now or not seen else seen[-1]
    closed_on = read(source, "CloseDate", date)
    amount = read(source, "Amount", Decimal)
    if rules.amount_field != "Amount":
        amount = _custom_amount(book, record, changes, now, rules)

    # 1.5: from the newest row back while rows are closed with the same outcome.
    closed_at, outcome = None, "open"
    newest = book.stage(seen[-1])[1] if seen else "open"
    explained = bool(history) and book.stage(history[-1])[1] != "open"
    if newest != "open" and not (now and record_outcome == "open"):
        for row in reversed(seen):
            if book.stage(row)[1] != newest:
                break
            closed_at = created(row)
        outcome = record_outcome if now else newest
    elif record_outcome != "open" and not explained:
        # No row tells of this close. (Where a later row does, the deal was still open here.)
        versions = book.versions["Opportunity"][identity(record)]
        first_closed_version = next(stamp(version) for version in versions if version.get("IsClosed"))
        day = read(record, "CloseDate", date)
        at = first_closed_version if day is None else min(end_of(day, book.zone), first_closed_version)
        if at <= book.as_of:
            closed_at, outcome = at, record_outcome

    return Draft(
        identity(record),
        record,
        book.account(record, "AccountId"),
        created_at,
        deal_type(book, record),
        closed_at,
        outcome,
        closed_on,
        rates.minor(amount, read(record, "CurrencyIsoCode", str), closed_on),
        _spells(book, record, history, seen, record_outcome),
        _pushes(book, seen),
    )


def _spells(
    book: Book, record: Record, history: list[Record], seen: list[Record], record_outcome: str
) -> list[tuple[str, bool, datetime]]:
    """Rule 1.6."""
    created_at = created(record)
    if not history:
        name = read(record, "StageName", str) or UNKNOWN
        return [(book.stages.get(name, (name, ""))[0], record_outcome != "open", created_at)]
    spells: list[tuple[str, bool, datetime]] = []
    if not seen or created_at < created(seen[0]):
        spells.append((UNKNOWN, False, created_at))
    for row in seen:
        name, outcome = book.stage(row)
        if not spells or spells[-1][0] != name:
            spells.append((name, outcome != "open", created(row)))
    return spells


def _pushes(book: Book, seen: list[Record]) -> int:
    """How often a row that leaves the deal open has a later close date than the row before it."""
    count = 0
    for before, after in pairwise(seen):
        was, becomes = read(before, "CloseDate", date), read(after, "CloseDate", date)
        moved = was is not None and becomes is not None and becomes > was
        count += moved and book.stage(after)[1] == "open"
    return count


def by_account(drafts: Mapping[str, Draft]) -> dict[str, list[Draft]]:
    """Deals of each account."""
    found: dict[str, list[Draft]] = {}
    for deal in drafts.values():
        if deal.account_id is not None:
            found.setdefault(deal.account_id, []).append(deal)
    return found
