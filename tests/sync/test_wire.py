"""What an answer means."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from attribution.errors import StoppedEarly
from attribution.sync.budget import Budget
from attribution.sync.failures import Garbled, Kind, classify, read_json, usage_of
from attribution.sync.session import Grant
from attribution.sync.wire import Wire


def rest(code: str, message: str = "") -> bytes:
    return json.dumps([{"message": message, "errorCode": code}]).encode()


SOAP_FAULT = b"""<?xml version="1.0"?><soapenv:Envelope><soapenv:Body><soapenv:Fault>
<faultcode>sf:INVALID_LOGIN</faultcode><detail><sf:LoginFault><sf:exceptionCode>INVALID_LOGIN</sf:exceptionCode>
<sf:exceptionMessage>Invalid username, password, security token; or user locked out.</sf:exceptionMessage>
</sf:LoginFault></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>"""


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, rest("INVALID_SESSION_ID", "Session expired or invalid"), Kind.EXPIRED),
        (401, b"<html>", Kind.EXPIRED),
        (401, b'{"message": "?", "errorCode": "INVALID_SESSION_ID"}', Kind.EXPIRED),
        (
            401,
            rest("INVALID_SESSION_ID", "This session is not valid for use with the REST API"),
            Kind.REFUSED,
        ),
        (401, rest("INVALID_SESSION_ID", "Connected app is not attached to Agent"), Kind.REFUSED),
        (
            400,
            b'{"exceptionCode": "InvalidSessionId", "exceptionMessage": "Invalid session id"}',
            Kind.EXPIRED,
        ),
        (403, rest("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), Kind.QUOTA),
        (403, rest("REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded."), Kind.CONCURRENT),
        (400, rest("LIMIT_EXCEEDED", "Max bulk v2 query jobs (10000) per 24 hrs"), Kind.BULK_QUOTA),
        (400, rest("X", "Max bulk v2 query result size stored (1000000000) kb per 24 hrs"), Kind.BULK_QUOTA),
        (400, rest("API_ERROR", "Selecting compound data not supported in Bulk Query"), Kind.NOT_BULK),
        (400, rest("INVALIDENTITY", "PartnerRole is not supported by the Bulk API"), Kind.NOT_BULK),
        (400, rest("INVALID_FIELD", "No such column"), Kind.MISSING),
        (400, rest("INVALID_TYPE", "not supported"), Kind.MISSING),
        (404, rest("NOT_FOUND", "The requested resource does not exist"), Kind.MISSING),
        (400, rest("QUERY_TIMEOUT", "running for too long"), Kind.TIMEOUT),
        (400, rest("INVALID_QUERY_LOCATOR", "invalid query locator"), Kind.LOCATOR),
        (400, rest("UNABLE_TO_LOCK_ROW"), Kind.LOCK),
        (403, rest("TXN_SECURITY_METERING_ERROR"), Kind.TRANSIENT),
        (500, rest("UNSUPPORTED_API_VERSION"), Kind.REFUSED),
        (410, b"", Kind.REFUSED),
        (403, b"<html>", Kind.REFUSED),
        (400, b'{"error": "invalid_grant", "error_description": "authentication failure"}', Kind.REFUSED),
        (500, SOAP_FAULT, Kind.REFUSED),
        (420, b"We are setting things up.", Kind.TRANSIENT),
        (406, b"", Kind.TRANSIENT),
        (429, b"", Kind.TRANSIENT),
        (500, b"<html>", Kind.TRANSIENT),
        (502, b"[]", Kind.TRANSIENT),
        (503, b"", Kind.TRANSIENT),
        (504, b'"x"', Kind.TRANSIENT),
        (503, b"[" * 100_000, Kind.TRANSIENT),
        (300, b'["/services/data/v23.0/sobjects/Whizbang/foo"]', Kind.FATAL),
        (400, rest("MALFORMED_QUERY"), Kind.FATAL),
        (414, b"", Kind.FATAL),
    ],
)
def test_every_unsuccessful_answer_has_a_kind(status: int, body: bytes, kind: Kind) -> None:
    failure = classify(status, {}, body)
    assert failure is not None
    assert failure.kind is kind


def test_a_success_is_no_failure() -> None:
    assert classify(200, {}, b"") is None
    assert classify(204, {}, b"") is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "\N{SUPERSCRIPT TWO}"}, None),
        ({"Retry-After": "Mon, 01 Jun 2026 12:00:30 GMT", "Date": "Mon, 01 Jun 2026 12:00:00 GMT"}, 30.0),
        ({"Retry-After": "Mon, 01 Jun 2026 12:00:30 GMT", "Date": "Mon, 01 Jun 2026 12:01:00 GMT"}, 0.0),
        ({"Retry-After": "Mon, 01 Jun 2026 12:00:30 GMT"}, 50.0),
        ({"Retry-After": "3600.5"}, 3600.5),
        ({"Retry-After": "-7"}, None),
    ],
)
def test_how_long_the_server_asks_to_wait(headers: Mapping[str, str], seconds: float | None) -> None:
    clock = datetime(2026, 6, 1, 11, 59, 40, tzinfo=UTC)
    failure = classify(503, headers, b"", clock)
    assert failure is not None
    assert failure.retry_after == seconds


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"done": tr', b"[" * 100_000])
def test_what_is_no_json_is_garbled(body: bytes) -> None:
    response = requests.Response()
    response.raw = io.BytesIO(body)
    with pytest.raises(Garbled):
        read_json(response)


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        ("api-usage=148/15000", (148, 15000)),
        ("api-usage=25/5000; per-app-api-usage=17/250(appName=sample-connected-app)", (25, 5000)),
        ("per-app-api-usage=17/250(appName=x); api-usage=25/5000", (25, 5000)),
        ("per-app-api-usage=17/250(appName=x)", None),
        ("", None),
    ],
)
def test_both_forms_of_the_usage_header(value: str, usage: tuple[int, int] | None) -> None:
    assert usage_of({"Sforce-Limit-Info": value}) == usage


def test_a_session_does_not_show_its_token() -> None:
    assert repr(Grant("acme.my.salesforce.com", "00Dxx!secret")) == "Grant(acme.my.salesforce.com)"


def wire(logins: list[str], **options: Any) -> Wire:
    def login(session: requests.Session) -> Grant:
        logins.append("login")
        return Grant("acme.my.salesforce.com", f"token {len(logins)}")

    return Wire("acme", login, secrets=(), can_renew=True, retry_base_seconds=0, **options)


def test_of_several_threads_whose_session_has_expired_one_signs_in_again() -> None:
    logins: list[str] = []
    line = wire(logins)
    twins = [line.twin() for _ in range(4)]
    expired = line._granted(None)
    with ThreadPoolExecutor(4) as pool:
        renewed = set(pool.map(lambda twin: twin._granted(expired), twins))
    assert {grant.token for grant in renewed} == {"token 2"}
    assert len(logins) == 2


def test_a_start_is_put_off_by_a_part_of_the_jitter_within_the_deadline() -> None:
    waits: list[float] = []
    line = wire([], sleep=waits.append, uniform=lambda low, high: (low + high) / 2, clock=lambda: 0.0)
    with line.limited(Budget(jitter_seconds=30)):
        assert sum(waits) == 15
    with (
        pytest.raises(StoppedEarly, match="deadline of 10 seconds"),
        line.limited(Budget(jitter_seconds=30, deadline_seconds=10)),
    ):
        pass
    assert sum(waits) == 15


def test_whoever_waits_long_is_stopped_soon() -> None:
    waits: list[float] = []

    def nap(seconds: float) -> None:
        waits.append(seconds)
        line.stop(StoppedEarly("enough"))

    line = wire([], sleep=nap)
    with line.limited(Budget()), pytest.raises(StoppedEarly, match="enough"):
        line.sleep(600)
    assert sum(waits) <= 10


def test_once_stopped_nothing_is_sent_on_any_line() -> None:
    line = wire([])
    twin = line.twin()
    with line.limited(Budget()):
        twin.stop(StoppedEarly("enough"))
        for each in (line, twin):
            with pytest.raises(StoppedEarly, match="enough"):
                each.get_json("/services/data")
        assert line.sent == twin.sent == 0
