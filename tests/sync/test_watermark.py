"""Which span is read next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from attribution.sync.watermark import Window, bound_from_clock, deletion_span, next_window, probe_span

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

ages = st.timedeltas(timedelta(0), timedelta(days=400))


def test_the_first_window_has_no_beginning() -> None:
    assert next_window(None, NOW) == Window(None, NOW)


def test_the_next_one_overlaps_the_last() -> None:
    assert next_window(NOW - MINUTE * 60, NOW) == Window(NOW - MINUTE * 70, NOW)


def test_nothing_is_read_while_the_bound_stands_still() -> None:
    assert next_window(NOW, NOW) is None
    assert next_window(NOW, NOW - MINUTE) is None


def test_the_clock_is_trusted_five_seconds_late() -> None:
    assert bound_from_clock(NOW) == NOW - timedelta(seconds=5)


@given(st.none() | ages)
def test_a_probe_is_short_and_longer_than_a_minute(age: timedelta | None) -> None:
    since, until = probe_span(NOW, None if age is None else NOW - age)
    assert until == NOW
    assert MINUTE * 2 <= until - since <= max(MINUTE * 60, min(age or MINUTE, MINUTE * 60 * 25))
    assert age is None or age >= MINUTE * 60 * 25 or since <= NOW - age


@given(ages)
def test_deletions_are_asked_without_a_gap_or_the_gap_is_told(age: timedelta) -> None:
    span = deletion_span(NOW - age, NOW)
    assert MINUTE * 2 <= span.until - span.since < timedelta(days=15)
    assert span.has_gap or span.since <= NOW - age
    assert span.has_gap == (age > timedelta(days=15) - MINUTE * 5)
