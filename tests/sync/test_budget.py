"""A sync that spends no more than it may: calls, the org's quota, time."""

from __future__ import annotations

import itertools
import json
import pickle
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attribution.cli import main
from attribution.errors import StoppedEarly, UsageError
from attribution.store import Store
from attribution.sync.budget import Budget, Gate
from attribution.sync.salesforce import Salesforce
from attribution.sync.session import Account
from attribution.testing import Org
from tests.loopback import connect


@pytest.fixture
def org(org: Org, monkeypatch: pytest.MonkeyPatch) -> Org:
    monkeypatch.setenv("ATTRIBUTION_RETRY_BASE_SECONDS", "0")
    org.insert("Account", [{"Name": "x"}])
    org.advance(timedelta(minutes=30))
    return org


def stopped(store: Store, source: Salesforce, **limits: Any) -> StoppedEarly:
    with pytest.raises(StoppedEarly) as stop:
        store.sync(source, **limits)
    return stop.value


def test_a_capped_sync_sends_no_request_more_and_finishes_over_several_runs(org: Org, tmp_path: Path) -> None:
    whole, capped = Store(tmp_path / "whole"), Store(tmp_path / "capped")
    whole.sync(connect(org))
    left: set[str] = set()
    runs: list[StoppedEarly] = []
    while set(capped.objects) != set(whole.objects):
        before = len(org.requests)
        stop = stopped(capped, connect(org), max_api_calls=36)
        runs.append(stop)
        assert stop.message == "all 36 API calls allowed to this sync are made"
        assert len(org.requests) - before == stop.report.api_calls == 36
        assert len(stop.report.objects) == len(whole.objects) + 2
        done = [each.object for each in stop.report.objects if each.status == "ok"]
        # whoever was left the last time goes first now
        assert set(done[: len(left)]) <= left or left <= set(done)
        left = {each.object for each in stop.report.stopped}
    assert 2 < len(runs) < 9
    assert capped.rows("Account").equals(whole.rows("Account"))


def test_an_object_that_always_fails_does_not_starve_the_others(org: Org, tmp_path: Path) -> None:
    store, read = Store(tmp_path), ("Account", "Contact", "User")
    org.faults.unavailable("/Account/updated", times=None)
    statuses = []
    for _ in range(4):
        report = stopped(store, connect(org), objects=read, max_api_calls=12).report
        statuses.append({each.object: each.status for each in report.objects})
        org.advance(timedelta(minutes=5))
    # in every second run it has its turn
    assert [each["Account"] for each in statuses] == ["failed", "stopped", "failed", "stopped"]
    assert [each["User"] for each in statuses] == ["stopped", "ok", "stopped", "ok"]
    assert store.watermarks.keys() == {"Contact", "User"}
    org.faults.clear()
    store.sync(connect(org), objects=read)
    assert set(store.objects) == set(read)


def test_retries_count_as_calls(org: Org, tmp_path: Path) -> None:
    org.faults.unavailable("/User/updated", times=None)
    before = len(org.requests)
    # it would be asked six times
    stop = stopped(Store(tmp_path), connect(org), objects=["User"], max_api_calls=7)
    assert len(org.requests) - before == 7
    assert [call.status for call in org.requests[-3:]] == [503] * 3
    assert [each.status for each in stop.report.objects] == ["stopped"]


@pytest.mark.parametrize("app", [None, (1, 250, "x")])
def test_the_rest_of_the_quota_is_left_to_others(
    org: Org, tmp_path: Path, app: tuple[int, int, str] | None
) -> None:
    org.app_usage = app
    org.quota, org.used = 1000, 760
    store = Store(tmp_path)
    stop = stopped(store, connect(org), parallel=1)
    assert "used 800 of its 1,000 API calls" in stop.message
    assert org.used == 800
    assert stop.report.stopped
    assert store.objects == tuple(sorted(each.object for each in stop.report.objects if each.status == "ok"))
    assert stopped(store, connect(org)).report is None
    assert org.used == 801, "the limits are asked, nothing else"
    assert store.sync(connect(org), max_quota_percent=95).stopped == ()
    org.used = 990
    assert store.sync(connect(org), objects=["Account"], max_quota_percent=None).stopped == ()


def test_who_may_not_see_the_limits_is_stopped_all_the_same(org: Org, tmp_path: Path) -> None:
    org.faults.error("/limits", 403, "INSUFFICIENT_ACCESS", "no", times=None)
    org.quota, org.used = 1000, 760
    assert "used 800 of" in stopped(Store(tmp_path), connect(org), parallel=1).message


def test_no_more_of_the_quota_is_used_where_several_objects_are_read_at_once(
    org: Org, tmp_path: Path
) -> None:
    org.quota, org.used = 1000, 760
    report = stopped(Store(tmp_path), connect(org), parallel=4).report
    assert 790 < org.used <= 800
    looking_first = 23  # at the limits, the organization and its objects
    of_objects = sum(each.api_calls for each in report.objects)
    assert report.api_calls == org.used - 760 == looking_first + of_objects


def test_a_deadline_stops_before_a_request_and_before_a_wait(org: Org, tmp_path: Path) -> None:
    seconds = itertools.count()
    store = Store(tmp_path)
    stop = stopped(store, connect(org, clock=lambda: float(next(seconds))), deadline=200)
    assert "the deadline of 200 seconds" in stop.message
    assert stop.report.stopped
    waits: list[float] = []
    org.faults.too_many_requests("/Account/updated", retry_after=60)
    patient = connect(org, clock=lambda: 0.0, sleep=waits.append)
    assert stopped(store, patient, objects=["Account"], deadline=45).report.stopped
    assert waits == []
    store.sync(connect(org, clock=lambda: 0.0), deadline=45)


def test_a_quota_that_is_used_up_leaves_a_report(org: Org, tmp_path: Path) -> None:
    org.faults.quota_exceeded("/Opportunity/updated", times=None)
    stop = stopped(Store(tmp_path), connect(org), parallel=1)
    status = {each.object: each.status for each in stop.report.objects}
    assert (status["Account"], status["Opportunity"], status["Task"]) == ("ok", "stopped", "stopped")
    assert org.requests[-1].status == 403
    assert pickle.loads(pickle.dumps(stop)).report == stop.report


def test_the_command_prints_the_report_and_exits_4(
    org: Org, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sync", "--store", str(tmp_path), "--max-api-calls", "45"]
    assert main(words) == 4
    told = capsys.readouterr()
    assert "Organization            ok" in told.out
    assert "Task                    stopped" in told.out
    assert told.err.startswith("Error: all 45 API calls allowed to this sync are made\nHint: run it again")
    assert main([*words, "--json"]) == 4
    told = capsys.readouterr()
    assert {each["status"] for each in json.loads(told.out)["objects"]} >= {"ok", "stopped"}
    assert told.err == "stopped: all 45 API calls allowed to this sync are made\n"
    assert main(["sync", "--store", str(tmp_path), "--max-api-calls", "2", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "stopped_early"


@pytest.mark.parametrize(
    "limits",
    [{"max_api_calls": 0}, {"max_quota_percent": 0}, {"max_quota_percent": 101}, {"deadline": 0}],
)
def test_a_limit_that_leaves_nothing_is_refused(org: Org, tmp_path: Path, limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Store(tmp_path).sync(connect(org), **limits)
    assert org.requests == []


def test_an_answer_that_was_overtaken_hides_no_request() -> None:
    account = Account()
    account.gate = Gate(Budget(max_quota_percent=80), lambda: 0.0, 0)
    first, second = ExitStack(), ExitStack()
    learn_first, learn_second = (each.enter_context(account.counted()) for each in (first, second))
    # the org saw the second one before the first, and its answer comes last
    learn_first({"Sforce-Limit-Info": "api-usage=102/1000"})
    first.close()
    learn_second({"Sforce-Limit-Info": "api-usage=101/1000"})
    second.close()
    left = account.left()
    assert left is not None
    assert left <= 800 - 102
