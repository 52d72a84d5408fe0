"""Commands that lay slices of deals over a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attribution.cli.options import AsJson, Debug, MappingFile, PolicyFile, StorePath
from attribution.cli.reports import (
    AsOf,
    Closed,
    Format,
    FormatOf,
    KnownAt,
    Out,
    Partners,
    Programs,
    columns,
    read_deals,
    write,
)
from attribution.errors import UsageError

__all__ = ["velocity"]

_PICTURES = (".html", ".json", ".pdf", ".png", ".svg")

By = Annotated[
    str,
    typer.Option(help="Columns to slice by: partner, touched_partner, parent, program, tier, label, ..."),
]


def velocity(
    by: By = "partner",
    baseline: Annotated[
        str, typer.Option(help="What stands beside each slice: direct or all deals.")
    ] = "direct",
    partner: Partners = None,
    program: Programs = None,
    closed: Closed = None,
    horizon: Annotated[int, typer.Option(help="Days up to which wins count, and censored means go.")] = 365,
    bootstrap: Annotated[
        int, typer.Option(help="Samples behind intervals that no formula has; 0: leave these out.")
    ] = 1_000,
    seed: Annotated[int, typer.Option(help="Beginning of the random samples.")] = 0,
    curves: Annotated[bool, typer.Option("--curves", help="Write cumulative incidence by the day.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help=f"Also draw it, as {', '.join(_PICTURES)}.", show_default=False)
    ] = None,
    kind: Annotated[str, typer.Option(help="What to draw: incidence or days_in_stage.")] = "incidence",
    as_of: AsOf = None,
    known_at: KnownAt = None,
    store: StorePath = None,
    mapping: MappingFile = None,
    policy: PolicyFile = None,
    format: FormatOf = Format.table,
    as_json: AsJson = False,
    out: Out = None,
    debug: Debug = False,
) -> None:
    """Close rate, deal size, days to close and in stage of each slice: usual figures, and of all deals."""
    from attribution.measures.overlays import velocity as measure

    if plot is not None and plot.suffix not in _PICTURES:
        raise UsageError(f"{plot} is no picture", hint=f"end its name in {', '.join(_PICTURES)}")
    overlay = measure(
        read_deals(store, mapping, policy, as_of, known_at).where(closed=closed),
        by=columns(by),
        baseline=baseline,
        partner=partner,
        program=program,
        horizon_days=horizon,
        bootstrap=bootstrap,
        seed=seed,
    )
    if plot is not None:
        try:
            overlay.plot(kind).save(str(plot))
        except OSError as error:
            raise UsageError(f"cannot write {plot}: {error.strerror}", hint="check the path") from None
    write(overlay.curves() if curves else overlay, Format.json if as_json else format, out)
