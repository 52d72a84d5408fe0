"""What a sync needs of a CRM, independent of which one and of how it is spoken to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, Self

import polars as pl

from attribution.errors import CrmError, RefusedError, StoppedEarly
from attribution.sync.budget import Budget
from attribution.sync.descriptions import ObjectDescription, ObjectSummary
from attribution.sync.intake import Intake
from attribution.sync.schema import Schema
from attribution.sync.watermark import Window

__all__ = [
    "Changes",
    "Deletions",
    "NotShown",
    "Query",
    "Source",
    "Visibility",
    "all_of",
]


def all_of(*conditions: str | None) -> str | None:
    """A condition that is met where all of these are; None where there are none.

    Examples
    --------
    >>> all_of("Rank = 1 OR Rank = 2", None, "IsActive = true"), all_of(None)
    ('(Rank = 1 OR Rank = 2) AND (IsActive = true)', None)
    """
    met = [each for each in conditions if each is not None]
    return " AND ".join(f"({each})" for each in met) if len(met) > 1 else next(iter(met), None)


class NotShown(RefusedError):
    """The CRM has no such object, field or record, or does not show it to the connected user."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which records of an object are read, and which fields of them."""

    description: ObjectDescription
    fields: tuple[str, ...]
    window: Window
    """When they were changed."""
    cursor: str | None
    """Field that tells when; None: the object is read whole."""
    where: str | None = None
    """One more condition, in SOQL, that they meet."""


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
        query: Query,
        into: Intake,
        progress: Callable[[int, int | None], None],
        *,
        is_quiet: bool = False,
    ) -> None:
        """Put every record that a query asks for, soft-deleted ones included, into an intake.

        A read that was begun in the folder of the intake, by another process, is gone on with. ``progress``
        is told how many rows have been read and how many are expected. Either every row is there or an
        error is raised. A record may come more than once; the last time counts.
        ``is_quiet`` says that the CRM has told already that nothing has changed: a count of no rows is
        believed then, and else asked for in another way as well.
        """
        ...

    def read_ids(
        self,
        description: ObjectDescription,
        fields: Sequence[str],
        ids: Sequence[str],
        *,
        where: str | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Those of the given records that there are, soft-deleted ones included, every value as text."""
        ...

    def begun(self, query: Query, staging: Path) -> Window | None:
        """The window of a read that was begun in a folder and can be gone on with; None if there is none."""
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
