"""Hand-worked cases of mapped objects, campaigns, tasks and currencies, one rule each."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.small_org import (
    ANN,
    AS_OF,
    BOB,
    CREATED,
    CUSTOMER,
    DAY,
    DEAL,
    PARTNER_USER,
    REP,
    REP_2,
    Org,
    at,
    kinds,
    row,
)

from attribution.mapping import Approval, Filter, Lookup, Touches
from attribution.testing.synthetic import generate
from attribution.testing.truth import DealTruth, Rules, table, totals

SOURCED_BY = Lookup(object="Opportunity", field="Referring__c", kind="sourced_by")
IMPLEMENTED_BY = Lookup(object="Opportunity", field="Implementation__c", kind="role")
REFERRED_BY = Lookup(object="Lead", field="Referred_By__c")
CAMPAIGN_PARTNER = Lookup(object="Campaign", field="Partner__c")
APPROVAL = Approval(field="Status__c", pending=("Submitted",), at="Approved_On__c")
REGISTRATION = Touches(
    object="Reg__c",
    kind="deal_registration",
    partner="Partner__c",
    opportunity="Deal__c",
    account="Account__c",
    occurred_at="Submitted_On__c",
    program="Program__c",
    expires_on="Expires_On__c",
    approval=APPROVAL,
)
OVERLAP = Touches(
    object="Overlap__c", kind="overlap", partner="Partner__c", account="Account__c", occurred_at="Found_On__c"
)
RULES = Rules(
    lookups=(SOURCED_BY, IMPLEMENTED_BY, REFERRED_BY, CAMPAIGN_PARTNER), touchpoints=(REGISTRATION, OVERLAP)
)


class Wide(Org):
    """The small org with custom objects, campaigns and tasks."""

    def registration(self, record_id: str, when: datetime, partner: str = ANN, **values: Any) -> None:
        known = {
            "Partner__c": partner,
            "Deal__c": DEAL,
            "Submitted_On__c": when.date(),
            "Status__c": "Approved",
            "Approved_On__c": when.date(),
            "CreatedById": REP_2,
        }
        self.add("Reg__c", row(record_id, when, **(known | values)))

    def status(self, number: int, when: datetime, value: str) -> None:
        known = {"ParentId": "a01R", "Field": "Status__c", "NewValue": value}
        self.add("Reg__History", row(f"01h{number}", when, **known))

    def campaign(self, partner: str | None = None) -> None:
        self.add("Campaign", row("701C", at("01-01"), Partner__c=partner))

    def member(self, record_id: str, when: datetime, **values: Any) -> None:
        known = {"CampaignId": "701C", "ContactId": "003CUSTOMER", "HasResponded": True}
        self.add("CampaignMember", row(record_id, when, **(known | values)))

    def contact_role(
        self, record_id: str, when: datetime, who: str = "003CUSTOMER", deal_id: str = DEAL
    ) -> None:
        self.add("OpportunityContactRole", row(record_id, when, OpportunityId=deal_id, ContactId=who))

    def task(self, record_id: str, when: datetime, **values: Any) -> None:
        known = {"WhoId": "003ANN", "WhatId": DEAL, "IsClosed": True, "TaskSubtype": "Call"}
        self.add("Task", row(record_id, when, **(known | values)))

    def changed(self, record_id: str, when: datetime, new: str | None, **values: Any) -> None:
        known = {"OpportunityId": DEAL, "Field": "Referring__c", "NewValue": new, "CreatedById": REP}
        self.add("OpportunityFieldHistory", row(record_id, when, **(known | values)))

    def currency(self, code: str, rate: str, corporate: bool = False) -> None:
        known = {"IsoCode": code, "ConversionRate": Decimal(rate), "IsCorporate": corporate}
        self.add("CurrencyType", row(f"01L{code}", at("01-01"), **known))

    def rate(self, code: str, rate: str, start: date, end: date) -> None:
        known = {"IsoCode": code, "ConversionRate": Decimal(rate), "StartDate": start, "NextStartDate": end}
        self.add("DatedConversionRate", row(f"04w{code}{start}", at("01-01"), **known))

    def the(self, as_of: datetime = AS_OF, policy: Rules | None = RULES, deal_id: str = DEAL) -> DealTruth:
        return super().the(as_of, policy, deal_id)


@pytest.fixture
def org() -> Wide:
    return Wide()


def who_and_when(deal: DealTruth) -> list[tuple[str, datetime]]:
    return [(point.partner_id, point.occurred_at) for point in deal.touchpoints]


# --- 1. time and money -------------------------------------------------------------------------------------


def test_1_3_what_was_created_or_read_after_known_at_is_not_known(org: Wide) -> None:
    org.deal()
    org.role("00I1", at("02-01"))
    org.role("00I2", at("03-01"), BOB)
    org.change("Partner", "00I1", at("08-01"), IsDeleted=True)
    assert [p for p, _ in who_and_when(org.truth().deals[DEAL])] == [BOB]
    assert [p for p, _ in who_and_when(org.truth(known_at=at("08-31")).deals[DEAL])] == [ANN, BOB]
    assert [p for p, _ in who_and_when(org.truth(known_at=at("02-15")).deals[DEAL])] == [ANN]


def test_1_5_without_history_the_first_closed_version_counts(org: Wide) -> None:
    org.deal(CloseDate=date(2026, 12, 31))
    org.change("Opportunity", DEAL, at("08-20"), StageName="Won", IsClosed=True, IsWon=True)
    org.change("Opportunity", DEAL, at("08-25"), StageName="Won", IsClosed=True, IsWon=True)
    assert (org.the().outcome, org.the().closed_at) == ("won", at("08-20"))


def test_1_7_a_custom_amount_at_an_earlier_as_of_comes_from_the_fields_history(org: Wide) -> None:
    rules = Rules(amount_field="ACV__c")
    org.deal(ACV__c=Decimal(300))
    for number, (when, old, new) in enumerate((("02-01", "100", "200.5"), ("04-01", "200.5", "300"))):
        org.changed(f"017{number}", at(when), new, Field="ACV__c", OldValue=old)
    found = [org.the(when, rules).amount_minor for when in (at("01-20"), at("02-01"), at("04-02"), AS_OF)]
    assert found == [10000, 20050, 30000, 30000]


def test_1_9_the_dated_rate_of_the_close_date_else_the_current_one(org: Wide) -> None:
    org.currency("USD", "1", corporate=True)
    org.currency("EUR", "0.5")
    org.rate("EUR", "0.8", date(2026, 5, 1), date(2026, 6, 1))
    org.rate("EUR", "0.9", date(2026, 6, 1), date(2026, 7, 1))
    for day, minor in ((31, 12500), (32, 11111), (62, 20000)):
        org.deal(f"006D{day}", CurrencyIsoCode="EUR", CloseDate=date(2026, 4, 30) + timedelta(days=day))
        assert org.the(deal_id=f"006D{day}").amount_minor == minor
    org.deal("006CHF", CurrencyIsoCode="CHF")
    org.deal("006USD", CurrencyIsoCode="USD")
    org.deal("006NONE")
    assert [org.the(deal_id=f"006{code}").amount_minor for code in ("CHF", "USD", "NONE")] == [
        None,
        10000,
        10000,
    ]
    assert totals(org.truth(), of="open")["unvalued_deals"] == 1


@pytest.mark.parametrize(
    ("corporate", "rate", "amount", "minor"),
    [
        ("JPY", "0.00625", "100.50", 16080),
        ("KWD", "3.25", "1", 308),  # 0.30769...
        ("USD", "8", "0.20", 2),  # half a cent, to even
        ("USD", "8", "0.28", 4),
        ("USD", "8", "-0.20", -2),
    ],
)
def test_1_10_rounding_in_the_digits_of_the_report_currency(
    org: Wide, corporate: str, rate: str, amount: str, minor: int
) -> None:
    org.currency(corporate, "1", corporate=True)
    org.currency("EUR", rate)
    org.deal(CurrencyIsoCode="EUR", Amount=Decimal(amount))
    truth = org.truth()
    assert (truth.deals[DEAL].amount_minor, truth.currency) == (minor, corporate)


# --- 2. deals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "out"),
    [
        (Filter(field="RecordType.DeveloperName", op="in", value=("INTERNAL",)), True),
        (Filter(field="RecordType.DeveloperName", value="Other"), False),
        (Filter(field="RecordType.DeveloperName", op="!=", value="Internal"), False),
        (Filter(field="LeadSource", op="!=", value="Web"), True),
        (Filter(field="Name", op="contains", value="[TEST]"), True),
        (Filter(field="LeadSource", op="is_null"), True),
        (Filter(field="Name", op="is_null", value=False), True),
        (Filter(field="Name", op="is_null"), False),
        (Filter(field="Test__c", value=True), True),
        (Filter(field="Test__c", value=False), False),
        (Filter(field="Count__c", value=3), True),
    ],
)
def test_2_1_filters_read_as_soql_reads_them(org: Wide, condition: Filter, out: bool) -> None:
    org.add("RecordType", row("012I", at("01-01"), DeveloperName="Internal"))
    org.deal(RecordTypeId="012I", Name="A [test]", Test__c=True, Count__c=3)
    truth = org.truth(policy=Rules(exclude=(condition,)))
    assert (truth.excluded_deals, list(truth.deals)) == ((1, []) if out else (0, [DEAL]))


def test_2_2_deal_type_and_segments_over_a_path(org: Wide) -> None:
    org.add("RecordType", row("012R", at("01-01"), DeveloperName="Yearly_Renewal"))
    org.deal(RecordTypeId="012R", Industry__c="Retail", Strategic__c=False)
    rules = Rules(
        deal_type_field="RecordType.DeveloperName", segments=("Industry__c", "Strategic__c", "X__c")
    )
    deal = org.the(policy=rules)
    assert deal.deal_type == "renewal"
    assert deal.segments == (("Industry__c", "Retail"), ("Strategic__c", "false"), ("X__c", None))


# --- 3. partners and programs ------------------------------------------------------------------------------


def test_3_1_an_account_that_a_mapped_field_names_is_a_partner_at_any_instant(org: Wide) -> None:
    org.add("Account", row("001NEW", at("01-01"), Name="New"))
    org.add("Contact", row("003NEW", at("01-01"), AccountId="001NEW"))
    org.deal()
    org.meeting("00U1", at("02-01"), "003NEW")
    assert not org.the().touchpoints
    org.add("Overlap__c", row("a021", at("08-01"), Partner__c="001NEW", Account__c=CUSTOMER))
    assert ("meeting", True) in kinds(org.the())
    assert not org.the(at("07-31")).touchpoints


def test_3_2_a_partner_that_lost_its_flag_keeps_its_evidence(org: Wide) -> None:
    org.deal()
    for number, when in enumerate(("08-09", "08-10")):
        org.meeting(f"00U{number}", at(when))
        org.meeting(f"00U{number}B", at(when), "003CUSTOMER", WhatId=DEAL)
    org.deal("006OTHER", AccountId=BOB)
    org.change("Account", ANN, at("08-10"), IsPartner=False)
    org.change("Account", CUSTOMER, at("08-10"), Type="Reseller")
    assert who_and_when(org.the()) == [(ANN, at("08-09")), (CUSTOMER, at("08-10"))]


@pytest.mark.parametrize("source", ["task", "contact_role", "campaign"])
def test_3_3_what_people_of_the_buyer_do_is_no_touchpoint(org: Wide, source: str) -> None:
    org.deal(AccountId=ANN)
    org.campaign()
    if source == "task":
        org.task("00T1", at("02-01"))
    elif source == "contact_role":
        org.contact_role("00K1", at("02-01"), "003ANN")
    else:
        org.contact_role("00K1", at("02-01"), "003ANN")
        org.member("00v1", at("02-01"), ContactId="003ANN")
    assert all(point.own_account and not point.counting for point in org.the().touchpoints)
    assert org.the().touchpoints


def test_3_3_a_registration_for_oneself_counts(org: Wide) -> None:
    org.deal(AccountId=ANN)
    org.registration("a01R", at("01-09"))
    assert [(point.self_deal, point.counting) for point in org.the().touchpoints] == [(True, True)]


def test_3_4_a_mapped_program_goes_before_the_membership_and_its_level(org: Wide) -> None:
    member = {"PartnerId": ANN, "ProgramId": "0ppA", "LevelId": "0plGold"}
    org.add("ChannelProgramMember", row("0pm1", at("01-01"), **member))
    org.deal()
    org.registration("a01R", at("01-09"), Program__c="0ppB")
    org.role("00I1", at("02-01"))
    assert [(point.program_id, point.tier_id) for point in org.the().touchpoints] == [
        ("0ppB", None),
        ("0ppA", "0plGold"),
    ]
    assert (org.the().sourced_program, org.the().sourced_tier) == ("0ppB", None)


# --- 4. lookups --------------------------------------------------------------------------------------------


def test_4_4_a_lookup_dates_from_its_history(org: Wide) -> None:
    org.deal(Referring__c=ANN)
    org.changed("0171", at("01-12"), ANN)
    org.changed("0172", at("01-12"), "Ann")  # the row with the names
    org.changed("0173", at("01-15"), BOB)
    org.changed("0174", at("01-20"), ANN)
    org.changed("0175", at("01-25"), ANN, Field="Other__c")
    assert who_and_when(org.the()) == [(ANN, at("01-20"))]
    assert org.the().sourced_partner_id == ANN
    assert not org.the(at("01-19")).touchpoints


def test_4_4_a_lookup_without_history_dates_from_creation_or_the_version_that_shows_it(org: Wide) -> None:
    org.deal(Referring__c=ANN, Implementation__c=None)
    org.change("Opportunity", DEAL, at("08-05"), Implementation__c=BOB)
    assert who_and_when(org.the()) == [(ANN, CREATED), (BOB, at("08-05"))]
    assert kinds(org.the()) == [("sourced_by", True), ("role", True)]
    assert org.the().influenced == ((BOB, "claimed", (None,)),)


@pytest.mark.parametrize(("day", "sourced"), [(2, ANN), (14, ANN), (20, None)])
def test_5_a_lookup_that_is_filled_late_sources_nothing(org: Wide, day: int, sourced: str | None) -> None:
    org.deal(Referring__c=ANN)
    org.changed("0171", CREATED + day * DAY, ANN)
    assert org.the().sourced_partner_id == sourced
    assert bool(org.the().influenced) is (sourced is None)


def test_4_1_one_touchpoint_for_the_record_and_the_partner(org: Wide) -> None:
    org.deal(CreatedById=PARTNER_USER, Referring__c=ANN, Implementation__c=ANN)
    org.lead("00Q1", at("01-05"), Referred_By__c=ANN)
    org.meeting("00U1", at("02-01"))
    org.add("EventRelation", row("0RE1", at("02-01"), EventId="00U1", RelationId="003ANN"))
    assert kinds(org.the()) == [("referral", True), ("partner_owned", True), ("meeting", True)]


def test_4_a_lead_with_a_mapped_partner_is_a_referral_beside_its_author_s(org: Wide) -> None:
    org.deal()
    org.lead("00Q1", at("01-05"), REP, Referred_By__c=BOB, PartnerAccountId=ANN)
    org.lead("00Q2", at("01-06"), REP, Referred_By__c=ANN, PartnerAccountId=ANN)
    assert [(point.kind, point.partner_id) for point in org.the().touchpoints] == [
        ("handed_over", ANN),
        ("referral", BOB),
        ("referral", ANN),
    ]
    assert (org.the().sourced_partner_id, org.the().contested) == (BOB, True)


# --- 4. registrations --------------------------------------------------------------------------------------


def test_4_a_registration_reaches_its_deal_or_obeys_the_account_rule(org: Wide) -> None:
    org.deal()
    org.registration("a01A", at("01-05"), Deal__c=None, Account__c=CUSTOMER)
    org.registration("a01B", at("01-06"), Deal__c=None)
    org.registration("a01C", at("01-07"), Partner__c=None)
    org.registration("a01D", at("01-08"), Deal__c="006GONE")
    truth = org.truth(policy=RULES)
    assert [point.id for point in truth.deals[DEAL].touchpoints] == [f"Reg__c:a01A:{ANN}"]
    assert truth.orphans == {f"Reg__c:a01B:{ANN}", f"Reg__c:a01D:{ANN}"}


def test_4_the_partner_may_stand_behind_a_contact(org: Wide) -> None:
    behind = REGISTRATION.model_copy(update={"partner": "Contact__r.AccountId"})
    org.add("Contact", row("003DUP", at("01-01"), IsDeleted=True, MasterRecordId="003BOB"))
    org.deal()
    org.registration("a01R", at("01-09"), Contact__c="003DUP")
    assert org.the(policy=Rules(touchpoints=(behind,))).sourced_partner_id == BOB


def test_1_1_a_day_without_time_and_a_missing_one(org: Wide) -> None:
    org.deal()
    org.registration("a01A", at("01-09 12:00"), Submitted_On__c=date(2026, 1, 7))
    org.registration("a01B", at("01-09 12:00"), BOB, Submitted_On__c=None)
    assert who_and_when(org.the()) == [(ANN, at("01-07 05:00")), (BOB, at("01-09 12:00"))]


@pytest.mark.parametrize(("values", "rank"), [({}, None), ({"sourcing": True}, 3)])
def test_4_a_kind_of_the_orgs_own(org: Wide, values: dict[str, Any], rank: int | None) -> None:
    own = Touches(
        object="Own__c",
        kind="advice",
        partner="Partner__c",
        opportunity="Deal__c",
        strength="weak",
        **values,
    )
    org.deal()
    org.add("Own__c", row("a091", at("01-09"), Partner__c=ANN, Deal__c=DEAL))
    deal = org.the(policy=Rules(touchpoints=(own,)))
    assert [(point.kind, point.strength) for point in deal.touchpoints] == [("advice", "weak")]
    assert deal.sourced_partner_id == (ANN if rank else None)


def test_4_overlaps_are_exposure_by_the_account_rule(org: Wide) -> None:
    org.deal()
    values = {"Partner__c": ANN, "Account__c": CUSTOMER, "Found_On__c": date(2026, 2, 1)}
    org.add("Overlap__c", row("a021", at("02-01"), **values))
    (point,) = org.the().touchpoints
    assert (point.kind, point.strength, point.counting) == ("overlap", "exposure", False)


# --- 5. sourced: registrations -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("submitted", "sourced"),
    [(CREATED - 100 * DAY, None), (CREATED + 3 * DAY, ANN), (CREATED + 3 * DAY + timedelta(seconds=1), None)],
)
def test_5_rank_1_submitted_in_time_and_not_expired_by_the_term(
    org: Wide, submitted: datetime, sourced: str | None
) -> None:
    org.deal()
    org.registration("a01R", submitted)
    assert org.the().sourced_partner_id == sourced


@pytest.mark.parametrize(("days", "sourced"), [(90, ANN), (91, None)])
def test_5_rank_1_the_term_runs_from_the_approval(org: Wide, days: int, sourced: str | None) -> None:
    org.deal(created=at("06-01 04:00"))  # midnight in the zone
    org.registration("a01R", at("01-15"), Approved_On__c=date(2026, 6, 1) - timedelta(days=days))
    assert org.the().sourced_partner_id == sourced  # both approved in summer time, at midnight


@pytest.mark.parametrize(("day", "sourced"), [(date(2026, 1, 10), ANN), (date(2026, 1, 9), None)])
def test_5_rank_1_a_mapped_expiry_lasts_to_the_end_of_its_day(
    org: Wide, day: date, sourced: str | None
) -> None:
    org.deal()
    org.registration("a01R", at("01-02"), Expires_On__c=day)
    assert org.the().sourced_partner_id == sourced
    # 6.1: what had expired when the deal was created does not count either
    assert kinds(org.the()) == [("deal_registration", sourced is not None)]


@pytest.mark.parametrize(("before", "sourced"), [(timedelta(0), None), (timedelta(seconds=1), ANN)])
def test_1_1_the_end_of_a_day_is_midnight_in_the_zone(
    org: Wide, before: timedelta, sourced: str | None
) -> None:
    org.deal(created=at("06-01 04:00") - before)
    org.registration("a01R", at("05-02"), Expires_On__c=date(2026, 5, 31))
    assert org.the().sourced_partner_id == sourced


@pytest.mark.parametrize(
    ("status", "approval", "counting", "states"),
    [
        ("Approved", "approved", True, []),
        ("Submitted", "pending", True, ["pending"]),
        ("Rejected", "rejected", False, []),
        ("On Hold", "none", True, ["claimed"]),
    ],
)
def test_5_pending_never_sources_and_rejected_is_out(
    org: Wide, status: str, approval: str, counting: bool, states: list[str]
) -> None:
    org.deal()
    org.registration("a01R", at("01-09"), Status__c=status)
    deal = org.the()
    assert [(point.approval, point.counting) for point in deal.touchpoints] == [(approval, counting)]
    assert deal.sourced_partner_id == (ANN if status == "Approved" else None)
    assert [state for _, state, _ in deal.influenced] == states


def test_5_rank_1_approved_only_after_as_of_is_still_pending(org: Wide) -> None:
    org.deal()
    org.registration("a01R", at("01-09"), Approved_On__c=date(2026, 2, 1))
    assert org.the(at("02-01")).sourced_partner_id is None
    assert [state for _, state, _ in org.the(at("02-01")).influenced] == ["pending"]
    assert org.the(at("02-01 05:00")).sourced_partner_id == ANN


def test_5_rank_1_an_approval_without_a_date_dates_from_its_history(org: Wide) -> None:
    undated = REGISTRATION.model_copy(update={"approval": APPROVAL.model_copy(update={"at": None})})
    rules = Rules(touchpoints=(undated,))
    org.deal()
    org.registration("a01R", at("01-02"))
    for number, (when, value) in enumerate(
        (("01-03", "Submitted"), ("01-20", "Approved"), ("01-25", "Approved"))
    ):
        org.status(number, at(when), value)
    assert org.the(at("01-19"), rules).sourced_partner_id is None
    assert org.the(at("01-20"), rules).sourced_partner_id == ANN


def test_5_rank_1_else_from_the_first_approved_version_else_from_creation(org: Wide) -> None:
    org.deal()
    org.registration("a01R", at("01-02"), Status__c="Submitted", Approved_On__c=None)
    org.registration("a01S", at("01-03"), BOB, Approved_On__c=None, SystemModstamp=at("05-01"))
    org.change("Reg__c", "a01R", at("08-20"), Status__c="Approved")
    assert (org.the(at("08-19")).sourced_partner_id, org.the(at("08-19")).contested) == (BOB, False)
    assert (org.the(at("08-20")).sourced_partner_id, org.the(at("08-20")).contested) == (ANN, True)
    assert org.the(at("01-20")).sourced_partner_id == BOB


def test_5_rank_1_the_earliest_event_then_the_earliest_approval_then_the_id(org: Wide) -> None:
    org.deal()
    same = at("01-05 12:00")
    org.registration("a01A", same, ANN, Approved_On__c=date(2026, 1, 20))
    org.registration("a01B", same, BOB, Approved_On__c=date(2026, 1, 19))
    assert org.the().sourced_partner_id == BOB
    org.registration("a01C", at("01-04"), ANN, Approved_On__c=date(2026, 2, 20))
    assert org.the().sourced_partner_id == ANN


def test_5_an_approved_registration_is_never_voided_and_goes_before_a_referral(org: Wide) -> None:
    org.deal()
    org.deal("006OTHER", at("01-01"))
    org.lead("00Q1", at("01-03"))
    assert org.the().sourced_partner_id is None
    org.registration("a01R", at("01-09"), BOB)
    assert (org.the().sourced_partner_id, org.the().contested) == (BOB, False)


def test_5_a_registration_recorded_late_is_out(org: Wide) -> None:
    org.deal()
    org.registration("a01R", CREATED + 15 * DAY, Submitted_On__c=date(2026, 1, 5))
    assert org.the().sourced_partner_id is None
    assert org.the().influenced


# --- 4. campaigns and contact roles ------------------------------------------------------------------------


def test_4_a_campaigns_partner_by_field_by_funds_or_by_the_member(org: Wide) -> None:
    org.deal()
    org.member("00v1", at("02-01"))
    org.member("00v2", at("02-02"), ContactId="003ANN")
    org.contact_role("00K1", at("01-11"), "003CUSTOMER")
    org.contact_role("00K2", at("01-12"), "003ANN")
    org.campaign()
    by_member = [point.partner_id for point in org.the().touchpoints if point.kind == "campaign_response"]
    assert by_member == [ANN]
    request = {"CampaignId": "701C", "ChannelPartnerId": BOB}
    org.add("PartnerFundRequest", row("0pr1", at("01-01"), Status="Submitted", **request))
    assert BOB not in {point.partner_id for point in org.the().touchpoints}
    org.add("PartnerFundRequest", row("0pr2", at("01-01"), Status="Approved", **request))
    by_funds = [point.partner_id for point in org.the().touchpoints if point.kind == "campaign_response"]
    assert by_funds == [BOB, BOB]
    org.rows["Campaign"][0]["Partner__c"] = ANN
    by_field = [point.partner_id for point in org.the().touchpoints if point.kind == "campaign_response"]
    assert by_field == [ANN, ANN]


def test_4_a_member_counts_from_its_first_response_or_its_creation(org: Wide) -> None:
    org.deal()
    org.campaign(ANN)
    org.member("00v1", at("02-01"), FirstRespondedDate=date(2026, 2, 5))
    org.member("00v2", at("02-01"), HasResponded=False)
    assert [(point.occurred_at, point.strength) for point in org.the().touchpoints] == [
        (at("02-01"), "exposure"),
        (at("02-05 05:00"), "weak"),
    ]


def test_4_a_member_reaches_the_leads_deal_its_roles_or_the_account(org: Wide) -> None:
    org.deal()
    org.deal("006SECOND", at("01-05"), "Open")
    org.campaign(ANN)
    converted = {"IsConverted": True, "ConvertedDate": date(2026, 1, 10), "ConvertedAccountId": CUSTOMER}
    org.add("Lead", row("00Q1", at("01-01"), ConvertedOpportunityId=DEAL, **converted))
    org.add("Lead", row("00Q2", at("01-01"), ConvertedOpportunityId=None, **converted))
    org.add("Lead", row("00Q3", at("01-01"), IsConverted=False))
    for number in (1, 2, 3):
        org.member(f"00v{number}", at(f"02-0{number}"), ContactId=None, LeadId=f"00Q{number}")
    org.member("00v4", at("02-04"))
    truth = org.truth(policy=RULES)
    assert [point.id for point in truth.deals[DEAL].touchpoints] == [f"CampaignMember:00v1:{ANN}"]
    assert truth.ambiguous == {f"CampaignMember:00v2:{ANN}", f"CampaignMember:00v4:{ANN}"}
    assert not truth.orphans
    org.contact_role("00K1", at("03-01"))
    assert f"CampaignMember:00v4:{ANN}" in {point.id for point in org.the().touchpoints}


def test_4_2_a_contact_with_a_role_obeys_the_rule_among_its_deals_alone(org: Wide) -> None:
    org.won(at("03-01"))
    org.deal("006OPEN", at("02-01"), AccountId="001ELSE")
    org.campaign(ANN)
    org.contact_role("00K1", at("02-10"))
    org.member("00v1", at("02-20"))
    org.member("00v2", at("03-02"))  # after the close: no deal of its own, and the account is not tried
    truth = org.truth(policy=RULES)
    assert [point.id for point in truth.deals[DEAL].touchpoints] == [f"CampaignMember:00v1:{ANN}"]
    assert truth.orphans == {f"CampaignMember:00v2:{ANN}"}
    org.contact_role("00K2", at("02-11"), deal_id="006OPEN")
    assert org.truth(policy=RULES).ambiguous == {f"CampaignMember:00v1:{ANN}"}
    # a role that was recorded after as_of is not known there
    assert org.truth(at("02-10 12:00"), RULES).orphans == set()


def test_4_2_a_partners_own_contact_does_not_take_the_account_rule(org: Wide) -> None:
    org.deal(AccountId=ANN)
    org.campaign(ANN)
    org.member("00v1", at("02-01"), ContactId="003ANN")
    assert org.truth(policy=RULES).orphans == {f"CampaignMember:00v1:{ANN}"}


def test_4_contact_roles_of_partners_are_weak(org: Wide) -> None:
    org.deal()
    org.contact_role("00K1", at("02-01"), "003ANN")
    org.contact_role("00K2", at("02-01"), "003CUSTOMER")
    assert [(point.id, point.strength) for point in org.the().touchpoints] == [
        (f"OpportunityContactRole:00K1:{ANN}", "weak")
    ]


# --- 4. activities -----------------------------------------------------------------------------------------


def test_4_everybody_at_a_meeting_counts_and_our_people_host_it(org: Wide) -> None:
    org.won(at("05-01"))
    org.meeting("00U1", at("02-01"), "003CUSTOMER", OwnerId=PARTNER_USER, CreatedById=PARTNER_USER)
    for number, who in enumerate(("003BOB", "003ANN", "003BOB")):
        org.add("EventRelation", row(f"0RE{number}", at("02-01"), EventId="00U1", RelationId=who))
    assert [point.id for point in org.the().touchpoints] == [f"Event:00U1:{ANN}", f"Event:00U1:{BOB}"]
    assert {state for _, state, _ in org.the().influenced} == {"claimed"}
    org.add("EventRelation", row("0RE9", at("02-01"), EventId="00U1", RelationId=REP_2))
    assert {state for _, state, _ in org.the().influenced} == {"auto_approved"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("call", "weak", at("02-01 15:00"))),
        ({"TaskSubtype": "Email"}, ("email", "weak", at("02-01 15:00"))),
        ({"TaskSubtype": None}, ("task", "exposure", at("02-01 15:00"))),
        ({"IsClosed": False}, None),
        ({"WhoId": "003CUSTOMER"}, None),
        ({"ActivityDate": date(2026, 1, 20)}, ("call", "weak", at("01-20 05:00"))),
        ({"ActivityDate": date(2026, 2, 1)}, ("call", "weak", at("02-01 15:00"))),
        (
            {"ActivityDate": date(2026, 1, 20), "CompletedDateTime": at("01-22")},
            ("call", "weak", at("01-22")),
        ),
        ({"CompletedDateTime": AS_OF + DAY}, None),
    ],
)
def test_4_tasks(org: Wide, values: dict[str, Any], expected: tuple[str, str, datetime] | None) -> None:
    org.deal()
    org.task("00T1", at("02-01 15:00"), **values)
    found = [(point.kind, point.strength, point.occurred_at) for point in org.the().touchpoints]
    assert found == ([] if expected is None else [expected])


def test_4_a_task_relation_adds_a_partner(org: Wide) -> None:
    org.deal()
    org.task("00T1", at("02-01"))
    org.add("TaskRelation", row("0RT1", at("02-01"), TaskId="00T1", RelationId="003BOB"))
    org.add("TaskRelation", row("0RT2", at("02-01"), TaskId="00T1", RelationId="003BOB", IsDeleted=True))
    assert [point.partner_id for point in org.the().touchpoints] == [ANN, BOB]


# --- 6. influenced -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "influenced"),
    [
        (at("02-02 04:59"), False),  # the same day in New York
        (at("02-02 05:00"), True),
    ],
)
def test_6_2_two_weak_ones_on_distinct_days(org: Wide, second: datetime, influenced: bool) -> None:
    org.won(at("05-01"))
    org.task("00T1", at("02-01 15:00"))
    org.task("00T2", at("02-01 15:00"))
    org.contact_role("00K1", second, "003ANN")
    assert org.the().influenced == (((ANN, "claimed", (None,)),) if influenced else ())


def test_6_1_exposure_never_counts(org: Wide) -> None:
    org.won(at("05-01"))
    for number in (1, 2, 3):
        org.task(f"00T{number}", at(f"02-0{number}"), TaskSubtype="Task")
    assert not org.the().influenced


def test_6_4_the_crms_word_goes_before_automatic_approval(org: Wide) -> None:
    org.won(at("05-01"))
    org.meeting("00U1", at("02-01"))
    assert [state for _, state, _ in org.the().influenced] == ["auto_approved"]
    org.registration("a01A", at("02-02"), Status__c="Submitted")
    assert [state for _, state, _ in org.the().influenced] == ["pending"]
    org.registration("a01B", at("02-03"))
    assert [state for _, state, _ in org.the().influenced] == ["approved"]
    (line,) = table(org.truth(policy=RULES), "influenced")
    assert (
        line["amount"],
        line["approved_amount"],
        line["auto_approved_amount"],
        line["claimed_amount"],
    ) == (
        *("100.00", "100.00"),
        *("0.00", "0.00"),
    )


# --- 7. roll-ups -------------------------------------------------------------------------------------------


def test_7_1_each_deal_once_at_every_level(org: Wide) -> None:
    org.add("Account", row("001TOP", at("01-01"), Name="Top"))
    for account in org.rows["Account"]:
        if account["Id"] in (ANN, BOB):
            account["ParentId"] = "001TOP"
    for partner, level in ((ANN, "0pl1"), (BOB, "0pl2")):
        member = {"PartnerId": partner, "ProgramId": "0pp1", "LevelId": level}
        org.add("ChannelProgramMember", row(f"0pm{level}", at("01-01"), **member))
    org.add("ChannelProgramLevel", row("0pl1", at("01-01"), Name="Gold"))
    org.won(at("05-01"), Industry__c="Retail")
    org.won(at("05-01"), "006B", AccountId="001B", Type="Renewal")
    org.meeting("00U1", at("02-01"))
    org.meeting("00U2", at("02-01"), "003BOB")
    org.role("00I1", at("02-02"), BOB, "006B", CreatedById=REP)
    truth = org.truth(policy=Rules(segments=("Industry__c",)))

    def lines(*by: str) -> list[tuple[object, ...]]:
        return [
            tuple(line[name] for name in (*by, "amount", "n_deals"))
            for line in table(truth, "influenced", by)
        ]

    assert lines("partner") == [("Bob", "200.00", 2), ("Ann", "100.00", 1)]
    assert lines("parent") == [("Top", "200.00", 2)]
    assert lines("parent", "deal_type") == [("Top", "new", "100.00", 1), ("Top", "renewal", "100.00", 1)]
    assert lines("tier") == [("0pl2", "200.00", 2), ("Gold", "100.00", 1)]
    assert lines("deal_type") == [("new", "100.00", 1), ("renewal", "100.00", 1)]
    assert lines("Industry__c") == [("(none)", "100.00", 1), ("Retail", "100.00", 1)]
    assert table(truth, "influenced", ("parent",))[0]["parent_id"] == "001TOP"
    assert totals(truth, "influenced")["total"] == "200.00"
    with pytest.raises(ValueError, match="no column 'owner'"):
        lines("owner")


@pytest.mark.parametrize("seed", range(3))
def test_7_additive_measures_add_up_at_every_level(seed: int) -> None:
    org = generate(200, seed, currency=("USD", "JPY", "KWD")[seed])
    truth = org.truth()
    levels = [("partner",), ("parent",), ("tier",), ("deal_type",), ("Industry__c",)]
    for by in [*levels, ("parent", "program", "Is_Strategic__c", "deal_type")]:
        for measure in ("sourced", "linear"):
            amounts = [Decimal(str(line["amount"])) for line in table(truth, measure, by)]  # type: ignore[arg-type]
            assert sum(amounts) == Decimal(str(totals(truth, measure)["total"]))  # type: ignore[arg-type]
        for line in table(truth, "influenced", by):
            parts = (line["approved_amount"], line["auto_approved_amount"])
            assert sum(Decimal(str(part)) for part in parts) == Decimal(str(line["amount"]))
