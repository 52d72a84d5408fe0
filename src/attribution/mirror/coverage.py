"""What has been read completely of an object, as each commit of its log tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from deltalake import DeltaTable

__all__ = ["Coverage", "telling", "told"]

_KEY: Final = "attribution.coverage"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What has been read completely up to the watermark; told by each commit, together with its rows."""

    fields: tuple[str, ...]
    where: str | None = None
    """SOQL condition that the records meet; None: all are read."""
    refers_to: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Per lookup: the objects that it may point to."""
    since: Mapping[str, datetime] = field(default_factory=dict)
    """Per field that was not read from the first commit on: ``_synced_at`` of the commit that brought it.
    In earlier versions it is not empty but unknown."""
    unread: tuple[str, ...] = ()
    """Ids of records that could not be read, though the watermark is past them."""
    unseen: tuple[str, ...] = ()
    """Ids of records that the CRM no longer shows, though nothing says that they were deleted: they stay."""
    picklists: tuple[str, ...] = ()
    """Fields whose values are picked from a list, and so are no words about anybody."""

    @property
    def lookups(self) -> dict[str, str]:
        """Per lookup to one object only: that object."""
        return {name: targets[0] for name, targets in self.refers_to.items() if len(targets) == 1}

    def to_json(self) -> str:
        """The coverage as a commit tells it."""
        since = {name: at.isoformat() for name, at in self.since.items()}
        return json.dumps(
            {
                "fields": self.fields,
                "where": self.where,
                "refers_to": dict(self.refers_to),
                "since": since,
                "unread": self.unread,
                "unseen": self.unseen,
                "picklists": self.picklists,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Coverage:
        """The coverage that a commit told.

        Examples
        --------
        >>> coverage = Coverage(("Id", "AccountId"), "Id != null", {"AccountId": ("Account",)})
        >>> Coverage.from_json(coverage.to_json()) == coverage
        True
        """
        found = json.loads(text)
        since = {name: datetime.fromisoformat(at) for name, at in found["since"].items()}
        refers_to = {name: tuple(targets) for name, targets in found["refers_to"].items()}
        lists = (tuple(found.get(name, ())) for name in ("unread", "unseen", "picklists"))
        return cls(tuple(found["fields"]), found["where"], refers_to, since, *lists)


def telling(coverage: Coverage | None) -> dict[str, str] | None:
    """What a commit has to say, for whoever asks what was read."""
    return None if coverage is None else {_KEY: coverage.to_json()}


def told(table: DeltaTable) -> Coverage | None:
    """What the newest commit that tells says was read; none does in a log that was filled, not read."""
    # every commit of ours tells, so the first entry does but where somebody else wrote last
    for limit in (1, None):
        for entry in table.history(limit):
            if _KEY in entry:
                return Coverage.from_json(entry[_KEY])
    return None
