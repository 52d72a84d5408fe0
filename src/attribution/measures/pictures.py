"""Pictures of an overlay, with Altair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attribution.errors import UsageError, known
from attribution.measures.results import Row

if TYPE_CHECKING:
    import altair

    from attribution.measures.overlay import Overlay

__all__ = ["KINDS", "picture"]

KINDS = ("incidence", "days_in_stage")
_WIDTH, _HEIGHT = 560, 300
_TICKS = 6
"""Times at which numbers at risk are shown."""


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


def _incidence(overlay: Overlay, shown: Sequence[Row]) -> altair.TopLevelMixin:
    import altair

    curves: dict[str, list[Row]] = {}
    is_over: dict[str, bool] = {}
    sides = [(f"{overlay.head['baseline']} (baseline)", overlay.baseline_followed, 0)]
    sides += [
        (name_of(row, overlay.by), overlay.followed, at)
        for row, at in zip(shown, overlay.order, strict=False)
    ]
    for name, followed, at in sides:
        if followed is not None:
            curves[name] = followed.days(at)
            is_over[name] = bool(followed.curve.table.left[at] == 0)
    longest = max((rows[-1]["days"] for rows in curves.values() if rows), default=1)
    end = max(1, min(overlay.head["horizon_days"], longest))
    ticks = [round(end * at / _TICKS) for at in range(_TICKS + 1)]
    points: list[Row] = []
    at_risk: list[Row] = []
    for name, rows in curves.items():
        within = [row for row in rows if row["days"] <= end]
        if rows and (rows[-1]["days"] > end or is_over[name]):
            # the last step goes on for as long as the slice was observed
            within.append(within[-1] | {"days": end})
        points += [
            {"slice": name, "low": row["incidence"], "high": row["incidence"]}
            | {key: value for key, value in row.items() if value is not None}
            for row in within
        ]
        for tick in ticks:
            later = [row["n_at_risk"] for row in rows if row["days"] >= tick]
            at_risk.append({"slice": name, "days": tick, "n": f"{later[0] if later else 0:,}"})
    names = list(curves)
    scale = altair.Scale(domain=[0, end])
    base = altair.Chart(_data(points)).encode(
        x=altair.X("days:Q", title="days since creation", scale=scale, axis=altair.Axis(values=ticks)),
    )
    colour = altair.Color("slice:N", sort=names, title=", ".join(overlay.by))
    band = base.mark_area(interpolate="step-after", opacity=0.12).encode(
        y=altair.Y("low:Q", title="won so far", axis=altair.Axis(format="%")),
        y2="high:Q",
        color=altair.Color("slice:N", sort=names, legend=None),
    )
    line = base.mark_line(interpolate="step-after").encode(y="incidence:Q", color=colour)
    title = altair.Title("still open and observed", anchor="start", fontSize=11)
    text = (
        altair.Chart(_data(at_risk), title=title)
        .mark_text(fontSize=10)
        .encode(
            x=altair.X("days:Q", scale=scale, axis=None),
            y=altair.Y(
                "slice:N",
                sort=names,
                title=None,
                axis=altair.Axis(domain=False, ticks=False, labelPadding=24),
            ),
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


def _days_in_stage(overlay: Overlay, shown: Sequence[Row]) -> altair.TopLevelMixin:
    import altair

    names = [name_of(row, overlay.by) for row in shown]
    rows = [
        {
            "slice": name_of(row, overlay.by),
            **{key: row[key] for key in ("stage", "value", "low", "high", "n")},
        }
        for row in overlay.rows
        if (row["metric"], row["variant"]) == ("days_in_stage", "median")
        and row["value"] is not None
        and name_of(row, overlay.by) in names
    ]
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    base = altair.Chart(_data(rows)).encode(
        y=altair.Y("slice:N", sort=names, title=None),
        color=altair.Color("slice:N", sort=names, legend=None),
    )
    bars = base.mark_point(filled=True, size=70).encode(x=altair.X("value:Q", title="median days"))
    bands = base.mark_rule(strokeWidth=2, opacity=0.5).encode(x=altair.X("low:Q"), x2="high:Q")
    return (
        altair.layer(bands, bars)
        .properties(width=_WIDTH, height=max(40, 18 * len(names)))
        .facet(
            row=altair.Row(
                "stage:N", sort=stages, title=None, header=altair.Header(labelAngle=0, labelAlign="left")
            )
        )
        .properties(
            title=_title("Median days in stage, with 95 % intervals; open stays are censored", overlay, shown)
        )
    )


def _title(text: str, overlay: Overlay, shown: Sequence[Row]) -> altair.Title:
    """The title, and how many slices there is no room for."""
    import altair

    if len(shown) == len(overlay.slices):
        return altair.Title(text)
    said = f"{len(shown):,} of {len(overlay.slices):,} slices shown: those of most deals"
    return altair.Title(text, subtitle=said)


def _data(rows: list[dict[str, Any]]) -> altair.InlineData:
    import altair

    return altair.InlineData(values=rows)
