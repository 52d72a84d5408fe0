"""The page of an overlay: the usual figures, those of all deals beside them, and what may be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from attribution.measures.results import Row, plain

__all__ = ["Page", "page"]

_COLUMNS = (
    ("deals", "deals"),
    ("won", "won"),
    ("close rate, usual", "rate"),
    ("won in {horizon}", "incidence"),
    ("[95 %]", "band"),
    ("difference [95 %]", "apart"),
    ("days, usual", "usual"),
    ("days, all deals", "days"),
    ("deal size", "size"),
    ("what may be said", "claim"),
)
_FEW = "too few deals to say"
_SHORT = "followed too briefly"
_SAME = "no difference shown"
_NO_INTERVAL = "all or none won: no interval"
_LATER = "chosen by what happened later: only `attribution effect` can compare"
_LATER_BASELINE = "baseline chosen by what happened later: compare with all"


@dataclass(frozen=True, slots=True)
class Page:
    """One page: a title, a table, the reasons."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    n_labels: int
    more: str
    reasons: tuple[str, ...]

    def to_text(self) -> str:
        """Aligned text."""
        table = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        last = len(self.columns) - 1
        lines = [
            "  ".join(
                text.ljust(width) if at < self.n_labels or at == last else text.rjust(width)
                for at, (text, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        lines += [self.more] if self.more else []
        reasons = [line for reason in self.reasons for line in _wrapped(reason)]
        return "\n".join(line.rstrip() for line in (self.title, *lines, "", *reasons))

    def to_html(self) -> str:
        """A table with the reasons below."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in self.rows)
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in self.reasons)
        more = f"<p>{escape(self.more)}</p>" if self.more else ""
        return (
            f"<table><caption>{escape(self.title)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table>{more}<ul>{reasons}</ul>"
        )


def page(
    head: dict[str, Any],
    foot: dict[str, Any],
    by: tuple[str, ...],
    rows: Sequence[Row],
    baseline_rows: Sequence[Row],
    slices: Sequence[Row],
    n_slices: int,
) -> Page:
    """The page of the first slices."""
    wanted = [tuple(label.values()) for label in slices[:n_slices]]
    names = tuple(slices[0]) if slices else by
    figures: dict[tuple[Any, ...], dict[tuple[str, str], Row]] = {label: {} for label in wanted}
    for row in rows:
        key = tuple(row[name] for name in names)
        if key in figures and row["stage"] is None:
            figures[key][row["metric"], row["variant"]] = row
    horizon = f"{head['horizon_days']:g} days"
    columns = (*by, *(title.format(horizon=horizon) for title, _ in _COLUMNS))
    body = []
    if baseline_rows:
        name = {"direct": "direct (baseline)", "all": "all (baseline)"}.get(head["baseline"], "baseline")
        found = {(row["metric"], row["variant"]): row for row in baseline_rows if row["stage"] is None}
        shown = zip(_COLUMNS, _cells(found, ""), strict=True)
        alone = ("" if column in ("band", "apart") else text for (_, column), text in shown)
        body.append((name, *("" for _ in by[1:]), *alone))
    for label in slices[:n_slices]:
        found = figures[tuple(label.values())]
        claim = _claim(found.get(("win_incidence", "at_horizon")), foot["chosen_later"])
        body.append((*(str(label[name]) for name in by), *_cells(found, claim)))
    until = "" if head["known_at"] is None else f", known at {plain(head['known_at'])}"
    title = (
        f"velocity by {', '.join(by)}: {foot['n_deals']:,} deals as of {plain(head['as_of'])}{until}, "
        f"in {head['currency']}"
    )
    hidden = len(slices) - n_slices
    more = f"… and {hidden:,} more slices; every figure is in the rows" if hidden > 0 else ""
    if not slices:
        more = _nothing(foot["n_deals"], by)
    return Page(title, columns, body, len(by), more, _reasons(head, foot))


def _nothing(n_deals: int, by: tuple[str, ...]) -> str:
    """Why there is no slice to show."""
    if not n_deals:
        return "There are no deals, so there is no slice to show."
    if "touched_partner" in by and {"partner", "parent"}.isdisjoint(by):
        return "No touchpoint counts on these deals, so there is no slice to show."
    return (
        "Nobody holds a headline claim on these deals, so there is no slice to show: "
        "by touched_partner shows whoever took part."
    )


def _cells(found: dict[tuple[str, str], Row], claim: str) -> tuple[str, ...]:
    incidence = found.get(("win_incidence", "at_horizon"))
    n, rate = _get(found, "close_rate", "cohort_count", "n"), _get(found, "close_rate", "cohort_count")
    return (
        _number(n),
        _number(None if n is None or rate is None else round(n * rate)),
        _share(_get(found, "close_rate", "period_count")),
        _share(_get(found, "win_incidence", "at_horizon")),
        _band(incidence, "low", "high"),
        _apart(incidence),
        _number(_get(found, "days_to_close", "usual")),
        _number(_get(found, "days_to_close", "restricted_mean")),
        _number(_get(found, "deal_size", "mean")),
        claim,
    )


def _get(found: dict[tuple[str, str], Row], metric: str, variant: str, key: str = "value") -> float | None:
    row = found.get((metric, variant))
    value: float | None = None if row is None else row[key]
    return value


def _claim(row: Row | None, chosen_later: Sequence[str]) -> str:
    """What the difference in winning within the horizon allows to say; never that a partner caused it.

    Who is chosen by what happened later had to stay open until then, and so differs without any effect.
    """
    if row is None or row["note"] == "insufficient":
        return _FEW
    if chosen_later:
        return _LATER_BASELINE if [*chosen_later] == ["baseline"] else _LATER
    if row["note"] == "insufficient baseline":
        return "too few to compare with"
    if row["note"] is not None:
        return _SHORT
    if row["difference_low"] is None:
        return "nothing to compare with" if row["baseline"] is None else _NO_INTERVAL
    if row["difference_low"] > 0:
        return "wins more often"
    return "wins less often" if row["difference_high"] < 0 else _SAME


def _apart(row: Row | None) -> str:
    if row is None or row["difference"] is None:
        return "-"
    return (
        f"{round(100 * row['difference']):+d} {_band(row, 'difference_low', 'difference_high', signed=True)}"
    )


def _band(row: Row | None, low: str, high: str, *, signed: bool = False) -> str:
    if row is None or row[low] is None or row[high] is None:
        return ""
    form = "+d" if signed else "d"
    return f"[{round(100 * row[low]):{form}}, {round(100 * row[high]):{form}}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _reasons(head: dict[str, Any], foot: dict[str, Any]) -> tuple[str, ...]:
    horizon = f"{head['horizon_days']:g} days"
    n_open, n_lost, n_won = foot["open_deals"], foot["lost_deals"], foot["won_deals"]
    age = foot["open_deals_median_days"]
    waiting = f" (half of them for more than {age:,.0f} days)" if age is not None else ""
    base = {"direct": "direct deals, those without any partner's touch", "all": "all deals"}
    said = [
        f"Baseline: {base.get(head['baseline'], 'the deals given')}. Differences are in percentage points.",
        f"Usual figures look at deals that are over: days to close at the {n_won:,} won alone, the close "
        f"rate at those and the {n_lost:,} lost. They leave out {n_open:,} that are still open{waiting}, "
        "and among young deals those that are over are the quick ones.",
        f"The figures beside them follow every deal from its creation: won in {horizon} is the part won "
        "by then, with lost deals counted as lost and open ones for as long as they were seen; "
        f"days, all deals is the mean time without a win within those {horizon}.",
    ]
    if not n_open:
        said.append(
            "No deal here is open: if they were chosen by close date, what still waits was left out before."
        )
    later = foot["chosen_later"]
    if "baseline" in later:
        said.append(
            "Which deals are direct is known only by what happened to them later: those that stay open "
            "longer are more likely to be touched. Baseline all has no such choice."
        )
    if [name for name in later if name != "baseline"]:
        said.append(
            "These deals were chosen by what happened to them later: a deal must stay open long enough to "
            "meet a partner, and partners are called into some deals and not into others. By that alone "
            "deals differ even where partners change nothing: a difference is an association, not an "
            "effect. Only attribution effect (at.partner_effect) can compare: it counts the days before "
            "the first touch as days without a partner."
        )
    elif head["baseline"] == "deals":
        said.append("What may be said holds if the baseline was chosen by what was known at creation.")
    return tuple(said)


def _wrapped(text: str, width: int = 110) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)
