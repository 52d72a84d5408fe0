"""What keeps the tables of the mirror in order; no version of a record is lost by it."""

from __future__ import annotations

import contextlib

from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError

from attribution.mirror.coverage import telling, told

__all__ = ["compact"]


def compact(table: DeltaTable) -> None:
    """Merge the small files of a table; the old ones stay for whoever is reading them."""
    properties = CommitProperties(max_commit_retries=0, custom_metadata=telling(told(table)))
    # whoever committed in between will compact the next time
    with contextlib.suppress(CommitFailedError):
        table.optimize.compact(commit_properties=properties)
