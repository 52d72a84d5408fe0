"""The estimators against lifelines, statsmodels and scipy, and against exact fractions where events tie."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import statsmodels.stats.proportion as proportion
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import AalenJohansenFitter, KaplanMeierFitter
from lifelines.utils import median_survival_times, restricted_mean_survival_time
from scipy import stats

from attribution.errors import UsageError
from attribution.measures.estimators import (
    aalen_johansen,
    kaplan_meier,
    restricted_mean,
    risk_table,
)
from attribution.measures.intervals import (
    Estimate,
    bootstrap,
    difference,
    mean,
    resampled_sums,
    resampled_winsorised,
    sorted_within,
    welch,
    wilson,
)

# lifelines divides by zero where nobody is left, and asks pandas for a frame it is about to drop
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::FutureWarning")

DAY = 86_400_000_000
CLOSE = {"rtol": 0, "atol": 1e-9}

observations = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=1, max_size=30)


def drawn(seed: int, n: int, *, whole: bool = True) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    time = random.exponential(40, n)
    return (np.ceil(time) if whole else time), random.choice(3, n, p=[0.3, 0.4, 0.3])


# --- Kaplan-Meier ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("truncated", [False, True])
def test_kaplan_meier_is_that_of_lifelines(seed, truncated):
    time, event = drawn(seed, 300)
    random = np.random.default_rng(seed)
    entry = np.maximum(time - 1 - random.integers(0, 30, 300), 0) if truncated else None
    theirs = KaplanMeierFitter().fit(time, event == 1, entry=entry)
    ours = kaplan_meier(risk_table(time.astype(np.int64), event == 1, entry=entry))
    at = ours.table.time
    np.testing.assert_allclose(ours.value, theirs.predict(at).to_numpy(), **CLOSE)
    known = ours.value > 0
    band = theirs.confidence_interval_.loc[at[known]].to_numpy()
    np.testing.assert_allclose(np.stack([ours.low, ours.high], axis=1)[known], band, **CLOSE)
    for horizon in (20, 365):
        np.testing.assert_allclose(
            restricted_mean(ours, horizon).value, restricted_mean_survival_time(theirs, horizon), **CLOSE
        )
    if theirs.median_survival_time_ < np.inf:
        assert ours.median().value == theirs.median_survival_time_
        ends = median_survival_times(theirs.confidence_interval_)
        assert ours.median().low == ends.iloc[0, 0]
        assert np.nan_to_num(ours.median().high, nan=np.inf) == ends.iloc[0, 1]


def test_who_is_censored_at_an_event_was_at_risk_of_it():
    table = risk_table(np.array([3, 3, 5]), np.array([1, 0, 1]))
    assert kaplan_meier(table).value.tolist() == pytest.approx([2 / 3, 0])


def test_who_enters_at_an_event_was_not_at_risk_of_it():
    table = risk_table(np.array([3, 9, 9]), np.array([1, 1, 1]), entry=np.array([0, 3, 2]))
    assert table.n_at_risk.tolist() == [2, 2]


def test_of_four_the_second_is_the_median():
    curve = kaplan_meier(risk_table(np.array([1, 2, 3, 4]), np.ones(4, int)))
    assert curve.median().value == 2


def test_nothing_observed_is_nothing_known():
    nothing = risk_table(np.zeros(0, np.int64), np.zeros(0, int), np.zeros(0, np.int64), 2)
    for curve in (kaplan_meier(nothing), aalen_johansen(nothing)):
        assert np.isnan(curve.at(10).value).all()
        assert np.isnan(curve.median().value).all()
        assert np.isnan(restricted_mean(curve, 10).value).all()


@pytest.mark.parametrize("time", [[1.0, np.nan], [np.inf, 1.0]])
def test_times_that_are_none_are_refused(time):
    with pytest.raises(UsageError, match="not finite"):
        risk_table(np.array(time), np.array([1, 1]))


def test_an_entry_after_its_time_is_refused():
    with pytest.raises(UsageError, match="entry"):
        risk_table(np.array([1.0, 2.0]), np.array([1, 1]), entry=np.array([0.0, 2.0]))


# --- Aalen-Johansen ----------------------------------------------------------------------------------------


def exact_incidence(pairs: list[tuple[int, int]]) -> dict[int, Fraction]:
    """F at each time at which something happens, slowly and exactly; what ties is at risk together."""
    survival, incidence, found = Fraction(1), Fraction(0), {}
    for time in sorted({t for t, event in pairs if event}):
        at_risk = sum(t >= time for t, _ in pairs)
        won = sum(pair == (time, 1) for pair in pairs)
        gone = sum(pair == (time, 2) for pair in pairs)
        incidence += survival * Fraction(won, at_risk)
        survival *= 1 - Fraction(won + gone, at_risk)
        found[time] = incidence
    return found


def exact_variance(pairs: list[tuple[int, int]], horizon: int | None = None) -> dict[int, Fraction]:
    """The delta method, term by term; with a horizon that of the area under F up to there."""
    survival, terms, value, found = Fraction(1), [], Fraction(0), {}
    for time in sorted({t for t, event in pairs if event}):
        n = sum(t >= time for t, _ in pairs)
        d1, d = sum(p == (time, 1) for p in pairs), sum(t == time and e > 0 for t, e in pairs)
        weight = survival * (1 if horizon is None else max(horizon - time, 0))
        value += weight * Fraction(d1, n)
        terms.append((n, d1, d, weight, value))
        survival *= 1 - Fraction(d, n)
        found[time] = sum(
            (value - then) ** 2 * (Fraction(d, n * (n - d)) if n > d else 0)
            + weight**2 * Fraction(d1 * (n - d1), n**3)
            - 2 * (value - then) * weight * Fraction(d1, n**2)
            for n, d1, d, weight, then in terms
        )
    return found


@settings(deadline=None)
@given(observations)
def test_ties_of_wins_and_losses_are_exact(pairs):
    time, event = map(np.array, zip(*pairs, strict=True))
    curve = aalen_johansen(risk_table(time, event))
    expected = exact_incidence(pairs)
    assert curve.table.time.tolist() == list(expected)
    np.testing.assert_allclose(curve.value, [float(each) for each in expected.values()], rtol=0, atol=1e-12)
    variance = [float(each) for each in exact_variance(pairs).values()]
    np.testing.assert_allclose(curve.variance, variance, rtol=0, atol=1e-12)
    reached = [at for at, part in expected.items() if part >= Fraction(1, 2)]
    assert curve.median().value.tolist() == pytest.approx([reached[0] if reached else np.nan], nan_ok=True)
    horizon = 7
    area = sum((horizon - at) * step for at, step in steps(expected) if at < horizon)
    found = restricted_mean(curve, horizon)
    assert found.value[0] == pytest.approx(float(horizon - area), abs=1e-12)
    assert found.variance[0] == pytest.approx(
        float(list(exact_variance(pairs, horizon).values() or [0])[-1]) if expected else 0, abs=1e-12
    )


def steps(values: dict[int, Fraction]) -> list[tuple[int, Fraction]]:
    before = [Fraction(0), *values.values()]
    return [(at, value - was) for (at, value), was in zip(values.items(), before, strict=False)]


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_the_curve_is_that_of_lifelines(seed):
    time, event = drawn(seed, 400, whole=False)
    theirs = AalenJohansenFitter().fit(time, event, event_of_interest=1)
    ours = aalen_johansen(risk_table(time, event))
    rows = theirs.cumulative_density_.loc[ours.table.time].to_numpy()[:, 0]
    np.testing.assert_allclose(ours.value, rows, **CLOSE)
    # of the last row lifelines makes an infinite variance if it leaves nobody
    known = (ours.value > 0) & (np.arange(len(rows)) < len(rows) - 1)
    variance = theirs.variance_.loc[ours.table.time[known]].to_numpy()
    np.testing.assert_allclose(ours.variance[known], variance, **CLOSE)
    band = np.sort(theirs.confidence_interval_.loc[ours.table.time[known]].to_numpy(), axis=1)
    np.testing.assert_allclose(np.stack([ours.low, ours.high], axis=1)[known], band, **CLOSE)


def test_without_competition_incidence_is_the_rest_of_survival():
    time, event = drawn(7, 200)
    table = risk_table(time, np.minimum(event, 1))
    survival, incidence = kaplan_meier(table), aalen_johansen(table)
    np.testing.assert_allclose(1 - survival.value, incidence.value, **CLOSE)
    known = survival.value > 0
    np.testing.assert_allclose(survival.variance[known], incidence.variance[known], **CLOSE)
    ours, theirs = restricted_mean(survival, 50), restricted_mean(incidence, 50)
    np.testing.assert_allclose(
        [ours.value, ours.variance], [theirs.value, theirs.variance], rtol=1e-12, atol=1e-12
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 2)), max_size=40))
def test_groups_do_not_touch_each_other(rows):
    group, time, event = (np.array([row[at] for row in rows], dtype=np.int64) for at in range(3))
    together = aalen_johansen(risk_table(time, event, group, 4))
    for each in range(4):
        mine = group == each
        alone = aalen_johansen(risk_table(time[mine].astype(float), event[mine]))
        rows_of = slice(*together.table.offsets[each : each + 2])
        np.testing.assert_allclose(together.value[rows_of], alone.value, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(together.table.n_at_risk[rows_of], alone.table.n_at_risk)
        np.testing.assert_array_equal(together.at(5).n[each], alone.at(5).n)
        np.testing.assert_allclose(together.at(5).value[each], alone.at(5).value[0], rtol=0, atol=1e-13)
        np.testing.assert_array_equal(together.table.last[each], alone.table.last[0])


def test_many_groups_lose_no_digits():
    """Sums run over all groups at once: the last of many is as exact as the first."""
    time, event = drawn(3, 500)
    copies = 2_000
    many = aalen_johansen(
        risk_table(
            np.tile(time, copies), np.tile(event, copies), np.repeat(np.arange(copies), len(time)), copies
        )
    )
    one = aalen_johansen(risk_table(time, event))
    np.testing.assert_allclose(many.value.reshape(copies, -1), np.tile(one.value, (copies, 1)), **CLOSE)


def test_instants_too_far_apart_to_pack_are_ranked():
    far = np.array([0, 1 << 61, 1 << 61, 5 * DAY], dtype=np.int64)
    table = risk_table(far, np.array([1, 1, 2, 0]), np.array([0, 1, 1, 1]), 2)
    assert table.time.tolist() == [0, 1 << 61]
    assert table.n_at_risk.tolist() == [1, 2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fate", [1, 2])
@pytest.mark.parametrize("n", [2, 3, 7, 40, 55, 120, 1000])
def test_a_curve_at_its_end_is_exact_and_has_no_interval(n, fate):
    time = np.random.default_rng(n).exponential(40, n)
    found = aalen_johansen(risk_table(time, np.full(n, fate))).at(1e6)
    assert found.value.tolist() == [2 - fate]
    assert np.isnan([found.low[0], found.high[0]]).all()


# --- proportions, means, medians ---------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 200), st.integers(0, 200), st.integers(1, 200))
def test_proportions_are_those_of_statsmodels(a, n, b, m):
    a, b = min(a, n), min(b, m)
    one, other = (wilson(np.array([x]), np.array([size])) for x, size in ((a, n), (b, m)))
    for ours, (x, size) in ((one, (a, n)), (other, (b, m))):
        theirs = proportion.proportion_confint(x, size, method="wilson")
        np.testing.assert_allclose([ours.low[0], ours.high[0]], theirs, **CLOSE)
    theirs = proportion.confint_proportions_2indep(a, n, b, m, method="newcomb")
    ours = difference(one, other)
    np.testing.assert_allclose([ours.low[0], ours.high[0]], theirs, **CLOSE)


@pytest.mark.parametrize("n", range(1, 200))
def test_a_proportion_and_its_interval_are_shares(n):
    found = wilson(np.array([0, n]), np.array([n, n]))
    assert found.low.min() >= 0
    assert found.high.max() <= 1


def test_a_proportion_of_nothing_is_unknown():
    assert np.isnan(wilson(np.array([0]), np.array([0])).value[0])


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40),
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40),
)
def test_means_are_those_of_scipy(first, second):
    one, other = (mean(np.array(each), np.zeros(len(each), int), 1) for each in (first, second))
    spread = np.std(first) + np.std(second)
    if min(np.std(first), np.std(second)) < 1e-6 * (1 + np.abs([*first, *second]).max()):
        return  # scipy warns that nothing is left of such a spread
    theirs = stats.ttest_1samp(first, 0).confidence_interval(0.95)
    np.testing.assert_allclose(
        [one.low[0], one.high[0]], [theirs.low, theirs.high], rtol=1e-9, atol=1e-9 * spread
    )
    theirs = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    ours = welch(one, other)
    np.testing.assert_allclose(
        [ours.low[0], ours.high[0]], [theirs.low, theirs.high], rtol=1e-9, atol=1e-9 * spread
    )


def test_of_one_value_the_mean_has_no_interval():
    only = mean(np.array([5.0]), np.array([0]), 2)
    assert only.value.tolist() == pytest.approx([5.0, np.nan], nan_ok=True)
    assert np.isnan(only.low).all()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-(10**12), 10**12)), max_size=40),
    st.sampled_from([0.0, 0.025, 0.5, 0.9, 1.0]),
)
def test_quantiles_are_those_of_numpy(rows, q):
    group, values = (np.array([row[at] for row in rows], dtype=np.int64) for at in range(2))
    for given_values in (values, values.astype(float)):
        found = sorted_within(given_values, group, 3).quantile(q)
        for each in range(3):
            mine = values[group == each]
            expected = np.quantile(mine, q) if len(mine) else np.nan
            np.testing.assert_allclose(found[each], expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 5, 6, 7, 20, 51, 1_000, 4_001])
def test_the_interval_of_a_median_is_that_of_scipy(n):
    values = np.random.default_rng(n).normal(size=n)
    found = sorted_within(values, np.zeros(n, int), 1).median()
    theirs = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    np.testing.assert_array_equal([found.low[0], found.high[0]], [theirs.low, theirs.high])
    assert found.value[0] == np.median(values)


def test_winsorised_values_stay_within_their_quantiles():
    values = np.arange(1_001)
    found = sorted_within(values, np.zeros(1_001, int), 1).winsorised(0.025)
    assert (found.min(), found.max()) == (25, 975)
    assert found.mean() == 500


def test_a_bootstrap_is_repeatable_and_about_that_of_scipy():
    values = np.random.default_rng(1).exponential(size=300)
    ours = bootstrap(values, lambda samples: samples.mean(axis=1), n=2_000, seed=5)
    assert ours == bootstrap(values, lambda samples: samples.mean(axis=1), n=2_000, seed=5)
    assert ours != bootstrap(values, lambda samples: samples.mean(axis=1), n=2_000, seed=6)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=2_000, method="percentile", rng=5)
    np.testing.assert_allclose(ours, theirs.confidence_interval, rtol=0.02)


@given(
    values=st.lists(st.integers(-50, 50), min_size=2, max_size=40),
    tail=st.sampled_from([0.0, 0.025, 0.2, 0.5]),
    seed=st.integers(0, 9),
)
def test_samples_by_counts_are_samples_by_value(values, tail, seed):
    ordered = np.sort(np.array(values, dtype=float))
    drawn = np.random.default_rng(seed).integers(len(values), size=(30, len(values)), dtype=np.int32)
    samples = ordered[drawn]
    bottom, top = np.quantile(samples, [tail, 1 - tail], axis=1, keepdims=True)
    slowly = np.clip(samples, bottom, top).mean(axis=1)
    np.testing.assert_allclose(resampled_winsorised(ordered, tail, 30, seed), slowly, rtol=1e-9, atol=1e-9)
    columns = np.stack([ordered, ordered**2], axis=1)
    np.testing.assert_allclose(resampled_sums(columns, 30, seed), columns[drawn].sum(axis=1), rtol=1e-9)


def test_samples_do_not_depend_on_how_many_are_drawn_at_a_time():
    values = np.arange(1_000.0)[:, None]
    whole = resampled_sums(values, 50, 3)
    drawn = np.random.default_rng(3).integers(1_000, size=(50, 1_000), dtype=np.int32)
    np.testing.assert_array_equal(whole[:, 0], drawn.sum(axis=1))
    large = resampled_sums(np.ones((70_000, 1)), 3, 3)
    assert large[:, 0].tolist() == [70_000] * 3


def test_nothing_has_no_bootstrap():
    assert np.isnan(bootstrap(np.zeros(0), lambda samples: samples.sum(axis=1))).all()


def test_a_difference_needs_intervals_of_both():
    without = Estimate(*(np.array([each]) for each in (1, 1.0, np.nan, np.nan)))
    known = Estimate(*(np.array([each]) for each in (1, 3.0, 2.0, 4.0)))
    found = difference(known, without)
    assert found.value[0] == 2
    assert np.isnan(found.low[0])
    with pytest.raises(UsageError, match="variance"):
        welch(known, without)
