"""Commands that hold models against one another, and open the chain behind one: compare, removal-effects."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import typer

from attribution.cli.models import Eligible, Intervals, Level, Order, Pool, Seed, read_intervals, read_models
from attribution.cli.reports import Report, columns, report
from attribution.errors import UsageError

__all__ = ["compare", "removal_effects"]


@report(models=True)
def compare(
    asked: Report,
    options: dict[str, Any],
    models: Annotated[str, typer.Option(help="Names of models, such as linear,time_decay,markov.")],
    eligible: Eligible = "any",
    pool: Pool = "partners",
    intervals: Intervals = None,
) -> None:
    """Credit of the same deals under several models, and the band in which each partner's amount lies."""
    from attribution.measures import comparison

    drawn = read_intervals(intervals, options)
    chosen = read_models(columns(models), options)
    how: dict[str, Any] = {"eligible": eligible, "pool": pool, "intervals": drawn}
    asked.write(comparison.compare(asked.deals, chosen, by=columns(asked.by), of=asked.of, **how))


@report(without=("by", "partner", "program", "of"))
def removal_effects(
    asked: Report,
    order: Order = None,
    level: Level = None,
    pool: Pool = "partners",
    intervals: Intervals = None,
    seed: Seed = None,
) -> None:
    """What would be lost without each partner, on the chain of all closed paths, and the credit from it."""
    from attribution.measures import removal

    options = {"seed": seed}
    drawn = read_intervals(intervals, options)
    if options["seed"] is not None:
        raise UsageError("--seed is of the draws of --intervals", hint="pass --intervals 200, too")
    table = removal.removal_effects(
        asked.deals,
        order=1 if order is None else order,
        level=cast("Literal['partner', 'program']", level or "partner"),
        pool=pool,
        intervals=drawn,
    )
    asked.write(table)
