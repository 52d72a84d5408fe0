"""One answer that contradicts what is known otherwise: it moves no watermark and removes no record."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attribution.errors import CrmError, DataError, RefusedError, StoreError, UsageError
from attribution.mapping import Mapping
from attribution.mirror.folder import Folder
from attribution.readings import readings
from attribution.store import Store
from attribution.sync.salesforce import Salesforce
from attribution.testing import Org
from tests.loopback import NOON, connect

FIELDS = readings(Mapping())["Account"].fields
LATE, EARLY = "Tue, 30 Jun 2099 12:00:00 GMT", "Tue, 01 Jan 1980 12:00:00 GMT"


@pytest.fixture
def org(org: Org) -> Org:
    org.insert("Account", [{"Name": f"{n}"} for n in range(4)])
    org.advance(timedelta(minutes=30))
    return org


def names(store: Store) -> list[str]:
    return sorted(store.rows("Account")["Name"])


def purged(org: Org) -> tuple[str, str]:
    """The account that was deleted for good a minute ago, and when, as the org spells it."""
    gone = org.rows("Account")[3]["Id"]
    org.advance(timedelta(hours=1))
    org.delete("Account", gone)
    org.purge("Account", gone)
    at = f"{org.now:%Y-%m-%dT%H:%M:%S.000+0000}"
    org.advance(timedelta(minutes=1))
    return gone, at


def documents(org: Org) -> dict[str, Any]:
    """The description of an account as the org gives it."""
    found: dict[str, Any] = connect(org)._wire.get_json("/services/data/v59.0/sobjects/Account/describe")
    return found


@pytest.mark.parametrize("date", [LATE, EARLY])
@pytest.mark.parametrize("path", ["/updated", "/describe$", "/queryAll$"])
def test_one_wrong_clock_moves_no_watermark(org: Org, tmp_path: Path, date: str, path: str) -> None:
    answers = {
        "/updated": {"ids": [], "latestDateCovered": f"{org.now:%Y-%m-%dT%H:%M:%S.000+0000}"},
        "/describe$": documents(org),
        "/queryAll$": {"totalSize": 0, "done": True, "records": []},
    }
    store = Store(tmp_path)
    skip = 1 if path == "/queryAll$" else 0
    org.faults.add(path, skip=skip, status=200, body=answers[path], headers={"Date": date})
    store.sync(connect(org), objects=["Account", "OpportunityStage"])
    assert all(abs(each - org.now) < timedelta(hours=1) for each in store.watermarks.values())
    org.advance(timedelta(hours=1))
    store.sync(connect(org), objects=["Account", "OpportunityStage"])
    assert names(store) == ["0", "1", "2", "3"]
    assert store.rows("Account", known_at=org.now).height == 4


def test_a_clock_that_jumps_is_believed_at_the_second_word(org: Org) -> None:
    source = connect(org)
    before = source.server_time
    org.advance(timedelta(days=3))
    source._wire.get_json("/services/data")
    assert source.server_time == before
    source._wire.get_json("/services/data")
    assert source.server_time == before + timedelta(days=3)


@pytest.mark.parametrize("minutes", [13, 50, 8 * 1440])
def test_a_store_that_was_read_by_a_wrong_clock_is_read_again(org: Org, tmp_path: Path, minutes: int) -> None:
    store, read = Store(tmp_path), ("Account", "OpportunityStage")
    org.advance(timedelta(minutes=minutes))
    store.sync(connect(org), objects=read)
    ahead = store.watermarks["OpportunityStage"]
    org.advance(timedelta(minutes=-minutes))
    # both happen at a time that the store has passed already
    gone, *_ = (each["Id"] for each in org.rows("Account"))
    org.delete("Account", gone)
    org.purge("Account", gone)
    stage = org.rows("OpportunityStage")[0]["Id"]
    org.update("OpportunityStage", stage, SortOrder=99)
    org.advance(timedelta(minutes=1))
    report = store.sync(connect(org), objects=read)
    assert any("still to come by Salesforce's clock" in each for each in report.warnings)
    assert gone not in store.rows("Account")["Id"].to_list()
    assert 99 in store.rows("OpportunityStage")["SortOrder"].to_list()
    assert all(org.now - timedelta(minutes=2) < each <= org.now < ahead for each in store.watermarks.values())
    # and that is all
    org.advance(timedelta(hours=1))
    report = store.sync(connect(org), objects=read)
    assert not report.warnings
    assert sum(each.written + each.deleted for each in report.objects) == 0


def test_a_purge_is_not_lost_where_the_comparison_fails_after_a_wrong_clock(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    org.advance(timedelta(hours=5))
    store.sync(connect(org), objects=["Account"])
    org.advance(timedelta(hours=-5))
    gone, at = purged(org)
    # of the purge the log tells nothing any more
    log = {"earliestDateAvailable": at, "latestDateCovered": at, "deletedRecords": []}
    org.faults.add("/deleted/", status=200, body=log, times=None)
    # after the organization, the window's own count and its page
    org.faults.unavailable("/queryAll$", skip=3, times=None)
    assert store.sync(connect(org), objects=["Account"]).failed
    assert store.watermarks["Account"] <= org.now
    assert gone in store.rows("Account")["Id"].to_list()
    # by now the wrong time has come
    org.advance(timedelta(hours=6))
    org.faults.clear()
    org.faults.add("/deleted/", status=200, body=log, times=None)
    store.sync(connect(org), objects=["Account"])
    assert gone not in store.rows("Account")["Id"].to_list()


def test_pages_of_a_gateway_do_not_tell_the_time(org: Org) -> None:
    source = connect(org)
    before = source.server_time
    org.faults.unavailable("/services/data$", times=2)
    org.faults.add("/services/data$", status=503, headers={"Date": LATE}, times=3)
    source._wire.get_json("/services/data")
    assert source.server_time == before


@pytest.mark.parametrize("listed", [1, 4])
def test_live_records_that_are_listed_as_deleted_stay(org: Org, tmp_path: Path, listed: int) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    ids = [row["Id"] for row in org.rows("Account")]
    gone, at = purged(org)
    deleted = [{"id": each, "deletedDate": at} for each in (*ids[:listed], gone)]
    covered = {"earliestDateAvailable": "2026-05-20T00:00:00.000+0000", "latestDateCovered": at}
    org.faults.add("/deleted/", status=200, body={"deletedRecords": deleted, **covered})
    report = store.sync(connect(org), objects=["Account"])
    assert report.objects[0].deleted == 1
    assert names(store) == ["0", "1", "2"]


def test_a_deletion_is_not_lost_because_its_id_is_cut_short(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    living = org.rows("Account")[0]["Id"]
    gone, at = purged(org)
    deleted = [{"id": each, "deletedDate": at} for each in (living, gone[:15])]
    org.faults.add("/deleted/", status=200, body={"deletedRecords": deleted, "latestDateCovered": at})
    store.sync(connect(org), objects=["Account"])
    assert names(store) == ["0", "1", "2"]


@pytest.mark.parametrize(
    "odd",
    [
        {"deletedDate": 1.5},
        {"deletedDate": "-1"},
        {"deletedDate": "0001-01-01T00:00:00.000+0000"},
        {"deletedDate": "9999-12-31T23:59:59.999+0000"},
        {"id": "x"},
        {"id": 12},
    ],
)
@pytest.mark.parametrize("times", [1, None])
def test_a_deletion_that_makes_no_sense_hides_no_other(
    org: Org, tmp_path: Path, odd: dict[str, Any], times: int | None
) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    gone, at = purged(org)
    listed = {"deletedRecords": [{"id": gone, "deletedDate": at} | odd], "latestDateCovered": at}
    org.faults.add("/deleted/", status=200, body=listed, times=times)
    assert bool(store.sync(connect(org), objects=["Account"]).failed) is (times is None)
    org.faults.clear()
    store.sync(connect(org), objects=["Account"])
    assert names(store) == ["0", "1", "2"]


@pytest.mark.parametrize("record", [{"x": None}, {"Id": None}, {"Id": 12}])
def test_a_live_record_without_an_id_is_no_answer(org: Org, tmp_path: Path, record: dict[str, Any]) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    purged(org)
    body = {"totalSize": 1, "done": True, "records": [record]}
    org.faults.add("/query$", status=200, body=body)
    assert not store.sync(connect(org), objects=["Account"]).failed
    assert org.faults.pending == 0
    assert names(store) == ["0", "1", "2"]


@pytest.mark.parametrize("stamp", ["2026-05-01T12:00:00.000+0000", "9999-12-31T23:59:59.000+0000"])
@pytest.mark.parametrize("times", [1, None])
def test_a_record_of_a_time_that_was_not_asked_for_is_no_answer(
    org: Org, tmp_path: Path, stamp: str, times: int | None
) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    org.advance(timedelta(hours=1))
    identity = org.rows("Account")[0]["Id"]
    org.update("Account", identity, Name="edited")
    org.advance(timedelta(minutes=1))
    old = dict.fromkeys(readings(Mapping())["Account"].fields) | {
        "Id": identity,
        "Name": "0",
        "IsDeleted": False,
        "CreatedDate": stamp,
        "SystemModstamp": stamp,
    }
    body = {"totalSize": 1, "done": True, "records": [old]}
    # the organization and the count come first
    org.faults.add("/queryAll$", skip=2, status=200, body=body, times=times)
    before = store.watermarks
    failed = store.sync(connect(org), objects=["Account"]).failed
    assert bool(failed) is (times is None)
    if failed:
        assert "another time" in (failed[0].message or "")
        assert store.watermarks == before
    org.faults.clear()
    store.sync(connect(org), objects=["Account"])
    assert sorted(names(store)) == ["1", "2", "3", "edited"]


def test_a_stage_that_was_edited_just_now_is_not_gone(org: Org, tmp_path: Path) -> None:
    # stages neither mark what was deleted nor list it: they are counted
    store = Store(tmp_path)
    store.sync(connect(org), objects=["OpportunityStage"])
    stages = org.rows("OpportunityStage")
    org.advance(timedelta(hours=1))
    org.update("OpportunityStage", stages[0]["Id"], MasterLabel="edited")
    org.advance(timedelta(seconds=1))
    report = store.sync(connect(org), objects=["OpportunityStage"])
    assert report.objects[0].deleted == 0
    assert store.rows("OpportunityStage").height == len(stages)
    org.advance(timedelta(hours=1))
    store.sync(connect(org), objects=["OpportunityStage"])
    assert "edited" in store.rows("OpportunityStage")["MasterLabel"].to_list()
    assert not store.versions("OpportunityStage").collect()["_deleted"].any()


ODD_TYPES = {"a flag of another type": "IsDeleted", "an instant of another type": "SystemModstamp"}


@pytest.mark.parametrize("what", [*ODD_TYPES, "a field twice"])
def test_a_description_that_cannot_be_right_is_asked_for_again(org: Org, tmp_path: Path, what: str) -> None:
    found = documents(org)
    odd = {"type": "string"}
    fields = [each | (odd if each["name"] == ODD_TYPES.get(what) else {}) for each in found["fields"]]
    fields += [fields[-1] | {"type": "int"}] if what == "a field twice" else []
    modified = {"Last-Modified": "Mon, 01 Jun 2026 12:00:00 GMT"}
    org.faults.add("/Account/describe", status=200, body=found | {"fields": fields}, headers=modified)
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    assert org.faults.pending == 0
    assert names(store) == ["0", "1", "2", "3"]


def odd_description(org: Org, object: str, **odd: Any) -> dict[str, Any]:
    """How the org would describe an object of which something is as it never is."""
    found: dict[str, Any] = connect(org)._wire.get_json(f"/services/data/v59.0/sobjects/{object}/describe")
    odd_fields = odd.pop("fields", {})
    fields = [each | odd_fields.get(each["name"], {}) for each in found["fields"]]
    return found | {"fields": fields} | odd


ODD_FIELDS = {
    "Amount": {"type": "int"},
    "CloseDate": {"type": "datetime"},
    "IsWon": {"type": "string"},
    "Probability": {"type": "picklist"},
}


@pytest.mark.parametrize("times", [1, None])
@pytest.mark.parametrize("field", ODD_FIELDS)
def test_a_standard_field_is_of_its_type_or_nothing_is_stored(
    org: Org, tmp_path: Path, field: str, times: int | None
) -> None:
    org.insert("Opportunity", [{"Name": "a", "StageName": "Prospecting", "CloseDate": NOON.date()}])
    org.advance(timedelta(minutes=30))
    body = odd_description(org, "Opportunity", fields={field: ODD_FIELDS[field]})
    modified = {"Last-Modified": "Mon, 01 Jun 2026 12:00:00 GMT"}
    org.faults.add("/Opportunity/describe", status=200, body=body, headers=modified, times=times)
    store = Store(tmp_path)
    if times is None:
        with pytest.raises(CrmError, match=rf"{field} \(\w+\) of Opportunity as what it cannot be"):
            store.sync(connect(org), objects=["Opportunity"])
        org.faults.clear()
    store.sync(connect(org), objects=["Opportunity"])
    assert store.rows("Opportunity")["Name"].to_list() == ["a"]


@pytest.mark.parametrize("times", [1, None])
def test_an_object_that_forgets_to_be_replicateable_is_one_all_the_same(
    org: Org, tmp_path: Path, times: int | None
) -> None:
    body = odd_description(org, "Account")
    del body["replicateable"]
    modified = {"Last-Modified": "Mon, 01 Jun 2026 12:00:00 GMT"}
    org.faults.add("/Account/describe", status=200, body=body, headers=modified, times=times)
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    assert store.log("Account").deletes_watermark is not None
    gone, _ = purged(org)
    store.sync(connect(org), objects=["Account"])
    assert gone not in store.rows("Account")["Id"].to_list()


def test_an_object_that_is_said_not_to_be_replicateable_at_first_loses_no_purge(
    org: Org, tmp_path: Path
) -> None:
    body = odd_description(org, "Account", replicateable=False)
    org.faults.add("/Account/describe", status=200, body=body, times=None)
    store = Store(tmp_path)
    report = store.sync(connect(org), objects=["Account"])
    assert any("does not say, as the list of objects does" in each for each in report.warnings)
    gone, _ = purged(org)
    org.faults.clear()
    store.sync(connect(org), objects=["Account"])
    assert gone not in store.rows("Account")["Id"].to_list()


def test_a_mapped_object_has_types_of_its_own(org: Org, tmp_path: Path) -> None:
    org.add_object("Visit__c", "a0V", "StartDate datetime, Partner__c > Account")
    touches = {
        "object": "Visit__c",
        "partner": "Partner__c",
        "account": "Partner__c",
        "occurred_at": "StartDate",
    }
    mapping = Mapping.model_validate({"touchpoints": [touches | {"kind": "meeting"}]})
    report = Store(tmp_path).sync(connect(org), mapping=mapping, objects=["Visit__c"])
    assert [each.status for each in report.objects] == ["ok"]


def test_edits_are_seen_where_their_stamp_is_said_to_be_no_filter(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    body = odd_description(org, "Account", fields={"SystemModstamp": {"filterable": False}})
    modified = {"Last-Modified": "Mon, 01 Jun 2026 13:00:00 GMT"}
    org.faults.add("/Account/describe", status=200, body=body, headers=modified, times=None)
    org.advance(timedelta(hours=1))
    org.update("Account", org.rows("Account")[0]["Id"], Name="edited")
    org.advance(timedelta(hours=1))
    report = store.sync(connect(org), objects=["Account"])
    assert names(store) == ["1", "2", "3", "edited"]
    assert any("read whole in each sync" in each for each in report.warnings)
    # once it is described as it is, it is read by its stamp again
    org.faults.clear()
    org.advance(timedelta(hours=1))
    assert [each.read for each in store.sync(connect(org), objects=["Account"]).objects] == [0]


def test_a_field_of_another_type_than_before_is_described_again_by_the_next_sync(
    org: Org, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    body = odd_description(org, "Account", fields={"Website": {"type": "date"}})
    modified = {"Last-Modified": "Mon, 01 Jun 2026 13:00:00 GMT"}
    org.faults.add("/Account/describe", status=200, body=body, headers=modified)
    with pytest.raises(StoreError, match=r"Account\.Website is Date"):
        store.sync(connect(org), objects=["Account"])
    # though on the org's word it would be unchanged since
    store.sync(connect(org), objects=["Account"])


@pytest.mark.parametrize("modified", ["garbage", "Mon, 01 Jun 2026 12:00:00 GMT"])
def test_a_wrong_description_does_not_outlive_the_sync_that_could_not_read(
    org: Org, tmp_path: Path, modified: str
) -> None:
    found = documents(org)
    fields = [field | ({"type": "date"} if field["name"] == "Website" else {}) for field in found["fields"]]
    org.update("Account", org.rows("Account")[0]["Id"], Website="https://acme.example")
    org.advance(timedelta(minutes=30))
    answer = {"status": 200, "body": found | {"fields": fields}, "headers": {"Last-Modified": modified}}
    org.faults.add("/Account/describe", **answer)
    store = Store(tmp_path)
    assert len(store.sync(connect(org), objects=["Account"]).rejected) == 1
    org.advance(timedelta(hours=1))
    # it is of another type now, and that is told
    with pytest.raises(StoreError, match=r"Account\.Website is String but the store holds Date"):
        store.sync(connect(org), objects=["Account"])


def test_changes_that_are_covered_until_long_ago_only_are_no_answer(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    long_ago = {"ids": [], "latestDateCovered": "1990-01-01T00:00:00.000+0000"}
    org.faults.add("/updated", status=200, body=long_ago)
    store.sync(connect(org), objects=["Account"])
    assert names(store) == ["0", "1", "2", "3"]
    overflowing = {"ids": [], "latestDateCovered": "0001-01-01T00:00:00.000+2300"}
    org.advance(timedelta(hours=1))
    org.faults.add("/updated", status=200, body=overflowing, times=None)
    (failed,) = store.sync(connect(org), objects=["Account"]).failed
    assert "latestDateCovered" in (failed.message or "")


@pytest.mark.parametrize("identity", ["5", "../../x", "001000000000001AAA"])
def test_an_organization_has_an_id_of_its_kind(org: Org, tmp_path: Path, identity: str) -> None:
    answer = {"totalSize": 1, "done": True, "records": [{"Id": identity}]}
    org.faults.add("/queryAll$", status=200, body=answer)
    with pytest.raises(RefusedError, match="does not show the Organization"):
        Store(tmp_path / "acme").sync(connect(org))
    assert not (tmp_path / "acme").exists()


NEXT = "/services/data/v59.0/query/01g{}"


@pytest.mark.parametrize("rows", [0, 4])
def test_pages_without_an_end_are_given_up(org: Org, tmp_path: Path, rows: int) -> None:
    fields = [field["name"] for field in documents(org)["fields"]]
    records = [dict.fromkeys(fields) | {"Id": row["Id"]} for row in org.rows("Account")][:rows]
    page = {"totalSize": 4, "done": False, "records": records}
    for number in range(60):
        path, skip = ("/queryAll$", 2) if number == 0 else ("/query/", 0)
        org.faults.add(path, skip=skip, status=200, body=page | {"nextRecordsUrl": NEXT.format(number)})
    store = Store(tmp_path)
    before = len(org.requests)
    store.sync(connect(org), objects=["Account"])
    assert len(org.requests) - before < 40
    assert names(store) == ["0", "1", "2", "3"]


def test_bulk_pages_without_an_end_are_given_up(org: Org, tmp_path: Path) -> None:
    org.load({"Account": [{"Name": "x"} for _ in range(5_000)]})
    org.advance(timedelta(minutes=30))
    header = ",".join(f'"{name}"' for name in (*(each for each in FIELDS if each != "Id"), "Id"))
    for number in range(50):
        headers = {"Sforce-NumberOfRecords": "0", "Sforce-Locator": f"{number}", "Content-Type": "text/csv"}
        org.faults.add("/results$", status=200, body=f"{header}\n", headers=headers)
    (failed,) = Store(tmp_path).sync(connect(org), objects=["Account"]).failed
    assert "in circles" in (failed.message or "")
    assert sum(each.path.endswith("/results") for each in org.requests) < 10


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"Sforce-Limit-Info": "api-usage=" + "9" * 5_000 + "/1"}, "/queryAll$"),
        ({"Location": "https://[::1"}, "/queryAll$"),
    ],
)
def test_headers_that_no_library_expects_are_no_end(
    org: Org, tmp_path: Path, headers: dict[str, str], path: str
) -> None:
    status = 302 if "Location" in headers else 503
    org.faults.add(path, skip=1, status=status, body=b"", headers=headers)
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    assert names(store) == ["0", "1", "2", "3"]


def test_what_an_answer_repeats_of_a_token_is_told_nowhere(org: Org, tmp_path: Path) -> None:
    echo = f"bad session {org.token} and eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl"
    org.faults.error("/sobjects$", 400, "UNKNOWN", echo, times=None)
    with pytest.raises(CrmError) as caught:
        Store(tmp_path).sync(connect(org))
    told = [str(each) for each in (caught.value, caught.value.__cause__, caught.value.hint)]
    assert "bad session ***" in told[0]
    assert not any(org.token in each or "eyJ" in each for each in told)


@pytest.mark.parametrize(
    "address", ["https://[::1", "https://acme my", "https://acme:99999", "https://acme:x"]
)
def test_an_address_that_is_none_is_told_before_anything_is_sent(address: str) -> None:
    with pytest.raises(UsageError, match="SALESFORCE_INSTANCE_URL is no address"):
        Salesforce(instance_url=address, access_token="an access token")


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_waits_are_numbers_of_seconds(seconds: float) -> None:
    with pytest.raises(UsageError, match="ATTRIBUTION_BULK_POLL_SECONDS"):
        Salesforce(instance_url="https://acme", access_token="an access token", bulk_poll_seconds=seconds)


def test_while_somebody_writes_nothing_is_asked(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    before = len(org.requests)
    with Folder(tmp_path).lock(), pytest.raises(StoreError, match="another sync is writing"):
        store.sync(connect(org))
    assert len(org.requests) == before


def test_a_store_that_is_none_cannot_be_verified(org: Org, tmp_path: Path) -> None:
    before = len(org.requests)
    with pytest.raises(DataError, match="nothing was synced"):
        Store(tmp_path / "typo").verify(connect(org))
    assert len(org.requests) == before


@pytest.mark.parametrize("damaged", ["_delta_log/*.json", "*.parquet"])
def test_a_table_that_is_damaged_is_named(org: Org, tmp_path: Path, damaged: str) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    (file,) = (tmp_path / "mirror" / "Account").glob(damaged)
    file.write_bytes(file.read_bytes()[:-30])
    for step in (store.verify, store.sync) if damaged[0] == "_" else (store.verify,):
        with pytest.raises(StoreError, match="damaged") as caught:
            step(connect(org), objects=["Account"])
        assert caught.value.hint


def test_a_bulk_job_of_too_few_rows_is_not_read_twice_but_replaced(org: Org, tmp_path: Path) -> None:
    org.load({"Account": [{"Name": "x"} for _ in range(5_000)]})
    org.advance(timedelta(minutes=30))
    names_in_order = [each for each in FIELDS if each != "Id"] + ["Id"]
    lines = [",".join(f'"{name}"' for name in names_in_order)]
    lines += [",".join(['""'] * (len(FIELDS) - 1) + [f'"{row["Id"]}"']) for row in org.rows("Account")[:3]]
    done = {"id": "750000000000001AAA", "state": "JobComplete", "numberRecordsProcessed": 3}
    org.faults.add("/jobs/query/[^/]+$", method="GET", status=200, body=done)
    headers = {"Sforce-NumberOfRecords": "3", "Sforce-Locator": "null", "Content-Type": "text/csv"}
    org.faults.add("/results$", status=200, body="\n".join(lines) + "\n", headers=headers)
    store = Store(tmp_path)
    (told,) = store.sync(connect(org), objects=["Account"]).objects
    assert (told.status, told.read, store.rows("Account").height) == ("ok", 5_004, 5_004)
    assert (
        sum((each.method, each.path.endswith("/jobs/query")) == ("POST", True) for each in org.requests) == 2
    )
