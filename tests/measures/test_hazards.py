"""Hazard ratios and weighted differences against lifelines, statsmodels and exact arithmetic."""

from __future__ import annotations

import warnings
from fractions import Fraction
from math import inf, isnan

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.measures.hazards import NEVER, hazard_ratio, overlap_difference, overlap_weights

with warnings.catch_warnings():
    # both look at parts of scipy and pandas that are to go
    warnings.simplefilter("ignore")
    from lifelines import CoxTimeVaryingFitter
    from statsmodels.duration.hazard_regression import PHReg


def _world(seed: int, n: int = 300, last: int = 40) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "end": random.integers(1, last, n),
        "event": random.random(n) < 0.6,
        "exposed_from": np.where(random.random(n) < 0.6, random.integers(0, last, n), NEVER),
        "stratum": random.integers(0, 3, n),
        "entry": random.integers(0, last // 3, n),
    }


def _episodes(world: dict[str, np.ndarray]) -> pd.DataFrame:
    """One row per deal and state of exposure, as the peers want it."""
    rows = []
    for at, (end, event, exposed_from, stratum, entry) in enumerate(zip(*world.values(), strict=True)):
        turn = min(max(int(exposed_from), entry), end)
        rows.append((at, entry, turn, 0, event and turn == end, stratum))
        rows.append((at, turn, end, 1, event, stratum))
    frame = pd.DataFrame(rows, columns=["id", "start", "stop", "exposed", "event", "stratum"])
    return frame[frame["start"] < frame["stop"]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("late", [False, True])
def test_the_hazard_ratio_is_that_of_lifelines_with_ties_strata_and_late_entries(seed, late):
    world = _world(seed)
    if not late:
        world["entry"] = np.zeros_like(world["entry"])
    found = hazard_ratio(**world)
    frame = _episodes(world)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = CoxTimeVaryingFitter().fit(
            frame, id_col="id", start_col="start", stop_col="stop", event_col="event", strata=["stratum"]
        )
    assert found.log == pytest.approx(peer.params_["exposed"], abs=1e-6)
    assert found.error == pytest.approx(peer.standard_errors_["exposed"], abs=1e-6)
    exposed = frame[frame["exposed"] == 1]
    assert found.time_with == (exposed["stop"] - exposed["start"]).sum()
    assert found.time_without == (frame["stop"] - frame["start"]).sum() - found.time_with
    assert found.n_events_with == exposed["event"].sum()
    assert found.n_events_with + found.n_events_without == frame["event"].sum()


def test_the_hazard_ratio_is_that_of_statsmodels_without_ties():
    world = _world(7, last=10**9)
    found = hazard_ratio(**world)
    frame = _episodes(world)
    peer = PHReg(
        frame["stop"] / 1e9,
        frame[["exposed"]],
        status=frame["event"].astype(int),
        entry=frame["start"] / 1e9,
        strata=frame["stratum"],
    ).fit()
    assert found.log == pytest.approx(peer.params[0], abs=1e-6)
    assert found.error == pytest.approx(peer.bse[0], abs=1e-6)


def test_where_all_events_fall_on_one_side_the_ratio_is_without_bounds():
    end, none = np.array([2, 3, 4, 5]), np.zeros(4, dtype=np.int64)
    touched = np.array([0, 0, NEVER, NEVER])
    assert hazard_ratio(end, np.array([True, True, False, False]), touched, none).log == inf
    assert hazard_ratio(end[::-1], np.array([False, False, True, True]), touched, none).log == -inf
    assert isnan(hazard_ratio(end, np.zeros(4, dtype=bool), touched, none).log)
    empty = np.zeros(0, dtype=np.int64)
    assert isnan(hazard_ratio(empty, empty.astype(bool), empty, empty).log)


def test_exposure_at_the_instant_of_the_end_comes_too_late():
    end, touched = np.array([5, 7, 9]), np.array([5, 2, NEVER])
    found = hazard_ratio(end, np.ones(3, dtype=bool), touched, np.zeros(3, dtype=np.int64))
    assert (found.n_events_with, found.time_with) == (1, 5)


cells = st.lists(
    st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 9), st.integers(0, 40)),
    min_size=2,
    max_size=40,
)


@settings(deadline=None)
@given(cells)
def test_the_overlap_difference_is_that_of_mantel_and_haenszel(rows):
    cell, exposed, outcome, unit = (np.array(column) for column in zip(*rows, strict=True))
    found = overlap_difference(outcome.astype(float), exposed, cell, unit)
    over, under = Fraction(0), Fraction(0)
    for one in set(cell.tolist()):
        with_ = [y for c, e, y, _ in rows if c == one and e]
        without = [y for c, e, y, _ in rows if c == one and not e]
        if with_ and without:
            weight = Fraction(len(with_) * len(without), len(with_) + len(without))
            over += weight * (Fraction(sum(with_), len(with_)) - Fraction(sum(without), len(without)))
            under += weight
    if under == 0:
        assert isnan(found.value)
        assert found.n_alone == exposed.sum()
    else:
        assert found.value == pytest.approx(float(over / under), abs=1e-12)
        assert found.error >= 0
    weights = overlap_weights(exposed, cell)
    for one in set(cell.tolist()):
        assert weights[exposed & (cell == one)].sum() == pytest.approx(
            weights[~exposed & (cell == one)].sum()
        )


def test_without_a_difference_the_error_is_that_of_the_hypergeometric():
    # 4 of 10 exposed, 2 of each side won: n1 n0 m1 m0 / (n^2 (n - 1)) of the count, over (n1 n0 / n)^2
    exposed = np.arange(10) < 5
    outcome = np.array([1, 1, 0, 0, 0] * 2, dtype=float)
    found = overlap_difference(outcome, exposed, np.zeros(10, dtype=np.int64), np.arange(10))
    assert found.value == 0
    assert found.error**2 == pytest.approx(5 * 5 * 4 * 6 / (100 * 9) / 2.5**2)
    assert (found.effective_with, found.effective_without) == (5, 5)
