"""Overlays: the funnel of each slice of deals beside that of a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.columns import DAY, OUTCOMES, Ints
from attribution.deals import Deals
from attribution.errors import UsageError, known
from attribution.measures.figures import INPUTS, Figure, Figures, figures
from attribution.measures.intervals import Bools, Estimate, Floats, difference, ratio, welch
from attribution.measures.overlay import Followed, Overlay
from attribution.measures.results import Row, heading
from attribution.measures.slices import LATER, Slices, slices
from attribution.measures.waterfall import DIRECT, steps

__all__ = ["velocity"]

_COLUMNS = (
    *("metric", "variant", "stage", "n", "value", "low", "high", "unit"),
    *("baseline_n", "baseline", "difference", "difference_low", "difference_high", "note"),
)
_NOTES = (None, "short follow-up", "other horizon", "insufficient baseline", "insufficient")
_MIN_WON, _MIN_DECIDED = 10, 30


def velocity(
    deals: Deals,
    by: str | Iterable[str] = "partner",
    baseline: str | Deals = "direct",
    *,
    partner: str | Iterable[str] | None = None,
    program: str | Iterable[str] | None = None,
    horizon_days: float = 365,
    bootstrap: int = 1_000,
    seed: int = 0,
) -> Overlay:
    """Close rate, deal size, days to close and in stage, and sales velocity of slices, beside a baseline.

    Open deals are censored at ``as_of``, not dropped, and lost deals compete with winning. What each metric
    and variant means, with formulas and sources, is said in ``docs/overlays.md``.

    Parameters
    ----------
    deals
        The selected ones; do not select by outcome or by close date if cohorts are to mean anything.
    by
        One or several of ``"partner"``, ``"parent"``, ``"program"``, ``"tier"`` (of headline claims),
        ``"touched_partner"`` (any counting touchpoint), ``"label"`` (the step of the waterfall, or beside
        partners what their claim is), ``"deal_type"``, ``"owner"``, ``"quarter"`` and segments.
    baseline
        ``"direct"``: deals without any touchpoint; ``"all"``: all of ``deals``; or deals of your own. Where
        ``by`` names partners, programs or labels, its other columns hold for the baseline too: a partner's
        2026Q2 stands beside the baseline's.
    partner, program
        Names or ids: only their slices. The baseline stays that of all of ``deals``.
    horizon_days
        Up to when wins count in ``win_incidence``, and means are taken that censoring leaves open.
    bootstrap, seed
        Samples, and their beginning, behind the intervals of what has no formula (by amount, winsorised,
        sales velocity); 0 leaves these intervals out.

    Returns
    -------
    One long table, with a row per slice, metric, variant and, in stages, stage; days are of 24 hours,
    amounts major units of the report currency, shares fractions. What is not known is None.

    Misleads when slices, or the baseline, are chosen by what happened to deals later (``chosen_later`` of the
    document): a deal must stay open long enough to be touched. Such differences are no effect of a partner;
    compare with :func:`partner_effect`.

    Raises
    ------
    UsageError
        For what deals cannot be sliced by, another baseline, currencies that differ, or a horizon, number
        of samples or seed out of range.

    Examples
    --------
    ::

        overlay = at.velocity(deals, by=("partner", "program"))
        overlay                          # one page: usual figures, those of all deals, and why they differ
        overlay.to_polars()              # every row
        overlay.curves()                 # cumulative incidence of winning
        overlay.plot("days_in_stage").save("stages.png")
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names or not set(names).isdisjoint(_COLUMNS):
        raise UsageError(
            f"deals cannot be sliced by {', '.join(map(repr, names)) or 'nothing'}",
            hint="name a column that the result does not have already",
        )
    if not 0 < horizon_days < 100_000:
        raise UsageError(f"horizon_days is {horizon_days}", hint="a number of days, such as 365")
    if bootstrap < 0 or seed < 0:
        raise UsageError(f"bootstrap is {bootstrap}, seed {seed}", hint="neither may be below 0")
    options = {"horizon_days": float(horizon_days), "n_bootstrap": bootstrap, "seed": seed}
    beside = _baseline(deals, baseline)
    cut = slices(deals, names, partner, program)
    own = figures(deals, cut, **options)  # type: ignore[arg-type] # the options are named
    shared = tuple(name for name in names if name not in LATER)
    shared = () if len(shared) == len(names) else shared
    other_cut = slices(beside, shared)
    other = figures(beside, other_cut, **options)  # type: ignore[arg-type] # the options are named
    match = _matching(cut, other_cut)
    order = _order(cut, own)
    rows = _rows(cut, own, other, match, order)
    head = heading(deals, "all", measure="velocity") | {
        "baseline": baseline if isinstance(baseline, str) else "deals",
        "horizon_days": options["horizon_days"],
        "bootstrap": bootstrap,
        "seed": seed,
    }
    outcome = deals.snapshot.deals.outcome[deals.selected]
    foot: dict[str, Any] = {"n_deals": len(deals)}
    foot |= {f"{name}_deals": int((outcome == code).sum()) for code, name in enumerate(OUTCOMES)}
    waiting = deals.snapshot.as_of - deals.snapshot.deals.created_at[deals.selected[outcome == 0]]
    foot["open_deals_median_days"] = float(np.median(waiting)) / DAY if len(waiting) else None
    foot["baseline_deals"] = len(beside)
    foot["unvalued_deals"] = int((~deals.snapshot.deals.valued[deals.selected]).sum())
    foot["excluded_deals"] = deals.snapshot.excluded_deals
    foot["chosen_later"] = [name for name in names if name in LATER]
    foot["chosen_later"] += [
        name for name, asked in (("partner", partner), ("program", program)) if asked and name not in names
    ]
    foot["chosen_later"] += ["baseline"] if baseline == "direct" else []
    itself = np.zeros(len(other_cut), dtype=np.int64)
    return Overlay(
        head,
        names,
        (*cut.columns, *_COLUMNS),
        rows,
        foot,
        parts=list(_parts(cut, own, other, match, order)),
        slices=[cut.labels[at] for at in order],
        followed=Followed(own.curve, own.times),
        baseline_followed=Followed(other.curve, other.times) if len(other_cut) == 1 else None,
        order=order,
        baseline_rows=[] if shared else _rows(other_cut, other, other, itself, [*range(len(other_cut))]),
    )


def _baseline(deals: Deals, baseline: str | Deals) -> Deals:
    if isinstance(baseline, Deals):
        if baseline.currency != deals.currency:
            raise UsageError(
                f"the baseline is in {baseline.currency}, the deals are in {deals.currency}",
                hint="take both from one store, or convert them first",
            )
        return baseline
    if baseline == "all":
        return deals
    if baseline == "direct":
        is_direct = steps(deals)[deals.selected] == DIRECT
        return Deals(deals.snapshot, deals.policy, deals.selected[is_direct])
    raise UsageError(f"there is no baseline {baseline!r}", hint=f"use {known(('direct', 'all'))}, or Deals")


def _matching(cut: Slices, other: Slices) -> Ints:
    """Per slice, the slice of the baseline that it is compared with; -1 without one."""
    at = {tuple(row.values()): place for place, row in enumerate(other.labels)}
    return np.array(
        [at.get(tuple(row[name] for name in other.columns), -1) for row in cut.labels], dtype=np.int64
    )


def _order(cut: Slices, own: Figures) -> list[int]:
    """Slices of many deals first; by what they are called where these agree."""
    names = [tuple(str(value) for value in row.values()) for row in cut.labels]
    return sorted(range(len(cut)), key=lambda at: (-int(own.n_created[at]), names[at]))


def _rows(cut: Slices, own: Figures, other: Figures, match: Ints, order: list[int]) -> list[Row]:
    """The long table: by slice, then in the order of the figures, then of the stages."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    sides = {(each.metric, each.variant): each for each in other.figures}
    blocks = [
        _block(figure, sides.get((figure.metric, figure.variant)), own, other, match)
        for figure in own.figures
    ]
    sizes = [len(block["slice"]) for block in blocks]
    slice_ = np.concatenate([block.pop("slice") for block in blocks])
    stage = np.concatenate([block.pop("stage_code") for block in blocks])
    which = np.repeat(np.arange(len(blocks)), sizes)
    columns = {name: [value for block in blocks for value in block[name]] for name in _COLUMNS}
    sequence = np.lexsort((which, stage, rank[slice_]))
    # figures of no stage (-1) come first, then stage by stage
    names = list(columns)
    values = list(zip(*columns.values(), strict=True))
    return [
        cut.labels[at] | dict(zip(names, values[row], strict=True))
        for at, row in zip(slice_[sequence].tolist(), sequence.tolist(), strict=True)
    ]


def _block(
    figure: Figure, beside: Figure | None, own: Figures, other: Figures, match: Ints
) -> dict[str, Any]:
    """The rows of one figure, as columns."""
    shown = np.flatnonzero(figure.shown)
    slice_, stage = np.divmod(shown, len(own.stages)) if figure.by_stage else (shown, np.full(len(shown), -1))
    base = match[slice_]
    if figure.by_stage:
        codes = {name: code for code, name in reversed(list(enumerate(other.stages)))}
        own_codes = _stage_codes(own, other, codes)
        base = np.where(
            (base >= 0) & (own_codes[stage] >= 0), base * len(other.stages) + own_codes[stage], -1
        )
    one = _taken(figure.estimate, shown)
    two = _taken(None if beside is None else beside.estimate, base)
    compare = (
        welch if figure.is_mean and one.variance is not None and two.variance is not None else difference
    )
    apart = compare(one, two)
    mixed = (base >= 0) & (_marked(figure, shown) != _marked(beside, np.maximum(base, 0)))
    for each in (apart.value, apart.low, apart.high):
        each[mixed] = np.nan
    basis = "stage" if figure.by_stage else "cohort" if figure.of_cohort else "period"
    won, decided = own.behind[basis]
    few = (won[shown] < _MIN_WON) | (decided[shown] < _MIN_DECIDED)
    base_won, base_decided = (_taken_counts(each, base) for each in other.behind[basis])
    thin = (base >= 0) & ((base_won < _MIN_WON) | (base_decided < _MIN_DECIDED))
    short = np.zeros(len(shown), dtype=bool) if figure.is_short is None else figure.is_short[shown]
    n = len(shown)
    return {
        "slice": slice_,
        "stage_code": stage,
        "metric": [figure.metric] * n,
        "variant": [figure.variant] * n,
        "stage": [None if code < 0 else own.stages[code] for code in stage.tolist()],
        "n": one.n.tolist(),
        "value": _listed(one.value),
        "low": _listed(one.low),
        "high": _listed(one.high),
        "unit": [figure.unit] * n,
        "baseline_n": [
            None if at < 0 else count for at, count in zip(base.tolist(), two.n.tolist(), strict=True)
        ],
        "baseline": _listed(two.value),
        "difference": _listed(apart.value),
        "difference_low": _listed(apart.low),
        "difference_high": _listed(apart.high),
        "note": [
            _NOTES[code] for code in np.select([few, thin, mixed, short], [4, 3, 2, 1], default=0).tolist()
        ],
    }


def _marked(figure: Figure | None, at: Ints) -> Bools:
    """Whether the figure is restricted to the horizon at these places."""
    if figure is None or figure.is_restricted is None or not len(figure.is_restricted):
        return np.zeros(len(at), dtype=bool)
    return figure.is_restricted[at]


def _stage_codes(own: Figures, other: Figures, codes: dict[str, int]) -> Ints:
    """Per stage, the one of the same name in the baseline; that of one snapshot has the same codes."""
    if own.stages == other.stages:
        return np.arange(len(own.stages))
    return np.array([codes.get(name, -1) for name in own.stages], dtype=np.int64)


def _taken_counts(counts: Ints, at: Ints) -> Ints:
    return counts[np.maximum(at, 0)] if len(counts) else np.zeros(len(at), dtype=np.int64)


def _taken(estimate: Estimate | None, at: Ints) -> Estimate:
    """The estimate at these places; nothing where a place is -1."""
    there = at >= 0

    def take(column: NDArray[Any]) -> Floats:
        found = np.full(len(at), np.nan)
        found[there] = column[at[there]]
        return found

    if estimate is None or not len(estimate.n):
        nothing = np.full(len(at), np.nan)
        return Estimate(np.zeros(len(at), dtype=np.int64), nothing, nothing, nothing, nothing)
    n = np.where(there, estimate.n[np.maximum(at, 0)], 0)
    variance = None if estimate.variance is None else take(estimate.variance)
    return Estimate(n, take(estimate.value), take(estimate.low), take(estimate.high), variance)


def _parts(cut: Slices, own: Figures, other: Figures, match: Ints, order: list[int]) -> Iterator[Row]:
    """What sales velocity is made of, and what each part contributes to the difference to the baseline."""
    found = {}
    for variant, inputs in own.inputs.items():
        mine = {name: inputs[name] for name in INPUTS}
        theirs = {name: _at(other.inputs[variant][name], match) for name in INPUTS}
        found[variant] = mine, theirs, *_decomposed(mine, theirs)
    for at in order:
        for variant, (mine, theirs, value, base, shares) in found.items():
            row: Row = cut.labels[at] | {"variant": variant}
            row |= {name: _value(mine[name][at]) for name in INPUTS} | {"value": _value(value[at])}
            row |= {f"baseline_{name}": _value(theirs[name][at]) for name in INPUTS}
            row |= {"baseline": _value(base[at]), "difference": _value(value[at] - base[at])}
            yield row | {f"from_{name}": _value(shares[name][at]) for name in INPUTS}


def _decomposed(
    mine: dict[str, Floats], theirs: dict[str, Floats]
) -> tuple[Floats, Floats, dict[str, Floats]]:
    """Both products, and the shares of their difference: logarithmic mean Divisia index (Ang 2005).

    With L = (v - b) / ln(v / b), a factor x contributes L ln(x / x'); the four add up to the difference.
    """

    def product(parts: dict[str, Floats]) -> Floats:
        product = parts["deals"] * parts["win_rate"] * parts["deal_size"]
        return ratio(product, parts["cycle_days"], empty=np.nan)

    value, base = product(mine), product(theirs)
    positive: Bools = (value > 0) & (base > 0)
    for parts in (mine, theirs):
        for name in INPUTS:
            positive &= parts[name] > 0
    v, b = np.where(positive, value, 1), np.where(positive, base, 1)
    weight = np.where(np.isclose(v, b, rtol=1e-12, atol=0), v, ratio(v - b, np.log(v / b), empty=1.0))
    shares = {}
    for name in INPUTS:
        x, y = (np.where(positive, parts[name], 1) for parts in (mine, theirs))
        sign = -1 if name == "cycle_days" else 1
        shares[name] = np.where(positive, sign * weight * np.log(x / y), np.nan)
    return value, base, shares


def _at(column: Floats, match: Ints) -> Floats:
    if not len(column):
        return np.full(len(match), np.nan)
    return np.where(match >= 0, column[np.maximum(match, 0)], np.nan)


def _value(number: Any) -> float | None:
    return None if np.isnan(number) else float(number)


def _listed(column: Floats) -> list[float | None]:
    return [None if value != value else value for value in column.tolist()]
