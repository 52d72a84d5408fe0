"""Hand-worked cases, one rule each; the number of the rule is in the test's name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.small_org import (
    ANN,
    AS_OF,
    BOB,
    CREATED,
    CUSTOMER,
    DAY,
    DEAL,
    PARTNER_USER,
    PARTNER_USER_2,
    REP,
    REP_2,
    STRANGER,
    TYPED,
    Org,
    at,
    kinds,
    row,
)

from attribution.testing.synthetic import generate
from attribution.testing.truth import Rules, credit, known_truth, split, table, totals


@pytest.fixture
def org() -> Org:
    return Org()


# --- 1. time and money -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logged", "occurred"),
    [(at("03-03 12:00"), at("03-05 05:00")), (at("03-05 20:00"), at("03-05 20:00"))],
    ids=["midnight in the zone", "creation on that day"],
)
def test_1_1_a_day_begins_at_midnight_in_the_zone_or_at_the_records_creation(
    org: Org, logged: datetime, occurred: datetime
) -> None:
    org.deal()
    org.meeting("00U1", at("03-05"), IsAllDayEvent=True, ActivityDate=date(2026, 3, 5), CreatedDate=logged)
    assert [point.occurred_at for point in org.the().touchpoints] == [occurred]


def test_1_2_nothing_that_happened_after_as_of_is_visible(org: Org) -> None:
    org.deal()
    org.deal("006LATER", at("05-01"))
    org.role("00I1", at("03-01"))
    org.role("00I2", at("04-01"), BOB)
    truth = org.truth(at("03-15"))
    assert list(truth.deals) == [DEAL]
    assert [point.partner_id for point in truth.deals[DEAL].touchpoints] == [ANN]


def test_1_2_a_lead_is_linked_only_once_it_was_converted(org: Org) -> None:
    org.deal(created=at("01-02"))
    org.lead("00Q1", at("01-01"), ConvertedDate=date(2026, 2, 1))
    assert not org.the(at("02-01")).touchpoints
    assert org.the(at("02-01 05:00")).touchpoints


def test_1_3_a_deleted_record_exists_at_no_as_of(org: Org) -> None:
    org.deal()
    org.role("00I1", at("02-01"), IsDeleted=True, SystemModstamp=at("08-01"))
    org.deal("006GONE", IsDeleted=True)
    truth = org.truth(at("03-01"))
    assert list(truth.deals) == [DEAL]
    assert not truth.deals[DEAL].touchpoints


@pytest.mark.parametrize(
    ("as_of", "closed_at", "outcome"),
    [
        (at("03-15"), at("03-01"), "lost"),
        (at("04-15"), None, "open"),
        (at("06-05"), at("06-01"), "won"),
        (AS_OF, at("06-01"), "won"),
    ],
)
def test_1_5_lost_reopened_won_and_edited(
    org: Org, as_of: datetime, closed_at: datetime | None, outcome: str
) -> None:
    org.deal(stage="Won", SystemModstamp=at("06-09"), CloseDate=date(2026, 2, 28))
    org.history(
        ("Open", CREATED),
        ("Lost", at("03-01")),
        ("Open", at("04-01")),
        ("Won", at("06-01")),
        ("Won", at("06-09")),
    )
    deal = org.the(as_of)
    assert (deal.closed_at, deal.outcome) == (closed_at, outcome)


def test_1_5_ties_go_by_system_modstamp_then_id(org: Org) -> None:
    org.deal(stage="Won")
    same = at("05-01")
    org.history(("Won", same), SystemModstamp=same + timedelta(seconds=1))
    org.history(("Open", same))
    assert org.the().closed_at == same
    assert [stage for stage, _, _ in org.the().spells] == ["(unknown)", "Open", "Won"]


@pytest.mark.parametrize(
    ("close_on", "stamp", "closed_at"),
    [
        (date(2026, 3, 7), at("03-20"), at("03-08 05:00")),
        (date(2026, 3, 8), at("03-20"), at("03-09 04:00")),  # clocks went forward on the 8th
        (date(2026, 3, 25), at("03-20"), at("03-20")),
    ],
)
def test_1_5_without_history_the_earlier_of_close_day_and_first_closed_version(
    org: Org, close_on: date, stamp: datetime, closed_at: datetime
) -> None:
    org.deal(stage="Won", CloseDate=close_on, SystemModstamp=stamp)
    assert org.the().closed_at == closed_at
    assert org.the(closed_at).outcome == "won"
    assert org.the(closed_at - timedelta(seconds=1)).outcome == "open"


def test_1_5_a_closed_record_whose_newest_row_is_open(org: Org) -> None:
    org.deal(stage="Lost", CloseDate=date(2026, 12, 1), SystemModstamp=at("05-05"))
    org.history(("Open", CREATED))
    assert (org.the().outcome, org.the().closed_at) == ("lost", at("05-05"))


def test_1_5_a_won_deal_with_a_close_date_to_come_is_won_and_listed(org: Org) -> None:
    org.won(at("05-01"), CloseDate=date(2026, 9, 2))
    org.won(at("05-01"), "006TODAY", CloseDate=date(2026, 8, 31))
    truth = org.truth()
    assert {deal.id: (deal.outcome, deal.future_dated) for deal in truth.deals.values()} == {
        DEAL: ("won", True),
        "006TODAY": ("won", False),
    }
    assert totals(truth)["future_dated_deals"] == 1


def test_1_7_an_open_record_counts_whatever_its_newest_row_says(org: Org) -> None:
    org.deal()
    org.history(("Won", at("05-01")))
    assert (org.the().outcome, org.the().closed_at) == ("open", None)
    assert org.the(at("06-01")).outcome == "won"


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"StageName": "Won_api"}, "won"),
        ({"StageName": "Forgotten", "ForecastCategory": "Closed"}, "won"),
        ({"StageName": "Forgotten", "ForecastCategory": "Omitted", "Probability": Decimal(0)}, "lost"),
        ({"StageName": "Forgotten", "ForecastCategory": "Omitted", "Probability": Decimal(5)}, "open"),
        ({"StageName": "Forgotten", "ForecastCategory": "Pipeline", "Probability": Decimal(0)}, "open"),
    ],
)
def test_1_6_stage_of_a_history_row(org: Org, values: dict[str, Any], outcome: str) -> None:
    org.deal()
    org.history(("", at("02-01")), **values)
    assert org.the(at("03-01")).outcome == outcome


def test_1_6_spells(org: Org) -> None:
    org.deal()
    org.history(
        ("Open", at("02-01")), ("Open_api", at("02-05")), ("Later", at("03-01")), ("Open", at("04-01"))
    )
    assert org.the().spells == (
        ("(unknown)", False, CREATED),
        ("Open", False, at("02-01")),
        ("Later", False, at("03-01")),
        ("Open", False, at("04-01")),
    )
    org.deal("006NEVER_CHANGED", stage="Later")
    assert org.the(deal_id="006NEVER_CHANGED").spells == (("Later", False, CREATED),)


def test_1_7_amount_and_close_date_at_an_earlier_as_of(org: Org) -> None:
    org.deal(Amount=Decimal("300"), CloseDate=date(2026, 12, 3))
    org.history(("Open", at("02-01")), CloseDate=date(2026, 12, 1))
    org.history(("Open", at("04-01")), CloseDate=date(2026, 12, 2), Amount=None)
    found = [org.the(when) for when in (at("01-20"), at("02-01"), at("04-01"), AS_OF)]
    assert [deal.amount_minor for deal in found] == [30000, 7000, None, 30000]
    assert [deal.closed_on for deal in found] == [date(2026, 12, day) for day in (3, 1, 2, 3)]


@pytest.mark.parametrize(
    ("amount", "digits", "minor"),
    [
        ("0.125", 2, 12),
        ("0.135", 2, 14),
        ("-0.125", 2, -12),
        ("0.5", 0, 0),
        ("1.5", 0, 2),
        ("1.0005", 3, 1000),
    ],
)
def test_1_10_half_even_once(org: Org, amount: str, digits: int, minor: int) -> None:
    org.deal(Amount=Decimal(amount))
    assert org.truth(digits=digits).deals[DEAL].amount_minor == minor


@pytest.mark.parametrize(
    ("amount", "parts", "expected"),
    [
        (10001, [Fraction(1, 3)] * 3, [3334, 3334, 3333]),
        (-10001, [Fraction(1, 3)] * 3, [-3334, -3334, -3333]),
        (1, [Fraction(2, 5), Fraction(1, 5), Fraction(2, 5)], [1, 0, 0]),
        (100, [Fraction(1, 200), Fraction(199, 200)], [1, 99]),  # equal remainders: the earlier one
        (5, [Fraction(0), Fraction(0)], [0, 0]),
        (0, [Fraction(1)], [0]),
    ],
)
def test_1_11_largest_remainder(amount: int, parts: list[Fraction], expected: list[int]) -> None:
    assert split(amount, parts) == expected


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_1_11_parts_sum_and_nothing_goes_to_a_score_of_zero(amount: int, scores: list[int]) -> None:
    total = sum(scores)
    parts = split(amount, [Fraction(score, total or 1) for score in scores])
    assert sum(parts) == (amount if total else 0)
    assert all(part == 0 for part, score in zip(parts, scores, strict=True) if score == 0)


# --- 2. deals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_type", "expected"),
    [
        ("Existing Customer - RENEWAL", "renewal"),
        ("Existing Customer - Replacement", "expansion"),
        ("Add-On Business", "expansion"),
        ("Cross-sell", "expansion"),
        ("New Upsell", "expansion"),
        ("Brand new", "new"),
        ("Services", "unclassified"),
        (None, "unclassified"),
        ("Mapped", "renewal"),
    ],
)
def test_2_2_deal_type(org: Org, given_type: str | None, expected: str) -> None:
    org.deal(Type=given_type)
    assert org.the(policy=Rules(deal_types=(("Mapped", "renewal"),))).deal_type == expected


def test_2_1_excluded_deals_are_counted(org: Org) -> None:
    org.deal()
    org.deal("006TEST")
    org.role("00I1", at("02-01"), deal_id="006TEST")
    truth = org.truth(policy=Rules(excluded=frozenset({"006TEST"})))
    assert list(truth.deals) == [DEAL]
    assert totals(truth)["excluded_deals"] == 1
    assert not truth.orphans


# --- 3. partners and programs ------------------------------------------------------------------------------


def test_3_1_a_type_makes_a_partner_from_the_accounts_creation(org: Org) -> None:
    org.deal()
    org.meeting("00U1", at("02-28"), "003TYPED")
    org.meeting("00U2", at("03-02"), "003TYPED")
    assert [point.id for point in org.the().touchpoints] == [f"Event:00U2:{TYPED}"]


def test_3_1_a_partner_row_makes_a_partner_from_its_instant(org: Org) -> None:
    org.add("Account", row("001ROW", at("01-01"), Name="Row"))
    org.add("Contact", row("003ROW", at("01-01"), AccountId="001ROW"))
    org.deal()
    org.role("00I1", at("03-01"), "001ROW")
    org.meeting("00U1", at("02-28"), "003ROW")
    org.meeting("00U2", at("03-02"), "003ROW")
    assert [point.id for point in org.the().touchpoints] == ["Partner:00I1:001ROW", "Event:00U2:001ROW"]


def test_3_1_neither_a_reverse_row_nor_a_row_for_the_buyer_makes_a_partner(org: Org) -> None:
    org.deal()
    org.role("00I1", at("03-01"), CUSTOMER)
    org.add("Partner", row("00I2", at("03-01"), OpportunityId=None, AccountToId=CUSTOMER))
    assert not org.the().touchpoints


def test_3_1_a_live_membership_makes_a_partner_at_any_instant(org: Org) -> None:
    org.add("Account", row("001MEMBER", at("01-01"), Name="Member"))
    org.add("ChannelProgramMember", row("0pm1", at("06-01"), PartnerId="001MEMBER", ProgramId="0pp1"))
    org.deal()
    org.add("Contact", row("003MEMBER", at("01-01"), AccountId="001MEMBER"))
    org.meeting("00U1", at("03-01"), "003MEMBER")
    assert not org.the(at("05-01")).touchpoints
    (point,) = org.the().touchpoints
    assert point.program_id is None


def test_3_2_merges_follow_master_record_id_in_chains(org: Org) -> None:
    org.add("Account", row("001DUP", at("01-01"), IsDeleted=True, MasterRecordId="001DUP2"))
    org.add("Account", row("001DUP2", at("01-01"), IsDeleted=True, MasterRecordId=ANN))
    org.add("Contact", row("003DUP", at("01-01"), IsDeleted=True, MasterRecordId="003ANN"))
    org.deal()
    org.role("00I1", at("02-01"), "001DUP")
    org.meeting("00U1", at("03-01"), "003DUP")
    truth = org.truth()
    assert [point.id for point in truth.deals[DEAL].touchpoints] == [
        f"Partner:00I1:{ANN}",
        f"Event:00U1:{ANN}",
    ]
    assert truth.partner_names == {ANN: "Ann"}


@pytest.mark.parametrize("buyer", ["the partner", "a sister"])
def test_3_3_own_account_and_self_deal(org: Org, buyer: str) -> None:
    account_id = ANN
    if buyer == "a sister":
        account_id = "001SISTER"
        org.add("Account", row("001PARENT", at("01-01")))
        org.add("Account", row(account_id, at("01-01"), ParentId="001PARENT"))
        next(account for account in org.rows["Account"] if account["Id"] == ANN)["ParentId"] = "001PARENT"
    org.deal(AccountId=account_id)
    org.role("00I1", at("02-01"))
    org.meeting("00U1", at("03-01"))
    role, meeting = org.the().touchpoints
    assert (role.self_deal, role.own_account, role.counting) == (True, False, True)
    assert (meeting.self_deal, meeting.own_account, meeting.counting) == (False, True, False)


def test_3_4_program_is_the_only_membership_at_that_instant(org: Org) -> None:
    org.deal()
    member = {"PartnerId": ANN, "ProgramId": "0ppA"}
    org.add(
        "ChannelProgramMember", row("0pm1", at("02-01"), IsDeleted=True, SystemModstamp=at("04-01"), **member)
    )
    org.add("ChannelProgramMember", row("0pm2", at("03-01"), PartnerId=ANN, ProgramId="0ppB"))
    for number, when in enumerate(("01-31", "02-01", "03-01", "03-31", "04-01")):
        org.meeting(f"00U{number}", at(when))
    assert [point.program_id for point in org.the().touchpoints] == [None, "0ppA", None, None, "0ppB"]


# --- 4. touchpoints ----------------------------------------------------------------------------------------


def test_4_1_path_order_is_bytewise_and_late_logging_is_told(org: Org) -> None:
    org.deal()
    for record_id in ("00Ub", "00UB", "00U1"):
        org.meeting(record_id, at("03-01"), CreatedDate=at("03-15"))
    org.meeting("00U2", at("03-02"), CreatedDate=at("03-16 00:00:01"))
    points = org.the().touchpoints
    assert [point.id.split(":")[1] for point in points] == ["00U1", "00UB", "00Ub", "00U2"]
    assert [point.logged_late for point in points] == [False, False, False, True]


def test_4_2_account_rule(org: Org) -> None:
    org.won(at("03-01"))
    org.deal("006RENEWAL", Type="Renewal")
    org.deal("006SECOND", at("02-15"))
    second = at("02-15") - 365 * DAY
    first = CREATED - 365 * DAY
    for number, when in enumerate((first - DAY, first, second, at("03-01"), at("03-01 00:00:01"))):
        org.meeting(f"00U{number}", when, what=CUSTOMER)
    org.meeting("00U9", at("03-02"), what=None)
    truth = org.truth()
    assert [point.id for point in truth.deals[DEAL].touchpoints] == [f"Event:00U1:{ANN}"]
    assert [point.id for point in truth.deals["006SECOND"].touchpoints] == [f"Event:00U4:{ANN}"]
    assert truth.ambiguous == {f"Event:00U2:{ANN}", f"Event:00U3:{ANN}"}
    assert truth.orphans == {f"Event:00U0:{ANN}", f"Event:00U9:{ANN}"}


def test_4_3_a_row_recreated_within_24_hours_inherits_instants_and_author(org: Org) -> None:
    org.deal()
    gone = at("03-01")
    org.role("00I1", at("02-01"), CreatedById=PARTNER_USER, IsDeleted=True, SystemModstamp=gone)
    org.role("00I2", gone + DAY, IsDeleted=True, SystemModstamp=at("03-05"), Role="VAR")
    org.role("00I3", at("03-05"), Role="Referral")
    deal = org.the()
    assert [(point.id, point.occurred_at) for point in deal.touchpoints] == [
        (f"Partner:00I3:{ANN}", at("02-01"))
    ]
    assert deal.influenced == ((ANN, "claimed", (None,)),)


def test_4_3_of_two_deleted_rows_the_one_deleted_last_is_inherited(org: Org) -> None:
    org.deal()
    org.role("00I1", at("02-01"), IsDeleted=True, SystemModstamp=at("03-01 10:00"))
    org.role("00I2", at("02-15"), IsDeleted=True, SystemModstamp=at("03-01 12:00"))
    org.role("00I3", at("03-01 13:00"))
    assert [point.occurred_at for point in org.the().touchpoints] == [at("02-15")]


def test_4_3_a_row_recreated_later_is_new(org: Org) -> None:
    org.deal()
    gone = at("03-01")
    org.role("00I1", at("02-01"), IsDeleted=True, SystemModstamp=gone)
    org.role("00I2", gone + DAY + timedelta(seconds=1))
    org.role("00I3", gone, BOB)
    assert [(point.partner_id, point.occurred_at) for point in org.the().touchpoints] == [
        (BOB, gone),
        (ANN, gone + DAY + timedelta(seconds=1)),
    ]


@pytest.mark.parametrize(
    ("author", "partner_account", "expected"),
    [
        (PARTNER_USER, BOB, [("partner_owned", ANN)]),
        (REP, BOB, [("handed_over", BOB)]),
        (REP, CUSTOMER, []),
        (REP, None, []),
        (STRANGER, BOB, []),
        ("005PORTAL", BOB, []),
    ],
)
def test_4_opportunities_by_partner_users_and_handed_over(
    org: Org, author: str, partner_account: str | None, expected: list[tuple[str, str]]
) -> None:
    org.deal(CreatedById=author, PartnerAccountId=partner_account)
    assert [(point.kind, point.partner_id) for point in org.the().touchpoints] == expected


def test_4_leads_reach_the_deal_or_obey_the_account_rule(org: Org) -> None:
    org.deal()
    unlinked: dict[str, Any] = {"ConvertedOpportunityId": None, "ConvertedAccountId": CUSTOMER}
    org.lead("00Q1", at("01-01"))
    org.lead("00Q2", at("01-02"), **unlinked)
    org.lead("00Q3", at("01-03"), ConvertedOpportunityId=None)
    org.lead("00Q4", at("01-04"), IsConverted=False, ConvertedOpportunityId=None)
    org.lead("00Q5", at("01-05"), REP, PartnerAccountId=BOB)
    org.lead("00Q6", at("01-06"), REP)
    truth = org.truth()
    assert kinds(truth.deals[DEAL]) == [("referral", True), ("referral", True), ("handed_over", False)]
    assert truth.orphans == {f"Lead:00Q3:{ANN}"}


@pytest.mark.parametrize(
    ("values", "visible"),
    [
        ({}, True),
        ({"IsChild": True}, False),
        ({"IsRecurrence": True}, False),
        ({"IsDeleted": True}, False),
        ({"WhoId": "00Q1"}, False),
        ({"WhoId": "003CUSTOMER"}, False),
        ({"EndDateTime": AS_OF}, True),
        ({"EndDateTime": AS_OF + timedelta(seconds=1)}, False),
        ({"ActivityDateTime": AS_OF - timedelta(minutes=60)}, True),
        ({"ActivityDateTime": AS_OF - timedelta(minutes=59)}, False),
        ({"IsAllDayEvent": True, "ActivityDate": date(2026, 8, 30)}, True),
        ({"IsAllDayEvent": True, "ActivityDate": date(2026, 8, 31)}, False),  # ends at 04:00 UTC the next day
        ({"IsAllDayEvent": True, "ActivityDate": date(2026, 8, 1), "EndDate": date(2026, 8, 31)}, False),
        ({"IsAllDayEvent": True, "ActivityDate": date(2026, 8, 1), "EndDateTime": at("08-31")}, False),
    ],
)
def test_4_events_that_are_touchpoints(org: Org, values: dict[str, Any], visible: bool) -> None:
    org.deal()
    org.meeting("00U1", at("03-01"), **values)
    assert bool(org.the().touchpoints) is visible


# --- 5. sourced --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("linked", "before", "sourced"),
    [
        (True, timedelta(0), True),
        (True, -timedelta(seconds=1), False),
        (True, 365 * DAY, True),
        (True, 365 * DAY + timedelta(seconds=1), False),
        (False, 90 * DAY, True),
        (False, 90 * DAY + timedelta(seconds=1), False),
        (False, timedelta(0), True),
    ],
)
def test_5_rank_2_referral_in_time(org: Org, linked: bool, before: timedelta, sourced: bool) -> None:
    org.deal()
    where: dict[str, Any] = {} if linked else {"ConvertedOpportunityId": None, "ConvertedAccountId": CUSTOMER}
    org.lead("00Q1", CREATED - before, **where)
    assert org.the().sourced_partner_id == (ANN if sourced else None)


def test_5_rank_goes_before_time_and_contested_needs_two_partners(org: Org) -> None:
    org.deal(CreatedById=PARTNER_USER)
    assert (org.the().sourced_partner_id, org.the().contested) == (ANN, False)
    org.lead("00Q1", CREATED, PARTNER_USER_2)
    assert (org.the().sourced_partner_id, org.the().contested) == (BOB, True)
    org.lead("00Q2", CREATED - DAY, PARTNER_USER)
    assert (org.the().sourced_partner_id, org.the().contested) == (ANN, True)
    assert totals(org.truth(), of="open")["contested_deals"] == 1


def test_5_a_referral_goes_before_a_sourcing_role_that_is_older(org: Org) -> None:
    org.deal()
    org.role("00I1", CREATED - DAY, ANN, Role="Finder")
    org.lead("00Q1", CREATED, PARTNER_USER_2)
    assert org.the(policy=Rules(sourcing_roles=("Finder",))).sourced_partner_id == BOB


@pytest.mark.parametrize(("after", "sourced"), [(14 * DAY, ANN), (14 * DAY + timedelta(seconds=1), BOB)])
def test_5_late_evidence_is_out_and_the_next_wins(org: Org, after: timedelta, sourced: str) -> None:
    org.deal()
    org.role("00I1", CREATED + after, ANN, Role="Finder")
    org.meeting("00U1", CREATED)  # no sourcing kind
    if sourced == BOB:
        org.role("00I2", CREATED + 14 * DAY, BOB, Role="Finder")
    assert org.the(policy=Rules(sourcing_roles=("Finder",))).sourced_partner_id == sourced
    assert org.the().sourced_partner_id is None


@pytest.mark.parametrize(
    ("other", "void"),
    [
        ({"created": at("01-04"), "closed": at("01-06")}, True),
        ({"created": at("01-05"), "closed": at("01-06")}, True),
        ({"created": at("01-04"), "closed": at("01-05")}, False),
        ({"created": at("01-06"), "closed": at("01-07")}, False),
        ({"created": at("01-04"), "closed": at("01-06"), "Type": None}, True),
        ({"created": at("01-04"), "closed": at("01-06"), "Type": "Upgrade"}, False),
        ({"created": at("01-04"), "closed": at("01-06"), "AccountId": BOB}, False),
    ],
)
def test_5_void_by_another_open_deal_of_the_account(org: Org, other: dict[str, object], void: bool) -> None:
    org.deal()
    org.lead("00Q1", at("01-05"))
    values = {key: value for key, value in other.items() if key not in ("created", "closed")}
    created, closed = other["created"], other["closed"]
    assert isinstance(created, datetime)
    assert isinstance(closed, datetime)
    org.won(closed, "006OTHER", created, **values)
    assert org.the().sourced_partner_id == (None if void else ANN)
    assert org.the(policy=Rules(excluded=frozenset({"006OTHER"}))).sourced_partner_id == ANN


def test_5_renewals_cannot_be_sourced_but_influenced(org: Org) -> None:
    org.deal(Type="Renewal", LeadSource="Partner")
    org.lead("00Q1", at("01-05"))
    deal = org.the()
    assert (deal.sourced_partner_id, deal.contested, deal.unverified) == (None, False, False)
    assert deal.influenced == ((ANN, "claimed", (None,)),)


def test_5_rank_4_a_lead_source_is_unverified(org: Org) -> None:
    org.won(at("05-01"), LeadSource="partner REFERRAL")
    assert org.the().unverified
    assert totals(org.truth())["unverified"] == {"n_deals": 1, "amount": "100.00"}
    assert totals(org.truth())["total"] == "0.00"
    org.lead("00Q1", at("01-05"))
    assert not org.the().unverified


def test_5_rank_4_is_void_too(org: Org) -> None:
    org.deal(LeadSource="Partner")
    org.deal("006OTHER", CREATED - DAY)
    assert not org.the().unverified


# --- 6. influenced -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "counting"),
    [
        (at("05-01") - 365 * DAY, True),
        (at("05-01") - 365 * DAY - timedelta(seconds=1), False),
        (at("05-01"), True),
        (at("05-01 00:00:01"), False),
    ],
)
def test_6_1_window_before_the_close(org: Org, when: datetime, counting: bool) -> None:
    org.won(at("05-01"))
    org.meeting("00U1", when)
    assert kinds(org.the()) == [("meeting", counting)]


def test_6_1_the_window_of_an_open_deal_ends_at_as_of_and_the_sourcing_partner_is_not_influencing(
    org: Org,
) -> None:
    org.deal()
    org.lead("00Q1", AS_OF - 365 * DAY, PARTNER_USER)
    org.meeting("00U1", at("02-01"))
    org.meeting("00U2", AS_OF - timedelta(hours=1), "003BOB")
    deal = org.the()
    assert kinds(deal) == [("referral", True), ("meeting", True), ("meeting", True)]
    assert [partner for partner, _, _ in deal.influenced] == [BOB]


@pytest.mark.parametrize(("before", "influenced"), [(7 * DAY, True), (7 * DAY - timedelta(seconds=1), False)])
def test_6_3_not_in_the_last_days_before_the_close(org: Org, before: timedelta, influenced: bool) -> None:
    org.won(at("05-01"))
    org.meeting("00U1", at("05-01") - before)
    assert bool(org.the().influenced) is influenced


def test_6_3_one_and_the_same_touchpoint_before_the_last_open_spell(org: Org) -> None:
    org.deal(stage="Won")
    org.history(("Open", CREATED), ("Later", at("03-01")), ("Won", at("05-01")))
    org.meeting("00U1", at("03-01"))
    assert not org.the().influenced
    org.meeting("00U2", at("02-28"))
    assert [partner for partner, _, _ in org.the().influenced] == [ANN]


def test_6_3_a_reopened_deal_has_several_open_spells(org: Org) -> None:
    org.deal(stage="Won")
    org.history(("Open", CREATED), ("Lost", at("02-01")), ("Open", at("03-01")), ("Won", at("05-01")))
    org.meeting("00U1", at("03-02"))
    org.meeting("00U2", at("02-02"), "003BOB")
    assert [partner for partner, _, _ in org.the().influenced] == [BOB]


@pytest.mark.parametrize(
    ("add", "state"),
    [
        (lambda org: org.role("00I1", at("02-01"), CreatedById=REP), "auto_approved"),
        (lambda org: org.role("00I1", at("02-01"), CreatedById=REP_2), "claimed"),
        (
            lambda org: org.meeting("00U1", at("02-01"), OwnerId=REP_2, CreatedById=PARTNER_USER),
            "auto_approved",
        ),
        (
            lambda org: org.meeting("00U1", at("02-01"), OwnerId=PARTNER_USER, CreatedById=REP),
            "auto_approved",
        ),
        (lambda org: org.meeting("00U1", at("02-01"), OwnerId=STRANGER, CreatedById=STRANGER), "claimed"),
        (lambda org: org.meeting("00U1", at("02-01"), OwnerId="005TEAM", CreatedById=STRANGER), "claimed"),
    ],
)
def test_6_4_automatic_approval(org: Org, add: Callable[[Org], None], state: str) -> None:
    org.add("User", row("005TEAM", at("01-01")))
    org.won(at("05-01"))
    add(org)
    assert org.the(policy=Rules(partner_team=("005TEAM",))).influenced == ((ANN, state, (None,)),)


def test_6_4_an_owner_who_is_a_partner_user_approves_nothing(org: Org) -> None:
    org.won(at("05-01"), OwnerId=PARTNER_USER)
    org.role("00I1", at("02-01"), CreatedById=PARTNER_USER)
    assert org.the().influenced == ((ANN, "claimed", (None,)),)


# --- 7 and 8. tables and credit ----------------------------------------------------------------------------


@pytest.fixture
def two_programs(org: Org) -> Org:
    """Won deals of 100.00, 50.00 and no amount; Ann in Referral, Bob in Resale on the first."""
    for number, (partner, name) in enumerate(((ANN, "Referral"), (BOB, "Resale"))):
        org.add("ChannelProgram", row(f"0pp{number}", at("01-01"), Name=name))
        member = {"PartnerId": partner, "ProgramId": f"0pp{number}"}
        org.add("ChannelProgramMember", row(f"0pm{number}", at("02-01"), **member))
    org.won(at("05-01"))
    org.won(at("05-01"), "006B", Amount=Decimal("50"), AccountId="001B", CloseDate=date(2026, 7, 1))
    org.won(at("05-01"), "006C", Amount=None, AccountId="001C")
    org.deal("006LOST", stage="Lost", AccountId="001D", CloseDate=date(2026, 5, 1))
    org.role("00I1", at("02-02"))
    org.role("00I2", at("02-03"), BOB, CreatedById=REP_2)
    org.meeting("00U1", at("01-20"))
    org.role("00I3", at("02-03"), deal_id="006C")
    return org


def test_7_influenced_counts_each_deal_once_in_the_total(two_programs: Org) -> None:
    truth = two_programs.truth()
    rows = table(truth, "influenced", ("partner", "program"))
    assert [(r["partner"], r["program"], r["amount"], r["claimed_amount"], r["n_deals"]) for r in rows] == [
        ("Ann", "(none)", "100.00", "0.00", 1),
        ("Ann", "Referral", "100.00", "0.00", 2),
        ("Bob", "Resale", "0.00", "100.00", 0),
    ]
    header = totals(truth, "influenced")
    assert (header["total"], header["selected"], header["n_deals"], header["unvalued_deals"]) == (
        "100.00",
        "150.00",
        2,
        1,
    )


def test_7_period_filter_includes_both_days(two_programs: Org) -> None:
    truth = two_programs.truth()
    period = (date(2026, 6, 1), date(2026, 6, 30))
    assert totals(truth, closed=period)["selected_deals"] == 2
    assert totals(truth, closed=(date(2026, 6, 2), date(2026, 7, 1)))["selected"] == "50.00"
    assert totals(truth, of="all")["selected_deals"] == 4


def test_7_sourced_rows_add_up(two_programs: Org) -> None:
    two_programs.lead("00Q1", CREATED - DAY)
    two_programs.lead("00Q2", CREATED - DAY, PARTNER_USER_2, ConvertedOpportunityId="006B")
    truth = two_programs.truth()
    rows = table(truth, "sourced", ("partner",))
    assert [(r["partner"], r["partner_id"], r["amount"], r["n_deals"], r["share"]) for r in rows] == [
        ("Ann", ANN, "100.00", 1, 2 / 3),
        ("Bob", BOB, "50.00", 1, 1 / 3),
    ]
    assert (totals(truth)["total"], totals(truth)["n_deals"]) == ("150.00", 2)


@pytest.mark.parametrize(
    ("model", "amounts"),
    [
        ("linear", [("Ann", "66.67", 5 / 3), ("Bob", "33.33", 1 / 3)]),
        ("first_touch", [("Ann", "100.00", 2.0)]),
        ("last_touch", [("Bob", "100.00", 1.0), ("Ann", "0.00", 1.0)]),
    ],
)
def test_8_credit(two_programs: Org, model: str, amounts: list[tuple[str, str, float]]) -> None:
    truth = two_programs.truth()
    rows = table(truth, model, ("partner",))  # type: ignore[arg-type]
    assert [(r["partner"], r["amount"], r["deals"]) for r in rows] == amounts
    header = totals(truth, model)  # type: ignore[arg-type]
    assert (header["total"], header["unattributed"], header["n_deals"]) == ("100.00", "50.00", 3)


def test_8_credit_of_one_deal_names_every_player(two_programs: Org) -> None:
    found = credit(two_programs.truth(), "linear")
    assert found[DEAL] == (
        (f"Event:00U1:{ANN}", 3334),
        (f"Partner:00I1:{ANN}", 3333),
        (f"Partner:00I2:{BOB}", 3333),
    )
    assert found["006B"] == ()
    assert "006C" not in found


def test_8_an_unknown_model_is_refused(two_programs: Org) -> None:
    with pytest.raises(ValueError, match="no model 'best'"):
        credit(two_programs.truth(), "best")


def test_as_of_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        known_truth({}, as_of=datetime(2026, 1, 1))


# --- laws on generated orgs --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("licences", [True, False])
def test_laws_hold_on_generated_orgs(seed: int, licences: bool) -> None:
    org = generate(150, seed, partner_licences=licences)
    for as_of in (org.now, org.now - 200 * DAY):
        truth = org.truth(as_of)
        for deal in truth.deals.values():
            end = deal.closed_at or as_of
            assert deal.created_at <= as_of
            assert (deal.closed_at is None) == (deal.outcome == "open")
            assert end <= as_of
            path = [(point.occurred_at, point.id.encode()) for point in deal.touchpoints]
            assert path == sorted(path)
            assert all(point.occurred_at <= as_of for point in deal.touchpoints)
            for point in deal.touchpoints:
                if point.counting:
                    assert end - 365 * DAY <= point.occurred_at <= end
                    assert not point.own_account
            assert deal.sourced_partner_id not in {partner for partner, _, _ in deal.influenced}
            assert not (deal.unverified and deal.sourced_partner_id)
            if deal.contested:
                assert deal.sourced_partner_id is not None
        for model in ("first_touch", "last_touch", "linear"):
            units = credit(truth, model, of="all")
            for deal_id, parts in units.items():
                counting = any(point.counting for point in truth.deals[deal_id].touchpoints)
                assert sum(unit for _, unit in parts) == (
                    truth.deals[deal_id].amount_minor if counting else 0
                )
            header = totals(truth, model)
            total = Decimal(str(header["total"]))
            assert total + Decimal(str(header["unattributed"])) == Decimal(str(header["selected"]))
            for by in (("partner",), ("program",), ("partner", "program")):
                rows = table(truth, model, by)
                assert sum(Decimal(str(r["amount"])) for r in rows) == total
        for by in (("partner",), ("program",), ("partner", "program")):
            amounts = [Decimal(str(r["amount"])) for r in table(truth, "sourced", by)]
            assert sum(amounts) == Decimal(str(totals(truth)["total"]))
            assert amounts == sorted(amounts, reverse=True)


def test_the_order_of_the_rows_does_not_matter() -> None:
    org = generate(150, 3)
    backwards = {name: rows[::-1] for name, rows in org.records.items()}
    rules = Rules().under(org.mapping)
    assert known_truth(backwards, as_of=org.now, policy=rules) == org.truth()
