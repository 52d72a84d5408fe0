"""One session with Salesforce: what is sent through it is limited, counted and judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakMethod

import requests

from attribution.errors import RefusedError
from attribution.sync.answers import BoundedAdapter
from attribution.sync.budget import Gate
from attribution.sync.failures import Failure, Kind, classify, http_date, usage_of

__all__ = ["Account", "Grant", "Session"]

_TIMEOUTS: Final = (10.0, 180.0)  # seconds to connect and to wait for bytes; a query may run two minutes

_LONGEST: Final = 600.0
"""Seconds until an answer has to be there as a whole."""
_STEP: Final = timedelta(minutes=5)
"""A clock that jumps by more than this between two answers is wrong in one of them; less than the overlap."""
_NEAR: Final = timedelta(hours=1)
"""Two answers that are no farther apart agree with each other that it has jumped."""


class ServerClock:
    """What the time is for the server, by the word of more than one of its answers.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> server, noon = ServerClock(clock=lambda: 0.0), datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> for hour in (12, 15, 12):
    ...     server.look(noon.replace(hour=hour))
    >>> server.time == noon
    True
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.time: datetime | None = None
        """As told by the latest answer that is believed."""
        self._clock = clock
        self._looked_at = 0.0
        self._odd: datetime | None = None

    def look(self, told: datetime | None) -> None:
        """Believe a Date near what it should be by now; another, once a second answer says about the same."""
        if told is None:
            return
        now = self._clock()
        due = None if self.time is None else self.time + timedelta(seconds=now - self._looked_at)
        if (
            due is None
            or abs(told - due) <= _STEP
            or (self._odd is not None and abs(told - self._odd) <= _NEAR)
        ):
            self.time, self._looked_at, self._odd = told, now, None
        else:
            self._odd = told


@dataclass(frozen=True, slots=True)
class Grant:
    """A session: where the organization lives and the token to show there."""

    host: str
    token: str

    def __repr__(self) -> str:
        return f"Grant({self.host})"


class Account:
    """What the sessions of all threads share: who is signed in, what was sent, and what may be."""

    def __init__(self) -> None:
        self.gate: Gate | None = None
        self.sent = 0
        self.usage: tuple[int, int] | None = None
        self._counted_in_usage = 0
        self._under_way: set[int] = set()
        self.grant: Grant | None = None
        self.denied: RefusedError | None = None
        self.tokens: tuple[str, ...] = ()
        """Of every grant so far: none of them may be told."""
        self.counting = Lock()
        self.signing_in = Lock()

    def check(self, *, wait: float = 0.0) -> None:
        """Pass if the budget allows another request, or a wait."""
        if self.gate is not None:
            self.gate.check(self.sent, self._used(), wait)

    def check_time(self) -> None:
        """Pass if what is under way may go on."""
        if self.gate is not None:
            self.gate.check_time()

    def left(self) -> int | None:
        """Requests that the budget still allows; None where nothing limits them."""
        return None if self.gate is None else self.gate.left(self.sent, self._used())

    def _used(self) -> tuple[int, int] | None:
        # an answer knows nothing of what was sent after its request
        return self.usage and (self.usage[0] + self.sent - self._counted_in_usage, self.usage[1])

    @contextmanager
    def counted(self) -> Iterator[Callable[[Mapping[str, str]], None]]:
        """Count a request, if the budget allows it; yields what is to be told the headers of its answer."""
        with self.counting:
            self.check()
            self.sent += 1
            number = self.sent
            # the answer need not know of those that are not answered when this one is sent
            counted = number - len(self._under_way)
            self._under_way.add(number)

        def learn(headers: Mapping[str, str]) -> None:
            usage = usage_of(headers)
            with self.counting:
                if usage is not None and counted >= self._counted_in_usage:
                    self.usage, self._counted_in_usage = usage, counted

        try:
            yield learn
        finally:
            with self.counting:
                self._under_way.discard(number)


class Session(requests.Session):
    """A session that waits only so long, refuses plain http, counts requests and reads every header."""

    def __init__(self, ca_bundle: str | None, account: Account, clock: Callable[[], float]) -> None:
        super().__init__()
        self.account = account
        self._clock = clock
        self._until = math.inf
        self.sent = 0
        self.ca_bundle = ca_bundle
        self.server = ServerClock(clock)
        del self.adapters["http://"]
        # weak, since the sockets of a session that nobody has any more would stay open until a collection
        check = WeakMethod(self._check_time)
        self.mount("https://", BoundedAdapter(lambda: (check() or _pass)()))
        # an explicit auth keeps requests from putting a .netrc entry in the place of the token
        self.auth = _keep_headers

    def _check_time(self) -> None:
        self.account.check_time()
        if self._clock() >= self._until:
            raise TimeoutError(f"no whole answer in {_LONGEST:.0f} seconds")

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where an answer leads; not to another host, which might answer anything."""
        target = super().get_redirect_target(resp)
        if target is not None and urlsplit(target).netloc not in ("", urlsplit(resp.url).netloc):
            resp.close()
            raise Failure(Kind.REFUSED, "redirect", "to another host: see SALESFORCE_INSTANCE_URL")
        return target

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send one request, if the budget allows it; raise :class:`Failure` unless it succeeds."""
        options["timeout"] = options.get("timeout") or _TIMEOUTS
        if self.ca_bundle is not None:
            # set here, because requests lets REQUESTS_CA_BUNDLE override the session's own
            options["verify"] = self.ca_bundle
        # here, so that logins, retries and redirects count like everything else
        with self.account.counted() as learn:
            self.sent += 1
            self._until = self._clock() + _LONGEST
            response = super().send(request, **options)
            learn(response.headers)
        if not response.is_redirect:
            # judged here, so that the answers to a login are judged like all others
            with_body = not 200 <= response.status_code < 300  # a success may be a file, still to be streamed
            failure = classify(
                response.status_code,
                response.headers,
                response.content if with_body else b"",
                self.server.time,
            )
            if failure is not None:
                raise failure
            # any box on the way can answer with an error, and has a clock of its own
            self.server.look(http_date(response.headers.get("Date")))
        return response


def _pass() -> None:
    return


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
