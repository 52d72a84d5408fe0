"""The Delta table of one object: one handle on it, and commits that nobody else's commit can slip under."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import PrimitiveType
from deltalake.transaction import create_table_with_add_actions

from attribution.arrays import DECIMAL, INSTANT
from attribution.errors import StoreError
from attribution.mirror import maintenance
from attribution.mirror.coverage import Coverage, telling, told
from attribution.mirror.files import DataFiles

__all__ = ["TYPES", "Table"]

TYPES: Final[Mapping[str, pl.DataType]] = {
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "timestamp": INSTANT,
    "long": pl.Int64(),
    "decimal(38,18)": DECIMAL,
    "string": pl.String(),
}
"""What a column may be: Delta's name of each type."""


class Table:
    """A Delta table as it is at one version, until it is reloaded or written to.

    Parameters
    ----------
    path
        Folder of the table; need not exist yet.
    object
        What it holds, for errors.
    """

    def __init__(self, path: Path, object: str) -> None:
        self.path = path
        self._object = object
        self._table: DeltaTable | None = None
        self.reload()

    def reload(self) -> None:
        """Look at the newest state, as after somebody else has written.

        Raises
        ------
        StoreError
            If the log of the table cannot be read.
        """
        try:
            exists = DeltaTable.is_deltatable(str(self.path))
            self._table = DeltaTable(str(self.path)) if exists else None
        except DeltaError as error:
            raise StoreError(
                f"{self._object}: {self.path} is damaged: {_line(error)[:200]}",
                hint="restore it from a backup, or sync into a new folder",
            ) from error

    @property
    def exists(self) -> bool:
        """Whether there was ever a commit, be it without rows."""
        return self._table is not None

    @property
    def version(self) -> int:
        """Number of the newest commit; -1 before the first."""
        return -1 if self._table is None else self._table.version()

    @property
    def files(self) -> list[Path]:
        """The data files."""
        names = [] if self._table is None else maintenance.file_names(self._table)
        return [self.path / name for name in names]

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Type of every column; empty before the first commit."""
        if self._table is None:
            return {}
        return {field.name: TYPES[_type_name(field.type)] for field in self._table.schema().fields}

    @property
    def told(self) -> Coverage | None:
        """What the newest commit says was read."""
        return None if self._table is None else told(self._table)

    def transaction(self, name: str) -> int | None:
        """The newest version of an app transaction."""
        return None if self._table is None else self._table.transaction_version(name)

    @contextmanager
    def writing(self, files: DataFiles | None = None) -> Iterator[None]:
        """Look at the newest state after a commit; say of one that failed whether another was faster.

        Raises
        ------
        StoreError
            If somebody else has committed since the table was loaded, or the disk refuses. ``files`` are
            removed.
        """
        is_first = self._table is None
        try:
            yield
        except (CommitFailedError, DeltaError, OSError, pl.exceptions.PolarsError) as error:
            if files is not None:
                files.remove()
            self.reload()
            if not isinstance(error, CommitFailedError) and not (is_first and self.exists):
                raise StoreError(
                    f"{self._object}: cannot write to {self.path}: {_line(error)}",
                    hint="look at the disk and the permissions of the store",
                ) from error
            raise StoreError(
                f"{self._object}: another sync is writing to this store; nothing of this one was added",
                hint="let it finish, then run this again",
            ) from error
        self.reload()

    def put(
        self,
        files: DataFiles,
        columns: Mapping[str, pl.DataType],
        transactions: list[Transaction],
        coverage: Coverage | None,
    ) -> None:
        """Commit files, app transactions and what was read, all at once; the first commit makes the table."""
        properties = _properties(coverage, transactions)
        if self._table is None:
            create_table_with_add_actions(
                str(self.path),
                _delta_schema(columns),
                files.actions,
                "error",
                # statistics of any other column would keep personal data in the log for ever
                configuration={"delta.dataSkippingStatsColumns": "_synced_at"},
                commit_properties=properties,
            )
            return
        if columns.keys() - self.schema.keys():
            self._widen(self._table, columns, coverage)
        self._table.create_write_transaction(
            [*files.actions], "append", self._table.schema(), commit_properties=properties
        )

    def _widen(
        self, table: DeltaTable, columns: Mapping[str, pl.DataType], coverage: Coverage | None
    ) -> None:
        """Add columns in a commit of their own, which tells since when they are known, and of no row."""
        known, version = told(table), table.version()
        if known is not None and coverage is not None:
            known = replace(known, since=coverage.since)
        write_deltalake(
            table,
            pl.DataFrame(schema=dict(columns)),
            mode="append",
            schema_mode="merge",
            commit_properties=_properties(known),
        )
        if table.version() != version + 1:
            raise CommitFailedError("somebody else has committed meanwhile")

    def empty(
        self,
        column: str,
        id: str,
        fields: Sequence[str] | None,
        transactions: list[Transaction],
        coverage: Coverage | None,
    ) -> None:
        """Rewrite the files that hold a record: with these fields of it empty; with None, without it."""
        if self._table is None:
            return
        properties = _properties(coverage, transactions)
        with self.writing():
            if fields is None:
                maintenance.remove(self._table, column, id, properties)
            else:
                maintenance.empty(self._table, column, id, fields, properties)

    def compact(self, at: int) -> None:
        """Merge the small files where there are so many."""
        if self._table is not None and len(self.files) >= at:
            with self.writing():
                maintenance.compact(self._table, self.path)

    def sweep(self) -> None:
        """Delete every file that is no part of the newest state: what was replaced or left behind."""
        if self._table is not None:
            maintenance.sweep(self._table, self.path)


def _properties(coverage: Coverage | None, transactions: list[Transaction] | None = None) -> CommitProperties:
    """What a commit tells beside its rows; it is tried once, on the state that was looked at."""
    # with retries delta-rs would put the rows after a commit whose watermark we have not seen
    return CommitProperties(
        app_transactions=transactions, max_commit_retries=0, custom_metadata=telling(coverage)
    )


def _delta_schema(columns: Mapping[str, pl.DataType]) -> Schema:
    names = {kind: name for name, kind in TYPES.items()}
    return Schema([Field(name, PrimitiveType(names[kind])) for name, kind in columns.items()])


def _type_name(kind: object) -> str:
    return str(getattr(kind, "type", kind))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
