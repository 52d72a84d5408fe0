"""Pictures of effects: rungs side by side, and a forest of partners."""

from __future__ import annotations

from typing import Any

from attribution.errors import UsageError
from attribution.measures.effect_table import NOTHING, PartnerEffect, figure
from attribution.measures.results import Row

try:
    import altair
except ImportError:
    raise UsageError(
        "altair is not installed", hint="pip install 'partner-attribution[viz]', or read .rows"
    ) from None

__all__ = ["forest", "rungs"]

_TITLES = {
    "win_rate_difference": "win rate, with less without",
    "days_to_close_difference": "days to close, with less without",
    "win_hazard_ratio": "times as fast to be won",
}
_NAIVE, _HONEST, _PLACEBO, _LINE = "#d1495b", "#00798c", "#8d99ae", "#555555"
_RATIOS = [0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10]
"""Where the axis of a ratio has its ticks."""
_MOST = 40
"""Partners that a forest shows."""
_LONG = 36
"""Characters of a name that are shown."""
_AROUND = {"win_rate_difference": 10.0, "days_to_close_difference": 10.0}
"""How far an axis reaches on both sides of no difference where there is nothing to show."""


def rungs(effect: PartnerEffect) -> altair.HConcatChart:
    """One panel per measure, with the rungs under one another, and where no difference is."""
    panels = []
    for measure, title in _TITLES.items():
        rows = [row for row in effect.rows if row["measure"] == measure]
        panels.append(_panel(rows, measure, title, rows_of="rung", order=[row["rung"] for row in rows]))
    words = effect.foot["conclusion"]
    return altair.hconcat(*panels, spacing=30).properties(
        title=altair.TitleParams(effect._title(), subtitle=_lines(words, 150), anchor="start", offset=16)
    )


def forest(effect: PartnerEffect) -> altair.LayerChart:
    """The time-varying hazard ratio of each partner or program, the largest first."""
    (name,) = effect.by
    found = [row for row in effect.rows if row["rung"] == "time_varying" and row["value"] is not None]
    # those of most deals: the largest ratios are those of the smallest partners, by chance
    kept = sorted(found, key=lambda row: -row["n_with"])[:_MOST]
    shown = [{**row, "who": _called(row, name, kept)} for row in sorted(kept, key=lambda row: -row["value"])]
    hidden = len(found) - len(shown)
    subtitle = [
        f"After a {name}'s first touch (of so many deals), times as fast as deals of equal age without it.",
        "Grey: too few wins to say anything."
        + (f" {hidden:,} more, of fewer deals, are not shown." if hidden else ""),
        *_lines(effect.foot["conclusion"], 100),
    ]
    chart = _panel(
        shown,
        "win_hazard_ratio",
        _TITLES["win_hazard_ratio"],
        rows_of="who",
        order=[row["who"] for row in shown],
    )
    return chart.properties(
        title=altair.TitleParams(effect._title(), subtitle=subtitle, anchor="start", offset=12), width=460
    )


def _called(row: Row, name: str, rows: list[Row]) -> str:
    """A partner's name, short enough that the number of its deals is seen; its id where names are alike."""
    title = str(row[name])
    title = title if len(title) <= _LONG else f"{title[: _LONG - 1]}…"
    alike = [each for each in rows if str(each[name])[: _LONG - 1] == str(row[name])[: _LONG - 1]]
    named = f"{title}, {row[f'{name}_id']}" if len(alike) > 1 else title
    return f"{named} ({row['n_with']:,})"


def _panel(rows: list[Row], measure: str, title: str, *, rows_of: str, order: list[str]) -> altair.LayerChart:
    scale = 100 if measure == "win_rate_difference" else 1
    values: list[dict[str, Any]] = [
        {
            "row": row[rows_of],
            **{end: None if row[end] is None else row[end] * scale for end in ("value", "low", "high")},
            "text": figure(measure, row["value"]),
            "kind": _kind(row),
        }
        for row in rows
    ]
    base = altair.Chart(altair.InlineData(values=values))
    kinds = altair.Scale(
        domain=["naive", "honest", "placebo", "insufficient"], range=[_NAIVE, _HONEST, _PLACEBO, _PLACEBO]
    )
    colour = altair.Color("kind:N", scale=kinds, legend=None)
    unit = {"win_rate_difference": " (percentage points)", "win_hazard_ratio": " (log scale)"}.get(
        measure, ""
    )
    is_ratio = measure == "win_hazard_ratio"
    reach = _AROUND.get(measure, 2.0)
    is_empty = all(each["low"] is None for each in values)
    domain = ([1 / reach, reach] if is_ratio else [-reach, reach]) if is_empty else altair.Undefined
    along = (
        altair.Scale(type="log", nice=False, padding=14, domain=domain)
        if is_ratio
        else altair.Scale(zero=True, padding=14, domain=domain)
    )
    across = altair.Y(
        "row:N", sort=order, title=None, axis=altair.Axis(labelLimit=340, domain=False, ticks=False)
    )
    ticks = altair.Axis(tickCount=6)
    if is_ratio:
        ticks = altair.Axis(values=_RATIOS, format="~g", labelOverlap=True)
    none = altair.Chart(altair.InlineData(values=[{"at": NOTHING[measure] * scale}]))
    layers = [
        none.mark_rule(strokeDash=[4, 3], color=_LINE).encode(x=altair.X("at:Q", scale=along)),
        base.mark_rule(strokeWidth=2).encode(
            x=altair.X("low:Q", title=title + unit, scale=along, axis=ticks),
            x2="high:Q",
            y=across,
            color=colour,
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=altair.X("value:Q", scale=along), y=across, color=colour
        ),
        # behind the figure, so that the line of no difference does not run through it
        base.mark_text(dy=-9, fontSize=10, stroke="white", strokeWidth=4).encode(
            x=altair.X("value:Q", scale=along), y=across, text="text:N"
        ),
        base.mark_text(dy=-9, fontSize=10).encode(
            x=altair.X("value:Q", scale=along), y=across, text="text:N", color=colour
        ),
    ]
    return altair.LayerChart(layer=layers, width=230, height=altair.Step(30))


def _kind(row: Row) -> str:
    if row["note"].startswith("insufficient"):
        return "insufficient"
    return row["rung"] if row["rung"] in ("naive", "placebo") else "honest"


def _lines(text: str, width: int) -> list[str]:
    from textwrap import wrap

    return wrap(text, width)
