"""The schema of a Salesforce org as data: objects, their fields, and how a describe call shows them.

Fields are written in a short notation, one after the other, separated by commas::

    Name* string 120            a type with its length; ``*`` = never null
    Amount currency 18.2        precision and scale
    AccountId > Account         a lookup; ``>>`` = deleted together with the parent
    StageName* picklist 255
    Description textarea -      ``-`` = cannot be filtered, sorted or grouped
    ExpectedRevenue currency 18.2 =   ``=`` = worked out by Salesforce

Examples
--------
>>> field = fields_of("PartnerAccountId > Account")[0]
>>> field.name, field.type, field.reference_to, field.relationship_name
('PartnerAccountId', 'reference', ('Account',), 'PartnerAccount')
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

__all__ = ["Field", "SObject", "fields_of", "history_object", "standard_objects"]

TEXT = frozenset(
    {"string", "picklist", "textarea", "email", "phone", "url", "combobox", "multipicklist", "anyType"}
)
NUMBER = frozenset({"double", "currency", "percent", "int"})
IDENTITY = frozenset({"id", "reference"})
COMPOUND = frozenset({"address", "location"})

_SOAP = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "address": "urn:address",
    "location": "urn:location",
    "anyType": "xsd:anyType",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object, with the properties that a describe call reports.

    Examples
    --------
    >>> Field("Referring_Partner__c", "reference", reference_to=("Account",)).relationship_name
    'Referring_Partner__r'
    """

    name: str
    type: str = "string"
    length: int = 255
    precision: int = 18
    scale: int = 2
    nillable: bool = True
    reference_to: tuple[str, ...] = ()
    relationship_name: str | None = None
    filterable: bool = True
    calculated: bool = False
    cascade_delete: bool = False
    values: tuple[str, ...] = ()
    label: str | None = None

    def __post_init__(self) -> None:
        if self.type != "reference" and self.type not in TEXT | NUMBER and self.type not in _SOAP:
            raise ValueError(f"field {self.name}: unknown type {self.type!r}")
        if self.type == "reference" and self.relationship_name is None:
            name = self.name
            relation = name[:-1] + "r" if name.endswith("__c") else name.removesuffix("Id")
            object.__setattr__(self, "relationship_name", relation)

    @property
    def sortable(self) -> bool:
        """Whether ORDER BY takes it."""
        return self.filterable and self.type not in COMPOUND

    @property
    def groupable(self) -> bool:
        """Whether GROUP BY takes it."""
        plain = self.type in {"date", "boolean", "int"} | IDENTITY | TEXT - {"anyType", "combobox"}
        return self.filterable and plain and not (self.calculated and self.name.endswith("__c"))

    @property
    def aggregatable(self) -> bool:
        """Whether COUNT, MIN and the like take it."""
        return self.sortable and self.type != "boolean"

    def describe(self) -> dict[str, Any]:
        """Return what ``/sobjects/X/describe`` says of the field."""
        text = self.type in TEXT
        length = 18 if self.type in IDENTITY else self.length if text else 0
        number = self.type in {"double", "currency", "percent"}
        system = self.calculated or self.name in _SYSTEM_NAMES
        return {
            "aggregatable": self.aggregatable,
            "autoNumber": False,
            "byteLength": 3 * length if text else length,
            "calculated": self.calculated,
            "calculatedFormula": None,
            "cascadeDelete": self.cascade_delete,
            "caseSensitive": False,
            "compoundFieldName": None,
            "createable": not system,
            "custom": self.name.endswith("__c"),
            "defaultValue": False if self.type == "boolean" else None,
            "defaultedOnCreate": self.type == "boolean" or self.name in _SYSTEM_NAMES,
            "deprecatedAndHidden": False,
            "digits": 8 if self.type == "int" else 0,
            "externalId": False,
            "filterable": self.filterable,
            "groupable": self.groupable,
            "idLookup": self.type == "id",
            "label": self.label or self.name.removesuffix("__c").replace("_", " "),
            "length": length,
            "name": self.name,
            "nameField": self.name == "Name",
            "nillable": self.nillable,
            "permissionable": self.nillable and not system,
            "picklistValues": [
                {"active": True, "defaultValue": False, "label": value, "validFor": None, "value": value}
                for value in self.values
            ],
            "polymorphicForeignKey": len(self.reference_to) > 1,
            "precision": self.precision if number else 0,
            "referenceTo": list(self.reference_to),
            "relationshipName": self.relationship_name,
            "restrictedPicklist": False,
            "scale": self.scale if number else 0,
            "soapType": _SOAP.get(self.type, "xsd:string"),
            "sortable": self.sortable,
            "type": self.type,
            "unique": False,
            "updateable": not system,
        }


_SYSTEM_FIELDS = """
    Id IsDeleted CreatedDate CreatedById LastModifiedDate LastModifiedById SystemModstamp MasterRecordId
"""
_SYSTEM_NAMES = frozenset(_SYSTEM_FIELDS.split())


@dataclass(frozen=True)
class SObject:
    """An object: its key prefix, its fields, and what the API lets one do with it.

    Parameters
    ----------
    recycle_bin
        Whether a deleted row stays with ``IsDeleted`` set. Otherwise it vanishes, and only getDeleted tells.
    bulk
        Whether Bulk API 2.0 takes queries on it.
    label
        What people call it; made from the name by default.
    """

    name: str
    key_prefix: str | None
    fields: tuple[Field, ...]
    replicateable: bool = True
    queryable: bool = True
    recycle_bin: bool = True
    mergeable: bool = False
    updateable: bool = True
    bulk: bool = True
    label: str | None = None
    by_name: dict[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {item.name.lower(): item for item in self.fields})

    def has(self, name: str) -> bool:
        """Whether there is a field of that name, whatever its case."""
        return name.lower() in self.by_name

    @cached_property
    def relations(self) -> dict[str, Field]:
        """The lookups by lower-case relationship name."""
        return {item.relationship_name.lower(): item for item in self.fields if item.relationship_name}

    @property
    def cursor(self) -> str | None:
        """The field that says when a row last changed."""
        return next((name for name in ("SystemModstamp", "CreatedDate") if self.has(name)), None)

    def without(self, names: Iterable[str]) -> SObject:
        """Return the object as seen by a user who may not read those fields."""
        gone = {name.lower() for name in names}
        return replace(self, fields=tuple(item for item in self.fields if item.name.lower() not in gone))

    def summary(self, version: str) -> dict[str, Any]:
        """Return the entry of the object in ``/sobjects``."""
        url = f"/services/data/{version}/sobjects/{self.name}"
        label = self.label or self.name.removesuffix("__c").replace("_", " ")
        return {
            "activateable": False,
            "createable": self.updateable,
            "custom": self.name.endswith("__c"),
            "customSetting": False,
            "deletable": self.updateable,
            "deprecatedAndHidden": False,
            "feedEnabled": False,
            "hasSubtypes": False,
            "isSubtype": False,
            "keyPrefix": self.key_prefix,
            "label": label,
            "labelPlural": f"{label}s",
            "layoutable": True,
            "mergeable": self.mergeable,
            "mruEnabled": True,
            "name": self.name,
            "queryable": self.queryable,
            "replicateable": self.replicateable,
            "retrieveable": True,
            "searchable": True,
            "triggerable": True,
            "undeletable": self.recycle_bin and self.updateable,
            "updateable": self.updateable,
            "urls": {"sobject": url, "describe": f"{url}/describe", "rowTemplate": f"{url}/{{ID}}"},
        }

    def describe(self, version: str) -> dict[str, Any]:
        """Return the body of ``/sobjects/X/describe``."""
        return self.summary(version) | {
            "actionOverrides": [],
            "childRelationships": [],
            "compactLayoutable": True,
            "fields": [item.describe() for item in self.fields],
            "namedLayoutInfos": [],
            "recordTypeInfos": [],
            "searchLayoutable": True,
            "supportedScopes": [],
        }


def history_object(name: str, parent: str, of: str) -> SObject:
    """Return the object that holds the field history of another.

    Examples
    --------
    >>> history_object("Deal__History", "ParentId", "Deal__c").cursor
    'CreatedDate'
    """
    notation = f"""{_ID}, IsDeleted* boolean, {_CREATED}, {parent}* >> {of}, Field* picklist 255,
        DataType picklist 40, OldValue anyType 255 -, NewValue anyType 255 -"""
    return SObject(name, "017", fields_of(notation), updateable=False)


def fields_of(notation: str) -> tuple[Field, ...]:
    """Read fields in the notation of this module."""
    return tuple(_fields(notation))


def _fields(notation: str) -> Iterator[Field]:
    for entry in filter(None, (part.split() for part in notation.split(","))):
        name, *words = entry
        options: dict[str, Any] = {"nillable": not name.endswith("*")}
        name = name.removesuffix("*")
        if words and words[-1] == "-":
            options["filterable"] = False
            words.pop()
        elif words and words[-1] == "=":
            options["calculated"] = True
            words.pop()
        kind = words[0] if words else "string"
        if kind in (">", ">>"):
            kind, options["reference_to"] = "reference", tuple(words[1].split("|"))
            options["cascade_delete"] = words[0] == ">>"
        elif len(words) > 1 and "." in words[1]:
            options["precision"], options["scale"] = map(int, words[1].split("."))
        elif len(words) > 1:
            options["length"] = int(words[1])
        yield Field(name, kind, **options)


_ID = "Id* id"
_CREATED = "CreatedDate* datetime, CreatedById* > User"
_STAMPS = f"{_CREATED}, LastModifiedDate* datetime, LastModifiedById* > User, SystemModstamp* datetime"
_SYSTEM = f"{_ID}, IsDeleted* boolean, {_STAMPS}"
_ACTIVITY = (
    "WhoId > Contact|Lead, WhatId >> Account|Opportunity|Campaign, AccountId > Account, "
    "OwnerId* > User, Subject combobox 255, IsArchived* boolean, "
    "IsRecurrence* boolean, Description textarea 32000 -, ActivityDate date"
)

# name and key prefix -> fields besides the system ones
_OBJECTS: dict[tuple[str, str], str] = {
    (
        "Opportunity",
        "006",
    ): f"""{_SYSTEM}, AccountId >> Account, RecordTypeId > RecordType, IsPrivate* boolean,
        Name* string 120, Description textarea 32000 -, StageName* picklist 255, Amount currency 18.2,
        Probability percent 3.0, ExpectedRevenue currency 18.2, TotalOpportunityQuantity double 18.2,
        CloseDate* date, Type picklist 255, NextStep string 255, LeadSource picklist 255, IsClosed* boolean,
        IsWon* boolean, ForecastCategory* picklist 40, ForecastCategoryName picklist 255,
        CampaignId > Campaign,
        ContactId > Contact, HasOpportunityLineItem* boolean, OwnerId* > User, LastActivityDate date,
        LastStageChangeDate datetime, FiscalQuarter int, FiscalYear int, Fiscal string 6,
        HasOpenActivity* boolean -, HasOverdueTask* boolean -""",
    ("Account", "001"): f"""{_SYSTEM}, MasterRecordId > Account, Name* string 255, Type picklist 255,
        ParentId > Account, RecordTypeId > RecordType, BillingCity string 40, BillingCountry string 80,
        BillingAddress address, Phone phone 40, Website url 255, Industry picklist 255,
        AnnualRevenue currency 18.0, NumberOfEmployees int, Description textarea 32000 -, OwnerId* > User,
        LastActivityDate date""",
    ("Lead", "00Q"): f"""{_SYSTEM}, MasterRecordId > Lead, LastName* string 80, FirstName string 40,
        Name* string 121, Title string 128, Company* string 255, City string 40, Country string 80,
        Address address, Phone phone 40, Email email 80, Description textarea 32000 -,
        LeadSource picklist 255, Status* picklist 255, Industry picklist 255, OwnerId* > User,
        RecordTypeId > RecordType, IsConverted* boolean, ConvertedDate date,
        ConvertedAccountId > Account, ConvertedContactId > Contact,
        ConvertedOpportunityId > Opportunity""",
    ("Contact", "003"): f"""{_SYSTEM}, MasterRecordId > Contact, AccountId >> Account, LastName* string 80,
        FirstName string 40, Name* string 121, Title string 128, MailingCity string 40,
        MailingAddress address,
        Phone phone 40, Email email 80, LeadSource picklist 255, OwnerId* > User""",
    ("OpportunityHistory", "008"): f"""{_ID}, IsDeleted* boolean, {_CREATED}, SystemModstamp* datetime,
        OpportunityId* >> Opportunity, StageName* picklist 255, Amount currency 18.2,
        ExpectedRevenue currency 18.2, CloseDate date, Probability percent 3.0, ForecastCategory picklist 40,
        PrevAmount currency 18.2, PrevCloseDate date""",
    ("OpportunityFieldHistory", "017"): f"""{_ID}, IsDeleted* boolean, {_CREATED},
        OpportunityId* >> Opportunity, Field* picklist 255, DataType picklist 40, OldValue anyType 255 -,
        NewValue anyType 255 -""",
    ("OpportunityStage", "01J"): f"""{_ID}, {_STAMPS}, ApiName string 255, MasterLabel* string 255,
        IsActive* boolean, SortOrder int, IsClosed* boolean, IsWon* boolean, ForecastCategory* picklist 40,
        ForecastCategoryName picklist 255, DefaultProbability percent 3.0, Description string 255""",
    ("OpportunityContactRole", "00K"): f"""{_SYSTEM}, OpportunityId* >> Opportunity, ContactId* >> Contact,
        Role picklist 40, IsPrimary* boolean""",
    ("Partner", "00I"): f"""{_SYSTEM}, OpportunityId >> Opportunity, AccountFromId >> Account,
        AccountToId* >> Account, Role picklist 40, IsPrimary* boolean, ReversePartnerId > Partner""",
    ("User", "005"): f"""{_ID}, {_STAMPS}, Username* string 80, LastName* string 80, FirstName string 40,
        Name* string 121, Email* email 128, IsActive* boolean, UserType picklist 40, ContactId > Contact,
        AccountId > Account, ProfileId > Profile, TimeZoneSidKey picklist 40, ManagerId > User""",
    ("Organization", "00D"): f"""{_ID}, {_STAMPS}, Name* string 80, Country string 80,
        FiscalYearStartMonth int, UsesStartDateAsFiscalYearName* boolean, TimeZoneSidKey picklist 40,
        DefaultLocaleSidKey picklist 40, LanguageLocaleKey picklist 40, OrganizationType picklist 40,
        IsSandbox* boolean, InstanceName string 5, NamespacePrefix string 15, TrialExpirationDate datetime""",
    ("RecordType", "012"): f"""{_ID}, {_STAMPS}, Name* string 80, DeveloperName* string 80,
        SobjectType* picklist 40, IsActive* boolean, Description string 255""",
    ("Event", "00U"): f"""{_SYSTEM}, {_ACTIVITY}, RecurrenceActivityId > Event, Location string 255,
        IsAllDayEvent* boolean,
        ActivityDateTime datetime, DurationInMinutes int, StartDateTime datetime, EndDateTime datetime,
        EndDate date, IsPrivate* boolean, ShowAs picklist 40, IsChild* boolean, IsGroupEvent* boolean,
        GroupEventType picklist 40, EventSubtype picklist 40""",
    (
        "Task",
        "00T",
    ): f"""{_SYSTEM}, {_ACTIVITY}, RecurrenceActivityId > Task, Status* picklist 255, Priority* picklist 255,
        IsClosed* boolean, IsHighPriority* boolean, TaskSubtype picklist 40, CallType picklist 40,
        CallDurationInSeconds int, CompletedDateTime datetime""",
    ("EventRelation", "0RE"): f"""{_SYSTEM}, EventId* >> Event, RelationId > Contact|Lead|User|Account,
        IsWhat* boolean, IsParent* boolean, IsInvitee* boolean, AccountId > Account, Status picklist 40,
        RespondedDate datetime, Response string 255""",
    (
        "TaskRelation",
        "0RT",
    ): f"""{_SYSTEM}, TaskId* >> Task, RelationId > Contact|Lead|Account, IsWhat* boolean,
        AccountId > Account""",
    ("UserPermissionAccess", "0UA"): f"{_ID}, PermissionsViewAllData* boolean",
    ("ObjectPermissions", "110"): f"""{_ID}, {_STAMPS}, ParentId* > PermissionSet, SobjectType* picklist 40,
        PermissionsRead* boolean, PermissionsViewAllRecords* boolean""",
    ("PermissionSetAssignment", "0Pa"): f"""{_ID}, AssigneeId* > User, PermissionSetId* > PermissionSet,
        SystemModstamp* datetime""",
    ("Campaign", "701"): f"""{_SYSTEM}, Name* string 80, ParentId > Campaign, Type picklist 255,
        Status picklist 255, StartDate date, EndDate date, IsActive* boolean, BudgetedCost currency 18.0,
        ActualCost currency 18.0, Description textarea 32000 -, OwnerId* > User, RecordTypeId > RecordType""",
    ("CampaignMember", "00v"): f"""{_SYSTEM}, CampaignId* >> Campaign, LeadId >> Lead, ContactId >> Contact,
        LeadOrContactId > Contact|Lead, Status picklist 40, HasResponded* boolean, FirstRespondedDate date,
        Type picklist 40""",
}
_PARTNER_OBJECTS: dict[tuple[str, str], str] = {
    ("ChannelProgram", "0pp"): f"""{_SYSTEM}, Name* string 255, Description textarea 4000 -,
        Category picklist 255, IsActive* boolean, OwnerId* > User""",
    ("ChannelProgramLevel", "0pl"): f"""{_SYSTEM}, Name* string 255, ProgramId* >> ChannelProgram, Rank int,
        Description textarea 4000 -""",
    ("ChannelProgramMember", "0pm"): f"""{_SYSTEM}, Name* string 255, ProgramId* >> ChannelProgram,
        LevelId > ChannelProgramLevel, PartnerId* >> Account, OwnerId* > User""",
    ("PartnerFundRequest", "0pr"): f"""{_SYSTEM}, Title* string 255, RequestNumber string 40,
        Activity picklist 255, Amount currency 18.2, Status picklist 255,
        CampaignId > Campaign, ChannelPartnerId > Account,
        BudgetId > PartnerMarketingBudget, AllocationId > PartnerFundAllocation,
        DesiredOutcome textarea 4000 -, OwnerId* > User""",
}
_CURRENCY_OBJECTS: dict[tuple[str, str], str] = {
    ("CurrencyType", "01L"): f"""{_ID}, {_STAMPS}, IsoCode* picklist 3, ConversionRate* double 18.6,
        DecimalPlaces* int, IsActive* boolean, IsCorporate* boolean""",
    ("DatedConversionRate", "04w"): f"""{_ID}, {_STAMPS}, IsoCode* picklist 3, ConversionRate* double 18.6,
        StartDate* date, NextStartDate* date""",
}
_PARTNER_FIELDS = {
    "Opportunity": "PartnerAccountId > Account =",
    "Lead": "PartnerAccountId > Account =",
    "Account": "IsPartner* boolean, ChannelProgramName string 255 =, ChannelProgramLevelName string 255 =",
    "User": "IsPortalEnabled* boolean",
}
_NO_CURRENCY = """
    UserPermissionAccess ObjectPermissions PermissionSetAssignment
    Organization OpportunityStage RecordType EventRelation TaskRelation OpportunityFieldHistory CurrencyType
    DatedConversionRate Partner
"""
_WITHOUT_CURRENCY = frozenset(_NO_CURRENCY.split())
_PROPERTIES: dict[str, dict[str, Any]] = {
    "Account": {"mergeable": True},
    "Lead": {"mergeable": True},
    "Contact": {"mergeable": True},
    "User": {"recycle_bin": False},
    "Organization": {"recycle_bin": False, "replicateable": False},
    "OpportunityStage": {"recycle_bin": False, "updateable": False, "replicateable": False},
    "RecordType": {"recycle_bin": False},
    "CurrencyType": {"recycle_bin": False, "replicateable": False},
    "DatedConversionRate": {"recycle_bin": False, "replicateable": False},
    "OpportunityHistory": {"updateable": False},
    "OpportunityFieldHistory": {"updateable": False},
    "Partner": {"updateable": False},
    "TaskRelation": {"replicateable": False},
    "UserPermissionAccess": {"recycle_bin": False, "updateable": False, "replicateable": False},
    "ObjectPermissions": {"recycle_bin": False, "replicateable": False},
    "PermissionSetAssignment": {"recycle_bin": False, "replicateable": False},
}


def standard_objects(*, partner_licences: bool = True, multi_currency: bool = False) -> dict[str, SObject]:
    """Return the standard objects of an org by name.

    Parameters
    ----------
    partner_licences
        Whether the org has partner relationship management: ``PartnerAccountId``, ``IsPartner``,
        channel programs and partner funds.
    multi_currency
        Whether the org has several currencies with dated rates.

    Examples
    --------
    >>> standard_objects(partner_licences=False)["Account"].has("IsPartner")
    False
    >>> standard_objects(multi_currency=True)["Opportunity"].has("CurrencyIsoCode")
    True
    """
    chosen = dict(_OBJECTS)
    if partner_licences:
        chosen |= _PARTNER_OBJECTS
    if multi_currency:
        chosen |= _CURRENCY_OBJECTS
    objects = {}
    for (name, prefix), notation in chosen.items():
        fields = fields_of(notation)
        if partner_licences and name in _PARTNER_FIELDS:
            fields += fields_of(_PARTNER_FIELDS[name])
        if multi_currency and name not in _WITHOUT_CURRENCY:
            fields += fields_of("CurrencyIsoCode picklist 3")
        objects[name] = SObject(name, prefix, fields, **_PROPERTIES.get(name, {}))
    return objects
