"""What the custom objects of a generated org hold: registrations, a junction object, overlaps."""

from __future__ import annotations

from datetime import datetime, timedelta

from attribution.testing.synthetic.evidence import Evidence
from attribution.testing.synthetic.rows import DAY, Company, Deal

__all__ = ["Custom"]


class Custom(Evidence):
    """Adds the records of custom objects."""

    def registration(self, deal: Deal, partner: Company) -> None:
        """Add a deal registration in any state, about in time for its deal."""
        back = self.rng.choices(
            (self.days(0, 60), self.days(60, 200), -self.days(0, 3), -3 * DAY, -self.days(4, 12)),
            (55, 10, 15, 8, 12),
        )[0]
        at = min(self.limit, deal.created_at - back)
        logged_at = at if self.chance(0.85) else min(self.limit, at + self.days(1, 30))
        status = self.rng.choices(("Approved", "Submitted", "Rejected", "On Hold"), (58, 20, 16, 6))[0]
        decided_at = self.moment(logged_at, min(self.limit, logged_at + 12 * DAY))
        is_dated = status == "Approved" and self.chance(0.8)
        expires_on = None
        if self.chance(0.5):
            expires_on = self.day(at + self.days(10, 180)) if self.chance(0.9) else self.day(deal.created_at)
        draw = self.rng.random()
        row = self.add(
            "Deal_Registration__c", logged_at, self.author(deal, partner), decided_at,
            Name=f"R-{len(self.rows['Deal_Registration__c']) + 1:05}", OwnerId=self.rep(),
            Partner_Account__c=self.reference(partner) if draw > 0.03 else None,
            Partner_Contact__c=self.rng.choice(partner.contacts) if draw > 0.03 else None,
            Opportunity__c=deal.id if draw < 0.75 else None,
            Account__c=deal.account_id if draw < 0.96 else None,
            Submitted_On__c=self.day(at) if draw > 0.05 else None, Expires_On__c=expires_on,
            Status__c=status, Approved_On__c=self.day(decided_at) if is_dated else None,
            Program__c=self.a_program() if self.chance(0.3) else None,
        )  # fmt: skip
        if "Deal_Registration__History" in self.rows and status != "Submitted" and self.chance(0.8):
            self.add(
                "Deal_Registration__History", decided_at, self.rep(), ParentId=row["Id"], Field="Status__c",
                DataType="Text", OldValue="Submitted", NewValue=status,
            )  # fmt: skip
        if self.chance(0.02):
            self.delete(row, self.moment(decided_at, self.limit))

    def a_program(self) -> str:
        """Return what the program field of a custom object holds."""
        return str(self.rng.choice(self.rows["ChannelProgram"])["Id"]) if self.licensed else "Co-sell"

    def influence(self, deal: Deal, partner: Company) -> None:
        """Add a row of the junction object, which names a deal, a lead, a contact, or nothing."""
        at = self.touched_at(deal)
        draw = self.rng.random()
        contact = None if deal.company is None else self.rng.choice(deal.company.contacts)
        lead = self.rng.choice(self.rows["Lead"])["Id"] if self.rows["Lead"] and 0.6 < draw < 0.8 else None
        self.add(
            "Partner_Influence__c", min(self.limit, at + self.days(0, 20)), self.author(deal, partner),
            Name=f"I-{len(self.rows['Partner_Influence__c']) + 1:05}", OwnerId=self.rep(),
            Partner__c=self.reference(partner), Opportunity__c=deal.id if draw < 0.6 else None,
            Lead__c=lead, Contact__c=contact if draw < 0.97 else None,
            Held_At__c=at if draw > 0.02 else None,
        )  # fmt: skip

    def overlaps(self) -> None:
        """Add which customers are customers of a partner, too."""
        for company in self.customers:
            for _ in range(self.rng.choices((0, 1, 2), (65, 25, 10))[0]):
                found_at = self.moment(self.start + 365 * DAY, self.limit - DAY)
                row = self.add(
                    "Overlap__c", self.found_later(found_at), self.rep(), OwnerId=self.rep(),
                    Name=f"O-{len(self.rows['Overlap__c']) + 1:05}", Account__c=self.reference(company),
                    Partner_Account__c=self.reference(self.rng.choice(self.partners)),
                    Found_On__c=self.day(found_at),
                )  # fmt: skip
                if self.chance(0.05):
                    self.delete(row, self.moment(found_at, self.limit))

    def found_later(self, at: datetime) -> datetime:
        """Draw when something was entered: at once, or days later."""
        return at if self.chance(0.7) else min(self.limit, at + timedelta(days=self.rng.randint(1, 30)))
