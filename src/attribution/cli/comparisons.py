"""Commands that hold models against one another, and open the chain behind one: compare, removal-effects."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import typer

from attribution.cli.models import (
    Eligible,
    First,
    Game,
    HalfLife,
    Intervals,
    Last,
    Level,
    LinearBy,
    Order,
    Pool,
    Samples,
    Seed,
    WeightBy,
    Weights,
    read_intervals,
    read_models,
)
from attribution.cli.options import AsJson, Debug, MappingFile, PolicyFile, StorePath
from attribution.cli.reports import (
    AsOf,
    By,
    Closed,
    Format,
    FormatOf,
    KnownAt,
    Of,
    Out,
    Partners,
    Programs,
    columns,
    read_deals,
    write,
)

__all__ = ["compare", "removal_effects"]


def compare(
    models: Annotated[str, typer.Option(help="Names of models, such as linear,time_decay,markov.")],
    by: By = "partner",
    partner: Partners = None,
    program: Programs = None,
    closed: Closed = None,
    of: Of = "won",
    as_of: AsOf = None,
    known_at: KnownAt = None,
    eligible: Eligible = "any",
    pool: Pool = "partners",
    intervals: Intervals = None,
    first: First = None,
    last: Last = None,
    half_life: HalfLife = None,
    linear_by: LinearBy = None,
    order: Order = None,
    level: Level = None,
    game: Game = None,
    samples: Samples = None,
    seed: Seed = None,
    weight: Weights = None,
    weight_by: WeightBy = None,
    store: StorePath = None,
    mapping: MappingFile = None,
    policy: PolicyFile = None,
    format: FormatOf = Format.table,
    as_json: AsJson = False,
    out: Out = None,
    debug: Debug = False,
) -> None:
    """Credit of the same deals under several models, and the band in which each partner's amount lies."""
    from attribution.measures import comparison

    options = {
        "first": first,
        "last": last,
        "half_life": half_life,
        "linear_by": linear_by,
        "order": order,
        "level": level,
        "game": game,
        "samples": samples,
        "seed": seed,
        "weight": weight,
        "weight_by": weight_by,
    }
    drawn = read_intervals(intervals, options)
    chosen = read_models(columns(models), options)
    deals = read_deals(store, mapping, policy, as_of, known_at).where(
        closed=closed, partner=partner, program=program
    )
    table = comparison.compare(
        deals, chosen, by=columns(by), of=of, eligible=eligible, pool=pool, intervals=drawn
    )
    write(table, Format.json if as_json else format, out)


def removal_effects(
    order: Order = None,
    level: Level = None,
    pool: Pool = "partners",
    intervals: Intervals = None,
    seed: Seed = None,
    closed: Closed = None,
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
    """What would be lost without each partner, on the chain of all closed paths, and the credit from it."""
    from attribution.errors import UsageError
    from attribution.measures import removal

    options = {"seed": seed}
    drawn = read_intervals(intervals, options)
    if options["seed"] is not None:
        raise UsageError("--seed is of the draws of --intervals", hint="pass --intervals 200, too")
    deals = read_deals(store, mapping, policy, as_of, known_at).where(closed=closed)
    table = removal.removal_effects(
        deals,
        order=1 if order is None else order,
        level=cast("Literal['partner', 'program']", level or "partner"),
        pool=pool,
        intervals=drawn,
    )
    write(table, Format.json if as_json else format, out)
