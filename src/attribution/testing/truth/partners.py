"""Rules 3, 4.3, 4.4: who is a partner when, under which program and level, and since when it is named."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from attribution.testing.truth.facts import Record
from attribution.testing.truth.records import ALWAYS, Book, created, identity, is_deleted, need, read, stamp

__all__ = ["Partners", "RoleRow"]

_RECREATED_WITHIN = timedelta(hours=24)
_FOREVER = datetime.max.replace(tzinfo=ALWAYS.tzinfo)


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A live Partner row with an opportunity, its instant and author inherited where rule 4.3 says so."""

    row: Record
    opportunity_id: str
    partner_id: str
    occurred_at: datetime
    author_id: str | None


class Partners:
    """Partner accounts of the org, and what names them."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.field_changes: dict[str, list[Record]] = {}
        for row in sorted(
            book.live("OpportunityFieldHistory"), key=lambda row: (created(row), identity(row))
        ):
            self.field_changes.setdefault(need(row, "OpportunityId", str), []).append(row)
        self.role_rows = self._role_rows()
        self.of_campaign = self._of_campaigns()
        self.memberships: dict[str, list[Record]] = {}
        for row in book.rows("ChannelProgramMember"):
            partner = book.account(row, "PartnerId")
            if partner is not None:
                self.memberships.setdefault(partner, []).append(row)
        self._periods: dict[str, list[tuple[datetime, datetime]]] = {}
        self._note_accounts()
        self._note_rows()
        self._note_named()

    # 4.3

    def _role_rows(self) -> list[RoleRow]:
        """Rule 4.3: live rows, re-created ones with the instant and the author of the first."""
        groups: dict[tuple[str, str], list[Record]] = {}
        for row in self.book.rows("Partner"):
            opportunity, partner = read(row, "OpportunityId", str), self.book.account(row, "AccountToId")
            if opportunity is not None and partner is not None:
                groups.setdefault((opportunity, partner), []).append(row)
        found = []
        for (opportunity, partner), rows in groups.items():
            rows.sort(key=lambda row: (created(row), stamp(row), identity(row)))
            facts: dict[str, tuple[datetime, str | None]] = {}
            gone: list[Record] = []
            for row in rows:
                before = [
                    old for old in gone if timedelta(0) <= created(row) - stamp(old) <= _RECREATED_WITHIN
                ]
                if before:
                    facts[identity(row)] = facts[
                        identity(max(before, key=lambda old: (stamp(old), identity(old))))
                    ]
                else:
                    facts[identity(row)] = (created(row), read(row, "CreatedById", str))
                if is_deleted(row):
                    gone.append(row)
                else:
                    found.append(RoleRow(row, opportunity, partner, *facts[identity(row)]))
        return found

    # 4.4

    def lookup_set(self, record: Record, path: str) -> tuple[datetime, str | None]:
        """Rule 4.4: since when a field of an opportunity names its partner, and who wrote that, if known."""
        book = self.book
        partner, head = book.account(record, path), path.partition(".")[0]
        name = head if head == path else f"{head[:-3]}__c" if head.endswith("__r") else f"{head}Id"
        for row in reversed(self.field_changes.get(identity(record), [])):
            # Salesforce writes each change of a lookup twice, with the names and with the ids.
            if row.get("Field") == name and book.account({name: row.get("NewValue")}, path) == partner:
                return created(row), read(row, "CreatedById", str)
        versions = book.versions["Opportunity"][identity(record)]
        if book.account(versions[0], path) == partner:
            return created(record), read(record, "CreatedById", str)
        return next(stamp(version) for version in versions if book.account(version, path) == partner), None

    # the row of CampaignMember in the table of section 4

    def _of_campaigns(self) -> dict[str, set[str]]:
        """Partners of each campaign: those its mapped fields name, else those of approved fund requests."""
        book, found = self.book, dict[str, set[str]]()
        fields = [lookup.field for lookup in book.rules.lookups if lookup.object == "Campaign"]
        for row in book.live("Campaign"):
            if created(row) <= book.as_of:
                named = {book.account(row, name) for name in fields}
                found[identity(row)] = {account for account in named if account is not None}
        mapped = {campaign for campaign, partners in found.items() if partners}
        for row in book.live("PartnerFundRequest"):
            campaign, partner = read(row, "CampaignId", str), book.account(row, "ChannelPartnerId")
            is_visible = row.get("Status") == "Approved" and created(row) <= book.as_of
            if is_visible and campaign in found and campaign not in mapped and partner is not None:
                found[campaign].add(partner)
        return found

    # 3.1, 3.2

    def _note(self, account_id: str | None, start: datetime, end: datetime = _FOREVER) -> None:
        if account_id is not None:
            self._periods.setdefault(account_id, []).append((start, end))

    def _note_accounts(self) -> None:
        """Rule 3.2: by flag or type, from creation or the version that shows it to the one that does not."""
        types = {name.casefold() for name in self.book.rules.partner_types}
        for row in self.book.live("Account"):
            start: datetime | None = None
            for number, version in enumerate(self.book.versions["Account"][identity(row)]):
                type_ = (read(version, "Type", str) or "").casefold()
                if version.get("IsPartner") is True or type_ in types:
                    if start is None:
                        start = stamp(version) if number else created(version)
                elif start is not None:
                    self._note(identity(row), start, stamp(version))
                    start = None
            if start is not None:
                self._note(identity(row), start)

    def _note_rows(self) -> None:
        """Rule 3.1: members, and accounts that a Partner row of somebody else's opportunity names."""
        book = self.book
        for row in book.live("ChannelProgramMember"):
            if created(row) <= book.as_of:
                self._note(book.account(row, "PartnerId"), ALWAYS)
        for role in self.role_rows:
            record = book.opportunities.get(role.opportunity_id)
            if record is not None and book.account(record, "AccountId") != role.partner_id:
                self._note(role.partner_id, role.occurred_at)

    def _note_named(self) -> None:
        """Rule 3.1: accounts that a mapped partner field names, at any instant, once it does."""
        book = self.book
        for lookup in book.rules.lookups:
            for row in book.live(lookup.object):
                partner = book.account(row, lookup.field)
                if partner is not None and created(row) <= book.as_of:
                    is_late = (
                        lookup.object == "Opportunity" and self.lookup_set(row, lookup.field)[0] > book.as_of
                    )
                    self._note(None if is_late else partner, ALWAYS)
        mapped = [(each.object, each.partner) for each in book.rules.touchpoints]
        mapped += [(each.object, each.partner) for each in book.rules.costs if each.partner is not None]
        for name, field in mapped:
            for row in book.live(name):
                if created(row) <= book.as_of:
                    self._note(book.account(row, field), ALWAYS)
        for partners in self.of_campaign.values():
            for partner in partners:
                self._note(partner, ALWAYS)

    def is_partner(self, account_id: str | None, at: datetime) -> bool:
        """Whether an account was a partner at an instant."""
        return any(start <= at < end for start, end in self._periods.get(account_id or "", ()))

    # 3.4

    def membership(
        self, partner_id: str, at: datetime, program: str | None = None
    ) -> tuple[str | None, str | None]:
        """Rule 3.4: (program, level) of the partner's only membership existing then, creation to deletion.

        A program that the touch has of itself stays; the level is then the partner's in that program.
        """
        there = [
            row
            for row in self.memberships.get(partner_id, ())
            if created(row) <= at
            and not (is_deleted(row) and stamp(row) <= at)
            and program in (None, read(row, "ProgramId", str))
        ]
        if len(there) != 1:
            return program, None
        return read(there[0], "ProgramId", str), read(there[0], "LevelId", str)
