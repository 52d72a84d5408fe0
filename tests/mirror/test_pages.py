"""Pages of a read: kept on disk as they come, gone on with by another process, taken as files of a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.mirror.erased import Erased
from attribution.mirror.log import Appended, ObjectLog
from attribution.mirror.pages import Pages

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(hours=1)
TYPES: dict[str, pl.DataType] = {"Id": pl.String(), "Name": pl.String(), "IsDeleted": pl.Boolean()}
MANY = 5_000
"""So many rows make a page that is worth a file of its own."""


def rows(*ids: str, name: str = "x", deleted: bool = False) -> pl.DataFrame:
    columns = {"Id": list(ids), "Name": [name] * len(ids), "IsDeleted": [deleted] * len(ids)}
    return pl.DataFrame(columns, schema=TYPES)


def many(first: int, count: int = MANY, **values: object) -> pl.DataFrame:
    return rows(*(f"{first + n:06}" for n in range(count)), **values)  # type: ignore[arg-type]


def read(folder: Path, *pages: pl.DataFrame) -> Pages:
    kept = Pages(folder, TYPES)
    for turn, page in enumerate(pages):
        kept.add(page, START + timedelta(minutes=turn))
    return kept


def files(log: ObjectLog) -> list[Path]:
    return sorted(log.path.glob("part-*"))


def first_commit(pages: Pages, mirror: Path) -> tuple[ObjectLog, Appended]:
    log = ObjectLog(mirror, "Account")
    return log, log.append(pages, synced_at=LATER, watermark=LATER)


def test_large_pages_of_a_first_read_become_the_files_of_the_table(tmp_path: Path) -> None:
    pages = read(tmp_path / "pages", many(0), many(MANY, deleted=True), rows(), many(2 * MANY))
    log, appended = first_commit(pages, tmp_path)
    assert appended == Appended(written=2 * MANY, deleted=MANY)
    kept = sorted((tmp_path / "pages").iterdir())
    assert all(file.samefile(page) for file, page in zip(files(log), [*kept[:2], kept[3]], strict=True))
    # all of one instant, which is that of the first page
    assert log.versions().select(pl.col("_synced_at").unique()).collect()["_synced_at"].to_list() == [START]
    expected = pl.concat([many(0), many(2 * MANY)])
    assert log.current().sort("Id").collect().equals(expected)
    # and a commit knows as much of them as of files that it writes itself
    whole = ObjectLog(tmp_path / "whole", "Account")
    whole.append(pl.concat([many(0), many(MANY, deleted=True), many(2 * MANY)]), synced_at=START)
    order = ("Id", "_synced_at")
    assert log.versions().sort(order).collect().equals(whole.versions().sort(order).collect())
    assert log.newest_of(pl.Series(["000007"])).equals(whole.newest_of(pl.Series(["000007"])))


def test_where_files_cannot_be_linked_they_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    log, _ = first_commit(read(tmp_path / "pages", many(0)), tmp_path)
    (file,) = files(log)
    assert file.stat().st_nlink == 1
    assert log.current().collect().equals(many(0))


def test_small_pages_are_put_together(tmp_path: Path) -> None:
    log, appended = first_commit(read(tmp_path / "pages", *(many(n * 10, 10) for n in range(9))), tmp_path)
    assert appended.written == 90
    assert len(files(log)) == 1


def test_a_record_that_came_twice_is_stored_once(tmp_path: Path) -> None:
    log, appended = first_commit(
        read(tmp_path / "pages", many(0), many(MANY - 1, MANY, name="newer")), tmp_path
    )
    assert appended.written == 2 * MANY - 1
    stored = log.versions().collect()
    assert stored["Id"].is_unique().all()
    assert stored.filter(pl.col("Name") == "newer").height == MANY


def test_what_was_erased_is_not_taken_as_it_is(tmp_path: Path) -> None:
    Erased().removing("Account", "000007").save(tmp_path)
    log, appended = first_commit(read(tmp_path / "pages", many(0)), tmp_path)
    assert appended.written == MANY - 1
    assert "000007" not in log.versions().collect()["Id"].to_list()
    # nor is the history of a record that was removed
    types = {"Id": pl.String(), "AccountId": pl.String()}
    history = Pages(tmp_path / "pages", types)
    rows = {"Id": [f"h{n}" for n in range(MANY)], "AccountId": [f"{n:06}" for n in range(MANY)]}
    history.add(pl.DataFrame(rows), START)
    log = ObjectLog(tmp_path, "AccountHistory")
    assert log.append(history, synced_at=LATER, watermark=LATER).written == MANY - 1
    assert "000007" not in log.versions().collect()["AccountId"].to_list()


def test_what_was_kept_beside_a_page_goes_with_it(tmp_path: Path) -> None:
    pages = Pages(tmp_path, TYPES)
    pages.add(rows("a"), START, "of a")
    resumed = Pages(tmp_path, TYPES)
    assert resumed.resume(0)
    resumed.add(rows("b"), START)
    again = Pages(tmp_path, TYPES)
    assert again.resume(1)
    assert [page.aside for page in again.files] == [""]
    assert again.scan().collect().equals(rows("b"))


def test_the_log_tells_the_instant_of_the_rows(tmp_path: Path) -> None:
    log, _ = first_commit(read(tmp_path / "pages", many(0), many(MANY)), tmp_path)
    told = DeltaTable(str(log.path)).get_add_actions(flatten=True)
    found = pl.DataFrame(told)
    assert {*found["min._synced_at"], *found["max._synced_at"]} == {START}
    assert found["num_records"].to_list() == [MANY, MANY]


def test_a_later_read_writes_only_what_differs(tmp_path: Path) -> None:
    log, _ = first_commit(read(tmp_path / "pages", many(0)), tmp_path)
    again = read(tmp_path / "pages", pl.concat([many(0, MANY - 1), rows(f"{MANY - 1:06}", name="y")]))
    appended = log.append(again, synced_at=LATER + timedelta(hours=1))
    assert appended == Appended(1, 0)
    assert log.versions().collect().height == MANY + 1


def test_a_commit_that_fails_leaves_the_pages(tmp_path: Path) -> None:
    pages = read(tmp_path / "pages", many(0))
    late = ObjectLog(tmp_path, "Account")
    first_commit(read(tmp_path / "others", many(7)), tmp_path)
    with pytest.raises(Exception, match="another sync is writing"):
        late.append(pages, synced_at=LATER, watermark=LATER)
    assert len(files(late)) == 1
    again = Pages(tmp_path / "pages", TYPES)
    assert again.resume(1)
    assert again.scan().collect().equals(many(0))


ID = st.sampled_from("abcdef")
PAGES = st.lists(st.lists(ID, unique=True, max_size=4), max_size=5)


@settings(max_examples=40)
@given(pages=PAGES, killed_after=st.integers(0, 5), more=st.booleans())
def test_a_read_that_goes_on_ends_as_one_that_was_never_killed(
    pages: Sequence[Sequence[str]], killed_after: int, more: bool
) -> None:
    frames = [rows(*ids, name=f"{turn}") for turn, ids in enumerate(pages)]
    done = min(killed_after, len(frames))
    asides = [f"[{turn}]" if turn % 2 else "" for turn in range(len(frames))]
    with TemporaryDirectory() as name:
        whole = read(Path(name) / "whole", *frames)
        killed = Pages(Path(name) / "killed", TYPES)
        # one page more may lie there than its reader has told
        for frame, aside in list(zip(frames, asides, strict=True))[: done + more]:
            killed.add(frame, START, aside)
        resumed = Pages(Path(name) / "killed", TYPES)
        assert resumed.resume(done)
        assert [page.aside for page in resumed.files] == asides[:done]
        for frame in frames[done:]:
            resumed.add(frame, LATER)
        assert [batch.rows() for batch in resumed] == [batch.rows() for batch in whole]
        assert resumed.scan().collect().equals(whole.scan().collect())
        assert resumed.n_different() == whole.n_different() == len({each for ids in pages for each in ids})
        stamps = {at for page in resumed.files for at in pl.read_parquet(page.file)["_synced_at"]}
        assert len(stamps) <= 1


@pytest.mark.parametrize("damage", ["cut", "gone", "of other columns", "of other types"])
def test_pages_that_are_not_whole_are_not_gone_on_with(tmp_path: Path, damage: str) -> None:
    read(tmp_path, many(0), many(MANY))
    types = dict(TYPES)
    file = tmp_path / "000001.parquet"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage == "gone":
        file.unlink()
    elif damage == "of other columns":
        types["Rank"] = pl.Int64()
    else:
        types["Name"] = pl.Int64()
    resumed = Pages(tmp_path, types)
    assert not resumed.resume(2)
    assert resumed.files == []
    # whoever begins anew is not disturbed by what lies there
    page = pl.DataFrame({"Id": ["a"]}).with_columns(
        pl.lit(None, kind).alias(name) for name, kind in types.items() if name != "Id"
    )
    resumed.add(page, START)
    assert [file.name for file in tmp_path.iterdir()] == ["000000.parquet"]


def test_to_clear_pages_leaves_what_else_lies_there(tmp_path: Path) -> None:
    pages = read(tmp_path / "pages", rows("a"))
    other = tmp_path / "pages" / "job.json"
    other.touch()
    (tmp_path / "pages" / ".000001.parquet.part").touch()
    pages.clear()
    assert list((tmp_path / "pages").iterdir()) == [other]
    other.unlink()
    pages.clear()
    assert not (tmp_path / "pages").exists()
    assert list(pages) == []
