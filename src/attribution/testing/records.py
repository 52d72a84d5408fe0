"""The rows of the org in SQLite: one table per object, one column per field, typed so that order is right.

Instants are integer milliseconds, dates ISO text, booleans 0 or 1, an empty text is null as in Salesforce.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any

from attribution.errors import UsageError
from attribution.testing.objects import COMPOUND, IDENTITY, Field, SObject

__all__ = [
    "Records",
    "Row",
    "Unit",
    "day_text",
    "decode",
    "encode",
    "full_id",
    "milliseconds",
    "shared_sql",
    "to_instant",
]

Row = dict[str, Any]
"""An encoded row: canonical field name -> SQLite value."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_ID = re.compile(r"[0-9A-Za-z]{15}([0-9A-Za-z]{3})?")
_SQL_TYPES = {"boolean": "INTEGER NOT NULL DEFAULT 0", "datetime": "INTEGER", "int": "INTEGER"}


def milliseconds(instant: datetime) -> int:
    """Return an aware instant as milliseconds since the epoch."""
    return (instant - _EPOCH) // _MILLISECOND


def to_instant(stored: int) -> datetime:
    """Return milliseconds since the epoch as an aware instant."""
    return _EPOCH + stored * _MILLISECOND


def day_text(day: date) -> str:
    """Return a date as text that sorts as dates do."""
    return f"{day.year:04d}-{day.month:02d}-{day.day:02d}"


def checksum(identity: str) -> str:
    """Return the three characters that make a 15-character id safe where case is lost."""
    return "".join(
        _ALPHABET[sum(identity[5 * block + bit].isupper() << bit for bit in range(5))] for block in range(3)
    )


def full_id(identity: str) -> str | None:
    """Return the 18-character form of an id, or None if it is none.

    Examples
    --------
    >>> full_id("001A0000006Vm9r")
    '001A0000006Vm9rIAC'
    """
    if _ID.fullmatch(identity) is None:
        return None
    return identity[:15] + checksum(identity) if len(identity) == 15 else identity


def encode(field: Field, value: Any) -> Any:
    """Turn a Python value into what the table holds.

    Raises
    ------
    UsageError
        If the value is not of the field's type.
    """
    if value is None:
        return 0 if field.type == "boolean" else None
    kind = field.type
    if kind == "boolean" and isinstance(value, bool):
        return int(value)
    if kind == "datetime" and isinstance(value, datetime) and value.tzinfo is not None:
        return milliseconds(value)
    if kind == "date" and isinstance(value, date) and not isinstance(value, datetime):
        return day_text(value)
    if kind == "int" and isinstance(value, int):
        return int(value)
    if kind in ("double", "currency", "percent") and isinstance(value, int | float | Decimal):
        return float(value)
    if kind in IDENTITY and isinstance(value, str):
        return (full_id(value) if len(value) == 15 else value) or value or None
    if kind not in ("boolean", "datetime", "date", "int", "double", "currency", "percent") and isinstance(
        value, str
    ):
        return value or None
    raise UsageError(
        f"field {field.name} of type {kind} does not take {value!r}", hint="datetimes must be aware"
    )


def decode(field: Field, stored: Any) -> Any:
    """Turn what the table holds into a Python value; numbers with decimals become Decimal."""
    if stored is None:
        return None
    if field.type == "boolean":
        return bool(stored)
    if field.type == "datetime":
        return to_instant(stored)
    if field.type == "date":
        return date.fromisoformat(stored)
    if field.type in ("double", "currency", "percent"):
        return Decimal(repr(stored))
    return stored


def _collate(left: str, right: str) -> int:
    left, right = left.lower(), right.lower()
    return (left > right) - (left < right)


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


def _like(value: str | None, pattern: str) -> bool:
    return value is not None and _matcher(pattern).fullmatch(value.lower()) is not None


def java_double(value: float | None) -> str:
    """Spell a number as Salesforce's CSV does: ``9.12260031E8`` from ten million on."""
    if value is None:
        return ""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(float(value))
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():E}".partition("E")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}E{int(exponent)}"


class Records:
    """The tables of one org. One writer at a time, any number of readers."""

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="org-")
        self._path = str(Path(folder) / "rows.sqlite")
        self._connections: list[sqlite3.Connection] = []
        self._idle: LifoQueue[sqlite3.Connection] = LifoQueue()
        self._indexed: set[tuple[str, str]] = set()
        self.lock = threading.RLock()
        self.close = weakref.finalize(self, _close, self._connections, folder)
        self._writer = self._connect()
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute(
            "CREATE TABLE _deleted"
            " (object TEXT, id TEXT, deleted_at INTEGER, root TEXT, PRIMARY KEY (object, id))"
        )
        self._writer.execute("CREATE INDEX _roots ON _deleted (root)")
        self._writer.execute("CREATE TABLE _unshared (object TEXT, id TEXT, PRIMARY KEY (object, id))")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=60)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -65536")
        connection.create_collation("CRM", _collate)
        connection.create_function("crm_like", 2, _like, deterministic=True)
        connection.create_function("java_double", 1, java_double, deterministic=True)
        self._connections.append(connection)
        return connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees one state of the rows until it is given back."""
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = self._connect()
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")
            self._idle.put(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend the one connection that writes; what it did is visible afterwards, or not at all."""
        with self.lock:
            if self._writer.in_transaction:
                yield self._writer
                return
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    def create(self, obj: SObject) -> None:
        """Make the table of an object."""
        columns = ", ".join(self._column(field) for field in obj.fields)
        with self.writing() as connection:
            connection.execute(f'CREATE TABLE "{obj.name}" ({columns})')
            if obj.cursor:
                connection.execute(f'CREATE INDEX "{obj.name} cursor" ON "{obj.name}" ({obj.cursor}, Id)')

    @staticmethod
    def _column(field: Field) -> str:
        kind = "TEXT NOT NULL UNIQUE" if field.name == "Id" else _SQL_TYPES.get(field.type)
        if kind is None:
            kind = "REAL" if field.type in ("double", "currency", "percent") else "TEXT"
        return f'"{field.name}" {kind}'

    def add_column(self, obj: SObject, field: Field) -> None:
        """Add the column of a new field, null in every row."""
        with self.writing() as connection:
            connection.execute(f'ALTER TABLE "{obj.name}" ADD COLUMN {self._column(field)}')

    def share(self, obj: SObject, identity: str, *, shared: bool) -> bool:
        """Note whether the user of the API sees a record; return whether one of the object is not seen."""
        sql = "DELETE FROM _unshared WHERE object = ? AND id = ?"
        with self.writing() as connection:
            connection.execute(
                sql if shared else "INSERT OR IGNORE INTO _unshared VALUES (?, ?)", (obj.name, identity)
            )
            left = connection.execute("SELECT 1 FROM _unshared WHERE object = ? LIMIT 1", (obj.name,))
            return left.fetchone() is not None

    def drop(self, obj: SObject) -> None:
        """Remove the table of an object."""
        with self.writing() as connection:
            connection.execute(f'DROP TABLE "{obj.name}"')

    def upsert(self, obj: SObject, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write rows by Id; a row that is there keeps its place and changes."""
        names = ", ".join(f'"{name}"' for name in columns)
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in columns if name != "Id")
        with self.writing() as connection:
            connection.executemany(
                f'INSERT INTO "{obj.name}" ({names}) VALUES ({", ".join("?" * len(columns))}) '
                f"ON CONFLICT (Id) DO UPDATE SET {changes}",
                rows,
            )

    def get(self, obj: SObject, identity: str) -> Row | None:
        """Return one encoded row."""
        with self.reading() as connection:
            cursor = connection.execute(f'SELECT * FROM "{obj.name}" WHERE Id = ?', (identity,))
            found = cursor.fetchone()
            return (
                dict(zip((column[0] for column in cursor.description), found, strict=True)) if found else None
            )

    def find(self, obj: SObject, column: str, value: str) -> list[str]:
        """Return the ids of the rows that hold a value, and keep an index for the next time."""
        if (obj.name, column) not in self._indexed:
            with self.writing() as connection:
                index = f'"{obj.name} {column}"'
                connection.execute(f'CREATE INDEX IF NOT EXISTS {index} ON "{obj.name}" ("{column}")')
            self._indexed.add((obj.name, column))
        with self.reading() as connection:
            found = connection.execute(f'SELECT Id FROM "{obj.name}" WHERE "{column}" = ?', (value,))
            return [identity for (identity,) in found]

    def ids(self, obj: SObject) -> list[str]:
        """Return the ids of all rows in the order of their writing."""
        with self.reading() as connection:
            return [
                identity for (identity,) in connection.execute(f'SELECT Id FROM "{obj.name}" ORDER BY rowid')
            ]

    def rows(self, obj: SObject) -> list[dict[str, Any]]:
        """Return all rows in Python values, in the order of their writing."""
        names = ", ".join(f'"{field.name}"' for field in obj.fields)
        with self.reading() as connection:
            stored = connection.execute(f'SELECT {names} FROM "{obj.name}" ORDER BY rowid').fetchall()
        return [
            {field.name: decode(field, value) for field, value in zip(obj.fields, row, strict=True)}
            for row in stored
        ]


class Unit:
    """Writes that become visible together, at ``flush``; it reads its own."""

    def __init__(self, records: Records, started_at: datetime) -> None:
        self._records = records
        self.started_at = started_at
        self._rows: dict[tuple[str, str], Row | None] = {}
        self._objects: dict[str, SObject] = {}
        self._log: dict[tuple[str, str], tuple[int, str] | None] = {}

    def holds(self, obj: SObject, identity: str) -> bool:
        """Whether it has written that row."""
        return (obj.name, identity) in self._rows

    def touches(self, name: str) -> bool:
        """Whether it has written to that object."""
        return name in self._objects

    def get(self, obj: SObject, identity: str) -> Row | None:
        """Return a copy of a row as this unit sees it."""
        if (obj.name, identity) in self._rows:
            row = self._rows[obj.name, identity]
            return dict(row) if row is not None else None
        return self._records.get(obj, identity)

    def put(self, obj: SObject, row: Row) -> None:
        """Write a row."""
        self._objects[obj.name] = obj
        self._rows[obj.name, row["Id"]] = row

    def remove(self, obj: SObject, identity: str) -> None:
        """Remove a row for good."""
        self._objects[obj.name] = obj
        self._rows[obj.name, identity] = None

    def find(self, obj: SObject, column: str, value: str) -> list[str]:
        """Return the ids of the rows that hold a value."""
        stored = [key for key in self._records.find(obj, column, value) if not self.holds(obj, key)]
        own = [
            identity
            for (name, identity), row in self._rows.items()
            if name == obj.name and row is not None and row.get(column) == value
        ]
        return stored + own

    def log(self, obj: SObject, identity: str, deleted_at: int, root: str) -> None:
        """Note a deletion; ``root`` is the record whose deletion took this one along."""
        self._log[obj.name, identity] = (deleted_at, root)

    def unlog(self, obj: SObject, identity: str) -> None:
        """Take a deletion back."""
        self._log[obj.name, identity] = None

    def taken_along(self, root: str) -> list[tuple[str, str]]:
        """Return (object, id) of the records that were deleted together with one, itself included."""
        with self._records.reading() as connection:
            stored = connection.execute("SELECT object, id FROM _deleted WHERE root = ?", (root,)).fetchall()
        own = [key for key, entry in self._log.items() if entry is not None and entry[1] == root]
        return [key for key in stored if key not in self._log] + own

    def deletion(self, obj: SObject, identity: str) -> int | None:
        """Return when a record was deleted, if it was."""
        key = (obj.name, identity)
        if key in self._log:
            entry = self._log[key]
            return entry[0] if entry else None
        with self._records.reading() as connection:
            query = "SELECT deleted_at FROM _deleted WHERE object = ? AND id = ?"
            found = connection.execute(query, key).fetchone()
        return int(found[0]) if found else None

    def flush(self) -> None:
        """Make everything visible at once."""
        with self._records.writing() as connection:
            for name, obj in self._objects.items():
                columns = [field.name for field in obj.fields if field.type not in COMPOUND]
                written = [row for (owner, _), row in self._rows.items() if owner == name and row is not None]
                gone = [(key,) for (owner, key), row in self._rows.items() if owner == name and row is None]
                self._records.upsert(
                    obj, columns, ([row.get(column) for column in columns] for row in written)
                )
                connection.executemany(f'DELETE FROM "{name}" WHERE Id = ?', gone)
            for (name, identity), entry in self._log.items():
                connection.execute("DELETE FROM _deleted WHERE object = ? AND id = ?", (name, identity))
                if entry is not None:
                    connection.execute("INSERT INTO _deleted VALUES (?, ?, ?, ?)", (name, identity, *entry))


def shared_sql(name: str, sql: str) -> str:
    """Return SQL that is true of the records that the user of the API sees; ``sql`` is their id."""
    return f"{sql} NOT IN (SELECT id FROM _unshared WHERE object = '{name}')"


def _close(connections: list[sqlite3.Connection], folder: str) -> None:
    for connection in connections:
        connection.close()
    shutil.rmtree(folder, ignore_errors=True)
