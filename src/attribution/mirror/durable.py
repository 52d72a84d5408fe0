"""Files that are there as a whole or not at all, whenever the process is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["replace"]


def replace(file: Path, write: Callable[[Path], object]) -> None:
    """Put a file in place of another once all of it is on the disk.

    Parameters
    ----------
    write
        Called with a path beside the file, at which to write it.
    """
    temporary = file.with_name(f".{file.name}.part")
    write(temporary)
    with temporary.open("rb+") as written:
        os.fsync(written.fileno())
    temporary.replace(file)
