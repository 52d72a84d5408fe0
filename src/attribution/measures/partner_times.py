"""How long it takes until partners are signed, active, earning, gone; and what leads and deals become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import isfinite, nan

import numpy as np

from attribution.columns import DAY, KINDS, OPEN, OUTCOMES
from attribution.measures.estimators import CENSORED, EVENT, Curve, kaplan_meier, restricted_mean, risk_table
from attribution.measures.intervals import Ints, wilson
from attribution.measures.partner_scene import NO_FIGURE, UNSIGNED, Scene, acts, figures_of
from attribution.measures.partner_tables import STEPS, leads_of
from attribution.measures.results import Row

__all__ = ["funnel", "handed_over", "times"]


def times(scene: Scene, activation_days: int, idle_days: int) -> Iterator[Row]:
    """Kaplan-Meier: how long it takes until a partner is signed, active, earning, gone."""
    roster, n = scene.roster, len(scene.roster.parties)
    who, acted_at = acts(scene)
    rows = scene.won & (scene.sourced_by >= 0)
    closed_at = scene.deals.snapshot.deals.closed_at[scene.deals.selected[rows]]
    first_win = _firsts(scene.sourced_by[rows], closed_at, n)
    last = np.where(roster.signed_at == OPEN, 0, roster.signed_at)
    np.maximum.at(last, who, acted_at)
    # who never took part has not stopped taking part: nothing tells when that partner left
    idle = np.where(np.bincount(who, minlength=n) > 0, last + idle_days * DAY, OPEN)
    ended = np.where(roster.ended_at != OPEN, roster.ended_at, idle)

    curve = _curve(scene, roster.identified_at, roster.signed_at)
    yield _median(scene, "time_to_recruit", curve, "identified_at", "signed")
    # who ended without is not unseen from then on, but never will: it stays among those waiting, up to as_of
    curve = _curve(scene, roster.signed_at, first_win)
    yield _median(scene, "time_to_first_revenue", curve, "signed_at", "won a deal that they sourced")
    note = f"each partner counts for at most {scene.horizon_days} days"
    if curve is None:
        yield scene.row("time_to_first_revenue_restricted_mean", 0, NO_FIGURE, "days", UNSIGNED)
    else:
        found = restricted_mean(curve, scene.horizon_days * DAY)
        metric = "time_to_first_revenue_restricted_mean"
        yield scene.row(metric, int(found.n[0]), figures_of(found, DAY), "days", note)
    yield _by(scene, "earning_by_horizon", curve, scene.horizon_days, "won a deal that they sourced")
    curve = _curve(scene, roster.signed_at, _firsts(who, acted_at, n))
    yield _by(scene, "activation", curve, activation_days, "took part in a deal")
    curve = _curve(scene, roster.signed_at, ended)
    yield _median(scene, "tenure", curve, "signed_at", f"ended, or stopped taking part for {idle_days} days,")


def _firsts(codes: Ints, instants: Ints, n: int) -> Ints:
    """The earliest instant of each code; ``OPEN`` for none."""
    found = np.full(n, OPEN)
    np.minimum.at(found, codes, instants)
    return found


def _curve(scene: Scene, start: Ints, happened: Ints) -> Curve | None:
    """Survival until it happens, of those whose start is known; censored at as_of."""
    known = start != OPEN
    if not known.any():
        return None
    end = scene.as_of
    # what came before the start is there from the start
    time = np.maximum(np.minimum(happened[known], end) - start[known], 0)
    return kaplan_meier(risk_table(time, np.where(happened[known] <= end, EVENT, CENSORED)))


def _median(scene: Scene, metric: str, curve: Curve | None, wanted: str, what: str) -> Row:
    if curve is None:
        return scene.row(metric, 0, NO_FIGURE, "days", f"not known: supply {wanted} in partners")
    figures = figures_of(curve.median(), DAY)
    n, happened = int(curve.table.n[0]), int(curve.table.n_events.sum())
    note = f"median, {happened} of {n} {what} so far"
    return scene.row(
        metric, n, figures, "days", note + ("" if isfinite(figures[0]) else ": not half of them")
    )


def _by(scene: Scene, metric: str, curve: Curve | None, days: int, what: str) -> Row:
    """Share to whom it has happened by so many days: 1 - S."""
    if curve is None:
        return scene.row(metric, 0, NO_FIGURE, "share", UNSIGNED)
    share = figures_of(curve.at(days * DAY))
    note = f"{what} within {days} days of signing, by Kaplan-Meier"
    return scene.row(metric, int(curve.table.n[0]), (1 - share[0], 1 - share[2], 1 - share[1]), "share", note)


def handed_over(scene: Scene) -> Iterator[Row]:
    """What we give partners: distinct deals with a touchpoint of that kind."""
    deals = scene.deals
    given = deals.attached & (deals.snapshot.touchpoints.kind == KINDS.index("handed_over"))
    rows = np.flatnonzero(given & scene.is_selected[deals.deal_of])
    pairs = np.unique(
        np.stack([deals.snapshot.touchpoints.partner[rows].astype(np.int64), deals.deal_of[rows]]), axis=1
    )
    if not len(rows) and "handed_over" in deals.snapshot.untold:
        for metric in ("handed_over_deals", "handed_over_open_deals"):
            note = "not known: neither opportunities nor leads of the org show PartnerAccountId"
            yield scene.row(metric, 0, NO_FIGURE, "deals", note)
        return
    is_open = deals.snapshot.deals.outcome == OUTCOMES.index("open")
    for metric, mask in (("handed_over_deals", None), ("handed_over_open_deals", is_open)):
        who, deal = pairs if mask is None else pairs[:, mask[pairs[1]]]
        note = "deals handed over to a partner" + ("" if mask is None else ", open still")
        n = len(np.unique(deal))
        yield scene.row(metric, n, (n, nan, nan), "deals", note)
        for code, count in zip(*np.unique(who, return_counts=True), strict=True):
            yield scene.row(metric, int(count), (int(count), nan, nan), "deals", note, int(code))


def funnel(scene: Scene, leads: object, caps: Mapping[str, int]) -> Iterator[Row]:
    """Of the leads that had the time, the share that made each step in its time."""
    at = None if leads is None else leads_of(scene.deals, leads)
    for before, after in pairwise(STEPS):
        metric = f"{before}_to_{after}"
        if at is None:
            yield scene.row(metric, 0, NO_FIGURE, "share", "not known: supply leads")
            continue
        cap = caps[after] * DAY
        could = at[before] <= scene.as_of - cap
        took = at[after][could] - at[before][could]
        made = (at[after][could] != OPEN) & (took >= 0) & (took <= cap)
        found = wilson(np.array([made.sum()]), np.array([could.sum()]))
        note = f"within {caps[after]} days, of leads whose {caps[after]} days had passed"
        yield scene.row(metric, int(could.sum()), figures_of(found), "share", note)
