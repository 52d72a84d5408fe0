"""The mirror never forgets, and its watermark moves with its rows."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.arrays import DECIMAL, INSTANT
from attribution.errors import StoreError
from attribution.mirror.coverage import Coverage
from attribution.mirror.log import Appended, ObjectLog
from attribution.mirror.pages import Pages

START = datetime(2026, 1, 1, tzinfo=UTC)
TYPES: dict[str, pl.DataType] = {
    "Id": pl.String(),
    "Name": pl.String(),
    "Amount": DECIMAL,
    "Rank": pl.Int64(),
    "SystemModstamp": INSTANT,
    "IsDeleted": pl.Boolean(),
}


def hours(count: float) -> datetime:
    return START + timedelta(hours=count)


def rows(*records: Mapping[str, object]) -> pl.DataFrame:
    defaults: dict[str, object] = {"IsDeleted": False, "SystemModstamp": START}
    return pl.DataFrame([defaults | dict(record) for record in records], schema=TYPES)


def gone(*deletions: tuple[str, datetime]) -> pl.DataFrame:
    return pl.DataFrame(list(deletions), schema={"Id": pl.String(), "deleted_at": INSTANT}, orient="row")


def names(log: ObjectLog, known_at: datetime | None = None) -> dict[str, str]:
    frame = log.current(known_at).sort("Id").collect()
    return dict(zip(frame["Id"], frame["Name"], strict=True))


def test_values_and_watermarks_come_back_as_they_were(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path / "my störe", "Opportunity")
    assert not log.exists
    assert log.version == -1
    assert log.watermark is None
    frame = rows({"Id": "a", "Name": "NA\n\x00😀", "Amount": Decimal("0.123456789012345678"), "Rank": 7})
    assert log.append(frame, synced_at=START, watermark=hours(1), deletes_watermark=hours(2)) == Appended(
        1, 0
    )
    again = ObjectLog(tmp_path / "my störe", "Opportunity")
    assert again.current().collect().equals(frame)
    assert again.watermark == hours(1)
    assert again.deletes_watermark == hours(2)
    assert again.version == 0
    assert again.fields == TYPES


def test_an_empty_object_has_a_watermark_too(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Partner")
    log.append(rows(), synced_at=START, watermark=hours(1))
    assert log.exists
    assert log.watermark == hours(1)
    assert log.current().collect().is_empty()
    assert log.fields == TYPES
    log.append(rows({"Id": "a"}), synced_at=START, watermark=hours(2))
    assert log.current().collect().height == 1


def test_an_unchanged_row_is_not_appended_again(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a", "Name": "x"}, {"Id": "b"}), synced_at=START, watermark=hours(1))
    changed = rows({"Id": "a", "Name": "x"}, {"Id": "b", "Name": "y"}, {"Id": "c"})
    assert log.append(changed, synced_at=hours(2), watermark=hours(2)) == Appended(2, 0)
    assert log.append(changed, synced_at=hours(3), watermark=hours(3)) == Appended(0, 0)
    assert log.watermark == hours(3)
    assert log.versions().collect().height == 4


def test_an_empty_window_is_one_commit_of_metadata(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a"}), synced_at=START, watermark=hours(1))
    files = sorted(log.path.glob("*.parquet"))
    log.append(rows(), synced_at=hours(2), watermark=hours(2), deletes_watermark=hours(2))
    assert log.version == 1
    assert sorted(log.path.glob("*.parquet")) == files


def test_nothing_to_say_is_no_commit(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a"}), synced_at=START, watermark=hours(1))
    log.append(rows({"Id": "a"}), synced_at=hours(2))
    assert log.version == 0


@pytest.mark.parametrize("late", [0, 1])
def test_a_watermark_that_does_not_advance_is_refused(tmp_path: Path, late: int) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a"}), synced_at=START, watermark=hours(1), deletes_watermark=hours(1))
    with pytest.raises(StoreError, match=r"Account: the window watermark .* does not advance"):
        log.append(rows({"Id": "b"}), synced_at=hours(2), watermark=hours(1 - late))
    with pytest.raises(StoreError, match="deletes watermark"):
        log.append(rows({"Id": "b"}), synced_at=hours(2), deletes_watermark=hours(1 - late))
    assert log.versions().collect().height == 1
    assert log.version == 0


@pytest.mark.parametrize("with_rows", [True, False])
def test_the_second_of_two_writers_is_refused_and_no_row_doubled(tmp_path: Path, with_rows: bool) -> None:
    ObjectLog(tmp_path, "Account").append(rows({"Id": "a"}), synced_at=START, watermark=hours(1))
    first, second = ObjectLog(tmp_path, "Account"), ObjectLog(tmp_path, "Account")
    new = rows({"Id": "b"}) if with_rows else rows()
    first.append(new, synced_at=hours(2), watermark=hours(2))
    with pytest.raises(StoreError, match="another sync is writing"):
        second.append(new, synced_at=hours(2), watermark=hours(3))
    assert ObjectLog(tmp_path, "Account").versions().collect().height == 1 + with_rows
    assert second.watermark == hours(2)
    second.append(new, synced_at=hours(3), watermark=hours(3))
    assert second.versions().collect().height == 1 + with_rows


def test_of_two_first_writers_one_is_refused(tmp_path: Path) -> None:
    first, second = ObjectLog(tmp_path, "Account"), ObjectLog(tmp_path, "Account")
    first.append(rows({"Id": "a"}), synced_at=START, watermark=hours(1))
    with pytest.raises(StoreError, match="another sync is writing"):
        second.append(rows({"Id": "a"}), synced_at=START, watermark=hours(1))
    assert second.versions().collect().height == 1


def test_a_fraction_never_enters_a_column_of_whole_numbers(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "ChannelProgramLevel")
    log.append(rows({"Id": "a", "Rank": 1}), synced_at=START, watermark=hours(1))
    for kind in (pl.Float64(), DECIMAL, pl.String()):
        other = rows({"Id": "b"}).with_columns(pl.lit("1.5").cast(kind).alias("Rank"))
        with pytest.raises(StoreError, match=r"ChannelProgramLevel\.Rank is .* but the store holds Int64"):
            log.append(other, synced_at=hours(2), watermark=hours(2))
    with pytest.raises(StoreError, match="which the mirror does not hold"):
        log.append(rows().with_columns(pl.lit(1.5).alias("Other")), synced_at=hours(2))
    assert log.version == 0


def test_only_the_instant_of_the_read_has_statistics_in_the_log(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Contact")
    log.append(rows({"Id": "a", "Name": "Quxley"}), synced_at=START, watermark=hours(1))
    log.append(rows({"Id": "a", "Name": "Corge"}), synced_at=START, watermark=hours(2))
    written = b"".join(file.read_bytes() for file in (log.path / "_delta_log").iterdir())
    assert b"_synced_at" in written
    assert b"Quxley" not in written
    assert b"Corge" not in written


def test_a_new_field_is_null_before_and_a_lost_one_keeps_its_value(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a", "Name": "x"}, {"Id": "b"}), synced_at=START, watermark=hours(1))
    grown = rows({"Id": "a", "Name": "x"}, {"Id": "b"}).with_columns(
        pl.when(pl.col("Id") == "a").then(pl.lit("gold")).alias("Tier__c")
    )
    assert log.append(grown, synced_at=hours(2), watermark=hours(2)) == Appended(1, 0)
    assert log.fields["Tier__c"] == pl.String
    shrunk = rows({"Id": "a", "Rank": 3}).drop("Name")
    log.append(shrunk, synced_at=hours(3), watermark=hours(3))
    record = log.current().filter(pl.col("Id") == "a").collect().row(0, named=True)
    assert (record["Name"], record["Tier__c"], record["Rank"]) == ("x", "gold", 3)


def test_a_field_that_is_new_and_empty_everywhere_is_remembered(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a"}), synced_at=START, watermark=hours(1))
    grown = rows({"Id": "a"}).with_columns(pl.lit(None, pl.String()).alias("Tier__c"))
    assert log.append(grown, synced_at=hours(2), watermark=hours(2)) == Appended(0, 0)
    assert "Tier__c" in log.fields


def test_two_reads_within_one_second_of_the_server_keep_their_order(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    for turn, name in enumerate("xyz", start=1):
        log.append(rows({"Id": "a", "Name": name}), synced_at=START, watermark=hours(turn))
    assert names(log) == {"a": "z"}
    assert names(log, known_at=START) == {"a": "x"}
    assert log.versions().collect()["_synced_at"].n_unique() == 3


def test_soft_deleted_and_purged_records_become_tombstones(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a"}, {"Id": "b", "Name": "y"}, {"Id": "c"}), synced_at=START, watermark=hours(1))
    soft = rows({"Id": "a", "IsDeleted": True, "SystemModstamp": hours(2)})
    purged = gone(("b", hours(2)), ("never seen", hours(2)), ("a", hours(2)))
    appended = log.append(soft, synced_at=hours(3), watermark=hours(3), deletions=purged)
    assert appended == Appended(0, 2)
    assert list(names(log)) == ["c"]
    assert list(names(log, known_at=START)) == ["a", "b", "c"]
    tombstone = log.newest().filter(pl.col("Id") == "b").collect().row(0, named=True)
    assert tombstone["Name"] == "y"
    assert tombstone["IsDeleted"]
    assert tombstone["SystemModstamp"] == hours(2)
    assert log.append(rows(), synced_at=hours(4), deletions=purged) == Appended(0, 0)


def test_an_undeleted_record_lives_again_and_its_old_deletion_is_ignored(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a"}), synced_at=START, watermark=hours(1))
    log.append(rows(), synced_at=hours(2), deletions=gone(("a", hours(1.5))))
    assert names(log) == {}
    back = rows({"Id": "a", "Name": "back", "SystemModstamp": hours(2)})
    log.append(back, synced_at=hours(3), watermark=hours(3), deletions=gone(("a", hours(1.5))))
    assert names(log) == {"a": "back"}


def test_a_record_read_and_purged_in_one_run_is_written_once_as_gone(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a", "Name": "old"}), synced_at=START, watermark=hours(1))
    edited = rows({"Id": "a", "Name": "new", "SystemModstamp": hours(2)})
    log.append(edited, synced_at=hours(3), watermark=hours(3), deletions=gone(("a", hours(2.5))))
    newest = log.newest().collect()
    assert newest["Name"].to_list() == ["new"]
    assert newest["_deleted"].to_list() == [True]
    assert log.versions().collect().height == 2


def test_compaction_keeps_every_version_and_the_watermarks(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account", compact_at=5)
    for turn in range(1, 5):
        frame = rows({"Id": "a", "Rank": turn}, {"Id": f"{turn}"}).with_columns(
            *([pl.lit("new").alias("Tier__c")] if turn > 2 else [])
        )
        log.append(frame, synced_at=hours(turn), watermark=hours(turn), deletes_watermark=hours(turn))
    before = log.versions().collect().sort("Id", "_synced_at")
    log.append(rows({"Id": "b"}), synced_at=hours(9), watermark=hours(9))
    again = ObjectLog(tmp_path, "Account")
    # five appends, one new column, one compaction
    assert again.version == 6
    assert (again.watermark, again.deletes_watermark) == (hours(9), hours(4))
    assert again.versions(hours(8)).collect().sort("Id", "_synced_at").equals(before)
    assert again.current().collect().height == 6
    assert again.current(hours(2)).collect().height == 3
    log.append(rows({"Id": "c"}), synced_at=hours(10), watermark=hours(10))
    assert log.current().collect().height == 7


def test_watermarks_outlive_a_checkpoint_of_the_log(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a"}), synced_at=START, watermark=hours(0.5), deletes_watermark=hours(1))
    for turn in range(1, 105):
        log.append(rows(), synced_at=hours(turn), watermark=hours(turn))
    assert list((log.path / "_delta_log").glob("*.checkpoint.parquet"))
    again = ObjectLog(tmp_path, "Account")
    assert (again.watermark, again.deletes_watermark) == (hours(104), hours(1))
    assert names(again) == names(log)


def test_known_at_may_be_told_in_any_zone(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a", "Name": "x"}), synced_at=hours(1), watermark=hours(1))
    tokyo = timezone(timedelta(hours=9))
    assert names(log, hours(1).astimezone(tokyo)) == {"a": "x"}
    assert names(log, hours(0.9).astimezone(tokyo)) == {}


reads = st.lists(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 2), st.booleans()), max_size=6),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(reads)
def test_newest_is_what_a_dictionary_would_say(
    tmp_path_factory: pytest.TempPathFactory, history: Sequence[Mapping[str, tuple[int, bool]]]
) -> None:
    log = ObjectLog(tmp_path_factory.mktemp("law"), "Account")
    state: dict[str, tuple[int, bool]] = {}
    known = []
    for turn, read in enumerate(history):
        frame = rows(*({"Id": key, "Rank": rank, "IsDeleted": dead} for key, (rank, dead) in read.items()))
        fresh = {key for key, value in read.items() if state.get(key) != value}
        appended = log.append(frame, synced_at=hours(turn), watermark=hours(turn))
        assert appended.written + appended.deleted == len(fresh)
        state |= read
        known.append({key: rank for key, (rank, dead) in state.items() if not dead})
    for turn, expected in enumerate(known):
        frame = log.current(hours(turn)).collect()
        assert dict(zip(frame["Id"], frame["Rank"], strict=True)) == expected


def append_in_turns(folder: str, turns: int) -> None:
    log = ObjectLog(folder, "Account")
    for turn in range(1, turns + 1):
        every = rows(*({"Id": f"{n:03}", "Rank": turn} for n in range(50)))
        log.append(every, synced_at=hours(turn), watermark=hours(turn))


def test_a_reader_in_another_process_sees_whole_commits_while_a_sync_writes(tmp_path: Path) -> None:
    turns = 15
    # delta-rs does not survive a fork
    writer = multiprocessing.get_context("spawn").Process(target=append_in_turns, args=(str(tmp_path), turns))
    writer.start()
    seen = set()
    while writer.is_alive() or not seen:
        log = ObjectLog(tmp_path, "Account")
        frame = log.current().collect()
        if log.exists:
            assert frame.height == 50
            assert frame["Rank"].n_unique() == 1
            seen.add(frame["Rank"][0])
    writer.join()
    assert writer.exitcode == 0
    assert ObjectLog(tmp_path, "Account").current().collect()["Rank"].unique().to_list() == [turns]


def test_a_file_left_behind_by_a_killed_writer_is_no_part_of_the_log(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "a"}), synced_at=START, watermark=hours(1))
    (file,) = log.path.glob("*.parquet")
    file.with_name("part-00001-left-behind.snappy.parquet").write_bytes(file.read_bytes())
    assert ObjectLog(tmp_path, "Account").versions().collect().height == 1


def test_a_commit_tells_what_was_read_and_compaction_keeps_it(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account", compact_at=3)
    log.append(rows({"Id": "a"}), synced_at=START, watermark=hours(1))
    assert log.coverage == Coverage(tuple(TYPES))
    told = Coverage(("Id", "Name"), "Name != null", {"ParentId": ("Account",)})
    log.append(rows({"Id": "a", "Name": "b"}), synced_at=hours(2), watermark=hours(2), coverage=told)
    log.append(rows({"Id": "a", "Name": "c"}), synced_at=hours(3), watermark=hours(3))
    assert len(list((tmp_path / "Account").glob("*.parquet"))) > 3
    assert log.coverage == ObjectLog(tmp_path, "Account").coverage == told
    log.append(rows({"Id": "d"}), synced_at=hours(4), coverage=told)
    assert log.watermark == hours(3)


def test_a_backfill_adds_values_and_moves_nothing_else(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    first = rows({"Id": "a", "Name": "x"}, {"Id": "b", "Name": "y"}, {"Id": "c", "IsDeleted": True})
    log.append(first, synced_at=START, watermark=hours(1), deletes_watermark=hours(1))
    new = pl.DataFrame({"Id": ["a", "b", "c", "unknown"], "City": ["Ulm", None, "Bonn", "Rome"]})
    assert log.backfill(new, synced_at=hours(2), refers_to={"City": ("Town",)}) == Appended(1, 1)
    assert (log.watermark, log.deletes_watermark) == (hours(1), hours(1))
    assert log.coverage == Coverage((*TYPES, "City"), None, {"City": ("Town",)}, {"City": hours(2)})
    newest = log.newest().select("Id", "Name", "City", "_deleted").sort("Id").collect()
    assert newest.rows() == [("a", "x", "Ulm", False), ("b", "y", None, False), ("c", None, "Bonn", True)]
    assert log.current(START).select("Id", "City").sort("Id").collect().rows() == [("a", None), ("b", None)]
    version = log.version
    assert log.backfill(new, synced_at=hours(3)) == Appended(0, 0)
    assert log.version == version + 1
    late = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "z"}), synced_at=hours(4), watermark=hours(4))
    with pytest.raises(StoreError, match="another sync is writing"):
        late.backfill(new.with_columns(City=pl.lit("Kiel")), synced_at=hours(5))
    with pytest.raises(StoreError, match=r"Account\.City is Int64 but the store holds String"):
        log.backfill(pl.DataFrame({"Id": ["a"], "City": [1]}), synced_at=hours(6))


def test_a_read_of_many_pages_is_written_as_if_it_were_one(tmp_path: Path) -> None:
    frame = rows(
        {"Id": "a", "Rank": 1},
        {"Id": "b", "IsDeleted": True},
        {"Id": "a", "Rank": 2},
        {"Id": "b"},
        {"Id": "c", "IsDeleted": None},
        {"Id": "a", "Rank": 3, "IsDeleted": True},
    )
    whole, paged = ObjectLog(tmp_path / "whole", "Account"), ObjectLog(tmp_path / "paged", "Account")
    for turn, read in enumerate([frame, frame.head(4), frame.head(5).with_columns(Rank=pl.lit(7, pl.Int64))]):
        pages = Pages(tmp_path / "pages", TYPES)
        for page in read.iter_slices(2):
            pages.add(page, START)
        marks = {"synced_at": hours(turn), "watermark": hours(turn), "deletes_watermark": hours(turn)}
        gone_now = gone(("c", hours(turn)), ("unknown", hours(turn)))
        added = whole.append(read, deletions=gone_now, **marks)
        assert paged.append(pages, deletions=gone_now, **marks) == added
        assert paged.version == whole.version == turn
        order = ("Id", "_synced_at")
        assert paged.versions().collect().sort(order).equals(whole.versions().collect().sort(order))
    assert whole.versions().collect().height == 8
    nothing = Pages(tmp_path / "pages", TYPES)
    log = ObjectLog(tmp_path, "User")
    assert log.append(nothing, synced_at=START, watermark=START) == Appended(0, 0)
    assert log.exists
    assert log.fields == TYPES


def test_records_that_share_a_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl.Series, "hash", lambda ids: pl.Series([0] * ids.len(), dtype=pl.UInt64))
    pages = Pages(tmp_path / "pages", TYPES)
    for page in rows({"Id": "a"}, {"Id": "b"}, {"Id": "c"}, {"Id": "b", "Rank": 1}).iter_slices(2):
        pages.add(page, START)
    (batch,) = pages
    assert batch.select("Id", "Rank").rows() == [("a", None), ("c", None), ("b", 1)]


def test_files_that_are_no_part_of_the_log_are_deleted_a_day_later(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account", compact_at=3)
    log.append(rows({"Id": "a"}), synced_at=START, watermark=hours(1))
    # what a writer leaves that is killed while it writes, and what it leaves before it commits
    left = {log.path / f"part-{name}" for name in ("1.parquet#1", "2.parquet", "3.parquet#1", "4.parquet")}
    for file in left:
        file.write_bytes(b"PAR1")
        if file.name[5] in "12":
            os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 25 * 3600))
    for turn in (2, 3):
        log.append(rows({"Id": "a", "Rank": turn}), synced_at=hours(turn), watermark=hours(turn))
    assert sorted(file.name for file in left if file.exists()) == ["part-3.parquet#1", "part-4.parquet"]
    log.sweep()
    assert not any(file.exists() for file in left)
    assert log.versions().collect().height == 3
    assert len(list(log.path.glob("part-*"))) == 1


def test_erasing_rewrites_every_version_and_nothing_else(tmp_path: Path) -> None:
    log = ObjectLog(tmp_path, "Account")
    log.append(
        rows({"Id": "a", "Name": "x", "Amount": Decimal("0.1")}, {"Id": "b", "Name": "x"}), synced_at=START
    )
    grown = rows({"Id": "a", "Name": "y", "Rank": 7}).with_columns(
        Born=pl.lit(START.date()), City=pl.lit("Ulm")
    )
    log.append(grown, synced_at=hours(1), watermark=hours(1), deletes_watermark=hours(1))
    before = log.versions().sort("_synced_at", "Id").collect()
    told = Coverage((*TYPES, "Born", "City"), unread=("a", "c"))
    log.append(rows(), synced_at=hours(2), coverage=told)
    assert log.erase("a", fields=["Name", "Born", "City"]) == 2
    emptied = before.with_columns(pl.when(pl.col("Id") != "a").then(pl.col("Name", "Born", "City")))
    assert log.versions().sort("_synced_at", "Id").collect().equals(emptied)
    version = log.version
    assert log.erase("a", fields=["Name", "Born"]) == log.erase("a", fields=[]) == log.erase("none") == 0
    assert log.version == version
    assert log.erase("a") == 2
    assert log.versions().collect()["Id"].to_list() == ["b"]
    assert (log.watermark, log.deletes_watermark, log.coverage) == (hours(1), hours(1), told)
    late = ObjectLog(tmp_path, "Account")
    log.append(rows({"Id": "c"}), synced_at=hours(3), watermark=hours(3))
    with pytest.raises(StoreError, match="another sync is writing"):
        late.erase("b")
