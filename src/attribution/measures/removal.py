"""Removal effects: the Markov chain behind the credit, and the credit of the textbooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from attribution import money
from attribution.columns import NOBODY, OUTCOMES, Party
from attribution.deals import Deals
from attribution.measures.players import playing
from attribution.measures.resampling import Bootstrap
from attribution.measures.results import Row, Table, heading
from attribution.models import absence, chains
from attribution.models.base import model_name
from attribution.models.chains import Chain, Walks
from attribution.models.markov import Markov

__all__ = ["RemovalEffects", "removal_effects"]

Floats = NDArray[np.float64]

_START, _WON, _LOST = "(start)", "(won)", "(lost)"


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class RemovalEffects(Table):
    """A row per partner (program): ``removal_effect``, ``removal_effect_value``, ``deals``, ``amount``."""

    p_conversion: float
    """Probability that a walk on the chain is won; equals won deals / closed deals, at every order."""
    transition_matrix: Table
    """A row per transition: ``from_state``, ``to_state``, ``n_walks`` (how often) and ``probability``."""


def removal_effects(
    deals: Deals,
    *,
    order: int = 1,
    level: Literal["partner", "program"] = "partner",
    pool: str = "partners",
    intervals: Bootstrap | None = None,
) -> RemovalEffects:
    """What would be lost without each partner, and the credit that follows from it over all deals.

    The chain is that of :class:`attribution.Markov`, fitted on the selected closed deals with players. The
    effects are normalised to 1 and multiplied by the won deals (``deals``) and by their amount (``amount``,
    exact to the minor unit; an effect on value below 0 gets none). This is the global credit of the
    literature; ``attribute(deals, Markov())`` splits each deal by the effects of its own partners instead, so
    the two differ.

    Misleads when read as lift: the effect is the part of won walks that pass through a partner. Who attends
    everything has the effect of who wins everything.

    Parameters
    ----------
    deals
        The selected ones that are closed teach the chain; a lost one ends in (lost). An unvalued win is a
        conversion of amount 0.
    order
        How many touchpoints the chain remembers, 1 to 4.
    level
        ``"partner"`` or ``"program"``.
    pool
        ``"partners"``, or ``"all"``: direct touches are on the walks, too.
    intervals
        Such as ``at.Bootstrap()``: limits ``low_removal_effect``, ``high_removal_effect``, ``low_amount`` and
        ``high_amount`` over chains that are fitted again.

    Returns
    -------
    A table, largest effect first; a partner after whom nothing was won shows 0. ``.p_conversion`` and
    ``.transition_matrix`` are the chain itself. ``total + unattributed == selected``.

    Raises
    ------
    UsageError
        For another order, level or pool.

    Examples
    --------
    ::

        effects = at.removal_effects(deals, order=2)
        effects.p_conversion
        effects.transition_matrix.to_polars()
    """
    model = Markov(order=order, level=level)
    players = playing(deals, pool)
    walks = chains.walks(players, order, level)
    chain = chains.count(walks)
    removal = absence.removal_effects(chain)
    parties = [Party("", NOBODY), *deals.programs] if level == "program" else list(players.partners)
    columns = deals.snapshot.deals
    won = columns.outcome[deals.selected] == OUTCOMES.index("won")
    selected, valued = columns.amount[deals.selected[won]], columns.valued[deals.selected[won]]

    def major(minor: int) -> Any:
        return money.major(minor, deals.currency)

    value = int(chain.value.sum()) if len(chain) else 0
    shares = _normal(removal.value)
    amounts = money.allocate(np.array([value]), shares, np.array([0, len(shares)]))
    effects = removal.conversions
    n_credited = _normal(effects) * chain.won.sum()
    limits = {} if intervals is None else _limits(intervals, players, walks, chain)
    rows: list[Row] = []
    for at, code in enumerate(chain.codes.tolist()):
        party = parties[code]
        rows.append(
            {
                level: party.name,
                f"{level}_id": party.id or None,
                "removal_effect": float(effects[at]),
                "removal_effect_value": float(removal.value[at]),
                "deals": float(n_credited[at]),
                "amount": major(int(amounts[at])),
                **{
                    name: major(round(limit[at])) if name.endswith("amount") else float(limit[at])
                    for name, limit in limits.items()
                },
            }
        )
    rows.sort(key=lambda row: (-row["removal_effect"], row[f"{level}_id"] or ""))
    head = heading(deals, "closed", measure="removal_effects", model=model_name(model))
    total = money.total(amounts)
    foot = {
        "total": major(total),
        "selected": major(money.total(selected)),
        "unattributed": major(money.total(selected) - total),
        "n_deals": chain.n_walks,
        "p_conversion": removal.p_conversion,
        "unvalued_deals": int((~valued).sum()),
    }
    return RemovalEffects(
        head,
        (level,),
        (level, f"{level}_id", "removal_effect", "removal_effect_value", "deals", "amount", *limits),
        rows,
        foot,
        p_conversion=removal.p_conversion,
        transition_matrix=_matrix(chain, [party.name for party in parties], head),
    )


def _normal(effects: Floats) -> Floats:
    """Effects as fractions of their sum; those below 0 count as 0."""
    gains = np.maximum(effects, 0)
    return gains / gains.sum() if gains.any() else gains


def _limits(intervals: Bootstrap, players: Deals, walks: Walks, chain: Chain) -> dict[str, Floats]:
    """Limits of effects and amounts over chains of resampled deals, by partner of the chain."""
    drawn: list[Floats] = []
    for times in intervals.draws(players):
        again = chains.count(walks, times[walks.deal])
        removal = absence.removal_effects(again)
        numbers = np.zeros((2, len(chain.codes)))
        # every partner of a resample is one of the sample
        at = np.searchsorted(chain.codes, again.codes)
        numbers[:, at] = removal.conversions, _normal(removal.value) * again.value.sum()
        drawn.append(numbers)
    (low, low_amount), (high, high_amount) = intervals.limits(drawn)
    return {
        "low_removal_effect": low,
        "high_removal_effect": high,
        "low_amount": low_amount,
        "high_amount": high_amount,
    }


def _matrix(chain: Chain, names: list[str], head: dict[str, Any]) -> Table:
    started, won, lost = (
        np.flatnonzero(counts).tolist() for counts in (chain.started, chain.won, chain.lost)
    )
    codes, arrow = chain.codes.tolist(), " > "
    states = [
        arrow.join(names[codes[at]] for at in reversed(gram) if at >= 0) for gram in chain.grams.tolist()
    ]
    counted = [
        *((_START, states[at], int(chain.started[at]), chain.n_walks) for at in started),
        *(
            (states[source], states[target], count, int(chain.visits[source]))
            for source, target, count in zip(
                chain.source.tolist(), chain.target.tolist(), chain.count.tolist(), strict=True
            )
        ),
        *((states[at], _WON, int(chain.won[at]), int(chain.visits[at])) for at in won),
        *((states[at], _LOST, int(chain.lost[at]), int(chain.visits[at])) for at in lost),
    ]
    rows: list[Row] = [
        {"from_state": source, "to_state": target, "n_walks": count, "probability": count / leaving}
        for source, target, count, leaving in counted
    ]
    by = ("from_state", "to_state")
    head = head | {"measure": "transition_matrix"}
    return Table(head, by, (*by, "n_walks", "probability"), rows, {"n_deals": chain.n_walks})
