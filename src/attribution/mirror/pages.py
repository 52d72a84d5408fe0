"""Records as they were read, kept in files, so that a large read needs no more memory than a small one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

__all__ = ["Pages"]

_BATCH_ROWS: Final = 50_000
_BATCH_BYTES: Final = 1 << 25


class Pages:
    """The records of one read: added page by page, given back in batches, each record once.

    In memory are a batch, and eight bytes per record that tell which of them came twice.

    Parameters
    ----------
    folder
        Where the pages are kept; what lies there is removed.
    schema
        Type of every column; ``Id`` is one of them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pages = Pages(Path(folder) / "pages", {"Id": pl.String(), "Rank": pl.Int64()})
    ...     pages.add(pl.DataFrame({"Id": ["a", "b"], "Rank": [1, 2]}))
    ...     pages.add(pl.DataFrame({"Id": ["a"], "Rank": [3]}))
    ...     [batch.rows() for batch in pages]
    [[('b', 2), ('a', 3)]]
    """

    def __init__(self, folder: Path, schema: Mapping[str, pl.DataType]) -> None:
        self.schema = dict(schema)
        self._folder = folder
        self._files: list[Path] = []
        self._hashes: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = []
        self.clear()

    def add(self, page: pl.DataFrame) -> None:
        """Keep one more page, with the columns of the schema."""
        if page.is_empty():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{len(self._files):06}.parquet"
        page.select(list(self.schema)).write_parquet(file, compression="lz4", statistics=False)
        self._files.append(file)
        self._hashes.append(page["Id"].hash().to_numpy())

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Batches of records; of one that came twice, the last."""
        last = self._repeated()
        batch: list[pl.DataFrame] = []
        rows = size = 0
        for number, file in enumerate(self._files):
            page = pl.read_parquet(file, glob=False)
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

    def scan(self) -> pl.LazyFrame:
        """Every record, as often as it came, in the order of coming."""
        if not self._files:
            return pl.LazyFrame(schema=self.schema)
        return pl.scan_parquet(self._files, glob=False, hive_partitioning=False)

    def clear(self) -> None:
        """Forget every page."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._files.clear()
        self._hashes.clear()

    def _repeated(self) -> dict[str, int]:
        """Per Id that came more than once: number of the last page that has it."""
        if not self._files:
            return {}
        hashes = np.concatenate(self._hashes)
        hashes.sort()
        suspects = pl.Series(np.unique(hashes[1:][hashes[1:] == hashes[:-1]]))
        last: dict[str, int] = {}
        if suspects.is_empty():
            return last
        # two Ids may have one hash, so that they are kept apart here
        for number, file in enumerate(self._files):
            ids = pl.read_parquet(file, columns=["Id"], glob=False)["Id"]
            last |= dict.fromkeys(ids.filter(ids.hash().is_in(suspects.implode())), number)
        return last
