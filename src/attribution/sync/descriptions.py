"""Objects and their fields, as the CRM describes them to the connected user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["ID", "FieldDescription", "ObjectDescription", "ObjectSummary"]

ID: Final = r"^[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?$"
"""What the id of a record looks like."""

_NEVER_EMPTY: Final = frozenset({"Id", "CreatedDate", "SystemModstamp", "IsDeleted", "IsClosed", "IsWon"})
_DECISIVE: Final = frozenset({"CloseDate", "StageName", "ConversionRate"})
"""Figures rest on these, and history may lack them: never empty where they are described so."""
_TEXT: Final = frozenset(
    {
        "string",
        "textarea",
        "picklist",
        "multipicklist",
        "combobox",
        "email",
        "phone",
        "url",
        "id",
        "reference",
    }
)


@dataclass(frozen=True, slots=True)
class ObjectSummary:
    """One object of the list of all objects."""

    name: str
    key_prefix: str | None
    """First three characters of the ids of its records; None where they have none of their own."""
    is_queryable: bool
    label: str = ""
    """What people call it."""
    is_replicateable: bool | None = None
    """Whether what is gone from it is logged; None where the list does not tell."""


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """One field that the connected user may read."""

    name: str
    type: str
    """Salesforce's own name of the type, such as ``currency`` or ``reference``."""
    refers_to: tuple[str, ...] = ()
    """Objects a lookup may point to; several make it polymorphic."""
    is_filterable: bool = True
    is_nillable: bool = True
    """Whether a record may have no value, as the CRM says."""
    label: str = ""
    """What people call it."""
    values: tuple[str, ...] = ()
    """What can be picked, active values only; empty where anything can be written."""

    @property
    def is_text(self) -> bool:
        """Whether its values are spelled as text wherever they are spelled."""
        return self.type in _TEXT

    @property
    def is_never_empty(self) -> bool:
        """Whether every record has a value, without which nobody can say what it is a record of."""
        return self.name in _NEVER_EMPTY or (self.name in _DECISIVE and not self.is_nillable)

    @property
    def is_picked(self) -> bool:
        """Whether its values are picked from a list."""
        return self.type in ("picklist", "multipicklist")


@dataclass(frozen=True, slots=True)
class ObjectDescription:
    """One object as the connected user sees it: fields hidden by field-level security are absent."""

    name: str
    fields: Mapping[str, FieldDescription]
    is_replicateable: bool | None
    """Whether the CRM tells until when it is safe to read, and which records are gone; None: left open."""
    children: tuple[tuple[str, str], ...] = ()
    """Object and field of every lookup that points here."""
    owned: frozenset[tuple[str, str]] = frozenset()
    """Those of them whose records are deleted together with the record they point to."""

    @property
    def cursor(self) -> str | None:
        """Field by which changes are found, or None if the object can only be read whole."""
        # what can be edited is never looked for by the date of its creation
        name = "SystemModstamp" if "SystemModstamp" in self.fields else "CreatedDate"
        field = self.fields.get(name)
        return name if field is not None and field.is_filterable else None

    @property
    def has_blind_edits(self) -> bool:
        """Whether its records tell when they were changed, but cannot be looked for by that."""
        return self.cursor is None and "SystemModstamp" in self.fields

    @property
    def lookups(self) -> dict[str, str]:
        """Per lookup to one object only: that object."""
        fields = self.fields.values()
        return {field.name: field.refers_to[0] for field in fields if len(field.refers_to) == 1}
