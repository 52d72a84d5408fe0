"""Derived snapshots on disk, as plain arrays that are mapped into memory: the next question is instant.

A cached snapshot is named by everything that it was derived from: versions of tables, mapping, cut-offs and
the code that derived it. It is only ever added or dropped, never changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import astuple, fields
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from attribution import derive
from attribution.columns import (
    Claim,
    CostColumns,
    Dangling,
    DealColumns,
    Decision,
    DirectTouches,
    Party,
    Snapshot,
    SpellColumns,
    Stage,
    Stranded,
    TouchpointColumns,
    read_only,
)
from attribution.periods import FiscalYear

__all__ = ["SnapshotCache", "Texts"]

_KEPT: Final = 3
"""Snapshots kept; with a new one the one that was longest not asked for goes."""
_COLUMNS: Final = {
    "deals": DealColumns,
    "touchpoints": TouchpointColumns,
    "stranded": Stranded,
    "direct": DirectTouches,
    "spells": SpellColumns,
    "dangling": Dangling,
    "costs": CostColumns,
}
_PARTIES: Final = ("partners", "parents", "programs", "tiers")
_META: Final = "snapshot.json"

_Columns = DealColumns | TouchpointColumns | Stranded | DirectTouches | SpellColumns | Dangling | CostColumns
C = TypeVar("C", bound=_Columns)


class Texts(Sequence[str]):
    """Texts in two arrays, decoded when asked for: a million names cost nothing until then."""

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self._data = data
        self._offsets = offsets

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Pack texts."""
        if isinstance(texts, Texts):
            return texts
        encoded = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)

    @property
    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Bytes of all texts, and where each begins."""
        return self._data, self._offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[str, ...]: ...
    def __getitem__(self, at: int | slice) -> str | tuple[str, ...]:
        if isinstance(at, slice):
            return tuple(self[each] for each in range(*at.indices(len(self))))
        place = range(len(self))[at]
        return self._data[self._offsets[place] : self._offsets[place + 1]].tobytes().decode()


class SnapshotCache:
    """Snapshots of one store, in a folder of their own.

    Parameters
    ----------
    folder
        Need not exist; may vanish at any time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def key(self, **basis: Any) -> str:
        """Name of the snapshot that is derived from this, by this code."""
        code = b"".join(path.read_bytes() for path in sorted(Path(derive.__file__).parent.glob("*.py")))
        text = json.dumps(basis, sort_keys=True, default=str)
        return hashlib.sha256(code + text.encode()).hexdigest()[:32]

    def load(self, key: str) -> Snapshot | None:
        """The snapshot of this name, mapped from disk; None if there is none, or if it is damaged."""
        place = self.folder / key
        if not place.is_dir():
            return None
        try:
            snapshot = _load(place)
            os.utime(place)
        except (OSError, ValueError, KeyError, TypeError):
            # whatever is wrong with it, it can be derived again
            shutil.rmtree(place, ignore_errors=True)
            return None
        return snapshot

    def save(self, key: str, snapshot: Snapshot) -> None:
        """Keep a snapshot; where the folder cannot be written, nothing is kept."""
        try:
            self.folder.mkdir(exist_ok=True)
            scratch = Path(mkdtemp(prefix=".", dir=self.folder))
        except OSError:
            return
        try:
            _save(scratch, snapshot)
            scratch.rename(self.folder / key)
            self._prune()
        except OSError:
            # no room, or somebody else was faster: the snapshot in memory is as good
            shutil.rmtree(scratch, ignore_errors=True)

    def drop(self, key: str) -> None:
        """Drop one snapshot, if it is there."""
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def clear(self) -> None:
        """Drop every snapshot, whatever hinders it being an error."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _prune(self) -> None:
        kept = sorted(
            (each for each in self.folder.iterdir() if not each.name.startswith(".")),
            key=lambda each: each.stat().st_mtime_ns,
        )
        for place in kept[:-_KEPT]:
            shutil.rmtree(place, ignore_errors=True)


def _save(place: Path, snapshot: Snapshot) -> None:
    for name, columns in ((name, getattr(snapshot, name)) for name in _COLUMNS):
        if columns is None:
            continue
        for column, array in _arrays(columns):
            np.save(place / f"{name}.{column}.npy", array)
    data, offsets = Texts.of(snapshot.names).arrays
    np.save(place / "names.data.npy", data)
    np.save(place / "names.offsets.npy", offsets)
    meta: dict[str, Any] = {
        each.name: getattr(snapshot, each.name)
        for each in fields(Snapshot)
        if each.name not in (*_COLUMNS, *_PARTIES, "names", "stages", "fiscal", "memo", "decisions")
    }
    meta |= {
        name: [[p.id, p.name, p.parent_id, p.website] for p in getattr(snapshot, name)] for name in _PARTIES
    }
    meta["stages"] = [[stage.name, stage.is_closed, stage.place] for stage in snapshot.stages]
    meta["decisions"] = [[*astuple(each)[:-1], each.at.isoformat()] for each in snapshot.decisions]
    meta["fiscal"] = [snapshot.fiscal.start_month, snapshot.fiscal.named_by_start]
    (place / _META).write_text(json.dumps(meta), encoding="utf-8")


def _arrays(
    columns: _Columns,
) -> Iterator[tuple[str, NDArray[Any]]]:
    for each in fields(columns):
        value = getattr(columns, each.name)
        if isinstance(value, tuple):
            yield from ((f"{each.name}.{at}", array) for at, array in enumerate(value))
        elif value is not None:
            yield each.name, value


def _load(place: Path) -> Snapshot:
    meta = json.loads((place / _META).read_text(encoding="utf-8"))
    for name in _PARTIES:
        meta[name] = tuple(Party(*party) for party in meta[name])
    meta["stages"] = tuple(Stage(*stage) for stage in meta["stages"])
    meta["segments"] = tuple((name, tuple(values)) for name, values in meta["segments"])
    meta["decisions"] = tuple(
        Decision(Claim(*claim), approve, by, reason, datetime.fromisoformat(at))
        for claim, approve, by, reason, at in meta["decisions"]
    )
    for name, value in meta.items():
        if isinstance(value, list) and name != "fiscal":
            meta[name] = tuple(value)
    meta["fiscal"] = FiscalYear(*meta["fiscal"])
    return Snapshot(
        deals=_columns(place, "deals", DealColumns, len(meta["segments"])),
        touchpoints=_columns(place, "touchpoints", TouchpointColumns),
        stranded=_columns(place, "stranded", Stranded),
        direct=_columns(place, "direct", DirectTouches),
        spells=_columns(place, "spells", SpellColumns),
        dangling=_columns(place, "dangling", Dangling),
        costs=_columns(place, "costs", CostColumns) if (place / "costs.id.npy").exists() else None,
        names=Texts(_array(place / "names.data.npy"), _array(place / "names.offsets.npy")),
        **meta,
    )


def _columns(place: Path, name: str, kind: type[C], n_segments: int = 0) -> C:
    found: dict[str, Any] = {}
    for each in fields(kind):
        file = place / f"{name}.{each.name}.npy"
        if each.name == "segments":
            segments = (place / f"{name}.segments.{at}.npy" for at in range(n_segments))
            found["segments"] = tuple(_array(segment) for segment in segments)
        elif file.exists():
            found[each.name] = _array(file)
    return read_only(kind(**found))


def _array(file: Path) -> NDArray[Any]:
    with file.open("rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, _ = np.lib.format.read_array_header_1_0(stream)
    # nothing cannot be mapped
    array: NDArray[Any] = np.load(file, mmap_mode="r" if 0 not in shape else None, allow_pickle=False)
    return array


def table_versions(mirror: Path) -> dict[str, int]:
    """Newest version of each object's table, told by the names in its log alone."""
    versions = {}
    for table in os.scandir(mirror) if mirror.is_dir() else ():
        log = Path(table.path, "_delta_log")
        names = [entry.name for entry in os.scandir(log)] if log.is_dir() else []
        commits = [int(name[:20]) for name in names if name.endswith(".json") and name[:20].isdigit()]
        if commits:
            versions[table.name] = max(commits)
    return versions
