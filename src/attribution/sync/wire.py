"""Requests to Salesforce that survive what the wire does: one retry loop, and errors without secrets."""

from __future__ import annotations

import copy
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

import requests
from requests.exceptions import (
    ChunkedEncodingError,
    ContentDecodingError,
    InvalidSchema,
    InvalidURL,
    RequestException,
    SSLError,
    Timeout,
)
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from urllib3.exceptions import HTTPError, NewConnectionError

from attribution.errors import (
    AttributionError,
    CrmError,
    RefusedError,
    StoppedEarly,
    TransientCrmError,
    UsageError,
)
from attribution.sync.budget import Budget, Gate
from attribution.sync.failures import RETRIED, Failure, Garbled, Kind, read_json
from attribution.sync.secrets import blotted, repeats
from attribution.sync.session import Account, Grant, Session
from attribution.sync.source import NotShown

__all__ = ["Wire"]

T = TypeVar("T")

_LOG: Final = logging.getLogger("attribution.sync")
_KEPT_HEADERS: Final = ("Last-Modified", "Sforce-Locator")
"""What is written down of an answer beside its body."""
_ATTEMPTS: Final = 6
_NAP: Final = 5.0
"""So long at most nobody looks whether to stop."""
_LONGEST_WAIT: Final = 120.0
_PATIENCE: Final = 600.0
"""Seconds that are waited at most where Salesforce says how long to wait; never less than it says."""


class Wire:
    """An authenticated line to one organization: requests are counted, judged, and repeated if that helps.

    Parameters
    ----------
    host
        Whom to name in an error.
    login
        Obtains a session; called before the first request and, once per request, when it has expired.
    secrets
        Values that must never appear in an error.
    can_renew
        Whether calling ``login`` again can give another session.
    retry_base_seconds
        Upper limit of the first wait; doubles with every further one.
    ca_bundle
        File of the authorities to trust; None: what the environment says.
    sleep, uniform, clock
        How to wait, to draw and to tell seconds, so that a test does none of it.
    """

    def __init__(
        self,
        host: str,
        login: Callable[[requests.Session], Grant],
        *,
        secrets: tuple[str, ...],
        can_renew: bool,
        retry_base_seconds: float,
        ca_bundle: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._login = login
        self._secrets = secrets
        self._can_renew = can_renew
        self._base = retry_base_seconds
        self._uniform = uniform
        self._sleep = sleep
        self._clock = clock
        self._account = Account()
        self._session = Session(ca_bundle, self._account, clock)
        self._counted: Account | Session = self._account

    def twin(self) -> Wire:
        """A line for another thread: the same login and limits, but it counts its own requests only."""
        twin = copy.copy(self)
        twin._session = twin._counted = Session(self._session.ca_bundle, self._account, self._clock)
        twin._session.server = copy.copy(self._session.server)
        return twin

    @property
    def sent(self) -> int:
        """HTTP requests sent so far, those of twins included."""
        return self._counted.sent

    @property
    def server_time(self) -> datetime | None:
        """Date of the latest answer."""
        return self._session.server.time

    @property
    def usage(self) -> tuple[int, int] | None:
        """Calls used and allowed per day, as told last."""
        return self._account.usage

    @property
    def calls_left(self) -> int | None:
        """Requests that may still be sent; None where nothing limits them."""
        return self._account.left()

    @contextmanager
    def limited(self, budget: Budget) -> Iterator[None]:
        """Within, send and wait no more than a budget allows: what would exceed it raises StoppedEarly."""
        account = self._account
        before, account.gate = account.gate, Gate(budget, self._clock, account.sent)
        try:
            if budget.jitter_seconds:
                self.sleep(self._uniform(0.0, budget.jitter_seconds))
            yield
        finally:
            account.gate = before

    def stop(self, reason: StoppedEarly) -> None:
        """Send nothing more within these limits, on this line or a twin of it."""
        if self._account.gate is not None:
            self._account.gate.close(reason)

    def sleep(self, seconds: float) -> None:
        """Wait, unless a deadline would pass meanwhile; not much longer once it is told to stop."""
        self._account.check(wait=seconds)
        while seconds > _NAP:
            self._sleep(_NAP)
            seconds -= _NAP
            self._account.check(wait=seconds)
        self._sleep(seconds)

    def call(
        self,
        method: str,
        path: str,
        accept: Callable[[requests.Response], T],
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        before_repeating: Callable[[], None] | None = None,
    ) -> T:
        """Send a request until its answer is acceptable.

        ``accept`` turns a successful answer into a result, or raises :class:`Garbled`, upon which the
        request is sent again like any other that failed in a way that passes. Where it is to ``stream`` the
        body, it has to :meth:`check_echo` by itself. ``before_repeating`` is for a request that changes
        something: it is called each time before that is sent again.
        """
        doing = f"{method} {path.partition('?')[0]}"
        expired: Grant | None = None
        while True:
            grant = self._granted(expired)

            def attempt(grant: Grant = grant) -> T:
                response = self._session.request(
                    method,
                    f"https://{grant.host}{path}",
                    params=params,
                    json=body,
                    headers={"Authorization": f"Bearer {grant.token}", "Accept": "*/*", **(headers or {})},
                    stream=stream,
                )
                with response:
                    self.check_echo(
                        " ".join(response.headers.get(each, "") for each in _KEPT_HEADERS).encode()
                    )
                    if not stream:
                        self.check_echo(response.content)
                    return accept(response)

            try:
                return self._retried(attempt, before_repeating)
            except Failure as failure:
                if failure.kind is Kind.EXPIRED and self._can_renew and expired is None:
                    expired = grant
                    continue
                raise self._error(failure, doing) from failure

    def get_json(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Get a document; numbers come as text, so that none of them loses a digit."""
        return self.call("GET", path, read_json, params=params)

    def _granted(self, expired: Grant | None) -> Grant:
        """Who is signed in; in the place of one that has expired, signed in anew by whoever sees it first."""
        account = self._account
        with account.signing_in:
            if account.denied is not None:
                # a rejected login is never repeated: that would lock the user out
                raise account.denied
            if account.grant is None or account.grant is expired:
                account.grant = None
                try:
                    account.grant = self._retried(lambda: self._login(self._session))
                except Failure as failure:
                    if failure.kind not in RETRIED | {Kind.QUOTA, Kind.BULK_QUOTA}:
                        failure.kind = Kind.REFUSED
                    error = self._error(failure, "logging in")
                    account.denied = error if isinstance(error, RefusedError) else None
                    raise error from failure
                account.tokens = (*account.tokens, account.grant.token)
            return account.grant

    def _retried(self, attempt: Callable[[], T], before_repeating: Callable[[], None] | None = None) -> T:
        attempts = itertools.count()

        def attempt_again() -> T:
            if next(attempts) and before_repeating is not None:
                before_repeating()
            return attempt()

        retrying = Retrying(
            retry=retry_if_exception(_passes),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=self._wait,
            sleep=self.sleep,
            before_sleep=self._tell,
            reraise=True,
        )
        result: T = retrying(_judged, attempt_again)
        return result

    def _wait(self, state: RetryCallState) -> float:
        """Full jitter, so that many clients do not come back together; at least what the server asks."""
        drawn = self._uniform(0.0, self._base * 2.0**state.attempt_number)
        failure = state.outcome.exception() if state.outcome else None
        asked = failure.retry_after if isinstance(failure, Failure) else None
        return max(min(drawn, _LONGEST_WAIT), asked or 0.0)

    def _tell(self, state: RetryCallState) -> None:
        """Say what is waited for: a warning where somebody may begin to wonder."""
        failure = state.outcome.exception() if state.outcome else None
        seconds = state.upcoming_sleep
        level = logging.WARNING if seconds > _NAP else logging.INFO
        told = self.without_secrets(" ".join(str(failure).split()))[:200]
        attempt = state.attempt_number + 1
        _LOG.log(
            level, "Salesforce: %s; again in %.0f s (attempt %d of %d)", told, seconds, attempt, _ATTEMPTS
        )

    def _error(self, failure: Failure, doing: str) -> AttributionError:
        # an answer may repeat what it was asked with; --debug shows the failure as well
        failure.args = (self.without_secrets(str(failure)),)
        host = self._host if self._account.grant is None else self._account.grant.host
        message = f"Salesforce: {failure} ({doing} at {host})"
        if failure.kind in RETRIED and not _passes(failure):
            message = f"Salesforce: not to be asked for {failure.retry_after:.0f} seconds: {message[12:]}"
        kind, hint = _REACTIONS.get(failure.kind, (CrmError, _ODD))
        return kind(self.without_secrets(message)[:500], hint=hint)

    def without_secrets(self, text: str) -> str:
        """What an answer says, with no secret in it that it may repeat."""
        return blotted(text, self._secrets + self._account.tokens)

    def check_echo(self, told: bytes) -> None:
        """Refuse an answer from which a token might get into the store: what is asked for holds none."""
        if repeats(told, self._account.tokens):
            raise Garbled("it repeats a credential")


_ODD: Final = "Salesforce seldom answers so: see SALESFORCE_INSTANCE_URL and SALESFORCE_API_VERSION"


def _passes(error: BaseException) -> bool:
    """Whether to send the request again, which is never done earlier than the server asks."""
    return isinstance(error, Failure) and error.kind in RETRIED and (error.retry_after or 0.0) <= _PATIENCE


_REACTIONS: Final[Mapping[Kind, tuple[type[AttributionError], str]]] = {
    Kind.TRANSIENT: (TransientCrmError, "it was tried several times: run the sync again later"),
    Kind.UNREACHABLE: (
        TransientCrmError,
        "see whether SALESFORCE_INSTANCE_URL, or SALESFORCE_DOMAIN, names your org, and the network is up",
    ),
    Kind.CONCURRENT: (TransientCrmError, "the organization is busy: run the sync again later"),
    Kind.LOCK: (TransientCrmError, "a record is locked: run the sync again later"),
    Kind.LOCATOR: (TransientCrmError, "run the sync again"),
    Kind.TIMEOUT: (TransientCrmError, "the query takes Salesforce too long: run the sync again later"),
    Kind.EXPIRED: (RefusedError, "the session has ended: get a new access token, or use a login that renews"),
    Kind.QUOTA: (StoppedEarly, "the quota of 24 hours is used up: run the sync again later to resume"),
    Kind.BULK_QUOTA: (
        StoppedEarly,
        "the quota of bulk jobs of 24 hours is used up: run the sync again later to resume",
    ),
    Kind.MISSING: (NotShown, "see whether the connected user may read the object and the field"),
    Kind.REFUSED: (RefusedError, "see an administrator: credentials, permissions or API version"),
}


def _judged(attempt: Callable[[], T]) -> T:
    """Turn what requests raises into failures of a kind."""
    try:
        return attempt()
    except SSLError as error:
        if "CERTIFICATE" not in str(error).upper():
            raise Failure(Kind.TRANSIENT, "no complete answer", "TLS") from error
        raise Failure(
            Kind.REFUSED, "TLS", "the certificate is not trusted; REQUESTS_CA_BUNDLE may name the authority's"
        ) from error
    except requests.ConnectionError as error:
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        if isinstance(reason, NewConnectionError):
            raise Failure(Kind.UNREACHABLE, "no connection", type(reason).__name__) from error
        raise Failure(Kind.TRANSIENT, "no complete answer", type(error).__name__) from error
    except (Timeout, ChunkedEncodingError, ContentDecodingError) as error:
        raise Failure(Kind.TRANSIENT, "no complete answer", type(error).__name__) from error
    except InvalidSchema as error:
        raise Failure(Kind.REFUSED, "plain http", "only https is spoken here") from error
    except InvalidURL as error:
        raise Failure(Kind.REFUSED, "address", "Salesforce cannot be there") from error
    except RequestException as error:
        raise Failure(Kind.FATAL, "request", type(error).__name__) from error
    except (HTTPError, ValueError, OverflowError) as error:
        # headers and bodies that no library expects
        raise Failure(Kind.TRANSIENT, "no complete answer", type(error).__name__) from error
    except OSError as error:
        if "CA certificate" not in str(error):
            raise
        raise UsageError(
            "the file of trusted certificates does not exist or cannot be read",
            hint="correct REQUESTS_CA_BUNDLE, or the ca_bundle given",
        ) from error
