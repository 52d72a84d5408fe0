"""Sections 1.11, 7 and 8: credit split to the minor unit, and the rows and headers of every measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from attribution.testing.truth.facts import DealTruth, TouchpointTruth, Truth

__all__ = ["credit", "split", "table", "totals"]

Of = Literal["won", "open", "lost", "all"]
Measure = Literal["sourced", "influenced", "linear", "first_touch", "last_touch"]
Closed = tuple[date, date] | None

_NONE = "(none)"
_HEADLINE = ("approved", "auto_approved")


# --- 1.11 and 8. credit ------------------------------------------------------------------------------------


def split(amount_minor: int, shares: Sequence[Fraction]) -> list[int]:
    """Split minor units by largest remainder (rule 1.11), equal remainders to the earlier share.

    Examples
    --------
    >>> split(-10001, [Fraction(1, 3)] * 3)
    [-3334, -3334, -3333]
    """
    exact = [abs(amount_minor) * share for share in shares]
    units = [int(part) for part in exact]
    left = (abs(amount_minor) if any(shares) else 0) - sum(units)
    by_remainder = sorted(range(len(shares)), key=lambda i: (units[i] - exact[i], i))
    for i in by_remainder[:left]:
        units[i] += 1
    return [-unit if amount_minor < 0 else unit for unit in units]


def _shares(players: Sequence[TouchpointTruth], model: str) -> list[Fraction]:
    n = len(players)
    if model == "linear":
        return [Fraction(1, n)] * n
    if model not in ("first_touch", "last_touch"):
        raise ValueError(f"there is no model {model!r} here")
    chosen = 0 if model == "first_touch" else n - 1
    return [Fraction(int(i == chosen)) for i in range(n)]


def _selected(truth: Truth, of: Of, closed: Closed = None) -> list[DealTruth]:
    return [
        deal
        for deal in truth.deals.values()
        if of in ("all", deal.outcome)
        and (closed is None or (deal.closed_on is not None and closed[0] <= deal.closed_on <= closed[1]))
    ]


def credit(truth: Truth, model: str, of: Of = "won") -> dict[str, tuple[tuple[str, int], ...]]:
    """Return (touchpoint id, minor units) of every player of each valued deal, in path order.

    A deal without a player has an empty tuple: it is unattributed. Unvalued deals are absent.
    """
    found = {}
    for deal in _selected(truth, of):
        if deal.amount_minor is not None:
            players = [point for point in deal.touchpoints if point.counting]
            units = split(deal.amount_minor, _shares(players, model)) if players else []
            found[deal.id] = tuple((point.id, unit) for point, unit in zip(players, units, strict=True))
    return found


# --- 7. tables ---------------------------------------------------------------------------------------------

_Key = tuple[str | None, ...]
_NAMED = ("partner", "parent", "program", "tier")
"""Columns that come with an id beside the name."""


@dataclass(slots=True)
class _Line:
    amount: int = 0
    approved: int = 0
    claimed: int = 0
    n_deals: int = 0
    deals: Fraction = Fraction(0)


def _money(minor: int, digits: int) -> str:
    return str(Decimal(minor).scaleb(-digits).quantize(Decimal(1).scaleb(-digits)))


def _key(
    truth: Truth, deal: DealTruth, by: Sequence[str], partner: str, program: str | None, tier: str | None
) -> _Key:
    """Values of the columns of a table for one partner's evidence on one deal."""
    known: dict[str, str | None] = {
        **dict(deal.segments),
        "partner": partner,
        "parent": truth.parents[partner],
        "program": program,
        "tier": tier,
        "deal_type": deal.deal_type,
    }
    unknown = [name for name in by if name not in known]
    if unknown:
        raise ValueError(f"there is no column {unknown[0]!r} here")
    return tuple(known[name] for name in by)


def _lines(truth: Truth, measure: str, by: Sequence[str], deals: Sequence[DealTruth]) -> dict[_Key, _Line]:
    lines: dict[_Key, _Line] = {}
    for deal in deals:
        amount = deal.amount_minor or 0
        if measure == "sourced":
            if deal.sourced_partner_id is not None:
                key = _key(truth, deal, by, deal.sourced_partner_id, deal.sourced_program, deal.sourced_tier)
                line = lines.setdefault(key, _Line())
                line.amount += amount
                line.n_deals += 1
        elif measure == "influenced":
            _add_influenced(lines, truth, deal, by)
        else:
            players = [point for point in deal.touchpoints if point.counting]
            shares = _shares(players, measure) if players else []
            for point, share, unit in zip(players, shares, split(amount, shares), strict=True):
                if share:
                    key = _key(truth, deal, by, point.partner_id, point.program_id, point.tier_id)
                    line = lines.setdefault(key, _Line())
                    line.amount += unit
                    line.deals += share
    return lines


def _add_influenced(lines: dict[_Key, _Line], truth: Truth, deal: DealTruth, by: Sequence[str]) -> None:
    """Rule 7.1: a deal once per row, in the best state of the claims behind it."""
    amount = deal.amount_minor or 0
    states: dict[_Key, set[str]] = {}
    for partner, state, _ in deal.influenced:
        for point in deal.touchpoints:
            if point.counting and point.partner_id == partner:
                key = _key(truth, deal, by, partner, point.program_id, point.tier_id)
                states.setdefault(key, set()).add(state)
    for key, found in states.items():
        line = lines.setdefault(key, _Line())
        if found.isdisjoint(_HEADLINE):
            line.claimed += amount
            continue
        line.amount += amount
        line.n_deals += 1
        if "approved" in found:
            line.approved += amount


def table(
    truth: Truth,
    measure: Measure = "sourced",
    by: Sequence[str] = ("partner",),
    of: Of = "won",
    closed: Closed = None,
) -> list[dict[str, object]]:
    """Return the rows of a measure's JSON document, by amount descending, then by what the rows are of.

    `by` are any of partner, parent, program, tier, deal_type and the segments, several at once.
    """
    deals = _selected(truth, of, closed)
    selected = sum(deal.amount_minor or 0 for deal in deals)
    lines = _lines(truth, measure, by, deals)
    names = {
        "partner": truth.partner_names,
        "parent": truth.parent_names,
        "program": truth.program_names,
        "tier": truth.tier_names,
    }
    rows = []
    for key, line in sorted(lines.items(), key=lambda item: (-item[1].amount, [p or _NONE for p in item[0]])):
        row: dict[str, object] = {}
        for name, value in zip(by, key, strict=True):
            row[name] = _NONE if value is None else names.get(name, {}).get(value, value)
            if name in _NAMED:
                row[f"{name}_id"] = value
        row["amount"] = _money(line.amount, truth.digits)
        if measure == "influenced":
            row["approved_amount"] = _money(line.approved, truth.digits)
            row["auto_approved_amount"] = _money(line.amount - line.approved, truth.digits)
            row["claimed_amount"] = _money(line.claimed, truth.digits)
        if measure in ("sourced", "influenced"):
            row["n_deals"] = line.n_deals
        else:
            row["deals"] = float(line.deals)
        row["share"] = float(Fraction(line.amount, selected)) if selected else None
        rows.append(row)
    return rows


def totals(
    truth: Truth, measure: Measure = "sourced", of: Of = "won", closed: Closed = None
) -> dict[str, object]:
    """Return the header of a measure's JSON document.

    `n_deals` is the number of deals behind `total` for sourced and influenced, and of all selected deals for
    credit; `selected_deals` is the latter for every measure.
    """
    deals = _selected(truth, of, closed)
    selected = sum(deal.amount_minor or 0 for deal in deals)
    if measure == "sourced":
        behind = [deal for deal in deals if deal.sourced_partner_id is not None]
    elif measure == "influenced":
        behind = [deal for deal in deals if any(state in _HEADLINE for _, state, _ in deal.influenced)]
    else:
        behind = [deal for deal in deals if any(point.counting for point in deal.touchpoints)]
    total = sum(deal.amount_minor or 0 for deal in behind)
    unverified = [deal for deal in deals if deal.unverified]
    return {
        "total": _money(total, truth.digits),
        "selected": _money(selected, truth.digits),
        "unattributed": _money(selected - total, truth.digits),
        "n_deals": len(behind) if measure in ("sourced", "influenced") else len(deals),
        "selected_deals": len(deals),
        "contested_deals": sum(deal.contested for deal in deals),
        "future_dated_deals": sum(deal.future_dated for deal in deals),
        "unverified": {
            "n_deals": len(unverified),
            "amount": _money(sum(deal.amount_minor or 0 for deal in unverified), truth.digits),
        },
        "unvalued_deals": sum(deal.amount_minor is None for deal in deals),
        "excluded_deals": truth.excluded_deals,
    }
