"""What a store remembers of its syncs, and what an unattended one logs."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest

from attribution import Store
from attribution.mirror.runs import append_run, read_runs
from attribution.sync.salesforce import Salesforce


def test_every_sync_is_in_the_ledger_whatever_became_of_it(cli, org, tmp_path):
    store = tmp_path / "acme"
    missing = cli.json("runs", "--store", store, code=5)["error"]
    assert missing["message"] == f"there is no store at {store}"
    cli("sync", "--store", store, "--max-api-calls", 45)
    org.faults.unavailable("/Account/updated", times=6)
    cli("sync", "--store", store, "--object", "Account")
    document = cli.json("sync", "--store", store)
    runs = cli.json("runs", "--store", store)["runs"]
    assert [run["outcome"] for run in runs] == ["ok", "failed", "stopped"]
    assert runs == Store(store).runs[::-1]
    assert runs[0]["run_id"] == document["run_id"]
    assert runs[0]["read"] == sum(each["read"] for each in document["objects"])
    assert runs[2]["api_calls"] == 45
    code, out, _ = cli("runs", "--store", store)
    lines = out.splitlines()
    assert (code, lines[0].split()[:2], len(lines)) == (0, ["started", "outcome"], 4)
    assert lines[2].endswith("  Account")


def test_a_log_holds_a_line_per_object_and_nothing_secret(cli, org, tmp_path):
    code, out, err = cli("sync", "--store", tmp_path / "acme", "--log-format", "json", "--json")
    assert code == 0
    *objects, last = [json.loads(line) for line in err.splitlines()]
    # in the order in which they were done, several being read at once
    assert sorted(each["object"] for each in objects) == sorted(
        each["object"] for each in json.loads(out)["objects"] if each["status"] == "ok"
    )
    assert {each["event"] for each in objects} == {"object"}
    assert {each["run"] for each in objects} == {last["run_id"]} == {json.loads(out)["run_id"]}
    assert {"from", "to", "read", "api_calls", "seconds", "status"} <= set(objects[0])
    assert (last["event"], last["outcome"]) == ("run", "ok")
    assert org.token not in err
    assert not [row["Name"] for row in org.rows("Opportunity") if row["Name"] in err]
    assert org.token not in (tmp_path / "acme" / "runs.jsonl").read_text()


def test_where_lines_are_logged_an_error_is_one_of_them(cli, org, tmp_path, monkeypatch):
    words = ("sync", "--store", tmp_path / "acme", "--object", "Account", "--log-format", "json")
    org.faults.unavailable("/Account/updated", times=None)
    failed = {"message": "not read: Account", "hint": "what was complete is kept; run it again"}
    for more in ((), ("--json",)):
        code, out, err = cli(*words, *more)
        assert code == 3
        *_, last = [json.loads(line) for line in err.splitlines()]
        assert last == {"event": "error", "code": "crm_unavailable"} | failed
        assert not more or json.loads(out)["objects"][0]["status"] == "failed"
    for more in ((), ("--json",)):
        code, _, err = cli(*words, "--max-api-calls", 7, *more)
        assert (code, json.loads(err.splitlines()[-1])["code"]) == (4, "stopped_early")
    for name, secret in (("ACCESS_TOKEN", "a token of nobody"), ("API_VERSION", "0")):
        monkeypatch.setenv(f"SALESFORCE_{name}", secret)
        code, out, err = cli(*words, "--json")
        last = json.loads(err.splitlines()[-1])
        assert last == {"event": "error"} | json.loads(out)["error"]
        assert (code, last["code"]) == ((3, "crm_refused") if name == "ACCESS_TOKEN" else (2, "usage"))
        assert "a token of nobody" not in out + err


def test_a_line_that_was_never_finished_stays_by_itself(tmp_path):
    append_run(tmp_path, {"run_id": "1"})
    with (tmp_path / "runs.jsonl").open("a") as file:
        file.write('{"run_id": "2", "out')
    append_run(tmp_path, {"run_id": "3"})
    assert [run["run_id"] for run in read_runs(tmp_path)] == ["1", "3"]


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_sync_that_is_interrupted_tells_what_it_did(org, tmp_path, parallel):
    store = Store(tmp_path / "acme")

    def interrupt(progress):
        if progress.object == "Opportunity":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.sync(Salesforce.from_env(), progress=interrupt, parallel=parallel)
    (run,) = store.runs
    became = {each["object"]: each["status"] for each in run["objects"]}
    assert (run["outcome"], became["Organization"], became["Opportunity"]) == ("stopped", "ok", "stopped")
    assert run["written"] == sum(each["written"] for each in run["objects"]) > 0
    assert not store.sync(Salesforce.from_env()).failed
    live = [row for row in org.rows("Opportunity") if not row["IsDeleted"]]
    assert store.rows("Opportunity").height == len(live)


def test_whoever_would_wait_is_told_what_for(cli, org, tmp_path):
    org.faults.too_many_requests("/Account/updated", retry_after=60, times=2)
    wait = "Salesforce: HTTP 429; again in 60 s (attempt 2 of 6)"
    words = ("sync", "--store", tmp_path / "acme", "--object", "Account", "--deadline", 50)
    code, _, err = cli(*words)
    assert (code, err.splitlines()[0]) == (4, f"Waiting: {wait}")
    code, _, err = cli(*words, "--log-format", "json")
    assert (code, json.loads(err.splitlines()[0])) == (4, {"event": "waiting", "message": wait})


def test_a_command_that_is_told_to_end_says_so(cli, org, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTRIBUTION_RETRY_BASE_SECONDS", "60")
    org.faults.too_many_requests("/Account/updated", retry_after=60)

    def end():
        while org.faults.pending:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    ender = threading.Thread(target=end)
    ender.start()
    words = ("--store", tmp_path / "acme", "--parallel", 1, "--log-format", "json")
    code, out, err = cli("sync", *words)
    ender.join()
    *_, run, last = [json.loads(line) for line in err.splitlines()]
    assert (code, out, last["code"]) == (130, "", "interrupted")
    assert (run["event"], run["outcome"]) == ("run", "stopped")
    assert [each["run_id"] for each in Store(tmp_path / "acme").runs] == [run["run_id"]]
    assert signal.getsignal(signal.SIGTERM) == before
