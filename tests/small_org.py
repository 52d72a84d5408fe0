"""A small org by hand, for cases that isolate one rule."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from attribution.testing.truth import DealTruth, Rules, Truth, known_truth

DAY = timedelta(days=1)
AS_OF = datetime(2026, 9, 1, tzinfo=UTC)
CREATED = datetime(2026, 1, 10, 15, tzinfo=UTC)

REP, REP_2, PARTNER_USER, PARTNER_USER_2, STRANGER = "005REP", "005REP2", "005PU1", "005PU2", "005GONE"
CUSTOMER, ANN, BOB, TYPED = "001CUSTOMER", "001ANN", "001BOB", "001TYPED"
DEAL = "006DEAL"


def at(text: str) -> datetime:
    """Read an instant of 2026 in UTC, such as ``03-01`` or ``03-01 14:30``."""
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def row(record_id: str, created: datetime, **values: object) -> dict[str, object]:
    stamps = {"CreatedDate": created, "CreatedById": REP, "SystemModstamp": created, "IsDeleted": False}
    return {"Id": record_id, **stamps, **values}


class Org:
    """A small org in New York: one customer, two flagged partners with contact and user, one by type."""

    def __init__(self) -> None:
        self.later: dict[str, list[dict[str, object]]] = {}
        long_ago = datetime(2024, 1, 1, tzinfo=UTC)
        self.rows: dict[str, list[dict[str, object]]] = {
            "Organization": [row("00D1", long_ago, TimeZoneSidKey="America/New_York")],
            "User": [
                row(REP, long_ago),
                row(REP_2, long_ago),
                row("005PORTAL", long_ago, ContactId="003CUSTOMER"),
            ],
            "Account": [row(CUSTOMER, long_ago, Name="Customer", Type="Customer")],
            "Contact": [row("003CUSTOMER", long_ago, AccountId=CUSTOMER)],
        }
        for account_id, name, user in ((ANN, "Ann", PARTNER_USER), (BOB, "Bob", PARTNER_USER_2)):
            contact_id = "003" + name.upper()
            self.add("Account", row(account_id, long_ago, Name=name, IsPartner=True))
            self.add("Contact", row(contact_id, long_ago, AccountId=account_id))
            self.add("User", row(user, long_ago, ContactId=contact_id))
        self.add("Account", row(TYPED, at("03-01"), Name="Typed", Type="RESELLER"))
        self.add("Contact", row("003TYPED", at("03-01"), AccountId=TYPED))
        for name, closed, won in (("Open", False, False), ("Later", False, False), ("Won", True, True)):
            self.stage(name, closed, won)
        self.stage("Lost", True, False)

    def add(self, name: str, record: dict[str, object]) -> dict[str, object]:
        self.rows.setdefault(name, []).append(record)
        return record

    def stage(self, label: str, closed: bool, won: bool, **values: object) -> None:
        names = {"ApiName": f"{label}_api", "MasterLabel": label, "IsClosed": closed, "IsWon": won}
        self.add("OpportunityStage", row(f"01J{label}", CREATED, **names, **values))

    def deal(
        self, deal_id: str = DEAL, created: datetime = CREATED, stage: str = "Open", **values: object
    ) -> None:
        defaults: dict[str, object] = {
            "AccountId": CUSTOMER,
            "OwnerId": REP,
            "StageName": stage,
            "IsClosed": stage in ("Won", "Lost"),
            "IsWon": stage == "Won",
            "Amount": Decimal("100.00"),
            "CloseDate": date(2026, 6, 1),
            "Type": "New Business",
        }
        self.add("Opportunity", row(deal_id, created, **(defaults | values)))

    def history(self, *steps: tuple[str, datetime], deal_id: str = DEAL, **values: object) -> None:
        for stage, when in steps:
            number = len(self.rows.get("OpportunityHistory", ())) + 1
            known = {"OpportunityId": deal_id, "StageName": stage, "Amount": Decimal("70"), "CloseDate": None}
            self.add("OpportunityHistory", row(f"008{number:03}", when, **(known | values)))

    def won(
        self, closed: datetime, deal_id: str = DEAL, created: datetime = CREATED, **values: object
    ) -> None:
        self.deal(deal_id, created, "Won", **values)
        self.history(("Open", created), ("Won", closed), deal_id=deal_id)

    def role(
        self, record_id: str, when: datetime, partner: str = ANN, deal_id: str = DEAL, **values: object
    ) -> None:
        self.add("Partner", row(record_id, when, OpportunityId=deal_id, AccountToId=partner, **values))

    def meeting(
        self, record_id: str, when: datetime, who: str = "003ANN", what: str | None = DEAL, **values: Any
    ) -> None:
        known = {
            "WhoId": who,
            "WhatId": what,
            "OwnerId": REP,
            "ActivityDateTime": when,
            "DurationInMinutes": 60,
        }
        self.add("Event", row(record_id, when, **(known | values)))

    def lead(self, record_id: str, when: datetime, by: str = PARTNER_USER, **values: Any) -> None:
        known = {"IsConverted": True, "ConvertedDate": date(2026, 1, 10), "ConvertedOpportunityId": DEAL}
        self.add("Lead", row(record_id, when, CreatedById=by, **(known | values)))

    def change(self, name: str, record_id: str, when: datetime, **values: object) -> None:
        """A second version of a record, read by a second sync on 1 September."""
        first = next(record for record in self.rows[name] if record["Id"] == record_id)
        self.later.setdefault(name, []).append(first | {"SystemModstamp": when} | values)

    def truth(
        self,
        as_of: datetime = AS_OF,
        policy: Rules | None = None,
        known_at: datetime | None = None,
        **values: int,
    ) -> Truth:
        return known_truth(
            self.rows,
            as_of=as_of,
            policy=policy,
            synced_at=at("08-31"),
            later=((at("09-01"), self.later),) if self.later else (),
            known_at=known_at,
            **values,
        )

    def the(self, as_of: datetime = AS_OF, policy: Rules | None = None, deal_id: str = DEAL) -> DealTruth:
        return self.truth(as_of, policy).deals[deal_id]


def kinds(deal: DealTruth) -> list[tuple[str, bool]]:
    """Kind of every touchpoint of a deal, and whether it counts."""
    return [(point.kind, point.counting) for point in deal.touchpoints]
