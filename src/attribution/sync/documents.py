"""The documents of the REST API that a sync reads, checked before they are believed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from attribution.sync.descriptions import ID, FieldDescription, ObjectDescription
from attribution.sync.failures import Garbled

__all__ = ["Covered", "Deleted", "DeletedRecords", "Global", "Object", "Page", "described", "validated"]

M = TypeVar("M", bound=BaseModel)

_DATED: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T")
_SYSTEM: Final = {"Id": "id", "IsDeleted": "boolean", "CreatedDate": "datetime", "SystemModstamp": "datetime"}
"""Fields that are of one type in every object."""


def _in_utc(told: datetime) -> datetime:
    try:
        return told.astimezone(UTC)
    except OverflowError:
        raise ValueError("an instant before or after all years") from None


def _spelled(told: Any) -> Any:
    # pydantic takes a number for seconds since 1970
    if not isinstance(told, str) or _DATED.match(told) is None:
        raise ValueError("no instant")
    return told


def _of_one_length(ids: list[str]) -> list[str]:
    if len({len(each) for each in ids}) > 1:
        raise ValueError("ids of two lengths")
    return ids


RecordId = Annotated[str, Field(pattern=ID)]
Instant = Annotated[AwareDatetime, BeforeValidator(_spelled), AfterValidator(_in_utc)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


class _Summary(_Document):
    name: str
    key_prefix: Annotated[str | None, Field(alias="keyPrefix")] = None
    queryable: bool
    replicateable: bool | None = None
    label: str = ""


class Global(_Document):
    """The list of all objects."""

    sobjects: list[_Summary]


class _Choice(_Document):
    value: str | None = None
    active: bool = True


class _Child(_Document):
    object: Annotated[str, Field(alias="childSObject")]
    field: str
    cascades: Annotated[bool, Field(alias="cascadeDelete")] = False


class _Field(_Document):
    name: str
    type: str
    refers_to: Annotated[tuple[str, ...] | None, Field(alias="referenceTo")] = None
    filterable: bool = True
    nillable: bool = True
    label: str = ""
    values: Annotated[tuple[_Choice, ...] | None, Field(alias="picklistValues")] = None


class Object(_Document):
    """One object as describe tells it."""

    name: str
    replicateable: bool | None = None
    fields: list[_Field]
    children: Annotated[tuple[_Child, ...] | None, Field(alias="childRelationships")] = None

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        types = {field.name: field.type for field in self.fields}
        if len(types) < len(self.fields):
            raise ValueError("a field that comes twice")
        if any(types.get(name, kind) != kind for name, kind in _SYSTEM.items()):
            raise ValueError("a system field of another type")
        return self


class Page(_Document):
    """Some records of a query."""

    total: Annotated[int, Field(alias="totalSize", ge=0)]
    done: bool
    following: Annotated[str | None, Field(alias="nextRecordsUrl", pattern="^/services/data/")] = None
    records: list[dict[str, Any]]


class Covered(_Document):
    """Of getUpdated: which records changed, and until when every change is visible."""

    ids: Annotated[list[RecordId], AfterValidator(_of_one_length)]
    until: Annotated[Instant, Field(alias="latestDateCovered")]


class Deleted(_Document):
    """One deleted record."""

    id: RecordId
    at: Annotated[Instant, Field(alias="deletedDate")]


class DeletedRecords(_Document):
    """Of getDeleted: what was deleted, and for which span that is told."""

    records: Annotated[list[Deleted], Field(alias="deletedRecords")]
    since: Annotated[Instant | None, Field(alias="earliestDateAvailable")] = None
    until: Annotated[Instant | None, Field(alias="latestDateCovered")] = None

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        _of_one_length([each.id for each in self.records])
        return self


def described(found: Object) -> ObjectDescription:
    """What is read of the description of an object."""
    fields = {field.name: _field(field) for field in found.fields}
    children = tuple((child.object, child.field) for child in found.children or ())
    owned = frozenset((child.object, child.field) for child in found.children or () if child.cascades)
    return ObjectDescription(found.name, fields, found.replicateable, children, owned)


def _field(found: _Field) -> FieldDescription:
    values = tuple(choice.value for choice in found.values or () if choice.active and choice.value)
    return FieldDescription(
        found.name,
        found.type,
        found.refers_to or (),
        found.filterable,
        found.nillable,
        found.label,
        values,
    )


def validated(document: type[M], found: Any) -> M:
    """The document that was asked for, or :class:`Garbled`."""
    try:
        return document.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f" at {where}" if where else f": {first['msg'].removeprefix('Value error, ')}"
        raise Garbled(f"unexpected document{what}") from None
