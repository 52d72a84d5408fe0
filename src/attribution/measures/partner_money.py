"""What partners cost, and what they bring."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, nan

import numpy as np

from attribution import money
from attribution.columns import DAY, OPEN
from attribution.measures.credit import attribute
from attribution.measures.intervals import Floats, bootstrap, mean
from attribution.measures.partner_scene import NO_FIGURE, Scene, acts, figures_of, left_out
from attribution.measures.partner_tables import Books, scores_of
from attribution.measures.results import Row
from attribution.models import Linear

__all__ = ["concentration", "costs", "lifetime_value", "needed", "return_on_investment", "satisfaction"]

_YEAR = 365 * DAY
_YEARS = 3
"""Years after the first win over which the value of a customer is added up."""
_TOP = (1, 5)
_NO_COSTS = "not known: supply costs, or map the objects that hold them"


def needed(scene: Scene, target: float) -> Iterator[Row]:
    """What a recruit brings within the horizon, on average, and how many make up the target."""
    roster, columns = scene.roster, scene.deals.snapshot.deals
    horizon = scene.horizon_days * DAY
    followed = (roster.signed_at != OPEN) & (roster.signed_at <= scene.as_of - horizon)
    rows = scene.won & (scene.sourced_by >= 0)
    who, position = scene.sourced_by[rows], scene.deals.selected[rows]
    # a win before the signing is the partner's, but not what signing it brought
    since = columns.closed_at[position] - np.where(followed[who], roster.signed_at[who], 0)
    counted = followed[who] & (since >= 0) & (since <= horizon)
    valued = columns.valued[position]
    n_unvalued = int((counted & ~valued).sum())
    counted &= valued
    brought = (
        np.bincount(who[counted], columns.amount[position[counted]], len(roster.parties))[followed]
        / scene.unit
    )
    n = len(brought)
    is_unknown = not columns.valued[scene.deals.selected].any() or (n_unvalued > 0 and not counted.any())
    each = float(brought.mean()) if n else nan
    low, high = bootstrap(brought, lambda samples: samples.mean(axis=1), seed=scene.seed)
    what = (
        f"sourced and won within {scene.horizon_days} days of signing, of all partners signed that long ago"
    )
    note = what if n else "not known: supply signed_at in partners, or wait"
    if n and is_unknown:
        note, each, low, high = f"not known: supply amounts of won deals; {what}", nan, nan, nan
    note += left_out(n_unvalued, "an amount")
    yield scene.row("revenue_per_recruit", n, (each, low, high), scene.deals.currency, note)
    needed = (_quotient(target, each), _quotient(target, high), _quotient(target, low))
    yield scene.row(
        "partners_needed",
        n,
        needed,
        "partners",
        f"for {target:,.0f} {scene.deals.currency}: {note}",
    )


def _quotient(over: float, under: float) -> float:
    return over / under if under > 0 else inf


def costs(scene: Scene) -> Iterator[Row]:
    """What was spent up to as_of, of all, of each partner, and per partner signed and active."""
    currency, roster, books = scene.deals.currency, scene.roster, scene.books
    active = np.unique(acts(scene)[0])
    lacking = _without_amount(books)
    # no costs is no knowledge of costs, not the knowledge that there were none
    if not len(books.amount):
        for metric in ("cost", "cost_per_recruited", "cost_per_activated"):
            yield scene.row(metric, 0, NO_FIGURE, currency, f"{_NO_COSTS}{lacking}")
        return
    total = money.total(books.amount) / scene.unit
    origin = f", those of {', '.join(books.mapped)} among them" if books.mapped else ""
    note = f"all costs up to as_of{origin}{lacking}"
    yield scene.row("cost", len(books.amount), (total, nan, nan), currency, note)
    for code in np.unique(np.concatenate([books.partner, books.unvalued])).tolist():
        mine = books.of(code)
        if code >= 0:
            amount = money.total(mine.amount) / scene.unit if len(mine.amount) else nan
            note = f"its own costs up to as_of{_without_amount(mine)}"
            yield scene.row("cost", len(mine.amount), (amount, nan, nan), currency, note, code)
    n_signed = int((roster.signed_at != OPEN).sum())
    for metric, n, who in (
        ("cost_per_recruited", n_signed, "partners signed"),
        ("cost_per_activated", len(active), "partners with a touchpoint"),
    ):
        each = total / n if n else nan
        yield scene.row(metric, n, (each, nan, nan), currency, f"all costs / {n:,} {who}{lacking}")


def _without_amount(books: Books) -> str:
    return left_out(len(books.unvalued), "an amount in this currency", "costs")


def return_on_investment(scene: Scene) -> Iterator[Row]:
    """(margin - cost) / cost, between what partners sourced and what they also have credit for."""
    metric = "return_on_investment"
    missing = ["costs"] if not len(scene.books.amount) else []
    missing += ["margins"] if scene.margins is None else []
    if scene.margins is None or missing:
        yield scene.row(metric, 0, NO_FIGURE, "ratio", f"not known: supply {' and '.join(missing)}")
        return
    deals, n = scene.deals, len(scene.roster.parties)
    known = scene.won & np.isfinite(scene.margins[deals.selected])
    rows = known & (scene.sourced_by >= 0)
    low = np.bincount(scene.sourced_by[rows], scene.margins[deals.selected[rows]], n)
    credit = attribute(deals, Linear(), eligible="qualified").cells
    partner, deal = (
        deals.snapshot.touchpoints.partner[credit.touchpoint].astype(np.int64),
        deals.deal_of[credit.touchpoint],
    )
    source = np.full(len(deals.snapshot.deals), -1)
    source[deals.selected] = scene.sourced_by
    margin = np.nan_to_num(scene.margins[deal]) * credit.numbers["share"]
    others = partner != source[deal]
    high = low + np.bincount(partner[others], margin[others], n)
    # of all partners together, a deal that one of them sourced is theirs already
    both = (float(low.sum()), float(low.sum() + margin[source[deal] < 0].sum()))
    what = "bounds: low counts deals that partners sourced, high also linear credit for influence on others"
    mine = scene.won & (scene.sourced_by >= 0)
    theirs = np.stack([scene.sourced_by[mine], deals.selected[mine]])
    pairs = np.unique(np.hstack([theirs, np.stack([partner, deal])]), axis=1)
    has = np.isfinite(scene.margins)[pairs[1]]
    is_none_known = scene.won.any() and not known.any()
    absent = "not known: supply margins of the deals that were won; "

    def row(bounds: tuple[float, float], books: Books, code: int | None) -> Row:
        cost = float(money.total(books.amount))
        own = pairs[0] == code if code is not None else np.ones(len(has), dtype=bool)
        n_known, n_lacking = (len(np.unique(pairs[1, own & each])) for each in (has, ~has))
        note = what + ("" if code is None else "; its own costs only") + left_out(n_lacking, "a margin")
        note += _without_amount(books)
        if is_none_known or (n_lacking and not n_known):
            return scene.row(metric, n_known, NO_FIGURE, "ratio", absent + note, code)
        return scene.row(metric, n_known, (nan, *_returns(bounds, cost)), "ratio", note, code)

    yield row(both, scene.books, None)
    for code in np.unique(scene.books.partner[scene.books.partner >= 0]).tolist():
        own_books = scene.books.of(code)
        if money.total(own_books.amount) > 0:
            yield row((float(low[code]), float(high[code])), own_books, code)


def _returns(margins: tuple[float, float], cost: float) -> tuple[float, float]:
    low, high = ((margin - cost) / cost if cost > 0 else nan for margin in margins)
    return low, high


def lifetime_value(scene: Scene, discount: float) -> Iterator[Row]:
    """Margin of a customer over its first years, by the partner that sourced its first win."""
    metric, currency = "customer_lifetime_value", scene.deals.currency
    if scene.margins is None:
        yield scene.row(metric, 0, NO_FIGURE, currency, "not known: supply margins")
        return
    deals, columns = scene.deals, scene.deals.snapshot.deals
    known = scene.won & (columns.account[deals.selected] >= 0) & np.isfinite(scene.margins[deals.selected])
    n_lacking = int((scene.won & ~np.isfinite(scene.margins[deals.selected])).sum())
    position, who = deals.selected[known], scene.sourced_by[known]
    order = np.lexsort((position, columns.closed_at[position], columns.account[position]))
    position, who = position[order], who[order]
    account, closed = columns.account[position], columns.closed_at[position]
    first = np.flatnonzero(np.diff(account, prepend=-1) != 0)
    customer = np.cumsum(np.diff(account, prepend=-1) != 0) - 1
    begun, acquired_by = closed[first], who[first]
    year = (closed - begun[customer]) // _YEAR if len(first) else closed
    followed = (scene.as_of - begun)[:, None] >= (np.arange(_YEARS) + 1) * _YEAR
    value = np.zeros((len(first), _YEARS))
    early = year < _YEARS
    np.add.at(value, (customer[early], year[early]), scene.margins[position[early]] / scene.unit)
    value[~followed] = np.nan
    factor = (1 + discount) ** -np.arange(_YEARS)

    def worth(samples: Floats) -> Floats:
        there = np.isfinite(samples)
        n = there.sum(axis=-2)
        yearly = np.where(there, samples, 0).sum(axis=-2) / np.maximum(n, 1)
        found: Floats = np.where(n[..., 0] > 0, (yearly * factor).sum(axis=-1), np.nan)
        return found

    for code in [None, *np.unique(acquired_by[acquired_by >= 0]).tolist()]:
        mine = value[acquired_by >= 0] if code is None else value[acquired_by == code]
        n_years = int(np.isfinite(mine).any(axis=0).sum())
        n_followed = int(np.isfinite(mine[:, 0]).sum())
        note = f"{n_years} of {_YEARS} years; {n_followed} customers followed for the first"
        if code is None:
            note += left_out(n_lacking, "a margin")
        low, high = bootstrap(mine, worth, seed=scene.seed) if n_followed > 1 else (nan, nan)
        figures = (float(worth(mine[None])[0]) if len(mine) else nan, low, high)
        yield scene.row(metric, len(mine), figures, currency, note, code)


def concentration(scene: Scene) -> Iterator[Row]:
    """How much of the sourced revenue few partners bring."""
    known = scene.roster.signed_at != OPEN
    revenue = np.sort(scene.revenue[known | (scene.revenue > 0)])[::-1]
    total, n = float(revenue.sum()), len(revenue)
    unvalued = left_out(int((scene.won & (scene.sourced_by >= 0) & ~scene.earned).sum()), "an amount")
    for k in _TOP:
        share = float(revenue[:k].sum()) / total if total > 0 else nan
        yield scene.row(
            f"top_{k}_share",
            n,
            (share, nan, nan),
            "share",
            f"of sourced revenue, by the {k} largest of {n:,}{unvalued}",
        )
    rank = np.arange(n, 0, -1)
    gini = 2 * float(rank @ revenue) / (n * total) - (n + 1) / n if total > 0 else nan
    note = f"of sourced revenue, over all partners signed or earning: 0 equal, 1 all by one{unvalued}"
    yield scene.row("gini", n, (gini, nan, nan), "ratio", note)


def satisfaction(scene: Scene, table: object) -> Iterator[Row]:
    """Mean score of all, and of each partner, with Student's interval."""
    if table is None:
        yield scene.row("satisfaction", 0, NO_FIGURE, "score", "not known: supply satisfaction")
        return
    who, score = scores_of(scene.roster, table)
    groups = [(None, np.ones(len(who), dtype=bool))]
    groups += [(code, who == code) for code in np.unique(who[who >= 0]).tolist()]
    for code, rows in groups:
        mine = score[rows]
        found = mean(mine, np.zeros(len(mine), dtype=np.int64), 1)
        yield scene.row("satisfaction", len(mine), figures_of(found), "score", "mean", code)
