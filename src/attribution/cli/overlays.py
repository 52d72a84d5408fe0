"""Commands that lay slices of deals over a baseline."""

from __future__ import annotations

from typing import Annotated

import typer

from attribution.cli import pictures
from attribution.cli.reports import Report, columns, report

__all__ = ["velocity"]

By = Annotated[
    str,
    typer.Option(help="Columns to slice by: partner, touched_partner, parent, program, tier, label, ..."),
]


@report(without=("of",))
def velocity(
    asked: Report,
    by: By = "partner",
    baseline: Annotated[
        str, typer.Option(help="What stands beside each slice: direct or all deals.")
    ] = "direct",
    horizon: Annotated[int, typer.Option(help="Days up to which wins count, and censored means go.")] = 365,
    bootstrap: Annotated[
        int, typer.Option(help="Samples behind intervals that no formula has; 0: leave these out.")
    ] = 1_000,
    seed: Annotated[int, typer.Option(help="Beginning of the random samples.")] = 0,
    curves: Annotated[bool, typer.Option("--curves", help="Write cumulative incidence by the day.")] = False,
    plot: pictures.Plot = None,
    kind: Annotated[str, typer.Option(help="What to draw: incidence or days_in_stage.")] = "incidence",
    drawn: Annotated[
        int, typer.Option("--slices", help="How many slices to draw: those of most deals.", min=1)
    ] = 4,
) -> None:
    """Close rate, deal size, days to close and in stage of each slice: usual figures, and of all deals."""
    from attribution.measures.overlays import velocity as measure

    pictures.check(plot)
    overlay = measure(
        asked.all_deals.where(closed=asked.closed),
        by=columns(by),
        baseline=baseline,
        partner=asked.partner,
        program=asked.program,
        horizon_days=horizon,
        bootstrap=bootstrap,
        seed=seed,
    )
    if plot is not None:
        pictures.draw(overlay.plot(kind, drawn), plot)
    asked.write(overlay.curves() if curves else overlay)
