"""The data files of a commit that is still to be made."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from deltalake.transaction import AddAction

from attribution.mirror.pages import COMPRESSION, Page

__all__ = ["DataFiles"]


class DataFiles:
    """Files with the versions of one commit, each written as soon as its rows are there.

    delta-rs's own writer is not used, because it keeps several hundred megabytes in flight.

    Parameters
    ----------
    folder
        The table.
    stamp
        ``_synced_at`` of every version.
    """

    def __init__(self, folder: Path, stamp: datetime) -> None:
        self._folder = folder
        self._stamp = stamp
        self._name = uuid.uuid4().hex
        self.actions: list[AddAction] = []
        """What a commit has to say of the files."""
        self.live = self.deleted = 0

    def add(self, versions: pl.DataFrame) -> None:
        """Write one more file, unless there is nothing to write."""
        deleted = int(versions["_deleted"].sum())
        self._put(
            versions.height, deleted, lambda file: versions.write_parquet(file, compression=COMPRESSION)
        )

    def take(self, page: Page) -> None:
        """Let a page be one more file, as it is; it also stays where it was."""
        self._put(page.rows, page.deleted, lambda file: _link(page.file, file))

    def _put(self, rows: int, deleted: int, write: Callable[[Path], object]) -> None:
        if not rows:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"part-{len(self.actions):05}-{self._name}.{COMPRESSION}.parquet"
        # told first, so that a file which could not be written whole is removed, too
        self.actions.append(AddAction(file.name, 0, {}, 0, True, self._statistics(rows)))
        write(file)
        written = file.stat()
        self.actions[-1].size = written.st_size
        self.actions[-1].modification_time = int(written.st_mtime * 1000)
        self.deleted += deleted
        self.live += rows - deleted

    def remove(self) -> None:
        """Delete the files of a commit that was not made."""
        for action in self.actions:
            with suppress(OSError):
                (self._folder / action.path).unlink()

    def _statistics(self, rows: int) -> str:
        # of no other column: the log would keep personal data for ever
        at = {
            "_synced_at": self._stamp.astimezone(UTC)
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z")
        }
        return json.dumps(
            {"numRecords": rows, "minValues": at, "maxValues": at, "nullCount": {"_synced_at": 0}}
        )


def _link(page: Path, file: Path) -> None:
    try:
        file.hardlink_to(page)
    except OSError:
        # not every file system can
        shutil.copyfile(page, file)
