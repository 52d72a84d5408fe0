"""Records that could not be read: asked for by every later sync, until they are readable or gone."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attribution.mapping import Mapping
from attribution.readings import readings
from attribution.store import Store
from attribution.sync.report import SyncReport
from attribution.testing import Org
from tests.loopback import connect


@pytest.fixture
def org(org: Org) -> Org:
    org.insert("Account", [{"Name": "good"}, {"Name": "odd"}])
    org.advance(timedelta(minutes=30))
    return org


def sync(org: Org, store: Store) -> SyncReport:
    source = connect(org)
    return store.sync(source, objects=["Account"])


def page(org: Org, **changes: Any) -> dict[str, Any]:
    """The records as Salesforce sends them, with changes to the odd one."""
    records = [
        dict.fromkeys(readings(Mapping())["Account"].fields)
        | {"Id": row["Id"], "Name": row["Name"], "IsDeleted": False}
        | dict.fromkeys(("CreatedDate", "SystemModstamp"), "2026-06-01T12:00:00.000+0000")
        | (changes if row["Name"] == "odd" else {})
        for row in org.rows("Account")
    ]
    return {"totalSize": len(records), "done": True, "records": records}


def odd(org: Org, skip: int, **changes: Any) -> str:
    org.faults.add("/queryAll$", skip=skip, status=200, body=page(org, **changes))
    return next(row["Id"] for row in org.rows("Account") if row["Name"] == "odd")


def asked(org: Org, since: int) -> list[str]:
    return [each.soql for each in org.requests[since:] if each.soql and " IN (" in each.soql]


def test_an_unreadable_record_is_asked_for_until_it_is_readable(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    # the organization's own record and the count are asked first
    identity = odd(org, 2, CreatedDate="yesterday")
    assert [each.id for each in sync(org, store).rejected] == [identity]
    assert store.rows("Account")["Name"].to_list() == ["good"]
    assert store.log("Account").coverage.unread == (identity,)
    org.advance(timedelta(hours=1))
    body = page(org, CreatedDate="today")
    body["records"], body["totalSize"] = body["records"][1:], 1
    org.faults.clear()
    org.faults.add("/queryAll$", skip=1, status=200, body=body)
    before, version = len(org.requests), store.log("Account").version
    report = sync(org, store)
    assert [each.reason for each in report.rejected] == ["CreatedDate: 'today' is no datetime"]
    assert len(asked(org, before)) == 1
    assert store.log("Account").coverage.unread == (identity,)
    assert store.log("Account").version == version + 1, "only the watermark has moved"
    org.advance(timedelta(hours=1))
    before = len(org.requests)
    report = sync(org, store)
    assert (report.rejected, report.objects[0].written) == ((), 1)
    assert sorted(store.rows("Account")["Name"]) == ["good", "odd"]
    assert store.log("Account").coverage.unread == ()
    org.advance(timedelta(hours=1))
    before = len(org.requests)
    sync(org, store)
    assert asked(org, before) == []
    assert store.versions("Account").collect().height == 2


def test_an_unreadable_record_that_is_gone_is_let_go(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    identity = odd(org, 2, CreatedDate="yesterday")
    sync(org, store)
    org.delete("Account", identity)
    org.purge("Account", identity)
    org.advance(timedelta(hours=1))
    sync(org, store)
    assert store.log("Account").coverage.unread == ()
    assert store.rows("Account")["Name"].to_list() == ["good"]


def test_a_record_of_another_object_is_no_answer(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    odd(org, 2, Id="006Ab0000000001IAA")
    assert sync(org, store).rejected == ()
    assert sorted(store.rows("Account")["Name"]) == ["good", "odd"]


def test_where_a_record_always_is_of_another_object_nothing_is_passed(org: Org, tmp_path: Path) -> None:
    # nobody knows which record it stands for
    store, source = Store(tmp_path), connect(org)
    for _ in range(3):
        odd(org, 2, Id="006Ab0000000001IAA")
    (failed,) = store.sync(source, objects=["Account"]).failed
    assert "1 of 2 records of Account have no id, or one of another object" in (failed.message or "")
    assert store.watermarks == {}
    sync(org, store)
    assert sorted(store.rows("Account")["Name"]) == ["good", "odd"]


def test_a_store_of_an_earlier_version_remembers_nobody(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    sync(org, store)
    told = json.loads(store.log("Account").coverage.to_json())
    del told["unread"]
    assert type(store.log("Account").coverage).from_json(json.dumps(told)).unread == ()
