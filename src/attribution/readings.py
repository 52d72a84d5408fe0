"""What is read of the CRM under a mapping: which objects, which fields, and how badly they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from attribution.mapping import Cost, Mapping, Touches, split_path

__all__ = ["DECISIONS", "OVERLAPS", "Reading", "history_of", "readings", "record_of"]


DECISIONS = "ClaimDecision"
"""Where decisions about claims lie in the mirror; no object of Salesforce's has this name either."""
OVERLAPS = "Overlap"
"""Where account overlaps imported from a file lie in the mirror; no object of Salesforce's has this name."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of one object: which fields, and which of them the numbers cannot do without."""

    object: str
    needed: tuple[str, ...]
    """Fields without which the numbers would be wrong: missing or hidden ones are an error."""
    wanted: tuple[str, ...] = ()
    """Fields that are read where the org has them."""
    required: bool = False
    """Whether the sync stops when the org does not show the object at all."""
    where: str | None = None
    """SOQL condition that the records must meet; None: all are read."""
    follows: tuple[tuple[str, str], ...] = ()
    """Lookups to follow, each with the field, or path, to read of the object that it points to."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Needed, then wanted fields, each once."""
        return tuple(dict.fromkeys(self.needed + self.wanted))


def readings(mapping: Mapping) -> dict[str, Reading]:
    """Objects and fields to mirror, by object, in the order in which they are read.

    Examples
    --------
    >>> readings(Mapping(amount_field="ACV__c"))["Opportunity"].needed[3]
    'ACV__c'
    """
    found = {reading.object: reading for reading in (*_standard(mapping), *_histories(mapping))}
    for mapped in (*map(_mapped, mapping.touchpoints), *map(_spent, mapping.costs)):
        there = found.get(mapped.object)
        found[mapped.object] = mapped if there is None else _merged(there, mapped)
    return found


def _fields(paths: Iterable[str | None]) -> tuple[str, ...]:
    """The object's own fields that these paths begin with."""
    return tuple(dict.fromkeys(split_path(path)[0] for path in paths if path))


def _follows(paths: Iterable[str | None]) -> tuple[tuple[str, str], ...]:
    """The lookups that these paths go over, with what is read behind each."""
    split = (split_path(path) for path in paths if path)
    return tuple(dict.fromkeys((field, rest) for field, rest in split if rest))


def _merged(one: Reading, other: Reading) -> Reading:
    """What is read of an object that two parts of a mapping need."""
    needed = tuple(dict.fromkeys(one.needed + other.needed))
    return Reading(
        one.object,
        needed,
        tuple(name for name in one.fields + other.fields if name not in needed),
        one.required or other.required,
        one.where,
        tuple(dict.fromkeys(one.follows + other.follows)),
    )


def _mapped(touches: Touches) -> Reading:
    """A mapped object: without what the mapping names, its touchpoints cannot be told."""
    approval = touches.approval
    paths = (
        *(touches.partner, touches.opportunity, touches.lead, touches.contact, touches.account),
        *(touches.occurred_at, touches.program, touches.expires_on),
        *((approval.field, approval.at) if approval else ()),
    )
    return Reading(
        touches.object,
        needed=("Id", *_fields(paths), *_SYSTEM),
        wanted=("CreatedById", "IsDeleted"),
        required=True,
        follows=_follows(paths),
    )


def _spent(cost: Cost) -> Reading:
    """A mapped object that holds costs."""
    paths = (cost.partner, cost.amount, cost.incurred_at, *(condition.field for condition in cost.only))
    return Reading(
        cost.object,
        needed=("Id", *_fields(paths), *_SYSTEM),
        wanted=("CurrencyIsoCode", "IsDeleted"),
        required=True,
        follows=_follows(paths),
    )


def _histories(mapping: Mapping) -> Iterator[Reading]:
    """Field histories, of the mapped fields alone: their values may be personal."""
    tracked = [split_path(lookup.field)[0] for lookup in mapping.lookups_of("Opportunity")]
    if mapping.amount_field != "Amount":
        tracked.append(mapping.amount_field)
    approvals = {
        touches.object: touches.approval.field
        for touches in mapping.touchpoints
        if touches.approval is not None and touches.approval.at is None
    }
    if "Opportunity" in approvals:
        tracked.append(approvals.pop("Opportunity"))
    if tracked:
        names = ", ".join(f"'{name}'" for name in sorted(set(tracked)))
        yield Reading(
            "OpportunityFieldHistory",
            needed=("Id", "OpportunityId", "Field", "OldValue", "NewValue", "CreatedDate"),
            wanted=("CreatedById", "IsDeleted"),
            where=f"Field IN ({names})",
        )
    for name, field in approvals.items():
        parent = "ParentId" if name.endswith("__c") else f"{name}Id"
        yield Reading(
            history_of(name),
            needed=("Id", parent, "Field", "NewValue", "CreatedDate"),
            wanted=("CreatedById", "IsDeleted"),
            where=f"Field = '{field}'",
        )


def history_of(object: str) -> str:
    """The object that holds the field history of another.

    Examples
    --------
    >>> history_of("Deal_Registration__c"), history_of("Opportunity"), history_of("Lead")
    ('Deal_Registration__History', 'OpportunityFieldHistory', 'LeadHistory')
    """
    if object.endswith("__c"):
        return f"{object[:-3]}__History"
    return "OpportunityFieldHistory" if object == "Opportunity" else f"{object}History"


def record_of(history: str) -> tuple[str, str] | None:
    """The object whose history this is, and the field that names the record; None for another object.

    Examples
    --------
    >>> record_of("Deal_Registration__History"), record_of("OpportunityFieldHistory"), record_of("Lead")
    (('Deal_Registration__c', 'ParentId'), ('Opportunity', 'OpportunityId'), None)
    """
    if history.endswith("__History"):
        return f"{history.removesuffix('History')}c", "ParentId"
    name = history.removesuffix("History").removesuffix("Field")
    return None if name == history else (name, f"{name}Id")


_SYSTEM = ("CreatedDate", "SystemModstamp")
_KEPT = (*_SYSTEM, "IsDeleted")
"""Fields of every object that has a recycle bin."""


def _standard(mapping: Mapping) -> Iterator[Reading]:
    """Standard objects, in the order in which they are read: who, then what, then evidence."""
    lookups = {
        name: [each.field for each in mapping.lookups_of(name)]
        for name in ("Opportunity", "Lead", "Campaign")
    }
    described = [mapping.deal_type.field, *mapping.segments]
    filtered = [condition.field for condition in mapping.opportunity.exclude]
    own = [*filtered, *described, *lookups["Opportunity"]]

    yield Reading(
        "Organization",
        needed=("Id", "TimeZoneSidKey"),
        wanted=(
            "Name",
            "FiscalYearStartMonth",
            "UsesStartDateAsFiscalYearName",
            "IsSandbox",
            "SystemModstamp",
        ),
        required=True,
    )
    yield Reading(
        "OpportunityStage",
        needed=("Id", "MasterLabel", "IsClosed", "IsWon"),
        wanted=("ApiName", "IsActive", "SortOrder", "SystemModstamp"),
        required=True,
    )
    yield Reading(
        "CurrencyType",
        needed=("Id", "IsoCode", "ConversionRate", "IsCorporate"),
        wanted=("IsActive", "SystemModstamp"),
    )
    yield Reading(
        "DatedConversionRate",
        needed=("Id", "IsoCode", "ConversionRate", "StartDate", "NextStartDate"),
        wanted=("SystemModstamp", "IsDeleted"),
    )
    yield Reading(
        "Account",
        needed=("Id", "Name", *_KEPT),
        wanted=("Type", "IsPartner", "ParentId", "MasterRecordId", "Website"),
        required=True,
    )
    yield Reading("User", needed=("Id", *_SYSTEM), wanted=("ContactId",))
    yield Reading("Contact", needed=("Id", "AccountId", *_KEPT), wanted=("MasterRecordId",))
    yield Reading("ChannelProgram", needed=("Id", "Name", *_KEPT))
    yield Reading("ChannelProgramLevel", needed=("Id", "ProgramId", "Name", *_KEPT), wanted=("Rank",))
    yield Reading(
        "ChannelProgramMember", needed=("Id", "PartnerId", "ProgramId", *_KEPT), wanted=("LevelId",)
    )
    yield Reading(
        "Opportunity",
        needed=(
            *("Id", "AccountId", "StageName", mapping.amount_field, "CloseDate", "IsClosed", "IsWon"),
            *("OwnerId", "CreatedById", *_KEPT),
            *_fields([*filtered, *mapping.segments, *lookups["Opportunity"]]),
        ),
        wanted=(
            *("Name", *_fields([mapping.deal_type.field]), "LeadSource", "Probability", "ForecastCategory"),
            *("PartnerAccountId", "CurrencyIsoCode"),
        ),
        required=True,
        follows=_follows(own),
    )
    yield Reading(
        "OpportunityHistory",
        needed=("Id", "OpportunityId", "StageName", *_SYSTEM),
        wanted=("Amount", "CloseDate", "Probability", "ForecastCategory", "IsDeleted"),
    )
    yield Reading(
        "Partner",
        needed=("Id", "OpportunityId", "AccountToId", "CreatedById", *_KEPT),
        wanted=("Role",),
    )
    yield Reading(
        "Lead",
        needed=(
            *("Id", "CreatedById", "ConvertedAccountId", "ConvertedOpportunityId", *_KEPT),
            *_fields(lookups["Lead"]),
        ),
        wanted=("ConvertedDate", "PartnerAccountId", "MasterRecordId"),
        follows=_follows(lookups["Lead"]),
    )
    yield Reading(
        "Campaign",
        needed=("Id", *_KEPT, *_fields(lookups["Campaign"])),
        follows=_follows(lookups["Campaign"]),
    )
    yield Reading(
        "CampaignMember",
        needed=("Id", "CampaignId", "LeadId", "ContactId", "HasResponded", *_KEPT),
        wanted=("FirstRespondedDate", "CreatedById"),
    )
    yield Reading("PartnerFundRequest", needed=("Id", "CampaignId", "ChannelPartnerId", "Status", *_KEPT))
    yield Reading(
        "OpportunityContactRole",
        needed=("Id", "OpportunityId", "ContactId", *_KEPT),
        wanted=("Role", "CreatedById"),
    )
    yield Reading(
        "Event",
        needed=(
            *("Id", "WhoId", "WhatId", "OwnerId", "CreatedById", *_KEPT),
            *("ActivityDateTime", "ActivityDate", "IsAllDayEvent"),
        ),
        wanted=("EndDateTime", "EndDate", "DurationInMinutes", "IsChild", "IsRecurrence"),
    )
    yield Reading("EventRelation", needed=("Id", "EventId", "RelationId", *_SYSTEM), wanted=("IsDeleted",))
    yield Reading(
        "Task",
        needed=("Id", "WhoId", "WhatId", "OwnerId", "CreatedById", "IsClosed", "ActivityDate", *_KEPT),
        wanted=("TaskSubtype", "CompletedDateTime", "IsRecurrence"),
    )
    yield Reading("TaskRelation", needed=("Id", "TaskId", "RelationId", *_SYSTEM), wanted=("IsDeleted",))
