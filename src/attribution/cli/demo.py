"""``attribution demo``: the whole path on an org of our own, beside the known truth."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attribution.cli.options import AsJson, Debug
from attribution.cli.progress import progress
from attribution.errors import DataError, UsageError

if TYPE_CHECKING:
    from attribution.measures.credit import Credit
    from attribution.measures.results import Table
    from attribution.testing.truth import Truth

__all__ = ["demo"]

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Check:
    """One figure beside the known truth."""

    measure: str
    figure: str
    expected: str
    got: str
    difference: str


def demo(
    opportunities: Annotated[int, typer.Option(help="Size of the org.", min=0, max=200_000)] = 2_000,
    seed: Annotated[int, typer.Option(help="Which org; equal seeds give equal orgs.")] = 0,
    store: Annotated[
        Path | None, typer.Option("--store", help="Keep the store in this new folder.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Sync a generated org from loopback, measure it, and compare every figure with the known truth."""
    from attribution import Linear, Salesforce, Store, attribute, influenced, sourced
    from attribution.testing import generate

    if store is not None and Store(store).organization_id is not None:
        raise UsageError(f"{store} is a store already", hint="name a new folder")
    records = generate(opportunities, seed)
    with _folder(store) as folder, records.org() as org:
        _say(f"An org of {opportunities:,} opportunities answers on {org.url}", as_json)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "attribution.toml").write_text(records.settings, encoding="utf-8")
        kept = Store(folder)
        source = Salesforce(instance_url=org.url, access_token=org.token, ca_bundle=org.ca_bundle)
        with progress() as show:
            report = kept.sync(source, progress=show)
        _say(f"{report}\n", as_json)
        deals = kept.deals()
        currencies = kept.rows("Opportunity")["CurrencyIsoCode"].value_counts(sort=True, name="n_deals")
    org.close()

    measures = (sourced(deals), influenced(deals), attribute(deals, Linear()))
    tables = [measure.by("partner") for measure in measures]
    truth = records.truth(as_of=deals.as_of)
    checks = [check for table in tables for check in _checks(table, truth)]
    if as_json:
        document = {
            "sync": report.to_dict(),
            "measures": [table.to_dict() for table in tables],
            "checks": [asdict(check) for check in checks],
        }
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    else:
        counts = ", ".join(f"{code} {count:,}" for code, count in currencies.iter_rows())
        sys.stdout.write(f"Opportunities by currency: {counts}\n")
        sys.stdout.write(f"Amounts are converted to {deals.currency} at the rate of the close date.\n\n")
        for table in tables:
            sys.stdout.write(f"{table.to_text(_SHOWN)}\n\n")
        for registered in _registered(measures[-1]):
            sys.stdout.write(f"One deal with a registration, touch by touch:\n\n{registered}\n\n")
        sys.stdout.write(_beside_truth(checks))
    wrong = [check for check in checks if Decimal(check.difference)]
    if wrong:
        raise DataError(f"{len(wrong)} of {len(checks)} figures differ from the known truth")


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept
        return
    with TemporaryDirectory(prefix="attribution-demo-") as scratch:
        yield Path(scratch)


def _say(text: str, as_json: bool) -> None:
    if not as_json:
        sys.stdout.write(f"{text}\n")


def _registered(credit: Credit) -> Iterator[Table]:
    """The first won deal whose path begins with a deal registration."""
    for deal in credit.deals:
        kinds = [touchpoint.kind for touchpoint in deal.touchpoints]
        if deal.outcome == "won" and deal.amount and len(kinds) > 2 and kinds[0] == "deal_registration":
            yield credit.of(deal.id)
            return


def _checks(table: Table, truth: Truth) -> Iterator[Check]:
    """Each total of a table, and the row that is furthest from the truth."""
    from attribution.testing import truth as known

    document = table.to_dict()
    name = document.get("model", document["measure"])
    totals = known.totals(truth, name)
    totals["n_deals"] = totals["selected_deals"]
    for figure in ("total", "selected", "unattributed", "n_deals", "contested_deals", "unvalued_deals"):
        if figure in document:
            yield _check(name, figure.replace("_", " "), totals[figure], document[figure])
    expected: dict[Any, Any] = {row["partner_id"]: row for row in known.table(truth, name)}
    got = {row["partner_id"]: row for row in document["rows"]}
    zero: dict[str, Any] = {"amount": "0.00"}

    def amounts(partner: str) -> tuple[Decimal, Decimal]:
        wanted, found = (Decimal(rows.get(partner, zero)["amount"]) for rows in (expected, got))
        return wanted, found

    def off(partner: str) -> tuple[Decimal, Decimal, str]:
        wanted, found = amounts(partner)
        return abs(found - wanted), wanted, partner

    if expected or got:
        wanted, found = amounts(max(expected.keys() | got.keys(), key=off))
        yield _check(name, f"the furthest off of {len(expected):,} partners", wanted, found)
    yield _check(name, "partners with an amount", len(expected), len(got))


def _check(measure: str, figure: str, expected: object, got: object) -> Check:
    difference = Decimal(str(got)) - Decimal(str(expected))
    return Check(measure, figure, str(expected), str(got), str(difference))


def _beside_truth(checks: list[Check]) -> str:
    head = ["measure", "figure", "expected", "got", "difference"]
    rows = [
        [
            check.measure,
            check.figure,
            *(f"{Decimal(n):,}" for n in (check.expected, check.got, check.difference)),
        ]
        for check in checks
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(cells)
        )
        for cells in (
            zip(row, widths, strict=True) for row in (head, ["-" * width for width in widths], *rows)
        )
    ]
    return (
        "Beside the known truth, worked out separately by slow and plain code:\n\n" + "\n".join(lines) + "\n"
    )
