"""Slices of deals: which deals belong to a partner, a program, a quarter, or to several of these at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.arrays import local_days
from attribution.columns import DEAL_TYPES, NO_DAY, NOBODY, Bools, Ints, Party
from attribution.deals import Deals
from attribution.errors import UsageError, known
from attribution.measures.claims import AUTO_APPROVED, claims
from attribution.measures.evidence import counting
from attribution.measures.results import Row
from attribution.measures.waterfall import INFLUENCED, SOURCED, STEPS, steps

__all__ = ["BY", "LATER", "OF_PARTNERS", "Slices", "slices"]

OF_PARTNERS = ("partner", "parent", "program", "tier", "touched_partner")
"""What a claim or a touchpoint tells; a deal may be in several slices of these, or in none."""
LATER = (*OF_PARTNERS, "label")
"""What is known of a deal only by what happened after its creation."""
BY = (*LATER, "deal_type", "owner", "quarter")
"""What deals can be sliced by, beside their segments."""

Codes = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """Deals by slice: entries ordered by (slice, deal), each deal once per slice.

    A quarter is that of the close date for figures of a closing period, and that of the creation for figures
    of a cohort; without quarters both are the same.
    """

    columns: tuple[str, ...]
    """Columns that name a slice."""
    labels: list[Row]
    """Per slice."""
    closed: tuple[Ints, Ints]
    """Slice and deal of each entry, by closing period."""
    created: tuple[Ints, Ints]
    """The same by cohort."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class _Dimension:
    name: str
    labels: Sequence[Party | str]
    codes: Codes
    """Per cell; -1 for none."""
    is_quarter: bool = False

    def label(self, cell: int) -> Row:
        code = int(self.codes[cell])
        found = self.labels[code] if code >= 0 else None
        if isinstance(found, Party):
            return {self.name: found.name, f"{self.name}_id": found.id}
        if self.name in OF_PARTNERS:
            return {self.name: NOBODY, f"{self.name}_id": None}
        return {self.name: NOBODY if found is None else found}


def slices(
    deals: Deals,
    by: tuple[str, ...],
    partner: str | Iterable[str] | None = None,
    program: str | Iterable[str] | None = None,
) -> Slices:
    """The slices of the selected deals; without ``by`` one, of all of them.

    Raises
    ------
    UsageError
        For what deals cannot be sliced by.
    """
    existing = (*BY, *(name for name, _ in deals.snapshot.segments))
    if len(set(by)) < len(by) or not set(by) <= set(existing):
        raise UsageError(
            f"deals cannot be sliced by {', '.join(map(repr, by))}",
            hint=f"name some of, each once: {known(existing, 20)}",
        )
    cells, label = _cells(deals, by)
    if partner is not None or program is not None:
        wanted = deals.touchpoints_of(partner, program)
        if isinstance(cells, _OfDeals):
            cells = _OfDeals(
                cells.deal[np.isin(cells.deal, deals.where(partner=partner, program=program).selected)]
            )
            label = steps(deals)[cells.deal]
        else:
            keep = wanted[cells.touchpoint]
            cells = _OfTouchpoints(cells.deal[keep], cells.touchpoint[keep], cells.touched[keep])
            label = label[keep]
    sides = [
        [_dimension(deals, name, cells, label, created=created) for name in by] for created in (False, True)
    ]
    numbered = [_numbered(dimensions, len(cells.deal)) for dimensions in sides]
    if not any(dimension.is_quarter for dimension in sides[0]):
        numbered = numbered[:1]
    everything = np.concatenate([keys for keys, _ in numbered])
    present, first, codes = np.unique(everything, return_index=True, return_inverse=True)
    n_cells = len(cells.deal)
    labels = []
    for cell in first.tolist():
        side, at = divmod(cell, n_cells)
        labels.append({k: v for each in sides[side] for k, v in each.label(at).items()})
    entries = []
    for side, (_, kept) in enumerate(numbered):
        own = codes[side * n_cells : (side + 1) * n_cells][kept]
        entries.append(_distinct(own, cells.deal[kept], len(deals.snapshot.deals)))
    # a slice of which every entry was dropped has nothing to show
    used = np.zeros(len(present), dtype=bool)
    for slice_, _ in entries:
        used[slice_] = True
    renumbered = np.cumsum(used) - 1
    entries = [(renumbered[slice_], deal) for slice_, deal in entries]
    columns = tuple(k for name in by for k in ((name, f"{name}_id") if name in OF_PARTNERS else (name,)))
    kept_labels = [row for row, is_used in zip(labels, used.tolist(), strict=True) if is_used]
    return Slices(columns, kept_labels, entries[0], entries[-1])


@dataclass(frozen=True, slots=True, eq=False)
class _OfDeals:
    deal: Ints


@dataclass(frozen=True, slots=True, eq=False)
class _OfTouchpoints:
    deal: Ints
    touchpoint: Ints
    """That stands for the claim; without claims, for whoever took part."""
    touched: Ints
    """That stands for whoever took part."""


def _cells(deals: Deals, by: tuple[str, ...]) -> tuple[_OfDeals | _OfTouchpoints, Codes]:
    """What is sliced: selected deals, or the touchpoints that stand for claims on them; and their labels."""
    if not set(by) & set(OF_PARTNERS):
        return _OfDeals(deals.selected), steps(deals)[deals.selected]
    is_selected = np.zeros(len(deals.snapshot.deals), dtype=bool)
    is_selected[deals.selected] = True
    took_part = _took_part(deals, is_selected) if "touched_partner" in by else None
    if took_part is not None and not {"partner", "parent"} & {*by}:
        deal = deals.deal_of[took_part].astype(np.int64)
        return _OfTouchpoints(deal, took_part, took_part), steps(deals)[deal]
    found = claims(deals)
    source = found.sourcing.source[found.sourcing.source >= 0]
    influence = found.influence.touchpoint[found.influence.numbers["state"] >= AUTO_APPROVED]
    touchpoint = np.concatenate([source, influence])
    label = np.repeat([SOURCED, INFLUENCED], [len(source), len(influence)])
    keep = is_selected[deals.deal_of[touchpoint]]
    touchpoint, label = touchpoint[keep], label[keep]
    deal = deals.deal_of[touchpoint].astype(np.int64)
    if took_part is None:
        return _OfTouchpoints(deal, touchpoint, touchpoint), label
    # a cell for whoever holds a claim on a deal, with whoever took part in it
    partner = deals.snapshot.touchpoints.partner[took_part].astype(np.int64)
    key = deals.deal_of[took_part].astype(np.int64) * len(deals.snapshot.partners) + partner
    each = took_part[np.unique(key, return_index=True)[1]]
    first, last = (np.searchsorted(deals.deal_of[each], deal, side) for side in ("left", "right"))
    claim = np.repeat(np.arange(len(deal)), last - first)
    ends = np.cumsum(last - first)
    place = np.arange(len(claim)) + np.repeat(last - ends, last - first)
    return _OfTouchpoints(deal[claim], touchpoint[claim], each[place]), label[claim]


def _took_part(deals: Deals, is_selected: Bools) -> Ints:
    """Counting touchpoints of the selected deals, in path order."""
    found: Ints = np.flatnonzero(counting(deals))
    return found[is_selected[deals.deal_of[found]]]


def _dimension(
    deals: Deals, name: str, cells: _OfDeals | _OfTouchpoints, label: Codes, *, created: bool
) -> _Dimension:
    snapshot = deals.snapshot
    columns, touchpoints = snapshot.deals, snapshot.touchpoints
    if isinstance(cells, _OfTouchpoints) and name in OF_PARTNERS:
        who = touchpoints.partner[cells.touchpoint]
        match name:
            case "parent":
                parents, parent_of = deals.parents
                return _Dimension(name, parents, parent_of[who])
            case "program":
                return _Dimension(name, snapshot.programs, touchpoints.program[cells.touchpoint])
            case "tier":
                return _Dimension(name, snapshot.tiers, touchpoints.tier[cells.touchpoint])
            case "touched_partner":
                return _Dimension(name, snapshot.partners, touchpoints.partner[cells.touched])
        return _Dimension(name, snapshot.partners, who)
    named = [segment for segment, _ in snapshot.segments]
    if name in named:
        # what an org calls so itself comes before our own word
        at = named.index(name)
        return _Dimension(name, snapshot.segments[at][1], columns.segments[at][cells.deal])
    match name:
        case "label":
            return _Dimension(name, STEPS, label)
        case "deal_type":
            return _Dimension(name, DEAL_TYPES, columns.deal_type[cells.deal])
        case "owner":
            return _Dimension(name, snapshot.owners, columns.owner[cells.deal])
    days = (
        local_days(columns.created_at[cells.deal], snapshot.zone)
        if created
        else columns.closed_on[cells.deal].astype(np.int64)
    )
    return _quarters(days)


def _quarters(days: Ints) -> _Dimension:
    """Calendar quarters of days since the epoch; -1 where there is no day."""
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    there = days != NO_DAY
    first = months[there].min(initial=0) // 3
    codes = np.where(there, months // 3 - first, -1)
    quarters = range(int(first), int(first + codes.max(initial=-1)) + 1)
    return _Dimension("quarter", [f"{1970 + each // 4}Q{each % 4 + 1}" for each in quarters], codes, True)


def _numbered(dimensions: list[_Dimension], n_cells: int) -> tuple[Ints, Bools]:
    """A number per cell, the same for the same labels; and which cells have a quarter, if asked for."""
    codes, kept = np.zeros(n_cells, dtype=np.int64), np.ones(n_cells, dtype=bool)
    n = 1
    for dimension in dimensions:
        if dimension.is_quarter:
            # numbered by quarter itself, so that both sides agree
            kept = dimension.codes >= 0
            labels = [int(str(each)[:4]) * 4 + int(str(each)[-1]) - 1 for each in dimension.labels]
            own, size = np.append(labels, 0)[dimension.codes] + 1, 1 << 16
        else:
            own, size = dimension.codes.astype(np.int64) + 1, len(dimension.labels) + 1
        n *= size
        if n >= 1 << 62:
            raise UsageError("there are too many combinations of slices", hint="slice by fewer columns")
        codes = codes * size + own
    return codes, kept


def _distinct(slice_: Ints, deal: Ints, n_deals: int) -> tuple[Ints, Ints]:
    """Each deal once per slice, ordered."""
    keys = slice_ * max(1, n_deals) + deal
    keys.sort()
    keys = keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys
    found, of = np.divmod(keys, max(1, n_deals))
    return found, of
