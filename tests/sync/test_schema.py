"""The schema: described in every run, sent once, and allowed to change, even while it is read."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from attribution.errors import StoreError, TransientCrmError, UsageError
from attribution.mapping import Mapping
from attribution.store import Store
from attribution.sync.report import Progress, SyncReport
from attribution.sync.schema import Schema
from attribution.testing import Field, Org
from tests.loopback import connect


def later(org: Org, **duration: float) -> None:
    org.advance(timedelta(**(duration or {"minutes": 30})))


def sync(org: Org, store: Store, *objects: str, **options: Any) -> SyncReport:
    return store.sync(connect(org), objects=objects or ["Account"], **options)


def described(org: Org, since: int, name: str = "Account") -> list[int]:
    """Status of every answer to a describe call of an object."""
    return [call.status for call in org.requests[since:] if call.path.endswith(f"/{name}/describe")]


def deals(org: Org, *rows: dict[str, Any]) -> list[str]:
    usual = {"Name": "d", "StageName": "Prospecting", "CloseDate": date(2026, 7, 1)}
    return org.insert("Opportunity", [usual | row for row in rows])


def test_an_unchanged_description_is_not_sent_again(org: Org, tmp_path: Path) -> None:
    store, told = Store(tmp_path), []
    for _ in range(3):
        later(org)
        before = len(org.requests)
        sync(org, store)
        told.append(described(org, before))
    assert told == [[200], [304], [304]]
    org.add_field("Account", "New__c string 10")
    later(org)
    before = len(org.requests)
    sync(org, store)
    sync(org, store)
    assert described(org, before) == [200, 304]
    # a permission may change without the date of the object: now and then all of it is asked for
    later(org, days=8)
    before = len(org.requests)
    sync(org, store)
    assert described(org, before) == [200]


def test_the_kept_description_is_as_good_as_the_one_sent(org: Org, tmp_path: Path) -> None:
    later(org)
    store, fresh = Store(tmp_path), connect(org).describe("Opportunity")
    sync(org, store, "Opportunity")
    source = connect(org)
    before = len(org.requests)
    schema = Schema(tmp_path / "schema.json", source.viewer)
    assert source.describe("Opportunity", schema) == fresh
    assert described(org, before, "Opportunity") == [304]


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"viewer": 1}', '{"viewer": "x", "objects": {"Account": 1}}']
)
def test_what_is_kept_may_be_damaged(org: Org, tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    later(org)
    sync(org, store)
    (tmp_path / "schema.json").write_text(damage)
    before = len(org.requests)
    sync(org, store)
    sync(org, store)
    assert described(org, before) == [200, 304]


def test_another_user_or_version_is_told_everything(org: Org, tmp_path: Path) -> None:
    store = Store(tmp_path)
    later(org)
    sync(org, store)
    before = len(org.requests)
    store.sync(connect(org, api_version="62.0"), objects=["Account"])
    assert described(org, before) == [200]
    assert "Account" in (tmp_path / "schema.json").read_text()
    assert org.token not in (tmp_path / "schema.json").read_text()


def test_an_unchanged_answer_that_nobody_asked_for_is_no_answer(org: Org, tmp_path: Path) -> None:
    org.faults.add("/Account/describe", status=304, times=2)
    store = Store(tmp_path / "acme")
    sync(org, store)
    assert org.faults.pending == 0
    org.faults.add("/Account/describe", status=304, times=None)
    (tmp_path / "acme" / "schema.json").unlink()
    with pytest.raises(TransientCrmError, match="garbled answer"):
        sync(org, store)
    org.faults.clear()
    org.faults.add("/queryAll$", status=304, times=None)
    with pytest.raises(TransientCrmError, match="garbled answer"):
        sync(org, store)


def test_nothing_is_kept_where_nothing_is_written(org: Org, tmp_path: Path) -> None:
    org.hide_field("Opportunity", "Amount")
    with pytest.raises(UsageError):
        sync(org, Store(tmp_path / "acme"), "Opportunity")
    assert not (tmp_path / "acme").exists()


def test_a_granted_permission_counts_at_once(org: Org, tmp_path: Path) -> None:
    later(org)
    store = Store(tmp_path)
    org.hide_field("Lead", "ConvertedAccountId")
    assert sync(org, store, "Lead").unavailable == ("Lead",)
    changed = org.state.changed["Lead"]
    org.show_field("Lead", "ConvertedAccountId")
    # as if the date of the object had not moved
    org.state.changed["Lead"] = changed
    before = len(org.requests)
    assert sync(org, store, "Lead").unavailable == ()
    assert described(org, before, "Lead") == [304, 200]


def hide_while_reading(org: Org, object: str, field: str) -> Any:
    """Hide a field of an object as soon as its records are counted."""

    def progress(event: Progress) -> None:
        if event.object == object and (object, field) not in org.state.hidden:
            org.hide_field(object, field)

    return progress


def test_an_optional_field_that_vanishes_while_it_is_read_is_left_out(org: Org, tmp_path: Path) -> None:
    (account,) = org.insert("Account", [{"Name": "x", "Type": "Partner"}])
    later(org)
    store = Store(tmp_path)
    sync(org, store)
    org.update("Account", account, Name="y")
    later(org)
    before = len(org.requests)
    report = sync(org, store, progress=hide_while_reading(org, "Account", "Type"))
    assert report.outcome == "ok"
    assert described(org, before) == [304, 200]
    assert "Account: Type is hidden now and no longer read; stored values are kept" in report.warnings
    assert store.rows("Account").select("Id", "Name", "Type").rows() == [(account, "y", "Partner")]
    # the next run knows, although the date of the object is the same
    later(org)
    before = len(org.requests)
    sync(org, store)
    assert described(org, before) == [304]
    assert not any(call.status == 400 for call in org.requests[before:])


def test_a_needed_field_that_vanishes_while_it_is_read_names_the_permission(org: Org, tmp_path: Path) -> None:
    deals(org, {"Amount": Decimal(1)})
    later(org)
    store = Store(tmp_path)
    sync(org, store, "User", "Opportunity")
    version = store.log("Opportunity").version
    later(org)
    deals(org, {"Amount": Decimal(2)})
    later(org)
    before = len(org.requests)
    report = sync(
        org, store, "User", "Opportunity", progress=hide_while_reading(org, "Opportunity", "Amount")
    )
    (failed,) = report.failed
    assert failed.object == "Opportunity"
    assert "field Amount of Opportunity does not exist or is hidden" in str(failed.message)
    assert "Read access for field Amount of Opportunity: grant it in a permission set" in str(failed.message)
    assert described(org, before, "Opportunity") == [304, 200]
    assert store.log("Opportunity").version == version


def test_a_refusal_that_no_description_explains_is_asked_once(org: Org, tmp_path: Path) -> None:
    org.insert("Account", [{"Name": "x"}])
    later(org)
    org.faults.error(
        "/queryAll$", 400, "INVALID_FIELD", "No such column 'Nobody' on entity 'Account'", skip=1, times=None
    )
    before = len(org.requests)
    report = sync(org, Store(tmp_path))
    assert "No such column 'Nobody'" in str(report.failed[0].message)
    assert described(org, before) == [200, 200]
    assert sum(call.status == 400 for call in org.requests[before:]) == 1


def test_an_object_that_vanishes_while_others_are_read_is_told(org: Org, tmp_path: Path) -> None:
    later(org)

    def progress(event: Progress) -> None:
        if event.object == "Lead" and "Lead" in org.state.schema:
            org.remove_object("Lead")

    org.insert("Lead", [{"LastName": "x", "Company": "x"}])
    later(org)
    report = sync(org, Store(tmp_path), "User", "Lead", progress=progress)
    assert [each.object for each in report.failed] == ["Lead"]
    assert sync(org, Store(tmp_path), "User", "Lead").unavailable == ("Lead",)


def test_a_field_that_vanishes_from_a_bulk_read_is_left_out(org: Org, tmp_path: Path) -> None:
    org.load({"Account": [{"Name": f"{n}", "Type": "Partner"} for n in range(5_001)]})
    later(org)
    # a bulk job is refused under another code than a query
    org.faults.error("/jobs/query$", 400, "API_ERROR", "No such column 'Type' on entity 'Account'")
    store = Store(tmp_path)
    report = sync(org, store, progress=hide_while_reading(org, "Account", "Type"))
    assert report.outcome == "ok"
    assert org.faults.pending == 0
    assert store.rows("Account").height == 5_001
    assert "Type" not in store.rows("Account").columns


def test_a_type_change_is_refused_before_anything_is_written(org: Org, tmp_path: Path) -> None:
    org.add_field("Opportunity", "Worth__c string 20")
    deals(org, {"Worth__c": "many"})
    later(org)
    store, mapping = Store(tmp_path), Mapping(segments=("Worth__c",))
    sync(org, store, "User", "Opportunity", mapping=mapping)
    versions = {name: store.log(name).version for name in store.objects}
    obj = org.state.object("Opportunity")
    fields = tuple(each for each in obj.fields if each.name != "Worth__c")
    later(org)
    org.state.set_object(replace(obj, fields=(*fields, Field("Worth__c", "double"))))
    org.insert("User", [{"LastName": "x", "Username": "x", "Email": "x"}])
    later(org)
    with pytest.raises(StoreError, match=r"Opportunity\.Worth__c is Decimal.* but the store holds String"):
        sync(org, store, "User", "Opportunity", mapping=mapping)
    assert {name: store.log(name).version for name in store.objects} == versions


def test_the_schema_holds_no_record(org: Org, tmp_path: Path) -> None:
    org.insert("Account", [{"Name": "Hartsfield Textiles"}])
    later(org)
    sync(org, Store(tmp_path))
    kept = json.loads((tmp_path / "schema.json").read_text())
    assert list(kept) == ["viewer", "objects"]
    assert set(kept["objects"]) >= {"Account"}
    assert "Hartsfield" not in json.dumps(kept)
