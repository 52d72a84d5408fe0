"""Which records were erased from a mirror, so that none of them is ever written again."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attribution.errors import StoreError
from attribution.mirror.durable import replace
from attribution.readings import record_of

__all__ = ["Erased"]

_FILE: Final = "erased.json"
_SHORT: Final = 15
"""Characters that every spelling of an id begins with; three more are a checksum."""


class _OfObject(BaseModel):
    """What was erased of one object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    emptied: frozenset[str] = frozenset()
    """Ids, of 15 characters, of the records whose personal fields were emptied."""
    fields: frozenset[str] = frozenset()
    """The personal fields, empty in these records for ever."""
    removed: frozenset[str] = frozenset()
    """Salted hashes of the ids of the records that were removed altogether."""


_NOTHING: Final = _OfObject()


class Erased(BaseModel):
    """The list of erased records of one mirror; a value, which :meth:`save` puts beside the tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    salt: str = Field(default_factory=lambda: secrets.token_hex(16))
    objects: dict[str, _OfObject] = {}

    @classmethod
    def read(cls, mirror: Path) -> Erased:
        """The list that lies beside the tables; without one, nothing was erased.

        Raises
        ------
        StoreError
            If it cannot be read: without it, erased records would come back.
        """
        try:
            return cls.model_validate_json((mirror / _FILE).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except (OSError, ValidationError) as error:
            raise StoreError(
                f"{mirror / _FILE}, the list of erased records, cannot be read",
                hint="restore it from a backup: without it, they would be read again",
            ) from error

    def save(self, mirror: Path) -> None:
        """Put the list beside the tables, as a whole."""
        replace(mirror / _FILE, lambda file: file.write_text(self.model_dump_json(), "utf-8"))

    def concerns(self, object: str) -> bool:
        """Whether some row of an object may have to be changed, or left out, before it is written."""
        parent = record_of(object)
        return object in self.objects or (parent is not None and parent[0] in self.objects)

    def removed(self, object: str, ids: Iterable[str]) -> set[str]:
        """Those of the given records of an object that were removed altogether.

        Examples
        --------
        >>> erased = Erased().removing("Contact", "003000000000001AAA")
        >>> erased.removed("Contact", ["003000000000001", "003000000000002"])
        {'003000000000001'}
        """
        hashes = self._of(object).removed
        return {each for each in ids if self._hash(each) in hashes} if hashes else set()

    def n_removed(self, object: str) -> int:
        """How many records of an object were removed altogether."""
        return len(self._of(object).removed)

    def emptied(self, object: str, ids: Iterable[str]) -> set[str]:
        """Those of the given records of an object whose personal fields were emptied."""
        emptied = self._of(object).emptied
        return {each for each in ids if each[:_SHORT] in emptied} if emptied else set()

    def fields(self, object: str) -> frozenset[str]:
        """The fields of an object that stay empty in the records that were emptied."""
        return self._of(object).fields

    def emptying(self, object: str, ids: Iterable[str], fields: Iterable[str]) -> Erased:
        """The list with these records and fields of an object as well."""
        was = self._of(object)
        emptied = was.emptied | {each[:_SHORT] for each in ids}
        return self._with(object, was, {"emptied": emptied, "fields": was.fields | set(fields)})

    def removing(self, object: str, id: str) -> Erased:
        """The list with a record that was removed altogether; nothing but a hash tells of it."""
        was = self._of(object)
        emptied = was.emptied - {id[:_SHORT]}
        return self._with(object, was, {"emptied": emptied, "removed": was.removed | {self._hash(id)}})

    def applied(self, object: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of an object as they may be written: none of a removed record, and no personal value.

        A row of the history of a removed record is none either.

        Examples
        --------
        >>> rows = pl.DataFrame({"Id": ["003000000000001AAA"], "Email": ["ann@example.com"]})
        >>> Erased().emptying("Contact", rows["Id"], ["Email"]).applied("Contact", rows)["Email"][0] is None
        True
        """
        rows = self._without(object, "Id", rows)
        parent = record_of(object)
        if parent is not None and parent[1] in rows.columns:
            rows = self._without(*parent, rows)
        fields = [name for name in rows.columns if name in self.fields(object)]
        emptied = self._of(object).emptied
        if not (fields and emptied):
            return rows
        is_emptied = pl.col("Id").str.slice(0, _SHORT).is_in(sorted(emptied))
        return rows.with_columns(pl.when(~is_emptied).then(pl.col(fields)))

    def _without(self, object: str, column: str, rows: pl.DataFrame) -> pl.DataFrame:
        removed = self.removed(object, rows[column].drop_nulls().unique())
        kept = ~pl.col(column).is_in(sorted(removed)).fill_null(value=False)
        return rows.filter(kept) if removed else rows

    def _of(self, object: str) -> _OfObject:
        return self.objects.get(object, _NOTHING)

    def _with(self, object: str, was: _OfObject, update: dict[str, frozenset[str]]) -> Erased:
        objects = self.objects | {object: was.model_copy(update=update)}
        return self.model_copy(update={"objects": objects})

    def _hash(self, id: str) -> str:
        return hashlib.sha256(f"{self.salt}{id[:_SHORT]}".encode()).hexdigest()
