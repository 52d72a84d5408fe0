"""Erasing one record from a mirror: its personal fields, or all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from attribution.errors import UsageError
from attribution.mirror.erased import Erased
from attribution.mirror.log import ObjectLog
from attribution.mirror.logs import Logs
from attribution.readings import DECISIONS, record_of

__all__ = ["Erasure", "erase"]

_SHORT = 15


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased of a record."""

    object: str
    id: str
    removed: bool
    """Whether the record is gone altogether, or only its personal fields are."""
    fields: tuple[str, ...]
    """The fields that stay empty in it from now on."""
    versions: int
    """How many stored versions were rewritten; 0 where all of it had been erased before."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of an erasure."""
        return {
            "object": self.object,
            "id": self.id,
            "removed": self.removed,
            "fields": list(self.fields),
            "versions": self.versions,
        }

    def __str__(self) -> str:
        what = "removed" if self.removed else f"emptied {', '.join(self.fields) or 'nothing, now or later'}"
        return f"{self.object} {self.id}: {what} in {self.versions} versions"


def erase(mirror: Path, id: str, personal: Callable[[Logs, str], Sequence[str]], *, remove: bool) -> Erasure:
    """Erase a record, whoever is killed at whatever instant; erasing it again finishes what was begun.

    Parameters
    ----------
    mirror
        Where the tables lie; nobody else writes to them meanwhile.
    id
        Of 15 or 18 characters.
    personal
        The personal fields of an object.
    remove
        Whether the record is removed altogether; what was removed once stays removed.

    Raises
    ------
    UsageError
        If there is no such record.
    """
    logs, erased = Logs(mirror), Erased.read(mirror)
    found = _found(logs, id) or next(((name, id) for name in logs.names if erased.removed(name, [id])), None)
    if found is None:
        raise UsageError(
            f"there is no record {id} in the store",
            hint="an id has 15 or 18 characters, and upper and lower case differ",
        )
    name, stored = found
    remove = remove or bool(erased.removed(name, [stored]))
    fields = () if remove else tuple(personal(logs, name))
    # first the list: from here on no sync brings back what is erased now
    (erased.removing(name, stored) if remove else erased.emptying(name, [stored], fields)).save(mirror)
    if remove:
        for history, column in _histories(logs, name):
            history.erase(stored, column=column)
            history.sweep()
    if name == "Opportunity":
        decisions = logs.of(DECISIONS)
        decisions.erase(stored, fields=None if remove else ("Reason",), column="OpportunityId")
        decisions.sweep()
    versions = logs.of(name).erase(stored, fields=None if remove else fields)
    logs.of(name).sweep()
    return Erasure(name, stored, remove, fields, versions)


def _found(logs: Logs, id: str) -> tuple[str, str] | None:
    """The object of a record, and its id as it is stored."""
    for name in logs.names:
        log = logs.of(name)
        mine = pl.col("Id").str.slice(0, _SHORT) == id[:_SHORT]
        stored = log.versions().filter(mine).select("Id").unique().collect()["Id"]
        for each in (*stored, *log.coverage.unread):
            if each == id or (each[:_SHORT] == id[:_SHORT] and _SHORT in (len(each), len(id))):
                return name, each
    return None


def _histories(logs: Logs, object: str) -> list[tuple[ObjectLog, str]]:
    """The logs that hold what the records of an object were before, each with the field that names them."""
    parents = ((name, record_of(name)) for name in logs.names)
    return [(logs.of(name), parent[1]) for name, parent in parents if parent and parent[0] == object]
