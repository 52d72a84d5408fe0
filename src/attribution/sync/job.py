"""What is known of a bulk job while it is read, so that another process can go on with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from attribution.mirror.durable import replace

__all__ = ["Begun", "KeptJob"]

_KEPT: Final = timedelta(days=7) - timedelta(hours=1)
"""How long Salesforce keeps the results of a job; less a little, to read them."""


class _Intent(BaseModel):
    """That a job is about to be created: kept while its id is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: AwareDatetime


class Begun(BaseModel):
    """How far a job has been read: kept in a file beside its pages, so that another process can go on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    soql: str
    until: AwareDatetime
    """End of the window that is read."""
    created_at: AwareDatetime
    total: int | None = None
    """Rows that Salesforce says there are; None until the job is done."""
    pages: int = 0
    rows: int = 0
    locator: str = ""
    """Where the next page begins; empty before the first."""
    is_whole: bool = False
    failures: int = 0
    """Syncs in turn that could not get the next page."""


class KeptJob:
    """What is known of one bulk job while it is read, in files beside its pages.

    Parameters
    ----------
    folder
        Of the pages; need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / "job.json"
        self._intent = folder / "intent.json"

    def begun(self, now: datetime | None) -> Begun | None:
        """The job that was begun, unless Salesforce has dropped it by now."""
        try:
            begun = Begun.model_validate_json(self._state.read_bytes())
        except (OSError, ValidationError):
            return None
        return begun if begun.is_whole or now is None or now - begun.created_at < _KEPT else None

    def intended(self) -> datetime | None:
        """When a job was about to be created whose id was never learned; None if none was."""
        try:
            return _Intent.model_validate_json(self._intent.read_bytes()).at
        except (OSError, ValidationError):
            return None

    def intend(self, at: datetime) -> None:
        """Remember that a job is about to be created."""
        self._folder.mkdir(parents=True, exist_ok=True)
        text = _Intent(at=at).model_dump_json()
        replace(self._intent, lambda file: file.write_text(text, "utf-8"))

    def save(self, begun: Begun) -> Begun:
        """Remember how far a job has been read."""
        self._folder.mkdir(parents=True, exist_ok=True)
        replace(self._state, lambda file: file.write_text(begun.model_dump_json(), "utf-8"))
        self._intent.unlink(missing_ok=True)
        return begun

    def clear(self) -> None:
        """Forget the job, and that one was to be created."""
        self._state.unlink(missing_ok=True)
        self._intent.unlink(missing_ok=True)
