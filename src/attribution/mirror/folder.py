"""The folder of a store: whose records it holds, and that one job at a time writes to it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import polars as pl

from attribution.errors import StoreError, UsageError, known
from attribution.mirror.durable import replace

__all__ = ["SETTINGS", "Folder"]

SETTINGS: Final = "attribution.toml"
"""The file with the mapping and the policy of a store."""
_FORMAT: Final = 1
_MANIFEST: Final = "store.json"
_LOCK: Final = ".lock"
_UNSPEAKABLE: Final = re.compile(r'[\[\]{}|^<>"`%]')
"""Characters that the Delta library mistakes for parts of an address."""


class Folder:
    """A folder that is a store, or may become one.

    Parameters
    ----------
    path
        Need not exist.

    Raises
    ------
    StoreError
        If the path holds something that is no store, or a store of a newer version.
    UsageError
        If the path has a character that the Delta library cannot address.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if _UNSPEAKABLE.search(str(path.absolute())):
            raise UsageError(
                f"a store cannot lie at {path.absolute()}", hint='choose a path without []{}|^<>"`%'
            )
        if path.is_file():
            raise StoreError(f"{path} is a file, not a store", hint="a store is a folder")
        if self._manifest() is None and path.is_dir():
            names = [each.name for each in path.iterdir()]
            others = [name for name in names if name != SETTINGS and not name.startswith(".")]
            if others:
                raise StoreError(
                    f"{path} is no store: it has no {_MANIFEST} but holds {known(others, 3)}",
                    hint="choose an empty or a new folder",
                )

    @property
    def organization_id(self) -> str | None:
        """Id of the organization whose records these are; None before the first sync."""
        manifest = self._manifest()
        return None if manifest is None else str(manifest["organization_id"])

    @property
    def unavailable(self) -> tuple[str, ...]:
        """Objects that the organization did not show to the last sync."""
        return tuple((self._manifest() or {}).get("unavailable", ()))

    def claim(self, organization_id: str, unavailable: Iterable[str]) -> None:
        """Make it a store of this organization, if it is none yet, which does not show these objects.

        Raises
        ------
        StoreError
            If it is a store of another organization.
        """
        self.check_organization(organization_id)
        document = {
            "format": _FORMAT,
            "organization_id": self.organization_id or organization_id,
            "unavailable": sorted(unavailable),
        }
        if document == self._manifest():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        replace(self.path / _MANIFEST, lambda file: file.write_text(json.dumps(document), "utf-8"))

    def check_organization(self, organization_id: str) -> None:
        """Refuse another organization than the one whose records these are."""
        ours = self.organization_id
        if ours is not None and ours[:15] != organization_id[:15]:
            raise StoreError(
                f"the store at {self.path} belongs to organization {ours}, not to {organization_id}",
                hint="one store holds one organization: choose another folder",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers out while this one runs; the system lets go if the process is killed.

        The tables refuse a second writer by themselves; this merely tells it before it has read anything.

        Raises
        ------
        StoreError
            If somebody else is writing; or if, within, a file cannot be written or deleted.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / _LOCK).open("a+b") as file:
                try:
                    _lock_file(file.fileno())
                except BlockingIOError as error:
                    raise StoreError(
                        f"another sync is writing to the store at {self.path}",
                        hint="let it finish, then run this again",
                    ) from error
                yield
        except BrokenPipeError:
            # the reader of our output has gone
            raise
        except (OSError, pl.exceptions.ComputeError) as error:
            # polars says the latter of a file that it cannot write
            raise StoreError(
                f"cannot write to the store at {self.path}: {error}",
                hint="look at the disk and the permissions of the store, then run this again; "
                "what was committed is kept",
            ) from error

    def _manifest(self) -> dict[str, Any] | None:
        try:
            manifest = json.loads((self.path / _MANIFEST).read_text("utf-8"))
            version, _ = int(manifest["format"]), str(manifest["organization_id"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(
                f"{self.path / _MANIFEST} cannot be read: {error.strerror}",
                hint="let whoever runs this read and write the store",
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.path / _MANIFEST} cannot be read", hint="restore it from a backup"
            ) from error
        if version > _FORMAT:
            raise StoreError(
                f"the store at {self.path} was made by a newer version (format {version}, this is {_FORMAT})",
                hint="upgrade partner-attribution",
            )
        return dict(manifest)


if sys.platform == "win32":

    def _lock_file(descriptor: int) -> None:
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error

else:

    def _lock_file(descriptor: int) -> None:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
