"""Which span is read next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from attribution.sync.session import ServerClock
from attribution.sync.watermark import (
    Window,
    bound_from_clock,
    deletion_span,
    forgotten,
    next_window,
    probe_span,
    unless_to_come,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

ages = st.timedeltas(timedelta(0), timedelta(days=400))


def test_the_first_window_has_no_beginning() -> None:
    assert next_window(None, NOW) == Window(None, NOW)


def test_the_next_one_overlaps_the_last() -> None:
    assert next_window(NOW - MINUTE * 60, NOW) == Window(NOW - MINUTE * 70, NOW)


def test_the_overlap_makes_up_for_a_clock_that_was_ahead_unnoticed() -> None:
    ahead = NOW + MINUTE * 59
    window = next_window(ahead, NOW + MINUTE * 70, by_clock=True)
    assert window is not None
    assert window.since is not None
    assert window.since <= NOW - MINUTE * 10


def test_nothing_is_read_while_the_bound_stands_still() -> None:
    assert next_window(NOW, NOW) is None
    assert next_window(NOW, NOW - MINUTE) is None


def test_the_clock_is_trusted_five_seconds_late() -> None:
    assert bound_from_clock(NOW) == NOW - timedelta(seconds=5)


@given(
    pauses=st.lists(st.floats(0, 7200), min_size=4, max_size=8),
    wrong=st.integers(1, 7),
    off=st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
)
def test_one_wrong_answer_moves_the_clock_by_less_than_windows_overlap(
    pauses: list[float], wrong: int, off: timedelta
) -> None:
    elapsed, before = 0.0, NOW
    server = ServerClock(lambda: elapsed)
    for place, pause in enumerate(pauses):
        elapsed += pause
        now = NOW + timedelta(seconds=elapsed)
        server.look(now + off if place == wrong else now)
        assert server.time is not None
        if place == wrong:
            # what the answer before has said, if this one cannot be
            assert server.time == before or abs(server.time - now) <= MINUTE * 5
        else:
            assert server.time == now
        before = now


@given(st.timedeltas(timedelta(days=-9999), timedelta(days=9999)))
def test_a_wrong_first_answer_is_mended_by_the_two_that_follow(off: timedelta) -> None:
    server = ServerClock(lambda: 0.0)
    for told in (NOW + off, NOW, NOW):
        server.look(told)
    assert server.time == NOW


def test_a_clock_that_was_set_right_is_believed_although_it_runs_on_unevenly() -> None:
    server = ServerClock(lambda: 0.0)
    for minutes in (0, 600, 620, 660):
        server.look(NOW + MINUTE * minutes)
    assert server.time == NOW + MINUTE * 620
    server.look(NOW + MINUTE * 661)
    assert server.time == NOW + MINUTE * 661


@given(st.timedeltas(timedelta(days=-400), timedelta(days=400)))
def test_a_watermark_is_believed_where_the_overlap_makes_up_for_it(age: timedelta) -> None:
    believed = unless_to_come(NOW + age, NOW)
    if believed is None:
        assert age > MINUTE * 10
    else:
        # whatever is edited from now on
        window = next_window(believed, max(believed, NOW) + MINUTE)
        assert window is not None
        assert window.since is not None
        assert window.since <= NOW


@given(ages)
def test_what_is_forgotten_is_a_gap_from_now_on(age: timedelta) -> None:
    assert deletion_span(forgotten(NOW), NOW + age).has_gap


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
