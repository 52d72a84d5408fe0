"""The ledger of a store: one line of JSON per sync, appended and never changed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

__all__ = ["append_run", "read_runs"]

_FILE: Final = "runs.jsonl"


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


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        run = json.loads(line)
    except ValueError:
        return None
    return run if isinstance(run, dict) else None
