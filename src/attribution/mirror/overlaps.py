"""Account overlaps from a file: which partner knows which account, where no object of the CRM says it."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from attribution.arrays import INSTANT
from attribution.errors import DataError, UsageError, known
from attribution.mirror.log import Appended, ObjectLog
from attribution.settings import closest

__all__ = ["append_overlaps", "read_overlaps"]

_TOLD: Final = 10
"""Wrong rows that are named one by one."""
_SCHEMA: Final = {
    "Id": pl.String(),
    "Partner": pl.String(),
    "Account": pl.String(),
    "OccurredOn": pl.Date(),
    "Source": pl.String(),
}
_ID: Final = re.compile(r"001[0-9A-Za-z]{12}(?:[0-9A-Za-z]{3})?")
_DATES: Final = ("occurred_on", "found_at")


@dataclass(frozen=True, slots=True)
class _Accounts:
    """The mirrored accounts, to be found by id or by name."""

    by_id: Mapping[str, str]
    """First 15 characters -> id."""
    by_name: Mapping[str, tuple[str, ...]]
    """Of live accounts only."""

    def find(self, text: str) -> str:
        """Id of an account; a ValueError says why there is none."""
        if _ID.fullmatch(text):
            found = self.by_id.get(text[:15])
            if found is None:
                raise ValueError(f"there is no account {text} in the store")
            return found
        ids = self.by_name.get(text, ())
        if len(ids) > 1:
            raise ValueError(f"{len(ids)} accounts are called {text!r}: write the id, one of {known(ids, 5)}")
        if not ids:
            there_is = closest(text, self.by_name, 3)
            raise ValueError(f"there is no account called {text!r} in the store; there is: {there_is}")
        return ids[0]


def read_overlaps(path: Path, accounts: pl.DataFrame, zone: ZoneInfo) -> pl.DataFrame:
    """Read a CSV file of overlaps, every row of it.

    Parameters
    ----------
    path
        Columns ``partner`` and ``account`` (id or exact name), ``occurred_on`` (a date) or ``found_at`` (a
        date, or an instant with its offset), optional ``source``; others are ignored.
    accounts
        ``Id``, ``Name`` and ``_deleted`` of every mirrored account.
    zone
        In which an instant becomes a date.

    Returns
    -------
    polars.DataFrame
        ``Id``, ``Partner`` and ``Account`` (ids), ``OccurredOn``, ``Source``.

    Raises
    ------
    UsageError
        If there is no such file.
    DataError
        If a column is missing, or rows are wrong; names line and column of the first, and how many are.
    """
    found = _index(accounts)
    rows: dict[str, tuple[int, dict[str, object]]] = {}
    faults: list[str] = []
    for line, columns in _lines(path):
        try:
            row = _row(columns, found, zone)
            first, known_row = rows.setdefault(str(row["Id"]), (line, row))
            if known_row != row:
                raise _Fault(
                    _date_column(columns), f"line {first} has the same partner and account on another day"
                )
        except _Fault as fault:
            faults.append(f"{path} line {line}, column {fault.column}: {fault}")
    if faults:
        more = f"; and {len(faults) - _TOLD} more rows are wrong" if len(faults) > _TOLD else ""
        raise DataError(
            f"{'; '.join(faults[:_TOLD])}{more}",
            hint="nothing was imported: correct the file and run it again",
        )
    return pl.DataFrame([row for _, row in rows.values()], schema=_SCHEMA)


def append_overlaps(log: ObjectLog, rows: pl.DataFrame, *, recorded_at: datetime, replace: bool) -> Appended:
    """Append what is new in ``rows``; with ``replace``, what their sources no longer have becomes deleted."""
    stored = log.newest().collect() if log.exists else pl.DataFrame(schema=_SCHEMA)
    was = {row["Id"]: row for row in stored.iter_rows(named=True)}
    stamped = []
    for row in rows.iter_rows(named=True):
        before = was.get(row["Id"])
        same = before is not None and not before["_deleted"] and before["OccurredOn"] == row["OccurredOn"]
        stamped.append(
            row
            | {
                # recorded once; a correction is a later version of the same record
                "CreatedDate": recorded_at if before is None else before["CreatedDate"],
                "SystemModstamp": before["SystemModstamp"] if before is not None and same else recorded_at,
                "IsDeleted": False,
            }
        )
    schema = _SCHEMA | {"CreatedDate": INSTANT, "SystemModstamp": INSTANT, "IsDeleted": pl.Boolean()}
    deletions = None
    if replace and log.exists:
        gone = stored.filter(pl.col("Source").is_in(rows["Source"].unique().to_list(), nulls_equal=True))
        missing = gone.filter(~pl.col("Id").is_in(rows["Id"].to_list()))["Id"]
        deletions = pl.DataFrame(
            {"Id": missing, "deleted_at": [recorded_at] * missing.len()},
            schema={"Id": pl.String(), "deleted_at": INSTANT},
        )
    frame = pl.DataFrame(stamped, schema=schema)
    return log.append(frame, synced_at=recorded_at, deletions=deletions)


class _Fault(ValueError):
    """What is wrong with one column of one row."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


def _index(accounts: pl.DataFrame) -> _Accounts:
    by_name: dict[str, list[str]] = {}
    for identity, name in accounts.filter(~pl.col("_deleted")).select("Id", "Name").iter_rows():
        by_name.setdefault(name or "", []).append(identity)
    by_id = {identity[:15]: identity for identity in accounts["Id"]}
    return _Accounts(by_id, {name: tuple(sorted(ids)) for name, ids in by_name.items()})


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of the file, each with the line on which it begins."""
    try:
        # spreadsheets write a mark in front
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="check the path") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8", hint="save it as CSV in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower().replace(" ", "_") for name in next(reader, [])]
        missing = [name for name in ("partner", "account") if name not in header]
        if not set(_DATES) & set(header):
            missing.append("occurred_on")
        if missing:
            raise DataError(
                f"{path} line 1: there is no column {', '.join(missing)}; there is: {known(header)}",
                hint="columns: partner, account, occurred_on or found_at, and optionally source",
            )
        end = reader.line_num
        for values in reader:
            begin, end = end + 1, reader.line_num
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                raise DataError(
                    f"{path} line {begin}: {len(values)} values where the header names {len(header)}",
                    hint="put a value with a comma between quotes",
                )
            yield begin, dict(zip(header, (value.strip() for value in values), strict=True))
    except csv.Error as error:
        raise DataError(
            f"{path} line {reader.line_num}: {error}", hint="nothing was imported: correct the file"
        ) from None


def _row(columns: Mapping[str, str], accounts: _Accounts, zone: ZoneInfo) -> dict[str, object]:
    ids = {}
    for name in ("partner", "account"):
        if not columns[name]:
            raise _Fault(name, "is empty")
        try:
            ids[name] = accounts.find(columns[name])
        except ValueError as error:
            raise _Fault(name, str(error)) from None
    column = _date_column(columns)
    source = columns.get("source") or None
    # no record of Salesforce's has such an id, and equal overlaps have equal ones
    digest = hashlib.sha256("\n".join((source or "", ids["partner"], ids["account"])).encode()).hexdigest()
    return {
        "Id": f"OVL{digest[:15]}",
        "Partner": ids["partner"],
        "Account": ids["account"],
        "OccurredOn": _day(columns[column], column, zone),
        "Source": source,
    }


def _date_column(columns: Mapping[str, str]) -> str:
    return next(
        (name for name in _DATES if columns.get(name)), next(name for name in _DATES if name in columns)
    )


def _day(text: str, column: str, zone: ZoneInfo) -> date:
    if not text:
        raise _Fault(column, "is empty")
    try:
        if len(text) <= len("2026-06-30"):
            return date.fromisoformat(text)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _Fault(column, f"{text!r} is no date such as 2026-06-30") from None
    if moment.tzinfo is None:
        raise _Fault(column, f"{text!r} has no offset: write {text}Z for UTC, or the date alone")
    return moment.astimezone(zone).date()
