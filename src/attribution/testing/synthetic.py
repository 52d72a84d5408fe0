"""A believable and hostile Salesforce org, made from a seed.

The rows look as a sync would read them: Salesforce's field names, 18-character ids with key prefix and
checksum, aware UTC instants in whole seconds. They are full of what breaks attribution in real orgs: reopened
deals, deals without history, evidence logged late, re-created partner rows, partners that also buy, merged
accounts, dates near midnight. Companies are coined and people are numbered; nobody in here exists.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from attribution.testing.objects import standard_objects
from attribution.testing.truth import Rules, Truth, known_truth

__all__ = ["NOW", "SyntheticOrg", "generate", "salesforce_id"]

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
"""The instant at which a generated org stands still, unless another one is asked for."""

Row = dict[str, object]

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHECK = string.ascii_uppercase + "012345"
_DAY = timedelta(days=1)
_OBJECTS = (
    "Organization", "User", "OpportunityStage", "Account", "Contact", "Lead", "Opportunity",
    "OpportunityHistory", "Partner", "Event", "ChannelProgram", "ChannelProgramLevel",
    "ChannelProgramMember",
)  # fmt: skip
_TOWN_STARTS = (
    "Ash", "Bramble", "Calder", "Dun", "Elm", "Fern", "Glen", "Harts", "Inver", "Kestrel", "Lark",
    "Mill", "North", "Oaken", "Pine", "Quill", "Rook", "Stone", "Tarn", "Under", "Vex", "Wren",
    "Yarrow", "Thistle", "Hollow",
)  # fmt: skip
_TOWN_ENDS = (
    "gate", "mere", "wick", "barrow", "field", "moor", "edge", "combe", "ford", "dale", "holt",
    "shaw", "brook", "fell", "ridge", "stead",
)  # fmt: skip
_TRADES = (
    "Foods", "Logistics", "Textiles", "Clinics", "Ceramics", "Paper", "Marine", "Timber",
    "Insurance", "Energy", "Schools", "Foundry",
)  # fmt: skip
_SERVICES = (
    "Systems", "Consulting", "Cloud Works", "Data Partners", "Integrations", "Advisory", "Networks",
    "Solutions",
)  # fmt: skip

_OPEN = ("Prospecting", "Qualification", "Needs Analysis", "Proposal", "Negotiation")
# label, API name, active, outcome, probability, forecast category
_STAGES = (
    ("Prospecting", "Prospecting", True, "open", 10, "Pipeline"),
    ("Qualification", "Qualification", True, "open", 20, "Pipeline"),
    ("Needs Analysis", "Needs Analysis", True, "open", 35, "Pipeline"),
    ("Proposal", "Proposal/Price Quote", True, "open", 60, "BestCase"),
    ("Negotiation", "Negotiation", True, "open", 80, "Forecast"),
    ("Perception Review", "Perception Review", False, "open", 50, "Pipeline"),
    ("Closed Won", "Closed Won", True, "won", 100, "Closed"),
    ("Closed Lost", "Closed Lost", True, "lost", 0, "Omitted"),
    ("Signed on Paper", "Signed on Paper", False, "won", 100, "Closed"),
)
# Stages that somebody deleted: only the row's own forecast category and probability still tell the outcome.
_FORGOTTEN = {
    "open": ("Verbal", 70, "Forecast"),
    "won": ("Booked", 100, "Closed"),
    "lost": ("Dropped", 0, "Omitted"),
}
_TYPES = {
    "new": ("New Customer", "New Business", "NEW LOGO"),
    "expansion": ("Existing Customer - Upgrade", "Add-On Business", "Cross-sell"),
    "renewal": ("Renewal", "Existing Customer - Renewal"),
    "unclassified": (None, "Services", "Pilot"),
}
_LEAD_SOURCES = {
    None: 6, "Web": 6, "Trade Show": 3, "Phone Inquiry": 3, "Partner": 1, "partner referral": 1, "Channel": 1,
}  # fmt: skip
_ROLES = ("Referral Partner", "System Integrator", "VAR/Reseller", "Advertiser", None)
_PROGRAMS = ("Referral", "Resale", "Co-sell", "Technology Alliance", "Managed Services")
_LEVELS = ("Registered", "Silver", "Gold")


def salesforce_id(prefix: str, number: int) -> str:
    """Return the 18-character id of the nth record of an object: key prefix, body, checksum.

    Examples
    --------
    >>> salesforce_id("006", 36), salesforce_id("006", 10)
    ('006Sy000000000aIAA', '006Sy000000000AIAQ')
    """
    body = ""
    for _ in range(9):
        number, digit = divmod(number, 62)
        body = _DIGITS[digit] + body
    short = f"{prefix}Sy0{body}"
    chunks = (short[i : i + 5] for i in (0, 5, 10))
    return short + "".join(_CHECK[sum(c.isupper() << i for i, c in enumerate(chunk))] for chunk in chunks)


@dataclass(frozen=True, slots=True)
class SyntheticOrg:
    """The rows of a generated org by Salesforce object, and the instant at which it stands still."""

    records: dict[str, list[Row]]
    now: datetime

    def truth(
        self, as_of: datetime | None = None, policy: Rules | None = None, synced_at: datetime | None = None
    ) -> Truth:
        """Work out the known truth of every deal, as of `now` unless another instant is given.

        Parameters
        ----------
        as_of : datetime, optional
            The event cut-off.
        policy : Rules, optional
            Windows and lists other than the defaults.
        synced_at : datetime, optional
            The watermark of the sync; the newest SystemModstamp if not given.
        """
        return known_truth(self.records, as_of=as_of or self.now, policy=policy, synced_at=synced_at)


@dataclass(slots=True)
class _Company:
    """An account, the ids merged into it, its people, and the partner that it is or shares a parent with."""

    id: str
    name: str
    since: datetime
    merged: list[str] = field(default_factory=list)
    contacts: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    relative: _Company | None = None


@dataclass(slots=True)
class _Deal:
    """What the touches need to know of a deal; `children` go with it when it is deleted."""

    id: str
    company: _Company | None
    account_id: str | None
    owner_id: str
    created_at: datetime
    ends_at: datetime
    is_closed: bool
    children: list[Row] = field(default_factory=list)


def generate(
    opportunities: int = 2000,
    seed: int = 0,
    *,
    partner_licences: bool = True,
    now: datetime = NOW,
    time_zone: str = "America/New_York",
) -> SyntheticOrg:
    """Make an org of that many opportunities; the same arguments give the same org.

    Parameters
    ----------
    opportunities : int
        How many, deleted ones included; the other objects grow with it.
    seed : int
        Seed of every choice.
    partner_licences : bool
        Whether there are PartnerAccountId, IsPartner, channel programs and partner users.
    now : datetime
        Nothing is recorded later; only planned meetings and close dates lie after it.
    time_zone : str
        The zone of the organization.

    Raises
    ------
    ValueError
        If `opportunities` is negative or `now` is naive.

    Examples
    --------
    >>> org = generate(20, seed=7)
    >>> len(org.records["Opportunity"]), len(org.truth().deals) <= 20
    (20, True)
    """
    if opportunities < 0:
        raise ValueError(f"opportunities must be 0 or more, got {opportunities}")
    if now.tzinfo is None:
        raise ValueError("now needs a time zone")
    org = _Builder(
        Random(seed), now.astimezone(UTC).replace(microsecond=0), ZoneInfo(time_zone), partner_licences
    )
    org.found(opportunities)
    for number in range(opportunities):
        org.sell(number)
    return SyntheticOrg(org.rows, org.now)


class _Builder:
    """Adds rows, object by object."""

    def __init__(self, rng: Random, now: datetime, zone: ZoneInfo, licensed: bool) -> None:
        self.rng, self.now, self.zone, self.licensed = rng, now, zone, licensed
        self.limit = now - timedelta(hours=1)
        """Until when rows are recorded: a watermark some minutes before `now` still covers them all."""
        objects = standard_objects(partner_licences=licensed)
        self.objects = {name: objects[name] for name in _OBJECTS if name in objects}
        self.rows: dict[str, list[Row]] = {name: [] for name in self.objects}
        # Salesforce has no null in a checkbox.
        self.unchecked = {
            name: {each.name: False for each in item.fields if each.type == "boolean" and not each.nillable}
            for name, item in self.objects.items()
        }
        self.has = {name: {each.name for each in item.fields} for name, item in self.objects.items()}
        self.prefix = {name: item.key_prefix or "000" for name, item in self.objects.items()}
        self.reps: list[str] = []
        self.partners: list[_Company] = []
        self.customers: list[_Company] = []
        self.n_companies = 0
        self.start = now - 4 * 365 * _DAY
        days = [self.day(self.start) + timedelta(days=n) for n in range(4 * 365)]
        noons = [datetime(day.year, day.month, day.day, 12, tzinfo=zone).utcoffset() for day in days]
        self.clock_changes = [days[n] for n in range(1, len(days)) if noons[n] != noons[n - 1]]

    # --- small things --------------------------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def add(
        self, name: str, at: datetime, by: str, changed_at: datetime | None = None, **values: object
    ) -> Row:
        """Add a row; fields that the org lacks are left out."""
        has = self.has[name]
        changed_at = max(at, changed_at or at)
        row: Row = {"Id": salesforce_id(self.prefix[name], len(self.rows[name]) + 1)}
        row.update(self.unchecked[name])
        row.update(CreatedDate=at, CreatedById=by, SystemModstamp=changed_at)
        if "LastModifiedDate" in has:
            row.update(LastModifiedDate=changed_at, LastModifiedById=by)
        row.update(
            values if values.keys() <= has else {key: value for key, value in values.items() if key in has}
        )
        self.rows[name].append(row)
        return row

    def add_id(
        self, name: str, at: datetime, by: str, changed_at: datetime | None = None, **values: object
    ) -> str:
        return str(self.add(name, at, by, changed_at, **values)["Id"])

    def delete(self, row: Row, at: datetime) -> None:
        row["IsDeleted"] = True
        row["SystemModstamp"] = max(at, _instant(row, "SystemModstamp"))

    def moment(self, low: datetime, high: datetime) -> datetime:
        """Draw a whole second in between, now and then close to midnight in the zone."""
        seconds = int((high - low).total_seconds())
        at = low + timedelta(seconds=self.rng.randint(0, max(0, seconds)))
        if self.chance(0.08):
            local = at.astimezone(self.zone)
            midnight = datetime(local.year, local.month, local.day, tzinfo=self.zone).astimezone(UTC)
            at = midnight + timedelta(seconds=self.rng.randint(-1800, 1800))
        return min(max(at, low), max(low, high))

    def day(self, at: datetime) -> date:
        return at.astimezone(self.zone).date()

    def days(self, low: float, high: float) -> timedelta:
        return timedelta(seconds=int(self.rng.uniform(low, high) * 86400))

    def rep(self) -> str:
        return self.rng.choice(self.reps)

    def lead_source(self) -> str | None:
        return self.rng.choices(tuple(_LEAD_SOURCES), tuple(_LEAD_SOURCES.values()))[0]

    # --- the company, its partners and its customers -------------------------------------------------------

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
        for order, (label, name, active, outcome, probability, category) in enumerate(_STAGES, 1):
            self.add(
                "OpportunityStage", at, first, MasterLabel=label, ApiName=name, IsActive=active,
                SortOrder=order, IsClosed=outcome != "open", IsWon=outcome == "won",
                DefaultProbability=Decimal(probability),
                ForecastCategory=category, ForecastCategoryName=category,
            )  # fmt: skip
        programs = [self.program(name) for name in _PROGRAMS] if self.licensed else []
        for number in range(min(200, 8 + opportunities // 40)):
            self.partner(number, programs)
        for number in range(max(1, opportunities * 2 // 5)):
            self.customer(number)

    def user(self, at: datetime, name: str, active: bool = True, contact_id: str | None = None) -> str:
        number = len(self.rows["User"]) + 1
        address = f"user{number}@hollowbrook.example"
        by = salesforce_id(self.prefix["User"], 1)
        return self.add_id(
            "User", at, by, Username=address, Email=address, LastName=name, Name=name, IsActive=active,
            ContactId=contact_id, UserType="Standard" if contact_id is None else "PowerPartner",
            IsPortalEnabled=contact_id is not None,
        )  # fmt: skip

    def program(self, name: str) -> tuple[str, list[str]]:
        at, by = self.start, self.reps[0]
        program_id = self.add_id("ChannelProgram", at, by, Name=name, IsActive=True, OwnerId=by)
        levels = [
            self.add_id("ChannelProgramLevel", at, by, Name=level, ProgramId=program_id, Rank=rank)
            for rank, level in enumerate(_LEVELS, 1)
        ]
        return program_id, levels

    def name(self, trades: Sequence[str]) -> str:
        """Coin a company name; numbered once the coined ones are used up."""
        number = self.n_companies
        self.n_companies += 1
        lap, place = divmod(number * 37, len(_TOWN_STARTS) * len(_TOWN_ENDS))
        start, end = divmod(place, len(_TOWN_ENDS))
        name = f"{_TOWN_STARTS[start]}{_TOWN_ENDS[end]} {trades[(number + lap) % len(trades)]}"
        return name if lap < 37 * len(trades) else f"{name} {number}"

    def company(self, name: str, since: datetime, **values: object) -> _Company:
        owner = self.rep()
        changed_at = self.moment(since, self.limit)
        account_id = self.add_id("Account", since, owner, changed_at, Name=name, OwnerId=owner, **values)
        return _Company(account_id, name, since)

    def merge_into(self, company: _Company, n_losers: int) -> None:
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

    def reference(self, company: _Company) -> str:
        """Return the company's id, or one merged into it where somebody still points at that."""
        return self.rng.choice(company.merged) if company.merged and self.chance(0.3) else company.id

    def person(self, company: _Company) -> str:
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
            name = f"{self.name(_SERVICES).split()[0]} Holdings"
            parent = self.company(name, self.start, Type="Other").id
        company = self.company(
            self.name(_SERVICES), since, Type=self.rng.choice(types.get(kind, ("Customer", None))),
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
            joined_at = self.moment(since, self.now - 30 * _DAY)
            member = self.add(
                "ChannelProgramMember", joined_at, self.rep(),
                Name=f"M-{len(self.rows['ChannelProgramMember']) + 1:05}", ProgramId=program_id,
                PartnerId=self.reference(company), LevelId=self.rng.choice(levels), OwnerId=self.rep(),
            )  # fmt: skip
            if self.chance(0.15):
                self.delete(member, self.moment(joined_at, self.limit))
        self.partners.append(company)

    def customer(self, number: int) -> None:
        since = self.start + self.days(0, 365)
        relative = self.rng.choice(self.partners) if number % 25 == 7 else None
        parent = None
        if relative is not None:
            account = next(row for row in self.rows["Account"] if row["Id"] == relative.id)
            parent = account["ParentId"] or relative.id
        company = self.company(
            self.name(_TRADES), since, Type=self.rng.choice(("Customer", "Prospect", None)), ParentId=parent
        )
        company.relative = relative
        if number % 40 == 11:
            self.merge_into(company, 1 + number % 3)
        contact_id = self.person(company)
        if self.licensed and number % 100 == 0:  # a customer portal user: has a contact, is no partner
            company.users.append(self.user(since, f"Portal User {number + 1}", contact_id=contact_id))
        self.customers.append(company)

    # --- one deal ------------------------------------------------------------------------------------------

    def sell(self, number: int) -> None:
        """Add an opportunity with its history and everything that happened around it."""
        draw = self.rng.random()
        company: _Company | None = None
        if draw < 0.04:
            company = self.rng.choice(self.partners)  # partners also buy
        elif draw < 0.99:
            company = self.customers[int(self.rng.random() ** 1.5 * len(self.customers))]
        created_at = self.moment(self.now - 3 * 365 * _DAY, self.now - 2 * _DAY)
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

        label, outcome, closed_at, rows = self.history(created_at)
        last = rows[-1]
        kind = self.rng.choices(tuple(_TYPES), (55, 20, 14, 11))[0]
        changed_at = min(self.limit, max(last[0], closed_at or created_at) + self.days(0, 20))
        stage = next(stage for stage in _STAGES if stage[0] == label)
        has_no_rows = self.chance(0.08)
        close_on = self.close_on(created_at, closed_at, outcome, has_no_rows)
        account_id = None if company is None else self.reference(company)
        opportunity = self.add(
            "Opportunity", created_at, created_by, changed_at, AccountId=account_id, OwnerId=owner_id,
            Name=f"{'Walk-in' if company is None else company.name}: {kind} {number + 1}", StageName=label,
            Amount=last[2], Probability=Decimal(150 if self.chance(0.01) else stage[4]), CloseDate=close_on,
            ExpectedRevenue=_expected(last[2], stage[4]), Type=self.rng.choice(_TYPES[kind]),
            LeadSource=self.lead_source(), IsWon=outcome == "won", IsClosed=outcome != "open",
            ForecastCategory=stage[5], ForecastCategoryName=stage[5], PartnerAccountId=partner_account,
        )  # fmt: skip
        ends_at = closed_at or self.limit
        deal = _Deal(
            str(opportunity["Id"]), company, account_id, owner_id, created_at, ends_at, closed_at is not None
        )
        if not has_no_rows:
            self.write_history(deal, rows, closed_at, close_on)
        for _ in range(self.rng.choices((0, 1, 2, 3, 4), (38, 30, 18, 10, 4))[0]):
            own = None if company is None else company.relative
            self.touch(deal, own if own is not None and self.chance(0.4) else self.rng.choice(self.partners))
        self.leads(deal)
        if self.chance(0.012):
            at = self.moment(changed_at, self.limit)
            for row in (opportunity, *deal.children):
                self.delete(row, at)

    def history(
        self, created_at: datetime
    ) -> tuple[str, str, datetime | None, list[tuple[datetime, str, Decimal | None]]]:
        """Walk through the stages: (final stage, outcome, closed_at, rows of (instant, stage, amount))."""
        length = timedelta(seconds=int(86400 * min(700.0, self.rng.lognormvariate(4.0, 0.8))))
        outcome = self.rng.choices(("won", "lost", "open"), (45, 40, 15))[0]
        closed_at: datetime | None = self.moment(created_at + length, created_at + length + _DAY)
        if outcome == "open" or closed_at is None or closed_at > self.limit:
            outcome, closed_at = "open", None
        end = closed_at or min(self.limit, created_at + length)
        draw, amount = self.rng.random(), Decimal(int(100 * self.rng.lognormvariate(10.0, 1.1))) / 100
        first: Decimal | None = amount
        if draw < 0.06:
            first = None if draw < 0.035 else Decimal(0) if draw < 0.052 else -amount

        inside = sorted(self.moment(created_at, end) for _ in range(self.rng.randint(0, 5)))
        if not inside or self.chance(0.7):
            inside = [created_at, *inside]  # else the first row is later: nobody knows the stage before it
        rows: list[tuple[datetime, str, Decimal | None]] = []
        place, money = -1, first
        for at in inside:
            place = min(
                len(_OPEN) - 1, max(0, place + self.rng.choices((1, 2, -1, -2, 0), (66, 14, 9, 3, 8))[0])
            )
            label = "Perception Review" if self.chance(0.01) else _OPEN[place]
            if money is not None and self.chance(0.2):
                money = (money * Decimal(self.rng.randint(70, 140)) / 100).quantize(Decimal("0.01"))
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
            money = None if money is None else (money * Decimal("1.05")).quantize(Decimal("0.01"))
            rows.append((min(self.limit, closed_at + self.days(0.01, 30)), label, money))
        return label, outcome, closed_at, rows

    def close_on(
        self, created_at: datetime, closed_at: datetime | None, outcome: str, has_no_rows: bool
    ) -> date:
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
        deal: _Deal,
        rows: list[tuple[datetime, str, Decimal | None]],
        closed_at: datetime | None,
        on: date,
    ) -> None:
        if closed_at is not None and len(rows) > 1 and self.chance(0.02):
            rows = [row for row in rows if row[0] < closed_at] or rows  # the close itself left no row
        stages = {stage[0]: stage for stage in _STAGES}
        written = []
        for at, label, amount in rows:
            _, name, _, outcome, probability, category = stages[label]
            if self.chance(0.01):
                name, probability, category = _FORGOTTEN[outcome]
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
                ExpectedRevenue=_expected(amount, probability),
            )  # fmt: skip
            deal.children.append(row)

    # --- what partners did ---------------------------------------------------------------------------------

    def touch(self, deal: _Deal, partner: _Company) -> None:
        if self.chance(0.55):
            self.partner_row(deal, partner)
        for _ in range(self.rng.choices((0, 1, 2, 3), (35, 35, 20, 10))[0]):
            self.meeting(deal, partner)

    def touched_at(self, deal: _Deal) -> datetime:
        """Draw an instant before, in, at the edge of, or after the deal's window."""
        draw, end = self.rng.random(), deal.ends_at
        if draw < 0.06:
            at = self.rng.choice((end - 7 * _DAY, end - 365 * _DAY, end, deal.created_at))
            at += timedelta(seconds=self.rng.choice((-1, 0, 1)))
        elif draw < 0.14:
            at = self.moment(end, end + 90 * _DAY)
        elif draw < 0.18:
            at = self.moment(end - 500 * _DAY, end - 365 * _DAY)
        elif draw < 0.26:
            at = self.moment(end - 7 * _DAY, end)
        else:
            at = self.moment(deal.created_at - 40 * _DAY, end)
        return min(at, self.limit)

    def author(self, deal: _Deal, partner: _Company) -> str:
        draw = self.rng.random()
        if draw < 0.05:
            return salesforce_id(self.prefix["User"], 900_000)  # a user that this login cannot see
        if draw < 0.2 and partner.users:
            return self.rng.choice(partner.users)
        return deal.owner_id if draw < 0.65 else self.rep()

    def partner_row(self, deal: _Deal, partner: _Company) -> None:
        by, role = self.author(deal, partner), self.rng.choice(_ROLES)
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
            row = self.pair(deal, account_to, at, self.rep(), self.rng.choice(_ROLES))
        if self.chance(0.03):
            self.delete(row, self.moment(at, self.limit))

    def pair(self, deal: _Deal, account_to: str, at: datetime, by: str, role: str | None) -> Row:
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

    def meeting(self, deal: _Deal, partner: _Company) -> None:
        at = min(self.touched_at(deal), self.now - timedelta(hours=6))
        by = self.author(deal, partner)
        draw = self.rng.random()
        what = deal.id if draw < 0.7 else deal.account_id if draw < 0.88 else None
        if draw > 0.985:
            what = salesforce_id("701", self.rng.randint(1, 99))
        who: object = self.rng.choice(partner.contacts)
        if self.rows["Lead"] and self.chance(0.03):
            who = self.rng.choice(self.rows["Lead"])["Id"]
        if self.chance(0.03):
            at = self.moment(self.now + 3 * _DAY, self.now + 40 * _DAY)
        logged_at = at - self.days(0, 10)
        if self.chance(0.12):
            logged_at = at + self.rng.choice((14 * _DAY, 14 * _DAY + timedelta(seconds=1), self.days(15, 60)))
        logged_at = min(logged_at, self.limit)
        minutes = self.rng.choice((30, 45, 60, 90, 240))
        values: dict[str, Any] = {
            "ActivityDateTime": at,
            "ActivityDate": at.date(),
            "StartDateTime": at,
            "EndDateTime": at + timedelta(minutes=minutes) if self.chance(0.9) else None,
            "DurationInMinutes": minutes,
            "EndDate": None,
        }
        if self.chance(0.1):
            values = self.all_day(at)
            if self.chance(0.15) and self.limit > at:
                logged_at = at  # on the very day: it counts from the instant it was logged
        row = self.add(
            "Event", logged_at, by, WhoId=who, WhatId=what, OwnerId=by if self.chance(0.7) else self.rep(),
            IsChild=self.chance(0.03), IsRecurrence=self.chance(0.02), **values,
        )  # fmt: skip
        if what == deal.id:
            deal.children.append(row)
        if self.chance(0.012):
            self.delete(row, self.moment(logged_at, self.limit))

    def all_day(self, at: datetime) -> dict[str, Any]:
        """Give the fields of a whole-day meeting; it starts at midnight UTC, not in the zone."""
        first = self.day(at)
        last = first + timedelta(days=self.rng.choice((0, 0, 0, 0, 1, 2)))
        if first < self.day(self.now) <= last:
            last = first
        if first == self.day(self.now):
            first = last = first - _DAY
        starts_at = datetime(first.year, first.month, first.day, tzinfo=UTC)
        return {
            "IsAllDayEvent": True,
            "ActivityDate": first,
            "ActivityDateTime": starts_at,
            "StartDateTime": starts_at,
            "EndDateTime": starts_at + (last - first),
            "EndDate": last if self.chance(0.5) else None,
            "DurationInMinutes": 1440 * ((last - first).days + 1),
        }

    def leads(self, deal: _Deal) -> None:
        """Add leads: a partner's, our own, handed over; converted into the deal, its account, or nothing."""
        for _ in range(self.rng.choices((0, 1, 2), (62, 31, 7))[0]):
            partner = self.rng.choice(self.partners)
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
                    365 * _DAY,
                    90 * _DAY,
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
                **found,
            )  # fmt: skip
            if self.chance(0.015):
                master = salesforce_id(self.prefix["Lead"], number - 1) if number > 1 else None
                row["MasterRecordId"] = master
                self.delete(row, self.moment(converted_at, self.limit))


def _instant(row: Row, name: str) -> datetime:
    value = row[name]
    assert isinstance(value, datetime)
    return value


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
