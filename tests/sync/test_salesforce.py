"""Salesforce over the real wire, with everything the wire can do to an answer."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from attribution.errors import CrmError, RefusedError, StoppedEarly, TransientCrmError, UsageError
from attribution.sync.budget import Budget
from attribution.sync.descriptions import FieldDescription, ObjectDescription
from attribution.sync.intake import Intake
from attribution.sync.salesforce import Salesforce
from attribution.sync.source import Changes, Query
from attribution.sync.watermark import Window
from attribution.testing import Org

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
WHOLE = Window(None, NOON + timedelta(hours=1))


@pytest.fixture
def org(monkeypatch: pytest.MonkeyPatch) -> Iterator[Org]:
    for name in ("INSTANCE_URL", "ACCESS_TOKEN", "CLIENT_ID", "CLIENT_SECRET", "DOMAIN", "LOGIN_URL"):
        monkeypatch.delenv(f"SALESFORCE_{name}", raising=False)
    with Org(now=NOON) as org:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", org.ca_bundle)
        yield org
    org.close()


ACCOUNT = ObjectDescription(
    "Account",
    {
        name: FieldDescription(name, kind)
        for name, kind in (("Id", "id"), ("Name", "string"), ("SystemModstamp", "datetime"))
    },
    is_replicateable=True,
)


def connect(org: Org, waits: list[float] | None = None, **options: Any) -> Salesforce:
    waits = [] if waits is None else waits
    login = {"access_token": org.token} if "client_id" not in options else {}
    where = {"instance_url": org.url} if login else {"login_url": org.url}
    return Salesforce(**where, **login, retry_base_seconds=0, sleep=waits.append, **options)


def names(salesforce: Salesforce, folder: Path, window: Window = WHOLE) -> list[str]:
    taken = intake(folder, salesforce, "Id", "Name", "SystemModstamp")
    query = Query(ACCOUNT, ("Id", "Name", "SystemModstamp"), window, "SystemModstamp")
    salesforce.read(query, taken, lambda rows, total: None)
    found = sorted(taken.pages.scan().collect()["Name"])
    assert taken.read == len(set(found))
    # as after a commit
    shutil.rmtree(folder / "pages", ignore_errors=True)
    return found


def intake(folder: Path, salesforce: Salesforce, *fields: str) -> Intake:
    return Intake(folder / "pages", ACCOUNT, fields, {}, lambda: salesforce.server_time)


def load(org: Org, count: int) -> list[str]:
    org.load({"Account": [{"Name": f"{n:05}"} for n in range(count)]})
    org.advance(timedelta(minutes=30))
    return [f"{n:05}" for n in range(count)]


FAULTS: dict[str, Callable[[Org, str], None]] = {
    "503": lambda org, path: org.faults.unavailable(path, times=2),
    "html": lambda org, path: org.faults.html(path, times=2),
    "429": lambda org, path: org.faults.too_many_requests(path, retry_after=9),
    "reset": lambda org, path: org.faults.reset(path, times=2),
    "cut": lambda org, path: org.faults.truncated(path, keep=60, times=2),
    "empty": lambda org, path: org.faults.add(path, status=200, body=b""),
    "other document": lambda org, path: org.faults.add(path, status=200, body={"hello": "world"}),
    "list": lambda org, path: org.faults.add(path, status=200, body=[1, 2]),
    "420": lambda org, path: org.faults.html(path, status=420),
    "406": lambda org, path: org.faults.add(path, status=406),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", ["/queryAll$", "/queryAll/", "/query/"])
def test_reading_by_rest_survives_what_passes(org: Org, tmp_path: Path, fault: str, path: str) -> None:
    expected = load(org, 2_500)
    FAULTS[fault](org, path)
    waits: list[float] = []
    assert names(connect(org, waits), tmp_path) == expected
    # nine seconds, in naps
    assert (waits[:2] == [5.0, 4.0]) == (fault == "429" and org.faults.pending == 0)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", ["/jobs/query$", "/jobs/query/[^/]*$", "/results$"])
def test_reading_in_bulk_survives_what_passes(org: Org, tmp_path: Path, fault: str, path: str) -> None:
    expected = load(org, 5_001)
    FAULTS[fault](org, path)
    assert names(connect(org), tmp_path) == expected
    assert org.faults.pending == 0
    assert list(tmp_path.iterdir()) == []


def csv(*lines: str, rows: int, locator: str = "null") -> dict[str, Any]:
    return {
        "status": 200,
        "body": "\n".join(lines),
        "headers": {
            "Sforce-NumberOfRecords": str(rows),
            "Sforce-Locator": locator,
            "Content-Type": "text/csv",
        },
    }


HEADER = '"Name","SystemModstamp","Id"'
ROW = '"x","2026-06-01T12:00:00.000Z","001Ab0000000001IAA"'


@pytest.mark.parametrize(
    "page",
    [
        csv(HEADER, ROW, "", rows=2),
        csv(HEADER, ROW, rows=1),
        csv(HEADER, '"x","2026-06-01T12:00:00.000Z"', "", rows=1),
        csv(HEADER, f'{ROW},"y"', "", rows=1),
        csv(HEADER, '"x","2026-06-01T12:00:00.000Z",""', "", rows=1),
        csv('"Name","Id","SystemModstamp"', ROW, "", rows=1),
        csv('"Name","SystemModstamp","Id","Id"', f"{ROW},1", "", rows=1),
        csv(HEADER, '"x","2026', "", rows=1),
        csv("", rows=0),
        {"status": 200, "body": f"{HEADER}\n{ROW}\n"},
    ],
    ids=["count", "newline", "short", "long", "no id", "order", "twice", "quote", "nothing", "unnumbered"],
)
def test_a_bulk_page_that_cannot_be_whole_is_asked_for_again(
    org: Org, tmp_path: Path, page: dict[str, Any]
) -> None:
    expected = load(org, 5_001)
    org.faults.add("/results$", **page)
    assert names(connect(org), tmp_path) == expected
    org.faults.add("/results$", times=None, **page)
    with pytest.raises(TransientCrmError, match="garbled answer"):
        names(connect(org), tmp_path)


def test_a_bulk_job_whose_pages_do_not_add_up_is_an_error(org: Org, tmp_path: Path) -> None:
    load(org, 5_001)
    org.faults.add("/results$", times=None, **csv(HEADER, ROW, "", rows=1))
    with pytest.raises(TransientCrmError, match="a bulk job of 5001 rows delivered 1"):
        names(connect(org), tmp_path)
    org.faults.clear()
    org.faults.add("/results$", times=None, **csv(HEADER, ROW, "", rows=1, locator="MTAw"))
    with pytest.raises(TransientCrmError, match="in circles"):
        names(connect(org), tmp_path)


JOB_FAILED = {"id": "750000000000001AAA", "state": "Failed", "errorMessage": "InternalServerError"}


def test_an_object_that_cannot_be_read_in_bulk_is_read_by_rest(org: Org, tmp_path: Path) -> None:
    expected = load(org, 5_001)
    org.faults.error("/jobs/query$", 400, "INVALIDENTITY", "Account is not supported by the Bulk API")
    assert names(connect(org), tmp_path) == expected


def asked(org: Org, since: int) -> list[str]:
    """How the records were asked for, one word per request."""
    words = {"POST": "job", "PATCH": "abort", "DELETE": "drop"}
    return [
        words.get(each.method)
        or ("count" if "COUNT()" in (each.soql or "") else "page" if "/quer" in each.path[-20:] else "look")
        for each in org.requests[since:]
    ]


def test_a_job_that_fails_is_replaced_once(org: Org, tmp_path: Path) -> None:
    expected = load(org, 5_001)
    org.faults.add("/jobs/query/[^/]*$", status=200, body=JOB_FAILED)
    before = len(org.requests)
    assert names(connect(org), tmp_path) == expected
    assert asked(org, before).count("job") == 2
    assert "page" not in asked(org, before)
    org.faults.add("/jobs/query/[^/]*$", status=200, body=JOB_FAILED, times=2)
    assert names(connect(org), tmp_path) == expected
    assert [call.method for call in org.requests[before:]].count("POST") == 4


def test_many_rows_whose_jobs_fail_are_not_read_by_rest(org: Org, tmp_path: Path) -> None:
    load(org, 10)
    org.faults.add("/queryAll$", status=200, body={"totalSize": 100_001, "done": True, "records": []})
    org.faults.add("/jobs/query/[^/]*$", status=200, body=JOB_FAILED, times=None)
    before = len(org.requests)
    with pytest.raises(
        CrmError, match=r"InternalServerError, twice; by REST 100,001 rows would take 51 calls"
    ):
        names(connect(org), tmp_path)
    assert asked(org, before) == ["count", "job", "look", "job", "look"]
    assert list(tmp_path.iterdir()) == []


def test_without_bulk_jobs_left_rest_is_used_as_far_as_the_budget_goes(org: Org, tmp_path: Path) -> None:
    expected = load(org, 5_001)
    limits = "Max bulk v2 query jobs (10000) per 24 hrs has been exceeded"
    org.faults.error("/jobs/query$", 400, "LIMIT_EXCEEDED", limits, times=None)
    source = connect(org)
    # the limits, a count and a job come before three pages
    with source.limited(Budget(max_api_calls=6)):
        assert names(source, tmp_path) == expected
    before = len(org.requests)
    with source.limited(Budget(max_api_calls=4, max_quota_percent=None)), pytest.raises(StoppedEarly) as stop:
        names(source, tmp_path)
    assert "by REST 5,001 rows would take 3 calls, and 2 are left to this sync" in stop.value.message
    assert asked(org, before) == ["count", "job"]
    org.quota, org.used = 100, 77
    with source.limited(Budget()), pytest.raises(StoppedEarly, match="and 2 are left"):
        names(source, tmp_path)


def test_a_quota_never_switches_the_way_of_reading(org: Org, tmp_path: Path) -> None:
    load(org, 5_001)
    org.faults.quota_exceeded("/jobs/query$")
    before = len(org.requests)
    with pytest.raises(StoppedEarly, match="REQUEST_LIMIT_EXCEEDED: TotalRequests Limit exceeded"):
        names(connect(org), tmp_path)
    assert [call.status for call in org.requests[before:]] == [200, 403]


def test_pages_whose_cursor_is_gone_are_read_anew(org: Org, tmp_path: Path) -> None:
    expected = load(org, 2_500)
    org.faults.error("-2000$", 400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    assert names(connect(org), tmp_path) == expected


def test_a_read_goes_on_from_the_last_key_where_its_cursor_is_gone(org: Org, tmp_path: Path) -> None:
    # every record has one stamp, so that a page ends amid equal ones
    expected = load(org, 4_500)
    org.faults.error("-4000$", 400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    before = len(org.requests)
    assert names(connect(org), tmp_path) == expected
    asked = [call.soql for call in org.requests[before:] if call.soql and "COUNT()" not in call.soql]
    assert len(asked) == 2
    assert "SystemModstamp = 2026-06-01T12:00:00Z AND Id > '" in (asked[1] or "")
    assert len(org.requests) - before == 5


@pytest.mark.parametrize("cursor", ["SystemModstamp", None])
def test_a_read_that_ends_too_early_goes_on_from_the_last_key(
    org: Org, tmp_path: Path, cursor: str | None
) -> None:
    expected = load(org, 3)
    records = [
        {"Id": row["Id"], "Name": row["Name"], "SystemModstamp": "2026-06-01T12:00:00.000+0000"}
        for row in sorted(org.rows("Account"), key=lambda row: row["Id"])
    ]
    early = {"totalSize": 3, "done": True, "records": records[:2]}
    org.faults.add("/queryAll", skip=1, status=200, body=early)
    salesforce = connect(org)
    taken = intake(tmp_path, salesforce, "Id", "Name")
    query = Query(ACCOUNT, ("Id", "Name"), WHOLE, cursor)
    salesforce.read(query, taken, lambda rows, total: None)
    assert taken.pages.scan().collect()["Name"].to_list() == expected
    org.faults.clear()
    # two of three, and not the first two: the last key tells nothing then
    late = {"totalSize": 3, "done": True, "records": records[1:]}
    org.faults.add("/queryAll", skip=1, status=200, body=late)
    assert sorted(set(names(connect(org), tmp_path))) == expected


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ({"totalSize": 7, "done": True, "records": []}, "a query of 7 rows delivered"),
        ({"totalSize": 7, "done": False, "records": []}, "in circles"),
        (
            {
                "totalSize": 9,
                "done": False,
                "records": [],
                "nextRecordsUrl": "/services/data/v59.0/query/01g",
            },
            "in circles",
        ),
        (
            {"totalSize": 9, "done": False, "records": [], "nextRecordsUrl": "https://elsewhere.example/x"},
            "garbled",
        ),
        ({"totalSize": 1, "done": True, "records": [{"Id": "001"}]}, "a record without 'Name'"),
        (
            {"totalSize": 1, "done": True, "records": [{"Id": "1", "Name": {}, "SystemModstamp": None}]},
            "garbled",
        ),
    ],
)
def test_pages_that_cannot_be_whole_are_refused(
    org: Org, tmp_path: Path, page: dict[str, Any], message: str
) -> None:
    load(org, 3)
    org.faults.add("/quer", skip=1, times=None, status=200, body=page)
    with pytest.raises(TransientCrmError, match=message):
        names(connect(org), tmp_path)


def test_half_a_surrogate_pair_does_not_stop_the_sync(org: Org, tmp_path: Path) -> None:
    load(org, 1)
    record = {"Id": "001Ab0000000001IAA", "Name": "\ud83d!", "SystemModstamp": "2026-06-01T12:00:00.000+0000"}
    org.faults.add("/queryAll", skip=1, status=200, body={"totalSize": 1, "done": True, "records": [record]})
    assert names(connect(org), tmp_path) == ["?!"]


def test_a_slow_count_leads_to_bulk(org: Org, tmp_path: Path) -> None:
    expected = load(org, 3)
    org.faults.error("/queryAll", 400, "QUERY_TIMEOUT", "Your query request was running for too long.")
    assert names(connect(org), tmp_path) == expected
    assert any("/jobs/query" in call.path for call in org.requests)


def test_a_slow_query_is_read_in_halves(org: Org, tmp_path: Path) -> None:
    for n in range(4):
        org.insert("Account", [{"Name": f"{n}"}])
        org.advance(timedelta(minutes=10))
    slow = "Your query request was running for too long."
    # the count is quick; everything is too slow, and so is its earlier half
    org.faults.error("/queryAll$", 400, "QUERY_TIMEOUT", slow, skip=1)
    org.faults.error("/queryAll$", 400, "QUERY_TIMEOUT", slow, skip=1)
    before = len(org.requests)
    assert names(connect(org), tmp_path) == ["0", "1", "2", "3"]
    assert [call.status for call in org.requests[before:]].count(400) == 2
    org.faults.error("/queryAll$", 400, "QUERY_TIMEOUT", slow, skip=1, times=None)
    with pytest.raises(TransientCrmError, match="QUERY_TIMEOUT"):
        names(connect(org), tmp_path, Window(NOON, NOON + timedelta(seconds=9)))


def test_too_many_ids_for_one_query_are_asked_for_in_halves(org: Org) -> None:
    load(org, 5)
    known = sorted(row["Id"] for row in org.rows("Account"))
    slow = "Your query request was running for too long."
    org.faults.error("/query$", 400, "QUERY_TIMEOUT", slow, times=2)
    org.delete("Account", known[4])
    assert connect(org).are_live("Account", known) == set(known[:4])
    org.faults.error("/queryAll$", 400, "QUERY_TIMEOUT", slow, times=2)
    salesforce = connect(org)
    pages = list(salesforce.read_ids(salesforce.describe("Account"), ("Id", "Name"), known))
    assert sorted(pl.concat(pages)["Id"]) == known
    org.faults.error("/query$", 400, "QUERY_TIMEOUT", slow, times=None)
    with pytest.raises(TransientCrmError, match="QUERY_TIMEOUT"):
        connect(org).are_live("Account", known)


def test_live_records_are_not_taken_from_half_an_answer(org: Org) -> None:
    load(org, 2)
    known = sorted(row["Id"] for row in org.rows("Account"))
    for cut in ({"totalSize": 2, "done": True}, {"totalSize": 2, "done": False}):
        org.faults.add("/query$", status=200, body={**cut, "records": [{"Id": known[0]}]})
        assert connect(org).are_live("Account", known) == set(known)
        assert org.faults.pending == 0


def test_the_window_is_half_open(org: Org, tmp_path: Path) -> None:
    org.insert("Account", [{"Name": "early"}])
    org.advance(timedelta(hours=1))
    org.insert("Account", [{"Name": "late"}])
    assert names(connect(org), tmp_path, Window(NOON, NOON + timedelta(hours=1))) == ["early"]
    assert names(connect(org), tmp_path, Window(NOON + timedelta(milliseconds=1), NOON)) == []


def test_too_many_changes_for_one_answer_shorten_the_question(org: Org) -> None:
    org.faults.error("/updated", 400, "EXCEEDED_ID_LIMIT", "too many ids")
    org.now = NOON + timedelta(minutes=30)
    told = Changes(NOON + timedelta(minutes=30), has_any=True)
    assert connect(org).changes("Account", NOON, org.now) == told
    assert org.faults.pending == 0


def test_waits_grow_with_jitter_and_end(org: Org, tmp_path: Path) -> None:
    waits: list[float] = []
    salesforce = Salesforce(
        instance_url=org.url, access_token=org.token, retry_base_seconds=0.5, sleep=waits.append
    )
    org.faults.unavailable("", times=None)
    with pytest.raises(TransientCrmError, match=r"HTTP 503 \(GET /services/data/v59.0/sobjects at localhost"):
        salesforce.objects()
    # the last of the five may take two naps
    assert 5 <= len(waits) <= 8
    assert all(0 <= wait <= 0.5 * 2**turn for turn, wait in enumerate(waits[:3], start=1))
    assert sum(waits) <= sum(0.5 * 2**turn for turn in range(1, 6))
    assert salesforce.api_calls == len(org.requests) == 6


def test_nobody_comes_back_earlier_than_told(org: Org) -> None:
    waits: list[float] = []
    org.faults.too_many_requests("/sobjects$", retry_after=300)
    in_minutes = "Mon, 01 Jun 2026 12:07:00 GMT"
    org.faults.add("/sobjects$", status=503, headers={"Retry-After": in_minutes})
    assert "Account" in connect(org, waits).objects()
    assert sum(waits) == 720.0
    for late, seconds in (("3600", 3600), ("Mon, 01 Jun 2026 14:00:00 GMT", 7200)):
        before = len(org.requests)
        org.faults.add("/sobjects$", status=429, headers={"Retry-After": late})
        with pytest.raises(TransientCrmError, match=f"not to be asked for {seconds} seconds: HTTP 429"):
            connect(org, waits).objects()
        assert len(org.requests) - before == 1
    assert sum(waits) == 720.0


def test_a_given_token_that_expired_is_told_once(org: Org) -> None:
    salesforce = connect(org)
    org.expire_sessions()
    with pytest.raises(RefusedError, match="INVALID_SESSION_ID: Session expired or invalid"):
        salesforce.objects()
    assert len(org.requests) == 1


def test_a_login_is_renewed_once_per_request(org: Org) -> None:
    salesforce = connect(org, client_id=org.client_id, client_secret=org.client_secret)
    assert "Account" in salesforce.objects()
    org.expire_sessions()
    assert "Account" in salesforce.objects()
    org.faults.expired_session("/sobjects", times=None)
    before = len(org.requests)
    with pytest.raises(RefusedError, match="INVALID_SESSION_ID"):
        salesforce.objects()
    assert len(org.requests) - before == 3


def test_a_login_that_answers_brackets_without_end_is_tried_again(org: Org) -> None:
    org.faults.add("/oauth2/token", status=200, body=b"[" * 100_000)
    assert "Account" in connect(org, client_id=org.client_id, client_secret=org.client_secret).objects()
    assert org.faults.pending == 0


def test_a_login_whose_answer_cannot_be_read_does_not_show_the_token_in_it(org: Org) -> None:
    answer = b'{"access_token": "00Dxx!of-nobody", "instance_url": "https://acme'
    org.faults.add("/oauth2/token", status=200, body=answer, times=None)
    with pytest.raises(TransientCrmError, match="no session in it") as failed:
        connect(org, client_id=org.client_id, client_secret=org.client_secret).objects()
    error: BaseException | None = failed.value
    while error is not None:
        assert "of-nobody" not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__


def test_rejected_credentials_are_never_sent_again(org: Org) -> None:
    salesforce = connect(org, client_id=org.client_id, client_secret="not the secret")
    for _ in range(2):
        with pytest.raises(
            RefusedError, match=r"Salesforce: invalid_client.*\(logging in at localhost:\d+\)"
        ):
            salesforce.objects()
    assert len(org.requests) == 1


def test_a_login_survives_what_passes(org: Org) -> None:
    org.faults.unavailable("/oauth2/token")
    org.faults.html("/oauth2/token")
    org.faults.reset("/oauth2/token")
    org.faults.add("/oauth2/token", status=200, body={"hello": "world"})
    salesforce = connect(org, client_id=org.client_id, client_secret=org.client_secret)
    assert salesforce.organization_id == org.id
    assert org.faults.pending == 0


def test_jwt_bearer(org: Org, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    org.trust(public.decode())
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    options = {"client_id": org.client_id, "username": "integration@example.com"}
    assert connect(org, private_key_file=file, **options).organization_id == org.id
    file.write_text("no key")
    with pytest.raises(UsageError, match="SALESFORCE_PRIVATE_KEY_FILE holds no RSA private key"):
        connect(org, private_key_file=file, **options).objects()
    with pytest.raises(UsageError, match="SALESFORCE_PRIVATE_KEY_FILE cannot be read"):
        connect(org, private_key_file=tmp_path / "none", **options)


def test_an_untrusted_certificate_is_told_at_once(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(RefusedError, match="TLS: the certificate is not trusted; REQUESTS_CA_BUNDLE"):
        connect(org).objects()


def test_nobody_there() -> None:
    salesforce = Salesforce(
        instance_url="https://localhost:1", access_token="a token", retry_base_seconds=0, sleep=lambda _: None
    )
    with pytest.raises(TransientCrmError, match=r"no connection.*localhost:1") as error:
        salesforce.objects()
    assert "SALESFORCE_INSTANCE_URL" in (error.value.hint or "")


def test_secrets_are_shown_nowhere(org: Org) -> None:
    salesforce = connect(org)
    assert repr(salesforce) == f"Salesforce('{org.url.removeprefix('https://')}')"
    org.faults.error("", 400, "MALFORMED_QUERY", f"you sent {org.token}")
    with pytest.raises(CrmError) as failed:
        salesforce.objects()
    assert org.token not in str(failed.value)
    assert "you sent ***" in str(failed.value)
    told = "".join(traceback.format_exception(failed.value.__cause__))
    assert org.client_secret not in told


def test_what_is_waited_for_is_logged_without_secrets(org: Org, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "attribution")
    org.faults.error("", 503, "SERVER_UNAVAILABLE", f"you sent {org.token}")
    org.faults.too_many_requests("", retry_after=7)
    assert "Account" in connect(org).objects()
    assert [(each.levelname, each.getMessage()) for each in caplog.records if each.name[:4] == "attr"] == [
        ("INFO", "Salesforce: SERVER_UNAVAILABLE: you sent ***; again in 0 s (attempt 2 of 6)"),
        ("WARNING", "Salesforce: HTTP 429; again in 7 s (attempt 3 of 6)"),
    ]


def test_usage_and_limits(org: Org) -> None:
    salesforce = connect(org)
    assert salesforce.daily_usage is None
    assert int(salesforce.limits()["DailyApiRequests"]["Max"]) == org.quota
    assert salesforce.daily_usage == (1, org.quota)


def test_the_servers_clock_is_that_of_its_latest_answer(org: Org) -> None:
    seconds = [0.0]
    salesforce = connect(org, clock=lambda: seconds[0])
    assert salesforce.server_time == NOON
    org.advance(timedelta(hours=1))
    seconds[0] = 3600.0
    assert salesforce.server_time == NOON
    salesforce.objects()
    assert salesforce.server_time == NOON + timedelta(hours=1)


VARIABLES = (
    *("INSTANCE_URL", "ACCESS_TOKEN", "DOMAIN", "LOGIN_URL", "CLIENT_ID", "CLIENT_SECRET", "USERNAME"),
    *("PRIVATE_KEY_FILE", "PASSWORD", "SECURITY_TOKEN", "API_VERSION"),
)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "SALESFORCE_INSTANCE_URL and SALESFORCE_ACCESS_TOKEN are not set"),
        ({"INSTANCE_URL": "https://x.my.salesforce.com"}, "SALESFORCE_ACCESS_TOKEN is not set"),
        ({"INSTANCE_URL": "https://x.my.salesforce.com", "ACCESS_TOKEN": ""}, "SALESFORCE_ACCESS_TOKEN is"),
        ({"ACCESS_TOKEN": "hush"}, "SALESFORCE_INSTANCE_URL is not set"),
        (
            {"INSTANCE_URL": "http://x.my.salesforce.com", "ACCESS_TOKEN": "hush"},
            "INSTANCE_URL begins with http",
        ),
        ({"INSTANCE_URL": "https://", "ACCESS_TOKEN": "hush"}, "SALESFORCE_INSTANCE_URL is no address"),
        (
            {"INSTANCE_URL": "https://u:p@x.com", "ACCESS_TOKEN": "hush"},
            "SALESFORCE_INSTANCE_URL is no address",
        ),
        ({"CLIENT_ID": "x", "CLIENT_SECRET": "hush"}, "SALESFORCE_DOMAIN is not set"),
        ({"CLIENT_ID": "x", "DOMAIN": "acme.my"}, "SALESFORCE_CLIENT_SECRET is not set"),
        ({"CLIENT_SECRET": "hush", "DOMAIN": "acme.my"}, "SALESFORCE_CLIENT_ID is not set"),
        (
            {"CLIENT_ID": "x", "CLIENT_SECRET": "hush", "LOGIN_URL": "http://x.com"},
            "SALESFORCE_LOGIN_URL begins",
        ),
        ({"CLIENT_ID": "x", "PRIVATE_KEY_FILE": "key.pem"}, "SALESFORCE_USERNAME is not set"),
        ({"USERNAME": "x", "PASSWORD": "hush"}, "SALESFORCE_SECURITY_TOKEN is not set"),
        ({"ACCESS_TOKEN": "hush", "API_VERSION": "v59"}, "SALESFORCE_API_VERSION is 'v59'"),
        (
            {"USERNAME": "x", "PASSWORD": "hush", "SECURITY_TOKEN": "hush", "API_VERSION": "65.0"},
            "SALESFORCE_API_VERSION 65.0 has no login with password",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"SALESFORCE_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"SALESFORCE_{name}", value)
    with pytest.raises(UsageError, match=message) as refused:
        Salesforce.from_env()
    assert "hush" not in f"{refused.value} {refused.value.hint}"


def test_a_number_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTRIBUTION_RETRY_BASE_SECONDS", "quick")
    with pytest.raises(UsageError, match="ATTRIBUTION_RETRY_BASE_SECONDS: Input should be a valid number"):
        Salesforce.from_env()


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("acme.my", "acme.my.salesforce.com"),
        ("acme", "acme.my.salesforce.com"),
        ("acme--uat.sandbox", "acme--uat.sandbox.my.salesforce.com"),
        ("test", "test.salesforce.com"),
        ("https://acme.my.salesforce.com/", "acme.my.salesforce.com"),
        ("acme.my.salesforce.com", "acme.my.salesforce.com"),
    ],
)
def test_where_a_login_happens(domain: str, host: str) -> None:
    salesforce = Salesforce(domain=domain, client_id="x", client_secret="y")
    assert repr(salesforce) == f"Salesforce('{host}')"


def test_the_old_login_warns() -> None:
    with pytest.warns(FutureWarning, match="Salesforce retires this login in 2027"):
        Salesforce(username="x", password="y", security_token="z")
