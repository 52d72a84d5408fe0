"""Records as they were read, kept in files, so that a large read needs no more memory than a small one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from attribution.arrays import INSTANT
from attribution.mirror.durable import replace
from attribution.mirror.versions import OWN, marked

__all__ = ["COMPRESSION", "Page", "Pages"]

COMPRESSION: Final = "zstd"
"""Of the files of a table, and of pages, which may become such files."""

_BATCH_ROWS: Final = 50_000
_BATCH_BYTES: Final = 1 << 25
_FEW_ROWS: Final = 5_000
"""Pages of fewer rows than this are put together before they become files of a table."""
_NAME: Final = re.compile(r"\d{6}\.(parquet|json)|\.\d{6}\.(parquet|json)\.part")

Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True)
class Page:
    """A file of one page."""

    file: Path
    rows: int
    deleted: int
    """How many of the rows are of deleted records."""
    aside: str = ""
    """What is kept beside it."""


class Pages:
    """The records of one read: added page by page, given back in batches, each record once.

    In memory are a batch, and eight bytes per record that tell which of them came twice. Each page is on
    the disk when :meth:`add` returns, as a file that a table can take as it is: with ``_deleted``, and with
    the instant of the first page as ``_synced_at``.

    Parameters
    ----------
    folder
        Where the pages are kept. What lies there is kept until the first page is added, or what another
        process has kept is gone on with.
    schema
        Type of every column; ``Id`` is one of them.

    Examples
    --------
    >>> import tempfile
    >>> from datetime import UTC, datetime
    >>> from pathlib import Path
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pages = Pages(Path(folder) / "pages", {"Id": pl.String(), "Rank": pl.Int64()})
    ...     pages.add(pl.DataFrame({"Id": ["a", "b"], "Rank": [1, 2]}), noon)
    ...     pages.add(pl.DataFrame({"Id": ["a"], "Rank": [3]}), noon)
    ...     [batch.rows() for batch in pages]
    [[('b', 2), ('a', 3)]]
    """

    def __init__(self, folder: Path, schema: Mapping[str, pl.DataType]) -> None:
        self.schema = dict(schema)
        self.files: list[Page] = []
        self.synced_at: datetime | None = None
        """Instant of the first page; None before it."""
        self._folder = folder
        self._hashes: list[Hashes] = []

    def add(self, page: pl.DataFrame, read_at: datetime, aside: str = "") -> None:
        """Keep one more page, with the columns of the schema, that was read at an instant.

        ``aside`` is kept with it for whoever resumes, and never becomes part of a table.
        """
        if not self.files:
            self.clear()
        self.synced_at = self.synced_at or read_at
        self._folder.mkdir(parents=True, exist_ok=True)
        stamp = pl.lit(self.synced_at, INSTANT).alias("_synced_at")
        versions = marked(page.select(list(self.schema))).with_columns(stamp)
        file = self._file(len(self.files))
        if aside:
            replace(file.with_suffix(".json"), lambda beside: beside.write_text(aside, "utf-8"))
        else:
            file.with_suffix(".json").unlink(missing_ok=True)
        replace(file, lambda beside: versions.write_parquet(beside, compression=COMPRESSION))
        self._count(file, versions, aside)

    def resume(self, pages: int) -> bool:
        """Go on after so many pages that another process has kept; False where they are not all whole."""
        self._forget()
        expected = {**self.schema, "_deleted": pl.Boolean(), "_synced_at": INSTANT}
        try:
            for number in range(pages):
                file = self._file(number)
                if pl.read_parquet_schema(file) != expected:
                    raise ValueError(file)
                beside = file.with_suffix(".json")
                aside = beside.read_text("utf-8") if beside.exists() else ""
                # all of it, so that damage is seen before it becomes part of a table
                self._count(file, pl.read_parquet(file, glob=False), aside)
        except (OSError, ValueError, pl.exceptions.PolarsError):
            self._forget()
            return False
        return True

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Batches of records; of one that came twice, the last."""
        last = self._repeated()
        batch: list[pl.DataFrame] = []
        rows = size = 0
        for number, kept in enumerate(self.files):
            page = pl.read_parquet(kept.file, glob=False).drop(OWN)
            if last:
                place = pl.col("Id").replace_strict(last, default=number, return_dtype=pl.Int64)
                page = page.filter(place == number).unique("Id", keep="last", maintain_order=True)
            batch.append(page)
            rows, size = rows + page.height, size + int(page.estimated_size())
            if rows >= _BATCH_ROWS or size >= _BATCH_BYTES:
                yield pl.concat(batch)
                batch, rows, size = [], 0, 0
        if rows:
            yield pl.concat(batch)

    @property
    def are_fit(self) -> bool:
        """Whether the files can become those of a table without any: not small, no record twice."""
        held = [page.rows for page in self.files if page.rows]
        return sum(held) >= _FEW_ROWS * len(held) and self.n_different() == sum(held)

    def n_different(self, more: Iterable[str] = ()) -> int:
        """How many different ids there are in the pages, and among some more."""
        hashes = _sorted([*self._hashes, pl.Series([*more], dtype=pl.String()).hash().to_numpy()])
        return hashes.size - int((hashes[1:] == hashes[:-1]).sum())

    def scan(self) -> pl.LazyFrame:
        """Every record, as often as it came, in the order of coming."""
        if not self.files:
            return pl.LazyFrame(schema=self.schema)
        files = [page.file for page in self.files]
        return pl.scan_parquet(files, glob=False, hive_partitioning=False).drop(OWN)

    def clear(self) -> None:
        """Forget every page, those of another process as well; what else lies there stays."""
        self._forget()
        for file in self._folder.iterdir() if self._folder.is_dir() else ():
            if _NAME.fullmatch(file.name):
                file.unlink()
        with suppress(OSError):
            self._folder.rmdir()

    def _forget(self) -> None:
        self.files.clear()
        self._hashes.clear()
        self.synced_at = None

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06}.parquet"

    def _count(self, file: Path, versions: pl.DataFrame, aside: str) -> None:
        self.files.append(Page(file, versions.height, int(versions["_deleted"].sum()), aside))
        self._hashes.append(versions["Id"].hash().to_numpy())
        if self.synced_at is None and versions.height:
            self.synced_at = versions.item(0, "_synced_at")

    def _repeated(self) -> dict[str, int]:
        """Per Id that came more than once: number of the last page that has it."""
        hashes = _sorted(self._hashes)
        suspects = pl.Series(np.unique(hashes[1:][hashes[1:] == hashes[:-1]]))
        last: dict[str, int] = {}
        if suspects.is_empty():
            return last
        # two Ids may have one hash, so that they are kept apart here
        for number, page in enumerate(self.files):
            ids = pl.read_parquet(page.file, columns=["Id"], glob=False)["Id"]
            last |= dict.fromkeys(ids.filter(ids.hash().is_in(suspects.implode())), number)
        return last


def _sorted(hashes: list[Hashes]) -> Hashes:
    """Hashes in order, so that equal ones are neighbours; a table of them takes ten times the memory."""
    every: Hashes = np.concatenate([np.empty(0, np.uint64), *hashes])
    every.sort()
    return every
