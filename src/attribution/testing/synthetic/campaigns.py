"""Campaigns of a generated org, and who took part."""

from __future__ import annotations

from datetime import timedelta

from attribution.testing.synthetic.custom import Custom
from attribution.testing.synthetic.rows import DAY, Company, Deal, Row

__all__ = ["Campaigns"]


class Campaigns(Custom):
    """Adds campaigns, members and requests for partner funds."""

    def campaign(self, number: int) -> str:
        """Add a campaign of a partner by field, by an approved request for funds, by neither, or by both."""
        at, by = self.moment(self.start + 300 * DAY, self.limit - 30 * DAY), self.rep()
        named = self.reference(self.rng.choice(self.partners)) if self.chance(0.35) else None
        campaign = self.add_id(
            "Campaign", at, by, Name=f"Campaign {number + 1}", IsActive=True, OwnerId=by, Partner__c=named,
            Type=self.rng.choice(("Webinar", "Conference", "Email")),
        )  # fmt: skip
        for _ in range(self.rng.choices((0, 1, 2), (45, 45, 10))[0] if self.licensed else 0):
            asked_at = self.moment(at, min(self.limit, at + 30 * DAY))
            row = self.add(
                "PartnerFundRequest", asked_at, by, Title=f"Funds for campaign {number + 1}", OwnerId=by,
                Status=self.rng.choices(("Approved", "Submitted", "Rejected"), (6, 2, 2))[0],
                CampaignId=campaign, ChannelPartnerId=self.reference(self.rng.choice(self.partners)),
            )  # fmt: skip
            if self.chance(0.05):
                self.delete(row, self.moment(asked_at, self.limit))
        return campaign

    def member(self, campaign: str, deal: Deal, partner: Company) -> None:
        """Add somebody to a campaign: a contact of the customer or of a partner, or a lead."""
        at = min(self.touched_at(deal), self.limit)
        draw = self.rng.random()
        lead: Row | None = None
        contact: object = None
        if draw < 0.25 and self.rows["Lead"]:
            lead = self.rng.choice(self.rows["Lead"])
            if lead["IsDeleted"] is not True and self.chance(0.4):
                contact = lead["ConvertedContactId"]  # Salesforce adds the contact when a lead is converted
        else:
            company = partner if draw > 0.8 or deal.company is None else deal.company
            contact = self.rng.choice(company.contacts)
        has_responded = self.chance(0.55)
        responded_at = (
            at if self.chance(0.5) else min(self.limit, at + timedelta(days=self.rng.randint(1, 40)))
        )
        row = self.add(
            "CampaignMember", at, self.rep(), responded_at, CampaignId=campaign, ContactId=contact,
            LeadId=None if lead is None else lead["Id"], HasResponded=has_responded,
            Status="Responded" if has_responded else "Sent",
            FirstRespondedDate=self.day(responded_at) if has_responded and self.chance(0.9) else None,
        )  # fmt: skip
        if self.chance(0.02):
            self.delete(row, self.moment(responded_at, self.limit))
