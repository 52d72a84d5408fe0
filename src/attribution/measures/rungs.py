"""The rungs of effect, each of which takes away one way to be wrong."""

from __future__ import annotations

from math import exp, hypot, isfinite, sqrt
from statistics import NormalDist

import numpy as np

from attribution.columns import DAY
from attribution.measures.effect_table import FADES, MOVES, MOVING
from attribution.measures.estimators import CENSORED, EVENT, kaplan_meier, risk_table
from attribution.measures.hazards import (
    NEVER,
    Contrast,
    HazardRatio,
    Race,
    overlap_difference,
    overlap_weights,
    race,
)
from attribution.measures.histories import Histories
from attribution.measures.intervals import Bools, Floats, Ints
from attribution.measures.naive import naive
from attribution.measures.results import Row
from attribution.measures.rung_rows import FEWEST_DECIDED, FEWEST_WON, rung_row

__all__ = ["rungs_of"]

_Z = NormalDist().inv_cdf(0.975)
_LANDMARKS = (30, 60)
_STEP_DAYS, _STEPS = 30, 12
"""Ages at which the stratified rung compares: so many days apart, so many of them."""
_DEALT = 5
"""Times that touches are dealt at random, to see what the usual figure makes of them."""
_SOON_DAYS = 30
_COMMON = 0.05
"""Labels of a covariate that are rarer are not looked at for balance."""


def rungs_of(histories: Histories, usual: Histories, horizon_days: int, seed: int) -> list[Row]:
    """All rungs of deals that were touched as these histories say: a row per rung and measure.

    ``usual`` are the same deals, touched as dashboards have it.
    """
    random = np.random.default_rng(seed)
    usual_dealt = [usual.touched_at(_dealt(usual, random)) for _ in range(_DEALT)]
    dealt = histories.touched_at(_dealt(histories, np.random.default_rng(seed)))
    return [
        *naive(usual, usual_dealt),
        *_stratified(histories, horizon_days * DAY),
        _time_varying(histories),
        *(row for days in _LANDMARKS for row in _landmark(histories, days, horizon_days * DAY)),
        _placebo(dealt, _before_the_touch(histories)),
    ]


def _dealt(histories: Histories, random: np.random.Generator) -> Ints:
    """Ages of first touches that came to deals at random, as fast as the real ones.

    Drawn from the Kaplan-Meier curve of the age at the first touch, the end of a deal censoring it.
    """
    first = np.minimum(histories.touched, histories.end)
    table = risk_table(first, np.where(histories.touched < histories.end, EVENT, CENSORED))
    touched_by = 1 - kaplan_meier(table).value
    row = np.searchsorted(touched_by, random.random(len(first)))
    return np.append(table.time.astype(np.int64), NEVER)[row]


def _stratified(histories: Histories, horizon: int) -> list[Row]:
    """At several ages: open deals first touched lately, less open deals not touched yet, of equal strata.

    At ages k = 30, 60, ... 360 days: exposed are deals open at k with their first touch in (k - 30, k] (at 30
    those touched by then), others are open at k and not touched by k. Cells are strata x ages, compared by
    :func:`attribution.measures.hazards.overlap_difference`; a deal may be one of the others several times.
    Sources: as there, and Hernan & Robins (2016). Misleads when what no stratum holds draws partners in.
    """
    deal, age = _observed(histories, horizon)
    lately = f"open deals first touched in the last {_STEP_DAYS} days"
    what = f"{lately}, beside open ones of equal age not touched yet"
    return _compared("stratified", histories, deal, age * _STEP_DAYS * DAY, horizon, what)


def _observed(histories: Histories, horizon: int) -> tuple[Ints, Ints]:
    """Deals, and the ages in steps at which they are looked at: open, not touched a step before."""
    step = _STEP_DAYS * DAY
    # of how many of the ages: open then, followed for the horizon, and not touched more than a step before
    n_ages = np.minimum((histories.end - 1) // step, (histories.reach - horizon) // step)
    untouched_for = np.where(histories.touched == NEVER, _STEPS, -(-histories.touched // step))
    n_ages = np.clip(np.minimum(n_ages, np.maximum(untouched_for, 1)), 0, _STEPS)
    deal = np.repeat(np.arange(len(n_ages)), n_ages)
    return deal, np.arange(len(deal)) - np.repeat(np.cumsum(n_ages) - n_ages, n_ages) + 1


def _before_the_touch(histories: Histories) -> str:
    """In words, whether deals had moved through more stages than others before their first touch.

    A negative control: at ages as in the stratified rung, the moves up to a step before that age, when
    neither side was touched, compared as there. No partner can have brought them about; what shows is what
    drew the partners in. Source: M. Lipsitch, E. Tchetgen Tchetgen, T. Cohen, "Negative controls" (2010).
    """
    if not len(histories.moved) or histories.by_stage:
        return ""
    step = _STEP_DAYS * DAY
    by_step = np.zeros((len(histories.end), _STEPS + 1), dtype=np.int64)
    early = histories.moved_at <= _STEPS * step
    at = -(-np.maximum(histories.moved_at[early], 0) // step)
    np.add.at(by_step, (histories.moved[early], at), 1)
    moves = by_step.cumsum(axis=1)
    deal, age = _observed(histories, 0)
    deal, age = deal[age > 1], age[age > 1]
    cell = histories.stratum[deal] * (_STEPS + 1) + age
    exposed = histories.touched[deal] <= age * step
    found = overlap_difference(moves[deal, age - 1].astype(np.float64), exposed, cell, deal)
    value, low, high = _around(found)
    if not isfinite(value) or min(found.n_with, found.n_without) < FEWEST_DECIDED:
        return ""
    said = f"{MOVES} {value:+.2f} moves between stages more than others of their age"
    return f"; {said} ({low:+.2f} to {high:+.2f}){': ' + MOVING if low > 0 else ''}"


def _landmark(histories: Histories, days: int, horizon: int) -> list[Row]:
    """Deals open at an age, touched by then or not, and what came after.

    The hazard ratio is Cox's from that age on, exposure fixed (Anderson et al. 1983); shares and days as in
    the stratified rung. Misleads when what no stratum holds draws partners in; later touches of the others
    pull it towards no difference.
    """
    rung, age = f"landmark_{days}", days * DAY
    what = f"deals open {days} days after their creation, touched by then or not"
    deal = np.flatnonzero((histories.end > age) & (histories.reach >= age + horizon))
    shares = _compared(rung, histories, deal, np.full(len(deal), age), horizon, what)
    fixed = np.where(histories.touched <= age, 0, NEVER)
    found = _ratio(histories, fixed, age)
    n = _n_at_risk(histories.end, fixed, np.full(len(fixed), age))
    return [*shares, _ratio_row(rung, found, n, "all that came after")]


def _compared(rung: str, histories: Histories, deal: Ints, age: Ints, horizon: int, what: str) -> list[Row]:
    """Rows of wins within the horizon, and of the days that these took, of deals observed at ages."""
    exposed = histories.touched[deal] <= age
    end = histories.end[deal]
    won = histories.won[deal] & (end <= age + horizon)
    cell = histories.stratum[deal] * (int(age.max(initial=0)) // DAY + 1) + age // DAY
    if histories.by_stage:
        stage = histories.stage_at(deal, age)
        cell = cell * (int(stage.max(initial=0)) + 2) + stage + 1
    shares = overlap_difference(won.astype(np.float64), exposed, cell, deal)
    days = overlap_difference((end - age)[won] / DAY, exposed[won], cell[won], deal[won])
    weights = overlap_weights(exposed, cell)
    n_won = [len(np.unique(deal[won & (weights > 0) & side])) for side in (exposed, ~exposed)]
    balance = _imbalance(
        {name: codes[deal] for name, codes in histories.covariates.items()}, exposed, weights
    )
    alone = "" if not shares.n_alone else f"; {shares.n_alone} touched have nobody to be compared with"
    note = f"{what}; won within {horizon // DAY} days from there"
    details = f"; effective n {shares.effective_with:.0f} and {shares.effective_without:.0f}{balance}{alone}"
    return [
        rung_row(
            rung,
            "win_rate_difference",
            (shares.n_with, shares.n_without),
            _around(shares),
            note + details,
            min(n_won) >= FEWEST_WON and min(shares.n_with, shares.n_without) >= FEWEST_DECIDED,
        ),
        rung_row(
            rung,
            "days_to_close_difference",
            (days.n_with, days.n_without),
            _around(days),
            "days that those wins took",
            min(days.n_with, days.n_without) >= FEWEST_WON,
        ),
    ]


def _imbalance(covariates: dict[str, Ints], exposed: Bools, weights: Floats) -> str:
    """In words, the covariate outside the strata in which both sides still differ most.

    Of its labels the largest standardised difference of weighted shares, |p1 - p0| over
    sqrt((p1 (1 - p1) + p0 (1 - p0)) / 2).
    """
    worst = (0.0, "")
    for name, codes in covariates.items():
        one, other = (
            np.bincount(codes[side] + 1, weights[side], minlength=int(codes.max(initial=0)) + 2)
            for side in (exposed, ~exposed)
        )
        if not one.any() or not other.any():
            continue
        p1, p0 = one / one.sum(), other / other.sum()
        common = (p1 + p0) / 2 >= _COMMON
        spread = np.sqrt((p1 * (1 - p1) + p0 * (1 - p0)) / 2)
        apart = np.abs(p1 - p0)[common] / np.maximum(spread[common], 1e-12)
        worst = max(worst, (float(apart.max(initial=0)), name))
    return f"; most unbalanced of the rest: {worst[1]}, by {worst[0]:.2f} sd" if worst[1] else ""


def _time_varying(histories: Histories) -> Row:
    """Win hazard after the first touch over that before it, or without any, at equal age and strata.

    :func:`attribution.measures.hazards.hazard_ratio` with the age of the deal as time: cause-specific, so
    that a lost deal leaves the race and an open one is censored at as_of. The note has the person-time, and
    the E-value: how much likelier a hidden trait would have to make both a touch and a win to explain the
    ratio. Sources: Cox (1972), VanderWeele & Ding (2017). Misleads when sellers call partners into hot
    deals.
    """
    found = _ratio(histories, histories.touched)
    what = "wins per day open, after the first touch and before it or without one, at equal age"
    n = _n_at_risk(histories.end, histories.touched, np.zeros_like(histories.end))
    more = "" if not isfinite(found.log) else f"; E-value {_e_value(exp(found.log)):.2f}"
    soon, later = _soon_and_later(histories)
    if isfinite(soon.log) and isfinite(later.log):
        early, late = f"× {exp(soon.log):.2f} in the first {_SOON_DAYS} days", f"× {exp(later.log):.2f} later"
        more += f"; {early} after the touch, {late}"
        if soon.log - later.log > _Z * hypot(soon.error, later.error):
            more += f": {FADES}"
    return _ratio_row("time_varying", found, n, what, more)


def _ratio(histories: Histories, exposed_from: Ints, age: int = 0) -> HazardRatio:
    """The hazard ratio of winning from an age on, of deals exposed from these ages on."""
    if age not in histories.races:
        histories.races[age] = _race(histories, histories.end, np.full_like(histories.end, age))
    race_of_all, deal = histories.races[age]
    return race_of_all.ratio(exposed_from[deal])


def _race(histories: Histories, end: Ints, entry: Ints) -> tuple[Race, Ints]:
    """Who is at risk when of these spans of the deals, all of them once or several times over; and whose.

    By stage, a span is cut where its deal moves on, and compared with deals that are then in the same stage.
    """
    n = len(histories.end)
    span = np.arange(len(end))
    deal = span % max(n, 1)
    stratum = histories.stratum[deal]
    if histories.by_stage:
        n_stages = int(histories.moved_to.max(initial=-1)) + 2
        sizes = np.bincount(histories.moved, minlength=n) + 1
        # a deal begins in no stage that it moved to, and is cut at each of its moves
        place = np.arange(len(histories.moved)) + histories.moved + 1
        start, stage = np.zeros(int(sizes.sum()), dtype=np.int64), np.zeros(int(sizes.sum()), dtype=np.int64)
        start[place], stage[place] = histories.moved_at, histories.moved_to + 1
        first = np.cumsum(sizes) - sizes
        stop = np.append(start[1:], [0])[: len(start)]
        stop[first + sizes - 1] = NEVER
        span = np.repeat(span, sizes[deal])
        piece = np.arange(len(span)) - np.repeat(np.cumsum(sizes[deal]) - sizes[deal], sizes[deal])
        piece += first[deal[span]]
        entry, deal = np.maximum(entry[span], start[piece]), deal[span]
        end = np.minimum(end[span], stop[piece])
        stratum = stratum[span] * n_stages + stage[piece]
    won = histories.won[deal] & (end == histories.end[deal])
    return race(end, won, stratum, entry), span


def _soon_and_later(histories: Histories) -> tuple[HazardRatio, HazardRatio]:
    """The hazard ratio within some days of the first touch, and that later on, against untouched deals.

    A deal touched takes part twice: until its touch, and again for as long as it is looked at afterwards.
    """
    before = np.minimum(histories.end, histories.touched)
    # a sum beyond NEVER would be negative
    since = np.minimum(histories.touched, histories.end)
    turn = np.minimum(histories.end, since + _SOON_DAYS * DAY)

    def ratio(entry: Ints, end: Ints) -> HazardRatio:
        ends, entries = np.concatenate([before, end]), np.concatenate([np.zeros_like(entry), entry])
        race_of_all, span = _race(histories, ends, entries)
        return race_of_all.ratio(np.concatenate([np.full(len(before), NEVER), entry])[span])

    return ratio(since, turn), ratio(turn, histories.end)


def _placebo(dealt: Histories, before: str) -> Row:
    """The hazard ratio of touches that were dealt at random at the pace of the real ones: 1, but for chance.

    It tests the method on these very deals: if age, strata or censoring were treated wrongly, it would show.
    The note also says what deals did before their touch. Misleads when taken as a test of confounding:
    it cannot see what draws partners in.
    """
    found = _ratio(dealt, dealt.touched)
    n = _n_at_risk(dealt.end, dealt.touched, np.zeros_like(dealt.end))
    what = "as time_varying, on touches dealt at random at the pace of the real ones; 1 but for chance"
    return _ratio_row("placebo", found, n, what, before)


def _n_at_risk(end: Ints, exposed_from: Ints, entry: Ints) -> tuple[int, int]:
    """Deals that were at risk after exposure, and before it or without."""
    begin = np.maximum(exposed_from, entry)
    return int((begin < end).sum()), int(((end > entry) & (begin > entry)).sum())


def _e_value(ratio: float) -> float:
    """E-value of a hazard ratio of a common event, by the usual approximation to a risk ratio."""
    ratio = max(ratio, 1 / ratio)
    risk: float = (1 - 0.5 ** sqrt(ratio)) / (1 - 0.5 ** sqrt(1 / ratio))
    return risk + sqrt(risk * (risk - 1))


def _ratio_row(rung: str, found: HazardRatio, n: tuple[int, int], what: str, more: str = "") -> Row:
    wins = (
        f"{what}: {found.n_events_with:,} wins in {found.time_with / DAY:,.0f} days with,"
        f" {found.n_events_without:,} in {found.time_without / DAY:,.0f} without{more}"
    )
    ends = tuple(found.log + side * found.error for side in (0, -_Z, _Z))
    enough = min(found.n_events_with, found.n_events_without) >= FEWEST_WON
    return rung_row(
        rung,
        "win_hazard_ratio",
        n,
        tuple(exp(each) if isfinite(each) else float("nan") for each in ends),
        wins,
        enough,
    )


def _around(contrast: Contrast) -> tuple[float, float, float]:
    return (
        contrast.value,
        contrast.value - _Z * contrast.error,
        contrast.value + _Z * contrast.error,
    )
