"""How rungs of effect are shown: as text, in words, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from attribution.measures.results import Row, Table, told_apart

if TYPE_CHECKING:
    import altair

__all__ = [
    "FADES",
    "MOVES",
    "MOVING",
    "NOTHING",
    "PartnerEffect",
    "conclusion",
    "conclusion_of_many",
    "figure",
]

NOTHING = {"win_hazard_ratio": 1.0, "win_rate_difference": 0.0, "days_to_close_difference": 0.0}
"""By measure, the value that says: no difference."""
_HONEST = (
    ("time_varying", "win_hazard_ratio"),
    ("stratified", "win_rate_difference"),
    ("landmark_30", "win_hazard_ratio"),
    ("landmark_60", "win_hazard_ratio"),
)
"""The figures that must agree before more than an association is spoken of."""
FADES = "it fades, as where partners are called into deals about to be won"
"""What the note of the time-varying rung says if its ratio is larger soon after a touch than later."""
MOVES = "before their touch deals had made"
"""How the note of the placebo begins to tell of what deals did before their first touch, if that is known."""
MOVING = "partners came to deals that were already moving"
"""What the note of the placebo says if deals had moved further than others before their first touch."""
_AGREED = "The rungs agree"
_CHANCE = 0.05
"""Share of those who change nothing that lie apart from no difference by chance."""
_NAMED = 5
_LINES = 40
"""Partners or programs that a page shows."""
_SUMMARY = (
    ("naive: win rate", "naive", "win_rate_difference", "value"),
    ("naive: days", "naive", "days_to_close_difference", "value"),
    ("won, after the touch", "time_varying", "win_hazard_ratio", "value"),
    ("from", "time_varying", "win_hazard_ratio", "low"),
    ("to", "time_varying", "win_hazard_ratio", "high"),
)
"""What a line of many says: title, rung, measure, and which of its figures."""
_WIDTH = 110


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PartnerEffect(Table):
    """Rungs of effect, a row per rung and measure; the foot has the conclusion in words."""

    def plot(self) -> altair.HConcatChart | altair.LayerChart:
        """The rungs side by side, each measure on its own scale; by partner or program, a forest of them.

        The forest shows the time-varying hazard ratio of each, the largest first.

        Raises
        ------
        UsageError
            If altair is not installed.
        """
        from attribution.measures.effect_pictures import forest, rungs

        return forest(self) if self.by else rungs(self)

    def _title(self) -> str:
        who = ", ".join(self.head["partner"] or ["any partner"])
        under = "" if self.head["program"] is None else f" under {', '.join(self.head['program'])}"
        each = f", by {self.by[0]}" if self.by else ""
        strata = ", ".join(self.head["strata"]) or "nothing"
        as_of = self.head["as_of"].isoformat().replace("+00:00", "Z")
        return f"effect of {who}{under}{each}: all deals as of {as_of}, within strata of {strata}"

    def to_text(self, rows: int | None = None) -> str:
        """The page for people: every rung; by partner or program, a line for each, up to ``rows`` (40)."""
        return Table.to_text(self, _LINES if rows is None and self.by else rows)

    def _is_number(self, name: str) -> bool:
        return name in ("deals with", *(title for title, *_ in _SUMMARY)) or Table._is_number(self, name)

    def _summary(self) -> tuple[list[str], list[list[str]]]:
        """A line per partner or program, most deals first: naive figures, an honest one, a verdict."""
        (by,) = self.by
        of_each: dict[str, list[Row]] = {}
        for row in self.rows:
            of_each.setdefault(row[f"{by}_id"], []).append(row)
        lines = []
        names = told_apart([(rows[0][by], rows[0][f"{by}_id"]) for rows in of_each.values()])
        for name, rows in zip(names, of_each.values(), strict=True):
            found = {(row["rung"], row["measure"]): row for row in rows}
            main = found["time_varying", "win_hazard_ratio"]
            cells = [figure(measure, found[rung, measure][which]) for _, rung, measure, which in _SUMMARY]
            lines.append((main["n_with"], [name, f"{main['n_with']:,}", *cells, verdict(rows)]))
        lines.sort(key=lambda line: (-line[0], line[1][0]))
        shown = [by, "deals with", *(title for title, *_ in _SUMMARY), "what may be said"]
        return shown, [cells for _, cells in lines]

    def _text(self) -> tuple[list[str], list[list[str]]]:
        if self.by:
            return self._summary()
        shown = [*self.by, "rung", "measure", "n_with", "n_without", "value", "low", "high"]
        return shown, [
            [
                figure(row["measure"], row[name]) if name in ("value", "low", "high") else _plainly(row[name])
                for name in shown
            ]
            for row in self.rows
        ]

    def _notes(self) -> list[tuple[str, str]]:
        notes: list[tuple[str, str]] = [
            (name, self.foot[name]) for name in ("conclusion", "warning") if name in self.foot
        ]
        if not self.by:
            rungs = dict.fromkeys(row["rung"] for row in self.rows)
            notes += [
                (rung, ". ".join(row["note"] for row in self.rows if row["rung"] == rung)) for rung in rungs
            ]
        counts = ", ".join(
            f"{self.foot[f'{name}_deals']:,} {name}" for name in ("won", "lost", "open", "implausible")
        )
        notes.append(("deals", f"{self.foot['n_deals']:,}: {counts}"))
        indent = max(len(label) for label, _ in notes) + 2
        return [
            (label, f"\n{' ' * indent}".join(wrap(text, max(_WIDTH - indent, 40)))) for label, text in notes
        ]


def figure(measure: str, value: float | None) -> str:
    """A figure as people read it: times as fast, percentage points, or days; ``-``: nothing can be said."""
    if value is None:
        return "-"
    match measure:
        case "win_hazard_ratio":
            return f"× {value:.2f}"
        case "win_rate_difference":
            return f"{value * 100:+.1f} pp"
        case _:
            return f"{value:+.1f} days"


def _plainly(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def conclusion(rows: Sequence[Row]) -> str:
    """What may be said of these rungs, in words.

    More than "associated with" only if the honest rungs all rest on enough deals and all exclude no
    difference, on the same side and about as far, if nothing fades, or shows in the placebo, and if stages
    tell that partners were not called into deals that were moving; and even then with what none of the rungs
    can see.
    """
    found = {(row["rung"], row["measure"]): row for row in rows}
    main = found["time_varying", "win_hazard_ratio"]
    if _is_insufficient(main):
        return "Too few deals were won after a touch, or without one, to say anything. Claim nothing."
    pace = f"{main['value']:.2f} times as fast ({main['low']:.2f} to {main['high']:.2f})"
    sides = {each: _side(found[each]) for each in _HONEST}
    side = _side(main)
    if side == 0:
        return (
            f"No difference is shown: after the first touch deals are won {pace}, which includes 1. Claim"
            " none: the naive figures are what the length of deals and the choice of sellers make of it."
        )
    doubts = [f"{rung} does not show it" for (rung, _), other in sides.items() if other != side]
    doubts += [f"{each[0]} shows far less of it" for each in _HONEST if _shows_far_less(found[each], main)]
    if FADES in main["note"]:
        doubts.append(FADES)
    if MOVING in found["placebo", "win_hazard_ratio"]["note"]:
        doubts.append(MOVING)
    if _side(found["placebo", "win_hazard_ratio"]):
        doubts.append("the placebo shows something, as one in twenty does")
    unseen = (
        "None of this sees what sellers saw: partners called into deals about to be won would look the same."
    )
    is_blind = MOVES not in found["placebo", "win_hazard_ratio"]["note"]
    if is_blind:
        unseen = (
            "Nor is it known whether sellers called partners into deals that were already moving: stages"
            f" would tell, supplied for enough deals, and not among the strata. {unseen}"
        )
    if not doubts and not is_blind:
        return f"{_AGREED}: from the first touch on, deals are won {pace}. {unseen}"
    agreement = f"The rungs do not agree: {'; '.join(doubts)}" if doubts else _AGREED
    return (
        f"A partner's touch is associated with deals won {pace}. {agreement}."
        f" Do not call it the partner's doing. {unseen}"
    )


def verdict(rows: Sequence[Row]) -> str:
    """What may be said of one partner among many, in a few words."""
    said = conclusion(rows)
    if said.startswith("Too few"):
        return "too few wins to say"
    if said.startswith("No difference"):
        return "no difference shown"
    if said.startswith(_AGREED):
        return "the rungs agree"
    doubt = "the rungs do not agree" if "The rungs do not agree" in said else "stages would tell more"
    return f"associated with; {doubt}"


def conclusion_of_many(rows: Sequence[Row], by: str) -> str:
    """What may be said of the rungs of several partners or programs, in words."""
    of_each: dict[str, list[Row]] = {}
    for row in rows:
        of_each.setdefault(row[f"{by}_id"], []).append(row)
    main = [row for row in rows if row["rung"] == "time_varying" and not _is_insufficient(row)]
    if not main:
        return f"Too few deals were won after the touch of any one {by} to say anything. Claim nothing."
    agreed = [each[0][by] for each in of_each.values() if conclusion(each).startswith(_AGREED)]
    names = ", ".join(agreed[:_NAMED]) + (f" and {len(agreed) - _NAMED} more" if agreed[_NAMED:] else "")
    n_apart = sum(_side(row) != 0 for row in main)
    return (
        f"Each figure is what a touch is associated with, not what it did: sellers choose whom they call into"
        f" what, and partners called into deals about to be won look the same. Apart from 1:"
        f" {n_apart:,} of {len(main):,} with enough wins, where chance alone would put"
        f" {_CHANCE * len(main):,.1f}. The rungs, and what stages tell, agree on"
        f" {f'{len(agreed):,}: {names}' if agreed else 'none'}."
    )


def _shows_far_less(row: Row, main: Row) -> bool:
    """Whether a ratio is apart from the main one, and less than a third of it on the scale of logarithms.

    Later touches of the others pull landmarks towards 1, but seldom so far.
    """
    if row["measure"] != main["measure"] or _is_insufficient(row):
        return False
    are_apart = row["high"] < main["low"] or row["low"] > main["high"]
    return bool(are_apart and abs(log(row["value"])) < abs(log(main["value"])) / 3)


def _is_insufficient(row: Row) -> bool:
    return row["value"] is None or row["note"].startswith("insufficient")


def _side(row: Row) -> int:
    """1: the interval lies above no difference; -1: below; 0: neither, or too few deals."""
    if _is_insufficient(row):
        return 0
    nothing = NOTHING[row["measure"]]
    return int(row["low"] > nothing) - int(row["high"] < nothing)
