from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution import money
from attribution.errors import UsageError
from attribution.measures.credit import attribute
from attribution.measures.evidence import counting
from attribution.models import FirstTouch, LastTouch, Linear, Position, TimeDecay, Weighted
from tests.laws import check_credit
from tests.measures.oracle import truth
from tests.measures.strategies import AS_OF, POLICIES, ZONE, amount, paths
from tests.notation import deals_of, path

MODELS = st.sampled_from([FirstTouch(), LastTouch(), Linear(), Position()])
ANY_RULE = MODELS | st.sampled_from([Linear(by="partner"), TimeDecay(), Weighted({"referral": 3})])


@dataclass(frozen=True)
class Given:
    """Scores by position, for tests."""

    numbers: tuple[float, ...]

    def scores(self, deals):
        n = len(deals.snapshot.touchpoints)
        return np.resize(np.array(self.numbers), n) if self.numbers else np.zeros(n)


def parts(credit, *columns):
    return {tuple(row[column] for column in columns): row["amount"] for row in credit.by(*columns).rows}


# by hand


def test_rule_1_11_a_deal_of_100_01_in_three():
    credit = attribute(path("ann@1 bob@2 cat@3 won@30 100.01 USD"), Linear())
    assert [row["amount"] for row in credit.of("D1").rows] == [
        Decimal("33.34"),
        Decimal("33.34"),
        Decimal("33.33"),
    ]


def test_rule_1_11_a_credit_note_is_split_like_the_deal():
    credit = attribute(path("ann@1 bob@2 cat@3 won@30 -100.01 USD"), Linear())
    assert credit.total() == Decimal("-100.01")
    assert parts(credit, "partner")[("cat",)] == Decimal("-33.33")


def test_rule_8_1_linear_counts_touchpoints_not_partners():
    credit = attribute(path("ann@1 ann@2 ann@3 bob@4 won@30 100.00 USD"), Linear())
    assert parts(credit, "partner") == {("ann",): Decimal("75.00"), ("bob",): Decimal("25.00")}
    assert [row["deals"] for row in credit.by("partner").rows] == [0.75, 0.25]


def test_rule_8_1_players_are_the_counting_touchpoints_the_sourcing_partner_included():
    nobody = "bob@-400 cat@31 dan@5+own eve@5+exposure fay:handed_over@5"
    text = f"ann:referral@-1 {nobody} gus@5+weak won@30 10.00 USD"
    for model, first in ((FirstTouch(), "ann"), (LastTouch(), "gus")):
        credit = attribute(path(text), model)
        assert parts(credit, "partner") == {(first,): Decimal("10.00")}
    assert parts(attribute(path(text), Linear()), "partner") == {("ann",): Decimal(5), ("gus",): Decimal(5)}


def test_rule_8_1_a_deal_without_players_is_unattributed():
    credit = attribute(path("ann@31 won@30 10.00 USD", "ann@1 won@30 7.00 USD"), Linear())
    assert (credit.total(), credit.unattributed(), credit.selected()) == (
        Decimal(7),
        Decimal(10),
        Decimal(17),
    )
    assert credit.by("partner").foot["unattributed"] == Decimal("10.00")


def test_rule_8_1_qualified_leaves_the_rest_unattributed():
    deals = path("ann:referral@-1 bob@1+owner cat@1 dan@1+weak won@30 100.00 USD")
    credit = attribute(deals, Linear(), eligible="qualified")
    assert parts(credit, "partner") == {("ann",): Decimal("25.00"), ("bob",): Decimal("25.00")}
    assert credit.unattributed() == Decimal("50.00")
    check_credit(credit)


def test_unvalued_deals_add_deals_but_no_money():
    credit = attribute(path("ann@1 won@30", "ann@1 won@30 5.00 USD"), Linear())
    (row,) = credit.by("partner").rows
    assert (row["amount"], row["deals"]) == (Decimal("5.00"), 2.0)
    assert credit.by("partner").foot["unvalued_deals"] == 1


def test_one_deal_touchpoint_by_touchpoint():
    table = attribute(path("ann/resale@1 bob@31 cat@2 won@30 10.00 USD"), Linear()).of("D1")
    shown = [
        (row["touchpoint"], row["program"], row["counts"], row["share"], row["amount"]) for row in table.rows
    ]
    assert shown == [
        ("Event:D1r0:ann-id", "resale", True, 0.5, Decimal("5.00")),
        ("Event:D1r2:cat-id", "(none)", True, 0.5, Decimal("5.00")),
        ("Event:D1r1:bob-id", "(none)", False, 0.0, Decimal("0.00")),
    ]
    assert table.to_dict()["rows"][0]["occurred_at"] == "2026-01-02T00:00:00Z"
    assert "D1" in str(table)


def test_the_credit_of_a_deal_that_was_not_measured_is_refused():
    credit = attribute(path("ann@1 won@30", "ann@1"), Linear())
    with pytest.raises(UsageError, match="D2 is open, and this is the credit of won deals"):
        credit.of("D2")
    with pytest.raises(UsageError, match="no opportunity 'D3'"):
        credit.of("D3")


def test_open_deals_can_be_credited():
    assert attribute(
        path("ann@999 5.00 USD", "ann@1 won@9 1.00 USD"), Linear(), of="open"
    ).total() == Decimal(5)


def test_rows_restricted_to_a_partner_say_what_they_leave_out():
    credit = attribute(path("ann/resale@1 bob@2 won@30 10.00 USD", "won@9 3.00 USD"), Linear())
    foot = credit.by("program", partner="ANN").foot
    assert (foot["total"], foot["not_shown"], foot["unattributed"], foot["selected"]) == (5, 5, 3, 13)
    assert "not_shown" not in credit.by("partner").foot


# bad models and options


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_score_that_is_no_finite_number_names_model_and_deal(wrong):
    with pytest.raises(UsageError, match=rf"model given\(.* scored a touchpoint of deal D1 with {wrong}"):
        attribute(path("ann@1 bob@2 won@9"), Given((1.0, wrong)))


def test_a_model_returns_a_score_per_touchpoint():
    class Short:
        def scores(self, deals):
            return np.ones(1)

    with pytest.raises(UsageError, match=r"model short returned scores of shape \(1,\) for 2 touchpoints"):
        attribute(path("ann@1 bob@2 won@9"), Short())


def test_eligible_is_any_or_qualified():
    with pytest.raises(UsageError, match="'all'"):
        attribute(path(), Linear(), eligible="all")


def test_a_model_sees_the_players_only():
    class Looks:
        def scores(self, deals):
            touchpoints = deals.snapshot.touchpoints
            assert [touch.partner.name for touch in deals["D1"].touchpoints] == ["ann", "cat"]
            assert counting(deals).all()
            assert (touchpoints.hosted.tolist(), touchpoints.offsets.tolist()) == ([1], [0, 2])
            assert (touchpoints.reached.tolist(), touchpoints.reach_below.tolist()) == (
                [0],
                [999 * 86_400 * 10**6],
            )
            return np.ones(2)

    text = "ann@1+reach=0..999 bob@2+own+host=005A+reach=0..999 cat@3+host=005B won@9 1.00 USD"
    assert attribute(path(text), Looks()).total() == Decimal("1.00")


def test_scores_of_any_scale_make_shares():
    deals = path("ann@1 bob@2 won@9 1.00 USD")
    for tiny in (5e-324, 1e-310, 1.0, 1.7e308):
        assert attribute(deals, Given((tiny, tiny))).cells.numbers["share"].tolist() == [0.5, 0.5]


def test_empty_deals_give_an_empty_credit():
    credit = attribute(path(), Linear())
    assert (credit.by("partner").rows, credit.total(), credit.unattributed()) == ([], 0, 0)


# laws


def slow_shares(model, players):
    if isinstance(model, Linear):
        return [Fraction(1.0 / len(players))] * len(players)
    if isinstance(model, Position):
        middle = [Fraction(1, 5 * (len(players) - 2))] * (len(players) - 2) if len(players) > 2 else []
        ends = [Fraction(2, 5)] * min(len(players), 2)
        exact = [*ends[:1], *middle, *ends[1:]]
        return [Fraction(float(share / sum(exact))) for share in exact]
    winner = 0 if isinstance(model, FirstTouch) else len(players) - 1
    return [Fraction(int(at == winner)) for at in range(len(players))]


@settings(max_examples=120, deadline=None)
@given(paths(), POLICIES, MODELS, st.sampled_from(["won", "all", "open"]))
def test_credit_equals_a_slow_reading_of_rules_8(drawn, policy, model, of):
    credit = attribute(deals_of(drawn, AS_OF, policy, ZONE), model, of=of)
    check_credit(credit)
    expected: dict[str, int] = {}
    for deal in drawn:
        players = truth(drawn, deal, AS_OF, policy, ZONE).players
        if of not in ("all", deal.outcome) or not players:
            continue
        minor = int(amount(deal).scaleb(money.digits(deal.currency)))
        exact = [abs(minor) * share for share in slow_shares(model, players)]
        units = [int(part) for part in exact]
        order = sorted(range(len(units)), key=lambda at: -round((exact[at] - units[at]) * 2**30))
        for at in [at for at in order if exact[at]][: abs(minor) - sum(units)]:
            units[at] += 1
        for touch, unit in zip(players, units, strict=True):
            expected[f"Event:{touch.record}:{touch.partner}-id"] = unit if minor > 0 else -unit
    cells = credit.cells
    got = {
        credit.deals.touchpoint(row).id: int(unit)
        for row, unit in zip(cells.touchpoint, cells.numbers["amount"], strict=True)
    }
    assert {key: unit for key, unit in got.items() if unit} == {
        key: unit for key, unit in expected.items() if unit
    }


@settings(max_examples=60, deadline=None)
@given(paths(), ANY_RULE, st.sampled_from(["any", "qualified"]))
def test_parts_and_unattributed_add_up_under_every_rule(drawn, model, eligible):
    check_credit(attribute(deals_of(drawn, AS_OF), model, of="all", eligible=eligible))


@settings(max_examples=60, deadline=None)
@given(
    paths(),
    st.lists(st.sampled_from([0.0, 1.0, 1 / 3, 1e-9, 1e6]), max_size=7),
    st.sampled_from(["any", "qualified"]),
)
def test_parts_and_unattributed_add_up_whatever_the_scores(drawn, numbers, eligible):
    check_credit(attribute(deals_of(drawn, AS_OF), Given(tuple(numbers)), of="all", eligible=eligible))


def test_thirty_identical_instants_are_credited_in_path_order():
    text = " ".join(f"p{at:02}@1+record=r{at:02}" for at in range(30))
    credit = attribute(path(f"{text} won@30 1.00 USD"), Linear())
    check_credit(credit)
    amounts = [row["amount"] for row in credit.of("D1").rows]
    assert amounts == [Decimal("0.04")] * 10 + [Decimal("0.03")] * 20
    assert attribute(path(f"{text} won@30 1.00 USD"), FirstTouch()).by("partner").rows[0]["partner"] == "p00"


@pytest.mark.parametrize(
    ("text", "expected"), [("100 JPY", ["34", "33", "33"]), ("1.000 KWD", ["0.334", "0.333", "0.333"])]
)
def test_minor_units_of_other_currencies(text, expected):
    credit = attribute(path(f"ann@1 bob@2 cat@3 won@30 {text}"), Linear())
    assert [str(row["amount"]) for row in credit.of("D1").rows] == expected
    check_credit(credit)


def test_the_path_of_an_input_is_ordered_by_instant_then_id():
    text = "zoe@1+record=A ann@1+record=B won@9 1.00 USD"
    assert attribute(path(text), FirstTouch()).by("partner").rows[0]["partner"] == "zoe"
