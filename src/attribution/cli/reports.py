"""Commands that print numbers: sourced, influenced, credit, waterfall."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from enum import StrEnum
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from attribution.cli.models import (
    MODEL_OPTIONS,
    Eligible,
    Intervals,
    ModelName,
    Pool,
    read_intervals,
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
    from attribution.measures.measure import Measure
    from attribution.measures.results import Table

__all__ = [
    "Report",
    "columns",
    "credit",
    "influenced",
    "read_deals",
    "report",
    "sourced",
    "waterfall",
    "write",
]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What every report is asked: of which deals, by which rules, and how to write it."""

    by: By = "partner"
    partner: Partners = None
    program: Programs = None
    closed: Closed = None
    of: Of = "won"
    as_of: AsOf = None
    known_at: KnownAt = None
    store: StorePath = None
    mapping: MappingFile = None
    policy: PolicyFile = None
    format: FormatOf = Format.table
    as_json: AsJson = False
    out: Out = None
    debug: Debug = False

    @property
    def all_deals(self) -> Deals:
        """Every deal of the store, under the settings and cut-offs that were asked for."""
        return read_deals(self.store, self.mapping, self.policy, self.as_of, self.known_at)

    @property
    def deals(self) -> Deals:
        """The deals that are asked about."""
        return self.all_deals.where(closed=self.closed, partner=self.partner, program=self.program)

    def table(self, measure: Measure) -> Table:
        """The rows that are asked for."""
        return measure.by(*columns(self.by), partner=self.partner, program=self.program)

    def write(self, table: Table | Audit) -> None:
        """Write a table as asked."""
        write(table, Format.json if self.as_json else self.format, self.out)


def report(
    *, by: str = "partner", without: Collection[str] = (), models: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of every report; it gets them as one ``Report``, its own ones beside.

    Parameters
    ----------
    by
        What its rows are grouped by unless ``--by`` says otherwise.
    without
        Options of a report that make no sense of it.
    models
        Whether it takes the options of models, too; it gets those as ``options``.
    """
    defaults = {each.name: each.default for each in fields(Report)} | {"by": by}
    hints_of = get_type_hints(Report, include_extras=True)

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = {name: each.default for name, each in list(signature(command).parameters.items())[1:]}
        own.pop("options", None)
        shared = [name for name in hints_of if name not in own and name not in without]
        learned = MODEL_OPTIONS if models else {}
        options = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)
            for name, default, hint in (
                *((name, default, hints[name]) for name, default in own.items()),
                *((name, None, hint) for name, hint in learned.items()),
                *((name, defaults[name], hints_of[name]) for name in shared),
            )
        ]

        def run(**given: Any) -> None:
            asked = Report(**{name: given.pop(name) for name in shared})
            if models:
                given["options"] = {name: given.pop(name) for name in learned}
            command(asked, **given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {each.name: each.annotation for each in options}
        run.__signature__ = Signature(options)  # type: ignore[attr-defined] # typer reads the options off it
        return run

    return with_options


@report()
def sourced(asked: Report) -> None:
    """Who brought deals in: at most one partner per deal, so the rows add up."""
    from attribution.measures import claims

    asked.write(asked.table(claims.sourced(asked.deals, of=asked.of)))


@report()
def influenced(asked: Report) -> None:
    """Who took part in deals they did not source: the full amount to each, so rows do NOT add up."""
    from attribution.measures import claims

    asked.write(asked.table(claims.influenced(asked.deals, of=asked.of)))


@report(models=True)
def credit(
    asked: Report,
    options: dict[str, Any],
    model: ModelName = "linear",
    eligible: Eligible = "any",
    pool: Pool = "partners",
    intervals: Intervals = None,
) -> None:
    """Each deal's amount split over its touchpoints by a model: adds up, with the rest, to the cent."""
    from attribution.measures.credit import attribute

    drawn = read_intervals(intervals, options)
    chosen = read_model(model, options)
    measured = attribute(asked.deals, chosen, of=asked.of, eligible=eligible, pool=pool, intervals=drawn)
    asked.write(asked.table(measured))


@report(by="")
def waterfall(asked: Report) -> None:
    """Every deal in one step: sourced, influenced, unqualified, exposed or direct; adds up to all of them."""
    from attribution.measures import waterfall as measure

    asked.write(measure.waterfall(asked.deals, by=columns(asked.by), of=asked.of))


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
