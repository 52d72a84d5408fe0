"""Deals on which partners change nothing, or a known something: to try a measure of effect on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attribution.deals import Deals
from attribution.errors import UsageError

__all__ = ["Simulation", "simulate"]

Floats = NDArray[np.float64]

_START = datetime(2024, 1, 1, tzinfo=UTC)
_CREATED_DAYS = 720
"""Deals are created evenly over so many days, and seen at their end."""
_NEVER = 1e9
_DAYS_TO_WIN, _DAYS_TO_LOSE, _DAYS_TO_HEAT = 150.0, 130.0, 90.0
_WIN_SHAPE = 1.4
"""Exponent of time in the cumulative win hazard: the chance of winning grows with the age of a deal."""
_HOT = 3.0
"""A hot deal is won so many times as fast."""
_PARTNERS = ("Northgate Systems", "Harbrook Consulting", "Larkdale Networks", "Fernmere Advisory")
_PROGRAMS = ("Co-sell", "Referral")


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """Tables for ``Deals.from_frames``, and the truth that they were made from."""

    deals: pl.DataFrame
    """One row per deal, with the segments ``segment``, ``size`` and ``owner_id``; to the end of each deal."""
    touchpoints: pl.DataFrame
    stages: pl.DataFrame
    as_of: datetime
    """Before the end of many deals: as of then they are open."""
    hazard_ratio: float
    """How many times as fast a deal is won from its first touch on."""
    selection: float
    """How many times as often a partner is called into a deal while it is hot."""

    def load(self, as_of: datetime | None = None) -> Deals:
        """The deals as of an instant; default: that of the simulation."""
        return Deals.from_frames(self.deals, self.touchpoints, self.stages, as_of=as_of or self.as_of)


def simulate(
    n: int = 1000, *, seed: int = 0, hazard_ratio: float = 1.0, selection: float = 1.0
) -> Simulation:
    """Make up deals whose partners have exactly the effect asked for; by default none.

    Every deal has a segment, a size and an owner, which change both how fast it is won and how often
    partners touch it. Touches arrive over time while a deal is open, so that long deals gather more of them
    (immortal time). Losing competes with winning. At some moment a deal turns *hot*, moves on to the stage
    Proposal within three days, and is won 3 times as fast. Hazards per day are in proportion to

    - win: hazard_ratio, once touched; times 3, once hot; times exp(covariates); times age^0.4;
    - first touch: selection, once hot; times exp(covariates). About one deal in twelve begins with one;
    - loss: 1, for all.

    Parameters
    ----------
    n
        Number of deals, created evenly over 720 days.
    seed
        Equal seeds, equal tables.
    hazard_ratio
        Times as fast as before, from the first touch of any partner on; 1: partners change nothing.
    selection
        Times as often, while the deal is hot, do sellers call a partner in; 1: they do not look.

    Raises
    ------
    UsageError
        If there is no deal, or a factor is not positive.

    Examples
    --------
    >>> world = simulate(200, seed=7)
    >>> world.load()
    <Deals: 200 of 200, as of 2025-12-21T00:00:00Z>
    >>> world.deals.columns
    ['id', 'created_at', 'closed_at', 'is_won', 'amount', 'currency', 'segment', 'size', 'owner_id']
    """
    if n < 1 or not (0 < hazard_ratio < np.inf and 0 < selection < np.inf):
        raise UsageError(
            f"cannot simulate {n} deals at a hazard ratio of {hazard_ratio} and a selection of {selection}",
            hint="use at least one deal, and factors above 0",
        )
    random = np.random.default_rng(seed)
    segment, size, owner = (random.integers(0, kinds, n) for kinds in (3, 2, 4))
    win_factor = np.exp(0.5 * (segment - 1) - 0.4 * size + 0.2 * (owner - 1.5))
    touch_factor = np.exp(0.5 * (segment - 1) + 0.6 * size - 0.2 * (owner - 1.5))
    created = random.uniform(0, _CREATED_DAYS, n)

    hot = random.exponential(_DAYS_TO_HEAT, n)
    touched = _first(random.exponential(1, n) * 110 / touch_factor, [(hot, selection)], 1.0)
    # one deal in twelve was a partner's before it was anybody else's
    touched[random.random(n) < touch_factor / 12] = 0.0
    unit = random.exponential(1, n) / win_factor
    won = _first(unit * _DAYS_TO_WIN**_WIN_SHAPE, [(hot, _HOT), (touched, hazard_ratio)], _WIN_SHAPE)
    lost = random.exponential(_DAYS_TO_LOSE, n)
    closed = np.minimum(won, lost)

    as_of = _START + timedelta(days=_CREATED_DAYS)
    ids = np.array([f"D{at:07d}" for at in range(n)])
    amount = np.rint(random.lognormal(10 + size, 0.6, n)).astype(np.int64)
    deals = pl.DataFrame(
        {
            "id": ids,
            "created_at": _instants(created),
            "closed_at": _instants(created + closed),
            "is_won": won < lost,
            "amount": amount,
            "currency": ["USD"] * n,
            "segment": np.array(["Retail", "Health", "Finance"])[segment],
            "size": np.array(["small", "large"])[size],
            "owner_id": np.array(["005A", "005B", "005C", "005D"])[owner],
        }
    )
    return Simulation(
        deals,
        _touchpoints(random, ids, created, touched, closed),
        _stages(random, ids, created, hot, closed, won < lost),
        as_of,
        hazard_ratio,
        selection,
    )


def _first(exponential: Floats, factors: list[tuple[Floats, float]], shape: float) -> Floats:
    """When a cumulative hazard of age^shape reaches these values, if from some ages on it rises faster.

    ``factors`` are pairs of an age per deal and what the hazard is multiplied by from then on.
    """
    ages = np.stack([age for age, _ in factors])
    order = np.argsort(ages, axis=0)
    ages = np.take_along_axis(ages, order, axis=0)
    steps = np.array([factor for _, factor in factors])[order]
    left, factor = exponential.copy(), np.ones(len(exponential))
    start, reached = np.zeros(len(exponential)), np.full(len(exponential), _NEVER)
    for age, step in zip([*ages, np.full(len(exponential), np.inf)], [*steps, factor], strict=True):
        at = (start**shape + left / factor) ** (1 / shape)
        reached = np.where((reached == _NEVER) & (at <= age), at, reached)
        left = left - factor * (np.where(np.isinf(age), 0, age) ** shape - start**shape)
        start, factor = age, factor * step
    return reached


def _touchpoints(
    random: np.random.Generator, ids: NDArray[np.str_], created: Floats, first: Floats, closed: Floats
) -> pl.DataFrame:
    """The first touch of each deal that was open for it, and more, the longer it stayed open."""
    touched = np.flatnonzero(first < closed)
    more = random.poisson((closed[touched] - first[touched]) / 25)
    again = np.repeat(touched, more)
    ages = np.concatenate([first[touched], random.uniform(first[again], closed[again])])
    deal = np.concatenate([touched, again])
    rows = pl.DataFrame(
        {
            "deal_id": ids[deal],
            "occurred_at": _instants(created[deal] + ages),
            "partner": np.array(_PARTNERS)[random.choice(4, len(deal), p=[0.4, 0.3, 0.2, 0.1])],
            "program": np.array(_PROGRAMS)[random.integers(0, 2, len(deal))],
        }
    )
    return rows.sort("deal_id", "occurred_at", "partner")


def _stages(
    random: np.random.Generator,
    ids: NDArray[np.str_],
    created: Floats,
    hot: Floats,
    closed: Floats,
    won: NDArray[np.bool_],
) -> pl.DataFrame:
    """Discovery, then Proposal once a deal is hot, then the close."""
    proposed = hot + random.uniform(0, 3, len(ids))
    moved = proposed < closed
    rows = [
        (ids, created, np.full(len(ids), "Discovery"), False),
        (ids[moved], (created + proposed)[moved], np.full(int(moved.sum()), "Proposal"), False),
        (ids, created + closed, np.where(won, "Closed Won", "Closed Lost"), True),
    ]
    frames = [
        pl.DataFrame(
            {"deal_id": deal, "stage": stage, "entered_at": _instants(at), "is_closed": [done] * len(deal)}
        )
        for deal, at, stage, done in rows
    ]
    return pl.concat(frames).sort("deal_id", "entered_at")


def _instants(days: Floats) -> pl.Series:
    """Instants so many days after the start."""
    start = int(_START.timestamp() * 1e6)
    return pl.Series((start + np.rint(days * 86_400e6)).astype(np.int64)).cast(pl.Datetime("us", "UTC"))
