"""What the truth is asked under, and what it answers: plain values, comparable with ``==``."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from attribution.mapping import Cost, Filter, Lookup, Mapping, Touches

__all__ = ["DealTruth", "Record", "Records", "Rules", "TouchpointTruth", "Truth"]

Record = Dictionary[str, object]
Records = Dictionary[str, Sequence[Record]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The windows and lists of the rules page with their defaults, and how the org stores things.

    `deal_types` are exact values of the deal type's field; `excluded` are the ids of opportunities left out
    besides those that a filter in `exclude` matches.

    Examples
    --------
    >>> Rules(claim_days=30).claim_days
    30
    """

    influence_window_days: int = 365
    sourcing_window_days: int = 90
    claim_days: int = 14
    lead_max_age_days: int = 365
    registration_grace_days: int = 3
    registration_term_days: int = 90
    late_days: int = 7
    direct_activity_days: int = 90
    void_by: tuple[str, ...] = ("open_opportunity",)
    partner_types: tuple[str, ...] = (
        "Channel Partner / Reseller",
        "Installation Partner",
        "Technology Partner",
        "Partner",
        "Reseller",
    )
    partner_lead_sources: tuple[str, ...] = ("Partner", "Partner Referral", "Channel")
    sourcing_roles: tuple[str, ...] = ()
    partner_team: tuple[str, ...] = ()
    deal_type_field: str = "Type"
    deal_types: tuple[tuple[str, str], ...] = ()
    amount_field: str = "Amount"
    currency: str | None = None
    excluded: frozenset[str] = frozenset()
    exclude: tuple[Filter, ...] = ()
    segments: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    touchpoints: tuple[Touches, ...] = ()
    costs: tuple[Cost, ...] = ()
    time_zone: str | None = None

    def under(self, mapping: Mapping) -> Rules:
        """Return the same windows and lists for an org that stores things as the mapping says.

        Examples
        --------
        >>> Rules(late_days=3).under(Mapping(amount_field="ACV__c")).amount_field
        'ACV__c'
        """
        return replace(
            self,
            partner_types=mapping.partner_types,
            deal_type_field=mapping.deal_type.field,
            deal_types=tuple(mapping.deal_type.values.items()),
            amount_field=mapping.amount_field,
            currency=mapping.currency,
            exclude=mapping.opportunity.exclude,
            segments=mapping.segments,
            lookups=mapping.lookups,
            touchpoints=mapping.touchpoints,
            costs=mapping.costs,
            time_zone=mapping.time_zone,
        )


@dataclass(frozen=True, slots=True)
class TouchpointTruth:
    """One dated act of one partner on one deal; `counting` is rule 6.1."""

    id: str
    occurred_at: datetime
    recorded_at: datetime
    partner_id: str
    program_id: str | None
    kind: str
    strength: str
    own_account: bool
    self_deal: bool
    logged_late: bool
    counting: bool
    tier_id: str | None = None
    approval: str = "none"


@dataclass(frozen=True, slots=True)
class DealTruth:
    """Everything the rules say about one deal as of an instant.

    `spells` are (stage, is_closed, entered_at); `close_date_pushes` count how often the close date moved to a
    later day while the deal stayed open; `influenced` are (partner id, state, program ids);
    `segments` are (field, value).
    """

    id: str
    created_at: datetime
    closed_at: datetime | None
    outcome: str
    closed_on: date | None
    amount_minor: int | None
    deal_type: str
    future_dated: bool
    spells: tuple[tuple[str, bool, datetime], ...]
    touchpoints: tuple[TouchpointTruth, ...]
    sourced_partner_id: str | None
    sourced_program: str | None
    contested: bool
    unverified: bool
    influenced: tuple[tuple[str, str, tuple[str | None, ...]], ...]
    sourced_tier: str | None = None
    segments: tuple[tuple[str, str | None], ...] = ()
    lead_created_at: datetime | None = None
    owner_id: str | None = None
    close_date_pushes: int = 0


@dataclass(frozen=True, slots=True)
class Truth:
    """The deals, the touchpoints that reach none, and the names to print.

    `ambiguous` and `orphans` hold touchpoint ids; `direct` has (object:id, deal, deals of its account,
    instant) of what our own people did without a partner; `partner_names` has the partners seen on a deal,
    `parents` the top of each one's family, `program_names` and `tier_names` every program and level.
    """

    deals: dict[str, DealTruth]
    ambiguous: frozenset[str]
    orphans: frozenset[str]
    partner_names: dict[str, str]
    program_names: dict[str, str]
    excluded_deals: int = 0
    digits: int = 2
    currency: str = "XXX"
    parents: dict[str, str] = field(default_factory=dict)
    parent_names: dict[str, str] = field(default_factory=dict)
    tier_names: dict[str, str] = field(default_factory=dict)
    direct: frozenset[tuple[str, str | None, frozenset[str], datetime]] = frozenset()
