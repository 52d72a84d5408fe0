"""What a generated org has besides the standard objects, and the settings that say what it means."""

from __future__ import annotations

from dataclasses import dataclass

from attribution.readings import history_of
from attribution.testing.objects import SObject, fields_of, history_object, standard_objects

__all__ = ["Schema", "all_objects", "schema_of", "settings_of"]

_STANDARD = (
    "Organization", "CurrencyType", "DatedConversionRate", "User", "OpportunityStage", "RecordType",
    "Account", "Contact", "Lead", "Opportunity", "OpportunityHistory", "OpportunityFieldHistory", "Partner",
    "Event", "EventRelation", "Task", "TaskRelation", "Campaign", "CampaignMember", "OpportunityContactRole",
    "ChannelProgram", "ChannelProgramLevel", "ChannelProgramMember", "PartnerFundRequest",
)  # fmt: skip
_SYSTEM = """Id* id, IsDeleted* boolean, CreatedDate* datetime, CreatedById* > User,
    LastModifiedDate* datetime, LastModifiedById* > User, SystemModstamp* datetime"""
_NAMED = "Name string 80, OwnerId* > User"
_REGISTRATION = """Partner_Account__c > Account, Partner_Contact__c > Contact, Opportunity__c > Opportunity,
    Account__c > Account, Submitted_On__c date, Expires_On__c date, Status__c picklist 255,
    Approved_On__c date"""
_INFLUENCE = """Partner__c > Account, Opportunity__c > Opportunity, Lead__c > Lead, Contact__c > Contact,
    Held_At__c datetime"""
_OVERLAP = "Account__c > Account, Partner_Account__c > Account, Found_On__c date"


@dataclass(frozen=True, slots=True)
class Schema:
    """Custom objects and fields in the notation of `Org.add_object` and `Org.add_field`.

    `objects` are (name, key prefix, fields besides the system ones); `fields` are (object, fields);
    `tracked` are (object, field) whose changes leave a history.
    """

    partner_licences: bool = True
    multi_currency: bool = True
    objects: tuple[tuple[str, str, str], ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    tracked: tuple[tuple[str, str], ...] = ()


def schema_of(
    *, partner_licences: bool, multi_currency: bool, mapped: bool, by_contact: bool, amount_field: str
) -> Schema:
    """Return what an org of that kind has.

    `by_contact`: registrations name the partner through a contact, and their approval by field history.
    """
    fields = [] if amount_field == "Amount" else [("Opportunity", f"{amount_field} currency 18.2")]
    tracked = [] if amount_field == "Amount" else [("Opportunity", amount_field)]
    if not mapped:
        return Schema(partner_licences, multi_currency, (), tuple(fields), tuple(tracked))
    program = "Program__c > ChannelProgram" if partner_licences else "Program__c picklist 255"
    objects = [("Deal_Registration__c", "a01", f"{_REGISTRATION}, {program}")]
    tracked += [("Opportunity", name) for name in ("Referring_Partner__c", "Implementation_Partner__c")]
    if by_contact:
        tracked.append(("Deal_Registration__c", "Status__c"))
    objects += [("Overlap__c", "a02", _OVERLAP), ("Partner_Influence__c", "a03", _INFLUENCE)]
    fields += [
        ("Opportunity", "Referring_Partner__c > Account, Implementation_Partner__c > Account"),
        ("Opportunity", "Industry__c picklist 255, Is_Strategic__c* boolean"),
        ("Lead", "Referred_By__c > Account"),
        ("Campaign", "Partner__c > Account"),
    ]
    return Schema(partner_licences, multi_currency, tuple(objects), tuple(fields), tuple(tracked))


def all_objects(schema: Schema) -> dict[str, SObject]:
    """Every object that a generated org has rows of."""
    standard = standard_objects(
        partner_licences=schema.partner_licences, multi_currency=schema.multi_currency
    )
    found = {name: standard[name] for name in _STANDARD if name in standard}
    for name, notation in schema.fields:
        there = found[name]
        found[name] = SObject(name, there.key_prefix, (*there.fields, *fields_of(notation)))
    for name, prefix, notation in schema.objects:
        found[name] = SObject(name, prefix, fields_of(f"{_SYSTEM}, {_NAMED}, {notation}"))
    for name, _ in schema.tracked:
        history = history_of(name)
        if history not in found:
            found[history] = history_object(history, "ParentId", name)
    return found


_MAPPED = """
segments = ["Industry__c", "Is_Strategic__c"]
deal_type = { field = "RecordType.DeveloperName", values = { "Services_Addendum" = "expansion" } }
opportunity.exclude = [
    { field = "RecordType.DeveloperName", op = "in", value = ["Internal", "Sandbox"] },
    { field = "Name", op = "contains", value = "[TEST]" },
]

[[mapping.lookups]]
object = "Opportunity"
field = "Referring_Partner__c"
kind = "sourced_by"

[[mapping.lookups]]
object = "Opportunity"
field = "Implementation_Partner__c"
kind = "role"

[[mapping.lookups]]
object = "Lead"
field = "Referred_By__c"

[[mapping.lookups]]
object = "Campaign"
field = "Partner__c"

[[mapping.touchpoints]]
object = "Deal_Registration__c"
kind = "deal_registration"
partner = "{partner}"
opportunity = "Opportunity__c"
account = "Account__c"
occurred_at = "Submitted_On__c"
program = "Program__c"
expires_on = "Expires_On__c"
approval.field = "Status__c"
approval.approved = ["Approved"]
approval.rejected = ["Rejected"]
approval.pending = ["Submitted"]
{at}
[[mapping.touchpoints]]
object = "Partner_Influence__c"
kind = "advisory"
strength = "weak"
partner = "Partner__c"
opportunity = "Opportunity__c"
lead = "Lead__c"
contact = "Contact__c"
occurred_at = "Held_At__c"

[[mapping.touchpoints]]
object = "Overlap__c"
kind = "overlap"
partner = "Partner_Account__c"
account = "Account__c"
occurred_at = "Found_On__c"
"""


def settings_of(*, mapped: bool, by_contact: bool, amount_field: str, currency: str) -> str:
    """Return the `attribution.toml` that suits such an org."""
    text = f'[mapping]\namount_field = "{amount_field}"\ncurrency = "{currency}"\n'
    if not mapped:
        return text
    partner = "Partner_Contact__r.AccountId" if by_contact else "Partner_Account__c"
    at = "" if by_contact else 'approval.at = "Approved_On__c"\n'
    return text + _MAPPED.removeprefix("\n").replace("{partner}", partner).replace("{at}", at)
