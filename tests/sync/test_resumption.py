"""A bulk job that was interrupted: continued where it was, or replaced, as if it had never been killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from attribution.errors import StoppedEarly
from attribution.store import Store
from attribution.sync.intake import Intake
from attribution.sync.job import Begun
from attribution.sync.source import Query
from attribution.sync.watermark import Window
from attribution.testing import Org
from tests.loopback import connect

ROWS = 5_001


@pytest.fixture
def org(org: Org) -> Org:
    org.load({"Account": [{"Name": f"{n:05}"} for n in range(ROWS)]})
    org.bulk.page = 2_000
    org.advance(timedelta(minutes=30))
    return org


def sync(org: Org, folder: Path) -> Store:
    store = Store(folder)
    source = connect(org)
    report = store.sync(source, objects=["Account"])
    assert not report.failed, report
    return store


def change(org: Org) -> None:
    """What may happen between two runs: also to records that the interrupted one has read already."""
    edited, deleted, purged, *_ = (row["Id"] for row in org.rows("Account"))
    org.update("Account", edited, Name="edited")
    org.delete("Account", deleted)
    org.delete("Account", purged)
    org.purge("Account", purged)
    org.insert("Account", [{"Name": "new"}])
    org.advance(timedelta(minutes=30))


def jobs(org: Org, since: int) -> list[str]:
    """The requests about bulk jobs, as method and last part of the path."""
    paths = [(each.method, each.path) for each in org.requests[since:] if "/jobs/query" in each.path]
    return [f"{method} {path.rsplit('/', 1)[-1][:7]}" for method, path in paths]


def same(org: Org, resumed: Store, fresh: Path) -> None:
    """The store holds what one that was never killed holds, and no record twice."""
    never_killed = sync(org, fresh)
    assert resumed.rows("Account").equals(never_killed.rows("Account"))
    live = {row["Id"]: row["Name"] for row in org.rows("Account") if not row["IsDeleted"]}
    rows = resumed.rows("Account")
    assert dict(zip(rows["Id"], rows["Name"], strict=True)) == live
    assert resumed.watermarks == never_killed.watermarks
    assert resumed.versions("Account").select("Id", "SystemModstamp").collect().is_unique().all()
    assert not (resumed.path / "staging").exists()


KILLED = """
import os, signal, sys
from attribution.store import Store
from attribution.sync.salesforce import Salesforce
folder, url, token, rows, waits = sys.argv[1:]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def show(event):
    if event.rows == int(rows):
        die()
sleep = die if waits == "die" else lambda _: None
source = Salesforce(
    instance_url=url, access_token=token, retry_base_seconds=0, bulk_poll_seconds=0, sleep=sleep
)
Store(folder).sync(source, objects=["Account"], progress=show)
"""


@pytest.mark.parametrize(
    ("fault", "rows", "waits", "expected"),
    [
        (None, "-", "die", ["GET 750Ab00", "GET 750Ab00", *["GET results"] * 3, "DELETE 750Ab00"]),
        (None, "2000", "pass", ["GET results", "GET results", "DELETE 750Ab00"]),
        ("results", "-", "pass", ["GET results", "GET results", "DELETE 750Ab00"]),
        (None, "5001", "pass", ["DELETE 750Ab00"]),
        ("delete", "-", "pass", []),
    ],
    ids=["polling", "between pages", "mid-download", "last page", "before the commit"],
)
def test_a_sync_that_is_killed_goes_on_where_it_was(
    org: Org, tmp_path: Path, fault: str | None, rows: str, waits: str, expected: list[str]
) -> None:
    # the first wait is for the job; the next ones only come with a fault
    script = KILLED
    if fault is not None:
        script = KILLED.replace("lambda _: None", "lambda _, left=iter([1, 1]): next(left, None) or die()")
        org.faults.truncated("/results$", keep=70, skip=1) if fault == "results" else org.faults.unavailable(
            "/jobs/query/", method="DELETE"
        )
    environment = {
        "PATH": "",
        "REQUESTS_CA_BUNDLE": org.ca_bundle,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    words = [str(tmp_path / "killed"), org.url, org.token, rows.replace("-", "-1"), waits]
    ended = subprocess.run([sys.executable, "-c", script, *words], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert Store(tmp_path / "killed").objects == ()
    change(org)
    before = len(org.requests)
    store = sync(org, tmp_path / "killed")
    assert jobs(org, before) == expected
    same(org, store, tmp_path / "fresh")


def interrupted(org: Org, folder: Path) -> None:
    """A sync that is stopped after the first page of its job."""
    org.faults.quota_exceeded("/results$", skip=1)
    with pytest.raises(StoppedEarly):
        sync(org, folder)
    org.faults.clear()
    assert sorted(each.name for each in (folder / "staging" / "Account" / "window").iterdir()) == [
        "000000.parquet",
        "job.json",
    ]


REPLACED: dict[str, Callable[[Org], None]] = {
    "gone": lambda org: org.bulk.close(),
    "dropped after seven days": lambda org: org.advance(timedelta(days=7)),
    "locator": lambda org: org.faults.error("/results$", 400, "INVALID_QUERY_LOCATOR", "invalid"),
    "field": lambda org: org.hide_field("Account", "Type"),
}


@pytest.mark.parametrize("reason", REPLACED)
def test_a_job_that_cannot_be_continued_is_replaced(org: Org, tmp_path: Path, reason: str) -> None:
    interrupted(org, tmp_path / "store")
    change(org)
    REPLACED[reason](org)
    before = len(org.requests)
    store = sync(org, tmp_path / "store")
    assert jobs(org, before).count("POST query") == 1
    same(org, store, tmp_path / "fresh")


def test_a_job_whose_next_page_never_comes_is_replaced(org: Org, tmp_path: Path) -> None:
    interrupted(org, tmp_path / "store")
    kept = tmp_path / "store" / "staging" / "Account" / "window" / "job.json"
    org.faults.unavailable(f"/{Begun.model_validate_json(kept.read_bytes()).id}/results$", times=None)
    for _ in range(2):
        before = len(org.requests)
        assert Store(tmp_path / "store").sync(connect(org), objects=["Account"]).failed
        assert jobs(org, before) == ["GET results"] * 6
    before = len(org.requests)
    store = sync(org, tmp_path / "store")
    assert jobs(org, before).count("POST query") == 1
    same(org, store, tmp_path / "fresh")


@pytest.mark.parametrize("state", ["Failed", "Aborted"])
def test_a_job_that_failed_meanwhile_is_replaced(org: Org, tmp_path: Path, state: str) -> None:
    org.faults.quota_exceeded("/jobs/query/")
    with pytest.raises(StoppedEarly):
        sync(org, tmp_path / "store")
    change(org)
    org.faults.add("/jobs/query/", status=200, body={"id": "750Ab0000000001", "state": state})
    before = len(org.requests)
    store = sync(org, tmp_path / "store")
    assert jobs(org, before).count("POST query") == 1
    assert jobs(org, before).count("GET results") == 3
    same(org, store, tmp_path / "fresh")


@pytest.mark.parametrize("damage", ["state", "page", "values"])
def test_pages_that_are_damaged_are_read_anew(org: Org, tmp_path: Path, damage: str) -> None:
    interrupted(org, tmp_path / "store")
    folder = tmp_path / "store" / "staging" / "Account" / "window"
    if damage == "state":
        (folder / "job.json").write_text('{"id": "75')
    elif damage == "page":
        (folder / "000000.parquet").unlink()
    else:
        file = folder / "000000.parquet"
        data = bytearray(file.read_bytes())
        # in the middle of the names: the schema, and the ids behind them, are as they were
        data[200:400] = bytes(200)
        file.write_bytes(data)
    same(org, sync(org, tmp_path / "store"), tmp_path / "fresh")


def test_what_could_not_be_read_is_told_by_the_sync_that_goes_on(org: Org, tmp_path: Path) -> None:
    # of every page one record, whose account is none
    accounts = (None if n % 2_000 else "003000000000001AAA" for n in range(ROWS))
    org.load({"Contact": [{"LastName": "-", "AccountId": account} for account in accounts]})
    org.advance(timedelta(minutes=30))
    odd = sorted(row["Id"] for row in org.rows("Contact") if row["AccountId"])
    org.faults.quota_exceeded("/results$", skip=1)
    store, source = Store(tmp_path), connect(org)
    with pytest.raises(StoppedEarly):
        store.sync(source, objects=["Contact"])
    org.faults.clear()
    report = store.sync(source, objects=["Contact"])
    assert sorted(each.id or "" for each in report.rejected) == odd
    assert {each.reason.partition(":")[0] for each in report.rejected} == {"AccountId"}
    assert (report.objects[0].read, report.objects[0].written) == (ROWS, ROWS - len(odd))
    assert store.log("Contact").coverage.unread == tuple(odd)


def test_pages_of_rest_are_not_taken_for_those_of_a_job(org: Org, tmp_path: Path) -> None:
    name, source = org.rows("Account")[0]["Name"], connect(org)
    account = source.describe("Account")
    whole = Query(account, ("Id", "Name"), Window(None, org.now), "SystemModstamp")
    few, more = (replace(whole, where=f"Name {sign} '{name}'") for sign in ("=", "!="))

    def read(query: Query) -> list[str]:
        taken = Intake(tmp_path, account, ("Id", "Name"), {}, lambda: source.server_time)
        source.read(query, taken, lambda rows, total: None)
        return sorted(taken.pages.scan().collect()["Name"])

    everything = read(whole)
    assert len(everything) == ROWS
    # a sync that was killed leaves the pages; the next one reads something else, and is killed, too
    for query in (whole, more):
        assert source.begun(query, tmp_path) == (query.window if query is whole else None)
    assert read(few) == [name]
    assert read(whole) == everything
    assert read(more) == [each for each in everything if each != name]


def test_a_gap_in_the_log_of_deletions_is_closed_after_a_first_read_that_went_on(
    org: Org, tmp_path: Path
) -> None:
    interrupted(org, tmp_path / "store")
    gone, *_ = (row["Id"] for row in org.rows("Account"))
    org.delete("Account", gone)
    org.purge("Account", gone)
    org.advance(timedelta(minutes=30))
    now = f"{org.now:%Y-%m-%dT%H:%M:%S.000+0000}"
    cut = {"deletedRecords": [], "earliestDateAvailable": now, "latestDateCovered": now}
    org.faults.add("/deleted/", status=200, body=cut)
    org.see_all_data(granted=True)
    same(org, sync(org, tmp_path / "store"), tmp_path / "fresh")


def test_a_job_that_is_not_for_this_user_any_more_is_replaced(org: Org, tmp_path: Path) -> None:
    interrupted(org, tmp_path / "store")
    org.faults.error("/jobs/query/.*/results$", 403, "INSUFFICIENT_ACCESS", "not yours")
    same(org, sync(org, tmp_path / "store"), tmp_path / "fresh")


def test_pages_that_do_not_add_up_are_not_kept(org: Org, tmp_path: Path) -> None:
    header = '"Name","SystemModstamp","Id"'
    headers = {"Sforce-NumberOfRecords": "0", "Sforce-Locator": "null", "Content-Type": "text/csv"}
    source = connect(org)
    org.faults.add("/results$", status=200, body=header + "\n", headers=headers, times=None)
    report = Store(tmp_path / "store").sync(source, objects=["Account"])
    assert isinstance(report.failed[0].message, str)
    org.faults.clear()
    same(org, sync(org, tmp_path / "store"), tmp_path / "fresh")


def test_a_sync_of_other_objects_leaves_the_pages_alone(org: Org, tmp_path: Path) -> None:
    interrupted(org, tmp_path / "store")
    staging = tmp_path / "store" / "staging"
    (staging / "Unmapped__c").mkdir()
    source = connect(org)
    Store(tmp_path / "store").sync(source, objects=["User"])
    assert (staging / "Account" / "window" / "job.json").exists()
    Store(tmp_path / "store").sync(source)
    assert not staging.exists()


def states(org: Org) -> list[str]:
    """The states of all bulk jobs that the org still has."""
    source = connect(org)
    document = source._wire.get_json("/services/data/v59.0/jobs/query")
    return sorted(each["state"] for each in document["records"])


def test_a_job_whose_creation_was_not_answered_is_aborted_before_another_one(
    org: Org, tmp_path: Path
) -> None:
    # the job is there, but its answer is cut
    org.faults.truncated("/jobs/query$", method="POST", keep=5, times=2)
    store = sync(org, tmp_path / "store")
    assert states(org) == ["Aborted", "Aborted"]
    same(org, store, tmp_path / "fresh")


def test_a_sync_killed_while_it_creates_a_job_leaves_one_that_the_next_aborts(
    org: Org, tmp_path: Path
) -> None:
    script = KILLED.replace("lambda _: None", "die")
    org.faults.truncated("/jobs/query$", method="POST", keep=5)
    environment = {"PATH": "", "REQUESTS_CA_BUNDLE": org.ca_bundle, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [str(tmp_path / "killed"), org.url, org.token, "-1", "die"]
    ended = subprocess.run([sys.executable, "-c", script, *words], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert states(org) == ["UploadComplete"]
    org.advance(timedelta(minutes=1))
    store = sync(org, tmp_path / "killed")
    assert states(org) == ["Aborted"]
    same(org, store, tmp_path / "fresh")


def test_of_several_jobs_that_may_be_ours_none_is_aborted(org: Org, tmp_path: Path) -> None:
    other = connect(org)
    body = {"operation": "queryAll", "query": "SELECT Id FROM Account"}
    other._wire.call("POST", "/services/data/v59.0/jobs/query", lambda answer: None, body=body)
    org.faults.truncated("/jobs/query$", method="POST", keep=5)
    store = sync(org, tmp_path / "store")
    assert states(org) == ["UploadComplete", "UploadComplete"]
    same(org, store, tmp_path / "fresh")


def test_a_job_of_others_is_left_alone_where_ours_was_refused(org: Org, tmp_path: Path) -> None:
    org.faults.quota_exceeded("/jobs/query$", method="POST")
    with pytest.raises(StoppedEarly):
        sync(org, tmp_path / "store")
    other = connect(org)
    body = {"operation": "queryAll", "query": "SELECT Id FROM Account"}
    other._wire.call("POST", "/services/data/v59.0/jobs/query", lambda answer: None, body=body)
    store = sync(org, tmp_path / "store")
    assert states(org) == ["UploadComplete"]
    same(org, store, tmp_path / "fresh")
