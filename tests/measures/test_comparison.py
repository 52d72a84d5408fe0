from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import UsageError
from attribution.measures.comparison import compare
from attribution.measures.credit import attribute
from attribution.models import FirstTouch, LastTouch, Linear, Markov, Position, Shapley
from tests.measures.strategies import AS_OF, paths
from tests.notation import deals_of, path

MODELS = (FirstTouch(), Linear(), Linear(by="partner"), Position(), Markov(), Shapley())


def test_the_band_of_a_partner_reaches_from_its_lowest_to_its_highest_amount():
    table = compare(
        path("ann@1 bob@2 ann@3 bob@4 won@9 10.00 USD", "won@9 2.00 USD"),
        [FirstTouch(), LastTouch(), Linear()],
    )
    assert [(row["partner"], row["lowest_amount"], row["highest_amount"]) for row in table.rows] == [
        ("ann", 0, 10),
        ("bob", 0, 10),
    ]
    assert table.rows[0] == {
        "partner": "ann",
        "partner_id": "ann-id",
        "first_touch_amount": Decimal("10.00"),
        "last_touch_amount": Decimal("0.00"),
        "linear_amount": Decimal("5.00"),
        "lowest_amount": Decimal("0.00"),
        "highest_amount": Decimal("10.00"),
        "band_amount": Decimal("10.00"),
    }
    assert (table.foot["selected"], table.foot["linear_unattributed"]) == (12, 2)
    assert table.to_dict()["models"] == ["first_touch", "last_touch", "linear"]
    last = list(csv.DictReader(io.StringIO(table.to_csv())))[-1]
    assert (last["partner"], last["linear_amount"], last["band_amount"]) == ("(unattributed)", "2.00", "0.00")
    assert "band_amount" in str(table)


@pytest.mark.parametrize("models", [[], [Linear(), Linear()]])
def test_models_are_given_each_once(models):
    with pytest.raises(UsageError, match="cannot compare"):
        compare(path(), models)


def test_no_deals_compare_to_nothing():
    assert compare(path(), MODELS).rows == []


@settings(max_examples=30, deadline=None)
@given(paths(), st.sampled_from(["partner", ("partner", "program"), ("deal_type",)]))
def test_every_column_is_the_credit_of_its_model_and_adds_up(drawn, by):
    deals = deals_of(drawn, AS_OF)
    table = compare(deals, MODELS, by=by, of="all")
    names = (by,) if isinstance(by, str) else by
    for name, model in zip(table.head["models"], MODELS, strict=True):
        credit = attribute(deals, model, of="all").by(*names)
        got = {tuple(row[label] for label in table.labels): row[f"{name}_amount"] for row in table.rows}
        assert {key: amount for key, amount in got.items() if amount} == {
            tuple(row[label] for label in table.labels): row["amount"] for row in credit.rows if row["amount"]
        }
        assert sum(got.values(), table.foot[f"{name}_unattributed"]) == table.foot["selected"]
