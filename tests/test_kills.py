"""Killed, twice at once or out of room: run again, it ends where it would have, had nothing happened."""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

from attribution.arrays import INSTANT
from attribution.cli import main
from attribution.errors import StoreError
from attribution.mirror.erased import Erased
from attribution.mirror.log import ObjectLog
from attribution.store import Store
from attribution.sync.salesforce import Salesforce
from attribution.testing import Org
from tests.children import CHILDREN, copies, events, killed_at, killed_when_a_file_grows
from tests.traces import traces

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
READ = ("Account", "Contact")
ANN = "ann.quxley@example.com"


@pytest.fixture
def org() -> Iterator[Org]:
    with Org(now=NOON) as org:
        org.add_field("Opportunity", "Champion__c > Contact")
        yield org
    org.close()


def call(org: Org) -> dict[str, str]:
    """What a child needs to know: it has the environment of the first test that ever made one."""
    return {
        "REQUESTS_CA_BUNDLE": org.ca_bundle,
        "SALESFORCE_INSTANCE_URL": org.url,
        "SALESFORCE_ACCESS_TOKEN": org.token,
        "ATTRIBUTION_RETRY_BASE_SECONDS": "0",
        "ATTRIBUTION_BULK_POLL_SECONDS": "0",
    }


def sync(environment: dict[str, str], folder: Path, parallel: int = 4) -> None:
    os.environ.update(environment)
    report = Store(folder).sync(Salesforce.from_env(), objects=READ, parallel=parallel)
    assert not report.failed, report


def map_fields(folder: Path, *segments: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "attribution.toml").write_text(f"[mapping]\nsegments = {list(segments)}\n")


def filled(org: Org, folder: Path, files: int = 3) -> list[str]:
    """A store of one sync, and an org in which everything happened since that a sync can meet."""
    map_fields(folder, "Champion__r.Email")
    accounts = org.insert("Account", [{"Name": f"{n}"} for n in range(110)])
    ann, bob, _ = org.insert("Contact", [{"LastName": "-", "Email": email} for email in (ANN, "b@b.b", "c")])
    org.delete("Account", accounts[3])
    org.advance(timedelta(minutes=30))
    sync(call(org), folder)
    # so many small files that the next rows make a hundred, which are merged then
    log = ObjectLog(folder / "mirror", "Account")
    rows = log.newest().with_columns(Name=pl.lit("another")).drop("_synced_at").collect()
    later = org.now + timedelta(seconds=1)
    for account in accounts[5 : 3 + files]:
        more = rows.filter(Id=account).with_columns(_synced_at=pl.lit(later, INSTANT))
        write_deltalake(str(log.path), more, mode="append")
    org.update("Account", accounts[0], Name="was edited")
    org.delete("Account", accounts[1])
    org.delete("Account", accounts[2])
    org.purge("Account", accounts[2])
    org.undelete("Account", accounts[3])
    org.insert("Account", [{"Name": "new"}])
    org.update("Contact", ann, Email=f"new.{ANN}")
    org.delete("Contact", bob)
    org.advance(timedelta(minutes=30))
    # and fields that were not read before
    map_fields(folder, "Champion__r.Email", "Champion__r.Title", "Account.Industry")
    return [ann, accounts[0]]


def state(folder: Path) -> list[Any]:
    """Everything that a store says of its records, and how far it says it was read."""
    logs = [Store(folder).log(name) for name in READ]
    versions = [log.versions().sort("Id", "_synced_at").collect() for log in logs]
    told = [(log.watermark, log.deletes_watermark, log.coverage) for log in logs]
    return [*told, *(frame.select(sorted(frame.columns)).rows() for frame in versions)]


Kills = list[tuple[Callable[..., bool], int]]


def each_copy(begun: Path, kills: Kills, work: Any, *rest: Any) -> Iterator[Path]:
    """Copies of a store on which the work was begun, killed, and done again."""
    for kill, at in kills:
        folder = begun.with_name(f"{kill.__name__}-{at}")
        shutil.copytree(begun, folder)
        kill(at, work, *rest, folder)
        work(*rest, folder)
        yield folder
        shutil.rmtree(folder)


def environment_of(org: Org, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What this process and its children need to know, until the test is over."""
    for name, value in call(org).items():
        monkeypatch.setenv(name, value)
    return call(org)


def test_a_sync_that_was_killed_after_any_commit_is_made_up_for(
    org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, whole = environment_of(org, monkeypatch), tmp_path / "whole"
    filled(org, whole, files=100)
    left = copies(whole, tmp_path / "left", sync, environment, whole, 1)
    # staged pages, rows, rows of new fields, merged files, what lies about no more, and the ledger
    assert len(left) >= 20
    assert {"write", "create_write_transaction", "compact_optimize", "unlink"} <= {
        folder.name.rpartition(" ")[2].rpartition(".")[2] for folder in left
    }
    expected = state(whole)
    for folder in left:
        sync(environment, folder)
        assert state(folder) == expected, folder.name
        assert not (folder / "staging").exists()


@pytest.mark.slow
def test_a_sync_that_was_killed_anywhere_is_made_up_for(
    org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, begun, whole = environment_of(org, monkeypatch), tmp_path / "begun", tmp_path / "whole"
    filled(org, begun, files=100)
    shutil.copytree(begun, whole)
    commits, total = events(sync, environment, whole)
    expected = state(whole)
    draw = random.Random(7)
    kills: Kills = [(killed_at, at) for at in (*draw.sample(commits, 2), draw.randrange(total))]
    kills += [(killed_when_a_file_grows, size) for size in (3_000,)]
    for folder in each_copy(begun, kills, sync, environment):
        assert state(folder) == expected, folder.name
        assert not (folder / "staging").exists()


def erase(record: str, remove: bool, folder: Path) -> None:
    Store(folder).erase(record, all=remove)


@pytest.mark.slow
@pytest.mark.parametrize("remove", [False, True])
def test_an_erasure_that_was_killed_anywhere_is_finished(org: Org, tmp_path: Path, remove: bool) -> None:
    begun, whole = tmp_path / "begun", tmp_path / "whole"
    ann, _ = filled(org, begun)
    sync(call(org), begun)
    (begun / "staging").mkdir()
    (begun / "staging" / "page.csv").write_text(ANN)
    shutil.copytree(begun, whole)
    steps, total = events(erase, ann, remove, whole)
    expected = state(whole)
    assert len(steps) >= 6
    kills: Kills = [(killed_at, at) for at in (*steps, *random.Random(7).sample(range(total), 3))]
    kills += [(killed_when_a_file_grows, size) for size in (10, 900)]
    for folder in each_copy(begun, kills, erase, ann, remove):
        assert state(folder) == expected, folder.name
        assert traces(folder, ANN) == [], folder.name
        assert Erased.read(folder / "mirror").removed("Contact", [ann]) == ({ann} if remove else set())


def cramped(size: int, environment: dict[str, str], folder: Path, told: Any) -> None:
    """What the command line says where no file may have more bytes than these, as on a full disk."""
    os.environ.update(environment)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(["sync", "--store", str(folder), "--object", "Account", "--object", "Contact"])
    told.send((code, said.getvalue()))


def answer_of(child: Callable[..., None], *arguments: Any) -> Any:
    receiver, sender = CHILDREN.Pipe(duplex=False)
    process = CHILDREN.Process(target=child, args=(*arguments, sender))
    process.start()
    sender.close()
    answer = receiver.recv()
    process.join()
    return answer


def test_where_the_disk_is_full_nothing_is_lost(org: Org, tmp_path: Path) -> None:
    begun, whole = tmp_path / "begun", tmp_path / "whole"
    filled(org, begun)
    shutil.copytree(begun, whole)
    sync(call(org), whole)
    for size in (0, 900, 2_000):
        folder = tmp_path / f"{size}"
        shutil.copytree(begun, folder)
        code, said = answer_of(cramped, size, call(org), folder)
        assert code == 5
        assert "cannot write to" in said
        assert "Hint: look at the disk" in said
        sync(call(org), folder)
        assert state(folder) == state(whole)


@pytest.mark.parametrize("name", [".lock", "staging", "runs.jsonl", "mirror"])
def test_what_stands_in_the_way_is_named(org: Org, tmp_path: Path, name: str) -> None:
    folder, whole = tmp_path / "store", tmp_path / "whole"
    org.insert("Account", [{"Name": "Acme"}])
    org.advance(timedelta(minutes=30))
    sync(call(org), whole)
    Store(folder).claim("00DAb0000000001EAA")
    if name in (".lock", "runs.jsonl"):
        (folder / name).mkdir()
    else:
        (folder / name).touch()
    with pytest.raises(StoreError, match=f"cannot write to .*{name}"):
        sync(call(org), folder)
    (folder / name).rmdir() if (folder / name).is_dir() else (folder / name).unlink()
    sync(call(org), folder)
    assert state(folder) == state(whole)


def append_at_once(folder: str, barrier: Any, told: Any) -> None:
    log = ObjectLog(folder, "Account")
    rows = pl.DataFrame({"Id": [f"{n}" for n in range(1_000)], "Name": [f"{os.getpid()}"] * 1_000})
    barrier.wait(60)
    try:
        told.send(log.append(rows, synced_at=NOON, watermark=NOON + timedelta(hours=1)).written)
    except StoreError as error:
        told.send(error.message)


@pytest.mark.parametrize("exists", [False, True])
def test_of_two_processes_that_commit_at_once_one_is_refused(tmp_path: Path, exists: bool) -> None:
    if exists:
        first = pl.DataFrame(schema={"Id": pl.String(), "Name": pl.String()})
        ObjectLog(tmp_path, "Account").append(first, synced_at=NOON, watermark=NOON)
    barrier, pipes = CHILDREN.Barrier(3), [CHILDREN.Pipe(duplex=False) for _ in range(3)]
    for _, sender in pipes:
        CHILDREN.Process(target=append_at_once, args=(str(tmp_path), barrier, sender)).start()
        # whoever dies without a word is an error then, and nobody waits for it
        sender.close()
    answers = sorted((receiver.recv() for receiver, _ in pipes), key=str)
    refused = "Account: another sync is writing to this store; nothing of this one was added"
    assert answers == [1_000, refused, refused]
    versions = ObjectLog(tmp_path, "Account").versions().collect()
    assert (versions.height, versions["Id"].n_unique(), versions["Name"].n_unique()) == (1_000, 1_000, 1)


def sync_slowly(environment: dict[str, str], folder: Path, reading: Any, go_on: Any) -> None:
    os.environ.update(environment)

    def wait(_: object) -> None:
        reading.set()
        go_on.wait(60)

    Store(folder).sync(Salesforce.from_env(), objects=READ, progress=wait)


def test_the_second_of_two_syncs_at_once_is_told_so_and_does_nothing(
    org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in call(org).items():
        monkeypatch.setenv(name, value)
    begun, whole = tmp_path / "begun", tmp_path / "whole"
    filled(org, begun)
    shutil.copytree(begun, whole)
    sync(call(org), whole)
    reading, go_on = CHILDREN.Event(), CHILDREN.Event()
    first = CHILDREN.Process(target=sync_slowly, args=(call(org), begun, reading, go_on))
    first.start()
    assert reading.wait(60)
    assert main(["sync", "--store", str(begun)]) == 5
    assert "another sync is writing to the store" in capsys.readouterr().err
    go_on.set()
    first.join()
    assert first.exitcode == 0
    assert state(begun) == state(whole)
    assert len(Store(begun).runs) == 2
