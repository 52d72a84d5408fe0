"""The rows that rungs are told in, and how many deals they must rest on."""

from __future__ import annotations

from math import isfinite

from attribution.measures.results import Row

__all__ = ["COLUMNS", "FEWEST_DECIDED", "FEWEST_WON", "rung_row"]

COLUMNS = ("rung", "measure", "n_with", "n_without", "value", "low", "high", "note")
FEWEST_WON, FEWEST_DECIDED = 10, 30


def rung_row(
    rung: str, measure: str, n: tuple[int, int], value: tuple[float, ...], note: str, enough: bool
) -> Row:
    """A row of the table; figures that are not finite are absent, and too few deals are said to be few."""
    if not all(map(isfinite, value)):
        figures: list[float | None] = [None, None, None]
    else:
        figures = list(value)
    return dict(
        zip(
            COLUMNS,
            (rung, measure, *n, *figures, note if enough else f"insufficient; {note}"),
            strict=True,
        )
    )
