"""The facts of one deal, what people call them, and the rules that had a say in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import numpy as np

from attribution.columns import DAY, OPEN, Bools, Decision, Ints, to_micros
from attribution.deals import Deals
from attribution.measures.claims import Claims, claims
from attribution.measures.evidence import Codes, judgements, ranks
from attribution.measures.wording import RULES, day_texts, days_text, listed, noun

__all__ = ["Clause", "Facts"]


@dataclass(frozen=True, slots=True)
class Clause:
    """One rule that had a say, with the numbers it worked with."""

    name: str
    """Setting of the policy, or what fixed rules are called: ``rank``, ``strength``, ``renewal``."""
    value: int | tuple[str, ...] | None
    """The setting; None for a fixed rule."""
    text: str


@dataclass(slots=True)
class Facts:
    """One deal under the magnifying glass: facts of its touchpoints by their row in the snapshot."""

    deals: Deals
    position: int
    found: Claims = field(init=False)
    rows: Ints = field(init=False)
    approval: Codes = field(init=False)
    """What the CRM says of each row: code into ``APPROVALS``."""
    approvals_at: Ints = field(init=False)
    expired: Bools = field(init=False)
    ranks: Codes = field(init=False)
    zone: ZoneInfo = field(init=False)
    source: int = field(init=False)
    clauses: dict[str, Clause] = field(init=False, default_factory=dict)
    """Every rule that was asked so far, in that order."""

    def __post_init__(self) -> None:
        snapshot = self.deals.snapshot
        self.found = claims(self.deals)
        begin, end = (int(at) for at in snapshot.touchpoints.offsets[self.position : self.position + 2])
        self.rows = np.arange(begin, end, dtype=np.int64)
        self.approval, self.approvals_at, self.expired = judgements(self.deals, self.rows)
        self.ranks = ranks(self.deals)[self.rows]
        self.zone = ZoneInfo(snapshot.zone)
        self.source = int(self.found.sourcing.source[self.position])

    @property
    def created_at(self) -> int:
        """When the deal was created."""
        return int(self.deals.snapshot.deals.created_at[self.position])

    @property
    def closed_at(self) -> int:
        """When it was closed; ``OPEN`` if it is open."""
        return int(self.deals.snapshot.deals.closed_at[self.position])

    @property
    def end(self) -> int:
        """Until when touchpoints count: the close, or as_of."""
        return min(self.closed_at, self.deals.snapshot.as_of)

    def day(self, micros: int) -> str:
        """The date of an instant in the organization's zone, as people write it."""
        return self.days(micros)[0]

    def days(self, *micros: int, beside: Sequence[int] = ()) -> list[str]:
        """Dates of instants that are compared; all with the time if two fall on one day.

        Those ``beside`` are compared, too, but are not told.
        """
        return day_texts(micros, self.zone, beside=beside)

    def of(self, partner: int) -> Ints:
        """Rows of a partner."""
        mine: Ints = self.rows[self.deals.snapshot.touchpoints.partner[self.rows] == partner]
        return mine

    def noun(self, row: int) -> str:
        """What people call the evidence at a row."""
        return noun(self.deals.snapshot.kinds[self.deals.snapshot.touchpoints.kind[row]])

    def occurred_at(self, row: int) -> int:
        """When the act happened."""
        return int(self.deals.snapshot.touchpoints.occurred_at[row])

    def recorded_at(self, row: int) -> int:
        """When its record was created."""
        return int(self.deals.snapshot.touchpoints.recorded_at[row])

    def approved_at(self, row: int) -> int:
        """When its record was approved."""
        return int(self.approvals_at[row - self.rows[0]])

    def expires_at(self, row: int) -> int:
        """When a judged record ceases to hold by a date of its own; ``OPEN`` without one."""
        touchpoints = self.deals.snapshot.touchpoints
        return int(touchpoints.expires_at[np.searchsorted(touchpoints.judged, row)])

    def holds_until(self, row: int) -> int:
        """The last instant at which a judged record holds: its expiry, else the end of its term."""
        if self.expires_at(row) != OPEN:
            return self.expires_at(row) - 1
        self.note("registration_term_days")
        return self.approved_at(row) + self.deals.policy.registration_term_days * DAY

    def decided(self, decision: Decision) -> str:
        """What was decided here, by whom, when and why."""
        word = "approved" if decision.approve else "rejected"
        made_at = to_micros(decision.at)
        # what is known from the end of a day on: of which day would be a guess
        at_midnight = self.day(made_at - 1) != self.day(made_at)
        (at,) = self.days(made_at, beside=[made_at] if at_midnight else [])
        return f"{word} by {decision.by} on {at}: {decision.reason.rstrip('.')}."

    def note(self, name: str) -> None:
        """Note that a rule had a say."""
        if name in self.clauses:
            return
        value = getattr(self.deals.policy, name, None)
        limits, judged = self._limits(name)
        told = self.days(*limits, beside=judged)
        days = days_text(value) if isinstance(value, int) else ""
        names = listed(value) if isinstance(value, tuple) and value else "none"
        text = RULES[name].format(*told, days=days, names=names)
        self.clauses[name] = Clause(name, value, text)

    def _limits(self, name: str) -> tuple[tuple[int, ...], Sequence[int]]:
        """The instants that a rule sets for this deal, and those of the evidence that it judges."""
        policy, created, end = self.deals.policy, self.created_at, self.end
        touchpoints = self.deals.snapshot.touchpoints
        happened: list[int] = touchpoints.occurred_at[self.rows].tolist()
        recorded: list[int] = touchpoints.recorded_at[self.rows[self.ranks > 0]].tolist()
        limits: dict[str, tuple[tuple[int, ...], Sequence[int]]] = {
            "claim_days": ((created + policy.claim_days * DAY,), recorded),
            "registration_grace_days": ((created + policy.registration_grace_days * DAY,), happened),
            "lead_max_age_days": ((created - policy.lead_max_age_days * DAY,), happened),
            "sourcing_window_days": ((created - policy.sourcing_window_days * DAY,), happened),
            "influence_window_days": ((end - policy.influence_window_days * DAY, end), happened),
            "late_days": ((end - policy.late_days * DAY,), happened),
        }
        return limits.get(name, ((), ()))
