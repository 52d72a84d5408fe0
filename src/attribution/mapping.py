"""Mapping: how this org stores things. Which objects and fields are read, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from attribution.settings import Place, Settings

__all__ = [
    "KINDS",
    "Approval",
    "Cost",
    "DealTypeRule",
    "Filter",
    "Lookup",
    "Mapping",
    "Named",
    "OpportunityRules",
    "Touches",
    "split_path",
]

DealType = Literal["new", "expansion", "renewal", "unclassified"]


def split_path(path: str) -> tuple[str, str | None]:
    """The field of the object itself that a path begins with, and what remains of the path.

    Examples
    --------
    >>> split_path("Partner__r.AccountId"), split_path("RecordType.DeveloperName"), split_path("Amount")
    (('Partner__c', 'AccountId'), ('RecordTypeId', 'DeveloperName'), ('Amount', None))
    """
    relationship, dot, rest = path.partition(".")
    if not dot:
        return path, None
    custom = relationship.endswith("__r")
    return (f"{relationship[:-3]}__c" if custom else f"{relationship}Id"), rest


FIELD = r"^[A-Za-z]\w*(\.[A-Za-z]\w*)*$"
"""A field, or a path over lookups to a field of another object, such as ``Partner__r.AccountId``."""
FieldPath = Annotated[str, Field(pattern=FIELD)]
Meaning = Literal[
    "amount", "text", "value", "instant", "partner", "opportunity", "lead", "contact", "account"
]
"""What a field that a mapping names is to hold; ``value`` may be anything."""


@dataclass(frozen=True, slots=True)
class Named:
    """A field that a mapping names, and what it is to hold."""

    place: Place
    """Where in the mapping."""
    object: str
    path: str
    meaning: Meaning
    by_name: bool = False
    """Whether text will do, too: names of accounts."""


class Filter(Settings):
    """One condition on a field of a record, read as SOQL reads it: text ignores case."""

    field: FieldPath
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
        return self


_EXPANSION = ("upgrade", "upsell", "expansion", "add-on", "cross")


class DealTypeRule(Settings):
    """Which field tells the deal type, and how its values are read before the built-in words."""

    field: FieldPath = "Type"
    """Field of Opportunity that tells the deal type."""
    values: dict[str, DealType] = Field(default_factory=dict)
    """What its values mean: new, expansion, renewal or unclassified; the built-in words tell the others."""

    def type_of(self, value: str | None) -> DealType:
        """Deal type that a value of the field means: by ``values``, else by the words in it.

        Examples
        --------
        >>> rule = DealTypeRule(values={"Add seats": "expansion"})
        >>> rule.type_of("Add seats"), rule.type_of("Renewal 2026"), rule.type_of("Services")
        ('expansion', 'renewal', 'unclassified')
        """
        if value is None:
            return "unclassified"
        lower = value.lower()
        if value in self.values:
            return self.values[value]
        if "renew" in lower:
            return "renewal"
        if lower.startswith("existing") or any(word in lower for word in _EXPANSION):
            return "expansion"
        return "new" if "new" in lower else "unclassified"


class OpportunityRules(Settings):
    """Which opportunities are deals."""

    exclude: tuple[Filter, ...] = ()
    """Opportunities that meet one of these conditions are no deals; op is =, !=, in, contains or is_null."""


class Lookup(Settings):
    """A field of a standard object that names a partner account."""

    object: Literal["Opportunity", "Lead", "Campaign"]
    """Opportunity, Lead or Campaign."""
    field: FieldPath
    """Field with the partner's account."""
    kind: Literal["sourced_by", "role", "referral", "campaign_response"] | None = None
    """What the field means; the object decides it but for opportunities: ``sourced_by`` or ``role``."""

    @model_validator(mode="after")
    def _kind_suits_object(self) -> Lookup:
        allowed = {
            "Opportunity": ("sourced_by", "role"),
            "Lead": ("referral",),
            "Campaign": ("campaign_response",),
        }
        if self.kind is None and self.object == "Opportunity":
            raise ValueError("a lookup on Opportunity needs a kind: sourced_by or role")
        if self.kind is not None and self.kind not in allowed[self.object]:
            raise ValueError(
                f"kind {self.kind!r} does not suit {self.object}: {' or '.join(allowed[self.object])}"
            )
        return self


class Approval(Settings):
    """Which field says whether a record was approved, and by which values."""

    field: FieldPath
    approved: tuple[str, ...] = ("Approved",)
    rejected: tuple[str, ...] = ("Rejected",)
    pending: tuple[str, ...] = ()
    at: FieldPath | None = None
    """When it was approved; without it the field's history, or the first approved version, tells."""

    @model_validator(mode="after")
    def _values_mean_one_thing(self) -> Approval:
        meant: dict[str, str] = {}
        for state in ("approved", "rejected", "pending"):
            for value in getattr(self, state):
                if meant.setdefault(value.lower(), state) != state:
                    raise ValueError(f"{value!r} cannot be both {meant[value.lower()]} and {state}")
        return self


KINDS = (
    *("role", "sourced_by", "partner_owned", "referral", "handed_over", "deal_registration"),
    *("campaign_response", "contact_role", "meeting", "call", "email", "task", "overlap"),
)
"""Kinds of touchpoint that the rules name, in the order of their codes; an org's own kinds follow them."""


class Touches(Settings):
    """An object whose records are touchpoints: deal registrations, junction objects, overlaps."""

    object: str = Field(pattern=r"^[A-Za-z]\w*$")
    kind: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """A kind that the rules name, or a new one with ``strength``."""
    partner: FieldPath
    """Field with the partner's account."""
    opportunity: FieldPath | None = None
    lead: FieldPath | None = None
    contact: FieldPath | None = None
    account: FieldPath | None = None
    """How a record reaches its deal: the first of these that it fills."""
    occurred_at: FieldPath = "CreatedDate"
    """Date or instant at which it happened."""
    program: FieldPath | None = None
    expires_on: FieldPath | None = None
    approval: Approval | None = None
    strength: Literal["strong", "weak", "exposure"] | None = None
    sourcing: bool = False

    @model_validator(mode="after")
    def _reaches_deals(self) -> Touches:
        if not (self.opportunity or self.lead or self.contact or self.account):
            raise ValueError("name one of opportunity, lead, contact or account")
        return self

    @model_validator(mode="after")
    def _exposure_does_not_source(self) -> Touches:
        if self.sourcing and self.strength == "exposure":
            raise ValueError("sourcing = true needs evidence of work: strength strong or weak, not exposure")
        return self

    @model_validator(mode="after")
    def _kind_has_strength(self) -> Touches:
        if self.kind not in KINDS and self.strength is None:
            raise ValueError(f'kind {self.kind!r} is new: give it strength = "strong", "weak" or "exposure"')
        return self


class Cost(Settings):
    """An object whose records say what was spent on partners: fund claims, commissions, budgets."""

    object: str = Field(pattern=r"^[A-Za-z]\w*$")
    amount: FieldPath
    """What was spent."""
    partner: FieldPath | None = None
    """Field with the partner's account; without it, or where it is empty, all partners cost it."""
    incurred_at: FieldPath = "CreatedDate"
    """Date or instant at which it was spent; it decides the rate of exchange, too."""
    only: tuple[Filter, ...] = ()
    """Only records that meet all of these conditions count, such as approved ones."""


@cache
def _zones() -> set[str]:
    # the library looks through its folders each time
    return available_timezones()


class Mapping(Settings):
    """Which objects and fields mean what in this org; the defaults suit standard objects.

    Examples
    --------
    >>> from attribution import Mapping
    >>> Mapping(amount_field="ACV__c").hash == Mapping().hash
    False
    """

    section: ClassVar[str] = "mapping"

    amount_field: str = Field(default="Amount", pattern=r"^[A-Za-z]\w*$")
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
    segments: tuple[FieldPath, ...] = ()
    """Fields of Opportunity that deals can be grouped and selected by."""
    lookups: tuple[Lookup, ...] = ()
    """Fields of standard objects that name a partner account."""
    touchpoints: tuple[Touches, ...] = ()
    """Objects whose records are touchpoints: deal registrations, junction objects, overlaps."""
    costs: tuple[Cost, ...] = ()
    """Objects whose records say what was spent on partners, for ``lifecycle``."""

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, name: str | None) -> str | None:
        if name is not None and name not in _zones():
            raise ValueError(f"there is no time zone {name!r}; names look like 'America/New_York'")
        return name

    @model_validator(mode="after")
    def _each_lookup_once(self) -> Mapping:
        seen = set()
        for lookup in self.lookups:
            if (lookup.object, lookup.field) in seen:
                raise ValueError(f"{lookup.field} of {lookup.object} is listed twice in lookups")
            seen.add((lookup.object, lookup.field))
        return self

    def zone(self, organization_zone: str) -> ZoneInfo:
        """Zone in which the org's days begin and end."""
        return ZoneInfo(self.time_zone or organization_zone)

    def lookups_of(self, object: str) -> tuple[Lookup, ...]:
        """The lookups on one object."""
        return tuple(lookup for lookup in self.lookups if lookup.object == object)

    def named(self) -> Iterator[Named]:
        """Every field that was named, defaults aside, in the order of the mapping.

        Examples
        --------
        >>> [(each.path, each.meaning) for each in Mapping(segments=("Industry__c",)).named()]
        [('Industry__c', 'value')]
        """
        if self.amount_field != "Amount":
            yield Named(("amount_field",), "Opportunity", self.amount_field, "amount")
        if self.deal_type.field != "Type":
            yield Named(("deal_type", "field"), "Opportunity", self.deal_type.field, "text")
        yield from _filtered(self.opportunity.exclude, "Opportunity", ("opportunity", "exclude"))
        for position, path in enumerate(self.segments):
            yield Named(("segments", position), "Opportunity", path, "value")
        for position, lookup in enumerate(self.lookups):
            yield Named(("lookups", position, "field"), lookup.object, lookup.field, "partner")
        for position, touches in enumerate(self.touchpoints):
            yield from _named(touches, ("touchpoints", position))
        for position, cost in enumerate(self.costs):
            yield from _spent(cost, ("costs", position))


def _named(touches: Touches, place: Place) -> Iterator[Named]:
    # programs that find overlaps know partners by name
    by_name = touches.kind == "overlap"
    yield Named((*place, "partner"), touches.object, touches.partner, "partner", by_name)
    ways: tuple[tuple[Literal["opportunity", "lead", "contact", "account"], str | None], ...] = (
        ("opportunity", touches.opportunity),
        ("lead", touches.lead),
        ("contact", touches.contact),
        ("account", touches.account),
    )
    for name, path in ways:
        if path is not None:
            yield Named((*place, name), touches.object, path, name)
    others: tuple[tuple[Place, str | None, Meaning], ...] = (
        (("occurred_at",), touches.occurred_at, "instant"),
        (("program",), touches.program, "text"),
        (("expires_on",), touches.expires_on, "instant"),
    )
    if touches.approval is not None:
        others += (
            (("approval", "field"), touches.approval.field, "text"),
            (("approval", "at"), touches.approval.at, "instant"),
        )
    for key, path, meaning in others:
        if path is not None:
            yield Named((*place, *key), touches.object, path, meaning)


def _spent(cost: Cost, place: Place) -> Iterator[Named]:
    if cost.partner is not None:
        yield Named((*place, "partner"), cost.object, cost.partner, "partner")
    yield Named((*place, "amount"), cost.object, cost.amount, "amount")
    yield Named((*place, "incurred_at"), cost.object, cost.incurred_at, "instant")
    yield from _filtered(cost.only, cost.object, (*place, "only"))


def _filtered(conditions: tuple[Filter, ...], object: str, place: Place) -> Iterator[Named]:
    for position, condition in enumerate(conditions):
        meaning: Meaning = "text" if condition.op == "contains" else "value"
        yield Named((*place, position, "field"), object, condition.field, meaning)
