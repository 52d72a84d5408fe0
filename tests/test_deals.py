"""Selecting deals: periods, partners, programs, single deals."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from attribution import Policy, Store, UsageError
from attribution.columns import from_micros, to_micros
from attribution.periods import FiscalYear, period_days
from attribution.testing import fill


@pytest.fixture(scope="module")
def deals(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("deals") / "acme")
    fill(store, 300)
    return store.deals()


def test_a_quarter_is_its_days(deals):
    quarter = deals.where(closed="2026Q2")
    assert {deal.id for deal in quarter} == {
        deal.id for deal in deals if date(2026, 4, 1) <= deal.closed_on <= date(2026, 6, 30)
    }
    assert len(quarter) == len(deals.where(closed=(date(2026, 4, 1), date(2026, 6, 30))))


def test_a_partner_filter_keeps_whole_paths(deals):
    partner = deals.partners[0]
    chosen = deals.where(partner=partner.name)
    assert 0 < len(chosen) < len(deals)
    for deal in chosen:
        assert deal == deals[deal.id]
        assert any(touchpoint.partner == partner for touchpoint in deal.touchpoints)
    others = {deal.id for deal in deals} - {deal.id for deal in chosen}
    assert not any(
        t.partner == partner and t.strength != "exposure" and t.approval != "rejected"
        for other in others
        for t in deals[other].touchpoints
        if not t.own_account
    )


def test_partner_and_program_are_of_one_touchpoint(deals):
    partner, program = deals.partners[0], deals.programs[1]
    assert len(deals.where(partner=partner.id, program=program.id)) == 0
    assert len(deals.where(partner=partner.id, program=deals.programs[0].name.upper())) > 0


def test_filters_commute(deals):
    one = deals.where(closed="2026Q2").where(deal_type="new")
    other = deals.where(deal_type="new").where(closed="2026Q2")
    assert one.selected.tolist() == other.selected.tolist()


def test_ids_of_15_characters_are_the_same_opportunity(deals):
    some = next(iter(deals))
    assert deals[some.id[:15]] == some
    assert some.id in deals
    assert "006" not in deals
    with pytest.raises(UsageError, match="no opportunity"):
        deals["006999999999999AAA"]


def test_a_deal_outside_the_selection_is_not_there(deals):
    outside = next(deal for deal in deals if deal.closed_on < date(2026, 1, 1))
    with pytest.raises(UsageError):
        deals.where(closed="2026Q2")[outside.id]


@pytest.mark.parametrize(
    "wrong", [{"partner": "Nobody"}, {"program": "None"}, {"deal_type": "old"}, {"closed": "?"}]
)
def test_what_does_not_exist_is_answered_with_what_does(deals, wrong):
    with pytest.raises(UsageError) as error:
        deals.where(**wrong)
    assert error.value.hint


def test_another_policy_shares_the_columns(deals):
    other = deals.with_policy(Policy(influence_window_days=1))
    assert other.snapshot is deals.snapshot
    # a narrower window reaches less, but is ambiguous less often
    assert {t.id for deal in other for t in deal.touchpoints} != {t.id for d in deals for t in d.touchpoints}


def test_columns_cannot_be_written(deals):
    with pytest.raises(ValueError, match="read-only"):
        deals.snapshot.deals.amount[0] = 1


def test_the_graph_of_a_deal_has_its_touchpoints(deals):
    deal = max(deals, key=lambda deal: len(deal.touchpoints))
    assert len([n for n, kind in deal.graph.nodes(data="type") if kind == "touchpoint"]) == len(
        deal.touchpoints
    )


def test_naive_instants_are_refused():
    with pytest.raises(UsageError, match="no time zone"):
        to_micros(datetime(2026, 1, 1))
    moment = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
    assert from_micros(to_micros(moment)) == moment


@pytest.mark.parametrize(
    ("text", "start", "by_start", "expected"),
    [
        ("2026Q4", 2, False, ("2026-10-01", "2026-12-31")),
        ("FY2026Q1", 2, False, ("2025-02-01", "2025-04-30")),
        ("FY2026Q4", 2, False, ("2025-11-01", "2026-01-31")),
        ("FY2026Q1", 2, True, ("2026-02-01", "2026-04-30")),
        ("FY2026", 10, False, ("2025-10-01", "2026-09-30")),
        ("FY2026Q2", 1, False, ("2026-04-01", "2026-06-30")),
        ("2026-02-03..2026-02-03", 1, False, ("2026-02-03", "2026-02-03")),
    ],
)
def test_periods(text, start, by_start, expected):
    assert tuple(day.isoformat() for day in period_days(text, FiscalYear(start, by_start))) == expected


@pytest.mark.parametrize(
    "text", ["", "2026Q5", "26Q1", "FY", "2026-02-30..2026-03-01", "2026-03-01..2026-02-01"]
)
def test_what_is_no_period(text):
    with pytest.raises(UsageError):
        period_days(text, FiscalYear())
