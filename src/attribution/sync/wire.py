"""Requests to Salesforce that survive what the wire does: one classifier of answers, one retry loop."""

from __future__ import annotations

import copy
import itertools
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from threading import Lock
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import requests
from requests.exceptions import (
    ChunkedEncodingError,
    ContentDecodingError,
    InvalidSchema,
    RequestException,
    SSLError,
    Timeout,
)
from requests.structures import CaseInsensitiveDict
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from urllib3.exceptions import NewConnectionError

from attribution.errors import (
    AttributionError,
    CrmError,
    RefusedError,
    StoppedEarly,
    TransientCrmError,
    UsageError,
)
from attribution.sync.budget import Budget, Gate
from attribution.sync.source import NotShown

__all__ = ["Failure", "Garbled", "Grant", "Kind", "Wire", "classify", "failure_of", "kind_of", "usage_of"]

T = TypeVar("T")

_TIMEOUTS: Final = (10.0, 180.0)  # seconds to connect and to wait for bytes; a query may run two minutes
_ATTEMPTS: Final = 6
_LONGEST_WAIT: Final = 120.0
_TRANSIENT_STATUS: Final = frozenset({406, 408, 420, 429, 500, 502, 503, 504})
_UNCHANGED: Final = 304
"""A success only for whoever asked for what has changed: others find no document in it."""
_FATAL_SESSIONS: Final = ("not valid for use with the REST API", "Connected app is not attached to Agent")
_FAULT: Final = re.compile(rb"<(?:\w+:)?(exceptionCode|exceptionMessage)>([^<]*)<")
_USAGE: Final = re.compile(r"(?<![\w-])api-usage=(\d+)/(\d+)")


class Kind(Enum):
    """What an unsuccessful answer means for the caller."""

    TRANSIENT = "transient"
    UNREACHABLE = "nobody there"
    CONCURRENT = "too many long requests at once"
    LOCK = "record locked"
    EXPIRED = "session expired"
    QUOTA = "daily quota used up"
    LOCATOR = "page of results gone"
    TIMEOUT = "query too slow"
    TOO_MANY = "too many ids for one answer"
    MISSING = "object or field missing"
    NOT_BULK = "not readable in bulk"
    REFUSED = "refused"
    FATAL = "fatal"


_RETRIED: Final = frozenset({Kind.TRANSIENT, Kind.UNREACHABLE, Kind.CONCURRENT, Kind.LOCK})
_BY_CODE: Final[Mapping[str, Kind]] = {
    "INVALID_SESSION_ID": Kind.EXPIRED,
    "InvalidSessionId": Kind.EXPIRED,
    "INVALID_QUERY_LOCATOR": Kind.LOCATOR,
    "QUERY_TIMEOUT": Kind.TIMEOUT,
    "EXCEEDED_ID_LIMIT": Kind.TOO_MANY,
    "INVALID_FIELD": Kind.MISSING,
    "INVALID_TYPE": Kind.MISSING,
    "UNABLE_TO_LOCK_ROW": Kind.LOCK,
    "SERVER_UNAVAILABLE": Kind.TRANSIENT,
    "TXN_SECURITY_METERING_ERROR": Kind.TRANSIENT,
    "LIMIT_EXCEEDED": Kind.QUOTA,
    "INVALIDENTITY": Kind.NOT_BULK,
    "FEATURENOTENABLED": Kind.NOT_BULK,
    "UNSUPPORTED_API_VERSION": Kind.REFUSED,
    "API_DISABLED_FOR_ORG": Kind.REFUSED,
    "INSUFFICIENT_ACCESS": Kind.REFUSED,
    "INVALID_LOGIN": Kind.REFUSED,
    "invalid_grant": Kind.REFUSED,
    "invalid_client": Kind.REFUSED,
    "invalid_client_id": Kind.REFUSED,
}


class Failure(Exception):
    """One unsuccessful answer, before it is decided what becomes of it. Never leaves this package."""

    def __init__(self, kind: Kind, code: str, text: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.kind = kind
        self.code = code
        self.text = text
        self.retry_after = retry_after


class Garbled(Failure):
    """An answer with a good status that cannot be what was asked for: cut, or not Salesforce's."""

    def __init__(self, what: str) -> None:
        super().__init__(Kind.TRANSIENT, "garbled answer", what)


@dataclass(frozen=True, slots=True)
class Grant:
    """A session: where the organization lives and the token to show there."""

    host: str
    token: str

    def __repr__(self) -> str:
        return f"Grant({self.host})"


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Failure | None:
    """Say what an answer means, from its status, headers and raw body; None if it is a success.

    Examples
    --------
    >>> body = b'[{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]'
    >>> classify(403, {}, body).kind
    <Kind.QUOTA: 'daily quota used up'>
    >>> classify(503, {"Retry-After": "7"}, b"<html>").retry_after
    7.0
    """
    if 200 <= status < 300 or status == _UNCHANGED:
        return None
    code, text = _error_in(body)
    kind = _kind(status, code, text)
    label = code or f"HTTP {status}"
    return Failure(kind, label, text, _retry_after(CaseInsensitiveDict(headers)))


def _kind(status: int, code: str, text: str) -> Kind:
    if any(words in text for words in _FATAL_SESSIONS):
        return Kind.REFUSED
    if code == "REQUEST_LIMIT_EXCEEDED":
        return Kind.CONCURRENT if "concurrent" in text.lower() else Kind.QUOTA
    if "No such column" in text:
        # a bulk job tells it under a code of its own
        return Kind.MISSING
    if ("Bulk API" in text and "not supported" in text) or "not supported in Bulk Query" in text:
        return Kind.NOT_BULK
    if "Max bulk v2 query" in text:
        return Kind.QUOTA
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status in _TRANSIENT_STATUS or status >= 500:
        return Kind.TRANSIENT
    if status == 401:
        return Kind.EXPIRED
    if status in (403, 410):
        return Kind.REFUSED
    return Kind.MISSING if status == 404 else Kind.FATAL


def _error_in(body: bytes) -> tuple[str, str]:
    """Salesforce's own code and message: a list, an OAuth object, a Bulk object or a SOAP fault."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        fault = {name: value.decode("utf-8", "replace") for name, value in _FAULT.findall(body)}
        return fault.get(b"exceptionCode", "").rpartition(":")[2], fault.get(b"exceptionMessage", "")
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return "", ""
    code = found.get("errorCode") or found.get("exceptionCode") or found.get("error") or ""
    text = found.get("message") or found.get("exceptionMessage") or found.get("error_description") or ""
    return str(code), " ".join(str(text).split())


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After")
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    until, now = _http_date(value), _http_date(headers.get("Date"))
    return max(0.0, (until - now).total_seconds()) if until and now else None


def _http_date(value: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(value or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def usage_of(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """Calls used and allowed per day, from ``Sforce-Limit-Info`` with or without its per-app part.

    Examples
    --------
    >>> usage_of({"Sforce-Limit-Info": "api-usage=25/5000; per-app-api-usage=17/250(appName=x)"})
    (25, 5000)
    """
    found = _USAGE.search(headers.get("Sforce-Limit-Info", ""))
    return (int(found[1]), int(found[2])) if found else None


def kind_of(error: AttributionError) -> Kind | None:
    """Which unsuccessful answer an error stands for, if it stands for one."""
    failure = failure_of(error)
    return failure.kind if failure is not None else None


def failure_of(error: AttributionError) -> Failure | None:
    """The unsuccessful answer that an error stands for, if it stands for one."""
    return error.__cause__ if isinstance(error.__cause__, Failure) else None


class _Account:
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
            # an answer knows nothing of what was sent after its request
            used = self.usage and (self.usage[0] + self.sent - self._counted_in_usage, self.usage[1])
            self.gate.check(self.sent, used, wait)

    @contextmanager
    def counted(self) -> Iterator[Callable[[Mapping[str, str]], None]]:
        """Count a request, if the budget allows it; yields what is to be told the headers of its answer."""
        with self.counting:
            self.check()
            self.sent += 1
            number = self.sent
            self._under_way.add(number)

        def learn(headers: Mapping[str, str]) -> None:
            usage = usage_of(headers)
            with self.counting:
                # nor need it know of those sent before and not answered yet
                counted = number - sum(each < number for each in self._under_way)
                if usage is not None and counted >= self._counted_in_usage:
                    self.usage, self._counted_in_usage = usage, counted

        try:
            yield learn
        finally:
            with self.counting:
                self._under_way.discard(number)


class _Session(requests.Session):
    """A session that waits only so long, refuses plain http, counts requests and reads every header."""

    def __init__(self, ca_bundle: str | None, account: _Account) -> None:
        super().__init__()
        self.account = account
        self.sent = 0
        self.ca_bundle = ca_bundle
        self.server_time: datetime | None = None
        del self.adapters["http://"]
        # an explicit auth keeps requests from putting a .netrc entry in the place of the token
        self.auth = _keep_headers

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where an answer leads; not to another host, which might answer anything."""
        target = super().get_redirect_target(resp)
        if target is not None and urlsplit(target).netloc not in ("", urlsplit(resp.url).netloc):
            resp.close()
            raise Failure(Kind.REFUSED, "redirect", "to another host: see SALESFORCE_INSTANCE_URL")
        return target

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or _TIMEOUTS
        if self.ca_bundle is not None:
            # set here, because requests lets REQUESTS_CA_BUNDLE override the session's own
            options["verify"] = self.ca_bundle
        # here, so that logins, retries and redirects count like everything else
        with self.account.counted() as learn:
            self.sent += 1
            response = super().send(request, **options)
            learn(response.headers)
        self.server_time = _http_date(response.headers.get("Date")) or self.server_time
        if not response.is_redirect:
            # judged here, so that the answers to a login are judged like all others
            with_body = not 200 <= response.status_code < 300  # a success may be a file, still to be streamed
            failure = classify(response.status_code, response.headers, response.content if with_body else b"")
            if failure is not None:
                raise failure
        return response


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


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
        self._account = _Account()
        self._session = _Session(ca_bundle, self._account)
        self._counted: _Account | _Session = self._account

    def twin(self) -> Wire:
        """A line for another thread: the same login and limits, but it counts its own requests only."""
        twin = copy.copy(self)
        twin._session = twin._counted = _Session(self._session.ca_bundle, self._account)
        twin._session.server_time = self.server_time
        return twin

    @property
    def sent(self) -> int:
        """HTTP requests sent so far, those of twins included."""
        return self._counted.sent

    @property
    def server_time(self) -> datetime | None:
        """Date of the latest answer."""
        return self._session.server_time

    @property
    def usage(self) -> tuple[int, int] | None:
        """Calls used and allowed per day, as told last."""
        return self._account.usage

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
        """Wait, unless a deadline would pass meanwhile."""
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
        request is sent again like any other that failed in a way that passes. ``before_repeating`` is for a
        request that changes something: it is called each time before that is sent again.
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
                    if failure.kind not in _RETRIED | {Kind.QUOTA}:
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
            retry=retry_if_exception(lambda error: isinstance(error, Failure) and error.kind in _RETRIED),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=self._wait,
            sleep=self.sleep,
            reraise=True,
        )
        result: T = retrying(_judged, attempt_again)
        return result

    def _wait(self, state: RetryCallState) -> float:
        """Full jitter, so that many clients do not come back together; at least what the server asks."""
        failure = state.outcome.exception() if state.outcome else None
        asked = failure.retry_after if isinstance(failure, Failure) and failure.retry_after else 0.0
        drawn = self._uniform(0.0, self._base * 2.0**state.attempt_number)
        return min(max(drawn, asked), _LONGEST_WAIT)

    def _error(self, failure: Failure, doing: str) -> AttributionError:
        message = f"Salesforce: {failure} ({doing} at {self._host})"
        for secret in self._secrets + self._account.tokens:
            # anything shorter is no secret, but part of many words
            message = message.replace(secret, "***") if len(secret) >= 8 else message
        kind, hint = _REACTIONS.get(failure.kind, (CrmError, None))
        return kind(message[:500], hint=hint)


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
    except RequestException as error:
        raise Failure(Kind.FATAL, "request", type(error).__name__) from error
    except OSError as error:
        if "CA certificate" not in str(error):
            raise
        raise UsageError(
            "the file of trusted certificates does not exist or cannot be read",
            hint="correct REQUESTS_CA_BUNDLE, or the ca_bundle given",
        ) from error


def read_json(response: requests.Response) -> Any:
    """The document of an answer, with numbers as text."""
    try:
        return json.loads(response.content, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        # brackets in brackets without end exhaust the parser's stack
        raise Garbled("no JSON") from None
