"""Section 4: what the mapped objects, lookups, leads and Partner rows say that partners did."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta

from attribution.mapping import Approval, Touches
from attribution.testing.truth.drafts import Draft, by_account
from attribution.testing.truth.facts import Record
from attribution.testing.truth.partners import Partners
from attribution.testing.truth.records import Book, created, end_of, identity, read, stamp
from attribution.testing.truth.touches import Touch

__all__ = ["STRENGTH", "Placing", "place_rows"]

STRENGTH = {
    "role": "strong",
    "sourced_by": "strong",
    "partner_owned": "strong",
    "referral": "strong",
    "handed_over": "strong",
    "deal_registration": "strong",
    "meeting": "strong",
    "campaign_response": "weak",
    "contact_role": "weak",
    "call": "weak",
    "email": "weak",
    "task": "exposure",
    "overlap": "exposure",
}


class Placing:
    """Gives each touchpoint to its deal, or lists it as ambiguous or orphan."""

    def __init__(self, book: Book, partners: Partners, drafts: Mapping[str, Draft]) -> None:
        self.book = book
        self.partners = partners
        self.drafts = drafts
        self.by_account = by_account(drafts)
        self.excluded = {
            key for key, row in book.opportunities.items() if key not in drafts and created(row) <= book.as_of
        }
        self.ambiguous: set[str] = set()
        self.orphans: set[str] = set()
        self.direct: set[tuple[str, str | None, frozenset[str], datetime]] = set()
        self.leads = {identity(row): row for row in book.rows("Lead")}
        self.first_leads: dict[str, datetime] = {}
        for row in book.live("Lead"):
            deal, at = read(row, "ConvertedOpportunityId", str), created(row)
            if deal is not None and book.converted(row) and at <= book.as_of:
                self.first_leads[deal] = min(at, self.first_leads.get(deal, at))
        self.roles: dict[str, set[str]] = {}
        for row in book.live("OpportunityContactRole"):
            contact = book.contact(read(row, "ContactId", str))
            deal = read(row, "OpportunityId", str)
            if contact is not None and deal is not None and deal in drafts and created(row) <= book.as_of:
                self.roles.setdefault(contact, set()).add(deal)

    def on_deal(self, touch: Touch, opportunity_id: str) -> None:
        """Give a touchpoint to the deal that it names."""
        if opportunity_id in self.drafts:
            self.drafts[opportunity_id].touches.append(touch)
        elif opportunity_id not in self.excluded:
            self.orphans.add(touch.id)

    def on_account(self, touch: Touch, account_id: str | None) -> None:
        """Rule 4.2: only if exactly one deal of the account is eligible at that instant."""
        self._on_one_of(touch, self.by_account.get(account_id or "", []))

    def on_contact(self, touch: Touch, contact_id: str | None, *, own_account: bool = True) -> None:
        """Rule 4.2: the same among the deals on which the contact has a role; without any, its account's."""
        contact = self.book.contact(contact_id)
        deals = self.roles.get(contact or "")
        if deals is not None:
            self._on_one_of(touch, [self.drafts[deal] for deal in sorted(deals)])
            return
        account = self.book.contact_account(contact)
        self.on_account(touch, account if own_account or account != touch.partner_id else None)

    def on_lead(self, touch: Touch, lead_id: str, *, own_account: bool = True) -> bool:
        """Give it to the deal of a converted lead, else by its account; False: not converted yet."""
        lead = self.lead(lead_id)
        if lead is None or not self.book.converted(lead):
            return False
        deal = read(lead, "ConvertedOpportunityId", str)
        if deal is not None:
            self.on_deal(touch, deal)
        else:
            account = self.book.account(lead, "ConvertedAccountId")
            self.on_account(touch, account if own_account or account != touch.partner_id else None)
        return True

    def lead(self, lead_id: str) -> Record | None:
        """Return the live lead that an id stands for today."""
        seen: set[str] = set()
        lead = self.leads.get(lead_id)
        while lead is not None and lead.get("IsDeleted") is True and lead_id not in seen:
            seen.add(lead_id)
            lead_id = read(lead, "MasterRecordId", str) or ""
            lead = self.leads.get(lead_id)
        return None if lead is None or lead.get("IsDeleted") is True else lead

    def _on_one_of(self, touch: Touch, deals: list[Draft]) -> None:
        touch.linked = False
        window = timedelta(days=self.book.rules.influence_window_days)
        eligible = [
            deal
            for deal in deals
            if deal.deal_type != "renewal"
            and deal.created_at - window <= touch.occurred_at <= (deal.closed_at or self.book.as_of)
        ]
        if len(eligible) == 1:
            eligible[0].touches.append(touch)
        elif eligible:
            self.ambiguous.add(touch.id)
        else:
            self.orphans.add(touch.id)


# --- Partner rows, opportunities, leads --------------------------------------------------------------------


def place_rows(placing: Placing) -> None:
    """Go through the upper half of the table of section 4, one block per source."""
    book, partners = placing.book, placing.partners

    for role in partners.role_rows:
        if role.occurred_at <= book.as_of and partners.is_partner(role.partner_id, role.occurred_at):
            touch = Touch(
                id=f"Partner:{identity(role.row)}:{role.partner_id}",
                occurred_at=role.occurred_at,
                recorded_at=role.occurred_at,
                partner_id=role.partner_id,
                kind="role",
                strength="strong",
                author_id=role.author_id,
                role=read(role.row, "Role", str),
            )
            placing.on_deal(touch, role.opportunity_id)

    for deal in placing.drafts.values():
        for touch in _of_opportunity(placing, deal).values():
            if touch.occurred_at <= book.as_of:
                placing.on_deal(touch, deal.id)

    for row in book.live("Lead"):
        if created(row) <= book.as_of:
            for touch in _of_lead(placing, row).values():
                placing.on_lead(touch, identity(row))

    for touches in book.rules.touchpoints:
        for row in book.live(touches.object):
            _place_mapped(placing, touches, row)


def _brought(placing: Placing, row: Record, kind: str) -> tuple[str, str] | None:
    """(kind, partner) of a lead or an opportunity: brought by a partner user, or handed over to a partner."""
    book = placing.book
    author, at = read(row, "CreatedById", str), created(row)
    if author in book.users and book.users[author].get("ContactId") is not None:
        partner = book.contact_account(read(book.users[author], "ContactId", str))
    elif book.is_internal(author):
        partner, kind = book.account(row, "PartnerAccountId"), "handed_over"
    else:
        return None
    return (kind, partner) if partner is not None and placing.partners.is_partner(partner, at) else None


def _of_opportunity(placing: Placing, deal: Draft) -> dict[str, Touch]:
    """Touches that the opportunity itself tells, one per partner (4.1): what weighs most for sourcing."""
    book = placing.book
    author = read(deal.record, "CreatedById", str)
    brought = _brought(placing, deal.record, "partner_owned")
    told: list[tuple[str, str, datetime, str | None]] = []
    if brought is not None:
        told.append((*brought, deal.created_at, author))
    for lookup in book.rules.lookups:
        partner = book.account(deal.record, lookup.field) if lookup.object == "Opportunity" else None
        if partner is not None and lookup.kind is not None:
            told.append((lookup.kind, partner, *placing.partners.lookup_set(deal.record, lookup.field)))
    weights = ("partner_owned", "sourced_by", "role", "handed_over")
    found: dict[str, Touch] = {}
    for kind, partner, at, by in sorted(told, key=lambda item: (weights.index(item[0]), item[2])):
        if at <= book.as_of:
            found.setdefault(
                partner,
                Touch(
                    id=f"Opportunity:{deal.id}:{partner}",
                    occurred_at=at,
                    recorded_at=at,
                    partner_id=partner,
                    kind=kind,
                    strength="strong",
                    author_id=by,
                ),
            )
    return found


def _of_lead(placing: Placing, row: Record) -> dict[str, Touch]:
    """Touches that a lead tells, one per partner (4.1): a referral before a hand-over."""
    book = placing.book
    fields = [lookup.field for lookup in book.rules.lookups if lookup.object == "Lead"]
    told = [("referral", partner) for partner in (book.account(row, name) for name in fields) if partner]
    brought = _brought(placing, row, "referral")
    if brought is not None:
        told.append(brought)
    found: dict[str, Touch] = {}
    for kind, partner in sorted(told, key=lambda item: item[0] != "referral"):
        found.setdefault(
            partner,
            Touch(
                id=f"Lead:{identity(row)}:{partner}",
                occurred_at=created(row),
                recorded_at=created(row),
                partner_id=partner,
                kind=kind,
                strength="strong",
                author_id=read(row, "CreatedById", str),
            ),
        )
    return found


# --- mapped objects: registrations, junctions, overlaps ----------------------------------------------------


def _place_mapped(placing: Placing, touches: Touches, row: Record) -> None:
    book = placing.book
    partner = book.account(row, touches.partner)
    occurred_at = book.moment(row, touches.occurred_at) or created(row)
    if partner is None or occurred_at > book.as_of:
        return
    strength = touches.strength or STRENGTH[touches.kind]
    program = book.text(row, touches.program) if touches.program else None
    approval, approved_at = _approval(book, touches.approval, touches.object, row)
    touch = Touch(
        id=f"{touches.object}:{identity(row)}:{partner}",
        occurred_at=occurred_at,
        recorded_at=created(row),
        partner_id=partner,
        kind=touches.kind,
        strength=strength,
        author_id=read(row, "CreatedById", str),
        sourcing=touches.sourcing,
        program_id=program,
        approval=approval,
        approved_at=approved_at,
        expires_at=_expiry(book, row, touches.expires_on) if touches.expires_on else None,
    )
    deal, lead, contact, account = (
        book.text(row, path) if path else None
        for path in (touches.opportunity, touches.lead, touches.contact, touches.account)
    )
    if deal is not None:
        placing.on_deal(touch, deal)
    elif lead is not None:
        placing.on_lead(touch, lead)
    elif contact is not None:
        placing.on_contact(touch, contact)
    else:
        placing.on_account(touch, None if account is None else book.account(row, touches.account or ""))


def _expiry(book: Book, row: Record, path: str) -> datetime | None:
    """Rule 1.1: the last instant at which it holds; an expiry lasts to the end of its day."""
    found = book.value(row, path)
    if isinstance(found, datetime):
        return found
    return end_of(found, book.zone) - datetime.resolution if isinstance(found, date) else None


def _approval(book: Book, approval: Approval | None, name: str, row: Record) -> tuple[str, datetime | None]:
    """(state, approved at) as of the instant: by the mapped date, the field's history, or the versions."""
    if approval is None:
        return "none", None

    def state(value: object) -> str:
        for found, values in (
            ("approved", approval.approved),
            ("rejected", approval.rejected),
            ("pending", approval.pending),
        ):
            if value in values:
                return found
        return "none"

    present = state(book.value(row, approval.field))
    given = book.moment(row, approval.at) if approval.at else None
    if present == "approved" and given is not None:
        return ("approved", given) if given <= book.as_of else ("pending", None)

    steps = [] if approval.at else _history_steps(book, approval.field, name, row)
    told = [(at, state(value)) for at, value in steps]
    if not told or told[-1][1] != present:
        versions = book.versions[name][identity(row)]
        told = [
            (stamp(version) if number else created(version), state(book.value(version, approval.field)))
            for number, version in enumerate(versions)
        ]
    seen = [step for step in told if step[0] <= book.as_of]
    if not seen:
        return "pending", None
    reached_at, reached = seen[-1]
    for at, kind in reversed(seen):
        if kind != reached:
            break
        reached_at = at
    return reached, reached_at if reached == "approved" else None


def _history_steps(book: Book, field: str, name: str, row: Record) -> list[tuple[datetime, object]]:
    """(instant, new value) of a field of a record, oldest first."""
    custom = name.endswith("__c")
    history = f"{name[:-3]}__History" if custom else f"{name}History"
    parent = "ParentId" if custom else f"{name}Id"
    rows = [
        each
        for each in book.live("OpportunityFieldHistory" if name == "Opportunity" else history)
        if each.get(parent) == identity(row) and each.get("Field") == field
    ]
    rows.sort(key=lambda each: (created(each), identity(each)))
    return [(created(each), each.get("NewValue")) for each in rows]
