"""Why: what each touchpoint of one deal was worth, and what each partner is on it, in words.

Nothing is decided here. :mod:`attribution.measures.evidence` and :mod:`attribution.measures.claims` have
decided; this finds the numbers, dates and records that made it so, and says it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import numpy as np

from attribution.columns import (
    APPROVALS,
    DAY,
    DEAL_TYPES,
    KINDS,
    OPEN,
    STRENGTHS,
    Bools,
    Claim,
    Decision,
    Flag,
    Ints,
    Party,
    from_micros,
)
from attribution.deals import Deals
from attribution.measures.claims import STANDINGS, STATES, Claims, claims
from attribution.measures.evidence import (
    VERDICTS,
    Codes,
    counting,
    decided_here,
    judgements,
    ranks,
)
from attribution.measures.wording import (
    RANKS,
    REFUSALS,
    RULES,
    called,
    date_text,
    day_text,
    days_text,
    listed,
    noun,
)
from attribution.views import Touchpoint

__all__ = ["Case", "Clause", "Evidence", "Standing"]

_APPROVED, _REJECTED = APPROVALS.index("approved"), APPROVALS.index("rejected")
_STRONG = STRENGTHS.index("strong")


@dataclass(frozen=True, slots=True)
class Clause:
    """One rule that had a say, with the numbers it worked with."""

    name: str
    """Setting of the policy, or what fixed rules are called: ``rank``, ``strength``, ``renewal``."""
    value: int | tuple[str, ...] | None
    """The setting; None for a fixed rule."""
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """One touchpoint of the deal, and what it was worth."""

    touchpoint: Touchpoint
    counts: bool
    """For influence, and as a player of credit."""
    refused: tuple[str, ...]
    """Why it does not count: keys of ``REFUSALS``."""
    sourcing: str
    """What became of it as sourcing evidence: ``won``, ``lost``, or one of ``evidence.VERDICTS``."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What one partner is on the deal, and why it is that and no more."""

    partner: Party
    standing: str
    """``sourced``, ``influenced``, ``weak_only``, ``too_late``, ``rejected`` or ``none``: nothing counts."""
    state: str | None
    """Approval of an influenced claim: ``approved``, ``auto_approved``, ``claimed`` or ``pending``."""
    headline: bool
    reasons: tuple[str, ...]
    claim: Claim
    """What ``Store.decide`` takes: the sourced claim of who sourced the deal, else the influenced one."""
    decisions: tuple[Decision, ...]
    """What was decided here about its claims, the oldest first."""


@dataclass(slots=True)
class Case:
    """One deal under the magnifying glass: facts of its touchpoints by their row in the snapshot."""

    deals: Deals
    position: int
    found: Claims = field(init=False)
    rows: Ints = field(init=False)
    approval: Codes = field(init=False)
    """What the CRM says of each row: code into ``APPROVALS``."""
    approved_at: Ints = field(init=False)
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
        self.approval, self.approved_at, self.expired = judgements(self.deals, self.rows)
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
        return day_text(micros, self.zone)

    # --- evidence ---------------------------------------------------------------------------------------

    def evidence(self) -> tuple[Evidence, ...]:
        """Every touchpoint of the deal, in path order, those that the account rule withholds too."""
        counts, verdict = counting(self.deals), self.found.sourcing.verdict
        return tuple(
            Evidence(
                self.deals.touchpoint(int(row)),
                bool(counts[row]),
                () if counts[row] else tuple(self._refusals(int(row))),
                self._sourcing(int(row), VERDICTS[verdict[row]]),
            )
            for row in self.rows
        )

    def _sourcing(self, row: int, verdict: str) -> str:
        if verdict != "valid":
            return verdict
        touchpoints = self.deals.snapshot.touchpoints
        mine = touchpoints.partner[row] == touchpoints.partner[self.source]
        return "won" if row == self.source else "valid" if mine else "lost"

    def _refusals(self, row: int) -> Iterator[str]:
        touchpoints, policy = self.deals.snapshot.touchpoints, self.deals.policy
        at = row - int(self.rows[0])
        if not self.deals.attached[row]:
            reached = int(np.searchsorted(touchpoints.reached, row))
            near = touchpoints.reach_from[reached] <= policy.influence_window_days * DAY
            self.note("influence_window_days")
            yield "ambiguous" if near else "out_of_reach"
        if touchpoints.flags[row] & Flag.OWN_ACCOUNT:
            yield "own_account"
        if self.approval[at] == _REJECTED:
            yield "rejected"
        if touchpoints.kind[row] == KINDS.index("handed_over"):
            yield "handed_over"
        if not touchpoints.flags[row] & Flag.STRENGTH:
            yield "exposure"
        if self.expired[at]:
            self.note("registration_term_days")
            yield "expired"
        if touchpoints.occurred_at[row] > self.end:
            self.note("influence_window_days")
            yield "after_close"
        if touchpoints.occurred_at[row] < self.end - policy.influence_window_days * DAY:
            self.note("influence_window_days")
            yield "outside_window"

    # --- partners ---------------------------------------------------------------------------------------

    def standings(self) -> tuple[Standing, ...]:
        """Every partner with a touchpoint on the deal: the source, then headline claims, then by path."""
        partners = list(dict.fromkeys(self.deals.snapshot.touchpoints.partner[self.rows].tolist()))
        standings = [self._standing(partner) for partner in partners]
        order = {"sourced": 0, "influenced": 1}
        return tuple(
            sorted(
                standings, key=lambda each: (order.get(each.standing, 2), each.standing, not each.headline)
            )
        )

    def _standing(self, partner: int) -> Standing:
        snapshot, found = self.deals.snapshot, self.found
        first, last = np.searchsorted(found.deal, [self.position, self.position + 1])
        pair = first + np.flatnonzero(found.partner[first:last] == partner)
        standing = STANDINGS[found.standing[pair[0]]] if len(pair) else "none"
        if self.source >= 0 and snapshot.touchpoints.partner[self.source] == partner:
            # evidence that is too old to count may still source
            standing = "sourced"
        state = STATES[found.state[pair[0]]] if standing == "influenced" else None
        party = snapshot.partners[partner]
        deal = snapshot.deals.id[self.position].decode()
        mine = tuple(
            each
            for each in snapshot.decisions
            if (each.claim.opportunity_id, each.claim.partner_id) == (deal, party.id)
        )
        reasons = [*self._sourcing_reasons(partner), *self._influence_reasons(partner, standing, state)]
        return Standing(
            party,
            standing,
            state,
            standing == "sourced" or state in ("approved", "auto_approved"),
            tuple(reasons),
            Claim(deal, party.id, "sourced" if standing == "sourced" else "influenced"),
            mine,
        )

    def _sourcing_reasons(self, partner: int) -> Iterator[str]:
        """What became of each piece of evidence by which the partner could have sourced the deal."""
        verdict = self.found.sourcing.verdict
        winner = self.deals.snapshot.touchpoints.partner[self.source] if self.source >= 0 else -1
        for row in self._of(partner):
            name = VERDICTS[verdict[row]]
            if name == "valid":
                if row == self.source:
                    yield self._won(row)
                elif winner != partner:
                    yield self._lost(row)
            elif name != "none":
                yield self._out(row, name)

    def _won(self, row: int) -> str:
        touchpoints = self.deals.snapshot.touchpoints
        self.note("rank")
        self.note("claim_days")
        noun, at = self._noun(row), self.day(int(touchpoints.occurred_at[row]))
        created = self.day(self.created_at)
        if touchpoints.kind[row] != KINDS.index("deal_registration"):
            self.note("void_by")
            return f"Its {noun} of {at} came first. The deal was created on {created}."
        self.note("registration_grace_days")
        approval_at = self._approved_at(row)
        until = self._holds_until(row)
        return (
            f"Its {noun} of {at} was approved on {self.day(approval_at)} and held until {self.day(until)}. "
            f"It covers the deal, which was created on {created}."
        )

    def _lost(self, row: int) -> str:
        """Valid evidence that another partner's was before."""
        touchpoints = self.deals.snapshot.touchpoints
        self.note("rank")
        rank, best = self.ranks[row - self.rows[0]], self.ranks[self.source - self.rows[0]]
        mine = f"Its {self._noun(row)} of {self.day(int(touchpoints.occurred_at[row]))} is valid"
        other = self.deals.snapshot.partners[touchpoints.partner[self.source]].name
        if rank != best:
            return f"{mine}, but {RANKS[best]} ranks before {RANKS[rank]}."
        theirs = f"that of {other}"
        ours, first = int(touchpoints.occurred_at[row]), int(touchpoints.occurred_at[self.source])
        if ours != first:
            return f"{mine}, but {theirs} came first, {self._apart(first, ours)}."
        ours, first = self._approved_at(row), self._approved_at(self.source)
        if ours != first:
            return f"{mine}, and {theirs} came at the same time but was approved first."
        return f"{mine}, but {theirs} of the same time has the smaller id."

    def _out(self, row: int, verdict: str) -> str:
        """Evidence that is not valid, and what made it so."""
        touchpoints, policy = self.deals.snapshot.touchpoints, self.deals.policy
        happened, created = int(touchpoints.occurred_at[row]), self.day(self.created_at)
        its = f"Its {self._noun(row)} of {self.day(happened)}"
        match verdict:
            case "rejected":
                return f"{its} was rejected in the CRM."
            case "declined":
                decided = decided_here(self.deals, "sourced")
                decision = decided[self.position, int(touchpoints.partner[row])]
                return f"Its claim to have sourced it was {self._decided(decision)}"
            case "unapproved":
                return f"{its} was never approved."
            case "pending":
                return f"{its} is not approved yet."
            case "submitted_late":
                self.note("registration_grace_days")
                days = policy.registration_grace_days
                return f"{its} came more than {days_text(days)} after the deal was created on {created}."
            case "expired":
                self.note("registration_term_days")
                until = self.day(self._holds_until(row))
                return f"{its} held until {until}. It had expired when the deal was created on {created}."
            case "outside_window":
                return f"{its} {self._outside(row)}"
            case "late":
                self.note("claim_days")
                recorded = self.day(self._recorded_at(row))
                return (
                    f"Its {self._noun(row)} was recorded on {recorded}. That is too late: the deal was "
                    f"created on {created}, and {days_text(policy.claim_days)} are allowed."
                )
            case "void":
                self.note("void_by")
                return f"{its} is void. {self._blocker(happened)}"
            case _:
                self.note("renewal")
                return f"{its} brings nothing: the deal is a renewal."

    def _outside(self, row: int) -> str:
        touchpoints, policy = self.deals.snapshot.touchpoints, self.deals.policy
        created = self.day(self.created_at)
        linked = bool(touchpoints.flags[row] & Flag.LINKED)
        name = "lead_max_age_days" if linked else "sourcing_window_days"
        self.note(name)
        if touchpoints.occurred_at[row] > self.created_at:
            return f"came after the deal was created on {created}."
        return f"came more than {days_text(getattr(policy, name))} before the deal was created on {created}."

    def _blocker(self, at: int) -> str:
        """What voids evidence of an instant: the oldest other new deal of the account that was open then.

        Else the last direct touch on the account before it.
        """
        columns, names = self.deals.snapshot.deals, self.deals.snapshot.names
        new = [DEAL_TYPES.index("new"), DEAL_TYPES.index("unclassified")]
        same = (columns.account == columns.account[self.position]) & np.isin(columns.deal_type, new)
        was_open = same & (columns.created_at <= at) & (at < columns.closed_at)
        was_open[self.position] = False
        others = np.flatnonzero(was_open)
        if "open_opportunity" not in self.deals.policy.void_by or not len(others):
            return self._direct_touch(at)
        other = int(others[np.argmin(columns.created_at[others])])
        closed_at = int(columns.closed_at[other])
        since = self.day(int(columns.created_at[other]))
        opportunity = f"Opportunity {called(columns.id[other].decode(), names[other])} of the same account"
        if closed_at == OPEN:
            return f"{opportunity} has been open since {since}."
        return f"{opportunity} was open from {since} to {self.day(closed_at)}."

    def _direct_touch(self, at: int) -> str:
        """The last direct touch on the account by an instant."""
        self.note("direct_activity_days")
        acts, account = self.deals.snapshot.direct, self.deals.snapshot.deals.account[self.position]
        rows = np.flatnonzero((acts.account == account) & (acts.occurred_at <= at))
        row = rows[np.argmax(acts.occurred_at[rows])]
        what = noun(self.deals.snapshot.kinds[acts.kind[row]])
        source, record = self.deals.snapshot.objects[acts.object[row]], acts.record[row].decode()
        called_so = f"{source} {record}" if source else record
        when = self.day(int(acts.occurred_at[row]))
        return f"Our own people were working the account: {what} of {when} ({called_so})."

    def contenders(self) -> set[str]:
        """Ids of the partners with valid evidence who did not source the deal."""
        valid = self.rows[self.found.sourcing.verdict[self.rows] == VERDICTS.index("valid")]
        partner = self.deals.snapshot.touchpoints.partner
        return {self.deals.partners[code].id for code in set(partner[valid]) - {partner[self.source]}}

    def contested_by_direct(self) -> str | None:
        """What would have voided the evidence of the source, were it no approved registration."""
        if not self.found.sourcing.contested_by_direct[self.position]:
            return None
        return self._blocker(int(self.deals.snapshot.touchpoints.occurred_at[self.source]))

    def _influence_reasons(self, partner: int, standing: str, state: str | None) -> Iterator[str]:
        rows = self._of(partner)
        counting_rows = rows[counting(self.deals)[rows]]
        match standing:
            case "sourced":
                overruled = decided_here(self.deals, "sourced").get((self.position, partner))
                if overruled is not None and not overruled.approve:
                    yield f"The CRM outranks what was decided here: {self._decided(overruled)}"
                return
            case "none":
                refused = dict.fromkeys(reason for row in rows for reason in self._refusals(int(row)))
                yield f"None of its evidence counts: {'; '.join(REFUSALS[reason] for reason in refused)}."
                return
            case "weak_only":
                self.note("strength")
                n = len(counting_rows)
                much = "one touchpoint" if n == 1 else f"{n} touchpoints on one day"
                yield f"Its evidence is weak, and too little: {much}."
                return
            case "too_late":
                self.note("late_days")
                yield self._too_late(counting_rows)
                return
            case "rejected":
                decided = decided_here(self.deals, "influenced")[self.position, partner]
                yield f"Its influence was {self._decided(decided)}"
                return
        self.note("strength")
        if self.closed_at == OPEN:
            yield "The deal is open, so the claim is provisional."
        else:
            self.note("late_days")
        approved = counting_rows[self.approval[counting_rows - self.rows[0]] == _APPROVED]
        decision = decided_here(self.deals, "influenced").get((self.position, partner))
        if state == "pending":
            yield "Its approval is pending in the CRM."
        elif state == "approved" and len(approved):
            yield "Its influence was approved in the CRM."
        elif state == "approved" and decision is not None:
            yield f"Its influence was {self._decided(decision)}"
        elif state == "auto_approved":
            flags = self.deals.snapshot.touchpoints.flags[counting_rows]
            strong = self.deals.strength[counting_rows] == _STRONG
            if (strong & ((flags & Flag.BY_OWNER) != 0)).any():
                yield "The owner of the opportunity recorded it, which approves it."
            else:
                self.note("partner_team")
                yield "One of our own people was in the meeting, which approves it."
        elif state == "claimed":
            noun = self._noun(int(counting_rows[0]))
            yield f"Nobody of ours has confirmed its {noun} of {self._first_day(counting_rows)} yet."
        if decision is not None and (state == "pending" or (state == "approved" and not decision.approve)):
            yield f"The CRM outranks what was decided here: {self._decided(decision)}"

    def _too_late(self, rows: Ints) -> str:
        touchpoints, policy = self.deals.snapshot.touchpoints, self.deals.policy
        first = int(touchpoints.occurred_at[rows].min())
        limit = self.closed_at - policy.late_days * DAY
        first_text = f"Its first counting touchpoint is of {self.day(first)}"
        if first > limit:
            return (
                f"{first_text}, and one of {self.day(limit)} or earlier is needed: "
                f"{days_text(policy.late_days)} before the close on {self.day(self.closed_at)}."
            )
        reopened = int(self.deals.snapshot.deals.last_open_spell_at[self.position])
        return (
            f"{first_text}, and one before the last open stage is needed, which began on "
            f"{self.day(reopened)}."
        )

    # --- words ------------------------------------------------------------------------------------------

    def _of(self, partner: int) -> Ints:
        mine: Ints = self.rows[self.deals.snapshot.touchpoints.partner[self.rows] == partner]
        return mine

    def _noun(self, row: int) -> str:
        kind = self.deals.snapshot.kinds[self.deals.snapshot.touchpoints.kind[row]]
        return noun(kind)

    def _first_day(self, rows: Ints) -> str:
        return self.day(int(self.deals.snapshot.touchpoints.occurred_at[rows[0]]))

    def _recorded_at(self, row: int) -> int:
        touchpoints = self.deals.snapshot.touchpoints
        return int(touchpoints.recorded_at[row])

    def _approved_at(self, row: int) -> int:
        return int(self.approved_at[row - self.rows[0]])

    def _holds_until(self, row: int) -> int:
        """The last instant at which a record holds: its expiry, else the end of its term."""
        touchpoints = self.deals.snapshot.touchpoints
        at = int(np.searchsorted(touchpoints.judged, row))
        expires_at = int(touchpoints.expires_at[at])
        if expires_at != OPEN:
            return expires_at - 1
        self.note("registration_term_days")
        return self._approved_at(row) + self.deals.policy.registration_term_days * DAY

    def _apart(self, first: int, then: int) -> str:
        """When the first of two instants was; with its time where they share the day."""
        text = f"on {self.day(first)}"
        if self.day(first) != self.day(then):
            return text
        return f"{text} at {from_micros(first).astimezone(self.zone):%H:%M:%S}"

    def _decided(self, decision: Decision) -> str:
        at = from_micros(round(decision.at.timestamp() * 1e6)).astimezone(self.zone)
        word = "approved" if decision.approve else "rejected"
        return f"{word} by {decision.by} on {date_text(at)}: {decision.reason.rstrip('.')}."

    def note(self, name: str) -> None:
        """Note that a rule had a say."""
        if name in self.clauses:
            return
        policy = self.deals.policy
        value = getattr(policy, name, None)
        created, end = self.created_at, self.end
        bounds = {
            "claim_days": lambda: created + policy.claim_days * DAY,
            "registration_grace_days": lambda: created + policy.registration_grace_days * DAY,
            "lead_max_age_days": lambda: created - policy.lead_max_age_days * DAY,
            "sourcing_window_days": lambda: created - policy.sourcing_window_days * DAY,
            "influence_window_days": lambda: end - policy.influence_window_days * DAY,
            "late_days": lambda: end - policy.late_days * DAY,
        }
        bound = self.day(bounds[name]()) if name in bounds else ""
        days = days_text(value) if isinstance(value, int) else ""
        names = listed(value) if isinstance(value, tuple) and value else "none"
        text = RULES[name].format(days=days, bound=bound, end=self.day(end), names=names)
        self.clauses[name] = Clause(name, value, text)
