"""Pictures of an overlay, with Altair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from attribution.errors import UsageError, known
from attribution.measures.results import Row

if TYPE_CHECKING:
    import altair

    from attribution.measures.overlay import Overlay

__all__ = ["KINDS", "picture"]

KINDS = ("incidence", "days_in_stage")
_WIDTH, _HEIGHT = 560, 300
_PANEL_WIDTH, _PANEL_HEIGHT, _PANELS = 190, 110, 4
_TOGETHER = 6
"""Slices whose curves can be told apart in one panel; more of them have a panel each."""
_STEPS = (1, 2, 5, 7, 14, 30, 60, 90, 180, 365)
_TICKS = 8
"""At most so many times are marked, and numbers at risk shown there."""
_BLUE, _GREY = "#00798c", "#7a828c"
_LIMIT = 260
"""Pixels of a name; a partner's may be long, and several begin alike."""
_LATER = (
    "Slices, or the baseline, are chosen by what happened later: deals that stay open meet more partners.",
    "A difference is no effect of a partner. Only attribution effect can compare.",
)


def picture(overlay: Overlay, kind: str, n_slices: int) -> altair.TopLevelMixin:
    """The chart of a kind.

    Raises
    ------
    UsageError
        For another kind, or if Altair is not installed.
    """
    try:
        import altair  # noqa: F401 # told here in our words
    except ImportError:
        raise UsageError("altair is not installed", hint="pip install 'partner-attribution[viz]'") from None
    if kind not in KINDS:
        raise UsageError(f"there is no picture {kind!r}", hint=f"kind is one of: {known(KINDS)}")
    shown = overlay.slices[: max(0, n_slices)]
    return _incidence(overlay, shown) if kind == "incidence" else _days_in_stage(overlay, shown)


def name_of(row: Row, by: tuple[str, ...]) -> str:
    """What a slice is called in a picture."""
    return ", ".join(str(row[name]) for name in by)


@dataclass(frozen=True, slots=True)
class _Curves:
    """What is drawn of each slice, and up to which day."""

    points: dict[str, list[Row]]
    at_risk: dict[str, list[Row]]
    baseline: str | None
    end: float
    ticks: list[int]

    @property
    def top(self) -> float:
        """Where the axis of shares ends: where nothing is won yet, at all of it."""
        highest = max((row.get("high", 0) for rows in self.points.values() for row in rows), default=0)
        return min(1.0, highest * 1.05) or 1.0


def _curves(overlay: Overlay, shown: Sequence[Row]) -> _Curves:
    sides = []
    if overlay.baseline_followed is not None:
        sides.append((_baseline(overlay), overlay.baseline_followed, 0))
    if overlay.followed is not None:
        order = zip(shown, overlay.order, strict=False)
        sides += [(name_of(row, overlay.by), overlay.followed, at) for row, at in order]
    found = {name: followed.days(at) for name, followed, at in sides}
    longest = max((rows[-1]["days"] for rows in found.values() if rows), default=1)
    end = max(1, min(overlay.head["horizon_days"], longest))
    step = next((step for step in _STEPS if end / step < _TICKS), ceil(end / _TICKS))
    ticks = list(range(0, int(end) + 1, step))
    points: dict[str, list[Row]] = {}
    at_risk: dict[str, list[Row]] = {}
    for name, followed, at in sides:
        rows = found[name]
        within = [row for row in rows if row["days"] <= end]
        if rows and (rows[-1]["days"] > end or followed.curve.table.left[at] == 0):
            # the last step goes on for as long as the slice was observed
            within.append(within[-1] | {"days": end})
        points[name] = [
            {"slice": name, "low": row["incidence"], "high": row["incidence"]}
            | {key: row[key] for key in ("days", "incidence", "low", "high") if row[key] is not None}
            for row in within
        ]
        at_risk[name] = [
            {"slice": name, "days": tick, "n": f"{n:,}"}
            for tick, n in zip(ticks, followed.at_risk(at, ticks), strict=True)
        ]
    return _Curves(points, at_risk, sides[0][0] if overlay.baseline_followed else None, end, ticks)


def _incidence(overlay: Overlay, shown: Sequence[Row]) -> altair.TopLevelMixin:
    """Curves in one panel, and numbers at risk below."""
    import altair

    curves = _curves(overlay, shown)
    if len(shown) > _TOGETHER:
        return _panels(overlay, shown, curves)
    names = list(curves.points)
    base = altair.Chart(_data([row for rows in curves.points.values() for row in rows])).encode(
        x=_days(curves)
    )
    band = base.mark_area(interpolate="step-after", opacity=0.12).encode(
        y=_share(curves, "low:Q"), y2="high:Q", color=altair.Color("slice:N", sort=names, legend=None)
    )
    legend = altair.Legend(title=", ".join(overlay.by), labelLimit=_LIMIT)
    colour = altair.Color("slice:N", sort=names, legend=legend)
    line = base.mark_line(interpolate="step-after").encode(y="incidence:Q", color=colour)
    title = altair.Title("still open and observed", anchor="start", fontSize=11)
    labels = altair.Axis(domain=False, ticks=False, labelPadding=24, labelLimit=_LIMIT)
    text = (
        altair.Chart(_data([row for rows in curves.at_risk.values() for row in rows]), title=title)
        .mark_text(fontSize=10)
        .encode(
            x=_days(curves, axis=None),
            y=altair.Y("slice:N", sort=names, title=None, axis=labels),
            text="n:N",
            color=altair.Color("slice:N", sort=names, legend=None),
        )
        .properties(width=_WIDTH, height=16 * max(1, len(names)), view=altair.ViewConfig(stroke=None))
    )
    plot = (band + line).properties(
        width=_WIDTH,
        height=_HEIGHT,
        title=_title("Share of created deals that are won, with 95 % bands", overlay, shown),
    )
    return altair.vconcat(plot.resolve_scale(color="independent"), text)


def _panels(overlay: Overlay, shown: Sequence[Row], curves: _Curves) -> altair.TopLevelMixin:
    """A panel for each slice, the baseline in grey behind its curve, and numbers at risk in it."""
    import altair

    names = [name for name in curves.points if name != curves.baseline]
    behind = curves.points[curves.baseline] if curves.baseline is not None else []
    rows: list[Row] = []
    for name in names:
        rows += [row | {"slice": name, "part": "baseline"} for row in behind]
        rows += [row | {"part": "slice"} for row in curves.points[name]]
        rows += [row | {"part": "n"} for row in curves.at_risk[name][:-1:2]]
    x = _days(curves, axis=altair.Axis(values=curves.ticks[::2]))

    def drawn(part: str, colour: str) -> altair.Chart:
        chart: altair.Chart = altair.Chart().transform_filter(f"datum.part == '{part}'")
        line: altair.Chart = chart.mark_line(interpolate="step-after", color=colour)
        return line.encode(x=x, y=_share(curves, "incidence:Q"))

    band = altair.Chart().transform_filter("datum.part == 'slice'").encode(x=x, y=_share(curves, "low:Q"))
    band = band.mark_area(interpolate="step-after", opacity=0.15, color=_BLUE).encode(y2="high:Q")
    text = (
        altair.Chart()
        .transform_filter("datum.part == 'n'")
        .mark_text(fontSize=9, align="left", dx=2, color=_GREY)
        .encode(x=x, y=altair.value(8), text="n:N")
    )
    layers = [drawn("baseline", _GREY), band, drawn("slice", _BLUE)]
    told = [] if curves.baseline is None else [f"Grey line: {curves.baseline}."]
    told += ["Grey figures: deals still open and observed."]
    return (
        altair.layer(*layers, text, data=_data(rows))
        .properties(width=_PANEL_WIDTH, height=_PANEL_HEIGHT)
        .facet(
            altair.Facet("slice:N", sort=names, title=None, header=altair.Header(labelLimit=_PANEL_WIDTH)),
            columns=_PANELS,
        )
        .properties(
            title=_title(
                "Share of created deals that are won, with 95 % bands", overlay, shown, " ".join(told)
            )
        )
    )


def _days(curves: _Curves, **more: Any) -> altair.X:
    import altair

    more = {"axis": altair.Axis(values=curves.ticks)} | more
    scale = altair.Scale(domain=[0, curves.end], nice=False)
    return altair.X("days:Q", title="days since creation", scale=scale, **more)


def _share(curves: _Curves, column: str) -> altair.Y:
    import altair

    scale = altair.Scale(domain=[0, curves.top], nice=False)
    return altair.Y(column, title="won so far", scale=scale, axis=altair.Axis(format="%"))


def _days_in_stage(overlay: Overlay, shown: Sequence[Row]) -> altair.TopLevelMixin:
    import altair

    sides = [(_baseline(overlay), row) for row in overlay.baseline_rows]
    sides += [(name_of(row, overlay.by), row) for row in overlay.rows]
    names = [_baseline(overlay), *(name_of(row, overlay.by) for row in shown)]
    rows = [
        {"slice": name, **{key: row[key] for key in ("stage", "value", "low", "high", "n")}}
        for name, row in sides
        if (row["metric"], row["variant"]) == ("days_in_stage", "median")
        and row["value"] is not None
        and name in names
    ]
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    names = [name for name in names if name in {row["slice"] for row in rows}]
    base = altair.Chart(_data(rows)).encode(
        y=altair.Y("slice:N", sort=names, title=None, axis=altair.Axis(labelLimit=_LIMIT)),
        color=altair.condition(
            altair.datum.slice == _baseline(overlay), altair.value(_GREY), altair.value(_BLUE)
        ),
    )
    bars = base.mark_point(filled=True, size=70, opacity=1).encode(x=altair.X("value:Q", title="median days"))
    bands = base.mark_rule(strokeWidth=2, opacity=0.5).encode(x=altair.X("low:Q"), x2="high:Q")
    told = "" if rows else "Nothing is known of stages here, or no half of the deals has left one."
    return (
        altair.layer(bands, bars)
        .properties(width=_WIDTH, height=max(40, 18 * len(names)))
        .facet(
            row=altair.Row(
                "stage:N", sort=stages, title=None, header=altair.Header(labelAngle=0, labelAlign="left")
            )
        )
        .properties(
            title=_title(
                "Median days in stage, with 95 % intervals; open stays are censored", overlay, shown, told
            )
        )
    )


def _baseline(overlay: Overlay) -> str:
    return f"{overlay.head['baseline']} (baseline)"


def _title(text: str, overlay: Overlay, shown: Sequence[Row], told: str = "") -> altair.Title:
    """The title; below it how many slices there is no room for, and what must not be claimed."""
    import altair

    said = [told] if told else []
    if not overlay.slices:
        said.append("There is no slice to show.")
    elif len(shown) < len(overlay.slices):
        said.append(f"{len(shown):,} of {len(overlay.slices):,} slices shown: those of most deals")
    said += _LATER if overlay.foot["chosen_later"] else ()
    return altair.Title(text, subtitle=said or altair.Undefined, anchor="start", offset=12)


def _data(rows: list[dict[str, Any]]) -> altair.InlineData:
    import altair

    return altair.InlineData(values=rows)
