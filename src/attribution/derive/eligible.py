"""Which deal of an account a touch can reach: the search behind the account rule (RULES 4.2)."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["ALWAYS", "Eligible"]

Ints = NDArray[np.int64]

ALWAYS = 2**63 - 1
"""A window that is never reached."""


class Eligible:
    """Deals by group, an account or a contact with roles, so laid out that each touch finds its own.

    A deal needs no window from its creation to its end, before its creation as much as lies between. All is
    found by binary search: an account with thousands of touches and deals costs no more than others.

    Parameters
    ----------
    group, deal, created_at, ends_at
        One entry per deal of a group. ``ends_at`` is the close, or as_of for an open deal.
    """

    def __init__(self, group: Ints, deal: Ints, created_at: Ints, ends_at: Ints) -> None:
        # a deal that ended before it was created can be reached only from before its end
        odd = np.isin(group, group[ends_at < created_at])
        self._odd = pl.DataFrame(
            {"group": group[odd], "deal": deal[odd], "created_at": created_at[odd], "ends_at": ends_at[odd]}
        )
        group, deal, created_at, ends_at = (column[~odd] for column in (group, deal, created_at, ends_at))
        self._moments, places = np.unique(np.concatenate([created_at, ends_at]), return_inverse=True)
        starts, ends = group * (len(self._moments) + 1) + places.reshape(2, -1)
        by_start, by_end = np.argsort(starts), np.argsort(ends)
        self._starts, self._ends = starts[by_start], ends[by_end]
        n_groups = int(group.max(initial=-1)) + 1
        self._bounds = np.searchsorted(self._starts, np.arange(n_groups + 1) * (len(self._moments) + 1))
        self._created_at, self._deal = created_at[by_start], deal[by_start]
        self._begun_deals = np.append(0, np.cumsum(self._deal))
        self._ended_deals = np.append(0, np.cumsum(deal[by_end]))

    def nearest(self, group: Ints, at: Ints) -> tuple[Ints, Ints, Ints]:
        """Find for each touch the deal of its group that needs the shortest window.

        Returns
        -------
        deal, reach_from, reach_below
            The deal (-1 if none), the window it needs, and the one that the next deal needs.
        """
        found = self._nearest(group, at) if len(self._deal) else np.full((3, len(group)), -1, dtype=np.int64)
        odd = np.isin(group, self._odd["group"].to_numpy())
        if odd.any():
            found[:, odd] = self._nearest_of_pairs(group[odd], at[odd])
        return found[0], found[1], found[2]

    def _keys(self, group: Ints, moment: Ints) -> tuple[Ints, Ints]:
        """Numbers that sort by group, then moment, and those of the next moment that is one of a deal's."""
        place = np.searchsorted(self._moments, moment)
        present = self._moments[np.minimum(place, len(self._moments) - 1)] == moment
        key = group * (len(self._moments) + 1) + place
        return key, key + present

    def _nearest(self, group: Ints, at: Ints) -> Ints:
        within = np.minimum(group, len(self._bounds) - 2)
        first, last = self._bounds[within], self._bounds[within + 1]
        key, after = self._keys(group, at)
        begun, ended = np.searchsorted(self._starts, after), np.searchsorted(self._ends, key)
        n_here = begun - ended
        # where all deals but one that have begun have ended, the difference of their sums is that one
        here = self._begun_deals[begun] - self._begun_deals[first]
        here -= self._ended_deals[ended] - self._ended_deals[first]

        def lead(place: Ints) -> Ints:
            """How long the touch lies before the creation of the deal at a place in that order."""
            there = np.minimum(place, len(self._deal) - 1)
            return np.where(place < last, self._created_at[there] - at, ALWAYS)

        following, next_but_one = lead(begun), lead(begun + 1)
        coming = np.where(begun < last, self._deal[np.minimum(begun, len(self._deal) - 1)], -1)
        several = self._deal[np.minimum(first, len(self._deal) - 1)]
        return np.stack(
            [
                np.select([n_here == 0, n_here == 1], [coming, here], several),
                np.where(n_here == 0, following, 0),
                np.select([n_here == 0, n_here == 1], [next_but_one, following], 0),
            ]
        )

    def _nearest_of_pairs(self, group: Ints, at: Ints) -> Ints:
        """The same by looking at every pair of touch and deal, in groups with deals that end too early."""
        pairs = (
            pl.LazyFrame({"group": group, "at": at})
            .with_row_index("touch")
            .join(self._odd.lazy(), on="group", how="inner")
            .filter(pl.col("at") <= pl.col("ends_at"))
            .select("touch", "deal", lead=(pl.col("created_at") - pl.col("at")).clip(0))
            .sort("touch", "lead", "deal")
            .group_by("touch", maintain_order=True)
            .agg(
                pl.col("deal").first(),
                reach_from=pl.col("lead").first(),
                reach_below=pl.col("lead").get(1, null_on_oob=True).fill_null(ALWAYS),
            )
            .collect()
        )
        found = np.full((3, len(group)), -1, dtype=np.int64)
        found[:, pairs["touch"].to_numpy()] = pairs.select("deal", "reach_from", "reach_below").to_numpy().T
        return found
