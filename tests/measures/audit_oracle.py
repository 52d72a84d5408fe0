"""What an audit has to find in a generated org: from the known truth and the bare records, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from math import comb

LATE, LAST = timedelta(days=14), timedelta(days=7)
NAMING = ("role", "sourced_by", "deal_registration")
FIELDS = {
    "Partner": ("AccountToId", "OpportunityId"),
    "Lead": ("ConvertedAccountId", "ConvertedOpportunityId"),
    "CampaignMember": ("LeadId", "ContactId"),
    "OpportunityContactRole": ("OpportunityId", "ContactId"),
    "Event": ("WhatId", "WhoId"),
    "Task": ("WhatId", "WhoId"),
    "Opportunity": (),
}


def evidence(deal):
    """The touchpoints that tie a partner to a deal."""
    return [
        t
        for t in deal.touchpoints
        if t.strength != "exposure"
        and t.approval != "rejected"
        and not t.own_account
        and t.kind != "handed_over"
    ]


def expected(truth, records, mapping) -> dict[str, set]:
    """By kind, ``(deal, partner, evidence)``, or what else tells one finding from another."""
    found = {kind: set(rows) for kind, rows in _of_deals(truth, records).items()}
    found["ambiguous"] = {(None, _partner(touch), touch) for touch in truth.ambiguous}
    found["orphan"] = {(None, _partner(touch), touch) for touch in truth.orphans}
    found["merged_record"], found["deleted_record"] = set(), set()
    for touch, target, survivor in _gone(truth, records, mapping):
        found["deleted_record" if survivor is None else "merged_record"].add((touch, target))
    found["clustered"] = set(_clustered(truth))
    return found


def _partner(touch: str) -> str:
    return touch.rpartition(":")[2]


def _of_deals(truth, records) -> dict[str, list]:
    names = (
        "logged_late",
        "backdated",
        "set_after_close",
        "self_deal",
        "registered_after_direct",
        "unattributed",
    )
    found: dict[str, list] = {name: [] for name in names}
    accounts = {row["Id"]: row for row in records["Account"]}
    of_account: dict[str, list] = {}
    for row in records["Opportunity"]:
        account = _survivor(accounts, row["AccountId"])
        if row["Id"] in truth.deals and account is not None:
            of_account.setdefault(account, []).append(truth.deals[row["Id"]])
    neighbours = {deal.id: deals for deals in of_account.values() for deal in deals}
    for deal in truth.deals.values():
        mine = evidence(deal)
        for t in mine:
            here, closed = (deal.id, t.partner_id, t.id), deal.closed_at
            if t.recorded_at - t.occurred_at > LATE:
                found["logged_late"].append(here)
            if closed is not None and t.occurred_at <= closed < t.recorded_at:
                found["backdated"].append(here)
            if closed is not None and t.occurred_at > closed and t.kind in NAMING:
                found["set_after_close"].append(here)
            if t.self_deal:
                found["self_deal"].append(here)
            if t.kind == "deal_registration" and any(
                _is_direct(other, t.occurred_at) for other in neighbours.get(deal.id, [deal])
            ):
                found["registered_after_direct"].append(here)
        up_to_close = [t for t in mine if deal.closed_at is None or t.occurred_at <= deal.closed_at]
        approved = any(state in ("approved", "auto_approved") for _, state, _ in deal.influenced)
        if up_to_close and deal.sourced_partner_id is None and not approved:
            partners = {t.partner_id for t in up_to_close}
            found["unattributed"].append((deal.id, partners.pop() if len(partners) == 1 else None, None))
    return found


def _is_direct(deal, at) -> bool:
    """Open at an instant, and no partner had done anything before it."""
    return (
        deal.deal_type != "renewal"
        and deal.created_at < at
        and (deal.closed_at is None or at < deal.closed_at)
        and not any(t.occurred_at < at for t in evidence(deal))
    )


def _clustered(truth) -> Iterator[str]:
    """Partners with too much evidence in the last days: Fisher's exact test in fractions."""
    counts: dict[str, list[int]] = {}
    for deal in truth.deals.values():
        for t in evidence(deal):
            if deal.closed_at is not None and t.occurred_at <= deal.closed_at:
                count = counts.setdefault(t.partner_id, [0, 0])
                count[0] += 1
                count[1] += t.occurred_at > deal.closed_at - LAST
    everything, last = (sum(count[at] for count in counts.values()) for at in (0, 1))
    for partner, (n, k) in counts.items():
        ways = sum(comb(last, i) * comb(everything - last, n - i) for i in range(k, min(n, last) + 1))
        if Fraction(ways, comb(everything, n)) * len(counts) < Fraction(1, 100):
            yield partner


def _survivor(rows, key):
    seen = set()
    while key in rows and rows[key]["IsDeleted"]:
        if key in seen or rows[key].get("MasterRecordId") is None:
            return None
        seen.add(key)
        key = rows[key]["MasterRecordId"]
    return key


def _gone(truth, records, mapping) -> Iterator[tuple[str, str, str | None]]:
    """``touch, target, survivor`` of what the records of evidence name."""
    tables = ("Account", "Contact", "Lead", "Opportunity")
    targets = {row["Id"]: row for name in tables for row in records[name]}
    rows = {(name, row["Id"]): row for name in records for row in records[name]}
    fields = {name: list(given) for name, given in FIELDS.items()}
    for lookup in mapping.lookups:
        if lookup.object != "Campaign":
            fields[lookup.object].append(lookup.field)
    for each in mapping.touchpoints:
        paths = (each.partner, each.opportunity, each.lead, each.contact, each.account)
        fields[each.object] = [path for path in paths if path is not None and "." not in path]
    touches = {t.id for deal in truth.deals.values() for t in deal.touchpoints}
    for touch in touches | truth.ambiguous | truth.orphans:
        name, record, _ = touch.split(":")
        named = [rows[name, record].get(field) for field in fields[name]]
        for relation in records.get(f"{name}Relation", ()):
            if relation[f"{name}Id"] == record and not relation["IsDeleted"]:
                named.append(relation["RelationId"])
        for target in named:
            if target in targets and targets[target]["IsDeleted"]:
                yield touch, target, _survivor(targets, target)
