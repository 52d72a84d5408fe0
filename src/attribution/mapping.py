"""Mapping: how this org stores things. Which objects and fields are read, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from attribution.settings import Settings

__all__ = ["DealTypeRule", "Filter", "Mapping", "OpportunityRules", "Reading"]

DealType = Literal["new", "expansion", "renewal", "unclassified"]


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

    @property
    def fields(self) -> tuple[str, ...]:
        """Needed, then wanted fields, each once."""
        return tuple(dict.fromkeys(self.needed + self.wanted))


class Filter(Settings):
    """One condition on a field of an opportunity; ``contains`` and ``=`` ignore case, as Salesforce does."""

    field: str
    op: Literal["=", "!=", "in", "contains", "is_null"] = "="
    value: str | bool | int | tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _value_suits_operator(self) -> Filter:
        if self.op == "in" and not isinstance(self.value, tuple):
            raise ValueError("op 'in' takes a list of values")
        if self.op == "contains" and not isinstance(self.value, str):
            raise ValueError("op 'contains' takes one string")
        if self.op in ("=", "!=") and (self.value is None or isinstance(self.value, tuple)):
            raise ValueError(f"op '{self.op}' takes one value; use is_null to look for missing ones")
        if "." in self.field:
            raise ValueError("a filter names a field of Opportunity itself, without a dot")
        return self


class DealTypeRule(Settings):
    """Which field tells the deal type, and how its values are read before the built-in words."""

    field: str = "Type"
    values: dict[str, DealType] = Field(default_factory=dict)


class OpportunityRules(Settings):
    """Which opportunities are deals."""

    exclude: tuple[Filter, ...] = ()


class Mapping(Settings):
    """Which objects and fields mean what in this org; the defaults suit standard objects.

    Examples
    --------
    >>> from attribution import Mapping
    >>> Mapping(amount_field="ACV__c").readings()["Opportunity"].needed[3]
    'ACV__c'
    """

    amount_field: str = "Amount"
    """Field of Opportunity that holds the deal's amount."""
    currency: str | None = Field(default=None, pattern="^[A-Z]{3}$")
    """ISO code of the only currency of the org; without it amounts are in ``XXX`` with two decimals."""
    time_zone: str | None = None
    """Zone that turns instants into days; default: the organization's."""
    partner_types: tuple[str, ...] = (
        "Channel Partner / Reseller",
        "Installation Partner",
        "Technology Partner",
        "Partner",
        "Reseller",
    )
    """Values of Account.Type that make an account a partner; exact, ignoring case."""
    deal_type: DealTypeRule = DealTypeRule()
    opportunity: OpportunityRules = OpportunityRules()

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, name: str | None) -> str | None:
        if name is not None and name not in available_timezones():
            raise ValueError(f"there is no time zone {name!r}; names look like 'America/New_York'")
        return name

    def zone(self, organization_zone: str) -> ZoneInfo:
        """Zone in which the org's days begin and end."""
        return ZoneInfo(self.time_zone or organization_zone)

    def readings(self) -> dict[str, Reading]:
        """Objects and fields to mirror, by object, in the order in which they are read."""
        filtered = tuple(condition.field for condition in self.opportunity.exclude)
        readings = (
            Reading(
                "Organization",
                needed=("Id", "TimeZoneSidKey"),
                wanted=(
                    *("Name", "FiscalYearStartMonth", "UsesStartDateAsFiscalYearName", "IsSandbox"),
                    *("SystemModstamp",),
                ),
                required=True,
            ),
            Reading(
                "OpportunityStage",
                needed=("Id", "MasterLabel", "IsClosed", "IsWon"),
                wanted=("ApiName", "IsActive", "SortOrder", "SystemModstamp"),
                required=True,
            ),
            Reading(
                "Account",
                needed=("Id", "Name", "CreatedDate", "SystemModstamp", "IsDeleted"),
                wanted=("Type", "IsPartner", "ParentId", "MasterRecordId"),
                required=True,
            ),
            Reading("User", needed=("Id", "CreatedDate", "SystemModstamp"), wanted=("ContactId",)),
            Reading(
                "Contact",
                needed=("Id", "AccountId", "CreatedDate", "SystemModstamp", "IsDeleted"),
                wanted=("MasterRecordId",),
            ),
            Reading(
                "Opportunity",
                needed=(
                    *("Id", "AccountId", "StageName", self.amount_field, "CloseDate", "IsClosed", "IsWon"),
                    *("OwnerId", "CreatedById", "CreatedDate", "SystemModstamp", "IsDeleted"),
                    *filtered,
                ),
                wanted=(
                    *("Name", self.deal_type.field, "LeadSource", "Probability", "ForecastCategory"),
                    *("PartnerAccountId", "CurrencyIsoCode"),
                ),
                required=True,
            ),
            Reading(
                "OpportunityHistory",
                needed=("Id", "OpportunityId", "StageName", "CreatedDate", "SystemModstamp"),
                wanted=("Amount", "CloseDate", "Probability", "ForecastCategory", "IsDeleted"),
            ),
            Reading(
                "Partner",
                needed=(
                    *("Id", "OpportunityId", "AccountToId", "CreatedDate", "CreatedById"),
                    *("SystemModstamp", "IsDeleted"),
                ),
                wanted=("Role",),
            ),
            Reading(
                "Lead",
                needed=(
                    *("Id", "CreatedDate", "CreatedById", "ConvertedAccountId"),
                    *("ConvertedOpportunityId", "SystemModstamp", "IsDeleted"),
                ),
                wanted=("PartnerAccountId", "MasterRecordId"),
            ),
            Reading(
                "Event",
                needed=(
                    *("Id", "WhoId", "WhatId", "OwnerId", "CreatedById", "CreatedDate", "SystemModstamp"),
                    *("ActivityDateTime", "ActivityDate", "IsAllDayEvent", "IsDeleted"),
                ),
                wanted=("EndDateTime", "EndDate", "DurationInMinutes", "IsChild", "IsRecurrence"),
            ),
            Reading(
                "ChannelProgram",
                needed=("Id", "Name", "CreatedDate", "SystemModstamp", "IsDeleted"),
            ),
            Reading(
                "ChannelProgramLevel",
                needed=("Id", "ProgramId", "Name", "CreatedDate", "SystemModstamp", "IsDeleted"),
                wanted=("Rank",),
            ),
            Reading(
                "ChannelProgramMember",
                needed=("Id", "PartnerId", "ProgramId", "CreatedDate", "SystemModstamp", "IsDeleted"),
                wanted=("LevelId",),
            ),
        )
        return {reading.object: reading for reading in readings}
