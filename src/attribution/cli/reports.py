"""Commands that print numbers: sourced, influenced, credit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attribution.cli.models import (
    Eligible,
    First,
    Game,
    HalfLife,
    Last,
    Level,
    LinearBy,
    ModelName,
    Order,
    Pool,
    Samples,
    Seed,
    WeightBy,
    Weights,
    read_model,
)
from attribution.cli.options import (
    AsJson,
    Debug,
    MappingFile,
    PolicyFile,
    StorePath,
    instant,
    open_store,
    read_mapping,
    read_policy,
)
from attribution.errors import UsageError

if TYPE_CHECKING:
    from attribution.deals import Deals
    from attribution.measures.auditing import Audit
    from attribution.measures.results import Table

__all__ = ["columns", "credit", "influenced", "read_deals", "sourced", "write"]


class Format(StrEnum):
    """How a table is written."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


By = Annotated[str, typer.Option(help="Columns to group by, such as partner,program.")]
Partners = Annotated[
    list[str] | None,
    typer.Option("--partner", help="Only this partner (name or id); repeatable.", show_default=False),
]
Programs = Annotated[
    list[str] | None,
    typer.Option("--program", help="Only this program (name or id); repeatable.", show_default=False),
]
Closed = Annotated[
    str | None,
    typer.Option(help="Close dates: 2026Q2, FY2026Q2 or 2026-01-01..2026-06-30.", show_default=False),
]
Of = Annotated[str, typer.Option(help="Deals to measure: won, open, lost or all.")]
AsOf = Annotated[
    str | None,
    typer.Option(
        help="Nothing that happened later is seen: a date (its end) or an instant.", show_default=False
    ),
]
KnownAt = Annotated[
    str | None,
    typer.Option(help="Nothing recorded later is seen: a date (its end) or an instant.", show_default=False),
]
FormatOf = Annotated[Format, typer.Option("--format", help="How to write the table.")]
Out = Annotated[Path | None, typer.Option(help="File to write to instead of stdout.", show_default=False)]


def _claims(name: str, text: str) -> Callable[..., None]:
    """The command of a claim: sourced and influenced differ by nothing but their measure."""

    def command(
        by: By = "partner",
        partner: Partners = None,
        program: Programs = None,
        closed: Closed = None,
        of: Of = "won",
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
        from attribution.measures import claims

        measure = {"sourced": claims.sourced, "influenced": claims.influenced}[name]
        deals = read_deals(store, mapping, policy, as_of, known_at)
        deals = deals.where(closed=closed, partner=partner, program=program)
        table = measure(deals, of=of).by(*columns(by), partner=partner, program=program)
        write(table, Format.json if as_json else format, out)

    command.__name__, command.__doc__ = name, text
    return command


sourced = _claims("sourced", "Who brought the deals in: at most one partner per deal, so the rows add up.")
influenced = _claims(
    "influenced",
    "Who took part in deals they did not source: the full amount to each, so rows do NOT add up.",
)


def credit(
    model: ModelName = "linear",
    by: By = "partner",
    partner: Partners = None,
    program: Programs = None,
    closed: Closed = None,
    of: Of = "won",
    as_of: AsOf = None,
    known_at: KnownAt = None,
    eligible: Eligible = "any",
    pool: Pool = "partners",
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
    """Each deal's amount split over its touchpoints by a model: adds up, with the rest, to the cent."""
    from attribution.measures.credit import attribute

    chosen = read_model(
        model,
        {
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
        },
    )
    deals = read_deals(store, mapping, policy, as_of, known_at).where(
        closed=closed, partner=partner, program=program
    )
    measured = attribute(deals, chosen, of=of, eligible=eligible, pool=pool)
    write(
        measured.by(*columns(by), partner=partner, program=program), Format.json if as_json else format, out
    )


def read_deals(
    path: Path | None, mapping: Path | None, policy: Path | None, as_of: str | None, known_at: str | None
) -> Deals:
    """The deals of a store, under the settings and cut-offs that were asked for."""
    store = open_store(path)
    settings = read_mapping(mapping)
    zone = (settings or store.mapping).zone(store.zone).key
    return store.deals(
        as_of=None if as_of is None else instant(as_of, "--as-of", zone),
        known_at=None if known_at is None else instant(known_at, "--known-at", zone),
        mapping=settings,
        policy=read_policy(policy),
    )


def columns(by: str) -> list[str]:
    """Names to group by, as ``--by`` lists them."""
    return [name.strip() for name in by.split(",") if name.strip()]


def write(table: Table | Audit, format: Format, out: Path | None) -> None:
    """Write a table to a file or to stdout."""
    match format:
        case Format.table:
            _write_text(f"{table}\n", out)
        case Format.json:
            _write_text(json.dumps(table.to_dict(), ensure_ascii=False) + "\n", out)
        case Format.csv:
            _write_text(table.to_csv(), out)
        case Format.parquet:
            if out is None:
                raise UsageError(
                    "Parquet is not for the terminal", hint="name a file with --out FILE.parquet"
                )
            table.to_parquet(out)


def _write_text(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}", hint="check the path") from None
