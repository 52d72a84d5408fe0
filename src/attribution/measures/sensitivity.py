"""What-if: how far the headline numbers depend on the rules, and on which of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from attribution import money
from attribution.commented import spelled
from attribution.deals import Deals
from attribution.errors import UsageError, known
from attribution.measures.claims import influenced, sourced
from attribution.measures.results import Row, Table, heading
from attribution.measures.waterfall import waterfall
from attribution.policy import Policy

__all__ = ["WhatIf", "what_if"]

BASE = "(base)"
TOGETHER = "(together)"
"""What several changed rules do beyond what each does alone."""
CLAIMED = ("sourced", "influenced")
"""Totals of the two measures, which partners have a part in."""
HEADLINES = (*CLAIMED, "influenced_step", "unqualified", "exposed", "direct")
"""What is compared. Without ``influenced`` they are the steps of the waterfall, and add up to ``selected``;
``influenced_step`` has the deals that some partner influenced and nobody sourced."""

_ENDS = ("lowest", "highest", "band")
_Numbers = dict[str, int]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Moves(Table):
    """A row per policy and rule: how far each headline number moves.

    People are not shown the numbers that no rule moves; documents, frames and files have all of them.
    """

    def _text(self) -> tuple[list[str], list[list[str]]]:
        shown, body = Table._text(self)
        changes = {f"{each}_change_amount" for each in HEADLINES}
        kept = [
            at for at, name in enumerate(shown) if name not in changes or any(row[name] for row in self.rows)
        ]
        return [shown[at] for at in kept], [[cells[at] for at in kept] for cells in body]


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class WhatIf(Table):
    """A row per policy, the base first: the headline numbers, and how far each is from the base's.

    They are the totals of ``sourced`` and ``influenced`` and the steps of the waterfall: ``sourced``,
    ``influenced_step``, ``unqualified``, ``exposed`` and ``direct`` add up to ``selected``. The foot has the
    lowest and the highest of each number, and the difference.
    """

    rules: Moves
    """A row per policy and rule in which it differs from the base: what that rule alone moves. Where several
    differ, a row ``(together)`` has the rest, so that the rows of a policy add up to its change."""
    deals: Deals
    policies: dict[str, Policy]

    def per(self, *names: str) -> Table:
        """The range of the headline numbers for each partner, program or whatever tables are grouped by.

        Rows, those that move most first, have the lowest and the highest amount over all policies, the base
        included, and ``band_amount``, the wider of the two differences. Amounts of ``influenced`` overlap:
        they do not add up over partners.

        Raises
        ------
        UsageError
            As :meth:`attribution.measures.measure.Measure.by` does.
        """
        names = names or ("partner",)
        zero = money.major(0, self.deals.currency)
        found: dict[tuple[Any, ...], dict[str, list[Decimal]]] = {}
        labels: tuple[str, ...] = ()
        for policy in self.policies.values():
            deals = self.deals.with_policy(policy)
            for headline in CLAIMED:
                measure = sourced if headline == "sourced" else influenced
                table = measure(deals, of=self.head["of"]).by(*names)
                labels = table.labels
                for each in table.rows:
                    amounts = found.setdefault(tuple(each[label] for label in labels), {})
                    amounts.setdefault(headline, []).append(each["amount"])
        rows = []
        for key, amounts in found.items():
            row: Row = dict(zip(labels, key, strict=True))
            bands = []
            for headline in CLAIMED:
                given = amounts.get(headline, [])
                # under a policy that has no row for it, the amount is zero
                given = given + [zero] * (len(given) < len(self.policies))
                row[f"{headline}_lowest_amount"], row[f"{headline}_highest_amount"] = min(given), max(given)
                bands.append(max(given) - min(given))
            rows.append(row | {"band_amount": max(bands)})
        rows.sort(key=lambda row: (-row["band_amount"], *(row[label] or "" for label in labels)))
        columns = tuple(f"{headline}_{end}_amount" for headline in CLAIMED for end in ("lowest", "highest"))
        kept = {name: self.foot[name] for name in ("selected", "n_deals", "n_policies")}
        return Table(self.head, names, (*labels, *columns, "band_amount"), rows, kept)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: that of a table, and ``rules`` with the rows of :attr:`rules`."""
        return Table.to_dict(self) | {"rules": self.rules.to_dict()["rows"]}

    def to_text(self, rows: int | None = None) -> str:
        """Aligned text for people: the policies, then the rules that move the numbers."""
        text = Table.to_text(self, rows)
        return text if not self.rules.rows else f"{text}\n\n{self.rules.to_text(rows)}"

    def _text(self) -> tuple[list[str], list[list[str]]]:
        """For people: the numbers themselves; what moves them is in the other table."""
        shown = ["policy", *(f"{each}_amount" for each in HEADLINES)]
        return shown, [[row["policy"], *(f"{row[name]:,f}" for name in shown[1:])] for row in self.rows]

    def _notes(self) -> list[tuple[str, str]]:
        """For people: one line per number, from the lowest to the highest."""
        ends = {each: [f"{each}_{end}_amount" for end in _ENDS] for each in HEADLINES}
        ranges = {name for names in ends.values() for name in names}
        rest = {name: value for name, value in self.foot.items() if name not in ranges}
        notes = Table._notes(replace(self, foot=rest))
        for each, names in ends.items():
            low, high, band = (f"{self.foot[name]:,f}" for name in names)
            notes.append((each.replace("_", " "), f"{low} to {high}, a band of {band}"))
        return notes

    def _repr_html_(self) -> str:
        return Table._repr_html_(self) + (self.rules._repr_html_() if self.rules.rows else "")


def what_if(deals: Deals, policies: Mapping[str, Policy] | Sequence[Policy], *, of: str = "won") -> WhatIf:
    """Sourced, influenced and the waterfall of the same deals under several policies, and what moves them.

    Deals are derived once: a policy only chooses among touchpoints that are there. A rule's own effect is the
    change when it alone is changed, all else as in the base.

    Misleads when taken for an interval of confidence: it shows what the rules decide, not what is true.

    Parameters
    ----------
    deals
        The selected ones are measured; the policy that they carry is the base.
    policies
        Alternatives by name, such as ``deals.policy.varied(late_days=[0, 14])``; policies in a list are
        called by what they change.
    of
        ``"won"``, ``"open"``, ``"lost"`` or ``"all"``.

    Returns
    -------
    A table of policies, with ``.rules``, the table of rules, and ``.per("partner")``, the range per partner.

    Raises
    ------
    UsageError
        Without policies, for two of one name, what is no policy, and as a measure does.

    Examples
    --------
    ::

        found = at.what_if(deals, deals.policy.varied(influence_window_days=[90, 180, 365], late_days=[0]))
        found.rules                       # what each rule moves
        found.per("partner")              # whom the rules matter to
    """
    named = _named(deals.policy, policies)
    base = _numbers(deals, of)
    results = {BASE: base} | {name: _numbers(deals.with_policy(each), of) for name, each in named.items()}
    of_policy = {deals.policy: base, **{policy: results[name] for name, policy in named.items()}}

    def alone(field: str, value: object) -> _Numbers:
        policy = deals.policy.model_copy(update={field: value})
        if policy not in of_policy:
            of_policy[policy] = _numbers(deals.with_policy(policy), of)
        return of_policy[policy]

    rules: list[Row] = []
    for name, policy in named.items():
        changed = deals.policy.differences(policy)
        rest = _less(results[name], base)
        for field, (before, after) in changed.items():
            moved = _less(alone(field, after), base)
            rest = _less(rest, moved)
            values = {"before": spelled(before), "after": spelled(after)}
            rules.append({"policy": name, "rule": field} | values | _changes(deals, moved))
        if len(changed) > 1:
            together: Row = {"policy": name, "rule": TOGETHER, "before": None, "after": None}
            rules.append(together | _changes(deals, rest))
    rows = []
    for name, numbers in results.items():
        policy = named.get(name, deals.policy)
        amounts = {f"{each}_amount": money.major(numbers[each], deals.currency) for each in HEADLINES}
        row: Row = {"policy": name, "policy_hash": policy.hash, **amounts}
        rows.append(row | _changes(deals, _less(numbers, base)))
    head = heading(deals, of, measure="what_if")
    changes = tuple(f"{each}_change_amount" for each in HEADLINES)
    measure = sourced(deals, of)
    kept = {"selected": measure.selected(), "n_deals": len(measure.measured)}
    moving = Moves(
        head | {"measure": "what_if rules"},
        ("policy", "rule"),
        ("policy", "rule", "before", "after", *changes),
        rules,
        kept,
    )
    return WhatIf(
        head,
        ("policy",),
        ("policy", "policy_hash", *(f"{each}_amount" for each in HEADLINES), *changes),
        rows,
        kept | {"n_policies": len(rows)} | _range(deals, list(results.values())),
        rules=moving,
        deals=deals,
        policies={BASE: deals.policy, **named},
    )


def _named(base: Policy, policies: Mapping[str, Policy] | Sequence[Policy]) -> dict[str, Policy]:
    """The alternatives by name: those of a list are called by what they change."""
    given = policies.values() if isinstance(policies, Mapping) else policies
    for policy in given:
        if not isinstance(policy, Policy):
            raise UsageError(f"{policy!r} is no policy", hint="such as at.Policy(late_days=14)")
    names = list(policies) if isinstance(policies, Mapping) else [_called(base, each) for each in given]
    if not names:
        raise UsageError("there is no policy to compare with", hint="such as policy.varied(late_days=[0])")
    taken = sorted({name for name in names if names.count(name) > 1 or name == BASE})
    if taken:
        raise UsageError(f"several policies are called {known(taken)}", hint="give each a name: pass a dict")
    return dict(zip(names, given, strict=True))


def _called(base: Policy, policy: Policy) -> str:
    changed = base.differences(policy).items()
    return ", ".join(f"{field} = {spelled(after)}" for field, (_, after) in changed) or "(as the base)"


def _numbers(deals: Deals, of: str) -> _Numbers:
    """The headline numbers in minor units."""
    digits = money.digits(deals.currency)
    step = {row["step"]: row["amount"] for row in waterfall(deals, of=of).rows}
    totals = {
        "sourced": step["sourced"],
        "influenced": influenced(deals, of).total(),
        "influenced_step": step["influenced"],
        **{name: step[name] for name in ("unqualified", "exposed", "direct")},
    }
    return {name: int(total.scaleb(digits)) for name, total in totals.items()}


def _less(numbers: _Numbers, others: _Numbers) -> _Numbers:
    return {name: numbers[name] - others[name] for name in numbers}


def _changes(deals: Deals, moved: _Numbers) -> Row:
    return {f"{name}_change_amount": money.major(minor, deals.currency) for name, minor in moved.items()}


def _range(deals: Deals, results: Sequence[_Numbers]) -> Row:
    """Lowest, highest and their difference, of each headline number."""
    found: Row = {}
    for name in HEADLINES:
        low, high = min(each[name] for each in results), max(each[name] for each in results)
        for end, minor in zip(_ENDS, (low, high, high - low), strict=True):
            found[f"{name}_{end}_amount"] = money.major(minor, deals.currency)
    return found
