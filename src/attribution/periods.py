"""Calendar and fiscal periods: from ``2026Q2`` to its first and last day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from attribution.errors import UsageError

__all__ = ["FiscalYear", "period_days"]

_QUARTER = re.compile(r"(FY)?(\d{4})(?:Q([1-4]))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FiscalYear:
    """When the organization's fiscal year starts, and whether it is named after its first or last day."""

    start_month: int = 1
    named_by_start: bool = False

    def first_day(self, name: int) -> date:
        """First day of the fiscal year called ``name``."""
        starts_in = name if self.start_month == 1 or self.named_by_start else name - 1
        return date(starts_in, self.start_month, 1)


def period_days(text: str, fiscal: FiscalYear) -> tuple[date, date]:
    """First and last day of a period, both included.

    Parameters
    ----------
    text
        ``2026Q2`` or ``2026`` (calendar), ``FY2026Q2`` or ``FY2026`` (fiscal), or ``2026-01-01..2026-06-30``.
    fiscal
        The organization's fiscal year.

    Raises
    ------
    UsageError
        If the text is none of these, or ends before it begins.

    Examples
    --------
    >>> period_days("FY2026Q1", FiscalYear(start_month=2))
    (datetime.date(2025, 2, 1), datetime.date(2025, 4, 30))
    """
    if ".." in text:
        first, last = (_day(part, text) for part in text.split("..", 1))
        if last < first:
            raise UsageError(f"the period {text!r} ends before it begins", hint="write it as FIRST..LAST")
        return first, last
    match = _QUARTER.fullmatch(text.strip())
    if match is None or not 1 < int(match[2]) < 9999:
        raise UsageError(f"{text!r} is no period", hint="use 2026Q2, FY2026Q2 or 2026-01-01..2026-06-30")
    year = FiscalYear() if match[1] is None else fiscal
    first = year.first_day(int(match[2]))
    months = 12
    if match[3] is not None:
        first, months = _months_later(first, 3 * (int(match[3]) - 1)), 3
    return first, _months_later(first, months) - timedelta(days=1)


def _day(text: str, period: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{text!r} in the period {period!r} is no date", hint="write days as 2026-06-30"
        ) from None


def _months_later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, 1)
