"""Commands that say what goes along with partners, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    import polars

    from attribution.measures.effect_table import PartnerEffect

__all__ = ["effect", "lifecycle"]

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
        str, typer.Option(help="Compare only deals alike in: deal_type, created_quarter, stage, segments.")
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


def lifecycle(
    partners: Annotated[
        Path | None,
        typer.Option(help="CSV file: partner, identified_at, signed_at, ended_at.", show_default=False),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(help="CSV file: partner (empty: of all), amount, incurred_at.", show_default=False),
    ] = None,
    margins: Annotated[
        str | None,
        typer.Option(help="Share of every amount, or CSV file: deal_id, margin.", show_default=False),
    ] = None,
    satisfaction: Annotated[
        Path | None, typer.Option(help="CSV file: partner, score.", show_default=False)
    ] = None,
    leads: Annotated[
        Path | None, typer.Option(help="CSV file: id, eql_at, mql_at, sql_at, won_at.", show_default=False)
    ] = None,
    target: Annotated[float, typer.Option(help="Revenue for which new partners are needed.")] = 1_000_000,
    horizon_days: Annotated[int, typer.Option(help="Within which a new partner is to earn.")] = 365,
    activation_days: Annotated[int, typer.Option(help="Within which it is to take part in a deal.")] = 90,
    idle_days: Annotated[int, typer.Option(help="Days without a touchpoint after which it is gone.")] = 180,
    discount: Annotated[float, typer.Option(help="Of the value of customers, per year.")] = 0.1,
    closed: Closed = None,
    program: Programs = None,
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
    """What becomes of partners, what they cost, and what they bring."""
    from attribution.measures import economics

    found = economics.lifecycle(
        read_deals(store, mapping, policy, as_of, known_at).where(closed=closed, program=program),
        _csv(costs),
        partners=_csv(partners),
        margins=_share_or_csv(margins),
        satisfaction=_csv(satisfaction),
        leads=_csv(leads),
        target=target,
        horizon_days=horizon_days,
        activation_days=activation_days,
        idle_days=idle_days,
        discount=discount,
    )
    write(found, Format.json if as_json else format, out)


def _share_or_csv(text: str | None) -> float | polars.DataFrame | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return _csv(Path(text))


def _csv(path: Path | None) -> polars.DataFrame | None:
    """The table in a file, all of it text; what is empty is null."""
    import polars

    if path is None:
        return None
    try:
        return polars.read_csv(path, infer_schema=False)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="check the path") from None
    except polars.exceptions.PolarsError as error:
        raise UsageError(f"{path} is no CSV file: {str(error).splitlines()[0]}", hint="check it") from None


def _draw(found: PartnerEffect, path: Path) -> None:
    picture: Any = found.plot()
    try:
        picture.save(str(path), **({"scale_factor": 2} if path.suffix == ".png" else {}))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="check the path") from None
