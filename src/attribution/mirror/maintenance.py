"""What keeps the table of an object in order: merging files, rewriting records, sweeping up files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError

from attribution.mirror.coverage import telling, told

__all__ = ["compact", "empty", "file_names", "remove", "sweep"]

_READ_SECONDS: Final = 24 * 3600.0
"""How long whoever reads a table may take: so long the files it looks at stay."""


def file_names(table: DeltaTable) -> list[str]:
    """Names of the files that a table consists of."""
    # delta-rs percent-encodes the folder in its addresses, and the tables have no partitions
    return [unquote(uri.rsplit("/", 1)[-1]) for uri in table.file_uris()]


def compact(table: DeltaTable, folder: Path) -> None:
    """Merge the small files of a table; until the next time the old ones stay for whoever reads them."""
    sweep(table, folder, unused_seconds=_READ_SECONDS)
    properties = CommitProperties(max_commit_retries=0, custom_metadata=telling(told(table)))
    # whoever committed in between will compact the next time
    with contextlib.suppress(CommitFailedError):
        table.optimize.compact(commit_properties=properties)


def sweep(table: DeltaTable, folder: Path, *, unused_seconds: float = 0.0) -> None:
    """Delete the files that are no part of a table: replaced ones, and those of a writer that was killed.

    The library's own vacuum does not see the files that a killed writer had not finished.
    """
    parts = {*file_names(table)}
    until = time.time() - unused_seconds
    for file in folder.iterdir():
        if file.is_file() and file.name not in parts and file.stat().st_mtime <= until:
            file.unlink()


def empty(
    table: DeltaTable, column: str, id: str, fields: Sequence[str], properties: CommitProperties
) -> None:
    """Rewrite the files that hold a record, with these fields of all its versions empty."""
    table.update(
        predicate=_is(column, id), updates=dict.fromkeys(fields, "NULL"), commit_properties=properties
    )


def remove(table: DeltaTable, column: str, id: str, properties: CommitProperties) -> None:
    """Rewrite the files that hold a record, or its history, without it."""
    table.delete(predicate=_is(column, id), commit_properties=properties)


def _is(column: str, id: str) -> str:
    return f"\"{column}\" = '{id}'"
