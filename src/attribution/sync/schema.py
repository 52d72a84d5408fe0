"""What the CRM said of its objects in earlier syncs: it need not say it again while it is unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from attribution.mirror.durable import replace

__all__ = ["Kept", "Schema"]

_TRUSTED: Final = timedelta(days=7)
"""How long an answer is held to be unchanged on the CRM's word: a permission may change without its date."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One description, as the CRM gave it."""

    modified: str
    """The CRM's own date of the last change, as it spelled it."""
    read_at: datetime
    """When it was sent."""
    document: Mapping[str, Any]


class Schema:
    """The descriptions of earlier syncs, in a file of the store.

    Parameters
    ----------
    file
        Need not exist; one that cannot be read is as good as none.
    viewer
        Who sees the objects like this: another user, or another version of the API, sees others.

    Examples
    --------
    >>> import tempfile
    >>> from datetime import UTC, datetime
    >>> day = datetime(2026, 1, 1, tzinfo=UTC)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     schema = Schema(Path(folder) / "schema.json", "somebody")
    ...     schema.put("Account", Kept("Thu, 01 Jan 2026 00:00:00 GMT", day, {"name": "Account"}))
    ...     schema.save()
    ...     again = Schema(Path(folder) / "schema.json", "somebody").get("Account", day)
    >>> again.document["name"]
    'Account'
    """

    def __init__(self, file: Path, viewer: str) -> None:
        self._file = file
        self._viewer = viewer
        self._kept: dict[str, Kept] = {}
        self._is_new = False
        try:
            found = json.loads(file.read_text("utf-8"))
            if found["viewer"] == viewer:
                self._kept = {
                    name: Kept(each["modified"], datetime.fromisoformat(each["read_at"]), each["document"])
                    for name, each in found["objects"].items()
                }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._kept = {}

    def get(self, object: str, now: datetime) -> Kept | None:
        """What is known of an object, unless that is too long ago."""
        kept = self._kept.get(object)
        return kept if kept is not None and timedelta() <= now - kept.read_at < _TRUSTED else None

    def put(self, object: str, kept: Kept) -> None:
        """Remember a description."""
        self._kept[object] = kept
        self._is_new = True

    def forget(self, object: str) -> None:
        """Have an object described anew, because what is known of it may be wrong."""
        self._is_new |= self._kept.pop(object, None) is not None

    def save(self) -> None:
        """Write down what is new; the folder must exist."""
        if not self._is_new:
            return
        objects = {
            name: {"modified": kept.modified, "read_at": kept.read_at.isoformat(), "document": kept.document}
            for name, kept in self._kept.items()
        }
        text = json.dumps({"viewer": self._viewer, "objects": objects})
        replace(self._file, lambda file: file.write_text(text, "utf-8"))
        self._is_new = False
