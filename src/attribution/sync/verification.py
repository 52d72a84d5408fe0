"""The mirror held against the CRM: counts per month of creation, and a sample of records field by field.

What may differ is not drift: changes after the watermark, records that could not be read, those that the
connected user no longer sees, and what was erased here. Only where counts differ, or may do so for such a
reason, ids are compared.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final

import polars as pl

from attribution.arrays import INSTANT
from attribution.errors import CrmError, TransientCrmError
from attribution.mirror.log import ObjectLog
from attribution.readings import record_of
from attribution.sync.drift import FieldDrift, MonthDrift, ObjectVerification, Verification
from attribution.sync.intake import Intake
from attribution.sync.planning import Plan, Planned
from attribution.sync.rows import column_types, typed
from attribution.sync.source import Query, all_of
from attribution.sync.watermark import Window, deletion_span

if TYPE_CHECKING:
    from attribution.sync.salesforce import Salesforce

__all__ = ["verify"]

_LOOKED_UP: Final = 2_000
"""So many records that lack there are asked for by id, to learn whether they went after the watermark."""
_AHEAD: Final = timedelta(minutes=2)
"""So far ahead the log of deletions is asked for: it knows whole minutes only, and this one must count."""
_MONTHS_ALONE: Final = 12
"""In more differing months than this, ids are read for all months at once."""

Month = tuple[int, int]


def verify(source: Salesforce, plan: Plan, mirror: Path, *, sample: int = 200, seed: int = 0) -> Verification:
    """Compare every mirrored object that can be read; writes nothing.

    Parameters
    ----------
    sample
        Records of each object to be compared field by field.
    seed
        Chooses them.

    Raises
    ------
    StoreError
        If a field has another type than in the mirror.
    StoppedEarly
        If a budget runs out.
    """
    found = []
    for name, planned in plan.readable.items():
        log = ObjectLog(mirror, name)
        if log.watermark is None:
            continue
        comparison = _Comparison(source, plan, planned, log)
        log.check_types(column_types(planned.description, comparison.fields))
        try:
            found.append(comparison.run(sample, seed))
        except CrmError as error:
            found.append(ObjectVerification(name, log.watermark, 0, 0, message=str(error)))
    return Verification(tuple(found), seed, source.api_calls - plan.calls_before)


class _Comparison:
    """One object there against the same object here."""

    def __init__(self, source: Salesforce, plan: Plan, planned: Planned, log: ObjectLog) -> None:
        self.source, self.plan, self.planned, self.log = source, plan, planned, log
        self.name = planned.description.name
        self.until = log.watermark or source.server_time
        self.where = log.coverage.where
        described = planned.description.fields
        self.fields = tuple(name for name in log.coverage.fields if name in described and name in log.fields)
        created = described.get("CreatedDate")
        self.has_creation = created is not None and created.is_filterable and "CreatedDate" in self.log.fields

    def run(self, sample: int, seed: int) -> ObjectVerification:
        live = self.log.newest().filter(~pl.col("_deleted"))
        here = self._here(live)
        there = self._counted()
        counts = here.group_by("month").len()
        counted = dict(zip(counts["month"], counts["len"], strict=True))
        months = sorted(
            # a record that is missing for a reason may stand in for one that is too much
            (
                each
                for each in {*there, *counted}
                if _has_reasons(self.log) or there.get(each, 0) != counted.get(each, 0)
            ),
            key=lambda each: each or "",
        )
        drift = tuple(self._compared(here, months, there, counted)) if months else ()
        asked = self._sample(live, sample, seed)
        differing = tuple(self._differing(live, asked)) if asked else ()
        covered = self.log.coverage
        return ObjectVerification(
            self.name,
            self.until,
            sum(there.values()),
            here.height,
            months=drift,
            sampled=len(asked),
            fields=differing,
            unseen=len(covered.unseen),
            unread=len(covered.unread),
        )

    # -- counts

    def _here(self, live: pl.LazyFrame) -> pl.DataFrame:
        """Id and month of creation of the live records here, as far as they were created by the watermark."""
        if not self.has_creation:
            return live.select("Id", month=pl.lit(None, pl.String)).collect()
        created = pl.col("CreatedDate")
        until = pl.lit(self.until, INSTANT)
        return (
            live.filter(created.is_null() | (created < until))
            .select("Id", month=created.dt.strftime("%Y-%m"))
            .collect()
        )

    def _counted(self) -> dict[str | None, int]:
        if not self.has_creation:
            return {None: self.source.count(self.name, self._alive())}
        try:
            return self.source.count_by_month(self.name, self._alive(), self.until)
        except TransientCrmError as error:
            if not self.source.is_too_slow(error):
                raise
        except CrmError:
            # not every object lets itself be grouped
            pass
        return self._counted_singly()

    def _counted_singly(self) -> dict[str | None, int]:
        """A count per month, for an object that is too large, or otherwise unfit, to be grouped."""
        first = self.log.newest().select(pl.col("CreatedDate").min()).collect().item() or self.until
        start: datetime = first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        counted: dict[str | None, int] = {None: self._count(Window(None, start))}
        while start < self.until:
            after = (start + timedelta(days=31)).replace(day=1)
            counted[f"{start:%Y-%m}"] = self._count(Window(start, min(after, self.until)))
            start = after
        return counted

    def _count(self, window: Window) -> int:
        return self.source.count(self.name, self._alive(), window=window, cursor="CreatedDate")

    def _alive(self) -> str | None:
        has_mark = "IsDeleted" in self.planned.description.fields
        return all_of(self.where, "IsDeleted = false" if has_mark else None)

    # -- ids, where counts differ

    def _compared(
        self,
        here: pl.DataFrame,
        months: Sequence[str | None],
        there: dict[str | None, int],
        counted: dict[str | None, int],
    ) -> Iterator[MonthDrift]:
        """What differs, month by month, less what may."""
        known_there = self._ids(months)
        every = here["Id"]
        lacking = known_there.filter(~pl.col("Id").is_in(every.implode()))
        of_months = here.filter(pl.col("month").is_in(list(months), nulls_equal=True))
        surplus = of_months.filter(~pl.col("Id").is_in(known_there["Id"].implode()))
        lacking = lacking.filter(pl.col("Id").is_in(self._unexplained_lacking(lacking).implode()))
        surplus = surplus.filter(pl.col("Id").is_in(self._unexplained_surplus(surplus["Id"]).implode()))
        for month in months:
            mine = pl.col("month").eq_missing(pl.lit(month, pl.String))
            lack, more = (each.filter(mine)["Id"].sort().to_list() for each in (lacking, surplus))
            if lack or more:
                counts = there.get(month, 0), counted.get(month, 0)
                yield MonthDrift(month, *counts, tuple(lack), tuple(more))

    def _ids(self, months: Sequence[str | None]) -> pl.DataFrame:
        """Live records there of some months: Id, stamp, and month of creation."""
        wanted = ("CreatedDate", "SystemModstamp", *(record_of(self.name) or ())[1:])
        names = [name for name in wanted if name in self.fields]
        spans = [Window(None, self.until)]
        if self.has_creation and None not in months and len(months) <= _MONTHS_ALONE:
            starts = [datetime.strptime(f"{each}-01 +0000", "%Y-%m-%d %z") for each in months if each]
            ends = [(start + timedelta(days=31)).replace(day=1) for start in starts]
            spans = [Window(start, min(end, self.until)) for start, end in zip(starts, ends, strict=True)]
        cursor = "CreatedDate" if self.has_creation else None
        fields = (*names, "Id")
        parts = [pl.DataFrame(schema=column_types(self.planned.description, fields))]
        for span in spans:
            parts += self._pages(fields, span, cursor, self._alive())
        read = pl.concat(parts)
        if "SystemModstamp" not in names:
            read = read.with_columns(SystemModstamp=pl.lit(None, INSTANT))
        month = pl.col("CreatedDate").dt.strftime("%Y-%m") if self.has_creation else pl.lit(None, pl.String)
        return read.select("Id", "SystemModstamp", month=month)

    def _unexplained_lacking(self, lacking: pl.DataFrame) -> pl.Series:
        """Those that lack here without a reason; what came back after the watermark has one."""
        old = lacking.filter(pl.col("SystemModstamp").is_null() | (pl.col("SystemModstamp") < self.until))
        left = _without_reason(self.log, old["Id"])
        asked = left.head(_LOOKED_UP)
        # the history of an erased record tells by its parent that it may not be here
        rows = self._by_id(self.fields, asked.to_list())
        return left.filter(left.is_in(rows["Id"].implode()) | ~left.is_in(asked.implode()))

    def _unexplained_surplus(self, surplus: pl.Series) -> pl.Series:
        """Those that are live here only, without a reason; what was deleted after the watermark has one."""
        left = _without_reason(self.log, surplus)
        if left.is_empty():
            return left
        left = left.filter(~left.is_in(self._deleted_later().implode()))
        marked = self._marked(left.head(_LOOKED_UP).to_list())
        return left.filter(~left.is_in(marked.implode()))

    def _deleted_later(self) -> pl.Series:
        """Ids that the log of deletions lists after the watermark."""
        if not self.planned.description.is_replicateable:
            return pl.Series("Id", [], pl.String())
        span = deletion_span(self.until, self.source.server_time)
        for until in (span.until + _AHEAD, span.until):
            try:
                found = self.source.deletions(self.name, span.since, until).rows
                break
            except TransientCrmError:
                raise
            except CrmError:
                # an end that has not come may be refused; who may not ask at all learns nothing
                continue
        else:
            return pl.Series("Id", [], pl.String())
        # stamps are whole seconds
        return found.filter(pl.col("deleted_at") >= pl.lit(self.until, INSTANT).dt.truncate("1s"))["Id"]

    def _marked(self, ids: Sequence[str]) -> pl.Series:
        """Those of some records that were marked as deleted, or otherwise changed, after the watermark."""
        if "SystemModstamp" not in self.fields:
            return pl.Series("Id", [], pl.String())
        read = self._by_id(("SystemModstamp", "Id"), ids)
        return read.filter(pl.col("SystemModstamp") >= self.until)["Id"]

    # -- a sample, field by field

    def _sample(self, live: pl.LazyFrame, sample: int, seed: int) -> list[str]:
        """Ids chosen by the seed: the same ones whatever the order of the files."""
        ids = _without_reason(self.log, live.select("Id").collect()["Id"]).sort()
        chosen = random.Random(seed).sample(range(ids.len()), min(sample, ids.len()))
        return ids.gather(sorted(chosen)).to_list()

    def _differing(self, live: pl.LazyFrame, ids: Sequence[str]) -> Iterator[FieldDrift]:
        """Values that differ in records that have not changed since the watermark."""
        there = self._by_id(self.fields, ids)
        absent = pl.Series("Id", ids).filter(~pl.Series(ids).is_in(there["Id"].implode()))
        yield from (FieldDrift(each, "Id") for each in self._unexplained_surplus(absent))
        if "SystemModstamp" in there.columns:
            there = there.filter(pl.col("SystemModstamp") < pl.lit(self.until, INSTANT))
        elif "IsDeleted" in there.columns:
            # nothing tells when it was deleted
            there = there.filter(~pl.col("IsDeleted"))
        here = live.filter(pl.col("Id").is_in(list(ids))).select(self.fields).collect()
        both = here.join(there, on="Id", suffix=" there").sort("Id")
        for name in self.fields:
            if name != "Id":
                differs = both.filter(~pl.col(name).eq_missing(pl.col(f"{name} there")))
                yield from (FieldDrift(each, name) for each in differs["Id"])

    # -- reading

    def _by_id(self, fields: Sequence[str], ids: Sequence[str]) -> pl.DataFrame:
        pages = self.source.read_ids(self.planned.description, fields, ids)
        empty = pl.DataFrame(schema=column_types(self.planned.description, tuple(fields)))
        return pl.concat([empty, *(self._typed(page, fields) for page in pages)])

    def _typed(self, text: pl.DataFrame, fields: Sequence[str]) -> pl.DataFrame:
        rows = typed(text, self.planned.description, self.plan.objects).rows.select(fields)
        # what was erased here is no drift
        return self.log.erased.applied(self.name, rows)

    def _pages(
        self, fields: Sequence[str], window: Window, cursor: str | None, where: str | None
    ) -> Iterator[pl.DataFrame]:
        """Pages of typed rows; the folder for those of a bulk job goes with them."""
        staging = Path(mkdtemp(prefix="attribution-"))
        description, objects = self.planned.description, self.plan.objects
        taken = Intake(staging / "pages", description, fields, objects, lambda: self.source.server_time)
        try:
            query = Query(description, tuple(fields), window, cursor, where)
            self.source.read(query, taken, lambda rows, total: None)
            # what was erased here is no drift
            yield from (self.log.erased.applied(self.name, page) for page in taken.pages)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _has_reasons(log: ObjectLog) -> bool:
    """Whether some record may be here and not there, or there and not here, for a reason."""
    erased, owner = log.erased, record_of(log.object)
    n_removed = erased.n_removed(log.object) + (erased.n_removed(owner[0]) if owner is not None else 0)
    return bool(log.coverage.unseen or log.coverage.unread or n_removed)


def _without_reason(log: ObjectLog, ids: pl.Series) -> pl.Series:
    """The ids that may not differ.

    The one place where records are subtracted that are known to be here and not there, or there and not
    here, for a reason: those that the connected user no longer sees, those that could not be read, and those
    that were erased.
    """
    covered = log.coverage
    reasons = {*covered.unseen, *covered.unread, *log.erased.removed(log.object, ids)}
    return ids.filter(~ids.is_in(sorted(reasons)))
