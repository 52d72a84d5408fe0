"""The org over TLS: simple-salesforce end to end, describe, paging, replication, limits, login."""

import csv
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceResourceNotFound

from attribution.testing import Org
from attribution.testing.objects import Field

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def org() -> Iterator[Org]:
    org = Org(now=NOW)
    with org:
        yield org
    org.close()


@pytest.fixture
def session(org: Org, monkeypatch: pytest.MonkeyPatch) -> Iterator[requests.Session]:
    # the variable wins over Session.verify
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", org.ca_bundle)
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {org.token}"
        yield session


@pytest.fixture
def salesforce(org: Org, session: requests.Session) -> Salesforce:
    return Salesforce(instance_url=org.url, session_id=org.token, session=session)


def get(org: Org, session: requests.Session, path: str, **options: Any) -> requests.Response:
    return session.get(f"{org.url}/services/data/v68.0{path}", timeout=10, **options)


def error_of(response: requests.Response) -> tuple[int, str]:
    (error,) = response.json()
    return response.status_code, error["errorCode"]


# -- query


def test_query_all_pages_2000_at_a_time(org: Org, salesforce: Salesforce) -> None:
    org.load({"Account": ({"Name": f"Account {index}"} for index in range(4500))})
    first = salesforce.query("SELECT Id, Name FROM Account ORDER BY Id")
    assert (first["totalSize"], first["done"], len(first["records"])) == (4500, False, 2000)
    assert first["nextRecordsUrl"].startswith("/services/data/v59.0/query/01g")
    assert first["nextRecordsUrl"].endswith("-2000")
    records = salesforce.query_all("SELECT Id, Name FROM Account ORDER BY Id")["records"]
    assert [record["Name"] for record in records] == [f"Account {index}" for index in range(4500)]
    assert [call.status for call in org.requests[-3:]] == [200] * 3
    assert org.requests[-3].soql == "SELECT Id, Name FROM Account ORDER BY Id"


def test_batch_size_header(org: Org, session: requests.Session) -> None:
    org.load({"Account": ({"Name": str(index)} for index in range(450))})
    headers = {"Sforce-Query-Options": "batchSize=200"}
    page = get(org, session, "/query", params={"q": "SELECT Id FROM Account"}, headers=headers).json()
    sizes = [len(page["records"])]
    while not page["done"]:
        page = session.get(org.url + page["nextRecordsUrl"], timeout=10).json()
        sizes.append(len(page["records"]))
    assert sizes == [200, 200, 50]


def test_a_cursor_shows_what_the_first_page_saw_and_expires(org: Org, session: requests.Session) -> None:
    ids = org.load({"Account": ({"Name": str(index)} for index in range(2100))})["Account"]
    page = get(org, session, "/query", params={"q": "SELECT Id FROM Account ORDER BY Id"}).json()
    org.insert("Account", [{"Name": "late"}])
    org.purge("Account", ids[2050])
    rest = session.get(org.url + page["nextRecordsUrl"], timeout=10).json()
    assert [record["Id"] for record in rest["records"]] == ids[2000:2050] + ids[2051:]
    org.advance(timedelta(days=3))
    assert error_of(session.get(org.url + page["nextRecordsUrl"], timeout=10)) == (
        400,
        "INVALID_QUERY_LOCATOR",
    )


def test_values_as_rest_spells_them(org: Org, salesforce: Salesforce) -> None:
    org.insert(
        "Opportunity",
        [
            {
                "Name": 'Größe "x"\n',
                "StageName": "Closed Won",
                "CloseDate": date(2026, 7, 1),
                "Amount": Decimal("10.50"),
            }
        ],
    )
    (record,) = salesforce.query(
        "SELECT Name, IsWon, CloseDate, Amount, CreatedDate, Type, FiscalYear FROM Opportunity"
    )["records"]
    assert record["attributes"]["url"].startswith("/services/data/v59.0/sobjects/Opportunity/006")
    assert record["Name"] == 'Größe "x"\n'
    assert record["IsWon"] is True
    assert record["CloseDate"] == "2026-07-01"
    assert record["Amount"] == 10.5
    assert record["CreatedDate"] == "2026-06-30T12:00:00.000+0000"
    assert record["Type"] is None
    assert record["FiscalYear"] == 2026


def test_errors_reach_simple_salesforce(salesforce: Salesforce) -> None:
    with pytest.raises(SalesforceMalformedRequest) as caught:
        salesforce.query("SELECT Nope FROM Account")
    assert caught.value.content[0]["errorCode"] == "INVALID_FIELD"
    with pytest.raises(SalesforceResourceNotFound):
        salesforce.Nope__c.describe()


def test_a_uri_of_more_than_16384_bytes_is_refused(org: Org, session: requests.Session) -> None:
    soql = "SELECT Id FROM Account WHERE Name = '" + "x" * 17_000 + "'"
    assert get(org, session, "/query", params={"q": soql}).status_code == 414


def test_paths_and_methods_that_do_not_exist(org: Org, session: requests.Session) -> None:
    assert error_of(get(org, session, "/nope")) == (404, "NOT_FOUND")
    assert error_of(session.get(f"{org.url}/services/data/v12.0/limits", timeout=10)) == (404, "NOT_FOUND")
    assert error_of(session.put(f"{org.url}/services/data/v68.0/limits", timeout=10)) == (
        405,
        "METHOD_NOT_ALLOWED",
    )
    assert get(org, session, "/query").json()[0]["errorCode"] == "MALFORMED_QUERY"


# -- describe


def test_describe(org: Org, salesforce: Salesforce, session: requests.Session) -> None:
    names = {entry["name"]: entry for entry in salesforce.describe()["sobjects"]}
    assert names["Opportunity"]["keyPrefix"] == "006"
    assert names["Opportunity"]["replicateable"] is True
    assert names["Organization"]["replicateable"] is False
    fields = {entry["name"]: entry for entry in salesforce.Opportunity.describe()["fields"]}
    assert fields["Amount"]["type"] == "currency"
    assert (fields["Amount"]["precision"], fields["Amount"]["scale"]) == (18, 2)
    assert fields["AccountId"]["referenceTo"] == ["Account"]
    assert fields["AccountId"]["relationshipName"] == "Account"
    assert fields["Description"]["filterable"] is False
    assert fields["Name"]["nillable"] is False
    assert fields["Name"]["length"] == 120
    assert "IsDeleted" not in {entry["name"] for entry in salesforce.User.describe()["fields"]}
    history = {entry["name"] for entry in salesforce.OpportunityFieldHistory.describe()["fields"]}
    assert "SystemModstamp" not in history


def test_describe_answers_304_until_the_schema_changes(org: Org, session: requests.Session) -> None:
    first = get(org, session, "/sobjects/Account/describe")
    since = {"If-Modified-Since": first.headers["Last-Modified"]}
    again = get(org, session, "/sobjects/Account/describe", headers=since)
    assert (again.status_code, again.content) == (304, b"")
    org.advance(MINUTE)
    org.add_field("Account", Field("Tier__c", "picklist", values=("Gold",)))
    changed = get(org, session, "/sobjects/Account/describe", headers=since)
    assert changed.json()["fields"][-1]["picklistValues"][0]["value"] == "Gold"


@pytest.mark.parametrize("licences", [True, False])
def test_partner_licences(licences: bool) -> None:
    org = Org(partner_licences=licences)
    schema = org.state.visible
    assert ("channelprogrammember" in schema) is licences
    assert ("partnerfundrequest" in schema) is licences
    assert schema["lead"].has("PartnerAccountId") is schema["opportunity"].has("PartnerAccountId") is licences
    assert schema["account"].has("IsPartner") is licences
    assert "currencytype" not in schema
    assert not schema["opportunity"].has("CurrencyIsoCode")
    org.close()


def test_several_currencies(org: Org) -> None:
    other = Org(multi_currency=True)
    assert other.state.visible["opportunity"].has("CurrencyIsoCode")
    assert "datedconversionrate" in other.state.visible
    other.close()


def test_a_hidden_field_is_unknown_and_a_removed_object_too(
    org: Org, salesforce: Salesforce, session: requests.Session
) -> None:
    org.insert("Account", [{"Name": "Globex", "Industry": "Energy"}])
    org.hide_field("Account", "Industry")
    assert "Industry" not in {entry["name"] for entry in salesforce.Account.describe()["fields"]}
    response = get(org, session, "/query", params={"q": "SELECT Industry FROM Account"})
    assert error_of(response) == (400, "INVALID_FIELD")
    response = get(
        org, session, "/query", params={"q": "SELECT Id FROM Contact WHERE Account.Industry = 'x'"}
    )
    assert error_of(response) == (400, "INVALID_FIELD")
    org.show_field("Account", "Industry")
    assert salesforce.query("SELECT Industry FROM Account")["records"][0]["Industry"] == "Energy"
    org.remove_object("Partner")
    assert error_of(get(org, session, "/query", params={"q": "SELECT Id FROM Partner"})) == (
        400,
        "INVALID_TYPE",
    )
    assert error_of(get(org, session, "/sobjects/Partner/describe")) == (404, "NOT_FOUND")


def test_custom_objects_and_fields(org: Org, salesforce: Salesforce) -> None:
    (account,) = org.insert("Account", [{"Name": "Globex"}])
    org.add_object(
        "Deal_Registration__c",
        "a0B",
        "Partner_Account__c > Account, Submitted_On__c datetime, Score__c double 5.1",
    )
    org.add_field("Opportunity", "Referring_Partner__c > Account")
    ids = org.insert(
        "Deal_Registration__c", [{"Name": "R-1", "Partner_Account__c": account, "Score__c": 2.5}]
    )
    soql = "SELECT Partner_Account__r.Name, Score__c FROM Deal_Registration__c"
    (record,) = salesforce.query(soql)["records"]
    assert ids[0].startswith("a0B")
    assert (record["Partner_Account__r"]["Name"], record["Score__c"]) == ("Globex", 2.5)
    assert (
        salesforce.query("SELECT COUNT() FROM Opportunity WHERE Referring_Partner__c = null")["totalSize"]
        == 0
    )


# -- replication


def test_updated_and_deleted(org: Org, salesforce: Salesforce) -> None:
    one, two = org.insert("Account", [{"Name": "one"}, {"Name": "two"}])
    org.advance(5 * MINUTE)
    org.update("Account", one, Name="uno")
    org.delete("Account", two)
    org.advance(MINUTE)
    answer = salesforce.Account.updated(org.now - 2 * MINUTE, org.now)
    assert answer["ids"] == [one]
    assert answer["latestDateCovered"] == "2026-06-30T12:06:00.000+0000"
    answer = salesforce.Account.deleted(org.now - 2 * MINUTE, org.now)
    assert answer["deletedRecords"] == [{"deletedDate": "2026-06-30T12:05:00.000+0000", "id": two}]
    assert answer["latestDateCovered"] == "2026-06-30T12:06:00.000+0000"


def test_seconds_are_ignored_and_the_future_is_not_covered(org: Org, salesforce: Salesforce) -> None:
    org.now = NOW + timedelta(seconds=40)
    (made,) = org.insert("Account", [{"Name": "late in the minute"}])
    answer = salesforce.Account.updated(org.now - MINUTE, org.now + timedelta(seconds=10))
    assert answer == {"ids": [], "latestDateCovered": "2026-06-30T12:00:00.000+0000"}
    answer = salesforce.Account.updated(org.now - MINUTE, org.now + MINUTE)
    assert answer == {"ids": [made], "latestDateCovered": "2026-06-30T12:00:00.000+0000"}


@pytest.mark.parametrize(
    ("resource", "start", "end"),
    [
        ("updated", NOW, NOW + timedelta(seconds=30)),
        ("updated", NOW, NOW - MINUTE),
        ("updated", NOW - timedelta(days=31), NOW),
        ("deleted", NOW - timedelta(days=16), NOW),
    ],
)
def test_replication_dates_out_of_range(
    salesforce: Salesforce, resource: str, start: datetime, end: datetime
) -> None:
    with pytest.raises(SalesforceMalformedRequest) as caught:
        getattr(salesforce.Account, resource)(start, end)
    assert caught.value.content[0]["errorCode"] == "INVALID_REPLICATION_DATE"


def test_objects_that_are_not_replicateable(salesforce: Salesforce) -> None:
    with pytest.raises(SalesforceResourceNotFound):
        salesforce.Organization.updated(NOW - MINUTE, NOW)


def test_a_late_commit_is_stamped_early_and_holds_back_what_is_covered(
    org: Org, salesforce: Salesforce
) -> None:
    with org.transaction():
        (late,) = org.insert("Account", [{"Name": "late"}])
        org.advance(5 * MINUTE)
        assert salesforce.query("SELECT COUNT() FROM Account")["totalSize"] == 0
        covered = salesforce.Account.updated(NOW - MINUTE, org.now)["latestDateCovered"]
        assert covered == "2026-06-30T12:00:00.000+0000"
        assert salesforce.Contact.deleted(NOW - MINUTE, org.now)["latestDateCovered"] == covered
    (record,) = salesforce.query("SELECT Id, SystemModstamp FROM Account")["records"]
    assert (record["Id"], record["SystemModstamp"]) == (late, "2026-06-30T12:00:00.000+0000")
    answer = salesforce.Account.updated(NOW - MINUTE, org.now)
    assert answer == {"ids": [late], "latestDateCovered": "2026-06-30T12:05:00.000+0000"}


# -- limits and single records


def test_limits_and_the_quota(org: Org, salesforce: Salesforce, session: requests.Session) -> None:
    org.quota, org.used = 20, 16
    assert salesforce.limits()["DailyApiRequests"] == {"Max": 20, "Remaining": 3}
    assert salesforce.api_usage["api-usage"] == (17, 20)
    org.app_usage = (1, 250, "sample")
    response = get(org, session, "/query", params={"q": "nonsense"})
    assert response.headers["Sforce-Limit-Info"] == "api-usage=18/20; per-app-api-usage=1/250(appName=sample)"
    org.used = 20
    response = get(org, session, "/limits")
    assert error_of(response) == (403, "REQUEST_LIMIT_EXCEEDED")
    assert response.headers["Sforce-Limit-Info"].startswith("api-usage=20/20")


def test_record_count_and_versions(org: Org, session: requests.Session) -> None:
    org.insert("Account", [{"Name": "Globex"}])
    counted = get(org, session, "/limits/recordCount", params={"sObjects": "Account"}).json()
    assert counted == {"sObjects": [{"count": 1, "name": "Account"}]}
    del session.headers["Authorization"]
    versions = session.get(f"{org.url}/services/data", timeout=10).json()
    assert versions[-1] == {"label": "Winter '27", "url": "/services/data/v68.0", "version": "68.0"}


def test_dates_of_responses_follow_the_clock(org: Org, session: requests.Session) -> None:
    assert get(org, session, "/limits").headers["Date"] == "Tue, 30 Jun 2026 12:00:00 GMT"


def test_single_records(org: Org, salesforce: Salesforce) -> None:
    made = salesforce.Contact.create({"LastName": "Last", "FirstName": "First"})
    assert made["success"] is True
    salesforce.Contact.update(made["id"], {"Email": "someone@example.com"})
    record = salesforce.Contact.get(made["id"])
    assert (record["Name"], record["Email"], record["IsDeleted"]) == (
        "First Last",
        "someone@example.com",
        False,
    )
    salesforce.Contact.delete(made["id"])
    with pytest.raises(SalesforceResourceNotFound) as caught:
        salesforce.Contact.delete(made["id"])
    assert caught.value.content[0]["errorCode"] == "ENTITY_IS_DELETED"
    with pytest.raises(SalesforceMalformedRequest):
        salesforce.Contact.create({"Nope": 1})


# -- login


def test_a_wrong_or_expired_token(org: Org, session: requests.Session) -> None:
    old = org.token
    org.expire_sessions()
    assert org.token != old
    response = get(org, session, "/limits")
    assert error_of(response) == (401, "INVALID_SESSION_ID")
    assert "Sforce-Limit-Info" in response.headers
    session.headers["Authorization"] = f"Bearer {org.token}"
    assert get(org, session, "/limits").status_code == 200


def token_request(org: Org, session: requests.Session, **form: str) -> requests.Response:
    return session.post(f"{org.url}/services/oauth2/token", data=form, timeout=10)


def test_client_credentials(org: Org, session: requests.Session) -> None:
    del session.headers["Authorization"]
    form = {"grant_type": "client_credentials", "client_id": org.client_id}
    wrong = token_request(org, session, **form, client_secret="wrong")
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_client")
    granted = token_request(org, session, **form, client_secret=org.client_secret).json()
    assert granted["instance_url"] == org.url
    session.headers["Authorization"] = f"Bearer {granted['access_token']}"
    assert get(org, session, "/limits").status_code == 200
    basic = session.post(
        f"{org.url}/services/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(org.client_id, org.client_secret),
        timeout=10,
    )
    assert basic.status_code == 200
    assert token_request(org, session, grant_type="password").json()["error"] == "unsupported_grant_type"


def test_jwt_bearer(org: Org, session: requests.Session) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = {"iss": org.client_id, "sub": "integration@example.com", "aud": "https://localhost", "exp": 1}
    grant = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": jwt.encode(claims, key, algorithm="RS256"),
    }
    assert token_request(org, session, **grant).json()["error"] == "invalid_grant"
    org.trust(public.decode())
    assert token_request(org, session, **grant).json()["token_type"] == "Bearer"


def test_an_unknown_authority_is_not_trusted(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{org.url}/services/data", timeout=10)
    assert requests.get(f"{org.url}/services/data", timeout=10, verify=org.ca_bundle).status_code == 200


# -- bulk


def test_simple_salesforce_bulk2(org: Org, salesforce: Salesforce) -> None:
    org.bulk.polls = 0
    text = 'quo"te, comma\nand "" line'
    rows: list[dict[str, Any]] = [
        {"Name": text, "AnnualRevenue": Decimal(912260031)},
        {"Name": "NA", "Description": "x"},
        {"Name": "0017", "AnnualRevenue": Decimal("12.5")},
    ]
    org.insert("Account", rows)
    soql = "SELECT Id, Name, AnnualRevenue, IsDeleted, CreatedDate, Owner.Name FROM Account ORDER BY Id"
    pages = list(salesforce.bulk2.Account.query(soql, max_records=2, wait=0.01))
    assert len(pages) == 2
    assert pages[0].splitlines()[0] == '"Id","Name","AnnualRevenue","IsDeleted","CreatedDate","Owner.Name"'
    found = [row for page in pages for row in csv.DictReader(io.StringIO(page, newline=""))]
    assert [row["Name"] for row in found] == [text, "NA", "0017"]
    assert [row["AnnualRevenue"] for row in found] == ["9.12260031E8", "", "12.5"]
    assert {row["IsDeleted"] for row in found} == {"false"}
    assert {row["CreatedDate"] for row in found} == {"2026-06-30T12:00:00.000Z"}
    assert {row["Owner.Name"] for row in found} == {"Integration"}


def bulk(org: Org, session: requests.Session, soql: str, operation: str = "query") -> requests.Response:
    body = {"operation": operation, "query": soql}
    return session.post(f"{org.url}/services/data/v68.0/jobs/query", json=body, timeout=10)


def test_the_life_of_a_bulk_job(org: Org, session: requests.Session) -> None:
    org.bulk.polls = 2
    ids = org.insert("Account", [{"Name": str(index)} for index in range(5)])
    org.delete("Account", ids[0])
    job = bulk(org, session, "SELECT Id FROM Account", "queryAll").json()
    assert (job["state"], job["object"], job["apiVersion"]) == ("UploadComplete", "Account", 68.0)
    path = f"/jobs/query/{job['id']}"
    assert error_of(get(org, session, f"{path}/results")) == (400, "INVALIDJOBSTATE")
    assert [get(org, session, path).json()["state"] for _ in range(3)] == [
        "InProgress",
        "InProgress",
        "JobComplete",
    ]
    assert get(org, session, path).json()["numberRecordsProcessed"] == 5
    org.update("Account", ids[1], Name="changed later")
    sizes, locator = [], ""
    while locator != "null":
        params = {"maxRecords": "2"} | ({"locator": locator} if locator else {})
        page = get(org, session, f"{path}/results", params=params)
        sizes.append(page.headers["Sforce-NumberOfRecords"])
        locator = page.headers["Sforce-Locator"]
    assert sizes == ["2", "2", "1"]
    assert page.text == f'"Id"\n"{ids[4]}"\n'
    assert error_of(get(org, session, f"{path}/results", params={"locator": "nope"})) == (
        400,
        "INVALID_QUERY_LOCATOR",
    )
    assert [entry["id"] for entry in get(org, session, "/jobs/query").json()["records"]] == [job["id"]]
    assert session.delete(f"{org.url}/services/data/v68.0{path}", timeout=10).status_code == 204
    assert error_of(get(org, session, path)) == (404, "NOT_FOUND")


def test_bulk_jobs_abort_fail_and_expire(org: Org, session: requests.Session) -> None:
    job = bulk(org, session, "SELECT Id FROM Account").json()
    url = f"{org.url}/services/data/v68.0/jobs/query/{job['id']}"
    assert session.patch(url, json={"state": "Aborted"}, timeout=10).json()["state"] == "Aborted"
    assert error_of(session.patch(url, json={"state": "Aborted"}, timeout=10)) == (400, "INVALIDJOBSTATE")
    org.bulk.polls = 0
    org.bulk.fail_next("InternalServerError")
    failed = bulk(org, session, "SELECT Id FROM Account").json()
    answer = get(org, session, f"/jobs/query/{failed['id']}").json()
    assert (answer["state"], answer["errorMessage"]) == ("Failed", "InternalServerError")
    empty = bulk(org, session, "SELECT Id FROM Account").json()
    get(org, session, f"/jobs/query/{empty['id']}")
    page = get(org, session, f"/jobs/query/{empty['id']}/results")
    assert (page.text, page.headers["Sforce-NumberOfRecords"], page.headers["Sforce-Locator"]) == (
        '"Id"\n',
        "0",
        "null",
    )
    org.advance(timedelta(days=8))
    assert error_of(get(org, session, f"/jobs/query/{empty['id']}")) == (404, "NOT_FOUND")


def test_any_text_survives_bulk(org: Org, session: requests.Session) -> None:
    org.bulk.polls = 0
    texts = ["N\0UL", "\U0001f600", 'end"', "\r\n", "a\tb", "None", "-0017", ",", '""']
    org.insert("Account", [{"Name": text} for text in texts])
    job = bulk(org, session, "SELECT Name FROM Account ORDER BY Id").json()
    get(org, session, f"/jobs/query/{job['id']}")
    page = get(org, session, f"/jobs/query/{job['id']}/results").content.decode()
    rows = list(csv.reader(io.StringIO(page, newline="")))
    assert [row[0] for row in rows[1:]] == texts


def test_readers_and_a_writer_at_once(org: Org, session: requests.Session) -> None:
    org.load({"Account": ({"Name": str(index)} for index in range(300))})

    def read(_: int) -> list[int]:
        with requests.Session() as own:
            own.headers["Authorization"] = f"Bearer {org.token}"
            answers = [get(org, own, "/query", params={"q": "SELECT Id FROM Account"}) for _ in range(5)]
        org.insert("Account", [{"Name": "one more"}])
        return [len(answer.json()["records"]) for answer in answers]

    with ThreadPoolExecutor(4) as pool:
        counts = [count for found in pool.map(read, range(4)) for count in found]
    assert all(300 <= count <= 304 for count in counts)
    assert len(org.rows("Account")) == 304


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT COUNT() FROM Account", "FEATURENOTENABLED"),
        ("SELECT Name, COUNT(Id) FROM Account GROUP BY Name", "FEATURENOTENABLED"),
        ("SELECT Id FROM Account LIMIT 5 OFFSET 5", "FEATURENOTENABLED"),
        ("SELECT BillingAddress FROM Account", "FEATURENOTENABLED"),
        ("SELECT Nope FROM Account", "INVALID_FIELD"),
        ("SELEC Id FROM Account", "MALFORMED_QUERY"),
    ],
)
def test_what_bulk_refuses(org: Org, session: requests.Session, soql: str, code: str) -> None:
    assert error_of(bulk(org, session, soql)) == (400, code)


def test_the_bulk_quota(org: Org, session: requests.Session) -> None:
    org.bulk.quota = 1
    bulk(org, session, "SELECT Id FROM Account")
    assert error_of(bulk(org, session, "SELECT Id FROM Account")) == (400, "LIMIT_EXCEEDED")
    org.advance(timedelta(days=1))
    assert bulk(org, session, "SELECT Id FROM Account").status_code == 200


# -- faults


def test_scripted_faults(org: Org, session: requests.Session) -> None:
    org.faults.unavailable("/limits", times=2)
    org.faults.too_many_requests("/limits", retry_after=7)
    org.faults.expired_session("/limits")
    org.faults.quota_exceeded("/limits", skip=1)
    org.faults.html("/query")
    answers = [get(org, session, "/limits") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [503, 503, 429, 401, 200, 403, 200]
    assert "text/html" in answers[0].headers["Content-Type"]
    assert answers[2].headers["Retry-After"] == "7"
    assert answers[5].json()[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"
    page = get(org, session, "/query", params={"q": "SELECT Id FROM Account"})
    assert (page.status_code, page.text[:6]) == (200, "<html>")
    assert org.faults.pending == 0
    assert [call.status for call in org.requests[-3:]] == [403, 200, 200]


def test_dropped_and_truncated_answers(org: Org, session: requests.Session) -> None:
    org.faults.reset("/limits")
    with pytest.raises(requests.exceptions.ConnectionError):
        get(org, session, "/limits")
    assert org.requests[-1].status == 0
    org.faults.truncated("/limits", keep=10)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        get(org, session, "/limits")
    assert get(org, session, "/limits").status_code == 200


def test_the_environment_that_a_job_needs(org: Org) -> None:
    assert set(org.environment) == {
        "SALESFORCE_INSTANCE_URL",
        "SALESFORCE_ACCESS_TOKEN",
        "REQUESTS_CA_BUNDLE",
    }


def test_it_stops_and_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    org = Org(now=NOW)
    org.insert("Account", [{"Name": "Globex"}])
    for _ in range(2):
        with org, requests.Session() as session:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", org.ca_bundle)
            session.headers["Authorization"] = f"Bearer {org.token}"
            counted = get(org, session, "/query", params={"q": "SELECT COUNT() FROM Account"}).json()
            assert counted["totalSize"] == 1
    org.close()
