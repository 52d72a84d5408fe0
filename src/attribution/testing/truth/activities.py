"""Section 4: what calendars, task lists, campaigns and contact roles say that partners did."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from attribution.testing.truth.facts import Record
from attribution.testing.truth.records import Book, created, end_of, identity, instant_of, read
from attribution.testing.truth.sources import Placing
from attribution.testing.truth.touches import Touch

__all__ = ["place_activities"]


def place_activities(placing: Placing) -> None:
    """Go through the lower half of the table of section 4, one block per source."""
    book, partners = placing.book, placing.partners

    for row in book.live("CampaignMember"):
        _place_member(placing, row)

    for row in book.live("OpportunityContactRole"):
        at, partner = created(row), book.contact_account(read(row, "ContactId", str))
        deal = read(row, "OpportunityId", str)
        if partner is not None and deal is not None and at <= book.as_of and partners.is_partner(partner, at):
            touch = Touch(
                id=f"OpportunityContactRole:{identity(row)}:{partner}",
                occurred_at=at,
                recorded_at=at,
                partner_id=partner,
                kind="contact_role",
                strength="weak",
                author_id=read(row, "CreatedById", str),
            )
            placing.on_deal(touch, deal)

    invited = _relations(book, "EventRelation", "EventId")
    for row in book.live("Event"):
        held_at = _held_at(book, row)
        if held_at is not None:
            people = invited.get(identity(row), [])
            hosts = [read(row, "OwnerId", str) or "", *(who for who in people if who in book.users)]
            if not _place_people(placing, "Event", row, held_at, "meeting", "strong", people, tuple(hosts)):
                _place_direct(placing, "Event", row, held_at)

    related = _relations(book, "TaskRelation", "TaskId")
    for row in book.live("Task"):
        done_at = _done_at(book, row)
        if done_at is not None and done_at <= book.as_of:
            kind, strength = {"Call": ("call", "weak"), "Email": ("email", "weak")}.get(
                read(row, "TaskSubtype", str) or "", ("task", "exposure")
            )
            people = related.get(identity(row), [])
            placed = _place_people(placing, "Task", row, done_at, kind, strength, people, ())
            if kind == "call" and not placed:
                _place_direct(placing, "Task", row, done_at)


def _place_member(placing: Placing, row: Record) -> None:
    """Place what a member of a campaign did: the campaign's partner, else the member's own account."""
    book = placing.book
    responded_on = read(row, "FirstRespondedDate", date)
    at = created(row) if responded_on is None else instant_of(responded_on, created(row), book.zone)
    contact = book.contact(read(row, "ContactId", str))
    if at > book.as_of:
        return
    partners = set(placing.partners.of_campaign.get(read(row, "CampaignId", str) or "", ()))
    own = book.contact_account(contact)
    if not partners and own is not None and placing.partners.is_partner(own, at):
        partners = {own}
    for partner in partners:
        touch = Touch(
            id=f"CampaignMember:{identity(row)}:{partner}",
            occurred_at=at,
            recorded_at=created(row),
            partner_id=partner,
            kind="campaign_response",
            strength="weak" if row.get("HasResponded") is True else "exposure",
            author_id=read(row, "CreatedById", str),
        )
        lead = read(row, "LeadId", str)
        linked = lead is not None and _names_a_deal(placing, lead)
        if lead is not None and (linked or contact is None):
            placing.on_lead(touch, lead, own_account=False)
        else:
            placing.on_contact(touch, contact, own_account=False)


def _names_a_deal(placing: Placing, lead_id: str) -> bool:
    """Whether a lead became an opportunity; else the contact that the member became leads on."""
    lead = placing.lead(lead_id)
    is_ready = lead is not None and placing.book.converted(lead)
    return is_ready and lead is not None and lead.get("ConvertedOpportunityId") is not None


def _relations(book: Book, name: str, field: str) -> dict[str, list[str]]:
    """Ids of those whom each activity names besides WhoId."""
    found: dict[str, list[str]] = {}
    for row in book.live(name):
        activity, who = read(row, field, str), read(row, "RelationId", str)
        if activity is not None and who is not None:
            found.setdefault(activity, []).append(who)
    return found


def _place_people(
    placing: Placing,
    name: str,
    row: Record,
    at: datetime,
    kind: str,
    strength: str,
    related: list[str],
    hosts: tuple[str, ...],
) -> bool:
    """Place one touchpoint per partner among the people of an activity (4.1); False: there is none."""
    book, placed = placing.book, False
    accounts = {book.contact_account(who) for who in (read(row, "WhoId", str), *related)}
    what = read(row, "WhatId", str) or ""
    for partner in accounts:
        if partner is None or not placing.partners.is_partner(partner, at):
            continue
        placed = True
        touch = Touch(
            id=f"{name}:{identity(row)}:{partner}",
            occurred_at=at,
            recorded_at=created(row),
            partner_id=partner,
            kind=kind,
            strength=strength,
            author_id=read(row, "CreatedById", str),
            hosts=hosts,
        )
        if what.startswith("006"):
            placing.on_deal(touch, what)
        elif what.startswith("001"):
            placing.on_account(touch, book.account(row, "WhatId"))
        else:
            placing.orphans.add(touch.id)
    return placed


def _place_direct(placing: Placing, name: str, row: Record, at: datetime) -> None:
    """Note what our own people did without a partner on a deal, or on the account of one."""
    book, what = placing.book, read(row, "WhatId", str) or ""
    deal = what if what in placing.drafts else None
    account = placing.drafts[deal].account_id if deal else book.account(row, "WhatId")
    related = frozenset(each.id for each in placing.by_account.get(account or "", []))
    if book.is_internal(read(row, "OwnerId", str)) and (deal or related):
        placing.direct.add((f"{name}:{identity(row)}", deal, related, at))


def _held_at(book: Book, row: Record) -> datetime | None:
    """When an event took place; None for a copy, the head of a series, and what has not ended yet."""
    if row.get("IsChild") is True or row.get("IsRecurrence") is True:
        return None
    created_at, day = created(row), read(row, "ActivityDate", date)
    ends_at = read(row, "EndDateTime", datetime)
    if row.get("IsAllDayEvent") is True:
        if day is None:
            return None
        occurred_at = instant_of(day, created_at, book.zone)
        last_day = read(row, "EndDate", date) or (day if ends_at is None else ends_at.astimezone(UTC).date())
        ends_at = end_of(last_day, book.zone)
    else:
        starts_at = read(row, "ActivityDateTime", datetime)
        if starts_at is None:
            return None
        occurred_at = starts_at
        if ends_at is None:
            ends_at = starts_at + timedelta(minutes=read(row, "DurationInMinutes", int) or 0)
    return None if ends_at > book.as_of or occurred_at > book.as_of else occurred_at


def _done_at(book: Book, row: Record) -> datetime | None:
    """When a task was done; None while it is open."""
    if row.get("IsClosed") is not True:
        return None
    completed_at, day = read(row, "CompletedDateTime", datetime), read(row, "ActivityDate", date)
    if completed_at is not None:
        return completed_at
    return created(row) if day is None else instant_of(day, created(row), book.zone)
