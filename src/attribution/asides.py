"""Columns of what lies on no path: stranded and dangling evidence, our own acts, what partners cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bools", "CostColumns", "Dangling", "DirectTouches", "Ints", "Stranded"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Stranded:
    """Account-level evidence that reached no deal under any policy: one entry per touch, in path order."""

    id: NDArray[np.bytes_]
    occurred_at: Ints
    partner: NDArray[np.int32]
    kind: NDArray[np.int8]
    account: NDArray[np.int32]
    """Code of the account that it is about, as in ``DealColumns.account``; -1: it is about no deal's."""
    ambiguous: Bools
    """True: several deals were eligible. False, an orphan: none was."""

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, slots=True, eq=False)
class DirectTouches:
    """Meetings and calls of our own people without a partner, on a deal or on its account only.

    One entry per act, ordered by (deal, occurred_at, id); those on an account only come first.
    """

    deal: NDArray[np.int32]
    """Position of the deal; -1: the act is on the account only."""
    account: NDArray[np.int32]
    """Code of the account, as in ``DealColumns.account``; -1 without one."""
    occurred_at: Ints
    recorded_at: Ints
    kind: NDArray[np.int8]
    object: NDArray[np.int8]
    record: NDArray[np.bytes_]

    def __len__(self) -> int:
        return len(self.deal)


@dataclass(frozen=True, slots=True, eq=False)
class Dangling:
    """Evidence that names a record which was merged or deleted: one entry per reference and partner."""

    id: NDArray[np.bytes_]
    """``object:record id`` of the evidence."""
    target: NDArray[np.bytes_]
    """Id of the record that is gone."""
    survivor: NDArray[np.bytes_]
    """Id of the record that it was merged into; empty: it was deleted."""
    occurred_at: Ints
    partner: NDArray[np.int32]
    """-1 where the partner itself is deleted."""
    deal: Ints
    """Position of the deal; -1 without one."""

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, slots=True, eq=False)
class CostColumns:
    """What was spent on partners up to as_of, as mapped objects have it: one entry per record and amount."""

    id: NDArray[np.bytes_]
    """``object:record id``."""
    partner: NDArray[np.int32]
    """-1: of the programme as a whole, or of an account that is no partner."""
    amount: Ints
    """Minor units of the report currency; 0 where it is not known."""
    valued: Bools
    """Whether there is an amount, and a rate for its currency."""
    incurred_at: Ints

    def __len__(self) -> int:
        return len(self.id)
