"""One append-only Delta table per CRM object: every version of every record, and how far it was read.

A version is a row of Salesforce fields with ``_synced_at``, the server's instant of the read, and
``_deleted``. Nothing is ever overwritten: the current rows are the versions with the greatest
``_synced_at`` per ``Id``, less those that are deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeGuard

import polars as pl
from deltalake import Transaction

from attribution.arrays import INSTANT
from attribution.columns import from_micros, to_micros
from attribution.errors import StoreError
from attribution.mirror.changes import changes, differing, tombstones
from attribution.mirror.coverage import Coverage
from attribution.mirror.erased import Erased
from attribution.mirror.files import DataFiles
from attribution.mirror.pages import Page, Pages
from attribution.mirror.table import TYPES, Table
from attribution.mirror.versions import OWN, newest, newest_of

__all__ = ["Appended", "ObjectLog"]

_WINDOW: Final = "window"
_DELETES: Final = "deletes"
_MAINTENANCE: Final = "maintenance"
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Appended:
    """What one commit added to a log."""

    written: int
    """Versions of live records."""
    deleted: int
    """Tombstones."""


class ObjectLog:
    """The versions of one CRM object, in a Delta table of its name.

    One instance holds one handle on the table from the reading of its watermarks to its commit: if
    somebody else commits in between, the commit is refused and nothing is written.

    Parameters
    ----------
    folder
        Where the tables of the mirror lie; need not exist yet.
    object
        API name of the object, such as ``Opportunity``.
    compact_at
        Number of data files at which an append merges the small ones; every version stays.
    """

    def __init__(self, folder: str | Path, object: str, *, compact_at: int = 100) -> None:
        self.object = object
        self._compact_at = compact_at
        self.path = Path(folder) / object
        self._table = Table(self.path, object)
        self._coverage: tuple[int, Coverage] | None = None

    def reload(self) -> None:
        """Look at the newest state of the table, as after somebody else has written it."""
        self._table.reload()

    @property
    def exists(self) -> bool:
        """Whether the object was ever committed, be it without rows."""
        return self._table.exists

    @property
    def is_empty(self) -> bool:
        """Whether no version of any record is stored."""
        return not self._table.files

    @property
    def version(self) -> int:
        """Number of the commit this handle looks at; -1 before the first. Fit for cache keys."""
        return self._table.version

    @property
    def watermark(self) -> datetime | None:
        """Up to which instant the object has been read completely."""
        return self._instant(_WINDOW)

    @property
    def deletes_watermark(self) -> datetime | None:
        """Up to which instant the log of deleted records has been asked."""
        return self._instant(_DELETES)

    @property
    def fields(self) -> dict[str, pl.DataType]:
        """Type of every mirrored field, in the order of the table."""
        return {name: kind for name, kind in self._table.schema.items() if name not in OWN}

    @property
    def coverage(self) -> Coverage:
        """What has been read completely up to the watermark."""
        version = self.version
        if self._coverage is None or self._coverage[0] != version:
            self._coverage = version, self._table.told or Coverage(tuple(self.fields))
        return self._coverage[1]

    @property
    def erased(self) -> Erased:
        """Which records were erased: what is read of them may not be stored as it is."""
        return Erased.read(self.path.parent)

    def versions(self, known_at: datetime | None = None) -> pl.LazyFrame:
        """Every version read by ``known_at``, deleted ones included, with ``_synced_at`` and ``_deleted``."""
        schema = self._table.schema or {"Id": pl.String(), "_deleted": pl.Boolean(), "_synced_at": INSTANT}
        files = self._table.files
        if not files:
            return pl.LazyFrame(schema=schema)
        versions = pl.scan_parquet(
            files, schema=schema, missing_columns="insert", glob=False, hive_partitioning=False
        )
        if known_at is None:
            return versions
        return versions.filter(pl.col("_synced_at") <= pl.lit(known_at.astimezone(UTC), INSTANT))

    def newest(self, known_at: datetime | None = None) -> pl.LazyFrame:
        """The newest version of every record as known at an instant, tombstones included."""
        return newest(self.versions(known_at))

    def current(self, known_at: datetime | None = None) -> pl.LazyFrame:
        """The live records as known at an instant: fields of Salesforce only, one row per Id."""
        return self.newest(known_at).filter(~pl.col("_deleted")).drop(OWN)

    def check_types(self, types: Mapping[str, pl.DataType]) -> None:
        """Refuse columns of another type than the table's: delta-rs would store 1.5 in a long column as 1.

        Raises
        ------
        StoreError
            Naming the column and both types.
        """
        stored = self._table.schema
        for name, kind in types.items():
            expected = stored.get(name, kind)
            if kind != expected:
                raise StoreError(
                    f"{self.object}.{name} is {kind} but the store holds {expected}",
                    hint="the type of the field was changed in Salesforce: sync into a new store",
                )
            if kind not in TYPES.values():
                raise StoreError(f"{self.object}.{name} is {kind}, which the mirror does not hold")

    def append(
        self,
        rows: pl.DataFrame | Pages,
        *,
        synced_at: datetime,
        watermark: datetime | None = None,
        deletions: pl.DataFrame | None = None,
        deletes_watermark: datetime | None = None,
        coverage: Coverage | None = None,
        may_go_back: bool = False,
    ) -> Appended:
        """Append what is new in ``rows``, and the watermarks, in one commit; the first one makes the table.

        Parameters
        ----------
        rows
            Records as read, with ``Id``; ``IsDeleted`` makes a tombstone. Of a record that comes twice the
            last one counts; one equal to its newest stored version is not appended. Columns that the table
            lacks are added to it; columns that ``rows`` lacks keep their last known value. Of
            :class:`~attribution.mirror.pages.Pages` no more than a batch is in memory; of a first read
            their files become those of the table, with the instant at which they were read.
        synced_at
            Server instant of the read; raised just above the newest one stored where it is not later. Of
            files that become those of the table it is the instant of the first page instead.
        watermark
            Up to which instant the object has now been read completely.
        deletions
            ``Id`` and ``deleted_at`` of records said to be gone. One that is not stored, is deleted
            already, or has a version stamped at or after ``deleted_at`` (it was undeleted) is skipped.
        deletes_watermark
            Up to which instant the deletions are complete.
        coverage
            What has now been read completely up to the watermark; default: what was before. Without a
            ``watermark`` the commit counts as maintenance.
        may_go_back
            Whether a watermark may be an earlier one than that of the store, which cannot be true.

        Raises
        ------
        StoreError
            If a column has another type than in the table, a watermark does not advance, or somebody
            else has committed since this handle was opened. Nothing is written.
        """
        self.check_types(rows.schema)
        transactions = [
            Transaction(name, to_micros(instant))
            for name, instant in ((_WINDOW, watermark), (_DELETES, deletes_watermark))
            if instant is not None and (may_go_back or self._advances(name, instant))
        ]
        if coverage is not None and watermark is None:
            transactions.append(self._maintenance())
        stamp = self._stamp(synced_at)
        if coverage is not None:
            coverage = self._growing(coverage, list(rows.schema), stamp)
            coverage = replace(coverage, unseen=self._still_unseen(coverage.unseen, rows, deletions))
        if self._takes_as_they_are(rows):
            return self._commit(rows.files, rows.schema, rows.synced_at or stamp, transactions, coverage)
        versions = changes(self._admitted(rows), deletions, self.newest_of if self.exists else None)
        return self._commit(versions, rows.schema, stamp, transactions, coverage)

    def backfill(
        self,
        rows: pl.DataFrame | Pages,
        *,
        synced_at: datetime,
        refers_to: Mapping[str, tuple[str, ...]] | None = None,
        unread: Sequence[str] | None = None,
    ) -> Appended:
        """Append the values of fields that were not read before, in one commit; the watermark stays.

        Parameters
        ----------
        rows
            ``Id`` and the fields. A record whose stored values are the same gets no new version; one that
            is not stored is left to the window that is still to come.
        synced_at
            Server instant of the read.
        refers_to
            Per lookup among the fields: the objects that it may point to.
        unread
            Ids of records that could not be read; default: as before.

        Raises
        ------
        StoreError
            As :meth:`append`.
        """
        self.check_types(rows.schema)
        names = [name for name in rows.schema if name != "Id"]
        stamp = self._stamp(synced_at)
        coverage = replace(
            self.coverage,
            fields=tuple(dict.fromkeys((*self.coverage.fields, *names))),
            refers_to={**self.coverage.refers_to, **(refers_to or {})},
            unread=self.coverage.unread if unread is None else tuple(unread),
        )
        versions = map(self._filled, self._admitted(rows))
        coverage = self._growing(coverage, names, stamp)
        return self._commit(versions, rows.schema, stamp, [self._maintenance()], coverage)

    def erase(self, id: str, *, fields: Sequence[str] | None = None, column: str = "Id") -> int:
        """Empty fields of a record in every version of it, or remove it, in one commit.

        Parameters
        ----------
        id
            As it is stored.
        fields
            Fields to empty; default: the versions are removed altogether.
        column
            Field that names the record: in a field history, or a decision, it is not ``Id``.

        Returns
        -------
        int
            How many versions there were to rewrite; with none, nothing is committed. What was there is in
            the old files until :meth:`sweep`.

        Raises
        ------
        StoreError
            If somebody else has committed since this handle was opened. Nothing is written.
        """
        if not self.exists:
            return 0
        mine = pl.col(column) == id
        if fields is not None:
            mine &= pl.any_horizontal(False, pl.col(list(fields)).is_not_null())
        n_versions = int(self.versions().filter(mine).select(pl.len()).collect().item())
        if not n_versions:
            return 0
        self._table.empty(column, id, fields, [self._maintenance()], self._telling(self.coverage))
        return n_versions

    def sweep(self) -> None:
        """Delete every file that is no part of the newest state: what was replaced or left behind."""
        self._table.sweep()

    def newest_of(self, ids: pl.Series, fields: Sequence[str] | None = None) -> pl.DataFrame:
        """The newest stored version of each of some records, tombstones included: these fields, or all."""
        return newest_of(self.versions(), ids, fields)

    def _takes_as_they_are(self, rows: pl.DataFrame | Pages) -> TypeGuard[Pages]:
        """Whether rows are files already that need no change to become those of the table."""
        if self.exists or not isinstance(rows, Pages):
            return False
        return rows.are_fit and not self.erased.concerns(self.object)

    def _admitted(self, rows: pl.DataFrame | Pages) -> Iterator[pl.DataFrame]:
        """Rows as they may be stored: what was erased stays erased."""
        erased = self.erased
        return (erased.applied(self.object, batch) for batch in _batches(rows))

    def _filled(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Stored records with the values of fields that differ from theirs."""
        stored = self.newest_of(rows["Id"])
        return differing(rows.join(stored, on="Id", how="semi", maintain_order="left"), stored)

    def _advances(self, name: str, instant: datetime) -> bool:
        """Refuse a watermark that does not advance: delta-rs accepts an equal or a lower one."""
        before = self._instant(name)
        if before is not None and instant <= before:
            raise StoreError(
                f"{self.object}: the {name} watermark {instant:%Y-%m-%dT%H:%M:%SZ} does not advance "
                f"beyond {before:%Y-%m-%dT%H:%M:%SZ}",
                hint="these rows were committed before: run the sync again",
            )
        return True

    def _growing(self, coverage: Coverage, names: list[str], stamp: datetime) -> Coverage:
        """The coverage with the instant from which on the fields are known that the table lacks as yet."""
        stored = self._table.schema
        new = [name for name in names if name not in stored] if stored else []
        return replace(coverage, since={**self.coverage.since, **dict.fromkeys(new, stamp)})

    def _maintenance(self) -> Transaction:
        """The next of the commits that leave the watermarks where they are: a sequence number."""
        return Transaction(_MAINTENANCE, (self._table.transaction(_MAINTENANCE) or 0) + 1)

    def _stamp(self, synced_at: datetime) -> datetime:
        newest = self.versions().select(pl.col("_synced_at").max()).collect(engine="streaming").item()
        return synced_at if newest is None else max(synced_at, newest + _MICROSECOND)

    def _commit(
        self,
        versions: Iterable[pl.DataFrame | Page],
        schema: Mapping[str, pl.DataType],
        stamp: datetime,
        transactions: list[Transaction],
        coverage: Coverage | None,
    ) -> Appended:
        """Write versions as they come, and then all that there is to tell of them, in one commit."""
        stored = self._table.schema
        columns = {**stored, **schema, "_deleted": pl.Boolean(), "_synced_at": INSTANT}
        files = DataFiles(self.path, stamp)
        with self._table.writing(files):
            for each in versions:
                if isinstance(each, Page):
                    files.take(each)
                    continue
                frame = each.with_columns(pl.lit(stamp, INSTANT).alias("_synced_at"))
                files.add(frame.select(name for name in columns if name in frame.columns))
            if not (files.actions or transactions or columns.keys() - stored.keys()):
                return Appended(0, 0)
            self._table.put(files, columns, transactions, self._telling(coverage))
        if not stored:
            # what a writer has left that was killed before its first commit
            self._table.sweep()
        if files.actions:
            self._table.compact(self._compact_at)
        return Appended(files.live, files.deleted)

    def _telling(self, coverage: Coverage | None) -> Coverage | None:
        """What a commit is to tell: what the newest one told, unless more was read; of nobody removed."""
        coverage = coverage or self._table.told
        if coverage is not None and (listed := {*coverage.unread, *coverage.unseen}):
            left = listed - self.erased.removed(self.object, listed)
            unread, unseen = (tuple(sorted(left & {*ids})) for ids in (coverage.unread, coverage.unseen))
            coverage = replace(coverage, unread=unread, unseen=unseen)
        return coverage

    def _still_unseen(
        self, unseen: tuple[str, ...], rows: pl.DataFrame | Pages, deletions: pl.DataFrame | None
    ) -> tuple[str, ...]:
        """Those of the unseen records that are not seen now, be it as deleted."""
        if not unseen:
            return ()
        is_unseen = pl.col("Id").is_in(unseen)
        told = rows.scan() if isinstance(rows, Pages) else rows.lazy()
        seen = set(told.select("Id").filter(is_unseen).collect()["Id"])
        if deletions is not None:
            gone = deletions.filter(is_unseen)
            seen.update(tombstones(self.newest_of(gone["Id"]), gone)["Id"])
        return tuple(each for each in unseen if each not in seen)

    def _instant(self, name: str) -> datetime | None:
        stored = self._table.transaction(name)
        return None if stored is None else from_micros(stored)


def _batches(rows: pl.DataFrame | Pages) -> Iterable[pl.DataFrame]:
    return rows if isinstance(rows, Pages) else [rows.unique("Id", keep="last", maintain_order=True)]
