"""What is read of one object: typed page by page as it comes, and kept until it is committed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from attribution.mirror.pages import Pages
from attribution.sync.descriptions import ObjectDescription, ObjectSummary
from attribution.sync.rows import Rejected, column_types, typed

__all__ = ["Intake"]


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
        self.pages = Pages(folder, column_types(description, tuple(fields)))
        """The records that could be read."""
        self.rejected: list[Rejected] = []
        """Those that could not."""
        self.read = 0
        """How many there were of both."""
        self._description, self._objects, self._now = description, objects, now

    def add(self, text: pl.DataFrame) -> None:
        """Take one more page, as text or typed already; it is on the disk when this returns."""
        found = typed(text, self._description, self._objects)
        aside = json.dumps([(each.id, each.reason) for each in found.rejected]) if found.rejected else ""
        self.pages.add(found.rows, self._now(), aside)
        self.rejected += found.rejected
        self.read += text.height

    def resume(self, pages: int, rows: int) -> bool:
        """Go on after so many pages of another process, with so many rows; False if they are not whole."""
        if not self.pages.resume(pages):
            return False
        name = self._description.name
        asides = (json.loads(page.aside) for page in self.pages.files if page.aside)
        self.rejected = [Rejected(name, *told) for aside in asides for told in aside]
        self.read = rows
        return True

    def restart(self) -> None:
        """Forget every page: what is read from now on begins anew."""
        self.pages.clear()
        self.rejected, self.read = [], 0

    @property
    def is_repeating(self) -> bool:
        """Whether some record came more than once."""
        return self.pages.n_different(each.id for each in self.rejected if each.id) < self.read
