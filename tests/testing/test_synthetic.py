from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from attribution.columns import KINDS
from attribution.readings import readings
from attribution.testing.synthetic import NOW, SyntheticOrg, generate, salesforce_id
from attribution.testing.synthetic.schema import all_objects
from attribution.testing.truth import Rules, Truth

DAY = timedelta(days=1)
ZONE = ZoneInfo("America/New_York")


@cache
def demo(licences: bool = True) -> SyntheticOrg:
    return generate(partner_licences=licences)


@cache
def truth() -> Truth:
    return demo().truth()


@cache
def table(name: str, licences: bool = True) -> tuple[dict[str, Any], ...]:
    return tuple(demo(licences).records[name])


def edits(name: str) -> list[dict[str, Any]]:
    return demo().edits[name]


@cache
def by_id(name: str) -> dict[str, dict[str, Any]]:
    return {row["Id"]: row for row in table(name)}


def live(name: str) -> Iterator[dict[str, Any]]:
    return (row for row in table(name) if not row.get("IsDeleted"))


@cache
def histories() -> dict[str, list[dict[str, Any]]]:
    """History rows per live opportunity, oldest first."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(
        live("OpportunityHistory"), key=lambda row: (row["CreatedDate"], row["SystemModstamp"], row["Id"])
    ):
        found[row["OpportunityId"]].append(row)
    return found


@cache
def partner_rows() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Partner rows per (opportunity, account), oldest first."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(table("Partner"), key=lambda row: row["CreatedDate"]):
        if row["OpportunityId"] is not None:
            found[row["OpportunityId"], row["AccountToId"]].append(row)
    return found


def recreated(low: int, high: int) -> Iterator[dict[str, Any]]:
    """Rows re-created that many seconds after a deletion, with another role."""
    for rows in partner_rows().values():
        for old, new in pairwise(rows):
            gap = (new["CreatedDate"] - old["SystemModstamp"]).total_seconds()
            if old["IsDeleted"] and low <= gap <= high and old["Role"] != new["Role"]:
                yield new


def is_partner_user(user_id: str) -> bool:
    contact_id = by_id("User").get(user_id, {}).get("ContactId")
    return contact_id is not None and by_id("User")[user_id]["LastName"].startswith("Partner User")


def is_internal(user_id: str) -> bool:
    return user_id in by_id("User") and by_id("User")[user_id]["ContactId"] is None


@cache
def orgs() -> tuple[SyntheticOrg, ...]:
    """Orgs of every kind, small."""
    return (
        generate(300, 1),
        generate(300, 2, mapped=False, multi_currency=False),
        generate(300, 3, partner_licences=False, currency="JPY"),
        generate(300, 4, amount_field="ACV__c", currency="KWD"),
    )


def kind_of_partner(account: dict[str, Any]) -> str | None:
    if account.get("IsPartner"):
        return "flag"
    if (account.get("Type") or "").casefold() in {name.casefold() for name in Rules().partner_types}:
        return "type"
    if any(row["PartnerId"] == account["Id"] for row in live("ChannelProgramMember")):
        return "member"
    if any(row["OpportunityId"] and row["AccountToId"] == account["Id"] for row in live("Partner")):
        return "row"
    return None


@cache
def partner_kinds() -> Counter[str | None]:
    return Counter(kind_of_partner(row) for row in live("Account"))


def points() -> Iterator[tuple[Any, Any]]:
    return ((deal, point) for deal in truth().deals.values() for point in deal.touchpoints)


def stages_of(opportunity_id: str) -> list[str]:
    return [stage for stage, _, _ in truth().deals[opportunity_id].spells]


_ORDER = ["Prospecting", "Qualification", "Needs Analysis", "Proposal", "Negotiation"]


def steps() -> Iterator[int]:
    """How many stages forward or back each change of stage goes."""
    for deal in truth().deals.values():
        known = [_ORDER.index(stage) for stage, _, _ in deal.spells if stage in _ORDER]
        yield from (after - before for before, after in pairwise(known))


def close_rows(outcome: str) -> Iterator[Any]:
    return (deal for deal in truth().deals.values() if deal.outcome == outcome)


def near_midnight(at: datetime) -> bool:
    local = at.astimezone(ZONE)
    minutes = local.hour * 60 + local.minute
    return min(minutes, 1440 - minutes) <= 30


def is_clock_change(day: date) -> bool:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZONE)
    return noon.utcoffset() != (noon - DAY).utcoffset()


def memberships() -> Counter[str]:
    return Counter(row["PartnerId"] for row in live("ChannelProgramMember"))


# What must occur in the demo org -> how often it does.
SITUATIONS: dict[str, Callable[[], int]] = {
    "deals per customer": lambda: max(Counter(r["AccountId"] for r in live("Opportunity")).values()) - 1,
    "deal without account": lambda: sum(r["AccountId"] is None for r in live("Opportunity")),
    **{
        f"{kind} deals": lambda kind=kind: sum(d.deal_type == kind for d in truth().deals.values())  # type: ignore[misc]
        for kind in ("new", "expansion", "renewal", "unclassified")
    },
    "won": lambda: sum(1 for _ in close_rows("won")),
    "lost": lambda: sum(1 for _ in close_rows("lost")),
    "open": lambda: sum(1 for _ in close_rows("open")),
    "cents": lambda: sum((d.amount_minor or 0) % 100 != 0 for d in truth().deals.values()),
    "unvalued": lambda: sum(d.amount_minor is None for d in close_rows("won")),
    "zero amount": lambda: sum(d.amount_minor == 0 for d in close_rows("won")),
    "negative amount": lambda: sum((d.amount_minor or 0) < 0 for d in close_rows("won")),
    "regression": lambda: sum(step < 0 for step in steps()),
    "skipped stage": lambda: sum(step > 1 for step in steps()),
    "re-entry": lambda: sum(len(stages_of(key)) > len(set(stages_of(key))) for key in truth().deals),
    "lost, reopened, won": lambda: sum("Closed Lost" in stages_of(d.id) for d in close_rows("won")),
    "amount edited after the close": lambda: sum(
        key in truth().deals and rows[-1]["CreatedDate"] > (truth().deals[key].closed_at or NOW)
        for key, rows in histories().items()
    ),
    "deal without history": lambda: sum(d.id not in histories() for d in close_rows("won")),
    "close without a row": lambda: sum(
        d.id in histories() and histories()[d.id][-1]["StageName"] in _ORDER for d in close_rows("lost")
    ),
    "tied history rows": lambda: sum(
        one["CreatedDate"] == two["CreatedDate"]
        for rows in histories().values()
        for one, two in pairwise(rows)
    ),
    "ties whose ids run against their stamps": lambda: sum(
        one["CreatedDate"] == two["CreatedDate"] and one["Id"] > two["Id"]
        for rows in histories().values()
        for one, two in pairwise(rows)
    ),
    "unknown gap": lambda: sum("(unknown)" in stages_of(key) for key in truth().deals),
    "stage nobody knows any more": lambda: sum(
        row["StageName"] in ("Verbal", "Booked", "Dropped") for row in live("OpportunityHistory")
    ),
    "stage by API name": lambda: sum(
        r["StageName"] == "Proposal/Price Quote" for r in live("OpportunityHistory")
    ),
    "inactive stage": lambda: sum(r["StageName"] == "Signed on Paper" for r in live("Opportunity")),
    "won with a close date to come": lambda: sum(d.future_dated for d in truth().deals.values()),
    "closed before it was created": lambda: sum(
        d.closed_on < d.created_at.astimezone(ZONE).date() for d in close_rows("won")
    ),
    "probability 150": lambda: sum(r["Probability"] == 150 for r in live("Opportunity")),
    "created near midnight in the zone": lambda: sum(
        near_midnight(r["CreatedDate"]) for r in live("Opportunity")
    ),
    "another day in the zone than in UTC": lambda: sum(
        r["CreatedDate"].date() != r["CreatedDate"].astimezone(ZONE).date() for r in live("Opportunity")
    ),
    "created on a clock change": lambda: sum(
        is_clock_change(r["CreatedDate"].astimezone(ZONE).date()) for r in live("Opportunity")
    ),
    "closed on a clock change, without history": lambda: sum(
        d.id not in histories() and d.closed_on is not None and is_clock_change(d.closed_on)
        for d in close_rows("won")
    ),
    "deleted opportunity": lambda: sum(r["IsDeleted"] for r in table("Opportunity")),
    "lead linked to a deal": lambda: sum(r["ConvertedOpportunityId"] is not None for r in live("Lead")),
    "lead linked to an account only": lambda: sum(
        r["IsConverted"] and r["ConvertedOpportunityId"] is None for r in live("Lead")
    ),
    "lead not converted": lambda: sum(not r["IsConverted"] for r in live("Lead")),
    "lead by a partner user": lambda: sum(is_partner_user(r["CreatedById"]) for r in live("Lead")),
    "lead handed over": lambda: sum(
        is_internal(r["CreatedById"]) and r["PartnerAccountId"] is not None for r in live("Lead")
    ),
    "lead after the deal": lambda: sum(
        p.kind == "referral" and p.occurred_at > d.created_at for d, p in points()
    ),
    "lead older than a year": lambda: sum(
        p.kind == "referral" and p.occurred_at < d.created_at - 365 * DAY for d, p in points()
    ),
    "lead a year old to the second": lambda: sum(
        p.kind == "referral" and p.occurred_at == d.created_at - 365 * DAY for d, p in points()
    ),
    "merged lead": lambda: sum(r["IsDeleted"] and r["MasterRecordId"] is not None for r in table("Lead")),
    "ambiguous lead": lambda: sum(each.startswith("Lead") for each in truth().ambiguous),
    "orphan lead": lambda: sum(each.startswith("Lead") for each in truth().orphans),
    "ambiguous meeting": lambda: sum(each.startswith("Event") for each in truth().ambiguous),
    "orphan meeting": lambda: sum(each.startswith("Event") for each in truth().orphans),
    "opportunity by a partner user": lambda: sum(
        is_partner_user(r["CreatedById"]) for r in live("Opportunity")
    ),
    "brought by a partner user, owned by us": lambda: sum(
        is_partner_user(r["CreatedById"]) and r["PartnerAccountId"] is None for r in live("Opportunity")
    ),
    "opportunity handed over": lambda: sum(
        is_internal(r["CreatedById"]) and r["PartnerAccountId"] is not None for r in live("Opportunity")
    ),
    "customer portal user": lambda: sum(r["LastName"].startswith("Portal User") for r in table("User")),
    "inactive user": lambda: sum(not r["IsActive"] for r in table("User")),
    "reverse partner row": lambda: sum(r["OpportunityId"] is None for r in live("Partner")),
    "role changed at once": lambda: sum(1 for _ in recreated(0, 0)),
    "role changed within a day": lambda: sum(1 for _ in recreated(1, 86_399)),
    "role changed after a day to the second": lambda: sum(1 for _ in recreated(86_400, 86_400)),
    "role changed after more than a day": lambda: sum(1 for _ in recreated(86_401, 10**9)),
    "role changed twice": lambda: sum(len(rows) > 2 for rows in partner_rows().values()),
    "partner row gone for good": lambda: sum(rows[-1]["IsDeleted"] for rows in partner_rows().values()),
    "self-deal": lambda: sum(p.self_deal for _, p in points()),
    "own account": lambda: sum(p.own_account for _, p in points()),
    **{
        f"partner by {kind}": lambda kind=kind: partner_kinds()[kind]  # type: ignore[misc]
        for kind in ("flag", "type", "member", "row")
    },
    "partner that buys": lambda: sum(
        kind_of_partner(by_id("Account")[r["AccountId"]]) == "flag"
        for r in live("Opportunity")
        if r["AccountId"] is not None
    ),
    "customer that shares a parent with a partner": lambda: sum(
        p.own_account and p.partner_id != by_id("Opportunity")[d.id]["AccountId"] for d, p in points()
    ),
    "merged account": lambda: sum(
        r["MasterRecordId"] is not None for r in table("Account") if r["IsDeleted"]
    ),
    "chain of merges": lambda: sum(
        bool(by_id("Account")[r["MasterRecordId"]].get("IsDeleted"))
        for r in table("Account")
        if r["IsDeleted"]
    ),
    "deal that points at a merged account": lambda: sum(
        r["AccountId"] is not None and by_id("Account")[r["AccountId"]]["IsDeleted"]
        for r in live("Opportunity")
    ),
    "meeting with a merged contact": lambda: sum(
        bool(by_id("Contact").get(r["WhoId"], {}).get("IsDeleted")) for r in live("Event")
    ),
    "meeting without a record": lambda: sum(r["WhatId"] is None for r in live("Event")),
    "meeting on another object": lambda: sum((r["WhatId"] or "").startswith("701") for r in live("Event")),
    "meeting with a lead": lambda: sum(r["WhoId"].startswith("00Q") for r in live("Event")),
    "all-day meeting": lambda: sum(r["IsAllDayEvent"] for r in live("Event")),
    "all-day meeting logged on its day": lambda: sum(
        r["IsAllDayEvent"] and r["CreatedDate"].astimezone(ZONE).date() == r["ActivityDate"]
        for r in live("Event")
    ),
    "meeting to come": lambda: sum(r["ActivityDateTime"] > NOW for r in live("Event")),
    "meeting without an end": lambda: sum(r["EndDateTime"] is None for r in live("Event")),
    "child meeting": lambda: sum(r["IsChild"] for r in live("Event")),
    "series": lambda: sum(r["IsRecurrence"] for r in live("Event")),
    "deleted meeting": lambda: sum(r["IsDeleted"] for r in table("Event")),
    "logged late": lambda: sum(p.logged_late for _, p in points()),
    "after the close": lambda: sum(
        d.closed_at is not None and p.occurred_at > d.closed_at for d, p in points()
    ),
    "outside the window": lambda: sum(
        p.occurred_at < (d.closed_at or NOW) - 365 * DAY and p.kind == "meeting" for d, p in points()
    ),
    "at the edge of the window": lambda: sum(
        d.closed_at is not None and d.closed_at - p.occurred_at in (365 * DAY, 7 * DAY) for d, p in points()
    ),
    "in the last week": lambda: sum(
        d.closed_at is not None and timedelta(0) <= d.closed_at - p.occurred_at < 7 * DAY for d, p in points()
    ),
    "void": lambda: sum(
        any(p.kind == "partner_owned" for p in d.touchpoints)
        and d.deal_type != "renewal"
        and d.sourced_partner_id is None
        for d in truth().deals.values()
    ),
    "late role": lambda: sum(
        p.kind == "role" and p.recorded_at > d.created_at + 14 * DAY for d, p in points()
    ),
    "role that could source": lambda: (
        sum(
            d.sourced_partner_id is not None
            for d in demo().truth(policy=Rules(sourcing_roles=("Referral Partner",))).deals.values()
        )
        - sum(d.sourced_partner_id is not None for d in truth().deals.values())
    ),
    "renewal with evidence": lambda: sum(
        d.deal_type == "renewal" and p.kind == "referral" for d, p in points()
    ),
    "contested": lambda: sum(d.contested for d in truth().deals.values()),
    "unverified": lambda: sum(d.unverified for d in truth().deals.values()),
    "claimed": lambda: sum(s == "claimed" for d in truth().deals.values() for _, s, _ in d.influenced),
    "auto-approved": lambda: sum(
        s == "auto_approved" for d in truth().deals.values() for _, s, _ in d.influenced
    ),
    "failed guard": lambda: sum(
        d.outcome == "won"
        and any(p.counting and p.partner_id != d.sourced_partner_id for p in d.touchpoints)
        and not d.influenced
        for d in truth().deals.values()
    ),
    "author nobody can see": lambda: sum(r["CreatedById"] not in by_id("User") for r in live("Event")),
    "partner in one program": lambda: sum(n == 1 for n in memberships().values()),
    "partner in two programs": lambda: sum(n == 2 for n in memberships().values()),
    "membership ended": lambda: sum(r["IsDeleted"] for r in table("ChannelProgramMember")),
    "program of a membership that ended": lambda: sum(
        p.program_id is not None
        and not any(r["PartnerId"] == p.partner_id for r in live("ChannelProgramMember"))
        for _, p in points()
    ),
    **{
        f"{kind} touchpoint": lambda kind=kind: sum(p.kind == kind for _, p in points())  # type: ignore[misc]
        for kind in (*KINDS, "advisory")
    },
    **{
        f"{kind} reaches several deals or none": lambda kind=kind: sum(  # type: ignore[misc]
            each.startswith(kind) for each in truth().ambiguous | truth().orphans
        )
        for kind in ("CampaignMember", "Task", "Deal_Registration__c", "Overlap__c", "Partner_Influence__c")
    },
    **{
        f"{state} registration": lambda state=state: sum(  # type: ignore[misc]
            p.kind == "deal_registration" and p.approval == state for _, p in points()
        )
        for state in ("approved", "pending", "rejected", "none")
    },
    "sourced by a registration": lambda: sum(
        d.sourced_partner_id in {p.partner_id for p in d.touchpoints if p.kind == "deal_registration"}
        for d in truth().deals.values()
    ),
    "registration that has expired": lambda: sum(
        p.kind == "deal_registration" and p.approval == "approved" and not p.counting for _, p in points()
    ),
    "late lookup": lambda: sum(
        p.kind == "sourced_by" and p.recorded_at > d.created_at + 14 * DAY for d, p in points()
    ),
    "lookup from the start": lambda: sum(
        p.kind == "sourced_by" and p.occurred_at == d.created_at for d, p in points()
    ),
    "lookup emptied again": lambda: sum(
        r["NewValue"] is None and by_id("Opportunity")[r["OpportunityId"]][r["Field"]] is None
        for r in live("OpportunityFieldHistory")
    ),
    "campaign of a mapped partner": lambda: sum(r["Partner__c"] is not None for r in live("Campaign")),
    "approved request for funds": lambda: sum(r["Status"] == "Approved" for r in live("PartnerFundRequest")),
    "member that did not respond": lambda: sum(
        p.kind == "campaign_response" and p.strength == "exposure" for _, p in points()
    ),
    "member that is both lead and contact": lambda: sum(
        r["LeadId"] is not None and r["ContactId"] is not None for r in live("CampaignMember")
    ),
    "partner in a role for a customer": lambda: sum(
        p.kind == "contact_role" and p.own_account for _, p in points()
    ),
    "meeting with two partners": lambda: sum(
        n > 1 for n in Counter(p.id.split(":")[1] for _, p in points() if p.kind == "meeting").values()
    ),
    "open task": lambda: sum(not r["IsClosed"] for r in live("Task")),
    "task without any date": lambda: sum(
        r["IsClosed"] and r["CompletedDateTime"] is None and r["ActivityDate"] is None for r in live("Task")
    ),
    "weak evidence alone": lambda: sum(
        {p.strength for p in d.touchpoints if p.counting and p.partner_id == partner} == {"weak"}
        for d in truth().deals.values()
        for partner, _, _ in d.influenced
    ),
    "weak evidence of one day": lambda: sum(
        d.outcome == "won"
        and not d.influenced
        and any(p.counting and p.strength == "weak" for p in d.touchpoints)
        for d in truth().deals.values()
    ),
    **{
        f"{state} claim": lambda state=state: sum(  # type: ignore[misc]
            s == state for d in truth().deals.values() for _, s, _ in d.influenced
        )
        for state in ("approved", "pending")
    },
    **{
        f"won in {code}": lambda code=code: sum(  # type: ignore[misc]
            by_id("Opportunity")[d.id]["CurrencyIsoCode"] == code for d in close_rows("won")
        )
        for code in ("USD", "EUR", "JPY", "KWD", "GBP", "CHF")
    },
    "currency without a rate": lambda: sum(
        d.amount_minor is None and by_id("Opportunity")[d.id]["Amount"] is not None for d in close_rows("won")
    ),
    "excluded": lambda: truth().excluded_deals,
    "no industry": lambda: sum(dict(d.segments)["Industry__c"] is None for d in close_rows("won")),
    "tier": lambda: sum(p.tier_id is not None for _, p in points()),
    "program of a mapped field": lambda: sum(
        p.kind == "deal_registration" and p.program_id is not None and p.tier_id is None for _, p in points()
    ),
    "family of three generations": lambda: sum(
        r.get("ParentId") is not None and by_id("Account")[r["ParentId"]].get("ParentId") is not None
        for r in live("Account")
    ),
    "partner no longer": lambda: sum(
        by_id("Account")[r["Id"]].get("IsPartner") and not r["IsPartner"] for r in edits("Account")
    ),
    "partner from now on": lambda: sum(
        r["Type"] == "Partner" and by_id("Account")[r["Id"]]["Type"] != "Partner" for r in edits("Account")
    ),
    "merged later": lambda: sum(
        bool(r.get("MasterRecordId")) for name in ("Account", "Contact", "Lead") for r in edits(name)
    ),
    "approved later": lambda: sum(r["Status__c"] == "Approved" for r in edits("Deal_Registration__c")),
    "closed later without a row": lambda: sum(
        r["IsClosed"]
        and not by_id("Opportunity")[r["Id"]]["IsClosed"]
        and r["Id"] not in {h["OpportunityId"] for h in edits("OpportunityHistory")}
        for r in edits("Opportunity")
    ),
    "lookup filled later without a row": lambda: sum(
        r["Referring_Partner__c"] != by_id("Opportunity")[r["Id"]]["Referring_Partner__c"]
        for r in edits("Opportunity")
    ),
    "no program": lambda: sum(p.program_id is None for _, p in points()),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_demo_org_is_hostile(situation: str) -> None:
    assert SITUATIONS[situation]() > 0


@pytest.mark.parametrize("number", range(4))
def test_rows_fit_the_schema(number: int) -> None:
    org = orgs()[number]
    objects = all_objects(org.schema)
    python = {"boolean": bool, "date": date, "datetime": datetime, "int": int}
    for name, rows in [*org.records.items(), *org.edits.items()]:
        fields = {field.name: field for field in objects[name].fields}
        required = {
            field.name for field in objects[name].fields if not field.nillable and not field.calculated
        }
        for row in rows:
            assert row.keys() <= fields.keys(), name
            assert not {key for key in required if row.get(key) is None}, name
            for key, value in row.items():
                numeric = Decimal if fields[key].type in ("currency", "percent", "double") else str
                if value is not None:
                    assert type(value) is python.get(fields[key].type, numeric), (name, key)


@pytest.mark.parametrize("number", range(4))
def test_ids_are_salesforces_and_references_point_at_rows(number: int) -> None:
    org = orgs()[number]
    objects = all_objects(org.schema)
    known = {row["Id"] for rows in org.records.values() for row in rows}
    assert len(known) == sum(len(rows) for rows in org.records.values())
    known |= {row["Id"] for rows in org.edits.values() for row in rows}
    for name, rows in [*org.records.items(), *org.edits.items()]:
        lookups = {field.name for field in objects[name].fields if field.type == "reference"} - {"WhatId"}
        for row in rows:
            record_id = str(row["Id"])
            assert len(record_id) == 18
            assert record_id.startswith(str(objects[name].key_prefix))
            for key in lookups & row.keys() - {"CreatedById", "LastModifiedById", "OwnerId"}:
                assert row[key] is None or row[key] in known, (name, key)


def has_valid_checksum(record_id: str) -> bool:
    """Three characters, each for the letter cases of five of the fifteen, the first being the lowest bit."""
    found = ""
    for start in (0, 5, 10):
        bits = [character.isupper() for character in reversed(record_id[start : start + 5])]
        found += "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[int("".join("1" if bit else "0" for bit in bits), 2)]
    return record_id[15:] == found


def test_salesforce_ids_carry_their_checksum() -> None:
    assert has_valid_checksum("001D000000IqhSLIAZ")  # the example of Salesforce's own documentation
    assert not has_valid_checksum("001D000000IqhSlIAZ")
    assert all(has_valid_checksum(str(row["Id"])) for rows in demo().records.values() for row in rows)


def test_ids_that_differ_in_case_alone_are_two_records() -> None:
    upper, lower = salesforce_id("001", 10)[:15], salesforce_id("001", 36)[:15]
    assert upper != lower
    assert upper.lower() == lower.lower()


@pytest.mark.parametrize("number", range(4))
def test_instants_are_aware_whole_seconds_and_nothing_is_recorded_in_the_future(number: int) -> None:
    org = orgs()[number]
    for tables, end in ((org.records, org.now), (org.edits, org.edited_at)):
        for name, rows in tables.items():
            for row in rows:
                for key, value in row.items():
                    if isinstance(value, datetime):
                        assert value.tzinfo is UTC, (name, key)
                        assert value.microsecond == 0, (name, key)
                created, changed = row["CreatedDate"], row.get("SystemModstamp", row["CreatedDate"])
                assert isinstance(created, datetime)
                assert isinstance(changed, datetime)
                assert created <= changed < end, name


def test_edits_are_later_versions_and_new_records() -> None:
    for org in orgs():
        for name, rows in org.edits.items():
            before = {row["Id"]: row for row in org.records[name]}
            for row in rows:
                assert row.get("SystemModstamp", row["CreatedDate"]) > org.now, name  # type: ignore[operator]
                assert row != before.get(row["Id"])
        assert org.truth() == org.truth(edited=True, as_of=org.now, known_at=org.now)
        assert org.truth().deals != org.truth(edited=True).deals


def agree(found: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether a row is there; what it leaves open, such as an end, Salesforce may have filled in."""
    return all(value is None or found[key] == value for key, value in row.items())


@pytest.mark.parametrize("number", range(4))
def test_an_org_on_loopback_holds_the_rows_and_their_edits(number: int) -> None:
    generated = orgs()[number]
    org = generated.org()
    for name, rows in generated.records.items():
        found = {row["Id"]: row for row in org.rows(name)}
        ours = name == "User"  # the one that reads
        assert len(found) == len(rows) + ours
        assert all(agree(found[row["Id"]], row) for row in rows), name
    assert org.now == generated.now + timedelta(minutes=10)
    generated.edit(org)
    for name, rows in generated.edits.items():
        found = {row["Id"]: row for row in org.rows(name)}
        assert all(agree(found[row["Id"]], row) for row in rows), name
    org.close()


@pytest.mark.parametrize("number", range(4))
def test_the_mapping_names_what_the_org_has(number: int) -> None:
    org = orgs()[number]
    objects = all_objects(org.schema)
    for reading in readings(org.mapping).values():
        if reading.object in objects:
            assert all(objects[reading.object].has(name) for name in reading.needed), reading.object
        else:
            assert not reading.required


def test_some_minutes_between_the_watermark_and_now_change_nothing() -> None:
    org = generate(400, 5)
    early = org.truth(org.now - timedelta(minutes=10))
    late = org.truth(org.now + timedelta(minutes=10))
    assert [deal.closed_at for deal in early.deals.values()] == [
        deal.closed_at for deal in late.deals.values()
    ]
    assert [deal.influenced for deal in early.deals.values()] == [
        deal.influenced for deal in late.deals.values()
    ]


def test_an_org_without_partner_licences() -> None:
    org = demo(licences=False)
    assert not {name for name in org.records if name.startswith("ChannelProgram")}
    assert "IsPartner" not in org.records["Account"][0]
    assert "PartnerAccountId" not in org.records["Opportunity"][0]
    assert "PartnerAccountId" not in org.records["Lead"][0]
    assert all(row["ContactId"] is None for row in org.records["User"])
    kinds = {point.kind for deal in org.truth().deals.values() for point in deal.touchpoints}
    assert kinds == {*KINDS, "advisory"} - {"partner_owned", "handed_over"}
    assert not any(point.tier_id for deal in org.truth().deals.values() for point in deal.touchpoints)


@pytest.mark.parametrize("opportunities", [0, 1, 2, 7])
def test_any_size(opportunities: int) -> None:
    org = generate(opportunities, 1)
    assert len(org.records["Opportunity"]) == opportunities
    assert len(org.truth().deals) <= opportunities


def test_the_seed_decides_everything() -> None:
    assert generate(50, 3) == generate(50, 3)
    assert generate(50, 3) != generate(50, 4)


def test_people_are_numbered_and_companies_have_names_of_their_own() -> None:
    for name in ("Contact", "Lead", "User"):
        assert all(any(c.isdigit() for c in str(row["LastName"])) for row in table(name))
        assert not any("Email" in row and not str(row["Email"]).endswith(".example") for row in table(name))
    names = [row["Name"] for row in table("Account")]
    assert len(set(names)) > 0.95 * len(names)


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more, got -1"):
        generate(-1)
    with pytest.raises(ValueError, match="time zone"):
        generate(1, now=datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="currency must be one of USD"):
        generate(1, currency="CHF")
