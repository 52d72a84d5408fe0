"""Options that commands share, and what they mean."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from attribution.errors import AttributionError, UsageError

if TYPE_CHECKING:
    from attribution.mapping import Mapping
    from attribution.policy import Policy
    from attribution.store import Store

__all__ = [
    "AsJson",
    "Debug",
    "MappingFile",
    "PolicyFile",
    "StorePath",
    "instant",
    "log_error",
    "open_store",
    "read_mapping",
    "read_policy",
]

StorePath = Annotated[
    Path | None,
    typer.Option("--store", envvar="ATTRIBUTION_STORE", help="Folder of the store.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, to stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
MappingFile = Annotated[
    Path | None,
    typer.Option("--mapping", help="TOML file whose [mapping] replaces the store's.", show_default=False),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", help="TOML file whose [policy] replaces the store's.", show_default=False),
]


def log_error(error: AttributionError) -> None:
    """Write an error as a line of a log."""
    document = {"event": "error", "code": error.code, "message": error.message, "hint": error.hint}
    sys.stderr.write(json.dumps(document) + "\n")


def open_store(path: Path | None) -> Store:
    """The store that ``--store`` or ``ATTRIBUTION_STORE`` names."""
    from attribution.store import Store

    if path is None:
        raise UsageError("no store was named", hint="pass --store FOLDER or set ATTRIBUTION_STORE")
    return Store(path)


def read_mapping(path: Path | None) -> Mapping | None:
    """The ``[mapping]`` of a file; None where no file was named."""
    from attribution.mapping import Mapping

    return None if path is None else Mapping.from_toml(path)


def read_policy(path: Path | None) -> Policy | None:
    """The ``[policy]`` of a file; None where no file was named."""
    from attribution.policy import Policy

    return None if path is None else Policy.from_toml(path)


def instant(text: str, option: str, zone: str) -> datetime:
    """An instant as people write it: a bare date is the end of that day in the zone.

    Raises
    ------
    UsageError
        If the text is neither a date nor an instant with its offset.

    Examples
    --------
    >>> instant("2026-06-30", "--as-of", "America/New_York").isoformat()
    '2026-07-01T04:00:00+00:00'
    """
    try:
        if len(text) <= len("2026-06-30"):
            midnight = datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), ZoneInfo(zone))
            return midnight.astimezone(UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text!r} is neither a date nor an instant",
            hint="write 2026-06-30 or 2026-06-30T12:00:00Z",
        ) from None
    if moment.tzinfo is None:
        raise UsageError(
            f"{option} {text!r} has no offset", hint=f"write {text}Z for UTC, or an offset like +02:00"
        )
    return moment.astimezone(UTC)
