"""Slices of a believable org hold the deals that a slow and separate reading of the rules puts there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from zoneinfo import ZoneInfo

import pytest

import attribution as at
from attribution import Deals, Policy
from attribution.columns import to_micros
from attribution.derive import derive
from attribution.testing.synthetic import generate
from attribution.testing.truth import DealTruth, Truth
from tests.records import MemoryRecords

HEADLINE = ("approved", "auto_approved")
OF_DEALS = ("deal_type", "owner", "quarter", "Industry__c")


@pytest.fixture(scope="module")
def believable() -> tuple[Deals, Truth]:
    org = generate(900, 6)
    reads = MemoryRecords((org.now, org.records))
    until = to_micros(org.now)
    deals = Deals(derive(reads, org.mapping, as_of=until, watermark=until), Policy())
    return deals, org.truth(as_of=org.now, synced_at=org.now)


def quarter(day: date) -> str:
    return f"{day.year}Q{(day.month + 2) // 3}"


def cells(deal: DealTruth, truth: Truth, by: tuple[str, ...]) -> Iterator[dict[str, object]]:
    """What each claim, or touch, on a deal says of the columns of partners; one of nothing without these."""
    claims = [(deal.sourced_partner_id, deal.sourced_program, "sourced")] if deal.sourced_partner_id else []
    claims += [
        (partner, program, "influenced")
        for partner, state, programs in deal.influenced
        if state in HEADLINE
        for program in programs
    ]
    touches = [each for each in deal.touchpoints if each.counting]
    if {"partner", "parent"} & {*by} or ({"program", "label"} & {*by} and "touched_partner" not in by):
        for partner, program, label in claims:
            found = {"partner": partner, "program": program, "label": label}
            found["parent"] = truth.parents.get(partner, partner)
            for touched in {each.partner_id for each in touches} if "touched_partner" in by else (None,):
                yield found | {"touched_partner": touched}
    elif {"touched_partner", "tier"} & {*by}:
        for each in touches:
            yield {"touched_partner": each.partner_id, "program": each.program_id, "tier": each.tier_id}
    else:
        yield {}


def expected(truth: Truth, by: tuple[str, ...], zone: str, *, decided: bool) -> dict[tuple[object, ...], int]:
    """Deals per slice: those decided, by close date, or all of them, by creation."""
    found: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for deal in truth.deals.values():
        if decided and deal.outcome == "open":
            continue
        created = deal.created_at.astimezone(ZoneInfo(zone)).date()
        day = deal.closed_on if decided else created
        own = {"deal_type": deal.deal_type, "owner": deal.owner_id or "(none)", **dict(deal.segments)}
        own["Industry__c"] = own.get("Industry__c") or "(none)"
        own["quarter"] = None if day is None else quarter(day)
        for cell in cells(deal, truth, by):
            named = own | cell
            if "quarter" not in by or named["quarter"] is not None:
                found[tuple(named[name] for name in by)].add(deal.id)
    return {key: len(ids) for key, ids in found.items()}


@pytest.mark.parametrize(
    "by",
    [
        *((name,) for name in ("partner", "parent", "touched_partner", *OF_DEALS)),
        *(("program", "label"), ("partner", "program"), ("partner", "label"), ("parent", "deal_type")),
        *(("touched_partner", "program"), ("touched_partner", "tier"), ("touched_partner", "quarter")),
        *(("partner", "touched_partner"), ("parent", "touched_partner", "quarter")),
        *(("partner", "touched_partner", "program", "label"), ("partner", "quarter", "owner")),
        ("quarter", "deal_type", "Industry__c"),
    ],
)
def test_every_slice_has_the_deals_of_the_known_truth(believable, by):
    deals, truth = believable
    overlay = at.velocity(deals, by=by, baseline="all", bootstrap=0)
    columns = [name if name in (*OF_DEALS, "label") else f"{name}_id" for name in by]
    for variant, decided in (("cohort_count", False), ("period_count", True)):
        found = {
            tuple(row[name] for name in columns): row["n"]
            for row in overlay.rows
            if (row["metric"], row["variant"]) == ("close_rate", variant) and row["n"]
        }
        assert found
        assert found == expected(truth, by, deals.snapshot.zone, decided=decided)
