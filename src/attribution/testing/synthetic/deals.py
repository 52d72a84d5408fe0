"""Deals of a generated org: their stages, amounts and everything that happened around them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from attribution.testing.synthetic.campaigns import Campaigns
from attribution.testing.synthetic.rows import DAY, Company, Deal, Row
from attribution.testing.synthetic.words import (
    DEAL_CURRENCIES,
    FORGOTTEN,
    INDUSTRIES,
    OPEN,
    RECORD_TYPES,
    STAGES,
    TYPES,
)

__all__ = ["Deals"]

_Steps = list[tuple[datetime, str, Decimal | None]]


class Deals(Campaigns):
    """Adds deals."""

    def sell(self, number: int) -> None:
        """Add an opportunity with its history and everything that happened around it."""
        draw = self.rng.random()
        company: Company | None = None
        if draw < 0.04:
            company = self.rng.choice(self.partners)  # partners also buy
        elif draw < 0.99:
            company = self.customers[int(self.rng.random() ** 1.5 * len(self.customers))]
        created_at = self.moment(self.now - 3 * 365 * DAY, self.now - 2 * DAY)
        partner = self.rng.choice(self.partners)
        owner_id = created_by = self.rep()
        partner_account: str | None = None
        if partner.users and self.chance(0.07):  # brought in by a partner user, who may have passed it on
            created_by = self.rng.choice(partner.users)
            if self.chance(0.7):
                owner_id, partner_account = created_by, partner.id
        elif partner.users and self.chance(0.04):  # handed over to a partner
            owner_id, partner_account = self.rng.choice(partner.users), partner.id
        elif self.customers[0].users and self.chance(0.01):
            created_by = self.customers[0].users[0]

        kind = self.rng.choices(tuple(TYPES), (55, 20, 14, 11))[0]
        details = self.details(kind)
        label, outcome, closed_at, rows = self.history(created_at, details["CurrencyIsoCode"] == "JPY")
        last = rows[-1]
        changed_at = min(self.limit, max(last[0], closed_at or created_at) + self.days(0, 20))
        stage = next(stage for stage in STAGES if stage[0] == label)
        has_no_rows = self.chance(0.08)
        close_on = self.close_on(created_at, closed_at, outcome, has_no_rows)
        account_id = None if company is None else self.reference(company)
        remark = " [test]" if self.chance(0.006) else ""
        opportunity = self.add(
            "Opportunity", created_at, created_by, changed_at, AccountId=account_id, OwnerId=owner_id,
            Name=f"{'Walk-in' if company is None else company.name}: {kind} {number + 1}{remark}",
            StageName=label,
            Amount=last[2], Probability=Decimal(150 if self.chance(0.01) else stage[4]), CloseDate=close_on,
            ExpectedRevenue=_expected(last[2], stage[4]), Type=self.rng.choice(TYPES[kind]),
            LeadSource=self.lead_source(), IsWon=outcome == "won", IsClosed=outcome != "open",
            ForecastCategory=stage[5], ForecastCategoryName=stage[5], PartnerAccountId=partner_account,
            **details,
        )  # fmt: skip
        ends_at = closed_at or self.limit
        deal = Deal(
            str(opportunity["Id"]), company, account_id, owner_id, created_at, ends_at, closed_at is not None
        )
        if not has_no_rows:
            self.write_history(deal, rows, closed_at, close_on, details["CurrencyIsoCode"])
        for _ in range(self.rng.choices((0, 1, 2, 3, 4), (38, 30, 18, 10, 4))[0]):
            own = None if company is None else company.relative
            self.touch(deal, own if own is not None and self.chance(0.4) else self.rng.choice(self.partners))
        self.leads(deal)
        if self.mapped:
            self.lookups(deal, opportunity)
            for _ in range(self.rng.choices((0, 1, 2), (78, 16, 6))[0]):
                self.registration(deal, self.rng.choice(self.partners))
            if self.chance(0.12):
                self.influence(deal, self.rng.choice(self.partners))
        if company is not None and self.chance(0.5):
            self.contact_role(deal, self.rng.choice(company.contacts))
        if self.campaigns and self.chance(0.6):
            campaign = self.rng.choice(self.campaigns)
            for _ in range(self.rng.randint(1, 2)):
                self.member(campaign, deal, self.rng.choice(self.partners))
        if self.amount_field != "Amount":
            self.custom_amount(deal, opportunity, rows)
        if self.chance(0.012):
            at = self.moment(changed_at, self.limit)
            for row in (opportunity, *deal.children):
                self.delete(row, at)

    def details(self, kind: str) -> dict[str, object]:
        """Draw record type, segments and currency."""
        excluded = self.chance(0.015)
        names = RECORD_TYPES["excluded" if excluded else kind]
        return {
            "RecordTypeId": self.record_types[self.rng.choice(names)] if self.chance(0.95) else None,
            "Industry__c": self.rng.choice(INDUSTRIES),
            "Is_Strategic__c": self.chance(0.2),
            "CurrencyIsoCode": self.rng.choices(tuple(DEAL_CURRENCIES), tuple(DEAL_CURRENCIES.values()))[0],
        }

    def custom_amount(self, deal: Deal, opportunity: Row, rows: _Steps) -> None:
        """Keep the amount in a field of the org's own, its changes in the field history."""
        opportunity[self.amount_field], opportunity["Amount"] = opportunity["Amount"], None
        is_tracked = self.chance(0.85)
        for (_, _, old), (at, _, new) in pairwise(rows):
            if old != new and is_tracked:
                row = self.add(
                    "OpportunityFieldHistory", at, deal.owner_id, OpportunityId=deal.id,
                    Field=self.amount_field, DataType="Currency",
                    OldValue=None if old is None else str(old), NewValue=None if new is None else str(new),
                )  # fmt: skip
                deal.children.append(row)

    def history(self, created_at: datetime, has_no_cents: bool) -> tuple[str, str, datetime | None, _Steps]:
        """Walk through the stages: (final stage, outcome, closed_at, rows of (instant, stage, amount))."""
        length = timedelta(seconds=int(86400 * min(700.0, self.rng.lognormvariate(4.0, 0.8))))
        outcome = self.rng.choices(("won", "lost", "open"), (45, 40, 15))[0]
        closed_at: datetime | None = self.moment(created_at + length, created_at + length + DAY)
        if outcome == "open" or closed_at is None or closed_at > self.limit:
            outcome, closed_at = "open", None
        end = closed_at or min(self.limit, created_at + length)
        draw, amount = self.rng.random(), Decimal(int(100 * self.rng.lognormvariate(10.0, 1.1))) / 100
        unit = Decimal(1) if has_no_cents else Decimal("0.01")
        amount = amount * 100 if has_no_cents else amount
        first: Decimal | None = amount
        if draw < 0.06:
            first = None if draw < 0.035 else Decimal(0) if draw < 0.052 else -amount

        inside = sorted(self.moment(created_at, end) for _ in range(self.rng.randint(0, 5)))
        if not inside or self.chance(0.7):
            inside = [created_at, *inside]  # else the first row is later: nobody knows the stage before it
        rows: _Steps = []
        place, money = -1, first
        for at in inside:
            place = min(
                len(OPEN) - 1, max(0, place + self.rng.choices((1, 2, -1, -2, 0), (66, 14, 9, 3, 8))[0])
            )
            label = "Perception Review" if self.chance(0.01) else OPEN[place]
            if money is not None and self.chance(0.2):
                money = (money * Decimal(self.rng.randint(70, 140)) / 100).quantize(unit)
            rows.append((rows[-1][0] if rows and self.chance(0.05) else at, label, money))
        if closed_at is None:
            return rows[-1][1], outcome, None, rows
        if outcome == "won" and self.chance(0.07):  # lost, reopened, won
            lost_at = self.moment(rows[-1][0], closed_at)
            rows.append((lost_at, "Closed Lost", money))
            rows.append((self.moment(lost_at, closed_at), "Negotiation", money))
        label = (
            "Closed Lost" if outcome == "lost" else "Signed on Paper" if self.chance(0.03) else "Closed Won"
        )
        rows.append((closed_at, label, money))
        if self.chance(0.08):  # amount corrected after the close
            money = None if money is None else (money * Decimal("1.05")).quantize(unit)
            rows.append((min(self.limit, closed_at + self.days(0.01, 30)), label, money))
        return label, outcome, closed_at, rows

    def close_on(
        self, created_at: datetime, closed_at: datetime | None, outcome: str, has_no_rows: bool
    ) -> date:
        """Draw the close date that the CRM reports."""
        if (
            has_no_rows and closed_at is not None and self.chance(0.2)
        ):  # a day of 23 or 25 hours ends its window
            between = [
                day for day in self.clock_changes if self.day(created_at) <= day <= self.day(closed_at)
            ]
            if between:
                return between[-1]
        if self.chance(0.01):
            return self.day(created_at) - timedelta(days=self.rng.randint(1, 40))
        if closed_at is None:
            return self.day(created_at) + timedelta(days=self.rng.randint(20, 300))
        if outcome == "won" and self.chance(0.02):
            return self.day(self.now) + timedelta(days=self.rng.randint(1, 60))
        return self.day(closed_at) + timedelta(days=0 if self.chance(0.7) else self.rng.randint(-10, 10))

    def write_history(
        self,
        deal: Deal,
        rows: _Steps,
        closed_at: datetime | None,
        on: date,
        currency: object,
    ) -> None:
        """Add the stage history, with rows that are missing, tied, or of stages nobody knows any more."""
        if closed_at is not None and len(rows) > 1 and self.chance(0.02):
            rows = [row for row in rows if row[0] < closed_at] or rows  # the close itself left no row
        stages = {stage[0]: stage for stage in STAGES}
        written = []
        for at, label, amount in rows:
            _, name, _, outcome, probability, category = stages[label]
            if self.chance(0.01):
                name, probability, category = FORGOTTEN[outcome]
            elif self.chance(0.5):
                name = label
            written.append((at, name, amount, probability, category))
        # Rows with one CreatedDate are ordered by SystemModstamp; now and then their ids run the other way.
        late = timedelta(0)
        previous: datetime | None = None
        pairs = []
        for entry in written:
            late = late + timedelta(seconds=self.rng.randint(0, 2)) if entry[0] == previous else timedelta(0)
            previous = entry[0]
            pairs.append((entry, entry[0] + late))
        if self.chance(0.3):
            pairs = _swap_ties(pairs)
        for (at, name, amount, probability, category), stamp in pairs:
            then = on if closed_at is None or at >= closed_at else self.day(at) + timedelta(days=45)
            row = self.add(
                "OpportunityHistory", at, deal.owner_id, stamp, OpportunityId=deal.id, StageName=name,
                Amount=amount, Probability=Decimal(probability), CloseDate=then, ForecastCategory=category,
                ExpectedRevenue=_expected(amount, probability), CurrencyIsoCode=currency,
            )  # fmt: skip
            deal.children.append(row)


def _expected(amount: Decimal | None, probability: int) -> Decimal | None:
    return None if amount is None else (amount * probability / 100).quantize(Decimal("0.01"))


_Pair = tuple[tuple[datetime, str, Decimal | None, int, str], datetime]


def _swap_ties(pairs: list[_Pair]) -> list[_Pair]:
    """Reverse runs of rows with one CreatedDate whose SystemModstamps keep the order."""
    swapped = list(pairs)
    for i in range(len(swapped) - 1):
        (one, one_stamp), (two, two_stamp) = swapped[i], swapped[i + 1]
        if one[0] == two[0] and one_stamp < two_stamp:
            swapped[i], swapped[i + 1] = swapped[i + 1], swapped[i]
    return swapped
