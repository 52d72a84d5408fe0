"""The ledger of a store: one line of JSON per sync, appended and never changed."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from attribution.errors import AttributionError, StoppedEarly

__all__ = ["append_run", "last_run", "read_runs", "unread_run"]

_FILE: Final = "runs.jsonl"
_LONGEST: Final = 1 << 20
"""Bytes in which the line of one run has room."""


def append_run(folder: Path, run: Mapping[str, Any]) -> None:
    """Append one run; a line that a killed process left unfinished stays by itself.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     append_run(Path(folder), {"outcome": "ok"})
    ...     read_runs(Path(folder))
    [{'outcome': 'ok'}]
    """
    with (folder / _FILE).open("ab+") as file:
        is_torn = False
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            is_torn = file.read(1) != b"\n"
        file.write(b"\n" * is_torn + json.dumps(run).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """Every run, oldest first; a line that was never finished is left out."""
    try:
        lines = (folder / _FILE).read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [run for run in map(_parsed, lines) if run is not None]


def last_run(folder: Path) -> dict[str, Any] | None:
    """The latest run; None where there is none, or where its line was never finished.

    A ledger of years is long: only its end is looked at.
    """
    try:
        with (folder / _FILE).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    return _parsed(lines[-1].decode("utf-8", "replace")) if lines else None


def unread_run(
    error: AttributionError, began_at: datetime, ended_at: datetime, api_calls: int
) -> dict[str, Any]:
    """A sync in the ledger that ended before it had read any object; instants of this machine's clock."""
    return {
        "run_id": uuid.uuid4().hex,
        "outcome": "stopped" if isinstance(error, StoppedEarly) else "failed",
        "started_at": f"{began_at:%Y-%m-%dT%H:%M:%SZ}",
        "finished_at": f"{ended_at:%Y-%m-%dT%H:%M:%SZ}",
        "api_calls": api_calls,
        **dict.fromkeys(("read", "written", "deleted", "rejected"), 0),
        "objects": [],
        "warnings": [error.message],
    }


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        run = json.loads(line)
    except ValueError:
        return None
    return run if isinstance(run, dict) else None
