"""What a sync is going to read: the mapping held against what the connected user can see."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import polars as pl

from attribution import mapping as mappings
from attribution.arrays import DECIMAL, INSTANT
from attribution.derive.schema import STANDARD_TYPES
from attribution.errors import CrmError, RefusedError, UsageError, known
from attribution.mapping import Meaning, Named, split_path
from attribution.mirror.log import ObjectLog
from attribution.readings import Reading, readings
from attribution.settings import closest, together
from attribution.sync.descriptions import FieldDescription, ObjectDescription, ObjectSummary
from attribution.sync.rows import column_types
from attribution.sync.schema import Schema
from attribution.sync.source import NotShown, Source

__all__ = ["Describe", "Plan", "Planned", "described", "plan", "planned_anew", "problems", "with_followed"]

Describe = Callable[[str], ObjectDescription]

_NUMBERS: Final = frozenset({"currency", "double", "percent", "int", "long"})
_INSTANTS: Final = frozenset({"date", "datetime"})
_SPELLED: Final[Mapping[pl.DataType, str]] = {
    pl.Boolean(): "boolean",
    pl.Date(): "date",
    INSTANT: "datetime",
    pl.Int64(): "int",
    DECIMAL: "double",
}
"""A Salesforce type for each type of the mirror, whose texts may have been of several."""
_ODD: Final = "run the sync again; if it stays so, ask Salesforce about the describe call of this object"
_SHAPELESS: Final = frozenset({"address", "location", "base64", "complexvalue"})
_MEANT: Final[Mapping[Meaning, str]] = {
    "amount": "a number",
    "text": "text",
    "value": "a plain value",
    "instant": "a date or an instant",
    "partner": "a lookup to Account, or a path that ends in one",
    "account": "a lookup to Account, or a path that ends in one",
    "opportunity": "a lookup to Opportunity, or a path that ends in one",
    "lead": "a lookup to Lead, or a path that ends in one",
    "contact": "a lookup to Contact, or a path that ends in one",
}
_POINTS_TO: Final[Mapping[Meaning, str]] = {
    "partner": "Account",
    "account": "Account",
    "opportunity": "Opportunity",
    "lead": "Lead",
    "contact": "Contact",
}


@dataclass(frozen=True, slots=True)
class Planned:
    """What will be read of one object."""

    reading: Reading
    description: ObjectDescription
    fields: tuple[str, ...]

    @property
    def hidden(self) -> tuple[str, ...]:
        """Fields that would be read, but do not exist or are hidden."""
        return tuple(name for name in self.reading.fields if name not in self.description.fields)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be read, checked against what the connected user can see; made before anything is written."""

    started_at: datetime
    calls_before: int
    """What the source had sent before this sync."""
    objects: Mapping[str, ObjectSummary]
    """Every object of the organization."""
    readable: Mapping[str, Planned]
    """Per object: what will be read."""
    unavailable: Mapping[str, str]
    """Per optional object that cannot be read: why."""
    schema: Schema
    """What is known of the objects; to be saved once there is a store."""
    is_full: bool = False
    """Whether every record is read, whether it has changed or not."""
    reconciles: bool = False
    """Whether every id is compared, of every object."""
    max_vanished_percent: float = 10.0
    """Part of the live records of an object above which nothing that vanished is touched."""


def plan(
    source: Source,
    mapping: mappings.Mapping,
    *,
    only: Sequence[str] | None = None,
    calls_before: int,
    schema: Schema,
) -> Plan:
    """Find out what can be read.

    Parameters
    ----------
    schema
        What is known from earlier syncs; it learns what is new.

    Raises
    ------
    UsageError
        If the mapping names what does not exist or is of the wrong kind, or if a required object, or a
        needed field of it, is not visible to the connected user.
    """
    objects = source.objects()
    describe = functools.cache(lambda name: source.describe(name, schema))
    faults = list(problems(mapping, objects, describe))
    if faults:
        # a permission may have been granted, and the date of the object not moved
        describe = functools.cache(lambda name: source.describe(name, schema, anew=True))
        faults = list(problems(mapping, objects, describe))
    if faults:
        raise together(faults)
    wanted = with_followed(readings(mapping), objects, describe)
    if only is not None:
        unknown = sorted(set(only) - set(wanted))
        if unknown:
            raise UsageError(f"no object {known(unknown)} is read", hint=f"objects: {known(wanted, 40)}")
        wanted = {name: reading for name, reading in wanted.items() if name in only}
    readable: dict[str, Planned] = {}
    unavailable: dict[str, str] = {}
    for name, reading in wanted.items():
        if not _is_visible(name, objects):
            if reading.required:
                raise UsageError(
                    f"object {name} is not visible to the connected user",
                    hint=f"Read access for object {name}: grant it in a permission set (Object Permissions)",
                )
            unavailable[name] = f"{name} is not in this organization, or hidden from the connected user"
            continue
        description = describe(name)
        if _is_doubtful(reading, description, objects[name]):
            description = source.describe(name, schema, anew=True)
        hidden = [field for field in reading.needed if field not in description.fields]
        odd = _odd(reading, description)
        if odd and reading.required:
            raise CrmError(odd, hint=_ODD)
        if odd:
            unavailable[name] = odd
            continue
        if hidden and reading.required:
            raise UsageError(_hidden(name, hidden), hint=_grant(name, hidden))
        if hidden:
            unavailable[name] = f"{name} is not read: field {', '.join(hidden)} is hidden or does not exist"
            continue
        readable[name] = _planned(reading, description, objects[name])
    return Plan(source.server_time, calls_before, objects, readable, unavailable, schema)


def planned_anew(source: Source, plan: Plan, planned: Planned, refusal: NotShown) -> Planned:
    """What can be read of an object now that something of it is not shown any more; asked once.

    Raises
    ------
    RefusedError
        If a needed field is hidden, or nothing has changed: then ``refusal`` itself.
    """
    name = planned.reading.object
    description = source.describe(name, plan.schema, anew=True)
    hidden = [field for field in planned.reading.needed if field not in description.fields]
    if hidden:
        raise RefusedError(f"{_hidden(name, hidden)}; {_grant(name, hidden)}") from refusal
    if odd := _odd(planned.reading, description):
        raise CrmError(odd, hint=_ODD) from refusal
    again = _planned(planned.reading, description, plan.objects[name])
    if again.fields == planned.fields:
        raise refusal
    return again


def _is_doubtful(reading: Reading, description: ObjectDescription, summary: ObjectSummary) -> bool:
    """Whether to have an object described once more: something lacks, or contradicts what is known."""
    return (
        any(name not in description.fields for name in reading.needed)
        or _odd(reading, description) is not None
        or description.has_blind_edits
        or (summary.is_replicateable is True and not description.is_replicateable)
    )


def _odd(reading: Reading, description: ObjectDescription) -> str | None:
    """What is wrong where a standard field is not of the type that it has in every organization."""
    own = _standard().get(reading.object)
    names = () if own is None else own.fields
    there = tuple(name for name in names if name in description.fields and name in STANDARD_TYPES)
    odd = [
        f"{name} ({description.fields[name].type})"
        for name, kind in column_types(description, there).items()
        # a whole number can be read from one with decimals, and not the other way round
        if kind != STANDARD_TYPES[name] and (STANDARD_TYPES[name], kind) != (pl.Int64, DECIMAL)
    ]
    return f"Salesforce describes {', '.join(odd)} of {reading.object} as what it cannot be" if odd else None


@functools.cache
def _standard() -> dict[str, Reading]:
    return readings(mappings.Mapping())


def _planned(reading: Reading, description: ObjectDescription, summary: ObjectSummary) -> Planned:
    if description.is_replicateable is None:
        description = replace(description, is_replicateable=summary.is_replicateable)
    fields = tuple(field for field in reading.fields if field in description.fields)
    return Planned(reading, description, fields)


def _hidden(name: str, fields: Sequence[str]) -> str:
    return f"field {', '.join(fields)} of {name} does not exist or is hidden from the connected user"


def _grant(name: str, fields: Sequence[str]) -> str:
    named = f"field {', '.join(fields)} of {name}"
    return f"Read access for {named}: grant it in a permission set (Field Permissions)"


def with_followed(
    wanted: Mapping[str, Reading], objects: Mapping[str, ObjectSummary], describe: Describe
) -> dict[str, Reading]:
    """The readings, and what is read behind the lookups that they follow, however far the paths go."""
    found = dict(wanted)
    left = [(reading.object, field, rest) for reading in wanted.values() for field, rest in reading.follows]
    while left:
        name, field, rest = left.pop()
        target = describe(name).lookups.get(field) if _is_visible(name, objects) else None
        if target is None:
            continue
        head, further = split_path(rest)
        there = found.get(target) or Reading(
            target, needed=("Id",), wanted=("CreatedDate", "SystemModstamp", "IsDeleted")
        )
        needed = tuple(dict.fromkeys((*there.needed, head)))
        found[target] = replace(
            there,
            needed=needed,
            wanted=tuple(each for each in there.wanted if each not in needed),
            required=True,
        )
        if further is not None:
            left.append((target, head, further))
    return found


def problems(
    mapping: mappings.Mapping, objects: Mapping[str, ObjectSummary], describe: Describe
) -> Iterator[UsageError]:
    """Yield what is wrong with what a mapping names: no such object or field, or one of another kind."""
    missing = set()
    for section in ("touchpoints", "lookups", "costs"):
        for position, each in enumerate(getattr(mapping, section)):
            if not _is_visible(each.object, objects):
                missing.add(each.object)
                yield _no_object(each.object, mapping.where((section, position, "object")), objects)
    for named in mapping.named():
        # a hidden Opportunity stops the sync anyway
        if named.object in missing or not _is_visible(named.object, objects):
            continue
        problem = _problem(named, mapping.where(named.place), objects, describe)
        if problem is not None:
            yield problem


def described(log: ObjectLog) -> ObjectDescription:
    """A mirrored object, of which the types of its columns tell, and what its lookups may point to."""
    fields = {}
    for name, kind in log.fields.items():
        refers_to = log.coverage.refers_to.get(name, ())
        spelled = "id" if name == "Id" else "reference" if refers_to else _SPELLED.get(kind, "string")
        if name in log.coverage.picklists:
            spelled = "picklist"
        fields[name] = FieldDescription(name, spelled, refers_to)
    return ObjectDescription(log.object, fields, is_replicateable=False)


def _is_visible(name: str, objects: Mapping[str, ObjectSummary]) -> bool:
    summary = objects.get(name)
    return summary is not None and summary.is_queryable


def _no_object(name: str, where: str, objects: Mapping[str, ObjectSummary]) -> UsageError:
    return UsageError(
        f"{where}: there is no object {name}; there is: {closest(name, objects)}",
        hint="or it is hidden from the connected user: grant Read in a permission set (Object Permissions)",
    )


def _problem(
    named: Named, where: str, objects: Mapping[str, ObjectSummary], describe: Describe
) -> UsageError | None:
    owner, path = named.object, named.path
    while True:
        description = describe(owner)
        name, rest = split_path(path)
        field = description.fields.get(name)
        if field is None:
            return _no_field(where, description, name, path)
        if rest is None:
            break
        if len(field.refers_to) != 1:
            kind = f"points to {' or '.join(field.refers_to)}" if field.refers_to else f"is a {field.type}"
            return UsageError(
                f"{where}: {path} cannot be followed: {name} of {owner} {kind}, not to one object",
                hint="name a field of the object itself, or a path over lookups to one object each",
            )
        owner, path = field.refers_to[0], rest
        if not _is_visible(owner, objects):
            return _no_object(owner, where, objects)
    if _suits(named, owner, field):
        return None
    return _wrong_kind(named, where, description, field)


def _no_field(where: str, description: ObjectDescription, name: str, path: str) -> UsageError:
    head = path.partition(".")[0]
    if head in description.fields:
        relation = f"{head[:-3]}__r" if head.endswith("__c") else head.removesuffix("Id")
        return UsageError(
            f"{where}: {path} is no path: {head} of {description.name} is a field",
            hint=f"a path goes over the relationship: {relation}.{path.partition('.')[2]}",
        )
    return UsageError(
        f"{where}: {description.name} has no field {name}; it has: {closest(name, description.fields)}",
        hint="or it is hidden from the connected user: grant Read in a permission set (Field Permissions)",
    )


def _suits(named: Named, object: str, field: FieldDescription) -> bool:
    points_to = _POINTS_TO.get(named.meaning)
    if points_to is not None:
        is_text = field.type in ("string", "picklist", "textarea", "combobox")
        targets = (object,) if field.type == "id" else field.refers_to
        return points_to in targets or (named.by_name and is_text)
    match named.meaning:
        case "amount":
            return field.type in _NUMBERS
        case "instant":
            return field.type in _INSTANTS
        case "text":
            return field.type not in _NUMBERS | _INSTANTS | _SHAPELESS
        case _:
            return field.type not in _SHAPELESS


def _wrong_kind(
    named: Named, where: str, description: ObjectDescription, field: FieldDescription
) -> UsageError:
    key = next(str(part) for part in reversed(named.place) if not isinstance(part, int))
    if key in ("field", "at") and named.place[0] == "touchpoints":
        key = f"approval.{key}"
    elif key == "field":
        key = "the field of a lookup" if named.place[0] == "lookups" else key
    kind = f"a lookup to {' or '.join(field.refers_to)}" if field.refers_to else f"of type {field.type}"
    suitable = [each.name for each in description.fields.values() if _suits(named, description.name, each)]
    hint = f"{description.name} has: {closest(field.name, suitable)}" if suitable else None
    if named.meaning in ("partner", "account") and field.refers_to == ("Contact",):
        relation = f"{field.name[:-3]}__r" if field.name.endswith("__c") else field.name.removesuffix("Id")
        hint = f"the contact's account is {relation}.AccountId"
    return UsageError(
        f"{where}: {field.name} of {description.name} is {kind}, but {key} must be {_MEANT[named.meaning]}",
        hint=hint,
    )
