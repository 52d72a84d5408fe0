"""What an answer of Salesforce means, judged from its status, headers and body alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Final

import requests
from requests.structures import CaseInsensitiveDict

from attribution.errors import AttributionError

__all__ = [
    "RETRIED",
    "Failure",
    "Garbled",
    "Kind",
    "Number",
    "classify",
    "failure_of",
    "http_date",
    "kind_of",
    "read_json",
    "usage_of",
]

_TRANSIENT_STATUS: Final = frozenset({406, 408, 420, 429, 500, 502, 503, 504})
_UNCHANGED: Final = 304
"""A success only for whoever asked for what has changed: others find no document in it."""
_FATAL_SESSIONS: Final = ("not valid for use with the REST API", "Connected app is not attached to Agent")
_BULK_LIMITS: Final = ("Max bulk v2 query", "result size stored")
_FAULT: Final = re.compile(rb"<(?:\w+:)?(exceptionCode|exceptionMessage)>([^<]*)<")
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")
_USAGE: Final = re.compile(r"(?<![\w-])api-usage=([0-9]{1,12})/([0-9]{1,12})(?![0-9])")


class Kind(Enum):
    """What an unsuccessful answer means for the caller."""

    TRANSIENT = "transient"
    UNREACHABLE = "nobody there"
    CONCURRENT = "too many long requests at once"
    LOCK = "record locked"
    EXPIRED = "session expired"
    QUOTA = "daily quota used up"
    BULK_QUOTA = "daily quota of bulk jobs used up"
    LOCATOR = "page of results gone"
    TIMEOUT = "query too slow"
    TOO_MANY = "too many ids for one answer"
    MISSING = "object or field missing"
    NOT_BULK = "not readable in bulk"
    REFUSED = "refused"
    FATAL = "fatal"


RETRIED: Final = frozenset({Kind.TRANSIENT, Kind.UNREACHABLE, Kind.CONCURRENT, Kind.LOCK})
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
    "LIMIT_EXCEEDED": Kind.BULK_QUOTA,
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
        self.retry_after = retry_after


class Garbled(Failure):
    """An answer with a good status that cannot be what was asked for: cut, or not Salesforce's."""

    def __init__(self, what: str) -> None:
        super().__init__(Kind.TRANSIENT, "garbled answer", what)


def classify(
    status: int, headers: Mapping[str, str], body: bytes, now: datetime | None = None
) -> Failure | None:
    """Say what an answer means, from its status, headers and raw body; None if it is a success.

    Parameters
    ----------
    now
        The server's clock, where the answer itself carries no Date.

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
    return Failure(kind, label, text, _retry_after(CaseInsensitiveDict(headers), now))


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
    if any(words in text for words in _BULK_LIMITS):
        return Kind.BULK_QUOTA
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


def _retry_after(headers: Mapping[str, str], clock: datetime | None) -> float | None:
    """Seconds after which to come back, told as such or as an instant."""
    value = headers.get("Retry-After", "")
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    until, now = http_date(value), http_date(headers.get("Date")) or clock
    return max(0.0, (until - now).total_seconds()) if until and now else None


def http_date(value: str | None) -> datetime | None:
    """An instant as a header spells it; None if it is none."""
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


class Number(str):
    """A number as JSON spells it, so that no digit is lost."""

    __slots__ = ()


def read_json(response: requests.Response) -> Any:
    """The document of an answer, with every number as a :class:`Number`."""
    try:
        return json.loads(response.content, parse_float=Number, parse_int=Number, parse_constant=Number)
    except (ValueError, RecursionError):
        # brackets in brackets without end exhaust the parser's stack
        raise Garbled("no JSON") from None
