"""The logs of a mirror as one question sees them."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path

import polars as pl

from attribution.mirror.log import ObjectLog

__all__ = ["Logs"]


class Logs:
    """Every log of a mirror, opened when first asked for and once only.

    A question asked of one instance sees each object in one state, whatever a sync commits meanwhile.

    Parameters
    ----------
    folder
        Where the tables of the mirror lie; need not exist.
    known_at
        Knowledge cut-off of :meth:`newest` and :meth:`versions`; default: everything.
    """

    def __init__(self, folder: Path, known_at: datetime | None = None) -> None:
        self._folder = folder
        self._known_at = known_at
        self._of = cache(lambda name: ObjectLog(folder, name))
        self._newest = cache(lambda name: self._of(name).newest(known_at))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the mirrored objects, sorted."""
        places = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        return tuple(each.name for each in places if each.is_dir() and self.of(each.name).exists)

    def of(self, object: str) -> ObjectLog:
        """The log of an object, which need not exist."""
        return self._of(object)

    def newest(self, object: str) -> pl.LazyFrame | None:
        """Newest version of each record, tombstones included; None where nothing is mirrored."""
        return self._newest(object) if self.of(object).exists else None

    def versions(self, object: str) -> pl.LazyFrame | None:
        """Every version of each record; None where nothing is mirrored."""
        log = self.of(object)
        return log.versions(self._known_at) if log.exists else None

    def target(self, object: str, lookup: str) -> str | None:
        """The object that a lookup points to; None where that is not mirrored."""
        found = self.of(object).coverage.lookups.get(lookup)
        return found if found is not None and self.of(found).exists else None

    def known_since(self, object: str, field: str) -> datetime | None:
        """Before when versions tell nothing of a field; None: all tell of it."""
        return self.of(object).coverage.since.get(field)
