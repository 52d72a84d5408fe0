"""What somebody changed in a generated org after the first sync: a second version of some records."""

from __future__ import annotations

from datetime import datetime, timedelta

from attribution.testing.synthetic.deals import Deals
from attribution.testing.synthetic.rows import DAY, Row

__all__ = ["Edits"]

_HOUR = timedelta(hours=1)


class Edits(Deals):
    """Changes records, and gives the new versions apart from the old ones."""

    def edit(self, until: datetime) -> dict[str, list[Row]]:
        """Return the records that were changed or added between `now` and then; `rows` stay as they were."""
        self.until = until - _HOUR
        self.changed: dict[str, dict[str, Row]] = {}
        before = {name: len(rows) for name, rows in self.rows.items()}
        self.change_accounts()
        self.change_opportunities()
        self.change_registrations()
        self.merge()
        self.recreate_roles()
        self.remove()
        for name, rows in self.rows.items():
            for row in rows[before[name] :]:
                self.changed.setdefault(name, {})[str(row["Id"])] = row
            del rows[before[name] :]
        return {name: list(rows.values()) for name, rows in self.changed.items()}

    def later(self) -> datetime:
        """Draw an instant between the two states."""
        return self.moment(self.now + _HOUR, self.until)

    def revise(self, name: str, row: Row, **values: object) -> Row:
        """Write a new version of a record."""
        at = self.later()
        new = (
            row
            | {"SystemModstamp": at}
            | {key: value for key, value in values.items() if key in self.has[name]}
        )
        if "LastModifiedDate" in new:
            new["LastModifiedDate"] = at
        self.changed.setdefault(name, {})[str(row["Id"])] = new
        return new

    def some(self, name: str, share: float) -> list[Row]:
        """Draw live records of an object."""
        return [row for row in self.rows.get(name, ()) if not row.get("IsDeleted") and self.chance(share)]

    def change_accounts(self) -> None:
        """Take partner flags away, and give others."""
        ids = {company.id for company in self.partners}
        for row in self.some("Account", 0.2):
            if row["Id"] in ids:
                self.revise("Account", row, IsPartner=False, Type="Customer")
            elif self.chance(0.1):
                self.revise("Account", row, Type="Partner")

    def change_opportunities(self) -> None:
        """Win, lose, rename the partner of, and reprice deals; few of these leave a history."""
        for row in self.some("Opportunity", 0.08):
            values: dict[str, object] = {}
            if row["IsClosed"] is False and self.chance(0.6):
                is_won = self.chance(0.6)
                values |= {"StageName": "Closed Won" if is_won else "Closed Lost", "IsClosed": True}
                values |= {"IsWon": is_won, "ForecastCategory": "Closed" if is_won else "Omitted"}
                if self.chance(0.5):
                    values["CloseDate"] = self.day(self.now + 2 * DAY)
            for field in ("Referring_Partner__c", "Implementation_Partner__c"):
                if self.chance(0.3):
                    values[field] = self.reference(self.rng.choice(self.partners))
            new = self.revise("Opportunity", row, **values)
            if "StageName" in values and self.chance(0.5):
                at = new["SystemModstamp"]
                assert isinstance(at, datetime)
                self.add(
                    "OpportunityHistory", at, str(row["OwnerId"]), OpportunityId=row["Id"],
                    StageName=new["StageName"], Amount=new["Amount"], Probability=None,
                    CloseDate=new["CloseDate"], ForecastCategory=new["ForecastCategory"],
                    CurrencyIsoCode=new.get("CurrencyIsoCode"),
                )  # fmt: skip

    def change_registrations(self) -> None:
        """Decide on registrations; some decisions have a date or a history."""
        for row in self.some("Deal_Registration__c", 0.5):
            if row["Status__c"] == "Submitted":
                status = "Approved" if self.chance(0.7) else "Rejected"
                new = self.revise("Deal_Registration__c", row, Status__c=status)
                at = new["SystemModstamp"]
                assert isinstance(at, datetime)
                if status == "Approved" and self.chance(0.5):
                    new["Approved_On__c"] = self.day(at)
                if "Deal_Registration__History" in self.rows and self.chance(0.5):
                    self.add(
                        "Deal_Registration__History", at, self.rep(), ParentId=row["Id"], DataType="Text",
                        Field="Status__c", OldValue="Submitted", NewValue=status,
                    )  # fmt: skip

    def merge(self) -> None:
        """Merge customers, partners, contacts and leads; who pointed to the loser still does."""
        for companies, share in ((self.customers, 0.03), (self.partners, 0.05)):
            ids = [company.id for company in companies]
            winners = ids[::2]
            for row in self.some("Account", share):
                if row["Id"] in ids[1::2]:
                    self.revise("Account", row, IsDeleted=True, MasterRecordId=self.rng.choice(winners))
        for name in ("Contact", "Lead"):
            rows = self.some(name, 0.03)
            for winner, loser in zip(rows[::2], rows[1::2], strict=False):
                self.revise(name, loser, IsDeleted=True, MasterRecordId=winner["Id"])

    def recreate_roles(self) -> None:
        """Change the role in a Partner row: it is deleted and written anew, or only deleted."""
        for row in self.some("Partner", 0.04):
            if row["OpportunityId"] is None:
                continue
            gone_at = self.revise("Partner", row, IsDeleted=True)["SystemModstamp"]
            assert isinstance(gone_at, datetime)
            if self.chance(0.7):
                self.add(
                    "Partner", gone_at + self.rng.choice((timedelta(0), _HOUR)), self.rep(),
                    Role="VAR/Reseller",
                    OpportunityId=row["OpportunityId"], AccountFromId=row["AccountFromId"],
                    AccountToId=row["AccountToId"], IsPrimary=False, ReversePartnerId=None,
                )  # fmt: skip

    def remove(self) -> None:
        """Delete evidence of every kind."""
        names = (
            "ChannelProgramMember", "Event", "EventRelation", "Task", "OpportunityContactRole",
            "CampaignMember", "Overlap__c", "Partner_Influence__c",
        )  # fmt: skip
        for name in names:
            for row in self.some(name, 0.02):
                self.revise(name, row, IsDeleted=True)
