"""Shapley values as a table: also those below 0, which earn no credit."""

from __future__ import annotations

from attribution.deals import Deals
from attribution.measures.players import playing
from attribution.measures.results import Row, Table, heading
from attribution.models import shapley
from attribution.models.base import model_name
from attribution.models.shapley import Shapley

__all__ = ["shapley_values"]


def shapley_values(deals: Deals, model: Shapley | None = None, *, pool: str = "partners") -> Table:
    """Shapley value of each partner over the selected closed deals that have players.

    Parameters
    ----------
    deals
        Won and lost deals; open ones are not looked at.
    model
        Game, samples and seed; default: ``Shapley(game="rate")``.
    pool
        ``"partners"``, or ``"all"``: direct touches play, too.

    Returns
    -------
    A table, largest value first: ``shapley_value`` (won deals in the set game, a difference of win rates in
    the rate game; may be below 0), ``standard_error`` (0: exact) and ``deals``, the values normalised to the
    won deals, None where they add up to 0.

    Examples
    --------
    ::

        at.shapley_values(deals, at.Shapley(game="rate", seed=7))
    """
    model = model or Shapley(game="rate")
    players = playing(deals, pool)
    found = shapley.shapley_values(players, model)
    total = float(found.values.sum())
    parties = [players.partners[code] for code in found.codes.tolist()]
    rows: list[Row] = [
        {
            "partner": party.name,
            "partner_id": party.id or None,
            "shapley_value": value,
            "standard_error": error,
            "deals": value / total * found.n_won if abs(total) > 1e-12 else None,
        }
        for party, value, error in zip(parties, found.values.tolist(), found.errors.tolist(), strict=True)
    ]
    rows.sort(key=lambda row: (-row["shapley_value"], row["partner_id"] or ""))
    columns = ("partner", "partner_id", "shapley_value", "standard_error", "deals")
    head = heading(deals, "closed", measure="shapley_values", model=model_name(model))
    return Table(head, ("partner",), columns, rows, {"total": total, "n_won": found.n_won})
