"""What users and Salesforce itself do to records: insert, update, delete, undelete, purge, merge.

Each edit stamps the rows with the org's clock and does what Salesforce does on the side: stage history,
fields that follow the stage, deletion of children, the log behind getDeleted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from attribution.errors import UsageError
from attribution.readings import history_of
from attribution.testing.objects import TEXT, Field, SObject
from attribution.testing.records import Row, Unit, encode

if TYPE_CHECKING:
    from attribution.testing.state import State

__all__ = ["Edits", "Transaction"]

_HISTORY_FIELDS = ("StageName", "Amount", "CloseDate", "Probability")
_CHUNK = 50_000


class Edits(ABC):
    """The edits, on whatever unit of writing the class provides."""

    _state: State

    @abstractmethod
    def _unit(self) -> AbstractContextManager[Unit]:
        """Provide the unit that the edit writes to."""

    def insert(self, object: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Insert records and return their 18-character ids.

        Parameters
        ----------
        object
            API name, such as ``"Account"``.
        rows
            Field name -> Python value: aware ``datetime``, ``date``, ``Decimal``, ``int``, ``bool``, ``str``
            or None. ``Id``, ``CreatedDate``, ``SystemModstamp`` and ``IsDeleted`` may be given, to load
            history; by default a record is created now by the org's own user.

        Raises
        ------
        UsageError
            If the object or a field does not exist or a value is not of its type.
        """
        state = self._state
        obj = state.object(object)
        with self._unit() as unit:
            return [self._insert_one(unit, obj, values) for values in rows]

    def _insert_one(self, unit: Unit, obj: SObject, values: Mapping[str, Any]) -> str:
        row = self._state.encoded(obj, values)
        self._state.fill(obj, row)
        if unit.get(obj, row["Id"]) is not None:
            raise UsageError(f"there is a {obj.name} {row['Id']} already")
        self._put(unit, obj, row)
        if row.get("IsDeleted"):
            unit.log(obj, row["Id"], row.get("SystemModstamp") or self._state.stamp(), row["Id"])
        return str(row["Id"])

    def _put(self, unit: Unit, obj: SObject, row: Row) -> None:
        self._state.refuse_if_locked(unit, obj, row["Id"])
        unit.put(obj, row)

    def update(self, object: str, id: str, *, stamp: bool = True, **changes: Any) -> None:
        """Change fields of one record.

        Parameters
        ----------
        stamp
            Whether SystemModstamp moves. It does not when the value of a formula or roll-up changes.
        """
        state = self._state
        obj = state.object(object)
        with self._unit() as unit:
            row = self._existing(unit, obj, id)
            old = dict(row)
            row |= state.encoded(obj, changes)
            if stamp:
                self._touch(obj, row, user=True, given=changes)
            if obj.name == "Opportunity":
                state.follow_stage(row, old)
            self._put(unit, obj, row)
            if obj.name == "Opportunity":
                self._write_history(unit, row, old)
            self._write_field_history(unit, obj, row, old)

    def _existing(self, unit: Unit, obj: SObject, identity: str) -> Row:
        row = unit.get(obj, str(encode(obj.by_name["id"], identity)))
        if row is None:
            raise UsageError(f"there is no {obj.name} {identity}")
        return row

    def _touch(self, obj: SObject, row: Row, *, user: bool, given: Mapping[str, Any] | None = None) -> None:
        now = self._state.stamp()
        changes: Row = {"SystemModstamp": now}
        if user:
            changes |= {"LastModifiedDate": now, "LastModifiedById": self._state.user_id}
        for name, value in changes.items():
            if obj.has(name) and name not in (given or {}):
                row[name] = value

    def _write_history(self, unit: Unit, row: Row, old: Row) -> None:
        state = self._state
        changed = [name for name in _HISTORY_FIELDS if row.get(name) != old.get(name)]
        if not changed or not state.writes_history or "OpportunityHistory" not in state.schema:
            return
        history = state.object("OpportunityHistory")
        entry: Row = {
            name: row.get(name) for name in (*_HISTORY_FIELDS, "ForecastCategory", "ExpectedRevenue")
        }
        entry |= {
            "OpportunityId": row["Id"],
            "PrevAmount": old.get("Amount"),
            "PrevCloseDate": old.get("CloseDate"),
        }
        if history.has("CurrencyIsoCode"):
            entry["CurrencyIsoCode"] = row.get("CurrencyIsoCode")
        state.fill(history, entry)
        unit.put(history, entry)

    def _write_field_history(self, unit: Unit, obj: SObject, row: Row, old: Row) -> None:
        state = self._state
        for name in sorted(state.tracked.get(obj.name, ())):
            if row.get(name) == old.get(name):
                continue
            history = state.object(history_of(obj.name))
            parent = "ParentId" if obj.name.endswith("__c") else f"{obj.name}Id"
            entry: Row = {parent: row["Id"], "Field": name, "DataType": "Text"}
            entry |= {
                column: None if value is None else str(value)
                for column, value in (("OldValue", old.get(name)), ("NewValue", row.get(name)))
            }
            state.fill(history, entry)
            unit.put(history, entry)

    def delete(self, object: str, id: str) -> None:
        """Delete a record and the children that go with it.

        It goes into the recycle bin (``IsDeleted``), or vanishes if its object has none; getDeleted lists it.
        """
        obj = self._state.object(object)
        with self._unit() as unit:
            row = self._existing(unit, obj, id)
            self._delete(unit, obj, row, root=row["Id"])

    def _delete(self, unit: Unit, obj: SObject, row: Row, root: str, **also: Any) -> None:
        if row.get("IsDeleted"):
            return
        now = self._state.stamp()
        self._state.refuse_if_locked(unit, obj, row["Id"])
        if obj.recycle_bin and obj.has("IsDeleted"):
            row |= {"IsDeleted": 1, **also}
            self._touch(obj, row, user=False)
            unit.put(obj, row)
        else:
            unit.remove(obj, row["Id"])
        unit.log(obj, row["Id"], now, root)
        for child, field in self._state.lookups_to(obj):
            if field.cascade_delete:
                for identity in unit.find(child, field.name, row["Id"]):
                    found = unit.get(child, identity)
                    if found is not None:
                        self._delete(unit, child, found, root)

    def undelete(self, object: str, id: str) -> None:
        """Take a record out of the recycle bin, with what was deleted along with it."""
        state = self._state
        obj = state.object(object)
        with self._unit() as unit:
            row = self._existing(unit, obj, id)
            if not row.get("IsDeleted"):
                raise UsageError(f"{obj.name} {id} is not deleted")
            for name, identity in {*unit.taken_along(row["Id"]), (obj.name, row["Id"])}:
                owner = state.object(name)
                found = unit.get(owner, identity)
                unit.unlog(owner, identity)
                if found is not None:
                    found["IsDeleted"] = 0
                    self._touch(owner, found, user=False)
                    self._put(unit, owner, found)

    def purge(self, object: str, id: str) -> None:
        """Remove a record for good, and what was deleted along with it.

        For fifteen days getDeleted lists them; nothing else shows them.
        """
        obj = self._state.object(object)
        with self._unit() as unit:
            row = self._existing(unit, obj, id)
            if not row.get("IsDeleted"):
                self._delete(unit, obj, row, root=row["Id"])
            if unit.deletion(obj, row["Id"]) is None:
                unit.log(obj, row["Id"], row.get("SystemModstamp") or self._state.stamp(), row["Id"])
            for name, identity in {*unit.taken_along(row["Id"]), (obj.name, row["Id"])}:
                unit.remove(self._state.object(name), identity)

    def merge(self, object: str, winner: str, loser: str) -> None:
        """Merge two records.

        What points to the loser then points to the winner; the loser is deleted and names its master.
        """
        state = self._state
        obj = state.object(object)
        if not obj.mergeable:
            raise UsageError(f"{obj.name} records cannot be merged")
        with self._unit() as unit:
            kept, lost = self._existing(unit, obj, winner), self._existing(unit, obj, loser)
            for child, field in state.lookups_to(obj):
                for identity in unit.find(child, field.name, lost["Id"]):
                    found = unit.get(child, identity)
                    if found is not None and field.name != "MasterRecordId":
                        found[field.name] = kept["Id"]
                        self._touch(child, found, user=False)
                        self._put(unit, child, found)
            self._delete(unit, obj, lost, root=lost["Id"], MasterRecordId=kept["Id"])
            # a child of its own kind, such as a subsidiary, may be the winner itself
            kept = self._existing(unit, obj, winner)
            self._touch(obj, kept, user=True)
            self._put(unit, obj, kept)

    def load(self, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, list[str]]:
        """Load many records at once, fast, and return their ids by object.

        As ``insert``, but visible as it goes, and the rows must not be there yet under their Id.
        """
        return {name: self._load(name, rows) for name, rows in tables.items()}

    def _load(self, name: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        obj = self._state.object(name)
        ids: list[str] = []
        chunk: list[Mapping[str, Any]] = []
        for row in rows:
            chunk.append(row)
            if len(chunk) == _CHUNK:
                ids += self._load_chunk(obj, chunk)
                chunk = []
        return ids + (self._load_chunk(obj, chunk) if chunk else [])

    def _load_chunk(self, obj: SObject, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        state = self._state
        names: dict[str, None] = {}
        for row in rows:
            if row.keys() - names.keys():
                names |= dict.fromkeys(row)
        columns: dict[str, list[Any]] = {}
        for name in names:
            field = state.field(obj, name)
            columns[field.name] = _encoded_column(field, [row.get(name) for row in rows])
        state.fill_columns(obj, columns, len(rows))
        with state.records.writing() as connection:
            state.records.upsert(obj, list(columns), zip(*columns.values(), strict=True))
            if any(columns.get("IsDeleted", ())):
                stamps = columns.get("SystemModstamp") or columns["CreatedDate"]
                log = zip(columns["Id"], stamps, columns["IsDeleted"], strict=True)
                connection.executemany(
                    "INSERT OR REPLACE INTO _deleted VALUES (?, ?, ?, ?)",
                    ((obj.name, identity, at, identity) for identity, at, gone in log if gone),
                )
        return columns["Id"]


def _encoded_column(field: Field, values: list[Any]) -> list[Any]:
    if field.type in TEXT and {type(value) for value in values} <= {str, type(None)}:
        return [value or None for value in values]
    # a missing boolean stays missing: it may follow from other fields
    return [None if value is None else encode(field, value) for value in values]


class Transaction(Edits):
    """Edits that are stamped when written and become visible at ``commit``.

    While it is open, getUpdated and getDeleted cover time only up to its start, and its rows are locked.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._writes = Unit(state.records, state.now)
        state.open.append(self._writes)

    @contextmanager
    def _unit(self) -> Iterator[Unit]:
        if self._writes not in self._state.open:
            raise UsageError("this transaction has ended")
        yield self._writes

    def commit(self) -> None:
        """Make the edits visible."""
        self._writes.flush()
        self._state.open.remove(self._writes)
        self._state.forget_stages()

    def roll_back(self) -> None:
        """Forget the edits."""
        self._state.open.remove(self._writes)

    def load(self, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, list[str]]:
        """Insert many records at once."""
        return {name: self.insert(name, rows) for name, rows in tables.items()}
