"""Answers that look whole and are not: each is asked for again, or reported, and none is stored."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attribution.errors import AttributionError, RefusedError
from attribution.mapping import Mapping
from attribution.readings import readings
from attribution.store import Store
from attribution.sync.salesforce import Salesforce
from attribution.testing import Org
from tests.loopback import connect

FIELDS = readings(Mapping())["Account"].fields


@pytest.fixture
def org(org: Org) -> Org:
    org.insert("Account", [{"Name": f"{n}"} for n in range(4)])
    org.advance(timedelta(minutes=30))
    return org


def records(org: Org) -> list[dict[str, Any]]:
    return [
        dict.fromkeys(FIELDS)
        | {"Id": row["Id"], "Name": row["Name"], "IsDeleted": False}
        | dict.fromkeys(("CreatedDate", "SystemModstamp"), "2026-06-01T12:00:00.000+0000")
        for row in org.rows("Account")
    ]


def whole(org: Org, store: Store) -> None:
    ours = {each["Id"]: each["Name"] for each in store.rows("Account").to_dicts()}
    assert ours == {each["Id"]: each["Name"] for each in org.rows("Account")}


def repeated(org: Org) -> dict[str, Any]:
    found = records(org)
    return {"totalSize": len(found), "done": True, "records": [found[1], *found[1:]]}


def with_first(org: Org, **values: Any) -> dict[str, Any]:
    first, *others = records(org)
    return {"totalSize": 4, "done": True, "records": [first | values, *others]}


ODD_PAGES = {
    "a row in the place of another": repeated,
    "one row too few": lambda org: {"totalSize": 4, "done": True, "records": records(org)[1:]},
    "one row too many": lambda org: {"totalSize": 3, "done": True, "records": records(org)},
    "less than none": lambda org: {"totalSize": -1, "done": True, "records": []},
    "a next page elsewhere": lambda org: {
        "totalSize": 9,
        "done": False,
        "records": records(org),
        "nextRecordsUrl": "https://elsewhere.example/services/data/v59.0/query/x",
    },
    "a next page that is this one": lambda org: {
        "totalSize": 9,
        "done": False,
        "records": records(org),
        "nextRecordsUrl": "/services/data/v59.0/queryAll",
    },
    "a record without an id": lambda org: {
        "totalSize": 4,
        "done": True,
        "records": [*records(org)[1:], records(org)[0] | {"Id": None}],
    },
    "a record with half an id": lambda org: {
        "totalSize": 4,
        "done": True,
        "records": [*records(org)[1:], records(org)[0] | {"Id": "001Ab"}],
    },
    "an id without its last three characters": lambda org: with_first(org, Id=records(org)[0]["Id"][:15]),
    "no record at all": lambda org: {"totalSize": 4, "done": True, "records": ["x", 1, None, {}]},
    "a field that lacks": lambda org: {
        "totalSize": 4,
        "done": True,
        "records": [{name: each[name] for name in each if name != "Name"} for each in records(org)],
    },
    "a name that is a number": lambda org: with_first(org, Name=12),
    "a name that is a flag": lambda org: with_first(org, Name=True),
    "a name that is a list": lambda org: with_first(org, Name=["x"]),
    "an owner that is a number": lambda org: with_first(org, ParentId=1.5),
    "brackets without end": lambda org: b"[" * 100_000,
}


@pytest.mark.parametrize("odd", ODD_PAGES)
def test_a_page_that_is_not_whole_is_read_again(org: Org, tmp_path: Path, odd: str) -> None:
    store = Store(tmp_path)
    org.faults.add("/queryAll$", skip=2, status=200, body=ODD_PAGES[odd](org))
    store.sync(connect(org), objects=["Account"])
    store.sync(connect(org), objects=["Account"])
    whole(org, store)


@pytest.mark.parametrize("odd", ODD_PAGES)
def test_a_page_that_never_is_whole_is_reported(org: Org, tmp_path: Path, odd: str) -> None:
    store = Store(tmp_path)
    org.faults.add("/queryAll$", skip=2, status=200, body=ODD_PAGES[odd](org), times=None)
    assert [each.object for each in store.sync(connect(org), objects=["Account"]).failed] == ["Account"]
    assert store.objects == ()


@pytest.mark.parametrize(
    "odd",
    [
        {"totalSize": 0, "done": False, "records": []},
        {"totalSize": 0, "done": True, "records": [{"Id": "x"}]},
        {"totalSize": -3, "done": True, "records": []},
        {"totalSize": "none", "done": True, "records": []},
    ],
)
def test_a_count_that_contradicts_itself_skips_nothing(org: Org, tmp_path: Path, odd: dict[str, Any]) -> None:
    store = Store(tmp_path)
    org.faults.add("/queryAll$", skip=1, status=200, body=odd)
    store.sync(connect(org), objects=["Account"])
    whole(org, store)


NONE = {"totalSize": 0, "done": True, "records": []}


def asked_of(org: Org, since: int) -> list[str]:
    """Which of the questions about accounts were asked."""
    return [
        "count"
        if "COUNT()" in (each.soql or "")
        else "rows"
        if each.soql
        else each.path.strip("/").rpartition("/")[2]
        for each in org.requests[since:]
        if "FROM Account" in (each.soql or "") or "/Account/" in each.path
    ]


def test_a_count_of_none_is_not_believed_where_changes_are_named(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    org.faults.add("/queryAll$", skip=1, status=200, body=NONE)
    before = len(org.requests)
    store.sync(connect(org), objects=["Account"])
    whole(org, store)
    assert asked_of(org, before) == ["describe", "updated", "count", "rows"]
    org.advance(timedelta(hours=1))
    org.update("Account", org.rows("Account")[0]["Id"], Name="edited")
    org.advance(timedelta(minutes=1))
    org.faults.clear()
    org.faults.add("/queryAll$", skip=1, status=200, body=NONE)
    before = len(org.requests)
    store.sync(connect(org), objects=["Account"])
    whole(org, store)
    assert asked_of(org, before) == ["describe", "updated", "count", "rows", "deleted"]
    # where nothing is named a count is enough, beyond the overlap of windows and within a day
    for hours, more in ((1, ["rows"]), (24, []), (26, ["rows"])):
        org.advance(timedelta(hours=hours))
        before = len(org.requests)
        store.sync(connect(org), objects=["Account"])
        assert asked_of(org, before) == ["describe", "updated", "count", *more, "deleted"]


def test_changes_that_no_query_shows_are_not_passed(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    before = store.watermarks
    org.advance(timedelta(hours=1))
    org.update("Account", org.rows("Account")[0]["Id"], Name="edited")
    org.advance(timedelta(minutes=1))
    org.faults.add("/queryAll$", skip=1, status=200, body=NONE, times=None)
    (failed,) = store.sync(connect(org), objects=["Account"]).failed
    assert "no query shows any of them" in (failed.message or "")
    assert store.watermarks == before
    org.faults.clear()
    for _ in range(2):
        store.sync(connect(org), objects=["Account"])
        whole(org, store)
        org.advance(timedelta(minutes=30))
    # whereas a change later than the window can be seen
    open_for_long = org.begin()
    org.advance(timedelta(minutes=5))
    org.update("Account", org.rows("Account")[1]["Id"], Name="later")
    org.advance(timedelta(minutes=5))
    before_it = store.watermarks["Account"]
    (told,) = store.sync(connect(org), objects=["Account"]).objects
    assert (told.status, told.read, store.watermarks["Account"] > before_it) == ("ok", 0, True)
    open_for_long.commit()
    store.sync(connect(org), objects=["Account"])
    whole(org, store)


def test_a_count_of_none_is_not_believed_where_nothing_names_changes(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["OpportunityStage"])
    org.advance(timedelta(hours=1))
    stage = org.rows("OpportunityStage")[0]["Id"]
    org.update("OpportunityStage", stage, MasterLabel="edited")
    org.advance(timedelta(minutes=1))
    org.faults.add("/queryAll$", skip=1, status=200, body=NONE)
    store.sync(connect(org), objects=["OpportunityStage"])
    assert "edited" in store.rows("OpportunityStage")["MasterLabel"].to_list()


def test_what_vanished_is_found_though_it_takes_too_long_to_count(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["OpportunityStage"])
    gone = org.rows("OpportunityStage")[0]["Id"]
    with org.state.records.writing() as connection:
        connection.execute("DELETE FROM OpportunityStage WHERE Id = ?", (gone,))
    org.advance(timedelta(hours=1))
    slow = "Your query request was running for too long."
    # asked before: the organization, the window's count and, as there was nothing, its rows
    org.faults.error("/queryAll$", 400, "QUERY_TIMEOUT", slow, skip=3)
    store.sync(connect(org), objects=["OpportunityStage"])
    assert org.faults.pending == 0
    assert gone not in store.rows("OpportunityStage")["Id"].to_list()
    assert store.rows("OpportunityStage").height == len(org.rows("OpportunityStage"))


def test_not_everything_vanishes_at_once(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.sync(connect(org), objects=["OpportunityStage"])
    before = store.rows("OpportunityStage")
    org.advance(timedelta(hours=1))
    org.faults.add("/queryAll$", skip=1, status=200, body=NONE, times=None)
    report = store.sync(connect(org), objects=["OpportunityStage"])
    assert f"OpportunityStage: {before.height} of {before.height} records have vanished" in report.warnings[0]
    assert store.rows("OpportunityStage").equals(before)
    org.faults.clear()
    org.faults.add("/queryAll$", skip=1, status=200, body=NONE, times=None)
    org.advance(timedelta(hours=1))
    report = store.sync(connect(org), objects=["OpportunityStage"], max_vanished_percent=100)
    assert report.objects[0].deleted == before.height


def test_no_rows_where_some_were_counted_are_asked_for_again(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    org.faults.add("/queryAll$", skip=2, status=200, body=NONE)
    store.sync(connect(org), objects=["Account"])
    whole(org, store)
    org.update("Account", org.rows("Account")[0]["Id"], Name="edited")
    org.advance(timedelta(minutes=1))
    for _ in range(3):
        org.faults.add(r"/queryAll$", skip=1, status=200, body={**NONE, "totalSize": 1})
        org.faults.add(r"/queryAll$", skip=1, status=200, body=NONE)
    failed = store.sync(connect(org), objects=["Account"]).failed
    assert "edited" not in store.rows("Account")["Name"].to_list()
    assert [each.object for each in failed] == ["Account"]


def bulk_page(org: Org, *, repeats: bool) -> bytes:
    ids = [each["Id"] for each in org.rows("Account")]
    ids = [ids[1], *ids[1:]] if repeats else ids
    names = [name for name in FIELDS if name != "Id"]
    values = {"CreatedDate": "2026-06-01T12:00:00.000Z", "SystemModstamp": "2026-06-01T12:00:00.000Z"}
    rows = [",".join(f'"{values.get(name, "")}"' for name in names) + f',"{each}"' for each in ids]
    return "\n".join([",".join(f'"{name}"' for name in (*names, "Id")), *rows, ""]).encode()


@pytest.mark.parametrize(
    ("repeats", "headers"),
    [
        (True, {"Sforce-Locator": "null", "Sforce-NumberOfRecords": "6000"}),
        (False, {"Sforce-NumberOfRecords": "6000"}),
    ],
)
def test_a_bulk_job_with_one_row_twice_or_an_unknown_end_is_not_stored(
    org: Org, tmp_path: Path, repeats: bool, headers: dict[str, str]
) -> None:
    org.load({"Account": [{"Name": ""} for _ in range(5_996)]})
    org.advance(timedelta(minutes=30))
    store = Store(tmp_path)
    body = bulk_page(org, repeats=repeats)
    org.faults.add("/results$", status=200, body=body, headers=headers, times=None)
    assert [each.object for each in store.sync(connect(org), objects=["Account"]).failed] == ["Account"]
    org.faults.clear()
    store.sync(connect(org), objects=["Account"])
    whole(org, store)


@pytest.mark.parametrize("elsewhere", ["https://elsewhere.example/x", "//elsewhere.example/x"])
def test_a_redirect_to_another_host_is_not_followed(org: Org, tmp_path: Path, elsewhere: str) -> None:
    store = Store(tmp_path)
    org.faults.add("/queryAll$", skip=1, status=302, body=b"", headers={"Location": elsewhere}, times=None)
    (failed,) = store.sync(connect(org), objects=["Account"]).failed
    assert "to another host" in (failed.message or "")
    assert store.objects == ()


def test_a_date_beyond_all_calendars_is_no_date(org: Org, tmp_path: Path) -> None:
    late = {"Retry-After": "Fri, 31 Dec 9999 23:59:59 -1200"}
    org.faults.add("/queryAll$", status=429, body=b"", headers=late)
    store = Store(tmp_path)
    store.sync(connect(org), objects=["Account"])
    whole(org, store)


def test_a_sync_that_read_no_object_is_in_the_ledger_too(org: Org, tmp_path: Path) -> None:
    store, told = Store(tmp_path), []
    store.sync(connect(org), objects=["Account"])
    wrong = Salesforce(instance_url=org.url, access_token="no token", retry_base_seconds=0)
    with pytest.raises(RefusedError):
        store.sync(wrong, log=told.append)
    with pytest.raises(AttributionError):
        store.sync(connect(org), max_api_calls=2)
    assert [each["outcome"] for each in store.runs] == ["ok", "failed", "stopped"]
    assert store.runs[1]["warnings"][0].startswith("Salesforce: INVALID_SESSION_ID")
    assert told == [{"event": "run", **store.runs[1]}]


def test_the_description_of_another_object_is_not_kept(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    other = {"name": "Contact", "fields": [{"name": "Id", "type": "id"}]}
    modified = {"Last-Modified": "Mon, 01 Jun 2026 12:00:00 GMT"}
    org.faults.add("/Account/describe", status=200, body=other, headers=modified, times=None)
    with pytest.raises(AttributionError, match="the description of another object"):
        store.sync(connect(org), objects=["Account"])
    org.faults.clear()
    store.sync(connect(org), objects=["Account"])
    whole(org, store)
