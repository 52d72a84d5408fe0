"""A touchpoint before it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Touch"]


@dataclass(slots=True, kw_only=True)
class Touch:
    """A touchpoint not yet judged: `author_id` recorded it, `hosts` own or attended the meeting.

    `linked`: its record names the deal. `program_id` is that of the mapped field alone.
    """

    id: str
    occurred_at: datetime
    recorded_at: datetime
    partner_id: str
    kind: str
    strength: str
    author_id: str | None = None
    hosts: tuple[str, ...] = ()
    role: str | None = None
    linked: bool = True
    sourcing: bool = False
    program_id: str | None = None
    approval: str = "none"
    approved_at: datetime | None = None
    expires_at: datetime | None = None

    @property
    def order(self) -> tuple[datetime, bytes]:
        """Path order (rule 4.1)."""
        return self.occurred_at, self.id.encode()
