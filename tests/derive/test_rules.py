"""Rules that need several versions of a record, or an edge that a random org seldom has."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from attribution import DataError, Deals, Mapping, Policy
from attribution.columns import to_micros
from attribution.derive import derive
from attribution.mapping import DealTypeRule, Filter, OpportunityRules
from tests.records import MemoryRecords

DEAL, CUSTOMER, PARTNER = "006A00000000001AAA", "001C00000000001AAA", "001P00000000001AAA"
OWNER = "005U00000000001AAA"
STAGES = [
    {"Id": "01J000000000001AAA", "MasterLabel": "Prospecting", "IsClosed": False, "IsWon": False},
    {"Id": "01J000000000002AAA", "MasterLabel": "Closed Won", "IsClosed": True, "IsWon": True},
    {"Id": "01J000000000003AAA", "MasterLabel": "Closed Lost", "IsClosed": True, "IsWon": False},
]
ORGANIZATION = [{"Id": "00D000000000001AAA", "TimeZoneSidKey": "America/New_York", "FiscalYearStartMonth": 2}]


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def account(id, **fields):
    return {
        "Id": id,
        "Name": id,
        "CreatedDate": at("2024-01-01"),
        "SystemModstamp": at("2024-01-01"),
        **fields,
    }


def opportunity(**fields):
    return {
        "Id": DEAL,
        "AccountId": CUSTOMER,
        "OwnerId": OWNER,
        "CreatedById": OWNER,
        "CreatedDate": at("2026-01-10"),
        "SystemModstamp": at("2026-01-10"),
        "StageName": "Prospecting",
        "IsClosed": False,
        "IsWon": False,
        "Amount": Decimal("100.00"),
        "CloseDate": date(2026, 6, 30),
        **fields,
    }


def won(**fields):
    return opportunity(StageName="Closed Won", IsClosed=True, IsWon=True, **fields)


def lost(**fields):
    return opportunity(StageName="Closed Lost", IsClosed=True, IsWon=False, **fields)


def deals_of(*reads, as_of="2026-09-01", mapping=None, watermark="2026-09-01", known_at=None):
    base = {
        "Organization": ORGANIZATION,
        "OpportunityStage": STAGES,
        "Account": [account(CUSTOMER), account(PARTNER, Type="Reseller")],
        "User": [{"Id": OWNER, "CreatedDate": at("2024-01-01"), "ContactId": None}],
    }
    records = MemoryRecords((at("2026-01-01"), base), *((at(when), rows) for when, rows in reads))
    snapshot = derive(
        records,
        mapping or Mapping(),
        as_of=to_micros(at(as_of)),
        known_at=None if known_at is None else to_micros(at(known_at)),
        watermark=to_micros(at(watermark)),
    )
    return Deals(snapshot, Policy())


def role(id="00I000000000001AAA", created="2026-02-01", **fields):
    return {
        "Id": id,
        "OpportunityId": DEAL,
        "AccountToId": PARTNER,
        "Role": "Reseller",
        "CreatedDate": at(created),
        "CreatedById": OWNER,
        "SystemModstamp": at(created),
        "IsDeleted": False,
        **fields,
    }


def test_1_5_without_history_the_close_is_the_first_stored_closed_version():
    deals = deals_of(
        ("2026-02-01", {"Opportunity": [opportunity()]}),
        ("2026-05-02", {"Opportunity": [won(SystemModstamp=at("2026-05-01T09:00"))]}),
        ("2026-06-02", {"Opportunity": [won(SystemModstamp=at("2026-06-01"), Amount=Decimal(7))]}),
    )
    assert deals[DEAL].closed_at == at("2026-05-01T09:00")
    assert deals[DEAL].amount == Decimal("7.00")


def test_1_5_without_history_a_deal_lost_reopened_and_won_closed_when_it_was_won():
    deals = deals_of(
        ("2026-03-02", {"Opportunity": [lost(SystemModstamp=at("2026-03-01"))]}),
        ("2026-04-02", {"Opportunity": [opportunity(SystemModstamp=at("2026-04-01"))]}),
        ("2026-05-02", {"Opportunity": [won(SystemModstamp=at("2026-05-01"))]}),
    )
    assert (deals[DEAL].outcome, deals[DEAL].closed_at) == ("won", at("2026-05-01"))


def test_1_5_the_end_of_an_earlier_close_date_wins_and_lasts_to_midnight_in_the_zone():
    deals = deals_of(
        ("2026-05-02", {"Opportunity": [won(CloseDate=date(2026, 3, 31), SystemModstamp=at("2026-05-01"))]})
    )
    assert deals[DEAL].closed_at == at("2026-04-01T04:00")


def test_1_7_as_of_before_the_reopening_the_deal_is_lost():
    history = [
        {"Id": f"008{n:015d}", "OpportunityId": DEAL, "StageName": stage, "CreatedDate": at(day)}
        | {"SystemModstamp": at(day), "Amount": Decimal(amount), "CloseDate": date(2026, 6, 30)}
        for n, (day, stage, amount) in enumerate(
            [
                ("2026-01-10", "Prospecting", 10),
                ("2026-03-01", "Closed Lost", 10),
                ("2026-04-01", "Prospecting", 20),
                ("2026-06-01", "Closed Won", 30),
                ("2026-06-09", "Closed Won", 40),
            ]
        )
    ]
    read = ("2026-08-01", {"Opportunity": [won(Amount=Decimal(50))], "OpportunityHistory": history})
    states = {}
    for day in ("2026-02-01", "2026-03-15", "2026-04-15", "2026-06-05", "2026-07-01", "2026-09-01"):
        deal = deals_of(read, as_of=day)[DEAL]
        states[day] = (deal.outcome, deal.closed_at and deal.closed_at.date().isoformat(), int(deal.amount))
    assert states == {
        "2026-02-01": ("open", None, 10),
        "2026-03-15": ("lost", "2026-03-01", 10),
        "2026-04-15": ("open", None, 20),
        "2026-06-05": ("won", "2026-06-01", 30),
        "2026-07-01": ("won", "2026-06-01", 40),
        "2026-09-01": ("won", "2026-06-01", 50),
    }


def test_1_7_history_that_hides_amounts_leaves_the_current_one_marked_as_approximate():
    row = {"Id": "008000000000001AAA", "OpportunityId": DEAL, "StageName": "Prospecting"}
    row |= {"CreatedDate": at("2026-01-10"), "SystemModstamp": at("2026-01-10")}
    deals = deals_of(
        ("2026-08-01", {"Opportunity": [opportunity()], "OpportunityHistory": [row]}), as_of="2026-02-01"
    )
    assert deals[DEAL].amount == Decimal("100.00")
    assert deals[DEAL].closed_on == date(2026, 6, 30)
    assert deals.snapshot.deals.approximate.tolist() == [True]


def test_1_9_an_amount_in_a_currency_without_a_rate_is_unvalued():
    deals = deals_of(
        ("2026-05-02", {"Opportunity": [won(CurrencyIsoCode="EUR")]}), mapping=Mapping(currency="USD")
    )
    assert deals[DEAL].amount is None


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("100.005", "USD", "100.00"),
        ("100.015", "USD", "100.02"),
        ("-0.005", "USD", "0.00"),
        ("100.5", "JPY", "100"),
        ("101.5", "JPY", "102"),
        ("1.0005", "KWD", "1.000"),
        (None, "USD", None),
    ],
)
def test_1_10_the_amount_is_rounded_once_half_to_even(amount, currency, expected):
    value = None if amount is None else Decimal(amount)
    deals = deals_of(("2026-05-02", {"Opportunity": [won(Amount=value)]}), mapping=Mapping(currency=currency))
    assert deals[DEAL].amount == (None if expected is None else Decimal(expected))


@pytest.mark.parametrize(
    ("by_start", "first"), [(False, "2025-02-01"), (True, "2026-02-01"), (None, "2025-02-01")]
)
def test_1_8_fiscal_years_are_named_as_the_organization_says(by_start, first):
    organization = [ORGANIZATION[0] | {"UsesStartDateAsFiscalYearName": by_start}]
    deals = deals_of(("2026-05-02", {"Organization": organization, "Opportunity": [won()]}))
    assert deals.snapshot.fiscal.first_day(2026).isoformat() == first


def test_2_1_excluded_opportunities_are_counted_and_in_no_number():
    exclude = (Filter(field="Name", op="contains", value="INTERNAL"),)
    deals = deals_of(
        ("2026-05-02", {"Opportunity": [won(Name="an internal one")]}),
        mapping=Mapping(opportunity=OpportunityRules(exclude=exclude)),
    )
    assert (len(deals), deals.snapshot.excluded_deals) == (0, 1)


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        (Filter(field="Type", value="Renewal"), True),
        (Filter(field="Type", value="renewal"), True),
        (Filter(field="Type", op="!=", value="Renewal"), False),
        (Filter(field="Type", op="in", value=("x", "RENEWAL")), True),
        (Filter(field="Type", op="is_null"), False),
        (Filter(field="Name", op="is_null"), True),
        (Filter(field="Name", op="!=", value="x"), True),
        (Filter(field="Name", value="x"), False),
        (Filter(field="IsWon", value=True), True),
    ],
)
def test_2_1_filters_read_values_as_soql_does(condition, matches):
    deals = deals_of(
        ("2026-05-02", {"Opportunity": [won(Type="Renewal", Name=None)]}),
        mapping=Mapping(opportunity=OpportunityRules(exclude=(condition,))),
    )
    assert deals.snapshot.excluded_deals == matches


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Existing Customer - Renewal", "renewal"),
        ("Existing Customer - Replacement", "expansion"),
        ("Cross-sell", "expansion"),
        ("New Customer", "new"),
        ("RENEW", "renewal"),
        ("Services", "unclassified"),
        (None, "unclassified"),
        ("Upgrade", "new"),
    ],
)
def test_2_2_deal_type_by_exact_value_then_by_word(value, expected):
    rule = DealTypeRule(values={"Upgrade": "new"})
    deals = deals_of(("2026-05-02", {"Opportunity": [won(Type=value)]}), mapping=Mapping(deal_type=rule))
    assert deals[DEAL].deal_type == expected


def test_2_3_implausible_rows_stay():
    early = won(CloseDate=date(2025, 1, 1), Probability=Decimal(150))
    deals = deals_of(("2026-05-02", {"Opportunity": [early]}))
    assert deals[DEAL].outcome == "won"
    assert deals.snapshot.deals.close_before_creation.tolist() == [True]


def test_2_3_a_deal_closed_on_the_day_it_was_created_in_the_zone_is_plausible():
    # 2026-01-10T02:00Z is still 9 January in New York
    same = won(CloseDate=date(2026, 1, 9), CreatedDate=at("2026-01-10T02:00"))
    deals = deals_of(("2026-05-02", {"Opportunity": [same]}))
    assert deals.snapshot.deals.close_before_creation.tolist() == [False]


def test_3_2_evidence_from_before_the_flag_was_lost_keeps_counting():
    history = [
        ("2026-03-01", {"Account": [account(PARTNER, Type="Customer", SystemModstamp=at("2026-02-15"))]}),
        (
            "2026-05-01",
            {
                "Opportunity": [opportunity()],
                "Contact": [
                    {"Id": "003000000000001AAA", "AccountId": PARTNER, "CreatedDate": at("2024-01-01")}
                ],
                "Event": [meeting(1, "2026-02-01T10:00"), meeting(2, "2026-02-20T10:00")],
            },
        ),
    ]
    assert [t.id[-30:-19] for t in deals_of(*history)[DEAL].touchpoints] == ["00000001AAA"]


def test_3_2_a_flag_gained_in_a_later_version_holds_from_that_version_on():
    later = account(CUSTOMER.replace("1AAA", "2AAA"), Type="Partner", SystemModstamp=at("2026-02-15"))
    before = later | {"Type": None, "SystemModstamp": at("2024-01-01")}
    read = {
        "Opportunity": [opportunity()],
        "Contact": [{"Id": "003000000000001AAA", "AccountId": later["Id"], "CreatedDate": at("2024-01-01")}],
        "Event": [meeting(1, "2026-02-01T10:00"), meeting(2, "2026-02-20T10:00")],
    }
    deals = deals_of(("2026-01-02", {"Account": [before]}), ("2026-03-01", {"Account": [later]} | read))
    assert [t.id[-30:-19] for t in deals[DEAL].touchpoints] == ["00000002AAA"]


def meeting(number, when, **fields):
    return {
        "Id": f"00U{number:012d}AAA",
        "WhoId": "003000000000001AAA",
        "WhatId": DEAL,
        "OwnerId": OWNER,
        "CreatedById": OWNER,
        "CreatedDate": at(when),
        "ActivityDateTime": at(when),
        "ActivityDate": at(when).date(),
        "EndDateTime": at(when) + timedelta(hours=1),
        "IsAllDayEvent": False,
        **fields,
    }


def test_1_1_an_all_day_meeting_lies_at_midnight_in_the_zone_or_at_its_creation_that_day():
    people = [{"Id": "003000000000001AAA", "AccountId": PARTNER, "CreatedDate": at("2024-01-01")}]
    midnight_utc = at("2026-02-03T00:00")
    whole = {"IsAllDayEvent": True, "ActivityDateTime": midnight_utc, "EndDateTime": midnight_utc}
    whole |= {"ActivityDate": date(2026, 2, 3)}
    events = [
        meeting(1, "2026-02-01T10:00", **whole),
        meeting(2, "2026-02-01T10:00", **whole | {"CreatedDate": at("2026-02-04T02:00")}),
    ]
    deals = deals_of(("2026-05-01", {"Opportunity": [opportunity()], "Contact": people, "Event": events}))
    assert [t.occurred_at for t in deals[DEAL].touchpoints] == [
        at("2026-02-03T05:00"),
        at("2026-02-04T02:00"),
    ]


def test_4_3_a_role_re_created_within_a_day_inherits_through_the_chain():
    rows = [
        role("00I000000000001AAA", "2026-02-01", IsDeleted=True, SystemModstamp=at("2026-03-01")),
        role("00I000000000002AAA", "2026-03-01", IsDeleted=True, SystemModstamp=at("2026-04-01"), Role="A"),
        role("00I000000000003AAA", "2026-04-01T20:00", Role="B"),
    ]
    deals = deals_of(("2026-05-01", {"Opportunity": [opportunity()], "Partner": rows}))
    (touchpoint,) = deals[DEAL].touchpoints
    assert touchpoint.id == f"Partner:00I000000000003AAA:{PARTNER}"
    assert (touchpoint.occurred_at, touchpoint.role) == (at("2026-02-01"), "B")


def test_4_3_a_role_re_created_later_is_a_new_touchpoint():
    rows = [
        role("00I000000000001AAA", "2026-02-01", IsDeleted=True, SystemModstamp=at("2026-03-01")),
        role("00I000000000002AAA", "2026-03-02T00:00:01"),
    ]
    deals = deals_of(("2026-05-01", {"Opportunity": [opportunity()], "Partner": rows}))
    assert [t.occurred_at for t in deals[DEAL].touchpoints] == [at("2026-03-02T00:00:01")]


def test_1_3_a_record_deleted_by_then_exists_at_no_as_of():
    deals = deals_of(
        ("2026-05-01", {"Opportunity": [opportunity()], "Partner": [role()]}),
        ("2026-06-01", {"Partner": [role(IsDeleted=True, SystemModstamp=at("2026-05-20"))]}),
        as_of="2026-05-10",
    )
    assert deals[DEAL].touchpoints == ()


def test_1_3_records_made_after_known_at_are_not_seen():
    deals = deals_of(
        ("2026-05-01", {"Opportunity": [opportunity()], "Partner": [role(created="2026-04-20")]}),
        known_at="2026-04-01",
    )
    assert deals[DEAL].touchpoints == ()


def test_an_org_without_optional_objects_still_has_its_deals():
    deals = deals_of(("2026-05-01", {"Opportunity": [won(SystemModstamp=at("2026-04-01"))]}))
    assert [(deal.id, deal.outcome, deal.touchpoints) for deal in deals] == [(DEAL, "won", ())]


def test_a_mirror_without_an_organization_is_refused():
    with pytest.raises(DataError, match="no organization"):
        derive(MemoryRecords(), Mapping(), as_of=0, watermark=0)


def test_3_4_a_program_may_be_mapped_by_its_id_or_by_its_name():
    program, claim = "0Pr000000000001AAA", "a01000000000001AAA"
    rows = [
        {
            "Id": f"{claim[:14]}{number}AAA",
            "Firm__c": firm,
            "Deal__c": DEAL,
            "Program__c": named,
            "CreatedDate": at("2026-02-01"),
            "SystemModstamp": at("2026-02-01"),
        }
        for number, firm, named in (
            (1, PARTNER, program),
            (2, PARTNER, "Resale"),
            (3, "  pLUS Ltd ", "Other"),
        )
    ]
    touches = {"kind": "overlap", "partner": "Firm__c", "opportunity": "Deal__c", "program": "Program__c"}
    deals = deals_of(
        (
            "2026-02-02",
            {
                "Opportunity": [opportunity()],
                "Account": [account(PARTNER), account("001Q00000000001AAA", Name="Plus ltd")],
                "ChannelProgram": [{"Id": program, "Name": "Resale", "CreatedDate": at("2024-01-01")}],
                "Claim__c": rows,
            },
        ),
        mapping=Mapping(touchpoints=[touches | {"object": "Claim__c"}]),
    )
    found = [(touch.partner.id, touch.program.id) for touch in deals[DEAL].touchpoints]
    assert found == [(PARTNER, program), (PARTNER, program), ("001Q00000000001AAA", "Other")]
