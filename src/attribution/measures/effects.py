"""What a partner's touch goes along with: the usual figure, and beside it those that survive a statistician.

Every rung asks the same, whether deals with a partner do better, and each takes away one way in which the
answer comes out wrong although partners change nothing. None of them looks into the future: a deal counts as
touched from its first touch on and not before, and what is compared is what was known at that age.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from attribution.columns import KINDS, OUTCOMES
from attribution.deals import Deals
from attribution.errors import UsageError
from attribution.measures.effect_table import PartnerEffect, conclusion, conclusion_of_many
from attribution.measures.hazards import NEVER
from attribution.measures.histories import OPEN_DEAL, exposures, happened, histories_of, touched
from attribution.measures.results import Row, heading
from attribution.measures.rung_rows import COLUMNS
from attribution.measures.rungs import rungs_of

__all__ = ["partner_effect"]

_HANDED_OVER = KINDS.index("handed_over")


def partner_effect(
    deals: Deals,
    *,
    partner: str | Iterable[str] | None = None,
    program: str | Iterable[str] | None = None,
    by: str | None = None,
    strata: Iterable[str] = ("deal_type",),
    horizon_days: int = 90,
    seed: int = 0,
) -> PartnerEffect:
    """What goes along with a partner on a deal: the usual figure, and honest ones beside it.

    A deal is exposed from its first strong or weak touchpoint of these partners on, for good: from its
    creation if that lies before, at most ``influence_window_days``; from when the touchpoint was recorded if
    it was logged later than it happened; never by one that the CRM rejected or that hands the deal over to
    the partner. What happens after the close exposes nothing.

    ============== ========================================================================================
    rung           what it compares; every one but the first within strata
    ============== ========================================================================================
    `naive`        closed deals with and without any touch that happened before their close, however early and
                   whenever recorded, as dashboards do. Misleads always: long deals gather more touches,
                   sellers choose whom they call into what, and log it when they know how it ended
    `stratified`   at ages of 30, 60, ... 360 days: deals still open and first touched within the last 30
                   days, beside deals still open and not touched yet; won within ``horizon_days`` of that
                   age. Overlap weights. Misleads when what no stratum holds draws partners in
    `time_varying` wins per day at risk, before and after the first touch, at equal age of the deal: Cox's
                   hazard ratio; lost deals leave, open ones are censored at as_of. Misleads likewise, and is
                   an average if the ratio changes with time
    `landmark_30`, deals still open 30 (60) days after their creation, touched by then or not, and what
    `landmark_60`  came after. Misleads likewise; later touches of the others dilute it towards nothing
    `placebo`      as `time_varying`, on touches dealt at random, at the pace of the real ones. Anything
                   found is an error of the method. Where stages are known its note also tells whether deals
                   were moving through them faster than others before their first touch: that no partner can
                   have done, and it shows partners called into hot deals
    ============== ========================================================================================

    ``win_hazard_ratio`` is times as fast; ``win_rate_difference`` is a difference of shares, in `naive` of
    won in won and lost, else of deals won within ``horizon_days``, among those created early enough to tell;
    ``days_to_close_difference`` is of the won ones: in `naive` close date less created date, else days from
    the age compared at. It says little where the win rates differ: other deals then get to be won.

    Sources: S. Suissa, "Immortal time bias in pharmacoepidemiology" (2008); D. R. Cox, "Regression models
    and life-tables" (1972); J. R. Anderson et al., "Analysis of survival by tumor response" (1983), for
    landmarks; M. A. Hernan, J. M. Robins, "Using big data to emulate a target trial" (2016), for comparing
    at several ages; F. Li et al., "Balancing covariates via propensity score weighting" (2018); T. J.
    VanderWeele, P. Ding, "Sensitivity analysis in observational research: introducing the E-value" (2017).

    Misleads, all of it, when sellers call partners into deals that they expect to win and no stratum shows
    it.

    Parameters
    ----------
    deals
        All deals of interest, the open ones too. Chosen by their close (``where(closed=...)``), they would be
        chosen by what came out.
    partner, program
        Names or ids: touchpoints of one of them; default: of any. Deals touched only by others count as not
        touched.
    by
        ``"partner"`` or ``"program"``: all rungs once for each that touched a deal.
    strata
        Compare only deals alike in these: ``"deal_type"``, ``"created_quarter"`` (UTC), segments, and
        ``"stage"``, the stage that a deal is in at the age compared. Stage takes away that sellers call
        partners into deals that have moved on, and with it whatever partners bring about by moving deals on.
        What else can change after the creation, as an amount does, is not to be used.
    horizon_days
        How long the wins are counted of rungs that compare shares.
    seed
        Of the touches dealt at random.

    Returns
    -------
    A row per rung and measure: ``rung, measure, n_with, n_without`` (deals), ``value, low, high`` (interval
    of 95 %; None: nothing can be said), ``note``. ``n_with + n_without`` may exceed the deals: one is
    without before its first touch, and with afterwards. The foot has the ``conclusion`` in words.
    ``.plot()`` draws it.

    Raises
    ------
    UsageError
        For a partner, program or stratum that does not exist, and a horizon of no days.

    Examples
    --------
    >>> from attribution.testing import simulate
    >>> deals = simulate(600, seed=3).load()               # partners change nothing
    >>> effect = partner_effect(deals, strata=["segment", "size", "owner_id"])
    >>> [row["rung"] for row in effect.rows][:3]
    ['naive', 'naive', 'stratified']
    """
    strata = [strata] if isinstance(strata, str) else list(strata)
    if horizon_days < 1:
        raise UsageError(f"a horizon of {horizon_days} days", hint="use at least 1, such as 90")
    if by not in (None, "partner", "program"):
        raise UsageError(f"an effect cannot be told by {by!r}", hint="by is partner or program")
    mask = deals.touchpoints_of(partner, program) & deals.involved
    rows_of_touches = np.flatnonzero(mask & (deals.snapshot.touchpoints.kind != _HANDED_OVER))
    deals_as_went, kept = histories_of(deals, strata)
    rows: list[Row] = []
    for label, touches in exposures(deals, rows_of_touches, by):
        exposed = deals_as_went.touched_at(touched(deals, touches)[kept])
        usual = deals_as_went.touched_at(happened(deals, touches)[kept])
        if by is None or (usual.touched != NEVER).any():
            rows += [label | row for row in rungs_of(exposed, usual, horizon_days, seed)]
    labels = () if by is None else (by, f"{by}_id")
    outcome = deals.snapshot.deals.outcome[deals.selected]
    head = heading(deals, "all", measure="partner_effect") | {
        "partner": _listed(partner),
        "program": _listed(program),
        "strata": strata,
        "horizon_days": horizon_days,
        "seed": seed,
    }
    foot: dict[str, Any] = {
        "n_deals": len(deals),
        **{f"{name}_deals": int((outcome == code).sum()) for code, name in enumerate(OUTCOMES)},
        "implausible_deals": len(deals) - len(kept),
    }
    foot["conclusion"] = conclusion(rows) if by is None else conclusion_of_many(rows, by)
    if not foot["open_deals"] and (deals.snapshot.deals.outcome == OPEN_DEAL).any():
        foot["warning"] = "no open deal is among these: if they were chosen by their close, all rungs mislead"
    return PartnerEffect(head, () if by is None else (by,), (*labels, *COLUMNS), rows, foot)


def _listed(names: str | Iterable[str] | None) -> list[str] | None:
    return None if names is None else [names] if isinstance(names, str) else list(names)
