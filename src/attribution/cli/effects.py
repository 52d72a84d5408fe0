"""Commands that say what goes along with partners."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attribution.cli.options import AsJson, Debug, MappingFile, PolicyFile, StorePath
from attribution.cli.reports import (
    AsOf,
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

if TYPE_CHECKING:
    from attribution.measures.effect_table import PartnerEffect

__all__ = ["effect"]

_PICTURES = (".html", ".json", ".pdf", ".png", ".svg")

Plot = Annotated[
    Path | None,
    typer.Option(help=f"Also draw it, as {', '.join(_PICTURES)}.", show_default=False),
]


def effect(
    partner: Partners = None,
    program: Programs = None,
    by: Annotated[
        str | None, typer.Option(help="partner or program: once for each of them.", show_default=False)
    ] = None,
    strata: Annotated[
        str, typer.Option(help="Compare only deals alike in these: deal_type, created_quarter, segments.")
    ] = "deal_type",
    horizon_days: Annotated[int, typer.Option(help="How long wins are counted of the rungs of shares.")] = 90,
    seed: Annotated[int, typer.Option(help="Of the touches that the placebo deals at random.")] = 0,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    store: StorePath = None,
    mapping: MappingFile = None,
    policy: PolicyFile = None,
    format: FormatOf = Format.table,
    as_json: AsJson = False,
    out: Out = None,
    plot: Plot = None,
    debug: Debug = False,
) -> None:
    """Whether deals do better with partners: the usual figure, and honest ones beside it."""
    from attribution.measures.effects import partner_effect

    if plot is not None and plot.suffix not in _PICTURES:
        raise UsageError(f"{plot} is no picture", hint=f"end its name in {', '.join(_PICTURES)}")
    found = partner_effect(
        read_deals(store, mapping, policy, as_of, known_at),
        partner=partner,
        program=program,
        by=by,
        strata=columns(strata),
        horizon_days=horizon_days,
        seed=seed,
    )
    if plot is not None:
        _draw(found, plot)
    write(found, Format.json if as_json else format, out)


def _draw(found: PartnerEffect, path: Path) -> None:
    picture: Any = found.plot()
    try:
        picture.save(str(path), **({"scale_factor": 2} if path.suffix == ".png" else {}))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="check the path") from None
