"""Models side by side: how much of a partner's credit depends on the model chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from attribution import money
from attribution.deals import Deals
from attribution.errors import UsageError
from attribution.measures.credit import UNATTRIBUTED, attribute
from attribution.measures.resampling import Bootstrap
from attribution.measures.results import Row, Table, heading
from attribution.models.base import AttributionModel, model_name

__all__ = ["compare"]

_BAND = ("lowest_amount", "highest_amount", "band_amount")


def compare(
    deals: Deals,
    models: Sequence[AttributionModel],
    *,
    by: str | Iterable[str] = "partner",
    of: str = "won",
    eligible: str = "any",
    pool: str = "partners",
    intervals: Bootstrap | None = None,
) -> Table:
    """Credit of the same deals under several models, with the band in which each partner's amount lies.

    Misleads when taken for an interval of confidence: models that share a flaw agree with one another.

    Parameters
    ----------
    deals, of, eligible, pool
        As for :func:`attribution.attribute`.
    intervals
        Such as ``at.Bootstrap()``: limits ``<model>_low_amount`` and ``<model>_high_amount`` beside the
        amounts of each model, over the same draws for all.
    models
        One or more models, each once.
    by
        What to group by, such as ``"partner"`` or ``("partner", "program")``.

    Returns
    -------
    A table with a column ``<model>_amount`` per model, each of which adds up, with its ``(unattributed)``
    row in files, to ``selected``; and ``lowest_amount``, ``highest_amount`` and ``band_amount``, their
    difference. Largest ``highest_amount`` first. The foot has ``<model>_unattributed`` per model.

    Raises
    ------
    UsageError
        Without models, for a model given twice, and as ``attribute`` does.

    Examples
    --------
    ::

        at.compare(deals, [at.Linear(), at.TimeDecay(), at.Markov(order=2), at.Shapley()], by="partner")
    """
    names = [model_name(model) for model in models]
    if not names or len(set(names)) < len(names):
        raise UsageError(
            f"cannot compare {', '.join(names) or 'no models'}", hint="pass one or more models, each once"
        )
    columns = (by,) if isinstance(by, str) else tuple(by)
    each_has = ("amount",) if intervals is None else ("amount", "low_amount", "high_amount")
    figures = [f"{name}_{each}" for name in names for each in each_has]
    zero = money.major(0, deals.currency)
    rows: dict[tuple[Any, ...], Row] = {}
    remainder: Row = dict.fromkeys(columns, UNATTRIBUTED)
    unattributed: dict[str, Decimal] = {}
    labels: tuple[str, ...] = ()
    foot: dict[str, Any] = {}
    for name, model in zip(names, models, strict=True):
        credit = attribute(deals, model, of=of, eligible=eligible, pool=pool, intervals=intervals)
        table = credit.by(*columns)
        labels, foot = table.labels, table.foot
        for row in table.rows:
            key = tuple(row[label] for label in labels)
            blank = dict(zip(labels, key, strict=True)) | dict.fromkeys(figures, zero)
            rows.setdefault(key, blank).update((f"{name}_{each}", row[each]) for each in each_has)
        remainder[f"{name}_amount"] = unattributed[f"{name}_unattributed"] = foot["unattributed"]
    for row in (*rows.values(), remainder):
        amounts = [row[f"{name}_amount"] for name in names]
        low, high = min(amounts), max(amounts)
        row |= dict(zip(_BAND, (low, high, high - low), strict=True))
    ordered = sorted(
        rows.values(), key=lambda row: (-row["highest_amount"], *(row[label] or "" for label in labels))
    )
    kept = ("selected", "n_deals", "contested_deals", "future_dated_deals", "unvalued_deals")
    return Table(
        heading(deals, of, measure="compare") | {"models": names},
        columns,
        (*labels, *figures, *_BAND),
        ordered,
        {name: foot[name] for name in kept} | unattributed,
        remainder,
    )
