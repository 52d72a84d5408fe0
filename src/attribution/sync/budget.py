"""What one sync may spend of the organization's quota and of time, and the gate that keeps it to that."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from attribution.errors import StoppedEarly, UsageError

__all__ = ["Budget", "Gate"]


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one sync; None is no limit.

    Raises
    ------
    UsageError
        If a limit leaves nothing to spend.

    Examples
    --------
    >>> Budget(max_api_calls=500).max_quota_percent
    80.0
    """

    max_api_calls: int | None = None
    """HTTP requests, retries and logins included."""
    max_quota_percent: float | None = 80.0
    """Part of the organization's daily API calls, whoever made them, beyond which nothing more is sent."""
    deadline_seconds: float | None = None
    """The jitter included."""
    jitter_seconds: float = 0.0
    """The first request waits a random part of this, so that many jobs do not begin at one instant."""

    def __post_init__(self) -> None:
        if self.max_api_calls is not None and self.max_api_calls < 1:
            raise UsageError(f"max_api_calls is {self.max_api_calls}", hint="allow at least one call")
        percent = self.max_quota_percent
        if percent is not None and not 0 < percent <= 100:
            raise UsageError(f"max_quota_percent is {percent:g}", hint="it lies above 0 and up to 100")
        seconds = self.deadline_seconds
        if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
            raise UsageError(f"the deadline is {seconds:g} seconds", hint="give more than none")
        if not 0 <= self.jitter_seconds < math.inf:
            raise UsageError(f"the jitter is {self.jitter_seconds:g} seconds", hint="give 0 or more")


class Gate:
    """Lets requests and waits pass as long as a budget allows them.

    Examples
    --------
    >>> gate = Gate(Budget(max_api_calls=1), clock=lambda: 0.0)
    >>> gate.check(sent=0, usage=None)
    >>> gate.check(sent=1, usage=None)
    Traceback (most recent call last):
    attribution.errors.StoppedEarly: all 1 API calls allowed to this sync are made
    """

    def __init__(self, budget: Budget, clock: Callable[[], float], sent_before: int = 0) -> None:
        self._budget = budget
        self._clock = clock
        self._sent_before = sent_before
        seconds = budget.deadline_seconds
        self._until = None if seconds is None else clock() + seconds
        self._closed: StoppedEarly | None = None

    def close(self, reason: StoppedEarly) -> None:
        """Let nothing pass any more."""
        self._closed = self._closed or reason

    def check(self, sent: int, usage: tuple[int, int] | None, wait: float = 0.0) -> None:
        """Pass, or say which limit is reached.

        Parameters
        ----------
        sent
            Requests sent so far.
        usage
            Calls used and allowed per day, as the organization told last.
        wait
            Seconds that are to be waited.

        Raises
        ------
        StoppedEarly
            If one more request, or the wait, would exceed the budget.
        """
        self.check_time(wait)
        most, percent = self._budget.max_api_calls, self._budget.max_quota_percent
        if most is not None and sent - self._sent_before >= most:
            raise StoppedEarly(
                f"all {most} API calls allowed to this sync are made", hint="run it again to go on"
            )
        if percent is not None and usage is not None and usage[0] * 100 >= usage[1] * percent:
            raise StoppedEarly(
                f"the organization has used {usage[0]:,} of its {usage[1]:,} API calls of 24 hours; "
                f"this sync leaves the rest beyond {percent:g} % to others",
                hint="run it again later to go on, or allow more with --max-quota-percent",
            )

    def check_time(self, wait: float = 0.0) -> None:
        """Pass if it is not too late; an answer that is still coming must not outlive the sync, either.

        Raises
        ------
        StoppedEarly
            If the deadline is over, or would be after ``wait`` seconds, or the gate is closed.
        """
        if self._closed is not None:
            raise StoppedEarly(self._closed.message, hint=self._closed.hint)
        if self._until is not None and self._clock() + wait >= self._until:
            raise StoppedEarly(
                f"the deadline of {self._budget.deadline_seconds:g} seconds is reached",
                hint="run it again to go on",
            )

    def left(self, sent: int, usage: tuple[int, int] | None) -> int | None:
        """How many more requests the budget allows; None where nothing limits them.

        Examples
        --------
        >>> Gate(Budget(max_api_calls=50), clock=lambda: 0.0).left(sent=8, usage=(780, 1000))
        20
        """
        most, percent = self._budget.max_api_calls, self._budget.max_quota_percent
        limits = [] if most is None else [most - (sent - self._sent_before)]
        if percent is not None and usage is not None:
            limits.append(math.ceil(usage[1] * percent / 100) - usage[0])
        return max(0, min(limits)) if limits else None
