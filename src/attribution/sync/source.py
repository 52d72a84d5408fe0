"""What a sync needs of a CRM, independent of which one and of how it is spoken to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import polars as pl

from attribution.errors import CrmError, RefusedError, StoppedEarly
from attribution.sync.budget import Budget
from attribution.sync.schema import Schema
from attribution.sync.watermark import Window

if TYPE_CHECKING:
    from attribution.sync.intake import Intake

__all__ = [
    "Changes",
    "Deletions",
    "FieldDescription",
    "NotShown",
    "ObjectDescription",
    "ObjectSummary",
    "Source",
    "Visibility",
]


class NotShown(RefusedError):
    """The CRM has no such object, field or record, or does not show it to the connected user."""


@dataclass(frozen=True, slots=True)
class ObjectSummary:
    """One object of the list of all objects."""

    name: str
    key_prefix: str | None
    """First three characters of the ids of its records; None where they have none of their own."""
    is_queryable: bool
    label: str = ""
    """What people call it."""


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """One field that the connected user may read."""

    name: str
    type: str
    """Salesforce's own name of the type, such as ``currency`` or ``reference``."""
    refers_to: tuple[str, ...] = ()
    """Objects a lookup may point to; several make it polymorphic."""
    is_filterable: bool = True
    label: str = ""
    """What people call it."""
    values: tuple[str, ...] = ()
    """What can be picked, active values only; empty where anything can be written."""

    @property
    def is_picked(self) -> bool:
        """Whether its values are picked from a list."""
        return self.type in ("picklist", "multipicklist")


@dataclass(frozen=True, slots=True)
class ObjectDescription:
    """One object as the connected user sees it: fields hidden by field-level security are absent."""

    name: str
    fields: Mapping[str, FieldDescription]
    is_replicateable: bool
    """Whether the CRM tells until when it is safe to read, and which records are gone."""
    children: tuple[tuple[str, str], ...] = ()
    """Object and field of every lookup that points here."""
    owned: frozenset[tuple[str, str]] = frozenset()
    """Those of them whose records are deleted together with the record they point to."""

    @property
    def cursor(self) -> str | None:
        """Field by which changes are found, or None if the object can only be read whole."""
        for name in ("SystemModstamp", "CreatedDate"):
            field = self.fields.get(name)
            if field is not None and field.is_filterable:
                return name
        return None

    @property
    def lookups(self) -> dict[str, str]:
        """Per lookup to one object only: that object."""
        fields = self.fields.values()
        return {field.name: field.refers_to[0] for field in fields if len(field.refers_to) == 1}


@dataclass(frozen=True, slots=True)
class Changes:
    """What the CRM tells of the changes of an object in a span of time."""

    covered_until: datetime
    """Up to which instant every change is visible now."""
    has_any: bool
    """Whether some record has changed in that span."""
    ids: tuple[str, ...] = ()
    """Some of those that have changed."""


@dataclass(frozen=True, slots=True)
class Deletions:
    """Records that are gone, according to the CRM's log of deleted records."""

    rows: pl.DataFrame
    """``Id`` and ``deleted_at`` (UTC, microseconds)."""
    covered_until: datetime
    """Up to which instant the list is complete."""
    available_since: datetime | None
    """From which instant on the log is kept; anything older is gone from it."""


@dataclass(frozen=True, slots=True)
class Visibility:
    """Of which objects the connected user sees every record, whoever owns it."""

    all_data: bool | None
    """View All Data; None: Salesforce does not tell."""
    objects: frozenset[str] | None
    """Objects with View All Records; None: Salesforce does not tell."""

    def of(self, object: str) -> bool | None:
        """Whether every record of an object is seen; None where that cannot be told.

        Examples
        --------
        >>> Visibility(False, frozenset({"Account"})).of("Account"), Visibility(None, None).of("Account")
        (True, None)
        """
        if self.all_data or (self.objects is not None and object in self.objects):
            return True
        return None if self.all_data is None or self.objects is None else False


class Source(Protocol):
    """A CRM that can be mirrored.

    Every method raises only exceptions of :mod:`attribution.errors`. Instants are the server's.
    """

    @property
    def organization_id(self) -> str:
        """Id of the organization whose records these are."""
        ...

    @property
    def api_calls(self) -> int:
        """HTTP requests sent so far, retries and logins included."""
        ...

    def twin(self) -> Self:
        """Another connection, for another thread: same login and limits; it counts its own calls only."""
        ...

    def stop(self, reason: StoppedEarly) -> None:
        """Send nothing more within the present limits, on this connection or a twin of it."""
        ...

    @property
    def server_time(self) -> datetime:
        """The server's clock, as told by its latest answer."""
        ...

    def limited(self, budget: Budget) -> AbstractContextManager[None]:
        """Within, send no more than a budget allows: the request that would exceed it raises StoppedEarly."""
        ...

    def objects(self) -> Mapping[str, ObjectSummary]:
        """Every object that the connected user can see."""
        ...

    @property
    def viewer(self) -> str:
        """Who asks, and how: whoever has the same one sees the same objects and fields."""
        ...

    def describe(self, object: str, schema: Schema | None = None, *, anew: bool = False) -> ObjectDescription:
        """The fields of one object that the connected user can read.

        What ``schema`` knows is not sent again unless it has changed since, or is asked for ``anew``;
        what is sent it learns.
        """
        ...

    def changes(self, object: str, since: datetime, until: datetime) -> Changes:
        """Whether a replicateable object has changed, and up to which instant every change is visible."""
        ...

    def read(
        self,
        description: ObjectDescription,
        fields: Sequence[str],
        window: Window,
        *,
        cursor: str | None,
        where: str | None = None,
        into: Intake,
        progress: Callable[[int, int | None], None],
        is_quiet: bool = False,
    ) -> None:
        """Put every record changed in a window, soft-deleted ones included, into an intake.

        ``where`` is one more condition, in SOQL, that they meet.
        A read that was begun in the folder of the intake, by another process, is gone on with. ``progress``
        is told how many rows have been read and how many are expected. Either every row is there or an
        error is raised. A record may come more than once; the last time counts.
        ``is_quiet`` says that the CRM has told already that nothing has changed: a count of no rows is
        believed then, and else asked for in another way as well.
        """
        ...

    def read_ids(
        self, object: str, fields: Sequence[str], ids: Sequence[str], *, where: str | None = None
    ) -> Iterator[pl.DataFrame]:
        """Those of the given records that there are, soft-deleted ones included, every value as text."""
        ...

    def begun(
        self,
        object: str,
        fields: Sequence[str],
        window: Window,
        *,
        cursor: str | None,
        where: str | None = None,
        staging: Path,
    ) -> Window | None:
        """The window of a read that was begun earlier and can be continued, if it starts like this one."""
        ...

    def count(
        self,
        object: str,
        where: str | None = None,
        *,
        window: Window | None = None,
        cursor: str | None = None,
    ) -> int:
        """Number of records that ``read`` would deliver."""
        ...

    def is_too_slow(self, error: CrmError) -> bool:
        """Whether the CRM gave a query up because it took too long."""
        ...

    def deletions(self, object: str, since: datetime, until: datetime) -> Deletions:
        """Which records of a replicateable object were deleted in a span of time."""
        ...

    def are_live(self, object: str, ids: Sequence[str]) -> set[str]:
        """Those of the given records that exist and are not deleted."""
        ...

    def is_deleted(self, object: str, id: str) -> bool:
        """Whether the CRM says of one record that it was deleted, rather than that it cannot be found."""
        ...

    @property
    def visibility(self) -> Visibility:
        """Of which objects the connected user sees every record."""
        ...
