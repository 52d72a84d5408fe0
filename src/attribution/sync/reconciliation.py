"""Every id of an object there against every id here: what was missed is fetched, what is gone is told.

A record that vanished without a trace was deleted for good, or is hidden from the connected user by now.
Only the first may become a tombstone, and only where something says so; see :func:`reconcile`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, Final

import polars as pl

from attribution.arrays import INSTANT
from attribution.errors import CrmError, TransientCrmError
from attribution.mirror.log import Appended, ObjectLog
from attribution.mirror.pages import Pages
from attribution.sync.intake import Intake
from attribution.sync.planning import Plan, Planned
from attribution.sync.rows import Rejected, column_types, typed
from attribution.sync.source import Query, Source, all_of
from attribution.sync.watermark import Window, deletion_span

__all__ = ["Reconciliation", "is_too_many", "reconcile", "take_back"]

_HANDFUL: Final = 5
"""So many records may always vanish, however few there are."""
_READ_WHOLE_ABOVE: Final = 5_000
"""More missing records than this are picked out of a whole read, rather than asked for by id."""
_ASKED_SINGLY: Final = 200
"""So many of those that vanished since the last time are asked for in a request each, to learn why."""
_ASKED_AGAIN: Final = 25
"""So many of those that had vanished before."""
_SHOWN: Final = 5
_RECYCLED: Final = timedelta(days=16)
"""How long a record may lie in the recycle bin; and a little more."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What comparing every id of one object came to."""

    ids: int
    """Live records there, created before the watermark."""
    fetched: int = 0
    """Records that lacked here, or were deleted here, or unseen, and are read again."""
    deleted: int = 0
    """Tombstones that were new."""
    vanished: int = 0
    """Records that are live here, and were not seen there."""
    unseen: tuple[str, ...] = ()
    """Ids of those of which nothing says that they were deleted: they stay as they are."""
    is_braked: bool = False
    """Whether so many have vanished that none of them was touched."""

    def __str__(self) -> str:
        done = f"{self.fetched:,} fetched, {self.deleted:,} deleted, {len(self.unseen):,} unseen"
        held = f"{self.vanished:,} vanished, which is too many: none touched" if self.is_braked else done
        return f"{self.ids:,} ids compared: {held}"

    def to_dict(self) -> dict[str, Any]:
        """The comparison in the JSON of a sync."""
        return {
            "ids": self.ids,
            "fetched": self.fetched,
            "deleted": self.deleted,
            "vanished": self.vanished,
            "unseen": list(self.unseen),
            "braked": self.is_braked,
        }


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A comparison with what is to be told of it."""

    told: Reconciliation
    read: int
    appended: Appended
    rejected: tuple[Rejected, ...]
    warnings: tuple[str, ...]


def is_too_many(vanished: int, live: int, most_percent: float) -> bool:
    """Whether so many of the live records have vanished that it looks like an accident.

    Examples
    --------
    >>> is_too_many(5, 10, 10.0), is_too_many(6, 10, 10.0), is_too_many(100, 1000, 10.0)
    (False, True, False)
    """
    return vanished > _HANDFUL and vanished * 100 > live * most_percent


def reconcile(
    source: Source,
    plan: Plan,
    planned: Planned,
    log: ObjectLog,
    staging: Path,
    progress: Callable[[int, int | None], None],
    one_at_a_time: Lock,
    *,
    most_percent: float,
    deletes_watermark: datetime | None = None,
) -> Reconciled:
    """Compare the ids of all records created before the watermark, and commit what comes of it.

    A record that is live here and was not seen there is deleted if ``queryAll`` shows it deleted, if
    getDeleted lists it, if the record that owns it is deleted here, if the connected user sees every record
    of the object, or if Salesforce answers so when asked for it alone. Else it is *unseen*: it stays.

    Parameters
    ----------
    staging
        Folder for pages; emptied first.
    one_at_a_time
        Held while something is written.
    most_percent
        Part of the live records above which, unless they are a handful, nothing that vanished is touched.
    deletes_watermark
        Up to which instant deletions are known once this is done, where the log of them has a gap.

    Raises
    ------
    CrmError
        If Salesforce cannot be asked. What was fetched before is not committed.
    StoreError
        If somebody else has committed to the log.
    """
    comparison = _Comparison(source, plan, planned, log, staging, progress)
    return comparison.run(one_at_a_time, most_percent, deletes_watermark)


def take_back(
    source: Source,
    plan: Plan,
    planned: Planned,
    log: ObjectLog,
    staging: Path,
    progress: Callable[[int, int | None], None],
    one_at_a_time: Lock,
) -> Appended:
    """Make undeleted records live again where no window shows them: a CreatedDate does not move.

    Raises
    ------
    CrmError
        If Salesforce cannot be asked.
    """
    if planned.description.cursor != "CreatedDate":
        return Appended(0, 0)
    # nothing can be taken out of the recycle bin after so many days
    oldest = source.server_time - _RECYCLED
    gone = log.newest().filter("_deleted", pl.col("_synced_at") >= pl.lit(oldest, INSTANT))
    ids = gone.select("Id").collect()["Id"].sort().to_list()
    live = sorted(source.are_live(log.object, ids)) if ids else []
    if not live:
        return Appended(0, 0)
    rows = _Comparison(source, plan, planned, log, staging, progress).by_id(live)
    with one_at_a_time:
        return log.append(rows, synced_at=source.server_time, coverage=log.coverage)


class _Comparison:
    """One comparison of one object."""

    def __init__(
        self,
        source: Source,
        plan: Plan,
        planned: Planned,
        log: ObjectLog,
        staging: Path,
        progress: Callable[[int, int | None], None],
    ) -> None:
        self.source, self.plan, self.planned, self.log = source, plan, planned, log
        self.staging, self.progress = staging, progress
        self.name = planned.description.name
        self.fields = planned.fields
        self.read = 0
        self.rejected: list[Rejected] = []

    def run(self, one_at_a_time: Lock, most_percent: float, deletes_watermark: datetime | None) -> Reconciled:
        before = self.log.coverage
        there = self._ids()
        here = self._live()
        unseen = pl.Series("Id", before.unseen, pl.String())
        is_there = here["Id"].is_in(there.implode())
        vanished = here.filter(~is_there)["Id"]
        known = unseen.filter(unseen.is_in(vanished.implode()))
        fresh = vanished.filter(~vanished.is_in(known.implode()))
        missing = pl.concat(
            [
                there.filter(~there.is_in(here["Id"].implode())),
                unseen.filter(~unseen.is_in(known.implode())),
            ]
        )
        missing = missing.filter(~missing.is_in(list(before.unread))).unique().sort()
        sees_all = self.source.visibility.of(self.name) is True if vanished.len() else False
        doubtful = vanished.len() if sees_all else fresh.len()
        braked = is_too_many(doubtful, here.height, most_percent)
        rows = [self._fetched(missing.to_list())]
        fetched = rows[0].height
        deletions = pl.DataFrame(schema={"Id": pl.String(), "deleted_at": INSTANT})
        still: list[str] = list(before.unseen)
        if not braked:
            rows.append(self._marked(fresh.to_list()))
            known = pl.concat(rows)["Id"]
            left = vanished.filter(~vanished.is_in(known.implode()))
            deletions = self._deletions(here.filter(pl.col("Id").is_in(left.implode())), fresh, sees_all)
            still = left.filter(~left.is_in(deletions["Id"].implode())).sort().to_list()
        unread = {*before.unread, *(each.id for each in self.rejected if each.id)}
        coverage = replace(before, unread=tuple(sorted(unread)), unseen=tuple(still))
        found = pl.concat(rows)
        is_same = found.is_empty() and deletions.is_empty() and coverage == before
        now = self.source.server_time
        with one_at_a_time:
            appended = self.log.append(
                found,
                synced_at=now,
                deletions=deletions,
                deletes_watermark=None if braked else self._advancing(deletes_watermark),
                coverage=None if is_same else coverage,
            )
        shutil.rmtree(self.staging, ignore_errors=True)
        told = Reconciliation(
            there.len(), fetched, appended.deleted, vanished.len(), tuple(still), is_braked=braked
        )
        return Reconciled(
            told, self.read, appended, tuple(self.rejected), tuple(self._warnings(told, here.height))
        )

    def _advancing(self, deletes_watermark: datetime | None) -> datetime | None:
        before = self.log.deletes_watermark
        is_later = deletes_watermark is not None and (before is None or deletes_watermark > before)
        return deletes_watermark if is_later else None

    # -- what there is

    def _ids(self) -> pl.Series:
        """Ids of all live records created before the watermark."""
        description = self.planned.description
        is_live = "IsDeleted = false" if "IsDeleted" in description.fields else None
        where = all_of(self.planned.reading.where, is_live)
        created = description.fields.get("CreatedDate")
        cursor = "CreatedDate" if created is not None and created.is_filterable else None
        window = Window(None, self.log.watermark or self.source.server_time)
        ids = self._taken(("Id",), window, cursor, where).scan().collect()["Id"].unique()
        # what was removed from here for good is not missing
        return ids.filter(~ids.is_in(sorted(self.log.erased.removed(self.name, ids))))

    def _live(self) -> pl.DataFrame:
        """Ids of the live records here, with what tells when and of whom they are."""
        owners = [name for name, _ in self._owners()]
        held = self.log.fields
        names = ["Id", *(name for name in ("SystemModstamp", *owners) if name in held)]
        return self.log.newest().filter(~pl.col("_deleted")).select(names).collect()

    def _owners(self) -> Iterator[tuple[str, str]]:
        """Lookups whose record takes this one along when it is deleted, and the object of that record."""
        for name, target in self.planned.description.lookups.items():
            owner = self.plan.readable.get(target)
            if owner is not None and (self.name, name) in owner.description.owned:
                yield name, target

    # -- what lacks here

    def _fetched(self, ids: Sequence[str]) -> pl.DataFrame:
        if len(ids) <= _READ_WHOLE_ABOVE:
            return self.by_id(ids)
        window = Window(None, self.log.watermark or self.source.server_time)
        return self._picked(ids, window, self.planned.description.cursor, self.planned.reading.where)

    def by_id(self, ids: Sequence[str]) -> pl.DataFrame:
        """Records asked for by id, deleted ones included."""
        description, where = self.planned.description, self.planned.reading.where
        pages = self.source.read_ids(description, self.fields, ids, where=where)
        return pl.concat([self._nothing(), *map(self._typed, pages)])

    def _marked(self, ids: Sequence[str]) -> pl.DataFrame:
        """What ``queryAll`` still knows of records that vanished: deleted since, or here again."""
        if len(ids) <= _READ_WHOLE_ABOVE:
            return self.by_id(ids)
        if "IsDeleted" not in self.fields:
            return self._nothing()
        where = all_of(self.planned.reading.where, "IsDeleted = true")
        return self._picked(ids, Window(None, self.source.server_time), None, where)

    def _picked(
        self, ids: Sequence[str], window: Window, cursor: str | None, where: str | None
    ) -> pl.DataFrame:
        """Those of many records that have one of these ids."""
        wanted = pl.Series(ids).implode()
        pages = self._taken(self.fields, window, cursor, where)
        picked = pl.concat([self._nothing(), *(page.filter(pl.col("Id").is_in(wanted)) for page in pages)])
        return self.log.erased.applied(self.name, picked)

    def _nothing(self) -> pl.DataFrame:
        return pl.DataFrame(schema=column_types(self.planned.description, self.fields))

    def _typed(self, text: pl.DataFrame) -> pl.DataFrame:
        page = typed(text, self.planned.description, self.plan.objects)
        self.read += text.height
        self.rejected += page.rejected
        return self.log.erased.applied(self.name, page.rows.select(self.fields))

    def _taken(self, fields: Sequence[str], window: Window, cursor: str | None, where: str | None) -> Pages:
        # ids read earlier tell nothing of today
        shutil.rmtree(self.staging, ignore_errors=True)
        description, objects = self.planned.description, self.plan.objects
        taken = Intake(self.staging, description, fields, objects, lambda: self.source.server_time)
        query = Query(description, tuple(fields), window, cursor, where)
        self.source.read(query, taken, self.progress)
        self.read += taken.read
        self.rejected += taken.rejected
        return taken.pages

    # -- what became of those that vanished

    def _deletions(self, left: pl.DataFrame, fresh: pl.Series, sees_all: bool) -> pl.DataFrame:
        """Those of which something says that they are deleted, and when."""
        now = pl.lit(self.source.server_time, INSTANT)
        gone = left.select("Id", deleted_at=now).clear()
        if left.is_empty():
            return gone
        gone = pl.concat([gone, self._logged().join(left.select("Id"), on="Id", how="semi")])
        if sees_all:
            said = left["Id"].to_list()
        else:
            orphans = self._orphans(left)
            told = {*gone["Id"], *orphans}
            asked = [each for each in left["Id"].sort() if each not in told]
            is_new = set(fresh)
            asked = [
                *[each for each in asked if each in is_new][:_ASKED_SINGLY],
                *[each for each in asked if each not in is_new][:_ASKED_AGAIN],
            ]
            said = [*orphans, *(each for each in asked if self.source.is_deleted(self.name, each))]
        more = pl.DataFrame({"Id": said}, schema={"Id": pl.String()}).with_columns(deleted_at=now)
        gone = pl.concat([gone, more]).group_by("Id").agg(pl.col("deleted_at").min())
        if "SystemModstamp" not in left.columns:
            return gone
        # a tombstone must be later than the version it ends
        after = pl.col("SystemModstamp") + pl.duration(microseconds=1)
        stamped = gone.join(left.select("Id", "SystemModstamp"), on="Id", how="left")
        return stamped.select("Id", pl.max_horizontal("deleted_at", after).cast(INSTANT).alias("deleted_at"))

    def _logged(self) -> pl.DataFrame:
        """What Salesforce's log of deleted records says, as far back as it is kept."""
        nothing = pl.DataFrame(schema={"Id": pl.String(), "deleted_at": INSTANT})
        if not self.planned.description.is_replicateable:
            return nothing
        now = self.source.server_time
        span = deletion_span(now - _RECYCLED, now)
        try:
            return self.source.deletions(self.name, span.since, span.until).rows
        except TransientCrmError:
            raise
        except CrmError:
            # whoever may not ask for it learns nothing from it
            return nothing

    def _orphans(self, left: pl.DataFrame) -> list[str]:
        """Those whose owner is deleted here."""
        found: set[str] = set()
        for name, target in self._owners():
            log = ObjectLog(self.log.path.parent, target)
            if log.exists and name in left.columns:
                gone = log.newest().filter("_deleted").select("Id").collect()["Id"]
                found.update(left.filter(pl.col(name).is_in(gone.implode()))["Id"])
        return sorted(found)

    def _warnings(self, told: Reconciliation, live: int) -> Iterator[str]:
        if told.is_braked:
            yield (
                f"{self.name}: {told.vanished:,} of {live:,} records have vanished without a trace, which "
                "looks like lost access: none of them was touched; see whether the connected user still sees "
                "all records, or allow it with --max-vanished-percent"
            )
        elif told.unseen:
            shown = ", ".join(told.unseen[:_SHOWN])
            more = f", … ({len(told.unseen)} in all)" if len(told.unseen) > _SHOWN else ""
            yield (
                f"{self.name}: no longer seen, though nothing says that it was deleted: {shown}{more}; "
                "kept as it was; grant View All Data to learn whether it still exists"
            )
