"""What calendars and task lists of a generated org hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from attribution.testing.synthetic.companies import Companies
from attribution.testing.synthetic.rows import DAY, Company, Deal, Row, instant, salesforce_id

__all__ = ["Activities"]


class Activities(Companies):
    """Adds meetings and tasks, with everybody who took part."""

    def touched_at(self, deal: Deal) -> datetime:
        """Draw an instant before, in, at the edge of, or after the deal's window."""
        draw, end = self.rng.random(), deal.ends_at
        if draw < 0.06:
            at = self.rng.choice((end - 7 * DAY, end - 365 * DAY, end, deal.created_at))
            at += timedelta(seconds=self.rng.choice((-1, 0, 1)))
        elif draw < 0.14:
            at = self.moment(end, end + 90 * DAY)
        elif draw < 0.18:
            at = self.moment(end - 500 * DAY, end - 365 * DAY)
        elif draw < 0.26:
            at = self.moment(end - 7 * DAY, end)
        else:
            at = self.moment(deal.created_at - 40 * DAY, end)
        return min(at, self.limit)

    def author(self, deal: Deal, partner: Company) -> str:
        """Draw who recorded it: a user nobody can see, a partner user, the owner, or a colleague."""
        draw = self.rng.random()
        if draw < 0.05:
            return salesforce_id(self.prefix["User"], 900_000)  # a user that this login cannot see
        if draw < 0.2 and partner.users:
            return self.rng.choice(partner.users)
        return deal.owner_id if draw < 0.65 else self.rep()

    def meeting(self, deal: Deal, partner: Company) -> None:
        """Add a meeting with a contact of the partner."""
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
            at = self.moment(self.now + 3 * DAY, self.now + 40 * DAY)
        logged_at = at - self.days(0, 10)
        if self.chance(0.12):
            logged_at = at + self.rng.choice((14 * DAY, 14 * DAY + timedelta(seconds=1), self.days(15, 60)))
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
        if self.chance(0.35):
            self.invite(row, deal, partner)
        if self.chance(0.012):
            self.delete(row, self.moment(logged_at, self.limit))

    def invite(self, event: Row, deal: Deal, partner: Company) -> None:
        """Add who else was there: colleagues of the contact, the customer, another partner, our people."""
        everyone = [
            self.rng.choice(partner.contacts),
            self.rng.choice(self.rng.choice(self.partners).contacts),
        ]
        everyone += [self.rep(), deal.owner_id]
        if deal.company is not None:
            everyone.append(self.rng.choice(deal.company.contacts))
        at = instant(event, "CreatedDate")
        for who in dict.fromkeys(self.rng.sample(everyone, self.rng.randint(1, 3))):
            row = self.add(
                "EventRelation", at, str(event["CreatedById"]), EventId=event["Id"], RelationId=who,
                IsInvitee=True, Status=self.rng.choice(("Accepted", "Declined", "New")),
            )  # fmt: skip
            if self.chance(0.03):
                self.delete(row, self.moment(at, self.limit))

    def task(self, deal: Deal, partner: Company) -> None:
        """Add a call, an e-mail or another task, most of them done."""
        at = min(self.touched_at(deal), self.now - timedelta(hours=6))
        by = self.author(deal, partner)
        logged_at = min(self.limit, at if self.chance(0.8) else at + self.days(-5, 30))
        draw, is_closed = self.rng.random(), self.chance(0.85)
        own = partner.contacts if deal.company is None or self.chance(0.75) else deal.company.contacts
        day = self.day(at) if self.chance(0.7) else None
        row = self.add(
            "Task", logged_at, by, WhoId=self.rng.choice(own), OwnerId=by if self.chance(0.7) else self.rep(),
            WhatId=deal.id if draw < 0.7 else deal.account_id if draw < 0.93 else None,
            Status="Completed" if is_closed else "Not Started", Priority="Normal", IsClosed=is_closed,
            TaskSubtype=self.rng.choices(("Call", "Email", "Task", None), (45, 35, 15, 5))[0],
            CompletedDateTime=at if is_closed and (day is None or self.chance(0.5)) and draw < 0.95 else None,
            ActivityDate=day,
        )  # fmt: skip
        if row["WhatId"] == deal.id:
            deal.children.append(row)
        if self.chance(0.2):
            others = [self.rng.choice(self.rng.choice(self.partners).contacts), self.rng.choice(own)]
            for who in dict.fromkeys(others):
                self.add("TaskRelation", logged_at, by, TaskId=row["Id"], RelationId=who)
        if self.chance(0.012):
            self.delete(row, self.moment(logged_at, self.limit))

    def all_day(self, at: datetime) -> dict[str, Any]:
        """Give the fields of a whole-day meeting; it starts at midnight UTC, not in the zone."""
        first = self.day(at)
        last = first + timedelta(days=self.rng.choice((0, 0, 0, 0, 1, 2)))
        if first < self.day(self.now) <= last:
            last = first
        if first == self.day(self.now):
            first = last = first - DAY
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
