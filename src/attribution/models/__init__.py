"""Attribution models: they score the touchpoints of a deal, nothing else."""

from attribution.models.base import AttributionModel
from attribution.models.markov import Markov
from attribution.models.milestone import Milestone
from attribution.models.multi_touch import Linear, Position, TimeDecay, Weighted
from attribution.models.shapley import Shapley
from attribution.models.single_touch import FirstTouch, LastTouch

__all__ = [
    "AttributionModel",
    "FirstTouch",
    "LastTouch",
    "Linear",
    "Markov",
    "Milestone",
    "Position",
    "Shapley",
    "TimeDecay",
    "Weighted",
]
