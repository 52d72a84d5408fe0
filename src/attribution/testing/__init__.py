"""Test your own jobs: a Salesforce org on loopback, a generated org with its known truth, a filled store."""

from attribution.testing.faults import Fault
from attribution.testing.fill import fill
from attribution.testing.objects import Field
from attribution.testing.org import Org
from attribution.testing.simulation import Simulation, simulate
from attribution.testing.synthetic import SyntheticOrg, generate
from attribution.testing.truth import Truth, known_truth

__all__ = [
    "Fault",
    "Field",
    "Org",
    "Simulation",
    "SyntheticOrg",
    "Truth",
    "fill",
    "generate",
    "known_truth",
    "simulate",
]
