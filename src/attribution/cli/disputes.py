"""Commands about one deal: why it counts as it does, and decisions about claims on it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from attribution.cli.models import read_model
from attribution.cli.options import AsJson, Debug, MappingFile, PolicyFile, StorePath, instant, open_store
from attribution.cli.reports import AsOf, KnownAt, read_deals
from attribution.errors import UsageError

__all__ = ["decide", "explain"]

Opportunity = Annotated[str, typer.Argument(help="Id of the opportunity.", show_default=False)]


def explain(
    opportunity: Opportunity,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model by which to show the credit; repeatable.", show_default=False),
    ] = None,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    store: StorePath = None,
    mapping: MappingFile = None,
    policy: PolicyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Who sourced and influenced one deal, by which rules and records, and why the others did not."""
    from attribution.measures import explanation

    models = [read_model(name, {}) for name in model or ()] or explanation.STANDARD
    deals = read_deals(store, mapping, policy, as_of, known_at)
    told = explanation.explain(deals, opportunity, models=models)
    sys.stdout.write(json.dumps(told.to_dict(), ensure_ascii=False) + "\n" if as_json else f"{told}\n")


def decide(
    opportunity: Opportunity,
    partner: Annotated[str, typer.Argument(help="Name or id of the partner.", show_default=False)],
    by: Annotated[str, typer.Option(help="Who decides: the id of a user, or a name.")],
    reason: Annotated[str, typer.Option(help="Why, in words that will be read later.")],
    approve: Annotated[bool, typer.Option("--approve", help="Decide for the claim.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Decide against it.")] = False,
    claim: Annotated[
        str | None,
        typer.Option(
            help="sourced or influenced; default: sourced of the partner who sourced it, else influenced.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="From when on it is known: a date (its end) or an instant; default: now.",
            show_default=False,
        ),
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Approve or reject what a partner claims of a deal, for good; then say how the partner stands."""
    from attribution.columns import Claim
    from attribution.measures.explanation import explain

    if approve == reject:
        fault = "both --approve and --reject are given" if approve else "nothing is decided"
        raise UsageError(fault, hint="pass --approve or --reject")
    kept = open_store(store)
    decided_at = None if at is None else instant(at, "--at", kept.zone)
    if decided_at is not None and decided_at > datetime.now(UTC):
        # later decisions could not overrule it until then
        raise UsageError(f"--at {at!r} is still to come", hint="leave --at out to decide as of now")
    before = explain(kept.deals(), opportunity, models=()).standing_of(partner)
    kind = claim or before.claim.kind
    if claim is None and any(each.claim.kind != kind for each in before.decisions):
        # what stands now may stand because of them: which claim is meant must be said
        raise UsageError(
            f"another claim of {before.partner.name} on this deal was decided before",
            hint="pass --claim sourced or --claim influenced",
        )
    meant = Claim(before.claim.opportunity_id, before.partner.id, kind)
    decision = kept.decide(meant, approve=approve, by=by, reason=reason, at=decided_at)
    told = explain(kept.deals(), opportunity, models=())
    if as_json:
        sys.stdout.write(json.dumps(told.to_dict(), ensure_ascii=False) + "\n")
        return
    word = "approved" if decision.approve else "rejected"
    lines = [f"{kind} claim of {before.partner.name} on {meant.opportunity_id} {word} by {decision.by}"]
    lines += [told.title, *told.verdict, "", *told.told(told.standing_of(before.partner.id))]
    sys.stdout.write("\n".join(lines) + "\n")
