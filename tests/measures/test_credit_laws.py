"""What must be true of credit under every model, stated with ``==``: not a cent more, less or elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution import money
from attribution.columns import DAY
from attribution.deals import Deals
from attribution.measures.coalitions import shapley_values
from attribution.measures.comparison import compare
from attribution.measures.credit import attribute
from attribution.measures.removal import removal_effects
from attribution.models import (
    FirstTouch,
    LastTouch,
    Linear,
    Markov,
    Milestone,
    Position,
    Shapley,
    TimeDecay,
    Weighted,
)
from tests.laws import check_credit
from tests.measures.strategies import AS_OF, POLICIES, ZONE, paths
from tests.notation import deals_of, path

RULES = [
    FirstTouch(),
    LastTouch(),
    Linear(),
    Linear(by="partner"),
    Position(),
    Position(first=0.0, last=0.0),
    TimeDecay(),
    TimeDecay(timedelta(seconds=1)),
    Weighted({"meeting": 0, "call": 3}),
    Weighted({}, otherwise=0),
    Milestone.u_shaped(),
    Milestone.full_path(),
]
MODELS = [*RULES, Markov(), Markov(order=3, level="program"), Shapley(), Shapley(game="rate")]
NAMES = ("partner", "program", "deal_type", "quarter")
START = datetime(2026, 1, 1, tzinfo=UTC)


@st.composite
def extremes(draw):
    """Deals where rounding hurts: huge, tiny and negative amounts, one touch or thirty at one instant."""
    currency, digits = draw(st.sampled_from([("USD", 2), ("JPY", 0), ("KWD", 3)]))
    texts = []
    for deal in range(draw(st.integers(1, 3))):
        minor = draw(st.sampled_from([0, 1, -1, 2, 29, 31, 10_001, -10_001, 10**12, -(10**12) + 1]))
        same = draw(st.booleans())
        touches = []
        for at in range(draw(st.sampled_from([0, 1, 2, 3, 30]))):
            partner, program = f"p{draw(st.integers(0, 4))}", f"g{draw(st.integers(0, 1))}"
            kind = draw(st.sampled_from(["meeting", "call"]))
            touches.append(f"{partner}/{program}:{kind}@{3 if same else at}+record=r{deal}x{at:02}")
        outcome = draw(st.sampled_from(["won", "lost"]))
        texts.append(f"{' '.join(touches)} {outcome}@40 {money.major(minor, currency):.{digits}f} {currency}")
    return path(*texts)


@settings(max_examples=60, deadline=None)
@given(extremes(), st.sampled_from(MODELS), st.sampled_from(["any", "qualified"]))
def test_parts_and_the_rest_are_the_deal_at_every_grouping(deals, model, eligible):
    credit = attribute(deals, model, of="all", eligible=eligible)
    check_credit(credit)
    whole = sum((deal.amount for deal in deals), Decimal(0))
    assert credit.selected() == credit.total() + credit.unattributed() == whole
    for deal in deals:
        table = credit.of(deal.id)
        rows = sum((row["amount"] for row in table.rows), Decimal(0))
        assert rows + table.foot["unattributed"] == deal.amount
        assert not [row for row in table.rows if row["share"] == 0 and row["amount"] != 0]
    for names in [(name,) for name in NAMES] + [("partner", "program"), NAMES]:
        table = credit.by(*names)
        rows = sum((row["amount"] for row in table.rows), Decimal(0))
        assert rows + table.foot["unattributed"] == rows + table.remainder["amount"] == whole


@settings(max_examples=60, deadline=None)
@given(paths(), POLICIES, st.sampled_from(MODELS), st.sampled_from(["partners", "all"]))
def test_a_touchpoint_after_the_close_or_before_the_window_gets_nothing(drawn, policy, model, pool):
    credit = attribute(deals_of(drawn, AS_OF, policy, ZONE), model, of="all", pool=pool)
    columns, touchpoints = credit.deals.snapshot.deals, credit.deals.snapshot.touchpoints
    end = np.minimum(columns.closed_at, credit.deals.snapshot.as_of)[credit.deals.deal_of]
    age = end - touchpoints.occurred_at
    outside = (age < 0) | (age > policy.influence_window_days * DAY)
    assert not outside[credit.cells.touchpoint].any()


@settings(max_examples=60, deadline=None)
@given(paths(), st.lists(st.sampled_from([0.0, 0.0, 1.0, 1e-300, 1e300]), min_size=1, max_size=9))
def test_a_score_of_0_never_receives_a_cent(drawn, numbers):
    class Given:
        def scores(self, deals):
            self.given = np.resize(np.array(numbers), len(deals.snapshot.touchpoints))
            self.names = [deals.touchpoint(row).id for row in range(len(self.given))]
            return self.given

    model = Given()
    credit = attribute(deals_of(drawn, AS_OF), model, of="all")
    scored = dict(zip(model.names, model.given.tolist(), strict=True))
    for deal in credit.deals:
        for row in credit.of(deal.id).rows:
            if not scored.get(row["touchpoint"]):
                assert (row["amount"], row["share"]) == (0, 0)


@st.composite
def frames(draw):
    """Tables as somebody hands them over; touchpoints without ids, many of them at one instant."""
    n = draw(st.integers(1, 4))
    deals = [
        {
            "id": f"D{at}",
            "created_at": START,
            "closed_at": START + timedelta(days=30),
            "is_won": draw(st.booleans()),
            "amount": Decimal(draw(st.integers(-(10**6), 10**6))) / 100,
        }
        for at in range(n)
    ]
    touchpoints = [
        {
            "deal_id": f"D{draw(st.integers(0, n - 1))}",
            "occurred_at": START + timedelta(days=draw(st.integers(0, 2))),
            "partner": draw(st.sampled_from("ABC")),
            "program": draw(st.sampled_from([None, "x", "y"])),
            "kind": draw(st.sampled_from(["meeting", "call"])),
        }
        for _ in range(draw(st.integers(1, 12)))
    ]
    return deals, touchpoints


@settings(max_examples=60, deadline=None)
@given(frames(), st.sampled_from(MODELS), st.randoms())
def test_the_order_of_rows_changes_nothing(tables, model, random):
    def credited():
        deals, touchpoints = ({name: [row[name] for row in rows] for name in rows[0]} for rows in tables)
        made = Deals.from_frames(deals, touchpoints, as_of=START + timedelta(days=60))
        credit = attribute(made, model, of="all")
        of_deals = [
            [
                (row["partner"], row["program"], row["kind"], row["amount"], row["share"])
                for row in credit.of(deal.id).rows
            ]
            for deal in made
        ]
        return credit.by("partner", "program").to_dict(), of_deals

    before = credited()
    for rows in tables:
        random.shuffle(rows)
    assert credited() == before


@settings(max_examples=30, deadline=None)
@given(paths(), paths(max_deals=2), st.sampled_from(RULES))
def test_adding_a_deal_changes_no_other_under_any_rule(drawn, others, model):
    alone = attribute(deals_of(drawn, AS_OF), model, of="all")
    for at, deal in enumerate(others):
        deal.id, deal.currency = f"E{at}", drawn[0].currency if drawn else deal.currency
        for touch in deal.touches:
            touch.record = f"E{touch.record}"
    together = attribute(deals_of(drawn + others, AS_OF), model, of="all")
    for deal in drawn:
        assert together.of(deal.id).rows == alone.of(deal.id).rows


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "text", [[], ["won@9 5.00 USD"], ["ann@1"], ["ann@10 won@9"], ["ann@1 lost@9 0.00 USD"]]
)
def test_where_nothing_is_there_tables_are_empty_and_nothing_is_nan(model, text):
    deals = path(*text)
    credit = attribute(deals, model)
    assert credit.total() == 0
    tables = [credit.by("partner"), credit.by("partner", "program"), compare(deals, [model])]
    assert not any(table.rows for table in tables)
    tables += [removal_effects(deals), shapley_values(deals), shapley_values(deals, Shapley(game="rate"))]
    for table in tables:
        for row in (*table.rows, table.foot, table.remainder or {}):
            assert not [name for name, value in row.items() if isinstance(value, float) and isnan(value)]
        assert str(table)
        assert len(table.to_polars()) == len(table.rows)
