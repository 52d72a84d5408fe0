"""Commands that say what goes along with partners, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attribution.cli import pictures
from attribution.cli.reports import Report, columns, report
from attribution.errors import UsageError

if TYPE_CHECKING:
    import polars

__all__ = ["effect", "lifecycle"]


@report(without=("closed", "of"))
def effect(
    asked: Report,
    by: Annotated[
        str | None, typer.Option(help="partner or program: once for each of them.", show_default=False)
    ] = None,
    strata: Annotated[
        str, typer.Option(help="Compare only deals alike in: deal_type, created_quarter, stage, segments.")
    ] = "deal_type",
    horizon_days: Annotated[int, typer.Option(help="How long wins are counted of the rungs of shares.")] = 90,
    seed: Annotated[int, typer.Option(help="Of the touches that the placebo deals at random.")] = 0,
    plot: pictures.Plot = None,
) -> None:
    """Whether deals do better with partners: the usual figure, and honest ones beside it."""
    from attribution.measures.effects import partner_effect

    pictures.check(plot)
    found = partner_effect(
        asked.all_deals,
        partner=asked.partner,
        program=asked.program,
        by=by,
        strata=columns(strata),
        horizon_days=horizon_days,
        seed=seed,
    )
    if plot is not None:
        pictures.draw(found.plot(), plot)
    asked.write(found)


@report(without=("by", "partner", "of"))
def lifecycle(
    asked: Report,
    partners: Annotated[
        Path | None,
        typer.Option(help="CSV file: partner, identified_at, signed_at, ended_at.", show_default=False),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            help="CSV file: partner (empty: of all), amount, incurred_at; on top of mapped costs.",
            show_default=False,
        ),
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
) -> None:
    """What becomes of partners, what they cost, and what they bring."""
    from attribution.measures import economics

    found = economics.lifecycle(
        asked.deals,
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
    asked.write(found)


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
