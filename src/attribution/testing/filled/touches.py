"""What partners, and others, did on the deals of a filled store."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from attribution.testing.filled.base import DAY, INTERNAL_USERS, PROGRAMS, Base, Frames, Ints, take
from attribution.testing.filled.deals import Deals

__all__ = ["Touches"]

_SHARES: Final = {
    "Partner": 0.10,
    "Event": 0.22,
    "EventRelation": 0.10,
    "Task": 0.20,
    "TaskRelation": 0.03,
    "CampaignMember": 0.14,
    "OpportunityContactRole": 0.10,
    "Lead": 0.04,
    "Deal_Registration__c": 0.03,
    "Partner_Influence__c": 0.01,
    "Overlap__c": 0.03,
}
"""How the touch records spread over the objects."""
_HOUR: Final = DAY // 24


class Touches:
    """The draws behind the touch records."""

    def __init__(self, base: Base, deals: Deals, per_deal: float) -> None:
        self.base, self.deals = base, deals
        records = base.n * per_deal
        self.sizes = {name: round(records * share) for name, share in _SHARES.items()}
        self.n_campaigns = base.n // 1000 + 1

    def frames(self) -> Frames:
        """Rows by object, as the mirror holds them."""
        return {
            "Partner": self._roles,
            "Lead": self._leads,
            "Campaign": self._campaigns,
            "CampaignMember": self._members,
            "PartnerFundRequest": self._requests,
            "OpportunityContactRole": self._contact_roles,
            "Event": self._events,
            "EventRelation": self._event_relations,
            "Task": self._tasks,
            "TaskRelation": self._task_relations,
            "Deal_Registration__c": self._registrations,
            "Partner_Influence__c": self._influences,
            "Overlap__c": self._overlaps,
        }

    def _person(self, deal: Ints, partners: float) -> Ints:
        """A contact of a partner for such a part of the touches, of the customer for the others."""
        base = self.base
        of_partner = base.partner_contact(base.partner(len(deal)))
        of_customer = base.customer_contact(self.deals.customer[deal])
        return np.where(base.share(len(deal), partners), of_partner, of_customer)

    def _what(self, deal: Ints) -> pl.Expr:
        """The deal, for a tenth of the activities its account."""
        on_account = pl.Series(self.base.share(len(deal), 0.1))
        account = take(self.base.customer_ids, self.deals.customer[deal])
        return pl.when(on_account).then(account).otherwise(take(self.deals.ids, deal))

    def _owner(self, deal: Ints) -> pl.Series:
        return take(self.base.users, self.deals.owner[deal])

    def _roles(self) -> pl.DataFrame:
        base, size = self.base, self.sizes["Partner"]
        deal, at = self.deals.when(size)
        partner = base.partner(len(deal))
        return base.dated(base.ids("00I", len(deal)), at).with_columns(
            OpportunityId=take(self.deals.ids, deal),
            AccountFromId=take(base.customer_ids, self.deals.customer[deal]),
            AccountToId=take(base.partner_ids, partner),
            Role=take(["Reseller", "Referral", "Implementation"], partner % 3),
            CreatedById=self._owner(deal),
        )

    def _leads(self) -> pl.DataFrame:
        base = self.base
        deal, _ = self.deals.when(self.sizes["Lead"])
        created = self.deals.created[deal]
        linked = pl.Series(base.share(len(deal), 0.8))
        author = np.where(
            base.share(len(deal), 0.6), INTERNAL_USERS + base.partner(len(deal)), self.deals.owner[deal]
        )
        referrer = np.where(base.share(len(deal), 0.3), base.partner(len(deal)), -1)
        at = created - base.between(0, 60 * DAY, len(deal))
        return base.dated(base.ids("00Q", len(deal)), at, created).with_columns(
            CreatedById=take(base.users, author),
            IsConverted=pl.lit(value=True),
            ConvertedDate=base.days(created),
            ConvertedAccountId=take(base.customer_ids, self.deals.customer[deal]),
            ConvertedOpportunityId=pl.when(linked).then(take(self.deals.ids, deal)),
            PartnerAccountId=pl.lit(None, pl.String),
            MasterRecordId=pl.lit(None, pl.String),
            Referred_By__c=take(base.partner_ids, referrer),
        )

    def _campaigns(self) -> pl.DataFrame:
        base, size = self.base, self.n_campaigns
        named = np.where(base.share(size, 0.5), base.partner(size), -1)
        frame = base.dated(base.ids("701", size), base.now - 1_140 * DAY)
        return frame.with_columns(Partner__c=take(base.partner_ids, named))

    def _requests(self) -> pl.DataFrame:
        base = self.base
        campaign = np.flatnonzero(base.share(self.n_campaigns, 0.5))
        frame = base.dated(base.ids("0pr", len(campaign)), base.now - 1_130 * DAY)
        return frame.with_columns(
            CampaignId=take(base.ids("701", self.n_campaigns), campaign),
            ChannelPartnerId=take(base.partner_ids, base.partner(len(campaign))),
            Status=take(["Approved", "Submitted"], base.share(len(campaign), 0.3).astype(np.int64)),
        )

    def _members(self) -> pl.DataFrame:
        base = self.base
        deal, at = self.deals.when(self.sizes["CampaignMember"])
        n_leads = self.sizes["Lead"]
        is_lead = base.share(len(deal), 0.2) & (n_leads > 0)
        lead = np.where(is_lead, base.between(0, n_leads, len(deal)), -1)
        responded = base.share(len(deal), 0.5)
        later = np.minimum(at + base.between(0, 20 * DAY, len(deal)), base.now - DAY)
        return base.dated(base.ids("00v", len(deal)), at, later).with_columns(
            CampaignId=take(base.ids("701", self.n_campaigns), base.between(0, self.n_campaigns, len(deal))),
            LeadId=take(base.ids("00Q", n_leads), lead),
            ContactId=take(base.contacts, np.where(is_lead, -1, self._person(deal, 0.25))),
            HasResponded=pl.Series(responded),
            FirstRespondedDate=pl.when(pl.Series(responded)).then(base.days(later)),
            CreatedById=self._owner(deal),
        )

    def _contact_roles(self) -> pl.DataFrame:
        base = self.base
        deal, at = self.deals.when(self.sizes["OpportunityContactRole"])
        return base.dated(base.ids("00K", len(deal)), at).with_columns(
            OpportunityId=take(self.deals.ids, deal),
            ContactId=take(base.contacts, self._person(deal, 0.3)),
            Role=take(["Influencer", "Decision Maker", None], deal % 3),
            CreatedById=self._owner(deal),
        )

    def _events(self) -> pl.DataFrame:
        base = self.base
        deal, at = self.deals.when(self.sizes["Event"])
        return base.dated(base.ids("00U", len(deal)), at).with_columns(
            WhoId=take(base.contacts, self._person(deal, 0.65)),
            WhatId=self._what(deal),
            OwnerId=self._owner(deal),
            CreatedById=self._owner(deal),
            ActivityDateTime=base.instants(at),
            ActivityDate=base.days(at),
            EndDateTime=base.instants(at + _HOUR),
            EndDate=base.days(at + _HOUR),
            DurationInMinutes=pl.lit(60, pl.Int64),
            IsAllDayEvent=pl.lit(value=False),
            IsChild=pl.lit(value=False),
            IsRecurrence=pl.lit(value=False),
        )

    def _relation(self, key_prefix: str, name: str, activity: str, prefix: str) -> pl.DataFrame:
        """Who else took part: our people, partners, customers."""
        base, size = self.base, self.sizes[name] if self.sizes[activity] else 0
        whom = base.between(0, 3, size)
        contact = np.where(
            whom == 1,
            base.partner_contact(base.partner(size)),
            base.customer_contact(base.between(0, base.n_customers, size)),
        )
        user = take(base.users, base.between(0, INTERNAL_USERS, size))
        at = base.now - base.between(2 * DAY, 1_000 * DAY, size)
        frame = base.dated(base.ids(key_prefix, size), at)
        return frame.with_columns(
            take(base.ids(prefix, self.sizes[activity]), base.between(0, self.sizes[activity], size)).alias(
                f"{activity}Id"
            ),
            RelationId=pl.when(pl.Series(whom == 0)).then(user).otherwise(take(base.contacts, contact)),
        )

    def _event_relations(self) -> pl.DataFrame:
        return self._relation("0RE", "EventRelation", "Event", "00U")

    def _tasks(self) -> pl.DataFrame:
        base = self.base
        deal, at = self.deals.when(self.sizes["Task"])
        closed = base.share(len(deal), 0.9)
        stamped = closed & base.share(len(deal), 0.6)
        subtype = base.random.choice(4, len(deal), p=[0.45, 0.4, 0.1, 0.05])
        return base.dated(base.ids("00T", len(deal)), at).with_columns(
            WhoId=take(base.contacts, self._person(deal, 0.55)),
            WhatId=self._what(deal),
            OwnerId=self._owner(deal),
            CreatedById=self._owner(deal),
            IsClosed=pl.Series(closed),
            ActivityDate=base.days(at),
            TaskSubtype=take(["Call", "Email", "Task", None], subtype),
            CompletedDateTime=pl.when(pl.Series(stamped)).then(base.instants(at)),
            IsRecurrence=pl.lit(value=False),
        )

    def _task_relations(self) -> pl.DataFrame:
        return self._relation("0RT", "TaskRelation", "Task", "00T")

    def _registrations(self) -> pl.DataFrame:
        base = self.base
        deal, _ = self.deals.when(self.sizes["Deal_Registration__c"])
        size = len(deal)
        at = self.deals.created[deal] - base.between(-5 * DAY, 60 * DAY, size)
        approved_at = np.minimum(at + base.between(0, 10 * DAY, size), base.now - DAY)
        status = base.random.choice(3, size, p=[0.65, 0.2, 0.15])
        program = np.where(base.share(size, 0.2), base.between(0, PROGRAMS, size), -1)
        direct, dated, expiring = base.share(size, 0.8), base.share(size, 0.8), base.share(size, 0.5)
        return base.dated(base.ids("a01", size), at, approved_at).with_columns(
            CreatedById=take(base.users, INTERNAL_USERS + base.partner(size)),
            Partner_Account__c=take(base.partner_ids, base.partner(size)),
            Opportunity__c=pl.when(pl.Series(direct)).then(take(self.deals.ids, deal)),
            Account__c=take(base.customer_ids, self.deals.customer[deal]),
            Submitted_On__c=base.days(at),
            Expires_On__c=pl.when(pl.Series(expiring)).then(base.days(at + 120 * DAY)),
            Status__c=take(["Approved", "Submitted", "Rejected"], status),
            Approved_On__c=pl.when(pl.Series(dated & (status == 0))).then(base.days(approved_at)),
            Program__c=take(base.ids("0pp", PROGRAMS), program),
        )

    def _influences(self) -> pl.DataFrame:
        base = self.base
        deal, at = self.deals.when(self.sizes["Partner_Influence__c"])
        direct = base.share(len(deal), 0.7)
        return base.dated(base.ids("a03", len(deal)), at).with_columns(
            CreatedById=self._owner(deal),
            Partner__c=take(base.partner_ids, base.partner(len(deal))),
            Opportunity__c=pl.when(pl.Series(direct)).then(take(self.deals.ids, deal)),
            Lead__c=pl.lit(None, pl.String),
            Contact__c=take(base.contacts, base.customer_contact(self.deals.customer[deal])),
            Held_At__c=base.instants(at),
        )

    def _overlaps(self) -> pl.DataFrame:
        base, size = self.base, self.sizes["Overlap__c"]
        at = base.now - base.between(2 * DAY, 1_000 * DAY, size)
        return base.dated(base.ids("a02", size), at).with_columns(
            CreatedById=take(base.users, np.zeros(size, np.int64)),
            Account__c=take(base.customer_ids, base.between(0, base.n_customers, size)),
            Partner_Account__c=take(base.partner_ids, base.partner(size)),
            Found_On__c=base.days(at),
        )
