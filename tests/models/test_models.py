from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass

import pytest

from attribution.models import AttributionModel, FirstTouch, LastTouch, Linear
from attribution.models.base import model_name
from tests.notation import path

DEALS = path("ann@1 bob@2 ann@3 won@9", "won@9", "cat@1 won@9")


@pytest.mark.parametrize(
    ("model", "scores"),
    [(FirstTouch(), [1, 0, 0, 1]), (LastTouch(), [0, 0, 1, 1]), (Linear(), [1, 1, 1, 1])],
)
def test_rule_based_scores(model, scores):
    assert model.scores(DEALS).tolist() == scores
    assert model.scores(path()).tolist() == model.scores(path("won@9")).tolist() == []


def test_models_are_frozen_values():
    assert {FirstTouch(): 1, LastTouch(): 2, Linear(): 3}[LastTouch()] == 2
    assert FirstTouch() == FirstTouch() != LastTouch()
    with pytest.raises((FrozenInstanceError, TypeError, AttributeError)):
        Linear().by = "partner"


def test_anything_with_scores_is_a_model():
    assert isinstance(Linear(), AttributionModel)
    assert not isinstance("linear", AttributionModel)


def test_a_model_is_named_with_its_parameters():
    @dataclass(frozen=True)
    class TimeDecay:
        half_life_days: float

    assert model_name(LastTouch()) == "last_touch"
    assert model_name(TimeDecay(30.0)) == "time_decay(half_life_days=30.0)"
