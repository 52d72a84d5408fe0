"""Which fields of a record tell of a person: what an erasure empties."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from attribution.mapping import Mapping, split_path
from attribution.readings import DECISIONS, OVERLAPS, readings
from attribution.sync.descriptions import FieldDescription, ObjectDescription

__all__ = ["personal_fields"]

_PERSONS: Final = frozenset({"Contact", "Lead", "User", "Individual", "CampaignMember"})
"""Objects whose records are persons: all that a mapping adds to them is personal."""
_SYSTEM: Final = frozenset({"Id", "CreatedById", "CreatedDate", "SystemModstamp", "IsDeleted", "Field"})
_OF_A_PERSON: Final = frozenset({"Name", "Website"})
"""What is read by default and tells of a person all the same; an account may be one."""
_LINKS: Final = {
    OVERLAPS: frozenset({"Partner", "Account"}),
    DECISIONS: frozenset({"OpportunityId", "PartnerId", "Claim", "DecidedBy"}),
}
"""Ids in the tables that no describe call tells of."""
_NO_WORDS: Final = frozenset(
    {"boolean", "date", "datetime", "time", "int", "long", "double", "currency", "percent"}
)


def personal_fields(
    description: ObjectDescription, mapping: Mapping, target: Callable[[str, str], str | None]
) -> tuple[str, ...]:
    """The fields of an object that are emptied where a record is erased.

    Of a person, everything that the mapping adds to what is read by default. Of any other record, names,
    web addresses and other free text. Never an id or a lookup, nor what the mapping reads as a word of its
    own: the amount, an instant, the state of an approval, the program, the deal type, the partner.

    Parameters
    ----------
    description
        The object, with the fields that are or will be mirrored.
    target
        The object that a lookup of an object points to; None if to none, or to several.

    Examples
    --------
    >>> from attribution.sync.descriptions import FieldDescription, ObjectDescription
    >>> types = {"Id": "id", "AccountId": "reference", "Email": "email", "Birthdate": "date"}
    >>> fields = {name: FieldDescription(name, kind) for name, kind in types.items()}
    >>> contact = ObjectDescription("Contact", fields, is_replicateable=True)
    >>> personal_fields(contact, Mapping(), lambda object, lookup: None)
    ('Birthdate', 'Email')
    """
    by_default = readings(Mapping()).get(description.name)
    kept = {*_SYSTEM, *_spoken(mapping, description.name, target)}
    kept |= {name for name in (by_default.fields if by_default else ()) if name not in _OF_A_PERSON}
    kept |= _LINKS.get(description.name, frozenset())
    others = (field for name, field in description.fields.items() if name not in kept)
    return tuple(sorted(field.name for field in others if _is_personal(description.name, field)))


def _is_personal(object: str, field: FieldDescription) -> bool:
    if field.type in ("id", "reference"):
        return False
    # the fields of a person account, which Salesforce keeps with the other accounts
    of_person = object == "Account" and (field.name.startswith("Person") or field.name.endswith("__pc"))
    return object in _PERSONS or of_person or not (field.is_picked or field.type in _NO_WORDS)


def _spoken(mapping: Mapping, object: str, target: Callable[[str, str], str | None]) -> Iterator[str]:
    """The fields of an object whose values the mapping understands, wherever a path to them begins."""
    for named in mapping.named():
        if named.meaning == "value" or named.place[0] == "opportunity" or "only" in named.place:
            continue
        owner: str | None = named.object
        field, rest = split_path(named.path)
        while rest is not None and owner is not None:
            owner = target(owner, field)
            field, rest = split_path(rest)
        if owner == object:
            yield field
