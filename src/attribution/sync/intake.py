"""What is read of one object: typed page by page as it comes, and kept until it is committed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from attribution.arrays import INSTANT
from attribution.errors import TransientCrmError
from attribution.mirror.pages import Pages
from attribution.sync.descriptions import ObjectDescription, ObjectSummary
from attribution.sync.job import KeptJob
from attribution.sync.rows import Rejected, column_types, is_id, key_prefix, typed

__all__ = ["Intake", "OtherTime"]

_AHEAD: Final = timedelta(hours=1)
"""A record cannot have been changed later than it is now; so much later a clock may be."""


class OtherTime(TransientCrmError):
    """A record was last changed at a time that was not asked for: it is an old version, or another record."""


class Intake:
    """Where a source puts the records of one read.

    Parameters
    ----------
    folder
        Where they are kept: another process can go on with what lies there. Whoever has committed the rows
        removes it.
    description, fields
        The object, and which of its fields the pages hold.
    objects
        Every object, for the key prefixes of their ids.
    now
        Tells at which instant a page was read.
    """

    def __init__(
        self,
        folder: Path,
        description: ObjectDescription,
        fields: Sequence[str],
        objects: Mapping[str, ObjectSummary],
        now: Callable[[], datetime],
    ) -> None:
        self.folder = folder
        self.job = KeptJob(folder)
        """The bulk job that the records come from, if they come from one."""
        self.pages = Pages(folder, column_types(description, tuple(fields)))
        """The records that could be read."""
        self.rejected: list[Rejected] = []
        """Those that could not."""
        self.read = 0
        """How many there were of both."""
        self._description, self._objects, self._now = description, objects, now
        self._cursor: str | None = None
        self._since: datetime | None = None

    def expect(self, cursor: str | None, since: datetime | None) -> None:
        """From now on refuse what a field says was changed before an instant, or is yet to be."""
        self._cursor, self._since = cursor, since

    def add(self, text: pl.DataFrame) -> None:
        """Take one more page, as text or typed already; it is on the disk when this returns."""
        found = typed(text, self._description, self._objects)
        self._check_times(found.rows)
        aside = json.dumps([(each.id, each.reason) for each in found.rejected]) if found.rejected else ""
        self.pages.add(found.rows, self._now(), aside)
        self.rejected += found.rejected
        self.read += text.height

    def _check_times(self, rows: pl.DataFrame) -> None:
        if self._cursor not in rows.columns:
            return
        latest = self._now() + _AHEAD
        # what was edited after the query may come as it is now, and comes again in the next window
        is_other = pl.col(self._cursor) > pl.lit(latest, INSTANT)
        if self._since is not None:
            is_other = is_other | (pl.col(self._cursor) < pl.lit(self._since, INSTANT))
        if rows.select(is_other.any()).item():
            raise OtherTime(
                f"Salesforce: records of {self._description.name} are of another time than asked for",
                hint="run the sync again",
            )

    def resume(self, pages: int, rows: int) -> bool:
        """Go on after so many pages of another process, with so many records; False if they are not these."""
        if not self.pages.resume(pages):
            return False
        name = self._description.name
        try:
            asides = [json.loads(page.aside) for page in self.pages.files if page.aside]
            self.rejected = [Rejected(name, id_, reason) for aside in asides for id_, reason in aside]
        except (ValueError, TypeError):
            return False
        self.read = rows
        # fewer, or more, are of another read
        return self.n_different == rows

    def restart(self) -> None:
        """Forget the job and every page: what is read from now on begins anew."""
        # the job first, because one without its pages would be taken for one that is read
        self.job.clear()
        self.pages.clear()
        self.rejected, self.read = [], 0

    @property
    def n_strangers(self) -> int:
        """How many of the records have no id of this object: what stood in their place is not known."""
        prefix = key_prefix(self._description.name, self._objects)
        return sum(not is_id(each.id, prefix) for each in self.rejected)

    @property
    def n_different(self) -> int:
        """How many different records there were."""
        return self.pages.n_different(each.id for each in self.rejected if each.id)
