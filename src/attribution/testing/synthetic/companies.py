"""The company itself, its partners and its customers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from attribution.testing.synthetic.rows import DAY, Company, Rows, salesforce_id
from attribution.testing.synthetic.words import (
    CURRENCIES,
    LEVELS,
    PROGRAMS,
    RECORD_TYPES,
    SERVICES,
    STAGES,
    TOWN_ENDS,
    TOWN_STARTS,
    TRADES,
)

__all__ = ["Companies"]


class Companies(Rows):
    """Adds what stands before the first deal."""

    def found(self, opportunities: int) -> None:
        """Add everything that stands before the first deal."""
        at = self.start
        first = salesforce_id(self.prefix["User"], 1)
        self.add(
            "Organization", at, first, Name="Hollowbrook Instruments", TimeZoneSidKey=self.zone.key,
            FiscalYearStartMonth=2, UsesStartDateAsFiscalYearName=False, IsSandbox=False,
        )  # fmt: skip
        for number in range(8 + min(32, opportunities // 100)):
            self.reps.append(self.user(at, f"Rep {number + 1}", active=number % 9 != 8))
        for order, (label, name, active, outcome, probability, category) in enumerate(STAGES, 1):
            self.add(
                "OpportunityStage", at, first, MasterLabel=label, ApiName=name, IsActive=active,
                SortOrder=order, IsClosed=outcome != "open", IsWon=outcome == "won",
                DefaultProbability=Decimal(probability),
                ForecastCategory=category, ForecastCategoryName=category,
            )  # fmt: skip
        self.record_types = {
            name: self.add_id(
                "RecordType", at, first, Name=name.replace("_", " "), DeveloperName=name,
                SobjectType="Opportunity", IsActive=True,
            )
            for names in RECORD_TYPES.values() for name in names
        }  # fmt: skip
        if self.schema.multi_currency:
            self.currencies(at, first)
        programs = [self.program(name) for name in PROGRAMS] if self.licensed else []
        for number in range(min(200, 8 + opportunities // 40)):
            self.partner(number, programs)
        for number in range(max(1, opportunities * 2 // 5)):
            self.customer(number)

    def currencies(self, at: datetime, by: str) -> None:
        """Add the currencies and their rates: by quarter with a gap, or none but the current one."""
        for code, units in CURRENCIES.items():
            rate = (Decimal(units) / Decimal(CURRENCIES[self.currency])).quantize(Decimal("0.000001"))
            is_corporate = code == self.currency
            self.add(
                "CurrencyType", at, by, IsoCode=code, IsCorporate=is_corporate, IsActive=code != "GBP",
                ConversionRate=Decimal("1.000000") if is_corporate else rate,
                DecimalPlaces={"JPY": 0, "KWD": 3}.get(code, 2),
            )  # fmt: skip
            if code == "GBP" and not is_corporate:
                continue  # no dated rate was ever entered
            first = date(self.start.year, self.start.month, 1)
            starts = [first + timedelta(days=91 * quarter) for quarter in range(21)]
            for number, (start, end) in enumerate(pairwise(starts)):
                if code == "EUR" and number in (9, 10):
                    continue  # nobody entered a rate: the current one stands in
                factor = Decimal(self.rng.randint(900, 1100)) / 1000
                dated = Decimal(1) if is_corporate else rate * factor
                self.add(
                    "DatedConversionRate", at, by, IsoCode=code, StartDate=start, NextStartDate=end,
                    ConversionRate=dated.quantize(Decimal("0.000001")),
                )  # fmt: skip

    def user(self, at: datetime, name: str, active: bool = True, contact_id: str | None = None) -> str:
        """Add a user, of ours or of a partner."""
        number = len(self.rows["User"]) + 1
        address = f"user{number}@hollowbrook.example"
        by = salesforce_id(self.prefix["User"], 1)
        return self.add_id(
            "User", at, by, Username=address, Email=address, LastName=name, Name=name, IsActive=active,
            ContactId=contact_id, UserType="Standard" if contact_id is None else "PowerPartner",
            IsPortalEnabled=contact_id is not None,
        )  # fmt: skip

    def program(self, name: str) -> tuple[str, list[str]]:
        """Add a program with its levels."""
        at, by = self.start, self.reps[0]
        program_id = self.add_id("ChannelProgram", at, by, Name=name, IsActive=True, OwnerId=by)
        levels = [
            self.add_id("ChannelProgramLevel", at, by, Name=level, ProgramId=program_id, Rank=rank)
            for rank, level in enumerate(LEVELS, 1)
        ]
        return program_id, levels

    def name(self, trades: Sequence[str]) -> str:
        """Coin a company name; numbered once the coined ones are used up."""
        number = self.n_companies
        self.n_companies += 1
        lap, place = divmod(number * 37, len(TOWN_STARTS) * len(TOWN_ENDS))
        start, end = divmod(place, len(TOWN_ENDS))
        name = f"{TOWN_STARTS[start]}{TOWN_ENDS[end]} {trades[(number + lap) % len(trades)]}"
        return name if lap < 37 * len(trades) else f"{name} {number}"

    def company(self, name: str, since: datetime, **values: object) -> Company:
        """Add an account."""
        owner = self.rep()
        changed_at = self.moment(since, self.limit)
        account_id = self.add_id("Account", since, owner, changed_at, Name=name, OwnerId=owner, **values)
        return Company(account_id, name, since)

    def merge_into(self, company: Company, n_losers: int) -> None:
        """Losers of a merge, in a chain: each was merged into the next, the last one into the company."""
        master, owner = company.id, self.reps[0]
        for number in range(n_losers):
            at = company.since + self.days(1, 20)
            master = self.add_id(
                "Account", at, owner, self.moment(at, self.limit),
                Name=f"{company.name} (duplicate {number + 1})", OwnerId=owner, IsDeleted=True,
                MasterRecordId=master,
            )  # fmt: skip
            company.merged.append(master)

    def reference(self, company: Company) -> str:
        """Return the company's id, or one merged into it where somebody still points at that."""
        return self.rng.choice(company.merged) if company.merged and self.chance(0.3) else company.id

    def person(self, company: Company) -> str:
        """Add a contact, now and then with a duplicate that was merged into it."""
        number = len(self.rows["Contact"]) + 1
        at = company.since + self.days(0, 10)
        contact_id = self.add_id(
            "Contact", at, self.rep(), AccountId=self.reference(company), LastName=f"Contact {number}",
            Name=f"Contact {number}", OwnerId=self.rep(),
        )  # fmt: skip
        company.contacts.append(contact_id)
        if self.chance(0.04):
            name = f"Contact {number} (duplicate)"
            loser = self.add(
                "Contact", at, self.rep(), self.moment(at, self.limit), AccountId=company.id, LastName=name,
                Name=name, OwnerId=self.rep(), IsDeleted=True, MasterRecordId=contact_id,
            )  # fmt: skip
            company.contacts.append(str(loser["Id"]))
        return contact_id

    def partner(self, number: int, programs: list[tuple[str, list[str]]]) -> None:
        """Add a partner by flag, by type, by membership alone, or only by the Partner rows that name it."""
        kind = ("flag", "type", "member", "row")[number % 4] if self.licensed else ("type", "row")[number % 2]
        # A tenth of the flagged ones joined lately: what they did before was not done as a partner.
        since = self.start + self.days(0, 300) if not self.chance(0.1) else self.now - self.days(60, 300)
        types = {"type": ("Technology Partner", "Partner", "reseller"), "flag": ("Partner", "Consultant")}
        parent = None
        if number % 6 == 1:
            word = self.name(SERVICES).split()[0]
            top = self.company(f"{word} Group", self.start, Type="Other").id if number % 12 == 1 else None
            parent = self.company(f"{word} Holdings", self.start, Type="Other", ParentId=top).id
        company = self.company(
            self.name(SERVICES), since, Type=self.rng.choice(types.get(kind, ("Customer", None))),
            IsPartner=kind == "flag", ParentId=parent,
        )  # fmt: skip
        company.relative = company
        if number % 10 == 3:
            self.merge_into(company, 1 + number % 2)
        for _ in range(self.rng.randint(2, 4)):
            contact_id = self.person(company)
            if self.licensed and self.chance(0.5):
                company.users.append(self.user(since, f"Partner User {number + 1}", contact_id=contact_id))
        n_programs = 1 if kind == "member" else self.rng.choice((0, 1, 1, 1))
        for program_id, levels in self.rng.sample(
            programs, n_programs + self.chance(0.2) if self.licensed else 0
        ):
            joined_at = self.moment(since, max(since, self.now - 30 * DAY))
            member = self.add(
                "ChannelProgramMember", joined_at, self.rep(),
                Name=f"M-{len(self.rows['ChannelProgramMember']) + 1:05}", ProgramId=program_id,
                PartnerId=self.reference(company), LevelId=self.rng.choice(levels), OwnerId=self.rep(),
            )  # fmt: skip
            if self.chance(0.15):
                self.delete(member, self.moment(joined_at, self.limit))
        self.partners.append(company)

    def customer(self, number: int) -> None:
        """Add a customer, now and then of a partner's family."""
        since = self.start + self.days(0, 365)
        relative = self.rng.choice(self.partners) if number % 25 == 7 else None
        parent = None
        if relative is not None:
            account = next(row for row in self.rows["Account"] if row["Id"] == relative.id)
            parent = account["ParentId"] or relative.id
        company = self.company(
            self.name(TRADES), since, Type=self.rng.choice(("Customer", "Prospect", None)), ParentId=parent
        )
        company.relative = relative
        if number % 40 == 11:
            self.merge_into(company, 1 + number % 3)
        contact_id = self.person(company)
        if self.licensed and number % 100 == 0:  # a customer portal user: has a contact, is no partner
            company.users.append(self.user(since, f"Portal User {number + 1}", contact_id=contact_id))
        self.customers.append(company)
