"""The page on operations says what is true of the code."""

from __future__ import annotations

from pathlib import Path

from attribution.mapping import Mapping
from attribution.readings import readings

PAGE = Path(__file__).parent.parent / "docs" / "operations.md"
OF_EVERY_RECORD = {"Id", "CreatedDate", "CreatedById", "SystemModstamp", "IsDeleted"}


def test_the_permission_set_grants_what_is_read_and_nothing_else() -> None:
    section = PAGE.read_text("utf-8").split("## ")[1]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    granted = {name: set(fields.split(", ")) - {"-"} for name, fields in rows}
    assert granted == {
        name: set(reading.fields) - OF_EVERY_RECORD for name, reading in readings(Mapping()).items()
    }
