"""Explanation: the verdict on one deal, the rules and records behind it, and who lost and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from attribution.columns import NOBODY, to_micros
from attribution.deals import Deals, party_codes
from attribution.errors import UsageError
from attribution.measures.credit import UNATTRIBUTED, attribute
from attribution.measures.facts import Clause, Facts
from attribution.measures.reasons import Evidence, Standing, evidence_of, standings_of
from attribution.measures.results import Row, Table, plain
from attribution.measures.verdict import amount_text, stranded_of, verdict_of
from attribution.measures.waterfall import STEPS, steps
from attribution.measures.wording import REFUSALS, day_texts, noun
from attribution.models import FirstTouch, LastTouch, Linear, Position, TimeDecay
from attribution.models.base import AttributionModel, model_name
from attribution.views import Deal

__all__ = ["Explanation", "explain"]

STANDARD: tuple[AttributionModel, ...] = (FirstTouch(), LastTouch(), Linear(), Position(), TimeDecay())
"""Models by which a deal is credited if nothing else is asked for."""
_STATES = {
    "approved": "influenced it, approved",
    "auto_approved": "influenced it, approved automatically",
    "claimed": "claims influence, not approved",
    "pending": "claims influence, approval pending",
}
_SOURCING = {
    "won": "sources the deal",
    "valid": "valid for sourcing",
    "lost": "valid for sourcing, but not first",
    "none": "",
    "declined": "no source: the claim was rejected here",
    "submitted_late": "no source: submitted too late",
    "outside_window": "no source: outside its window",
    "late": "no source: recorded too late",
    "renewal": "no source: the deal is a renewal",
}


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """Everything that is to be said of one deal: print it, or take it apart."""

    deal: Deal
    step: str
    """Of the waterfall: ``sourced``, ``influenced``, ``unqualified``, ``exposed`` or ``direct``."""
    verdict: tuple[str, ...]
    """The outcome, in sentences."""
    partners: tuple[Standing, ...]
    """Every partner with a touchpoint, the source first."""
    clauses: tuple[Clause, ...]
    """The rules that had a say."""
    evidence: tuple[Evidence, ...]
    """Every touchpoint, in path order."""
    stranded: tuple[Row, ...]
    """Evidence of the deal's account that reached no deal: ``touchpoint, occurred_at, partner, partner_id,
    kind, reason`` (``ambiguous`` or ``orphan``)."""
    credit: dict[str, Table]
    """By the name of the model: what each touchpoint gets, as ``Credit.of`` says it."""
    known_at: datetime | None
    policy_hash: str
    mapping_hash: str
    zone: str

    @property
    def rivals(self) -> tuple[Standing, ...]:
        """The partners who did not source the deal."""
        return tuple(each for each in self.partners if each.standing != "sourced")

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: amounts as decimal strings, instants as ISO 8601 in UTC."""
        deal = self.deal
        document: dict[str, Any] = plain(
            {
                "opportunity_id": deal.id,
                "name": deal.name,
                "outcome": deal.outcome,
                "deal_type": deal.deal_type,
                "created_at": deal.created_at,
                "closed_at": deal.closed_at,
                "closed_on": None if deal.closed_on is None else deal.closed_on.isoformat(),
                "amount": deal.amount,
                "currency": deal.currency,
                "as_of": deal.as_of,
                "known_at": self.known_at,
                "policy_hash": self.policy_hash,
                "mapping_hash": self.mapping_hash,
                "time_zone": self.zone,
                "step": self.step,
                "verdict": list(self.verdict),
                "partners": [_standing(each) for each in self.partners],
                "clauses": [
                    {"name": each.name, "value": _value(each.value), "text": each.text}
                    for each in self.clauses
                ],
                "evidence": [_evidence(each) for each in self.evidence],
                "stranded": list(self.stranded),
                "credit": {name: _credit(table) for name, table in self.credit.items()},
            }
        )
        return document

    def __str__(self) -> str:
        return "\n".join(line for title, lines in self._parts() for line in ("", title, *lines))[1:]

    __repr__ = __str__

    def _repr_html_(self) -> str:
        (title, verdict), *parts = self._parts()
        paragraphs = "".join(f"<p>{escape(line)}</p>" for line in verdict)
        rest = "".join(
            f"<h4>{escape(name)}</h4><pre>{escape(chr(10).join(lines))}</pre>" for name, lines in parts
        )
        return f"<h3>{escape(title)}</h3>{paragraphs}{rest}"

    def _parts(self) -> list[tuple[str, list[str]]]:
        """Title and lines of each part, as people read it."""
        parts = [(self.title, list(self.verdict))]
        if self.partners:
            parts.append(("Partners", [line for each in self.partners for line in self.told(each)]))
        if self.clauses:
            wide = max(len(each.name) for each in self.clauses)
            parts.append(("Rules", [f"  {each.name.ljust(wide)}  {each.text}" for each in self.clauses]))
        if self.evidence:
            parts.append(
                ("Evidence", [line for at, _ in enumerate(self.evidence) for line in self._record(at)])
            )
        if self.stranded:
            parts.append(
                (
                    "Evidence of the account that reached no deal",
                    [
                        f"  {self._at(row['occurred_at'])}  {row['partner']}, {noun(row['kind'])}, "
                        f"{row['touchpoint']}: {row['reason']}"
                        for row in self.stranded
                    ],
                )
            )
        if self.credit:
            parts.append((f"Credit by model, {self.deal.currency}", self._credit()))
        return parts

    @property
    def title(self) -> str:
        """Which deal it is, as of when, and in which zone days and times are told."""
        deal = self.deal
        called = deal.id if deal.name == deal.id else f"{deal.name} ({deal.id})"
        amount = "without an amount" if deal.amount is None else amount_text(deal)
        when = "open" if deal.closed_at is None else f"{deal.outcome} on {self._day(deal.closed_at)}"
        until = self._day(deal.as_of)
        if deal.as_of.astimezone(ZoneInfo(self.zone)).time() == time():
            until = f"the end of {self._day(deal.as_of - timedelta(microseconds=1))}"
        return f"{called}: {when}, {amount}, as of {until}, time zone {self.zone}"

    def standing_of(self, partner: str) -> Standing:
        """What one partner, called by name or id, is on the deal.

        Raises
        ------
        UsageError
            If no partner, or several, with a touchpoint on the deal are called so.
        """
        parties = tuple(each.partner for each in self.partners)
        return self.partners[party_codes(parties, partner, "partner")[0]]

    def told(self, each: Standing) -> list[str]:
        """What one partner is and why, in lines."""
        standing = each.standing
        if standing == "influenced":
            standing = _STATES[each.state or "claimed"]
        else:
            standing = {"sourced": "sourced it"}.get(standing, "no claim")
        return [f"  {each.partner.name}: {standing}", *(f"    {reason}" for reason in each.reasons)]

    def _record(self, at: int) -> list[str]:
        each = self.evidence[at]
        touchpoint = each.touchpoint
        program = f", {touchpoint.program.name}" if touchpoint.program else ""
        what = f"{touchpoint.partner.name}{program}, {noun(touchpoint.kind)}, {touchpoint.strength}"
        worth = (
            "counts" if each.counts else f"does not count: {', '.join(REFUSALS[why] for why in each.refused)}"
        )
        if touchpoint.self_deal:
            worth += "; self-deal"
        sourcing = _SOURCING.get(each.sourcing, f"no source: {each.sourcing}")
        judged, approved_at = touchpoint.approval, touchpoint.approved_at
        if approved_at is not None:
            # what is approved later is pending as of now
            judged = f"approved {self._at(approved_at)}" if approved_at <= self.deal.as_of else "pending"
        record = f"{touchpoint.id}, recorded {self._at(touchpoint.recorded_at)}"
        return [
            f"  {at + 1}. {self._at(touchpoint.occurred_at)}  {what}",
            f"     {f'{record}, {judged}' if judged else record}",
            f"     {worth}{'; ' * bool(sourcing)}{sourcing}",
        ]

    def _credit(self) -> list[str]:
        """One line per touchpoint that counts, one column per model; shares where the deal is unvalued."""
        column = "share" if self.deal.amount is None else "amount"
        players = [at for at, each in enumerate(self.evidence) if each.counts]
        body = [["touchpoint", *self.credit]]
        for at in players:
            label = f"{at + 1}. {self.evidence[at].touchpoint.partner.name}"
            body.append([label, *(_cell(self._row(table, at)[column]) for table in self.credit.values())])
        rest = [table.remainder[column] for table in self.credit.values() if table.remainder]
        if any(rest):
            body.append([UNATTRIBUTED, *map(_cell, rest)])
        widths = [max(map(len, cells)) for cells in zip(*body, strict=True)]
        return [
            "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in body
        ]

    def _row(self, table: Table, at: int) -> Row:
        return next(row for row in table.rows if row["touchpoint"] == self.evidence[at].touchpoint.id)

    def _day(self, instant: datetime) -> str:
        return day_texts([to_micros(instant)], ZoneInfo(self.zone))[0]

    def _at(self, instant: datetime) -> str:
        digits = "%H:%M:%S" if instant.second else "%H:%M"
        return f"{instant.astimezone(ZoneInfo(self.zone)):%Y-%m-%d {digits}}"


def explain(
    deals: Deals, opportunity_id: str, *, models: Sequence[AttributionModel] = STANDARD
) -> Explanation:
    """Say who sourced and who influenced one deal, by which rules and records, and why the others did not.

    Parameters
    ----------
    deals
        With the deal among the selected ones; the policy that they carry is the one explained. Models that
        learn from data learn from all of them.
    opportunity_id
        Id of 18 or 15 characters.
    models
        By which to show the credit, touchpoint by touchpoint; default: first and last touch, linear,
        position and time decay. None of them: ``()``.

    Raises
    ------
    UsageError
        If there is no such deal, or a model is given twice.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> deals = Deals.from_frames(
    ...     {
    ...         "id": ["D1"],
    ...         "created_at": ["2026-01-10T00:00Z"],
    ...         "closed_at": ["2026-03-01T00:00Z"],
    ...         "is_won": [True],
    ...         "amount": [1000],
    ...         "currency": ["USD"],
    ...     },
    ...     {
    ...         "deal_id": ["D1"],
    ...         "occurred_at": ["2026-01-05T09:30Z"],
    ...         "partner": ["Northgate"],
    ...         "kind": ["referral"],
    ...     },
    ...     as_of=datetime(2026, 6, 30, tzinfo=UTC),
    ... )
    >>> explain(deals, "D1").verdict
    ('Northgate sourced this deal.', '1,000.00 USD count as sourced.')
    """
    names = [model_name(model) for model in models]
    if len(set(names)) < len(names):
        raise UsageError(f"cannot show {', '.join(names)}", hint="pass each model once")
    deal, snapshot = deals[opportunity_id], deals.snapshot
    position = int(np.searchsorted(snapshot.deals.id, np.bytes_(deal.id.encode())))
    facts = Facts(deals, position)
    partners, evidence = standings_of(facts), evidence_of(facts)
    step = STEPS[steps(deals)[position]]
    verdict = tuple(verdict_of(facts, partners, deal, step))
    return Explanation(
        deal,
        step,
        verdict,
        partners,
        tuple(facts.clauses.values()),
        evidence,
        tuple(stranded_of(facts)),
        {
            name: attribute(deals, model, of="all").of(deal.id)
            for name, model in zip(names, models, strict=True)
        },
        deals.known_at,
        deals.policy.hash,
        snapshot.mapping_hash,
        snapshot.zone,
    )


def _standing(each: Standing) -> Row:
    return {
        "partner": each.partner.name,
        "partner_id": each.partner.id,
        "standing": each.standing,
        "state": each.state,
        "headline": each.headline,
        "reasons": list(each.reasons),
        "claim": {"kind": each.claim.kind, "opportunity_id": each.claim.opportunity_id},
        "decisions": [
            {
                "kind": decision.claim.kind,
                "approve": decision.approve,
                "by": decision.by,
                "reason": decision.reason,
                "at": decision.at,
            }
            for decision in each.decisions
        ],
    }


def _evidence(each: Evidence) -> Row:
    touchpoint = each.touchpoint
    parts = touchpoint.id.split(":")
    program = touchpoint.program
    return {
        "touchpoint": touchpoint.id,
        "object": parts[0] if len(parts) == 3 else None,
        "record_id": parts[1] if len(parts) == 3 else touchpoint.id,
        "partner": touchpoint.partner.name,
        "partner_id": touchpoint.partner.id,
        "program": program.name if program else NOBODY,
        "program_id": program.id if program else None,
        "kind": touchpoint.kind,
        "strength": touchpoint.strength,
        "occurred_at": touchpoint.occurred_at,
        "recorded_at": touchpoint.recorded_at,
        "approval": touchpoint.approval,
        "approved_at": touchpoint.approved_at,
        "expires_at": touchpoint.expires_at,
        "self_deal": touchpoint.self_deal,
        "counts": each.counts,
        "refused": list(each.refused),
        "sourcing": each.sourcing,
    }


def _credit(table: Table) -> Row:
    rows = [
        {"touchpoint": row["touchpoint"], "amount": row["amount"], "share": row["share"]}
        for row in table.rows
    ]
    return {"rows": rows, "total": table.foot["total"], "unattributed": table.foot["unattributed"]}


def _value(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _cell(value: Decimal | float) -> str:
    return f"{value:,f}" if isinstance(value, Decimal) else f"{value:.1%}"
