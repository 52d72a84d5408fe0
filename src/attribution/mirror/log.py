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
from typing import Final
from urllib.parse import unquote

import polars as pl
from arro3.core import RecordBatch, RecordBatchReader, Table
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from attribution.arrays import DECIMAL, INSTANT
from attribution.columns import from_micros, to_micros
from attribution.errors import StoreError
from attribution.mirror.coverage import Coverage, telling, told
from attribution.mirror.maintenance import compact

__all__ = ["Appended", "ObjectLog"]

_TYPES: Final[Mapping[str, pl.DataType]] = {
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "timestamp": INSTANT,
    "long": pl.Int64(),
    "decimal(38,18)": DECIMAL,
    "string": pl.String(),
}
_OWN: Final = ("_synced_at", "_deleted")
_WINDOW: Final = "window"
_DELETES: Final = "deletes"
_MAINTENANCE: Final = "maintenance"
_ROW_GROUP: Final = 131_072
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
        self._table: DeltaTable | None = None
        self._coverage: Coverage | None = None
        self.reload()

    def reload(self) -> None:
        """Look at the newest state of the table, as after somebody else has written it."""
        exists = DeltaTable.is_deltatable(str(self.path))
        self._table = DeltaTable(str(self.path)) if exists else None
        self._coverage = None

    @property
    def exists(self) -> bool:
        """Whether the object was ever committed, be it without rows."""
        return self._table is not None

    @property
    def is_empty(self) -> bool:
        """Whether no version of any record is stored."""
        return self._table is None or not self._table.file_uris()

    @property
    def version(self) -> int:
        """Number of the commit this handle looks at; -1 before the first. Fit for cache keys."""
        return -1 if self._table is None else self._table.version()

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
        return {name: kind for name, kind in self._schema().items() if name not in _OWN}

    @property
    def coverage(self) -> Coverage:
        """What has been read completely up to the watermark."""
        if self._coverage is None:
            self._coverage = self._told() or Coverage(tuple(self.fields))
        return self._coverage

    def _told(self) -> Coverage | None:
        return None if self._table is None else told(self._table)

    def versions(self, known_at: datetime | None = None) -> pl.LazyFrame:
        """Every version read by ``known_at``, deleted ones included, with ``_synced_at`` and ``_deleted``."""
        schema = self._schema() or {"Id": pl.String(), "_deleted": pl.Boolean(), "_synced_at": INSTANT}
        files = [] if self._table is None else self._table.file_uris()
        if not files:
            return pl.LazyFrame(schema=schema)
        # delta-rs percent-encodes the folder in its addresses, and the tables have no partitions
        paths = [self.path / unquote(uri.rsplit("/", 1)[-1]) for uri in files]
        versions = pl.scan_parquet(
            paths, schema=schema, missing_columns="insert", glob=False, hive_partitioning=False
        )
        if known_at is None:
            return versions
        return versions.filter(pl.col("_synced_at") <= pl.lit(known_at.astimezone(UTC), INSTANT))

    def newest(self, known_at: datetime | None = None) -> pl.LazyFrame:
        """The newest version of every record as known at an instant, tombstones included."""
        versions = self.versions(known_at)
        commits = versions.group_by("_synced_at").len().sort("len", "_synced_at").collect()
        if commits.height < 2:
            return versions
        # Ids are unique within a commit, so the largest commit needs no deduplication: grouping every
        # version instead takes several times as long, because most records never change.
        base_at = commits.item(-1, "_synced_at")
        base = versions.filter(pl.col("_synced_at") == base_at)
        rest = versions.filter(pl.col("_synced_at") != base_at)
        latest = rest.group_by("Id").agg(pl.col("_synced_at").max())
        rest = rest.join(latest, on=["Id", "_synced_at"], how="semi")
        newer = rest.filter(pl.col("_synced_at") > base_at)
        older = rest.filter(pl.col("_synced_at") < base_at).join(base.select("Id"), on="Id", how="anti")
        return pl.concat([base.join(newer.select("Id"), on="Id", how="anti"), newer, older])

    def current(self, known_at: datetime | None = None) -> pl.LazyFrame:
        """The live records as known at an instant: fields of Salesforce only, one row per Id."""
        return self.newest(known_at).filter(~pl.col("_deleted")).drop(_OWN)

    def check_types(self, types: Mapping[str, pl.DataType]) -> None:
        """Refuse columns of another type than the table's: delta-rs would store 1.5 in a long column as 1.

        Raises
        ------
        StoreError
            Naming the column and both types.
        """
        stored = self._schema()
        for name, kind in types.items():
            expected = stored.get(name, kind)
            if kind != expected:
                raise StoreError(
                    f"{self.object}.{name} is {kind} but the store holds {expected}",
                    hint="the type of the field was changed in Salesforce: sync into a new store",
                )
            if kind not in _TYPES.values():
                raise StoreError(f"{self.object}.{name} is {kind}, which the mirror does not hold")

    def append(
        self,
        rows: pl.DataFrame,
        *,
        synced_at: datetime,
        watermark: datetime | None = None,
        deletions: pl.DataFrame | None = None,
        deletes_watermark: datetime | None = None,
        coverage: Coverage | None = None,
    ) -> Appended:
        """Append what is new in ``rows``, and the watermarks, in one commit.

        Parameters
        ----------
        rows
            Records as read, with ``Id``; ``IsDeleted`` makes a tombstone. A record equal to its newest
            stored version is not appended. Columns that the table lacks are added to it; columns that
            ``rows`` lacks keep their last known value.
        synced_at
            Server instant of the read; raised just above the newest one stored where it is not later.
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
            if instant is not None and self._advances(name, instant)
        ]
        if coverage is not None and watermark is None:
            transactions.append(self._maintenance())
        rows = rows.unique("Id", keep="last", maintain_order=True)
        changed = self._changed(rows, deletions)
        if not (changed.height or transactions or set(changed.columns) - set(self._schema())):
            return Appended(0, 0)
        stamp = self._stamp(synced_at)
        if coverage is not None:
            coverage = self._growing(coverage, rows.columns, stamp)
            seen = {*rows["Id"], *changed["Id"]} if coverage.unseen else set()
            coverage = replace(coverage, unseen=tuple(each for each in coverage.unseen if each not in seen))
        changed = changed.with_columns(pl.lit(stamp, INSTANT).alias("_synced_at"))
        self._commit(changed, transactions, coverage)
        deleted = int(changed["_deleted"].sum())
        return Appended(changed.height - deleted, deleted)

    def begin(
        self,
        pages: Iterable[pl.DataFrame],
        types: Mapping[str, pl.DataType],
        *,
        synced_at: datetime,
        watermark: datetime,
        deletes_watermark: datetime | None,
        coverage: Coverage,
    ) -> Appended:
        """Make the table of a first read, in one commit, while no more than a page of it is in memory.

        Parameters
        ----------
        pages
            Records as read, each page with the columns of ``types``; of a record that comes twice the first
            one stays.
        types
            Type of every column.
        synced_at, watermark, deletes_watermark, coverage
            As for :meth:`append`.

        Raises
        ------
        StoreError
            If there is a table already. Nothing is written.
        """
        self.check_types(types)
        marks = ((_WINDOW, watermark), (_DELETES, deletes_watermark))
        transactions = [Transaction(name, to_micros(at)) for name, at in marks if at is not None]
        counts = {True: 0, False: 0}
        seen = pl.Series("Id", [], pl.String())

        def versions() -> Iterator[RecordBatch]:
            nonlocal seen
            for page in pages:
                rows = page.select(list(types)).unique("Id", keep="first", maintain_order=True)
                rows = rows.filter(~pl.col("Id").is_in(seen.implode()))
                seen = pl.concat([seen, rows["Id"]])
                rows = _marked(rows).with_columns(pl.lit(synced_at, INSTANT).alias("_synced_at"))
                gone = int(rows["_deleted"].sum())
                counts[True] += gone
                counts[False] += rows.height - gone
                yield from Table.from_arrow(rows.rechunk()).to_batches()

        empty = _marked(pl.DataFrame(schema=dict(types))).with_columns(
            pl.lit(None, INSTANT).alias("_synced_at")
        )
        reader = RecordBatchReader.from_batches(Table.from_arrow(empty).schema, versions())
        self._commit(reader, transactions, coverage)
        return Appended(counts[False], counts[True])

    def backfill(
        self,
        rows: pl.DataFrame,
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
        names = [name for name in rows.columns if name != "Id"]
        rows = rows.unique("Id", keep="last", maintain_order=True)
        stored = self.newest().drop("_synced_at").collect()
        known = [name for name in names if name in stored.columns]
        was = stored.rename({name: f"was {name}" for name in known})
        both = was.join(rows, on="Id", how="inner")
        same = [pl.col(name).eq_missing(pl.col(f"was {name}") if name in known else None) for name in names]
        order = [*stored.columns, *(name for name in names if name not in known)]
        stamp = self._stamp(synced_at)
        changed = both.filter(~pl.all_horizontal(same)).select(order)
        changed = changed.with_columns(pl.lit(stamp, INSTANT).alias("_synced_at"))
        coverage = replace(
            self.coverage,
            fields=tuple(dict.fromkeys((*self.coverage.fields, *names))),
            refers_to={**self.coverage.refers_to, **(refers_to or {})},
            unread=self.coverage.unread if unread is None else tuple(unread),
        )
        self._commit(changed, [self._maintenance()], self._growing(coverage, names, stamp))
        deleted = int(changed["_deleted"].sum())
        return Appended(changed.height - deleted, deleted)

    def _changed(self, rows: pl.DataFrame, deletions: pl.DataFrame | None) -> pl.DataFrame:
        """Versions to append: rows that differ from the newest stored ones, then new tombstones."""
        rows = _marked(rows)
        if self._table is None:
            return rows
        ids = rows["Id"] if deletions is None else pl.concat([rows["Id"], deletions["Id"]])
        asked = pl.LazyFrame({"Id": ids.unique()})
        stored = self.newest().join(asked, on="Id", how="semi").drop("_synced_at").collect()
        was = stored.rename({name: f"was {name}" for name in stored.columns if name != "Id"})
        both = rows.join(was, on="Id", how="left", maintain_order="left")
        same = [
            pl.col(name).eq_missing(pl.col(f"was {name}") if name in stored.columns else None)
            for name in rows.columns
            if name != "Id"
        ]
        kept = [pl.col(f"was {name}").alias(name) for name in stored.columns if name not in rows.columns]
        # "was _deleted" is null only where no version is stored
        is_known = pl.col("was _deleted").is_not_null()
        changed = both.filter(~(is_known & pl.all_horizontal(same))).select(*rows.columns, *kept)
        if deletions is None or deletions.is_empty():
            return changed
        unchanged = stored.join(changed, on="Id", how="anti")
        state = pl.concat([unchanged, changed], how="diagonal")
        tombstones = _tombstones(state, deletions)
        return pl.concat([changed.join(tombstones, on="Id", how="anti"), tombstones], how="diagonal")

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
        stored = self._schema()
        new = [name for name in names if name not in stored] if stored else []
        return replace(coverage, since={**self.coverage.since, **dict.fromkeys(new, stamp)})

    def _maintenance(self) -> Transaction:
        """The next of the commits that leave the watermarks where they are: a sequence number."""
        before = None if self._table is None else self._table.transaction_version(_MAINTENANCE)
        return Transaction(_MAINTENANCE, (before or 0) + 1)

    def _stamp(self, synced_at: datetime) -> datetime:
        newest = self.versions().select(pl.col("_synced_at").max()).collect().item()
        return synced_at if newest is None else max(synced_at, newest + _MICROSECOND)

    def _commit(
        self,
        rows: pl.DataFrame | RecordBatchReader,
        transactions: list[Transaction],
        coverage: Coverage | None,
    ) -> None:
        metadata = telling(coverage or self._told())
        # no retries: delta-rs would rebase our rows onto a commit whose watermark we have not seen
        properties = CommitProperties(
            app_transactions=transactions, max_commit_retries=0, custom_metadata=metadata
        )
        table = self._table
        try:
            if table is None or not isinstance(rows, pl.DataFrame):
                write_deltalake(
                    str(self.path),
                    rows,
                    mode="error",
                    # statistics of any other column would keep personal data in the log for ever
                    configuration={"delta.dataSkippingStatsColumns": "_synced_at"},
                    # a row group is what the writer keeps in memory
                    writer_properties=WriterProperties(max_row_group_size=_ROW_GROUP),
                    commit_properties=properties,
                )
            elif rows.is_empty() and set(rows.columns) <= set(self._schema()):
                table.create_write_transaction([], "append", table.schema(), commit_properties=properties)
            else:
                write_deltalake(table, rows, mode="append", schema_mode="merge", commit_properties=properties)
        except (CommitFailedError, DeltaError, OSError) as error:
            lost = isinstance(error, CommitFailedError) or (
                table is None and DeltaTable.is_deltatable(str(self.path))
            )
            self.reload()
            if not lost:
                raise StoreError(
                    f"{self.object}: cannot write to {self.path}: {_line(error)}",
                    hint="look at the disk and the permissions of the store",
                ) from error
            raise StoreError(
                f"{self.object}: another sync is writing to this store; nothing of this one was added",
                hint="let it finish, then run this again",
            ) from error
        self.reload()
        if isinstance(rows, pl.DataFrame) and rows.height:
            self._compact()

    def _compact(self) -> None:
        if self._table is not None and len(self._table.file_uris()) >= self._compact_at:
            compact(self._table)
            self.reload()

    def _instant(self, name: str) -> datetime | None:
        stored = None if self._table is None else self._table.transaction_version(name)
        return None if stored is None else from_micros(stored)

    def _schema(self) -> dict[str, pl.DataType]:
        if self._table is None:
            return {}
        return {field.name: _TYPES[_type_name(field.type)] for field in self._table.schema().fields}


def _marked(rows: pl.DataFrame) -> pl.DataFrame:
    gone = pl.col("IsDeleted").fill_null(False) if "IsDeleted" in rows.columns else pl.lit(False)
    return rows.with_columns(gone.alias("_deleted"))


def _tombstones(state: pl.DataFrame, deletions: pl.DataFrame) -> pl.DataFrame:
    """The last live version of every record that is gone, marked deleted at the instant it went."""
    latest = deletions.group_by("Id").agg(pl.col("deleted_at").max())
    gone = state.filter(~pl.col("_deleted")).join(latest, on="Id", how="inner")
    marks = [pl.lit(True).alias("_deleted")]
    if "SystemModstamp" in state.columns:
        gone = gone.filter(pl.col("deleted_at") > pl.col("SystemModstamp"))
        marks.append(pl.col("deleted_at").alias("SystemModstamp"))
    if "IsDeleted" in state.columns:
        marks.append(pl.lit(True).alias("IsDeleted"))
    return gone.with_columns(marks).drop("deleted_at")


def _type_name(kind: object) -> str:
    return str(getattr(kind, "type", kind))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
