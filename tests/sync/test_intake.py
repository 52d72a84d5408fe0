"""What is read is typed as it comes, and none of it is taken twice for another."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from attribution.sync.descriptions import FieldDescription, ObjectDescription
from attribution.sync.intake import Intake

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FIELDS = ("Rank", "Id")


def intake(folder: Path, object: str = "Lead") -> Intake:
    fields = {"Id": FieldDescription("Id", "id"), "Rank": FieldDescription("Rank", "int")}
    return Intake(folder, ObjectDescription(object, fields, is_replicateable=True), FIELDS, {}, lambda: NOON)


def page(*rows: tuple[str, int]) -> pl.DataFrame:
    ranks, numbers = zip(*rows, strict=True)
    ids = [f"00Q{number:012}AAA" for number in numbers]
    return pl.DataFrame({"Rank": ranks, "Id": ids}, schema=dict.fromkeys(FIELDS, pl.String()))


def test_a_record_in_the_place_of_another_is_seen_though_it_cannot_be_read(tmp_path: Path) -> None:
    for name in ("Lead", "Opportunity"):
        for again, is_repeating in ((2, False), (1, True), (0, True)):
            taken = intake(tmp_path / f"{name}{again}", name)
            taken.add(page(("1", 0), ("gold", 1)))
            taken.add(page(("silver" if again == 1 else "3", again)))
            assert (taken.read, taken.n_different) == (3, 3 - is_repeating)
            # nobody goes on after such pages
            resumed = intake(tmp_path / f"{name}{again}", name)
            assert resumed.resume(2, 3) is not is_repeating
            if not is_repeating:
                assert (resumed.read, resumed.n_different) == (3, 3)
                assert resumed.rejected == taken.rejected
                assert resumed.pages.scan().collect().equals(taken.pages.scan().collect())


def test_pages_of_another_read_are_not_gone_on_with(tmp_path: Path) -> None:
    intake(tmp_path / "pages").add(page(("1", 0), ("gold", 1)))
    assert not intake(tmp_path / "pages").resume(1, 3)
    (tmp_path / "pages" / "000000.json").write_bytes(b"\xff")
    assert not intake(tmp_path / "pages").resume(1, 2)
    (tmp_path / "pages" / "000000.json").write_text("[1]")
    assert not intake(tmp_path / "pages").resume(1, 2)
    (tmp_path / "pages" / "000000.json").unlink()
    assert not intake(tmp_path / "pages").resume(1, 2)


def test_an_intake_that_begins_anew_has_forgotten_everything(tmp_path: Path) -> None:
    taken = intake(tmp_path / "pages")
    taken.add(page(("1", 0), ("gold", 1)))
    taken.restart()
    assert (taken.read, taken.rejected, list(taken.pages)) == (0, [], [])
    assert not (tmp_path / "pages").exists()
    taken.add(page(("2", 2)))
    assert sorted(file.name for file in (tmp_path / "pages").iterdir()) == ["000000.parquet"]
