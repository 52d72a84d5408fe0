"""What a sync would cost, held against what it does cost."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from attribution.cli import main
from attribution.mapping import Mapping
from attribution.store import Store
from attribution.sync.estimation import Estimate, ObjectEstimate
from attribution.testing import Org, generate
from tests.loopback import connect


def test_the_estimate_is_what_a_sync_then_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with generate(80, seed=5).org() as org:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", org.ca_bundle)
        store = Store(tmp_path / "acme")
        before = len(org.requests)
        first = store.plan(connect(org))
        assert first.own_calls == len(org.requests) - before
        assert not store.path.exists()
        report = store.sync(connect(org))
        assert (first.calls, first.rows) == (report.api_calls, sum(each.read for each in report.objects))
        org.advance(timedelta(hours=2))
        account = org.rows("Account")[0]["Id"]
        org.update("Account", account, Name="changed")
        org.advance(timedelta(minutes=10))
        second = store.plan(connect(org))
        watermarks = store.watermarks
        report = store.sync(connect(org))
        assert second.calls == report.api_calls
        assert second.rows == sum(each.read for each in report.objects)
        told = {each.object: each for each in second.objects}["Account"]
        assert told == ObjectEstimate(
            "Account", "REST", 1, 4, watermarks["Account"] - timedelta(minutes=10), None
        )
        org.advance(timedelta(minutes=10))
        full = store.plan(connect(org), full=True)
        report = store.sync(connect(org), full=True)
        assert (full.calls, full.rows) == (report.api_calls, sum(each.read for each in report.objects))
        org.advance(timedelta(minutes=10))
        compared = store.plan(connect(org), reconcile=True)
        report = store.sync(connect(org), reconcile=True)
        # whoever sees everything need not be asked why something vanished
        assert compared.calls == report.api_calls
    org.close()


def test_many_rows_are_estimated_in_bulk_with_all_else_that_is_due(org: Org, tmp_path: Path) -> None:
    org.load({"Account": [{"Name": f"{n}", "Industry": "Food"} for n in range(6_000)]})
    org.advance(timedelta(minutes=30))
    store = Store(tmp_path)
    (first,) = store.plan(connect(org), objects=["Account"]).objects
    assert (first.transport, first.rows, first.calls, first.since) == ("bulk", 6_000, 10, None)
    report = store.sync(connect(org), objects=["Account"])
    assert abs(first.calls - report.objects[0].api_calls) <= 4
    org.advance(timedelta(days=20))
    mapping = Mapping(segments=("Account.Industry",))
    (second,) = store.plan(connect(org), objects=["Account"], mapping=mapping).objects
    assert second.remark == "Industry of every record, every id"
    assert (second.transport, second.rows) == ("bulk", 12_000)
    assert store.watermarks["Account"] == report.objects[0].to


def test_what_is_left_of_the_quota() -> None:
    one = ObjectEstimate("Account", "REST", 10, 50, None)
    assert Estimate((one,), 30, 40, (700, 1000), 80.0).fits is True
    assert Estimate((one,), 31, 40, (720, 1000), 80.0).fits is False
    assert Estimate((one,), 30, 40, (720, 1000), None).remaining == 280
    assert Estimate((one,), 30, 40, (900, 1000), 80.0).remaining == 0
    blind = Estimate((one,), 30, 40, None, 80.0)
    assert (blind.fits, blind.remaining) == (None, None)
    assert "does not tell what is left" in str(blind)


def test_an_object_that_cannot_be_counted_says_so(org: Org, tmp_path: Path) -> None:
    org.faults.error("/queryAll$", 400, "QUERY_TIMEOUT", "too long", skip=1)
    (told,) = Store(tmp_path).plan(connect(org), objects=["Account"]).objects
    assert (told.calls, told.rows, told.transport) == (None, None, None)
    assert "cannot be counted: Salesforce: QUERY_TIMEOUT" in str(told.remark)


def test_the_command_plans(org: Org, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    org.insert("Account", [{"Name": "x"}])
    org.advance(timedelta(minutes=30))
    words = ["sync", "--plan", "--store", str(tmp_path / "acme"), "--object", "Account"]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["objects"] == [
        {"object": "Account", "transport": "REST", "rows": 1, "calls": 3, "from": None, "remark": None}
    ]
    assert document["fits"] is True
    assert document["calls"] == document["schema_calls"] + 3
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "the beginning" in told
    assert f"this estimate took {document['own_calls']} calls" in told
    assert not (tmp_path / "acme").exists()
