"""Account overlaps from a file: checked row by row, and stored as versions like everything else."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from attribution.arrays import INSTANT
from attribution.errors import DataError, UsageError
from attribution.mirror.log import ObjectLog
from attribution.store import Store

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ACME, GLOBEX, TWIN, OTHER, GONE = (f"001Ab000000000{n}IAA" for n in range(1, 6))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.claim("00DAb0000000001EAA")
    names = {ACME: "Acme", GLOBEX: "Globex, Inc.", TWIN: "Twin", OTHER: "Twin", GONE: "Gone"}
    accounts = pl.DataFrame(
        {"Id": list(names), "Name": list(names.values()), "IsDeleted": [each == GONE for each in names]}
    )
    organization = pl.DataFrame({"Id": ["00DAb0000000001EAA"], "TimeZoneSidKey": ["America/Los_Angeles"]})
    for name, frame in (("Account", accounts), ("Organization", organization)):
        ObjectLog(store.path / "mirror", name).append(frame, synced_at=NOW, watermark=NOW)
    return store


def write(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    file = folder / "overlaps.csv"
    file.write_bytes("\r\n".join([*lines, ""]).encode(encoding))
    return file


def held(store: Store, known_at: datetime | None = None) -> list[tuple[str, str, date]]:
    return sorted(store.rows("Overlap", known_at).select("Partner", "Account", "OccurredOn").rows())


def test_names_and_ids_dates_and_instants(store: Store, tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "Partner,Found At,Account,Source,Ignored",
        f'"Globex, Inc.",2026-03-01T02:00:00Z,{ACME[:15]},Crossbeam,"a',
        'b"',
        "",
        f" {GLOBEX} ,2026-03-01,{TWIN},,",
        f"Acme,2026-04-01T00:00:00-08:00,{GONE},Crossbeam,",
        encoding="utf-8-sig",
    )
    added = store.import_overlaps(file, recorded_at=NOW)
    assert (added.written, added.deleted) == (3, 0)
    assert held(store) == sorted(
        [
            (GLOBEX, ACME, date(2026, 2, 28)),
            (GLOBEX, TWIN, date(2026, 3, 1)),
            (ACME, GONE, date(2026, 4, 1)),
        ]
    )
    rows = store.rows("Overlap")
    assert dict(rows.schema) == {
        "Id": pl.String(),
        "Partner": pl.String(),
        "Account": pl.String(),
        "OccurredOn": pl.Date(),
        "Source": pl.String(),
        "CreatedDate": INSTANT,
        "SystemModstamp": INSTANT,
        "IsDeleted": pl.Boolean(),
    }
    assert rows["Id"].str.len_chars().to_list() == [18, 18, 18]
    assert set(rows["CreatedDate"]) == {NOW}
    assert "Overlap" not in store.watermarks


def test_importing_twice_adds_nothing_and_a_correction_is_a_version(store: Store, tmp_path: Path) -> None:
    head = "partner,account,occurred_on,source"
    file = write(tmp_path, head, "Acme,Globex,2026-01-01,a".replace("Globex", GLOBEX))
    store.import_overlaps(file, recorded_at=NOW)
    version = store.log("Overlap").version
    again = store.import_overlaps(file, recorded_at=NOW + timedelta(days=1))
    assert (again.written, again.deleted, store.log("Overlap").version) == (0, 0, version)
    corrected = write(tmp_path, head, f"Acme,{GLOBEX},2026-01-02,a")
    assert store.import_overlaps(corrected, recorded_at=NOW + timedelta(days=2)).written == 1
    row = store.rows("Overlap").row(0, named=True)
    assert (row["OccurredOn"], row["CreatedDate"]) == (date(2026, 1, 2), NOW)
    assert held(store, NOW) == [(ACME, GLOBEX, date(2026, 1, 1))]


def test_what_a_source_no_longer_has_is_deleted_only_when_asked_for(store: Store, tmp_path: Path) -> None:
    head = "partner,account,occurred_on,source"
    first = [f"Acme,{GLOBEX},2026-01-01,a", f"Acme,{TWIN},2026-01-01,a", f"Acme,{TWIN},2026-01-01,b"]
    store.import_overlaps(write(tmp_path, head, *first), recorded_at=NOW)
    less = write(tmp_path, head, first[0])
    day = timedelta(days=1)
    assert store.import_overlaps(less, recorded_at=NOW + day).deleted == 0
    assert len(held(store)) == 3
    assert store.import_overlaps(less, replace=True, recorded_at=NOW + 2 * day).deleted == 1
    assert sorted(store.rows("Overlap")["Source"]) == ["a", "b"]
    assert store.import_overlaps(less, replace=True, recorded_at=NOW + 3 * day).deleted == 0
    back = write(tmp_path, head, *first[:2])
    assert store.import_overlaps(back, replace=True, recorded_at=NOW + 4 * day).written == 1
    assert len(held(store)) == 3
    assert len(held(store, NOW + 2 * day)) == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["partner,occurred_on", ""], r"line 1: there is no column account; there is: occurred_on, partner"),
        (["partner,account", ""], r"line 1: there is no column occurred_on"),
        ([""], r"line 1: there is no column partner, account, occurred_on; there is: none"),
        (["partner,account,occurred_on", ",Acme,2026-01-01"], r"line 2, column partner: is empty"),
        (
            ["partner,account,occurred_on", f"{GLOBEX},Acne,2026-01-01"],
            r"line 2, column account: there is no account called 'Acne' in the store; there is: Acme, ",
        ),
        (
            ["partner,account,occurred_on", f"{ACME},Twin,2026-01-01"],
            rf"line 2, column account: 2 accounts are called 'Twin': write the id, one of {TWIN}, {OTHER}",
        ),
        (
            ["partner,account,occurred_on", f"Gone,{ACME},2026-01-01"],
            r"line 2, column partner: there is no account called 'Gone'",
        ),
        (
            ["partner,account,occurred_on", f"001Ab0000000009,{ACME},2026-01-01"],
            r"line 2, column partner: there is no account 001Ab0000000009 in the store",
        ),
        (
            ["partner,account,occurred_on", '"Acme', f'",{ACME},2026-01-01', f"Acme,{GLOBEX},01/02/2026"],
            r"line 4, column occurred_on: '01/02/2026' is no date such as 2026-06-30$",
        ),
        (["partner,account,occurred_on", f"Acme,{GLOBEX},"], r"line 2, column occurred_on: is empty"),
        (
            ["partner,account,found_at", f"Acme,{GLOBEX},2026-01-01T10:00", "x,y,z"],
            r"line 2, column found_at: '2026-01-01T10:00' has no offset.*; .* line 3, column partner: ",
        ),
        (
            ["partner,account,occurred_on", f"Acme,{GLOBEX},2026-01-01", f"Acme,{GLOBEX},2026-01-02"],
            r"line 3, column occurred_on: line 2 has the same partner and account on another day",
        ),
        (["partner,account,occurred_on", "Acme,Globex, Inc.,2026-01-01"], r"line 2: 4 values where"),
        (["partner,account,occurred_on", '"Acme'], r"line 2: unexpected end of data"),
    ],
)
def test_wrong_rows_are_named_by_line_and_column(
    store: Store, tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=rf"overlaps\.csv {message}"):
        store.import_overlaps(write(tmp_path, *lines), recorded_at=NOW)
    assert "Overlap" not in store.objects


def test_files_that_are_no_such_files_and_stores_that_are_empty(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        store.import_overlaps(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("partner,é".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8"):
        store.import_overlaps(tmp_path / "latin.csv")
    with pytest.raises(UsageError, match=r"recorded_at .* has no time zone"):
        store.import_overlaps(tmp_path / "none.csv", recorded_at=datetime(2026, 1, 1))
    with pytest.raises(DataError, match="nothing was synced"):
        Store(tmp_path / "new").import_overlaps(tmp_path / "none.csv")
