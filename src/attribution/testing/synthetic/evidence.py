"""What Partner rows, contact roles, leads and lookups of a generated org say."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from attribution.testing.synthetic.activities import Activities
from attribution.testing.synthetic.rows import DAY, Company, Deal, Row, salesforce_id
from attribution.testing.synthetic.words import ROLES

__all__ = ["Evidence"]


class Evidence(Activities):
    """Adds the records of what partners did on a deal."""

    def touch(self, deal: Deal, partner: Company) -> None:
        """Add what one partner did on one deal."""
        if self.chance(0.55):
            self.partner_row(deal, partner)
        for _ in range(self.rng.choices((0, 1, 2, 3), (35, 35, 20, 10))[0]):
            self.meeting(deal, partner)
        for _ in range(self.rng.choices((0, 1, 2, 3), (45, 30, 15, 10))[0]):
            self.task(deal, partner)
        if self.chance(0.2):
            self.contact_role(deal, self.rng.choice(partner.contacts))

    def contact_role(self, deal: Deal, contact_id: str) -> None:
        """Add a role of a contact on a deal."""
        at = min(max(self.touched_at(deal), deal.created_at), self.limit)
        row = self.add(
            "OpportunityContactRole", at, self.rep(), OpportunityId=deal.id, ContactId=contact_id,
            Role=self.rng.choice(("Decision Maker", "Influencer", "Evaluator", None)),
            IsPrimary=self.chance(0.3),
        )  # fmt: skip
        deal.children.append(row)
        if self.chance(0.03):
            self.delete(row, self.moment(at, self.limit))

    def lookups(self, deal: Deal, opportunity: Row) -> None:
        """Fill the partner lookups of an opportunity: at once, soon, late, for another, and out again."""
        for field, share in (("Referring_Partner__c", 0.12), ("Implementation_Partner__c", 0.12)):
            opportunity[field] = None
            if not self.chance(share):
                continue
            draw, at = self.rng.random(), deal.created_at
            value: str | None = self.reference(self.rng.choice(self.partners))
            before: str | None = None
            if draw > 0.4:
                latest = self.days(0.01, 14) if draw < 0.75 else self.days(14, 120)
                at = min(self.limit, self.rng.choice((latest, latest, 14 * DAY)) + deal.created_at)
                self.track(deal, field, None, value, at)
            if self.chance(0.1):
                before, value = value, self.reference(self.rng.choice(self.partners))
                at = self.moment(at, self.limit)
                self.track(deal, field, before, value, at)
            if self.chance(0.05):
                self.track(deal, field, value, None, self.moment(at, self.limit))
                value = None
            opportunity[field] = value

    def track(self, deal: Deal, field: str, old: str | None, new: str | None, at: datetime) -> None:
        """Add field history as Salesforce does for a lookup: one row with the ids, one with the names."""
        by = self.author(deal, self.partners[0])
        names = {str(row["Id"]): str(row["Name"]) for row in self.rows["Account"] if row["Id"] in (old, new)}
        for before, after in ((old, new), (names.get(old or ""), names.get(new or ""))):
            row = self.add(
                "OpportunityFieldHistory", at, by, OpportunityId=deal.id, Field=field, DataType="Text",
                OldValue=before, NewValue=after,
            )  # fmt: skip
            deal.children.append(row)

    def partner_row(self, deal: Deal, partner: Company) -> None:
        """Add a Partner row, now and then re-created or deleted."""
        by, role = self.author(deal, partner), self.rng.choice(ROLES)
        at = max(self.touched_at(deal), deal.created_at)
        account_to = self.reference(partner)
        row = self.pair(deal, account_to, at, by, role)
        for _ in range(
            self.rng.choices((0, 1, 2), (88, 9, 3))[0]
        ):  # a changed role is a deletion and a new row
            gone_at = self.moment(at, self.limit)
            gap = self.rng.choice((0, 0, 300, 3600, 86_400, 86_401, 3 * 86_400))
            if gone_at + timedelta(seconds=gap) > self.limit:
                break
            self.delete(row, gone_at)
            at = gone_at + timedelta(seconds=gap)
            row = self.pair(deal, account_to, at, self.rep(), self.rng.choice(ROLES))
        if self.chance(0.03):
            self.delete(row, self.moment(at, self.limit))

    def pair(self, deal: Deal, account_to: str, at: datetime, by: str, role: str | None) -> Row:
        """Add a Partner row, and the reverse one that Salesforce writes between the two accounts."""
        row = self.add(
            "Partner", at, by, OpportunityId=deal.id, AccountFromId=deal.account_id, AccountToId=account_to,
            Role=role, IsPrimary=self.chance(0.3), ReversePartnerId=None,
        )  # fmt: skip
        deal.children.append(row)
        if deal.account_id is not None:
            row["ReversePartnerId"] = self.add_id(
                "Partner", at, by, OpportunityId=None, AccountFromId=account_to, AccountToId=deal.account_id,
                Role=role, ReversePartnerId=row["Id"],
            )  # fmt: skip
        return row

    def leads(self, deal: Deal) -> None:
        """Add leads: a partner's, our own, handed over; converted into the deal, its account, or nothing."""
        for _ in range(self.rng.choices((0, 1, 2), (62, 31, 7))[0]):
            partner = self.rng.choice(self.partners)
            named = partner if self.chance(0.3) else self.rng.choice(self.partners)
            referrer = self.reference(named) if self.mapped and self.chance(0.2) else None
            by = owner = self.rep()
            if partner.users and self.chance(0.65):
                by = self.rng.choice(partner.users)
                owner = by if self.chance(0.5) else owner
            elif partner.users and self.chance(0.3):
                owner = self.rng.choice(partner.users)
            back = self.rng.choices(
                (
                    self.days(1, 80),
                    self.days(80, 365),
                    365 * DAY,
                    90 * DAY,
                    self.days(366, 600),
                    -self.days(1, 20),
                ),
                (70, 12, 2, 3, 7, 6),
            )[0]
            at = min(deal.created_at - back, self.limit)
            number = len(self.rows["Lead"]) + 1
            converted_at = max(at, deal.created_at)
            draw = self.rng.random()
            found: dict[str, Any] = {"Status": "Open", "IsConverted": False} | dict.fromkeys(
                ("ConvertedDate", "ConvertedAccountId", "ConvertedContactId", "ConvertedOpportunityId")
            )
            if draw < 0.9 and deal.company is not None:
                found = {
                    "Status": "Converted",
                    "IsConverted": True,
                    "ConvertedDate": self.day(converted_at),
                    "ConvertedAccountId": deal.account_id,
                    "ConvertedContactId": self.rng.choice(deal.company.contacts),
                    "ConvertedOpportunityId": deal.id if draw < 0.7 else None,
                }
            row = self.add(
                "Lead", at, by, converted_at, LastName=f"Lead {number}", Name=f"Lead {number}", OwnerId=owner,
                Company="Not yet an account" if deal.company is None else deal.company.name,
                LeadSource=self.lead_source(), MasterRecordId=None,
                PartnerAccountId=partner.id if owner in partner.users else None,
                Referred_By__c=referrer, **found,
            )  # fmt: skip
            if self.chance(0.015):
                master = salesforce_id(self.prefix["Lead"], number - 1) if number > 1 else None
                row["MasterRecordId"] = master
                self.delete(row, self.moment(converted_at, self.limit))
